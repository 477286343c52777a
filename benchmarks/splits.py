"""Novel-class protocols on a demo world: ten splits of its source classes, each trained and tested; their mean.

    python3 benchmarks/splits.py --out data/splits [--shares 0.75,0.5] [--seeds 10] [--steps 600]

Each split is trained in a process of its own with --threads 1, as many at a time as there are cores. A row of
OUT/splits.csv is written when its split is done; the same command goes on with those that are not. splits.md has the
mean and the standard deviation over the splits, in percent.
"""
import argparse
import csv
import os
import subprocess
import sys
from multiprocessing.pool import ThreadPool

import common  # noqa: F401
import numpy as np
from tqdm import tqdm

from aher_k600_test import RESULTS_NAME
from config import PRESETS
from errors import InputError, exit_status
from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals
from files import append, locked, read_json

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KEYS = ('videos', 'share', 'seed', 'steps')
MEASURES = ('video accuracy', 'AR@100', 'AUC', 'mAP@0.5', 'average mAP')


def call(script, log, *arguments):
    """Run a script of the project; what it says goes to the file `log`. Raises InputError where it fails."""
    with open(log, 'a') as file:
        status = subprocess.call([sys.executable, os.path.join(ROOT, script)] + [str(part) for part in arguments],
                                 stdout=file, stderr=subprocess.STDOUT)
    if status:
        raise InputError('%s ended with status %d; %s says why' % (script, status, log))


def measures(results, ground_truth):
    """[len(MEASURES)] of a results JSON, percent; the accuracy is in …origin.json beside it."""
    accuracy = read_json(os.path.splitext(results)[0] + '.origin.json')['accuracy']
    proposals, detections = evaluate_proposals(ground_truth, results), evaluate_detections(ground_truth, results)
    return [100 * accuracy, proposals.average_recall_percent, proposals.auc_percent, 100 * detections.mAP[0],
            100 * detections.average_mAP]


def world_of(out, videos):
    """Folder of the demo world with `videos` source videos."""
    return os.path.join(out, 'world-%d' % videos)


def run(videos, share, seed, steps, out):
    """Split, train and test → the row of KEYS and MEASURES."""
    folder = os.path.join(out, 'videos-%d_share-%g_seed-%d' % (videos, share, seed))
    data_root, models, results = [os.path.join(folder, name) for name in ('data', 'models', 'results')]
    os.makedirs(folder, exist_ok=True)
    log = os.path.join(folder, 'log.txt')
    flags = ['--config', 'demo', '--data_root', data_root, '--source_classes', 0, '--model_dir', models,
             '--threads', 1, '--workers', 1]
    call('prepare_data.py', log, 'split', '--data_root', world_of(out, videos), '--out', data_root,
         '--source_share', share, '--seed', seed)
    call('aher_k600_train.py', log, *flags, '--max_steps', steps, '--snapshot_step', steps, '--seed', seed)
    call('aher_k600_test.py', log, *flags, '--results_dir', results, '--steps', steps)
    ground_truth = os.path.join(data_root, PRESETS['demo'].data.ground_truth)
    return [videos, share, seed, steps] + measures(os.path.join(results, RESULTS_NAME % steps), ground_truth)


def read_rows(path):
    """{KEYS: [len(MEASURES)]} of a splits.csv."""
    with open(path, newline='') as text:
        return {(int(row['videos']), float(row['share']), int(row['seed']), int(row['steps'])):
                [float(row[name]) for name in MEASURES] for row in csv.DictReader(text)}


def format_table(rows):
    """{KEYS: [len(MEASURES)]} → Markdown: mean ± standard deviation over the seeds, a line a share."""
    lines = ['| source share | splits | %s |' % ' | '.join(MEASURES), '|---' * (2 + len(MEASURES)) + '|']
    for share in sorted({key[1] for key in rows}, reverse=True):
        found = np.array([row for key, row in rows.items() if key[1] == share])
        spread = found.std(axis=0, ddof=1) if len(found) > 1 else np.full(len(MEASURES), np.nan)
        lines.append('| %g | %d | %s |' % (share, len(found), ' | '.join(
            '%.2f ± %.2f' % pair for pair in zip(found.mean(axis=0), spread))))
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
    parser.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)),
                        help='splits at a time (default %(default)s: the cores)')
    arguments = parser.parse_args()
    out, path = arguments.out, os.path.join(arguments.out, 'splits.csv')
    with locked(os.path.join(out, '.lock')):
        call('make_demo_data.py', os.path.join(out, 'world.txt'), '--out', world_of(out, arguments.source_videos),
             '--source_videos', arguments.source_videos, '--moments_per_class', 1)
        wanted = [(arguments.source_videos, float(share), seed, arguments.steps) for seed in range(arguments.seeds)
                  for share in arguments.shares.split(',')]
        if not os.path.exists(path):
            append(path, ','.join(KEYS + MEASURES) + '\n')
        there = read_rows(path)
        with ThreadPool(arguments.jobs) as pool:
            left = [key for key in wanted if key not in there]
            done = pool.imap_unordered(lambda key: run(*key, out=out), left)
            for row in tqdm(done, initial=len(wanted) - len(left), total=len(wanted), unit='split'):
                append(path, ','.join('%.8g' % value for value in row) + '\n')
        there = read_rows(path)
        table = format_table({key: there[key] for key in wanted})
        with open(os.path.join(out, 'splits.md'), 'w', encoding='utf-8') as file:
            file.write(table)
        print(table, end='')


if __name__ == '__main__':
    sys.exit(exit_status(main))
