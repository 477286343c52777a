"""bad_data.py: how many videos may be bad, and the list of bad data beside files of others."""
import os

import pytest
from data_sets import message_of, write

from dataset.bad_data import BadData
from runtime.errors import InputError

LIST = 'video,stream,reason\r\na,moment,gone\r\n'


def fail():
    raise InputError('gone')


def bad_videos(bad, stream, names):
    """Read `names`, all of which are bad; the number of them that are skipped before the run ends."""
    for number, name in enumerate(names):
        try:
            assert bad.read(stream, name, fail) is None
        except InputError:
            return number
    return len(names)


@pytest.mark.parametrize('videos, share, number, allowed', [
    (1000, 0.01, 1, 10), (1000, 0.01, 20, 20), (100, 0.29, 0, 29), (50, 0.01, 1, 1), (50, 0.01, 0, 0), (3, 1.0, 0, 3),
    (1000, 0.0, 0, 0)])
def test_a_share_of_the_streams_videos_may_be_bad_in_any_order(tmp_path, videos, share, number, allowed):
    bad = BadData(str(tmp_path), True, share, number)
    bad.expect('moment', videos)
    assert bad_videos(bad, 'moment', ['v%d' % video for video in range(videos)][:allowed + 5]) == min(allowed, videos)


def test_streams_are_counted_apart_and_a_video_once(tmp_path):
    bad = BadData(str(tmp_path), True, 0.1)
    for stream in ('moment', 'foreground'):
        bad.expect(stream, 20)
        assert bad_videos(bad, stream, ['a', 'b', 'a', 'b', 'a']) == 5
    assert bad.read('moment', 'c', lambda: 3) == 3
    assert message_of(bad.read, 'moment', 'd', fail) == (
        'moment: 3 of 20 videos cannot be used, expected at most 2: the larger of --max_bad_videos 0 and '
        '--max_bad_share 0.1 of them; correct them, or raise one of the two; the last error: gone')


@pytest.mark.parametrize('resumed', [False, True])
@pytest.mark.parametrize('content', ['name,why\nx,slow\n', 'v1\nv2\n', 'video\nv\n', '\n', b'\xff\xfe\x00',
                                     'video,stream,reason,more\n'])
def test_a_file_of_others_is_left_alone(tmp_path, resumed, content):
    path = str(tmp_path / 'bad_data.csv')
    write(path, content)
    bad = BadData(str(tmp_path), True, max_videos=3, resumed=resumed)
    bad.expect('moment', 9)
    message = message_of(bad.read, 'moment', 'a', fail)
    assert message.startswith('%s: found another file, expected a list of bad data' % path)
    assert 'move it away' in message and message.endswith('gone')
    with open(path, 'rb') as file:
        assert file.read() == (content if isinstance(content, bytes) else content.encode())


def test_a_list_of_an_earlier_run_is_removed_or_continued(tmp_path):
    path = tmp_path / 'bad_data.csv'
    for resumed in (True, False):
        write(str(path), LIST)
        bad = BadData(str(tmp_path), True, max_videos=3, resumed=resumed)
        bad.table_error_handler('source_info', [])(InputError('row 3'))
        assert path.read_bytes().decode() == LIST  # the run may still be refused
        bad.start()
        kept = LIST if resumed else LIST.split('\n')[0] + '\n'
        assert path.read_bytes().decode() == kept + ',source_info,row 3\r\n'
        write(str(path), LIST)
        bad = BadData(str(tmp_path), True, max_videos=3, resumed=resumed)
        bad.expect('moment', 9)
        assert bad_videos(bad, 'moment', 'ab') == 2
        assert path.read_bytes().decode() == LIST + 'b,moment,gone\r\n'


@pytest.mark.parametrize('resumed', [False, True])
@pytest.mark.parametrize('cut_short', ['', 'video,str', 'video,stream,reason', 'video,stream,reason\n'])
def test_a_list_that_a_full_disk_cut_short_is_written_again(tmp_path, resumed, cut_short):
    write(str(tmp_path / 'bad_data.csv'), cut_short)
    bad = BadData(str(tmp_path), True, max_videos=3, resumed=resumed)
    bad.expect('moment', 9)
    assert bad.read('moment', 'a', fail) is None
    assert (tmp_path / 'bad_data.csv').read_bytes().decode() == LIST


@pytest.mark.parametrize('resumed', [False, True])
@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir, lambda path: os.symlink('nowhere', path),
                                  lambda path: os.symlink('/dev/full', path)],
                         ids=['pipe', 'folder', 'dangling', 'device'])
def test_what_is_no_file_in_place_of_the_list(tmp_path, resumed, make):
    path = str(tmp_path / 'bad_data.csv')
    make(path)
    bad = BadData(str(tmp_path), True, max_videos=3, resumed=resumed)
    bad.expect('moment', 9)
    assert message_of(bad.read, 'moment', 'a', fail).startswith('%s: found another file, expected a list' % path)
    assert os.path.lexists(path)


def test_the_folder_of_the_list_cannot_be_made(tmp_path):
    os.symlink('nowhere', str(tmp_path / 'models'))
    bad = BadData(str(tmp_path / 'models'), True, max_videos=3)
    bad.expect('moment', 9)
    assert 'found a link to a folder that does not exist' in message_of(bad.read, 'moment', 'a', fail)


def test_a_path_with_escapes_is_not_printed_raw(tmp_path, capsys):
    bad = BadData(str(tmp_path / 'm\x1b[2J'), True, max_videos=3)
    bad.expect('moment', 9)
    bad.read('moment', 'a', fail)
    assert 'm\\x1b[2J/bad_data.csv; the first: gone' in capsys.readouterr().out
