"""A training and a run that watches it: the order of snapshots, when the wait ends, and requests to stop."""
import json
import os
import signal

import pytest
from data_sets import message_of

from runtime import snapshots, watching
from runtime.errors import exit_status
from runtime.files import file_lock
from runtime.watching import Watch, best_step, is_asked_to_stop, take_request


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'models').mkdir()
    return str(tmp_path / 'models')


@pytest.fixture
def sleep(monkeypatch):
    """A list of functions: each wait between two looks calls the first one left; there must be no further wait."""
    calls = []
    monkeypatch.setattr(watching.time, 'sleep', lambda seconds: calls.pop(0)())
    return calls


def add(folder, *steps):
    """Write the .index files of these steps, which is when a snapshot is complete."""
    for step in steps:
        with open(snapshots.path(folder, step) + '.index', 'w') as index:
            index.write('%d' % step)


def remove(folder, step):
    os.remove(snapshots.path(folder, step) + '.index')


def training(folder):
    """The lock of a training."""
    return file_lock(os.path.join(folder, watching.TRAIN_LOCK))


# Waiting

def test_snapshots_come_in_the_order_of_their_steps_until_training_ends(folder, sleep, capsys):
    lock = training(folder)
    lock.__enter__()
    add(folder, 1000, 200)

    def end():
        add(folder, 1300)
        lock.__exit__(None, None, None)

    sleep[:] = [lambda: add(folder, 1200, 1100), end]
    with Watch(folder) as watch:
        assert list(iter(watch.next_step, None)) == [200, 1000, 1100, 1200, 1300]
    assert not sleep and capsys.readouterr().out.splitlines() == [
        'waiting for snapshots of the training in %s; Ctrl-C ends the wait' % folder]  # once


def test_without_a_training_the_snapshots_that_are_there_are_given(folder, sleep, capsys):
    add(folder, 7, 5)
    with Watch(folder) as watch:
        watch.wait_for_first()
        assert list(iter(watch.next_step, None)) == [5, 7]
    assert capsys.readouterr().out == ''


def test_a_watch_that_starts_first_waits_for_training_and_says_so_once(folder, sleep, capsys):
    lock = training(folder)
    sleep[:] = [lambda: None, lock.__enter__, lambda: None, lambda: add(folder, 3),
                lambda: lock.__exit__(None, None, None)]
    with Watch(folder) as watch:
        watch.wait_for_first()
        assert list(iter(watch.next_step, None)) == [3]
    assert not sleep and capsys.readouterr().out.splitlines() == [
        'found neither snapshots nor a running training in %s; waiting for them' % folder,
        'waiting for the first snapshot of the training in %s' % folder,
        'waiting for snapshots of the training in %s; Ctrl-C ends the wait' % folder]


def test_a_training_that_ends_without_a_snapshot(folder, sleep):
    lock = training(folder)
    sleep[:] = [lock.__enter__, lambda: lock.__exit__(None, None, None)]
    with Watch(folder) as watch:
        assert message_of(watch.wait_for_first) == (
            '%s: training has ended without a snapshot; start it again' % folder)


def test_snapshots_that_training_removes_before_their_turn_are_named(folder, sleep, capsys):
    add(folder, 1, 2, 3)
    with Watch(folder) as watch:
        assert watch.next_step() == 1
        add(folder, 4)
        watch.look()  # as during the test of step 1
        remove(folder, 2)
        remove(folder, 4)
        assert watch.next_step() == 3 and watch.next_step() is None
    assert capsys.readouterr().out.splitlines() == [
        '%s: training has removed it before it was tested (--max_to_keep)' % snapshots.path(folder, step)
        for step in (2, 4)]


def test_a_snapshot_that_is_written_again_is_given_again(folder, sleep):
    add(folder, 1, 2)
    with Watch(folder) as watch:
        assert watch.next_step() == 1
        os.rename(snapshots.path(folder, 1) + '.index', os.path.join(folder, 'kept'))  # keeps its inode
        add(folder, 1)
        assert list(iter(watch.next_step, None)) == [1, 2]


def test_ctrl_c_ends_the_wait(folder, sleep, capsys):
    add(folder, 1)

    def watch():
        with training(folder), Watch(folder) as watch:
            while watch.next_step() is not None:
                pass

    sleep[:] = [lambda: os.kill(os.getpid(), signal.SIGTERM)]
    assert exit_status(watch) == 143
    assert capsys.readouterr().err == 'stopped by SIGTERM; 1 snapshot was tested; the same command continues\n'


def test_two_watches_do_not_share_a_folder(folder):
    with Watch(folder):
        assert '.watch.lock: held by process %d' % os.getpid() in message_of(Watch(folder).__enter__)


# best.json

@pytest.mark.parametrize('content, step', [
    ('{"step": 400}', 400), (None, None), ('{"step": "400"}', None), ('{"step": true}', None), ('[]', None),
    ('{', None)])
def test_the_best_step(folder, content, step):
    path = os.path.join(folder, watching.BEST_NAME)
    if content is not None:
        with open(path, 'w') as text:
            text.write(content)
    assert best_step(folder) == step
    if content is not None and step is None:
        assert '%s: found another file there' % path in message_of(Watch(folder).__enter__)


def test_the_snapshot_that_is_tested_is_kept_until_the_next_one(folder, sleep):
    """A watch that is killed leaves one more; the next watch removes the file."""
    add(folder, 5, 7)
    with open(os.path.join(folder, watching.BEST_NAME), 'w') as text:
        text.write('{"step": 2}')
    with Watch(folder) as watch:
        for step in (5, 7):
            assert watch.next_step() == step and watching.kept_steps(folder) == {2, step}
    assert watching.kept_steps(folder) == {2}


# Requests to stop

def test_training_is_asked_once_and_takes_the_request(folder, capsys):
    with training(folder), Watch(folder) as watch:
        watch.ask_to_stop('enough')
        assert capsys.readouterr().out == 'training in %s is asked to stop: enough\n' % folder
        assert is_asked_to_stop(folder)
        assert take_request(folder).startswith('aher_k600_test.py --watch (process %d on ' % os.getpid())
        watch.ask_to_stop('enough')
        assert not is_asked_to_stop(folder) and take_request(folder) is None


def test_who_asks_and_why_is_in_the_request(folder):
    with training(folder), Watch(folder) as watch:
        watch.ask_to_stop('no better average mAP in 3 snapshots; best: step 400')
        with open(os.path.join(folder, watching.REQUEST_NAME)) as text:
            assert sorted(json.load(text)) == ['from', 'why']
        assert take_request(folder).endswith('): no better average mAP in 3 snapshots; best: step 400')


def test_without_a_training_nothing_is_asked(folder):
    with Watch(folder) as watch:
        watch.ask_to_stop('enough')
    assert not is_asked_to_stop(folder)


def test_a_request_that_training_has_not_seen_before_its_end_is_removed(folder):
    with Watch(folder) as watch:
        with training(folder):
            watch.ask_to_stop('enough')
        assert is_asked_to_stop(folder)
    assert not is_asked_to_stop(folder)


@pytest.mark.parametrize('content', ['', '{}', '[]', '{'])
def test_a_file_made_by_hand_is_a_request(folder, content):
    path = os.path.join(folder, watching.REQUEST_NAME)
    with open(path, 'w') as text:
        text.write(content)
    assert is_asked_to_stop(folder) and take_request(folder) == 'the file %s' % path and not os.path.exists(path)


def test_a_folder_or_pipe_is_no_request(folder):
    path = os.path.join(folder, watching.REQUEST_NAME)
    for make, unmake in ((os.mkdir, os.rmdir), (os.mkfifo, os.remove)):
        make(path)
        assert not is_asked_to_stop(folder) and take_request(folder) is None
        unmake(path)
