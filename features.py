"""Clip features: reading those of a video, in every form they may have, and interpolating their rows.

Legend (config.py): C feature width.
"""
import contextlib
import os
import threading
import zipfile

import h5py
import numpy as np
import pandas as pd
import simdjson
from scipy import sparse

from errors import InputError, one_line

CSV_BLOCK = 1 << 18  # bytes parsed at a time, that they stay in the processor's cache
FORMS = ('.npy', '.npz', '.csv')  # of a video's file, the fastest first


# Interpolation

def _interpolation_weights(clips, steps, seconds, frames, clip_frames):
    """Sparse [steps, clips] float64 matrix: each output row as the mean of three linear interpolations."""
    if clips == 1:
        return sparse.csr_matrix(np.ones((steps, 1)))
    # The order of operations is the authors': where a row's edge falls on a clip centre, rounding decides
    # whether the row is empty.
    clip_seconds = clip_frames / (frames / seconds)
    first, last = clip_seconds / 2, clip_seconds / 2 + (clips - 1) * clip_seconds
    edges = 1.0 / steps * np.arange(steps + 1) * (clip_frames * clips / frames * seconds)
    low, high = np.maximum(edges[:-1], first + 1e-4), np.minimum(edges[1:], last - 1e-4)
    empty = (high < first) | (low > last)
    points = low[:, np.newaxis] + (high - low)[:, np.newaxis] * [0.0, 0.5, 1.0]
    at = np.clip((points - first) / clip_seconds, 0, clips - 1)
    below = np.minimum(at.astype(int), clips - 2)
    share = at - below
    weights = np.concatenate([1 - share, share], axis=1) / 3 * ~empty[:, np.newaxis]
    columns = np.concatenate([below, below + 1], axis=1)
    return sparse.csr_matrix((weights.ravel(), columns.ravel(), np.arange(steps + 1) * columns.shape[1]),
                             shape=(steps, clips))


def interpolate(clips, steps, seconds, frames, clip_frames=8):
    """Clip features [n, C] of a video of `seconds` and `frames` → [steps, C] of the same type.

    Output row r is the mean of the linear interpolation at the start, middle and end of its share of the
    clips' span, cut to where clip centres are; an empty share gives 0, and one clip is repeated (SPEC
    section 2).
    """
    weights = _interpolation_weights(len(clips), steps, seconds, frames, clip_frames)
    return weights.astype(clips.dtype) @ clips


# Features

class FeatureStore:
    """Features by video: a folder of VIDEO.npy / .npz / .csv, or an HDF5 file with a dataset VIDEO."""

    def __init__(self, path, width, forms=FORMS):
        """`path` of the folder or the file; `width` columns expected.

        An HDF5 file of the path's name and .h5 or .hdf5 is preferred to the folder; in a folder, the first of
        `forms` that is there.
        """
        self.path = next((path + end for end in ('.h5', '.hdf5') if os.path.isfile(path + end)), path)
        self.width = width
        self._forms = forms
        self._file = None
        self._lock = threading.Lock()  # of opening the file; h5py itself lets one thread read at a time

    def exists(self):
        """Is the folder or the file there?"""
        return os.path.exists(self.path)

    def read(self, video, rows=None):
        """Features of `video`, float32 [n, width].

        Raises InputError where there are none, they are not a table of that width, not `rows` rows, or where
        a number is not finite: it would spread to every weight.
        """
        source, values = self._hdf5(video) if os.path.isfile(self.path) else self._from_folder(video)
        if values.ndim != 2 or values.dtype.kind not in 'fiu':
            raise InputError('%s: found an array of shape %s and type %s, expected rows of %d numbers'
                             % (source, values.shape, values.dtype, self.width))
        if values.shape[1] != self.width:
            raise InputError('%s: found %d columns, expected %d (--feature_width)'
                             % (source, values.shape[1], self.width))
        if len(values) == 0:
            raise InputError('%s: found no rows; extract the features again' % source)
        if rows is not None and len(values) != rows:
            raise InputError('%s: found %d rows, expected %d, a row per clip: feature_frame of the '
                             'annotation must be the rows times the frames of a clip'
                             % (source, len(values), rows))
        with np.errstate(over='ignore'):  # a float64 beyond float32 becomes infinite
            values = np.asarray(values, np.float32)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError('%s: found %s in row %d, column %d (from 0), expected finite numbers; '
                             'extract the features again' % (source, values[row, column], row, column))
        return values

    def _hdf5(self, video):
        source = '%s: dataset %s' % (self.path, video)
        with self._lock:
            if self._file is None:
                try:
                    self._file = h5py.File(self.path, 'r')
                except OSError as error:
                    raise InputError('%s: not an HDF5 file (%s)' % (self.path, one_line(error))) from None
        try:
            dataset = self._file.get(video)
            if isinstance(dataset, h5py.Dataset):
                return source, np.asarray(dataset[()])
        except Exception as error:  # h5py tells a damaged file by several types of error
            raise InputError('%s: cannot be read (%s)' % (source, one_line(error))) from None
        raise InputError('%s: has no dataset %s' % (self.path, video))

    def _from_folder(self, video):
        for form in self._forms:
            path = os.path.join(self.path, video + form)
            if os.path.exists(path):
                return path, _READERS[form](path)
        raise InputError('%s: no features of video %s (looked for %s)'
                         % (self.path, video, ', '.join(video + form for form in self._forms)))


def _read_npy(path):
    try:
        with open(path, 'rb') as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged header raises what its text provokes
        raise InputError('%s: not a numpy array (%s)' % (path, one_line(error))) from None


def _read_npz(path):
    # zipfile, for numpy 1's reader prints a traceback of its own where the file is cut short
    try:
        with zipfile.ZipFile(path) as arrays:
            names = arrays.namelist()
            if len(names) == 1:
                with arrays.open(names[0]) as file:
                    return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # zipfile, zlib and numpy each have errors of their own
        raise InputError('%s: not a readable npz file (%s)' % (path, one_line(error))) from None
    raise InputError('%s: found %d arrays, expected one' % (path, len(names)))


def _read_csv(path):
    try:
        with open(path, 'rb') as file:
            file.readline()  # the header row
            values = _plain_rows(file)
        if values is None:
            # The header row is skipped, not read: pandas takes a row's first cell for its name where a row is longer.
            values = pd.read_csv(path, dtype=np.float64, header=None, skiprows=1).to_numpy()
        if not np.isfinite(values).all():
            raise ValueError('found cells without a finite number')
        return values
    except (ValueError, OSError) as error:
        raise InputError('%s: %s; expected a header row, then rows of numbers'
                         % (path, _bad_csv_cell(path) or one_line(error))) from None


def _plain_rows(file):
    """Comma-separated rows of plain numbers, the rest of `file` → float64 [n, C]; None where pandas must see to it.

    Plain rows are JSON once they stand in brackets, which simdjson reads several times as fast as pandas reads CSV.
    It refuses empty cells, nan, +1 or text: pandas knows what those are, or where.
    """
    parser, widths, blocks = simdjson.Parser(), set(), []
    try:
        for lines in iter(lambda: file.readlines(CSV_BLOCK), []):
            rows = parser.parse(b'[[%s]]' % b'],['.join(lines))
            widths.update(map(len, rows))
            if len(widths) > 1 or 0 in widths or len(rows) != len(lines):
                return None
            blocks.append(np.frombuffer(rows.as_buffer(of_type='d')).reshape(len(lines), -1))
            del rows  # the parser's memory, which the next block takes
    except (ValueError, TypeError):
        return None
    return np.concatenate(blocks) if blocks else None


def _bad_csv_cell(path):
    """Where a CSV has something else than a number, for the message; None where that is not what is wrong."""
    with contextlib.suppress(Exception):
        cells = pd.read_csv(path, dtype=str, header=None, skiprows=1, keep_default_na=False)
        numbers = cells.apply(pd.to_numeric, errors='coerce').to_numpy(float)
        row, column = np.argwhere(~np.isfinite(numbers))[0]
        return 'row %d, column %d: found %r' % (row + 2, column + 1, cells.iat[row, column])


_READERS = {'.npy': _read_npy, '.npz': _read_npz, '.csv': _read_csv}
