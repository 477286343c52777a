"""List every defect of the data that training and testing read.

Tables and the references between them are checked completely. Features are read for a sample of the videos, or for
all of them (--full). Flags that name data are the same as those of training and testing. What may be right, but
looks wrong, is listed under "warnings".
"""
import collections
import contextlib
import os
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import config as settings
from dataset import data_root
from dataset.features import has_line_end
from dataset.samples import dropped_lines, listed, training_report, why_no_sample
from dataset.side import annotation_rules, coverage_warnings, feature_store, with_own_labels
from dataset.tables import read_class_names, read_entries, read_info, read_label_rows, read_videos
from preparation.check_ground_truth import check_ground_truth, compare_label
from runtime.errors import InputError, counted, printable
from runtime.files import repeated_keys
from runtime.machine import usable_cores
from runtime.progress import track

NAME = 'check'
# Kinds of defects that --bad_data does not skip
MISSING, DATA_ROOT, NO_SAMPLES = 'missing features', 'data root', 'no samples'
FIELDS = {('source', 'training'): ('source_features', 'source_clips'), ('target', 'training'): ('target_clips',),
          ('target', 'validation'): ('target_features',)}  # side and subset → where its features are
TABLES = ('info', 'annotation', 'labels', 'categories')  # of a side
MAX_SHOWN = 10  # messages of a kind that are listed; the others are counted
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
    for line in found.summary:
        print(printable(line))
    for heading, messages in (('warnings', found.warnings), ('defects', found.defects)):
        if messages.counts:
            print('%s\n%s' % (heading, messages))
    counts = found.defects.counts
    if counts:
        raise InputError('%s: found %s of %s, listed above; correct them%s' % (
            config.data.data_root, counted(sum(counts.values()), 'defect'), counted(len(counts), 'kind'),
            _remedies(counts, config.data.missing == 'drop')))
    print('no defects found')


def _remedies(counts, drops):
    """A text: the flags that train and test in spite of defects, if any do.

    counts: {kind: number}; drops: whether --missing drop is given already.
    """
    flags = ['--missing drop, which leaves out videos without features'] if MISSING in counts and not drops else []
    if set(counts).difference({MISSING, DATA_ROOT, NO_SAMPLES}):
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


class Subset(NamedTuple):
    """The videos of one side and subset, and which of them have features."""

    side: str
    subset: str
    videos: list                    # of dataset.tables.Video
    unusable: collections.Counter   # reason → number of segments that were left out when the tables were read
    surveys: dict                   # field of DataConfig → dataset.features.Survey

    @property
    def missing(self):
        """Names of the videos that lack features in a folder or HDF5 file."""
        missing = {name for survey in self.surveys.values() for name in survey.missing}
        return [video.name for video in self.videos if video.features in missing]

    def dropped(self, data):
        """Names of the videos that are left out with --missing drop, which stops where none would be left."""
        missing = self.missing if data.missing == 'drop' else []
        return missing if len(missing) < len(self.videos) else []


def check(config, sample=SAMPLE):
    """Findings about the data that `config` names.

    Features are read for `sample` videos of each folder or HDF5 file; None: for all videos.
    """
    data, found, entries, subsets = config.data, Findings(Messages(), Messages(), []), {}, []
    nothing = _why_nothing(data)
    if nothing:
        found.defects.add(DATA_ROOT, nothing)
        return found
    testing_alone = _is_for_testing(data, found)
    sides = ['target'] if testing_alone else _sides(data, found)
    names = {side: _check_class_names(side, config, found) for side in sides
             if not testing_alone or os.path.lexists(data.path(side + '_categories'))}  # the snapshot has them, too
    for side in sides:
        with found.defects.of('annotation'):
            entries[side] = _check_duplicates(data.path(side + '_annotation'), found)
    tested = 'target' in sides and _has_validation(data, found)
    trained = [] if testing_alone else [(side, 'training') for side in sides]
    for side, subset in trained + [('target', 'validation')] * tested:
        known = names.get(side, [])
        subsets.append(_check_tables(side, subset, config, known, found))
        _check_samples(subsets[-1], config, known, found)
        if not found.defects.counts.get('class names'):  # otherwise a line number is not the class index
            _check_segment_labels(subsets[-1], entries.get(side), known, data, found)
    if tested:
        with found.defects.of('ground truth'):
            if os.path.lexists(data.path('ground_truth')):
                _check_duplicates(data.path('ground_truth'), found)
            check_ground_truth(data, subsets[-1].videos, names.get('target', []), found)
    for part in subsets:
        for field in part.surveys:
            with found.defects.of('features'):
                _check_features(field, part, config, sample, found)
    return found


def _why_nothing(data):
    """Why there is nothing to check, and what to do; '' where there is a data.json or a table."""
    root, paths = data.data_root, [data.path('%s_%s' % (side, table)) for side in ('source', 'target')
                                   for table in TABLES]
    if any(map(os.path.lexists, [os.path.join(root, data_root.NAME)] + paths)):
        return ''
    what = 'no such folder' if not os.path.lexists(root) else (
        'a folder without tables' if os.path.isdir(root) else 'no folder')
    return ('%s: found %s, expected one with tables such as %s; give your folder with --data_root, or make one: '
            'python3 prepare_data.py import --side source --annotation FILE --features FOLDER --data_root %s …' % (
                root, what, data.source_info, root))


def _is_for_testing(data, found):
    """Whether the data root has videos to be searched alone, which is said."""
    with found.defects.of(DATA_ROOT):
        if data_root.is_for_testing(data.data_root):
            found.summary.append('for testing alone: %s has neither a source side nor target moments' % os.path.join(
                data.data_root, data_root.NAME))
            return True
    return False


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
    """The Subset of one side: its usable videos, and what there is of their features."""
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
    return Subset(side, subset, videos, unusable, _surveys(FIELDS[side, subset], videos, config, found))


def _surveys(fields, videos, config, found):
    """{field: dataset.features.Survey} of the folders and HDF5 files that can be listed; the others are defects."""
    surveys = {}
    for field in fields:
        with found.defects.of('features'), feature_store(config, field) as store:
            if not store.exists():
                raise InputError('%s: not found; give the folder or HDF5 file with --%s' % (store.path, field))
            surveys[field] = store.survey([video.features for video in videos])
    return surveys


def _check_samples(part, config, class_names, found):
    """Check what training and testing take of the videos of a Subset; with --missing drop, of those with features."""
    data, annotation, dropped = config.data, config.data.path(part.side + '_annotation'), part.dropped(config.data)
    left_out, is_covered = set(dropped), False
    videos = [video for video in part.videos if video.name not in left_out]
    if not videos:
        return
    with found.defects.of('row times'):
        for warning in coverage_warnings(data, part.side, videos):
            found.warnings.add('row times', warning)
        is_covered = True
    found.summary.extend(dropped_lines(dropped, part.videos, '%s %s' % (part.side, part.subset)))
    report = training_report(config, part.side, part.subset, videos, part.unusable, class_names, part.missing)
    found.summary.extend(report.lines)
    for warning in report.warnings:
        found.warnings.add('samples', warning)
    if part.subset == 'training':
        for video in videos:
            if not len(video.segments):
                found.warnings.add('training videos without a segment', '%s: video %s has no usable segment and '
                                   'gives no sample; check that its segments are under the key annotations' % (
                                       annotation, video.name))
        why = why_no_sample(config, part.side, videos)
        if why and is_covered:  # otherwise the lengths of segments in rows are wrong
            found.defects.add(NO_SAMPLES, '%s: %s' % (annotation, why))


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


def _check_segment_labels(part, entries, class_names, data, found):
    """Check that the labels of a Subset's segments are class names that the label table does not contradict.

    With --labels segment there may be no label table; each video then has the label of its first segment.
    """
    annotation, table = data.path(part.side + '_annotation'), data.path(part.side + '_labels')
    count = collections.Counter()  # label → videos
    for video in part.videos:
        labels = [segment.get('label') for segment in entries[video.name].get('annotations', [])]
        labels = sorted({label for label in labels if isinstance(label, str)})
        count.update(labels)
        if len(labels) > 1 and part.subset == 'training' and data.labels == 'video':
            found.warnings.add('videos with segments of several classes', '%s: video %s has segments of %s; training '
                               'gives all of them the one class of %s; --labels segment gives each its own' % (
                                   annotation, video.name, listed(labels), table))
        compare_label(video, labels, class_names, table, annotation, found)
    unknown = set(count).difference(class_names)
    for label in sorted(unknown) if len(unknown) < len(count) else ():  # otherwise they are names of another kind
        found.warnings.add('labels without a class name', '%s: found the label %s of %s, which is no line of '
                           '%s; correct one of the two' % (
                               annotation, listed([label]), counted(count[label], 'video'),
                               data.path(part.side + '_categories')))


# Features

def _check_features(field, part, config, sample, found):
    """Check that all videos of a Subset have features, and read those of a sample that is spread evenly over them."""
    suspects, survey = [], part.surveys[field]
    by_clip = field.endswith('_clips') or bool(config.data.window_seconds)
    store = feature_store(config, field, lambda *suspect: suspects.append(suspect))
    listed_under = found.warnings if part.dropped(config.data) else found.defects
    for name in survey.missing:
        listed_under.add(MISSING, store.missing_error(name))
    for warning in survey.warnings:
        found.warnings.add('newer files', warning)
    missing = set(survey.missing)
    there = [video for video in part.videos if video.features not in missing]
    step = max(1, len(there) // sample) if sample else 1
    chosen = there[::step][:sample]

    def read(video):
        """Rows of the features, or the InputError."""
        try:
            return len(store.read(video.features, video.clips if by_clip else None))
        except InputError as error:
            return error

    with ThreadPool(config.data.workers or usable_cores()) as pool:
        results = list(track(pool.imap(read, chosen, chunksize=4), 'video', field, len(chosen)))
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
