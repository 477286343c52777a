"""Tables and features of both data sets → the four streams of samples (SPEC section 2).

A stream's order is a pure function of the seed and of how many samples came before: sample i lies in pass
i // (samples a pass), and a pass is a shuffle of all videos. Features are read by tf.data's threads, a few
batches ahead.

Legend (config.py): B batch, T = 512 rows of an untrimmed video, M = 256 of a moment, C feature width, S = 25
segments a video at most.
"""
import collections
import contextlib
import functools
import json
import math
import os
import threading
import zipfile
from typing import Callable, NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from errors import InputError
from prepare_data import read_class_names
from tensorflow_setup import tf


class Video(NamedTuple):
    """One video of the tables. A segment edge is a fraction of the video, in 0…1."""

    name: str
    label: int            # class index; -1 where the label table has none (validation only)
    seconds: float        # duration
    frames: int           # duration
    clips: int            # rows of its clip features
    segments: np.ndarray  # [segments, 2], usable ones only


class Untrimmed(NamedTuple):
    """A batch of source videos."""

    features: tf.Tensor  # [B, T, C]
    segments: tf.Tensor  # [B, S, 2], feature rows, padded with -1
    labels: tf.Tensor    # [B]


class Foreground(NamedTuple):
    """A batch of source segments, cut out."""

    features: tf.Tensor  # [B, T, C]
    labels: tf.Tensor    # [B]


class Moments(NamedTuple):
    """A batch of target moments, and where they are put in their context."""

    features: tf.Tensor  # [B, M, C]
    labels: tf.Tensor    # [B]
    ratio: tf.Tensor     # [B], the moment's share of the sequence, in 1/20
    position: tf.Tensor  # [B], in 1/20


class Validation(NamedTuple):
    """A batch of target validation videos; the last one may be smaller."""

    index: tf.Tensor     # [B], into the list of videos
    features: tf.Tensor  # [B, T, C]
    seconds: tf.Tensor   # [B], duration


class Batch(NamedTuple):
    """What a training step takes: one batch of each training stream."""

    untrimmed: Untrimmed
    foreground: Foreground
    moments: Moments


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

    def __init__(self, path, width):
        """`path` of the folder or the file (whose .h5 or .hdf5 may be left out); `width` columns expected."""
        self.path = next((path + end for end in ('', '.h5', '.hdf5') if os.path.exists(path + end)), path)
        self.width = width
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
                    raise InputError('%s: not an HDF5 file (%s)' % (self.path, _one_line(error))) from None
        try:
            dataset = self._file.get(video)
            if isinstance(dataset, h5py.Dataset):
                return source, np.asarray(dataset[()])
        except Exception as error:  # h5py tells a damaged file by several types of error
            raise InputError('%s: cannot be read (%s)' % (source, _one_line(error))) from None
        raise InputError('%s: has no dataset %s' % (self.path, video))

    def _from_folder(self, video):
        readers = {'.npy': _read_npy, '.npz': _read_npz, '.csv': _read_csv}
        for end, reader in readers.items():
            path = os.path.join(self.path, video + end)
            if os.path.exists(path):
                return path, reader(path)
        raise InputError('%s: no features of video %s (looked for %s)'
                         % (self.path, video, ', '.join(video + end for end in readers)))


def _read_npy(path):
    try:
        with open(path, 'rb') as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged header raises what its text provokes
        raise InputError('%s: not a numpy array (%s)' % (path, _one_line(error))) from None


def _read_npz(path):
    # zipfile, for numpy 1's reader prints a traceback of its own where the file is cut short
    try:
        with zipfile.ZipFile(path) as arrays:
            names = arrays.namelist()
            if len(names) == 1:
                with arrays.open(names[0]) as file:
                    return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # zipfile, zlib and numpy each have errors of their own
        raise InputError('%s: not a readable npz file (%s)' % (path, _one_line(error))) from None
    raise InputError('%s: found %d arrays, expected one' % (path, len(names)))


def _read_csv(path):
    # The header row is skipped, not read: pandas takes a row's first cell for its name where a row is longer.
    try:
        values = pd.read_csv(path, dtype=np.float64, header=None, skiprows=1).to_numpy()
        if not np.isfinite(values).all():
            raise ValueError('found cells without a finite number')
        return values
    except (ValueError, OSError) as error:
        raise InputError('%s: %s; expected a header row, then rows of numbers'
                         % (path, _bad_csv_cell(path) or _one_line(error))) from None


def _bad_csv_cell(path):
    """Where a CSV has something else than a number, for the message; None where that is not what is wrong."""
    with contextlib.suppress(Exception):
        cells = pd.read_csv(path, dtype=str, header=None, skiprows=1, keep_default_na=False)
        numbers = cells.apply(pd.to_numeric, errors='coerce').to_numpy(float)
        row, column = np.argwhere(~np.isfinite(numbers))[0]
        return 'row %d, column %d: found %r' % (row + 2, column + 1, cells.iat[row, column])


def _one_line(error):
    """What `error` says, without line ends."""
    return ' '.join(str(error).split())


# Tables

@contextlib.contextmanager
def _open_table(path):
    try:
        with open(path, encoding='utf-8-sig') as lines:
            yield lines
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    except UnicodeDecodeError as error:
        raise InputError('%s: not UTF-8 text (%s)' % (path, error)) from None


def _read_info(path, subset):
    """Names of the videos of `subset`, in the order of the info table."""
    with _open_table(path) as lines:
        try:
            table = pd.read_csv(lines, dtype=str, index_col=False)  # False: a row may end with a comma
        except ValueError as error:
            raise InputError('%s: not a CSV table (%s)' % (path, _one_line(error))) from None
    missing = {'video', 'subset'} - set(table.columns)
    if missing:
        raise InputError('%s: no column %s in the header row' % (path, ', '.join(sorted(missing))))
    names = table.video[table.subset == subset].drop_duplicates().tolist()
    if not names:
        raise InputError('%s: no video of subset %s (found %s)'
                         % (path, subset, ', '.join(sorted(set(table.subset.dropna()))) or 'none'))
    return names


def _read_labels(path, classes):
    """{video: class index} of a label table; a video's first row counts."""
    labels = {}
    with _open_table(path) as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            if not fields:
                continue
            try:
                label = int(fields[2])
            except (IndexError, ValueError):
                raise InputError('%s, row %d: found %r, expected: video, a number, class index, separated by '
                                 'spaces' % (path, number, line.rstrip())) from None
            if not 0 <= label < classes:
                raise InputError('%s, row %d: class %d of video %s is not in 0…%d'
                                 % (path, number, label, fields[0], classes - 1))
            labels.setdefault(fields[0], label)
    return labels


def _read_annotation(path):
    with _open_table(path) as text:
        try:
            entries = json.load(text)
        except ValueError as error:
            raise InputError('%s: not JSON (%s)' % (path, error)) from None
    if not isinstance(entries, dict):
        raise InputError('%s: expected an object {video: {…}}' % path)
    return entries


def _read_videos(names, annotation, labels, clip_frames, unusable):
    """The annotation's entries of `names` → list of Video; counts unusable segments by reason."""
    entries, videos = _read_annotation(annotation), []
    for name in names:
        if name not in entries:
            raise InputError('%s: no entry of video %s, which the info table names' % (annotation, name))
        try:
            entry = entries[name]
            seconds, frames = float(entry['duration_second']), int(entry['duration_frame'])
            feature_frame = int(entry['feature_frame'])
            segments = [annotated['segment'] for annotated in entry.get('annotations', [])]
            edges = np.array([(float(start), float(end)) for start, end in segments]).reshape(-1, 2)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError('%s: video %s: %s %s; expected numbers duration_second, duration_frame, '
                             'feature_frame, and annotations [{segment: [start_s, end_s]}]'
                             % (annotation, name, type(error).__name__, error)) from None
        if not (0 < seconds < math.inf and frames > 0 and feature_frame >= clip_frames):
            raise InputError('%s: video %s: found %g seconds, %d frames, %d feature frames; expected a clip '
                             'at least' % (annotation, name, seconds, frames, feature_frame))
        fractions = np.clip(edges / (feature_frame / frames * seconds), 0, 1)
        no_length = ~(edges[:, 1] > edges[:, 0])
        outside = ~no_length & ~(fractions[:, 1] > fractions[:, 0])
        unusable['without length'] += int(no_length.sum())
        unusable['outside their video'] += int(outside.sum())
        videos.append(Video(name, labels.get(name, -1), seconds, frames, feature_frame // clip_frames,
                            fractions[~no_length & ~outside]))
    return videos


# Samples

class ClipSample(NamedTuple):
    """A segment to be cut from a video's clip features."""

    video: Video
    start: int  # first clip
    end: int    # the clip after the last


def _clip_samples(videos, least_clips, first_only, unusable):
    """Segments of each video that span at least `least_clips` clips, as lists of ClipSample by video."""
    groups = []
    for video in videos:
        group = []
        for start, end in video.segments[:1] if first_only else video.segments:
            if (end - start) * video.clips >= least_clips:
                group.append(ClipSample(video, int(start * video.clips), int(end * video.clips)))
            else:
                unusable['shorter than %d clips' % least_clips] += 1
        groups.append(group)
    return [group for group in groups if group]


class _Order:
    """Endless order of samples: the videos are shuffled anew each pass, a video's samples stay together."""

    def __init__(self, groups, seed, stream):
        self._groups, self._seed = groups, (seed, stream)
        self.samples = sum(len(group) for group in groups)
        self._pass = functools.lru_cache(maxsize=2)(self._shuffle)
        self._lock = threading.Lock()  # the loader's threads may cross the end of a pass together

    def _shuffle(self, number):
        random = np.random.RandomState(self._seed + (number,))
        order = [sample for index in random.permutation(len(self._groups)) for sample in self._groups[index]]
        return order, random.randint(0, 2 ** 31 - 1, size=(len(order), 2))

    def __getitem__(self, index):
        """Sample number `index`, and two random non-negative integers of its own."""
        number, within = divmod(index, self.samples)
        with self._lock:
            order, draws = self._pass(number)
        return order[within], draws[within]


class Stream(NamedTuple):
    """Batches in the graph. Run `initializer` first; tf.errors.OutOfRangeError ends a finite stream."""

    batch: NamedTuple           # of tensors
    initializer: tf.Operation
    first: tf.Tensor            # number of the sample to begin with, for the initializer; 0 unless fed
    orders: dict                # name of each stream → its samples by number
    failures: list              # why a sample could not be read, for `reported`
    summary: str                # one line: what is in the stream, what was left out and why


@contextlib.contextmanager
def reported(stream):
    """Raise the InputError, or whatever it was, behind a session error that a sample of `stream` caused."""
    try:
        yield
    except tf.errors.OpError:
        if stream.failures:
            raise stream.failures[0] from None
        raise


def videos_of(stream, first, count):
    """Names of the videos that samples `first` to `first + count` are from: {name of the stream: [name, …]}."""
    return {name: [getattr(order[index][0], 'video', order[index][0]).name for index in range(first, first + count)]
            for name, order in stream.orders.items()}


def check_paths(data, names):
    """Raise InputError, in one line, where tables or features of these DataConfig fields are not there."""
    missing = [data.path(name) for name in names if not FeatureStore(data.path(name), 0).exists()]
    if missing:
        raise InputError('not found: %s; the README says what belongs there (--data_root and the path flags '
                         'choose other places), and `make demo` runs without any data' % ', '.join(missing))


def resolve_classes(config):
    """`config` with the target classes counted, and checked against the class-name list."""
    path = config.data.path('target_categories')
    found, expected = len(read_class_names(path)), config.model.target_classes
    if expected not in (None, found):
        raise InputError('%s: found %d class names, expected %d (--target_classes)' % (path, found, expected))
    return config._replace(model=config.model._replace(target_classes=found))


def training_stream(config):
    """The untrimmed, foreground and moment streams, together: a Stream of Batch."""
    data, model, seed = config.data, config.model, config.train.seed
    check_paths(data, TRAINING_PATHS)
    unusable, failures = collections.Counter(), []
    source = _read_subset('source', 'training', model.source_classes, data, unusable)
    target = _read_subset('target', 'training', model.target_classes, data, unusable)
    unusable['beyond the first %d of a video' % data.max_segments] = sum(
        max(0, len(video.segments) - data.max_segments) for video in source)
    first_only = config.train.faults.first_annotation_only
    foreground = _clip_samples(source, data.foreground_clips, first_only, unusable)
    moments = _clip_samples(target, data.moment_clips, False, unusable)
    for groups, table, least in ((foreground, 'source_annotation', data.foreground_clips),
                                 (moments, 'target_annotation', data.moment_clips)):
        if not groups:
            raise InputError('%s: no segment of a training video spans %d clips' % (data.path(table), least))

    orders = [_Order(groups, seed, stream) for stream, groups in
              enumerate([[[video] for video in source], foreground, moments])]
    loaders = [_load_untrimmed(config), _load_foreground(config), _load_moment(config)]
    first = _first_sample()
    datasets = [_samples(tf.data.Dataset.range(first, 2 ** 62), order, load, failures, data.workers)
                for order, load in zip(orders, loaders)]
    batches = tf.data.Dataset.zip(tuple(
        dataset.batch(config.train.batch_size, drop_remainder=True).prefetch(2) for dataset in datasets))
    iterator = _iterator(batches, data.workers)
    untrimmed, foreground, moments = iterator.get_next()
    segments = sum(len(video.segments) for video in source)
    summary = '%d source videos, %d segments, %d of them foreground samples; ' % (
        len(source), segments, orders[1].samples)
    summary += '%d target videos, %d moments; %s' % (len(target), orders[2].samples, _reasons(unusable))
    return Stream(Batch(Untrimmed(*untrimmed), Foreground(*foreground), Moments(*moments)),
                  iterator.initializer, first, dict(zip(Batch._fields, orders)), failures, summary)


def validation_stream(config):
    """(Stream of Validation, list of Video): each target validation video once, in the info table's order."""
    data, failures = config.data, []
    check_paths(data, VALIDATION_PATHS)
    videos = _read_subset('target', 'validation', config.model.target_classes, data, collections.Counter())
    order = [(video, index) for index, video in enumerate(videos)]
    first = _first_sample()
    indices = tf.data.Dataset.range(first, len(videos))
    dataset = _samples(indices, order, _load_validation(config), failures, data.workers)
    iterator = _iterator(dataset.batch(config.test.test_batch_size).prefetch(2), data.workers)
    summary = '%d target validation videos' % len(videos)
    stream = Stream(Validation(*iterator.get_next()), iterator.initializer, first, {'validation': order}, failures,
                    summary)
    return stream, videos


TRAINING_PATHS = ('source_info', 'source_annotation', 'source_labels', 'source_features', 'source_clips',
                  'target_info', 'target_annotation', 'target_labels', 'target_categories', 'target_clips')
VALIDATION_PATHS = ('target_info', 'target_annotation', 'target_categories', 'target_features')


def _read_subset(side, subset, classes, data, unusable):
    """Videos of one side ('source' or 'target') and subset; adds to the Counter of unusable segments."""
    names = _read_info(data.path(side + '_info'), subset)
    labels_path = data.path(side + '_labels')
    if subset == 'validation' and not os.path.exists(labels_path):
        labels = {}  # results can be written without knowing the answers
    else:
        labels = _read_labels(labels_path, classes)
    if subset == 'training':
        unlabelled = [name for name in names if name not in labels]
        if unlabelled:
            raise InputError('%s: no row of video %s, which %s names (%d such videos)' % (
                labels_path, unlabelled[0], data.path(side + '_info'), len(unlabelled)))
    return _read_videos(names, data.path(side + '_annotation'), labels, data.clip_frames, unusable)


def _reasons(unusable):
    found = ['%d %s' % (count, reason) for reason, count in unusable.items() if count]
    return 'unusable segments: %s' % (', '.join(found) or 'none')


def _first_sample():
    return tf.placeholder_with_default(np.int64(0), [])


class Loader(NamedTuple):
    """How a sample is read: (sample, draws) → arrays of these types and shapes."""

    read: Callable
    types: tuple
    shapes: tuple


def _samples(indices, order, loader, failures, workers):
    """Dataset of indices → dataset of the samples order[index], read by several threads, in order."""
    def read(index):
        try:
            arrays = loader.read(*order[index])
        except Exception as error:  # TensorFlow would tell the type and the text alone
            failures.append(error)
            raise
        return tuple(np.asarray(array, kind.as_numpy_dtype) for array, kind in zip(arrays, loader.types))

    def in_graph(index):
        tensors = tf.numpy_function(read, [index], loader.types)
        for tensor, shape in zip(tensors, loader.shapes):
            tensor.set_shape(shape)
        return tuple(tensors)

    return indices.map(in_graph, num_parallel_calls=workers or os.cpu_count())


def _iterator(dataset, workers):
    """Initializable iterator whose reads have `workers` threads of their own.

    In the session's threads, one a core, reads would hold up the network's operations, and more workers than
    cores would change nothing.
    """
    options = tf.data.Options()
    threading_options = options.threading if hasattr(options, 'threading') else options.experimental_threading
    threading_options.private_threadpool_size = workers or os.cpu_count()
    return tf.data.make_initializable_iterator(dataset.with_options(options))


def _load_untrimmed(config):
    data, model = config.data, config.model
    store = FeatureStore(data.path('source_features'), model.feature_width)

    def read(video, _):
        segments = -np.ones((data.max_segments, 2))
        usable = video.segments[:data.max_segments] * model.untrimmed_steps
        segments[:len(usable)] = usable
        return _read_untrimmed(store, video, config), segments, video.label

    return Loader(read, (tf.float32, tf.float32, tf.int32),
                  ((model.untrimmed_steps, model.feature_width), (data.max_segments, 2), ()))


def _load_foreground(config):
    model = config.model
    store = FeatureStore(config.data.path('source_clips'), model.feature_width)

    def read(sample, _):
        return _read_cut(store, sample, model.untrimmed_steps, config), sample.video.label

    return Loader(read, (tf.float32, tf.int32), ((model.untrimmed_steps, model.feature_width), ()))


def _load_moment(config):
    data, model = config.data, config.model
    store = FeatureStore(data.path('target_clips'), model.feature_width)

    def read(sample, draws):
        ratio, position = [low + draw % (high - low + 1) for draw, (low, high) in
                           zip(draws, (data.moment_ratios, data.moment_positions))]
        return _read_cut(store, sample, model.moment_steps, config), sample.video.label, ratio, position

    return Loader(read, (tf.float32, tf.int32, tf.int32, tf.int32),
                  ((model.moment_steps, model.feature_width), (), (), ()))


def _load_validation(config):
    model = config.model
    store = FeatureStore(config.data.path('target_features'), model.feature_width)

    def read(video, index):
        return index, _read_untrimmed(store, video, config), video.seconds

    return Loader(read, (tf.int32, tf.float32, tf.float32),
                  ((), (model.untrimmed_steps, model.feature_width), ()))


def _read_untrimmed(store, video, config):
    """A whole video's features [T, C], interpolated unless they have T rows already."""
    features, steps = store.read(video.name), config.model.untrimmed_steps
    if len(features) == steps:
        return features
    return interpolate(features, steps, video.seconds, video.frames, config.data.clip_frames)


def _read_cut(store, sample, steps, config):
    """A segment's clips, interpolated to [steps, C]."""
    video = sample.video
    clips = store.read(video.name, rows=video.clips)[sample.start:sample.end]
    return interpolate(clips, steps, video.seconds, video.frames, config.data.clip_frames)
