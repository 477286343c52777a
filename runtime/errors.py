"""How a run ends early: the one-line error, the signals, and the exit statuses of scripts."""
import contextlib
import os
import signal
import sys
import threading
import traceback

# Ctrl-C; the end of a job; a closed terminal; SLURM's warning before the end of a job
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
MAX_MESSAGE = 2000  # characters of an InputError's message


class InputError(ValueError):
    """A file, row, key or setting cannot be used.

    The message is one line: what was found, what was expected, what to do next. Characters that cannot be printed,
    such as a line end in a video's name, are replaced by escapes. A very long message is shortened in its middle.
    """

    def __init__(self, message):
        if len(message) > MAX_MESSAGE:
            message = '%s … %s' % (message[:MAX_MESSAGE // 2], message[-MAX_MESSAGE // 2:])
        super().__init__(printable(message))


def printable(text):
    """`text` with escapes in place of what a terminal must not get, such as line ends and its control codes."""
    return ''.join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def counted(number, noun):
    """Such as "1 video", "2,000 videos" and "2 source classes"."""
    return '{:,} {}{}'.format(number, noun, '' if number == 1 else 'es' if noun.endswith('s') else 's')


def one_line(error):
    """The message of `error` without line ends."""
    return ' '.join(str(error).split())


def reason(error):
    """The message of an InputError or OSError, in one line that says of which file or stream it is."""
    if isinstance(error, InputError):
        return str(error)
    # what the program writes to files raises InputError; what is left has no name
    return ('' if error.filename else 'standard output: ') + one_line(error)


class Interrupted(BaseException):
    """The signal `number` ended the run. Not an Exception, so that `except Exception` does not catch it."""

    def __init__(self, number, saved=''):
        """`saved` tells the user what the run has saved and how to resume it."""
        super().__init__('stopped by %s%s' % (signal.Signals(number).name, saved and '; ' + saved))
        self.number = number


def signal_exit_status(number):
    """The exit status of a run that the signal `number` ended, such as 130 after Ctrl-C and 143 after SIGTERM."""
    return 128 + number


def exit_status(main):
    """Run `main()` and return the exit status of the process.

    0: success; 2: an InputError or OSError; signal_exit_status: a signal. Prints the reason in one line. Other
    exceptions, which are faults of the program, are raised.
    """
    def interrupt(number, _):
        raise Interrupted(number)

    _prepare_streams()
    try:
        with signal_handlers(interrupt, SIGNALS):
            main()
            sys.stdout.flush()
    except InputError as error:
        _complain('error: %s' % error)
        return 2
    except OSError as error:
        _complain('error: %s' % InputError(reason(error)))
        try:
            sys.stdout.flush()
        except OSError:  # Python would flush again at exit, and print a second message
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except Interrupted as interrupted:
        _complain(interrupted)
        return signal_exit_status(interrupted.number)
    return 0


def _prepare_streams():
    """Make the standard streams such that a print never fails because of what it prints, or because one is closed."""
    for descriptor in (0, 1, 2):  # a file that is opened later must not become a standard stream
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when Python started
            setattr(sys, name, open(os.devnull, 'w', errors='backslashreplace'))
        elif hasattr(stream, 'reconfigure'):  # not so where a test or a notebook replaces it
            stream.reconfigure(errors='backslashreplace')  # of a character that an ASCII terminal lacks


def _complain(text):
    with contextlib.suppress(OSError):  # of a terminal that is closed
        print(text, file=sys.stderr, flush=True)


def run_and_exit(main):
    """Run `main()` and end the process with its exit status, even while another thread hangs in a read."""
    try:
        status = exit_status(main)
    except Exception:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def exit_on_ctrl_c():
    """A context in which Ctrl-C ends the process at once, without a traceback: for slow imports."""
    return signal_handlers(signal.SIG_DFL, [signal.SIGINT])


@contextlib.contextmanager
def signal_handlers(handler, signals):
    """A context in which `handler` handles `signals`; outside the main thread, where Python forbids it, nothing.

    Signals that the process ignores stay ignored: SIGHUP after nohup, SIGINT in a background job of a script.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = {number: signal.signal(number, handler) for number in signals
                if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, old in replaced.items():
            signal.signal(number, old)
