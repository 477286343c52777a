"""Turn an annotation and class names into the ground-truth JSON, and report what is in it.

An annotation is a text file with one segment per row: video, start and end in seconds, class index, separated by
tabs. Class names are a text file with one name per line; the line number, from 0, is the class index. The ground
truth has ActivityNet's form, which the evaluation scripts read.
"""
import collections
import json
import os
from typing import List, NamedTuple, Tuple

import numpy as np

from config import DATA_PATHS, DataConfig, of_data_root
from dataset.tables import read_annotation, read_class_names, without_duplicates
from preparation.fetch import ANNOTATION, CATEGORIES
from runtime.errors import InputError, counted, printable
from runtime.files import refuse_to_overwrite, write_if_new

NAME = 'annotation'
GROUND_TRUTH = DataConfig().ground_truth
PERCENTILES = (1, 25, 50, 75, 99)


class AnnotationReport(NamedTuple):
    """What an annotation holds; `report_of` defines the fields."""

    segments: int
    videos: int
    classes: int
    duplicate_rows: int
    overlapping_videos: int
    mixed_videos: List[Tuple[str, List[int]]]  # video, its class indices
    lengths: np.ndarray                        # [len(PERCENTILES)] seconds


def add_arguments(parser):
    """Add the flags of this subcommand."""
    parser.add_argument('--data_root', default='data', help='folder of the data (default: %(default)s)')
    parser.add_argument('--annotation', help='segments (default: DATA_ROOT/%s)' % ANNOTATION)
    parser.add_argument('--categories', help='class names (default: DATA_ROOT/%s)' % CATEGORIES)
    parser.add_argument('--out', help='JSON file to write (default: DATA_ROOT/%s)' % GROUND_TRUTH)
    parser.add_argument('--drop_duplicates', action='store_true',
                        help='skip rows that repeat an earlier row; by default all rows are kept, as in the '
                             'published numbers')
    parser.add_argument('--force', action='store_true', help='replace a file that is there with another content')


def run(args):
    """Print the report, which is of the rows before duplicates are skipped, and write the ground truth.

    Raises InputError where an input cannot be used, and where another file would be replaced without --force.
    """
    annotation, categories = _input_path(args, 'annotation', ANNOTATION), _input_path(args, 'categories', CATEGORIES)
    out = args.out or os.path.join(args.data_root, GROUND_TRUTH)
    refuse_to_overwrite({'--out': out}, [annotation, categories] + _others(args.data_root))
    class_names = read_class_names(categories)
    segments = read_annotation(annotation, len(class_names))
    report = report_of(segments)
    print('%s\n%s' % (printable(annotation), format_report(report, class_names)))
    if args.drop_duplicates:
        segments = without_duplicates(segments)
        print('skipped %s' % counted(report.duplicate_rows, 'duplicate row'))
    is_written = write_if_new(out, ground_truth_text(segments, class_names), args.force)
    print('%s: %s: %s of %s' % (
        printable(out), 'written' if is_written else 'is there already', counted(len(segments), 'segment'),
        counted(report.videos, 'video')))


def _others(data_root):
    """Paths of what else may be below `data_root`: every table and store of features but the ground truth."""
    data = of_data_root(data_root).data
    return [os.path.join(data_root, ANNOTATION)] + [
        data.path(field) for field in DATA_PATHS if field != 'ground_truth']


def _input_path(args, flag, default):
    """The path that a flag gives, or its default; raises InputError where there is no file."""
    given = getattr(args, flag)
    path = given or os.path.join(args.data_root, default)
    if not os.path.isfile(path):
        raise InputError('%s: found no such file; %s' % (path, 'correct --' + flag if given else (
            'python3 prepare_data.py fetch --data_root %s downloads it, --%s names another file'
            % (args.data_root, flag))))
    return path


def ground_truth(segments, class_names):
    """Ground truth in ActivityNet's form, with videos, and the segments of each, in the order of `segments`."""
    database = {}
    for segment in segments:
        entry = database.setdefault(segment.video, {'subset': 'validation', 'annotations': []})
        entry['annotations'].append({'segment': [segment.start, segment.end], 'label': class_names[segment.label]})
    return {'version': 'VERSION 1.3', 'taxonomy': [], 'database': database}


def ground_truth_text(segments, class_names):
    """The text of the JSON file with the ground truth of `segments`."""
    return json.dumps(ground_truth(segments, class_names), indent=1) + '\n'


def report_of(segments):
    """The AnnotationReport of at least one segment.

    - A duplicate row repeats an earlier row in all four columns; the earlier row is not counted.
    - A video is overlapping where two of its segments, of any class, share time. A duplicate overlaps its original;
      segments that only touch do not overlap.
    - A mixed video has segments of at least two classes.
    """
    by_video = collections.defaultdict(list)
    for segment in segments:
        by_video[segment.video].append(segment)
    labels = {video: sorted({segment.label for segment in rows}) for video, rows in by_video.items()}
    return AnnotationReport(
        segments=len(segments), videos=len(by_video), classes=len({segment.label for segment in segments}),
        duplicate_rows=len(segments) - len(set(segments)), overlapping_videos=sum(map(_overlap, by_video.values())),
        mixed_videos=[(video, found) for video, found in labels.items() if len(found) > 1],
        lengths=np.percentile([segment.end - segment.start for segment in segments], PERCENTILES))


def _overlap(segments):
    """Whether any two segments of a video share time. Sorted by start, it is enough to compare neighbours."""
    edges = sorted((segment.start, segment.end) for segment in segments)
    return any(start < end for (_, end), (start, _) in zip(edges, edges[1:]))


def format_report(report, class_names):
    """The report as text, one fact per line."""
    counts = (
        ('segments', '%d (%.2f per video)' % (report.segments, report.segments / report.videos)),
        ('videos', report.videos),
        ('classes', '%d of %d' % (report.classes, len(class_names))),
        ('exact duplicate rows', report.duplicate_rows),
        ('videos with overlapping segments', report.overlapping_videos),
        ('videos of several classes', len(report.mixed_videos)))
    lengths = '  '.join('%d%%: %.2f' % pair for pair in zip(PERCENTILES, report.lengths))
    return '\n'.join(
        ['  %-34s %s' % count for count in counts]
        + [printable('    %s: %s' % (video, ', '.join(class_names[label] for label in labels)))
           for video, labels in report.mixed_videos]
        + ['  %-34s %s' % ('segment length, percentiles in s', lengths)])
