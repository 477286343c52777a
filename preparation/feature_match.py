"""Which features belong to which video: names of files, or of HDF5 datasets, are matched to the ids of an annotation.

A name may lack or have `v_`, the ending of a file, the time range of a Kinetics clip (_000012_000022), and the
folder of a class before it.
"""
import collections
import re
from typing import NamedTuple

from dataset.tables import spelling_free
from preparation.annotation_rows import FILE_ENDINGS
from runtime.errors import InputError, counted

TIME_RANGE = re.compile(r'_([0-9]+(?:\.[0-9]+)?)_([0-9]+(?:\.[0-9]+)?)$')
SAME, PREFIX, RANGE = 'by the same name', 'but for v_ or an ending', 'but for a time range'  # how names match


class Matches(NamedTuple):
    """What was found of some videos."""

    names: dict    # id of a video → name of its features
    how: dict      # SAME, PREFIX or RANGE → number of videos
    missing: list  # ids without features
    unused: list   # names of features that belong to no video


class _Key(NamedTuple):
    """What is left of a name without the parts that may differ."""

    video: str           # without v_, folder and time range
    seconds: tuple = ()  # the time range; () where there is none


def match(videos, names, place):
    """The Matches of a list of Annotated and the names of features at `place`, which is for messages.

    A name that is an id belongs to this video; any other name, to the one id that it is equal to but for the parts
    above. Raises InputError where two names fit a video, or none fits any.
    """
    there, own = set(names), {video.name for video in videos}
    found, how = {video.name: video.name for video in videos if video.name in there}, collections.Counter()
    how[SAME] = len(found)
    by_key, by_video, by_second = [collections.defaultdict(list) for _ in range(3)]
    for name in names:
        if name not in own:
            key = _key_of(name)
            by_key[key].append(name)
            by_video[key.video].append((name, key))
            by_second[_whole(key)].append(name)
    keys = [_key_of(video.name) for video in videos]
    in_second = collections.Counter(map(_whole, keys))
    clips_of = collections.Counter(key.video for key in keys)
    for video, key in zip(videos, keys):
        fitting, own_name = by_key.get(key, []), found.get(video.name)
        if not fitting and not own_name and in_second[_whole(key)] == 1:
            fitting = by_second.get(_whole(key), [])
        if not fitting and not own_name and clips_of[key.video] == 1:
            fitting = [name for name, other in by_video.get(key.video, []) if not key.seconds or not other.seconds]
        fitting = _of_class(video, [own_name] * bool(own_name) + fitting)
        if len(fitting) > 1:
            raise InputError('%s: found two features of video %s, %s and %s, expected one; move one of them away'
                             % (place, video.name, fitting[0], fitting[1]))
        if fitting and not own_name:
            found[video.name] = fitting[0]
            how[_kind(video.name, fitting[0])] += 1
    if videos and not found:
        raise _no_match_error(videos, names, place)
    used = set(found.values())
    return Matches(found, how, [video.name for video in videos if video.name not in found],
                   [name for name in names if name not in used])


def _kind(video, name):
    """How the name of features fits an id."""
    one, other = [plain_name(text) for text in (video, name)]
    return SAME if name.rpartition('/')[2] == video else PREFIX if one == other else RANGE


def plain_name(name):
    """A name without folder, v_ and the ending of a file."""
    base = FILE_ENDINGS.sub('', name.rpartition('/')[2])
    return base[2:] if base.startswith('v_') and len(base) > 2 else base


def _key_of(name):
    """_Key of a name of features, or of an id."""
    base = plain_name(name)
    parts = TIME_RANGE.search(base) if base[-1:].isdigit() else None
    start, end = map(float, parts.groups()) if parts else (0, 0)
    if not (start < end and parts.start()):
        return _Key(base)
    return _Key(base[:parts.start()], (start, end))


def _whole(key):
    """A _Key with its time range in whole seconds, as the names of files often have it."""
    return key._replace(seconds=tuple(map(int, key.seconds)))


def _of_class(video, names):
    """Of several names that fit a video, those in the folder of its class, if there are any."""
    labels = {spelling_free(label) for label in [video.clip_label] + [label for _, _, label in video.segments]
              if label}
    of_class = [name for name in names if spelling_free(name.rpartition('/')[0]) in labels]
    return of_class if len(names) > 1 and of_class else names


def _no_match_error(videos, names, place):
    if not names:
        return InputError('%s: found no features, expected VIDEO.npy, .npz or .csv, or an HDF5 file with a dataset '
                          'or group for each video; name another place' % place)
    ids, groups = {plain_name(video.name) for video in videos}, [name for name in names if '/' in name]
    in_group = [name for name in groups if plain_name(name.partition('/')[0]) in ids]
    if in_group:
        group, _, member = in_group[0].partition('/')
        return InputError('%s: found %s in %s, which is a video of the annotation; name the array to read of each '
                          'video, such as --key %s' % (place, member, group, member))
    return InputError('%s: found no features of any video of the annotation (%s); a video there is %s, features here '
                      'are %s; give the features the ids of the videos as names'
                      % (place, counted(len(videos), 'video'), videos[0].name, names[0]))
