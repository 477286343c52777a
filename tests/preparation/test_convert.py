"""prepare_data.py features: every form into the fast ones, resumed, verified, and what the loader makes of them."""
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from data_sets import ROOT, make, video

import prepare_data
from config import DataConfig
from dataset.conversion_record import MADE_OF, RECORD
from dataset.features import FeatureStore, interpolate
from preparation.converted import LOCK
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
    assert '1 video converted and verified, 2 there already' in capsys.readouterr().out
    assert os.stat(os.path.join(folder, 'ü.npy')).st_mtime_ns == stamp
    later = time.time() + 10
    os.utime(os.path.join(folder, 'ü.csv'), (later, later))  # extracted again since
    assert features_command(folder) == 0
    assert '1 video converted and verified, 2 there already' in capsys.readouterr().out
    assert features_command(folder, '--dtype', 'float16') == 0
    assert '3 videos converted and verified, 0 there already' in capsys.readouterr().out


def test_an_interrupted_hdf5_file_is_continued(features, tmp_path, capsys):
    found, folder = features
    os.makedirs(str(tmp_path / 'away'))
    for name in ('b b.npz', 'ü.csv'):  # as if they were not read yet
        os.rename(os.path.join(folder, name), str(tmp_path / 'away' / name))
    with open(os.path.join(folder, 'ü.csv'), 'w') as file:
        file.write('no numbers')
    assert features_command(folder, '--form', 'hdf5') == 2
    os.remove(os.path.join(folder, 'ü.csv'))
    for name in ('b b.npz', 'ü.csv'):
        os.rename(str(tmp_path / 'away' / name), os.path.join(folder, name))
    assert os.listdir(folder + '.h5.partial') and not os.path.exists(folder + '.h5')
    assert converted(capsys, folder, '--form', 'hdf5') == '2 videos converted and verified, 1 there already'
    assert sorted(os.listdir(str(tmp_path))) == ['.clips.h5.lock', 'away', 'clips', 'clips.h5']
    for name, values in found.items():
        np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read(name), values)


def test_videos_of_an_interrupted_hdf5_file_whose_source_is_gone_are_kept(features, capsys):
    found, folder = features
    for content in ('no numbers', ''):
        with open(os.path.join(folder, 'bad.csv'), 'w') as file:
            file.write(content)
        assert features_command(folder, '--form', 'hdf5') == 2
        if os.path.exists(os.path.join(folder, 'a.csv')):
            os.remove(os.path.join(folder, 'a.csv'))
    os.remove(os.path.join(folder, 'bad.csv'))
    line = '0 videos converted and verified, 2 there already, 1 kept whose source is gone'
    for _ in range(2):
        assert converted(capsys, folder, '--form', 'hdf5') == line
        np.testing.assert_array_equal(FeatureStore(folder + '.h5', WIDTH).read('a'), found['a'])
    assert not os.path.exists(folder + '.h5.partial')


def test_a_disk_that_does_not_answer_for_a_moment_costs_nothing(features, capsys, monkeypatch):
    _, folder = features
    converted(capsys, folder, '--form', 'hdf5')
    np.savez(os.path.join(folder, 'new.npz'), np.ones((1, WIDTH), np.float32))

    def fail(path, mode):
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as patch:  # while the finished file is opened, or written
        for place in ('preparation.converted.h5py.File', 'preparation.converted.sync'):
            patch.setattr(place, fail if place.endswith('File') else lambda path: fail(path, ''))
            assert features_command(folder, '--form', 'hdf5') == 2
            assert 'clips.h5: ' in capsys.readouterr().err
            patch.undo()
    assert converted(capsys, folder, '--form', 'hdf5') == '0 videos converted and verified, 4 there already'


def test_an_unfinished_file_of_an_earlier_version_is_refused(features, capsys):
    found, folder = features
    with h5py.File(folder + '.h5.partial', 'w') as file:
        file['a'] = found['a']
    assert features_command(folder, '--form', 'hdf5') == 2
    assert 'clips.h5.partial: found no folder, expected the folder of unfinished' in capsys.readouterr().err
    with h5py.File(folder + '.h5.partial', 'r') as file:
        assert list(file) == ['a']


def test_a_finished_file_of_an_earlier_version_is_made_again(features, capsys):
    found, folder = features
    with h5py.File(folder + '.h5', 'w') as file:
        for name in ('a', 'old'):
            file[name] = found['a'] + 1
            file[name].attrs[MADE_OF] = 1.0, 0
    assert converted(capsys, folder, '--form', 'hdf5') == (
        '3 videos converted and verified, 0 there already, 1 kept whose source is gone')
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read('a'), found['a'])
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read('old'), found['a'] + 1)


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
            '%s: nothing to convert, the features are npy already' % source,
            '%s: %d videos converted and verified, %d there already' % (target, 3 - there, there)]
    assert features_command(source) == 2
    assert 'found npy already, which training reads as it is; for an HDF5 file give' in capsys.readouterr().err
    os.remove(os.path.join(source, 'v.npy'))
    assert features_command('--data_root', data.data_root) == 2  # an empty folder is not ready, the other is
    output = capsys.readouterr()
    assert 'found no features to convert' in output.err and '0 videos converted and verified, 3 there' in output.out


def test_a_second_conversion_into_one_file_is_refused(features, capsys):
    _, folder = features
    with file_lock(os.path.join(os.path.dirname(folder), '.clips.h5.lock')):
        assert features_command(folder, '--form', 'hdf5') == 2
    assert '.clips.h5.lock: held by process' in capsys.readouterr().err


def test_a_second_conversion_into_one_folder_is_refused_and_leftovers_are_removed(features, capsys):
    _, folder = features
    leftover, other = [os.path.join(folder, name + '.npy.partial123') for name in ('a', 'no video')]
    for path in (leftover, other):
        open(path, 'w').close()
    os.mkdir(os.path.join(folder, 'ü.npy.partial1'))
    with file_lock(os.path.join(folder, LOCK)):
        assert features_command(folder) == 2
    assert '.conversion.lock: held by process' in capsys.readouterr().err and os.path.exists(leftover)
    assert features_command(folder) == 0 and not os.path.exists(leftover)
    assert os.path.exists(other) and os.path.exists(os.path.join(folder, 'ü.npy.partial1'))


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
    assert output.err.rstrip().endswith(
        'could not convert some videos or folders: 2 (2 shown); correct their files, move them away, or skip bad '
        'videos with --skip_bad, and run the same command again: converted videos are kept')
    if form == 'hdf5':  # not in place of the folder before it is complete
        assert not os.path.exists(folder + '.h5')
        assert ('; this file was not made, because 2 videos could not be converted; the others are in %s.h5.partial\n'
                % folder) in output.out
        assert features_command(folder, '--form', form, '--dtype', 'float16') == 2
        assert '0 videos converted and verified, 2 there already' in capsys.readouterr().out
    assert features_command(folder, '--form', form, '--dtype', 'float16', '--skip_bad') == 0
    output = capsys.readouterr()
    assert '0 videos converted and verified, 2 there already' in output.out and 'was not made' not in output.out
    assert "skipped: " in output.err and "row 5, column 5: found 'five'" in output.err
    assert FeatureStore(folder, WIDTH).read('ü').shape == found['ü'].shape
    if form == 'hdf5':
        before = os.stat(folder + '.h5').st_ino
        assert features_command(folder, '--form', form, '--dtype', 'float16', '--skip_bad') == 0
        assert os.stat(folder + '.h5').st_ino == before  # nothing is new
    os.mkdir(folder + '/bad')
    shutil.copy(os.path.join(folder, 'a.csv'), folder + '/bad')
    assert features_command(folder + '/bad', '--form', form, '--skip_bad') == 2
    assert 'could not convert some videos or folders: 1 ' in capsys.readouterr().err  # nothing is left to finish


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
    (('',), 'error: found an empty path; name a folder or an HDF5 file'),
    (('{folder}', '--out', ''), 'error: found an empty path; name'),
    (('--data_root', ''), 'error: found an empty path; name'),
    (('{folder}', '--rows', '8'), '--rows 8: give also --durations'),
    (('{folder}', '{folder}', '--out', 'x'), '--out x: can hold the features of one path, found 2'),
    (('{folder}x',), 'clipsx: found no such folder or HDF5 file'),
    (('{folder}/..',), 'found no features to convert (looked for .npz, .csv)'),
    (('{folder}/a.csv',), 'a.csv: not an HDF5 file of features'),
    (('{folder}/v.h5',), 'v.h5: found HDF5 already, which training reads as it is; for npy files give --out FOLDER; '
     'to change type, rows or layout give --form hdf5 --out OTHER.h5'),
    (('{folder}/v.h5', '--form', 'hdf5'), 'v.h5: found HDF5 already'),
    (('{folder}', '--rows', '0'), '--rows 0: expected 1 to'),
    (('--data_root', '{folder}'), 'found none of ActivityNet/csv_mean_512_p3d_clip_2018'),
    (('{folder}', '--workers', '-1'), '--workers -1: expected 0 to 1024'),
    (('{folder}', '--workers', '1000000'), '--workers 1000000: expected 0 to 1024'),
    (('{folder}', '--feature_width', '0'), '--feature_width 0: expected 1 to'),
    (('{folder}', '--rows', '-1', '--durations', 'x', '--out', 'x'), '--rows -1: expected 1 to 131072'),
    (('{folder}', '--out', '{folder}/a.csv'), 'a.csv: found a file, expected a folder for npy files (--out)'),
    (('{folder}', '--form', 'hdf5', '--out', '{folder}/a.csv'), 'a.csv: found a file that cannot be read as HDF5 ('),
    (('{folder}', '--form', 'hdf5', '--out', '{folder}/v.h5'), 'v.h5: found an HDF5 file that this program did not '
     'make (no record of dataset a); it is not replaced: move it away, or name another file with --out'),
    (('{folder}/v.h5', '--form', 'hdf5', '--out', '{folder}/../clips/v.h5'), 'v.h5: would overwrite'),
    (('{folder}', '--form', 'hdf5', '--out', '{folder}/x', '--durations', '{folder}/x'), '/x: would overwrite'),
    (('{folder}', '--form', 'hdf5', '--out', '{folder}'), 'clips: found a folder, expected the path of an HDF5 file'),
    (('{folder}', '--form', 'hdf5', '--out', '{folder}/a.csv/x'), 'a.csv: cannot be written: found a file'),
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
    assert '1 video converted' in output.out and 'has no dataset group' in output.err
    assert 'dataset external: found a link' in output.err and 'dataset soft: found a link' in output.err


def test_a_link_that_leads_nowhere_is_listed(features, capsys):
    _, folder = features
    os.symlink('nowhere', os.path.join(folder, 'c.csv'))
    assert features_command(folder) == 2
    output = capsys.readouterr()
    assert '3 videos converted' in output.out and 'c.csv: No such file' in output.err


@pytest.mark.parametrize('content', [None, b'', np.float32(3), np.ones((2, 9), np.float32), 'link', 'folder'],
                         ids=range(6))
def test_an_npy_without_a_record_that_cannot_be_used_is_reported_and_kept(features, content, capsys):
    found, folder = features
    path = os.path.join(folder, 'b b.npy')
    if content is None:
        shutil.copy(os.path.join(folder, 'b b.npz'), path)
    elif isinstance(content, bytes):
        open(path, 'wb').close()
    elif isinstance(content, str):
        os.symlink('nowhere', path) if content == 'link' else os.mkdir(path)
    else:
        np.save(path, content)
    before = os.lstat(path).st_ino, os.lstat(path).st_size
    assert features_command(folder) == 2
    output = capsys.readouterr()
    assert '2 videos converted and verified, 0 there already' in output.out
    assert 'b b.npy: found a file that cannot be used (' in output.err and 'has no record of its' in output.err
    assert (os.lstat(path).st_ino, os.lstat(path).st_size) == before
    os.rename(path, path + '_mine')
    assert features_command(folder) == 0
    np.testing.assert_array_equal(np.load(path), found['b b'])


def test_a_full_disk_is_reported_before_the_hdf5_file_is_damaged(features, capsys, monkeypatch):
    _, folder = features
    with monkeypatch.context() as patch:
        patch.setattr(shutil, 'disk_usage', lambda _: shutil._ntuple_diskusage(9, 9, 0))
        assert features_command(folder, '--form', 'hdf5') == 2
    assert 'clips.h5: cannot be written: the disk is full; free as much space' in capsys.readouterr().err
    assert sorted(os.listdir(os.path.dirname(folder))) == ['.clips.h5.lock', 'clips', 'clips.h5.partial']
    assert converted(capsys, folder, '--form', 'hdf5') == '0 videos converted and verified, 3 there already'


def limited_command(size, *flags):
    """(exit status, standard error) of a conversion whose files can have `size` bytes at most, as of a full disk."""
    process = subprocess.run(
        [sys.executable, os.path.join(ROOT, 'prepare_data.py'), 'features', *flags, '--feature_width', str(WIDTH),
         '--workers', '1'], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return process.returncode, process.stderr.decode()


def test_an_npy_that_cannot_be_written_ends_the_conversion(features, capsys):
    _, folder = features
    np.savez_compressed(os.path.join(folder, 'ž.npz'), np.zeros((9000, WIDTH), np.float32))
    status, error = limited_command(20000, folder, '--skip_bad')
    assert status == 2 and error == (
        'error: %s/ž.npy: cannot be written: File too large; correct this and run the same command again: '
        'converted videos are kept\n' % folder)
    assert sorted(name for name in os.listdir(folder) if 'npy' in name) == ['a.npy', 'b b.npy', 'ü.npy']
    assert converted(capsys, folder) == '1 video converted and verified, 3 there already'


def test_an_hdf5_file_that_has_no_room_is_not_started(tmp_path, capsys):
    folder = str(tmp_path / 'clips')
    os.mkdir(folder)
    for number in range(9):
        np.savez(os.path.join(folder, '%d.npz' % number), np.full((9000, WIDTH), number, np.float32))
    status, error = limited_command(300000, folder, '--form', 'hdf5')
    assert status == 2 and error.startswith('error: %s.h5: cannot be written: File too large; make ' % folder)
    assert error.count('\n') == 1
    assert sorted(os.listdir(str(tmp_path))) == ['.clips.h5.lock', 'clips', 'clips.h5.partial']
    assert converted(capsys, folder, '--form', 'hdf5') == '0 videos converted and verified, 9 there already'


def test_a_file_system_that_cannot_reserve_space_is_written_to(features, capsys, monkeypatch):
    def fail(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, 'posix_fallocate', fail)
    assert converted(capsys, features[1], '--form', 'hdf5') == '3 videos converted and verified, 0 there already'


def test_a_link_in_place_of_the_folder_of_unfinished_videos_stays(features, tmp_path, capsys):
    _, folder = features
    os.mkdir(str(tmp_path / 'disk'))
    os.symlink('disk', folder + '.h5.partial')
    assert converted(capsys, folder, '--form', 'hdf5') == '3 videos converted and verified, 0 there already'
    assert converted(capsys, folder, '--form', 'hdf5') == '0 videos converted and verified, 3 there already'
    assert os.path.islink(folder + '.h5.partial') and os.listdir(str(tmp_path / 'disk')) == []


def test_a_name_too_long_for_an_unfinished_file_is_listed(features, capsys):
    _, folder = features
    np.savez(os.path.join(folder, 'v' * 240), np.ones((1, WIDTH), np.float32))
    assert features_command(folder, '--skip_bad') == 0
    output = capsys.readouterr()
    assert '3 videos converted' in output.out and 'a name of 240 bytes, expected 230 at most; rename' in output.err


def test_a_data_root_with_hdf5_files_only_has_nothing_to_convert(features, tmp_path, capsys):
    _, folder = features
    data = DataConfig(data_root=str(tmp_path / 'data'))
    paths = data.path('source_features'), data.path('target_clips')
    for path, end in zip(paths, ('.h5', '.hdf5')):
        converted(capsys, folder, '--form', 'hdf5', '--out', path + end)
    for form in FORM_FLAGS.values():
        assert features_command('--data_root', data.data_root, *form) == 0
        assert sorted(capsys.readouterr().out.splitlines()) == sorted(
            '%s: nothing to convert, the features are HDF5 already' % path for path in paths)


@pytest.mark.parametrize('form', ['npy', 'hdf5'])
def test_ctrl_c_at_once_is_one_line(tmp_path, form):
    folder = tmp_path / 'clips'
    folder.mkdir()
    for number in range(500):
        np.savez(str(folder / ('%d.npz' % number)), np.zeros((2, WIDTH), np.float32))
    process = subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'prepare_data.py'), 'features', str(folder), '--workers', '2',
         '--feature_width', str(WIDTH), '--form', form], stderr=subprocess.PIPE, start_new_session=True)
    while not list(tmp_path.glob('clips*/*.npy')):  # threads are at work; for HDF5, in the folder clips.h5.partial
        time.sleep(0.01)
        assert process.poll() is None
    started = time.time()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    output = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and time.time() - started < 10
    assert output == b'stopped by SIGINT\n'


def test_an_interrupt_leaves_complete_files(tmp_path):
    folder = tmp_path / 'many'
    folder.mkdir()
    for number in range(1000):
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
    assert process.returncode != 0 and 0 < len(done) < 1000
    assert not list(folder.glob('*partial*'))
    for path in done:
        assert np.load(str(path))[0, 0] == int(path.stem)
    assert features_command(str(folder)) == 0
    assert len(list(folder.glob('*.npy'))) == 1000


def test_the_store_prefers_npy_and_refuses_what_is_not_asked_for(features):
    found, folder = features
    np.save(os.path.join(folder, 'a.npy'), found['a'] + 1)
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read('a'), found['a'] + 1)
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH, ('.npz', '.csv')).read('a'), found['a'])
    with pytest.raises(InputError, match='no features of video a'):
        FeatureStore(folder, WIDTH, ('.npz',)).read('a')


# What is there already: what each video was made of decides

FORM_FLAGS = {'npy': (), 'hdf5': ('--form', 'hdf5')}


def converted(capsys, *flags):
    """The line about a conversion that has to succeed, without the path."""
    capsys.readouterr()
    assert features_command(*flags) == 0
    return capsys.readouterr().out.split(': ', 1)[1].rstrip('\n')


@pytest.mark.parametrize('form', FORM_FLAGS)
def test_a_source_with_another_date_even_an_older_one_is_converted_again(features, form, capsys):
    found, folder = features
    converted(capsys, folder, *FORM_FLAGS[form])
    with open(os.path.join(folder, 'a.csv')) as file:
        text = file.read()
    with open(os.path.join(folder, 'a.csv'), 'w') as file:
        file.write(text.replace(text.split('\n')[1], '7,' * (WIDTH - 1) + '7'))
    os.utime(os.path.join(folder, 'a.csv'), (1, 1))  # as cp -p, rsync -t and tar restore it
    there = folder + '.h5' if form == 'hdf5' else folder
    assert converted(capsys, folder, *FORM_FLAGS[form]) == '1 video converted and verified, 2 there already'
    np.testing.assert_array_equal(FeatureStore(there, WIDTH).read('a')[0], [7] * WIDTH)
    np.testing.assert_array_equal(FeatureStore(there, WIDTH).read('ü'), found['ü'])
    assert converted(capsys, folder, *FORM_FLAGS[form]) == '0 videos converted and verified, 3 there already'


@pytest.mark.parametrize('form', FORM_FLAGS)
def test_the_file_that_is_read_decides_not_another_form_of_the_video(features, form, capsys, tmp_path):
    found, folder = features
    flags = FORM_FLAGS[form] + ('--out', str(tmp_path / 'out'))
    os.utime(os.path.join(folder, 'a.csv'), (2, 2))
    converted(capsys, folder, *flags)
    np.savez(os.path.join(folder, 'a.npz'), found['a'] + 1)  # is read in place of a.csv
    os.utime(os.path.join(folder, 'a.npz'), (3, 3))
    assert converted(capsys, folder, *flags) == '1 video converted and verified, 2 there already'
    np.testing.assert_array_equal(FeatureStore(str(tmp_path / 'out'), WIDTH).read('a'), found['a'] + 1)
    os.utime(os.path.join(folder, 'a.csv'), (1, 1))  # is not read
    assert converted(capsys, folder, *flags) == '0 videos converted and verified, 3 there already'


@pytest.mark.parametrize('seconds', [1, 2e9])
def test_an_npy_whose_source_was_replaced_is_not_converted(features, seconds, capsys):
    found, folder = features
    converted(capsys, folder)
    np.savetxt(os.path.join(folder, 'a.csv'), found['a'] + 1, delimiter=',', header='x', comments='', fmt='%.9g')
    os.utime(os.path.join(folder, 'a.csv'), (seconds, seconds))
    os.utime(os.path.join(folder, 'b b.npz'), (3e9, 3e9))
    converted(capsys, folder, '--form', 'npy', '--out', folder)  # of a.csv and b b.npz as they are now
    os.utime(os.path.join(folder, 'a.csv'), (seconds + 5, seconds + 5))
    assert features_command(folder, '--form', 'hdf5') == 2
    error = capsys.readouterr().err
    assert ('{0}/a.npy: was made of {0}/a.csv, which has changed since; convert {0} to npy files again, or move away '
            'what is older'.format(folder)) in error
    assert error.count('error: ') == 2 and not os.path.exists(folder + '.h5')
    converted(capsys, folder)  # as the line says
    assert converted(capsys, folder, '--form', 'hdf5') == '1 video converted and verified, 2 there already'
    np.testing.assert_allclose(FeatureStore(folder, WIDTH).read('a'), found['a'] + 1, atol=1e-6)


def test_a_file_older_than_another_of_its_video_is_not_converted(features, capsys):
    found, folder = features
    for name in found:
        np.save(os.path.join(folder, name + '.npy'), found[name])  # of no conversion
        os.utime(os.path.join(folder, name + '.npy'), (3e9, 3e9))
    assert converted(capsys, folder, '--form', 'hdf5') == '3 videos converted and verified, 0 there already'
    np.savez(os.path.join(folder, 'a.npz'), found['a'] + 1)
    os.utime(os.path.join(folder, 'a.npz'), (4e9, 4e9))
    assert features_command(folder, '--form', 'hdf5') == 2
    assert ('{0}/a.npy: is read in place of {0}/a.npz, which is newer; move away what is older'.format(folder)
            in capsys.readouterr().err)
    assert sorted(h5py.File(folder + '.h5', 'r')) == ['a', 'b b', 'ü']  # as it was
    assert features_command(folder, '--form', 'hdf5', '--skip_bad') == 0
    assert 'skipped: %s/a.npy: is read in place' % folder in capsys.readouterr().err
    assert sorted(h5py.File(folder + '.h5', 'r')) == ['b b', 'ü']
    os.utime(os.path.join(folder, 'a.csv'), (5e9, 5e9))
    os.remove(os.path.join(folder, 'a.npy'))
    assert features_command(folder) == 2
    assert 'a.npz: is read in place of %s/a.csv, which is newer' % folder in capsys.readouterr().err


@pytest.mark.parametrize('form', FORM_FLAGS)
def test_a_copied_folder_is_known_by_the_bytes_of_its_files(features, form, capsys, tmp_path):
    found, folder = features
    out, copy = str(tmp_path / 'out'), str(tmp_path / 'copy')
    flags = FORM_FLAGS[form] + ('--out', copy)
    if form == 'hdf5':  # unfinished
        with open(os.path.join(folder, 'bad.csv'), 'w') as file:
            file.write('no numbers')
        assert features_command(folder, '--form', 'hdf5', '--out', out) == 2
        os.remove(os.path.join(folder, 'bad.csv'))
        out, copied = out + '.partial', copy + '.partial'
    else:
        converted(capsys, folder, '--out', out)
        copied = copy
    shutil.copytree(out, copied, copy_function=shutil.copyfile)
    for name in found:
        os.utime(os.path.join(copied, name + '.npy'), (9, 9))
    np.save(os.path.join(copied, 'a.npy'), found['a'] + 1)  # of the same size, but not ours
    if form == 'hdf5':
        assert features_command(folder, *flags) == 2
        assert 'a.npy: found a file without a record' in capsys.readouterr().err
        os.remove(os.path.join(copied, 'a.npy'))
        assert converted(capsys, folder, *flags) == '1 video converted and verified, 2 there already'
        return
    line = '0 videos converted and verified, 3 there already (1 of them not made by a recorded conversion)'
    assert converted(capsys, folder, *flags) == line
    record = os.path.getsize(os.path.join(copied, RECORD))
    assert converted(capsys, folder, *flags) == line
    assert os.path.getsize(os.path.join(copied, RECORD)) == record  # the new dates are recorded once


def test_an_hdf5_file_does_not_mix_widths_types_and_rows(features, capsys):
    found, folder = features
    converted(capsys, folder, '--form', 'hdf5')
    os.remove(os.path.join(folder, 'a.csv'))
    before = os.stat(folder + '.h5').st_ino
    assert features_command(folder, '--form', 'hdf5', '--dtype', 'float16') == 2
    error = capsys.readouterr().err
    assert error == ('error: %s.h5: found video a, whose source is gone, with dtype float32, expected dtype float16, '
                     'as this conversion writes; write to another file with --out OTHER.h5\n' % folder)
    assert features_command(folder, '--form', 'hdf5', '--feature_width', str(WIDTH + 1)) == 2
    assert 'with width 6, expected width 7' in capsys.readouterr().err
    with open(folder + '.json', 'w') as file:
        json.dump({name: {'duration_second': 1.0, 'duration_frame': 80} for name in found}, file)
    flags = folder, '--form', 'hdf5', '--out', folder + '.h5', '--rows', '9', '--durations', folder + '.json'
    assert features_command(*flags) == 2
    assert 'with rows as in its source, expected rows 9' in capsys.readouterr().err
    assert os.stat(folder + '.h5').st_ino == before and not os.path.exists(folder + '.h5.partial')


def test_an_earlier_npy_of_a_video_that_cannot_be_converted_is_named(features, capsys):
    found, folder = features
    converted(capsys, folder)
    with open(os.path.join(folder, 'a.csv'), 'a') as file:
        file.write('1,2,3,4,five,6\n')
    assert features_command(folder, '--skip_bad') == 0
    assert ("skipped: {0}/a.csv: row 5, column 5: found 'five'; expected a header row, then rows of numbers: extract "
            'the features again; its earlier {0}/a.npy stays and is read in its place; remove it\n'
            .format(folder)) in capsys.readouterr().err


@pytest.mark.parametrize('form', FORM_FLAGS)
def test_files_of_other_rows_type_or_width_are_not_there_already(features, form, capsys, tmp_path):
    found, folder = features
    annotation = tmp_path / 'durations.json'
    annotation.write_text(json.dumps({name: {'duration_second': 1.0, 'duration_frame': 80} for name in found}))
    flags = FORM_FLAGS[form] + ('--out', str(tmp_path / 'out'))
    rows = lambda number: ('--rows', number, '--durations', str(annotation))  # noqa: E731
    for more in (rows('9'), rows('5'), rows('5') + ('--dtype', 'float16'), ()):
        assert converted(capsys, folder, *flags + more) == '3 videos converted and verified, 0 there already'
        assert converted(capsys, folder, *flags + more) == '0 videos converted and verified, 3 there already'
    np.testing.assert_array_equal(FeatureStore(str(tmp_path / 'out'), WIDTH).read('ü'), found['ü'])
    assert features_command(folder, *flags, '--feature_width', str(WIDTH + 1)) == 2
    assert 'found 6 columns, expected 7' in capsys.readouterr().err


def test_a_slash_at_the_end_of_a_path_changes_nothing(features, capsys, monkeypatch):
    found, folder = features
    converted(capsys, folder + '/', '--form', 'hdf5')
    assert os.path.exists(folder + '.h5') and not os.path.exists(os.path.join(folder, '.h5'))
    monkeypatch.chdir(folder)
    assert converted(capsys, '.', '--form', 'hdf5') == '0 videos converted and verified, 3 there already'
    assert converted(capsys, folder, '--form', 'hdf5', '--out', folder + '.h5/').startswith('0 videos')


def test_a_finished_hdf5_file_is_not_made_again_and_takes_new_videos(features, capsys):
    found, folder = features
    converted(capsys, folder, '--form', 'hdf5')
    stamp = os.stat(folder + '.h5')
    assert converted(capsys, folder, '--form', 'hdf5') == '0 videos converted and verified, 3 there already'
    assert os.stat(folder + '.h5').st_ino == stamp.st_ino
    for name in ('a.csv', 'b b.npz', 'ü.csv'):
        os.remove(os.path.join(folder, name))
    np.savez(os.path.join(folder, 'new.npz'), found['a'] + 1)
    assert converted(capsys, folder, '--form', 'hdf5') == (
        '1 video converted and verified, 0 there already, 3 kept whose source is gone')
    assert converted(capsys, folder, '--form', 'hdf5') == (
        '0 videos converted and verified, 1 there already, 3 kept whose source is gone')
    store = FeatureStore(folder, WIDTH)
    np.testing.assert_array_equal(store.read('new'), found['a'] + 1)
    for name, values in found.items():
        np.testing.assert_array_equal(store.read(name), values)


def test_a_damaged_dataset_of_a_finished_hdf5_file_is_named(features, capsys):
    _, folder = features
    converted(capsys, folder, '--form', 'hdf5')
    with h5py.File(folder + '.h5', 'r') as file:
        made_of = file['a'].attrs[MADE_OF]
    with h5py.File(folder + '.h5', 'a') as file:  # with a checksum, so that the change is noticed
        del file['a']
        file.create_dataset('a', data=np.zeros((2, WIDTH)), chunks=(2, WIDTH), fletcher32=True)
        file['a'].attrs[MADE_OF] = made_of
        offset = file['a'].id.get_chunk_info(0).byte_offset
    with open(folder + '.h5', 'r+b') as file:
        file.seek(offset)
        file.write(b'changed')
    np.savez(os.path.join(folder, 'new.npz'), np.ones((1, WIDTH), np.float32))
    assert features_command(folder, '--form', 'hdf5') == 2
    assert 'clips.h5: video a cannot be read again (' in capsys.readouterr().err
    assert os.path.exists(folder + '.h5')


@pytest.mark.parametrize('form', FORM_FLAGS)
def test_what_others_made_is_not_replaced(features, form, capsys):
    found, folder = features
    values = np.random.RandomState(1).randn(3, WIDTH)
    if form == 'npy':
        np.save(os.path.join(folder, 'a.npy'), values)
        line = '2 videos converted and verified, 1 there already (1 of them not made by a recorded conversion)'
        assert converted(capsys, folder) == line
        assert converted(capsys, folder) == line.replace('2', '0').replace('1 there', '3 there')
        np.testing.assert_array_equal(np.load(os.path.join(folder, 'a.npy')), values)
    else:
        with h5py.File(folder + '.h5', 'w') as file:
            file['other'] = values
        assert features_command(folder, '--form', 'hdf5') == 2
        error = capsys.readouterr().err
        assert 'clips.h5: found an HDF5 file that this program did not make' in error and error.count('\n') == 1
        with h5py.File(folder + '.h5', 'r') as file:
            np.testing.assert_array_equal(file['other'][()], values)


def test_an_npy_that_was_written_over_since_is_kept(features, capsys):
    found, folder = features
    converted(capsys, folder)
    np.save(os.path.join(folder, 'a.npy'), found['a'] + 1)
    os.utime(os.path.join(folder, 'a.csv'), (1, 1))
    assert converted(capsys, folder) == (
        '0 videos converted and verified, 3 there already (1 of them not made by a recorded conversion)')
    np.testing.assert_array_equal(np.load(os.path.join(folder, 'a.npy')), found['a'] + 1)


KILLED_AT_RENAME = """
import os, signal, sys
sys.path.insert(0, sys.argv.pop(1))
import prepare_data
replace, left, moment = os.replace, [int(sys.argv.pop(1))], sys.argv.pop(1)
def replace_or_die(old, new):
    left[0] -= 1
    if left[0] >= 0 or moment == 'after':
        replace(old, new)
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace_or_die
prepare_data.main(sys.argv[1:])
"""


@pytest.mark.parametrize('form', FORM_FLAGS)
def test_a_run_killed_before_or_after_a_rename_is_continued(features, form, capsys):
    found, folder = features
    flags = (folder,) + FORM_FLAGS[form]

    def killed(renames, moment):
        status = subprocess.call([sys.executable, '-c', KILLED_AT_RENAME, ROOT, str(renames), moment, 'features',
                                  *flags, '--feature_width', str(WIDTH), '--workers', '1'], stderr=subprocess.DEVNULL)
        assert status == -signal.SIGKILL

    killed(1, 'before')
    assert converted(capsys, *flags) == '2 videos converted and verified, 1 there already'
    for name in ('a.csv', 'b b.npz', 'ü.csv'):
        os.utime(os.path.join(folder, name), (1, 1))
    killed(0, 'before')  # the first video's npy now has an earlier line than the last one
    killed(0, 'after')
    assert converted(capsys, *flags) == '2 videos converted and verified, 1 there already'
    if form == 'hdf5':
        os.remove(folder + '.h5')
        killed(3, 'before')  # all videos are there, but not yet in one file
        killed(0, 'after')
        assert converted(capsys, *flags) == '0 videos converted and verified, 3 there already'
    for name, values in found.items():
        np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read(name), values)
    assert not [name for name in os.listdir(folder) + os.listdir(os.path.dirname(folder)) if 'partial' in name]


def test_a_record_that_was_cut_short_loses_that_line_only(features, capsys):
    _, folder = features
    converted(capsys, folder, '--workers', '1')
    record = os.path.join(folder, RECORD)
    with open(record, 'rb') as file:
        lines = file.read().split(b'\n')[1:]
    assert [json.loads(line.decode())['video'] for line in lines] == ['a', 'a', 'b b', 'b b', 'ü', 'ü']
    os.truncate(record, os.path.getsize(record) - 9)  # the line with the date of ü: its checksum is left
    assert converted(capsys, folder) == '0 videos converted and verified, 3 there already'
    os.truncate(record, sum(map(len, lines[:4])) + 9)  # the lines of ü
    assert converted(capsys, folder).endswith('3 there already (1 of them not made by a recorded conversion)')
    os.remove(os.path.join(folder, 'ü.npy'))
    assert converted(capsys, folder) == '1 video converted and verified, 2 there already'
    assert converted(capsys, folder) == '0 videos converted and verified, 3 there already'
    with open(record, 'ab') as file:
        file.write(b'\n\xff\0[]\n{"video": [], "npy": [1]}\n' + b'[' * 9999)
    assert converted(capsys, folder) == '0 videos converted and verified, 3 there already'


# What is no video, or not a complete one

@pytest.mark.parametrize('form', FORM_FLAGS)
def test_files_that_a_mac_adds_are_ignored_and_counted(features, form, capsys):
    _, folder = features
    for name in ('._a.csv', '._v1.csv', '.DS_Store'):
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(b'\0\5\x16\7')
    assert converted(capsys, folder, *FORM_FLAGS[form]) == (
        '3 videos converted and verified, 0 there already, ignored for a dot at the beginning of their names: 2')
    assert not os.path.exists(os.path.join(folder, '._a.npy'))


def test_a_csv_without_its_last_line_end_is_refused_or_accepted(features, capsys):
    _, folder = features
    os.truncate(os.path.join(folder, 'ü.csv'), os.path.getsize(os.path.join(folder, 'ü.csv')) - 3)
    assert features_command(folder) == 2
    assert 'ü.csv: found no line end at the end' in capsys.readouterr().err
    assert converted(capsys, folder, '--accept_unfinished_lines').startswith('1 video converted and verified, 2 ')


@pytest.mark.parametrize('side', ['source', 'target'])
def test_clips_of_the_data_root_must_have_the_rows_of_the_annotation(tmp_path, side, capsys):
    data = make(tmp_path / 'data', **{side: {name: video((8, 24)) for name in ('v', 'w')}}).data
    folder = data.path(side + '_clips')
    shutil.rmtree(folder)
    os.mkdir(folder)
    for name, rows in (('v', 63), ('w', 64), ('not annotated', 7)):
        np.savetxt('%s/%s.csv' % (folder, name), np.ones((rows, WIDTH)), delimiter=',', header='x', comments='')
    assert features_command(folder + '/', '--data_root', data.data_root) == 2
    output = capsys.readouterr()
    assert 'v.csv: found 63 rows, expected 64, a row per clip' in output.err
    assert '2 videos converted and verified' in output.out
    os.remove(data.path(side + '_annotation'))
    assert converted(capsys, folder, '--data_root', data.data_root).startswith('1 video converted and verified, 2 ')


@pytest.mark.parametrize('kind', ['pipe', 'folder', 'link'])
@pytest.mark.parametrize('place', ['.h5', '.h5.partial', '.h5.partial/a.npy', '.h5.partial/' + RECORD,
                                   '/' + RECORD, '/' + LOCK])
def test_a_pipe_folder_or_link_where_files_are_written_is_reported(features, kind, place, capsys):
    _, folder = features
    path = folder + place
    os.makedirs(os.path.dirname(path), exist_ok=True)
    {'pipe': os.mkfifo, 'folder': os.mkdir, 'link': lambda path: os.symlink('nowhere', path)}[kind](path)
    status = features_command(folder, '--form', 'hdf5' if '.h5' in place else 'npy')
    if (kind, place) == ('folder', '.h5.partial'):  # that is where unfinished videos go
        assert status == 0 and not os.path.exists(path)
        return
    errors = [line for line in capsys.readouterr().err.split('\n') if line.startswith('error: ')]
    assert status == 2 and path in errors[0] and os.path.lexists(path)
    assert 'move it away' in errors[0] or 'remove the link' in errors[0] or 'found a folder, expected' in errors[0]
    assert len(errors) == (2 if place.endswith('.npy') else 1)


def test_one_folder_that_is_refused_does_not_stop_the_others(features, tmp_path, capsys):
    found, folder = features
    shutil.copytree(folder, str(tmp_path / 'second'))
    with h5py.File(folder + '.h5', 'w') as file:
        file['other'] = found['a']
    assert features_command(folder, str(tmp_path / 'second'), '--form', 'hdf5') == 2
    output = capsys.readouterr()
    assert 'second.h5: 3 videos converted and verified' in output.out
    assert 'clips.h5: found an HDF5 file that this program did not make' in output.err


def test_names_reach_the_terminal_without_its_codes(features, capfd, monkeypatch):
    _, folder = features
    hostile = os.path.join(os.path.dirname(folder), 'clips\x1b[2J')
    os.rename(folder, hostile)
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)  # so that there is a bar, with a title
    assert features_command(hostile, '--form', 'hdf5') == 0
    output = capfd.readouterr()
    assert 'x1b[2J' in output.out and 'x1b[2J' in output.err
    assert '\x1b[2J' not in output.out and '\x1b[2J' not in output.err


# Layouts, row times and a data root that says of itself what it has

def test_columns_first_become_rows_first(features, tmp_path, capsys):
    found, folder = features
    columns, out = str(tmp_path / 'columns'), str(tmp_path / 'out')
    os.mkdir(columns)
    for name, values in found.items():
        np.save(os.path.join(columns, name + '.npy'), values.T[np.newaxis].astype(np.float64))
    assert features_command(columns, '--layout', 'ct') == 2
    assert 'to change type, rows or layout give --out FOLDER' in capsys.readouterr().err
    assert features_command(columns, '--layout', 'ct', '--form', 'hdf5') == 2
    assert 'found features of layout ct; those that are written have layout tc' in capsys.readouterr().err
    assert converted(capsys, columns, '--layout', 'ct', '--out', out).startswith('3 videos converted')
    for name, values in found.items():
        np.testing.assert_array_equal(np.load(os.path.join(out, name + '.npy')), values)
    assert converted(capsys, columns, '--layout', 'ct', '--out', out) == (
        '0 videos converted and verified, 3 there already')
    np.save(os.path.join(columns, 'square.npy'), np.arange(WIDTH ** 2.).reshape(WIDTH, WIDTH))
    for layout, value in (('ct', WIDTH), ('tc', 1)):  # one array, two readings
        assert features_command(columns, '--layout', layout, '--out', out, '--skip_bad') == 0
        assert np.load(os.path.join(out, 'square.npy'))[0, 1] == value


@pytest.mark.parametrize('form', ['npz', 'hdf5'])
def test_one_of_several_arrays(features, tmp_path, form):
    found, _ = features
    source, out = str(tmp_path / 'several'), str(tmp_path / 'out')
    if form == 'npz':
        os.mkdir(source)
        for name, values in found.items():
            np.savez(os.path.join(source, name), rgb=values, flow=values + 1)
    else:
        source += '.hdf5'
        with h5py.File(source, 'w') as file:
            for name, values in found.items():
                file[name + '/rgb'], file[name + '/flow'] = values, values + 1
    assert features_command(source, '--out', out) == 2
    assert features_command(source, '--out', out, '--key', 'flow') == 0
    np.testing.assert_array_equal(np.load(os.path.join(out, 'a.npy')), found['a'] + 1)
    assert features_command(source, '--out', out, '--key', 'rgb') == 0  # other numbers are made again
    np.testing.assert_array_equal(np.load(os.path.join(out, 'a.npy')), found['a'])


def test_rescaling_by_row_times(features, tmp_path):
    """Rows of 0.5 s: the weights are those of three rows of a second and a half, whatever the video's duration."""
    found, folder = features
    entries = {'x': {'duration_second': 99, 'rows': 3, 'row_seconds': 0.5, 'first_row_second': 2, 'file': 'a'},
               'ü': {'duration_second': 4.6, 'rows': 9, 'annotations': []}}
    (tmp_path / 'annotation.json').write_text(json.dumps(entries))
    (tmp_path / 'data.json').write_text(json.dumps(
        {'settings': {'target_annotation': 'annotation.json', 'target_row_seconds': 0.5}}))
    out = str(tmp_path / 'out')
    assert features_command(folder, '--rows', '8', '--durations', str(tmp_path / 'annotation.json'), '--out', out,
                            '--data_root', str(tmp_path)) == 2  # b b has no duration
    for name, rows in (('a', 3), ('ü', 9)):
        np.testing.assert_array_equal(np.load(os.path.join(out, name + '.npy')),
                                      interpolate(found[name], 8, rows * 0.5, rows * 8))
    middle = interpolate(np.array([[0.], [3.], [6.]]), 3, 1.5, 24)[1]  # its own row, at its start, middle and end
    np.testing.assert_allclose(middle, (1.5 + 3 + 4.5) / 3)


def test_a_data_root_says_layout_width_and_rows(features, tmp_path, capsys):
    found, folder = features
    root = tmp_path / 'x'
    (root / 'csv').mkdir(parents=True)
    for name, values in found.items():
        np.savetxt(str(root / 'csv' / (name + '.csv')), values.T, delimiter=',', comments='', fmt='%.9g',
                   header=','.join(map(str, range(len(values)))))
    (root / 'annotation.json').write_text(json.dumps({
        name: {'duration_second': 1, 'rows': rows, 'row_seconds': 0.5} for name, rows in (('a', 3), ('ü', 8))}))
    settings = {'source_annotation': 'annotation.json', 'source_clips': 'csv', 'source_features': 'csv',
                'source_layout': 'ct', 'feature_width': WIDTH}
    (root / 'data.json').write_text(json.dumps({'settings': settings}))

    def command(*flags):
        return exit_status(lambda: prepare_data.main(['features', '--data_root', str(root)] + list(flags)))

    assert command() == 2
    assert 'csv: found features of layout ct' in capsys.readouterr().err
    assert command('--out', str(tmp_path / 'out')) == 2  # one path, although two fields name it
    output = capsys.readouterr()
    assert 'ü.csv: found 9 rows, expected 8' in output.err and '2 videos converted and verified' in output.out
    np.testing.assert_array_equal(np.load(str(tmp_path / 'out' / 'a.npy')), found['a'])


@pytest.mark.parametrize('form', ['csv', 'npy'])
def test_a_folder_for_each_class(features, tmp_path, capsys, form):
    found, folder = features
    (tmp_path / 'clips' / 'yoga').mkdir()
    (tmp_path / 'clips' / 'old').mkdir()
    for name in list(os.listdir(folder)):
        if name.endswith('.csv') and form == 'csv':
            shutil.copy(os.path.join(folder, name), os.path.join(folder, 'old'))
            shutil.move(os.path.join(folder, name), os.path.join(folder, 'yoga'))
        elif not os.path.isdir(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    if form == 'npy':
        np.save(os.path.join(folder, 'yoga', 'a.npy'), found['a'])
    (tmp_path / 'annotation.json').write_text(json.dumps({
        'a': {'duration_second': 1, 'rows': 3, 'row_seconds': 0.5, 'file': 'yoga/a'}}))
    (tmp_path / 'data.json').write_text(json.dumps(
        {'settings': {'target_annotation': 'annotation.json', 'target_clips': 'clips', 'feature_width': WIDTH}}))
    for there in (0, 2):
        assert features_command('--data_root', str(tmp_path)) == 0
        assert ('nothing to convert' if form == 'npy' else
                '%d videos converted and verified, %d there' % (2 - there, there)) in capsys.readouterr().out
    assert not os.path.exists(os.path.join(folder, 'old', 'a.npy'))  # no video of the data root is there
    np.testing.assert_array_equal(FeatureStore(folder, WIDTH).read('yoga/a'), found['a'])
    if form == 'csv':
        assert features_command('--data_root', str(tmp_path), '--form', 'hdf5') == 2
        assert 'found features in folders, such as yoga/a' in capsys.readouterr().err


def test_the_width_of_features_outside_a_data_root_is_that_of_the_first_file(tmp_path, capsys):
    folder = tmp_path / 'feats'
    folder.mkdir()
    for name in 'ab':
        np.save(str(folder / (name + '.npy')), np.full((20, 7), 2.0, np.float32))
    with open(str(tmp_path / 'durations.json'), 'w') as file:
        json.dump({name: {'duration_second': 10.0, 'duration_frame': 160} for name in 'ab'}, file)
    prepare_data.main(['features', str(folder), '--out', str(tmp_path / 'out'), '--rows', '8', '--durations',
                       str(tmp_path / 'durations.json'), '--data_root', str(tmp_path / 'none')])
    assert '2 videos converted' in capsys.readouterr().out
    assert np.load(str(tmp_path / 'out' / 'a.npy')).shape == (8, 7)
