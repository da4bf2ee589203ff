"""Models of timm as encoders: those whose stages double their stride, such as PVTv2, ConvNeXt or EfficientNet.

timm is imported here and in `vit_backbones.py` alone. Tensor names below `backbone.model.` are timm's own. Images whose
sides are no multiple of the output stride are enlarged to one, so that every cell covers as many pixels.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.encoder import Channels, Encoder, EncoderNetwork, Features
from pipeline.networks.parameters import TIMM, InputProfile, NetworkParameters
from pipeline.networks.timm_names import check_timm_name

SKIP_WIDTH = 64


def create_model(parameters: NetworkParameters, **options: Any) -> Any:
    """Make timm's model of that name with random weights from torch's current generator.

    Raises ConfigError for an unknown name, or an option that this model does not have.
    """
    import timm  # slow to import, and other networks do without

    check_timm_name(parameters.backbone, "backbone")
    name = parameters.backbone.removeprefix(TIMM)
    given = {key: value for key, value in options.items() if value is not None}
    try:
        model = timm.create_model(name, pretrained=False, **given)
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
    return model


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


class TimmEncoder(Encoder):
    """A model whose stages double their stride; `low` is its map of stride 4."""

    def __init__(self, parameters: NetworkParameters) -> None:
        super().__init__()
        self.model = create_model(
            parameters,
            drop_path_rate=parameters.drop_path or None,
            output_stride=parameters.output_stride if parameters.output_stride < 32 else None,
        )
        self.profile = profile_of(self.model)
        self.stride = parameters.output_stride
        info = list(self.model.feature_info)
        strides = [level["reduction"] for level in info]
        _check_levels(parameters, self.model, strides)
        self.ends = [level["module"] for level in info]
        self.first_stride = strides[0]
        self.indices = self.model.prune_intermediate_layers(
            list(range(len(info))), prune_norm=True, prune_head=True
        )
        self.fine = strides.index(4)
        counts = [level["num_chs"] for level in info]
        self.channels = Channels(counts[self.fine], counts[-2], counts[-1], tuple(counts[self.fine :]))

    def parts(self) -> Iterator[tuple[str, int]]:
        """The largest sub-modules that lie within one level, each with the level's stride."""
        passed = 0
        for name in _parts(self.model, "", self.ends):
            yield f"model.{name}", self.first_stride * 2 ** min(passed, len(self.ends) - 1)
            passed += name in self.ends
            if passed == len(self.ends):
                return

    def forward(self, images: Tensor) -> Features:
        """Compute the maps of all levels."""
        maps = self.model.forward_intermediates(
            whole_cells(images, self.stride), indices=self.indices, intermediates_only=True
        )
        return Features(maps[self.fine], maps[-2], maps[-1], tuple(maps[self.fine :]))


def _check_levels(parameters: NetworkParameters, model: Any, strides: Sequence[int]) -> None:
    """Refuse a model that reads one size only, or whose maps are none of stride 4 to the output stride."""
    name = parameters.backbone
    if model.pretrained_cfg["fixed_input_size"]:
        raise ConfigError(f"backbone {name} reads images of one size in timm; choose another model")
    if 4 not in strides or len(strides) < 3:
        raise ConfigError(
            f"backbone {name} has maps of strides {', '.join(map(str, strides))}; it takes a map of stride 4 and "
            "two more levels, choose another model"
        )
    if strides[-1] != parameters.output_stride:
        raise ConfigError(
            f"backbone {name} has output stride {strides[-1]}, found output_stride: {parameters.output_stride}; "
            f"write output_stride: {strides[-1]}"
        )


def _parts(module: nn.Module, prefix: str, ends: Sequence[str]) -> Iterator[str]:
    """Names of the largest sub-modules inside which no level ends."""
    for name, child in module.named_children():
        path = prefix + name
        if any(end.startswith(f"{path}.") for end in ends):
            yield from _parts(child, f"{path}.", ends)
        else:
            yield path


def build_timm_network(parameters: NetworkParameters, num_classes: int) -> EncoderNetwork:
    """Make a network on one of timm's models with random weights."""
    encoder = TimmEncoder(parameters)
    network = EncoderNetwork(parameters, num_classes, encoder, SKIP_WIDTH)
    if parameters.profile == "timm":
        network.profile = encoder.profile
    return network
