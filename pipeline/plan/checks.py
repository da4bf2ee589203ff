"""Settings that would fail only when a stage has waited hours for its parents: refused when they are planned."""

from typing import Any

from pipeline.artifacts.errors import ConfigError
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.networks.parameters import CLASSIFIERS, NetworkParameters
from pipeline.plan.stage import Stage
from pipeline.training.schedules import snapshot_steps


def check_snapshot(model: Stage, choice: str, where: str) -> None:
    """Raise ConfigError where `choice` is a step at which the training stage `model` keeps no snapshot."""
    if not choice.isdigit():
        return
    kept = snapshot_steps(model.parameters["steps"], model.parameters["snapshots"])
    if int(choice) not in kept:
        shown = ", ".join(map(str, kept[:6])) + (", ..." if len(kept) > 6 else "")
        raise ConfigError(
            f"{where}: found {choice}, but {model.label} keeps snapshots of the steps {shown}; name one of them, or "
            "change the `snapshots` of that stage"
        )


def check_ranking(variant: str, taxonomy: Taxonomy, where: str) -> None:
    """Raise ConfigError where a rare-class ranking meets a taxonomy that names no rare class."""
    if variant != "plain" and not taxonomy.rare:
        raise ConfigError(
            f"{where}.ranking: found {variant}, which counts rare classes, and taxonomy {taxonomy.name} names none; "
            "add `rare: [...]` to it, or rank `plain`"
        )


def check_method(parameters: Any, network: NetworkParameters, where: str) -> None:
    """Raise ConfigError where a method needs a grid of features and the network is a classifier."""
    if parameters.method == "plca" and network.backbone in CLASSIFIERS:
        raise ConfigError(
            f"{where}: method plca contrasts the positions of a feature grid, and backbone {network.backbone} has a "
            "single one; use a segmentation network, or another method"
        )


def check_prior_source(word: str, where: str) -> None:
    """Raise ConfigError where a spatial prior is asked of anything but a dataset's own labels."""
    if word not in ("task.source", "task.labelled", "task.target_labels"):
        raise ConfigError(
            f"{where}: found {word!r}; a prior counts a dataset's own labels: task.source, task.labelled or "
            "task.target_labels"
        )


def check_suggestion(count: int, images: int, labelled: int, where: str) -> None:
    """Raise ConfigError where more images are asked for than are without labels."""
    if count > images - labelled:
        raise ConfigError(
            f"{where}: count: found {count}, but of the {images} target images {labelled} have labels; ask for "
            f"{images - labelled} at most"
        )
