"""Tiny data sets, demo worlds and feature files for the tests; how scripts are run and errors caught."""
import collections
import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

import config as settings
from dataset.bad_data import BadData
from dataset.samples import training_report
from dataset.side import known_class_names, read_side
from runtime.errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.environ.get('AHER_GOLDEN') or os.path.join(ROOT, 'tests', 'golden')  # recorded numbers
WIDTH = 4
FEATURES = {'source': {'source_features': 512, 'source_clips': None},
            'target': {'target_features': 512, 'target_clips': None}}  # rows; None: a row per clip
TABLES = ('source_info', 'source_annotation', 'source_labels',
          'target_info', 'target_annotation', 'target_labels', 'target_categories')


# A data set in the authors' formats

def video(*segments, subset='training', label=0, seconds=32.0, frames=512, feature_frame=512, labels=None, **more):
    """Entry of a data set: by default 64 clips of half a second each.

    `labels` are those of the segments, by default 'waving'; `more` goes to the annotation as it is.
    """
    return {'subset': subset, 'label': label, 'duration_second': seconds, 'duration_frame': frames,
            'feature_frame': feature_frame, 'segments': segments, 'labels': labels or ['waving'] * len(segments),
            'more': more}


def report_of(config, side, subset='training', missing=()):
    """The Report of one side and subset, read from the tables that `config` names."""
    unusable = collections.Counter()
    videos = read_side(config, side, subset, BadData('', False), unusable)
    return training_report(config, side, subset, videos, unusable, known_class_names(config.data, side), missing)


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def make(root, source=None, target=None, **values):
    """Write a data set of {name: video(…)} a side → its Config, with `values` overridden.

    Videos are numbered from 1. Of each row of clip features, column 0 is its number from 1, column 1 that of
    the video; every other number is the video's.
    """
    model = settings.ModelConfig(feature_width=WIDTH, source_classes=3, target_classes=2)
    config = settings.override(settings.Config(model=model), **dict(
        {'data_root': str(root), 'workers': 4, 'batch_size': 2, 'test_batch_size': 2}, **values))
    data = config.data
    for side, videos in (('source', source or {'s': video((8, 24))}),
                         ('target', target or {'t': video((8, 24))})):
        write(data.path(side + '_info'), 'video,numFrame,seconds,fps,subset,featureFrame\n' + ''.join(
            '%s,%d,%s,30,%s,%d\n' % (name, entry['duration_frame'], entry['duration_second'], entry['subset'],
                                     entry['feature_frame']) for name, entry in videos.items()))
        write(data.path(side + '_labels'), ''.join(
            '%s %d %d extra 0.5\n' % (name, entry['duration_frame'], entry['label'])
            for name, entry in videos.items()))
        write(data.path(side + '_annotation'), json.dumps({name: {
            **{key: entry[key] for key in ('duration_second', 'duration_frame', 'feature_frame')},
            'annotations': [{'segment': list(segment), 'label': label}
                            for segment, label in zip(entry['segments'], entry['labels'])], **entry['more']}
            for name, entry in videos.items()}))
        for field, rows in FEATURES[side].items():
            os.makedirs(data.path(field), exist_ok=True)
            for number, (name, entry) in enumerate(videos.items(), start=1):
                clips = entry['more'].get('rows', entry['feature_frame'] // 8)
                numbers = np.full((rows or clips, WIDTH), number, np.float32)
                if rows is None:
                    numbers[:, 0] = 1 + np.arange(len(numbers))
                path = os.path.join(data.path(field), entry['more'].get('file', name) + '.npy')
                os.makedirs(os.path.dirname(path), exist_ok=True)
                np.save(path, numbers)
    write(data.path('target_categories'), 'waving\nnodding\n')
    return config


# The demo's world, and scripts on it

ROWS = [('a', 4.0, 20.0, 0), ('b', 10.0, 50.0, 1), ('b', 70.0, 80.0, 1), ('c', 5.0, 9.5, 2),
        ('d', 30.0, 60.0, 0), ('e', 1.0, 12.0, 2)]


def python(*arguments, **options):
    """Run a script in a process of its own; returns what subprocess does."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=600, **options)


def own_lines(errors):
    """The lines of a script's standard error that are not of TensorFlow 2, which cannot be hidden while it loads."""
    return [line for line in errors.splitlines() if not re.match(r'WARNING: All log messages|[IWE]\d{4} ', line)]


def make_world(folder):
    """Write tiny demo data to folder / 'data'."""
    annotation = folder / 'annotation.txt'
    annotation.write_text(''.join('%s\t%.2f\t%.2f\t%d\n' % row for row in ROWS))
    made = python('prepare_data.py', 'demo', '--out', str(folder / 'data'), '--annotation', str(annotation),
                  '--source_videos', '40', '--moments_per_class', '4')
    assert made.returncode == 0, made.stderr


def make_annotated_world(folder):
    """Write tiny demo data to folder / 'data', and the ground truth made of its annotation."""
    make_world(folder)
    truth = python('prepare_data.py', 'annotation', '--data_root', str(folder / 'data'))
    assert truth.returncode == 0, truth.stderr


def page_data(path):
    """What the scripts of the report page at `path` draw."""
    with open(str(path), encoding='utf-8') as page:
        return json.loads(page.read().split('<script type="application/json" id="page-data">')[1].split('<')[0])


# Feature files

NUMBERS = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH) - 4.5


def write_features(path, numbers):
    """Features in the format that the path's end names; an HDF5 path holds a dataset v."""
    if path.endswith('.npy'):
        np.save(path, numbers)
    elif path.endswith('.npz'):
        np.savez_compressed(path, numbers)
    elif path.endswith('.csv'):
        np.savetxt(path, numbers, '%.6g', ',', header=','.join('f%d' % column for column in range(WIDTH)),
                   comments='')
    else:
        with h5py.File(path, 'w') as file:
            file['v'] = numbers


def message_of(call, *arguments):
    """The one line of the InputError that a call raises."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message and '\n' not in message
    return message
