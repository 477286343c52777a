"""The choice of the best snapshot: the videos held out, the figures on both sides, and what is written about it."""
import json

import pytest
from data_sets import message_of
from small_files import results_of, truth_of

from evaluation import choice
from evaluation.results import read_ground_truth, read_results
from runtime import files

# Of class x four videos, of y two, of z one
VIDEOS = {'a': [(0, 10, 'x')], 'b': [(0, 10, 'x')], 'c': [(0, 10, 'x')], 'd': [(0, 10, 'x')],
          'e': [(0, 10, 'y')], 'f': [(0, 10, 'y')], 'g': [(0, 10, 'z')]}


def truth():
    return read_ground_truth(truth_of(VIDEOS))


def found(right, others=()):
    """Results that have the segment of the videos `right`, with their class, and a wrong one of the `others`."""
    return read_results(results_of(dict(
        [(video, [(0.9, 0, 10, VIDEOS[video][0][2])]) for video in right],
        **{video: [(0.9, 50, 60, VIDEOS[video][0][2])] for video in others})))


def split(held_out):
    """A Choice on these videos."""
    known = truth()
    return choice.Choice(0.25, 0, frozenset(held_out), choice.truth_of_videos(known, held_out, ''),
                         choice.truth_of_videos(known, set(VIDEOS) - set(held_out), ''))


# The videos held out

@pytest.mark.parametrize('share, numbers', [
    (0.01, {10: 1, 4: 1, 3: 1, 2: 1, 1: 0}),     # at least one where there are two
    (0.25, {10: 3, 4: 1, 3: 1, 2: 1, 1: 0}),     # 2.5 is rounded up
    (0.5, {10: 5, 4: 2, 3: 2, 2: 1, 1: 0}),
    (0.99, {10: 9, 4: 3, 3: 2, 2: 1, 1: 0})])    # one is left to report
def test_the_number_of_videos_held_out_of_each_class(share, numbers):
    classes = {'%d_%d' % (number, i): 'class of %d' % number for number in numbers for i in range(number)}
    held_out = choice.held_out_videos(classes, share, 0)
    for number, expected in numbers.items():
        assert sum(video.startswith('%d_' % number) for video in held_out) == expected


def test_the_videos_depend_on_their_names_and_the_seed_alone():
    classes = {'v%d' % i: 'x' for i in range(20)}
    held_out = choice.held_out_videos(classes, 0.2, 0)
    # the four lowest SHA-256 of "0 v0" to "0 v19", by sha256sum
    assert held_out == {'v12', 'v16', 'v19', 'v1'}
    assert choice.held_out_videos(dict(reversed(list(classes.items()))), 0.2, 0) == held_out
    assert choice.held_out_videos(classes, 0.2, 1) != held_out
    assert len(choice.held_out_videos({'\ud800': 'x', 'ü': 'x'}, 0.2, 0)) == 1  # what JSON may hold


def test_the_class_of_a_video_is_that_of_its_first_segment():
    videos = {'v': [(20, 30, 'late'), (1, 2, 'early')], 'w': [(5, 9, 'b'), (5, 7, 'a')]}
    assert choice.video_classes(read_ground_truth(truth_of(videos))) == {'v': 'early', 'w': 'a'}


def test_both_sides_have_all_videos_once():
    chosen = choice.choice_of(truth(), 0.25, 3)
    assert len(chosen.held_out) == 2 and sorted(chosen.chosen_on.videos) == sorted(chosen.held_out)
    assert sorted(chosen.chosen_on.videos + chosen.reported.videos) == sorted(VIDEOS)
    assert sorted(chosen.reported.classes) == ['x', 'y', 'z']
    same = choice.choice_of(truth())
    assert same.chosen_on is same.reported and len(same.reported.videos) == 7 and not same.held_out


def test_where_each_class_has_one_video_none_can_be_held_out():
    known = read_ground_truth(truth_of({'v': [(0, 1, 'x')], 'w': [(0, 1, 'y')]}))
    assert '--select_share 0.2: found no class with two videos in ' in message_of(choice.choice_of, known, 0.2)


# Figures

def test_figures_of_both_sides():
    """Held out: a, which is found, and e, which is not. Of the others, b, c and g are found, d and f are not."""
    results = found('abcg', 'def')
    labels = {'a': True, 'e': False, 'b': True, 'c': True, 'd': False, 'f': False}  # g has no known label
    row = choice.evaluate_snapshot(400, split('ae'), results, 0.5, labels, 0)
    assert row.chosen_on.accuracy == 0.5 and row.accuracy == 2 / 4
    assert row.chosen_on.videos == 2 and row.chosen_on.detections.classes == ['x', 'y']
    assert row.chosen_on.detections.average_mAP == 0.5          # x 1, y 0
    # x: b, c and d have equal scores, in this order: precision 1 up to recall 2/3; y 0; z 1
    assert row.detections.average_mAP == pytest.approx((2 / 3 + 0 + 1) / 3)
    recalls = [figures.proposals.average_recall_percent for figures in (row.chosen_on, row)]
    assert recalls == [pytest.approx(50), pytest.approx(60)]
    assert row.coverage == 'over 5 videos; all of them have results; 2 others held out for the choice'
    assert choice.evaluate_snapshot(400, split('ae'), results, 0.5, None).accuracy is None


def test_without_a_share_the_figures_are_of_all_videos():
    row = choice.evaluate_snapshot(400, choice.choice_of(truth()), found('abcdefg'), 0.75, {'a': False}, 2)
    assert row.accuracy == 0.75 and row.detections.average_mAP == 1 and row.chosen_on[:3] == row[1:4]
    assert row.coverage == ('over 7 videos; all of them have results; 2 videos without features were dropped before '
                            '(--missing drop)')
    assert choice.percents(row) == {'mAP@0.5': 100, 'average_mAP': 100, 'AR@100': 100, 'accuracy': 75,
                                    'AUC': row.proposals.auc_percent}
    assert 'accuracy' not in choice.percents(row._replace(accuracy=None))
    assert choice.table_row(row).split()[:2] == ['400', '75.00'] and choice.table_row(row).split()[-1] == '100.00'


# The best

@pytest.fixture
def rows():
    """Steps 200, 400, 600, 800: held out, a alone is found, then both, both, none; of the others most at 800."""
    chosen = split('ae')
    return chosen, [choice.evaluate_snapshot(step, chosen, found(right, set(VIDEOS) - set(right)), None)
                    for step, right in ((200, 'abcdfg'), (400, 'ae'), (600, 'aeb'), (800, 'bcdfg'))]


def test_the_best_is_chosen_on_the_videos_held_out(rows):
    chosen, rows = rows
    assert [row.chosen_on.detections.average_mAP for row in rows] == [0.5, 1, 1, 0]
    assert choice.best_of(rows).step == 400 and choice.tested_since_best(rows) == 2  # the earliest of equal ones
    assert choice.best_of(rows[:1]).step == 200 and choice.tested_since_best(rows[:1]) == 0
    assert choice.best_line(rows, chosen) == (
        'best: step 400, average mAP 0.00 % on the 5 videos of the table; chosen by 100.00 % on 2 others held out')


def test_a_choice_on_the_videos_that_are_reported_says_so(rows):
    same = choice.choice_of(truth())
    rows = [choice.evaluate_snapshot(step, same, found(right), None) for step, right in ((200, 'abcd'), (400, 'g'))]
    line = 'best: step 200, average mAP 33.33 %'
    assert choice.best_line(rows[:1], same) == line  # of one snapshot, none is chosen
    assert choice.best_line(rows, same) == line + (
        '; chosen on the same videos, which favours them: hold some out for the choice with --select_share 0.2')


class FakeWatch:
    def __init__(self, folder):
        self.best_path, self.asked = str(folder / 'best.json'), []

    def snapshot_path(self, step):
        return 'models/step_%d' % step

    def ask_to_stop(self, why):
        self.asked.append(why)


class FakeScalars(dict):
    def add(self, step, figures):
        self[step] = figures


def test_what_a_watch_keeps(rows, tmp_path):
    chosen, rows = rows
    watch, scalars = FakeWatch(tmp_path), FakeScalars()
    for number in range(1, 5):
        choice.keep_best(rows[:number], chosen, watch, scalars, patience=2)
        assert files.read_json(watch.best_path)['step'] == [200, 400, 400, 400][number - 1]
    assert watch.asked == ['no better average mAP in 2 snapshots; best: step 400']  # after 600 and 800
    with open(watch.best_path) as text:
        best = json.load(text)
    assert best['snapshot'] == 'models/step_400' and best['choice'] == {
        'metric': 'average mAP', 'select_share': 0.25, 'select_seed': 0, 'on_other_videos_than_reported': True}
    assert best['chosen_on']['average_mAP'] == 100 and best['chosen_on']['videos'] == 2
    assert best['reported']['average_mAP'] == 0 and best['reported']['videos'] == 5 and best['unit'] == 'percent'
    assert [(row['step'], row['average_mAP']) for row in best['tested']] == [
        (200, 50), (400, 100), (600, 100), (800, 0)]
    assert best['tested'][3]['reported_average_mAP'] == pytest.approx(100)
    assert sorted(scalars) == [200, 400, 600, 800] and scalars[400]['choice/average_mAP'] == 100
    assert scalars[400]['test/average_mAP'] == 0 and set(scalars[400]) == {
        side + name for side in ('test/', 'choice/') for name in ('mAP@0.5', 'average_mAP', 'AR@100', 'AUC')}
    choice.keep_best(rows, chosen, watch, scalars)  # without patience
    assert len(watch.asked) == 1
