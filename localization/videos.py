"""Features that a user names → videos to be searched: where the features are, how long each video is, what is known.

Dimensions (docs/method.md, Legend): n rows of a video's features, C columns.
"""
import collections
import os
from typing import NamedTuple

import numpy as np

from dataset.feature_files import FORMS
from dataset.features import FeatureStore, names_in
from dataset.row_times import check_coverage, covered_seconds, row_times, text_of
from dataset.tables import RowTimes, Video
from preparation.annotation_forms import read_forms
from preparation.annotation_rows import Annotated
from preparation.feature_match import match
from runtime.errors import InputError, counted


class Timing(NamedTuple):
    """What the user says of time; what is not said is None."""

    stride: float = None   # frames from one row to the next
    window: float = None   # frames that a row is made of; None: as many as the stride
    fps: float = None      # frames per second
    seconds: float = None  # duration of every video


class Item(NamedTuple):
    """A video to be searched."""

    store: object  # has read(name, rows, cut), such as a FeatureStore
    video: Video


class ArrayStore:
    """One array of features [n, C], read as a FeatureStore is."""

    def __init__(self, features, width):
        """Raises InputError where `features` is no table of `width` finite numbers a row."""
        features = np.asarray(features)
        if features.ndim != 2 or features.shape[1] != width or not len(features):
            raise InputError('found features of shape %s, expected [rows, %d]%s' % (
                list(features.shape), width, '; give their transpose' if features.shape[:1] == (width,) else ''))
        self._features = features.astype(np.float32)
        if not np.isfinite(self._features).all():
            raise InputError('found features that are not finite numbers; extract them again')

    def read(self, name, rows=None, cut=None):
        """The rows, or those from cut[0] on, before cut[1]."""
        return self._features[slice(*cut)] if cut else self._features


def array_video(features, width, timing, rows_known, name='video'):
    """An Item of an array [n, C]; raises InputError where the duration is not known, or does not fit."""
    store = ArrayStore(features, width)
    video = _video(name, len(store.read(name)), None, timing, rows_known)
    check_coverage([video], 'the features', stated=text_of(timing.stride, timing.fps))
    return Item(store, video)


def open_videos(paths, width, timing, rows_known, annotation=(), layout=None, key='', first=None):
    """(list of Item, texts about what was found, warnings) of features in folders, HDF5 files and single files.

    Args:
      paths: of folders and HDF5 files of features, and of single npy, npz and CSV files.
      width: C of the snapshot.
      timing: a Timing.
      rows_known: what the snapshot says of when rows are: {stride, window, fps}; used where the user says nothing.
      annotation: files that say how long videos are, in any form that import takes.
      layout, key: as in FeatureStore; layout None: what the width says.
      first: number of videos that are taken; None: all.
    Raises InputError where features cannot be read, or nothing says how long a video is.
    """
    places, chosen = [], []
    for path in paths:
        store, names = _open(path, width, layout, key)
        places.append((path, store, names if first is None else names[:first - len(chosen)]))
        chosen += places[-1][2]
    known = annotated_of(annotation, chosen)
    items, texts, warnings = [], [], []
    for path, store, names in places:
        found = [Item(store, _video(name, store.shape(name)[0], known.get(name), timing, rows_known, path))
                 for name in names]
        texts.append('%s: %s' % (path, counted(len(found), 'video')))
        warnings += check_coverage([item.video for item in found], path, stated=text_of(timing.stride, timing.fps))
        items += found
    _check_names(items)
    if annotation and len(known) < len(chosen):
        warnings.append('%s: %s not in the annotation; the rows alone say how long they are' % (
            ' and '.join(annotation), counted(len(chosen) - len(known), 'video')))
    return items, texts, warnings


def _open(path, width, layout, key):
    """(FeatureStore, names of its videos) of a folder, an HDF5 file, or a single file."""
    stem, form = os.path.splitext(os.path.basename(path))
    if form in FORMS and not os.path.isdir(path):
        if not os.path.exists(path):
            raise InputError('%s: found no such file; expected features of a video' % path)
        folder, forms, names = os.path.dirname(path) or '.', (form,), [stem]
    else:
        folder, forms, names = path, None, names_in(path, key)
    if not names:
        raise InputError('%s: found no features (%s, or HDF5)' % (path, ', '.join(FORMS)))
    store = FeatureStore(folder, width, forms=forms, layout='tc', key=key)
    if layout is None:
        rows, columns = store.shape(names[0])
        layout = 'ct' if rows == width != columns else 'tc'
    return FeatureStore(folder, width, forms=forms, layout=layout, key=key), names


def annotated_of(annotation, names):
    """{name of features: its Annotated} of those that the files of an annotation have."""
    if not annotation or not names:
        return {}
    annotated = read_forms(list(annotation)).videos
    of_id = {video.name: video for video in annotated}
    return {name: of_id[video] for video, name in match(annotated, names, ' and '.join(annotation)).names.items()}


def _video(features, rows, about, timing, rows_known, place='the features'):
    """The Video of `features` of so many rows; `about`: what an annotation says of it, None if nothing."""
    about = about or Annotated(features.rpartition('/')[2])
    name = about.name
    seconds = timing.seconds or about.seconds
    if timing.stride is None and seconds is None:
        timing = timing._replace(**{field: value for field, value in rows_known.items()
                                    if field in timing._fields and getattr(timing, field) is None})
    if timing.stride is not None:
        fps = timing.fps or about.fps or rows_known.get('fps')
        if not fps:
            raise InputError('%s: a stride of %g frames is known, but not the frame rate; give --fps'
                             % (place, timing.stride))
        times = row_times(timing.stride, timing.window or timing.stride, fps)
    elif seconds is not None:
        times = RowTimes(seconds / rows, seconds / rows / 2)  # rows are spread evenly over the video
    else:
        raise InputError('%s: nothing says how long video %s is; give --stride and --fps, --seconds, or --annotation'
                         % (place, name))
    video = Video(name, -1, float(seconds or 0), 0, rows, np.zeros((0, 2)), False, times=times, file=features)
    return video if seconds else video._replace(seconds=covered_seconds(video))


def _check_names(items):
    repeated = [name for name, count in collections.Counter(item.video.name for item in items).items() if count > 1]
    if repeated:
        raise InputError('found features of video %s more than once; give each video once' % repeated[0])
