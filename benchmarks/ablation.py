"""Does the method work? Variants of it, trained and tested on demo worlds → ablation.csv, ablation.md and figures.

    python3 benchmarks/ablation.py                    # make ablation: every experiment
    python3 benchmarks/ablation.py --only table       # one of them; none: table and figures again
    python3 benchmarks/ablation.py --only table --seeds 101,102 --csv /tmp/dev.csv

A seed is a new world (classes, videos, features, annotation) and a new network. A run is one network: trained with
the variant's flags, in a process and with one thread of its own, then tested, perhaps in more than one way. Runs
that ablation.csv has are not made again, and training that was interrupted goes on.
"""
import argparse
import collections
import functools
import os
import shutil
import threading
import time
from typing import NamedTuple

import numpy as np
from experiments import CORES, MEASURES, ROOT, call, make, measures, read
from scipy import stats

import make_demo_data as demo
from aher_k600_test import RESULTS_NAME
from config import PRESETS
from errors import InputError, leave
from evaluation.results import new_figure, write_figure
from files import locked, write_text

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = (1, 2, 3, 4, 5)   # the demo's settings were chosen on others
VALIDATION_VIDEOS = 400
SUPERVISED = demo.supervised(demo.Folder(PRESETS['demo'].data, 'npy')).paths
COLUMNS = ('knob', 'value', 'seed', 'variant') + MEASURES + ('seconds',)
SHOWN = 'mAP@0.5'         # what the figures show


class Variant(NamedTuple):
    """One network: flags of its training, and how its snapshot is tested {row of the table: flags of the test}."""

    title: str
    train: dict
    tests: dict = {}


# the fully supervised bound: annotated videos of the target classes, as many, in place of the source's
ANNOTATED = {field: getattr(SUPERVISED, field) for field in SUPERVISED._fields if field.startswith('source_')}
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
    Variant(FASTER, {'adversary_rate': 10 * PRESETS['demo'].train.adversary_rate}),
    Variant('generator never trained', {'context': 'untrained'}),
    Variant('no context', {'context': 'none'}),
    Variant('source only', {'context': 'unused'}),
    Variant(TRIED[0], {'learning_rate': PRESETS['k600'].train.learning_rate}),
    Variant(TRIED[1], {'moment_ratios': ','.join(map(str, PRESETS['k600'].data.moment_ratios))}),
    Variant('published faults F1, F2, F3', {'mode': 'authors'}),
    Variant('fault F1 alone', {'mode': 'F1'}),
    Variant('fault F2 alone', {'mode': 'F2'}),
    Variant('fault F3 alone', {'mode': 'F3'}),
    Variant('oracle', ANNOTATED),
    Variant('oracle, without updates 4 to 7', dict(ANNOTATED, context='unused')),
    Variant('untrained', {'max_steps': 0}))


class Experiment(NamedTuple):
    """Runs that are shown together: worlds that differ in one knob, the variants and the seeds."""

    knob: str       # of make_demo_data
    values: tuple
    variants: tuple  # titles
    seeds: tuple


DEFAULTS = demo.Settings()
TITLES = tuple(variant.title for variant in VARIANTS)
EXPERIMENTS = collections.OrderedDict([
    ('table', Experiment('relatedness', (DEFAULTS.relatedness,),
                         tuple(title for title in TITLES if title not in TRIED + (FASTER,)), SEEDS)),
    ('tried', Experiment('relatedness', (DEFAULTS.relatedness,), TRIED, SEEDS[:2])),
    ('relatedness', Experiment('relatedness', (0.0, 0.4, DEFAULTS.relatedness),
                               ('full', 'transfer = identity', 'source only'), SEEDS[:2])),
    ('source_classes', Experiment('source_classes', (5, DEFAULTS.source_classes, 40), ('full',), SEEDS[:2])),
    ('moments', Experiment('moments_per_class', (5, 15, DEFAULTS.moments_per_class), ('full',), SEEDS[:2])),
    # where context tells most of the action, does it help to learn it, or to learn how it goes with the action?
    ('context', Experiment('context_strength', (2.0,), (
        'full', 'transfer = identity', 'no adversary', FASTER, 'generator never trained'), SEEDS[:3]))])


class World(NamedTuple):
    """One demo world: a knob of make_demo_data that is not at its default, or none ('', ''), and the seed."""

    knob: str
    value: str
    seed: int


class Run(NamedTuple):
    """One network to be trained and tested."""

    world: World
    variant: Variant


def runs_of(experiment):
    """The Runs of an Experiment, world by world; where the knob has its default, they are the table's."""
    worlds = [World(*_place(experiment.knob, value), seed)
              for value in experiment.values for seed in experiment.seeds]
    return [Run(world, variant._replace(tests={}) if world.knob else variant)
            for world in worlds for variant in VARIANTS if variant.title in experiment.variants]


def _place(knob, value):
    """A knob's value as a World and the CSV have it."""
    return ('', '') if value == getattr(DEFAULTS, knob) else (knob, str(value))


# Running

class Bench:
    """Makes worlds in `folder`, each once and for as long as it is needed, and runs in them."""

    def __init__(self, folder, steps, runs):
        self._folder, self._steps = folder, steps
        self._lock, self._worlds = threading.Lock(), {run.world: threading.Lock() for run in runs}
        self._left = collections.Counter(run.world for run in runs)

    def run(self, run):
        """Train and test a Run → rows of COLUMNS, the first of its variant itself."""
        started, data = time.time(), self._world(run.world)
        title = run.variant.title
        model = self._path(run.world, ''.join(sign if sign.isalnum() else '_' for sign in title))
        log, flags = model + '.log', {'config': 'demo', 'data_root': data, 'threads': 1, 'model_dir': model}
        train = dict({'max_steps': self._steps, 'snapshot_step': 1000, 'seed': run.world.seed}, **flags)
        if run.world.knob == 'source_classes':
            train['source_classes'] = run.world.value
        train.update(run.variant.train)
        call('aher_k600_train.py', log, train)
        rows = []
        for row, test in [(title, {})] + list(run.variant.tests.items()):
            results = os.path.join(model, 'results-%d' % len(rows))
            same = {name: train[name] for name in ('source_classes', 'transfer') if name in train}
            call('aher_k600_test.py', log, dict(flags, results_dir=results, **same, **test))
            found = measures(os.path.join(results, RESULTS_NAME % int(train['max_steps'])),
                             os.path.join(data, PRESETS['demo'].data.ground_truth))
            rows.append(run.world + (row,) + tuple('%.3f' % found[name] for name in MEASURES)
                        + ('%.0f' % (time.time() - started),))
        shutil.rmtree(model)
        with self._lock:
            self._left[run.world] -= 1
            if not self._left[run.world]:
                shutil.rmtree(data)
        return rows

    def _path(self, world, name):
        return os.path.join(self._folder, '-'.join(str(part) for part in world if part != '') + '-' + name)

    def _world(self, world):
        """Path of the World's data, made unless it is there."""
        data = self._path(world, 'data')
        with self._worlds[world]:
            log, annotation, knobs = data + '.log', data + '.txt', {'seed': world.seed}
            call('make_demo_data.py', log, dict(knobs, validation_videos=VALIDATION_VIDEOS,
                                                write_annotation=annotation))
            knobs[world.knob or 'supervised_videos'] = world.value or DEFAULTS.source_videos
            call('make_demo_data.py', log, dict(knobs, out=data, annotation=annotation))
            call('prepare_data.py', log, {'data_root': data}, 'annotation')
        return data


def missing(runs, rows):
    """Those of the Runs that the rows of the CSV do not have."""
    done = {(row['knob'], row['value'], row['seed'], row['variant']) for row in rows}
    return [run for run in runs if run.world[:2] + (str(run.world.seed), run.variant.title) not in done]


# Showing

class Found(NamedTuple):
    """Figures of one row of the table in percent, by seed."""

    mean: float
    deviation: float
    margin: float  # half of the 95 % confidence interval of the mean, by Student's t


def found(percents):
    """Percents [seeds] → Found; deviation and margin are 0 where there is one."""
    count, deviation = len(percents), np.std(percents, ddof=1) if len(percents) > 1 else 0.0
    return Found(np.mean(percents), deviation, stats.t.ppf(0.975, max(count - 1, 1)) * deviation / np.sqrt(count))


def by_seed(rows, variant, measure, knob='', value=''):
    """{seed: percent} of one row of the table."""
    return {row['seed']: float(row[measure]) for row in rows
            if (row['variant'], row['knob'], row['value']) == (variant, knob, value)}


def table(rows):
    """The text of ablation.md."""
    order = [title for variant in VARIANTS for title in (variant.title,) + tuple(variant.tests)]
    here = sorted({row['variant'] for row in rows if not row['knob']}, key=order.index)
    elsewhere = sorted({(row['knob'], float(row['value']), order.index(row['variant']), row['value'])
                        for row in rows if row['knob']})

    def lines(caption, cell, places):
        yield from ('', caption, '', '| | seeds | %s |' % ' | '.join(MEASURES), '|---' * (2 + len(MEASURES)) + '|')
        for title, percents in places:
            cells = [cell % found(percents(measure))._asdict() for measure in MEASURES]
            yield '| %s | %d | %s |' % (title, len(percents(SHOWN)), ' | '.join(cells))

    spread, interval = '%(mean).1f ± %(deviation).1f', '%(mean)+.1f ± %(margin).1f'
    text = list(lines('Percent, mean ± standard deviation.', spread, [
        (title, functools.partial(values, rows, title)) for title in here]))
    text += lines('Full minus each, seed by seed: mean and 95 % confidence interval (Student\'s t).', interval, [
        (title, functools.partial(differences, rows, title)) for title in here[1:]])
    text += elsewhere and lines('Other worlds, mean ± standard deviation.', spread, [
        ('%s %s: %s' % (knob, value, order[place]),
         functools.partial(values, rows, order[place], knob=knob, value=value))
        for knob, _, place, value in elsewhere])
    return '\n'.join(text[1:]) + '\n'


def values(rows, variant, measure, knob='', value=''):
    """[seeds] percents of one row of the table."""
    return list(by_seed(rows, variant, measure, knob, value).values())


def differences(rows, variant, measure):
    """Full minus `variant` of the seeds that both have."""
    full, other = by_seed(rows, 'full', measure), by_seed(rows, variant, measure)
    return [full[seed] - other[seed] for seed in sorted(set(full) & set(other))]


def draw_table(rows):
    """Figure: a panel a measure; the seeds of the table's variants but untrained, mean and confidence interval."""
    shown = ('accuracy', 'AR@100', SHOWN)
    first, *others, _ = EXPERIMENTS['table'].variants
    titles = [title for title in [first, UNIFORM] + others if by_seed(rows, title, SHOWN)]
    figure = new_figure((14, 0.4 * len(titles) + 1.2))
    for place, measure in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        for height, title in enumerate(reversed(titles)):
            percents = values(rows, title, measure)
            mean, _, margin = found(percents)
            axes.plot(percents, [height] * len(percents), '.', color='#9db8d2')
            axes.errorbar(mean, height, xerr=margin, fmt='o', color='#1f5a92', capsize=3)
        axes.set_yticks(range(len(titles)))
        axes.set_yticklabels(titles[::-1] if place == 1 else [])
        axes.axvline(found(values(rows, 'full', measure)).mean, color='grey', linewidth=0.5)
        axes.set_title('%s, %%' % measure)
        axes.grid(axis='x', alpha=0.3)
    figure.subplots_adjust(left=0.2, right=0.98, wspace=0.06)
    return figure


def draw_sweep(rows, names, shown):
    """Figure: a panel for each measure in `shown` and experiment in `names`, a line a variant: mean and deviation.

    A measure has the same scale in all its panels.
    """
    panels = [(name, measure) for name in names for measure in shown]
    figure, first = new_figure((4.5 * len(panels), 4)), {}
    for place, (name, measure) in enumerate(panels, start=1):
        experiment = EXPERIMENTS[name]
        axes = figure.add_subplot(1, len(panels), place, sharey=first.get(measure))
        first.setdefault(measure, axes)
        seeds = {row['seed'] for row in rows if row['knob'] == experiment.knob}  # the table has more
        same = [row for row in rows if row['seed'] in seeds]
        for variant in experiment.variants:
            cells = [values(same, variant, measure, *_place(experiment.knob, value)) for value in experiment.values]
            points = [(value,) + tuple(found(cell)) for value, cell in zip(experiment.values, cells) if cell]
            if points:
                places, means, deviations, _ = zip(*points)
                axes.errorbar(places, means, yerr=deviations, fmt='o-', capsize=3, label=variant)
        axes.set_xticks(experiment.values)
        axes.set_xlabel(experiment.knob)
        axes.set_ylabel('%s, %%' % measure)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def show(path):
    """Write the table and the figures of the CSV beside it, as far as there are runs."""
    rows, stem = read(path, COLUMNS), os.path.splitext(path)[0]
    text = table(rows)
    write_text(stem + '.md', text)
    print(text)
    write_figure(stem + '.png', draw_table(rows))
    for end, names in (('_relatedness', ('relatedness',)), ('_growth', ('source_classes', 'moments'))):
        if all(any(row['knob'] == EXPERIMENTS[name].knob for row in rows) for name in names):
            write_figure(stem + end + '.png', draw_sweep(rows, names, ('accuracy', SHOWN)))


def main(argv=None):
    """Run and show as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    def flag(name, text, **more):
        parser.add_argument('--' + name, help=text + (' (default %(default)s)' if 'default' in more else ''), **more)

    flag('only', 'the runs of one experiment; none: only the table and the figures, of the runs there are',
         choices=list(EXPERIMENTS) + ['none'])
    flag('seeds', 'in place of %s' % ','.join(map(str, SEEDS)), metavar='N,N,…',
         type=lambda text: tuple(int(seed) for seed in text.split(',')))
    flag('variants', 'of these alone: %s' % '; '.join(TITLES), metavar='TITLE;TITLE;…',
         type=lambda text: text.split(';'), default=list(TITLES))
    flag('steps', 'of training', type=int, default=PRESETS['demo'].train.max_steps)
    flag('processes', 'runs at a time', type=int, default=CORES)
    flag('csv', 'rows of every run', default=os.path.join(HERE, 'ablation.csv'))
    flag('work', 'folder of the logs, and of worlds and networks while they are needed',
         default=os.path.join(ROOT, 'data', 'ablation'))
    arguments = parser.parse_args(argv)
    if arguments.steps != PRESETS['demo'].train.max_steps and arguments.csv == parser.get_default('csv'):
        raise InputError('--steps %d: name another file with --csv, whose rows do not say their steps'
                         % arguments.steps)
    runs = collections.OrderedDict()
    for name, experiment in EXPERIMENTS.items():
        if arguments.only in (None, name):
            experiment = experiment._replace(seeds=arguments.seeds or experiment.seeds)
            runs.update((run.world + (run.variant.title,), run) for run in runs_of(experiment)
                        if run.variant.title in arguments.variants)
    with locked(os.path.join(arguments.work, '.lock')):
        left = missing(runs.values(), read(arguments.csv, COLUMNS))
        if left:
            make(left, Bench(arguments.work, arguments.steps, left).run, arguments.csv, arguments.processes)
        show(arguments.csv)


if __name__ == '__main__':
    leave(main)
