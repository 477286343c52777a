"""trained_on.py: what a snapshot keeps of its tables, and that each change of them is named with its file."""
import json

import numpy as np
import pytest
from data_sets import make, write

from dataset import trained_on
from dataset.tables import RowTimes, Video

NAMES = 'waving\nnodding\nbowing\n'


@pytest.fixture
def data(tmp_path):
    data = make(tmp_path).data
    write(data.path('source_categories'), NAMES)
    return data


def videos(count=5, **changes):
    """Training videos; changes: a function of (number, value) for each field that is another."""
    found = []
    for number in range(count):
        found.append(Video('v%d' % number, number % 3, 32.0, 512, 64, np.array([[0.25, 0.75], [0.5, 1]]), True))
        found[-1] = found[-1]._replace(**{
            field: change(number, getattr(found[-1], field)) for field, change in changes.items()})
    return found


def differences(data, saved, **sides):
    """As after the record has been written to a JSON file and read again."""
    saved = json.loads(json.dumps(saved))
    return trained_on.differences(saved, trained_on.describe(data, **sides), data)


def test_equal_data_do_not_differ(data):
    saved = trained_on.describe(data, source=videos(), target=videos(4))
    assert differences(data, saved, source=videos(), target=videos(4)) == []
    assert differences(data, saved, target=videos(4)) == []  # a test knows nothing of the source
    assert differences(data, saved, target=None) == []
    assert saved['source']['class_names'] == NAMES.split()


def test_a_snapshot_without_a_record_does_not_differ(data):
    assert differences(data, None, source=videos(), target=videos()) == []
    assert differences(data, {}, source=videos(), target=videos()) == []
    assert differences(data, {'source': {}}, source=videos(), target=videos()) == []


@pytest.mark.parametrize('side', ['source', 'target'])
@pytest.mark.parametrize('part, table, changes', [
    ('labels', 'labels', {'label': lambda number, label: (label + 1) % 3}),
    ('labels', 'labels', {'label': lambda number, label: label + (number == 4)}),
    ('segments', 'annotation', {'segments': lambda number, segments: segments / 2}),
    ('segments', 'annotation', {'segments': lambda number, segments: segments[:1 + (number != 2)]}),
    ('durations', 'annotation', {'seconds': lambda number, seconds: seconds + 1}),
    ('durations', 'annotation', {'clips': lambda number, clips: clips - (number == 0)}),
    ('names', 'info', {'name': lambda number, name: 'w' if number == 3 else name})])
def test_each_change_of_a_table_is_named_with_its_file(data, side, part, table, changes):
    saved = trained_on.describe(data, source=videos(), target=videos())
    sides = dict({'source': videos(), 'target': videos()}, **{side: videos(**changes)})
    assert differences(data, saved, **sides) == ['5 %s videos with other %s (this run: 5; %s)' % (
        side, part, data.path('%s_%s' % (side, table)))]


def test_parts_that_only_some_data_have(data):
    own = {'segment_labels': lambda number, _: np.array([0, 1])}
    timed = {'times': lambda number, _: RowTimes(0.5, 0.25 + number)}
    plain = trained_on.describe(data, source=videos())
    assert set(plain['source']) == {'class_names', 'videos', 'names', 'order', 'labels', 'segments', 'durations'}
    by_segment, path = data._replace(labels='segment'), data.path('source_annotation')
    saved = trained_on.describe(by_segment, source=videos(**own))
    assert differences(by_segment, saved, source=videos(**own)) == []
    assert differences(by_segment, plain, source=videos(**own)) == []  # a snapshot of an earlier version
    changed = videos(segment_labels=lambda number, _: np.array([0, number == 3]))
    assert differences(by_segment, saved, source=changed) == [
        '5 source videos with other segment labels (this run: 5; %s)' % path]
    saved = trained_on.describe(data, source=videos(**timed))
    assert differences(data, saved, source=videos(**timed)) == []
    assert differences(data, saved, source=videos(times=lambda number, _: RowTimes(0.6, 0.25 + number))) == [
        '5 source videos with other row times (this run: 5; %s)' % path]


def test_dropped_videos_count_in_training_only(data):
    found = videos()
    everything = trained_on.describe(data, {'source': found}, source=found)
    some, others = [trained_on.describe(data, {'source': left}, source=found) for left in (found[1:], found[:4])]
    assert everything == trained_on.describe(data, source=found)
    for saved, mine in ((everything, some), (some, everything), (some, others)):
        assert trained_on.differences(saved, mine, data) == [
            '5 source videos, of which --missing drop left out others']
    assert trained_on.differences(some, some, data) == []
    assert trained_on.differences(some, everything, data, ordered=False) == []  # a test does not look for them


def test_another_number_or_order_of_videos_is_named(data):
    saved = trained_on.describe(data, source=videos())
    (text,) = differences(data, saved, source=videos(4))
    assert text.startswith('5 source videos with other names (this run: 4; ')
    assert data.path('source_info') in text
    (text,) = differences(data, saved, source=videos()[::-1])
    assert text == '5 source videos with other order (this run: 5; %s)' % data.path('source_info')
    assert trained_on.differences(saved, trained_on.describe(data, source=videos()[::-1]), data, ordered=False) == []


@pytest.mark.parametrize('names, text', [
    ('waving\nbowing\nnodding\n', 'line 2 is nodding (this run: bowing'),
    ('waving\nnodding\nsitting\n', 'line 3 is bowing (this run: sitting'),
    ('waving\nnodding\n', '3 names (this run: 2'), (NAMES + 'sitting\n', '3 names (this run: 4')])
@pytest.mark.parametrize('side', ['source', 'target'])
def test_other_class_names_are_named(data, side, names, text):
    path = data.path(side + '_categories')
    write(path, NAMES)
    saved = trained_on.describe(data, **{side: videos()})
    write(path, names)
    for found in (videos(), None):
        assert differences(data, saved, **{side: found}) == ['other %s class names: %s in %s)' % (side, text, path)]
