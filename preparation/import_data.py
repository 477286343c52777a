"""Make one side of a data root from the annotation and the features that you have, in any common form.

The form of the annotation, the width and the layout of the features are found out. Features are named in the data
root, never copied. All scripts read the paths, widths and numbers of classes from its data.json:

    python3 prepare_data.py import --side source --annotation activity_net.v1-3.min.json --features feats/tsp \\
        --stride 16 --window 16 --fps 15 --data_root data/x
    python3 prepare_data.py import --side target --clips feats/my_clips --untrimmed feats/my_videos \\
        --stride 16 --fps 15 --data_root data/x
"""
import collections
import math
import os

import numpy as np

from config import of_data_root
from dataset import data_root
from dataset.row_times import text_of
from dataset.samples import training_report
from preparation.feature_survey import find_layout, read_shapes, rows_of
from preparation.import_tables import (
    GROUND_TRUTH,
    TABLES,
    check_files,
    check_width,
    coverage_warnings,
    limits,
    make_tables,
    path_setting,
    proposed_window,
    side_files,
    write_side,
)
from preparation.import_videos import Timing, imported_videos, named_classes, read_parts, without_labels
from preparation.subsets import TESTING, TRAINING, VALIDATION, subsets_flag
from runtime.errors import InputError, counted, printable
from runtime.files import refuse_to_overwrite

NAME = 'import'
MAX_LISTED = 1000  # videos without features that data.json lists
INPUTS = ('features', 'clips', 'untrimmed', 'untrimmed_annotation', 'categories')  # flags of one path


def add_arguments(parser):
    """Add the flags of this subcommand."""
    parser.add_argument('--side', choices=('source', 'target'), required=True,
                        help='source: untrimmed videos with annotated segments; target: moments of the classes to be '
                             'found, and the videos to be searched')
    parser.add_argument('--data_root', required=True, help='folder to write; the other side in it stays')
    group = parser.add_argument_group('what you have')
    group.add_argument('--annotation', nargs='+', metavar='FILE',
                       help="annotation in ActivityNet's form, CSV with a segment in each row, a list of Kinetics, "
                            "or BMN's JSON and its info table as two files")
    group.add_argument('--features', metavar='PATH', help='features of the annotated videos: folder or HDF5 file')
    group.add_argument('--clips', metavar='FOLDER', help='target: in place of the two flags above, features of '
                       'trimmed clips in a folder for each class')
    group.add_argument('--untrimmed', metavar='PATH', help='target: features of whole videos to be searched')
    group.add_argument('--untrimmed_annotation', metavar='FILE',
                       help='annotation of these videos, in any form: their ground truth')
    group.add_argument('--categories', metavar='FILE', help='class names, one per line; their order is that of the '
                       'class indices; segments of other classes are left out (default: all classes of the '
                       'annotation, sorted)')
    group.add_argument('--ignore_label', action='append', default=[], metavar='NAME', help='leave out the segments '
                       'of this class, such as Ambiguous of THUMOS14; may be given several times')
    group.add_argument('--subsets', type=subsets_flag, metavar='SUBSET=NAME,…', help='what the subsets of the '
                       'annotation are used as, such as training=train+val,validation=Test (default: by their names)')
    group = parser.add_argument_group('when the rows of the features are')
    group.add_argument('--stride', type=float, metavar='FRAMES', help='frames from one row to the next')
    group.add_argument('--window', type=float, metavar='FRAMES', help='frames that a row is made of (default: the '
                       'stride)')
    group.add_argument('--fps', type=float, help='frames per second at which the features were made (default: the '
                       'rate of each video, where the annotation has it)')
    group.add_argument('--rescaled', action='store_true', help='in place of --stride: the rows are spread evenly '
                       'over each video, such as 100 rows for every video')
    group = parser.add_argument_group('how the features are stored')
    group.add_argument('--layout', choices=('tc', 'ct'), help='axes of the arrays. tc: time, then columns; ct: '
                       'columns, then time (default: found out)')
    group.add_argument('--key', default='', help='name of the array, where an npz file or an HDF5 group has several')
    parser.add_argument('--force', action='store_true', help='replace files in the data root that no import made')


def run(args):
    """Import a side and print what was found; raises InputError where something cannot be used."""
    _check_arguments(args)
    content, timing = data_root.read(args.data_root), _timing(args)
    check_files(args.data_root, args.side, content, args.force)
    parts = read_parts(args)
    parts = without_labels(parts, args.ignore_label)
    names, parts, unknown, spellings = named_classes(parts, args.categories)
    layout, rows = _survey(parts, timing, args, content)
    imported, left_out = [], collections.Counter()
    for part, rows_of_part in zip(parts, rows):
        found, unmeasured = imported_videos(part, rows_of_part, timing)
        imported.append(found)
        left_out.update(part.left_out)
        left_out['videos with neither features nor a duration'] += unmeasured
    tables = make_tables(args.side, [video for found in imported for video in found], names)
    left_out['training videos without a usable segment'] += tables.unsegmented
    warnings = [text for part, found in zip(parts, imported)
                for text in coverage_warnings(part, found, tables, text_of(args.stride, args.fps))]
    warnings += _unknown_classes(unknown, args.categories) + _layout_warnings(layout)
    warnings += _name_warnings(names, spellings)
    missing = [video.name for found in imported for video in found if not video.has_features]
    settings = _settings(args, parts, names, layout, tables)
    record = _record(args, parts, names, tables, missing, +left_out)
    write_side(args.data_root, args.side, tables.texts, settings, record, args.force)
    print('\n'.join(map(printable, _summary(args, parts, rows, layout, imported, record))))
    _print_report(args, names, tables, missing, warnings)


# Flags

def _check_arguments(args):
    _check_paths(args)
    if bool(args.annotation) != bool(args.features):
        raise InputError('--annotation and --features: found one of the two, expected both')
    if args.annotation and args.clips:
        raise InputError('--clips: found --annotation, too; give one of the two: the folders of --clips are the '
                         'classes')
    if not (args.annotation or args.clips or args.untrimmed):
        raise InputError('found no data; give --annotation and --features, --clips or --untrimmed')
    if args.side == 'source' and not args.annotation:
        raise InputError('--side source: found no annotated videos; give --annotation and --features')
    if args.side == 'source' and args.untrimmed:
        raise InputError('--untrimmed: is for --side target, whose videos are searched')
    if args.untrimmed_annotation and not args.untrimmed:
        raise InputError('--untrimmed_annotation: give the features of these videos with --untrimmed')


def _check_paths(args):
    """Raise InputError where an input is to be overwritten, or the tables would lie among features."""
    inputs = list(args.annotation or []) + [
        getattr(args, name) for name in INPUTS if getattr(args, name) is not None]
    if '' in inputs + [args.data_root]:
        raise InputError('found an empty path; name a file or a folder')
    outputs = side_files(args.side) + [data_root.NAME]
    for name in outputs:
        refuse_to_overwrite({'--data_root, its file': os.path.join(args.data_root, name)}, inputs)
    place = os.path.realpath(args.data_root)
    for name in ('features', 'clips', 'untrimmed'):
        path = getattr(args, name)
        if path and os.path.commonpath([place, os.path.realpath(path)]) == os.path.realpath(path):
            raise InputError('--data_root %s: is in the folder of --%s, where its tables would be taken for '
                             'features; name another folder' % (args.data_root, name))


def _timing(args):
    """The Timing that the flags say."""
    if bool(args.stride) == args.rescaled:
        raise InputError('--stride: expected the frames from one row of the features to the next, or --rescaled '
                         'where rows are spread evenly over each video')
    if args.rescaled and (args.fps or args.window):
        raise InputError('--rescaled: found --fps or --window, too; the duration of a video alone says when its rows '
                         'are: remove them')
    for name in ('stride', 'window', 'fps'):
        value = getattr(args, name)
        if value is not None and not (0 < value < math.inf):
            raise InputError('--%s %s: expected more than 0' % (name, value))
    return Timing(args.stride, args.window or args.stride, args.fps)


# Features

def _survey(parts, timing, args, content):
    """(Layout of all parts, list of {name of features: rows} of each)."""
    shapes, expected = [], {}
    for part in parts:
        files = {video.name: part.matches.names[video.name] for video in part.videos
                 if video.name in part.matches.names}
        shapes.append(read_shapes(part.path, sorted(set(files.values())), args.key))
        expected.update({files[video.name]: timing.rows(video) for video in part.videos
                         if video.name in files and timing.rows(video)})
    other = 'target' if args.side == 'source' else 'source'
    known = content['settings'].get('feature_width', 0) if content[other] else 0
    layout = find_layout(shapes, args.layout, expected, known)
    rows = [rows_of(found, layout) for found in shapes]
    check_width(layout.width, ', '.join(part.path for part in parts), content, args.side)
    return layout, rows


def _layout_warnings(layout):
    """A warning where the Layout is a guess."""
    return ['all features have the same shape, and nothing says which axis is time; they are taken to have %s; if '
            'the last axis is time, import again with --layout ct' % counted(layout.width, 'column')
            ] if layout.is_assumed else []


# What is written

def _settings(args, parts, names, layout, tables):
    """The settings of data.json that this import makes."""
    side, found = args.side, {'feature_width': layout.width, 'labels': 'segment', 'exact_lengths': True}
    for end, name in TABLES.items():
        if tables.texts[name % side] is not None:
            found['%s_%s' % (side, end)] = name % side
    if names:
        found[side + '_classes'] = len(names)
    found.update({side + '_layout': layout.layout, side + '_key': args.key}, **limits(side, tables))
    paths = [path_setting(args.data_root, part.path) for part in parts]
    if side == 'source':
        return dict(found, source_features=paths[0], source_clips=paths[0])
    if tables.videos[TRAINING]:
        found['target_clips'] = paths[0]
    if tables.videos[VALIDATION] or tables.videos[TESTING]:
        found['target_features'] = paths[-1]
    if tables.texts[GROUND_TRUTH] is not None:
        found['ground_truth'] = GROUND_TRUTH
    return found


def _record(args, parts, names, tables, missing, left_out):
    """What data.json says of the side, for people and for messages."""
    times = sorted(video.times.row_seconds for videos in tables.videos.values() for video in videos)
    return {
        'made_of': {name: getattr(args, name) for name in ('annotation',) + INPUTS if getattr(args, name)},
        'forms': [part.text for part in parts], 'features': [part.path for part in parts],
        'subsets': {subset: found for part in parts for subset, found in part.subsets.items()},
        'stride': args.stride, 'window': args.window or args.stride, 'fps': args.fps,
        'row_seconds': times[0] if times[0] == times[-1] else None, 'median_row_seconds': float(np.median(times)),
        'classes': len(names),
        'videos': {subset: len(videos) for subset, videos in tables.videos.items()},
        'segments': {subset: sum(len(video.segments) for video in videos)
                     for subset, videos in tables.videos.items()},
        'without_features': {'videos': len(missing), 'names': missing[:MAX_LISTED]},
        'left_out': dict(left_out), 'window_seconds': proposed_window(args.side, tables)}


# What is printed

def _summary(args, parts, rows, layout, imported, record):
    """Lines about what was found and what was made of it."""
    lines = ['%s: the %s side, %s' % (args.data_root, args.side, counted(record['classes'], 'class'))]
    for part, rows_of_part, found in zip(parts, rows, imported):
        lines.append('  %s' % part.text)
        lines += _feature_lines(part, rows_of_part, found)
    for subset, count in record['videos'].items():
        if count:
            called = record['subsets'].get(subset)
            lines.append('  %-10s %s, %s%s' % (
                subset, counted(count, 'video'), counted(record['segments'][subset], 'segment'),
                ' (called %s)' % ', '.join(called) if called else ''))
    lines.append('  %s, layout %s (%s); %s' % (counted(layout.width, 'column'), layout.layout, layout.why, (
        '%.4g seconds a row%s' % (record['median_row_seconds'], '' if record['row_seconds'] else
                                  ' in the middle video: each has its own'))))
    return lines + ['  left out: %s: %d' % (what, count) for what, count in record['left_out'].items()]


def _feature_lines(part, rows, imported):
    """Lines about the features of a Part."""
    there = sum(video.has_features for video in imported)
    how = ', '.join('%d %s' % (count, text) for text, count in part.matches.how.items() if count)
    lengths = sorted(rows.values())
    lines = ['  features %s: %d of %s%s; %d to %d rows (median %g)' % (
        part.path, there, counted(len(imported), 'video'), ' (%s)' % how if how else '',
        lengths[0], lengths[-1], np.median(lengths))]
    without = [video.name for video in imported if not video.has_features]
    if without:
        lines.append('  without features: %s, such as %s; training and testing stop there, or go on with '
                     '--missing drop' % (counted(len(without), 'video'), without[0]))
    if part.matches.unused:
        lines.append('  features of no video: %d, such as %s' % (len(part.matches.unused), part.matches.unused[0]))
    return lines


def _unknown_classes(unknown, categories):
    """Warnings about segments whose class is not in the list of --categories."""
    if not unknown:
        return []
    label, count = unknown.most_common(1)[0]
    return ['%s left out, because %s has no such class: %s, such as %s (%s)' % (
        counted(sum(unknown.values()), 'segment'), categories, counted(len(unknown), 'class'), label,
        counted(count, 'segment'))]


def _name_warnings(names, spellings):
    """Warnings about class names that are written in several ways, and about one that is usually left out."""
    warnings = ['class %s is also written %s; all are taken for one class' % (name, ', '.join(sorted(others)))
                for name, others in sorted(spellings.items())]
    ambiguous = [name for name in names if name.lower() == 'ambiguous']
    return warnings + ['class %s: in THUMOS14 it marks doubtful actions, which are usually left out; '
                       '--ignore_label %s does so' % (name, name) for name in ambiguous]


def _print_report(args, names, tables, missing, warnings):
    """Print what check and training say of these tables, and what to do next."""
    config, lines = of_data_root(args.data_root), []
    for subset, videos in tables.videos.items():
        if videos and names:
            report = training_report(config, args.side, subset, videos, tables.unusable[subset], names, missing)
            lines, warnings = lines + report.lines, warnings + report.warnings
    window = config.data.window_seconds
    if window:
        lines.append('windows of %g s: in whole videos, most segments would be shorter than the smallest anchor, 4 '
                     'of 512 rows; --window_seconds 0 switches windows off' % window)
    if args.side == 'target' and not tables.videos[VALIDATION] and not tables.videos[TESTING]:
        lines.append('there are no videos to be searched: testing needs --untrimmed')
    if not names:
        lines.append('there are no classes: testing takes those of the snapshot, or of --categories')
    print('\n'.join(map(printable, lines + ['warning: ' + text for text in warnings])))
