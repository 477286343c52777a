"""Random inputs of any size for the benchmarks: a data root, a training batch, a ground truth and results."""
import os

import numpy as np

from benchmarks import measure
from data_loader import Batch, Foreground, Moments, Untrimmed
from runtime.files import write_json, write_text
from runtime.session import tf

DISTINCT = 32  # feature files of a kind; the files of further videos are links to them
SECONDS, FRAMES = 120.0, 3600  # of every video


# Data root

def write_data(config, videos, others=None):
    """Write tables and features of `videos` target training videos and `others` source and validation videos.

    Without `others` these are as many.
    """
    data, model, others = config.data, config.model, others or videos
    random, clips = np.random.RandomState(0), FRAMES // data.clip_frames
    source, target, validation = [['%s%d' % (kind, number) for number in range(count)] for kind, count in (
        ('source', others), ('target', videos), ('validation', others))]
    for field, names, rows in (('source_clips', source, clips), ('source_features', source, model.untrimmed_steps),
                               ('target_clips', target, clips),
                               ('target_features', validation, model.untrimmed_steps)):
        _write_features(data.path(field), names, rows, model.feature_width, random)
    entry = {'duration_second': SECONDS, 'duration_frame': FRAMES, 'feature_frame': clips * data.clip_frames,
             'annotations': [{'segment': [10.0, 40.0]}, {'segment': [60.0, 100.0]}]}
    for side, names, classes in (('source', source, model.source_classes),
                                 ('target', target + validation, model.target_classes)):
        rows = ['%s,%s' % (name, 'validation' if name.startswith('validation') else 'training') for name in names]
        write_text(data.path(side + '_info'), '\n'.join(['video,subset', *rows]) + '\n')
        write_text(data.path(side + '_labels'),
                   ''.join('%s 0 %d\n' % (name, number % classes) for number, name in enumerate(names)))
        write_json(data.path(side + '_annotation'), dict.fromkeys(names, entry), indent=None)
    write_text(data.path('target_categories'), ''.join('class %d\n' % label for label in range(model.target_classes)))


def _write_features(folder, names, rows, width, random):
    os.makedirs(folder)
    paths = [os.path.join(folder, name + '.npy') for name in names]
    for path in paths[:DISTINCT]:
        np.save(path, np.maximum(random.standard_normal((rows, width)), 0).astype(np.float32))
    for number, path in enumerate(paths[DISTINCT:]):
        os.link(paths[number % DISTINCT], path)


# Training batch

def training_batch(config):
    """A data_loader.Batch of tensors on the device (measure.on_device)."""
    model, data, size, rows = config.model, config.data, config.train.batch_size, config.model.untrimmed_steps

    def features(rows):
        return measure.on_device(tf.abs(tf.random.normal((size, rows, model.feature_width))))

    def integers(low, high):
        return measure.on_device(tf.random.uniform([size], low, high, tf.int32))

    segments = -np.ones((size, data.max_segments, 2), np.float32)
    segments[:, 0], segments[:, 1] = (0.2 * rows, 0.43 * rows), (0.6 * rows, 0.67 * rows)
    return Batch(
        Untrimmed(features(rows), measure.on_device(segments), integers(0, model.source_classes)),
        Foreground(features(rows), integers(0, model.source_classes)),
        Moments(features(model.moment_steps), integers(0, model.target_classes),
                integers(data.moment_ratios[0], data.moment_ratios[1] + 1),
                integers(data.moment_positions[0], data.moment_positions[1] + 1)))


# Results and ground truth

def random_ground_truth(random, videos=6461, segments=9638, classes=600):
    """Ground-truth JSON; by default with as many videos, segments and classes as the Kinetics-600 annotation."""
    owners = [*range(videos), *random.randint(0, videos, segments - videos)]
    labels = [*range(classes), *random.randint(0, classes, videos - classes)]
    database = {'video %d' % video: {'subset': 'validation', 'annotations': []} for video in range(videos)}
    for video in owners:
        start, length = random.uniform(0, 100), random.lognormal(3.5, 1)
        database['video %d' % video]['annotations'].append(
            {'segment': [start, start + length], 'label': 'class %d' % labels[video]})
    return {'database': database}


def results_for(truth, count, random):
    """Results JSON of `count` results, evenly spread over the videos of a ground-truth JSON.

    Half of them lie near a segment, half anywhere; nine of ten have its label.
    """
    database = {video: entry['annotations'] for video, entry in truth['database'].items() if entry['annotations']}
    classes = sorted({row['label'] for rows in database.values() for row in rows})
    results = {}
    for number, (video, rows) in enumerate(database.items()):
        size = count // len(database) + (number < count % len(database))
        chosen = random.randint(0, len(rows), size)
        segments = np.array([rows[row]['segment'] for row in chosen]).reshape(-1, 2)
        lengths = np.maximum(segments[:, 1:] - segments[:, :1], 1)
        spread = np.where(random.rand(size, 1) < 0.5, 0.1, 2) * lengths
        starts = segments[:, :1] + spread * random.standard_normal((size, 1))
        ends = starts + lengths * random.uniform(0.5, 1.5, (size, 1))
        labels = [rows[row]['label'] if right else classes[other] for row, right, other in
                  zip(chosen, random.rand(size) < 0.9, random.randint(0, len(classes), size))]
        scores, segments = random.rand(size).round(6), np.hstack([starts, ends]).round(6)
        results[video] = [{'score': score, 'segment': segment, 'label': label}
                          for score, segment, label in zip(scores.tolist(), segments.tolist(), labels)]
    return {'version': 'VERSION 1.3', 'results': results, 'external_data': {}}
