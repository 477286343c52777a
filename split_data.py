"""One annotated data set of untrimmed videos → a transfer within it: source classes and target classes.

    python prepare_data.py split --data_root data --out data/split --source_count 87 --seed 0

Of source classes the training videos are kept with their segments; of target classes the training videos, whose
segments become the moments, and the validation videos. The tables are written in the layout that
config.DataConfig names, the features are links to those of the data set.

Segments without length are left out: they can be neither learned nor found. A video has one class, that of its first
segment left, as the label table has one a video. Its segments of other classes are left out on both sides: the times
of a target class never get into source training, and no segment trains or counts under another's name. The frames of
such a segment stay, as background.
"""
import collections
import csv
import difflib
import io
import json
import os
from typing import NamedTuple

import numpy as np

from config import DataConfig
from errors import InputError
from features import FeatureStore
from files import write_text, writing
from tables import Segment, read_class_names, read_entries, read_info, read_videos

RECORD = 'split.json'  # what a split was made of, beside its tables
LINKS = {'source_features': 'source_features', 'source_clips': 'source_clips',
         'target_features': 'source_features', 'target_clips': 'source_clips'}  # of the split: of the data set


class Annotated(NamedTuple):
    """One video of the data set, with the segments of its class."""

    name: str
    subset: str     # 'training' or 'validation'
    label: str      # class name, of the first segment
    entry: dict     # durations, and annotations: [{segment: [start_s, end_s], label}]


class Split(NamedTuple):
    """The videos of a transfer; an index is a class's place in the list of its side."""

    source_names: list
    target_names: list
    source: list      # of Annotated, training
    moments: list     # of Annotated, training
    validation: list  # of Annotated
    unused: list      # of Annotated: source classes, validation
    unlisted: list    # of Annotated: classes of neither side


# The data set

def read_data_set(data):
    """Videos of the source tables of a DataConfig, training first → ([Annotated], Counter of what was left out).

    Classes are the annotation's names; the label table is not read. Raises InputError where a table cannot be used.
    """
    path, videos, left_out = data.path('source_annotation'), [], collections.Counter()
    entries = read_entries(path)
    names_of = {subset: read_info(data.path('source_info'), subset) for subset in ('training', 'validation')}
    # raises where an entry is faulty
    read_videos(sum(names_of.values(), []), path, {}, data.clip_frames, collections.Counter())
    for subset, names in names_of.items():
        for name in names:
            video = _annotated(name, subset, entries[name], path, left_out)
            if video is None:
                left_out['videos without a segment'] += 1
            else:
                videos.append(video)
    return videos, +left_out


def _annotated(name, subset, entry, path, left_out):
    """Annotated of an entry whose numbers are checked, None where it has no segment; adds to `left_out`."""
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
            left_out['segments without length'] += 1
    if not segments:
        return None
    own = segments[0][0]
    kept = [{'segment': edges, 'label': label} for label, edges in segments if label == own]
    left_out['segments of another class than their video'] += len(segments) - len(kept)
    left_out['videos of two classes or more, cut to that of their first segment'] += len(kept) < len(segments)
    return Annotated(name, subset, own, dict(entry, annotations=kept))


# Choosing the classes

def listed_classes(source_path, target_path, known, annotation):
    """(source names, target names) of two files, a name a line.

    Raises InputError at a name that `known` does not have, that stands twice, or in both files.
    """
    names = [read_class_names(path) for path in (source_path, target_path)]
    for path, found in zip((source_path, target_path), names):
        for line, name in enumerate(found, start=1):
            if name not in known:
                close = difflib.get_close_matches(name, sorted(known))
                raise InputError('%s, line %d: found %s, which no video of %s has; %s' % (
                    path, line, name, annotation,
                    'close to it: ' + ', '.join(close) if close else 'no class there has a name like it'))
    for line, name in enumerate(names[1], start=1):
        if name in names[0]:
            raise InputError('%s, line %d: found %s, which is line %d of %s too; a class is on one side' % (
                target_path, line, name, 1 + names[0].index(name), source_path))
    return names


def drawn_classes(known, count, seed):
    """(source names, target names), sorted: `count` of the names in `known`, drawn by the seed, and the rest."""
    if not 0 < count < len(known):
        raise InputError('%d source classes: expected 1 to %d, for the annotation has %d classes'
                         % (count, len(known) - 1, len(known)))
    names = sorted(known)
    order = np.random.RandomState(seed).permutation(len(names))
    return [[names[index] for index in sorted(chosen)] for chosen in (order[:count], order[count:])]


def split(videos, source_names, target_names):
    """Videos of Annotated → Split; raises InputError where a part of it has none."""
    side = dict([(name, 'source') for name in source_names] + [(name, 'target') for name in target_names])
    parts = collections.defaultdict(list)
    for video in videos:
        parts[side.get(video.label), video.label in side and video.subset].append(video)
    made = Split(source_names, target_names, parts['source', 'training'], parts['target', 'training'],
                 parts['target', 'validation'], parts['source', 'validation'], parts[None, False])
    for part, found in (('source training', made.source), ('target training', made.moments),
                        ('target validation', made.validation)):
        if not found:
            raise InputError('%s: no video of these classes is left' % part)
    return made


def counts_of(made):
    """{part of a Split: {'videos', 'segments'}}, the parts under the names that the summary has."""
    return collections.OrderedDict(
        (name, {'videos': len(videos), 'segments': sum(len(video.entry['annotations']) for video in videos)})
        for name, videos in (('source training', made.source), ('target training: moments', made.moments),
                             ('target validation', made.validation), ('unused: source validation', made.unused),
                             ('unused: classes of neither', made.unlisted)))


# Writing

def write(made, data, out, record):
    """Write the tables of a Split below `out`, and links to the features of the DataConfig `data`.

    `record` (JSON) says what the split was made of. Returns the fields of features that are not there.
    Raises InputError where `out` holds anything but an earlier split, or a link cannot be made.
    """
    paths = DataConfig(data_root=out)
    _check_out(out, data)
    write_text(os.path.join(out, RECORD), json.dumps(record, indent=1) + '\n')
    for side, names, videos in (('source', made.source_names, made.source),
                                ('target', made.target_names, made.moments + made.validation)):
        index = {name: number for number, name in enumerate(names)}
        write_text(paths.path(side + '_categories'), ''.join(name + '\n' for name in names))
        info = io.StringIO()
        csv.writer(info, lineterminator='\n').writerows(
            [('video', 'subset')] + [(video.name, video.subset) for video in videos])
        write_text(paths.path(side + '_info'), info.getvalue())
        write_text(paths.path(side + '_labels'), ''.join(
            '%s %d %d\n' % (video.name, len(video.entry['annotations']), index[video.label]) for video in videos))
        write_text(paths.path(side + '_annotation'), json.dumps(
            {video.name: video.entry for video in videos}, indent=1) + '\n')
    return [field for field in LINKS if not _link(data.path(LINKS[field]), paths.path(field))]


def segments_of(videos, class_names):
    """Every segment of Annotated videos, as a tables.Segment."""
    index = {name: number for number, name in enumerate(class_names)}
    return [Segment(video.name, annotated['segment'][0], annotated['segment'][1], index[video.label])
            for video in videos for annotated in video.entry['annotations']]


def _check_out(out, data):
    """Raise InputError where writing to `out` could overwrite data."""
    if os.path.realpath(out) == os.path.realpath(data.data_root):
        raise InputError('--out %s: is the data set itself; name another folder' % out)
    if os.path.isdir(out) and os.listdir(out) and not os.path.isfile(os.path.join(out, RECORD)):
        raise InputError('--out %s: is not empty and holds no %s, so that it is no earlier split; name another folder'
                         % (out, RECORD))


def _link(features, path):
    """Make `path` a relative link to `features`, a folder or an HDF5 file, in place of one of an earlier split.

    Returns whether the features are there.
    """
    features = FeatureStore(features, 0).path
    for end in ('', '.h5'):
        if os.path.islink(path + end):
            os.remove(path + end)
    if not os.path.exists(features):
        return False
    path += '' if os.path.isdir(features) else '.h5'
    try:
        with writing(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(os.path.relpath(os.path.realpath(features), os.path.realpath(os.path.dirname(path))), path)
    except InputError as error:
        raise InputError('%s; the features are not copied: where links are impossible, name them with the path flags '
                         'of training and testing' % error) from None
    return True
