"""Peak memory of testing at full size, against the number of videos.

    python3 benchmarks/memory.py [--videos 64,256]

Each number is a process of its own: a random snapshot, tested on that many random videos.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import common
from random_data import write_data

import aher_k600_test
import aher_k600_train


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.config_flag(parser)
    parser.add_argument('--videos', default='64,256', help='(default %(default)s)')
    parser.add_argument('--work', nargs=2, metavar=('FOLDER', 'COUNT'), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        folder, count = arguments.work
        if count == '0':
            aher_k600_train.run(configure(arguments.config, folder, 64, max_steps=0))
        else:
            config = configure(arguments.config, folder, int(count))
            seconds = common.seconds_of(lambda: aher_k600_test.run(config, [0]), 1, warm_up=0)[0]
            common.report('memory', config=arguments.config, videos=int(count), seconds=seconds,
                          peak_memory_GB=common.peak_memory() / 1e9)
        return
    with tempfile.TemporaryDirectory() as folder:
        counts = [int(count) for count in arguments.videos.split(',')]
        for count in sorted({64, *counts}):  # 64: what the snapshot is made from
            write_data(configure(arguments.config, folder, count), count)
        for count in [0] + counts:
            subprocess.run([sys.executable, os.path.abspath(__file__), '--config', arguments.config, '--work', folder,
                            str(count)], check=True, stderr=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL if count == 0 else None)


def configure(preset, folder, videos, **others):
    """The preset's settings, on data and models below `folder`."""
    return common.preset(
        preset, data_root=os.path.join(folder, 'data%d' % videos), model_dir=os.path.join(folder, 'models'),
        results_dir=os.path.join(folder, 'results%d' % videos), **others)


if __name__ == '__main__':
    main()
