"""The network: backbone, heads, transfer, context and discriminator; then targets, losses and detections.

Everything is a function of tensors and settings. A variable is made when it is first used, and every later use
shares it. Each variable belongs to a group (BACKBONE … DISCRIMINATOR), by which updates and snapshots name it. The
formulas are in docs/method.md, sections 3 to 6 and 8.

Dimensions (legend of docs/method.md): B batch, T = 512 and M = 256 feature rows, C feature width, K classes,
level l = 1…8 with P_l positions and c_l channels, N = ΣP_l = 255 positions, A = 3 anchors at a position, S segments
of a video, D detections of a video.
"""
from typing import NamedTuple

import numpy as np

from ops.convolution import ReusableLayers, convolve
from ops.detections import Candidates, Detections
from runtime.session import tf

BACKBONE = 'backbone'                    # g_conv1, g_conv2, g_conv_a1…a8
HEADS = 'heads'                          # conv_cls, conv_loc, conv_iou
TRANSFER = 'transfer'                    # fully1…4
SOURCE_CLASSIFIER = 'conv_action_anet'
TARGET_CLASSIFIER = 'conv_action_anchor'
GENERATOR = 'generator'                  # g_conv_s1, s2, e1, e2
DISCRIMINATOR = 'discriminator'          # d_conv_adv
GROUPS = (BACKBONE, HEADS, TRANSFER, SOURCE_CLASSIFIER, TARGET_CLASSIFIER, GENERATOR, DISCRIMINATOR)


def group_variables(*groups):
    """The variables of these groups, in the order in which they were built."""
    return [variable for group in groups for variable in tf.get_collection(group)]


# Layers

def _variable(name, shape, initializer, group):
    return tf.get_variable(name, shape, tf.float32, initializer, use_resource=True,
                           collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES, group])


def conv_variables(name, shape, group):
    """(weights of `shape` [taps, channels in, channels out], biases) of the convolution `name`."""
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        return (_variable('weights', shape, tf.glorot_uniform_initializer(), group),
                _variable('biases', shape[-1:], tf.zeros_initializer(), group))


def conv(x, width, taps, name, group, stride=1):
    """[B, P, c] → [B, ceil(P / stride), width]: a 'same' convolution in time, with bias, without activation."""
    weights, biases = conv_variables(name, [taps, x.shape[-1].value, width], group)
    return tf.nn.bias_add(convolve(x, weights, stride), biases)


def dense(x, name, group):
    """[n, c] → [n, c]: a square dense layer that starts as the identity, then ELU."""
    width = x.shape[-1].value
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        weights = _variable('weights', [width, width], tf.initializers.identity(), group)
        biases = _variable('biases', [width], tf.zeros_initializer(), group)
        return tf.nn.elu(tf.nn.bias_add(tf.matmul(x, weights), biases))


# Backbone and heads (section 3)

def level_positions(model):
    """P_l of an untrimmed video, by level: (128, 64, 32, 16, 8, 4, 2, 1)."""
    positions, steps = [], (model.untrimmed_steps - 3) // 2 + 1
    for _ in model.level_widths:
        steps = (steps + 1) // 2
        positions.append(steps)
    return tuple(positions)


def pyramid(features, model):
    """Features [B, T or M, C] → the levels, a list of [B, P_l, c_l]."""
    return levels_above(stem(features, model), model)


def stem(features, model):
    """Features [B, T or M, C] → outputs of g_conv1 and g_conv2, a list of [B, T or M, width].

    Raises ValueError where the features have another rank or width.
    """
    features.shape.assert_has_rank(3)
    if features.shape[-1].value != model.feature_width:
        raise ValueError('features are %s wide; feature_width is %d' % (features.shape[-1], model.feature_width))
    x, outputs = features, []
    with tf.variable_scope('aher'):
        for index, width in enumerate(model.stem_widths, start=1):
            x = tf.nn.relu(conv(x, width, 3, 'g_conv%d' % index, BACKBONE))
            outputs.append(x)
    return outputs


def reusable_stem(features, model, updates):
    """The stem of `features`, to be used again for features that differ in some rows only: a ReusableLayers.

    `updates` is the UpdateChain of the step.
    """
    outputs, channels = stem(features, model), (model.feature_width,) + model.stem_widths
    with tf.variable_scope('aher'):
        layers = [conv_variables('g_conv%d' % (index + 1), [3, channels[index], width], BACKBONE)
                  for index, width in enumerate(model.stem_widths)]
    return ReusableLayers(layers, outputs, updates)


def levels_above(outputs, model):
    """Outputs of the stem → the levels, a list of [B, P_l, c_l]."""
    levels = []
    with tf.variable_scope('aher'):
        x = tf.expand_dims(outputs[-1], 1)
        x = tf.squeeze(tf.nn.max_pool(x, [1, 1, 3, 1], [1, 1, 2, 1], 'VALID'), 1)
        for index, width in enumerate(model.level_widths, start=1):
            x = tf.nn.relu(conv(x, width, 3, 'g_conv_a%d' % index, BACKBONE, stride=2))
            levels.append(x)
    return levels


def _box_scope(index):
    return tf.variable_scope('aher/conv_a%d_box' % (index + 1), reuse=tf.AUTO_REUSE)


def classifier(model, group):
    """Weights [1, c_l, K] and biases [K] of the classification layer with one tap: a pair for each level.

    `group` is SOURCE_CLASSIFIER or TARGET_CLASSIFIER, which is also the name of the layer.
    """
    classes = model.source_classes if group == SOURCE_CLASSIFIER else model.target_classes
    layers = []
    for index, width in enumerate(model.level_widths):
        with _box_scope(index), tf.variable_scope(group):
            layers.append((_variable('weights', [1, width, classes], tf.glorot_uniform_initializer(), group),
                           _variable('biases', [classes], tf.zeros_initializer(), group)))
    return layers


def classify_clips(levels, layers):
    """Levels of moments or foreground segments, and their classifier → logits [B, 8, K]: one for each level."""
    return tf.stack([tf.matmul(tf.reduce_mean(level, axis=1), weights[0]) + biases
                     for level, (weights, biases) in zip(levels, layers)], axis=1)


def transfer(layers, model):
    """Layers of a classifier → layers that classify every position, by the shared MLP, or unchanged."""
    if model.transfer == 'identity':
        return layers
    transferred = []
    for index, (weights, biases) in enumerate(layers):
        with _box_scope(index):
            rows = dense(dense(tf.transpose(weights[0]), 'fully1', TRANSFER), 'fully2', TRANSFER)
            column = dense(dense(biases[:, tf.newaxis], 'fully3', TRANSFER), 'fully4', TRANSFER)
        transferred.append((tf.transpose(rows)[tf.newaxis], column[:, 0]))
    return transferred


class Localization(NamedTuple):
    """Outputs of the network for every position and anchor, level after level."""

    class_logits: tf.Tensor     # [B, N, K]
    proposal_logits: tf.Tensor  # [B, N, A, 2]: background, action
    offsets: tf.Tensor          # [B, N, A, 2]: centre and length, encoded
    iou: tf.Tensor              # [B, N, A], in 0…1


def localize(levels, layers, model):
    """Levels of untrimmed videos, and transferred classifier layers → Localization."""
    anchors = len(model.anchor_scales)
    by_level = []
    for index, (level, (weights, biases)) in enumerate(zip(levels, layers)):
        with _box_scope(index):
            positions = level.shape[1].value
            proposal = conv(level, anchors * 2, 3, 'conv_cls', HEADS)
            offsets = conv(level, anchors * 2, 3, 'conv_loc', HEADS)
            by_level.append(Localization(
                class_logits=tf.nn.bias_add(tf.nn.conv1d(level, weights, 1, 'SAME'), biases),
                proposal_logits=tf.reshape(proposal, [-1, positions, anchors, 2]),
                offsets=tf.reshape(offsets, [-1, positions, anchors, 2]),
                iou=tf.sigmoid(conv(level, anchors, 3, 'conv_iou', HEADS))))
    return Localization(*[tf.concat(parts, axis=1) for parts in zip(*by_level)])


def discriminate(levels, model):
    """Levels → logits [B, N, A]: are the features around an anchor those of a real untrimmed video?"""
    logits = []
    for index, level in enumerate(levels):
        with tf.variable_scope('conv_a%d_adv' % (index + 1), reuse=tf.AUTO_REUSE):
            logits.append(conv(level, len(model.anchor_scales), 3, 'd_conv_adv', DISCRIMINATOR))
    return tf.concat(logits, axis=1)


# Context (section 5)

def generate_context(moments, model):
    """Moments [B, M, C] → start and end context one after the other, [B, M/2 + M/2, C]."""
    sides = []
    for side in 'se':
        hidden = tf.nn.relu(conv(moments, model.context_width, 3, 'g_conv_%s1' % side, GENERATOR))
        sides.append(tf.nn.relu(conv(hidden, model.feature_width, 3, 'g_conv_%s2' % side, GENERATOR, stride=2)))
    return tf.concat(sides, axis=1)


class Layout(NamedTuple):
    """Where each row of a synthetic sequence comes from, and the segment of its action."""

    from_context: tf.Tensor  # [B, T, M]: weights of the rows of the context
    from_moment: tf.Tensor   # [B, T, M]: weights of the rows of the moment
    outside: tf.Tensor       # [B, T]: is it a row of the context?
    segments: tf.Tensor      # [B, 1, 2], feature rows


def context_layout(ratio_id, position_id, model, odd_end_without_start=False):
    """How moments lie in their context: ratio and position [B] in 1/20 → Layout.

    The start context (n1 rows) is followed by the end context (n2 rows). The m rows of the moment are inserted at row
    p: in the start context of even samples, in the end context of odd ones. All three are resized with TensorFlow 1's
    old bilinear kernel, where output row r is taken at row r · rows in / rows out of the input.
    `odd_end_without_start` brings fault F2 back.
    """
    steps, half = model.untrimmed_steps, model.moment_steps // 2
    ratio, position = 0.05 * tf.cast(ratio_id, tf.float32), 0.05 * tf.cast(position_id, tf.float32)
    m = tf.cast(steps * ratio, tf.int32)
    n1 = (steps - m) // 2
    n2 = steps - m - n1
    odd = tf.equal(tf.range(tf.size(ratio_id)) % 2, 1)
    cut = tf.cast((1 - ratio) * tf.cast(tf.where(odd, n2, n1), tf.float32) * position, tf.int32)
    p = tf.where(odd, n1 + cut, cut)
    end = tf.where(odd, cut + m, p + m) if odd_end_without_start else p + m

    row = tf.range(steps)[tf.newaxis]                                          # [1, T]
    m, n1, n2, p = [tensor[:, tf.newaxis] for tensor in (m, n1, n2, p)]        # [B, 1]
    inside = tf.logical_and(row >= p, row < p + m)
    outer = tf.where(row < p, tf.broadcast_to(row, tf.shape(inside)), row - m)  # row of the context, resized
    in_start = outer < n1
    from_start = _resize_weights(outer, half, n1) * _mask(in_start)
    from_end = _resize_weights(outer - n1, half, n2) * _mask(tf.logical_not(in_start))
    return Layout(
        from_context=tf.concat([from_start, from_end], axis=2) * _mask(tf.logical_not(inside)),
        from_moment=_resize_weights(row - p, model.moment_steps, m) * _mask(inside),
        outside=tf.logical_not(inside),
        segments=tf.cast(tf.stack([p, end[:, tf.newaxis]], axis=2), tf.float32))


def stretched_layout(ratio_id, model):
    """Layout of moments that fill all T rows, without context; of `ratio_id` [B] only the length is used."""
    row = tf.range(model.untrimmed_steps)[tf.newaxis] + tf.zeros_like(ratio_id)[:, tf.newaxis]
    moment = _resize_weights(row, model.moment_steps, model.untrimmed_steps)
    return Layout(from_context=tf.zeros_like(moment), from_moment=moment, outside=tf.zeros_like(row, tf.bool),
                  segments=tf.constant([[[0.0, model.untrimmed_steps]]]) * tf.ones_like(moment[:, :1, :2]))


def _mask(condition):
    return tf.cast(condition, tf.float32)[:, :, tf.newaxis]


def _resize_weights(row, rows_in, rows_out):
    """Row numbers [B, T] of a sequence that is resized from rows_in to rows_out [B, 1] → weights [B, T, rows_in]."""
    at = tf.minimum(tf.cast(row, tf.float32) * (rows_in / tf.cast(rows_out, tf.float32)), rows_in - 1)
    return tf.nn.relu(1 - tf.abs(at[:, :, tf.newaxis] - tf.range(rows_in, dtype=tf.float32)))


def place_moments(moments, layout):
    """Moments [B, M, C] → [B, T, C]: each at its place in its sequence, with zeros around it."""
    return tf.matmul(layout.from_moment, moments)


def synthesize(moments, placed, layout, model):
    """Moments [B, M, C], and the same after place_moments [B, T, C] → features in generated context [B, T, C]."""
    return placed + tf.matmul(layout.from_context, generate_context(moments, model))


# Anchors and targets (section 4)

def anchors(model):
    """Centre and length of every anchor in feature rows: two float32 arrays [N, A], level after level."""
    centers, lengths = [], []
    for index, positions in enumerate(level_positions(model)):
        step = model.anchor_step * 2 ** index
        shape = (positions, len(model.anchor_scales))
        centers.append(np.broadcast_to(((np.arange(positions) + 0.5) * step)[:, np.newaxis], shape))
        lengths.append(np.broadcast_to(step * np.array(model.anchor_scales), shape))
    return np.concatenate(centers).astype(np.float32), np.concatenate(lengths).astype(np.float32)


class Targets(NamedTuple):
    """What the network should output for every position and anchor."""

    labels: tf.Tensor   # [B, N]
    offsets: tf.Tensor  # [B, N, A, 2]
    overlap: tf.Tensor  # [B, N, A]: tIoU with the best segment
    iou: tf.Tensor      # [B, N, A]: the overlap, or -1 (ignored) where there is none


def match_anchors(segments, labels, model, segment_labels=None):
    """Segments [B, S, 2] in feature rows (-1 pads) and labels [B] of their videos → Targets.

    An anchor takes the first segment with the largest tIoU, measured on the part of the anchor in [0, T - 1]. Without
    any overlap its target is centre ½, length 1. The label of a position is that of its video, or, where segments
    have labels of their own, segment_labels [B, S], that of the segment which one of its anchors overlaps best; of
    equals the first one, and the video's where no anchor overlaps. A video without a segment has label 0.
    """
    center, length = anchors(model)
    low = np.maximum(center - length / 2, 0)[..., np.newaxis]                             # [N, A, 1]
    high = np.minimum(center + length / 2, model.untrimmed_steps - 1)[..., np.newaxis]
    start, end = segments[:, tf.newaxis, tf.newaxis, :, 0], segments[:, tf.newaxis, tf.newaxis, :, 1]
    intersection = tf.maximum(tf.minimum(high, end) - tf.maximum(low, start), 0)           # [B, N, A, S]
    overlaps = intersection / (high - low + end - start - intersection)
    overlap, best = tf.reduce_max(overlaps, axis=3), tf.argmax(overlaps, axis=3)

    segment = tf.gather(segments, best, axis=1, batch_dims=1)                              # [B, N, A, 2]
    touched = overlap > 0
    segment_center = tf.where(touched, (segment[..., 0] + segment[..., 1]) / 2, 0.5 * tf.ones_like(overlap))
    segment_length = tf.where(touched, segment[..., 1] - segment[..., 0], tf.ones_like(overlap))
    scale = model.offset_scale
    offsets = tf.stack([(segment_center - center) / (scale * length),
                        tf.log(segment_length / length) / scale], axis=3)
    known = tf.reduce_any(segments[:, :, 1] > segments[:, :, 0], axis=1)
    labels = tf.where(known, labels, tf.zeros_like(labels))
    labels = tf.tile(labels[:, tf.newaxis], [1, len(center)])                              # [B, N]
    if segment_labels is not None:
        nearest = tf.argmax(tf.reduce_max(overlaps, axis=2), axis=2)                       # [B, N]
        own = tf.gather(segment_labels, nearest, axis=1, batch_dims=1)
        labels = tf.where(tf.reduce_any(touched, axis=2), own, labels)
    return Targets(labels=labels, offsets=offsets, overlap=overlap,
                   iou=tf.where(touched, overlap, -tf.ones_like(overlap)))


# Losses (section 6; the adversary's, section 5): tensors in, named scalars out

def _cross_entropy(logits, labels):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _accuracy(logits, labels):
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(hits, tf.float32))


def _count(mask):
    """Number of entries, to divide by; at least 1, so that a mean over nothing is 0."""
    return tf.maximum(tf.reduce_sum(tf.cast(mask, tf.float32)), 1)


def _masked_sum(values, mask):
    return tf.reduce_sum(tf.where(mask, values, tf.zeros_like(values)))


def clip_losses(logits, labels, train):
    """Logits [B, 8, K] of moments or foreground segments, and labels [B] → {classification, accuracy}.

    The mean over the B·8 vectors is divided by B again, as published.
    """
    with tf.name_scope('clip_losses'):
        labels = tf.tile(labels[:, tf.newaxis], [1, logits.shape[1].value])
        batch = tf.cast(tf.shape(logits)[0], tf.float32)
        mean = tf.reduce_mean(_cross_entropy(logits, labels))
        return {'classification': train.class_weight * mean / batch, 'accuracy': _accuracy(logits, labels)}


def hard_negatives(background, overlap, train):
    """Background probabilities and overlaps [B, N, A] → mask of the negatives.

    Candidates are anchors with an overlap below background_tiou. Negatives are the candidates whose background
    probability is strictly below the n-th smallest, with n = negative_ratio · positives + B, at most all candidates.
    """
    candidates = overlap < train.background_tiou
    positives = tf.reduce_sum(tf.cast(overlap > train.positive_tiou, tf.float32))
    wanted = tf.cast(train.negative_ratio * positives, tf.int32) + tf.shape(overlap)[0]
    wanted = tf.minimum(wanted, tf.reduce_sum(tf.cast(candidates, tf.int32)))
    probability = tf.where(candidates, background, tf.ones_like(background))
    ascending = -tf.nn.top_k(-tf.reshape(probability, [-1]), k=tf.size(probability)).values
    threshold = ascending[tf.maximum(wanted - 1, 0)]
    return tf.logical_and(candidates, background < threshold)


def localization_losses(prediction, targets, train):
    """Localization and Targets → {proposal, localization, iou, classification, accuracy}."""
    with tf.name_scope('localization_losses'):
        positives = targets.overlap > train.positive_tiou
        background = tf.stop_gradient(tf.nn.softmax(prediction.proposal_logits)[..., 0])
        chosen = tf.logical_or(positives, hard_negatives(background, targets.overlap, train))

        proposal = _cross_entropy(prediction.proposal_logits, tf.cast(positives, tf.int32))
        miss = tf.abs(prediction.offsets - targets.offsets)
        smooth = tf.reduce_sum(tf.where(miss < 1, 0.5 * miss ** 2, miss - 0.5), axis=3)
        known = tf.not_equal(targets.iou, -1)
        batch = tf.cast(tf.shape(targets.overlap)[0], tf.float32)
        classification = tf.reduce_sum(_cross_entropy(prediction.class_logits, targets.labels)) / batch
        return {
            'proposal': train.proposal_weight * _masked_sum(proposal, chosen) / _count(chosen),
            'localization': _masked_sum(smooth, positives) / _count(chosen),
            'iou': train.iou_weight * _masked_sum((prediction.iou - targets.iou) ** 2, known) / _count(known),
            'classification': train.class_weight * classification,
            'accuracy': _accuracy(prediction.class_logits, targets.labels)}


def adversary_loss(logits, real, background, train):
    """Loss of discriminator logits [B, N, A] that should say `real` (True or False), over the mask [B, N, A]."""
    with tf.name_scope('adversary_loss'):
        labels = tf.ones_like(logits) if real else tf.zeros_like(logits)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        return train.adversary_weight * _masked_sum(losses, background) / _count(background)


# Detections (sections 4 and 8)

def decode(offsets, durations, model):
    """Offsets [B, N, A, 2] and durations [B] in seconds → segments [B, N, A, 2] in seconds, inside the video."""
    center, length = anchors(model)
    centers = center + offsets[..., 0] * model.offset_scale * length
    lengths = length * tf.exp(offsets[..., 1] * model.offset_scale)
    rows = tf.stack([centers - lengths / 2, centers + lengths / 2], axis=3)
    rows = tf.clip_by_value(rows, 0.0, float(model.untrimmed_steps))
    return rows * tf.reshape(durations, [-1, 1, 1, 1]) / model.untrimmed_steps


def candidates(prediction, durations, model, test):
    """Localization and durations [B] in seconds of windows → Candidates, which ops.detections.JoinedWindows takes."""
    probabilities = tf.nn.softmax(prediction.class_logits)
    return Candidates(*_best_anchors(prediction, durations, model, test), tf.reduce_mean(probabilities, axis=1),
                      _for_labels(probabilities, test))


def detect(prediction, durations, model, test):
    """Localization and durations [B] in seconds of whole videos → Detections."""
    probabilities = tf.nn.softmax(prediction.class_logits)
    class_scores = tf.reduce_mean(probabilities, axis=1)
    scores, segments, positions = _best_anchors(prediction, durations, model, test)
    kept, valid = _suppress(segments, scores, test)

    mask = tf.sequence_mask(valid, test.max_detections)
    position = tf.gather(positions, kept, axis=1, batch_dims=1)
    classes = tf.gather(tf.argmax(probabilities, axis=2), position, axis=1, batch_dims=1)
    own = tf.gather(tf.reduce_max(probabilities, axis=2), position, axis=1, batch_dims=1)
    scores, segments = [tf.gather(values, kept, axis=1, batch_dims=1) for values in (scores, segments)]
    return Detections(
        scores=tf.where(mask, scores, tf.zeros_like(scores)),
        segments=segments * tf.cast(mask, tf.float32)[:, :, tf.newaxis],
        classes=classes, class_probabilities=own,
        label=tf.argmax(class_scores, axis=1), class_scores=class_scores,
        probabilities=tf.gather(_for_labels(probabilities, test), position, axis=1, batch_dims=1))


class Detector(NamedTuple):
    """The graph that finds actions in whole videos, or in windows of them."""

    variables: list            # that a snapshot must hold
    transfer: tf.Operation     # computes the classifier weights of every position; to be run once for each snapshot
    prediction: Localization
    found: NamedTuple          # tensors of a batch: Detections of whole videos, or Candidates of windows


def detector(features, durations, config):
    """Features [B, T, C] and durations [B] in seconds, of whole videos or of windows → Detector; config: a Config."""
    model = config.model
    layers, transferred = _stored_once(transfer(classifier(model, TARGET_CLASSIFIER), model))
    prediction = localize(pyramid(features, model), layers, model)
    find = candidates if config.data.window_seconds else detect
    groups = [BACKBONE, HEADS, TARGET_CLASSIFIER] + ([TRANSFER] if model.transfer == 'mlp' else [])
    return Detector(group_variables(*groups), transferred, prediction,
                    find(prediction, durations, model, config.test))


def _stored_once(layers):
    """Layers of tensors → (layers of local variables, operation that sets them): computed once, used often."""
    kept = [tuple(tf.Variable(tf.zeros(tensor.shape), trainable=False, use_resource=True,
                              collections=[tf.GraphKeys.LOCAL_VARIABLES]) for tensor in layer) for layer in layers]
    return kept, tf.group(*[variable.assign(tensor) for variables, layer in zip(kept, layers)
                            for variable, tensor in zip(variables, layer)])


def _best_anchors(prediction, durations, model, test):
    """The test.top_anchors best anchors, by falling score: scores [B, n], segments [B, n, 2], positions [B, n]."""
    if test.score_by == 'iou':
        scores = prediction.iou
    else:
        scores = tf.nn.softmax(prediction.proposal_logits)[..., 1]
    count = np.prod(anchors(model)[0].shape)
    segments = tf.reshape(decode(prediction.offsets, durations, model), [-1, count, 2])
    best = tf.nn.top_k(tf.reshape(scores, [-1, count]), k=min(test.top_anchors, count))
    return (best.values, tf.gather(segments, best.indices, axis=1, batch_dims=1),
            best.indices // len(model.anchor_scales))


def _for_labels(probabilities, test):
    """Class probabilities [B, N, K]; [B, N, 0] where labels are those of the video, so that none are fetched."""
    return probabilities[..., :0] if test.label_by == 'video' else probabilities


def _suppress(segments, scores, test):
    """NMS of each video: segments [B, n, 2] by falling scores [B, n] → padded indices [B, D], valid ones [B]."""
    # a segment is a box of height 1, so that the boxes' IoU is the tIoU
    start, end = tf.unstack(segments, axis=2)
    boxes = tf.stack([start, tf.zeros_like(start), end, tf.ones_like(end)], axis=2)
    return tf.map_fn(lambda video: tuple(tf.image.non_max_suppression_padded(
        video[0], video[1], test.max_detections, test.nms_tiou, pad_to_max_output_size=True)),
        (boxes, scores), dtype=(tf.int32, tf.int32))
