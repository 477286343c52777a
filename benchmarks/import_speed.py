"""Processor seconds of `prepare_data.py import` for many small videos, in a process of its own.

    python3 benchmarks/import_speed.py                 # 20,000 npy files of a temporary folder
    python3 benchmarks/import_speed.py --videos 2000

Import reads the header of every file, and no features. The JSON line has the seconds of user and system together, and
those of a process that only loads the same modules.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECONDS, FPS, STRIDE, WIDTH = 120.0, 15, 16, 2  # of each video; its rows follow


def make(folder, videos):
    """Write features of `videos` videos, and an annotation in ActivityNet's form, to `folder`."""
    os.makedirs(os.path.join(folder, 'features'))
    database, rows = {}, int(SECONDS * FPS) // STRIDE
    for number in range(videos):
        name = 'video%06d' % number
        np.save(os.path.join(folder, 'features', 'v_%s.npy' % name), np.ones((rows + number % 2, WIDTH), np.float32))
        database[name] = {'duration': SECONDS, 'subset': 'training', 'annotations': [
            {'segment': [10.0, 40.0], 'label': 'class %d' % (number % 200)}]}
    with open(os.path.join(folder, 'annotation.json'), 'w', encoding='utf-8') as file:
        json.dump({'database': database}, file)


def processor_seconds(*arguments):
    """Seconds of user and system that prepare_data.py takes with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, os.path.join(ROOT, 'prepare_data.py'), *arguments], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(argv=None):
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--videos', type=int, default=20000, help='npy files (default: %(default)s)')
    videos = parser.parse_args(argv).videos
    with tempfile.TemporaryDirectory() as folder:
        make(folder, videos)
        seconds = processor_seconds(
            'import', '--side', 'source', '--annotation', os.path.join(folder, 'annotation.json'), '--features',
            os.path.join(folder, 'features'), '--stride', str(STRIDE), '--fps', str(FPS), '--data_root',
            os.path.join(folder, 'root'))
    print(json.dumps({'videos': videos, 'processor_seconds': round(seconds, 2),
                      'of_loading_modules': round(processor_seconds('import', '--help'), 2)}))


if __name__ == '__main__':
    main()
