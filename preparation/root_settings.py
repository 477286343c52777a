"""The settings of a data root, for subcommands that have no flags for them."""
import config


def settings_of(data_root):
    """The Config of the folder `data_root`: defaults, and what its data.json says of it (dataset/data_root.py).

    Raises InputError where data.json is damaged or has a setting that cannot be used.
    """
    parser = config.argument_parser('', config.CHECK)
    return config.from_arguments(parser.parse_args(['--data_root=' + data_root]), config.CHECK)
