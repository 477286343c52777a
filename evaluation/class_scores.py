"""Class scores of whole videos, joined to proposals: the usual way to make detections of proposals.

    {"results": {video: [{"label": name, "score": number}]}}              # ActivityNet's classification results
    {"results": {video: [one number for each class]}, "class": [names]}   # as CUHK's scores are shared

Legend: evaluation/results.py.
"""
import reprlib
from typing import List, NamedTuple

import numpy as np

from evaluation.results import finite_numbers, flatten, index_names, load, positions_in, quoted
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


def read_class_scores(source, top):
    """Read the `top` best classes of each video → ClassScores; of equal scores, the earlier in the file is better.

    source: a path, or the loaded JSON, in one of the forms above.
    Raises InputError if it cannot be read, an entry is malformed, or one of the best scores is below 0.
    """
    name, content = load(source, 'class scores', 'results')
    by_video = content['results']
    is_by_class = any(not isinstance(entry, dict) for entries in by_video.values()
                      if isinstance(entries, list) for entry in entries[:1])
    if is_by_class:
        video, labels, label_index, scores = _read_by_class(name, by_video, content.get('class'))
    else:
        video, label_names, scores = flatten((name + ': results[', ']'), by_video, ('label', 'score'))
        labels, label_index = index_names(label_names)
    order = np.lexsort((-scores, video))
    available = np.bincount(video, minlength=len(by_video))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(available) - available, available)
    order = order[rank < top]
    number = np.minimum(available, top)
    found = ClassScores(name, list(by_video), np.cumsum(number) - number, number, scores[order], labels,
                        label_index[order])
    _refuse_negative(found, video[order])
    return found


def _read_by_class(name, by_video, classes):
    """[n] index of the video, the class names, [n] index into them, [n] score, of one number for each class."""
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise InputError('%s: found scores without the names of their classes, expected the key "class" with a list '
                         'of names in the order of the scores; add it' % name)
    columns = []
    for video, scores in by_video.items():
        try:
            columns.append(finite_numbers(scores) if isinstance(scores, list) else None)
        except (TypeError, ValueError, OverflowError):
            columns.append(None)
        if columns[-1] is None or len(columns[-1]) not in (0, len(classes)):
            raise InputError('%s: results[%s] is %s; expected a list of %d finite numbers, one for each name in '
                             '"class"; correct the file' % (name, quoted(video), reprlib.repr(scores), len(classes)))
    number = np.array([len(scores) for scores in columns], dtype=np.int64)
    label_index = np.tile(np.arange(len(classes)), np.count_nonzero(number))
    return np.repeat(np.arange(len(number)), number), classes, label_index, np.concatenate(columns)


def _refuse_negative(found, video):
    """Raise InputError if one of the scores, of the videos [n], is below 0: a product would turn the order round."""
    below = np.flatnonzero(found.scores < 0)
    if len(below):
        raise InputError('%s: results[%s]: the class %s has the score %g, expected 0 or more, such as a probability, '
                         'because it multiplies the scores of proposals; convert the scores' % (
                             found.source, quoted(found.videos[video[below[0]]]),
                             quoted(found.labels[found.label_index[below[0]]]), found.scores[below[0]]))


def strip_prefix(found, prefix):
    """The class scores without `prefix` in their video ids; raises InputError if two ids become equal."""
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
