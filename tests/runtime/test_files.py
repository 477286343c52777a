"""Files: written completely or not at all, locks, what is refused unread. More of reading: dataset/test_tables.py."""
import errno
import fcntl
import os

import pytest
from data_sets import message_of
from run_helpers import started

from runtime import files
from runtime.errors import InputError


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    files.write_text(str(path), 'é\n')
    files.append_text(str(path), 'b')
    assert path.read_bytes() == b'\xc3\xa9\nb'
    with pytest.raises(KeyError), files.atomic_write(str(path)) as partial:
        with open(partial, 'w') as file:
            file.write('half')
        raise KeyError
    assert path.read_bytes() == b'\xc3\xa9\nb' and os.listdir(str(path.parent)) == ['file.txt']
    assert message_of(files.write_text, str(path.parent), '') == (
        '%s: cannot be written: it is not a regular file' % path.parent)
    assert message_of(files.write_text, str(path / 'a'), '') == (
        '%s: cannot be written: found a file, expected a folder; name another place' % path)
    assert 'found a folder, expected a file; move it away' in message_of(files.append_text, str(path.parent), '')


def test_only_leftovers_of_our_own_files_are_removed(tmp_path):
    folder = tmp_path / 'a[1]'
    (folder / 'b.txt.partial7').mkdir(parents=True)
    for name in ('b.txt.partial12', 'c.txt.partial12', 'b.txt.partial', 'b.txt.partial7x', 'xb.txt.partial7'):
        (folder / name).write_text('')
    os.symlink('b.txt', str(folder / 'b.txt.partial8'))
    before = set(os.listdir(str(folder)))
    files.remove_leftovers(str(folder), r'b\.txt')
    assert before - set(os.listdir(str(folder))) == {'b.txt.partial12'}


def test_a_pipe_is_never_opened(tmp_path):
    path = str(tmp_path / 'file')
    partial = '%s.partial%d' % (path, os.getpid())
    os.mkfifo(path)
    os.mkfifo(partial)
    for call in (lambda: files.append_text(path, ''), lambda: files.file_lock(path).__enter__()):
        assert message_of(call) == '%s: found a pipe, socket or device, expected a file; move it away' % path
    assert 'cannot be written: it is not a regular file' in message_of(files.write_text, path, '')
    os.remove(path)
    assert '%s: found a pipe' % partial in message_of(files.write_text, path, '')
    os.remove(partial)
    os.symlink(path, partial)
    assert '%s: found a link' % partial in message_of(files.write_text, path, '')


def test_a_link_to_no_folder_is_named(tmp_path):
    os.symlink('gone', str(tmp_path / 'link'))
    for call in (lambda: files.make_folder(str(tmp_path / 'link')),
                 lambda: files.write_text(str(tmp_path / 'link' / 'file'), ''),
                 lambda: files.file_lock(str(tmp_path / 'link' / '.lock')).__enter__()):
        assert message_of(call) == ('%s: found a link to a folder that does not exist (gone); make that folder, or '
                                    'remove the link' % (tmp_path / 'link'))


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(InputError, match='here.txt: cannot be written: No space left on device'), \
            files.write_errors('here.txt'):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as of a write, without the name of the file


def test_another_file_is_not_replaced_without_force(tmp_path):
    path = str(tmp_path / 'file')
    assert files.write_if_new(path, 'é') and not files.write_if_new(path, 'é')
    assert 'found another file there; name another place, or replace it with --force' in message_of(
        files.write_if_new, path, 'e')
    assert open(path, encoding='utf-8').read() == 'é'
    assert files.write_if_new(path, 'e', force=True) and open(path).read() == 'e'


def test_outputs_that_are_inputs_are_refused(tmp_path):
    (tmp_path / 'folder').mkdir()
    os.symlink('folder', str(tmp_path / 'link'))
    one, same, other = [str(tmp_path / name) for name in ('folder/file', 'link/file', 'folder/other')]
    files.refuse_to_overwrite({'--json': other, '--figure': None}, [one, None])
    assert message_of(files.refuse_to_overwrite, {'--json': same}, [one]) == (
        '--json %s: would overwrite %s, which this command reads or writes too; name another file' % (same, one))
    assert 'would overwrite %s' % one in message_of(
        files.refuse_to_overwrite, {'--json': one, '--figure': same}, [other])


def test_a_lock_has_one_owner_and_ends_with_its_process(tmp_path):
    path = str(tmp_path / 'new' / 'lock')
    holder = started('-c', 'import sys, time\nfrom runtime import files\nwith files.file_lock(sys.argv[1]):\n'
                           '    print(1, flush=True)\n    time.sleep(600)', path)
    holder.stdout.readline()
    with pytest.raises(InputError, match='held by process %d on ' % holder.pid), files.file_lock(path):
        pass
    holder.kill()
    holder.communicate()
    with files.file_lock(path):
        assert 'process %d on ' % os.getpid() in open(path).read()


def test_a_look_at_a_lock(tmp_path):
    path = str(tmp_path / 'lock')
    assert not files.is_locked(path) and not os.path.exists(path)
    with files.file_lock(path):
        assert files.is_locked(path) and files.is_locked(path)
    assert not files.is_locked(path)


def test_a_run_that_starts_during_a_look_gets_the_lock(tmp_path, monkeypatch):
    path, looks = str(tmp_path / 'lock'), []
    (tmp_path / 'lock').write_text('')
    look = open(path)
    fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as is_locked does
    monkeypatch.setattr(files.time, 'sleep', lambda seconds: (looks.append(seconds), look.close()))
    with files.file_lock(path):
        assert files.is_locked(path) and len(looks) == 1


def test_a_look_that_does_not_end_is_the_same_as_a_run(tmp_path, monkeypatch):
    path = str(tmp_path / 'lock')
    (tmp_path / 'lock').write_text('')
    monkeypatch.setattr(files.time, 'sleep', lambda seconds: None)
    with open(path) as look:
        fcntl.flock(look, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert 'lock: held by another run' in message_of(files.file_lock(path).__enter__)


def test_a_look_on_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / 'lock').write_text('')
    monkeypatch.setattr(files.fcntl, 'flock', flock)
    assert 'lock: this file system has no locks (' in message_of(files.is_locked, str(tmp_path / 'lock'))
    os.symlink('lock', str(tmp_path / 'link'))
    assert 'link: ' in message_of(files.is_locked, str(tmp_path / 'link'))


def test_a_lock_overwrites_nothing(tmp_path):
    target, link, other = [tmp_path / name for name in ('target', 'link', 'other')]
    target.write_text('theirs')
    os.symlink('target', str(link))
    other.write_text('theirs')
    assert 'link: found a link, expected a file; move it away' in message_of(files.file_lock(str(link)).__enter__)
    assert 'other: found another file, expected the lock of an earlier run' in message_of(
        files.file_lock(str(other)).__enter__)
    assert target.read_text() == other.read_text() == 'theirs'


def test_a_lock_on_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'pwrite', full)
    path = str(tmp_path / 'lock')
    assert message_of(files.file_lock(path).__enter__) == path + ': cannot be written: No space left on device'


@pytest.mark.parametrize('number', [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, 'flock', flock)
    with files.file_lock(str(tmp_path / 'lock')):
        printed = capsys.readouterr().out
    assert printed.startswith('warning: %s: this file system has no locks' % (tmp_path / 'lock'))
    assert len(printed.splitlines()) == 1


def test_what_cannot_be_synced(tmp_path, monkeypatch):
    def fail(number):
        def fsync(_):
            raise OSError(number, os.strerror(number))
        monkeypatch.setattr(os, 'fsync', fsync)

    assert files.sync(str(tmp_path))
    fail(errno.EINVAL)
    assert not files.sync(str(tmp_path))
    fail(errno.EIO)
    with pytest.raises(OSError, match='Input/output error'):
        files.sync(str(tmp_path))
