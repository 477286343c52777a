"""What both evaluation scripts share: reading ground truth and results, tIoU, counts and figures.

Both inputs have ActivityNet's form (docs/method.md, section 8), which the evaluators of ActivityNet's toolkit and of
OpenTAD read too:

    {"database": {video: {"subset": name, "annotations": [{"segment": [start, end], "label": name}]}}}
    {"results": {video: [{"score": number, "segment": [start, end], "label": name}]}}

A number may be written as a text ("10.5"). A file is read into arrays once, and every later step is a numpy operation
on whole arrays. Compiled code checks all entries in a few passes; only if it finds a fault, the entries are checked
one by one for a message that names it.

Legend of this package: G ground-truth segments, V videos with at least one segment, K classes, R results,
S tIoU thresholds, E pairs of a result and a ground-truth segment. A segment is [start, end] in seconds.
"""
import collections
import contextlib
import gc
import json
import numbers
import os
import reprlib
import warnings
from itertools import chain
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from runtime.errors import InputError, counted, one_line, printable
from runtime.files import atomic_write, read_json, repeated_keys

TIOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # ActivityNet's
POLICIES = ('authors', 'official')            # what happens with results of unknown videos
PAIRS_AT_ONCE = 1 << 20                       # pairs whose tIoU is in memory at the same time
FIGURE_STARTS = {'png': b'\x89PNG', 'pdf': b'%PDF', 'svg': b'<?xml'}  # format: first bytes of a file
EXPECTED = {'segment': 'two finite numbers, [start, end] in seconds', 'score': 'a finite number',
            'label': 'a class name'}          # of an entry, for messages
PROPOSAL_SCRIPT = 'evaluation/get_proposal_performance.py'  # scores results without labels


class NoSegments(InputError):
    """The subset of a ground truth has no annotated segment, for example because it is not annotated."""


class GroundTruth(NamedTuple):
    """The annotated segments of one subset, in the file's order."""

    videos: List[str]         # [V], only videos with a segment, as in the toolkit
    classes: List[str]        # [K], in the order of their first segment
    video_index: np.ndarray   # [G] int, into videos
    class_index: np.ndarray   # [G] int, into classes
    segments: np.ndarray      # [G, 2] float64, seconds
    videos_without_segments: int
    source: str               # name of the file, for messages
    subset: str
    subset_of: Dict[str, str]  # {video: subset} of every video of the file


class Results(NamedTuple):
    """Scored segments, in the file's order."""

    source: str                         # name of the file, for messages
    videos: List[str]                   # every video of the file
    video_index: np.ndarray             # [R] int, into videos
    scores: np.ndarray                  # [R] float64
    segments: np.ndarray                # [R, 2] float64, seconds
    labels: Optional[List[str]]         # distinct labels; None where they were not read
    label_index: Optional[np.ndarray]   # [R] int, into labels


# Reading


@contextlib.contextmanager
def _no_garbage_collection():
    """A context for reading JSON, which has no cycles: Python would search millions of objects for them in vain.

    That would take longer than to call _object for each result.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_garbage_collection()
def read_ground_truth(source, subset='validation'):
    """Read the GroundTruth of one subset.

    Args:
      source: a path, the loaded JSON (only `database` is required), or a GroundTruth, which is returned unchanged.
      subset: the subset's name as the file spells it; ignored if source is a GroundTruth.
    Raises:
      NoSegments: the subset has no segment.
      InputError: the file cannot be read or has a video twice, or an entry is malformed.
    """
    if isinstance(source, GroundTruth):
        return source
    name, content = load(source, 'ground truth', 'database')
    database = content['database']
    _check_videos(name, database)
    in_subset = {video: entry.get('annotations') for video, entry in database.items() if entry['subset'] == subset}
    video_of, segments, labels = flatten(_annotations_of(name), in_subset, ('segment', 'label'))
    if not len(segments):
        raise NoSegments('%s: subset "%s" has no annotated segment; %s' % (name, subset, _subsets_text(database)))
    videos, video_index = np.unique(video_of, return_inverse=True)  # only videos with a segment
    classes, class_index = index_names(labels)
    names = list(in_subset)
    return GroundTruth([names[video] for video in videos], classes, video_index, class_index, segments,
                       len(names) - len(videos), name, subset,
                       {video: entry['subset'] for video, entry in database.items()})


def _subsets_text(database):
    """Which subsets of the ground truth have segments, as the end of a message."""
    segments = collections.Counter()
    for entry in database.values():
        annotations = entry.get('annotations')
        segments[entry['subset']] += len(annotations) if isinstance(annotations, (list, tuple)) else 0
    found = ['%s (%d)' % pair for pair in sorted(segments.items()) if pair[1]]
    if not found:
        return 'no subset of the file has one; check that this is the annotated file'
    return 'these subsets have some (number of segments): %s; choose one with --subset' % ', '.join(found)


@_no_garbage_collection()
def read_results(source, with_labels=True):
    """Read the Results of a file.

    Args:
      source: a path, the loaded JSON (only `results` is required), or a Results, which is returned unchanged.
      with_labels: False ignores the labels, which may then be missing: proposals need none. None reads them if
        every entry has one.
    Raises:
      InputError: the file cannot be read or has a video twice, or an entry is malformed.
    """
    if isinstance(source, Results):
        if with_labels and source.label_index is None:
            raise InputError('%s: found results that were read without labels, expected labels; read the file with '
                             'with_labels=True, or score the results with %s' % (source.source, PROPOSAL_SCRIPT))
        return source
    name, content = load(source, 'results', 'results')
    by_video = content['results']
    if with_labels is None:
        with_labels = all(isinstance(entry, dict) and 'label' in entry
                          for entries in by_video.values() if isinstance(entries, list) for entry in entries)
    fields = ('segment', 'score', 'label') if with_labels else ('segment', 'score')
    video_index, segments, scores, *labels = flatten((name + ': results[', ']'), by_video, fields)
    labels, label_index = index_names(labels[0]) if with_labels else (None, None)
    return Results(name, list(by_video), video_index, scores, segments, labels, label_index)


def positions_in(names, known):
    """Position of each of `names` in `known`, −1 if it is not there → [len(names)] int."""
    position = {name: i for i, name in enumerate(known)}
    return np.array([position.get(name, -1) for name in names], dtype=np.int64)


def load(source, what, key):
    """(name for messages, content) of a path or of loaded JSON; `what` the file should be.

    Raises InputError if the content has no object by video under `key`, or if a file has a key twice in one object:
    the earlier value would be lost.
    """
    if not isinstance(source, (str, os.PathLike)):
        name = '%s in memory' % what
        _by_video(name, source, what, key)
        return name, source
    name, repeated = str(source), []
    content = read_json(name, lambda pairs: _object(pairs, repeated))
    by_video = _by_video(name, content, what, key)
    if repeated:
        raise InputError('%s: found the %s %s twice, expected it once; remove one of them' % (
            name, 'video' if repeated[0] in by_video else 'key', quoted(repeated[0])))
    return name, content


def _object(pairs, repeated):
    """The dict of [(key, value)]; keys that are there more than once are appended to the list `repeated`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated.extend(repeated_keys(pairs))
    return found


def _by_video(name, content, what, key):
    """The object under `key` of the loaded JSON `content`; the other arguments are for messages, as of load."""
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        found = 'the keys %s' % reprlib.repr(list(content)) if isinstance(content, dict) else _type_name(content)
        raise InputError('%s: expected a JSON object whose "%s" is an object by video, found %s; check that this '
                         'is the %s file' % (name, key, found, what))
    return content[key]


def ground_truth_faults(path):
    """Yield an InputError for each malformed entry of a ground-truth file; raise one if it cannot be read.

    Keys that are there twice are no fault here: the caller lists all of them.
    """
    name, database = path, _by_video(path, read_json(path), 'ground truth', 'database')
    for video, entry in database.items():
        try:
            _check_videos(name, {video: entry})
        except InputError as error:
            yield error
        else:
            yield from _faults(_annotations_of(name), {video: entry.get('annotations')}, ('segment', 'label'))


def _annotations_of(name):
    """What _flatten takes as `place` for the ground truth `name`."""
    return name + ': database[', ']["annotations"]'


def _check_videos(name, database):
    """Raise InputError if a video of the ground truth `name` has no subset."""
    for video, entry in database.items():
        if not isinstance(entry, dict) or not isinstance(entry.get('subset'), str):
            raise InputError('%s: database[%s] has no "subset" name; expected {"subset": "validation", '
                             '"annotations": [...]}; add it' % (name, quoted(video)))


def flatten(place, by_video, fields):
    """The entries of all videos: [[R] index of the video, and of each field what _column returns].

    Args:
      place: what precedes and follows a video's name in messages.
      by_video: {video: list of objects with `fields`}.
    Raises:
      InputError: names the first malformed entry.
    """
    lists = by_video.values()
    try:
        _check_types(lists, (list, tuple))
        entries = list(chain.from_iterable(lists))
        columns = [_column(field, [entry[field] for entry in entries]) for field in fields]
    except (LookupError, TypeError, ValueError, OverflowError):
        raise next(_faults(place, by_video, fields)) from None
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    return [np.repeat(np.arange(len(lists)), lengths)] + columns


def _column(field, values):
    """One field of all entries: [R, 2] segments, [R] scores, or [R] labels (a list).

    Raises TypeError, ValueError or OverflowError if any of them is malformed.
    """
    if field == 'label':
        _check_types(values, str)
        return values
    if field == 'score':
        return finite_numbers(values)
    if not set(map(len, values)) <= {2}:
        raise ValueError
    edges = list(chain.from_iterable(values))
    kinds = set(map(type, edges))
    if _has_text(kinds):  # so do a text of two digits, and the keys of an object
        _check_types(values, (list, tuple, np.ndarray))
    return _finite_numbers(edges, kinds).reshape(-1, 2)


def finite_numbers(values):
    """A list of numbers, or of texts such as "10.5" → [len(values)] float64.

    Raises TypeError, ValueError or OverflowError if one of them is neither, or is not finite.
    """
    return _finite_numbers(values, set(map(type, values)))


def _finite_numbers(values, kinds):
    """finite_numbers of `values`, whose types are `kinds`; those are found once, because it takes time."""
    if _has_text(kinds):
        # float() takes "1_0" as 10, which no data means
        values = [float(value.replace('_', '?')) if isinstance(value, str) else value for value in values]
        kinds = set(map(type, values))
    _check_kinds(kinds, numbers.Real)
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError
    return array


def _has_text(kinds):
    return any(issubclass(kind, str) for kind in kinds)


def _check_types(values, kind):
    """Raise TypeError unless all values are of `kind` and none is a bool."""
    _check_kinds(set(map(type, values)), kind)  # a set, because millions of values have few types


def _check_kinds(kinds, kind):
    """Raise TypeError unless all types of the set `kinds` are `kind`, or a type below it, and none is bool."""
    for found in kinds:
        if not issubclass(found, kind) or found is bool:
            raise TypeError


def _faults(place, by_video, fields):
    """Yield an InputError for each malformed entry; arguments as of flatten."""
    for video, entries in by_video.items():
        where = quoted(video).join(place)
        if not isinstance(entries, (list, tuple)):
            yield InputError('%s is %s; expected a list of objects with %s; correct the file' % (
                where, _type_name(entries), ', '.join(fields)))
            continue
        for i, entry in enumerate(entries):
            fault = _entry_fault(entry, fields)
            if fault:
                yield InputError('%s[%d]%s' % (where, i, fault))


def _entry_fault(entry, fields):
    """What is wrong with one entry; '' if nothing is."""
    if not isinstance(entry, dict):
        return ' is %s; expected an object with %s; correct the file' % (_type_name(entry), ', '.join(fields))
    for field in fields:
        if field not in entry:
            is_result = 'segment' in fields and 'score' in fields
            remedy = 'add it' if field != 'label' or not is_result else (
                'add it, or give class scores of the videos with --video_scores, or score results without labels '
                'with ' + PROPOSAL_SCRIPT)
            return ' has no "%s" (its keys: %s); expected %s; %s' % (
                field, ', '.join(map(str, entry)) or 'none', EXPECTED[field], remedy)
        try:
            _column(field, [entry[field]])
        except (TypeError, ValueError, OverflowError):
            return '["%s"] is %s; expected %s; correct the file' % (
                field, reprlib.repr(entry[field]), EXPECTED[field])
    return ''


def index_names(names):
    """(distinct names in order of first use, [len(names)] int index into them)."""
    index_of = {}
    index = [index_of.setdefault(name, len(index_of)) for name in names]
    return list(index_of), np.array(index, dtype=np.int64)


def quoted(video):
    """The name of a video or class between quotation marks, for messages."""
    return json.dumps(video) if isinstance(video, str) else repr(video)


def _type_name(value):
    return {dict: 'an object', list: 'a list', str: 'a text', type(None): 'null'}.get(
        type(value), 'of type %s' % type(value).__name__)


# tIoU


def segment_tiou(first, second):
    """Temporal intersection over union of segments, pair by pair.

    first, second: [..., 2] seconds, broadcast against each other; returns [...] in 0…1. Segments that only touch
    have 0, and so has a pair whose union has no length (0 / 0, which the toolkit takes as a match).
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    start = np.maximum(first[..., 0], second[..., 0])
    end = np.minimum(first[..., 1], second[..., 1])
    with np.errstate(over='ignore', invalid='ignore'):  # lengths too large for a float: such a pair has 0
        intersection = np.maximum(end - start, 0)
        union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def overlapping_pairs(segments, groups, gt_segments, gt_groups, min_tiou):
    """Pairs of a result and a ground-truth segment of the same group whose tIoU is at least `min_tiou`.

    Only pairs within a group are formed, PAIRS_AT_ONCE at a time. Cost: O(G log G + R log G + pairs).

    Args:
      segments, groups: [R, 2] seconds, [R] int; group −1 has no ground truth.
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
        near = tiou >= min_tiou
        found.append((result[near], truth[near], tiou[near]))
    return tuple(np.concatenate(column) for column in zip(*found))


def _blocks(partners):
    """(start, stop) of consecutive results that have about PAIRS_AT_ONCE partners together."""
    block = np.cumsum(partners) // PAIRS_AT_ONCE
    cuts = np.flatnonzero(np.diff(block)) + 1
    edges = [0] + cuts.tolist() + [len(partners)]
    return zip(edges[:-1], edges[1:])


def check_tiou_thresholds(thresholds):
    """The thresholds as [S] float64; raises InputError if there is none, or one is not above 0 and at most 1."""
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.ndim != 1 or not thresholds.size or not np.all((thresholds > 0) & (thresholds <= 1)):
        raise InputError('tIoU thresholds %s: expected one number or more, each above 0 and at most 1' % (
            reprlib.repr(thresholds.tolist())))
    return thresholds


# Counts


def without_length(segments):
    """Number of segments [..., 2] that do not end after their start; nothing can match them."""
    return int(np.count_nonzero(segments[..., 1] <= segments[..., 0]))


def videos_without_results(truth, results):
    """Number of the truth's videos that have no result."""
    has_results = np.zeros(len(results.videos) + 1, dtype=bool)  # the last one stays False, for position −1
    has_results[results.video_index] = True
    return int(np.count_nonzero(~has_results[positions_in(truth.videos, results.videos)]))


def coverage_line(truth, results, dropped=0):
    """One line that says over how many videos the figures of `results` are.

    truth: GroundTruth; results: Results; dropped: number of videos without features that left the ground truth
    before (--missing drop).
    """
    line = format_coverage(len(truth.videos), videos_without_results(truth, results))
    return line + ('; %s without features %s dropped before (--missing drop)' % (
        counted(dropped, 'video'), 'was' if dropped == 1 else 'were') if dropped else '')


def format_coverage(videos, without):
    """The line of coverage_line, of the number of videos and of those that have no results."""
    missed = {0: 'all of them have results', 1: '1 of them has no results and counts as missed'}.get(
        without, '%s of them have no results and count as missed' % '{:,}'.format(without))
    return 'over %s; %s' % (counted(videos, 'video'), missed)


# Figures


def has_content(path):
    """Whether `path` is a regular file that is not empty. (What is no regular file is not replaced anyway.)"""
    return os.path.isfile(path) and os.path.getsize(path) > 0


def new_figure(size):
    """A new figure of `size` [width, height] in inches; it needs no display."""
    # Imported here because it takes up to a second, which a run without a figure saves; it hides no circle.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def try_figure(path, draw):
    """Write the figure that `draw()` returns to `path`; return None, or one line of text that says why there is none.

    No Exception leaves this function, because no fault of matplotlib may cost the numbers of an evaluation.
    """
    try:
        write_figure(path, draw())
    except InputError as error:
        return str(error)
    except Exception as error:  # matplotlib is missing, or its backend or a font is faulty: it raises several types
        return '%s: the figure cannot be drawn: %s: %s' % (
            printable(path), type(error).__name__, printable(one_line(error)))
    return None


def write_figure(path, figure):
    """Write a figure in the format of the path's ending (png if it has none).

    Raises InputError if that format is unknown, a file of another kind would be replaced, or the file cannot be
    written.
    """
    kind = figure_format(path)
    with atomic_write(path) as partial, warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # of characters that the font lacks: it draws boxes for them
        figure.savefig(partial, format=kind, dpi=100, bbox_inches='tight')


def figure_format(path):
    """The format of the figure `path`; raises InputError if it is unknown, or a file of another kind is there."""
    kind = os.path.splitext(path)[1][1:].lower() or 'png'
    if kind not in FIGURE_STARTS:
        raise InputError('%s: a figure cannot be written as .%s; use .png, .pdf or .svg' % (path, kind))
    check_start(path, FIGURE_STARTS[kind], 'a figure in %s; name another file' % kind.upper())
    return kind


def check_start(path, start, expected):
    """Raise InputError if a file at `path`, which is to be replaced, does not begin with the bytes `start`.

    expected: what it should be, and what to do else, for the message.
    """
    if has_content(path):
        with open(path, 'rb') as file:
            if file.read(len(start)) != start:
                raise InputError('%s: found another file there, expected none or %s, or remove it' % (path, expected))
