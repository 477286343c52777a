"""experiments/forms.py: rows of a form by hand, what is written, the table, the command line."""
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from data_sets import ROOT

import prepare_data
from dataset.features import FeatureStore
from dataset.tables import read_entries
from experiments import forms
from preparation.demo_world import DemoVideo
from runtime.files import read_json

# 64 frames at 30 per second: 8 clips, the centre of clip i at frame 8 i + 4
VIDEO = DemoVideo('x', 'training', 0, 30, 64, (), ())
CLIPS = (8 * np.arange(8.) + 4)[:, np.newaxis] * [1, 10]  # the frame at which a clip is centred


@pytest.mark.parametrize('form, expected', [
    (forms.Form('', 8, 8, 'tc'), [4, 12, 20, 28, 36, 44, 52]),  # 2.13 s have 63 complete frames
    (forms.Form('', 16, 16, 'tc'), [8, 24, 40]), (forms.Form('', 4, 16, 'tc'), 8 + 4 * np.arange(12))])
def test_a_row_is_centred_in_its_window(form, expected):
    rows = forms.resample(CLIPS, VIDEO, form)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, np.array(expected)[:, np.newaxis] * [1, 10], rtol=1e-6)


def test_another_frame_rate_and_a_short_video():
    slower = VIDEO._replace(fps=25, frames=50)  # 2 s, 6 clips, 60 frames at 30 per second
    rows = forms.resample(CLIPS[:6], slower, forms.Form('', 16, 16, 'tc'))
    first = (4 / 25 + 12 / 30) / 2  # its first half lies before the centre of the first clip, whose features it has
    np.testing.assert_allclose(rows[:, 0] / 25, [first, 24 / 30, 40 / 30], rtol=1e-6)
    short = forms.resample(CLIPS[:2], VIDEO._replace(frames=16), forms.Form('', 16, 16, 'tc'))
    np.testing.assert_allclose(short[:, 0], [8], rtol=1e-6)


def test_what_is_written(tmp_path):
    videos = [('source', VIDEO), ('target', VIDEO._replace(name='y'))]
    features = lambda video, classes: CLIPS * {'source': 1, 'target': 2}[classes]  # noqa: E731
    for store in ('tc', 'ct', 'hdf5'):
        form = forms.Form('', 16, 16, store)
        forms.write_store(str(tmp_path / store), videos, form, features)
        expected = 2 * forms.resample(CLIPS, VIDEO, form)
        if store == 'hdf5':
            with h5py.File(str(tmp_path / store), 'r') as file:
                np.testing.assert_array_equal(file['y/c3d_features'][()], expected)
        else:
            found = np.load(str(tmp_path / store / 'v_y.npy'))
            np.testing.assert_array_equal(found if store == 'tc' else found.T, expected)


def test_a_form_shows_the_world_of_the_original(tmp_path, monkeypatch):
    """The same videos, durations and segments, under class names in the same order, and the same features."""
    (tmp_path / 'rows.txt').write_text('one\t0\t20\t0\ntwo\t3\t9\t1\n')
    monkeypatch.setattr(forms.demo, 'ANNOTATION', str(tmp_path / 'rows.txt'))
    key, imports = forms.Key(30, 2, 'hdf5_groups', 0, 1), []
    prepare_data.main(['demo', '--out', forms.world_of(key, str(tmp_path)), '--source_videos', '30',
                       '--moments_per_class', '2', '--annotation', str(tmp_path / 'rows.txt')])
    monkeypatch.setattr(forms, 'call', lambda *_, **flags: imports.append(flags))
    forms.make_form(key, str(tmp_path))
    paths = forms.demo.DATA._replace(data_root=forms.world_of(key, str(tmp_path)))
    for side, flags in zip(('source', 'target'), imports):
        assert (flags['side'], flags['stride'], flags['fps']) == (side, 8, 30)
        original = read_entries(paths.path(side + '_annotation'))
        written = read_json(flags['annotation'])['database']
        assert set(written) == set(original) - {'one', 'two'}
        for name, entry in written.items():
            assert entry['annotations'] == original[name]['annotations']
            assert entry['duration'] == original[name]['duration_second']
        with h5py.File(flags['features'], 'r') as file:
            assert set(file) == set(written)
            for name in file:
                clips, rows = FeatureStore(paths.path(side + '_clips'), 64).read(name), file[name + '/c3d_features']
                if original[name]['duration_frame'] / original[name]['duration_second'] > 29:  # at 30 fps
                    np.testing.assert_allclose(rows, clips[:len(rows)], atol=2e-3)  # the original has 3 decimals
    assert len(imports) == 2 and set(h5py.File(imports[1]['untrimmed'], 'r')) == {'one', 'two'}


def row(form, seed, value):
    return dict(dict.fromkeys(forms.MEASURES, str(value)), source_videos='9', moments_per_class='2', form=form,
                seed=str(seed), steps='1')


def test_the_table_by_hand():
    lines = forms.format_table([row('stride_16', 0, 5), row('original', 0, 2), row('original', 1, 4)]).splitlines()
    assert lines[2].startswith('| original | 2 | 3.0 ± 1.4 |') and lines[3].startswith('| stride 16, window 16 | 1 |')
    assert forms.key_of(row('original', 3, 0)) == forms.Key(9, 2, 'original', 3, 1)


def test_only_missing_runs_are_made(tmp_path, monkeypatch):
    made, written = [], []
    monkeypatch.setattr(forms, 'call', lambda *_, **__: None)
    monkeypatch.setattr(forms, 'make_form', lambda key, out: written.append(key.form))
    monkeypatch.setattr(forms, 'run', lambda key, out: made.append(key) or [key + (50.0,) * len(forms.MEASURES)])
    flags = ['--out', str(tmp_path), '--forms', 'hdf5_groups', '--max_steps', '1', '--processes', '1', '--seeds']
    for seeds in ('1', '2', '2'):
        forms.main(flags + [seeds])
    assert [(key.form, key.seed) for key in made] == [
        ('original', 0), ('hdf5_groups', 0), ('original', 1), ('hdf5_groups', 1)]
    assert written == ['hdf5_groups'] * 2
    last = (tmp_path / 'forms.md').read_text().splitlines()[-1]
    assert last.startswith('| HDF5 groups, stride 8 | 2 | 50.0 ± 0.0 |')


def test_an_unknown_form_is_named(capsys):
    with pytest.raises(SystemExit):
        forms.main(['--forms', 'stride_17'])
    assert '"stride_17": expected names of stride_16, stride_4,' in capsys.readouterr().err


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, os.path.join(ROOT, 'experiments', 'forms.py'), '--help']
    assert b'--forms NAME,NAME' in subprocess.check_output(command, cwd=str(tmp_path))
