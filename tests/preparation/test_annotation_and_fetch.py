"""prepare_data.py annotation and fetch: rows and definitions by hand, messages, downloads from a local server."""
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from data_sets import ROOT, python

import prepare_data
from dataset.tables import Segment, read_annotation, read_class_names, without_duplicates
from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals
from preparation import annotation, fetch
from preparation.annotation import GROUND_TRUTH, report_of
from preparation.fetch import ANNOTATION, CATEGORIES, PUBLISHED
from runtime.errors import InputError, exit_status

REAL = os.path.join(os.path.dirname(__file__), '..', '..', '..', 'shared', 'data')
ROWS = 'dog\t1.5\t3\t1\ncat\t0\t10.25\t0\ndog\t4\t6\t1\n'
NAMES = 'purring\nbarking\n'


@pytest.fixture
def data_root(tmp_path):
    """A data folder with a small annotation under the default names."""
    (tmp_path / ANNOTATION).write_text(ROWS)
    (tmp_path / CATEGORIES).write_text(NAMES)
    return tmp_path


def run(subcommand, folder, *flags):
    return exit_status(lambda: prepare_data.main([subcommand, '--data_root', str(folder)] + list(flags)))


def error_of(capsys):
    """The one line on stderr."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    return lines[0]


# Annotation

def test_ground_truth_keeps_order_and_names_classes(data_root, capsys):
    assert run('annotation', data_root) == 0
    with open(str(data_root / 'k600_val_action.json'), encoding='utf-8') as file:
        written = json.load(file)
    assert written == {'version': 'VERSION 1.3', 'taxonomy': [], 'database': {
        'dog': {'subset': 'validation', 'annotations': [
            {'segment': [1.5, 3.0], 'label': 'barking'}, {'segment': [4.0, 6.0], 'label': 'barking'}]},
        'cat': {'subset': 'validation', 'annotations': [{'segment': [0.0, 10.25], 'label': 'purring'}]}}}
    assert list(written['database']) == ['dog', 'cat']
    assert sorted(os.listdir(str(data_root))) == sorted(
        [ANNOTATION, CATEGORIES, GROUND_TRUTH])
    assert '%s: written: 3 segments of 2 videos' % (data_root / GROUND_TRUTH) in capsys.readouterr().out


def test_another_ground_truth_is_replaced_only_by_force(data_root, capsys):
    path = data_root / GROUND_TRUTH
    assert run('annotation', data_root) == run('annotation', data_root) == 0
    assert '%s: is there already: 3 segments of 2 videos' % path in capsys.readouterr().out
    path.write_text('mine')
    assert run('annotation', data_root) == 2
    assert error_of(capsys) == ('error: %s: found another file there; name another place, or replace it with --force'
                                % path)
    assert path.read_text() == 'mine'
    assert run('annotation', data_root, '--force') == 0 and path.read_text() != 'mine'


@pytest.mark.parametrize('out', [ANNOTATION, CATEGORIES, 'link', '../{0.name}/' + ANNOTATION])
def test_no_input_is_overwritten(data_root, capsys, out):
    (data_root / 'link').symlink_to(CATEGORIES)
    assert run('annotation', data_root, '--out', str(data_root / out.format(data_root)), '--force') == 2
    assert 'would overwrite %s' % data_root in error_of(capsys)
    assert ((data_root / ANNOTATION).read_text(), (data_root / CATEGORIES).read_text()) == (ROWS, NAMES)


@pytest.mark.parametrize('out', ['k600_train_val_gt.txt', 'activitynet_category_name.txt',
                                 'cvs_records_k600/k600_annotation_json.json', 'Kinetics-600/csv_p3d_clip_trim',
                                 ANNOTATION])
def test_no_other_file_of_the_data_is_overwritten(data_root, capsys, out):
    path = data_root / out
    path.parent.mkdir(exist_ok=True)
    (data_root / ANNOTATION).rename(data_root / 'rows.txt')
    path.write_text('mine')
    flags = ['--annotation', str(data_root / 'rows.txt'), '--out', str(path), '--force']
    assert run('annotation', data_root, *flags) == 2
    assert '--out %s: would overwrite %s' % (path, path) in error_of(capsys) and path.read_text() == 'mine'


def test_a_pipe_or_a_link_to_nothing_in_place_of_the_ground_truth(data_root, capsys):
    path = data_root / GROUND_TRUTH
    os.mkfifo(str(path))
    assert run('annotation', data_root, '--force') == 2
    assert '%s: found a pipe, socket or device, expected a file' % path in error_of(capsys)
    path.unlink()
    path.symlink_to('nowhere')
    assert run('annotation', data_root) == 0 and path.is_file() and not path.is_symlink()


def test_names_that_are_not_for_a_terminal(tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b'\x1b[31m\xe9')
    folder.mkdir()
    (folder / ANNOTATION).write_text('dog\t1\t3\t1\ndog\t4\t6\t0\n')
    (folder / CATEGORIES).write_text('pur\x1b[31mring\nbarking\n')
    assert run('annotation', folder) == 0
    output = capsys.readouterr().out
    assert '\x1b' not in output and 'dog: pur\\x1b[31mring, barking' in output and '\\udce9' in output


# The command line

HELP = """
import prepare_data
from runtime.errors import exit_status

for module in prepare_data.SUBCOMMANDS:
    try:
        exit_status(lambda: prepare_data.main([module.NAME, '--help']))
    except SystemExit as ended:
        print(module.NAME, 'exit status', ended.code)
"""


@pytest.mark.parametrize('flags', [[], ['-OO']])
def test_help_in_ascii_and_without_docstrings(tmp_path, flags):
    environment = dict(os.environ, PYTHONIOENCODING='ascii', PYTHONPATH=ROOT)
    done = subprocess.run([sys.executable, *flags, '-c', HELP], cwd=str(tmp_path), env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for module in prepare_data.SUBCOMMANDS:
        assert ('\n%s exit status 0\n' % module.NAME).encode() in done.stdout
    assert (done.returncode, done.stderr) == (0, b'')


def test_ctrl_c_while_the_script_is_imported(tmp_path):
    (tmp_path / 'numpy.py').write_text('import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n')
    done = python('prepare_data.py', env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, '', '')


def test_closed_streams_and_an_ascii_terminal(data_root):
    (data_root / CATEGORIES).write_text('café\n犬\n', encoding='utf-8')
    (data_root / ANNOTATION).write_text('dog\t1\t3\t1\ndog\t4\t6\t0\n')
    command = [sys.executable, os.path.join(ROOT, 'prepare_data.py'), 'annotation', '--data_root', str(data_root)]
    done = subprocess.run(['sh', '-c', '"$@" >&- 2>&-', '-'] + command, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b'', b'') and (data_root / GROUND_TRUTH).exists()
    done = subprocess.run(command, env=dict(os.environ, PYTHONIOENCODING='ascii'), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b'') and b'dog: caf\\xe9, \\u72ac' in done.stdout


# Rows and reports

def test_flags_name_other_files(data_root, tmp_path):
    (tmp_path / 'rows.tsv').write_text('cow\t2\t3\t0\n')
    (tmp_path / 'names.txt').write_text('mooing\n')
    out = tmp_path / 'new' / 'gt.json'
    assert run('annotation', data_root, '--annotation', str(tmp_path / 'rows.tsv'),
               '--categories', str(tmp_path / 'names.txt'), '--out', str(out)) == 0
    assert list(json.loads(out.read_text())['database']) == ['cow']


def test_byte_order_mark_windows_line_ends_and_empty_end_are_read(tmp_path):
    rows, names = tmp_path / 'rows', tmp_path / 'names'
    rows.write_bytes(b'\xef\xbb\xbfdog\t1\t2\t1\r\ncat\t3\t4\t0\r\n\r\n')
    names.write_bytes(b'\xef\xbb\xbfpurring\r\nbarking\r\n')
    assert read_class_names(str(names)) == ['purring', 'barking']
    assert read_annotation(str(rows), 2) == [Segment('dog', 1, 2, 1), Segment('cat', 3, 4, 0)]


def test_duplicates_are_kept_or_dropped(data_root, capsys):
    (data_root / ANNOTATION).write_text('a\t1\t2\t0\nb\t1\t2\t0\na\t1.0\t2\t0\na\t1\t2\t1\n')

    def segments(*flags):
        assert run('annotation', data_root, '--force', *flags) == 0
        database = json.loads((data_root / 'k600_val_action.json').read_text())['database']
        return [len(database[video]['annotations']) for video in 'ab']

    assert segments() == [3, 1]
    assert segments('--drop_duplicates') == [2, 1]  # another class is no duplicate
    assert 'skipped 1 duplicate' in capsys.readouterr().out


@pytest.mark.parametrize('rows, overlapping', [
    ([(0, 2), (2, 4)], 0),                  # touching
    ([(2, 4), (0, 2.5)], 1),                # not in the order of time
    ([(0, 2), (0, 2)], 1),                  # a duplicate overlaps its original
    ([(0, 10), (1, 2), (20, 30)], 1),       # nested
    ([(0, 1), (2, 3), (4, 5)], 0)])
def test_overlap_by_hand(rows, overlapping):
    segments = [Segment('a', start, end, 0) for start, end in rows]
    assert report_of(segments).overlapping_videos == overlapping


def test_summary_by_hand():
    segments = [Segment('a', 0, 4, 1), Segment('a', 1, 2, 3), Segment('b', 0, 1, 1), Segment('b', 0, 1, 1),
                Segment('b', 0, 1, 1), Segment('c', 5, 7, 1), Segment('d', 5, 7, 1)]
    summary = report_of(segments)
    assert summary[:5] == (7, 4, 2, 2, 2)
    assert summary.mixed_videos == [('a', [1, 3])]
    assert summary.lengths[2] == 1  # median of 4 1 1 1 1 2 2
    report = annotation.format_report(summary, ['q', 'r', 's', 't'])
    assert '7 (1.75 per video)' in report and 'a: r, t' in report and '2 of 4' in report


@pytest.mark.parametrize('row, message', [
    ('dog\t1\t2', 'expected four columns'),
    ('dog\t1\t2\t0\t9', 'expected four columns'),
    ('dog 1 2 0', 'expected four columns'),
    ('', 'expected four columns'),
    ('\t1\t2\t0', 'expected four columns'),
    ('dog\tone\t2\t0', "found 'dog\\tone\\t2\\t0', expected start and end as numbers"),
    ('dog\t1\t2\t0.5', 'class index as a whole number'),
    ('dog\t1\t2\tbarking', 'class index as a whole number'),
    ('dog\t2\t2\t0', 'found a segment from 2 to 2'),
    ('dog\t3\t2\t0', 'found a segment from 3 to 2'),
    ('dog\t-1\t2\t0', 'found a segment from -1 to 2'),
    ('dog\tnan\t2\t0', 'found a segment from nan to 2'),
    ('dog\t1\tinf\t0', 'found a segment from 1 to inf'),
    ('dog\t1\t2\t2', 'found class index 2, expected 0 to 1'),
    ('dog\t1\t2\t-1', 'found class index -1, expected 0 to 1')])
def test_malformed_row_is_named(data_root, capsys, row, message):
    path = data_root / ANNOTATION
    path.write_text('cat\t0\t1\t0\n%s\ncat\t0\t1\t0\n' % row)
    assert run('annotation', data_root) == 2
    error = error_of(capsys)
    assert '%s, row 2: ' % path in error and message in error
    assert not (data_root / GROUND_TRUTH).exists()


@pytest.mark.parametrize('content, message', [
    (b'', 'found no class names'),
    (b'purring\n\nbarking\n', 'line 2: found an empty line'),
    (b'purring\nbarking\npurring\n', 'line 3: found purring, which is line 1 already'),
    (b'caf\xe9\n', 'not UTF-8')])
def test_faulty_class_names_are_refused(data_root, capsys, content, message):
    (data_root / CATEGORIES).write_bytes(content)
    assert run('annotation', data_root) == 2
    assert message in error_of(capsys)


@pytest.mark.parametrize('content', [b'', b'\n\n', b'\xef\xbb\xbf'])
def test_empty_annotation_is_refused(data_root, capsys, content):
    (data_root / ANNOTATION).write_bytes(content)
    assert run('annotation', data_root) == 2
    assert 'found no row' in error_of(capsys)


@pytest.mark.parametrize('name, flag', [
    (ANNOTATION, '--annotation'), (CATEGORIES, '--categories')])
def test_missing_file_says_what_gets_it(data_root, capsys, name, flag):
    (data_root / name).unlink()
    assert run('annotation', data_root) == 2
    assert 'python3 prepare_data.py fetch --data_root %s downloads it' % data_root in error_of(capsys)
    assert run('annotation', data_root, flag, 'elsewhere.txt') == 2
    assert error_of(capsys) == 'error: elsewhere.txt: found no such file; correct %s' % flag


def test_output_that_cannot_be_written_leaves_nothing(data_root, capsys):
    (data_root / 'folder').mkdir()
    assert run('annotation', data_root, '--out', str(data_root / 'folder')) == 2
    assert 'folder: found a folder, expected a file' in error_of(capsys)
    assert not [name for name in os.listdir(str(data_root)) if 'partial' in name]


def test_without_a_subcommand_all_are_listed(capsys):
    with pytest.raises(SystemExit) as stop:
        prepare_data.main([])
    assert stop.value.code == 2
    listed = ' '.join(capsys.readouterr().err.split())
    for module in prepare_data.SUBCOMMANDS:
        assert ' %s %s' % (module.NAME, module.__doc__.split('\n')[0]) in listed


@pytest.mark.skipif(not os.path.isdir(REAL), reason="the authors' files are not beside the repository")
def test_authors_annotation():
    names = read_class_names(os.path.join(REAL, CATEGORIES))
    segments = read_annotation(os.path.join(REAL, ANNOTATION), len(names))
    assert len(names) == 600
    summary = report_of(segments)
    assert summary[:5] == (9638, 6461, 600, 13, 97)
    assert [video for video, _ in summary.mixed_videos] == ['xnC3nngvLCo']
    assert len(without_duplicates(segments)) == 9625
    truth = annotation.ground_truth(segments, names)
    assert sum(len(entry['annotations']) for entry in truth['database'].values()) == 9638
    perfect = {'results': {video: [dict(annotated, score=1.0) for annotated in entry['annotations']]
                           for video, entry in truth['database'].items()}}
    assert evaluate_detections(truth, perfect).average_mAP == pytest.approx(1, abs=1e-12)
    assert evaluate_proposals(truth, perfect).recall[:, -1].min() == 1


@pytest.mark.skipif(not os.path.isdir(REAL), reason="the authors' files are not beside the repository")
@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_published_checksums(name):
    with open(os.path.join(REAL, name), 'rb') as file:
        assert hashlib.sha256(file.read()).hexdigest() == PUBLISHED[name]


# Fetching

class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of its server's table {path: bytes} and counts what is asked for."""

    def do_GET(self):
        self.server.received.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        if self.path.startswith('/slow/'):
            time.sleep(1)
        self.send_response(200)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if self.path.startswith('/cut/'):  # as a broken connection does
            content = content[:-1]
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server of the two files at /, /slow/ and /cut/, whose checksums are the published ones meanwhile."""
    monkeypatch.setenv('no_proxy', '*')
    contents = {ANNOTATION: b'dog\t1\t2\t0\n' * 20000, CATEGORIES: b'barking\n'}
    for name, content in contents.items():
        monkeypatch.setitem(PUBLISHED, name, hashlib.sha256(content).hexdigest())
    server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
    server.contents, server.received = contents, []
    server.files = {folder + name: content for name, content in contents.items()
                    for folder in ('/', '/slow/', '/cut/')}
    server.url = 'http://127.0.0.1:%d' % server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fetch_writes_both_files_and_then_nothing_more(server, tmp_path, capsys):
    folder = tmp_path / 'new' / 'data'
    assert run('fetch', folder, '--url', server.url + '/') == 0
    assert files_in(folder) == server.contents
    assert len(server.received) == 2
    output = capsys.readouterr()
    assert 'fetched from %s/%s, verified' % (server.url, CATEGORIES) in output.out
    assert output.err == ''  # no bar, because standard error is no terminal

    assert run('fetch', folder, '--url', server.url) == 0
    assert len(server.received) == 2
    assert capsys.readouterr().out.count('is there already, verified') == 2


def test_wrong_checksum_replaces_nothing(server, tmp_path, capsys):
    server.files['/' + ANNOTATION] = b'other'
    (tmp_path / ANNOTATION).write_bytes(b'mine')
    assert run('fetch', tmp_path, '--url', server.url, '--force') == 2
    error = error_of(capsys)
    assert 'found content with sha256 %s' % hashlib.sha256(b'other').hexdigest() in error
    assert 'expected %s' % PUBLISHED[ANNOTATION] in error
    assert '%s/%s' % (server.url, ANNOTATION) in error
    assert files_in(tmp_path) == {ANNOTATION: b'mine'}


def test_absent_file_is_named_with_its_address(server, tmp_path, capsys):
    assert run('fetch', tmp_path, '--url', server.url + '/nowhere') == 2
    error = error_of(capsys)
    assert '%s/nowhere/%s: cannot be downloaded (HTTP Error 404' % (
        server.url, ANNOTATION) in error
    assert '--url' in error
    assert files_in(tmp_path) == {}


def test_broken_connection_and_silence_leave_nothing(server, tmp_path, capsys, monkeypatch):
    assert run('fetch', tmp_path, '--url', server.url + '/cut') == 2
    assert server.url + '/cut/' in error_of(capsys)
    assert files_in(tmp_path) == {}
    monkeypatch.setattr(fetch, 'TIMEOUT', 0.1)
    assert run('fetch', tmp_path, '--url', server.url + '/slow') == 2
    assert 'timed out' in error_of(capsys)
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize('url', ['http://127.0.0.1:1', 'no address', 'gopher://127.0.0.1'])
def test_refused_connection_and_unusable_address(tmp_path, capsys, monkeypatch, url):
    monkeypatch.setenv('no_proxy', '*')
    assert run('fetch', tmp_path, '--url', url) == 2
    assert '%s/%s: cannot be downloaded' % (url, ANNOTATION) in error_of(capsys)


def test_other_file_is_overwritten_only_by_force(server, tmp_path, capsys):
    (tmp_path / CATEGORIES).write_bytes(b'mine')
    assert run('fetch', tmp_path, '--url', server.url) == 2
    error = error_of(capsys)
    assert 'found another file there (sha256 %s)' % hashlib.sha256(b'mine').hexdigest() in error
    assert '--force' in error
    assert not server.received  # refused before the first download
    assert files_in(tmp_path) == {CATEGORIES: b'mine'}

    assert run('fetch', tmp_path, '--url', server.url, '--force') == 0
    assert files_in(tmp_path) == server.contents


def test_a_download_without_end_is_cut(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fetch, 'MAX_BYTES', 1000)
    assert run('fetch', tmp_path, '--url', server.url) == 2
    assert 'found more than 1000 bytes' in error_of(capsys)
    assert files_in(tmp_path) == {}


def test_folder_that_cannot_be_made(server, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert run('fetch', tmp_path / 'file', '--url', server.url) == 2
    assert 'cannot be written' in error_of(capsys)


def test_input_error_is_raised_for_callers(tmp_path):
    with pytest.raises(InputError):
        read_annotation(str(tmp_path / 'absent'), 2)
