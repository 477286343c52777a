"""Every setting of AherNet, each described once; presets; and the command-line flags made of them.

A Setting has a name, a default, a unit, help and the values that it may have. The namedtuples below, the flags, their
help and docs/settings.md (`python3 config.py > docs/settings.md`) all come from these descriptions.
Dimensions (B, T, M, C, K, A …) are those of docs/method.md.
"""
import argparse
import collections
import os
import re
import sys
from typing import Callable, NamedTuple

from dataset import data_root
from runtime.errors import InputError, exit_status
from runtime.files import read_json

MAX_NUMBER = 2 ** 31 - 1
MAX_THREADS = 1024  # with millions of threads the system kills the process without a message
TRAIN, TEST, CHECK = 'train', 'test', 'check'  # the scripts that read a setting; CHECK: prepare_data.py check
NETWORK, EVERYWHERE = (TRAIN, TEST), (TRAIN, TEST, CHECK)


class Rule(NamedTuple):
    """What a value must be besides its range."""

    expected: str    # for the message
    holds: Callable  # value → whether it can be used


EVEN = Rule('an even number', lambda value: value % 2 == 0)
RISING = Rule('rising numbers', lambda value: list(value) == sorted(set(value)))
PAIR = Rule('two numbers, the lower one first', lambda value: len(value) == 2 and value[0] <= value[1])


def _at_least(count):
    return Rule('%d numbers at least' % count, lambda value: len(value) >= count)


class Setting(NamedTuple):
    """The only description of a setting."""

    name: str
    default: object
    help: str
    unit: str = ''           # what its number counts
    choices: tuple = ()      # the values of a text
    low: float = 0           # lowest value of a number, itself allowed; of each number in a list
    high: float = MAX_NUMBER
    above_low: bool = False  # whether `low` itself is not allowed
    rule: Rule = None
    scripts: tuple = EVERYWHERE
    flag: bool = True        # whether it has a flag of its own; each can be given with --set NAME=VALUE
    resumable: bool = False  # whether a resumed training may change it: it changes nothing that is computed


def _numeric(name, default, help, unit='', low=1, **more):
    return Setting(name, default, help, unit, low=low, **more)


def _group(title, settings):
    """The namedtuple type of some settings, with their defaults."""
    group = collections.namedtuple(title, [setting.name for setting in settings],
                                   defaults=[setting.default for setting in settings])
    group.settings = tuple(settings)
    return group


class Faults(NamedTuple):
    """What the published code does against the paper or its own purpose (docs/method.md, section 9)."""

    first_annotation_only: bool = False  # F1: foreground samples come from a video's first annotation only
    odd_end_without_start: bool = False  # F2: an odd sample's segment ends at cut + m, not n1 + cut + m
    unordered_updates: bool = False      # F3: the two optimizers of one update step in no fixed order


MODES = {'mended': Faults(), 'authors': Faults(True, True, True),
         'F1': Faults(True, False, False), 'F2': Faults(False, True, False), 'F3': Faults(False, False, True)}

ModelConfig = _group('ModelConfig', [
    _numeric('feature_width', 2048, 'columns of a feature file (C)', 'channels'),
    Setting('stem_widths', (2048, 1024), 'widths of the layers g_conv1 and g_conv2', 'channels', low=1, flag=False,
            rule=_at_least(2), scripts=NETWORK),
    Setting('level_widths', (256, 256, 512, 512, 1024, 1024, 2048, 2048),
            'widths of the levels g_conv_a1, g_conv_a2, …: one level for each number', 'channels', low=1, flag=False,
            rule=_at_least(1), scripts=NETWORK),
    _numeric('context_width', 1024, 'width of the hidden layer of the context generator', 'channels', flag=False,
             scripts=(TRAIN,)),
    _numeric('source_classes', 200, 'classes of the source data set; 0: as many as its class-name list has lines',
             'classes', low=0, scripts=(TRAIN, CHECK)),
    _numeric('target_classes', 600, 'classes of the target data set; 0: as many as its class-name list has lines',
             'classes', low=0),
    _numeric('untrimmed_steps', 512, 'rows of an untrimmed video (T)', 'feature rows', low=3, flag=False,
             scripts=NETWORK),
    _numeric('moment_steps', 256, 'rows of a moment (M), an even number', 'feature rows', low=4, rule=EVEN,
             flag=False, scripts=(TRAIN,)),
    _numeric('anchor_step', 4, 'step and size of the anchors of level 1; both double at each level', 'feature rows',
             flag=False, scripts=NETWORK),
    Setting('anchor_scales', (1.0, 1.26, 1.587), 'lengths of the anchors at a position, in sizes of the level',
            above_low=True, rule=_at_least(1), flag=False, scripts=NETWORK),
    Setting('offset_scale', 0.1, 'predicted offsets are multiplied by this', above_low=True, flag=False,
            scripts=NETWORK),
    Setting('transfer', 'mlp', 'how classifier weights become weights for every position: by the learnt MLP, or '
            'unchanged', choices=('mlp', 'identity'), scripts=NETWORK),
])

TrainConfig = _group('TrainConfig', [setting._replace(scripts=(TRAIN,)) for setting in [
    _numeric('batch_size', 16, 'samples of each stream in a step (B)', 'samples', high=1 << 16),
    _numeric('max_steps', 15000, 'length of the training; 0 saves the untrained network', 'steps', low=0,
             resumable=True),
    _numeric('snapshot_step', 1000, 'interval between snapshots', 'steps', resumable=True),
    _numeric('log_step', 100, 'interval between log lines', 'steps', resumable=True),
    _numeric('learning_rate', 1e-4, 'rate of Adam in updates 1 to 4 and 7', low=0, above_low=True),
    Setting('rate_boundaries', (15000, 30000, 45000, 60000, 75000), 'where the learning rate falls; the published '
            'code counts samples here although steps seem meant (fault F4, section 9)', 'samples: steps · B', low=1,
            rule=RISING, flag=False),
    Setting('rate_decay', 0.1, 'factor of the learning rate at each boundary', above_low=True, flag=False),
    _numeric('adversary_rate', 1e-4, 'rate of Adam in updates 5 and 6', low=0, above_low=True),
    Setting('adversary_beta1', 0.5, 'beta1 of Adam in updates 5 and 6', high=1, flag=False),
    _numeric('generator_repeats', 2, 'runs of update 6 in a step', 'runs', flag=False),
    Setting('context', 'adversarial', 'what surrounds a moment in training. adversarial: generated context, as '
            'published; localized: no updates 5 and 6; untrained: the generator stays as initialized; none: moments '
            'stretched over the whole sequence; unused: no updates 4 to 7, source data only',
            choices=('adversarial', 'localized', 'untrained', 'none', 'unused')),
    Setting('positive_tiou', 0.8, 'an anchor with more overlap is a positive', 'tIoU', high=1, flag=False),
    Setting('background_tiou', 0.3, 'an anchor with less overlap is background', 'tIoU', high=1, flag=False),
    Setting('negative_ratio', 1.0, 'hard negatives for each positive; B more are added', flag=False),
    Setting('proposal_weight', 2.0, 'weight of the proposal loss', flag=False),
    Setting('class_weight', 2.0, 'weight of the classification losses', flag=False),
    Setting('iou_weight', 25.0, 'weight of the IoU loss', flag=False),
    Setting('adversary_weight', 0.1, 'weight of the adversarial losses', flag=False),
    Setting('init_checkpoint', '', 'snapshot that gives the initial weights of backbone, heads and transfer'),
    _numeric('max_to_keep', 0, 'number of newest snapshots that are kept, beside the one that best.json names; 0: '
             'all', 'snapshots', low=0, resumable=True),
    Setting('on_nan', 'stop', 'what happens when a loss or gradient is not finite: the run stops, or the step is '
            'skipped', choices=('stop', 'skip'), resumable=True),
    _numeric('max_skips', 10, 'number of steps skipped in a row at which the run stops', 'steps', resumable=True),
    _numeric('seed', 0, 'seed of the initial weights and of the order of samples', low=0),
    Setting('faults', Faults(), 'faults of the published code. mended: none; authors: F1 to F3; F1, F2 or F3: that '
            'one (docs/method.md, section 9)', flag=False)
]])

TestConfig = _group('TestConfig', [setting._replace(scripts=(TEST,)) for setting in [
    _numeric('test_batch_size', 16, 'videos that are tested at a time', 'videos'),
    Setting('proposals', 'network', 'network: detected segments; uniform: windows spread evenly over each video, '
            'with the label of the network, as a baseline', choices=('network', 'uniform')),
    Setting('score_by', 'iou', 'score of an anchor: its predicted tIoU (iou), or its action probability (proposal)',
            choices=('iou', 'proposal')),
    _numeric('top_anchors', 765, 'best anchors that NMS gets', 'anchors', flag=False),
    Setting('nms_tiou', 0.9, 'NMS removes a segment that overlaps a better one by more', 'tIoU', high=1),
    _numeric('max_detections', 100, 'maximum number of segments in a video', 'segments'),
    _numeric('labels_per_video', 1, 'labels that each segment of a video gets: the most probable ones', 'labels'),
    Setting('label_by', 'video', 'where a segment has its labels from. video: the most probable classes of its '
            'video, as published; anchor: the most probable classes at the position of its anchor; both: those of '
            'the largest product of the two probabilities', choices=('video', 'anchor', 'both')),
    Setting('subset', 'validation', 'subset of the target videos that is tested, as the info table names it, such as '
            'testing'),
]])

_SOURCE, _TRAINING, _TARGET, _TESTING = (TRAIN, CHECK), (TRAIN, CHECK), EVERYWHERE, (TEST, CHECK)
_DATA = [
    Setting('data_root', 'data', 'folder that all paths below start from'),
    Setting('source_info', 'cvs_records_anet/anet_train_val_reduce_info.csv',
            'info table of the source videos (CSV: video, subset)', scripts=_SOURCE),
    Setting('source_annotation', 'cvs_records_anet/anet_annotation_json.json',
            'durations and segments of the source videos (JSON)', scripts=_SOURCE),
    Setting('source_labels', 'activitynet_train_val_gt.txt', 'label table of the source videos', scripts=_SOURCE),
    Setting('source_categories', 'activitynet_category_name.txt', 'class names of the source data set, one per line; '
            'may be absent where --source_classes is not 0', scripts=_SOURCE),
    Setting('source_features', 'ActivityNet/csv_mean_512_p3d_clip_2018',
            'features of whole source videos, T rows: folder or HDF5 file', scripts=_SOURCE),
    Setting('source_clips', 'ActivityNet/csv_p3d_clip',
            'features of the source videos, one row for each clip: folder or HDF5 file', scripts=_SOURCE),
    Setting('target_info', 'cvs_records_k600/k600_train_val_info.csv',
            'info table of the target videos (CSV: video, subset)', scripts=_TARGET),
    Setting('target_annotation', 'cvs_records_k600/k600_annotation_json.json',
            'durations and moments of the target videos (JSON)', scripts=_TARGET),
    Setting('target_labels', 'k600_train_val_gt.txt', 'label table of the target videos', scripts=_TARGET),
    Setting('target_categories', 'k600_category.txt', 'class names of the target data set, one per line',
            scripts=_TARGET),
    Setting('target_clips', 'Kinetics-600/csv_p3d_clip_trim',
            'features of the target training videos, one row for each clip: folder or HDF5 file', scripts=_TRAINING),
    Setting('target_features', 'Kinetics-600/csv_p3d_clip_val_untrim_512',
            'features of whole target validation videos, T rows: folder or HDF5 file', scripts=_TESTING),
    Setting('ground_truth', 'k600_val_action.json',
            'ground truth of the target validation videos (JSON, made by prepare_data.py annotation)',
            scripts=_TESTING),
    *[setting for side, scripts in (('source', _SOURCE), ('target', _TARGET)) for setting in (
        Setting(side + '_layout', 'tc', 'how the features of the %s videos are stored: a row for each clip (tc), or '
                'a column for each clip (ct)' % side, choices=('tc', 'ct'), scripts=scripts, flag=False),
        Setting(side + '_key', '', 'name of the features of a %s video in its npz file or HDF5 group; none: the only '
                'array there' % side, scripts=scripts, flag=False),
        _numeric(side + '_row_seconds', 0.0, 'time from one row of the features of a %s video to the next, where its '
                 'annotation does not say it; 0: clip_frames frames' % side, 'seconds', low=0, scripts=scripts,
                 flag=False),
        _numeric(side + '_first_row_second', 0.0, 'centre of the first of these rows; 0: half of that time',
                 'seconds', low=0, scripts=scripts, flag=False))],
    _numeric('clip_frames', 8, 'video frames in a clip', 'frames', flag=False),
    Setting('labels', 'video', 'class of a segment. video: that of its video in the label table, as published; '
            'segment: its own label in the annotation', choices=('video', 'segment'), scripts=_TRAINING),
    _numeric('foreground_clips', 32, 'shortest segment that becomes a foreground sample', 'clips', scripts=_TRAINING),
    _numeric('moment_clips', 8, 'shortest segment that becomes a moment', 'clips', scripts=_TRAINING),
    Setting('exact_lengths', False, 'on: the clips of a segment are counted to the nearest whole number, before they '
            'are compared with the two settings above, and as many are cut out at least; off: as published, where '
            'rounding errors make some segments a clip shorter', scripts=_TRAINING, flag=False),
    _numeric('max_segments', 25, 'segments of an untrimmed video that are used; later ones are ignored', 'segments',
             scripts=_SOURCE),
    _numeric('window_seconds', 0.0, 'untrimmed videos are trained on and tested in windows of this length; 0: as a '
             'whole, as published', 'seconds', low=0),
    _numeric('window_stride_seconds', 0.0, 'time from one window to the next in testing; 0: half a window', 'seconds',
             low=0, scripts=_TESTING),
    _numeric('window_share', 0.5, 'a segment belongs to a training window if they share this much of the shorter of '
             'the two', low=0, above_low=True, high=1, scripts=_SOURCE, flag=False),
    Setting('moment_ratios', (14, 19), 'lowest and highest share of a moment in its sequence', '1/20', low=1, high=19,
            rule=PAIR, scripts=(TRAIN,)),
    Setting('moment_positions', (1, 19), 'lowest and highest position of a moment in its context', '1/20', low=1,
            high=19, rule=PAIR, scripts=(TRAIN,), flag=False),
    _numeric('workers', 0, 'threads that read features; 0: one for each core', 'threads', low=0, high=MAX_THREADS,
             resumable=True),
    Setting('missing', 'stop', 'what happens where videos have no features: the run stops, or these videos are '
            'dropped from tables and ground truth before it starts', choices=('stop', 'drop'), resumable=True),
    Setting('bad_data', 'stop', 'what happens at data that cannot be used: the run stops, or they are listed in '
            'bad_data.csv and skipped', choices=('stop', 'skip'), scripts=NETWORK, resumable=True),
    Setting('max_bad_share', 0.01, 'share of the videos of a stream that --bad_data skip may skip', high=1,
            scripts=NETWORK, resumable=True),
    _numeric('max_bad_videos', 1, 'videos of a stream that --bad_data skip may skip, even if their share is larger',
             'videos', low=0, scripts=NETWORK, resumable=True),
]

_RUN = [
    Setting('config', 'k600', 'settings to start from: a preset (k600, split, thumos14_anet, demo), or the .json '
            'beside a snapshot'),
    Setting('model_dir', 'models', 'folder of the snapshots, their settings and the training log', scripts=NETWORK),
    Setting('results_dir', 'results', 'folder of the results', scripts=(TEST,)),
    Setting('resume', 'auto', 'auto: continue where the last run stopped; never: do everything again; training '
            'also takes the path of a snapshot to continue from', scripts=NETWORK),
    Setting('accept_changes', False, 'on: resume, or test a snapshot, although settings or tables have changed since '
            'it was trained', scripts=NETWORK),
    _numeric('threads', 0, 'threads of TensorFlow; 0: its own choice; 1: repeatable to the last bit on a CPU',
             'threads', low=0, high=MAX_THREADS, scripts=NETWORK),
    Setting('device', 'auto', 'auto: a GPU if TensorFlow finds one, otherwise the CPU; gpu: end the run if it finds '
            'none; cpu: no GPU', choices=('auto', 'gpu', 'cpu'), scripts=NETWORK),
    Setting('tf32', False, 'on: GPUs that have TF32 compute with it, which is faster, with 10 bits of a number in '
            'place of 23', scripts=NETWORK),
]


DATA_PATHS = tuple(  # the fields of DataConfig that are paths of tables and features below data_root
    setting.name for setting in _DATA if setting.name == 'ground_truth'
    or re.match('(source|target)_(info|annotation|labels|categories|features|clips)$', setting.name))


class DataConfig(_group('DataConfig', _DATA)):
    """Where the data are, and how samples are cut from them (docs/method.md, section 2).

    A path of features is a folder of VIDEO.npy, .npz or .csv, or one HDF5 file with a dataset VIDEO.
    """

    __slots__ = ()

    def path(self, name):
        """Path of the table or the features in the field `name`."""
        return os.path.join(self.data_root, getattr(self, name))


DATA_ROOT_SETTINGS = (  # that a data root may set for itself, in its data.json
    set(DataConfig._fields) - {'data_root'} | {'feature_width', 'source_classes', 'target_classes'})
PARTS = collections.OrderedDict(
    [('model', ModelConfig), ('train', TrainConfig), ('test', TestConfig), ('data', DataConfig)])


class Config(collections.namedtuple('Config', [setting.name for setting in _RUN] + list(PARTS), defaults=[
        setting.default for setting in _RUN] + [part() for part in PARTS.values()])):
    """All settings of a run: its own, then those of the parts model, train, test and data."""

    __slots__ = ()
    settings = tuple(_RUN)


def divide_widths(model, divisor):
    """`model` with the feature width and the width of every layer divided by `divisor`."""
    widths = model.stem_widths + model.level_widths + (model.feature_width, model.context_width)
    if any(width % divisor for width in widths):
        raise InputError('widths %s cannot all be divided by %d' % (widths, divisor))
    return model._replace(
        feature_width=model.feature_width // divisor,
        stem_widths=tuple(width // divisor for width in model.stem_widths),
        level_widths=tuple(width // divisor for width in model.level_widths),
        context_width=model.context_width // divisor)


PRESETS = collections.OrderedDict([
    ('k600', Config()),  # as published
    ('split', Config(    # published settings on a data root of `prepare_data.py split`, with any number of classes
        config='split', model_dir='models/split', results_dir='results/split',
        model=ModelConfig(source_classes=0, target_classes=0),
        data=DataConfig(data_root='data/split', exact_lengths=True))),
    ('thumos14_anet', Config(  # published settings on a data root of two imports: THUMOS14 → ActivityNet
        config='thumos14_anet', model_dir='models/thumos14_anet', results_dir='results/thumos14_anet',
        model=ModelConfig(source_classes=0, target_classes=0),
        data=DataConfig(data_root='data/thumos14_anet', labels='segment', exact_lengths=True))),
    ('demo', Config(
        config='demo', model_dir='models/demo', results_dir='results/demo',
        model=ModelConfig(feature_width=64, stem_widths=(64, 64), level_widths=(32, 32, 48, 48, 64, 64, 64, 64),
                          context_width=32, source_classes=20, target_classes=0),
        train=TrainConfig(max_steps=600, snapshot_step=200, learning_rate=1e-3, rate_boundaries=(8000,)),
        # the published NMS keeps near-copies of the best segment, and each is a false positive for mAP
        test=TestConfig(nms_tiou=0.5, score_by='proposal'),
        data=DataConfig(data_root='data/demo', moment_ratios=(3, 19))))])


# Changing, checking and comparing settings

def _settings_of(config):
    """Each Setting with the part of `config` that holds its value."""
    for part in (config,) + tuple(getattr(config, name) for name in PARTS):
        for setting in part.settings:
            yield setting, part


def override(config, **values):
    """`config` with the settings in `values` replaced, in whichever part they are.

    Raises InputError at a name that is no setting.
    """
    for name in PARTS:
        part = getattr(config, name)
        mine = {field: values.pop(field) for field in part._fields if field in values}
        config = config._replace(**{name: part._replace(**mine)})
    unknown = sorted(set(values) - set(Config._fields))
    if unknown:
        raise InputError('no setting is called %s; docs/settings.md lists all' % ', '.join(unknown))
    return config._replace(**values)


def check(config):
    """Return `config`; raise InputError, in one line, where a setting cannot be used."""
    for setting, part in _settings_of(config):
        value = getattr(part, setting.name)
        if setting.choices and value not in setting.choices:
            raise InputError('%s: expected one of %s' % (_given(setting, value), ', '.join(setting.choices)))
        for number in value if isinstance(value, tuple) else (value,):
            if _is_number(number):
                _check_number(setting, number)
        if setting.rule and not setting.rule.holds(value):
            raise InputError('%s: expected %s' % (_given(setting, value), setting.rule.expected))
    if config.data.window_stride_seconds > config.data.window_seconds:
        raise InputError('--window_stride_seconds %g: expected at most --window_seconds, which is %g%s' % (
            config.data.window_stride_seconds, config.data.window_seconds,
            '' if config.data.window_seconds else ': no windows'))
    for name in ('model_dir', 'results_dir'):
        if not getattr(config, name):
            raise InputError('--%s %r: expected a folder; . is the current one' % (name, getattr(config, name)))
    for part, name in ((config, 'model_dir'), (config, 'resume'), (config.train, 'init_checkpoint')):
        if re.search('[*?[\\\\\ud800-\udfff]|://', getattr(part, name)):
            raise InputError('--%s %r: found characters that TensorFlow takes for a pattern or a remote path (one of '
                             '* ? [ \\ :// or no UTF-8); rename the folder, or change into it and give .'
                             % (name, getattr(part, name)))
    return config


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_number(setting, number):
    high_enough = number > setting.low if setting.above_low else number >= setting.low
    if not (high_enough and number <= setting.high):  # false of NaN, too
        raise InputError('%s: expected %s%s to %s' % (
            _given(setting, number), 'more than ' if setting.above_low else '', setting.low, setting.high))


def _given(setting, value):
    """The setting and its value as the command line has them."""
    return ('--%s %s' if setting.flag else '--set %s=%s') % (setting.name, _text(value))


def to_dict(config):
    """The settings as JSON gives them back: one dict for each part, lists for tuples."""
    def plain(value):
        if hasattr(value, '_asdict'):
            return {name: plain(entry) for name, entry in value._asdict().items()}
        return list(value) if isinstance(value, tuple) else value
    return plain(config)


def from_dict(saved, source, base=Config()):
    """The Config of what to_dict gave; a setting that is not there is that of `base`. `source` is for messages.

    Raises InputError where it is no such dict, or a value has another type than the setting.
    """
    def group(defaults, values, place):
        if not isinstance(values, dict):
            raise InputError('%s: found no settings%s; give the .json beside a snapshot, or a preset: %s'
                             % (source, place, ', '.join(PRESETS)))
        return defaults._replace(**{name: value(default, values[name], place + ' ' + name)
                                    for name, default in defaults._asdict().items() if name in values})

    def value(default, found, place):
        if hasattr(default, '_asdict'):
            return group(default, found, place)
        if isinstance(default, tuple) and isinstance(found, list):
            return tuple(value(default[0], entry, place) for entry in found)
        if isinstance(default, float) and type(found) is int:
            return float(found)
        if type(found) is not type(default):
            raise InputError('%s: found the value %r of%s, expected one like %r' % (source, found, place, default))
        return found

    return group(base, saved, '')


def differences(saved, config, parts, script=TRAIN):
    """Settings of `parts` that `script` reads and in which `config` is not as `saved` (of to_dict): a text for each.

    Paths may differ: data move. What `saved` lacks, being of an earlier version of this code, had its default.
    """
    mine, defaults, texts = to_dict(config), to_dict(Config()), []
    for part in parts:
        for setting in PARTS[part].settings:
            value = mine[part][setting.name]
            before = saved.get(part, {}).get(setting.name, defaults[part][setting.name])
            if (before != value and script in setting.scripts and not setting.resumable
                    and setting.name not in ('data_root',) + DATA_PATHS):
                texts.append('%s %s (this run: %s)' % (setting.name, before, value))
    return texts


# Flags

GROUPS = collections.OrderedDict([
    ('run', Config), ('network (docs/method.md, sections 3 and 4)', ModelConfig),
    ('training (docs/method.md, sections 5 to 7)', TrainConfig),
    ('testing (docs/method.md, section 8)', TestConfig),
    ('data (docs/method.md, section 2; docs/data.md)', DataConfig)])


def argument_parser(description, script):
    """The parser of a script, TRAIN, TEST or CHECK, with a flag for each setting that it reads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    add_flags(parser, script)
    return parser


def add_flags(parser, script):
    """Add --config, the flags of the settings that `script` reads, in groups, and --set."""
    for title, part in GROUPS.items():
        group = parser.add_argument_group(title)
        for setting in part.settings:
            if setting.name == 'config':
                default = 'the .json of the newest snapshot in --model_dir, otherwise ' if script == TEST else ''
                group.add_argument('--config', metavar='PRESET|JSON',
                                   help='%s (default: %s%s)' % (setting.help, default, setting.default))
            elif setting.name == 'faults' and script == TRAIN:
                group.add_argument('--mode', choices=sorted(MODES), help='%s (default: mended)' % setting.help)
            elif script in setting.scripts and setting.flag:
                _add_flag(group, setting, _help(setting))
    parser.add_argument_group('other settings').add_argument(
        '--set', action='append', default=[], metavar='NAME=VALUE',
        help='any other setting (docs/settings.md); may be given several times')


def _add_flag(group, setting, text):
    group.add_argument('--' + setting.name, metavar=None if setting.choices else _metavar(setting),
                       type=_parser_of(setting), choices=setting.choices or None, help=text)


def add_some_flags(group, names, default=None):
    """Add the flags of the settings `names` to an argparse group; `default`: a text (None: that of the presets)."""
    for setting, _ in _settings_of(Config()):
        if setting.name in names:
            _add_flag(group, setting, '%s (default: %s)' % (
                setting.help.replace('%', '%%'), default or _defaults(setting)))


def from_arguments(arguments, script):
    """The checked Config of parsed `arguments`: settings that were not given keep the value of --config.

    Raises InputError where a setting cannot be used.
    """
    name = arguments.config or Config().config
    config = _base_config(name, script)
    knows_data = name not in PRESETS and os.path.realpath(config.data.data_root) == os.path.realpath(
        config.data.data_root if arguments.data_root is None else arguments.data_root)
    config = _with_data_root(config, arguments.data_root, only_new_paths=knows_data)
    readable = {setting.name: setting for setting, _ in _settings_of(config) if script in setting.scripts}
    given = {name: getattr(arguments, name) for name, setting in readable.items()
             if setting.flag and name != 'config' and getattr(arguments, name) is not None}
    for text in arguments.set:
        name, _, value = text.partition('=')
        if name not in readable or name in ('config', 'faults'):
            raise InputError('--set %s: expected NAME=VALUE, the name one of %s'
                             % (text, ', '.join(sorted(set(readable) - {'config', 'faults'}))))
        try:
            given[name] = _parser_of(readable[name])(value)
        except (ValueError, argparse.ArgumentTypeError):
            raise InputError('--set %s: expected a value like %s' % (text, _text(readable[name].default))) from None
    if getattr(arguments, 'mode', None):
        given['faults'] = MODES[arguments.mode]
    return check(override(config, **given))


def _base_config(name, script):
    """The preset `name`, or the settings in the JSON file `name`, without those of that one run.

    For a test, these are all that change nothing of what the training computed, such as --device and --bad_data.
    """
    if name in PRESETS:
        return PRESETS[name]
    if not os.path.exists(name):
        raise InputError('--config %s: expected %s, or the .json file beside a snapshot' % (name, ', '.join(PRESETS)))
    own = ['resume', 'accept_changes']
    if script == TEST:
        own += ['threads', 'device', 'tf32'] + [setting.name for setting in _DATA if setting.resumable]
    defaults = dict(Config()._asdict(), **DataConfig()._asdict())
    return override(from_dict(read_json(name), name), **{name: defaults[name] for name in own})


def of_data_root(folder):
    """The checked Config of the data root `folder`: the preset k600, and what its data.json says of it.

    Raises InputError where data.json is damaged or has a setting that cannot be used.
    """
    return check(override(_with_data_root(PRESETS['k600'], folder), data_root=folder))


def _with_data_root(config, folder, only_new_paths=False):
    """`config` with the settings that a data root says of itself, in its data.json (dataset/data_root.py).

    Args:
      config: a Config.
      folder: the data root; None: that of `config`.
      only_new_paths: whether `config` knows this data root already, from a training: then only paths are added that
        it does not know, such as those of videos that were imported after the training.
    """
    folder = config.data.data_root if folder is None else folder
    path, found = os.path.join(folder, data_root.NAME), data_root.read(folder)['settings']
    unknown = set(found).difference(DATA_ROOT_SETTINGS)
    if unknown:
        raise InputError('%s: found the settings %s, which cannot be set there; import the data again'
                         % (path, ', '.join(sorted(unknown))))
    if only_new_paths:
        known = {name for name in DATA_PATHS if getattr(config.data, name) != getattr(DataConfig(), name)}
        found = {name: value for name, value in found.items() if name in set(DATA_PATHS) - known}
    return from_dict({part: {name: value for name, value in found.items() if name in PARTS[part]._fields}
                      for part in ('model', 'data')}, path, config)


def _parser_of(setting):
    """The function that turns a text into a value of the setting."""
    kind = type(setting.default)
    if kind is bool:
        return _switch
    return numbers_like(setting.default) if kind is tuple else kind


def numbers_like(example):
    """The argparse type of a flag that takes numbers, separated by commas, such as the tuple `example`."""
    def parse(text):
        try:
            return tuple(type(example[0])(number) for number in text.split(','))
        except ValueError:
            raise argparse.ArgumentTypeError('%r: expected numbers such as %s' % (text, _text(example))) from None
    return parse


def _switch(text):
    if text not in ('on', 'off'):
        raise argparse.ArgumentTypeError('%r: expected on or off' % text)
    return text == 'on'


def _metavar(setting):
    kind = type(setting.default)
    return {bool: 'on|off', tuple: 'N,N', str: 'PATH'}.get(kind, kind.__name__.upper())


def _text(value):
    """A value as its flag takes it."""
    if isinstance(value, tuple):
        return ','.join(map(_text, value))
    return {True: 'on', False: 'off'}[value] if isinstance(value, bool) else str(value)


def _help(setting):
    """Help with the unit, and the default of each preset."""
    unit = ' [%s]' % setting.unit if setting.unit else ''
    return '%s%s (default: %s)' % (setting.help.replace('%', '%%'), unit, _defaults(setting))


def _defaults(setting):
    """`15000`, or `k600, split: 15000; demo: 600` where presets differ."""
    presets = collections.OrderedDict()
    for name, preset in PRESETS.items():
        value = next(getattr(part, setting.name) for other, part in _settings_of(preset) if other is setting)
        presets.setdefault(_text(value) or 'none', []).append(name)
    if len(presets) == 1:
        return next(iter(presets))
    return '; '.join('%s: %s' % (', '.join(names), value) for value, names in presets.items())


def to_markdown():
    """All settings as docs/settings.md shows them."""
    lines = ['# Settings', '', 'Made by `python3 config.py > docs/settings.md`.',
             'A setting with a flag is given as `--NAME VALUE`, any other as `--set NAME=VALUE`.',
             'The letters in brackets are the dimensions of [method.md](method.md).']
    for title, part in GROUPS.items():
        lines += ['', '## ' + title[:1].upper() + title[1:], '', '| setting | flag | unit | default | what it is |',
                  '|---|---|---|---|---|']
        for setting in part.settings:
            text = setting.help + (' (%s)' % ', '.join(setting.choices) if setting.choices else '')
            flag = {'faults': '`--mode`'}.get(setting.name, 'yes' if setting.flag else '`--set`')
            default = {'faults': 'mended', 'config': 'k600'}.get(setting.name) or _defaults(setting)
            lines.append('| `%s` | %s | %s | %s | %s |' % (setting.name, flag, setting.unit, default, text))
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(exit_status(lambda: print(to_markdown())))
