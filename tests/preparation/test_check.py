"""prepare_data.py check: every defect is listed and counted, by kind; a sound data root passes."""
import json
import os

import numpy as np
import pytest
from data_sets import WIDTH, make, video, write

import prepare_data
from config import override
from preparation import check
from runtime.errors import exit_status


@pytest.fixture
def config(tmp_path):
    return make(tmp_path, {'s%d' % number: video((8, 24)) for number in range(15)},
                dict({'t%d' % number: video((8, 24), label=number % 2) for number in range(5)},
                     **{'v%d' % number: video(subset='validation', label=1) for number in range(4)}))


def flags(config):
    return ['check', '--data_root', config.data.data_root, '--feature_width', '%d' % WIDTH, '--source_classes', '3',
            '--target_classes', '2']


def truth(config, database):
    write(config.data.path('ground_truth'), json.dumps({'database': database}))


def annotated(label='waving', subset='validation'):
    return {'subset': subset, 'annotations': [{'segment': [1, 2], 'label': label}]}


def test_sound_data_pass(config, capsys):
    truth(config, {'v1': annotated()})
    assert exit_status(lambda: prepare_data.main(flags(config))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'source training: 15 videos, 15 segments; unusable segments: none'
    assert 'ground truth: 1 segments of 1 videos' in lines
    assert 'source_clips: 15 of 15 videos found, 15 read' in lines and lines[-1] == 'no defects found'


def test_every_defect_is_listed(config, capsys):
    data = config.data
    for number in range(12):
        os.remove(os.path.join(data.path('source_features'), 's%d.npy' % number))
    np.save(os.path.join(data.path('target_clips'), 't0.npy'), np.full((64, WIDTH), np.nan, np.float32))
    np.save(os.path.join(data.path('target_clips'), 't1.npy'), np.ones((63, WIDTH), np.float32))
    np.save(os.path.join(data.path('target_features'), 'v0.npy'), np.ones((512, WIDTH + 1), np.float32))
    write(data.path('target_categories'), 'waving\nwaving\n')
    write(data.path('target_labels'), 't0 0 0\nt1 0 many\nt2 0 600\nt3 0 -1\nt4 0 1\n')
    with open(data.path('source_annotation')) as file:
        entries = file.read()
    write(data.path('source_annotation'), entries[:-1].replace('"s3": {', '"s3": {"duration_second": 1, ')
          + ', "s2": [], "s4": null}')
    with open(data.path('source_info')) as file:
        write(data.path('source_info'), file.read() + 's5,1,1,1,validation,1\n../s,1,1,1,training,1\n')
    truth(config, {'v1': annotated('bowing'), 'stranger': annotated(), 'v2': {}, 'v3': annotated(subset='testing')})
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--full'])) == 2
    output = capsys.readouterr()
    assert output.err.splitlines()[-1] == (
        'error: %s: found 28 defects of 9 kinds, listed above; correct them, or train and test with --bad_data skip'
        % data.data_root)
    found = {line.split(': ')[0]: int(line.split(': ')[1]) for line in output.out.splitlines()
             if line.split(': ')[-1].isdigit() and not line.startswith(' ')}
    assert found == {'class names': 2, 'info table': 2, 'annotation': 2, 'repeated keys': 3, 'label table': 3,
                     'videos without a label': 3, 'ground truth': 1, 'missing features': 9, 'features': 3}
    for message in ('line 2: found waving, which is line 1 already', 'row 17: found video s5 in subset validation',
                    "row 18: found the video id '../s'", 'found key duration_second 2 times', 'found key s4 2 times',
                    'video s4: TypeError', "row 2: found 't1 0 many'", 'row 3: class 600 of video t2',
                    'row 4: class -1 of video t3', 'database["v2"] has no "subset" name', 'found nan in row 0',
                    'found 63 rows, expected 64', 'found 5 columns, expected 4'):
        assert message in output.out, message


def test_cross_references_of_the_ground_truth(config):
    truth(config, {'v1': annotated('bowing'), 'stranger': annotated(), 'v3': annotated(subset='testing')})
    defects, _ = check.check(override(config, workers=2))
    assert defects.counts == {'ground truth': 2}
    assert 'video v1 has label bowing' in str(defects) and 'video stranger is no validation video' in str(defects)


def test_repeated_keys_and_unprintable_characters(config, capsys):
    first, second = json.dumps(annotated('waving\ud800')), json.dumps(annotated())
    write(config.data.path('ground_truth'), '{"database": {"v1": %s, "x\\ud800": %s, "x\\ud800": %s}}' % (
        first, second, second))
    assert exit_status(lambda: prepare_data.main(flags(config))) == 2
    found = capsys.readouterr().out
    assert 'found key x\\ud800 2 times' in found and 'video v1 has label waving\\ud800' in found
    assert '\ud800' not in found


def test_a_listing_is_bounded(config):
    for name in os.listdir(config.data.path('source_clips')):
        os.remove(os.path.join(config.data.path('source_clips'), name))
    defects, _ = check.check(config)
    assert defects.counts == {'missing features': 15} and len(str(defects).splitlines()) == 1 + check.MAX_SHOWN + 1
    assert str(defects).endswith('… and 5 more')


def test_class_names_of_the_source_are_needed_unless_their_number_is_given(config, capsys):
    path = config.data.path('source_categories')
    if os.path.exists(path):
        os.remove(path)
    assert exit_status(lambda: prepare_data.main(flags(config))) == 0
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--source_classes', '0'])) == 2
    assert ('%s: not found; write the class names, one per line, or give --source_classes N' % path
            ) in capsys.readouterr().out


def test_sample_and_missing_stores(config, capsys):
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--sample', '3'])) == 0
    assert 'source_features: 15 of 15 videos found, 3 read' in capsys.readouterr().out
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--sample', '0'])) == 2
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--source_clips', 'nowhere'])) == 2
    assert 'nowhere: not found; give the folder or HDF5 file with --source_clips' in capsys.readouterr().out
