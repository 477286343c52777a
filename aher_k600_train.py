"""Train AherNet, ActivityNet → Kinetics-600: eight updates a step (SPEC section 7).

Reads the four streams' data below --data_root, writes snapshots, their settings, TensorBoard scalars and
loss_results_log.txt to --model_dir, and goes on from the newest snapshot there.
"""
import collections
import json
import os
import re
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import aher_model as aher
import config as settings
import snapshots
from aher_model import BACKBONE, DISCRIMINATOR, GENERATOR, HEADS, SOURCE_CLASSIFIER, TARGET_CLASSIFIER, TRANSFER
from data_loader import TRAINING_PATHS, check_paths, reported, resolve_classes, training_stream, videos_of
from errors import InputError, Stopped, leave
from files import append, locked, size_of, write_text
from stopping import Stop
from tensorflow_setup import session as new_session
from tensorflow_setup import tf

LOG_NAME = 'loss_results_log.txt'
LOCK_NAME = '.train.lock'
FLAGS = {
    'batch_size': 'samples of each stream a step',
    'max_steps': 'steps in all, of eight updates each; 0 saves the untrained network',
    'snapshot_step': 'steps between snapshots',
    'log_step': 'steps between log lines',
    'learning_rate': 'Adam\'s rate, updates 1-4 and 7',
    'adversary_rate': 'Adam\'s rate, updates 5 and 6',
    'context': 'around moments: adversarial; localized: no updates 5 and 6; untrained: generator as initialised;\n'
               'none: moments stretched over the whole sequence; unused: no updates 4 to 7, source only',
    'moment_ratios': 'least and greatest share of a moment in its sequence, in 1/20',
    'init_checkpoint': 'snapshot to start from: backbone, heads and transfer',
    'seed': 'of initial weights and of the order of samples',
    'max_to_keep': 'newest snapshots that are kept; 0: all',
    'on_nan': 'what a loss or weight that is not finite does: stop, or skip: the step is undone and left out',
    'max_skips': 'skipped steps in a row that stop the run',
    'accept_changes': 'on: go on from a snapshot although settings or tables have changed',
}


class Update(NamedTuple):
    """One update: its gradients, and the operation that applies them."""

    name: str
    losses: dict      # loss term → scalar
    gradients: dict   # loss term → [(gradient or None, variable)]
    op: tf.Operation


class Step(NamedTuple):
    """A training step in the graph."""

    updates: list     # of Update, in order; each waits for the one before
    losses: dict      # name → scalar
    rate: tf.Tensor   # the learning rate of this step
    counter: tf.Variable
    op: tf.Operation  # runs all updates, then counts the step


def learning_rate(counter, train):
    """Rate at step `counter`: decays at boundaries in samples, steps · B (fault F4, as published)."""
    boundaries = list(train.rate_boundaries)
    values = [train.learning_rate * train.rate_decay ** passed for passed in range(len(boundaries) + 1)]
    return tf.train.piecewise_constant(counter * train.batch_size, boundaries, values)


def training_step(batch, config):
    """Batch → Step: the eight updates of SPEC section 7, chained, on one batch that never leaves the device.

    config.train.context, where it is not as published, leaves some of updates 4 to 7 out.
    """
    model, train, ordered = config.model, config.train, not config.train.faults.unordered_updates
    untrimmed, foreground, moments = batch
    counter = tf.train.get_or_create_global_step()
    rate = learning_rate(counter, train)
    if train.context == 'none':
        layout = aher.stretched_layout(moments.ratio, model)
    else:
        layout = aher.context_layout(moments.ratio, moments.position, model, train.faults.odd_end_without_start)
    placed = aher.place_moments(moments.features, layout)
    real_targets = aher.match_anchors(untrimmed.segments, untrimmed.labels, model)
    fake_targets = aher.match_anchors(layout.segments, moments.labels, model)
    background = tf.logical_and(real_targets.overlap < train.background_tiou,
                                fake_targets.overlap < train.background_tiou)
    updates, losses = [], collections.OrderedDict()

    def after_last():
        return tf.control_dependencies([updates[-1].op] if updates else [])

    def update(name, terms, groups, adams=None):
        adams = adams or _adams(name, terms, rate)
        updates.append(_update(name, terms, aher.group_variables(*groups), adams, ordered))

    def synthetic_levels():
        if train.context == 'none':
            return aher.levels_above(placed_stem, model)
        # the context alone changes from update 4 to update 7: what it does not reach is computed once
        synthetic = aher.synthesize(moments.features, placed, layout, model)
        return aher.levels_above(aher.stem(synthetic, model, layout.outside, placed_stem), model)

    # 1  moments → backbone, moment classifier
    levels = aher.pyramid(moments.features, model)
    clip = aher.clip_losses(aher.classify_clips(levels, aher.classifier(model, TARGET_CLASSIFIER)),
                            moments.labels, train)
    update('1_moment_classification', _terms(clip, classification=['classification']),
           [BACKBONE, TARGET_CLASSIFIER])
    _name(losses, 'moment', clip)

    # 2  foreground → foreground classifier
    with after_last():
        levels = aher.pyramid(foreground.features, model)
        clip = aher.clip_losses(aher.classify_clips(levels, aher.classifier(model, SOURCE_CLASSIFIER)),
                                foreground.labels, train)
        update('2_foreground_classification', _terms(clip, classification=['classification']),
               [SOURCE_CLASSIFIER])
    _name(losses, 'foreground', clip)

    # 3  untrimmed videos → backbone, heads, transfer
    with after_last():
        source = aher.transfer(aher.classifier(model, SOURCE_CLASSIFIER), model)
        prediction = aher.localize(aher.pyramid(untrimmed.features, model), source, model)
        local = aher.localization_losses(prediction, real_targets, train)
        update('3_untrimmed_localization', _localization_terms(local), [BACKBONE, HEADS, TRANSFER])
    _name(losses, 'untrimmed', local)

    if train.context != 'unused':
        # neither transfer nor classifier nor the moments' part of the sequences changes before update 7
        with after_last():
            target = aher.transfer(aher.classifier(model, TARGET_CLASSIFIER), model)
            placed_stem = aher.stem(placed, model)

    if train.context in ('adversarial', 'localized'):
        # 4  moments in context → generator
        with after_last():
            prediction = aher.localize(synthetic_levels(), target, model)
            local = aher.localization_losses(prediction, fake_targets, train)
            update('4_generator_localization', _localization_terms(local), [GENERATOR])

    if train.context == 'adversarial':
        # 5  background of untrimmed videos and of moments in context → discriminator
        with after_last():
            fake_levels = synthetic_levels()
            real = aher.adversary_loss(aher.discriminate(aher.pyramid(untrimmed.features, model), model),
                                       True, background, train)
            fake = aher.adversary_loss(aher.discriminate(fake_levels, model), False, background, train)
            update('5_discriminator', {'adversary': real + fake}, [DISCRIMINATOR],
                   _adams('5_discriminator', ['adversary'], train.adversary_rate, train.adversary_beta1))

        # 6  fool the discriminator → generator, twice. The first run still sees update 5's synthetic levels
        adams = _adams('6_generator_adversary', ['adversary'], train.adversary_rate, train.adversary_beta1)
        for repeat in range(train.generator_repeats):
            with after_last():
                levels = synthetic_levels() if repeat else fake_levels
                fool = aher.adversary_loss(aher.discriminate(levels, model), True, background, train)
                update('6_generator_adversary', {'adversary': fool}, [GENERATOR], adams)
        _name(losses, 'adversary',
              {'discriminator_real': real, 'discriminator_fake': fake, 'generator': fool})

    if train.context != 'unused':
        # 7  moments in context → backbone, heads
        with after_last():
            prediction = aher.localize(synthetic_levels(), target, model)
            local = aher.localization_losses(prediction, fake_targets, train)
            update('7_synthetic_localization', _localization_terms(local), [BACKBONE, HEADS])
        _name(losses, 'synthetic', local)

    with after_last():
        op = counter.assign_add(1).op
    return Step(updates, losses, rate, counter, op)


def _terms(losses, **parts):
    return collections.OrderedDict((term, tf.add_n([losses[name] for name in names]))
                                   for term, names in parts.items())


def _localization_terms(losses):
    """The two losses of a localization update, an optimizer each."""
    return _terms(losses, proposal=['proposal', 'localization', 'iou'], classification=['classification'])


def _name(losses, branch, values):
    losses.update(('%s/%s' % (branch, name), value) for name, value in values.items())


def _adams(name, terms, rate, beta1=0.9):
    return {term: tf.train.AdamOptimizer(rate, beta1, name='adam_%s_%s' % (name, term)) for term in terms}


def _update(name, terms, variables, adams, ordered):
    """All gradients at the same weights, then the optimizers' steps: in order, or left to chance (fault F3)."""
    # GATE_NONE: else a convolution's gradients are all computed where only one of them is wanted
    gradients = {term: adams[term].compute_gradients(loss, variables, gate_gradients=tf.train.Optimizer.GATE_NONE)
                 for term, loss in terms.items()}
    ready = [gradient for pairs in gradients.values() for gradient, _ in pairs if gradient is not None]
    steps = []
    for term, pairs in gradients.items():
        with tf.control_dependencies(ready + (steps if ordered else [])):
            steps.append(adams[term].apply_gradients(pairs))
    return Update(name, terms, gradients, tf.group(*steps))


def main(argv=None):
    """Train as the command line says."""
    parser = settings.argument_parser(__doc__, FLAGS)
    parser.add_argument('--mode', choices=sorted(settings.MODES), default='mended',
                        help='with faults of the published code (README): authors: F1 to F3; or one of them alone')
    arguments = parser.parse_args(argv)
    config = settings.override(settings.from_arguments(arguments, FLAGS), faults=settings.MODES[arguments.mode])
    check_paths(config.data, TRAINING_PATHS)
    run(resolve_classes(config))


def run(config):
    """Train until `config.train.max_steps`, from where config.resume says.

    Raises Stopped after a signal, with a snapshot written, and InputError where a loss is not finite.
    """
    with locked(os.path.join(config.model_dir, LOCK_NAME)):
        snapshots.clean(config.model_dir)
        start = snapshots.start_of(config, check_progress)
        if start and start.step >= config.train.max_steps:
            print('%s: trained to step %d already; --max_steps %d asks for no more'
                  % (start.prefix, start.step, config.train.max_steps))
            return
        train(build(config, start is not None), config, start)


class Trainer(NamedTuple):
    """The graph of one training run."""

    stream: NamedTuple  # data_loader.Stream of Batch
    step: Step
    parts: NamedTuple   # snapshots.Parts
    guard: object       # Guard


def build(config, goes_on=False):
    """Config → Trainer of a run that begins, or `goes_on`."""
    tf.set_random_seed(config.train.seed)
    stream = training_stream(config, goes_on)
    step = training_step(stream.batch, config)
    parts = snapshots.parts_of(aher.group_variables(*aher.GROUPS) + [step.counter])
    return Trainer(stream, step, parts, Guard(step, parts, config.train.on_nan == 'skip'))


def train(trainer, config, start):
    """Train from `start`, a snapshots.Start or None, in the model folder, which no other run may use meanwhile."""
    stream, first = trainer.stream, start.step if start else 0
    print(stream.summary, flush=True)
    if start and not config.train.accept_changes and start.progress['next_videos'] != _videos(
            stream, config, first + 1):
        raise InputError('%s: the tables have changed since: step %d would not get the videos that it was to get; '
                         'give the tables it was trained on, or --accept_changes on' % (start.prefix, first + 1))
    _cut_log(config, first)
    with new_session(config.threads) as session, reported(stream), \
            tf.summary.FileWriter(config.model_dir, filename_suffix='.step-%d' % first) as board:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        session.run(stream.initializer, {stream.first: first * config.train.batch_size})
        if start:
            snapshots.resume(session, trainer.parts, start)
            print('going on from %s' % start.prefix, flush=True)
        elif config.train.init_checkpoint:
            snapshots.restore(session, config.train.init_checkpoint,
                              snapshots.part_of(aher.group_variables(BACKBONE, HEADS, TRANSFER)))
        # what an earlier run showed of later steps is dropped
        board.add_session_log(tf.SessionLog(status=tf.SessionLog.START), first + 1)
        _loop(session, trainer, config, start, board)


def _loop(session, trainer, config, start, board):
    stream, step, parts, guard = trainer
    train, first = config.train, start.step if start else 0
    window = Window(**start.progress['window']) if start else Window()
    fetches = {'losses': step.losses, 'rate': step.rate, 'checked': guard.checked, 'op': step.op}
    number, since, asked = first, time.time(), None

    def say(line):
        bar.write(line)
        append(os.path.join(config.model_dir, LOG_NAME), line + '\n')

    def save():
        fault = guard.fault_of_variables(session)
        if fault:
            raise InputError('step %d: %s; it is not saved, the last snapshot stays; lower --learning_rate, or give '
                             '--on_nan skip' % (number, fault))
        board.flush()
        progress = {'window': window._asdict(), 'next_videos': _videos(stream, config, number + 1)}
        bar.write('snapshot %s' % snapshots.save(session, parts, config, number, progress))

    with tqdm(total=train.max_steps, initial=first, unit='step', smoothing=0.1) as bar, \
            Stop('step', stream.bad.slow) as stop:
        guard.keep(session)
        for number in range(first + 1, train.max_steps + 1):
            with stop.round():
                found = session.run(fetches)
            fault = guard.fault(session, found['checked'])
            if fault:
                fault = 'step %d  %s; videos %s%s' % (
                    number, fault, json.dumps(_videos(stream, config, number)),
                    ', or those in place of what bad_data.csv lists' if config.data.bad_data == 'skip' else '')
                window = window.skip()
                if train.on_nan == 'stop' or window.skips == train.max_skips:
                    raise InputError('%s; the last snapshot stays; look at these videos\' features, lower '
                                     '--learning_rate, or give --on_nan skip (--max_skips %d in a row)'
                                     % (fault, train.max_skips))
                guard.undo(session)
                say('%s; skipped, step %d of those skipped' % (fault, window.all_skips))
            else:
                guard.keep(session)
                window = window.add(found['losses'])
            bar.update()
            if number % train.log_step == 0:
                means = window.means()
                means.update(rate=float(found['rate']),
                             steps_per_second=min(train.log_step, number - first) / (time.time() - since))
                say(log_line(number, means))
                board.add_summary(_scalars(means), number)
                window, since = window.empty(), time.time()
            asked = stop.asked
            if asked:
                break
            if number % train.snapshot_step == 0 and number != train.max_steps:
                save()
        save()
    if asked:
        raise Stopped(asked, 'snapshot of step %d is written, the same command%s goes on from it' % (
            number, '' if config.resume == 'auto' else ' with --resume auto'))


def _videos(stream, config, number):
    """Names of the videos of step `number`, by stream."""
    size = config.train.batch_size
    return videos_of(stream, (number - 1) * size, size)


class Window(NamedTuple):
    """Steps since the last log line, and those left out; a snapshot keeps it."""

    sums: dict = {}     # name → sum of a loss over the steps counted
    steps: int = 0      # that are counted
    skips: int = 0      # steps left out in a row, up to the last one
    all_skips: int = 0  # steps left out in all

    def add(self, losses):
        """With one more step, of these losses {name: value}."""
        return self._replace(sums={name: self.sums.get(name, 0) + float(value) for name, value in losses.items()},
                             steps=self.steps + 1, skips=0)

    def skip(self):
        """With one more step left out."""
        return self._replace(skips=self.skips + 1, all_skips=self.all_skips + 1)

    def means(self):
        """Mean losses {name: value}; none where no step is counted."""
        return {name: total / self.steps for name, total in self.sums.items()}

    def empty(self):
        """After a log line."""
        return self._replace(sums={}, steps=0)


def check_progress(progress):
    """Raise InputError where this is not what a run of this script leaves in a snapshot."""
    try:
        window = Window(**progress['window'])
        numbers = [*window.sums.values(), *window[1:]]
        if (isinstance(progress['next_videos'], dict) and all(type(number) in (int, float) for number in numbers)
                and (window.steps > 0 or not window.sums)):
            return
    except (KeyError, TypeError, AttributeError):
        pass
    raise InputError('found a progress that no run leaves, expected its window and next_videos')


class Guard:
    """Finds losses and weights that are not finite and, where it is to, takes their step back.

    Losses come with the step, so that looking at them costs nothing. Taking back costs the memory of all
    variables once more, and, each step, the time to copy and to look at them.
    """

    def __init__(self, step, parts, undoing):
        """Look at `step`'s losses and `parts`' variables; the counter counts steps that are taken back too."""
        losses = [('%s of update %s' % (term, update.name), loss)
                  for update in step.updates for term, loss in update.losses.items()]
        self.checked = tf.stack([loss for _, loss in losses])  # to be fetched with the step
        self._losses, self._parts = [name for name, _ in losses], parts
        self._keep = self._undo = None
        if undoing:
            variables = [variable for part in parts for variable in part.variables if variable is not step.counter]
            copies = [tf.Variable(tf.zeros(variable.shape, variable.dtype.base_dtype), trainable=False,
                                  use_resource=True, collections=[tf.GraphKeys.LOCAL_VARIABLES])
                      for variable in variables]
            self._keep = tf.group(*[copy.assign(variable) for copy, variable in zip(copies, variables)])
            self._undo = tf.group(*[variable.assign(copy) for copy, variable in zip(copies, variables)])

    def fault(self, session, checked):
        """What is not finite after a step with these values of `checked`, or None. Variables: where it can undo."""
        for name, value in zip(self._losses, checked):
            if not np.isfinite(value):
                return 'loss %s is %s' % (name, value)
        return self.fault_of_variables(session) if self._undo else None

    def fault_of_variables(self, session):
        """Which variable is not finite, or None."""
        name = snapshots.not_finite(session, *self._parts)
        return name and 'variable %s is not finite' % name

    def keep(self, session):
        """Remember the variables, where it is to undo."""
        if self._keep:
            session.run(self._keep)

    def undo(self, session):
        """Set the variables to what was kept."""
        session.run(self._undo)


def _cut_log(config, step):
    """Drop log lines of steps after `step`, and one that was not finished: the run writes them again."""
    path, kept = os.path.join(config.model_dir, LOG_NAME), []
    if os.path.exists(path) and size_of(path):
        with open(path, encoding='utf-8', errors='replace') as lines:
            for line in lines:
                match = re.match(r'step (\d+) .*\n$', line)
                if match and int(match.group(1)) <= step:
                    kept.append(line)
    write_text(path, ''.join(kept))


def log_line(step, means):
    """One line of the log: `step N  branch/loss value …`, means since the last line."""
    return 'step %d  %s' % (step, '  '.join('%s %.5g' % (name, value) for name, value in means.items()))


def _scalars(means):
    return tf.Summary(value=[tf.Summary.Value(tag=name, simple_value=value) for name, value in means.items()])


if __name__ == '__main__':
    leave(main)
