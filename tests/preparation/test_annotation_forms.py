"""Annotation in every form that people have → the same list of videos, by hand; what is refused, with its place."""
import argparse
import json

import pytest
from data_sets import message_of

from preparation.annotation_forms import read_forms
from preparation.annotation_rows import Annotated
from preparation.subsets import assign, assign_searched, subsets_flag

A = Annotated('a', 'train', 20.0, 25.0, None, ((1.5, 4.0, 'run'), (6.0, 9.0, 'jump')))
B = Annotated('b', 'val', 30.0, 25.0, None, ((2.0, 3.0, 'run'),))


def write(folder, name, text):
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text), encoding='utf-8')
    return str(folder / name)


def videos_of(folder, *texts):
    return read_forms([write(folder, 'file%d' % number, text) for number, text in enumerate(texts)]).videos


def error_of(folder, *texts):
    return message_of(videos_of, folder, *texts)


def entry(*segments, **more):
    return dict(more, annotations=[{'segment': list(segment[:2]), 'label': segment[2]} for segment in segments])


# JSON

def test_activitynets_form_also_with_numbers_as_texts(tmp_path):
    database = {'a': entry((1.5, '4.0', 'run'), (6, 9, 'jump'), duration='20.0', subset='train', fps=25),
                'b': entry((2, 3, 'run'), duration=30, subset='val', fps=25.0, resolution='1x1')}
    assert videos_of(tmp_path, {'version': '1.3', 'database': database}) == [A, B]
    assert videos_of(tmp_path, database) == [A, B]
    assert read_forms([write(tmp_path, 'x.csv', {'database': database})]).text == (
        "ActivityNet's form (%s)" % (tmp_path / 'x.csv'))


def test_a_label_may_be_a_number_and_a_video_may_have_no_annotations(tmp_path):
    found = videos_of(tmp_path, {'database': {'a': entry((1, 2, 5)), 'b': {'subset': 'test'}, 'c': {
        'annotations': None}}})
    assert found == [Annotated('a', segments=((1.0, 2.0, '5'),)), Annotated('b', 'test'), Annotated('c')]


def test_bmns_pair_in_either_order(tmp_path):
    table = ('video,numFrame,seconds,fps,rfps,subset,featureFrame\n'
             'a,500,20.0,30,25,train,496\nb,750,30.0,30,25,val,744\n')
    entries = {'a': entry((1.5, 4, 'run'), (6, 9, 'jump'), duration_second=20.001, duration_frame=500),
               'b': entry((2, 3, 'run'), duration_second=30, duration_frame=750)}
    expected = [A._replace(frames=500.0), B._replace(frames=750.0)]
    assert videos_of(tmp_path, table, entries) == expected
    assert videos_of(tmp_path, entries, table) == expected
    assert 'no segments and no classes' in error_of(tmp_path, table)


def test_a_nominal_rate_gives_way_to_frames_a_second(tmp_path):
    # 418 frames in 14.07 s are 29.7 a second; 500 in 20 s are 25 but for rounding
    found = videos_of(tmp_path, {'a': entry(duration_second=14.07, duration_frame=418, fps=30),
                                 'b': entry(duration_second=20.0, duration_frame=501, fps=25)})
    assert [video.fps for video in found] == [418 / 14.07, 25.0]


def test_kinetics_json_has_one_annotation_a_video(tmp_path):
    assert videos_of(tmp_path, {'xyz': {'annotations': {'label': 'yoga', 'segment': [12.0, 22.0]}, 'duration': 10.0,
                                        'subset': 'train', 'url': 'u'}}) == [
        Annotated('xyz_000012_000022', 'train', 10.0, clip_label='yoga', clip_of='xyz')]
    assert videos_of(tmp_path, {'xyz': {'annotations': {'segment': [0, 10]}, 'subset': 'test'}}) == [
        Annotated('xyz_000000_000010', 'test', 10.0, clip_of='xyz')]


@pytest.mark.parametrize('content, message', [
    ('{"database": {}} // old', 'not valid JSON'),
    ({'results': {'a': []}}, 'found results of a network'),
    ({'database': {}}, 'found no object for each video'),
    ([1], 'found no object for each video'),
    ({'database': {'a': {'annotation': []}}}, 'no video with the key annotations (video a has annotation)'),
    ({'database': {'a': entry(('x', 3, 'run'))}}, "video a: annotation 1: segment: found 'x', expected a finite"),
    ({'database': {'a': entry((1, float('nan'), 'run'))}}, 'video a: annotation 1: segment: found nan'),
    ({'database': {'a': entry((1, 2, ''))}}, 'video a: annotation 1: found'),
    ({'database': {'a': entry((1, 2, 'run'), duration=-3)}}, 'video a: duration: found -3, expected more than 0'),
    ({'database': {'a': {'annotations': 5}}}, 'video a: annotations: found 5, expected a list'),
    ({'database': {'a/b': entry((1, 2, 'run'))}}, 'found the video id'),
    ({'database': {'a': entry((True, 2, 'run'))}}, 'found True'),
    ('{"a": {"annotations": []}, "a": {"annotations": []}}', 'found the key a twice'),
    ('  ', 'found an empty file')])
def test_faulty_json_is_named_with_its_place(tmp_path, content, message):
    assert message in error_of(tmp_path, content)


# Tables

@pytest.mark.parametrize('text', [
    'video,start,end,label,subset,duration,fps\na,1.5,4,run,train,20,25\nb,2,3,run,val,30,25\na,6,9,jump,train,20,25\n',
    'video-id,t-start,t-end,class,split,video_duration,fps\n"a","1.5","4.0","run",train,20,25\n'
    '"a","6","9","jump",train,20,25\n"b","2.0","3",run,val,30,25\n',
    'Name\tstartTime\tendTime\tAction\tSet\tSeconds\tFPS\na\t1.5\t4\trun\ttrain\t20\t25\n'
    'a\t6\t9\tjump\ttrain\t20\t25\nb\t2\t3\trun\tval\t30\t25\n',
    '\ufefffile;start;end;label;subset;duration;fps\r\nclips/a.mp4;1,5;4,0;run;train;20;25\r\n'
    'clips/a.mp4;6;9;jump;train;20;25\r\nb.mp4;2;3;run;val;30;25\r\n',
    ',id,start_time,end_time,activity,subset,duration,fps\n0,a,0:01.5,0:04,run,train,0:20,25\n'
    '1,a,6,9,jump,train,20,25\n\n2,b,00:00:02,3,run,val,30,25\n'])
def test_a_table_with_a_segment_a_row(tmp_path, text):
    assert videos_of(tmp_path, text) == [A, B]


def test_durations_of_segments_are_not_those_of_videos(tmp_path):
    found = videos_of(tmp_path, 'video,start,end,duration,label\na,1.5,4,2.5,run\nb,2,3,1,run\n')
    assert [video.seconds for video in found] == [None, None]


def test_a_row_without_segment_is_a_video_to_be_searched(tmp_path):
    assert videos_of(tmp_path, 'video,start,end,label\na,1,2,run\nb,,,\n')[1] == Annotated('b')


def test_rows_without_a_header(tmp_path):
    assert videos_of(tmp_path, 'a\t1.5\t4\t0\nb\t2\t3\t1\na\t6\t9\t1\n') == [
        Annotated('a', segments=((1.5, 4.0, '0'), (6.0, 9.0, '1'))), Annotated('b', segments=((2.0, 3.0, '1'),))]


def test_a_kinetics_list(tmp_path):
    found = videos_of(tmp_path, 'label,youtube_id,time_start,time_end,split\n"clay, wet",-xy,12,22,train\n'
                                'yoga,-xy,100,110,train\n,pqr,0,10,test\n')
    assert found == [Annotated('-xy_000012_000022', 'train', 10.0, clip_label='clay, wet', clip_of='-xy'),
                     Annotated('-xy_000100_000110', 'train', 10.0, clip_label='yoga', clip_of='-xy'),
                     Annotated('pqr_000000_000010', 'test', 10.0, clip_of='pqr')]


def test_a_list_of_trimmed_clips_without_times(tmp_path):
    assert videos_of(tmp_path, 'video,label\na.avi,run\nb.avi,jump\n') == [
        Annotated('a', clip_label='run'), Annotated('b', clip_label='jump')]


def test_hacs_clips_that_show_no_action_are_left_out(tmp_path):
    form = read_forms([write(tmp_path, 'f', 'classname,youtube_id,subset,start,end,label\nrun,xy,training,1.0,3.0,1\n'
                                            'run,xy,training,5.0,7.0,-1\n')])
    assert [video.clip_label for video in form.videos] == ['run'] and form.negatives == 1


def test_two_lists_are_one_annotation(tmp_path):
    head = 'label,youtube_id,time_start,time_end,split\n'
    found = videos_of(tmp_path, head + 'yoga,a,0,10,train\n', head + 'yoga,b,0,10,val\n')
    assert [video.subset for video in found] == ['train', 'val']
    assert 'which another file of the annotation has too' in error_of(
        tmp_path, head + 'yoga,a,0,10,train\n', head + 'yoga,a,0,10,val\n')


@pytest.mark.parametrize('text, message', [
    ('video,start,end,label\na,1,x,run\n', "row 2: end: found 'x', expected a number"),
    ('video,start,end,label\na,1,nan,run\n', "row 2: end: found 'nan', expected a finite number"),
    ('video,start,end,label\na,1,2\n', 'row 2: found 3 cells, expected the 4'),
    ('video,start,end,label\na,1,2,run,more\n', 'row 2: found 5 cells, expected the 4'),
    ('video,start,end,label\n,1,2,run\n', 'row 2: found no video'),
    ('video,start,end,label\na,1,2,\n', 'row 2: found a segment from 1.0 to 2.0 of class None'),
    ('video,start,end,label\na,1,,run\n', 'row 2: found a segment from 1.0 to None'),
    ('video,start,end,label,duration\na,1,2,run,5\na,3,4,run,6\n', 'row 3'),
    ('video,start,end,label,subset\na,1,2,run,train\na,3,4,run,val\n', 'the subset train and val, expected one'),
    ('video,start,label\na,1,run\n', 'start of segments alone'),
    ('video,start,end\na,1,2\n', 'no column of the class'),
    ('video,start_frame,end_frame,label\na,1,2,run\n', 'found the column start_frame, expected columns start and'),
    ('video,start,end,label\n', 'a header row alone'),
    ('a,b,c,d\n1,2,3,4\n', 'row 1: found'),
    ('one column\na\n', 'row 1: found'),
    ('a\t1\t2\t0\nb\t1\t0\n', 'row 2: found 3 cells, expected 4'),
    ('video,label\na,run\na,jump\n', 'row 3: found the clip a a second time'),
    ('label,youtube_id,time_start,time_end\nyoga,a,0,10\nrun,a,0,10\n', 'row 3: found the clip a_000000_000010'),
    ('video,start,end,label\n"a,1,2,run\n', 'not a table')])
def test_a_faulty_table_is_named_with_its_row(tmp_path, text, message):
    assert message in error_of(tmp_path, text)


# Subsets

def some(*names):
    return [Annotated('video%d' % number, name, segments=((0, 1, 'run'),)) for number, name in enumerate(names)]


def subsets_of(videos, side='source', given=None):
    return [video.subset for video in assign(videos, side, given and subsets_flag(given), 'file')[1]]


def test_usual_names_of_subsets_map_by_themselves():
    assert subsets_of(some('Training', 'Val', 'TEST')) == ['training', 'validation', 'testing']
    assert subsets_of(some('train', 'validate', 'testing')) == ['training', 'validation', 'testing']


def test_named_subsets():
    assert subsets_of(some('Validation', 'Test'), given='training=Validation,validation=Test') == [
        'training', 'validation']
    assert subsets_of(some('train', 'val', 'test'), given='training=train+VAL') == ['training', 'training', 'testing']


def test_other_subsets_are_left_out_and_counted():
    subsets, videos, left_out = assign(some('train', 'extra', 'extra', None), 'source', None, 'file')
    assert (subsets, len(videos), left_out) == (
        {'training': ['train']}, 1, {'videos of subset extra': 2, 'videos of subset none': 1})


def test_without_subsets_a_target_searches_what_has_no_class():
    videos = some(None) + [Annotated('x'), Annotated('clip', clip_label='run')]
    assert subsets_of(videos, 'target') == ['training', 'validation', 'training']
    assert subsets_of(videos, 'source') == ['training', 'training', 'training']


@pytest.mark.parametrize('names, given, message', [
    (['Validation', 'Test', 'Test'], None, 'found no subset for training; the subsets there are Test (2 videos), '
     'Validation (1 video); say what they are, such as --subsets training=Validation,validation=Test'),
    (['train', 'Training'], None, 'found Training and train, which could all be training'),
    (['train', 'val'], 'training=trian', 'found no subset trian; the subsets there are'),
    (['train', 'val'], 'training=train,validation=train', 'found subset train twice'),
    (['a', 'b'], 'validation=a', 'found no subset for training')])
def test_subsets_that_do_not_fit_are_listed(names, given, message):
    assert message in message_of(subsets_of, some(*names), 'source', given)


def test_a_target_may_have_videos_to_be_searched_alone():
    assert subsets_of(some('Validation'), 'target', 'validation=Validation') == ['validation']


def test_the_annotation_of_videos_to_be_searched_needs_no_subset_names():
    def found(*names, **given):
        return [video.subset for video in assign_searched(some(*names), given or None, 'file')[1]]

    assert found(None) == found('Test') == ['validation']
    assert found('train', 'val', 'test') == ['validation', 'testing']
    assert found('one', 'two', validation=['two']) == ['validation']


@pytest.mark.parametrize('text', ['train', 'train=a', 'training=', 'training=a+', 'training=a,training=b', ''])
def test_faulty_subsets_flags_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        subsets_flag(text)


@pytest.mark.parametrize('text', ['-0:05', '1.5:05', '2:70', '1:02:99', '1e308', '3:'])
def test_times_that_cannot_be_are_refused(tmp_path, text):
    (tmp_path / 'a.csv').write_text('video,start,end,label\na,%s,9,run\n' % text)
    assert 'row 2: start: found %r, expected a' % text in message_of(read_forms, [str(tmp_path / 'a.csv')])


def test_times_of_clocks(tmp_path):
    (tmp_path / 'a.csv').write_text('video,start,end,label\na,1:05.5,1:02:03,run\n')
    assert read_forms([str(tmp_path / 'a.csv')]).videos[0].segments == ((65.5, 3723.0, 'run'),)


def test_videos_of_the_same_file_name_in_two_folders_are_refused(tmp_path):
    (tmp_path / 'a.csv').write_text('video,start,end,label\ncam1/001.mp4,1,2,run\ncam1/001.mp4,3,4,run\n'
                                    'cam2/001.mp4,1,2,run\n')
    assert 'row 4: found cam1/001.mp4 and cam2/001.mp4, which would both be video 001' in message_of(
        read_forms, [str(tmp_path / 'a.csv')])


@pytest.mark.parametrize('seconds, stated', [((10, 8), None), ((9.96, 8.02), None), ((60, 60), 60.0)])
def test_lengths_of_segments_are_no_durations(tmp_path, seconds, stated):
    (tmp_path / 'a.csv').write_text('video,start,end,label,duration\na,1,10.98,run,%s\na,20,28.02,run,%s\n' % seconds)
    assert read_forms([str(tmp_path / 'a.csv')]).videos[0].seconds == stated
