"""prepare_data.py demo: formats, determinism, the shipped annotation, and that the world is a fair rehearsal."""
import argparse
import collections
import csv
import json
import os
import re

import numpy as np
import pytest

import prepare_data
from config import PRESETS
from dataset.features import FeatureStore, interpolate
from preparation import demo, demo_world
from runtime.errors import InputError
from runtime.files import file_lock

# Quantiles of the authors' annotation: percentile, seconds
REAL_LENGTHS = ((1, 1.5), (25, 11.5), (50, 35.2), (75, 77.0), (99, 183.4))
REAL_STARTS = ((75, 13.0), (90, 31.4))
REAL_GAPS = ((25, 4.0), (50, 7.8), (75, 15.4), (90, 26.2))
ROWS = 'one\t0.00\t20.50\t1\none\t30.00\t41.00\t1\ntwo\t5.00\t6.50\t0\n'
TINY = ['--source_videos', '10', '--source_classes', '3', '--moments_per_class', '2']
DATA = PRESETS['demo'].data


def run_demo(*flags):
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    demo.run(parser.parse_args(flags))


def make_tiny(folder, rows=ROWS, seed=0, *flags):
    """A tiny world below `folder` → its --out."""
    annotation, out = folder / 'rows.txt', folder / 'out'
    annotation.write_text(rows)
    run_demo('--out', str(out), '--annotation', str(annotation), '--seed', str(seed), *(TINY + list(flags)))
    return out


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def world():
    """The target side of the default world: (moments, validation videos, the latter's clip features, maker).

    The maker is the function that makes features.
    """
    settings = demo_world.Settings(source_videos=10, moments_per_class=15)
    _, target = demo.plan(settings, demo.ANNOTATION, DATA, seed=0)
    features = demo_world.feature_maker(settings, len(target.names), seed=0)
    moments, validation = [[video for video in target.videos if video.subset == subset]
                           for subset in ('training', 'validation')]
    return moments, validation, [features(video, 'target') for video in validation], features


def tables(out, side):
    """Info rows by video, label rows by video and annotation of one side."""
    data = DATA._replace(data_root=str(out))
    with open(data.path(side + '_info')) as lines:
        info = {row['video']: row for row in csv.DictReader(lines)}
    with open(data.path(side + '_labels')) as lines:
        labels = {line.split(' ')[0]: line.split(' ') for line in lines}
    with open(data.path(side + '_annotation')) as text:
        return info, labels, json.load(text)


def store(out, field):
    return FeatureStore(DATA._replace(data_root=str(out)).path(field), PRESETS['demo'].model.feature_width)


def contents(out):
    """{path below `out`: bytes} of every file but the manifest and the lock."""
    found = {}
    for folder, _, names in os.walk(str(out)):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, 'rb') as file:
                found[os.path.relpath(path, str(out))] = file.read()
    del found[demo.MANIFEST], found[demo.LOCK]
    return found


# Formats

@pytest.mark.parametrize('side, count', [('source', 10), ('target', 2 * 2 + 2)])
def test_tables_name_the_same_videos_and_agree(tiny, side, count):
    info, labels, annotation = tables(tiny, side)
    assert len(info) == count and set(info) == set(labels) == set(annotation)
    for video, entry in annotation.items():
        assert entry['duration_frame'] >= entry['feature_frame'] > 0 and entry['feature_frame'] % 8 == 0
        frame_rate = entry['duration_frame'] / entry['duration_second']
        assert frame_rate == pytest.approx(int(info[video]['fps']), 0.01)
        assert int(labels[video][1]) == int(info[video]['featureFrame']) == entry['feature_frame']
        assert max(end for annotated in entry['annotations']
                   for end in annotated['segment']) <= entry['duration_second']
    assert {row['subset'] for row in info.values()} == {'training', 'validation'}


def test_feature_files_are_float32_with_a_row_per_clip_or_512(tiny):
    _, _, source = tables(tiny, 'source')
    info, _, target = tables(tiny, 'target')
    for video, entry in source.items():
        clips = store(tiny, 'source_clips').read(video, rows=entry['feature_frame'] // 8)
        whole = store(tiny, 'source_features').read(video, rows=512)
        expected = interpolate(clips, 512, entry['duration_second'], entry['duration_frame'])
        np.testing.assert_allclose(whole, expected, atol=2 * 10 ** -demo.DECIMALS)
        assert clips.min() >= 0
    for video, entry in target.items():
        if info[video]['subset'] == 'training':
            store(tiny, 'target_clips').read(video, rows=entry['feature_frame'] // 8)
        else:
            store(tiny, 'target_features').read(video, rows=512)
    path = DATA._replace(data_root=str(tiny)).path('target_features')
    assert np.load(os.path.join(path, 'one.npy')).dtype == np.float32


def test_csv_has_a_header_row_and_the_values_of_npy(tiny, tmp_path):
    out = make_tiny(tmp_path, ROWS, 0, '--form', 'csv')
    with open(os.path.join(DATA._replace(data_root=str(out)).path('target_features'), 'one.csv')) as lines:
        assert lines.readline().startswith('f0,f1,')
    for field, video in (('target_features', 'one'), ('source_clips', 'demo_src_0003')):
        np.testing.assert_array_equal(store(out, field).read(video), store(tiny, field).read(video))


def test_prepare_data_turns_the_annotation_into_ground_truth(tiny):
    prepare_data.main(['annotation', '--data_root', str(tiny)])
    with open(DATA._replace(data_root=str(tiny)).path('ground_truth')) as text:
        database = json.load(text)['database']
    assert database['one']['annotations'][1] == {'segment': [30.0, 41.0], 'label': demo.TARGET_NAMES[1]}
    _, _, annotation = tables(tiny, 'target')
    assert annotation['one']['annotations'] == database['one']['annotations']


def test_annotated_target_videos_are_a_source_of_their_own(tiny, tmp_path):
    out = make_tiny(tmp_path, ROWS, 0, '--supervised_videos', '6')
    paths = demo.supervised(DATA._replace(data_root=str(out)))
    with open(paths.path('source_annotation')) as text:
        annotation = json.load(text)
    assert len(annotation) == 6
    names = {annotated['label'] for entry in annotation.values() for annotated in entry['annotations']}
    assert names == set(demo.TARGET_NAMES[:2])
    for video, entry in annotation.items():
        FeatureStore(paths.path('source_clips'), 64).read(video, rows=entry['feature_frame'] // 8)
        FeatureStore(paths.path('source_features'), 64).read(video, rows=512)
    without, with_them = contents(tiny), contents(out)
    without.pop(DATA.ground_truth, None)
    assert all(with_them[path] == content for path, content in without.items())  # nothing else changes
    make_tiny(tmp_path)
    assert not os.path.exists(paths.path('source_annotation'))


def test_statistics_of_annotations_side_by_side(tmp_path, capsys):
    (tmp_path / 'rows.txt').write_text(ROWS)
    run_demo('--statistics', str(tmp_path / 'rows.txt'), demo.ANNOTATION)
    head, rows, own = capsys.readouterr().out.splitlines()
    assert 'segments' in head
    assert rows.split()[:4] == ['3', '2', '2', '1.50'] and rows.split()[6] == '11.0'  # the median of 20.5, 11, 1.5 s
    assert own.split()[:3] == ['296', '200', '20']


# Determinism

def test_the_seed_alone_decides(tiny, tmp_path):
    again = make_tiny(tmp_path)
    first = contents(tiny)
    first.pop(DATA.ground_truth, None)
    assert contents(again) == first
    (tmp_path / 'other').mkdir()
    other = contents(make_tiny(tmp_path / 'other', ROWS, 1))
    assert sum(other.get(name) == first[name] for name in first) == 2  # annotation and class names


def test_another_annotation_leaves_shared_videos_as_they_are(tiny, tmp_path):
    out = make_tiny(tmp_path, 'new\t1.00\t9.00\t24\n' + ROWS)
    for video in ('one', 'two'):
        np.testing.assert_array_equal(store(out, 'target_features').read(video),
                                      store(tiny, 'target_features').read(video))
    _, labels, annotation = tables(out, 'target')
    assert labels['new'][2].strip() == '24'
    assert annotation['new']['annotations'][0]['label'] == 'demo_action_025'
    moments = collections.Counter(int(row[2]) for video, row in labels.items() if 'moment' in video)
    assert moments == {label: 2 for label in range(25)}


def test_other_rows_make_another_video(tiny, tmp_path):
    out = make_tiny(tmp_path, ROWS.replace('41.00', '43.00'))
    first, second = [store(path, 'target_features').read('one') for path in (tiny, out)]
    assert np.abs(first - second).mean() > 0.05


def test_a_made_world_is_left_alone_until_something_changes(tmp_path, capsys):
    out = make_tiny(tmp_path)
    marked = out / DATA.target_categories
    changed = os.stat(str(marked)).st_mtime_ns
    make_tiny(tmp_path)
    assert 'nothing to do' in capsys.readouterr().out and os.stat(str(marked)).st_mtime_ns == changed
    (out / DATA.target_features / 'one.npy').unlink()
    make_tiny(tmp_path)
    assert (out / DATA.target_features / 'one.npy').exists()
    (out / 'note').write_text('mine')
    make_tiny(tmp_path, 'new\t1.00\t9.00\t0\n')
    assert sorted(os.listdir(str(out / DATA.target_features))) == ['new.npy'] and (out / 'note').exists()


@pytest.mark.parametrize('name', [DATA.target_categories, DATA.source_annotation, DATA.target_labels, demo.COPY])
def test_a_damaged_table_is_made_again(tmp_path, capsys, name):
    out = make_tiny(tmp_path)
    before, damaged = contents(out), out / name
    for damage in (b'', damaged.read_bytes()[:-9], damaged.read_bytes().replace(b'0', b'1').replace(b'e', b'f')):
        damaged.write_bytes(damage)
        make_tiny(tmp_path)
        assert 'made in' in capsys.readouterr().out and contents(out) == before
    make_tiny(tmp_path)
    assert 'nothing to do' in capsys.readouterr().out


@pytest.mark.parametrize('length', [0, 200])
def test_features_that_were_cut_are_made_again(tmp_path, length):
    out = make_tiny(tmp_path)
    before, damaged = contents(out), out / DATA.target_features / 'one.npy'
    damaged.write_bytes(damaged.read_bytes()[:length])
    make_tiny(tmp_path)
    assert contents(out) == before


def test_another_annotation_needs_another_ground_truth(tmp_path):
    for rows in (ROWS, ROWS, 'new\t1.00\t9.00\t1\n'):  # `make demo` does the same
        out = make_tiny(tmp_path, rows)
        prepare_data.main(['annotation', '--data_root', str(out)])
    with open(DATA._replace(data_root=str(out)).path('ground_truth')) as text:
        assert list(json.load(text)['database']) == ['new']


def test_a_killed_run_is_made_anew_and_its_leftovers_are_removed(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    (tmp_path / 'whole').mkdir()
    whole = make_tiny(tmp_path / 'whole')
    with monkeypatch.context() as patch:
        patch.setattr(demo, 'write_tables', interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_tiny(tmp_path)
    out = tmp_path / 'out'
    for name in (demo.MANIFEST, DATA.source_info, os.path.join(DATA.target_features, 'one.npy')):
        (out / (name + '.partial123')).parent.mkdir(parents=True, exist_ok=True)
        (out / (name + '.partial123')).write_text('')
    (out / 'thesis.partial1').write_text('mine')
    make_tiny(tmp_path)
    assert contents(out) == dict(contents(whole), **{'thesis.partial1': b'mine'})


def test_a_folder_with_only_the_rests_of_a_killed_run_is_empty(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / (demo.MANIFEST + '.partial123')).write_text('{')
    assert sorted(os.listdir(str(make_tiny(tmp_path)))) == sorted(
        [demo.MANIFEST, demo.LOCK, demo.COPY] + sorted({name.split('/')[0] for name in (
            DATA.source_info, DATA.source_labels, DATA.source_clips, DATA.target_info, DATA.target_labels,
            DATA.target_clips, DATA.target_categories)}))


def test_two_runs_at_once(tmp_path):
    out = make_tiny(tmp_path)
    before = contents(out)
    with file_lock(str(out / demo.LOCK)), pytest.raises(InputError, match='.demo.lock: held by process'):
        make_tiny(tmp_path, ROWS, 1)
    assert contents(out) == before
    with file_lock(str(tmp_path / 'new' / 'out' / demo.LOCK)), pytest.raises(InputError, match='held by process'):
        make_tiny(tmp_path / 'new')  # the other run has written nothing yet


def test_class_names_beside_the_annotation_are_used(tmp_path):
    (tmp_path / DATA.target_categories).write_text('swimming\nrowing\ndiving\n')
    out = make_tiny(tmp_path)
    assert (out / DATA.target_categories).read_text() == 'swimming\nrowing\n'
    (tmp_path / DATA.target_categories).write_text('swimming\n')
    out = make_tiny(tmp_path)
    assert (out / DATA.target_categories).read_text() == '\n'.join(demo.TARGET_NAMES[:2]) + '\n'


# What is refused

@pytest.mark.parametrize('rows, message', [
    ('one\t1.0\t2.0\t0\none\t3.0\tx\t0\n', 'rows.txt, row 2'),
    ('one\t5.0\t2.0\t0\n', 'rows.txt, row 1'),
    ('', 'no row')])
def test_malformed_rows_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        make_tiny(tmp_path, rows)


@pytest.mark.parametrize('flags, message', [
    (['--annotation', 'nowhere.txt'], 'nowhere.txt.*--annotation'),
    (['--relatedness', '2'], '--relatedness 2.0'),
    (['--relatedness', 'nan'], '--relatedness nan'),
    (['--context_strength', '-1'], '--context_strength -1'),
    (['--context_strength', 'inf'], '--context_strength inf'),
    (['--feature_width', '0'], '--feature_width 0'),
    (['--source_videos', '0'], '--source_videos 0'),
    (['--target_classes', '0', '--write_annotation', 'rows.txt'], '--target_classes 0'),
    (['--target_classes', '20'], '--target_classes: only with --write_annotation; a demo world has the classes of '),
    (['--validation_videos', '9'], '--validation_videos: only with --write_annotation; a demo world has the videos'),
    (['--out', ''], '--out: found nothing'),
    (['--seed', '-1'], '--seed -1')])
def test_flags_are_checked(tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        run_demo('--out', str(tmp_path / 'out'), *flags)
    assert not (tmp_path / 'out').exists()


def test_flags_are_not_abbreviated(tmp_path, capsys):
    with pytest.raises(SystemExit):
        prepare_data.main(['demo', '--out', str(tmp_path / 'out'), '--source_video', '10'])
    assert 'unrecognized arguments: --source_video 10' in capsys.readouterr().err and not (tmp_path / 'out').exists()


def test_a_folder_with_other_things_is_refused_unless_forced(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.txt').write_text('mine')
    with pytest.raises(InputError, match='--force'):
        make_tiny(tmp_path)
    make_tiny(tmp_path, ROWS, 0, '--force')
    assert (tmp_path / 'out' / 'thesis.txt').read_text() == 'mine'


@pytest.mark.parametrize('files', [['../precious'], ['sub/../../precious'], ['{folder}/precious'], ['link/precious'],
                                   3, [3], None])
def test_nothing_outside_the_folder_is_deleted(tmp_path, files):
    (tmp_path / 'precious').write_text('mine')
    (tmp_path / 'out').mkdir()
    os.symlink(str(tmp_path), str(tmp_path / 'out' / 'link'))
    listed = [name.format(folder=tmp_path) if isinstance(name, str) else name for name in files] if isinstance(
        files, list) else files
    (tmp_path / 'out' / demo.MANIFEST).write_text(json.dumps({'files': listed, 'summary': 'made'}))
    with pytest.raises(InputError, match='expected an empty folder or an earlier demo'):
        make_tiny(tmp_path)
    assert (tmp_path / 'precious').read_text() == 'mine'


@pytest.mark.parametrize('name', [demo.COPY, DATA.target_labels, 'mine.txt'])
def test_an_annotation_in_the_folder_to_make_is_not_lost(tmp_path, name):
    own = make_tiny(tmp_path) / name
    own.write_text(ROWS)
    with pytest.raises(InputError, match='found the annotation in the folder to make'):
        run_demo('--out', str(tmp_path / 'out'), '--annotation', str(own), '--seed', '5')
    assert own.read_text() == ROWS


@pytest.mark.parametrize('name', [demo.COPY, DATA.source_info, os.path.join(DATA.target_features, 'one.npy')])
def test_a_pipe_or_a_link_in_place_of_a_file(tmp_path, name):
    place = tmp_path / 'out' / name
    place.parent.mkdir(parents=True)
    os.mkfifo(str(place))
    with pytest.raises(InputError, match='%s: cannot be written' % os.path.basename(name)):
        make_tiny(tmp_path, ROWS, 0, '--force')
    place.unlink()
    os.symlink(str(tmp_path / 'elsewhere'), str(place))
    make_tiny(tmp_path, ROWS, 0, '--force')
    assert place.is_file() and not place.is_symlink() and not (tmp_path / 'elsewhere').exists()


def test_another_annotation_is_replaced_only_by_force(tmp_path, capsys):
    path = tmp_path / 'rows.txt'
    run_demo('--write_annotation', str(path))
    run_demo('--write_annotation', str(path))
    assert re.findall('written|is there already', capsys.readouterr().out) == ['written', 'is there already']
    path.write_text('mine')
    with pytest.raises(InputError, match='rows.txt: found another file there; .*--force'):
        run_demo('--write_annotation', str(path))
    assert path.read_text() == 'mine'
    run_demo('--write_annotation', str(path), '--force')
    with open(demo.ANNOTATION, 'rb') as shipped:
        assert path.read_bytes() == shipped.read()


def test_names_that_are_not_for_a_terminal(tmp_path, capsys):
    folder = os.path.join(str(tmp_path), os.fsdecode(b'\x1b[31m\xe9'))
    os.mkdir(folder)
    path = os.path.join(folder, 'rows.txt')
    for flags in (['--write_annotation', path, '--validation_videos', '2'], ['--statistics', path],
                  ['--out', os.path.join(folder, 'out'), '--annotation', path] + TINY):
        run_demo(*flags)
        output = capsys.readouterr().out
        assert '\\x1b[31m\\udce9' in output and '\x1b' not in output


# The shipped annotation

def test_the_shipped_annotation_is_what_the_script_writes(tmp_path):
    run_demo('--write_annotation', str(tmp_path / 'rows.txt'), '--seed', '0')
    with open(demo.ANNOTATION, 'rb') as shipped:
        assert shipped.read() == (tmp_path / 'rows.txt').read_bytes()


def test_the_shipped_annotation_has_the_statistics_of_the_real_one():
    rows = demo.rows_by_video(demo.ANNOTATION)
    assert len(rows) == 200
    assert collections.Counter(video[0][2] for video in rows.values()) == {label: 10 for label in range(20)}
    assert all(len({label for _, _, label in video}) == 1 for video in rows.values())
    lengths = [end - start for video in rows.values() for start, end, _ in video]
    assert len(lengths) / len(rows) == pytest.approx(1.49, abs=0.02)
    starts = [min(video)[0] for video in rows.values()]
    assert np.mean(np.array(starts) == 0) == pytest.approx(0.455, abs=0.06)
    gaps = [after[0] - before[1] for video in rows.values()
            for before, after in zip(sorted(video), sorted(video)[1:])]
    for values, quantiles, tolerance in ((lengths, REAL_LENGTHS, 0.1), (starts, REAL_STARTS, 0.3),
                                         (gaps, REAL_GAPS, 0.25)):
        for level, seconds in quantiles:
            assert np.percentile(values, level) == pytest.approx(seconds, rel=tolerance)


# A fair rehearsal

def test_moments_span_eight_clips_and_ten_seconds_at_most(world):
    moments = world[0]
    assert np.mean([video.clips >= 8 for video in moments]) > 0.99
    assert max(video.seconds for video in moments) < 13 and np.median([v.seconds for v in moments]) >= 10


def test_no_column_tells_action_from_background(world):
    _, validation, features, _ = world
    rows, is_action = [], []
    for video, clips in zip(validation, features):
        rows.append(interpolate(clips, 512, video.seconds, video.frames)[::2])
        seconds = (np.arange(512) + 0.5)[::2] / 512 * video.clips * demo_world.CLIP_FRAMES / video.fps
        is_action.append(np.any([(start <= seconds) & (seconds < end)
                                 for start, end, _ in video.segments], axis=0))
    rows, is_action = np.concatenate(rows), np.concatenate(is_action)
    areas = np.array([roc_auc(column, is_action) for column in rows.T])
    assert 0.2 < is_action.mean() < 0.7
    assert max(areas.max(), 1 - areas.min()) <= 0.70
    assert abs(roc_auc(rows.mean(axis=1), is_action) - 0.5) < 0.15


def test_the_nearest_class_mean_of_the_moments_labels_most_videos_but_not_all(world):
    moments, validation, features, make_features = world
    moment_means = np.array([make_features(video, 'target').mean(axis=0) for video in moments])
    labels = np.array([video.label for video in moments])
    means = np.array([moment_means[labels == label].mean(axis=0) for label in range(20)])
    videos = np.array([clips.mean(axis=0) for clips in features])
    nearest = ((videos[:, np.newaxis] - means) ** 2).sum(axis=2).argmin(axis=1)
    accuracy = np.mean(nearest == [video.label for video in validation])
    assert 0.45 < accuracy < 0.85


def test_presence_has_soft_edges_at_the_segment_and_phases_sum_to_one():
    action = demo_world.Action(10.0, 30.0, None)
    times = np.array([8.0, 10.0, 11.0, 20.0, 29.0, 30.0, 32.0])
    presence = demo_world.envelope(times, 10.0, 30.0, np.array([2.0, 2.0]))
    np.testing.assert_allclose(presence, [0, .5, 1, 1, 1, .5, 0])
    np.testing.assert_allclose(demo_world.phase_shares(times, action).sum(axis=1), 1)
    np.testing.assert_allclose(demo_world.phase_shares(times, action)[[1, 3, 5]], np.eye(3))


def test_context_fades_with_the_distance_and_can_be_turned_off():
    world = demo_world.make_world(8, np.random.RandomState(0))
    action = demo_world.Action(50.0, 60.0, demo_world.draw_class(1.0, np.random.RandomState(1)))
    length = np.linalg.norm(demo_world.context(world, 0.8, [action], np.array([20.0, 44.0, 49.0])), axis=1)
    assert length[1] / length[2] == pytest.approx(np.exp(-5 / demo_world.CONTEXT_SECONDS)) and length[0] < 0.02
    assert not demo_world.context(world, 0.0, [action], np.array([49.0])).any()


def test_fewer_classes_are_the_first_of_more():
    few, many = [demo_world.draw_classes(number, 0.5, np.random.RandomState(3)) for number in (2, 5)]
    for first, second in zip(few, many):
        np.testing.assert_array_equal(first.attributes, second.attributes)
        np.testing.assert_array_equal(first.weights, second.weights)


def roc_auc(scores, positive):
    """Probability that a positive row scores above a negative one."""
    rank = np.empty(len(scores))
    rank[np.argsort(scores, kind='stable')] = np.arange(1, len(scores) + 1)
    count = positive.sum()
    return (rank[positive].sum() - count * (count + 1) / 2) / (count * (len(scores) - count))
