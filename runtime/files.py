"""Files: reading them with checks, writing them completely or not at all, checksums, locks."""
import collections
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import stat
import time

from runtime.errors import InputError, printable

MAX_BYTES = 2 << 30  # of a table or a JSON file; 5 million results take 0.5 GB
MAX_DIGITS = 1000    # of an integer in JSON: older Pythons need quadratic time for it
LOOKS = 100          # looks of other runs at a lock (is_locked), each some microseconds long, that a run waits for
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what a file system says that cannot


def file_size(path):
    """Bytes of the regular file at `path`; links are followed.

    Raises InputError if there is none. Pipes and devices are not opened: that could hang, or have an effect.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError('%s: %s' % (path, getattr(error, 'strerror', None) or error)) from None
    _check_regular(path, status)
    return status.st_size


def _check_regular(path, status):
    if not stat.S_ISREG(status.st_mode):
        kind = {stat.S_IFDIR: 'a folder', stat.S_IFLNK: 'a link'}.get(
            stat.S_IFMT(status.st_mode), 'a pipe, socket or device')
        raise InputError('%s: found %s, expected a file; move it away' % (path, kind))


def read_text(path):
    """The text of a UTF-8 file, without a byte-order mark, with newlines as line ends.

    Raises InputError if it is not a regular file, cannot be read, has more than MAX_BYTES, or is not UTF-8.
    """
    size = file_size(path)
    if size > MAX_BYTES:
        raise InputError('%s: found %d bytes, expected %d at most; is it the right file?' % (path, size, MAX_BYTES))
    try:
        with open(path, encoding='utf-8-sig') as text:
            return text.read()
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    except UnicodeDecodeError as error:
        raise InputError('%s: not UTF-8 text (%s); save it as UTF-8' % (path, error)) from None


def read_json(path, pairs_hook=None):
    """The content of a JSON file. `pairs_hook` makes an object from its list of (key, value); default: a dict.

    Raises InputError as read_text does, and if the text is not JSON or is nested too deeply.
    """
    text = read_text(path)
    try:
        return json.loads(text, parse_int=_parse_int, object_pairs_hook=pairs_hook)
    except (ValueError, RecursionError) as error:
        raise InputError('%s: not valid JSON: %s; write the file again' % (path, error)) from None


def repeated_keys(pairs):
    """{key: how often it is there} of the keys that a list of (key, value), of a JSON object, has more than once."""
    return {key: count for key, count in collections.Counter(key for key, _ in pairs).items() if count > 1}


def _parse_int(digits):
    if len(digits) > MAX_DIGITS:
        raise ValueError('a number of %d digits' % len(digits))
    return int(digits)


@contextlib.contextmanager
def write_errors(path):
    """A context for writing `path`: an OSError inside it becomes an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError('%s: cannot be written: %s' % (path, error.strerror or error)) from None


def make_folder(path):
    """Make the folder `path`, unless it is there; raises InputError where that fails."""
    if os.path.islink(path) and not os.path.exists(path):
        raise InputError('%s: found a link to a folder that does not exist (%s); make that folder, or remove the link'
                         % (path, os.readlink(path)))
    try:
        os.makedirs(path or '.', exist_ok=True)
    except OSError as error:
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise InputError('%s: cannot be written: found a file, expected a folder; name another place'
                             % path) from None
        raise InputError('%s: cannot be written: %s' % (path, error.strerror)) from None


@contextlib.contextmanager
def atomic_write(path):
    """A context that gives a temporary path to write to. At the end it replaces `path`; after an error it is removed.

    The temporary file is in the folder of `path`, because a rename is atomic only within a file system. A missing
    folder is created. Raises InputError if `path` cannot be written.
    """
    partial = '%s.partial%d' % (path, os.getpid())
    make_folder(os.path.dirname(path))
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError('%s: cannot be written: it is not a regular file' % path)
    if os.path.lexists(partial):  # of a killed process with the same number; nothing else is replaced
        _check_regular(partial, os.lstat(partial))
    try:
        with write_errors(path):
            yield partial
            os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def write_text(path, text):
    """Write the UTF-8 file `path` completely or not at all; raises InputError as atomic_write does."""
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8', newline='\n') as file:
        file.write(text)


def write_json(path, content, indent=1):
    """Write `content` to a JSON file, completely or not at all; indent None: in one line. Raises as atomic_write."""
    write_text(path, json.dumps(content, indent=indent) + '\n')


def write_if_new(path, text, force=False):
    """Write the UTF-8 file `path`, unless it is there with this `text`; return whether it was written.

    Raises InputError where another file would be replaced, unless `force`.
    """
    if os.path.exists(path):
        file_size(path)
        with open(path, 'rb') as file:
            same = file.read() == text.encode()
        if same:
            return False
        if not force:
            raise InputError('%s: found another file there; name another place, or replace it with --force' % path)
    write_text(path, text)
    return True


def refuse_to_overwrite(outputs, inputs):
    """Raise InputError where one of `outputs`, {flag: path or None}, is one of `inputs`, or another output."""
    known = {os.path.realpath(path): path for path in inputs if path}
    for flag, path in outputs.items():
        if path and os.path.realpath(path) in known:
            raise InputError('%s %s: would overwrite %s, which this command reads or writes too; name another file'
                             % (flag, path, known[os.path.realpath(path)]))
        if path:
            known[os.path.realpath(path)] = path


def append_text(path, text):
    """Append `text` to the UTF-8 file `path`; raises InputError if that fails, or if it is no regular file."""
    if os.path.lexists(path):
        file_size(path)
    with write_errors(path), open(path, 'a', encoding='utf-8') as file:
        file.write(text)


def remove_leftovers(folder, name):
    """Remove temporary files of atomic_write that killed runs left in `folder`, of files whose name matches `name`.

    `name` is a regular expression for the whole name. Nothing else is removed, and nothing but regular files.
    """
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries
                 if re.match(r'(?:%s)\.partial\d+$' % name, entry.name) and entry.is_file(follow_symlinks=False)]
    for path in found:
        os.remove(path)


def sync(path):
    """Wait until a file's content, or a folder's list of files, is on the disk.

    Returns whether the file system can do that; some network file systems cannot for a folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def sha256(path):
    """The SHA-256 of a file, in hexadecimal. Raises InputError if it is not a regular file or cannot be read."""
    file_size(path)
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    return digest.hexdigest()


@contextlib.contextmanager
def file_lock(path):
    """A context that holds the lock file `path`; its folder is created if it is missing.

    The kernel releases the lock when its process ends, however it ends. Where the file system has no locks, the run
    continues with a warning. Raises InputError, which names the other process, if another run holds it, and where
    `path` is a link, a pipe or a file that is no lock.
    """
    make_folder(os.path.dirname(path))
    with write_errors(path):
        if os.path.lexists(path):
            _check_regular(path, os.lstat(path))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        owner = os.read(descriptor, 999).decode('utf-8', 'replace').strip()
        if owner and not re.match(r'process \d+ on .*$', owner):
            raise InputError('%s: found another file, expected the lock of an earlier run; move it away' % path)
        _acquire(descriptor, path, owner)
        with write_errors(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b'process %d on %s\n' % (os.getpid(), socket.gethostname().encode()), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor, path, owner):
    try:
        for _ in range(LOOKS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            # A run holds the lock alone; a look shares it. So this fails where another run holds it.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            time.sleep(0.01)
        raise BlockingIOError
    except BlockingIOError:
        raise InputError('%s: held by %s; wait for that run, or give another folder'
                         % (path, printable(owner) or 'another run')) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise InputError('%s: cannot be locked: %s' % (path, error.strerror)) from None
        print('warning: %s: this file system has no locks (%s); make sure that no other run writes to this folder'
              % (printable(path), error.strerror), flush=True)


def is_locked(path):
    """Whether a run holds the lock file `path`, as file_lock does.

    The look shares the lock for a moment, for which a run that starts meanwhile waits. Raises InputError where the
    file cannot be read, or the file system has no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError('%s: %s; move it away if no run made it' % (path, error.strerror)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise InputError('%s: this file system has no locks (%s), so it is not known when the other run ends; name a '
                         'folder on another one' % (path, error.strerror)) from None
    finally:
        os.close(descriptor)
    return False
