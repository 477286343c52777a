"""Convolutions in time that are fast on a CPU, and the same convolutions at changed rows only.

On a CPU, TensorFlow's own operations take up to twice as long for the gradients of a large kernel, and many times as
long with a stride and few positions. So a convolution with a large kernel is computed as products of matrices. One
with a small kernel stays TensorFlow's own, which is a single operation.

From update 4 to update 7 of a training step, the backbone stays the same and the synthetic sequences differ only in
their context. ReusableLayers computes the rows of the first layers that the context reaches, and takes all others
from one earlier computation.
"""
from runtime.session import tf

LARGE_KERNEL = 1 << 16  # channels in · channels out from which a convolution is a product of matrices


def convolve(x, weights, stride=1):
    """[B, P, c], [k, c, d] → [B, ceil(P / stride), d]: a 'same' convolution with an odd number k of taps."""
    if is_small(weights):
        return tf.nn.conv1d(x, weights, stride, 'SAME')
    return _convolve_unstrided(x, weights) if stride == 1 else _convolve_strided(x, weights, stride)


def is_small(weights):
    """Does a convolution with these weights [k, c, d] use TensorFlow's own operation?"""
    _, channels, width = weights.shape.as_list()
    return channels * width < LARGE_KERNEL


@tf.custom_gradient
def _convolve_unstrided(x, weights):
    """Stride 1: one product for each tap. The gradient for x is such a convolution too, with the kernel reversed."""
    taps, half = weights.shape[0].value, weights.shape[0].value // 2
    positions = x.shape[1].value

    def rows(sequences, before, after):  # all sequences below one another, with zeros around each
        padded = tf.pad(sequences, [[0, 0], [before, after], [0, 0]])
        return tf.reshape(padded, [-1, sequences.shape[2].value])

    def products(sequences, kernel):
        padded = rows(sequences, half, half)
        count = tf.shape(padded)[0] - 2 * half
        product = tf.add_n([tf.matmul(padded[tap:tap + count], kernel[tap]) for tap in range(taps)])
        product = tf.pad(product, [[0, 2 * half], [0, 0]])
        return tf.reshape(product, [-1, positions + 2 * half, kernel.shape[2].value])[:, :positions]

    def gradient(dy):
        padded, dy_rows = rows(x, half, half), rows(dy, 0, 2 * half)
        count = tf.shape(padded)[0] - 2 * half
        kernel = tf.stack([tf.matmul(padded[tap:tap + count], dy_rows[:count], transpose_a=True)
                           for tap in range(taps)])
        return products(dy, tf.transpose(tf.reverse(weights, [0]), [0, 2, 1])), kernel

    return products(x, weights), gradient


def _convolve_strided(x, weights, stride):
    """Any stride: one product, with all taps side by side."""
    (positions, width), kernel = x.shape.as_list()[1:], weights.shape[0].value
    steps = -(-positions // stride)
    missing = max((steps - 1) * stride + kernel - positions, 0)
    padded = tf.pad(x, [[0, 0], [missing // 2, missing - missing // 2], [0, 0]])
    taps = tf.concat([padded[:, tap:tap + (steps - 1) * stride + 1:stride] for tap in range(kernel)], axis=2)
    product = tf.matmul(tf.reshape(taps, [-1, kernel * width]), tf.reshape(weights, [kernel * width, -1]))
    return tf.reshape(product, [-1, steps, weights.shape[2].value])


def _convolve_rows(x, weights, rows):
    """Outputs [n, d] of a convolution with stride 1 at `rows` [n, 2] (sample, position), as one product."""
    taps, half = weights.shape[0].value, weights.shape[0].value // 2
    padded = tf.pad(x, [[0, 0], [half, half], [0, 0]])
    beside = tf.concat([tf.gather_nd(padded, rows + [0, tap]) for tap in range(taps)], axis=1)
    return tf.matmul(beside, tf.reshape(weights, [-1, weights.shape[2].value]))


def _reached_rows(changed, radius):
    """Rows [n, 2] (sample, position) within `radius` of a row of the mask `changed` [B, P]."""
    reached = tf.cast(changed, tf.float32)[:, :, tf.newaxis]
    reached = tf.nn.max_pool(reached[:, tf.newaxis], [1, 1, 2 * radius + 1, 1], [1, 1, 1, 1], 'SAME')
    return tf.cast(tf.where(reached[:, 0, :, 0] > 0), tf.int32)


class ReusableLayers:
    """Outputs of layers one upon the other (3 taps, stride 1, ReLU), kept for inputs that differ in a few rows."""

    def __init__(self, layers, outputs, updates):
        """Keep `outputs`, one for each of the `layers` (weights, biases).

        `updates` is the ops.updates.UpdateChain of the step: it knows whether a later update changes the layers.
        """
        self._layers, self._outputs = layers, outputs
        self._check_unchanged = updates.unchanged([variable for layer in layers for variable in layer])

    def outputs(self):
        """The outputs as they were computed.

        Raises ValueError where an update since then changes a layer, so that they are out of date.
        """
        self._check_unchanged()
        return self._outputs

    def outputs_for(self, x, changed):
        """Outputs for `x` [B, P, c], which differs from the first input in the rows of the mask `changed` [B, P].

        Only what those rows reach is computed, forward and back. Raises ValueError as `outputs` does.
        """
        found = []
        for depth, ((weights, biases), others) in enumerate(zip(self._layers, self.outputs()), start=1):
            if is_small(weights):
                x = tf.nn.relu(tf.nn.bias_add(convolve(x, weights), biases))
            else:
                rows = _reached_rows(changed, depth)
                new = tf.nn.relu(tf.nn.bias_add(_convolve_rows(x, weights, rows), biases))
                x = tf.tensor_scatter_nd_update(others, rows, new)
            found.append(x)
        return found
