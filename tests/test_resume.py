"""Nothing is lost: runs that are killed, stopped, disturbed, and go on.

What needs the training graph is run once, by this file as a script in a process of its own: one thread, so that
numbers are the same to the last bit, and one graph for all runs.
"""
import collections
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from unittest import mock

import numpy as np
import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from data_sets import ROOT, make_world, python

import aher_k600_test
import aher_k600_train
import bad_data
import config as settings
import data_loader
import files
import snapshots
import stopping
from bad_data import BadData
from errors import InputError, Stopped, exit_status
from tensorflow_setup import session as new_session
from tensorflow_setup import tf

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


# The runs of the training graph

def send_and_be_heard(number):
    """Send this process the signal `number`; returns when the listening thread has said that it came."""
    heard, say = threading.Event(), stopping.Stop._say

    def say_and_set(stop, text):
        say(stop, text)
        heard.set()

    with mock.patch.object(stopping.Stop, '_say', say_and_set):
        os.kill(os.getpid(), number)
        assert heard.wait(60)


@contextlib.contextmanager
def signal_at(step, number):
    """Send this process the signal `number` in the `step`-th step that counts."""
    counted, add = [], aher_k600_train.Window.add

    def add_and_send(window, losses):
        counted.append(losses)
        if len(counted) == step:
            send_and_be_heard(number)
        return add(window, losses)

    with mock.patch.object(aher_k600_train.Window, 'add', add_and_send):
        yield


def run_scenarios(world):
    """Train in several ways; returns what happened by name, for the tests to judge."""
    said = {}

    def train(name, models, stop_at=None, **changes):
        config = tiny(world, models, on_nan='skip', **changes)
        os.makedirs(config.model_dir, exist_ok=True)
        try:
            with signal_at(stop_at, signal.SIGTERM):
                aher_k600_train.train(trainer, config, snapshots.start_of(config))
            said[name] = 'done'
        except (InputError, Stopped) as error:
            said[name] = '%s: %s' % (type(error).__name__, error)

    trainer = aher_k600_train.build(tiny(world, 'built', on_nan='skip'))
    train('whole', 'whole')
    train('first', 'parts', stop_at=3)  # between two log lines
    # as a killed run leaves them: lines after the snapshot, the last one torn
    with open(os.path.join(str(world), 'parts', aher_k600_train.LOG_NAME), 'a') as log:
        log.write('step 6  moment/classification 9\nstep 8  moment/cl')
    train('second', 'parts')

    name = aher_k600_train.videos_of(trainer.stream, 6, 2)['foreground'][0]  # of step 4
    clips = os.path.join(str(world), 'data', 'ActivityNet', 'csv_p3d_clip', name + '.npy')
    kept = np.load(clips)
    np.save(clips, np.full_like(kept, 3e38))
    train('skip', 'skip', max_steps=5, snapshot_step=1)
    np.save(clips, kept)
    said['poisoned'] = name
    return said


@pytest.fixture(scope='module')
def runs(world):
    """The world after run_scenarios, and what that returned."""
    done = python(os.path.join('tests', 'test_resume.py'), str(world))
    assert done.returncode == 0, done.stderr
    return world, json.loads(done.stdout.splitlines()[-1])


def values_of(prefix):
    reader = tf.train.NewCheckpointReader(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_equal_values(one, other, but=()):
    one, other = values_of(one), values_of(other)
    assert set(one) == set(other)
    for name in set(one) - set(but):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def log_of(folder):
    """Log lines without the speed."""
    lines = (folder / aher_k600_train.LOG_NAME).read_text().splitlines()
    return [line.split('  steps_per_second')[0] for line in lines]


def test_an_interrupted_run_equals_an_uninterrupted_one(runs):
    world, said = runs
    assert said['whole'] == said['second'] == 'done'
    assert said['first'].startswith('Stopped: stopped by SIGTERM; snapshot of step 3')
    assert snapshots.steps_in(str(world / 'parts')) == [3, 7]
    for prefix in (snapshots.PREFIX, snapshots.STATE_PREFIX):
        assert_equal_values(world / 'whole' / (prefix + '7'), world / 'parts' / (prefix + '7'))
    state = values_of(world / 'whole' / (snapshots.STATE_PREFIX + '7'))
    slots = [name for name in state if 'adam' in name]
    assert len(slots) > 500 and sum('beta' in name for name in state) == 20
    assert log_of(world / 'whole') == log_of(world / 'parts')
    assert [line.split()[1] for line in log_of(world / 'parts')] == ['2', '4', '6']


def test_tensorboard_drops_what_is_done_again(runs):
    world, _ = runs
    starts = [event.step for name in sorted(os.listdir(str(world / 'parts'))) if 'tfevents' in name
              for event in tf.train.summary_iterator(str(world / 'parts' / name))
              if event.session_log.status == tf.SessionLog.START]
    assert sorted(starts) == [1, 4]


def test_a_skipped_step_leaves_weights_and_slots(runs):
    world, said = runs
    assert said['skip'] == 'done'
    log = (world / 'skip' / aher_k600_train.LOG_NAME).read_text().splitlines()
    skipped = [int(line.split()[1]) for line in log if 'skipped' in line]
    first = [line for line in log if 'skipped' in line][0]
    assert skipped[0] == 4 and '"%s"' % said['poisoned'] in first
    assert 'step 4  loss classification of update 2_foreground_classification is ' in first
    assert_equal_values(world / 'skip' / (snapshots.PREFIX + '3'), world / 'skip' / (snapshots.PREFIX + '4'),
                        but=['global_step'])
    before, after = [values_of(world / 'skip' / (snapshots.PREFIX + step)) for step in ('4', '5')]
    assert before['global_step'] == 4 and after['global_step'] == 5
    assert not np.array_equal(before['aher/g_conv1/weights'], after['aher/g_conv1/weights'])
    for values in (after, values_of(world / 'skip' / (snapshots.STATE_PREFIX + '5'))):
        assert all(np.isfinite(value).all() for value in values.values())
    # slots too: undone, the powers of beta have grown by the steps counted alone
    power = values_of(world / 'skip' / (snapshots.STATE_PREFIX + '5'))['beta1_power']
    assert power == pytest.approx(0.9 ** (6 - len(skipped)), rel=1e-5)


@pytest.mark.parametrize('failure', [InputError('v.npy: gone'), MemoryError('too large'), OSError(5, 'I/O')])
def test_a_reader_that_fails_ends_the_run_with_its_reason(world, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    with tf.Graph().as_default(), new_session() as session:
        stream = data_loader.training_stream(tiny(world, 'failing'))
        session.run(stream.initializer)
        session.run(stream.batch)
        monkeypatch.setattr(data_loader.FeatureStore, 'read', fail)
        with pytest.raises(type(failure)) as caught, data_loader.reported(stream):
            for _ in range(20):
                session.run(stream.batch)
    assert caught.value is failure


def test_a_stream_begins_where_it_is_told(world):
    with tf.Graph().as_default(), new_session() as session:
        stream = data_loader.training_stream(tiny(world, 'begun'))
        session.run(stream.initializer)
        batches = [session.run(stream.batch) for _ in range(3)]
        session.run(stream.initializer, {stream.first: 4})
        for part, again in zip(batches[2], session.run(stream.batch)):
            for one, other in zip(part, again):
                np.testing.assert_array_equal(one, other)
        labels = {video.name: video.label for video in data_loader._read_subset(
            'source', 'training', 20, tiny(world, 'begun').data, collections.Counter(), stream.bad)}
        names = data_loader.videos_of(stream, 4, 2)
        assert [labels[name] for name in names['untrimmed']] == list(batches[2].untrimmed.labels)
        assert sorted(names) == ['foreground', 'moments', 'untrimmed']


# The scripts, killed and stopped

def started(*arguments):
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True)


def wait_for(come, process):
    """Wait until `come()` or, on a machine however slow, for 10 minutes."""
    for _ in range(12000):
        if come() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


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
    assert 'going on from %s%d' % (models / snapshots.PREFIX, newest) in output
    assert errors.splitlines()[-1].startswith('stopped by SIGTERM; snapshot of step ')
    steps = [int(line.split()[1]) for line in log_of(models)]
    assert steps == list(range(1, snapshots.steps_in(str(models))[-1] + 1))
    assert not [name for name in os.listdir(str(models)) if 'partial' in name]


# Signals without TensorFlow, and a read that hangs

STOP = '''
import sys, time, stopping
from errors import leave, Stopped
stopping.PATIENCE = stopping.FIRST = 1
def main():
    with stopping.Stop('step') as stop:
        print('ready', flush=True)
        if sys.argv[1] == 'hang':
            with stop.round():
                time.sleep(600)
        while sys.argv[1] == 'deaf' or not stop.asked:
            time.sleep(0.01)
    raise Stopped(stop.asked)
leave(main)
'''


@pytest.mark.parametrize('how, signals, status', [
    ('listen', [signal.SIGINT], 130), ('listen', [signal.SIGTERM], 143), ('hang', [signal.SIGTERM], 143),
    ('deaf', [signal.SIGINT, signal.SIGINT], 130), ('deaf', [signal.SIGINT, signal.SIGTERM], 130)])
def test_signals(how, signals, status):
    process = started('-c', STOP, how)
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(signals[0])
    assert process.stderr.readline() == '\n' and 'a second signal stops at once' in process.stderr.readline()
    for number in signals[1:]:
        process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == status and 'Traceback' not in errors
    assert {'listen': 'stopped by', 'hang': 'stopped at once (the step did not end in 1 s',
            'deaf': 'stopped at once (a second signal'}[how] in errors.strip().splitlines()[0]


def test_a_signal_before_the_loop():
    process = started('-c', 'import time\nfrom errors import leave\n'
                            'def main():\n    print("ready", flush=True)\n    time.sleep(600)\nleave(main)')
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=300)[1] == 'stopped by SIGTERM\n' and process.returncode == 143


def test_ctrl_c_while_a_script_is_imported(tmp_path):
    (tmp_path / 'tensorflow.py').write_text('import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n')
    done = python('aher_k600_train.py', env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert done.returncode == -signal.SIGINT and not done.stderr


HANG = '''
import threading, time
import data_loader
import numpy as np
from errors import leave
from tensorflow_setup import session, tf
hung = threading.Barrier(3)
def read(index):
    if index > 1:
        hung.wait()
        time.sleep(3600)
    return np.float32(index)
def main():
    data = tf.data.Dataset.range(9).map(lambda index: tf.numpy_function(read, [index], tf.float32), 2).prefetch(2)
    iterator = data_loader._iterator(data, 2)
    with session() as running:
        running.run(iterator.initializer)
        running.run(iterator.get_next())
        hung.wait()
leave(main)
'''


def test_a_read_that_hangs_does_not_hold_the_process():
    done = python('-c', HANG)  # within the time that python() gives it, far less than the read takes
    assert done.returncode == 0, done.stderr


def test_a_slow_read_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bad_data, 'PATIENCE', 0.1)
    monkeypatch.setattr(stopping, 'LOOK', 0.05)
    bad, features_come = BadData(settings.Config().data, str(tmp_path)), threading.Event()
    reader = threading.Thread(target=bad.read, args=('moment', 'v', features_come.wait))
    said = ''
    with stopping.Stop('step', bad.slow):
        reader.start()
        for _ in range(1200):
            time.sleep(0.05)
            said += capsys.readouterr().err
            if said:
                break
        time.sleep(0.5)
        features_come.set()
        reader.join()
    assert said + capsys.readouterr().err == (
        '\nvideo v (moment): reading its features takes more than 0.1 s; does the disk hang?\n')
    assert bad.slow() is None


# Snapshots, of a graph of two layers

class Small:
    """A small graph with Adam, and a folder of its snapshots. `factors` of the loss at each step, 1 at others."""

    def __init__(self, session, config, factors=()):
        weights = tf.get_variable('weights', initializer=np.arange(3000, dtype=np.float32), use_resource=True)
        self.counter = tf.train.get_or_create_global_step()
        factor = tf.constant(list(factors) + [1.0] * 50)[self.counter]
        loss, rate = tf.reduce_sum(weights ** 2) * factor, tf.constant(0.1)
        self.step = tf.train.AdamOptimizer(rate).minimize(loss, self.counter)
        self.session, self.config, self.weights = session, config, weights
        self.parts = snapshots.parts_of([weights, self.counter])
        updates = [aher_k600_train.Update('1_small', {'loss': loss}, {}, self.step)]
        self.graph = aher_k600_train.Step(updates, {'small/loss': loss}, rate, self.counter, self.step)
        session.run(tf.global_variables_initializer())

    def train(self):
        """aher_k600_train.train with this graph in the place of the eight updates."""
        video = data_loader.Video('video', 0, 1.0, 8, 1, np.zeros((0, 2)), False)
        stream = data_loader.Stream(None, tf.no_op(), tf.placeholder_with_default(np.int64(0), []),
                                    {'moments': collections.defaultdict(lambda: (video, 0))},
                                    BadData(self.config.data, self.config.model_dir), 'summary')
        guard = aher_k600_train.Guard(self.graph, self.parts, self.config.train.on_nan == 'skip')
        with files.locked(os.path.join(self.config.model_dir, 'lock')):
            start = snapshots.start_of(self.config)
            aher_k600_train.train(aher_k600_train.Trainer(stream, self.graph, self.parts, guard), self.config, start)

    def save(self, step, **changes):
        while self.session.run(self.counter) < step:
            self.session.run(self.step)
        config = settings.override(self.config, **changes)
        return snapshots.save(self.session, self.parts, config, step,
                              {'window': {}, 'next_videos': {}, 'at': step})

    def resumed_step(self):
        return snapshots.start_of(self.config).step

    def resumed(self):
        """Step that training would go on from, once restored."""
        start = snapshots.start_of(self.config)
        self.session.run(tf.global_variables_initializer())
        snapshots.resume(self.session, self.parts, start)
        assert self.session.run(self.counter) == start.step == start.progress['at']
        return start.step


@pytest.fixture
def small(tmp_path):
    with tf.Graph().as_default(), new_session() as session:
        yield Small(session, settings.PRESETS['demo']._replace(model_dir=str(tmp_path / 'models')))


@contextlib.contextmanager
def small_training(tmp_path, factors, **changes):
    changes = dict(dict(model_dir=str(tmp_path / 'models'), batch_size=1, snapshot_step=1, log_step=2, max_steps=8),
                   **changes)
    config = settings.override(settings.PRESETS['demo'], **changes)
    with tf.Graph().as_default(), new_session() as session:
        yield Small(session, config, factors)


NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize('factor, what', [(NAN, 'loss loss of update 1_small is nan'), (-INF, '1_small is -inf')])
def test_a_loss_that_is_not_finite_stops(tmp_path, factor, what):
    with small_training(tmp_path, [1, 1, factor]) as small:
        with pytest.raises(InputError, match=what) as caught:
            small.train()
        assert str(caught.value).startswith('step 3  ') and '{"moments": ["video"]}' in str(caught.value)
        assert '\n' not in str(caught.value) and '--on_nan skip' in str(caught.value)
        assert snapshots.steps_in(small.config.model_dir) == [1, 2] and small.resumed_step() == 2


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    with small_training(tmp_path, [1, 1, 1e25]) as small:  # the loss is finite, its gradient's square is not
        with pytest.raises(InputError, match='step 3: variable weights.* is not finite; it is not saved'):
            small.train()
        assert small.resumed_step() == 2


@pytest.mark.parametrize('factors, skipped', [([1, 1, NAN, NAN, 1, INF], [3, 4, 6]), ([1, 1, 1e25], [3])])
def test_skipped_steps(tmp_path, factors, skipped):
    with small_training(tmp_path, factors, on_nan='skip', max_skips=3) as small:
        small.train()
        last = values_of(snapshots.path(small.config.model_dir, 8))
        lines = open(os.path.join(small.config.model_dir, aher_k600_train.LOG_NAME)).read().splitlines()
        assert [int(line.split()[1]) for line in lines if 'skipped' in line] == skipped
        assert [line.split()[1] for line in lines if 'skipped' not in line] == ['2', '4', '6', '8']
    with small_training(tmp_path, [], model_dir=str(tmp_path / 'ordinary'), max_steps=8 - len(skipped)) as small:
        small.train()  # as if the steps skipped had never been
        np.testing.assert_array_equal(values_of(snapshots.path(small.config.model_dir, 8 - len(skipped)))['weights'],
                                      last['weights'])


def test_too_many_skipped_steps_in_a_row_stop_also_across_a_resume(tmp_path):
    with small_training(tmp_path, [1, 1, NAN, NAN, NAN], on_nan='skip', max_skips=3, max_steps=4) as small:
        small.train()
    with small_training(tmp_path, [1, 1, NAN, NAN, NAN], on_nan='skip', max_skips=3) as small:
        with pytest.raises(InputError, match=r'step 5  .*--max_skips 3 in a row'):
            small.train()
        assert snapshots.steps_in(small.config.model_dir)[-1] == 4


def edit(path, change):
    """Change the object of a snapshot's .json, which then has no checksum of itself, as the first ones had none."""
    record = json.loads(open(path).read())
    record.pop(snapshots.ITSELF)
    change(record)
    with open(path, 'w') as text:
        json.dump(record, text)


def test_what_is_trained_already_and_changed_tables(tmp_path, capsys):
    with small_training(tmp_path, [], max_steps=0) as small:
        small.train()
        assert snapshots.steps_in(small.config.model_dir) == [0]
        assert exit_status(lambda: aher_k600_train.run(small.config)) == 0
        assert 'step_0: trained to step 0 already' in capsys.readouterr().out
    path = os.path.join(small.config.model_dir, snapshots.STATE_PREFIX + '0.json')
    edit(path, lambda record: record['progress'].update(next_videos={'moments': ['another']}))
    with small_training(tmp_path, []) as small, pytest.raises(InputError, match='the tables have changed since: st'):
        small.train()
    with small_training(tmp_path, [], accept_changes=True) as small:
        small.train()
        assert snapshots.steps_in(small.config.model_dir) == list(range(9))
        assert snapshots.steps_in(small.config.model_dir, snapshots.STATE_PREFIX) == [7, 8]


def test_ctrl_c_writes_a_snapshot(tmp_path):
    with small_training(tmp_path, [], snapshot_step=100) as small:
        with signal_at(3, signal.SIGINT), pytest.raises(Stopped, match='SIGINT; snapshot of step 3') as caught:
            small.train()
        assert caught.value.number == signal.SIGINT and small.resumed_step() == 3
    with small_training(tmp_path, [], snapshot_step=100, model_dir=str(tmp_path / 'new'), resume='never') as small:
        with signal_at(3, signal.SIGINT), pytest.raises(Stopped, match='same command with --resume auto goes on'):
            small.train()


def test_a_run_that_goes_on_is_built_so(small, monkeypatch):
    built = []
    monkeypatch.setattr(aher_k600_train, 'build', lambda config, goes_on: built.append(goes_on))
    monkeypatch.setattr(aher_k600_train, 'train', lambda *_: None)
    aher_k600_train.run(small.config)
    small.save(1)
    aher_k600_train.run(small.config)
    assert built == [False, True]  # bad_data.csv stays


def folder_of(small):
    os.makedirs(small.config.model_dir, exist_ok=True)
    return small.config.model_dir


@pytest.mark.parametrize('max_to_keep', [0, 1, 2])
def test_death_at_any_moment_of_a_write(small, tmp_path, monkeypatch, max_to_keep):
    folder, photographs = folder_of(small), []
    for step in (1, 2, 3):
        small.save(step)
    with open(snapshots.path(folder, 3) + '.data-00000-of-00001', 'r+b') as data:
        data.truncate(100)  # step 3 is damaged and written again

    def photographed(function):
        def wrapper(*arguments, **options):
            photographs.append(str(tmp_path / ('dead%d' % len(photographs))))
            shutil.copytree(folder, photographs[-1])
            return function(*arguments, **options)
        return wrapper

    with monkeypatch.context() as patch:
        for module, name in ((os, 'replace'), (os, 'remove'), (snapshots, 'sync'), (snapshots, 'sha256')):
            patch.setattr(module, name, photographed(getattr(module, name)))
        small.save(3, max_to_keep=max_to_keep)
        small.save(4, max_to_keep=max_to_keep)
    assert len(photographs) > 40
    found = []
    for photograph in photographs:
        small.config = small.config._replace(model_dir=photograph)
        snapshots.clean(photograph)
        found.append(small.resumed())
        assert not [name for name in os.listdir(photograph) if 'partial' in name]
        for step in snapshots.steps_in(photograph):
            assert os.path.exists(snapshots.path(photograph, step) + '.json')
    assert sorted(set(found)) == [2, 3, 4] and found == sorted(found)
    small.config = small.config._replace(model_dir=folder)
    assert small.resumed() == 4
    assert snapshots.steps_in(folder) == {0: [1, 2, 3, 4], 1: [4], 2: [3, 4]}[max_to_keep]


@pytest.mark.parametrize('name', [snapshots.PREFIX, snapshots.STATE_PREFIX])
@pytest.mark.parametrize('end', ['.index', '.data-00000-of-00001', '.json'])
@pytest.mark.parametrize('harm', ['truncated', 'flipped', 'missing', 'empty'])
def test_a_damaged_snapshot_is_named_and_the_one_before_used(small, capsys, name, end, harm):
    folder = folder_of(small)
    small.save(1)
    small.save(2)
    path = os.path.join(folder, name + '2' + end)
    content = bytearray(open(path, 'rb').read())
    content[len(content) // 2] ^= 1
    if harm == 'missing':
        os.remove(path)
    else:
        with open(path, 'wb') as file:
            file.write({'truncated': content[:len(content) // 2], 'flipped': content, 'empty': b''}[harm])
    capsys.readouterr()
    assert small.resumed() == 1
    said = [line for line in capsys.readouterr().out.splitlines() if 'skipped: ' in line]
    if (name, end, harm) == (snapshots.PREFIX, '.index', 'missing'):
        assert not said  # what has no .index never was whole
    else:
        assert len(said) == 1 and os.path.join(folder, name + '2') in said[0]


def test_a_flipped_digit_of_settings_or_progress_is_damage(small, capsys):
    folder = folder_of(small)
    small.save(1)
    for prefix in (snapshots.PREFIX, snapshots.STATE_PREFIX):
        small.save(2)
        path = os.path.join(folder, prefix + '2.json')
        content = open(path).read()
        digits = [place for place, sign in enumerate(content[:content.index('"files"')]) if sign.isdigit()]
        assert digits
        for place in digits:
            with open(path, 'w') as text:
                text.write(content[:place] + str((int(content[place]) + 1) % 10) + content[place + 1:])
            assert small.resumed_step() == 1 and 'skipped: %s: ' % path in capsys.readouterr().out


@pytest.mark.parametrize('changes', [3, {}, {'window': 3}, {'window': {'sums': {'a': 'x'}, 'steps': 1}},
                                     {'window': {'other': 1}}, {'window': {'sums': {'a': 1}}}, {'next_videos': 3}],
                         ids=range(7))
def test_a_progress_that_no_run_leaves_is_damage(tmp_path, capsys, changes):
    with small_training(tmp_path, [], max_steps=2) as small:
        small.train()
    path = os.path.join(small.config.model_dir, snapshots.STATE_PREFIX + '2.json')
    edit(path, lambda record: record.update(
        progress=dict(record['progress'], **changes) if changes and changes != 3 else changes))
    capsys.readouterr()
    assert snapshots.start_of(small.config, aher_k600_train.check_progress).step == 1
    assert 'skipped: %s: ' % path in capsys.readouterr().out
    with pytest.raises(snapshots.Damaged, match='use another snapshot'):
        snapshots.start_of(small.config._replace(resume=snapshots.path(small.config.model_dir, 2)),
                           aher_k600_train.check_progress)


@pytest.mark.parametrize('part', ['model', 'train', 'data', 'files'])
@pytest.mark.parametrize('content', [3, [], None])
def test_settings_that_are_no_settings_are_damage(small, capsys, part, content):
    folder = folder_of(small)
    small.save(1)
    small.save(2)
    path = snapshots.path(folder, 2) + '.json'
    edit(path, lambda record: record.update({part: content}))
    assert small.resumed() == 1 and 'skipped: %s: ' % path in capsys.readouterr().out


def test_folders_in_the_place_of_files_are_said(tmp_path):
    with small_training(tmp_path, [], max_steps=1) as small:
        folder = folder_of(small)
        os.mkdir(os.path.join(folder, aher_k600_train.LOG_NAME))
        with pytest.raises(InputError, match='loss_results_log.txt: found a folder, expected a file'):
            small.train()
    os.mkdir(os.path.join(folder, snapshots.STATE_PREFIX + '9.index_old'))
    with pytest.raises(InputError, match='cannot be written: Is a directory'):
        snapshots.clean(folder)


def test_no_space_left(small, monkeypatch):
    folder = folder_of(small)
    small.save(1)
    before = sorted(os.listdir(folder))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (100, 5000, 20000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))  # the writing itself fails, inside TensorFlow
        try:
            with pytest.raises(InputError, match='step_2: cannot be written: .*File too large') as caught:
                small.save(2, max_to_keep=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert '\n' not in str(caught.value) and sorted(os.listdir(folder)) == before

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(snapshots, 'sync', full)
    with pytest.raises(InputError, match='step_2: cannot be written: No space left on device'):
        small.save(2, max_to_keep=1)
    assert sorted(os.listdir(folder)) == before and small.resumed() == 1


def test_without_a_state_training_does_not_go_on(small, capsys):
    folder = folder_of(small)
    for step in (1, 2, 3):
        small.save(step)
    for end in ('.index', '.json', '.data-00000-of-00001'):
        os.remove(os.path.join(folder, snapshots.STATE_PREFIX + '3' + end))
    assert small.resumed() == 2
    assert 'step_3: training cannot go on from it' in capsys.readouterr().out
    with pytest.raises(InputError, match='step_1: training cannot go on from it'):
        snapshots.start_of(small.config._replace(resume=snapshots.path(folder, 1)))
    shutil.rmtree(folder)
    os.makedirs(folder)
    small.parts.model.saver.save(small.session, snapshots.path(folder, 9))  # as the authors' code does
    with pytest.raises(InputError, match='training can go on from none of its 1 snapshots; name another --model_dir'):
        snapshots.start_of(small.config)
    snapshots.clean(folder)
    assert snapshots.steps_in(folder) == [9] and snapshots.verify(snapshots.path(folder, 9)) is None


def test_never_and_a_path_mix_nothing(small, tmp_path):
    folder = folder_of(small)
    assert snapshots.start_of(small.config._replace(resume='never')) is None
    for step in (1, 2):
        small.save(step)
    with pytest.raises(InputError, match='--resume never would mix .*--model_dir, or go on with --resume auto'):
        snapshots.start_of(small.config._replace(resume='never'))
    earlier = small.config._replace(resume=snapshots.path(folder, 1))
    with pytest.raises(InputError, match=r'holds snapshots \(step 2\) that do not lead to'):
        snapshots.start_of(earlier)
    assert snapshots.start_of(earlier._replace(model_dir=str(tmp_path / 'other'))).step == 1
    assert snapshots.start_of(small.config._replace(resume=snapshots.path(folder, 2) + '.index')).step == 2
    with pytest.raises(InputError, match='expected the path of one, FOLDER/'):
        snapshots.start_of(small.config._replace(resume='nowhere'))


def test_other_settings_are_refused_with_a_list_or_accepted(small):
    folder_of(small)
    small.save(1)
    same = settings.override(small.config, max_steps=9, snapshot_step=1, log_step=1, workers=3, data_root='moved',
                             source_clips='elsewhere', on_nan='skip', max_to_keep=3, results_dir='r', nms_tiou=0.1,
                             bad_data='skip', max_bad_share=0.5)
    assert snapshots.start_of(same).step == 1
    other = settings.override(small.config, learning_rate=0.5, seed=3, moment_ratios=(1, 2))
    with pytest.raises(InputError) as caught:
        snapshots.start_of(other)
    for part in ('learning_rate 0.001 (this run: 0.5)', 'seed 0 (this run: 3)', 'moment_ratios [3, 19]',
                 '--accept_changes on'):
        assert part in str(caught.value)
    assert snapshots.start_of(settings.override(other, accept_changes=True)).step == 1


def test_a_state_of_other_variables(small):
    folder_of(small)
    small.save(1)
    start = snapshots.start_of(small.config)
    one_less = small.parts._replace(state=small.parts.state._replace(variables=small.parts.state.variables[1:]))
    with pytest.raises(InputError, match='expected 3; it is the state of other updates'):
        snapshots.resume(small.session, one_less, start)


def test_a_lock_has_one_owner_and_is_never_left_over(tmp_path):
    path = str(tmp_path / 'new' / 'lock')
    holder = started('-c', 'import sys, time, files\nwith files.locked(sys.argv[1]):\n    print(1, flush=True)\n'
                           '    time.sleep(600)', path)
    holder.stdout.readline()
    with pytest.raises(InputError, match='held by process %d on ' % holder.pid), files.locked(path):
        pass
    holder.kill()
    holder.communicate()
    with files.locked(path):
        assert 'process %d on ' % os.getpid() in open(path).read()


# Tests that were interrupted

def error_of(capsys, module, *arguments):
    capsys.readouterr()
    with tf.Graph().as_default():
        assert exit_status(lambda: module.main(list(arguments))) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_an_interrupted_test_gives_the_same_bytes(runs, capsys, monkeypatch):
    world, _ = runs
    name, restored, restore = aher_k600_test.RESULTS_NAME % 7, [], snapshots.restore

    def counted(session, prefix, part):
        restored.append(prefix)
        return restore(session, prefix, part)

    def interrupting(path, text):
        files.append(path, text)
        send_and_be_heard(signal.SIGINT)

    config = tiny(world, 'parts', test_batch_size=2)
    with tf.Graph().as_default(), new_session(1) as session:
        tester = aher_k600_test.build(config)
        checksums = snapshots.check_settings(snapshots.path(config.model_dir, 7), config)

        def test(results, append=files.append, resume='auto', **changes):
            mine = settings.override(config, results_dir=str(world / results), resume=resume, **changes)
            monkeypatch.setattr(aher_k600_test, 'append', append)
            capsys.readouterr()
            return exit_status(lambda: aher_k600_test.test_snapshot(session, tester, 7, checksums, mine, 'xyz'))

        monkeypatch.setattr(snapshots, 'restore', counted)
        assert test('once') == 0
        expected = (world / 'once' / name).read_bytes()
        assert len(json.loads(expected.decode())['results']) == 5

        partial = world / 'twice' / name.replace('.json', '.partial.jsonl')
        assert test('twice', interrupting) == 130
        assert 'stopped by SIGINT; 2 of 5 videos are kept' in capsys.readouterr().err.splitlines()[-1]
        assert not (world / 'twice' / name).exists() and len(partial.read_text().splitlines()) == 3
        with open(str(partial), 'a') as torn:
            torn.write('["c", nul')
        assert test('twice', interrupting) == 130
        assert '4 of 5' in capsys.readouterr().err and len(partial.read_text().splitlines()) == 5
        lines = partial.read_text().splitlines(True)
        partial.write_text(''.join(lines[:4]) + lines[4][:20])  # a batch that is not whole
        assert test('twice') == 0
        assert (world / 'twice' / name).read_bytes() == expected and not partial.exists()

        del restored[:]
        assert test('twice') == 0 and not restored and 'kept, of an earlier run' in capsys.readouterr().out
        assert test('twice', resume='never') == 0 and len(restored) == 1
        assert test('twice', interrupting, max_detections=7, resume='never') == 130
        assert test('twice') == 0 and len(restored) == 2  # those kept are whole, and of these settings
        assert test('twice', max_detections=6) == 0 and len(restored) == 3
        assert test('twice') == 0 and len(restored) == 4
        with open(str(world / 'twice' / name), 'a') as results:
            results.write(' ')
        assert test('twice') == 0 and len(restored) == 5 and (world / 'twice' / name).read_bytes() == expected


@pytest.mark.parametrize('lines, kept', [
    ([['a', None, []], ['b', True, []], ['c', False, []]], 2), (['[' * 10 ** 5], 0), ([3], 0), (['{"a": 1}'], 0),
    ([['a', None, []], ['b', None]], 0), ([['b', None, []], ['a', None, []]], 0),
    ([['a', None, []], ['b', 7, []]], 0), ([['a', None, []], ['b', None, [{'score': 'x'}]]], 0),
    ([['a', None, []], ['b', None, 3]], 0), ([[name, None, []] for name in 'abcdef'], 4)], ids=range(10))
def test_of_a_partial_file_only_what_this_run_can_have_written_is_kept(tmp_path, lines, kept):
    videos = [data_loader.Video(name, 0, 1.0, 8, 1, np.zeros((0, 2)), False) for name in 'abcd']
    path, origin = tmp_path / 'partial.jsonl', {'model': {}}
    path.write_text(''.join((line if isinstance(line, str) else json.dumps(line)) + '\n'
                            for line in [origin] + lines))
    assert aher_k600_test.begun(str(path), origin, 2, videos) == lines[:kept]


@pytest.mark.parametrize('changes, is_kept', [
    ({}, True), ({'accuracy': None}, True), ({'accuracy': 'x'}, False), ({'accuracy': [1]}, False),
    ({'accuracy': 7}, False), ({'sha256': 3}, False), ({'model': 3}, False), (None, False),
    ('[' * 10 ** 5, False)], ids=range(9))
def test_results_with_an_origin_that_is_none_are_made_again(tmp_path, changes, is_kept):
    path, origin = str(tmp_path / 'results.json'), {'model': {}}
    with open(path, 'w') as text:
        text.write('{"results": {}}')
    saved = dict(origin, accuracy=0.5, sha256=files.sha256(path))
    (tmp_path / 'results.origin.json').write_text(
        changes if isinstance(changes, str) else json.dumps(changes if changes is None else dict(saved, **changes)))
    assert (aher_k600_test.finished(path, origin) is not None) == is_kept


def test_a_damaged_snapshot_is_not_tested(runs, capsys):
    world, _ = runs
    shutil.copytree(str(world / 'whole'), str(world / 'harmed'))
    path = snapshots.path(str(world / 'harmed'), 7) + '.data-00000-of-00001'
    with open(path, 'r+b') as data:
        data.truncate(50)
    config = tiny(world, 'harmed')._replace(results_dir=str(world / 'harmed_results'))
    with pytest.raises(InputError, match='data-00000-of-00001: damaged'):
        aher_k600_test.run(config, [7])


if __name__ == '__main__':
    print(json.dumps(run_scenarios(sys.argv[1])))
