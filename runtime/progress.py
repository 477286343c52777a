"""Progress of a loop: a bar where standard error is a terminal, elsewhere a line every half minute; and its lines."""
import contextlib
import sys
import time

from tqdm import tqdm

LINE_SECONDS = 30  # between two lines of progress where there is no bar


def say(line):
    """Print a line above the bar, if there is one; it is there at once, also in a file or a pipe."""
    tqdm.write(line)
    sys.stdout.flush()


def track(items, unit, title='', total=None):
    """Yield the items, and show with Progress how many are done; `total`: their number, where len() does not tell."""
    with Progress(len(items) if total is None else total, unit, title=title) as progress:
        for item in items:
            yield item
            progress.update()


class Pace:
    """How long the iterations of a loop take, from one look to the next."""

    def __init__(self, done=0):
        """Start the clock; `done` iterations are done before."""
        self._done, self._since = done, time.monotonic()

    def since_last_look(self, done):
        """(iterations, seconds) since the last look, or the start; now `done` iterations are done."""
        now = time.monotonic()
        passed = done - self._done, now - self._since
        self._done, self._since = done, now
        return passed


def progress_text(unit, done, total, iterations, seconds):
    """Such as `step 400 of 600  0.31 s/step  1:02 left`: the leftover ones take as long as the last `iterations`."""
    each = seconds / iterations if iterations else 0.0
    return '%s %d of %d  %s s/%s  %s left' % (
        unit, done, total, '%.0f' % each if each >= 100 else '%.3g' % each, unit, clock_text(each * (total - done)))


def clock_text(seconds):
    """Such as `0:07`, `1:02:33` and `2 d 4:00:00`."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    text = '%d:%02d:%02d' % (hours, minutes, seconds) if days or hours else '%d:%02d' % (minutes, seconds)
    return '%d d %s' % (days, text) if days else text


class Progress:
    """Shows how far a loop is, on standard error. Use it in a `with`."""

    def __init__(self, total, unit, done=0, title='', leave=True):
        """The loop has `total` iterations, each called a `unit`; `done` of them are done before.

        leave: whether a bar stays on the terminal at the end. Lines begin with the title, such as `step 400: `.
        """
        self._total, self._unit, self._title = total, unit, title and title + ': '
        self._done, self._shown, self._pace = done, time.monotonic(), Pace(done)
        # disable=None: no bar where standard error is no terminal; a file would get every state of it
        self._bar = tqdm(total=total, initial=done, unit=unit, desc=title or None, leave=leave, smoothing=0.1,
                         disable=None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Remove or leave the bar."""
        self._bar.close()

    def update(self, iterations=1):
        """Count iterations; show a line if it is time for one."""
        self._done += iterations
        self._bar.update(iterations)
        if self._bar.disable and time.monotonic() - self._shown >= LINE_SECONDS:
            passed = self._pace.since_last_look(self._done)
            self._shown = time.monotonic()
            with contextlib.suppress(OSError):  # a closed terminal must not end the loop
                print(self._title + progress_text(self._unit, self._done, self._total, *passed), file=sys.stderr,
                      flush=True)

    def say(self, line):
        """Print a line that shows how far the loop is, so that the next line of this class can wait."""
        self._shown = time.monotonic()
        say(line)
