"""Clip features of a video: a store of them, in every form that they may have, and interpolating their rows.

Dimensions (docs/method.md, Legend): T rows of a video's features, C feature width.
"""
import collections
import contextlib
import functools
import os
import threading
from typing import NamedTuple

import h5py
import numpy as np
from scipy import sparse

from dataset.conversion_record import RECORD, has_changed, made_of_hdf5, made_of_npy, read_record
from dataset.feature_files import (
    FORMS,
    chunk_count,
    find_dataset,
    find_table,
    group_of_hdf5,
    has_line_end,
    is_in_hdf5,
    names_in_hdf5,
    read_dataset,
    read_errors,
    read_file,
    read_table,
)
from dataset.tables import check_video_id, located_errors
from runtime.errors import InputError, counted, printable
from runtime.files import MAX_BYTES, file_size

PICKLES = ('.pkl', '.pickle', '.pt', '.pth', '.joblib')
MAX_ROWS = 1 << 17      # of a video: a row per 8 frames for 9 hours
MAX_MAGNITUDE = 1e6     # of a number; larger ones are read, and named as suspicious


# Interpolation

def _interpolation_weights(clips, steps, seconds, frames, clip_frames):
    """Sparse [steps, clips] float64 matrix: each output row as the mean of three linear interpolations."""
    if clips == 1:
        return sparse.csr_matrix(np.ones((steps, 1)))
    # The order of operations is that of the published code: where the edge of a part falls on a clip centre,
    # rounding decides whether the row is empty.
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

    Args:
      clips: [n, C].
      steps: number of rows to make.
      seconds: duration of the video.
      frames: frames of the video.
      clip_frames: frames of a clip.

    The span of the clips is divided into `steps` equal parts. Row r is the mean of the linear interpolation at the
    start, the middle and the end of part r, as far as that lies between the first and the last clip centre; where
    none of it does, the row is 0. A single clip is repeated (docs/method.md, section 2).
    """
    weights = _interpolation_weights(len(clips), steps, seconds, frames, clip_frames)
    return weights.astype(clips.dtype) @ clips


# Features

class Survey(NamedTuple):
    """What a FeatureStore has of some videos; the texts are lines to be printed."""

    missing: list   # of the videos, those without features
    text: str       # what is read: its path, its form, and how many of the videos it has
    warnings: list  # texts: files that are not read, and are newer than what is, or not what it was made of


def check_name(name):
    """Raise InputError where `name` cannot be that of features in a store: VIDEO, or FOLDER/VIDEO."""
    parts = name.split('/')
    if len(parts) > 2:
        raise InputError('found the name %s, expected VIDEO or FOLDER/VIDEO; move the features into one folder or '
                         'into folders just below it' % ascii(name))
    for part in parts:
        check_video_id(part)


def _files_at(path):
    """The HDF5 files that are read in place of the folder `path`; the first is the one that is."""
    return [path + end for end in ('.h5', '.hdf5') if os.path.lexists(path + end)]


def names_in(path, key=''):
    """Names of all features in a folder, or in an HDF5 file: VIDEO, or FOLDER/VIDEO of folders just below; sorted.

    As in a FeatureStore, PATH.h5 and PATH.hdf5 go before the folder PATH. Files whose names begin with a dot are left
    out. In an HDF5 file, a group of one video counts as VIDEO, see names_in_hdf5; `key` as in a FeatureStore.
    Raises InputError where `path` is neither, or cannot be read.
    """
    path = (_files_at(path) + [path])[0]
    if not os.path.exists(path):
        raise InputError('%s: found no such folder or HDF5 file, expected one with features; name another' % path)
    with read_errors(path, 'cannot be read'):
        if not os.path.isdir(path):
            file_size(path)
            with h5py.File(path, 'r') as file:
                return sorted(names_in_hdf5(file, key))
        with os.scandir(path) as entries:
            found = [(entry.name, not entry.name.endswith(FORMS) and entry.is_dir()) for entry in entries
                     if not entry.name.startswith('.')]
        names = [name for name, is_folder in found if not is_folder]
        names += ['%s/%s' % (folder, name) for folder, is_folder in found if is_folder
                  for name in os.listdir(os.path.join(path, folder)) if not name.startswith('.')]
    return sorted({os.path.splitext(name)[0] for name in names if name.endswith(FORMS)})


class FeatureStore:
    """Features by video: a folder of VIDEO.npy / .npz / .csv, or an HDF5 file with a dataset or a group VIDEO.

    A name may have a folder (or an HDF5 group) before it: FOLDER/VIDEO. An array is [T, C] or [C, T], with any number
    of other axes of length 1, such as [1, T, C] or [C, T, 1, 1]. The contents are not trusted: the declared form and
    size are checked before the numbers are read, no pickle is loaded, and a name never leads out of the folder or the
    file.
    """

    def __init__(self, path, width, forms=None, complete_lines=False, on_suspect=None, layout='tc', key=''):
        """A store of features with `width` columns at `path`, a folder or an HDF5 file.

        Args:
          path, width: see above. PATH.h5 or PATH.hdf5 is preferred to the folder PATH; in a folder, the first of
            FORMS that a video has is read. `width` matters to `read` alone.
          forms: where given, `path` itself is read, and in a folder only files of these forms.
          complete_lines: whether a CSV without a line end at its end is refused: it may be cut short.
          on_suspect: called with (kind, text) at each video that is read although its numbers look wrong: all of them
            are zero, one is beyond MAX_MAGNITUDE, or a part of an HDF5 dataset was never written.
          layout: 'tc' where arrays are [T, C], a row for each time; 'ct' where they are [C, T].
          key: name of the array to read where an npz file, or the HDF5 group of a video, has several; '': the only
            one.
        """
        files = _files_at(path) if forms is None else []
        self.path = files[0] if files else path
        self.width = width
        self._unread = files[1:] + [path] if files else []
        self._forms = forms or FORMS
        self._complete_lines = complete_lines
        self._on_suspect = on_suspect
        self._layout = layout
        self._key = key
        self._file = None
        self._lock = threading.Lock()  # for opening the file; h5py itself lets one thread read at a time

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Close the HDF5 file."""
        if self._file is not None:
            self._file.close()

    def exists(self):
        """Whether the folder or the file exists."""
        return os.path.exists(self.path)

    def survey(self, videos):
        """The Survey of `videos`. A folder is listed once, however many videos there are."""
        is_folder = os.path.isdir(self.path)
        with read_errors(self.path, 'cannot be read'):
            there = _listing(self.path, videos) if is_folder else self._hdf5_listing(videos)
            forms_of = {video: [form for form in (self._forms if is_folder else ['']) if video + form in there]
                        for video in videos}
            hidden = self._hidden_in_folder(forms_of) if is_folder else self._hidden_by_hdf5(videos)
            warnings = self._outdated(hidden)
        missing = [video for video, forms in forms_of.items() if not forms]
        count = counted(len(videos), 'video')
        if missing:
            count = '{:,} of {}'.format(len(videos) - len(missing), count)
        read = collections.Counter(forms[0] for forms in forms_of.values() if forms)
        if is_folder and read:
            count += ': ' + ', '.join('{:,} {}'.format(read[form], form[1:]) for form in self._forms if read[form])
        text = '%s, %s, %s' % (self.path, 'folder' if is_folder else 'HDF5', count)
        return Survey(missing, printable(text), [printable(warning) for warning in warnings])

    def _hdf5_listing(self, videos):
        """Names in the HDF5 file, and GROUP/NAME in those of its groups that are before the names of `videos`."""
        file = self._open_hdf5()
        groups = {folder: group_of_hdf5(file, folder) for folder in _folders_of(videos)}
        return set(file).union('%s/%s' % (folder, name) for folder, group in groups.items() for name in group or ())

    def _hidden_in_folder(self, forms_of):
        """List of (video, file that is not read, file of the same video that is)."""
        return [(video, os.path.join(self.path, video + other), os.path.join(self.path, video + forms[0]))
                for video, forms in forms_of.items() for other in forms[1:]]

    def _hidden_by_hdf5(self, videos):
        """The same where an HDF5 file is read in place of another one (of no video: ''), or of a folder."""
        hidden = []
        for path in self._unread:
            names = _listing(path, videos) if os.path.isdir(path) else None
            hidden += [('', path, self.path)] if names is None else [
                (video, os.path.join(path, video + form), self.path)
                for video in videos for form in FORMS if video + form in names]
        return hidden

    def _outdated(self, hidden):
        """Texts about files that are not read although what is read is older, or was made of another version."""
        record, newer, changed = {}, [], []
        if hidden and os.path.isdir(self.path):
            with contextlib.suppress(InputError, OSError):  # the features can be read without it
                record = read_record(os.path.join(self.path, RECORD))
        for video, other, read in hidden:
            if read != self.path:
                made_of = made_of_npy(record, video, read)
            else:  # a conversion makes no groups, and the way through one could lead through a link
                made_of = None if '/' in video else made_of_hdf5(self._file, video)
            is_changed = has_changed(made_of, other)
            if is_changed:
                changed.append((other, read))
            elif is_changed is None and _modified(other) > _modified(read):
                newer.append((other, read))
        return [text % (min(pairs) + (len(pairs),)) for pairs, text in (
            (newer, '%s is newer than %s, which is read in its place (%d such files); convert the features again, or '
                    'move away what is older'),
            (changed, '%s has changed since %s, which is read in its place, was made of it (%d such files); convert '
                      'the features again')) if pairs]

    def stored_in(self, video):
        """Path of the file that `read` reads for `video`; raises missing_error where there is none."""
        if os.path.isdir(self.path):
            for form in self._forms:
                path = os.path.join(self.path, video + form)
                if os.path.lexists(path):
                    return path
        else:
            with read_errors(self.path, 'cannot be read'):
                if is_in_hdf5(self._open_hdf5(), video):
                    return self.path
        raise self.missing_error(video)

    def shape(self, video):
        """(rows, columns) of the features of `video` as they are stored, whatever `width` is.

        Only headers are read, but a CSV is read to its end. Raises InputError where there are no features, or where
        they are not rows of numbers.
        """
        self._check_name(video)
        check = functools.partial(self._check_table, None, None, None)
        if os.path.isdir(self.path):
            path = self.stored_in(video)
            if file_size(path) > MAX_BYTES and path.endswith('.csv'):
                raise InputError('%s: found a file of more than %d bytes; check that it is one video'
                                 % (path, MAX_BYTES))
            table = read_table(path, functools.partial(check, path), self._key)
        else:
            _, _, table = self._dataset(video, check)
        return table.rows, table.columns

    def shapes(self, videos, on_video=None):
        """{video: (rows, columns), or the InputError of `shape`}; on_video() is called after each video."""
        found = {}
        for video in videos:
            try:
                found[video] = self.shape(video)
            except InputError as error:
                found[video] = error
            if on_video:
                on_video()
        return found

    def read(self, video, rows=None, cut=None):
        """Features of `video`, float32 [n, width].

        Args:
          video: its name in the store.
          rows: number of rows that the whole video must have; None: any.
          cut: (a, b): only rows a to b - 1. Where the file allows it, as npy and HDF5 do, only these are read.

        Raises InputError where there are no features, where they are not a table of that width, where they are not
        `rows` rows or less than `cut` names, or where a number is not finite: it would spread to every weight.
        """
        self._check_name(video)
        read = self._from_folder if os.path.isdir(self.path) else self._from_hdf5
        source, values = read(video, functools.partial(self._check_table, self.width, rows, cut), rows, cut)
        with np.errstate(over='ignore', invalid='ignore'):  # a float64 beyond float32 becomes infinite
            values = np.asarray(values, np.float32)
            low, high = values.min(), values.max()  # NaN where one number is
        if not (np.isfinite(low) and np.isfinite(high)):
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError('%s: found %s in row %d, column %d (from 0), expected finite numbers; extract the '
                             'features again' % (source, values[row, column], row + (cut or [0])[0], column))
        if self._on_suspect:
            self._tell_suspects(source, len(values), low, high, is_whole=not cut)
        return values

    def _tell_suspects(self, source, rows, low, high, is_whole):
        """Call on_suspect where numbers from `low` to `high` look wrong. Zeros may be right in a part of a video."""
        if low == high == 0 and is_whole:
            self._on_suspect('only zeros', printable(
                '%s: all numbers of its %d rows are 0; was the video extracted?' % (source, rows)))
        elif max(-low, high) > MAX_MAGNITUDE:
            self._on_suspect('large numbers', printable(
                '%s: found numbers from %g to %g, expected none beyond %g; check how the features were made'
                % (source, low, high, MAX_MAGNITUDE)))

    def _check_name(self, video):
        with located_errors(self.path):
            check_name(video)

    def _check_table(self, width, rows, cut, source, shape, dtype):
        """The Table of an array of this shape and dtype; InputError where it cannot be the features of a video.

        `width`, `rows`: what it must have (None: any); `cut`: see `read`.
        """
        expected = 'rows of %s' % ('numbers' if width is None else '%d numbers' % width)
        if dtype.hasobject:
            raise InputError('%s: found Python objects of shape %s, expected %s; objects are never loaded, because '
                             'loading them can run any code. If you trust the file, load it where that does no harm, '
                             'and np.save() its numbers as float32' % (source, shape, expected))
        table = find_table(shape, self._layout)
        if table is None or dtype.kind not in 'fiu':
            raise InputError('%s: found an array of shape %s and type %s, expected %s: two axes, besides others of '
                             'length 1; save the numbers so' % (source, shape, dtype, expected))
        if width is not None and table.columns != width:
            raise self._width_error(source, table)
        if rows is not None and table.rows != rows:
            raise InputError('%s: found %d rows, expected %d, a row per clip; in the annotation, `rows` must be the '
                             'number of rows, or feature_frame that number times the frames of a clip'
                             % (source, table.rows, rows))
        if not 0 < table.rows <= MAX_ROWS:
            raise InputError('%s: found %d rows, expected 1 to %d; check that it is one video, and divide a longer '
                             'one into two' % (source, table.rows, MAX_ROWS))
        if table.columns < 1:
            raise InputError('%s: found %d columns, expected at least 1; extract the features again'
                             % (source, table.columns))
        if cut and not 0 <= cut[0] < cut[1] <= table.rows:
            raise InputError('%s: found %d rows, expected rows %d to %d (from 0) among them; correct the number of '
                             'rows in the annotation, or extract the features again'
                             % (source, table.rows, cut[0], cut[1] - 1))
        return table

    def _width_error(self, source, table):
        """An InputError about a wrong number of columns; names the layout where it may be the other one."""
        text = '%s: found %d columns, expected %d (--feature_width)' % (source, table.columns, self.width)
        if table.rows == self.width:
            other = 'ct' if self._layout == 'tc' else 'tc'
            text += ('; the columns lie in the %s axis: give --layout %s to `prepare_data.py import`, or --set '
                     'source_layout=%s, target_layout=%s for the target, to other scripts'
                     % ('first' if other == 'ct' else 'last', other, other, other))
        return InputError(text)

    def _open_hdf5(self):
        with self._lock, read_errors(self.path, 'not an HDF5 file'):
            if self._file is None:
                file_size(self.path)
                self._file = h5py.File(self.path, 'r')
        return self._file

    def _dataset(self, video, check):
        """(place of the dataset of `video` for messages, the dataset, its Table)."""
        source, file = '%s: dataset %s' % (self.path, video), self._open_hdf5()
        with read_errors(source, 'cannot be read'):
            with located_errors(source):
                dataset, name = find_dataset(file, video, self._key)
            if dataset is None:
                raise self.missing_error(video)
            source = '%s: dataset %s' % (self.path, name)
            if dataset.is_virtual or dataset.external:
                raise InputError('%s: found numbers that lie in other files, expected them in this file; '
                                 'copy them into it' % source)
            return source, dataset, check(source, dataset.shape, dataset.dtype)

    def _from_hdf5(self, video, check, _, cut):
        source, dataset, table = self._dataset(video, check)
        with read_errors(source, 'cannot be read'):
            values = read_dataset(dataset, table, cut)
            if dataset.chunks and self._on_suspect:
                written, count = dataset.id.get_num_chunks(), chunk_count(dataset)
                if written < count:
                    self._on_suspect('chunks never written', printable(
                        '%s: found %d of %d chunks, and HDF5 gives zeros for the others; was the file written to its '
                        'end? Extract the features again' % (source, written, count)))
            return source, values

    def _from_folder(self, video, check, rows, cut):
        path = self.stored_in(video)
        limit = 32 * (rows or MAX_ROWS) * self.width + (1 << 20)  # 32 characters per number, as in a CSV
        if file_size(path) > limit:
            raise InputError('%s: found a file of more than %d bytes, more than %d rows of %d numbers need; '
                             'check that it is one video' % (path, limit, rows or MAX_ROWS, self.width))
        if self._complete_lines and path.endswith('.csv') and not has_line_end(path):
            raise InputError('%s: found no line end at the end, expected one, as the file may be cut short; extract '
                             'the features again, or, if it is complete, add a line end' % path)
        return path, read_file(path, functools.partial(check, path), self._key, cut)

    def missing_error(self, video):
        """An InputError that says where the features of `video` were looked for."""
        if not os.path.isdir(self.path):
            return InputError('%s: has no dataset %s' % (self.path, video))
        names = ', '.join(video + form for form in self._forms)
        for path in [os.path.join(self.path, video + end) for end in PICKLES]:
            if os.path.exists(path):
                return InputError('%s: found a pickle, expected %s; a pickle is never loaded, because loading it can '
                                  'run any code. If you trust it, load it where that does no harm, and np.save() its '
                                  'numbers as %s.npy' % (path, names, video))
        return InputError('%s: no features of video %s (looked for %s)' % (self.path, video, names))


def _folders_of(names):
    """The folders before names like FOLDER/VIDEO, without those that would lead elsewhere."""
    folders = set()
    for name in names:
        with contextlib.suppress(InputError):
            check_name(name)
            folders.add(name.rpartition('/')[0])
    return folders - {''}


def _listing(path, names):
    """Names in the folder `path`, and FOLDER/NAME in those folders below it that are before `names`."""
    folders = [folder for folder in _folders_of(names) if os.path.isdir(os.path.join(path, folder))]
    return set(os.listdir(path)).union(
        '%s/%s' % (folder, name) for folder in folders for name in os.listdir(os.path.join(path, folder)))


def _modified(path):
    """Time of the last change in seconds; 0 where there is no file, as of a link to nothing."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime
    return 0
