"""Tables and features of both data sets → the four streams of samples (docs/method.md, section 2).

The order of a stream depends only on the seed and the number of a sample: sample i is in pass i // (samples in a
pass), and a pass is a shuffle of all videos. The threads of tf.data read features a few batches ahead.

Where a sample cannot be read and the run continues (dataset/bad_data.py), another sample of the order replaces it.
Which one depends on the seed, i and the data only.

Dimensions (legend of docs/method.md): B batch, T = 512 rows of an untrimmed video, M = 256 rows of a moment,
C feature width, S = 25 segments of a video at most.
"""
import collections
import contextlib
import functools
import os
import threading
from typing import Callable, NamedTuple

import numpy as np

from dataset import trained_on
from dataset.bad_data import BadData
from dataset.features import FeatureStore, interpolate
from dataset.tables import Video, read_class_names, read_info, read_labels, read_videos
from runtime.errors import InputError
from runtime.machine import usable_cores
from runtime.session import tf

MAX_TRIES = 1000  # samples that are tried in place of one
TRAINING_PATHS = ('source_info', 'source_annotation', 'source_labels', 'source_features', 'source_clips',
                  'target_info', 'target_annotation', 'target_labels', 'target_categories', 'target_clips')
VALIDATION_PATHS = ('target_info', 'target_annotation', 'target_categories', 'target_features')
STORES = ('source_features', 'source_clips', 'target_clips', 'target_features')  # of these, paths of features


class Untrimmed(NamedTuple):
    """A batch of source videos."""

    features: tf.Tensor  # [B, T, C]
    segments: tf.Tensor  # [B, S, 2], feature rows, padded with -1
    labels: tf.Tensor    # [B]


class Foreground(NamedTuple):
    """A batch of source segments, cut from their videos."""

    features: tf.Tensor  # [B, T, C]
    labels: tf.Tensor    # [B]


class Moments(NamedTuple):
    """A batch of target moments, and where each lies in its context."""

    features: tf.Tensor  # [B, M, C]
    labels: tf.Tensor    # [B]
    ratio: tf.Tensor     # [B], share of the moment in the sequence, in 1/20
    position: tf.Tensor  # [B], position in the context, in 1/20


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


# Samples

class ClipSample(NamedTuple):
    """A segment to be cut from a video's clip features."""

    video: Video
    start: int  # first clip
    end: int    # the clip after the last


def _clip_samples(videos, min_clips, first_only, exact, unusable):
    """Segments of each video that span at least `min_clips` clips: a list of ClipSample for each video.

    As published, rounding errors make some segments of exactly `min_clips` shorter; `exact` takes the nearest number.
    """
    groups = []
    for video in videos:
        group = []
        for start, end in video.segments[:int(video.first_usable)] if first_only else video.segments:
            clips, cut = (end - start) * video.clips, (int(start * video.clips), int(end * video.clips))
            if (round(clips) if exact else clips) >= min_clips and cut[0] < cut[1]:  # with 1 clip, none may be left
                group.append(ClipSample(video, *cut))
            else:
                unusable['shorter than %d clips' % min_clips] += 1
        groups.append(group)
    return [group for group in groups if group]


class _Order:
    """An endless order of samples: each pass shuffles the videos, and the samples of a video stay together."""

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

    def replacement(self, index):
        """Number of the sample that replaces number `index`: one of the following ones, by its random numbers."""
        return index + 1 + int(self[index][1][0]) % self.samples


class _ValidationOrder:
    """The order of validation: each video once; a video that cannot be read is not replaced."""

    def __init__(self, videos):
        self._videos = videos

    def __getitem__(self, index):
        return self._videos[index], index

    def replacement(self, index):
        return None


class Stream(NamedTuple):
    """Batches in the graph. Run `initializer` first; tf.errors.OutOfRangeError is the end of a finite stream."""

    batch: NamedTuple           # of tensors
    initializer: tf.Operation
    first: tf.Tensor            # number of the first sample, for the initializer; 0 unless fed
    orders: dict                # name of each stream → its samples by number
    bad: BadData                # what could not be used
    summary: str                # lines: the features that are read; what is in the stream, what was skipped and why


@contextlib.contextmanager
def reader_errors(stream):
    """Raise the error of a sample of `stream` in place of the session error that it caused."""
    try:
        yield
    except tf.errors.OpError:
        if stream.bad.failures:
            raise stream.bad.failures[0] from None
        raise


def names_of_samples(stream, first, count):
    """Names of the videos of samples `first` to `first + count`: {name of the stream: [name, …]}."""
    return {name: [getattr(order[index][0], 'video', order[index][0]).name for index in range(first, first + count)]
            for name, order in stream.orders.items()}


def check_paths(data, names):
    """Raise InputError, in one line, where the tables or features of these DataConfig fields do not exist."""
    paths = [FeatureStore(data.path(name), 0).path if name in STORES else data.path(name) for name in names]
    missing = [path for path in paths if not os.path.exists(path)]
    if missing:
        raise InputError('not found: %s; docs/data.md describes these files (--data_root and the path flags name '
                         'other places); `make demo` needs no data' % ', '.join(missing))


def resolve_classes(config, sides=('source', 'target')):
    """`config` with the number of classes of each side, as the class-name lists have them.

    The source's list may be absent where its number of classes is given. Raises InputError where a number that is
    given differs from the list.
    """
    model = config.model
    for side in sides:
        path, setting = config.data.path(side + '_categories'), side + '_classes'
        expected = getattr(model, setting)
        if side == 'source' and not os.path.lexists(path):
            if not expected:
                raise InputError('%s: not found; write the class names, one per line, or give --source_classes N'
                                 % path)
            continue
        found = len(read_class_names(path))
        if expected and expected != found:
            raise InputError('%s: found %d class names, expected %d (--%s)' % (path, found, expected, setting))
        model = model._replace(**{setting: found})
    return config._replace(model=model)


class TrainingTables(NamedTuple):
    """The training videos of both sides, read and checked."""

    source: list       # of dataset.tables.Video
    target: list
    unusable: dict     # a Counter of unusable segments, by reason
    bad: BadData
    trained_on: dict   # of dataset.trained_on.describe: what a snapshot keeps of them


def training_tables(config, resumed=False):
    """Read the tables of both sides → TrainingTables.

    A `resumed` run keeps the list of bad data of the run before. Raises InputError where tables cannot be used, or
    tables or features do not exist.
    """
    data, model = config.data, config.model
    check_paths(data, TRAINING_PATHS)
    unusable, bad = collections.Counter(), _bad_data(config, config.model_dir, resumed)
    source = _read_subset('source', 'training', model.source_classes, data, unusable, bad)
    target = _read_subset('target', 'training', model.target_classes, data, unusable, bad)
    return TrainingTables(source, target, unusable, bad, trained_on.describe(data, source=source, target=target))


class _Unlisted:
    """In place of BadData: faulty rows are left out of what is compared, as training with --bad_data skip does."""

    def table_error_handler(self, _, errors):
        return errors.append

    def check_share(self, *_):
        pass


def target_trained_on(config):
    """(what `training_tables` gives as trained_on, of the target alone; why it lacks the videos, or None).

    Where the tables cannot have training videos, because they are made for testing, it is the class names alone.
    """
    try:
        videos, reason = _read_subset('target', 'training', config.model.target_classes, config.data,
                                      collections.Counter(), _Unlisted()), None
    except InputError as error:  # no training videos, or no label table
        videos, reason = None, str(error)
    return trained_on.describe(config.data, target=videos), reason


def training_stream(config, tables=None):
    """The untrimmed, foreground and moment streams together: a Stream of Batch.

    `tables` are those of training_tables; by default they are read. Raises InputError where tables or features cannot
    be used.
    """
    data, seed = config.data, config.train.seed
    source, target, unusable, bad, _ = tables or training_tables(config)
    bad.start()
    unusable = collections.Counter(unusable)
    unusable['beyond the first %d of a video' % data.max_segments] = sum(
        max(0, len(video.segments) - data.max_segments) for video in source)
    first_only, exact = config.train.faults.first_annotation_only, data.exact_lengths
    foreground = _clip_samples(source, data.foreground_clips, first_only, exact, unusable)
    moments = _clip_samples(target, data.moment_clips, False, exact, unusable)
    for groups, table, min_clips in ((foreground, 'source_annotation', data.foreground_clips),
                                     (moments, 'target_annotation', data.moment_clips)):
        if not groups:
            raise InputError('%s: no segment of a training video spans %d clips' % (data.path(table), min_clips))

    orders = [_Order(groups, seed, stream) for stream, groups in
              enumerate([[[video] for video in source], foreground, moments])]
    loaders = [_load_untrimmed(config), _load_foreground(config), _load_moment(config)]
    lines = []
    for loader, videos in zip(loaders, (source, _videos_in(foreground), _videos_in(moments))):
        lines += _check_features(loader, videos, bad)
    first = _first_sample()
    datasets = [_samples(tf.data.Dataset.range(first, 2 ** 62), order, loader, bad, data.workers)
                for order, loader in zip(orders, loaders)]
    batches = tf.data.Dataset.zip(tuple(
        dataset.batch(config.train.batch_size, drop_remainder=True).prefetch(2) for dataset in datasets))
    iterator = _iterator(batches, data.workers)
    untrimmed, foreground, moments = iterator.get_next()
    segments = sum(len(video.segments) for video in source)
    summary = '%d source videos, %d segments, %d of them foreground samples; ' % (
        len(source), segments, orders[1].samples)
    summary += '%d target videos, %d moments; %s' % (len(target), orders[2].samples, _reasons(unusable))
    return Stream(Batch(Untrimmed(*untrimmed), Foreground(*foreground), Moments(*moments)),
                  iterator.initializer, first, dict(zip(Batch._fields, orders)), bad, '\n'.join(lines + [summary]))


def validation_stream(config):
    """(Stream of Validation, list of Video): each target validation video once, in the order of the info table.

    The row of a skipped video has index -1. Raises InputError where tables or features cannot be used.
    """
    data, bad = config.data, _bad_data(config, config.results_dir, resumed=False)
    check_paths(data, VALIDATION_PATHS)
    videos = _read_subset('target', 'validation', config.model.target_classes, data, collections.Counter(), bad)
    loader, order, first = _load_validation(config), _ValidationOrder(videos), _first_sample()
    lines = _check_features(loader, videos, bad)
    dataset = _samples(tf.data.Dataset.range(first, len(videos)), order, loader, bad, data.workers)
    iterator = _iterator(dataset.batch(config.test.test_batch_size).prefetch(2), data.workers)
    summary = '\n'.join(lines + ['%d target validation videos' % len(videos)])
    return Stream(Validation(*iterator.get_next()), iterator.initializer, first, {'validation': order}, bad,
                  summary), videos


def _bad_data(config, folder, resumed):
    data = config.data
    return BadData(folder, data.bad_data == 'skip', data.max_bad_share, data.max_bad_videos, resumed)


def _read_subset(side, subset, classes, data, unusable, bad):
    """Videos of one side ('source' or 'target') and subset; adds to the Counter of unusable segments."""
    faults = []
    info, label, annotation = [bad.table_error_handler(side + table, faults)
                               for table in ('_info', '_labels', '_annotation')]
    names = read_info(data.path(side + '_info'), subset, info)
    faulty_info_rows = len(faults)
    labels_path = data.path(side + '_labels')
    if subset == 'validation' and not os.path.lexists(labels_path):
        labels = {}  # results can be written without knowing the answers
    else:
        labels = read_labels(labels_path, classes, label)
    if subset == 'training':
        unlabelled = [name for name in names if name not in labels]
        for name in unlabelled:
            label(InputError('%s: no row of video %s, which %s names (%d such videos)' % (
                labels_path, name, data.path(side + '_info'), len(unlabelled))))
    known = [name for name in names if subset == 'validation' or name in labels]
    videos = read_videos(known, data.path(side + '_annotation'), labels, data.clip_frames, unusable, annotation)
    if faults:
        bad.check_share('tables of the %s videos' % side, faulty_info_rows + len(names) - len(videos),
                        faulty_info_rows + len(names), faults[-1])
    if not videos:
        raise InputError('%s: no %s video is left' % (data.path(side + '_info'), subset))
    return videos


def _videos_in(groups):
    return [group[0].video for group in groups]


def _check_features(loader, videos, bad):
    """Check that all `videos` have features, and that those of the first and the last can be read.

    Returns lines that say which features are read.
    """
    survey = loader.store.survey([video.name for video in videos])
    missing = survey.missing
    bad.expect(loader.stream, len(videos))
    if missing:
        bad.check_share(loader.stream, len(missing), len(videos), InputError(
            '%s (%d of %d videos lack theirs)' % (loader.store.missing_error(missing[0]), len(missing), len(videos))))
    for video in (videos[0], videos[-1]):
        bad.read(loader.stream, video.name,
                 lambda: loader.store.read(video.name, video.clips if loader.by_clip else None))
    warnings = ['warning: ' + text for text in survey.warnings]
    return ['%s: %s' % (loader.field.replace('_', ' '), survey.text)] + warnings


def _reasons(unusable):
    found = ['%d %s' % (count, reason) for reason, count in unusable.items() if count]
    return 'unusable segments: %s' % (', '.join(found) or 'none')


def _first_sample():
    return tf.placeholder_with_default(np.int64(0), [])


class Loader(NamedTuple):
    """How a sample of a stream is read: (sample, draws) → arrays of these types and shapes."""

    stream: str    # its name, for messages
    field: str     # of DataConfig: the path of the store
    store: FeatureStore
    by_clip: bool  # whether the store has one row for each clip
    read: Callable
    types: tuple
    shapes: tuple


def _samples(indices, order, loader, bad, workers):
    """Dataset of indices → dataset of the samples order[index], read by several threads, in order.

    The arrays of a sample that cannot be read, and that no other replaces, are -1.
    """
    def arrays_at(index):
        for _ in range(MAX_TRIES):
            sample, draws = order[index]
            video = sample.video if isinstance(sample, ClipSample) else sample
            arrays = bad.read(loader.stream, video.name, lambda: loader.read(sample, draws))
            if arrays is not None:
                return arrays
            index = order.replacement(index)
            if index is None:
                return [np.full(shape, -1) for shape in loader.shapes]
        raise InputError('%s: none of %d samples can be read' % (loader.stream, MAX_TRIES))

    def read(index):
        try:
            arrays = arrays_at(index)
        except Exception as error:  # TensorFlow reports only its type and text
            bad.failures.append(error)
            raise
        return tuple(np.asarray(array, kind.as_numpy_dtype) for array, kind in zip(arrays, loader.types))

    def in_graph(index):
        tensors = tf.numpy_function(read, [index], loader.types)
        for tensor, shape in zip(tensors, loader.shapes):
            tensor.set_shape(shape)
        return tuple(tensors)

    return indices.map(in_graph, num_parallel_calls=workers or usable_cores())


def _iterator(dataset, workers):
    """Initializable iterator whose reads have `workers` threads of their own.

    In the session's threads, one for each core, reads would delay the network's operations, and more workers than
    cores would change nothing. The tuning of tf.data is off: its thread would delay the end of a session by seconds.
    """
    options = tf.data.Options()
    if hasattr(options, 'threading'):  # TensorFlow 2
        options.threading.private_threadpool_size = workers or usable_cores()
        options.autotune.enabled = False
    else:
        options.experimental_threading.private_threadpool_size = workers or usable_cores()
        options.experimental_optimization.autotune = False
    return tf.data.make_initializable_iterator(dataset.with_options(options))


def _store(config, field):
    """The store of a DataConfig field. It prints a warning at the first video whose numbers look wrong, by kind."""
    first = {}

    def warn(kind, text):
        if first.setdefault(kind, text) is text:
            print('warning: %s; `prepare_data.py check --full` lists all such videos' % text, flush=True)

    return FeatureStore(config.data.path(field), config.model.feature_width, on_suspect=warn)


def _load_untrimmed(config):
    data, model = config.data, config.model
    store = _store(config, 'source_features')

    def read(video, _):
        segments = -np.ones((data.max_segments, 2))
        usable = video.segments[:data.max_segments] * model.untrimmed_steps
        segments[:len(usable)] = usable
        return _read_untrimmed(store, video, config), segments, video.label

    return Loader('untrimmed', 'source_features', store, False, read, (tf.float32, tf.float32, tf.int32),
                  ((model.untrimmed_steps, model.feature_width), (data.max_segments, 2), ()))


def _load_foreground(config):
    model = config.model
    store = _store(config, 'source_clips')

    def read(sample, _):
        return _read_cut(store, sample, model.untrimmed_steps, config), sample.video.label

    return Loader('foreground', 'source_clips', store, True, read, (tf.float32, tf.int32),
                  ((model.untrimmed_steps, model.feature_width), ()))


def _load_moment(config):
    data, model = config.data, config.model
    store = _store(config, 'target_clips')

    def read(sample, draws):
        ratio, position = [low + draw % (high - low + 1) for draw, (low, high) in
                           zip(draws, (data.moment_ratios, data.moment_positions))]
        return _read_cut(store, sample, model.moment_steps, config), sample.video.label, ratio, position

    return Loader('moment', 'target_clips', store, True, read, (tf.float32, tf.int32, tf.int32, tf.int32),
                  ((model.moment_steps, model.feature_width), (), (), ()))


def _load_validation(config):
    model = config.model
    store = _store(config, 'target_features')

    def read(video, index):
        return index, _read_untrimmed(store, video, config), video.seconds

    return Loader('validation', 'target_features', store, False, read, (tf.int32, tf.float32, tf.float32),
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
