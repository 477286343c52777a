"""What a training, and a run that watches it, know of each other: through the model folder, in which both write.

    .train.lock                        held while training runs
    aher_adv_model_checkpoint-step_N*  snapshots, which are tested as they come
    best.json                          the best snapshot so far, which training keeps although it is old
    .in_test.json                      the snapshot that is being tested, which training keeps, too
    stop_request.json                  asks training to stop: it writes its snapshot and ends
"""
import contextlib
import os
import socket
import time

from runtime import snapshots
from runtime.errors import InputError, Interrupted, counted, printable
from runtime.files import file_lock, is_locked, read_json, remove_leftovers, write_json

TRAIN_LOCK, WATCH_LOCK = '.train.lock', '.watch.lock'
BEST_NAME, IN_TEST_NAME, REQUEST_NAME = 'best.json', '.in_test.json', 'stop_request.json'
LOOK_SECONDS = 2  # between two looks for a snapshot


# Snapshots that training keeps

def best_step(folder):
    """The step of the snapshot that best.json in `folder` names; None where there is no such file or step."""
    return _step_in(os.path.join(folder, BEST_NAME))


def kept_steps(folder):
    """Steps that training must not remove: of the best snapshot, and of the one that may turn out to be the best."""
    return {best_step(folder), _step_in(os.path.join(folder, IN_TEST_NAME))} - {None}


def _step_in(path):
    with contextlib.suppress(InputError):
        content = read_json(path)
        step = content.get('step') if isinstance(content, dict) else None
        return step if type(step) is int else None
    return None


# A request to stop

def is_asked_to_stop(folder):
    """Whether there is a request; any file of that name is one. It is fast enough for every step."""
    return os.path.isfile(os.path.join(folder, REQUEST_NAME))


def take_request(folder):
    """Remove the request in `folder`, if there is one, and return a text that says whose it is and why; else None."""
    path = os.path.join(folder, REQUEST_NAME)
    if not is_asked_to_stop(folder):
        return None
    text = 'the file %s' % path  # made by hand
    with contextlib.suppress(InputError):
        content = read_json(path)
        if isinstance(content, dict) and {'from', 'why'} <= set(content):
            text = '%s: %s' % (content['from'], content['why'])
    try:
        os.remove(path)
    except FileNotFoundError:  # another run was faster
        pass
    except OSError as error:
        raise InputError('%s: cannot be removed: %s; remove it, or training would stop again'
                         % (path, error.strerror)) from None
    return text


# Watching

class Watch:
    """Finds the snapshots of a training in the order of their steps, as they come. Use it in a `with`."""

    def __init__(self, folder):
        """`folder` is the model folder of the training, which may start later."""
        self.folder, self.best_path = folder, os.path.join(folder, BEST_NAME)
        self._in_test_path = os.path.join(folder, IN_TEST_NAME)
        self._ran = False   # has training been seen running?
        self._known = {}    # step → what tells its .index file from another one
        self._waiting = set()  # of the known steps, those that `next_step` has not given yet
        self._given = 0        # number of steps given
        self._said = ''
        self._has_asked = False

    def __enter__(self):
        """Lock the folder: a second watch would replace this one's best.json.

        Raises InputError where another one has locked it, or best.json is a file of someone else.
        """
        if os.path.lexists(self.best_path) and best_step(self.folder) is None:
            raise InputError('%s: found another file there, expected none or that of an earlier watch; move it away'
                             % self.best_path)
        self._lock = file_lock(os.path.join(self.folder, WATCH_LOCK))
        self._lock.__enter__()
        remove_leftovers(self.folder, r'best\.json|\.in_test\.json|stop_request\.json')
        return self

    def __exit__(self, *error):
        """Release the lock, and remove a request that training has not seen before its end."""
        try:
            with contextlib.suppress(OSError):
                os.remove(self._in_test_path)
            if error[0] is None and not self.is_training():
                take_request(self.folder)
        finally:
            self._lock.__exit__(*error)

    def snapshot_path(self, step):
        """Path of the snapshot of `step`, as snapshots.path gives it."""
        return snapshots.path(self.folder, step)

    def is_training(self):
        """Whether a training runs that writes to the folder."""
        return is_locked(os.path.join(self.folder, TRAIN_LOCK))

    def ask_to_stop(self, why):
        """Ask the training that runs to stop, and say `why`; once, and not where none runs."""
        if self._has_asked or not self.is_training():
            return
        self._has_asked = True
        write_json(os.path.join(self.folder, REQUEST_NAME), {
            'from': 'aher_k600_test.py --watch (process %d on %s)' % (os.getpid(), socket.gethostname()), 'why': why})
        print(printable('training in %s is asked to stop: %s' % (self.folder, why)), flush=True)

    def look(self):
        """Note which snapshots are there now.

        To be called often: one that training removes before its turn is then reported (`next_step`). A step that was
        given is noted again if its .index file is another one: a damaged snapshot may be written again.
        """
        for step in snapshots.steps_in(self.folder):
            with contextlib.suppress(OSError):  # of one that is removed just now
                status = os.stat(self.snapshot_path(step) + '.index')
                if self._known.get(step) != (status.st_ino, status.st_mtime_ns):
                    self._known[step] = (status.st_ino, status.st_mtime_ns)
                    self._waiting.add(step)

    def wait_for_first(self):
        """Wait until there is a snapshot. Raises InputError where training ends without one."""
        while True:
            is_training = self.is_training()
            if snapshots.steps_in(self.folder):
                return
            if self._ran and not is_training:
                raise InputError('%s: training has ended without a snapshot; start it again' % self.folder)
            self._ran |= is_training
            self._wait('waiting for the first snapshot of the training in %s' if is_training else
                       'found neither snapshots nor a running training in %s; waiting for them')

    def next_step(self):
        """The lowest step that was not given yet, waited for if need be; None where training has ended.

        Training keeps this snapshot until the next call, and from then on if best.json names it. Prints a line about
        each snapshot that training has removed before its turn.
        """
        while True:
            is_training = self.is_training()  # before the look: training writes its last snapshot before it ends
            self._ran |= is_training
            self.look()
            while self._waiting:
                step = min(self._waiting)
                self._waiting.remove(step)
                self._given += 1
                write_json(self._in_test_path, {'step': step})
                if os.path.exists(self.snapshot_path(step) + '.index'):
                    return step
                print(printable(removed_text(self.snapshot_path(step))), flush=True)
            if not is_training and (self._ran or self._given):
                return None
            self._wait('waiting for snapshots of the training in %s; Ctrl-C ends the wait')

    def _wait(self, text):
        """Say `text`, with the folder, unless that was the last one; then sleep until the next look."""
        if text != self._said:
            self._said = text
            print(printable(text % self.folder), flush=True)
        try:
            time.sleep(LOOK_SECONDS)
        except Interrupted as interrupted:
            done = counted(self._given, 'snapshot') + (' was' if self._given == 1 else ' were')
            raise Interrupted(interrupted.number, '%s tested; the same command continues' % done) from None


def removed_text(prefix):
    """The line about a snapshot that training has removed before it could be tested."""
    return '%s: training has removed it before it was tested (--max_to_keep)' % prefix
