"""prepare_data.py split: a transfer within one data set, by hand, on a demo world, on ActivityNet's tables."""
import collections
import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from data_sets import ROOT, WIDTH, make, video, write

import aher_k600_test
import aher_k600_train
import config as settings
import prepare_data
from config import DataConfig, of_data_root
from data_loader import resolve_classes, training_stream, validation_stream
from dataset.bad_data import BadData
from dataset.features import FeatureStore
from dataset.side import read_side
from dataset.tables import read_class_names, read_entries, read_info, read_labels
from preparation import class_lists, split
from runtime.errors import InputError, exit_status
from runtime.files import file_lock, read_json
from runtime.session import tf

SHARED = os.path.join(ROOT, '..', 'shared')
REAL = os.path.join(SHARED, 'data')
VIDEOS = collections.OrderedDict([  # video: subset, (class, start, end in seconds)…
    ('run1', ('training', [('run', 1, 20), ('run', 22, 30)])),
    ('both', ('training', [('run', 1, 20), ('jump', 22, 30), ('run', 5, 5)])),
    ('jump1', ('training', [('jump', 2, 10), ('run', 11, 31)])),
    ('jump2', ('validation', [('jump', 4, 9), ('jump', 10, 12), ('dive', 13, 14)])),
    ('run2', ('validation', [('run', 4, 9)])),
    ('dive1', ('training', [('dive', 4, 9)])),
    ('pause1', ('validation', [('pause', 3, 8)])),
    ('none', ('training', [('jump', 7, 7)]))])


@pytest.fixture
def data(tmp_path):
    """The videos above as source data set → its DataConfig."""
    config = make(tmp_path / 'all', {name: video(*[segment[1:] for segment in segments], subset=subset)
                                     for name, (subset, segments) in VIDEOS.items()})
    path = config.data.path('source_annotation')
    entries = read_entries(path)
    for name, (_, segments) in VIDEOS.items():
        for annotated, segment in zip(entries[name]['annotations'], segments):
            annotated['label'] = segment[0]
    write(path, json.dumps(entries))
    write(str(tmp_path / 'source.txt'), 'run\n')
    write(str(tmp_path / 'target.txt'), 'jump\n')
    write(os.path.join(config.data.data_root, 'training_only.csv'), 'video,subset\nrun1,training\n')
    return config.data


def run(data_root, out, *flags):
    return exit_status(lambda: prepare_data.main(
        ['split', '--data_root', str(data_root), '--out', str(out)] + list(map(str, flags))))


def listed(tmp_path):
    return '--source_list', tmp_path / 'source.txt', '--target_list', tmp_path / 'target.txt'


def times(data, side):
    """{video: [segment]} of one side's annotation; the label table has the class of each video's first segment."""
    names = read_class_names(data.path(side + '_categories'))
    labels = read_labels(data.path(side + '_labels'), len(names))
    entries = read_entries(data.path(side + '_annotation'))
    assert list(labels) == list(entries)
    for name, entry in entries.items():
        assert entry['annotations'][0]['label'] == names[labels[name]]
        assert {annotated['label'] for annotated in entry['annotations']} <= set(names)
    return {name: [annotated['segment'] for annotated in entry['annotations']] for name, entry in entries.items()}


def data_of(folder):
    """The DataConfig of a split."""
    return of_data_root(str(folder)).data


def test_tables_by_hand(data, tmp_path, capsys):
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    output = re.sub(' +', ' ', capsys.readouterr().out)
    for line in ('source training 3 videos, 4 segments', 'target training: moments 2 videos, 2 segments',
                 'target validation 1 video, 2 segments', 'unused: source validation 1 video, 1 segment',
                 'unused: classes of neither 3 videos, 3 segments', 'skipped: segments without length: 2',
                 'skipped: videos without a segment: 1'):
        assert line in output
    out = data_of(tmp_path / 'out')
    assert times(out, 'source') == {'run1': [[1, 20], [22, 30]], 'both': [[1, 20]], 'jump1': [[11, 31]]}
    assert times(out, 'target') == {'both': [[22, 30]], 'jump1': [[2, 10]], 'jump2': [[4, 9], [10, 12]]}
    assert read_info(out.path('target_info'), 'training') == ['both', 'jump1']
    assert read_info(out.path('target_info'), 'validation') == ['jump2']
    assert read_json(out.path('ground_truth'))['database'] == {'jump2': {'subset': 'validation', 'annotations': [
        {'segment': [4, 9], 'label': 'jump'}, {'segment': [10, 12], 'label': 'jump'}]}}
    assert read_json(str(tmp_path / 'out' / split.RECORD))['counts']['source training'] == {
        'videos': 3, 'segments': 4}
    assert out.labels == 'segment'


def test_training_and_testing_on_a_split_need_no_path_and_no_count(data, tmp_path):
    os.remove(os.path.join(data.path('source_clips'), 'run2.npy'))  # unused
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    config = of_data_root(str(tmp_path / 'out'))
    assert (config.model.source_classes, config.model.target_classes) == (1, 1)
    config = resolve_classes(settings.override(config, feature_width=WIDTH, batch_size=1, moment_clips=4))
    with tf.Graph().as_default():
        assert training_stream(config).orders['moments'].samples == 2
        assert [sample.video.name for sample in validation_stream(config)[1]] == ['jump2']


def test_a_split_and_its_data_set_can_be_moved_together(data, tmp_path):
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    os.rename(str(tmp_path), str(tmp_path) + '_moved')
    moved = data_of(str(tmp_path) + '_moved/out')
    assert FeatureStore(moved.path('target_features'), WIDTH).read('jump2').shape == (512, WIDTH)
    assert prepare_data.main(['check', '--data_root', moved.data_root, '--feature_width', '%d' % WIDTH]) is None


def test_features_in_an_hdf5_file_or_missing(data, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(data.data_root, out, *listed(tmp_path)) == 0
    assert 'found no features' not in capsys.readouterr().out
    with h5py.File(data.path('source_clips') + '.h5', 'w') as file:  # made later
        file['jump1'] = np.ones((64, WIDTH), np.float32)
    assert FeatureStore(data_of(out).path('target_clips'), WIDTH).read('jump1')[0, 0] == 1
    assert run(data.data_root, out, *listed(tmp_path) + ('--source_features', 'elsewhere')) == 0
    assert '/elsewhere: found no features of the data set there' in capsys.readouterr().out
    assert run(data.data_root, out, *listed(tmp_path) + ('--source_features', str(tmp_path / 'far'))) == 0
    assert data_of(out).target_features == str(tmp_path / 'far')


@pytest.mark.parametrize('source, target, flags, message', [
    ('runn\n', 'jump\n', (), 'source.txt, line 1: found runn, which is no class of a segment in '),
    ('runn\n', 'jump\n', (), 'similar names: run'),
    ('run\n', 'jump\nqqqq\n', (), 'target.txt, line 2: found qqqq'),
    ('run\nrun\n', 'jump\n', (), 'source.txt, line 2: found run, which is line 1 already'),
    ('run\ndive\n', 'jump\ndive\n', (), 'target.txt, line 2: found dive, which {0}source.txt, line 2 has already'),
    ('run\nR_un\n', 'jump\n', (), 'source.txt, line 2: found R_un, which {0}source.txt, line 1 has already'),
    ('jump\n', 'run\n', ('--source_info', 'training_only.csv'), 'no video of subset validation'),
    ('dive\n', 'pause\n', (), 'target training: moments: found no segment of these classes ({0}source.txt, '),
    ('run\n', None, (), 'found one of the two, expected both'),
    ('run\n', 'jump\n', ('--splits', 'lists'), 'expected one way to choose the classes'),
    (None, None, (), 'expected one way to choose the classes'),
    ('run\n', 'jump\n', ('--source_count', '1'), 'expected one way to choose the classes'),
    (None, None, ('--source_count', '4'), '4 source classes: expected 1 to 3, because the annotation has 4 classes'),
    (None, None, ('--source_share', '1'), '--source_share 1.0: expected more than 0 and less than 1'),
    (None, None, ('--source_share', '0.5', '--seed', '-1'), '--seed -1: expected 0 to 4294967295'),
])
def test_classes_that_cannot_be_used(data, tmp_path, capsys, source, target, flags, message):
    for side, names in (('source', source), ('target', target)):
        if names is not None:
            write(str(tmp_path / (side + '.txt')), names)
            flags += '--%s_list' % side, tmp_path / (side + '.txt')
    assert run(data.data_root, tmp_path / 'out', *flags) == 2
    error, = capsys.readouterr().err.splitlines()
    assert message.format(str(tmp_path) + os.sep) in error and not (tmp_path / 'out').exists()


def test_nothing_but_a_split_is_overwritten(data, tmp_path, capsys):
    (tmp_path / 'full').mkdir()
    write(str(tmp_path / 'full' / 'k600_category.txt'), 'waving\n')
    os.symlink('nowhere', str(tmp_path / 'link'))
    for out, message in ((tmp_path / 'full', 'it is no earlier split'),
                         (tmp_path / 'source.txt', 'is or holds %s, which would be lost' % (tmp_path / 'source.txt')),
                         (tmp_path / 'full' / 'k600_category.txt', 'found a file or a link to nothing'),
                         (tmp_path / 'link', 'found a file or a link to nothing')):
        assert run(data.data_root, out, *listed(tmp_path)) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / 'full' / 'k600_category.txt').read_text() == 'waving\n'


@pytest.mark.parametrize('out', ['', '.', '..', '../..', '{all}', '{all}/../all', '{link}', '{all}/ActivityNet',
                                 '{all}/ActivityNet/csv_p3d_clip'])
def test_a_split_never_takes_the_place_of_its_data_set(data, tmp_path, capsys, monkeypatch, out):
    before = contents(data.data_root)
    os.symlink('all', str(tmp_path / 'link'))
    write(os.path.join(data.data_root, split.RECORD), '{}')  # even if it looks like an earlier split
    monkeypatch.chdir(data.data_root)
    assert run('.', out.format(all=data.data_root, link=tmp_path / 'link'), *listed(tmp_path)) == 2
    error, = capsys.readouterr().err.splitlines()
    assert 'is or holds ' in error and 'name another folder' in error
    os.remove(os.path.join(data.data_root, split.RECORD))
    assert contents(data.data_root) == before


def contents(folder):
    """{path below `folder`: bytes, or where a link leads}; None where there is no folder."""
    found = {}
    for place, folders, files in os.walk(str(folder)):
        for path in [os.path.join(place, name) for name in folders + files]:
            if os.path.islink(path):
                found[os.path.relpath(path, str(folder))] = os.readlink(path)
            elif not os.path.isdir(path):
                with open(path, 'rb') as file:
                    found[os.path.relpath(path, str(folder))] = file.read()
    return found if os.path.isdir(str(folder)) else None


@pytest.fixture
def two_splits(data, tmp_path):
    """Functions that make two different splits in the folder out, and the contents of each."""
    def make_split(first, second):
        write(str(tmp_path / 'source.txt'), first + '\n')
        write(str(tmp_path / 'target.txt'), second + '\n')
        return run(data.data_root, tmp_path / 'out', *listed(tmp_path))

    makers, found = [lambda: make_split('jump', 'run'), lambda: make_split('run', 'jump')], []
    for maker in makers:
        assert maker() == 0
        found.append(contents(tmp_path / 'out'))
    assert found[0] != found[1] and set(found[0]) == set(found[1])
    return makers, found


def fail_at(number, fail):
    """Make the call `number`, from 1, of any function that renames files do what `fail` does."""
    calls = itertools.count(1)

    def failing(function):
        return lambda *arguments: fail() if next(calls) == number else function(*arguments)

    return {name: failing(getattr(os, name)) for name in ('rename', 'replace')}


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')  # the child starts no thread and takes no lock
def test_a_kill_at_any_rename_leaves_a_complete_split(two_splits, tmp_path):
    (make_old, make_new), (old, new), found = *two_splits, []
    for number in itertools.count(1):
        assert make_old() == 0
        child = os.fork()
        if not child:  # the process that is killed
            for name, function in fail_at(number, lambda: os._exit(9)).items():
                setattr(os, name, function)
            os._exit(make_new())
        status = os.WEXITSTATUS(os.waitpid(child, 0)[1])
        left = contents(tmp_path / 'out')
        found.append([old, new, None].index(left))
        if left is None:  # a reader finds no split, and the next run finds the old one
            assert contents(tmp_path / '.out.old') == old
        assert make_new() == 0 and contents(tmp_path / 'out') == new
        assert not [name for name in os.listdir(str(tmp_path)) if re.match(r'\.out\.(old|new)', name)]
        if status == 0:
            break
        assert status == 9
    assert found == [0] * (len(found) - 2) + [2, 1] and len(found) == 14  # 11 files, 2 renames, no kill


def test_an_error_at_any_rename_keeps_the_earlier_split(two_splits, tmp_path, monkeypatch, capsys):
    (make_old, make_new), (old, _) = two_splits

    def fail():
        raise OSError(errno.EIO, 'Input/output error')

    for number in range(1, 14):
        assert make_old() == 0
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, function in fail_at(number, fail).items():
                patch.setattr(os, name, function)
            assert make_new() == 2
        error, = capsys.readouterr().err.splitlines()
        assert 'cannot be written: Input/output error' in error
        assert contents(tmp_path / 'out') == old
        assert not [name for name in os.listdir(str(tmp_path)) if re.match(r'\.out\.(old|new)', name)]


def test_two_splits_at_once(two_splits, tmp_path, capsys):
    (make_old, _), (_, new) = two_splits
    with file_lock(str(tmp_path / '.out.lock')):
        assert make_old() == 2
    assert '.out.lock: held by process %d' % os.getpid() in capsys.readouterr().err
    assert contents(tmp_path / 'out') == new


@pytest.mark.parametrize('path', ['notes.txt', 'models/step_1', 'source_classes.old', 'data.json.bak'])
def test_what_is_not_of_the_split_is_kept(two_splits, tmp_path, capsys, path):
    (make_old, _), strange = two_splits[0], tmp_path / 'out' / path
    strange.parent.mkdir(exist_ok=True)
    strange.write_text('mine')
    before = contents(tmp_path / 'out')
    assert make_old() == 2
    assert '%s: found what no split makes' % (tmp_path / 'out' / path.split('/')[0]) in capsys.readouterr().err
    assert contents(tmp_path / 'out') == before


def test_a_link_in_place_of_a_table_is_kept(two_splits, tmp_path, capsys):
    (make_old, _), table = two_splits[0], tmp_path / 'out' / 'source_labels.txt'
    table.rename(tmp_path / 'mine.txt')
    table.symlink_to(tmp_path / 'mine.txt')
    assert make_old() == 2
    assert '%s: found what no split makes' % table in capsys.readouterr().err
    assert (tmp_path / 'mine.txt').exists()


@pytest.mark.parametrize('end', ['new', 'old'])
@pytest.mark.parametrize('kind', ['file', 'empty folder', 'folder', 'link', 'link to nothing'])
@pytest.mark.parametrize('is_first', [True, False])
def test_what_a_user_keeps_beside_the_split_stays(data, tmp_path, capsys, end, kind, is_first):
    if not is_first:
        assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    elsewhere, mine = tmp_path / 'elsewhere', tmp_path / ('.out.' + end)
    elsewhere.mkdir()
    if 'link' in kind:
        mine.symlink_to('nowhere' if 'nothing' in kind else elsewhere)
    elif 'folder' in kind:
        mine.mkdir()
    if kind in ('file', 'folder'):
        (mine if kind == 'file' else mine / 'notes.txt').write_text('mine')
    before = [contents(tmp_path), sorted(os.listdir(str(tmp_path)))]
    capsys.readouterr()
    if kind == 'empty folder' and not is_first:  # an earlier run may have made it: it holds nothing
        assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0 and not mine.exists()
        return
    for _ in range(2):
        assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 2
        error, = capsys.readouterr().err.splitlines()
        assert str(mine) in error and 'move it away' in error
    assert [contents(tmp_path), sorted(os.listdir(str(tmp_path)))] == before


def test_only_a_complete_split_is_renamed_back(two_splits, tmp_path):
    (make_old, make_new), (_, new) = two_splits
    shutil.move(str(tmp_path / 'out'), str(tmp_path / '.out.old'))
    (tmp_path / '.out.old' / split.RECORD).unlink()  # a run was killed while it removed this one
    assert make_new() == 0 and contents(tmp_path / 'out') == new and not (tmp_path / '.out.old').exists()


def test_a_link_to_the_folder_of_the_split_stays(data, tmp_path):
    (tmp_path / 'disk').mkdir()
    os.symlink('disk', str(tmp_path / 'out'))
    for _ in range(2):
        assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
        assert (tmp_path / 'out').is_symlink() and (tmp_path / 'disk' / split.RECORD).exists()


def test_folder_names_of_any_bytes(data, tmp_path, capsys):
    root, out = [os.path.join(str(tmp_path), os.fsdecode(name)) for name in (b'caf\xe9', b'\x1b[31m\xe9')]
    shutil.move(data.data_root, root)
    assert run(root, out, *listed(tmp_path)) == 0
    assert '\\x1b[31m\\udce9: 1 source class' in capsys.readouterr().out
    assert FeatureStore(data_of(out).path('source_clips'), WIDTH).read('run1').shape == (64, WIDTH)


@pytest.mark.parametrize('label', [None, 3, ' ', 'a\nb'])
def test_a_label_that_is_no_class_name(data, tmp_path, capsys, label):
    entries = read_entries(data.path('source_annotation'))
    entries['jump1']['annotations'][1]['label'] = label
    write(data.path('source_annotation'), json.dumps(entries))
    assert run(data.data_root, tmp_path / 'out', '--source_count', '1') == 2
    assert 'video jump1: found the label %r, expected a class name' % label in capsys.readouterr().err


def rename(data, old, new):
    """Rename a video in the tables of the data set."""
    for table in ('source_info', 'source_annotation'):
        with open(data.path(table)) as text:
            content = text.read()
        write(data.path(table), content.replace(old, new))


def test_an_id_with_a_space(data, tmp_path):
    rename(data, 'jump1', 'jump 1')
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    assert times(data_of(tmp_path / 'out'), 'target')['jump 1'] == [[2, 10]]


def test_an_id_with_a_space_at_its_end(data, tmp_path, capsys):
    rename(data, 'jump1', 'jump1 ')
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 2
    assert "video 'jump1 ': found a space at its edge" in capsys.readouterr().err


@pytest.mark.parametrize('order', [1, -1])
def test_no_segment_is_lost_whatever_the_order(data, tmp_path, order):
    entries = read_entries(data.path('source_annotation'))
    for entry in entries.values():
        entry['annotations'] = entry['annotations'][::order]
    write(data.path('source_annotation'), json.dumps(entries))
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    found = times(data_of(tmp_path / 'out'), 'target')
    assert {name: sorted(segments) for name, segments in found.items()} == {
        'both': [[22, 30]], 'jump1': [[2, 10]], 'jump2': [[4, 9], [10, 12]]}


# A data set with a data.json

ABOUT = {'settings': {
    'source_info': 'info.csv', 'source_annotation': 'annotation.json', 'source_clips': 'feats', 'source_key': 'x',
    'source_features': 'feats', 'source_layout': 'ct', 'feature_width': WIDTH, 'max_segments': 31,
    'foreground_clips': 8, 'moment_clips': 5, 'exact_lengths': True, 'labels': 'segment', 'source_classes': 3,
    'target_layout': 'tc', 'target_row_seconds': 0.2, 'target_clips': 'clips', 'window_seconds': 30.0},
    'source': {'stride': 16, 'window': 32, 'fps': 25, 'row_seconds': 0.64, 'window_seconds': 120.0},
    'target': {'stride': 5, 'window_seconds': 30.0}}


def write_imported(folder, entries, about=ABOUT):
    """A data set of {video: (subset, entry)} with a data.json."""
    write(str(folder / 'info.csv'), 'video,subset\n' + ''.join(
        '%s,%s\n' % (name, subset) for name, (subset, _) in entries.items()))
    write(str(folder / 'annotation.json'), json.dumps({name: entry for name, (_, entry) in entries.items()}))
    write(str(folder / 'data.json'), json.dumps(about))


def test_settings_of_the_data_set_are_taken_over(tmp_path):
    entry = {'duration_second': 60.0, 'rows': 93, 'row_seconds': 0.64, 'first_row_second': 0.64, 'file': 'a/v_x',
             'annotations': [{'segment': [1, 9], 'label': 'run'}, {'segment': [2, 20], 'label': 'jump'}]}
    write_imported(tmp_path / 'x', {'x': ('training', entry), 'y': ('validation', entry)})
    write(str(tmp_path / 'source.txt'), 'jump\n')
    write(str(tmp_path / 'target.txt'), 'run\n')
    assert run(tmp_path / 'x', tmp_path / 'out', *listed(tmp_path)) == 0
    content = read_json(str(tmp_path / 'out' / 'data.json'))
    assert content['settings'] == dict(
        {name: ABOUT['settings'][name] for name in ('feature_width', 'max_segments', 'foreground_clips')},
        exact_lengths=True, labels='segment', source_classes=1, target_classes=1, moment_clips=3,  # 2.13 s / 0.64 s
        window_seconds=120.0, source_layout='ct', target_layout='ct', source_key='x', target_key='x',
        source_features='../x/feats', source_clips='../x/feats', target_features='../x/feats',
        target_clips='../x/feats', **split.TABLES)
    root = str(tmp_path / 'x')
    assert content['source'] == dict(
        ABOUT['source'], features=[os.path.join(root, 'feats')], made_of=content['target']['made_of'],
        counts={'source training': {'videos': 1, 'segments': 1}})
    assert content['source']['made_of']['source_annotation'] == os.path.join(root, 'annotation.json')
    out = data_of(tmp_path / 'out')
    copied = read_entries(out.path('target_annotation'))['x']
    assert copied == dict(entry, annotations=[{'segment': [1, 9], 'label': 'run'}])
    assert run(tmp_path / 'out', tmp_path / 'again', '--source_count', '1') == 2  # one class is left


def test_row_times_of_the_whole_side(tmp_path):
    about = dict(ABOUT, settings=dict(ABOUT['settings'], source_row_seconds=1.0, source_first_row_second=2.0))
    entry = {'duration_second': 60.0, 'rows': 60, 'annotations': [
        {'segment': [1, 9], 'label': label} for label in ('run', 'jump')]}
    write_imported(tmp_path / 'x', {'x': ('training', entry), 'y': ('validation', entry)}, about)
    assert run(tmp_path / 'x', tmp_path / 'out', '--source_count', '1') == 0
    out = data_of(tmp_path / 'out')
    assert (out.target_row_seconds, out.target_first_row_second, out.moment_clips) == (1.0, 2.0, 2)


def test_several_classes_at_one_time(tmp_path, capsys):
    """The target's class never comes first; the right numbers are counted by hand."""
    videos = {'video%02d' % number: ('training' if number < 5 else 'validation', {
        'duration_second': 60.0, 'rows': 56, 'row_seconds': 16 / 15, 'annotations': [
            {'segment': [5 + number, 12 + number], 'label': 'Diving'},
            {'segment': [5 + number, 12 + number], 'label': 'Cliff Diving'},
            {'segment': [30, 41 + number], 'label': 'Billiards'}]}) for number in range(8)}
    write_imported(tmp_path / 'x', videos)
    write(str(tmp_path / 'source.txt'), 'Billiards\nDiving\n')
    write(str(tmp_path / 'target.txt'), 'cliff_diving\n')
    assert run(tmp_path / 'x', tmp_path / 'out', *listed(tmp_path)) == 0
    out = data_of(tmp_path / 'out')
    output = re.sub(' +', ' ', capsys.readouterr().out)
    for line in ('source training 5 videos, 10 segments', 'target training: moments 5 videos, 5 segments',
                 'target validation 3 videos, 3 segments'):
        assert line in output
    labels = collections.Counter(annotated['label'] for entry in read_entries(out.path('source_annotation')).values()
                                 for annotated in entry['annotations'])
    assert labels == {'Billiards': 5, 'Diving': 5}
    assert read_labels(out.path('source_labels'), 2) == {'video%02d' % number: 1 for number in range(5)}
    database = read_json(out.path('ground_truth'))['database']
    assert {name: entry['annotations'] for name, entry in database.items()} == {
        'video%02d' % number: [{'segment': [5 + number, 12 + number], 'label': 'Cliff Diving'}]
        for number in range(5, 8)}


@pytest.mark.skipif(not os.path.exists(os.path.join(SHARED, 'cases', 'make_cases.py')),
                    reason='the shared cases are not there')
def test_the_shared_case_of_several_classes(tmp_path):
    cases, name = os.path.join(SHARED, 'cases', 'make_cases.py'), '07_several_classes'
    subprocess.run([sys.executable, cases, str(tmp_path)], check=True)
    case, expected = tmp_path / name, read_json(str(tmp_path / 'expected.json'))[name]
    prepare_data.main(['import', '--side', 'source', '--annotation', str(case / 'annotation.json'), '--features',
                       str(case / 'features'), '--stride', '16', '--fps', '30', '--data_root', str(tmp_path / 'x')])
    assert run(tmp_path / 'x', tmp_path / 'out', '--source_list', case / 'source.txt', '--target_list',
               case / 'target.txt') == 0
    config = of_data_root(str(tmp_path / 'out'))
    counts = read_json(str(tmp_path / 'out' / split.RECORD))['counts']
    for part, right in zip(split.USED, ('source_training', 'target_training_moments', 'target_validation')):
        assert counts[part] == {'videos': expected[right]['videos'],
                                'segments': sum(expected[right]['segments'].values())}
    for side, right in (('source', 'source_training'), ('target', 'target_training_moments')):
        videos = read_side(config, side, 'training', BadData('', False), collections.Counter())
        names = read_class_names(config.data.path(side + '_categories'))
        assert collections.Counter(names[label] for video in videos for label in video.segment_labels) == (
            expected[right]['segments'])
    truth = read_json(config.data.path('ground_truth'))['database']
    assert len(truth) == expected['target_validation']['videos']
    assert config.model.feature_width == 12 and config.data.moment_clips == 4  # 2.13 s of rows of 0.533 s
    store = FeatureStore(config.data.path('target_features'), config.model.feature_width)
    assert store.read('video05').shape == (112, 12)


# Lists of classes

def test_names_that_differ_by_spelling_match(tmp_path):
    write(str(tmp_path / 'a.txt'), 'long jump\nCLEAN_AND-JERK\n')
    write(str(tmp_path / 'b.txt'), 'Tai chi\n')
    known = {'LongJump', 'Clean and jerk', 'tai_chi', 'unused'}
    paths = str(tmp_path / 'a.txt'), str(tmp_path / 'b.txt')
    assert class_lists.listed_classes(*paths, known=known, annotation='x.json') == [
        ['LongJump', 'Clean and jerk'], ['tai_chi']]
    with pytest.raises(InputError, match='a.txt, line 1: found long jump, which could be each of the classes '
                                         'LongJump, long jump in x.json; give them one name there'):
        class_lists.listed_classes(*paths, known=known | {'long jump'}, annotation='x.json')
    with pytest.raises(InputError, match='found Tai chi, which is no class of a segment in x.json; similar names: '
                                         'Taichi quan'):
        class_lists.listed_classes(*paths, known={'LongJump', 'Clean and jerk', 'Taichi quan'}, annotation='x.json')


@pytest.mark.parametrize('names', [
    ('source_%d.txt', 'target_%d.txt'), ('train%d.list', 'test%d.list'), ('seen-%d.txt', 'unseen-%d.txt'),
    ('train/%d.txt', 'test/%d.txt')])
def test_lists_of_many_splits(tmp_path, names):
    for number in (10, 2, 0):
        for name in names:
            write(str(tmp_path / (name % number)), 'a\n')
    write(str(tmp_path / 'README.txt'), 'lists')
    found = class_lists.lists_in(str(tmp_path))
    assert list(found) == ['0', '2', '10']
    assert found['2'] == tuple(os.path.join(str(tmp_path), name % 2) for name in names)


@pytest.mark.parametrize('names, message', [
    (('source_0.txt', 'target_0.txt', 'source_1.txt'), 'split 1: found one of its two lists, .*source_1.txt; add'),
    (('source_0.txt',), 'found no lists of classes, expected files source_N.txt and target_N.txt'),
    (('source_..txt', 'target_..txt'), 'found no lists'), ((), 'found no lists')])
def test_folders_without_lists(tmp_path, names, message):
    for name in names:
        write(str(tmp_path / name), 'a\n')
    with pytest.raises(InputError, match=message):
        class_lists.lists_in(str(tmp_path))
    with pytest.raises(InputError, match='none: found no such folder'):
        class_lists.lists_in(str(tmp_path / 'none'))


def test_many_splits_at_once(data, tmp_path, capsys):
    for number, (source, target) in enumerate((('run', 'jump'), ('jump', 'run'))):
        write(str(tmp_path / 'lists' / ('source_%d.txt' % number)), source)
        write(str(tmp_path / 'lists' / ('target_%d.txt' % number)), target)
    for _ in range(2):
        assert run(data.data_root, tmp_path / 'out', '--splits', tmp_path / 'lists') == 0
        _, head, *lines = capsys.readouterr().out.splitlines()
        assert head.startswith('data root') and 'target training: moments' in head
        assert ' '.join(lines[0].split()) == '%s 1 / 1 3 (4) 2 (2) 1 (2) 1 (1) 3 (3)' % (tmp_path / 'out' / '0')
        assert lines[1].startswith(str(tmp_path / 'out' / '1'))
        assert set(times(data_of(tmp_path / 'out' / '1'), 'source')) == {'both', 'jump1'}
    write(str(tmp_path / 'lists' / 'target_1.txt'), 'walk')
    before = contents(tmp_path / 'out')
    assert run(data.data_root, tmp_path / 'out', '--splits', tmp_path / 'lists') == 2
    assert contents(tmp_path / 'out') == before  # no split is written where a list is wrong


def test_drawn_classes():
    known = {'class %02d' % number for number in range(20)}
    drawn = [class_lists.drawn_classes(known, 15, seed) for seed in range(10)]
    for source, target in drawn:
        assert len(source) == 15 and not set(source) & set(target) and set(source + target) == known
        assert source == sorted(source) and target == sorted(target)
    assert len({tuple(source) for source, _ in drawn}) == 10
    assert class_lists.drawn_classes(known, 15, 3) == drawn[3]
    assert drawn[0][1] == ['class 00', 'class 03', 'class 11', 'class 12', 'class 15']  # on every numpy


def test_a_split_of_a_demo_world_is_trained_and_tested(tmp_path, capsys):
    write(str(tmp_path / 'rows.txt'), 'one\t0\t20\t0\n')
    prepare_data.main(['demo', '--out', str(tmp_path / 'world'), '--annotation', str(tmp_path / 'rows.txt'),
                         '--source_videos', '60', '--source_classes', '4', '--moments_per_class', '1'])
    assert run(tmp_path / 'world', tmp_path / 'split', '--source_share', '0.5') == 0
    flags = ['--config', 'demo', '--data_root', str(tmp_path / 'split')]
    prepare_data.main(['check'] + flags)
    flags += ['--model_dir', str(tmp_path / 'models')]
    with tf.Graph().as_default():
        aher_k600_train.main(flags + ['--max_steps', '2', '--batch_size', '2'])
    with tf.Graph().as_default():
        aher_k600_test.main(flags + ['--results_dir', str(tmp_path / 'results')])
    output = capsys.readouterr().out
    assert 'no defects found' in output and re.search(r'best: step 2, average mAP [\d.]+ %', output)
    saved = json.loads((tmp_path / 'models' / 'aher_adv_model_checkpoint-step_2.json').read_text())
    assert (saved['model']['source_classes'], saved['model']['target_classes']) == (2, 2)


# Real tables

@pytest.mark.skipif(not os.path.isdir(REAL), reason='the real tables are not in ../shared/data')
@pytest.mark.parametrize('flag, value, source, target, counts', [
    ('--source_count', 87, 87, 113, [(4260, 6589), (5384, 8261), (2630, 3929), (2101, 3361)]),
    ('--source_share', 0.75, 150, 50, [(7249, 11097), (2394, 3753), (1167, 1777), (3561, 5513)])])
def test_activitynet(tmp_path, capsys, flag, value, source, target, counts):
    annotation, info = [os.path.join(REAL, name) for name in ('anet_anno_action.json', 'video_info_new.csv')]
    assert run(tmp_path / 'absent', tmp_path / 'out', '--source_annotation', annotation, '--source_info', info,
               flag, value) == 0
    assert 'found no features of the data set' in capsys.readouterr().out
    out = data_of(tmp_path / 'out')
    names = [read_class_names(out.path(side + '_categories')) for side in ('source', 'target')]
    assert [len(found) for found in names] == [source, target] and not set(names[0]) & set(names[1])
    assert set(names[0] + names[1]) == set(read_class_names(os.path.join(REAL, 'activitynet_category_name.txt')))

    whole, record = read_entries(annotation), read_json(str(tmp_path / 'out' / split.RECORD))
    assert record['left_out'] == {'segments without length': 12, 'videos without a segment': 10}
    assert [(record['counts'][part]['videos'], record['counts'][part]['segments'])
            for part in split.PARTS] == counts + [(0, 0)]
    assert sum(segments for _, segments in counts) == 22152 - 12
    for subset, side, part in (('training', 'source', 0), ('training', 'target', 1), ('validation', 'target', 1)):
        found = times(out, side)
        for name in read_info(out.path(side + '_info'), subset):
            assert found[name] == wanted(whole[name]['annotations'], set(names[part]))


def wanted(annotations, names):
    """The segments of an entry of the annotation that have a length and a class of `names`."""
    return [annotated['segment'] for annotated in annotations
            if annotated['label'] in names and annotated['segment'][0] < annotated['segment'][1]]


@pytest.mark.skipif(not os.path.isdir(REAL), reason='the real tables are not in ../shared/data')
def test_published_lists_of_activitynet_lose_no_segment():
    """All segments of a class are in the part of its side and subset, in each of the sixteen splits."""
    annotation, info = [os.path.join(REAL, name) for name in ('anet_anno_action.json', 'video_info_new.csv')]
    videos, _ = split.read_data_set(DataConfig(data_root='', source_annotation=annotation, source_info=info))
    whole = counted(videos)
    assert sum(whole.values()) == 22152 - 12
    known = {label for _, label in whole}
    for share in (75, 50):
        files = class_lists.lists_in(os.path.join(REAL, 'zero_shot_splits', 'activitynet_%d' % share)).values()
        assert len(files) == 8
        for paths in files:
            names = class_lists.listed_classes(*paths, known, annotation)
            sides = dict([(label, 'source') for label in names[0]] + [(label, 'target') for label in names[1]])
            for part, found in split.split(videos, *names).items():
                assert counted(found) == {(subset, label): count for (subset, label), count in whole.items()
                                          if (sides[label], subset) == split.PARTS[part]}


def counted(videos):
    """A Counter of the segments of Annotated videos, by subset and class."""
    return collections.Counter((video.subset, annotated['label'])
                               for video in videos for annotated in video.entry['annotations'])


@pytest.mark.skipif(not os.path.isdir(REAL), reason='the real tables are not in ../shared/data')
@pytest.mark.parametrize('share', [75, 50])
def test_published_lists_of_thumos14_lose_no_segment(tmp_path, share):
    """The same in the files of the eight splits: videos of THUMOS14 have up to three classes."""
    database = read_json(os.path.join(REAL, 'thumos14.json'))['database']
    subsets = {'Validation': 'training', 'Test': 'validation'}
    videos = {video: (subsets[entry['subset']], {
        'duration_second': entry['duration'], 'rows': 100, 'row_seconds': entry['duration'] / 100,
        'annotations': entry['annotations']}) for video, entry in database.items()}
    write_imported(tmp_path / 'x', videos, dict(ABOUT, settings={
        field: ABOUT['settings'][field] for field in ('source_info', 'source_annotation')}))
    lists = os.path.join(REAL, 'zero_shot_splits', 'thumos14_%d' % share)
    assert run(tmp_path / 'x', tmp_path / 'out', '--splits', lists) == 0
    for number in range(8):
        data = data_of(tmp_path / 'out' / str(number))
        for subset, side in (('training', 'source'), ('training', 'target'), ('validation', 'target')):
            names = set(read_class_names(os.path.join(lists, '%s_%d.txt' % (side, number))))
            expected = {video: wanted(entry['annotations'], names) for video, (of, entry) in videos.items()
                        if of == subset}
            expected = {video: segments for video, segments in expected.items() if segments}
            found = times(data, side)
            assert {video: found[video] for video in read_info(data.path(side + '_info'), subset)} == expected
        assert {video: [annotated['segment'] for annotated in entry['annotations']] for video, entry in
                read_json(data.path('ground_truth'))['database'].items()} == expected  # of the target's validation
