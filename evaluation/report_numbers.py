"""The numbers of the report page: what it says about each results file, and what its timelines draw.

evaluation/report.py writes the page. Arrays are in the page as base64 of little-endian numbers, because JSON numbers
would take three times the place. Legend: evaluation/results.py and evaluation/error_analysis.py.
"""
import base64
from typing import List, NamedTuple, Optional

import numpy as np

from evaluation import characteristics
from evaluation.error_analysis import ErrorAnalysis, analyze_errors, ap_n
from evaluation.get_detection_performance import DetectionPerformance, evaluate_detections
from evaluation.get_proposal_performance import MAX_AVG_NR_PROPOSALS, ProposalPerformance, evaluate_proposals
from evaluation.results import TIOU_THRESHOLDS, Results, positions_in
from ops.detections import uniform_windows

MAX_DRAWN = 350000  # results on the timelines of all files together: each takes 22 bytes of the page
SHOWN_TIOUS = (0.5, 0.75, 0.95)  # of mAP in the table, where these are thresholds


class Analyzed(NamedTuple):
    """The error analysis of one results file."""

    results: Results
    errors: ErrorAnalysis
    by_video: np.ndarray  # [n] indices into errors.detections of the results of known videos, by video and score
    sensitivities: List[characteristics.Sensitivity]
    first_box: characteristics.FirstBox

    @property
    def video(self):
        """[n] the videos of by_video, ascending."""
        return self.errors.detections.video[self.by_video]

    @property
    def in_bins(self):
        """Those of the sensitivities that the page shows."""
        return characteristics.in_named_bins(self.sensitivities)


class Reported(NamedTuple):
    """One results file on the page."""

    name: str                        # as the page calls it
    accuracy: Optional[float]        # share of videos with the right label; None: not known
    proposals: ProposalPerformance
    detections: DetectionPerformance
    analyzed: Optional[Analyzed]     # None: the file is only in the first table and the curves


def evaluated(name, truth, results, thresholds=TIOU_THRESHOLDS, policy='authors', unique_segments=False,
              analysis=None):
    """The Reported of Results; arguments as of the evaluators; name: on the page; analysis: its Analyzed, if any."""
    proposals = evaluate_proposals(truth, results, tiou_thresholds=thresholds, unique_segments=unique_segments)
    detections = analysis.errors.performance if analysis else evaluate_detections(
        truth, results, tiou_thresholds=thresholds, policy=policy)
    return Reported(name, None, proposals, detections, analysis)


def analyzed(truth, results, durations, thresholds=TIOU_THRESHOLDS, tiou=None, policy='authors', bins='activitynet'):
    """The Analyzed of Results; durations: {video: seconds}, where known; other arguments as of analyze_errors."""
    errors = analyze_errors(truth, results, thresholds, tiou, policy)
    values = characteristics.characteristics_of(truth, durations)
    return Analyzed(results, errors, _by_video(results, errors.detections),
                    characteristics.sensitivities(truth, errors, values, bins),
                    characteristics.first_box(truth, errors))


def even_windows(truth, results, durations, count=int(MAX_AVG_NR_PROPOSALS)):
    """Results to compare with: windows spread evenly over each video, labelled as its best result of the `results`.

    The first window of a video, all of it, has the score of that result, and the following ones have lower scores, in
    equal steps (uniform_windows). Videos without results get none. None where a duration is not known.
    """
    if not all(video in durations for video in truth.videos):
        return None
    order = np.lexsort((-results.scores, results.video_index))  # stable: of equal scores, the first in the file
    videos, first = np.unique(results.video_index[order], return_index=True)
    is_known = positions_in([results.videos[video] for video in videos], truth.videos) >= 0
    rows, names = order[first[is_known]], [results.videos[video] for video in videos[is_known]]
    weights = results.scores[rows] - min(0, results.scores.min(initial=0))  # 0 or more, in the same order
    windows = uniform_windows(1.0, count)[None] * np.array([durations[name] for name in names]).reshape(-1, 1, 1)
    scores = weights[:, None] * np.linspace(1, 0, count, endpoint=False)
    return Results('evenly spread windows', names, np.repeat(np.arange(len(names)), count), scores.reshape(-1),
                   windows.reshape(-1, 2), results.labels, np.repeat(results.label_index[rows], count))


# Tables


def shown_thresholds(thresholds):
    """Indices of the tIoU thresholds whose mAP the table shows: 0.5, 0.75 and 0.95, otherwise the first and last."""
    near = [int(np.argmin(np.abs(thresholds - tiou))) for tiou in SHOWN_TIOUS]
    if all(abs(thresholds[i] - tiou) < 1e-9 for i, tiou in zip(near, SHOWN_TIOUS)):
        return near
    return sorted({0, len(thresholds) - 1})


def class_table(truth, files):
    """[dict] of each class, in the order of names: its segments, and by file AP and what it is confused with.

    AP is in 0…1, at the single threshold and as the mean; confused_with is None where nothing is.
    """
    segments = np.bincount(truth.class_index)
    order = sorted(range(len(truth.classes)), key=lambda k: truth.classes[k])
    return [{'name': truth.classes[k], 'segments': int(segments[k]), 'files': [_class_cells(truth, file, k)
             for file in files]} for k in order]


def _class_cells(truth, file, k):
    """What class_table says of class `k` in one analyzed file."""
    errors = file.analyzed.errors
    ap, confused = errors.performance.ap[k], errors.most_confused[k]
    return {'ap': float(ap[errors.at]), 'average_ap': float(ap.mean()),
            'confused_with': truth.classes[confused] if confused >= 0 else None}


def confusion_rows(file, number):
    """[(class of the segments, label of the results, results, videos)] of the `number` most frequent confusions."""
    classes = file.analyzed.errors.performance.classes
    return [(classes[pair.actual], classes[pair.predicted], pair.results, pair.videos)
            for pair in file.analyzed.errors.confusions[:number]]


# Timelines


def timelines(truth, files, durations, limit=None):
    """What the timelines draw, for JSON: videos, segments, and of each analyzed file the best results of each video.

    limit: results of a video and file; None: as many as MAX_DRAWN allows.
    """
    limit = limit or results_per_video(truth, files)
    order = np.argsort(truth.video_index, kind='stable')
    segments = truth.segments[order]
    drawn = [_drawn(truth, file, limit) for file in files]
    return {
        'videos': truth.videos,
        'seconds': packed(video_seconds(truth, files, durations), 'float32'),
        'is_known': packed([video in durations for video in truth.videos], 'uint8'),  # the duration
        'segments': dict(_columns(segments, truth.class_index[order]), first=_firsts(
            truth.video_index[order], len(truth.videos))),
        'found': [packed(file.analyzed.errors.segments.taken_by[file.analyzed.errors.at][order] >= 0, 'uint8')
                  for file in files],
        'ap': [packed(video_ap(truth, file), 'float32') for file in files],
        'drawn': drawn}


def results_per_video(truth, files):
    """How many results of a video and file the timelines can draw."""
    return max(1, MAX_DRAWN // (len(truth.videos) * len(files)))


def most_results(truth, files):
    """The highest number of results of a video in one of the files."""
    return max(np.bincount(file.analyzed.video, minlength=len(truth.videos)).max() for file in files)


def video_seconds(truth, files, durations):
    """[V] duration of each video; where it is not known, the end of its last segment or result."""
    last = np.zeros(len(truth.videos))
    np.maximum.at(last, truth.video_index, truth.segments.max(axis=1))
    for file in files:
        rows = file.analyzed.errors.detections.row[file.analyzed.by_video]
        np.maximum.at(last, file.analyzed.video, file.analyzed.results.segments[rows, 1])
    return np.array([durations.get(video, end) for video, end in zip(truth.videos, last)])


def video_ap(truth, file):
    """AP within each video, whatever the class, at the single threshold → [V].

    All results of a video are in one order, by score; a result is true as in the error analysis.
    """
    positives = np.bincount(truth.video_index, minlength=len(truth.videos))
    errors, by_video = file.analyzed.errors, file.analyzed.by_video
    return ap_n(errors.detections.taken[errors.at][by_video] >= 0, file.analyzed.video, positives, positives)


def _by_video(results, detections):
    """What Analyzed.by_video is; equal scores are in the order of the file."""
    known = np.flatnonzero(detections.video >= 0)
    rows = detections.row[known]
    return known[np.lexsort((rows, -results.scores[rows], detections.video[known]))]


def _drawn(truth, file, limit):
    """The best `limit` results of each video, for JSON."""
    errors, results = file.analyzed.errors, file.analyzed.results
    order, video = file.analyzed.by_video, file.analyzed.video
    rank = np.arange(len(order)) - np.searchsorted(video, video)
    kept, video = order[rank < limit], video[rank < limit]
    detections = errors.detections
    row = detections.row[kept]
    return dict(
        _columns(results.segments[row], detections.label[kept]),
        first=_firsts(video, len(truth.videos)), score=packed(results.scores[row], 'float32'),
        kind=packed(detections.kind[errors.at][kept], 'uint8'),
        tiou=packed(np.floor(100 * detections.best_tiou[kept] + 1e-9), 'uint8'))  # in hundredths


def _columns(segments, labels):
    """Starts and ends in seconds, and labels as indices into the classes."""
    return {'start': packed(segments[:, 0], 'float32'), 'end': packed(segments[:, 1], 'float32'),
            'label': packed(labels, 'uint16')}


def _firsts(video, videos):
    """Index of the first row of each video, and behind the last the number of rows; video: [n] ascending."""
    return packed(np.searchsorted(video, np.arange(videos + 1)), 'uint32')


def packed(values, kind):
    """An array for JSON: {"type": its numpy name, "base64": its bytes}; the page makes a typed array of it."""
    array = np.ascontiguousarray(values).astype(np.dtype(kind).newbyteorder('<'))
    return {'type': kind, 'base64': base64.b64encode(array.tobytes()).decode('ascii')}
