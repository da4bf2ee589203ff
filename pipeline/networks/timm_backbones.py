"""Models of timm as encoders: those whose stages double their stride, such as PVTv2, ConvNeXt or EfficientNet.

Tensor names below `backbone.model.` are timm's own. Images whose
sides are no multiple of the output stride are enlarged to one, so that every cell covers as many pixels.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.encoder import Channels, Encoder, EncoderNetwork, Features
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.timm_models import (
    Reading,
    create_model,
    padding_of_whole_cells,
    profile_of,
    reading_of,
    whole_cells,
)
from pipeline.networks.timm_names import check_timm_name
from pipeline.networks.two_resolutions import TwoResolutions
from pipeline.networks.vit_backbones import VitEncoder

SKIP_WIDTH = 64


class TimmEncoder(Encoder):
    """A model whose stages double their stride; `low` is its map of stride 4."""

    def __init__(self, parameters: NetworkParameters, reading: Reading) -> None:
        super().__init__()
        self.name = parameters.backbone
        self.model = create_model(
            parameters,
            **reading.options,
            drop_path_rate=parameters.drop_path or None,
            output_stride=parameters.output_stride if parameters.output_stride < 32 else None,
        )
        self.profile = profile_of(self.model)
        self.stride = parameters.output_stride
        info = list(self.model.feature_info)
        strides = [level["reduction"] for level in info]
        _check_levels(parameters, strides)
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
        """Compute the maps of all levels; ConfigError where the model does not read images of this size."""
        whole = whole_cells(images, self.stride)
        try:
            with padding_of_whole_cells():
                maps = self.model.forward_intermediates(whole, indices=self.indices, intermediates_only=True)
        except AssertionError as error:
            size = f"{whole.shape[-1]}x{whole.shape[-2]}"
            raise ConfigError(
                f"backbone {self.name} does not read images of {size} pixels in timm ({error or 'refused'}); choose "
                "another model"
            ) from error
        return Features(maps[self.fine], maps[-2], maps[-1], tuple(maps[self.fine :]))


def _check_levels(parameters: NetworkParameters, strides: Sequence[int]) -> None:
    """Refuse a model whose maps are none of stride 4 to the output stride, and blocks of what has stages."""
    name = parameters.backbone
    if parameters.freeze_blocks is not None:
        raise ConfigError(f"backbone {name} has stages: it takes no `freeze_blocks`; use `freeze_below`")
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
    check_timm_name(parameters.backbone, "backbone")
    reading = reading_of(parameters.backbone)
    if reading.plain and parameters.resolutions == "two":
        raise ConfigError(
            f"resolutions two needs a backbone with a map of stride 4, and {parameters.backbone} has one grid; choose a "
            "hierarchical one such as timm/pvt_v2_b5"
        )
    encoder = (VitEncoder if reading.plain else TimmEncoder)(parameters, reading)
    kind = TwoResolutions if parameters.resolutions == "two" else EncoderNetwork
    network = kind(parameters, num_classes, encoder, SKIP_WIDTH)
    if parameters.profile == "timm":
        network.profile = encoder.profile
    return network
