"""What encoders of timm's models share: making the model, its input profile, and images of whole cells."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.parameters import TIMM, InputProfile, NetworkParameters

ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})
"""timm's options by which a model made for one size takes others, newest first."""
OTHER_SIZE = (192, 320)
"""Height and width that no model of timm is made for; windows of 7, 8 or 16 cells do not fill all its maps."""


def create_model(parameters: NetworkParameters, **options: Any) -> Any:
    """Make timm's model of that name with random weights from torch's current generator.

    Raises ConfigError for an option that this model does not have.
    """
    import timm  # slow to import, and other networks do without

    name = parameters.backbone.removeprefix(TIMM)
    given = {key: value for key, value in options.items() if value is not None}
    try:
        model: Any = timm.create_model(name, pretrained=False, **given)
    except (AssertionError, TypeError) as error:
        if isinstance(error, TypeError) and not any(f"'{key}'" in str(error) for key in given):
            raise
        raise ConfigError(
            f"timm cannot make {name} with {', '.join(f'{key}={value}' for key, value in given.items())} "
            f"({error or 'refused'}); give it the output_stride that it is made with, mostly 32, and no option that "
            "it lacks, or choose another model"
        ) from error
    if not (hasattr(model, "forward_intermediates") and getattr(model, "feature_info", None)):
        raise ConfigError(
            f"backbone {parameters.backbone} has no maps of features in timm; choose another model"
        )
    if parameters.checkpointing:
        model.set_grad_checkpointing()
    return model


@dataclass(frozen=True)
class Reading:
    """How a model takes images of any size: options of timm's, and whether all its blocks share one grid."""

    options: dict[str, Any]
    plain: bool


def reading_of(backbone: str) -> Reading:
    """How timm lets a model read images of any size, found without memory.

    Raises ConfigError for one that reads images of one size.
    """
    import timm

    name = backbone.removeprefix(TIMM)
    said = timm.get_pretrained_cfg(name)
    if said is None or not said.fixed_input_size:
        return Reading({}, plain=False)
    with torch.device("meta"):
        options, model = _made_for_any_size(name)
    strides = [level["reduction"] for level in getattr(model, "feature_info", None) or []]
    reading = Reading(options, plain=len(set(strides)) == 1)
    why_not = "no option for other sizes" if reading.plain else _why_one_size(model, strides)
    if not options and why_not:
        raise ConfigError(
            f"backbone {backbone} reads images of one size in timm ({why_not}); choose another model"
        )
    return reading


def _made_for_any_size(name: str) -> tuple[dict[str, Any], Any]:
    """The first of timm's options for images of any size that a model has, and the model."""
    import timm

    for options in ANY_SIZE:
        try:
            return options, timm.create_model(name, pretrained=False, **options)
        except TypeError as error:
            if not any(key in str(error) for key in options):
                raise
    return {}, timm.create_model(name, pretrained=False)


def _why_one_size(model: Any, strides: Sequence[int]) -> str:
    """What a model says to images of another size than its weights', or "" where its maps are right."""
    height, width = OTHER_SIZE
    if not hasattr(model, "forward_intermediates"):
        return ""
    try:
        maps = model.eval().forward_intermediates(
            torch.empty(1, 3, height, width, device="meta"), intermediates_only=True
        )
    except (AssertionError, RuntimeError) as error:
        return f"to {width}x{height} pixels it says: {(str(error) or type(error).__name__).splitlines()[0]}"
    sizes = [tuple(level.shape[-2:]) for level in maps]
    wanted = [(height // stride, width // stride) for stride in strides]
    return "" if sizes == wanted else f"of {width}x{height} pixels it makes maps of {sizes}"


def profile_of(model: Any) -> InputProfile:
    """The normalisation that the model's published weights were trained with."""
    said = model.pretrained_cfg
    return InputProfile(name="timm", order="rgb", scale=255.0, mean=said["mean"], std=said["std"])


def whole_cells(images: Tensor, stride: int) -> Tensor:
    """Images enlarged (bilinear) to the next multiples of `stride`; as they are where they have them."""
    size = [(side + stride - 1) // stride * stride for side in images.shape[-2:]]
    # An exported program is for any size: a comparison would limit it to sizes of the traced one's kind.
    if not torch.compiler.is_exporting() and list(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


@contextmanager
def padding_of_whole_cells() -> Iterator[None]:
    """While a program is exported, timm's layers that pad as TensorFlow does pad by a constant.

    It is that of sides which are multiples of the layer's stride, as `whole_cells` makes them. timm's own formula
    reads the size of each map, and to trace that for any size takes for ever.
    """
    if not torch.compiler.is_exporting():
        yield
        return
    from timm.layers import padding

    before = padding.get_same_padding
    padding.get_same_padding = lambda x, kernel_size, stride, dilation: max(
        (kernel_size - 1) * dilation + 1 - stride, 0
    )
    try:
        yield
    finally:
        padding.get_same_padding = before
