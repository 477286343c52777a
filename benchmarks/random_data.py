"""A data root of random features for the benchmarks: as large as asked for, with few files behind it."""
import json
import os

import numpy as np

DISTINCT = 32  # features on disk of a kind; further videos are links to them
SECONDS, FRAMES = 120.0, 3600


def write_data(config, videos):
    """Write tables and features for `videos` source, target training and target validation videos each."""
    data, model = config.data, config.model
    random = np.random.RandomState(0)
    clips = FRAMES // data.clip_frames
    for name, rows in (('source_clips', clips), ('source_features', model.untrimmed_steps),
                       ('target_clips', clips), ('target_features', model.untrimmed_steps)):
        _write_features(data.path(name), name.split('_')[0], videos, rows, model.feature_width, random)
    entry = {'duration_second': SECONDS, 'duration_frame': FRAMES, 'feature_frame': clips * data.clip_frames}
    for side, classes in (('source', model.source_classes), ('target', model.target_classes)):
        names = _names(side, videos)
        rows = ['%s,training' % name for name in names]
        if side == 'target':
            rows += ['%s,validation' % name for name in _names('validation', videos)]
            names = names + _names('validation', videos)
        _write(data.path(side + '_info'), 'video,subset\n' + '\n'.join(rows) + '\n')
        _write(data.path(side + '_labels'),
               ''.join('%s 0 %d\n' % (name, number % classes) for number, name in enumerate(names)))
        segments = [{'segment': [10.0, 40.0]}, {'segment': [60.0, 100.0]}]
        _write(data.path(side + '_annotation'),
               json.dumps({name: dict(entry, annotations=segments) for name in names}))
    _write(data.path('target_categories'), ''.join('class %d\n' % label for label in range(model.target_classes)))
    for number, name in enumerate(_names('validation', videos)):
        os.link(os.path.join(data.path('target_features'), 'target%d.npy' % (number % min(videos, DISTINCT))),
              os.path.join(data.path('target_features'), name + '.npy'))


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
