"""What a network was trained on: class names, and digests of the tables, kept beside each snapshot.

A run that resumes or tests a snapshot compares its own data with them: a number belongs to its data.
"""
import hashlib
import json
import os

from dataset.tables import read_class_names

TABLES = {  # what of the videos a digest is made of → the table of it, without its side
    'names': 'info', 'order': 'info', 'labels': 'labels', 'segments': 'annotation', 'durations': 'annotation',
    'segment labels': 'annotation', 'row times': 'annotation', 'features': 'clips'}


def describe(data, left=None, **videos):
    """What JSON can hold of class names and videos: {side: {class_names, videos, and a digest for each of TABLES}}.

    Args:
      data: a DataConfig; a class-name list that does not exist is no part of the result.
      left: for each side, the videos that --missing drop has left of them; None: all.
      videos: for each side, source or target, its training videos (dataset.tables.Video); None: only the class names.
    """
    described = {}
    for side, found in videos.items():
        path = data.path(side + '_categories')
        described[side] = {'class_names': read_class_names(path)} if os.path.exists(path) else {}
        if found is not None:
            described[side].update({'videos': len(found)}, **_digests(found, data))
            if left and len(left[side]) < len(found):
                described[side]['features'] = _digest(sorted(video.name for video in left[side]))
    return described


def class_names(record, side):
    """The class names of a side that the record of a snapshot has, in order; None where it has none."""
    described = record.get('trained_on')
    return described.get(side, {}).get('class_names') if isinstance(described, dict) else None


def _digests(videos, data):
    """{name of TABLES: digest}. Parts that the authors' data do not have are there only where the data have them."""
    by_name = sorted(videos, key=lambda video: video.name)
    parts = {'names': [video.name for video in by_name],
             'order': [video.name for video in videos],
             'labels': [video.label for video in by_name],
             'segments': [video.segments.tolist() for video in by_name],
             'durations': [(video.seconds, video.frames, video.clips) for video in by_name]}
    if data.labels == 'segment':
        parts['segment labels'] = [video.segment_labels.tolist() for video in by_name]
    if any(video.times for video in videos):
        parts['row times'] = [video.times for video in by_name]
    return {name: _digest(part) for name, part in parts.items()}


def _digest(part):
    return hashlib.sha256(json.dumps(part).encode()).hexdigest()


def differences(saved, mine, data, ordered=True):
    """What differs between two results of `describe`: a text for each part that both have.

    In training, videos that --missing drop has left out count too: a part that is absent means none.

    Args:
      saved: of a snapshot, or None where it has none.
      mine: of this run.
      data: the DataConfig of this run.
      ordered: whether the order of the videos counts, as it does in training.
    """
    texts = []
    for side, here in mine.items():
        there = (saved or {}).get(side, {})
        if 'class_names' in here and 'class_names' in there and here['class_names'] != there['class_names']:
            texts.append('other %s class names: %s (this run: %s in %s)' % (
                (side,) + _first_difference(there['class_names'], here['class_names'])
                + (data.path(side + '_categories'),)))
        if 'videos' in here and 'videos' in there:
            changed = [name for name in TABLES if name in here and name in there and here[name] != there[name]]
            if ordered and ('features' in here) != ('features' in there):
                changed.append('features')
            if 'names' in changed:
                changed = ['names']  # of other videos, all else differs too
            elif not ordered:
                changed = [name for name in changed if name != 'order']
            if changed == ['features']:
                texts.append('%d %s videos, of which --missing drop left out others' % (there['videos'], side))
            elif changed:
                paths = sorted({data.path('%s_%s' % (side, TABLES[name])) for name in changed})
                texts.append('%d %s videos with other %s (this run: %d; %s)' % (
                    there['videos'], side, ', '.join(changed), here['videos'], ', '.join(paths)))
    return texts


def _first_difference(there, here):
    """Two texts: how two lists of class names differ first."""
    for line, (before, now) in enumerate(zip(there, here), start=1):
        if before != now:
            return 'line %d is %s' % (line, before), now
    return '%d names' % len(there), '%d' % len(here)
