"""The tables of a data set: who is in it, its segments and labels, class names; every row checked.

An annotation is a text file, a segment a row, tab-separated: video, start and end in seconds, class index.
Class names stand one a line; the line number, from 0, is the class index.

Each reader hands the InputError of a faulty row or entry to `report` and leaves that row out; by default it is
raised. What makes all of a file unusable is always raised.
"""
import collections
import csv
import io
import math
import ntpath
import re
import reprlib
from typing import NamedTuple

import numpy as np

from errors import InputError
from files import read_json, read_text

DEVICES = {'CON', 'PRN', 'AUX', 'NUL'} | {'%s%d' % (port, n) for port in ('COM', 'LPT') for n in range(1, 10)}
MOMENT, FOREVER = 1e-3, 1e9  # seconds, and frames: no video is shorter, or as long


class Video(NamedTuple):
    """One video of the tables. A segment edge is a fraction of the video, in 0…1."""

    name: str
    label: int            # class index; -1 where the label table has none (validation only)
    seconds: float        # duration
    frames: int           # duration
    clips: int            # rows of its clip features
    segments: np.ndarray  # [segments, 2], usable ones only
    first_usable: bool    # whether the annotation's first segment is among them


class Segment(NamedTuple):
    """One row of an annotation."""

    video: str
    start: float  # seconds
    end: float    # seconds
    label: int    # class index


def stop(error):
    """What readers do with a faulty row by default: raise its InputError."""
    raise error


def check_id(video):
    """Raise InputError where an id cannot name a video: it would leave its folder, or its line.

    Ids become file names and HDF5 names on any system. Spaces and letters of any language may be in them.
    """
    if not video.strip() or video in ('.', '..') or '/' in video or '\\' in video or not video.isprintable():
        fault = 'expected a name without slashes, line ends and signs that cannot be printed'
    elif video.split('.')[0].rstrip().upper() in DEVICES or ntpath.splitdrive(video)[0]:
        fault = 'which names a device or a drive on Windows'
    else:
        return
    raise InputError('found the video id %s, %s; rename the video' % (ascii(video), fault))


# Class names and annotation text

def read_class_names(path, report=stop):
    """Class names of a file, in the order of their indices.

    Raises InputError where the file cannot be read, or a line is empty or repeats a name: either would give
    a class the name of another.
    """
    lines = _read_lines(path)
    first_line = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            report(InputError('%s, line %d: found an empty line, expected a class name: the line number is '
                              'the class index; fill it in' % (path, number)))
        elif name in first_line:
            report(InputError('%s, line %d: found %s, which is line %d already, expected a name of its own; '
                              'correct one of the two' % (path, number, name, first_line[name])))
        first_line.setdefault(name, number)
    if not lines:
        raise InputError('%s: found no class names, expected one a line' % path)
    return list(first_line)


def read_annotation(path, classes, report=stop):
    """Segments of an annotation, in the file's order.

    Args:
      path: the annotation.
      classes: how many class names there are; every class index has to be below it.
    Raises:
      InputError: the file cannot be read, has no row, or a malformed one.
    """
    segments, lines = [], _read_lines(path)
    for number, line in enumerate(lines, start=1):
        try:
            segments.append(_parse_row(line, classes))
        except InputError as error:
            report(InputError('%s, row %d: %s' % (path, number, error)))
    if not lines:
        raise InputError('%s: found no row, expected video, start, end and class index, tab-separated' % path)
    return segments


def without_duplicates(segments):
    """`segments` without those that repeat an earlier one in all four columns."""
    return list(collections.OrderedDict.fromkeys(segments))


def _read_lines(path):
    """Lines of a text, without what is empty at the end."""
    content = read_text(path).rstrip()
    return content.split('\n') if content else []


def _whole(text):
    """The whole number that `text` is; int() also takes 1_000, other scripts' digits and any length."""
    if not re.match(r'[+-]?[0-9]{1,9}$', text):
        raise ValueError(text)
    return int(text)


def _seconds(text):
    if '_' in text or len(text) > 99:  # float() takes 1_000
        raise ValueError(text)
    return float(text)


def _parse_row(line, classes):
    """Segment of one row; the InputError's message lacks the place, which the caller knows."""
    fields = line.split('\t')
    if len(fields) != 4 or not fields[0].strip():
        raise InputError('found %r, expected four columns, tab-separated: video, start, end, class index; '
                         'correct the row' % line)
    try:
        start, end, label = _seconds(fields[1]), _seconds(fields[2]), _whole(fields[3].strip())
    except ValueError:
        raise InputError('found %r, expected start and end as numbers and the class index as a whole number; '
                         'correct the row' % line) from None
    if not (0 <= start < end and math.isfinite(end)):
        raise InputError('found a segment from %s to %s, expected 0 <= start < end in seconds; correct or '
                         'remove the row' % (fields[1], fields[2]))
    if not 0 <= label < classes:
        raise InputError('found class index %d, expected 0 to %d, for there are %d class names; give those '
                         'of this annotation with --categories' % (label, classes - 1, classes))
    check_id(fields[0].strip())
    return Segment(fields[0].strip(), start, end, label)


# Info table, label table, annotation JSON

def read_info(path, subset, report=stop):
    """Names of the videos of `subset`, in the order of the info table.

    A video's later rows are left out; where one puts it into another subset, that is a fault: it would be
    tested on what it was trained with.
    """
    rows = csv.reader(io.StringIO(read_text(path)), strict=True)
    subset_of, faulty = collections.OrderedDict(), set()
    try:
        header = next(rows, [])
        missing = [name for name in ('video', 'subset') if name not in header]
        if missing:
            raise InputError('%s: no column %s in the header row, expected video and subset among names separated '
                             'by commas' % (path, ', '.join(missing)))
        at_video, at_subset = header.index('video'), header.index('subset')
        for row in rows:
            if not any(row):
                continue
            try:
                if len(row) <= max(at_video, at_subset) or any(row[len(header):]):
                    raise InputError('found %d cells, expected the %d of the header row' % (len(row), len(header)))
                video, found = row[at_video], row[at_subset]
                check_id(video)
                if subset_of.setdefault(video, found) != found:
                    faulty.add(video)
                    raise InputError('found video %s in subset %s, which an earlier row puts into %s; remove one'
                                     % (video, found, subset_of[video]))
            except InputError as error:
                report(InputError('%s, row %d: %s' % (path, rows.line_num, error)))
    except csv.Error as error:
        raise InputError('%s, row %d: not a CSV table (%s)' % (path, rows.line_num, error)) from None
    names = [video for video, found in subset_of.items() if found == subset and video not in faulty]
    if not names:
        raise InputError('%s: no video of subset %s (found %s)'
                         % (path, subset, ', '.join(sorted(set(subset_of.values()) - {''})) or 'none'))
    return names


def read_labels(path, classes, report=stop):
    """{video: class index} of a label table; a video's first row counts."""
    labels = {}
    for number, line in enumerate(read_text(path).split('\n'), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            label = _whole(fields[2])
        except (IndexError, ValueError):
            report(InputError('%s, row %d: found %r, expected: video, a number, class index, separated by '
                              'spaces' % (path, number, line.rstrip()[:99])))
            continue
        if not 0 <= label < classes:
            report(InputError('%s, row %d: class %d of video %s is not in 0…%d'
                              % (path, number, label, fields[0], classes - 1)))
            continue
        labels.setdefault(fields[0], label)
    return labels


def read_entries(path, pairs_hook=None):
    """The annotation JSON {video: {…}}, its entries as they stand there; `read_videos` checks them."""
    entries = read_json(path, pairs_hook)
    if not isinstance(entries, dict):
        raise InputError('%s: expected an object {video: {…}}' % path)
    return entries


def read_videos(names, annotation, labels, clip_frames, unusable, report=stop):
    """The annotation's entries of `names` → list of Video; counts unusable segments by reason."""
    entries, videos = read_entries(annotation), []
    for name in names:
        try:
            if name not in entries:
                raise InputError('no entry of video %s, which the info table names' % name)
            videos.append(_video(name, entries[name], labels.get(name, -1), clip_frames, unusable))
        except InputError as error:
            report(InputError('%s: %s' % (annotation, error)))
    return videos


def _video(name, entry, label, clip_frames, unusable):
    """Video of an entry; the InputError's message lacks the file, which the caller knows."""
    try:
        seconds, frames, feature_frame = [
            _number(entry[key]) for key in ('duration_second', 'duration_frame', 'feature_frame')]
        frames, feature_frame = int(frames), int(feature_frame)
        edges = [_edges(annotated) for annotated in entry.get('annotations', [])]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError('video %s: %s %s; expected numbers duration_second, duration_frame, '
                         'feature_frame, and annotations [{segment: [start_s, end_s]}]'
                         % (name, type(error).__name__, error)) from None
    if not (MOMENT <= seconds < FOREVER and 0 < frames < FOREVER and clip_frames <= feature_frame < FOREVER):
        raise InputError('video %s: found %g seconds, %d frames, %d feature frames; expected a clip at least, '
                         'and less than %g of each' % (name, seconds, frames, feature_frame, FOREVER))
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


def _number(value):
    try:
        if isinstance(value, str):  # as tables turned into JSON may have it
            return _seconds(value)
        if type(value) in (int, float):  # a bool is an int to isinstance
            return float(value)
    except ValueError:
        pass
    raise TypeError('found %s' % reprlib.repr(value))


def _edges(annotated):
    segment = annotated['segment']
    if not isinstance(segment, list):  # two digits of a text, or two keys, would do
        raise TypeError('found the segment %s' % reprlib.repr(segment))
    start, end = map(_number, segment)
    if not math.isfinite(start + end):
        raise ValueError('found a segment from %s to %s' % (start, end))
    return start, end


def read_durations(path):
    """{video: (seconds, frames)} of an annotation JSON, of the entries that have them."""
    found = {}
    for video, entry in read_entries(path).items():
        try:
            seconds, frames = _number(entry['duration_second']), int(_number(entry['duration_frame']))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if MOMENT <= seconds < FOREVER and 0 < frames < FOREVER:
            found[video] = seconds, frames
    return found
