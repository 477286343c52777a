"""The network, its losses and its gradients against numbers recorded from the authors' code.

AHER_GOLDEN names the folder of fixtures (default: the copies beside this file). Every *_train.npz and *_test.npz in
it is checked: `small_…` at widths / 32, by TensorFlow's own convolutions and by products of matrices; `full_…` at the
published size, where nearly all convolutions are products.
"""
import functools
import glob
import importlib.util
import os
import re
from unittest import mock

import numpy as np
import pytest
from data_sets import GOLDEN

import aher_model as aher
import config as settings
from aher_k600_train import training_step
from aher_model import SOURCE_CLASSIFIER, TARGET_CLASSIFIER
from data_loader import Batch, Foreground, Moments, Untrimmed
from dataset.features import interpolate
from ops import convolution
from runtime.session import new_session, tf


def _recipe():
    path = os.path.join(GOLDEN, 'golden_recipe.py')
    spec = importlib.util.spec_from_file_location('golden_recipe', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fixtures(kind):
    return [os.path.basename(path) for path in sorted(glob.glob(os.path.join(GOLDEN, '*_%s.npz' % kind)))]


def _model(name):
    model = settings.ModelConfig(target_classes=600)
    return settings.divide_widths(model, 32) if name.startswith('small') else model


def _seed(name):
    return int(re.search(r'seed(\d+)', name).group(1))


def _load_recipe_weights(session, seed):
    """Give every variable of the network its value in the recipe; the others their initial one."""
    variables = aher.group_variables(*aher.GROUPS)
    session.run(tf.global_variables_initializer(), {
        variable.initializer.inputs[1]: RECIPE.variable_value(variable.op.name, variable.shape.as_list(), seed)
        for variable in variables})


def _close(found, expected, tolerance=1e-4):
    """Equal within `tolerance` of the expected array's largest magnitude."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-30))


def _by_level(model, values):
    """[B, N, …] → {level: [B, P_l, …]}, level from 1."""
    edges = np.cumsum((0,) + aher.level_positions(model))
    return {level: values[:, low:high] for level, (low, high) in enumerate(zip(edges, edges[1:]), start=1)}


class _Train:
    """Everything that the graph computes for one training fixture, at the recipe's weights."""

    def __init__(self, name, products=False):
        """`products`: all convolutions are products of matrices, and the stem is reused, as at the published size."""
        self.products = products
        with mock.patch.object(convolution, 'LARGE_KERNEL', 0 if products else convolution.LARGE_KERNEL):
            self._run(name)

    def _run(self, name):
        self.name, self.golden, self.model = name, np.load(os.path.join(GOLDEN, name)), _model(name)
        inputs = RECIPE.inputs(32 if name.startswith('small') else 1, _seed(name))
        # a rate of 0 leaves the weights as they are, so that every update sees the recipe's
        train = settings.TrainConfig(learning_rate=0.0, adversary_rate=0.0, faults=settings.MODES['authors'])
        config = settings.Config(model=self.model, train=train)
        with tf.Graph().as_default():
            feeds = {key: tf.placeholder(value.dtype, value.shape, key) for key, value in inputs.items()}
            batch = Batch(
                Untrimmed(*[feeds['untrimmed_' + key] for key in ('features', 'segments', 'labels')]),
                Foreground(*[feeds['foreground_' + key] for key in ('features', 'labels')]),
                Moments(*[feeds['moment_' + key] for key in ('features', 'labels', 'ratio', 'position')]))
            step = training_step(batch, config)
            fetches = {
                'outputs': {} if self.products else self._outputs(batch), 'losses': step.losses,
                'gradients': {update.name: {term: [gradient for gradient, _ in pairs if gradient is not None]
                                            for term, pairs in update.gradients.items()}
                              for update in step.updates}}
            with new_session() as session:
                _load_recipe_weights(session, _seed(name))
                found = session.run(fetches, {feeds[key]: value for key, value in inputs.items()})
        self.outputs, self.losses = found['outputs'], found['losses']
        self.gradients = {}
        for update in step.updates:
            for term, pairs in update.gradients.items():
                values = iter(found['gradients'][update.name][term])
                self.gradients[update.name, term] = {
                    variable.op.name: None if gradient is None else next(values) for gradient, variable in pairs}

    def _outputs(self, batch):
        model = self.model
        layout = aher.context_layout(batch.moments.ratio, batch.moments.position, model, True)
        placed = aher.place_moments(batch.moments.features, layout)
        synthetic = aher.synthesize(batch.moments.features, placed, layout, model)
        levels = {'untrimmed': aher.pyramid(batch.untrimmed.features, model),
                  'synthetic': aher.pyramid(synthetic, model)}
        layers = {'untrimmed': aher.classifier(model, SOURCE_CLASSIFIER),
                  'synthetic': aher.classifier(model, TARGET_CLASSIFIER)}
        return {
            'context': {'features': synthetic, 'segments': layout.segments},
            'prediction': {branch: aher.localize(levels[branch], aher.transfer(layers[branch], model), model)
                           for branch in levels},
            'targets': {
                'untrimmed': aher.match_anchors(batch.untrimmed.segments, batch.untrimmed.labels, model),
                'synthetic': aher.match_anchors(layout.segments, batch.moments.labels, model)},
            'clips': {
                'moment': aher.classify_clips(aher.pyramid(batch.moments.features, model), layers['synthetic']),
                'foreground': aher.classify_clips(aher.pyramid(batch.foreground.features, model),
                                                  layers['untrimmed'])},
            'discriminator': {'real': aher.discriminate(levels['untrimmed'], model),
                              'fake': aher.discriminate(levels['synthetic'], model)}}


RECIPE = _recipe()


_train = functools.lru_cache(maxsize=None)(_Train)


@pytest.fixture(scope='module', params=_fixtures('train'))
def train(request):
    return _train(request.param, False)


@pytest.fixture(scope='module', params=[(name, False) for name in _fixtures('train')] + [
    (name, True) for name in _fixtures('train') if name.startswith('small')],
    ids=lambda param: param[0][:-len('_train.npz')] + '-products' * param[1])
def step(request):
    """The same, and small ones by products of matrices: for their losses and gradients."""
    return _train(*request.param)


def test_the_folder_has_fixtures():
    assert _fixtures('train') and _fixtures('test')


def test_anchors(train):
    center, length = aher.anchors(train.model)
    for level, values in _by_level(train.model, center[np.newaxis]).items():
        _close(values[0, :, 0], train.golden['anchors/%d/center' % level])
    for level, values in _by_level(train.model, length[np.newaxis]).items():
        _close(values[0, 0], train.golden['anchors/%d/length' % level])


@pytest.mark.parametrize('branch', ['untrimmed', 'synthetic'])
def test_targets(train, branch):
    targets = train.outputs['targets'][branch]
    for field, key in (('offsets', 'offsets'), ('overlap', 'overlap'), ('iou', 'iou')):
        for level, values in _by_level(train.model, getattr(targets, field)).items():
            _close(values, train.golden['%s/level%d/target_%s' % (branch, level, key)])


@pytest.mark.parametrize('branch', ['untrimmed', 'synthetic'])
def test_localization(train, branch):
    prediction = train.outputs['prediction'][branch]
    for key, values in (('class_logits_every50', prediction.class_logits[..., ::50]),
                        ('localization', prediction.offsets),
                        ('proposal_logits', prediction.proposal_logits), ('iou', prediction.iou)):
        for level, found in _by_level(train.model, values).items():
            _close(found, train.golden['%s/level%d/%s' % (branch, level, key)])


@pytest.mark.parametrize('branch', ['moment', 'foreground'])
def test_clip_classification(train, branch):
    for level in range(1, 9):
        _close(train.outputs['clips'][branch][:, level - 1:level, ::50],
               train.golden['%s/level%d/class_logits_every50' % (branch, level)])


def test_context(train):
    rows, columns = (13, 7) if train.name.startswith('small') else (37, 97)
    _close(train.outputs['context']['features'][:, ::rows, ::columns],
           train.golden['context/features_every13_every7'])
    _close(train.outputs['context']['segments'], train.golden['context/segments'])


@pytest.mark.parametrize('side', ['real', 'fake'])
def test_discriminator(train, side):
    for level, values in _by_level(train.model, train.outputs['discriminator'][side]).items():
        _close(values, train.golden['discriminator/level%d/%s_logits' % (level, side)])


def test_losses(step):
    names = [key[len('loss/'):] for key in step.golden.files if key.startswith('loss/')]
    assert sorted(step.losses) == sorted(names)
    for name in names:
        _close(np.asarray(step.losses[name]), step.golden['loss/' + name])


def test_gradients(step):
    keys = {tuple(key.split('/')[1:3]) for key in step.golden.files if key.startswith('gradient/')}
    assert set(step.gradients) == keys
    for update, term in sorted(keys):
        found = step.gradients[update, term]
        prefix = 'gradient/%s/%s/' % (update, term)
        names, norms, projections, none = [step.golden[prefix + part]
                                           for part in ('names', 'norm', 'projection', 'none')]
        assert sorted(found) == sorted(names)
        errors = {}
        for name, norm, projection, is_none in zip(names, norms, projections, none):
            assert (found[name] is None) == is_none, name
            if not is_none:
                direction = RECIPE.projection(name, found[name].shape, _seed(step.name))
                errors[name] = _gradient_error(found[name], norm, projection, direction)
                # fully4's bias shifts all classes alike, which softmax cancels: rounding is a part of what is left
                errors[name] /= 10 if name.endswith('fully4/biases') else 1
        assert _agree(errors.values(), flips=step.products), (update, term, errors)


def _gradient_error(gradient, norm, projection, direction):
    """The relative error of a gradient's norm, or of its projection on `direction`, whichever is larger."""
    gradient = gradient.astype(np.float64)
    return max(abs(np.linalg.norm(gradient) - norm),
               abs(np.sum(gradient * direction) - projection) / np.sqrt(gradient.size)) / max(norm, 1e-9)


def _agree(errors, flips, tolerance=1e-3):
    """Are all relative errors of an update's gradients within the tolerance?

    With `flips`, one ReLU unit may be on the other side of zero: one of a fixture lies within 4e-7 of it, and another
    order of summing can flip it. It changes the gradients of the few variables before it, by a few percent. A wrong
    kernel changes all before it, and more.
    """
    errors = np.array(list(errors))
    return (errors <= tolerance).all() or (
        flips and (errors <= tolerance).mean() >= 0.75 and (errors <= 0.05).all())


def test_a_flipped_unit_agrees_and_a_wrong_kernel_does_not():
    random = np.random.RandomState(0)
    layers = [random.randn(30, 40) for _ in range(8)]
    directions = [random.randn(30, 40) for _ in layers]

    def errors(found):
        return [_gradient_error(gradient, np.linalg.norm(right), np.sum(right * direction), direction)
                for gradient, right, direction in zip(found, layers, directions)]

    flipped = [layers[0] * (1 - 0.03 * (np.arange(40) == 7)), layers[1].copy()] + layers[2:]
    flipped[1][3] *= 0.9  # a unit's row of weights and what goes through it
    assert _agree(errors(layers), flips=False) and _agree(errors(flipped), flips=True)
    assert not _agree(errors(flipped), flips=False)
    for wrong in ([1.01 * layer for layer in layers], [1.2 * layers[0]] + layers[1:],
                  [np.roll(layer, 1, axis=0) for layer in layers[:4]] + layers[4:]):
        assert not _agree(errors(wrong), flips=True)


@pytest.mark.parametrize('name', _fixtures('test'))
@pytest.mark.parametrize('score_by', ['iou', 'proposal'])
def test_detections(name, score_by):
    golden, model, seed = np.load(os.path.join(GOLDEN, name)), _model(name), _seed(name)
    inputs = RECIPE.inputs(32 if name.startswith('small') else 1, seed)
    with tf.Graph().as_default():
        features = tf.placeholder(tf.float32, [None, 512, model.feature_width])
        durations = tf.placeholder(tf.float32, [None])
        layers = aher.transfer(aher.classifier(model, TARGET_CLASSIFIER), model)
        prediction = aher.localize(aher.pyramid(features, model), layers, model)
        detections = aher.detect(prediction, durations, model, settings.TestConfig(score_by=score_by))
        with new_session() as session:
            _load_recipe_weights(session, seed)
            found = session.run(detections, {features: inputs['untrimmed_features'],
                                             durations: inputs['duration']})
    prefix = 'detections/%s/' % score_by
    boxes = golden[prefix + 'boxes']
    _close(found.class_scores, golden[prefix + 'video_scores'])
    np.testing.assert_array_equal(found.label, golden[prefix + 'video_label'])
    _close(found.scores, golden[prefix + 'scores'])
    order = _same_order(found, golden[prefix + 'scores'], boxes)
    for values, column in ((found.segments[..., 0], 0), (found.segments[..., 1], 1),
                           (found.classes, 2), (found.class_probabilities, 3)):
        _close(np.take_along_axis(values, order, axis=1), boxes[..., column])


def _same_order(found, scores, boxes, tolerance=1e-4):
    """Indices [B, D] of the detections in the recorded order: scores that differ by rounding may have swapped."""
    order = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    for video, indices in enumerate(order):
        for row in range(len(indices)):
            near = [place for place in range(row, len(indices))
                    if abs(found.scores[video, indices[place]] - scores[video, row]) <= tolerance]
            misses = [np.abs(found.segments[video, indices[place]] - boxes[video, row, :2]).max() for place in near]
            if near:
                best = near[int(np.argmin(misses))]
                indices[[row, best]] = indices[[best, row]]
    return order


def _interpolation_cases():
    return [(path, key[:-len('/input')]) for path in sorted(glob.glob(os.path.join(GOLDEN, 'interpolation_*.npz')))
            for key in np.load(path).files if key.endswith('/input')]


@pytest.mark.parametrize('path, case', _interpolation_cases())
def test_interpolation(path, case):
    golden = np.load(path)
    steps, seconds, frames = golden[case + '/steps_seconds_frames']
    found = interpolate(golden[case + '/input'], int(steps), seconds, frames)
    _close(found, golden[case + '/output'], 1e-9)
