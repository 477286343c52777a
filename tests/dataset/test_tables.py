"""tables.py and files.py: what a table may hold, row by row, and text and JSON files that cannot be read."""
import collections
import json
import os

import numpy as np
import pytest
from data_sets import message_of, write

from dataset.tables import (
    AnnotationRules,
    RowTimes,
    check_video_id,
    read_annotation,
    read_class_names,
    read_info,
    read_label_rows,
    read_labels,
    read_videos,
)
from runtime import files
from runtime.errors import InputError

REAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', 'shared', 'data')
ENTRY = {'duration_second': 32.0, 'duration_frame': 512, 'feature_frame': 512, 'annotations': []}


def videos_of(tmp_path, segments, on_error=None, **change):
    path = str(tmp_path / 'annotation.json')
    annotations = [{'segment': segment} for segment in segments]
    write(path, json.dumps({'v': dict(ENTRY, annotations=annotations, **change)}))
    unusable = collections.Counter()
    arguments = [['v'], path, {}, AnnotationRules(), unusable] + ([on_error] if on_error else [])
    return read_videos(*arguments), unusable


READERS = {'info.csv': lambda path: read_info(path, 'training'), 'labels.txt': lambda path: read_labels(path, 3),
           'names.txt': read_class_names, 'annotation.txt': lambda path: read_annotation(path, 3),
           'annotation.json': lambda path: read_videos(['v'], path, {}, AnnotationRules(), collections.Counter())}


@pytest.mark.parametrize('name', sorted(READERS))
@pytest.mark.parametrize('make', [os.mkdir, os.mkfifo, lambda path: os.symlink('/dev/zero', path), lambda path: None,
                                  lambda path: write(path, b'\xff\xfe')],
                         ids=['folder', 'pipe', 'device', 'none', 'utf-16'])
def test_no_table_at_all(tmp_path, name, make):
    path = str(tmp_path / name)
    make(path)
    assert message_of(READERS[name], path).startswith(path + ': ')


def test_a_table_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    path = str(tmp_path / 'names.txt')
    with open(path, 'wb') as file:
        file.truncate(files.MAX_BYTES + 1)  # a hole, that takes no disk
    assert 'found 2147483649 bytes, expected 2147483648 at most' in message_of(read_class_names, path)


@pytest.mark.parametrize('content', ['[' * 10 ** 5, '{"v":' * 10 ** 5, '{"v": %s}' % ('1' * 10 ** 6), '',
                                     '{"v": 1', 'v'])
def test_hostile_json_is_an_error(tmp_path, content):
    path = str(tmp_path / 'x.json')
    write(path, content)
    assert message_of(files.read_json, path).startswith('%s: not valid JSON: ' % path)


@pytest.mark.parametrize('row, message', [
    ('../v,training', "row 3: found the video id '../v'"), (',training', 'row 3'),
    ('"v\nw",training', 'row 4'), ('v,testing', 'row 3: found video v in subset testing'),
    ('\xa0,training', 'row 3')])
def test_a_faulty_info_row_is_named_or_skipped(tmp_path, row, message):
    path = str(tmp_path / 'info.csv')
    write(path, 'video,subset\nv,training\n%s\nw,training\n' % row)
    assert message in message_of(read_info, path, 'training')
    faults = []
    assert read_info(path, 'training', faults.append) == (['w'] if 'v,testing' == row else ['v', 'w'])
    assert len(faults) == 1


@pytest.mark.parametrize('subset', ['Training', ' training', 'training ', 'TRAINING\t', 'Validation'])
def test_a_subset_that_is_written_in_another_way_is_named_or_skipped(tmp_path, subset):
    path = str(tmp_path / 'info.csv')
    write(path, 'video,subset\nv,training\nw,%s\nx,testing\ny,train\n' % subset)  # other subsets may be there
    expected = 'found video w in subset %s, expected %s; correct the subset' % (
        ascii(subset), subset.strip().lower())
    assert message_of(read_info, path, 'training') == '%s, row 3: %s' % (path, expected)
    faults = []
    assert read_info(path, 'training', faults.append) == ['v'] and len(faults) == 1


def test_ids_that_pandas_takes_for_nothing_are_videos(tmp_path):
    path = str(tmp_path / 'info.csv')
    names = ['NA', 'null', 'nan', '007', '1e5', 'é 視頻', 'a b', "'q'"]
    write(path, 'video,subset\n\n' + ''.join('%s,training\n' % name for name in names + names) + '\n\n')
    assert read_info(path, 'training') == names


def test_tabs_for_spaces_and_faulty_label_rows(tmp_path):
    path = str(tmp_path / 'labels.txt')
    write(path, 'v\t10\t2\n\n  w 3 1 \nx 0 1_0\ny 0 600\nz 0 -1\nq 0 %s\nr 0 \u0661\n' % ('9' * 10000))
    faults = []
    assert read_labels(path, 3, faults.append) == {'v': 2, 'w': 1}
    assert [str(fault).split(':')[0].split('row ')[1] for fault in faults] == ['4', '5', '6', '7', '8']
    assert message_of(read_labels, path, 3).startswith("%s, row 4: found 'x 0 1_0'" % path)


@pytest.mark.parametrize('row', ['v 1 2 0', 'v\t1\t2', 'v\t2\t1\t0', 'v\t1\t1\t0', 'v\t-1\t1\t0', 'v\tnan\t1\t0',
                                 'v\t0\tinf\t0', 'v\t0\t1\t600', 'v\t0\t1\t-1', 'v\t0\t1\tx', 'v\t0\t1_0\t0',
                                 '../v\t0\t1\t0', 'v\t0\t1\t0.5'])
def test_a_faulty_annotation_row_is_named_or_skipped(tmp_path, row):
    path = str(tmp_path / 'annotation.txt')
    write(path, 'v\t0\t1\t0\r\n%s\r\na b\t0\t1.5\t2\r\n' % row)
    assert message_of(read_annotation, path, 3).startswith('%s, row 2: ' % path)
    assert [segment.video for segment in read_annotation(path, 3, lambda error: None)] == ['v', 'a b']


@pytest.mark.parametrize('segments, usable, first', [
    ([(8, 24), (0, 4)], 2, True), ([(5, 5), (0, 4)], 1, False), ([(9, 3)], 0, False), ([(-4, -1)], 0, False),
    ([(40, 50), (8, 24)], 1, False), ([(-4, 16)], 1, True), ([(16, 1e308)], 1, True), ([], 0, False)])
def test_segments_without_length_or_outside_are_counted(tmp_path, segments, usable, first):
    (found,), unusable = videos_of(tmp_path, segments)
    assert len(found.segments) == usable and sum(unusable.values()) == len(segments) - usable
    assert found.first_usable is first and ((0 <= found.segments) & (found.segments <= 1)).all()


@pytest.mark.parametrize('segment', [(float('nan'), 3), (0, float('nan')), (0, float('inf')), (float('-inf'), 3),
                                     ('0_1', 3), (True, 3), (0, 10 ** 400), (1e308, 1e308), 'ab', '04',
                                     {'a': 1, 'b': 2}, {'0': 1, '4': 2}, None])
def test_segments_that_are_no_numbers(tmp_path, segment):
    assert 'video v: ' in message_of(videos_of, tmp_path, [(0, 4), segment])
    faults = []
    assert videos_of(tmp_path, [(0, 4), segment], faults.append)[0] == [] and len(faults) == 1


@pytest.mark.parametrize('change', [{'duration_second': 5e-324}, {'duration_second': 1e308},
    {'duration_second': '32 s'}, {'duration_second': True}, {'duration_second': 10 ** 400},
    {'duration_frame': 10 ** 300}, {'feature_frame': 10 ** 300}, {'duration_frame': 0.5}])
def test_durations_that_cannot_be(tmp_path, change):
    assert 'video v: ' in message_of(lambda: videos_of(tmp_path, [(0, 4)], **change))


@pytest.mark.parametrize('key', ['annotation', 'anotations', 'Annotations', 'ANNOTATIONS', 'annotatoins',
                                 'annotations '])
def test_a_misspelt_key_is_an_error(tmp_path, key):
    path = str(tmp_path / 'annotation.json')
    entry = dict({key: [{'segment': [0, 4]}]}, **ENTRY)
    del entry['annotations']
    write(path, json.dumps({'v': entry, 'w': ENTRY}))
    message = '%s: video v: found the key %s, expected annotations; correct the key' % (path, key)
    faults, unusable = [], collections.Counter()
    assert message_of(read_videos, ['v'], path, {}, AnnotationRules(), unusable) == message
    videos = read_videos(['v', 'w'], path, {}, AnnotationRules(), unusable, faults.append)
    assert [video.name for video in videos] == ['w']
    assert [str(fault) for fault in faults] == [message]


@pytest.mark.parametrize('keys', [[], ['annotator'], ['annotation_version', 'labels', 'segments', 'a']])
def test_an_entry_without_segments_needs_no_annotations(tmp_path, keys):
    path = str(tmp_path / 'annotation.json')
    entry = dict({key: [] for key in keys}, **ENTRY)
    del entry['annotations']
    write(path, json.dumps({'v': entry, 'w': dict(ENTRY, annotation=[])}))  # w has both keys
    videos = read_videos(['v', 'w'], path, {}, AnnotationRules(), collections.Counter())
    assert [len(video.segments) for video in videos] == [0, 0]


def test_ids_of_every_system_are_taken(tmp_path):
    for name in ('aux', 'a:b', 'con', 'v.w', '-x', 'CON.txt'):
        check_video_id(name)


def test_rows_of_a_label_table_are_numbered(tmp_path):
    path = str(tmp_path / 'labels.txt')
    write(path, 'v 0 1\n\nw 0 x\nv 0 2\n')
    faults = []
    assert list(read_label_rows(path, 3, faults.append)) == [(1, 'v', 1), (4, 'v', 2)] and len(faults) == 1
    assert read_labels(path, 3, faults.append) == {'v': 1}


def test_a_message_is_one_line_whatever_it_quotes():
    assert str(InputError('a\nb\u2028c\x00\ud800é')) == 'a\\nb\\u2028c\\x00\\ud800é'
    assert 'found the video id \'\\x1b[2J\'' in message_of(check_video_id, '\x1b[2J')


# Row times

TIMED = {'duration_second': 20.0, 'rows': 18, 'row_seconds': 16 / 15, 'first_row_second': 8 / 15}


def timed_video(tmp_path, rules=AnnotationRules(), **change):
    path = str(tmp_path / 'timed.json')
    write(path, json.dumps({'v': {key: value for key, value in dict(TIMED, **change).items() if value is not None}}))
    unusable = collections.Counter()
    return read_videos(['v'], path, {}, rules, unusable)[0], unusable


def test_edges_are_shares_of_the_span_of_the_rows(tmp_path):
    # 18 rows of 16 frames at 15 fps, window 16: from 0 to 19.2 s; the last segment begins after it
    segments = [[4.8, 9.6], [9.6, 19.5], [19.3, 20]]
    video, unusable = timed_video(tmp_path, annotations=[{'segment': segment} for segment in segments])
    assert (video.clips, video.start, video.frames) == (18, 0.0, 0) and abs(video.span - 19.2) < 1e-9
    assert np.allclose(video.segments, [[0.25, 0.5], [0.5, 1]]) and unusable == {'outside their video': 1}


def test_a_span_starts_half_a_row_before_the_first_centre(tmp_path):
    # stride 4, window 16, 30 fps: rows 0 … 146 cover 0.2 to 19.8 s
    video, _ = timed_video(tmp_path, rows=147, row_seconds=4 / 30, first_row_second=8 / 30,
                           annotations=[{'segment': [4.0, 11.0]}, {'segment': [0, 0.3]}])
    assert abs(video.start - 0.2) < 1e-9 and abs(video.span - 19.6) < 1e-9
    assert np.allclose(video.segments, [[3.8 / 19.6, 10.8 / 19.6], [0, 0.1 / 19.6]])


def test_the_first_centre_is_half_a_row_unless_it_is_given(tmp_path):
    video, _ = timed_video(tmp_path, first_row_second=None)
    assert video.start == 0.0


def test_row_times_of_a_side_count_where_an_entry_has_none(tmp_path):
    rules = AnnotationRules(times=RowTimes(0.5, 0.75))
    video, _ = timed_video(tmp_path, rules, row_seconds=None, first_row_second=None, rows=40)
    assert (video.times, video.start, video.span) == (RowTimes(0.5, 0.75), 0.5, 20.0)
    assert timed_video(tmp_path, rules)[0].times == RowTimes(16 / 15, 8 / 15)
    published, _ = timed_video(tmp_path, rules, row_seconds=None, rows=None, duration_frame=320, feature_frame=320)
    assert (published.clips, published.span) == (40, 20.0)


def test_numbers_as_text_are_numbers(tmp_path):
    video, _ = timed_video(tmp_path, row_seconds='0.5', rows='40', duration_second='20', first_row_second='0.25',
                           annotations=[{'segment': ['5', '10.0']}])
    assert video.times == RowTimes(0.5, 0.25) and np.allclose(video.segments, [[0.25, 0.5]])


@pytest.mark.parametrize('change, message', [
    ({'row_seconds': 0}, 'found row_seconds 0 and'), ({'row_seconds': 'x'}, "found 'x'"),
    ({'rows': 0}, 'found 20 seconds and 0 rows, expected at least one row'),
    ({'rows': None}, "KeyError 'duration_frame'; expected numbers"),
    ({'first_row_second': -1}, 'first_row_second -1'),
    ({'file': 3}, 'found the file 3'), ({'file': '../x'}, "found the video id '..'"),
    ({'file': 'a//b'}, "found the video id ''")])
def test_faulty_row_times_and_files_are_refused(tmp_path, change, message):
    with pytest.raises(InputError) as caught:
        timed_video(tmp_path, **change)
    assert ': video v: ' in str(caught.value) and message in str(caught.value)


def test_features_have_the_name_of_their_file(tmp_path):
    assert timed_video(tmp_path)[0].features == 'v'
    assert timed_video(tmp_path, file='a/v_v')[0].features == 'a/v_v'


def test_each_segment_has_the_class_of_its_own_label(tmp_path):
    annotations = [{'segment': [1, 2], 'label': label} for label in ('b', 'x', 'a')]
    annotations += [{'segment': [1, 2]}, {'segment': [3, 3], 'label': 'a'}]
    rules = AnnotationRules(class_names=('a', 'b'))
    assert timed_video(tmp_path, rules, annotations=annotations)[0].segment_labels.tolist() == [1, -1, 0, -1]
    assert timed_video(tmp_path, annotations=annotations)[0].segment_labels.tolist() == [-1] * 4


def test_a_label_table_with_tabs_takes_ids_with_spaces(tmp_path):
    path = str(tmp_path / 'labels.txt')
    write(path, '001 my holiday\t3\t1\nv_x 7 2 more\n')
    assert read_labels(path, 3) == {'001 my holiday': 1, 'v_x': 2}


@pytest.mark.skipif(not os.path.isdir(REAL), reason='the real annotation is not beside the repository')
def test_real_tables_are_sound():
    names = read_info(os.path.join(REAL, 'video_info_new.csv'), 'training')
    unusable = collections.Counter()
    videos = read_videos(names, os.path.join(REAL, 'anet_anno_action.json'), {}, AnnotationRules(), unusable)
    assert len(videos) == len(names) > 9000 and all(video.clips > 0 for video in videos)
