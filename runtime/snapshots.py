"""Snapshots in a model folder: writing, checking and restoring them, and finding the one to resume from.

A snapshot of step N has two parts, each a TensorFlow checkpoint and a .json file:

    aher_adv_model_checkpoint-step_N  the model, which tests restore, in the authors' format; settings in the .json
    training_state-step_N             all else that training needs: Adam's slots, several times the size of the
                                      model; kept for the newest STATES_KEPT snapshots; progress in the .json

Each .json also holds the SHA-256 of its part's files and of itself. Everything is written to a temporary folder,
synced to the disk and moved into place, .index files last: a snapshot with an .index file is complete. A checkpoint
that is removed loses its .index file first, which is moved to the temporary folder. Files without an .index file are
leftovers of a killed run only where that lies there. Others are left alone: somebody may be copying a snapshot.
"""
import contextlib
import hashlib
import json
import os
import re
from typing import NamedTuple

import numpy as np

from runtime.errors import InputError, printable
from runtime.files import file_size, read_json, sha256, sync, write_errors
from runtime.session import tf

PREFIX = 'aher_adv_model_checkpoint-step_'
STATE_PREFIX = 'training_state-step_'
STATES_KEPT = 2
PARTIAL = 'snapshot.partial'            # the temporary folder
ENDS = re.compile(r'\.(index|json|meta|data-\d{5}-of-\d{5})$')  # of the names of a checkpoint's files
SETTINGS = ('model', 'train', 'data')   # objects in the settings of a training run
ITSELF = 'sha256_of_the_rest'           # key in a .json: _checksum of the record without this key
DIFFERS = '{0}.json: trained with {1}; give --config {0}.json and the same data, or --accept_changes on'


class Damaged(InputError):
    """The snapshot cannot be used, with any settings; another one may be usable."""


class Part(NamedTuple):
    """Variables that are written and restored together."""

    variables: list
    saver: tf.train.Saver
    floating: list     # names of the floating-point variables
    finite: tf.Tensor  # [len(floating)] bool: are all numbers of the variable finite?


class Parts(NamedTuple):
    """What a snapshot holds."""

    model: Part  # with the step counter
    state: Part  # all other variables


class Start(NamedTuple):
    """A snapshot to resume training from."""

    step: int
    prefix: str     # path of the model's files, without their ends
    state: str      # the same of the state
    settings: dict  # of the run that wrote it, as given to `save`
    progress: dict  # as given to `save`


def path(folder, step):
    """Path of the snapshot of `step`, without the ends of its files' names, as tf.train.Saver takes it."""
    return os.path.join(folder, '%s%d' % (PREFIX, step))


def steps_in(folder, prefix=PREFIX):
    """Steps of the snapshots in `folder`, in rising order."""
    return _steps(folder, prefix, r'\.index')


def settings_path(folder, steps=None):
    """Path of the .json of the newest snapshot in `folder`, of `steps` if given; None where there is none."""
    steps = steps_in(folder) if steps is None else sorted(steps)
    found = [path(folder, step) + '.json' for step in steps]
    return next(filter(os.path.exists, reversed(found)), None)


def _steps(folder, prefix, end):
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = [re.match(re.escape(prefix) + r'(\d+)' + end + '$', name) for name in names]
    return sorted({int(match.group(1)) for match in matches if match})


def steps_without_index(folder):
    """Steps of models in `folder` that lack their .index file: somebody is copying them, or it was deleted."""
    return sorted(set(_steps(folder, PREFIX, r'\.data-\d{5}-of-\d{5}')) - set(steps_in(folder)))


def part_of(variables):
    """The Part of `variables`; at least one must be floating-point."""
    floating = [variable for variable in variables if variable.dtype.base_dtype.is_floating]
    return Part(variables, tf.train.Saver(variables, max_to_keep=None), [variable.op.name for variable in floating],
                tf.stack([tf.reduce_all(tf.is_finite(variable)) for variable in floating]))


def parts_of(model):
    """The Parts of the current graph: `model` lists the model's variables."""
    names = {variable.op.name for variable in model}
    state = [variable for variable in tf.global_variables() if variable.op.name not in names]
    return Parts(part_of(model), part_of(state))


def first_not_finite(session, *parts):
    """Name of the first variable of `parts` that holds a number which is not finite, or None."""
    for part, finite in zip(parts, session.run([part.finite for part in parts])):
        if not finite.all():
            return part.floating[int(np.argmin(finite))]
    return None


# Writing

def save(session, parts, folder, step, settings, progress, max_to_keep=0, kept_steps=frozenset):
    """Write the snapshot of `step` to `folder` and return its path.

    `settings` and `progress` are dicts that JSON can hold; find_start returns them. Afterwards only the newest
    max_to_keep models (0: all) and those of the steps that kept_steps() returns then are kept. If the process dies at
    any point, the earlier snapshots or the new one are complete. Raises InputError, and leaves the folder as it was,
    if the snapshot cannot be written.
    """
    partial = os.path.join(folder, PARTIAL)
    written = {'%s%d' % (STATE_PREFIX, step): (parts.state, {'progress': progress}),
               '%s%d' % (PREFIX, step): (parts.model, settings)}
    try:
        _remove_partial(folder)
        os.makedirs(partial)
        for name, (part, record) in written.items():
            _write(session, part.saver, os.path.join(partial, name), record)
        for name in written:
            _move(folder, name)
        _prune(folder, step, max_to_keep, kept_steps())
    except (OSError, tf.errors.OpError, ValueError) as error:  # ValueError: from Saver, if the folder has vanished
        raise InputError('%s: cannot be written: %s' % (path(folder, step), _reason(error))) from None
    finally:
        with contextlib.suppress(OSError, InputError):
            _remove_partial(folder)
    return path(folder, step)


def _write(session, saver, prefix, record):
    """Write the files of `saver` and the .json, and sync them to the disk."""
    saver.save(session, prefix, write_meta_graph=False, write_state=False)
    record = dict(record, files=checksums(prefix))
    record[ITSELF] = _checksum(record)
    with open(prefix + '.json', 'w') as text:
        json.dump(record, text, indent=2)
        text.write('\n')
    for end in _ends(prefix):
        sync(prefix + end)


def _checksum(record):
    """SHA-256 of the content of a .json, which does not depend on its formatting."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _ends(prefix):
    """The ends of the names of a checkpoint's files that exist, '.index' last."""
    folder, name = os.path.split(prefix)
    ends = [found[len(name):] for found in os.listdir(folder or '.')
            if found.startswith(name) and ENDS.match(found[len(name):])]
    return sorted(ends, key=lambda end: (end == '.index', end))


def _move(folder, name):
    """Move the files `name`.* from the temporary folder to `folder`."""
    source, prefix = os.path.join(folder, PARTIAL, name), os.path.join(folder, name)
    _remove(prefix)  # a damaged snapshot of the same step, or one from before an accepted change of settings
    for end in _ends(source):
        if end == '.index':
            sync(folder)
        os.replace(source + end, prefix + end)
    sync(folder)


def _remove(prefix):
    """Remove the files of a checkpoint; the temporary folder then has an .index file of that name."""
    folder, name = os.path.split(prefix)
    kept = os.path.join(folder, PARTIAL, name + '.index')
    for end in reversed(_ends(prefix)):
        if end == '.index' and not os.path.exists(kept):
            os.replace(prefix + end, kept)
        else:
            os.remove(prefix + end)


def _prune(folder, step, max_to_keep, kept):
    """Remove old models, but for those of the steps `kept`, and old states.

    Those of later steps do not count: they are older files, and may be damaged.
    """
    models, states = [[found for found in steps_in(folder, prefix) if found <= step]
                      for prefix in (PREFIX, STATE_PREFIX)]
    old = [found for found in models[:-max_to_keep] if found not in kept]  # [:-0] is empty
    for removed in old:
        _remove(path(folder, removed))
    for removed in states:
        if removed in old or removed in states[:-STATES_KEPT]:
            _remove(os.path.join(folder, '%s%d' % (STATE_PREFIX, removed)))


def prepare_folder(folder):
    """Remove what killed runs left in `folder`, and nothing else; no other run may use it meanwhile.

    Prints a warning where the file system cannot ensure that a written snapshot survives a power failure.
    """
    with write_errors(folder):
        for name in _staged(folder):
            prefix = os.path.join(folder, name[:-len('.index')])
            if name.endswith('.index') and not os.path.exists(prefix + '.index'):
                _remove(prefix)
        _remove_partial(folder)
        if not sync(folder):
            print('warning: %s: this file system cannot sync a folder; after a power failure, the newest snapshots '
                  'may be missing' % printable(folder), flush=True)


def _staged(folder):
    """Names of the files in the temporary folder; InputError where it is no folder, or holds anything not ours."""
    partial = os.path.join(folder, PARTIAL)
    if not os.path.lexists(partial):
        return []
    if os.path.islink(partial) or not os.path.isdir(partial):
        raise InputError('%s: found a link or a file, expected the folder of an unfinished snapshot; move it away'
                         % partial)
    with os.scandir(partial) as entries:
        found = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    for name, is_file in found.items():
        if not (is_file and re.match(r'(%s|%s)\d+\.' % (PREFIX, STATE_PREFIX), name)):
            raise InputError('%s: found what no snapshot has; move it away' % os.path.join(partial, name))
    return list(found)


def _remove_partial(folder):
    """Remove the temporary folder; raises InputError as _staged does."""
    for name in _staged(folder):
        os.remove(os.path.join(folder, PARTIAL, name))
    if os.path.isdir(os.path.join(folder, PARTIAL)):
        os.rmdir(os.path.join(folder, PARTIAL))


# Checking and restoring

@contextlib.contextmanager
def _raise_damaged():
    """A context, or decorator, that turns InputError into Damaged."""
    try:
        yield
    except InputError as error:
        raise Damaged(str(error)) from None


@_raise_damaged()
def verify(prefix, *keys):
    """Check the files of a model or state against the checksums in its .json, and return the .json's content.

    Raises Damaged if a file is missing or has changed since it was written, or if the .json does not hold an object
    at each of `keys`.
    """
    record = read_json(prefix + '.json')
    missing = [key for key in keys if not (isinstance(record, dict) and isinstance(record.get(key), dict))]
    if missing:
        raise InputError('%s.json: lacks %s, expected an object for each; use another snapshot, or move this file '
                         'away if training did not write it' % (prefix, ', '.join(missing)))
    changed = '%s%s: damaged, not the file that was written (SHA-256 differs); use another snapshot'
    if ITSELF in record and record.pop(ITSELF) != _checksum(record):
        raise InputError(changed % (prefix, '.json'))
    ends = _ends(prefix)  # of existing files: an end in a .json cannot lead to another folder
    for end, checksum in record['files'].items():
        if end not in ends:
            raise InputError('%s%s: is missing; use another snapshot' % (prefix, end))
        if sha256(prefix + end) != checksum:
            raise InputError(changed % (prefix, end))
    return record


@_raise_damaged()
def checksums(prefix):
    """{end of the name: SHA-256} of the files of a model or state, except its .json; Damaged if one is unreadable."""
    return {end: sha256(prefix + end) for end in _ends(prefix) if end != '.json'}


def check_settings(prefix, differences):
    """Verify the model at `prefix` and its settings; return its checksums, as `checksums` does.

    differences(settings) returns a list of texts: settings of the model that differ from this run's. Raises
    InputError if there are any, and Damaged if the model cannot be used. The authors' models have no .json: their
    settings are not checked.
    """
    if not os.path.exists(prefix + '.index'):
        raise Damaged('%s: no readable snapshot' % prefix)
    if not os.path.exists(prefix + '.json'):
        return checksums(prefix)
    record = verify(prefix, 'files', 'model')
    different = differences(record)
    if different:
        raise InputError(DIFFERS.format(prefix, ', '.join(different)))
    return record['files']


def without_end(name):
    """The path of a snapshot, as `path` gives it, of the path of any of its files."""
    return ENDS.sub('', name)


def read_checkpoint(prefix):
    """TensorFlow's reader of the checkpoint at `prefix`; raises Damaged if it cannot be read."""
    if not os.path.exists(prefix + '.index'):
        raise Damaged('%s: no readable snapshot (found no %s.index)' % (prefix, os.path.basename(prefix)))
    try:
        for end in _ends(prefix):
            file_size(prefix + end)  # a pipe would hang
        return tf.train.NewCheckpointReader(prefix)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise Damaged('%s: no readable snapshot (%s)' % (prefix, _reason(error))) from None


def restore(session, prefix, part):
    """Restore a Part from the checkpoint at `prefix`, ours or the authors'; return how many variables that holds.

    Raises InputError if it lacks a variable of the part or has it in another shape or type, and Damaged if it cannot
    be read or a variable holds numbers that are not finite.
    """
    reader = read_checkpoint(prefix)
    shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    for variable in part.variables:
        name, shape, dtype = variable.op.name, variable.shape.as_list(), variable.dtype.base_dtype
        if name not in shapes:
            raise InputError('%s: lacks variable %s' % (prefix, name))
        if shapes[name] != shape:
            raise InputError('%s: variable %s has shape %s, expected %s; was it trained with other settings?'
                             % (prefix, name, shapes[name], shape))
        if types[name] != dtype:
            raise InputError('%s: variable %s holds %s, expected %s' % (prefix, name, types[name].name, dtype.name))
    try:
        part.saver.restore(session, prefix)
    except tf.errors.OpError as error:
        raise Damaged('%s: unreadable (%s)' % (prefix, _reason(error))) from None
    not_finite = first_not_finite(session, part)
    if not_finite:
        raise Damaged('%s: variable %s holds numbers that are not finite: its training diverged; take an '
                      'earlier snapshot' % (prefix, not_finite))
    return len(shapes)


def _reason(error):
    """One line that says why: TensorFlow 2 puts the operation's traceback before it."""
    if isinstance(error, OSError):
        return error.strerror
    lines = str(error).splitlines()
    nodes = [number for number, line in enumerate(lines[:-1]) if line.startswith('Node: ')]
    return lines[nodes[0] + 1 if nodes else 0]


# Resuming

def find_start(folder, resume, differences, accept_changes=False, check_progress=lambda progress: None):
    """The Start for a training run that writes to `folder`, or None: start at the beginning.

    resume: 'auto' (the newest usable snapshot in `folder`), 'never' (the beginning), or the path of a snapshot.
    differences(settings) returns a list of texts: settings of the snapshot that differ from this run's.
    check_progress(progress) raises InputError if the run cannot use it; that snapshot counts as damaged.

    Raises InputError if new snapshots would be mixed with those of another training, if no snapshot is usable, or if
    settings differ, unless accept_changes.
    """
    steps, without_index = steps_in(folder), steps_without_index(folder)
    if without_index and resume in ('auto', 'never') and not steps:
        raise InputError('%s: found files of a snapshot, but no .index file; if somebody is copying it, wait; '
                         'otherwise move these files away' % path(folder, without_index[-1]))
    if resume == 'never':
        if steps:
            raise InputError('%s: holds snapshots, the last of step %d, and --resume never would mix others with '
                             'them; give another --model_dir, or continue with --resume auto' % (folder, steps[-1]))
        return None
    if resume == 'auto':
        for step in reversed(without_index):
            if step > steps[-1]:
                print('skipped: %s: lacks its .index file' % path(folder, step), flush=True)
        start = _newest(folder, steps, check_progress)
    else:
        start = _read_start(without_end(resume), check_progress)
        elsewhere = os.path.abspath(start.prefix) != os.path.abspath(path(folder, start.step))
        if steps and (elsewhere or steps[-1] > start.step):
            raise InputError('%s: holds snapshots (step %d) that do not lead to %s; give another --model_dir'
                             % (folder, steps[-1], start.prefix))
    different = differences(start.settings) if start else []
    if different and accept_changes:
        print(printable('warning: %s.json: trained with %s' % (start.prefix, ', '.join(different))), flush=True)
    elif different:
        raise InputError(DIFFERS.format(start.prefix, ', '.join(different)))
    return start


def _newest(folder, steps, check_progress):
    """The newest usable Start in `folder`, or None if there are no snapshots. Prints why newer ones are skipped."""
    for step in reversed(steps):
        try:
            return _read_start(path(folder, step), check_progress)
        except InputError as error:
            print('skipped: %s' % error, flush=True)
    if steps:
        raise InputError('%s: training can resume from none of its %d snapshots; give another --model_dir '
                         '(--init_checkpoint takes weights over)' % (folder, len(steps)))
    return None


def _read_start(prefix, check_progress):
    """The Start of the snapshot at `prefix`; raises InputError if training cannot resume from it."""
    folder, name = os.path.split(prefix)
    match = re.match(re.escape(PREFIX) + r'(\d+)$', name)
    if not match or not os.path.exists(prefix + '.index'):
        raise InputError('%s: no snapshot; expected the path of one, FOLDER/%sN' % (prefix, PREFIX))
    state = os.path.join(folder, STATE_PREFIX + match.group(1))
    if not os.path.exists(state + '.index'):
        raise InputError('%s: training cannot resume from it, because %s* is missing (only the newest %d are kept)'
                         % (prefix, state, STATES_KEPT))
    settings = verify(prefix, 'files', *SETTINGS)
    progress = verify(state, 'files', 'progress')['progress']
    try:
        check_progress(progress)
    except InputError as error:
        raise Damaged('%s.json: %s; use another snapshot' % (state, error)) from None
    return Start(int(match.group(1)), prefix, state, settings, progress)


def resume(session, parts, start):
    """Restore all variables from a Start. Raises InputError if it does not hold exactly these variables."""
    restore(session, start.prefix, parts.model)
    # Adam's slots are numbered by update: with fewer updates, names would match those of another update
    count = restore(session, start.state, parts.state)
    if count != len(parts.state.variables):
        raise InputError('%s: holds %d variables, expected %d; it is the state of other updates'
                         % (start.state, count, len(parts.state.variables)))
