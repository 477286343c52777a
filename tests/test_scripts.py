"""The scripts end to end on a tiny world, snapshots in the authors' names, and what users get wrong."""
import glob
import json
import os
import re
import shutil
import sys
from unittest import mock

import h5py
import numpy as np
import pytest
from data_sets import make_annotated_world, own_lines, page_data, python
from run_helpers import edit_record

import aher_k600_test
import aher_k600_train
import aher_model as aher
import config as settings
import data_loader
from dataset.tables import Video
from evaluation.choice import choice_of
from evaluation.results import read_ground_truth
from runtime import files, snapshots
from runtime.errors import InputError, exit_status
from runtime.session import new_session, tf

SCRIPTS = ['aher_k600_train.py', 'aher_k600_test.py', 'aher_k600_localize.py', 'prepare_data.py',
           'evaluation/get_proposal_performance.py', 'evaluation/get_detection_performance.py',
           'evaluation/analyze.py', 'evaluation/report.py']


def run_main(module, *arguments):
    """Run a script's main in this process, in a graph of its own."""
    with tf.Graph().as_default():
        module.main(list(arguments))


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder with tiny demo data and its ground truth."""
    folder = tmp_path_factory.mktemp('world')
    make_annotated_world(folder)
    return folder


def flags(world, models='models', results='results'):
    return ['--config', 'demo', '--data_root', str(world / 'data'), '--model_dir', str(world / models)], [
        '--results_dir', str(world / results)]


@pytest.fixture(scope='module')
def trained(world):
    """The world, after 4 steps of training by the script, with snapshots of steps 2 and 4."""
    common, _ = flags(world)
    done = python('aher_k600_train.py', *common, '--max_steps', '4', '--snapshot_step', '2', '--log_step', '1',
                  '--batch_size', '4')
    assert done.returncode == 0, done.stderr
    assert 'unusable segments' in done.stdout and 'WARNING' not in ''.join(own_lines(done.stderr))
    return world


@pytest.mark.parametrize('script', SCRIPTS)
def test_help(script):
    done = python(script, '--help')
    assert done.returncode == 0 and 'usage:' in done.stdout and not own_lines(done.stderr)


@pytest.mark.parametrize('script', SCRIPTS[:2])
def test_help_without_docstrings_on_an_ascii_terminal(script):
    without = ['-OO'] if sys.version_info >= (3, 8) else []  # TensorFlow 1.15 itself needs its docstrings
    done = python(*without, script, '--help', env=dict(os.environ, PYTHONIOENCODING='ascii'))
    assert done.returncode == 0 and '--model_dir' in done.stdout


def test_help_names_every_default():
    done = python('aher_k600_train.py', '--help')
    text = ' '.join(done.stdout.split())
    for shown in ('k600, split, thumos14_anet: 15000; demo: 600', 'k600, split, thumos14_anet: 14,19; demo: 3,19',
                  'k600: 200; split, thumos14_anet: 0; demo: 20', 'off'):
        assert 'default: %s)' % shown in text


@pytest.mark.parametrize('ratios, message', [
    ('3', 'expected two numbers, the lower one first'), ('a,b', "'a,b': expected numbers such as 14,19"),
    ('19,3', '--moment_ratios 19,3'),
    ('0,4', 'expected 1 to 19'), ('3,20', 'expected 1 to 19')])
def test_moment_ratios_that_cannot_be(ratios, message, capsys):
    with pytest.raises((SystemExit, InputError)) as failure:
        aher_k600_train.main(['--config', 'demo', '--moment_ratios', ratios])
    assert message in capsys.readouterr().err + str(failure.value)


def test_training_leaves_snapshots_settings_and_logs(trained):
    models = trained / 'models'
    assert snapshots.steps_in(str(models)) == [2, 4]
    saved = json.loads((models / (snapshots.PREFIX + '4.json')).read_text())
    assert saved['model']['target_classes'] == 3 and saved['train']['batch_size'] == 4
    lines = (models / 'loss_results_log.txt').read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [['step', '%d' % step] for step in (1, 2, 3, 4)]
    for name in ('moment/classification', 'foreground/accuracy', 'untrimmed/iou', 'synthetic/localization',
                 'adversary/discriminator_real', 'adversary/generator', 'rate', 'steps_per_second'):
        assert re.search(re.escape(name) + r' [\d.e+-]+', lines[-1]), name
    assert glob.glob(str(models / 'events.out.tfevents.*'))


def test_tensorboard_scalars(trained):
    path, = glob.glob(str(trained / 'models' / 'events.out.tfevents.*'))
    found = {(event.step, value.tag) for event in tf.train.summary_iterator(path) for value in event.summary.value}
    assert {(step, 'untrimmed/proposal') for step in (1, 2, 3, 4)} <= found


def test_one_test_at_a_time_writes_to_a_folder(trained, tmp_path, capsys):
    common, _ = flags(trained)
    with files.file_lock(str(tmp_path / aher_k600_test.LOCK_NAME)):
        assert '.test.lock: held by process' in error_of(capsys, aher_k600_test, *common,
                                                         '--results_dir', str(tmp_path))


def test_testing_and_evaluating(trained):
    common, results = flags(trained)
    done = python('aher_k600_test.py', *common, *results)
    assert done.returncode == 0, done.stderr
    assert '5 target validation videos' in done.stdout
    header, first, second, coverage, best, *figures = done.stdout.splitlines()[-7:]
    assert coverage == 'over 5 videos; all of them have results'
    assert figures == ['figure %s' % path for path in sorted(
        (trained / 'results').glob('*.png'), key=lambda path: path.name, reverse=True)] and len(figures) == 2
    assert header.split()[:4] == ['step', 'accuracy', 'AUC', 'AR@100'] and best.startswith('best: step')
    assert [first.split()[0], second.split()[0]] == ['2', '4']
    assert (trained / 'results' / 'test_results_log.txt').read_text().count('best: step') == 1

    path = trained / 'results' / 'results_aher_k600_gendec_step-4.json'
    content = json.loads(path.read_text())
    assert content['version'] == 'VERSION 1.3' and sorted(content['results']) == ['a', 'b', 'c', 'd', 'e']
    names = (trained / 'data' / 'k600_category.txt').read_text().split('\n')
    for entries in content['results'].values():
        assert 0 < len(entries) <= 100
        for entry in entries:
            assert entry['score'] > 0 and entry['segment'][1] > entry['segment'][0] >= 0
            assert entry['label'] in names
    truth = str(trained / 'data' / 'k600_val_action.json')
    detection = python('evaluation/get_detection_performance.py', truth, str(path),
                       '--json', str(trained / 'detection.json'))
    proposal = python('evaluation/get_proposal_performance.py', truth, str(path),
                      '--json', str(trained / 'proposal.json'))
    assert detection.returncode == 0 and proposal.returncode == 0
    average = json.loads((trained / 'detection.json').read_text())['average_mAP']
    assert float(second.split()[-1]) == pytest.approx(100 * average, abs=0.006)
    area = json.loads((trained / 'proposal.json').read_text())['auc_percent']
    assert float(second.split()[2]) == pytest.approx(area, abs=0.006)


def test_a_snapshot_knows_its_settings_and_its_classes(trained, tmp_path):
    """Neither --config nor the list of class names is needed; flags still override."""
    models, categories = str(trained / 'models'), trained / 'data' / 'k600_category.txt'
    common, _ = flags(trained)
    run_main(aher_k600_test, *common, '--results_dir', str(tmp_path / 'given'), '--steps', '4')
    os.rename(str(categories), str(tmp_path / 'names.txt'))
    try:
        done = python('aher_k600_test.py', '--model_dir', models, '--results_dir', str(tmp_path / 'known'),
                      '--steps', '4')
    finally:
        os.rename(str(tmp_path / 'names.txt'), str(categories))
    assert done.returncode == 0, done.stderr
    assert 'settings of %s, but for flags' % os.path.join(models, snapshots.PREFIX + '4.json') in done.stdout
    assert 'found no class names at %s: those of the snapshots are used' % categories in done.stdout
    name = aher_k600_test.RESULTS_NAME % 4
    assert (tmp_path / 'known' / name).read_bytes() == (tmp_path / 'given' / name).read_bytes()
    record = json.loads((trained / 'models' / (snapshots.PREFIX + '4.json')).read_text())
    assert record['rows'] == {'source': {}, 'target': {}}  # no import has made this data root
    run_main(aher_k600_test, '--model_dir', models, '--results_dir', str(tmp_path / 'one'), '--steps', '4',
             '--max_detections', '1')
    content = json.loads((tmp_path / 'one' / name).read_text())['results']
    assert all(len(found) == 1 for found in content.values())


def test_batches_of_another_size_give_the_same_results(trained):
    found = []
    for size in ('1', '3'):
        common, results = flags(trained, results='results' + size)
        run_main(aher_k600_test, *common, *results, '--steps', '4', '--test_batch_size', size)
        content = json.loads((trained / ('results' + size) / (aher_k600_test.RESULTS_NAME % 4)).read_text())
        found.append(content['results'])
    for video in found[0]:
        one, three = [np.array([entry['segment'] + [entry['score']] for entry in results[video]])
                      for results in found]
        np.testing.assert_allclose(one[:20], three[:20], atol=1e-3)


def test_damaged_snapshots_are_named_and_the_others_tested(trained, capsys):
    models = trained / 'some_damaged'
    shutil.copytree(str(trained / 'models'), str(models))
    common, results = flags(trained, models='some_damaged', results='of_the_whole')
    paths = [models / (snapshots.PREFIX + name) for name in ('2.data-00000-of-00001', '4.json')]
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    run_main(aher_k600_test, *common, *results)
    output = capsys.readouterr().out
    assert output.count('skipped: ') == 1 and 'skipped: %s: damaged' % paths[0] in output
    assert (trained / 'of_the_whole' / (aher_k600_test.RESULTS_NAME % 4)).exists() and 'best: step 4' in output
    assert '%s: damaged' % paths[0] in error_of(capsys, aher_k600_test, *common, *results, '--steps', '2,4')
    paths[0].unlink()
    paths[0].mkdir()
    run_main(aher_k600_test, *common, *results)
    assert 'skipped: %s: found a folder' % paths[0] in capsys.readouterr().out
    paths[1].write_text('{')
    assert '%s: not valid JSON' % paths[1] in error_of(capsys, aher_k600_test, *common, *results)

    models = trained / 'one_unreadable'  # and without checksums, as the authors' are
    shutil.copytree(str(trained / 'models'), str(models))
    (models / (snapshots.PREFIX + '6.index')).write_bytes(b'no index')
    common, results = flags(trained, models='one_unreadable', results='of_the_whole')
    run_main(aher_k600_test, *common, *results)
    output = capsys.readouterr().out
    assert output.count('skipped: ') == 1 and 'step_6: no readable snapshot (' in output and 'best: step' in output


def test_without_ground_truth_results_are_written(trained, capsys):
    common, results = flags(trained, results='unknown')
    truth = str(trained / 'data' / 'k600_val_action.json')
    os.rename(truth, truth + '.away')
    try:
        run_main(aher_k600_test, *common, *results, '--steps', '2', '--target_labels', 'nowhere.txt')
    finally:
        os.rename(truth + '.away', truth)
    assert 'no ground truth' in capsys.readouterr().out
    assert (trained / 'unknown' / (aher_k600_test.RESULTS_NAME % 2)).exists()


def test_uniform_proposals(trained, capsys):
    common, results = flags(trained, results='uniform')
    run_main(aher_k600_test, *common, *results, '--steps', '2', '--proposals', 'uniform')
    content = json.loads((trained / 'uniform' / (aher_k600_test.RESULTS_NAME % 2)).read_text())
    assert all(len(entries) == 100 for entries in content['results'].values())


def test_warm_start_takes_update_3s_variables(trained):
    common, _ = flags(trained, models='warm')
    start = str(trained / 'models' / (snapshots.PREFIX + '4'))
    run_main(aher_k600_train, *common, '--max_steps', '0', '--init_checkpoint', start, '--seed', '9',
             '--mode', 'authors', '--context', 'localized')
    saved = json.loads((trained / 'warm' / (snapshots.PREFIX + '0.json')).read_text())['train']
    assert all(saved['faults'].values()) and saved['context'] == 'localized'
    old, new = [tf.train.NewCheckpointReader(path) for path in
                (start, str(trained / 'warm' / (snapshots.PREFIX + '0')))]
    same = {name for name in new.get_variable_to_shape_map()
            if np.array_equal(old.get_tensor(name), new.get_tensor(name))}
    for name in ('aher/g_conv1/weights', 'aher/conv_a3_box/conv_loc/weights', 'aher/conv_a8_box/fully1/weights'):
        assert name in same
    for name in ('aher/conv_a1_box/conv_action_anchor/weights', 'g_conv_s1/weights'):
        assert name not in same


# Snapshots of the authors'

def test_a_snapshot_of_a_plain_saver_restores(tmp_path):
    model = settings.ModelConfig(feature_width=6, stem_widths=(5, 4), level_widths=(3,) * 8, context_width=4,
                                 source_classes=3, target_classes=4)

    def build():
        layers = aher.transfer(aher.classifier(model, aher.TARGET_CLASSIFIER), model)
        aher.localize(aher.pyramid(tf.zeros([1, 512, 6]), model), layers, model)
        return aher.group_variables(aher.BACKBONE, aher.HEADS, aher.TRANSFER, aher.TARGET_CLASSIFIER)

    with tf.Graph().as_default():
        shapes = {variable.op.name: variable.shape.as_list() for variable in build()}
    values = {name: np.random.RandomState(0).rand(*shape).astype(np.float32) for name, shape in shapes.items()}
    path = str(tmp_path / 'aher_adv_model_checkpoint-step_10')
    with tf.Graph().as_default(), new_session() as session:  # plain variables, as the authors' code makes them
        for name, value in values.items():
            tf.get_variable(name, initializer=value, use_resource=False)
        tf.get_variable('aher/g_conv1/weights/Adam', initializer=np.zeros(3, np.float32), use_resource=False)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, path)
    with tf.Graph().as_default(), new_session() as session:
        variables = build()
        part, graph = snapshots.part_of(variables), tf.get_default_graph()
        operations = len(graph.get_operations())
        snapshots.restore(session, path, part)
        assert len(graph.get_operations()) == operations  # however many snapshots are tested
        for variable, value in zip(variables, session.run(variables)):
            np.testing.assert_array_equal(value, values[variable.op.name])
        ours = tf.train.Saver(variables).save(session, str(tmp_path / 'ours'))
    with tf.Graph().as_default(), new_session() as session:
        plain = [tf.get_variable(name, shape, use_resource=False) for name, shape in shapes.items()]
        tf.train.Saver(plain).restore(session, ours)
        for variable, value in zip(plain, session.run(plain)):
            np.testing.assert_array_equal(value, values[variable.op.name])


# Results that are there already, and what they come from

@pytest.fixture
def no_graph(monkeypatch):
    """Makes a test fail that builds the graph: what is wrong is told before."""
    def build(config):
        raise AssertionError('the graph is built')
    monkeypatch.setattr(aher_k600_test, 'build', build)


@pytest.fixture(scope='module')
def tested(trained):
    """The folder of results of both snapshots."""
    common, results = flags(trained, results='tested')
    run_main(aher_k600_test, *common, *results)
    return trained / 'tested'


def contents(folder):
    """{name: bytes} of the files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('given, what', [
    (['--nms_tiou', '0.7'], 'nms_tiou 0.5 (this run: 0.7)'),
    (['--score_by', 'iou', '--resume', 'never'], 'score_by proposal (this run: iou)'),
    (['--target_features', 'cvs_records_k600'], 'features in ')])
def test_results_of_other_settings_are_not_replaced(trained, tested, no_graph, capsys, given, what):
    before, (common, _) = contents(tested), flags(trained)
    error = error_of(capsys, aher_k600_test, *common, '--results_dir', str(tested), *given)
    assert '%s: found results with %s' % (tested / (aher_k600_test.RESULTS_NAME % 2), what) in error
    assert 'give another --results_dir, or replace them with --force' in error and contents(tested) == before


def test_results_of_another_training_are_not_replaced(trained, tested, tmp_path, no_graph, capsys):
    for path in (trained / 'models').glob(snapshots.PREFIX + '2.*'):  # as if another training had reached step 4
        shutil.copy(str(path), str(tmp_path / path.name.replace('step_2', 'step_4')))
    before, (common, _) = contents(tested), flags(trained, models=str(tmp_path))
    error = error_of(capsys, aher_k600_test, *common, '--results_dir', str(tested))
    assert 'step-4.json: found results with another snapshot of this step; give another' in error
    assert contents(tested) == before


def test_results_of_other_videos_are_not_replaced(trained, tested, capsys):
    before, (common, _) = contents(tested), flags(trained)
    error = error_of(capsys, aher_k600_test, *common, '--results_dir', str(tested), '--target_labels', 'nowhere.txt')
    assert 'found results with other validation videos; ' in error and contents(tested) == before


@pytest.mark.parametrize('end', ['.json', '.partial.jsonl'])
def test_a_users_own_file_is_not_replaced(trained, tmp_path, no_graph, capsys, end):
    path = tmp_path / (aher_k600_test.RESULTS_NAME % 4).replace('.json', end)
    path.write_text('{"results": {}}\n')
    common, _ = flags(trained)
    error = error_of(capsys, aher_k600_test, *common, '--results_dir', str(tmp_path))
    assert '%s: found results with an unknown origin' % path in error and '--force' in error
    assert path.read_text() == '{"results": {}}\n'


def test_force_replaces_results_and_the_same_command_keeps_them(trained, tested, tmp_path, capsys):
    results, (common, _) = tmp_path / 'results', flags(trained)
    shutil.copytree(str(tested), str(results))
    arguments = [*common, '--results_dir', str(results), '--steps', '4']
    path = results / (aher_k600_test.RESULTS_NAME % 4)
    run_main(aher_k600_test, *arguments, '--max_detections', '7', '--force')
    assert 'made again, because %s was made from other test\n' % path in capsys.readouterr().out
    assert max(map(len, json.loads(path.read_text())['results'].values())) <= 7
    written = path.read_bytes()
    run_main(aher_k600_test, *arguments, '--max_detections', '7', '--force')
    assert 'results %s: kept from an earlier run' % path in capsys.readouterr().out
    assert path.read_bytes() == written and (results / (aher_k600_test.RESULTS_NAME % 2)).exists()
    assert '--force' in error_of(capsys, aher_k600_test, *arguments)


def test_features_extracted_anew_are_tested_anew(trained, tmp_path, capsys):
    arguments, folder, results = own_features(trained, tmp_path)
    path = results / (aher_k600_test.RESULTS_NAME % 4)
    run_main(aher_k600_test, *arguments)
    before = json.loads(path.read_text())['results']
    np.save(str(folder / 'c.npy'), np.load(str(folder / 'c.npy')) * 2)
    capsys.readouterr()
    run_main(aher_k600_test, *arguments)
    assert 'made again, because %s was made from other feature files' % path in capsys.readouterr().out
    after = json.loads(path.read_text())['results']
    assert [name for name in before if before[name] != after[name]] == ['c']


def test_the_origin_tells_features_apart(trained, tmp_path):
    def origin(path):
        data = config.data._replace(target_features=str(path))
        return aher_k600_test.origin_of_data(config._replace(data=data), videos)

    _, folder, _ = own_features(trained, tmp_path)
    config = settings.PRESETS['demo']
    videos = [Video(name, 0, 1.0, 8, 1, np.zeros((0, 2)), False) for name in 'abcdef']  # f has none
    os.symlink('features', str(tmp_path / 'link'))
    found = [origin(folder)]
    assert origin(tmp_path / 'link') == found[0] and found[0]['feature_files']['number'] == 5
    status = (folder / 'c.npy').stat()
    os.utime(str(folder / 'c.npy'), ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    found.append(origin(folder))
    os.symlink('nowhere', str(folder / 'f.npy'))
    assert origin(folder) == found[-1]
    np.savetxt(str(folder / 'f.csv'), np.ones((4, 4)))  # no video's: its .npy is read
    assert origin(folder) == found[-1]
    with h5py.File(str(tmp_path / 'features.h5'), 'w') as file:
        file['a'] = np.ones((4, 64))
    found.append(origin(folder))  # the converted file is preferred
    assert found[-1]['feature_files']['number'] == 1
    os.utime(str(tmp_path / 'features.h5'), ns=(0, 5))
    found.append(origin(folder))
    assert all(one != other for number, one in enumerate(found) for other in found[:number])


def test_only_temporary_files_of_the_script_are_removed(trained, tested, tmp_path):
    kept = ['notes_step-4.tar.partial7', 'results_step-4.json.partial7', 'ap_step-4.png', 'ap_step-4.png.partial7x',
            'ap_step-4.png.partial']
    removed = ['ap_step-4.png.partial7', 'ar_an_step-10.png.partial7'] + [
        'results_aher_k600_gendec_step-4%s.partial2020' % end for end in ('.json', '.origin.json', '.partial.jsonl')]
    for name in kept + removed:
        (tmp_path / name).write_text('')
    for name in ('backup.partial2020', 'ap_step-5.png.partial7'):
        (tmp_path / name).mkdir()
    common, _ = flags(trained)
    with mock.patch.object(aher_k600_test, 'run'):
        run_main(aher_k600_test, *common, '--results_dir', str(tmp_path))
    assert set(os.listdir(str(tmp_path))) == {*kept, 'backup.partial2020', 'ap_step-5.png.partial7', '.test.lock'}


@pytest.mark.parametrize('kind', ['pipe', 'folder'])
@pytest.mark.parametrize('name', ['results_aher_k600_gendec_step-4' + end for end in (
    '.json', '.origin.json', '.partial.jsonl')] + [aher_k600_test.LOG_NAME])
def test_a_pipe_or_folder_in_place_of_a_file_is_one_line(trained, tmp_path, no_graph, capsys, kind, name):
    {'pipe': os.mkfifo, 'folder': os.mkdir}[kind](str(tmp_path / name))
    common, _ = flags(trained)
    error = error_of(capsys, aher_k600_test, *common, '--results_dir', str(tmp_path))
    assert '%s: found a ' % (tmp_path / name) in error and 'expected a file' in error


# The table and the figures

def test_a_row_is_there_as_soon_as_its_snapshot_is_tested(trained, tested, tmp_path, capsys):
    results, (common, _) = tmp_path / 'results', flags(trained)
    shutil.copytree(str(tested), str(results))
    (results / aher_k600_test.LOG_NAME).unlink()
    real = aher_k600_test.test_snapshot

    def test_snapshot(session, tester, prefix, *others):
        if prefix.endswith('step_4'):
            raise InputError('the disk is gone')
        return real(session, tester, prefix, *others)

    with mock.patch.object(aher_k600_test, 'test_snapshot', test_snapshot):
        assert 'the disk is gone' in error_of(capsys, aher_k600_test, *common, '--results_dir', str(results))
    header, row = (results / aher_k600_test.LOG_NAME).read_text().splitlines()
    assert header.split()[0] == 'step' and row.split()[0] == '2'


@pytest.mark.parametrize('fault', ['folder', 'matplotlib'])
def test_a_figure_that_cannot_be_drawn_is_one_warning_after_the_table(trained, tested, tmp_path, capsys, monkeypatch,
                                                                      fault):
    shutil.copytree(str(tested), str(tmp_path / 'results'))
    for path in (tmp_path / 'results').glob('*.png'):
        path.unlink()
    if fault == 'folder':
        for step in (2, 4):
            (tmp_path / 'results' / ('ap_step-%d.png' % step)).mkdir()
    else:
        def draw_ap(_):
            raise RuntimeError('no font\nis found')
        monkeypatch.setattr(aher_k600_test, 'draw_ap', draw_ap)
    common, _ = flags(trained)
    run_main(aher_k600_test, *common, '--results_dir', str(tmp_path / 'results'))
    _, first, second, _, best, figure, warning = capsys.readouterr().out.splitlines()[-7:]
    assert (first.split()[0], second.split()[0]) == ('2', '4') and best.startswith('best: step ')
    assert figure.startswith('figure ') and os.path.exists(figure[len('figure '):])
    assert warning.startswith('warning: ') and '%s' % (tmp_path / 'results' / 'ap_step-') in warning


@pytest.mark.parametrize('share', ['0', '0.5'])
def test_the_report_page_is_of_the_videos_of_the_table(trained, tested, tmp_path, capsys, share):
    results, (common, _) = tmp_path / 'results', flags(trained)
    shutil.copytree(str(tested), str(results))
    before = {path.name: path.read_bytes() for path in results.glob('results_*')}
    run_main(aher_k600_test, *common, '--results_dir', str(results), '--report', '--select_share', share)
    *_, best, _, _, line = capsys.readouterr().out.splitlines()
    page = results / 'report' / 'index.html'
    assert line == 'report page %s: open it in a browser' % page
    data = page_data(page)
    assert data['names'] == ['step ' + re.match(r'best: step (\d+), ', best).group(1)]
    assert [trace['name'] for trace in data['figures']['ar_an']['data']] == [
        'step 2', 'step 4', 'evenly spread windows']  # the test knows all durations
    truth = read_ground_truth(str(trained / 'data' / 'k600_val_action.json'))
    held_out = choice_of(truth, float(share), 0).held_out
    assert data['videos'] == [video for video in truth.videos if video not in held_out]
    assert {path.name: path.read_bytes() for path in results.glob('results_*')} == before


def test_another_file_in_place_of_the_report_page_is_refused(trained, tmp_path, no_graph, capsys):
    common, _ = flags(trained)
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / 'index.html').write_text('my page')
    error = error_of(capsys, aher_k600_test, *common, '--results_dir', str(tmp_path), '--report')
    assert 'found another file there, expected none or an earlier report page' in error


@pytest.mark.parametrize('name', ['red \x1b[31m', 'latin-1 \udcfc'])
def test_paths_reach_the_terminal_with_escapes(trained, tested, tmp_path, capsys, name):
    folder, (common, _) = str(tmp_path / name), flags(trained)
    shutil.copytree(str(tested), folder)
    os.remove(os.path.join(folder, aher_k600_test.RESULTS_NAME % 4))
    run_main(aher_k600_test, *common, '--results_dir', folder)
    output = capsys.readouterr().out
    assert 'kept from an earlier run' in output and 'figure ' in output
    assert re.search(r'\\x1b|\\udcfc', output) and all(line.isprintable() for line in output.splitlines())
    assert os.path.exists(os.path.join(folder, aher_k600_test.RESULTS_NAME % 4))


# What a snapshot was trained on

def trained_on_these(trained, tmp_path, **changes):
    """Copy the snapshots to tmp_path/models; theirs is what they were trained on, with `changes` of the target."""
    shutil.copytree(str(trained / 'models'), str(tmp_path / 'models'))
    data = settings.PRESETS['demo'].data._replace(data_root=str(trained / 'data'))
    config = data_loader.resolve_classes(settings.PRESETS['demo']._replace(data=data, results_dir=str(tmp_path)))
    target = data_loader.target_trained_on(config)[0]['target']
    for step in (2, 4):
        edit_record(str(tmp_path / 'models' / (snapshots.PREFIX + '%d.json' % step)),
                    lambda record: record.update(trained_on={'target': dict(target, **changes)}))
    common, _ = flags(trained, models=str(tmp_path / 'models'))
    return [*common, '--results_dir', str(tmp_path / 'results')]


def swap_class_names(trained, tmp_path):
    """Write the class names in another order → the flag that names their file."""
    names = (trained / 'data' / 'k600_category.txt').read_text().splitlines()
    (tmp_path / 'names.txt').write_text('\n'.join([names[1], names[0]] + names[2:]))
    return names, ['--target_categories', str(tmp_path / 'names.txt')]


def test_a_snapshot_is_not_tested_with_class_names_in_another_order(trained, tmp_path, no_graph, capsys):
    arguments = trained_on_these(trained, tmp_path)
    names, flag = swap_class_names(trained, tmp_path)
    error = error_of(capsys, aher_k600_test, *arguments, *flag)
    assert 'step_2.json: trained with other target class names: line 1 is %s (this run: %s in %s)' % (
        names[0], names[1], tmp_path / 'names.txt') in error and '--accept_changes on' in error


def test_a_snapshot_of_other_videos_is_tested_with_accept_changes_only(trained, tmp_path, capsys):
    arguments = trained_on_these(trained, tmp_path, videos=7, segments='other')
    arguments += ['--steps', '4']
    with mock.patch.object(aher_k600_test, 'build', side_effect=AssertionError):
        error = error_of(capsys, aher_k600_test, *arguments)
    assert 'trained with 7 target videos with other segments (this run: ' in error
    run_main(aher_k600_test, *arguments, '--accept_changes', 'on')
    output, prefix = capsys.readouterr().out, tmp_path / 'models' / (snapshots.PREFIX + '4')
    assert 'warning: %s.json: trained with 7 target videos' % prefix in output
    assert 'best: step 4' in output and 'do not say what they were trained on' not in output


@pytest.mark.parametrize('kind', ['of an older version', 'of the authors', 'of something else'])
def test_a_snapshot_that_does_not_say_what_it_was_trained_on_is_tested(trained, tmp_path, capsys, kind):
    arguments, path = trained_on_these(trained, tmp_path), tmp_path / 'models' / (snapshots.PREFIX + '2.json')
    if kind == 'of the authors':
        path.unlink()
    else:
        record = json.loads(path.read_text())
        record.update(trained_on=3) if 'else' in kind else record.pop('trained_on')
        path.write_text(json.dumps(record))
    with mock.patch.object(aher_k600_test, 'build', side_effect=InputError('the snapshots are checked')), \
            pytest.raises(InputError, match='the snapshots are checked'):
        aher_k600_test.main(arguments)
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith('warning: ')]
    assert len(warnings) == 1 and 'do not say what they were trained on: 2; ' in warnings[0]


# What users get wrong: one line, exit status 2

def error_of(capsys, module, *arguments):
    capsys.readouterr()
    with tf.Graph().as_default():
        assert exit_status(lambda: module.main(list(arguments))) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith('error: ')]
    assert len(errors) == 1 and lines[-1] == errors[0]
    return errors[0]


@pytest.mark.parametrize('script', SCRIPTS[:2])
def test_missing_data_are_named_and_the_demo_offered(script, tmp_path):
    done = python(script, '--data_root', str(tmp_path / 'nothing'))
    assert done.returncode == 2 and len(own_lines(done.stderr)) == 1
    assert 'k600_category.txt' in done.stderr and 'make demo' in done.stderr


def test_no_snapshots(world, no_graph, capsys):
    common, results = flags(world, models='none')
    assert 'no snapshots' in error_of(capsys, aher_k600_test, *common, *results)
    assert 'no snapshots' in error_of(capsys, aher_k600_test, *common, *results, '--steps', '7')


def test_steps_that_are_not_there_are_named(trained, no_graph, capsys):
    common, results = flags(trained)
    assert 'step_7: found no snapshot; the steps there are 2, 4' in error_of(
        capsys, aher_k600_test, *common, *results, '--steps', '2,7')
    assert '--ground_truth %s: not found' % (trained / 'x.json') in error_of(
        capsys, aher_k600_test, *common, *results, '--ground_truth', str(trained / 'x.json'))


def test_a_snapshot_of_another_network(trained, no_graph, capsys):
    common, results = flags(trained)
    error = error_of(capsys, aher_k600_test, *common, *results, '--transfer', 'identity')
    assert 'transfer' in error and 'step_2.json' in error


def test_a_snapshot_of_another_width(trained, tmp_path):
    model = settings.PRESETS['demo'].model._replace(target_classes=3, stem_widths=(32, 64))
    with tf.Graph().as_default(), new_session() as session:
        aher.pyramid(tf.zeros([1, 512, model.feature_width]), model)
        with pytest.raises(InputError, match=r'aher/g_conv1/weights has shape \[3, 64, 64\], expected \[3, 64, 32\]'):
            snapshots.restore(session, snapshots.path(str(trained / 'models'), 4),
                              snapshots.part_of(aher.group_variables(aher.BACKBONE)))
        with pytest.raises(InputError, match='lacks variable'):
            extra = snapshots.part_of([tf.get_variable('extra', [1])])
            snapshots.restore(session, snapshots.path(str(trained / 'models'), 4), extra)


@pytest.mark.parametrize('content', ['', '[]', '{', '{"model": 3}', '[' * 10 ** 5, b'\xff'], ids=range(6))
def test_settings_beside_a_snapshot_that_are_none(tmp_path, content):
    prefix = str(tmp_path / 'snapshot')
    open(prefix + '.index', 'w').close()
    with open(prefix + '.json', 'wb') as file:
        file.write(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match='snapshot.json: '):
        snapshots.check_settings(prefix, lambda saved: [])


def test_hostile_snapshots(tmp_path):
    def saved(name, **values):
        with tf.Graph().as_default(), new_session() as session:
            for variable, value in values.items():
                tf.get_variable(variable, initializer=np.asarray(value))
            session.run(tf.global_variables_initializer())
            return tf.train.Saver().save(session, str(tmp_path / name), write_meta_graph=False)

    def message(prefix):
        with tf.Graph().as_default(), new_session() as session:
            expected = snapshots.part_of([tf.get_variable('a', [4]), tf.get_variable('b', [4])])
            with pytest.raises(InputError) as caught:
                snapshots.restore(session, prefix, expected)
        return str(caught.value)

    ones = np.ones(4, np.float32)
    sound = saved('sound', a=ones, b=ones, extra=ones)
    with tf.Graph().as_default(), new_session() as session:
        snapshots.restore(session, sound, snapshots.part_of([tf.get_variable('a', [4])]))
    assert message(saved('lacks', a=ones)) == '%s: lacks variable b' % (tmp_path / 'lacks')
    assert 'variable b has shape [5], expected [4]' in message(saved('shape', a=ones, b=np.ones(5, np.float32)))
    assert 'variable b holds float64, expected float32' in message(saved('type', a=ones, b=np.ones(4)))
    assert 'variable b holds numbers that are not finite' in message(saved('nan', a=ones, b=ones * np.nan))
    for end in ('.index', '.data-00000-of-00001'):
        with open(sound + end, 'rb') as file:
            content = file.read()
        for damaged in (b'', content[:20], b'x' * len(content), None):
            os.remove(sound + end)
            if damaged is not None:
                with open(sound + end, 'wb') as file:
                    file.write(damaged)
            else:
                os.mkdir(sound + end)
            assert message(sound).startswith(sound + ': ')
        os.rmdir(sound + end)
        with open(sound + end, 'wb') as file:
            file.write(content)


def own_features(trained, tmp_path):
    """(arguments of a test of step 4, folder of its features, which are a copy, folder of its results)."""
    folder, results = tmp_path / 'features', tmp_path / 'results'
    shutil.copytree(str(trained / 'data' / settings.PRESETS['demo'].data.target_features), str(folder))
    common, _ = flags(trained)
    return [*common, '--results_dir', str(results), '--steps', '4', '--target_features', str(folder)], folder, results


@pytest.fixture(scope='module')
def skipped(trained, tmp_path_factory):
    """What own_features returns, of a test that has skipped video c."""
    arguments, folder, results = own_features(trained, tmp_path_factory.mktemp('skipped'))
    (folder / 'c.npy').write_bytes(b'no array')
    run_main(aher_k600_test, *arguments, '--bad_data', 'skip')
    return arguments, folder, results


def test_a_skipped_video_has_no_results(skipped, capsys):
    arguments, _, results = skipped
    content = json.loads((results / (aher_k600_test.RESULTS_NAME % 4)).read_text())['results']
    assert content['c'] == [] and all(content[name] for name in 'abde')
    assert 'c,validation,' in (results / 'bad_data.csv').read_text()
    assert 'c.npy: not a numpy array' in error_of(capsys, aher_k600_test, *arguments, '--resume', 'never')


def test_a_resumed_test_keeps_the_list_of_bad_data(skipped, trained, tmp_path, capsys):
    arguments, folder, results = skipped
    list_path, path = results / 'bad_data.csv', results / (aher_k600_test.RESULTS_NAME % 4)
    capsys.readouterr()
    run_main(aher_k600_test, *arguments, '--bad_data', 'skip')  # the video may be readable now
    assert 'made again, because %s lacks videos that were skipped (1)' % path in capsys.readouterr().out
    assert json.loads(path.read_text())['results']['c'] == [] and list_path.read_text().count('\nc,') == 1
    shutil.copy(str(trained / 'data' / settings.PRESETS['demo'].data.target_features / 'c.npy'), str(folder))
    run_main(aher_k600_test, *arguments, '--bad_data', 'skip')
    assert all(json.loads(path.read_text())['results'].values()) and not list_path.exists()


def test_dropped_videos_are_counted_below_the_table(trained, tmp_path, capsys):
    arguments, folder, results = own_features(trained, tmp_path)
    os.remove(str(folder / 'c.npy'))
    run_main(aher_k600_test, *arguments, '--missing', 'drop')
    content = json.loads((results / (aher_k600_test.RESULTS_NAME % 4)).read_text())['results']
    assert sorted(content) == list('abde')
    line = 'over 4 videos; all of them have results; 1 video without features was dropped before (--missing drop)'
    assert line in capsys.readouterr().out.splitlines()
    assert line in (results / aher_k600_test.LOG_NAME).read_text().splitlines()


def test_features_of_another_width(world, capsys):
    common, _ = flags(world, models='none')
    error = error_of(capsys, aher_k600_train, *common, '--feature_width', '65', '--max_steps', '1')
    assert '.npy' in error and 'found 64 columns, expected 65' in error


def test_a_malformed_row(world, tmp_path, capsys):
    labels = (world / 'data' / 'k600_train_val_gt.txt').read_text().splitlines()
    labels[4] = 'demo_moment_0005 9 many'
    (tmp_path / 'labels.txt').write_text('\n'.join(labels))
    common, _ = flags(world, models='none')
    error = error_of(capsys, aher_k600_train, *common, '--target_labels', str(tmp_path / 'labels.txt'))
    assert 'labels.txt, row 5' in error
    labels[4] = 'demo_moment_0005 9 3'
    (tmp_path / 'labels.txt').write_text('\n'.join(labels))
    error = error_of(capsys, aher_k600_train, *common, '--target_labels', str(tmp_path / 'labels.txt'))
    assert 'labels.txt, row 5' in error and 'class 3' in error


def test_settings_that_cannot_be(world, capsys):
    common, _ = flags(world)
    assert '--batch_size 0' in error_of(capsys, aher_k600_train, *common, '--batch_size', '0')
    assert '--seed -1' in error_of(capsys, aher_k600_train, *common, '--seed', '-1')
    for name, value in (('threads', 2 ** 31 - 1), ('workers', 2 ** 31 - 1), ('batch_size', 10 ** 23),
                        ('max_detections', 10 ** 23), ('model_dir', ''), ('results_dir', ''), ('model_dir', 'a[1]'),
                        ('model_dir', 'a\\b'), ('model_dir', 'gs://b/x'), ('model_dir', '\udcff'),
                        ('init_checkpoint', 'a*/b'), ('resume', 'a?')):
        with pytest.raises(InputError, match='--%s ' % name):
            settings.check(settings.override(settings.PRESETS['demo'], **{name: value}))
    settings.check(settings.PRESETS['demo']._replace(model_dir='a b/ü {1}'))
    with pytest.raises(InputError, match='no setting is called rate'):
        settings.override(settings.PRESETS['k600'], rate=1)
    with pytest.raises(InputError, match='cannot all be divided by 3'):
        settings.divide_widths(settings.ModelConfig(), 3)
