"""Features in any form → the fast form, for `prepare_data.py features`: VIDEO.npy files, or one HDF5 file.

A video is read and checked as the loader reads it, written whole, read again and compared. Several processes
work at once; what an earlier, interrupted run has finished is not done again.
"""
import concurrent.futures
import contextlib
import errno
import itertools
import multiprocessing
import os
import shutil
import signal
import threading
import time
from typing import NamedTuple, Optional

import h5py
import numpy as np
from tqdm import tqdm

from errors import InputError, one_line
from features import FORMS, FeatureStore, interpolate
from files import locked, size_of, sweep, writing, written_whole

MADE_OF = 'made_of'  # attribute of a dataset, of _made_of
MOST_OVERHEAD = 1 << 20  # bytes that a dataset takes in an HDF5 file beside its numbers
LOCK = '.conversion.lock'  # in a folder that .npy files are written to
LOOK = 1  # seconds between two looks of a worker at whether the process that began it still runs


class Rescaling(NamedTuple):
    """Interpolation of every video to the same number of rows."""

    rows: int
    clip_frames: int   # frames of a row as it is
    durations: dict    # video → (seconds, frames)


class Conversion(NamedTuple):
    """What to convert, and into what."""

    source: str                     # folder or HDF5 file
    out: str                        # folder (npy) or file (HDF5)
    width: int                      # columns
    dtype: str                      # float32 or float16
    rescaling: Optional[Rescaling]


class Converted(NamedTuple):
    """Counts of a conversion, and what is wrong with the videos that could not be converted."""

    videos: int          # converted in this run
    already_there: int
    bytes_before: int
    bytes_after: int
    failures: list  # messages


class Source(NamedTuple):
    """What a video is converted from."""

    size: int        # bytes
    changed: float   # seconds since the epoch


def _forms(conversion):
    """Endings of the files to convert: where the folder is to hold the .npy too, those are none of them."""
    same = os.path.exists(conversion.out) and os.path.samefile(conversion.source, conversion.out)
    return tuple(form for form in FORMS if form != '.npy' or not same)


def videos_of(conversion):
    """{video: Source} of conversion.source, sorted; InputError where there is none."""
    source, found = conversion.source, {}
    if os.path.isfile(source):
        try:
            with h5py.File(source, 'r') as file:
                found = {video: Source(_stored(file, video), os.path.getmtime(source)) for video in file}
        except Exception as error:  # h5py tells a damaged file by several types of error
            raise InputError('%s: not an HDF5 file of features (%s)' % (source, one_line(error))) from None
    elif os.path.isdir(source):
        forms = _forms(conversion)
        with os.scandir(source) as entries:
            for entry in entries:
                video, form = os.path.splitext(entry.name)
                if form in forms:
                    status = entry.stat(follow_symlinks=entry.is_file())  # a link that leads nowhere: its own
                    found[video] = Source(status.st_size, status.st_mtime)
    else:
        raise InputError('%s: found no such folder or HDF5 file' % source)
    if not found:
        raise InputError('%s: found no features to convert (looked for %s)' % (source, ', '.join(_forms(conversion))))
    return dict(sorted(found.items()))


def _stored(file, video):
    """Bytes of a dataset of an HDF5 file; 0 where it is none or a link, as reading it will say."""
    if not isinstance(file.get(video, getlink=True), h5py.HardLink):
        return 0
    found = file[video]
    return found.id.get_storage_size() if isinstance(found, h5py.Dataset) else 0


def convert_to_npy(conversion, workers):
    """Convert every video of conversion.source to VIDEO.npy in conversion.out; return Converted.

    A video whose .npy is there, of the right type and no older than what it is made of, is left as it is. Raises
    InputError where another run writes to the folder.
    """
    videos = videos_of(conversion)
    with writing(conversion.out):
        os.makedirs(conversion.out, exist_ok=True)
    with locked(os.path.join(conversion.out, LOCK)):
        with writing(conversion.out):
            sweep(conversion.out, '*.npy.partial[0-9]*')
        there = {video for video in videos if _is_there(conversion, video, videos[video].changed)}
        todo = [video for video in videos if video not in there]
        counted = _count(_map(_write_npy, conversion, todo, workers, len(there)), videos)
    size = sum(os.path.getsize(os.path.join(conversion.out, video + '.npy')) for video in there)
    return counted._replace(already_there=len(there), bytes_after=counted.bytes_after + size)


def convert_to_hdf5(conversion, workers):
    """Convert every video of conversion.source to a dataset of conversion.out, one HDF5 file; return Converted.

    The file is called OUT.partial until it is complete, and an interrupted run goes on with it: with the videos
    that are there in the form asked for, made of what is there now. Raises InputError where another run writes it.
    """
    videos = videos_of(conversion)
    (folder, name), partial = os.path.split(conversion.out), conversion.out + '.partial'
    if os.path.isdir(conversion.out):
        raise InputError('%s: found a folder, expected the path of an HDF5 file (--out)' % conversion.out)
    with locked(os.path.join(folder, '.%s.lock' % name)), _told(partial):
        with _appendable(partial, conversion, videos) as file:
            there = [video for video in videos if video in file]
            todo = [video for video in videos if video not in file]

            def written():
                for video, values, failure in _map(_read, conversion, todo, workers, len(there)):
                    if failure is None:
                        if shutil.disk_usage(folder or '.').free < values.nbytes + MOST_OVERHEAD:
                            # found by HDF5 itself, it leaves a damaged file, and may end the process without a word
                            raise InputError('%s: cannot be written: %s; make some and run again: what is done stays'
                                             % (partial, os.strerror(errno.ENOSPC)))
                        file[video] = values
                        file[video].attrs[MADE_OF] = _made_of(conversion, videos[video])
                        file.flush()  # so that a run after an interruption finds it
                        if not np.array_equal(file[video][()], values):
                            failure = '%s: dataset %s: reads back otherwise; see to the disk' % (partial, video)
                    yield video, 0 if values is None else values.nbytes, failure

            counted = _count(written(), videos)
            size = sum(file[video].id.get_storage_size() for video in there)
        if not counted.failures:
            os.replace(partial, conversion.out)
    return counted._replace(already_there=len(there), bytes_after=counted.bytes_after + size)


@contextlib.contextmanager
def _told(path):
    """InputErrors pass; what else h5py raises of a damaged file, by several types, becomes one."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError('%s: cannot be written (%s); see to the disk and run again: what is done stays'
                         % (path, one_line(error))) from None


def _appendable(path, conversion, videos):
    """The HDF5 file at `path` to go on with, rid of what is to be done again; a new one where it is damaged."""
    with contextlib.suppress(Exception):  # of what was cut off, or a killed run left half written
        file = h5py.File(path, 'a')
        try:
            for video in list(file):
                if video not in videos or not _fits(file[video], conversion) or not np.array_equal(
                        file[video].attrs.get(MADE_OF), _made_of(conversion, videos[video])):
                    del file[video]
            return file
        except Exception:
            file.close()
            raise
    os.remove(path)
    return h5py.File(path, 'w')


def _made_of(conversion, source):
    """What numbers are made of, beside the video: when that changed, and the rows asked for or 0."""
    return source.changed, conversion.rescaling.rows if conversion.rescaling else 0


def _fits(array, conversion):
    """Is `array`, of an npy or an HDF5 file, in the form that a video is to have?"""
    shape = getattr(array, 'shape', None)  # an HDF5 group has none
    return (shape is not None and len(shape) == 2 and shape[1] == conversion.width
            and array.dtype == conversion.dtype
            and (conversion.rescaling is None or shape[0] == conversion.rescaling.rows))


def _map(function, conversion, videos, workers, done):
    """Results of function(video) in workers, as they come, with a progress bar; `done` more are there already."""
    with tqdm(total=len(videos) + done, initial=done, unit='video',
              desc=os.path.basename(conversion.source)) as progress:
        # spawned, for HDF5 does not outlive a fork
        with concurrent.futures.ProcessPoolExecutor(
                workers, multiprocessing.get_context('spawn'), _begin, (conversion, os.getpid())) as pool:
            try:
                # few at a time: a result may be megabytes, and there may be 390,000
                waiting, videos = set(), iter(videos)
                while True:
                    with _ctrl_c_waits():  # for the workers begun here, always: the first process ends them
                        waiting.update(pool.submit(function, video)
                                       for video in itertools.islice(videos, 4 * workers - len(waiting)))
                    if not waiting:
                        return
                    finished, waiting = concurrent.futures.wait(
                        waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in finished:
                        yield future.result()
                        progress.update()
            except concurrent.futures.process.BrokenProcessPool:
                raise InputError('%s: a worker was killed (out of memory?); run again with fewer --workers: '
                                 'what is done stays' % conversion.source) from None


@contextlib.contextmanager
def _ctrl_c_waits():
    """Ctrl-C waits until the end of the block; processes begun within it never hear it, from their first moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work = {}  # of a worker's process: its Conversion, and the FeatureStore it reads


def _begin(conversion, parent):
    """What a worker of the process `parent` does first."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _work.update(conversion=conversion, store=FeatureStore(conversion.source, conversion.width, _forms(conversion)))


def _end_with(parent):
    """End this worker when its parent has died: it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def _read(video):
    """(video, values as they are to be stored or None, what is wrong or None)."""
    conversion, rescaling = _work['conversion'], _work['conversion'].rescaling
    try:
        values = _work['store'].read(video)
        if rescaling is not None and len(values) != rescaling.rows:
            if video not in rescaling.durations:
                raise InputError('%s: no entry of video %s in the annotation, which has the durations'
                                 % (conversion.source, video))
            values = interpolate(values, rescaling.rows, *rescaling.durations[video],
                                 clip_frames=rescaling.clip_frames)
        with np.errstate(over='ignore'):
            stored = values.astype(conversion.dtype)
        if not np.isfinite(stored).all():
            raise InputError('%s: video %s: found %g, which float16 does not hold; use --dtype float32'
                             % (conversion.source, video, np.abs(values).max()))
        return video, stored, None
    except InputError as error:
        return video, None, str(error)


def _write_npy(video):
    """(video, bytes written, what is wrong or None)."""
    _, values, failure = _read(video)
    if failure is None:
        path = os.path.join(_work['conversion'].out, video + '.npy')
        try:
            with written_whole(path) as partial:
                with open(partial, 'wb') as file:
                    np.save(file, values, allow_pickle=False)
                if not np.array_equal(np.load(partial, allow_pickle=False), values):
                    raise InputError('%s: reads back otherwise; see to the disk' % path)
            return video, os.path.getsize(path), None
        except InputError as error:
            failure = str(error)
    return video, 0, failure


def _is_there(conversion, video, changed):
    path = os.path.join(conversion.out, video + '.npy')
    try:
        size_of(path)  # of a regular file: a pipe would hang
        return os.path.getmtime(path) >= changed and _fits(np.lib.format.open_memmap(path, 'r'), conversion)
    except Exception:  # of what is no npy file, and of evaluating its header
        return False


def _count(results, videos):
    converted, size, failures = 0, 0, []
    for _, written, failure in results:
        converted, size = converted + (failure is None), size + written
        if failure is not None:
            failures.append(failure)
    return Converted(converted, 0, sum(video.size for video in videos.values()), size, failures)
