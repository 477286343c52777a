"""From anchors to results: NMS, windows and labels, with numbers worked out by hand."""
import tempfile

import numpy as np
import pytest
from data_sets import message_of

import config as settings
from dataset.samples import Window
from dataset.tables import Video
from ops import detections as module
from ops.detections import (
    Candidates,
    Detections,
    JoinedWindows,
    VideosOfWindows,
    action_curve,
    results_of,
    suppress,
    uniform_windows,
)

TEST = settings.TestConfig()


# Non-maximum suppression

@pytest.mark.parametrize('tiou, kept', [(1.0, [3, 0, 1, 2, 4]), (0.9, [3, 0, 2, 4]), (0.89, [3, 0, 2, 4]),
                                        (0.88, [3, 0, 4]), (0.1, [3, 0]), (0.0, [3, 0])])
def test_nms_by_hand(tiou, kept):
    segments = np.array([[0.0, 100], [0, 99], [0, 89], [200, 300], [80, 120]])
    scores = np.array([0.9, 0.8, 0.7, 0.95, 0.6])  # tIoU with [0, 100]: 1, 99/100, 89/100, 0, 20/120
    assert suppress(segments, scores, tiou, 10).tolist() == kept
    assert suppress(segments, scores, tiou, 2).tolist() == kept[:2]


def test_a_removed_segment_removes_none():
    segments = np.array([[0.0, 10], [4, 14], [8, 18]])  # neighbours share 6 of 14 s, the outer ones 2 of 18 s
    assert suppress(segments, np.array([0.9, 0.8, 0.7]), 0.4, 10).tolist() == [0, 2]


def test_nms_of_equal_scores_of_points_and_of_nothing():
    equal = np.array([[5.0, 6], [0, 10], [0, 10], [0, 10.5]])
    assert suppress(equal, np.full(4, 0.5), 0.5, 10).tolist() == [0, 1]
    points = np.array([[0.0, 10], [4, 4], [4, 4]])
    assert suppress(points, np.array([0.5, 0.9, 0.1]), 0.0, 10).tolist() == [1, 0, 2]
    assert len(suppress(np.zeros((0, 2)), np.zeros(0), 0.5, 10)) == 0


def plain_nms(segments, scores, tiou, limit):
    """`suppress`, pair by pair."""
    def overlap(one, other):
        shared = max(min(one[1], other[1]) - max(one[0], other[0]), 0)
        return shared / (one[1] - one[0] + other[1] - other[0] - shared) if shared else 0

    kept = []
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        if len(kept) < limit and all(overlap(segments[index], segments[one]) <= tiou for one in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize('tiou', [0.0, 0.3, 0.5, 0.9, 1.0])
def test_nms_agrees_with_all_pairs(tiou):
    random = np.random.RandomState(0)
    for longest in (1, 10, 60) * 10:
        start = 50 * random.rand(60)
        segments = np.stack([start, start + longest * random.rand(60) * (random.rand(60) > 0.1)], axis=1)
        scores = np.round(random.rand(60), 1)
        for numbers in (segments, segments.astype(np.float32)):
            assert suppress(numbers, scores, tiou, 20).tolist() == plain_nms(numbers, scores, tiou, 20)


# Windows

def candidates(scores, segments, positions=None, class_scores=(0.5, 0.5), probabilities=None):
    """Candidates of a window of three positions and two classes, as the graph gives them."""
    return Candidates(np.array(scores, np.float32), np.array(segments, np.float32),
                      np.array(positions or range(len(scores)), np.int32), np.array(class_scores, np.float32),
                      np.array(probabilities or np.zeros((3, 0)), np.float32))


def joined(in_memory, monkeypatch):
    """Two windows of 10 s, at 0.5 and 5.5 s, whose first segments are nearly the same one of the video."""
    monkeypatch.setattr(module, 'MAX_IN_MEMORY', in_memory)
    windows = JoinedWindows()
    windows.add(0.5, candidates([0.5, 0.25], [[6, 9], [0, 1]], [2, 0], [0.75, 0.25], [[0, 1], [0.5, 0.5], [1, 0]]))
    windows.add(5.5, candidates([0.75, 0.375], [[1, 4.25], [8, 10]], [1, 2], [0.25, 0.75],
                                [[0.5, 0.5], [0.25, 0.75], [0.125, 0.875]]))
    return windows


@pytest.mark.parametrize('in_memory', [1, 10 ** 6])
def test_windows_are_joined_in_seconds(in_memory, monkeypatch):
    windows = joined(in_memory, monkeypatch)
    found = windows.detections(TEST._replace(label_by='both', nms_tiou=0.5))
    np.testing.assert_array_equal(found.scores, [0.75, 0.375, 0.25])  # [6.5, 9.5] is removed by [6.5, 9.75]
    np.testing.assert_array_equal(found.segments, [[6.5, 9.75], [13.5, 15.5], [0.5, 1.5]])
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.75], [0.125, 0.875], [0, 1]])
    np.testing.assert_array_equal(found.class_scores, [0.5, 0.5])
    assert found.label == 0
    assert len(windows.detections(TEST._replace(label_by='anchor', max_detections=2)).probabilities) == 2


def test_labels_of_the_video_need_no_probabilities_of_positions():
    windows = JoinedWindows()
    windows.add(0.0, candidates([0.5], [[0, 1]], class_scores=[0.25, 0.75]))
    windows.add(1.0, candidates([0.25], [[0, 1]], class_scores=[0.5, 0.5]))
    found = windows.detections(TEST)
    assert found.probabilities is None and found.label == 1 and found.class_scores.tolist() == [0.375, 0.625]


def test_a_temporary_file_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'gone'))
    message = message_of(joined, 1, monkeypatch)
    assert message.startswith('%s: a temporary file cannot be used (' % (tmp_path / 'gone')) and 'TMPDIR' in message


def video_of(name, seconds=10.0):
    return Video(name, 0, seconds, 80, 10, np.zeros((0, 2)), False)


def test_the_windows_of_each_video_are_joined_and_a_skipped_one_skips_its_video():
    a, b, c = map(video_of, 'abc')
    samples = [Window(a, 0, 4, 0.0, 4.0), Window(a, 2, 4, 2.0, 4.0), Window(b, 0, 4, 0.0, 4.0),
               Window(b, 2, 4, 2.0, 4.0), Window(c, 0, 4, 1.0, 4.0)]
    videos = VideosOfWindows(samples, Candidates, TEST)
    one = candidates([0.5], [[0, 1]])
    made = [videos.add(number, index, one) for number, index in enumerate([0, 1, -1, 3, 4])]
    assert [video and video[0].name for video in made] == [None, 'a', None, 'b', 'c']
    assert made[1][1].segments.tolist() == [[0, 1], [2, 3]] and made[3][1] is None
    assert made[4][1].segments.tolist() == [[1, 2]]


def test_detections_of_whole_videos_are_moved_to_the_start_of_the_span():
    samples = [Window(video_of('a'), 0, 10, 0.5, 9.0), Window(video_of('b'), 0, 10, 0.0, 10.0)]
    videos = VideosOfWindows(samples, Detections, TEST)
    row = Detections(np.ones(1), np.array([[1, 9]], np.float32), None, None, 0, np.ones(1), np.zeros((1, 0)))
    assert videos.add(0, 0, row)[1].segments.tolist() == [[1.5, 9.5]] and videos.add(1, -1, row)[1] is None


# Results

def rows_of(detections, seconds=10.0, **values):
    """[(label, score, segment)] of results_of, with the classes a, b and c."""
    return [(result['label'], result['score'], result['segment'])
            for result in results_of(seconds, detections, 'abc', TEST._replace(**values))]


DETECTIONS = Detections(
    scores=np.array([0.5, 0.2, 0]), segments=np.array([[0, 1], [2, 4], [0, 0]]), classes=None,
    class_probabilities=None, label=1, class_scores=np.array([0.1, 0.6, 0.3]),
    probabilities=np.array([[0.5, 0.1, 0.4], [0.1, 0.2, 0.7], [1, 0, 0]]))


def test_labels_a_video():
    found = [rows_of(DETECTIONS, labels_per_video=count) for count in (1, 2, 9)]
    assert found[0] == [('b', 0.3, [0, 1]), ('b', 0.12, [2, 4])]
    assert found[1] == found[0] + [('c', 0.15, [0, 1]), ('c', 0.06, [2, 4])]
    assert [label for label, _, _ in found[2]] == list('bbccaa')


def test_labels_by_anchor():
    assert rows_of(DETECTIONS, label_by='anchor') == [('a', 0.25, [0, 1]), ('c', 0.14, [2, 4])]
    assert rows_of(DETECTIONS, label_by='anchor', labels_per_video=2)[2:] == [('c', 0.2, [0, 1]), ('b', 0.04, [2, 4])]


def test_labels_by_both():
    # products: 0.05, 0.06, 0.12 and 0.01, 0.12, 0.21
    assert rows_of(DETECTIONS, label_by='both') == [('c', 0.06, [0, 1]), ('c', 0.042, [2, 4])]
    assert rows_of(DETECTIONS, label_by='both', labels_per_video=2)[2:] == [('b', 0.03, [0, 1]), ('b', 0.024, [2, 4])]


def test_segments_are_cut_to_the_video():
    segments = np.array([[-1.0, 3], [8, 11], [10, 11]])
    detections = DETECTIONS._replace(segments=segments, scores=np.ones(3))
    assert [segment for _, _, segment in rows_of(detections)] == [[0, 3], [8, 10]]
    # the graph computes in float32, where 60.7 is 60.7000007…: what ends with the video keeps the number of the graph
    end = np.float32(60.7)
    detections = DETECTIONS._replace(segments=np.array([[1, end]] * 3, np.float32))
    assert rows_of(detections, 60.7)[0][2] == [1, 60.700001]


def test_uniform_windows():
    np.testing.assert_allclose(uniform_windows(60.0, 6),
                               [[0, 60], [0, 40], [20, 60], [0, 30], [15, 45], [30, 60]])
    found = rows_of(DETECTIONS, 60.0, proposals='uniform', max_detections=6)
    assert found[2] == ('b', 0.4, [20, 60])  # the third of six scores 1, 5/6, …, by the video's 0.6


@pytest.mark.parametrize('count', [1, 2, 3, 4, 6, 7, 99, 100, 105, 106, 1000])
def test_uniform_windows_are_those_of_the_definition(count):
    windows = [(index / (k + 1), (index + 2) / (k + 1)) for k in range(1, count + 1) for index in range(k)]
    np.testing.assert_array_equal(uniform_windows(61.7, count), 61.7 * np.array(windows[:count]))


def test_very_many_uniform_windows():
    windows = uniform_windows(1.0, 10 ** 6)  # a list of k windows for each k up to it would not fit
    assert windows.shape == (10 ** 6, 2) and windows.max() == 1


def test_the_action_probability_over_time_by_hand():
    whole = Window(None, 0, 8, 1.0, 8.0)
    edges, probabilities = action_curve([whole], [[0.1, 0.5, 0.2, 0.3, 0.4, 0.2, 0.35]], (4, 2, 1))
    assert edges.tolist() == [1, 3, 5, 7, 9]
    assert probabilities.tolist() == [0.4, 0.5, 0.35, 0.35]  # levels: [.1 .5 .2 .3], [.4 .2], [.35]
    windows = [Window(None, 0, 4, 0.0, 4.0), Window(None, 2, 4, 2.0, 4.0)]
    edges, probabilities = action_curve(windows, [[0.1, 0.6, 0.0], [0.5, 0.2, 0.3]], (2, 1))
    assert edges.tolist() == [0, 2, 4, 6] and probabilities.tolist() == [0.1, 0.6, 0.3]
    assert action_curve([whole], [[0.1, 0.5, 0.2, 0.9]], (3, 1))[1].tolist() == [0.9] * 3  # 3 positions, then 1
