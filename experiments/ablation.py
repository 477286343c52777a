"""Does each part of the method help? Train and test variants of it on demo worlds.

    python3 experiments/ablation.py                   # every experiment; the same as `make ablation`
    python3 experiments/ablation.py --only table      # one of them
    python3 experiments/ablation.py --only none       # no run: write the table and the figures again
    python3 experiments/ablation.py --only table --seeds 101,102 --csv /tmp/dev.csv

A seed gives a new demo world (classes, videos, features, annotation) and a new network. A run trains one network
with the flags of its variant, in a process of its own with one thread, and tests it in one or several ways. Each
test is a row of ablation.csv. A run that has its rows there is not repeated, and interrupted training resumes.
ablation.md and the figures are made of the rows.
"""
import argparse
import collections
import os
import re
import shutil
import sys
import threading
import time
from typing import NamedTuple

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import InputError, exit_on_ctrl_c, run_and_exit
from runtime.files import file_lock, refuse_to_overwrite, write_text

with exit_on_ctrl_c():
    import numpy as np

    from aher_k600_test import RESULTS_NAME
    from config import PRESETS, numbers_like
    from evaluation.results import new_figure, try_figure
    from experiments import runs as shared
    from experiments.runs import MEASURES
    from preparation import demo, demo_world

PRESET, PUBLISHED = PRESETS['demo'], PRESETS['k600']
SEEDS = (1, 2, 3, 4, 5)   # the settings of the demo preset were chosen on other seeds
VALIDATION_VIDEOS = 400
COLUMNS = ('knob', 'value', 'seed', 'variant') + MEASURES + ('seconds',)  # knob: an older name of the setting
SHOWN = 'mAP@0.5'         # the measure of the figures
CAPTIONS = (              # of the tables in ablation.md, which begins with one of them
    'Percent, mean ± standard deviation.',
    'Full minus each, seed by seed: mean and 95 % confidence interval (Student\'s t).',
    'Other worlds, mean ± standard deviation.')


class Variant(NamedTuple):
    """One network: the flags of its training, and how its snapshot is tested."""

    title: str        # `variant` in the CSV, where the test has no further flags
    train: dict
    tests: dict = {}  # further tests, {`variant` in the CSV: flags of the test}


# Full supervision: 1,000 annotated videos of the target classes in place of the 900 source videos.
SUPERVISED = demo.supervised(PRESET.data)
ANNOTATED = {field: value for field, value in SUPERVISED._asdict().items() if value != getattr(PRESET.data, field)}
UNIFORM = 'uniform windows, the label of full'
FASTER = 'adversary at ten times the rate'
TRIED = ('published rate (1e-4)', 'published moment ratios (14…19)')
VARIANTS = (
    Variant('full', {}, {
        UNIFORM: {'proposals': 'uniform'},
        'full, published scoring (IoU, NMS 0.9)': {'score_by': 'iou', 'nms_tiou': 0.9},
        'full, scored by IoU': {'score_by': 'iou'},
        'full, NMS 0.9': {'nms_tiou': 0.9},
        'full, 2 labels a video': {'labels_per_video': 2},
        'full, 5 labels a video': {'labels_per_video': 5}}),
    Variant('transfer = identity', {'transfer': 'identity'}),
    Variant('no adversary', {'context': 'localized'}),
    Variant(FASTER, {'adversary_rate': 10 * PRESET.train.adversary_rate}),
    Variant('generator never trained', {'context': 'untrained'}),
    Variant('no context', {'context': 'none'}),
    Variant('source only', {'context': 'unused'}),
    Variant(TRIED[0], {'learning_rate': PUBLISHED.train.learning_rate}),
    Variant(TRIED[1], {'moment_ratios': ','.join(map(str, PUBLISHED.data.moment_ratios))}),
    Variant('published faults F1, F2, F3', {'mode': 'authors'}),
    *[Variant('fault %s alone' % fault, {'mode': fault}) for fault in ('F1', 'F2', 'F3')],
    Variant('oracle', ANNOTATED),
    Variant('oracle, without updates 4 to 7', dict(ANNOTATED, context='unused')),
    Variant('untrained', {'max_steps': 0}))
TITLES = tuple(variant.title for variant in VARIANTS)
ROW_TITLES = [title for variant in VARIANTS for title in (variant.title, *variant.tests)]


class Experiment(NamedTuple):
    """Runs that are shown together: variants in worlds that differ in one setting of the world."""

    setting: str   # flag of `prepare_data.py demo`
    values: tuple
    variants: tuple  # titles
    seeds: tuple


DEFAULTS = demo_world.Settings()
EXPERIMENTS = collections.OrderedDict([
    ('table', Experiment('relatedness', (DEFAULTS.relatedness,),
                         tuple(title for title in TITLES if title not in TRIED + (FASTER,)), SEEDS)),
    ('tried', Experiment('relatedness', (DEFAULTS.relatedness,), TRIED, SEEDS[:2])),
    ('relatedness', Experiment('relatedness', (0.0, 0.4, DEFAULTS.relatedness),
                               ('full', 'transfer = identity', 'source only'), SEEDS[:2])),
    ('source_classes', Experiment('source_classes', (5, DEFAULTS.source_classes, 40), ('full',), SEEDS[:2])),
    ('moments', Experiment('moments_per_class', (5, 15, DEFAULTS.moments_per_class), ('full',), SEEDS[:2])),
    # does it help to learn the context where the context tells more of the action?
    ('context', Experiment('context_strength', (2.0,), (
        'full', 'transfer = identity', 'no adversary', FASTER, 'generator never trained'), SEEDS[:3]))])
SWEEPS = collections.OrderedDict([  # end of a figure's name: the experiments that it shows
    ('_relatedness', ('relatedness',)), ('_growth', ('source_classes', 'moments'))])


class WorldKey(NamedTuple):
    """A demo world: the setting that is not at its default ('' where all are), its value, and the seed."""

    setting: str
    value: str
    seed: int


class Run(NamedTuple):
    """One network to be trained and tested."""

    world: WorldKey
    variant: Variant


def setting_and_value(setting, value):
    """As WorldKey and the CSV have them: empty where the value is the default."""
    return ('', '') if value == getattr(DEFAULTS, setting) else (setting, str(value))


def runs_of(experiment):
    """The Runs of an Experiment, world by world. Those of the default world are the table's, with all their tests."""
    worlds = [WorldKey(*setting_and_value(experiment.setting, value), seed)
              for value in experiment.values for seed in experiment.seeds]
    return [Run(world, variant._replace(tests={}) if world.setting else variant)
            for world in worlds for variant in VARIANTS if variant.title in experiment.variants]


def missing(runs, rows):
    """The Runs that have no row in the CSV."""
    done = {(row['knob'], row['value'], row['seed'], row['variant']) for row in rows}
    return [run for run in runs if run.world[:2] + (str(run.world.seed), run.variant.title) not in done]


# Running

class Runner:
    """Makes each world in `folder` once, runs what needs it, and removes it after the last of its runs."""

    def __init__(self, folder, max_steps, runs):
        self._folder, self._max_steps = folder, max_steps
        self._lock, self._worlds = threading.Lock(), {run.world: threading.Lock() for run in runs}
        self._left = collections.Counter(run.world for run in runs)

    def run(self, run):
        """Train and test a Run → rows of COLUMNS; the first is that of the variant's title."""
        started, data = time.monotonic(), self._make_world(run.world)
        title = run.variant.title
        model = self._path(run.world, re.sub(r'\W', '_', title))
        log, flags = model + '.log', dict(config='demo', data_root=data, threads=1, model_dir=model)
        train = dict(flags, max_steps=self._max_steps, snapshot_step=1000, seed=run.world.seed)
        if run.world.setting == 'source_classes':
            train['source_classes'] = run.world.value
        train.update(run.variant.train)
        shared.call(log, 'aher_k600_train.py', **train)
        if 'transfer' in train:
            flags['transfer'] = train['transfer']
        rows = []
        for row_title, test in [(title, {}), *run.variant.tests.items()]:
            results = os.path.join(model, 'results-%d' % len(rows))
            shared.call(log, 'aher_k600_test.py', results_dir=results, **flags, **test)
            percents = shared.evaluate(os.path.join(results, RESULTS_NAME % train['max_steps']),
                                       os.path.join(data, PRESET.data.ground_truth))
            rows.append((*run.world, row_title, *percents, '%.0f' % (time.monotonic() - started)))
        shutil.rmtree(model)
        with self._lock:
            self._left[run.world] -= 1
            if not self._left[run.world]:
                shutil.rmtree(data)
        return rows

    def _path(self, world, name):
        return os.path.join(self._folder, '-'.join(str(part) for part in (*world, name) if part != ''))

    def _make_world(self, world):
        """Folder of the world's data, which is made unless it is complete."""
        data = self._path(world, 'data')
        log, annotation = data + '.log', data + '.txt'
        changed = {world.setting or 'supervised_videos': world.value or DEFAULTS.source_videos}
        with self._worlds[world]:
            # --force: an earlier version of this project may have written another annotation
            shared.call(log, 'prepare_data.py', 'demo', '--force', seed=world.seed, write_annotation=annotation,
                        validation_videos=VALIDATION_VIDEOS)
            shared.call(log, 'prepare_data.py', 'demo', seed=world.seed, out=data, annotation=annotation, **changed)
            shared.call(log, 'prepare_data.py', 'annotation', data_root=data)
        return data


# Showing

def by_seed(rows, variant, setting='', value=''):
    """{seed: row} of one variant in one kind of world."""
    return {row['seed']: row for row in rows
            if (row['variant'], row['knob'], row['value']) == (variant, setting, value)}


def values(*selection, measure=None):
    """[seeds, MEASURES] percents, or [seeds] of one measure; other arguments as by_seed."""
    percents = shared.percents_of(by_seed(*selection).values())
    return percents[:, MEASURES.index(measure)] if measure else percents


def full_minus(rows, variant):
    """[seeds, MEASURES] percents: full minus `variant`, for the seeds that both have."""
    full, other = by_seed(rows, 'full'), by_seed(rows, variant)
    seeds = sorted(set(full) & set(other))
    return shared.percents_of(full[seed] for seed in seeds) - shared.percents_of(other[seed] for seed in seeds)


def table(rows):
    """The text of ablation.md."""
    def part(caption, lines, **cell):
        return ['', caption, ''] + shared.percents_table('variant', 'seeds', lines, **cell) if lines else []

    here = sorted({row['variant'] for row in rows if not row['knob']}, key=ROW_TITLES.index)
    elsewhere = sorted({(row['knob'], row['value'], row['variant']) for row in rows if row['knob']},
                       key=lambda place: (place[0], float(place[1]), ROW_TITLES.index(place[2])))
    differences = [(title, full_minus(rows, title)) for title in here if title != 'full']
    lines = part(CAPTIONS[0], [(title, values(rows, title)) for title in here])
    lines += part(CAPTIONS[1], [pair for pair in differences if len(pair[1])], cell='%(mean)+.1f ± %(margin).1f')
    lines += part(CAPTIONS[2],
                  [('%s %s: %s' % (setting, value, title), values(rows, title, setting, value))
                   for setting, value, title in elsewhere])
    return '\n'.join(lines[1:]) + '\n'


def draw_table(rows):
    """Figure, a panel for each of three measures: all seeds of each variant, mean and confidence interval."""
    shown = ('accuracy', 'AR@100', SHOWN)
    first, *others, _ = EXPERIMENTS['table'].variants  # the last one is untrained
    titles = [title for title in [first, UNIFORM] + others if by_seed(rows, title)]
    figure = new_figure((14, 0.4 * len(titles) + 1.2))
    for place, measure in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        for height, title in enumerate(reversed(titles)):
            percents = values(rows, title, measure=measure)
            mean, _, margin = shared.summarize(percents)
            axes.plot(percents, [height] * len(percents), '.', color='#9db8d2')
            axes.errorbar(mean, height, xerr=np.nan_to_num(margin), fmt='o', color='#1f5a92', capsize=3)
        axes.set(title='%s, %%' % measure, yticks=range(len(titles)), yticklabels=titles[::-1] if place == 1 else [])
        if by_seed(rows, 'full'):
            axes.axvline(shared.summarize(values(rows, 'full', measure=measure)).mean, color='grey', linewidth=0.5)
        axes.grid(axis='x', alpha=0.3)
    figure.subplots_adjust(left=0.2, right=0.98, wspace=0.06)
    return figure


def draw_sweep(rows, names, shown):
    """Figure, a panel for each experiment in `names` and measure in `shown`: mean and deviation of each variant.

    A measure has the same scale in all its panels.
    """
    panels = [(name, measure) for name in names for measure in shown]
    figure, first = new_figure((4.5 * len(panels), 4)), {}
    for place, (name, measure) in enumerate(panels, start=1):
        setting, setting_values, variants, _ = EXPERIMENTS[name]
        axes = figure.add_subplot(1, len(panels), place, sharey=first.get(measure))
        first.setdefault(measure, axes)
        seeds = {row['seed'] for row in rows if row['knob'] == setting}  # the table has more
        same = [row for row in rows if row['seed'] in seeds]
        for variant in variants:
            cells = [values(same, variant, *setting_and_value(setting, value), measure=measure)
                     for value in setting_values]
            points = [(value, *shared.summarize(cell)) for value, cell in zip(setting_values, cells) if len(cell)]
            if points:
                places, means, deviations, _ = zip(*points)
                axes.errorbar(places, means, yerr=np.nan_to_num(deviations), fmt='o-', capsize=3, label=variant)
        axes.set(xticks=setting_values, xlabel=setting, ylabel='%s, %%' % measure)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def outputs(path):
    """[table, figure of the table, figure of each of SWEEPS]: paths beside the CSV `path`."""
    return [os.path.splitext(path)[0] + end for end in ['.md', '.png'] + [name + '.png' for name in SWEEPS]]


def show(path):
    """Print the table of the CSV; write it and the figures beside the CSV, as far as it has their runs.

    Raises InputError where the CSV has no row, and, at the end, where a figure cannot be drawn.
    """
    rows, (table_path, figure_path, *sweep_paths) = shared.read_rows(path, COLUMNS), outputs(path)
    if not rows:
        raise InputError('%s: found no row, expected one at least; make a run: leave out --only none, or name other '
                         '--variants' % path)
    text = table(rows)
    write_text(table_path, text)
    print(text)
    faults = [try_figure(figure_path, lambda: draw_table(rows))]
    for names, sweep_path in zip(SWEEPS.values(), sweep_paths):
        if all(any(row['knob'] == EXPERIMENTS[name].setting for row in rows) for name in names):
            faults.append(try_figure(sweep_path, lambda: draw_sweep(rows, names, ('accuracy', SHOWN))))
    if any(faults):
        raise InputError('%s; the table is complete: run again with --only none' % '; '.join(filter(None, faults)))


# Command line

def build_parser():
    """The parser of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--only', choices=[*EXPERIMENTS, 'none'],
                        help='the runs of one experiment; none: only write the table and the figures')
    parser.add_argument('--seeds', metavar='N,N,…', type=numbers_like(SEEDS),
                        help='instead of those of each experiment, the first of %s' % ','.join(map(str, SEEDS)))
    parser.add_argument('--variants', metavar='TITLE;TITLE;…', type=lambda text: text.split(';'), default=TITLES,
                        help='only these of: %s' % '; '.join(TITLES))
    shared.add_flags(parser)
    parser.add_argument('--csv', default=os.path.join(shared.ROOT, 'experiments', 'ablation.csv'),
                        help='file with the rows of every run (default %(default)s)')
    parser.add_argument('--work', default=os.path.join(shared.ROOT, 'data', 'ablation'), help='folder of the logs, '
                        'and of worlds and networks as long as they are needed (default %(default)s)')
    return parser


def main(argv=None):
    """Make the runs that are missing; write the table and the figures."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.max_steps != PRESET.train.max_steps and arguments.csv == parser.get_default('csv'):
        raise InputError('--max_steps %d: the rows of a CSV do not tell their steps; name another file with --csv'
                         % arguments.max_steps)
    refuse_to_overwrite({'--csv': arguments.csv}, outputs(arguments.csv))
    shared.refuse_files_of_others(outputs(arguments.csv), CAPTIONS)
    runs = {}
    for name, experiment in EXPERIMENTS.items():
        if arguments.only in (None, name):
            experiment = experiment._replace(seeds=arguments.seeds or experiment.seeds)
            runs.update((run.world + (run.variant.title,), run) for run in runs_of(experiment)
                        if run.variant.title in arguments.variants)
    with file_lock(os.path.join(arguments.work, '.lock')):
        left = missing(runs.values(), shared.read_rows(arguments.csv, COLUMNS))
        if left:
            runner = Runner(arguments.work, arguments.max_steps, left)
            shared.run_all(left, runner.run, arguments.csv, arguments.processes)
        show(arguments.csv)


if __name__ == '__main__':
    run_and_exit(main)
