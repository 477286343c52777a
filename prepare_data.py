"""Prepare a data root: get, convert, split and check data, or make the data of the demo. docs/data.md describes it.

Each subcommand is a module of preparation/; `python3 prepare_data.py SUBCOMMAND --help` lists its flags.
"""
import argparse
import sys

from runtime.errors import exit_on_ctrl_c, exit_status

with exit_on_ctrl_c():
    from preparation import annotation, check, convert, demo, fetch, import_data, split

SUBCOMMANDS = (fetch, import_data, annotation, convert, split, check, demo)


def build_parser():
    """The parser of all subcommands; in its result, `run` is the function of the subcommand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    subparsers = parser.add_subparsers(dest='subcommand', metavar='SUBCOMMAND')
    for module in SUBCOMMANDS:
        description = module.__doc__ or module.NAME  # python -OO removes docstrings
        subparser = subparsers.add_parser(module.NAME, help=description.split('\n')[0], description=description,
                                          formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv=None):
    """Run the subcommand of `argv` (by default the arguments of the process); without one, print the list of them."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.subcommand is None:
        parser.exit(2, parser.format_help())
    args.run(args)


if __name__ == '__main__':
    sys.exit(exit_status(main))
