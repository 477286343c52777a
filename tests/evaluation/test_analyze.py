"""evaluation/analyze.py: its tables, JSON and figure, its flags, and what it says about inputs that it cannot use."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from data_sets import ROOT
from small_files import load, results_of, truth_of

from evaluation import analyze
from evaluation.get_detection_performance import evaluate_detections
from runtime.errors import InputError

TRUTH = {'v': [(0, 10, 'yoga'), (20, 60, 'yoga')], 'w': [(0, 100, 'tai chi')], 'x': [(5, 9, 'yoga')]}
RESULTS = {'v': [(0.9, 0, 10, 'yoga'), (0.8, 0, 9, 'yoga'), (0.7, 20, 40, 'tai chi'), (0.6, 20, 30, 'yoga')],
           'w': [(0.5, 0, 90, 'tai chi'), (0.4, 200, 210, 'tai chi')], 'other': [(0.3, 0, 1, 'yoga')]}


@pytest.fixture
def files(tmp_path):
    """Paths of a ground truth with durations, and of results."""
    truth = truth_of(TRUTH)
    for entry in truth['database'].values():
        entry['duration'] = 100
    paths = []
    for name, content in (('truth.json', truth), ('results.json', results_of(RESULTS))):
        paths.append(str(tmp_path / name))
        with open(paths[-1], 'w') as file:
            json.dump(content, file)
    return paths


def run(capsys, *arguments):
    """Lines that the script prints, with single spaces."""
    analyze.main(list(map(str, arguments)))
    return [' '.join(line.split()) for line in capsys.readouterr().out.split('\n')]


def test_head_says_what_was_analyzed(files, capsys):
    lines = run(capsys, *files)
    assert lines[0] == 'Errors on "validation", policy authors: 3 videos, 4 segments, 6 results scored'
    assert lines[1] == 'dropped: video outside the ground truth 1'
    assert lines[2] == 'over 3 videos; 1 of them has no results and counts as missed'
    performance = evaluate_detections(*files)
    assert lines[3] == 'mAP %.2f %% at tIoU 0.5; %.2f %% as the mean over tIoU 0.5 to 0.95 (10 thresholds)' % (
        100 * performance.mAP[0], 100 * performance.average_mAP)


def test_tables_at_one_threshold(files, capsys):
    lines = run(capsys, *files, '--tiou_thresholds', '0.5')
    # tai chi has 1 segment, and a wrong label comes first; yoga has 3
    for line in ('1 G 4 25.0 25.0 25.0 25.0 0.0 0.0', '2 G 1 100.0 0.0 0.0 0.0 0.0 0.0',
                 '3 G 1 0.0 0.0 0.0 0.0 0.0 100.0', '4 G 0 - - - - - -', 'all 6 33.3 16.7 16.7 16.7 0.0 16.7',
                 'wrong label 16.7 +16.67 16.7 +16.67', 'background 16.7 +0.00 16.7 +0.00',
                 '0 to 30 2 50.0 50.0 50.0', '30 to 60 1 0.0 0.0 100.0', '60 to 120 1 66.7 100.0 0.0',
                 'over 180 0 - - -', '1 2 33.3 50.0 50.0', '2 to 4 2 50.0 50.0 50.0', '5 to 8 0 - - -',
                 '0.8 to 1 1 66.7 100.0 0.0', 'all 4 50.0 50.0 50.0'):
        assert line in lines, line
    assert '0 to 10 2 50.0 50.0 50.0 1 0.0' in lines   # of the first box
    assert 'over 60 1 100.0 100.0 100.0 1 100.0' in lines
    assert 'all 4 50.0 50.0 75.0 2 50.0' in lines
    assert 'yoga tai chi 1 1' in lines
    assert any(line.startswith('yoga 3 33.3 33.3 33.3 ') and line.endswith(' tai chi') for line in lines)


def test_tables_fit_a_terminal(files, capsys):
    analyze.main(files)
    assert max(map(len, capsys.readouterr().out.split('\n'))) <= 110


def test_json_has_all_numbers(files, tmp_path, capsys):
    out = str(tmp_path / 'out.json')
    run(capsys, *files, '--json', out, '--tiou_thresholds', '0.5,0.75', '--tiou', '0.75', '--policy', 'official')
    found = load(out)
    performance = evaluate_detections(*files, tiou_thresholds=[0.5, 0.75], policy='official')
    assert found['mAP'] == performance.mAP.tolist()
    assert {row['class']: row['ap'] for row in found['classes']} == dict(
        zip(performance.classes, performance.ap[:, 1].tolist()))
    assert (found['tiou'], found['policy'], found['predictions']) == (0.75, 'official', 7)
    assert np.shape(found['false_positives']['counts_by_tiou']) == (2, 10, 6)
    assert found['false_positives']['mean_shares'][9] == [None] * 6
    assert [(row['characteristic'], row['bins']) for row in found['sensitivity']] == [
        (name, bins) for name in ('coverage', 'length', 'instances') for bins in ('activitynet', 'quartiles')]
    assert found['sensitivity'][2]['segments'] == [2, 1, 1, 0, 0]
    assert found['sensitivity'][2]['edges'][-1] is None
    assert found['confusions'] == [{'actual': 'yoga', 'predicted': 'tai chi', 'results': 1, 'videos': 1}]


def test_classes_with_the_lowest_ap_come_first(tmp_path, files, capsys):
    out = str(tmp_path / 'out.json')
    with open(files[0], 'w') as file:
        json.dump(truth_of({'v': [(0, 10, 'first'), (0, 9, 'few')], 'w': [(0, 9, 'many'), (0, 5, 'many')]}), file)
    with open(files[1], 'w') as file:
        json.dump(results_of({'v': [(0.9, 0, 10, 'first')]}), file)
    lines = run(capsys, *files, '--rows', 2, '--json', out)
    assert [row['class'] for row in load(out)['classes']] == ['many', 'few', 'first']
    assert lines[-2].endswith('and 1 more class (--rows, --json)') and lines[-3].startswith('few 1 0.0 ')


def test_json_replaces_only_an_earlier_one(files, tmp_path, capsys):
    out = tmp_path / 'out.json'
    run(capsys, *files, '--json', out)
    run(capsys, *files, '--json', out, '--rows', 1)
    out.write_text('{"tiou_thresholds": [0.5]}')
    with pytest.raises(InputError, match='found another file there, .* which has the key "false_positives"'):
        analyze.main([*files, '--json', str(out)])


@pytest.mark.parametrize('ending, start', [('png', b'\x89PNG'), ('svg', b'<?xml')])
def test_figure(files, tmp_path, capsys, ending, start):
    path = str(tmp_path / ('out.' + ending))
    run(capsys, *files, '--figure', path)
    with open(path, 'rb') as file:
        assert file.read(len(start)) == start


def test_figure_and_tables_without_any_result(tmp_path, files, capsys):
    with open(files[1], 'w') as file:
        json.dump({'results': {}}, file)
    lines = run(capsys, *files, '--figure', str(tmp_path / 'out.png'))
    assert 'all 0 - - - - - -' in lines
    assert (tmp_path / 'out.png').exists()


def test_thumos_bins_and_a_ground_truth_without_durations(tmp_path, files, capsys):
    with open(files[0], 'w') as file:
        json.dump(truth_of(TRUTH), file)
    lines = run(capsys, *files, '--bins', 'thumos14')
    assert any(line.startswith('3 to 6 1 ') for line in lines)
    assert any(line.startswith('81 or more 0 ') for line in lines)
    assert 'coverage: not known, because no video of the ground truth has a "duration"' in lines


def test_flags_that_choose_and_mend(tmp_path, files, capsys):
    listed = tmp_path / 'list.txt'
    listed.write_text('v\nx\n')
    lines = run(capsys, *files, '--videos', listed)
    assert lines[0] == 'Errors on "validation", policy authors: 2 videos, 3 segments, 3 results scored'
    lines = run(capsys, *files, '--ignore_label', 'tai chi', '--drop_duplicates')
    assert lines[0] == 'Errors on "validation", policy authors: 2 videos, 3 segments, 3 results scored'
    assert 'dropped: results of an ignored label 3' in lines
    content = load(files[1])
    content['results'] = {'v_' + video: entries for video, entries in content['results'].items()}
    with open(files[1], 'w') as file:
        json.dump(content, file)
    lines = run(capsys, *files, '--strip_prefix', 'v_')
    assert lines[0] == 'Errors on "validation", policy authors: 3 videos, 4 segments, 6 results scored'
    assert '0 to 0.2 2' in ' '.join(lines)  # durations are known


def test_class_scores(tmp_path, files, capsys):
    scores = tmp_path / 'scores.json'
    scores.write_text(json.dumps({'results': {video: [{'label': 'yoga', 'score': 1}] for video in RESULTS}}))
    lines = run(capsys, *files, '--video_scores', scores, '--top', 1)
    assert 'found as' in ' '.join(lines)
    assert any(line.startswith('tai chi 1 0.0 0.0 0.0 ') for line in lines)


@pytest.mark.parametrize('arguments, message', [
    (['--tiou', '0.62'], 'tIoU 0.62: expected one of the tIoU thresholds, 0.5, 0.55, .*0.95; choose one of them'),
    (['--rows', '0'], '--rows 0: expected a number above 0'),
    (['--subset', 'test'], 'subset "test" has no annotated segment'),
    (['--top', '2'], '--top 2'),
    (['--figure', 'out.gif'], 'use .png, .pdf or .svg'),
])
def test_faults(files, arguments, message):
    with pytest.raises(InputError, match=message):
        analyze.main([*files, *arguments])


def test_a_result_without_label_is_named(files):
    content = load(files[1])
    del content['results']['v'][1]['label']
    with open(files[1], 'w') as file:
        json.dump(content, file)
    with pytest.raises(InputError, match=r'results\["v"\]\[1\] has no "label"'):
        analyze.main(files)


def test_runs_as_a_script_from_any_folder(files, tmp_path):
    script = os.path.join(ROOT, 'evaluation', 'analyze.py')
    done = subprocess.run([sys.executable, script, *files], cwd=str(tmp_path), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0 and done.stdout.startswith(b'Errors on "validation"')
    done = subprocess.run([sys.executable, script, files[0], 'no such file'], cwd=str(tmp_path),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2 and done.stderr.startswith(b'error: no such file') and done.stderr.count(b'\n') == 1
