"""What both evaluators share: ground truth, results, tIoU, and the scripts' flags and files.

Ground truth and results have ActivityNet's form (SPEC section 8):

    {"database": {video: {"subset": name, "annotations": [{"segment": [start, end], "label": name}]}}}
    {"results": {video: [{"score": number, "segment": [start, end], "label": name}]}}

A file is flattened into arrays once; every later step is a numpy operation on all of it. Reading costs a few
passes of compiled code over the entries; a wrong entry is looked for one by one only after those found one.

Legend (of this package): G ground-truth segments, V videos with at least one, K classes, R results,
S tIoU thresholds, E pairs of a result and a ground-truth segment. Segments are [start, end] in seconds.
"""
import argparse
import json
import numbers
import os
import reprlib
from itertools import chain
from typing import List, NamedTuple, Optional

import numpy as np

from errors import InputError
from files import read_json, write_text, written_whole

TIOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # ActivityNet's ten
MOST_THRESHOLDS = 1000                        # of one flag
POLICIES = ('authors', 'official')            # for results of unknown videos
PAIRS_AT_ONCE = 1 << 20                       # pairs whose tIoU is held at a time: bounds the memory


class GroundTruth(NamedTuple):
    """The annotated segments of one subset, in the file's order."""

    videos: List[str]         # [V], only videos that have a segment, as in the toolkit
    classes: List[str]        # [K], in the order of their first segment
    video_index: np.ndarray   # [G] int, into videos
    class_index: np.ndarray   # [G] int, into classes
    segments: np.ndarray      # [G, 2] float64, seconds
    videos_without_segments: int


class Results(NamedTuple):
    """Scored segments, in the file's order."""

    source: str                         # the file, for messages
    videos: List[str]                   # every video of the file
    video_index: np.ndarray             # [R] int, into videos
    scores: np.ndarray                  # [R] float64
    segments: np.ndarray                # [R, 2] float64, seconds
    labels: Optional[List[str]]         # distinct labels; None where they were not asked for
    label_index: Optional[np.ndarray]   # [R] int, into labels


# ------------------------------------------------------------------------------------------------ reading


def read_ground_truth(source, subset='validation'):
    """The GroundTruth of one subset.

    Args:
      source: a path, the loaded JSON (only `database` is required), or a GroundTruth, returned as it is.
      subset: the subset's name as the file spells it; not looked at where source is a GroundTruth.
    Raises:
      InputError: an unreadable file, a malformed entry, or a subset without any segment.
    """
    if isinstance(source, GroundTruth):
        return source
    name, database = _load(source, 'ground truth', 'database')
    _check_videos(name, database)
    in_subset = [video for video, entry in database.items() if entry['subset'] == subset]
    annotations = [database[video].get('annotations') for video in in_subset]
    video_of, segments, _, labels = _flatten(
        '%s: database[%%s]["annotations"]' % name, in_subset, annotations, ('segment', 'label'))
    if not len(segments):
        found = sorted({entry['subset'] for entry in database.values()})
        raise InputError('%s: subset "%s" has no annotated segment; the file has the subsets %s: choose one '
                         'with --subset' % (name, subset, ', '.join(found) or '(none)'))
    videos, video_index = np.unique(video_of, return_inverse=True)  # drops videos without a segment
    classes, class_index = _number(labels)
    return GroundTruth([in_subset[video] for video in videos], classes,
                       video_index, class_index, segments, len(in_subset) - len(videos))


def read_results(source, with_labels=True):
    """The Results of a file.

    Args:
      source: a path, the loaded JSON (only `results` is required), or a Results, returned as it is.
      with_labels: False leaves the labels out, and does not ask for them: proposals need none.
    Raises:
      InputError: an unreadable file or a malformed entry.
    """
    if isinstance(source, Results):
        if with_labels and source.label_index is None:
            raise InputError('%s: was read without labels; read it with with_labels=True' % source.source)
        return source
    name, by_video = _load(source, 'results', 'results')
    fields = ('segment', 'score', 'label') if with_labels else ('segment', 'score')
    video_index, segments, scores, labels = _flatten(
        '%s: results[%%s]' % name, list(by_video), list(by_video.values()), fields)
    labels, label_index = _number(labels) if with_labels else (None, None)
    return Results(name, list(by_video), video_index, scores, segments, labels, label_index)


def positions_in(names, known):
    """Position in `known` of each of `names`, −1 where it is not there: [len(names)] int."""
    position = {name: i for i, name in enumerate(known)}
    return np.array([position.get(name, -1) for name in names], dtype=np.int64)


def _load(source, what, key):
    """(name for messages, the object under `key`) of a path or of loaded JSON."""
    if isinstance(source, (str, os.PathLike)):
        name, content = str(source), read_json(str(source))
    else:
        name, content = '%s in memory' % what, source
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        found = 'the keys %s' % reprlib.repr(list(content)) if isinstance(content, dict) else _type(content)
        raise InputError('%s: expected a JSON object whose "%s" is an object by video, found %s; is this the '
                         '%s file?' % (name, key, found, what))
    return name, content[key]


def ground_truth_faults(path):
    """Each fault of a ground-truth file's entries as an InputError; that of an unreadable file is raised."""
    name, database = _load(path, 'ground truth', 'database')
    for video, entry in database.items():
        try:
            _check_videos(name, {video: entry})
        except InputError as error:
            yield error
        else:
            yield from _faults('%s: database[%%s]["annotations"]' % name, [video], [entry.get('annotations')],
                               ('segment', 'label'))


def _check_videos(name, database):
    for video, entry in database.items():
        if not isinstance(entry, dict) or not isinstance(entry.get('subset'), str):
            raise InputError('%s: database[%s] has no "subset" name; expected {"subset": "validation", '
                             '"annotations": [...]}' % (name, _quoted(video)))


def _flatten(place, videos, entry_lists, fields):
    """Entries of every video as columns.

    Args:
      place: how messages name an entry list, with %s for the video.
      entry_lists: for each video a list of objects with `fields`.
    Returns:
      [R] index of the video, [R, 2] segments, [R] scores or None, [R] labels (a list) or None.
    """
    try:
        entries = list(chain.from_iterable(entry_lists))
        segments = [entry['segment'] for entry in entries]
        scores = [entry['score'] for entry in entries] if 'score' in fields else None
        labels = [entry['label'] for entry in entries] if 'label' in fields else None
        edges = list(chain.from_iterable(segments))
        well_formed = (_types_are(entry_lists, _is_list) and set(map(len, segments)) <= {2}
                       and _types_are(edges, _is_number) and _types_are(scores or (), _is_number)
                       and _types_are(labels or (), _is_text))
        segment_array = np.array(edges, dtype=np.float64).reshape(-1, 2)
        score_array = None if scores is None else np.array(scores, dtype=np.float64)
        well_formed &= bool(np.isfinite(segment_array).all())
        well_formed &= scores is None or bool(np.isfinite(score_array).all())
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        well_formed = False
    if not well_formed:
        raise next(_faults(place, videos, entry_lists, fields), InputError('%s: malformed entries' % (place % '*')))
    entries_of = np.fromiter(map(len, entry_lists), dtype=np.int64, count=len(videos))
    video_index = np.repeat(np.arange(len(videos)), entries_of)
    return video_index, segment_array, score_array, labels


def _faults(place, videos, entry_lists, fields):
    """InputErrors that name the malformed entries, in their order."""
    for video, entries in zip(videos, entry_lists):
        where = place % _quoted(video)
        if not _is_list(type(entries)):
            yield InputError('%s is %s; expected a list of objects with %s' % (
                where, _type(entries), ', '.join(fields)))
            continue
        for i, entry in enumerate(entries):
            fault = _fault(entry, fields)
            if fault:
                yield InputError('%s[%d]%s' % (where, i, fault))


def _fault(entry, fields):
    """What is wrong with one entry, or ''."""
    if not isinstance(entry, dict):
        return ' is %s; expected an object with %s' % (_type(entry), ', '.join(fields))
    expected = {'segment': (_is_segment, 'two finite numbers, [start, end] in seconds'),
                'score': (_is_finite, 'a finite number'),
                'label': (lambda value: _is_text(type(value)), 'a class name')}
    for field in fields:
        is_right, wanted = expected[field]
        if field not in entry:
            return ' has no "%s" (its keys: %s); write %s there' % (
                field, ', '.join(map(str, entry)) or 'none', wanted)
        if not is_right(entry[field]):
            return '["%s"] is %s; expected %s' % (field, reprlib.repr(entry[field]), wanted)
    return ''


def _types_are(values, allowed):
    return all(map(allowed, set(map(type, values))))  # a set first: millions of values, two or three types


def _is_list(kind):
    return issubclass(kind, (list, tuple))


def _is_text(kind):
    return issubclass(kind, str)


def _is_number(kind):
    return issubclass(kind, numbers.Real) and kind is not bool


def _is_finite(value):
    try:
        return _is_number(type(value)) and bool(np.isfinite(float(value)))
    except OverflowError:  # an integer that no float holds
        return False


def _is_segment(value):
    return isinstance(value, (list, tuple, np.ndarray)) and len(value) == 2 and all(map(_is_finite, value))


def _number(names):
    """(distinct names in the order of first use, [len(names)] int index of each)."""
    index_of = {}
    index = [index_of.setdefault(name, len(index_of)) for name in names]
    return list(index_of), np.array(index, dtype=np.int64)


def _quoted(video):
    return json.dumps(video) if isinstance(video, str) else repr(video)


def _type(value):
    return {dict: 'an object', list: 'a list', str: 'a text', type(None): 'null'}.get(
        type(value), 'of type %s' % type(value).__name__)


# --------------------------------------------------------------------------------------------------- tIoU


def segment_tiou(first, second):
    """Temporal intersection over union of segments, pair by pair.

    first, second: [..., 2] seconds, broadcast against each other; returns [...] in 0…1. Segments that touch
    have 0; so has a pair whose union has no length (0 / 0, which the toolkit lets pass as a match).
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    start = np.maximum(first[..., 0], second[..., 0])
    end = np.minimum(first[..., 1], second[..., 1])
    with np.errstate(over='ignore', invalid='ignore'):  # lengths that no float holds: such a union is no number
        intersection = np.maximum(end - start, 0)
        union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def overlapping_pairs(segments, groups, gt_segments, gt_groups, least_tiou):
    """Pairs of a result and a ground-truth segment of one group whose tIoU is at least `least_tiou`.

    Only pairs of a group are formed, flattened, PAIRS_AT_ONCE at a time. Cost: O(G log G + R log G + pairs).

    Args:
      segments, groups: [R, 2] seconds, [R] int; a group of −1 has no ground truth.
      gt_segments, gt_groups: [G, 2] seconds, [G] int ≥ 0.
    Returns:
      [E] index of the result (ascending), [E] index of the ground-truth segment (ascending within a result),
      [E] tIoU.
    """
    order = np.argsort(gt_groups, kind='stable')
    grouped = gt_groups[order]
    first = np.searchsorted(grouped, groups, side='left')
    partners = np.searchsorted(grouped, groups, side='right') - first
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for start, stop in _blocks(partners):
        count = partners[start:stop]
        result = np.repeat(np.arange(start, stop), count)
        place = np.arange(len(result)) - np.repeat(np.cumsum(count) - count, count)  # 0, 1, … within a result
        truth = order[first[result] + place]
        tiou = segment_tiou(segments[result], gt_segments[truth])
        near = tiou >= least_tiou
        found.append((result[near], truth[near], tiou[near]))
    return tuple(np.concatenate(column) for column in zip(*found))


def _blocks(partners):
    """(start, stop) of runs of results that have about PAIRS_AT_ONCE partners together."""
    block = np.cumsum(partners) // PAIRS_AT_ONCE
    cuts = np.flatnonzero(np.diff(block)) + 1
    edges = [0] + cuts.tolist() + [len(partners)]
    return zip(edges[:-1], edges[1:])


# ------------------------------------------------------------------------------------------------ scripts


def parse_tiou_thresholds(text):
    """[S] thresholds of '0.5:0.95:0.05' (start:stop:step, the stop included) or of '0.5,0.75'."""
    try:
        if ':' in text:
            start, stop, step = map(float, text.split(':'))
            steps = int(round((stop - start) / step))
            if not 0 <= steps < MOST_THRESHOLDS or abs(start + steps * step - stop) > 1e-9:
                raise ValueError
            return check_tiou_thresholds(np.linspace(start, stop, steps + 1))
        return check_tiou_thresholds([float(part) for part in text.split(',')])
    except (InputError, ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError(
            '"%s": expected start:stop:step with the stop a whole number of steps away, or a comma list, of '
            'numbers above 0 and up to 1, %d at most' % (text, MOST_THRESHOLDS)) from None


def check_tiou_thresholds(thresholds):
    """The thresholds as [S] float64; InputError where one is not above 0 and at most 1, or there is none."""
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.ndim != 1 or not thresholds.size or not np.all((thresholds > 0) & (thresholds <= 1)):
        raise InputError('tIoU thresholds %s: expected at least one number, each above 0 and up to 1' % (
            reprlib.repr(thresholds.tolist())))
    return thresholds


def build_parser(description, policy_help, figure):
    """The flags of both scripts; `figure` says what the figure shows."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('ground_truth', help='JSON with {"database": {video: {"subset": .., "annotations": '
                        '[{"segment": [start, end], "label": name}]}}}')
    parser.add_argument('results', help='JSON with {"results": {video: [{"score": number, "segment": '
                        '[start, end], "label": name}]}}; seconds, as in the ground truth')
    parser.add_argument('--subset', default='validation',
                        help='subset of the ground truth to score (default: %(default)s)')
    parser.add_argument('--tiou_thresholds', type=parse_tiou_thresholds, default='0.5:0.95:0.05',
                        metavar='START:STOP:STEP',
                        help='the stop is included; or a comma list: 0.5,0.75,0.95 (default: %(default)s)')
    parser.add_argument('--policy', choices=POLICIES, default='authors', help=policy_help)
    parser.add_argument('--json', metavar='OUT', help='also write the numbers to a JSON file (default: no)')
    parser.add_argument('--figure', metavar='OUT.png',
                        help='also draw %s (default: no)' % figure)
    return parser


def format_counts(counts):
    """One aligned line for each (text, number) of `counts`."""
    return '\n'.join('  %-44s %9s' % (text, '{:,}'.format(number)) for text, number in counts)


def without_length(segments):
    """How many of [..., 2] segments do not end after their start, so that nothing can match them."""
    return int(np.count_nonzero(segments[..., 1] <= segments[..., 0]))


def write_json(path, content, indent=1):
    """Writes JSON so that the file is either the old or the complete new one."""
    write_text(path, json.dumps(content, indent=indent) + '\n')


def new_figure(size):
    """A figure of `size` [width, height] in inches, drawn without a display."""
    # here, not above: only a figure is worth the time that the import takes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def write_figure(path, figure):
    """Saves a figure in the format of the path's ending (png without one), whole or not at all."""
    kind = os.path.splitext(path)[1][1:].lower() or 'png'
    if kind not in figure.canvas.get_supported_filetypes():
        raise InputError('%s: a figure cannot be written as .%s; use .png or .pdf' % (path, kind))
    with written_whole(path) as partial:
        figure.savefig(partial, format=kind, dpi=100, bbox_inches='tight')
