"""Get the target data set's annotation and bring it into the form that testing and evaluation read.

    python prepare_data.py fetch         the authors' annotation and class names, verified
    python prepare_data.py annotation    annotation and class names -> ground-truth JSON, and a report
    python prepare_data.py split         one annotated data set -> a transfer from some of its classes to others
    python prepare_data.py check         every defect of a data root, before a run
    python prepare_data.py features      features in any form -> npy files or one HDF5 file, fast to read

An annotation is a text file, a segment a row, tab-separated: video, start and end in seconds, class index.
Class names stand one a line; the line number, from 0, is the class index.
"""
import argparse
import collections
import hashlib
import http.client
import json
import os
import sys
import urllib.request
from typing import List, NamedTuple, Tuple

import numpy as np
from tqdm import tqdm

import check_data
import config as settings
import split_data
from config import DataConfig, ModelConfig
from convert_features import Conversion, Rescaling, convert_to_hdf5, convert_to_npy
from errors import InputError, exit_status
from features import MOST_ROWS
from files import sha256, write_text, written_whole
from tables import read_annotation, read_class_names, read_durations, without_duplicates

ANNOTATION = 'k600_val_annotation.txt'
CATEGORIES, GROUND_TRUTH = DataConfig().target_categories, DataConfig().ground_truth

PUBLISHED_AT = 'https://raw.githubusercontent.com/FuchenUSTC/AherNet/master'
PUBLISHED = {  # file: sha256
    ANNOTATION: 'b0a7f907576b3a03bda2eedd1dcd4ed0c14a1ca9515b2afdb85b0bcf1c03718a',
    CATEGORIES: '64c0326e70d13100aa7d1de5a35f0b48ff67fda4e427f4b943a7c85b4305a573',
}
TIMEOUT = 30          # seconds without a byte
BLOCK = 1 << 16       # bytes read at a time
MOST_FETCHED = 64 << 20  # bytes of a file: more than a hundred times the published ones
PERCENTILES = (1, 25, 50, 75, 99)
FEATURES = ('source_features', 'source_clips', 'target_clips', 'target_features')  # fields of DataConfig
SHOWN = 20            # defective videos listed


class Summary(NamedTuple):
    """What an annotation holds; see `summarize` for the definitions."""

    segments: int
    videos: int
    classes: int
    duplicate_rows: int
    overlapping_videos: int
    mixed_videos: List[Tuple[str, List[int]]]  # video, its class indices
    lengths: np.ndarray                        # [len(PERCENTILES)] seconds


# Annotation

def ground_truth(segments, class_names):
    """Ground truth in ActivityNet's form; videos, and the segments of each, in the order of `segments`."""
    database = {}
    for segment in segments:
        entry = database.setdefault(segment.video, {'subset': 'validation', 'annotations': []})
        entry['annotations'].append(
            {'segment': [segment.start, segment.end], 'label': class_names[segment.label]})
    return {'version': 'VERSION 1.3', 'taxonomy': [], 'database': database}


def write_ground_truth(path, segments, class_names):
    """Write the ground truth of `segments` as JSON."""
    write_text(path, json.dumps(ground_truth(segments, class_names), indent=1) + '\n')


def summarize(segments):
    """Summary of `segments` [at least one].

    - A duplicate row repeats an earlier row in all four columns; the earlier one is not counted.
    - A video overlaps where two of its rows share time, of whatever class. A duplicate overlaps its original;
      segments that only touch (one ends where the next starts) do not overlap.
    - A mixed video has segments of two classes or more.
    """
    by_video = collections.OrderedDict()
    for segment in segments:
        by_video.setdefault(segment.video, []).append(segment)
    labels = {video: sorted({segment.label for segment in rows}) for video, rows in by_video.items()}
    lengths = [segment.end - segment.start for segment in segments]
    return Summary(
        segments=len(segments),
        videos=len(by_video),
        classes=len({segment.label for segment in segments}),
        duplicate_rows=len(segments) - len(set(segments)),
        overlapping_videos=sum(map(_overlap, by_video.values())),
        mixed_videos=[(video, labels[video]) for video in by_video if len(labels[video]) > 1],
        lengths=np.percentile(lengths, PERCENTILES))


def _overlap(rows):
    """Whether any two of a video's segments share time. In the order of their starts, neighbours suffice."""
    edges = sorted((segment.start, segment.end) for segment in rows)
    return any(start < end for (_, end), (start, _) in zip(edges, edges[1:]))


def format_summary(summary, class_names):
    """The report, a fact a line."""
    counts = (
        ('segments', '%d (%.2f a video)' % (summary.segments, summary.segments / summary.videos)),
        ('videos', summary.videos),
        ('classes', '%d of %d' % (summary.classes, len(class_names))),
        ('exact duplicate rows', summary.duplicate_rows),
        ('videos with overlapping segments', summary.overlapping_videos),
        ('videos of several classes', len(summary.mixed_videos)))
    lines = ['  %-34s %s' % count for count in counts]
    for video, labels in summary.mixed_videos:
        lines.append('    %s: %s' % (video, ', '.join(class_names[label] for label in labels)))
    lengths = ('%d%%: %.2f' % pair for pair in zip(PERCENTILES, summary.lengths))
    lines.append('  %-34s %s' % ('segment length, percentiles in s', '  '.join(lengths)))
    return '\n'.join(lines)


def annotation_command(args):
    """Annotation and class names -> ground-truth JSON, and a report of the rows as they were read."""
    annotation, categories = _input_path(args, 'annotation'), _input_path(args, 'categories')
    out = args.out or os.path.join(args.data_root, GROUND_TRUTH)
    class_names = read_class_names(categories)
    segments = read_annotation(annotation, len(class_names))
    summary = summarize(segments)
    print('%s\n%s' % (annotation, format_summary(summary, class_names)))
    if args.drop_duplicates:
        segments = without_duplicates(segments)
        print('dropped %d duplicate rows' % summary.duplicate_rows)
    write_ground_truth(out, segments, class_names)
    print('wrote %s: %d segments of %d videos' % (out, len(segments), summary.videos))


def _input_path(args, flag):
    """Path that --annotation or --categories names, or its default; InputError where no file is there."""
    given = getattr(args, flag)
    name = {'annotation': ANNOTATION, 'categories': CATEGORIES}[flag]
    path = given or os.path.join(args.data_root, name)
    if not os.path.isfile(path):
        remedy = ('correct --%s' % flag if given else
                  'python prepare_data.py fetch --data_root %s gets it, --%s names another'
                  % (args.data_root, flag))
        raise InputError('%s: found no such file; %s' % (path, remedy))
    return path


# Fetching

def fetch_command(args):
    """Download the authors' files; nothing is downloaded before it is clear that all may be written."""
    wanted = [name for name in PUBLISHED if not _is_there(args.data_root, name, args.force)]
    for name in wanted:
        fetch('%s/%s' % (args.url.rstrip('/'), name), os.path.join(args.data_root, name), PUBLISHED[name])


def _is_there(folder, name, force):
    """Whether the published file is in place already; InputError where another would be overwritten."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return False
    found = sha256(path)
    if found == PUBLISHED[name]:
        print('%s: is there already, verified' % path)
        return True
    if not force:
        raise InputError('%s: found another file there (sha256 %s), expected the published one (%s); move it '
                         'away, or overwrite it with --force' % (path, found, PUBLISHED[name]))
    return False


def fetch(url, path, checksum):
    """Download `url` to `path`, which is replaced only by a complete file with this SHA-256.

    Raises InputError where the download fails or the content is another.
    """
    digest = hashlib.sha256()
    with written_whole(path) as partial, open(partial, 'wb') as file:
        for block in _download(url):
            digest.update(block)
            file.write(block)
            if file.tell() > MOST_FETCHED:
                raise InputError('%s: found more than %d bytes, which the published file does not have; see whether '
                                 'the address is right (--url)' % (url, MOST_FETCHED))
        if digest.hexdigest() != checksum:
            raise InputError('%s: found content with sha256 %s, expected %s; %s was not written: see whether '
                             'the address is right (--url) and try again'
                             % (url, digest.hexdigest(), checksum, path))
    print('%s: fetched from %s, verified' % (path, url))


def _download(url):
    """Blocks of what `url` holds, with a progress bar; InputError where it cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            length = response.headers.get('Content-Length')
            with tqdm(total=length and int(length), unit='B', unit_scale=True,
                      desc=os.path.basename(url)) as progress:
                for block in iter(lambda: response.read(BLOCK), b''):
                    progress.update(len(block))
                    yield block
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError('%s: cannot be downloaded (%s); see whether the address and the network are right, '
                         'give the folder that holds the file with --url, or save the file in --data_root by '
                         'hand' % (url, error)) from None


# Features

def features_command(args):
    """Features below the data root, or in the folders named, -> the fast form; a summary of each."""
    data = DataConfig(data_root=args.data_root)
    paths = args.path or [path for path in map(data.path, FEATURES) if os.path.exists(path)]
    if not paths:
        raise InputError('%s: found none of %s; name a folder or an HDF5 file'
                         % (args.data_root, ', '.join(getattr(data, name) for name in FEATURES)))
    if args.out and len(paths) > 1:
        raise InputError('--out %s: holds the features of one path, but %d are to be converted; name that one'
                         % (args.out, len(paths)))
    for name, least, most in (('workers', 0, settings.MOST_THREADS), ('feature_width', 1, settings.MOST),
                              ('rows', 1, MOST_ROWS)):
        if getattr(args, name) is not None and not least <= getattr(args, name) <= most:
            raise InputError('--%s %s: expected %d to %d' % (name, getattr(args, name), least, most))
    if args.rows and not (args.out and args.annotation):
        raise InputError('--rows %d: give also --annotation, which has the durations, and --out: features by clip '
                         'stay what they are' % args.rows)
    rescaling = args.rows and Rescaling(args.rows, data.clip_frames, read_durations(args.annotation))
    failures = []
    for path in paths:
        if args.form == 'npy':
            out = args.out or path
            convert = convert_to_npy
        else:
            out = args.out or path + '.h5'
            convert = convert_to_hdf5
        converted = convert(Conversion(path, out, args.feature_width, args.dtype, rescaling or None),
                            args.workers or os.cpu_count())
        print('%s: %d videos converted and verified, %d there already; %.1f MB in %s, before %.1f MB'
              % (out, converted.videos, converted.already_there, converted.bytes_after / 1e6, args.dtype,
                 converted.bytes_before / 1e6))
        failures += converted.failures
    for failure in failures[:SHOWN]:
        print('error: %s' % failure, file=sys.stderr)
    if failures:
        raise InputError('%d videos could not be converted (%d shown); mend them and run again: what is done stays'
                         % (len(failures), min(SHOWN, len(failures))))


# Splitting

SPLIT_PATHS = ('source_info', 'source_annotation', 'source_features', 'source_clips')  # fields of DataConfig
SPLIT_CHOICES = ('source_classes', 'target_classes', 'source_share', 'source_count', 'seed')


def split_command(args):
    """The source tables -> a data root with some classes as source, others as target; what is in it, left out."""
    given = {name: getattr(args, name) for name in SPLIT_PATHS if getattr(args, name) is not None}
    data = DataConfig(data_root=args.data_root)._replace(**given)
    videos, left_out = split_data.read_data_set(data)
    made = split_data.split(videos, *_chosen_classes(args, videos, data.path('source_annotation')))
    counts = split_data.counts_of(made)
    absent = split_data.write(made, data, args.out, {
        'made_of': {name: data.path(name) for name in SPLIT_PATHS},
        'chosen_by': {name: getattr(args, name) for name in SPLIT_CHOICES},
        'source_classes': len(made.source_names), 'target_classes': len(made.target_names),
        'counts': counts, 'left_out': left_out})
    write_ground_truth(DataConfig(data_root=args.out).path('ground_truth'),
                       split_data.segments_of(made.validation, made.target_names), made.target_names)
    print('%s: %d source classes, %d target classes' % (args.out, len(made.source_names), len(made.target_names)))
    for name, found in counts.items():
        print('  %-28s %6d videos, %6d segments' % (name, found['videos'], found['segments']))
    for reason, count in sorted(left_out.items()):
        print('  left out: %d %s' % (count, reason))
    if absent:
        print('features are not there: %s; the tables are written all the same, run this again to link the features'
              % ', '.join(absent))


def _chosen_classes(args, videos, annotation):
    """(source names, target names) as the flags say; InputError where they do not say it once."""
    known = {video.label for video in videos}
    files = [path for path in (args.source_classes, args.target_classes) if path is not None]
    if len(files) == 1:
        raise InputError('--source_classes and --target_classes: found one of the two, expected both')
    if (len(files) == 2) + (args.source_share is not None) + (args.source_count is not None) != 1:
        raise InputError('expected one way to choose the classes: --source_classes and --target_classes, '
                         '--source_share, or --source_count')
    if files:
        return split_data.listed_classes(*files, known=known, annotation=annotation)
    if not 0 <= args.seed < 2 ** 32:
        raise InputError('--seed %d: expected 0 to 4294967295' % args.seed)
    if args.source_share is None:
        return split_data.drawn_classes(known, args.source_count, args.seed)
    if not 0 < args.source_share < 1:
        raise InputError('--source_share %s: expected more than 0 and less than 1' % args.source_share)
    return split_data.drawn_classes(known, int(args.source_share * len(known) + 0.5), args.seed)


# Checking

def check_command(args):
    """Lists every defect of the data; InputError where there is one."""
    if args.sample is not None and args.sample < 1:
        raise InputError('--sample %d: expected more than 0' % args.sample)
    config = settings.from_arguments(args, {})
    defects, summary = check_data.check(config, None if args.full else args.sample or check_data.SAMPLE)
    print('\n'.join(summary))
    if defects.counts:
        print(defects)
        raise InputError('%s: found %d defects of %d kinds, listed above; mend them, or leave such data out with '
                         '--bad_data skip' % (args.data_root or config.data.data_root,
                                              sum(defects.counts.values()), len(defects.counts)))
    print('no defects found')


# Command line

def build_parser():
    """The parser of all subcommands; `run` of its result is the subcommand's function."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subcommands = parser.add_subparsers(dest='subcommand', metavar='SUBCOMMAND', required=True)

    def add(name, run, text):
        subparser = subcommands.add_parser(name, help=text, description=text)
        subparser.add_argument('--data_root', default='data', help='folder of the data (default data)')
        subparser.set_defaults(run=run)
        return subparser

    fetching = add('fetch', fetch_command, "download and verify the authors' annotation and class names")
    fetching.add_argument('--url', default=PUBLISHED_AT, help='folder to download from (default %(default)s)')
    fetching.add_argument('--force', action='store_true', help='overwrite files that are there and differ')

    converting = add('annotation', annotation_command, 'write the ground-truth JSON, and report on its rows')
    converting.add_argument('--annotation', help='segments (default DATA_ROOT/%s)' % ANNOTATION)
    converting.add_argument('--categories', help='class names (default DATA_ROOT/%s)' % CATEGORIES)
    converting.add_argument('--out', help='JSON to write (default DATA_ROOT/%s)' % GROUND_TRUTH)
    converting.add_argument('--drop_duplicates', action='store_true',
                            help='leave rows out that repeat an earlier one; the published numbers were '
                                 'measured with all rows, which is the default')

    features = add('features', features_command, 'convert features to npy files or one HDF5 file')
    features.add_argument('path', nargs='*', help='folder of VIDEO.csv / .npz / .npy, or an HDF5 file '
                          '(default: the four of the data root that are there)')
    features.add_argument('--form', choices=('npy', 'hdf5'), default='npy', help='(default %(default)s)')
    features.add_argument('--dtype', choices=('float32', 'float16'), default='float32',
                          help='float16 halves the disk (default %(default)s)')
    features.add_argument('--out', help='folder, or HDF5 file (default: npy files beside what they are made of, '
                          'HDF5 as PATH.h5; the loader prefers either)')
    features.add_argument('--feature_width', type=int, default=ModelConfig().feature_width,
                          help='columns (default %(default)s)')
    features.add_argument('--rows', type=int, help='interpolate every video to this many rows, such as 512')
    features.add_argument('--annotation', help='annotation JSON with the durations, for --rows')
    features.add_argument('--workers', type=int, default=0, help='processes (default 0: one a core)')

    splitting = add('split', split_command,
                    'make a transfer of one annotated data set: some of its classes as source, others as target')
    splitting.add_argument('--out', default=settings.PRESETS['split'].data.data_root,
                           help='data root to make (default %(default)s)')
    for name in SPLIT_PATHS:
        splitting.add_argument('--' + name, help='%s (default %s)' % (
            settings.COMMON_FLAGS[name], getattr(DataConfig(), name)))
    splitting.add_argument('--source_classes', metavar='FILE', help='names of the source classes, one a line')
    splitting.add_argument('--target_classes', metavar='FILE', help='names of the target classes, one a line')
    splitting.add_argument('--source_share', type=float, metavar='FLOAT',
                           help='or: share of all classes, drawn by --seed, that are source; the rest are target')
    splitting.add_argument('--source_count', type=int, metavar='INT', help='or: their number')
    splitting.add_argument('--seed', type=int, default=0, help='of the draw (default 0)')

    checking = subcommands.add_parser('check', help='list every defect of the data',
                                      description='List every defect of the data that a run would read.',
                                      formatter_class=argparse.RawTextHelpFormatter)
    settings.add_flags(checking, {})  # those of a run, so that its command line serves here too
    amount = checking.add_mutually_exclusive_group()
    amount.add_argument('--sample', type=int, metavar='INT', help='videos of each folder or HDF5 file whose features '
                        'are read (default %d)' % check_data.SAMPLE)
    amount.add_argument('--full', action='store_true', help='read the features of all videos')
    checking.set_defaults(run=check_command)
    return parser


def main(argv=None):
    """Run the subcommand of `argv` (the process's arguments)."""
    args = build_parser().parse_args(argv)
    args.run(args)


if __name__ == '__main__':
    sys.exit(exit_status(main))
