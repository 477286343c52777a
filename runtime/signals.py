"""Ctrl-C and SIGTERM in a loop: after the first signal the iteration finishes, a second one exits at once."""
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
POLL_SECONDS = 0.5  # between two checks of the running iteration


class SignalWatcher:
    """Lets a loop finish its iteration after Ctrl-C or SIGTERM.

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
        self._started = started = time.time()
        try:
            yield
        finally:
            self._started = None
            self._longest = max(self._longest, time.time() - started)

    def _watch(self):
        """The thread: receive signals, poll, and exit when the iteration hangs."""
        signal_time = 0.0
        self._reader.settimeout(POLL_SECONDS)
        while True:
            try:
                number = self._reader.recv(1)
            except socket.timeout:
                line = self._poll()
                if line:
                    self._print(line)
                started = self._started
                limit = max(HANG_SECONDS, 3 * self._longest) if self._longest else FIRST_HANG_SECONDS
                if self.received and started is not None and time.time() - max(started, signal_time) > limit:
                    self._exit('the %s did not end in %.0f s; does a read hang?' % (self._name, limit))
                continue
            if not number:
                return
            if number[0] not in SIGNALS:
                continue
            if self.received:
                self._exit('a second signal')
            self.received, signal_time = signal.Signals(number[0]), time.time()
            self._print('%s: the %s is finished first; a second signal exits at once'
                        % (self.received.name, self._name))

    def _exit(self, reason):
        self._print('exit at once (%s)' % reason)
        os._exit(signal_exit_status(self.received))

    def _print(self, text):
        print('\n' + text, file=sys.stderr, flush=True)  # a progress bar may stand in the current line
