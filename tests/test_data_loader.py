"""data_loader.py: the four streams, by hand on tiny data sets; every message."""
import csv
import json
import os
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest
from data_sets import FEATURES, ROOT, TABLES, WIDTH, make, message_of, video, write

import config as settings
import data_loader
from data_loader import reader_errors, training_stream, validation_stream
from dataset.bad_data import BadData
from dataset.features import FeatureStore, interpolate
from runtime.errors import InputError
from runtime.session import new_session, tf


def of_training(config, batches):
    """The first batches of the training streams, joined: a Batch of arrays."""
    with tf.Graph().as_default():
        stream = training_stream(config)
        with new_session() as session, reader_errors(stream):
            session.run(stream.initializer)
            found = [session.run(stream.batch) for _ in range(batches)]
    return data_loader.Batch(*[
        type(kind[0])(*[np.concatenate(arrays) for arrays in zip(*kind)]) for kind in zip(*found)])


def of_validation(config):
    """(batches of the whole validation stream, as arrays; its videos)."""
    found = []
    with tf.Graph().as_default():
        stream, samples = validation_stream(config)
        with new_session() as session, reader_errors(stream):
            session.run(stream.initializer)
            while True:
                try:
                    found.append(session.run(stream.batch))
                except tf.errors.OutOfRangeError:
                    return found, [sample.video for sample in samples]


def summary_of(config):
    with tf.Graph().as_default():
        return training_stream(config).summary


def cuts(features):
    """(video's number, first clip, clip after the last) of each sample cut from clip features."""
    found = []
    for sample in features:
        rows = sample[:, 0][sample[:, 0] > 0]  # rows without a clip centre are 0
        number = int(round(sample[:, 1].max()))
        found.append((number, int(np.floor(rows.min())) - 1, int(np.ceil(rows.max()))))
    return found


# Tables

def test_time_scale_by_hand(tmp_path):
    # 960 of 1000 frames have features: 48 of 50 seconds
    segments = (12, 36), (36, 49), (-3, 12), (0, 4.8)
    config = make(tmp_path, {'s': video(*segments, label=2, seconds=50.0, frames=1000, feature_frame=960)})
    untrimmed = of_training(config, 1).untrimmed
    expected = -np.ones((25, 2))
    expected[:4] = [[128, 384], [384, 512], [0, 128], [0, 51.2]]
    np.testing.assert_allclose(untrimmed.segments, [expected] * 2, rtol=1e-6)
    assert untrimmed.labels.tolist() == [2, 2]


def test_a_video_without_segments_is_an_untrimmed_sample(tmp_path):
    untrimmed = of_training(make(tmp_path, {'s': video((8, 24)), 'empty': video()}), 1).untrimmed
    assert sorted(untrimmed.segments[:, 0, 0]) == [-1, 128]


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    target = {'t': video((8, 24)), 'v': video(subset='validation', label=1)}
    config = make(tmp_path, target=target)
    expected, videos = summary_of(config), of_validation(config)[1]
    for table in TABLES:
        path = config.data.path(table)
        with open(path, 'rb') as file:
            content = file.read()
        write(path, b'\xef\xbb\xbf' + content.replace(b'\n', b'\r\n') + b'\r\n')
    assert summary_of(config) == expected
    assert of_validation(config)[1][0][:5] == videos[0][:5] == ('v', 1, 32.0, 512, 64)
    assert data_loader.resolve_classes(config).model.target_classes == 2


def test_info_table_decides_subset_and_order(tmp_path):
    names = ['b', 'z', 'a', 'c', 'y']
    config = make(tmp_path, target={name: video((8, 24), subset='validation') for name in names + ['t']})
    info = config.data.path('target_info')
    write(info, 'subset,video\nvalidation,b\ntesting,z\nvalidation,a\nvalidation,b\ntraining,t\n'
                'validation,c\n')
    assert [found.name for found in of_validation(config)[1]] == ['b', 'a', 'c']
    assert 'target training: 1 video, ' in summary_of(config)
    write(info, 'video,subset\nc,validation,\na,validation,\n')  # a comma too many, as some tools write
    assert [found.name for found in of_validation(config)[1]] == ['c', 'a']


def test_first_label_of_a_video_counts(tmp_path):
    config = make(tmp_path)
    write(config.data.path('source_labels'), 's 0 1\n\nother 0 0\ns 0 2\n')
    assert of_training(config, 1).untrimmed.labels.tolist() == [1, 1]


def test_class_names(tmp_path):
    config = make(tmp_path)
    path = config.data.path('target_categories')
    counted = data_loader.resolve_classes(settings.override(config, target_classes=None))
    assert counted == data_loader.resolve_classes(config)
    assert counted.model.target_classes == 2
    assert data_loader.resolve_classes(config) == config
    write(path, 'waving\nnodding\nbowing\n')
    assert message_of(data_loader.resolve_classes, config) == (
        '%s: found 3 class names, expected 2 (--target_classes)' % path)
    write(path, 'waving\n\nnodding\n')  # skipped, it would shift every later class
    assert '%s, line 2: found an empty line' % path in message_of(data_loader.resolve_classes, config)


def test_source_classes_are_counted_where_their_number_is_not_given(tmp_path):
    config = make(tmp_path)
    counted = [settings.check(settings.override(config, source_classes=number, target_classes=number))
               for number in (0,)]
    path = config.data.path('source_categories')
    for unresolved in counted:
        assert message_of(data_loader.resolve_classes, unresolved).startswith(path)  # it is not there
    write(path, 'waving\nnodding\nbowing\n')
    for unresolved in counted:
        assert data_loader.resolve_classes(unresolved) == config
    write(path, 'waving\n')
    assert message_of(data_loader.resolve_classes, config) == (
        '%s: found 1 class names, expected 3 (--source_classes)' % path)
    assert message_of(settings.check, settings.override(config, source_classes=-1)) == (
        '--source_classes -1: expected 0 to 2147483647')


@pytest.mark.parametrize('table, content, message', [
    ('source_info', 'name,subset\ns,training\n', 'no column video in the header row'),
    ('source_info', 'video;subset\ns;training\n', 'no column video, subset in the header row'),
    ('source_info', 'video,subset\ns,testing\nr,\n', 'no video of subset training (found testing)'),
    ('source_info', 'video,subset\ns,\n', 'no video of subset training (found none)'),
    ('source_info', 'video,subset\n"s,training\n', 'not a CSV table ('),
    ('source_info', 'video,subset\ns,training\nr,training,x\n', 'row 3: found 3 cells, expected the 2 of'),
    ('source_info', 'video,subset\ns\n', 'row 2: found 1 cells, expected the 2 of the header row'),
    ('source_info', '', 'no column video, subset in the header row'),
    ('source_info', b'video,subset\n\xff,training\n', "codec can't decode byte 0xff"),
    ('source_labels', 's 0\n', "row 1: found 's 0', expected: video, a number, class index"),
    ('source_labels', 'r 0 1\ns 0 x\n', "row 2: found 's 0 x', expected: video, a number, class index"),
    ('source_labels', 's,0,1\n', "row 1: found 's,0,1'"),
    ('source_labels', 's 0 1.5\n', "row 1: found 's 0 1.5'"),
    ('source_labels', 'r 0 2\ns 0 3\n', 'row 2: class 3 of video s is not in 0…2'),
    ('source_labels', 's 0 -1\n', 'row 1: class -1 of video s is not in 0…2'),
    ('source_labels', 'r 0 1\n', 'no row of video s, which'),
    ('source_labels', b's 0 1 \xff\n', 'not UTF-8 text'),
    ('target_labels', 't 0 2\n', 'row 1: class 2 of video t is not in 0…1'),
    ('target_annotation', '{"r": {}}', 'no entry for video t, which is in the info table'),
    ('target_annotation', '[]', 'expected an object {video: {…}}'),
    ('target_annotation', '{"t": ', 'not valid JSON: '),
    ('target_annotation', b'\xff', "codec can't decode byte 0xff")])
def test_faulty_table_is_named(tmp_path, table, content, message):
    config = make(tmp_path)
    path = config.data.path(table)
    write(path, content)
    found = message_of(summary_of, config)
    assert found.startswith(path) and message in found


@pytest.mark.parametrize('change, message', [
    ({'duration_second': None}, "expected numbers duration_second, duration_frame, feature_frame"),
    ({'duration_frame': 'many'}, "TypeError found 'many'; expected numbers"),
    ({'feature_frame': float('inf')}, 'OverflowError'),
    ({'duration_second': float('nan')}, 'found nan seconds'),
    ({'duration_second': float('inf')}, 'found inf seconds'),
    ({'duration_second': 0}, 'found 0 seconds, 512 frames, 512 feature frames; expected at least one clip'),
    ({'duration_frame': -1}, 'found 32 seconds, -1 frames'),
    ({'feature_frame': 7}, '7 feature frames'),
    ({'annotations': None}, 'TypeError'),
    ({'annotations': [{'label': 'waving'}]}, "KeyError 'segment'"),
    ({'annotations': [{'segment': [1]}]}, 'annotations [{segment: [start_s, end_s]}]'),
    ({'annotations': [{'segment': [1, 2, 3]}, {'segment': [4, 5, 6]}]}, 'ValueError too many values'),
    ({'annotations': [{'segment': [[1], [2]]}]}, 'TypeError'),
    ({'annotations': [{'segment': [None, 2]}]}, 'TypeError'),
    ({'annotations': [[1, 2]]}, 'TypeError')])
def test_malformed_annotation_entry_is_named(tmp_path, change, message):
    config = make(tmp_path)
    path = config.data.path('target_annotation')
    write(path, json.dumps({'t': dict(
        {'duration_second': 32, 'duration_frame': 512, 'feature_frame': 512}, **change)}))
    found = message_of(summary_of, config)
    assert found.startswith('%s: video t: ' % path) and message in found


@pytest.mark.parametrize('entry', [[], {}, 3, None, 'text'])
def test_annotation_entry_of_another_kind_is_named(tmp_path, entry):
    config = make(tmp_path)
    write(config.data.path('target_annotation'), json.dumps({'t': entry}))
    assert '%s: video t: ' % config.data.path('target_annotation') in message_of(summary_of, config)


def test_missing_data_are_listed_in_one_line(tmp_path):
    config = settings.override(settings.Config(), data_root=str(tmp_path / 'nowhere'))
    for call, names in ((training_stream, data_loader.TRAINING_PATHS),
                        (validation_stream, data_loader.VALIDATION_PATHS)):
        found = message_of(call, config)
        assert found.startswith('not found: ') and '`make demo`' in found and '--data_root' in found
        assert [config.data.path(name) in found for name in names] == [True] * len(names)


@pytest.mark.parametrize('table', TABLES)
def test_missing_table_is_named_alone(tmp_path, table):
    config = make(tmp_path)
    os.remove(config.data.path(table))
    assert message_of(summary_of, config).startswith('not found: %s; ' % config.data.path(table))


def test_only_features_may_have_the_end_of_hdf5(tmp_path):
    config = make(tmp_path)
    path = config.data.path('target_categories')
    os.rename(path, path + '.h5')
    assert message_of(summary_of, config).startswith('not found: %s; ' % path)
    os.rename(path + '.h5', path)
    os.rename(config.data.path('target_clips'), str(tmp_path / 'moved'))
    os.symlink('nowhere', config.data.path('target_clips') + '.h5')
    assert message_of(summary_of, config).startswith('not found: %s.h5; ' % config.data.path('target_clips'))


@pytest.mark.parametrize('field', ['source_categories', 'target_labels'])
def test_a_link_to_nothing_is_no_table_that_may_be_absent(tmp_path, field):
    config = make(tmp_path, target={'t': video((8, 24)), 'v': video(subset='validation')})
    path = config.data.path(field)
    if os.path.exists(path):
        os.remove(path)
    os.symlink('nowhere', path)
    call = {'source_categories': data_loader.resolve_classes, 'target_labels': of_validation}[field]
    assert message_of(call, config) == '%s: No such file or directory' % path


def test_a_misspelt_key_of_a_training_video_is_an_error(tmp_path):
    config = make(tmp_path, {'s': video((8, 24)), 'r': video((8, 24))})
    path = config.data.path('source_annotation')
    with open(path) as file:
        entries = json.load(file)
    entries['r']['anotations'] = entries['r'].pop('annotations')
    write(path, json.dumps(entries))
    assert message_of(summary_of, config) == (
        '%s: video r: found the key anotations, expected annotations; correct the key' % path)
    del entries['r']['anotations']
    write(path, json.dumps(entries))
    assert 'source training: 2 videos, 1 segment ' in summary_of(config)


# Which features are read

def test_the_summary_says_which_features_are_read(tmp_path):
    config = make(tmp_path, {'s%d' % number: video((8, 24)) for number in range(3)},
                  {'t': video((8, 24)), 'short': video((0, 1)), 'v': video(subset='validation')})
    data = config.data
    folder = data.path('source_features')
    numbers = np.load(os.path.join(folder, 's1.npy'))
    np.savetxt(os.path.join(folder, 's1.csv'), numbers, '%g', ',', header='a,b,c,d', comments='')
    os.remove(os.path.join(folder, 's1.npy'))
    np.save(os.path.join(folder, 'of_no_video.npy'), numbers)
    with h5py.File(data.path('source_clips') + '.h5', 'w') as file:
        for name in os.listdir(data.path('source_clips')):
            file[name[:-len('.npy')]] = np.load(os.path.join(data.path('source_clips'), name))
    assert summary_of(config).splitlines()[:3] == [
        'source features: %s, folder, 3 videos: 2 npy, 1 csv' % folder,
        'source clips: %s.h5, HDF5, 3 videos' % data.path('source_clips'),
        'target clips: %s, folder, 1 video: 1 npy' % data.path('target_clips')]  # one is too short for a moment
    with tf.Graph().as_default():
        assert validation_stream(config)[0].summary.splitlines() == [
            'target features: %s, folder, 1 video: 1 npy' % data.path('target_features'),
            '1 target validation video']


def test_newer_features_that_are_not_read_are_named(tmp_path):
    config = make(tmp_path)
    npy = os.path.join(config.data.path('source_features'), 's.npy')
    csv_path = npy[:-len('npy')] + 'csv'
    write(csv_path, 'a,b,c,d\n1,2,3,4\n')
    for age, warnings in ((-5, 0), (5, 1)):
        os.utime(npy, (1e9, 1e9))
        os.utime(csv_path, (1e9 + age, 1e9 + age))
        found = [line for line in summary_of(config).splitlines() if ' is newer than ' in line]
        assert found == ['warning: %s is newer than %s, which is read in its place (1 such files); convert the '
                         'features again, or move away what is older' % (csv_path, npy)] * warnings


@pytest.mark.parametrize('numbers, message', [
    (np.zeros((64, WIDTH)), 'all numbers of its 64 rows are 0; was the video extracted?; `prepare_data.py check'),
    (np.full((64, WIDTH), -3e38), 'found numbers from -3e+38 to -3e+38, expected none beyond 1e+06; check how')])
def test_numbers_that_look_wrong_are_named_once(tmp_path, capsys, numbers, message):
    config = make(tmp_path, target={name: video((8, 24)) for name in 'tuvwx'})
    folder = config.data.path('target_clips')
    for name in 'tuv':
        np.save(os.path.join(folder, name + '.npy'), numbers.astype(np.float32))
    of_training(config, 5)
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith('warning: ')]
    assert len(found) == 1 and found[0].startswith('warning: %s: ' % os.path.join(folder, 't.npy'))  # the first one
    assert message in found[0]


# Segments

def test_summary_counts_unusable_segments_by_reason(tmp_path):
    config = make(
        tmp_path,
        {'a': video((5, 5), (9, 3), (40, 50), (-4, -1), (8, 24), (0, 15)),
         'b': video(*[(0, 16 + index / 8) for index in range(27)])},
        {'t': video((0, 4), (0, 3.5), (1, 1)), 'u': video(), 'v': video((0, 1), subset='validation')})
    lines = summary_of(config).splitlines()[3:]
    assert [line for line in lines if '(shortest, median, longest)' not in line] == [
        'source training: 2 videos, 29 segments of 1 class; unusable segments: 2 without length, 2 outside their '
        'video',
        'source training: 28 of 29 segments used as foreground samples; left out: 1 shorter than 32 rows (16.0 s)',
        'warning: source training: 4 of 33 segments cannot be used: 2 without length, 2 outside their video; correct '
        'the annotation',
        'warning: source training: 2 of 29 segments are beyond --max_segments 25 in their video, and untrimmed '
        'videos are trained without them; raise it',
        'target training: 2 videos, 2 segments of 1 class; unusable segments: 1 without length',
        'target training: 1 of 2 segments used as moments; left out: 1 shorter than 8 rows (4.0 s)',
        'warning: target training: 1 of 3 segments cannot be used: 1 without length; correct the annotation',
        'warning: target training: 50 % of the segments are no moments, because they are shorter than 8 rows '
        '(4.0 s); --moment_clips 7 keeps nine tenths',
        'warning: target training: 1 of 2 classes have no sample among the moments: nodding']
    assert summary_of(make(tmp_path / 'other')).count('; unusable segments: none') == 2


def test_segments_after_the_25th_are_left_out_in_order(tmp_path):
    config = make(tmp_path, {'s': video(*[(0, 1 + index) for index in range(27)])})
    segments = of_training(config, 1).untrimmed.segments
    assert segments[0].tolist() == [[0, 16 * (1 + index)] for index in range(25)]


def test_cut_rows_by_hand(tmp_path):
    # 100 clips in 50 seconds: clip = int(2 · second)
    source = {'s': video((1.3, 20.7), (33.9, 60), seconds=50.0, frames=800, feature_frame=800)}
    target = {'t': video((1.3, 6.7), (45.9, 60), seconds=50.0, frames=800, feature_frame=800),
              'u': video((28, 32))}
    batch = of_training(make(tmp_path, source, target, batch_size=3), 1)
    assert set(cuts(batch.foreground.features)) == {(1, 2, 41), (1, 67, 100)}
    assert set(cuts(batch.moments.features)) == {(1, 2, 13), (1, 91, 100), (2, 56, 64)}


@pytest.mark.parametrize('clips, spans', [(32, True), (31.5, False)])
def test_a_foreground_sample_spans_32_clips(tmp_path, clips, spans):
    config = make(tmp_path, {'s': video((4, 4 + clips / 2)), 'long': video((0, 32))})
    assert '%d of 2 segments used as foreground samples' % (1 + spans) in summary_of(config)


@pytest.mark.parametrize('clips, spans', [(8, True), (7.5, False)])
def test_a_moment_spans_8_clips(tmp_path, clips, spans):
    config = make(tmp_path, target={'t': video((4, 4 + clips / 2)), 'long': video((0, 32))})
    assert '%d of 2 segments used as moments' % (1 + spans) in summary_of(config)


@pytest.mark.parametrize('exact', [False, True])
def test_a_moment_of_8_clips_may_count_as_shorter_as_published(tmp_path, exact):
    assert (0.6 - 0.2) * 20 < 8  # clips 4 to 12 of 20
    target = {'t': video((2, 6), seconds=10.0, frames=160, feature_frame=160), 'long': video((0, 32)),
              'short': video((0, 3.7))}  # 7.4 clips
    source = {'s': video((2, 18), seconds=20.0, frames=320, feature_frame=320), 'long': video((0, 32))}
    assert (0.9 - 0.1) * 40 == 32
    summary = summary_of(make(tmp_path, source, target, exact_lengths=exact))
    assert '2 of 2 segments used as foreground' in summary
    assert '%d of 3 segments used as moments' % (1 + exact) in summary


def test_a_moment_between_the_edges_of_clips_has_one_row(tmp_path):
    target = {'t': video((1.55, 1.9)), 'u': video((8, 24))}  # 0.7 clips, from 3.1 to 3.8
    config = make(tmp_path, target=target, exact_lengths=True, moment_clips=1)
    assert '2 of 2 segments used as moments' in summary_of(config)
    assert '1 of 2 segments used as moments; left out: 1 shorter than 1 row' in summary_of(
        settings.override(config, exact_lengths=False))


@pytest.mark.parametrize('side, kind', [('source', 32), ('target', 8)])
def test_no_segment_that_is_long_enough(tmp_path, side, kind):
    config = make(tmp_path, **{side: {'v': video((0, 1))}})
    name, flag = {'source': ('foreground samples', 'foreground'), 'target': ('moments', 'moment')}[side]
    assert message_of(summary_of, config) == (
        '%s: found no %s in 1 %s training video; training stops without them; left out: 1 shorter than %d rows '
        '(%.1f s); --%s_clips 2 keeps nine tenths' % (
            config.data.path(side + '_annotation'), name, side, kind, kind / 2, flag))


def test_fault_1_takes_first_annotations_for_foreground_alone(tmp_path):
    videos = {'a': video((8, 24), (0, 32)), 'b': video((0, 15), (0, 20)), 'c': video((0, 32), (8, 24))}
    fault = settings.Faults(first_annotation_only=True)
    config = make(tmp_path, videos, videos, batch_size=6)
    everything = {(1, 16, 48), (1, 0, 64), (2, 0, 40), (3, 0, 64), (3, 16, 48)}
    assert set(cuts(of_training(config, 1).foreground.features)) == everything
    config = settings.override(config, faults=fault)
    batch = of_training(config, 1)
    assert sorted(cuts(batch.foreground.features)) == [(1, 16, 48)] * 3 + [(3, 0, 64)] * 3
    assert set(cuts(batch.moments.features)) == everything | {(2, 0, 30)}
    assert (batch.untrimmed.segments[:, 1, 0] >= 0).all()  # both segments


def test_fault_1_looks_at_the_first_annotation_whether_it_is_usable_or_not(tmp_path):
    config = make(tmp_path, {'a': video((5, 5), (0, 32)), 'b': video((40, 50), (0, 32)), 'c': video((0, 32), (5, 5))})
    assert '3 of 3 segments used as foreground' in summary_of(config)
    config = settings.override(config, faults=settings.Faults(first_annotation_only=True))
    assert ('1 of 3 segments used as foreground samples; left out: 2 not the first of their video' in
            summary_of(config))


# Row times, labels of segments

def timed(*segments, rows=60, row_seconds=1.0, first_row_second=1.5, **more):
    """A video with row times; by default, its rows span seconds 1 to 61 of 62."""
    return video(*segments, seconds=62.0, frames=0, feature_frame=0, rows=rows, row_seconds=row_seconds,
                 first_row_second=first_row_second, **more)


def test_row_times_by_hand(tmp_path):
    source = {'s': timed((1, 31), (46, 61), file='yoga/s1')}
    target = {'t': timed((11, 21), file='t1'), 'v': timed(subset='validation')}
    config = make(tmp_path, source, target, foreground_clips=15)
    batch = of_training(config, 1)
    expected = -np.ones((25, 2))
    expected[:2] = [[0, 256], [384, 512]]
    np.testing.assert_allclose(batch.untrimmed.segments, [expected] * 2)
    assert set(cuts(batch.foreground.features)) == {(1, 0, 30), (1, 45, 60)}
    assert set(cuts(batch.moments.features)) == {(1, 10, 20)}
    batches, videos = of_validation(config)
    assert batches[0].seconds.tolist() == [60.0] and videos[0].start == 1.0


def test_interpolation_with_row_times_is_that_of_rows(tmp_path):
    config = make(tmp_path, target={'v': timed(subset='validation')})
    features = np.random.RandomState(0).rand(60, WIDTH).astype(np.float32)
    np.save(os.path.join(config.data.path('target_features'), 'v.npy'), features)
    found = of_validation(config)[0][0].features[0]
    np.testing.assert_array_equal(found, interpolate(features, 512, 60.0, 60 * 8))


def test_features_that_do_not_cover_their_videos_stop_the_run(tmp_path):
    wrong = dict(row_seconds=0.5, first_row_second=0.25)
    videos = {'t': timed((2, 14), **wrong), 'v': timed(subset='validation', **wrong)}
    config = make(tmp_path, target=videos)
    for call in (summary_of, of_validation):
        assert message_of(call, config).startswith(
            "%s: features cover 0.48 of the videos' duration" % config.data.path('target_annotation'))
    videos.update({name: timed((2, 14)) for name in 'uwx'})
    config = make(tmp_path / 'one', target=dict(videos, y=timed(subset='validation')))
    line = 'warning: %s: the features of 1 of 4 videos cover more or less than their duration, by over 5 %%: t (0.48)'
    assert line % config.data.path('target_annotation') in summary_of(config)


def test_segments_with_their_own_labels(tmp_path):
    source = {'s': video((0, 16), (16, 32), (0, 20), (1, 2), label=2, labels=['nodding', 'x', 'waving', 'bowing'])}
    target = {'t': video((0, 16), (16, 32), label=0, labels=['waving', 'nodding'])}
    config = make(tmp_path, source, target, labels='segment', batch_size=4)
    write(config.data.path('source_categories'), 'waving\nnodding\nbowing\n')
    for table in ('source_labels', 'target_labels'):
        os.remove(config.data.path(table))
    batch = of_training(config, 1)
    expected = -np.ones(25)
    expected[:3] = [1, 0, 2]
    assert batch.untrimmed.segment_labels.tolist() == [expected.tolist()] * 4
    assert batch.untrimmed.labels.tolist() == [1] * 4
    assert set(zip(cuts(batch.foreground.features), batch.foreground.labels)) == {((1, 0, 32), 1), ((1, 0, 40), 0)}
    assert set(zip(cuts(batch.moments.features), batch.moments.labels)) == {((1, 0, 32), 0), ((1, 32, 64), 1)}
    assert 'unusable segments: 1 of a class without a name' in summary_of(config)
    with tf.Graph().as_default():
        (untrimmed, _, _) = training_stream(config).batch
    assert untrimmed.segment_labels.shape.as_list() == [4, 25] and untrimmed.segment_labels.dtype == tf.int32


# Windows

def windowed(config, **values):
    """`config` with windows of 8 s (16 of 64 rows); untrimmed features are the clip features."""
    data = config.data
    return settings.override(config, **dict({'window_seconds': 8.0, 'source_features': data.source_clips,
                                             'target_features': data.target_clips}, **values))


def test_training_windows_by_hand(tmp_path):
    source = {'long': video((8, 12), (20, 22), (21, 30), label=1), 'short': video((0, 3), seconds=6.0, frames=96,
                                                                                 feature_frame=96)}
    config = windowed(make(tmp_path, source, batch_size=40, foreground_clips=4))
    untrimmed = of_training(config, 3).untrimmed
    places = set()
    for features, segments, label in zip(*untrimmed[:3]):
        usable = segments[segments[:, 0] >= 0]
        if label == 0:
            assert usable.tolist() == [[0, 256]]
            continue
        ((_, first, end),) = cuts(features[np.newaxis])
        rows = np.array([[16, 24], [40, 44], [42, 60]], float)
        shared = np.clip(rows, first, first + 16) - first
        kept = shared[:, 1] - shared[:, 0] >= 0.5 * np.minimum(rows[:, 1] - rows[:, 0], 16)
        np.testing.assert_allclose(usable, shared[kept] * 512 / 16, atol=1e-3)
        assert kept.any()
        places.add(first)
    assert len(places) > 15 and min(places) >= 8
    # 64 rows are 4 windows, but the video has 3 segments
    assert [sorted(labels) for labels in passes(untrimmed.labels.tolist(), 4)] == [[0, 1, 1, 1]] * 30


def test_training_windows_are_the_same_for_any_workers_and_when_resumed(tmp_path):
    source, _ = many_videos()
    config = windowed(make(tmp_path, source, batch_size=4))
    one, other = [of_training(settings.override(config, workers=workers), 6).untrimmed for workers in (1, 8)]
    np.testing.assert_array_equal(one.features, other.features)
    with tf.Graph().as_default(), new_session() as session:
        stream = training_stream(config)
        session.run(stream.initializer, {stream.first: 12})
        np.testing.assert_array_equal(session.run(stream.batch).untrimmed.features, one.features[12:16])


def test_windows_in_validation_by_hand(tmp_path):
    target = {'t': video((8, 24)), 'long': video(subset='validation'),
              'short': video(subset='validation', seconds=5.0, frames=80, feature_frame=80)}
    config = windowed(make(tmp_path, target=target, test_batch_size=5))
    with tf.Graph().as_default(), new_session() as session:
        stream, samples = validation_stream(config)
        session.run(stream.initializer)
        batches = [session.run(stream.batch) for _ in range(2)]
        assert data_loader.names_of_samples(stream, 5, 3) == {'validation': ['long', 'long', 'short']}
    assert [(sample.video.name, sample.first, sample.rows, sample.start, sample.span) for sample in samples] == [
        ('long', first, 16, first / 2, 8.0) for first in range(0, 49, 8)] + [('short', 0, 10, 0, 5.0)]
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(8))
    assert np.concatenate([batch.seconds for batch in batches]).tolist() == [8.0] * 7 + [5.0]
    found = [cut[1:] for cut in cuts(np.concatenate([batch.features for batch in batches]))]
    assert found == [(first, first + 16) for first in range(0, 49, 8)] + [(0, 10)]
    assert stream.summary.splitlines()[-1] == '2 target validation videos in 8 windows of 16 rows (8 seconds; median)'


def test_windows_need_a_row_for_each_clip(tmp_path):
    config = make(tmp_path, target={'t': video((8, 24)), 'v': video(subset='validation')}, window_seconds=8.0)
    for call, side in ((summary_of, 'source'), (of_validation, 'target')):
        message = message_of(call, config)
        assert message.startswith(config.data.path(side + '_features')) and message.endswith(
            ', expected its 64 clips: windows need a row for each clip; name the features by clip with '
            '--%s_features' % side)
        assert ': found 512 rows of video ' in message


def test_a_window_reads_its_rows_alone(tmp_path, monkeypatch):
    config = windowed(make(tmp_path, target={'t': video((8, 24)), 'v': video(subset='validation')}))
    read, sizes = FeatureStore.read, []

    def counted(*arguments, **keys):
        found = read(*arguments, **keys)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(FeatureStore, 'read', counted)
    of_validation(config)
    assert set(sizes) == {16}


# Subsets, videos without features

def test_another_subset_can_be_tested(tmp_path):
    target = {'v': video(subset='validation'), 'w': video(subset='testing', label=1)}
    config = make(tmp_path, target=target, subset='testing')
    assert [found.name for found in of_validation(config)[1]] == ['w']
    assert message_of(of_validation, settings.override(config, subset='test')).endswith(
        'no video of subset test (found testing, validation)')


def test_videos_without_features_are_dropped(tmp_path):
    source = {name: video((8, 24)) for name in 'abcde'}
    target = dict({name: video((8, 24)) for name in 'tuv'}, **{
        name: video(subset='validation') for name in 'xyz'})
    config = make(tmp_path, source, target, batch_size=6)
    for field, name in (('source_features', 'b'), ('source_clips', 'd'), ('target_clips', 't'),
                        ('target_features', 'y')):
        os.remove(os.path.join(config.data.path(field), name + '.npy'))
    assert '--missing drop' in message_of(summary_of, config)
    config = settings.override(config, missing='drop')
    lines = summary_of(config).splitlines()
    assert [line for line in lines if line.startswith('drop')] == [
        'dropped for lack of features: 2 of 5 source training videos, such as b',
        'dropped for lack of features: 1 of 3 target training videos, such as t']
    batch = of_training(config, 1)
    assert {int(number) for number in batch.untrimmed.features[:, 0, 0]} == {1, 3, 5}
    assert {cut[0] for cut in cuts(batch.moments.features)} == {2, 3}
    with tf.Graph().as_default():
        stream, samples = validation_stream(config)
    assert [sample.video.name for sample in samples] == ['x', 'z'] and stream.dropped == ('y',)
    assert 'dropped for lack of features: 1 of 3 target validation videos, such as y' in stream.summary
    for name in 'xz':
        os.remove(os.path.join(config.data.path('target_features'), name + '.npy'))
    assert message_of(of_validation, config) == (
        '%s: found no features of any of 3 videos; name the folder or HDF5 file with --target_features'
        % config.data.path('target_features'))


# Streams

def many_videos():
    """Five source videos of 8 foreground samples, four target ones of 9 moments; labels by number."""
    source = {'s%d' % number: video(*[(0, 16 + index) for index in range(count)], label=number % 3)
              for number, count in enumerate([1, 2, 3, 1, 1])}
    target = {'t%d' % number: video(*[(0, 4 + index) for index in range(count)], label=number % 2)
              for number, count in enumerate([4, 1, 3, 1])}
    return source, target


def passes(samples, count):
    """Samples one after the other → lists of `count`."""
    return [samples[start:start + count] for start in range(0, len(samples) - count + 1, count)]


def orders_of(batch):
    """The videos' numbers of the untrimmed stream, and the cuts of the other two."""
    return (np.rint(batch.untrimmed.features[:, 0, 0]).astype(int).tolist(), cuts(batch.foreground.features),
            cuts(batch.moments.features))


def test_a_pass_has_every_sample_once_and_the_next_another_order(tmp_path):
    source, target = many_videos()
    batch = of_training(make(tmp_path, source, target, batch_size=12), 6)
    for order, count in zip(orders_of(batch), (5, 8, 9)):
        found = passes(order, count)
        assert len(found) >= 8
        assert [len(set(samples)) for samples in found] == [count] * len(found)
        assert len({tuple(sorted(samples)) for samples in found}) == 1
        assert len({tuple(samples) for samples in found}) > len(found) // 2
    untrimmed, foreground, moments = orders_of(batch)
    assert batch.untrimmed.labels.tolist() == [(number - 1) % 3 for number in untrimmed]
    assert batch.foreground.labels.tolist() == [(number - 1) % 3 for number, _, _ in foreground]
    assert batch.moments.labels.tolist() == [(number - 1) % 2 for number, _, _ in moments]


def test_ratio_and_position_cover_their_ranges(tmp_path):
    source, target = many_videos()
    moments = of_training(make(tmp_path, source, target, batch_size=32), 8).moments
    assert sorted(set(moments.ratio)) == list(range(14, 20))
    assert sorted(set(moments.position)) == list(range(1, 20))
    # two draws of one sample do not go together, nor are they a sample's own for good
    assert len(set(zip(moments.ratio, moments.position))) > 80
    assert len({(cut, ratio) for cut, ratio in zip(cuts(moments.features), moments.ratio)}) > 40
    assert np.bincount(moments.ratio)[14:].min() > 256 / 6 / 2


def test_the_seed_decides_the_order_not_the_workers(tmp_path, monkeypatch):
    source, target = many_videos()
    config = make(tmp_path, source, target, batch_size=6)
    read = FeatureStore.read

    def in_disorder(store, name, rows=None, cut=None):
        time.sleep(0.004 * (int(name[1:]) % 3))
        return read(store, name, rows, cut)

    monkeypatch.setattr(FeatureStore, 'read', in_disorder)

    def found(**values):
        return of_training(settings.override(config, **values), 5)

    expected = found(workers=1)
    for other in (found(workers=8), found(workers=0)):
        for arrays, expected_arrays in zip(other, expected):
            for array, expected_array in zip(arrays, expected_arrays):
                np.testing.assert_array_equal(array, expected_array)
    for other, order in zip(orders_of(found(seed=1)), orders_of(expected)):
        assert other != order


def test_workers_read_together_beside_the_session_and_keep_the_order(tmp_path, monkeypatch):
    names = ['v%d' % number for number in range(9)]
    config = make(tmp_path, target={name: video(subset='validation') for name in names}, workers=6)
    read, all_read, released, ended = FeatureStore.read, threading.Event(), threading.Event(), []
    together = threading.Barrier(6, action=all_read.set)  # more than this machine may have cores

    def first_ends_last(store, name, rows=None, cut=None):
        if name in names[:6]:
            together.wait(120)
            released.wait(120)
        while name == names[0] and len(ended) < 5:
            time.sleep(0.001)
        found = read(store, name, rows, cut)
        ended.append(name)
        return found

    with tf.Graph().as_default():
        stream, _ = validation_stream(config)
        monkeypatch.setattr(FeatureStore, 'read', first_ends_last)
        index, other, found = stream.batch.index, tf.constant(1) + tf.placeholder_with_default(1, []), []
        with new_session() as session:
            session.run(stream.initializer)
            reader = threading.Thread(target=lambda: found.extend(session.run(index) for _ in range(5)))
            reader.start()
            assert all_read.wait(120)
            assert session.run(other) == 2 and not ended  # not held up by threads that wait for a disk
            released.set()
            reader.join()
    assert ended.index(names[0]) >= 5
    assert np.concatenate(found).tolist() == list(range(9))


def test_batches_have_static_shapes_and_types(tmp_path):
    config = make(tmp_path, target={'t': video((8, 24)), 'v': video(subset='validation')}, batch_size=3)
    with tf.Graph().as_default():
        untrimmed, foreground, moments = training_stream(config).batch
        stream, _ = validation_stream(config)
    assert untrimmed.segment_labels == ()
    assert [tensor.shape.as_list() for tensor in untrimmed[:3]] == [[3, 512, WIDTH], [3, 25, 2], [3]]
    assert [tensor.shape.as_list() for tensor in foreground] == [[3, 512, WIDTH], [3]]
    assert [tensor.shape.as_list() for tensor in moments] == [[3, 256, WIDTH], [3], [3], [3]]
    assert [tensor.shape.as_list() for tensor in stream.batch] == [[None], [None, 512, WIDTH], [None]]
    assert [tensor.dtype for tensor in untrimmed[:3]] == [tf.float32, tf.float32, tf.int32]
    assert [tensor.dtype for tensor in foreground] == [tf.float32, tf.int32]
    assert [tensor.dtype for tensor in moments] == [tf.float32, tf.int32, tf.int32, tf.int32]
    assert [tensor.dtype for tensor in stream.batch] == [tf.int32, tf.float32, tf.float32]


def test_validation_has_every_video_once_in_order(tmp_path):
    target = {name: video(subset='validation', label=number % 2, seconds=10.0 + number)
              for number, name in enumerate('qwert')}
    config = make(tmp_path, target=target)
    batches, videos = of_validation(config)
    assert [len(batch.index) for batch in batches] == [2, 2, 1]
    assert np.concatenate([batch.index for batch in batches]).tolist() == [0, 1, 2, 3, 4]
    assert np.concatenate([batch.features[:, 511, 3] for batch in batches]).tolist() == [1, 2, 3, 4, 5]
    assert np.concatenate([batch.seconds for batch in batches]).tolist() == [10, 11, 12, 13, 14]
    assert [(found.name, found.label) for found in videos] == list(zip('qwert', [0, 1, 0, 1, 0]))


def test_validation_labels_may_be_unknown(tmp_path):
    config = make(tmp_path, target={name: video(subset='validation', label=1) for name in 'ab'})
    write(config.data.path('target_labels'), 'b 0 1\n')
    assert [found.label for found in of_validation(config)[1]] == [-1, 1]
    os.remove(config.data.path('target_labels'))
    assert [found.label for found in of_validation(config)[1]] == [-1, -1]


@pytest.mark.parametrize('rows', [1, 100, 511, 512, 513])
def test_untrimmed_features_of_other_rows_than_512_are_interpolated(tmp_path, rows):
    config = make(tmp_path, target={'v': video(subset='validation')})
    features = np.random.RandomState(0).rand(rows, WIDTH).astype(np.float32)
    np.save(os.path.join(config.data.path('target_features'), 'v.npy'), features)
    found = of_validation(config)[0][0].features[0]
    np.testing.assert_array_equal(found, features if rows == 512 else interpolate(features, 512, 32.0, 512))


def test_streams_read_one_file_with_many_threads(tmp_path):
    config = make(tmp_path, *many_videos(), batch_size=9)
    expected = of_training(config, 2)
    for side in FEATURES.values():
        for field in side:
            folder = config.data.path(field)
            with h5py.File(folder + '.h5', 'w') as file:
                for name in os.listdir(folder):
                    file[name[:-len('.npy')]] = np.load(os.path.join(folder, name))
            os.rename(folder, folder + '_before')
    for arrays, expected_arrays in zip(of_training(config, 2), expected):
        for array, expected_array in zip(arrays, expected_arrays):
            np.testing.assert_array_equal(array, expected_array)


# Errors out of tf.data's threads

@pytest.mark.parametrize('field, name, numbers, message', [
    ('source_features', 's.npy', None, 'no features of video s (looked for s.npy, s.npz, s.csv)'),
    ('source_features', 's.npy', np.ones((512, 5)), 'found 5 columns, expected 4 (--feature_width)'),
    ('source_clips', 's.npy', np.ones((63, WIDTH)), 'found 63 rows, expected 64, a row per clip'),
    ('target_clips', 't.npy', np.ones((65, WIDTH)), 'found 65 rows, expected 64, a row per clip'),
    ('target_clips', 't.npy', np.ones(64), 'found an array of shape (64,)')])
def test_training_session_raises_what_a_thread_met(tmp_path, field, name, numbers, message):
    config = make(tmp_path)
    path = os.path.join(config.data.path(field), name)
    os.remove(path)
    if numbers is not None:
        np.save(path, numbers)
    found = message_of(of_training, config, 1)
    assert found.startswith(config.data.path(field) if numbers is None else path) and message in found


def test_validation_session_raises_what_a_thread_met(tmp_path):
    config = make(tmp_path, target={name: video(subset='validation') for name in 'abc'})
    path = os.path.join(config.data.path('target_features'), 'c.npy')
    os.remove(path)
    write(path[:-len('npy')] + 'csv', 'a,b,c,d\n1,2,3,4\n5,6,7,eight\n')
    assert "c.csv: row 3, column 4: found 'eight'" in message_of(of_validation, config)


def test_other_session_errors_are_left_as_they_are(tmp_path):
    with tf.Graph().as_default():
        stream = training_stream(make(tmp_path))
    with pytest.raises(tf.errors.ResourceExhaustedError), reader_errors(stream):
        raise tf.errors.ResourceExhaustedError(None, None, 'no memory')



# Bad data

def test_tables_are_compared_although_some_rows_are_faulty(tmp_path):
    videos = {'t%d' % number: video((8, 24)) for number in range(3)}
    config = make(tmp_path, target=videos)
    (before, reason), path = data_loader.target_trained_on(config), config.data.path('target_annotation')
    assert reason is None and before['target']['videos'] == 3
    with open(path) as text:
        entries = json.load(text)
    entries['t0']['duration_second'] = 0
    write(path, json.dumps(entries))
    now, reason = data_loader.target_trained_on(config)
    assert reason is None and data_loader.trained_on.differences(before, now, config.data)[0].startswith(
        '3 target videos with other names (this run: 2; ')
    skipped = data_loader.training_tables(skipping(config, max_bad_videos=1, model_dir=str(tmp_path / 'm')))
    assert not data_loader.trained_on.differences(skipped.trained_on, now, config.data)


def test_tables_that_are_made_for_testing_have_no_videos_to_compare(tmp_path):
    config = make(tmp_path, target={'t': video((8, 24), subset='validation')})
    found, reason = data_loader.target_trained_on(config)
    assert set(found['target']) == {'class_names'} and 'no video of subset training' in reason


def skipping(config, **values):
    return settings.override(config, **dict({'bad_data': 'skip', 'max_bad_share': 0.02}, **values))


def listed(folder):
    with open(os.path.join(str(folder), 'bad_data.csv'), newline='', encoding='utf-8') as lines:
        return [tuple(row) for row in csv.reader(lines)]


def test_skipped_samples_are_replaced_alike_and_listed_once(tmp_path):
    source, target = many_videos()
    config = skipping(make(tmp_path, source, target, batch_size=6, model_dir=str(tmp_path / 'models')))
    whole = of_training(config, 5)
    assert not os.path.exists(str(tmp_path / 'models'))
    path = os.path.join(config.data.path('source_clips'), 's2.npy')
    np.save(path, np.full((64, WIDTH), np.nan, np.float32))
    os.remove(os.path.join(config.data.path('target_clips'), 't1.npy'))
    found = [of_training(settings.override(config, workers=workers), 5) for workers in (1, 8)]
    for array, other in zip(*[[array for kind in batch for array in kind] for batch in found]):
        np.testing.assert_array_equal(array, other)
    np.testing.assert_array_equal(found[0].untrimmed.features, whole.untrimmed.features)
    for kind, video_number in (('foreground', 3), ('moments', 2)):
        before, after = [cuts(getattr(batch, kind).features) for batch in (whole, found[0])]
        assert video_number in {cut[0] for cut in before} and video_number not in {cut[0] for cut in after}
        assert [cut for cut in before if cut[0] != video_number] == [
            new for cut, new in zip(before, after) if cut[0] != video_number]
    rows = listed(tmp_path / 'models')
    assert rows[0] == ('video', 'stream', 'reason') and sorted(row[:2] for row in rows[1:]) == [
        ('s2', 'foreground'), ('t1', 'moment')]
    assert [row for row in rows if path in row[2] and 'found nan in row 0' in row[2]]


def test_too_much_bad_data_stop_the_run(tmp_path):
    videos = {'s%d' % number: video((8, 24)) for number in range(5)}
    config = skipping(make(tmp_path, videos, model_dir=str(tmp_path / 'models'), workers=1))
    for number in (1, 2, 3):
        write(os.path.join(config.data.path('source_features'), 's%d.npy' % number), b'')
    message = message_of(of_training, config, 5)
    assert message.startswith('untrimmed: 2 of 5 videos cannot be used, expected at most 1: the larger of '
                              '--max_bad_videos 1 and --max_bad_share 0.02 of them; ')
    assert 'the last error: %s/s' % config.data.path('source_features') in message
    rows = listed(tmp_path / 'models')[1:]
    assert {row[1] for row in rows} == {'untrimmed'} and len(rows) in (2, 3)  # the loader reads ahead of the session
    for allowed in ({'max_bad_videos': 3}, {'max_bad_share': 0.6}):
        assert of_training(settings.override(config, **allowed), 5).untrimmed.labels.tolist() == [0] * 10
    for number in (0, 4):
        os.remove(os.path.join(config.data.path('source_features'), 's%d.npy' % number))
    assert 'untrimmed: none of 1000 samples can be read' in message_of(
        of_training, settings.override(config, max_bad_share=1.0), 1)
    for number in (1, 2, 3):
        os.remove(os.path.join(config.data.path('source_features'), 's%d.npy' % number))
    assert message_of(summary_of, config).startswith('untrimmed: 5 of 5 videos cannot be used')
    assert '(5 of 5 videos lack theirs; --missing drop runs without them)' in message_of(
        summary_of, settings.override(config, bad_data='stop'))


def test_the_list_of_bad_data_stays_where_a_run_is_resumed(tmp_path):
    folder = str(tmp_path / 'models')

    def fail():
        raise InputError('gone')

    def after(resumed, *names):
        bad = BadData(folder, True, max_videos=2, resumed=resumed)
        bad.expect('moment', 10)
        for name in names:
            assert bad.read('moment', name, fail) is None
        bad.table_error_handler('source_labels', [])(InputError('row 4'))
        return listed(folder)[1:]

    rows = [('a', 'moment', 'gone'), ('', 'source_labels', 'row 4')]
    assert after(False, 'a') == rows
    assert after(True, 'a', 'b, c') == after(True, 'b, c') == rows + [('b, c', 'moment', 'gone')]
    assert after(False, 'a') == rows
    for cut_short in ('a,moment,"cut sho', 'a,moment,cut sho', 'a,mom', 'a,mom\r\n'):
        write(os.path.join(folder, 'bad_data.csv'), 'video,stream,reason\n' + cut_short)
        assert after(True, 'a') == rows


def test_a_skipped_validation_video_has_index_minus_1(tmp_path):
    config = skipping(make(tmp_path, target={name: video(subset='validation') for name in 'abcde'},
                           results_dir=str(tmp_path / 'results')))
    write(os.path.join(config.data.path('target_features'), 'c.npy'), b'no array')
    batches, videos = of_validation(config)
    assert np.concatenate([batch.index for batch in batches]).tolist() == [0, 1, -1, 3, 4]
    assert [found.name for found in videos] == list('abcde')
    assert [row[:2] for row in listed(tmp_path / 'results')] == [('video', 'stream'), ('c', 'validation')]
    message = message_of(of_validation, settings.override(config, bad_data='stop'))
    assert message.startswith(os.path.join(config.data.path('target_features'), 'c.npy: not a numpy array'))
    assert os.path.exists(str(tmp_path / 'results' / 'bad_data.csv'))  # a run that has not started removes nothing


def test_faulty_table_rows_are_skipped(tmp_path):
    config = skipping(make(tmp_path, {'s%d' % number: video((8, 24)) for number in range(3)},
                           model_dir=str(tmp_path / 'models')))
    path = config.data.path('source_annotation')
    with open(path) as file:
        entries = json.load(file)
    entries['s1']['duration_second'] = None
    write(path, json.dumps(entries))
    assert 'source training: 2 videos' in summary_of(config)
    assert [row[:2] for row in listed(tmp_path / 'models')[1:]] == [('', 'source_annotation')]
    write(config.data.path('source_labels'), 's0 0 0\ns1 0 1\ns2 0 x\n')
    assert message_of(summary_of, settings.override(config, max_bad_share=0.01)).startswith(
        'tables of the source videos: 2 of 3 videos cannot be used, expected at most 1: ')
    assert 'source training: 1 video' in summary_of(settings.override(config, max_bad_share=0.7))


# The end

UNFINISHED = '''
import sys, time
import data_loader, data_sets, test_data_loader
from runtime.session import new_session
read = data_loader.FeatureStore.read

def slow(store, name, rows=None, cut=None):
    time.sleep(0.02)
    return read(store, name, rows, cut)

data_loader.FeatureStore.read = slow
config = data_sets.make(sys.argv[1], *test_data_loader.many_videos(), workers=8)
stream = data_loader.training_stream(config)
with new_session() as session, data_loader.reader_errors(stream):
    session.run(stream.initializer)
    for _ in range(3):
        session.run(stream.batch)
print('closed', flush=True)
'''


def test_a_process_ends_in_the_middle_of_a_stream(tmp_path):
    path = os.pathsep.join([ROOT, os.path.dirname(os.path.abspath(__file__))])
    process = subprocess.Popen([sys.executable, '-c', UNFINISHED, str(tmp_path)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=path))
    try:
        assert process.stdout.readline() == b'closed\n'
        assert process.wait(timeout=600) == 0
        assert b'Traceback' not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()


def test_features_whose_rows_are_not_those_of_their_row_times_are_refused(tmp_path):
    config = make(tmp_path)
    path = config.data.path('source_annotation')
    with open(path) as file:
        entries = json.load(file)
    entries['s'].update(rows=64, row_seconds=0.5)
    write(path, json.dumps(entries))
    assert 'found' not in summary_of(config)  # 512 rows are the whole video
    np.save(os.path.join(config.data.path('source_features'), 's.npy'), np.ones((100, WIDTH), np.float32))
    assert 'found 100 rows of video s, expected 64, as the annotation says, or 512' in message_of(summary_of, config)
