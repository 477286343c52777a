"""Test snapshots of AherNet on untrimmed Kinetics-600 validation videos (SPEC section 8).

For each snapshot: detects actions in every validation video, writes results_aher_k600_gendec_step-N.json to
--results_dir, and, where there is ground truth, prints and logs AUC, AR@100, mAP and video accuracy. What an earlier
run with the same snapshot and settings has done is kept.
"""
import contextlib
import hashlib
import itertools
import json
import os
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import aher_model as aher
import config as settings
import snapshots
from aher_model import BACKBONE, HEADS, TARGET_CLASSIFIER, TRANSFER
from data_loader import VALIDATION_PATHS, check_paths, reported, resolve_classes, validation_stream
from errors import InputError, Stopped, leave
from evaluation.get_detection_performance import draw_ap, evaluate_detections
from evaluation.get_proposal_performance import draw_curves, evaluate_proposals
from evaluation.results import TIOU_THRESHOLDS, read_ground_truth, read_results, write_figure, write_json
from files import append, locked, read_json, sha256, sweep, write_text
from stopping import Stop
from tables import read_class_names
from tensorflow_setup import session as new_session
from tensorflow_setup import tf

RESULTS_NAME = 'results_aher_k600_gendec_step-%d.json'
LOG_NAME = 'test_results_log.txt'
LOCK_NAME = '.test.lock'
FLAGS = {
    'results_dir': 'folder of the results',
    'test_batch_size': 'videos a batch',
    'proposals': 'network, or uniform: windows spread over the video get the network\'s label, as a baseline',
    'score_by': 'score of an anchor: iou (predicted tIoU) or proposal (action probability)',
    'nms_tiou': 'NMS drops a segment that overlaps a better one by more',
    'max_detections': 'segments a video at most',
    'labels_per_video': 'labels that each segment of a video gets: its most probable ones',
}


class Tester(NamedTuple):
    """The graph of one test run."""

    stream: NamedTuple          # data_loader.Stream of Validation
    videos: list                # of data_loader.Video, in the stream's order
    part: NamedTuple            # snapshots.Part, what a snapshot must hold
    transfer: tf.Operation      # computes the class weights of every position; once a snapshot
    detections: aher.Detections


def build(config, goes_on=False):
    """Config → Tester of a run that begins, or `goes_on`; the transferred weights are kept in local variables."""
    stream, videos = validation_stream(config, goes_on)
    layers, transfer = keep(aher.transfer(aher.classifier(config.model, TARGET_CLASSIFIER), config.model))
    prediction = aher.localize(aher.pyramid(stream.batch.features, config.model), layers, config.model)
    detections = aher.detect(prediction, stream.batch.seconds, config.model, config.test)
    groups = [BACKBONE, HEADS, TARGET_CLASSIFIER] + ([TRANSFER] if config.model.transfer == 'mlp' else [])
    return Tester(stream, videos, snapshots.part_of(aher.group_variables(*groups)), transfer, detections)


def keep(layers):
    """Layers of tensors → (layers of local variables, operation that sets them): computed once, used often."""
    kept = [tuple(tf.Variable(tf.zeros(tensor.shape), trainable=False, use_resource=True,
                              collections=[tf.GraphKeys.LOCAL_VARIABLES]) for tensor in layer) for layer in layers]
    return kept, tf.group(*[variable.assign(tensor) for variables, layer in zip(kept, layers)
                            for variable, tensor in zip(variables, layer)])


def detect_all(session, tester, title, first=0):
    """Batches of (video, its Detections as numpy arrays), in the videos' order from number `first` on.

    The Detections of a video that is skipped are None.
    Raises Stopped after a signal, when the batch under way has been taken.
    """
    session.run(tester.stream.initializer, {tester.stream.first: first})
    with tqdm(total=len(tester.videos), initial=first, unit='video', desc=title) as progress, \
            Stop('batch', tester.stream.bad.slow) as stop:
        done = first
        while done < len(tester.videos):
            with stop.round(), reported(tester.stream):
                index, found = session.run([tester.stream.batch.index, tester.detections])
            yield [(tester.videos[done + row],
                    aher.Detections(*[values[row] for values in found]) if video >= 0 else None)
                   for row, video in enumerate(index)]
            done += len(index)
            progress.update(len(index))
            if stop.asked:
                raise Stopped(stop.asked, '%d of %d videos are kept, the same command goes on from there (with '
                              '--resume auto, the default)' % (done, len(tester.videos)))


def uniform_windows(seconds, count):
    """`count` windows spread evenly over a video of `seconds`, longest first: [count, 2] seconds.

    One of the whole video, then k windows of 2 / (k + 1) of it, half overlapping, for k = 2, 3, ….
    """
    windows = [(index / (k + 1), (index + 2) / (k + 1)) for k in range(1, count + 1) for index in range(k)]
    return seconds * np.array(windows[:count])


def results_of(video, detections, class_names, test):
    """One video's Detections → its entry in the results: [{score, segment in seconds, label}].

    A segment gets each of the video's labels (test.labels_per_video, by falling average probability). A score is the
    anchor's times that probability; what has no score or no length is left out.
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


class Done(NamedTuple):
    """What is done of one video: a line of the partial file."""

    video: str
    hit: bool      # is the label right? None where it is unknown, or the video skipped
    results: list  # of results_of; of a skipped video, none


def done_of(video, detections, class_names, test):
    """The Done of a video and its Detections, None where it is skipped."""
    if detections is None:
        return Done(video.name, None, [])
    hit = bool(video.label == detections.label) if video.label >= 0 else None
    return Done(video.name, hit, results_of(video, detections, class_names, test))


def test_snapshot(session, tester, step, checksums, config, class_names):
    """Restore the snapshot of `step`, whose files have these checksums, and write its results, or take those there.

    Returns (results, video accuracy), the latter None where no label is known. Beside the results,
    …-N.origin.json says what they come from; until they are whole, …-N.partial.jsonl has the videos done, after a
    first line that says the same.
    """
    path = os.path.join(config.results_dir, RESULTS_NAME % step)
    origin = origin_of(tester, checksums, config, class_names)
    kept = config.resume == 'auto' and finished(path, origin)
    if kept:
        print('results %s: kept, of an earlier run (--resume never makes them again)' % path, flush=True)
        return kept

    partial = _partial_path(path)
    done = begun(partial, origin, config.test.test_batch_size, tester.videos) if config.resume == 'auto' else []
    # written anew: the end may be torn, or a batch that is not whole
    write_text(partial, ''.join(json.dumps(line) + '\n' for line in [origin] + done))
    if len(done) < len(tester.videos):
        snapshots.restore(session, snapshots.path(config.model_dir, step), tester.part)
        session.run(tester.transfer)
        for batch in detect_all(session, tester, 'step %d' % step, len(done)):
            new = [done_of(video, detections, class_names, config.test) for video, detections in batch]
            append(partial, ''.join(json.dumps(line) + '\n' for line in new))
            done += new
    done = [Done(*line) for line in done]
    hits = [line.hit for line in done if line.hit is not None]
    accuracy = float(np.mean(hits)) if hits else None
    results = {'version': 'VERSION 1.3', 'results': {line.video: line.results for line in done}, 'external_data': {}}
    write_json(path, results, indent=None)
    write_json(_origin_path(path), dict(origin, accuracy=accuracy, sha256=sha256(path)))
    os.remove(partial)
    print('results %s' % path, flush=True)
    return results, accuracy


def _origin_path(path):
    return os.path.splitext(path)[0] + '.origin.json'


def _partial_path(path):
    return os.path.splitext(path)[0] + '.partial.jsonl'


def origin_of(tester, checksums, config, class_names):
    """What the results of a snapshot come from: equal where they are. Features count by their place alone."""
    chosen = settings.to_dict(config)
    return {'snapshot': checksums, 'model': chosen['model'], 'test': chosen['test'],
            'features': os.path.abspath(config.data.path('target_features')),
            'videos': _digest([(video.name, video.label, video.seconds, video.frames) for video in tester.videos]),
            'class_names': _digest(class_names)}


def _digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()


def finished(path, origin):
    """(results, video accuracy) of an earlier run with the same origin, or None where there are none, whole."""
    with contextlib.suppress(InputError, KeyError, TypeError):
        saved = read_json(_origin_path(path))
        accuracy = saved['accuracy']
        if ({name: saved[name] for name in origin} == origin and saved['sha256'] == sha256(path)
                and (accuracy is None or 0 <= accuracy <= 1)):
            return read_json(path), accuracy
    return None


def begun(path, origin, batch_size, videos):
    """Lists of Done of the first `videos`, that an interrupted run with the same origin left, as whole batches.

    Whole batches, for a video's numbers may differ in the last digits from batch to batch. A torn end is left out, as
    is all from the first line on that is none of this run's.
    """
    lines = []
    with contextlib.suppress(OSError, ValueError, RecursionError), open(path, encoding='utf-8') as text:
        for line in text:
            if not line.endswith('\n'):
                break
            lines.append(json.loads(line))
    if not lines or lines[0] != origin:
        return []
    known = list(itertools.takewhile(lambda pair: _is_done(*pair), zip(lines[1:], videos)))
    done = [line for line, _ in known[:len(known) // batch_size * batch_size]]
    with contextlib.suppress(InputError):
        read_results({'results': {line[0]: line[2] for line in done}})
        return done
    return []


def _is_done(line, video):
    return (isinstance(line, list) and len(line) == len(Done._fields) and line[0] == video.name
            and line[1] in (True, False, None))


class Tested(NamedTuple):
    """One snapshot's figures."""

    step: int
    accuracy: float            # share of videos with the right label; None where labels are unknown
    proposals: NamedTuple      # get_proposal_performance.ProposalPerformance
    detections: NamedTuple     # get_detection_performance.DetectionPerformance


def format_table(rows):
    """Table of Tested in percent, a snapshot a line; the best average mAP is named below."""
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
    """Print and log the table, and draw the best snapshot's curves and AP by class."""
    best = best_of(rows)
    for name, figure in (('ar_an', draw_curves(best.proposals)), ('ap', draw_ap(best.detections))):
        path = os.path.join(results_dir, '%s_step-%d.png' % (name, best.step))
        write_figure(path, figure)
        print('figure %s' % path)
    table = format_table(rows)
    print(table)
    append(os.path.join(results_dir, LOG_NAME), table + '\n')


def main(argv=None):
    """Test as the command line says."""
    parser = settings.argument_parser(__doc__, FLAGS)
    parser.add_argument('--steps', type=_step_list, metavar='N,N,…', help='steps of the snapshots to test '
                        '(default: all in --model_dir that are whole, newest last)')
    arguments = parser.parse_args(argv)
    config = settings.from_arguments(arguments, FLAGS)
    check_paths(config.data, VALIDATION_PATHS)
    steps = snapshots.steps_in(config.model_dir) if arguments.steps is None else arguments.steps
    if not steps:
        raise InputError('%s: no snapshots %s*; train first, or name their folder with --model_dir'
                         % (config.model_dir, snapshots.PREFIX))
    if config.resume not in ('auto', 'never'):
        raise InputError('--resume %r: expected auto or never; --steps names the snapshots' % config.resume)
    with locked(os.path.join(config.results_dir, LOCK_NAME)):
        sweep(config.results_dir, '*_step-*.partial[0-9]*')
        run(resolve_classes(config), steps, arguments.steps is None)


def _step_list(text):
    return [int(step) for step in text.split(',')]


def run(config, steps, skips_damaged=False):
    """Test the snapshots of `steps` in turn. Damaged ones are named and left out, where that is asked for.

    Raises snapshots.Damaged where it is not, or none would be left.
    """
    checksums, damaged = {}, []

    @contextlib.contextmanager
    def damage_named():
        try:
            yield
        except snapshots.Damaged as error:
            damaged.append(error)
            if not skips_damaged or len(damaged) == len(steps):
                raise
            print('skipped: %s' % error, flush=True)

    for step in steps:
        with damage_named():
            checksums[step] = snapshots.check_settings(snapshots.path(config.model_dir, step), config)
    path = config.data.path('ground_truth')
    truth = read_ground_truth(path) if os.path.exists(path) else None
    if truth is None:
        print('no ground truth at %s: results are written, not evaluated' % path)
    class_names = read_class_names(config.data.path('target_categories'))
    paths = [os.path.join(config.results_dir, RESULTS_NAME % step) for step in steps]
    earlier = any(os.path.exists(beside(path)) for path in paths for beside in (_partial_path, _origin_path))
    tester, rows = build(config, config.resume == 'auto' and earlier), []
    print(tester.stream.summary, flush=True)
    with new_session(config.threads) as session:
        for step in checksums:
            with damage_named():
                results, accuracy = test_snapshot(session, tester, step, checksums[step], config, class_names)
                if truth is not None:
                    found = read_results(results)
                    rows.append(Tested(step, accuracy, evaluate_proposals(truth, found),
                                       evaluate_detections(truth, found)))
    if rows:
        report(rows, config.results_dir)


if __name__ == '__main__':
    leave(main)
