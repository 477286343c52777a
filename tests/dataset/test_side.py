"""side.py: the tables of one side as the settings say that they are read."""
import collections
import json
import os

import pytest
from data_sets import make, message_of, report_of, video, write

from config import override
from dataset import data_root
from dataset.bad_data import BadData
from dataset.side import annotation_rules, coverage_warnings, read_side
from dataset.tables import RowTimes


def read(config, side='target', subset='training'):
    unusable = collections.Counter()
    return read_side(config, side, subset, BadData('', False), unusable), {
        reason: count for reason, count in unusable.items() if count}


@pytest.fixture
def config(tmp_path):
    target = {'t': video((8, 24), (1, 4), (5, 6), labels=['nodding', 'no class', 'waving']),
              'u': video((1, 2), label=1, labels=['unknown']), 'v': video((1, 2), subset='validation', label=1),
              'w': video((1, 2), subset='testing')}
    return make(tmp_path, target=target)


def test_row_times_of_a_side_come_from_its_settings(config):
    data = config.data
    assert annotation_rules(data, 'source').times is None
    data = data._replace(source_row_seconds=0.5, target_row_seconds=1.0, target_first_row_second=0.7)
    assert annotation_rules(data, 'source').times == RowTimes(0.5, 0.25)
    assert annotation_rules(data, 'target').times == RowTimes(1.0, 0.7)
    assert annotation_rules(data, 'target', ['a', 'b']).class_names == ('a', 'b')


def test_segments_have_the_label_of_their_video(config):
    videos, unusable = read(config)
    assert [(found.name, found.label, len(found.segments)) for found in videos] == [('t', 0, 3), ('u', 1, 1)]
    assert unusable == {}


def test_segments_have_their_own_labels(config):
    videos, unusable = read(override(config, labels='segment'))
    assert [(found.label, found.segment_labels.tolist(), found.segments.tolist()) for found in videos] == [
        (0, [1, 0], [[0.25, 0.75], [5 / 32, 6 / 32]]), (1, [], [])]
    assert [found.first_usable for found in videos] == [True, False]
    assert unusable == {'of a class without a name': 2}


def test_labels_of_segments_need_no_label_table(config):
    os.remove(config.data.path('target_labels'))
    videos, _ = read(override(config, labels='segment'))
    assert [found.label for found in videos] == [1, -1]  # of the first segment; u has none
    assert message_of(read, config) == '%s: No such file or directory' % config.data.path('target_labels')
    write(config.data.path('target_labels'), 't 0 0\n')  # a table that has some
    assert [found.label for found in read(override(config, labels='segment'))[0]] == [0, -1]


def test_labels_of_segments_need_class_names(config):
    os.remove(config.data.path('target_categories'))
    path = config.data.path('target_categories')
    assert read(config)[1] == {}
    assert message_of(read, override(config, labels='segment')) == '%s: No such file or directory' % path


@pytest.mark.parametrize('subset, name', [('validation', 'v'), ('testing', 'w')])
def test_other_subsets(config, subset, name):
    assert [found.name for found in read(config, subset=subset)[0]] == [name]


def test_coverage_says_what_the_data_root_says(config):
    videos = read(override(config, target_row_seconds=0.25))[0]
    path = config.data.path('target_annotation')
    assert message_of(coverage_warnings, config.data, 'target', videos).startswith(
        "%s: features cover 0.50 of the videos' duration (median of 2 videos), expected 1: a stride of 8 at 16 fps"
        % path)
    data_root.write(config.data.data_root, {'settings': {}, 'target': {'stride': 4, 'fps': 16}})
    assert ': a stride of 4 at 16 fps was given; ' in message_of(coverage_warnings, config.data, 'target', videos)
    data_root.write(config.data.data_root, {'settings': {}, 'target': {'stride': 4, 'fps': None}})
    assert ": a stride of 4 at each video's own fps was given; " in message_of(
        coverage_warnings, config.data, 'target', videos)
    assert coverage_warnings(config.data, 'target', read(config)[0]) == []


def test_a_report_is_made_of_the_tables(config):
    report = report_of(override(config, labels='segment'), 'target', missing=['u'])
    assert report.lines[0] == ('target training: 2 videos (1 without features), 2 segments of 2 classes; unusable '
                               'segments: 2 of a class without a name')
    assert report_of(config, 'target', 'validation').lines[0] == (
        'target validation: 1 video, 1 segment of 1 class; unusable segments: none')


def test_files_and_times_of_entries(config):
    path = config.data.path('target_annotation')
    with open(path) as file:
        entries = json.load(file)
    entries['t'].update(rows=30, row_seconds=1.0, first_row_second=1.5, file='yoga/t1')
    write(path, json.dumps(entries))
    found = read(config)[0][0]
    assert (found.features, found.clips, found.start, found.span) == ('yoga/t1', 30, 1.0, 30.0)
    assert found.segments[0].tolist() == [(8 - 1) / 30, (24 - 1) / 30]
