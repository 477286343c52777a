"""evaluation/report.py: what the page says and draws, its names and flags, and what it refuses.

tests/evaluation/test_report_browser.py opens the page in a browser.
"""
import base64
import html.parser
import json
import os

import numpy as np
import pytest
from data_sets import page_data
from small_files import results_of, truth_of

from evaluation import report, report_figures, report_numbers
from evaluation.error_analysis import KINDS
from evaluation.results import read_ground_truth, read_results
from runtime.errors import InputError

SCRIPT = '<script>alert("&")</script>'
TRUTH = {'v': [(0, 10, 'yoga'), (20, 60, 'yoga')], 'w': [(0, 100, SCRIPT)], 'x': [(5, 9, 'yoga')]}
RESULTS = {'w': [(0.5, 0, 90, SCRIPT), (0.4, 200, 210, 'yoga')],
           'v': [(0.6, 20, 30, 'yoga'), (0.9, 0, 10, 'yoga'), (0.8, 0, 9, 'yoga'), (0.7, 20, 44, SCRIPT)],
           'other': [(0.3, 0, 1, 'yoga')]}


class Page(html.parser.HTMLParser):
    """The texts of the cells of each table, by its id or number, and the data of the page."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.tags, self._in, self.text = {}, [], [], ''
        with open(path, encoding='utf-8') as file:
            self.source = file.read()
        self.feed(self.source)
        self.data = page_data(path)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._in.append(tag)
        if tag == 'table':
            self._rows = self.tables.setdefault(dict(attributes).get('id', len(self.tables)), [])
        elif tag == 'tr':
            self._rows.append([])
        elif tag in ('th', 'td'):
            self._rows[-1].append('')

    def handle_endtag(self, tag):
        while tag in self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data):
        if 'td' in self._in or 'th' in self._in:
            self._rows[-1][-1] += data.strip('\n')
        elif not {'script', 'style'} & set(self._in):
            self.text += ' ' + ' '.join(data.split())


@pytest.fixture
def files(tmp_path):
    """Paths of a ground truth without durations, and of results."""
    paths = []
    for name, content in (('truth.json', truth_of(TRUTH)), ('results.json', results_of(RESULTS))):
        paths.append(str(tmp_path / name))
        with open(paths[-1], 'w') as file:
            json.dump(content, file)
    return paths


def make(files, *flags):
    out = os.path.join(os.path.dirname(files[0]), 'report')
    report.main([*files, '--out', out, *flags])
    return Page(os.path.join(out, 'index.html'))


def numbers(packed):
    return np.frombuffer(base64.b64decode(packed['base64']), np.dtype(packed['type']).newbyteorder('<')).tolist()


def test_tables_have_the_numbers_of_the_evaluators(files):
    page = make(files)
    assert page.tables['results-table'] == [
        ['results', 'AUC', 'AR@100', 'mAP@0.5', 'mAP@0.75', 'mAP@0.95', 'average mAP', 'results scored', 'dropped',
         'videos without results'],
        # Three of four segments are found up to tIoU 0.6 (20 to 44 has 0.6), two up to 0.9, one at 0.95. AP of yoga
        # is 1/3 at each tIoU; that of the other class is 1/2 up to 0.9, because a false positive has a higher score.
        ['results', page.tables['results-table'][1][1], '55.00', '41.67', '41.67', '16.67', '39.17', '6', '1', '1']]
    assert page.tables['class-table'][1:] == [
        [SCRIPT, '1', '50.00', '45.00', '–'], ['yoga', '3', '33.33', '33.33', SCRIPT]]
    assert page.tables[2] == [['segments of', 'found as', 'results', 'videos'], ['yoga', SCRIPT, '1', '1']]
    assert '3 videos with 4 segments of 2 classes' in page.text


def test_names_are_text(files):
    page = make(files)
    assert page.tags.count('script') == 4  # the data, Plotly, and two files of the page
    assert SCRIPT not in page.source and '&lt;script&gt;alert' in page.source
    traces = [trace for figure in report_figures.figures_of([reported(files, 'a <b>')]).values()
              for trace in figure['data']]
    assert {trace['name'] for trace in traces} - set(KINDS) == {
        'a &lt;b&gt;', 'first box, a &lt;b&gt;', 'any result, a &lt;b&gt;'}


def reported(files, name='n', **durations):
    truth, results = read_ground_truth(files[0]), read_results(files[1])
    return report_numbers.evaluated(
        name, truth, results, analysis=report_numbers.analyzed(truth, results, durations))


def test_timelines_draw_what_the_files_have(files):
    data = make(files).data
    assert (data['videos'], data['classes']) == (['v', 'w', 'x'], ['yoga', SCRIPT])
    assert {name: numbers(values) for name, values in data['segments'].items()} == {
        'first': [0, 2, 3, 4], 'start': [0, 20, 0, 5], 'end': [10, 60, 100, 9], 'label': [0, 0, 1, 0]}
    drawn = {name: numbers(values) for name, values in data['drawn'][0].items()}
    assert drawn['score'] == np.float32([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]).tolist()  # of each video, the best first
    assert (drawn['first'], drawn['start'], drawn['end']) == (
        [0, 4, 6, 6], [0, 0, 20, 20, 0, 200], [10, 9, 44, 30, 90, 210])
    assert [KINDS[kind] for kind in drawn['kind']] == [
        'true', 'double detection', 'wrong label', 'localization', 'true', 'background']
    assert drawn['tiou'] == [100, 90, 60, 25, 90, 0]
    assert numbers(data['found'][0]) == [1, 0, 1, 0]
    assert numbers(data['ap'][0]) == [0.5, 1, 0]  # v: the first of two segments, by the first result
    assert (numbers(data['seconds']), numbers(data['is_known'])) == ([60, 210, 9], [0, 0, 0])


def test_durations_of_the_ground_truth_are_used(files):
    with open(files[0], 'w') as file:
        content = truth_of(TRUTH)
        content['database']['w']['duration'] = 230.5
        json.dump(content, file)
    data = make(files).data
    assert (numbers(data['seconds']), numbers(data['is_known'])) == ([60, 230.5, 9], [0, 1, 0])
    assert {'map_n_coverage', 'missed_coverage'} <= set(data['figures'])


def test_evenly_spread_windows_are_a_baseline_where_durations_are_known(files):
    truth, results = read_ground_truth(files[0]), read_results(files[1])
    assert report_numbers.even_windows(truth, results, {'v': 60, 'w': 90}) is None
    windows = report_numbers.even_windows(truth, results, {'v': 60, 'w': 90, 'x': 10}, count=3)
    assert windows.videos == ['w', 'v']  # as in the results; x has none, and "other" is not in the ground truth
    assert windows.segments.tolist() == [[0, 90], [0, 60], [30, 90], [0, 60], [0, 40], [20, 60]]
    assert windows.scores == pytest.approx([0.5, 1 / 3, 1 / 6, 0.9, 0.6, 0.3])
    assert [windows.labels[label] for label in windows.label_index] == [SCRIPT] * 3 + ['yoga'] * 3
    with open(files[0], 'w') as file:
        content = truth_of(TRUTH)
        for entry in content['database'].values():
            entry['duration'] = 100
        json.dump(content, file)
    rows = make(files).tables['results-table']
    # In w, the first window is true: AP 1. In v, the second takes 20 to 60, the 37th (0 to 20) takes 0 to 10, and the
    # segment of x is missed: AP (1/2 + 2/37) / 3.
    assert [row[0] for row in rows] == ['results', 'results', 'evenly spread windows']
    assert rows[2][3] == '59.23'


def test_scores_below_zero_keep_their_order_in_the_baseline(files):
    results = read_results(results_of({'v': [(-5, 0, 1, 'yoga')], 'w': [(-2, 0, 1, 'yoga'), (-9, 0, 1, 'yoga')]}))
    windows = report_numbers.even_windows(
        read_ground_truth(truth_of({'v': [(0, 1, 'yoga')], 'w': [(0, 1, 'yoga')]})), results, {'v': 1, 'w': 1}, 2)
    assert windows.scores.tolist() == [4, 2, 7, 3.5]


def test_what_is_not_drawn_is_said(files):
    page = make(files, '--results_per_video', '3')
    assert 'The best 3 results of each video are drawn.' in page.text
    assert numbers(page.data['drawn'][0]['first']) == [0, 3, 5, 5]
    assert numbers(page.data['ap'][0]) == [0.5, 1, 0]  # of all results
    assert 'All results of these videos are drawn.' in make(files).text


def test_limit_of_drawn_results(files, monkeypatch):
    truth, file = read_ground_truth(files[0]), reported(files)
    monkeypatch.setattr(report_numbers, 'MAX_DRAWN', 20)
    assert report_numbers.results_per_video(truth, [file]) == 6
    assert report_numbers.results_per_video(truth, [file] * 2) == 3
    assert report_numbers.results_per_video(truth, [file] * 30) == 1


def test_several_files_stand_side_by_side(files, tmp_path):
    other = str(tmp_path / 'other.json')
    with open(other, 'w') as file:
        json.dump(results_of({'x': [(0.2, 5, 9, 'yoga')]}), file)
    page = make([files[0], 'ours=' + files[1], other], '--compare', 'again=' + other)
    assert [row[0] for row in page.tables['results-table']] == ['results', 'ours', 'other', 'again']
    assert page.tables['class-table'][2:] == [
        [SCRIPT, '1', '50.00', '45.00', '–', '0.00', '0.00', '–', '+50.00'],
        ['yoga', '3', '33.33', '33.33', SCRIPT, '33.33', '33.33', '–', '+0.00']]
    assert page.data['names'] == ['ours', 'other'] and len(page.data['drawn']) == 2
    assert [len(page.data['figures'][name]['data']) for name in ('ar_an', 'map_tiou', 'gains')] == [3, 3, 2]


def test_a_single_threshold_and_bins(files):
    page = make(files, '--tiou_thresholds', '0.3,0.7', '--tiou', '0.7', '--bins', 'thumos14')
    assert [name for name in page.tables['results-table'][0] if name.startswith('mAP@')] == ['mAP@0.3', 'mAP@0.7']
    assert 'the color of their kind at tIoU 0.7' in page.text
    assert KINDS[numbers(page.data['drawn'][0]['kind'])[2]] == 'confusion'  # 0.6 is below 0.7
    assert page.data['figures']['map_n_length']['data'][0]['x'][0].startswith('0 to 3<br>')


def test_figures_have_no_value_that_json_lacks(files):
    figures = make(files).data['figures']
    # of the top 1 G, 1 of 4 is true; of the top 2 G, 1 of 2 up to tIoU 0.9; there are no further ones
    assert figures['profile_0']['data'][0]['y'][:3] == [25, 45, None]
    assert 'NaN' not in json.dumps(figures)


def test_the_page_is_the_same_each_time(files):
    assert make(files).source == make(files).source


def test_out_is_a_folder_or_a_file(files, tmp_path, capsys):
    report.main([*files, '--out', str(tmp_path / 'my.html')])
    assert (tmp_path / 'my.html').is_file()
    assert capsys.readouterr().out.startswith('report page: %s (' % (tmp_path / 'my.html'))


@pytest.mark.parametrize('flags, message', [
    (['--results_per_video', '0'], '--results_per_video 0: expected a number above 0; correct the flag'),
    (['--tiou', '0.52'], 'tIoU 0.52: expected one of the tIoU thresholds'),
    (['--compare', 'results=x.json'], 'found 2 results files that are called "results", expected different names; '
                                      'give names such as ours=')])
def test_wrong_flags(files, flags, message):
    with pytest.raises(InputError) as error:
        make(files, *flags)
    assert str(error.value).startswith(message)


def test_no_other_file_is_replaced(files, tmp_path):
    other = tmp_path / 'page.html'
    other.write_text('<!DOCTYPE html>\n<html lang="en"> my thesis')
    with pytest.raises(InputError) as error:
        report.main([*files, '--out', str(other)])
    assert 'expected none or an earlier report page' in str(error.value)
    assert other.read_text().endswith('my thesis')


def test_results_of_other_videos_are_refused(files, tmp_path):
    (tmp_path / 'other.json').write_text(json.dumps(results_of({'v_v': [(1, 0, 1, 'yoga')]})))
    with pytest.raises(InputError) as error:
        make([files[0], str(tmp_path / 'other.json')])
    assert '--strip_prefix v_ makes 1 id agree' in str(error.value)
