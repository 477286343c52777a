"""The results file of a snapshot: what an earlier run left is used only if this run would write the same."""
import json

import pytest

from runtime import files
from runtime.results_file import ResultsFile

ORIGIN = {'model': {}}
ENTRIES = [[name, None, []] for name in 'abcdef']


@pytest.fixture
def file(tmp_path):
    return ResultsFile(str(tmp_path / 'results_step-7.json'), ORIGIN)


@pytest.mark.parametrize('written, batch_size, kept', [
    (4, 2, 4), (3, 2, 2), (3, 1, 3), (1, 2, 0), (0, 2, 0), (6, 2, 4), (6, 3, 3)])
def test_complete_batches_of_an_interrupted_run_are_kept(file, written, batch_size, kept):
    file.start(ENTRIES[:1])
    file.add(ENTRIES[1:written])
    if not written:
        file.start([])
    assert file.exists() and file.resume(list('abcd'), batch_size) == ENTRIES[:kept]


def test_entries_of_another_origin_or_of_other_videos_are_not_kept(file):
    assert file.resume(list('abcd'), 2) == [] and not file.exists()
    file.start(ENTRIES[:4])
    assert file.resume(list('abdc'), 2) == ENTRIES[:2] and file.resume(list('bacd'), 2) == []
    assert ResultsFile(file.path, {'model': {'width': 4}}).resume(list('abcd'), 2) == []


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
        assert file.resume(list('abcd'), 1) in (ENTRIES[:max(number - 1, 0)], [])
        if line != '\udcff':  # not UTF-8: Python decodes several lines at a time, so earlier ones may be lost too
            assert file.resume(list('abcd'), 1) == ENTRIES[:max(number - 1, 0)]


def test_a_cut_off_line_is_not_kept(file):
    file.start(ENTRIES[:4])
    with open(file.partial_path) as partial:
        text = partial.read()
    last = len(text.splitlines(True)[-1])
    for length in (1, last // 2, last - 1):
        with open(file.partial_path, 'w') as partial:
            partial.write(text[:-length])
        assert file.resume(list('abcd'), 1) == ENTRIES[:3]


def test_results_are_written_with_their_origin(file, tmp_path):
    file.start(ENTRIES[:4])
    file.finish({'results': {}}, 0.5)
    assert file.finished() == ({'results': {}}, 0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['results_step-7.json', 'results_step-7.origin.json']
    assert ResultsFile(file.path, {'model': {'width': 4}}).finished() is None


@pytest.mark.parametrize('changes, is_kept', [
    ({}, True), ({'accuracy': None}, True), ({'accuracy': 'x'}, False), ({'accuracy': [1]}, False),
    ({'accuracy': 7}, False), ({'sha256': 3}, False), ({'model': 3}, False), (None, False),
    ('[' * 10 ** 5, False)], ids=range(9))
def test_results_with_a_wrong_origin_are_made_again(file, changes, is_kept):
    with open(file.path, 'w') as text:
        text.write('{"results": {}}')
    saved = dict(ORIGIN, accuracy=0.5, sha256=files.sha256(file.path))
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
