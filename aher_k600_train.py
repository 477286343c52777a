"""Train AherNet, ActivityNet → Kinetics-600: eight updates a step (SPEC section 7).

Reads the four streams' data below --data_root, writes snapshots, their settings, TensorBoard scalars and
loss_results_log.txt to --model_dir.
"""
import collections
import os
import sys
import time
from typing import NamedTuple

from tqdm import tqdm

import aher_model as aher
import config as settings
import snapshots
from aher_model import BACKBONE, DISCRIMINATOR, GENERATOR, HEADS, SOURCE_CLASSIFIER, TARGET_CLASSIFIER, TRANSFER
from data_loader import TRAINING_PATHS, check_paths, reported, resolve_classes, training_stream
from errors import exit_status
from tensorflow_setup import session as new_session
from tensorflow_setup import tf

LOG_NAME = 'loss_results_log.txt'
FLAGS = {
    'batch_size': 'samples of each stream a step',
    'max_steps': 'steps in all, of eight updates each; 0 saves the untrained network',
    'snapshot_step': 'steps between snapshots',
    'log_step': 'steps between log lines',
    'learning_rate': 'Adam\'s rate, updates 1-4 and 7',
    'adversary_rate': 'Adam\'s rate, updates 5 and 6',
    'context_adversary': 'off: no updates 5 and 6; context is trained by localization alone',
    'init_checkpoint': 'snapshot to start from: backbone, heads and transfer',
    'seed': 'of initial weights and of the order of samples',
}


class Update(NamedTuple):
    """One update: its gradients, and the operation that applies them."""

    name: str
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
    """Batch → Step: the eight updates of SPEC section 7, chained, on one batch that never leaves the device."""
    model, train, ordered = config.model, config.train, not config.train.faults.unordered_updates
    untrimmed, foreground, moments = batch
    counter = tf.train.get_or_create_global_step()
    rate = learning_rate(counter, train)
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

    # 4  moments in context → generator. Neither transfer nor classifier changes again in this step
    with after_last():
        target = aher.transfer(aher.classifier(model, TARGET_CLASSIFIER), model)
        placed_stem = aher.stem(placed, model)
        prediction = aher.localize(synthetic_levels(), target, model)
        local = aher.localization_losses(prediction, fake_targets, train)
        update('4_generator_localization', _localization_terms(local), [GENERATOR])

    if train.context_adversary:
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
    return Update(name, gradients, tf.group(*steps))


def main(argv=None):
    """Train as the command line says."""
    parser = settings.argument_parser(__doc__, FLAGS)
    parser.add_argument('--mode', choices=('mended', 'authors'), default='mended',
                        help='authors: with faults F1-F3 of the published code (README)')
    arguments = parser.parse_args(argv)
    config = settings.from_arguments(arguments, FLAGS)
    if arguments.mode == 'authors':
        config = settings.override(config, faults=settings.AUTHORS_FAULTS)
    check_paths(config.data, TRAINING_PATHS)
    run(resolve_classes(config))


def run(config):
    """Train `config.train.max_steps` steps from new weights, or from --init_checkpoint's."""
    tf.set_random_seed(config.train.seed)
    stream = training_stream(config)
    print(stream.summary, flush=True)
    step = training_step(stream.batch, config)
    saver = tf.train.Saver(aher.group_variables(*aher.GROUPS) + [step.counter], max_to_keep=None)
    os.makedirs(config.model_dir, exist_ok=True)
    with new_session() as session, open(os.path.join(config.model_dir, LOG_NAME), 'w') as log, \
            tf.summary.FileWriter(config.model_dir) as board, reported(stream):
        session.run([tf.global_variables_initializer(), stream.initializer])
        if config.train.init_checkpoint:
            snapshots.restore(session, config.train.init_checkpoint,
                              aher.group_variables(BACKBONE, HEADS, TRANSFER))
        _loop(session, step, saver, config, log, board)


def _loop(session, step, saver, config, log, board):
    train, fetches = config.train, {'losses': step.losses, 'rate': step.rate, 'op': step.op}
    window, since = [], time.time()
    with tqdm(total=train.max_steps, unit='step', smoothing=0.1) as progress:
        for number in range(1, train.max_steps + 1):
            found = session.run(fetches)
            window.append(found['losses'])
            progress.update()
            if number % train.log_step == 0:
                means = {name: sum(float(losses[name]) for losses in window) / len(window) for name in step.losses}
                means.update(rate=float(found['rate']), steps_per_second=len(window) / (time.time() - since))
                line = log_line(number, means)
                progress.write(line)
                print(line, file=log, flush=True)
                board.add_summary(_scalars(means), number)
                window, since = [], time.time()
            if number % train.snapshot_step == 0 and number != train.max_steps:
                progress.write('snapshot %s' % snapshots.save(session, saver, config, number))
    print('snapshot %s' % snapshots.save(session, saver, config, train.max_steps), flush=True)


def log_line(step, means):
    """One line of the log: `step N  branch/loss value …`, means since the last line."""
    return 'step %d  %s' % (step, '  '.join('%s %.5g' % (name, value) for name, value in means.items()))


def _scalars(means):
    return tf.Summary(value=[tf.Summary.Value(tag=name, simple_value=value) for name, value in means.items()])


if __name__ == '__main__':
    sys.exit(exit_status(main))
