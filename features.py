"""Clip features: reading those of a video, in every form they may have, and interpolating their rows.

Legend (config.py): C feature width.
"""
import contextlib
import io
import os
import threading
import zipfile
import zlib

import h5py
import numpy as np
import pandas as pd
import simdjson
from scipy import sparse

from errors import InputError, one_line
from files import size_of
from tables import check_id

PICKLES = ('.pkl', '.pickle', '.pt', '.pth', '.joblib')
MOST_ROWS = 1 << 17     # of a video: a row per 8 frames for 9 hours
MOST_HEADER = 10000     # bytes of an npy file's header, as numpy has it
MOST_LINE = 1 << 22     # bytes of a CSV's header row
MOST_CHUNK = 64 << 20   # bytes of an HDF5 chunk that is larger than its dataset
MOST_CHUNKS = 1 << 10   # of a dataset, where it has fewer rows: HDF5 keeps 4 kB on each
GZIP, LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF
FILTERS = {GZIP, LZF, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}  # of HDF5 datasets
CSV_BLOCK = 1 << 18     # bytes parsed at a time, that they stay in the processor's cache
CSV_SIGNS = b'0123456789+-.eE,"\t \r\n'  # of rows of numbers
MOST_COLUMNS = 1 << 14  # of a CSV for pandas, which takes minutes of 200,000
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
    """Features by video: a folder of VIDEO.npy / .npz / .csv, or an HDF5 file with a dataset VIDEO.

    No content is trusted: form and size are checked as a file declares them, before its numbers are read; no
    pickle is loaded; an id names nothing outside the folder or the file.
    """

    def __init__(self, path, width, forms=None):
        """`path` of the folder or the file; `width` columns expected.

        An HDF5 file of the path's name and .h5 or .hdf5 is preferred to the folder, and in a folder the first of
        FORMS that is there. With `forms` of files, it is this very path, and of a folder those alone.
        """
        beside = [path + end for end in ('.h5', '.hdf5') if os.path.exists(path + end)] if forms is None else []
        self.path = beside[0] if beside else path
        self.width = width
        self._forms = forms or FORMS
        self._file = None
        self._lock = threading.Lock()  # of opening the file; h5py itself lets one thread read at a time

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Close the HDF5 file."""
        if self._file is not None:
            self._file.close()

    def exists(self):
        """Is the folder or the file there?"""
        return os.path.exists(self.path)

    def missing(self, videos):
        """Those of `videos` that have no features here: one look at the folder, however many there are."""
        if not os.path.isdir(self.path):
            file = self._open_hdf5()
            try:
                there = set(file)
            except Exception as error:  # h5py tells a damaged file by several types of error
                raise InputError('%s: cannot be read (%s)' % (self.path, one_line(error))) from None
            return [video for video in videos if video not in there]
        there = set(os.listdir(self.path))
        return [video for video in videos if not any(video + form in there for form in self._forms)]

    def read(self, video, rows=None):
        """Features of `video`, float32 [n, width].

        Raises InputError where there are none, they are not a table of that width, not `rows` rows, or where
        a number is not finite: it would spread to every weight.
        """
        try:
            check_id(video)
        except InputError as error:
            raise InputError('%s: %s' % (self.path, error)) from None
        source, values = self._from_folder(video, rows) if os.path.isdir(self.path) else self._hdf5(video, rows)
        with np.errstate(over='ignore'):  # a float64 beyond float32 becomes infinite
            values = np.asarray(values, np.float32)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError('%s: found %s in row %d, column %d (from 0), expected finite numbers; '
                             'extract the features again' % (source, values[row, column], row, column))
        return values

    def _check_form(self, source, shape, kind, rows):
        """Raise InputError where an array of this shape and dtype is not what is expected at `source`."""
        if kind.hasobject:
            raise InputError('%s: found Python objects of shape %s, expected rows of %d numbers; loading '
                             'them can run any code, so they are never loaded. If you trust them, load them where '
                             'that does no harm and np.save() their numbers as float32'
                             % (source, shape, self.width))
        if shape is None or len(shape) != 2 or kind.kind not in 'fiu':
            raise InputError('%s: found an array of shape %s and type %s, expected rows of %d numbers'
                             % (source, shape, kind, self.width))
        if shape[1] != self.width:
            raise InputError('%s: found %d columns, expected %d (--feature_width)'
                             % (source, shape[1], self.width))
        if shape[0] <= 0:
            raise InputError('%s: found no rows; extract the features again' % source)
        if rows is not None and shape[0] != rows:
            raise InputError('%s: found %d rows, expected %d, a row per clip: feature_frame of the '
                             'annotation must be the rows times the frames of a clip'
                             % (source, shape[0], rows))
        if shape[0] > MOST_ROWS:
            raise InputError('%s: found %d rows, expected %d at most; is this one video?'
                             % (source, shape[0], MOST_ROWS))

    def _open_hdf5(self):
        with self._lock:
            if self._file is None:
                size_of(self.path)
                try:
                    self._file = h5py.File(self.path, 'r')
                except OSError as error:
                    raise InputError('%s: not an HDF5 file (%s)' % (self.path, one_line(error))) from None
        return self._file

    def _hdf5(self, video, rows):
        source, file = '%s: dataset %s' % (self.path, video), self._open_hdf5()
        try:
            if isinstance(file.get(video, getlink=True), (h5py.SoftLink, h5py.ExternalLink)):
                raise InputError('%s: found a link, which may lead to another file, expected a dataset; copy '
                                 'it there (h5copy)' % source)
            dataset = file.get(video)
            if not isinstance(dataset, h5py.Dataset):
                raise self.absent(video)
            if dataset.is_virtual or dataset.external:
                raise InputError('%s: found numbers that lie in other files, expected them in this one; copy '
                                 'them there' % source)
            self._check_form(source, dataset.shape, dataset.dtype, rows)
            chunk = int(np.prod(dataset.chunks or (0,), dtype=float)) * dataset.dtype.itemsize
            if chunk > max(dataset.size * dataset.dtype.itemsize, MOST_CHUNK):
                raise InputError('%s: found chunks of %d bytes, more than its numbers take; write it again '
                                 'with chunks no larger than the dataset' % (source, chunk))
            if chunk:
                _check_chunks(dataset, chunk)
            return source, np.asarray(dataset[()])
        except InputError:
            raise
        except Exception as error:  # h5py tells a damaged file by several types of error
            raise InputError('%s: cannot be read (%s)' % (source, one_line(error))) from None

    def _from_folder(self, video, rows):
        for form in self._forms:
            path = os.path.join(self.path, video + form)
            if os.path.lexists(path):
                most = 32 * (rows or MOST_ROWS) * self.width + (1 << 20)  # characters, were it a CSV
                if size_of(path) > most:
                    raise InputError('%s: found a file of more than %d bytes, which %d rows of %d numbers do not '
                                     'take; is this one video?' % (path, most, rows or MOST_ROWS, self.width))
                return path, READERS[form](path, lambda shape, kind: self._check_form(path, shape, kind, rows))
        raise self.absent(video)

    def absent(self, video):
        """The InputError that says where the features of `video` were looked for."""
        if not os.path.isdir(self.path):
            return InputError('%s: has no dataset %s' % (self.path, video))
        names = ', '.join(video + form for form in self._forms)
        for end in PICKLES:
            path = os.path.join(self.path, video + end)
            if os.path.exists(path):
                return InputError('%s: found a pickle, expected %s; loading it can run any code, so it is never '
                                  'loaded. If you trust it, load it where that does no harm and np.save() its '
                                  'numbers as %s.npy' % (path, names, video))
        return InputError('%s: no features of video %s (looked for %s)' % (self.path, video, names))


def _check_chunks(dataset, size):
    """Raise ValueError where reading chunks of `size` bytes each would take much more, in time or memory.

    HDF5 expands all that is in a compressed chunk before it takes what belongs there. gzip makes a thousand times
    as much of a chunk, so its output is counted; LZF a hundred times at most; one of the two in the other has no
    limit, nor have filters that are code from elsewhere.
    """
    count = np.prod([-(-length // part) for length, part in zip(dataset.shape, dataset.chunks)], dtype=float)
    if count > max(MOST_CHUNKS, len(dataset)):
        raise ValueError('found %d chunks, expected a row each at least; write it again with larger ones' % count)
    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(number)[0] for number in range(pipeline.get_nfilters())]
    if len(set(filters)) < len(filters) or not FILTERS.issuperset(filters) or {GZIP, LZF}.issubset(filters):
        raise ValueError('found the filters %s, expected gzip or lzf; write it again with one of them' % filters)
    if not {GZIP, LZF}.intersection(filters):
        return
    for slices in dataset.iter_chunks():
        offset = tuple(part.start for part in slices)
        stored = dataset.id.get_chunk_info_by_coord(offset).size  # 0: not written
        if stored > 2 * size + 1024:
            raise ValueError('found a chunk of %d bytes, compressed, expected %d at most' % (stored, size))
        if stored and GZIP in filters:
            without, content = dataset.id.read_direct_chunk(offset)
            # a bit of `without` says that a filter was left out; a check sum may be among what gzip compressed
            if not without >> filters.index(GZIP) & 1 and len(
                    zlib.decompressobj().decompress(content, size + 5)) > size + 4:
                raise ValueError('found a chunk that expands to more than its %d bytes' % size)


def _read_npy(path, check):
    with _told(path, 'not a numpy array'), open(path, 'rb') as file:
        return _read_array(file, os.fstat(file.fileno()).st_size, check)


def _read_npz(path, check):
    # zipfile, for numpy 1's reader prints a traceback of its own where the file is cut short
    with _told(path, 'not a readable npz file'), zipfile.ZipFile(path) as arrays:
        entries = arrays.infolist()
        if len(entries) != 1:
            raise InputError('%s: found %d arrays, expected one' % (path, len(entries)))
        if entries[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError('it is compressed otherwise than numpy does')
        with arrays.open(entries[0]) as file:
            return _read_array(file, entries[0].file_size, check)


def _read_features_csv(path, check):
    _check_csv_header(path)
    values = _read_csv(path)
    check(values.shape, values.dtype)
    return values


READERS = {'.npy': _read_npy, '.npz': _read_npz, '.csv': _read_features_csv}


@contextlib.contextmanager
def _told(path, fault):
    """InputErrors pass; whatever else a damaged file provokes becomes one that says `fault`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of zipfile, zlib, numpy, and of evaluating a header
        raise InputError('%s: %s (%s); extract the features again' % (path, fault, one_line(error))) from None


def _read_array(file, size, check):
    """Array of an open npy file of `size` bytes; check(shape, dtype) is called before its numbers are read."""
    head = io.BytesIO(file.read(MOST_HEADER))
    version = np.lib.format.read_magic(head)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError('version %d.%d of the format' % version)
    shape, is_fortran, kind = headers[version](head)
    check(shape, kind)
    expected, found = shape[0] * shape[1] * kind.itemsize, size - head.tell()
    if found != expected:
        raise ValueError('found %d bytes of numbers, expected %d: cut short, or not one array' % (found, expected))
    file.seek(head.tell())
    values = np.empty(shape[0] * shape[1], kind)
    filled = file.readinto(values.view(np.uint8))
    if filled != expected or file.read(1):  # the last read has a zip file check its sum
        raise ValueError('found %d bytes of numbers, expected %d' % (filled, expected))
    return values.reshape(shape, order='F' if is_fortran else 'C')


def _check_csv_header(path):
    """Raise InputError where the first row is numbers: it would be taken for names, and lost.

    pandas' own column names are numbers too: from 0 on, and others' from 1 on.
    """
    with _told(path, 'not a CSV file'), open(path, 'rb') as file:
        cells = file.readline(MOST_LINE).lstrip(b'\xef\xbb\xbf').rstrip(b'\r\n').split(b',')
    try:
        numbers = [float(cell.strip(b' "')) for cell in cells]
    except ValueError:
        return
    if not any(numbers == list(range(first, first + len(numbers))) for first in (0, 1)):
        raise InputError('%s: row 1: found numbers (%s, …), expected a header row, then rows of numbers; add a row '
                         'of column names above' % (path, cells[0].decode()))


def _read_csv(path):
    try:
        with open(path, 'rb') as file:
            file.readline()  # the header row
            values = _plain_rows(file)
        if values is None:
            values = _odd_rows(path)
        if not np.isfinite(values).all():
            raise ValueError('found cells without a finite number')
        return values
    except InputError:
        raise
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
            text = b'[[%s]]' % b'],['.join(lines)
            if text.count(b'[') != 1 + len(lines):  # a cell with brackets would count as the numbers in it
                return None
            rows = parser.parse(text)
            widths.update(map(len, rows))
            if len(widths) > 1 or 0 in widths or len(rows) != len(lines):
                return None
            blocks.append(np.frombuffer(rows.as_buffer(of_type='d')).reshape(len(lines), -1))
            del rows  # the parser's memory, which the next block takes
    except (ValueError, TypeError):
        return None
    return np.concatenate(blocks) if blocks else None


def _odd_rows(path):
    """Rows of a CSV that are numbers, but not plain ones, by pandas; ValueError where they are no numbers."""
    with open(path, 'rb') as file:
        file.readline()
        content = file.read()
    columns = 1 + max((line.count(b',') for line in content.splitlines()), default=0)
    if columns > MOST_COLUMNS:
        raise InputError('%s: found a row of %d cells, which are not all plain numbers; extract the features again'
                         % (path, columns))
    # The header row is skipped, not read: pandas takes a row's first cell for its name where a row is longer.
    values = pd.read_csv(path, dtype=np.float64, header=None, skiprows=1).to_numpy()
    odd = content.translate(None, CSV_SIGNS)
    if odd:  # a column of True is 1 to pandas, and a number ends at NUL
        raise ValueError('found %r among the numbers' % odd[:9].decode())
    return values


def _bad_csv_cell(path):
    """Where a CSV has something else than a number, for the message; None where that is not what is wrong."""
    with contextlib.suppress(Exception):
        cells = pd.read_csv(path, dtype=str, header=None, skiprows=1, keep_default_na=False)
        numbers = cells.apply(pd.to_numeric, errors='coerce').to_numpy(float)
        row, column = np.argwhere(~np.isfinite(numbers))[0]
        return 'row %d, column %d: found %r' % (row + 2, column + 1, cells.iat[row, column])
