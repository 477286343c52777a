"""experiments/ablation.py and runs.py: arithmetic by hand, a run from the world to its rows, failures."""
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from data_sets import ROOT, python

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


def test_a_csv_of_someone_else_is_left_alone(tmp_path):
    path = tmp_path / 'mine.csv'
    for content, message in (('name,age\na,1\n', 'line 1: found 2 columns, expected knob, value, seed'),
                             ('', 'line 1: found 0 columns, expected knob'),
                             (','.join(ablation.COLUMNS) + '\n,,1,full,5', 'line 2: found 5 columns, expected knob')):
        path.write_text(content)
        with pytest.raises(InputError, match='mine.csv, %s' % message):
            ablation.main(['--only', 'none', '--csv', str(path), '--work', str(tmp_path / 'work')])
        assert path.read_text() == content
    path.unlink()
    os.mkfifo(str(path))
    with pytest.raises(InputError, match='mine.csv: found a pipe'):
        ablation.main(['--only', 'none', '--csv', str(path), '--work', str(tmp_path / 'work')])


@pytest.mark.parametrize('name', ['runs.md', 'runs.png'])
def test_a_csv_in_the_place_of_the_table_or_a_figure(tmp_path, name):
    (tmp_path / name).write_text('mine')
    with pytest.raises(InputError, match='--csv .*%s: would overwrite .*%s' % (name, name)):
        ablation.main(['--only', 'none', '--csv', str(tmp_path / name), '--work', str(tmp_path / 'work')])
    assert (tmp_path / name).read_text() == 'mine'


@pytest.mark.parametrize('name', ['runs.md', 'runs.png', 'runs_growth.png'])
def test_files_of_someone_else_in_the_place_of_the_table_or_a_figure(tmp_path, name):
    (tmp_path / name).write_text('# mine')
    with pytest.raises(InputError, match='%s: found another file there, expected none or an earlier table' % name):
        ablation.main(['--only', 'none', '--csv', str(tmp_path / 'runs.csv'), '--work', str(tmp_path / 'work')])
    assert os.listdir(str(tmp_path)) == [name] and (tmp_path / name).read_text() == '# mine'


@pytest.mark.parametrize('shown', [row('full', 1, 50), row('oracle', 1, 0), row('full', 1, 5, 'relatedness', '0.0')])
def test_the_table_of_any_row_is_written_and_replaced_without_a_warning(tmp_path, shown):
    path = tmp_path / 'runs.csv'
    cells = [dict(shown, seconds='3')[name] for name in ablation.COLUMNS]
    path.write_text(','.join(ablation.COLUMNS) + '\n' + ','.join(cells) + '\n')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(2):
            ablation.main(['--only', 'none', '--csv', str(path), '--work', str(tmp_path / 'work')])
    text = (tmp_path / 'runs.md').read_text(encoding='utf-8')
    assert '%s | 1 |' % shown['variant'] in text and 'nan ± nan' not in text


def test_a_csv_without_rows_is_one_line(tmp_path):
    with pytest.raises(InputError, match='runs.csv: found no row, expected one at least; make a run: '):
        ablation.main(['--only', 'none', '--csv', str(tmp_path / 'runs.csv'), '--work', str(tmp_path / 'work')])
    assert not (tmp_path / 'runs.md').exists()


@pytest.mark.parametrize('script', ['ablation', 'splits'])
def test_ctrl_c_while_a_script_is_imported(tmp_path, script):
    (tmp_path / 'numpy.py').write_text('import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n')
    done = python('experiments/%s.py' % script, env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, '', '')


def test_a_figure_that_cannot_be_drawn_costs_no_table(tmp_path, monkeypatch, capsys):
    def draw(_):
        raise RuntimeError('no font')

    monkeypatch.setattr(ablation, 'draw_table', draw)
    runs.read_rows(str(tmp_path / 'runs.csv'), ablation.COLUMNS)
    values = [row('full', 1, 50)[name] for name in runs.MEASURES]
    runs.append_text(str(tmp_path / 'runs.csv'), ','.join(['', '', '1', 'full', *values, '3']) + '\n')
    with pytest.raises(InputError, match='runs.png: the figure cannot be drawn: RuntimeError: no font; '):
        ablation.main(['--only', 'none', '--csv', str(tmp_path / 'runs.csv'), '--work', str(tmp_path / 'work')])
    assert '| full | 1 |' in capsys.readouterr().out and '| full | 1 |' in (tmp_path / 'runs.md').read_text()


@pytest.mark.parametrize('processes', ['0', '-1', 'many', '10000'])
def test_processes_that_cannot_be(capsys, processes):
    with pytest.raises(SystemExit):
        ablation.main(['--processes', processes])
    assert '%s: expected a number from 1 to 1000' % processes in capsys.readouterr().err


def test_other_steps_need_another_csv():
    with pytest.raises(InputError, match='--max_steps 5: .*--csv'):
        ablation.main(['--max_steps', '5'])


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, os.path.join(ROOT, 'experiments', 'ablation.py'), '--help']
    environment = dict(os.environ, PYTHONIOENCODING='ascii')  # which has no ellipsis
    assert b'--seeds N,N,\\u2026' in subprocess.check_output(command, cwd=str(tmp_path), env=environment)
