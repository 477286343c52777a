"""features.py: every form of a feature file, and what is refused, by name, before it is read."""
import os
import pickle
import threading
import time

import h5py
import numpy as np
import pytest
from data_sets import NUMBERS, WIDTH, message_of, write, write_features

from errors import InputError
from features import FeatureStore


@pytest.mark.parametrize('end', ['.npy', '.npz', '.csv'])
def test_features_in_a_folder(tmp_path, end):
    write_features(str(tmp_path / ('v' + end)), NUMBERS)
    found = FeatureStore(str(tmp_path), WIDTH).read('v', rows=3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, NUMBERS)


def test_folder_prefers_npy_to_npz_to_csv(tmp_path):
    ends = ['.npy', '.npz', '.csv']
    for number, end in enumerate(ends):
        write_features(str(tmp_path / ('v' + end)), NUMBERS + number)
    for number, end in enumerate(ends):
        assert FeatureStore(str(tmp_path), WIDTH).read('v')[0, 0] == -4.5 + number
        os.remove(str(tmp_path / ('v' + end)))


@pytest.mark.parametrize('name, given', [
    ('clips.h5', 'clips.h5'), ('clips.h5', 'clips'), ('clips.hdf5', 'clips'), ('clips', 'clips')])
def test_features_in_a_file(tmp_path, name, given):
    write_features(str(tmp_path / name), NUMBERS)
    store = FeatureStore(str(tmp_path / given), WIDTH)
    assert store.exists()
    np.testing.assert_array_equal(store.read('v', rows=3), NUMBERS)
    assert not FeatureStore(str(tmp_path / 'other'), WIDTH).exists()


def test_a_folder_goes_before_a_file(tmp_path):
    (tmp_path / 'clips').mkdir()
    write_features(str(tmp_path / 'clips.h5'), NUMBERS)
    write_features(str(tmp_path / 'clips' / 'v.npy'), NUMBERS + 1)
    assert FeatureStore(str(tmp_path / 'clips'), WIDTH).read('v')[0, 0] == -3.5


@pytest.mark.parametrize('end', ['.npy', '.npz', '.h5'])
@pytest.mark.parametrize('kind', ['float64', 'float16', '>f4', 'int64', 'uint8'])
def test_numbers_become_float32(tmp_path, end, kind):
    numbers = np.abs(NUMBERS).astype(kind)
    write_features(str(tmp_path / ('v' + end)), numbers)
    store = FeatureStore(str(tmp_path / 'v.h5' if end == '.h5' else tmp_path), WIDTH)
    found = store.read('v')
    assert found.dtype == np.dtype('float32')
    np.testing.assert_array_equal(found, numbers.astype(np.float64))


def test_a_file_is_opened_once_by_many_threads(tmp_path, monkeypatch):
    path, opened, barrier = str(tmp_path / 'clips.h5'), [], threading.Barrier(8)
    with h5py.File(path, 'w') as file:
        for number in range(8):
            file['v%d' % number] = NUMBERS + number
    open_file = h5py.File

    def slow(*arguments):
        opened.append(arguments)
        time.sleep(0.02)
        return open_file(*arguments)

    monkeypatch.setattr(h5py, 'File', slow)
    store, found = FeatureStore(path, WIDTH), {}

    def read(number):
        barrier.wait()
        found[number] = [store.read('v%d' % number)[0, 0] for _ in range(20)]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert found == {number: [-4.5 + number] * 20 for number in range(8)}


@pytest.mark.parametrize('end', ['.npy', '.npz', '.csv', '.h5'])
@pytest.mark.parametrize('numbers, message', [
    (NUMBERS[:, :3], 'found 3 columns, expected 4 (--feature_width)'),
    (NUMBERS[:2], 'found 2 rows, expected 3, a row per clip'),
    (NUMBERS[:0], 'rows'),
    (np.where(NUMBERS == 0.5, np.nan, NUMBERS), 'nan'),
    (NUMBERS.astype(np.float64) * 1e300, 'inf')])
def test_unusable_numbers_are_named(tmp_path, end, numbers, message):
    path = str(tmp_path / ('v' + end))
    write_features(path, numbers)
    found = message_of(FeatureStore(path if end == '.h5' else str(tmp_path), WIDTH).read, 'v', 3)
    assert found.startswith(path + (': dataset v: ' if end == '.h5' else ': ')) and message in found


@pytest.mark.parametrize('numbers', [
    NUMBERS[0], NUMBERS[np.newaxis], np.float32(1), NUMBERS + 1j, NUMBERS > 0,
    np.array([[b'1'] * WIDTH])], ids=['1-D', '3-D', 'number', 'complex', 'bool', 'text'])
@pytest.mark.parametrize('end', ['.npy', '.npz', '.h5'])
def test_arrays_of_another_kind_are_refused(tmp_path, end, numbers):
    path = str(tmp_path / ('v' + end))
    write_features(path, numbers)
    found = message_of(FeatureStore(path if end == '.h5' else str(tmp_path), WIDTH).read, 'v')
    assert found.startswith(path) and 'found an array of shape %s' % (np.shape(numbers),) in found
    assert 'expected rows of 4 numbers' in found


@pytest.mark.parametrize('content, message', [
    ('a,b,c,d\n1,2,3,4\n1,x,3,4\n', "row 3, column 2: found 'x'; expected a header row, then rows"),
    ('a,b,c,d\n1,2,3,4\n1,2,,4\n', "row 3, column 3: found ''"),
    ('a,b,c,d\n1,2,3,4\n1,2,3\n', "row 3, column 4: found ''"),
    ('a,b,c,d\n1,2,3,4\n1,2,3,4,5\n', 'Expected 4 fields in line 3, saw 5; expected a header row'),
    ('a,b,c,d\n1,2,3,4,\n1,2,3,4,\n', "row 2, column 5: found ''"),
    ('a,b,c,d\n9,1,2,3,4\n9,1,2,3,4\n', 'found 5 columns, expected 4'),
    ('a,b,c,d\n1,2,3,inf\n', "row 2, column 4: found 'inf'"),
    ('a,b,c,d\n1,2,"3,4\n', 'expected a header row'),
    ('a,b,c,d\n', 'expected a header row, then rows of numbers'),
    ('', 'expected a header row, then rows of numbers'),
    (b'a,b,c,d\n1,2,3,\xff\n', "codec can't decode byte 0xff")])
def test_faulty_csv_names_row_and_column(tmp_path, content, message):
    path = str(tmp_path / 'v.csv')
    write(path, content)
    found = message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
    assert found.startswith(path + ': ') and message in found


def test_csv_with_byte_order_mark_and_windows_line_ends(tmp_path):
    write(str(tmp_path / 'v.csv'), b'\xef\xbb\xbf0,1,2,3\r\n1,2,3,4\r\n5,6,7,8e-1\r\n')
    np.testing.assert_array_equal(FeatureStore(str(tmp_path), WIDTH).read('v'),
                                  np.float32([[1, 2, 3, 4], [5, 6, 7, 0.8]]))


@pytest.mark.parametrize('end, message', [
    ('.npy', 'not a numpy array ('), ('.npz', 'not a readable npz file ('), ('.h5', 'not an HDF5 file (')])
def test_cut_short_file_is_named(tmp_path, capsys, end, message):
    path = str(tmp_path / ('v' + end))
    write_features(path, NUMBERS)
    with open(path, 'rb') as file:
        content = file.read()
    for length in sorted({0, 1, 5, 20, 100, len(content) // 2, len(content) - 1}):
        write(path, content[:length])
        found = message_of(FeatureStore(path if end == '.h5' else str(tmp_path), WIDTH).read, 'v')
        assert found.startswith('%s: %s' % (path, message))
    assert capsys.readouterr().err == ''


def test_damaged_file_is_named(tmp_path):
    generator = np.random.RandomState(0)
    for end in ('.npy', '.npz', '.h5'):
        path = str(tmp_path / ('v' + end))
        write_features(path, NUMBERS)
        with open(path, 'rb') as file:
            content = bytearray(file.read())
        for _ in range(60):
            damaged = content[:]
            damaged[generator.randint(len(content))] = generator.randint(256)
            write(path, bytes(damaged))
            try:
                FeatureStore(path if end == '.h5' else str(tmp_path), WIDTH).read('v')
            except InputError as error:
                assert str(error).startswith(path) and '\n' not in str(error)
        os.remove(path)


class _Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize('end', ['.npy', '.npz'])
def test_no_pickle_is_loaded(tmp_path, end):
    trap = str(tmp_path / 'sprung')
    write_features(str(tmp_path / ('v' + end)), np.array([[_Trap(trap)] * WIDTH], object))
    found = message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
    assert 'v%s: ' % end in found and 'Python objects of shape (1, 4), expected rows of 4 numbers; loading them can run any code' in found
    write(str(tmp_path / 'w.npy'), pickle.dumps(_Trap(trap)))
    assert 'not a numpy array' in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'w')
    assert not os.path.exists(trap)


def test_other_contents_are_refused(tmp_path):
    store = FeatureStore(str(tmp_path), WIDTH)
    np.savez(str(tmp_path / 'two.npz'), NUMBERS, NUMBERS)
    assert 'two.npz: found 2 arrays, expected one' in message_of(store.read, 'two')
    os.rename(str(tmp_path / 'two.npz'), str(tmp_path / 'renamed.npy'))
    assert 'renamed.npy: not a numpy array' in message_of(store.read, 'renamed')
    (tmp_path / 'folder.npy').mkdir()
    assert 'folder.npy: found a folder, expected a file' in message_of(store.read, 'folder')
    assert message_of(store.read, 'absent') == (
        '%s: no features of video absent (looked for absent.npy, absent.npz, absent.csv)' % tmp_path)


def test_file_that_is_not_hdf5_or_lacks_the_video(tmp_path):
    path = str(tmp_path / 'clips.h5')
    write(path, 'a,b,c,d\n')
    assert message_of(FeatureStore(path, WIDTH).read, 'v').startswith('%s: not an HDF5 file (' % path)
    with h5py.File(path, 'w') as file:
        file.create_group('group')
        file['nothing'] = h5py.Empty('f')
    for name in ('v', 'group'):
        assert message_of(FeatureStore(path, WIDTH).read, name) == '%s: has no dataset %s' % (path, name)
    assert '%s: dataset nothing: ' % path in message_of(FeatureStore(path, WIDTH).read, 'nothing')
