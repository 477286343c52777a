"""Runs that are killed, interrupted or disturbed lose nothing: whole scripts, and the training loop on a small graph.

The runs of the whole training graph are made once, by this file as a script in a process of its own: with one thread,
so that numbers are equal bit for bit, and with one graph for all runs.
"""
import collections
import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import signal
import sys
import time
from unittest import mock

import numpy as np
import pytest
from tqdm import tqdm

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from data_sets import make_world, python
from run_helpers import edit_record, send_signal, started, values_of, wait_for

import aher_k600_test
import aher_k600_train
import aher_model as aher
import config as settings
import data_loader
from dataset.bad_data import BadData
from dataset.tables import Video
from ops.updates import UpdateChain
from runtime import snapshots, training_log, watching
from runtime.errors import InputError, Interrupted, exit_status
from runtime.files import write_json
from runtime.results_file import ResultsFile
from runtime.session import new_session, tf

STEPS = 7


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder with tiny demo data."""
    folder = tmp_path_factory.mktemp('world')
    make_world(folder)
    return folder


def tiny(world, models, **changes):
    """Settings of a network as small as it gets."""
    demo = settings.PRESETS['demo']
    model = demo.model._replace(stem_widths=(4, 4), level_widths=(4,) * 8, context_width=4, target_classes=3)
    config = demo._replace(model=model, model_dir=os.path.join(str(world), models), threads=1)
    changes = dict(dict(data_root=os.path.join(str(world), 'data'), max_steps=STEPS, snapshot_step=100, log_step=2,
                        batch_size=2), **changes)
    return settings.check(settings.override(config, **changes))


def find_start(config):
    """The Start of a training run with these settings, as aher_k600_train.run finds it."""
    return snapshots.find_start(
        config.model_dir, config.resume,
        lambda saved: settings.differences(saved, config, snapshots.SETTINGS),
        config.accept_changes, training_log.check_progress)


# The runs of the training graph

@contextlib.contextmanager
def signal_at(step, number):
    """Send this process the signal `number` in the `step`-th counted step."""
    counted, add = [], training_log.Window.add

    def add_and_send(window, losses):
        counted.append(losses)
        if len(counted) == step:
            send_signal(number)
        return add(window, losses)

    with mock.patch.object(training_log.Window, 'add', add_and_send):
        yield


def run_scenarios(world):
    """Train in several ways; returns {name of the run: how it ended} for the tests."""
    ends = {}

    def train(name, models, signal_step=None, **changes):
        trainer.config = config = tiny(world, models, on_nan='skip', **changes)
        os.makedirs(config.model_dir, exist_ok=True)
        try:
            with signal_at(signal_step, signal.SIGTERM):
                trainer.train(find_start(config))
            ends[name] = 'done'
        except (InputError, Interrupted) as error:
            ends[name] = '%s: %s' % (type(error).__name__, error)

    trainer = aher_k600_train.Trainer(tiny(world, 'built', on_nan='skip'))
    train('uninterrupted', 'uninterrupted')
    train('first', 'parts', signal_step=3)  # between two log lines
    # as a killed run leaves the log: lines after the snapshot, the last one cut off
    with open(os.path.join(str(world), 'parts', training_log.LOG_NAME), 'a') as log:
        log.write('step 6  moment/classification 9\nstep 8  moment/cl')
    train('second', 'parts')

    name = data_loader.names_of_samples(trainer.stream, 6, 2)['foreground'][0]  # of step 4
    clips = os.path.join(str(world), 'data', 'ActivityNet', 'csv_p3d_clip', name + '.npy')
    features = np.load(clips)
    np.save(clips, np.full_like(features, 3e38))
    with mock.patch.object(snapshots, 'STATES_KEPT', 9):
        train('skip', 'skip', max_steps=5, snapshot_step=1)
    np.save(clips, features)
    ends['poisoned'] = name
    return ends


@pytest.fixture(scope='module')
def runs(world):
    """(the world after run_scenarios, what that returned)."""
    done = python(os.path.join('tests', 'test_resume.py'), str(world))
    assert done.returncode == 0, done.stderr
    return world, json.loads(done.stdout.splitlines()[-1])


def changed_values(one, other):
    """Names of the variables whose values differ between two checkpoints of the same variables."""
    one, other = values_of(one), values_of(other)
    assert set(one) == set(other)
    return {name for name in one if not np.array_equal(one[name], other[name])}


def log_of(folder):
    """Log lines without the speed."""
    lines = (folder / training_log.LOG_NAME).read_text().splitlines()
    return [line.split('  steps_per_second')[0] for line in lines]


def test_an_interrupted_run_equals_an_uninterrupted_one(runs):
    world, ends = runs
    assert ends['uninterrupted'] == ends['second'] == 'done'
    assert ends['first'].startswith('Interrupted: stopped by SIGTERM; the snapshot of step 3')
    assert snapshots.steps_in(str(world / 'parts')) == [3, 7]
    for prefix in (snapshots.PREFIX, snapshots.STATE_PREFIX):
        assert not changed_values(world / 'uninterrupted' / (prefix + '7'), world / 'parts' / (prefix + '7'))
    state = values_of(world / 'uninterrupted' / (snapshots.STATE_PREFIX + '7'))
    slots = [name for name in state if 'adam' in name]
    assert len(slots) > 500 and sum('beta' in name for name in state) == 20
    assert log_of(world / 'uninterrupted') == log_of(world / 'parts')
    assert [line.split()[1] for line in log_of(world / 'parts')] == ['2', '4', '6']


def test_tensorboard_drops_what_is_done_again(runs):
    world, _ = runs
    starts = [event.step for name in sorted(os.listdir(str(world / 'parts'))) if 'tfevents' in name
              for event in tf.train.summary_iterator(str(world / 'parts' / name))
              if event.session_log.status == tf.SessionLog.START]
    assert sorted(starts) == [1, 4]


def test_a_skipped_update_leaves_weights_and_slots(runs):
    world, ends = runs
    assert ends['skip'] == 'done'
    log = (world / 'skip' / training_log.LOG_NAME).read_text().splitlines()
    skipped = [int(line.split()[1]) for line in log if 'skipped' in line]
    first = [line for line in log if 'skipped' in line][0]
    assert skipped[0] == 4 and '"%s"' % ends['poisoned'] in first
    assert 'step 4  loss classification of update 2_foreground_classification is ' in first

    def checkpoint(prefix, step):
        return world / 'skip' / (prefix + str(step))

    # in step 4, update 1 is applied, update 2 and all later ones are not
    changed = changed_values(checkpoint(snapshots.PREFIX, 3), checkpoint(snapshots.PREFIX, 4))
    assert 'global_step' in changed and 'aher/g_conv1/weights' in changed
    assert not [name for name in changed if 'loc' in name or 'context' in name], changed
    slots = changed_values(checkpoint(snapshots.STATE_PREFIX, 3), checkpoint(snapshots.STATE_PREFIX, 4))
    assert {name for name in slots if 'beta' in name} == {'beta1_power', 'beta2_power'}
    assert all('adam_1_moment_classification' in name for name in slots if 'beta' not in name)
    for prefix in (snapshots.PREFIX, snapshots.STATE_PREFIX):
        assert all(np.isfinite(value).all() for value in values_of(checkpoint(prefix, 5)).values())
    state = values_of(checkpoint(snapshots.STATE_PREFIX, 5))
    assert state['beta1_power'] == pytest.approx(0.9 ** 6, rel=1e-5)
    assert state['beta1_power_1'] == pytest.approx(0.9 ** (6 - len(skipped)), rel=1e-5)


@pytest.mark.parametrize('failure', [InputError('v.npy: gone'), MemoryError('too large'), OSError(5, 'I/O')])
def test_a_reader_that_fails_ends_the_run_with_its_reason(world, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    with tf.Graph().as_default(), new_session() as session:
        stream = data_loader.training_stream(tiny(world, 'failing'))
        session.run(stream.initializer)
        session.run(stream.batch)
        monkeypatch.setattr(data_loader.FeatureStore, 'read', fail)
        with pytest.raises(type(failure)) as caught, data_loader.reader_errors(stream):
            for _ in range(20):
                session.run(stream.batch)
    assert caught.value is failure


def test_a_stream_starts_at_its_first_sample(world):
    with tf.Graph().as_default(), new_session() as session:
        stream = data_loader.training_stream(tiny(world, 'stream'))
        session.run(stream.initializer)
        batches = [session.run(stream.batch) for _ in range(3)]
        session.run(stream.initializer, {stream.first: 4})
        for part, again in zip(batches[2], session.run(stream.batch)):
            for one, other in zip(part, again):
                np.testing.assert_array_equal(one, other)
        labels = {video.name: video.label for video in data_loader.training_tables(tiny(world, 'stream')).source}
        names = data_loader.names_of_samples(stream, 4, 2)
        assert [labels[name] for name in names['untrimmed']] == list(batches[2].untrimmed.labels)
        assert sorted(names) == ['foreground', 'moments', 'untrimmed']


# The training script

def test_kill_9_then_sigterm_then_another_run_beside_it(world, capsys):
    models = world / 'killed'
    arguments = ['--config', 'demo', '--data_root', str(world / 'data'), '--model_dir', str(models), '--batch_size',
                 '2', '--context', 'localized', '--log_step', '1', '--max_steps', '100000']
    first = started('aher_k600_train.py', *arguments, '--snapshot_step', '3')
    wait_for((models / (snapshots.PREFIX + '6.index')).exists, first)
    error = error_of(capsys, aher_k600_train, *arguments)
    assert '.train.lock: held by process %d on ' % first.pid in error
    first.kill()
    first.communicate()
    newest = snapshots.steps_in(str(models))[-1]

    second = started('aher_k600_train.py', *arguments, '--snapshot_step', '100000')
    wait_for(lambda: int((log_of(models) or ['step 0'])[-1].split()[1]) > newest + 2, second)
    second.send_signal(signal.SIGTERM)
    output, errors = second.communicate(timeout=300)
    assert second.returncode == 143, errors
    assert 'continuing from %s%d' % (models / snapshots.PREFIX, newest) in output
    assert errors.splitlines()[-1].startswith('stopped by SIGTERM; the snapshot of step ')
    steps = [int(line.split()[1]) for line in log_of(models)]
    assert steps == list(range(1, snapshots.steps_in(str(models))[-1] + 1))
    assert not [name for name in os.listdir(str(models)) if 'partial' in name]


# The training loop, with a small graph in place of the eight updates

NAN, INF = float('nan'), float('inf')


def small_config(tmp_path, **changes):
    """Settings of a training run of the small graph."""
    return settings.override(settings.PRESETS['demo'], **dict(dict(
        model_dir=str(tmp_path / 'models'), batch_size=1, snapshot_step=1, log_step=2, max_steps=8), **changes))


TRAINED_ON = {'target': {'class_names': ['a', 'b'], 'videos': 1, 'names': 'x', 'order': 'x', 'labels': 'x',
                         'segments': 'x', 'durations': 'x'}}


def train_small(config, factors=(), trained_on=TRAINED_ON, failures=()):
    """aher_k600_train.run on a graph of one layer; `factors` multiply the loss of the first steps.

    `failures` {step: error} are those of reading the samples.
    """
    bad = BadData(config.model_dir, False, 0.01)

    def read(steps_done):
        if steps_done + 1 in failures:
            bad.failures.append(failures[steps_done + 1])
            raise bad.failures[0]
        return np.float32(1)

    with tf.Graph().as_default():
        weights = tf.get_variable('weights', initializer=np.arange(3000, dtype=np.float32), use_resource=True)
        counter, rate = tf.train.get_or_create_global_step(), tf.constant(0.1)
        loss = tf.reduce_sum(weights ** 2) * tf.constant(list(factors) + [1.0] * 50)[counter]
        if failures:
            loss *= tf.numpy_function(read, [counter], tf.float32)
        chain = UpdateChain(skip_not_finite=config.train.on_nan == 'skip')
        chain.add('1_small', {'loss': loss}, [weights], {'loss': tf.train.AdamOptimizer(rate)})
        with chain.after_last():
            op = counter.assign_add(1).op
        step = aher_k600_train.Step(chain, {'small/loss': loss}, rate, counter, op)
        video = Video('video', 0, 1.0, 8, 1, np.zeros((0, 2)), False)
        stream = data_loader.Stream(None, tf.no_op(), tf.placeholder_with_default(np.int64(0), []),
                                    {'moments': collections.defaultdict(lambda: (video, 0))}, bad, 'summary')
        tables = data_loader.TrainingTables([video], [video], collections.Counter(), bad, trained_on)
        with mock.patch.object(aher_k600_train, 'training_tables', lambda *_: tables), \
                mock.patch.object(aher_k600_train, 'training_stream', lambda *_: stream), \
                mock.patch.object(aher_k600_train, 'training_step', lambda *_: step), \
                mock.patch.object(aher, 'group_variables', lambda *_: [weights]):
            aher_k600_train.run(config)


@pytest.mark.parametrize('factor, what', [(NAN, 'loss loss of update 1_small is nan'), (-INF, '1_small is -inf')])
def test_a_loss_that_is_not_finite_stops(tmp_path, factor, what):
    config = small_config(tmp_path)
    with pytest.raises(InputError, match=what) as caught:
        train_small(config, [1, 1, factor])
    assert str(caught.value).startswith('step 3  ') and '{"moments": ["video"]}' in str(caught.value)
    assert '\n' not in str(caught.value) and '--on_nan skip' in str(caught.value)
    assert snapshots.steps_in(config.model_dir) == [1, 2] and find_start(config).step == 2


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    config = small_config(tmp_path)
    with pytest.raises(InputError, match='step 3: variable weights.* is not finite, so no snapshot is written'):
        train_small(config, [1, 1, 1e25])  # the loss is finite, its gradient's square is not
    assert find_start(config).step == 2


@pytest.mark.parametrize('factors, skipped', [([1, 1, NAN, NAN, 1, INF], [3, 4, 6]), ([1, 1, 1e25], [3])])
def test_skipped_steps(tmp_path, factors, skipped):
    config = small_config(tmp_path, on_nan='skip', max_skips=3)
    train_small(config, factors)
    last = values_of(snapshots.path(config.model_dir, 8))
    with open(os.path.join(config.model_dir, training_log.LOG_NAME)) as log:
        lines = log.read().splitlines()
    assert [int(line.split()[1]) for line in lines if 'skipped' in line] == skipped
    assert [line.split()[1] for line in lines if 'skipped' not in line] == ['2', '4', '6', '8']
    without = small_config(tmp_path, model_dir=str(tmp_path / 'without'), max_steps=8 - len(skipped))
    train_small(without)  # as if the skipped steps had never been
    np.testing.assert_array_equal(values_of(snapshots.path(without.model_dir, without.train.max_steps))['weights'],
                                  last['weights'])


def test_too_many_skipped_steps_in_a_row_stop_also_across_a_resume(tmp_path):
    factors = [1, 1, NAN, NAN, NAN]
    train_small(small_config(tmp_path, on_nan='skip', max_skips=3, max_steps=4), factors)
    config = small_config(tmp_path, on_nan='skip', max_skips=3)
    with pytest.raises(InputError, match=r'step 5  .*--max_skips 3 in a row'):
        train_small(config, factors)
    assert snapshots.steps_in(config.model_dir)[-1] == 4
    train_small(small_config(tmp_path), [])  # --on_nan stop has the same variables
    assert snapshots.steps_in(config.model_dir)[-1] == 8


def test_what_is_trained_already_and_changed_tables(tmp_path, capsys):
    config = small_config(tmp_path, max_steps=0)
    train_small(config)
    assert snapshots.steps_in(config.model_dir) == [0]
    capsys.readouterr()
    train_small(config)
    assert 'step_0: training has reached step 0 already' in capsys.readouterr().out
    other = {'target': dict(TRAINED_ON['target'], labels='y')}
    for changed in (config, small_config(tmp_path)):  # trained already, or not
        with pytest.raises(InputError, match=r'step_0.json: trained with 1 target videos with other labels \(this '
                                             r'run: 1; .*k600_train_val_gt.txt\); give --config '):
            train_small(changed, trained_on=other)
    train_small(small_config(tmp_path, accept_changes=True), trained_on=other)
    assert snapshots.steps_in(config.model_dir) == list(range(9))
    assert snapshots.steps_in(config.model_dir, snapshots.STATE_PREFIX) == [7, 8]


def test_a_snapshot_that_does_not_say_what_it_was_trained_on_is_resumed_with_a_warning(tmp_path, capsys):
    config = small_config(tmp_path, max_steps=2)
    train_small(config)
    edit_record(snapshots.path(config.model_dir, 2) + '.json', lambda record: record.pop('trained_on'))
    capsys.readouterr()
    train_small(small_config(tmp_path, max_steps=3))
    assert 'warning: the snapshot is of an earlier version and does not say' in capsys.readouterr().out
    assert find_start(config).step == 3


def test_ctrl_c_writes_a_snapshot(tmp_path):
    config = small_config(tmp_path, snapshot_step=100)
    with signal_at(3, signal.SIGINT), pytest.raises(Interrupted, match='SIGINT; the snapshot of step 3') as caught:
        train_small(config)
    assert caught.value.number == signal.SIGINT and find_start(config).step == 3
    other = small_config(tmp_path, snapshot_step=100, model_dir=str(tmp_path / 'new'), resume='never')
    with signal_at(3, signal.SIGINT), pytest.raises(Interrupted, match='command with --resume auto continues from'):
        train_small(other)


@pytest.mark.parametrize('failure, text', [
    (InputError('v.npy: gone'), 'v.npy: gone; the snapshot of step 4 is written; the same command continues from it'),
    (OSError(5, 'Input/output error', 'v.npy'), "Input/output error: 'v.npy'; the snapshot of step 4 is written")])
def test_a_sample_that_cannot_be_read_loses_no_steps(tmp_path, failure, text):
    whole, config = [small_config(tmp_path, snapshot_step=100, model_dir=str(tmp_path / name)) for name in 'ab']
    train_small(whole)
    with pytest.raises(InputError) as caught:
        train_small(config, failures={5: failure})
    assert text in str(caught.value) and snapshots.steps_in(config.model_dir) == [4]
    train_small(config)
    ends = [values_of(snapshots.path(each.model_dir, 8)) for each in (whole, config)]
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert log_of(tmp_path / 'a') == log_of(tmp_path / 'b')


def test_a_failure_before_the_first_step_saves_nothing(tmp_path):
    config = small_config(tmp_path)
    with pytest.raises(InputError, match='v.npy: gone$'):
        train_small(config, failures={1: InputError('v.npy: gone')})
    assert not snapshots.steps_in(config.model_dir)


@pytest.mark.parametrize('signalled', [False, True])
def test_an_output_that_is_closed_loses_no_steps(tmp_path, signalled):
    """As after `| head`, or after the terminal is closed, which also sends SIGHUP."""
    config, write = small_config(tmp_path, snapshot_step=100, log_step=3), tqdm.write

    def closed_after_first_line(line):
        if 'step 6' in line or 'snapshot' in line:
            raise BrokenPipeError(errno.EPIPE, 'Broken pipe')
        write(line)

    expected = (Interrupted, 'stopped by SIGHUP; the snapshot of step 5 is') if signalled else (
        InputError, 'standard output: .*Broken pipe; the snapshot of step 6 is written')
    with mock.patch.object(tqdm, 'write', closed_after_first_line), pytest.raises(expected[0], match=expected[1]), \
            signal_at(5 if signalled else None, signal.SIGHUP):
        train_small(config)
    train_small(config)
    assert [line.split()[1] for line in log_of(tmp_path / 'models')] == ['3', '6']
    whole = small_config(tmp_path, snapshot_step=100, log_step=3, model_dir=str(tmp_path / 'whole'))
    train_small(whole)
    assert log_of(tmp_path / 'models') == log_of(tmp_path / 'whole')


def test_a_request_to_stop_ends_training_with_a_snapshot(tmp_path, capsys):
    config = small_config(tmp_path, snapshot_step=100)
    os.makedirs(config.model_dir)
    counted, add = [], training_log.Window.add
    request = os.path.join(config.model_dir, watching.REQUEST_NAME)

    def add_and_ask(window, losses):
        counted.append(losses)
        if len(counted) == 3:
            write_json(request, {'from': 'a watch', 'why': 'enough'})
        return add(window, losses)

    with mock.patch.object(training_log.Window, 'add', add_and_ask):
        train_small(config)  # raises nothing: exit status 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        'snapshot ' + snapshots.path(config.model_dir, 3),
        'training stops before step 8, as it was asked to (a watch: enough); the snapshot of step 3 is written; the '
        'same command continues from it']
    assert len(counted) == 3 and snapshots.steps_in(config.model_dir) == [3] and not os.path.exists(request)
    train_small(config)
    assert snapshots.steps_in(config.model_dir) == [3, 8]
    whole = small_config(tmp_path, snapshot_step=100, model_dir=str(tmp_path / 'whole'))
    train_small(whole)
    assert log_of(tmp_path / 'models') == log_of(tmp_path / 'whole')
    assert not changed_values(snapshots.path(config.model_dir, 8), snapshots.path(whole.model_dir, 8))


def test_a_request_of_an_earlier_run_stops_nothing(tmp_path, capsys):
    config = small_config(tmp_path, snapshot_step=100)
    write_json(os.path.join(config.model_dir, watching.REQUEST_NAME), {'from': 'a watch', 'why': 'enough'})
    train_small(config)
    output = capsys.readouterr().out.splitlines()
    assert output[0] == 'a request to stop an earlier training is removed (a watch: enough)'
    assert not any('training stops' in line for line in output)
    assert snapshots.steps_in(config.model_dir) == [8]
    assert not os.path.exists(os.path.join(config.model_dir, watching.REQUEST_NAME))


def test_training_keeps_the_best_snapshot_and_the_one_that_is_tested(tmp_path):
    config = small_config(tmp_path, max_to_keep=1)
    write_json(os.path.join(config.model_dir, watching.BEST_NAME), {'step': 3})
    write_json(os.path.join(config.model_dir, watching.IN_TEST_NAME), {'step': 5})
    train_small(config)
    assert snapshots.steps_in(config.model_dir) == [3, 5, 8]


def test_lines_on_the_screen(tmp_path, capsys, monkeypatch):
    """Where standard error is no terminal: no bar, and the losses that are watched."""
    monkeypatch.setattr(aher_k600_train, 'screen_losses', lambda config: {
        'small': training_log.ScreenLoss(('small/loss',), 0.5)})
    train_small(small_config(tmp_path, snapshot_step=100, max_steps=4))
    captured = capsys.readouterr()
    assert captured.err == ''
    lines = [line for line in captured.out.splitlines() if line.startswith('step ')]
    logged = [float(re.search('small/loss ([0-9.e+]+)', line).group(1)) for line in log_of(tmp_path / 'models')]
    assert len(lines) == len(logged) == 2
    for step, line, value in zip((2, 4), lines, logged):
        match = re.match(r'step %d of 4  [0-9.e-]+ s/step  0:0\d left  small ([0-9.]+)$' % step, line)
        assert float(match.group(1)) == pytest.approx(2 * value, rel=1e-4)


def test_a_clock_that_stands_still(tmp_path):
    with mock.patch.object(time, 'time', itertools.count(10, -1).__next__), \
            mock.patch.object(time, 'monotonic', lambda: 7.0):
        train_small(small_config(tmp_path, max_steps=2))
    assert (tmp_path / 'models' / training_log.LOG_NAME).read_text().endswith('steps_per_second nan\n')


def test_a_wrong_initial_checkpoint_is_reported_before_the_graph_is_built(tmp_path):
    with mock.patch.object(aher_k600_train, 'Trainer', mock.Mock()) as built, \
            mock.patch.object(aher_k600_train, 'training_tables', lambda *_: mock.Mock(trained_on=TRAINED_ON)):
        config = small_config(tmp_path, init_checkpoint=str(tmp_path / 'nowhere'))
        with pytest.raises(InputError, match='nowhere: no readable snapshot'):
            aher_k600_train.run(config)
        assert not built.called
    train_small(small_config(tmp_path, max_steps=1))
    prefix = snapshots.path(str(tmp_path / 'models'), 1)
    with mock.patch.object(aher_k600_train, 'Trainer', mock.Mock()) as built, \
            mock.patch.object(aher_k600_train, 'training_tables', lambda *_: mock.Mock(trained_on=TRAINED_ON)):
        aher_k600_train.run(small_config(tmp_path, model_dir=str(tmp_path / 'new'),
                                         init_checkpoint=prefix + '.index'))
        assert built.call_args[0][0].train.init_checkpoint == prefix


def test_a_resumed_run_keeps_the_list_of_bad_data(tmp_path, monkeypatch):
    config = small_config(tmp_path, max_steps=1)
    found = []

    def training_tables(_, resumed):
        found.append(resumed)
        return mock.Mock(trained_on=TRAINED_ON)

    train_small(config)
    monkeypatch.setattr(aher_k600_train, 'training_tables', training_tables)
    monkeypatch.setattr(aher_k600_train, 'Trainer', mock.Mock())
    for folder in ('new', 'models'):
        aher_k600_train.run(small_config(tmp_path, model_dir=str(tmp_path / folder)))
    aher_k600_train.run(small_config(tmp_path, model_dir=str(tmp_path / 'new'),
                                     resume=snapshots.path(config.model_dir, 1)))
    assert found == [False, True, True]


@pytest.mark.parametrize('changes', [3, {}, {'window': 3}, {'window': {'sums': {'a': 'x'}, 'steps': 1}},
                                     {'window': {'other': 1}}, {'window': {'sums': {'a': 1}}}],
                         ids=range(6))
def test_a_progress_that_no_run_saves_is_damage(tmp_path, capsys, changes):
    config = small_config(tmp_path, max_steps=2)
    train_small(config)
    path = os.path.join(config.model_dir, snapshots.STATE_PREFIX + '2.json')
    edit_record(path, lambda record: record.update(
        progress=dict(record['progress'], **changes) if changes and changes != 3 else changes))
    capsys.readouterr()
    assert find_start(config).step == 1
    assert 'skipped: %s: ' % path in capsys.readouterr().out
    with pytest.raises(snapshots.Damaged, match='use another snapshot'):
        find_start(config._replace(resume=snapshots.path(config.model_dir, 2)))


def test_a_folder_in_place_of_the_log_is_one_line(tmp_path):
    config = small_config(tmp_path, max_steps=1)
    os.makedirs(os.path.join(config.model_dir, training_log.LOG_NAME))
    with pytest.raises(InputError, match='loss_results_log.txt: found a folder, expected a file'):
        train_small(config)


def test_other_settings_are_refused_with_a_list_or_accepted(tmp_path):
    config = small_config(tmp_path, max_steps=1)
    train_small(config)
    same = settings.override(config, max_steps=9, snapshot_step=1, log_step=1, workers=3, data_root='moved',
                             source_clips='elsewhere', on_nan='skip', max_to_keep=3, results_dir='r', nms_tiou=0.1,
                             bad_data='skip', max_bad_share=0.5)
    assert find_start(same).step == 1
    other = settings.override(config, learning_rate=0.5, seed=3, moment_ratios=(1, 2))
    with pytest.raises(InputError) as caught:
        find_start(other)
    for part in ('learning_rate 0.001 (this run: 0.5)', 'seed 0 (this run: 3)', 'moment_ratios [3, 19]',
                 '--accept_changes on'):
        assert part in str(caught.value)
    assert find_start(settings.override(other, accept_changes=True)).step == 1


# Interrupted test runs

def error_of(capsys, module, *arguments):
    capsys.readouterr()
    with tf.Graph().as_default():
        assert exit_status(lambda: module.main(list(arguments))) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_an_interrupted_test_gives_the_same_bytes(runs, capsys, monkeypatch):
    world, _ = runs
    name, restored, restore, add = aher_k600_test.RESULTS_NAME % 7, [], snapshots.restore, ResultsFile.add

    def counted(session, prefix, part):
        restored.append(prefix)
        return restore(session, prefix, part)

    def add_and_interrupt(file, entries):
        add(file, entries)
        send_signal(signal.SIGINT)

    config = tiny(world, 'parts', test_batch_size=2)
    prefix = snapshots.path(config.model_dir, 7)
    with tf.Graph().as_default(), new_session(1) as session:
        tester, checksums = aher_k600_test.build(config), snapshots.checksums(prefix)

        def test(results, interrupted=False, resume='auto', **changes):
            mine = settings.override(config, results_dir=str(world / results), resume=resume, **changes)
            origin = aher_k600_test.origin_of(checksums, mine, 'xyz')
            origin.update(aher_k600_test.origin_of_data(mine, tester.videos))
            file = ResultsFile(os.path.join(mine.results_dir, name), origin)
            capsys.readouterr()
            with mock.patch.object(ResultsFile, 'add', add_and_interrupt if interrupted else add):
                return exit_status(lambda: aher_k600_test.test_snapshot(session, tester, prefix, file, mine, 'xyz'))

        monkeypatch.setattr(snapshots, 'restore', counted)
        assert test('once') == 0
        expected = (world / 'once' / name).read_bytes()
        assert len(json.loads(expected.decode())['results']) == 5

        partial = world / 'twice' / name.replace('.json', '.partial.jsonl')
        assert test('twice', interrupted=True) == 130
        assert 'stopped by SIGINT; 2 of 5 videos are tested and kept' in capsys.readouterr().err.splitlines()[-1]
        assert not (world / 'twice' / name).exists() and len(partial.read_text().splitlines()) == 3
        with open(str(partial), 'a') as cut_off:
            cut_off.write('["c", nul')
        assert test('twice', interrupted=True) == 130
        assert '4 of 5' in capsys.readouterr().err and len(partial.read_text().splitlines()) == 5
        lines = partial.read_text().splitlines(True)
        partial.write_text(''.join(lines[:4]) + lines[4][:20])  # an incomplete batch
        assert test('twice') == 0
        assert (world / 'twice' / name).read_bytes() == expected and not partial.exists()

        del restored[:]
        assert test('twice') == 0 and not restored
        assert test('twice', resume='never') == 0 and len(restored) == 1
        assert test('twice', interrupted=True, max_detections=7, resume='never') == 130
        assert test('twice') == 0 and len(restored) == 2  # the finished results are complete, with these settings
        assert test('twice', max_detections=6) == 0 and len(restored) == 3
        assert test('twice') == 0 and len(restored) == 4
        with open(str(world / 'twice' / name), 'a') as results:
            results.write(' ')
        assert test('twice') == 0 and len(restored) == 5 and (world / 'twice' / name).read_bytes() == expected


def test_a_damaged_snapshot_is_not_tested(runs, capsys):
    world, _ = runs
    shutil.copytree(str(world / 'uninterrupted'), str(world / 'harmed'))
    path = snapshots.path(str(world / 'harmed'), 7) + '.data-00000-of-00001'
    with open(path, 'r+b') as data:
        data.truncate(50)
    config = tiny(world, 'harmed')._replace(results_dir=str(world / 'harmed_results'))
    with pytest.raises(InputError, match='data-00000-of-00001: damaged'):
        aher_k600_test.run(config, [7], ['a'])


if __name__ == '__main__':
    print(json.dumps(run_scenarios(sys.argv[1])))
