"""features.py: every form of a feature file, and what is refused by name before it is read."""
import io
import json
import os
import pickle
import resource
import threading
import time
import tracemalloc
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from data_sets import NUMBERS, WIDTH, message_of, write, write_features

from dataset import feature_files, features
from dataset.conversion_record import made_of_hdf5
from dataset.features import FeatureStore
from preparation.convert import Conversion, convert, find_sources
from runtime.errors import InputError


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


def test_a_converted_file_goes_before_the_folder(tmp_path):
    (tmp_path / 'clips').mkdir()
    write_features(str(tmp_path / 'clips.h5'), NUMBERS)
    write_features(str(tmp_path / 'clips' / 'v.npy'), NUMBERS + 1)
    assert FeatureStore(str(tmp_path / 'clips'), WIDTH).read('v')[0, 0] == NUMBERS[0, 0]


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
    NUMBERS[0], np.stack([NUMBERS, NUMBERS]), np.float32(1), NUMBERS + 1j, NUMBERS > 0,
    np.array([[b'1'] * WIDTH])], ids=['1-D', '3-D', 'number', 'complex', 'bool', 'text'])
@pytest.mark.parametrize('end', ['.npy', '.npz', '.h5'])
def test_arrays_of_another_kind_are_refused(tmp_path, end, numbers):
    path = str(tmp_path / ('v' + end))
    write_features(path, numbers)
    found = message_of(FeatureStore(path if end == '.h5' else str(tmp_path), WIDTH).read, 'v')
    assert found.startswith(path) and 'found an array of shape %s' % (np.shape(numbers),) in found
    assert 'expected rows of 4 numbers' in found


@pytest.mark.parametrize('content, message', [
    ('a,b,c,d\n1,2,3,4\n1,x,3,4\n', "row 3, column 2: found 'x'; expected a header row, then rows of numbers"),
    ('a,b,c,d\n1,2,3,4\n1,2,,4\n', "row 3, column 3: found ''"),
    ('a,b,c,d\n1,2,3,4\n1,2,3\n', 'row 3: found 3 cells, the rows above have 4; expected a header row'),
    ('a,b,c,d\n1,2,3,4\n1,2,3,4,5\n', 'row 3: found 5 cells, the rows above have 4; expected a header row'),
    ('a,b,c,d\n1,2,3,4,\n1,2,3,4,\n', "row 2, column 5: found ''"),
    ('a,b,c,d\n9,1,2,3,4\n9,1,2,3,4\n', 'found 5 columns, expected 4'),
    ('a,b,c,d\n1,2,3,inf\n', "row 2, column 4: found 'inf'"),
    ('a,b,c,d\n1,2,"3,4\n', "row 2, column 3: found '\"3'"),
    ('a,b,c,d\n', 'expected a header row, then rows of numbers'),
    ('', 'expected a header row, then rows of numbers'),
    ('a,b,c,d\nTrue,2,3,4\n', "row 2, column 1: found 'True'"),
    ('a,b,c,d\n1\x0002,2,3,4\n', "row 2, column 1: found '1\\x0002'"),
    (b'a,b,c,d\n1,2,3,\xff\n', "row 2, column 4: found '\\\\xff'")])
def test_faulty_csv_names_row_and_column(tmp_path, content, message):
    path = str(tmp_path / 'v.csv')
    write(path, content)
    found = message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
    assert found.startswith(path + ': ') and message in found


def test_a_csv_of_one_long_row_is_refused_quickly(tmp_path):
    write(str(tmp_path / 'v.csv'), 'a,b,c,d\n' + '1,' * 10 ** 5 + 'x\n')  # wide rows are slow in pandas
    assert "row 2, column 100001: found 'x'" in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')


@pytest.mark.parametrize('form', ['%.6g', '%.9g', '%.17g', '%.18e', '%.20f', '%.8f', '"%.6g"', ' %+.5E ', '%d',
                                  '%.30g'])
def test_numbers_of_a_csv_are_right_to_the_last_bit(tmp_path, form):
    random = np.random.RandomState(0)
    numbers = random.randn(500, WIDTH) * 10 ** random.uniform(-9, 9, (500, WIDTH))
    texts = [[form % number for number in row] for row in numbers]
    write(str(tmp_path / 'v.csv'), 'a,b,c,d\n' + '\n\n'.join(map(','.join, texts)))
    expected = np.float32([[float(text.strip(' "')) for text in row] for row in texts])
    np.testing.assert_array_equal(FeatureStore(str(tmp_path), WIDTH).read('v'), expected)


@pytest.mark.parametrize('cell', ['99999999999999999999', '1230000000000000019884624838656.000', '1\r', '"\t1"', '.5',
                                  '5.'])
def test_unusual_numbers_of_a_csv_are_read(tmp_path, cell):
    write(str(tmp_path / 'v.csv'), 'a,b,c,d\n1,2,3,%s\n' % cell)
    assert FeatureStore(str(tmp_path), WIDTH).read('v')[0, 3] == np.float32(float(cell.strip('" \t\r')))


def test_rows_of_all_blocks_of_a_csv_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_files, 'CSV_BLOCK', 20)
    lines = ['%d,1,2,3' % row for row in range(30)]
    write(str(tmp_path / 'v.csv'), '\n'.join(['a,b,c,d'] + lines))
    np.testing.assert_array_equal(FeatureStore(str(tmp_path), WIDTH).read('v')[:, 0], np.arange(30))
    lines[20] = '1,2,0x3,4'
    write(str(tmp_path / 'v.csv'), '\n'.join(['a,b,c,d'] + lines))
    assert "row 22, column 3: found '0x3'" in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
    lines[20:22] = ['1,2,3', '1,2,x']
    write(str(tmp_path / 'v.csv'), '\n'.join(['a,b,c,d'] + lines))
    assert 'row 22: found 3 cells, the rows above have 4' in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')


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
    assert 'v%s: ' % end in found and 'found Python objects of shape (1, 4), expected rows' in found
    write(str(tmp_path / 'w.npy'), pickle.dumps(_Trap(trap)))
    assert 'not a numpy array' in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'w')
    assert not os.path.exists(trap)


def test_other_contents_are_refused(tmp_path):
    store = FeatureStore(str(tmp_path), WIDTH)
    np.savez(str(tmp_path / 'two.npz'), NUMBERS, NUMBERS)
    message = message_of(store.read, 'two')
    assert 'two.npz: found 2 arrays (arr_0, arr_1), expected one; name the one to read: --key NAME in' in message
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


# Hostile files

def npy(shape, numbers=b'', kind='<f4'):
    """An npy file that declares `shape` and holds `numbers`."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {'descr': kind, 'fortran_order': False, 'shape': shape})
    return file.getvalue() + numbers


def most_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB


@pytest.mark.parametrize('shape, message', [
    ((1 << 40, WIDTH), 'found 1099511627776 rows, expected 1 to 131072'),
    ((1, 1 << 40), 'found 1099511627776 columns, expected 4'),
    ((-1, WIDTH), 'found -1 rows, expected 1 to 131072'),
    ((100000, WIDTH), 'found 4 bytes of numbers, expected 1600000')])
def test_what_an_npy_declares_is_checked_before_it_is_read(tmp_path, shape, message):
    before = most_memory()
    write(str(tmp_path / 'v.npy'), npy(shape, b'1234'))
    with zipfile.ZipFile(str(tmp_path / 'w.npz'), 'w') as arrays:
        arrays.writestr('arr_0.npy', npy(shape, b'1234'))
    for name in 'vw':
        assert message in message_of(FeatureStore(str(tmp_path), WIDTH).read, name)
    assert most_memory() - before < 50000


def test_a_zip_bomb_is_refused_unread(tmp_path):
    with zipfile.ZipFile(str(tmp_path / 'v.npz'), 'w', zipfile.ZIP_DEFLATED) as arrays:
        with arrays.open('arr_0.npy', 'w') as file:
            file.write(npy((1 << 22, 16)))  # 256 MB of zeros
            for _ in range(256):
                file.write(bytes(1 << 20))
    before = most_memory()
    assert 'found 16 columns, expected 4' in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
    assert 'found 4194304 rows, expected 512' in message_of(FeatureStore(str(tmp_path), 16).read, 'v', 512)
    assert 'rows, expected 1 to 131072' in message_of(FeatureStore(str(tmp_path), 16).read, 'v')
    assert most_memory() - before < 50000


def test_a_wrong_check_sum_is_named(tmp_path):
    path = str(tmp_path / 'v.npz')
    np.savez(path, NUMBERS)
    with open(path, 'rb') as file:
        content = file.read()
    at = content.index(NUMBERS.tobytes())
    write(path, content[:at] + b'\x01' + content[at + 1:])
    assert 'Bad CRC-32' in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')


@pytest.mark.parametrize('numbers', [np.asfortranarray(NUMBERS), NUMBERS.astype('>f8'), NUMBERS[:1],
                                     np.asfortranarray(NUMBERS.astype('>i2'))],
                         ids=['fortran', 'big-endian', 'one row', 'both'])
@pytest.mark.parametrize('end', ['.npy', '.npz'])
def test_every_layout_is_read(tmp_path, end, numbers):
    (np.save if end == '.npy' else np.savez)(str(tmp_path / ('v' + end)), numbers)
    np.testing.assert_array_equal(FeatureStore(str(tmp_path), WIDTH).read('v', len(numbers)), numbers)


@pytest.mark.parametrize('end', ['.npy', '.npz', '.csv'])
def test_a_million_rows_are_refused_unread(tmp_path, end):
    write_features(str(tmp_path / ('v' + end)), np.zeros((1, WIDTH), np.float32))
    path = str(tmp_path / ('v' + end))
    if end == '.csv':
        write(path, b'a,b,c,d\n' + b'1.25,2.25,3.25,4.25\n' * 10 ** 6)
    else:
        (np.save if end == '.npy' else np.savez_compressed)(path, np.zeros((10 ** 6, WIDTH), np.float32))
    tracemalloc.start()
    try:
        message = message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 'check that it is one video' in message and peak < 1e6  # bytes; the rows are 16 MB


@pytest.mark.parametrize('end', ['.npy', '.npz', '.csv'])
@pytest.mark.parametrize('kind', ['pipe', 'device', 'folder', 'dangling'])
def test_special_files_are_refused_without_hanging(tmp_path, end, kind):
    path = str(tmp_path / ('v' + end))
    {'pipe': os.mkfifo, 'folder': os.mkdir, 'device': lambda path: os.symlink('/dev/zero', path),
     'dangling': lambda path: os.symlink('nowhere', path)}[kind](path)
    message = message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
    assert message == path + {'folder': ': found a folder, expected a file; move it away',
                              'dangling': ': No such file or directory'}.get(
                                  kind, ': found a pipe, socket or device, expected a file; move it away')


def test_a_store_that_is_a_pipe(tmp_path):
    os.mkfifo(str(tmp_path / 'clips.h5'))
    store = FeatureStore(str(tmp_path / 'clips'), WIDTH)
    for call, argument in ((store.read, 'v'), (store.survey, ['v'])):
        assert 'found a pipe, socket or device' in message_of(call, argument)


@pytest.mark.parametrize('video', ['../v', '/v', '..', '.', '', ' ', 'a/', 'a/..', './v', 'a//v', 'a\\b', 'v\0',
                                   'v\n', '\ud800', '/dev/zero', 'a/b/c', '../below/v'])
def test_a_name_never_leaves_its_folder(tmp_path, video):
    write_features(str(tmp_path / 'v.npy'), NUMBERS)
    (tmp_path / 'below').mkdir()
    write_features(str(tmp_path / 'x.h5'), NUMBERS)
    for path in ('below', 'x.h5'):
        store = FeatureStore(str(tmp_path / path), WIDTH)
        for call in (store.read, store.shape):
            message = message_of(call, video)
            found, remedy = (('found the name ', 'move the features into one folder') if video.count('/') > 1 else
                             ('found the video id ', 'rename the video'))
            assert message.startswith('%s: %s' % (tmp_path / path, found)) and remedy in message
        assert store.survey([video]).missing == [video]


@pytest.mark.parametrize('video', ['a b', 'é 視頻', '-x', 'aux', 'C:v', "it's", 'v.w'])
def test_spaces_and_letters_of_any_language_are_ids(tmp_path, video):
    write_features(str(tmp_path / (video + '.npy')), NUMBERS)
    with h5py.File(str(tmp_path / 'x.h5'), 'w') as file:
        file[video] = NUMBERS
    for path in (tmp_path, tmp_path / 'x.h5'):
        store = FeatureStore(str(path), WIDTH)
        np.testing.assert_array_equal(store.read(video), NUMBERS)
        assert store.survey(['absent', video]).missing == ['absent']


@pytest.mark.parametrize('end', ['.pkl', '.pt', '.pth'])
def test_a_pickle_beside_is_named_not_loaded(tmp_path, end):
    trap = str(tmp_path / 'sprung')
    write(str(tmp_path / ('v' + end)), pickle.dumps(_Trap(trap)))
    message = message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')
    assert message.startswith('%s: found a pickle' % (tmp_path / ('v' + end))) and 'np.save()' in message
    assert not os.path.exists(trap)


@pytest.mark.parametrize('part', [b'TREE', b'SNOD', b'HEAP'])
def test_a_damaged_list_of_hdf5_datasets_is_named(tmp_path, part):
    path = str(tmp_path / 'clips.h5')
    write_features(path, NUMBERS)
    with open(path, 'rb') as file:
        content = file.read()
    assert part in content
    write(path, content.replace(part, b'????'))
    assert message_of(FeatureStore(path, WIDTH).survey, ['v']).startswith('%s: cannot be read (' % path)
    assert message_of(find_sources, Conversion(path, 'out', WIDTH, 'float32')).startswith(
        '%s: not an HDF5 file of features (' % path)


def test_hdf5_leads_nowhere_else(tmp_path):
    path = str(tmp_path / 'clips.h5')
    with h5py.File(str(tmp_path / 'other.h5'), 'w') as file:
        file['v'] = NUMBERS
    NUMBERS.tofile(str(tmp_path / 'raw'))
    with h5py.File(path, 'w') as file:
        file['there'] = NUMBERS
        file['soft'] = h5py.SoftLink('/there')
        file['external'] = h5py.ExternalLink('other.h5', '/v')
        layout = h5py.VirtualLayout(NUMBERS.shape, 'f4')
        layout[:] = h5py.VirtualSource(str(tmp_path / 'other.h5'), 'v', NUMBERS.shape)
        file.create_virtual_dataset('virtual', layout)
        file.create_dataset('stored', NUMBERS.shape, 'f4', external=[(str(tmp_path / 'raw'), 0, NUMBERS.nbytes)])
        file.create_dataset('text', NUMBERS.shape, h5py.special_dtype(vlen=str))
        file.create_dataset('many', (1 << 40, WIDTH), 'f4', chunks=(1, WIDTH))
        file.create_dataset('wide', (1, 1 << 40), 'f4', chunks=(1, 1024))
        file.create_dataset('chunk', (2, WIDTH), 'f4', chunks=(1 << 24, WIDTH), maxshape=(None, WIDTH),
                            compression='gzip')
    store = FeatureStore(path, WIDTH)
    for name, message in (('soft', 'found a link'), ('external', 'found a link'), ('virtual', 'lie in other files'),
                          ('stored', 'lie in other files'), ('text', 'found Python objects'),
                          ('many', 'found 1099511627776 rows'), ('wide', 'found 1099511627776 columns'),
                          ('chunk', 'found chunks of 268435456 bytes')):
        found = message_of(store.read, name)
        assert found.startswith('%s: dataset %s: ' % (path, name)) and message in found
    np.testing.assert_array_equal(store.read('there'), NUMBERS)


@pytest.mark.parametrize('header', ['1.5,x,,', 'NA,NA,NA,NA', '0,1,2,3', '1,2,3,4', 'f0,1,2,3', 'a,b,c,d', ',,,'])
def test_a_header_row_of_a_csv_is_no_row_of_features(tmp_path, header):
    write(str(tmp_path / 'v.csv'), header + '\n5,6,7,8\n')
    assert FeatureStore(str(tmp_path), WIDTH).read('v').tolist() == [[5, 6, 7, 8]]


@pytest.mark.parametrize('name', ['', 'Unnamed: 0'])
def test_the_row_numbers_that_pandas_writes_are_no_features(tmp_path, name):
    path = str(tmp_path / 'v.csv')
    write(path, name + ',0,1,2,3\n0,5,6,7,8\n1,5,6,7,9\n')
    assert FeatureStore(str(tmp_path), WIDTH).read('v').tolist() == [[5, 6, 7, 8], [5, 6, 7, 9]]
    assert FeatureStore(str(tmp_path), WIDTH).shape('v') == (2, 4)
    write(path, name + ',0,1,2\n0,5,6,7\n2,5,6,7\n')  # a column that does not count the rows
    assert FeatureStore(str(tmp_path), WIDTH).read('v').tolist() == [[0, 5, 6, 7], [2, 5, 6, 7]]


@pytest.mark.parametrize('first', ['1,2.5,3,4', '\ufeff1,2.5,3,4', '"1","2.5","3","4"', '1e0, 25e-1 ,3.0,4\r'])
def test_a_csv_may_lack_its_header_row(tmp_path, first):
    write(str(tmp_path / 'v.csv'), first + '\n5,6,7,8\n')
    assert FeatureStore(str(tmp_path), WIDTH).read('v').tolist() == [[1, 2.5, 3, 4], [5, 6, 7, 8]]
    assert FeatureStore(str(tmp_path), WIDTH).shape('v') == (2, 4)
    write(str(tmp_path / 'v.csv'), '1,2.5,3,4\n5,x,7,8\n')
    assert "v.csv: row 2, column 2: found 'x'" in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')


@pytest.mark.parametrize('first', [
    '0,0,0,0', 'nan,nan,nan,nan', '2,3,4,5', '"1","7","3","4"', '1.5,2.5,3.5,', '1,2,3,', '0,,2,3', '1.5,"",NA,7',
    '5,null,N/A,"None"'])
def test_a_csv_whose_first_row_may_be_names_or_features_is_refused(tmp_path, first):
    write(str(tmp_path / 'v.csv'), first + '\n5,6,7,8\n')
    assert 'v.csv: row 1: found numbers (' in message_of(FeatureStore(str(tmp_path), WIDTH).read, 'v')


@pytest.mark.parametrize('filters', [(), ('shuffle',), ('fletcher32',), ('shuffle', 'fletcher32')])
@pytest.mark.parametrize('compression', [None, 'gzip', 'lzf'])
def test_compressed_hdf5_is_read(tmp_path, compression, filters):
    flags = {name: True for name in filters}
    path, numbers = str(tmp_path / 'clips.h5'), np.random.RandomState(0).rand(67, WIDTH).astype(np.float32)
    with h5py.File(path, 'w') as file:
        file.create_dataset('v', data=numbers, chunks=(16, WIDTH), compression=compression, **flags)
        unwritten = file.create_dataset('w', (67, WIDTH), 'f4', chunks=(1, WIDTH), compression=compression, **flags)
        unwritten[3] = 1
    store = FeatureStore(path, WIDTH)
    np.testing.assert_array_equal(store.read('v'), numbers)
    assert store.read('w').sum() == WIDTH


def test_numbers_that_do_not_compress_are_read_from_one_large_chunk(tmp_path):
    path, numbers = str(tmp_path / 'clips.h5'), np.random.RandomState(0).rand(700, 2048).astype(np.float32)
    with h5py.File(path, 'w') as file:
        dataset = file.create_dataset('v', data=numbers, chunks=numbers.shape, compression='gzip', compression_opts=1)
        assert dataset.id.get_storage_size() > 5e6
    np.testing.assert_array_equal(FeatureStore(path, 2048).read('v'), numbers)


def test_an_hdf5_chunk_that_could_expand_without_bound_is_refused_unread(tmp_path):
    path = str(tmp_path / 'clips.h5')
    bomb = zlib.compressobj(9)
    bomb = b''.join([bomb.compress(bytes(1 << 20)) for _ in range(200)] + [bomb.flush()])
    with h5py.File(path, 'w') as file:
        for kind, size in (('gzip', 5 << 20), ('lzf', 50 << 20)):
            dataset = file.create_dataset('large_' + kind, (1 << 17, WIDTH), 'f4', chunks=(1 << 16, WIDTH),
                                          compression=kind)
            dataset.id.write_direct_chunk((1 << 16, 0), bomb.ljust(size, b'1'))
        twice = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        twice.set_chunk((16, WIDTH))
        twice.set_deflate(9)
        twice.set_deflate(9)
        h5py.h5d.create(file.id, b'twice', h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((512, WIDTH)), twice)
        file.create_dataset('other', (512, WIDTH), 'f4', chunks=(16, WIDTH), scaleoffset=3)
        file.create_dataset('cells', (1 << 17, WIDTH), 'f4', chunks=(1, 1))[0, 0] = 1
        small = file.create_dataset('small', (512, WIDTH), 'f4', chunks=(16, WIDTH), compression='gzip')
        small.id.write_direct_chunk((0, 0), zlib.compress(bytes(10 ** 6)))
    before, store = most_memory(), FeatureStore(path, WIDTH)
    for name, message in (('large_gzip', 'compressed chunk of 5242880 bytes, expected at most 4194304'),
                          ('large_lzf', 'compressed chunk of 52428800 bytes, expected at most 4194304'),
                          ('twice', 'found the filters [1, 1]'), ('other', 'found the filters [6]'),
                          ('cells', 'found 524288 chunks')):
        found = message_of(store.read, name)
        assert found.startswith('%s: dataset %s: ' % (path, name)) and message in found
    assert not store.read('small').any()  # HDF5 takes the bytes of the chunk alone
    assert most_memory() - before < 50000


# CSV files that may be cut short

@pytest.mark.parametrize('content, is_whole', [
    ('a,b,c,d\n1,2,3,4\n5,6,7,8\n', True), ('a,b,c,d\r\n1,2,3,4\r\n', True), ('a,b,c,d\n1,2,3,4\n\n', True),
    ('a,b,c,d\n1,2,3,4\n5,6,7,8', False), ('a,b,c,d\n1,2,3,4\n5,6,7,0.12', False), ('', False)])
def test_a_csv_without_a_line_end_at_its_end_may_be_refused(tmp_path, content, is_whole):
    path = str(tmp_path / 'v.csv')
    write(path, content)
    assert features.has_line_end(path) is is_whole
    if content:
        expected = FeatureStore(str(tmp_path), WIDTH).read('v')
    store = FeatureStore(str(tmp_path), WIDTH, complete_lines=True)
    if is_whole:
        np.testing.assert_array_equal(store.read('v'), expected)
    else:
        message = message_of(store.read, 'v')
        assert message.startswith('%s: found no line end at the end' % path) and 'extract the features' in message


def test_other_forms_need_no_line_end(tmp_path):
    for end in ('.npy', '.npz', '.h5'):
        write_features(str(tmp_path / ('v' + end)), NUMBERS)
    for path, forms in ((tmp_path, ('.npy',)), (tmp_path, ('.npz',)), (tmp_path / 'v.h5', None)):
        store = FeatureStore(str(path), WIDTH, forms, complete_lines=True)
        np.testing.assert_array_equal(store.read('v'), NUMBERS)


def test_where_a_video_is_stored(tmp_path):
    folder = tmp_path / 'clips'
    folder.mkdir()
    store = FeatureStore(str(folder), WIDTH)
    for end in ('.csv', '.npz', '.npy'):
        write_features(str(folder / ('v' + end)), NUMBERS)
        assert store.stored_in('v') == str(folder / ('v' + end))
    assert FeatureStore(str(folder), WIDTH, ('.csv',)).stored_in('v') == str(folder / 'v.csv')
    assert message_of(store.stored_in, 'w') == str(store.missing_error('w'))
    write_features(str(tmp_path / 'clips.h5'), NUMBERS)
    store = FeatureStore(str(folder), WIDTH)
    assert store.stored_in('v') == str(tmp_path / 'clips.h5')
    assert message_of(store.stored_in, 'w') == '%s: has no dataset w' % (tmp_path / 'clips.h5')


# What is read in place of what

def test_a_survey_counts_the_videos_that_are_asked_for(tmp_path):
    for name in ('a.npy', 'b.csv', 'b.npy', 'c.csv', 'd.npy', 'e.txt'):
        write_features(str(tmp_path / name), NUMBERS)
    store = FeatureStore(str(tmp_path), WIDTH)
    assert store.survey(['a', 'b', 'c']) == ([], '%s, folder, 3 videos: 2 npy, 1 csv' % tmp_path, [])
    assert store.survey(['e', 'a']) == (['e'], '%s, folder, 1 of 2 videos: 1 npy' % tmp_path, [])
    assert store.survey(['f']) == (['f'], '%s, folder, 0 of 1 video' % tmp_path, [])
    with h5py.File(str(tmp_path / 'x.h5'), 'w') as file:
        for number in range(1200):
            file['v%d' % number] = NUMBERS[:1]
    names = ['v%d' % number for number in range(1201)]
    assert FeatureStore(str(tmp_path / 'x'), WIDTH).survey(names) == (
        ['v1200'], '%s/x.h5, HDF5, 1,200 of 1,201 videos' % tmp_path, [])


def test_newer_files_that_a_file_hides_are_counted(tmp_path):
    (tmp_path / 'clips').mkdir()
    for name in ('a.npy', 'a.csv', 'b.csv', 'b.npz', 'b.npy', 'c.csv', 'of_no_video.csv'):
        write_features(str(tmp_path / 'clips' / name), NUMBERS)
        os.utime(str(tmp_path / 'clips' / name), (1e9, 1e9) if name[0] == 'a' else (2e9, 2e9))
    os.utime(str(tmp_path / 'clips' / 'b.npy'), (1e9, 1e9))
    os.symlink('nowhere', str(tmp_path / 'clips' / 'a.npz'))
    videos, folder = ['a', 'b', 'c'], str(tmp_path / 'clips')

    def warnings():
        return FeatureStore(folder, WIDTH).survey(videos).warnings

    rest = '(%d such files); convert the features again, or move away what is older'
    assert warnings() == ['%s/b.csv is newer than %s/b.npy, which is read in its place %s' % (
        folder, folder, rest % 2)]
    for name in ('clips.hdf5', 'clips.h5'):
        with h5py.File(str(tmp_path / name), 'w') as file:
            for video in videos:
                file[video] = NUMBERS
        os.utime(str(tmp_path / name), (15e8, 15e8))
        assert warnings() == ['%s/b.csv is newer than %s, which is read in its place %s' % (
            folder, tmp_path / name, rest % 3)]
    os.utime(str(tmp_path / 'clips.h5'), (3e9, 3e9))
    assert warnings() == []
    os.utime(str(tmp_path / 'clips.hdf5'), (4e9, 4e9))
    assert warnings() == ['%s.hdf5 is newer than %s.h5, which is read in its place %s' % (folder, folder, rest % 1)]


@pytest.fixture(params=['npy', 'hdf5'])
def converted(request, tmp_path):
    """The folder of 20 CSV files that were converted, and what is read in place of the first."""
    folder = str(tmp_path / 'clips')
    os.mkdir(folder)
    for number in range(20):
        write_features(os.path.join(folder, 'v%02d.csv' % number), NUMBERS + number)
    end, read = {'npy': ('', '/v00.npy'), 'hdf5': ('.h5', '.h5')}[request.param]
    convert(Conversion(folder, folder + end, WIDTH, 'float32'), request.param, workers=2)
    return folder, folder + read


def changes(folder):
    return FeatureStore(folder, WIDTH).survey(['v%02d' % number for number in range(20)]).warnings


@pytest.mark.parametrize('seconds', [1e9, 4e9])
def test_a_file_that_is_no_longer_what_was_converted_is_named(converted, seconds):
    (folder, read), path = converted, os.path.join(converted[0], 'v00.csv')
    before = os.stat(path)
    assert changes(folder) == []
    for count, other in enumerate((path, os.path.join(folder, 'v07.csv')), start=1):
        os.utime(other, (seconds, seconds))
        assert changes(folder) == [
            '%s has changed since %s, which is read in its place, was made of it (%d such files); convert the '
            'features again' % (path, read, count)]
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    os.remove(other)  # the CSV files may go
    assert changes(folder) == []
    with open(path, 'a') as file:
        file.write('1,2,3,4\n')
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))  # another size, the same date
    assert len(changes(folder)) == 1 and 'v00.csv has changed since' in changes(folder)[0]


def test_a_date_without_parts_of_a_second_is_no_change(converted):
    for name in os.listdir(converted[0]):
        if name.endswith('.csv'):
            path = os.path.join(converted[0], name)
            seconds = int(os.stat(path).st_mtime)
            os.utime(path, (seconds, seconds))  # as in an archive
    assert changes(converted[0]) == []


@pytest.mark.parametrize('record', ['', '[]', '{"form": ".csv"}', '{"form": 3}', 'x', '{"form": ".csv", "size": 1, '
                                    '"mtime_ns": "1"}', '[' * 10 ** 5, 'null'])
def test_without_a_usable_record_the_dates_are_compared(converted, record):
    folder, read = converted
    if read.endswith('.h5'):
        with h5py.File(read, 'a') as file:
            for video in file:
                file[video].attrs['made_of'] = record
    else:
        made = {video: os.stat(os.path.join(folder, video + '.npy')) for video in ('v00', 'v01', 'v02')}
        write(os.path.join(folder, 'conversion_record.jsonl'), ''.join(
            '{"video": "%s", "npy": [%d, %d], "made_of": %s}\n' % (video, status.st_size, status.st_mtime_ns, record)
            for video, status in made.items()))
    os.utime(os.path.join(folder, 'v01.csv'), (1e9, 1e9))
    assert changes(folder) == []
    os.utime(os.path.join(folder, 'v02.csv'), (4e9, 4e9))
    assert len(changes(folder)) == 1 and 'v02.csv is newer than ' in changes(folder)[0]


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink('nowhere', path)])
def test_a_record_that_is_no_file_stops_no_survey(tmp_path, make):
    for end, seconds in (('.npy', 1e9), ('.csv', 2e9)):
        write_features(str(tmp_path / ('v' + end)), NUMBERS)
        os.utime(str(tmp_path / ('v' + end)), (seconds, seconds))
    make(str(tmp_path / 'conversion_record.jsonl'))
    assert 'v.csv is newer than ' in FeatureStore(str(tmp_path), WIDTH).survey(['v']).warnings[0]


def test_no_record_is_read_through_a_link_of_an_hdf5_file(tmp_path):
    made_of = json.dumps({'form': '.csv', 'size': 1, 'mtime_ns': 1})
    with h5py.File(str(tmp_path / 'other.h5'), 'w') as file:
        file['v'] = NUMBERS
        file['v'].attrs['made_of'] = made_of
    with h5py.File(str(tmp_path / 'clips.h5'), 'w') as file:
        file['v'] = h5py.ExternalLink('other.h5', '/v')
        file['w'] = NUMBERS
        file['w'].attrs['made_of'] = made_of
        assert made_of_hdf5(file, 'v') is None and made_of_hdf5(file, 'absent') is None
        assert made_of_hdf5(file, 'w') == json.loads(made_of)


def test_a_link_to_nothing_hides_no_folder(tmp_path):
    (tmp_path / 'clips').mkdir()
    write_features(str(tmp_path / 'clips' / 'v.npy'), NUMBERS)
    os.symlink('nowhere', str(tmp_path / 'clips.h5'))
    store = FeatureStore(str(tmp_path / 'clips'), WIDTH)
    assert not store.exists()
    assert message_of(store.read, 'v') == '%s: No such file or directory' % (tmp_path / 'clips.h5')


def test_a_survey_of_a_path_with_escapes_is_printable(tmp_path):
    folder = tmp_path / 'a\x1b[2J'
    folder.mkdir()
    for name, time_of in (('v.npy', 1e9), ('v.csv', 2e9)):
        write_features(str(folder / name), NUMBERS)
        os.utime(str(folder / name), (time_of, time_of))
    _, text, warnings = FeatureStore(str(folder), WIDTH).survey(['v'])
    assert 'a\\x1b[2J, folder' in text and text.isprintable() and warnings[0].isprintable()


# Numbers that look wrong

@pytest.mark.parametrize('end', ['.npy', '.csv', '.h5'])
@pytest.mark.parametrize('numbers, kind, message', [
    (NUMBERS * 0, 'only zeros', 'all numbers of its 3 rows are 0; was the video extracted?'),
    (NUMBERS * -0.0, 'only zeros', 'all numbers of its 3 rows are 0'),
    (NUMBERS * 1e6, 'large numbers', 'found numbers from -4.5e+06 to 6.5e+06, expected none beyond 1e+06'),
    (np.minimum(NUMBERS, 0) * 6e37, 'large numbers', 'found numbers from -2.7e+38 to 0'),
    (NUMBERS * 1e5, None, None), (np.where(NUMBERS > 0, 0, NUMBERS), None, None)])
def test_numbers_that_look_wrong_are_read_and_named(tmp_path, end, numbers, kind, message):
    path, found = str(tmp_path / ('v' + end)), []
    write_features(path, numbers.astype(np.float32))
    store = FeatureStore(path if end == '.h5' else str(tmp_path), WIDTH, on_suspect=lambda *told: found.append(told))
    np.testing.assert_allclose(store.read('v'), numbers, rtol=1e-5)
    assert [told[0] for told in found] == [kind] * bool(kind)
    if kind:
        assert found[0][1].startswith(path + ': ') and message in found[0][1]


def test_hdf5_chunks_that_were_never_written_look_wrong(tmp_path):
    path, found = str(tmp_path / 'clips.h5'), []
    with h5py.File(path, 'w') as file:
        file.create_dataset('v', (64, WIDTH), 'f4', chunks=(8, WIDTH))
        file.create_dataset('w', (64, WIDTH), 'f4', chunks=(8, WIDTH))[8:16] = 1
        file.create_dataset('whole', (61, WIDTH), 'f4', chunks=(8, WIDTH))[:] = 1  # the last chunk is not full
        part = file.create_dataset('part', (64, WIDTH), 'f4', chunks=(8, WIDTH), compression='gzip', shuffle=True)
        part[:48] = 1
    store = FeatureStore(path, WIDTH, on_suspect=lambda *told: found.append(told))
    assert not store.read('v').any()
    assert [kind for kind, _ in found] == ['chunks never written', 'only zeros']
    del found[:]
    assert store.read('w').any() and store.read('whole').all() and store.read('part').any()
    assert found == [('chunks never written', '%s: dataset %s: found %d of 8 chunks, and HDF5 gives zeros for the '
                      'others; was the file written to its end? Extract the features again' % (path, name, count))
                     for name, count in (('w', 1), ('part', 6))]
