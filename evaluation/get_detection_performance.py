"""Detection performance: interpolated AP of each class, mAP at each tIoU, average mAP (docs/method.md, section 8).

    python3 evaluation/get_detection_performance.py GROUND_TRUTH RESULTS
    python3 evaluation/get_detection_performance.py GROUND_TRUTH RESULTS --policy official   # as the toolkit counts
    python3 evaluation/get_detection_performance.py GROUND_TRUTH PROPOSALS --video_scores CLASS_SCORES --top 2

AP is defined as in eval_detection.py of ActivityNet's toolkit. Legend: evaluation/results.py.
"""
import os
import sys
from typing import Dict, List, NamedTuple

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import InputError, counted, exit_on_ctrl_c, exit_status, printable

with exit_on_ctrl_c():
    import numpy as np

    from evaluation import class_scores, command_line, selection
    from evaluation import results as shared
    from evaluation.score_files import read_score_classes

BARS_PER_COLUMN = 100     # of the figure
MAX_BARS = 2000           # of the figure
MAX_NAME_CHARACTERS = 60  # of a class name in the figure
DEFAULT_TOP = 2           # classes of a video that --video_scores gives to its proposals
COUNTS = {                # of DetectionPerformance, as the table names them
    'ground_truth': 'ground-truth segments', 'ground_truth_without_length': '  without length (never matched)',
    'classes': 'classes', 'videos': 'videos with segments',
    'videos_without_segments': 'videos without segments (not scored)',
    'predictions_in_file': 'results', 'predictions': 'results scored',
    'predictions_of_unknown_videos': '  of unknown videos (false positives)',
    'predictions_without_length': '  without length (false positives)',
    'dropped_unknown_video': 'dropped: video outside the ground truth',
    'dropped_unknown_label': 'dropped: label outside the ground truth', **command_line.DROPPED}


class DetectionPerformance(NamedTuple):
    """Result of evaluate_detections; AP and mAP are in 0…1."""

    tiou_thresholds: np.ndarray  # [S]
    mAP: np.ndarray              # [S], mean over classes
    average_mAP: float           # mean over thresholds
    ap: np.ndarray               # [K, S]
    classes: List[str]           # [K]
    counts: Dict[str, int]


def evaluate_detections(ground_truth, results, subset='validation', tiou_thresholds=shared.TIOU_THRESHOLDS,
                        policy='authors'):
    """Average precision of detections → DetectionPerformance.

    The results of a class choose one after the other, by descending score; equal scores stay in the file's order.
    A result looks at the ground-truth segments of its video and class that no earlier result has taken, and takes
    the one with the highest tIoU (of equal ones the last in the file, as in the toolkit) if the tIoU reaches the
    threshold. Otherwise it is a false positive. A class without results has AP 0. Segments without length match
    nothing, but count.

    All classes and videos are processed together: pairs of the same video and class are formed, those below the
    lowest threshold are removed, and a few rounds for each threshold find the choices (greedy_matches).
    Cost: O(R log R + pairs log pairs + S (R + pairs)) time, O(S R) memory.

    Args:
      ground_truth, results: paths, loaded JSON, or what read_ground_truth and read_results return.
      subset: of the ground truth; ignored if ground_truth is a GroundTruth.
      tiou_thresholds: [S], each above 0 and at most 1.
      policy: what happens with results of videos outside the subset's ground truth. 'authors' drops them;
        'official', as in the toolkit, counts them as false positives. Both drop results with a label that the
        ground truth does not have.
    Raises:
      InputError: an input cannot be read or is malformed, or the policy is unknown.
    """
    if policy not in shared.POLICIES:
        raise InputError('policy "%s": expected %s' % (policy, ' or '.join(shared.POLICIES)))
    thresholds = shared.check_tiou_thresholds(tiou_thresholds)
    truth = shared.read_ground_truth(ground_truth, subset)
    results = shared.read_results(results)
    video = shared.positions_in(results.videos, truth.videos)[results.video_index]   # [R], −1: unknown
    label = shared.positions_in(results.labels, truth.classes)[results.label_index]  # [R], −1: unknown
    dropped_video = (video < 0) & (policy == 'authors')
    scored = ~dropped_video & (label >= 0)
    rows = np.flatnonzero(scored)
    rows = rows[np.argsort(-results.scores[rows], kind='stable')]  # from here on, results are in order of rank
    is_match = match_by_rank(results.segments[rows], video[rows], label[rows], truth, thresholds)
    ap = _ap_by_class(is_match, label[rows], truth)
    return DetectionPerformance(thresholds, ap.mean(axis=0), float(ap.mean(axis=0).mean()), ap, truth.classes,
                                _detection_counts(truth, results, video, scored, dropped_video))


def match_by_rank(segments, video, label, truth, thresholds):
    """Whether each result takes a ground-truth segment at each threshold → [S, R] bool.

    Results are in order of rank. segments: [R, 2] seconds; video, label: [R] indices into truth's videos and classes,
    video −1 if truth does not have it.
    """
    classes = len(truth.classes)
    group = np.where(video >= 0, video * classes + label, -1)
    gt_group = truth.video_index * classes + truth.class_index
    result, segment, tiou = shared.overlapping_pairs(
        segments, group, truth.segments, gt_group, thresholds.min())
    is_match = np.zeros((len(thresholds), len(segments)), dtype=bool)
    for row, (taking, _) in zip(is_match, matches_of_pairs(
            result, segment, tiou, thresholds, len(segments), len(truth.segments))):
        row[taking] = True
    return is_match


def matches_of_pairs(result, segment, tiou, thresholds, n_results, n_segments):
    """For each threshold, yield (results that take a segment, the segments), as greedy_matches gives them.

    result, segment, tiou: [E] pairs of a result and a segment of its video and class; lower results have the better
    rank.
    """
    preference = np.lexsort((-segment, -tiou, result))  # a result's pairs by descending tIoU, then last first
    result, segment, tiou = result[preference], segment[preference], tiou[preference]
    first = np.searchsorted(result, np.arange(n_results))
    for threshold in thresholds:
        reaching = np.bincount(result[tiou >= threshold], minlength=n_results)
        yield greedy_matches(segment, first, first + reaching, n_segments)


def greedy_matches(choices, first, last, n_segments):
    """Results that get a segment if, one after the other, each takes the best of its choices that is still free.

    This needs no loop over results. Every segment prefers the lower rank, so these choices are the only stable
    matching of results and segments, which rounds of bids by all results find (Gale and Shapley, 1962): each
    result bids for its best choice, a segment keeps the bidder of the lowest rank, and the other bidders continue
    with their next choices. A result loses each of its pairs once at most, and there are about as many rounds as
    segments of one group that overlap a result.

    Args:
      choices: [E] segments; those of one result are side by side, best first.
      first, last: [R] each result's range in choices; results are in order of rank.
    Returns:
      (indices of the results that get a segment, ascending; the segments that they get).
    """
    bidder = np.flatnonzero(first < last)
    choice, last = first[bidder], last[bidder]
    holder = np.empty(n_segments, dtype=np.int64)
    while True:
        wanted = choices[choice]
        holder[wanted[::-1]] = bidder[::-1]  # for a repeated index numpy keeps the last value: the lowest rank
        lost = holder[wanted] != bidder
        if not lost.any():
            return bidder, wanted
        choice = choice + lost
        still = choice < last
        bidder, choice, last = bidder[still], choice[still], last[still]


def interpolated_ap(is_match, positives):
    """Area under the interpolated precision-recall curve → [S].

    is_match: [S, n], results in order of rank; positives: number of ground-truth segments. The interpolated
    precision at a recall is the highest at that recall or a higher one (the toolkit's interpolated_prec_rec).
    Recall rises by 1/positives at each match, so the area is a sum over matches.
    """
    precision = np.cumsum(is_match, axis=1) / np.arange(1, is_match.shape[1] + 1)
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.sum(best_from_here * is_match, axis=1) / positives


def _ap_by_class(is_match, label, truth):
    """AP [K, S] of matches [S, R] of results in order of rank, with labels [R]."""
    by_class = np.argsort(label, kind='stable')
    is_match = is_match[:, by_class]
    edges = np.searchsorted(label[by_class], np.arange(len(truth.classes) + 1))
    positives = np.bincount(truth.class_index)
    return np.array([interpolated_ap(is_match[:, edges[k]:edges[k + 1]], positives[k])
                     for k in range(len(truth.classes))])


def _detection_counts(truth, results, video, scored, dropped_video):
    """What was scored and what was dropped, by the names in the JSON file; there, "predictions" are results."""
    return dict(
        ground_truth=len(truth.segments), ground_truth_without_length=shared.without_length(truth.segments),
        classes=len(truth.classes), videos=len(truth.videos), videos_without_segments=truth.videos_without_segments,
        videos_without_results=shared.videos_without_results(truth, results),
        predictions_in_file=len(results.scores), predictions=int(scored.sum()),
        predictions_of_unknown_videos=int((scored & (video < 0)).sum()),
        predictions_without_length=shared.without_length(results.segments[scored]),
        dropped_unknown_video=int(dropped_video.sum()), dropped_unknown_label=int((~scored & ~dropped_video).sum()))


# Command line


def format_table(performance):
    """Table for printing: the counts, mAP in percent at each tIoU and the mean, and over how many videos it is."""
    rows = [*zip(performance.tiou_thresholds, performance.mAP), ('average', performance.average_mAP)]
    lines = command_line.format_counts(performance.counts, COUNTS) + ['', '     tIoU   mAP (%)'] + [
        '  %7s  %8.2f' % (tiou if tiou == 'average' else '%.4g' % tiou, 100 * value) for tiou, value in rows]
    coverage = shared.format_coverage(performance.counts['videos'], performance.counts['videos_without_results'])
    return '\n'.join(lines + ['', '  ' + coverage])


def to_json(performance):
    """The performance as a dict for a JSON file; AP of a class is a list by tIoU."""
    return dict(performance.counts, tiou_thresholds=performance.tiou_thresholds.tolist(),
                mAP=performance.mAP.tolist(), average_mAP=performance.average_mAP,
                ap_per_class=dict(zip(performance.classes, performance.ap.tolist())))


def draw_ap(performance):
    """A figure of the AP of each class, the best at the top, in columns of at most BARS_PER_COLUMN bars.

    Raises InputError if there are more than MAX_BARS classes.
    """
    if len(performance.classes) > MAX_BARS:
        raise InputError('a figure of %d classes cannot be drawn, expected %d at most'
                         % (len(performance.classes), MAX_BARS))
    # Matplotlib takes text between two $ as a formula.
    names = [printable(name[:MAX_NAME_CHARACTERS])[:MAX_NAME_CHARACTERS].replace('$', '\\$')
             for name in performance.classes]
    average = performance.ap.mean(axis=1)
    order = np.argsort(-average, kind='stable')
    columns = -(-len(order) // BARS_PER_COLUMN)
    bars = -(-len(order) // columns)
    names_width, bars_width, height = 0.3 + 0.06 * max(map(len, names)), 2.5, 0.5 + 0.16 * bars
    figure = shared.new_figure((columns * (names_width + bars_width), height))
    # Set here because tight_layout is slow with 600 names.
    figure.subplots_adjust(left=names_width / figure.get_figwidth(), right=1, bottom=0, top=1,
                           wspace=names_width / bars_width)
    for column in range(columns):
        axes = figure.add_subplot(1, columns, column + 1)
        shown = order[column * bars:(column + 1) * bars]
        places = np.arange(len(shown))
        axes.barh(places, 100 * performance.ap[shown, 0], height=0.8, color='#c6d9ec',
                  label='tIoU %.4g' % performance.tiou_thresholds[0])
        axes.barh(places, 100 * average[shown], height=0.45, color='#1f5a92', label='mean over tIoU')
        # from the top down, and as high as the other columns
        axes.set(yticks=places, xlim=(0, 100), ylim=(bars - 0.4, -0.6))
        axes.set_yticklabels([names[k] for k in shown], fontsize=7)
        axes.set_xlabel('AP (%)', fontsize=8)
        axes.tick_params(axis='x', labelsize=7)
        axes.grid(axis='x', alpha=0.3)
    figure.axes[0].legend(loc='lower right', fontsize=7)
    figure.axes[0].set_title('AP of %s, average mAP %.2f %%' % (
        counted(len(order), 'class'), 100 * performance.average_mAP), fontsize=10)
    return figure


def build_parser():
    """The parser of this script."""
    parser = command_line.build_parser(
        (__doc__ or '').split('\n')[0],  # python -OO removes docstrings
        'what happens with results of videos that the ground truth of the subset does not have. official: they '
        'are false positives, as in ActivityNet\'s toolkit. (OpenTAD counts alike, but removes repeated annotations '
        'first: --drop_duplicates.) authors: they are dropped, as in the published AherNet numbers. Either drops '
        'results with a label that the ground truth does not have (default: %(default)s)',
        'the AP of each class as bars')
    add_score_flags(parser)
    return parser


def add_score_flags(parser):
    """Add --video_scores and the flags that need it."""
    parser.add_argument('--video_scores', metavar='FILE',
                        help='class scores of whole videos: JSON in ActivityNet\'s form of classification results or '
                        'in CUHK\'s, CSV, npy as UntrimmedNet\'s uNet_test.npy of THUMOS14, or npz '
                        '(docs/evaluation.md). Each result gets the best classes of its video instead of its own '
                        'label, and its score times that of the class')
    parser.add_argument('--score_classes', metavar='NAMES',
                        help='class names of --video_scores where that file has none, as npy: one per line in the '
                        'order of the columns; or lines such as "7 BaseballPitch", with the column counted from 1, '
                        'as in THUMOS14\'s detclasslist.txt, where columns without a name are ignored')
    parser.add_argument('--top', type=int, metavar='K',
                        help='number of best classes that --video_scores gives to each result (default: %d)'
                        % DEFAULT_TOP)


def check_score_flags(args):
    """Raise InputError if the parsed `args` have a flag that needs --video_scores without it, or --top below 1."""
    for flag, value in (('--top', args.top), ('--score_classes', args.score_classes)):
        if value is not None and not args.video_scores:
            raise InputError('%s %s: found no --video_scores, which the flag belongs to; add --video_scores FILE, or '
                             'leave out %s' % (flag, value, flag))
    if args.top is not None and args.top < 1:
        raise InputError('--top %d: expected a number above 0; correct the flag' % args.top)


def read_joined(args):
    """Read the files that the parsed `args` name, with --video_scores joined → as command_line.read_inputs."""
    truth, results, counts = command_line.read_inputs(args, with_labels=not args.video_scores)
    if not args.video_scores:
        return truth, results, counts
    classes = read_score_classes(args.score_classes) if args.score_classes else None
    with_proposals = [results.videos[video] for video in np.unique(results.video_index)]
    scores = class_scores.read_class_scores(args.video_scores, args.top or DEFAULT_TOP, classes, with_proposals)
    if args.strip_prefix:
        scores = class_scores.strip_prefix(scores, args.strip_prefix)
    results, joined_counts, warnings = class_scores.join_class_scores(results, scores)
    command_line.warn(warnings)
    return truth, results, dict(counts, **joined_counts)


def main(argv=None):
    """Evaluate as the command line says: print the table and warnings, and write the JSON file and the figure."""
    args = command_line.parse_arguments(build_parser(), argv, 'average_mAP')
    check_score_flags(args)
    truth, results, counts = read_joined(args)
    truth, results, more_counts = command_line.drop_segments(args, truth, results)
    performance = evaluate_detections(truth, results, args.subset, args.tiou_thresholds, args.policy)
    performance = performance._replace(counts=dict(performance.counts, **counts, **more_counts))
    print('Detection on "%s", policy %s' % (printable(args.subset), args.policy))
    print(format_table(performance))
    command_line.warn(selection.label_warnings(truth, results, args.policy))
    command_line.write_outputs(args, dict(to_json(performance), subset=args.subset, policy=args.policy),
                               lambda: draw_ap(performance))


if __name__ == '__main__':
    sys.exit(exit_status(main))
