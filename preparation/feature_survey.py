"""Rows, columns and layout of features, from the headers of all files.

Dimensions (docs/method.md, Legend): T rows of a video, C columns, the same in all videos.
"""
import collections
from typing import NamedTuple

import numpy as np

from dataset.features import FeatureStore
from runtime.errors import InputError, counted
from runtime.progress import Progress

MAX_SHOWN = 5
SURE = 0.9    # where more videos have the same length of both axes, a few broken files could decide
ROWS_OFF, SHARE_OFF = 2, 0.1  # by which the rows of a video may differ from what its duration says


class Shapes(NamedTuple):
    """The features of a folder or HDF5 file, as stored."""

    path: str
    key: str
    axes: dict  # name → (length of the first axis, of the second), axes of length 1 left out


class Layout(NamedTuple):
    """How features are stored."""

    layout: str  # tc or ct
    width: int   # C
    why: str     # for people
    is_assumed: bool = False  # whether neither the shapes nor the durations say it


def read_shapes(path, names, key):
    """The Shapes of features; raises InputError where one cannot be read, with the number of others."""
    with FeatureStore(path, 0, key=key) as store, \
            Progress(len(names), 'video', title='features', leave=False) as progress:
        axes = store.shapes(names, progress.update)
    errors = [found for found in axes.values() if isinstance(found, InputError)]
    if errors:
        raise InputError('%s (%d of %d features cannot be read); videos whose features are moved away are imported '
                         'without any' % (errors[0], len(errors), len(axes)))
    return Shapes(path, key, axes)


def find_layout(stores, given, expected_rows, known_width):
    """The Layout that the features of one side have in common.

    Args:
      stores: list of Shapes.
      given: 'tc' or 'ct' where the user says it, else None.
      expected_rows: {name: T that the duration of the video says}, of some names.
      known_width: C of the other side's features; 0: unknown.
    Features of one shape, of which neither a duration nor the width is known, are taken to be stored row by row. (If
    they are not, the other side's width will differ.) Raises InputError where the shapes allow both layouts.
    """
    axes = [pair for shapes in stores for pair in shapes.axes.values()]
    first, second = [collections.Counter(lengths) for lengths in zip(*axes)]
    widths = {'ct': first.most_common(1)[0], 'tc': second.most_common(1)[0]}
    if given:
        return Layout(given, widths[given][0], 'as --layout says')
    shares = {layout: count / len(axes) for layout, (_, count) in widths.items()}
    if min(shares.values()) < SURE and shares['tc'] != shares['ct']:
        layout = max(shares, key=shares.get)
        return Layout(layout, widths[layout][0], 'the other axis varies')
    for fits, why in ((_fit_durations(stores, expected_rows), 'the durations fit'),
                      (_fit_width(widths, known_width), 'the width of the other side fits')):
        if len(fits) == 1:
            return Layout(fits[0], widths[fits[0]][0], why)
    if not expected_rows and not known_width and widths['tc'][0] != widths['ct'][0]:
        return Layout('tc', widths['tc'][0], 'assumed', True)
    raise InputError('%s: found features of %s, most of shape %s, where neither durations nor widths say which axis '
                     'is time; give --layout tc (time first) or --layout ct (time last), or correct the stride' % (
                         stores[0].path, counted(len(axes), 'video'), [widths[layout][0] for layout in ('ct', 'tc')]))


def _fit_durations(stores, expected_rows):
    """The layouts whose numbers of rows fit those that the durations say, in most of the videos."""
    pairs = [(pair, expected_rows[name]) for shapes in stores for name, pair in shapes.axes.items()
             if name in expected_rows]
    return [layout for axis, layout in enumerate(('tc', 'ct')) if pairs and np.median(
        [abs(pair[axis] - rows) - max(ROWS_OFF, SHARE_OFF * rows) for pair, rows in pairs]) <= 0]


def _fit_width(widths, known_width):
    return [layout for layout, (width, _) in widths.items() if width == known_width]


def rows_of(shapes, found):
    """{name: T} of Shapes in the Layout `found`. Raises InputError where some have another width, and names them."""
    rows, others = {}, []
    for name, pair in shapes.axes.items():
        row_axis = 0 if found.layout == 'tc' else 1
        rows[name], width = pair[row_axis], pair[1 - row_axis]
        if width != found.width:
            others.append(name)
    if others and found.layout == 'ct':  # an array with one long axis has one row in both layouts
        with FeatureStore(shapes.path, 0, layout='ct', key=shapes.key) as store:
            again = {name: store.shape(name) for name in others}
        rows.update({name: pair[0] for name, pair in again.items()})
        others = [name for name, pair in again.items() if pair[1] != found.width]
    if others:
        raise InputError('%s: found %d of %d features with another width than %d (layout %s): %s; extract these '
                         'again, or give --layout' % (shapes.path, len(others), len(shapes.axes), found.width,
                                                      found.layout, _listed(others, shapes.axes)))
    return rows


def _listed(names, axes):
    shown = ', '.join('%s %s' % (name, list(axes[name])) for name in names[:MAX_SHOWN])
    return shown + (', …' if len(names) > MAX_SHOWN else '')
