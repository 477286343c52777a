"""Signals in a loop: after the first one the iteration finishes, a second one exits at once."""
import contextlib
import os
import signal
import socket
import sys
import threading
import time

from runtime.errors import SIGNALS, signal_exit_status, signal_handlers

# An iteration hangs if it is still running so many seconds after the first signal: this, or 3 times the longest
# iteration so far if that is more.
HANG_SECONDS = 10
# The same for the first iteration: TensorFlow prepares the graph in it, and no other shows how long one takes.
FIRST_HANG_SECONDS = 120
POLL_SECONDS = 0.5    # between two checks of the running iteration
REPEAT_SECONDS = 1    # signals so soon after the first one repeat it: some job systems send two at once


class SignalWatcher:
    """Lets a loop finish its iteration after one of SIGNALS.

        with SignalWatcher('step') as watcher:
            while not watcher.received:  # the signal, or None
                with watcher.iteration():
                    ...

    A thread receives the signals: Python's handlers run in the main thread only, and that may be inside TensorFlow
    for a long time, or forever if a read hangs. An iteration that hangs is not waited for.
    """

    def __init__(self, name, poll=lambda: None):
        """`name` is what messages call an iteration. `poll()` is called regularly: a line to print, or None."""
        self.received = None
        self._name, self._poll = name, poll
        self._started = None  # time at which the running iteration started
        self._longest = 0.0   # seconds

    def __enter__(self):
        """Receive the signals instead of the handlers installed so far."""
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._replaced_fd = signal.set_wakeup_fd(self._writer.fileno())  # Python writes each signal's number to it
        self._handlers = signal_handlers(lambda *_: None, SIGNALS)
        self._handlers.__enter__()
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.siginterrupt(number, False)  # a signal must not make a running write fail
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        """Install the earlier handlers again."""
        self._handlers.__exit__(None, None, None)
        signal.set_wakeup_fd(self._replaced_fd)
        self._writer.close()  # ends the thread
        self._thread.join()
        self._reader.close()

    @contextlib.contextmanager
    def iteration(self):
        """One iteration, which the first signal allows to finish."""
        self._started = started = time.monotonic()
        try:
            yield
        finally:
            self._started = None
            self._longest = max(self._longest, time.monotonic() - started)

    def _watch(self):
        """The thread: receive signals, poll, and exit when the iteration hangs."""
        # Counted in polls, not by a clock, which goes on while the process or the machine is frozen.
        since_signal, waited, waited_for = 0.0, 0.0, None
        self._reader.settimeout(POLL_SECONDS)
        while True:
            try:
                number = self._reader.recv(1)
            except socket.timeout:
                line = self._poll()
                if line:
                    self._print(line)
                started, since_signal = self._started, since_signal + POLL_SECONDS
                if self.received and started is not None:
                    waited = waited + POLL_SECONDS if started == waited_for else POLL_SECONDS
                    waited_for = started
                    limit = max(HANG_SECONDS, 3 * self._longest) if self._longest else FIRST_HANG_SECONDS
                    if waited > limit:
                        self._exit('the %s did not end in %.0f s; does a read hang?' % (self._name, limit))
                continue
            if not number:
                return
            if number[0] not in SIGNALS:
                continue
            if self.received:
                if since_signal >= REPEAT_SECONDS:
                    self._exit('a second signal')
                continue
            self.received, since_signal = signal.Signals(number[0]), 0.0
            self._print('%s: the %s is finished first; a second signal exits at once'
                        % (self.received.name, self._name))

    def _exit(self, reason):
        self._print('exit at once (%s)' % reason)
        os._exit(signal_exit_status(self.received))

    def _print(self, text):
        with contextlib.suppress(OSError):  # of a terminal that is closed
            print('\n' + text, file=sys.stderr, flush=True)  # a progress bar may stand in the current line
