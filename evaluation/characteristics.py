"""How results depend on what the segments are like: their length, coverage and number.

The characteristics and bins are those of DETAD (evaluation/error_analysis.py names its source; here
src/sensitivity_analysis.py and src/false_negative_analysis.py):

    coverage    length of a segment ÷ duration of its video
    length      in seconds
    instances   number of segments of the same class in the same video

A bin includes its upper edge, and the first bin its lower edge, too. A value beyond the outer edges belongs to the
outer bin. Quartiles are bins with about as many segments each; equal values are in one bin, so there can be fewer.

AP_N of a bin counts the segments of the bin alone. A result that takes a segment of another bin, at one of the
thresholds or more, is left out of the bin at all thresholds; every other false positive counts in each bin. N stays
the mean number of all segments of a class, and mAP_N is the mean over the classes with a segment in the bin.

Recall is the share of a bin's segments that a result takes, at any score. A segment is a false negative where no
result takes it at a normalized precision above 5 %: a match after so many false positives is of no use. All shares
are computed at each threshold, and tables show their means.

Where this differs from DETAD, and why:
- DETAD removes segments that are longer than their video, and those without length. They are in the last bin and in
  the first here, because AP counts them.
- A class with segments in a bin and without any result has AP_N 0 there. DETAD stops with an error.
- DETAD reads characteristics from its own files. They are computed here, so that any ground truth can be analyzed;
  its context size and distance, and the agreement of annotators, need annotations that other data do not have.
- Quartiles are added, because bins made for one data set leave most bins of another empty.

Legend: evaluation/results.py and evaluation/error_analysis.py, and B: bins.
"""
from typing import List, NamedTuple

import numpy as np

from evaluation import results as shared
from evaluation.error_analysis import mean_ap_n
from evaluation.selection import without_prefix
from runtime.errors import counted

INF = float('inf')
BINS = {'activitynet': {'coverage': (0, 0.2, 0.4, 0.6, 0.8, 1), 'length': (0, 30, 60, 120, 180, INF),
                        'instances': (0, 1, 4, 8, INF)},
        'thumos14': {'coverage': (0, 0.02, 0.04, 0.06, 0.08, 1), 'length': (0, 3, 6, 12, 18, INF),
                     'instances': (0, 1, 40, 80, INF)}}  # DETAD's edges
FIRST_BOX_EDGES = (0, 10, 30, 60, INF)                   # seconds


class Sensitivity(NamedTuple):
    """Performance in each bin of a characteristic; shares and mAP_N are in 0…1, and NaN in a bin without segments."""

    characteristic: str    # a key of BINS[...]
    bins: str              # 'activitynet', 'thumos14' or 'quartiles'
    edges: np.ndarray      # [B + 1]
    segments: np.ndarray   # [B] int, number of segments
    mAP_N: np.ndarray      # [B, S]
    recall: np.ndarray     # [B, S] share of segments that a result takes
    missed: np.ndarray     # [B, S] share of false negatives


class FirstBox(NamedTuple):
    """Shares of segments that their video's result with the highest score finds, by the segment's length."""

    edges: np.ndarray            # [B + 1] seconds
    segments: np.ndarray         # [B] int, number of segments
    found: np.ndarray            # [B] share of them with a tIoU at the threshold or above, whatever the label
    found_with_label: np.ndarray  # [B] and the result has the segment's label
    found_by_any: np.ndarray     # [B] share that at least one result of the video finds, whatever the label
    alone: np.ndarray            # [B] int, number of segments that are their video's only one
    found_alone: np.ndarray      # [B] share of them that the first box finds, whatever the label


# Characteristics


def read_durations(source, subset, prefix=''):
    """Durations of the videos of a subset → ({video: seconds}, warnings).

    source: as of read_ground_truth; a video's "duration" is in seconds, as in ActivityNet's file. Videos without a
    usable one are left out; a warning names one if other videos have theirs. prefix: removed from the ids.
    """
    name, content = shared.load(source, 'ground truth', 'database')
    entries = {video: entry for video, entry in content['database'].items() if entry['subset'] == subset}
    durations, unusable = {}, []
    for video, entry in zip(without_prefix(list(entries), prefix, name), entries.values()):
        try:
            seconds = float(shared.finite_numbers([entry.get('duration')])[0])
        except (TypeError, ValueError, OverflowError):
            seconds = 0
        if seconds > 0:
            durations[video] = seconds
        elif entry.get('annotations'):
            unusable.append(video)
    warnings = ['%s: %s of subset "%s" without a usable "duration", such as %s; expected seconds above 0; the '
                'coverage of their segments is not known' % (
                    name, counted(len(unusable), 'video'), subset, shared.quoted(unusable[0]))
                ] if unusable and durations else []
    return durations, warnings


def characteristics_of(truth, durations):
    """{characteristic: [G] value, NaN where it is not known} of the segments; durations: {video: seconds}."""
    length = truth.segments[:, 1] - truth.segments[:, 0]
    seconds = np.array([durations.get(video, np.nan) for video in truth.videos])[truth.video_index]
    group = truth.video_index * len(truth.classes) + truth.class_index
    _, index, number = np.unique(group, return_inverse=True, return_counts=True)
    return {'coverage': length / seconds, 'length': length, 'instances': number[index.reshape(-1)].astype(float)}


def quartile_edges(values):
    """Edges of up to four bins with about as many of the values each → [B + 1] ascending; each edge is a value."""
    ordered = np.sort(values)
    edges = np.unique(ordered[[0] + [-(-quarter * len(ordered) // 4) - 1 for quarter in (1, 2, 3, 4)]])
    # the lowest value is an upper edge where a quarter of the values are equal to it: it is a bin of its own
    is_alone = len(ordered) and np.count_nonzero(ordered == edges[0]) * 4 >= len(ordered)
    return np.concatenate([edges[:1], edges]) if is_alone else edges


def bins_of(values, edges):
    """Index of the bin of each value → int of the values' shape, −1 for NaN; edges: [B + 1] ascending."""
    return np.where(np.isnan(values), -1, np.searchsorted(edges[1:-1], values, side='left'))


# Performance in bins


def sensitivities(truth, analysis, values, bins) -> List[Sensitivity]:
    """Performance by each characteristic, in DETAD's bins and in quartiles; without those that no segment has.

    analysis: ErrorAnalysis; values: {characteristic: [G]}; bins: a key of BINS.
    """
    found = []
    for characteristic, edges in BINS[bins].items():
        of = values[characteristic]
        if not np.isnan(of).all():
            found.append(sensitivity(truth, analysis, of, characteristic, bins, np.array(edges, dtype=np.float64)))
            found.append(sensitivity(truth, analysis, of, characteristic, 'quartiles',
                                     quartile_edges(of[~np.isnan(of)])))
    return found


def in_named_bins(found) -> List[Sensitivity]:
    """Those of the sensitivities that are in bins of BINS, not in quartiles."""
    return [one for one in found if one.bins != 'quartiles']


def sensitivity(truth, analysis, values, characteristic, name, edges):
    """Performance in the bins of one characteristic → Sensitivity; values: [G]; name: of the bins."""
    detections, found = analysis.detections, analysis.segments
    bin_of, count = bins_of(values, edges), len(edges) - 1
    number = len(truth.segments) / len(truth.classes)
    # [S, D], where `count` says that a result takes no segment; small integers, because this is gone through often
    taken_bin = np.append(bin_of, count).astype(np.int8)[detections.taken]
    mean_aps = np.full((count, len(analysis.tiou_thresholds)), np.nan)
    segments = np.bincount(bin_of[bin_of >= 0], minlength=count)
    for b in np.flatnonzero(segments):
        stays = ((taken_bin == b) | (taken_bin == count)).all(axis=0)
        positives = np.bincount(truth.class_index[bin_of == b], minlength=len(truth.classes))
        label, taken = detections.label[stays], taken_bin[:, stays]
        mean_aps[b] = [mean_ap_n(row == b, label, positives, number) for row in taken]
    return Sensitivity(characteristic, name, edges, segments, mean_aps,
                       shares(bin_of, count, found.taken_by >= 0), shares(bin_of, count, found.is_missed))


def shares(bin_of, count, is_so):
    """Share of each bin's segments for which is_so [..., G] is True → [count, ...], NaN in a bin without segments."""
    members = [bin_of == b for b in range(count)]
    return np.array([is_so[..., those].mean(axis=-1) if those.any() else np.full(is_so.shape[:-1], np.nan)
                     for those in members])


def first_box(truth, analysis):
    """Shares of segments that the first box of their video finds at the threshold analysis.at → FirstBox."""
    found, tiou = analysis.segments, analysis.tiou_thresholds[analysis.at]
    edges = np.array(FIRST_BOX_EDGES)
    count = len(edges) - 1
    bin_of = bins_of(truth.segments[:, 1] - truth.segments[:, 0], edges)
    is_found = (found.first_box >= 0) & (found.first_box_tiou >= tiou)
    alone = np.bincount(truth.video_index)[truth.video_index] == 1
    return FirstBox(
        edges, np.bincount(bin_of, minlength=count), shares(bin_of, count, is_found),
        shares(bin_of, count, is_found & found.first_box_has_label), shares(bin_of, count, found.best_tiou >= tiou),
        np.bincount(bin_of[alone], minlength=count), shares(bin_of[alone], count, is_found[alone]))


def bin_names(edges, is_whole=False) -> List[str]:
    """A text for each bin, such as "0 to 30", "over 180" and, for whole numbers, "1", "2 to 4" and "9 or more"."""
    names = []
    for b, (low, high) in enumerate(zip(edges[:-1], edges[1:])):
        if is_whole:
            low = low + 1 if b or low == 0 else low
            names.append('%g or more' % low if high == INF else '%g' % high if low >= high else
                         '%g to %g' % (low, high))
        else:
            names.append('over %.4g' % low if high == INF else '%.4g' % high if low == high else
                         '%.4g to %.4g' % (low, high))
    return names
