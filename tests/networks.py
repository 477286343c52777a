"""A tiny network, a batch for it and its evaluation, for the tests of graphs."""
import numpy as np
import pytest

import config as settings
from data_loader import Batch, Foreground, Moments, Untrimmed
from runtime.session import new_session, tf

TINY = settings.ModelConfig(feature_width=6, stem_widths=(16, 15), level_widths=(12, 12, 13, 13, 14, 14, 15, 16),
                            context_width=16, source_classes=3, target_classes=4)
SHORT = TINY._replace(level_widths=(12, 13))  # of fewer levels: its graph is built four times as fast
TRAIN = settings.TrainConfig(learning_rate=1e-3, adversary_rate=1e-3)


@pytest.fixture(autouse=True)
def graph():
    """A graph of its own for each test of a file that imports this."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        yield graph


def evaluate(fetches):
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches)


def batch_of(size, seed=0):
    random, model = np.random.RandomState(seed), TINY
    segments = -np.ones((size, 25, 2), np.float32)
    segments[:, 0] = [100, 180]
    segments[0, 1] = [300, 500]

    def features(steps):
        return tf.constant(random.rand(size, steps, model.feature_width), tf.float32)

    def labels(classes):
        return tf.constant(random.randint(0, classes, size), tf.int32)

    return Batch(Untrimmed(features(512), tf.constant(segments), labels(model.source_classes)),
                 Foreground(features(512), labels(model.source_classes)),
                 Moments(features(256), labels(model.target_classes),
                         tf.constant(random.randint(14, 20, size), tf.int32),
                         tf.constant(random.randint(1, 20, size), tf.int32)))


def ancestors(*ops):
    """All operations that one of `ops` waits for."""
    found, waiting = set(), list(ops)
    while waiting:
        op = waiting.pop()
        for before in op.control_inputs + [tensor.op for tensor in op.inputs]:
            if before not in found:
                found.add(before)
                waiting.append(before)
    return found
