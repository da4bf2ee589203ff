"""The options by which verbs choose a configuration, the same as Snakemake's own."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import DEFAULT_FILE, Config, load_config, parse_assignments, suites_in


def add_configuration_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --configfile and --config."""
    parser.set_defaults(only=[], seeds=[])
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="suites in place of the one that config/config.yaml names, or settings laid over it",
    )
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="laid over the files, e.g. run.device=cpu set.train.steps=500",
    )


def files_with(experiment: str, files: Sequence[str | Path]) -> list[str | Path]:
    """The given files; where there are none and the configured suite lacks the experiment, the suite that has it.

    The file is printed. ConfigError where several suites have it; where none has, what is configured stays.
    """
    plain = experiment.partition("+")[0]
    if files or plain in _configured_experiments():
        return list(files)
    found = [suite.file for suite in suites_in(DEFAULT_FILE.parent) if plain in suite.experiments]
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise ConfigError(f"--experiment {experiment}: is in {listed}; give one of them by --configfile")
    if found:
        print(f"--experiment {experiment}: taken from {found[0]}", file=sys.stderr)
    return [str(file) for file in found]


def _configured_experiments() -> set[str]:
    """Names in the suite that the settings name; none where they name none."""
    try:
        return {name for suite in load_config().suites for name in suite.experiments}
    except ConfigError:
        return set()


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare these, and --only and --seeds."""
    add_configuration_arguments(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="experiments by name or quoted pattern, e.g. 'streets-cbst*' (default: all)",
    )
    parser.add_argument(
        "--seeds", nargs="+", default=[], metavar="K", help="some of the experiments' seeds (default: all)"
    )


def add_offline_argument(parser: argparse.ArgumentParser) -> None:
    """Declare --offline."""
    parser.add_argument(
        "--offline",
        action="store_true",
        help="fetch no weights: what is missing is named with the place it belongs to",
    )


def stay_offline(arguments: argparse.Namespace) -> None:
    """Tell this process and the jobs that it starts to fetch nothing, where --offline was given."""
    if arguments.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def chosen_assignments(arguments: argparse.Namespace) -> list[str]:
    """All that the options say besides the files, as `key=value` words."""
    words = {"only": arguments.only, "seeds": arguments.seeds}
    return [*arguments.config, *(f"{key}={','.join(values)}" for key, values in words.items() if values)]


def core_count(text: str) -> str:
    """`all` or a whole number of cores, as Snakemake takes it; ArgumentTypeError otherwise."""
    if text != "all" and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"found {text!r}; needs `all` or a whole number of at least 1")
    return text


def chosen_configuration(arguments: argparse.Namespace) -> Config:
    """Load the configuration that the options name."""
    return load_config(arguments.configfile, parse_assignments(chosen_assignments(arguments)))
