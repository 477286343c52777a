"""Convert features, in any form, to the form that is read fastest: VIDEO.npy files or one HDF5 file.

Each video is read and checked as training reads it, written completely, read again and compared. Several processes
work at once. After an interruption, the same command continues: what is converted already is not converted again.
"""
import concurrent.futures
import contextlib
import errno
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from typing import NamedTuple, Optional

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
MADE_OF = 'made_of'     # attribute of an HDF5 dataset, see _made_of
MAX_OVERHEAD = 1 << 20  # bytes that a dataset takes in an HDF5 file besides its numbers
LOCK = '.conversion.lock'  # in a folder that .npy files are written to
POLL_SECONDS = 1        # interval at which a process checks whether the process that started it still runs


class Rescaling(NamedTuple):
    """Interpolation of every video to the same number of rows."""

    rows: int          # of every converted video
    clip_frames: int   # video frames in a row of the source
    durations: dict    # video → (seconds, frames)


class Conversion(NamedTuple):
    """What is converted, and to what."""

    source: str                     # folder or HDF5 file
    out: str                        # folder of npy files, or HDF5 file
    width: int                      # columns
    dtype: str                      # float32 or float16
    rescaling: Optional[Rescaling]


class Converted(NamedTuple):
    """Counts of a conversion, and the errors of the videos that could not be converted."""

    videos: int         # converted in this run
    already_there: int  # videos converted earlier
    bytes_before: int
    bytes_after: int
    failures: list      # messages


class Source(NamedTuple):
    """What a video is converted from."""

    size: int        # bytes
    changed: float   # modification time, seconds since the epoch


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
    parser.add_argument('--processes', type=int, default=0,
                        help='processes that convert; 0: one for each core (default: %(default)s)')


def run(args):
    """Convert each path and print a line about it; raises InputError where a video could not be converted."""
    data = DataConfig(data_root=args.data_root)
    paths = args.path or [path for path in map(data.path, FIELDS) if os.path.exists(path)]
    _check_arguments(args, paths, data)
    rescaling = Rescaling(args.rows, data.clip_frames, read_durations(args.durations)) if args.rows else None
    failures = []
    for path in paths:
        convert, default_out = ((convert_to_npy, path) if args.form == 'npy' else (convert_to_hdf5, path + '.h5'))
        out = args.out or default_out
        converted = convert(Conversion(path, out, args.feature_width, args.dtype, rescaling),
                            args.processes or os.cpu_count())
        print('%s: %d videos converted and verified, %d there already; %.1f MB in %s, before %.1f MB'
              % (out, converted.videos, converted.already_there, converted.bytes_after / 1e6, args.dtype,
                 converted.bytes_before / 1e6))
        failures += converted.failures
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
    for name, low, high in (('processes', 0, MAX_THREADS), ('feature_width', 1, MAX_NUMBER), ('rows', 1, MAX_ROWS)):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise InputError('--%s %s: expected %d to %d' % (name, value, low, high))
    if args.rows and not (args.out and args.durations):
        raise InputError('--rows %d: give also --durations, a JSON file with the durations, and --out, because '
                         'the features of clips must keep their rows' % args.rows)


# Converting

def _forms(conversion):
    """Endings of the files to convert: all of FORMS, but not .npy where .npy files are written to the same folder."""
    same = os.path.exists(conversion.out) and os.path.samefile(conversion.source, conversion.out)
    return tuple(form for form in FORMS if form != '.npy' or not same)


def find_sources(conversion):
    """{video: Source} of conversion.source, sorted by name; raises InputError where there is none."""
    source, found = conversion.source, {}
    if os.path.isfile(source):
        try:
            with h5py.File(source, 'r') as file:
                found = {video: Source(_stored(file, video), os.path.getmtime(source)) for video in file}
        except Exception as error:  # h5py raises several types for a damaged file
            raise InputError('%s: not an HDF5 file of features (%s)' % (source, one_line(error))) from None
    elif os.path.isdir(source):
        forms = _forms(conversion)
        with os.scandir(source) as entries:
            for entry in entries:
                video, form = os.path.splitext(entry.name)
                if form in forms:
                    status = entry.stat(follow_symlinks=entry.is_file())  # of a broken link itself
                    found[video] = Source(status.st_size, status.st_mtime)
    else:
        raise InputError('%s: found no such folder or HDF5 file' % source)
    if not found:
        raise InputError('%s: found no features to convert (looked for %s)' % (source, ', '.join(_forms(conversion))))
    return dict(sorted(found.items()))


def _stored(file, video):
    """Bytes of a dataset of an HDF5 file; 0 where it is a link or a group, which reading it will report."""
    if not isinstance(file.get(video, getlink=True), h5py.HardLink):
        return 0
    found = file[video]
    return found.id.get_storage_size() if isinstance(found, h5py.Dataset) else 0


def convert_to_npy(conversion, processes):
    """Convert every video of conversion.source to VIDEO.npy in conversion.out; return Converted.

    A video is skipped where its .npy is there, has the right form and is not older than what it is made of. Raises
    InputError where another run writes to the folder.
    """
    sources = find_sources(conversion)
    with write_errors(conversion.out):
        os.makedirs(conversion.out, exist_ok=True)
    with file_lock(os.path.join(conversion.out, LOCK)):
        with write_errors(conversion.out):
            remove_matching(conversion.out, '*.npy.partial[0-9]*')
        done = {video for video in sources if _is_converted(conversion, video, sources[video].changed)}
        todo = [video for video in sources if video not in done]
        converted = _count(_map(_write_npy, conversion, todo, processes, len(done)), sources)
    size = sum(os.path.getsize(_npy_path(conversion, video)) for video in done)
    return converted._replace(already_there=len(done), bytes_after=converted.bytes_after + size)


def convert_to_hdf5(conversion, processes):
    """Convert every video of conversion.source to a dataset of conversion.out, one HDF5 file; return Converted.

    The file is called OUT.partial until it is complete. After an interruption, a run continues it and keeps the
    videos that have the right form and whose source has not changed. Raises InputError where another run writes it.
    """
    sources = find_sources(conversion)
    (folder, name), partial = os.path.split(conversion.out), conversion.out + '.partial'
    if os.path.isdir(conversion.out):
        raise InputError('%s: found a folder, expected the path of an HDF5 file (--out)' % conversion.out)
    with file_lock(os.path.join(folder, '.%s.lock' % name)), _hdf5_write_errors(partial):
        with _open_partial(partial, conversion, sources) as file:
            done = [video for video in sources if video in file]
            todo = [video for video in sources if video not in file]
            results = _map(_read, conversion, todo, processes, len(done))
            converted = _count(_write_datasets(file, partial, conversion, sources, results), sources)
            size = sum(file[video].id.get_storage_size() for video in done)
        if not converted.failures:
            os.replace(partial, conversion.out)
    return converted._replace(already_there=len(done), bytes_after=converted.bytes_after + size)


def _write_datasets(file, path, conversion, sources, results):
    """Write the `results` of _read to the HDF5 file at `path`; yields (video, bytes written, error or None)."""
    for video, values, error in results:
        if error is None:
            if shutil.disk_usage(os.path.dirname(path) or '.').free < values.nbytes + MAX_OVERHEAD:
                # on a full disk, HDF5 leaves a damaged file and may end the process without a message
                raise InputError('%s: cannot be written: %s; free some space and run the same command again: '
                                 'converted videos are kept' % (path, os.strerror(errno.ENOSPC)))
            file[video] = values
            file[video].attrs[MADE_OF] = _made_of(conversion, sources[video])
            file.flush()  # so that a run after an interruption finds it
            if not np.array_equal(file[video][()], values):
                error = '%s: dataset %s: differs when it is read again; check the disk' % (path, video)
        yield video, 0 if values is None else values.nbytes, error


@contextlib.contextmanager
def _hdf5_write_errors(path):
    """Raise InputError where what is done inside, to write the HDF5 file `path`, fails."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError('%s: cannot be written (%s); check the disk and run the same command again: converted '
                         'videos are kept' % (path, one_line(error))) from None


def _open_partial(path, conversion, sources):
    """The HDF5 file at `path`, without the videos that have to be converted again; a new one where it is damaged."""
    with contextlib.suppress(Exception):  # the file may be cut off, or half written by a killed run
        file = h5py.File(path, 'a')
        try:
            for video in list(file):
                if video not in sources or not _fits(file[video], conversion) or not np.array_equal(
                        file[video].attrs.get(MADE_OF), _made_of(conversion, sources[video])):
                    del file[video]
            return file
        except Exception:
            file.close()
            raise
    os.remove(path)
    return h5py.File(path, 'w')


def _made_of(conversion, source):
    """What a dataset is made of: when its source was changed, and the rows it was interpolated to, or 0."""
    return source.changed, conversion.rescaling.rows if conversion.rescaling else 0


def _fits(array, conversion):
    """Whether `array`, of an npy or HDF5 file, has the form that converted videos have."""
    shape = getattr(array, 'shape', None)  # an HDF5 group has none
    return (shape is not None and len(shape) == 2 and shape[1] == conversion.width
            and array.dtype == conversion.dtype
            and (conversion.rescaling is None or shape[0] == conversion.rescaling.rows))


# Processes

def _map(function, conversion, videos, processes, done):
    """Yield function(video) in any order, computed by several processes, with a progress bar.

    The progress bar counts `done` videos as finished already.
    """
    with tqdm(total=len(videos) + done, initial=done, unit='video',
              desc=os.path.basename(conversion.source)) as progress:
        with _ctrl_c_blocked():  # Python starts a process that tracks semaphores: Ctrl-C must not kill it
            pool = concurrent.futures.ProcessPoolExecutor(
                processes, multiprocessing.get_context('spawn'),  # HDF5 does not work in forked processes
                _start_process, (conversion, os.getpid()))
        with pool:
            try:
                # only a few videos at a time: a result may have megabytes, and there may be 390,000 videos
                waiting, videos = set(), iter(videos)
                while True:
                    with _ctrl_c_blocked():  # in the processes that submit() starts, for ever: this process ends them
                        waiting.update(pool.submit(function, video)
                                       for video in itertools.islice(videos, 4 * processes - len(waiting)))
                    if not waiting:
                        return
                    finished, waiting = concurrent.futures.wait(
                        waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in finished:
                        yield future.result()
                        progress.update()
            except concurrent.futures.process.BrokenProcessPool:
                raise InputError('%s: a process was killed, perhaps because memory ran out; run the same command '
                                 'again with a lower number of --processes: converted videos are kept'
                                 % conversion.source) from None


@contextlib.contextmanager
def _ctrl_c_blocked():
    """Ctrl-C waits until the end of the block; processes started inside never receive it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_process = {}  # in a process started by _map: its Conversion, and the FeatureStore that it reads


def _start_process(conversion, parent):
    """Prepare a process that the process `parent` has started."""
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    store = FeatureStore(conversion.source, conversion.width, _forms(conversion))
    _process.update(conversion=conversion, store=store)


def _exit_with_parent(parent):
    """Exit when the process `parent` has died: without it, this process would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _read(video):
    """(video, its features as they will be stored or None, error message or None)."""
    conversion, rescaling = _process['conversion'], _process['conversion'].rescaling
    try:
        values = _process['store'].read(video)
        if rescaling is not None and len(values) != rescaling.rows:
            if video not in rescaling.durations:
                raise InputError('%s: found no durations of video %s in the JSON file (--durations)'
                                 % (conversion.source, video))
            values = interpolate(values, rescaling.rows, *rescaling.durations[video],
                                 clip_frames=rescaling.clip_frames)
        with np.errstate(over='ignore'):
            stored = values.astype(conversion.dtype)
        if not np.isfinite(stored).all():
            raise InputError('%s: video %s: found %g, which is too large for float16; use --dtype float32'
                             % (conversion.source, video, np.abs(values).max()))
        return video, stored, None
    except InputError as error:
        return video, None, str(error)


def _write_npy(video):
    """(video, bytes written, error message or None)."""
    _, values, error = _read(video)
    if error is not None:
        return video, 0, error
    path = _npy_path(_process['conversion'], video)
    try:
        with atomic_write(path) as partial:
            with open(partial, 'wb') as file:
                np.save(file, values, allow_pickle=False)
            if not np.array_equal(np.load(partial, allow_pickle=False), values):
                raise InputError('%s: differs when it is read again; check the disk' % path)
        return video, os.path.getsize(path), None
    except InputError as error:
        return video, 0, str(error)


def _npy_path(conversion, video):
    return os.path.join(conversion.out, video + '.npy')


def _is_converted(conversion, video, changed):
    """Whether VIDEO.npy has the right form and is not older than `changed`."""
    path = _npy_path(conversion, video)
    try:
        file_size(path)  # raises where it is no regular file: opening a pipe would hang
        return os.path.getmtime(path) >= changed and _fits(np.lib.format.open_memmap(path, 'r'), conversion)
    except Exception:  # a file that is no npy array raises several types
        return False


def _count(results, sources):
    """Converted of the (video, bytes written, error or None) in `results`."""
    videos, size, failures = 0, 0, []
    for _, written, error in results:
        if error is None:
            videos, size = videos + 1, size + written
        else:
            failures.append(error)
    return Converted(videos, 0, sum(source.size for source in sources.values()), size, failures)
