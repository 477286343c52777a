"""The tables of one side of an imported data root: made, checked by the readers of training, and written.

A side is written as a whole: while its files are replaced, data.json says that its import is unfinished.
"""
import collections
import csv
import io
import json
import math
import os
from typing import NamedTuple

import numpy as np

from dataset import data_root
from dataset.row_times import MAX_OFF, MAX_ROWS_OFF, MAX_SHOWN, check_coverage
from dataset.tables import AnnotationRules, videos_of
from preparation.subsets import TESTING, TRAINING, VALIDATION
from runtime.errors import InputError, counted
from runtime.files import file_lock, make_folder, write_errors, write_text

TABLES = {'info': '%s_info.csv', 'annotation': '%s_annotation.json', 'labels': '%s_labels.txt',
          'categories': '%s_classes.txt'}  # end of a setting's name → file
GROUND_TRUTH = 'ground_truth.json'
OF_SIDE = {'source': ('foreground_clips', 'max_segments'), 'target': ('moment_clips', 'ground_truth')}  # settings
LOCK = '.import.lock'
UNFINISHED = 'unfinished'

# Published limits, in seconds: 32 and 8 rows of 8 frames at 30 frames per second
FOREGROUND_SECONDS, MOMENT_SECONDS = 32 * 8 / 30, 8 * 8 / 30
MIN_ROWS = 2           # of a foreground sample or a moment
MAX_SEGMENTS = 25      # of a video, as published; more where a video has more
SMALLEST_ANCHOR = 4 / 512  # of what the network sees at a time


class Tables(NamedTuple):
    """The tables of a side."""

    texts: dict       # file → its text; None: the file is not to be there
    videos: dict      # subset → list of dataset.tables.Video
    unusable: dict    # subset → Counter of unusable segments, by reason
    clips: set        # names of the trimmed clips among the videos
    unsegmented: int  # training videos that are left out, because they have no usable segment


def make_tables(side, imported, class_names):
    """The Tables of a list of Imported. Raises InputError where their readers refuse them, or nothing is left."""
    videos, unusable, left_out = {}, {}, set()
    for subset in (TRAINING, VALIDATION, TESTING):
        entries = {video.name: video.entry for video in imported if video.subset == subset}
        videos[subset], unusable[subset] = _videos_of(entries, class_names)
        if subset == TRAINING:
            left_out = {video.name for video in videos[subset] if not len(video.segments)}
            if entries and len(left_out) == len(entries):
                raise InputError('found no segment of a %s training video that has a length and lies in its video; '
                                 'correct the annotation' % side)
        if subset == TRAINING and left_out:  # what is counted as unusable is what check and training will count
            videos[subset], unusable[subset] = _videos_of(
                {name: entry for name, entry in entries.items() if name not in left_out}, class_names)
    kept = [video for video in imported if video.name not in left_out]
    texts = {TABLES['info']: _csv([('video', 'subset')] + [(video.name, video.subset) for video in kept]),
             TABLES['annotation']: _json_object(_json_line(video.name, video.entry) for video in kept),
             TABLES['labels']: ''.join('%s\t%d\t%d\n' % (video.name, len(video.segments), video.label)
                                       for found in videos.values() for video in found if video.label >= 0),
             TABLES['categories']: ''.join(name + '\n' for name in class_names) or None}
    texts = {name % side: text for name, text in texts.items()}
    if side == 'target':
        texts[GROUND_TRUTH] = _ground_truth(kept)
    return Tables(texts, videos, unusable, {video.name for video in kept if video.is_clip}, len(left_out))


def _videos_of(entries, class_names):
    """(list of Video as training reads {name: entry}, Counter of unusable segments).

    A video has the class of its first usable segment.
    """
    unusable, rules = collections.Counter(), AnnotationRules(class_names=tuple(class_names))
    videos = videos_of(entries, entries, 'the annotation', {}, rules, unusable)
    return [video._replace(label=int(video.segment_labels[0])) if len(video.segments) else video
            for video in videos], unusable


def _json_line(name, entry):
    return '%s: %s' % (json.dumps(name), json.dumps(entry))


def _json_object(lines):
    """A JSON object with each entry in a line of its own: json's own line breaks take much longer."""
    return '{\n%s\n}\n' % ',\n'.join(lines)


def _csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def _ground_truth(imported):
    """Text of the ground truth of validation and testing videos that have segments; None where there is none."""
    database = collections.OrderedDict()
    for video in imported:
        annotations = [annotated for annotated in video.entry['annotations']
                       if annotated['segment'][0] < annotated['segment'][1]]
        if video.subset != TRAINING and annotations:
            database[video.name] = {'subset': video.subset, 'duration': video.entry['duration_second'],
                                    'annotations': annotations}
    return '{"version": "VERSION 1.3", "taxonomy": [], "database": %s}\n' % (
        _json_object(_json_line(name, entry) for name, entry in database.items()).rstrip()) if database else None


def coverage_warnings(part, imported, tables, stated):
    """Warnings about features of a Part that do not cover their videos; `stated`: what the user said of the rows.

    Raises InputError where most of the untrimmed videos are not covered. Of trimmed clips, which are often cut again
    before features are made of them, it is a warning alone.
    """
    of_name, warnings = {video.name: video for videos in tables.videos.values() for video in videos}, []
    with_both = [video for video in imported if video.name in of_name and video.has_features and video.stated]
    whole = [of_name[video.name] for video in with_both if not video.is_clip]
    clips = [of_name[video.name]._replace(seconds=video.stated) for video in with_both if video.is_clip]
    warnings += check_coverage(whole, part.path, stated=stated)
    warnings += _late_actions(part, [(video, of_name[video.name]) for video in imported if video.name in of_name
                                     and video.has_features and not video.stated and not video.is_clip], stated)
    try:
        warnings += check_coverage(clips, part.path, stated=stated)
    except InputError as error:
        warnings.append('trimmed clips: %s; each counts as one moment over all of its rows' % error)
    return warnings


def _late_actions(part, pairs, stated):
    """Warnings about actions that end after the features do, of pairs of an Imported without duration and its Video.

    Raises InputError where that is so in most of the videos that have actions.
    """
    ends = [(video.name, max(entry['segment'][1] for entry in video.entry['annotations']),
             video_there.start + video_there.span + max(0.0, video_there.start) + MAX_ROWS_OFF * (
                 video_there.span / video_there.clips))
            for video, video_there in pairs if video.entry['annotations']]
    late = ['%s (%.1f s, features %.1f s)' % found for found in ends if found[1] > found[2] * (1 + MAX_OFF)]
    if not late:
        return []
    text = '%s: actions end after the features do in %d of %s: %s%s' % (
        part.path, len(late), counted(len(ends), 'video'), ', '.join(late[:MAX_SHOWN]),
        ', …' if len(late) > MAX_SHOWN else '')
    if 2 * len(late) > len(ends):
        raise InputError('%s; %s was given; correct it, or the times of the annotation' % (
            text, stated or '--rescaled'))
    return [text + '; extract these features again, or correct the annotation']


# Settings

def limits(side, tables):
    """Settings of a side that depend on its row times and segments."""
    training = tables.videos[TRAINING]
    if not training:
        return {}
    row_seconds = float(np.median([video.times.row_seconds for video in training]))
    are_clips = all(video.name in tables.clips for video in training)
    seconds = FOREGROUND_SECONDS if side == 'source' else MOMENT_SECONDS
    shortest = MIN_ROWS if are_clips else limit_in_rows(seconds, row_seconds)
    if side == 'target':
        return {'moment_clips': shortest}
    return {'foreground_clips': shortest,
            'max_segments': max([MAX_SEGMENTS] + [len(video.segments) for video in training])}


def limit_in_rows(seconds, row_seconds):
    """The limit FOREGROUND_SECONDS or MOMENT_SECONDS in rows of `row_seconds`."""
    return max(MIN_ROWS, int(round(seconds / row_seconds)))


def proposed_window(side, tables):
    """Seconds of the windows that make segments long enough for the network; None where whole videos do.

    They are not where the median segment is shorter than the smallest anchor. Segments of the source are those of its
    videos; of the target, its moments, in a video of the middle length of those to be searched, or, where it has no
    moments, the segments of these. A window then is long enough for twice the length of nearly all segments; where
    even the shortest segments allow longer windows, as long as they allow.
    """
    searched = tables.videos[TRAINING if side == 'source' else VALIDATION]
    searched = [video for video in searched if video.name not in tables.clips]
    shares, lengths = _lengths(searched)
    if side == 'target' and tables.videos[TRAINING] and searched:
        _, lengths = _lengths(tables.videos[TRAINING])
        shares = lengths / np.median([video.span for video in searched])
    if not len(shares) or np.median(shares) >= SMALLEST_ANCHOR:
        return None
    longest, enough = lengths.min() / SMALLEST_ANCHOR, 2 * np.percentile(lengths, 99)
    return float(max(1, math.floor(longest)) if longest > enough else math.ceil(enough))


def _lengths(videos):
    """The lengths of all segments of Videos: as shares of their video, and in seconds; two arrays [n]."""
    of_videos = [video.segments[:, 1] - video.segments[:, 0] for video in videos]
    shares = np.concatenate(of_videos) if videos else np.zeros(0)
    return shares, shares * np.repeat([video.span for video in videos], [len(found) for found in of_videos])


def path_setting(folder, path):
    """`path` as data.json in `folder` names it: relative where it lies in the folder, otherwise absolute."""
    inside, whole = os.path.realpath(folder), os.path.abspath(path)
    if os.path.commonpath([inside, os.path.realpath(path)]) == inside:
        return os.path.relpath(os.path.realpath(path), inside)
    return whole


# Writing

def check_files(folder, side, tables_of, force):
    """Raise InputError where an import of `side` would replace files in `folder` that no import made.

    `tables_of`: the content of data.json.
    """
    if tables_of[side] or force:
        return
    for name in side_files(side):
        path = os.path.join(folder, name)
        if os.path.lexists(path):
            raise InputError('%s: found a file there that no import made; move it away, name another --data_root, or '
                             'replace it with --force' % path)


def side_files(side):
    """Names of the files that an import of `side` writes, but data.json."""
    return [name % side for name in TABLES.values()] + [GROUND_TRUTH] * (side == 'target')


def check_width(width, place, content, side):
    """Raise InputError where the other side, in the `content` of data.json, has features of another width."""
    other = 'target' if side == 'source' else 'source'
    known = content['settings'].get('feature_width', 0) if content[other] else 0
    if known and known != width:
        raise InputError('%s: features have %d columns, those of the %s side have %d (%s); both sides need the same '
                         'features: name others, or another --data_root'
                         % (place, width, other, known, ', '.join(content[other].get('features', []))))


def write_side(folder, side, texts, settings, record, force):
    """Replace `side` of the data root `folder`; the other side and its settings stay.

    Args:
      texts: of Tables.
      settings: of data.json, those of this side and those of both.
      record: what data.json says of this side; `window_seconds` is its proposal of windows, or None.
      force: as for check_files.
    Raises InputError as check_files and check_width do, and where a file cannot be written.
    """
    make_folder(folder)
    with file_lock(os.path.join(folder, LOCK)):
        content = data_root.read(folder)
        check_files(folder, side, content, force)
        check_width(settings['feature_width'], ', '.join(record['features']), content, side)
        kept = {name: value for name, value in content['settings'].items()
                if not name.startswith(side + '_') and name not in OF_SIDE[side] + ('window_seconds',)}
        data_root.write(folder, dict(content, settings=kept, **{side: {UNFINISHED: True}}))
        for name, text in texts.items():
            path = os.path.join(folder, name)
            if text is not None:
                write_text(path, text)
            elif os.path.lexists(path):
                with write_errors(path):
                    os.remove(path)
        content = dict(content, **{side: record})
        windows = [content[name]['window_seconds'] for name in ('source', 'target')
                   if content[name].get('window_seconds')]
        kept.update(settings, **({'window_seconds': min(windows)} if windows else {}))
        data_root.write(folder, dict(content, settings=kept))
