"""Objectives: every method's own parameters; free of torch, so that planning stays fast.

A new method adds a class here, appends it to `Objective`, and adds one line to `registry.py`. What it needs of
the network, the labels and the rounds around it is declared here, in the words of `objective.py`, and asked for by
plan and stages.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from pipeline.data.parameters import Affine, Color
from pipeline.methods.objective import (
    AnchoredParameters,
    Domain,
    LovaszParameters,
    Margins,
    ObjectiveParameters,
    Setting,
    Turn,
    Weight,
)
from pipeline.numerics.schedules import portion

GanKind = Literal["vanilla", "ls"]

ASSOCIATION_IMAGES = 2
"""Images in a group on which PLCA's associations are pooled: those of one GPU in the published run."""


class SupervisedParameters(AnchoredParameters):
    """Cross-entropy on labelled images; target images without labels never pass through the network in a step."""

    rule: ClassVar[Literal["pretrain", "adapt", "selftrain"]] = "pretrain"
    method: Literal["supervised"]
    labelled_weight: Annotated[
        Weight, Field(description="weight of the cross-entropy on labelled target images; 0 never loads them")
    ] = 0.0

    def domains(self) -> tuple[Domain, ...]:
        """Name the domains: the source, and labelled target images where they have a weight."""
        return ("source", "labelled") if self.labelled_weight > 0 else ("source",)


class MinentParameters(LovaszParameters):
    """Entropy minimisation on the target (Vu 2019, MinEnt; `docs/methods/intrada.md`)."""

    method: Literal["minent"]
    entropy_weight: Annotated[Weight, Field(description="weight of the main head's mean entropy")] = 1e-3


class _AdversarialParameters(LovaszParameters):
    adversarial_weight: Annotated[Weight, Field(description="weight of the main adversarial term")] = 1e-3
    adversarial_aux_weight: Annotated[
        Weight, Field(description="weight of the aux head's adversarial term, where there is an aux head")
    ] = 2e-4

    def domains(self) -> tuple[Domain, ...]:
        """Name the domains: the target only where a weight makes its adversarial term count.

        A forward pass of weight 0 would still move BatchNorm's statistics.
        """
        of_target = self.adversarial_weight or self.adversarial_aux_weight
        return ("source", "target") if of_target else ("source",)


class AdventParameters(_AdversarialParameters):
    """Adversarial alignment of self-information maps (Vu 2019, AdvEnt; `docs/methods/intrada.md`)."""

    method: Literal["advent"]


class AdaptsegParameters(_AdversarialParameters):
    """Adversarial alignment of softmax maps (Tsai 2018, AdaptSegNet; `docs/methods/intrada.md`)."""

    method: Literal["adaptseg"]
    gan: Annotated[
        GanKind,
        Field(description="vanilla: binary cross-entropy; ls: squared error of the raw answers"),
    ] = "vanilla"


class PlcaParameters(LovaszParameters):
    """Pixel-level cycle association (Kang 2020, `docs/methods/plca.md`); weight 0 leaves a term out."""

    method: Literal["plca"]
    lovasz_weight: Annotated[
        Weight, Field(description="weight of Lovasz-softmax: 3.0 as in the published run (the paper: 0.75)")
    ] = 3.0
    feature_association_weight: Annotated[
        Weight, Field(description="weight of the features' association")
    ] = 0.1
    prediction_association_weight: Annotated[
        Weight, Field(description="weight of the predictions' association")
    ] = 0.1
    lsr_weight: Annotated[Weight, Field(description="weight of LSR, on source and on target each")] = 0.01

    def domains(self) -> tuple[Domain, ...]:
        """Name the domains: the target only where a term reads it."""
        of_target = self.feature_association_weight, self.prediction_association_weight, self.lsr_weight
        return ("source", "target") if any(of_target) else ("source",)

    def needs_grid(self) -> bool:
        """Tell that associations need positions."""
        return True

    def image_groups(self) -> tuple[int, ...]:
        """Name the groups of the associations and of Lovasz-softmax."""
        return (ASSOCIATION_IMAGES, self.lovasz_images)

    @model_validator(mode="after")
    def _no_dead_groups(self) -> Self:
        # Ablations of published runs leave Lovasz-softmax out and keep the batch that its groups asked for.
        return self


class AssParameters(AdaptsegParameters):
    """AdaptSegNet with labelled target images and class vectors (Wang 2020, ASS-R; `docs/methods/ass.md`)."""

    method: Literal["ass"]  # type: ignore[assignment]
    semantic_weight: Annotated[
        Weight, Field(description="weight of the class vectors' adversarial term; 0 leaves it out")
    ] = 1e-3
    semantic_tensor: Annotated[
        Literal["softmax", "feature"],
        Field(description="map that is averaged over each class, on the network's grid"),
    ] = "softmax"

    def domains(self) -> tuple[Domain, ...]:
        """Name the domains: AdaptSegNet's, and the labelled target images."""
        return (*super().domains(), "labelled")

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        if not self.semantic_weight:
            self._refuse_unused(("semantic_tensor",), "`semantic_weight: 0`")
        return self


PUBLISHED_ALPHA = {"mrkld": 0.1, "mrent": 0.1, "mrl2": 0.025}
"""Weights of CRST's regularisers of the network's output in the paper; the released MRKLD code has 0.01."""


class MeanTeacherParameters(AnchoredParameters):
    """Self-training with a mean teacher (DACS, DAFormer, MIC; `docs/methods/mean-teacher.md`)."""

    method: Literal["mean_teacher"]
    teacher_decay: Annotated[
        float, Field(ge=0.0, lt=1.0, description="share of itself that the teacher keeps in each step")
    ] = 0.999
    quality: Annotated[
        Literal["batch", "image", "pixel", "soft"],
        Field(
            description="weight of pseudo-labels: share of pixels of probability 0.968 and more in the batch or the "
            "image; 1 for those pixels alone; soft: probability squared"
        ),
    ] = "batch"
    mirrored: Annotated[
        bool,
        Field(
            description="the teacher's probability is the mean over an image and its mirror image (VFM-UDA)"
        ),
    ] = False
    margins: Annotated[
        Margins | None, Field(description="edges of the target's images where pseudo-labels do not count")
    ] = None
    class_share: Annotated[
        float,
        Field(
            ge=0.0, le=1.0, description="share of a labelled image's classes pasted onto the target; 0: none"
        ),
    ] = 0.5
    mix_color: Annotated[
        Color | None, Field(description="color jitter and blur of mixed and masked images")
    ] = Color(
        probability=0.8,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=0.2,
        blur=0.5,
        blur_radius=(0.15, 1.15),
    )
    mix_affine: Annotated[
        Affine | None,
        Field(description="rotation, shift, zoom and shear of mixed and masked images and their labels"),
    ] = None
    mask_weight: Annotated[Weight, Field(description="weight of masked consistency; 0 leaves it out")] = 0.0
    mask_kind: Annotated[
        Literal["squares", "tokens"],
        Field(
            description="what is masked: squares of the image, or a ViT's tokens by its mask token (VFM-UDA)"
        ),
    ] = "squares"
    mask_block: Annotated[
        int, Field(ge=1, le=4096, description="side in pixels of the squares, 70 % of which are masked")
    ] = 64
    labelled_weight: Annotated[
        Weight,
        Field(
            description="weight of the cross-entropy on labelled (or pseudo-labelled) target images, which are "
            "pasted too; 0 never loads them"
        ),
    ] = 0.0

    def domains(self) -> tuple[Domain, ...]:
        """Name the domains: source, target, and labelled target images where they have a weight."""
        return ("source", "target", "labelled") if self.labelled_weight > 0 else ("source", "target")

    def needs_grid(self) -> bool:
        """Tell that pasting and masking need positions."""
        return self.class_share > 0 or self.mask_weight > 0

    def target_margins(self) -> Margins | None:
        """Return the edges where pseudo-labels do not count."""
        return self.margins

    def mixes_domains(self) -> bool:
        """Tell that classes are pasted onto the target."""
        return self.class_share > 0

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        if not self.mask_weight:
            self._refuse_unused(("mask_kind", "mask_block"), "`mask_weight: 0`")
        if self.mask_kind == "tokens":
            self._refuse_unused(("mask_block",), "`mask_kind: tokens`")
        return self


class SelfTrainingParameters(ObjectiveParameters):
    """One round of training on source and pseudo-labelled target (Zou 2018, 2019; `docs/methods/cbst.md`)."""

    rule: ClassVar[Literal["pretrain", "adapt", "selftrain"]] = "selftrain"
    pseudo_labelled: ClassVar[tuple[Domain, ...]] = ("target",)
    soft_labels: ClassVar[Setting | None] = Setting("regulariser", "lrent")
    method: Literal["self_training"]
    regulariser: Annotated[
        Literal["none", "mrkld", "mrent", "mrl2", "lrent"],
        Field(description="CRST's regulariser: mr* on the network's output, lrent by soft pseudo-labels"),
    ] = "none"
    alpha: Annotated[
        float | None,
        Field(
            gt=0.0,
            allow_inf_nan=False,
            description="weight of mr*; none: as published, 0.1 for mrkld (code 0.01) and mrent, 0.025 for mrl2",
        ),
    ] = None
    source_portion: Annotated[
        float, Field(ge=0.0, le=1.0, description="share of the source images used in round 0")
    ] = 1.0
    source_step: Annotated[float, Field(ge=0.0, le=1.0, description="added to that share each round")] = 0.0
    source_max: Annotated[float, Field(ge=0.0, le=1.0, description="the share never exceeds this")] = 1.0
    drawing: Annotated[
        Literal["nested", "random"],
        Field(description="nested: a larger share contains the smaller ones; random: drawn anew each round"),
    ] = "nested"
    lr_factor: Annotated[
        float, Field(gt=0.0, le=1.0, description="learning rates of round r are times this to the power r")
    ] = 1.0
    round: Annotated[int, Field(ge=0, description="round number, set by the recipe's rounds block")] = 0

    @model_validator(mode="after")
    def _consistent(self) -> "SelfTrainingParameters":
        if self.regulariser == "none":
            self._refuse_unused(("alpha",), "`regulariser: none`")
        if self.regulariser == "lrent":
            self._refuse_unused(("alpha",), "`regulariser: lrent`, whose alpha is the labels' `soft_alpha`")
        if self.source_portion > self.source_max:
            raise ValueError(f"source_portion {self.source_portion} is above source_max {self.source_max}")
        return self

    def turn(self) -> Turn:
        """Return the round's learning rate, `lr_factor` once per round before it, and its share of the source.

        Source: CBST's released code, 1e-4 / sqrt(2)^round; `docs/methods/cbst.md`, portions and images of a round.
        """
        share = portion(self.round, self.source_portion, self.source_step, self.source_max)
        return Turn(self.round, self.lr_factor**self.round, share, self.drawing)

    def regulariser_weight(self) -> float:
        """Return the weight of an mr* regulariser: `alpha`, or the published one."""
        return PUBLISHED_ALPHA[self.regulariser] if self.alpha is None else self.alpha


Objective = Annotated[
    SupervisedParameters
    | MinentParameters
    | AdventParameters
    | AdaptsegParameters
    | PlcaParameters
    | AssParameters
    | MeanTeacherParameters
    | SelfTrainingParameters,
    Field(discriminator="method"),
]

OBJECTIVES: dict[str, type[ObjectiveParameters]] = {
    get_args(model.model_fields["method"].annotation)[0]: model for model in get_args(get_args(Objective)[0])
}
"""The parameters class of each method."""


def in_round(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Tell a training's unvalidated parameters the number of their round, where their objective counts rounds."""
    objective = OBJECTIVES.get(str(values.get("method")))
    if objective is None or "round" not in objective.model_fields:
        return dict(values)
    return {**values, "objective": {**(values.get("objective") or {}), "round": number}}
