"""data.json: written and read again; damaged ones are refused."""
import json

import pytest
from data_sets import message_of, write

from dataset import data_root


def test_what_is_written_is_read(tmp_path):
    content = {'settings': {'feature_width': 12}, 'source': {'stride': 16}, 'target': {}}
    data_root.write(str(tmp_path), content)
    assert data_root.read(str(tmp_path)) == content


def test_parts_that_are_absent_are_empty(tmp_path):
    empty = {'settings': {}, 'source': {}, 'target': {}}
    assert data_root.read(str(tmp_path)) == empty
    write(str(tmp_path / data_root.NAME), json.dumps({'settings': {'labels': 'segment'}}))
    assert data_root.read(str(tmp_path)) == dict(empty, settings={'labels': 'segment'})


def test_a_side_that_is_not_imported_is_named(tmp_path):
    folder = str(tmp_path)
    assert data_root.why_missing(folder, ['target_info', 'target_features']) == ''
    data_root.write(folder, {'settings': {}, 'source': {'stride': 16}, 'target': {}})
    assert data_root.why_missing(folder, ['source_info']) == ''
    assert data_root.why_missing(folder, ['source_info', 'target_info']) == (
        '%s/data.json has no target side yet; import it: python3 prepare_data.py import --side target --data_root '
        '%s …' % (folder, folder))
    data_root.write(folder, {'settings': {}, 'source': {}, 'target': {'stride': 16}})
    assert 'has no target videos to be searched' in data_root.why_missing(folder, ['target_features'])
    data_root.write(folder, {'settings': {'target_features': 'f'}, 'source': {}, 'target': {'stride': 16}})
    assert data_root.why_missing(folder, ['target_features']) == ''


@pytest.mark.parametrize('text', ['[]', '{"settings": []}', '{"source": 3}', '1'])
def test_another_form_is_refused(tmp_path, text):
    write(str(tmp_path / data_root.NAME), text)
    assert 'expected an object of objects settings, source, target; import the data again' in message_of(
        data_root.read, str(tmp_path))


def test_a_damaged_file_is_refused(tmp_path):
    write(str(tmp_path / data_root.NAME), '{"settings": {')
    assert 'not valid JSON' in message_of(data_root.read, str(tmp_path))
