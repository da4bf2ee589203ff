"""LRENT's soft labels, computed when a batch is loaded from low-resolution logits and thresholds.

Source: Zou et al., CRST, ICCV 2019, section 4 (label regularisation): y is proportional to
(p / threshold)^(1 / alpha). No map of them is ever stored; `docs/methods/cbst.md`. NumPy only, for loader
processes.
"""

from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from pipeline.artifacts.files import read_json, write_bytes, write_json
from pipeline.data.packed_maps import unpack_maps
from pipeline.data.placement import Placement
from pipeline.data.records import Records
from pipeline.numerics import Size

PREFIX = "logits"
SETTINGS, TENSORS = "soft.json", "soft.safetensors"

Floats = NDArray[np.float32]


def save_soft_settings(
    folder: Path,
    thresholds: Floats,
    alpha: float,
    align_corners: bool,
    single_pixel: bool,
    prior: NDArray[np.float16] | None = None,
) -> None:
    """Write what soft labels need beside the records `logits`: `soft.json` and `soft.safetensors`.

    `thresholds`: float32 (K,), above 0. `prior`: a stored prior (K, h, w), or None. `align_corners`: how the
    network brings its logits to the image's size. `single_pixel`: the network is a classifier, whose
    label has one pixel whatever the view.
    """
    tensors = {"thresholds": thresholds} | ({} if prior is None else {"prior": prior})
    write_bytes(folder / TENSORS, safetensors.numpy.save(tensors))
    facts = {"alpha": alpha, "align_corners": align_corners, "single_pixel": single_pixel}
    write_json(folder / SETTINGS, facts)


def has_soft_labels(folder: Path) -> bool:
    """Whether a `pseudolabel` artifact holds what soft labels are made of."""
    return (folder / SETTINGS).is_file()


class SoftLabels:
    """An `ExtraMap`: soft labels float16 (K, h, w) of an augmented view, summing to 1 at every pixel.

    Logits are interpolated straight at the view's points of the original image, several maps of an image
    averaged, as the test mode that made them does. Which pixels count is for the label map to say: its 255
    marks padding and every pixel that LRENT's rule leaves out.
    """

    def __init__(self, folder: Path) -> None:
        settings = read_json(folder / SETTINGS)
        tensors = safetensors.numpy.load_file(folder / TENSORS)
        self.records = Records(folder, PREFIX)
        self.alpha, self.align_corners = float(settings["alpha"]), bool(settings["align_corners"])
        self.single_pixel = bool(settings["single_pixel"])
        self.log_thresholds: Floats = np.log(tensors["thresholds"].astype(np.float32))
        self.prior: Floats | None = tensors["prior"].astype(np.float32) if "prior" in tensors else None

    def __call__(self, name: str, placement: Placement) -> NDArray[np.float16]:
        """The soft label of image `name` at the pixels of `placement`."""
        size, maps = unpack_maps(self.records[self.records.index_of(name)])
        if self.single_pixel:
            x, y = np.array([[size[1] / 2]]), np.array([[size[0] / 2]])
        else:
            x, y, _ = placement.source_coordinates()
        total = sum_maps([at_points(one, x, y, size, self.align_corners) for one in maps])
        prior = None if self.prior is None else at_points(self.prior, x, y, size, False)
        return self._soft(total / np.float32(len(maps)), prior)

    def _soft(self, logits: Floats, prior: Floats | None) -> NDArray[np.float16]:
        """Normalise in log space; the logarithm of the softmax's sum is one number per pixel and cancels."""
        scores = logits - self.log_thresholds[:, None, None]
        if prior is not None:
            with np.errstate(divide="ignore"):
                scores += np.log(np.maximum(prior, 0.0))
        scores /= np.float32(self.alpha)
        best = scores.max(axis=0)
        # A pixel where every class has prior 0 has no label; it is finite here and 255 in the label map.
        scores -= np.where(np.isfinite(best), best, 0.0)
        soft = np.exp(scores)
        soft /= np.maximum(soft.sum(axis=0), np.float32(1e-30))
        return soft.astype(np.float16)


def sum_maps(maps: list[Floats]) -> Floats:
    """Add maps in their order."""
    total = maps[0]
    for one in maps[1:]:
        total = total + one
    return total


def at_points(
    grid: NDArray[np.floating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    size: Size,
    align_corners: bool,
) -> Floats:
    """Interpolate a map bilinearly at points of its image: (K, h, w) -> float32 (K, *x.shape).

    `x`, `y`: points of an image of `size` (height, width), pixel i at i + 0.5; points outside get the
    border's value. At an image's pixels this is what torch's `interpolate` gives on up-sampling to `size`.
    """
    rows, below, down = _neighbours(y, grid.shape[1], size[0], align_corners)
    columns, right, across = _neighbours(x, grid.shape[2], size[1], align_corners)
    values = grid.astype(np.float32)
    upper = values[:, rows, columns] * (1 - across) + values[:, rows, right] * across
    lower = values[:, below, columns] * (1 - across) + values[:, below, right] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def _neighbours(
    points: NDArray[np.float64], cells: int, length: int, align_corners: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The cells on both sides of each point, and how far it is from the first to the second, in [0, 1]."""
    scale = (cells - 1) / max(1, length - 1) if align_corners else cells / length
    place = points * scale - (0.5 * scale if align_corners else 0.5)
    place = np.clip(place, 0, cells - 1)
    first = np.minimum(place.astype(np.int64), max(0, cells - 2))
    return first, np.minimum(first + 1, cells - 1), (place - first).astype(np.float32)
