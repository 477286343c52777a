"""The log of a training run: mean losses since the last line, loss_results_log.txt, TensorBoard scalars.

The file and TensorBoard have every loss as it is minimized. The screen shows a few of them, such that they compare.
"""
import itertools
import os
import re
from typing import NamedTuple

from runtime.errors import InputError, printable
from runtime.files import append_text, atomic_write, file_size, write_errors
from runtime.progress import say
from runtime.session import tf

LOG_NAME = 'loss_results_log.txt'


class Window(NamedTuple):
    """The steps since the last log line; a snapshot keeps it, so that a resumed run writes the same lines."""

    sums: dict = {}     # name → sum of a loss over the counted steps
    steps: int = 0      # counted steps
    skips: int = 0      # steps skipped in a row, up to the last one
    all_skips: int = 0  # steps skipped in all

    def add(self, losses):
        """With one more step, with these losses {name: value}."""
        return self._replace(sums={name: self.sums.get(name, 0) + float(value) for name, value in losses.items()},
                             steps=self.steps + 1, skips=0)

    def skip(self):
        """With one more skipped step."""
        return self._replace(skips=self.skips + 1, all_skips=self.all_skips + 1)

    def means(self):
        """Mean losses {name: value}; empty where no step is counted."""
        return {name: total / self.steps for name, total in self.sums.items()}

    def empty(self):
        """After a log line."""
        return self._replace(sums={}, steps=0)


def check_progress(progress):
    """Raise InputError where this is not what a training run saves of its progress in a snapshot."""
    try:
        window = Window(**progress['window'])
        numbers = [*window.sums.values(), *window[1:]]
        if all(type(number) in (int, float) for number in numbers) and (window.steps > 0 or not window.sums):
            return
    except (KeyError, TypeError, AttributeError):
        pass
    raise InputError('found a progress that no run saves, expected its window')


class ScreenLoss(NamedTuple):
    """A loss as the screen shows it: the mean of some losses of the log, divided by what makes it comparable."""

    names: tuple     # of losses in the log; those that a training lacks are left out
    divisor: float


def screen_means(means, losses):
    """Such as `moment 2.480  untrimmed 2.731`, of mean losses {name: value} and of `losses`, {title: ScreenLoss}."""
    texts = []
    for title, loss in losses.items():
        values = [means[name] for name in loss.names if name in means]
        if values:
            texts.append('%s %.3f' % (title, sum(values) / len(values) / loss.divisor))
    return '  '.join(texts)


class TrainingLog:
    """Log lines in loss_results_log.txt, and scalars for TensorBoard. Use it in a `with`."""

    def __init__(self, folder, first_step, window=Window()):
        """Continue the log in `folder` after `first_step`; lines of later steps are removed."""
        self.window = window
        self._path = os.path.join(folder, LOG_NAME)
        _cut(self._path, first_step)
        self._board = tf.summary.FileWriter(folder, filename_suffix='.step-%d' % first_step)
        forget_from(self._board, first_step + 1)  # what an earlier run showed of later steps

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Close the file of TensorBoard."""
        self._board.close()

    def add(self, losses):
        """Count one step, with these losses {name: value}."""
        self.window = self.window.add(losses)

    def skip(self):
        """Count one skipped step; return how many were skipped in a row."""
        self.window = self.window.skip()
        return self.window.skips

    def write(self, line):
        """Write a line to the file, then to the screen, which may be closed."""
        append_text(self._path, line + '\n')
        say(line)

    def write_means(self, step, **figures):
        """Write the mean losses since the last call, and `figures`, as those of `step`; return the mean losses.

        The line is in the file only: it is a long one.
        """
        losses = self.window.means()
        means = dict(losses, **figures)
        add_scalars(self._board, step, means)
        self.window = self.window.empty()
        append_text(self._path, log_line(step, means) + '\n')
        return losses

    def flush(self):
        """Write what TensorBoard has not got yet."""
        self._board.flush()


def add_scalars(board, step, figures):
    """Write `figures` {tag: value}, as those of `step`, with a tf.summary.FileWriter."""
    board.add_summary(tf.Summary(value=[
        tf.Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]), step)


def forget_from(board, step):
    """Let TensorBoard forget what files before that of the FileWriter `board` show of `step` and later ones."""
    board.add_session_log(tf.SessionLog(status=tf.SessionLog.START), step)


def log_line(step, means):
    """One line of the log: `step N  branch/loss value …`."""
    return 'step %d  %s' % (step, '  '.join('%s %.5g' % (name, value) for name, value in means.items()))


def _cut(path, step):
    """Remove log lines of steps after `step`, and a line that is cut off: the run writes them again.

    Where the run starts at the beginning, the log of an earlier one is renamed.
    """
    if not (os.path.lexists(path) and file_size(path)):
        return
    with open(path, encoding='utf-8', errors='surrogateescape') as text:
        lines = text.readlines()
    steps = [re.match(r'step (\d+) ', line) for line in lines]
    if not step and any(steps):
        number = next(number for number in itertools.count(1) if not os.path.lexists('%s.%d' % (path, number)))
        with write_errors(path):
            os.rename(path, '%s.%d' % (path, number))
        print('the log of an earlier training is now %s' % printable('%s.%d' % (path, number)))
        return
    kept = [line for line, match in zip(lines, steps)
            if line.endswith('\n') and not (match and int(match.group(1)) > step)]
    if kept != lines:
        with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8', errors='surrogateescape') as text:
            text.writelines(kept)
