"""Clip features of a video: reading them, in every form that they may have, and interpolating their rows.

Dimension (docs/method.md, Legend): C feature width.
"""
import collections
import contextlib
import io
import os
import re
import threading
import zipfile
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from dataset.conversion_record import RECORD, has_changed, made_of_hdf5, made_of_npy, read_record
from dataset.tables import check_video_id, located_errors
from runtime.errors import InputError, one_line, printable
from runtime.files import file_size

FORMS = ('.npy', '.npz', '.csv')  # of a video's file, the fastest first
PICKLES = ('.pkl', '.pickle', '.pt', '.pth', '.joblib')
MAX_ROWS = 1 << 17      # of a video: a row per 8 frames for 9 hours
MAX_MAGNITUDE = 1e6     # of a number; larger ones are read, and named as suspicious
MAX_HEADER = 10000      # bytes of an npy file's header, numpy's own limit
MAX_LINE = 1 << 22      # bytes of a CSV's header row
CSV_BLOCK = 1 << 17     # numbers of a CSV that are parsed at a time, so few that they stay in the processor's cache
CSV_EMPTY = (b'', b'na', b'n/a', b'null', b'none')  # cells, in small letters
CSV_NUMBER = re.compile(r'("?)[ \t\r]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*\1[ \t\r]*$', re.ASCII)

# HDF5 expands all of a stored chunk before it takes the numbers that belong there.
MAX_CHUNK = 64 << 20    # bytes of a chunk that is larger than its dataset
MAX_CHUNKS = 1 << 10    # of a dataset that has fewer rows: HDF5 keeps 4 kB for each chunk
MAX_COMPRESSED = 4 << 20  # bytes of a stored chunk, which gzip can expand to 4 GiB, and lzf to less
COMPRESSION = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
FILTERS = COMPRESSION.union({h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32})


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


class FeatureStore:
    """Features by video: a folder of VIDEO.npy / .npz / .csv, or an HDF5 file with a dataset VIDEO.

    The contents are not trusted: the declared form and size are checked before the numbers are read, no pickle is
    loaded, and a video id never names anything outside the folder or the file.
    """

    def __init__(self, path, width, forms=None, complete_lines=False, on_suspect=None):
        """A store of features with `width` columns at `path`, a folder or an HDF5 file.

        Args:
          path, width: see above. PATH.h5 or PATH.hdf5 is preferred to the folder PATH; in a folder, the first of
            FORMS that a video has is read.
          forms: where given, `path` itself is read, and in a folder only files of these forms.
          complete_lines: whether a CSV without a line end at its end is refused: it may be cut short.
          on_suspect: called with (kind, text) at each video that is read although its numbers look wrong: all of them
            are zero, one is beyond MAX_MAGNITUDE, or a part of an HDF5 dataset was never written.
        """
        converted = [path + end for end in ('.h5', '.hdf5') if os.path.lexists(path + end)] if forms is None else []
        self.path = converted[0] if converted else path
        self.width = width
        self._unread = converted[1:] + [path] if converted else []
        self._forms = forms or FORMS
        self._complete_lines = complete_lines
        self._on_suspect = on_suspect
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
        with _read_errors(self.path, 'cannot be read'):
            there = set(os.listdir(self.path) if is_folder else self._open_hdf5())
            forms_of = {video: [form for form in (self._forms if is_folder else ['']) if video + form in there]
                        for video in videos}
            hidden = self._hidden_in_folder(forms_of) if is_folder else self._hidden_by_hdf5(videos)
            warnings = self._outdated(hidden)
        missing = [video for video, forms in forms_of.items() if not forms]
        count = '{:,} videos'.format(len(videos))
        if missing:
            count = '{:,} of {}'.format(len(videos) - len(missing), count)
        read = collections.Counter(forms[0] for forms in forms_of.values() if forms)
        if is_folder and read:
            count += ': ' + ', '.join('{:,} {}'.format(read[form], form[1:]) for form in self._forms if read[form])
        text = '%s, %s, %s' % (self.path, 'folder' if is_folder else 'HDF5', count)
        return Survey(missing, printable(text), [printable(warning) for warning in warnings])

    def _hidden_in_folder(self, forms_of):
        """List of (video, file that is not read, file of the same video that is)."""
        return [(video, os.path.join(self.path, video + other), os.path.join(self.path, video + forms[0]))
                for video, forms in forms_of.items() for other in forms[1:]]

    def _hidden_by_hdf5(self, videos):
        """The same where an HDF5 file is read in place of another one (of no video: ''), or of a folder."""
        hidden = []
        for path in self._unread:
            names = set(os.listdir(path)) if os.path.isdir(path) else None
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
            is_changed = has_changed(made_of_hdf5(self._file, video) if read == self.path else
                                     made_of_npy(record, video, read), other)
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
            with _read_errors(self.path, 'cannot be read'):
                # not `video in file`, which follows links into other files
                if self._open_hdf5().id.links.exists(video.encode('utf-8', 'surrogateescape')):
                    return self.path
        raise self.missing_error(video)

    def read(self, video, rows=None):
        """Features of `video`, float32 [n, width].

        Raises InputError where there are no features, where they are not a table of that width, where they are not
        `rows` rows (None: any number), or where a number is not finite: it would spread to every weight.
        """
        with located_errors(self.path):
            check_video_id(video)
        source, values = self._from_folder(video, rows) if os.path.isdir(self.path) else self._hdf5(video, rows)
        with np.errstate(over='ignore', invalid='ignore'):  # a float64 beyond float32 becomes infinite
            values = np.asarray(values, np.float32)
            low, high = values.min(), values.max()  # NaN where one number is
        if not (np.isfinite(low) and np.isfinite(high)):
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError('%s: found %s in row %d, column %d (from 0), expected finite numbers; '
                             'extract the features again' % (source, values[row, column], row, column))
        if self._on_suspect and low == high == 0:
            self._on_suspect('only zeros', printable(
                '%s: all numbers of its %d rows are 0; was the video extracted?' % (source, len(values))))
        elif self._on_suspect and max(-low, high) > MAX_MAGNITUDE:
            self._on_suspect('large numbers', printable(
                '%s: found numbers from %g to %g, expected none beyond %g; check how the features were made'
                % (source, low, high, MAX_MAGNITUDE)))
        return values

    def _check_form(self, source, shape, dtype, rows):
        """Raise InputError where an array of this shape and dtype cannot be the features of a video."""
        if dtype.hasobject:
            raise InputError('%s: found Python objects of shape %s, expected rows of %d numbers; objects are '
                             'never loaded, because loading them can run any code. If you trust the file, load it '
                             'where that does no harm, and np.save() its numbers as float32'
                             % (source, shape, self.width))
        if shape is None or len(shape) != 2 or dtype.kind not in 'fiu':
            raise InputError('%s: found an array of shape %s and type %s, expected rows of %d numbers'
                             % (source, shape, dtype, self.width))
        if shape[1] != self.width:
            raise InputError('%s: found %d columns, expected %d (--feature_width)'
                             % (source, shape[1], self.width))
        if rows is not None and shape[0] != rows:
            raise InputError('%s: found %d rows, expected %d, a row per clip; in the annotation, '
                             'feature_frame must be the number of rows times the frames of a clip'
                             % (source, shape[0], rows))
        if not 0 < shape[0] <= MAX_ROWS:
            raise InputError('%s: found %d rows, expected 1 to %d; check that it is one video'
                             % (source, shape[0], MAX_ROWS))

    def _open_hdf5(self):
        with self._lock, _read_errors(self.path, 'not an HDF5 file'):
            if self._file is None:
                file_size(self.path)
                self._file = h5py.File(self.path, 'r')
        return self._file

    def _hdf5(self, video, rows):
        source, file = '%s: dataset %s' % (self.path, video), self._open_hdf5()
        with _read_errors(source, 'cannot be read'):
            if isinstance(file.get(video, getlink=True), (h5py.SoftLink, h5py.ExternalLink)):
                raise InputError('%s: found a link, which may lead to another file, expected a dataset; '
                                 'copy the dataset into this file (h5copy)' % source)
            dataset = file.get(video)
            if not isinstance(dataset, h5py.Dataset):
                raise self.missing_error(video)
            if dataset.is_virtual or dataset.external:
                raise InputError('%s: found numbers that lie in other files, expected them in this file; '
                                 'copy them into it' % source)
            self._check_form(source, dataset.shape, dataset.dtype, rows)
            if dataset.chunks:
                _check_chunks(dataset)
                written, count = dataset.id.get_num_chunks(), _chunk_count(dataset)
                if written < count and self._on_suspect:
                    self._on_suspect('chunks never written', printable(
                        '%s: found %d of %d chunks, and HDF5 gives zeros for the others; was the file written to its '
                        'end? Extract the features again' % (source, written, count)))
            return source, np.asarray(dataset[()])

    def _from_folder(self, video, rows):
        path = self.stored_in(video)
        limit = 32 * (rows or MAX_ROWS) * self.width + (1 << 20)  # 32 characters per number, as in a CSV
        if file_size(path) > limit:
            raise InputError('%s: found a file of more than %d bytes, more than %d rows of %d numbers need; '
                             'check that it is one video' % (path, limit, rows or MAX_ROWS, self.width))
        if self._complete_lines and path.endswith('.csv') and not has_line_end(path):
            raise InputError('%s: found no line end at the end, expected one, as the file may be cut short; extract '
                             'the features again, or, if it is complete, add a line end' % path)
        read = READERS[os.path.splitext(path)[1]]
        return path, read(path, lambda shape, dtype: self._check_form(path, shape, dtype, rows))

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


def _modified(path):
    """Time of the last change in seconds; 0 where there is no file, as of a link to nothing."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_mtime
    return 0


def _chunk_count(dataset):
    """Number of chunks that an HDF5 dataset of this shape has when all are written, as a float: it may be huge."""
    return np.prod([-(-length // part) for length, part in zip(dataset.shape, dataset.chunks)], dtype=float)


def _check_chunks(dataset):
    """Raise ValueError where the chunks of an HDF5 dataset could take far more time or memory than its numbers."""
    itemsize = dataset.dtype.itemsize
    size = np.prod(dataset.chunks, dtype=float) * itemsize
    if size > max(dataset.size * itemsize, MAX_CHUNK):
        raise ValueError('found chunks of %d bytes, more than its numbers take; write it again with smaller chunks'
                         % size)
    count = _chunk_count(dataset)
    if count > max(MAX_CHUNKS, len(dataset)):
        raise ValueError('found %d chunks, expected at most one per row; write it again with larger chunks' % count)
    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(number)[0] for number in range(pipeline.get_nfilters())]
    compression = [found for found in filters if found in COMPRESSION]
    if not FILTERS.issuperset(filters) or len(compression) > 1:
        raise ValueError('found the filters %s, expected gzip or lzf; write it again with one of them' % filters)
    limit = max(MAX_COMPRESSED, size)  # numbers that do not compress take their own size
    for slices in dataset.iter_chunks() if compression else ():
        stored = dataset.id.get_chunk_info_by_coord(tuple(part.start for part in slices)).size
        if stored > limit:
            raise ValueError('found a compressed chunk of %d bytes, expected at most %d; write it again with smaller '
                             'chunks' % (stored, limit))


def _read_npy(path, check):
    with _read_errors(path, 'not a numpy array'), open(path, 'rb') as file:
        return _read_array(file, os.fstat(file.fileno()).st_size, check)


def _read_npz(path, check):
    # zipfile, because numpy 1's reader prints a traceback of its own where the file is cut short
    with _read_errors(path, 'not a readable npz file'), zipfile.ZipFile(path) as arrays:
        entries = arrays.infolist()
        if len(entries) != 1:
            raise InputError('%s: found %d arrays, expected one' % (path, len(entries)))
        if entries[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError('its compression is not one that numpy uses')  # others expand without bound
        with arrays.open(entries[0]) as file:
            return _read_array(file, entries[0].file_size, check)


def has_line_end(path):
    """Whether the last byte of a file is a line end; raises InputError where the file cannot be read."""
    with _read_errors(path, 'cannot be read'), open(path, 'rb') as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 1))
        return file.read(1) == b'\n'


def _read_csv(path, check):
    with _read_errors(path, 'not a CSV file'), open(path, 'rb') as file:
        _check_csv_header(path, file.readline(MAX_LINE))
        lines = file.readlines()
    values = _parse_csv(lines)
    if values is None:
        raise _csv_error(path, lines)
    check(values.shape, values.dtype)
    return values


READERS = {'.npy': _read_npy, '.npz': _read_npz, '.csv': _read_csv}


@contextlib.contextmanager
def _read_errors(path, fault):
    """Raise InputError with the text `fault` where what is done inside, to read `path`, fails."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged file raises those of zipfile, zlib, numpy, ast and h5py
        raise InputError('%s: %s (%s); extract the features again' % (path, fault, one_line(error))) from None


def _read_array(file, size, check):
    """Array of an open npy file of `size` bytes; check(shape, dtype) is called before its numbers are read."""
    head = io.BytesIO(file.read(MAX_HEADER))
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, is_fortran, dtype = read_header[np.lib.format.read_magic(head)](head)
    check(shape, dtype)
    file.seek(head.tell())
    values, found = np.empty(shape[0] * shape[1], dtype), size - head.tell()
    if found != values.nbytes or file.readinto(values.view(np.uint8)) != found or file.read(1):
        raise ValueError('found %d bytes of numbers, expected %d: cut short, or not one array'
                         % (found, values.nbytes))  # the last read has a zip file check its sum
    return values.reshape(shape, order='F' if is_fortran else 'C')


def _check_csv_header(path, header):
    """Raise InputError where the first row is numbers: it would be taken for column names, and lost.

    Empty cells do not make it a header row, unless all are empty. Column names may be numbers that count from 0, as
    those of pandas do, or from 1; pandas leaves the name above its row numbers empty.
    """
    cells = [cell.strip(b' \t"') for cell in header.lstrip(b'\xef\xbb\xbf').rstrip(b'\r\n').split(b',')]
    cells = cells if cells[0] else cells[1:]
    try:
        numbers = [float(cell) for cell in cells if cell.lower() not in CSV_EMPTY]
    except ValueError:
        return
    if numbers and numbers not in [list(range(first, first + len(cells))) for first in (0, 1)]:
        raise InputError('%s: row 1: found numbers (%s, …), expected a header row, then rows of numbers; add a row '
                         'of column names above' % (path, numbers[0]))


def _parse_csv(lines):
    """Lines of a CSV, but blank ones, as float64 [n, columns]; None where they are not rows of as many numbers."""
    rows = [line for line in lines if not line.isspace()]
    text = b','.join(rows)
    widths = {1 + np.count_nonzero(np.frombuffer(row, np.uint8) == ord(',')) for row in rows}
    if len(widths) != 1 or b'\0' in text:  # to pandas a number ends at NUL
        return None
    with contextlib.suppress(ValueError):  # pandas' own errors are of this type
        # One long column, whose lines end at commas: pandas reads it faster than many short ones. Its parser 'legacy'
        # is right to the last bit of a float32; the default one drops digits after the 17th, leading zeros included.
        blocks = pd.read_csv(io.BytesIO(text), header=None, sep=';', lineterminator=',', dtype=np.float64,
                             na_filter=False, skip_blank_lines=False, low_memory=False, float_precision='legacy',
                             chunksize=CSV_BLOCK)
        values = np.concatenate([block.to_numpy() for block in blocks])
        if values.size == len(rows) * max(widths):
            return values.reshape(len(rows), -1)
    return None


def _csv_error(path, lines):
    """An InputError with the row and column, from 1, of the first cell that is no number."""
    width = None
    for row, line in enumerate(lines, start=2):
        cells = [] if line.isspace() else line.decode('utf-8', 'backslashreplace').rstrip('\r\n').split(',')
        for column, cell in enumerate(cells, start=1):
            if not CSV_NUMBER.match(cell) or np.isinf(float(cell.strip('" \t\r'))):
                return InputError('%s: row %d, column %d: found %r; expected a header row, then rows of numbers: '
                                  'extract the features again' % (path, row, column, cell[:99]))
        width = width or len(cells)
        if cells and len(cells) != width:
            return InputError('%s: row %d: found %d cells, the rows above have %d; expected a header row, then rows '
                              'of numbers: extract the features again' % (path, row, len(cells), width))
    return InputError('%s: found no rows of numbers, expected a header row, then rows of numbers' % path)
