"""Novel-class protocols on a demo world: ten splits of its source classes, each trained and tested; their mean.

    python3 benchmarks/splits.py --out data/splits [--shares 0.75,0.5] [--seeds 10] [--steps 600]

Each split is trained in a process of its own with --threads 1, as many at a time as there are cores. A row of
OUT/splits.csv is written when its split is done; the same command goes on with those that are not. splits.md has the
mean and the standard deviation over the splits, in percent.
"""
import argparse
import os

import numpy as np
from experiments import CORES, MEASURES, call, make, measures, read

from aher_k600_test import RESULTS_NAME
from config import PRESETS
from errors import leave
from files import locked, write_text

KEYS = ('videos', 'share', 'seed', 'steps')


def world_of(out, videos):
    """Folder of the demo world with `videos` source videos."""
    return os.path.join(out, 'world-%d' % videos)


def run(videos, share, seed, steps, out):
    """Split, train and test → [the row of KEYS and MEASURES]."""
    folder = os.path.join(out, 'videos-%d_share-%g_seed-%d' % (videos, share, seed))
    data_root, models, results = [os.path.join(folder, name) for name in ('data', 'models', 'results')]
    log = os.path.join(folder, 'log.txt')
    flags = {'config': 'demo', 'data_root': data_root, 'source_classes': 0, 'model_dir': models, 'threads': 1,
             'workers': 1}
    call('prepare_data.py', log, {'data_root': world_of(out, videos), 'out': data_root, 'source_share': share,
                                  'seed': seed}, 'split')
    call('aher_k600_train.py', log, dict(flags, max_steps=steps, snapshot_step=steps, seed=seed))
    call('aher_k600_test.py', log, dict(flags, results_dir=results, steps=steps))
    found = measures(os.path.join(results, RESULTS_NAME % steps),
                     os.path.join(data_root, PRESETS['demo'].data.ground_truth))
    return [(videos, share, seed, steps) + tuple('%.3f' % found[name] for name in MEASURES)]


def key_of(row):
    """KEYS of a row of splits.csv."""
    return int(row['videos']), float(row['share']), int(row['seed']), int(row['steps'])


def format_table(rows):
    """Rows of splits.csv → Markdown: mean ± standard deviation over the seeds, a line a share."""
    lines = ['| source share | splits | %s |' % ' | '.join(MEASURES), '|---' * (2 + len(MEASURES)) + '|']
    for share in sorted({key_of(row)[1] for row in rows}, reverse=True):
        found = np.array([[float(row[name]) for name in MEASURES] for row in rows if key_of(row)[1] == share])
        spread = found.std(axis=0, ddof=1) if len(found) > 1 else np.full(len(MEASURES), np.nan)
        lines.append('| %g | %d | %s |' % (share, len(found), ' | '.join(
            '%.1f ± %.1f' % pair for pair in zip(found.mean(axis=0), spread))))
    return '\n'.join(lines) + '\n'


def main():
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='data/splits', help='folder of the world and the runs (default %(default)s)')
    parser.add_argument('--shares', default='0.75,0.5', help='shares of source classes (default %(default)s)')
    parser.add_argument('--seeds', type=int, default=10, help='splits a share, of seeds from 0 (default %(default)s)')
    parser.add_argument('--steps', type=int, default=PRESETS['demo'].train.max_steps, help='(default %(default)s)')
    parser.add_argument('--source_videos', type=int, default=2000,
                        help='videos of the world; a tenth is for validation (default %(default)s)')
    parser.add_argument('--processes', type=int, default=CORES, help='runs at a time (default %(default)s)')
    arguments = parser.parse_args()
    out, path = arguments.out, os.path.join(arguments.out, 'splits.csv')
    with locked(os.path.join(out, '.lock')):
        call('make_demo_data.py', os.path.join(out, 'world.txt'), {
            'out': world_of(out, arguments.source_videos), 'source_videos': arguments.source_videos,
            'moments_per_class': 1})
        wanted = [(arguments.source_videos, float(share), seed, arguments.steps) for seed in range(arguments.seeds)
                  for share in arguments.shares.split(',')]
        done = {key_of(row) for row in read(path, KEYS + MEASURES)}
        make([key for key in wanted if key not in done], lambda key: run(*key, out=out), path, arguments.processes)
        table = format_table([row for row in read(path, KEYS + MEASURES) if key_of(row) in wanted])
        write_text(os.path.join(out, 'splits.md'), table)
        print(table, end='')


if __name__ == '__main__':
    leave(main)
