"""Snapshots in a model folder: their names, the settings beside each, saving and checked restoring."""
import json
import os
import re

import numpy as np

import config as settings
from errors import InputError, one_line
from files import read_json, written_whole
from tensorflow_setup import tf

PREFIX = 'aher_adv_model_checkpoint-step_'


def path(model_dir, step):
    """Path of the snapshot of `step`, as tf.train.Saver takes it."""
    return os.path.join(model_dir, '%s%d' % (PREFIX, step))


def steps_in(model_dir):
    """Steps of the snapshots in `model_dir`, oldest first."""
    names = os.listdir(model_dir) if os.path.isdir(model_dir) else []
    found = [re.match(re.escape(PREFIX) + r'(\d+)\.index$', name) for name in names]
    return sorted(int(match.group(1)) for match in found if match)


def save(session, saver, config, step):
    """Write the snapshot of `step` and the resolved settings beside it; return its path."""
    prefix = path(config.model_dir, step)
    with written_whole(prefix + '.json') as partial, open(partial, 'w') as text:
        text.write(settings.to_json(config))
    return saver.save(session, prefix, write_meta_graph=False)


def restore(session, prefix, variables):
    """Restore `variables` from the snapshot at `prefix`, ours or the authors'.

    Raises InputError where it cannot be read, or lacks one of them or has it in another shape.
    """
    try:
        reader = tf.train.NewCheckpointReader(prefix)
        found, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError('%s: no readable snapshot (%s)' % (prefix, one_line(error))) from None
    for variable in variables:
        name, expected = variable.op.name, variable.shape.as_list()
        if name not in found:
            raise InputError('%s: lacks variable %s' % (prefix, name))
        if found[name] != expected:
            raise InputError('%s: variable %s has shape %s, expected %s; was it trained with other settings?'
                             % (prefix, name, found[name], expected))
        if types[name] != variable.dtype.base_dtype:
            raise InputError('%s: variable %s holds %s, expected %s' % (
                prefix, name, types[name].name, variable.dtype.base_dtype.name))
    try:
        tf.train.Saver(variables).restore(session, prefix)
    except tf.errors.OpError as error:
        raise InputError('%s: unreadable (%s)' % (prefix, one_line(error.message))) from None
    for variable in variables:
        if not np.isfinite(session.run(variable)).all():
            raise InputError('%s: variable %s holds numbers that are not finite: its training diverged; take an '
                             'earlier snapshot' % (prefix, variable.op.name))


def check_settings(prefix, config):
    """Raise InputError where the settings saved with the snapshot describe another network than `config`."""
    path_of_settings = prefix + '.json'
    if not os.path.exists(path_of_settings):
        return  # a snapshot of the authors'
    saved = read_json(path_of_settings)
    trained = saved.get('model') if isinstance(saved, dict) else None
    if not isinstance(trained, dict):
        raise InputError('%s: found no settings "model", expected those of a training run; move the file away '
                         'if it is none' % path_of_settings)
    mine = json.loads(settings.to_json(config))['model']
    different = ['%s %s (this run: %s)' % (name, trained[name], mine[name])
                 for name in mine if name in trained and trained[name] != mine[name]]
    if different:
        raise InputError('%s: trained with %s; give the same flags' % (path_of_settings, ', '.join(different)))
