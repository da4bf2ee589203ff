"""The `rendered` domain of the built-in streets: flat saturated materials, simple shading, no noise."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.streets.canvas import MATERIAL_SHIFT, NEUTRAL, SHADE_SHIFT, TINT_SHIFT
from pipeline.streets.materials import Material

Color = tuple[int, int, int]

COLORS: dict[Material, tuple[Color, ...]] = {
    Material.SKY: ((98, 160, 235), (120, 185, 245), (85, 140, 225)),
    Material.CLOUD: ((235, 242, 250),),
    Material.ROAD: ((96, 98, 108),),
    Material.MARKING: ((240, 240, 235),),
    Material.PAVEMENT: ((188, 172, 160),),
    Material.JOINT: ((160, 146, 136),),
    Material.KERB: ((214, 208, 200),),
    Material.WALL: (
        (205, 110, 80),
        (230, 190, 120),
        (210, 205, 195),
        (150, 170, 190),
        (220, 150, 130),
        (170, 90, 80),
    ),
    Material.TRIM: ((235, 225, 210), (245, 235, 215), (160, 155, 150)),
    Material.WINDOW: ((70, 100, 140), (90, 125, 165), (60, 85, 120)),
    Material.SHOP: ((110, 150, 180), (90, 120, 150)),
    Material.ROOF: ((150, 70, 60), (95, 85, 95), (120, 80, 70)),
    Material.DOOR: ((120, 60, 40), (40, 80, 70), (60, 60, 120)),
    Material.BARK: ((120, 85, 55),),
    Material.LEAF: ((70, 165, 60), (95, 180, 70), (55, 150, 70)),
    Material.POLE: ((140, 145, 150), (90, 100, 110)),
    Material.LAMP: ((250, 245, 210),),
    Material.SIGN: ((215, 30, 40), (30, 80, 200), (240, 200, 30), (20, 130, 80)),
    Material.SIGN_FACE: ((250, 250, 250),),
    Material.SIGNAL: ((40, 40, 45), (240, 40, 40), (250, 190, 40), (40, 220, 90)),
    Material.FENCE: ((165, 120, 80), (90, 110, 100), (215, 215, 215), (120, 80, 60)),
    Material.BODY: (
        (210, 30, 40),
        (40, 80, 190),
        (235, 235, 240),
        (250, 200, 40),
        (50, 140, 90),
        (60, 65, 75),
    ),
    Material.GLASS: ((50, 70, 95), (65, 90, 120)),
    Material.TYRE: ((30, 30, 34),),
    Material.HEADLIGHT: ((255, 250, 225),),
    Material.TAILLIGHT: ((230, 20, 25),),
    Material.PLATE: ((245, 240, 200),),
    Material.SKIN: ((235, 190, 160), (180, 125, 90), (120, 80, 55)),
    Material.HAIR: ((60, 40, 30), (30, 25, 25), (200, 160, 90)),
    Material.TOP: (
        (220, 50, 60),
        (50, 110, 210),
        (240, 220, 80),
        (90, 190, 120),
        (180, 90, 190),
        (240, 240, 240),
    ),
    Material.TROUSERS: ((50, 60, 120), (70, 70, 75), (150, 120, 90)),
    Material.BIKE: ((200, 40, 50), (40, 120, 190), (40, 40, 45)),
    Material.SKYLINE: ((170, 180, 200), (190, 175, 170), (150, 165, 190)),
    Material.AWNING: ((200, 50, 60), (50, 120, 80), (60, 90, 170), (240, 220, 190)),
}
"""Colors of each material (RGB, 0..255); a pixel's tint picks one of them."""


def lookup_table(colors: dict[Material, tuple[Color, ...]]) -> NDArray[np.uint8]:
    """Colors by material and tint: uint8 (64, 256, 3)."""
    table = np.zeros((64, 256, 3), np.uint8)
    tints = np.arange(256)
    for material, choices in colors.items():
        table[material] = np.array(choices, np.uint8)[tints * len(choices) // 256]
    return table


def pick_colors(pixels: NDArray[np.uint32], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The shaded color of every packed pixel: (H, W) uint32 -> (H, W, 3) uint8."""
    material = pixels >> np.uint32(MATERIAL_SHIFT) & np.uint32(63)
    tint = pixels >> np.uint32(TINT_SHIFT) & np.uint32(255)
    shade = (pixels >> np.uint32(SHADE_SHIFT) & np.uint32(63)).astype(np.uint16)
    color = table.reshape(-1, 3)[material << np.uint32(8) | tint].astype(np.uint16)
    return np.minimum(color * shade[..., None] // NEUTRAL, 255).astype(np.uint8)


def halve(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of every 2x2 block, rounded: (2H, 2W, 3) -> (H, W, 3)."""
    wide = colors.astype(np.uint16)
    columns = wide[:, 0::2] + wide[:, 1::2]
    return ((columns[0::2] + columns[1::2] + 2) >> 2).astype(np.uint8)


@cache
def _table() -> NDArray[np.uint8]:
    return lookup_table(COLORS)


def paint_rendered(pixels: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Color a scene of (2H, 2W) packed pixels as a clean rendering: uint8 RGB (H, W, 3)."""
    return halve(pick_colors(pixels, _table()))
