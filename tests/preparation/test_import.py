"""prepare_data.py import: shared cases with their right values, mixtures of forms, real annotation, refusals."""
import collections
import contextlib
import csv
import importlib.util
import io
import json
import os
import shutil

import h5py
import numpy as np
import pytest
from data_sets import ROOT, message_of, report_of

import prepare_data
from config import of_data_root
from data_loader import TRAINING_PATHS, check_paths
from dataset import data_root
from dataset.bad_data import BadData
from dataset.side import feature_store, read_side
from dataset.tables import read_class_names
from evaluation.results import read_ground_truth
from preparation import import_tables
from runtime.errors import InputError
from runtime.files import read_json

SHARED = os.path.join(ROOT, '..', 'shared')
REAL = os.path.join(SHARED, 'data')
TIMES = ('--stride', '16', '--fps', '15')
SECONDS = 16 / 15  # of a row


def imported(root, side, *flags):
    """Import a side; returns what is printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        prepare_data.main(['import', '--data_root', str(root), '--side', side] + list(map(str, flags)))
    return out.getvalue()


def refused(root, side, *flags):
    return message_of(imported, root, side, *flags)


def videos_of(root, side, subset='training'):
    """{name: Video} as training and testing read them."""
    found = read_side(of_data_root(str(root)), side, subset, BadData('', False), collections.Counter())
    return collections.OrderedDict((video.name, video) for video in found)


def settings_in(root):
    return data_root.read(str(root))['settings']


def store_of(root, field):
    return feature_store(of_data_root(str(root)), field)


def save(folder, **rows):
    """Write VIDEO.npy of these numbers of rows, or arrays."""
    os.makedirs(str(folder), exist_ok=True)
    for name, array in rows.items():
        np.save(os.path.join(str(folder), name + '.npy'),
                np.full((array, 3), array, np.float32) if isinstance(array, int) else array)
    return folder


def annotation(path, **videos):
    """Write ActivityNet's form of {video: (subset, seconds, segments…)}."""
    path.write_text(json.dumps({'database': {name: {'subset': subset, 'duration': seconds, 'annotations': [
        {'segment': list(segment[:2]), 'label': segment[2]} for segment in segments]}
        for name, (subset, seconds, *segments) in videos.items()}}))
    return path


@pytest.fixture
def source(tmp_path):
    """Flags of a small source: 20 and 30 rows of SECONDS, in a root that is not there yet."""
    features = save(tmp_path / 'feats', v_a=20, v_b=30, v_c=25)
    path = annotation(tmp_path / 'annotation.json', a=('train', 20 * SECONDS, (0, 10, 'run'), (12, 12, 'run')),
                      b=('train', 30 * SECONDS, (3, 15, 'jump')), c=('val', 25 * SECONDS, (3, 15, 'run')))
    return ('--annotation', path, '--features', features) + TIMES


# The shared cases

@pytest.fixture(scope='module')
def cases(tmp_path_factory):
    """(folder, expected values) of the shared cases."""
    path = os.path.join(SHARED, 'cases', 'make_cases.py')
    if not os.path.exists(path):
        pytest.skip('the shared cases are not there')
    specification = importlib.util.spec_from_file_location('make_cases', path)
    module, folder = importlib.util.module_from_spec(specification), tmp_path_factory.mktemp('cases')
    specification.loader.exec_module(module)
    module.make(str(folder))
    return folder, read_json(str(folder / 'expected.json'))


@pytest.mark.parametrize('case, stride, fps, features', [
    ('01_stride16_15fps', 16, 15, 'features'), ('02_stride4_window16_30fps', 4, 30, 'features'),
    ('03_stride8_window16_25fps', 8, 25, 'features'), ('04_channels_first', 16, 15, 'features'),
    ('05_extra_axis', 16, 15, 'features'), ('06_hdf5_groups', 16, 15, 'features.hdf5')])
def test_rows_spans_and_segments_of_the_shared_cases(cases, tmp_path, case, stride, fps, features):
    (folder, expected), root = cases, tmp_path / 'root'
    imported(root, 'source', '--annotation', folder / case / 'annotation.json', '--features',
             folder / case / features, '--stride', stride, '--window', 16, '--fps', fps)
    found = dict(videos_of(root, 'source'), **videos_of(root, 'source', 'validation'))
    assert set(found) == set(expected[case])
    for name, right in expected[case].items():
        video = found[name]
        assert video.clips == right['rows']
        assert [video.start, video.start + video.span] == pytest.approx(right['spans_seconds'], abs=1e-4)
        np.testing.assert_allclose(video.segments, right['segments_share_of_span'], atol=1e-4)
        assert store_of(root, 'source_features').read(video.features, video.clips).shape == (right['rows'], 12)
    assert settings_in(root)['source_layout'] == ('ct' if 'channels' in case else 'tc')
    assert read_class_names(str(root / 'source_classes.txt')) == sorted(
        ['Long Jump', 'High Jump', 'Pole Vault', 'Javelin, throw'])


def test_every_class_of_a_video_is_kept(cases, tmp_path):
    (folder, _), root = cases, tmp_path / 'root'
    case = folder / '07_several_classes'
    imported(root, 'target', '--annotation', case / 'annotation.json', '--features', case / 'features',
             '--stride', 16, '--fps', 30)
    for subset, count in (('training', 5), ('validation', 3)):
        labels = [label for video in videos_of(root, 'target', subset).values() for label in video.segment_labels]
        assert collections.Counter(labels) == {0: count, 1: count, 2: count}
    names = ['Billiards', 'Cliff Diving', 'Diving']
    assert read_class_names(str(root / 'target_classes.txt')) == names
    truth = read_json(str(root / 'ground_truth.json'))['database']
    assert collections.Counter(annotated['label'] for video in truth.values() for annotated in video['annotations']) \
        == dict.fromkeys(names, 3)
    assert read_ground_truth(str(root / 'ground_truth.json')).videos == list(truth)


@pytest.mark.parametrize('flags', [
    ('--annotation', 'list.csv', '--features', 'features'), ('--clips', 'by_class'),
    ('--annotation', 'list.csv', '--features', 'by_class')])
def test_each_trimmed_clip_is_one_moment_however_short(cases, tmp_path, flags):
    (folder, _), root = cases, tmp_path / 'root'
    flags = [flag if flag.startswith('--') else folder / '08_trimmed_clips' / flag for flag in flags]
    if flags[-1].name == 'by_class' and len(flags) == 4:  # files there lack the time ranges
        assert len({path.stem for path in flags[-1].glob('*/*.npy')}) == 18
    printed = imported(root, 'target', *flags, '--stride', 16, '--window', 32, '--fps', 15)
    videos = videos_of(root, 'target')
    assert len(videos) == 18 and {video.label for video in videos.values()} == {0, 1, 2}
    assert sorted(video.clips for video in videos.values()) == sorted(4 + i % 10 for i in range(18))
    assert all(video.segments.tolist() == [[0, 1]] for video in videos.values())
    assert settings_in(root)['moment_clips'] == 2 and '18 of 18 segments used as moments' in printed
    assert 'testing needs --untrimmed' in printed and 'target_features' not in settings_in(root)
    store = store_of(root, 'target_clips')
    assert all(len(store.read(video.features, video.clips)) == video.clips for video in videos.values())


def test_videos_without_annotation_are_searched(cases, tmp_path):
    (folder, expected), root = cases, tmp_path / 'root'
    imported(root, 'target', '--clips', folder / '08_trimmed_clips' / 'by_class', '--untrimmed',
             folder / '09_unlabelled' / 'features', *TIMES)
    videos = videos_of(root, 'target', 'validation')
    assert list(videos) == ['%03d holiday' % number for number in range(4)]
    assert [video.seconds for video in videos.values()] == pytest.approx(
        expected['09_unlabelled']['seconds_at_stride16_15fps'], abs=1e-4)
    assert not (root / 'ground_truth.json').exists() and 'ground_truth' not in settings_in(root)


def test_short_actions_of_a_long_video_get_windows(cases, tmp_path):
    (folder, expected), root = cases, tmp_path / 'root'
    flags = ['--annotation', folder / '14_long_video' / 'annotation.json', '--features',
             folder / '14_long_video' / 'features', '--stride', 4, '--window', 16, '--fps', 30]
    assert 'such as --subsets training=Validation' in refused(root, 'source', *flags)
    printed = imported(root, 'source', *flags, '--subsets', 'training=Validation')
    video, = videos_of(root, 'source').values()
    settings = settings_in(root)
    assert len(video.segments) == expected['14_long_video']['segments'] == settings['max_segments']
    window = settings['window_seconds']
    lengths = (video.segments[:, 1] - video.segments[:, 0]) * video.span
    assert (lengths * 512 / window >= 4).all() and window == int(window) and 'windows of %g s' % window in printed
    assert lengths.min() * 128 - 1 < window


# Mixtures of what people have

def test_lines_of_the_readme(source, tmp_path):
    root = tmp_path / 'root'
    printed = imported(root, 'source', *source)
    assert '3 of 3 videos (3 but for v_' in printed and '2 training' not in printed
    assert 'unusable segments: 1 without length' in printed
    config = of_data_root(str(root))
    assert (config.model.feature_width, config.model.source_classes) == (3, 2)
    assert (config.data.labels, config.data.exact_lengths) == ('segment', True)
    assert (config.data.foreground_clips, config.data.max_segments) == (8, 25)  # 8.53 s of 1.0667 s a row
    video = videos_of(root, 'source')['a']
    assert (video.clips, video.seconds, video.features, video.start) == (20, 20 * SECONDS, 'v_a', 0)
    np.testing.assert_allclose(video.segments, [[0, 10 / (20 * SECONDS)]])
    assert (root / 'source_labels.txt').read_text() == 'a\t1\t1\nb\t1\t0\nc\t1\t1\n'
    lines = report_of(config, 'source').lines
    assert all(line in printed for line in lines) and lines


def test_both_sides_in_one_root_and_one_again(source, tmp_path):
    root = tmp_path / 'root'
    imported(root, 'source', *source)
    clips = tmp_path / 'clips'
    save(clips / 'yoga', one=4, two=5, v_a=6)
    save(clips / 'tai chi', one=7)
    imported(root, 'target', '--clips', clips, '--untrimmed', tmp_path / 'feats', *TIMES)
    assert {name: video.features for name, video in videos_of(root, 'target').items()} == {
        'tai chi_one': 'tai chi/one', 'yoga_one': 'yoga/one', 'two': 'yoga/two', 'yoga_v_a': 'yoga/v_a'}
    before = settings_in(root)
    imported(root, 'source', *source[:-4], '--stride', 16, '--fps', 15)
    assert settings_in(root) == before
    assert before['target_clips'] == str(clips) and before['source_classes'] == before['target_classes'] == 2
    wide = save(tmp_path / 'wide', a=np.zeros((20, 4)), b=np.zeros((30, 4)), c=np.zeros((25, 4)))
    message = refused(root, 'source', *source[:2], '--features', wide, *TIMES)
    assert 'features have 4 columns, those of the target side have 3 (%s' % clips in message
    assert settings_in(root) == before


def test_features_inside_the_data_root_are_named_relative_to_it(source, tmp_path):
    root = tmp_path / 'root'
    shutil.move(str(tmp_path / 'feats'), str(root / 'feats'))
    imported(root, 'source', *source[:2], '--features', root / 'feats', *TIMES)
    assert settings_in(root)['source_features'] == settings_in(root)['source_clips'] == 'feats'
    moved = tmp_path / 'moved'
    shutil.move(str(root), str(moved))
    assert len(store_of(moved, 'source_features').read('v_a')) == 20


def test_videos_without_features_stay_and_are_counted(source, tmp_path):
    os.remove(str(tmp_path / 'feats' / 'v_b.npy'))
    save(tmp_path / 'feats', other=7)
    printed = imported(tmp_path / 'root', 'source', *source)
    assert 'without features: 1 video, such as b' in printed and 'features of no video: 1, such as other' in printed
    assert data_root.read(str(tmp_path / 'root'))['source']['without_features'] == {'videos': 1, 'names': ['b']}
    assert videos_of(tmp_path / 'root', 'source')['b'].clips == 30  # of its duration


def test_kinetics_moments_and_annotated_videos_to_be_searched(tmp_path):
    """The published transfer's form: clips by a list, and a text annotation of whole videos with class indices."""
    root = tmp_path / 'root'
    (tmp_path / 'list.csv').write_text('label,youtube_id,time_start,time_end,split\n'
                                       'tai chi,abc,5,15,train\ntai chi,abc,25,35,train\nyoga,v_x,0,10,train\n'
                                       'yoga,gone,0,10,val\n')
    (tmp_path / 'val.txt').write_text('u1\t2.5\t20\t1\nu1\t30\t31\t0\nu2\t1\t9\t0\n')
    (tmp_path / 'names.txt').write_text('Yoga\ntai_chi\n')
    clips = save(tmp_path / 'clips', abc_000005_000015=9, v_abc_000025_000035=9, x=3)
    whole = save(tmp_path / 'whole', u1=60, v_u2=50, unknown=9)
    printed = imported(root, 'target', '--annotation', tmp_path / 'list.csv', '--features', clips, '--untrimmed',
                       whole, '--untrimmed_annotation', tmp_path / 'val.txt', '--categories',
                       tmp_path / 'names.txt', *TIMES)
    assert 'left out: videos of other subsets than training, because --untrimmed' in printed
    moments = videos_of(root, 'target').values()
    assert [(video.name, video.features, video.label, video.clips) for video in moments] == [
        ('abc_000005_000015', 'abc_000005_000015', 1, 9), ('abc_000025_000035', 'v_abc_000025_000035', 1, 9),
        ('v_x_000000_000010', 'x', 0, 3)]
    assert [video.segment_labels.tolist() for video in videos_of(root, 'target', 'validation').values()] == [
        [1, 0], [0]]
    assert read_json(str(root / 'ground_truth.json'))['database'] == {
        'u1': {'subset': 'validation', 'duration': 60 * SECONDS, 'annotations': [
            {'segment': [2.5, 20.0], 'label': 'tai_chi'}, {'segment': [30.0, 31.0], 'label': 'Yoga'}]},
        'u2': {'subset': 'validation', 'duration': 50 * SECONDS, 'annotations': [
            {'segment': [1.0, 9.0], 'label': 'Yoga'}]}}
    assert settings_in(root)['target_features'] == str(whole) and settings_in(root)['target_clips'] == str(clips)
    folders = save(tmp_path / 'folders' / 'yoga', one=4).parent
    imported(root, 'target', '--clips', folders, '--untrimmed', whole, *TIMES)
    assert not (root / 'ground_truth.json').exists()  # that of the import before


def test_each_video_has_its_own_rate_and_a_table_has_texts(tmp_path):
    features = tmp_path / 'feats.h5'
    with h5py.File(str(features), 'w') as file:
        for name, rows in (('v_a', 100), ('v_b', 80)):
            file.create_dataset(name + '/i3d', data=np.zeros((1, 3, rows), np.float64))
            file[name + '/fps'] = 25.0
    with open(str(tmp_path / 'rows.csv'), 'w', newline='') as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([['video', 'start', 'end', 'label', 'subset', 'duration', 'fps'],
                          ['a', '1.0', '9', 'run, fast', 'Train', '16', '25'],
                          ['b', '2', '11.5', 'jump', 'Train', '10.8', '30']])
    printed = imported(tmp_path / 'root', 'source', '--annotation', tmp_path / 'rows.csv', '--features', features,
                       '--stride', 4, '--window', 16, '--key', 'i3d')
    found = videos_of(tmp_path / 'root', 'source')
    assert [video.times for video in found.values()] == [(4 / 25, 8 / 25), (4 / 30, 8 / 30)]
    assert settings_in(tmp_path / 'root')['source_layout'] == 'ct' and 'each has its own' in printed
    np.testing.assert_allclose(found['a'].segments, [[(1 - 0.24) / 16, (9 - 0.24) / 16]])
    assert store_of(tmp_path / 'root', 'source_features').read('v_b').shape == (80, 3)


def test_a_group_of_several_arrays_needs_a_key(tmp_path):
    with h5py.File(str(tmp_path / 'feats.h5'), 'w') as file:
        for name in 'ab':
            file['v_%s/i3d' % name] = np.zeros((20 + ord(name), 3))
            file['v_%s/other' % name] = np.zeros((1, 3))
    path = annotation(tmp_path / 'a.json', a=('train', 117 * SECONDS, (5, 25, 'run')))
    assert 'such as --key i3d' in refused(tmp_path / 'root', 'source', '--annotation', path, '--features',
                                          tmp_path / 'feats.h5', *TIMES)


@pytest.mark.parametrize('end, layout', [('npz', 'tc'), ('npz', 'ct'), ('csv', 'tc'), ('h5', 'ct')])
def test_other_files_of_features(tmp_path, end, layout):
    features = tmp_path / ('feats.h5' if end == 'h5' else 'feats')
    arrays = {name: np.arange(3.0 * rows).reshape(rows, 3) for name, rows in (('v_a', 20), ('v_b', 30))}
    os.makedirs(str(tmp_path / 'feats'))
    for name, array in arrays.items():
        path, stored = str(tmp_path / 'feats' / ('%s.%s' % (name, end))), array if layout == 'tc' else array.T
        if end == 'csv':
            np.savetxt(path, stored, delimiter=',', header='x,y,z', comments='')
        elif end == 'npz':
            np.savez(path, feats=stored[np.newaxis])
        else:
            with h5py.File(str(features), 'a') as file:
                file[name] = stored[..., np.newaxis]
    path = annotation(tmp_path / 'a.json', a=('train', 20 * SECONDS, (0, 10, 'run')),
                      b=('train', 30 * SECONDS, (1, 9, 'run')))
    imported(tmp_path / 'root', 'source', '--annotation', path, '--features', features, *TIMES)
    for name, video in videos_of(tmp_path / 'root', 'source').items():
        found = store_of(tmp_path / 'root', 'source_features').read(video.features, video.clips)
        np.testing.assert_array_equal(found, arrays['v_' + name])


def test_features_of_equal_length_are_rescaled(tmp_path):
    features = save(tmp_path / 'feats', a=np.zeros((100, 4)), b=np.zeros((100, 4)))
    path = annotation(tmp_path / 'a.json', a=('train', 50, (5, 25, 'run')), b=('train', 200, (100, 150, 'run')))
    flags = ('--annotation', path, '--features', features, '--rescaled')
    printed = imported(tmp_path / 'root', 'source', *flags)
    assert 'taken to have 4 columns; if the last axis is time, import again with --layout ct' in printed
    assert 'warning: all features' not in imported(tmp_path / 'root', 'source', *flags, '--layout', 'tc')
    found = videos_of(tmp_path / 'root', 'source')
    assert [(video.times.row_seconds, video.start, video.span) for video in found.values()] == [
        (0.5, 0, 50), (2, 0, 200)]
    np.testing.assert_allclose(found['b'].segments, [[0.5, 0.75]])


def test_testing_videos_stay_and_their_segments_are_ground_truth(tmp_path):
    features = save(tmp_path / 'feats', a=20, b=30, c=25)
    path = annotation(tmp_path / 'a.json', a=('train', 20 * SECONDS, (0, 10, 'run')),
                      b=('test', 30 * SECONDS, (1, 9, 'run'), (9, 4, 'run')), c=('test', 25 * SECONDS))
    imported(tmp_path / 'root', 'target', '--annotation', path, '--features', features, *TIMES)
    assert list(videos_of(tmp_path / 'root', 'target', 'testing')) == ['b', 'c']
    assert read_json(str(tmp_path / 'root' / 'ground_truth.json'))['database'] == {'b': {
        'subset': 'testing', 'duration': 30 * SECONDS, 'annotations': [{'segment': [1.0, 9.0], 'label': 'run'}]}}
    assert settings_in(tmp_path / 'root')['target_features'] == str(features)


def test_a_list_of_classes_gives_their_order_and_leaves_others_out(source, tmp_path):
    (tmp_path / 'names.txt').write_text('Run\n')
    printed = imported(tmp_path / 'root', 'source', *source, '--categories', tmp_path / 'names.txt')
    assert '1 segment left out, because %s has no such class' % (tmp_path / 'names.txt') in printed
    assert list(videos_of(tmp_path / 'root', 'source')) == ['a']
    (tmp_path / 'names.txt').write_text('swim\n')
    assert 'found none of the classes of the annotation' in refused(
        tmp_path / 'root', 'source', *source, '--categories', tmp_path / 'names.txt')


def test_windows_are_the_smaller_of_both_sides_and_go_with_their_side(tmp_path):
    root, features = tmp_path / 'root', save(tmp_path / 'feats', long=7500, other=6000)  # 8,000 and 6,400 s
    segments = [(100 * k, 100 * k + 10.05, 'run') for k in range(60)]

    def part(name, seconds, subset, found):
        path = annotation(tmp_path / (name + '.json'), **{name: (subset, seconds, *found)})
        return ('--annotation', path, '--features', features) + TIMES

    imported(root, 'source', *part('long', 8000, 'train', segments))
    assert settings_in(root)['window_seconds'] == 1286  # 128 times 10.05 s, rounded down
    imported(root, 'target', *part('other', 6400, 'val', [(5, 7.02, 'run'), (10, 40, 'run'), (50, 60, 'run')]),
             '--subsets', 'validation=val')
    assert settings_in(root)['window_seconds'] == 258
    imported(root, 'target', *part('other', 6400, 'val', [(5, 2000, 'run')]), '--subsets', 'validation=val')
    assert settings_in(root)['window_seconds'] == 1286
    imported(root, 'source', *part('long', 8000, 'train', [(5, 2000, 'run')]))
    assert 'window_seconds' not in settings_in(root)


# What is refused

def test_a_wrong_stride_is_named_with_what_would_fit(source, tmp_path):
    message = refused(tmp_path / 'root', 'source', *source[:-1], '30')
    assert '0.50' in message and 'a stride of 16 at 30 fps was given; a stride of 16 at 15 fps would fit' in message
    assert not (tmp_path / 'root').exists()


def test_clips_of_other_lengths_than_their_list_says_are_a_warning(tmp_path):
    (tmp_path / 'list.csv').write_text('label,youtube_id,time_start,time_end\nyoga,a,0,10\nyoga,b,0,10\n')
    features = save(tmp_path / 'feats', a_000000_000010=20, b_000000_000010=21)
    printed = imported(tmp_path / 'root', 'target', '--annotation', tmp_path / 'list.csv', '--features', features,
                       *TIMES)
    assert 'warning: trimmed clips: ' in printed and len(videos_of(tmp_path / 'root', 'target')) == 2


@pytest.mark.parametrize('side, flags, message', [
    ('source', ['--annotation', 'A', '--stride', 4], '--annotation and --features: found one of the two'),
    ('source', ['--clips', 'F', '--stride', 4], '--side source: found no annotated videos'),
    ('source', ['--stride', 4], 'found no data'),
    ('source', ['--annotation', 'A', '--features', 'F'], '--stride: expected'),
    ('source', ['--annotation', 'A', '--features', 'F', '--stride', 4, '--rescaled'], '--stride: expected'),
    ('source', ['--annotation', 'A', '--features', 'F', '--rescaled', '--fps', 4], '--rescaled: found --fps'),
    ('source', ['--annotation', 'A', '--features', 'F', '--stride', -4], '--stride -4.0: expected more than 0'),
    ('source', ['--annotation', 'A', '--features', 'F', '--stride', 4, '--fps', 'nan'], '--fps nan: expected more'),
    ('source', ['--annotation', 'A', '--features', 'F', '--stride', 16], 'found no frame rate of 3 of 3 videos'),
    ('source', ['--annotation', 'A', '--features', 'F', '--stride', 4, '--untrimmed', 'F'], '--untrimmed: is for'),
    ('target', ['--annotation', 'A', '--features', 'F', '--clips', 'F', '--stride', 4], '--clips: found'),
    ('target', ['--untrimmed', 'F', '--stride', 16], 'of 3 of 3 videos, such as v_a; give --fps'),
    ('target', ['--clips', 'F', '--stride', 16, '--fps', 15], 'found no folder with features'),
    ('target', ['--untrimmed', 'nowhere', '--stride', 4, '--fps', 15], 'nowhere: found no such folder'),
    ('target', ['--untrimmed', '', '--clips', 'F', '--stride', 4], 'found an empty path'),
    ('target', ['--untrimmed_annotation', 'A', '--clips', 'F', '--stride', 4], '--untrimmed_annotation: give the')])
def test_flags_that_do_not_fit_are_refused(source, tmp_path, side, flags, message):
    known = {'A': source[1], 'F': source[3]}
    assert message in refused(tmp_path / 'root', side, *[known.get(flag, flag) for flag in flags])
    assert not (tmp_path / 'root').exists()


def test_class_indices_need_class_names(tmp_path):
    (tmp_path / 'a.txt').write_text('a\t1\t5\t0\na\t6\t9\t2\n')
    flags = ('--annotation', tmp_path / 'a.txt', '--features', save(tmp_path / 'feats', a=20, b=30)) + TIMES
    assert 'found numbers as classes, such as 0; give their names' in refused(tmp_path / 'root', 'source', *flags)
    (tmp_path / 'names.txt').write_text('run\njump\n')
    assert 'found the class index 2, expected 0 to 1' in refused(
        tmp_path / 'root', 'source', *flags, '--categories', tmp_path / 'names.txt')


def test_files_that_no_import_made_are_replaced_only_with_force(source, tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'source_info.csv').write_text('mine')
    assert 'source_info.csv: found a file there that no import made' in refused(root, 'source', *source)
    assert (root / 'source_info.csv').read_text() == 'mine' and not (root / 'data.json').exists()
    imported(root, 'source', *source, '--force')
    imported(root, 'source', *source)


def test_inputs_are_not_overwritten(source, tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    shutil.copy(str(source[1]), str(root / 'source_annotation.json'))
    assert 'would overwrite' in refused(root, 'source', '--annotation', root / 'source_annotation.json', *source[2:])
    assert 'would be taken for features' in refused(tmp_path / 'feats', 'source', *source)
    assert 'would be taken for features' in refused(tmp_path / 'feats' / 'below', 'source', *source)


def test_an_import_that_is_killed_says_so_and_is_repeated(source, tmp_path, monkeypatch):
    root = tmp_path / 'root'
    imported(root, 'source', *source)

    def full_disk(path, text):
        raise InputError('%s: disk full' % path)

    monkeypatch.setattr(import_tables, 'write_text', lambda path, text: full_disk(path, text) if str(root) in path
                        else open(path, 'w').write(text))
    assert 'disk full' in refused(root, 'source', *source)
    assert data_root.read(str(root))['source'] == {'unfinished': True} and 'source_info' not in settings_in(root)
    monkeypatch.undo()
    imported(root, 'source', *source)
    assert settings_in(root)['source_info'] == 'source_info.csv'


def test_features_of_other_widths_are_named(source, tmp_path):
    save(tmp_path / 'feats', v_b=np.zeros((30, 5)))
    assert 'found 1 of 3 features with another width than 3 (layout tc): v_b [30, 5]' in refused(
        tmp_path / 'root', 'source', *source)


# Real annotation, with features made up to the real lengths

@pytest.fixture
def real():
    if not os.path.isdir(REAL):
        pytest.skip('the real annotation is not there')
    return REAL


def test_thumos14(real, tmp_path):
    rows = {name: found['feature_length'] for name, found in read_json(
        os.path.join(real, 'thumos14_i3d_rows.json')).items()}
    with h5py.File(str(tmp_path / 'i3d.hdf5'), 'w') as file:
        for name, count in rows.items():
            file['v_' + name] = np.zeros((2, count), np.float16)
    flags = ('--annotation', os.path.join(real, 'thumos14.json'), '--features', tmp_path / 'i3d.hdf5', '--stride', 4,
             '--window', 16)
    assert '--subsets training=Validation,validation=Test' in refused(tmp_path / 'root', 'target', *flags)
    printed = imported(tmp_path / 'root', 'target', *flags, '--subsets', 'training=Validation,validation=Test')
    assert 'cover more or less' not in printed  # each video has its own frame rate
    training, validation = [videos_of(tmp_path / 'root', 'target', subset) for subset in ('training', 'validation')]
    assert (len(training), len(validation)) == (200, 212)
    assert sum(len(video.segments) for video in training.values()) == 3003
    assert {name: video.clips for name, video in dict(training, **validation).items()} == {
        name: rows[name] for name in list(training) + list(validation)}
    labels = {label for video in training.values() for label in video.segment_labels}
    assert labels == set(range(20)) and settings_in(tmp_path / 'root')['target_classes'] == 20
    truth = read_json(str(tmp_path / 'root' / 'ground_truth.json'))['database']
    there = read_json(os.path.join(real, 'thumos14.json'))['database']
    assert sum(len(video['annotations']) for video in truth.values()) == sum(
        len(video['annotations']) for video in there.values() if video['subset'] == 'Test')
    assert settings_in(tmp_path / 'root')['moment_clips'] == 16  # 2.13 s of 4 frames at 30 per second


def test_bmns_annotation_of_activitynet(real, tmp_path):
    """Every tenth video, and the training videos without a segment that has a length."""
    entries = read_json(os.path.join(real, 'anet_anno_action.json'))
    with open(os.path.join(real, 'video_info_new.csv')) as file:
        lines = file.readlines()
    subsets = {line.split(',')[0]: line.split(',')[5] for line in lines}
    empty = {name for name, entry in entries.items() if subsets[name] == 'training' and all(
        annotated['segment'][0] >= annotated['segment'][1] for annotated in entry['annotations'])}
    chosen = {name: entry for number, (name, entry) in enumerate(entries.items()) if not number % 10 or name in empty}
    (tmp_path / 'anno.json').write_text(json.dumps(chosen))
    (tmp_path / 'info.csv').write_text(lines[0] + ''.join(line for line in lines if line.split(',')[0] in chosen))
    made = list(chosen)[::50]
    save(tmp_path / 'feats', **{name[2:]: np.zeros((chosen[name]['duration_frame'] // 16, 2)) for name in made})
    printed = imported(tmp_path / 'root', 'source', '--annotation', tmp_path / 'info.csv', tmp_path / 'anno.json',
                       '--features', tmp_path / 'feats', '--stride', 16)
    assert '{} of {:,} videos ({} but for v_'.format(len(made), len(chosen), len(made)) in printed
    assert 'left out: training videos without a usable segment: %d' % len(empty) in printed
    record = data_root.read(str(tmp_path / 'root'))['source']
    counts = collections.Counter(subsets[name] for name in chosen)
    assert record['videos'] == dict(counts, training=counts['training'] - len(empty)) and record['classes'] == 200


def test_the_authors_annotation_of_kinetics(real, tmp_path):
    made = ['bd6eUL9prjI', 'CBL6uetTPHg']
    features = save(tmp_path / 'feats', **{made[0]: 120, made[1]: 30})
    root, clips = tmp_path / 'root', save(tmp_path / 'clips' / 'acting in play', one=9)
    imported(root, 'target', '--clips', clips.parent, '--untrimmed', features, '--untrimmed_annotation',
             os.path.join(real, 'k600_val_annotation.txt'), '--categories', os.path.join(real, 'k600_category.txt'),
             *TIMES)
    assert [video.label for video in videos_of(root, 'target').values()] == [1]
    found = videos_of(root, 'target', 'validation')
    assert len(found) == 6461 and (found[made[0]].clips, found[made[1]].clips) == (120, 30)
    truth = read_json(str(root / 'ground_truth.json'))['database']
    assert sum(len(video['annotations']) for video in truth.values()) == 9638
    assert truth[made[0]]['annotations'][0] == {'segment': [48.91, 109.17], 'label': 'abseiling'}


def test_what_a_data_root_with_one_side_lacks_is_named(tmp_path, capsys):
    root = tmp_path / 'root'
    save(tmp_path / 'clips' / 'yoga', a=9, b=9)
    printed = imported(root, 'target', '--clips', tmp_path / 'clips', '--stride', 16, '--fps', 15)
    assert 'warning: all features have the same shape' in printed and 'taken to have 3 columns' in printed
    advice = '%s has no source side yet; import it: python3 prepare_data.py import --side source' % (
        root / 'data.json')
    assert advice in message_of(check_paths, of_data_root(str(root)).data, TRAINING_PATHS)
    with pytest.raises(InputError, match='found 1 defect of 1 kind, listed above; correct them$'):
        prepare_data.main(['check', '--data_root', str(root)])
    assert advice in capsys.readouterr().out


# Names and times that people write

@pytest.mark.parametrize('header', [
    'video,type,type_idx,start,end', 'youtube_id,start,end,label', 'video_name,start(s),end(sec),action_name',
    'id,t-init,t-end,labels', 'video,xmin,xmax,label', 'vid,begin,finish,action'])
def test_columns_of_segments(tmp_path, header):
    texts, times = {'type': 'run', 'label': 'run', 'action_name': 'run', 'labels': 'run', 'action': 'run',
                    'type_idx': '7'}, iter(['8', '16'])
    row = ['a'] + [texts.get(name) or next(times) for name in header.split(',')[1:]]
    (tmp_path / 'a.csv').write_text('%s\n%s\n' % (header, ','.join(row)))
    printed = imported(tmp_path / 'root', 'source', '--annotation', tmp_path / 'a.csv', '--features',
                       save(tmp_path / 'feats', a=40, b=41), '--stride', 8, '--fps', 8, '--layout', 'tc')
    assert 'a table with a segment a row' in printed
    video, = videos_of(tmp_path / 'root', 'source').values()
    assert (video.segments * 40).tolist() == [[8, 16]]
    assert read_class_names(of_data_root(str(tmp_path / 'root')).data.path('source_categories')) == ['run']


def test_columns_that_look_like_times_are_not_ignored(tmp_path):
    (tmp_path / 'a.csv').write_text('video,low,high,label\na,3,5,run\nb,4,6,run\n')
    save(tmp_path / 'feats', a=40, b=41)
    flags = ('--annotation', tmp_path / 'a.csv', '--features', tmp_path / 'feats', '--stride', 8, '--fps', 8)
    assert 'found the column low and high, expected columns start and end, in seconds' in refused(
        tmp_path / 'root', 'target', *flags)
    (tmp_path / 'a.csv').write_text('video,start(frames),end(frames),label\na,3,5,run\n')
    assert 'found the column start(frames), expected columns start and end' in refused(
        tmp_path / 'root', 'target', *flags)


def test_a_kinetics_list_without_a_header_row(tmp_path):
    (tmp_path / 'a.csv').write_text('"jumping, far",a-b,10,20,train\nyoga,c,3,13,val\n')
    printed = imported(tmp_path / 'root', 'target', '--annotation', tmp_path / 'a.csv', '--features', save(
        tmp_path / 'feats', **{'a-b_000010_000020': 10, 'c_000003_000013': 11}), '--stride', 8, '--fps', 8)
    assert 'a Kinetics list' in printed
    assert list(videos_of(tmp_path / 'root', 'target')) == ['a-b_000010_000020']
    assert list(videos_of(tmp_path / 'root', 'target', 'validation')) == ['c_000003_000013']


def test_clips_of_the_same_second_stay_two(tmp_path):
    (tmp_path / 'a.csv').write_text('youtube_id,time_start,time_end,label,split\na,1.25,3.25,run,train\n'
                                    'a,1.75,3.75,run,train\nb,2.5,4.5,run,train\n')
    save(tmp_path / 'feats', **{'a_1.25_3.25': 8, 'a_1.75_3.75': 9, 'b_000002_000004': 10})
    imported(tmp_path / 'root', 'target', '--annotation', tmp_path / 'a.csv', '--features', tmp_path / 'feats',
             '--stride', 2, '--fps', 8)
    assert {name: (video.file, video.clips) for name, video in videos_of(tmp_path / 'root', 'target').items()} == {
        'a_000001.25_000003.25': ('a_1.25_3.25', 8), 'a_000001.75_000003.75': ('a_1.75_3.75', 9),
        'b_000002.50_000004.50': ('b_000002_000004', 10)}


def annotated_videos(path, *labels, **more):
    """Write an annotation in ActivityNet's form: video vN of 40 s with one segment of each label."""
    annotations = [{'segment': [8.0 * place, 8.0 * place + 4], 'label': label} for place, label in enumerate(labels)]
    entry = dict({'subset': 'training', 'duration': 40.0, 'annotations': annotations}, **more)
    path.write_text(json.dumps({'database': {'v%d' % number: entry for number in range(3)}}))
    return path


def test_one_class_in_several_spellings(tmp_path):
    path = annotated_videos(tmp_path / 'a.json', 'Long Jump', 'long_jump', 'Long Jump', 'Dive')
    printed = imported(tmp_path / 'root', 'source', '--annotation', path, '--features', save(
        tmp_path / 'feats', v0=40, v1=40, v2=40), '--stride', 8, '--fps', 8)
    assert 'warning: class Long Jump is also written long_jump; all are taken for one class' in printed
    names = read_class_names(of_data_root(str(tmp_path / 'root')).data.path('source_categories'))
    assert names == ['Dive', 'Long Jump']
    assert videos_of(tmp_path / 'root', 'source')['v0'].segment_labels.tolist() == [1, 1, 1, 0]


def test_a_label_can_be_left_out(tmp_path):
    path = annotated_videos(tmp_path / 'a.json', 'Diving', 'Ambiguous')
    flags = ('--annotation', path, '--features', save(tmp_path / 'feats', v0=40, v1=40, v2=40), '--stride', 8,
             '--fps', 8)
    assert 'warning: class Ambiguous: in THUMOS14 it marks doubtful actions' in imported(
        tmp_path / 'root', 'source', *flags)
    printed = imported(tmp_path / 'root', 'source', *flags, '--ignore_label', 'ambiguous')
    assert 'left out: segments of --ignore_label: 3' in printed and 'warning: class' not in printed
    assert [len(video.segments) for video in videos_of(tmp_path / 'root', 'source').values()] == [1, 1, 1]
    assert '--ignore_label x: found no segment of this class' in refused(
        tmp_path / 'root', 'source', *flags, '--ignore_label', 'x')


def test_actions_after_the_end_of_features_without_a_known_duration(tmp_path):
    path = annotated_videos(tmp_path / 'a.json', *'abcde', duration=None)  # the last action ends at 36 s
    flags = ('--annotation', path, '--features', save(tmp_path / 'feats', v0=18, v1=18, v2=36), '--fps', 8)
    message = refused(tmp_path / 'root', 'source', *flags, '--stride', 8)
    assert 'actions end after the features do in 2 of 3 videos: v0 (36.0 s, features 20.0 s), v1' in message
    assert 'a stride of 8 at 8 fps was given' in message
    save(tmp_path / 'feats', v1=36)
    printed = imported(tmp_path / 'root', 'source', *flags, '--stride', 8)
    assert 'in 1 of 3 videos: v0 (36.0 s, features 20.0 s); extract these features again' in printed


def test_a_data_root_for_testing_alone_has_no_defect(tmp_path, capsys):
    imported(tmp_path / 'root', 'target', '--untrimmed', save(tmp_path / 'videos', a=20, b=30), '--stride', 16,
             '--fps', 15)
    prepare_data.main(['check', '--data_root', str(tmp_path / 'root')])
    printed = capsys.readouterr().out
    assert 'for testing alone: %s' % (tmp_path / 'root' / 'data.json') in printed and 'no defects found' in printed
    assert 'target validation: 2 videos, 0 segments' in printed


@pytest.mark.parametrize('rows, window', [(1000, None), (10000, 1280.0)])
def test_long_videos_to_be_searched_get_windows_by_the_length_of_moments(tmp_path, rows, window):
    """A moment of 10 s is 5.1 of the 512 rows of 1,000 s, but 0.5 of those of 10,000 s; 4 rows are an anchor."""
    root = tmp_path / 'root'
    printed = imported(root, 'target', '--clips', save(tmp_path / 'clips' / 'run', a=10, b=10).parent, '--untrimmed',
                       save(tmp_path / 'videos', u=rows, v=rows + 1), '--stride', 8, '--fps', 8)
    assert settings_in(root).get('window_seconds') == window
    assert ('windows of 1280 s' in printed) == bool(window)
