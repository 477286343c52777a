"""What people have as annotation → one list of videos. The form is recognised by its content, never by its name.

JSON: ActivityNet's form (also that of THUMOS14, HACS and FineAction), BMN's, and Kinetics' own. Tables: see
annotation_rows.py. Several files together are read as one annotation, such as BMN's JSON and its info table.
"""
import collections
import math
import os
from typing import NamedTuple

from dataset.tables import check_video_id, located_errors
from preparation.annotation_rows import Annotated, Rows, kinetics_clip, merged, number, read_rows
from runtime.errors import InputError
from runtime.files import read_json, read_text, repeated_keys

# What an entry says → its keys; the first that is there counts
SECONDS = ('duration', 'duration_second', 'video_duration', 'seconds', 'length')
FPS = ('rfps', 'fps', 'frame_rate')
FRAMES = ('duration_frame', 'frame', 'frames', 'num_frames', 'frame_num')
SUBSET = ('subset', 'split')
LABEL = ('label', 'class', 'category', 'label_id')
SAME_FRAMES = 2  # by which frames and fps times seconds differ where all three are rounded


class Form(NamedTuple):
    """An annotation."""

    text: str      # its form and files, for people
    videos: list   # of Annotated; a name is there once
    negatives: int = 0  # rows of HACS' list of clips that say where an action is not; they are left out


def read_forms(paths):
    """The Form of one file, or of several that belong together. Raises InputError, with file and place."""
    read = [(path, _read_form(path)) for path in paths]
    infos = [(path, rows.videos) for path, rows in read if rows.is_info]
    others = [(path, rows.videos) for path, rows in read if not rows.is_info]
    if not others:
        raise InputError('%s: found videos and subsets, but no segments and no classes; name the file with the '
                         'segments, too: --annotation %s FILE' % (paths[0], paths[0]))
    videos = collections.OrderedDict()
    for path, found in others:
        for video in found:
            if video.name in videos:
                raise InputError('%s: found video %s, which another file of the annotation has too; remove it from '
                                 'one of them' % (path, video.name))
            videos[video.name] = video
    for path, found in infos:
        for video in found:
            videos[video.name] = merged(path, video.name, _without_known(video, videos.get(video.name)), video)
    return Form(' and '.join('%s (%s)' % (rows.form, path) for path, rows in read),
                [_with_rate(video) for video in videos.values()], sum(rows.dropped for _, rows in read))


def _without_known(info, video):
    """`video` without what an info table says of it, too; an empty one where it has no annotation.

    The table's numbers count, because those of both are often rounded in different ways.
    """
    if video is None:
        return Annotated(info.name)
    return video._replace(**{field: None for field in ('seconds', 'fps', 'frames')
                             if getattr(info, field) is not None})


def _with_rate(video):
    """`video` with the frame rate that it really has: frames a second, where a nominal rate contradicts them."""
    if video.frames and video.seconds and (
            not video.fps or abs(video.fps * video.seconds - video.frames) > SAME_FRAMES):
        return video._replace(fps=video.frames / video.seconds)
    return video


def _read_form(path):
    """The Rows of a file of any form."""
    if os.path.isdir(path):
        raise InputError('%s: found a folder, expected a file; give folders with --features, --clips or --untrimmed'
                         % path)
    start = read_text(path).lstrip()[:1]
    if not start:
        raise InputError('%s: found an empty file, expected an annotation' % path)
    return _read_json(path) if start in '{[' else read_rows(path)


# JSON

def _read_json(path):
    """The Rows of a JSON file with an object for each video."""
    content = read_json(path, _object)
    entries = content.get('database', content) if isinstance(content, dict) else None
    if isinstance(content, dict) and 'results' in content and 'database' not in content:
        raise InputError('%s: found results of a network, expected an annotation: {"database": {VIDEO: {…}}}' % path)
    if not isinstance(entries, dict) or not entries or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InputError('%s: found no object for each video, expected {"database": {VIDEO: {"subset": …, '
                         '"duration": …, "annotations": […]}}}, or {VIDEO: {…}}' % path)
    _check_keys(path, entries)
    videos = []
    for name, entry in entries.items():
        with located_errors('%s: video %s' % (path, name)):
            check_video_id(name)
            videos.append(_video_of(name, entry))
    if any(video.clip_of for video in videos):
        return Rows("Kinetics' JSON", videos)
    return Rows("ActivityNet's form" if 'database' in content else "BMN's form", videos)


def _object(pairs):
    """A dict of the pairs of a JSON object; ValueError where a key is repeated: json would take the last one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError('found the key %s twice in one object' % next(iter(repeated_keys(pairs))))
    return found


def _check_keys(path, entries):
    if not any('annotations' in entry for entry in entries.values()):
        name, entry = next(iter(entries.items()))
        raise InputError('%s: found no video with the key annotations (video %s has %s), expected it; name the file '
                         'with the segments' % (path, name, ', '.join(list(entry)[:5]) or 'no key'))


def _video_of(name, entry):
    """Annotated of an entry. Raises InputError without file and video, which the caller adds."""
    known = {'subset': _subset(entry), 'fps': _positive(entry, FPS), 'frames': _positive(entry, FRAMES)}
    annotations = entry.get('annotations')
    if isinstance(annotations, dict):  # Kinetics has one in place of a list
        unlabelled = _first(annotations, LABEL) is None  # of its test subset
        start, end, label = _segment(dict(annotations, label='none') if unlabelled else annotations)
        return kinetics_clip(name, start, end, clip_label=None if unlabelled else label, **known)
    if not isinstance(annotations, (list, type(None))):
        raise InputError('annotations: found %.99r, expected a list of {"segment": [start, end], "label": class}'
                         % (annotations,))
    segments = []
    for place, annotated in enumerate(annotations or [], start=1):
        with located_errors('annotation %d' % place):
            segments.append(_segment(annotated))
    return Annotated(name, seconds=_positive(entry, SECONDS), segments=tuple(segments), **known)


def _first(entry, keys):
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def _subset(entry):
    found = _first(entry, SUBSET)
    if not isinstance(found, (str, type(None))):
        raise InputError('subset: found %.99r, expected a name' % (found,))
    return (found or '').strip() or None


def _positive(entry, keys):
    """The number under the first of `keys` that is there, or None where none is."""
    found = _first(entry, keys)
    value = None if found is None else _number(found, next(key for key in keys if entry.get(key) is not None))
    if value is not None and value <= 0:
        raise InputError('%s: found %s, expected more than 0; correct it' % (keys[0], found))
    return value


def _number(value, what):
    """The finite number in `value`, which may be a text."""
    try:
        if type(value) in (int, float) and math.isfinite(value):  # isinstance would take a bool for an int
            return float(value)
        if isinstance(value, str):
            return number(value)
    except (ValueError, OverflowError):
        pass
    raise InputError('%s: found %.99r, expected a finite number; correct it' % (what, value))


def _segment(annotated):
    """(start, end, label) of an annotation of an entry."""
    edges = annotated.get('segment') if isinstance(annotated, dict) else None
    label = _first(annotated, LABEL) if isinstance(annotated, dict) else None
    if not isinstance(edges, list) or len(edges) != 2 or type(label) not in (str, int) or not str(label).strip():
        raise InputError('found %.99r, expected {"segment": [start, end], "label": class}; correct it' % (annotated,))
    return _number(edges[0], 'segment'), _number(edges[1], 'segment'), str(label).strip()
