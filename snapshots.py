"""Snapshots in a model folder: writing them whole, verifying and restoring them, where training goes on.

A snapshot of step N is two sets of files: the model, aher_adv_model_checkpoint-step_N, which tests read and which
has the authors' format; and training_state-step_N, what else training needs to go on (Adam's slots, several times
the model), kept for the newest two. Beside each lies a .json with the checksums of its files and of itself; the
model's holds the settings too, the state's the progress: what the log's next line needs. All is written to a folder
of its own and moved into place when it is on the disk, the .index files last: a snapshot that has one is whole.
"""
import contextlib
import hashlib
import json
import os
import re
import shutil
from typing import NamedTuple

import numpy as np

import config as settings
from errors import InputError
from files import read_json, sha256, sweep, sync, writing
from tensorflow_setup import tf

PREFIX = 'aher_adv_model_checkpoint-step_'
STATE_PREFIX = 'training_state-step_'
STATES_KEPT = 2
SETTINGS = ('model', 'train', 'data')  # parts of the settings that training goes on with
PARTIAL = 'snapshot.partial'  # the folder of what is being written
ITSELF = 'sha256_of_the_rest'  # key of a .json, whose value is _checksum of what else it holds


class Damaged(InputError):
    """A snapshot that cannot be used, whatever the settings; another one may be whole."""


class Part(NamedTuple):
    """Variables that are written and restored together."""

    variables: list
    saver: tf.train.Saver
    floating: list     # names of those that hold floating-point numbers
    finite: tf.Tensor  # [floating], whether all numbers of each are finite


class Parts(NamedTuple):
    """What a snapshot holds."""

    model: Part  # the step's counter among it
    state: Part  # all other variables


class Start(NamedTuple):
    """A snapshot that training can go on from."""

    step: int
    prefix: str     # path of the model's files
    state: str      # path of the state's
    settings: dict  # of the run that wrote it, as config.to_dict
    progress: dict  # as that run gave it to `save`


def path(model_dir, step):
    """Path of the snapshot of `step`, as tf.train.Saver takes it."""
    return os.path.join(model_dir, '%s%d' % (PREFIX, step))


def steps_in(model_dir, prefix=PREFIX):
    """Steps of the snapshots in `model_dir`, oldest first."""
    names = os.listdir(model_dir) if os.path.isdir(model_dir) else []
    found = [re.match(re.escape(prefix) + r'(\d+)\.index$', name) for name in names]
    return sorted(int(match.group(1)) for match in found if match)


def part_of(variables):
    """The Part of `variables`, one of which at least holds floating-point numbers."""
    floating = [variable for variable in variables if variable.dtype.base_dtype.is_floating]
    return Part(variables, tf.train.Saver(variables, max_to_keep=None), [variable.op.name for variable in floating],
                tf.stack([tf.reduce_all(tf.is_finite(variable)) for variable in floating]))


def parts_of(model):
    """The Parts of a graph, of which `model` lists the variables that are the model's."""
    names = {variable.op.name for variable in model}
    state = [variable for variable in tf.global_variables() if variable.op.name not in names]
    return Parts(part_of(model), part_of(state))


def not_finite(session, *parts):
    """Name of the first variable of `parts` that holds a number which is not finite; None where there is none."""
    for part, finite in zip(parts, session.run([part.finite for part in parts])):
        if not finite.all():
            return part.floating[int(np.argmin(finite))]
    return None


# Writing

def save(session, parts, config, step, progress):
    """Write the snapshot of `step`, then remove those beyond config.train.max_to_keep; return its path.

    `progress` is what JSON can hold of where the run is; start_of gives it back.

    Whenever the process dies, the snapshots from before or the new one are whole. Raises InputError, and leaves
    the folder as it was, where it cannot be written.
    """
    folder, partial = config.model_dir, os.path.join(config.model_dir, PARTIAL)
    written = {'%s%d' % (STATE_PREFIX, step): (parts.state, {'progress': progress}),
               '%s%d' % (PREFIX, step): (parts.model, settings.to_dict(config))}
    try:
        sweep(folder, PARTIAL)
        os.makedirs(partial)
        for name, (part, record) in written.items():
            _write(session, part.saver, os.path.join(partial, name), record)
        for name in written:
            _move(partial, folder, name)
        _prune(folder, step, config.train.max_to_keep)
    except OSError as error:
        raise InputError('%s: cannot be written: %s' % (path(folder, step), error.strerror)) from None
    except (tf.errors.OpError, ValueError) as error:  # ValueError: Saver's of a folder that is gone
        raise InputError('%s: cannot be written: %s' % (path(folder, step), _reason(error))) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path(folder, step)


def _write(session, saver, prefix, record):
    """The files of `saver` and the .json that describes them, on the disk."""
    saver.save(session, prefix, write_meta_graph=False, write_state=False)
    record = dict(record, files=checksums(prefix))
    record[ITSELF] = _checksum(record)
    with open(prefix + '.json', 'w') as text:
        json.dump(record, text, indent=2)
        text.write('\n')
    for end in _ends(prefix):
        sync(prefix + end)


def _checksum(record):
    """SHA-256 of a .json's object, however it is written."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _ends(prefix):
    """What the names of the files of `prefix` end with, .index last."""
    folder, name = os.path.split(prefix)
    ends = [found[len(name):] for found in os.listdir(folder or '.') if found.startswith(name + '.')]
    return sorted(ends, key=lambda end: (end == '.index', end))


def _move(partial, folder, name):
    prefix = os.path.join(folder, name)
    _remove(prefix)  # one that was found damaged, or that an accepted change makes anew
    for end in _ends(os.path.join(partial, name)):
        if end == '.index':
            sync(folder)
        os.replace(os.path.join(partial, name + end), prefix + end)
    sync(folder)


def _remove(prefix):
    for end in reversed(_ends(prefix)):
        os.remove(prefix + end)


def _prune(folder, step, max_to_keep):
    """Remove all but the newest models and states up to `step`: what is later is from before and may be damaged."""
    for prefix, count in ((PREFIX, max_to_keep), (STATE_PREFIX, STATES_KEPT)):
        for old in [found for found in steps_in(folder, prefix) if found <= step][:-count]:
            _remove(os.path.join(folder, '%s%d' % (prefix, old)))
    _remove_rests(folder)


def clean(folder):
    """Remove what killed runs left of files and snapshots in `folder`, which no other run may use meanwhile."""
    with writing(folder):
        sweep(folder, PARTIAL)
        sweep(folder, '*.partial[0-9]*')
        _remove_rests(folder)


def _remove_rests(folder):
    """Remove files of models and states without their .index, and states without their model."""
    models = steps_in(folder)
    states = [step for step in steps_in(folder, STATE_PREFIX) if step in models]
    for name in os.listdir(folder):
        match = re.match('(%s|%s)(\\d+)\\.' % (PREFIX, STATE_PREFIX), name)
        if match and int(match.group(2)) not in (models if match.group(1) == PREFIX else states):
            os.remove(os.path.join(folder, name))


# Reading

@contextlib.contextmanager
def _damage():
    """InputErrors within become Damaged."""
    try:
        yield
    except InputError as error:
        raise Damaged(str(error)) from None


@_damage()
def verify(prefix):
    """The .json of the files of `prefix`, a model's or a state's; None where there is none, as of the authors'.

    Raises Damaged where it cannot be read, or where a file is not what it was when it was written.
    """
    if not os.path.exists(prefix + '.json'):
        return None
    record = read_json(prefix + '.json')
    checksums_then = record.get('files', {}) if isinstance(record, dict) else None
    if not isinstance(checksums_then, dict):
        raise InputError('%s.json: unreadable: expected an object with checksums "files"; use another snapshot'
                         % prefix)
    if ITSELF in record and record.pop(ITSELF) != _checksum(record):
        raise InputError('%s.json: damaged, not the file that was written (SHA-256); use another snapshot' % prefix)
    there = _ends(prefix)  # looked for there, a name leads nowhere else
    for end, checksum in checksums_then.items():
        if end not in there:
            raise InputError('%s%s: is missing; use another snapshot' % (prefix, end))
        if sha256(prefix + end) != checksum:
            raise InputError('%s%s: damaged, not the file that was written (SHA-256); use another snapshot'
                             % (prefix, end))
    return record


@_damage()
def checksums(prefix):
    """{end of the name: SHA-256} of the files of a snapshot, without its .json; Damaged where one is unreadable."""
    return {end: sha256(prefix + end) for end in _ends(prefix) if end != '.json'}


def restore(session, prefix, part):
    """Restore a Part from the snapshot at `prefix`, ours or the authors'; return how many variables that holds.

    Raises InputError where it lacks one of the part's variables or has it in another shape, and Damaged where it
    cannot be read or one holds numbers that are not finite.
    """
    try:
        reader = tf.train.NewCheckpointReader(prefix)
        found, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise Damaged('%s: no readable snapshot (%s)' % (prefix, _reason(error))) from None
    for variable in part.variables:
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
        part.saver.restore(session, prefix)
    except tf.errors.OpError as error:
        raise Damaged('%s: unreadable (%s)' % (prefix, _reason(error))) from None
    diverged = not_finite(session, part)
    if diverged:
        raise Damaged('%s: variable %s holds numbers that are not finite: its training diverged; take an '
                      'earlier snapshot' % (prefix, diverged))
    return len(found)


def _reason(error):
    """The line of a TensorFlow error that says why: version 2 puts the operation's traceback before it."""
    lines = str(error).splitlines()
    nodes = [number for number, line in enumerate(lines[:-1]) if line.startswith('Node: ')]
    return lines[nodes[0] + 1 if nodes else 0]


def check_settings(prefix, config):
    """Checksums of a snapshot's files, as `checksums`.

    Raises Damaged where it is, InputError where its settings describe another network than `config`.
    """
    if not os.path.exists(prefix + '.index'):
        raise Damaged('%s: no readable snapshot' % prefix)
    record = verify(prefix)
    if record is None:
        return checksums(prefix)  # a snapshot of the authors'
    if not isinstance(record.get('model'), dict):
        raise Damaged('%s.json: found no settings "model", expected those of a training run; move the file away '
                      'if it is none' % prefix)
    different = settings.differences(record, config, ['model'])
    if different:
        raise InputError('%s.json: trained with %s; give the same flags' % (prefix, ', '.join(different)))
    return record.get('files') or checksums(prefix)


# Where training goes on

def start_of(config, check_progress=lambda progress: None):
    """The Start that config.resume asks for; None: at the beginning.

    check_progress raises InputError of a progress that the run cannot go on from: its snapshot is damaged.
    Raises InputError where new snapshots would be mixed with those of another training, or where the settings
    differ from the snapshot's, unless that is accepted.
    """
    folder, steps = config.model_dir, steps_in(config.model_dir)
    if config.resume == 'never':
        if steps:
            raise InputError('%s: holds snapshots, the last of step %d, and --resume never would mix others with '
                             'them; name another --model_dir, or go on with --resume auto' % (folder, steps[-1]))
        return None
    if config.resume == 'auto':
        start = _newest(folder, steps, check_progress)
        if start is None:
            return None
    else:
        start = _start(re.sub(r'\.(index|json)$', '', config.resume), check_progress)
        here = os.path.abspath(start.prefix) == os.path.abspath(path(folder, start.step))
        mixed = [step for step in steps if step > start.step or not here]
        if mixed:
            raise InputError('%s: holds snapshots (step %d) that do not lead to %s; name another --model_dir'
                             % (folder, mixed[-1], start.prefix))
    different = settings.differences(start.settings, config, SETTINGS)
    if different and not config.train.accept_changes:
        raise InputError('%s.json: trained with %s; give the same flags, or --accept_changes on'
                         % (start.prefix, ', '.join(different)))
    return start


def _newest(folder, steps, check_progress):
    """The newest Start in `folder`; what is wrong with newer ones is printed, a line each."""
    for step in reversed(steps):
        try:
            return _start(path(folder, step), check_progress)
        except InputError as error:
            print('skipped: %s' % error, flush=True)
    if steps:
        raise InputError('%s: training can go on from none of its %d snapshots; name another --model_dir '
                         '(--init_checkpoint takes weights over)' % (folder, len(steps)))
    return None


def _start(prefix, check_progress):
    folder, name = os.path.split(prefix)
    match = re.match(re.escape(PREFIX) + r'(\d+)$', name)
    if not match or not os.path.exists(prefix + '.index'):
        raise InputError('%s: no snapshot; expected the path of one, FOLDER/%sN' % (prefix, PREFIX))
    state = os.path.join(folder, STATE_PREFIX + match.group(1))
    if not os.path.exists(state + '.index'):
        raise InputError('%s: training cannot go on from it, for %s* is not there (the newest %d are kept)'
                         % (prefix, state, STATES_KEPT))
    records = []
    for part, keys in ((prefix, SETTINGS), (state, ('progress',))):
        record = verify(part) or {}
        lacking = [key for key in ('files',) + keys if not isinstance(record.get(key), dict)]
        if lacking:
            raise Damaged('%s.json: lacks %s, expected an object of each; use another snapshot'
                          % (part, ', '.join(lacking)))
        records.append(record)
    try:
        check_progress(records[1]['progress'])
    except InputError as error:
        raise Damaged('%s.json: %s; use another snapshot' % (state, error)) from None
    return Start(int(match.group(1)), prefix, state, records[0], records[1]['progress'])


def resume(session, parts, start):
    """Restore all variables from a Start. Raises InputError where it has not the very same ones."""
    restore(session, start.prefix, parts.model)
    # Adam's powers of beta are numbered: were there other updates, they would be those of another
    count = restore(session, start.state, parts.state)
    if count != len(parts.state.variables):
        raise InputError('%s: holds %d variables, expected %d; it is the state of other updates'
                         % (start.state, count, len(parts.state.variables)))
