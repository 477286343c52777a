"""Names of features are matched to ids, and the layout of features is found, by hand."""
import numpy as np
import pytest
from data_sets import message_of

from dataset.features import FeatureStore
from preparation.annotation_rows import Annotated, kinetics_clip
from preparation.feature_match import PREFIX, RANGE, SAME, match
from preparation.feature_survey import Layout, Shapes, find_layout, read_shapes, rows_of


def matched(ids, names):
    videos = [Annotated(name) if isinstance(name, str) else name for name in ids]
    return match(videos, names, 'place')


@pytest.mark.parametrize('video, name, how', [
    ('a', 'a', SAME), ('a', 'v_a', PREFIX), ('v_a', 'a', PREFIX), ('v_a', 'v_a', SAME), ('a', 'a.mp4', PREFIX),
    ('a', 'yoga/a', SAME), ('v_a', 'yoga/a', PREFIX), ('a', 'a_000012_000022', RANGE),
    ('a', 'v_a_000012_000022', RANGE), ('a_000012_000022', 'a', RANGE), ('a_000012_000022', 'a_12_22', RANGE),
    ('a_000012_000022', 'a_12.0_22.0', RANGE), ('-a_b_', 'v_-a_b_', PREFIX), ('take_1_2', 'v_take_1_2', PREFIX)])
def test_what_may_differ(video, name, how):
    found = matched([video], ['other', name])
    assert found.names == {video: name} and found.unused == ['other'] and found.missing == []
    assert {kind: count for kind, count in found.how.items() if count} == {how: 1}


def test_an_equal_name_belongs_to_its_id_alone():
    assert matched(['a', 'v_a'], ['a', 'v_a']).names == {'a': 'a', 'v_a': 'v_a'}
    found = matched(['a', 'v_a'], ['v_a'])
    assert found.names == {'v_a': 'v_a'} and found.missing == ['a']


def test_two_clips_of_a_video_need_their_time_ranges():
    found = matched(['a_000000_000010', 'a_000050_000060', 'b'], ['a', 'a_50_60', 'b'])
    assert found.names == {'a_000050_000060': 'a_50_60', 'b': 'b'} and found.missing == ['a_000000_000010']


@pytest.mark.parametrize('video, names', [
    ('a', ['a', 'v_a']), ('a', ['v_a', 'x/a']), ('a', ['x/a', 'y/a']), ('a', ['a_0_10', 'a_10_20'])])
def test_two_features_of_a_video_are_refused(video, names):
    message = message_of(matched, [video], names)
    assert all(name in message for name in names) and 'video %s' % video in message


def test_of_two_features_the_one_in_the_folder_of_the_class_counts():
    video = kinetics_clip('a', 0, 10, clip_label='Clay_pottery')
    names = ['clay pottery/a_000000_000010', 'yoga/a_000000_000010']
    assert matched([video], names).names == {'a_000000_000010': names[0]}


def test_none_that_matches_is_an_error_with_an_example_of_each():
    message = message_of(matched, ['video1', 'video2'], ['clip1', 'clip2'])
    assert ('place: found no features of any video of the annotation (2 videos); a video there is video1, features '
            'here are clip1') in message
    assert 'found no features, expected' in message_of(matched, ['video1'], [])


# Layout

def shapes(*pairs, path='place'):
    return Shapes(path, '', {'n%d' % number: pair for number, pair in enumerate(pairs)})


def found_layout(*pairs, given=None, expected=None, known=0):
    return find_layout([shapes(*pairs)], given, expected or {}, known)[:2]


def test_the_axis_that_varies_is_time():
    assert found_layout((5, 8), (6, 8), (7, 8)) == ('tc', 8)
    assert found_layout((8, 5), (8, 6), (8, 7)) == ('ct', 8)
    assert found_layout((8, 8), (8, 6), (8, 7)) == ('ct', 8)
    assert found_layout((5, 8), (6, 8), (7, 8), given='ct')[0] == 'ct'


def test_equal_lengths_are_decided_by_durations_then_by_the_other_side():
    assert found_layout((100, 12), expected={'n0': 104}) == ('tc', 12)
    assert found_layout((100, 12), expected={'n0': 13}) == ('ct', 100)
    assert found_layout((100, 12), (100, 12), known=100) == ('ct', 100)
    assert find_layout([shapes((9, 12), (9, 12)), shapes((20, 12), (31, 12), (33, 12))], None, {}, 0).layout == 'tc'


def test_where_nothing_decides_the_user_is_asked():
    assert 'give --layout tc (time first) or --layout ct' in message_of(lambda: found_layout((12, 12), (12, 12)))


def test_equal_shapes_may_be_taken_to_have_a_row_for_each_clip():
    def found(*pairs, expected=None, known=0):
        return find_layout([shapes(*pairs)], None, expected or {}, known)

    assert found((9, 12), (9, 12)) == Layout('tc', 12, 'assumed', True)
    assert found(*[(9, 400)] * 99 + [(9, 2048)]) == Layout('tc', 400, 'assumed', True)  # one broken file
    assert found((9, 12), (9, 12), known=9) == Layout('ct', 9, 'the width of the other side fits')
    for pairs, more in ([(12, 12)], {}), ([(9, 12)], {'known': 7}), ([(9, 12)], {'expected': {'n0': 50}}):
        assert 'give --layout' in message_of(lambda: found(*pairs, **more))


def test_features_of_another_width_are_named():
    stored = shapes(*[(rows, 8) for rows in range(5, 25)] + [(5, 9)])
    assert rows_of(shapes((5, 8), (6, 8)), Layout('tc', 8, '')) == {'n0': 5, 'n1': 6}
    message = message_of(rows_of, stored, Layout('tc', 8, ''))
    assert 'found 1 of 21 features with another width than 8 (layout tc): n20 [5, 9]' in message


def test_one_row_of_extra_axes_fits_both_layouts(tmp_path):
    for name, shape in (('a', (1, 8, 5)), ('b', (1, 8, 3)), ('c', (1, 8, 1))):
        np.save(str(tmp_path / name), np.zeros(shape))
    stored = read_shapes(str(tmp_path), ['a', 'b', 'c'], '')
    assert rows_of(stored, Layout('ct', 8, '')) == {'a': 5, 'b': 3, 'c': 1}
    assert FeatureStore(str(tmp_path), 8, layout='ct').read('c').shape == (1, 8)


def test_features_that_cannot_be_read_are_counted(tmp_path):
    np.save(str(tmp_path / 'a'), np.zeros((3, 4)))
    for name in 'bc':
        (tmp_path / (name + '.npy')).write_bytes(b'no array')
    message = message_of(read_shapes, str(tmp_path), ['a', 'b', 'c'], '')
    assert 'b.npy' in message and '(2 of 3 features cannot be read); videos whose' in message
