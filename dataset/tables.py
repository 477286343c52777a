"""Readers of the tables of a data set: its videos, their segments and labels, and class names. Every row is checked.

docs/data.md describes the files. At a faulty row or entry a reader calls `on_error` with an InputError and skips the
row; the default `on_error` raises the error. An error that makes a complete file unusable is always raised.
"""
import collections
import contextlib
import csv
import difflib
import io
import math
import re
import reprlib
from typing import NamedTuple

import numpy as np

from runtime.errors import InputError
from runtime.files import read_json, read_text

SUBSETS = ('training', 'validation')  # of an info table that are read; others are ignored
MIN_SECONDS, MAX_SECONDS = 1e-3, 1e9  # limits of a duration; the upper one is also that of its frames


class Video(NamedTuple):
    """One video of the tables."""

    name: str
    label: int            # class index; -1 where the label table has none (validation only)
    seconds: float        # duration
    frames: int           # video frames
    clips: int            # rows of its clip features
    segments: np.ndarray  # [segments, 2], start and end as fractions of the video (0 to 1); usable segments only
    first_usable: bool    # whether the first segment of the annotation is usable


class Segment(NamedTuple):
    """One row of an annotation, or of ground truth."""

    video: str
    start: float  # seconds
    end: float    # seconds
    label: int    # class index


def raise_error(error):
    """The default `on_error` of the readers: raise the InputError of a faulty row."""
    raise error


@contextlib.contextmanager
def located_errors(place, on_error=raise_error):
    """Give an InputError raised inside to `on_error`, with `place` (a file, and its row) before its message."""
    try:
        yield
    except InputError as error:
        on_error(InputError('%s: %s' % (place, error)))


def check_video_id(video):
    """Raise InputError where a video id cannot be a file name or the name of an HDF5 dataset.

    Spaces and letters of any language are allowed.
    """
    if not video.strip() or video in ('.', '..') or '/' in video or '\\' in video or not video.isprintable():
        raise InputError('found the video id %s, expected a name without slashes, line ends and unprintable '
                         'characters; rename the video' % ascii(video))


# Class names and annotation text

def read_class_names(path, on_error=raise_error):
    """Class names of a file, one per line; the line number, from 0, is the class index.

    Raises InputError where the file cannot be read or holds nothing. A line that is empty or repeats a name is an
    error, because it would give a class the name of another.
    """
    lines = _read_lines(path)
    first_line = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            on_error(InputError('%s, line %d: found an empty line, expected a class name, because the line '
                                'number is the class index; fill it in' % (path, number)))
        elif name in first_line:
            on_error(InputError('%s, line %d: found %s, which is line %d already, expected another name; '
                                'correct one of the two' % (path, number, name, first_line[name])))
        first_line.setdefault(name, number)
    if not lines:
        raise InputError('%s: found no class names, expected one per line' % path)
    return list(first_line)


def read_annotation(path, classes, on_error=raise_error):
    """Segments of an annotation, in the order of the file: a text file with one segment per row.

    A row has four columns, separated by tabs: video, start and end in seconds, class index. Every class index must be
    less than `classes`. Raises InputError where the file cannot be read or has no row.
    """
    segments, lines = [], _read_lines(path)
    for number, line in enumerate(lines, start=1):
        with located_errors('%s, row %d' % (path, number), on_error):
            segments.append(_parse_row(line, classes))
    if not lines:
        raise InputError('%s: found no row, expected video, start, end and class index, tab-separated' % path)
    return segments


def without_duplicates(segments):
    """`segments` without those that repeat an earlier segment in all four columns."""
    return list(collections.OrderedDict.fromkeys(segments))


def _read_lines(path):
    """Lines of a text file, without empty lines at the end."""
    content = read_text(path).rstrip()
    return content.split('\n') if content else []


def _whole_number(text):
    """The whole number in `text`; ValueError where it is none."""
    # int() alone would also take 1_000, digits of other scripts and any length
    if not re.match(r'[+-]?[0-9]{1,9}$', text):
        raise ValueError(text)
    return int(text)


def _real_number(text):
    """The number in `text`; ValueError where it is none."""
    if '_' in text or len(text) > 99:  # float() alone would take 1_000
        raise ValueError(text)
    return float(text)


def _parse_row(line, classes):
    """Segment of one row. Raises InputError without file and row number, which the caller adds."""
    fields = line.split('\t')
    if len(fields) != 4 or not fields[0].strip():
        raise InputError('found %r, expected four columns, tab-separated: video, start, end, class index; '
                         'correct the row' % line)
    try:
        start, end, label = _real_number(fields[1]), _real_number(fields[2]), _whole_number(fields[3].strip())
    except ValueError:
        raise InputError('found %r, expected start and end as numbers and the class index as a whole number; '
                         'correct the row' % line) from None
    if not (0 <= start < end and math.isfinite(end)):
        raise InputError('found a segment from %s to %s, expected 0 <= start < end in seconds; correct or '
                         'remove the row' % (fields[1], fields[2]))
    if not 0 <= label < classes:
        raise InputError('found class index %d, expected 0 to %d, because there are %d class names; give the '
                         'class names of this annotation with --categories' % (label, classes - 1, classes))
    check_video_id(fields[0].strip())
    return Segment(fields[0].strip(), start, end, label)


# Info table, label table, annotation JSON

def read_info(path, subset, on_error=raise_error):
    """Names of the videos of `subset`, in the order of the info table: a CSV with columns video and subset.

    Later rows of the same video are ignored. A row that puts it into another subset is an error, because the network
    would be tested on a video that it was trained on. So is a subset that is written in another way than SUBSETS,
    such as Training: its videos would be missing. Raises InputError where no video of `subset` is left.
    """
    rows = csv.reader(io.StringIO(read_text(path)), strict=True)
    subset_of, faulty = collections.OrderedDict(), set()
    try:
        header = next(rows, [])
        missing = [name for name in ('video', 'subset') if name not in header]
        if missing:
            raise InputError('%s: no column %s in the header row, expected video and subset among names that '
                             'are separated by commas' % (path, ', '.join(missing)))
        at_video, at_subset = header.index('video'), header.index('subset')
        for row in rows:
            if not any(row):
                continue
            with located_errors('%s, row %d' % (path, rows.line_num), on_error):
                if len(row) <= max(at_video, at_subset) or any(row[len(header):]):
                    raise InputError('found %d cells, expected the %d of the header row' % (len(row), len(header)))
                video, found = row[at_video], row[at_subset]
                check_video_id(video)
                if found not in SUBSETS and found.strip().lower() in SUBSETS:
                    raise InputError('found video %s in subset %r, expected %s; correct the subset'
                                     % (video, found, found.strip().lower()))
                if subset_of.setdefault(video, found) != found:
                    faulty.add(video)
                    raise InputError('found video %s in subset %s, which an earlier row puts into %s; remove '
                                     'one of the rows' % (video, found, subset_of[video]))
    except csv.Error as error:
        raise InputError('%s, row %d: not a CSV table (%s)' % (path, rows.line_num, error)) from None
    names = [video for video, found in subset_of.items() if found == subset and video not in faulty]
    if not names:
        raise InputError('%s: no video of subset %s (found %s)'
                         % (path, subset, ', '.join(sorted(set(subset_of.values()) - {''})) or 'none'))
    return names


def read_label_rows(path, classes, on_error=raise_error):
    """Yield (row, video, class index) of a label table: rows of video, a number, class index; separated by spaces.

    Rows count from 1; columns after the third are ignored.
    """
    for number, line in enumerate(read_text(path).split('\n'), start=1):
        fields = line.split()
        if not fields:
            continue
        with located_errors('%s, row %d' % (path, number), on_error):
            try:
                label = _whole_number(fields[2])
            except (IndexError, ValueError):
                raise InputError('found %r, expected: video, a number, class index, separated by spaces'
                                 % line.rstrip()[:99]) from None
            if not 0 <= label < classes:
                raise InputError('class %d of video %s is not in 0…%d' % (label, fields[0], classes - 1))
            yield number, fields[0], label


def read_labels(path, classes, on_error=raise_error):
    """{video: class index} of a label table; the first row of a video counts."""
    labels = {}
    for _, video, label in read_label_rows(path, classes, on_error):
        labels.setdefault(video, label)
    return labels


def read_entries(path, pairs_hook=None):
    """The annotation JSON {video: {…}}, unchecked; `read_videos` checks its entries."""
    entries = read_json(path, pairs_hook)
    if not isinstance(entries, dict):
        raise InputError('%s: expected an object {video: {…}}' % path)
    return entries


def read_videos(names, annotation, labels, clip_frames, unusable, on_error=raise_error):
    """List of Video: those of `names` that have an entry in the annotation JSON.

    Args:
      names: names of videos, of the info table.
      annotation: path of the annotation JSON.
      labels: {video: class index}.
      clip_frames: frames of a clip.
      unusable: a Counter; unusable segments are added to it, by reason.
      on_error: see above.
    """
    entries, videos = read_entries(annotation), []
    for name in names:
        with located_errors(annotation, on_error):
            if name not in entries:
                raise InputError('no entry for video %s, which is in the info table' % name)
            videos.append(_video(name, entries[name], labels.get(name, -1), clip_frames, unusable))
    return videos


def _video(name, entry, label, clip_frames, unusable):
    """Video of an entry. Raises InputError without the file, which the caller adds."""
    try:
        seconds, frames, feature_frame = [
            _number(entry[key]) for key in ('duration_second', 'duration_frame', 'feature_frame')]
        frames, feature_frame = int(frames), int(feature_frame)
        edges = [_edges(annotated) for annotated in entry.get('annotations', [])]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError('video %s: %s %s; expected numbers duration_second, duration_frame, '
                         'feature_frame, and annotations [{segment: [start_s, end_s]}]'
                         % (name, type(error).__name__, error)) from None
    similar = [key for key in entry if _is_misspelt(key)] if 'annotations' not in entry else []
    if similar:
        raise InputError('video %s: found the key %s, expected annotations; correct the key' % (name, similar[0]))
    if not (MIN_SECONDS <= seconds < MAX_SECONDS and 0 < frames < MAX_SECONDS
            and clip_frames <= feature_frame < MAX_SECONDS):
        raise InputError('video %s: found %g seconds, %d frames, %d feature frames; expected at least one '
                         'clip, and less than %g of each' % (name, seconds, frames, feature_frame, MAX_SECONDS))
    length, usable, first_usable = feature_frame / frames * seconds, [], False
    for number, (start, end) in enumerate(edges):
        first, last = [min(max(edge / length, 0), 1) for edge in (start, end)]
        if not start < end:
            unusable['without length'] += 1
        elif not first < last:
            unusable['outside their video'] += 1
        else:
            usable.append((first, last))
            first_usable |= number == 0
    return Video(name, label, seconds, frames, feature_frame // clip_frames,
                 np.array(usable, float).reshape(-1, 2), first_usable)


def _is_misspelt(key):
    """Whether `key` is nearly "annotations": its segments would be ignored."""
    return difflib.SequenceMatcher(None, key.lower(), 'annotations').ratio() > 0.85


def _number(value):
    if type(value) in (int, float):  # isinstance would take a bool for an int
        return float(value)
    with contextlib.suppress(ValueError):
        if isinstance(value, str):  # JSON made from a table may have texts
            return _real_number(value)
    raise TypeError('found %s' % reprlib.repr(value))


def _edges(annotated):
    segment = annotated['segment']
    if not isinstance(segment, list):  # a text of two digits, or two keys, would pass below
        raise TypeError('found the segment %s' % reprlib.repr(segment))
    start, end = map(_number, segment)
    if not math.isfinite(start + end):
        raise ValueError('found a segment from %s to %s' % (start, end))
    return start, end


def read_durations(path):
    """{video: (seconds, frames)} of an annotation JSON; entries without usable durations are ignored."""
    found = {}
    for video, entry in read_entries(path).items():
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            seconds, frames = _number(entry['duration_second']), int(_number(entry['duration_frame']))
            if MIN_SECONDS <= seconds < MAX_SECONDS and 0 < frames < MAX_SECONDS:
                found[video] = seconds, frames
    return found
