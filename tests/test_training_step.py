"""A training step: what each update changes, contexts, the order of optimizers, and operations that nothing needs."""
import re

import networks
import numpy as np
import pytest
from networks import SHORT, TINY, TRAIN, ancestors, batch_of, evaluate

import aher_k600_train
import aher_model as aher
import config as settings
from aher_k600_train import learning_rate, screen_losses, training_step
from aher_model import (
    BACKBONE,
    DISCRIMINATOR,
    GENERATOR,
    GROUPS,
    HEADS,
    SOURCE_CLASSIFIER,
    TARGET_CLASSIFIER,
    TRANSFER,
)
from ops import convolution
from ops.updates import UpdateChain
from runtime.session import new_session, tf

graph = networks.graph


UPDATES = [
    ('1_moment_classification', [BACKBONE, TARGET_CLASSIFIER]),
    ('2_foreground_classification', [SOURCE_CLASSIFIER]),
    ('3_untrimmed_localization', [BACKBONE, HEADS, TRANSFER]),
    ('4_generator_localization', [GENERATOR]),
    ('5_discriminator', [DISCRIMINATOR]),
    ('6_generator_adversary', [GENERATOR]),
    ('6_generator_adversary', [GENERATOR]),
    ('7_synthetic_localization', [BACKBONE, HEADS])]


def tiny_step(size=3, train=TRAIN, model=TINY):
    return training_step(batch_of(size), settings.Config(model=model, train=train))


def test_each_update_changes_exactly_its_variables():
    step = tiny_step()
    assert [update.name for update in step.updates] == [name for name, _ in UPDATES]
    variables = {group: aher.group_variables(group) for group in GROUPS}
    assert sum(len(group) for group in variables.values()) == len(tf.trainable_variables())
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        start = session.run(variables)
        everything = tf.global_variables()
        initial = session.run(everything)
        before = start
        for update, (name, groups) in zip(step.updates, UPDATES):
            # an update runs all those before it: from the same start they do the same again
            session.run([variable.initializer for variable in everything],
                        {variable.initializer.inputs[1]: value for variable, value in zip(everything, initial)})
            session.run(update.op)
            after = session.run(variables)
            changed = {group for group in GROUPS if any(
                np.abs(old - new).max() > 2e-4 for old, new in zip(before[group], after[group]))}
            assert changed == set(groups), name
            for group in set(GROUPS) - set(groups):
                for old, new in zip(before[group], after[group]):
                    np.testing.assert_allclose(old, new, rtol=0, atol=2e-5)
            before = after


def test_a_step_runs_at_any_batch_size():
    batches = [evaluate(batch_of(size)) for size in (1, 2, 5)]
    batch = tf.nest.map_structure(
        lambda array: tf.placeholder(array.dtype, [None] + list(array.shape[1:])), batches[0])
    step = training_step(batch, settings.Config(model=TINY, train=TRAIN))
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        for arrays in batches + batches:
            feeds = dict(zip(tf.nest.flatten(batch), tf.nest.flatten(arrays)))
            losses, _ = session.run([step.losses, step.op], feeds)
            assert all(np.isfinite(value) for value in losses.values())
        assert session.run(step.counter) == 2 * len(batches)


@pytest.mark.parametrize('context, updates, absent', [
    ('localized', '12347', [DISCRIMINATOR]), ('untrained', '1237', [DISCRIMINATOR]),
    ('none', '1237', [DISCRIMINATOR, GENERATOR]), ('unused', '123', [DISCRIMINATOR, GENERATOR])])
def test_with_less_context(context, updates, absent):
    step = tiny_step(train=TRAIN._replace(context=context), model=SHORT)
    assert [update.name[0] for update in step.updates] == list(updates)
    assert not aher.group_variables(*absent)
    assert not any('adversary' in name for name in step.losses)
    assert ('synthetic/iou' in step.losses) == ('7' in updates)
    generator = aher.group_variables(GENERATOR)
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(generator)
        losses, _ = session.run([step.losses, step.op])
        assert all(np.isfinite(value) for value in losses.values())
        if context == 'untrained':
            assert generator
            np.testing.assert_array_equal(before[0], session.run(generator)[0])


def test_segments_with_labels_of_their_own():
    """The loss of the untrimmed videos' classes is another one, that of the rest the same."""
    batch, losses = batch_of(2), []
    own = tf.constant([[1, 2] + [-1] * 23, [2] + [-1] * 24], tf.int32)
    for labels, untrimmed in (('video', batch.untrimmed), ('segment', batch.untrimmed._replace(segment_labels=own))):
        with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
            config = settings.override(settings.Config(model=SHORT, train=TRAIN), labels=labels)
            losses.append(training_step(batch._replace(untrimmed=untrimmed), config).losses)
    one, other = map(evaluate, losses)
    assert one['moment/classification'] == other['moment/classification']
    assert abs(one['untrimmed/classification'] - other['untrimmed/classification']) > 1e-3


def test_the_losses_on_the_screen_are_mean_cross_entropies():
    """A network without any weights takes all answers for equally likely: ln K of K classes, ln 2 of two answers."""
    batch = batch_of(3)
    # an anchor of level 5 is 64 rows long, and one of them is centred at row 160: it is a positive
    segments = -np.ones((3, 25, 2), np.float32)
    segments[:, 0] = [128, 192]
    batch = batch._replace(untrimmed=batch.untrimmed._replace(segments=tf.constant(segments)))
    train = TRAIN._replace(batch_size=3, class_weight=3.0, proposal_weight=5.0, adversary_weight=0.2,
                           learning_rate=1e-12, adversary_rate=1e-12)
    config = settings.Config(model=TINY, train=train)
    step = training_step(batch, config)
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        session.run([variable.assign(tf.zeros_like(variable)) for variable in tf.trainable_variables()])
        losses = session.run([step.losses, step.op])[0]
    shown = screen_losses(config)
    assert list(shown) == ['moment', 'foreground', 'untrimmed', 'synthetic', 'proposal', 'adversary']
    names = [name for loss in shown.values() for name in loss.names]
    assert set(names) <= set(losses)
    values = {name: losses[name] / loss.divisor for loss in shown.values() for name in loss.names}
    expected = {'moment/classification': np.log(4), 'foreground/classification': np.log(3),
                'untrimmed/classification': np.log(3), 'synthetic/classification': np.log(4),
                'untrimmed/proposal': np.log(2), 'adversary/discriminator_real': np.log(2),
                'adversary/discriminator_fake': np.log(2)}
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-5), name
    # as they are minimized: 3 · ln 4 / B, and 3 · ln 3 at each of the 255 positions
    assert losses['moment/classification'] == pytest.approx(3 * np.log(4) / 3, rel=1e-5)
    assert losses['untrimmed/classification'] == pytest.approx(3 * np.log(3) * 255, rel=1e-5)


def test_a_loss_without_weight_is_shown_as_0():
    train = TRAIN._replace(class_weight=0.0, proposal_weight=0.0, adversary_weight=0.0)
    losses = screen_losses(settings.Config(model=TINY, train=train))
    assert all(loss.divisor > 0 for loss in losses.values())


def test_a_stretched_moment_fills_the_sequence():
    layout = evaluate(aher.stretched_layout(tf.constant([3, 19]), TINY))
    moments = np.arange(TINY.moment_steps, dtype=np.float32)
    steps, half = TINY.untrimmed_steps, TINY.moment_steps / TINY.untrimmed_steps
    for weights in layout.from_moment:
        np.testing.assert_allclose(weights @ moments, np.minimum(np.arange(steps) * half, moments[-1]), atol=1e-4)
    assert not layout.from_context.any() and not layout.outside.any()
    np.testing.assert_array_equal(layout.segments, [[[0, steps]]] * 2)


def test_without_the_transfer():
    step = tiny_step(model=SHORT._replace(transfer='identity'))
    assert not aher.group_variables(TRANSFER)
    losses = evaluate({'losses': step.losses, 'op': step.op})['losses']
    assert all(np.isfinite(value) for value in losses.values())


@pytest.mark.parametrize('faults, ordered', [(settings.Faults(), True), (settings.MODES['authors'], False)])
def test_the_order_of_two_optimizers(faults, ordered, graph):
    tiny_step(train=TRAIN._replace(faults=faults), model=SHORT)
    first, second = ['adam_3_untrimmed_localization_' + loss for loss in ('proposal', 'classification')]
    done = graph.get_operation_by_name(first)
    steps = [op for op in graph.get_operations() if op.type == 'ResourceApplyAdam' and op.name.startswith(second)]
    assert steps and all((done in ancestors(op)) == ordered for op in steps)


def test_the_rate_decays_at_samples_not_steps():
    train = settings.TrainConfig(batch_size=16)
    counter = tf.placeholder(tf.int64, [])
    rate = learning_rate(counter, train)
    with new_session() as session:
        rates = [session.run(rate, {counter: step}) for step in (0, 937, 938, 1876, 6000)]
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 1e-5, 1e-6, 1e-9], rtol=1e-4)


@pytest.mark.parametrize('group, use', [
    (BACKBONE, lambda synthetic: synthetic.levels()), (TRANSFER, lambda synthetic: synthetic.localize([])),
    (TARGET_CLASSIFIER, lambda synthetic: synthetic.localize([]))])
def test_an_update_in_between_must_not_change_what_is_computed_once(group, use):
    batch, chain = batch_of(2), UpdateChain()
    synthetic = aher_k600_train._Synthetic(batch.moments, settings.Config(model=TINY, train=TRAIN))
    synthetic.prepare(chain)
    variables = aher.group_variables(group)
    chain.add('5_misplaced', {'loss': tf.reduce_sum(variables[0])}, variables, {'loss': tf.train.AdamOptimizer()})
    with pytest.raises(ValueError, match='update 5_misplaced changes aher/'):
        use(synthetic)


# What TensorFlow adds although no fetch needs it: gradients for constants, reads, copies of outputs
BY_TENSORFLOW = (r'gradients(_\d+)?/|.*IsInitialized|.*/Read/ReadVariableOp|adam_.*/ReadVariableOp|'
                 r'PiecewiseConstant/|(.*/)?Identity(_\d+)?$')


def test_every_operation_is_reachable_from_a_fetch(graph, monkeypatch):
    """As BERT's tests do: what no fetch needs was built by mistake."""
    monkeypatch.setattr(convolution, 'LARGE_KERNEL', 0)  # with small kernels the reusable stem has nothing to reuse
    step = tiny_step(model=SHORT)
    fetches = list(step.losses.values()) + list(step.chain.to_check().values()) + [step.rate.op, step.op]
    fetches.append(tf.global_variables_initializer())
    fetched = [getattr(fetch, 'op', fetch) for fetch in fetches]
    needed = ancestors(*fetched) | set(fetched)
    unneeded = [op.name for op in graph.get_operations() if op not in needed and not re.match(BY_TENSORFLOW, op.name)]
    # the accuracy of update 4's localization losses is not logged: it is that of update 7, a few weights earlier
    assert {name.split('/')[0] for name in unneeded} <= {'localization_losses_1'}, unneeded
    assert len(unneeded) <= 6, unneeded
