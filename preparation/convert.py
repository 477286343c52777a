"""Convert features, in any form, to the form that is read fastest: VIDEO.npy files or one HDF5 file.

Each video is read and checked as training reads it, written completely, read again and compared. Several threads work
at once. After an interruption, the same command continues: what is converted already is not converted again.
"""
import contextlib
import errno
import os
import shutil
import sys
import threading
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from config import MAX_NUMBER, MAX_THREADS, DataConfig, ModelConfig
from dataset.features import FORMS, MAX_ROWS, FeatureStore, interpolate
from dataset.tables import read_durations
from runtime.errors import InputError, one_line
from runtime.files import atomic_write, file_lock, file_size, remove_matching, write_errors

NAME = 'features'
FIELDS = ('source_features', 'source_clips', 'target_clips', 'target_features')  # of DataConfig
MAX_SHOWN = 20          # videos that could not be converted and whose errors are printed
MADE_OF = 'made_of'     # attribute of an HDF5 dataset, see _hdf5_file
MAX_OVERHEAD = 1 << 20  # bytes that a dataset takes in an HDF5 file besides its numbers
LOCK = '.conversion.lock'  # in a folder that .npy files are written to


class Conversion(NamedTuple):
    """What is converted, and to what."""

    source: str           # folder or HDF5 file
    out: str              # folder of npy files, or HDF5 file
    width: int            # columns
    dtype: str            # float32 or float16
    rows: int = 0         # that every video is interpolated to; 0: it keeps its rows
    durations: dict = {}  # video → (seconds, frames), to interpolate it


# The subcommand

def add_arguments(parser):
    """Add the flags of this subcommand."""
    parser.add_argument('path', nargs='*', help='folder of VIDEO.csv, .npz or .npy, or HDF5 file '
                        '(default: the four folders of the data root, as far as they are there)')
    parser.add_argument('--data_root', default='data', help='folder of the data (default: %(default)s)')
    parser.add_argument('--form', choices=('npy', 'hdf5'), default='npy', help='form to write (default: %(default)s)')
    parser.add_argument('--dtype', choices=('float32', 'float16'), default='float32',
                        help='type to write; float16 takes half the disk space (default: %(default)s)')
    parser.add_argument('--out', help='folder or HDF5 file to write (default: npy files beside the source files, or '
                        'PATH.h5; training prefers both to the source files)')
    parser.add_argument('--feature_width', type=int, default=ModelConfig().feature_width,
                        help='columns of a feature file (default: %(default)s)')
    parser.add_argument('--rows', type=int, help='interpolate every video to this number of rows, such as 512')
    parser.add_argument('--durations', metavar='JSON', help='annotation JSON that has the durations, for --rows')
    parser.add_argument('--workers', type=int, default=0,
                        help='threads that read and convert; 0: one for each core (default: %(default)s)')


def run(args):
    """Convert each path and print a line about it; raises InputError where a video could not be converted."""
    data = DataConfig(data_root=args.data_root)
    paths = args.path or [path for path in map(data.path, FIELDS) if os.path.exists(path)]
    _check_arguments(args, paths, data)
    durations, failures = read_durations(args.durations) if args.rows else {}, []
    for path in paths:
        out = args.out or path + ('.h5' if args.form == 'hdf5' else '')
        conversion = Conversion(path, out, args.feature_width, args.dtype, args.rows or 0, durations)
        if not args.path and _is_npy_already(conversion):
            print('%s: nothing to convert, the files are npy already' % path)
            continue
        converted, already_there, errors = convert(conversion, args.form, args.workers or os.cpu_count())
        print('%s: %d videos converted and verified, %d there already' % (out, converted, already_there))
        failures += errors
    for failure in failures[:MAX_SHOWN]:
        print('error: %s' % failure, file=sys.stderr)
    if failures:
        raise InputError('%d videos could not be converted (%d shown); correct them and run the same command again: '
                         'converted videos are kept' % (len(failures), min(MAX_SHOWN, len(failures))))


def _check_arguments(args, paths, data):
    if not paths:
        raise InputError('%s: found none of %s; name a folder or an HDF5 file'
                         % (args.data_root, ', '.join(getattr(data, field) for field in FIELDS)))
    if args.out and len(paths) > 1:
        raise InputError('--out %s: can hold the features of one path, found %d paths; name one path'
                         % (args.out, len(paths)))
    for name, low, high in (('workers', 0, MAX_THREADS), ('feature_width', 1, MAX_NUMBER), ('rows', 1, MAX_ROWS)):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise InputError('--%s %s: expected %d to %d' % (name, value, low, high))
    if args.rows and not (args.out and args.durations):
        raise InputError('--rows %d: give also --durations, a JSON file with the durations, and --out, because '
                         'the features of clips must keep their rows' % args.rows)


# Converting

def convert(conversion, form, workers):
    """Convert every video of conversion.source to `form`, 'npy' or 'hdf5', with `workers` threads.

    Returns (number of videos converted, number converted earlier, messages about those that cannot be converted).
    Raises InputError where there is no video, nothing can be written, or another run writes to the same place.
    """
    sources, open_out = find_sources(conversion), {'npy': _npy_folder, 'hdf5': _hdf5_file}[form]
    with open_out(conversion, sources) as (done, write), \
            FeatureStore(conversion.source, conversion.width, _forms(conversion)) as store:
        def convert_one(video):
            """The message where the video cannot be converted, else None."""
            try:
                write(video, _read(conversion, store, video))
            except InputError as error:
                return str(error)

        todo, errors = [video for video in sources if video not in done], []
        with tqdm(total=len(sources), initial=len(done), unit='video',
                  desc=os.path.basename(conversion.source)) as progress:
            pool = ThreadPool(workers)
            try:
                for error in pool.imap_unordered(convert_one, todo):
                    errors += [error] if error else []
                    progress.update()
            finally:  # after an interruption, too: each thread finishes its video
                pool.terminate()
                pool.join()
    return len(todo) - len(errors), len(done), errors


def _forms(conversion):
    """Endings of the files to convert: all of FORMS, but not .npy where .npy files are written to the same folder."""
    same = os.path.exists(conversion.out) and os.path.samefile(conversion.source, conversion.out)
    return tuple(form for form in FORMS if form != '.npy' or not same)


def _is_npy_already(conversion):
    """Whether .npy files would be written to a folder that has only .npy files."""
    if '.npy' in _forms(conversion) or not os.path.isdir(conversion.source):
        return False
    return {os.path.splitext(name)[1] for name in os.listdir(conversion.source)}.intersection(FORMS) == {'.npy'}


def find_sources(conversion):
    """{video: modification time in s} of conversion.source, sorted by name; raises InputError where there is none."""
    source, found = conversion.source, {}
    if os.path.isfile(source):
        try:
            with h5py.File(source, 'r') as file:
                found = dict.fromkeys(file, os.path.getmtime(source))
        except Exception as error:  # h5py raises several types for a damaged file
            raise InputError('%s: not an HDF5 file of features (%s)' % (source, one_line(error))) from None
    elif os.path.isdir(source):
        forms = _forms(conversion)
        with os.scandir(source) as entries:
            for entry in entries:
                video, form = os.path.splitext(entry.name)
                if form in forms:
                    found[video] = entry.stat(follow_symlinks=entry.is_file()).st_mtime  # of a broken link itself
    else:
        raise InputError('%s: found no such folder or HDF5 file' % source)
    if not found:
        raise InputError('%s: found no features to convert (looked for %s)' % (source, ', '.join(_forms(conversion))))
    return dict(sorted(found.items()))


def _read(conversion, store, video):
    """The features of a video as they will be stored; raises InputError where they cannot be used."""
    values = store.read(video)
    if conversion.rows and len(values) != conversion.rows:
        if video not in conversion.durations:
            raise InputError('%s: found no durations of video %s in the JSON file (--durations)'
                             % (conversion.source, video))
        values = interpolate(values, conversion.rows, *conversion.durations[video])
    with np.errstate(over='ignore'):
        stored = values.astype(conversion.dtype)
    if not np.isfinite(stored).all():
        raise InputError('%s: video %s: found %g, which is too large for float16; use --dtype float32'
                         % (conversion.source, video, np.abs(values).max()))
    return stored


def _fits(array, conversion):
    """Whether `array`, of an npy or HDF5 file, has the form that converted videos have."""
    shape = getattr(array, 'shape', ())  # an HDF5 group has none
    return (len(shape) == 2 and shape[1] == conversion.width and array.dtype == conversion.dtype
            and conversion.rows in (0, shape[0]))


@contextlib.contextmanager
def _npy_folder(conversion, sources):
    """The folder of npy files conversion.out: the set of its converted videos, and a function that writes a video.

    A video is converted if its .npy has the right form and is not older than what it is made of.
    """
    def path_of(video):
        return os.path.join(conversion.out, video + '.npy')

    def is_converted(video):
        try:
            file_size(path_of(video))  # raises where it is no regular file: opening a pipe would hang
            return (os.path.getmtime(path_of(video)) >= sources[video]
                    and _fits(np.lib.format.open_memmap(path_of(video), 'r'), conversion))
        except Exception:  # a file that is no npy array raises several types
            return False

    def write(video, values):
        with atomic_write(path_of(video)) as partial:
            with open(partial, 'wb') as file:
                np.save(file, values, allow_pickle=False)
            if not np.array_equal(np.load(partial, allow_pickle=False), values):
                raise InputError('%s: differs when it is read again; check the disk' % path_of(video))

    with file_lock(os.path.join(conversion.out, LOCK)), write_errors(conversion.out):
        remove_matching(conversion.out, '*.npy.partial[0-9]*')
        yield set(filter(is_converted, sources)), write


@contextlib.contextmanager
def _hdf5_file(conversion, sources):
    """The same of the HDF5 file conversion.out, which is called OUT.partial until it has all videos.

    A dataset is converted if it has the right form, and the attribute MADE_OF has the modification time of its source
    and the rows that it was interpolated to.
    """
    (folder, name), partial, lock = os.path.split(conversion.out), conversion.out + '.partial', threading.Lock()
    if os.path.isdir(conversion.out):
        raise InputError('%s: found a folder, expected the path of an HDF5 file (--out)' % conversion.out)

    def write(video, values):
        with lock:
            if shutil.disk_usage(folder or '.').free < values.nbytes + MAX_OVERHEAD:
                # on a full disk, HDF5 leaves a damaged file and may end the process without a message
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file[video] = values
            if not np.array_equal(file[video][()], values):
                del file[video]
                raise InputError('%s: dataset %s: differs when it is read again; check the disk' % (partial, video))
            file[video].attrs[MADE_OF] = sources[video], conversion.rows
            file.flush()  # so that a run after an interruption finds it

    with file_lock(os.path.join(folder, '.%s.lock' % name)):
        try:
            with _open_partial(partial, conversion, sources) as file:
                yield set(file), write
                is_complete = len(file) == len(sources)
            if is_complete:
                os.replace(partial, conversion.out)
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError) as error:  # of h5py
            raise InputError('%s: cannot be written (%s); check the disk and run the same command again: converted '
                             'videos are kept' % (partial, one_line(error))) from None


def _open_partial(path, conversion, sources):
    """The HDF5 file at `path`, without the videos that have to be converted again; a new one where it is damaged."""
    try:
        file = h5py.File(path, 'a')
        for video in list(file):
            if video not in sources or not _fits(file[video], conversion) or not np.array_equal(
                    file[video].attrs.get(MADE_OF), (sources[video], conversion.rows)):
                del file[video]
    except Exception:  # the file may be cut off, or half written by a killed run
        os.remove(path)
        file = h5py.File(path, 'w')
    return file
