"""Ctrl-C and SIGTERM in a loop: the first lets the round end, a second one stops at once."""
import contextlib
import os
import signal
import socket
import sys
import threading
import time

from errors import SIGNALS, signal_status

PATIENCE = 10  # seconds that a round may take after the first signal, or thrice the longest so far where that is more
FIRST = 120    # the same of the first round: it takes longer than others, and nothing is known of those
LOOK = 0.5     # seconds between two looks at the round under way


class Stop:
    """`with Stop('step') as stop`: `stop.asked` is the signal that came, or None; rounds run in `stop.round()`.

    A thread listens: the main thread, where Python handles signals, may be inside TensorFlow for long, or for
    ever where a read hangs. A round that does not end is not waited for.
    """

    def __init__(self, name, watch=lambda: None):
        """`name` of a round, for what is said to the user; `watch()` may have a line to say meanwhile, or None."""
        self.asked = None
        self._name, self._watch = name, watch
        self._began = None  # the round under way
        self._longest = 0.0

    def __enter__(self):
        """Listen, in place of what the signals did before."""
        self._ear, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._bell.fileno())
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        for number in SIGNALS:
            signal.siginterrupt(number, False)  # a file being written is not to fail of it
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        """Put back what the signals did before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._bell.close()
        self._thread.join()
        self._ear.close()

    @contextlib.contextmanager
    def round(self):
        """A round, which the first signal lets end."""
        self._began = began = time.time()
        try:
            yield
        finally:
            self._began = None
            self._longest = max(self._longest, time.time() - began)

    def _listen(self):
        heard = 0.0
        self._ear.settimeout(LOOK)
        while True:
            try:
                number = self._ear.recv(1)
            except socket.timeout:
                line = self._watch()
                if line:
                    self._say(line)
                began = self._began
                patience = max(PATIENCE, 3 * self._longest) if self._longest else FIRST
                if self.asked and began is not None and time.time() - max(began, heard) > patience:
                    self._leave('the %s did not end in %.0f s; does a read hang?' % (self._name, patience))
                continue
            if not number:
                return
            if number[0] not in SIGNALS:
                continue
            if self.asked is not None:
                self._leave('a second signal')
            self.asked, heard = signal.Signals(number[0]), time.time()
            self._say('%s: the %s is finished first; a second signal stops at once' % (self.asked.name, self._name))

    def _leave(self, reason):
        self._say('stopped at once (%s)' % reason)
        os._exit(signal_status(self.asked))

    def _say(self, text):
        print('\n' + text, file=sys.stderr, flush=True)
