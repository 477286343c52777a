"""The results file of a snapshot: what an earlier run left is used only if this run would write the same."""
import json
import os

import pytest
from data_sets import message_of

from runtime import files
from runtime.results_file import Entry, ResultsFile

ORIGIN = {'model': {}}
ENTRIES = [Entry(name, None, []) for name in 'abcdef']


@pytest.fixture
def file(tmp_path):
    return ResultsFile(str(tmp_path / 'results_step-7.json'), ORIGIN)


@pytest.mark.parametrize('written, kept', [(0, 0), (1, 1), (3, 3), (4, 4), (6, 4)])
def test_videos_of_an_interrupted_run_are_kept(file, written, kept):
    file.start(ENTRIES[:1])
    file.add(ENTRIES[1:written])
    if not written:
        file.start([])
    assert file.resume(list('abcd')) == ENTRIES[:kept]


def test_entries_of_another_origin_or_of_other_videos_are_not_kept(file):
    assert file.resume(list('abcd')) == [] and not file.earlier()
    file.start(ENTRIES[:4])
    assert file.resume(list('abdc')) == ENTRIES[:2] and file.resume(list('bacd')) == []
    assert ResultsFile(file.path, {'model': {'width': 4}}).resume(list('abcd')) == []


@pytest.mark.parametrize('skipped, kept', [('a', 0), ('b', 1), ('d', 3), ('f', 5)])
def test_entries_from_the_first_skipped_video_on_are_not_kept(file, skipped, kept):
    file.start([entry._replace(skipped=entry.video == skipped) for entry in ENTRIES])
    assert file.resume(list('abcdef')) == ENTRIES[:kept]


@pytest.mark.parametrize('line', [
    '', 'x', '[' * 10 ** 5, '["c", null, []]', '%s ["c", null, []]' % ('0' * 16), '{"a": 1}', '3', '\0', '\udcff'],
    ids=range(9))
def test_a_line_that_no_run_wrote_ends_the_kept_entries(file, line):
    file.start(ENTRIES[:4])
    with open(file.partial_path) as partial:
        lines = partial.readlines()
    for number in range(5):
        with open(file.partial_path, 'wb') as partial:
            changed = lines[:number] + [line + '\n'] + lines[number + 1:]
            partial.write(''.join(changed).encode('utf-8', 'surrogateescape'))
        # line 0 is the origin; what follows a wrong line is not used
        assert file.resume(list('abcd')) in (ENTRIES[:max(number - 1, 0)], [])
        if line != '\udcff':  # not UTF-8: Python decodes several lines at a time, so earlier ones may be lost too
            assert file.resume(list('abcd')) == ENTRIES[:max(number - 1, 0)]


def test_a_cut_off_line_is_not_kept(file):
    file.start(ENTRIES[:4])
    with open(file.partial_path) as partial:
        text = partial.read()
    last = len(text.splitlines(True)[-1])
    for length in (1, last // 2, last - 1):
        with open(file.partial_path, 'w') as partial:
            partial.write(text[:-length])
        assert file.resume(list('abcd')) == ENTRIES[:3]


def test_results_are_written_with_their_origin(file, tmp_path):
    file.start(ENTRIES[:4])
    file.finish({'results': {}}, 0.5)
    assert file.finished() == ({'results': {}}, 0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['results_step-7.json', 'results_step-7.origin.json']
    assert ResultsFile(file.path, {'model': {'width': 4}}).finished() is None


@pytest.mark.parametrize('given, found', [
    ({'a': True, 'c': False}, {'a': True, 'c': False}), ({}, {}), (None, None), ([True], None), ({'a': 'x'}, None)])
def test_which_labels_are_right_is_in_the_origin(file, given, found):
    file.start([])
    file.finish({'results': {}}, 0.5, right_labels=given)
    assert file.right_labels() == found and file.finished()


@pytest.mark.parametrize('changes, is_kept', [
    ({}, True), ({'accuracy': None}, True), ({'accuracy': 'x'}, False), ({'accuracy': [1]}, False),
    ({'accuracy': 7}, False), ({'sha256': 3}, False), ({'model': 3}, False), (None, False),
    ({'skipped': 1}, False), ({'skipped': None}, False), ('[' * 10 ** 5, False)], ids=range(11))
def test_results_with_a_wrong_origin_are_made_again(file, changes, is_kept):
    with open(file.path, 'w') as text:
        text.write('{"results": {}}')
    saved = dict(ORIGIN, accuracy=0.5, skipped=0, sha256=files.sha256(file.path))
    with open(file.origin_path, 'w') as text:
        text.write(changes if isinstance(changes, str)
                   else json.dumps(changes if changes is None else dict(saved, **changes)))
    assert (file.finished() is not None) == is_kept


def test_changed_results_are_made_again(file):
    file.start([])
    file.finish({'results': {}}, None)
    assert file.finished() == ({'results': {}}, None)
    with open(file.path, 'a') as text:
        text.write(' ')
    assert file.finished() is None
    assert file.outdated() == ['%s has changed since it was written' % file.path]


def test_results_that_lack_videos_are_made_again(file):
    file.start([])
    file.finish({'results': {}}, None, skipped=2)
    assert file.finished() is None
    assert file.outdated() == ['%s lacks videos that were skipped (2)' % file.path]


def test_what_is_there_is_told_with_its_origin(file):
    other, unwritten = ResultsFile(file.path, {'model': {'width': 4}}), ResultsFile(file.path[:-6] + '8.json', ORIGIN)
    other.start(ENTRIES)
    other.finish({}, None)
    file.start(ENTRIES[:1])
    found = file.earlier()
    assert list(found) == [file.path, file.partial_path]
    assert found[file.path]['model'] == {'width': 4} and found[file.partial_path] == ORIGIN
    assert file.outdated() == ['%s was made from other model' % file.path]
    assert unwritten.earlier() == {} and unwritten.outdated() == []


@pytest.mark.parametrize('content', ['', '{', '[]', '3', None], ids=range(5))
def test_results_without_an_origin_are_of_unknown_origin(file, content):
    with open(file.path, 'w') as text:
        text.write('{"results": {}}')
    if content is not None:
        with open(file.origin_path, 'w') as text:
            text.write(content)
    assert file.earlier() == {file.path: None} and file.outdated() == ['%s is of unknown origin' % file.path]


@pytest.mark.parametrize('content, is_there', [('', False), ('notes\n', True), ('%s 3\n' % ('0' * 16), True)],
                         ids=range(3))
def test_a_partial_file_without_an_origin_is_of_unknown_origin(file, content, is_there):
    with open(file.partial_path, 'w') as text:
        text.write(content)  # an empty file, as a power failure leaves it, has nothing to lose
    assert file.earlier() == ({file.partial_path: None} if is_there else {})


@pytest.mark.parametrize('done', [0, 1, 2])
def test_a_run_that_dies_between_two_files_never_leaves_results_without_an_origin(file, monkeypatch, done):
    file.start(ENTRIES[:4])
    left, replace = [True] * done, os.replace

    def replace_or_die(*paths):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        replace(*paths)

    def die(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', replace_or_die)
    monkeypatch.setattr(os, 'remove', die)
    with pytest.raises(KeyboardInterrupt):
        file.finish({'results': {}}, 0.5)
    monkeypatch.undo()
    assert file.resume(list('abcd')) == ENTRIES[:4]
    assert set(file.earlier()) == {file.partial_path} | ({file.path} if done == 2 else set())
    assert None not in file.earlier().values()


@pytest.mark.parametrize('kind', ['pipe', 'folder', 'link to nothing'])
@pytest.mark.parametrize('attribute', ['path', 'origin_path', 'partial_path'])
def test_what_is_no_regular_file_is_one_line(file, kind, attribute):
    path = getattr(file, attribute)
    {'pipe': os.mkfifo, 'folder': os.mkdir, 'link to nothing': lambda path: os.symlink('nowhere', path)}[kind](path)
    assert message_of(file.earlier).startswith(path + ': ')
    assert file.finished() is None
    if attribute == 'partial_path':
        assert message_of(file.resume, list('abcd')).startswith(path + ': ')
