"""Settings: described once, given by flags, --set, presets and the .json of a snapshot; what is refused."""
import json
import os

import pytest
from data_sets import ROOT, message_of

import config as settings
from config import CHECK, PRESETS, TEST, TRAIN
from dataset import data_root

SCRIPTS = (TRAIN, TEST, CHECK)


def config_of(script, *arguments):
    parser = settings.argument_parser('', script)
    return settings.from_arguments(parser.parse_args(arguments), script)


def help_of(script):
    return ' '.join(settings.argument_parser('', script).format_help().split())


def all_settings():
    return [setting for setting, _ in settings._settings_of(PRESETS['k600'])]


def test_names_and_help_are_there_once():
    names = [setting.name for setting in all_settings()]
    assert len(names) == len(set(names))
    assert all(setting.help for setting in all_settings())


@pytest.mark.parametrize('preset', sorted(PRESETS))
def test_a_preset_passes_its_own_check_and_survives_json(preset):
    config = settings.check(PRESETS[preset])
    assert settings.from_dict(json.loads(json.dumps(settings.to_dict(config))), 'here') == config


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_says_which_preset_a_default_is_of(script):
    text = help_of(script)
    assert '(default: k600: data; split: data/split; thumos14_anet: data/thumos14_anet; demo: data/demo)' in text
    if script == TRAIN:
        assert '[steps] (default: k600, split, thumos14_anet: 15000; demo: 600)' in text
        assert 'training (docs/method.md, sections 5 to 7):' in text
        assert '--context {adversarial,localized,untrained,none,unused}' in text


def test_a_script_shows_what_it_reads_and_nothing_else():
    assert '--learning_rate' in help_of(TRAIN) and '--nms_tiou' not in help_of(TRAIN)
    assert '--nms_tiou' in help_of(TEST) and '--learning_rate' not in help_of(TEST)
    for flag in ('--source_clips', '--source_classes', '--mode ', '--batch_size'):
        assert flag not in help_of(TEST)
    assert '--accept_changes' in help_of(TEST) and '--accept_changes' not in help_of(CHECK)
    assert '--source_clips' in help_of(CHECK) and '--threads' not in help_of(CHECK)
    assert '--bad_data' not in help_of(CHECK) and '--model_dir' not in help_of(CHECK)


def test_every_setting_can_be_given():
    for script in SCRIPTS:
        for setting in all_settings():
            if script not in setting.scripts or setting.name in ('config', 'faults', 'resume'):
                continue
            default = settings._text(setting.default)
            if setting.flag:
                config_of(script, '--%s=%s' % (setting.name, default))
            assert config_of(script, '--set', '%s=%s' % (setting.name, default)) == PRESETS['k600'], setting.name


def test_set_gives_what_has_no_flag():
    config = config_of(TRAIN, '--config', 'demo', '--set', 'rate_boundaries=80,160', '--set', 'max_segments=3',
                       '--set', 'level_widths=32,48', '--set', 'foreground_clips=4', '--set', 'moment_clips=2',
                       '--set', 'clip_frames=16', '--max_steps', '7', '--mode', 'F2', '--accept_changes', 'on')
    assert config.train.rate_boundaries == (80, 160) and config.model.level_widths == (32, 48)
    assert config.data.max_segments == 3 and config.data.foreground_clips == 4
    assert config.data.moment_clips == 2 and config.data.clip_frames == 16
    assert config.train.max_steps == 7 and config.accept_changes
    assert config.train.faults == settings.Faults(odd_end_without_start=True)
    assert config.data.data_root == 'data/demo'


@pytest.mark.parametrize('script, text, part', [
    (TRAIN, 'rate=1', '--set rate=1: expected NAME=VALUE, the name one of '),
    (TEST, 'rate_boundaries=1', '--set rate_boundaries=1: expected NAME=VALUE'),
    (TRAIN, 'max_segments', '--set max_segments: expected a value like 25'),
    (TRAIN, 'rate_boundaries=1,x', '--set rate_boundaries=1,x: expected a value like 15000,30000'),
    (TRAIN, 'accept_changes=yes', '--set accept_changes=yes: expected a value like off'),
    (TRAIN, 'positive_tiou=1.5', '--set positive_tiou=1.5: expected 0 to 1'),
    (TRAIN, 'rate_decay=0', '--set rate_decay=0.0: expected more than 0 to '),
    (TRAIN, 'learning_rate=nan', '--learning_rate nan: expected '),
    (TRAIN, 'max_bad_share=-0.1', '--max_bad_share -0.1: expected 0 to 1'),
    (TRAIN, 'moment_ratios=14', '--moment_ratios 14: expected two numbers, the lower one first'),
    (TRAIN, 'moment_ratios=19,14', '--moment_ratios 19,14: expected two numbers, the lower one first'),
    (TRAIN, 'moment_ratios=14,20', '--moment_ratios 20: expected 1 to 19'),
    (TRAIN, 'moment_positions=4,3', '--set moment_positions=4,3: expected two numbers, the lower one first'),
    (TRAIN, 'moment_steps=255', '--set moment_steps=255: expected an even number'),
    (TRAIN, 'untrimmed_steps=2', '--set untrimmed_steps=2: expected 3 to '),
    (TRAIN, 'batch_size=1000000000', '--batch_size 1000000000: expected 1 to 65536'),
    (TRAIN, 'rate_boundaries=10,5', '--set rate_boundaries=10,5: expected rising numbers'),
    (TEST, 'moment_steps=128', '--set moment_steps=128: expected NAME=VALUE'),
    (TRAIN, 'stem_widths=64', '--set stem_widths=64: expected 2 numbers at least'),
    (TRAIN, 'context=some', "--context some: expected one of adversarial, localized")])
def test_values_that_cannot_be(script, text, part):
    assert message_of(config_of, script, '--set', text).startswith(part)


def test_a_choice_is_refused_by_the_parser(capsys):
    with pytest.raises(SystemExit):
        config_of(TRAIN, '--on_nan', 'ignore')
    assert "invalid choice: 'ignore' (choose from" in capsys.readouterr().err


def test_the_settings_beside_a_snapshot(tmp_path):
    config = config_of(TRAIN, '--config', 'demo', '--max_steps', '7', '--mode', 'authors', '--model_dir', 'm')
    path = str(tmp_path / 'aher_adv_model_checkpoint-step_7.json')
    with open(path, 'w') as file:
        json.dump(dict(settings.to_dict(config), files={'.index': 'abc'}), file)
    assert config_of(TRAIN, '--config', path) == config
    assert config_of(TRAIN, '--config', path, '--max_steps', '9', '--mode', 'mended').train == config.train._replace(
        max_steps=9, faults=settings.Faults())
    assert config_of(TEST, '--config', path).model == config.model


def test_what_is_of_one_run_is_not_taken_from_a_snapshot(tmp_path):
    path = str(tmp_path / 'settings.json')
    with open(path, 'w') as file:
        json.dump(settings.to_dict(config_of(
            TRAIN, '--resume', 'never', '--accept_changes', 'on', '--threads', '1', '--device', 'cpu', '--bad_data',
            'skip', '--workers', '3')), file)
    config = config_of(TRAIN, '--config', path)
    assert config.resume == 'auto' and not config.accept_changes and config.threads == 1
    config = config_of(TEST, '--config', path)
    assert (config.threads, config.device, config.data.bad_data, config.data.workers) == (0, 'auto', 'stop', 0)


def test_a_flag_is_not_abbreviated(capsys):
    with pytest.raises(SystemExit):
        config_of(TRAIN, '--conf', 'demo')
    assert 'unrecognized arguments: --conf' in capsys.readouterr().err


@pytest.mark.parametrize('content, part', [
    ('[]', 'found no settings; give the .json beside a snapshot, or a preset: k600'),
    ('{"model": 3}', 'found no settings model; give'),
    ('{"train": {"max_steps": "7"}}', "found the value '7' of train max_steps, expected one like 15000"),
    ('{"train": {"max_steps": true}}', 'found the value True of train max_steps'),
    ('{"model": {"level_widths": [3, "x"]}}', "found the value 'x' of model level_widths, expected one like 256")])
def test_a_json_that_holds_no_settings(tmp_path, content, part):
    path = tmp_path / 'settings.json'
    path.write_text(content)
    assert part in message_of(config_of, TRAIN, '--config', str(path))


def test_no_such_preset():
    assert message_of(config_of, TRAIN, '--config', 'k700') == (
        '--config k700: expected k600, split, thumos14_anet, demo, or the .json file beside a snapshot')


def test_differences_are_of_what_the_script_computes_with():
    saved = json.loads(json.dumps(settings.to_dict(PRESETS['demo'])))
    changed = settings.override(PRESETS['demo'], source_classes=7, feature_width=32, max_steps=9, workers=3,
                                learning_rate=0.5, data_root='elsewhere', max_segments=4)
    assert settings.differences(saved, changed, settings.PARTS) == [
        'feature_width 64 (this run: 32)', 'source_classes 20 (this run: 7)', 'learning_rate 0.001 (this run: 0.5)',
        'max_segments 25 (this run: 4)']
    assert settings.differences(saved, changed, ['model'], TEST) == ['feature_width 64 (this run: 32)']
    del saved['data']['max_segments'], saved['data']['exact_lengths']  # as an earlier version wrote it
    assert settings.differences(saved, changed, ['data']) == ['max_segments 25 (this run: 4)']
    exact = settings.override(PRESETS['demo'], exact_lengths=True)
    assert settings.differences(saved, exact, settings.PARTS) == ['exact_lengths False (this run: True)']


def test_the_page_of_settings_is_up_to_date():
    with open(os.path.join(ROOT, 'docs', 'settings.md'), encoding='utf-8') as file:
        assert file.read() == settings.to_markdown() + '\n', 'run: python3 config.py > docs/settings.md'


# data.json: what a data root says of itself

IMPORTED = {'feature_width': 12, 'target_classes': 4, 'target_features': 'feats', 'labels': 'segment',
            'target_row_seconds': 0.5, 'moment_clips': 2}


def make_data_root(tmp_path, **changes):
    data_root.write(str(tmp_path), {'settings': dict(IMPORTED, **changes), 'source': {}, 'target': {}})
    return ['--data_root', str(tmp_path)]


def test_a_data_root_overrides_presets_and_flags_override_it(tmp_path):
    flags = make_data_root(tmp_path)
    config = config_of(TEST, *flags)
    assert (config.model.feature_width, config.model.target_classes, config.data.target_features) == (12, 4, 'feats')
    assert config.data.path('target_features') == str(tmp_path / 'feats')
    assert config_of(TRAIN, *flags).data.labels == 'segment' and config_of(CHECK, *flags).data.moment_clips == 2
    assert config_of(TRAIN, '--config', 'demo', *flags).model.feature_width == 12
    given = config_of(TRAIN, '--feature_width', '8', '--labels', 'video', '--set', 'target_row_seconds=0.25', *flags)
    assert (given.model.feature_width, given.data.labels, given.data.target_row_seconds) == (8, 'video', 0.25)
    assert given.data.moment_clips == 2


def test_the_json_of_a_snapshot_keeps_its_settings_unless_another_data_root_is_given(tmp_path):
    flags, path = make_data_root(tmp_path), str(tmp_path / 'step.json')
    trained = config_of(TRAIN, '--feature_width', '8', *flags)
    with open(path, 'w') as file:
        json.dump(settings.to_dict(trained), file)
    assert config_of(TEST, '--config', path).model.feature_width == 8
    assert config_of(TEST, '--config', path, *flags).model.feature_width == 8
    (tmp_path / 'other').mkdir()
    assert config_of(TEST, '--config', path, *make_data_root(tmp_path / 'other')).model.feature_width == 12


def test_what_was_imported_after_the_training_is_tested(tmp_path):
    flags, path = make_data_root(tmp_path), str(tmp_path / 'step.json')
    trained = config_of(TRAIN, '--set', 'target_row_seconds=0.25', *flags)
    with open(path, 'w') as file:
        json.dump(settings.to_dict(trained), file)
    make_data_root(tmp_path, ground_truth='truth.json', target_features='new', target_row_seconds=2.0)
    data = config_of(TEST, '--config', path, *flags).data
    assert (data.ground_truth, data.target_features, data.target_row_seconds) == ('truth.json', 'feats', 0.25)


@pytest.mark.parametrize('changes, message', [
    ({'batch_size': 4}, 'found the settings batch_size, which cannot be set there; import the data again'),
    ({'data_root': 'x'}, 'found the settings data_root, which cannot'),
    ({'feature_width': '12'}, "found the value '12' of model feature_width, expected one like 2048"),
    ({'target_row_seconds': True}, 'found the value True of data target_row_seconds, expected one like 0.0'),
    ({'labels': 'segments'}, '--labels segments: expected one of video, segment')])
def test_a_faulty_setting_of_a_data_root_is_refused(tmp_path, changes, message):
    flags = make_data_root(tmp_path, **changes)
    assert message in message_of(config_of, TRAIN, *flags)


def test_a_data_root_without_its_json_changes_nothing(tmp_path):
    assert config_of(TRAIN, '--data_root', str(tmp_path)) == settings.override(
        PRESETS['k600'], data_root=str(tmp_path))


def test_paths_may_differ_on_resume_and_other_texts_may_not():
    saved = settings.to_dict(PRESETS['k600'])
    moved = settings.override(PRESETS['k600'], data_root='x', source_clips='y', target_info='z', ground_truth='g')
    assert settings.differences(saved, moved, ['data'], TRAIN) == []
    changed = settings.override(PRESETS['k600'], labels='segment', target_layout='ct', source_key='k', missing='drop')
    assert settings.differences(saved, changed, ['data'], TRAIN) == [
        'source_key  (this run: k)', 'target_layout tc (this run: ct)', 'labels video (this run: segment)']
