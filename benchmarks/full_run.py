"""What training from ActivityNet to Kinetics-600 costs at the published size: `benchmark.py full_run`."""
import config as settings
from benchmarks import flop
from experiments.runs import markdown_table

STEPS = 15000
ROWS = {  # videos, mean feature rows of a video: a row is 8 frames, at 30 frames a second
    'source, whole videos (512 rows)': (10000, 512),
    'source, by clip (117 s)': (10000, 439),
    'moments, by clip (10 s)': (390000, 37),
    'target validation, whole videos (512 rows)': (6459, 512)}
FORMS = {'CSV, 11 bytes a number': 11, 'npy or HDF5, float32': 4, 'float16': 2}


def full_run(step_seconds):
    """Disk in each form, FLOP, and bytes of 15,000 steps, from counts, as Markdown; only the step is measured."""
    config = settings.PRESETS['k600']
    gigabytes = {kind: [videos * rows * config.model.feature_width * size / 1e9 for size in FORMS.values()]
                 for kind, (videos, rows) in ROWS.items()}
    lines = [['%d × %s' % (ROWS[kind][0], kind)] + ['%.0f' % size for size in sizes]
             for kind, sizes in gigabytes.items()]
    lines.append(['in all'] + ['%.0f' % sum(sizes) for sizes in zip(*gigabytes.values())])
    read = bytes_read(config, 4)
    print('\n'.join(markdown_table(['on disk, GB', *FORMS], lines)))
    print('\nA step: %.1f TFLOP; at least %.1f GB moved in memory; %.2f GB read (float32).'
          % (sum(flop.step(config).values()) / 1e12, bytes_moved(config) / 1e9, read / 1e9))
    print('%d steps of %.1f s: %.1f days; %.3f GB read a second.'
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
