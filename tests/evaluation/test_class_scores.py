"""Class scores of whole videos: all forms, the join with proposals by hand, and what is refused."""
import json
import zipfile

import numpy as np
import pytest
from small_files import load, results_of, truth_of

from evaluation import get_detection_performance
from evaluation.class_scores import join_class_scores, read_class_scores
from evaluation.results import read_results
from evaluation.score_files import ScoreClasses, read_score_classes
from runtime.errors import InputError

ACTIVITYNET = {'results': {'v': [{'label': 'b', 'score': 0.25}, {'label': 'a', 'score': '0.5'},
                                 {'label': 'c', 'score': 0.125}], 'w': [{'label': 'c', 'score': 1}], 'x': []}}
CUHK = {'results': {'v': [0.5, 0.25, 0.125], 'w': [0, 0, '1'], 'x': []}, 'class': ['a', 'b', 'c']}
PROPOSALS = results_of({'w': [(0.5, 3, 4, 'own')], 'v': [(0.75, 0, 4, 'own'), (0.5, 6, 8, 'own')]})


def rows_of(results):
    """[(video, label, score, start)] of Results."""
    return [(results.videos[video], results.labels[label], score, start) for video, label, score, (start, _) in zip(
        results.video_index, results.label_index, results.scores, results.segments)]


def join(scores, top, proposals=PROPOSALS, classes=None):
    results = read_results(proposals, with_labels=False)
    return join_class_scores(results, read_class_scores(scores, top, classes, results.videos))


ROWS = np.array([[0.5, 0.25, 0.125], [0, 0, 1]])  # of v and w
ABC = ScoreClasses('abc.txt', ['a', 'b', 'c'], None)
TEXTS = {
    'wide': 'video,a,b,c\nv,0.5,0.25,0.125\nw,0,0,1\n',
    'index': '\ufeff;"a"; b;c\r\n"v";5e-1;0.25;0.125\r\n\r\n"w";0;0;1\r\n',  # an index of pandas has no name
    'long': 'video,label,score\nv,b,0.25\nw,c,1\nv,c,0.125\nv,a,0.5\n',
    'columns': 'rank\tScore\tLabel\tVideo\n2\t0.25\tb\tv\n1\t1\tc\tw\n3\t0.125\tc\tv\n1\t0.5\ta\tv\n'}
ARRAYS = {'by_video': {'v': ROWS[0], 'w': ROWS[1].astype(np.float16)},
          'table': {'videos': ['w', 'v'], 'scores': ROWS[::-1]},
          'complete': {'videos': ['w', 'v'], 'scores': ROWS[::-1].astype(np.float32), 'classes': ['a', 'b', 'c']}}


@pytest.fixture(params=['activitynet', 'cuhk', 'unnamed', *TEXTS, *ARRAYS])
def each_form(request, tmp_path):
    """(source, ScoreClasses or None) of the same scores in each form that has ids."""
    name, path = request.param, str(tmp_path / 'scores')  # the ending is of no account
    if name in TEXTS:
        (tmp_path / 'scores').write_bytes(TEXTS[name].encode())
        return path, None
    if name in ARRAYS:
        with open(path, 'wb') as file:
            np.savez_compressed(file, **ARRAYS[name])
        return path, None if name == 'complete' else ABC
    if name == 'unnamed':
        return {'results': CUHK['results']}, ABC
    return {'activitynet': ACTIVITYNET, 'cuhk': CUHK}[name], None


def test_each_proposal_gets_the_best_classes_by_hand(each_form):
    results, counts, warnings = join(each_form[0], 2, classes=each_form[1])
    found = [row for row in rows_of(results) if row[2] > 0]  # the second class of w has the score 0, or is not there
    assert found == [('w', 'c', 0.5, 3), ('v', 'a', 0.375, 0), ('v', 'b', 0.1875, 0), ('v', 'a', 0.25, 6),
                     ('v', 'b', 0.125, 6)]
    assert counts == {'proposals_without_class_scores': 0} and warnings == []


def test_names_given_for_a_file_that_has_its_own(each_form):
    if each_form[1] is None:
        with pytest.raises(InputError, match='found class names in this file, and --score_classes abc.txt, expected '
                           'one of them; leave out the flag$'):
            read_class_scores(each_form[0], 2, ABC)
    else:
        with pytest.raises(InputError, match='found scores without the names of their classes, expected .*--score_'):
            read_class_scores(each_form[0], 2)


THUMOS = ['video_test_0000004', 'video_test_0000001']


@pytest.fixture
def npy(tmp_path):
    """Function: an array → path of an npy file."""
    def write(array, allow_pickle=False):
        path = str(tmp_path / 'uNet_test.npy')
        np.save(path, array, allow_pickle=allow_pickle)
        return path
    return write


@pytest.mark.parametrize('classes', [
    ScoreClasses('names', ['a', 'b', 'c', 'd', 'e'], None), ScoreClasses('detclasslist.txt', ['e', 'b'], [4, 1])])
def test_the_row_of_an_npy_is_the_number_of_the_video_minus_1(npy, classes):
    scores = np.zeros((4, 5))
    scores[3, [1, 4]] = 0.25, 0.5    # of video_test_0000004
    scores[0, [1, 4]] = 0.125, 0.75  # of video_test_0000001
    scores[1] = np.nan               # of no video with proposals
    proposals = results_of({THUMOS[0]: [(1, 0, 4, '')], THUMOS[1]: [(0.5, 1, 2, '')]})
    results, counts, warnings = join(npy(scores), 2, proposals, classes)
    assert rows_of(results) == [(THUMOS[0], 'e', 0.5, 0), (THUMOS[0], 'b', 0.25, 0), (THUMOS[1], 'e', 0.375, 1),
                                (THUMOS[1], 'b', 0.0625, 1)]
    assert counts == {'proposals_without_class_scores': 0} and warnings == []


def test_columns_without_a_name_are_ignored(npy):
    scores = np.array([[0.25, 0.9, 0.5, 0.8]])
    found = read_class_scores(npy(scores), 3, ScoreClasses('names', ['c', 'a'], [2, 0]), ['1'])
    assert (found.labels, found.label_index.tolist(), found.scores.tolist()) == (['c', 'a'], [0, 1], [0.5, 0.25])


def test_an_npy_for_no_proposals(npy):
    assert read_class_scores(npy(ROWS), 2, ABC).videos == []
    assert rows_of(join(npy(ROWS), 2, results_of({}), ABC)[0]) == []


@pytest.mark.parametrize('videos, message', [
    (['v_abc'], 'the video "v_abc" with proposals has no number, expected a number of 1 to 2 at the end of its id'),
    (['v_1', 'v_3'], 'the video "v_3" with proposals has the number 3, expected a number of 1 to 2 at'),
    (['v_0'], 'the video "v_0" with proposals has the number 0, expected a number of 1 to 2 at'),
    (['t_02', 't_01', 'v_2'], 'the videos "t_02" and "v_2" with proposals have the same number, expected another '),
])
def test_videos_that_have_no_row_of_an_npy(npy, videos, message):
    with pytest.raises(InputError, match=message + '.*choose the videos with --videos'):
        read_class_scores(npy(ROWS), 1, ABC, videos)


@pytest.mark.parametrize('array, classes, message', [
    (ROWS, ScoreClasses('names.txt', ['a', 'b'], None), 'found 3 columns of scores, and 2 class names in names.txt, '
     'expected a name for each column, or lines such as "7 BaseballPitch"'),
    (ROWS, ScoreClasses('names.txt', ['a', 'b', 'c', 'd'], None), 'found 3 columns of scores, and 4 class names in '),
    (ROWS, ScoreClasses('names.txt', ['a'], [3]), 'found 3 columns of scores, and the column 4 in names.txt, expect'
     'ed 3 at most; correct the names'),
    (ROWS, None, 'found scores without the names .* expected --score_classes FILE, with one name per line in the '
     'order of the 3 columns; add the flag'),
    (ROWS[0], ABC, r'found an array of shape \[3\], expected \[videos, classes\]'),
    (ROWS.astype(str), ABC, 'found an array of type <U32, expected numbers'),
    (np.array([[1, np.inf, 0]]), ABC, 'the scores of the video "v1" are not all finite'),
    (-ROWS - 1, ABC, 'the class "c" of the video "v1" has the score -1.125, expected 0 or more, such as a pro'),
])
def test_wrong_npy(npy, array, classes, message):
    with pytest.raises(InputError, match='uNet_test.npy: ' + message):
        read_class_scores(npy(array), 1, classes, ['v1'])


def test_pickles_are_not_loaded(npy):
    path = npy(np.array({'v': [1.0]}, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r'npy: not an array of numbers \(Object arrays cannot .*; save the scores '
                       'as an npz file with an array for each video: numpy.savez'):
        read_class_scores(path, 1, ABC, ['v1'])


@pytest.mark.parametrize('arrays, message', [
    ({'scores': ROWS}, 'found no array videos, expected an array of texts, one for each of the rows of scores; a'),
    ({'scores': ROWS, 'videos': [1, 2]}, r'found the array videos of shape \[2\] and type int64, expected an array'),
    ({'scores': ROWS, 'videos': ['v']}, r'found the array scores of shape \[2, 3\] and 1 video, expected a row for'),
    ({'scores': ROWS, 'videos': ['v', 'v']}, 'found the video "v" twice'),
    ({'scores': ROWS, 'videos': ['v', 'w'], 'classes': ['a', 'b']}, 'found 3 columns of scores, and 2 class names in '
     'the array classes'),
    ({'scores': ROWS, 'videos': ['v', 'w'], 'classes': ['a', 'b', 'a']}, 'found the class "a" twice'),
    ({'v': ROWS[0], 'w': ROWS[0, :2]}, r'found the array "w" of shape \[2\], expected one number for each class, as '
     'many as of "v"'),
    ({'arr_0': ROWS}, r'found the array "arr_0" of shape \[2, 3\], expected one number for each class'),
])
def test_wrong_npz(tmp_path, arrays, message):
    np.savez(str(tmp_path / 'scores.npz'), **arrays)
    with pytest.raises(InputError, match='scores.npz: ' + message):
        read_class_scores(str(tmp_path / 'scores.npz'), 1, None if 'classes' in arrays else ABC)


def test_damaged_arrays(tmp_path, npy):
    content = open(npy(ROWS), 'rb').read()
    (tmp_path / 'cut.npy').write_bytes(content[:-1])
    np.savez(str(tmp_path / 'good.npz'), v=ROWS[0])
    (tmp_path / 'cut.npz').write_bytes((tmp_path / 'good.npz').read_bytes()[:-9])
    for name in ('cut.npy', 'cut.npz'):
        with pytest.raises(InputError, match=name + r': not an array of numbers \(.*\); write the file again'):
            read_class_scores(str(tmp_path / name), 1, ABC, ['1'])
    with zipfile.ZipFile(str(tmp_path / 'table.xlsx'), 'w') as file:
        file.writestr('sheet.xml', 'x' * 100)
    with pytest.raises(InputError, match=r'table.xlsx: not an array of numbers'):
        read_class_scores(str(tmp_path / 'table.xlsx'), 1, ABC)


@pytest.mark.parametrize('text, message', [
    ('v,0.5,0.25\nw,1,0\n', 'line 1: found numbers, expected a header: video and the class names, or video, label'),
    ('video,a,b\n', 'found 1 row, expected a header and rows with scores'),
    (',,\n,,\n', 'found 0 rows, expected a header and rows'),
    ('video,a,b\nv,1,0\n\nw,1\n', 'line 4: found 2 cells, expected 3, as in the header; correct the line'),
    ('video,a,b\nv,1,x\n', 'line 2: found "x" as a score, expected a finite number; correct the line'),
    ('video,a,b\nv,nan,0\n', 'line 2: found "nan" as a score, expected a finite number'),
    ('video,a,b\nv,1,\n', 'line 2: found "" as a score, expected a finite number'),
    ('video,label,score\nv,a,1\nv,b,1 %\n', 'line 3: found "1 %" as a score, expected a finite number'),
    ('video,label,score\nv,a,1\nw,a,1\nv,a,0\n', 'the video "v" has two scores of the class "a", expected one; rem'),
    ('video,a,a\nv,1,0\n', 'found the class "a" twice, expected it once'),
    ('video,a\nv,1\nv,1\n', 'found the video "v" twice, expected it once'),
    ('video,a\n"v" x,1\n', 'line 2: not CSV: .*; correct the line'),
    ('video,a\nv,-1\n', 'the class "a" of the video "v" has the score -1, expected 0 or more'),
    ('v 1\nw 2\n', "found a file of another form, expected class scores of videos as a JSON file in Activity.* form "
     r"or CUHK's, a CSV file with a header, an npy file \[videos, classes\], or an npz file \(docs/evaluation.md\)"),
    ('', 'found a file of another form, expected class scores of videos as a JSON'),
    (b'\x80\x04\x95\x00', 'not UTF-8 text .*; save it as UTF-8, or give class scores of videos as a JSON file in'),
])
def test_wrong_tables_and_other_forms(tmp_path, text, message):
    (tmp_path / 'scores').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match='scores: ' + message):
        read_class_scores(str(tmp_path / 'scores'), 1)


@pytest.mark.parametrize('text, names, columns', [
    ('a\n b c \r\n\n', ['a', 'b c'], None), ('7 Dive\n9  Pole Vault\n', ['Dive', 'Pole Vault'], [6, 8]),
    ('2 a\nb\n', ['2 a', 'b'], None)])
def test_class_names(tmp_path, text, names, columns):
    (tmp_path / 'names.txt').write_text(text)
    assert read_score_classes(str(tmp_path / 'names.txt'))[1:] == (names, columns)


@pytest.mark.parametrize('text, message', [
    ('\n', 'found no class name, expected one per line'), ('a\nb\na\n', 'found the class "a" twice'),
    ('1 a\n2 a', 'found the class "a" twice'), ('1 a\n1 b', 'found the column 1 twice'),
    ('0 a\n1 b', 'found the number 0 before a class name, expected the column of the class, counted from 1; add 1')])
def test_wrong_class_names(tmp_path, text, message):
    (tmp_path / 'names.txt').write_text(text)
    with pytest.raises(InputError, match='names.txt: ' + message):
        read_score_classes(str(tmp_path / 'names.txt'))


def test_fewer_classes_than_asked_for():
    results = join(ACTIVITYNET, 5)[0]
    assert [row[:2] for row in rows_of(results)] == [('w', 'c')] + [('v', 'a'), ('v', 'b'), ('v', 'c')] * 2


def test_equal_class_scores_stand_in_the_order_of_the_file():
    scores = {'results': {'v': [0.5, 0.25, 0.5], 'w': [1, 1, 1]}, 'class': ['a', 'b', 'c']}
    assert [row[1] for row in rows_of(join(scores, 1)[0])] == ['a', 'a', 'a']
    assert [row[1] for row in rows_of(join(scores, 2)[0])] == ['a', 'b', 'a', 'c', 'a', 'c']


def test_videos_without_class_scores():
    proposals = results_of({'v': [(1, 0, 4, '')], 'x': [(1, 0, 4, '')] * 3, 'y': [(1, 0, 4, '')], 'z': []})
    results, counts, warnings = join(CUHK, 1, proposals)  # x has an empty list of scores
    assert rows_of(results) == [('v', 'a', 0.5, 0)] and results.videos == ['v', 'x', 'y', 'z']
    assert counts == {'proposals_without_class_scores': 4}
    assert warnings == ['class scores in memory has no class scores of 2 videos with proposals, such as "x": 4 '
                        'proposals dropped']


@pytest.mark.parametrize('content, message', [
    ([], 'expected a JSON object whose "results" .* check that this is the class scores file'),
    ({'results': {'v': [0.5]}}, r'found scores without the names of their classes, expected the key "class"'),
    ({'results': {'v': [0.5]}, 'class': ['a', 'b']}, r'results\["v"\] is \[0.5\]; expected a list of 2 finite'),
    ({'results': {'v': [0.5, float('nan')]}, 'class': ['a', 'b']}, r'results\["v"\] is \[0.5, nan\]; expected'),
    ({'results': {'w': [0.5], 'v': 3}, 'class': ['a']}, r'results\["v"\] is 3; expected a list of 1 finite number, '),
    ({'results': {'v': [0.5]}, 'class': 'a'}, '"class" is \'a\'; expected a list of names in the order of the sco'),
    ({'results': {'v': [0.5, 1]}, 'class': ['a', 'a']}, 'found the class "a" twice, expected it once'),
    ({'results': {'v': [{'label': 'a', 'score': 1}, {'label': 'a', 'score': 0}]}},
     'the video "v" has two scores of the class "a", expected one'),
    ({'results': {'v': [{'label': 'a', 'score': 1}, 0.5]}}, r'results\["v"\]\[1\] is of type float; expected an obj'),
    ({'results': {'v': [{'label': 'a'}]}}, r'results\["v"\]\[0\] has no "score" \(its keys: label\)'),
    ({'results': {'v': [{'score': 1}]}}, r'results\["v"\]\[0\] has no "label" \(its keys: score\); .* name; add it$'),
    ({'results': {'v': [-1.5, -0.5]}, 'class': ['a', 'b']},
     'the class "b" of the video "v" has the score -0.5, expected 0 or more, such as a probability'),
])
def test_wrong_class_scores_are_named(content, message):
    with pytest.raises(InputError, match='^class scores in memory: ' + message):
        read_class_scores(content, 1)


def test_no_video_in_common():
    with pytest.raises(InputError, match='no video in common: found "v_w" and "v", .* --strip_prefix v_ makes 1 id'):
        join(CUHK, 1, results_of({'v_w': [(1, 0, 4, '')]}))


# Command line


@pytest.fixture
def paths(tmp_path):
    """Paths of ground truth, proposals without labels, class scores and output."""
    proposals = results_of({'v_v': [(0.9, 0, 4, ''), (0.8, 6, 8, '')], 'v_w': [(0.7, 1, 2, '')]})
    for entries in proposals['results'].values():
        for entry in entries:
            del entry['label']
    contents = {'gt.json': truth_of({'v': [(0, 4, 'a'), (6, 8, 'b')], 'w': [(1, 2, 'c')]}),
                'proposals.json': proposals, 'scores.json': CUHK}
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return [str(tmp_path / name) for name in [*contents, 'out.json']]


def test_proposals_become_detections(paths, capsys):
    flags = ['--json', paths[3], '--video_scores', paths[2], '--strip_prefix', 'v_', '--tiou_thresholds', '0.5']
    get_detection_performance.main(paths[:2] + flags + ['--top', '1'])
    assert load(paths[3])['ap_per_class'] == {'a': [1], 'b': [0], 'c': [1]}
    assert capsys.readouterr().err == 'warning: a class without any result: b\n'
    get_detection_performance.main(paths[:2] + flags)  # 2 classes: the better result of b is wrong
    assert load(paths[3])['ap_per_class'] == {'a': [1], 'b': [0.5], 'c': [1]}
    assert load(paths[3])['predictions_in_file'] == 6 and load(paths[3])['proposals_without_class_scores'] == 0
    printed = capsys.readouterr()
    assert 'dropped: proposals without class scores              0\n' in printed.out and not printed.err


@pytest.mark.parametrize('flags, message', [
    (['--top', '2'], '--top 2: found no --video_scores, which the flag belongs to; add --video_scores FILE, or leave '
     'out --top'),
    (['--score_classes', 'x'], '--score_classes x: found no --video_scores, which the flag belongs to; add'),
    (['--top', '0', '--video_scores', 'scores.json'], '--top 0: expected a number above 0; correct the flag')])
def test_wrong_flags(paths, flags, message):
    with pytest.raises(InputError, match=message):
        get_detection_performance.main(paths[:2] + flags)


def test_npy_scores_on_the_command_line(tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ('gt.json', 'proposals.json', 'out.json', 'scores.npy', 'names.txt')]
    proposals = results_of({'video_test_video_test_2': [(0.9, 0, 4, 'b')], 'video_test_1': [(0.8, 1, 2, 'b')]})
    truth = truth_of({'video_test_video_test_2': [(0, 4, 'b')], '1': [(1, 2, 'a')]})
    for path, content in zip(paths, (truth, proposals)):
        with open(path, 'w') as file:
            json.dump(content, file)
    np.save(paths[3], np.array([[0.25, 0, 1], [0, 0.5, 1]]))
    (tmp_path / 'names.txt').write_text('1 a\n2 b\n')
    flags = ['--video_scores', paths[3], '--score_classes', paths[4], '--top', '1', '--strip_prefix', 'video_test_']
    get_detection_performance.main(paths[:2] + ['--json', paths[2]] + flags)
    assert load(paths[2])['ap_per_class'] == {'b': [1] * 10, 'a': [1] * 10} and not capsys.readouterr().err
    with pytest.raises(InputError, match='--figure .*: would overwrite .*names.txt'):
        get_detection_performance.main(paths[:2] + flags + ['--figure', paths[4]])


def test_an_output_does_not_replace_the_class_scores(paths):
    with pytest.raises(InputError, match='--json .*: would overwrite .*scores.json'):
        get_detection_performance.main(paths[:2] + ['--video_scores', paths[2], '--json', paths[2]])
