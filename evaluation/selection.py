"""Which videos, labels and segments count, and what does not agree between ground truth and results.

Legend: evaluation/results.py.
"""
import collections
import difflib
import shlex
from typing import Dict, List, NamedTuple

import numpy as np

from dataset.tables import spelling_free
from evaluation.results import GroundTruth, Results, index_names, positions_in, quoted
from runtime.errors import InputError, counted

CHECK_VIDEOS = 'check that both files are of the same videos'
SAME_SECONDS = 1e-3     # starts and ends that differ by this are the same, as in ActionFormer and OpenTAD
MAX_LABELS = 5          # unknown labels that get a warning each
MAX_CLASSES = 10        # classes without results that a warning names
NEAR = 0.75             # smallest similarity of a name that is proposed, of difflib's 0…1
MAX_CHARACTERS = 100    # of a name that is compared, and of a prefix: more would take long
MAX_IDS = 1000          # ids of each side in which a prefix is looked for
MIXERS = np.array([0x61C8864680B583EB, 0x27D4EB2F165667C5, 0x165667B19E3779F9])  # odd numbers without a pattern


class Selected(NamedTuple):
    """What a choice of videos or labels leaves."""

    truth: GroundTruth
    results: Results
    counts: Dict[str, int]  # what was dropped, by the keys of command_line.DROPPED
    warnings: List[str]


# Ids that do not agree


def check_common_videos(truth, results):
    """Raise InputError if the files name videos, and the subset of the ground truth has none of the results'."""
    subsets = collections.Counter(truth.subset_of[video] for video in results.videos if video in truth.subset_of)
    elsewhere = subsets.most_common(1)
    check_common_ids(results.videos, results.source, _videos_of_subset(truth), _subset_text(truth),
                     'the results\' videos are in the subset "%s": choose it with --subset' % elsewhere[0][0]
                     if elsewhere else '')


def check_common_ids(names, source, known, known_source, remedy=''):
    """Raise InputError if neither list of video ids is empty, and no one is in both.

    source, known_source: of the ids, for the message. Without `remedy` the message proposes one.
    """
    if not names or not known or set(names) & set(known):
        return
    raise InputError('%s and %s have no video in common: found %s and %s, expected the same ids; %s' % (
        source, known_source, quoted(names[0]), quoted(known[0]),
        remedy or _ids_remedy(names, known) or CHECK_VIDEOS))


def unknown_videos_warnings(truth, results):
    """[A warning] about videos of the results that the subset of the ground truth lacks, or [].

    It is there where these are more than half, or where a simple change would make some ids those of other videos.
    """
    known, there = set(_videos_of_subset(truth)), set(results.videos)
    unknown = [video for video in results.videos if video not in known]
    remedy = _ids_remedy(unknown, [video for video in truth.subset_of if video in known - there]) or (
        CHECK_VIDEOS if 2 * len(unknown) > len(results.videos) else '')
    return ['%s: found %s of its %s in %s; not there: %s; %s' % (
        results.source, '{:,}'.format(len(results.videos) - len(unknown)), counted(len(results.videos), 'video'),
        _subset_text(truth), _first_of(unknown), remedy)] if unknown and remedy else []


def _first_of(names):
    """Such as '"v" and 2 others'."""
    return quoted(names[0]) + (' and ' + counted(len(names) - 1, 'other') if len(names) > 1 else '')


def _videos_of_subset(truth):
    """All videos of the subset, also those without segments, in the file's order."""
    return [video for video, subset in truth.subset_of.items() if subset == truth.subset]


def _subset_text(truth):
    return 'subset "%s" of %s' % (truth.subset, truth.source)


def _ids_remedy(names, known):
    """The end of a message: what makes most ids of both lists agree; '' if nothing simple does."""
    prefix = _common_prefix(names, known)
    if prefix:
        agree = set(_strip(names, prefix)) & set(_strip(known, prefix))
        return '--strip_prefix %s makes %s agree' % (shlex.quote(prefix), counted(len(agree), 'id'))
    backwards, known_backwards = [name[::-1] for name in names], [name[::-1] for name in known]
    ending = _common_prefix(backwards, known_backwards)
    if ending:
        agree = set(_strip(backwards, ending)) & set(_strip(known_backwards, ending))
        return 'without %s at the end of ids, %s would agree: remove it from the file' % (
            quoted(ending[::-1]), counted(len(agree), 'id'))
    if {name.lower() for name in names} & {name.lower() for name in known}:
        return 'ids differ in upper and lower case: write them alike'
    return ''


def _common_prefix(names, known):
    """The prefix whose removal makes most ids of both lists agree; '' if none does."""
    names, known = set(names), set(known)
    prefixes = collections.Counter()
    for some, others in ((names, known), (known, names)):
        for name in sorted(some)[:MAX_IDS]:
            prefixes.update(name[:k] for k in range(1, min(len(name), MAX_CHARACTERS)) if name[k:] in others)
    return min(prefixes, key=lambda found: (-prefixes[found], len(found), found)) if prefixes else ''


def _strip(names, prefix):
    return [name[len(prefix):] if name.startswith(prefix) else name for name in names]


def without_prefix(names, prefix, source):
    """The video ids without `prefix`, where they begin with it; raises InputError if that makes two of them equal."""
    stripped = _strip(names, prefix)
    repeated = [name for name, count in collections.Counter(stripped).items() if count > 1]
    if repeated:
        first, second = [name for name, short in zip(names, stripped) if short == repeated[0]][:2]
        raise InputError('%s: --strip_prefix %s makes the ids %s and %s equal, expected ids that stay different; '
                         'rename one of them in the file, or name another prefix' % (
                             source, prefix, quoted(first), quoted(second)))
    return stripped


def strip_prefix(truth, results, prefix):
    """(truth, results) without `prefix` in their video ids; raises InputError as without_prefix."""
    in_subset = _videos_of_subset(truth)
    short = dict(zip(in_subset, without_prefix(in_subset, prefix, truth.source)))
    others = [video for video in truth.subset_of if video not in short]
    subset_of = {video: truth.subset_of[before] for before, video in zip(others, _strip(others, prefix))}
    subset_of.update((video, truth.subset) for video in short.values())
    return (truth._replace(videos=[short[video] for video in truth.videos], subset_of=subset_of),
            results._replace(videos=without_prefix(results.videos, prefix, results.source)))


# Choosing videos and segments


def select_videos(truth, results, names, place):
    """Keep the videos `names` of both → Selected.

    place: where the names are from, for messages.
    Raises InputError if the subset has none of these videos, or none of them has a segment.
    """
    in_subset = _videos_of_subset(truth)
    parts = set(names[0].replace(',', ' ').split())  # of a file with all ids in one line
    check_common_ids(names, place, in_subset, _subset_text(truth),
                     'write one id per line' if len(parts) > 1 and parts & set(in_subset) else '')
    kept = truth_of_videos(truth, names, place)
    known, wanted = set(in_subset), set(names)
    unknown = [name for name in names if name not in known]
    warnings = ['%s: found %s of its %s in %s; not there: %s' % (
        place, '{:,}'.format(len(names) - len(unknown)), counted(len(names), 'video'), _subset_text(truth),
        _first_of(unknown))] if unknown else []
    kept_results = keep_results(results, np.array([video in wanted for video in results.videos], dtype=bool))
    return Selected(kept, kept_results, {
        'videos_not_in_list': len(truth.videos) - len(kept.videos),
        'results_not_in_list': len(results.scores) - len(kept_results.scores)}, warnings)


def truth_of_videos(truth, names, place):
    """The truth of the videos `names` alone; raises InputError, with `place`, if none of them has a segment."""
    wanted = set(names)
    kept = truth._replace(subset_of={video: of for video, of in truth.subset_of.items() if video in wanted})
    return _keep_segments(kept, np.array([video in wanted for video in truth.videos])[truth.video_index], place)


def keep_results(results, keep_video):
    """The results of the videos where keep_video [number of videos] is True."""
    rows = keep_video[results.video_index]
    position = np.cumsum(keep_video) - 1
    return _take(results, rows)._replace(videos=[video for video, keep in zip(results.videos, keep_video) if keep],
                                         video_index=position[results.video_index[rows]])


def _take(results, rows):
    """The results with the rows that the index or mask `rows` takes, of the same videos."""
    return results._replace(
        video_index=results.video_index[rows], scores=results.scores[rows], segments=results.segments[rows],
        label_index=None if results.label_index is None else results.label_index[rows])


def _keep_segments(truth, keep, place):
    """The truth with the segments where keep [G] is True, and only the videos and classes that these have.

    Raises InputError if no segment is left; `place` says what removed the others.
    """
    if not keep.any():
        raise InputError('%s leaves no segment of %s, expected one or more; name others' % (
            place, _subset_text(truth)))
    used, video_index = np.unique(truth.video_index[keep], return_inverse=True)
    classes, class_index = index_names([truth.classes[k] for k in truth.class_index[keep]])
    return truth._replace(
        videos=[truth.videos[video] for video in used], classes=classes, video_index=video_index,
        class_index=class_index, segments=truth.segments[keep],
        videos_without_segments=len(_videos_of_subset(truth)) - len(used))


def ignore_labels(truth, results, labels):
    """Drop segments and results of these labels → Selected.

    Results without labels stay. Raises InputError if no segment is left.
    """
    known = truth.classes + (results.labels or [])
    warnings = ['--ignore_label %s: no segment and no result has this label%s' % (
        quoted(label), _near_text(label, known)) for label in labels if label not in known]
    keep = ~np.isin(truth.class_index, positions_in(labels, truth.classes))
    kept, kept_results = _keep_segments(truth, keep, '--ignore_label ' + ' '.join(map(quoted, labels))), results
    if results.labels is not None:
        kept_results = _take(results, ~np.isin(results.label_index, positions_in(labels, results.labels)))
    return Selected(kept, kept_results, {
        'ignored_segments': len(truth.segments) - len(kept.segments),
        'ignored_results': len(results.scores) - len(kept_results.scores)}, warnings)


def drop_duplicates(truth):
    """Drop segments that repeat an earlier one of their video and class → (truth, number dropped).

    Both edges must be equal to SAME_SECONDS. A segment is compared with those that stay, in the file's order.
    """
    keep = np.ones(len(truth.segments), dtype=bool)
    group = truth.video_index * len(truth.classes) + truth.class_index
    order = np.argsort(group, kind='stable')
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        for i in range(1, len(rows)):
            earlier = rows[:i][keep[rows[:i]]]
            apart = np.abs(truth.segments[earlier] - truth.segments[rows[i]]).max(axis=1)
            keep[rows[i]] = not (apart <= SAME_SECONDS).any()
    return _keep_segments(truth, keep, '--drop_duplicates'), int(np.count_nonzero(~keep))


# Results that repeat a segment


def without_repeats(results):
    """The Results with each start and end of a video once, with its best score; of equal scores, the first stays."""
    keep = np.ones(len(results.scores), dtype=bool)
    keep[_repeats(results)] = False
    return _take(results, keep)


def repeats_warnings(results):
    """[A warning] where results of a video have the same start and end; else []."""
    number = len(_repeats(results))
    return ['%s: found repeated segments in %s of %s, such as with several labels per video; each counts, as in '
            'ActivityNet\'s toolkit, although AR and AUC ignore labels; to count each segment once, add '
            '--unique_segments' % (
                results.source, '{:,}'.format(number), counted(len(results.scores), 'result'))] if number else []


def _repeats(results):
    """Indices of the results that have the start and end of a better result of their video."""
    # Few results have a key that another has, and only those are compared: sorting all by three numbers takes longer.
    bits = (results.segments + 0.0).view(np.int64)  # 0.0 is added because −0.0, which equals it, has other bits
    key = (bits * MIXERS[:2]).sum(axis=1) + results.video_index * MIXERS[2]
    order = np.argsort(key, kind='stable')
    same = np.diff(key[order]) == 0
    order = order[np.append(same, False) | np.append(False, same)] if len(order) else order
    video, (start, end) = results.video_index[order], results.segments[order].T
    best_first = np.lexsort((-results.scores[order], end, start, video))
    columns = np.stack([video, start, end])[:, best_first]
    return order[best_first][1:][(columns[:, 1:] == columns[:, :-1]).all(axis=0)]


# Labels that do not agree


def label_warnings(truth, results, policy):
    """Warnings of labels that are no class of the truth, and of classes without any result.

    policy: as of evaluate_detections; with 'authors', results of unknown videos do not count here.
    """
    is_known = positions_in(results.videos, truth.videos) >= 0
    counts = is_known[results.video_index] | (policy == 'official')  # [R] bool
    dropped = np.bincount(results.label_index[counts], minlength=len(results.labels))
    dropped[positions_in(results.labels, truth.classes) >= 0] = 0
    order = [label for label in np.argsort(-dropped, kind='stable') if dropped[label]]
    warnings = ['%s is no class of the ground truth: %s dropped%s' % (
        quoted(results.labels[label]), counted(int(dropped[label]), 'result'),
        _near_text(results.labels[label], truth.classes)) for label in order[:MAX_LABELS]]
    if len(order) > MAX_LABELS:
        warnings.append('and %s that the ground truth does not have: %s dropped' % (
            counted(len(order) - MAX_LABELS, 'more label'),
            counted(int(dropped[order[MAX_LABELS:]].sum()), 'result')))
    has_result = np.zeros(len(truth.classes) + 1, dtype=bool)  # the last one is for position −1
    used = [results.labels[label] for label in np.unique(results.label_index)]
    has_result[positions_in(used, truth.classes)] = True
    without = [name for name, has in zip(truth.classes, has_result) if not has]
    if without:
        names = ', '.join(without[:MAX_CLASSES])
        more = ' and %d more' % (len(without) - MAX_CLASSES) if len(without) > MAX_CLASSES else ''
        warnings.append('%s without any result: %s%s' % (
            'a class' if len(without) == 1 else '%d classes' % len(without), names, more))
    return warnings


def _near_text(name, known):
    """The end of a message: the name in `known` that is nearest to `name`; '' if none is near."""
    plain = {_plain(candidate): candidate for candidate in reversed(known)}  # of equal ones, the first
    near = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=NEAR)
    return '; near: %s' % quoted(plain[near[0]]) if near else ''


def _plain(name):
    """A class name as it is compared."""
    return spelling_free(name)[:MAX_CHARACTERS]
