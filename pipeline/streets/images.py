"""The built-in dataset `streets`: labelled street scenes in CamVid's eleven classes, drawn in two ways.

`rendered` is a clean synthetic source domain, `camera` a noisy target domain with an easy part (clear day)
and a hard part (night, rain, haze, blur). Both draw from the same model of a street. Every image is a pure
function of (seed, domain, split, index, size).

The generator was fixed by looking at its pictures, before any method was trained on them; it is frozen by
a golden test and never changed to lift a result. Look at it yourself:

    python -m pipeline.streets.images camera train 12 sheet.png
"""

import sys
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.errors import DataError
from pipeline.numerics.randomness import Draws, tag
from pipeline.streets.camera import Condition, paint_camera
from pipeline.streets.rendered import paint_rendered
from pipeline.streets.scene import draw_scene

StreetsDomain = Literal["rendered", "camera"]
DEFAULT_SIZE = (160, 96)
"""Width and height in pixels."""
HARD: tuple[Condition, ...] = ("night", "rain", "haze", "blur")
HARD_SHARE = 0.4
"""Share of camera images with one of the hard conditions."""


def scene_conditions(domain: StreetsDomain, split: str, index: int, seed: int) -> Condition:
    """The condition of one image: "clear" or one of `HARD`; for reports and tests, never for a method."""
    if domain == "rendered":
        return "clear"
    draws = _draws("condition", domain, split, index, seed)
    return HARD[draws.below(len(HARD))] if draws.chance(HARD_SHARE) else "clear"


def render_scene(
    domain: StreetsDomain, split: str, index: int, seed: int, size: tuple[int, int] = DEFAULT_SIZE
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw image `index` of a split: RGB uint8 (H, W, 3) and class ids uint8 (H, W), `size` = (W, H).

    The scene is drawn at twice the size; the image is the mean of each 2x2 block and the label the class of
    the block's lower right pixel. DataError for an unknown domain.
    """
    if domain not in get_args(StreetsDomain):
        raise DataError(
            f"streets: unknown domain {domain!r}; choose one of {', '.join(get_args(StreetsDomain))}"
        )
    width, height = size
    pixels = draw_scene(_draws("scene", domain, split, index, seed), 2 * width, 2 * height).pixels
    label = (pixels[1::2, 1::2] & np.uint32(15)).astype(np.uint8)
    if domain == "rendered":
        return paint_rendered(pixels), label
    condition = scene_conditions(domain, split, index, seed)
    return paint_camera(pixels, condition, _draws("sensor", domain, split, index, seed)), label


def _draws(purpose: str, domain: str, split: str, index: int, seed: int) -> Draws:
    return Draws([seed, tag(f"{purpose}/{domain}/{split}"), index])


PALETTE = np.array(
    [
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ],
    np.uint8,
)  # fmt: skip
"""CamVid's colors, for contact sheets."""


def contact_sheet(
    domain: StreetsDomain, split: str, count: int, seed: int = 0, start: int = 0
) -> Image.Image:
    """Images beside their labels, three pairs to a row, at twice the default size."""
    rows: list[NDArray[np.uint8]] = []
    for first in range(start, start + count, 3):
        pairs = [render_scene(domain, split, index, seed) for index in range(first, first + 3)]
        rows.append(np.concatenate([np.concatenate([i, PALETTE[k]], axis=1) for i, k in pairs], axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST)


if __name__ == "__main__":
    contact_sheet(sys.argv[1], sys.argv[2], int(sys.argv[3])).save(Path(sys.argv[4]))  # type: ignore[arg-type]
