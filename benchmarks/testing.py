"""Seconds a test video costs the network, batched, and the transfer of the classes, which is done once.

    python3 benchmarks/testing.py [--config demo] [--test_batch_size 16]
"""
import argparse

import common
import flop
import numpy as np
from common import new_session, tf

import aher_model as aher
from aher_k600_test import keep


def measure(config, repeats=5):
    """(seconds of a batch, seconds of the transfer, seconds of a batch's backbone and heads alone)."""
    model, size = config.model, config.test.test_batch_size
    with tf.Graph().as_default():
        features, feed = common.on_device(np.abs(np.random.RandomState(0).standard_normal(
            (size, model.untrimmed_steps, model.feature_width))).astype(np.float32))
        layers, transfer = keep(aher.transfer(aher.classifier(model, aher.TARGET_CLASSIFIER), model))
        prediction = aher.localize(aher.pyramid(features, model), layers, model)
        detections = aher.detect(prediction, tf.fill([size], 100.0), model, config.test)
        with new_session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer(),
                         tf.variables_initializer(tf.get_collection('inputs'))], feed)
            once = common.seconds_of(lambda: session.run(transfer), repeats)
            network = common.seconds_of(lambda: session.run([tensor.op for tensor in prediction]), repeats)
            whole = common.seconds_of(lambda: session.run(detections), repeats)
    return np.median(whole), np.median(once), np.median(network)


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.config_flag(parser)
    parser.add_argument('--test_batch_size', type=int, default=16, help='videos (default %(default)s)')
    arguments = parser.parse_args()
    config = common.preset(arguments.config, test_batch_size=arguments.test_batch_size)
    rates = common.arithmetic_rates()
    whole, once, network = measure(config)
    size, counted = arguments.test_batch_size, flop.test(config.model)
    limit = counted / max(rates.values())
    common.report('testing', config=arguments.config, test_batch_size=size, seconds_a_video=whole / size,
                  network_seconds_a_video=network / size, transfer_seconds=once, counted_GFLOP=counted / 1e9,
                  machine_GFLOP_a_second={name: rate / 1e9 for name, rate in rates.items()},
                  limit_seconds=limit, times_the_limit=whole / size / limit,
                  peak_memory_GB=common.peak_memory() / 1e9)


if __name__ == '__main__':
    main()
