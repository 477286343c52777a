"""What full ActivityNet → Kinetics-600 costs: disk in each form, reading, and 15,000 steps, as Markdown tables.

    python3 benchmarks/full_run.py --step_seconds 35.7

Computed from counts, FLOP and memory traffic, not measured; --step_seconds is training_step.py's figure here.
"""
import argparse

import common  # noqa: F401
import flop
import numpy as np

import config as settings

STEPS = 15000
ROWS = {  # videos, mean rows of a video: 8 frames a row at 30 frames a second
    'source, whole videos (512 rows)': (10000, 512),
    'source, by clip (117 s)': (10000, 439),
    'moments, by clip (10 s)': (390000, 37),
    'target validation, whole videos (512 rows)': (6459, 512),
}
FORMS = {'CSV, 11 bytes a number': 11, 'npy or HDF5, float32': 4, 'float16': 2}
GPUS = {  # makers' figures: dense TF32 products, TFLOP/s; memory, TB/s
    'A100 80 GB': (156, 2.0), 'H100 SXM': (495, 3.35), 'H200': (495, 4.8), 'RTX 4090': (83, 1.0)}


def parameters(model):
    """Numbers of the backbone's and of the generator's variables, the two large groups."""
    widths = (model.feature_width,) + model.stem_widths + model.level_widths
    return (sum(3 * a * b for a, b in zip(widths, widths[1:])),
            4 * 3 * model.feature_width * model.context_width)


def traffic(config):
    """Bytes a step moves in the GPU's memory, at least: activations of the stem, and Adam.

    A pass forward reads a layer's input and writes its output; one back reads and writes as much twice. An
    optimizer reads and writes a weight and its two slots, and reads the gradient.
    """
    model, batch = config.model, config.train.batch_size
    widths = (model.feature_width,) + model.stem_widths
    stem = 4 * batch * model.untrimmed_steps * sum(a + b for a, b in zip(widths, widths[1:]))
    forward = 0.5 + 1 + 1 + 1 + 2 + 1 + 1              # passes of updates 1 to 7
    back = 0.5 + 2 + 2 + 2 + 2                         # losses with gradients in the backbone: 1, 3, 4, 6, 7
    backbone, generator = parameters(model)
    adam = 4 * 7 * (5 * backbone + 4 * generator)      # 1, 3, 3, 7, 7; 4, 4, 6, 6
    return stem * (forward + 2 * back) + adam


def batch_bytes(config, bytes_a_number):
    """Bytes that the loader reads for a step: whole files, which are cut afterwards."""
    rows = [ROWS[kind][1] for kind in list(ROWS)[:3]]
    return config.train.batch_size * sum(rows) * config.model.feature_width * bytes_a_number


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--step_seconds', type=float, required=True, help='a full-size step on this machine')
    arguments = parser.parse_args()
    config = settings.PRESETS['k600']
    width = config.model.feature_width

    print('| on disk, GB | ' + ' | '.join(FORMS) + ' |\n|---|' + '---|' * len(FORMS))
    total = np.zeros(len(FORMS))
    for kind, (videos, rows) in ROWS.items():
        sizes = np.array([videos * rows * width * size / 1e9 for size in FORMS.values()])
        total += sizes
        print('| %d × %s | %s |' % (videos, kind, ' | '.join('%.0f' % size for size in sizes)))
    print('| in all | %s |\n' % ' | '.join('%.0f' % size for size in total))

    counted, moved = sum(flop.step(config).values()), traffic(config)
    read = batch_bytes(config, 4)
    print('A step: %.1f TFLOP; %.1f GB moved in device memory at least; %.2f GB read (float32).\n'
          % (counted / 1e12, moved / 1e9, read / 1e9))
    print('| | a step, s | %d steps | reading at that pace, GB/s |\n|---|---|---|---|' % STEPS)
    print('| this machine, measured | %.1f | %.1f days | %.3f |' % (
        arguments.step_seconds, STEPS * arguments.step_seconds / 86400, read / arguments.step_seconds / 1e9))
    for name, (products, memory) in GPUS.items():
        seconds = counted / (0.5 * products * 1e12) + moved / (memory * 1e12)
        print('| %s, computed | %.3f | %.1f hours | %.1f |' % (name, seconds, STEPS * seconds / 3600,
                                                             read / seconds / 1e9))
    print('\nGPUs: half of the maker\'s dense TF32 rate for the products, then the memory traffic at its full rate.')


if __name__ == '__main__':
    main()
