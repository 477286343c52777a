"""The choice of the best snapshot of a training, by average mAP, and on which videos it is made.

A choice on the videos that are reported favours them: of many snapshots, one is the best there by chance, too. So a
share of the videos can be held out. The choice is made on them, and the figures of the others are reported.
Legend: evaluation/results.py.
"""
import collections
import hashlib
from typing import FrozenSet, NamedTuple, Optional

import numpy as np

from evaluation.get_detection_performance import DetectionPerformance, evaluate_detections
from evaluation.get_proposal_performance import ProposalPerformance, evaluate_proposals
from evaluation.results import TIOU_THRESHOLDS, GroundTruth, coverage_line
from evaluation.selection import keep_results, truth_of_videos
from runtime.errors import InputError, counted
from runtime.files import write_json

METRIC = 'average mAP'
HEAD = ['step', 'accuracy', 'AUC', 'AR@100'] + ['mAP@%.2f' % tiou for tiou in TIOU_THRESHOLDS] + ['average mAP']


# Videos

class Choice(NamedTuple):
    """On which videos the snapshot is chosen, and on which it is reported."""

    share: float             # of the videos of each class that are held out for the choice; 0: none, all serve both
    seed: int
    held_out: FrozenSet[str]
    chosen_on: GroundTruth   # of the videos held out; of all where none are
    reported: GroundTruth    # of the other videos


def choice_of(truth, share=0.0, seed=0):
    """GroundTruth → Choice: of each class, `share` of its videos are held out.

    Raises InputError where no class has two videos, so that none can be held out.
    """
    if not share:
        return Choice(share, seed, frozenset(), truth, truth)
    place = '--select_share %g' % share
    held_out = held_out_videos(video_classes(truth), share, seed)
    if not held_out:
        raise InputError('%s: found no class with two videos in %s, so that none can be held out for the choice; '
                         'test without this flag' % (place, truth.source))
    return Choice(share, seed, held_out, truth_of_videos(truth, held_out, place),
                  truth_of_videos(truth, set(truth.subset_of) - held_out, place))


def video_classes(truth):
    """{video with a segment: its class}, which is that of its first segment, in time."""
    order = np.lexsort((truth.class_index, truth.segments[:, 1], truth.segments[:, 0], truth.video_index))
    _, first = np.unique(truth.video_index[order], return_index=True)
    return {truth.videos[truth.video_index[row]]: truth.classes[truth.class_index[row]] for row in order[first]}


def held_out_videos(classes, share, seed):
    """{video: class} → the videos that are held out, a frozenset.

    Of the n videos of a class these are share · n, rounded, but at least one and at most n − 1; none if n is 1. Which
    ones depends on their names and the seed, not on their order.
    """
    of_class = collections.defaultdict(list)
    for video, name in classes.items():
        of_class[name].append(video)
    held_out = set()
    for videos in of_class.values():
        number = min(max(1, int(share * len(videos) + 0.5)), len(videos) - 1)
        held_out.update(sorted(videos, key=lambda video: _draw(video, seed))[:number])
    return frozenset(held_out)


def _draw(video, seed):
    """A text that orders videos as if by chance; the same for the same video and seed."""
    return hashlib.sha256(('%d %s' % (seed, video)).encode('utf-8', 'surrogatepass')).hexdigest(), video


# Figures

class Figures(NamedTuple):
    """The figures of a snapshot on some videos."""

    accuracy: Optional[float]  # share of videos with the right label; None where labels are unknown
    proposals: ProposalPerformance
    detections: DetectionPerformance
    videos: int                # with segments


class Tested(NamedTuple):
    """The figures of one snapshot."""

    step: int
    accuracy: Optional[float]  # these three are those of Figures, on the videos that are reported
    proposals: ProposalPerformance
    detections: DetectionPerformance
    coverage: str              # which videos the figures are over
    chosen_on: Figures         # on the videos that the choice is made on


def evaluate_snapshot(step, choice, results, accuracy, right_labels=None, dropped=0):
    """The Tested of a snapshot.

    Args:
      step: of the snapshot.
      choice: a Choice.
      results: its Results.
      accuracy: share of all videos with the right label; None where labels are unknown.
      right_labels: {video: is its label right?} of the videos whose label is known; None: not known which are right.
      dropped: number of videos without features that left the ground truth before (--missing drop).
    """
    if not choice.held_out:
        figures = _figures(choice.reported, results, accuracy)
        return Tested(step, *figures[:3], coverage_line(choice.reported, results, dropped), figures)
    is_held_out = np.array([video in choice.held_out for video in results.videos], dtype=bool)
    labels = {True: {}, False: {}}  # of the videos held out, and of the others
    for video, is_right in (right_labels or {}).items():
        labels[video in choice.held_out][video] = is_right
    others = keep_results(results, ~is_held_out)
    chosen_on = _figures(choice.chosen_on, keep_results(results, is_held_out), accuracy_of(labels[True]))
    reported = _figures(choice.reported, others, accuracy_of(labels[False]))
    coverage = coverage_line(choice.reported, others, dropped)
    return Tested(step, *reported[:3], '%s; %s held out for the choice' % (
        coverage, counted(chosen_on.videos, 'other')), chosen_on)


def _figures(truth, results, accuracy):
    return Figures(accuracy, evaluate_proposals(truth, results, unique_segments=True),
                   evaluate_detections(truth, results), len(truth.videos))


def accuracy_of(right_labels):
    """{video: is its label right?} → the share of right ones; None where no label is known."""
    return float(np.mean(list(right_labels.values()))) if right_labels else None


def table_row(row):
    """The line of a Tested in the table, in percent."""
    shares = [*row.detections.mAP, row.detections.average_mAP]
    cells = ['%d' % row.step, '-' if row.accuracy is None else '%.2f' % (100 * row.accuracy),
             '%.2f' % row.proposals.auc_percent, '%.2f' % row.proposals.average_recall_percent]
    cells += ['%.2f' % (100 * share) for share in shares]
    return '  '.join(cell.rjust(len(title)) for cell, title in zip(cells, HEAD))


def percents(figures):
    """{name: percent} of Figures, or of what a Tested reports; without the accuracy where that is unknown."""
    found = collections.OrderedDict([
        ('mAP@0.5', 100 * float(figures.detections.mAP[0])), ('average_mAP', 100 * figures.detections.average_mAP),
        ('AR@100', figures.proposals.average_recall_percent), ('AUC', figures.proposals.auc_percent)])
    if figures.accuracy is not None:
        found['accuracy'] = 100 * figures.accuracy
    return found


# The best snapshot

def best_of(rows):
    """The Tested with the highest average mAP on the videos of the choice; the earliest of equal ones."""
    return max(rows, key=lambda row: (row.chosen_on.detections.average_mAP, -row.step))


def tested_since_best(rows):
    """How many of the Tested, in the order in which they were tested, came after the best one."""
    return len(rows) - 1 - rows.index(best_of(rows))


def best_line(rows, choice):
    """The line that names the best snapshot, with its figures and the videos that they are of."""
    best = best_of(rows)
    line = 'best: step %d, average mAP %.2f %%' % (best.step, 100 * best.detections.average_mAP)
    if choice.held_out:
        return '%s on the %s of the table; chosen by %.2f %% on %s held out' % (
            line, counted(len(choice.reported.videos), 'video'), 100 * best.chosen_on.detections.average_mAP,
            counted(best.chosen_on.videos, 'other'))
    return line + ('; chosen on the same videos, which favours them: hold some out for the choice with '
                   '--select_share 0.2' if len(rows) > 1 else '')


def best_record(rows, choice, path):
    """What best.json holds: the best snapshot, how it was chosen, its figures, and all that were tested.

    path: function, step → path of the snapshot.
    """
    best = best_of(rows)
    return collections.OrderedDict([
        ('step', best.step), ('snapshot', path(best.step)), ('unit', 'percent'),
        ('choice', collections.OrderedDict([
            ('metric', METRIC), ('select_share', choice.share), ('select_seed', choice.seed),
            ('on_other_videos_than_reported', bool(choice.held_out))])),
        ('chosen_on', dict(percents(best.chosen_on), videos=best.chosen_on.videos)),
        ('reported', dict(percents(best), videos=len(choice.reported.videos))),
        ('tested', [{'step': row.step, 'average_mAP': 100 * row.chosen_on.detections.average_mAP,
                     'reported_average_mAP': 100 * row.detections.average_mAP} for row in rows])])


def keep_best(rows, choice, watch, scalars, patience=None):
    """After a new one of the `rows`, write best.json and its figures, and ask training to stop if it is time to.

    Args:
      rows: list of Tested, the new one last.
      choice: a Choice.
      watch: the runtime.watching.Watch that has found them.
      scalars: runtime.snapshot_scalars.SnapshotScalars.
      patience: training is asked to stop when so many are no better than one before; None: it is not.
    """
    write_json(watch.best_path, best_record(rows, choice, watch.snapshot_path))
    figures = {'test/' + name: value for name, value in percents(rows[-1]).items()}
    if choice.held_out:
        figures.update(('choice/' + name, value) for name, value in percents(rows[-1].chosen_on).items())
    scalars.add(rows[-1].step, figures)
    since = tested_since_best(rows)
    if patience and since >= patience:
        watch.ask_to_stop('no better %s in %s; best: step %d' % (
            METRIC, counted(since, 'snapshot'), best_of(rows).step))
