"""What ablation.py and splits.py share: they call the project's scripts, and keep the results of runs in a CSV."""
import argparse
import concurrent.futures
import csv
import io
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
from scipy import stats

from config import PRESETS
from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals
from runtime.errors import InputError
from runtime.files import append_text, make_folder, read_json, read_text, write_text
from runtime.machine import usable_cores
from runtime.progress import track

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEASURES = ('accuracy', 'AR@1', 'AR@10', 'AR@100', 'AUC', 'mAP@0.5', 'mAP@0.75', 'mAP@0.95', 'average mAP')
MAX_PROCESSES = 1000


# Running

def call(log, script, *subcommand, **flags):
    """Run a script of the project; append its output to the file `log`.

    Raises InputError, with the last line of the output, if the script fails.
    """
    command = [sys.executable, os.path.join(ROOT, script), *subcommand]
    command += [part for name, value in flags.items() for part in ('--' + name, str(value))]
    make_folder(os.path.dirname(log))
    append_text(log, '')  # refuses a pipe, which would wait for a reader
    with open(log, 'a') as output:
        status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if status:
        with open(log, errors='replace') as output:
            last_line = output.read().strip().splitlines()[-1:]
        raise InputError('%s: %s ended with exit status %d: %s'
                         % (log, ' '.join((script,) + subcommand), status, ' '.join(last_line)))


def run_all(jobs, run, path, processes):
    """Call `run(job)` for each job, `processes` at a time; append the rows that it returns to the CSV `path`.

    After an error or Ctrl-C no further job starts; those that are running come to their end.
    """
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in track(concurrent.futures.as_completed(futures), 'run', total=len(jobs)):
                lines = io.StringIO()
                csv.writer(lines, lineterminator='\n').writerows(future.result())
                append_text(path, lines.getvalue())
        finally:
            for future in futures:
                future.cancel()


def read_rows(path, columns):
    """Rows of the CSV `path`, one dict per row. A file that does not exist is created with a header of `columns`.

    Raises InputError where the file has other columns: rows would be appended to a file of someone else.
    """
    if not os.path.exists(path):
        make_folder(os.path.dirname(path))
        append_text(path, ','.join(columns) + '\n')
    header, *rows = list(csv.reader(read_text(path).splitlines())) or [[]]
    for line, row in enumerate([header] + rows, start=1):
        if tuple(header) != tuple(columns) or len(row) != len(columns):
            raise InputError('%s, line %d: found %d columns, expected %s; correct it, or name another file' % (
                path, line, len(row), ', '.join(columns)))
    return [dict(zip(columns, row)) for row in rows]


def missing_runs(wanted, key_of, path, columns):
    """Those of the keys `wanted` that have no row in the CSV `path`; key_of(row) is the key of a row."""
    done = {key_of(row) for row in read_rows(path, columns)}
    return [key for key in wanted if key not in done]


def write_and_print_table(wanted, key_of, format_table, path, columns):
    """Write format_table(rows of the keys `wanted`) to the Markdown file beside the CSV `path`, and print it."""
    table = format_table([row for row in read_rows(path, columns) if key_of(row) in wanted])
    write_text(os.path.splitext(path)[0] + '.md', table)
    print(table, end='')


def refuse_files_of_others(paths, starts):
    """Raise InputError if there is a file at one of `paths`, unless the first one is a table of an earlier run.

    Such a table begins with one of the texts `starts`.
    """
    found = [path for path in paths if os.path.lexists(path)]
    if found and not (found[0] == paths[0] and read_text(paths[0]).startswith(starts)):
        raise InputError('%s: found another file there, expected none or an earlier table of this script; move it '
                         'away, or write to another place' % found[0])


def add_flags(parser):
    """Add the flags of both scripts."""
    parser.add_argument('--max_steps', type=int, default=PRESETS['demo'].train.max_steps,
                        help='training steps (default %(default)s)')
    parser.add_argument('--processes', type=_processes, default=usable_cores(),
                        help='runs at a time (default: one for each core, %(default)s)')


def _processes(text):
    """The number of processes in `text`."""
    if not text.isdigit() or not 0 < int(text) <= MAX_PROCESSES:
        raise argparse.ArgumentTypeError('%s: expected a number from 1 to %d' % (text, MAX_PROCESSES))
    return int(text)


# Results

def evaluate(results, ground_truth):
    """The MEASURES of a results JSON, in percent, as texts for the CSV; paths of two files.

    The accuracy comes from the .origin.json beside the results.
    """
    accuracy = read_json(os.path.splitext(results)[0] + '.origin.json')['accuracy']
    proposals, detections = evaluate_proposals(ground_truth, results), evaluate_detections(ground_truth, results)
    recall = 100 * proposals.average_recall
    percents = {'mAP@%.4g' % tiou: 100 * value for tiou, value in zip(detections.tiou_thresholds, detections.mAP)}
    percents.update({'accuracy': 100 * accuracy, 'AR@1': recall[0], 'AR@10': recall[9], 'AR@100': recall[-1],
                     'AUC': proposals.auc_percent, 'average mAP': 100 * detections.average_mAP})
    return tuple('%.3f' % percents[name] for name in MEASURES)


def percents_of(rows):
    """[rows, MEASURES] percents of rows of a CSV."""
    return np.array([[float(row[name]) for name in MEASURES] for row in rows]).reshape(-1, len(MEASURES))


class Summary(NamedTuple):
    """Mean of some percents, such as those of the seeds, and its uncertainty; nan where there is only one."""

    mean: np.ndarray
    deviation: np.ndarray  # standard deviation, of a sample
    margin: np.ndarray     # half of the 95 % confidence interval of the mean, by Student's t


def summarize(percents):
    """Summary over the first axis of `percents`."""
    count, mean = len(percents), np.mean(percents, axis=0)
    deviation = np.std(percents, axis=0, ddof=1) if count > 1 else np.full_like(mean, np.nan)
    return Summary(mean, deviation, stats.t.ppf(0.975, count - 1) * deviation / np.sqrt(count))


def percents_table(title, counted, lines, cell='%(mean).1f ± %(deviation).1f'):
    """Lines of a Markdown table with a line for each of `lines`: (title, [n, MEASURES] percents).

    `title` and `counted` head the columns of the titles and of n; `cell` formats the fields of a Summary.
    """
    rows = [[name, str(len(percents))] + [cell % Summary(*values)._asdict() for values in zip(*summarize(percents))]
            for name, percents in lines]
    return markdown_table((title, counted) + MEASURES, rows)


def markdown_table(header, rows):
    """Lines of a Markdown table; cells are texts."""
    return ['| %s |' % ' | '.join(header), '|---' * len(header) + '|'] + ['| %s |' % ' | '.join(row) for row in rows]
