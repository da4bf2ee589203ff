"""`table`: a suite's figures as a table for a paper, with gains paired by seed and their test.

python -m pipeline table --suite study --format latex
python -m pipeline table --suite study --format markdown --baseline '*-source-only' --out table.md
"""

import argparse
from pathlib import Path

from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.files import check_writable, write_text
from pipeline.schema.names import nearest
from pipeline.stages.results import PAGE, Results

FORMATS = ("latex", "markdown", "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--suite", required=True, metavar="NAME", help="a suite that has a report")
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="default: markdown")
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="the experiment that gains are measured from, a quoted pattern where there are several tasks "
        "(default: the first stage of each experiment's own chain)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there")


def execute(arguments: argparse.Namespace) -> int:
    """Print the table, or write it; exit code 0."""
    reports = Results().report()
    names = [page.parent.name for page in reports.glob(f"*/{PAGE}")]
    if arguments.suite not in names:
        raise ConfigError(
            f"--suite {arguments.suite}: no suite of this name has a report in {reports}; "
            f"{nearest(arguments.suite, names)}"
        )
    if arguments.out is not None:
        check_writable([arguments.out.parent])
    from pipeline.report.paper_table import paper_table
    from pipeline.report.table_formats import FORMATS as WRITERS

    text = WRITERS[arguments.format](paper_table(reports / arguments.suite, arguments.baseline))
    if arguments.out is None:
        print(text, end="")
    else:
        write_text(arguments.out, text)
        print(f"written: {arguments.out}")
    return 0
