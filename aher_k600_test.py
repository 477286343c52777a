"""Test snapshots of AherNet on untrimmed validation videos of the target data set (docs/method.md, section 8).

For each snapshot: detects actions in every validation video, writes results_aher_k600_gendec_step-N.json to
--results_dir, and, where there is ground truth, prints and logs AUC, AR@100, mAP and video accuracy. Results of an
earlier run with the same snapshot, settings and data are kept; others are replaced only with --force.
"""
import contextlib
import os
import re
from typing import NamedTuple

from runtime.errors import InputError, Interrupted, exit_on_ctrl_c, printable, run_and_exit

with exit_on_ctrl_c():
    import numpy as np
    from tqdm import tqdm

    import aher_model as aher
    import config as settings
    from data_loader import (
        VALIDATION_PATHS,
        check_paths,
        reader_errors,
        resolve_classes,
        target_trained_on,
        validation_stream,
    )
    from dataset import trained_on
    from dataset.tables import read_class_names
    from dataset.tested_on import digest, origin_of_data
    from evaluation.get_detection_performance import draw_ap, evaluate_detections
    from evaluation.get_proposal_performance import draw_curves, evaluate_proposals
    from evaluation.results import (
        TIOU_THRESHOLDS,
        NoSegments,
        coverage_line,
        read_ground_truth,
        read_results,
        try_figure,
    )
    from evaluation.selection import check_common_ids, truth_of_videos
    from ops.detections import VideosOfWindows, results_of
    from runtime import snapshots
    from runtime.files import append_text, file_lock, read_json, remove_leftovers
    from runtime.results_file import ENDS, Entry, ResultsFile
    from runtime.session import announce_device, new_session, tf
    from runtime.signals import SignalWatcher

RESULTS_NAME = 'results_aher_k600_gendec_step-%d.json'
FIGURE_NAMES = ('ar_an_step-%d.png', 'ap_step-%d.png')
WRITTEN = [r'\d+'.join(map(re.escape, name.split('%d'))) for name in (  # patterns of the names of these files
    *(RESULTS_NAME.replace('.json', end) for end in ENDS), *FIGURE_NAMES)]
LOG_NAME = 'test_results_log.txt'
DATA_SETTINGS = ('clip_frames', 'target_layout', 'target_key', 'window_seconds', 'window_stride_seconds')
# Origins of results have these only where they differ from their defaults: earlier versions of this code lacked them.
LATER_SETTINGS = {'label_by', 'subset', *DATA_SETTINGS}
LOCK_NAME = '.test.lock'
NO_SNAPSHOTS = '%s: found no snapshots %s*; train first, or name their folder with --model_dir'


# Detection

class Tester(NamedTuple):
    """The graph of one test run."""

    stream: NamedTuple          # data_loader.Stream of Validation
    samples: list               # of dataset.samples.Window, in the order of the stream
    firsts: list                # number of each video's first window in `samples`
    part: NamedTuple            # snapshots.Part, what a snapshot must hold
    transfer: tf.Operation      # computes the classifier weights of every position; once for each snapshot
    found: NamedTuple           # tensors of a batch: Detections, or Candidates where videos are tested in windows

    @property
    def videos(self):
        """List of dataset.tables.Video, in the order of the stream."""
        return [self.samples[first].video for first in self.firsts]


def build(config):
    """Config → Tester. The list of bad data starts anew: a skipped video is never kept, so it is read again."""
    stream, samples = validation_stream(config)
    detector = aher.detector(stream.batch.features, stream.batch.seconds, config)
    return Tester(stream, samples, [number for number, window in enumerate(samples) if window.first == 0],
                  snapshots.part_of(detector.variables), detector.transfer, detector.found)


def detect_all(session, tester, test, title, first=0):
    """For each batch, from video number `first` on, yield a list of (video, its Detections) that it completes.

    Detections are numpy arrays, None of a skipped video; their segments are in seconds of the video, not cut to it.
    Batches are those of a run that tests all videos, because the last digits of a window's numbers may depend on its
    batch. Raises Interrupted after a signal, once the current batch is used.
    """
    samples, kept, is_skipped = tester.samples, first, False
    joined = VideosOfWindows(samples, type(tester.found), test)
    done = tester.firsts[first] // test.test_batch_size * test.test_batch_size
    session.run(tester.stream.initializer, {tester.stream.first: done})
    # The bar is removed at the end: the rows of the table follow each other.
    with tqdm(total=len(samples), initial=done, unit='video' if len(samples) == len(tester.firsts) else 'window',
              desc=title, leave=False) as progress, \
            SignalWatcher('batch', tester.stream.bad.slow_read_warning) as watcher:
        while done < len(samples):
            with watcher.iteration(), reader_errors(tester.stream):
                indices, found = session.run([tester.stream.batch.index, tester.found])
            windows = [(number, *row) for number, row in enumerate(zip(indices, zip(*found)), start=done)
                       if number >= tester.firsts[first]]
            videos = [video for video in (joined.add(*window) for window in windows) if video]
            yield videos
            for _, detections in videos:  # what follows a skipped video is tested again
                is_skipped |= detections is None
                kept += not is_skipped
            done += len(indices)
            progress.update(len(indices))
            if watcher.received:
                raise Interrupted(watcher.received, '%d of %d videos are tested and kept; the same command continues '
                                  'from there (with --resume auto, the default)' % (kept, len(tester.firsts)))


# Results

def entry_of(video, detections, class_names, test):
    """The Entry of a video and its Detections, which are None where the video was skipped."""
    if detections is None:
        return Entry(video.name, None, [], skipped=True)
    labels = {label for label in video.segment_labels.tolist() if label >= 0} or {video.label} - {-1}
    hit = bool(detections.label in labels) if labels else None  # with labels of segments, any of them is right
    return Entry(video.name, hit, results_of(video.seconds, detections, class_names, test))


def test_snapshot(session, tester, prefix, file, config, class_names):
    """Restore the snapshot at `prefix` and write its results to the ResultsFile, or take those that are there.

    Returns (results, video accuracy); the accuracy is None where no label is known.
    """
    resumes = config.resume == 'auto'
    finished = file.finished() if resumes else None
    if finished:
        return finished
    entries = file.resume([video.name for video in tester.videos]) if resumes else []
    file.start(entries)
    if len(entries) < len(tester.firsts):
        snapshots.restore(session, prefix, tester.part)
        session.run(tester.transfer)
        title = os.path.basename(prefix)[len(snapshots.PREFIX):]
        for videos in detect_all(session, tester, config.test, 'step ' + title, len(entries)):
            new = [entry_of(video, detections, class_names, config.test) for video, detections in videos]
            file.add(new)
            entries += new
    hits = [entry.hit for entry in entries if entry.hit is not None]
    accuracy = float(np.mean(hits)) if hits else None
    results = {'version': 'VERSION 1.3', 'results': {entry.video: entry.results for entry in entries},
               'external_data': {}}
    file.finish(results, accuracy, sum(entry.skipped for entry in entries))
    return results, accuracy


# What results come from

def origin_of(checksums, config, class_names):
    """What the results of a snapshot come from, but for the data, which are known later (origin_of_data)."""
    chosen, defaults = settings.to_dict(config), _test_settings(settings.Config())
    read = [setting.name for setting in settings.ModelConfig.settings if settings.TEST in setting.scripts]
    return {'snapshot': checksums, 'model': {name: chosen['model'][name] for name in read},
            'test': {name: value for name, value in _test_settings(config).items()
                     if name not in LATER_SETTINGS or value != defaults[name]},
            'class_names': digest(class_names), 'features': os.path.realpath(config.data.path('target_features')),
            'tf32': config.tf32}


def _test_settings(config):
    """{name: value} of the settings of testing and of the data with which results change."""
    chosen = settings.to_dict(config)
    return dict(chosen['test'], **{name: chosen['data'][name] for name in DATA_SETTINGS})


def check_earlier(files, config, force=False):
    """Look at what earlier runs left of each ResultsFile and this run would replace.

    Raises InputError where that has another origin, or none that is known, unless `force`. Features that were
    extracted anew are the same origin: results of the old ones are out of date.
    """
    for file in files:
        is_kept = config.resume == 'auto' and file.has_same_origin()
        for path, origin in file.earlier().items():
            texts = _other_origin(origin, file.origin, config)
            if texts and not (is_kept or force):
                raise InputError('%s: found results with %s; give another --results_dir, or replace them with --force'
                                 % (path, ', '.join(texts)))


def _other_origin(saved, mine, config):
    """What tells the origin `saved` of earlier results from this run's, `mine`: a list of texts."""
    if saved is None or not all(isinstance(saved.get(part), dict) for part in ('model', 'test')):
        return ['an unknown origin (no test wrote them, or their .origin.json is lost)']
    texts, defaults = settings.differences(saved, config, ['model'], settings.TEST), _test_settings(settings.Config())
    for name, value in _test_settings(config).items():
        before = saved['test'].get(name, defaults[name])
        if before != value:
            texts.append('%s %s (this run: %s)' % (name, before, value))
    if saved.get('features') != mine['features']:
        texts.append('features in %s (this run: %s)' % (saved.get('features'), mine['features']))
    if saved.get('tf32', False) != mine['tf32']:
        texts.append('tf32 %s (this run: %s)' % (saved.get('tf32', False), mine['tf32']))
    named = (('snapshot', 'another snapshot of this step'), ('class_names', 'other class names'),
             ('videos', 'other validation videos'))
    return texts + [text for part, text in named if part in mine and saved.get(part) != mine[part]]


def say_what_is_kept(files, config):
    """Print which results of earlier runs are kept, and why others are made again."""
    for file in files if config.resume == 'auto' else []:
        if file.is_finished():
            say('results %s: kept from an earlier run (to make them again, give --resume never)' % file.path)
        else:
            for text in file.outdated():
                say('results %s: made again, because %s' % (file.path, text))


# Report

class Tested(NamedTuple):
    """The figures of one snapshot."""

    step: int
    accuracy: float            # share of videos with the right label; None where labels are unknown
    proposals: NamedTuple      # get_proposal_performance.ProposalPerformance
    detections: NamedTuple     # get_detection_performance.DetectionPerformance
    coverage: str              # which videos the figures are over


HEAD = ['step', 'accuracy', 'AUC', 'AR@100'] + ['mAP@%.2f' % tiou for tiou in TIOU_THRESHOLDS] + ['average mAP']


def table_row(row):
    """The line of a Tested in the table, in percent."""
    shares = [*row.detections.mAP, row.detections.average_mAP]
    cells = ['%d' % row.step, '-' if row.accuracy is None else '%.2f' % (100 * row.accuracy),
             '%.2f' % row.proposals.auc_percent, '%.2f' % row.proposals.average_recall_percent]
    cells += ['%.2f' % (100 * share) for share in shares]
    return '  '.join(cell.rjust(len(title)) for cell, title in zip(cells, HEAD))


class Report:
    """The table of the tested snapshots, printed and logged line by line, and the figures of the best one."""

    def __init__(self, results_dir):
        """The log and the figures are written to `results_dir`. Raises InputError where the log cannot be written."""
        self._folder, self._rows = results_dir, []
        self._log = os.path.join(results_dir, LOG_NAME)
        if os.path.lexists(self._log):
            append_text(self._log, '')  # a fault is reported before anything is tested

    def add(self, row):
        """Print and log the line of a Tested, and before the first one the header."""
        self._write(*([] if self._rows else ['  '.join(HEAD)]), table_row(row))
        self._rows.append(row)

    def finish(self):
        """Print and log how many videos the figures are over, and the best snapshot; draw the figures of that one.

        It is the one of the highest average mAP, the earliest of equal ones.
        """
        if not self._rows:
            return
        coverages = dict.fromkeys(row.coverage for row in self._rows)  # they differ where videos were skipped
        self._write(*(coverages if len(coverages) == 1 else
                      ['step %d: %s' % (row.step, row.coverage) for row in self._rows]))
        best = max(self._rows, key=lambda row: row.detections.average_mAP)
        self._write('best: step %d, average mAP %.2f %%' % (best.step, 100 * best.detections.average_mAP))
        for name, draw in zip(FIGURE_NAMES, (lambda: draw_curves(best.proposals), lambda: draw_ap(best.detections))):
            path = os.path.join(self._folder, name % best.step)
            fault = try_figure(path, draw)
            say('warning: %s' % fault if fault else 'figure %s' % path)

    def _write(self, *lines):
        print('\n'.join(lines), flush=True)
        append_text(self._log, ''.join(line + '\n' for line in lines))


def say(text):
    """Print a line that may hold a path or a name."""
    print(printable(text), flush=True)


# Script

def main(argv=None):
    """Test as the command line says."""
    parser = settings.argument_parser(__doc__, settings.TEST)
    group = parser.add_argument_group('snapshots and results')
    group.add_argument('--steps', type=settings.numbers_like((8000, 9000)), metavar='N,N,…',
                       help='steps of the snapshots to test (default: all undamaged ones in --model_dir, the newest '
                       'last)')
    group.add_argument('--force', action='store_true',
                       help='replace results in --results_dir that come from other snapshots, settings or data')
    arguments = parser.parse_args(argv)
    if arguments.config is None:
        _take_settings_of_snapshot(arguments)
    config = settings.from_arguments(arguments, settings.TEST)
    if config.test.proposals == 'uniform' and config.test.label_by != 'video':
        raise InputError('--label_by %s: windows of --proposals uniform have no anchor; give --label_by video'
                         % config.test.label_by)
    announce_device(config.threads, config.device, config.tf32)
    steps = _steps(config.model_dir, arguments)
    record = snapshots.settings_path(config.model_dir, steps)  # which has class names
    check_paths(config.data, VALIDATION_PATHS + (() if record else ('target_categories',)))
    if not steps:
        raise InputError(NO_SNAPSHOTS % (config.model_dir, snapshots.PREFIX))
    if arguments.ground_truth is not None and not os.path.lexists(config.data.path('ground_truth')):
        raise InputError('--ground_truth %s: not found; without this flag, videos are tested and not evaluated'
                         % config.data.path('ground_truth'))
    if config.resume not in ('auto', 'never'):
        raise InputError('--resume %r: expected auto or never; --steps names the snapshots' % config.resume)
    config, class_names = _with_class_names(config, record)
    with file_lock(os.path.join(config.results_dir, LOCK_NAME)):
        remove_leftovers(config.results_dir, '|'.join(WRITTEN))
        run(config, steps, class_names, arguments.steps is None, arguments.force)


def _steps(folder, arguments):
    """The steps to test; raises InputError where the command line names a folder or steps that are not there."""
    there = snapshots.steps_in(folder)
    if not there and arguments.model_dir is not None:
        raise InputError(NO_SNAPSHOTS % (folder, snapshots.PREFIX))
    if arguments.steps is None:
        return there
    missing = [step for step in arguments.steps if step not in there]
    if missing:
        raise InputError('%s: found no snapshot; the steps there are %s' % (
            snapshots.path(folder, missing[0]), ', '.join(map(str, there)) or 'none'))
    return arguments.steps


def _take_settings_of_snapshot(arguments):
    """Set --config and --model_dir to the newest snapshot's, if it has a .json: a snapshot knows its settings."""
    folder = settings.Config().model_dir if arguments.model_dir is None else arguments.model_dir
    path = snapshots.settings_path(folder, arguments.steps)
    if path:
        arguments.config, arguments.model_dir = path, folder
        say('settings of %s, but for flags (--config names others)' % path)


def _with_class_names(config, snapshot):
    """(`config` with the number of target classes, their names): of their list, or if absent, of the snapshot.

    `snapshot`: path of the .json of a snapshot, or None. Raises InputError where there are no names.
    """
    path = config.data.path('target_categories')
    if not os.path.lexists(path) and snapshot:
        names = trained_on.class_names(read_json(snapshot), 'target')
        if names:
            say('found no class names at %s: those of the snapshots are used' % path)
            return settings.override(config, target_classes=len(names)), names
    return resolve_classes(config, ['target']), read_class_names(path)


def run(config, steps, class_names, skip_damaged=False, force=False):
    """Test the snapshots of `steps` in turn; with `skip_damaged`, damaged ones are reported and skipped.

    Raises snapshots.Damaged where damaged ones are not skipped, or all are damaged, and InputError where a snapshot
    or the results that are there do not belong to this run; with `force`, such results are replaced.
    """
    report, damage = Report(config.results_dir), Damage(len(steps) if skip_damaged else 1)
    files = {step: ResultsFile(os.path.join(config.results_dir, RESULTS_NAME % step),
                               origin_of(checksums, config, class_names))
             for step, checksums in check_snapshots(config, steps, damage).items()}
    check_earlier(files.values(), config, force)  # before the graph is built, as far as origins are known by then
    truth = _ground_truth(config)
    tester = build(config)
    print(tester.stream.summary, flush=True)  # of several lines, whose paths are printable
    if truth is not None:
        truth = _truth_of(truth, tester, config)
    data = origin_of_data(config, tester.videos)
    for file in files.values():
        file.origin.update(data)
    check_earlier(files.values(), config, force)
    tester.stream.bad.start()
    say_what_is_kept(files.values(), config)
    say('results are in %s' % os.path.join(config.results_dir, RESULTS_NAME.replace('%d', 'N')))
    with new_session(config.threads, config.device, config.tf32) as session:
        for step, file in files.items():
            with damage.reported():
                results, accuracy = test_snapshot(
                    session, tester, snapshots.path(config.model_dir, step), file, config, class_names)
                if truth is not None:
                    found = read_results(results)
                    report.add(Tested(step, accuracy, evaluate_proposals(truth, found, unique_segments=True),
                                      evaluate_detections(truth, found),
                                      coverage_line(truth, found, len(tester.stream.dropped))))
    report.finish()


class Damage:
    """Damaged snapshots: each is reported and left out, until there are `limit` of them."""

    def __init__(self, limit):
        self._left = limit

    @contextlib.contextmanager
    def reported(self):
        """A context that ends at a snapshots.Damaged; the last one that is allowed for is raised again."""
        try:
            yield
        except snapshots.Damaged as error:
            self._left -= 1
            if not self._left:
                raise
            say('skipped: %s' % error)


def check_snapshots(config, steps, damage):
    """Check that the snapshots belong to this run → {step: checksums of its files}, of those that are not damaged.

    Raises InputError where one has another network, or was trained on other class names or videos; with
    config.accept_changes that is a warning.
    """
    (here, reason), checksums, compared, windows = target_trained_on(config), {}, set(), set()
    if reason:
        say('warning: of what the snapshots were trained on, only the class names are compared: %s' % reason)
    for step in steps:
        prefix = snapshots.path(config.model_dir, step)

        def differences(saved):
            texts, there = settings.differences(saved, config, ['model'], settings.TEST), saved.get('trained_on')
            windows.add(saved.get('data', {}).get('window_seconds', config.data.window_seconds))
            if isinstance(there, dict):  # it is absent where an older version of this code wrote the snapshot
                compared.add(step)
                texts += trained_on.differences(there, here, config.data, ordered=False)
            if texts and config.accept_changes:
                say('warning: %s.json: trained with %s' % (prefix, ', '.join(texts)))
            return [] if config.accept_changes else texts

        with damage.reported():
            checksums[step] = snapshots.check_settings(prefix, differences)
    for seconds in windows - {config.data.window_seconds}:
        say('warning: trained with --window_seconds %g, tested with %g: actions look longer or shorter to the network'
            % (seconds, config.data.window_seconds))
    unknown = ', '.join('%d' % step for step in checksums if step not in compared)
    if unknown:
        say('warning: the snapshots of these steps do not say what they were trained on: %s; make sure that it was '
            'the class names in %s' % (unknown, config.data.path('target_categories')))
    return checksums


def _ground_truth(config):
    """The ground truth of the subset that is tested; None, with a message, where there is none."""
    path = config.data.path('ground_truth')
    if not os.path.lexists(path):  # a link to nothing is a fault, not the absence of ground truth
        say('found no ground truth at %s: results are written, not evaluated' % path)
        return None
    try:
        return read_ground_truth(path, config.test.subset)
    except NoSegments as error:
        say('%s; results are written, not evaluated' % error)
        return None


def _truth_of(truth, tester, config):
    """The ground truth without the videos that --missing drop left out of the test.

    Raises InputError where it has none of the tested videos.
    """
    known = [name for name in truth.subset_of if truth.subset_of[name] == truth.subset]
    check_common_ids([video.name for video in tester.videos], config.data.path('target_info'), known, truth.source,
                     'name the ground truth of these videos with --ground_truth')
    if not tester.stream.dropped:
        return truth
    return truth_of_videos(truth, set(known).difference(tester.stream.dropped), '--missing drop')


if __name__ == '__main__':
    run_and_exit(main)
