"""Seconds of writing a snapshot (to the disk, with its checksums), verifying and restoring it, and of --on_nan skip.

    python3 benchmarks/snapshot.py [--config demo] [--folder .]

--folder is where the disk to be measured is. Training writes and verifies both parts, testing verifies the model.
All takes place on an otherwise idle graph: a run waits as long. --on_nan skip keeps and looks at the variables each
step, and takes back the steps that it leaves out.
"""
import argparse
import tempfile
import time

import common
import numpy as np
from common import new_session, tf
from training_step import random_batch

import aher_k600_train
import aher_model as aher
import snapshots


def measure(config):
    """({part: numbers}, {what: seconds}) of a snapshot of the training graph of `config`."""
    seconds = {}

    def timed(name, call):
        start = time.perf_counter()
        found = call()
        seconds[name] = time.perf_counter() - start
        return found

    with tf.Graph().as_default():
        step = aher_k600_train.training_step(random_batch(config)[0], config)
        parts = snapshots.parts_of(aher.group_variables(*aher.GROUPS) + [step.counter])
        guard = aher_k600_train.Guard(step, parts, undoing=True)
        change = tf.group(*[variable.assign_add(tf.zeros_like(variable)) for variable in parts.model.variables
                            + parts.state.variables])
        with new_session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            prefix = timed('save', lambda: snapshots.save(session, parts, config, 0, {}))
            timed('save again', lambda: snapshots.save(session, parts, config, 0, {}))
            start = timed('verify', lambda: snapshots.start_of(config))
            timed('restore', lambda: snapshots.resume(session, parts, start))
            timed('verify the model', lambda: snapshots.check_settings(prefix, config))
            timed('restore the model', lambda: snapshots.restore(session, prefix, parts.model))
            for _ in range(2):  # the second time counts
                timed('change', lambda: session.run(change))
                timed('keep', lambda: guard.keep(session))
                timed('change what is kept', lambda: session.run(change))  # it shares memory until then
                timed('look', lambda: guard.fault_of_variables(session))
                timed('undo', lambda: guard.undo(session))
    return {name: sum(int(np.prod(variable.shape.as_list())) for variable in part.variables)
            for name, part in parts._asdict().items()}, seconds


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.config_flag(parser)
    parser.add_argument('--folder', help='to make a temporary folder in (default: the system\'s)')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        numbers, seconds = measure(common.preset(arguments.config, batch_size=1, model_dir=folder))
    common.report('snapshot', config=arguments.config, numbers=numbers, seconds=seconds,
                  gigabytes=4 * sum(numbers.values()) / 1e9, peak_memory_GB=common.peak_memory() / 1e9)


if __name__ == '__main__':
    main()
