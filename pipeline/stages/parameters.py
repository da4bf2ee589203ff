"""Parameters of every stage kind except training; free of torch, so that planning stays fast."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.numerics import Precision
from pipeline.schema.strict import Strict
from pipeline.training.parameters import SnapshotChoice

ParentSnapshot = Annotated[
    SnapshotChoice,
    Field(
        description="which snapshot of the parent model: last, label_free (chosen by `select`), or its step"
    ),
]
TestMode = Literal["plain", "flip", "multiscale_flip", "compounded_flip", "aggregation", "sliding"]


class PrepareParameters(Strict):
    """Decode, check and resize one split of a dataset into a uint8 cache."""

    size: Annotated[
        tuple[Annotated[int, Field(ge=1, le=16384)], Annotated[int, Field(ge=1, le=16384)]] | None,
        Field(description="working width and height in pixels; none keeps every image's own size"),
    ] = None
    labels: Annotated[
        Literal["none", "working", "native"],
        Field(
            description="none never opens a label file; working resizes labels too; native keeps their size"
        ),
    ] = "none"
    resample: Annotated[
        Literal["bicubic", "bilinear"],
        Field(description="Pillow filter for images; labels are always nearest"),
    ] = "bicubic"
    names: Annotated[
        tuple[str, ...] | None, Field(description="only these images, in this order; none: the whole split")
    ] = None


class PassParameters(Strict):
    """What every kind that passes images through a network has."""

    batch: Annotated[
        int, Field(ge=1, description="images per forward pass; part of the key in `exact` only")
    ] = 1
    precision: Annotated[
        Precision | None,
        Field(description="arithmetic of the network's forward pass; none: that of its training"),
    ] = None


class RankParameters(PassParameters):
    """One pass of a model over target images: entropy, class presence and argmax map per image."""

    snapshot: ParentSnapshot = "last"


class SplitParameters(Strict):
    """Cut the ranked target images into easy and hard (Pan 2020, section 3.2)."""

    easy_share: Annotated[
        float,
        Field(
            alias="lambda", ge=0.0, le=1.0, description="share of images that is easy; k = int(N * lambda)"
        ),
    ] = 0.67
    ranking: Annotated[
        Literal["plain", "rare_code", "rare_paper"],
        Field(
            description="score: entropy, or entropy normalised by rare classes as in the code or the paper"
        ),
    ] = "plain"


class PseudolabelParameters(PassParameters):
    """Pseudo-labels for target images: argmax of the ranking's pass, or class-balanced thresholds (Zou 2018)."""

    labelling: Annotated[
        Literal["argmax", "thresholds"],
        Field(description="argmax keeps every pixel; thresholds keeps the confident share of each class"),
    ] = "argmax"
    snapshot: ParentSnapshot = "last"
    scope: Annotated[
        Literal["class", "global"], Field(description="one threshold per class (CBST) or one for all (ST)")
    ] = "class"
    portion: Annotated[float, Field(ge=0.0, le=1.0, description="share of pixels kept in round 0")] = 0.2
    portion_max: Annotated[
        float, Field(ge=0.0, le=1.0, description="the portion grows by 0.05 each round up to this")
    ] = 0.5
    round: Annotated[int, Field(ge=0, description="round number, set by the recipe's rounds block")] = 0
    stride: Annotated[
        int, Field(ge=1, description="every n-th pixel of a class and image enters the sample")
    ] = 1
    cap: Annotated[
        float | None, Field(gt=0.0, le=1.0, description="a threshold is never above this; none: no cap")
    ] = None
    test_mode: Annotated[
        Literal["plain", "reduced_flip"], Field(description="forward pass that makes the scores")
    ] = "plain"
    soft_alpha: Annotated[
        float | None,
        Field(
            gt=0.0, le=10.0, description="LRENT's alpha: soft labels, made at load time; none: one-hot labels"
        ),
    ] = None
    select_share: Annotated[
        float | None,
        Field(gt=0.0, le=1.0, description="only the top share of images by class-balanced confidence (CBS)"),
    ] = None

    @model_validator(mode="after")
    def _no_dead_options(self) -> "PseudolabelParameters":
        if self.labelling == "argmax":
            used = {"labelling", "snapshot", "round"}
            dead = [
                name
                for name in self.model_fields_set - used
                if getattr(self, name) != type(self).model_fields[name].default
            ]
            if dead:
                raise ValueError(f"{', '.join(sorted(dead))}: only with `labelling: thresholds`")
        if self.soft_alpha is not None and self.test_mode != "plain":
            raise ValueError(f"soft_alpha: soft labels need test_mode plain, not {self.test_mode}")
        if self.portion > self.portion_max:
            raise ValueError(f"portion {self.portion} is above portion_max {self.portion_max}")
        return self


class PriorParameters(Strict):
    """Spatial class priors from source labels (Zou 2018, CBST-SP)."""


class SelectParameters(PassParameters):
    """Score a training stage's snapshots on unlabelled target images; the highest H(mean p) - mean H(p) is chosen."""

    images: Annotated[int, Field(ge=0, description="evenly spaced target images used; 0: all")] = 0


class EvaluateParameters(PassParameters):
    """Confusion matrices of a model's snapshots on the labelled evaluation split."""

    test_mode: Annotated[TestMode, Field(description="how logits are made, named in every result")] = "plain"
    snapshots: Annotated[
        Literal["all", "last"],
        Field(description="all also gives label_free and oracle_best; last only the final step"),
    ] = "all"


class SuggestParameters(Strict):
    """Choose the target images that are most worth labelling: hardest and most diverse."""

    count: Annotated[int, Field(ge=1, description="number of images to suggest")] = 20
    candidates: Annotated[
        float,
        Field(gt=0.0, le=1.0, description="share of images, hardest first, that diversity chooses from"),
    ] = 0.5
