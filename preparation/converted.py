"""What a conversion writes: npy files or an HDF5 file, with a record of what each video was made of.

A video is there already if its record equals its Stamp of now. What has no record is not replaced.
"""
import contextlib
import errno
import io
import json
import os
import re
import shutil
import threading
import zlib
from typing import Callable, NamedTuple

import h5py
import numpy as np

from dataset.conversion_record import MADE_OF, RECORD, identity, is_file, read_record
from runtime.errors import InputError, one_line, printable
from runtime.files import append_text, atomic_write, file_lock, file_size, remove_leftovers, sync, write_errors
from runtime.progress import track

LOCK = '.conversion.lock'            # in a folder that npy files are written to
OVERHEAD = 4 << 10                   # bytes of a dataset in an HDF5 file besides its numbers; measured: below 1 kB
MIN_FREE = 1 << 20                   # bytes that stay free, for what HDF5 writes when it closes a file
SAME = ('width', 'dtype', 'rows')    # of a Stamp: what all videos of an HDF5 file have in common
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk, a quota or a limit that is too small


class Stamp(NamedTuple):
    """What a converted video is made of, and how. Of equal stamps, the same numbers are made."""

    form: str        # ending of the file that is read
    size: int        # its bytes
    mtime_ns: int    # its modification time
    width: int       # columns
    dtype: str       # that is written
    rows: int        # that the video is interpolated to; 0: it keeps its rows
    seconds: float   # its duration, for the interpolation; 0 without one
    frames: int      # the same in frames
    layout: str = 'tc'  # of the file that is read
    key: str = ''       # name of the array that is read

    def as_record(self):
        """The fields as a dict that JSON gives back, without what is as in earlier versions."""
        return {name: value for name, value in self._asdict().items()
                if value != self._field_defaults.get(name)}


class Output(NamedTuple):
    """What stands where a conversion writes to, and the functions that write there."""

    current: set      # videos that are there and whose record equals their stamp
    unrecorded: set   # videos that are there without a record: a user, or an earlier version, made them
    faults: dict      # video → message, of those that are there without a record and cannot be used
    gone: int         # recorded videos in an HDF5 file that have no source any more; they are kept
    write: Callable   # write(video, values): store, read again and compare; InputError where that fails
    finish: Callable  # finish(): put the result in its place; called after all videos are written


# A folder of npy files

class Record:
    """The record of a folder: what the npy files there were made of.

    It has two lines for a file: one with its size and modification time, and one with its size and checksum.
    """

    def __init__(self, folder):
        """Read the record; raises InputError where it is no regular file."""
        self._path, self._lock = os.path.join(folder, RECORD), threading.Lock()
        self._made_of = read_record(self._path)
        self._sizes = {key[:2] for key in self._made_of}
        self.videos = {key[0] for key in self._made_of}

    def find(self, video, path):
        """(what the npy file at `path` was made of, a Stamp as a dict, or None; whether the file is a copy).

        A copy has the bytes of a recorded file, but another modification time. Only then is the file read.
        """
        size, mtime_ns = identity(path)
        made_of = self._made_of.get((video, size, mtime_ns))
        if made_of is not None or (video, size) not in self._sizes:
            return made_of, False
        made_of = self._made_of.get((video, size, _checksum(path)))
        return made_of, made_of is not None

    def add(self, video, path, made_of):
        """Append the lines of the file at `path`, which will be the npy file of `video`."""
        size, mtime_ns = identity(path)
        # a line end comes first: after a line that was cut short, too, a new line starts
        lines = ['\n' + json.dumps({'video': video, 'npy': [size, version], 'made_of': made_of})
                 for version in (_checksum(path), mtime_ns)]
        with self._lock:
            append_text(self._path, ''.join(lines))


def _checksum(path):
    """The checksum of a file, as a text that its record has."""
    with open(path, 'rb') as file:
        return 'crc32 %08x' % zlib.crc32(file.read())


@contextlib.contextmanager
def npy_folder(out, stamps):
    """A context that gives the Output of the folder `out`, for the videos of `stamps`, {video: Stamp}.

    An npy file is ours if a line of the record has its size and its modification time, or, as of a copy, its size
    and its checksum. The line is written before the file gets its name, so that a run killed between the two leaves
    no file without a line.
    Raises InputError where the folder cannot be written, or another run writes there.
    """
    def path_of(video):
        return os.path.join(out, video + '.npy')

    def write(video, values):
        npy = io.BytesIO()  # np.save into a file would not say why it cannot be written
        np.save(npy, values, allow_pickle=False)
        with atomic_write(path_of(video)) as partial:
            with open(partial, 'wb') as file:
                file.write(npy.getbuffer())
            with open(partial, 'rb') as file:
                if file.read() != npy.getbuffer():
                    raise InputError('%s: differs when it is read again; check the disk' % path_of(video))
            record.add(video, partial, stamps[video].as_record())

    with file_lock(os.path.join(out, LOCK)), write_errors(out):
        _remove_leftovers(out, stamps)
        record, current, unrecorded, faults = Record(out), set(), set(), {}
        for video in filter(lambda video: os.path.lexists(path_of(video)), stamps):
            try:
                made_of, is_copy = record.find(video, path_of(video))
                if made_of is None:
                    _check_usable(path_of(video), stamps[video].width)
                    unrecorded.add(video)
                elif made_of == stamps[video].as_record():
                    current.add(video)
            except Exception as error:  # a file that is no npy array raises several types
                faults[video] = ('%s: found a file that cannot be used (%s) and has no record of its conversion, so '
                                 'that it is not replaced; move it away and run the same command again'
                                 % (path_of(video), one_line(error)))
                continue
            if is_copy:  # so that its checksum is not needed again
                record.add(video, path_of(video), made_of)
        yield Output(current, unrecorded, faults, 0, write, lambda: None)


def _remove_leftovers(folder, videos):
    """Remove what killed runs left of npy files of `videos`, VIDEO or FOLDER/VIDEO, and nothing else."""
    for below in {os.path.dirname(video) for video in videos}:
        place = os.path.join(folder, below)
        names = [re.match(r'(.*)\.npy\.partial\d+$', name) for name in os.listdir(place)] if os.path.isdir(
            place) else []
        left = {re.escape(name[1]) for name in names if name and os.path.join(below, name[1]) in videos}
        if left:
            remove_leftovers(place, r'(?:%s)\.npy' % '|'.join(left))


def _check_usable(path, width):
    """Raise some exception where no npy file with rows of `width` numbers is at `path`. The numbers are not read."""
    file_size(path)  # raises where it is no regular file: opening a pipe would hang
    array = np.lib.format.open_memmap(path, 'r')
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in 'fiu':
        raise ValueError('found an array of shape %s and type %s, expected rows of %d numbers'
                         % (array.shape, array.dtype, width))


# An HDF5 file

@contextlib.contextmanager
def hdf5_file(out, stamps):
    """A context that gives the Output of the HDF5 file `out`, for the videos of `stamps`, {video: Stamp}.

    Videos are written to npy files in the folder OUT.partial, because HDF5 does not survive a killed run: what is
    written later could overwrite what is there. finish() writes `out` at once, from these files and from what an
    earlier `out` has of other videos, and of these where it is up to date. Until then, `out` stays as it is.
    Raises InputError where a file that this program did not make is in the way, where the disk is full or fails, and
    where another run writes there, and where videos that are kept have another width, type or number of rows.
    """
    (folder, name), partial = os.path.split(out), out + '.partial'
    with file_lock(os.path.join(folder, '.%s.lock' % name)), _hdf5_errors(out):
        remove_leftovers(folder or '.', re.escape(name))
        finished = _finished(out)  # {video: record}
        current = {video for video, stamp in stamps.items() if finished.get(video) == _text(stamp)}
        left = {video: record for video, record in _recorded(partial).items() if video not in stamps}
        gone = _refuse_to_mix(out, dict(finished, **left), stamps)
        if len(current) == len(stamps) and not left:
            _remove_staged(partial, finished)
            yield Output(current, set(), {}, gone, None, lambda: None)
            return
        if os.path.exists(partial) and not os.path.isdir(partial):
            raise InputError('%s: found no folder, expected the folder of unfinished videos; what is there is of an '
                             'earlier version, or not of this program: move it away' % partial)
        with npy_folder(partial, {video: stamps[video] for video in stamps if video not in current}) as staged:
            there = staged.current.union(left)

            def write(video, values):
                staged.write(video, values)
                there.add(video)

            def finish():
                records = {video: record for video, record in finished.items()
                           if video in current or video not in stamps}
                records.update({video: _text(stamps[video]) if video in stamps else left[video] for video in there})
                if records != finished:
                    staged_in = {video: os.path.join(partial, video + '.npy') for video in there}
                    size = (sum(map(os.path.getsize, staged_in.values()))
                            + _stored_bytes(out, set(records).difference(there)))
                    _write_hdf5(out, records, lambda video: _stored(staged_in.get(video, out), video), size)
                _remove_staged(partial, records)

            faults = {video: '%s: found a file without a record of its conversion; move it away'
                      % os.path.join(partial, video + '.npy') for video in staged.unrecorded}
            yield Output(current.union(staged.current), set(), dict(faults, **staged.faults), gone, write, finish)


@contextlib.contextmanager
def _hdf5_errors(path):
    """Raise InputError where what is done inside, to write the HDF5 file `path`, fails."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # of h5py
        raise InputError('%s: cannot be written (%s); check the disk and run the same command again: converted '
                         'videos are kept' % (path, one_line(error))) from None


def _refuse_to_mix(out, earlier, stamps):
    """The number of videos of `earlier`, {video: record}, that are not in `stamps`, and so are kept.

    Raises InputError where one of them has another width, type or number of rows than `stamps`.
    """
    kept, now = sorted(set(earlier).difference(stamps)), next(iter(stamps.values()))._asdict()
    for video in kept:
        made_of = _parse(earlier[video])
        different = [name for name in SAME if made_of.get(name, now[name]) != now[name]]
        if different:
            found, expected = [', '.join('%s %s' % (name, values[name] or 'as in its source') for name in different)
                               for values in (made_of, now)]
            raise InputError('%s: found video %s, whose source is gone, with %s, expected %s, as this conversion '
                             'writes; write to another file with --out OTHER.h5' % (out, video, found, expected))
    return len(kept)


def _parse(record):
    """The dict of a record; an empty one where it is of an earlier version."""
    made_of = None
    with contextlib.suppress(ValueError, RecursionError):
        made_of = json.loads(record)
    return made_of if isinstance(made_of, dict) else {}


def _text(stamp):
    return json.dumps(stamp.as_record())


def _finished(path):
    """{video: record, a text} of the HDF5 file of an earlier conversion; {} where there is none.

    Raises InputError where this program did not make the file.
    """
    if not is_file(path):
        return {}
    remedy = 'it is not replaced: move it away, or name another file with --out'
    try:
        with h5py.File(path, 'r') as file:
            records = {name: _record(file, name) for name in file}
    except Exception as error:  # h5py raises several types for a damaged file
        raise InputError('%s: found a file that cannot be read as HDF5 (%s); %s'
                         % (path, one_line(error), remedy)) from None
    foreign = [name for name, record in records.items() if record is None]
    if foreign or not records:
        raise InputError('%s: found an HDF5 file that this program did not make (%s); %s' % (
            path, 'no record of dataset %s' % foreign[0] if foreign else 'it is empty', remedy))
    return records


def _record(file, name):
    """The record of a dataset; None where this program did not make it. Links are not followed."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        return None
    record = file[name].attrs.get(MADE_OF)
    return record if record is None or isinstance(record, str) else 'of an earlier version'


def _stored(path, video):
    """The numbers of a video in an npy file, or in the HDF5 file of an earlier conversion."""
    try:
        if path.endswith('.npy'):
            return np.load(path, allow_pickle=False)
        with h5py.File(path, 'r') as file:
            return file[video][()]
    except Exception as error:  # a damaged file raises several types
        raise InputError('%s: video %s cannot be read again (%s); move this file away and run the same command again'
                         % (path, video, one_line(error))) from None


def _stored_bytes(path, videos):
    """Bytes of the numbers of `videos` in the HDF5 file of an earlier conversion."""
    if not videos:
        return 0
    with h5py.File(path, 'r') as file:
        return sum(file[video].size * file[video].dtype.itemsize for video in videos)


def _write_hdf5(path, records, values_of, size):
    """Write the HDF5 file `path`, completely or not at all: a dataset values_of(video) for each video of `records`.

    `size` is the bytes of all of them. Each is read again and compared.
    """
    with atomic_write(path) as partial:
        _try_space(path, partial, size + OVERHEAD * len(records) + MIN_FREE)
        with h5py.File(partial, 'w') as file:
            for video in track(sorted(records), 'video', printable(os.path.basename(path))):
                values = values_of(video)
                # on a full disk, HDF5 may end the process without a message
                if shutil.disk_usage(os.path.dirname(path) or '.').free < values.nbytes + MIN_FREE:
                    raise InputError('%s: cannot be written: the disk is full; free as much space as all videos take '
                                     'and run the same command again: converted videos are kept' % path)
                file[video] = values
                file[video].attrs[MADE_OF] = records[video]
                if not np.array_equal(file[video][()], values):
                    raise InputError('%s: dataset %s differs when it is read again; check the disk' % (path, video))
        sync(partial)


def _try_space(path, partial, size):
    """Make the empty file `partial`; raises InputError where a disk, a quota or a limit has no room for `size` bytes.

    HDF5 may end the process without a message where it cannot write.
    """
    with open(partial, 'ab') as file:  # to append: else the C library writes to each block where it cannot reserve
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:  # others: this file system cannot reserve
            if error.errno in FULL:
                raise InputError('%s: cannot be written: %s; make %d bytes free, or raise the limit, and run the '
                                 'same command again: converted videos are kept'
                                 % (path, error.strerror, size)) from None
        file.truncate(0)


def _recorded(folder):
    """{video: record, a text} of the npy files of `folder` that its record has."""
    if not os.path.isdir(folder):
        return {}
    names, record = set(os.listdir(folder)), Record(folder)
    made_of = {video: record.find(video, os.path.join(folder, video + '.npy'))[0]
               for video in record.videos if '%s.npy' % video in names}
    return {video: json.dumps(found) for video, found in made_of.items() if found is not None}


def _remove_staged(folder, records):
    """Remove the npy files that the HDF5 file with these `records` has, and `folder` where nothing else is in it."""
    for video, record in _recorded(folder).items():
        if records.get(video) == record:
            os.remove(os.path.join(folder, video + '.npy'))
    if os.path.isdir(folder) and {RECORD, LOCK}.issuperset(os.listdir(folder)):
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        with contextlib.suppress(OSError):  # a link to a folder, or the root of another disk, stays
            os.rmdir(folder)
