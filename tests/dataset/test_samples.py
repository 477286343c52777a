"""samples.py: segments that serve as samples, windows by hand, and what a run says of them."""
import collections

import numpy as np
import pytest

import config as settings
from dataset.samples import (
    clip_samples,
    covering_windows,
    dropped_lines,
    listed,
    training_report,
    training_window,
    why_no_sample,
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


def test_exact_cuts_are_not_short_of_a_row_for_rounding_errors():
    assert (int(0.29 * 100), int(0.57 * 100)) == (28, 56)  # as published
    videos = [video((29, 57), (0.1, 1.65), (98.4, 99.95), (50, 51.4))]

    def cuts(exact):
        return [(sample.start, sample.end) for sample in clip_samples(videos, 2, 'video', exact).groups[0]]

    assert cuts(exact=False) == [(28, 56)]
    assert cuts(exact=True) == [(29, 57), (0, 2), (98, 100)]  # about 2 rows become 2; the last one is too short


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
        'source training: 1 of 3 segments used as foreground samples; left out: 1 shorter than 32 rows (16.0 s), 1 '
        'of videos without features']
    assert (0.6 - 0.5) * 100 < 10  # as published, that is less than 10 rows
    assert found.warnings == [
        'source training: 1 of 4 segments cannot be used: 1 outside their video; correct the annotation',
        'source training: 33 % of the segments are no foreground samples, because they are shorter than 32 rows '
        '(16.0 s); --foreground_clips 9 keeps nine tenths',
        'source training: 1 of 2 classes have no sample among the foreground samples: b']


def test_segments_of_videos_without_features_are_counted_once():
    videos = [video((0, 40), (0, 4), (50, 99), name='v'), video((0, 40), (0, 9), (9, 18), name='w'),
              video((0, 50), name='x')]
    found = report(videos, 'target', class_names=['a'], missing=['v', 'other'])
    assert found.lines[0].startswith('target training: 3 videos (1 without features), 7 segments')
    assert found.lines[2] == ('target training: 4 of 7 segments used as moments; left out: 1 shorter than 8 rows '
                              '(4.0 s), 2 of videos without features')
    faulty = report(videos, class_names=['a'], missing=['v'], faults=settings.Faults(first_annotation_only=True))
    assert faulty.lines[2].endswith(': 2 of 7 segments used as foreground samples; left out: 4 not the first of '
                                    'their video, 1 of videos without features')
    # training, which has dropped the video:
    assert report(videos[1:], 'target', class_names=['a']).lines[2].endswith(': 4 of 4 segments used as moments')
    nothing = report(videos, 'target', class_names=['a'], missing='vwx', window_seconds=10.0)
    assert nothing.lines[2].endswith(': 0 of 7 segments used as moments; left out: 1 shorter than 8 rows (4.0 s), 6 '
                                     'of videos without features')
    assert nothing.warnings[-1].endswith('1 of 1 classes have no sample among the moments: a')


def test_the_line_on_dropped_videos():
    videos = [video(name=name) for name in 'abc']
    assert dropped_lines(['b', 'c'], videos, 'target training') == [
        'dropped for lack of features: 2 of 3 target training videos, such as b']
    assert dropped_lines([], videos, 'target training') == []


def test_the_rows_and_seconds_of_windows_are_stated():
    videos = [video(*[(0, 40)] * 3, rows=100), video((0, 40), rows=60), video((0, 12), rows=12)]  # half a second each
    windows = [line for line in report(videos, window_seconds=10.3).lines if 'window' in line]
    assert windows == ['source training: 5 windows in a pass, of 12 / 21 / 21 rows (6 / 10.5 / 10.5 s) (shortest, '
                       'median, longest)']  # 3 + 1 + 1, at most one for each segment
    for subset in ('validation', 'testing'):  # from rows 0, 10, … 70 and 79; 0, 10, 20, 30 and 39; 0
        windows = [line for line in report(videos, 'target', subset, window_seconds=10.3).lines if 'window' in line]
        assert windows == ['target %s: 15 windows of 12 / 21 / 21 rows (6 / 10.5 / 10.5 s) (shortest, median, '
                           'longest)' % subset]
    assert report([video((0, 40))], window_seconds=0.5).lines[-1] == (
        'source training: 1 window in a pass, of 2 / 2 / 2 rows (1 / 1 / 1 s) (shortest, median, longest)')
    two = [video((0, 40), name='v'), video((0, 12), rows=12, name='w')]
    assert ': 1 window in a pass, of 12 / 12 / 12 rows' in report(two, missing=['v'], window_seconds=10.0).lines[-1]
    assert len(report(two, missing=['v', 'w'], window_seconds=10.0).lines) == 3
    assert not [line for line in report(videos, 'target', window_seconds=10.0).lines if 'window' in line]  # moments
    assert not [line for line in report(videos).lines if 'window' in line]


def why(videos, side='source', **values):
    return why_no_sample(settings.override(settings.Config(), **values), side, videos)


def test_why_there_is_no_sample():
    short = [video((0, 30), (0, 31), (0, 20)), video(*[(50, 80)] * 18)]  # of 21 segments, one has fewer than 30 rows
    assert why(short) == (
        'found no foreground samples in 2 source training videos; training stops without them; left out: 21 shorter '
        'than 32 rows (16.0 s); --foreground_clips 30 keeps nine tenths')
    assert why(short, foreground_clips=30) == why(short, 'target') == ''
    assert why([video((0, 3))], 'target') == (
        'found no moments in 1 target training video; training stops without them; left out: 1 shorter than 8 rows '
        '(4.0 s); --moment_clips 3 keeps nine tenths')
    assert why([video((0, 0.3))], 'target').endswith(
        'than 8 rows (4.0 s); extract features with more rows a second, or correct the annotation')
    assert why([video(), video()]) == (
        'found no usable segment in 2 source training videos, expected at least one; training stops without '
        'foreground samples; correct the annotation')
    assert why([video((0, 50))._replace(first_usable=False)],
               faults=settings.Faults(first_annotation_only=True)).startswith('found no usable first segment in 1 ')


@pytest.mark.parametrize('exact, lower', [(False, 7), (True, 8)])
def test_nine_tenths_are_kept_as_clips_are_counted(exact, lower):
    assert (0.6 - 0.2) * 20 < 8
    found = video((4, 12), rows=20)
    values = {'exact_lengths': exact, 'moment_clips': 9}
    assert why([found], 'target', **values).endswith('--moment_clips %d keeps nine tenths' % lower)
    assert why([found], 'target', exact_lengths=exact, moment_clips=lower) == ''


def test_names_with_commas_are_quoted():
    assert listed(['a', 'b, c', 'd']) == 'a, "b, c", d' and listed([]) == ''
    (warning,) = report([video((0, 40))], class_names=['a', 'wax, cut', 'b']).warnings
    assert warning.endswith('2 of 3 classes have no sample among the foreground samples: "wax, cut", b')


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
        'source training: 2 of 30 segments are beyond --max_segments 25 in their video, and untrimmed videos are '
        'trained without them; raise it']
    assert report(videos, window_seconds=10.0).warnings == report(videos, max_segments=27).warnings == []


def test_a_tenth_may_be_left_out():
    videos = [video(*[(0, 40)] * 9 + [(0, 4)]), video((0, 40), label=1)]
    assert report(videos).warnings == []
    assert len(report(videos[:1] * 9 + [video((0, 4), (0, 4), label=1)] + videos[1:]).warnings) == 1
