"""The chain of updates: its order, what it refuses, and updates that are not applied."""
import networks
import numpy as np
import pytest

from ops.updates import UpdateChain
from runtime.session import new_session, tf

graph = networks.graph


def variable(name, value):
    return tf.get_variable(name, initializer=tf.constant(value, tf.float32), use_resource=True)


def adam(name):
    return tf.train.AdamOptimizer(0.1, name='adam_' + name)


def chain_of_three(scale, **options):
    """Updates of the variables a, b and c; the loss of b's is multiplied by `scale`."""
    chain, variables = UpdateChain(**options), [variable(name, 1.0) for name in 'abc']
    for number, weight in enumerate(variables):
        with chain.after_last():
            loss = weight * (scale if number == 1 else 1.0)
            chain.add('update_%d' % number, {'first': loss, 'second': 2 * loss}, [weight],
                      {name: adam('%d_%s' % (number, name)) for name in ('first', 'second')})
    return chain, variables


def test_an_update_sees_what_the_one_before_left():
    chain, weight = UpdateChain(), variable('weight', 1.0)
    for number in range(2):
        with chain.after_last():
            chain.add('update', {'loss': weight ** 2}, [weight], {'loss': adam(str(number))})
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        losses, _ = session.run([[update.losses['loss'] for update in chain.updates], chain.updates[-1].op])
    assert losses[0] == 1 and losses[1] == pytest.approx(0.81, rel=1e-5)


@pytest.mark.parametrize('scale, fault', [
    (np.nan, 'loss first of update update_1 is nan'), (np.inf, 'loss first of update update_1 is inf'),
    (1e30, 'a gradient of update update_1 is not finite')])  # its square, which Adam keeps, is infinite
def test_what_is_not_finite_is_not_applied_nor_what_follows_it(scale, fault):
    factor = tf.placeholder(tf.float32, [])
    chain, variables = chain_of_three(factor, skip_not_finite=True)
    everything = tf.global_variables()
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(everything)
        values, _ = session.run([chain.to_check(), chain.updates[-1].op], {factor: scale})
        after = session.run(everything)
        assert chain.fault(values) == fault
        changed = {variable.op.name for variable, old, new in zip(everything, before, after) if old != new}
        assert 'a' in changed and changed <= {
            name for name in (variable.op.name for variable in everything)
            if name == 'a' or name.startswith('a/') or name in ('beta1_power', 'beta2_power', 'beta1_power_1',
                                                                'beta2_power_1')}
        assert np.isfinite(after).all()
        values, _ = session.run([chain.to_check(), chain.updates[-1].op], {factor: 1.0})
        assert chain.fault(values) is None
        assert all(value < 1 for value in session.run(variables))


def test_skipping_changes_neither_names_nor_finite_steps():
    found = []
    for skip in (False, True):
        with tf.Graph().as_default():
            chain, _ = chain_of_three(3.0, skip_not_finite=skip)
            with new_session() as session:
                session.run(tf.global_variables_initializer())
                for _ in range(3):
                    session.run(chain.updates[-1].op)
                found.append({variable.op.name: session.run(variable) for variable in tf.global_variables()})
    assert found[0] == found[1]


def test_without_skipping_a_loss_is_reported():
    chain, _ = chain_of_three(np.nan)
    values = networks.evaluate(chain.to_check())
    assert chain.fault(values) == 'loss first of update update_1 is nan'
