"""`docs`: the reference of every parameter, generated from where each is declared."""

import argparse
from pathlib import Path

PAGE = Path("docs/parameters.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", type=Path, default=PAGE, help=f"file to write (default: {PAGE})")


def execute(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from pipeline.artifacts.files import write_text
    from pipeline.config.reference import reference_page

    write_text(arguments.out, reference_page())
    print(arguments.out)
    return 0
