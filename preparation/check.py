"""List every defect of the data that training and testing read.

Tables and the references between them are checked completely. Features are read for a sample of the videos, or for
all of them (--full). Flags that name data are the same as those of training and testing. What may be right, but
looks wrong, is listed under "warnings".
"""
import collections
import contextlib
import difflib
import os
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

from tqdm import tqdm

import config as settings
from dataset import data_root
from dataset.features import has_line_end
from dataset.samples import training_report
from dataset.side import annotation_rules, coverage_warnings, feature_store, with_own_labels
from dataset.tables import SUBSETS, read_class_names, read_entries, read_info, read_label_rows, read_videos
from evaluation.results import ground_truth_faults
from runtime.errors import InputError, counted, printable
from runtime.files import read_json, repeated_keys
from runtime.machine import usable_cores

NAME = 'check'
MISSING, DATA_ROOT = 'missing features', 'data root'  # kinds of defects that --bad_data does not skip
MAX_SHOWN = 10  # messages of a kind that are listed; the others are counted
OUTSIDE_SECONDS = 1  # by which a segment of the ground truth may end after its video, whose duration is often rounded
SAMPLE = 100    # videos of each folder or HDF5 file whose features are read by default


def add_arguments(parser):
    """Add the flags of this subcommand."""
    settings.add_flags(parser, settings.CHECK)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument('--sample', type=int, metavar='INT', help='videos of each folder or HDF5 file whose features '
                        'are read (default: %d)' % SAMPLE)
    amount.add_argument('--full', action='store_true', help='read the features of all videos')


def run(args):
    """Print a summary, every warning and every defect; raises InputError where there is a defect."""
    if args.sample is not None and args.sample < 1:
        raise InputError('--sample %d: expected at least 1' % args.sample)
    config = settings.from_arguments(args, settings.CHECK)
    found = check(config, None if args.full else args.sample or SAMPLE)
    print('\n'.join(map(printable, found.summary)))
    for heading, messages in (('warnings', found.warnings), ('defects', found.defects)):
        if messages.counts:
            print('%s\n%s' % (heading, messages))
    counts = found.defects.counts
    if counts:
        raise InputError('%s: found %s of %s, listed above; correct them%s' % (
            config.data.data_root, counted(sum(counts.values()), 'defect'), counted(len(counts), 'kind'),
            _remedies(counts)))
    print('no defects found')


def _remedies(counts):
    """A text: the flags that train and test in spite of defects, if any do; `counts`: {kind: number}."""
    flags = ['--missing drop, which leaves out videos without features'] if MISSING in counts else []
    if set(counts).difference({MISSING, DATA_ROOT}):
        flags.append('--bad_data skip, which leaves out as many videos as --max_bad_share and --max_bad_videos allow')
    return ', or train and test with ' + ', and '.join(flags) if flags else ''


class Messages:
    """Messages by kind, each message once: a table that two subsets share is read twice."""

    def __init__(self):
        self._messages = collections.defaultdict(collections.OrderedDict)  # kind → {message: None}

    @property
    def counts(self):
        """{kind: number of messages}."""
        return {kind: len(messages) for kind, messages in self._messages.items()}

    def add(self, kind, message):
        """Add a message of `kind`: an InputError or a text."""
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


class Findings(NamedTuple):
    """What a check has found."""

    defects: Messages   # what stops training or testing, or is certainly wrong
    warnings: Messages  # what may be right
    summary: list       # lines


def check(config, sample=SAMPLE):
    """Findings about the data that `config` names.

    Features are read for `sample` videos of each folder or HDF5 file; None: for all videos.
    """
    data, found, entries, videos = config.data, Findings(Messages(), Messages(), []), {}, {}
    sides = _sides(data, found)
    names = {side: _check_class_names(side, config, found) for side in sides}
    for side in names:
        with found.defects.of('annotation'):
            entries[side] = _check_duplicates(data.path(side + '_annotation'), found)
    tested = 'target' in sides and _has_validation(data, found)
    for side, subset in [(side, 'training') for side in sides] + [('target', 'validation')] * tested:
        videos[side, subset] = _check_tables(side, subset, config, names[side], found)
        if not found.defects.counts.get('class names'):  # otherwise a line number is not the class index
            _check_segment_labels(side, subset, videos[side, subset], entries.get(side), names[side], data, found)
    if tested:
        _check_ground_truth(data, videos['target', 'validation'], names['target'], found)
    windows = bool(data.window_seconds)
    for field, side, subset, by_clip in (
            ('source_features', 'source', 'training', windows), ('source_clips', 'source', 'training', True),
            ('target_clips', 'target', 'training', True),
            ('target_features', 'target', 'validation', windows)):
        if (side, subset) in videos:
            with found.defects.of('features'):
                _check_features(field, videos[side, subset], by_clip, config, sample, found)
    return found


def _sides(data, found):
    """The sides to check: both, but for one that has not been imported yet, which is a defect."""
    sides = []
    for side in ('source', 'target'):
        name = side + '_info'
        with found.defects.of(DATA_ROOT) as on_error:
            advice = '' if os.path.lexists(data.path(name)) else data_root.why_missing(data.data_root, [name])
            if advice:
                on_error(advice)
            else:
                sides.append(side)
    return sides


def _has_validation(data, found):
    """Whether there are videos to test; a data root that was imported for training alone names no target_features."""
    path = os.path.join(data.data_root, data_root.NAME)
    with found.defects.of(DATA_ROOT):
        imported = data_root.read(data.data_root)['settings']
        if imported and 'target_features' not in imported and data.target_features == settings.DataConfig(
                ).target_features:
            found.summary.append('target validation: none, as %s names no target_features; testing needs videos of '
                                 'subset validation, or of that of --subset' % path)
            return False
    return True


# Tables

def _check_class_names(side, config, found):
    """Usable class names of one side. Those of the source may be missing where their number is given."""
    path, setting, names = config.data.path(side + '_categories'), side + '_classes', []
    expected = getattr(config.model, setting)
    if side == 'source' and not os.path.lexists(path):
        if not expected:
            found.defects.add('class names', '%s: not found; write the class names, one per line, or give '
                              '--source_classes N' % path)
        return names
    with found.defects.of('class names') as on_error:
        names = read_class_names(path, on_error)
        if expected and expected != len(names):
            found.defects.add('class names', '%s: found %d class names, expected %d (--%s)' % (
                path, len(names), expected, setting))
    return names


def _check_tables(side, subset, config, class_names, found):
    """Usable videos of one side and subset."""
    data, by_segment = config.data, config.data.labels == 'segment'
    info, labels, annotation = [data.path(side + end) for end in ('_info', '_labels', '_annotation')]
    names, label_of, videos, unusable = [], {}, [], collections.Counter()
    classes = getattr(config.model, side + '_classes') or len(class_names)
    with found.defects.of('info table') as on_error:
        names = read_info(info, subset, on_error)
    with found.defects.of('label table') as on_error:
        if os.path.lexists(labels) or not by_segment:
            label_of = _check_label_table(labels, classes, on_error)
        for name in names:
            if name not in label_of and subset == 'training' and not by_segment:
                found.defects.add('videos without a label', '%s: no row of video %s, which is in %s' % (
                    labels, name, info))
    with found.defects.of('annotation') as on_error:
        rules = annotation_rules(data, side, class_names if by_segment else None)
        videos = with_own_labels(read_videos(names, annotation, label_of, rules, unusable, on_error), data, unusable)
    with found.defects.of('row times'):
        for warning in coverage_warnings(data, side, videos):
            found.warnings.add('row times', warning)
    for video in videos:
        if subset == 'training' and not len(video.segments):
            found.warnings.add('training videos without a segment', '%s: video %s has no usable segment and gives no '
                               'sample; check that its segments are under the key annotations' % (
                                   annotation, video.name))
    if videos:
        report = training_report(config, side, subset, videos, unusable, class_names)
        found.summary.extend(report.lines)
        for warning in report.warnings:
            found.warnings.add('samples', warning)
    return videos


def _check_label_table(path, classes, on_error):
    """{video: class index} of a label table. Rows that give a video another class than its first one are errors."""
    first = {}
    for row, video, label in read_label_rows(path, classes, on_error):
        first_row, first_label = first.setdefault(video, (row, label))
        if label != first_label:
            on_error(InputError('%s, row %d: found class %d of video %s, which has class %d in row %d; remove one of '
                                'the two' % (path, row, label, video, first_label, first_row)))
    return {video: label for video, (_, label) in first.items()}


def _check_duplicates(path, found):
    """The entries of a JSON file, whose objects must not have a key twice: the later value would count, unnoticed."""
    def pairs(items):
        entry = dict(items)
        if len(entry) < len(items):
            for key, count in repeated_keys(items).items():
                found.defects.add('repeated keys', '%s: found key %s %d times in one object, expected it once; '
                                  'remove the others' % (path, key, count))
        return entry

    return read_entries(path, pairs)


def _check_segment_labels(side, subset, videos, entries, class_names, data, found):
    """Check that the labels of segments are class names, and, where videos have the labels, those of their videos."""
    annotation, table = data.path(side + '_annotation'), data.path(side + '_labels')
    count = collections.Counter()  # label → videos
    for video in videos:
        labels = [segment.get('label') for segment in entries[video.name].get('annotations', [])]
        labels = sorted({label for label in labels if isinstance(label, str)})
        count.update(labels)
        if data.labels == 'segment':
            continue
        if len(labels) > 1 and subset == 'training':
            found.warnings.add('videos with segments of several classes', '%s: video %s has segments of %s; training '
                               'gives all of them the one class of %s; --labels segment gives each its own' % (
                                   annotation, video.name, ', '.join(labels), table))
        _compare_label(video, labels, class_names, table, annotation, found)
    unknown = set(count).difference(class_names)
    for label in sorted(unknown) if len(unknown) < len(count) else ():  # otherwise they are names of another kind
        found.warnings.add('labels without a class name', '%s: found the label %s of %s, which is no line of '
                           '%s; correct one of the two' % (
                               annotation, label, counted(count[label], 'video'), data.path(side + '_categories')))


def _compare_label(video, labels, class_names, table, path, found):
    """Add a defect where the segments of a Video have class names as labels, but not that of its class index."""
    if 0 <= video.label < len(class_names) and class_names[video.label] not in labels and (
            set(labels).intersection(class_names)):
        found.defects.add('labels that differ', '%s: video %s has class %d, %s, but its segments in %s have the '
                          'label %s; correct one of the two' % (table, video.name, video.label, class_names[
                              video.label], path, ', '.join(labels)))


def _check_ground_truth(data, videos, class_names, found):
    """Check the ground truth, and compare it with the other tables; `videos`: the validation videos."""
    path = data.path('ground_truth')
    if not os.path.lexists(path):
        found.summary.append('ground truth: not found at %s; results cannot be evaluated' % path)
        return
    with found.defects.of('ground truth') as on_error:
        _check_duplicates(path, found)
        if [on_error(error) for error in ground_truth_faults(path)]:
            return
        database = read_json(path)['database']
        annotated = {video: entry for video, entry in database.items() if entry['subset'] == 'validation'}
        _check_truth_subsets(path, database, annotated, found)
        known, names = {video.name for video in videos}, set(class_names)
        for video, entry in annotated.items():
            if video not in known:
                on_error('%s: video %s is no validation video of %s, so its segments count as missed' % (
                    path, video, data.path('target_info')))
            for label in sorted({segment['label'] for segment in entry['annotations']} - names):
                on_error('%s: video %s has label %s, expected a line of %s' % (
                    path, video, label, data.path('target_categories')))
            for start, end in [segment['segment'] for segment in entry['annotations']]:
                if not start < end:
                    on_error('%s: video %s has a segment from %s to %s, expected start < end in seconds; correct or '
                             'remove it' % (path, video, start, end))
        _check_truth_videos(path, annotated, videos, class_names, data, found)
        found.summary.append('ground truth: %s of %s' % (
            counted(sum(len(entry['annotations']) for entry in annotated.values()), 'segment'),
            counted(len(annotated), 'video')))


def _check_truth_subsets(path, database, annotated, found):
    """Check that there are segments to evaluate on, and that no subset is nearly one that is known."""
    subsets = sorted({entry['subset'] for entry in database.values()})
    if not any(entry['annotations'] for entry in annotated.values()):
        found.defects.add('ground truth', '%s: found no segment of subset validation (subsets: %s), so that results '
                          'cannot be evaluated; correct the subset, or evaluate with --subset' % (
                              path, ', '.join(subsets) or 'none'))
    for subset in sorted(set(subsets).difference(SUBSETS)):
        similar = difflib.get_close_matches(subset.strip().lower(), SUBSETS, 1, 0.8)
        if similar:
            found.warnings.add('unusual subsets', '%s: found the subset %r, whose videos are ignored; write %s if it '
                               'is meant' % (path, subset, similar[0]))


def _check_truth_videos(path, annotated, videos, class_names, data, found):
    """Compare the ground truth with each validation video: its class, its duration, and whether it is there."""
    for video in videos if annotated else ():
        if video.name not in annotated:
            found.warnings.add('validation videos without ground truth', '%s: has no video %s of subset validation, '
                               'which is in %s; its results are ignored, or count as wrong' % (
                                   path, video.name, data.path('target_info')))
            continue
        segments = annotated[video.name]['annotations']
        if not found.defects.counts.get('class names'):
            labels = sorted({segment['label'] for segment in segments})
            _compare_label(video, labels, class_names, data.path('target_labels'), path, found)
        for start, end in [segment['segment'] for segment in segments]:
            if start < 0 or start >= video.seconds or end > video.seconds + OUTSIDE_SECONDS:
                found.warnings.add('ground truth outside its video', '%s: video %s has a segment from %s to %s, but '
                                   'lasts from 0 to %s seconds; correct one of the two' % (
                                       path, video.name, start, end, video.seconds))


# Features

def _check_features(field, videos, by_clip, config, sample, found):
    """Check that all videos have features, and read those of a sample that is spread evenly over them."""
    suspects = []
    store = feature_store(config, field, lambda *suspect: suspects.append(suspect))
    if not store.exists():
        raise InputError('%s: not found; give the folder or HDF5 file with --%s' % (store.path, field))
    survey = store.survey([video.features for video in videos])
    drops = config.data.missing == 'drop' and len(survey.missing) < len(videos)
    for name in survey.missing:
        (found.warnings if drops else found.defects).add(MISSING, store.missing_error(name))
    for warning in survey.warnings:
        found.warnings.add('newer files', warning)
    missing = set(survey.missing)
    there = [video for video in videos if video.features not in missing]
    step = max(1, len(there) // sample) if sample else 1
    chosen = there[::step][:sample]

    def read(video):
        """Rows of the features, or the InputError."""
        try:
            return len(store.read(video.features, video.clips if by_clip else None))
        except InputError as error:
            return error

    with ThreadPool(config.data.workers or usable_cores()) as pool:
        results = list(tqdm(pool.imap(read, chosen, chunksize=4), total=len(chosen), desc=field, unit='video'))
    rows_of = {}
    for video, result in zip(chosen, results):
        if isinstance(result, InputError):
            found.defects.add('features', result)
        else:
            rows_of[video.features] = result
    for kind, text in sorted(suspects):  # in an order that does not depend on the threads
        found.warnings.add(kind, text)
    _check_line_ends(store, rows_of, found)
    if not by_clip:
        _check_rows(field, rows_of, found)
    found.summary.append('%s: %s; %d read' % (field, survey.text, len(chosen)))


def _check_line_ends(store, names, found):
    for path in map(store.stored_in, names):
        if path.endswith('.csv') and not has_line_end(path):
            found.warnings.add('no line end', '%s: found no line end at the end, expected one, as the file may be '
                               'cut short; extract the features again' % path)


def _check_rows(field, rows_of, found):
    """Warn where at least half of the whole videos have one number of rows: the others may be cut short."""
    count_of = collections.Counter(rows_of.values())
    usual = max(count_of, key=lambda rows: (count_of[rows], rows), default=0)
    others = ['%s has %d' % (name, rows) for name, rows in rows_of.items() if rows != usual]
    if others and count_of[usual] >= max(2, len(others)):
        found.warnings.add('numbers of rows', '%s: %d of %d videos have %d rows; %s%s; extract these again if they '
                           'were cut short' % (field, count_of[usual], len(rows_of), usual, '; '.join(
                               others[:MAX_SHOWN]), '; …' if len(others) > MAX_SHOWN else ''))
