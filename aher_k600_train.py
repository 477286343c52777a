"""Train AherNet, ActivityNet → Kinetics-600.

Reads the data below --data_root. Writes snapshots with their settings, TensorBoard scalars and loss_results_log.txt
to --model_dir, and continues from the newest snapshot there. A step is eight updates (docs/method.md, section 7).
"""
import collections
import contextlib
import functools
import json
import os
import re
from typing import NamedTuple

from runtime.errors import InputError, Interrupted, exit_on_ctrl_c, printable, reason, run_and_exit

with exit_on_ctrl_c():
    import aher_model as aher
    import config as settings
    from aher_model import BACKBONE, DISCRIMINATOR, GENERATOR, HEADS, SOURCE_CLASSIFIER, TARGET_CLASSIFIER, TRANSFER
    from data_loader import (
        check_paths,
        names_of_samples,
        reader_errors,
        resolve_classes,
        training_paths,
        training_stream,
        training_tables,
    )
    from dataset import data_root, trained_on
    from ops.updates import UpdateChain
    from runtime import snapshots
    from runtime.files import file_lock, remove_leftovers
    from runtime.progress import Pace, Progress, progress_text, say
    from runtime.session import announce_device, new_session, tf
    from runtime.signals import SignalWatcher
    from runtime.training_log import LOG_NAME, ScreenLoss, TrainingLog, Window, check_progress, screen_means
    from runtime.watching import TRAIN_LOCK, is_asked_to_stop, kept_steps, take_request

UPDATES = {  # which of updates 4 to 7 run, by train.context
    'adversarial': (4, 5, 6, 7), 'localized': (4, 7), 'untrained': (7,), 'none': (7,), 'unused': ()}


class Step(NamedTuple):
    """A training step in the graph."""

    chain: UpdateChain
    losses: dict      # name → scalar, for the log
    rate: tf.Tensor   # the learning rate of this step
    counter: tf.Variable
    op: tf.Operation  # runs all updates, then counts the step

    @property
    def updates(self):
        """The updates (ops.updates.Update), in the order in which they run."""
        return self.chain.updates


def learning_rate(counter, train):
    """Rate at step `counter`: it falls at boundaries in samples, steps · B (fault F4, as published)."""
    boundaries = list(train.rate_boundaries)
    values = [train.learning_rate * train.rate_decay ** passed for passed in range(len(boundaries) + 1)]
    return tf.train.piecewise_constant(counter * train.batch_size, boundaries, values)


def training_step(batch, config):
    """Batch → Step: eight updates, one after the other, on one batch of each stream (docs/method.md, section 7)."""
    model, train = config.model, config.train
    untrimmed, foreground, moments = batch
    counter = tf.train.get_or_create_global_step()
    rate, active = learning_rate(counter, train), UPDATES[train.context]
    synthetic = _Synthetic(moments, config)
    own_labels = untrimmed.segment_labels if config.data.labels == 'segment' else None
    real_targets = aher.match_anchors(untrimmed.segments, untrimmed.labels, model, own_labels)
    fake_targets = aher.match_anchors(synthetic.layout.segments, moments.labels, model)
    background = tf.logical_and(real_targets.overlap < train.background_tiou,
                                fake_targets.overlap < train.background_tiou)
    chain = UpdateChain(ordered=not train.faults.unordered_updates, skip_not_finite=train.on_nan == 'skip')
    minimize, logged = functools.partial(_minimize, chain, rate), collections.OrderedDict()

    # 1. moments: classification loss → backbone, moment classifier
    with chain.after_last():
        levels = aher.pyramid(moments.features, model)
        logits = aher.classify_clips(levels, aher.classifier(model, TARGET_CLASSIFIER))
        logged['moment'] = losses = aher.clip_losses(logits, moments.labels, train)
        minimize('1_moment_classification', _classification(losses), [BACKBONE, TARGET_CLASSIFIER])

    # 2. foreground: classification loss → foreground classifier
    with chain.after_last():
        levels = aher.pyramid(foreground.features, model)
        logits = aher.classify_clips(levels, aher.classifier(model, SOURCE_CLASSIFIER))
        logged['foreground'] = losses = aher.clip_losses(logits, foreground.labels, train)
        minimize('2_foreground_classification', _classification(losses), [SOURCE_CLASSIFIER])

    # 3. untrimmed videos: localization losses → backbone, heads, transfer
    with chain.after_last():
        weights = aher.transfer(aher.classifier(model, SOURCE_CLASSIFIER), model)
        prediction = aher.localize(aher.pyramid(untrimmed.features, model), weights, model)
        logged['untrimmed'] = losses = aher.localization_losses(prediction, real_targets, train)
        minimize('3_untrimmed_localization', _localization(losses), [BACKBONE, HEADS, TRANSFER])

    if active:
        with chain.after_last():
            synthetic.prepare(chain)

    # 4. synthetic sequences: localization losses → generator
    if 4 in active:
        with chain.after_last():
            prediction = synthetic.localize(synthetic.levels())
            losses = aher.localization_losses(prediction, fake_targets, train)
            minimize('4_generator_localization', _localization(losses), [GENERATOR])

    # 5. untrimmed videos (real) and synthetic sequences (fake): adversarial loss → discriminator
    if 5 in active:
        with chain.after_last():
            fake_levels = synthetic.levels()
            real_logits = aher.discriminate(aher.pyramid(untrimmed.features, model), model)
            real = aher.adversary_loss(real_logits, True, background, train)
            fake = aher.adversary_loss(aher.discriminate(fake_levels, model), False, background, train)
            minimize('5_discriminator', {'adversary': real + fake}, [DISCRIMINATOR],
                     _adams('5_discriminator', ['adversary'], train.adversary_rate, train.adversary_beta1))

    # 6. synthetic sequences: loss until the discriminator takes them for real → generator; two runs, one optimizer
    if 6 in active:
        adams = _adams('6_generator_adversary', ['adversary'], train.adversary_rate, train.adversary_beta1)
        for repeat in range(train.generator_repeats):
            with chain.after_last():
                levels = synthetic.levels() if repeat else fake_levels  # update 5 has not changed the generator
                generator = aher.adversary_loss(aher.discriminate(levels, model), True, background, train)
                minimize('6_generator_adversary', {'adversary': generator}, [GENERATOR], adams)
        logged['adversary'] = collections.OrderedDict(
            [('discriminator_real', real), ('discriminator_fake', fake), ('generator', generator)])

    # 7. synthetic sequences: localization losses → backbone, heads
    if 7 in active:
        with chain.after_last():
            prediction = synthetic.localize(synthetic.levels())
            logged['synthetic'] = losses = aher.localization_losses(prediction, fake_targets, train)
            minimize('7_synthetic_localization', _localization(losses), [BACKBONE, HEADS])

    with chain.after_last():
        op = counter.assign_add(1).op
    losses = collections.OrderedDict(('%s/%s' % (branch, name), loss) for branch, named in logged.items()
                                     for name, loss in named.items())
    return Step(chain, losses, rate, counter, op)


class _Synthetic:
    """The moments of a batch in their context, as updates 4 to 7 need them."""

    def __init__(self, moments, config):
        self._moments, self._model, self._stretched = moments, config.model, config.train.context == 'none'
        if self._stretched:
            self.layout = aher.stretched_layout(moments.ratio, self._model)
        else:
            self.layout = aher.context_layout(moments.ratio, moments.position, self._model,
                                              config.train.faults.odd_end_without_start)
        self._placed = aher.place_moments(moments.features, self.layout)

    def prepare(self, chain):
        """Compute once what stays the same from update 4 to update 7.

        Building the graph fails if an update in between changes it.
        """
        self._weights = aher.transfer(aher.classifier(self._model, TARGET_CLASSIFIER), self._model)
        self._check_unchanged = chain.unchanged(aher.group_variables(TARGET_CLASSIFIER, TRANSFER))
        self._stem = aher.reusable_stem(self._placed, self._model, chain)

    def levels(self):
        """The levels of the sequences, with the context that the generator makes now."""
        if self._stretched:
            return aher.levels_above(self._stem.outputs(), self._model)
        features = aher.synthesize(self._moments.features, self._placed, self.layout, self._model)
        return aher.levels_above(self._stem.outputs_for(features, self.layout.outside), self._model)

    def localize(self, levels):
        """Localization of the levels, with the moment classifier's transferred weights."""
        self._check_unchanged()
        return aher.localize(levels, self._weights, self._model)


def _minimize(chain, rate, name, losses, groups, adams=None):
    """Add an update to the chain; its optimizers have the scheduled rate, unless `adams` are given."""
    chain.add(name, losses, aher.group_variables(*groups), adams or _adams(name, losses, rate))


def _adams(name, keys, *rates):
    """{key of a loss: its optimizer} of the update `name`; `rates` are Adam's rate and, unless it is 0.9, beta1."""
    return {key: tf.train.AdamOptimizer(*rates, name='adam_%s_%s' % (name, key)) for key in keys}


def _classification(losses):
    """The loss of a classification update, for its optimizer."""
    return {'classification': losses['classification']}


def _localization(losses):
    """The two losses of a localization update, for one optimizer each."""
    return collections.OrderedDict([
        ('proposal', tf.add_n([losses['proposal'], losses['localization'], losses['iou']])),
        ('classification', losses['classification'])])


def screen_losses(config):
    """{title: ScreenLoss} of the six losses on the screen, each the mean cross-entropy of one kind of decision.

    Without weights, and per decision, they compare with each other and with chance, which is ln K for classes and
    ln 2 where there are two answers. As they are minimized, they do not: a clip's loss, a mean already, is divided by
    B once more; that of a video's classes is a sum over its N positions; and each has a weight of its own. All
    divisors are constants. A loss without weight is 0, and stays so.
    """
    train, positions = config.train, sum(aher.level_positions(config.model))
    clip, position = [(train.class_weight or 1) * number for number in (1 / train.batch_size, positions)]
    return collections.OrderedDict([
        ('moment', ScreenLoss(('moment/classification',), clip)),             # of each of a moment's 8 level vectors
        ('foreground', ScreenLoss(('foreground/classification',), clip)),     # the same of a foreground segment
        ('untrimmed', ScreenLoss(('untrimmed/classification',), position)),   # of each position of an untrimmed video
        ('synthetic', ScreenLoss(('synthetic/classification',), position)),   # the same of a synthetic sequence
        ('proposal', ScreenLoss(('untrimmed/proposal', 'synthetic/proposal'),  # of each anchor chosen for it: action?
                                train.proposal_weight or 1)),
        ('adversary', ScreenLoss(('adversary/discriminator_real', 'adversary/discriminator_fake'),  # of each anchor
                                 train.adversary_weight or 1))])              # of the background: real?


def main(argv=None):
    """Train as the command line says."""
    parser = settings.argument_parser(__doc__, settings.TRAIN)
    config = settings.from_arguments(parser.parse_args(argv), settings.TRAIN)
    announce_device(config.threads, config.device, config.tf32)
    check_paths(config.data, training_paths(config.data))
    run(resolve_classes(config))


def run(config):
    """Train until `config.train.max_steps`, from where config.resume says.

    A request to stop (runtime/watching.py) ends it earlier, with a snapshot. Raises Interrupted after a signal, also
    with a snapshot written, and InputError where a loss is not finite.
    """
    config = settings.override(config, init_checkpoint=snapshots.without_end(config.train.init_checkpoint))
    train, folder = config.train, config.model_dir
    with file_lock(os.path.join(folder, TRAIN_LOCK)):
        snapshots.prepare_folder(folder)
        request = take_request(folder)
        if request:
            print(printable('a request to stop an earlier training is removed (%s)' % request), flush=True)
        remove_leftovers(folder, re.escape(LOG_NAME))
        resumes = config.resume not in ('auto', 'never') or bool(snapshots.steps_in(folder))
        tables = training_tables(config, resumes)
        start = snapshots.find_start(folder, config.resume, functools.partial(_differences, config, tables),
                                     config.accept_changes, check_progress)
        if start and start.step >= train.max_steps:
            print('%s: training has reached step %d already; give more than --max_steps %d to continue'
                  % (printable(start.prefix), start.step, train.max_steps))
            return
        if train.init_checkpoint and not start:
            snapshots.read_checkpoint(train.init_checkpoint)  # a wrong path is reported before the graph is built
        Trainer(config, tables).train(start)


def _differences(config, tables, saved):
    """What differs between the settings and tables `saved` in a snapshot and those of this run: a list of texts."""
    if 'trained_on' not in saved:
        print('warning: the snapshot is of an earlier version and does not say what it was trained on; make sure '
              'that class names and tables are the same', flush=True)
    return (settings.differences(saved, config, snapshots.SETTINGS)
            + trained_on.differences(saved.get('trained_on'), tables.trained_on, config.data))


class Trainer:
    """A training run: the graph with its streams, and the loop over the steps."""

    def __init__(self, config, tables=None):
        """Build the graph; `tables` are those of data_loader.training_tables, by default read here."""
        self.config = config
        tf.set_random_seed(config.train.seed)
        self.tables = tables or training_tables(config)
        self.stream = training_stream(config, self.tables)
        self.step = training_step(self.stream.batch, config)
        self.parts = snapshots.parts_of(aher.group_variables(*aher.GROUPS) + [self.step.counter])
        self._fetches = {'losses': self.step.losses, 'rate': self.step.rate, 'checks': self.step.chain.to_check(),
                         'op': self.step.op}
        self._screen = screen_losses(config)
        self._done = self._saved = None  # the step whose weights the session has, None inside a step; the last saved

    def train(self, start):
        """Train from `start`, a snapshots.Start or None. No other run may use the model folder meanwhile."""
        config, first = self.config, start.step if start else 0
        print(self.stream.summary, flush=True)
        window = Window(**start.progress['window']) if start else Window()
        with new_session(config.threads, config.device, config.tf32) as session, \
                TrainingLog(config.model_dir, first, window) as log:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            session.run(self.stream.initializer, {self.stream.first: first * config.train.batch_size})
            if start:
                snapshots.resume(session, self.parts, start)
                print('continuing from %s' % printable(start.prefix), flush=True)
            elif config.train.init_checkpoint:
                snapshots.restore(session, config.train.init_checkpoint,
                                  snapshots.part_of(aher.group_variables(BACKBONE, HEADS, TRANSFER)))
            self._done, self._saved = first, start and first
            self._loop(session, log, first)

    def _loop(self, session, log, first):
        """Run the steps; a signal, a request or a failure ends them after a snapshot of the last complete step."""
        config = self.config
        with SignalWatcher('step', self.stream.bad.slow_read_warning) as watcher:
            try:
                self._run_steps(session, log, first, watcher)
                self._save(session, log)
            except Exception as error:  # of a feature file, the disk, a closed terminal, too little memory
                saved = self._save_after_failure(session, log)
                if not isinstance(error, (InputError, OSError)):
                    raise
                if not (watcher.received and saved):
                    raise InputError('%s%s' % (reason(error), saved and '; ' + saved)) from None
            if watcher.received:
                raise Interrupted(watcher.received, self._what_is_saved())
        request = take_request(config.model_dir)
        if request and self._done < config.train.max_steps:
            say(printable('training stops before step %d, as it was asked to (%s); %s' % (
                config.train.max_steps, request, self._what_is_saved())))

    def _run_steps(self, session, log, first, watcher):
        train, folder, pace = self.config.train, self.config.model_dir, Pace(first)
        with Progress(train.max_steps, 'step', first) as progress:
            for number in range(first + 1, train.max_steps + 1):
                self._done = None
                with watcher.iteration(), reader_errors(self.stream):
                    values = session.run(self._fetches)
                fault = self.step.chain.fault(values['checks'])
                if fault:
                    self._skip(log, number, fault)
                else:
                    log.add(values['losses'])
                    self._done = number
                progress.update()
                if number % train.log_step == 0:
                    steps, seconds = pace.since_last_look(number)
                    means = log.write_means(number, rate=float(values['rate']),
                                            steps_per_second=steps / seconds if seconds else float('nan'))
                    progress.say('%s  %s' % (progress_text('step', number, train.max_steps, steps, seconds),
                                             screen_means(means, self._screen)))
                if watcher.received or is_asked_to_stop(folder):
                    break
                if number % train.snapshot_step == 0 and number != train.max_steps:
                    self._save(session, log)

    def _skip(self, log, number, fault):
        """Log the skipped step; InputError where a step must not be skipped, or too many were."""
        train, data = self.config.train, self.config.data
        fault = 'step %d  %s; videos %s%s' % (
            number, fault, json.dumps(self._videos(number)),
            ', or the videos that replace those in bad_data.csv' if data.bad_data == 'skip' else '')
        skips = log.skip()
        if train.on_nan == 'stop' or skips >= train.max_skips:
            raise InputError('%s; the last snapshot stays; check the features of these videos, lower '
                             '--learning_rate, or give --on_nan skip (it stops at --max_skips %d in a row)'
                             % (fault, train.max_skips))
        self._done = number
        log.write('%s; skipped, %d steps skipped so far' % (fault, log.window.all_skips))

    def _save(self, session, log):
        """Write the snapshot of the last step, unless it is there; InputError where a variable is not finite."""
        number = self._done
        if number == self._saved:
            return
        name = snapshots.first_not_finite(session, *self.parts)
        if name:
            raise InputError('step %d: variable %s is not finite, so no snapshot is written; the last snapshot '
                             'stays; lower --learning_rate, or give --on_nan skip' % (number, name))
        log.flush()
        record = dict(settings.to_dict(self.config), trained_on=self.tables.trained_on,
                      rows=data_root.rows_of(self.config.data.data_root))
        saved = snapshots.save(session, self.parts, self.config.model_dir, number, record,
                               {'window': log.window._asdict()}, self.config.train.max_to_keep,
                               functools.partial(kept_steps, self.config.model_dir))
        self._saved = number
        say('snapshot %s' % printable(saved))

    def _save_after_failure(self, session, log):
        """Write the snapshot of the last complete step, if possible; return _what_is_saved, '' if nothing is."""
        if self._done is None and self.stream.bad.failures:  # no weight changes before all samples are read
            self._done = int(session.run(self.step.counter))
        if self._done:
            with contextlib.suppress(InputError, OSError):  # such as a full disk; a closed terminal
                self._save(session, log)
        return self._what_is_saved() if self._done is not None and self._done == self._saved else ''

    def _what_is_saved(self):
        return 'the snapshot of step %d is written; the same command%s continues from it' % (
            self._saved, '' if self.config.resume == 'auto' else ' with --resume auto')

    def _videos(self, number):
        """Names of the videos of step `number`, by stream."""
        size = self.config.train.batch_size
        return names_of_samples(self.stream, (number - 1) * size, size)


if __name__ == '__main__':
    run_and_exit(main)
