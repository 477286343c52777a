"""prepare_data.py check: every defect is listed and counted, by kind; a sound data root passes."""
import contextlib
import json
import os

import h5py
import numpy as np
import pytest
from data_sets import ROOT, WIDTH, make, python, video, write

import config as settings
import prepare_data
from config import override
from dataset import data_root
from preparation import check
from runtime.errors import exit_status


@pytest.fixture
def config(tmp_path):
    config = make(tmp_path, {'s%d' % number: video((8, 24)) for number in range(15)},
                  dict({'t%d' % number: video((8, 24), label=number % 2) for number in range(5)},
                       **{'v%d' % number: video(subset='validation', label=1) for number in range(4)}))
    with changed(config, 'target_annotation') as entries:
        for number in (1, 3):
            entries['t%d' % number]['annotations'][0]['label'] = 'nodding'
    return config


@contextlib.contextmanager
def changed(config, field):
    """The content of a JSON file; what is done to it inside is written back."""
    with open(config.data.path(field)) as file:
        content = json.load(file)
    yield content
    write(config.data.path(field), json.dumps(content))


def flags(config):
    return ['check', '--data_root', config.data.data_root, '--feature_width', '%d' % WIDTH, '--source_classes', '3',
            '--target_classes', '2']


def truth(config, database):
    write(config.data.path('ground_truth'), json.dumps({'database': database}))


def annotated(label='nodding', subset='validation', segment=(1, 2)):
    return {'subset': subset, 'annotations': [{'segment': segment, 'label': label}]}


WHOLE = {'v%d' % number: annotated() for number in range(4)}  # a ground truth without a fault


def test_sound_data_pass(config, capsys):
    truth(config, WHOLE)
    assert exit_status(lambda: prepare_data.main(flags(config))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        'source training: 15 videos, 15 segments of 1 class; unusable segments: none',
        'source training: videos of 64 / 64 / 64 rows (32 / 32 / 32 s); segments of 32 / 32 / 32 rows '
        '(16 / 16 / 16 s) (shortest, median, longest)',
        'source training: 15 of 15 segments used as foreground samples']
    assert 'ground truth: 4 segments of 4 videos' in lines
    assert 'source_clips: %s, folder, 15 videos: 15 npy; 15 read' % config.data.path('source_clips') in lines
    assert lines[-1] == 'no defects found' and 'warnings' not in lines


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
        'error: %s: found 28 defects of 9 kinds, listed above; correct them, or train and test with --missing drop, '
        'which leaves out videos without features, and --bad_data skip, which leaves out as many videos as '
        '--max_bad_share and --max_bad_videos allow' % data.data_root)
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
    defects = check.check(override(config, workers=2)).defects
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
    defects = check.check(config).defects
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


@pytest.mark.parametrize('kind', ['absent', 'empty', 'file'])
def test_a_data_root_without_any_table_is_one_defect(tmp_path, capsys, kind):
    root = str(tmp_path / 'none')
    if kind == 'empty':
        os.mkdir(root)
    elif kind == 'file':
        write(root, 'text')
    assert exit_status(lambda: prepare_data.main(['check', '--data_root', root])) == 2
    output = capsys.readouterr()
    what = {'absent': 'no such folder', 'empty': 'a folder without tables', 'file': 'no folder'}[kind]
    assert output.out.splitlines() == [
        'defects', 'data root: 1', '  %s: found %s, expected one with tables such as cvs_records_anet/'
        'anet_train_val_reduce_info.csv; give your folder with --data_root, or make one: python3 prepare_data.py '
        'import --side source --annotation FILE --features FOLDER --data_root %s …' % (root, what, root)]
    assert output.err == 'error: %s: found 1 defect of 1 kind, listed above; correct them\n' % root


def test_a_data_root_with_one_table_is_checked(tmp_path):
    write(str(tmp_path / 'activitynet_category_name.txt'), 'waving\n')
    counts = check.check(override(settings.Config(), data_root=str(tmp_path))).defects.counts
    assert 'data root' not in counts and 'info table' in counts


def test_sample_and_missing_stores(config, capsys):
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--sample', '3'])) == 0
    assert '%s, folder, 15 videos: 15 npy; 3 read' % config.data.path('source_features') in capsys.readouterr().out
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--sample', '0'])) == 2
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--source_clips', 'nowhere'])) == 2
    assert 'nowhere: not found; give the folder or HDF5 file with --source_clips' in capsys.readouterr().out


# Labels and segments

def test_a_video_with_two_labels_in_the_label_table(config):
    path = config.data.path('target_labels')
    with open(path) as file:
        rows = file.read()
    write(path, rows + 't0 512 0\nt1 512 0\nv2 512 0\n')  # t0 has class 0 already
    defects = check.check(config).defects
    assert defects.counts == {'label table': 2}
    assert '%s, row 11: found class 0 of video t1, which has class 1 in row 2; remove' % path in str(defects)
    assert 'row 12: found class 0 of video v2, which has class 1 in row 8' in str(defects)


def test_labels_of_segments_that_the_label_table_contradicts(config):
    with changed(config, 'target_annotation') as entries:
        entries['t1']['annotations'][0]['label'] = 'waving'
        entries['t2']['annotations'][0]['label'] = 'no name of the list'
        entries['t3']['annotations'][0].pop('label')
        entries['t4']['annotations'][0]['label'] = ['waving']
        entries['v1']['annotations'] = [{'segment': [0, 1], 'label': 'waving'}]
    found = check.check(config)
    assert found.defects.counts == {'labels that differ': 2}
    assert found.warnings.counts == {'labels without a class name': 1}
    assert '%s: video t1 has class 1, nodding, but its segments in %s have the label waving; correct one' % (
        config.data.path('target_labels'), config.data.path('target_annotation')) in str(found.defects)
    assert 'video v1 has class 1, nodding' in str(found.defects)
    write(config.data.path('target_categories'), 'waving\n\nnodding\n')
    assert set(check.check(config).defects.counts) == {'class names'}  # the numbers of the lines mean nothing


def test_a_label_table_is_compared_with_the_segments_whoever_has_the_labels(config):
    config = override(config, labels='segment', source_categories='target_names.txt', source_classes=2)
    write(config.data.path('source_categories'), 'waving\nnodding\n')
    write(config.data.path('target_categories'), 'waving\nnodding\n')
    with changed(config, 'target_annotation') as entries:
        entries['t1']['annotations'][0]['label'] = 'waving'
        entries['t0']['annotations'].append({'segment': [8, 24], 'label': 'nodding'})  # of several classes
        entries['v1']['annotations'] = [{'segment': [0, 1], 'label': 'waving'}]
    found = check.check(config)
    assert found.defects.counts == {'labels that differ': 2} and set(found.warnings.counts) == {'samples'}
    table = config.data.path('target_labels')
    for name in ('t1', 'v1'):
        assert '%s: video %s has class 1, nodding, but its segments in %s have the label waving; correct one' % (
            table, name, config.data.path('target_annotation')) in str(found.defects)
    os.remove(table)
    assert check.check(config).defects.counts == {}
    truth(config, dict(WHOLE, v1=annotated('nodding')))  # the class is now that of the annotation
    assert '%s: video v1 has class 0, waving, but its segments in %s have the label nodding; correct one' % (
        config.data.path('target_annotation'), config.data.path('ground_truth')) in str(check.check(config).defects)


def test_class_names_with_commas_are_quoted(config):
    write(config.data.path('target_categories'), 'wax, cut\nnodding\n')
    with changed(config, 'target_annotation') as entries:
        for name in entries:
            entries[name]['annotations'] = [{'segment': [8, 24], 'label': 'wax, cut'}]
        entries['t2']['annotations'] += [{'segment': [8, 24], 'label': label} for label in ('nodding', 'bow, deep')]
    truth(config, dict(WHOLE, v0=annotated('bow, deep')))
    found = check.check(config)
    assert 'video t2 has segments of "bow, deep", nodding, "wax, cut"; training' in str(found.warnings)
    assert 'found the label "bow, deep" of 1 video' in str(found.warnings)
    assert 'video t1 has class 1, nodding, but its segments in %s have the label "wax, cut"; correct' % (
        config.data.path('target_annotation')) in str(found.defects)
    assert 'video v0 has label "bow, deep", expected a line' in str(found.defects)


def test_segments_of_several_classes_are_a_warning(config, capsys):
    with changed(config, 'target_annotation') as entries:
        for name in ('t1', 't2', 'v1'):
            entries[name]['annotations'] = [{'segment': [8, 24], 'label': label} for label in ('waving', 'nodding')]
    with changed(config, 'source_annotation') as entries:
        entries['s7']['annotations'].append({'segment': [1, 2], 'label': 'bowing'})
    assert exit_status(lambda: prepare_data.main(flags(config))) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index('warnings')
    assert lines[at + 1] == 'videos with segments of several classes: 3' and lines[-1] == 'no defects found'
    assert lines[at + 2] == (
        '  %s: video s7 has segments of bowing, waving; training gives all of them the one class of %s; '
        '--labels segment gives each its own' % tuple(map(config.data.path, ('source_annotation', 'source_labels'))))
    assert 'video t1 has segments of nodding, waving' in lines[at + 3] and 'video t2 has' in lines[at + 4]


def test_reversed_segments_of_the_ground_truth(config):
    truth(config, {'v1': {'subset': 'validation', 'annotations': [
        {'segment': segment, 'label': 'nodding'} for segment in ([1, 2], [9, 3.5], [4, 4])]}})
    defects = check.check(config).defects
    assert defects.counts == {'ground truth': 2}
    assert 'video v1 has a segment from 9 to 3.5, expected start < end' in str(defects)
    assert 'video v1 has a segment from 4 to 4' in str(defects)


def test_times_of_the_ground_truth_may_be_texts(config):
    truth(config, dict(WHOLE, v0=annotated(segment=('1', '2.5')), v1=annotated(segment=('9', '10'))))  # '9' > '10'
    found = check.check(config)
    assert found.defects.counts == found.warnings.counts == {}
    truth(config, dict(WHOLE, v0=annotated(segment=('10', '9.5')), v1=annotated(segment=('-0.5', 2)),
                       v2=annotated(segment=(30, '33.5')), v3=annotated(segment=('1_0', 20))))
    assert check.check(config).defects.counts == {'ground truth': 1}  # 1_0 is no number, so that no more is compared
    truth(config, dict(WHOLE, v0=annotated(segment=('10', '9.5')), v1=annotated(segment=('-0.5', 2)),
                       v2=annotated(segment=(30, '33.5'))))
    found = check.check(config)
    assert found.defects.counts == {'ground truth': 1}
    assert 'video v0 has a segment from 10 to 9.5, expected start < end' in str(found.defects)
    assert found.warnings.counts == {'ground truth outside its video': 2}
    assert 'video v1 has a segment from -0.5 to 2, but' in str(found.warnings)
    assert 'video v2 has a segment from 30 to 33.5, but' in str(found.warnings)


def test_a_misspelt_key_is_a_defect(config):
    with changed(config, 'source_annotation') as entries:
        entries['s3']['annotation'] = entries['s3'].pop('annotations')
    defects = check.check(config).defects
    assert defects.counts == {'annotation': 1}
    assert 'video s3: found the key annotation, expected annotations' in str(defects)


def test_training_videos_without_a_segment_are_named(config):
    with changed(config, 'source_annotation') as entries:
        entries['s3']['segments'] = entries['s3'].pop('annotations')
        entries['s4']['Annotations'], entries['s4']['annotations'] = entries['s4']['annotations'], []
        entries['s5']['annotations'] = [{'segment': [5, 5]}]
    found = check.check(config)
    assert found.defects.counts == {}
    assert found.warnings.counts == {'training videos without a segment': 3}  # and none of validation
    for name in ('s3', 's4', 's5'):
        assert '%s: video %s has no usable segment' % (config.data.path('source_annotation'), name) in str(
            found.warnings)


def test_labels_that_are_no_class_name_are_named_where_others_are_one(config):
    with changed(config, 'target_annotation') as entries:
        for name in ('t0', 't2'):
            entries[name]['annotations'].append({'segment': [1, 2], 'label': 'Waving'})
    found = check.check(config)
    assert found.defects.counts == {} and found.warnings.counts['labels without a class name'] == 1
    assert '%s: found the label Waving of 2 videos, which is no line of %s; correct' % (
        config.data.path('target_annotation'), config.data.path('target_categories')) in str(found.warnings)
    with changed(config, 'target_annotation') as entries:  # names of another kind, such as of another language
        for name in ('t0', 't1', 't2', 't3', 't4'):
            entries[name]['annotations'] = [{'segment': [1, 2], 'label': 'Winken'}]
    assert 'labels without a class name' not in check.check(config).warnings.counts


@pytest.mark.parametrize('subset', ['Training', ' training', 'training ', 'VALIDATION'])
def test_a_subset_that_is_written_in_another_way_is_a_defect(config, subset):
    path = config.data.path('source_info')
    with open(path) as file:
        rows = file.read()
    write(path, rows.replace('s3,512,32.0,30,training', 's3,512,32.0,30,' + subset))
    defects = check.check(config).defects
    assert defects.counts == {'info table': 1}
    assert '%s, row 5: found video s3 in subset %r, expected %s; correct the subset' % (
        path, subset, subset.strip().lower()) in str(defects)


# The ground truth

@pytest.mark.parametrize('subset, similar', [('Validation', 'validation'), (' validation', 'validation'),
                                             ('validaton', 'validation'), ('Test', None)])
def test_a_ground_truth_without_a_subset_to_evaluate_on(config, subset, similar):
    path = config.data.path('ground_truth')
    truth(config, {'v1': annotated(subset=subset), 'v2': dict(annotated(), annotations=[]), 'x': annotated(
        subset='testing')})
    found = check.check(config)
    assert found.defects.counts == {'ground truth': 1}
    assert '%s: found no segment of subset validation (subsets: %s), so that' % (
        path, ', '.join(sorted([subset, 'validation', 'testing']))) in str(found.defects)
    assert found.warnings.counts.get('unusual subsets', 0) == bool(similar)
    if similar:
        assert '%s: found the subset %r, whose videos are ignored; write %s if' % (path, subset, similar) in str(
            found.warnings)
    truth(config, dict(WHOLE, x=annotated(subset=subset)))  # where the rest is right, a warning only
    found = check.check(config)
    assert found.defects.counts == {} and found.warnings.counts == ({'unusual subsets': 1} if similar else {})


def test_labels_of_the_ground_truth_that_the_label_table_contradicts(config):
    truth(config, dict(WHOLE, v0=annotated('waving'), v2=annotated('waving'), v3={
        'subset': 'validation', 'annotations': annotated('waving')['annotations'] + annotated()['annotations']}))
    found = check.check(config)
    assert found.defects.counts == {'labels that differ': 2} and found.warnings.counts == {}
    for name in ('v0', 'v2'):
        assert '%s: video %s has class 1, nodding, but its segments in %s have the label waving; correct' % (
            config.data.path('target_labels'), name, config.data.path('ground_truth')) in str(found.defects)


def test_ground_truth_outside_its_video_and_videos_without_any(config):
    truth(config, {'v0': annotated(segment=(-0.5, 2)), 'v1': annotated(segment=(30, 33.5)),
                   'v3': annotated(segment=(0, 32.9))})  # the videos last 32 seconds
    found = check.check(config)
    assert found.defects.counts == {}
    assert found.warnings.counts == {'ground truth outside its video': 2, 'validation videos without ground truth': 1}
    for message in ('video v0 has a segment from -0.5 to 2, but lasts from 0 to 32.0 seconds',
                    'video v1 has a segment from 30 to 33.5', 'has no video v2 of subset validation'):
        assert '%s: %s' % (config.data.path('ground_truth'), message) in str(found.warnings)
    truth(config, dict(WHOLE, v0=annotated(segment=(32.1, 32.9))))  # it starts after the end
    assert check.check(config).warnings.counts == {'ground truth outside its video': 1}


# Features that look wrong

def test_features_that_look_wrong_are_warnings(config, capsys):
    data = config.data
    numbers = np.ones((512, WIDTH))
    for name, rows in (('s3', 99), ('s8', 511)):
        np.save(os.path.join(data.path('source_features'), name + '.npy'), numbers[:rows])
    np.save(os.path.join(data.path('source_clips'), 's9.npy'), np.zeros((64, WIDTH)))
    np.save(os.path.join(data.path('source_clips'), 's1.npy'), np.zeros((64, WIDTH)))
    np.save(os.path.join(data.path('target_features'), 'v2.npy'), numbers * 2e6)
    csv_path = os.path.join(data.path('target_clips'), 't2.csv')
    write(csv_path, 'a,b,c,d' + '\n1,2,3,4' * 64)
    npy_path = csv_path[:-len('csv')] + 'npy'
    os.utime(npy_path, (1e9, 1e9))
    assert exit_status(lambda: prepare_data.main(flags(config))) == 0
    lines = capsys.readouterr().out.splitlines()
    lines = lines[lines.index('warnings') + 1:]
    assert lines[0] == 'numbers of rows: 1' and lines[1] == (
        '  source_features: 13 of 15 videos have 512 rows; s3 has 99; s8 has 511; extract these again if they were '
        'cut short')
    assert lines[2:5] == ['only zeros: 2'] + [
        '  %s/%s.npy: all numbers of its 64 rows are 0; was the video extracted?' % (data.path('source_clips'), name)
        for name in ('s1', 's9')]
    assert lines[5] == 'newer files: 1' and lines[6].startswith('  %s is newer than %s, ' % (csv_path, npy_path))
    assert lines[7] == 'large numbers: 1' and 'v2.npy: found numbers from 2e+06 to 2e+06' in lines[8]
    assert lines[9:] == ['no defects found']
    os.remove(npy_path)
    found = check.check(config)
    assert found.defects.counts == {} and found.warnings.counts['no line end'] == 1
    assert '%s: found no line end at the end' % csv_path in str(found.warnings)


def test_whole_videos_may_each_have_rows_of_their_own(config):
    folder = config.data.path('source_features')
    for number, name in enumerate(sorted(os.listdir(folder))):
        np.save(os.path.join(folder, name), np.ones((100 + number, WIDTH)))
    assert check.check(config).warnings.counts == {}


@pytest.mark.parametrize('rows, is_named', [
    ([512, 512, 512, 99, 99, 99], True), ([99, 99, 99, 512, 512, 512], True), ([512, 512, 99, 98], True),
    ([512, 99, 98, 97, 512], False), ([512, 99], False)])
def test_half_of_the_whole_videos_cut_short(tmp_path, rows, is_named):
    config = make(tmp_path, target=dict({'v%d' % number: video(subset='validation') for number in range(len(rows))},
                                        t=video((8, 24))))
    for number, count in enumerate(rows):
        np.save(os.path.join(config.data.path('target_features'), 'v%d.npy' % number), np.ones((count, WIDTH)))
    warnings = check.check(config).warnings
    assert warnings.counts.get('numbers of rows', 0) == is_named
    if is_named:
        usual = rows.count(512)
        assert 'target_features: %d of %d videos have 512 rows; ' % (usual, len(rows)) in str(warnings)


def test_a_source_that_has_changed_since_its_conversion_is_a_warning(config):
    folder = config.data.path('source_clips')
    os.remove(os.path.join(folder, 's3.npy'))
    path = os.path.join(folder, 's3.csv')
    write(path, 'a,b,c,d\n' + '1,2,3,4\n' * 64)
    prepare_data.main(['features', folder, '--feature_width', '%d' % WIDTH])
    assert check.check(config).warnings.counts == {}
    write(path, 'a,b,c,d\n' + '5,6,7,8.5\n' * 64)
    os.utime(path, (1e9, 1e9))
    warnings = check.check(config).warnings
    assert warnings.counts == {'newer files': 1} and '%s has changed since ' % path in str(warnings)


def test_an_hdf5_dataset_that_was_written_in_part_is_a_warning(config):
    with h5py.File(config.data.path('source_clips') + '.h5', 'w') as file:
        for number in range(15):
            clips = file.create_dataset('s%d' % number, (64, WIDTH), 'f4', chunks=(8, WIDTH))
            clips[:64 if number else 40] = 1
    warnings = check.check(config).warnings
    assert warnings.counts == {'chunks never written': 1} and 'dataset s0: found 5 of 8 chunks' in str(warnings)


# Data roots that were imported

def test_labels_of_segments_may_differ_within_a_video(config):
    with changed(config, 'target_annotation') as entries:
        for name in ('t0', 't1', 't2'):
            entries[name]['annotations'] = [{'segment': [8, 24], 'label': label} for label in ('waving', 'nodding')]
        entries['t4']['annotations'][0]['label'] = 'no name'
    write(config.data.path('source_categories'), 'waving\nnodding\nbowing\n')
    for table in ('source_labels', 'target_labels'):
        os.remove(config.data.path(table))
    found = check.check(override(config, labels='segment'))
    assert found.defects.counts == {}
    assert set(found.warnings.counts) == {
        'labels without a class name', 'training videos without a segment', 'samples'}
    assert 'target training: 5 videos, 7 segments of 2 classes; unusable segments: 1 of a class without a name' in (
        found.summary)
    assert 'label table' in check.check(config).defects.counts


def test_rows_that_do_not_cover_their_videos_are_a_defect(config):
    found = check.check(override(config, source_row_seconds=1.0))
    assert found.defects.counts == {'row times': 1}
    assert "%s: features cover 2.00 of the videos' duration (median of 15 videos), expected 1" % config.data.path(
        'source_annotation') in str(found.defects)
    with changed(config, 'source_annotation') as entries:
        entries['s3'].update(rows=40, row_seconds=0.5)
    found = check.check(config)
    assert 'row times' not in found.defects.counts and found.warnings.counts['row times'] == 1


def test_samples_that_are_left_out_are_warnings(config, capsys):
    with changed(config, 'source_annotation') as entries:
        for name in ('s1', 's2'):
            entries[name]['annotations'][0]['segment'] = [8, 12]
    assert exit_status(lambda: prepare_data.main(flags(config))) == 0
    output = capsys.readouterr().out
    assert ('source training: 13 of 15 segments used as foreground samples; left out: 2 shorter than 32 rows (16.0 s)'
            in output)
    assert 'source training: 13 % of the segments are no foreground samples' in output


@pytest.mark.parametrize('side, setting, length', [('source', 'foreground', 12), ('target', 'moment', 3)])
def test_no_sample_is_a_defect(config, capsys, side, setting, length):
    with changed(config, side + '_annotation') as entries:
        for entry in entries.values():
            entry['annotations'][:] = [dict(segment, segment=[8, 8 + length / 2]) for segment in entry['annotations']]
    assert exit_status(lambda: prepare_data.main(flags(config))) == 2
    output = capsys.readouterr()
    text = {'source': 'foreground samples in 15 source training videos; training stops without them; left out: 15 '
                      'shorter than 32 rows (16.0 s); --foreground_clips 12 keeps',
            'target': 'moments in 5 target training videos; training stops without them; left out: 5 shorter than 8 '
                      'rows (4.0 s); --moment_clips 3 keeps'}[side]
    assert '\nno samples: 1\n  %s: found no %s nine tenths\n' % (
        config.data.path(side + '_annotation'), text) in output.out
    assert output.err.splitlines()[-1].endswith('listed above; correct them')  # --bad_data skip does not help
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--%s_clips' % setting, '%d' % length])) == 0


def test_no_segment_at_all_is_a_defect(config):
    with changed(config, 'target_annotation') as entries:
        for entry in entries.values():
            entry['annotations'] = []
    defects = check.check(config).defects
    assert defects.counts == {'no samples': 1}
    assert '%s: found no usable segment in 5 target training videos' % config.data.path('target_annotation') in str(
        defects)


def test_videos_without_features_that_are_dropped_are_a_warning(config):
    os.remove(os.path.join(config.data.path('source_clips'), 's3.npy'))
    assert check.check(config).defects.counts == {'missing features': 1}
    found = check.check(override(config, missing='drop'))
    assert found.defects.counts == {} and found.warnings.counts['missing features'] == 1


def test_segments_of_videos_without_features_are_no_samples(config):
    for field, name in (('source_clips', 's3'), ('source_features', 's4'), ('source_features', 's3'),
                        ('target_clips', 't2'), ('target_features', 'v1')):
        os.remove(os.path.join(config.data.path(field), name + '.npy'))
    with changed(config, 'source_annotation') as entries:
        entries['s4']['annotations'].append({'segment': [8, 12], 'label': 'waving'})
    lines = check.check(config).summary
    assert 'source training: 15 videos (2 without features), 16 segments of 1 class; unusable segments: none' in lines
    assert ('source training: 13 of 16 segments used as foreground samples; left out: 1 shorter than 32 rows (16.0 '
            's), 2 of videos without features') in lines
    assert 'target training: 4 of 5 segments used as moments; left out: 1 of videos without features' in lines
    found = check.check(override(config, missing='drop'))
    for line in ('dropped for lack of features: 2 of 15 source training videos, such as s3',
                 'source training: 13 videos, 13 segments of 1 class; unusable segments: none',
                 'source training: 13 of 13 segments used as foreground samples',
                 'dropped for lack of features: 1 of 5 target training videos, such as t2',
                 'target training: 4 of 4 segments used as moments',
                 'dropped for lack of features: 1 of 4 target validation videos, such as v1'):
        assert line in found.summary, line
    assert found.defects.counts == {} and found.warnings.counts['missing features'] == 5


def test_what_is_left_after_a_drop_must_have_samples(config):
    for number in range(14):
        os.remove(os.path.join(config.data.path('source_clips'), 's%d.npy' % number))
    with changed(config, 'source_annotation') as entries:
        entries['s14']['annotations'][0]['segment'] = [8, 12]
    assert check.check(config).defects.counts == {'missing features': 14}
    assert check.check(override(config, missing='drop')).defects.counts == {'no samples': 1}


def test_a_drop_of_all_videos_is_a_defect_although_no_folder_lacks_them_all(config, capsys):
    for number in range(15):
        folder = config.data.path('source_clips' if number % 2 else 'source_features')
        os.remove(os.path.join(folder, 's%d.npy' % number))
    assert exit_status(lambda: prepare_data.main(flags(config) + ['--missing', 'drop'])) == 2
    output = capsys.readouterr()
    assert 'missing features: 15' in output.out and 'dropped' not in output.out
    assert output.err.splitlines()[-1].endswith('found 15 defects of 1 kind, listed above; correct them')


def test_windows_are_stated_in_rows(config):
    lines = check.check(override(config, window_seconds=8.3, source_features=config.data.source_clips,
                                 target_features=config.data.target_clips)).summary
    assert ('source training: 15 windows in a pass, of 17 / 17 / 17 rows (8.5 / 8.5 / 8.5 s) (shortest, median, '
            'longest)' in lines)  # rows of half a second; each video of 64 rows has one segment
    assert ('target validation: 28 windows of 17 / 17 / 17 rows (8.5 / 8.5 / 8.5 s) (shortest, median, longest)'
            in lines)  # of 4 videos, from rows 0, 8, …, 40 and 47


def test_a_root_that_was_imported_for_training_alone(config):
    info = config.data.path('target_info')
    with open(info) as file:
        rows = file.read()
    write(info, rows.replace('validation', 'other'))
    data_root.write(config.data.data_root, {'settings': {'labels': 'video'}})
    found = check.check(config)
    assert found.defects.counts == {}
    assert any(line.startswith('target validation: none, as ') for line in found.summary)
    assert check.check(override(config, target_features=config.data.target_clips)).defects.counts == {'info table': 1}


def test_features_in_channels_first_and_windows(config):
    for name in os.listdir(config.data.path('source_clips')):
        path = os.path.join(config.data.path('source_clips'), name)
        np.save(path, np.load(path).T)
    assert check.check(config).defects.counts == {'features': 15}
    config = override(config, source_layout='ct', window_seconds=8.0, source_features=config.data.source_clips)
    assert check.check(config).defects.counts == {'features': 4}  # of 4 validation videos with 512 rows
    assert check.check(override(config, target_features=config.data.target_clips)).defects.counts == {}


# Names that cannot be printed, files that are no files

def test_names_with_escapes_reach_no_terminal(tmp_path):
    root = os.path.join(os.fsencode(str(tmp_path)), b'a\x1b[2J\xff')
    os.mkdir(root)
    config = make(os.fsdecode(root))
    with h5py.File(os.fsencode(config.data.path('source_clips')) + b'.h5', 'w') as file:
        file['other'] = np.ones((64, WIDTH))
    write(config.data.path('target_info'), 'video,subset\nt,training\nv\x1b[2J,validation\n')
    done = python(os.path.join(ROOT, 'prepare_data.py'), *flags(config), env=dict(
        os.environ, PYTHONIOENCODING='ascii', LC_ALL='C', PYTHONUTF8='0', PYTHONOPTIMIZE='2'))
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert '\x1b[2J' not in done.stdout and done.stdout.isascii()
    assert 'a\\x1b[2J\\udcff' in done.stdout and "found the video id 'v\\x1b[2J'" in done.stdout
    assert done.stderr.splitlines()[-1].startswith('error: ')


@pytest.mark.parametrize('field', ['source_info', 'source_labels', 'source_annotation', 'source_categories',
                                   'ground_truth', 'source_features', 'source_clips'])
@pytest.mark.parametrize('kind', ['pipe', 'dangling'])
def test_what_is_no_file_is_named_without_a_hang(config, field, kind):
    path = config.data.path(field)
    if os.path.lexists(path):
        os.rename(path, path + '_before')
    os.mkfifo(path) if kind == 'pipe' else os.symlink('nowhere', path)
    defects = str(check.check(config).defects)
    expected = ('found a pipe, socket or device, expected a file' if kind == 'pipe'
                else 'not found' if field in ('source_features', 'source_clips') else 'No such file or directory')
    assert '%s: %s' % (path, expected) in defects
