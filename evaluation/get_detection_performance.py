"""Detection performance: interpolated AP a class at each tIoU, mAP, and average mAP (SPEC section 8).

    python3 evaluation/get_detection_performance.py GROUND_TRUTH RESULTS

Semantics of ActivityNet's eval_detection.py. Legend: evaluation/results.py.
"""
import os
import sys
from typing import Dict, List, NamedTuple

import numpy as np

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from errors import InputError, exit_status
from evaluation import results as shared

BARS_A_COLUMN = 100  # of the figure
MOST_BARS = 2000     # of the figure
MOST_SIGNS = 60      # of a name there


class DetectionPerformance(NamedTuple):
    """What evaluate_detections returns; every number is a share of 1."""

    tiou_thresholds: np.ndarray  # [S]
    mAP: np.ndarray              # [S], mean over classes
    average_mAP: float           # mean over thresholds
    ap: np.ndarray               # [K, S]
    classes: List[str]           # [K]
    counts: Dict[str, int]


def evaluate_detections(ground_truth, results, subset='validation', tiou_thresholds=shared.TIOU_THRESHOLDS,
                        policy='authors'):
    """Average precision of detections.

    Results of a class are taken by descending score, equal scores in the file's order. Each takes, among the
    ground-truth segments of its video and class that none before it took, the one of the highest tIoU (equal
    ones: the later in the file, as in the toolkit), if that reaches the threshold; else it is a false
    positive. A class without results has AP 0. Segments without length never match, but count.

    All classes and videos are handled at once: pairs of equal video and class are flattened, those below the
    lowest threshold dropped, and the greedy choice found in a few rounds for each threshold (greedy_matches).
    Cost: O(R log R + pairs log pairs + S (R + pairs)) time, O(S R) memory.

    Args:
      ground_truth, results: paths, loaded JSON, or what read_ground_truth and read_results return.
      subset: of the ground truth; not looked at where that is already read.
      tiou_thresholds: [S], each above 0 and up to 1.
      policy: 'authors' drops results of videos outside the subset's ground truth; 'official' (the toolkit)
        counts them as false positives. Both drop labels that the ground truth does not have.
    Raises:
      InputError: unreadable or malformed input, or an unknown policy.
    """
    if policy not in shared.POLICIES:
        raise InputError('policy "%s": expected %s' % (policy, ' or '.join(shared.POLICIES)))
    thresholds = shared.check_tiou_thresholds(tiou_thresholds)
    truth = shared.read_ground_truth(ground_truth, subset)
    results = shared.read_results(results)
    video = shared.positions_in(results.videos, truth.videos)[results.video_index]   # [R], −1: unknown
    label = shared.positions_in(results.labels, truth.classes)[results.label_index]  # [R], −1: unknown
    dropped_video = (video < 0) & (policy == 'authors')
    kept = ~dropped_video & (label >= 0)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(-results.scores[rows], kind='stable')]  # from here on, results stand by rank
    is_match = match_by_rank(results.segments[rows], video[rows], label[rows], truth, thresholds)
    ap = _ap_by_class(is_match, label[rows], truth)
    return DetectionPerformance(thresholds, ap.mean(axis=0), float(ap.mean(axis=0).mean()), ap, truth.classes,
                                _counts(truth, results, video, kept, dropped_video))


def match_by_rank(segments, video, label, truth, thresholds):
    """[S, R] bool: whether each result, best first, takes a ground-truth segment at each threshold.

    segments: [R, 2] seconds; video, label: [R] positions in truth's, video −1 where truth has not got it.
    """
    classes = len(truth.classes)
    group = np.where(video >= 0, video * classes + label, -1)
    gt_group = truth.video_index * classes + truth.class_index
    result, segment, tiou = shared.overlapping_pairs(
        segments, group, truth.segments, gt_group, thresholds.min())
    preference = np.lexsort((-segment, -tiou, result))  # a result's pairs by falling tIoU, then later first
    result, segment, tiou = result[preference], segment[preference], tiou[preference]
    first = np.searchsorted(result, np.arange(len(segments)))
    is_match = np.zeros((len(thresholds), len(segments)), dtype=bool)
    for row, threshold in zip(is_match, thresholds):
        reaching = np.bincount(result[tiou >= threshold], minlength=len(segments))
        row[greedy_matches(segment, first, first + reaching, len(truth.segments))] = True
    return is_match


def greedy_matches(choices, first, last, n_segments):
    """Results that get a segment when, one after the other, each takes its first choice that is left.

    No loop over results is needed. All segments prefer the lower rank, so this greedy choice is the one
    stable matching of results and segments, and rounds of bids by all at once find it (Gale and Shapley,
    1962): each bids for its choice, a segment holds its best bidder, the others turn to their next choice.
    A result turns away from a segment once at most, so all lost bids together are at most the pairs, and
    there are about as many rounds as segments of one group that overlap a result.

    Args:
      choices: [E] segments, each result's own together, best first.
      first, last: [R] the range in choices of each result, in the order of rank.
    Returns:
      Indices of the results that get a segment, ascending.
    """
    bidder = np.flatnonzero(first < last)
    choice, last = first[bidder], last[bidder]
    holder = np.empty(n_segments, dtype=np.int64)
    while True:
        wanted = choices[choice]
        holder[wanted[::-1]] = bidder[::-1]  # of repeated positions the last written stays: the best rank
        lost = holder[wanted] != bidder
        if not lost.any():
            return bidder
        choice = choice + lost
        still = choice < last
        bidder, choice, last = bidder[still], choice[still], last[still]


def interpolated_ap(is_match, positives):
    """[S] area under the interpolated precision-recall curve.

    is_match: [S, n], results by rank; positives: number of ground-truth segments. The precision at a recall
    is the best at that recall or a higher one (the toolkit's interpolated_prec_rec): recall rises by
    1/positives at each match, so the area is a sum over matches.
    """
    precision = np.cumsum(is_match, axis=1) / np.arange(1, is_match.shape[1] + 1)
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.sum(best_from_here * is_match, axis=1) / positives


def _ap_by_class(is_match, label, truth):
    """[K, S] AP, from [S, R] matches of results by rank with [R] labels."""
    by_class = np.argsort(label, kind='stable')
    is_match = is_match[:, by_class]
    edges = np.searchsorted(label[by_class], np.arange(len(truth.classes) + 1))
    positives = np.bincount(truth.class_index)
    return np.array([interpolated_ap(is_match[:, edges[k]:edges[k + 1]], positives[k])
                     for k in range(len(truth.classes))])


def _counts(truth, results, video, kept, dropped_video):
    """What was scored and what was not, under the names of the JSON file."""
    return {
        'ground_truth': len(truth.segments),
        'ground_truth_without_length': shared.without_length(truth.segments),
        'classes': len(truth.classes),
        'videos': len(truth.videos),
        'videos_without_segments': truth.videos_without_segments,
        'predictions_in_file': len(results.scores),
        'predictions': int(kept.sum()),
        'predictions_of_unknown_videos': int((kept & (video < 0)).sum()),
        'predictions_without_length': shared.without_length(results.segments[kept]),
        'dropped_unknown_video': int(dropped_video.sum()),
        'dropped_unknown_label': int((~kept & ~dropped_video).sum()),
    }


# ------------------------------------------------------------------------------------------------- script


def format_table(performance):
    """The counts, then mAP in percent at every tIoU and their mean."""
    counts = performance.counts
    lines = [shared.format_counts([
        ('ground-truth segments', counts['ground_truth']),
        ('  of no positive length (never matched)', counts['ground_truth_without_length']),
        ('classes', counts['classes']),
        ('videos with segments', counts['videos']),
        ('videos without (not scored)', counts['videos_without_segments']),
        ('predictions in the file', counts['predictions_in_file']),
        ('predictions scored', counts['predictions']),
        ('  of unknown videos (false positives)', counts['predictions_of_unknown_videos']),
        ('  of no positive length (false positives)', counts['predictions_without_length']),
        ('dropped: video outside the ground truth', counts['dropped_unknown_video']),
        ('dropped: label outside the ground truth', counts['dropped_unknown_label']),
    ]), '', '     tIoU   mAP (%)']
    lines += ['  %7s  %8.2f' % ('%.4g' % threshold, 100 * value)
              for threshold, value in zip(performance.tiou_thresholds, performance.mAP)]
    return '\n'.join(lines + ['  average  %8.2f' % (100 * performance.average_mAP)])


def to_json(performance):
    """The performance as a dict for a JSON file; AP by class as lists by tIoU."""
    return dict(performance.counts, tiou_thresholds=performance.tiou_thresholds.tolist(),
                mAP=performance.mAP.tolist(), average_mAP=performance.average_mAP,
                ap_per_class=dict(zip(performance.classes, performance.ap.tolist())))


def draw_ap(performance):
    """A figure of AP by class, the best on top, in as many columns as keep the names readable."""
    if len(performance.classes) > MOST_BARS:
        raise InputError('a figure of %d classes cannot be drawn, expected %d at most; leave out --figure'
                         % (len(performance.classes), MOST_BARS))
    # between two $ matplotlib would look for a formula
    names = [name[:MOST_SIGNS].replace('$', '\\$') for name in performance.classes]
    average = performance.ap.mean(axis=1)
    order = np.argsort(-average, kind='stable')
    columns = -(-len(order) // BARS_A_COLUMN)
    bars = -(-len(order) // columns)
    names_width, bars_width, height = 0.3 + 0.06 * max(map(len, names)), 2.5, 0.5 + 0.16 * bars
    figure = shared.new_figure((columns * (names_width + bars_width), height))
    # Laid out by hand: tight_layout is slow with 600 names.
    figure.subplots_adjust(left=names_width / figure.get_figwidth(), right=1, bottom=0, top=1,
                           wspace=names_width / bars_width)
    for column in range(columns):
        axes = figure.add_subplot(1, columns, column + 1)
        shown = order[column * bars:(column + 1) * bars]
        places = np.arange(len(shown))
        axes.barh(places, 100 * performance.ap[shown, 0], height=0.8, color='#c6d9ec',
                  label='tIoU %.4g' % performance.tiou_thresholds[0])
        axes.barh(places, 100 * average[shown], height=0.45, color='#1f5a92', label='mean over tIoU')
        axes.set_yticks(places)
        axes.set_yticklabels([names[k] for k in shown], fontsize=7)
        axes.set_xlim(0, 100)
        axes.set_ylim(bars - 0.4, -0.6)  # downwards, and as high as the other columns
        axes.set_xlabel('AP (%)', fontsize=8)
        axes.tick_params(axis='x', labelsize=7)
        axes.grid(axis='x', alpha=0.3)
    figure.axes[0].legend(loc='lower right', fontsize=7)
    figure.axes[0].set_title('AP of %d classes, average mAP %.2f %%' % (
        len(order), 100 * performance.average_mAP), fontsize=10)
    return figure


def main(argv=None):
    """Command line: prints the table, writes what is asked for."""
    parser = shared.build_parser(
        __doc__.split('\n')[0],
        'authors: predictions of videos or labels outside the ground truth of the subset are dropped; '
        'official (ActivityNet toolkit): predictions of such videos are false positives, such labels are '
        'dropped. The default is %(default)s, because published AherNet numbers were computed so',
        'AP of every class as bars')
    args = parser.parse_args(argv)
    performance = evaluate_detections(args.ground_truth, args.results, args.subset, args.tiou_thresholds,
                                      args.policy)
    print('Detection on "%s", policy %s' % (args.subset, args.policy))
    print(format_table(performance))
    if args.json:
        shared.write_json(args.json, dict(to_json(performance), subset=args.subset, policy=args.policy))
    if args.figure:
        shared.write_figure(args.figure, draw_ap(performance))


if __name__ == '__main__':
    sys.exit(exit_status(main))
