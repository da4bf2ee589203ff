"""Test modes: the named ways from uint8 images to logits at a wanted size.

Every result carries the name of the test mode it was made with (`docs/protocol.md`, evaluation). A mode
works in two steps, so that a pass can keep the small maps and merge them again later: `maps` runs the network
and returns what it said on its own grids, `merge` brings those grids to the wanted size, some rows at a time.
The order is always up-sample first, softmax or argmax after.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.normalise import normalise
from pipeline.numerics import Size
from pipeline.numerics.aggregation import aggregate_cosine, aggregate_kl
from pipeline.numerics.upsampling import row_strips

RowsOf = Callable[[slice], Tensor]
"""Makes rows of logits at the wanted size: float32 (B, K, rows, W), a tensor of its own."""


class Mode(Protocol):
    """A test mode; stateless, so one object serves any number of images."""

    @property
    def name(self) -> str:
        """The name that configurations and results carry."""
        ...

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Run the network on `images`, uint8 (B, 3, H, W) RGB on its device; float32 (B, K, h, w) maps."""
        ...

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> RowsOf:
        """Turn the maps of images of `image_size` into logits, of which any rows of `size` can be made."""
        ...


@dataclass(frozen=True)
class Logits:
    """What a mode says of B images of `image_size` at `size`, made where it is read, strip by strip.

    Logits at the size of a label map are large and are read once: a strip lies in the processor's cache while
    it is reduced to what is wanted of it. `maps`: what the network said on its own grids.
    """

    mode: Mode
    network: SegmentationNetwork
    maps: Sequence[Tensor]
    image_size: Size
    size: Size

    def strips(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows of the size with their logits, float32 (B, K, rows, W), from the top to the bottom."""
        rows_of = self.mode.merge(self.network, self.maps, self.image_size, self.size)
        batch, classes, device = len(self.maps[0]), self.maps[0].shape[1], self.maps[0].device
        for rows in row_strips(self.size[0], batch * classes * self.size[1], device):
            yield rows, rows_of(rows)

    def whole(self) -> Tensor:
        """All rows: float32 (B, K, *size)."""
        return self.mode.merge(self.network, self.maps, self.image_size, self.size)(slice(0, self.size[0]))


def logits_at(mode: Mode, network: SegmentationNetwork, images: Tensor, size: Size) -> Tensor:
    """Compute the logits of uint8 images (B, 3, H, W) at `size`: float32 (B, K, *size), every image scored.

    The caller has put the network into eval mode and switched gradients off.
    """
    height, width = images.shape[-2:]
    return Logits(mode, network, mode.maps(network, images), (height, width), size).whole()


@dataclass(frozen=True)
class Plain:
    """One forward pass at the image's size, no mirror image."""

    name: str = "plain"

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Return the main logits on the network's grid."""
        return [network.logits(images)]

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> RowsOf:
        """Up-sample the logits."""
        return network.enlarged(maps[0], size).rows


@dataclass(frozen=True)
class MultiscaleFlip:
    """Mean of the logits over scales and mirror images; every scale is made from the original image.

    Images are scaled with the network's own `align_corners`. Source: Zou et al., CRST, ICCV 2019, the test within
    the released training code, whose network aligns corners. Sizes are rounded to whole pixels.
    """

    scales: tuple[float, ...] = (0.9, 1.0, 1.2)
    name: str = "multiscale_flip"

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Return for each scale the logits of the image and of its mirror image, turned back."""
        maps: list[Tensor] = []
        for scaled in self.scaled(normalise(images, network.profile), network.align_corners):
            maps.append(network(scaled).main.float())
            maps.append(network(scaled.flip(-1)).main.float().flip(-1))
        return maps

    def scaled(self, images: Tensor, align_corners: bool) -> Iterator[Tensor]:
        """The normalised images at each scale."""
        return (_scaled(images, scale, align_corners) for scale in self.scales)

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> RowsOf:
        """Average the up-sampled logits with equal weights."""
        all_maps = [network.enlarged(logits, size) for logits in maps]
        return lambda rows: _sum(one.rows(rows) for one in all_maps).div_(len(all_maps))


@dataclass(frozen=True)
class CompoundedFlip(MultiscaleFlip):
    """As `MultiscaleFlip`, but every scale is made from the image of the scale before: 0.9, 0.9 and 1.08.

    Source: the same, the released evaluation script.
    """

    name: str = "compounded_flip"

    def scaled(self, images: Tensor, align_corners: bool) -> Iterator[Tensor]:
        """The normalised images, each scaled from the one before."""
        for scale in self.scales:
            images = _scaled(images, scale, align_corners)
            yield images


@dataclass(frozen=True)
class ReducedFlip:
    """Mean of the softmax maps of a reduced image and its mirror image, averaged after up-sampling.

    What is returned is the logarithm of the mean, whose softmax is the mean itself.
    Source: Zou et al., CRST, ICCV 2019, released pseudo-label pass (scale 0.9: 1843x922 of 2048x1024).
    """

    scale: float = 0.9
    name: str = "reduced_flip"

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Return the logits of the reduced image and of its mirror image, turned back."""
        reduced = _scaled(normalise(images, network.profile), self.scale, align_corners=False)
        mirrored = network(reduced.flip(-1)).main.float().flip(-1)
        return [network(reduced).main.float(), mirrored]

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> RowsOf:
        """Up-sample the logits, average their softmax, take the logarithm."""
        all_maps = [network.enlarged(logits, size) for logits in maps]

        def rows_of(rows: slice) -> Tensor:
            total = _sum(torch.softmax(one.rows(rows), dim=1) for one in all_maps)
            return _log(total.div_(len(all_maps)))

        return rows_of


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    """Add tensors in their order into the first."""
    total, *others = tensors
    for one in others:
        total += one
    return total


def _log(probability: Tensor) -> Tensor:
    """Logarithm of probabilities in place, finite where one is 0."""
    return probability.clamp_(min=torch.finfo(torch.float32).tiny).log_()


def _scaled(images: Tensor, scale: float, align_corners: bool) -> Tensor:
    """Resize normalised images bilinearly, without antialiasing.

    Not as products with matrices: an image's sides are long, and nothing here has a gradient.
    """
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    if size == list(images.shape[-2:]):
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=align_corners)


@dataclass(frozen=True)
class Aggregation:
    """PLCA's published test: features and probabilities mixed with their aggregation over the image.

    f' = (1 - a) f + a Agg_cos(f); p = softmax(head(f')); p' = (1 - a) p + a Agg_kl(p); p' is up-sampled as
    logits are. What is returned is ln p', whose softmax is p' itself. Source: Kang et al., NeurIPS 2020,
    released test script. Memory grows with the pixels of the grid, not with their square.
    """

    share: float = 0.5
    name: str = "aggregation"

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Return the aggregated probabilities on the network's grid."""
        output = network(normalise(images, network.profile))
        feature = self._mixed(output.feature.float(), aggregate_cosine)
        probability = torch.softmax(network.classify(feature, output.skip).float(), dim=1)
        return [self._mixed(probability, aggregate_kl)]

    def _mixed(self, maps: Tensor, aggregate: Callable[[Tensor], Tensor]) -> Tensor:
        mixed = []
        for one in maps:
            rows = one.flatten(1).T
            mixed.append(torch.lerp(rows, aggregate(rows), self.share).T.reshape(one.shape))
        return torch.stack(mixed)

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> RowsOf:
        """Up-sample the probabilities, then take the logarithm."""
        probability = network.enlarged(maps[0], size)
        return lambda rows: _log(probability.rows(rows))


@dataclass(frozen=True)
class Sliding:
    """Square windows over the image, logits averaged where windows overlap.

    `window` and `stride` are in pixels. The last window of a row or column is moved inwards so that it ends at
    the border; an image smaller than the window is one window. The test mode of that name has windows of 1024 and
    stride 512, as HRDA, MIC and VFM-UDA.
    """

    window: int
    stride: int
    name: str = "sliding"

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1 pixel, found {self.window}")
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1 pixel, found {self.stride}")

    def windows(self, image_size: Size) -> list[tuple[slice, slice]]:
        """Return rows and columns of every window, row by row."""
        side = self.window
        rows, columns = (_starts(length, side, min(self.stride, side)) for length in image_size)
        return [
            (slice(top, min(top + side, image_size[0])), slice(left, min(left + side, image_size[1])))
            for top in rows
            for left in columns
        ]

    def maps(self, network: SegmentationNetwork, images: Tensor) -> list[Tensor]:
        """Return the main logits of every window on the network's grid."""
        height, width = images.shape[-2:]
        return [network.logits(images[..., rows, columns]) for rows, columns in self.windows((height, width))]

    def merge(
        self, network: SegmentationNetwork, maps: Sequence[Tensor], image_size: Size, size: Size
    ) -> RowsOf:
        """Average the windows at the image's size, then resize to the wanted size."""
        total = maps[0].new_zeros((*maps[0].shape[:2], *image_size))
        count = total.new_zeros(image_size)
        for (rows, columns), logits in zip(self.windows(image_size), maps, strict=True):
            total[..., rows, columns] += network.upsample(
                logits, (rows.stop - rows.start, columns.stop - columns.start)
            )
            count[rows, columns] += 1
        return network.enlarged(total.div_(count), size).rows


def _starts(length: int, side: int, stride: int) -> list[int]:
    last = max(0, length - side)
    return [*range(0, last, stride), last]


TEST_MODES: dict[str, Callable[[], Mode]] = {
    "plain": Plain,
    "flip": lambda: MultiscaleFlip((1.0,), "flip"),
    "multiscale_flip": MultiscaleFlip,
    "compounded_flip": CompoundedFlip,
    "reduced_flip": ReducedFlip,
    "aggregation": Aggregation,
    "sliding": lambda: Sliding(1024, 512),
}


def build_test_mode(name: str) -> Mode:
    """Return the test mode of that name with its published settings; KeyError names the known ones."""
    try:
        return TEST_MODES[name]()
    except KeyError:
        raise KeyError(f"unknown test_mode {name!r}; known: {', '.join(TEST_MODES)}") from None
