"""How well does AherNet find classes that it has no annotated videos of? Ten splits of a demo world by class.

    python3 experiments/splits.py --out data/splits [--shares 0.75,0.5] [--splits 10] [--max_steps 600]

Each split is made by `prepare_data.py split`, trained in a process of its own with one thread, and tested. A row of
OUT/splits.csv is written when its split is done. The same command continues with the splits that have no row yet.
OUT/splits.md has the mean and the standard deviation over the splits, in percent.
"""
import argparse
import os
import sys
from typing import NamedTuple

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import exit_on_ctrl_c, run_and_exit
from runtime.files import file_lock

with exit_on_ctrl_c():
    from aher_k600_test import RESULTS_NAME
    from experiments import runs as shared
    from experiments.runs import MEASURES, call
    from preparation.split import TABLES

HEAD = ('source share', 'splits')  # of the first two columns of splits.md

class Key(NamedTuple):
    """What tells the runs apart; the first columns of splits.csv."""

    videos: int   # of the demo world, from which the split is made
    share: float  # of the classes that are source classes
    seed: int     # of the split and of the network
    steps: int    # of training


def world_folder(out, videos):
    """Folder of the demo world with `videos` source videos."""
    return os.path.join(out, 'world-%d' % videos)


def run(key, out):
    """Make, train and test the split of a Key → [its row of splits.csv]."""
    folder = os.path.join(out, 'videos-%d_share-%g_seed-%d' % key[:3])
    data, models, results = [os.path.join(folder, name) for name in ('data', 'models', 'results')]
    log = os.path.join(folder, 'log.txt')
    flags = dict(config='demo', data_root=data, model_dir=models, threads=1, workers=1)
    call(log, 'prepare_data.py', 'split', data_root=world_folder(out, key.videos), out=data, source_share=key.share,
         seed=key.seed)
    call(log, 'aher_k600_train.py', **flags, max_steps=key.steps, snapshot_step=key.steps, seed=key.seed)
    call(log, 'aher_k600_test.py', **flags, results_dir=results, steps=key.steps)
    return [key + shared.evaluate(os.path.join(results, RESULTS_NAME % key.steps),
                                  os.path.join(data, TABLES['ground_truth']))]


def key_of(row):
    """Key of a row of splits.csv."""
    return Key(int(row['videos']), float(row['share']), int(row['seed']), int(row['steps']))


def format_table(rows):
    """Rows of splits.csv → Markdown: mean ± standard deviation over the seeds, one line for each share."""
    shares = sorted({key_of(row).share for row in rows}, reverse=True)
    lines = [('%g' % share, shared.percents_of([row for row in rows if key_of(row).share == share]))
             for share in shares]
    return '\n'.join(shared.percents_table(*HEAD, lines)) + '\n'


def parse_shares(text):
    """The shares of a text such as '0.75,0.5'."""
    try:
        return [float(share) for share in text.split(',')]
    except ValueError:
        raise argparse.ArgumentTypeError('"%s": expected numbers separated by commas' % text) from None


def main(argv=None):
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--out', default='data/splits', help='folder of the world and the runs (default %(default)s)')
    parser.add_argument('--shares', type=parse_shares, default='0.75,0.5', metavar='SHARE,SHARE,…',
                        help='shares of source classes (default %(default)s)')
    parser.add_argument('--splits', type=int, default=10,
                        help='splits for each share; their seeds count from 0 (default %(default)s)')
    shared.add_flags(parser)
    parser.add_argument('--source_videos', type=int, default=2000,
                        help='videos of the world, a tenth of them for validation (default %(default)s)')
    arguments = parser.parse_args(argv)
    out, videos = arguments.out, arguments.source_videos
    path, columns = os.path.join(out, 'splits.csv'), Key._fields + MEASURES
    shared.refuse_files_of_others([os.path.join(out, 'splits.md')], '| %s | %s |' % HEAD)
    with file_lock(os.path.join(out, '.lock')):
        call(os.path.join(out, 'world.txt'), 'prepare_data.py', 'demo', out=world_folder(out, videos),
             source_videos=videos, moments_per_class=1)
        wanted = [Key(videos, share, seed, arguments.max_steps) for seed in range(arguments.splits)
                  for share in arguments.shares]
        left = shared.missing_runs(wanted, key_of, path, columns)
        shared.run_all(left, lambda key: run(key, out), path, arguments.processes)
        shared.write_and_print_table(wanted, key_of, format_table, path, columns)


if __name__ == '__main__':
    run_and_exit(main)
