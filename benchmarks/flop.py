"""FLOP of the network, counted from its settings, and what a full training run costs.

An addition and a multiplication are two FLOP. Only products are counted (convolutions, matrices), each once. A
gradient costs as much as the forward layer for its weights and again for its input, and is counted only where an
update changes a variable behind it. Updates 3, 4 and 7 have two losses, each with its own gradient (docs/method.md,
section 7).
"""
import numpy as np

import aher_model as aher
import config as settings

STEPS = 15000
ROWS = {  # videos, mean feature rows of a video: a row is 8 frames, at 30 frames per second
    'source, whole videos (512 rows)': (10000, 512),
    'source, by clip (117 s)': (10000, 439),
    'moments, by clip (10 s)': (390000, 37),
    'target validation, whole videos (512 rows)': (6459, 512)}
FORMS = {'CSV, 11 bytes per number': 11, 'npy or HDF5, float32': 4, 'float16': 2}


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


# A full run

def full_run(step_seconds=35.7):
    """Disk in each form, FLOP, and bytes of 15,000 steps, from counts, as Markdown; only the step is measured."""
    config = settings.PRESETS['k600']
    numbers = [videos * rows * config.model.feature_width for videos, rows in ROWS.values()]
    gigabytes = np.outer(numbers + [sum(numbers)], list(FORMS.values())) / 1e9
    titles = ['%d × %s' % (videos, kind) for kind, (videos, _) in ROWS.items()] + ['in all']
    rows = [['on disk, GB', *FORMS], ['---'] * (1 + len(FORMS))]
    rows += [[title, *['%.0f' % size for size in sizes]] for title, sizes in zip(titles, gigabytes)]
    read = bytes_read(config, 4)
    print('\n'.join('| %s |' % ' | '.join(row) for row in rows))
    print('\nA step: %.1f TFLOP; at least %.1f GB moved in memory; %.2f GB read (float32).'
          % (sum(step(config).values()) / 1e12, bytes_moved(config) / 1e9, read / 1e9))
    print('%d steps of %.1f s: %.1f days; %.3f GB read per second.'
          % (STEPS, step_seconds, STEPS * step_seconds / 86400, read / step_seconds / 1e9))


def bytes_read(config, number_size):
    """Bytes of features that the loader reads for a step: whole files, from which samples are cut."""
    source, source_clips, moments, _ = [rows for _, rows in ROWS.values()]
    return config.train.batch_size * (source + source_clips + moments) * config.model.feature_width * number_size


def bytes_moved(config):
    """Bytes that a step moves between memory and processor, at least: activations of the stem, and Adam.

    A forward pass reads a layer's input and writes its output; a backward pass reads and writes twice as much. An
    optimizer reads and writes a weight and its two slots, and reads the gradient.
    """
    model = config.model
    stem_widths = (model.feature_width,) + model.stem_widths
    stem = 4 * config.train.batch_size * model.untrimmed_steps * sum(
        width + above for width, above in zip(stem_widths, stem_widths[1:]))
    forward = 0.5 + 1 + 1 + 1 + 2 + 1 + 1  # passes of whole sequences in updates 1 to 7; a moment is half a sequence
    backward = 0.5 + 2 + 2 + 2 + 2         # the same of the losses of updates 1, 3, 4, 6 and 7
    widths = stem_widths + model.level_widths
    backbone = sum(3 * width * above for width, above in zip(widths, widths[1:]))
    generator = 4 * 3 * model.feature_width * model.context_width
    adam = 4 * 7 * (5 * backbone + 4 * generator)  # its steps: in 1, 3, 3, 7, 7; in 4, 4, 6, 6
    return stem * (forward + 2 * backward) + adam
