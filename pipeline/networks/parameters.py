"""Parameters of networks; free of torch, so that planning stays fast."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.schema.names import nearest
from pipeline.schema.strict import Strict

OWN_BACKBONES = (
    "small",
    "resnet101_caffe",
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "lenet",
    "dtn",
)
TIMM = "timm/"
"""What stands before the name of one of timm's models."""
InputProfileName = Literal["torch", "caffe", "unit", "timm"]
BatchNormMode = Literal["frozen", "batch_frozen_affine", "train"]
Dilation = Annotated[int, Field(ge=1, le=64)]


def _backbone(name: str) -> str:
    """Refuse a name that is neither ours nor of the form `timm/<name>`."""
    if name not in OWN_BACKBONES and not (name.startswith(TIMM) and name != TIMM):
        raise ValueError(f"found {name!r}; {nearest(name, OWN_BACKBONES)}, and timm/<name> for timm's models")
    return name


class InputProfile(Strict):
    """How uint8 RGB images become network input: `(x / scale - mean) / std`, channels in `order`."""

    name: InputProfileName
    order: Literal["rgb", "bgr"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


PROFILES: dict[str, InputProfile] = {
    "torch": InputProfile(
        name="torch", order="rgb", scale=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    "caffe": InputProfile(
        name="caffe",
        order="bgr",
        scale=1.0,
        mean=(104.00698793, 116.66876762, 122.67891434),
        std=(1.0, 1.0, 1.0),
    ),
    "unit": InputProfile(name="unit", order="rgb", scale=255.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}
"""`docs/networks.md`, input profiles; `mean` and `std` are in the order of the network's channels.

Profile `timm` is missing: its numbers are those of the model, which only timm knows.
"""


class WeightsParameters(Strict):
    """Where the initial backbone weights come from; a stage's key holds the checksum, or the source without one."""

    source: Annotated[
        str,
        Field(
            description="`torchvision` or `timm` (downloaded by it), `pypi:<package>` (installed), a local path or "
            "a URL; may use ${VARS}"
        ),
    ]
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$", description="checksum of the file")] = None
    layout: Annotated[
        Literal["torchvision", "caffe_resnet", "timm", "efficientnet_lite"],
        Field(description="key names in the file, `docs/networks.md`"),
    ] = "torchvision"
    profile: Annotated[
        Literal["torch", "caffe", "timm"], Field(description="input profile the weights were trained with")
    ] = "torch"

    license: Annotated[str, Field(description="licence of the weights; of timm's files it is known")] = ""

    @model_validator(mode="before")
    @classmethod
    def _timms_own(cls, values: Any) -> Any:
        """What timm's own files have without being told."""
        if isinstance(values, dict) and values.get("source") == "timm":
            return {"layout": "timm", "profile": "timm"} | values
        return values

    @model_validator(mode="after")
    def _source_agrees(self) -> Self:
        if self.source == "torchvision" and (self.layout, self.profile) != ("torchvision", "torch"):
            raise ValueError(
                "source torchvision has layout torchvision and profile torch, "
                f"found layout {self.layout} and profile {self.profile}"
            )
        if self.source == "timm" and (self.layout, self.profile) != ("timm", "timm"):
            raise ValueError(
                f"source timm has layout timm and profile timm, found layout {self.layout} and profile {self.profile}"
            )
        if self.source.startswith(("http://", "https://")) and self.sha256 is None:
            raise ValueError("a URL needs sha256, so that another file behind it is noticed")
        return self


class NetworkParameters(Strict):
    """The network of an experiment."""

    backbone: Annotated[
        str,
        AfterValidator(_backbone),
        Field(
            description="what turns images into the feature grid: `" + "`, `".join(OWN_BACKBONES) + "`, or "
            "`timm/<name>` for one of timm's models; small, lenet and dtn learn from scratch"
        ),
    ]
    output_stride: Annotated[
        Literal[8, 14, 16, 32],
        Field(description="input pixels per cell of the feature grid; a ViT's is the side of its patches"),
    ] = 8
    head: Annotated[
        Literal["aspp", "daformer", "vit_light"],
        Field(description="main head: ASPP-sum, DAFormer's over all levels, or a light one for plain ViTs"),
    ] = "aspp"
    resolutions: Annotated[
        Literal["one", "two"],
        Field(description="two: context at half the size, details at full size (HRDA); with head daformer"),
    ] = "one"
    dilations: Annotated[
        tuple[Dilation, ...],
        Field(min_length=1, description="dilations of the ASPP-sum head, or of DAFormer's"),
    ] = (6, 12, 18, 24)
    aspp: Annotated[
        Literal["all", "legacy_two"], Field(description="branches evaluated; legacy_two: only the first two")
    ] = "all"
    head_bias: Annotated[bool, Field(description="heads have a bias (PLCA: false)")] = True
    levels: Annotated[Literal["single", "multi"], Field(description="multi adds the aux head")] = "single"
    skip: Annotated[
        bool, Field(description="one low-level skip into the main head, whose logits then have stride 4")
    ] = False
    batch_norm: Annotated[BatchNormMode, Field(description="BatchNorm mode")] = "frozen"
    align_corners: Annotated[bool, Field(description="bilinear up-sampling of logits")] = True
    profile: Annotated[InputProfileName, Field(description="input normalisation")] = "torch"
    weights: Annotated[
        WeightsParameters | None, Field(description="initial backbone weights; none: random")
    ] = None
    freeze_below: Annotated[
        Annotated[int, Field(ge=2, le=32)] | None,
        Field(
            description="stride up to which the backbone stays as it starts, BatchNorm too; strides as before "
            "any dilation; none: all of it is trained"
        ),
    ] = None

    drop_path: Annotated[
        float,
        Field(
            ge=0.0,
            lt=1.0,
            description="share of images that skip the last block, growing from 0 in the first",
        ),
    ] = 0.0

    layer_decay: Annotated[
        float,
        Field(
            gt=0.0,
            le=1.0,
            description="learning rate of each part of the backbone over that of the next part",
        ),
    ] = 1.0
    checkpointing: Annotated[
        bool,
        Field(description="compute the backbone's activations again for the gradient: less memory, slower"),
    ] = False
    freeze_blocks: Annotated[
        Annotated[int, Field(ge=0, le=64)] | None,
        Field(
            description="first blocks of a ViT that stay as they start, with the embeddings; none: all are trained"
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _timms_profile(cls, values: Any) -> Any:
        """A model of timm reads what timm says unless told."""
        if isinstance(values, dict) and str(values.get("backbone")).startswith(TIMM):
            return {"profile": "timm"} | values
        return values

    @model_validator(mode="after")
    def _weights_agree(self) -> Self:
        if self.weights is None:
            return self
        if self.weights.profile != self.profile:
            raise ValueError(
                f"the weights were trained with profile {self.weights.profile}, the network has profile "
                f"{self.profile}; images must be normalised as they were for the weights, make the two equal"
            )
        if self.weights.layout == "caffe_resnet" and self.backbone != "resnet101_caffe":
            raise ValueError(
                f"weights of layout caffe_resnet need backbone resnet101_caffe, found {self.backbone}"
            )
        if (self.weights.layout in ("timm", "efficientnet_lite")) != self.backbone.startswith(TIMM):
            raise ValueError(
                f"weights of layout {self.weights.layout} do not fit backbone {self.backbone}: layouts timm and "
                "efficientnet_lite belong to timm's models"
            )
        return self

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> Self:
        """Refuse options that the chosen backbone would ignore."""
        fixed = {} if self.backbone.startswith(TIMM) else _TIMMS_OWN | _FIXED.get(self.backbone, {})
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"backbone {self.backbone} takes only {name}: {value}, found {getattr(self, name)}"
                )
        if not self.backbone.startswith(TIMM) and (
            self.output_stride not in (8, 16) or self.profile == "timm"
        ):
            raise ValueError(
                f"backbone {self.backbone} takes only output_stride 8 or 16 and a profile of ours, found "
                f"{self.output_stride} and {self.profile}"
            )
        for name, value in _OF_ASPP.items() if self.head != "aspp" else ():
            if getattr(self, name) != value:
                raise ValueError(f"head {self.head} takes only {name}: {value}, found {getattr(self, name)}")
        unread = self.head == "vit_light" and self.levels == "single"
        if unread and self.dilations != type(self).model_fields["dilations"].default:
            raise ValueError("head vit_light has no dilations: leave `dilations` out")
        if self.head == "daformer" and self.batch_norm != "train":
            raise ValueError(
                f"head daformer has BatchNorm that starts untrained: it needs batch_norm: train, found {self.batch_norm}"
            )
        if self.resolutions == "two" and (self.head, self.levels) != ("daformer", "single"):
            raise ValueError(
                f"resolutions two needs head: daformer and levels: single, found {self.head} and {self.levels}"
            )
        if self.aspp == "legacy_two" and len(self.dilations) < 3:
            raise ValueError(
                "aspp legacy_two leaves out branches after the second: it needs at least 3 dilations"
            )
        return self


_DIGITS = {
    "output_stride": 8,
    "dilations": (6, 12, 18, 24),
    "aspp": "all",
    "head_bias": True,
    "levels": "single",
    "skip": False,
    "align_corners": True,
    "weights": None,
}
CLASSIFIERS = ("lenet", "dtn")
"""Backbones of one pixel: one answer per image, no grid of features."""

_FIXED: dict[str, dict[str, object]] = {
    "small": {"output_stride": 8, "batch_norm": "frozen", "weights": None},
    "resnet101_caffe": {"output_stride": 8, "skip": False},
    "lenet": {**_DIGITS, "batch_norm": "frozen"},
    "dtn": _DIGITS,
}
"""Options that a backbone does not have, at the only value (the default) that it accepts."""

_TIMMS_OWN: dict[str, object] = {
    "head": "aspp",
    "drop_path": 0.0,
    "layer_decay": 1.0,
    "checkpointing": False,
    "freeze_blocks": None,
}
"""Options of timm's models alone."""

_OF_ASPP: dict[str, object] = {"aspp": "all", "head_bias": True, "skip": False}
"""Options that only the ASPP-sum has."""
