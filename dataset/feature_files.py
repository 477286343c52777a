"""Features in files: npy, npz, CSV and the datasets of HDF5, checked by what they declare before numbers are read.

Nothing here loads a pickle, follows a link of an HDF5 file, or lets a small file expand to a large one.
Dimensions (docs/method.md, Legend): T rows of a video's features, C feature width.
"""
import contextlib
import functools
import io
import os
import re
import zipfile
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd

from runtime.errors import InputError, one_line

FORMS = ('.npy', '.npz', '.csv')  # of a video's file, the fastest first
FAULTS = {'.npy': 'not a numpy array', '.npz': 'not a readable npz file', '.csv': 'not a CSV file'}
LAYOUTS = ('tc', 'ct')  # [T, C], a row for each time; [C, T], a column for each time
KEY_REMEDY = ('name the one to read: --key NAME in `prepare_data.py import`, otherwise --set source_key=NAME, or '
              'target_key for the target')
MAX_HEADER = 10000      # bytes of an npy file's header, numpy's own limit
MAX_LISTED = 5          # names that a message lists
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


@contextlib.contextmanager
def read_errors(path, fault):
    """Raise InputError with the text `fault` where what is done inside, to read `path`, fails."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged file raises those of zipfile, zlib, numpy, ast and h5py
        raise InputError('%s: %s (%s); extract the features again' % (path, fault, one_line(error))) from None


# The axes of an array

class Table(NamedTuple):
    """Where an array has its rows and columns; its other axes are of length 1."""

    rows: int
    columns: int
    row_axis: int     # axis of the array along which its rows are counted
    column_axis: int  # axis along which its columns are


def find_table(shape, layout):
    """The Table of an array of `shape` in one of LAYOUTS; None where it has fewer than two axes, or more long ones.

    Of more than two axes, those of length 1 count for nothing. Where one axis is left it has the columns of one row.
    """
    if shape is None or len(shape) < 2:  # None: HDF5 has datasets without a shape
        return None
    axes = [axis for axis, length in enumerate(shape) if length != 1 or len(shape) == 2]
    if len(axes) > 2:
        return None
    if len(axes) == 2:
        row_axis, column_axis = axes if layout == 'tc' else axes[::-1]
    else:
        column_axis = axes[0] if axes else 1
        row_axis = 0 if column_axis else 1
    return Table(shape[row_axis], shape[column_axis], row_axis, column_axis)


def _as_rows(values, columns, is_by_row):
    """The numbers of an array as [rows, columns]; `is_by_row`: in their order, a row follows the other."""
    return values.reshape(-1, columns) if is_by_row else values.reshape(columns, -1).T


def _cut(values, cut):
    """Rows a to b - 1 of `values`, as a copy that does not keep the others in memory; `cut`: (a, b), None: all."""
    return values[slice(*cut)].copy() if cut else values


# Files of a video

def read_file(path, check, key='', cut=None):
    """Features [n, C] of an npy, npz or CSV file, of the type they have there.

    Args:
      path: the file; its ending says its form.
      check: check(shape, dtype) gives the Table of the array; called before the numbers are read (CSV: parsed first).
      key: name of the array in an npz; '': the only one.
      cut: (a, b): rows a to b - 1 alone. An npy that has its rows one after the other is read from a to b, all other
        files from beginning to end.

    Raises InputError where the file cannot be read, is damaged, or `check` raises it.
    """
    form = os.path.splitext(path)[1]
    with read_errors(path, FAULTS[form]):
        if form == '.csv':
            values = _read_csv(path)
            table = check(values.shape, values.dtype)
            return _cut(_as_rows(values, table.columns, table.row_axis < table.column_axis), cut)
        with _open_array(path, key) as (file, size):
            header = _read_header(file, size)
            return _read_numbers(file, header, check(header.shape, header.dtype), cut)


def read_table(path, check, key=''):
    """The Table of a file, as `check` gives it; see read_file. Only of a CSV are the numbers read."""
    form = os.path.splitext(path)[1]
    with read_errors(path, FAULTS[form]):
        if form == '.csv':
            values = _read_csv(path)
            return check(values.shape, values.dtype)
        with _open_array(path, key) as (file, size):
            header = _read_header(file, size)
            table = check(header.shape, header.dtype)
            _check_size(header, table)
            return table


class _Header(NamedTuple):
    """What an npy file declares, and its size."""

    shape: tuple
    is_fortran: bool   # whether the first axis, not the last, changes from one number to the next
    dtype: np.dtype
    start: int         # byte at which the numbers begin
    found: int         # bytes from there on


@contextlib.contextmanager
def _open_array(path, key):
    """A context that gives (an open npy file, its bytes) of an npy file or of an array of an npz file."""
    if path.endswith('.npy'):
        with open(path, 'rb') as file:
            yield file, os.fstat(file.fileno()).st_size
        return
    # zipfile, because numpy 1's reader prints a traceback of its own where the file is cut short
    with zipfile.ZipFile(path) as arrays:
        entry = _find_entry(path, arrays.infolist(), key)
        with arrays.open(entry) as file:
            yield file, entry.file_size


def _find_entry(path, entries, key):
    """The entry of an npz that holds the array `key`; '': the only one."""
    found = [entry for entry in entries if entry.filename == key + '.npy'] if key else entries
    if len(found) != 1:
        names = [re.sub(r'\.npy$', '', entry.filename) for entry in entries]
        raise InputError('%s: found %d arrays%s, expected %s; %s' % (
            path, len(names), listed(names), 'one of the name %s' % key if key else 'one', KEY_REMEDY))
    if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError('its compression is not one that numpy uses')  # others expand without bound
    return found[0]


def listed(names):
    """' (a, b, …)' of some names for a message, '' of none."""
    names = list(names)
    return ' (%s)' % ', '.join(names[:MAX_LISTED] + ['…'] * (len(names) > MAX_LISTED)) if names else ''


def _read_header(file, size):
    """The _Header of an open npy file of `size` bytes."""
    head = file.read(MAX_HEADER)
    length_bytes = 2 if head[6:7] == b'\x01' else 4  # by the version of the format
    end = 8 + length_bytes + int.from_bytes(head[8:8 + length_bytes], 'little')
    shape, is_fortran, dtype, start = _parse_header(head[:end])
    return _Header(shape, is_fortran, dtype, start, size - start)


@functools.lru_cache(maxsize=1 << 12)  # numpy parses Python there, for longer than it takes to open the file
def _parse_header(head):
    """(shape, whether in Fortran's order, type, bytes of the header) of the first bytes of an npy file."""
    file = io.BytesIO(head)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    return read[np.lib.format.read_magic(file)](file) + (file.tell(),)


def _check_size(header, table):
    """Raise ValueError where a file has not as many bytes of numbers as it declares."""
    expected = table.rows * table.columns * header.dtype.itemsize
    if header.found != expected:
        raise ValueError('found %d bytes of numbers, expected %d: cut short, or not one array'
                         % (header.found, expected))


def _read_numbers(file, header, table, cut):
    """Rows of an open npy file; see read_file."""
    _check_size(header, table)
    is_by_row = (table.row_axis < table.column_axis) != header.is_fortran
    # in a zip file all bytes before the cut would have to be read as well, and its check sum would not be checked
    is_cut_read = cut and is_by_row and not isinstance(file, zipfile.ZipExtFile)
    first, end = cut if is_cut_read else (0, table.rows)
    values = np.empty((end - first) * table.columns, header.dtype)
    file.seek(header.start + first * table.columns * header.dtype.itemsize)
    if file.readinto(values.view(np.uint8)) != values.nbytes or end == table.rows and file.read(1):
        raise ValueError('its size has changed, or is not what the file declares')  # a zip file's sum is checked, too
    values = _as_rows(values, table.columns, is_by_row)
    return values if is_cut_read else _cut(values, cut)


# CSV

def has_line_end(path):
    """Whether the last byte of a file is a line end; raises InputError where the file cannot be read."""
    with read_errors(path, 'cannot be read'), open(path, 'rb') as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 1))
        return file.read(1) == b'\n'


def _read_csv(path):
    """Numbers of a CSV file, float64 [rows, columns]."""
    with open(path, 'rb') as file:
        first = file.readline(MAX_LINE).lstrip(b'\xef\xbb\xbf')
        lines = ([] if _is_csv_header(path, first) else [first]) + file.readlines()
        number = 1 if lines and lines[0] is first else 2
    values = _parse_csv(lines)
    if values is None:
        raise _csv_error(path, lines, number)
    return values[:, 1:] if number == 2 and _has_row_numbers(first, values) else values


def _has_row_numbers(header, values):
    """Whether the first column counts the rows, without a name of its own: pandas writes it unless told not to."""
    name = header.split(b',')[0].strip(b' \t"').lower()
    return name in (b'', b'unnamed: 0') and np.array_equal(values[:, 0], np.arange(len(values))) and (
        values.shape[1] > 1)


def _is_csv_header(path, row):
    """Whether the first row of a CSV holds column names, not numbers.

    Empty cells do not make it a header row, unless all are empty. Column names may be numbers that count from 0, as
    those of pandas do, or from 1; pandas leaves the name above its row numbers empty. Raises InputError where other
    numbers could be either: complete ones, or some with empty cells.
    """
    cells = [cell.strip(b' \t"') for cell in row.rstrip(b'\r\n').split(b',')]
    cells = cells if cells[0] else cells[1:]
    try:
        numbers = [float(cell) for cell in cells if cell.lower() not in CSV_EMPTY]
    except ValueError:
        return True
    if not numbers or numbers in [list(range(first, first + len(cells))) for first in (0, 1)]:
        return True
    if len(numbers) == len(cells) and any(np.isfinite(number) and number != int(number) for number in numbers):
        return False  # column names have no fractions
    raise InputError('%s: row 1: found numbers (%s, …), which may be features or column names; add a row of column '
                     'names above' % (path, numbers[0]))


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


def _csv_error(path, lines, first):
    """An InputError with the row and column of the first cell that is no number; lines[0] is row number `first`."""
    width = None
    for row, line in enumerate(lines, start=first):
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


# HDF5

def hard_member(group, name):
    """The member `name` of an HDF5 group, None where there is none; raises InputError where it is a link.

    A name that leads into a group below must not be given: there could be a link on the way.
    """
    link = name.encode('utf-8', 'surrogateescape')
    if not group.id.links.exists(link):  # not `name in group`, which follows links into other files
        return None
    if group.id.links.get_info(link).type != h5py.h5l.TYPE_HARD:
        raise InputError('found a link, which may lead to another file, expected a dataset; copy the dataset into '
                         'this file (h5copy)')
    return group[link]


def is_in_hdf5(file, name):
    """Whether an HDF5 file has a member `name`, which may be VIDEO or GROUP/VIDEO. No link is followed."""
    folder, _, video = name.rpartition('/')
    group = None if '/' in folder else group_of_hdf5(file, folder)
    return group is not None and group.id.links.exists(video.encode('utf-8', 'surrogateescape'))


def group_of_hdf5(file, name):
    """The group `name` of an HDF5 file, '': the file itself; None where there is none, or only a link to one."""
    if not name:
        return file
    link = name.encode('utf-8', 'surrogateescape')
    if not file.id.links.exists(link):
        return None
    # unlike file.get(), this opens no dataset
    is_group = h5py.h5g.get_objinfo(file.id, link, follow_link=False).type == h5py.h5g.GROUP
    return file[link] if is_group else None


def names_in_hdf5(file, key=''):
    """Names of the videos of an HDF5 file: of datasets, and of groups that hold the numbers of one video.

    With `key`, a group that has it is a video. Without, all groups are videos where none has more than one member;
    otherwise groups are folders, and GROUP/MEMBER is the name of a video.
    """
    members = {name: group_of_hdf5(file, name) for name in file}
    members = {name: None if group is None else list(group) for name, group in members.items()}
    are_videos = not key and all(below is None or len(below) <= 1 for below in members.values())
    names = []
    for name, below in members.items():
        if below is None or are_videos or key and key.split('/')[0] in below:
            names.append(name)
        else:
            names += ['%s/%s' % (name, video) for video in below]
    return names


def find_dataset(file, name, key=''):
    """(dataset of the video `name` in an HDF5 file, its own name); the dataset is None where there is none.

    It is the dataset `name`, or in the group `name` the dataset `key` ('': the only one). Raises InputError where a
    link is on the way, or the group has members, but no such dataset.
    """
    item = _descend(file, name)
    if not isinstance(item, h5py.Group):
        return item if isinstance(item, h5py.Dataset) else None, name
    members = list(item)
    if not members:
        return None, name
    if not key and len(members) > 1:
        raise InputError('found a group of %d members%s, expected one dataset in it; %s' % (
            len(members), listed(members), KEY_REMEDY))
    dataset = _descend(item, key or members[0])
    if not isinstance(dataset, h5py.Dataset):
        raise InputError('found a group%s, expected a dataset %s in it; %s' % (
            listed(members), key or members[0], KEY_REMEDY))
    return dataset, '%s/%s' % (name, key or members[0])


def _descend(group, path):
    """What lies at `path`, NAME or GROUP/NAME/…, in an HDF5 group; None where nothing does."""
    for name in path.split('/'):
        group = hard_member(group, name) if name and isinstance(group, h5py.Group) else None
    return group


def read_dataset(dataset, table, cut=None):
    """Features [n, C] of an HDF5 dataset, of the type they have there; cut (a, b): rows a to b - 1 alone are read."""
    selection = [slice(0, length) for length in dataset.shape]
    selection[table.row_axis] = slice(*cut or (0, table.rows))
    if dataset.chunks:
        _check_chunks(dataset, table.rows, tuple(selection))
    return _as_rows(dataset[tuple(selection) if cut else ()], table.columns, table.row_axis < table.column_axis)


def chunk_count(dataset):
    """Number of chunks that an HDF5 dataset of this shape has when all are written, as a float: it may be huge."""
    return np.prod([-(-length // part) for length, part in zip(dataset.shape, dataset.chunks)], dtype=float)


def _check_chunks(dataset, rows, selection):
    """Raise ValueError where the chunks of an HDF5 dataset could take far more time or memory than its numbers.

    Of compressed chunks, those are looked at that `selection`, slices of its axes, touches.
    """
    itemsize = dataset.dtype.itemsize
    size = np.prod(dataset.chunks, dtype=float) * itemsize
    if size > max(dataset.size * itemsize, MAX_CHUNK):
        raise ValueError('found chunks of %d bytes, more than its numbers take; write it again with smaller chunks'
                         % size)
    count = chunk_count(dataset)
    if count > max(MAX_CHUNKS, rows):
        raise ValueError('found %d chunks, expected at most one per row; write it again with larger chunks' % count)
    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(number)[0] for number in range(pipeline.get_nfilters())]
    compression = [found for found in filters if found in COMPRESSION]
    if not FILTERS.issuperset(filters) or len(compression) > 1:
        raise ValueError('found the filters %s, expected gzip or lzf; write it again with one of them' % filters)
    limit = max(MAX_COMPRESSED, size)  # numbers that do not compress take their own size
    for slices in dataset.iter_chunks(selection) if compression else ():
        start = tuple(part.start // length * length for part, length in zip(slices, dataset.chunks))
        stored = dataset.id.get_chunk_info_by_coord(start).size
        if stored > limit:
            raise ValueError('found a compressed chunk of %d bytes, expected at most %d; write it again with smaller '
                             'chunks' % (stored, limit))
