"""How scripts end: one-line errors, streams that are closed, full or narrow, signals that are ignored."""
import errno
import os
import signal
import subprocess
import sys

import pytest
from data_sets import ROOT, python
from run_helpers import started

from runtime.errors import InputError, exit_status, printable, reason

SCRIPT = '''
import sys
from runtime.errors import InputError, run_and_exit
def main():
    print('t\\xe9 \\udce9', flush=True)
    raise InputError('na\\xefve')
run_and_exit(main)
'''


def test_unprintable_characters_are_escaped():
    assert printable('a\x1b[31mb\nc\ud800é') == 'a\\x1b[31mb\\nc\\ud800é'
    assert str(InputError('a\x1b[31mb')) == 'a\\x1b[31mb'


def test_the_reason_names_the_file_or_stream():
    assert reason(OSError(errno.ENOSPC, 'No space left on device')) == (
        'standard output: [Errno 28] No space left on device')
    assert reason(OSError(errno.EACCES, 'Permission denied', 'a.txt')) == "[Errno 13] Permission denied: 'a.txt'"
    assert reason(InputError('a.txt: wrong')) == 'a.txt: wrong'


def test_an_ascii_terminal_gets_escapes():
    done = python('-c', SCRIPT, env=dict(os.environ, PYTHONIOENCODING='ascii'))
    assert done.returncode == 2
    assert done.stdout == 't\\xe9 \\udce9\n' and done.stderr == 'error: na\\xefve\n'


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&-', '>&- 2>&- <&-'])
def test_a_closed_stream_does_not_matter(tmp_path, closed):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT.replace('main():', 'main():\n    file = open(%r, "w")\n    assert file.fileno() > 2'
                                     % str(tmp_path / 'file')))
    done = subprocess.run(
        ['sh', '-c', '"$0" "$1" ' + closed, sys.executable, str(script)], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, universal_newlines=True, env=dict(os.environ, PYTHONPATH=ROOT))
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert done.stderr == ('' if '2>' in closed else 'error: na\xefve\n')


def test_a_full_disk_behind_the_output_is_named():
    with open('/dev/full', 'w') as full:
        done = subprocess.run([sys.executable, '-c', SCRIPT.replace("raise InputError('na\\xefve')", 'pass')],
                              cwd=ROOT, stdout=full, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 2
    assert done.stderr == 'error: standard output: [Errno 28] No space left on device\n'


WAIT = '''
import signal, sys, time
if sys.argv[1] == 'ignored':
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
from runtime.errors import run_and_exit
def main():
    print('ready', flush=True)
    sys.stdin.readline()
run_and_exit(main)
'''


@pytest.mark.parametrize('number, status', [(signal.SIGHUP, 129), (signal.SIGUSR1, 138)])
def test_more_signals_end_a_run_in_one_line(number, status):
    process = started('-c', WAIT, 'handled', stdin=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(number)
    assert process.communicate(timeout=300)[1] == 'stopped by %s\n' % number.name
    assert process.returncode == status


def test_ignored_signals_stay_ignored():
    process = started('-c', WAIT, 'ignored', stdin=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    assert process.communicate('\n', timeout=300)[1] == '' and process.returncode == 0


def test_the_streams_of_a_test_or_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', None)
    assert exit_status(lambda: None) == 0 and sys.stderr is not None
