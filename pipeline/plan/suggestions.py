"""Parents of a `suggest` stage: what it ranks, and which images have labels already."""

from pipeline.plan.checks import check_suggestion
from pipeline.plan.datasets import DataPlanner
from pipeline.plan.stage import Stage, in_order


def suggest_parents(
    ranking: Stage, target: Stage, data: DataPlanner, count: int, origin: str, where: str
) -> dict[str, Stage]:
    """The ranking, its model and images, and the images that the model, or one it came from, had labels of.

    Raises ConfigError, naming `where`, if more than the images without labels are asked for.
    """
    model, images = ranking.parents["model"], ranking.parents["images"]
    known = _labelled_before(model, target)
    names = {name for stage in known for name in _names_of(stage, data, origin)}
    check_suggestion(count, len(_names_of(images, data, origin)), len(names), where)
    roles = {"labelled" if i == 0 else f"labelled.{i + 1}": stage for i, stage in enumerate(known)}
    return {"ranking": ranking, "model": model, "images": images, **roles}


def _labelled_before(model: Stage, target: Stage) -> list[Stage]:
    """Every `prepare` stage with labels of the target's images that the model descends from."""
    split = (target.data["dataset_name"], target.data["split"])
    found = [
        stage
        for stage in in_order([model])
        if stage.kind == "prepare"
        and stage.parameters["labels"] != "none"
        and (stage.data["dataset_name"], stage.data["split"]) == split
    ]
    return sorted(found, key=lambda stage: stage.key)


def _names_of(stage: Stage, data: DataPlanner, origin: str) -> list[str]:
    """The images of a `prepare` stage of the target."""
    if stage.parameters["names"] is not None:
        return list(stage.parameters["names"])
    listing, _ = data.listing(stage.data["dataset_name"], stage.data["split"], False, origin)
    return [item.name for item in listing.items]
