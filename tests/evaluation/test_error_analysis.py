"""Error analysis: each kind, bin and share by hand, and random data against loops over results."""
import numpy as np
import pytest
from small_files import results_of, truth_of

from evaluation import characteristics, error_analysis
from evaluation.characteristics import bin_names, bins_of, characteristics_of, quartile_edges, read_durations
from evaluation.error_analysis import KINDS, analyze_errors, ap_n, best_from_here, precision_n
from evaluation.get_detection_performance import match_by_rank
from evaluation.results import read_ground_truth, read_results, segment_tiou
from runtime.errors import InputError

INF = float('inf')


def analyze(truth, results, thresholds=(0.5,), **keywords):
    return analyze_errors(read_ground_truth(truth_of(truth)), read_results(results_of(results)), thresholds,
                          **keywords)


def kinds_of(truth, entries, thresholds=(0.5,), **keywords):
    """Names of the kinds of the entries of video v, in their order: [S][entries]."""
    found = analyze(truth, {'v': entries}, thresholds, **keywords).detections
    return [[KINDS[kind] for kind in row[np.argsort(found.row)]] for row in found.kind]


# ------------------------------------------------------------------------------------------------- kinds


TWO = {'v': [(0, 10, 'a'), (20, 30, 'b')]}


@pytest.mark.parametrize('entry, expected', [
    ((0.9, 0, 10, 'a'), 'true'),
    ((0.9, 0, 5, 'a'), 'true'),              # tIoU 5/10, at the threshold
    ((0.9, 20, 30, 'a'), 'wrong label'),
    ((0.9, 20, 25, 'a'), 'wrong label'),     # tIoU 5/10
    ((0.9, 0, 4, 'a'), 'localization'),      # tIoU 4/10
    ((0.9, 0, 1, 'a'), 'localization'),      # tIoU 1/10
    ((0.9, 20, 24, 'a'), 'confusion'),
    ((0.9, 20, 21, 'a'), 'confusion'),       # tIoU 1/10
    ((0.9, 0, 0.9, 'a'), 'background'),      # tIoU 9/100
    ((0.9, 20, 20.9, 'a'), 'background'),
    ((0.9, 12, 18, 'a'), 'background'),
    ((0.9, 5, 5, 'a'), 'background'),        # without length
])
def test_kind_of_one_result(entry, expected):
    assert kinds_of(TWO, [entry]) == [[expected]]


def test_a_second_result_on_a_segment_is_a_double_detection():
    entries = [(0.5, 0, 10, 'a'), (0.9, 0, 9, 'a'), (0.4, 0, 4, 'a')]
    assert kinds_of(TWO, entries) == [['double detection', 'true', 'localization']]


def test_the_segment_with_the_highest_tiou_decides():
    truth = {'v': [(0, 10, 'a'), (8, 20, 'b')]}
    assert kinds_of(truth, [(0.9, 8, 20, 'a')]) == [['wrong label']]
    assert kinds_of(truth, [(0.9, 6, 14, 'a')]) == [['confusion']]    # 4/14 with a, 6/14 with b
    assert kinds_of(truth, [(0.9, 5, 11, 'a')]) == [['localization']]  # 5/11 with a, 3/15 with b


def test_a_result_that_takes_its_second_choice_is_true():
    truth = {'v': [(0, 10, 'a'), (1, 11, 'a')]}
    assert kinds_of(truth, [(0.9, 0, 10, 'a'), (0.8, 0, 10, 'a'), (0.7, 0, 10, 'a')]) == [
        ['true', 'true', 'double detection']]


@pytest.mark.parametrize('order', [1, -1])
def test_a_segment_with_two_labels_is_compared_by_the_label_of_the_result(order):
    truth = {'v': [(0, 10, 'a'), (0, 10, 'b')][::order]}
    assert kinds_of(truth, [(0.9, 0, 4, 'a'), (0.8, 0, 4, 'b'), (0.7, 0, 10, 'a'), (0.6, 0, 10, 'a')]) == [
        ['localization', 'localization', 'true', 'double detection']]


def test_kinds_change_with_the_threshold():
    entries = [(0.9, 0, 6, 'a'), (0.8, 20, 26, 'a'), (0.7, 0, 9, 'a')]
    assert kinds_of(TWO, entries, (0.5, 0.75)) == [
        ['true', 'wrong label', 'double detection'], ['localization', 'confusion', 'true']]


def test_results_of_unknown_videos_are_background_or_dropped():
    results = {'v': [(0.9, 0, 10, 'a')], 'other': [(0.8, 0, 10, 'a')], 'v2': [(0.7, 0, 10, 'unknown')]}
    official = analyze(TWO, results, policy='official')
    assert official.detections.kind.tolist() == [[error_analysis.TRUE, error_analysis.BACKGROUND]]
    assert official.detections.video.tolist() == [0, -1]
    assert official.confusions == []
    assert analyze(TWO, results).detections.kind.tolist() == [[error_analysis.TRUE]]


def test_detections_by_class_and_rank():
    entries = [(0.1, 0, 10, 'a'), (0.7, 21, 30, 'b'), (0.9, 0, 8, 'a'), (0.1, 1, 9, 'a')]
    found = analyze(TWO, {'v': entries}).detections
    assert found.row.tolist() == [2, 0, 3, 1]      # equal scores stay in the file's order
    assert found.label.tolist() == [0, 0, 0, 1]
    assert found.rank.tolist() == [0, 1, 2, 0]
    assert found.taken.tolist() == [[0, -1, -1, 1]]
    assert found.best_segment.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(found.best_tiou, [0.8, 1, 0.8, 0.9])


# --------------------------------------------------------------------------------------- profile and gains


def test_profile_counts_the_ranks_of_each_class():
    # class a has 2 segments: ranks 0 and 1 are its first G; class b has 1
    truth = {'v': [(0, 10, 'a'), (20, 30, 'a'), (40, 50, 'b')]}
    ranked = [(0, 10, 'a'), (0, 10, 'a'), (20, 30, 'a'), (60, 70, 'a'), (40, 50, 'a')]
    entries = [(1 - 0.1 * i, *entry) for i, entry in enumerate(ranked)] + [(0.5, 40, 44, 'b'), (0.4, 40, 50, 'b')]
    profile = analyze(truth, {'v': entries}).profile
    assert profile.shape == (1, 10, 6)
    assert profile[0, 0].tolist() == [1, 1, 0, 1, 0, 0]  # true and double of a, localization of b
    assert profile[0, 1].tolist() == [2, 0, 0, 0, 0, 1]  # true and background of a, true of b
    assert profile[0, 2].tolist() == [0, 0, 1, 0, 0, 0]
    assert profile[0, 3:].sum() == 0
    shares = error_analysis.profile_shares(profile)
    np.testing.assert_allclose(shares[0], [1 / 3, 1 / 3, 0, 1 / 3, 0, 0])
    assert np.isnan(shares[3]).all()
    np.testing.assert_allclose(shares[-1], [3 / 7, 1 / 7, 1 / 7, 1 / 7, 0, 1 / 7])


def test_only_the_top_10_g_count():
    entries = [(1 - 0.01 * i, 50, 60, 'a') for i in range(10)] + [(0.5, 0, 10, 'a'), (0.4, 21, 30, 'a')]
    found = analyze({'v': [(0, 10, 'a'), (100, 101, 'b')]}, {'v': entries})
    assert found.profile[0].sum(axis=0).tolist() == [0, 0, 0, 0, 0, 10]
    assert found.top_mAP_N.tolist() == [0]
    np.testing.assert_allclose(found.mAP_N, (1 / 11) / 2)  # of a: recall 1, N 1, 10 false positives
    assert found.confusions == []


def test_ap_n_by_hand():
    # class 0 has 3 segments, class 1 has 1, so N = 2; class 0: true, false, true; class 1: false, true
    is_true, label = np.array([True, False, True, False, True]), np.array([0, 0, 0, 1, 1])
    positives = np.array([3, 1])
    true, precision = precision_n(is_true, label, positives, 2)
    assert true.tolist() == [0, 2, 4]
    np.testing.assert_allclose(precision, [1, (4 / 3) / (4 / 3 + 1), 2 / 3])
    np.testing.assert_allclose(ap_n(is_true, label, positives, 2), [(1 + 4 / 7) / 3, 2 / 3])
    np.testing.assert_allclose(ap_n(is_true, label, positives, positives), [(1 + 2 / 3) / 3, 1 / 2])  # plain AP
    assert ap_n(is_true[:0], label[:0], positives, 2).tolist() == [0, 0]


def test_precision_is_interpolated_within_each_class():
    assert best_from_here(np.array([0.2, 0.5, 0.4, 0.9, 0.1, 0.3]), np.array([0, 0, 0, 2, 5, 5])).tolist() == [
        0.5, 0.5, 0.4, 0.9, 0.3, 0.3]


def test_gains_by_hand():
    # one class, 2 segments, N = 2: background, true, double, localization, true
    ranked = [(50, 60), (0, 10), (0, 10), (0, 4), (20, 30)]
    found = analyze({'v': [(0, 10, 'a'), (20, 30, 'a')]},
                    {'v': [(1 - 0.1 * i, *entry, 'a') for i, entry in enumerate(ranked)]})
    base = (1 / 2 + 2 / 5) / 2
    expected = [0, (1 / 2 + 2 / 4) / 2 - base, 0, (1 / 2 + 2 / 4) / 2 - base, 0, (1 + 2 / 4) / 2 - base]
    np.testing.assert_allclose(found.top_mAP_N, [base])
    np.testing.assert_allclose(found.gains, [expected])
    np.testing.assert_allclose(found.class_gains, [expected])


def test_confusions_by_frequency():
    truth = {'v': [(0, 10, 'a'), (20, 30, 'b')], 'w': [(0, 10, 'a')], 'x': [(0, 10, 'c')]}
    results = {'v': [(0.9, 0, 10, 'b'), (0.8, 0, 3, 'b'), (0.7, 20, 30, 'a')], 'w': [(0.6, 0, 9, 'b')],
               'x': [(0.5, 0, 10, 'a'), (0.5, 0, 10, 'c')]}
    found = analyze(truth, results)
    assert [tuple(pair) for pair in found.confusions] == [(0, 1, 3, 2), (1, 0, 1, 1), (2, 0, 1, 1)]
    assert found.most_confused.tolist() == [1, 0, 0]


# ---------------------------------------------------------------------------------------------- segments


def test_found_and_missed_segments():
    truth = {'v': [(0, 10, 'a'), (20, 30, 'a')], 'w': [(0, 10, 'b')], 'x': [(0, 10, 'b')]}
    found = analyze(truth, {'v': [(0.9, 0, 9, 'a'), (0.8, 20, 30, 'b')], 'x': [(0.7, 0, 10, 'b')]})
    assert found.segments.taken_by.tolist() == [[0, -1, -1, 2]]
    assert found.segments.is_missed.tolist() == [[False, True, True, False]]
    np.testing.assert_allclose(found.segments.best_tiou, [0.9, 1, 0, 1])


def test_a_match_after_too_many_false_positives_is_a_false_negative():
    # one class, 1 segment, N = 1: the precision of the match is 1 / (1 + false positives)
    for false_positives, is_missed in ((18, False), (20, True)):  # 1/19 and 1/21
        entries = [(0.9, 50 + i, 51 + i, 'a') for i in range(false_positives)] + [(0.1, 0, 10, 'a')]
        found = analyze({'v': [(0, 10, 'a')]}, {'v': entries}).segments
        assert (found.taken_by[0, 0], found.is_missed[0, 0]) == (false_positives, is_missed)


def test_the_first_box_is_of_the_same_video():
    found = analyze({'v': [(0, 10, 'a')]}, {'other': [(0.9, 0, 1, 'a')], 'v': [(0.1, 0, 10, 'a')]}, policy='official')
    assert found.detections.row[found.segments.first_box].tolist() == [1]
    assert found.segments.first_box_tiou.tolist() == [1]


def test_first_box():
    truth = {'v': [(0, 8, 'a'), (20, 60, 'b')], 'w': [(0, 60.5, 'a')], 'x': [(0, 10, 'b')]}
    results = {'v': [(0.5, 0, 8, 'a'), (0.9, 20, 59, 'a')], 'w': [(0.2, 0, 60, 'a'), (0.2, 0, 5, 'b')]}
    truth = read_ground_truth(truth_of(truth))
    analysis = analyze_errors(truth, read_results(results_of(results)), [0.5])
    assert analysis.detections.row[analysis.segments.first_box[:3]].tolist() == [1, 1, 2]
    assert analysis.segments.first_box[3] == -1
    found = characteristics.first_box(truth, analysis)
    assert found.segments.tolist() == [2, 0, 1, 1]           # 8 and 10, 40, and 60.5 seconds
    np.testing.assert_array_equal(found.found, [0, np.nan, 1, 1])
    np.testing.assert_array_equal(found.found_with_label, [0, np.nan, 0, 1])
    np.testing.assert_array_equal(found.found_by_any, [1 / 2, np.nan, 1, 1])
    assert found.alone.tolist() == [1, 0, 0, 1]
    np.testing.assert_array_equal(found.found_alone, [0, np.nan, np.nan, 1])


# ------------------------------------------------------------------------------------------- characteristics


def test_characteristics_of_segments():
    truth = read_ground_truth(truth_of({'v': [(0, 10, 'a'), (20, 25, 'b'), (30, 60, 'a')], 'w': [(0, 5, 'a')]}))
    found = characteristics_of(truth, {'v': 100})
    np.testing.assert_array_equal(found['coverage'], [0.1, 0.05, 0.3, np.nan])
    assert found['length'].tolist() == [10, 5, 30, 5]
    assert found['instances'].tolist() == [2, 1, 2, 1]


@pytest.mark.parametrize('bins, characteristic, values, expected', [
    ('activitynet', 'coverage', [0, 0.2, 0.21, 0.4, 0.6, 0.8, 0.81, 1, 1.5, np.nan], [0, 0, 1, 1, 2, 3, 4, 4, 4, -1]),
    ('activitynet', 'length', [-1, 0, 30, 30.1, 60, 120, 121, 180, 181], [0, 0, 0, 1, 1, 2, 3, 3, 4]),
    ('activitynet', 'instances', [1, 2, 4, 5, 8, 9], [0, 1, 1, 2, 2, 3]),
    ('thumos14', 'coverage', [0.02, 0.03, 0.05, 0.08, 0.09], [0, 1, 2, 3, 4]),
    ('thumos14', 'length', [3, 6, 12, 18, 19], [0, 1, 2, 3, 4]),
    ('thumos14', 'instances', [1, 2, 40, 41, 80, 81], [0, 1, 1, 2, 2, 3]),
])
def test_bins_include_their_upper_edge(bins, characteristic, values, expected):
    assert bins_of(np.array(values), np.array(characteristics.BINS[bins][characteristic])).tolist() == expected


@pytest.mark.parametrize('values, edges, number', [
    ([4, 3, 2, 1, 8, 7, 6, 5], [1, 2, 4, 6, 8], [2, 2, 2, 2]),
    ([1, 1, 1, 2, 3], [1, 1, 2, 3], [3, 1, 1]),     # the lowest value is a bin of its own
    ([1, 2, 2, 2, 2], [1, 2], [5]),
    ([5, 5], [5, 5], [2]),
    ([3], [3, 3], [1]),
])
def test_quartiles(values, edges, number):
    values = np.array(values, dtype=float)
    assert quartile_edges(values).tolist() == edges
    assert np.bincount(bins_of(values, np.array(edges)), minlength=len(edges) - 1).tolist() == number


def test_names_of_bins():
    assert bin_names((0, 0.2, 1)) == ['0 to 0.2', '0.2 to 1']
    assert bin_names((0, 30, INF)) == ['0 to 30', 'over 30']
    assert bin_names((0, 1, 4, 8, INF), is_whole=True) == ['1', '2 to 4', '5 to 8', '9 or more']
    assert bin_names((1, 1, 2, 5), is_whole=True) == ['1', '2', '3 to 5']


def test_durations():
    truth = truth_of({'v_a': [(0, 1, 'x')], 'v_b': [(0, 1, 'x')], 'v_c': [], 'd': [(0, 1, 'x')]})
    truth['database']['v_a']['duration'], truth['database']['d']['duration'] = 10, '20.5'
    truth['database']['v_b']['duration'] = -1
    found, warnings = read_durations(truth, 'validation', 'v_')
    assert found == {'a': 10, 'd': 20.5}
    assert len(warnings) == 1
    assert '1 video of subset "validation" without a usable "duration", such as "b"' in warnings[0]
    assert read_durations(truth_of({'v': [(0, 1, 'x')]}), 'validation') == ({}, [])


def test_sensitivity_by_hand():
    # one class, 3 segments, N = 3: the bins have lengths 10 (two segments) and 40 (one)
    truth = read_ground_truth(truth_of({'v': [(0, 10, 'a'), (20, 30, 'a'), (50, 90, 'a')]}))
    ranked = [(50, 90), (100, 110), (0, 10), (0, 10)]
    results = read_results(results_of({'v': [(1 - 0.1 * i, *entry, 'a') for i, entry in enumerate(ranked)]}))
    found = characteristics.sensitivity(truth, analyze_errors(truth, results, [0.5]), truth.segments[:, 1]
                                        - truth.segments[:, 0], 'length', 'own', np.array([0, 30, 60, INF]))
    assert found.segments.tolist() == [2, 1, 0]
    # short ones: false, true, false, with recall 1/2; long ones: true
    np.testing.assert_allclose(found.mAP_N, [[(1.5 / 2.5) / 2], [1], [np.nan]])
    np.testing.assert_array_equal(found.recall, [[1 / 2], [1], [np.nan]])
    np.testing.assert_array_equal(found.missed, [[1 / 2], [0], [np.nan]])


def test_recall_counts_matches_at_any_precision():
    truth = read_ground_truth(truth_of({'v': [(0, 10, 'a')]}))
    entries = [(0.9, 50 + i, 51 + i, 'a') for i in range(20)] + [(0.1, 0, 10, 'a')]  # precision of the match: 1/21
    analysis = analyze_errors(truth, read_results(results_of({'v': entries})), [0.5])
    found = characteristics.sensitivity(truth, analysis, np.array([10.]), 'length', 'own', np.array([0, INF]))
    assert (found.recall.tolist(), found.missed.tolist()) == ([[1]], [[1]])


def test_a_match_of_another_bin_at_any_threshold_is_left_out():
    truth = read_ground_truth(truth_of({'v': [(0, 10, 'a'), (50, 90, 'a')]}))
    results = read_results(results_of({'v': [(0.9, 50, 75, 'a'), (0.8, 0, 10, 'a')]}))  # tIoU 25/40 and 1
    found = characteristics.sensitivity(truth, analyze_errors(truth, results, [0.5, 0.75]), np.array([10., 40.]),
                                        'length', 'own', np.array([0, 30, INF]))
    assert found.mAP_N.tolist() == [[1, 1], [1, 0]]
    assert found.recall.tolist() == [[1, 1], [1, 0]]


def test_coverage_is_left_out_without_durations():
    truth = read_ground_truth(truth_of(TWO))
    analysis = analyze_errors(truth, read_results(results_of({'v': [(0.9, 0, 10, 'a')]})), [0.5])
    names = {found.characteristic for found in characteristics.sensitivities(
        truth, analysis, characteristics_of(truth, {}), 'activitynet')}
    assert names == {'length', 'instances'}


# ----------------------------------------------------------------------------------------- thresholds, faults


def test_the_threshold_of_single_tables():
    thresholds = np.array([0.7, 0.5, 0.95])
    assert error_analysis.index_of_tiou(thresholds, None) == 1
    assert error_analysis.index_of_tiou(thresholds, 0.95) == 2
    with pytest.raises(InputError, match='tIoU 0.6: expected one of the tIoU thresholds, 0.7, 0.5, 0.95'):
        error_analysis.index_of_tiou(thresholds, 0.6)


def test_no_result_at_all():
    truth = read_ground_truth(truth_of(TWO))
    analysis = analyze_errors(truth, read_results({'results': {}}))
    assert analysis.mAP_N.tolist() == [0] * 10
    assert analysis.profile.sum() == 0 and not analysis.gains.any() and analysis.confusions == []
    assert analysis.segments.is_missed.all()
    found = characteristics.sensitivities(truth, analysis, characteristics_of(truth, {}), 'thumos14')
    assert found[0].recall[~np.isnan(found[0].recall)].tolist() == [0] * 10


# --------------------------------------------------------------------------------------- against plain loops


def random_case(seed):
    """Ground truth and results of 5 videos and 3 classes, without equal scores; one segment has all three labels."""
    random = np.random.RandomState(seed)

    def segment(longest):
        start = random.uniform(0, 40)
        return start, start + random.uniform(1, longest)
    truth = {'v%d' % video: [(*segment(25), 'abc'[random.randint(3)]) for _ in range(random.randint(1, 5))]
             for video in range(5)}
    truth['v0'] += [(1, 2, label) for label in 'abc']
    results = {}
    for video, rows in list(truth.items()) + [('unknown', [(0, 9, 'a')])]:
        results[video] = [(random.rand(), row[0] + random.normal(0, 2), row[1] + random.normal(0, 2) + 1,
                           row[2] if random.rand() < 0.7 else 'abc'[random.randint(3)])
                          for row in (rows[random.randint(len(rows))] for _ in range(25))]
    return read_ground_truth(truth_of(truth)), read_results(results_of(results))


def looped(truth, results, thresholds):
    """By DETAD's definitions, one result after the other: [(label, [S] taken, [S] kind)] by descending score."""
    free = np.ones((len(thresholds), len(truth.segments)), dtype=bool)
    found = []
    for row in np.argsort(-results.scores):
        video, label = results.videos[results.video_index[row]], results.labels[results.label_index[row]]
        own = [g for g in range(len(truth.segments)) if truth.videos[truth.video_index[g]] == video]
        tiou = {g: float(segment_tiou(results.segments[row], truth.segments[g])) for g in own}
        has_label = {g: truth.classes[truth.class_index[g]] == label for g in own}
        own.sort(key=lambda g: (-tiou[g], not has_label[g]))
        taken, kinds = [], []
        for s, threshold in enumerate(thresholds):
            choices = [g for g in own if has_label[g] and free[s, g] and tiou[g] >= threshold]
            if choices:
                free[s, choices[0]] = False
                kind = 'true'
            elif not own or tiou[own[0]] < 0.1:
                kind = 'background'
            elif tiou[own[0]] >= threshold:
                kind = 'double detection' if has_label[own[0]] else 'wrong label'
            else:
                kind = 'localization' if has_label[own[0]] else 'confusion'
            taken.append(choices[0] if choices else -1)
            kinds.append(kind)
        found.append((truth.classes.index(label), taken, kinds))
    return found


def looped_ap(flags, positives, number):
    """AP_N of one class from [true or false] by rank."""
    curve, trues = [], 0
    for rank, flag in enumerate(flags):
        trues += flag
        weighted = trues / positives * number
        curve.append((trues / positives, weighted / (weighted + rank + 1 - trues) if trues else 0))
    ap, before = 0, 0
    for i, (recall, _) in enumerate(curve):
        ap += (recall - before) * max(precision for _, precision in curve[i:])
        before = recall
    return ap


@pytest.mark.parametrize('seed', range(4))
def test_random_data_against_loops(monkeypatch, seed):
    monkeypatch.setattr(error_analysis, 'RESULTS_AT_ONCE', 7)
    thresholds = np.array([0.3, 0.5, 0.7])
    truth, results = random_case(seed)
    analysis = analyze_errors(truth, results, thresholds, policy='official')
    expected = looped(truth, results, thresholds)
    by_class = [[entry for entry in expected if entry[0] == k] for k in range(3)]
    flat = [entry for entries in by_class for entry in entries]
    assert analysis.detections.taken.T.tolist() == [taken for _, taken, _ in flat]
    assert [[KINDS[kind] for kind in row] for row in analysis.detections.kind.T] == [kinds for _, _, kinds in flat]
    by_score = np.argsort(-results.scores[analysis.detections.row])
    detections = analysis.detections
    matches = match_by_rank(results.segments[detections.row[by_score]], detections.video[by_score],
                            detections.label[by_score], truth, thresholds)
    assert np.array_equal(matches, detections.taken[:, by_score] >= 0)
    positives = np.bincount(truth.class_index)
    number = len(truth.segments) / 3
    length = truth.segments[:, 1] - truth.segments[:, 0]
    edges = np.array([0, 5, 12, INF])
    bin_of = bins_of(length, edges)
    found = characteristics.sensitivity(truth, analysis, length, 'length', 'own', edges)
    for s in range(3):
        def mean_ap(keep, count=positives, entries=by_class, s=s):
            aps = [looped_ap([taken[s] >= 0 for _, taken, kinds in entries[k] if keep(taken, kinds[s])], count[k],
                             number) for k in range(3) if count[k]]
            return np.mean(aps)
        np.testing.assert_allclose(analysis.mAP_N[s], mean_ap(lambda taken, kind: True))
        top = [entries[:10 * positives[k]] for k, entries in enumerate(by_class)]
        base = mean_ap(lambda taken, kind: True, entries=top)
        np.testing.assert_allclose(analysis.top_mAP_N[s], base)
        for kind in range(1, len(KINDS)):
            gain = mean_ap(lambda taken, of, kind=kind: of != KINDS[kind], entries=top) - base
            np.testing.assert_allclose(analysis.gains[s, kind], gain, atol=1e-12)
        for b in range(3):
            count = np.bincount(truth.class_index[bin_of == b], minlength=3)
            ap = mean_ap(lambda taken, kind, b=b: all(g < 0 or bin_of[g] == b for g in taken), count)
            np.testing.assert_allclose(found.mAP_N[b, s], ap)
