"""Every setting of AherNet, once: immutable namedtuples, three presets, and their command-line flags.

Legend (SPEC.md's, used in every file): B batch, T = 512 feature rows of an untrimmed video, M = 256 rows
of a moment, C feature width, K classes, level l = 1…8 with P_l positions, N = ΣP_l = 255 positions,
A = 3 anchors a position.
"""
import argparse
import math
import os
import re
from typing import NamedTuple, Optional, Tuple

from errors import InputError

MOST = 2 ** 31 - 1   # of a setting that is a number
MOST_THREADS = 1024  # with millions, the system ends the run without a word


class ModelConfig(NamedTuple):
    """Sizes of the network (SPEC section 3) and its anchors (section 4)."""

    feature_width: int = 2048            # C, columns of a feature file
    stem_widths: Tuple[int, ...] = (2048, 1024)  # channels of g_conv1, g_conv2
    level_widths: Tuple[int, ...] = (256, 256, 512, 512, 1024, 1024, 2048, 2048)  # of g_conv_a1…a8
    context_width: int = 1024            # channels of g_conv_s1, g_conv_e1
    source_classes: Optional[int] = 200  # K of the source data set (ActivityNet)
    target_classes: Optional[int] = 600  # K of the target data set; None or 0: the lines of its class-name list
    untrimmed_steps: int = 512           # T, feature rows
    moment_steps: int = 256              # M, feature rows
    anchor_step: int = 4                 # step and size of level 1, feature rows; doubles at each level
    anchor_scales: Tuple[float, ...] = (1.0, 1.26, 1.587)  # lengths, in sizes of the level
    offset_scale: float = 0.1            # predicted offsets are divided by this
    transfer: str = 'mlp'                # 'mlp' (section 3), or 'identity': the classifier's weights as they are


class Faults(NamedTuple):
    """What the authors' code does against the paper or its own intent (SPEC section 9)."""

    first_annotation_only: bool = False  # F1: foreground of a video's first annotation alone
    odd_end_without_start: bool = False  # F2: an odd sample's segment ends at cut + m, not n1 + cut + m
    unordered_updates: bool = False      # F3: two optimizers of one update step in an order left to chance


CONTEXTS = (
    'adversarial',  # a generator, trained by localization (update 4) and against the discriminator (5, 6)
    'localized',    # a generator, trained by localization alone
    'untrained',    # a generator, left as it was initialised
    'none',         # the moment alone, stretched to T rows
    'unused')       # moments do not train localization: no updates 4 to 7, source only


class TrainConfig(NamedTuple):
    """Losses (SPEC section 6), updates and rates (section 7)."""

    batch_size: int = 16                 # B, samples of each stream a step
    max_steps: int = 15000               # steps of eight updates
    snapshot_step: int = 1000            # steps between snapshots
    log_step: int = 100                  # steps between log lines
    learning_rate: float = 1e-4          # Adam, updates 1-4 and 7
    rate_boundaries: Tuple[int, ...] = (15000, 30000, 45000, 60000, 75000)
    # ^ samples (steps · B), where steps seem meant: fault F4, kept as published
    rate_decay: float = 0.1              # of the learning rate, for each boundary passed
    adversary_rate: float = 1e-4         # Adam, updates 5 and 6; constant
    adversary_beta1: float = 0.5         # Adam, updates 5 and 6
    generator_repeats: int = 2           # runs of update 6 a step
    context: str = 'adversarial'         # around moments, of CONTEXTS; all but the first are for comparison
    positive_tiou: float = 0.8           # an anchor above is a positive
    background_tiou: float = 0.3         # an anchor below is background
    negative_ratio: float = 1.0          # hard negatives a positive (plus B)
    proposal_weight: float = 2.0         # weights of the losses
    class_weight: float = 2.0
    iou_weight: float = 25.0
    adversary_weight: float = 0.1
    init_checkpoint: str = ''            # warm start of update 3's variables; '' for none
    max_to_keep: int = 0                 # newest model snapshots that are kept; 0: all
    on_nan: str = 'stop'                 # 'stop', or 'skip': a step whose losses or weights are not finite is undone
    max_skips: int = 10                  # skipped steps in a row that stop the run
    accept_changes: bool = False         # continue a snapshot although settings or tables are not what they were
    seed: int = 0                        # of initial weights and of the order of samples
    faults: Faults = Faults()


class TestConfig(NamedTuple):
    """Decoding and scoring (SPEC section 8)."""

    test_batch_size: int = 16            # videos
    proposals: str = 'network'           # 'network', or 'uniform': windows spread over the video, as a baseline
    score_by: str = 'iou'                # an anchor's score: 'iou' (predicted) or 'proposal' (action probability)
    top_anchors: int = 765               # best anchors that go into NMS
    nms_tiou: float = 0.9                # NMS drops what overlaps a better one by more
    max_detections: int = 100            # segments a video
    labels_per_video: int = 1            # labels that each segment gets, by falling average probability


class DataConfig(NamedTuple):
    """Where the data are, below data_root, and how samples are cut (SPEC section 2).

    A feature path is a folder of VIDEO.npy / .npz / .csv, or one HDF5 file with a dataset VIDEO.
    """

    data_root: str = 'data'
    source_info: str = 'cvs_records_anet/anet_train_val_reduce_info.csv'
    source_annotation: str = 'cvs_records_anet/anet_annotation_json.json'
    source_labels: str = 'activitynet_train_val_gt.txt'
    source_categories: str = 'activitynet_category_name.txt'  # read where it is there, or to count the classes
    source_features: str = 'ActivityNet/csv_mean_512_p3d_clip_2018'  # untrimmed, T rows
    source_clips: str = 'ActivityNet/csv_p3d_clip'                   # a row per clip
    target_info: str = 'cvs_records_k600/k600_train_val_info.csv'
    target_annotation: str = 'cvs_records_k600/k600_annotation_json.json'
    target_labels: str = 'k600_train_val_gt.txt'
    target_categories: str = 'k600_category.txt'
    target_clips: str = 'Kinetics-600/csv_p3d_clip_trim'             # training, a row per clip
    target_features: str = 'Kinetics-600/csv_p3d_clip_val_untrim_512'  # validation, T rows
    ground_truth: str = 'k600_val_action.json'  # of `prepare_data.py annotation`
    clip_frames: int = 8                 # frames a clip
    foreground_clips: int = 32           # clips that a foreground segment spans at least
    moment_clips: int = 8                # clips that a moment spans at least
    max_segments: int = 25               # segments of an untrimmed video; later ones are left out
    moment_ratios: Tuple[int, int] = (14, 19)     # a moment's share of the sequence, in 1/20; both ends drawn
    moment_positions: Tuple[int, int] = (1, 19)   # where it lies, in 1/20; both ends drawn
    workers: int = 0                     # threads that read features; 0: one a core
    bad_data: str = 'stop'               # at data that cannot be used: 'stop', or 'skip': go on without them
    max_bad_share: float = 0.01          # of the videos read (100 at least): with more bad ones, 'skip' stops too

    def path(self, name):
        """Path of the table or the features in field `name`."""
        return os.path.join(self.data_root, getattr(self, name))


class Config(NamedTuple):
    """All settings of a run."""

    config: str = 'k600'
    model_dir: str = 'models'            # snapshots, settings, logs
    results_dir: str = 'results'         # results JSON, test log
    resume: str = 'auto'                 # 'auto': go on where the last run stopped; 'never'; or a snapshot's path
    threads: int = 0                     # of TensorFlow, within and between operations; 0: its choice; 1: repeatable
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    test: TestConfig = TestConfig()
    data: DataConfig = DataConfig()


def divide_widths(model, divisor):
    """`model` with the feature width and every layer's width divided by `divisor`."""
    widths = model.stem_widths + model.level_widths + (model.feature_width, model.context_width)
    if any(width % divisor for width in widths):
        raise InputError('widths %s cannot all be divided by %d' % (widths, divisor))
    return model._replace(
        feature_width=model.feature_width // divisor,
        stem_widths=tuple(width // divisor for width in model.stem_widths),
        level_widths=tuple(width // divisor for width in model.level_widths),
        context_width=model.context_width // divisor)


PRESETS = {
    'k600': Config(),
    'demo': Config(
        config='demo', model_dir='models/demo', results_dir='results/demo',
        model=ModelConfig(feature_width=64, stem_widths=(64, 64), level_widths=(32, 32, 48, 48, 64, 64, 64, 64),
                          context_width=32, source_classes=20, target_classes=None),
        train=TrainConfig(max_steps=600, snapshot_step=200, learning_rate=1e-3, rate_boundaries=(8000,)),
        # the published NMS keeps near-copies of the best segment, each a false positive of mAP
        test=TestConfig(nms_tiou=0.5, score_by='proposal'),
        data=DataConfig(data_root='data/demo', moment_ratios=(3, 19))),
    'split': Config(  # published settings on a data root of `prepare_data.py split`, whatever its classes
        config='split', model_dir='models/split', results_dir='results/split',
        model=ModelConfig(source_classes=None, target_classes=None), data=DataConfig(data_root='data/split')),
}
# The published code's faults, all or one (README)
MODES = {'mended': Faults(), 'authors': Faults(True, True, True),
         'F1': Faults(True, False, False), 'F2': Faults(False, True, False), 'F3': Faults(False, False, True)}


def override(config, **values):
    """`config` with the fields in `values` replaced, in whichever of its parts they are.

    Raises InputError at a name that no part has.
    """
    for part in ('model', 'train', 'test', 'data'):
        settings = getattr(config, part)
        mine = {name: values.pop(name) for name in settings._fields if name in values}
        config = config._replace(**{part: settings._replace(**mine)})
    unknown = sorted(set(values) - set(Config._fields))
    if unknown:
        raise InputError('no setting is called %s' % ', '.join(unknown))
    return config._replace(**values)


def check(config):
    """Raise InputError, in one line, where a setting cannot be used."""
    def positive(part, *names):
        for name in names:
            if not 0 < getattr(part, name) < math.inf:
                raise InputError('--%s %s: expected more than 0' % (name, getattr(part, name)))
            if getattr(part, name) > MOST:  # of rates too: none is useful beyond
                raise InputError('--%s %s: expected %d at most' % (name, getattr(part, name), MOST))

    def one_of(part, name, choices):
        if getattr(part, name) not in choices:
            raise InputError('--%s %r: expected one of %s' % (name, getattr(part, name), ', '.join(choices)))

    for name in ('model_dir', 'results_dir'):
        if not getattr(config, name):
            raise InputError('--%s %r: expected a folder; . is the one you are in' % (name, getattr(config, name)))
    for part, name in ((config, 'model_dir'), (config, 'resume'), (config.train, 'init_checkpoint')):
        if re.search('[*?[\\\\\ud800-\udfff]|://', getattr(part, name)):
            raise InputError('--%s %r: found signs that TensorFlow takes for a pattern or another system\'s path '
                             '(one of * ? [ \\ :// or no UTF-8); name another folder, or go there and give .'
                             % (name, getattr(part, name)))
    for part, name, most in ((config.train, 'seed', MOST), (config.train, 'max_steps', MOST),
                             (config.train, 'max_to_keep', MOST), (config.data, 'workers', MOST_THREADS),
                             (config, 'threads', MOST_THREADS)):
        if not 0 <= getattr(part, name) <= most:
            raise InputError('--%s %s: expected 0 to %d' % (name, getattr(part, name), most))
    positive(config.model, 'feature_width', 'untrimmed_steps', 'moment_steps')
    positive(config.train, 'batch_size', 'snapshot_step', 'log_step', 'generator_repeats', 'max_skips')
    positive(config.train, 'learning_rate', 'adversary_rate')
    positive(config.test, 'test_batch_size', 'max_detections', 'top_anchors', 'labels_per_video')
    one_of(config.model, 'transfer', ('mlp', 'identity'))
    one_of(config.train, 'context', CONTEXTS)
    one_of(config.train, 'on_nan', ('stop', 'skip'))
    one_of(config.test, 'score_by', ('iou', 'proposal'))
    one_of(config.test, 'proposals', ('network', 'uniform'))
    one_of(config.data, 'bad_data', ('stop', 'skip'))
    for part, name in ((config.test, 'nms_tiou'), (config.data, 'max_bad_share')):
        if not 0 <= getattr(part, name) <= 1:
            raise InputError('--%s %s: expected 0 to 1' % (name, getattr(part, name)))
    low, high = config.data.moment_ratios
    if not 0 < low <= high < 20:
        raise InputError('--moment_ratios %d,%d: expected 1 to 19, the lower one first' % (low, high))
    for name in ('source_classes', 'target_classes'):
        if getattr(config.model, name):  # None and 0: counted
            positive(config.model, name)
    return config


def to_dict(config):
    """The settings as JSON would give them back: a dict a part, lists for tuples."""
    def plain(value):
        if hasattr(value, '_asdict'):
            return {name: plain(entry) for name, entry in value._asdict().items()}
        return list(value) if isinstance(value, tuple) else value
    return plain(config)


# How long and where a run trains, what it writes, what it does when disturbed: not what it computes.
NOT_OF_TRAINING = ('max_steps', 'snapshot_step', 'log_step', 'max_to_keep', 'on_nan', 'max_skips', 'accept_changes',
                   'workers', 'bad_data', 'max_bad_share')


def differences(saved, config, parts):
    """Settings of `parts` in which `config` is not as `saved` (of to_dict), a text each; paths may have moved.

    What one of the two does not know, from another version of this code, is left out.
    """
    mine = to_dict(config)
    return ['%s %s (this run: %s)' % (name, saved[part][name], value)
            for part in parts for name, value in mine[part].items()
            if name in saved.get(part, {}) and saved[part][name] != value and name not in NOT_OF_TRAINING
            and not (part == 'data' and isinstance(value, str))]


# Flags. A flag is a setting's name; its help says what the comment above says, for who reads no code.
COMMON_FLAGS = {
    'model_dir': 'folder of snapshots, their settings and the logs',
    'resume': 'auto: go on where the last run stopped; never: begin anew; or, of training, a snapshot\'s path',
    'threads': 'threads of TensorFlow; 0: its choice; 1: repeatable to the last bit on a CPU',
    'feature_width': 'columns of a feature file',
    'source_classes': 'classes of the source data set; 0: as many as its class-name list has lines',
    'target_classes': 'classes of the target data set; 0: as many as its class-name list has lines',
    'transfer': 'mlp, or identity: the moment classifier itself scores every position',
    'workers': 'threads that read features; 0: one a core',
    'bad_data': 'stop at data that cannot be used, or skip: list them in bad_data.csv and go on',
    'max_bad_share': 'share of bad videos at which skip stops too',
    'data_root': 'folder that all data paths start from',
    'source_info': 'info table of the source videos (CSV: video, subset)',
    'source_annotation': 'segments of the source videos (JSON)',
    'source_labels': 'label table of the source videos (video, …, class index)',
    'source_categories': 'class names of the source data set, one a line; not needed where their number is given',
    'source_features': 'features of whole source videos: folder or HDF5 file',
    'source_clips': 'features of the source videos by clip: folder or HDF5 file',
    'target_info': 'info table of the target videos (CSV: video, subset)',
    'target_annotation': 'moments and durations of the target videos (JSON)',
    'target_labels': 'label table of the target videos',
    'target_categories': 'class names of the target data set, one a line',
    'target_clips': 'features of the target training videos by clip: folder or HDF5 file',
    'target_features': 'features of whole target validation videos: folder or HDF5 file',
    'ground_truth': 'ground-truth JSON of the target validation videos',
}


def argument_parser(description, flags):
    """Parser of a script: --config, the common flags and those in `flags` {setting: help}.

    Types and defaults come from the presets, so a flag cannot disagree with its setting.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    add_flags(parser, flags)
    return parser


def add_flags(parser, flags):
    """Add --config, the common flags and those in `flags` to a parser with argparse.RawTextHelpFormatter."""
    parser.add_argument('--config', choices=sorted(PRESETS), default='k600',
                        help='preset that the settings start from (default k600)')
    for name, text in list(flags.items()) + list(COMMON_FLAGS.items()):
        values = [_value(PRESETS[preset], name) for preset in ('k600', 'demo', 'split')]
        default = ' | '.join(_shown(value) for value in sorted(set(values), key=values.index))
        convert = {bool: _switch, tuple: _pair}.get(type(values[0]), type(values[0]))
        parser.add_argument('--' + name, type=convert, metavar=convert.__name__.strip('_').upper(),
                            help='%s (default %s)' % (text, default or 'none'))


def from_arguments(arguments, flags):
    """The resolved, checked Config of parsed `arguments`; flags not given keep the preset's value."""
    given = {name: getattr(arguments, name) for name in list(flags) + list(COMMON_FLAGS)
             if getattr(arguments, name) is not None}
    return check(override(PRESETS[arguments.config], **given))


def _value(config, name):
    parts = [config, config.model, config.train, config.test, config.data]
    return next(getattr(part, name) for part in parts if hasattr(part, name))


def _shown(value):
    """A setting as its flag takes it; None of a number of classes: 0, counted."""
    if isinstance(value, tuple):
        return ','.join(map(str, value))
    if isinstance(value, bool):
        return 'on' if value else 'off'
    return '0' if value is None else str(value)


def _switch(text):
    if text not in ('on', 'off'):
        raise argparse.ArgumentTypeError('%r: expected on or off' % text)
    return text == 'on'


def _pair(text):
    try:
        low, high = map(int, text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError('%r: expected two whole numbers, such as 14,19' % text) from None
    return low, high
