"""`plan`: the stages as a table: done, to run, and why."""

import argparse

from pipeline.commands.configuration import add_selection_arguments, chosen_configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from pipeline.plan.planner import Planner
    from pipeline.plan.table import plan_table

    print(plan_table(Planner(chosen_configuration(arguments)).plan()))
    return 0
