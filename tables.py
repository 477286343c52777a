"""The tables of a data set: who is in it, its segments and labels, class names; every row checked.

An annotation is a text file, a segment a row, tab-separated: video, start and end in seconds, class index.
Class names stand one a line; the line number, from 0, is the class index.
"""
import contextlib
import json
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from errors import InputError, one_line


class Video(NamedTuple):
    """One video of the tables. A segment edge is a fraction of the video, in 0…1."""

    name: str
    label: int            # class index; -1 where the label table has none (validation only)
    seconds: float        # duration
    frames: int           # duration
    clips: int            # rows of its clip features
    segments: np.ndarray  # [segments, 2], usable ones only


class Segment(NamedTuple):
    """One row of an annotation."""

    video: str
    start: float  # seconds
    end: float    # seconds
    label: int    # class index


# Class names and annotation text

def read_class_names(path):
    """Class names of a file, in the order of their indices.

    Raises InputError where the file cannot be read, or a line is empty or repeats a name: either would give
    a class the name of another.
    """
    lines = _read_lines(path)
    first_line = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            raise InputError('%s, line %d: found an empty line, expected a class name: the line number is '
                             'the class index; fill it in' % (path, number))
        if name in first_line:
            raise InputError('%s, line %d: found %s, which is line %d already, expected a name of its own; '
                             'correct one of the two' % (path, number, name, first_line[name]))
        first_line[name] = number
    if not lines:
        raise InputError('%s: found no class names, expected one a line' % path)
    return list(first_line)


def read_annotation(path, classes):
    """Segments of an annotation, in the file's order.

    Args:
      path: the annotation.
      classes: how many class names there are; every class index has to be below it.
    Raises:
      InputError: the file cannot be read, has no row, or a malformed one.
    """
    segments = []
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            segments.append(_parse_row(line, classes))
        except InputError as error:
            raise InputError('%s, row %d: %s' % (path, number, error)) from None
    if not segments:
        raise InputError('%s: found no row, expected video, start, end and class index, tab-separated' % path)
    return segments


def _read_lines(path):
    """Lines of a UTF-8 text, without line ends, byte-order mark and what is empty at the end."""
    try:
        with open(path, encoding='utf-8-sig') as text:
            content = text.read().rstrip()
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    except UnicodeDecodeError as error:
        raise InputError('%s: found bytes that are not UTF-8 text (%s), expected a text file'
                         % (path, error)) from None
    return content.split('\n') if content else []


def _parse_row(line, classes):
    """Segment of one row; the InputError's message lacks the place, which the caller knows."""
    fields = line.split('\t')
    if len(fields) != 4 or not fields[0].strip():
        raise InputError('found %r, expected four columns, tab-separated: video, start, end, class index; '
                         'correct the row' % line)
    try:
        start, end, label = float(fields[1]), float(fields[2]), int(fields[3])
    except ValueError:
        raise InputError('found %r, expected start and end as numbers and the class index as a whole number; '
                         'correct the row' % line) from None
    if not (0 <= start < end and math.isfinite(end)):
        raise InputError('found a segment from %s to %s, expected 0 <= start < end in seconds; correct or '
                         'remove the row' % (fields[1], fields[2]))
    if not 0 <= label < classes:
        raise InputError('found class index %d, expected 0 to %d, for there are %d class names; give those '
                         'of this annotation with --categories' % (label, classes - 1, classes))
    return Segment(fields[0].strip(), start, end, label)


# Info table, label table, annotation JSON

@contextlib.contextmanager
def _open_table(path):
    try:
        with open(path, encoding='utf-8-sig') as lines:
            yield lines
    except OSError as error:
        raise InputError('%s: %s' % (path, error.strerror)) from None
    except UnicodeDecodeError as error:
        raise InputError('%s: not UTF-8 text (%s)' % (path, error)) from None


def read_info(path, subset):
    """Names of the videos of `subset`, in the order of the info table."""
    with _open_table(path) as lines:
        try:
            table = pd.read_csv(lines, dtype=str, index_col=False)  # False: a row may end with a comma
        except ValueError as error:
            raise InputError('%s: not a CSV table (%s)' % (path, one_line(error))) from None
    missing = {'video', 'subset'} - set(table.columns)
    if missing:
        raise InputError('%s: no column %s in the header row' % (path, ', '.join(sorted(missing))))
    names = table.video[table.subset == subset].drop_duplicates().tolist()
    if not names:
        raise InputError('%s: no video of subset %s (found %s)'
                         % (path, subset, ', '.join(sorted(set(table.subset.dropna()))) or 'none'))
    return names


def read_labels(path, classes):
    """{video: class index} of a label table; a video's first row counts."""
    labels = {}
    with _open_table(path) as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.split()
            if not fields:
                continue
            try:
                label = int(fields[2])
            except (IndexError, ValueError):
                raise InputError('%s, row %d: found %r, expected: video, a number, class index, separated by '
                                 'spaces' % (path, number, line.rstrip())) from None
            if not 0 <= label < classes:
                raise InputError('%s, row %d: class %d of video %s is not in 0…%d'
                                 % (path, number, label, fields[0], classes - 1))
            labels.setdefault(fields[0], label)
    return labels


def _read_annotation(path):
    with _open_table(path) as text:
        try:
            entries = json.load(text)
        except ValueError as error:
            raise InputError('%s: not JSON (%s)' % (path, error)) from None
    if not isinstance(entries, dict):
        raise InputError('%s: expected an object {video: {…}}' % path)
    return entries


def read_videos(names, annotation, labels, clip_frames, unusable):
    """The annotation's entries of `names` → list of Video; counts unusable segments by reason."""
    entries, videos = _read_annotation(annotation), []
    for name in names:
        if name not in entries:
            raise InputError('%s: no entry of video %s, which the info table names' % (annotation, name))
        try:
            entry = entries[name]
            seconds, frames = float(entry['duration_second']), int(entry['duration_frame'])
            feature_frame = int(entry['feature_frame'])
            segments = [annotated['segment'] for annotated in entry.get('annotations', [])]
            edges = np.array([(float(start), float(end)) for start, end in segments]).reshape(-1, 2)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError('%s: video %s: %s %s; expected numbers duration_second, duration_frame, '
                             'feature_frame, and annotations [{segment: [start_s, end_s]}]'
                             % (annotation, name, type(error).__name__, error)) from None
        if not (0 < seconds < math.inf and frames > 0 and feature_frame >= clip_frames):
            raise InputError('%s: video %s: found %g seconds, %d frames, %d feature frames; expected a clip '
                             'at least' % (annotation, name, seconds, frames, feature_frame))
        fractions = np.clip(edges / (feature_frame / frames * seconds), 0, 1)
        no_length = ~(edges[:, 1] > edges[:, 0])
        outside = ~no_length & ~(fractions[:, 1] > fractions[:, 0])
        unusable['without length'] += int(no_length.sum())
        unusable['outside their video'] += int(outside.sum())
        videos.append(Video(name, labels.get(name, -1), seconds, frames, feature_frame // clip_frames,
                            fractions[~no_length & ~outside]))
    return videos


def read_durations(path):
    """{video: (seconds, frames)} of an annotation JSON, of the entries that have them."""
    entries, found = _read_annotation(path), {}
    for video, entry in entries.items():
        try:
            seconds, frames = float(entry['duration_second']), int(entry['duration_frame'])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if 0 < seconds < math.inf and frames > 0:
            found[video] = seconds, frames
    return found
