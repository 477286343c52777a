"""Snapshots of a small graph: writing, damage, and the one that training resumes from."""
import errno
import os
import resource
import shutil
import stat

import pytest
from run_helpers import SETTINGS, SmallGraph, differences, edit_record

from runtime import snapshots
from runtime.errors import InputError
from runtime.session import new_session, tf


@pytest.fixture
def small(tmp_path):
    """A SmallGraph whose folder of snapshots exists."""
    (tmp_path / 'models').mkdir()
    with tf.Graph().as_default(), new_session() as session:
        yield SmallGraph(session, tmp_path / 'models')


@pytest.mark.parametrize('max_to_keep', [0, 1, 2])
def test_death_at_any_point_of_a_write(small, tmp_path, monkeypatch, max_to_keep):
    folder, copies = small.folder, []
    for step in (1, 2, 3):
        small.save(step)
    with open(snapshots.path(folder, 3) + '.data-00000-of-00001', 'r+b') as data:
        data.truncate(100)  # step 3 is damaged and written again

    def copied(function):
        def wrapper(*arguments, **options):
            copies.append(str(tmp_path / ('dead%d' % len(copies))))
            shutil.copytree(folder, copies[-1])
            return function(*arguments, **options)
        return wrapper

    with monkeypatch.context() as patch:
        for module, name in ((os, 'replace'), (os, 'remove'), (snapshots, 'sync'), (snapshots, 'sha256')):
            patch.setattr(module, name, copied(getattr(module, name)))
        small.save(3, max_to_keep)
        small.save(4, max_to_keep)
    assert len(copies) > 40
    found = []
    for copy in copies:
        snapshots.prepare_folder(copy)
        found.append(small.resumed_step(copy))
        assert not [name for name in os.listdir(copy) if 'partial' in name]
        for step in snapshots.steps_in(copy):
            assert os.path.exists(snapshots.path(copy, step) + '.json')
        assert not snapshots.steps_without_index(copy)
    assert sorted(set(found)) == [2, 3, 4] and found == sorted(found)
    assert small.resumed_step() == 4
    assert snapshots.steps_in(folder) == {0: [1, 2, 3, 4], 1: [4], 2: [3, 4]}[max_to_keep]
    assert snapshots.steps_in(folder, snapshots.STATE_PREFIX) == ([4] if max_to_keep == 1 else [3, 4])


@pytest.mark.parametrize('name', [snapshots.PREFIX, snapshots.STATE_PREFIX])
@pytest.mark.parametrize('end', ['.index', '.data-00000-of-00001', '.json'])
@pytest.mark.parametrize('harm', ['truncated', 'flipped', 'missing', 'empty'])
def test_a_damaged_snapshot_is_skipped_for_the_one_before(small, capsys, name, end, harm):
    small.save(1)
    small.save(2)
    path = os.path.join(small.folder, name + '2' + end)
    with open(path, 'rb') as file:
        content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    if harm == 'missing':
        os.remove(path)
    else:
        with open(path, 'wb') as file:
            file.write({'truncated': content[:len(content) // 2], 'flipped': content, 'empty': b''}[harm])
    capsys.readouterr()
    assert small.resumed_step() == 1
    skipped = [line for line in capsys.readouterr().out.splitlines() if 'skipped: ' in line]
    assert len(skipped) == 1 and os.path.join(small.folder, name + '2') in skipped[0]


def test_a_changed_digit_of_settings_or_progress_is_damage(small, capsys):
    small.save(1)
    for prefix in (snapshots.PREFIX, snapshots.STATE_PREFIX):
        small.save(2)
        path = os.path.join(small.folder, prefix + '2.json')
        with open(path) as text:
            content = text.read()
        digits = [place for place, character in enumerate(content[:content.index('"files"')])
                  if character.isdigit()]
        assert digits
        for place in digits:
            with open(path, 'w') as text:
                text.write(content[:place] + str((int(content[place]) + 1) % 10) + content[place + 1:])
            assert small.find_start().step == 1 and 'skipped: %s: ' % path in capsys.readouterr().out


@pytest.mark.parametrize('part', ['model', 'train', 'data', 'files'])
@pytest.mark.parametrize('content', [3, [], None])
def test_settings_that_are_no_objects_are_damage(small, capsys, part, content):
    small.save(1)
    small.save(2)
    path = snapshots.path(small.folder, 2) + '.json'
    edit_record(path, lambda record: record.update({part: content}))
    assert small.resumed_step() == 1 and 'skipped: %s: ' % path in capsys.readouterr().out


def test_a_progress_that_the_run_refuses_is_damage(small, capsys):
    def check(progress):
        if progress['at'] == 2:
            raise InputError('found 2')

    small.save(1)
    small.save(2)
    path = os.path.join(small.folder, snapshots.STATE_PREFIX + '2.json')
    assert small.find_start(check_progress=check).step == 1
    assert 'skipped: %s: found 2; use another snapshot' % path in capsys.readouterr().out
    with pytest.raises(snapshots.Damaged, match='found 2; use another snapshot'):
        small.find_start(snapshots.path(small.folder, 2), check_progress=check)


def test_nothing_that_is_not_ours_is_removed(small):
    theirs = ['backup.partial2020/x', snapshots.STATE_PREFIX + '9.index_old/x', snapshots.PREFIX + '1.tar.gz',
              snapshots.PREFIX + '7.data-00000-of-00001', snapshots.STATE_PREFIX + '8.json', 'notes.partial7']
    for name in theirs:
        os.makedirs(os.path.dirname(os.path.join(small.folder, name)), exist_ok=True)
        with open(os.path.join(small.folder, name), 'w') as file:
            file.write('theirs')
    snapshots.prepare_folder(small.folder)
    for step in (1, 2, 3, 4):
        small.save(step, max_to_keep=1)
    for name in theirs:
        with open(os.path.join(small.folder, name)) as file:
            assert file.read() == 'theirs'
    assert snapshots.steps_in(small.folder) == [4]


@pytest.mark.parametrize('steps, kept', [({2}, [2, 4, 5]), ({1, 3}, [1, 3, 4, 5]), ({5, 9}, [4, 5]), (set(), [4, 5])])
def test_some_snapshots_are_kept_although_they_are_old(small, steps, kept):
    for step in (1, 2, 3, 4, 5):
        small.session.run(small.counter.assign(step))
        snapshots.save(small.session, small.parts, small.folder, step, SETTINGS, {'at': step}, 2,
                       lambda: steps)
    assert snapshots.steps_in(small.folder) == kept
    assert snapshots.steps_in(small.folder, snapshots.STATE_PREFIX) == [4, 5]
    for step in kept:
        snapshots.verify(snapshots.path(small.folder, step), 'files')


def test_what_is_not_ours_in_place_of_the_temporary_folder(small, tmp_path):
    partial, other = os.path.join(small.folder, snapshots.PARTIAL), tmp_path / 'other'
    shutil.copytree(os.path.dirname(small.save(1)), str(other))
    before = sorted(os.listdir(str(other)))
    for make in (lambda: os.symlink(str(other), partial), lambda: open(partial, 'w').close(),
                 lambda: os.mkfifo(partial)):
        make()
        for call in (lambda: snapshots.prepare_folder(small.folder), lambda: small.save(2)):
            with pytest.raises(InputError, match='snapshot.partial: found a link or a file, expected the folder'):
                call()
        os.remove(partial)
    for name in ('notes.txt', snapshots.PREFIX + '4.bak/x'):
        os.makedirs(os.path.dirname(os.path.join(partial, name)))
        open(os.path.join(partial, name), 'w').close()
        with pytest.raises(InputError, match='snapshot.partial/[^/]*: found what no snapshot has; move it away'):
            snapshots.prepare_folder(small.folder)
        shutil.rmtree(partial)
    assert sorted(os.listdir(str(other))) == before and snapshots.steps_in(small.folder) == [1]


def test_a_snapshot_that_is_being_copied_is_waited_for(small, tmp_path, capsys):
    small.save(1)
    small.save(2)
    copy = tmp_path / 'copy'
    shutil.copytree(small.folder, str(copy))
    index = snapshots.path(str(copy), 2) + '.index'
    os.rename(index, str(tmp_path / 'later'))
    snapshots.prepare_folder(str(copy))
    assert small.resumed_step(str(copy)) == 1
    assert 'skipped: %s: lacks its .index file' % snapshots.path(str(copy), 2) in capsys.readouterr().out
    os.remove(snapshots.path(str(copy), 1) + '.index')
    for resume in ('auto', 'never'):  # not: training begins anew, and overwrites them
        with pytest.raises(InputError, match='step_2: found files of a snapshot, but no .index file; if somebody is'):
            small.find_start(resume, str(copy))
    os.rename(str(tmp_path / 'later'), index)
    assert small.resumed_step(str(copy)) == 2


def test_a_file_system_that_cannot_sync_folders_is_reported(small, monkeypatch, capsys):
    sync = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', fsync)
    snapshots.prepare_folder(small.folder)
    assert 'warning: %s: this file system cannot sync a folder' % small.folder in capsys.readouterr().out
    small.save(1)
    assert small.resumed_step() == 1


def test_the_end_of_a_name_does_not_matter(small):
    prefix = small.save(1)
    for end in ('', '.index', '.json', '.data-00000-of-00001', '.meta'):
        assert snapshots.without_end(prefix + end) == prefix
    assert snapshots.read_checkpoint(prefix).has_tensor('weights')
    with pytest.raises(snapshots.Damaged, match='nowhere: no readable snapshot'):
        snapshots.read_checkpoint('nowhere')
    os.remove(prefix + '.index')
    os.mkfifo(prefix + '.index')
    with pytest.raises(snapshots.Damaged, match='step_1.index: found a pipe'):
        snapshots.read_checkpoint(prefix)


def test_no_space_left(small, monkeypatch):
    small.save(1)
    before = sorted(os.listdir(small.folder))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (100, 5000, 20000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))  # the write itself fails, inside TensorFlow
        try:
            with pytest.raises(InputError, match='step_2: cannot be written: .*File too large') as caught:
                small.save(2, max_to_keep=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert '\n' not in str(caught.value) and sorted(os.listdir(small.folder)) == before

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, 'sync', full)
        with pytest.raises(InputError, match='step_2: cannot be written: No space left on device'):
            small.save(2, max_to_keep=1)
    assert sorted(os.listdir(small.folder)) == before and small.resumed_step() == 1


def test_without_a_state_training_does_not_resume(small, capsys):
    for step in (1, 2, 3):
        small.save(step)
    for end in ('.index', '.json', '.data-00000-of-00001'):
        os.remove(os.path.join(small.folder, snapshots.STATE_PREFIX + '3' + end))
    assert small.resumed_step() == 2
    assert 'step_3: training cannot resume from it' in capsys.readouterr().out
    with pytest.raises(InputError, match='step_1: training cannot resume from it'):
        small.find_start(snapshots.path(small.folder, 1))


def test_a_snapshot_of_the_authors_is_tested_and_not_resumed_from(small):
    prefix = snapshots.path(small.folder, 9)
    small.parts.model.saver.save(small.session, prefix)  # as the authors' code does
    with pytest.raises(InputError, match='resume from none of its 1 snapshots; give another --model_dir'):
        small.find_start()
    snapshots.prepare_folder(small.folder)
    assert snapshots.steps_in(small.folder) == [9]
    assert sorted(snapshots.check_settings(prefix, differences)) == ['.data-00000-of-00001', '.index', '.meta']


def test_snapshots_of_two_trainings_are_not_mixed(small, tmp_path):
    folder = small.folder
    assert small.find_start('never') is None and small.find_start() is None
    for step in (1, 2):
        small.save(step)
    with pytest.raises(InputError, match='--resume never would mix .*--model_dir, or continue with --resume auto'):
        small.find_start('never')
    earlier = snapshots.path(folder, 1)
    with pytest.raises(InputError, match=r'holds snapshots \(step 2\) that do not lead to'):
        small.find_start(earlier)
    assert small.find_start(earlier, str(tmp_path / 'other')).step == 1
    shutil.copytree(folder, str(tmp_path / 'copy'))
    with pytest.raises(InputError, match=r'copy: holds snapshots \(step 2\) that do not lead to'):
        small.find_start(snapshots.path(folder, 2), str(tmp_path / 'copy'))
    assert small.find_start(snapshots.path(folder, 2) + '.index').step == 2
    with pytest.raises(InputError, match='expected the path of one, FOLDER/'):
        small.find_start('nowhere')


def test_other_settings_are_refused_or_accepted(small, capsys):
    prefix, other = small.save(1), dict(SETTINGS, model={'width': 8})

    def differ(saved):
        return differences(saved, other)

    start = small.find_start()
    assert start.step == 1 and start.progress == {'at': 1} and not differences(start.settings)
    for call in (lambda: snapshots.find_start(small.folder, 'auto', differ),
                 lambda: snapshots.check_settings(prefix, differ)):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == (
            "{0}.json: trained with model {{'width': 4}}; give --config {0}.json and the same data, or "
            '--accept_changes on'.format(prefix))
        assert not isinstance(caught.value, snapshots.Damaged)
    capsys.readouterr()
    assert snapshots.find_start(small.folder, 'auto', differ, accept_changes=True).step == 1
    assert capsys.readouterr().out == "warning: %s.json: trained with model {'width': 4}\n" % prefix
    assert snapshots.check_settings(prefix, differences) == snapshots.checksums(prefix)


def test_a_state_of_other_variables(small):
    small.save(1)
    start = small.find_start()
    one_less = small.parts._replace(state=small.parts.state._replace(variables=small.parts.state.variables[1:]))
    with pytest.raises(InputError, match='expected 3; it is the state of other updates'):
        snapshots.resume(small.session, one_less, start)


def test_the_first_variable_that_is_not_finite(small):
    assert snapshots.first_not_finite(small.session, *small.parts) is None
    small.weights.load([float('nan')] * 3000, small.session)
    assert snapshots.first_not_finite(small.session, *small.parts) == 'weights'
    prefix = small.save(0)
    with pytest.raises(snapshots.Damaged, match='variable weights holds numbers that are not finite'):
        snapshots.restore(small.session, prefix, small.parts.model)
