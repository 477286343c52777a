"""A data root of random features for the benchmarks: as large as asked for, with few files behind it."""
import json
import os

import numpy as np

DISTINCT = 32  # features on disk of a kind; further videos are links to them
SECONDS, FRAMES = 120.0, 3600


def write_data(config, videos, others=None):
    """Write tables and features for `videos` target training videos, `others` (as many) source and validation."""
    data, model, others = config.data, config.model, others or videos
    random = np.random.RandomState(0)
    clips = FRAMES // data.clip_frames
    for name, side, count, rows in (('source_clips', 'source', others, clips),
                                    ('source_features', 'source', others, model.untrimmed_steps),
                                    ('target_clips', 'target', videos, clips),
                                    ('target_features', 'validation', others, model.untrimmed_steps)):
        _write_features(data.path(name), side, count, rows, model.feature_width, random)
    entry = {'duration_second': SECONDS, 'duration_frame': FRAMES, 'feature_frame': clips * data.clip_frames}
    for side, classes in (('source', model.source_classes), ('target', model.target_classes)):
        names = _names(side, others if side == 'source' else videos)
        rows = ['%s,training' % name for name in names]
        if side == 'target':
            rows += ['%s,validation' % name for name in _names('validation', others)]
            names = names + _names('validation', others)
        _write(data.path(side + '_info'), 'video,subset\n' + '\n'.join(rows) + '\n')
        _write(data.path(side + '_labels'),
               ''.join('%s 0 %d\n' % (name, number % classes) for number, name in enumerate(names)))
        segments = [{'segment': [10.0, 40.0]}, {'segment': [60.0, 100.0]}]
        _write(data.path(side + '_annotation'),
               json.dumps({name: dict(entry, annotations=segments) for name in names}))
    _write(data.path('target_categories'), ''.join('class %d\n' % label for label in range(model.target_classes)))


def _names(side, videos):
    return ['%s%d' % (side, number) for number in range(videos)]


def _write_features(folder, side, videos, rows, width, random):
    os.makedirs(folder)
    for number, name in enumerate(_names(side, videos)):
        path = os.path.join(folder, name + '.npy')
        if number < DISTINCT:
            np.save(path, np.maximum(random.standard_normal((rows, width)), 0).astype(np.float32))
        else:
            os.link(os.path.join(folder, '%s%d.npy' % (side, number % DISTINCT)), path)


def _write(path, text):
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'w') as file:
        file.write(text)
