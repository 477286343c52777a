"""What the code costs, compared with the limits of this machine, which are measured in the same run.

    python3 benchmarks/benchmark.py step               # the published size: some minutes
    python3 benchmarks/benchmark.py step --config demo
    python3 benchmarks/benchmark.py step --help        # the sizes that can be changed

Each subcommand prints one JSON line; full_run prints Markdown. benchmarks/README.md has results.
"""
import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np
import pandas as pd

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import aher_k600_test
import aher_k600_train
import aher_model as aher
import config as settings
from benchmarks import flop, measure, random_data
from data_loader import training_stream
from dataset.features import FeatureStore, interpolate
from evaluation import report
from evaluation.error_analysis import analyze_errors
from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals
from evaluation.results import read_ground_truth, read_results
from runtime import snapshots
from runtime.errors import run_and_exit
from runtime.files import write_json
from runtime.session import new_session, tf

INTERPOLATED = ((37, 256), (200, 512))  # clips of a moment and of a segment, and the rows that they become
OTHERS = 10000  # source videos, and validation videos, of the checks


# The network. Each of these functions is a subcommand: its arguments are the flags, and its dict is printed.

def step(config='k600', batch_size=16, on_nan='stop', divide_widths=1, untrimmed_steps=512, repeats=3):
    """Seconds of a training step and of each update in it, against its FLOP at the speed of this machine.

    The batch lies on the device, so that nothing but the step is measured; `loading` measures the loader too.
    """
    resolved = measure.preset(config, batch_size=batch_size, on_nan=on_nan, untrimmed_steps=untrimmed_steps,
                              moment_steps=untrimmed_steps // 2)
    resolved = resolved._replace(model=settings.divide_widths(resolved.model, divide_widths))
    before = measure.arithmetic_speeds()
    seconds, by_update = _step_seconds(resolved, repeats)
    after = measure.arithmetic_speeds()
    return dict(_against_limit(np.median(seconds), sum(flop.step(resolved).values()),
                               {name: max(before[name], after[name]) for name in before}),
                all_seconds=seconds, seconds_by_update=by_update)


def _against_limit(seconds, counted, speeds):
    """Figures of work that took `seconds`: its `counted` FLOP, the machine's `speeds`, and the time at the faster."""
    limit = counted / 1e9 / max(speeds.values())
    return dict(seconds=seconds, counted_TFLOP=counted / 1e12, machine_GFLOP_per_second=speeds,
                limit_seconds=limit, times_the_limit=seconds / limit)


def _step_seconds(config, repeats):
    """([repeats] seconds of each step after the first, {update: seconds} of one traced step)."""
    with tf.Graph().as_default():
        built = aher_k600_train.training_step(random_data.training_batch(config), config)
        with new_session() as session:
            measure.initialize(session)
            seconds = measure.seconds_of(lambda: session.run(built.op), repeats)
            nodes = _traced_nodes(session, built.op)
    last = min(node.all_start_micros for node in nodes)
    ends = {node.node_name: node.all_start_micros + node.all_end_rel_micros for node in nodes}
    by_update = {}
    for number, update in enumerate(built.updates, start=1):
        end = ends.get(update.op.name, last)
        by_update['%d: %s' % (number, update.name)] = (end - last) / 1e6
        last = end
    return seconds, by_update


def _traced_nodes(session, op):
    """Run `op` and return the times of everything that was computed, as TensorFlow's NodeExecStats."""
    trace = tf.RunMetadata()
    session.run(op, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=trace)
    return [node for device in trace.step_stats.dev_stats for node in device.node_stats]


def test(config='k600', test_batch_size=16, repeats=5):
    """Seconds of the network for a test video, in batches, and of the class weights' transfer, once per snapshot."""
    resolved = measure.preset(config, test_batch_size=test_batch_size)
    model = resolved.model
    speeds = measure.arithmetic_speeds()
    with tf.Graph().as_default():
        features = measure.on_device(tf.abs(tf.random.normal(
            (test_batch_size, model.untrimmed_steps, model.feature_width))))
        detector = aher.detector(features, tf.fill([test_batch_size], 100.0), resolved)
        with new_session() as session:
            measure.initialize(session)
            once, network, everything = [
                np.median(measure.seconds_of(lambda: session.run(fetches), repeats))
                for fetches in (detector.transfer, [tensor.op for tensor in detector.prediction], detector.found)]
    return dict(_against_limit(everything / test_batch_size, flop.test(model), speeds),
                network_seconds=network / test_batch_size, transfer_seconds=once)


def memory(config='k600', videos=64):
    """Peak memory and seconds of aher_k600_test.py on random videos, with an untrained snapshot."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        resolved = measure.preset(config, data_root=os.path.join(folder, 'data'))
        random_data.write_data(resolved, videos)
        flags = ['--config', config, '--data_root', resolved.data.data_root, '--model_dir',
                 os.path.join(folder, 'models'), '--target_classes', str(resolved.model.target_classes)]
        # in a process of its own, so that its memory does not count
        subprocess.run([sys.executable, aher_k600_train.__file__, *flags, '--max_steps', '0', '--source_classes',
                        str(resolved.model.source_classes)], check=True, stdout=subprocess.DEVNULL)
        measure.timed(seconds, 'seconds', aher_k600_test.main,
                      [*flags, '--results_dir', os.path.join(folder, 'results')])
    return seconds


def loading(config='k600', videos=64, repeats=5):
    """Share of a training step in which it waits for its batch; the features are in the page cache.

    The wait is the time that the step's iterator takes to hand out a batch, from the trace of each step.
    """
    steps, waits = [], []
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
        resolved = measure.preset(config, data_root=folder)
        random_data.write_data(resolved, videos)
        stream = training_stream(resolved)
        built = aher_k600_train.training_step(stream.batch, resolved)
        with new_session() as session:
            session.run([tf.global_variables_initializer(), stream.initializer])
            session.run(built.op)
            for _ in range(repeats):
                start = time.perf_counter()
                nodes = _traced_nodes(session, built.op)
                steps.append(time.perf_counter() - start)
                waits.append(sum(node.op_end_rel_micros - node.op_start_rel_micros for node in nodes
                                 if node.node_name.startswith('IteratorGetNext')) / 1e6)
    return dict(step_seconds=np.median(steps), waiting_seconds=np.median(waits),
                waiting_share=np.median(waits) / np.median(steps))


def snapshot(config='k600'):
    """Seconds to write a snapshot with its checksums and sync it to the disk, and to verify and restore it.

    Training writes, verifies and restores both parts; testing verifies and restores the model. The snapshot is in
    the folder for temporary files, which the environment variable TMPDIR can name.
    """
    seconds = {}

    def accept(_):
        return []  # no setting differs

    with tempfile.TemporaryDirectory() as models, tf.Graph().as_default():
        resolved = measure.preset(config, batch_size=1)
        built = aher_k600_train.training_step(random_data.training_batch(resolved), resolved)
        parts = snapshots.parts_of(aher.group_variables(*aher.GROUPS) + [built.counter])
        saved = models, 0, settings.to_dict(resolved), {}
        with new_session() as session:
            measure.initialize(session)
            prefix = measure.timed(seconds, 'save', snapshots.save, session, parts, *saved)
            measure.timed(seconds, 'save again', snapshots.save, session, parts, *saved)
            start = measure.timed(seconds, 'verify', snapshots.find_start, models, 'auto', accept)
            measure.timed(seconds, 'restore', snapshots.resume, session, parts, start)
            measure.timed(seconds, 'verify the model', snapshots.check_settings, prefix, accept)
            measure.timed(seconds, 'restore the model', snapshots.restore, session, prefix, parts.model)
    numbers = {name: sum(int(np.prod(variable.shape.as_list())) for variable in part.variables)
               for name, part in parts._asdict().items()}
    return dict(numbers=numbers, gigabytes=4 * sum(numbers.values()) / 1e9, seconds=seconds)


# What runs without the network

def reading(rows=512, feature_width=2048):
    """Milliseconds to read one video's features in each form, from the page cache, and to interpolate features."""
    features = np.maximum(np.random.RandomState(0).standard_normal((rows, feature_width)), 0).astype(np.float32)

    def milliseconds(call):
        return 1e3 * np.median(measure.seconds_of(call, repeats=9))

    read, megabytes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ('float32', 'float16'):
            for form, write in WRITERS.items():
                store, name = os.path.join(folder, '%s-%s' % (form, dtype)), '%s %s' % (form, dtype)
                os.mkdir(store)
                path = os.path.join(store, 'video.' + form)
                write(path, features.astype(dtype))
                megabytes[name] = os.path.getsize(path) / 1e6
                source = path if form == 'hdf5' else store
                read[name] = milliseconds(lambda: FeatureStore(source, feature_width).read('video'))
    interpolated = {'%d to %d rows' % (clips, steps): milliseconds(
        lambda: interpolate(features[:clips], steps, clips / 3.75, clips * 8)) for clips, steps in INTERPOLATED}
    copy = 1e3 * features.nbytes / measure.copy_speed()
    return dict(milliseconds=read, megabytes=megabytes, memory_copy_milliseconds=copy,
                npy_against_copy=read['npy float32'] / copy, interpolation_milliseconds=interpolated)


def _write_hdf5(path, features, names=('video',)):
    """Write an HDF5 file with the same features under all `names`: all are links to the first."""
    with h5py.File(path, 'w') as file:
        numbers = file.create_dataset(names[0], data=features)
        for name in names[1:]:
            file[name] = numbers


WRITERS = {'npy': np.save, 'npz': np.savez, 'hdf5': _write_hdf5,
           'csv': lambda path, features: pd.DataFrame(features).to_csv(path, index=False)}


def checking(videos=390000):
    """Seconds of what training checks before it starts: tables, which features exist, two videos of each folder.

    Tables and features have just been written, so that they are in the page cache. Nearly all features are links
    to a few narrow ones, because the checks look up names only.
    """
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        config = settings.override(settings.PRESETS['demo'], data_root=folder, target_classes=600,
                                   model_dir=os.path.join(folder, 'models'))
        random_data.write_data(config, videos, min(OTHERS, videos))
        for form in ('npy', 'hdf5'):
            if form == 'hdf5':
                for path in map(config.data.path, ('source_features', 'source_clips', 'target_clips')):
                    files = sorted(os.listdir(path))
                    _write_hdf5(path + '.h5', np.load(os.path.join(path, files[0])), [name[:-4] for name in files])
            with tf.Graph().as_default():
                wall, cpu = time.perf_counter(), time.process_time()
                training_stream(config)
                seconds[form] = {'wall': time.perf_counter() - wall, 'CPU': time.process_time() - cpu}
    return dict(seconds=seconds)


def evaluation(result_count=517793):
    """Seconds to parse and read random results, of both evaluators and of the error analysis, for Kinetics-600."""
    random, seconds = np.random.RandomState(0), {}
    content = random_data.random_ground_truth(random)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'results.json')
        write_json(path, random_data.results_for(content, result_count, random), indent=None)
        truth = measure.timed(seconds, 'ground truth', read_ground_truth, content)
        with open(path, encoding='utf-8') as text:
            parsed = measure.timed(seconds, 'parse JSON', json.load, text)
        size = os.path.getsize(path)
    found = measure.timed(seconds, 'read', read_results, parsed)
    del parsed
    measure.timed(seconds, 'proposals', evaluate_proposals, truth, found)
    measure.timed(seconds, 'detection', evaluate_detections, truth, found)
    measure.timed(seconds, 'errors', analyze_errors, truth, found)
    parsing = seconds['parse JSON']
    after = sum(seconds[name] for name in ('read', 'proposals', 'detection'))
    return dict(seconds=seconds, seconds_after_parsing=after, seconds_in_all=after + parsing,
                times_the_parsing=1 + after / parsing, megabytes=size / 1e6)


def page(videos=6459, results_per_video=100):
    """Seconds to make the report page of random results, for Kinetics-600, and its megabytes."""
    random, seconds = np.random.RandomState(0), {}
    content = random_data.random_ground_truth(random, videos)
    with tempfile.TemporaryDirectory() as folder:
        truth, results, out = (os.path.join(folder, name) for name in ('truth.json', 'results.json', 'page.html'))
        write_json(truth, content, indent=None)
        write_json(results, random_data.results_for(content, videos * results_per_video, random), indent=None)
        measure.timed(seconds, 'page', report.main, [truth, results, '--out', out])
        return dict(seconds=seconds, megabytes=os.path.getsize(out) / 1e6)


# Command line

SUBCOMMANDS = (step, test, memory, loading, snapshot, reading, checking, evaluation, page, flop.full_run)
CHOICES = {'config': sorted(settings.PRESETS), 'on_nan': ('stop', 'skip')}
HELP = {
    'config': 'preset to measure',
    'batch_size': 'samples of each stream in a training step',
    'test_batch_size': 'videos in a test batch',
    'on_nan': 'as of training: skip also checks all gradients in each step',
    'divide_widths': 'divide the width of every layer by this',
    'untrimmed_steps': 'feature rows of an untrimmed video; a moment has half as many',
    'rows': 'rows of a feature file',
    'feature_width': 'columns of a feature file',
    'videos': 'random videos',
    'result_count': 'results to evaluate',
    'results_per_video': 'results of each video',
    'repeats': 'how often to measure',
    'step_seconds': 'seconds of a training step on this machine, as `step` measures them'}


def main(argv=None):
    """Run the subcommand of the command line, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    commands = parser.add_subparsers(metavar='COMMAND', dest='command')
    commands.required = True
    for run in SUBCOMMANDS:
        about = run.__doc__ or run.__name__  # python -OO removes docstrings
        command = commands.add_parser(run.__name__, help=about.splitlines()[0], description=about, allow_abbrev=False)
        command.set_defaults(run=run)
        for name, parameter in inspect.signature(run).parameters.items():
            default = parameter.default
            command.add_argument('--' + name, type=type(default), default=default, choices=CHOICES.get(name),
                                 help='%s (default %s)' % (HELP[name], default))
    flags = vars(parser.parse_args(argv))
    name, run = flags.pop('command'), flags.pop('run')
    figures = run(**flags)
    if figures:
        measure.report(name, flags, figures)


if __name__ == '__main__':
    run_and_exit(main)
