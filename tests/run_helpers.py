"""For tests of whole runs: processes and signals, a small graph with snapshots, and what snapshots hold."""
import json
import os
import subprocess
import sys
import threading
import time
from unittest import mock

import numpy as np
from data_sets import ROOT

from runtime import signals, snapshots
from runtime.session import tf

SETTINGS = {'model': {'width': 4}, 'train': {'rate': 0.1}, 'data': {}}  # of the small graph's snapshots


def started(*arguments, **options):
    """A Python process that runs a script, or -c CODE; `options` are those of subprocess.Popen."""
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True, **options)


def wait_for(condition, process):
    """Wait until condition() is true, at most 10 minutes, while the process runs."""
    for _ in range(12000):
        if condition() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


def send_signal(number):
    """Send this process the signal `number`; return when the SignalWatcher's thread has received it."""
    received, real = threading.Event(), signals.SignalWatcher._print

    def print_and_set(watcher, text):
        real(watcher, text)
        received.set()

    with mock.patch.object(signals.SignalWatcher, '_print', print_and_set):
        os.kill(os.getpid(), number)
        assert received.wait(60)


class SmallGraph:
    """One layer with Adam, whose snapshots go to `folder`. `factors` multiply the loss of the first steps."""

    def __init__(self, session, folder, factors=()):
        self.session, self.folder = session, str(folder)
        self.weights = tf.get_variable('weights', initializer=np.arange(3000, dtype=np.float32), use_resource=True)
        self.counter = tf.train.get_or_create_global_step()
        self.loss = tf.reduce_sum(self.weights ** 2) * tf.constant(list(factors) + [1.0] * 50)[self.counter]
        self.rate = tf.constant(0.1)
        self.optimizer = tf.train.AdamOptimizer(self.rate)
        self.step = self.optimizer.minimize(self.loss, self.counter)
        self.parts = snapshots.parts_of([self.weights, self.counter])
        session.run(tf.global_variables_initializer())

    def save(self, step, max_to_keep=0):
        """Train up to `step` and write its snapshot."""
        while self.session.run(self.counter) < step:
            self.session.run(self.step)
        os.makedirs(self.folder, exist_ok=True)
        return snapshots.save(self.session, self.parts, self.folder, step, SETTINGS, {'at': step}, max_to_keep)

    def find_start(self, resume='auto', folder=None, **options):
        """snapshots.find_start for the same settings."""
        return snapshots.find_start(folder or self.folder, resume, differences, **options)

    def resumed_step(self, folder=None):
        """The step from which training would resume, after all variables have been restored."""
        start = self.find_start(folder=folder)
        self.session.run(tf.global_variables_initializer())
        snapshots.resume(self.session, self.parts, start)
        assert self.session.run(self.counter) == start.step == start.progress['at']
        return start.step


def differences(saved, mine=SETTINGS):
    """A text for each part of the small graph's settings that differs."""
    return ['%s %s' % (name, saved[name]) for name in mine if saved[name] != mine[name]]


def values_of(prefix):
    """{name: value} of a checkpoint."""
    reader = tf.train.NewCheckpointReader(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def edit_record(path, change):
    """Change the object of a snapshot's .json with change(object); it then has no checksum of itself."""
    with open(path) as text:
        record = json.load(text)
    del record[snapshots.ITSELF]
    change(record)
    with open(path, 'w') as text:
        json.dump(record, text)
