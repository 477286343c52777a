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

from dataset import data_root, trained_on
from dataset.bad_data import BadData
from dataset.features import FeatureStore, interpolate
from dataset.row_times import row_seconds
from dataset.samples import (
    covering_windows,
    dropped_lines,
    side_samples,
    training_report,
    training_window,
    why_no_sample,
    window_of,
    window_rows,
    windows_in_a_pass,
)
from dataset.side import coverage_warnings, feature_store, known_class_names, read_side
from dataset.tables import read_class_names
from runtime.errors import InputError, counted, printable
from runtime.machine import usable_cores
from runtime.session import tf

MAX_TRIES = 1000  # samples that are tried in place of one
TRAINING_PATHS = ('source_info', 'source_annotation', 'source_labels', 'source_features', 'source_clips',
                  'target_info', 'target_annotation', 'target_labels', 'target_categories', 'target_clips')
VALIDATION_PATHS = ('target_info', 'target_annotation', 'target_features')
STORES = ('source_features', 'source_clips', 'target_clips', 'target_features')  # of these, paths of features


class Untrimmed(NamedTuple):
    """A batch of source videos."""

    features: tf.Tensor  # [B, T, C]
    segments: tf.Tensor  # [B, S, 2], feature rows, padded with -1
    labels: tf.Tensor    # [B]
    segment_labels: tf.Tensor = ()  # [B, S], padded with -1; () where segments have the label of their video


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
    """A batch of target videos, or of windows of them; the last one may be smaller."""

    index: tf.Tensor     # [B], into the list of samples
    features: tf.Tensor  # [B, T, C]
    seconds: tf.Tensor   # [B], that the features cover


class Batch(NamedTuple):
    """What a training step takes: one batch of each training stream."""

    untrimmed: Untrimmed
    foreground: Foreground
    moments: Moments


# Samples

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
    """The order of validation: each sample once; one that cannot be read is not replaced."""

    def __init__(self, samples):
        self._samples = samples

    def __getitem__(self, index):
        return self._samples[index], index

    def replacement(self, index):
        return None


def _video_of(sample):
    """The Video of a sample, which is the whole video, or a part of it."""
    return getattr(sample, 'video', sample)


class Stream(NamedTuple):
    """Batches in the graph. Run `initializer` first; tf.errors.OutOfRangeError is the end of a finite stream."""

    batch: NamedTuple           # of tensors
    initializer: tf.Operation
    first: tf.Tensor            # number of the first sample, for the initializer; 0 unless fed
    orders: dict                # name of each stream → its samples by number
    bad: BadData                # what could not be used
    summary: str                # lines: the features that are read; what is in the stream, what was skipped and why
    dropped: tuple = ()         # names of the videos that --missing drop left out, because they have no features


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
    return {name: [_video_of(order[index][0]).name for index in range(first, first + count)]
            for name, order in stream.orders.items()}


def training_paths(data):
    """The fields of DataConfig whose tables and features training reads."""
    if data.labels == 'video':
        return TRAINING_PATHS
    return tuple(name for name in TRAINING_PATHS if not name.endswith('_labels')) + ('source_categories',)


def check_paths(data, names):
    """Raise InputError, in one line, where the tables or features of these DataConfig fields do not exist."""
    paths = [FeatureStore(data.path(name), 0).path if name in STORES else data.path(name) for name in names]
    missing = {name: path for name, path in zip(names, paths) if not os.path.exists(path)}
    if missing:
        advice = data_root.why_missing(data.data_root, missing)
        if advice:
            raise InputError(advice)
        raise InputError('not found: %s; docs/data.md describes these files (--data_root and the path flags name '
                         'other places); `make demo` needs no data' % ', '.join(missing.values()))


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
    unusable: dict     # side → a Counter of unusable segments, by reason
    bad: BadData
    trained_on: dict   # of dataset.trained_on.describe: what a snapshot keeps of them
    lines: list = ()   # which videos --missing drop left out: texts


def training_tables(config, resumed=False):
    """Read the tables of both sides → TrainingTables.

    A `resumed` run keeps the list of bad data of the run before. Raises InputError where tables cannot be used, or
    tables or features do not exist.
    """
    data = config.data
    check_paths(data, training_paths(data))
    bad, videos, left, lines = _bad_data(config, config.model_dir, resumed), {}, {}, []
    unusable = {'source': collections.Counter(), 'target': collections.Counter()}
    for side, fields in (('source', ('source_features', 'source_clips')), ('target', ('target_clips',))):
        videos[side] = read_side(config, side, 'training', bad, unusable[side])
        left[side], dropped = _without_missing(videos[side], fields, config)
        lines += dropped_lines(dropped, videos[side], '%s training' % side)
    return TrainingTables(left['source'], left['target'], unusable, bad,
                          trained_on.describe(data, left, **videos), lines)


def _without_missing(videos, fields, config):
    """(`videos`, names of those that --missing drop has left out because a store of `fields` lacks their features).

    Raises InputError where none is left.
    """
    if config.data.missing == 'stop':
        return videos, ()
    missing = set()
    for field in fields:
        with _store(config, field) as store:
            missing.update(store.survey([video.features for video in videos]).missing)
    left = [video for video in videos if video.features not in missing]
    if not left:
        raise InputError('%s: found no features of any of %d videos; name the folder or HDF5 file with --%s' % (
            config.data.path(fields[-1]), len(videos), fields[-1]))
    return left, tuple(video.name for video in videos if video.features in missing)


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
        videos, reason = read_side(config, 'target', 'training', _Unlisted(), collections.Counter()), None
    except InputError as error:  # no training videos, or no label table
        videos, reason = None, str(error)
    return trained_on.describe(config.data, target=videos), reason


def training_stream(config, tables=None):
    """The untrimmed, foreground and moment streams together: a Stream of Batch.

    `tables` are those of training_tables; by default they are read. Raises InputError where tables or features cannot
    be used.
    """
    data, seed = config.data, config.train.seed
    tables = tables or training_tables(config)
    source, bad = tables.source, tables.bad
    foreground, moments = [_training_samples(config, side, videos) for side, videos in (
        ('source', source), ('target', tables.target))]
    untrimmed = [[video] * (windows_in_a_pass(video, data) if data.window_seconds else 1) for video in source]
    reports = _training_lines(config, tables, (foreground, moments))
    bad.start()

    orders = [_Order(groups, seed, stream) for stream, groups in
              enumerate([untrimmed, foreground.groups, moments.groups])]
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
    return Stream(Batch(Untrimmed(*untrimmed), Foreground(*foreground), Moments(*moments)),
                  iterator.initializer, first, dict(zip(Batch._fields, orders)), bad, '\n'.join(lines + reports))


def _training_samples(config, side, videos):
    """Samples (dataset.samples) of the training videos of a side. Raises InputError where there are none."""
    found = side_samples(config, side, videos)
    if not found.groups:
        raise InputError('%s: %s' % (config.data.path(side + '_annotation'), why_no_sample(config, side, videos)))
    return found


def _training_lines(config, tables, samples):
    """Lines on the training videos of both sides. Raises InputError where their features do not cover them."""
    lines = list(tables.lines)
    for side, videos, found in zip(('source', 'target'), (tables.source, tables.target), samples):
        report = training_report(config, side, 'training', videos, tables.unusable[side],
                                 known_class_names(config.data, side), samples=found)
        lines += report.lines + ['warning: ' + text for text in
                                 coverage_warnings(config.data, side, videos) + report.warnings]
    return [printable(line) for line in lines]


def validation_stream(config):
    """(Stream of Validation, list of dataset.samples.Window): the target videos of config.test.subset, once each.

    They are in the order of the info table. The samples are the whole videos, or the windows of each video in turn
    (data.window_seconds). The row of a sample that is skipped has index -1. Raises InputError where tables or
    features cannot be used.
    """
    data, subset, bad = config.data, config.test.subset, _bad_data(config, config.results_dir, resumed=False)
    check_paths(data, VALIDATION_PATHS)
    known = read_side(config, 'target', subset, bad, collections.Counter())
    videos, dropped = _without_missing(known, ['target_features'], config)
    lines = dropped_lines(dropped, known, 'target ' + subset)
    lines += ['warning: ' + text for text in coverage_warnings(data, 'target', videos)]
    samples = [window for video in videos for window in covering_windows(video, data)]
    loader, order, first = _load_validation(config), _ValidationOrder(samples), _first_sample()
    features = _check_features(loader, videos, bad)
    dataset = _samples(tf.data.Dataset.range(first, len(samples)), order, loader, bad, data.workers)
    iterator = _iterator(dataset.batch(config.test.test_batch_size).prefetch(2), data.workers)
    lines.append(counted(len(videos), 'target %s video' % subset))
    if data.window_seconds:
        rows, seconds = np.median([(window.rows, window.span) for window in samples], axis=0)
        lines[-1] += ' in %s of %g rows (%.4g seconds; median)' % (counted(len(samples), 'window'), rows, seconds)
    return Stream(Validation(*iterator.get_next()), iterator.initializer, first, {'validation': order}, bad,
                  '\n'.join(features + list(map(printable, lines))), dropped), samples


def _bad_data(config, folder, resumed):
    data = config.data
    return BadData(folder, data.bad_data == 'skip', data.max_bad_share, data.max_bad_videos, resumed)


def _videos_in(samples):
    return [group[0].video for group in samples.groups]


def _check_features(loader, videos, bad):
    """Check that all `videos` have features, and that those of the first and the last can be read.

    Returns lines that say which features are read.
    """
    survey = loader.store.survey([video.features for video in videos])
    missing = survey.missing
    bad.expect(loader.stream, len(videos))
    if missing:
        bad.check_share(loader.stream, len(missing), len(videos), InputError(
            '%s (%d of %d videos lack theirs; --missing drop runs without them)' % (
                loader.store.missing_error(missing[0]), len(missing), len(videos))))
    for video in (videos[0], videos[-1]):
        bad.read(loader.stream, video.name, lambda: loader.check(video))
    warnings = ['warning: ' + text for text in survey.warnings]
    return ['%s: %s' % (loader.field.replace('_', ' '), survey.text)] + warnings


def _first_sample():
    return tf.placeholder_with_default(np.int64(0), [])


class Loader(NamedTuple):
    """How a sample of a stream is read: (sample, draws) → arrays of these types and shapes."""

    stream: str    # its name, for messages
    field: str     # of DataConfig: the path of the store
    store: FeatureStore
    check: Callable  # video → None; raises InputError where its features cannot be used
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
            arrays = bad.read(loader.stream, _video_of(sample).name, lambda: loader.read(sample, draws))
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

    return feature_store(config, field, warn)


def _load_untrimmed(config):
    data, model = config.data, config.model
    store, most, by_segment = _store(config, 'source_features'), data.max_segments, data.labels == 'segment'

    def read(video, draws):
        if data.window_seconds:
            window, belongs, usable = training_window(video, draws, data)
        else:
            window = window_of(video, 0, video.clips, data.clip_frames)
            belongs, usable = range(len(video.segments)), video.segments
        segments, labels = -np.ones((most, 2)), -np.ones(most, int)
        usable, belongs = usable[:most] * model.untrimmed_steps, belongs[:most]
        segments[:len(usable)] = usable
        arrays = [read_untrimmed(store, window, config), segments, video.label]
        if by_segment:
            labels[:len(usable)] = video.segment_labels[belongs]
            arrays.append(labels)
        return arrays

    types, shapes = [tf.float32, tf.float32, tf.int32], [
        (model.untrimmed_steps, model.feature_width), (most, 2), ()]
    if by_segment:
        types, shapes = types + [tf.int32], shapes + [(most,)]
    check = functools.partial(_check_untrimmed, store, 'source_features', config=config)
    return Loader('untrimmed', 'source_features', store, check, read, tuple(types), tuple(shapes))


def _load_foreground(config):
    model = config.model
    store = _store(config, 'source_clips')

    def read(sample, _):
        return _read_cut(store, sample, model.untrimmed_steps, config), sample.label

    return Loader('foreground', 'source_clips', store, functools.partial(_check_clips, store, data=config.data), read,
                  (tf.float32, tf.int32),
                  ((model.untrimmed_steps, model.feature_width), ()))


def _load_moment(config):
    data, model = config.data, config.model
    store = _store(config, 'target_clips')

    def read(sample, draws):
        ratio, position = [low + draw % (high - low + 1) for draw, (low, high) in
                           zip(draws, (data.moment_ratios, data.moment_positions))]
        return _read_cut(store, sample, model.moment_steps, config), sample.label, ratio, position

    return Loader('moment', 'target_clips', store, functools.partial(_check_clips, store, data=data), read,
                  (tf.float32, tf.int32, tf.int32, tf.int32), ((model.moment_steps, model.feature_width), (), (), ()))


def _load_validation(config):
    model = config.model
    store = _store(config, 'target_features')

    def read(window, index):
        return index, read_untrimmed(store, window, config), window.span

    check = functools.partial(_check_untrimmed, store, 'target_features', config=config)
    return Loader('validation', 'target_features', store, check, read, (tf.int32, tf.float32, tf.float32),
                  ((), (model.untrimmed_steps, model.feature_width), ()))


def _check_clips(store, video, data):
    """Raise InputError where a store has no row for each clip of a video; of a long video only a window is read."""
    rows = window_rows(video, data)
    store.read(video.features, rows=video.clips, cut=(0, rows) if rows < video.clips else None)


def _check_untrimmed(store, field, video, config):
    """Raise InputError where the features of an untrimmed video cannot be used. Windows need a row for each clip."""
    if not config.data.window_seconds:
        read_untrimmed(store, window_of(video, 0, video.clips, config.data.clip_frames), config)
        return
    rows = store.shape(video.features)[0]
    if rows == config.model.untrimmed_steps != video.clips:
        raise InputError('%s: found %d rows of video %s, expected its %d clips: windows need a row for each clip; '
                         'name the features by clip with --%s' % (
                             store.path, rows, video.features, video.clips, field))
    _check_clips(store, video, config.data)


def read_untrimmed(store, window, config):
    """The features of a Window [T, C], interpolated unless they have T rows already.

    A whole video may have any number of rows; a part of it is cut from its clip features.
    """
    video, steps, by_clip = window.video, config.model.untrimmed_steps, bool(config.data.window_seconds)
    if by_clip:
        features = store.read(video.features, rows=video.clips, cut=(window.first, window.first + window.rows))
    else:
        features = store.read(video.features)
        if video.times and len(features) not in (video.clips, steps):
            raise InputError('%s: found %d rows of video %s, expected %d, as the annotation says, or %d for the '
                             'whole video; import the data again' % (
                                 store.path, len(features), video.features, video.clips, steps))
    return features if len(features) == steps else _interpolate(features, steps, video, config)


def _read_cut(store, sample, steps, config):
    """A segment's clips, interpolated to [steps, C]."""
    video = sample.video
    clips = store.read(video.features, rows=video.clips, cut=(sample.start, sample.end))
    return _interpolate(clips, steps, video, config)


def _interpolate(rows, steps, video, config):
    """Rows [n, C] of a video's features → [steps, C]."""
    seconds, frames, clip_frames = video.seconds, video.frames, config.data.clip_frames
    if video.times:  # where row times are known, frames need not be
        seconds, frames = len(rows) * row_seconds(video, clip_frames), len(rows) * clip_frames
    return interpolate(rows, steps, seconds, frames, clip_frames)
