"""Ctrl-C and SIGTERM, at any time of a run, and reads that hang."""
import os
import signal
import subprocess
import threading
import time

import pytest
from data_sets import python
from run_helpers import send_signal, started

from dataset import bad_data
from dataset.bad_data import BadData
from runtime import signals

LOOP = '''
import sys, time
from runtime import signals
from runtime.errors import Interrupted, run_and_exit
signals.HANG_SECONDS, signals.FIRST_HANG_SECONDS, signals.REPEAT_SECONDS = 1, 1, float(sys.argv[2])
def main():
    with signals.SignalWatcher('step') as watcher:
        print('ready', flush=True)
        if sys.argv[1] == 'hang':
            with watcher.iteration():
                time.sleep(600)
        while sys.argv[1] == 'ignore' or not watcher.received:
            time.sleep(0.01)
        sys.stdin.readline()
    raise Interrupted(watcher.received)
run_and_exit(main)
'''


@pytest.mark.parametrize('behaviour, sent, repeat, status, message', [
    ('exit', [signal.SIGINT], 1, 130, 'stopped by SIGINT'),
    ('exit', [signal.SIGTERM], 1, 143, 'stopped by SIGTERM'),
    ('exit', [signal.SIGHUP], 1, 129, 'stopped by SIGHUP'),
    ('exit', [signal.SIGUSR1], 1, 138, 'stopped by SIGUSR1'),
    ('exit', [signal.SIGTERM, signal.SIGTERM], 3600, 143, 'stopped by SIGTERM'),  # at once: one signal
    ('hang', [signal.SIGTERM], 1, 143, 'exit at once (the step did not end in 1 s'),
    ('ignore', [signal.SIGINT, signal.SIGINT], 0, 130, 'exit at once (a second signal'),
    ('ignore', [signal.SIGINT, signal.SIGTERM], 0, 130, 'exit at once (a second signal')])
def test_the_first_signal_lets_the_iteration_finish_and_a_second_exits(behaviour, sent, repeat, status, message):
    process = started('-c', LOOP, behaviour, str(repeat), stdin=subprocess.PIPE)
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(sent[0])
    assert process.stderr.readline() == '\n' and 'a second signal exits at once' in process.stderr.readline()
    for number in sent[1:]:
        process.send_signal(number)
    _, errors = process.communicate('\n', timeout=300)
    assert process.returncode == status and 'Traceback' not in errors
    assert message in errors.strip().splitlines()[0]


def test_a_frozen_machine_does_not_count_as_a_hanging_step(monkeypatch):
    """The clock jumps by an hour while a step runs; the step gets as many checks as without the jump."""
    monkeypatch.setattr(signals, 'POLL_SECONDS', 0.02)
    monkeypatch.setattr(signals, 'HANG_SECONDS', 1)
    exits, now = [], time.monotonic
    jump = [0]
    monkeypatch.setattr(signals.time, 'monotonic', lambda: now() + jump[0])
    monkeypatch.setattr(signals.SignalWatcher, '_exit', lambda watcher, reason: exits.append(reason))
    with signals.SignalWatcher('step') as watcher:
        with watcher.iteration():
            pass
        with watcher.iteration():
            send_signal(signal.SIGTERM)
            jump[0] = 3600
            os.kill(os.getpid(), signal.SIGTERM)  # the second of two that were sent at once
            time.sleep(0.3)
    assert watcher.received == signal.SIGTERM and not exits


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with signals.SignalWatcher('step'):
        assert [signal.getsignal(number) for number in signals.SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_before_the_loop():
    process = started('-c', 'import time\nfrom runtime.errors import run_and_exit\ndef main():\n'
                            '    print("ready", flush=True)\n    time.sleep(600)\nrun_and_exit(main)')
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
from runtime.errors import run_and_exit
from runtime.session import new_session, tf
hung = threading.Barrier(3)
def read(index):
    if index > 1:
        hung.wait()
        time.sleep(3600)
    return np.float32(index)
def main():
    data = tf.data.Dataset.range(9).map(lambda index: tf.numpy_function(read, [index], tf.float32), 2).prefetch(2)
    iterator = data_loader._iterator(data, 2)
    with new_session() as session:
        session.run(iterator.initializer)
        session.run(iterator.get_next())
        hung.wait()
run_and_exit(main)
'''


def test_a_read_that_hangs_does_not_hold_the_process():
    done = python('-c', HANG)  # has 600 s, a sixth of the read's
    assert done.returncode == 0, done.stderr


def test_a_slow_read_is_reported_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bad_data, 'SLOW_READ_SECONDS', 0.1)
    monkeypatch.setattr(signals, 'POLL_SECONDS', 0.05)
    bad, features_come = BadData(str(tmp_path), False, 0.01), threading.Event()
    reader = threading.Thread(target=bad.read, args=('moment', 'v', features_come.wait))
    printed = ''
    with signals.SignalWatcher('step', bad.slow_read_warning):
        reader.start()
        for _ in range(1200):
            time.sleep(0.05)
            printed += capsys.readouterr().err
            if printed:
                break
        time.sleep(0.5)
        features_come.set()
        reader.join()
    assert printed + capsys.readouterr().err == (
        '\nvideo v (moment): reading its features has taken more than 0.1 s; check whether the disk answers\n')
    assert bad.slow_read_warning() is None
