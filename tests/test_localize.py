"""aher_k600_localize.py: the same detections as testing, from files and from Python; what it writes; its refusals."""
import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
from data_sets import ROOT, WIDTH, message_of, write
from run_helpers import edit_record
from test_windows import ROWS, TESTED, make_root

import aher_k600_localize
import aher_k600_test
import aher_model as aher
import config as settings
from aher_k600_localize import Localizer
from evaluation.results import read_results
from localization.videos import Timing, open_videos
from runtime import snapshots
from runtime.results_file import ResultsFile
from runtime.session import new_session, tf

NAMES = ['waving', 'nodding']
TIMING = Timing(stride=8, window=16, fps=16.0)  # of the features of make_root: a row every 0.5 s, the first at 0.5 s


def make_snapshot(config, folder, step=1, seed=1, **record):
    """Write a snapshot of an untrained network, as training does."""
    model = config.model
    with tf.Graph().as_default(), new_session(1) as session:
        tf.set_random_seed(seed)
        aher.detector(tf.zeros([1, model.untrimmed_steps, model.feature_width]), tf.ones([1]), config)
        counter = tf.train.get_or_create_global_step()
        variables = aher.group_variables(*aher.GROUPS) + [counter]
        tf.get_variable('state', [1])
        session.run(tf.global_variables_initializer())
        record = dict({'trained_on': {'target': {'class_names': NAMES}},
                       'rows': {'target': {'stride': 8, 'window': 16, 'fps': 16.0}}}, **record)
        os.makedirs(str(folder), exist_ok=True)
        return snapshots.save(session, snapshots.parts_of(variables), str(folder), step,
                              dict(settings.to_dict(config), **record), {})


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """(folder of a data set, its Config, folder of a snapshot)."""
    folder = tmp_path_factory.mktemp('localize')
    config = make_root(folder)
    make_snapshot(config, folder / 'models')
    return folder, config, str(folder / 'models')


def results_of_testing(config, prefix):
    """The results of aher_k600_test.py by video."""
    with tf.Graph().as_default(), new_session(1) as session:
        tester = aher_k600_test.build(config)
        snapshots.restore(session, prefix, tester.part)
        results, _ = aher_k600_test.test_snapshot(
            session, tester, prefix, ResultsFile(os.path.join(config.results_dir, 'tested.json'), {}), config, NAMES)
    return results['results']


@pytest.mark.parametrize('changes', [{}, TESTED], ids=['whole', 'windows'])
def test_detections_are_those_of_testing(root, tmp_path, changes):
    folder, config, _ = root
    config = settings.override(config, results_dir=str(tmp_path), **changes)
    prefix = make_snapshot(config, tmp_path / 'models')
    expected, paths = results_of_testing(config, prefix), [config.data.path('target_features')]
    items, _, warnings = open_videos(paths, WIDTH, TIMING, {}, [config.data.path('target_annotation')])
    assert [item.video.name for item in items] == sorted(ROWS) and len(warnings) <= 1
    with Localizer(prefix + '.index') as localizer:
        for item in items:
            found, there = localizer.find(item).detections, expected[item.video.name]
            assert len(found) == len(there) > 20
            order = sorted(range(len(there)), key=lambda place: -there[place]['score'])
            for mine, place in zip(found, order):
                assert mine['score'] == pytest.approx(there[place]['score'], abs=2e-6)
            assert {tuple(np.round(entry['segment'], 2)) + (entry['label'],) for entry in found} == {
                tuple(np.round(entry['segment'], 2)) + (entry['label'],) for entry in there}


def run(*arguments):
    aher_k600_localize.main([str(argument) for argument in arguments])


def test_what_the_script_writes(root, tmp_path, capsys):
    folder, config, models = root
    truth = tmp_path / 'truth.json'
    truth.write_text(json.dumps({'database': {'v_a': {'subset': 'validation', 'annotations': [
        {'segment': [1.0, 4.0], 'label': 'waving'}]}}}))
    arguments = [config.data.path('target_features'), '--snapshot', models, '--top', 5, '--labels_per_video', 2]
    run(*arguments, '--out', tmp_path / 'out', '--subtitles', '--ground_truth', truth)
    printed = capsys.readouterr().out
    assert 'device: ' in printed and '%s: 5 videos' % arguments[0] in printed
    assert '25 detections in 5 videos: %s' % (tmp_path / 'out' / 'detections.json') in printed
    assert 'pictures: %s' % (tmp_path / 'out' / 'pictures') in printed
    found = read_results(str(tmp_path / 'out' / 'detections.json'))
    assert found.videos == sorted(ROWS) and len(found.scores) == 25
    with open(str(tmp_path / 'out' / 'detections.csv'), newline='') as file:
        rows = list(csv.DictReader(file))
    with open(str(tmp_path / 'out' / 'detections.json')) as file:
        content = json.load(file)['results']
    assert [(row['video'], float(row['start']), float(row['end']), row['label'], float(row['score'])) for row in rows
            ] == [(name, *entry['segment'], entry['label'], entry['score'])
                  for name, entries in content.items() for entry in entries]
    for name, rows_of_video in ROWS.items():
        assert all(0 <= start < end <= (rows_of_video + 1) * 0.5 for start, end in (
            entry['segment'] for entry in content[name]))
        assert (tmp_path / 'out' / 'pictures' / (name + '.png')).read_bytes()[:4] == b'\x89PNG'
        assert (tmp_path / 'out' / 'subtitles' / (name + '.vtt')).read_text().startswith('WEBVTT\n\n00:00:')

    run(*arguments, '--out', tmp_path / 'plain', '--no_pictures')  # pictures never touch numbers
    assert sorted(os.listdir(str(tmp_path / 'plain'))) == ['detections.csv', 'detections.json']
    for name in ('detections.json', 'detections.csv'):
        assert (tmp_path / 'plain' / name).read_bytes() == (tmp_path / 'out' / name).read_bytes()
    run(*arguments, '--out', tmp_path / 'high', '--no_pictures', '--min_score', '0.999')
    assert read_results(str(tmp_path / 'high' / 'detections.json')).scores.size == 0


def test_localizers_beside_each_other(root, tmp_path):
    _, config, models = root
    other = make_snapshot(config, tmp_path / 'other', seed=2)
    features = np.random.RandomState(0).rand(30, WIDTH)
    first, second = Localizer(models), Localizer(other)
    mine, others = first(features, seconds=20.0), second(features, seconds=20.0)
    assert mine != others and first(features, seconds=20.0) == mine
    first.close()
    assert second(features, seconds=20.0) == others
    second.close()
    with Localizer(models) as third:
        assert third(features, seconds=20.0) == mine
        assert third(features) == third(features, row_seconds=0.5, first_row_second=0.5)  # as in the training
        assert third(features) != third(features, row_seconds=0.5)
    assert sorted(mine[0]) == ['label', 'score', 'segment'] and mine[0]['score'] >= mine[-1]['score'] > 0


def test_the_example_of_the_documents(root, tmp_path, monkeypatch):
    folder, _, models = root
    with open(os.path.join(ROOT, 'docs', 'localize.md'), encoding='utf-8') as file:
        example, = re.findall(r'```python\n(.*?)```', file.read(), re.DOTALL)
    monkeypatch.chdir(str(tmp_path))
    shutil.copytree(models, 'models/demo')
    np.save('video.npy', np.random.RandomState(0).rand(30, WIDTH))
    scope = {}
    exec(example, scope)  # it is ours
    assert sorted(scope['table'].columns) == ['label', 'score', 'segment'] and len(scope['table']) > 10


def test_snapshots_that_cannot_be_used(root, tmp_path, capsys):
    _, config, models = root
    assert 'found no snapshots' in message_of(Localizer, str(tmp_path))
    assert 'found no snapshot; expected a folder' in message_of(Localizer, str(tmp_path / 'x'))
    assert 'no setting of a Localizer is called batch_size; expected one of score_by' in message_of(
        lambda: Localizer(models, batch_size=3))
    assert 'expected one of video, anchor, both' in message_of(lambda: Localizer(models, label_by='x'))
    folder = tmp_path / 'models'
    make_snapshot(config, folder, 1)
    newest = make_snapshot(config, folder, 2)
    write(newest + '.data-00000-of-00001', 'damaged')
    with Localizer(str(folder)) as localizer:
        assert localizer.prefix.endswith('step_1')
    assert 'skipped: %s.data-00000-of-00001: damaged' % newest in capsys.readouterr().out
    write(snapshots.path(str(folder), 1) + '.json', '{}')
    with pytest.raises(snapshots.Damaged, match='of 2 snapshots here, none can be used'):
        Localizer(str(folder))


def test_a_checkpoint_without_json_needs_settings_and_names(root, tmp_path):
    _, config, models = root
    folder = tmp_path / 'models'
    shutil.copytree(models, str(folder))
    prefix = snapshots.path(str(folder), 1)
    os.rename(prefix + '.json', str(tmp_path / 'settings.json'))
    assert 'does not say its class names' in message_of(Localizer, prefix)
    assert 'found no .json with its settings' in message_of(lambda: Localizer(prefix, class_names=NAMES))
    with Localizer(prefix, str(tmp_path / 'settings.json'), NAMES) as localizer:
        assert len(localizer(np.ones((30, WIDTH)), seconds=10.0)) > 10
        assert 'nothing says how long video video is' in message_of(localizer, np.ones((30, WIDTH)))


def test_the_script_says_which_number_is_wrong(root, tmp_path):
    _, config, models = root
    arguments = [config.data.path('target_features'), '--snapshot', models, '--out', tmp_path]
    for flag in ('stride', 'fps', 'seconds', 'top', 'first'):
        assert '--%s 0: expected a number above 0' % flag in message_of(run, *arguments, '--' + flag, 0)


def test_row_times_of_the_snapshot_are_optional(root, tmp_path):
    _, config, models = root
    folder = tmp_path / 'models'
    shutil.copytree(models, str(folder))
    edit_record(snapshots.path(str(folder), 1) + '.json', lambda record: record.pop('rows'))
    with Localizer(str(folder)) as localizer:
        assert 'give --stride and --fps, --seconds, or --annotation' in message_of(
            localizer, np.ones((30, WIDTH)))
