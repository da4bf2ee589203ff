"""The options by which verbs choose a configuration, the same as Snakemake's own."""

import argparse

from pipeline.config.load import Config, load_config, parse_assignments


def add_configuration_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --configfile and --config."""
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="laid over config/config.yaml in the order given",
    )
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="laid over the files, e.g. experiments=demo",
    )


def chosen_configuration(arguments: argparse.Namespace) -> Config:
    """Load the configuration that the options name."""
    return load_config(arguments.configfile, parse_assignments(arguments.config))
