"""What encoders of timm's models share: making the model, its input profile, and images of whole cells."""

from math import ceil
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.parameters import TIMM, InputProfile, NetworkParameters
from pipeline.networks.timm_names import check_timm_name


def create_model(parameters: NetworkParameters, **options: Any) -> Any:
    """Make timm's model of that name with random weights from torch's current generator.

    Raises ConfigError for an unknown name, or an option that this model does not have.
    """
    import timm  # slow to import, and other networks do without

    check_timm_name(parameters.backbone, "backbone")
    name = parameters.backbone.removeprefix(TIMM)
    given = {key: value for key, value in options.items() if value is not None}
    try:
        model: Any = timm.create_model(name, pretrained=False, **given)
    except (AssertionError, TypeError) as error:
        if "dynamic_img_size" in str(error):
            raise ConfigError(
                f"backbone {parameters.backbone} reads images of one size in timm; choose another model"
            ) from error
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


def reads_one_size(backbone: str) -> bool:
    """Whether the model's published weights were made for one size of images, as a plain ViT's are."""
    import timm

    said = timm.get_pretrained_cfg(backbone.removeprefix(TIMM))
    return said is not None and bool(said.fixed_input_size)


def profile_of(model: Any) -> InputProfile:
    """The normalisation that the model's published weights were trained with."""
    said = model.pretrained_cfg
    return InputProfile(name="timm", order="rgb", scale=255.0, mean=said["mean"], std=said["std"])


def whole_cells(images: Tensor, stride: int) -> Tensor:
    """Images enlarged (bilinear) to the next multiples of `stride`; as they are where they have them."""
    size = [stride * ceil(side / stride) for side in images.shape[-2:]]
    if list(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)
