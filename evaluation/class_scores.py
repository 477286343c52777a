"""Class scores of whole videos, joined to proposals: the usual way to make detections of proposals.

evaluation/score_files.py has the forms of files. Legend: evaluation/results.py.
"""
from typing import List, NamedTuple

import numpy as np

from evaluation.results import positions_in, quoted
from evaluation.score_files import read_scores
from evaluation.selection import check_common_ids, without_prefix
from runtime.errors import InputError, counted


class ClassScores(NamedTuple):
    """The best classes of each video, best first; those of one video are side by side."""

    source: str               # name of the file, for messages
    videos: List[str]
    first: np.ndarray         # [videos] int, index of a video's first score
    number: np.ndarray        # [videos] int, of a video's scores
    scores: np.ndarray        # [n] float64
    labels: List[str]         # distinct labels
    label_index: np.ndarray   # [n] int, into labels
    has_own_ids: bool         # False: `videos` are ids of proposals, because the file has none


def read_class_scores(source, top, classes=None, videos=()):
    """Read the `top` best classes of each video → ClassScores; of equal scores, the earlier in the file is better.

    source, classes, videos: as of score_files.read_scores. top: above 0.
    Raises InputError as score_files.read_scores does, and if one of the best scores is below 0.
    """
    found = read_scores(source, classes, videos)
    order = np.lexsort((-found.scores, found.video))
    available = np.bincount(found.video, minlength=len(found.videos))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(available) - available, available)
    order = order[rank < top]
    number = np.minimum(available, top)
    best = ClassScores(found.source, found.videos, np.cumsum(number) - number, number, found.scores[order],
                       found.labels, found.label_index[order], found.has_own_ids)
    _refuse_negative(best, found.video[order])
    return best


def _refuse_negative(found, video):
    """Raise InputError if one of the scores, of the videos [n], is below 0: a product would turn the order round."""
    below = np.flatnonzero(found.scores < 0)
    if len(below):
        raise InputError('%s: the class %s of the video %s has the score %g, expected 0 or more, such as a '
                         'probability, because it multiplies the scores of proposals; convert the scores' % (
                             found.source, quoted(found.labels[found.label_index[below[0]]]),
                             quoted(found.videos[video[below[0]]]), found.scores[below[0]]))


def strip_prefix(found, prefix):
    """The class scores without `prefix` in their video ids; raises InputError if two ids become equal.

    Ids that are those of proposals stay: the prefix was removed from the proposals before.
    """
    if not found.has_own_ids:
        return found
    return found._replace(videos=without_prefix(found.videos, prefix, found.source))


def join_class_scores(proposals, found):
    """Give each proposal each class of its video; the score is the product of both → (Results, counts, warnings).

    proposals: Results, whose labels are ignored; found: ClassScores. The classes of a proposal are side by side, best
    first. Proposals of videos without class scores are dropped; counts: by the keys of command_line.DROPPED.
    Raises InputError if no video is in both.
    """
    check_common_ids(proposals.videos, proposals.source, found.videos, found.source)
    position = positions_in(proposals.videos, found.videos)
    has_scores = (position >= 0) & (np.append(found.number, 0)[position] > 0)
    rows = np.flatnonzero(has_scores[proposals.video_index])
    own = position[proposals.video_index[rows]]
    number = found.number[own]
    proposal = np.repeat(rows, number)
    place = np.arange(len(proposal)) - np.repeat(np.cumsum(number) - number, number)  # 0, 1, … within a proposal
    chosen = np.repeat(found.first[own], number) + place
    joined = proposals._replace(
        video_index=proposals.video_index[proposal], scores=proposals.scores[proposal] * found.scores[chosen],
        segments=proposals.segments[proposal], labels=found.labels, label_index=found.label_index[chosen])
    without = np.unique(proposals.video_index[~has_scores[proposals.video_index]])
    dropped = len(proposals.scores) - len(rows)
    warnings = ['%s has no class scores of %s with proposals, such as %s: %s dropped' % (
        found.source, counted(len(without), 'video'), quoted(proposals.videos[without[0]]),
        counted(dropped, 'proposal'))] if len(without) else []
    return joined, {'proposals_without_class_scores': dropped}, warnings
