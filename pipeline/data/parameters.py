"""Parameters of augmentation; free of torch, so that planning stays fast."""

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.schema.strict import Strict

Share = Annotated[float, Field(ge=0.0, le=1.0)]
MAX_SIDE = 16384
"""Pixels; no image is worked on at a larger width or height."""
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Zoom = Annotated[float, Field(gt=0.0, le=16.0)]
UNCHANGED = (1.0, 1.0)


class Affine(Strict):
    """A small random rotation, shift, zoom and shear about the image's centre, for digits and the like."""

    degrees: Annotated[float, Field(ge=0.0, le=180.0, description="rotation, uniform in -d..d")] = 0.0
    translate: Annotated[
        Share, Field(description="shift is uniform up to this share of width and height, either way")
    ] = 0.0
    zoom: Annotated[
        tuple[Zoom, Zoom], Field(description="zoom is uniform between these; above 1 enlarges")
    ] = (
        1.0,
        1.0,
    )
    shear: Annotated[float, Field(ge=0.0, le=80.0, description="shear in degrees, uniform in -s..s")] = 0.0

    @model_validator(mode="after")
    def _has_effect(self) -> "Affine":
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"zoom: {list(self.zoom)} is not in order; write the smaller number first")
        if (self.degrees, self.translate, self.zoom, self.shear) == (0.0, 0.0, UNCHANGED, 0.0):
            raise ValueError("affine changes nothing; set degrees, translate, zoom or shear, or leave it out")
        return self


class Color(Strict):
    """Random changes of color and sharpness; labels stay as they are."""

    probability: Annotated[Share, Field(description="share of images that are changed at all")] = 1.0
    brightness: Annotated[Share, Field(description="factor is uniform in 1-b..1+b")] = 0.0
    contrast: Annotated[Share, Field(description="factor is uniform in 1-c..1+c, about the mean grey")] = 0.0
    saturation: Annotated[Share, Field(description="factor is uniform in 1-s..1+s, about grey")] = 0.0
    hue: Annotated[
        float, Field(ge=0.0, le=0.5, description="turn is uniform in -h..h of the color circle")
    ] = 0.0
    blur: Annotated[Share, Field(description="share of images blurred")] = 0.0
    blur_radius: Annotated[
        tuple[Zoom, Zoom],
        Field(description="Gaussian blur's deviation in pixels, between these"),
    ] = (0.3, 1.5)

    @model_validator(mode="after")
    def _has_effect(self) -> "Color":
        if self.blur_radius[0] > self.blur_radius[1]:
            raise ValueError(f"blur_radius: {list(self.blur_radius)} is not in order; smaller first")
        if not (self.brightness or self.contrast or self.saturation or self.hue or self.blur):
            raise ValueError("color changes nothing; set brightness, contrast, saturation, hue or blur")
        return self


class RareCrops(Strict):
    """Four of five crops around pixels of rare classes (Zou 2018, rare-class mining).

    Every class below a thousandth of all pixels is rare too, even beyond `classes`.
    """

    classes: Annotated[
        int,
        Field(ge=1, le=254, description="this many classes, those with the fewest pixels, are rare"),
    ] = 3


class RareSampling(Strict):
    """Rare-class sampling (Hoyer 2022, DAFormer): draw a class by its rarity, then an image and a crop that show it.

    Class c has probability softmax((1 - f) / temperature) over the classes, f being its share of labelled pixels.
    """

    share: Annotated[float, Field(gt=0.0, le=1.0, description="share of the draws that look for a class")] = (
        1.0
    )
    temperature: Annotated[
        float, Field(gt=0.0, le=100.0, description="the lower, the more often the rarest classes")
    ] = 0.01
    min_share: Annotated[
        float,
        Field(
            ge=0.0, lt=1.0, description="an image shows a class that has more than this share of its pixels"
        ),
    ] = 0.00325
    crop_share: Annotated[
        float | None,
        Field(
            ge=0.0,
            lt=1.0,
            description="draw crops until the class has more than this share of one's pixels, ten times at most; none: "
            "the crop lies around one of its pixels",
        ),
    ] = None


class Augmentation(Strict):
    """Random changes to the images of one domain; nothing is changed by default.

    In this order: style, affine, resize (`scale` or `shorter_side`), crop, flip, color. Images are bilinear and
    padded with the mean color right and below, labels nearest and padded with the ignore index 255.
    """

    crop: Annotated[
        tuple[Side, Side] | None, Field(description="width and height in pixels; smaller images are padded")
    ] = None
    scale: Annotated[
        tuple[Zoom, Zoom] | None, Field(description="resize by a factor uniform between these, both reached")
    ] = None
    scale_step: Annotated[
        float | None, Field(gt=0.0, description="only factors lo, lo + step, ..., hi; none: any between")
    ] = None
    shorter_side: Annotated[
        tuple[Side, Side] | None, Field(description="resize the shorter side to pixels uniform between these")
    ] = None
    flip: Annotated[Share, Field(description="share of images mirrored left to right")] = 0.0
    affine: Annotated[Affine | None, Field(description="small rotation, shift, zoom, shear")] = None
    color: Annotated[Color | None, Field(description="color jitter and blur")] = None
    rare_crops: Annotated[RareCrops | None, Field(description="crops around rare classes")] = None
    rare_sampling: Annotated[
        RareSampling | None, Field(description="images, and crops of them, that show rare classes")
    ] = None
    max_class_share: Annotated[
        float,
        Field(
            gt=0.0,
            le=1.0,
            description="draw crops until no class has this share of one's labelled pixels, ten times at most",
        ),
    ] = 1.0
    style: Annotated[
        Share,
        Field(
            description="share of source images that take the style of a target image: its colors' mean and spread"
        ),
    ] = 0.0
    style_band: Annotated[
        float | None,
        Field(
            ge=0.0,
            le=0.5,
            description="style is FDA's: the amplitudes of frequencies up to this share of the shorter side",
        ),
    ] = None

    @model_validator(mode="after")
    def _keys_fit(self) -> "Augmentation":
        if self.scale and self.shorter_side:
            raise ValueError("scale, shorter_side: both resize the image; choose one")
        for name in ("scale", "shorter_side"):
            ends = getattr(self, name)
            if ends and ends[0] > ends[1]:
                raise ValueError(f"{name}: {list(ends)} is not in order; write the smaller number first")
        if self.scale_step is not None:
            self._check_step(self.scale_step)
        if self.style_band is not None and not self.style:
            raise ValueError("style_band: only with `style`, the share of the images")
        if self.rare_crops and not self.crop:
            raise ValueError("rare_crops: needs `crop: [width, height]`")
        if self.rare_crops and self.affine:
            raise ValueError("rare_crops, affine: crops are aimed before the affine step; choose one")
        if self.rare_sampling and (self.rare_crops or self.affine):
            raise ValueError("rare_sampling: not with rare_crops or affine; choose one")
        if self.judges_crops:
            self._check_judged()
        return self

    @property
    def judges_crops(self) -> bool:
        """Whether crops are drawn again until what they show is wanted."""
        return self.max_class_share < 1.0 or bool(
            self.rare_sampling and self.rare_sampling.crop_share is not None
        )

    def _check_judged(self) -> None:
        if not self.crop:
            raise ValueError("max_class_share, crop_share: need `crop: [width, height]`")
        if self.affine:
            raise ValueError("max_class_share, affine: crops are judged before the affine step; choose one")
        if self.rare_crops or (self.rare_sampling and self.rare_sampling.crop_share is None):
            raise ValueError(
                "max_class_share: not with crops around a rare class; give rare_sampling a `crop_share`"
            )

    def _check_step(self, step: float) -> None:
        if self.scale is None:
            raise ValueError("scale_step: only with `scale`")
        steps = (self.scale[1] - self.scale[0]) / step
        if abs(steps - round(steps)) > 1e-6:
            raise ValueError(f"scale_step: {step} does not lead from {self.scale[0]} to {self.scale[1]}")

    def scale_factors(self) -> tuple[float, ...]:
        """The factors that `scale_step` allows, both ends of `scale` among them; () when any is allowed."""
        if self.scale is None or self.scale_step is None:
            return ()
        low, high = self.scale
        count = round((high - low) / self.scale_step)
        return (*(low + (high - low) * index / count for index in range(count)), high)
