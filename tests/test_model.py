"""Geometry by hand, small networks of odd sizes, and what each update changes."""
import networks
import numpy as np
import pytest
from networks import TINY, TRAIN, batch_of, evaluate

import aher_model as aher
import config as settings
from aher_model import GROUPS, SOURCE_CLASSIFIER, TARGET_CLASSIFIER, TRANSFER
from data_loader import Batch, Foreground, Moments, Untrimmed
from runtime.session import new_session, tf

graph = networks.graph


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


def test_a_position_has_the_class_of_the_segment_that_its_anchors_overlap_best():
    def labels(segments, own, label=7):
        padding = 25 - len(segments)
        targets = aher.match_anchors(
            tf.constant(np.array([segments + [[-1, -1]] * padding], np.float32)), tf.constant([label], tf.int32),
            TINY, tf.constant([own + [-1] * padding], tf.int32))
        return evaluate(targets).labels[0]

    # anchors of level 1 have 4, 5.04 and 6.35 rows around 2, 6, 10, …: the longest of position 4 is [14.8, 21.2]
    found = labels([[4, 8], [8, 12], [300, 500]], [1, 2, 0])
    assert found[:5].tolist() == [1, 1, 2, 2, 7]
    found = labels([[4, 8], [9, 11], [300, 500]], [1, 2, 0])
    assert found[[1, 2, 90, 128]].tolist() == [1, 2, 0, 1]
    assert found[254] == 0  # the whole video: 200 of 511 rows
    assert labels([[0, 4], [4, 8]], [2, 1])[128] == 2  # the first of equals
    assert set(labels([], [])) == {0}  # a video without a segment
    assert set(labels([[100, 101]], [0], label=5)) == {0, 5}


def test_without_labels_of_their_own_segments_have_that_of_their_video():
    assert set(match([[4, 8], [300, 500]], (1,)).labels[0]) == {1}


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
