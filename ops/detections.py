"""From the anchors of a video to its results: windows are joined, overlaps removed, labels given. numpy alone.

Dimensions: B batch, n best anchors of a window, N positions of a window, D detections of a video, K classes.
"""
import contextlib
import tempfile
from typing import NamedTuple

import numpy as np

from runtime.errors import InputError, one_line

MAX_IN_MEMORY = 1 << 26  # bytes of the class probabilities of a video; more are in a temporary file


class Candidates(NamedTuple):
    """The best anchors of each window before NMS, by falling score. Arrays of one window have no B."""

    scores: object         # [B, n]
    segments: object       # [B, n, 2] seconds after the start of the window
    positions: object      # [B, n], 0 to N - 1
    class_scores: object   # [B, K] class probabilities, averaged over all positions
    probabilities: object  # [B, N, K] class probabilities; [B, N, 0] where labels are those of the video


class Detections(NamedTuple):
    """The best segments of each video after NMS, by falling score; and its class. Arrays of one video have no B.

    Those of whole videos are padded with score 0.
    """

    scores: object               # [B, D] anchor scores
    segments: object             # [B, D, 2] seconds
    classes: object              # [B, D] the most probable class at the position of the anchor; None of windows
    class_probabilities: object  # [B, D] its probability; None of windows
    label: object                # [B] class of the video: that of the largest average probability
    class_scores: object         # [B, K] class probabilities, averaged over all positions and windows
    probabilities: object        # [B, D, K] at the positions; [B, D, 0] where labels are those of the video


# Windows

class JoinedWindows:
    """The Candidates of the windows of one video, which become its Detections."""

    def __init__(self):
        self._parts, self._class_scores = [], 0.0
        self._probabilities = tempfile.SpooledTemporaryFile(MAX_IN_MEMORY)

    def add(self, start, candidates):
        """Add the Candidates of a window that starts at second `start`.

        Raises InputError where the disk with temporary files is full.
        """
        rows = candidates.positions + len(self._parts) * len(candidates.probabilities)
        self._parts.append((candidates.scores, candidates.segments.astype(float) + start, rows))
        self._class_scores = self._class_scores + candidates.class_scores.astype(float)
        with _disk_errors():
            self._probabilities.write(candidates.probabilities.tobytes())

    def detections(self, test):
        """The Detections of the video: one NMS over all windows, and the mean of their class probabilities."""
        scores, segments, rows = [np.concatenate(arrays) for arrays in zip(*self._parts)]
        kept = suppress(segments, scores, test.nms_tiou, test.max_detections)
        class_scores = (self._class_scores / len(self._parts)).astype(np.float32)
        probabilities = None if test.label_by == 'video' else self._read(rows[kept], len(class_scores))
        return Detections(scores[kept], segments[kept], None, None, int(class_scores.argmax()), class_scores,
                          probabilities)

    def _read(self, rows, classes):
        """The class probabilities of these rows, counted over all windows: [len(rows), K]."""
        found, size = np.empty((len(rows), classes), np.float32), np.dtype(np.float32).itemsize * classes
        with _disk_errors():
            for values, row in zip(found, rows):
                self._probabilities.seek(int(row) * size)
                values[:] = np.frombuffer(self._probabilities.read(size), np.float32)
        return found


class VideosOfWindows:
    """Takes the windows of all videos in turn, and makes the Detections of each video of those of its windows."""

    def __init__(self, samples, kind, test):
        """samples: the list of dataset.samples.Window; kind: the type of what is found, Candidates or Detections."""
        self._samples, self._kind, self._test = samples, kind, test
        self._windows, self._is_skipped = None, False

    def add(self, number, index, values):
        """Take window `number`: its index in the list, -1 where it was skipped, and the fields of what is found.

        Returns (video, Detections) at the last window of a video, None at others. The segments are in seconds of the
        video, and not cut to it; instead of Detections there is None where a window was skipped.
        """
        window, found = self._samples[number], self._kind(*values)
        if window.first == 0:
            self._windows, self._is_skipped = JoinedWindows(), False
        self._is_skipped |= bool(index < 0)
        if self._kind is Candidates and not self._is_skipped:
            self._windows.add(window.start, found)
        if number + 1 < len(self._samples) and self._samples[number + 1].first > 0:
            return None
        if self._is_skipped:
            return window.video, None
        if self._kind is Candidates:
            return window.video, self._windows.detections(self._test)
        return window.video, found._replace(segments=found.segments.astype(float) + window.start)


@contextlib.contextmanager
def _disk_errors():
    """Raise InputError where a temporary file cannot be used."""
    try:
        yield
    except OSError as error:
        raise InputError('%s: a temporary file cannot be used (%s); free some space, or name another folder with the '
                         'environment variable TMPDIR' % (tempfile.gettempdir(), one_line(error))) from None


def suppress(segments, scores, tiou, limit):
    """Non-maximum suppression: segments [n, 2] and scores [n] → indices of at most `limit` kept ones, best first.

    The best segment removes those whose tIoU with it is above `tiou`, then the best of those left does, and so on. Of
    equal scores the first is the best. A segment without length neither removes another one nor is removed.
    """
    by_start = np.argsort(segments[:, 0], kind='stable')
    start, end = np.ascontiguousarray(segments[by_start].T)
    length, place = end - start, np.argsort(by_start)
    left, kept = np.ones(len(scores), bool), []
    for best in place[np.argsort(-scores, kind='stable')].tolist():
        if len(kept) == limit:
            break
        if not left[best]:
            continue
        kept.append(best)
        if length[best] > 0:
            # only of segments that start here can the tIoU be above `tiou`; a thousandth more allows for rounding
            near = slice(*np.searchsorted(start, [end[best] - 1.001 * length[best] / max(tiou, 1e-9),
                                                  start[best] + (1.001 - tiou) * length[best]]))
            shared = np.minimum(end[near], end[best]) - np.maximum(start[near], start[best])
            shared = np.maximum(shared, 0)
            left[near] &= shared / (length[near] + length[best] - shared) <= tiou
    return by_start[kept]


def action_curve(windows, probabilities, positions):
    """The action probability over the time of a video: (edges [n + 1] in seconds, probabilities [n]).

    That of a moment is the largest of all anchors that are centred around it, at any level, in any window.

    Args:
      windows: list of dataset.samples.Window, in order.
      probabilities: for each of them, [N]: the largest action probability of the anchors at a position.
      positions: number of positions of each level, the finest first.
    """
    finest, ends = positions[0], np.cumsum(positions)[:-1]
    start, end = windows[0].start, max(window.start + window.span for window in windows)
    parts = max(1, int(round((end - start) / min(window.span for window in windows) * finest)))
    edges = np.linspace(start, end, parts + 1)
    centers, highest = (edges[:-1] + edges[1:]) / 2, np.zeros(parts)
    for window, values in zip(windows, probabilities):
        levels = [level[np.arange(finest) * len(level) // finest] for level in np.split(np.asarray(values), ends)]
        place = np.floor((centers - window.start) / window.span * finest).astype(int)
        inside = (place >= 0) & (place < finest)
        highest[inside] = np.maximum(highest[inside], np.max(levels, axis=0)[place[inside]])
    return edges, highest


# Results

def uniform_windows(seconds, count):
    """`count` windows spread evenly over a video of `seconds`, longest first: [count, 2] seconds.

    One of the whole video, then k windows of 2 / (k + 1) of it, half overlapping, for k = 2, 3, ….
    """
    levels = np.arange(1, int(np.sqrt(2 * count)) + 2)  # enough of them: level k has k windows
    k = np.repeat(levels, levels)[:count]
    index = np.arange(count) - k * (k - 1) // 2
    return seconds * np.stack([index / (k + 1), (index + 2) / (k + 1)], axis=1)


def results_of(seconds, detections, class_names, test):
    """Detections of a video of `seconds` → its entry in the results: [{score, segment in seconds, label}].

    Each segment gets test.labels_per_video labels: those of the largest weights (_label_weights). A score is the
    anchor's score times the weight. Segments are cut to the video; those without score or length are not written.
    """
    scores, segments = detections.scores, np.clip(detections.segments, 0, float(np.float32(seconds)))
    if test.proposals == 'uniform':
        segments = uniform_windows(seconds, test.max_detections)
        scores = np.linspace(1, 0, test.max_detections, endpoint=False)
    weights = _label_weights(detections, test.label_by)                      # [D or 1, K]
    labels = np.argsort(-weights, axis=1, kind='stable')[:, :test.labels_per_video]
    weights = np.take_along_axis(weights, labels, axis=1)
    return [{'score': round(float(score), 6), 'segment': [round(float(start), 6), round(float(end), 6)],
             'label': class_names[label]}
            for rank in range(labels.shape[1])
            for score, (start, end), label in zip(scores * weights[:, rank], segments,
                                                  np.broadcast_to(labels[:, rank], len(scores)))
            if score > 0 and end > start]


def _label_weights(detections, label_by):
    """What decides on the labels of detections: [D, K], or [1, K] where it is the same for all segments of the video.

    video: the class probabilities of the video; anchor: those at the anchor's position; both: their product.
    """
    if label_by == 'video':
        return detections.class_scores[np.newaxis]
    return detections.probabilities * (1 if label_by == 'anchor' else detections.class_scores)
