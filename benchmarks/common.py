"""What the benchmarks share: the machine's own rates, measured in the same run, and the JSON line each prints.

Rates are the best of a few tries: what the machine can do, not what it does beside other work.
"""
import json
import os
import platform
import resource
import sys
import time

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # run as a script, from any folder

import config as settings  # noqa: E402
from tensorflow_setup import session as new_session  # noqa: E402
from tensorflow_setup import tf  # noqa: E402

CLASSES = 20  # where nothing else is said
GROUND_TRUTH = dict(videos=6461, segments=9638, classes=600)  # of the Kinetics-600 annotation


def config_flag(parser):
    """Add --config, the preset that is measured."""
    parser.add_argument('--config', choices=sorted(settings.PRESETS), default='k600', help='(default %(default)s)')


def preset(name, **values):
    """The settings of a preset, with `values`; a number of classes that it leaves to be counted is CLASSES."""
    config = settings.override(settings.PRESETS[name], **values)
    return settings.override(config, source_classes=config.model.source_classes or CLASSES,
                             target_classes=config.model.target_classes or CLASSES)


def seconds_of(call, repeats=5, warm_up=1):
    """[repeats] seconds that each `call()` takes, after `warm_up` calls."""
    for _ in range(warm_up):
        call()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return np.array(found)


def copy_rate(megabytes=256):
    """Bytes a second of a copy in memory, read and written bytes counted once."""
    source = np.ones(megabytes << 18, np.float32)
    target = np.empty_like(source)
    return source.nbytes / seconds_of(lambda: np.copyto(target, source)).min()


def arithmetic_rates(rows=8192, width=2048, taps=3):
    """{'convolution', 'product'}: FLOP a second of TensorFlow, at the size of the network's largest layer."""
    with tf.Graph().as_default():
        x = _random([rows // 512, 512, width])
        kernel = _random([taps, width, width])
        matrix = _random([rows, width])
        calls = {'convolution': (tf.nn.conv1d(x, kernel, 1, 'SAME'), 2 * rows * taps * width ** 2),
                 'product': (tf.matmul(matrix, kernel[0]), 2 * rows * width ** 2)}
        with new_session() as session:
            session.run(tf.global_variables_initializer())
            return {name: flop / seconds_of(lambda: session.run(tensor.op), repeats=3).min()
                    for name, (tensor, flop) in calls.items()}


def _random(shape):
    return tf.Variable(tf.random.normal(shape), use_resource=True).read_value()


def on_device(array):
    """`array` as a tensor in a variable, and the feed that sets it: no copy when it is used."""
    fed = tf.placeholder(array.dtype, array.shape)
    variable = tf.Variable(fed, trainable=False, use_resource=True, collections=['inputs'])
    return variable.read_value(), {fed: array}


def peak_memory():
    """The process's largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(name, **figures):
    """Print one JSON line: the benchmark, its figures rounded to four digits, and what it ran on."""
    line = {'benchmark': name}
    line.update((key, _rounded(value)) for key, value in figures.items())
    line.update(cores=len(os.sched_getaffinity(0)), tensorflow=tf.__version__, numpy=np.__version__,
                python=platform.python_version(), processor=_processor())
    print(json.dumps(line), flush=True)


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_rounded(entry) for entry in value]
    return float('%.4g' % value) if isinstance(value, (float, np.floating)) else value


def _processor():
    with open('/proc/cpuinfo') as lines:
        return next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), '')
