"""`plan`: the stages as a table: done, to run, and why."""

import argparse

from pipeline.commands.configuration import add_selection_arguments, chosen_configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)
    parser.add_argument(
        "--cost",
        action="store_true",
        help="memory of each training, estimated, and hours where a GPU was measured, instead of the stages",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from pipeline.commands.cost import cost_table
    from pipeline.plan.planner import Planner
    from pipeline.plan.table import plan_table

    runs = Planner(chosen_configuration(arguments)).plan()
    if arguments.cost:
        print(cost_table(runs))
        return 0
    print(plan_table(runs))
    return 0
