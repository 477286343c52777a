"""When the rows of features are, and whether they can be right: features must cover the whole of their videos.

A wrong stride or frame rate shifts every segment without any other sign of it. docs/data.md, "Row times".
"""
import numpy as np

from dataset.tables import RowTimes
from runtime.errors import InputError, counted

MAX_OFF = 0.05   # by which the features of a video may cover more or less than its duration, as a share of it
MAX_ROWS_OFF = 2  # rows that are always allowed: extraction leaves the last incomplete window out
MAX_SHOWN = 5    # videos that a warning names
STRIDES = (16, 8, 4, 1, 2, 32, 64, 5, 10, 24)  # of public features, in frames; those before are preferred
RATES = (15, 30, 25, 24, 10, 12.5, 60, 1)      # frames per second


def row_times(stride, window, fps):
    """RowTimes of features whose row r is made of `window` frames from frame r · stride on, at `fps` per second."""
    return RowTimes(stride / fps, window / 2 / fps)


def text_of(stride, fps):
    """What a user said of the rows, such as "a stride of 16 at 30 fps"; '' without a stride."""
    return 'a stride of %g at %s' % (stride, '%g fps' % fps if fps else "each video's own fps") if stride else ''


def rows_of(seconds, stride, window, fps):
    """Rows that features of a video of `seconds` have: one for each complete window, and one at least."""
    return max(1, int((seconds * fps - window) // stride) + 1)


def row_seconds(video, clip_frames=8):
    """Seconds from one row of a Video's features to the next.

    As published, without row times, a row is `clip_frames` of the video's frames.
    """
    return video.times.row_seconds if video.times else clip_frames / video.frames * video.seconds


def covered_seconds(video, clip_frames=8):
    """Seconds that the rows of a Video cover.

    Windows that are longer than the stride also cover what lies before the span, and as much after it.
    """
    return video.clips * row_seconds(video, clip_frames) + 2 * max(0.0, video.start)


def coverage(video, clip_frames):
    """Share of a video's duration that its rows cover; 1.0 where they miss or exceed it by MAX_ROWS_OFF at most."""
    covered, of_row = covered_seconds(video, clip_frames), row_seconds(video, clip_frames)
    return 1.0 if abs(covered - video.seconds) <= MAX_ROWS_OFF * of_row else covered / video.seconds


def check_coverage(videos, place, clip_frames=8, stated=''):
    """Compare rows times seconds a row with the duration of each Video; return warnings, a list of texts.

    Args:
      videos: list of dataset.tables.Video.
      place: the file that says when the rows are, for messages.
      clip_frames: frames of a row, where there are no row times.
      stated: what the user said of the rows, as text_of gives it.
    Raises InputError where the median of the videos is more than MAX_OFF off.
    """
    shares = np.array([coverage(video, clip_frames) for video in videos])
    if not len(shares):
        return []
    median = float(np.median(shares))
    if abs(median - 1) > MAX_OFF:
        raise InputError("%s: features cover %.2f of the videos' duration (median of %s), expected 1: %s%s" % (
            place, median, counted(len(videos), 'video'), stated + ' was given; ' if stated else '',
            _what_would_fit(videos)))
    off = [(video, share) for video, share in zip(videos, shares) if abs(share - 1) > MAX_OFF]
    if not off:
        return []
    named = ', '.join('%s (%.2f)' % (video.name, share) for video, share in off[:MAX_SHOWN])
    return ["%s: the features of %d of %d videos cover more or less than their duration, by over %d %%: %s%s; "
            'extract them again, or correct the duration' % (
                place, len(off), len(videos), 100 * MAX_OFF, named, ', …' if len(off) > MAX_SHOWN else '')]


def _what_would_fit(videos):
    """A text: the stride and rate that would make the features cover their videos."""
    needed = float(np.median([video.seconds / video.clips for video in videos]))
    own = [video.frames / video.seconds for video in videos if video.frames]
    rates = ((float(np.median(own)),) if own else ()) + RATES
    fits = [(abs(stride / rate / needed - 1) > 0.02, STRIDES.index(stride) + rates.index(rate), STRIDES.index(stride),
             stride, rate) for stride in STRIDES for rate in rates if abs(stride / rate / needed - 1) <= MAX_OFF]
    if not fits:
        return '%.4g seconds a row would fit' % needed
    _, _, _, stride, rate = min(fits)
    return 'a stride of %g at %g fps would fit (%.4g seconds a row)' % (stride, rate, needed)
