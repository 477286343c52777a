"""What the experiments share: the project's scripts in processes of their own, their figures, runs made once."""
import concurrent.futures
import csv
import io
import os
import subprocess
import sys

import common  # noqa: F401
from tqdm import tqdm

from errors import InputError
from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals
from files import append, read_json

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORES = len(os.sched_getaffinity(0))
MEASURES = ('accuracy', 'AR@1', 'AR@10', 'AR@100', 'AUC', 'mAP@0.5', 'mAP@0.75', 'mAP@0.95', 'average mAP')


def call(script, log, flags, *command):
    """Run a script of the project with the {flag: value}; what it prints goes to the end of the file `log`.

    Raises InputError, with the last line of it, where the script fails.
    """
    arguments = [sys.executable, os.path.join(ROOT, script)] + list(command)
    for name, value in flags.items():
        arguments += ['--' + name, str(value)]
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, 'a') as output:
        status = subprocess.call(arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if status:
        with open(log, errors='replace') as output:
            last = output.read().strip().splitlines()[-1:]
        raise InputError('%s: %s ended with status %d: %s' % (log, script, status, ' '.join(last)))


def measures(results, truth):
    """{name of MEASURES: percent} of a results JSON, with …origin.json beside it, and its ground truth."""
    accuracy = read_json(os.path.splitext(results)[0] + '.origin.json')['accuracy']
    proposals, detections = evaluate_proposals(truth, results), evaluate_detections(truth, results)
    recall = 100 * proposals.average_recall
    mean_ap = {'mAP@%.4g' % tiou: 100 * value for tiou, value in zip(detections.tiou_thresholds, detections.mAP)}
    return dict(mean_ap, accuracy=100 * accuracy, AUC=proposals.auc_percent,
                **{'AR@1': recall[0], 'AR@10': recall[9], 'AR@100': recall[-1],
                   'average mAP': 100 * detections.average_mAP})


def read(path, columns):
    """Rows of the CSV `path`, a dict each; the file is made, with its header, where there is none."""
    if not os.path.exists(path):
        append(path, ','.join(columns) + '\n')
    with open(path, newline='') as text:
        return list(csv.DictReader(text))


def make(jobs, run, path, processes):
    """Append the rows that `run` makes of each job to the CSV `path`, some jobs at a time, as they are done.

    After an error or Ctrl-C nothing is begun any more; what is under way ends by itself.
    """
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in tqdm(concurrent.futures.as_completed(futures), total=len(jobs), unit='run', smoothing=0):
                lines = io.StringIO()
                csv.writer(lines, lineterminator='\n').writerows(future.result())
                append(path, lines.getvalue())
        finally:
            for future in futures:
                future.cancel()
