"""The log of a training run: what it counts, what it writes, and what it accepts from a snapshot."""
import os

import pytest
from data_sets import message_of

from runtime import training_log
from runtime.session import tf
from runtime.training_log import ScreenLoss, TrainingLog, Window, check_progress, screen_means


def lines_of(folder):
    with open(os.path.join(str(folder), training_log.LOG_NAME)) as log:
        return log.read().splitlines()


def scalars_of(folder):
    """{(step, name): value} that TensorBoard shows of the files in `folder`."""
    found = {}
    for name in sorted(os.listdir(str(folder))):
        if 'tfevents' in name:
            for event in tf.train.summary_iterator(str(folder / name)):
                found.update({(event.step, value.tag): value.simple_value for value in event.summary.value})
    return found


def test_lines_have_the_means_of_the_counted_steps(tmp_path, capsys):
    with TrainingLog(str(tmp_path), 0) as log:
        log.add({'moment/loss': 1.0})
        assert log.skip() == 1 and log.skip() == 2
        log.add({'moment/loss': 4.0})
        assert log.skip() == 1
        assert log.write_means(5, rate=0.5) == {'moment/loss': 2.5}
        assert log.window == Window({}, 0, 1, 3)
        assert log.write_means(6, rate=0.25) == {}  # no step was counted
    assert lines_of(tmp_path) == ['step 5  moment/loss 2.5  rate 0.5', 'step 6  rate 0.25']
    assert scalars_of(tmp_path) == {(5, 'moment/loss'): 2.5, (5, 'rate'): 0.5, (6, 'rate'): 0.25}
    assert capsys.readouterr().out == ''  # the screen has other lines


def test_a_line_of_the_screen_has_comparable_means():
    losses = {'moment': ScreenLoss(('a',), 0.5), 'both': ScreenLoss(('b', 'c'), 10), 'one': ScreenLoss(('c', 'x'), 3),
              'none': ScreenLoss(('x',), 1)}
    # 1.25 / 0.5; the mean of 1394 and 6, 700, divided by 10; 6 / 3
    assert screen_means({'a': 1.25, 'b': 1394.0, 'c': 6.0}, losses) == 'moment 2.500  both 70.000  one 2.000'
    assert screen_means({}, losses) == ''



@pytest.mark.parametrize('end', ['', 'step 3  loss 9\n', 'step 3  loss', 'no step', 'step 2'])
def test_a_resumed_run_removes_lines_of_later_steps_and_a_cut_off_line(tmp_path, end):
    path = tmp_path / training_log.LOG_NAME
    path.write_text('step 1  loss 2\nstep 2  loss 1\n' + end)
    with TrainingLog(str(tmp_path), 2, Window({'loss': 3.0}, 1)) as log:
        log.add({'loss': 4.0})
        log.write_means(4)
    assert lines_of(tmp_path) == ['step 1  loss 2', 'step 2  loss 1', 'step 4  loss 3.5']


def test_lines_of_the_user_stay(tmp_path):
    path = tmp_path / training_log.LOG_NAME
    path.write_bytes(b'note: restarted \xe9\nstep 1  loss 2\nstep 3  loss 1\n')
    with TrainingLog(str(tmp_path), 2):
        pass
    assert path.read_bytes() == b'note: restarted \xe9\nstep 1  loss 2\n'


def test_the_log_of_an_earlier_training_is_renamed(tmp_path, capsys):
    path = tmp_path / training_log.LOG_NAME
    for number in (1, 2):
        path.write_text('note\nstep %d  loss 2\n' % number)
        with TrainingLog(str(tmp_path), 0) as log:
            log.write_means(4)
        assert 'the log of an earlier training is now %s.%d' % (path, number) in capsys.readouterr().out
        assert (tmp_path / (training_log.LOG_NAME + '.%d' % number)).read_text() == 'note\nstep %d  loss 2\n' % number
        assert lines_of(tmp_path) == ['step 4  ']


def test_a_folder_in_place_of_the_log(tmp_path):
    (tmp_path / training_log.LOG_NAME).mkdir()
    assert 'loss_results_log.txt: found a folder, expected a file' in message_of(TrainingLog, str(tmp_path), 0)


def test_what_a_run_saves_is_accepted_and_nothing_else():
    window = {'sums': {'a': 0.5}, 'steps': 1, 'skips': 0, 'all_skips': 0}
    for good in (window, dict(window, sums={}), Window()._asdict()):
        check_progress({'window': good})
    for bad in (3, None, {'other': 1}, {'sums': {'a': 'x'}, 'steps': 1}, {'sums': {'a': 1}}, {'steps': True},
                dict(window, skips='0')):
        message_of(check_progress, {'window': bad})
    for progress in ({}, {'window': 3}, {'other': window}):
        message_of(check_progress, progress)
