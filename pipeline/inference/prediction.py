"""A finished model applied to pictures of any size.

    from pipeline import load_model
    model = load_model("results/experiments/demo/seed0/model")
    ids = model.predict("street.jpg")                        # uint8 (H, W), ids of model.taxonomy
    for said in model.predictions(paths, batch=4):           # ids, confidence, entropy of each, in order
        ...

A picture is a path, an array or one of Pillow's images (`pictures.py`). The folder holds `model.safetensors` and
`model.json`: architecture, classes with their colors, normalisation, working size, provenance, metrics. A
picture is brought to the scale that the network was trained at, and the logits to the picture's own size
before the argmax.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from pipeline.artifacts.errors import ArtifactError, DataError, SegadaptError
from pipeline.artifacts.program import program
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.exported import ENDING, open_exported
from pipeline.inference.pictures import Picture, as_rgb
from pipeline.inference.test_modes import Logits, Mode, Plain, Sliding
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.files import load_network
from pipeline.numerics import Size, WidthHeight
from pipeline.numerics.entropy import entropy_map
from pipeline.numerics.winner import winner

WEIGHTS = "model.safetensors"
SAME_SHAPE = 0.1
"""Pictures whose proportions differ by less than this share are stretched to the working size."""
WIDE = 1.5
"""A picture that, scaled, is this many times as long as the working size is covered by sliding windows."""

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture: `ids` uint8 (H, W); `confidence` (the winner's probability) and
    `entropy` (normalised, 0 certain, 1 uniform) float32 (H, W). A classifier gives (1, 1).
    """

    ids: UInt8
    confidence: NDArray[np.float32]
    entropy: NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """A network with all that is needed to use it.

    `taxonomy`: classes and colors. `working_size`: width and height the network was trained at. `meta`: the
    rest of `model.json`.
    """

    network: SegmentationNetwork
    taxonomy: Taxonomy
    working_size: WidthHeight
    meta: dict[str, Any]

    def __repr__(self) -> str:
        width, height = self.working_size
        backbone = self.network.parameters_spec.backbone
        return f"Model({backbone}, {self.taxonomy.num_classes} classes, input {width}x{height})"

    @cached_property
    def palette(self) -> UInt8:
        """Color of every id: uint8 (256, 3)."""
        return self.taxonomy.palette()

    def predict(self, picture: Picture) -> UInt8:
        """Return the class id of every pixel: uint8 (H, W), see `predict_image`."""
        return predict_image(self, picture).ids

    def predictions(self, pictures: Iterable[Picture], batch: int = 1) -> Iterator[Prediction]:
        """Yield what the model says of each picture, in order; pictures are read as they are needed.

        Up to `batch` neighbours that the network sees at one size share a forward pass, which is quicker on a
        GPU and changes confidences by rounding only.
        """
        for group in _groups(self, pictures, batch):
            yield from _of_group(self, group)

    @torch.inference_mode()
    def probabilities(self, picture: Picture) -> NDArray[np.float32]:
        """Return the probability of every class at every pixel: float32 (K, H, W)."""
        return torch.softmax(_logits(self, [_seen(self, picture)]).whole(), dim=1)[0].cpu().numpy()


def load_model(path: Path | str, device: str | torch.device | None = None) -> Model:
    """Read a model folder, or the ONNX file of a model; `device` is `cuda` where there is one, else `cpu`, unless given.

    An ONNX file is run on the CPU, whatever the device. ArtifactError names what is missing or damaged.
    """
    place = Path(path)
    if place.suffix == ENDING:
        exported, meta = open_exported(place)
        return _described(exported.eval(), meta, place)
    weights = place / WEIGHTS
    if not weights.is_file():
        raise ArtifactError(
            f"{weights} is missing: a model folder holds {WEIGHTS} and model.json; name the folder `model` of an "
            f"experiment's seed, a file of `{program()} export` that ends in {ENDING}, or copy it anew"
        )
    network, meta = load_network(weights)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return _described(network.to(chosen).eval(), meta, weights.with_suffix(".json"))


def _described(network: SegmentationNetwork, meta: dict[str, Any], source: Path) -> Model:
    """Put the classes and the working size, as `source` says them, beside a network."""
    try:
        taxonomy = Taxonomy.model_validate(meta["taxonomy"])
        sizes = meta["sizes"]
        width, height = sizes["target"] if "target" in sizes else next(iter(sizes.values()))
    except (KeyError, TypeError, ValueError, StopIteration, ValidationError) as error:
        raise ArtifactError(
            f"{source}: classes or sizes are missing or damaged ({error}); copy it anew"
        ) from error
    return Model(network, taxonomy, (int(width), int(height)), meta)


def predict_image(model: Model, picture: Picture) -> Prediction:
    """Predict one picture of any mode and size at its own size.

    It is turned upright as its EXIF orientation says, so ids belong to the upright picture. Scaling uses
    Pillow's bicubic filter, as `prepare` does. DataError: the picture cannot be read. SegadaptError: the
    prediction is not finite.
    """
    return next(model.predictions([picture]))


@dataclass(frozen=True)
class _Seen:
    """A picture as the network sees it, and height and width of the upright original."""

    scaled: Image.Image
    original: Size


def _seen(model: Model, picture: Picture) -> _Seen:
    upright = as_rgb(picture)
    return _Seen(input_image(model, upright), (upright.height, upright.width))


def _groups(model: Model, pictures: Iterable[Picture], batch: int) -> Iterator[list[_Seen]]:
    """Cut pictures into groups of at most `batch` neighbours of equal sizes."""
    if batch < 1:
        raise ValueError(f"batch: must be at least 1, found {batch}")
    group: list[_Seen] = []
    for seen in (_seen(model, picture) for picture in pictures):
        differs = group and (seen.scaled.size, seen.original) != (group[0].scaled.size, group[0].original)
        if differs or len(group) == batch:
            yield group
            group = []
        group.append(seen)
    if group:
        yield group


def _logits(model: Model, group: list[_Seen]) -> Logits:
    """Run the network on pictures of equal sizes; SegadaptError: a prediction is not finite."""
    first = group[0]
    pixels = torch.from_numpy(np.stack([np.array(seen.scaled) for seen in group])).permute(0, 3, 1, 2)
    pixels = pixels.to(model.network.device)
    mode = _mode(model, first.scaled.size)
    maps = mode.maps(model.network, pixels)
    if not all(bool(one.isfinite().all()) for one in maps):
        raise SegadaptError("the network's prediction is not finite; its weights are damaged")
    scaled = (first.scaled.height, first.scaled.width)
    return Logits(mode, model.network, maps, scaled, model.network.label_size(first.original))


@torch.inference_mode()
def _of_group(model: Model, group: list[_Seen]) -> list[Prediction]:
    """Reduce logits strip by strip: those of a large picture would fill the memory."""
    strips = [_scores(strip) for _, strip in _logits(model, group).strips()]
    columns = [torch.cat(column, dim=1).cpu().numpy() for column in zip(*strips, strict=True)]
    return [Prediction(*said) for said in zip(*columns, strict=True)]


def input_image(model: Model, upright: Image.Image) -> Image.Image:
    """Scale an upright RGB picture as the network sees it."""
    return upright.resize(_input_size(model, upright.size), Image.Resampling.BICUBIC)


def _input_size(model: Model, picture: WidthHeight) -> WidthHeight:
    """Return width and height at which the network sees a picture of that width and height.

    Shorter side to shorter side, so that objects have the size they had in training.
    """
    working = model.working_size
    if model.network.single_pixel:
        return working
    ratio = (picture[0] * working[1]) / (picture[1] * working[0])
    if abs(ratio - 1) < SAME_SHAPE:
        return working
    if not model.network.any_size:
        raise DataError(
            f"the picture has {picture[0]}x{picture[1]} pixels, and the exported network takes only pictures of the "
            f"proportions {working[0]}x{working[1]}; cut it, or use the model folder"
        )
    scale = min(working) / min(picture)
    return max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))


def _mode(model: Model, scaled: WidthHeight) -> Mode:
    window = max(model.working_size)
    if max(scaled) <= WIDE * window:
        return Plain()
    return Sliding(window=window, stride=max(1, window // 2))


def _scores(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class, its probability and the entropy of every pixel, (B, h, w) each."""
    return winner(logits)[1], torch.softmax(logits, dim=1).amax(dim=1), entropy_map(logits)
