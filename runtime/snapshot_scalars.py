"""Figures of tested snapshots as TensorBoard shows them: a run of its own beside the losses."""
import os

import numpy as np

from runtime.files import make_folder
from runtime.session import tf
from runtime.training_log import add_scalars, forget_from

FOLDER = 'tested'  # in the model folder; TensorBoard calls the run so
END = '.tested'    # of the names of its files


class SnapshotScalars:
    """Writes the figures of each tested snapshot once, also if the test is started again. Use it in a `with`."""

    def __init__(self, model_dir):
        """Read what earlier runs have written to the folder in `model_dir`; InputError where it cannot be made."""
        self._folder = os.path.join(model_dir, FOLDER)
        make_folder(self._folder)
        self._written, self._board = _read(self._folder), None  # {step: {tag: value}}; made when there is news

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Close the file."""
        if self._board:
            self._board.close()

    def add(self, step, figures):
        """Write `figures` {tag: value} of the snapshot of `step`, unless they are there; TensorBoard shows them now.

        Where others are there, of this step or later ones, such as those of other settings of the test, TensorBoard
        forgets them.
        """
        figures = {tag: float(np.float32(value)) for tag, value in figures.items()}  # as the file keeps them
        if self._written.get(step) == figures:
            return
        self._board = self._board or tf.summary.FileWriter(self._folder, filename_suffix=END)
        if any(there >= step for there in self._written):
            forget_from(self._board, step)
            self._written = {there: value for there, value in self._written.items() if there < step}
        add_scalars(self._board, step, figures)
        self._board.flush()
        self._written[step] = figures


def _read(folder):
    """{step: {tag: value}} that TensorBoard shows of our files in `folder`."""
    shown = {}
    for name in sorted(name for name in os.listdir(folder) if '.tfevents.' in name and name.endswith(END)):
        try:
            for event in tf.train.summary_iterator(os.path.join(folder, name)):
                if event.session_log.status == tf.SessionLog.START:
                    shown = {step: figures for step, figures in shown.items() if step < event.step}
                for value in event.summary.value:
                    shown.setdefault(event.step, {})[value.tag] = value.simple_value
        except tf.errors.OpError:  # a file that a killed run has not finished, or a folder
            continue
    return shown
