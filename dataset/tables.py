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
MIN_ROW_SECONDS = 1e-4                # of a row of features


class RowTimes(NamedTuple):
    """When the rows of a video's features are: row r is centred at first_row_second + r · row_seconds."""

    row_seconds: float
    first_row_second: float


class Video(NamedTuple):
    """One video of the tables.

    The span of a video is what the rows of its clip features cover: from half a row before the centre of the first
    row to half a row after that of the last.
    """

    name: str
    label: int            # class index; -1 where the label table has none (validation only)
    seconds: float        # duration
    frames: int           # video frames; 0 where `times` are known and they are not
    clips: int            # rows of its clip features
    segments: np.ndarray  # [n, 2], start and end as fractions of the span (0 to 1); usable segments only
    first_usable: bool    # whether the first segment of the annotation is usable
    segment_labels: np.ndarray = np.zeros(0, int)  # [n] class index of each; -1: its label is no class name
    times: RowTimes = None                         # None: as published, a row for each clip_frames frames
    file: str = ''        # name of its features, without form, where that is not `name`

    @property
    def start(self):
        """Second at which the span starts."""
        return self.times.first_row_second - self.times.row_seconds / 2 if self.times else 0.0

    @property
    def span(self):
        """Length of the span in seconds; as published, it is taken for the video's duration."""
        return self.clips * self.times.row_seconds if self.times else self.seconds

    @property
    def features(self):
        """Name of its features in their folder or HDF5 file."""
        return self.file or self.name


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


def spelling_free(name):
    """What is left of a class name without case, spaces, underscores and hyphens."""
    return re.sub(r'[\s_-]', '', name).casefold()


def check_feature_name(name):
    """Raise InputError where the name of a video's features cannot be a path below their folder, such as a/b."""
    for part in name.split('/'):
        check_video_id(part)


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
    """Yield (row, video, class index) of a label table: rows of video, a number, class index.

    A row with a tab is separated by tabs, so that a video id may have spaces; any other row by spaces. Rows count
    from 1; columns after the third are ignored.
    """
    for number, line in enumerate(read_text(path).split('\n'), start=1):
        fields = [field.strip() for field in line.split('\t')] if '\t' in line.rstrip() else line.split()
        if not any(fields):
            continue
        with located_errors('%s, row %d' % (path, number), on_error):
            try:
                label = _whole_number(fields[2])
            except (IndexError, ValueError):
                raise InputError('found %r, expected: video, a number, class index, separated by spaces '
                                 'or tabs'
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


class AnnotationRules(NamedTuple):
    """What a side's tables leave to the settings: how its annotation JSON is read."""

    clip_frames: int = 8       # frames of a row, where nothing else says when the rows are
    times: RowTimes = None     # of the rows of videos whose entries have none
    class_names: tuple = None  # whose place is the class index of a segment's own label; None: labels are not read


def read_videos(names, annotation, labels, rules, unusable, on_error=raise_error):
    """videos_of the entries in the annotation JSON at the path `annotation`."""
    return videos_of(names, read_entries(annotation), annotation, labels, rules, unusable, on_error)


def videos_of(names, entries, place, labels, rules, unusable, on_error=raise_error):
    """List of Video: those of `names` that have an entry.

    Args:
      names: names of videos, of the info table.
      entries: {video: entry of the annotation JSON}.
      place: where the entries are from, for messages.
      labels: {video: class index}.
      rules: AnnotationRules.
      unusable: a Counter; unusable segments are added to it, by reason.
      on_error: see above.
    """
    videos = []
    index_of = {name: index for index, name in enumerate(rules.class_names or ())}
    for name in names:
        with located_errors(place, on_error):
            if name not in entries:
                raise InputError('no entry for video %s, which is in the info table' % name)
            with located_errors('video %s' % name):
                videos.append(_video(name, entries[name], labels.get(name, -1), rules, index_of, unusable))
    return videos


def _video(name, entry, label, rules, index_of, unusable):
    """Video of an entry. Raises InputError without file and video, which the caller adds."""
    try:
        times = _row_times(entry, rules)
        seconds, frames, clips = _lengths(entry, times, rules.clip_frames)
        edges = [_edges(annotated) for annotated in entry.get('annotations', [])]
        own_labels = [_index_of(annotated.get('label'), index_of) for annotated in entry.get('annotations', [])]
        file = entry.get('file', '')
        if not isinstance(file, str):
            raise TypeError('found the file %s' % reprlib.repr(file))
        if file:
            check_feature_name(file)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError('%s %s; expected numbers duration_second, duration_frame, feature_frame, or '
                         'duration_second, rows, row_seconds, and annotations [{segment: [start_s, end_s]}]'
                         % (type(error).__name__, error)) from None
    similar = [key for key in entry if _is_misspelt(key)] if 'annotations' not in entry else []
    if similar:
        raise InputError('found the key %s, expected annotations; correct the key' % similar[0])
    video = Video(name, label, seconds, frames, clips, None, False, None, times, file)
    length = video.span if times else _whole(entry, 'feature_frame') / frames * seconds
    usable, usable_labels, first_usable = [], [], False
    for number, ((start, end), own_label) in enumerate(zip(edges, own_labels)):
        first, last = [min(max((edge - video.start) / length, 0), 1) for edge in (start, end)]
        if not start < end:
            unusable['without length'] += 1
        elif not first < last:
            unusable['outside their video'] += 1
        else:
            usable.append((first, last))
            usable_labels.append(own_label)
            first_usable |= number == 0
    return video._replace(segments=np.array(usable, float).reshape(-1, 2), first_usable=first_usable,
                          segment_labels=np.array(usable_labels, int))


def _index_of(label, index_of):
    """Class index of a segment's own label, which may be absent or no text; -1 where it is no class name."""
    return index_of.get(label, -1) if isinstance(label, str) else -1


def _whole(entry, key):
    """The number of frames or rows under `key` of an entry."""
    return int(_number(entry[key]))


def _row_times(entry, rules):
    """RowTimes of an entry; those of `rules`, which may be None, where it has none."""
    if 'row_seconds' not in entry:
        return rules.times
    row_seconds = _number(entry['row_seconds'])
    first = _number(entry['first_row_second']) if 'first_row_second' in entry else row_seconds / 2
    if not (MIN_ROW_SECONDS <= row_seconds < MAX_SECONDS and 0 <= first < MAX_SECONDS):
        raise ValueError('found row_seconds %g and first_row_second %g' % (row_seconds, first))
    return RowTimes(row_seconds, first)


def _lengths(entry, times, clip_frames):
    """(seconds, frames, rows of the clip features) of an entry; raises InputError where one is out of range."""
    seconds = _number(entry['duration_second'])
    if times and 'rows' in entry:
        frames, rows = [_whole(entry, key) if key in entry else 0 for key in ('duration_frame', 'rows')]
        if not (MIN_SECONDS <= seconds < MAX_SECONDS and 0 < rows < MAX_SECONDS):
            raise InputError('found %g seconds and %d rows, expected at least one row, and less than %g of each'
                             % (seconds, rows, MAX_SECONDS))
        return seconds, frames, rows
    frames, feature_frame = [_whole(entry, key) for key in ('duration_frame', 'feature_frame')]
    if not (MIN_SECONDS <= seconds < MAX_SECONDS and 0 < frames < MAX_SECONDS
            and clip_frames <= feature_frame < MAX_SECONDS):
        raise InputError('found %g seconds, %d frames, %d feature frames; expected at least one '
                         'clip, and less than %g of each' % (seconds, frames, feature_frame, MAX_SECONDS))
    return seconds, frames, feature_frame // clip_frames


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


def read_durations(path, times=None):
    """{name of a video's features: (seconds, frames)} of an annotation JSON, as `interpolate` takes them.

    Where row times are known, they are those of the rows, with 8 frames a row; `times`: RowTimes of the entries that
    have none. Entries without usable durations are ignored.
    """
    found, rules = {}, AnnotationRules(times=times)
    for video, entry in read_entries(path).items():
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            of_rows = _row_times(entry, rules)
            if of_rows:
                rows = _lengths(entry, of_rows, rules.clip_frames)[2]
                seconds, frames = rows * of_rows.row_seconds, rows * rules.clip_frames
            else:
                seconds, frames = _number(entry['duration_second']), _whole(entry, 'duration_frame')
            if MIN_SECONDS <= seconds < MAX_SECONDS and 0 < frames < MAX_SECONDS:
                found[entry.get('file') or video] = seconds, frames
    return found
