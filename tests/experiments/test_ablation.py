"""experiments/ablation.py and runs.py: arithmetic by hand, a run from the world to its rows, failures."""
import os
import subprocess
import sys

import numpy as np
import pytest
from data_sets import ROOT

import config as settings
from experiments import ablation, runs
from runtime.errors import InputError

ZEROS = dict.fromkeys(runs.MEASURES, '0')


def row(variant, seed, percent, setting='', value=''):
    return dict(ZEROS, knob=setting, value=value, seed=str(seed), variant=variant, **{ablation.SHOWN: str(percent)})


def test_mean_deviation_and_interval_by_hand():
    found = runs.summarize([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3 and found.deviation == pytest.approx(np.sqrt(2.5))
    assert found.margin == pytest.approx(2.776445 * np.sqrt(2.5 / 5))
    alone = runs.summarize([7.0])
    assert alone.mean == 7 and np.isnan(alone.deviation) and np.isnan(alone.margin)


def test_differences_are_of_the_same_seeds():
    rows = [row('full', 1, 50), row('full', 2, 60), row('full', 3, 70), row('no context', 3, 40),
            row('no context', 1, 45), row('full', 1, 99, 'relatedness', '0.0')]
    column = runs.MEASURES.index(ablation.SHOWN)
    assert ablation.full_minus(rows, 'no context')[:, column].tolist() == [5, 30]


def test_the_table_and_the_figures_show_what_there_is(tmp_path):
    rows = [row(title, seed, 10 * seed + place) for seed in (1, 2)
            for place, title in enumerate(('full', 'source only', ablation.UNIFORM))]
    lines = ablation.table(rows).splitlines()
    column = 3 + runs.MEASURES.index(ablation.SHOWN)
    cells = {start: [line.split('|')[column].strip() for line in lines if line.startswith('| ' + start)]
             for start in ('full', 'source')}
    assert cells == {'full': ['15.0 ± 7.1'], 'source': ['16.0 ± 7.1', '-1.0 ± 0.0']}
    assert len(ablation.draw_table(rows).axes) == 3
    swept = rows + [row('full', 1, 5, 'relatedness', '0.0')]
    assert '| relatedness 0.0: full | 1 |' in ablation.table(swept)
    assert len(ablation.draw_sweep(swept, ('relatedness',), (ablation.SHOWN,)).axes) == 1


def test_a_single_seed_is_drawn():
    rows = [row('full', 1, 50), row('source only', 1, 40)]
    ablation.draw_table(rows).canvas.draw()
    ablation.draw_sweep(rows + [row('full', 1, 5, 'relatedness', '0.0')], ('relatedness',), ('AUC',)).canvas.draw()


def test_the_recorded_runs_give_the_recorded_table():
    folder = os.path.join(ROOT, 'experiments')
    with open(os.path.join(folder, 'ablation.md'), encoding='utf-8') as text:
        assert text.read() == ablation.table(runs.read_rows(os.path.join(folder, 'ablation.csv'), ablation.COLUMNS))


def test_runs_at_a_default_are_those_of_the_table():
    table, sweep = [ablation.runs_of(ablation.EXPERIMENTS[name]) for name in ('table', 'relatedness')]
    assert len(table) == len(ablation.SEEDS) * (len(ablation.VARIANTS) - len(ablation.TRIED) - 1)
    shared = [run for run in sweep if not run.world.setting]
    assert shared and all(run in table for run in shared)


@pytest.mark.parametrize('variant', ablation.VARIANTS, ids=ablation.TITLES)
def test_the_scripts_know_the_flags_of_every_variant(variant):
    commands = [(settings.TRAIN, variant.train)] + [(settings.TEST, test) for test in variant.tests.values()]
    for script, flags in commands:
        arguments = [part for name, value in flags.items() for part in ('--' + name, str(value))]
        parser = settings.argument_parser('', script)
        settings.from_arguments(parser.parse_args(['--config', 'demo'] + arguments), script)


@pytest.fixture
def tiny(monkeypatch):
    """The Run of an untrained network in a tiny world."""
    monkeypatch.setattr(ablation, 'VALIDATION_VIDEOS', 20)
    variant = ablation.VARIANTS[ablation.TITLES.index('untrained')]
    return ablation.Run(ablation.WorldKey('source_videos', '10', 7),
                        variant._replace(tests={'2': {'labels_per_video': 2}}))


def test_a_run_makes_its_rows_once(tiny, tmp_path):
    path, work = str(tmp_path / 'runs.csv'), str(tmp_path / 'work')
    assert ablation.missing([tiny], runs.read_rows(path, ablation.COLUMNS)) == [tiny]
    runs.run_all([tiny], ablation.Runner(work, 600, [tiny]).run, path, 1)
    rows = runs.read_rows(path, ablation.COLUMNS)
    assert [row['variant'] for row in rows] == ['untrained', '2']
    assert all(0 <= float(row[name]) <= 100 for row in rows for name in runs.MEASURES)
    assert not [name for name in os.listdir(work) if os.path.isdir(os.path.join(work, name))]
    assert not ablation.missing([tiny], rows)


def test_the_message_has_the_reason_why_a_script_failed(tiny, tmp_path):
    broken = tiny._replace(world=ablation.WorldKey('relatedness', '7', 7))
    runner = ablation.Runner(str(tmp_path / 'work'), 600, [broken])
    with pytest.raises(InputError, match='prepare_data.py demo ended with exit status 2: .*relatedness.*7'):
        runs.run_all([broken], runner.run, str(tmp_path / 'runs.csv'), 1)


def test_other_steps_need_another_csv():
    with pytest.raises(InputError, match='--max_steps 5: .*--csv'):
        ablation.main(['--max_steps', '5'])


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, os.path.join(ROOT, 'experiments', 'ablation.py'), '--help']
    assert b'--max_steps' in subprocess.check_output(command, cwd=str(tmp_path))
