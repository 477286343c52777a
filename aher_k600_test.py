"""Test snapshots of AherNet on untrimmed validation videos of the target data set (docs/method.md, section 8).

For each snapshot: detects actions in every validation video, writes results_aher_k600_gendec_step-N.json to
--results_dir, and, where there is ground truth, prints and logs AUC, AR@100, mAP and video accuracy. Results of an
earlier run with the same snapshot, settings and data are kept; others are replaced only with --force.
--watch tests the snapshots of a running training as they come (docs/watching.md).
"""
import contextlib
import itertools
import os
import re
import shlex
from typing import NamedTuple

from runtime.errors import InputError, exit_on_ctrl_c, printable, run_and_exit

with exit_on_ctrl_c():
    import config as settings
    from data_loader import VALIDATION_PATHS, check_paths, resolve_classes, target_trained_on
    from dataset import trained_on
    from dataset.tables import read_class_names
    from dataset.tested_on import digest, origin_of_data
    from evaluation import choice, report, report_numbers
    from evaluation.get_detection_performance import draw_ap
    from evaluation.get_proposal_performance import draw_curves
    from evaluation.results import NoSegments, read_ground_truth, read_results, try_figure
    from evaluation.selection import check_common_ids, truth_of_videos
    from localization.detection import build, test_snapshot
    from runtime import snapshots
    from runtime.damaged import Damage
    from runtime.files import append_text, file_lock, read_json, remove_leftovers
    from runtime.results_file import ENDS, ResultsFile
    from runtime.session import announce_device, new_session
    from runtime.snapshot_scalars import SnapshotScalars
    from runtime.watching import Watch

RESULTS_NAME = 'results_aher_k600_gendec_step-%d.json'
REPORT_FOLDER = 'report'  # in --results_dir
FIGURE_NAMES = ('ar_an_step-%d.png', 'ap_step-%d.png')
WRITTEN = [r'\d+'.join(map(re.escape, name.split('%d'))) for name in (  # patterns of the names of these files
    *(RESULTS_NAME.replace('.json', end) for end in ENDS), *FIGURE_NAMES)]
LOG_NAME = 'test_results_log.txt'
DATA_SETTINGS = ('clip_frames', 'target_layout', 'target_key', 'window_seconds', 'window_stride_seconds')
# Origins of results have these only where they differ from their defaults: earlier versions of this code lacked them.
LATER_SETTINGS = {'label_by', 'subset', *DATA_SETTINGS}
LOCK_NAME = '.test.lock'
NO_SNAPSHOTS = '%s: found no snapshots %s*; train first, or name their folder with --model_dir'


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

class Report:
    """The table of the tested snapshots, printed and logged line by line, and the figures of the best one."""

    def __init__(self, results_dir):
        """The log and the figures are written to `results_dir`. Raises InputError where the log cannot be written."""
        self._folder, self.rows = results_dir, []
        self._log = os.path.join(results_dir, LOG_NAME)
        if os.path.lexists(self._log):
            append_text(self._log, '')  # a fault is reported before anything is tested

    def add(self, row):
        """Print and log the line of a choice.Tested, and before the first one the header."""
        self._write(*([] if self.rows else ['  '.join(choice.HEAD)]), choice.table_row(row))
        self.rows = [earlier for earlier in self.rows if earlier.step != row.step] + [row]

    def finish(self, chosen):
        """Print and log how many videos the figures are over, and the best snapshot; draw the figures of that one.

        `chosen` is the choice.Choice.
        """
        if not self.rows:
            return
        coverages = dict.fromkeys(row.coverage for row in self.rows)  # they differ where videos were skipped
        self._write(*(coverages if len(coverages) == 1 else
                      ['step %d: %s' % (row.step, row.coverage) for row in self.rows]))
        best = choice.best_of(self.rows)
        self._write(choice.best_line(self.rows, chosen))
        for name, draw in zip(FIGURE_NAMES, (lambda: draw_curves(best.proposals), lambda: draw_ap(best.detections))):
            path = os.path.join(self._folder, name % best.step)
            fault = try_figure(path, draw)
            say('warning: %s' % fault if fault else 'figure %s' % path)

    def write_page(self, chosen, durations):
        """Write the report page: all snapshots in the table and the curves, the best one in all of it.

        durations: {video: seconds}. Raises InputError where the page or the results cannot be used.
        """
        if not self.rows:
            return
        truth, best = chosen.reported, choice.best_of(self.rows)
        results = read_results(os.path.join(self._folder, RESULTS_NAME % best.step))
        files = {row.step: report_numbers.Reported(
            'step %d' % row.step, row.accuracy, row.proposals, row.detections, None) for row in self.rows}
        files[best.step] = files[best.step]._replace(analyzed=report_numbers.analyzed(truth, results, durations))
        windows = report.even_windows(files[best.step], truth, durations)
        path = report.page_path(os.path.join(self._folder, REPORT_FOLDER))
        report.write(report.Page(truth, durations, [*files.values(), *windows], 'authors'), path)
        say('report page %s: open it in a browser' % path)

    def _write(self, *lines):
        print('\n'.join(lines), flush=True)
        append_text(self._log, ''.join(line + '\n' for line in lines))


def say(text):
    """Print a line that may hold a path or a name."""
    print(printable(text), flush=True)


# Script

def main(argv=None):
    """Test as the command line says."""
    arguments = _parser().parse_args(argv)
    _check_flags(arguments)
    if not arguments.watch:
        _test(arguments)
        return
    if arguments.config is not None:  # else the settings are those of the first snapshot
        config = settings.from_arguments(arguments, settings.TEST)
        check_paths(config.data, VALIDATION_PATHS)
        _ground_truth(config, ['--watch'])  # what is missing is reported before the wait
    with Watch(_model_dir(arguments)) as watch:
        watch.wait_for_first()
        _test(arguments, watch)


def _parser():
    parser = settings.argument_parser(__doc__, settings.TEST)
    group = parser.add_argument_group('snapshots and results')
    group.add_argument('--steps', type=settings.numbers_like((8000, 9000)), metavar='N,N,…',
                       help='steps of the snapshots to test (default: all undamaged ones in --model_dir, the newest '
                       'last)')
    group.add_argument('--force', action='store_true',
                       help='replace results in --results_dir that come from other snapshots, settings or data')
    group.add_argument('--report', action='store_true',
                       help='also write a page for the browser, %s/%s in --results_dir: the table with a baseline, '
                       'curves, classes, errors, and timelines of all videos (docs/evaluation.md)' % (
                           REPORT_FOLDER, report.PAGE_NAME))
    group = parser.add_argument_group('choice of the best snapshot, and a training that runs (docs/watching.md)')
    group.add_argument('--watch', action='store_true',
                       help='test snapshots as the training that writes to --model_dir writes them, until it ends; '
                       'keep best.json there, and figures for TensorBoard')
    group.add_argument('--patience', type=int, metavar='N',
                       help='with --watch: ask training to stop when N snapshots are no better than one before them')
    group.add_argument('--select_share', type=float, default=0.0, metavar='SHARE',
                       help='share of the videos of each class that are held out: the best snapshot is chosen on '
                       'them, and the table is of the others (default: 0, both are of all videos)')
    group.add_argument('--select_seed', type=int, default=0, metavar='N',
                       help='which videos are held out (default: 0)')
    return parser


def _check_flags(arguments):
    """Raise InputError where the flags of the choice and of watching do not fit together."""
    if not 0 <= arguments.select_share < 1:
        raise InputError('--select_share %g: expected 0, or a share below 1, such as 0.2' % arguments.select_share)
    if arguments.patience is not None and arguments.patience < 1:
        raise InputError('--patience %d: expected 1 or more snapshots' % arguments.patience)
    if arguments.patience is not None and not arguments.watch:
        raise InputError('--patience %d: expected --watch, too: only a run that watches training can stop it'
                         % arguments.patience)
    if arguments.watch and arguments.steps is not None:
        raise InputError('--watch and --steps: expected one of them: --watch tests all snapshots as they come')


def _model_dir(arguments):
    """The model folder that the command line names, before the settings of a snapshot are known."""
    if arguments.model_dir is None and arguments.config is not None:
        return settings.from_arguments(arguments, settings.TEST).model_dir
    return settings.Config().model_dir if arguments.model_dir is None else arguments.model_dir


def _test(arguments, watch=None):
    """Test as the parsed arguments say, with a Watch the snapshots that it finds."""
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
    if arguments.report:
        report.check_page_path(report.page_path(os.path.join(config.results_dir, REPORT_FOLDER)))
    config, class_names = _with_class_names(config, record)
    with file_lock(os.path.join(config.results_dir, LOCK_NAME)):
        remove_leftovers(config.results_dir, '|'.join(WRITTEN))
        run(config, steps, class_names, Options(
            arguments.steps is None, arguments.force, arguments.report, arguments.select_share,
            arguments.select_seed, watch, arguments.patience))


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


class Options(NamedTuple):
    """How snapshots are tested, besides the settings."""

    skip_damaged: bool = False  # whether damaged snapshots are reported and skipped
    force: bool = False         # whether results that do not belong to this run are replaced
    report: bool = False        # whether the report page is written
    select_share: float = 0.0   # as in evaluation.choice.choice_of
    select_seed: int = 0
    watch: Watch = None         # finds the snapshots of a training that runs
    patience: int = None        # training is asked to stop when so many snapshots are no better than an earlier one


def run(config, steps, class_names, options=Options()):
    """Test the snapshots of `steps` in turn, or, with a Watch, those that it finds until training ends.

    Raises snapshots.Damaged where damaged ones are not skipped, or all are damaged, and InputError where a snapshot
    or the results that are there do not belong to this run.
    """
    watch, tests = options.watch, Tests(config, class_names, options, len(steps))
    files = tests.prepare([step for step in [watch.next_step()] if step is not None] if watch else steps)
    tests.build(files)
    say('results are in %s' % os.path.join(config.results_dir, RESULTS_NAME.replace('%d', 'N')))
    if watch:
        say('losses and figures in TensorBoard: tensorboard --logdir %s' % shlex.quote(config.model_dir))
    with new_session(config.threads, config.device, config.tf32) as session, \
            SnapshotScalars(config.model_dir) if watch else contextlib.nullcontext() as scalars:
        for step, file in itertools.chain(files.items(), tests.coming()):
            row = tests.test(session, step, file)
            if row:
                tests.report.add(row)
            if row and watch:
                choice.keep_best(tests.report.rows, tests.chosen, watch, scalars, options.patience)
    if watch:
        found = '' if tests.report.rows else '; no snapshot was tested'
        say('training in %s has ended%s' % (config.model_dir, found))
    tests.report.finish(tests.chosen)
    if options.report:
        tests.report.write_page(tests.chosen, tests.durations())


class Tests:
    """The tests of a run, with one graph for all snapshots, and what they are compared with."""

    def __init__(self, config, class_names, options, number):
        """`number`: of snapshots, of which all but one may be damaged, if options.skip_damaged."""
        self._config, self._class_names, self._options = config, class_names, options
        self.report = Report(config.results_dir)
        self.chosen = None  # choice.Choice; None where there is no ground truth
        self._damage = Damage(float('inf') if options.watch else number if options.skip_damaged else 1)
        self._data, self._said = {}, set()

    def prepare(self, steps):
        """{step: ResultsFile} of the snapshots that are not damaged; InputError where one does not belong here."""
        config = self._config
        files = {step: ResultsFile(os.path.join(config.results_dir, RESULTS_NAME % step),
                                   dict(origin_of(checksums, config, self._class_names), **self._data))
                 for step, checksums in check_snapshots(config, steps, self._damage, self._said).items()}
        check_earlier(files.values(), config, self._options.force)
        if self._data:
            say_what_is_kept(files.values(), config)
        return files

    def build(self, files):
        """Read the ground truth and build the graph; check the `files` again, now that the data are known."""
        config, options = self._config, self._options
        uses = {'--watch': options.watch, '--select_share': options.select_share, '--report': options.report}
        needed_by = [flag for flag, is_used in uses.items() if is_used]
        truth = _ground_truth(config, needed_by)
        self._tester = build(config)
        print(self._tester.stream.summary, flush=True)  # of several lines, whose paths are printable
        if truth is not None:
            self.chosen = choice.choice_of(_truth_of(truth, self._tester, config), options.select_share,
                                           options.select_seed)
        self._data = origin_of_data(config, self._tester.videos)
        for file in files.values():
            file.origin.update(self._data)
        check_earlier(files.values(), config, options.force)
        self._tester.stream.bad.start()
        say_what_is_kept(files.values(), config)

    def durations(self):
        """{name: seconds} of all videos of the test."""
        return {video.name: video.seconds for video in self._tester.videos}

    def coming(self):
        """Yield (step, ResultsFile) of the snapshots that the Watch finds; without one, nothing."""
        if self._options.watch:
            for step in iter(self._options.watch.next_step, None):
                yield from self.prepare([step]).items()

    def test(self, session, step, file):
        """Test a snapshot → choice.Tested; None where it is damaged, or there is no ground truth."""
        prefix, watch = snapshots.path(self._config.model_dir, step), self._options.watch
        with self._damage.reported(prefix):
            results, accuracy = test_snapshot(session, self._tester, prefix, file, self._config, self._class_names,
                                              *([watch.look] if watch else []))
            if self.chosen is None:
                return None
            right_labels = file.right_labels()
            if self.chosen.held_out and right_labels is None:
                say('%s: an earlier version wrote these results, without which labels are right: their accuracy is '
                    'not known; --resume never makes them again' % file.path)
            return choice.evaluate_snapshot(step, self.chosen, read_results(results), accuracy, right_labels,
                                            len(self._tester.stream.dropped))
        return None


def check_snapshots(config, steps, damage, said):
    """Check that the snapshots belong to this run → {step: checksums of its files}, of those that are not damaged.

    `said`: set of the warnings printed so far, which are not repeated. Raises InputError where a snapshot has another
    network, or was trained on other class names or videos; with config.accept_changes that is a warning.
    """
    (here, reason), checksums, compared, windows = target_trained_on(config), {}, set(), set()

    def warn(text):
        if text not in said:
            said.add(text)
            say('warning: ' + text)

    if reason:
        warn('of what the snapshots were trained on, only the class names are compared: %s' % reason)
    for step in steps:
        prefix = snapshots.path(config.model_dir, step)

        def differences(saved):
            texts, there = settings.differences(saved, config, ['model'], settings.TEST), saved.get('trained_on')
            windows.add(saved.get('data', {}).get('window_seconds', config.data.window_seconds))
            if isinstance(there, dict):  # it is absent where an older version of this code wrote the snapshot
                compared.add(step)
                texts += trained_on.differences(there, here, config.data, ordered=False)
            if texts and config.accept_changes:
                warn('%s.json: trained with %s' % (prefix, ', '.join(texts)))
            return [] if config.accept_changes else texts

        with damage.reported(prefix):
            found = snapshots.check_settings(prefix, differences)
            if not os.path.exists(prefix + '.index'):  # it goes first, so no other file was missing before
                raise snapshots.Damaged('%s: removed' % prefix)
            checksums[step] = found
    for seconds in windows - {config.data.window_seconds}:
        warn('trained with --window_seconds %g, tested with %g: actions look longer or shorter to the network'
             % (seconds, config.data.window_seconds))
    unknown = ', '.join('%d' % step for step in checksums if step not in compared)
    if unknown:
        warn('the snapshots of these steps do not say what they were trained on: %s; make sure that it was '
             'the class names in %s' % (unknown, config.data.path('target_categories')))
    return checksums


def _ground_truth(config, needed_by=()):
    """The ground truth of the subset that is tested; None, with a message, where there is none.

    Raises InputError in place of that where flags need it: `needed_by`.
    """
    path = config.data.path('ground_truth')
    try:
        if os.path.lexists(path):  # a link to nothing is a fault, not the absence of ground truth
            return read_ground_truth(path, config.test.subset)
        missing = 'found no ground truth at %s' % path
    except NoSegments as error:
        missing = str(error)
    if needed_by:
        raise InputError('%s: needs ground truth, but %s' % (needed_by[0], missing))
    say('%s; results are written, not evaluated' % missing)
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
