"""Make the demo's data: a small artificial data set, to try every script without a download.

    python3 prepare_data.py demo                                  # data/demo: 280 MB in about 20 seconds
    python3 prepare_data.py demo --out data/other --seed 1 --relatedness 0.4
    python3 prepare_data.py demo --annotation data/k600_val_annotation.txt
    python3 prepare_data.py demo --write_annotation k600_val_annotation.txt
    python3 prepare_data.py demo --statistics k600_val_annotation.txt data/k600_val_annotation.txt

The data set has the form of ActivityNet and Kinetics-600 (docs/data.md), with everything that training and
testing read. Source classes have untrimmed, annotated videos. Target classes have moments (trimmed clips) for
training, and untrimmed videos for validation: one for each video of the annotation, with the same segments.

A class is a random mixture of attributes such as "water" or "kneels"; source and target classes share most of
them. A video shows its actions, what comes before and after them, and a background of its own that changes and
contains short pieces of other actions. preparation/demo_world.py describes how features are computed from this.

The same flags make the same data. A validation video depends only on its name, its rows of the annotation, the
seed and the world's settings: with another annotation, videos that are in both stay the same.
"""
import collections
import csv
import io
import json
import os
import shutil
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from config import PRESETS, DataConfig
from dataset.features import interpolate
from dataset.tables import read_annotation, read_class_names, without_duplicates
from preparation import demo_world
from preparation.demo_world import CLIP_FRAMES, KNOBS, Settings
from runtime.errors import InputError
from runtime.files import read_json, sha256, write_text

NAME = 'demo'

HERE = os.path.dirname(os.path.abspath(__file__))
ANNOTATION = os.path.join(os.path.dirname(HERE), 'k600_val_annotation.txt')
CODE = [os.path.join(HERE, name) for name in ('demo.py', 'demo_world.py')]  # what the data are computed by
DATA = PRESETS['demo'].data
UNTRIMMED_STEPS = PRESETS['demo'].model.untrimmed_steps  # T
MANIFEST = 'demo_manifest.json'
MAX_CLASSES = 10000  # of an annotation: a larger class index is a typing error
DECIMALS = 3         # of a feature: versions of numpy differ after these, and CSV and npy hold the same numbers
PERCENTILES = (1, 25, 50, 75, 99)  # of --statistics

TARGET_NAMES = ('bimbling', 'clondering', 'dappering', 'elmering', 'frindling', 'glimbering', 'hopscudding',
                'jinkering', 'kettling_up', 'lollaping', 'mizzling', 'nimbering', 'ombling', 'pindling',
                'quavelling', 'rumpling_over', 'skimbering', 'tramplering', 'umberling', 'wobbelling')


# Annotation and class names

def annotation_text(videos, classes, seed):
    """An artificial annotation of `videos` videos in the authors' form; all classes are equally frequent."""
    rows = demo_world.labelled_segments(demo_world.KINETICS, videos, classes,
                                        demo_world.stream(seed, 'validation annotation'))
    return ''.join('demo_val_%04d\t%.2f\t%.2f\t%d\n' % ((number,) + row)
                   for number, video_rows in enumerate(rows, start=1) for row in video_rows)


def rows_by_video(annotation):
    """{video: [(start s, end s, class index), …]} of the file `annotation`; a repeated row counts once.

    Raises InputError where there is no such file, or a row is malformed.
    """
    if not os.path.isfile(annotation):
        raise InputError('%s: found no such file, expected an annotation; correct --annotation, or make one with '
                         '--write_annotation' % annotation)
    rows = collections.OrderedDict()
    for video, start, end, label in without_duplicates(read_annotation(annotation, MAX_CLASSES)):
        rows.setdefault(video, []).append((start, end, label))
    return rows


def statistics(annotations):
    """Table of annotation files, a line each: number of segments, videos and classes; lengths of segments."""
    lines = ['%9s %7s %7s %9s   length in seconds, percentile %s  file' % (
        'segments', 'videos', 'classes', 'a video', ' '.join('%6d' % level for level in PERCENTILES))]
    for path in annotations:
        rows = read_annotation(path, MAX_CLASSES)
        videos, classes = [len({row[column] for row in rows}) for column in (0, 3)]
        lengths = np.percentile([row.end - row.start for row in rows], PERCENTILES)
        lines.append('%9d %7d %7d %9.2f   %29s %s  %s' % (len(rows), videos, classes, len(rows) / videos, '',
                                                          ' '.join('%6.1f' % length for length in lengths), path))
    return '\n'.join(lines)


def class_count(rows):
    """Number of target classes of {video: rows}: the highest class index, plus 1."""
    return 1 + max(label for video in rows.values() for _, _, label in video)


def target_names(annotation, classes):
    """Target class names: from a class list beside `annotation` if that is long enough, else invented names."""
    beside = os.path.join(os.path.dirname(annotation), DATA.target_categories)
    if os.path.isfile(beside):
        names = read_class_names(beside)
        if len(names) >= classes:
            return names[:classes]
    return [TARGET_NAMES[index] if index < len(TARGET_NAMES) else 'demo_action_%03d' % (index + 1)
            for index in range(classes)]


# The data set

class DataSet(NamedTuple):
    """All videos to be made, and the names of the classes."""

    source: list        # of DemoVideo, untrimmed
    moments: list       # of DemoVideo
    validation: list    # of DemoVideo, untrimmed
    supervised: list    # of DemoVideo, untrimmed; full supervision trains on these instead of the source
    source_names: list  # class names by index
    target_names: list


def plan(settings, annotation, seed):
    """The DataSet of these settings, without features."""
    rows = rows_by_video(annotation)
    classes = class_count(rows)
    return DataSet(
        source=demo_world.source_videos(settings, seed),
        moments=demo_world.moment_videos(settings, classes, seed),
        validation=demo_world.validation_videos(rows, seed),
        supervised=demo_world.supervised_videos(settings, classes, seed),
        source_names=['demo_source_action_%03d' % (index + 1) for index in range(settings.source_classes)],
        target_names=target_names(annotation, classes))


class Folder(NamedTuple):
    """Where files are written, and in which form."""

    paths: DataConfig  # its data_root is --out
    form: str          # of feature files: npy or csv

    def feature_file(self, field, video):
        """Path of a video's features in the folder that `field` of DataConfig names."""
        return os.path.join(self.paths.path(field), '%s.%s' % (video, self.form))


def supervised(folder):
    """The Folder whose source fields name the annotated target videos, below supervised/."""
    paths = folder.paths
    return folder._replace(paths=paths._replace(**{
        field: os.path.join('supervised', getattr(paths, field)) for field in paths._fields
        if field.startswith('source_')}))


def feature_jobs(data_set, folder):
    """(video, side of its classes, Folder, fields of DataConfig that get its features) of every video."""
    for videos, side, fields in ((data_set.source, 'source', ('source_clips', 'source_features')),
                                 (data_set.moments, 'target', ('target_clips',)),
                                 (data_set.validation, 'target', ('target_features',))):
        for video in videos:
            yield video, side, folder, fields
    for video in data_set.supervised:
        yield video, 'target', supervised(folder), ('source_clips', 'source_features')


def files_of(data_set, folder):
    """Every file that is made of `data_set`, and the ground truth that `prepare_data.py annotation` adds."""
    tables = ['source_info', 'source_labels', 'source_annotation']
    fields = tables + ['target_info', 'target_labels', 'target_annotation', 'target_categories', 'ground_truth']
    paths = [folder.paths.path(field) for field in fields]
    if data_set.supervised:
        paths += [supervised(folder).paths.path(field) for field in tables]
    paths.append(os.path.join(folder.paths.data_root, os.path.basename(ANNOTATION)))
    for video, _, place, fields in feature_jobs(data_set, folder):
        paths += [place.feature_file(field, video.name) for field in fields]
    return [os.path.relpath(path, folder.paths.data_root) for path in paths]


# Writing

def write_features(path, features):
    """Write features [n, C] as float32 with DECIMALS decimals; CSV has a header row."""
    rounded = np.rint(features * 10 ** DECIMALS) / 10 ** DECIMALS
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if path.endswith('.npy'):
        np.save(path, np.ascontiguousarray(rounded, np.float32))
        return
    row = ','.join(['%%.%df' % DECIMALS] * rounded.shape[1])
    lines = [','.join('f%d' % column for column in range(rounded.shape[1]))]
    write_text(path, '\n'.join(lines + [row % tuple(values) for values in rounded.tolist()]) + '\n')


def write_all_features(settings, data_set, folder, seed):
    """Compute and write the features of all videos, with a progress bar."""
    features = demo_world.feature_maker(settings, len(data_set.target_names), seed)
    for video, side, place, fields in tqdm(list(feature_jobs(data_set, folder)), unit='video', disable=None):
        clips = features(video, side)
        for field in fields:
            rows = clips
            if field.endswith('_features'):
                rows = interpolate(clips, UNTRIMMED_STEPS, video.seconds, video.frames, CLIP_FRAMES)
            write_features(place.feature_file(field, video.name), rows)


def write_tables(paths, side, videos, names):
    """Write info table, label table and annotation JSON of the `side` 'source' or 'target'.

    `names`: class names by index.
    """
    info, labels, annotation = io.StringIO(), [], {}
    table = csv.writer(info, lineterminator='\n')
    table.writerow(['video', 'numFrame', 'seconds', 'fps', 'rfps', 'subset', 'featureFrame'])
    for video in videos:
        feature_frame = CLIP_FRAMES * video.clips
        table.writerow([video.name, video.frames, '%.2f' % video.seconds, video.fps,
                        '%.4f' % (video.frames / video.seconds), video.subset, feature_frame])
        labels.append('%s %d %d\n' % (video.name, feature_frame, video.label))
        annotation[video.name] = {
            'duration_second': video.seconds, 'duration_frame': video.frames, 'feature_frame': feature_frame,
            'annotations': [{'segment': [start, end], 'label': names[label]}
                            for start, end, label in video.segments]}
    write_text(paths.path(side + '_info'), info.getvalue())
    write_text(paths.path(side + '_labels'), ''.join(labels))
    write_text(paths.path(side + '_annotation'), json.dumps(annotation, indent=1) + '\n')


def write_data_set(settings, data_set, annotation, folder, seed):
    """Write all files of `data_set`."""
    write_tables(folder.paths, 'source', data_set.source, data_set.source_names)
    write_tables(folder.paths, 'target', data_set.moments + data_set.validation, data_set.target_names)
    if data_set.supervised:
        write_tables(supervised(folder).paths, 'source', data_set.supervised, data_set.target_names)
    write_text(folder.paths.path('target_categories'), '\n'.join(data_set.target_names) + '\n')
    shutil.copyfile(annotation, os.path.join(folder.paths.data_root, os.path.basename(ANNOTATION)))
    write_all_features(settings, data_set, folder, seed)


# The manifest: what the data were made of, and which files they are

def manifest_of(settings, annotation, folder, seed):
    """Everything that the data depend on: with an equal manifest, the files are equal."""
    names = target_names(annotation, class_count(rows_by_video(annotation)))
    return {'settings': dict(settings._asdict()), 'seed': seed, 'form': folder.form, 'target_names': names,
            'annotation_sha256': sha256(annotation), 'code_sha256': [sha256(path) for path in CODE]}


def read_manifest(out):
    """Manifest of the data in `out`; None where there is none, or one that lists files outside `out`."""
    try:
        manifest = read_json(os.path.join(out, MANIFEST))
        # The listed files are deleted later, and the manifest may come from someone else.
        root = os.path.join(os.path.realpath(out), '')
        folders = {os.path.dirname(os.path.join(out, name)) for name in manifest['files']}
        is_ours = all(os.path.join(os.path.realpath(folder), '').startswith(root) for folder in folders)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return manifest if is_ours else None


def write_manifest(out, manifest):
    """Write the manifest of `out`; without a summary it says that the data are not complete."""
    write_text(os.path.join(out, MANIFEST), json.dumps(manifest, indent=1) + '\n')


def is_complete(out, before, manifest):
    """Whether `out`, whose manifest is `before`, has all files of `manifest`; the ground truth may be missing."""
    return (bool(before.get('summary')) and dict(before, **manifest) == before
            and all(name == DATA.ground_truth or os.path.exists(os.path.join(out, name)) for name in before['files']))


def remove_files(out, manifest):
    """Delete the files that `manifest` lists, and no others."""
    for name in manifest['files']:
        path = os.path.join(out, name)
        if os.path.isfile(path):
            os.remove(path)


def summary(data_set, folder):
    """Videos, segments, moments and megabytes in a line."""
    paths = [os.path.join(folder.paths.data_root, name) for name in files_of(data_set, folder)]
    size = sum(os.path.getsize(path) for path in paths if os.path.exists(path))
    source_segments, segments = [sum(len(video.segments) for video in videos)
                                 for videos in (data_set.source, data_set.validation)]
    return ('%d source videos, %d segments, %d classes; %d moments and %d validation videos, %d segments, '
            '%d classes; %.0f MB' % (
                len(data_set.source), source_segments, len(data_set.source_names), len(data_set.moments),
                len(data_set.validation), segments, len(data_set.target_names), size / 1e6))


def make(settings, annotation, folder, seed, force=False):
    """Make the data in folder.paths.data_root, unless they are there → the line to print.

    Files of an earlier demo are replaced. Raises InputError where the folder has other files and `force` is False.
    """
    started, out = time.time(), folder.paths.data_root
    manifest, before = manifest_of(settings, annotation, folder, seed), read_manifest(out)
    if before is None and not force and os.path.isdir(out) and os.listdir(out):
        raise InputError('%s: found other files, expected an empty folder or an earlier demo; name another folder '
                         'with --out, or write into this one with --force' % out)
    if before is not None and is_complete(out, before, manifest):
        return '%s: nothing to do, the data are complete: %s' % (out, before['summary'])
    copy = os.path.join(out, os.path.basename(ANNOTATION))
    if os.path.exists(copy) and os.path.samefile(copy, annotation):
        raise InputError('%s: found the annotation in the folder to make, where it would be overwritten; move it to '
                         'another folder' % annotation)
    if before is not None:
        remove_files(out, before)
    data_set = plan(settings, annotation, seed)
    manifest['files'] = files_of(data_set, folder)
    write_manifest(out, manifest)
    write_data_set(settings, data_set, annotation, folder, seed)
    manifest['summary'] = summary(data_set, folder)
    write_manifest(out, manifest)
    return '%s: made in %.0f s: %s' % (out, time.time() - started, manifest['summary'])


# Command line

def add_arguments(parser):
    """Add the flags of `prepare_data.py demo`."""
    parser.add_argument('--out', default=DATA.data_root, help='folder to make (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of everything that is random (default: %(default)s)')
    parser.add_argument('--annotation', default=ANNOTATION, metavar='FILE',
                        help='segments of the validation videos; its folder may hold the class names in %s '
                        '(default: %s of this project)' % (DATA.target_categories, os.path.basename(ANNOTATION)))
    parser.add_argument('--form', choices=('npy', 'csv'), default='npy', help='of features (default: %(default)s)')
    parser.add_argument('--force', action='store_true', help='write into a folder that has other files')
    world = parser.add_argument_group('the world')
    for knob in KNOBS:
        kind = type(knob.default)
        world.add_argument('--' + knob.name, type=kind, default=knob.default, metavar=kind.__name__.upper(),
                           help='%s (default: %s)' % (knob.help, knob.default))
    instead = parser.add_argument_group('instead of making data')
    instead.add_argument('--write_annotation', metavar='FILE',
                         help='write an artificial annotation of --validation_videos and --target_classes')
    instead.add_argument('--validation_videos', type=int, default=200, metavar='INT', help='(default: %(default)s)')
    instead.add_argument('--target_classes', type=int, default=20, metavar='INT', help='(default: %(default)s)')
    instead.add_argument('--statistics', metavar='FILE', nargs='+',
                         help='print how many segments annotations have, and how long these are')


def check(args):
    """Raise InputError where a flag has a value that cannot be used."""
    if not args.out:
        raise InputError('--out: found nothing, expected a folder')
    ranges = [('seed', 0, 2 ** 32 - 1), ('validation_videos', 1, np.inf), ('target_classes', 1, np.inf)]
    for name, minimum, maximum in ranges + [(knob.name, knob.minimum, knob.maximum) for knob in KNOBS]:
        value = getattr(args, name)
        if not minimum <= value <= maximum or value == np.inf:
            raise InputError('--%s %s: expected a number from %s%s'
                             % (name, value, minimum, '' if maximum == np.inf else ' to %s' % maximum))


def run(args):
    """Make the data, write an annotation or print statistics, as the parsed flags say.

    Raises InputError where a flag, the annotation or the folder cannot be used.
    """
    check(args)
    if args.statistics:
        print(statistics(args.statistics))
    elif args.write_annotation:
        write_text(args.write_annotation, annotation_text(args.validation_videos, args.target_classes, args.seed))
        print('wrote %s: %d videos of %d classes'
              % (args.write_annotation, args.validation_videos, args.target_classes))
    else:
        settings = Settings(**{name: getattr(args, name) for name in Settings._fields})
        folder = Folder(DATA._replace(data_root=args.out), args.form)
        print(make(settings, args.annotation, folder, args.seed, args.force))
