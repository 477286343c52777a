"""What is written of detections: names of files, subtitles, and the picture's parts."""
import pytest

from localization.files import file_names, write_subtitles
from localization.pictures import colours_of, draw_video


def test_names_of_files_are_plain_and_differ():
    assert file_names(['v_a-1', 'a/b', 'a b', 'A_b', '..', 'é.x']) == {
        'v_a-1': 'v_a-1', 'a/b': 'a_b', 'a b': 'a_b_2', 'A_b': 'A_b_3', '..': 'video', 'é.x': 'é.x'}
    assert file_names(['x' * 300]) == {'x' * 300: 'x' * 100}


def test_subtitles_show_the_best_of_overlapping_actions(tmp_path):
    write_subtitles(str(tmp_path / 'v.vtt'), [
        {'segment': [3661.0005, 3662.5], 'label': 'a <b> & c', 'score': 0.4},
        {'segment': [1.0, 2.0], 'label': 'run', 'score': 0.3},
        {'segment': [1.5, 4.0], 'label': 'run', 'score': 0.2},      # overlaps a better one of its label
        {'segment': [1.5, 3.0], 'label': 'jump', 'score': 0.1},     # of another label
        {'segment': [2.0, 2.5], 'label': 'run', 'score': 0.05}])    # only touches it
    assert (tmp_path / 'v.vtt').read_text(encoding='utf-8') == (
        'WEBVTT\n\n'
        '00:00:01.000 --> 00:00:02.000\nrun (0.30)\n\n'
        '00:00:01.500 --> 00:00:03.000\njump (0.10)\n\n'
        '00:00:02.000 --> 00:00:02.500\nrun (0.05)\n\n'
        '01:01:01.000 --> 01:01:02.500\na &lt;b&gt; &amp; c (0.40)\n')


def test_a_picture_has_a_bar_for_each_segment_and_detection():
    detections = [{'segment': [1.0, 4.0], 'label': 'run', 'score': 0.5},
                  {'segment': [6.0, 7.0], 'label': 'jump $x$', 'score': 0.25}]
    figure = draw_video('v', 10.0, detections, ([0, 5, 10], [0.2, 0.7]), [(1.0, 3.0, 'run'), (8.0, 9.0, 'run')])
    bars = [(bar.get_x(), bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in figure.axes[0].patches]
    assert bars == [pytest.approx(bar) for bar in [(1, 2, 0), (8, 1, 0), (1, 3, 1), (6, 1, 2)]]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ['truth: run', '0.50  run', '0.25  jump \\$x\\$']
    assert figure.axes[0].get_title() == 'v: best 2 of 2 detections' and figure.axes[0].get_xlim() == (0, 10)
    best, second = figure.axes[0].patches[2:]
    assert best.get_alpha() == 1.0 and second.get_alpha() == 0.625  # shade by score
    assert best.get_facecolor()[:3] == figure.axes[0].patches[0].get_facecolor()[:3]  # colour by class


def test_a_picture_of_nothing():
    figure = draw_video('v', 10.0, [], ([0, 10], [0.1]))
    assert [text.get_text() for text in figure.axes[0].texts] == ['nothing found']
    figure = draw_video('v', 10.0, [], ([0, 10], [0.1]), [])
    assert [text.get_text() for text in figure.axes[0].texts] == ['truth: none', 'nothing found']


def test_frequent_labels_have_the_first_colours():
    colours = colours_of(['b', 'a', 'b', 'c'])
    assert list(colours) == ['b', 'a', 'c'] and len(set(colours.values())) == 3
