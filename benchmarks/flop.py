"""FLOP of the network, counted from its settings; an addition and a multiplication are two.

Only products are counted (convolutions, matrices), each once. A gradient costs as much as the forward layer for its
weights and again for its input, and is counted only where an update changes a variable behind it. Updates 3, 4 and 7
have two losses, each with its own gradient (docs/method.md, section 7).
"""
import aher_model as aher


def _layers(rows, model):
    """[layers] FLOP of each backbone layer forward, for a sample of `rows` feature rows."""
    flop, channels = [], model.feature_width
    for width in model.stem_widths:
        flop.append(2 * rows * 3 * channels * width)
        channels = width
    rows = (rows - 3) // 2 + 1
    for width in model.level_widths:
        rows = (rows + 1) // 2
        flop.append(2 * rows * 3 * channels * width)
        channels = width
    return flop


def backbone(rows, model):
    """FLOP of the backbone forward, for a sample of `rows` feature rows."""
    return sum(_layers(rows, model))


def heads(classes, model):
    """FLOP of a sample forward: class logits of every position, and the heads of all anchors."""
    outputs = classes + 3 * 5 * len(model.anchor_scales)  # 2 + 2 + 1 for each anchor, three taps each
    return sum(2 * positions * width * outputs
               for positions, width in zip(aher.level_positions(model), model.level_widths))


def transfer(classes, model):
    """FLOP of the weight transfer forward, for `classes` classes."""
    return sum(2 * 2 * classes * width ** 2 for width in model.level_widths)


def _context(model):
    """FLOP of the context forward: first layers of both sides, second layers, layout."""
    rows, c, h = model.moment_steps, model.feature_width, model.context_width
    return 2 * 2 * rows * 3 * c * h, 2 * 2 * (rows // 2) * 3 * h * c, 2 * model.untrimmed_steps * rows * c


def step(config):
    """{update: FLOP} of a training step."""
    model, batch, repeats = config.model, config.train.batch_size, config.train.generator_repeats
    whole, moment = backbone(model.untrimmed_steps, model), backbone(model.moment_steps, model)
    whole_first, moment_first = [_layers(rows, model)[0] for rows in (model.untrimmed_steps, model.moment_steps)]
    first, second, layout = _context(model)
    generate = first + second + layout
    generate_back = first + 2 * second + layout  # the moment needs no gradient
    train_back = 2 * whole - whole_first         # neither do the features
    source, target = [heads(classes, model) for classes in (model.source_classes, model.target_classes)]
    return {
        1: batch * (moment + 2 * moment - moment_first),
        2: batch * whole,
        3: batch * (whole + 2 * train_back + 3 * source) + 3 * transfer(model.source_classes, model),
        4: batch * (generate + whole + target + 2 * (whole + generate_back) + target)
        + transfer(model.target_classes, model),
        5: batch * (generate + 2 * whole),
        6: batch * (repeats * (whole + generate_back) + (repeats - 1) * (generate + whole)),
        7: batch * (generate + whole + 2 * train_back + 3 * target)}


def test(model):
    """FLOP of a test video, without the transfer, which is done once for all videos."""
    return backbone(model.untrimmed_steps, model) + heads(model.target_classes, model)
