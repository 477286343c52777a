"""Clip features of a video: reading them, in every form that they may have, and interpolating their rows.

Dimension (docs/method.md, Legend): C feature width.
"""
import contextlib
import io
import os
import re
import threading
import zipfile

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from dataset.tables import check_video_id, located_errors
from runtime.errors import InputError, one_line
from runtime.files import file_size

FORMS = ('.npy', '.npz', '.csv')  # of a video's file, the fastest first
PICKLES = ('.pkl', '.pickle', '.pt', '.pth', '.joblib')
MAX_ROWS = 1 << 17      # of a video: a row per 8 frames for 9 hours
MAX_HEADER = 10000      # bytes of an npy file's header, numpy's own limit
MAX_LINE = 1 << 22      # bytes of a CSV's header row
CSV_BLOCK = 1 << 17     # numbers of a CSV that are parsed at a time, so few that they stay in the processor's cache
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

class FeatureStore:
    """Features by video: a folder of VIDEO.npy / .npz / .csv, or an HDF5 file with a dataset VIDEO.

    The contents are not trusted: the declared form and size are checked before the numbers are read, no pickle is
    loaded, and a video id never names anything outside the folder or the file.
    """

    def __init__(self, path, width, forms=None):
        """A store of features with `width` columns at `path`, a folder or an HDF5 file.

        Without `forms`, PATH.h5 or PATH.hdf5 is preferred to the folder PATH; in a folder, the first of FORMS that a
        video has is read. With `forms`, `path` itself is read, and in a folder only files of these forms.
        """
        converted = [path + end for end in ('.h5', '.hdf5') if os.path.exists(path + end)] if forms is None else []
        self.path = converted[0] if converted else path
        self.width = width
        self._forms = forms or FORMS
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

    def missing(self, videos):
        """Those of `videos` that have no features here. The folder is listed once, however many videos there are."""
        is_folder = os.path.isdir(self.path)
        ends = self._forms if is_folder else ('',)
        with _read_errors(self.path, 'cannot be read'):
            there = set(os.listdir(self.path) if is_folder else self._open_hdf5())
        return [video for video in videos if not any(video + end in there for end in ends)]

    def read(self, video, rows=None):
        """Features of `video`, float32 [n, width].

        Raises InputError where there are no features, where they are not a table of that width, where they are not
        `rows` rows (None: any number), or where a number is not finite: it would spread to every weight.
        """
        with located_errors(self.path):
            check_video_id(video)
        source, values = self._from_folder(video, rows) if os.path.isdir(self.path) else self._hdf5(video, rows)
        with np.errstate(over='ignore'):  # a float64 beyond float32 becomes infinite
            values = np.asarray(values, np.float32)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError('%s: found %s in row %d, column %d (from 0), expected finite numbers; '
                             'extract the features again' % (source, values[row, column], row, column))
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
            return source, np.asarray(dataset[()])

    def _from_folder(self, video, rows):
        for form in self._forms:
            path = os.path.join(self.path, video + form)
            if os.path.lexists(path):
                limit = 32 * (rows or MAX_ROWS) * self.width + (1 << 20)  # 32 characters per number, as in a CSV
                if file_size(path) > limit:
                    raise InputError('%s: found a file of more than %d bytes, more than %d rows of %d numbers need; '
                                     'check that it is one video' % (path, limit, rows or MAX_ROWS, self.width))
                return path, READERS[form](path, lambda shape, dtype: self._check_form(path, shape, dtype, rows))
        raise self.missing_error(video)

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


def _check_chunks(dataset):
    """Raise ValueError where the chunks of an HDF5 dataset could take far more time or memory than its numbers."""
    itemsize = dataset.dtype.itemsize
    size = np.prod(dataset.chunks, dtype=float) * itemsize
    if size > max(dataset.size * itemsize, MAX_CHUNK):
        raise ValueError('found chunks of %d bytes, more than its numbers take; write it again with smaller chunks'
                         % size)
    count = np.prod([-(-length // part) for length, part in zip(dataset.shape, dataset.chunks)], dtype=float)
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

    Column names may be numbers that count from 0, as those of pandas do, or from 1.
    """
    cells = header.lstrip(b'\xef\xbb\xbf').rstrip(b'\r\n').split(b',')
    try:
        numbers = [float(cell.strip(b' "')) for cell in cells]
    except ValueError:
        return
    if not any(numbers == list(range(first, first + len(numbers))) for first in (0, 1)):
        raise InputError('%s: row 1: found numbers (%s, …), expected a header row, then rows of numbers; add a row '
                         'of column names above' % (path, cells[0].decode()))


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
