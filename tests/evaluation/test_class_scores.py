"""Class scores of whole videos: both forms, the join with proposals by hand, and what is refused."""
import json

import pytest
from small_files import load, results_of, truth_of

from evaluation import get_detection_performance
from evaluation.class_scores import join_class_scores, read_class_scores
from evaluation.results import read_results
from runtime.errors import InputError

ACTIVITYNET = {'results': {'v': [{'label': 'b', 'score': 0.25}, {'label': 'a', 'score': '0.5'},
                                 {'label': 'c', 'score': 0.125}], 'w': [{'label': 'c', 'score': 1}], 'x': []}}
CUHK = {'results': {'v': [0.5, 0.25, 0.125], 'w': [0, 0, '1'], 'x': []}, 'class': ['a', 'b', 'c']}
PROPOSALS = results_of({'w': [(0.5, 3, 4, 'own')], 'v': [(0.75, 0, 4, 'own'), (0.5, 6, 8, 'own')]})


def rows_of(results):
    """[(video, label, score, start)] of Results."""
    return [(results.videos[video], results.labels[label], score, start) for video, label, score, (start, _) in zip(
        results.video_index, results.label_index, results.scores, results.segments)]


def join(scores, top, proposals=PROPOSALS):
    return join_class_scores(read_results(proposals, with_labels=False), read_class_scores(scores, top))


@pytest.mark.parametrize('scores', [ACTIVITYNET, CUHK], ids=['activitynet', 'cuhk'])
def test_each_proposal_gets_the_best_classes_by_hand(scores):
    results, counts, warnings = join(scores, 2)
    found = [row for row in rows_of(results) if row[2] > 0]  # the second class of w has the score 0, or is not there
    assert found == [('w', 'c', 0.5, 3), ('v', 'a', 0.375, 0), ('v', 'b', 0.1875, 0), ('v', 'a', 0.25, 6),
                     ('v', 'b', 0.125, 6)]
    assert counts == {'proposals_without_class_scores': 0} and warnings == []


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
    ({'results': {'w': [0.5], 'v': 3}, 'class': ['a']}, r'results\["v"\] is 3; expected a list of 1 finite numbers'),
    ({'results': {'v': [{'label': 'a', 'score': 1}, 0.5]}}, r'results\["v"\]\[1\] is of type float; expected an obj'),
    ({'results': {'v': [{'label': 'a'}]}}, r'results\["v"\]\[0\] has no "score" \(its keys: label\)'),
    ({'results': {'v': [{'score': 1}]}}, r'results\["v"\]\[0\] has no "label" \(its keys: score\); .* name; add it$'),
    ({'results': {'v': [-1.5, -0.5]}, 'class': ['a', 'b']},
     r'results\["v"\]: the class "b" has the score -0.5, expected 0 or more, such as a probability'),
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


@pytest.mark.parametrize('flags', [['--top', '2'], ['--top', '0', '--video_scores', 'scores.json']])
def test_wrong_tops(paths, flags):
    with pytest.raises(InputError, match='--top %s: expected a number above 0, together with --video_' % flags[1]):
        get_detection_performance.main(paths[:2] + flags)


def test_an_output_does_not_replace_the_class_scores(paths):
    with pytest.raises(InputError, match='--json .*: would overwrite .*scores.json'):
        get_detection_performance.main(paths[:2] + ['--video_scores', paths[2], '--json', paths[2]])
