"""samples.py: segments that serve as samples, windows by hand, and what a run says of them."""
import collections

import numpy as np
import pytest

import config as settings
from dataset.samples import (
    clip_samples,
    covering_windows,
    training_report,
    training_window,
    window_rows,
    windows_in_a_pass,
)
from dataset.tables import RowTimes, Video


def video(*segments, rows=100, row_seconds=0.5, first=0.25, labels=None, label=0, name='v'):
    """A Video of `rows` rows whose segments are given in rows."""
    return Video(name, label, rows * row_seconds, 0, rows, np.array(segments, float).reshape(-1, 2) / rows,
                 bool(segments), np.array(labels if labels is not None else [label] * len(segments), int),
                 RowTimes(row_seconds, first))


def data(**values):
    return settings.override(settings.Config(), **values).data


# Segments

def test_a_sample_has_the_class_of_its_video_or_its_own():
    videos = [video((0, 10), (20, 60), (50, 54), labels=[3, 4, 5], label=1)]
    for labels, expected in (('video', [1, 1]), ('segment', [3, 4])):
        found = clip_samples(videos, 10, labels, True)
        assert [sample.label for sample in found.groups[0]] == expected
        assert [(sample.start, sample.end) for sample in found.groups[0]] == [(0, 10), (20, 60)]
        assert (found.number, found.shorter, found.not_first) == (2, 1, 0)


def test_only_the_first_segment_serves():
    videos = [video((0, 10), (20, 60)), video((0, 4), (20, 60))._replace(first_usable=False), video()]
    found = clip_samples(videos, 5, 'video', True, first_only=True)
    assert [len(group) for group in found.groups] == [1]
    assert (found.number, found.shorter, found.not_first) == (1, 0, 3)


# Windows

def test_windows_are_off_by_default():
    assert window_rows(video(), data()) == 100
    (window,) = covering_windows(video(first=1.0), data())
    assert (window.first, window.rows, window.start, window.span) == (0, 100, 0.75, 50.0)


@pytest.mark.parametrize('seconds, rows', [(10.0, 20), (10.2, 20), (10.3, 21), (0.1, 2), (50.0, 100), (1000.0, 100)])
def test_the_rows_of_a_window(seconds, rows):
    assert window_rows(video(), data(window_seconds=seconds)) == rows


def test_the_rows_of_a_window_as_published():
    found = Video('v', 0, 100.0, 2400, 300, np.zeros((0, 2)), False)  # 24 frames a second, a row a third of a second
    assert window_rows(found, data(window_seconds=10.0)) == 30
    windows = covering_windows(found, data(window_seconds=10.0))
    assert windows[1].start == pytest.approx(5) and windows[1].span == pytest.approx(10)


@pytest.mark.parametrize('rows, stride, firsts', [
    (100, 0.0, list(range(0, 81, 10))), (105, 0.0, list(range(0, 81, 10)) + [85]), (100, 10.0, [0, 20, 40, 60, 80]),
    (100, 7.0, [0, 14, 28, 42, 56, 70, 80]), (20, 0.0, [0]), (12, 0.0, [0]), (21, 0.0, [0, 1]),
    (50, 1000.0, [0, 20, 30]), (22, 0.01, [0, 1, 2])])  # no row is left out, and a window moves on by a row at least
def test_testing_windows_cover_a_video(rows, stride, firsts):
    found = covering_windows(video(rows=rows, first=1.0), data(window_seconds=10.0, window_stride_seconds=stride))
    assert [window.first for window in found] == firsts
    assert {window.rows for window in found} == {min(20, rows)}
    assert found[-1].first + found[-1].rows == rows
    np.testing.assert_allclose([window.start for window in found], 0.75 + 0.5 * np.array(firsts))
    np.testing.assert_allclose([window.span for window in found], 0.5 * min(20, rows))


@pytest.mark.parametrize('segments, rows, count', [(9, 100, 5), (9, 101, 6), (3, 100, 3), (0, 100, 1), (9, 20, 1)])
def test_how_often_a_video_is_drawn_in_a_pass(segments, rows, count):
    found = video(*[(number, number + 1) for number in range(segments)], rows=rows)
    assert windows_in_a_pass(found, data(window_seconds=10.0)) == count


def places(found, values, draws=200):
    """First rows of the windows of a video, over many draws."""
    random = np.random.RandomState(0)
    windows = [training_window(found, random.randint(0, 2 ** 31 - 1, 2), values) for _ in range(draws)]
    return sorted({window.first for window, _, _ in windows}), windows


def test_a_training_window_holds_its_segment():
    firsts, windows = places(video((40, 50)), data(window_seconds=10.0))
    assert firsts == list(range(30, 41))
    for window, belongs, segments in windows:
        assert belongs.tolist() == [0]
        np.testing.assert_allclose(segments, [[(40 - window.first) / 20, (50 - window.first) / 20]])
    assert places(video((0.5, 3.5)), data(window_seconds=10.0))[0] == [0]
    assert places(video((97, 100)), data(window_seconds=10.0))[0] == [80]
    assert places(video((40.5, 59.5)), data(window_seconds=10.0))[0] == [40]


def test_a_training_window_lies_in_a_longer_segment():
    firsts, windows = places(video((30, 60)), data(window_seconds=10.0))
    assert firsts == list(range(30, 41))
    assert all(segments.tolist() == [[0, 1]] for _, _, segments in windows)


def test_a_short_video_is_taken_as_a_whole():
    found = video((2, 5), (7, 8), rows=12, first=1.0)
    window, belongs, segments = training_window(found, (5, 7), data(window_seconds=10.0))
    assert (window.first, window.rows, window.start, window.span) == (0, 12, 0.75, 6.0)
    assert belongs.tolist() == [0, 1]
    np.testing.assert_array_equal(segments, found.segments)


def test_a_window_of_a_video_without_segments_is_anywhere():
    firsts, windows = places(video(), data(window_seconds=10.0), 1000)
    assert firsts == list(range(81)) and all(len(segments) == 0 for _, _, segments in windows)


@pytest.mark.parametrize('share, belongs', [(0.5, [0, 1, 3]), (0.51, [0, 3]), (0.2, [0, 1, 2, 3]), (1.0, [0])])
def test_segments_that_share_enough_belong_to_a_window(share, belongs):
    # window of rows 40 to 60: 10 of 20 rows of the second, 2 of 10 of the third, 15 of 20 (the window) of the last
    found = video((40, 60), (30, 50), (58, 68), (45, 90), (60, 70))
    window, mine, segments = training_window(found, (0, 3), data(window_seconds=10.0, window_share=share))
    assert window.first == 40 and mine.tolist() == belongs
    cut = np.array([[0, 1], [0, 0.5], [0.9, 1], [0.25, 1]])
    np.testing.assert_allclose(segments, cut[belongs])


def test_the_drawn_segment_always_belongs():
    found = video((10.5, 30.9))  # longer than the window by less than a row at each end
    for draws in ((0, 0), (0, 1), (0, 2)):
        assert training_window(found, draws, data(window_seconds=10.0, window_share=1.0))[1].tolist() == [0]


# Report

def report(videos, side='source', subset='training', unusable=None, class_names=('a', 'b'), missing=(), **values):
    config = settings.override(settings.Config(), **values)
    return training_report(config, side, subset, videos, collections.Counter(unusable or {}), class_names, missing)


def test_a_report_of_the_source_by_hand():
    videos = [video((0, 40), (50, 60), rows=100, name='v'), video((0, 36), rows=60, label=1, name='w')]
    found = report(videos, unusable={'without length': 0, 'outside their video': 1}, missing=['w', 'other'])
    assert found.lines == [
        'source training: 2 videos (1 without features), 3 segments of 2 classes; unusable segments: 1 outside their '
        'video',
        'source training: videos of 60 / 80 / 100 rows (30 / 40 / 50 s); segments of 10 / 36 / 40 rows '
        '(5 / 18 / 20 s) (shortest, median, longest)',
        'source training: 2 of 3 segments used as foreground samples; left out: 1 shorter than 32 rows (16.0 s)']
    assert found.warnings == [
        'source training: 1 of 4 segments cannot be used: 1 outside their video; correct the annotation',
        'source training: 33 % of the segments are no foreground samples, because they are shorter than 32 rows '
        '(16.0 s); --foreground_clips 10 keeps nine tenths']


def test_a_report_of_the_target_and_of_validation():
    videos = [video((0, 40), labels=[1], label=0)]
    found = report(videos, 'target', labels='segment', class_names=['a', 'b', 'c'])
    assert found.lines[2] == 'target training: 1 of 1 segment used as moments'
    assert found.warnings == ['target training: 2 of 3 classes have no sample among the moments: a, c']
    assert report(videos, 'target', labels='video').warnings == [
        'target training: 1 of 2 classes have no sample among the moments: b']
    assert len(report(videos, 'target', 'validation').lines) == 2
    assert report([video(label=-1)], 'target', 'testing').lines == [
        'target testing: 1 video, 0 segments; unusable segments: none',
        'target testing: videos of 100 / 100 / 100 rows (50 / 50 / 50 s) (shortest, median, longest)']


def test_at_most_ten_classes_are_named():
    names = ['class %d' % number for number in range(13)]
    (warning,) = report([video((0, 40))], class_names=names).warnings
    assert warning.endswith('samples: %s and 2 more' % ', '.join(names[1:11]))
    (warning,) = report([video((0, 40)), video((0, 4), label=7)], class_names=(), max_segments=1,
                        foreground_clips=5).warnings[1:]
    assert warning == 'source training: 1 of 2 classes have no sample among the foreground samples: class 7'


def test_segments_beyond_the_most_of_a_video_are_a_warning_where_videos_are_whole():
    videos = [video(*[(0, 40)] * 27, name='v'), video(*[(0, 40)] * 3, name='w', label=1)]
    assert report(videos).warnings == [
        'source training: 2 of 30 segments are beyond the first 25 of their video, and untrimmed videos are trained '
        'without them; raise --max_segments']
    assert report(videos, window_seconds=10.0).warnings == report(videos, max_segments=27).warnings == []


def test_a_tenth_may_be_left_out():
    videos = [video(*[(0, 40)] * 9 + [(0, 4)]), video((0, 40), label=1)]
    assert report(videos).warnings == []
    assert len(report(videos[:1] * 9 + [video((0, 4), (0, 4), label=1)] + videos[1:]).warnings) == 1
