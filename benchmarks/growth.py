"""How the cost grows with the size: `benchmark.py growth`."""
import csv
import json
import os
import subprocess
import sys

from tqdm import tqdm

from evaluation.results import new_figure, write_figure

HERE = os.path.dirname(os.path.abspath(__file__))
COLUMNS = ('panel', 'size', 'seconds', 'counted_TFLOP', 'peak_memory_GB')
# panel: the sizes, the subcommand whose last flag they are the value of, the key of its seconds
PANELS = {
    'training step, batch size': (
        (2, 4, 8, 16, 32), 'step --repeats 2 --divide_widths 4 --batch_size', 'seconds'),
    'training step, rows of a video': (
        (256, 512, 1024, 2048), 'step --repeats 2 --divide_widths 4 --rows', 'seconds'),
    'training step, widths divided by': ((16, 8, 4, 2), 'step --repeats 2 --divide_widths', 'seconds'),
    'testing, videos': ((256, 1024, 4096), 'memory --config demo --videos', 'seconds'),
    'evaluation, results': ((10000, 100000, 1000000, 5000000), 'evaluation --results', 'seconds_in_all'),
}


def growth(only):
    """Other benchmarks over a range of sizes: writes growth.csv and growth.png beside this file.

    Training is measured at a quarter of the published widths (a sixteenth of the FLOP), testing at the demo's.
    """
    path, rows = os.path.join(HERE, 'growth.csv'), []
    if os.path.exists(path):
        with open(path, newline='') as text:
            rows = [tuple(row) for row in list(csv.reader(text))[1:]]
    for panel in PANELS:
        if only in panel:
            rows = [row for row in rows if row[0] != panel] + list(_measure(panel))
    with open(path, 'w', newline='') as text:
        csv.writer(text).writerows([COLUMNS] + rows)
    write_figure(os.path.join(HERE, 'growth.png'), draw(rows))


def _measure(panel):
    """Rows of COLUMNS, one for each size, measured in a process of its own."""
    sizes, command, key = PANELS[panel]
    for size in tqdm(sizes, desc=panel):
        output = subprocess.run([sys.executable, os.path.join(HERE, 'benchmark.py'), *command.split(), str(size)],
                                check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        found = json.loads(output.decode().splitlines()[-1])
        yield panel, size, found[key], found.get('counted_TFLOP', ''), found['peak_memory_GB']


def draw(rows):
    """Figure, a panel each: time and memory against the size, and the line of a cost in proportion to it."""
    panels = [panel for panel in PANELS if any(row[0] == panel for row in rows)]
    figure = new_figure((18, 4))
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
