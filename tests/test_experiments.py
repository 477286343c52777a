"""benchmarks/ablation.py and splits.py: arithmetic by hand, a run from world to row, going on, what fails."""
import importlib
import os
import sys

import numpy as np
import pytest
from data_sets import ROOT

BENCHMARKS = os.path.join(ROOT, 'benchmarks')
sys.path.insert(0, BENCHMARKS)

import ablation  # noqa: E402
import splits  # noqa: E402

from errors import InputError  # noqa: E402

ZEROS = dict.fromkeys(ablation.MEASURES, '0')


@pytest.mark.parametrize('name', [name[:-3] for name in sorted(os.listdir(BENCHMARKS)) if name.endswith('.py')])
def test_every_benchmark_finds_what_it_uses(name):
    assert importlib.import_module(name).__doc__


def row(variant, seed, percent, knob='', value=''):
    return dict(ZEROS, knob=knob, value=value, seed=str(seed), variant=variant, **{ablation.SHOWN: str(percent)})


def test_mean_deviation_and_interval_by_hand():
    found = ablation.found([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3 and found.deviation == pytest.approx(np.sqrt(2.5))
    assert found.margin == pytest.approx(2.776445 * np.sqrt(2.5 / 5))
    assert ablation.found([7.0]) == (7, 0, 0)


def test_differences_are_of_the_same_seeds():
    rows = [row('full', 1, 50), row('full', 2, 60), row('full', 3, 70), row('no context', 3, 40),
            row('no context', 1, 45), row('full', 1, 99, 'relatedness', '0.0')]
    assert ablation.differences(rows, 'no context', ablation.SHOWN) == [5, 30]


def test_the_table_and_the_figures_show_what_there_is(tmp_path):
    rows = [row(title, seed, 10 * seed + place) for seed in (1, 2)
            for place, title in enumerate(('full', 'source only', ablation.UNIFORM))]
    lines = ablation.table(rows).splitlines()
    column = 3 + ablation.MEASURES.index(ablation.SHOWN)
    cells = {start: [line.split('|')[column].strip() for line in lines if line.startswith('| ' + start)]
             for start in ('full', 'source')}
    assert cells == {'full': ['15.0 ± 7.1'], 'source': ['16.0 ± 7.1', '-1.0 ± 0.0']}
    assert len(ablation.draw_table(rows).axes) == 3
    swept = rows + [row('full', 1, 5, 'relatedness', '0.0')]
    assert '| relatedness 0.0: full | 1 |' in ablation.table(swept)
    assert len(ablation.draw_sweep(swept, ('relatedness',), (ablation.SHOWN,)).axes) == 1


def test_runs_at_a_default_are_those_of_the_table():
    table, sweep = [ablation.runs_of(ablation.EXPERIMENTS[name]) for name in ('table', 'relatedness')]
    assert len(table) == len(ablation.SEEDS) * (len(ablation.VARIANTS) - len(ablation.TRIED) - 1)
    shared = [run for run in sweep if not run.world.knob]
    assert shared and all(run in table for run in shared)


@pytest.fixture
def tiny(monkeypatch):
    """The Run of an untrained network in a tiny world."""
    monkeypatch.setattr(ablation, 'VALIDATION_VIDEOS', 20)
    variant = ablation.VARIANTS[ablation.TITLES.index('untrained')]
    return ablation.Run(ablation.World('source_videos', '10', 7),
                        variant._replace(tests={'2': {'labels_per_video': 2}}))


def test_a_run_makes_its_rows_once(tiny, tmp_path):
    path, work = str(tmp_path / 'runs.csv'), str(tmp_path / 'work')
    assert ablation.missing([tiny], ablation.read(path, ablation.COLUMNS)) == [tiny]
    ablation.make([tiny], ablation.Bench(work, 600, [tiny]).run, path, 1)
    rows = ablation.read(path, ablation.COLUMNS)
    assert [row['variant'] for row in rows] == ['untrained', '2']
    assert all(0 <= float(row[name]) <= 100 for row in rows for name in ablation.MEASURES)
    assert not [name for name in os.listdir(work) if os.path.isdir(os.path.join(work, name))]
    assert not ablation.missing([tiny], rows)


def test_a_script_that_fails_is_named_with_its_reason(tiny, tmp_path):
    broken = tiny._replace(world=ablation.World('relatedness', '7', 7))
    bench = ablation.Bench(str(tmp_path / 'work'), 600, [broken])
    with pytest.raises(InputError, match='make_demo_data.py ended with status 2: .*relatedness 7'):
        ablation.make([broken], bench.run, str(tmp_path / 'runs.csv'), 1)


def test_the_mean_of_splits_by_hand():
    rows = [dict(dict.fromkeys(splits.MEASURES, str(value)), videos='9', share=share, seed=str(value), steps='1')
            for share, value in (('0.5', 1), ('0.75', 2), ('0.75', 4))]
    first, second = splits.format_table(rows).splitlines()[2:]
    assert first.startswith('| 0.75 | 2 | 3.0 ± 1.4 |') and second.startswith('| 0.5 | 1 | 1.0 ± nan |')
