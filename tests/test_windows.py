"""Testing long videos in windows, with row times and labels by anchor; and which videos the figures are over."""
import contextlib
import json
import os
import signal
from unittest import mock

import networks
import numpy as np
import pytest
from data_sets import WIDTH, make, message_of, video, write
from networks import SHORT, TINY, evaluate
from run_helpers import send_signal

import aher_k600_test
import aher_model as aher
import config as settings
from dataset.tables import RowTimes, Video
from evaluation.results import read_ground_truth
from ops.detections import Candidates, JoinedWindows
from runtime import snapshots
from runtime.errors import exit_status
from runtime.results_file import ResultsFile
from runtime.session import new_session, tf

graph = networks.graph
ROWS = {'a': 40, 'b': 12, 'c': 23, 'd': 31, 'e': 5}  # of the features; one row is 0.5 s
TESTED = {'test_batch_size': 4, 'window_seconds': 6.0, 'window_stride_seconds': 4.0, 'label_by': 'both',
          'labels_per_video': 2, 'nms_tiou': 0.47}
WINDOWS = {'a': 5, 'b': 1, 'c': 3, 'd': 4, 'e': 1}   # of 12 rows, 8 rows apart


def make_root(root, **values):
    """A data set like those that are imported: annotation with row times, a feature row for each of them."""
    config = make(root, target={name: video((2, 5), subset='validation', label=number % 2)
                                for number, name in enumerate(ROWS)}, results_dir=str(root / 'results'), **values)
    random, data = np.random.RandomState(0), config.data
    write(data.path('target_annotation'), json.dumps({name: {
        'duration_second': rows * 0.5, 'rows': rows, 'row_seconds': 0.5, 'first_row_second': 0.5,
        'annotations': [{'segment': [1.0, 4.0], 'label': 'waving'}]} for name, rows in ROWS.items()}))
    for name, rows in ROWS.items():
        np.save(os.path.join(data.path('target_features'), name + '.npy'),
                random.rand(rows, WIDTH).astype(np.float32))
    os.makedirs(config.results_dir)
    return config._replace(model=SHORT._replace(feature_width=WIDTH, target_classes=2), resume='auto')


@contextlib.contextmanager
def running(config):
    """The function test(name, add) → exit status, which writes the results of an untrained network to that file.

    `add` replaces ResultsFile.add.
    """
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        tester = aher_k600_test.build(config)
        with new_session(1) as session:
            session.run(tf.global_variables_initializer())

            def test(name, add=ResultsFile.add):
                file = ResultsFile(os.path.join(config.results_dir, name), {'test': {}})
                with mock.patch.object(snapshots, 'restore'), mock.patch.object(ResultsFile, 'add', add):
                    return exit_status(lambda: aher_k600_test.test_snapshot(
                        session, tester, '', file, config, ['waving', 'nodding']))

            test.tester = tester
            yield test


def results_in(config, name):
    """The results by video."""
    with open(os.path.join(config.results_dir, name)) as file:
        return json.load(file)['results']


def test_an_interrupted_test_of_windows_gives_the_same_bytes(tmp_path, capsys):
    config, add, kept = make_root(tmp_path, **TESTED), ResultsFile.add, []

    def add_and_interrupt(file, entries):
        add(file, entries)
        if entries:
            kept.append([entry.video for entry in entries])
            send_signal(signal.SIGINT)

    with running(config) as test:
        assert [window.video.name for window in test.tester.samples] == [
            name for name, count in WINDOWS.items() for _ in range(count)]
        assert test('once.json') == 0
        assert [test('parts.json', add_and_interrupt) for _ in range(2)] == [130, 130]
    assert kept == [['a', 'b'], ['c']]  # batches end within a, within c and within d
    lines = [line for line in capsys.readouterr().err.splitlines() if 'stopped by' in line]
    assert [line.split('; ')[1] for line in lines] == [
        '%d of 5 videos are tested and kept' % count for count in (2, 3)]
    with running(config) as test:
        assert test('parts.json') == 0
    once, parts = [(tmp_path / 'results' / name).read_bytes() for name in ('once.json', 'parts.json')]
    assert once == parts and list(json.loads(once.decode())['results']) == list('abcde')


def test_results_of_windows_are_in_seconds_of_the_video(tmp_path):
    config = make_root(tmp_path, **TESTED)
    with running(config) as test:
        assert test('results.json') == 0
    for name, entries in results_in(config, 'results.json').items():
        start, end = np.array([entry['segment'] for entry in entries]).T
        # rows begin at 0.25 s, and the last one ends after the video
        assert start.min() >= 0.25 and end.max() <= ROWS[name] * 0.5
        assert {entry['label'] for entry in entries} == {'waving', 'nodding'}
        assert start.min() < 6 and (start.max() > 6 or WINDOWS[name] == 1)


@pytest.mark.parametrize('nms_tiou', [0.3, 0.5, 0.9])
def test_one_window_of_the_whole_video_is_the_whole_video(nms_tiou):
    random, seconds = np.random.RandomState(0), [30.0, 77.7]
    prediction = aher.Localization(*[tf.constant(random.randn(2, 255, *shape), tf.float32) for shape in (
        [TINY.target_classes], [3, 2], [3, 2])], tf.constant(random.rand(2, 255, 3), tf.float32))
    test = settings.TestConfig(label_by='both', nms_tiou=nms_tiou)
    whole, windows = evaluate([detect(prediction, tf.constant(seconds), TINY, test)
                               for detect in (aher.detect, aher.candidates)])
    for row, found in enumerate(zip(*windows)):
        joined = JoinedWindows()
        joined.add(0.0, Candidates(*found))
        detections = joined.detections(test)
        assert 10 < len(detections.scores) <= 100
        for name in ('scores', 'segments', 'probabilities'):
            numbers = getattr(whole, name)[row]
            np.testing.assert_array_equal(getattr(detections, name), numbers[:len(detections.scores)])
        assert not whole.scores[row, len(detections.scores):].any()
        assert detections.label == whole.label[row]
        np.testing.assert_array_equal(detections.class_scores, whole.class_scores[row])


def test_a_bad_window_skips_its_video(tmp_path):
    config = make_root(tmp_path, **dict(TESTED, bad_data='skip'))
    path = os.path.join(config.data.path('target_features'), 'd.npy')
    numbers = np.load(path)
    numbers[20] = np.nan
    np.save(path, numbers)
    with running(config) as test:
        assert test('results.json') == 0
    assert [name for name, entries in results_in(config, 'results.json').items() if not entries] == ['d']


# What results come from

def test_older_origins_of_results_stay_valid():
    config = settings.PRESETS['k600']
    test = aher_k600_test.origin_of({}, config, 'xyz')['test']
    assert set(test) == {'test_batch_size', 'proposals', 'score_by', 'top_anchors', 'nms_tiou', 'max_detections',
                         'labels_per_video'}  # as written before there were the others
    for name, value in (('label_by', 'both'), ('subset', 'testing'), ('window_seconds', 9.0),
                        ('window_stride_seconds', 3.0), ('target_layout', 'ct'), ('target_key', 'x')):
        changed = settings.override(config, **{name: value})
        mine, older = [aher_k600_test.origin_of({}, one, 'xyz') for one in (changed, config)]
        assert mine['test'] == dict(test, **{name: value})
        default = older['test'].get(name, {'label_by': 'video', 'subset': 'validation', 'target_layout': 'tc',
                                           'target_key': ''}.get(name, 0.0))
        assert aher_k600_test._other_origin(older, mine, changed) == [
            '%s %s (this run: %s)' % (name, default, value)]
        assert aher_k600_test._other_origin(mine, mine, changed) == []


def test_the_origin_tells_row_times_and_files_apart(tmp_path):
    config = make_root(tmp_path)
    plain = Video('a', 0, 20.0, 480, 40, np.zeros((0, 2)), False)
    videos = [plain, plain._replace(times=RowTimes(0.5, 0.25)), plain._replace(times=RowTimes(0.5, 0.5)),
              plain._replace(times=RowTimes(0.5, 0.5), clips=39), plain._replace(file='b')]
    assert len({aher_k600_test.origin_of_data(config, [video])['videos'] for video in videos}) == len(videos)
    authors = aher_k600_test.origin_of_data(config, [plain])['videos']
    assert authors == aher_k600_test.digest([('a', 0, 20.0, 480)])  # as an earlier version wrote it


# Ground truth

def truth_at(config, **subset_of):
    """Write a ground truth, where each video but e has two segments."""
    segments = [{'segment': [1, 4], 'label': 'waving'}, {'segment': [6, 7], 'label': 'nodding'}]
    write(config.data.path('ground_truth'), json.dumps({'database': {
        name: {'subset': subset_of.get(name, 'validation'), 'annotations': segments if name != 'e' else []}
        for name in ROWS}}))


def test_a_subset_without_segments_is_not_evaluated(tmp_path, capsys):
    config = settings.override(make_root(tmp_path), subset='testing')
    truth_at(config, a='training', e='testing')
    assert aher_k600_test._ground_truth(config) is None
    line, = capsys.readouterr().out.splitlines()
    assert 'training (2), validation (6)' in line and line.endswith('results are written, not evaluated')
    assert aher_k600_test._ground_truth(settings.override(config, subset='training')).videos == ['a']
    write(config.data.path('ground_truth'), '{"database": {"a": {"subset": 3}}}')
    assert 'has no "subset" name' in message_of(aher_k600_test._ground_truth, config)


def test_the_ground_truth_loses_the_videos_that_are_dropped(tmp_path):
    config = settings.override(make_root(tmp_path), missing='drop')
    for name in 'bd':
        os.remove(os.path.join(config.data.path('target_features'), name + '.npy'))
    truth_at(config)
    truth = read_ground_truth(config.data.path('ground_truth'))
    with running(config) as test:
        assert [video.name for video in test.tester.videos] == list('ace')
        left = aher_k600_test._truth_of(truth, test.tester, config)
        assert left.videos == ['a', 'c'] and len(left.segments) == 4
        other = truth._replace(subset_of={'v_' + name: 'validation' for name in ROWS})
        message = message_of(aher_k600_test._truth_of, other, test.tester, config)
        assert 'have no video in common: found "a" and "v_a"' in message and '--ground_truth' in message


# The command line

@pytest.mark.parametrize('label_by', ['anchor', 'both'])
def test_uniform_windows_have_no_anchors(label_by):
    message = message_of(aher_k600_test.main, ['--proposals', 'uniform', '--label_by', label_by])
    assert message.startswith('--label_by %s: ' % label_by) and message.endswith('give --label_by video')
