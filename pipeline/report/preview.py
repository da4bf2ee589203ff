"""`preview`: a page of what a task's datasets hold, from the files themselves, before anything is prepared or trained."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts.files import write_text
from pipeline.config.load import Library
from pipeline.config.models import DomainSplit, Task
from pipeline.datasets.checks import LabelMode
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.preview import Preview, size_warning, split_preview, working_size
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.report.dataset_view import dataset_view
from pipeline.report.templating import render_template
from pipeline.stages.results import PAGE, Results


def preview_sides(library: Library, task: Task, location: str) -> dict[str, Preview]:
    """Look at source, target, and the split for figures; the target's training images without their labels."""
    taxonomy = library.taxonomy(task.taxonomy, location)
    sides = {}
    for number, source in enumerate(task.source, start=1):
        role = "source" if len(task.source) == 1 else f"source {number}"
        sides[role] = _look(library, source, taxonomy, location)
    sides["target"] = _look(library, task.target, None, location)
    if task.evaluate is not None:
        sides["evaluation"] = _look(library, task.evaluate, taxonomy, location)
    return sides


def _look(library: Library, part: DomainSplit, taxonomy: Taxonomy | None, location: str) -> Preview:
    spec = library.dataset(part.dataset, location)
    labels: LabelMode = "none" if taxonomy is None else "working"
    content = CacheContent(spec, part.split, taxonomy, part.size, labels, part.resample)
    return split_preview(f"{part.dataset} {part.split}", content)


def task_warnings(task: Task, sides: dict[str, Preview]) -> Iterator[str]:
    """What is likely to spoil a training, side by side and together."""
    for role, side in sides.items():
        yield from (f"{role}: {line}" for line in side.warnings())
    first = next(iter(sides.values()))
    sizes = working_size(task.source[0].size, first), working_size(task.target.size, sides["target"])
    if sizes[0] and sizes[1] and (line := size_warning(sizes[0], sizes[1])):
        yield line


def write_preview(name: str, sides: dict[str, Preview], warnings: list[str], taxonomy: Taxonomy) -> Path:
    """Write `results/preview/<task>/index.html` and return its path."""
    view = dataset_view(sides, taxonomy.palette(), warnings, {})
    page = Results().preview(name) / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, render_template("preview.html", task=name, dataset=view))
    return page
