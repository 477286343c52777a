"""The updates of a training step: one after the other, each with gradients at the weights that the last one left."""
import collections
import itertools
from typing import NamedTuple

import numpy as np

from runtime.session import tf


class Update(NamedTuple):
    """One update: its losses and gradients, and the operation that applies them."""

    name: str
    losses: dict        # name of an optimizer's loss → scalar
    gradients: dict     # name of an optimizer's loss → [(gradient or None, variable)]
    op: tf.Operation


class UpdateChain:
    """Updates in the order in which they are added; each waits for the one before.

    An update has one Adam optimizer for each of its losses. All its gradients are taken at the same weights. Then its
    optimizers step, in a fixed order or, as in the published code (fault F3), in no fixed order.
    """

    def __init__(self, ordered=True, skip_not_finite=False):
        """With `skip_not_finite`, an update whose losses or gradients are not finite is not applied.

        The updates after it in the same step are not applied either. This is a condition in the graph: it needs no
        copy of the variables, and the variables stay finite.
        """
        self.updates = []  # of Update
        self._ordered, self._skip_not_finite = ordered, skip_not_finite
        self._finite = []  # with skip_not_finite: for each update, whether it is applied

    def after_last(self):
        """A context: operations made in it run after the last update."""
        return tf.control_dependencies([self.updates[-1].op] if self.updates else [])

    def add(self, name, losses, variables, adams):
        """Add an update: each of `losses` {key: scalar} is minimized over `variables` by its optimizer in `adams`."""
        # GATE_NONE: otherwise a convolution computes all its gradients where only one of them is needed
        gradients = collections.OrderedDict(
            (key, adams[key].compute_gradients(loss, variables, gate_gradients=tf.train.Optimizer.GATE_NONE))
            for key, loss in losses.items())
        ready = [gradient for pairs in gradients.values() for gradient, _ in pairs if gradient is not None]

        def apply():
            steps = []
            for key, pairs in gradients.items():
                with tf.control_dependencies(ready + (steps if self._ordered else [])):
                    steps.append(adams[key].apply_gradients(pairs))
            return tf.group(*steps)

        if self._skip_not_finite:
            for key, pairs in gradients.items():
                # outside of the condition, so that the slots have the names that they have without one
                adams[key]._create_slots([variable for gradient, variable in pairs if gradient is not None])
            self._finite.append(_all_finite(list(losses.values()) + ready, self._finite))
            op = tf.cond(self._finite[-1], apply, tf.no_op).op
        else:
            op = apply()
        self.updates.append(Update(name, losses, gradients, op))

    def unchanged(self, variables):
        """A function that raises ValueError where an update added from now on changes one of `variables`."""
        names, since = {variable.op.name for variable in variables}, len(self.updates)

        def check():
            for update in self.updates[since:]:
                for gradient, variable in itertools.chain(*update.gradients.values()):
                    if gradient is not None and variable.op.name in names:
                        raise ValueError('update %s changes %s, so what was computed from it earlier in the step is '
                                         'out of date; compute it again, or change the order of the updates'
                                         % (update.name, variable.op.name))
        return check

    def to_check(self):
        """Tensors to fetch with a step, whose values `fault` takes."""
        tensors = {'losses': tf.stack([loss for update in self.updates for loss in update.losses.values()])}
        if self._skip_not_finite:
            tensors['applied'] = tf.stack(self._finite)
        return tensors

    def fault(self, values):
        """What was not finite in a step with these values of `to_check`; None where all was."""
        names = [(key, update.name) for update in self.updates for key in update.losses]
        for (key, update), loss in zip(names, values['losses']):
            if not np.isfinite(loss):
                return 'loss %s of update %s is %s' % (key, update, loss)
        for update, applied in zip(self.updates, values.get('applied', ())):
            if not applied:
                return 'a gradient of update %s is not finite' % update.name
        return None


def _all_finite(tensors, before):
    """A scalar: are all `tensors` and their squares (Adam needs them) finite, and is the last of `before` true?"""
    finite = [tf.is_finite(tf.reduce_sum(tf.square(tensor))) for tensor in tensors]
    return tf.reduce_all(tf.stack(finite + before[-1:]))
