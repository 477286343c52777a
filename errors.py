"""How a run ends early: the one-line error, the signal; and how scripts report it."""
import contextlib
import os
import signal
import sys
import threading
import traceback

SIGNALS = (signal.SIGINT, signal.SIGTERM)

MOST_SIGNS = 2000  # of a message


class InputError(ValueError):
    """A file, row, key or setting cannot be used; the message is one line: what, found, expected, remedy.

    What of it cannot be printed, such as a line end in a video's name, stands there as an escape. The middle of
    one that quotes very much is left out.
    """

    def __init__(self, message):
        if len(message) > MOST_SIGNS:
            message = '%s … %s' % (message[:MOST_SIGNS // 2], message[-MOST_SIGNS // 2:])
        super().__init__(''.join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message))


def one_line(error):
    """What `error` says, without line ends."""
    return ' '.join(str(error).split())


class Stopped(BaseException):
    """The signal `number` ended the run; the message is one line. No `except Exception` is to stop it."""

    def __init__(self, number, kept=''):
        """`kept` names what the run leaves to go on from."""
        super().__init__('stopped by %s%s' % (signal.Signals(number).name, kept and '; ' + kept))
        self.number = number


def signal_status(number):
    """The exit status of a run that the signal `number` ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + number


def exit_status(main):
    """Run `main()`; a process's exit status: 0, 2 after an InputError or OSError, signal_status after a signal.

    What ended it is told in one line.
    """
    try:
        with _signals_raise():
            main()
            sys.stdout.flush()
    except InputError as error:
        print('error: %s' % error, file=sys.stderr)
        return 2
    except OSError as error:  # a folder, the disk, or nobody who reads what is printed
        print('error: %s' % InputError(one_line(error)), file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # Python would try it once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return signal_status(stopped.number)
    return 0


def leave(main):
    """Run `main()` and end the process with its exit_status, without waiting for a thread that hangs in a read."""
    try:
        status = exit_status(main)
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def ctrl_c_ends():
    """Ctrl-C ends the process at once, without a traceback: for what takes seconds before a script's main runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _signals_raise():
    """Ctrl-C and SIGTERM raise Stopped in the main thread."""
    def stop(number, _):
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only there a program may change what signals do
        return
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
