"""features.py: arrays of both layouts and any axes, keys, groups, folders, parts of a video, shapes and names."""
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from data_sets import NUMBERS, ROOT, WIDTH, message_of, write, write_features

from dataset.features import FeatureStore, names_in

ENDS = ('.npy', '.npz', '.h5')
ROW = np.float32([[1, 2, 3, 4]])  # the features of a video of one row


def store_of(path, end, width=WIDTH, **arguments):
    """The store in `path`, a folder, of the feature files with this end or of v.h5."""
    return FeatureStore(str(path / 'v.h5' if end == '.h5' else path), width, **arguments)


# Axes

@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('layout, added', [
    ('tc', ()), ('tc', (0,)), ('tc', (1,)), ('tc', (2,)), ('tc', (2, 3)), ('tc', (0, 1, 4)),
    ('ct', ()), ('ct', (0,)), ('ct', (1,)), ('ct', (2,)), ('ct', (2, 3)), ('ct', (0, 3))])
@pytest.mark.parametrize('numbers', [NUMBERS, ROW, np.asfortranarray(NUMBERS), NUMBERS.astype('>f8')],
                         ids=['three rows', 'one row', 'fortran', 'float64'])
def test_axes_of_length_1_count_for_nothing(tmp_path, end, layout, added, numbers):
    stored = numbers if layout == 'tc' else numbers.T
    for axis in added:
        stored = np.expand_dims(stored, axis)
    write_features(str(tmp_path / ('v' + end)), stored)
    store = store_of(tmp_path, end, layout=layout)
    found = store.read('v', rows=len(numbers))
    assert found.dtype == np.float32 and store.shape('v') == numbers.shape
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize('layout', ['tc', 'ct'])
@pytest.mark.parametrize('shape', [(1, 1, WIDTH), (1, WIDTH, 1), (WIDTH, 1, 1)])
def test_one_long_axis_of_three_is_one_row(tmp_path, layout, shape):
    np.save(str(tmp_path / 'v.npy'), ROW.reshape(shape))
    assert FeatureStore(str(tmp_path), WIDTH, layout=layout).read('v').tolist() == ROW.tolist()


def test_of_two_axes_none_is_left_out(tmp_path):
    np.save(str(tmp_path / 'v.npy'), ROW.T)  # four rows of one column
    assert FeatureStore(str(tmp_path), 1).read('v').tolist() == [[1], [2], [3], [4]]
    assert FeatureStore(str(tmp_path), 1).shape('v') == (4, 1)
    assert FeatureStore(str(tmp_path), WIDTH, layout='ct').read('v').tolist() == ROW.tolist()


def test_a_csv_may_hold_a_column_for_each_time(tmp_path):
    write(str(tmp_path / 'v.csv'), 'a,b,c\n1,5,9\n2,6,10\n3,7,11\n4,8,12\n')
    store = FeatureStore(str(tmp_path), WIDTH, layout='ct')
    assert store.shape('v') == (3, 4)
    assert store.read('v').tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert store.read('v', cut=(1, 2)).tolist() == [[5, 6, 7, 8]]


@pytest.mark.parametrize('shape', [(WIDTH,), (1,), (2, 2, 3), (2, 1, 3, 2), ()])
@pytest.mark.parametrize('end', ENDS)
def test_other_axes_are_refused(tmp_path, end, shape):
    write_features(str(tmp_path / ('v' + end)), np.ones(shape, np.float32))
    store = store_of(tmp_path, end)
    for call, expected in ((store.read, 'expected rows of 4 numbers: two axes'),
                           (store.shape, 'expected rows of numbers: two axes')):
        message = message_of(call, 'v')
        assert 'found an array of shape %s and type float32, %s' % (shape, expected) in message


@pytest.mark.parametrize('end', ENDS)
def test_columns_in_the_other_axis_are_named(tmp_path, end):
    write_features(str(tmp_path / ('v' + end)), NUMBERS.T)
    with store_of(tmp_path, end) as store:
        message = message_of(store.read, 'v')
    assert 'found 3 columns, expected 4 (--feature_width); the columns lie in the first axis' in message
    assert 'axis: give --layout ct to `prepare_data.py import`, or --set source_layout=ct' in message
    write_features(str(tmp_path / ('v' + end)), NUMBERS)
    message = message_of(store_of(tmp_path, end, layout='ct').read, 'v')
    assert 'the columns lie in the last axis: give --layout tc' in message
    assert '--layout' not in message_of(store_of(tmp_path, end, width=5).read, 'v')


def test_a_video_of_too_many_rows_can_be_divided(tmp_path):
    np.save(str(tmp_path / 'v.npy'), np.zeros(((1 << 17) + 1, 1), np.float32))
    for call in (FeatureStore(str(tmp_path), 1).read, FeatureStore(str(tmp_path), 1).shape):
        message = message_of(call, 'v')
        assert 'found 131073 rows, expected 1 to 131072' in message and 'divide a longer one into two' in message


def test_a_wrong_number_of_rows_names_both_keys_of_the_annotation(tmp_path):
    np.save(str(tmp_path / 'v.npy'), NUMBERS)
    message = message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v', 5)
    assert 'found 3 rows, expected 5' in message and '`rows`' in message and 'feature_frame' in message


# Keys and groups

def test_a_key_chooses_an_array_of_an_npz(tmp_path):
    np.savez(str(tmp_path / 'v.npz'), rgb=NUMBERS, flow=NUMBERS + 1)
    assert FeatureStore(str(tmp_path), WIDTH, key='flow').read('v')[0, 0] == NUMBERS[0, 0] + 1
    assert FeatureStore(str(tmp_path), WIDTH, key='rgb').shape('v') == (3, 4)
    for key, expected in (('', 'expected one;'), ('audio', 'expected one of the name audio;')):
        for call in ('read', 'shape'):
            message = message_of(getattr(FeatureStore(str(tmp_path), WIDTH, key=key), call), 'v')
            assert 'v.npz: found 2 arrays (rgb, flow), %s name the one to read: --key NAME' % expected in message


@pytest.fixture
def groups(tmp_path):
    """Path of an HDF5 file: a dataset a video, a group a video, and groups with several members or with links."""
    path = str(tmp_path / 'clips.h5')
    with h5py.File(path, 'w') as file:
        file['plain'] = NUMBERS
        file['one/c3d'] = NUMBERS + 1
        file['two/c3d'], file['two/i3d'] = NUMBERS + 2, NUMBERS + 3
        file['deep/a/c3d'] = NUMBERS + 4
        file['to_soft/c3d'] = h5py.SoftLink('/plain')
        file['to_other/c3d'] = h5py.ExternalLink('other.h5', '/v')
        file['soft'] = h5py.SoftLink('/one')
        file.create_group('empty')
    return path


def test_the_dataset_of_a_group(groups):
    store = FeatureStore(groups, WIDTH)
    np.testing.assert_array_equal(store.read('plain', 3), NUMBERS)
    np.testing.assert_array_equal(store.read('one', 3), NUMBERS + 1)
    np.testing.assert_array_equal(store.read('two/i3d', 3), NUMBERS + 3)
    np.testing.assert_array_equal(store.read('deep/a', 3), NUMBERS + 4)
    assert store.shape('one') == store.shape('deep/a') == (3, 4)
    keyed = FeatureStore(groups, WIDTH, key='i3d')
    np.testing.assert_array_equal(keyed.read('two'), NUMBERS + 3)
    np.testing.assert_array_equal(keyed.read('plain'), NUMBERS)
    np.testing.assert_array_equal(FeatureStore(groups, WIDTH, key='a/c3d').read('deep'), NUMBERS + 4)


@pytest.mark.parametrize('name, key, message', [
    ('two', '', 'dataset two: found a group of 2 members (c3d, i3d), expected one dataset in it; name the one'),
    ('one', 'i3d', 'dataset one: found a group (c3d), expected a dataset i3d in it; name the one'),
    ('deep', '', 'dataset deep: found a group (a), expected a dataset a in it'),
    ('one', 'c3d/x', 'dataset one: found a group (c3d), expected a dataset c3d/x in it'),
    ('one', '/plain', 'dataset one: found a group (c3d), expected a dataset /plain in it'),
    ('to_soft', '', 'dataset to_soft: found a link, which may lead to another file'),
    ('to_other', 'c3d', 'dataset to_other: found a link, which may lead to another file'),
    ('to_other/c3d', '', 'dataset to_other/c3d: found a link'),
    ('soft', '', 'dataset soft: found a link'),
    ('soft/c3d', '', 'dataset soft/c3d: found a link'),
    ('empty', '', 'has no dataset empty'),
    ('absent', '', 'has no dataset absent'),
    ('plain/c3d', '', 'has no dataset plain/c3d')])
def test_other_groups_are_refused(groups, name, key, message):
    store = FeatureStore(groups, WIDTH, key=key)
    for call in (store.read, store.shape):
        assert message_of(call, name).startswith('%s: %s' % (groups, message))


def test_a_survey_of_groups(groups):
    store = FeatureStore(groups, WIDTH)
    names = ['plain', 'one', 'two/c3d', 'two/x', 'soft/c3d', 'absent/c3d', 'plain/c3d', 'absent']
    missing = names[3:]
    assert store.survey(names).missing == missing
    for name in names:
        if name in missing:
            assert message_of(store.stored_in, name) == '%s: has no dataset %s' % (groups, name)
        else:
            assert store.stored_in(name) == groups


# Folders

@pytest.mark.parametrize('end', ['.npy', '.npz', '.csv'])
def test_a_folder_below(tmp_path, end):
    folder = tmp_path / 'clips'
    (folder / 'tai chi').mkdir(parents=True)
    write_features(str(folder / 'tai chi' / ('v' + end)), NUMBERS)
    write_features(str(folder / ('v' + end)), NUMBERS + 1)
    store = FeatureStore(str(folder), WIDTH)
    np.testing.assert_array_equal(store.read('tai chi/v', 3), NUMBERS)
    assert store.stored_in('tai chi/v') == str(folder / 'tai chi' / ('v' + end))
    assert store.survey(['tai chi/v', 'v', 'yoga/v', 'tai chi/w', '../clips/v']) == (
        ['yoga/v', 'tai chi/w', '../clips/v'], '%s, folder, 2 of 5 videos: 2 %s' % (folder, end[1:]), [])
    assert message_of(store.read, 'tai chi/w') == (
        '%s: no features of video tai chi/w (looked for tai chi/w.npy, tai chi/w.npz, tai chi/w.csv)' % folder)


def test_a_newer_file_in_a_folder_below_is_named(tmp_path):
    (tmp_path / 'clips' / 'yoga').mkdir(parents=True)
    for name, seconds in (('v.npy', 1e9), ('v.csv', 2e9)):
        path = str(tmp_path / 'clips' / 'yoga' / name)
        write_features(path, NUMBERS)
        os.utime(path, (seconds, seconds))
    folder = str(tmp_path / 'clips')
    assert FeatureStore(folder, WIDTH).survey(['yoga/v']).warnings == [
        '%s/yoga/v.csv is newer than %s/yoga/v.npy, which is read in its place (1 such files); convert the features '
        'again, or move away what is older' % (folder, folder)]
    with h5py.File(folder + '.h5', 'w') as file:
        file['yoga/v'] = NUMBERS
    os.utime(folder + '.h5', (15e8, 15e8))
    assert len(FeatureStore(folder, WIDTH).survey(['yoga/v']).warnings) == 1


def test_the_record_of_a_conversion_counts_in_a_folder_below(tmp_path):
    (tmp_path / 'yoga').mkdir()
    paths = [str(tmp_path / 'yoga' / name) for name in ('v.csv', 'v.npy')]
    for path in paths:
        write_features(path, NUMBERS)
    os.utime(paths[1], (1e9, 1e9))  # older than the CSV file that it was made of, as after a copy
    npy, csv = [os.stat(path) for path in paths[::-1]]
    write(str(tmp_path / 'conversion_record.jsonl'), json.dumps({
        'video': 'yoga/v', 'npy': [npy.st_size, npy.st_mtime_ns],
        'made_of': {'form': '.csv', 'size': csv.st_size, 'mtime_ns': csv.st_mtime_ns}}))
    assert FeatureStore(str(tmp_path), WIDTH).survey(['yoga/v']).warnings == []
    write(paths[0], 'a,b,c,d\n1,2,3,4\n')
    warnings = FeatureStore(str(tmp_path), WIDTH).survey(['yoga/v']).warnings
    assert len(warnings) == 1 and '%s has changed since %s' % tuple(paths) in warnings[0]


# Part of a video

LONG = np.random.RandomState(0).randn(60, WIDTH).astype(np.float32)


def make_long(path, end, layout):
    """The features LONG at `path`, with an axis more, in the form of `end`: also .F.npy, .chunked.h5, group.h5."""
    stored = (LONG if layout == 'tc' else LONG.T)[np.newaxis]
    if end == '.csv':
        np.savetxt(str(path / 'v.csv'), stored[0], '%.9g', ',', header='a', comments='')
    elif end == '.F.npy':
        np.save(str(path / 'v.npy'), np.asfortranarray(stored))
    elif end == '.npy':
        np.save(str(path / 'v.npy'), np.ascontiguousarray(stored))
    elif end == '.npz':
        np.savez(str(path / 'v.npz'), stored)
    else:
        with h5py.File(str(path / 'v.h5'), 'w') as file:
            file.create_dataset('v/x' if end == 'group.h5' else 'v', data=stored, chunks=(
                None if end == '.h5' else (1, 16, WIDTH) if layout == 'tc' else (1, WIDTH, 16)),
                compression=None if end == '.h5' else 'gzip')


@pytest.mark.parametrize('layout', ['tc', 'ct'])
@pytest.mark.parametrize('end', ['.npy', '.F.npy', '.npz', '.csv', '.h5', '.chunked.h5', 'group.h5'])
def test_a_cut_is_that_part_of_all_rows(tmp_path, end, layout):
    make_long(tmp_path, end, layout)
    store = store_of(tmp_path, end[-3:], layout=layout)
    np.testing.assert_array_equal(store.read('v', 60), LONG)
    for cut in ((0, 60), (0, 1), (59, 60), (10, 37), (16, 32)):
        found = store.read('v', 60, cut)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, LONG[slice(*cut)])
    for cut in ((50, 61), (60, 70), (-1, 5), (5, 5)):
        message = message_of(store.read, 'v', None, cut)
        assert 'found 60 rows, expected rows %d to %d (from 0) among them' % (cut[0], cut[1] - 1) in message
    assert 'found 60 rows, expected 59' in message_of(store.read, 'v', 59, (0, 5))


@pytest.mark.parametrize('make', [
    lambda folder, x: np.save(str(folder / 'v.npy'), x), lambda folder, x: np.save(str(folder / 'v.npy'), x.T),
    lambda folder, x: h5py.File(str(folder / 'v.h5'), 'w').create_dataset('v', data=x).file.close(),
    lambda folder, x: h5py.File(str(folder / 'v.h5'), 'w').create_dataset('v', data=x.T).file.close()],
    ids=['npy', 'npy of columns one after the other', 'HDF5', 'HDF5 of columns'])
def test_a_cut_reads_only_its_rows(tmp_path, make):
    rows, width = 100000, 16
    numbers = np.ones((rows, width), np.float32)
    numbers[50003, 2] = np.nan
    make(tmp_path, numbers)
    end = '.h5' if (tmp_path / 'v.h5').exists() else '.npy'
    layout = 'tc' if store_of(tmp_path, end).shape('v') == (rows, width) else 'ct'
    with store_of(tmp_path, end, width, layout=layout) as store:
        tracemalloc.start()
        try:
            assert store.read('v', rows, (70000, 70100)).shape == (100, width)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 500000  # bytes; all rows have 6.4 MB
        assert 'found nan in row 50003, column 2' in message_of(store.read, 'v', rows, (50000, 50010))


def test_a_cut_of_a_file_that_is_cut_short_is_refused(tmp_path):
    path = str(tmp_path / 'v.npy')
    np.save(path, LONG)
    os.truncate(path, os.path.getsize(path) - 1)
    store = FeatureStore(str(tmp_path), WIDTH)
    assert 'cut short' in message_of(store.read, 'v', 60, (0, 5))
    assert 'cut short' in message_of(store.shape, 'v')


def test_zeros_are_suspicious_in_whole_videos_only(tmp_path):
    np.save(str(tmp_path / 'v.npy'), LONG * 0)
    found = []
    store = FeatureStore(str(tmp_path), WIDTH, on_suspect=lambda kind, _: found.append(kind))
    store.read('v', cut=(0, 5))
    assert found == []
    store.read('v')
    assert found == ['only zeros']


# Shapes and names

@pytest.mark.parametrize('end', ['.npy', '.npz', '.csv', '.h5'])
def test_a_shape_needs_no_width(tmp_path, end):
    write_features(str(tmp_path / ('v' + end)), NUMBERS)
    assert store_of(tmp_path, end, 0).shape('v') == (3, 4)
    assert store_of(tmp_path, end, 7, layout='ct').shape('v') == (4, 3)
    assert ' w' in message_of(store_of(tmp_path, end, 0).shape, 'w')


def test_a_shape_is_read_of_the_header_alone(tmp_path):
    numbers = np.full((5000, WIDTH), np.nan, np.float32)
    np.save(str(tmp_path / 'v.npy'), numbers)
    np.savez(str(tmp_path / 'w.npz'), numbers)
    with open(str(tmp_path / 'w.npz'), 'rb') as file:
        content = file.read()
    at = content.index(numbers.tobytes())
    write(str(tmp_path / 'w.npz'), content[:at] + b'\x01' + content[at + 1:])  # a wrong check sum
    calls = []
    found = FeatureStore(str(tmp_path), 0).shapes(['v', 'absent', 'w'], lambda: calls.append(1))
    assert found['v'] == found['w'] == (5000, 4) and len(calls) == 3
    assert str(found['absent']).startswith('%s: no features of video absent' % tmp_path)


def test_a_shape_that_cannot_be_is_refused(tmp_path):
    np.save(str(tmp_path / 'none.npy'), np.ones((3, 0), np.float32))
    np.save(str(tmp_path / 'text.npy'), np.array([['a']]))
    np.save(str(tmp_path / 'objects.npy'), np.array([[None]]))
    write(str(tmp_path / 'two.npz'), b'')
    with zipfile.ZipFile(str(tmp_path / 'two.npz'), 'w') as file:
        file.writestr('a.npy', b'')
        file.writestr('b.npy', b'')
    os.mkfifo(str(tmp_path / 'pipe.npy'))
    found = FeatureStore(str(tmp_path), 0).shapes(['none', 'text', 'objects', 'two', 'pipe', '../none'])
    for name, message in (('none', 'found 0 columns, expected at least 1'), ('text', 'and type <U1'),
                          ('objects', 'found Python objects'), ('two', 'found 2 arrays (a, b)'),
                          ('pipe', 'found a pipe'), ('../none', 'found the video id')):
        assert message in str(found[name])


def test_names_in_a_folder(tmp_path):
    (tmp_path / 'yoga' / 'below').mkdir(parents=True)
    (tmp_path / '.hidden').mkdir()
    for name in ('b.npy', 'a.csv', 'a.npy', 'v.w.npz', 'notes.txt', '._b.npy', 'yoga/c.npy', 'yoga/._c.npy',
                 'yoga/below/d.npy', '.hidden/e.npy', 'f.npy.partial'):
        write(str(tmp_path / name), b'')
    assert names_in(str(tmp_path)) == ['a', 'b', 'v.w', 'yoga/c']
    assert names_in(str(tmp_path / 'yoga' / 'below')) == ['d']
    assert names_in(str(tmp_path / '.hidden')) == ['e']
    absent = str(tmp_path / 'absent')
    assert message_of(names_in, absent).startswith('%s: found no such folder' % absent)
    with h5py.File(str(tmp_path / 'yoga.h5'), 'w') as file:
        file['in file'] = NUMBERS
    assert names_in(str(tmp_path / 'yoga')) == names_in(str(tmp_path / 'yoga.h5')) == ['in file']
    write(str(tmp_path / 'x.hdf5'), b'no HDF5')
    assert message_of(names_in, str(tmp_path / 'x')).startswith('%s: cannot be read (' % (tmp_path / 'x.hdf5'))


@pytest.mark.parametrize('datasets, key, names', [
    (['b', 'a'], '', ['a', 'b']),
    (['v_b/c3d', 'v_a/c3d'], '', ['v_a', 'v_b']),
    (['v_b/c3d', 'a'], '', ['a', 'v_b']),
    (['yoga/a', 'yoga/b', 'surf/a'], '', ['surf/a', 'yoga/a', 'yoga/b']),
    (['yoga/a/c3d', 'yoga/b/c3d', 'c'], '', ['c', 'yoga/a', 'yoga/b']),
    (['a/rgb', 'a/flow', 'b/rgb', 'b/flow'], 'rgb', ['a', 'b']),
    (['a/x/rgb', 'a/y'], 'x/rgb', ['a']),
    (['yoga/a/rgb', 'yoga/b/rgb'], 'rgb', ['yoga/a', 'yoga/b'])])
def test_names_in_an_hdf5_file(tmp_path, datasets, key, names):
    path = str(tmp_path / 'clips.h5')
    with h5py.File(path, 'w') as file:
        for name in datasets:
            file[name] = NUMBERS
    assert names_in(path, key) == names
    with FeatureStore(path, WIDTH, key=key) as store:
        assert set(store.shapes(names).values()) == {(3, 4)}
        assert store.survey(names).missing == []


def test_names_in_an_hdf5_file_with_links(tmp_path):
    path = str(tmp_path / 'clips.h5')
    os.mkfifo(str(tmp_path / 'pipe'))  # opening it would not end
    with h5py.File(path, 'w') as file:
        file['v'] = NUMBERS
        file['external'], file['soft'] = h5py.ExternalLink('pipe', '/'), h5py.SoftLink('/')
    assert names_in(path) == ['external', 'soft', 'v']
    assert FeatureStore(path, WIDTH).survey(['external', 'external/v', 'soft/v']).missing == ['external/v', 'soft/v']


# Cases in the forms of public data sets

@pytest.fixture(scope='module')
def cases(tmp_path_factory):
    """(folder of the shared cases, what is expected of them)."""
    script = os.path.join(ROOT, '..', 'shared', 'cases', 'make_cases.py')
    if not os.path.exists(script):
        pytest.skip('needs the shared cases')
    folder = str(tmp_path_factory.mktemp('cases'))
    subprocess.run([sys.executable, script, folder], check=True)
    with open(os.path.join(folder, 'expected.json')) as file:
        return folder, json.load(file)


@pytest.mark.parametrize('case, features, layout', [
    ('04_channels_first', 'features', 'ct'), ('05_extra_axis', 'features', 'tc'),
    ('06_hdf5_groups', 'features.hdf5', 'tc'), ('06_hdf5_groups', 'features', 'tc')])
def test_the_shared_cases_have_their_rows(cases, case, features, layout):
    path = os.path.join(cases[0], case, features)
    expected = {'v_' + name: entry['rows'] for name, entry in cases[1][case].items()}
    assert names_in(path) == sorted(expected)
    with FeatureStore(path, 12, layout=layout) as store:
        assert store.shapes(expected) == {name: (rows, 12) for name, rows in expected.items()}
        for name, rows in expected.items():
            assert store.read(name, rows).shape == (rows, 12)
            np.testing.assert_array_equal(store.read(name, rows, (1, 5)), store.read(name)[1:5])


def test_a_shared_case_of_the_other_layout_names_the_remedy(cases):
    store = FeatureStore(os.path.join(cases[0], '04_channels_first', 'features'), 12)
    assert '--layout ct' in message_of(store.read, 'v_video00')
