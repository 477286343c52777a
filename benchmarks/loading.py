"""Share of a training step spent waiting for its batch, features in the page cache.

    python3 benchmarks/loading.py [--config demo] [--steps 5]

The wait is the time that the step's iterator takes to hand out a batch, from the trace of each step. Beside it:
the seconds that loading a batch takes on its own, and the step with and without the loader at work.
"""
import argparse
import tempfile

import common
import numpy as np
import training_step
from common import new_session, tf
from random_data import write_data

import aher_k600_train
from data_loader import training_stream


def measure(config, steps):
    """({'step', 'waiting'}: [steps] seconds, seconds of a batch alone)."""
    with tf.Graph().as_default():
        stream = training_stream(config)
        step = aher_k600_train.training_step(stream.batch, config)
        fetched = [tensor.op for part in stream.batch for tensor in part]
        found = {'step': [], 'waiting': []}
        with new_session() as session:
            session.run([tf.global_variables_initializer(), stream.initializer])
            alone = np.median(common.seconds_of(lambda: session.run(fetched), 2 * steps, warm_up=4))
            session.run(step.op)
            for _ in range(steps):
                trace = tf.RunMetadata()
                options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
                found['step'].append(common.seconds_of(
                    lambda: session.run(step.op, options=options, run_metadata=trace), 1, warm_up=0)[0])
                found['waiting'].append(_waited(trace))
    return found, alone


def _waited(trace):
    return sum(node.op_end_rel_micros - node.op_start_rel_micros for device in trace.step_stats.dev_stats
               for node in device.node_stats if node.node_name.startswith('IteratorGetNext')) / 1e6


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.config_flag(parser)
    parser.add_argument('--steps', type=int, default=5, help='(default %(default)s)')
    parser.add_argument('--videos', type=int, default=64, help='of each data set (default %(default)s)')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = common.preset(arguments.config, data_root=folder)
        write_data(config, arguments.videos)
        found, alone = measure(config, arguments.steps)
    without, _ = training_step.measure(config, arguments.steps)
    step, waiting = np.median(found['step']), np.median(found['waiting'])
    common.report('loading', config=arguments.config, step_seconds=step, waiting_seconds=waiting,
                  waiting_share=waiting / step, batch_alone_seconds=alone,
                  step_without_loader_seconds=np.median(without), workers=config.data.workers or 'one a core')


if __name__ == '__main__':
    main()
