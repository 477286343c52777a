"""Seconds of a training step, and of each update in it, against its counted FLOP at the machine's rate.

    python3 benchmarks/training_step.py [--config demo] [--batch_size 16] [--divide_widths 4]

The batch lies on the device, so that nothing but the step is measured; loading.py measures the loader beside it.
"""
import argparse

import common
import flop
import numpy as np
from common import new_session, tf

import aher_k600_train
import config as settings
from data_loader import Batch, Foreground, Moments, Untrimmed


def random_batch(config, seed=0):
    """(Batch of random features in variables, the feeds that set them)."""
    model, data, size, random = config.model, config.data, config.train.batch_size, np.random.RandomState(seed)
    feeds = {}

    def tensor(array):
        value, feed = common.on_device(array)
        feeds.update(feed)
        return value

    def features(rows):
        return tensor(np.abs(random.standard_normal((size, rows, model.feature_width))).astype(np.float32))

    def integers(low, high):
        return tensor(random.randint(low, high, size).astype(np.int32))

    segments = -np.ones((size, data.max_segments, 2), np.float32)
    rows = model.untrimmed_steps
    segments[:, 0], segments[:, 1] = (0.2 * rows, 0.43 * rows), (0.6 * rows, 0.67 * rows)
    return Batch(
        Untrimmed(features(rows), tensor(segments), integers(0, model.source_classes)),
        Foreground(features(rows), integers(0, model.source_classes)),
        Moments(features(model.moment_steps), integers(0, model.target_classes),
                integers(data.moment_ratios[0], data.moment_ratios[1] + 1),
                integers(data.moment_positions[0], data.moment_positions[1] + 1))), feeds


def measure(config, repeats=3):
    """(seconds of each step after the first, {update: seconds} of one traced step)."""
    with tf.Graph().as_default():
        batch, feeds = random_batch(config)
        step = aher_k600_train.training_step(batch, config)
        with new_session() as session:
            session.run([tf.global_variables_initializer(), tf.variables_initializer(tf.get_collection('inputs'))],
                        feeds)
            seconds = common.seconds_of(lambda: session.run(step.op), repeats)
            trace = tf.RunMetadata()
            session.run(step.op, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=trace)
    return seconds, _by_update(trace, step)


def _by_update(trace, step):
    """{update: seconds} from where the update before was done to where it was."""
    nodes = [node for device in trace.step_stats.dev_stats for node in device.node_stats]
    begin = last = min(node.all_start_micros for node in nodes)
    ends = {node.node_name: node.all_start_micros + node.all_end_rel_micros for node in nodes}
    seconds = {}
    for number, update in enumerate(step.updates, start=1):
        end = ends.get(update.op.name, last)
        seconds['%d: %s' % (number, update.name)] = (end - last) / 1e6
        last = end
    assert last > begin
    return seconds


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.config_flag(parser)
    parser.add_argument('--batch_size', type=int, default=16, help='(default %(default)s)')
    parser.add_argument('--divide_widths', type=int, default=1, help='of every layer (default %(default)s)')
    parser.add_argument('--rows', type=int, default=512, help='of an untrimmed video (default %(default)s)')
    parser.add_argument('--repeats', type=int, default=3, help='steps measured (default %(default)s)')
    arguments = parser.parse_args()
    config = common.preset(arguments.config, batch_size=arguments.batch_size, untrimmed_steps=arguments.rows,
                           moment_steps=arguments.rows // 2)
    config = config._replace(model=settings.divide_widths(config.model, arguments.divide_widths))
    before = common.arithmetic_rates()
    seconds, by_update = measure(config, arguments.repeats)
    after = common.arithmetic_rates()
    rates = {name: max(before[name], after[name]) for name in before}
    counted = sum(flop.step(config).values())
    limit = counted / max(rates.values())
    common.report('training_step', config=arguments.config, batch_size=arguments.batch_size,
                  divide_widths=arguments.divide_widths, rows=arguments.rows,
                  seconds=np.median(seconds), all_seconds=seconds,
                  seconds_by_update=by_update, counted_TFLOP=counted / 1e12,
                  machine_GFLOP_a_second={name: rate / 1e9 for name, rate in rates.items()},
                  limit_seconds=limit, times_the_limit=np.median(seconds) / limit,
                  times_the_limit_at_convolution_rate=np.median(seconds) * rates['convolution'] / counted,
                  peak_memory_GB=common.peak_memory() / 1e9)


if __name__ == '__main__':
    main()
