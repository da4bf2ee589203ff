"""Parameters of networks; free of torch, so that planning stays fast."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.schema.strict import Strict

InputProfileName = Literal["torch", "caffe", "unit"]
BatchNormMode = Literal["frozen", "batch_frozen_affine", "train"]
Dilation = Annotated[int, Field(ge=1, le=64)]


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
"""`docs/networks.md`, input profiles; `mean` and `std` are in the order of the network's channels."""


class WeightsParameters(Strict):
    """Where the initial backbone weights come from; a stage's key holds the checksum, or the source without one."""

    source: Annotated[
        str,
        Field(
            description="`torchvision` (downloaded by torchvision), a local path or a URL; may use ${VARS}"
        ),
    ]
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$", description="checksum of the file")] = None
    layout: Annotated[
        Literal["torchvision", "caffe_resnet"],
        Field(description="key names in the file, `docs/networks.md`"),
    ] = "torchvision"
    profile: Annotated[
        Literal["torch", "caffe"], Field(description="input profile the weights were trained with")
    ] = "torch"

    @model_validator(mode="after")
    def _source_agrees(self) -> Self:
        if self.source == "torchvision" and (self.layout, self.profile) != ("torchvision", "torch"):
            raise ValueError(
                "source torchvision has layout torchvision and profile torch, "
                f"found layout {self.layout} and profile {self.profile}"
            )
        if self.source.startswith(("http://", "https://")) and self.sha256 is None:
            raise ValueError("a URL needs sha256, so that another file behind it is noticed")
        return self


class NetworkParameters(Strict):
    """The network of an experiment."""

    backbone: Annotated[
        Literal[
            "small",
            "resnet101_caffe",
            "resnet18",
            "resnet50",
            "mobilenet_v2",
            "mobilenet_v3_large",
            "lenet",
            "dtn",
        ],
        Field(description="what turns images into the feature grid; small, lenet and dtn learn from scratch"),
    ]
    output_stride: Annotated[
        Literal[8, 16], Field(description="input pixels per cell of the feature grid")
    ] = 8
    dilations: Annotated[
        tuple[Dilation, ...], Field(min_length=1, description="dilations of the ASPP-sum head")
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
        return self

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> Self:
        """Refuse options that the chosen backbone would ignore."""
        allowed = _FIXED.get(self.backbone, {})
        for name, value in allowed.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"backbone {self.backbone} takes only {name}: {value}, found {getattr(self, name)}"
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
