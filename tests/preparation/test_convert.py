"""prepare_data.py features: every form into the fast ones, resumed, verified, and what the loader makes of them."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from data_sets import ROOT

import prepare_data
from config import DataConfig
from dataset.features import FeatureStore, interpolate
from preparation import convert
from runtime.errors import InputError, exit_status
from runtime.files import file_lock

WIDTH = 6


@pytest.fixture
def features(tmp_path):
    """{video: float32 features}, and a folder that has them, each in another form."""
    random, folder = np.random.RandomState(0), tmp_path / 'clips'
    folder.mkdir()
    found = {name: random.randn(rows, WIDTH).astype(np.float32) for name, rows in (('a', 3), ('b b', 1), ('ü', 9))}
    header = ','.join(map(str, range(WIDTH)))
    for (name, values), form in zip(found.items(), ('csv', 'npz', 'csv')):
        path = str(folder / ('%s.%s' % (name, form)))
        if form == 'csv':
            np.savetxt(path, values, delimiter=',', header=header, comments='', fmt='%.9g')
        else:
            np.savez(path, values)
    return found, str(folder)


def features_command(*flags):
    return exit_status(lambda: prepare_data.main(['features', '--feature_width', str(WIDTH), '--workers', '2']
                                                 + list(flags)))


def test_npy_beside_the_csv_is_what_the_loader_reads(features, capsys):
    found, folder = features
    assert features_command(folder) == 0
    assert '3 videos converted and verified, 0 there already' in capsys.readouterr().out
    for name, values in found.items():
        stored = np.load(os.path.join(folder, name + '.npy'))
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, values)
    os.remove(os.path.join(folder, 'a.csv'))
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read('a'), found['a'])


@pytest.mark.parametrize('form', ['npy', 'hdf5'])
def test_half_precision_into_another_place(features, form, tmp_path):
    found, folder = features
    out = str(tmp_path / 'fast')
    assert features_command(folder, '--form', form, '--dtype', 'float16', '--out', out) == 0
    for name, values in found.items():
        read = FeatureStore(out, WIDTH).read(name)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, values.astype(np.float16).astype(np.float32))
    assert not any('partial' in name for name in os.listdir(str(tmp_path)))


def test_hdf5_beside_the_folder_is_what_the_loader_reads(features):
    found, folder = features
    assert features_command(folder, '--form', 'hdf5') == 0
    store = FeatureStore(folder, WIDTH)
    assert store.path == folder + '.h5'
    np.testing.assert_array_equal(store.read('ü'), found['ü'])
    assert features_command(folder + '.h5', '--out', folder + '_again') == 0
    np.testing.assert_array_equal(FeatureStore(folder + '_again', WIDTH).read('ü'), found['ü'])


def test_what_is_done_is_not_done_again(features, capsys):
    _, folder = features
    assert features_command(folder) == 0
    stamp = os.stat(os.path.join(folder, 'ü.npy')).st_mtime_ns
    os.remove(os.path.join(folder, 'a.npy'))
    capsys.readouterr()
    assert features_command(folder) == 0
    assert '1 videos converted and verified, 2 there already' in capsys.readouterr().out
    assert os.stat(os.path.join(folder, 'ü.npy')).st_mtime_ns == stamp
    with open(os.path.join(folder, 'a.npy'), 'r+b') as file:
        file.truncate(100)
    later = time.time() + 10
    os.utime(os.path.join(folder, 'ü.csv'), (later, later))  # extracted again since
    assert features_command(folder) == 0
    assert '2 videos converted and verified, 1 there already' in capsys.readouterr().out
    assert features_command(folder, '--dtype', 'float16') == 0
    assert '3 videos converted and verified, 0 there already' in capsys.readouterr().out


def test_an_interrupted_hdf5_file_is_continued(features, capsys):
    found, folder = features

    def again(there, *flags):
        if os.path.exists(folder + '.h5'):
            os.rename(folder + '.h5', folder + '.h5.partial')
        assert features_command(folder, '--form', 'hdf5', '--out', folder + '.h5', *flags) == 0
        assert '%d videos converted and verified, %d there already' % (
            len(found) - there, there) in capsys.readouterr().out

    again(0)
    os.rename(folder + '.h5', folder + '.h5.partial')
    with h5py.File(folder + '.h5.partial', 'a') as file:
        del file['a']
    again(2)
    later = time.time() + 10
    os.utime(os.path.join(folder, 'ü.csv'), (later, later))  # extracted again since
    again(2)
    annotation = os.path.join(folder, 'durations.json')
    with open(annotation, 'w') as text:
        json.dump({video: {'duration_second': 2, 'duration_frame': 60} for video in found}, text)
    again(0, '--rows', '3', '--durations', annotation)
    again(0)
    again(3)
    os.rename(folder + '.h5', folder + '.h5.partial')
    with open(folder + '.h5.partial', 'r+b') as file:
        file.truncate(700)
    assert features_command(folder, '--form', 'hdf5') == 0
    assert '3 videos converted and verified, 0 there already' in capsys.readouterr().out
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read('ü'), found['ü'])


def test_folders_of_a_data_root_that_are_npy_already_are_passed_over(features, tmp_path, capsys):
    found, folder = features
    data = DataConfig(data_root=str(tmp_path / 'data'))
    source, target = data.path('source_features'), data.path('target_features')
    os.makedirs(source)
    np.save(os.path.join(source, 'v.npy'), found['a'])
    shutil.copytree(folder, target)
    for there in (0, 3):
        assert features_command('--data_root', data.data_root) == 0
        assert capsys.readouterr().out.splitlines() == [
            '%s: nothing to convert, the files are npy already' % source,
            '%s: %d videos converted and verified, %d there already' % (target, 3 - there, there)]
    assert features_command(source) == 2
    assert 'found no features to convert (looked for .npz, .csv)' in capsys.readouterr().err
    os.remove(os.path.join(source, 'v.npy'))
    assert features_command('--data_root', data.data_root) == 2  # an empty folder is not ready


def test_a_second_conversion_into_one_file_is_refused(features, capsys):
    _, folder = features
    with file_lock(os.path.join(os.path.dirname(folder), '.clips.h5.lock')):
        assert features_command(folder, '--form', 'hdf5') == 2
    assert '.clips.h5.lock: held by process' in capsys.readouterr().err


def test_a_second_conversion_into_one_folder_is_refused_and_leftovers_are_removed(features, capsys):
    _, folder = features
    leftover = os.path.join(folder, 'a.npy.partial123')
    open(leftover, 'w').close()
    with file_lock(os.path.join(folder, convert.LOCK)):
        assert features_command(folder) == 2
    assert '.conversion.lock: held by process' in capsys.readouterr().err and os.path.exists(leftover)
    assert features_command(folder) == 0 and not os.path.exists(leftover)


def test_a_folder_is_converted_not_what_was_made_of_it(features):
    found, folder = features
    with h5py.File(folder + '.h5', 'w') as file:
        file['a'] = found['a'] + 1
    assert features_command(folder) == 0
    np.testing.assert_array_equal(np.load(os.path.join(folder, 'a.npy')), found['a'])


@pytest.mark.parametrize('form', ['npy', 'hdf5'])
def test_a_bad_file_is_listed_and_the_others_are_converted(features, form, capsys):
    found, folder = features
    with open(os.path.join(folder, 'a.csv'), 'a') as file:
        file.write('1,2,3,4,five,6\n')
    np.savetxt(os.path.join(folder, 'c.csv'), np.full((2, WIDTH), 1e9), delimiter=',', header='x', comments='')
    assert features_command(folder, '--form', form, '--dtype', 'float16') == 2
    output = capsys.readouterr()
    assert '2 videos converted and verified' in output.out
    assert "a.csv: row 5, column 5: found 'five'" in output.err
    assert 'video c: found 1e+09, which is too large for float16; use --dtype float32' in output.err
    assert output.err.rstrip().endswith('2 videos could not be converted (2 shown); correct them and run the same '
                                        'command again: converted videos are kept')
    if form == 'hdf5':  # not in place of the folder before it is complete
        assert not os.path.exists(folder + '.h5')
        assert features_command(folder, '--form', form, '--dtype', 'float16') == 2
        assert '0 videos converted and verified, 2 there already' in capsys.readouterr().out
    else:
        assert FeatureStore(folder, WIDTH).read('ü').shape == found['ü'].shape


def test_rescaling(features, tmp_path):
    found, folder = features
    annotation = tmp_path / 'annotation.json'
    annotation.write_text('{"a": {"duration_second": 1.0, "duration_frame": 30}, "x": {}, "ü": '
                          '{"duration_second": 3, "duration_frame": 72}}')
    out = str(tmp_path / 'out')
    # b b has no duration
    assert features_command(folder, '--rows', '8', '--durations', str(annotation), '--out', out) == 2
    np.testing.assert_array_equal(np.load(os.path.join(out, 'a.npy')), interpolate(found['a'], 8, 1.0, 30))
    np.testing.assert_array_equal(np.load(os.path.join(out, 'ü.npy')), interpolate(found['ü'], 8, 3.0, 72))


@pytest.mark.parametrize('flags, message', [
    (('{folder}', '--rows', '8'), '--rows 8: give also --durations'),
    (('{folder}', '{folder}', '--out', 'x'), '--out x: can hold the features of one path, found 2'),
    (('{folder}x',), 'clipsx: found no such folder or HDF5 file'),
    (('{folder}/..',), 'found no features to convert (looked for .npz, .csv)'),
    (('{folder}/a.csv',), 'a.csv: not an HDF5 file of features'),
    (('{folder}/v.h5',), 'v.h5/.conversion.lock: cannot be written: File exists'),
    (('{folder}', '--rows', '0'), '--rows 0: expected 1 to'),
    (('--data_root', '{folder}'), 'found none of ActivityNet/csv_mean_512_p3d_clip_2018'),
    (('{folder}', '--workers', '-1'), '--workers -1: expected 0 to 1024'),
    (('{folder}', '--workers', '1000000'), '--workers 1000000: expected 0 to 1024'),
    (('{folder}', '--feature_width', '0'), '--feature_width 0: expected 1 to'),
    (('{folder}', '--rows', '-1', '--durations', 'x', '--out', 'x'), '--rows -1: expected 1 to 131072'),
    (('{folder}', '--out', '{folder}/a.csv'), 'a.csv/.conversion.lock: cannot be written: File exists'),
    (('{folder}', '--form', 'hdf5', '--out', '{folder}'), 'clips: found a folder, expected the path of an HDF5 file'),
    (('{folder}', '--form', 'hdf5', '--out', '{folder}/a.csv/x'), '.x.lock: cannot be written: File exists'),
    (('{folder}', '--rows', '8', '--durations', '{folder}/none', '--out', 'x'), 'none: No such file')])
def test_what_cannot_be_converted_is_reported_in_one_line(features, flags, message, capsys):
    found, folder = features
    with h5py.File(os.path.join(folder, 'v.h5'), 'w') as file:
        file['a'] = found['a']
    assert features_command(*[flag.format(folder=folder) for flag in flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


@pytest.mark.parametrize('form', ['npy', 'hdf5'])
def test_places_that_cannot_be_written(features, form, tmp_path, capsys):
    for out in ('file/below', 'file' if form == 'npy' else 'folder'):
        os.makedirs(str(tmp_path / 'folder'), exist_ok=True)
        (tmp_path / 'file').write_text('mine')
        assert features_command(features[1], '--form', form, '--out', str(tmp_path / out)) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
        assert len(error) == 1 and out.split('/')[0] in error[0] and (tmp_path / 'file').read_text() == 'mine'


def test_groups_and_links_of_an_hdf5_file_are_listed(tmp_path, capsys):
    path = str(tmp_path / 'clips.h5')
    os.mkfifo(str(tmp_path / 'pipe'))
    with h5py.File(path, 'w') as file:
        file['v'] = np.ones((2, WIDTH), np.float32)
        file.create_group('group')
        file['external'], file['soft'] = h5py.ExternalLink('pipe', '/v'), h5py.SoftLink('/nowhere')
    assert features_command(path, '--out', str(tmp_path / 'out')) == 2
    output = capsys.readouterr()
    assert '1 videos converted' in output.out and 'has no dataset group' in output.err
    assert 'dataset external: found a link' in output.err and 'dataset soft: found a link' in output.err


def test_a_link_that_leads_nowhere_is_listed(features, capsys):
    _, folder = features
    os.symlink('nowhere', os.path.join(folder, 'c.csv'))
    assert features_command(folder) == 2
    output = capsys.readouterr()
    assert '3 videos converted' in output.out and 'c.csv: No such file' in output.err


@pytest.mark.parametrize('content', [None, b'', np.float32(3), np.ones((2, 9), np.float32)], ids=range(4))
def test_an_npy_that_is_not_what_is_to_be_there_is_made_again(features, content):
    found, folder = features
    path = os.path.join(folder, 'b b.npy')
    if content is None:
        shutil.copy(os.path.join(folder, 'b b.npz'), path)
    elif isinstance(content, bytes):
        open(path, 'wb').close()
    else:
        np.save(path, content)
    assert features_command(folder) == 0
    np.testing.assert_array_equal(np.load(path), found['b b'])


def test_of_an_unfinished_hdf5_file_only_what_fits_is_kept(features):
    found, folder = features
    partial = folder + '.h5.partial'
    with h5py.File(partial, 'w') as file:
        file.create_group('a')
        file['b b'] = np.ones((1, WIDTH + 1), np.float32)
        file['ü'] = found['ü'] + 1
        for name, form in (('a', 'csv'), ('b b', 'npz'), ('ü', 'csv')):
            changed = os.path.getmtime(os.path.join(folder, '%s.%s' % (name, form)))
            file[name].attrs[convert.MADE_OF] = changed - (name == 'ü'), 0  # ü: extracted again since
    assert features_command(folder, '--form', 'hdf5') == 0
    for name, values in found.items():
        np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read(name), values)


def test_a_full_disk_is_reported_before_the_hdf5_file_is_damaged(features, capsys, monkeypatch):
    _, folder = features
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'disk_usage', lambda _: shutil._ntuple_diskusage(9, 9, 0))
        assert features_command(folder, '--form', 'hdf5') == 2
    assert 'partial: cannot be written ([Errno 28] No space left on device)' in capsys.readouterr().err
    assert features_command(folder, '--form', 'hdf5') == 0


@pytest.mark.parametrize('form', ['npy', 'hdf5'])
def test_ctrl_c_at_once_is_one_line(tmp_path, form):
    for number in range(500):
        np.savez(str(tmp_path / ('%d.npz' % number)), np.zeros((2, WIDTH), np.float32))
    process = subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'prepare_data.py'), 'features', str(tmp_path), '--workers', '2',
         '--feature_width', str(WIDTH), '--form', form], stderr=subprocess.PIPE, start_new_session=True)
    output = b''
    while output.count(b'video/s]') < 2:  # the progress bar is drawn again: threads are at work
        output += process.stderr.read(1)
    started = time.time()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    output += process.communicate(timeout=300)[1]
    assert process.returncode == 130 and time.time() - started < 10
    assert output.endswith(b'\nstopped by SIGINT\n') and output.count(b'\n') == 2  # the other ends the bar


def test_an_interrupt_leaves_complete_files(tmp_path):
    folder = tmp_path / 'many'
    folder.mkdir()
    for number in range(2000):
        np.savez(str(folder / ('%04d.npz' % number)), np.full((2, WIDTH), number, np.float32))
    process = subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'prepare_data.py'), 'features', str(folder), '--workers', '1',
         '--feature_width', str(WIDTH)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(folder.glob('*.npy')):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    done = sorted(folder.glob('*.npy'))
    assert process.returncode != 0 and 0 < len(done) < 2000
    assert not list(folder.glob('*partial*'))
    for path in done:
        assert np.load(str(path))[0, 0] == int(path.stem)
    assert features_command(str(folder)) == 0
    assert len(list(folder.glob('*.npy'))) == 2000


def test_the_store_prefers_npy_and_refuses_what_is_not_asked_for(features):
    found, folder = features
    np.save(os.path.join(folder, 'a.npy'), found['a'] + 1)
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read('a'), found['a'] + 1)
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH, ('.npz', '.csv')).read('a'), found['a'])
    with pytest.raises(InputError, match='no features of video a'):
        FeatureStore(folder, WIDTH, ('.npz',)).read('a')
