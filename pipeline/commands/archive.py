"""`archive`: everything of a finished experiment in one file, to pass on; `import` takes it in elsewhere.

python -m pipeline archive --configfile config/demo.yaml --experiment demo --out demo.tar
"""

import argparse
from pathlib import Path

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.program import program
from pipeline.commands.configuration import files_with
from pipeline.config.load import DEFAULT_FILE, Config, load_config, suites_in
from pipeline.config.named_files import files_of
from pipeline.config.suites import Suite
from pipeline.schema.names import nearest
from pipeline.stages.results import Results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--experiment", required=True, metavar="NAME", help="whose finished seeds to archive")
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE",
        help="its suite, and settings laid over it (default: as config/config.yaml says, else the one that has it)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a new file, .tar or .tar.gz (default: NAME.tar); .gz saves little, as weights are most of it",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write the archive and say what is in it, and what is not."""
    out = arguments.out or Path(f"{arguments.experiment}.tar")
    if out.exists():
        raise ConfigError(f"--out {out}: is there already; name a new file, or remove this one")
    files = [Path(file) for file in files_with(arguments.experiment, arguments.configfile)]
    config = load_config(files)
    suite = _suite_of(config, arguments.experiment)
    # Imported late: it imports torch, and a mistake should be told at once.
    from pipeline.report.archiving import Chosen, finished_runs, write_archive

    runs = finished_runs(Results(), arguments.experiment)
    if not runs:
        raise ArtifactError(
            f"--experiment {arguments.experiment}: no seed of it has finished under {Results().root}; "
            f"`{program()} start --configfile {suite.file} --only {arguments.experiment}` does that"
        )
    table = write_archive(out, Chosen(Results(), suite, runs, files_of(config, suite, files)))
    seeds = ", ".join(map(str, table.seeds))
    print(
        f"{out}: {table.experiment}, seeds {seeds}: {len(table.files)} files, {out.stat().st_size / 1e6:,.1f} MB"
    )
    for key in table.left_out:
        print(f"  not in it: {key}: prepared images, which are made again from the data")
    print(f"elsewhere: {program()} import {out.name}")
    return 0


def _suite_of(config: Config, experiment: str) -> Suite:
    """The suite of an experiment; ConfigError says which file has it instead."""
    plain = experiment.partition("+")[0]
    for suite in config.suites:
        if plain in suite.experiments:
            return suite
    elsewhere = [suite.file for suite in suites_in(DEFAULT_FILE.parent) if plain in suite.experiments]
    names = [name for suite in config.suites for name in suite.experiments]
    hint = f"give --configfile {elsewhere[0]}" if elsewhere else nearest(plain, names)
    raise ConfigError(f"--experiment {experiment}: no such experiment in {config.location}; {hint}")
