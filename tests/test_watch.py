"""A training and a run that watches it, as two processes; the choice of a snapshot in the script; wrong flags."""
import json
import os
import re
import shutil
import signal
from unittest import mock

import pytest
from data_sets import make_annotated_world, own_lines, python
from run_helpers import started
from test_scripts import contents, error_of, flags, run_main

import aher_k600_test
import aher_k600_train
from runtime import snapshots, watching
from runtime.errors import exit_status
from runtime.session import tf


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder with tiny demo data and its ground truth."""
    folder = tmp_path_factory.mktemp('world')
    make_annotated_world(folder)
    return folder


@pytest.fixture(scope='module')
def watched(world):
    """(the world, output of a training that never reaches its last step, output of the watch that stops it)."""
    common, results = flags(world)
    watch = started('aher_k600_test.py', *common, *results, '--watch', '--patience', '1')
    train = started('aher_k600_train.py', *common, '--max_steps', '100000', '--snapshot_step', '5', '--log_step', '5',
                    '--batch_size', '2', '--context', 'localized', '--max_to_keep', '2')
    outputs = [process.communicate(timeout=500) for process in (train, watch)]
    for process, (_, errors) in zip((train, watch), outputs):
        assert process.returncode == 0, errors
        assert not own_lines(errors)  # no bar, because standard error is no terminal
    return world, outputs[0][0].splitlines(), outputs[1][0].splitlines()


def rows_of(lines):
    """Cells of the rows of the table."""
    return [line.split() for line in lines if re.match(r' *\d+ +(-|\d+\.\d\d) ', line)]


def test_patience_stops_training_which_writes_its_snapshot(watched):
    world, train, watch = watched
    asked, = [line for line in watch if 'is asked to stop' in line]
    why = re.match(r'training in %s is asked to stop: (no better average mAP in 1 snapshot; best: step \d+)$'
                   % re.escape(str(world / 'models')), asked).group(1)
    step = snapshots.steps_in(str(world / 'models'))[-1]
    assert train[-2] == 'snapshot %s' % (world / 'models' / (snapshots.PREFIX + '%d' % step))
    assert re.match(r'training stops before step 100000, as it was asked to \(aher_k600_test.py --watch \(process '
                    r'\d+ on .*\): %s\); the snapshot of step %d is written; the same command continues from it$'
                    % (why, step), train[-1])
    assert not (world / 'models' / watching.REQUEST_NAME).exists()
    screen = [line for line in train if line.startswith('step ')]
    assert screen and all(re.match(
        r'step \d+ of 100000  [\d.]+ s/step  [\d: d]+ left  moment [\d.]+  foreground [\d.]+  untrimmed [\d.]+  '
        r'synthetic [\d.]+  proposal [\d.]+$', line) for line in screen)


def test_the_watch_tests_snapshots_as_they_come_and_keeps_the_best(watched):
    world, _, watch = watched
    models, rows = str(world / 'models'), rows_of(watch)
    steps = [int(row[0]) for row in rows]
    assert steps == sorted(set(steps)) and steps[-1] == snapshots.steps_in(models)[-1]
    with open(os.path.join(models, watching.BEST_NAME)) as text:
        best = json.load(text)
    assert [row['step'] for row in best['tested']] == steps
    assert max(best['tested'], key=lambda row: row['average_mAP'])['step'] == best['step']
    assert os.path.exists(best['snapshot'] + '.index') and best['snapshot'] == snapshots.path(models, best['step'])
    row = rows[steps.index(best['step'])]
    for cell, name in ((1, 'accuracy'), (2, 'AUC'), (3, 'AR@100'), (4, 'mAP@0.5'), (-1, 'average_mAP')):
        assert float(row[cell]) == pytest.approx(best['reported'][name], abs=0.006)
    ended, coverage, line, *figures = watch[-5:]
    assert ended == 'training in %s has ended' % models and coverage == 'over 5 videos; all of them have results'
    assert line.startswith('best: step %d, average mAP %s %%; chosen on the same videos, ' % (best['step'], row[-1]))
    assert len(figures) == 2 and all(os.path.exists(figure[len('figure '):]) for figure in figures)
    found = {}
    for name in os.listdir(os.path.join(models, 'tested')):
        for event in tf.train.summary_iterator(os.path.join(models, 'tested', name)):
            found.update({(event.step, value.tag): value.simple_value for value in event.summary.value})
    assert sorted({step for step, _ in found}) == steps
    assert found[best['step'], 'test/mAP@0.5'] == pytest.approx(best['reported']['mAP@0.5'], rel=1e-5)


def test_tensorboard_starts_and_finds_losses_and_figures(watched):
    found = python('-m', 'tensorboard.main', '--inspect', '--logdir', str(watched[0] / 'models'))
    assert found.returncode == 0, found.stderr
    assert {'moment/classification', 'test/average_mAP', 'test/AR@100'} <= set(found.stdout.split())


def test_a_watch_of_an_ended_training_tests_what_is_there(watched, tmp_path, capsys):
    world, _, _ = watched
    shutil.copytree(str(world / 'models'), str(tmp_path / 'models'))
    common, _ = flags(world, models=str(tmp_path / 'models'))
    names = snapshots.steps_in(str(tmp_path / 'models'))
    damaged = snapshots.path(str(tmp_path / 'models'), names[0]) + '.data-00000-of-00001'
    with open(damaged, 'r+b') as data:
        data.truncate(50)
    run_main(aher_k600_test, *common, '--results_dir', str(tmp_path / 'results'), '--watch')
    lines = capsys.readouterr().out.splitlines()
    assert [int(row[0]) for row in rows_of(lines)] == names[1:]
    assert [line for line in lines if line.startswith('skipped: ')] == [
        'skipped: %s: damaged, not the file that was written (SHA-256 differs); use another snapshot' % damaged]
    assert 'training in %s has ended' % (tmp_path / 'models') in lines


def test_a_snapshot_that_training_removes_while_it_is_tested_is_named(watched, tmp_path, capsys):
    world, _, _ = watched
    shutil.copytree(str(world / 'models'), str(tmp_path / 'models'))
    common, _ = flags(world, models=str(tmp_path / 'models'))
    first = snapshots.path(str(tmp_path / 'models'), snapshots.steps_in(str(tmp_path / 'models'))[0])
    restore = snapshots.restore

    def removed(session, prefix, part):
        if prefix == first:
            os.remove(prefix + '.index')
        return restore(session, prefix, part)

    with mock.patch.object(snapshots, 'restore', removed):
        run_main(aher_k600_test, *common, '--results_dir', str(tmp_path / 'results'), '--watch')
    assert 'skipped: %s: training has removed it before it was tested (--max_to_keep)' % first in (
        capsys.readouterr().out.splitlines())


# The choice without a watch

def test_videos_held_out_change_the_table_and_no_results(watched, tmp_path, capsys):
    world, _, _ = watched
    common = flags(world)[0] + ['--threads', '1']
    run_main(aher_k600_test, *common, '--results_dir', str(tmp_path / 'all'))
    everything = capsys.readouterr().out.splitlines()
    run_main(aher_k600_test, *common, '--results_dir', str(tmp_path / 'share'), '--select_share', '0.5',
             '--select_seed', '3')
    lines = capsys.readouterr().out.splitlines()
    # classes 0: a and d, 1: b, 2: c and e; so two videos are held out
    assert 'over 3 videos; all of them have results; 2 others held out for the choice' in lines
    line, = [line for line in lines if line.startswith('best: ')]
    assert re.match(r'best: step \d+, average mAP [\d.]+ % on the 3 videos of the table; chosen by [\d.]+ % on 2 '
                    'others held out$', line)
    one, other = contents(tmp_path / 'all'), contents(tmp_path / 'share')
    results = {name for name in one if name.startswith('results_')}
    assert len(results) == 2 * len(rows_of(lines)) > 0 and all(one[name] == other[name] for name in results)
    assert rows_of(everything) != rows_of(lines)
    for cells in rows_of(lines):  # the accuracy of three videos
        assert cells[1] in ('0.00', '33.33', '66.67', '100.00')


def test_results_of_an_earlier_version_do_not_say_which_labels_are_right(watched, tmp_path, capsys):
    world, _, _ = watched
    shutil.copytree(str(world / 'results'), str(tmp_path / 'results'))
    step = snapshots.steps_in(str(world / 'models'))[-1]
    path = tmp_path / 'results' / (aher_k600_test.RESULTS_NAME % step).replace('.json', '.origin.json')
    origin = json.loads(path.read_text())
    assert sorted(origin['right_labels']) == ['a', 'b', 'c', 'd', 'e']
    assert sum(origin['right_labels'].values()) / 5 == origin['accuracy']
    del origin['right_labels']
    path.write_text(json.dumps(origin))
    common, _ = flags(world)
    run_main(aher_k600_test, *common, '--results_dir', str(tmp_path / 'results'), '--select_share', '0.5', '--steps',
             '%d' % step)
    lines = capsys.readouterr().out.splitlines()
    assert rows_of(lines)[0][1] == '-' and any('an earlier version wrote these results' in line for line in lines)


# What users get wrong

@pytest.fixture
def no_graph(monkeypatch):
    """Makes a test fail that builds the graph, or waits."""
    def fail(*_):
        raise AssertionError('the graph is built, or the wait starts')
    monkeypatch.setattr(aher_k600_test, 'build', fail)
    monkeypatch.setattr(watching.time, 'sleep', fail)


@pytest.mark.parametrize('given, message', [
    (['--patience', '3'], '--patience 3: expected --watch, too'),
    (['--watch', '--patience', '0'], '--patience 0: expected 1 or more snapshots'),
    (['--watch', '--steps', '8000'], '--watch and --steps: expected one of them'),
    (['--select_share', '1'], '--select_share 1: expected 0, or a share below 1'),
    (['--select_share', '-0.1'], '--select_share -0.1: expected 0'),
    (['--select_share', 'nan'], '--select_share nan: expected 0')])
def test_flags_that_do_not_fit(given, message, no_graph, capsys):
    assert message in error_of(capsys, aher_k600_test, *given)


def test_without_ground_truth_there_is_nothing_to_choose_by(watched, tmp_path, no_graph, capsys):
    world, _, _ = watched
    (common, _), results, data = flags(world), ['--results_dir', str(tmp_path / 'results')], tmp_path / 'data'
    shutil.copytree(str(world / 'data'), str(data))
    os.remove(str(data / 'k600_val_action.json'))
    for given in (['--watch'], ['--watch', '--model_dir', str(tmp_path / 'new')], ['--select_share', '0.2']):
        error = error_of(capsys, aher_k600_test, *common, *results, '--data_root', str(data), *given)
        assert '%s: needs ground truth, but found no ground truth at %s' % (
            given[0], data / 'k600_val_action.json') in error


def test_ctrl_c_ends_the_wait_for_a_training(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(watching.time, 'sleep', lambda seconds: os.kill(os.getpid(), signal.SIGINT))
    common, _ = flags(world, models=str(tmp_path / 'models'))
    with tf.Graph().as_default():
        status = exit_status(lambda: aher_k600_test.main([*common, '--watch']))
    captured = capsys.readouterr()
    assert status == 130
    assert captured.err == 'stopped by SIGINT; 0 snapshots were tested; the same command continues\n'
    assert captured.out.splitlines()[-1] == (
        'found neither snapshots nor a running training in %s; waiting for them' % (tmp_path / 'models'))


def test_training_takes_its_lock_while_it_is_watched(world, tmp_path):
    """A watch looks at the lock again and again; a training that starts must get it."""
    lock = str(tmp_path / watching.TRAIN_LOCK)
    with watching.Watch(str(tmp_path)) as watch:
        assert not watch.is_training()
        with aher_k600_train.file_lock(lock):
            assert watch.is_training()
        assert not watch.is_training()
