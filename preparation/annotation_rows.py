"""Annotations as tables: CSV, TSV, the lists of Kinetics, info tables, and the authors' text annotation.

`read_rows` recognises the table by its columns. Column names may be written in any of the ways that people use.
"""
import collections
import contextlib
import csv
import io
import os
import re
from typing import NamedTuple

from dataset.tables import check_video_id, located_errors
from runtime.errors import InputError
from runtime.files import read_text

# What a column is → its names, without case, spaces, hyphens, underscores and units in brackets; the first counts.
COLUMNS = {
    'youtube_id': ('youtubeid', 'ytid'),
    'video': ('video', 'videoid', 'vid', 'vidid', 'videoname', 'clip', 'clipid', 'file', 'filename', 'videofile',
              'path', 'videopath', 'name', 'id'),
    'start': ('start', 'tstart', 'starttime', 'timestart', 'startsec', 'startsecs', 'startsecond', 'startseconds',
              'segmentstart', 'starttimestamp', 'begin', 'from', 'onset', 'starts', 'tinit', 'xmin', 'tmin'),
    'end': ('end', 'tend', 'endtime', 'timeend', 'endsec', 'endsecs', 'endsecond', 'endseconds', 'segmentend',
            'stoptimestamp', 'endtimestamp', 'stop', 'to', 'offset', 'ends', 'finish', 'xmax', 'tmax'),
    'label': ('classname', 'labelname', 'label', 'class', 'category', 'action', 'activity', 'actionlabel',
              'actionclass', 'actionname', 'event', 'cls', 'activityname', 'categoryname', 'classlabel', 'type',
              'labels', 'actions', 'classindex', 'labelid', 'classid', 'actionid', 'typeidx'),
    'subset': ('subset', 'split', 'set', 'partition'),
    'seconds': ('duration', 'seconds', 'videoduration', 'durationsecond', 'durationseconds', 'durationsec', 'length',
                'videolength', 'videoseconds'),
    'fps': ('rfps', 'fps', 'framerate', 'videofps'),  # rfps: the measured rate in BMN's table, fps the nominal one
    'frames': ('numframe', 'numframes', 'frames', 'nframes', 'durationframe', 'framecount')}
FILE_ENDINGS = re.compile(r'\.(mp4|mkv|webm|avi|mov|mpg|mpeg|flv|npy|npz)$', re.IGNORECASE)
EXPECTED = ('expected a header row with the columns video, start, end and label, or youtube_id, time_start, time_end '
            'and label, or video and subset; or rows of video, start, end and class without a header')
KINETICS = ['label', 'youtube_id', 'time_start', 'time_end', 'split']  # columns of a list without a header row
MAX_NUMBER = 1e9     # such as a duration in seconds
SAME_SECONDS = 0.05  # by which rounded lengths of the same segment differ at most


class Annotated(NamedTuple):
    """One video of an annotation. What the annotation does not say is None."""

    name: str
    subset: str = None      # as the annotation calls it
    seconds: float = None   # duration
    fps: float = None
    frames: float = None
    segments: tuple = ()    # of (start, end, label); seconds, as they are there, and the name or index of a class
    clip_label: str = None  # a trimmed clip is one moment over its whole length: it has this class and no segments
    clip_of: str = None     # the video that a trimmed clip was cut from


class Rows(NamedTuple):
    """What a table holds."""

    form: str     # its name, for people
    videos: list  # of Annotated
    is_info: bool = False  # whether it says nothing of segments: it belongs to another file, which does
    dropped: int = 0       # rows of HACS' list that say where an action is not


def number(text):
    """The finite number in a text; a time may be hours:minutes:seconds. Raises ValueError where it is none."""
    parts = text.strip().split(':')
    if len(parts) > 1 and not re.match(r'\d+(:[0-5]?\d)*(\.\d*)?$', text.strip()):
        raise ValueError('found %r, expected a number, or a time such as 1:02:03.5' % text[:99])
    if len(text) > 99 or '_' in text or len(parts) > 3 or not all(parts):  # float() alone would take 1_000
        raise ValueError('found %r, expected a number' % text[:99])
    try:
        value = sum(float(part) * 60 ** place for place, part in enumerate(reversed(parts)))
    except ValueError:
        raise ValueError('found %r, expected a number' % text) from None
    if not abs(value) <= MAX_NUMBER:
        raise ValueError('found %r, expected a finite number, up to %g' % (text, MAX_NUMBER))
    return value


def merged(path, name, one, other):
    """The Annotated of two rows or files about the video `name`, whose segments follow each other.

    Raises InputError where they contradict each other.
    """
    for field in ('subset', 'seconds', 'fps', 'frames'):
        first, second = getattr(one, field), getattr(other, field)
        same = first == second or field == 'seconds' and abs((first or 0) - (second or 0)) <= SAME_SECONDS
        if None not in (first, second) and not same:
            raise InputError('%s: found video %s with the %s %s and %s, expected one; correct the rows'
                             % (path, name, field, first, second))
    return one._replace(segments=one.segments + other.segments, **{
        field: getattr(other, field) for field in ('subset', 'seconds', 'fps', 'frames')
        if getattr(one, field) is None})


def read_rows(path):
    """The Rows of a table. Raises InputError, with the row, where it cannot be read or its columns are unknown."""
    return read_table(path, *_cells(path))


def read_table(path, rows, delimiter):
    """The Rows of [(place, cells)] of a table, the first of which may be a header row."""
    columns = _columns(rows[0][1]) if rows else {}
    if 'video' not in columns and 'youtube_id' not in columns:
        return _without_header(path, rows)
    rows, dropped = _without_negatives(rows)
    records = [(place, _record(place, cells, len(rows[0][1]), columns, delimiter)) for place, cells in rows[1:]]
    if not records:
        raise InputError('%s: found a header row alone, expected rows below it' % path)
    _check_times(path, rows, columns)
    if 'youtube_id' in columns and _is_list_of_clips(rows[0][1], columns):
        return Rows('a Kinetics list', _clips_of_list(records), dropped=dropped)
    if 'label' not in columns and 'start' not in columns:
        return Rows('an info table', _by_video(path, records, _plain), is_info=True)
    if 'label' not in columns:
        raise InputError('%s: found no column of the class, expected one called label; add it' % path)
    if 'start' not in columns:
        return Rows('a list of trimmed clips', _by_video(path, records, _clip))
    if _is_length_of_segment(records):
        records = [(place, dict(record, seconds=None)) for place, record in records]
    return Rows('a table with a segment a row', _by_video(path, records, _segment))


# Rows of cells

def _cells(path):
    """([(place, cells)] of the rows that are not empty, delimiter) of a table; a place is the file and the row."""
    text = read_text(path)
    first_line = text.lstrip().split('\n', 1)[0]
    delimiter = next((found for found in '\t,;' if found in first_line), None)
    if delimiter is None:
        raise InputError('%s, row 1: found %r, which has one column; %s' % (path, first_line[:99], EXPECTED))
    reader, rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True), []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(('%s, row %d' % (path, reader.line_num), [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise InputError('%s, row %d: not a table (%s)' % (path, reader.line_num, error)) from None
    return rows, delimiter


def _plain_name(text):
    return re.sub(r'[\s_\-.]|[(\[](s|secs?|seconds?)[)\]]$', '', text.lower())


def _columns(header):
    """{what a column is: its place} of a header row."""
    names = [_plain_name(cell) for cell in header]
    places = {kind: [names.index(known) for known in spellings if known in names]
              for kind, spellings in COLUMNS.items()}
    return {kind: found[0] for kind, found in places.items() if found}


def _record(place, cells, width, columns, delimiter):
    """{what a column is: its text or number, or None where it is empty} of a row."""
    if len(cells) < max(columns.values()) + 1 or any(cells[width:]):
        raise InputError('%s: found %d cells, expected the %d of the header row; correct the row'
                         % (place, len(cells), width))
    record = {kind: None for kind in COLUMNS}
    with located_errors(place):
        for kind, at in columns.items():
            text = cells[at]
            if text and kind in ('start', 'end', 'seconds', 'fps', 'frames'):
                record[kind] = _number(kind, text.replace(',', '.') if delimiter == ';' else text)
            elif text:
                record[kind] = text
        name = record['youtube_id'] or record['video']
        if name is None:
            raise InputError('found no video, expected its name; correct the row')
        record['name'] = name
    return record


def _number(kind, text):
    try:
        value = number(text)
    except ValueError as error:
        raise InputError('%s: %s; correct the row' % (kind, error)) from None
    if kind not in ('start', 'end') and value <= 0:
        raise InputError('%s: found %s, expected more than 0; correct the row' % (kind, text))
    return value


def _without_header(path, rows):
    """Rows of video, start, end, class, such as those of the authors' text annotation."""
    videos = []
    if len(rows[0][1]) == len(KINETICS) and _are_numbers(rows[0][1][2:4]):
        return read_table(path, [('', KINETICS)] + rows, ',')
    for place, cells in rows:
        if not _are_numbers(cells[1:3]):
            raise InputError('%s: found %r; %s' % (place, ' '.join(cells)[:99], EXPECTED))
        start, end = number(cells[1]), number(cells[2])
        if len(cells) != 4 or not cells[3]:
            raise InputError('%s: found %d cells, expected 4: video, start, end and class; correct the row'
                             % (place, len(cells)))
        videos.append((place, {'name': cells[0], 'start': start, 'end': end, 'label': cells[3]}))
    return Rows('a text annotation without a header row', _by_video(path, videos, _segment))


def _are_numbers(cells):
    with contextlib.suppress(ValueError):
        return len(cells) == len([number(cell) for cell in cells]) == 2
    return False


# Rows of each kind

def _without_negatives(rows):
    """(rows, number of those left out): in HACS' list of clips, a column label is -1 where the action is not."""
    names = [_plain_name(cell) for cell in rows[0][1]]
    if not {'classname', 'label', 'youtubeid'} <= set(names):
        return rows, 0
    kept = [row for row in rows if row[1][names.index('label'):][:1] != ['-1']]
    return kept, len(rows) - len(kept)


def _check_times(path, rows, columns):
    """Raise InputError where the times of segments are in columns that are not known."""
    header = rows[0][1]
    names = [_plain_name(cell) for cell in header]
    if ('start' in columns) != ('end' in columns):
        raise InputError('%s: found a column of the %s of segments alone, expected start and end in seconds; add the '
                         'other column' % (path, 'start' if 'start' in columns else 'end'))
    strange = [cell for at, (cell, name) in enumerate(zip(header, names))
               if at not in columns.values() and re.search('start|end|time|segment', name)]
    strange = strange[:1] or _rising_columns(rows, columns)
    if 'label' in columns and 'start' not in columns and strange:
        raise InputError('%s: found the column %s, expected columns start and end, in seconds; write the times '
                         'there, or remove the column' % (path, ' and '.join(strange)))


def _rising_columns(rows, columns):
    """Names of two neighbouring columns of unknown meaning that look like times: the second number is the larger."""
    header = rows[0][1]
    for at in range(len(header) - 1):
        if not {at, at + 1}.intersection(columns.values()):
            with contextlib.suppress(ValueError, IndexError):
                if all(number(cells[at]) < number(cells[at + 1]) for _, cells in rows[1:]):
                    return header[at:at + 2]
    return []


def _is_list_of_clips(header, columns):
    """Whether a table of YouTube ids lists trimmed clips, as those of Kinetics and HACS do, not parts of videos."""
    names = {_plain_name(cell) for cell in header}
    return 'start' not in columns or 'timestart' in names or {'classname', 'label'} <= names


def _is_length_of_segment(records):
    """Whether the durations of a table are those of its segments, not of their videos."""
    found = [record for _, record in records if None not in (record['seconds'], record['start'], record['end'])]
    is_whole = all(record['seconds'] == int(record['seconds']) for record in found)  # rounded to a second
    return bool(found) and all(abs(record['end'] - record['start'] - record['seconds']) <= (1 if is_whole else
                               SAME_SECONDS) for record in found)


def _by_video(path, records, make):
    """List of Annotated: what `make` gives for the records, those of a video merged."""
    videos, first_path = collections.OrderedDict(), {}
    for place, record in records:
        with located_errors(place):
            name = FILE_ENDINGS.sub('', os.path.basename(record['name']))
            check_video_id(name)
            if os.path.dirname(first_path.setdefault(name, record['name'])) != os.path.dirname(record['name']):
                raise InputError('found %s and %s, which would both be video %s; give each video a name of its own'
                                 % (first_path[name], record['name'], name))
            annotated = make(name, record)
            if name in videos and (annotated.clip_label or videos[name].clip_label):
                raise InputError('found the clip %s a second time, expected one row; remove the row' % name)
            videos[name] = merged(path, name, videos[name], annotated) if name in videos else annotated
    return list(videos.values())


def _plain(name, record):
    return Annotated(name, *[record.get(field) for field in ('subset', 'seconds', 'fps', 'frames')])


def _clip(name, record):
    return _plain(name, record)._replace(clip_label=record['label'])


def _segment(name, record):
    edges = [record['start'], record['end']]
    if edges == [None, None] and record['label'] is None:
        return _plain(name, record)  # a video without actions, or to be searched
    if None in edges or record['label'] is None:
        raise InputError('found a segment from %s to %s of class %s, expected all three; correct the row'
                         % (record['start'], record['end'], record['label']))
    return _plain(name, record)._replace(segments=((edges[0], edges[1], record['label']),))


def kinetics_clip(video, start, end, **known):
    """Annotated of a trimmed clip of a Kinetics list: its name is that of its file, VIDEO_000012_000022."""
    if start is None or end is None:
        return Annotated(video, clip_of=video, **known)
    return Annotated('%s_%s_%s' % (video, _padded(start), _padded(end)), seconds=end - start if end > start else None,
                     clip_of=video, **known)


def _padded(seconds):
    """`000012`, or `000012.50` where seconds are not whole: two clips in one second are two."""
    return '%06d' % seconds if seconds == int(seconds) else '%09.2f' % seconds


def _clips_of_list(records):
    videos = collections.OrderedDict()
    for place, record in records:
        with located_errors(place):
            check_video_id(record['name'])
            if (record['start'] is None) != (record['end'] is None) or (record['start'] or 0) < 0:
                raise InputError('found a clip from %s to %s, expected both in seconds; correct the row'
                                 % (record['start'], record['end']))
            clip = kinetics_clip(record['name'], record['start'], record['end'], subset=record['subset'],
                                 clip_label=record['label'], fps=record['fps'])
            if videos.setdefault(clip.name, clip) != clip:
                raise InputError('found the clip %s a second time with another class or subset, expected one row; '
                                 'remove one of the rows' % clip.name)
    return list(videos.values())
