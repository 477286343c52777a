"""Segments and windows of videos that become samples, and what training, `check` and `import` report of them."""
import functools
import math
from typing import NamedTuple

import numpy as np

from dataset.row_times import row_seconds
from dataset.tables import Video
from runtime.errors import counted

MAX_DROPPED = 0.1  # share of the segments; where more are left out, it is a warning
MAX_NAMED = 10     # classes without a sample that a warning names
ROUNDING = 1e-6    # of clips: fractions of a video times its clips are not exact


# Segments

class ClipSample(NamedTuple):
    """A segment to be cut from a video's clip features."""

    video: Video
    start: int  # first clip
    end: int    # the clip after the last
    label: int  # class index


class Samples(NamedTuple):
    """The segments of some videos that serve as samples."""

    groups: list     # a list of ClipSample for each video that has any
    min_clips: int   # of a segment that serves
    shorter: int     # number of segments that have fewer
    not_first: int   # number of those that are not the first of their video, where only that one serves

    @property
    def number(self):
        """How many samples there are."""
        return sum(len(group) for group in self.groups)


def clip_samples(videos, min_clips, labels, exact, first_only=False):
    """Samples: the segments of each video that span at least `min_clips` clips.

    Args:
      videos: list of dataset.tables.Video.
      min_clips: see above.
      labels: 'video' or 'segment': whose class a sample has.
      exact: whether clips are counted to the nearest whole number; as published, rounding errors make some segments
        of exactly `min_clips` clips shorter.
      first_only: whether only the first segment of a video's annotation serves (fault F1).
    """
    groups, shorter, not_first = [], 0, 0
    cut_of = functools.partial(_exact_cut, min_clips) if exact else _published_cut
    for video in videos:
        group, used = [], int(video.first_usable) if first_only else len(video.segments)
        not_first += len(video.segments) - used
        for number, (start, end) in enumerate(video.segments[:used]):
            clips, cut = (end - start) * video.clips, cut_of(start, end, video.clips)
            if (round(clips) if exact else clips) >= min_clips and cut[0] < cut[1]:  # with 1 clip, none may be left
                label = int(video.segment_labels[number]) if labels == 'segment' else video.label
                group.append(ClipSample(video, *cut, label))
            else:
                shorter += 1
        groups.append(group)
    return Samples([group for group in groups if group], min_clips, shorter, not_first)


def _published_cut(start, end, clips):
    """(first clip, the clip after the last) of a segment from `start` to `end`, fractions of a video of `clips`."""
    return int(start * clips), int(end * clips)


def _exact_cut(min_clips, start, end, clips):
    """The same, where an edge between two clips is one in spite of rounding errors, and at least `min_clips`."""
    first, last = [int(edge * clips + ROUNDING) for edge in (start, end)]
    last = min(max(last, first + min_clips), clips)
    return min(first, max(0, last - min_clips)), last


def side_samples(config, side, videos):
    """Samples of the training videos of a side: foreground samples of the source, moments of the target."""
    data = config.data
    if side == 'source':
        return clip_samples(videos, data.foreground_clips, data.labels, data.exact_lengths,
                            config.train.faults.first_annotation_only)
    return clip_samples(videos, data.moment_clips, data.labels, data.exact_lengths)


# Windows

class Window(NamedTuple):
    """A part of a video's rows that the network sees at a time: the whole video, or a window of it."""

    video: Video
    first: int    # first row
    rows: int     # number of rows
    start: float  # second at which the first row starts
    span: float   # seconds that the rows cover


def window_of(video, first, rows, clip_frames):
    """The Window of `rows` rows of a video from row `first` on."""
    if (first, rows) == (0, video.clips):
        return Window(video, 0, rows, video.start, video.span)
    of_row = row_seconds(video, clip_frames)
    return Window(video, first, rows, video.start + first * of_row, rows * of_row)


def window_rows(video, data):
    """Rows of each window of a video: all of them where it is shorter, or windows are off."""
    if not data.window_seconds:
        return video.clips
    return min(video.clips, max(2, int(round(data.window_seconds / row_seconds(video, data.clip_frames)))))


def covering_windows(video, data):
    """The Windows that cover a video, in order; the last one ends with it."""
    rows = window_rows(video, data)
    step = rows // 2
    if data.window_stride_seconds:
        step = int(round(data.window_stride_seconds / row_seconds(video, data.clip_frames)))
    last = video.clips - rows
    firsts = list(range(0, last, min(max(1, step), rows))) + [last]  # no row is left out
    return [window_of(video, first, rows, data.clip_frames) for first in firsts]


def windows_in_a_pass(video, data):
    """How often a training video is drawn in a pass: as often as its windows cover it, if it has so many segments."""
    return max(1, min(math.ceil(video.clips / window_rows(video, data)), len(video.segments)))


def training_window(video, draws, data):
    """(Window, indices of the video's segments that belong to it, those segments as fractions of the window [n, 2]).

    The window holds a drawn segment, or lies in it where the segment is longer. A segment belongs to the window if
    the two share at least data.window_share of the shorter one; of it, the part in the window is left.

    Args:
      video: dataset.tables.Video; without segments, the window is anywhere.
      draws: two random non-negative integers, for the segment and for the place of the window.
      data: a DataConfig.
    """
    rows, segments = window_rows(video, data), video.segments * video.clips
    if rows == video.clips:
        return window_of(video, 0, rows, data.clip_frames), np.arange(len(segments)), video.segments
    low, high, drawn = 0, video.clips - rows, None
    if len(segments):
        drawn = int(draws[0]) % len(segments)
        start, end = math.floor(segments[drawn, 0]), math.ceil(segments[drawn, 1])
        low, high = max(low, min(start, end - rows)), min(high, max(start, end - rows))
    first = low + int(draws[1]) % (high - low + 1)
    cut = np.clip(segments, first, first + rows) - first
    shorter = np.minimum(segments[:, 1] - segments[:, 0], rows)
    belongs = cut[:, 1] - cut[:, 0] >= data.window_share * shorter - 1e-9  # fractions times rows are not exact
    if drawn is not None:
        belongs[drawn] = True
    return window_of(video, first, rows, data.clip_frames), np.flatnonzero(belongs), cut[belongs] / rows


# Report

class Report(NamedTuple):
    """What is said of the videos of one side and subset: texts without line ends."""

    lines: list
    warnings: list


def training_report(config, side, subset, videos, unusable, class_names=(), missing=(), samples=None):
    """Report of the videos of a side and subset, in training also of the segments that serve as samples.

    Where untrimmed videos are seen in windows, a line says of how many rows and seconds.

    Args:
      config: a Config.
      side, subset: such as 'source' and 'training'.
      videos: list of dataset.tables.Video, usable segments only; not empty.
      unusable: {reason: number} of the segments that were left out when the tables were read.
      class_names: names of the side's classes, in order; without them, classes are numbers.
      missing: names of videos without features; their segments are no samples.
      samples: Samples of side_samples; counted here where not given.
    """
    what, data = '%s %s' % (side, subset), config.data
    segments = sum(len(video.segments) for video in videos)
    missing = set(missing).intersection(video.name for video in videos)
    lines = ['%s: %s%s, %s%s; unusable segments: %s' % (
        what, counted(len(videos), 'video'), ' (%s without features)' % _number(len(missing)) if missing else '',
        counted(segments, 'segment'), _classes_of(videos, data.labels), _reasons(unusable) or 'none')]
    lines.append('%s: %s' % (what, _lengths(videos, data.clip_frames)))
    warnings, dropped = [], sum(unusable.values())
    if _too_many(dropped, segments + dropped):
        warnings.append('%s: %s of %s cannot be used: %s; correct the annotation' % (
            what, _number(dropped), counted(segments + dropped, 'segment'), _reasons(unusable)))
    if subset == 'training':
        found, without = _with_features(samples or side_samples(config, side, videos), missing)
        lines.append(_samples_line(what, side, found, without, segments, _median_seconds(videos, data.clip_frames)))
        warnings += _sample_warnings(config, side, what, videos, found, class_names)
    there = [video for video in videos if video.name not in missing]
    if data.window_seconds and there and (side == 'source' or subset != 'training'):  # moments are never cut
        lines.append(_windows_line(what, subset, there, data))
    return Report(lines, warnings)


def dropped_lines(dropped, videos, what):
    """The line on the names of `videos` that --missing drop leaves out, in a list; none where there are none.

    what: such as 'source training'.
    """
    return ['dropped for lack of features: %d of %s, such as %s' % (
        len(dropped), counted(len(videos), what + ' video'), dropped[0])] if dropped else []


def why_no_sample(config, side, videos):
    """Why no segment of the training videos of a side serves as a sample, and what to do; '' where one does."""
    data, (kind, setting), videos_text = config.data, SERVE_AS[side], counted(len(videos), '%s training video' % side)
    found = side_samples(config, side, videos)
    if found.groups:
        return ''
    if not found.shorter:
        return ('found no usable %s in %s, expected at least one; training stops without %s; correct the annotation'
                % ('first segment' if found.not_first else 'segment', videos_text, kind))
    of_row, lower = _median_seconds(videos, data.clip_frames), _nine_tenths(videos, data.exact_lengths)
    lowered = config._replace(data=data._replace(**{setting: lower}))
    helps = side_samples(lowered, side, videos).groups
    return 'found no %s in %s; training stops without them; left out: %s %s; %s' % (
        kind, videos_text, _number(found.shorter), _shorter(found, of_row), '--%s %d keeps nine tenths' % (
            setting, lower) if helps else 'extract features with more rows a second, or correct the annotation')


def listed(names):
    """Names in one text, between commas; a name that has a comma is quoted."""
    return ', '.join('"%s"' % name if ',' in name else name for name in names)


def _number(number):
    return '{:,}'.format(number)


def _reasons(unusable):
    return ', '.join('%s %s' % (_number(count), reason) for reason, count in unusable.items() if count)


def _labels_of(video, labels):
    """The class indices of a video's segments."""
    return video.segment_labels.tolist() if labels == 'segment' else [video.label] * len(video.segments)


def _classes_of(videos, labels):
    classes = {label for video in videos for label in _labels_of(video, labels)} - {-1}
    return ' of %s' % counted(len(classes), 'class') if classes else ''


def _median_seconds(videos, clip_frames):
    """Seconds from one row to the next, in the middle video."""
    return float(np.median([row_seconds(video, clip_frames) for video in videos]))


def _lengths(videos, clip_frames):
    """A text: the length of videos and segments in rows and seconds, shortest, median and longest."""
    rows = np.array([video.clips for video in videos], float)
    of_row = np.array([row_seconds(video, clip_frames) for video in videos])
    of_segments = [video.segments[:, 1] - video.segments[:, 0] for video in videos]
    parts = np.concatenate([shares * length for shares, length in zip(of_segments, rows)])
    of_part = np.repeat(of_row, [len(shares) for shares in of_segments])
    texts = ['%s of %s' % (name, _rows_text(lengths, seconds)) for name, lengths, seconds in (
        ('videos', rows, of_row), ('segments', parts, of_part)) if len(lengths)]
    return '; '.join(texts) + SPREAD


def _windows_line(what, subset, videos, data):
    """`source training: 9 windows in a pass, of 20 / 20 / 20 rows (10 / 10 / 10 s)`; only training has passes."""
    is_training = subset == 'training'
    number = sum(windows_in_a_pass(video, data) if is_training else len(covering_windows(video, data))
                 for video in videos)
    rows = np.array([window_rows(video, data) for video in videos], float)
    of_row = np.array([row_seconds(video, data.clip_frames) for video in videos])
    return '%s: %s%s of %s%s' % (
        what, counted(number, 'window'), ' in a pass,' if is_training else '', _rows_text(rows, of_row), SPREAD)


def _rows_text(lengths, seconds):
    """`2 / 3.5 / 10 rows (1 / 1.8 / 5 s)`, of lengths in rows [n] and the seconds of a row [n]."""
    return '%s rows (%s s)' % (_spread(lengths), _spread(lengths * seconds))


def _spread(numbers):
    """`2 / 3.5 / 10`: the smallest, the median and the largest of some numbers, to one decimal."""
    return ' / '.join('{:,.1f}'.format(number).replace('.0', '') for number in np.percentile(numbers, (0, 50, 100)))


SPREAD = ' (shortest, median, longest)'  # what the three numbers of _spread are
SERVE_AS = {'source': ('foreground samples', 'foreground_clips'), 'target': ('moments', 'moment_clips')}


def _with_features(samples, missing):
    """(`samples` without those of videos in the set `missing`, number of these)."""
    kept = samples._replace(groups=[group for group in samples.groups if group[0].video.name not in missing])
    return kept, samples.number - kept.number


def _samples_line(what, side, samples, without, segments, of_row):
    """`source training: 10 of 12 segments used as foreground samples; left out: 2 shorter than 32 rows (8.5 s)`.

    without: segments that are long enough, of videos without features.
    """
    text = '%s: %s of %s used as %s' % (
        what, _number(samples.number), counted(segments, 'segment'), SERVE_AS[side][0])
    left_out = [(samples.shorter, _shorter(samples, of_row)), (samples.not_first, 'not the first of their video'),
                (without, 'of videos without features')]
    reasons = ', '.join('%s %s' % (_number(count), why) for count, why in left_out if count)
    return text + ('; left out: ' + reasons if reasons else '')


def _shorter(samples, of_row):
    return 'shorter than %s (%.1f s)' % (counted(samples.min_clips, 'row'), samples.min_clips * of_row)


def _nine_tenths(videos, exact):
    """Rows that nine tenths of the segments have; `exact` as of clip_samples."""
    lengths = np.concatenate([(video.segments[:, 1] - video.segments[:, 0]) * video.clips for video in videos])
    return max(1, int(np.sort(lengths)[len(lengths) // 10] + (ROUNDING if exact else 0)))


def _too_many(dropped, total):
    return dropped > MAX_DROPPED * total


def _sample_warnings(config, side, what, videos, samples, class_names):
    """Warnings about segments that serve as no sample, and classes that are left without any."""
    data, (kind, setting) = config.data, SERVE_AS[side]
    segments, warnings = sum(len(video.segments) for video in videos), []
    if _too_many(samples.shorter, segments):
        warnings.append('%s: %.0f %% of the segments are no %s, because they are %s; --%s %d keeps nine tenths' % (
            what, 100 * samples.shorter / segments, kind,
            _shorter(samples, _median_seconds(videos, data.clip_frames)), setting, _nine_tenths(
                videos, data.exact_lengths)))
    beyond = 0 if data.window_seconds else sum(max(0, len(video.segments) - data.max_segments) for video in videos)
    if side == 'source' and beyond:
        warnings.append('%s: %s of %s segments are beyond --max_segments %d in their video, and untrimmed videos are '
                        'trained without them; raise it' % (
                            what, _number(beyond), _number(segments), data.max_segments))
    with_sample = {sample.label for group in samples.groups for sample in group}
    classes = set(range(len(class_names))) if class_names else {
        label for video in videos for label in _labels_of(video, data.labels)}
    left = [class_names[label] if class_names else 'class %d' % label for label in sorted(classes - with_sample)]
    if left:
        warnings.append('%s: %d of %d classes have no sample among the %s: %s%s' % (
            what, len(left), len(classes), kind, listed(left[:MAX_NAMED]),
            ' and %d more' % (len(left) - MAX_NAMED) if len(left) > MAX_NAMED else ''))
    return warnings
