"""`plan`: the stages as a table: done, to run, and why; with a profile, also what their jobs ask for."""

import argparse

from pipeline.artifacts.errors import ConfigError
from pipeline.commands.configuration import add_selection_arguments, chosen_configuration
from pipeline.commands.profiles import Profile, add_profile_arguments, requests_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)
    add_profile_arguments(parser)
    parser.add_argument(
        "--cost",
        action="store_true",
        help="memory of each training, estimated, and hours where a GPU was measured, instead of the stages",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="with --cost: make a few steps of each kind of training here; pace, memory, and time of the whole plan",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Print the table."""
    if arguments.measure and not arguments.cost:
        raise ConfigError("--measure: needs --cost")
    from pipeline.commands.cost import cost_table
    from pipeline.plan.planner import Planner
    from pipeline.plan.stage import in_order
    from pipeline.plan.table import plan_table
    from pipeline.stages.results import Results

    runs = Planner(chosen_configuration(arguments)).plan()
    if arguments.cost:
        hint = [] if arguments.measure else ["Hours: add --measure for the time on this machine."]
        print(cost_table(runs, hint))
        if arguments.measure:
            from pipeline.commands.measured_cost import measured_lines

            for line in measured_lines(runs):
                print(line, flush=True)
        return 0
    print(plan_table(runs))
    if arguments.profile is not None:
        stages = in_order(stage for run in runs for stage in run.all_stages())
        waiting = [stage.record for stage in stages if not Results().manifest(stage.record).is_file()]
        print("", *requests_table(Profile.named(arguments.profile), waiting), sep="\n")
    return 0
