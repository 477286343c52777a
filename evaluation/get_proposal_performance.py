"""Proposal performance: average recall at average numbers of proposals (AR@AN), and AUC (docs/method.md, section 8).

    python3 evaluation/get_proposal_performance.py GROUND_TRUTH RESULTS

AR@AN is defined as in eval_proposal.py of ActivityNet's toolkit. Legend: evaluation/results.py.
"""
import os
import sys
from typing import Dict, NamedTuple

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import InputError, exit_on_ctrl_c, exit_status, printable

with exit_on_ctrl_c():
    import numpy as np

    from evaluation import command_line, selection
    from evaluation import results as shared

MAX_AVG_NR_PROPOSALS = 100.0  # the last AN
CURVE_POINTS = 100            # values of AN on a curve, in equal steps up to the last, as in the toolkit
TABLE_POINTS = (0, 4, 9, 49, 99)  # of these, what the table shows: 1, 5, 10, 50 and 100 % of the last AN
COUNTS = {                    # of ProposalPerformance, as the table names them
    'ground_truth': 'ground-truth segments', 'ground_truth_without_length': '  without length (never found)',
    'videos': 'videos with segments', 'videos_without_proposals': '  without proposals',
    'videos_without_segments': 'videos without segments (not scored)',
    'proposals': 'proposals', 'proposals_scored': 'proposals scored',
    'proposals_of_unknown_videos': 'dropped: video outside the ground truth',
    'over_limit': 'dropped: beyond the last AN', 'repeated_results': 'dropped: results that repeat a segment',
    **command_line.DROPPED}


class ProposalPerformance(NamedTuple):
    """Result of evaluate_proposals; recall is in 0…1, and in percent where the name ends so."""

    tiou_thresholds: np.ndarray      # [S]
    recall: np.ndarray               # [S, CURVE_POINTS]
    average_recall: np.ndarray       # [CURVE_POINTS], mean over thresholds
    proposals_per_video: np.ndarray  # [CURVE_POINTS], AN
    auc_percent: float               # area under average_recall, from the first AN on, in percent of the last AN
    average_recall_percent: float    # average recall at the last AN: AR@100
    counts: Dict[str, int]


def evaluate_proposals(ground_truth, results, subset='validation', tiou_thresholds=shared.TIOU_THRESHOLDS,
                       max_avg_nr_proposals=MAX_AVG_NR_PROPOSALS, unique_segments=False):
    """Recall of the best proposals against their average number per video (AN) → ProposalPerformance.

    Labels are ignored. As in the toolkit, an AN is reached by taking the same share of the proposals of every
    video, best first (equal scores in the file's order):
    - The share is of all proposals of the file, also those of videos outside the subset's ground truth. A video
      with n proposals keeps int(n · max_avg_nr_proposals · V / R), and at most n.
    - A curve has CURVE_POINTS equal steps of AN up to max_avg_nr_proposals. If the file has fewer proposals
      per video than that, all are used before the last AN and the curve ends flat.
    - A segment is found if any kept proposal of its video reaches the threshold; one proposal may find several
      segments.
    - AUC is the area by trapezoids from the first AN to the last, divided by the last: at most 99 % by default.
    Without a kept proposal, recall is 0 everywhere.

    For each segment and threshold, the rank of the first proposal that reaches the threshold is found for all videos
    together; a point of the curve then counts the ranks below each video's limit.
    Cost: O(R log R + S · pairs + CURVE_POINTS · S · G) time, O(R + S G) memory.

    Args:
      ground_truth, results: paths, loaded JSON, or what read_ground_truth and read_results return; results may
        have been read without labels.
      subset: of the ground truth; ignored if ground_truth is a GroundTruth.
      tiou_thresholds: [S], each above 0 and at most 1.
      max_avg_nr_proposals: the last AN, above 0.
      unique_segments: whether results of a video with the same start and end, such as one for each of several
        labels, count as one proposal with their best score; as in the toolkit, they do not by default.
    Raises:
      InputError: an input cannot be read or is malformed, or max_avg_nr_proposals is not above 0.
    """
    if not 0 < max_avg_nr_proposals < np.inf:
        raise InputError('max_avg_nr_proposals %g: expected a number above 0, and finite; correct it'
                         % max_avg_nr_proposals)
    thresholds = shared.check_tiou_thresholds(tiou_thresholds)
    truth = shared.read_ground_truth(ground_truth, subset)
    results = shared.read_results(results, with_labels=False)
    found = len(results.scores)
    if unique_segments:
        results = selection.without_repeats(results)
    rows, video, rank, kept_of_video = _best_of_each_video(truth, results, max_avg_nr_proposals)
    first_rank = first_reaching_rank(results.segments[rows], video, rank, truth, thresholds)
    shares = np.arange(1, CURVE_POINTS + 1) / float(CURVE_POINTS)
    # Operations are in the toolkit's order: the limits are cut to integers, so the last digit matters.
    total = int(kept_of_video.sum())
    steps = shares * (max_avg_nr_proposals * float(len(truth.videos)) / total) if total else shares
    limits = np.minimum(kept_of_video[:, None] * steps, kept_of_video[:, None]).astype(np.int64)
    recall = _recall(first_rank, limits[truth.video_index])
    average_recall = recall.mean(axis=0)
    an = steps * (float(total) / len(truth.videos)) if total else shares * max_avg_nr_proposals
    counts = _proposal_counts(truth, results, kept_of_video)
    if unique_segments:
        counts['repeated_results'] = found - len(results.scores)
    return ProposalPerformance(thresholds, recall, average_recall, an, _auc_percent(average_recall, an),
                               float(100 * average_recall[-1]), counts)


def _best_of_each_video(truth, results, max_avg_nr_proposals):
    """The kept proposals of each video, best first.

    Returns: [P] rows of results, [P] index into truth's videos, [P] rank in the video from 0, [V] number kept.
    """
    video = shared.positions_in(results.videos, truth.videos)[results.video_index]
    rows = np.flatnonzero(video >= 0)
    rows = rows[np.lexsort((-results.scores[rows], video[rows]))]  # stable: equal scores stay in the file's order
    video = video[rows]
    available = np.bincount(video, minlength=len(truth.videos))
    share = max_avg_nr_proposals * float(len(truth.videos)) / max(len(results.scores), 1)
    kept_of_video = np.minimum(available * share, available).astype(np.int64)
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(available) - available, available)
    kept = rank < kept_of_video[video]
    return rows[kept], video[kept], rank[kept], kept_of_video


def first_reaching_rank(segments, video, rank, truth, thresholds):
    """Rank of the first proposal whose tIoU with a segment reaches a threshold → [S, G].

    The rank is int64's maximum if there is no such proposal.
    segments: [P, 2] seconds; video: [P] indices into truth's videos; rank: [P] in the video, ascending.
    """
    proposal, segment, tiou = shared.overlapping_pairs(
        segments, video, truth.segments, truth.video_index, thresholds.min())
    first_rank = np.full((len(thresholds), len(truth.segments)), np.iinfo(np.int64).max)
    for row, threshold in zip(first_rank, thresholds):
        reaching = np.flatnonzero(tiou >= threshold)[::-1]
        row[segment[reaching]] = rank[proposal[reaching]]  # for a repeated index numpy keeps the last value
    return first_rank


def _recall(first_rank, limits):
    """Share of segments found → [S, CURVE_POINTS]; first_rank [S, G], limits [G, CURVE_POINTS] proposals."""
    found = [np.count_nonzero(first_rank < limit, axis=1) for limit in limits.T]
    return np.stack(found, axis=1) / float(first_rank.shape[1])


def _auc_percent(recall, an):
    """Area under recall [CURVE_POINTS] over AN [CURVE_POINTS] by trapezoids, in percent of the last AN."""
    return float(100 * np.sum(np.diff(an) * (recall[1:] + recall[:-1]) / 2.0) / an[-1])


def _proposal_counts(truth, results, kept_of_video):
    """What was scored and what was dropped, by the names in the JSON file."""
    is_known = shared.positions_in(results.videos, truth.videos) >= 0
    return dict(
        ground_truth=len(truth.segments), ground_truth_without_length=shared.without_length(truth.segments),
        videos=len(truth.videos), videos_without_segments=truth.videos_without_segments,
        videos_without_results=shared.videos_without_results(truth, results),
        videos_without_proposals=int(np.count_nonzero(kept_of_video == 0)),
        proposals=len(results.scores), proposals_scored=int(kept_of_video.sum()),
        proposals_of_unknown_videos=int(np.count_nonzero(~is_known[results.video_index])))


# Command line


def format_table(performance):
    """Table for printing: the counts, recall in percent at some AN and the AUC for each tIoU and the mean, coverage.

    The coverage says over how many videos the figures are.
    """
    counts, an, points = performance.counts, performance.proposals_per_video, list(TABLE_POINTS)
    over_limit = counts['proposals'] - counts['proposals_scored'] - counts['proposals_of_unknown_videos']
    lines = command_line.format_counts(dict(counts, over_limit=over_limit), COUNTS)
    lines += ['', '     tIoU' + ''.join('%9s' % ('R@%.4g' % at) for at in an[points]) + '  AUC (%)']
    labels = ['%.4g' % threshold for threshold in performance.tiou_thresholds] + ['average']
    for label, curve in zip(labels, [*performance.recall, performance.average_recall]):
        percents = [*100 * curve[points], _auc_percent(curve, an)]
        lines.append('  %7s' % label + ''.join('%9.2f' % percent for percent in percents))
    return '\n'.join(lines + ['', '  AR@%.4g %.2f %%, AUC %.2f %%' % (
        an[-1], performance.average_recall_percent, performance.auc_percent),
        '  ' + shared.format_coverage(counts['videos'], counts['videos_without_results'])])


def to_json(performance):
    """The performance as a dict for a JSON file; recall is a list by tIoU of lists by AN."""
    fields = {name: np.asarray(value).tolist() for name, value in performance._asdict().items() if name != 'counts'}
    return dict(performance.counts, **fields)


def draw_curves(performance):
    """A figure of recall over AN at each tIoU and of the mean, with the AUC of each curve."""
    figure = shared.new_figure((7.5, 5))
    axes = figure.add_subplot(1, 1, 1)
    an = performance.proposals_per_video
    shades = np.linspace(0, 1, len(performance.recall))  # blue to red
    for threshold, curve, shade in zip(performance.tiou_thresholds, performance.recall, shades):
        axes.plot(an, 100 * curve, color=(shade, 0.45, 1 - shade), linewidth=1,
                  label='tIoU %.4g: AUC %.2f %%' % (threshold, _auc_percent(curve, an)))
    axes.plot(an, 100 * performance.average_recall, color='black', linewidth=2.5,
              label='average: AUC %.2f %%' % performance.auc_percent)
    axes.set(xlabel='average number of proposals per video (AN)', ylabel='recall (%)', xlim=(0, an[-1]),
             ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1.01, 0.5), fontsize=8)
    axes.set_title('AR@%.4g %.2f %%' % (an[-1], performance.average_recall_percent), fontsize=10)
    return figure


def main(argv=None):
    """Evaluate as the command line says: print the table, and write the JSON file and the figure."""
    parser = command_line.build_parser(
        (__doc__ or '').split('\n')[0],  # python -OO removes docstrings
        'has no effect on proposals; it exists so that both scripts take the same flags. With either, the numbers '
        'are those of ActivityNet\'s toolkit: proposals of videos that the ground truth does not have find nothing, '
        'but count among the proposals of the file (default: %(default)s)',
        'recall over AN at each tIoU')
    parser.add_argument('--max_avg_nr_proposals', type=float, default=MAX_AVG_NR_PROPOSALS, metavar='AN',
                        help='the last AN: average number of proposals per video (default: %(default)g)')
    parser.add_argument('--unique_segments', action='store_true',
                        help='count results of a video with the same start and end, such as one for each of several '
                        'labels, as one proposal with their best score; without the flag each counts, as in '
                        'ActivityNet\'s toolkit')
    args = command_line.parse_arguments(parser, argv, 'auc_percent')
    # Labels of proposals matter only if one of them is to be ignored; most proposals have none.
    truth, results, counts = command_line.read_inputs(args, with_labels=None if args.ignore_label else False)
    truth, results, more_counts = command_line.drop_segments(args, truth, results)
    if not args.unique_segments:
        command_line.warn(selection.repeats_warnings(results))
    performance = evaluate_proposals(truth, results, args.subset, args.tiou_thresholds, args.max_avg_nr_proposals,
                                     args.unique_segments)
    performance = performance._replace(counts=dict(performance.counts, **counts, **more_counts))
    print('Proposals on "%s"' % printable(args.subset))
    print(format_table(performance))
    command_line.write_outputs(args, dict(to_json(performance), subset=args.subset),
                               lambda: draw_curves(performance))


if __name__ == '__main__':
    sys.exit(exit_status(main))
