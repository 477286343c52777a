"""row_times.py: when rows are, whether features cover their videos, and what would fit where they do not."""
import numpy as np
import pytest
from data_sets import message_of

from dataset.row_times import check_coverage, coverage, row_seconds, row_times
from dataset.tables import RowTimes, Video


def video(name='v', seconds=32.0, rows=60, times=None, frames=512):
    return Video(name, 0, seconds, frames, rows, np.zeros((0, 2)), False, times=times)


def test_stride_window_and_rate_by_hand():
    assert row_times(16, 16, 15) == RowTimes(16 / 15, 8 / 15)
    assert row_times(4, 16, 30) == RowTimes(4 / 30, 8 / 30)  # rows 0.133 s apart, the first centred at 0.267 s
    found = video(times=row_times(4, 16, 30), rows=75)
    assert found.start == pytest.approx(8 / 30 - 2 / 30) and found.span == pytest.approx(10)
    assert row_seconds(found) == 4 / 30


def test_as_published_a_row_is_8_frames():
    assert row_seconds(video(seconds=32.0, frames=512)) == 0.5
    assert row_seconds(video(seconds=32.0, frames=512), clip_frames=16) == 1.0
    assert video().start == 0 and video().span == 32.0


@pytest.mark.parametrize('rows, share', [
    (64, 1), (62, 1), (66, 1),      # two rows more or less are always allowed
    (61, 61 / 64), (68, 68 / 64)])
def test_coverage_as_a_share_of_the_duration(rows, share):
    assert coverage(video(rows=rows, times=RowTimes(0.5, 0.25)), 8) == pytest.approx(share)
    assert coverage(video(rows=rows), 8) == pytest.approx(share)


def test_a_wrong_stride_is_an_error_that_says_what_would_fit():
    videos = [video(seconds=seconds, rows=int(seconds * 15 / 16), times=row_times(16, 16, 30))
              for seconds in (90.0, 120.0, 300.0)]
    message = message_of(check_coverage, videos, 'a.json', 8, 'a stride of 16 at 30 fps')
    assert message == (
        "a.json: features cover 0.50 of the videos' duration (median of 3 videos), expected 1: a stride of 16 at 30 "
        'fps was given; a stride of 16 at 15 fps would fit (1.071 seconds a row)')
    assert check_coverage([one._replace(times=row_times(16, 16, 15)) for one in videos], 'a.json') == []


def test_of_two_that_would_fit_the_usual_stride_is_named():
    videos = [video(seconds=seconds, rows=int(seconds * 30 / 16), times=row_times(16, 16, 15))
              for seconds in (90.0, 120.0)]  # 8 at 15 fps would fit as well
    assert 'given; a stride of 16 at 30 fps would fit' in message_of(
        check_coverage, videos, 'a.json', 8, 'a stride of 16 at 15 fps')


def test_published_rules_on_features_of_another_stride_are_an_error():
    videos = [video(seconds=100.0, frames=3000, rows=187)] * 3  # a row per 16 frames, said to be 8
    message = message_of(check_coverage, videos, 'a.json')
    assert "cover 0.50 of the videos' duration (median of 3 videos), expected 1: a stride of 16 at 30 fps" in message


def test_rows_that_no_stride_fits():
    message = message_of(check_coverage, [video(seconds=1000.0, rows=6, times=RowTimes(1.0, 0.5))], 'a.json')
    assert message.endswith('expected 1: 166.7 seconds a row would fit')


def test_single_videos_that_are_off_are_named():
    times = RowTimes(1.0, 0.5)
    videos = [video('v%d' % number, 100.0, 100, times) for number in range(20)]
    videos += [video('short', 100.0, 60, times), video('long', 100.0, 130, times)]
    assert check_coverage(videos, 'a.json') == [
        'a.json: the features of 2 of 22 videos cover more or less than their duration, by over 5 %: short (0.60), '
        'long (1.30); extract them again, or correct the duration']
    assert check_coverage([], 'a.json') == []
    many = [video('v%d' % number, 100.0, 60 if number < 9 else 100, times) for number in range(40)]
    assert check_coverage(many, 'a.json')[0].count('(0.60)') == 5
