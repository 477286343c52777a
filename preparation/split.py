"""Make a transfer from one annotated data set: some of its classes become source classes, others target classes.

    python3 prepare_data.py split --data_root data --out data/split --source_count 87 --seed 0

Training videos of the source classes keep their segments. Training videos of the target classes give the moments:
each of their segments is one. Validation videos of the target classes are tested. The tables have the layout of
docs/data.md; the features are links to those of the data set. The split is made beside --out and renamed when it is
complete, so that neither an error nor a killed run leaves a mixture of two splits.

Segments without length are skipped: they can neither be learnt nor found. A video has one class, that of its first
segment with a length, because the label table has one class for each video. Its segments of other classes are
skipped: no times of a target class get into source training, and no segment is used under the name of another class.
The frames of a skipped segment stay in the features and count as background.
"""
import collections
import contextlib
import difflib
import os
import re
import shutil
from typing import NamedTuple

import numpy as np
import pandas as pd

from config import PRESETS, DataConfig
from dataset.features import FeatureStore
from dataset.tables import Segment, read_class_names, read_entries, read_info, read_videos
from preparation.annotation import ground_truth_text
from runtime.errors import InputError, printable
from runtime.files import file_lock, make_folder, write_errors, write_json, write_text

NAME = 'split'
RECORD = 'split.json'  # beside the tables: what the split was made of
LINKS = {'source_features': 'source_features', 'source_clips': 'source_clips',
         'target_features': 'source_features', 'target_clips': 'source_clips'}  # field of the split → of the data set
PATHS = ('source_info', 'source_annotation', 'source_features', 'source_clips')  # fields of the data set
TABLES = ('source_info', 'source_annotation', 'source_labels', 'source_categories', 'target_info',
          'target_annotation', 'target_labels', 'target_categories', 'ground_truth')  # fields of the split
PARTS = collections.OrderedDict([  # name of a part of a split: the side of its class, and its subset
    ('source training', ('source', 'training')), ('target training: moments', ('target', 'training')),
    ('target validation', ('target', 'validation')), ('unused: source validation', ('source', 'validation')),
    ('unused: classes of neither', None)])
USED = tuple(PARTS)[:3]
READ = {'source_features': USED[0], 'source_clips': USED[0], 'target_clips': USED[1],
        'target_features': USED[2]}  # field of the split → part whose features are read there
CHOICES = ('source_list', 'target_list', 'source_share', 'source_count', 'seed')


class Annotated(NamedTuple):
    """One video of the data set, with the segments of its own class only."""

    name: str
    subset: str     # 'training' or 'validation'
    label: str      # class name of its first segment
    entry: dict     # of the annotation JSON: durations, and annotations: [{segment: [start_s, end_s], label}]


# The subcommand

def add_arguments(parser):
    """Add the flags of this subcommand."""
    texts = {setting.name: setting.help for setting in DataConfig.settings}
    parser.add_argument('--data_root', default='data', help='folder of the data set (default: %(default)s)')
    parser.add_argument('--out', default=PRESETS['split'].data.data_root,
                        help='data root to make (default: %(default)s)')
    for name in PATHS:
        parser.add_argument('--' + name, help='%s (default: %s)' % (texts[name], getattr(DataConfig(), name)))
    parser.add_argument('--source_list', metavar='FILE', help='names of the source classes, one per line')
    parser.add_argument('--target_list', metavar='FILE', help='names of the target classes, one per line')
    parser.add_argument('--source_share', type=float, metavar='FLOAT',
                        help='instead of lists: share of all classes that become source classes; --seed draws '
                             'them, and the others become target classes')
    parser.add_argument('--source_count', type=int, metavar='INT', help='instead of a share: their number')
    parser.add_argument('--seed', type=int, default=0, help='seed of the draw (default: %(default)s)')


def run(args):
    """Write the data root of the transfer; print what is in it, what was skipped, and features that are out of date.

    Raises InputError where a flag or a table cannot be used, and where --out holds anything but an earlier split.
    """
    given = {name: getattr(args, name) for name in PATHS if getattr(args, name) is not None}
    data = DataConfig(data_root=args.data_root)._replace(**given)
    _check_out(args.out, ['.', args.data_root, args.source_list, args.target_list] + list(map(data.path, PATHS)))
    videos, skipped = read_data_set(data)
    source_names, target_names = _choose_classes(args, videos, data.path('source_annotation'))
    parts = split(videos, source_names, target_names)
    counts = {name: {'videos': len(found), 'segments': sum(len(video.entry['annotations']) for video in found)}
              for name, found in parts.items()}
    warnings = _warnings(parts, data)
    missing = write(parts, source_names, target_names, data, args.out, {
        'made_of': {name: data.path(name) for name in PATHS},
        'chosen_by': {name: getattr(args, name) for name in CHOICES},
        'source_classes': len(source_names), 'target_classes': len(target_names),
        'counts': counts, 'left_out': skipped})
    print('%s: %d source classes, %d target classes' % (printable(args.out), len(source_names), len(target_names)))
    for name, found in counts.items():
        print('  %-28s %6d videos, %6d segments' % (name, found['videos'], found['segments']))
    for reason, count in sorted(skipped.items()):
        print('  skipped: %d %s' % (count, reason))
    for warning in warnings:
        print('warning: %s' % warning)
    if missing:
        print('features not found: %s; the tables are complete: run the same command again to link the features'
              % ', '.join(missing))


def _warnings(parts, data):
    """Texts about features that the data set has, but that are not read; through its link, a split sees none of it.

    Raises InputError where a folder or an HDF5 file cannot be listed.
    """
    found = []
    for field, part in READ.items():
        with FeatureStore(data.path(LINKS[field]), 0) as store:
            if store.exists():
                found += ['%s: %s' % (field, text) for text in store.survey(
                    [video.name for video in parts[part]]).warnings]
    return found


def _choose_classes(args, videos, annotation):
    """(source names, target names) as the flags say; raises InputError where they do not give exactly one way."""
    known = {video.label for video in videos}
    files = [path for path in (args.source_list, args.target_list) if path is not None]
    if len(files) == 1:
        raise InputError('--source_list and --target_list: found one of the two, expected both')
    if (len(files) == 2) + (args.source_share is not None) + (args.source_count is not None) != 1:
        raise InputError('expected one way to choose the classes: --source_list and --target_list, --source_share, '
                         'or --source_count')
    if files:
        return listed_classes(*files, known=known, annotation=annotation)
    if not 0 <= args.seed < 2 ** 32:
        raise InputError('--seed %d: expected 0 to 4294967295' % args.seed)
    if args.source_share is None:
        return drawn_classes(known, args.source_count, args.seed)
    if not 0 < args.source_share < 1:
        raise InputError('--source_share %s: expected more than 0 and less than 1' % args.source_share)
    return drawn_classes(known, int(args.source_share * len(known) + 0.5), args.seed)


# The data set

def read_data_set(data):
    """Read the source tables of a DataConfig; return (list of Annotated, Counter of what was skipped, by reason).

    Training videos come first. Classes are the names in the annotation; the label table is not read. Raises
    InputError where a table cannot be used.
    """
    path, videos, skipped = data.path('source_annotation'), [], collections.Counter()
    entries = read_entries(path)
    names_of = {subset: read_info(data.path('source_info'), subset) for subset in ('training', 'validation')}
    # only to check the entries: it raises InputError where one is faulty
    read_videos(sum(names_of.values(), []), path, {}, data.clip_frames, collections.Counter())
    for subset, names in names_of.items():
        videos += [_annotated(name, subset, entries[name], path, skipped) for name in names]
    skipped['videos without a segment'] = videos.count(None)
    return [video for video in videos if video], +skipped


def _annotated(name, subset, entry, path, skipped):
    """Annotated of an entry whose numbers are checked; None where it has no segment. Counts in `skipped`."""
    if [name] != name.split():
        raise InputError('%s: video %s: found a space in its id, which a label table cannot hold; rename the video'
                         % (path, name))
    segments = []
    for annotated in entry.get('annotations', []):
        label = annotated.get('label')
        if not isinstance(label, str) or not label.strip() or not label.strip().isprintable():
            raise InputError('%s: video %s: found the label %r, expected a class name' % (path, name, label))
        start, end = map(float, annotated['segment'])
        if start < end:
            segments.append((label.strip(), [start, end]))
        else:
            skipped['segments without length'] += 1
    if not segments:
        return None
    own = segments[0][0]
    kept = [{'segment': edges, 'label': label} for label, edges in segments if label == own]
    skipped['segments of another class than their video'] += len(segments) - len(kept)
    skipped['videos of two classes or more, cut to that of their first segment'] += len(kept) < len(segments)
    return Annotated(name, subset, own, dict(entry, annotations=kept))


# Choosing the classes

def listed_classes(source_path, target_path, known, annotation):
    """(source names, target names) of two files with one name per line.

    Raises InputError where a name is not in `known`, is in a file twice, or is in both files.
    """
    names = [read_class_names(path) for path in (source_path, target_path)]
    for path, found in zip((source_path, target_path), names):
        for line, name in enumerate(found, start=1):
            if name not in known:
                close = difflib.get_close_matches(name, sorted(known))
                raise InputError('%s, line %d: found %s, which is no class of a video in %s; %s' % (
                    path, line, name, annotation,
                    'similar names: ' + ', '.join(close) if close else 'it has no class with a similar name'))
    for line, name in enumerate(names[1], start=1):
        if name in names[0]:
            raise InputError('%s, line %d: found %s, which is also line %d of %s; remove it from one of them' % (
                target_path, line, name, 1 + names[0].index(name), source_path))
    return names


def drawn_classes(known, count, seed):
    """(source names, target names), both sorted: `count` names of `known`, drawn by the seed, and the others."""
    if not 0 < count < len(known):
        raise InputError('%d source classes: expected 1 to %d, because the annotation has %d classes'
                         % (count, len(known) - 1, len(known)))
    names = sorted(known)
    order = np.random.RandomState(seed).permutation(len(names))
    return [[names[index] for index in sorted(chosen)] for chosen in (order[:count], order[count:])]


def split(videos, source_names, target_names):
    """{name of a part: [Annotated]} of PARTS. Raises InputError where one of the parts that are used is empty."""
    side = dict([(name, 'source') for name in source_names] + [(name, 'target') for name in target_names])
    part_of, parts = {place: name for name, place in PARTS.items()}, {name: [] for name in PARTS}
    for video in videos:
        parts[part_of[(side[video.label], video.subset) if video.label in side else None]].append(video)
    for name in USED:
        if not parts[name]:
            raise InputError('%s: found no video of these classes; choose other classes' % name)
    return parts


# Writing

def write(parts, source_names, target_names, data, out, record):
    """Write the tables and ground truth of a split to the folder `out`, and links to the features of `data`.

    An earlier split there is replaced as a whole. A class index is the place of the class in `source_names` or
    `target_names`. `record`, which is written as JSON, says what the split was made of. Returns the fields whose
    features do not exist. Raises InputError where another run writes to `out`, or something cannot be written.
    """
    with _replaced(os.path.realpath(out)) as folder:
        paths = DataConfig(data_root=folder)
        _write_tables(parts, source_names, target_names, paths)
        write_json(os.path.join(folder, RECORD), record)
        return [field for field in LINKS if not _link(data.path(LINKS[field]), paths.path(field))]


def _write_tables(parts, source_names, target_names, paths):
    """Write the files TABLES."""
    source, moments, validation = [parts[name] for name in USED]
    for side, names, videos in (('source', source_names, source), ('target', target_names, moments + validation)):
        info = pd.DataFrame([(video.name, video.subset) for video in videos], columns=('video', 'subset'))
        write_text(paths.path(side + '_categories'), ''.join(name + '\n' for name in names))
        write_text(paths.path(side + '_info'), info.to_csv(index=False))
        write_text(paths.path(side + '_labels'), ''.join(
            '%s %d %d\n' % (video.name, len(video.entry['annotations']), names.index(video.label))
            for video in videos))
        write_json(paths.path(side + '_annotation'), {video.name: video.entry for video in videos})
    write_text(paths.path('ground_truth'), ground_truth_text([
        Segment(video.name, *annotated['segment'], target_names.index(video.label))
        for video in validation for annotated in video.entry['annotations']], target_names))


def _link(features, path):
    """Make `path` a relative link to `features`, a folder or an HDF5 file; return whether the features exist."""
    features = FeatureStore(features, 0).path
    if not os.path.exists(features):
        return False
    path += '' if os.path.isdir(features) else '.h5'
    make_folder(os.path.dirname(path))
    with write_errors(path):
        os.symlink(os.path.relpath(os.path.realpath(features), os.path.realpath(os.path.dirname(path))), path)
    return True


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
    """Raise InputError where `folder` has a file or link that no split makes; someone may need it."""
    paths, own = DataConfig(data_root=folder), {(os.path.join(folder, RECORD), False)}
    own.update((paths.path(name), False) for name in TABLES)
    own.update((paths.path(name) + end, True) for name in LINKS for end in ('', '.h5'))
    for place, folders, files in os.walk(folder):
        for path in [os.path.join(place, name) for name in folders + files]:
            is_link = os.path.islink(path)
            finished = re.sub(r'\.partial\d+$', '', path)  # of a file that a killed run did not finish
            if (is_link or not os.path.isdir(path)) and (path if is_link else finished, is_link) not in own:
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
