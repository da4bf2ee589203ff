"""`preview`: look at a suite's data before training: labels over images, class frequencies, sizes, warnings.

python -m pipeline preview --configfile config/drive.yaml

Writes one page for each task, results/preview/TASK/index.html. Labels of the target's training images are not opened.
"""

import argparse

from pipeline.commands.configuration import add_selection_arguments, chosen_configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_selection_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Look at every task of the selected experiments; print what was found and where the pages lie."""
    from pipeline.report.preview import preview_sides, task_warnings, write_preview

    config = chosen_configuration(arguments)
    places = {one.task: one.place("task") for one in config.experiments.values()}
    if chosen := config.override.choices.get("task"):
        places = {chosen: "--config"}
    for name, place in places.items():
        task = config.library.task(name, place)
        sides = preview_sides(config.library, task, str(config.library.file("tasks", name)))
        warnings = list(task_warnings(task, sides))
        page = write_preview(name, sides, warnings, config.library.taxonomy(task.taxonomy, place))
        print(f"task {name}")
        for role, side in sides.items():
            print(f"  {role}: {side.title}, {side.images} images, {side.looked_at} looked at")
        for line in warnings:
            print(f"  warning: {line}")
        print(f"  page: {page}")
    return 0
