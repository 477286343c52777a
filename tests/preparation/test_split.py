"""prepare_data.py split: a transfer within one data set, by hand, on a demo world, on ActivityNet's tables."""
import collections
import errno
import itertools
import json
import os
import re
import shutil

import h5py
import numpy as np
import pytest
from data_sets import WIDTH, make, video, write

import aher_k600_test
import aher_k600_train
import config as settings
import prepare_data
from config import DataConfig
from data_loader import resolve_classes, training_stream, validation_stream
from dataset.features import FeatureStore
from dataset.tables import read_class_names, read_entries, read_info, read_labels
from preparation import split
from runtime.errors import exit_status
from runtime.files import file_lock, read_json
from runtime.session import tf

REAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', '..', 'shared', 'data')
VIDEOS = collections.OrderedDict([  # video: subset, (class, start, end in seconds)…
    ('run1', ('training', [('run', 1, 20), ('run', 22, 30)])),
    ('both', ('training', [('run', 1, 20), ('jump', 22, 30), ('run', 5, 5)])),
    ('jump1', ('training', [('jump', 2, 10), ('run', 11, 31)])),
    ('jump2', ('validation', [('jump', 4, 9), ('jump', 10, 12), ('dive', 13, 14)])),
    ('run2', ('validation', [('run', 4, 9)])),
    ('dive1', ('training', [('dive', 4, 9)])),
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
    return config.data


def run(data_root, out, *flags):
    return exit_status(lambda: prepare_data.main(
        ['split', '--data_root', str(data_root), '--out', str(out)] + list(map(str, flags))))


def listed(tmp_path):
    return '--source_list', tmp_path / 'source.txt', '--target_list', tmp_path / 'target.txt'


def times(data, side):
    """{video: [segment]} of one side's annotation, every label checked against the label table."""
    names = read_class_names(data.path(side + '_categories'))
    labels = read_labels(data.path(side + '_labels'), len(names))
    entries = read_entries(data.path(side + '_annotation'))
    assert list(labels) == list(entries)
    for name, entry in entries.items():
        assert {annotated['label'] for annotated in entry['annotations']} == {names[labels[name]]}
    return {name: [annotated['segment'] for annotated in entry['annotations']] for name, entry in entries.items()}


def test_tables_by_hand(data, tmp_path, capsys):
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    output = re.sub(' +', ' ', capsys.readouterr().out)
    for line in ('source training 2 videos, 3 segments', 'target training: moments 1 videos, 1 segments',
                 'target validation 1 videos, 2 segments', 'unused: source validation 1 videos, 1 segments',
                 'unused: classes of neither 1 videos, 1 segments', 'skipped: 2 segments without length',
                 'skipped: 3 segments of another class than their video', 'skipped: 3 videos of two classes',
                 'skipped: 1 videos without a segment'):
        assert line in output
    out = DataConfig(data_root=str(tmp_path / 'out'))
    assert times(out, 'source') == {'run1': [[1, 20], [22, 30]], 'both': [[1, 20]]}  # no time of a jump
    assert times(out, 'target') == {'jump1': [[2, 10]], 'jump2': [[4, 9], [10, 12]]}
    assert read_info(out.path('target_info'), 'training') == ['jump1']
    assert read_info(out.path('target_info'), 'validation') == ['jump2']
    assert read_json(out.path('ground_truth'))['database'] == {'jump2': {'subset': 'validation', 'annotations': [
        {'segment': [4, 9], 'label': 'jump'}, {'segment': [10, 12], 'label': 'jump'}]}}
    assert read_json(str(tmp_path / 'out' / split.RECORD))['counts']['source training'] == {
        'videos': 2, 'segments': 3}


def test_the_loader_reads_a_split_and_its_links(data, tmp_path):
    os.remove(os.path.join(data.path('source_clips'), 'run2.npy'))  # unused
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    config = settings.override(settings.PRESETS['split'], data_root=str(tmp_path / 'out'), feature_width=WIDTH,
                               batch_size=1, moment_clips=4)
    config = resolve_classes(config)
    assert (config.model.source_classes, config.model.target_classes) == (1, 1)
    with tf.Graph().as_default():
        assert training_stream(config).summary.splitlines()[-1] == (
            '2 source videos, 3 segments, 2 of them foreground samples; 1 target videos, 1 moments; '
            'unusable segments: 1 shorter than 32 clips')
        assert [found.name for found in validation_stream(config)[1]] == ['jump2']
    os.rename(str(tmp_path), str(tmp_path) + '_moved')  # the links are relative
    moved = config.data._replace(data_root=os.path.join(str(tmp_path) + '_moved', 'out'))
    assert FeatureStore(moved.path('target_features'), WIDTH).read('jump2').shape == (512, WIDTH)
    assert prepare_data.main(['check', '--config', 'split', '--data_root', moved.data_root, '--feature_width',
                              '%d' % WIDTH]) is None


def test_an_hdf5_file_is_linked_and_links_are_made_again(data, tmp_path, capsys):
    out = DataConfig(data_root=str(tmp_path / 'out'))
    assert run(data.data_root, out.data_root, *listed(tmp_path)) == 0
    assert os.path.islink(out.path('target_clips')) and 'not found' not in capsys.readouterr().out
    with h5py.File(data.path('source_clips') + '.h5', 'w') as file:
        file['jump1'] = np.ones((64, WIDTH), np.float32)
    assert run(data.data_root, out.data_root, *listed(tmp_path)) == 0
    assert not os.path.lexists(out.path('target_clips')) and os.path.islink(out.path('target_clips') + '.h5')
    assert FeatureStore(out.path('target_clips'), WIDTH).read('jump1').shape == (64, WIDTH)
    assert run(data.data_root, out.data_root, *listed(tmp_path) + ('--source_features', 'elsewhere')) == 0
    assert 'features not found: source_features, target_features;' in capsys.readouterr().out
    assert not os.path.lexists(out.path('source_features'))


@pytest.mark.parametrize('form', ['npy', 'hdf5'])
def test_features_that_a_link_hides_are_warned_of(data, tmp_path, capsys, form):
    folder, numbers = data.path('source_clips'), 'a,b,c,d\n' + '1,2,3,4\n' * 64
    for name in VIDEOS:
        os.remove(os.path.join(folder, name + '.npy'))
        write(os.path.join(folder, name + '.csv'), numbers)
    prepare_data.main(['features', folder, '--feature_width', '%d' % WIDTH, '--form', form])
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    assert 'warning' not in capsys.readouterr().out
    for name in ('run1', 'both', 'dive1'):  # dive1 is of no class of the split
        os.utime(os.path.join(folder, name + '.csv'), (4e9, 4e9))
    os.utime(os.path.join(folder, 'jump1.csv'), (1e9, 1e9))
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 0
    source, target = [line for line in capsys.readouterr().out.splitlines() if 'warning' in line]
    assert source.startswith('warning: source_clips: %s/both.csv has changed since ' % folder) and '(2 such' in source
    assert target.startswith('warning: target_clips: %s/jump1.csv has changed since ' % folder)


def test_a_file_that_is_no_hdf5_is_named_before_anything_is_written(data, tmp_path, capsys):
    write(data.path('source_clips') + '.h5', 'no HDF5')
    assert run(data.data_root, tmp_path / 'out', *listed(tmp_path)) == 2
    assert 'csv_p3d_clip.h5: not an HDF5 file' in capsys.readouterr().err and not (tmp_path / 'out').exists()


@pytest.mark.parametrize('source, target, flags, message', [
    ('runn\n', 'jump\n', (), 'source.txt, line 1: found runn, which is no class of a video in '),
    ('runn\n', 'jump\n', (), 'similar names: run'),
    ('run\n', 'jump\nqqqq\n', (), 'target.txt, line 2: found qqqq'),
    ('run\nrun\n', 'jump\n', (), 'source.txt, line 2: found run, which is line 1 already'),
    ('run\ndive\n', 'jump\ndive\n', (), 'target.txt, line 2: found dive, which is also line 2 of '),
    ('run\n', 'dive\n', (), 'target validation: found no video of these classes'),
    ('run\n', None, (), 'found one of the two, expected both'),
    (None, None, (), 'expected one way to choose the classes'),
    ('run\n', 'jump\n', ('--source_count', '1'), 'expected one way to choose the classes'),
    (None, None, ('--source_count', '3'), '3 source classes: expected 1 to 2, because the annotation has 3 classes'),
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
    assert message in error and not (tmp_path / 'out').exists()


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
    """Make the call `number`, from 1, of any function that renames or links files do what `fail` does."""
    calls = itertools.count(1)

    def failing(function):
        return lambda *arguments: fail() if next(calls) == number else function(*arguments)

    return {name: failing(getattr(os, name)) for name in ('rename', 'replace', 'symlink')}


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
    assert found == [0] * (len(found) - 2) + [2, 1] and len(found) == 17  # 10 files, 4 links, 2 renames, no kill


def test_an_error_at_any_rename_keeps_the_earlier_split(two_splits, tmp_path, monkeypatch, capsys):
    (make_old, make_new), (old, _) = two_splits

    def fail():
        raise OSError(errno.EIO, 'Input/output error')

    for number in range(1, 17):
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


@pytest.mark.parametrize('path', ['notes.txt', 'models/step_1', 'ActivityNet/csv_p3d_clip.h5', 'k600_category.old',
                                  'Kinetics-600/csv_p3d_clip_trim/jump1.npy'])
def test_what_is_not_of_the_split_is_kept(two_splits, tmp_path, capsys, path):
    (make_old, _), strange = two_splits[0], tmp_path / 'out' / path
    if strange.parent.is_symlink():  # features take the place of the link
        strange.parent.unlink()
    strange.parent.mkdir(exist_ok=True)
    strange.write_text('mine')
    before = contents(tmp_path / 'out')
    assert make_old() == 2
    assert '%s: found what no split makes' % strange in capsys.readouterr().err
    assert contents(tmp_path / 'out') == before


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


def test_features_behind_a_link_are_never_removed(two_splits, data):
    (make_old, make_new), before = two_splits[0], contents(data.data_root)
    assert make_old() == make_new() == 0 and contents(data.data_root) == before


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
    assert '\\x1b[31m\\udce9: 1 source classes' in capsys.readouterr().out
    assert FeatureStore(DataConfig(data_root=out).path('source_clips'), WIDTH).read('run1').shape == (64, WIDTH)


@pytest.mark.parametrize('label', [None, 3, ' ', 'a\nb'])
def test_a_label_that_is_no_class_name(data, tmp_path, capsys, label):
    entries = read_entries(data.path('source_annotation'))
    entries['jump1']['annotations'][1]['label'] = label
    write(data.path('source_annotation'), json.dumps(entries))
    assert run(data.data_root, tmp_path / 'out', '--source_count', '1') == 2
    assert 'video jump1: found the label %r, expected a class name' % label in capsys.readouterr().err


def test_an_id_with_a_space(data, tmp_path, capsys):
    for table in ('source_info', 'source_annotation'):
        with open(data.path(table)) as text:
            content = text.read()
        write(data.path(table), content.replace('jump1', 'jump 1'))
    assert run(data.data_root, tmp_path / 'out', '--source_count', '1') == 2
    assert 'video jump 1: found a space in its id' in capsys.readouterr().err


def test_drawn_classes():
    known = {'class %02d' % number for number in range(20)}
    drawn = [split.drawn_classes(known, 15, seed) for seed in range(10)]
    for source, target in drawn:
        assert len(source) == 15 and not set(source) & set(target) and set(source + target) == known
        assert source == sorted(source) and target == sorted(target)
    assert len({tuple(source) for source, _ in drawn}) == 10
    assert split.drawn_classes(known, 15, 3) == drawn[3]
    assert drawn[0][1] == ['class 00', 'class 03', 'class 11', 'class 12', 'class 15']  # on every numpy


def test_a_split_of_a_demo_world_is_trained_and_tested(tmp_path, capsys):
    write(str(tmp_path / 'rows.txt'), 'one\t0\t20\t0\n')
    prepare_data.main(['demo', '--out', str(tmp_path / 'world'), '--annotation', str(tmp_path / 'rows.txt'),
                         '--source_videos', '60', '--source_classes', '4', '--moments_per_class', '1'])
    assert run(tmp_path / 'world', tmp_path / 'split', '--source_share', '0.5') == 0
    flags, count = ['--config', 'demo', '--data_root', str(tmp_path / 'split')], ['--source_classes', '0']
    prepare_data.main(['check'] + flags + count)
    flags += ['--model_dir', str(tmp_path / 'models')]
    with tf.Graph().as_default():
        aher_k600_train.main(flags + count + ['--max_steps', '2', '--batch_size', '2'])
    with tf.Graph().as_default():
        aher_k600_test.main(flags + ['--results_dir', str(tmp_path / 'results')])
    output = capsys.readouterr().out
    assert 'no defects found' in output and re.search(r'best: step 2, average mAP [\d.]+ %', output)
    saved = json.loads((tmp_path / 'models' / 'aher_adv_model_checkpoint-step_2.json').read_text())
    assert (saved['model']['source_classes'], saved['model']['target_classes']) == (2, 2)


@pytest.mark.skipif(not os.path.isdir(REAL), reason='the real tables are not in ../shared/data')
@pytest.mark.parametrize('flag, value, source, target', [
    ('--source_count', 87, 87, 113), ('--source_share', 0.75, 150, 50), ('--source_share', 0.5, 100, 100)])
def test_activitynet(tmp_path, capsys, flag, value, source, target):
    annotation, info = [os.path.join(REAL, name) for name in ('anet_anno_action.json', 'video_info_new.csv')]
    assert run(tmp_path / 'absent', tmp_path / 'out', '--source_annotation', annotation, '--source_info', info,
               flag, value) == 0
    assert 'features not found' in capsys.readouterr().out
    out = DataConfig(data_root=str(tmp_path / 'out'))
    names = [read_class_names(out.path(side + '_categories')) for side in ('source', 'target')]
    assert [len(found) for found in names] == [source, target] and not set(names[0]) & set(names[1])
    assert set(names[0] + names[1]) == set(read_class_names(os.path.join(REAL, 'activitynet_category_name.txt')))

    whole = read_entries(annotation)
    subsets = {subset: read_info(info, subset) for subset in ('training', 'validation')}
    record = read_json(str(tmp_path / 'out' / split.RECORD))
    usable = {name: [found for found in whole[name]['annotations'] if found['segment'][0] < found['segment'][1]]
              for found in subsets.values() for name in found}
    assert sum(part['videos'] for part in record['counts'].values()) == sum(map(bool, usable.values())) == 14367
    assert sum(part['segments'] for part in record['counts'].values()) == 22152 - 12 - 11
    assert record['left_out'] == {
        'segments without length': 12, 'videos without a segment': 10,
        'segments of another class than their video': 11,
        'videos of two classes or more, cut to that of their first segment': 11}

    sides = [times(out, side) for side in ('source', 'target')]
    assert not set(sides[0]) & set(sides[1])
    assert set(sides[0]) <= set(subsets['training'])
    for found, own in zip(sides, names):
        for name, segments in found.items():  # exactly those of the annotation that are of the side's classes
            kept = [entry for entry in usable[name] if entry['segment'] in segments]
            assert len(kept) == len(segments) and {entry['label'] for entry in kept} <= set(own)
    truth = read_json(out.path('ground_truth'))['database']
    assert set(truth) == set(sides[1]) - set(subsets['training'])
    assert record['counts']['target validation'] == {
        'videos': len(truth), 'segments': sum(len(entry['annotations']) for entry in truth.values())}
