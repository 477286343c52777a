"""experiments/splits.py: its table by hand; runs of other keys are not shown; the command line."""
import os
import subprocess
import sys

import pytest
from data_sets import ROOT

from experiments import splits
from runtime.errors import InputError


def row(share, seed, value):
    return dict(dict.fromkeys(splits.MEASURES, str(value)), videos='9', share=share, seed=str(seed), steps='1')


def test_the_mean_of_splits_by_hand():
    first, second = splits.format_table([row('0.5', 1, 1), row('0.75', 2, 2), row('0.75', 4, 4)]).splitlines()[2:]
    assert first.startswith('| 0.75 | 2 | 3.0 ± 1.4 |') and second.startswith('| 0.5 | 1 | 1.0 ± nan |')


def test_a_row_gives_its_key_back():
    assert splits.key_of(row('0.75', 3, 0)) == splits.Key(videos=9, share=0.75, seed=3, steps=1)


def test_only_missing_splits_are_made(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(splits, 'call', lambda *_, **__: None)
    monkeypatch.setattr(splits, 'run', lambda key, out: made.append(key) or [key + (50.0,) * len(splits.MEASURES)])
    flags = ['--out', str(tmp_path), '--shares', '0.5', '--source_videos', '9', '--max_steps', '1']
    splits.main(flags + ['--splits', '1'])
    splits.main(flags + ['--splits', '2'])
    assert [key.seed for key in made] == [0, 1]
    assert (tmp_path / 'splits.md').read_text().splitlines()[-1].startswith('| 0.5 | 2 | 50.0 ± 0.0 |')


def test_a_table_of_someone_else_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, 'call', lambda *_, **__: pytest.fail('a world is made'))
    (tmp_path / 'splits.md').write_text('# mine')
    with pytest.raises(InputError, match='splits.md: found another file there, expected none or an earlier table'):
        splits.main(['--out', str(tmp_path)])
    assert (tmp_path / 'splits.md').read_text() == '# mine'


def test_shares_are_numbers_and_flags_are_written_out(tmp_path, capsys):
    for flags, message in ((['--shares', '0.5,a'], '--shares: "0.5,a": expected numbers separated by commas'),
                           (['--share', '0.5'], 'unrecognized arguments: --share 0.5')):
        with pytest.raises(SystemExit):
            splits.main(['--out', str(tmp_path / 'out')] + flags)
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, os.path.join(ROOT, 'experiments', 'splits.py'), '--help']
    environment = dict(os.environ, PYTHONIOENCODING='ascii')  # which has no ellipsis
    assert b'--shares SHARE,SHARE,\\u2026' in subprocess.check_output(command, cwd=str(tmp_path), env=environment)
    done = subprocess.run(['sh', '-c', '"$@" >&- 2>&-', '-'] + command, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b'', b'')
