"""What every objective declares, and the options that several share; free of torch, so that planning stays fast.

The methods' own classes are in `parameters.py`.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.schema.strict import Strict

Domain = Literal["source", "target", "labelled"]
"""source: labelled images; target: unlabelled ones; labelled: the few target images whose labels are read."""

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Edge = Annotated[float, Field(ge=0.0, lt=0.5)]


@dataclass(frozen=True)
class Setting:
    """A parameter at one of its values, written as in a configuration: `key: value`."""

    key: str
    value: Any

    def holds(self, parameters: BaseModel) -> bool:
        """Whether the parameters have this value."""
        return bool(getattr(parameters, self.key) == self.value)

    def __str__(self) -> str:
        return f"{self.key}: {self.value}"


@dataclass(frozen=True)
class Turn:
    """What the round of a training changes in it.

    `learning_rate`: factor on all learning rates. `source_share`: of the source images, drawn as `drawing` says.
    """

    number: int = 0
    learning_rate: float = 1.0
    source_share: float = 1.0
    drawing: Literal["nested", "random"] = "nested"


class Margins(Strict):
    """Edges of an image, as shares of its height and width: a camera's own bonnet, what rectification distorts."""

    top: Annotated[Edge, Field(description="share of the height")] = 0.0
    bottom: Annotated[Edge, Field(description="share of the height")] = 0.0
    left: Annotated[Edge, Field(description="share of the width")] = 0.0
    right: Annotated[Edge, Field(description="share of the width")] = 0.0


class ObjectiveParameters(Strict):
    """Base of all objectives.

    `rule`: the workflow rule of its trainings. `pseudo_labelled`: domains whose labels must be pseudo-labels.
    `soft_labels`: the setting under which these must be soft ones, and under any other hard ones.
    """

    rule: ClassVar[Literal["pretrain", "adapt", "selftrain"]] = "adapt"
    pseudo_labelled: ClassVar[tuple[Domain, ...]] = ()
    soft_labels: ClassVar[Setting | None] = None

    def domains(self) -> tuple[Domain, ...]:
        """Name the domains that the method reads, source first."""
        return ("source", "target")

    def needs_grid(self) -> bool:
        """Whether a network with a single position will not do."""
        return False

    def mixes_domains(self) -> bool:
        """Whether it pastes between images of its domains, which then must have one size."""
        return False

    def compares_features(self) -> bool:
        """Whether it compares features with those of the network that it starts from."""
        return False

    def reads_things(self) -> bool:
        """Whether it asks which classes are things."""
        return False

    def target_margins(self) -> Margins | None:
        """Edges of the target's images that it wants to know of."""
        return None

    def image_groups(self) -> tuple[int, ...]:
        """Sizes of the groups of images that the method's pooled terms are defined on; no micro-batch cuts one."""
        return ()

    def turn(self) -> Turn:
        """Return what the round changes; nothing for a method without rounds, which have a field `round`."""
        return Turn()

    def _refuse_unused(self, names: tuple[str, ...], because: str) -> None:
        """Raise ValueError for the first of `names` that was changed although nothing reads it."""
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: not used with {because}; remove it")


class LovaszParameters(ObjectiveParameters):
    """Base of objectives that may add Lovasz-softmax to the source's cross-entropy."""

    lovasz_weight: Annotated[
        Weight,
        Field(description="weight of Lovasz-softmax on the source, on the network's own grid; 0: none"),
    ] = 0.0
    lovasz_images: Annotated[
        int,
        Field(
            ge=1, description="images in a group on which Lovasz-softmax is taken (published run of PLCA: 4)"
        ),
    ] = 2

    def image_groups(self) -> tuple[int, ...]:
        """Name the groups of Lovasz-softmax."""
        return (self.lovasz_images,) if self.lovasz_weight > 0 else ()

    @model_validator(mode="after")
    def _no_dead_groups(self) -> Self:
        if not self.lovasz_weight:
            self._refuse_unused(("lovasz_images",), "`lovasz_weight: 0`")
        return self


class FeatureDistance(Strict):
    """Distance of the backbone's last map from that of a copy which stays as the training starts."""

    where: Annotated[
        Literal["things", "everywhere"],
        Field(
            description="things: Euclidean, on the source's cells of things (DAFormer); everywhere: 0.9 (1 - cosine) "
            "+ 0.1 smooth L1 behind a 1x1 convolution, on source and target (VFM-UDA++)"
        ),
    ]
    weight: Annotated[
        float, Field(gt=0.0, allow_inf_nan=False, description="weight of each domain's distance")
    ]


class AnchoredParameters(LovaszParameters):
    """Base of objectives that may keep features near those of the start, and choose the mean of labelled images."""

    ce_denominator: Annotated[
        Literal["valid", "all"],
        Field(
            description="pixels that the cross-entropy of labelled images is meaned over; all: ignored ones count as "
            "0 in it (DAFormer and its followers)"
        ),
    ] = "valid"

    feature_distance: Annotated[
        FeatureDistance | None, Field(description="keeps features near those of the start")
    ] = None

    def compares_features(self) -> bool:
        """Tell whether there is a distance."""
        return self.feature_distance is not None

    def reads_things(self) -> bool:
        """Tell whether the distance is on things."""
        return self.feature_distance is not None and self.feature_distance.where == "things"
