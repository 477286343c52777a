"""The videos of one side of a data root, from what the flags of `import` name: subsets, classes, features, times.

A part is a list of videos and the place of their features. A source has one. A target may have two: its moments, and
the untrimmed videos to be searched.
"""
import collections
import os
import re
from typing import NamedTuple

from dataset import tables
from dataset.features import names_in
from dataset.row_times import row_times, rows_of
from dataset.tables import RowTimes, check_video_id, located_errors, read_class_names, spelling_free
from preparation.annotation_forms import read_forms
from preparation.annotation_rows import Annotated
from preparation.feature_match import Matches, match, plain_name
from preparation.subsets import TRAINING, VALIDATION, assign, assign_searched
from runtime.errors import InputError

SUBSET_FOLDERS = ('train', 'training', 'val', 'valid', 'validation', 'test', 'testing')


class Part(NamedTuple):
    """Videos, and where their features are."""

    text: str          # the annotation and its form, for people
    path: str          # of the features
    videos: list       # of Annotated; their subsets are training, validation or testing
    matches: Matches
    subsets: dict      # subset → its names in the annotation
    left_out: collections.Counter  # what is not imported → number


class Timing(NamedTuple):
    """What the user says of the rows."""

    stride: float  # frames from one row to the next; None: the rows are spread evenly over each video
    window: float  # frames of a row
    fps: float     # frames per second; None: each video's own

    def of(self, video, rows):
        """RowTimes of an Annotated that has `rows` rows; its duration or rate is known, where it is needed."""
        times = row_times(self.stride, self.window, self.fps or video.fps) if self.stride else RowTimes(
            video.seconds / rows, video.seconds / rows / 2)
        if not tables.MIN_ROW_SECONDS <= times.row_seconds < tables.MAX_SECONDS:
            raise InputError('video %s: found %g seconds a row, expected %g at least; correct --stride or --fps'
                             % (video.name, times.row_seconds, tables.MIN_ROW_SECONDS))
        return times

    def rows(self, video):
        """The number of rows that the duration of an Annotated says; None where it says none."""
        fps = self.fps or video.fps
        if not (self.stride and video.seconds and fps):
            return None
        return rows_of(video.seconds, self.stride, self.window, fps)

    def check(self, part):
        """Raise InputError where videos of a Part have no rate, or no duration, and it is needed."""
        key, remedy = ('fps', '--fps') if self.stride else ('seconds', '--stride and --fps in place of --rescaled')
        without = [] if self.stride and self.fps else [
            video.name for video in part.videos if getattr(video, key) is None]
        if without:
            raise InputError('%s: found no %s of %d of %d videos, such as %s; give %s' % (
                part.text, 'frame rate' if self.stride else 'duration', len(without), len(part.videos), without[0],
                remedy))


class Imported(NamedTuple):
    """A video of the tables."""

    name: str
    subset: str
    is_clip: bool
    stated: float       # duration that the annotation states; None: it does not
    has_features: bool
    entry: dict         # of the annotation JSON


# Reading what the flags name

def read_parts(args):
    """List of Part that the flags name: that of training, then that of the videos to be searched."""
    parts = [_annotated_part(args)] if args.annotation else [_clips_part(args)] if args.clips else []
    if args.untrimmed:
        parts.append(_searched_part(args, parts))
        if args.clips:  # a clip and a video to be searched may have the same file name
            parts[0] = _renamed(parts[0], {video.name for video in parts[1].videos})
    return parts


def _annotated_part(args):
    """The Part of --annotation and --features."""
    form = read_forms(args.annotation)
    place = ' and '.join(args.annotation)
    subsets, videos, left_out = assign(form.videos, args.side, args.subsets, place)
    left_out["rows of HACS' list that say where an action is not"] += form.negatives
    if args.untrimmed:
        kept = [video for video in videos if video.subset == TRAINING]
        left_out['videos of other subsets than training, because --untrimmed names the videos to be searched'] += (
            len(videos) - len(kept))
        videos = kept
    return Part(form.text, args.features, videos, match(videos, names_in(args.features, args.key), args.features),
                subsets, left_out)


def _clips_part(args):
    """The Part of --clips: the folder of a clip is its class, and its file name is its id, if no other has it."""
    if not os.path.isdir(args.clips):
        raise InputError('--clips %s: expected a folder, with a folder of clips for each class; give an HDF5 file '
                         'with --features, and a list of the clips with --annotation' % args.clips)
    names = names_in(args.clips)
    clips = [name for name in names if '/' in name]
    folders = {name.partition('/')[0] for name in clips}
    if not clips or folders <= set(SUBSET_FOLDERS):
        raise InputError('--clips %s: found %s, expected a folder for each class with the features of its clips; '
                         'name the folder that holds those of the classes, and give videos without classes with '
                         '--untrimmed' % (
                             args.clips, 'no folder with features' if not clips else
                             'the folders %s, which are subsets' % ', '.join(sorted(folders))))
    ids = _ids(clips)
    videos = [Annotated(ids[name], TRAINING, clip_label=name.partition('/')[0].strip()) for name in clips]
    return Part('a folder a class (%s)' % args.clips, args.clips, videos,
                Matches({ids[name]: name for name in clips}, {}, [], [name for name in names if '/' not in name]),
                {}, collections.Counter())


def _searched_part(args, parts):
    """The Part of --untrimmed, without videos that `parts` train on."""
    names, trained_on = names_in(args.untrimmed, args.key), {
        plain_name(video.name) for part in parts for video in part.videos if args.annotation}
    if args.untrimmed_annotation:
        form = read_forms([args.untrimmed_annotation])
        subsets, videos, left_out = assign_searched(form.videos, args.subsets, args.untrimmed_annotation)
        text, matches = form.text, match(videos, names, args.untrimmed)
    else:
        ids = _ids(names)
        videos = [Annotated(ids[name], VALIDATION) for name in names]
        if not videos:
            raise InputError('--untrimmed %s: found no features, expected VIDEO.npy, .npz or .csv, or an HDF5 file'
                             % args.untrimmed)
        text, subsets, left_out = 'videos to be searched (%s)' % args.untrimmed, {}, collections.Counter()
        matches = Matches({ids[name]: name for name in names}, {}, [], [])
    kept = [video for video in videos if plain_name(video.name) not in trained_on]
    left_out['videos to be searched that are for training, too'] += len(videos) - len(kept)
    return Part(text, args.untrimmed, kept, matches, subsets, left_out)


def _ids(names):
    """{name of features: id}: its part after the folder; where two have the same, FOLDER_NAME."""
    counts = collections.Counter(name.rpartition('/')[2] for name in names)
    ids = {name: name.rpartition('/')[2] if counts[name.rpartition('/')[2]] == 1 else name.replace('/', '_')
           for name in names}
    repeated = [name for name, count in collections.Counter(ids.values()).items() if count > 1]
    if repeated:
        raise InputError('found two features that would both be called %s; rename one of them' % repeated[0])
    return ids


def _renamed(part, taken):
    """A Part of clips, in which those whose id is in `taken` are called FOLDER_NAME."""
    new = {id_: name.replace('/', '_') if id_ in taken else id_ for id_, name in part.matches.names.items()}
    return part._replace(
        videos=[video._replace(name=new[video.name]) for video in part.videos],
        matches=part.matches._replace(names={new[id_]: name for id_, name in part.matches.names.items()}))


# Classes

def without_labels(parts, ignored):
    """Parts without the segments and the clips of the labels `ignored`, which they count as left out.

    Raises InputError where no segment has one of these labels.
    """
    known = {spelling_free(label) for part in parts for video in part.videos for label in _labels(video)}
    for label in ignored:
        if spelling_free(label) not in known:
            raise InputError('--ignore_label %s: found no segment of this class; correct the name' % label)
    return [_without_labels(part, {spelling_free(label) for label in ignored}) for part in parts]


def _without_labels(part, keys):
    videos = [video._replace(segments=tuple(
        segment for segment in video.segments if spelling_free(segment[2]) not in keys))
        for video in part.videos if not (video.clip_label and spelling_free(video.clip_label) in keys)]
    gone = sum(len(_labels(video)) for video in part.videos) - sum(len(_labels(video)) for video in videos)
    return part._replace(videos=videos, left_out=part.left_out + collections.Counter(
        {'segments of --ignore_label': gone}))


def named_classes(parts, categories):
    """(class names, parts whose labels are among them, Counter of segments whose label is not → number, spellings).

    The last is {class name: its other spellings}.

    Args:
      parts: list of Part.
      categories: path of a list of class names, or None: they are the labels of all parts, sorted.
    Labels match names but for case, spaces, underscores and hyphens; with a list, they may be indices into it. Raises
    InputError where they are indices without a list, or none of them is in the list.
    """
    labels = [collections.Counter(label for video in part.videos for label in _labels(video)) for part in parts]
    for part, found in zip(parts, labels):
        strange = next((label for label in found if not label.isprintable()), None)
        if strange:
            raise InputError('%s: found the class %s, expected a name without line ends and tabs' % (
                part.text, ascii(strange)))
        if found and not categories and all(_is_index(label) for label in found):
            raise InputError('%s: found numbers as classes, such as %s; give their names, one per line, with '
                             '--categories FILE' % (part.text, next(iter(found))))
    names = read_class_names(categories) if categories else _all_names(labels)
    unknown, named, by_spelling = collections.Counter(), [], collections.defaultdict(list)
    for name in names:
        by_spelling[spelling_free(name)].append(name)
    spellings = collections.defaultdict(set)
    for part, found in zip(parts, labels):
        name_of = {label: _name_of(label, names, by_spelling, part.text) for label in found}
        for label, name in name_of.items():
            if name is not None and name != label and spelling_free(name) == spelling_free(label):
                spellings[name].add(label)
        unknown.update({label: count for label, count in found.items() if name_of[label] is None})
        named.append(part._replace(videos=[_with_names(video, name_of) for video in part.videos]))
    if categories and unknown and not any(_labels(video) for part in named for video in part.videos):
        raise InputError('%s: found none of the classes of the annotation, such as %s; the first class of the list '
                         'is %s; name the list of this annotation' % (categories, next(iter(unknown)), names[0]))
    return names, named, unknown, spellings


def _is_index(label):
    return re.match('[0-9]{1,9}$', label) is not None


def _labels(video):
    return [video.clip_label] if video.clip_label else [label for _, _, label in video.segments]


def _all_names(labels):
    """Sorted names of the labels of each part. Of labels that differ by spelling alone, the first part's most
    frequent one is the name.
    """
    spelling = {}
    for found in labels:
        for label, _ in sorted(found.items(), key=lambda pair: (-pair[1], pair[0])):
            spelling.setdefault(spelling_free(label), label)
    return sorted(spelling.values())


def _name_of(label, names, by_spelling, place):
    """The class name that a label means, or None; `by_spelling` is {spelling_free name: [name]}."""
    fitting = by_spelling.get(spelling_free(label), [])
    if label in fitting:
        return label
    if len(fitting) == 1:
        return fitting[0]
    if _is_index(label):
        if int(label) >= len(names):
            raise InputError('%s: found the class index %s, expected 0 to %d, because the list of --categories has '
                             '%d names; give the list of this annotation'
                             % (place, label, len(names) - 1, len(names)))
        return names[int(label)]
    return None


def _with_names(video, name_of):
    return video._replace(
        clip_label=name_of[video.clip_label] if video.clip_label else None,
        segments=tuple((start, end, name_of[label]) for start, end, label in video.segments if name_of[label]))


# Entries

def imported_videos(part, rows, timing):
    """(list of Imported, number of videos left out: they have neither features nor a length) of a Part.

    Args:
      part: a Part.
      rows: {name of features: rows}.
      timing: a Timing.
    """
    timing.check(part)
    found = []
    with located_errors(part.text):
        for video in part.videos:
            found.append(_imported(video, part.matches.names.get(video.name), rows, timing))
    kept = [video for video in found if video]
    return kept, len(found) - len(kept)


def _imported(video, file, rows, timing):
    """Imported of an Annotated with the features `file`, or None: it has none. None where its length is unknown."""
    check_video_id(video.name)
    count = rows[file] if file else timing.rows(video) or _rows_to_last_end(video, timing)
    if not count:
        return None
    times, is_clip = timing.of(video, count), bool(video.clip_label or video.clip_of)
    lasts = count * times.row_seconds
    seconds = lasts if is_clip or video.seconds is None else video.seconds
    if not tables.MIN_SECONDS <= seconds < tables.MAX_SECONDS:
        raise InputError('video %s: found a duration of %g seconds, expected at least %g and less than %g; correct it'
                         % (video.name, seconds, tables.MIN_SECONDS, tables.MAX_SECONDS))
    entry = {'duration_second': seconds, 'rows': count, 'row_seconds': times.row_seconds}
    if not is_clip:  # a clip is one moment: its rows are all of it, whatever frames each was made of
        entry['first_row_second'] = times.first_row_second
    if file and file != video.name:
        entry['file'] = file
    segments = [(0.0, lasts, video.clip_label)] if video.clip_label else video.segments
    entry['annotations'] = [{'segment': [start, end], 'label': label} for start, end, label in segments]
    return Imported(video.name, video.subset, is_clip, video.seconds, bool(file), entry)


def _rows_to_last_end(video, timing):
    """Rows of a video without features and duration, to the end of its last segment; None where it has no segment."""
    ends = [end for _, end, _ in video.segments if end > 0]
    return timing.rows(video._replace(seconds=max(ends))) if ends else None
