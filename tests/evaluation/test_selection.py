"""Ids, labels and segments that do not agree, and the flags that choose among them; the shared cases."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from data_sets import ROOT
from small_files import load, results_of, truth_of

from evaluation import command_line, get_detection_performance, get_proposal_performance, selection
from evaluation.results import coverage_line, read_ground_truth, read_results
from runtime.errors import InputError

MAIN = {'detection': get_detection_performance.main, 'proposal': get_proposal_performance.main}
SCRIPTS = pytest.mark.parametrize('name', sorted(MAIN))
MAKE_CASES = os.path.join(ROOT, '..', 'shared', 'cases', 'make_cases.py')


@pytest.fixture
def evaluate(tmp_path, capsys):
    """Function: (script, ground truth, results, flags) → (numbers of --json, standard output, standard error)."""
    def run(name, truth, results, *flags):
        paths = [str(tmp_path / file) for file in ('gt.json', 'results.json', 'out.json')]
        for path, content in zip(paths, (truth, results)):
            with open(path, 'w') as file:
                json.dump(content, file)
        capsys.readouterr()
        MAIN[name](paths[:2] + ['--json', paths[2]] + list(flags))
        printed = capsys.readouterr()
        return load(paths[2]), printed.out, printed.err.replace(str(tmp_path) + os.sep, '')
    return run


# ------------------------------------------------------------------------------------------- ids of videos


@SCRIPTS
@pytest.mark.parametrize('truth_id, results_id, prefix', [('v0', 'v_v0', 'v_'), ('v_v0', 'v0', 'v_'),
                                                         ('a', 'my video a', "'my video '")])
def test_no_video_in_common(evaluate, name, truth_id, results_id, prefix):
    truth, results = truth_of({truth_id: [(0, 4, 'a')]}), results_of({results_id: [(1, 0, 4, 'a')]})
    with pytest.raises(InputError, match=r'results.json and subset "validation" of .*gt.json have no video in '
                       'common: found "%s" and "%s", expected the same ids; --strip_prefix %s makes 1 id agree$' % (
                           results_id, truth_id, prefix)):
        evaluate(name, truth, results)
    numbers, _, warnings = evaluate(name, truth, results, '--strip_prefix', prefix.strip("'"))
    assert numbers['videos_without_results'] == 0 and not warnings
    assert numbers.get('average_mAP', 1) == 1 and numbers.get('average_recall_percent', 100) == 100


@SCRIPTS
def test_a_few_ids_with_a_prefix_are_a_warning(evaluate, name):
    truth = truth_of({'v%d' % number: [(0, 4, 'a')] for number in range(5)})
    found = {('v_v0' if number == 0 else 'v%d' % number): [(1, 0, 4, 'a')] for number in range(5)}
    numbers, _, warnings = evaluate(name, truth, results_of(found))
    assert ('results.json: found 4 of its 5 videos in subset "validation" of gt.json; not there: "v_v0"; '
            '--strip_prefix v_ makes 1 id agree') in warnings
    assert numbers['videos_without_results'] == 1
    numbers, _, warnings = evaluate(name, truth, results_of(found), '--strip_prefix', 'v_')
    assert numbers['videos_without_results'] == 0 and not warnings
    _, _, warnings = evaluate(name, truth, results_of(dict(found, v0=[(1, 0, 4, 'a')], x=[(1, 0, 4, 'a')])))
    assert not warnings  # v0 has results of its own, and nothing makes x an id of the ground truth


def test_no_video_in_common_and_no_prefix_helps(evaluate):
    truth = truth_of({'v': [(0, 4, 'a')]})
    truth['database'].update(truth_of({'t': [(0, 4, 'a')]}, 'training')['database'])
    with pytest.raises(InputError, match='found "x" and "v", .*; check that both files are of the same videos$'):
        evaluate('detection', truth, results_of({'x': []}))
    with pytest.raises(InputError, match='; without ".mp4" at the end of ids, 1 id would agree: remove it'):
        evaluate('detection', truth, results_of({'v.mp4': [], 'x': []}))
    with pytest.raises(InputError, match='found "V" and "v", .*; ids differ in upper and lower case: write them ali'):
        evaluate('detection', truth, results_of({'V': []}))
    with pytest.raises(InputError, match='the results\' videos are in the subset "training": choose it with --'):
        evaluate('detection', truth, results_of({'t': []}))


@SCRIPTS
def test_results_of_no_video_are_evaluated(evaluate, name):
    numbers, table, _ = evaluate(name, truth_of({'v': [(0, 4, 'a')]}), results_of({}))
    assert numbers['videos_without_results'] == 1
    assert table.endswith('  over 1 video; 1 of them has no results and counts as missed\n')


def test_videos_without_segments_are_known(evaluate):
    truth = truth_of({'v': [(0, 4, 'a')], 'empty': [], 'vacant': []})
    results = results_of({'empty': [], 'vacant': [], 'v': [(1, 0, 4, 'a')]})
    numbers, _, warnings = evaluate('detection', truth, results)
    assert numbers['average_mAP'] == 1 and not warnings


@SCRIPTS
def test_less_than_half_of_the_videos_are_known(evaluate, name):
    truth = truth_of({'v': [(0, 4, 'a')], 'w': [(0, 4, 'a')]})
    results = {'v': [(1, 0, 4, 'a')], 'x': [], 'w': []}
    assert not evaluate(name, truth, results_of(results))[2]  # two of three
    assert not evaluate(name, truth, results_of(dict(results, y=[])))[2]  # half
    assert evaluate(name, truth, results_of(dict(results, y=[], z=[])))[2] == (
        'warning: results.json: found 2 of its 5 videos in subset "validation" of gt.json; not there: "x" and 2 '
        'others; check that both files are of the same videos\n')


def test_a_prefix_that_makes_two_videos_equal(evaluate):
    truth, twice = truth_of({'v': [(0, 4, 'a')]}), results_of({'v_v': [], 'v': []})
    with pytest.raises(InputError, match=r'results.json: --strip_prefix v_ makes the ids "v_v" and "v" equal, '):
        evaluate('detection', truth, twice, '--strip_prefix', 'v_')
    truth['database'].update(truth_of({'v_v': [(0, 4, 'a')]}, 'training')['database'])  # of another subset: no fault
    results = results_of({'v_v': [(1, 0, 4, 'a')]})
    assert evaluate('detection', truth, results, '--strip_prefix', 'v_')[0]['average_mAP'] == 1


# --------------------------------------------------------------------------------------------------- flags


@pytest.mark.parametrize('text', ['v\nstranger\n', ' v \r\n\r\nstranger\nv', '["v", "stranger"]'])
@SCRIPTS
def test_a_list_of_videos(evaluate, tmp_path, name, text):
    (tmp_path / 'list.txt').write_text(text)
    truth = truth_of({'w': [(0, 4, 'b')] * 2, 'v': [(0, 4, 'a')], 'empty': []})
    results = results_of({'w': [(0.9, 0, 4, 'a')], 'v': [(0.5, 0, 4, 'a')], 'x': [(0.9, 0, 1, 'a')]})
    flags = ['--policy', 'official', '--videos', str(tmp_path / 'list.txt')]  # x would be a false positive
    numbers, table, warnings = evaluate(name, truth, results, *flags)
    assert (numbers['videos'], numbers['ground_truth'], numbers['videos_without_segments']) == (1, 1, 0)
    assert (numbers['videos_not_in_list'], numbers['results_not_in_list']) == (1, 2)
    assert numbers.get('average_mAP', 1) == 1 and numbers.get('average_recall_percent', 100) == 100
    assert 'dropped: results of videos not in --videos' in table
    assert warnings == ('warning: --videos list.txt: found 1 of its 2 videos in subset "validation" of gt.json; not '
                        'there: "stranger"\n')


@pytest.mark.parametrize('text, message', [
    ('\n \n', 'list.txt: found no video id, expected one per line'),
    ('[]', 'list.txt: found no video id'),
    ('{"v": 1}', 'list.txt: found JSON that is no list of texts'),
    ('["v", 1]', 'list.txt: found JSON that is no list of texts'),
    ('["v"', 'list.txt: not valid JSON'),
    ('x v\n', 'found "x v" and "v", expected the same ids; write one id per line$'),
    ('x,v', 'found "x,v" and "v", expected the same ids; write one id per line$'),
    ('x', '--videos .*list.txt and subset "validation" of .*gt.json have no video in common: found "x" and "v"'),
    ('empty', '--videos .*list.txt leaves no segment of subset "validation" of .*gt.json, expected one or more'),
])
def test_wrong_lists_of_videos(evaluate, tmp_path, text, message):
    (tmp_path / 'list.txt').write_text(text)
    with pytest.raises(InputError, match=message):
        evaluate('proposal', truth_of({'v': [(0, 4, 'a')], 'empty': []}), results_of({'v': []}),
                 '--videos', str(tmp_path / 'list.txt'))


def test_an_output_does_not_replace_the_list(evaluate, tmp_path):
    (tmp_path / 'list.png').write_text('v')
    path = str(tmp_path / 'list.png')
    with pytest.raises(InputError, match='--figure .*list.png: would overwrite'):
        evaluate('proposal', truth_of({'v': [(0, 4, 'a')]}), results_of({}), '--videos', path, '--figure', path)


AMBIGUOUS = {'v': [(0, 4, 'Ambiguous'), (5, 9, 'Dive')], 'w': [(0, 4, 'Ambiguous')]}


def test_a_label_that_is_ignored_in_detections(evaluate):
    results = results_of({'v': [(0.9, 0, 4, 'Ambiguous'), (0.8, 5, 9, 'Dive')], 'w': [(0.7, 0, 4, 'Ambiguous')]})
    numbers, table, warnings = evaluate('detection', truth_of(AMBIGUOUS), results, '--ignore_label', 'Ambiguous')
    assert list(numbers['ap_per_class']) == ['Dive'] and numbers['average_mAP'] == 1
    assert (numbers['ignored_segments'], numbers['ignored_results'], numbers['predictions_in_file']) == (2, 2, 1)
    assert (numbers['videos'], numbers['videos_without_segments']) == (1, 1)
    assert 'dropped: segments of an ignored label                2' in table and not warnings


@pytest.mark.parametrize('labels, ignored', [(('Ambiguous', 'Dive'), 1), ((None, 'Dive'), 0), ((None, None), 0)])
def test_a_label_that_is_ignored_in_proposals(evaluate, labels, ignored):
    results = results_of({'v': [(0.9, 0, 4, labels[0]), (0.8, 5, 9, labels[1])]})
    for entry in results['results']['v']:
        if entry['label'] is None:  # labels are read only where every proposal has one
            del entry['label']
    numbers, _, warnings = evaluate('proposal', truth_of(AMBIGUOUS), results, '--ignore_label', 'Ambiguous')
    assert (numbers['ground_truth'], numbers['ignored_segments'], numbers['ignored_results']) == (1, 2, ignored)
    assert numbers['average_recall_percent'] == 100 and not warnings


def test_labels_that_cannot_be_ignored(evaluate):
    results = results_of({'v': [(0.9, 5, 9, 'Dive')]})
    numbers, _, warnings = evaluate('detection', truth_of(AMBIGUOUS), results, '--ignore_label', 'ambigous',
                                    '--ignore_label', 'x\n')
    assert numbers['ignored_segments'] == 0
    assert warnings.splitlines()[:2] == [
        'warning: --ignore_label "ambigous": no segment and no result has this label; near: "Ambiguous"',
        r'warning: --ignore_label "x\n": no segment and no result has this label']
    with pytest.raises(InputError, match='--ignore_label "Ambiguous" "Dive" leaves no segment of '):
        evaluate('detection', truth_of(AMBIGUOUS), results, '--ignore_label', 'Ambiguous', '--ignore_label', 'Dive')


@SCRIPTS
def test_repeated_segments_are_dropped(evaluate, name):
    # Of v the second repeats the first, the third has another label, the fourth ends later. Of w none is repeated.
    truth = truth_of({'v': [(0, 4, 'a'), (0.0005, 4, 'a'), (0, 4, 'b'), (0, 4.5, 'a')], 'w': [(0, 4, 'a')]})
    results = results_of({'v': [(0.9, 0, 4, 'a'), (0.9, 0, 4, 'b'), (0.8, 0, 4.5, 'a')], 'w': [(0.9, 0, 4, 'a')]})
    numbers, table, _ = evaluate(name, truth, results, '--drop_duplicates', '--tiou_thresholds', '1')
    assert (numbers['duplicate_segments'], numbers['ground_truth']) == (1, 4)
    assert 'dropped: repeated segments                           1' in table
    assert numbers.get('average_mAP', 1) == 1
    numbers, table, _ = evaluate(name, truth, results)
    assert numbers['ground_truth'] == 5 and 'duplicate_segments' not in numbers and 'repeated' not in table


def test_a_segment_repeats_only_one_that_stays():
    # Each starts 0.75 ms after the one before: the second repeats the first, but the third does not.
    truth = read_ground_truth(truth_of({'v': [(0.00075 * i, 4, 'a') for i in range(4)]}))
    kept, dropped = selection.drop_duplicates(truth)
    assert dropped == 2 and kept.segments[:, 0].tolist() == [0, 0.0015]


# -------------------------------------------------------------------------------------------------- labels


def test_labels_that_are_no_class(evaluate):
    truth = truth_of({'v': [(0, 4, 'long_jump'), (0, 4, 'Tai-Chi'), (0, 4, 'yoga')]})
    labels = ['long jump'] * 3 + ['tai chi'] * 2 + ['LongJump', 'yoda', 'swim', 'run', 'yoga', 'ski']
    results = results_of({'v': [(0.5, 0, 4, label) for label in labels], 'x': [(0.5, 0, 4, 'of no known video')]})
    numbers, _, warnings = evaluate('detection', truth, results)
    assert warnings.splitlines() == ['warning: ' + text for text in (
        '"long jump" is no class of the ground truth: 3 results dropped; near: "long_jump"',
        '"tai chi" is no class of the ground truth: 2 results dropped; near: "Tai-Chi"',
        '"LongJump" is no class of the ground truth: 1 result dropped; near: "long_jump"',
        '"yoda" is no class of the ground truth: 1 result dropped; near: "yoga"',
        '"swim" is no class of the ground truth: 1 result dropped',
        'and 2 more labels that the ground truth does not have: 2 results dropped',
        '2 classes without any result: long_jump, Tai-Chi')]
    assert numbers['dropped_unknown_label'] == 10
    official = evaluate('detection', truth, results, '--policy', 'official')[2]
    assert 'and 3 more labels that the ground truth does not have: 3 results dropped' in official


def test_many_classes_without_results(evaluate):
    truth = truth_of({'v': [(0, 4, 'class%d' % k) for k in range(12)]})
    warnings = evaluate('detection', truth, results_of({}))[2]
    assert warnings == 'warning: 12 classes without any result: %s and 2 more\n' % ', '.join(
        'class%d' % k for k in range(10))
    warnings = evaluate('detection', truth, results_of({'v': [(1, 0, 4, 'class%d' % k) for k in range(11)]}))[2]
    assert warnings == 'warning: a class without any result: class11\n'


# ------------------------------------------------------------------------------------------------ coverage


# ------------------------------------------------------------------------------------- repeated segments


# the segment [0, 4] of v three times, also with the label of another class; in w it is no repeat
REPEATS = {'v': [(0.5, 0, 4, 'a'), (0.8, 6, 8, 'a'), (0.9, 0, 4, 'b'), (0.5, 6, 8, 'b'), (0.9, 0, 4, 'c'),
                 (0.95, 0, 4.5, 'a')],
           'w': [(0.3, 0, 4, 'a'), (0.2, 6, 8, 'a')], 'x': []}


def test_repeats_by_hand():
    results = read_results(results_of(REPEATS))
    kept = selection.without_repeats(results)
    assert [(kept.videos[video], score, *segment, kept.labels[label]) for video, score, segment, label in zip(
        kept.video_index, kept.scores, kept.segments.tolist(), kept.label_index)] == [
            ('v', 0.8, 6, 8, 'a'), ('v', 0.9, 0, 4, 'b'), ('v', 0.95, 0, 4.5, 'a'), ('w', 0.3, 0, 4, 'a'),
            ('w', 0.2, 6, 8, 'a')]  # in the file's order; of the equal scores of b and c the first
    assert kept.videos == ['v', 'w', 'x']
    assert selection.repeats_warnings(results) == [
        'results in memory: found repeated segments in 3 of 8 results, such as with several labels per video; each '
        'counts, as in ActivityNet\'s toolkit, although AR and AUC ignore labels; to count each segment once, add '
        '--unique_segments']
    assert selection.repeats_warnings(kept) == []
    assert selection.without_repeats(kept).scores.tolist() == kept.scores.tolist()
    zeros = read_results(results_of({'v': [(0.5, -0.0, 4, 'a'), (1, 0, 4, 'a')]}))
    assert selection.without_repeats(zeros).scores.tolist() == [1]
    empty = read_results(results_of({}), with_labels=False)
    assert len(selection.without_repeats(empty).scores) == 0 and selection.repeats_warnings(empty) == []


def test_unique_segments_count_once(evaluate):
    truth = truth_of({'v': [(0, 4, 'a'), (6, 8, 'a')]})
    once = results_of({'v': [(0.9, 0, 4, 'a'), (0.8, 6, 8, 'a')]})
    twice = results_of({'v': [(0.9, 0, 4, 'a'), (0.8, 6, 8, 'a'), (0.9, 0, 4, 'b'), (0.4, 6, 8, 'b')]})
    flags = ['--max_avg_nr_proposals', '2']
    # by hand: of 2 proposals, both find one segment; of 4, the best 2 are the same segment
    numbers, _, warnings = evaluate('proposal', truth, once, *flags)
    assert numbers['average_recall_percent'] == 100 and not warnings and 'repeated_results' not in numbers
    repeated, table, warnings = evaluate('proposal', truth, twice, *flags)
    assert repeated['average_recall_percent'] == 50 and repeated['proposals'] == 4
    assert warnings.startswith('warning: results.json: found repeated segments in 2 of 4 results, such')
    assert 'repeat' not in table
    unique, table, warnings = evaluate('proposal', truth, twice, '--unique_segments', *flags)
    assert (unique.pop('repeated_results'), unique) == (2, numbers) and not warnings
    assert 'dropped: results that repeat a segment               2\n' in table


def test_unique_segments_of_a_function():
    truth, results = truth_of({'v': [(0, 4, 'a')]}), results_of(REPEATS)
    assert get_proposal_performance.evaluate_proposals(truth, results).counts['proposals'] == 8
    counts = get_proposal_performance.evaluate_proposals(truth, results, unique_segments=True).counts
    assert (counts['proposals'], counts['repeated_results']) == (5, 3)


def test_repeats_of_many_results_equal_those_found_one_by_one():
    numbers = np.random.RandomState(0).randint(0, 9, (5, 40, 2)).tolist()
    found = {'v%d' % video: [(score, start, start + 3, 'a') for start, score in pairs]
             for video, pairs in enumerate(numbers)}
    kept = selection.without_repeats(read_results(results_of(found)))
    expected = []
    for video, entries in enumerate(found.values()):
        best = {}
        for place, (score, start, _, _) in enumerate(entries):
            best[start] = max(best.get(start, (-1, 0)), (score, -place))
        expected += [(video, entries[-place][0], entries[-place][1])
                     for _, place in sorted(best.values(), key=lambda pair: -pair[1])]
    assert list(zip(kept.video_index, kept.scores, kept.segments[:, 0])) == expected


@pytest.mark.parametrize('with_results, dropped, expected', [
    ('abc', 0, 'over 3 videos; all of them have results'),
    ('ab', 0, 'over 3 videos; 1 of them has no results and counts as missed'),
    ('', 0, 'over 3 videos; 3 of them have no results and count as missed'),
    ('c', 5, 'over 3 videos; 2 of them have no results and count as missed; 5 videos without features were dropped '
             'before (--missing drop)'),
    ('abc', 1, 'over 3 videos; all of them have results; 1 video without features was dropped before '
               '(--missing drop)')])
def test_coverage_line(with_results, dropped, expected):
    truth = read_ground_truth(truth_of(dict({video: [(0, 1, 'x')] for video in 'abc'}, empty=[])))
    results = dict({video: [] for video in 'ca'}, stranger=[(1, 0, 1, 'x')])  # an empty list is no result
    results.update({video: [(1, 0, 1, 'x')] for video in with_results})
    assert coverage_line(truth, read_results(results_of(results)), dropped) == expected


def test_large_numbers_are_grouped():
    truth = truth_of({'v%d' % i: [(0, 1, 'x')] for i in range(2000)})
    assert coverage_line(read_ground_truth(truth), read_results(results_of({}))) == (
        'over 2,000 videos; 2,000 of them have no results and count as missed')


def test_a_closed_terminal_gets_no_warning(monkeypatch):
    class Closed:
        def write(self, text):
            raise OSError('closed')

    monkeypatch.setattr(sys, 'stderr', Closed())
    command_line.warn(['text'])


# -------------------------------------------------------------------------------------------- shared cases


@pytest.fixture(scope='module')
def cases(tmp_path_factory):
    """The folder of the shared cases, made anew."""
    if not os.path.exists(MAKE_CASES):
        pytest.skip('the shared cases are not here')
    pytest.importorskip('h5py')
    folder = str(tmp_path_factory.mktemp('cases'))
    subprocess.run([sys.executable, MAKE_CASES, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def run_case(cases, case, name, truth='gt.json', flags=()):
    folder = os.path.join(cases, case)
    paths = [os.path.join(folder, file) for file in (truth, 'results.json', name + '.json')]
    MAIN[name](paths[:2] + ['--subset', 'Test', '--json', paths[2]] + list(flags))
    return load(paths[2])


@SCRIPTS
def test_case_quoted_times(cases, name):
    quoted = run_case(cases, '10_quoted_times', name)
    assert quoted == run_case(cases, '10_quoted_times', name, 'gt_numbers.json')
    assert quoted.get('average_mAP', quoted.get('auc_percent')) > 0


@SCRIPTS
def test_case_prefix(cases, name):
    with pytest.raises(InputError, match='no video in common: found "v_v0" and "v0", .* --strip_prefix v_ makes 6 '):
        run_case(cases, '11_prefix', name)
    mended = run_case(cases, '11_prefix', name, flags=['--strip_prefix', 'v_'])
    expected = run_case(cases, '10_quoted_times', name)
    for key in set(mended) - {'ap_per_class'}:
        np.testing.assert_array_equal(mended[key], expected[key])


@pytest.mark.parametrize('case', ['12_spelling', '13_class_without_results'])
def test_case_warnings(cases, capsys, case):
    run_case(cases, case, 'detection')
    expected = load(os.path.join(cases, 'expected.json'))[case]['warns']
    assert 'warning: ' + expected in capsys.readouterr().err.splitlines()
