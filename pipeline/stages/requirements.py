"""What stages need of the plan around them: refused when planned, not after hours of their parents' work.

Free of torch. Each function raises ConfigError, naming the place in the configuration.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from pipeline.artifacts.errors import ConfigError
from pipeline.data.parameters import Augmentation
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.networks.parameters import CLASSIFIERS, NetworkParameters
from pipeline.numerics import WidthHeight
from pipeline.stages.parameters import PseudolabelParameters, SplitParameters, SuggestParameters
from pipeline.training.parameters import TrainParameters


@dataclass(frozen=True)
class Facts:
    """What is known of a stage's surroundings when it is planned.

    `location`: the place in the configuration. `labels`: by domain, the label and the parameters of the
    `pseudolabel` stage that its labels come from. `names(domain)`: names of the domain's images. `sizes`: by domain,
    the sizes that its caches were asked to have; None for each image's own. `untrained`: the network starts at random.
    `processes`: how many a training is asked to have.
    """

    location: str
    taxonomy: Taxonomy
    network: NetworkParameters
    names: Callable[[str], Collection[str]]
    labels: Mapping[str, tuple[str, PseudolabelParameters]] = field(default_factory=dict)
    sizes: Mapping[str, tuple[WidthHeight | None, ...]] = field(default_factory=dict)
    untrained: bool = False
    processes: int = 1


def objective_fits(parameters: TrainParameters, facts: Facts) -> None:
    """Check that a training has the network and the labels that its objective declares to need."""
    objective, backbone = parameters.objective, facts.network.backbone
    if objective.needs_grid() and backbone in CLASSIFIERS:
        raise ConfigError(
            f"{facts.location}: method {objective.method} needs the positions of a feature grid, and backbone "
            f"{backbone} has a single one; use a segmentation network, or another method"
        )
    parameters.check_processes(facts.processes, facts.location)
    _one_size_in_a_pass(parameters, facts)
    _features_fit(parameters, facts)
    if facts.network.resolutions == "two":
        _whole_windows(parameters, facts)
    if objective.mixes_domains():
        _mixed_images_fit(parameters, facts)
    for domain in objective.pseudo_labelled:
        if domain not in facts.labels:
            raise ConfigError(
                f"{facts.location}.{domain}: method {objective.method} needs a stage of kind pseudolabel here"
            )
        stage, labelling = facts.labels[domain]
        wanted = objective.soft_labels
        if wanted is not None and wanted.holds(objective) != (labelling.soft_alpha is not None):
            raise ConfigError(
                f"{facts.location}: `{wanted}` and `soft_alpha` of stage {stage} belong together; set both or none"
            )


def _one_size_in_a_pass(parameters: TrainParameters, facts: Facts) -> None:
    """Check that images which pass the network together have one size; own sizes are known only in training."""
    together = parameters.batch // (parameters.accumulation * facts.processes)
    for domain in parameters.objective.domains():
        augmentation = parameters.augmentation.get(domain, Augmentation())
        if together < 2 or augmentation.crop:
            continue
        known = {size for size in facts.sizes.get(domain, ()) if size is not None}
        resized = [
            name for name in ("scale", "shorter_side") if len(set(getattr(augmentation, name) or ())) > 1
        ]
        if resized:
            cause = f"{resized[0]} makes images of different sizes"
        elif len(known) > 1:
            cause = f"images of {' and '.join(f'{width}x{height}' for width, height in sorted(known))} meet"
        else:
            continue
        raise ConfigError(
            f"{facts.location}: augmentation.{domain}: {cause}, and {together} of them pass the network together; "
            f"add `crop: [width, height]` there, or make it one with `batch` and `accumulation`"
        )


def _features_fit(parameters: TrainParameters, facts: Facts) -> None:
    """Check that features are compared with trained ones, and that things are named where they are asked for."""
    if parameters.objective.compares_features() and facts.untrained:
        raise ConfigError(
            f"{facts.location}: `feature_distance` would keep features near random ones; give the network `weights`, "
            "or the stage an `init`"
        )
    if parameters.objective.reads_things() and not facts.taxonomy.things:
        raise ConfigError(
            f"{facts.location}: `feature_distance` on things needs a taxonomy that names some, and "
            f"{facts.taxonomy.name} names none; add `things: [...]` to it"
        )


def _whole_windows(parameters: TrainParameters, facts: Facts) -> None:
    """Check that a network of two resolutions is trained on crops whose windows are whole cells."""
    for domain in parameters.objective.domains():
        augmentation = parameters.augmentation.get(domain)
        crop = augmentation.crop if augmentation else None
        if crop is None or any(side % 64 for side in crop):
            raise ConfigError(
                f"{facts.location}: augmentation.{domain}.crop: a network of two resolutions is trained on crops whose "
                f"sides are multiples of 64, found {'none' if crop is None else f'{crop[0]}x{crop[1]}'}"
            )


def _mixed_images_fit(parameters: TrainParameters, facts: Facts) -> None:
    """Check that images between which classes are pasted have one size; own sizes are known only in training."""
    crops = {name: augmentation.crop for name, augmentation in parameters.augmentation.items()}
    sizes = {
        domain: (crops[domain],) if crops.get(domain) else facts.sizes.get(domain, ())
        for domain in parameters.objective.domains()
    }
    known = {size for found in sizes.values() for size in found if size is not None}
    if len(known) > 1:
        found = ", ".join(
            f"{name} {' and '.join(f'{size[0]}x{size[1]}' for size in all_sizes if size)}"
            for name, all_sizes in sizes.items()
        )
        raise ConfigError(
            f"{facts.location}: method {parameters.method} pastes classes between images of one size, and found "
            f"{found}; give these domains the same `augmentation: crop`, or set `objective: {{class_share: 0}}`"
        )


def rare_classes_are_named(parameters: SplitParameters, facts: Facts) -> None:
    """Check that a rare-class ranking has a taxonomy that names rare classes."""
    if parameters.ranking != "plain" and not facts.taxonomy.rare:
        raise ConfigError(
            f"{facts.location}.ranking: found {parameters.ranking}, which counts rare classes, and taxonomy "
            f"{facts.taxonomy.name} names none; add `rare: [...]` to it, or rank `plain`"
        )


def enough_images_to_label(parameters: SuggestParameters, facts: Facts) -> None:
    """Check that no more images are asked for than are without labels."""
    images, labelled = len(facts.names("images")), len(facts.names("labelled"))
    if parameters.count > images - labelled:
        raise ConfigError(
            f"{facts.location}: count: found {parameters.count}, but of the {images} target images {labelled} have "
            f"labels; ask for {images - labelled} at most"
        )
