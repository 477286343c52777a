"""Make a transfer from one annotated data set: some of its classes become source classes, others target classes.

    python3 prepare_data.py split --data_root data --out data/split --source_count 87 --seed 0
    python3 prepare_data.py split --data_root data/x --out data/x_split --source_list seen.txt --target_list new.txt
    python3 prepare_data.py split --data_root data/x --out data/x_splits --splits lists/75_25

The segments are split, not the videos: a video with segments of source classes and of target classes is on both
sides, with the segments of that side. In training videos, segments of source classes are annotated examples, and each
segment of a target class is a moment. In validation videos, the segments of target classes are the ground truth.
Segments without length are skipped: they can neither be learnt nor found.

Of the data set, the source tables are read. The new data root has tables of its own, and a data.json that names the
features of the data set, which are not copied. It is made beside --out and renamed when it is complete, so that
neither an error nor a killed run leaves a mixture of two splits.
"""
import collections
import contextlib
import os
import re
import shutil
from typing import NamedTuple

import numpy as np
import pandas as pd

from config import PRESETS, DataConfig, of_data_root
from dataset import data_root
from dataset.features import FeatureStore
from dataset.side import annotation_rules
from dataset.tables import Segment, read_entries, read_info, videos_of
from preparation.annotation import ground_truth_text
from preparation.class_lists import drawn_classes, listed_classes, lists_in
from preparation.import_tables import GROUND_TRUTH, MOMENT_SECONDS, limit_in_rows
from preparation.import_tables import TABLES as TABLES_OF_SIDE
from runtime.errors import InputError, counted, printable
from runtime.files import file_lock, make_folder, write_errors, write_json, write_text

NAME = 'split'
RECORD = 'split.json'  # beside the tables: what the split was made of
PATHS = ('source_info', 'source_annotation', 'source_features', 'source_clips')  # fields of the data set
FEATURES = {  # field of the split → of the data set
    'source_features': 'source_features', 'source_clips': 'source_clips',
    'target_features': 'source_features', 'target_clips': 'source_clips'}
TABLES = collections.OrderedDict(  # field of the split → file name, as import writes them
    [('%s_%s' % (side, end), name % side) for side in ('source', 'target') for end, name in TABLES_OF_SIDE.items()]
    + [('ground_truth', GROUND_TRUTH)])
OWN_FILES = set(TABLES.values()) | {RECORD, data_root.NAME}
PARTS = collections.OrderedDict([  # name of a part of a split: the side of its classes, and its subset
    ('source training', ('source', 'training')), ('target training: moments', ('target', 'training')),
    ('target validation', ('target', 'validation')), ('unused: source validation', ('source', 'validation')),
    ('unused: classes of neither', None)])
USED = tuple(PARTS)[:3]
CHOICES = ('source_list', 'target_list', 'source_share', 'source_count', 'seed')
OF_A_SIDE = ('layout', 'key', 'row_seconds', 'first_row_second')  # settings that both sides have from the data set
OF_A_RECORD = data_root.OF_ROWS + ('window_seconds',)  # of data.json that stay true of a split


class Annotated(NamedTuple):
    """One video of the data set, or what a part of a split has of it."""

    name: str
    subset: str     # 'training' or 'validation'
    entry: dict     # of the annotation JSON: durations, and annotations: [{segment: [start_s, end_s], label}]


class Made(NamedTuple):
    """A split as it is written."""

    parts: dict     # {name of a part: [Annotated]}
    source: list    # class names; the place of a name is its class index
    target: list
    record: dict    # what the split was made of

    def counts(self):
        """{name of a part: {'videos': n, 'segments': n}}; a video may be in several parts."""
        return collections.OrderedDict((name, {
            'videos': len(videos), 'segments': sum(len(video.entry['annotations']) for video in videos)})
            for name, videos in self.parts.items())


# The subcommand

def add_arguments(parser):
    """Add the flags of this subcommand."""
    texts = {setting.name: setting.help for setting in DataConfig.settings}
    parser.add_argument('--data_root', default='data', help='folder of the data set (default: %(default)s)')
    parser.add_argument('--out', default=PRESETS['split'].data.data_root,
                        help='data root to make; with --splits, the folder of one for each split '
                             '(default: %(default)s)')
    for name in PATHS:
        parser.add_argument('--' + name, help='%s (default: what the data.json of the data root says, otherwise %s)'
                                              % (texts[name], getattr(DataConfig(), name)))
    parser.add_argument('--source_list', metavar='FILE', help='names of the source classes, one per line; case, '
                        'spaces, underscores and hyphens may differ from the annotation')
    parser.add_argument('--target_list', metavar='FILE', help='names of the target classes, one per line')
    parser.add_argument('--splits', metavar='FOLDER', help='instead of two lists: a folder with the lists '
                        'source_N.txt and target_N.txt of each split N, such as published ones; OUT/N is made of '
                        'them')
    parser.add_argument('--source_share', type=float, metavar='FLOAT',
                        help='instead of lists: share of all classes that become source classes; --seed draws '
                             'them, and the others become target classes')
    parser.add_argument('--source_count', type=int, metavar='INT', help='instead of a share: their number')
    parser.add_argument('--seed', type=int, default=0, help='seed of the draw (default: %(default)s)')


def run(args):
    """Write the data root of each transfer; print what is in it, what was skipped, and features that do not exist.

    Raises InputError where a flag or a table cannot be used, and where --out holds anything but an earlier split.
    """
    given = {name: getattr(args, name) for name in PATHS if getattr(args, name) is not None}
    data = of_data_root(args.data_root).data._replace(**given)
    lists = _list_files(args)
    for out, *files in lists:
        _check_out(out, ['.', args.data_root, args.splits] + files + list(map(data.path, PATHS)))
    videos, skipped = read_data_set(data)
    splits = [(out, _made(args, files, videos, skipped, data)) for out, *files in lists]
    for out, made in splits:
        write(made, data, out)
    print('\n'.join(_table(splits) if args.splits else _lines(*splits[0])))
    for reason, count in sorted(skipped.items()):
        print('  skipped: %s: %d' % (reason, count))
    for path in sorted({data.path(field) for field in FEATURES.values()}):
        if not FeatureStore(path, 0).exists():
            print('warning: %s: found no features of the data set there; the tables are complete, and training finds '
                  'the features when they are there' % printable(path))


def _list_files(args):
    """[(folder to make, path of the source list or None, path of the target list or None)] as the flags say.

    Raises InputError where they do not give exactly one way to choose the classes.
    """
    files = [path for path in (args.source_list, args.target_list) if path is not None]
    if len(files) == 1:
        raise InputError('--source_list and --target_list: found one of the two, expected both')
    ways = (len(files) == 2, args.splits is not None, args.source_share is not None, args.source_count is not None)
    if sum(ways) != 1:
        raise InputError('expected one way to choose the classes: --source_list and --target_list, --splits, '
                         '--source_share, or --source_count')
    if args.splits is None:
        return [(args.out, args.source_list, args.target_list)]
    return [(os.path.join(args.out, name),) + paths for name, paths in lists_in(args.splits).items()]


def _made(args, files, videos, skipped, data):
    """The split, a Made, of the classes in the two `files`, or as the flags draw them where these are None."""
    known = {annotated['label'] for video in videos for annotated in video.entry['annotations']}
    source, target = (_drawn(args, known) if files[0] is None else
                      listed_classes(*files, known=known, annotation=data.path('source_annotation')))
    chosen_by = dict({name: getattr(args, name) for name in CHOICES}, source_list=files[0], target_list=files[1])
    made = Made(split(videos, source, target), source, target, {
        'made_of': {name: data.path(name) for name in PATHS}, 'chosen_by': chosen_by,
        'source_classes': len(source), 'target_classes': len(target), 'left_out': skipped})
    for name in USED:
        if not made.parts[name]:
            raise InputError('%s: found no segment of these classes%s; choose other classes'
                             % (name, '' if files[0] is None else ' (%s, %s)' % tuple(files)))
    made.record['counts'] = made.counts()
    return made


def _drawn(args, known):
    """(source names, target names) as --source_share or --source_count and --seed draw them of `known`."""
    if not 0 <= args.seed < 2 ** 32:
        raise InputError('--seed %d: expected 0 to 4294967295' % args.seed)
    if args.source_share is None:
        return drawn_classes(known, args.source_count, args.seed)
    if not 0 < args.source_share < 1:
        raise InputError('--source_share %s: expected more than 0 and less than 1' % args.source_share)
    return drawn_classes(known, int(args.source_share * len(known) + 0.5), args.seed)


def _lines(out, made):
    """Lines about one split."""
    return ['%s: %s, %s' % (
        printable(out), counted(len(made.source), 'source class'), counted(len(made.target), 'target class'))] + [
        '  %-28s %s, %s' % (name, counted(found['videos'], 'video'), counted(found['segments'], 'segment'))
        for name, found in made.counts().items()]


def _table(splits):
    """Lines of a table: a line for each (folder, Made), with the videos and the segments of each part."""
    rows = [('data root', 'source / target classes') + tuple(PARTS)]
    for out, made in splits:
        rows.append((printable(out), '%d / %d' % (len(made.source), len(made.target))) + tuple(
            '%d (%d)' % (found['videos'], found['segments']) for found in made.counts().values()))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ['videos (segments):'] + ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                                     for row in rows]


# The data set

def read_data_set(data):
    """Read the source tables of a DataConfig; return (list of Annotated, Counter of what was skipped, by reason).

    Training videos come first. Classes are the names in the annotation; the label table is not read. Raises
    InputError where a table cannot be used.
    """
    path, videos, skipped = data.path('source_annotation'), [], collections.Counter()
    entries = read_entries(path)
    names_of = {subset: _names(data.path('source_info'), subset) for subset in ('training', 'validation')}
    # only to check the entries: it raises InputError where one is faulty
    videos_of(sum(names_of.values(), []), entries, path, {}, annotation_rules(data, 'source'), collections.Counter())
    for subset, names in names_of.items():
        videos += [_annotated(name, subset, entries[name], path, skipped) for name in names]
    skipped['videos without a segment'] = videos.count(None)
    return [video for video in videos if video], +skipped


def _names(path, subset):
    """Names of the videos of a subset in an info table."""
    names = read_info(path, subset)
    for name in names:
        if name != name.strip():
            raise InputError('%s: video %r: found a space at its edge, which a label table cannot hold; rename the '
                             'video' % (path, name))
    return names


def _annotated(name, subset, entry, path, skipped):
    """Annotated of an entry whose numbers are checked; None where it has no segment. Counts in `skipped`."""
    segments = []
    for annotated in entry.get('annotations', []):
        label = annotated.get('label')
        if not isinstance(label, str) or not label.strip() or not label.strip().isprintable():
            raise InputError('%s: video %s: found the label %r, expected a class name' % (path, name, label))
        start, end = map(float, annotated['segment'])
        if start < end:
            segments.append({'segment': [start, end], 'label': label.strip()})
        else:
            skipped['segments without length'] += 1
    return Annotated(name, subset, dict(entry, annotations=segments)) if segments else None


def split(videos, source_names, target_names):
    """{name of a part: [Annotated]} of PARTS: of each video, the segments whose class and subset are of the part."""
    side = dict([(name, 'source') for name in source_names] + [(name, 'target') for name in target_names])
    part_of, parts = {place: name for name, place in PARTS.items()}, collections.OrderedDict(
        (name, []) for name in PARTS)
    for video in videos:
        segments = collections.defaultdict(list)
        for annotated in video.entry['annotations']:
            place = (side[annotated['label']], video.subset) if annotated['label'] in side else None
            segments[part_of[place]].append(annotated)
        for part, found in segments.items():
            parts[part].append(Annotated(video.name, video.subset, dict(video.entry, annotations=found)))
    return parts


# Writing

def write(made, data, out):
    """Write a split, a Made, of the data set `data`, a DataConfig, to the folder `out`.

    An earlier split there is replaced as a whole. Raises InputError where another run writes to `out`, or something
    cannot be written.
    """
    place = os.path.realpath(out)
    with _replaced(place) as folder:
        paths = DataConfig(data_root=folder)._replace(**TABLES)
        _write_tables(made, paths)
        data_root.write(folder, _about(made, data, place))
        write_json(os.path.join(folder, RECORD), made.record)


def _write_tables(made, paths):
    """Write the files TABLES."""
    source, moments, validation = [made.parts[name] for name in USED]
    for side, names, videos in (('source', made.source, source), ('target', made.target, moments + validation)):
        info = pd.DataFrame([(video.name, video.subset) for video in videos], columns=('video', 'subset'))
        write_text(paths.path(side + '_categories'), ''.join(name + '\n' for name in names))
        write_text(paths.path(side + '_info'), info.to_csv(index=False))
        write_text(paths.path(side + '_labels'), ''.join('%s\t%d\t%d\n' % (
            video.name, len(video.entry['annotations']), names.index(video.entry['annotations'][0]['label']))
            for video in videos))
        write_json(paths.path(side + '_annotation'), {video.name: video.entry for video in videos})
    write_text(paths.path('ground_truth'), ground_truth_text([
        Segment(video.name, *annotated['segment'], made.target.index(annotated['label']))
        for video in validation for annotated in video.entry['annotations']], made.target))


def _about(made, data, place):
    """The content of the data.json of a split in the folder `place`: what the data set says of itself, and the split.

    Settings of the data set's target side, if it has one, are not those of the split's.
    """
    content = data_root.read(data.data_root)
    settings = {name: value for name, value in content['settings'].items()
                if not name.startswith(('source_', 'target_')) and name != 'ground_truth'}
    settings.update(TABLES, labels='segment', source_classes=len(made.source), target_classes=len(made.target))
    settings.update((field, _place_of(data, of_data_set, place)) for field, of_data_set in FEATURES.items())
    for name in OF_A_SIDE:
        value = getattr(data, 'source_' + name)
        if value != getattr(DataConfig(), 'source_' + name):
            settings.update({'source_' + name: value, 'target_' + name: value})
    row_seconds = _row_seconds(made.parts['target training: moments'], data)
    if row_seconds:
        settings['moment_clips'] = limit_in_rows(MOMENT_SECONDS, row_seconds)
    record = {name: content['source'][name] for name in OF_A_RECORD if name in content['source']}
    if content['source']:  # the target's windows are not those of the split
        settings.pop('window_seconds', None)
        settings.update((name, value) for name, value in record.items() if name == 'window_seconds' and value)
    record.update(made_of=made.record['made_of'], features=sorted({data.path(field) for field in FEATURES.values()}))
    sides = {side: dict(record, counts={
        name: found for name, found in made.counts().items() if name in USED and name.startswith(side)})
        for side in ('source', 'target')}
    return dict(sides, settings=settings)


def _place_of(data, field, place):
    """Path of the features in `field` of the data set, as seen from the folder `place`.

    It is absolute where the data set names it so. Otherwise it leads from `place` to the data set, so that both can
    be moved together.
    """
    if os.path.isabs(getattr(data, field)):
        return getattr(data, field)
    return os.path.relpath(os.path.join(os.path.realpath(data.data_root), getattr(data, field)), place)


def _row_seconds(videos, data):
    """Median over `videos` of the seconds of a row; 0 where neither their entries nor the settings say it."""
    found = [float(video.entry.get('row_seconds', data.source_row_seconds)) for video in videos]
    return float(np.median(found))


# Replacing an earlier split

def _check_out(out, inputs):
    """Raise InputError where writing to `out` could lose anything but an earlier split.

    `inputs`: what the command reads, and the folder that it runs in; None for flags that are not given.
    """
    place = os.path.realpath(out)
    for path in inputs:
        if path and os.path.commonpath([place, os.path.realpath(path)]) == place:
            raise InputError('--out %s: is or holds %s, which would be lost; name another folder' % (
                out or '""', 'the current folder' if path == '.' else path))
    if os.path.lexists(out) and not os.path.isdir(out):
        raise InputError('--out %s: found a file or a link to nothing, expected a folder; name another folder' % out)
    if os.path.isdir(out) and os.listdir(out) and not os.path.isfile(os.path.join(out, RECORD)):
        raise InputError('--out %s: is not empty and has no %s, so it is no earlier split; name another folder'
                         % (out, RECORD))
    _check_own(place)


def _check_own(folder):
    """Raise InputError where `folder` has a file, folder or link that no split makes; someone may need it."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        finished = re.sub(r'\.partial\d+$', '', name)  # of a file that a killed run did not finish
        if finished not in OWN_FILES or os.path.islink(path) or os.path.isdir(path):
            raise InputError('%s: found what no split makes, in a folder that a new split would replace; move it '
                             'away, or name another folder with --out' % path)


@contextlib.contextmanager
def _replaced(out):
    """A context that gives a new folder to fill, which replaces the split in `out` when the context ends.

    Only two renames replace it, so that a run that is killed leaves a complete split: in `out`, or between the two
    renames in the folder .NAME.old, which the next run renames back. After an error, the earlier split stays.
    Raises InputError where the folders that this needs are not of an earlier split; nothing is changed then.
    """
    new, old, lock = [os.path.join(os.path.dirname(out), '.%s.%s' % (os.path.basename(out), end))
                      for end in ('new', 'old', 'lock')]
    is_first = not os.path.lexists(lock)  # no split was ever made here
    for folder in filter(os.path.lexists, (new, old)):
        if is_first or os.path.islink(folder) or not os.path.isdir(folder):
            raise InputError('%s: found what no split made, where this one needs a folder of its own; move it away, '
                             'or name another folder with --out' % folder)
    with file_lock(lock):
        for folder in (new, old):
            _check_own(folder)
        _tidy(out, new, old)
        try:
            make_folder(new)
            yield new
            with write_errors(out):
                if os.path.isdir(out):
                    os.rename(out, old)
                os.rename(new, out)
        finally:
            _tidy(out, new, old)


def _tidy(out, new, old):
    """Rename the split `old` back where there is none in `out`; otherwise remove it, and what was made of `new`."""
    if os.path.isfile(os.path.join(old, RECORD)) and not os.path.isdir(out):
        os.rename(old, out)
    for folder in (new, old):
        if os.path.isdir(folder):
            _check_own(folder)
            shutil.rmtree(folder)
