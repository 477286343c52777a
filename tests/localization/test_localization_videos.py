"""Features that a user names → videos: stores, durations and row times by hand."""
import json

import h5py
import numpy as np
import pytest
from data_sets import message_of

from dataset.tables import RowTimes
from localization.videos import ArrayStore, Timing, array_video, open_videos

WIDTH = 3


def save(path, rows, is_by_row=True):
    numbers = np.arange(rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH)
    np.save(str(path), numbers if is_by_row else numbers.T)
    return numbers


def opened(paths, timing=Timing(seconds=10.0), rows_known=None, **more):
    return open_videos([str(path) for path in paths], WIDTH, timing, rows_known or {}, **more)


def test_folders_hdf5_files_and_single_files(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'one').mkdir()
    stored = {'a': save(tmp_path / 'folder' / 'a.npy', 5), 'b': save(tmp_path / 'folder' / 'b.npy', 7)}
    stored['c'] = save(tmp_path / 'one' / 'c.npy', 4, is_by_row=False)
    save(tmp_path / 'one' / 'other.npy', 9)
    with h5py.File(str(tmp_path / 'd.h5'), 'w') as file:
        file['d'] = stored['d'] = np.ones((6, WIDTH), np.float32)
    items, texts, warnings = opened([tmp_path / 'folder', tmp_path / 'one' / 'c.npy', tmp_path / 'd.h5'])
    assert [item.video.name for item in items] == ['a', 'b', 'c', 'd'] and warnings == []
    assert texts == ['%s: 2 videos' % (tmp_path / 'folder'), '%s: 1 video' % (tmp_path / 'one' / 'c.npy'),
                     '%s: 1 video' % (tmp_path / 'd.h5')]
    for item in items:
        assert np.array_equal(item.store.read(item.video.features), stored[item.video.name])
        assert item.video.clips == len(stored[item.video.name]) and item.video.seconds == 10.0
    assert [item.video.name for item in opened([tmp_path / 'folder', tmp_path / 'd.h5'], first=1)[0]] == ['a']


def test_times_of_rows(tmp_path):
    save(tmp_path / 'a.npy', 20)
    path, known = tmp_path / 'a.npy', {'stride': 4, 'window': 16, 'fps': 8}

    def video(timing, rows_known=None, **more):
        return opened([path], timing, rows_known, **more)[0][0].video

    spread = video(Timing(seconds=40.0), known)  # the duration alone: rows are spread evenly
    assert (spread.times, spread.start, spread.span) == (RowTimes(2.0, 1.0), 0.0, 40.0)
    stated = video(Timing(stride=16, fps=8))
    assert stated.times == RowTimes(2.0, 1.0) and stated.seconds == 40.0
    shifted = video(Timing(stride=4, window=16, fps=8))
    assert shifted.times == RowTimes(0.5, 1.0) and (shifted.start, shifted.span) == (0.75, 10.0)
    assert shifted.seconds == 11.5  # the windows of the first and the last row reach beyond the span
    known_alone = video(Timing(), known)
    assert (known_alone.times, known_alone.seconds) == (shifted.times, 11.5)
    assert video(Timing(fps=16), known).times == RowTimes(0.25, 0.5)

    annotation = tmp_path / 'info.json'
    annotation.write_text(json.dumps({'database': {'v_a': {'duration': '80', 'fps': 4, 'subset': 'x', 'annotations': [
        {'segment': [1, 2], 'label': 'run'}]}}}))
    annotated = video(Timing(), annotation=[str(annotation)])
    assert (annotated.name, annotated.file, annotated.times) == ('v_a', 'a', RowTimes(4.0, 2.0))
    assert video(Timing(stride=16), annotation=[str(annotation)]).times == RowTimes(4.0, 2.0)


def test_times_that_do_not_fit_stop_the_run(tmp_path):
    save(tmp_path / 'a.npy', 200)
    message = message_of(opened, [tmp_path / 'a.npy'], Timing(stride=16, fps=30, seconds=213.0))
    assert "features cover 0.50 of the videos' duration" in message and '16 at 15 fps would fit' in message
    message = message_of(opened, [tmp_path / 'a.npy'], Timing())
    assert message.endswith(
        'nothing says how long video a is; give --stride and --fps, --seconds, or --annotation')
    assert 'but not the frame rate; give --fps' in message_of(opened, [tmp_path / 'a.npy'], Timing(stride=16))


def test_videos_that_the_annotation_lacks_are_counted(tmp_path):
    for name in 'ab':
        save(tmp_path / (name + '.npy'), 20)
    (tmp_path / 'info.json').write_text(json.dumps({'a': {'duration_second': 20.0, 'annotations': []}}))
    items, _, warnings = opened([tmp_path / 'a.npy', tmp_path / 'b.npy'], Timing(stride=8, fps=8), annotation=[
        str(tmp_path / 'info.json')])
    assert [item.video.seconds for item in items] == [20.0, 20.0]
    assert warnings == ['%s: 1 video not in the annotation; the rows alone say how long they are'
                        % (tmp_path / 'info.json')]


def test_the_same_video_twice_and_no_features_are_refused(tmp_path):
    save(tmp_path / 'a.npy', 20)
    (tmp_path / 'empty').mkdir()
    assert 'found features of video a more than once' in message_of(opened, [tmp_path / 'a.npy', tmp_path])
    assert 'found no such file' in message_of(opened, [tmp_path / 'b.npy'])
    assert 'found no features' in message_of(opened, [tmp_path / 'empty'])


@pytest.mark.parametrize('features, message', [
    (np.zeros((WIDTH, 9)), 'found features of shape [3, 9], expected [rows, 3]; give their transpose'),
    (np.zeros((9, 4)), 'found features of shape [9, 4], expected [rows, 3]'),
    (np.zeros((0, WIDTH)), 'found features of shape [0, 3]'), (np.zeros(WIDTH), 'found features of shape [3]'),
    (np.full((2, WIDTH), np.nan), 'found features that are not finite numbers')])
def test_arrays_that_cannot_be_used(features, message):
    assert message in message_of(array_video, features, WIDTH, Timing(seconds=3.0), {})


def test_an_array_is_cut_as_a_file_is():
    numbers = np.arange(12).reshape(4, WIDTH)
    store = ArrayStore(numbers, WIDTH)
    assert store.read('', rows=4, cut=(1, 3)).tolist() == numbers[1:3].tolist()
    assert store.read('').dtype == np.float32 and store.read('').tolist() == numbers.tolist()
