"""What methods, passes and stages know of a network."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.networks.batch_norm import apply_mode, batch_norm_layers
from pipeline.networks.heads import AsppSum
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import PROFILES, BatchNormMode, InputProfile, NetworkParameters
from pipeline.numerics import Precision
from pipeline.numerics.upsampling import Enlarged, upsample


class Detail(NamedTuple):
    """Logits (B, K, h, w) of a window of the images: these rows and columns of their pixels."""

    logits: Tensor
    rows: slice
    columns: slice


class Output(NamedTuple):
    """One forward pass: logits (B, K, h, w) on the network's own grid, never up-sampled.

    `main` always; `aux` only from a multi-level network; `feature` (B, C, h, w) is the map that the main
    head reads; `skip` is the low-level map that it reads too, or None. `classify(feature, skip)` is `main`. `detail`: a
    window's own logits, from a network of two resolutions in training.
    """

    main: Tensor
    aux: Tensor | None
    feature: Tensor
    skip: Tensor | None = None
    detail: Detail | None = None


class SegmentationNetwork(nn.Module):
    """Base class of all networks: `forward(images) -> Output`.

    `images` are float32 (B, 3, H, W), normalised by `profile`. Subclasses set every attribute below, most of
    them through `describe`.
    """

    parameters_spec: NetworkParameters
    profile: InputProfile
    output_stride: int
    num_classes: int
    feature_channels: int
    align_corners: bool
    head_roles: Mapping[str, str] = MappingProxyType({})
    """Sub-module name of each head by role, `main` and perhaps `aux`; all else is the backbone."""
    backbone_prefix: str = ""
    """What stands before the backbone's own tensor names in the state dict."""
    batch_norm_mode: BatchNormMode = "train"
    """What `train()` does to BatchNorm, see `pipeline.networks.batch_norm`; set by `build_network`."""
    frozen_parts: tuple[str, ...] = ()
    """Names of the sub-modules that `freeze_below` keeps as they start; set by `build_network`."""
    precision: Precision = "tf32"
    """Arithmetic that the network was trained in, and is used in unless told."""
    token_stride: int | None = None
    """Side in pixels of the patches that `forward(images, token_mask)` can mask; None: it cannot."""
    weights_license: str = ""
    """Licence of the initial weights, also of those that an earlier stage started from; "" where unknown or none."""
    single_pixel: bool = False
    """Logits are always (B, K, 1, 1): a classifier."""
    any_size: bool = True
    """Takes images of any height and width when it predicts."""
    same_kernels: bool = True
    """Each pass over images of one size launches the same kernels, so that it can be recorded."""
    one_size_when_traced: str = ""
    """Why a program that is traced from it serves images of one size; "" where it may serve any."""

    def describe(self, parameters: NetworkParameters, num_classes: int) -> None:
        """Set the attributes that follow from the parameters."""
        self.parameters_spec = parameters
        if parameters.profile in PROFILES:  # else the subclass knows
            self.profile = PROFILES[parameters.profile]
        self.output_stride = parameters.output_stride
        self.num_classes = num_classes
        self.align_corners = parameters.align_corners

    def forward(self, images: Tensor) -> Output:
        """Compute the logits of a batch."""
        raise NotImplementedError

    def logits(self, images: Tensor) -> Tensor:
        """Compute the main logits of uint8 RGB images (B, 3, H, W) on the network's grid: float32 (B, K, h, w)."""
        return self(normalise(images, self.profile)).main.float()

    def last_map(self, images: Tensor) -> Tensor:
        """Compute `feature` alone."""
        output: Output = self(images)
        return output.feature

    def classify(self, feature: Tensor, skip: Tensor | None = None) -> Tensor:
        """Run the main head alone on a feature map, and its skip map where the network has one."""
        raise NotImplementedError

    def class_bias(self) -> Tensor | None:
        """Find the main head's bias (K,), which is added to the logits everywhere; None for a head without one."""
        head = self.get_submodule(self.head_roles["main"])
        used = head.last if isinstance(head, AsppSum) else head
        layers = [layer for layer in used.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        return layers[-1].bias

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.parameters()).device

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Every trainable backbone tensor exactly once."""
        return self._trainable(of_heads=False)

    def backbone_groups(self) -> Iterator[tuple[float, list[nn.Parameter]]]:
        """The backbone's trainable tensors by the factor of their learning rate."""
        yield 1.0, list(self.backbone_parameters())

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Every trainable head tensor exactly once."""
        return self._trainable(of_heads=True)

    def backbone_parts(self) -> Iterator[tuple[str, int]]:
        """Names of the backbone's sub-modules in order, and the stride of each before any dilation."""
        raise NotImplementedError

    def freeze_below(self, stride: int) -> None:
        """Keep the backbone's parts up to `stride` as they are: no gradients, constant statistics."""
        self.freeze_parts([name for name, own in self.backbone_parts() if own <= stride])

    def freeze_parts(self, names: Iterable[str]) -> None:
        """Keep these sub-modules as they are."""
        self.frozen_parts = tuple(names)
        for name in self.frozen_parts:
            self.get_submodule(name).requires_grad_(False)

    def _trainable(self, of_heads: bool) -> Iterator[nn.Parameter]:
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and self.belongs_to_head(name) == of_heads:
                yield parameter

    def belongs_to_head(self, tensor_name: str) -> bool:
        """Say whether a name of the state dict belongs to a head."""
        return tensor_name.split(".", 1)[0] in self.head_roles.values()

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; BatchNorm follows `batch_norm_mode`, frozen parts stay in evaluation."""
        super().train(mode)
        apply_mode(self, self.batch_norm_mode)
        for name in self.frozen_parts:
            self.get_submodule(name).eval()
        return self

    def frozen_batch_norm(self) -> list[_BatchNorm]:
        """All BatchNorm layers whose scale, shift and statistics are constants in training."""
        if self.batch_norm_mode == "frozen":
            return batch_norm_layers(self)
        parts = [self.get_submodule(name) for name in self.frozen_parts]
        return [layer for part in parts for layer in batch_norm_layers(part)]

    def label_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the label map of an image of that size; a classifier's has one pixel."""
        return (1, 1) if self.single_pixel else image_size

    def upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize logits (B, K, h, w) to `size` (height, width) bilinearly, in float32, as in training."""
        return upsample(logits.float(), size, self.align_corners)

    def enlarged(self, logits: Tensor, size: tuple[int, int]) -> Enlarged:
        """Resize as `upsample` does, without gradient, some rows at a time."""
        return Enlarged(logits.float(), size, self.align_corners)
