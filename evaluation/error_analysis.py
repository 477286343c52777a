"""What the errors of a detector are: kinds of false positives, found and missed segments, confused classes.

The definitions are those of DETAD: H. Alwassel, F. Caba Heilbron, V. Escorcia, B. Ghanem, Diagnosing Error in
Temporal Action Detectors, ECCV 2018 (https://github.com/HumamAlwassel/DETAD: src/action_detector_diagnosis.py and
src/false_positive_analysis.py). evaluation/characteristics.py has those by length, coverage and number.

Kind of a result at a tIoU threshold t. The result is compared with the segment of its video, of any class, with which
its tIoU is highest:

    true               it takes a segment, as get_detection_performance.py defines it
    double detection   tIoU ≥ t, and the segment has its label: another result has taken that segment
    wrong label        tIoU ≥ t, and the segment has another label
    localization       0.1 ≤ tIoU < t, and the segment has its label
    confusion          0.1 ≤ tIoU < t, and the segment has another label
    background         tIoU < 0.1, or no segment in its video

Top k G: class by class, with G the number of its segments, the results of rank (k − 1) G + 1 to k G. (DETAD's
profile, too, has separate tenths.) AP_N is AP with the normalized precision

    P_N = R · N / (R · N + F)    R recall, N mean number of segments of a class, F false positives up to this rank

so that classes with few segments are not at a disadvantage. The gain of a kind is what mAP_N of the top 10 G rises by
when all results of the kind are removed. Removing does not correct them: a segment that they missed stays missed.

Where this differs from DETAD, and why:
- Segments without length, and those that are longer than their video, count: they count in the evaluator's AP, too.
- Of segments with equal tIoU, one with the result's label is compared; DETAD takes the first in the file. Else a
  segment that is annotated with two classes would make correct labels wrong.
- Equal scores stay in the file's order, as in the evaluator; DETAD's order of them is left to its sorting.
- Results of unknown videos are dropped with the policy 'authors'. DETAD counts them, as 'official' does.
- N is not rounded. (DETAD's first version, for Python 2, rounds it down.)

Legend: evaluation/results.py, and D: scored results.
"""
from typing import List, NamedTuple

import numpy as np

from evaluation import results as shared
from evaluation.get_detection_performance import DetectionPerformance, evaluate_detections, matches_of_pairs
from runtime.errors import InputError

KINDS = ('true', 'double detection', 'wrong label', 'localization', 'confusion', 'background')
TRUE, DOUBLE, WRONG_LABEL, LOCALIZATION, CONFUSION, BACKGROUND = range(len(KINDS))
LOW_TIOU = 0.1            # below it, a result is background
TENTHS = 10               # the profile has the top 1 G … 10 G
LEAST_PRECISION = 0.05    # of a match that DETAD's false negatives accept
RESULTS_AT_ONCE = 1 << 17  # results that are compared with the segments of their videos at the same time


class Detections(NamedTuple):
    """The scored results, class by class, and each class by rank: what became of each."""

    row: np.ndarray           # [D] int, index into the Results
    video: np.ndarray         # [D] int, into the truth's videos, −1: unknown
    label: np.ndarray         # [D] int, into the truth's classes, ascending
    rank: np.ndarray          # [D] int, 0, 1, … within the class
    best_segment: np.ndarray  # [D] int, segment of the video with the highest tIoU, −1: none overlaps
    best_tiou: np.ndarray     # [D] with it
    taken: np.ndarray         # [S, D] int, the segment that the result takes, −1: none
    kind: np.ndarray          # [S, D] int, index into KINDS


class FoundSegments(NamedTuple):
    """What became of each ground-truth segment; indices of results are indices into Detections, −1: none."""

    taken_by: np.ndarray        # [S, G] int, the result that takes it
    is_missed: np.ndarray       # [S, G] bool: no result takes it at a normalized precision above LEAST_PRECISION
    best_tiou: np.ndarray       # [G] highest tIoU with a result of any label
    first_box: np.ndarray       # [G] int, the result of its video with the highest score
    first_box_tiou: np.ndarray  # [G] with it
    first_box_has_label: np.ndarray  # [G] bool: that result has the label of the segment


class Confusion(NamedTuple):
    """Results that lie on segments of one class and have the label of another."""

    actual: int     # class of the segments
    predicted: int  # label of the results
    results: int    # number
    videos: int     # number of videos with such a result


class ErrorAnalysis(NamedTuple):
    """Result of analyze_errors; AP, mAP and gains are in 0…1."""

    tiou_thresholds: np.ndarray        # [S]
    at: int                            # index of the threshold of what looks at a single one
    performance: DetectionPerformance  # AP without normalization
    detections: Detections
    segments: FoundSegments
    profile: np.ndarray          # [S, TENTHS, kinds] int, number of results among the top 1 G … 10 G
    mAP_N: np.ndarray            # [S] of all results
    top_mAP_N: np.ndarray        # [S] of the top 10 G
    gains: np.ndarray            # [S, kinds] what top_mAP_N gains without the results of a kind; 0 for TRUE
    confusions: List[Confusion]  # of the top 10 G, the most frequent first
    most_confused: np.ndarray    # [K] int, the most frequent wrong label on segments of the class, −1: none
    class_gains: np.ndarray      # [K, kinds] gain of a class's AP_N, as in gains, at the threshold `at`


def analyze_errors(truth, results, thresholds=shared.TIOU_THRESHOLDS, tiou=None, policy='authors'):
    """The errors of detections → ErrorAnalysis.

    Cost: O(R log R + pairs log pairs + S (R + pairs)) time, O(S R) memory; pairs of a result and a segment of its
    video.

    Args:
      truth, results: GroundTruth; Results with labels.
      thresholds: [S] over which DETAD takes means: 0.5 to 0.95 for ActivityNet, 0.5 alone for THUMOS14.
      tiou: one of them, for what looks at a single one; by default the lowest.
      policy: as of evaluate_detections.
    Raises:
      InputError: the thresholds or the policy cannot be used, or the results have no labels.
    """
    performance = evaluate_detections(truth, results, tiou_thresholds=thresholds, policy=policy)
    thresholds = performance.tiou_thresholds
    at = index_of_tiou(thresholds, tiou)
    detections, best_tiou = find_detections(truth, results, thresholds, policy)
    positives = np.bincount(truth.class_index)
    in_top = detections.rank < TENTHS * positives[detections.label]
    mean_aps = [mean_ap_n(taken >= 0, detections.label, positives, positives.mean()) for taken in detections.taken]
    top, gains = gains_of(detections.kind[:, in_top], detections.label[in_top], positives)
    confusions = find_confusions(truth, detections, at, in_top)
    most_confused = np.full(len(truth.classes), -1)
    for confusion in reversed(confusions):
        most_confused[confusion.actual] = confusion.predicted
    return ErrorAnalysis(
        thresholds, at, performance, detections, found_segments(truth, results, detections, best_tiou),
        profile_of(detections, positives), np.array(mean_aps), top, gains, confusions, most_confused,
        class_gains_of(detections.kind[at, in_top], detections.label[in_top], positives)[1])


def index_of_tiou(thresholds, tiou):
    """Index of `tiou` in the thresholds, of the lowest for None; raises InputError if it is not there."""
    if tiou is None:
        return int(np.argmin(thresholds))
    near = np.flatnonzero(np.isclose(thresholds, tiou, rtol=0, atol=1e-9))
    if not len(near):
        raise InputError('tIoU %g: expected one of the tIoU thresholds, %s; choose one of them, or name other '
                         'thresholds' % (tiou, ', '.join('%.4g' % threshold for threshold in thresholds)))
    return int(near[0])


def counts_of(rows, kinds, number):
    """How often each of `number` rows has each kind → [number, kinds] int; rows, kinds: [n] int."""
    return np.bincount(rows * len(KINDS) + kinds, minlength=number * len(KINDS)).reshape(number, len(KINDS))


# Results


def find_detections(truth, results, thresholds, policy):
    """What became of each scored result → (Detections, [G] highest tIoU of a segment with a result of any label)."""
    video = shared.positions_in(results.videos, truth.videos)[results.video_index]   # −1: unknown
    label = shared.positions_in(results.labels, truth.classes)[results.label_index]  # −1: unknown
    row = np.flatnonzero((label >= 0) & ((video >= 0) | (policy == 'official')))
    row = row[np.lexsort((-results.scores[row], label[row]))]  # it is stable: equal scores stay in the file's order
    video, label = video[row], label[row]
    rank = np.arange(len(row)) - np.searchsorted(label, np.arange(len(truth.classes)))[label]
    best_segment, best_tiou = np.full(len(row), -1), np.zeros(len(row))
    best_of_segment = np.zeros(len(truth.segments))
    own_label = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for result, segment, tiou in _pairs_in_parts(results.segments[row], video, truth):
        np.maximum.at(best_of_segment, segment, tiou)
        is_own = truth.class_index[segment] == label[result]
        order = np.lexsort((segment, ~is_own, -tiou, result))  # a result's pairs, the best first
        first = order[np.flatnonzero(np.diff(result[order], prepend=-1))]
        best_segment[result[first]], best_tiou[result[first]] = segment[first], tiou[first]
        reaches = is_own & (tiou >= thresholds.min())
        own_label.append((result[reaches], segment[reaches], tiou[reaches]))
    pairs = [np.concatenate(column) for column in zip(*own_label)]
    taken = np.full((len(thresholds), len(row)), -1)
    for of, (taking, wanted) in zip(taken, matches_of_pairs(*pairs, thresholds, len(row), len(truth.segments))):
        of[taking] = wanted
    has_label = (best_segment >= 0) & (truth.class_index[best_segment] == label)
    kind = np.array([kinds_at(threshold, of >= 0, best_tiou, has_label) for threshold, of in zip(thresholds, taken)])
    return Detections(row, video, label, rank, best_segment, best_tiou, taken, kind), best_of_segment


def _pairs_in_parts(segments, video, truth):
    """Yield [E] results, [E] segments and their tIoU, above 0, of consecutive parts of the results.

    Pairs of all results at once would not fit in memory where videos have hundreds of segments.
    """
    for start in range(0, len(segments), RESULTS_AT_ONCE):
        part = slice(start, start + RESULTS_AT_ONCE)
        result, segment, tiou = shared.overlapping_pairs(
            segments[part], video[part], truth.segments, truth.video_index, np.finfo(np.float64).tiny)
        yield result + start, segment, tiou


def kinds_at(threshold, is_true, best_tiou, has_label):
    """The kind of each result at one threshold → [D] int8, index into KINDS.

    is_true: [D] bool; best_tiou: [D] with the segment that it is compared with; has_label: [D] bool, whether that
    segment has the result's label.
    """
    near = np.where(has_label, LOCALIZATION, CONFUSION)
    kind = np.where(best_tiou >= LOW_TIOU, near, BACKGROUND)
    kind = np.where(best_tiou >= threshold, np.where(has_label, DOUBLE, WRONG_LABEL), kind)
    return np.where(is_true, TRUE, kind).astype(np.int8)


def profile_of(detections, positives):
    """Number of results of each kind among the top 1 G … 10 G → [S, TENTHS, kinds] int; positives: [K] segments."""
    tenth = detections.rank // positives[detections.label]
    in_top = tenth < TENTHS
    return np.array([counts_of(tenth[in_top], kind[in_top], TENTHS) for kind in detections.kind])


def profile_shares(profile):
    """Share of each kind among the top 1 G … 10 G, and in all of these → [TENTHS + 1, kinds]; NaN without results.

    profile: [S, TENTHS, kinds]; the shares are means over the thresholds.
    """
    counts = np.concatenate([profile, profile.sum(axis=1, keepdims=True)], axis=1).astype(float)
    numbers = counts.sum(axis=2, keepdims=True)
    return np.divide(counts, numbers, out=np.full_like(counts, np.nan), where=numbers > 0).mean(axis=0)


def find_confusions(truth, detections, at, in_top):
    """[Confusion] of the results where in_top [D] is True, at threshold `at`, the most frequent first."""
    is_confused = in_top & np.isin(detections.kind[at], (WRONG_LABEL, CONFUSION))
    classes = len(truth.classes)
    pair = truth.class_index[detections.best_segment[is_confused]] * classes + detections.label[is_confused]
    pairs, index, number = np.unique(pair, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    in_videos = np.unique(index * len(truth.videos) + detections.video[is_confused])  # each video of a pair once
    videos = np.bincount(in_videos // len(truth.videos), minlength=len(pairs))
    return [Confusion(int(pairs[i] // classes), int(pairs[i] % classes), int(number[i]), int(videos[i]))
            for i in np.lexsort((pairs, -videos, -number))]


# Segments


def found_segments(truth, results, detections, best_tiou):
    """What became of each segment → FoundSegments; best_tiou: [G] as find_detections returns it."""
    positives = np.bincount(truth.class_index)
    taken_by = np.full((len(detections.taken), len(truth.segments)), -1)
    is_missed = np.ones(taken_by.shape, dtype=bool)
    for by, missed, taken in zip(taken_by, is_missed, detections.taken):
        true, precision = precision_n(taken >= 0, detections.label, positives, positives.mean())
        by[taken[true]] = true
        missed[taken[true[precision > LEAST_PRECISION]]] = False
    scores = results.scores[detections.row]
    order = np.lexsort((detections.row, -scores))
    order = order[detections.video[order] >= 0]
    of_video = np.full(len(truth.videos), -1)
    of_video[detections.video[order[::-1]]] = order[::-1]  # the last value stays: the highest score
    first_box = of_video[truth.video_index]
    has_box = np.flatnonzero(first_box >= 0)
    tiou, has_label = np.zeros(len(first_box)), np.zeros(len(first_box), dtype=bool)
    tiou[has_box] = shared.segment_tiou(
        results.segments[detections.row[first_box[has_box]]], truth.segments[has_box])
    has_label[has_box] = detections.label[first_box[has_box]] == truth.class_index[has_box]
    return FoundSegments(taken_by, is_missed, best_tiou, first_box, tiou, has_label)


# Normalized AP


def precision_n(is_true, label, positives, number):
    """Normalized precision at each true result → ([n] indices of the true results, [n] precision).

    is_true, label: [D] by class and rank; positives: [K] segments; number: N of P_N. With a class's own number of
    segments as N this is the precision without normalization.
    """
    true = np.flatnonzero(is_true)
    of, classes = label[true], np.arange(len(positives))
    trues = np.arange(1, len(true) + 1) - np.searchsorted(of, classes)[of]  # 1, 2, … within a class
    falses = true + 1 - np.searchsorted(label, classes)[of] - trues
    weighted = trues * (number / np.maximum(positives, 1))[of]
    return true, weighted / (weighted + falses)


def ap_n(is_true, label, positives, number):
    """Interpolated AP of each class from the normalized precision → [K], 0 where positives is 0; see precision_n."""
    true, precision = precision_n(is_true, label, positives, number)
    best = best_from_here(precision, label[true])
    return np.bincount(label[true], best, minlength=len(positives)) / np.maximum(positives, 1)


def best_from_here(values, group):
    """The highest of each value and of those after it in its group → [n]; group: [n] int, ascending."""
    order = np.argsort(values, kind='stable')
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.arange(len(values))
    # From the end, places of an earlier group are above all places of later ones, so that one pass does all groups.
    shift = group * len(values)
    best = np.maximum.accumulate((place - shift)[::-1])[::-1] + shift
    return values[order][best]


def mean_ap_n(is_true, label, positives, number):
    """mAP_N: the mean of ap_n over the classes with a segment; arguments as of precision_n."""
    return float(ap_n(is_true, label, positives, number)[positives > 0].mean())


def gains_of(kinds, label, positives):
    """What mAP_N gains without the results of a kind → ([S] mAP_N, [S, kinds] gains).

    kinds: [S, n] of results by class and rank; label: [n]; positives: [K] segments.
    """
    by_class = [class_gains_of(kind, label, positives) for kind in kinds]
    return (np.array([aps.mean() for aps, _ in by_class]), np.array([gains.mean(axis=0) for _, gains in by_class]))


def class_gains_of(kind, label, positives):
    """As gains_of, for each class and at one threshold → ([K] AP_N, [K, kinds] gains); kind: [n]."""
    aps, gains = ap_n(kind == TRUE, label, positives, positives.mean()), np.zeros((len(positives), len(KINDS)))
    for removed in range(TRUE + 1, len(KINDS)):
        stays = kind != removed
        gains[:, removed] = ap_n(kind[stays] == TRUE, label[stays], positives, positives.mean()) - aps
    return aps, gains
