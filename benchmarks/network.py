"""Benchmarks of the network: a training step, a test video, the loader beside the step, snapshots."""
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

import aher_k600_test
import aher_k600_train
import aher_model as aher
import config as settings
from benchmarks import flop, measure, random_data
from data_loader import training_stream
from runtime import snapshots
from runtime.session import new_session, tf

SCRIPTS = os.path.dirname(os.path.abspath(aher_k600_train.__file__))


def step(config, batch_size, on_nan, divide_widths, rows, repeats):
    """Seconds of a training step and of each update in it, against its FLOP at the speed of this machine.

    The batch lies on the device, so that nothing but the step is measured; `loading` measures the loader too.
    """
    resolved = measure.preset(config, batch_size=batch_size, on_nan=on_nan, untrimmed_steps=rows,
                              moment_steps=rows // 2)
    resolved = resolved._replace(model=settings.divide_widths(resolved.model, divide_widths))
    before = measure.arithmetic_speeds()
    seconds, by_update = _step_seconds(resolved, repeats)
    after = measure.arithmetic_speeds()
    speeds = {name: max(before[name], after[name]) for name in before}
    counted, median = sum(flop.step(resolved).values()), np.median(seconds)
    limit = counted / 1e9 / max(speeds.values())
    measure.report('step', config=config, batch_size=batch_size, on_nan=on_nan, divide_widths=divide_widths,
                   rows=rows, seconds=median, all_seconds=seconds, seconds_by_update=by_update,
                   counted_TFLOP=counted / 1e12, machine_GFLOP_a_second=speeds, limit_seconds=limit,
                   times_the_limit=median / limit,
                   times_the_limit_at_convolution_speed=median * speeds['convolution'] * 1e9 / counted)


def _step_seconds(config, repeats):
    """([repeats] seconds of each step after the first, {update: seconds} of one traced step)."""
    with tf.Graph().as_default():
        batch, feeds = random_data.training_batch(config)
        built = aher_k600_train.training_step(batch, config)
        with new_session() as session:
            measure.initialize(session, feeds)
            seconds = measure.seconds_of(lambda: session.run(built.op), repeats)
            trace = _trace(session, built.op)
    nodes = [node for device in trace.step_stats.dev_stats for node in device.node_stats]
    last = min(node.all_start_micros for node in nodes)
    ends = {node.node_name: node.all_start_micros + node.all_end_rel_micros for node in nodes}
    by_update = {}
    for number, update in enumerate(built.updates, start=1):
        end = ends.get(update.op.name, last)
        by_update['%d: %s' % (number, update.name)] = (end - last) / 1e6
        last = end
    return seconds, by_update


def _trace(session, op):
    """RunMetadata of a run of `op`."""
    trace = tf.RunMetadata()
    session.run(op, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=trace)
    return trace


def test(config, test_batch_size, repeats):
    """Seconds of the network for a test video, in batches, and of the class weights' transfer, once a snapshot."""
    resolved = measure.preset(config, test_batch_size=test_batch_size)
    model = resolved.model
    speeds = measure.arithmetic_speeds()
    with tf.Graph().as_default():
        features, feed = measure.on_device(np.abs(np.random.RandomState(0).standard_normal(
            (test_batch_size, model.untrimmed_steps, model.feature_width))).astype(np.float32))
        layers, transfer = aher_k600_test.keep(aher.transfer(aher.classifier(model, aher.TARGET_CLASSIFIER), model))
        prediction = aher.localize(aher.pyramid(features, model), layers, model)
        detections = aher.detect(prediction, tf.fill([test_batch_size], 100.0), model, resolved.test)
        with new_session() as session:
            measure.initialize(session, feed)
            once, network, whole = [
                np.median(measure.seconds_of(lambda: session.run(fetches), repeats))
                for fetches in (transfer, [tensor.op for tensor in prediction], detections)]
    counted = flop.test(model)
    limit = counted / 1e9 / max(speeds.values())
    measure.report('test', config=config, test_batch_size=test_batch_size,
                   seconds_a_video=whole / test_batch_size, network_seconds_a_video=network / test_batch_size,
                   transfer_seconds=once, counted_GFLOP=counted / 1e9, machine_GFLOP_a_second=speeds,
                   limit_seconds=limit, times_the_limit=whole / test_batch_size / limit)


def memory(config, videos):
    """Peak memory and seconds of aher_k600_test.py on random videos, with an untrained snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        resolved = measure.preset(config, data_root=os.path.join(folder, 'data'))
        random_data.write_data(resolved, videos)
        flags = ['--config', config, '--data_root', resolved.data.data_root, '--model_dir',
                 os.path.join(folder, 'models'), '--target_classes', str(resolved.model.target_classes)]
        # in a process of its own, so that its memory does not count
        subprocess.run([sys.executable, os.path.join(SCRIPTS, 'aher_k600_train.py'), *flags, '--source_classes',
                        str(resolved.model.source_classes), '--max_steps', '0'],
                       check=True, stdout=subprocess.DEVNULL)
        seconds, = measure.seconds_of(
            lambda: aher_k600_test.main([*flags, '--results_dir', os.path.join(folder, 'results')]), 1, warm_up=0)
    measure.report('memory', config=config, videos=videos, seconds=seconds)


def loading(config, videos, repeats):
    """Share of a training step in which it waits for its batch; the features are in the page cache.

    The wait is the time that the step's iterator takes to hand out a batch, from the trace of each step. The report
    also has the seconds to load a batch without a step, and of a step without the loader.
    """
    steps, waits = [], []
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
        resolved = measure.preset(config, data_root=folder)
        random_data.write_data(resolved, videos)
        stream = training_stream(resolved)
        built = aher_k600_train.training_step(stream.batch, resolved)
        loaded = [tensor.op for part in stream.batch for tensor in part]
        with new_session() as session:
            session.run([tf.global_variables_initializer(), stream.initializer])
            alone = np.median(measure.seconds_of(lambda: session.run(loaded), 2 * repeats, warm_up=4))
            session.run(built.op)
            for _ in range(repeats):
                start = time.perf_counter()
                trace = _trace(session, built.op)
                steps.append(time.perf_counter() - start)
                waits.append(sum(
                    node.op_end_rel_micros - node.op_start_rel_micros for device in trace.step_stats.dev_stats
                    for node in device.node_stats if node.node_name.startswith('IteratorGetNext')) / 1e6)
    without, _ = _step_seconds(resolved, repeats)
    measure.report('loading', config=config, videos=videos, step_seconds=np.median(steps),
                   waiting_seconds=np.median(waits), waiting_share=np.median(waits) / np.median(steps),
                   batch_alone_seconds=alone, step_without_loader_seconds=np.median(without))


def snapshot(config, folder):
    """Seconds to write a snapshot with its checksums and sync it to the disk, and to verify and restore it.

    Training writes, verifies and restores both parts; testing verifies and restores the model.
    """
    seconds = {}

    def timed(name, call, *arguments):
        start = time.perf_counter()
        value = call(*arguments)
        seconds[name] = time.perf_counter() - start
        return value

    def accept(_):
        return []  # no setting differs

    with tempfile.TemporaryDirectory(dir=folder or None) as models, tf.Graph().as_default():
        resolved = measure.preset(config, batch_size=1)
        built = aher_k600_train.training_step(random_data.training_batch(resolved)[0], resolved)
        parts = snapshots.parts_of(aher.group_variables(*aher.GROUPS) + [built.counter])
        saved = models, 0, settings.to_dict(resolved), {}
        with new_session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            prefix = timed('save', snapshots.save, session, parts, *saved)
            timed('save again', snapshots.save, session, parts, *saved)
            start = timed('verify', snapshots.find_start, models, 'auto', accept)
            timed('restore', snapshots.resume, session, parts, start)
            timed('verify the model', snapshots.check_settings, prefix, accept)
            timed('restore the model', snapshots.restore, session, prefix, parts.model)
    numbers = {name: sum(int(np.prod(variable.shape.as_list())) for variable in part.variables)
               for name, part in parts._asdict().items()}
    measure.report('snapshot', config=config, numbers=numbers, gigabytes=4 * sum(numbers.values()) / 1e9,
                   seconds=seconds)
