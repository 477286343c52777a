"""Files: written completely or not at all, locks, what is refused unread. More of reading: dataset/test_tables.py."""
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
    assert 'cannot be written: File exists' in message_of(files.write_text, str(path / 'a'), '')
    assert 'cannot be written: Is a directory' in message_of(files.append_text, str(path.parent), '')


def test_leftovers_are_removed_by_pattern(tmp_path):
    folder = tmp_path / 'a[1]'
    (folder / 'b.partial7').mkdir(parents=True)
    for name in ('c.partial12', 'partial', 'd'):
        (folder / name).write_text('')
    files.remove_matching(str(folder), '*.partial[0-9]*')
    assert sorted(os.listdir(str(folder))) == ['d', 'partial']


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
