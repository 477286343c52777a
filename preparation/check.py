"""List every defect of the data that training and testing read.

Tables and the references between them are checked completely. Features are read for a sample of the videos, or for
all of them (--full). Flags that name data are the same as those of training and testing.
"""
import collections
import contextlib
import os
from multiprocessing.pool import ThreadPool

from tqdm import tqdm

import config as settings
from dataset.features import FeatureStore
from dataset.tables import read_class_names, read_entries, read_info, read_labels, read_videos
from evaluation.results import ground_truth_faults
from runtime.errors import InputError
from runtime.files import read_json

NAME = 'check'
MAX_SHOWN = 10  # defects of a kind that are listed; the others are counted
SAMPLE = 100    # videos of each folder or HDF5 file whose features are read by default


def add_arguments(parser):
    """Add the flags of this subcommand."""
    settings.add_flags(parser, settings.CHECK)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument('--sample', type=int, metavar='INT', help='videos of each folder or HDF5 file whose features '
                        'are read (default: %d)' % SAMPLE)
    amount.add_argument('--full', action='store_true', help='read the features of all videos')


def run(args):
    """Print a summary and every defect; raises InputError where there is a defect."""
    if args.sample is not None and args.sample < 1:
        raise InputError('--sample %d: expected at least 1' % args.sample)
    config = settings.from_arguments(args, settings.CHECK)
    defects, summary = check(config, None if args.full else args.sample or SAMPLE)
    print('\n'.join(summary))
    counts = defects.counts
    if counts:
        print(defects)
        raise InputError('%s: found %d defects of %d kinds, listed above; correct them, or train and test '
                         'with --bad_data skip' % (config.data.data_root, sum(counts.values()), len(counts)))
    print('no defects found')


class Defects:
    """Messages about defects by kind, each message once: a table that two subsets share is read twice."""

    def __init__(self):
        self._messages = collections.defaultdict(collections.OrderedDict)  # kind → {message: None}

    @property
    def counts(self):
        """{kind: number of defects}."""
        return {kind: len(messages) for kind, messages in self._messages.items()}

    def add(self, kind, message):
        """Add a defect of `kind`; `message` is an InputError or a text."""
        self._messages[kind][str(InputError('%s' % message))] = None  # InputError makes it one printable line

    @contextlib.contextmanager
    def of(self, kind):
        """A context that gives the `on_error` of readers: it adds to `kind`, as an InputError raised inside does."""
        try:
            yield lambda error: self.add(kind, error)
        except InputError as error:
            self.add(kind, error)

    def __str__(self):
        lines = []
        for kind, messages in self._messages.items():
            lines += ['%s: %d' % (kind, len(messages))] + ['  ' + message for message in list(messages)[:MAX_SHOWN]]
            lines += ['  … and %d more' % (len(messages) - MAX_SHOWN)] if len(messages) > MAX_SHOWN else []
        return '\n'.join(lines)


def check(config, sample=SAMPLE):
    """(Defects, lines of summary) of the data that `config` names.

    Features are read for `sample` videos of each folder or HDF5 file; None: for all videos.
    """
    data, defects, summary, videos = config.data, Defects(), [], {}
    names = {side: _check_class_names(side, config, defects) for side in ('source', 'target')}
    for side in names:
        with defects.of('annotation'):
            _check_duplicates(data.path(side + '_annotation'), defects)
    for side, subset in (('source', 'training'), ('target', 'training'), ('target', 'validation')):
        classes = getattr(config.model, side + '_classes') or len(names[side])
        videos[side, subset] = _list_table_defects(side, subset, classes, data, defects, summary)
    validation = [video.name for video in videos['target', 'validation']]
    _check_ground_truth(data, validation, names['target'], defects, summary)
    for field, side, subset, by_clip in (
            ('source_features', 'source', 'training', False), ('source_clips', 'source', 'training', True),
            ('target_clips', 'target', 'training', True), ('target_features', 'target', 'validation', False)):
        with defects.of('features'):
            _list_feature_defects(field, videos[side, subset], by_clip, config, sample, defects, summary)
    return defects, summary


def _check_class_names(side, config, defects):
    """Usable class names of one side. Those of the source may be missing where their number is given."""
    path, setting, names = config.data.path(side + '_categories'), side + '_classes', []
    expected = getattr(config.model, setting)
    if side == 'source' and not os.path.exists(path):
        if not expected:
            defects.add('class names', '%s: not found; write the class names, one per line, or give '
                        '--source_classes N' % path)
        return names
    with defects.of('class names') as on_error:
        names = read_class_names(path, on_error)
        if expected and expected != len(names):
            defects.add('class names', '%s: found %d class names, expected %d (--%s)' % (
                path, len(names), expected, setting))
    return names


def _list_table_defects(side, subset, classes, data, defects, summary):
    """Usable videos of one side and subset."""
    info, labels, annotation = [data.path(side + end) for end in ('_info', '_labels', '_annotation')]
    names, label_of, videos, unusable = [], {}, [], collections.Counter()
    with defects.of('info table') as on_error:
        names = read_info(info, subset, on_error)
    with defects.of('label table') as on_error:
        label_of = read_labels(labels, classes, on_error)
        for name in names:
            if name not in label_of and subset == 'training':
                defects.add('videos without a label', '%s: no row of video %s, which is in %s' % (labels, name, info))
    with defects.of('annotation') as on_error:
        videos = read_videos(names, annotation, label_of, data.clip_frames, unusable, on_error)
    reasons = ', '.join('%d %s' % (count, why) for why, count in sorted(unusable.items()) if count)
    summary.append('%s %s: %d videos, %d segments; unusable segments: %s' % (
        side, subset, len(videos), sum(len(video.segments) for video in videos), reasons or 'none'))
    return videos


def _check_duplicates(path, defects):
    """Report keys that an object of the JSON file has twice: the later value would count, without a message."""
    def pairs(found):
        entry = dict(found)
        if len(entry) < len(found):
            for key, count in collections.Counter(key for key, _ in found).items():
                if count > 1:
                    defects.add('repeated keys', '%s: found key %s %d times in one object, expected it once; remove '
                                'the others' % (path, key, count))
        return entry

    read_entries(path, pairs)


def _check_ground_truth(data, validation, class_names, defects, summary):
    path = data.path('ground_truth')
    if not os.path.exists(path):
        summary.append('ground truth: not found at %s; results cannot be evaluated' % path)
        return
    with defects.of('ground truth') as on_error:
        _check_duplicates(path, defects)
        if [on_error(error) for error in ground_truth_faults(path)]:
            return
        database = read_json(path)['database']
        annotated = {video: entry for video, entry in database.items() if entry['subset'] == 'validation'}
        known, names = set(validation), set(class_names)
        for video, entry in annotated.items():
            if video not in known:
                defects.add('ground truth', '%s: video %s is no validation video of %s, so its segments count as '
                            'missed' % (path, video, data.path('target_info')))
            for label in sorted({found['label'] for found in entry['annotations']} - names):
                defects.add('ground truth', '%s: video %s has label %s, expected a line of %s' % (
                    path, video, label, data.path('target_categories')))
        summary.append('ground truth: %d segments of %d videos' % (
            sum(len(entry['annotations']) for entry in annotated.values()), len(annotated)))


def _list_feature_defects(field, videos, by_clip, config, sample, defects, summary):
    """Check that all videos have features, and read those of a sample that is spread evenly over them."""
    store = FeatureStore(config.data.path(field), config.model.feature_width)
    if not store.exists():
        raise InputError('%s: not found; give the folder or HDF5 file with --%s' % (store.path, field))
    missing = set(store.missing([video.name for video in videos]))
    for video in videos:
        if video.name in missing:
            defects.add('missing features', store.missing_error(video.name))
    found = [video for video in videos if video.name not in missing]
    step = max(1, len(found) // sample) if sample else 1
    chosen = found[::step][:sample]

    def read_error(video):
        try:
            store.read(video.name, video.clips if by_clip else None)
        except InputError as error:
            return error

    with ThreadPool(config.data.workers or os.cpu_count()) as pool:
        for error in tqdm(pool.imap(read_error, chosen, chunksize=4), total=len(chosen), desc=field, unit='video'):
            if error:
                defects.add('features', error)
    summary.append('%s: %d of %d videos found, %d read' % (field, len(found), len(videos), len(chosen)))
