"""What the benchmarks share: settings, clocks, the speed of this machine, and the JSON line that each prints.

Speeds are the best of a few tries: what the machine can do, not what it does beside other work.
"""
import json
import os
import platform
import resource
import time

import numpy as np

import config as settings
from runtime.session import new_session, tf

CLASSES = 20  # of a preset that leaves them to be counted


def preset(name, **values):
    """The Config of a preset, with `values` in place of its own."""
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


def timed(seconds, name, function, *arguments):
    """The value of function(*arguments); the time that it takes becomes seconds[name]."""
    start = time.perf_counter()
    value = function(*arguments)
    seconds[name] = time.perf_counter() - start
    return value


def copy_speed(megabytes=256):
    """Bytes per second of a copy in memory; a byte that is read and written counts once."""
    source = np.ones(megabytes << 18, np.float32)
    target = np.empty_like(source)
    return source.nbytes / seconds_of(lambda: np.copyto(target, source)).min()


def arithmetic_speeds(rows=8192, width=2048, taps=3):
    """{'convolution', 'product'}: GFLOP per second of TensorFlow, at the size of the network's largest layer."""
    with tf.Graph().as_default():
        x, kernel, matrix = [on_device(tf.random.normal(shape)) for shape in (
            (rows // 512, 512, width), (taps, width, width), (rows, width))]
        calls = {'convolution': (tf.nn.conv1d(x, kernel, 1, 'SAME'), 2 * rows * taps * width ** 2),
                 'product': (tf.matmul(matrix, kernel[0]), 2 * rows * width ** 2)}
        with new_session() as session:
            initialize(session)
            return {name: flop / 1e9 / seconds_of(lambda: session.run(tensor.op), repeats=3).min()
                    for name, (tensor, flop) in calls.items()}


def on_device(value):
    """A tensor that has the value of the tensor `value` when `initialize` runs; it is not computed in each step."""
    return tf.Variable(value, trainable=False, use_resource=True,
                       collections=[tf.GraphKeys.LOCAL_VARIABLES]).read_value()


def initialize(session):
    """Initialize all variables, and the tensors of on_device."""
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])


def report(name, flags, figures):
    """Print one JSON line: the benchmark, its flags, its figures rounded to four digits, and what it ran on."""
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 / 1024)
    with open('/proc/cpuinfo') as lines:
        processor = next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), '')
    print(json.dumps(dict(
        {'benchmark': name}, **flags, **_rounded(figures), peak_memory_GB=_rounded(peak_memory),
        cores=len(os.sched_getaffinity(0)), tensorflow=tf.__version__, numpy=np.__version__,
        python=platform.python_version(), processor=processor)), flush=True)


def _rounded(value):
    text = json.dumps(value, default=lambda found: found.tolist())  # numpy's numbers and arrays
    return json.loads(text, parse_float=lambda number: float('%.4g' % float(number)))
