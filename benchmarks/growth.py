"""How the cost grows: each other benchmark over a range of sizes → growth.csv and growth.png beside this file.

    python3 benchmarks/growth.py [--only evaluation]

Training is measured at a quarter of the widths (a sixteenth of the FLOP), testing at the demo's.
"""
import argparse
import csv
import json
import os
import subprocess
import sys

import common  # noqa: F401
from tqdm import tqdm

from evaluation.results import new_figure, write_figure

HERE = os.path.dirname(os.path.abspath(__file__))
STEP = ('training_step.py', '--divide_widths', '4', '--repeats', '2')
COLUMNS = ('panel', 'size', 'seconds', 'counted_TFLOP', 'peak_memory_GB')
# panel: the sizes, how the benchmark is called, the key of its seconds
PANELS = {
    'training step, batch size': ((2, 4, 8, 16, 32), STEP + ('--batch_size', '{}'), 'seconds'),
    'training step, rows of a video': ((256, 512, 1024, 2048), STEP + ('--rows', '{}'), 'seconds'),
    'training step, widths divided by': ((16, 8, 4, 2), STEP[:1] + STEP[3:] + ('--divide_widths', '{}'), 'seconds'),
    'testing, videos': ((256, 1024, 4096), ('memory.py', '--config', 'demo', '--videos', '{}'), 'seconds'),
    'evaluation, results': ((10000, 100000, 1000000, 5000000), ('evaluation_scripts.py', '--results', '{}'),
                            'seconds_in_all'),
}


def measure(panel):
    """Rows of COLUMNS, one a size; a benchmark is a process of its own."""
    sizes, call, key = PANELS[panel]
    for size in tqdm(sizes, desc=panel):
        command = [sys.executable, os.path.join(HERE, call[0])] + [part.format(size) for part in call[1:]]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        found = json.loads(said.decode().splitlines()[-1])
        yield panel, size, found[key], found.get('counted_TFLOP', ''), found['peak_memory_GB']


def draw(rows):
    """Figure: a panel each, time and memory against the size, and the line of a linear cost."""
    figure = new_figure((18, 4))
    panels = [panel for panel in PANELS if any(row[0] == panel for row in rows)]
    for place, panel in enumerate(panels, start=1):
        sizes, seconds, flop, memory = [[float(row[column] or 0) for row in rows if row[0] == panel]
                                        for column in (1, 2, 3, 4)]
        axes = figure.add_subplot(1, len(panels), place)
        axes.loglog(sizes, seconds, 'o-', label='seconds')
        axes.loglog(sizes, memory, 's-', label='peak memory, GB')
        linear = flop if flop[0] else sizes
        axes.loglog(sizes, [seconds[-1] * value / linear[-1] for value in linear], ':', color='grey',
                    label='in proportion to ' + ('FLOP' if flop[0] else 'size'))
        axes.set_xticks(sizes)
        axes.set_xticklabels(['%g' % size for size in sizes])
        axes.minorticks_off()
        axes.set_title(panel, fontsize=10)
        axes.legend(fontsize=8)
    return figure


def main():
    """Measure, write and draw as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default='',
                        help='measure the panels whose name has this, keep the others; "none": draw again')
    arguments = parser.parse_args()
    path, rows = os.path.join(HERE, 'growth.csv'), []
    if os.path.exists(path):
        with open(path, newline='') as text:
            rows = [tuple(row) for row in list(csv.reader(text))[1:]]
    for panel in PANELS:
        if arguments.only in panel:
            rows = [row for row in rows if row[0] != panel] + list(measure(panel))
    with open(path, 'w', newline='') as text:
        csv.writer(text).writerows([COLUMNS] + rows)
    write_figure(os.path.join(HERE, 'growth.png'), draw(rows))


if __name__ == '__main__':
    main()
