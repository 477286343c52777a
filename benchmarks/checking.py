"""Seconds of what training checks before it starts: tables, the presence of all features, two videos of each folder.

    python3 benchmarks/checking.py [--videos 390000]

Tables and features have just been written, so that they are in the page cache. The features are links to a few
narrow ones: what is looked for are names.
"""
import argparse
import os
import tempfile
import time

import common
import h5py
import numpy as np
from common import tf
from random_data import write_data

import config as settings
from data_loader import training_stream

OTHERS = 10000  # source videos, and validation videos
FIELDS = ('source_features', 'source_clips', 'target_clips')


def measure(config):
    """{'wall', 'CPU'}: seconds of setting up the training streams."""
    with tf.Graph().as_default():
        wall, cpu = time.perf_counter(), time.process_time()
        training_stream(config)
        return {'wall': time.perf_counter() - wall, 'CPU': time.process_time() - cpu}


def write_hdf5(folder):
    """An HDF5 file with a dataset for each file of `folder`, beside it; all are links to the first one's numbers."""
    names = [os.path.splitext(name)[0] for name in sorted(os.listdir(folder))]
    with h5py.File(folder + '.h5', 'w') as file:
        numbers = file.create_dataset(names[0], data=np.load(os.path.join(folder, names[0] + '.npy')))
        for name in names[1:]:
            file[name] = numbers


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--videos', type=int, default=390000, help='target training videos (default %(default)s)')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = settings.override(settings.PRESETS['demo'], data_root=folder, target_classes=600,
                                   model_dir=os.path.join(folder, 'models'))
        write_data(config, arguments.videos, min(OTHERS, arguments.videos))
        seconds = {'npy': measure(config)}
        for field in FIELDS:
            write_hdf5(config.data.path(field))
        seconds['hdf5'] = measure(config)
    common.report('checking', videos=arguments.videos, seconds=seconds, peak_memory_GB=common.peak_memory() / 1e9)


if __name__ == '__main__':
    main()
