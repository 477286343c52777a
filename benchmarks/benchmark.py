"""What the code costs, beside the limits of this machine, whose speed is measured in the same run.

    python3 benchmarks/benchmark.py step               # the published size: some minutes
    python3 benchmarks/benchmark.py step --config demo
    python3 benchmarks/benchmark.py step --help        # the sizes that can be changed

Each subcommand prints one JSON line; growth and full_run print or draw more. benchmarks/README.md has results.
"""
import argparse
import os
import sys

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from benchmarks import data, growth, network
from benchmarks.full_run import full_run
from config import PRESETS
from runtime.errors import run_and_exit

CHOICES = {'config': sorted(PRESETS), 'on_nan': ('stop', 'skip')}
HELP = {
    'config': 'preset to measure',
    'batch_size': 'samples of each stream in a training step',
    'test_batch_size': 'videos in a test batch',
    'on_nan': 'as of training: skip also checks all gradients in each step',
    'divide_widths': 'divide the width of every layer by this',
    'rows': 'feature rows of an untrimmed video',
    'feature_width': 'columns of a feature file',
    'videos': 'random videos',
    'results': 'results to evaluate',
    'ground_truth': 'ground-truth JSON; empty: a random one with the counts of Kinetics-600',
    'folder': 'where to make a temporary folder, on the disk to measure; empty: the system\'s',
    'repeats': 'how often to measure',
    'only': 'measure only the panels whose name contains this, keep the others; none: only draw again',
    'step_seconds': 'seconds of a training step on this machine, as `step` measures them'}


def build_parser():
    """The parser of all subcommands; each calls the function of its name with its flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar='COMMAND', dest='command')
    commands.required = True

    def add(run, **defaults):
        command = commands.add_parser(run.__name__, help=run.__doc__.splitlines()[0], description=run.__doc__)
        command.set_defaults(run=run)
        for name, default in defaults.items():
            command.add_argument('--' + name, type=type(default), default=default, choices=CHOICES.get(name),
                                 help='%s (default %s)' % (HELP[name], default if default != '' else 'empty'))

    add(network.step, config='k600', batch_size=16, on_nan='stop', divide_widths=1, rows=512, repeats=3)
    add(network.test, config='k600', test_batch_size=16, repeats=5)
    add(network.memory, config='k600', videos=64)
    add(network.loading, config='k600', videos=64, repeats=5)
    add(network.snapshot, config='k600', folder='')
    add(data.reading, rows=512, feature_width=2048)
    add(data.checking, videos=390000)
    add(data.evaluation, results=517793, ground_truth='')
    add(growth.growth, only='')
    add(full_run, step_seconds=35.7)
    return parser


def main(argv=None):
    """Run the subcommand of the command line."""
    flags = vars(build_parser().parse_args(argv))
    flags.pop('command')
    flags.pop('run')(**flags)


if __name__ == '__main__':
    run_and_exit(main)
