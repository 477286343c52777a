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
import os
import re
import shutil
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from config import DATA_PATHS, PRESETS, DataConfig
from dataset.features import interpolate
from dataset.tables import read_annotation, read_class_names, without_duplicates
from preparation import demo_world
from preparation.demo_world import CLIP_FRAMES, WORLD_SETTINGS, Settings
from runtime.errors import InputError, counted, printable
from runtime.files import (
    atomic_write,
    file_lock,
    read_json,
    remove_leftovers,
    sha256,
    write_if_new,
    write_json,
    write_text,
)

NAME = 'demo'

HERE = os.path.dirname(os.path.abspath(__file__))
ANNOTATION = os.path.join(os.path.dirname(HERE), 'k600_val_annotation.txt')
COPY = os.path.basename(ANNOTATION)  # of the annotation, below --out
CODE = [os.path.join(HERE, name) for name in ('demo.py', 'demo_world.py')]  # which computes the data
DATA = PRESETS['demo'].data
UNTRIMMED_STEPS = PRESETS['demo'].model.untrimmed_steps  # T
MANIFEST = 'demo_manifest.json'
LOCK = '.demo.lock'
MAX_CLASSES = 10000  # of an annotation: a larger class index is a typing error
DECIMALS = 3         # of a feature: versions of numpy differ after these, and CSV and npy hold the same numbers
PERCENTILES = (1, 25, 50, 75, 99)  # of --statistics
ANNOTATION_SIZE = {'validation_videos': 200, 'target_classes': 20}  # flags of --write_annotation, and their defaults

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
    """Table of annotation files, one file per line: numbers of segments, videos and classes; lengths of segments."""
    lines = []
    for path in annotations:
        rows = pd.DataFrame(read_annotation(path, MAX_CLASSES))
        videos, lengths = rows.video.nunique(), np.percentile(rows.end - rows.start, PERCENTILES)
        lines.append([len(rows), videos, rows.label.nunique(), '%.2f' % (len(rows) / videos),
                      *['%.1f' % length for length in lengths], printable(path)])
    return pd.DataFrame(lines, columns=['segments', 'videos', 'classes', 'segments per video', *[
        'seconds, %d %%' % level for level in PERCENTILES], 'file']).to_string(index=False)


def target_names(annotation, classes):
    """Target class names: from a class list beside `annotation` if that is long enough, else invented names."""
    beside = os.path.join(os.path.dirname(annotation), DATA.target_categories)
    names = read_class_names(beside) if os.path.isfile(beside) else []
    if len(names) < classes:
        names = list(TARGET_NAMES) + ['demo_action_%03d' % (index + 1) for index in range(len(TARGET_NAMES), classes)]
    return names[:classes]


# The data set

class VideoSet(NamedTuple):
    """Videos that have their tables in common, and where tables and features are written."""

    paths: DataConfig  # its data_root is --out
    side: str          # source or target: the files of `paths` to write
    classes: str       # source or target: the classes that the videos show
    videos: list       # of DemoVideo
    names: list        # class names by index

    def table(self, name):
        """Path of the table `name`: info, labels or annotation."""
        return self.paths.path('%s_%s' % (self.side, name))

    def feature_files(self, video, form):
        """{field of DataConfig: path of the file with the video's features in this form, npy or csv}."""
        if self.side == 'source':
            fields = ('source_clips', 'source_features')
        else:
            fields = ('target_clips',) if video.subset == 'training' else ('target_features',)
        return {field: os.path.join(self.paths.path(field), '%s.%s' % (video.name, form)) for field in fields}


def supervised(paths):
    """`paths` with source fields that name the annotated videos of target classes, below supervised/."""
    return paths._replace(**{field: os.path.join('supervised', getattr(paths, field)) for field in DATA_PATHS
                             if field.startswith('source_')})


def plan(settings, annotation, paths, seed):
    """[VideoSet of the source, of the target, and of full supervision if it has videos], without features."""
    rows = rows_by_video(annotation)
    classes = 1 + max(label for video_rows in rows.values() for _, _, label in video_rows)
    names = target_names(annotation, classes)
    source_names = ['demo_source_action_%03d' % (index + 1) for index in range(settings.source_classes)]
    target = demo_world.moment_videos(settings, classes, seed) + demo_world.validation_videos(rows, seed)
    annotated = demo_world.supervised_videos(settings, classes, seed)
    video_sets = [VideoSet(paths, 'source', 'source', demo_world.source_videos(settings, seed), source_names),
                  VideoSet(paths, 'target', 'target', target, names),
                  VideoSet(supervised(paths), 'source', 'target', annotated, names)]
    return [video_set for video_set in video_sets if video_set.videos]


def files_of(video_sets, form):
    """(tables, feature files): every file that is made; paths below --out."""
    paths = video_sets[0].paths
    tables = [paths.path('target_categories'), os.path.join(paths.data_root, COPY)]
    tables += [video_set.table(name) for video_set in video_sets for name in ('info', 'labels', 'annotation')]
    features = [file for video_set in video_sets for video in video_set.videos
                for file in video_set.feature_files(video, form).values()]
    return [[os.path.relpath(file, paths.data_root) for file in files] for files in (tables, features)]


# Writing

def write_features(path, features):
    """Write features [n, C] as float32 with DECIMALS decimals; CSV has a header row."""
    rounded = np.rint(features * 10 ** DECIMALS) / 10 ** DECIMALS
    with atomic_write(path) as partial, open(partial, 'wb') as file:
        if path.endswith('.npy'):
            np.save(file, np.ascontiguousarray(rounded, np.float32))
        else:
            header = ','.join('f%d' % column for column in range(rounded.shape[1]))
            np.savetxt(file, rounded, '%%.%df' % DECIMALS, ',', header=header, comments='')


def write_tables(video_set):
    """Write info table, label table and annotation JSON."""
    info = pd.DataFrame(
        [(video.name, video.frames, '%.2f' % video.seconds, video.fps, '%.4f' % (video.frames / video.seconds),
          video.subset, CLIP_FRAMES * video.clips) for video in video_set.videos],
        columns=['video', 'numFrame', 'seconds', 'fps', 'rfps', 'subset', 'featureFrame'])
    annotation = {video.name: {
        'duration_second': video.seconds, 'duration_frame': video.frames, 'feature_frame': CLIP_FRAMES * video.clips,
        'annotations': [{'segment': segment, 'label': video_set.names[label]} for *segment, label in video.segments]}
        for video in video_set.videos}
    write_text(video_set.table('info'), info.to_csv(index=False))
    write_text(video_set.table('labels'), ''.join(
        '%s %d %d\n' % (video.name, CLIP_FRAMES * video.clips, video.label) for video in video_set.videos))
    write_json(video_set.table('annotation'), annotation)


def write_data_set(settings, video_sets, annotation, form, seed):
    """Write all files of the data set; a progress bar shows the videos."""
    paths, names = video_sets[1].paths, video_sets[1].names
    write_text(paths.path('target_categories'), '\n'.join(names) + '\n')
    with atomic_write(os.path.join(paths.data_root, COPY)) as partial:
        shutil.copyfile(annotation, partial)
    for video_set in video_sets:
        write_tables(video_set)
    features = demo_world.feature_maker(settings, len(names), seed)
    videos = [(video_set, video) for video_set in video_sets for video in video_set.videos]
    for video_set, video in tqdm(videos, unit='video', disable=None):
        clips = features(video, video_set.classes)
        for field, path in video_set.feature_files(video, form).items():
            write_features(path, clips if field.endswith('_clips') else interpolate(
                clips, UNTRIMMED_STEPS, video.seconds, video.frames, CLIP_FRAMES))


# The manifest: what the data depend on, and which files they are

def read_manifest(out):
    """Manifest of the data in `out`; None where there is none, or one that lists files outside `out`."""
    try:
        manifest, root = read_json(os.path.join(out, MANIFEST)), os.path.realpath(out)
        # The listed files are deleted later, and the manifest may come from someone else.
        folders = [os.path.realpath(os.path.dirname(os.path.join(out, name))) for name in manifest['files']]
        return manifest if os.path.commonpath([root, *folders]) == root else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def contents_of(out, tables, features):
    """{file: what tells whether it is damaged}, for the files that are there; files are paths below `out`.

    Of a table the SHA-256. Of features only the size in bytes, because reading all of them would take long.
    """
    found = [(tell, name, os.path.join(out, name)) for tell, names in ((sha256, tables), (os.path.getsize, features))
             for name in names]
    return {name: tell(path) for tell, name, path in found if os.path.isfile(path)}


def make(settings, annotation, paths, form, seed, force=False):
    """Make the data in paths.data_root, unless they are there and undamaged → the line to print.

    Files of an earlier demo are replaced. Raises InputError where the folder has other files and `force` is False,
    and where another run writes to it.
    """
    out = paths.data_root
    if read_manifest(out) is None and not force and os.path.isdir(out) and any(
            not re.match(r'(%s|%s\.partial\d+)$' % (LOCK, MANIFEST), name) for name in os.listdir(out)):
        raise InputError('%s: found other files, expected an empty folder or an earlier demo; name another folder '
                         'with --out, or write into this one with --force' % out)
    video_sets = plan(settings, annotation, paths, seed)
    with file_lock(os.path.join(out, LOCK)):
        return _make(settings, video_sets, annotation, form, seed)


def _make(settings, video_sets, annotation, form, seed):
    """The same as make, in a folder that is locked and may be written to."""
    started, out = time.monotonic(), video_sets[0].paths.data_root
    before, (tables, features) = read_manifest(out) or {'files': []}, files_of(video_sets, form)
    manifest = {'settings': dict(settings._asdict()), 'seed': seed, 'form': form, 'target_names': video_sets[1].names,
                'annotation_sha256': sha256(annotation), 'code_sha256': [sha256(path) for path in CODE],
                'files': tables + features + [DATA.ground_truth]}  # `prepare_data.py annotation` adds the last one
    summary = '; '.join('%s of %s' % (counted(len(videos), side + ' video'), counted(len(names), 'class'))
                        for _, side, _, videos, names in video_sets)
    if before == dict(manifest, summary=summary, contents=contents_of(out, tables, features)):
        return '%s: nothing to do, the data are complete: %s' % (out, summary)
    if os.path.commonpath([os.path.realpath(out), os.path.realpath(annotation)]) == os.path.realpath(out):
        raise InputError('%s: found the annotation in the folder to make, where it would be overwritten; move it to '
                         'another folder' % annotation)
    _remove(out, before['files'])
    write_json(os.path.join(out, MANIFEST), manifest)  # no summary: not complete yet
    write_data_set(settings, video_sets, annotation, form, seed)
    write_json(os.path.join(out, MANIFEST),
               dict(manifest, summary=summary, contents=contents_of(out, tables, features)))
    return '%s: made in %.0f s: %s' % (out, time.monotonic() - started, summary)


def _remove(out, files):
    """Remove the files of an earlier demo, paths below `out`, and what a killed run left of them.

    The manifest stays, so that a run that is killed here is an earlier demo for the next one.
    """
    paths = [os.path.join(out, name) for name in files]
    for path in filter(os.path.isfile, paths):
        os.remove(path)
    names = '|'.join(re.escape(os.path.basename(path)) for path in paths + [MANIFEST])
    for folder in filter(os.path.isdir, {out, *map(os.path.dirname, paths)}):
        remove_leftovers(folder, names)


# Command line

def add_arguments(parser):
    """Add the flags of `prepare_data.py demo`."""
    parser.add_argument('--out', default=DATA.data_root, help='folder to make (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of everything that is random (default: %(default)s)')
    parser.add_argument('--annotation', default=ANNOTATION, metavar='FILE',
                        help='segments of the validation videos; its folder may hold the class names in %s '
                        '(default: %s of this project)' % (DATA.target_categories, COPY))
    parser.add_argument('--form', choices=('npy', 'csv'), default='npy', help='of features (default: %(default)s)')
    parser.add_argument('--force', action='store_true', help='write into a folder that has other files; with '
                        '--write_annotation, replace a file that has another content')
    world = parser.add_argument_group('the world')
    for setting in WORLD_SETTINGS:
        kind = type(setting.default)
        world.add_argument('--' + setting.name, type=kind, default=setting.default, metavar=kind.__name__.upper(),
                           help='%s (default: %s)' % (setting.help, setting.default))
    instead = parser.add_argument_group('instead of making data')
    instead.add_argument('--write_annotation', metavar='FILE',
                         help='write an artificial annotation of --validation_videos and --target_classes')
    for name, default in ANNOTATION_SIZE.items():
        instead.add_argument('--' + name, type=int, metavar='INT',
                             help='only with --write_annotation (default: %d)' % default)
    instead.add_argument('--statistics', metavar='FILE', nargs='+',
                         help='print how many segments annotations have, and how long these are')


def check(args):
    """Raise InputError where a flag has a value that cannot be used."""
    if not args.out:
        raise InputError('--out: found nothing, expected a folder')
    ranges = [('seed', 0, 2 ** 32 - 1)]
    ranges += [(setting.name, setting.minimum, setting.maximum) for setting in WORLD_SETTINGS]
    for name in ANNOTATION_SIZE:
        if getattr(args, name) is not None:
            if not args.write_annotation:
                raise InputError('--%s: only with --write_annotation; a demo world has the %s of its annotation'
                                 % (name, name.split('_')[1]))
            ranges.append((name, 1, np.inf))
    for name, minimum, maximum in ranges:
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
        videos, classes = [default if getattr(args, name) is None else getattr(args, name)
                           for name, default in ANNOTATION_SIZE.items()]
        is_written = write_if_new(args.write_annotation, annotation_text(videos, classes, args.seed), args.force)
        print('%s: %s: %s of %s' % (
            printable(args.write_annotation), 'written' if is_written else 'is there already',
            counted(videos, 'video'), counted(classes, 'class')))
    else:
        settings = Settings(**{name: getattr(args, name) for name in Settings._fields})
        paths = DATA._replace(data_root=args.out)
        print(printable(make(settings, args.annotation, paths, args.form, args.seed, args.force)))
