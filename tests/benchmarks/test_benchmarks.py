"""benchmarks/: every subcommand has its help; counts, random inputs and clocks by hand; small subcommands run."""
import functools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from data_sets import ROOT

import config as settings
from benchmarks import benchmark, flop, measure, random_data
from data_loader import training_stream
from evaluation.results import read_ground_truth, read_results
from runtime.session import new_session, tf

COMMANDS = ('step', 'test', 'memory', 'loading', 'snapshot', 'reading', 'checking', 'evaluation', 'page', 'full_run')
SMALL = settings.ModelConfig(feature_width=3, stem_widths=(5, 2), level_widths=(4, 6), untrimmed_steps=17,
                             moment_steps=9, context_width=7, source_classes=2, target_classes=3)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_subcommand_prints_its_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark.main([command, '--help'])
    assert ended.value.code == 0 and len(capsys.readouterr().out.splitlines()) > 4


def test_the_help_lists_every_subcommand(tmp_path):
    command = [sys.executable, os.path.join(ROOT, 'benchmarks', 'benchmark.py'), '--help']
    text = subprocess.check_output(command, cwd=str(tmp_path)).decode()
    assert re.findall('^    ([a-z_]+)', text.split('  COMMAND\n')[1], re.MULTILINE) == list(COMMANDS)


def test_flop_by_hand():
    # per row: 3 taps, in · out channels, 2 FLOP; the pool leaves 8 rows of 17, the levels 4 and 2
    layers = [17 * 3 * 3 * 5, 17 * 3 * 5 * 2, 4 * 3 * 2 * 4, 2 * 3 * 4 * 6]
    assert flop.backbone(17, SMALL) == 2 * sum(layers)
    assert flop.heads(3, SMALL) == 2 * (4 * 4 + 2 * 6) * (3 + 3 * 3 * 5)
    assert flop.transfer(3, SMALL) == 2 * 2 * 3 * (4 ** 2 + 6 ** 2)
    assert flop.test(SMALL) == flop.backbone(17, SMALL) + flop.heads(3, SMALL)


def test_flop_of_a_step_by_hand():
    config = settings.PRESETS['k600']
    by_update = flop.step(config)
    whole = flop.backbone(512, config.model)
    assert by_update[2] == 16 * whole  # forward alone: it trains the classifier on top
    first = 2 * 256 * 3 * 2048 * 2048  # the first layer's input needs no gradient
    assert by_update[1] == 16 * (3 * flop.backbone(256, config.model) - first)
    assert sum(by_update.values()) == pytest.approx(7.11e12, rel=1e-3)


def test_bytes_of_a_step_by_hand():
    config = settings.PRESETS['k600']
    assert flop.bytes_read(config, 4) == 16 * (512 + 439 + 37) * 2048 * 4
    assert flop.bytes_moved(config) == pytest.approx(14.8e9, rel=1e-2)


def test_full_run_prints_disk_flop_and_days(capsys):
    benchmark.main(['full_run', '--step_seconds', '36'])
    out = capsys.readouterr().out
    assert '| in all | 614 | 223 | 112 |' in out and '7.1 TFLOP' in out and '6.2 days' in out


def test_clock_counts_calls_after_the_warm_up():
    calls = []
    seconds = measure.seconds_of(lambda: calls.append(1), repeats=3, warm_up=2)
    assert len(calls) == 5 and seconds.shape == (3,) and (seconds >= 0).all()


def test_report_is_one_json_line_of_four_digits(capsys):
    measure.report('name', {'videos': 12345678}, {'figures': {'a': [1.23456, np.float32(2)]}})
    line = json.loads(capsys.readouterr().out)
    assert line['benchmark'] == 'name' and line['figures'] == {'a': [1.235, 2]} and line['videos'] == 12345678
    assert line['cores'] >= 1 and 0 < line['peak_memory_GB'] < 100


def test_a_random_data_root_is_read(tmp_path):
    config = measure.preset('demo', data_root=str(tmp_path / 'data'), model_dir=str(tmp_path), batch_size=2)
    assert (config.model.source_classes, config.model.target_classes) == (20, 20)
    random_data.write_data(config, videos=40, others=34)
    with tf.Graph().as_default():
        stream = training_stream(config)
        with new_session() as session:
            session.run(stream.initializer)
            batch = session.run(stream.batch)
    features = os.listdir(config.data.path('target_clips'))
    assert len(features) == 40 and batch.moments.features.shape == (2, 256, 64)


def test_a_training_batch_has_the_loaders_shapes():
    config = measure.preset('demo', batch_size=2)
    with tf.Graph().as_default():
        batch = random_data.training_batch(config)
        with new_session() as session:
            measure.initialize(session)
            found = session.run(batch)
    assert found.untrimmed.features.shape == (2, 512, 64) and found.untrimmed.segments.shape == (2, 25, 2)
    assert found.moments.features.shape == (2, 256, 64) and (found.moments.ratio >= 3).all()


def test_random_results_have_their_counts():
    random = np.random.RandomState(0)
    content = random_data.random_ground_truth(random)
    assert len(content['database']) == 6461
    assert sum(len(video['annotations']) for video in content['database'].values()) == 9638
    read_ground_truth(content)
    results = random_data.results_for(content, 7000, random)['results']
    assert sum(map(len, results.values())) == 7000 and {len(rows) for rows in results.values()} == {1, 2}
    read_results({'version': 'VERSION 1.3', 'results': results, 'external_data': {}})


@pytest.mark.parametrize('arguments, key', [
    ('evaluation --result_count 500', 'seconds_in_all'),
    ('reading --rows 5 --feature_width 3', 'milliseconds'),
    ('checking --videos 40', 'seconds'),
    ('test --config demo --test_batch_size 2 --repeats 1', 'transfer_seconds'),
    ('step --config demo --batch_size 2 --divide_widths 8 --on_nan skip --repeats 1', 'seconds_by_update'),
    ('snapshot --config demo', 'gigabytes')])
def test_small_subcommands_print_their_figures(arguments, key, capsys, monkeypatch):
    monkeypatch.setattr(measure, 'arithmetic_speeds', lambda: {'convolution': 50.0, 'product': 60.0})
    # three of the eight updates, which are built in a third of the time
    monkeypatch.setattr(measure, 'preset', functools.partial(measure.preset, context='unused'))
    benchmark.main(arguments.split())
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line['benchmark'] == arguments.split()[0] and line[key]
    if 'seconds_by_update' in line:
        assert len(line['seconds_by_update']) == 3 and all(line['seconds_by_update'].values())
        assert line['times_the_limit'] == pytest.approx(line['seconds'] * 60 / 1000 / line['counted_TFLOP'], rel=1e-2)
