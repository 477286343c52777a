"""Evaluation: by hand on small cases, against the recorded numbers, and from the command line."""
import argparse
import gc
import glob
import json
import os
import re
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from data_sets import GOLDEN, ROOT
from small_files import load, results_of, truth_of

from evaluation import command_line, get_detection_performance, get_proposal_performance
from evaluation import results as shared
from evaluation.get_detection_performance import evaluate_detections, greedy_matches, interpolated_ap
from evaluation.get_proposal_performance import evaluate_proposals
from evaluation.results import overlapping_pairs, read_ground_truth, read_results, segment_tiou
from runtime.errors import InputError

SEEDS = sorted(path[:-len('_gt.json')] for path in glob.glob(os.path.join(GOLDEN, 'eval_seed*_gt.json')))


def mean_ap(truth, results, thresholds=(0.5,), **keywords):
    return evaluate_detections(truth_of(truth), results_of(results), tiou_thresholds=thresholds,
                               **keywords).mAP.tolist()


# ----------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize('first, second, expected', [
    ([0, 2], [1, 3], 1 / 3),
    ([0, 10], [2, 6], 4 / 10),
    ([1, 4], [2, 7], 2 / 6),
    ([0, 5], [0, 5], 1),
    ([0, 1], [1, 2], 0),        # touching
    ([0, 1], [3, 4], 0),        # disjoint
    ([2, 2], [0, 5], 0),        # without length, inside
    ([2, 2], [2, 2], 0),        # without length, identical
    ([5, 0], [0, 5], 0),        # turned round: the union has no length
    ([-3, -1], [-2, 0], 1 / 3),
])
def test_tiou(first, second, expected):
    assert segment_tiou(first, second) == pytest.approx(expected, abs=1e-15)
    assert segment_tiou(second, first) == pytest.approx(expected, abs=1e-15)


def test_lengths_that_no_float_holds_have_tiou_0():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert segment_tiou([-1e308, 1e308], [[-1e308, 1e308], [0, 1]]).tolist() == [0, 0]


def test_tiou_broadcasts():
    tiou = segment_tiou(np.array([[[0, 2]], [[0, 4]]]), np.array([[0, 2], [1, 3], [8, 9]]))
    np.testing.assert_allclose(tiou, [[1, 1 / 3, 0], [1 / 2, 1 / 2, 0]])


@pytest.mark.parametrize('pairs_at_once', [1, 2, 3, 1000])
def test_pairs_stay_in_their_group(monkeypatch, pairs_at_once):
    monkeypatch.setattr(shared, 'PAIRS_AT_ONCE', pairs_at_once)
    segments = np.array([[0, 2], [0, 2], [1, 3], [0, 2]], dtype=float)
    gt_segments = np.array([[0, 2], [0, 4], [0, 2], [5, 6]], dtype=float)
    result, truth, tiou = overlapping_pairs(
        segments, np.array([1, -1, 0, 7]), gt_segments, np.array([1, 0, 1, 0]), 0.4)
    assert result.tolist() == [0, 0, 2]
    assert truth.tolist() == [0, 2, 1]
    assert tiou.tolist() == [1, 1, 1 / 2]


# ----------------------------------------------------------------------------------------- greedy matching


def matches(choices_of):
    """Matches of results by rank, each with its list of segments, best first."""
    lengths = [len(choices) for choices in choices_of]
    last = np.cumsum(lengths, dtype=np.int64)
    choices = np.array(sum(choices_of, []), dtype=np.int64)
    taken, segments = greedy_matches(choices, last - np.array(lengths, dtype=np.int64), last, 10)
    assert len(set(segments.tolist())) == len(taken)  # no segment is taken twice
    assert all(segment in choices_of[rank] for rank, segment in zip(taken, segments))
    return taken.tolist()


@pytest.mark.parametrize('choices_of, expected', [
    ([], []),
    ([[], []], []),
    ([[3], [3]], [0]),                        # a duplicate is a false positive
    ([[3, 4], [3, 4], [3, 4]], [0, 1]),       # the second takes what is left
    ([[3], [3, 4], [4]], [0, 1]),             # the second's second choice goes before the third's first
    ([[1], [1, 2], [2, 3], [3, 4], [4]], [0, 1, 2, 3]),  # each is pushed on by the one before
    ([[1], [2], [2, 1]], [0, 1]),
])
def test_greedy_matches_by_hand(choices_of, expected):
    assert matches(choices_of) == expected


def test_greedy_matches_equal_one_by_one():
    generator = np.random.RandomState(0)
    for _ in range(200):
        choices_of = [generator.permutation(10)[:generator.randint(5)].tolist() for _ in range(20)]
        taken, expected = set(), []
        for rank, choices in enumerate(choices_of):
            left = [choice for choice in choices if choice not in taken]
            if left:
                taken.add(left[0])
                expected.append(rank)
        assert matches(choices_of) == expected


# ---------------------------------------------------------------------------------------------- detection


def test_interpolated_ap_by_hand():
    # Precision 1, 1/2, 2/3, 1/2; the best from each match on: 1 and 2/3.
    is_match = np.array([[True, False, True, False], [False] * 4, [False, True, False, True]])
    np.testing.assert_allclose(interpolated_ap(is_match, 2), [(1 + 2 / 3) / 2, 0, 1 / 2])
    np.testing.assert_allclose(interpolated_ap(is_match, 4), [(1 + 2 / 3) / 4, 0, 1 / 4])
    assert interpolated_ap(np.zeros((3, 0), dtype=bool), 2).tolist() == [0, 0, 0]


def test_perfect_detections_have_ap_1():
    truth = {'v': [(0, 2, 'a'), (3, 4, 'b')], 'w': [(1, 9, 'a'), (2, 5, 'a')]}
    results = {video: [(0.5, *segment) for segment in segments] for video, segments in truth.items()}
    performance = evaluate_detections(truth_of(truth), results_of(results))
    assert performance.classes == ['a', 'b']
    assert performance.ap.tolist() == [[1] * 10, [1] * 10]
    assert performance.average_mAP == 1


def test_a_tiou_at_the_threshold_matches():
    truth, results = {'v': [(0, 4, 'a')]}, {'v': [(1, 0, 2, 'a')]}  # tIoU 1/2
    assert mean_ap(truth, results, (0.5, 0.51)) == [1, 0]


def test_duplicates_count_once():
    truth = {'v': [(0, 2, 'a'), (5, 7, 'a')]}
    once, again = (0.9, 0, 2, 'a'), (0.8, 0, 2, 'a')
    assert mean_ap(truth, {'v': [once]}) == [1 / 2]
    assert mean_ap(truth, {'v': [once, again]}) == [1 / 2]
    assert mean_ap(truth, {'v': [once, again, (0.7, 5, 7, 'a')]}) == [pytest.approx((1 + 2 / 3) / 2)]


def test_a_taken_segment_leaves_the_next_best():
    truth = {'v': [(0, 10, 'a'), (0, 8, 'a')]}
    results = {'v': [(0.9, 0, 10, 'a'), (0.8, 0, 10, 'a')]}  # the second: tIoU 1 is taken, 8/10 is left
    assert mean_ap(truth, results, (0.8, 0.81)) == [1, 1 / 2]


def test_repeated_ground_truth_wants_a_result_each():
    truth = {'v': [(0, 2, 'a'), (0, 2, 'a')]}
    assert mean_ap(truth, {'v': [(0.9, 0, 2, 'a')]}) == [1 / 2]
    assert mean_ap(truth, {'v': [(0.9, 0, 2, 'a'), (0.8, 0, 2, 'a')]}) == [1]


def test_equal_tiou_goes_to_the_later_segment():
    truth = {'v': [(0, 4, 'a'), (2, 6, 'a')]}
    first = (0.9, 1, 5, 'a')  # tIoU 3/5 with both
    assert mean_ap(truth, {'v': [first, (0.8, 0, 4, 'a')]}) == [1]
    assert mean_ap(truth, {'v': [first, (0.8, 2, 6, 'a')]}) == [1 / 2]


def test_equal_scores_stand_in_the_order_of_the_file():
    right, wrong = (0.5, 0, 2, 'a'), (0.5, 8, 9, 'a')
    truth = {'v': [(0, 2, 'a')], 'w': [(0, 2, 'b')]}
    assert mean_ap(truth, {'v': [right, wrong]}) == [1 / 2]        # AP of a is 1, of b 0
    assert mean_ap(truth, {'v': [wrong, right]}) == [1 / 4]
    assert mean_ap(truth, {'w': [wrong], 'v': [right]}) == [1 / 4]
    assert mean_ap(truth, {'v': [right], 'w': [wrong]}) == [1 / 2]


def test_a_wrong_label_or_video_is_no_match():
    truth = {'v': [(0, 2, 'a')], 'w': [(0, 2, 'b')]}
    assert mean_ap(truth, {'v': [(1, 0, 2, 'b')], 'w': [(1, 0, 2, 'a')]}) == [0]


def test_policies_by_hand():
    truth = truth_of({'v': [(0, 2, 'a')], 'empty': []})
    truth['database']['t'] = {'subset': 'training', 'annotations': [{'segment': [0, 2], 'label': 'c'}]}
    results = results_of({'t': [(0.9, 0, 2, 'a')], 'stranger': [(0.8, 0, 2, 'a'), (0.8, 0, 2, 'b')],
                          'empty': [(0.7, 0, 2, 'a')], 'v': [(0.6, 0, 2, 'c'), (0.5, 0, 2, 'a')]})
    authors = evaluate_detections(truth, results)
    assert authors.mAP.tolist() == [1] * 10
    assert authors.classes == ['a']
    assert authors.counts['videos'] == authors.counts['videos_without_segments'] == 1
    assert (authors.counts['predictions'], authors.counts['dropped_unknown_video'],
            authors.counts['dropped_unknown_label']) == (1, 4, 1)
    official = evaluate_detections(truth, results, policy='official')
    assert official.mAP.tolist() == [1 / 4] * 10
    assert (official.counts['predictions'], official.counts['predictions_of_unknown_videos']) == (4, 3)
    assert (official.counts['dropped_unknown_video'], official.counts['dropped_unknown_label']) == (0, 2)
    with pytest.raises(InputError, match='policy "offical": expected authors or official'):
        evaluate_detections(truth, results, policy='offical')


def test_segments_without_length_are_missed_but_count():
    truth = {'v': [(0, 2, 'a'), (3, 3, 'a')]}
    results = {'v': [(0.9, 3, 3, 'a'), (0.8, 2, 0, 'a'), (0.7, 0, 2, 'a')]}
    performance = evaluate_detections(truth_of(truth), results_of(results))
    assert performance.mAP == pytest.approx(1 / 3 / 2)
    assert performance.counts['ground_truth_without_length'] == 1
    assert performance.counts['predictions_without_length'] == 2


# ---------------------------------------------------------------------------------------------- proposals


def test_average_recall_by_hand():
    # AN up to 2 in 100 steps of 0.02; both videos keep all: 4 proposals, 2 a video. A step's limit is
    # int(proposals of the video · share): of v 3 · share, of w 1 · share.
    truth = truth_of({'v': [(0, 4, 'a'), (10, 14, 'a')], 'w': [(0, 4, 'b')]})
    results = results_of({'v': [(0.9, 0, 4, 'a'), (0.8, 50, 60, 'a'), (0.7, 10, 13, 'a')],
                          'w': [(0.1, 0, 4, 'x')]})
    performance = evaluate_proposals(truth, results, tiou_thresholds=[0.5, 0.8], max_avg_nr_proposals=2)
    np.testing.assert_allclose(performance.proposals_per_video, np.arange(1, 101) / 50)
    low, high = np.zeros(100), np.zeros(100)
    low[33:] = high[33:] = 1 / 3   # share 34/100: 3 · 0.34 is past 1, the first of v
    low[99], high[99] = 3 / 3, 2 / 3  # all; the third of v has tIoU 3/4
    np.testing.assert_allclose(performance.recall, [low, high])
    np.testing.assert_allclose(performance.average_recall, (low + high) / 2)
    assert performance.average_recall_percent == pytest.approx(100 * 5 / 6)
    # Trapezoids of width 0.02: half a step up to 1/3, 66 steps at 1/3, and on top half a step up to 5/6.
    area = 0.02 * (1 / 3 / 2 + 66 / 3 + (5 / 6 - 1 / 3) / 2)
    assert performance.auc_percent == pytest.approx(100 * area / 2)


def test_perfect_proposals_lack_only_the_first_step():
    truth = {'v': [(0, 4, 'a')], 'w': [(0, 4, 'a')]}
    results = {video: [(1, 0, 4, 'a')] * 100 for video in truth}
    performance = evaluate_proposals(truth_of(truth), results_of(results))
    assert performance.recall.min() == 1
    np.testing.assert_allclose(performance.proposals_per_video, np.arange(1, 101))
    assert performance.auc_percent == pytest.approx(99)  # the area starts at AN 1


def test_a_video_keeps_its_share_of_the_proposals_of_the_file():
    truth = truth_of({'v': [(0, 4, 'a')]})
    entries = [(1 - i / 100, 8, 9, 'a') for i in range(9)] + [(0.1, 0, 4, 'a')]
    alone = results_of({'v': entries})
    assert evaluate_proposals(truth, alone, max_avg_nr_proposals=10).average_recall[-1] == 1
    assert evaluate_proposals(truth, alone, max_avg_nr_proposals=9).average_recall[-1] == 0
    beside = results_of({'v': entries, 'stranger': entries})  # int(10 · 10 · 1 / 20) = 5 are kept
    performance = evaluate_proposals(truth, beside, max_avg_nr_proposals=10)
    assert performance.average_recall[-1] == 0
    assert (performance.counts['proposals'], performance.counts['proposals_scored'],
            performance.counts['proposals_of_unknown_videos']) == (20, 5, 10)


def test_equal_proposal_scores_stand_in_the_order_of_the_file():
    truth = truth_of({'v': [(0, 4, 'a')]})
    entries = [(0.5, 0, 4, 'a'), (0.5, 8, 9, 'a')]
    recall = [evaluate_proposals(truth, results_of({'v': order}), max_avg_nr_proposals=1).recall[0, -1]
              for order in (entries, entries[::-1])]
    assert recall == [1, 0]


def test_one_proposal_may_find_several_segments():
    truth = truth_of({'v': [(0, 4, 'a'), (0, 4, 'b')]})
    assert evaluate_proposals(truth, results_of({'v': [(1, 0, 4, 'a')]})).average_recall[-1] == 1


def test_proposals_need_no_labels():
    results = {'results': {'v': [{'score': 1, 'segment': [0, 4]}]}}
    truth = truth_of({'v': [(0, 4, 'a')]})
    assert evaluate_proposals(truth, results).average_recall_percent == 100
    with pytest.raises(InputError, match=r'results\["v"\]\[0\] has no "label" .* expected a class name; add it, or '
                       'give class scores .* --video_scores, or .* evaluation/get_proposal_performance.py$'):
        evaluate_detections(truth, results)
    with pytest.raises(InputError, match='without labels.* score .* with evaluation/get_proposal_performance.py'):
        evaluate_detections(truth, read_results(results, with_labels=False))


# ------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize('videos', [{}, {'v': []}, {'stranger': []}, {'stranger': [(1, 0, 4, 'a')]}])
@pytest.mark.parametrize('policy', shared.POLICIES)
def test_nothing_to_score_gives_zero(videos, policy):
    truth = truth_of({'v': [(0, 4, 'a'), (5, 6, 'b')]})
    detection = evaluate_detections(truth, results_of(videos), policy=policy)
    assert detection.ap.tolist() == [[0] * 10] * 2
    proposal = evaluate_proposals(truth, results_of(videos))
    assert proposal.recall.tolist() == [[0] * 100] * 10
    np.testing.assert_allclose(proposal.proposals_per_video, np.arange(1, 101))
    assert proposal.auc_percent == 0


def test_order_of_the_results_does_not_matter():
    base = SEEDS[0]
    truth, results = read_ground_truth(base + '_gt.json'), load(base + '_pred.json')
    generator = np.random.RandomState(0)
    videos = list(results['results'])
    generator.shuffle(videos)
    shuffled = {'results': {video: [results['results'][video][i] for i in
                                    generator.permutation(len(results['results'][video]))]
                            for video in videos}}
    np.testing.assert_array_equal(evaluate_detections(truth, shuffled).ap,
                                  evaluate_detections(truth, results).ap)
    np.testing.assert_array_equal(evaluate_proposals(truth, shuffled).recall,
                                  evaluate_proposals(truth, results).recall)


def test_read_once_for_both():
    base = SEEDS[0]
    truth, results = read_ground_truth(base + '_gt.json', 'training'), read_results(base + '_pred.json')
    assert read_ground_truth(truth) is truth and read_results(results) is results
    np.testing.assert_array_equal(
        evaluate_detections(truth, results).ap,
        evaluate_detections(base + '_gt.json', base + '_pred.json', subset='training').ap)
    np.testing.assert_array_equal(
        evaluate_proposals(truth, results).recall,
        evaluate_proposals(load(base + '_gt.json'), load(base + '_pred.json'), subset='training').recall)


def test_numpy_numbers_and_tuples_are_read():
    results = {'results': {'v': [{'score': np.float32(0.5), 'segment': (np.float64(0), 4), 'label': 'a'},
                                 {'score': 1, 'segment': np.array([0, 4.5]), 'label': 'a'}]}}
    assert read_results(results).segments.tolist() == [[0, 4], [0, 4.5]]
    assert read_results(results).scores.tolist() == [0.5, 1]


def test_numbers_written_as_text_are_numbers():
    as_numbers = results_of({'v': [(0.5, 10.5, 12, 'a'), (1, 0, 4, 'a')], 'w': [(1e-3, 3, 4, 'b')]})
    as_texts = results_of({'v': [('0.5', '10.5', 12, 'a'), (1, 0, ' 4 ', 'a')], 'w': [('1e-3', 3, '4.0', 'b')]})
    for found, expected in zip(read_results(as_texts), read_results(as_numbers)):
        np.testing.assert_array_equal(found, expected)
    truth = read_ground_truth(truth_of({'v': [('0.5', '7', 'a'), (1, '2', 'b')]}))
    assert truth.segments.tolist() == [[0.5, 7], [1, 2]]


def test_several_labels_in_one_video_by_hand():
    # Both classes have the same segment of v; each is matched by its own results alone.
    truth = {'v': [(0, 4, 'a'), (0, 4, 'b'), (6, 8, 'a')], 'w': [(1, 2, 'b')]}
    results = {'v': [(0.9, 0, 4, 'b'), (0.8, 6, 8, 'b'), (0.7, 0, 4, 'a'), (0.6, 6, 8, 'a')],
               'w': [(0.5, 1, 2, 'b')]}
    performance = evaluate_detections(truth_of(truth), results_of(results), tiou_thresholds=[0.5])
    assert performance.classes == ['a', 'b']
    assert performance.ap == pytest.approx(np.array([[1], [(1 + 2 / 3) / 2]]))  # of b the second result is wrong
    proposals = evaluate_proposals(truth_of(truth), results_of(results), tiou_thresholds=[0.5])
    assert proposals.counts['ground_truth'] == 4 and proposals.average_recall_percent == 100


# ---------------------------------------------------------------------------------------- recorded numbers


def check_detection(performance, expected):
    assert performance.classes == list(expected['ap_per_class'])
    close(performance.ap, list(expected['ap_per_class'].values()))
    close(performance.mAP, expected['mAP'])
    close(performance.average_mAP, expected['average_mAP'])


def check_proposals(performance, expected):
    for name in ('average_recall', 'proposals_per_video', 'auc_percent', 'average_recall_percent'):
        close(getattr(performance, name), expected[name])


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_there_are_recorded_numbers():
    assert SEEDS, 'no eval_seed*_gt.json in %s' % GOLDEN


@pytest.mark.parametrize('base', SEEDS, ids=os.path.basename)
def test_authors_policy_equals_the_recorded_numbers(base):
    for subset, expected in load(base + '_expected_authors.json').items():
        detection = evaluate_detections(base + '_gt.json', base + '_pred.json', subset)
        check_detection(detection, expected['detection'])
        assert detection.counts['ground_truth'] == expected['detection']['ground_truth']
        assert detection.counts['predictions'] == expected['detection']['predictions']
        proposals = evaluate_proposals(base + '_gt.json', base + '_pred.json', subset)
        check_proposals(proposals, expected['proposal'])
        close(proposals.recall, expected['proposal']['recall'])
        assert proposals.counts['proposals'] == expected['proposal']['proposals']


@pytest.mark.parametrize('base', SEEDS, ids=os.path.basename)
def test_official_policy_equals_the_recorded_numbers(base):
    expected = load(base + '_expected_official.json')
    check_detection(evaluate_detections(base + '_gt.json', base + '_pred.json', policy='official'), expected)
    check_proposals(evaluate_proposals(base + '_gt.json', base + '_pred.json'), expected)


# ------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize('text, expected', [
    ('0.5:0.95:0.05', np.linspace(0.5, 0.95, 10)),
    ('0.1:0.7:0.1', np.linspace(0.1, 0.7, 7)),
    ('0.5:0.5:0.1', [0.5]),
    ('0.5', [0.5]),
    ('0.75,0.5', [0.75, 0.5]),
])
def test_tiou_thresholds(text, expected):
    assert command_line.parse_tiou_thresholds(text).tolist() == list(expected)


@pytest.mark.parametrize('text', ['', 'a', '0', '1.01', '0.5,nan', '0.5:0.95', '0.5:0.95:0.1', '0.9:0.5:0.1',
                                  '0.5:0.9:0', '0:1:0.1', '0.5:inf:0.1', '0.5:1e18:1', '0.5:0.95:1e-6'])
def test_wrong_tiou_thresholds(text):
    with pytest.raises(argparse.ArgumentTypeError):
        command_line.parse_tiou_thresholds(text)


@pytest.mark.parametrize('limit', [0, -1, float('nan'), float('inf')])
def test_wrong_number_of_proposals(limit):
    with pytest.raises(InputError, match='max_avg_nr_proposals'):
        evaluate_proposals(truth_of({'v': [(0, 1, 'a')]}), results_of({}), max_avg_nr_proposals=limit)


# ----------------------------------------------------------------------------------------------- bad input

GOOD = {'score': 0.5, 'segment': [0, 1], 'label': 'a'}


@pytest.mark.parametrize('change, message', [
    ({'score': None}, r'\["score"\] is None; expected a finite number'),
    ({'score': 'high'}, r"\[\"score\"\] is 'high'; expected a finite number"),
    ({'score': '1_0'}, r"\[\"score\"\] is '1_0'"),
    ({'score': 'nan'}, r"\[\"score\"\] is 'nan'"),
    ({'score': '1e999'}, r"\[\"score\"\] is '1e999'"),
    ({'score': True}, r'\["score"\] is True'),
    ({'score': float('nan')}, r'\["score"\] is nan'),
    ({'score': 10 ** 400}, r'\["score"\] is 1000'),
    ({'segment': [0]}, r'\["segment"\] is \[0\]; expected two finite numbers, \[start, end\] in seconds'),
    ({'segment': [0, 1, 2]}, r'\["segment"\] is \[0, 1, 2\]'),
    ({'segment': 3}, r'\["segment"\] is 3'),
    ({'segment': 'ab'}, r"\[\"segment\"\] is 'ab'"),
    ({'segment': '12'}, r"\[\"segment\"\] is '12'"),
    ({'segment': {'0': 1, '5': 2}}, r"\[\"segment\"\] is \{'0': 1, '5': 2\}"),
    ({'segment': [0, '1 s']}, r"\[\"segment\"\] is \[0, '1 s'\]"),
    ({'segment': [0, '']}, r"\[\"segment\"\] is \[0, ''\]"),
    ({'segment': [0, float('inf')]}, r'\["segment"\] is \[0, inf\]'),
    ({'segment': [[0, 1], [2, 3]]}, r'\["segment"\] is \[\[0, 1\]'),
    ({'label': 7}, r'\["label"\] is 7; expected a class name'),
    ({'label': ['a']}, r"\[\"label\"\] is \['a'\]"),
])
def test_a_wrong_value_is_named(change, message):
    results = {'results': {'w': [GOOD] * 3, 'v': [GOOD, dict(GOOD, **change)]}}
    with pytest.raises(InputError, match=r'^results in memory: results\["v"\]\[1\]' + message):
        read_results(results)


@pytest.mark.parametrize('key', sorted(GOOD))
def test_a_missing_key_is_named(key):
    entry = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(InputError, match=r'results\["v"\]\[1\] has no "%s" \(its keys: ' % key):
        read_results({'results': {'v': [GOOD, entry]}})


@pytest.mark.parametrize('entries, message', [
    ({}, 'is an object; expected a list of objects with segment, score, label'),
    (None, 'is null; expected a list'),
    (3, 'is of type int; expected a list'),
    ('ab', 'is a text; expected a list'),
    ([3], r'\[0\] is of type int; expected an object with segment, score, label'),
    ([[1, 2]], r'\[0\] is a list; expected an object'),
])
def test_wrong_entries_are_named(entries, message):
    with pytest.raises(InputError, match=r'results\["v"\] ?' + message):
        read_results({'results': {'w': [GOOD], 'v': entries}})


@pytest.mark.parametrize('content, message', [
    ([], 'ground truth in memory: expected a JSON object whose "database" .* found a list'),
    ({'results': {}}, r"found the keys \['results'\]; check that this is the ground truth file"),
    ({'database': []}, 'expected a JSON object whose "database"'),
    ({'database': {'v': {}}}, r'database\["v"\] has no "subset" name'),
    ({'database': {'v': []}}, r'database\["v"\] has no "subset" name'),
    ({'database': {'v': {'subset': 'validation'}}}, r'database\["v"\]\["annotations"\] is null'),
    ({'database': {'v': {'subset': 'validation', 'annotations': [{'label': 'a'}]}}},
     r'database\["v"\]\["annotations"\]\[0\] has no "segment"'),
    ({'database': {}}, r'subset "validation" has no annotated segment; no subset of the file has one; check that '),
    ({'database': dict(truth_of({'v': [(0, 1, 'a')] * 2}, 'training')['database'],
                       **truth_of({'w': []}, 'testing')['database'])},
     r'these subsets have some \(number of segments\): training \(2\); choose one with --subset$'),
    (truth_of({'v': []}), 'subset "validation" has no annotated segment'),
])
def test_wrong_ground_truth_is_named(content, message):
    with pytest.raises(InputError, match=message) as raised:
        read_ground_truth(content)
    assert isinstance(raised.value, shared.NoSegments) == ('no annotated segment' in str(raised.value))
    assert '\n' not in str(raised.value)


ENTRIES, SUBSET = json.dumps([GOOD]), json.dumps({'subset': 'validation', 'annotations': []})


@pytest.mark.parametrize('read, content, message', [
    (read_results, '{"results": {"w": [], "v": %s, "v": []}}' % ENTRIES, 'video "v" twice'),
    (read_results, '{"results": {"v": %s}, "results": {}}' % ENTRIES, 'key "results" twice'),
    (read_results, '{"results": {"w": [{"score": 1, "score": 0, "segment": [0, 1], "label": "a"}]}}',
     'key "score" twice'),
    (read_ground_truth, '{"database": {"v\\n": %s, "w": %s, "v\\n": %s}}' % (SUBSET, SUBSET, SUBSET),
     r'video "v\\n" twice'),
])
def test_a_video_that_is_there_twice(tmp_path, read, content, message):
    (tmp_path / 'file.json').write_text(content)
    with pytest.raises(InputError, match=r'file.json: found the %s, expected it once; remove one of them' % message):
        read(str(tmp_path / 'file.json'))


@pytest.mark.parametrize('enabled', [True, False])
def test_garbage_collection_is_as_before(tmp_path, enabled):
    (tmp_path / 'faulty.json').write_text('{')
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        read_results(results_of({}))
        with pytest.raises(InputError):
            read_results(str(tmp_path / 'faulty.json'))
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


# -------------------------------------------------------------------------------------------- command line


WITHOUT_B = 'warning: a class without any result: b\n'  # of the detections of `files`
WARNING = {'detection': WITHOUT_B, 'proposal': ''}


def run_script(name, *arguments, **keywords):
    script = os.path.join(ROOT, 'evaluation', 'get_%s_performance.py' % name)
    return subprocess.run([sys.executable, script] + [str(argument) for argument in arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, **keywords)


@pytest.fixture
def files(tmp_path):
    """Paths of a small ground truth and its results, in an otherwise empty folder."""
    contents = {'gt.json': truth_of({'v': [(0, 4, 'a')], 'w': [(0, 4, 'b')]}),
                'results.json': results_of({'v': [(0.9, 0, 4, 'a')], 'x': [(0.9, 0, 4, 'a')]})}
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_detection_script(files):
    done = run_script('detection', 'gt.json', 'results.json', '--json', 'out.json', cwd=str(files))
    assert (done.returncode, done.stderr) == (0, WITHOUT_B)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line for line in lines if line[:1] in (['0.5'], ['0.95'], ['average'])] == [
        ['0.5', '50.00'], ['0.95', '50.00'], ['average', '50.00']]
    written = load(str(files / 'out.json'))
    assert written['ap_per_class'] == {'a': [1] * 10, 'b': [0] * 10}
    assert written['mAP'] == [0.5] * 10 and written['average_mAP'] == 0.5
    assert (written['subset'], written['policy'], written['dropped_unknown_video']) == (
        'validation', 'authors', 1)
    assert written['videos_without_results'] == 1
    assert done.stdout.endswith('\n\n  over 2 videos; 1 of them has no results and counts as missed\n')
    assert sorted(path.name for path in files.iterdir()) == ['gt.json', 'out.json', 'results.json']


def test_proposal_script(files):
    done = run_script('proposal', 'gt.json', 'results.json', '--json', 'out.json',
                      '--tiou_thresholds', '0.5,1', '--max_avg_nr_proposals', '50', cwd=str(files))
    assert (done.returncode, done.stderr) == (0, '')
    assert 'AR@50 50.00 %' in done.stdout
    assert done.stdout.endswith(' %\n  over 2 videos; 1 of them has no results and counts as missed\n')
    written = load(str(files / 'out.json'))
    assert np.shape(written['recall']) == (2, 100)
    assert written['average_recall'][-1] == 0.5 and written['average_recall_percent'] == 50
    assert written['proposals_per_video'][-1] == pytest.approx(50)
    assert written['tiou_thresholds'] == [0.5, 1]


@pytest.mark.parametrize('name', ['detection', 'proposal'])
def test_figures_are_drawn(files, name):
    done = run_script(name, 'gt.json', 'results.json', '--figure', 'out.png', cwd=str(files))
    assert (done.returncode, done.stderr) == (0, WARNING[name])
    assert (files / 'out.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('label', ['$\\frac$', '$a_$', '$', 'a' * 10 ** 5, '', '\ud800', '\ud800' * 99 + '$',
                                   '\x1b[31m\n'])
def test_a_figure_of_any_class_name(tmp_path, label):
    pytest.importorskip('matplotlib')
    performance = evaluate_detections(truth_of({'v': [(0, 4, label)]}), results_of({}))
    shared.write_figure(str(tmp_path / 'out.png'), get_detection_performance.draw_ap(performance))
    assert (tmp_path / 'out.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('ending, start', [('png', b'\x89PNG'), ('pdf', b'%PDF'), ('svg', b'<?xml')])
def test_a_figure_is_written_again(tmp_path, ending, start):
    pytest.importorskip('matplotlib')
    path = tmp_path / ('out.' + ending)
    for _ in range(2):
        shared.write_figure(str(path), shared.new_figure((1, 1)))
        assert path.read_bytes().startswith(start)


def test_characters_that_the_font_lacks_print_nothing(files):
    pytest.importorskip('matplotlib')
    (files / 'gt.json').write_text(json.dumps(truth_of({'v': [(0, 4, '\u8a9e'), (0, 4, '\u05d0')]})))
    done = run_script('detection', 'gt.json', 'results.json', '--figure', 'out.png', cwd=str(files))
    assert done.returncode == 0 and 'glyph' not in done.stderr.lower() and done.stderr.count('\n') == 2
    assert done.stderr.splitlines()[1].startswith('warning: 2 classes without any result: ')
    assert (files / 'out.png').exists()


def test_a_figure_of_too_many_classes():
    truth = truth_of({'v': [(k, k + 1, 'class %d' % k) for k in range(2001)]})
    performance = evaluate_detections(truth, results_of({}))
    with pytest.raises(InputError, match='a figure of 2001 classes cannot be drawn'):
        get_detection_performance.draw_ap(performance)


def test_a_figure_of_an_unknown_kind(files):
    paths = [str(files / name) for name in ('gt.json', 'results.json', 'out.xyz')]
    with pytest.raises(InputError, match=r'out.xyz: a figure cannot be written as .xyz; use .png, .pdf or .svg'):
        get_proposal_performance.main(paths[:2] + ['--figure', paths[2]])


@pytest.mark.parametrize('name', ['detection', 'proposal'])
def test_script_flags(files, name):
    done = run_script(name, '--help')
    assert done.returncode == 0
    for flag in ('--subset', '--tiou_thresholds', '--policy', '--json', '--figure'):
        assert flag in done.stdout
    assert 'official' in done.stdout and 'toolkit' in done.stdout  # --policy is explained
    done = run_script(name, 'gt.json', 'results.json', '--policy', 'official', cwd=str(files))
    assert (done.returncode, done.stderr) == (0, WARNING[name])


@pytest.mark.parametrize('name', ['detection', 'proposal'])
def test_script_errors_exit_with_2(files, name):
    done = run_script(name, 'gt.json', 'gt.json', cwd=str(files))
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith('error: gt.json: expected a JSON object whose "results"')
    assert done.stderr.count('\n') == 1


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
def test_output_that_nobody_takes_is_one_line(files):
    script = os.path.join(ROOT, 'evaluation', 'get_proposal_performance.py')
    for shell in ('"$@" > /dev/full', '{ "$@"; echo $? >&3; } 3>&2 | true'):
        done = subprocess.run(['bash', '-c', shell, '-', sys.executable, script, 'gt.json', 'results.json'],
                              cwd=str(files), stderr=subprocess.PIPE, universal_newlines=True)
        lines = done.stderr.splitlines()
        assert lines[0].startswith('error: standard output: [Errno ')
        assert (lines[1:] or [str(done.returncode)]) == ['2']


@pytest.mark.parametrize('main', [get_detection_performance.main, get_proposal_performance.main])
@pytest.mark.parametrize('arguments, message', [
    (['none.json', 'results.json'], 'none.json: No such file'),
    (['.', 'results.json'], r'\.: found a folder, expected a file'),
    (['text.json', 'results.json'], 'text.json: not valid JSON: '),
    (['results.json', 'results.json'], 'results.json: expected a JSON object whose "database"'),
    (['gt.json', 'nan.json'], r'nan.json: results\["v"\]\[0\]\["score"\] is nan'),
    (['gt.json', 'results.json', '--subset', 'test'], 'gt.json: subset "test" has no annotated segment'),
    (['gt.json', 'results.json', '--json', 'gt.json/out.json'], 'gt.json.*: cannot be written: '),
    (['gt.json', 'results.json', '--json', 'pipe'], 'pipe: cannot be written: it is not a regular file'),
    (['gt.json', 'results.json', '--figure', 'pipe'], 'pipe: cannot be written: it is not a regular file'),
    (['gt.json', 'results.json', '--json', 'results.json'], '--json results.json: would overwrite results.json'),
    (['gt.json', 'results.json', '--json', 'link'], '--json link: would overwrite gt.json'),
    (['gt.json', 'results.json', '--figure', './gt.json'], '--figure ./gt.json: would overwrite gt.json'),
    (['gt.json', 'results.json', '--json', 'new', '--figure', 'link/../new'], '--figure .*new: would overwrite new'),
    (['gt.json', 'results.json', '--json', '.'], r'\.: cannot be written: it is not a regular file'),
])
def test_script_errors_are_one_line(files, monkeypatch, main, arguments, message):
    monkeypatch.chdir(files)
    (files / 'text.json').write_text('no JSON\n')
    (files / 'link').symlink_to('gt.json')
    os.mkfifo(str(files / 'pipe'))
    before = [(files / name).read_text() for name in ('gt.json', 'results.json')]
    (files / 'nan.json').write_text(
        '{"results": {"v": [{"score": NaN, "segment": [0, 1], "label": "a"}]}}')
    with pytest.raises(InputError, match='^' + message) as raised:
        main(arguments)
    assert '\n' not in str(raised.value)
    assert not glob.glob('*partial*')
    assert before == [(files / name).read_text() for name in ('gt.json', 'results.json')]


NUMBERS = {'detection': {'average_mAP': 0}, 'proposal': {'auc_percent': 0}}
MAIN = {'detection': get_detection_performance.main, 'proposal': get_proposal_performance.main}


@pytest.mark.parametrize('name, content', [
    ('detection', 'cats'), ('proposal', 'cats'), ('detection', '[1]'), ('proposal', json.dumps(results_of({}))),
    ('detection', json.dumps(NUMBERS['proposal'])), ('proposal', json.dumps(NUMBERS['detection']))])
def test_numbers_replace_no_file_of_another_kind(files, capsys, name, content):
    paths = [str(files / name) for name in ('gt.json', 'results.json', 'other')]
    (files / 'other').write_text(content)
    with pytest.raises(InputError, match=r'--json .*other: found another file there, expected none or .* "%s"; name '
                                         'another file, or remove it' % list(NUMBERS[name])[0]):
        MAIN[name](paths[:2] + ['--json', paths[2]])
    assert (files / 'other').read_text() == content and not capsys.readouterr().out


@pytest.mark.parametrize('name', sorted(NUMBERS))
def test_numbers_replace_numbers_and_empty_files(files, name):
    paths = [str(files / name) for name in ('gt.json', 'results.json', 'out.json')]
    for content in ('', json.dumps(NUMBERS[name])):
        (files / 'out.json').write_text(content)
        MAIN[name](paths[:2] + ['--json', paths[2]])
        assert load(paths[2])['tiou_thresholds'][0] == 0.5


@pytest.mark.parametrize('name', sorted(MAIN))
@pytest.mark.parametrize('other, kind', [('other', 'PNG'), ('other.png', 'PNG'), ('other.pdf', 'PDF'),
                                         ('other.SVG', 'SVG')])
def test_figures_replace_no_file_of_another_kind(files, capsys, name, other, kind):
    paths = [str(files / name) for name in ('gt.json', 'results.json', other)]
    (files / other).write_text('cats')
    with pytest.raises(InputError, match='%s: found another file there, expected none or a figure in %s; ' % (
            other, kind)):
        MAIN[name](paths[:2] + ['--figure', paths[2]])
    assert (files / other).read_text() == 'cats' and not capsys.readouterr().out


@pytest.mark.parametrize('name', sorted(MAIN))
def test_ctrl_c_while_a_script_is_imported(tmp_path, name):
    (tmp_path / 'numpy.py').write_text('import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n')
    done = run_script(name, env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, '', '')


# A figure that cannot be drawn


@pytest.mark.parametrize('name', ['detection', 'proposal'])
@pytest.mark.parametrize('variables, reason', [
    ({'MPLBACKEND': 'nonsense'}, 'the figure cannot be drawn: ValueError: .*nonsense'),
    ({'PYTHONPATH': 'without'}, 'the figure cannot be drawn: ImportError: no matplotlib here')])
def test_a_figure_that_cannot_be_drawn_costs_no_numbers(files, name, variables, reason):
    (files / 'without').mkdir()
    (files / 'without' / 'matplotlib.py').write_text('raise ImportError("no matplotlib\\nhere")\n')
    done = run_script(name, 'gt.json', 'results.json', '--json', 'out.json', '--figure', 'out.png', cwd=str(files),
                      env=dict(os.environ, **variables))
    assert done.returncode == 2 and ' 50.00' in done.stdout
    assert load(str(files / 'out.json'))['tiou_thresholds'][0] == 0.5 and not (files / 'out.png').exists()
    assert re.match(r'%serror: out.png: %s.*; the numbers are complete: .*\n$' % (WARNING[name], reason), done.stderr)


def test_a_cache_that_cannot_be_written_costs_no_figure(files):
    pytest.importorskip('matplotlib')
    done = run_script('detection', 'gt.json', 'results.json', '--figure', 'out.png', cwd=str(files),
                      env=dict(os.environ, MPLCONFIGDIR=str(files / 'gt.json' / 'cache')))
    assert done.returncode == 0 and (files / 'out.png').exists()


@pytest.mark.parametrize('error', [MemoryError('little\nmemory'), RuntimeError('\x1b[31m'), InputError('a: b'),
                                   ImportError()])
def test_any_fault_of_a_figure_is_one_line(tmp_path, error):
    def draw():
        raise error

    fault = shared.try_figure(str(tmp_path / 'out.png'), draw)
    assert fault and fault.isprintable()
    assert fault == 'a: b' or fault.startswith('%s: the figure cannot be drawn: %s: ' % (
        tmp_path / 'out.png', type(error).__name__))


def test_a_figure_that_can_be_drawn_is_no_fault(tmp_path):
    pytest.importorskip('matplotlib')
    assert shared.try_figure(str(tmp_path / 'out.png'), lambda: shared.new_figure((1, 1))) is None
    assert (tmp_path / 'out.png').exists()


def test_too_many_classes_for_a_figure_cost_no_numbers(files, capsys):
    truth = truth_of({'v': [(k, k + 1, 'class %d' % k) for k in range(2001)]})
    (files / 'gt.json').write_text(json.dumps(truth))
    paths = [str(files / name) for name in ('gt.json', 'results.json', 'out.json', 'out.png')]
    with pytest.raises(InputError, match='a figure of 2001 classes cannot be drawn, expected 2000 at most; the '):
        get_detection_performance.main(paths[:2] + ['--json', paths[2], '--figure', paths[3]])
    assert load(paths[2])['classes'] == 2001 and 'average' in capsys.readouterr().out


# Streams and interpreters


@pytest.mark.parametrize('name', ['detection', 'proposal'])
def test_without_docstrings_and_with_an_ascii_terminal(files, name):
    script = os.path.join(ROOT, 'evaluation', 'get_%s_performance.py' % name)
    (files / 'results.json').write_text('{"results": {}}')
    (files / 'gt.json').write_text(json.dumps(
        {'database': {'v': {'subset': 'pr\xfcfung\x1b[31m', 'annotations': [{'segment': [0, 1], 'label': '犬'}]}}}))
    for arguments in (['--help'], ['gt.json', 'results.json', '--subset', 'pr\xfcfung\x1b[31m']):
        done = subprocess.run([sys.executable, '-OO', script] + arguments, cwd=str(files), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=dict(os.environ, PYTHONIOENCODING='ascii'))
        assert done.returncode == 0 and b'\x1b' not in done.stdout + done.stderr
    assert b'"pr\\xfcfung\\x1b[31m"' in done.stdout
    assert done.stderr == (b'warning: a class without any result: \\u72ac\n' if name == 'detection' else b'')


@pytest.mark.parametrize('name', ['detection', 'proposal'])
def test_closed_streams(files, name):
    script = os.path.join(ROOT, 'evaluation', 'get_%s_performance.py' % name)
    for arguments in (['--help'], ['gt.json', 'results.json', '--json', 'out.json']):
        done = subprocess.run(['sh', '-c', '"$@" <&- >&- 2>&-', '-', sys.executable, script] + arguments,
                              cwd=str(files), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (done.returncode, done.stdout, done.stderr) == (0, b'', b'')
    assert load(str(files / 'out.json'))['tiou_thresholds'][0] == 0.5
