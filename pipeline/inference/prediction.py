"""A finished model applied to pictures of any size.

    from pipeline import load_model
    model = load_model("results/experiments/demo/seed0/model")
    ids = model.predict(PIL.Image.open("street.jpg"))        # uint8 (H, W), ids of model.taxonomy

The folder holds `model.safetensors` and `model.json`: architecture, classes with their colors,
normalisation, working size, provenance, metrics. A picture is brought to the scale that the network was
trained at, and the logits to the picture's own size before the argmax.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import ValidationError
from torch import Tensor

from pipeline.artifacts.errors import ArtifactError, SegadaptError
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.test_modes import Logits, Mode, Plain, Sliding
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.files import load_network
from pipeline.numerics import WidthHeight
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

    @cached_property
    def palette(self) -> UInt8:
        """Color of every id: uint8 (256, 3)."""
        return self.taxonomy.palette()

    def predict(self, image: Image.Image) -> UInt8:
        """Return the class id of every pixel: uint8 (H, W), see `predict_image`."""
        return predict_image(self, image).ids


def load_model(folder: Path | str, device: str | torch.device | None = None) -> Model:
    """Read a model folder; `device` is `cuda` where there is one, else `cpu`, unless given.

    ArtifactError names what is missing or damaged.
    """
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise ArtifactError(
            f"{path} is missing: a model folder holds {WEIGHTS} and model.json; "
            "name the folder `model` of an experiment's seed, or copy it anew"
        )
    network, meta = load_network(path)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        taxonomy = Taxonomy.model_validate(meta["taxonomy"])
        sizes = meta["sizes"]
        width, height = sizes["target"] if "target" in sizes else next(iter(sizes.values()))
    except (KeyError, TypeError, ValueError, StopIteration, ValidationError) as error:
        beside = path.with_suffix(".json")
        raise ArtifactError(
            f"{beside}: classes or sizes are missing or damaged ({error}); copy it anew"
        ) from error
    return Model(network.to(chosen).eval(), taxonomy, (int(width), int(height)), meta)


def predict_image(model: Model, image: Image.Image) -> Prediction:
    """Predict one picture of any mode and size at its own size.

    It is turned upright as its EXIF orientation says, so ids belong to the upright picture. Scaling uses
    Pillow's bicubic filter, as `prepare` does. SegadaptError: the prediction is not finite.
    """
    upright = ImageOps.exif_transpose(image).convert("RGB")
    scaled = upright.resize(_input_size(model, upright.size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)[None]
    pixels = pixels.to(next(model.network.parameters()).device)
    mode = _mode(model, scaled.size)
    with torch.inference_mode():
        maps = mode.maps(model.network, pixels)
        if not all(bool(one.isfinite().all()) for one in maps):
            raise SegadaptError("the network's prediction is not finite; its weights are damaged")
        size = model.network.label_size((upright.height, upright.width))
        return _prediction(Logits(mode, model.network, maps, (scaled.height, scaled.width), size))


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
    scale = min(working) / min(picture)
    return max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))


def _mode(model: Model, scaled: WidthHeight) -> Mode:
    window = max(model.working_size)
    if max(scaled) <= WIDE * window:
        return Plain()
    return Sliding(window=window, stride=max(1, window // 2))


def _prediction(logits: Logits) -> Prediction:
    """Reduce logits strip by strip: those of a large picture would fill the memory."""
    chunks = [_scores(strip) for _, strip in logits.strips()]
    ids, confidence, entropy = (
        torch.cat(column, dim=1)[0].cpu().numpy() for column in zip(*chunks, strict=True)
    )
    return Prediction(ids, confidence, entropy)


def _scores(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class, its probability and the entropy of every pixel, (1, h, w) each."""
    return winner(logits)[1], torch.softmax(logits, dim=1).amax(dim=1), entropy_map(logits)
