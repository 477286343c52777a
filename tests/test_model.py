"""Geometry by hand, small networks of odd sizes, and what each update changes."""
import numpy as np
import pytest

import aher_model as aher
import config as settings
from aher_k600_train import learning_rate, training_step
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
from data_loader import Batch, Foreground, Moments, Untrimmed
from tensorflow_setup import session as new_session
from tensorflow_setup import tf

TINY = settings.ModelConfig(feature_width=6, stem_widths=(16, 15), level_widths=(12, 12, 13, 13, 14, 14, 15, 16),
                            context_width=16, source_classes=3, target_classes=4)
TRAIN = settings.TrainConfig(learning_rate=1e-3, adversary_rate=1e-3)


@pytest.fixture(autouse=True)
def graph():
    """A graph of its own for each test."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        yield graph


def evaluate(fetches):
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches)


def batch_of(size, seed=0):
    random, model = np.random.RandomState(seed), TINY
    segments = -np.ones((size, 25, 2), np.float32)
    segments[:, 0] = [100, 180]
    segments[0, 1] = [300, 500]

    def features(steps):
        return tf.constant(random.rand(size, steps, model.feature_width), tf.float32)

    def labels(classes):
        return tf.constant(random.randint(0, classes, size), tf.int32)

    return Batch(Untrimmed(features(512), tf.constant(segments), labels(model.source_classes)),
                 Foreground(features(512), labels(model.source_classes)),
                 Moments(features(256), labels(model.target_classes),
                         tf.constant(random.randint(14, 20, size), tf.int32),
                         tf.constant(random.randint(1, 20, size), tf.int32)))


# Layers

@pytest.mark.parametrize('taps', [1, 3])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('positions', [1, 2, 7, 8])
def test_a_convolution_as_products_is_tensorflows_own(positions, stride, taps, monkeypatch):
    random = np.random.RandomState(positions)
    x = tf.constant(random.randn(3, positions, 4), tf.float32)
    kernel = tf.constant(random.randn(taps, 4, 5), tf.float32)

    def outputs():
        y = aher._convolve(x, kernel, stride)
        dy = tf.constant(np.random.RandomState(1).randn(*y.shape.as_list()), tf.float32)
        return [y] + tf.gradients(y, [x, kernel], dy)

    expected = outputs()
    monkeypatch.setattr(aher, 'LARGE_KERNEL', 0)
    found = outputs()
    assert found[0].op.type != expected[0].op.type
    for mine, theirs in zip(*evaluate([found, expected])):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_stem_of_changed_rows_is_the_whole_stem(monkeypatch):
    monkeypatch.setattr(aher, 'LARGE_KERNEL', 0)
    random = np.random.RandomState(0)
    changed = np.zeros((3, 40), bool)
    changed[0, :7], changed[0, -1], changed[1, 20:23] = True, True, True  # nothing of the third
    before = tf.constant(random.randn(3, 40, TINY.feature_width), tf.float32)
    after = before + tf.constant(changed[..., np.newaxis] * random.randn(3, 40, TINY.feature_width), tf.float32)
    whole = aher.stem(after, TINY)
    patched = aher.stem(after, TINY, tf.constant(changed), aher.stem(before, TINY))
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


# Shapes and names

def test_levels_and_positions():
    levels = aher.pyramid(tf.zeros([2, 512, 6]), TINY)
    assert [level.shape.as_list() for level in levels] == [
        [2, positions, width] for positions, width in zip((128, 64, 32, 16, 8, 4, 2, 1), TINY.level_widths)]
    assert aher.level_positions(TINY) == (128, 64, 32, 16, 8, 4, 2, 1)
    moments = aher.pyramid(tf.zeros([2, 256, 6]), TINY)
    assert [level.shape[1].value for level in moments] == [64, 32, 16, 8, 4, 2, 1, 1]


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match='features are 7 wide; feature_width is 6'):
        aher.pyramid(tf.zeros([2, 512, 7]), TINY)


def test_published_size():
    """97,138,032 parameters without conv_action_anet; names and shapes as in the authors' checkpoints."""
    model = settings.PRESETS['k600'].model
    batch = Batch(Untrimmed(tf.placeholder(tf.float32, [None, 512, 2048]), tf.placeholder(tf.float32, [None, 25, 2]),
                            tf.placeholder(tf.int32, [None])),
                  Foreground(tf.placeholder(tf.float32, [None, 512, 2048]), tf.placeholder(tf.int32, [None])),
                  Moments(tf.placeholder(tf.float32, [None, 256, 2048]), tf.placeholder(tf.int32, [None]),
                          tf.placeholder(tf.int32, [None]), tf.placeholder(tf.int32, [None])))
    source = aher.transfer(aher.classifier(model, SOURCE_CLASSIFIER), model)
    aher.classifier(model, TARGET_CLASSIFIER)
    levels = aher.pyramid(batch.untrimmed.features, model)
    aher.localize(levels, source, model)
    aher.discriminate(levels, model)
    aher.generate_context(batch.moments.features, model)
    shapes = {variable.op.name: variable.shape.as_list() for variable in aher.group_variables(*GROUPS)}
    assert sum(np.prod(shape) for name, shape in shapes.items() if 'conv_action_anet' not in name) == 97138032
    assert shapes['aher/g_conv1/weights'] == [3, 2048, 2048]
    assert shapes['aher/conv_a3_box/conv_action_anchor/weights'] == [1, 512, 600]
    assert shapes['aher/conv_a3_box/fully1/weights'] == [512, 512]
    assert shapes['g_conv_s1/weights'] == [3, 2048, 1024]
    assert shapes['conv_a3_adv/d_conv_adv/weights'] == [3, 512, 3]


def test_transfer_starts_as_the_identity_on_positive_weights():
    weights, biases = tf.constant([[[0.5, 2.0], [1.0, 3.0], [0.0, 4.0]]]), tf.constant([0.25, 1.0])
    transferred = evaluate(aher.transfer([(weights, biases)], TINY))[0]
    with new_session() as session:
        np.testing.assert_allclose(transferred[0], session.run(weights))
        np.testing.assert_allclose(transferred[1], session.run(biases))


def test_transfer_identity_has_no_variables():
    layers = aher.classifier(TINY, TARGET_CLASSIFIER)
    assert aher.transfer(layers, TINY._replace(transfer='identity')) is layers
    assert not aher.group_variables(TRANSFER)


# Anchors and targets

def test_anchor_centres_and_lengths():
    center, length = aher.anchors(TINY)
    assert center.shape == length.shape == (255, 3)
    np.testing.assert_allclose(center[[0, 127, 128, 254], 0], [2, 510, 4, 256])
    np.testing.assert_allclose(length[0], [4, 4 * 1.26, 4 * 1.587], rtol=1e-6)
    np.testing.assert_allclose(length[254], [512, 512 * 1.26, 512 * 1.587], rtol=1e-6)


def match(segments, labels=(1,)):
    segments = np.array([segments + [[-1, -1]] * (25 - len(segments))], np.float32)
    targets = aher.match_anchors(tf.constant(segments), tf.constant(labels, tf.int32), TINY)
    return evaluate(targets)


def test_overlap_as_fractions():
    targets = match([[4, 8]])
    # level 1, positions 0…2, anchors [0, 4], [4, 8], [8, 12]: touching is no overlap
    np.testing.assert_allclose(targets.overlap[0, :3, 0], [0, 1, 0], atol=1e-6)
    # level 2, position 0, anchor [0, 8]: 4 of 8
    assert targets.overlap[0, 128, 0] == pytest.approx(4 / 8)
    # level 8: anchor [0, 512], cut to [0, 511]: 4 of 511
    assert targets.overlap[0, 254, 0] == pytest.approx(4 / 511)
    np.testing.assert_array_equal(targets.iou[0, [0, 2], 0], [-1, -1])


def test_offsets_by_hand():
    targets = match([[4, 8]])
    np.testing.assert_allclose(targets.offsets[0, 1, 0], [0, 0], atol=1e-6)
    # anchor [0, 8]: centre 4 → 6, length 8 → 4
    np.testing.assert_allclose(targets.offsets[0, 128, 0], [(6 - 4) / (0.1 * 8), np.log(4 / 8) / 0.1], rtol=1e-5)
    # without overlap: centre ½, length 1
    np.testing.assert_allclose(targets.offsets[0, 2, 0], [(0.5 - 10) / (0.1 * 4), np.log(1 / 4) / 0.1], rtol=1e-5)


def test_the_first_of_equal_overlaps_is_taken():
    targets = match([[0, 4], [4, 8]])
    assert targets.overlap[0, 128, 0] == pytest.approx(0.5)  # anchor [0, 8]
    np.testing.assert_allclose(targets.offsets[0, 128, 0, 0], (2 - 4) / 0.8, rtol=1e-5)
    later = match([[0, 3], [4, 8]])  # 3/8 and 4/8: the larger, though later
    np.testing.assert_allclose(later.offsets[0, 128, 0, 0], (6 - 4) / 0.8, rtol=1e-5)


def test_a_video_without_segments_has_label_0_and_no_targets():
    targets = match([], labels=(2,))
    assert not targets.overlap.any() and not targets.labels.any() and (targets.iou == -1).all()
    assert (match([[4, 8]], labels=(2,)).labels == 2).all()


def test_decoding_inverts_the_offsets():
    targets = match([[100, 180]])
    segments = evaluate(aher.decode(tf.constant(targets.offsets), tf.constant([1024.0]), TINY))
    touched = targets.overlap[0] > 0
    np.testing.assert_allclose(segments[0][touched], np.tile([[200.0, 360.0]], [touched.sum(), 1]), rtol=1e-4)


def test_decoding_stays_inside_the_video():
    offsets = tf.constant(50.0, shape=[1, 255, 3, 2])
    segments = evaluate(aher.decode(offsets, tf.constant([30.0]), TINY))
    assert segments.min() >= 0 and segments.max() <= 30


# Context

def layout(ratio, position, fault=False):
    return evaluate(aher.context_layout(tf.constant(ratio, tf.int32), tf.constant(position, tf.int32), TINY, fault))


def test_context_segments_by_hand():
    # ratio 16/20: m = 409, n1 = 51, n2 = 52. Even: cut = int(0.2 · 51 · 0.5) = 5. Odd: int(0.2 · 52 · 0.5) = 5
    np.testing.assert_array_equal(layout([16, 16], [10, 10]).segments[:, 0], [[5, 414], [56, 465]])
    np.testing.assert_array_equal(layout([16, 16], [10, 10], fault=True).segments[:, 0], [[5, 414], [56, 414]])


def test_context_rows_by_hand():
    found = layout([16, 16], [10, 10])
    sources = np.concatenate([found.from_context, found.from_moment], axis=2)
    np.testing.assert_allclose(sources.sum(axis=2), 1, rtol=1e-6)  # each row is an average of rows
    rows = np.arange(256.0)
    moment, context = found.from_moment @ rows, found.from_context @ rows
    for sample, p in ((0, 5), (1, 56)):
        np.testing.assert_allclose(moment[sample, p:p + 409],
                                   np.minimum(np.arange(409) * 256 / 409, 255), rtol=1e-5, atol=1e-4)
        outer = np.concatenate([context[sample, :p], context[sample, p + 409:]])
        expected = np.concatenate([np.minimum(np.arange(51) * 128 / 51, 127),
                                   128 + np.minimum(np.arange(52) * 128 / 52, 127)])
        np.testing.assert_allclose(outer, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('ratio', range(1, 20))
def test_every_ratio_and_position_fills_the_sequence(ratio):
    positions = list(range(1, 20)) * 2
    found = layout([ratio] * 38, positions)
    np.testing.assert_allclose(found.from_context.sum(axis=2) + found.from_moment.sum(axis=2), 1, rtol=1e-6)
    start, end = found.segments[:, 0, 0], found.segments[:, 0, 1]
    assert (start >= 0).all() and (end <= 512).all()
    np.testing.assert_array_equal(end - start, int(np.float32(512) * (np.float32(0.05) * np.float32(ratio))))


# Losses

def test_hard_negatives_are_strictly_below_the_threshold():
    overlap = np.full((1, 1, 6), 0.1, np.float32)
    overlap[0, 0, :2] = [0.9, 0.5]  # a positive, and one in the band that is ignored
    background = np.array([[[0.0, 0.0, 0.4, 0.3, 0.2, 0.2]]], np.float32)
    found = evaluate(aher.hard_negatives(tf.constant(background), tf.constant(overlap), TRAIN))
    # n = 1 positive + B = 2: the 2nd smallest is 0.2, and nothing is strictly below it
    assert not found.any()
    background[0, 0, 4] = 0.1
    found = evaluate(aher.hard_negatives(tf.constant(background), tf.constant(overlap), TRAIN))
    np.testing.assert_array_equal(found[0, 0], [False, False, False, False, True, False])


def prediction_of(batch, classes):
    random = np.random.RandomState(0)
    return aher.Localization(*[tf.constant(random.rand(*shape), tf.float32) for shape in (
        (batch, 255, classes), (batch, 255, 3, 2), (batch, 255, 3, 2), (batch, 255, 3))])


def test_losses_without_any_segment_are_finite():
    targets = aher.match_anchors(-tf.ones([2, 25, 2]), tf.constant([1, 2]), TINY)
    losses = evaluate(aher.localization_losses(prediction_of(2, 3), targets, TRAIN))
    assert losses['localization'] == 0 and losses['iou'] == 0
    assert all(np.isfinite(value) for value in losses.values())


def test_a_perfect_prediction_has_no_localization_loss():
    targets = aher.match_anchors(batch_of(2).untrimmed.segments, tf.constant([1, 2]), TINY)
    prediction = prediction_of(2, 3)._replace(
        offsets=targets.offsets, iou=targets.iou, class_logits=100 * tf.one_hot(targets.labels, 3))
    losses = evaluate(aher.localization_losses(prediction, targets, TRAIN))
    assert losses['localization'] == 0 and losses['iou'] == 0
    assert losses['classification'] == pytest.approx(0, abs=1e-6) and losses['accuracy'] == 1


def test_adversary_loss_by_hand():
    logits, mask = tf.constant([[[0.0, 5.0]]]), tf.constant([[[True, False]]])
    losses = evaluate([aher.adversary_loss(logits, real, mask, TRAIN) for real in (True, False)])
    np.testing.assert_allclose(losses, [0.1 * np.log(2)] * 2, rtol=1e-6)
    nothing = tf.zeros_like(mask)
    assert evaluate(aher.adversary_loss(logits, True, nothing, TRAIN)) == 0


# Detections

def detect(segments, scores, **values):
    """Detections of a video of 512 s whose first anchors say these segments and scores, the others nothing."""
    center, length = aher.anchors(TINY)
    rows = np.tile(np.array([0.0, 1.0]), (255 * 3, 1))
    rows[:len(segments)] = segments
    rows = rows.reshape(255, 3, 2)
    offsets = np.stack([(rows.mean(axis=2) - center) / (0.1 * length),
                        np.log((rows[..., 1] - rows[..., 0]) / length) / 0.1], axis=2)
    iou = np.zeros(255 * 3)
    iou[:len(scores)] = scores
    class_logits = np.zeros((255, 4))
    class_logits[:, 2] = 1
    prediction = aher.Localization(
        tf.constant(class_logits[np.newaxis], tf.float32), tf.zeros([1, 255, 3, 2]),
        tf.constant(offsets[np.newaxis], tf.float32), tf.constant(iou.reshape(1, 255, 3), tf.float32))
    test = settings.TestConfig(**values)
    return evaluate(aher.detect(prediction, tf.constant([512.0]), TINY, test))


def test_nms_keeps_the_best_of_what_overlaps():
    found = detect([[0, 100], [0, 99], [0, 89], [200, 300]], [0.9, 0.8, 0.7, 0.95], max_detections=4)
    # 99/100 is above 0.9: dropped; 89/100 is not above
    np.testing.assert_allclose(found.scores[0, :3], [0.95, 0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found.segments[0, :3], [[200, 300], [0, 100], [0, 89]], atol=1e-2)
    assert found.label[0] == 2 and found.class_scores[0].sum() == pytest.approx(1, rel=1e-4)


def test_detections_are_padded_with_score_0():
    found = detect([[0, 512]] * 765, [0.5] * 765, max_detections=3, top_anchors=10)
    np.testing.assert_allclose(found.scores[0], [0.5, 0, 0])
    np.testing.assert_allclose(found.segments[0, 1:], 0)


# Training steps

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


@pytest.mark.parametrize('size', [1, 2, 5])
def test_a_step_runs_at_any_batch_size(size):
    step = tiny_step(size)
    with new_session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            losses, _ = session.run([step.losses, step.op])
        assert all(np.isfinite(value) for value in losses.values())
        assert session.run(step.counter) == 2


@pytest.mark.parametrize('context, updates, absent', [
    ('localized', '12347', [DISCRIMINATOR]), ('untrained', '1237', [DISCRIMINATOR]),
    ('none', '1237', [DISCRIMINATOR, GENERATOR]), ('unused', '123', [DISCRIMINATOR, GENERATOR])])
def test_with_less_context(context, updates, absent):
    step = tiny_step(train=TRAIN._replace(context=context))
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


def test_a_stretched_moment_fills_the_sequence():
    layout = evaluate(aher.stretched_layout(tf.constant([3, 19]), TINY))
    moments = np.arange(TINY.moment_steps, dtype=np.float32)
    steps, half = TINY.untrimmed_steps, TINY.moment_steps / TINY.untrimmed_steps
    for weights in layout.from_moment:
        np.testing.assert_allclose(weights @ moments, np.minimum(np.arange(steps) * half, moments[-1]), atol=1e-4)
    assert not layout.from_context.any() and not layout.outside.any()
    np.testing.assert_array_equal(layout.segments, [[[0, steps]]] * 2)


def test_without_the_transfer():
    step = tiny_step(model=TINY._replace(transfer='identity'))
    assert not aher.group_variables(TRANSFER)
    losses = evaluate({'losses': step.losses, 'op': step.op})['losses']
    assert all(np.isfinite(value) for value in losses.values())


@pytest.mark.parametrize('faults, ordered', [(settings.Faults(), True), (settings.MODES['authors'], False)])
def test_the_order_of_two_optimizers(faults, ordered, graph):
    tiny_step(train=TRAIN._replace(faults=faults))
    first, second = ['adam_3_untrimmed_localization_' + loss for loss in ('proposal', 'classification')]
    done = graph.get_operation_by_name(first)
    steps = [op for op in graph.get_operations() if op.type == 'ResourceApplyAdam' and op.name.startswith(second)]
    assert steps and all((done in _ancestors(op)) == ordered for op in steps)


def _ancestors(op):
    """All operations that `op` waits for."""
    found, waiting = set(), [op]
    while waiting:
        op = waiting.pop()
        before = set(op.control_inputs) | {tensor.op for tensor in op.inputs}
        waiting.extend(before - found)
        found |= before
    return found


def test_the_rate_decays_at_samples_not_steps():
    train = settings.TrainConfig(batch_size=16)
    counter = tf.placeholder(tf.int64, [])
    rate = learning_rate(counter, train)
    with new_session() as session:
        rates = [session.run(rate, {counter: step}) for step in (0, 937, 938, 1876, 6000)]
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 1e-5, 1e-6, 1e-9], rtol=1e-4)
