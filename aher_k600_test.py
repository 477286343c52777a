"""Test snapshots of AherNet on untrimmed Kinetics-600 validation videos (docs/method.md, section 8).

For each snapshot: detects actions in every validation video, writes results_aher_k600_gendec_step-N.json to
--results_dir, and, where there is ground truth, prints and logs AUC, AR@100, mAP and video accuracy. Results of an
earlier run with the same snapshot and settings are kept.
"""
import contextlib
import hashlib
import os
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import aher_model as aher
import config as settings
from aher_model import BACKBONE, HEADS, TARGET_CLASSIFIER, TRANSFER
from data_loader import VALIDATION_PATHS, check_paths, reader_errors, resolve_classes, validation_stream
from dataset.tables import read_class_names
from evaluation.get_detection_performance import draw_ap, evaluate_detections
from evaluation.get_proposal_performance import draw_curves, evaluate_proposals
from evaluation.results import TIOU_THRESHOLDS, read_ground_truth, read_results, write_figure
from runtime import snapshots
from runtime.errors import InputError, Interrupted, run_and_exit
from runtime.files import append_text, file_lock, remove_matching
from runtime.results_file import ResultsFile
from runtime.session import new_session, tf
from runtime.signals import SignalWatcher

RESULTS_NAME = 'results_aher_k600_gendec_step-%d.json'
LOG_NAME = 'test_results_log.txt'
LOCK_NAME = '.test.lock'


# Detection

class Tester(NamedTuple):
    """The graph of one test run."""

    stream: NamedTuple          # data_loader.Stream of Validation
    videos: list                # of dataset.tables.Video, in the order of the stream
    part: NamedTuple            # snapshots.Part, what a snapshot must hold
    transfer: tf.Operation      # computes the classifier weights of every position; once for each snapshot
    detections: aher.Detections


def build(config, resumed=False):
    """Config → Tester; a `resumed` run keeps the list of bad data of the run before."""
    stream, videos = validation_stream(config, resumed)
    layers, transfer = stored_once(aher.transfer(aher.classifier(config.model, TARGET_CLASSIFIER), config.model))
    prediction = aher.localize(aher.pyramid(stream.batch.features, config.model), layers, config.model)
    detections = aher.detect(prediction, stream.batch.seconds, config.model, config.test)
    groups = [BACKBONE, HEADS, TARGET_CLASSIFIER] + ([TRANSFER] if config.model.transfer == 'mlp' else [])
    return Tester(stream, videos, snapshots.part_of(aher.group_variables(*groups)), transfer, detections)


def stored_once(layers):
    """Layers of tensors → (layers of local variables, operation that sets them): computed once, used often."""
    kept = [tuple(tf.Variable(tf.zeros(tensor.shape), trainable=False, use_resource=True,
                              collections=[tf.GraphKeys.LOCAL_VARIABLES]) for tensor in layer) for layer in layers]
    return kept, tf.group(*[variable.assign(tensor) for variables, layer in zip(kept, layers)
                            for variable, tensor in zip(variables, layer)])


def detect_all(session, tester, title, first=0):
    """Batches of (video, its Detections as numpy arrays), from video number `first` on.

    The Detections of a skipped video are None. Raises Interrupted after a signal, once the current batch is used.
    """
    session.run(tester.stream.initializer, {tester.stream.first: first})
    with tqdm(total=len(tester.videos), initial=first, unit='video', desc=title) as progress, \
            SignalWatcher('batch', tester.stream.bad.slow_read_warning) as watcher:
        done = first
        while done < len(tester.videos):
            with watcher.iteration(), reader_errors(tester.stream):
                index, found = session.run([tester.stream.batch.index, tester.detections])
            yield [(tester.videos[done + row],
                    aher.Detections(*[values[row] for values in found]) if video >= 0 else None)
                   for row, video in enumerate(index)]
            done += len(index)
            progress.update(len(index))
            if watcher.received:
                raise Interrupted(watcher.received, '%d of %d videos are tested and kept; the same command continues '
                                  'from there (with --resume auto, the default)' % (done, len(tester.videos)))


# Results

def uniform_windows(seconds, count):
    """`count` windows spread evenly over a video of `seconds`, longest first: [count, 2] seconds.

    One of the whole video, then k windows of 2 / (k + 1) of it, half overlapping, for k = 2, 3, ….
    """
    windows = [(index / (k + 1), (index + 2) / (k + 1)) for k in range(1, count + 1) for index in range(k)]
    return seconds * np.array(windows[:count])


def results_of(video, detections, class_names, test):
    """One video's Detections → its entry in the results: [{score, segment in seconds, label}].

    Each segment gets each of the video's labels: test.labels_per_video of them, by falling average probability. A
    score is the anchor's score times that probability. Segments without score or length are not written.
    """
    scores, segments = detections.scores, detections.segments
    if test.proposals == 'uniform':
        segments = uniform_windows(video.seconds, test.max_detections)
        scores = np.linspace(1, 0, test.max_detections, endpoint=False)
    labels = np.argsort(-detections.class_scores, kind='stable')[:test.labels_per_video]
    return [{'score': round(float(score), 6), 'segment': [round(float(start), 6), round(float(end), 6)],
             'label': class_names[label]}
            for label in labels for score, (start, end) in zip(scores * detections.class_scores[label], segments)
            if score > 0 and end > start]


class Entry(NamedTuple):
    """What is written of one video, line by line, while a snapshot is tested."""

    video: str
    hit: bool      # is the label right? None where it is unknown, or the video was skipped
    results: list  # of results_of; empty for a skipped video


def entry_of(video, detections, class_names, test):
    """The Entry of a video and its Detections, which are None where the video was skipped."""
    if detections is None:
        return Entry(video.name, None, [])
    hit = bool(video.label == detections.label) if video.label >= 0 else None
    return Entry(video.name, hit, results_of(video, detections, class_names, test))


def test_snapshot(session, tester, prefix, file, config, class_names):
    """Restore the snapshot at `prefix` and write its results to the ResultsFile, or take those that are there.

    Returns (results, video accuracy); the accuracy is None where no label is known.
    """
    resumes = config.resume == 'auto'
    finished = file.finished() if resumes else None
    if finished:
        print('results %s: kept from an earlier run (--resume never makes them again)' % file.path, flush=True)
        return finished
    entries = file.resume([video.name for video in tester.videos], config.test.test_batch_size) if resumes else []
    file.start(entries)
    if len(entries) < len(tester.videos):
        snapshots.restore(session, prefix, tester.part)
        session.run(tester.transfer)
        title = os.path.basename(prefix)[len(snapshots.PREFIX):]
        for batch in detect_all(session, tester, 'step ' + title, len(entries)):
            new = [entry_of(video, detections, class_names, config.test) for video, detections in batch]
            file.add(new)
            entries += new
    entries = [Entry(*entry) for entry in entries]
    hits = [entry.hit for entry in entries if entry.hit is not None]
    accuracy = float(np.mean(hits)) if hits else None
    results = {'version': 'VERSION 1.3', 'results': {entry.video: entry.results for entry in entries},
               'external_data': {}}
    file.finish(results, accuracy)
    print('results %s' % file.path, flush=True)
    return results, accuracy


def origin_of(tester, checksums, config, class_names):
    """What the results of a snapshot come from; of the features it is the path that counts, not the content."""
    chosen = settings.to_dict(config)
    return {'snapshot': checksums, 'model': chosen['model'], 'test': chosen['test'],
            'features': os.path.abspath(config.data.path('target_features')),
            'videos': _digest([(video.name, video.label, video.seconds, video.frames) for video in tester.videos]),
            'class_names': _digest(class_names)}


def _digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()


# Report

class Tested(NamedTuple):
    """The figures of one snapshot."""

    step: int
    accuracy: float            # share of videos with the right label; None where labels are unknown
    proposals: NamedTuple      # get_proposal_performance.ProposalPerformance
    detections: NamedTuple     # get_detection_performance.DetectionPerformance


def format_table(rows):
    """Table of Tested in percent, one line for each snapshot; below it the best average mAP."""
    head = (['step', 'accuracy', 'AUC', 'AR@100'] + ['mAP@%.2f' % tiou for tiou in TIOU_THRESHOLDS]
            + ['average mAP'])
    lines = ['  '.join(head)]
    for row in rows:
        shares = [*row.detections.mAP, row.detections.average_mAP]
        cells = ['%d' % row.step, '-' if row.accuracy is None else '%.2f' % (100 * row.accuracy),
                 '%.2f' % row.proposals.auc_percent, '%.2f' % row.proposals.average_recall_percent]
        cells += ['%.2f' % (100 * share) for share in shares]
        lines.append('  '.join(cell.rjust(len(title)) for cell, title in zip(cells, head)))
    best = best_of(rows)
    return '\n'.join(lines + ['best: step %d, average mAP %.2f %%' % (
        best.step, 100 * best.detections.average_mAP)])


def best_of(rows):
    """The Tested with the highest average mAP, the earliest of equal ones."""
    return max(rows, key=lambda row: row.detections.average_mAP)


def report(rows, results_dir):
    """Print and log the table; draw the curves and the AP by class of the best snapshot."""
    best = best_of(rows)
    for name, figure in (('ar_an', draw_curves(best.proposals)), ('ap', draw_ap(best.detections))):
        path = os.path.join(results_dir, '%s_step-%d.png' % (name, best.step))
        write_figure(path, figure)
        print('figure %s' % path)
    table = format_table(rows)
    print(table)
    append_text(os.path.join(results_dir, LOG_NAME), table + '\n')


# Script

def main(argv=None):
    """Test as the command line says."""
    parser = settings.argument_parser(__doc__, settings.TEST)
    parser.add_argument_group('snapshots').add_argument(
        '--steps', type=settings.numbers_like((8000, 9000)), metavar='N,N,…',
        help='steps of the snapshots to test (default: all undamaged ones in --model_dir, the newest last)')
    arguments = parser.parse_args(argv)
    config = settings.from_arguments(arguments, settings.TEST)
    check_paths(config.data, VALIDATION_PATHS)
    steps = snapshots.steps_in(config.model_dir) if arguments.steps is None else arguments.steps
    if not steps:
        raise InputError('%s: found no snapshots %s*; train first, or name their folder with --model_dir'
                         % (config.model_dir, snapshots.PREFIX))
    if config.resume not in ('auto', 'never'):
        raise InputError('--resume %r: expected auto or never; --steps names the snapshots' % config.resume)
    with file_lock(os.path.join(config.results_dir, LOCK_NAME)):
        remove_matching(config.results_dir, '*_step-*.partial[0-9]*')
        run(resolve_classes(config, ['target']), steps, arguments.steps is None)


def run(config, steps, skip_damaged=False):
    """Test the snapshots of `steps` in turn; with `skip_damaged`, damaged ones are reported and skipped.

    Raises snapshots.Damaged where damaged ones are not skipped, or all are damaged.
    """
    damaged, checksums = [], {}

    @contextlib.contextmanager
    def damage_reported():
        try:
            yield
        except snapshots.Damaged as error:
            damaged.append(error)
            if not skip_damaged or len(damaged) == len(steps):
                raise
            print('skipped: %s' % error, flush=True)

    def differences(saved):
        return settings.differences(saved, config, ['model'], settings.TEST)

    for step in steps:
        with damage_reported():
            checksums[step] = snapshots.check_settings(snapshots.path(config.model_dir, step), differences)
    truth = _ground_truth(config.data.path('ground_truth'))
    class_names = read_class_names(config.data.path('target_categories'))
    files = {step: os.path.join(config.results_dir, RESULTS_NAME % step) for step in steps}
    resumed = config.resume == 'auto' and any(ResultsFile(path, {}).exists() for path in files.values())
    tester, rows = build(config, resumed), []
    print(tester.stream.summary, flush=True)
    with new_session(config.threads) as session:
        for step in checksums:
            file = ResultsFile(files[step], origin_of(tester, checksums[step], config, class_names))
            with damage_reported():
                results, accuracy = test_snapshot(
                    session, tester, snapshots.path(config.model_dir, step), file, config, class_names)
                if truth is not None:
                    found = read_results(results)
                    rows.append(Tested(step, accuracy, evaluate_proposals(truth, found),
                                       evaluate_detections(truth, found)))
    if rows:
        report(rows, config.results_dir)


def _ground_truth(path):
    """The ground truth at `path`, or None, with a message, where there is none."""
    if os.path.exists(path):
        return read_ground_truth(path)
    print('found no ground truth at %s: results are written, not evaluated' % path)
    return None


if __name__ == '__main__':
    run_and_exit(main)
