"""Convolutions as products of matrices and at changed rows, against TensorFlow's own."""
import networks
import numpy as np
import pytest
from networks import TINY, evaluate

import aher_model as aher
from aher_model import BACKBONE
from ops import convolution
from ops.updates import UpdateChain
from runtime.session import tf

graph = networks.graph


@pytest.mark.parametrize('taps', [1, 3])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('positions', [1, 2, 7, 8])
def test_a_convolution_as_products_is_tensorflows_own(positions, stride, taps, monkeypatch):
    random = np.random.RandomState(positions)
    x = tf.constant(random.randn(3, positions, 4), tf.float32)
    kernel = tf.constant(random.randn(taps, 4, 5), tf.float32)

    def outputs():
        y = convolution.convolve(x, kernel, stride)
        dy = tf.constant(np.random.RandomState(1).randn(*y.shape.as_list()), tf.float32)
        return [y] + tf.gradients(y, [x, kernel], dy)

    expected = outputs()
    monkeypatch.setattr(convolution, 'LARGE_KERNEL', 0)
    found = outputs()
    assert found[0].op.type != expected[0].op.type
    for mine, theirs in zip(*evaluate([found, expected])):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_stem_of_changed_rows_is_the_whole_stem(monkeypatch):
    monkeypatch.setattr(convolution, 'LARGE_KERNEL', 0)
    random = np.random.RandomState(0)
    changed = np.zeros((3, 40), bool)
    changed[0, :7], changed[0, -1], changed[1, 20:23] = True, True, True  # nothing of the third
    before = tf.constant(random.randn(3, 40, TINY.feature_width), tf.float32)
    after = before + tf.constant(changed[..., np.newaxis] * random.randn(3, 40, TINY.feature_width), tf.float32)
    whole = aher.stem(after, TINY)
    patched = aher.reusable_stem(before, TINY, UpdateChain()).outputs_for(after, tf.constant(changed))
    mine, theirs = evaluate([patched, whole])
    for found, expected in zip(mine, theirs):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

    weights = tf.constant(random.randn(*whole[-1].shape.as_list()), tf.float32)
    variables = aher.group_variables(BACKBONE)
    mine, theirs = [tf.gradients(outputs[-1], variables, weights) for outputs in (patched, whole)]
    for found, expected in zip(*evaluate([mine, theirs])):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    mine, theirs = evaluate([tf.gradients(outputs[-1], after, weights)[0] for outputs in (patched, whole)])
    np.testing.assert_allclose(mine[changed], theirs[changed], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('large_kernel', [0, 1 << 16])
def test_a_stem_is_not_reused_after_an_update_of_the_backbone(large_kernel, monkeypatch):
    monkeypatch.setattr(convolution, 'LARGE_KERNEL', large_kernel)
    chain = UpdateChain()
    features, changed = tf.ones([2, 40, TINY.feature_width]), tf.zeros([2, 40], tf.bool)
    stem = aher.reusable_stem(features, TINY, chain)
    other = tf.get_variable('other', [], tf.float32, tf.ones_initializer(), use_resource=True)
    chain.add('harmless', {'loss': other * tf.reduce_sum(stem.outputs()[-1])}, [other],
              {'loss': tf.train.AdamOptimizer()})
    assert len(stem.outputs_for(features, changed)) == 2
    chain.add('harmful', {'loss': tf.reduce_sum(stem.outputs()[-1])}, aher.group_variables(BACKBONE)[:1],
              {'loss': tf.train.AdamOptimizer()})
    for use in (stem.outputs, lambda: stem.outputs_for(features, changed)):
        with pytest.raises(ValueError, match='update harmful changes aher/g_conv1/weights, so .* compute it again'):
            use()
