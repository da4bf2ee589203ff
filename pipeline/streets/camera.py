"""The `camera` domain of the built-in streets: muted textured materials seen through weather and a sensor.

Light is float32 RGB, 1.0 = white. Only +, -, *, / and comparisons are used, so that the pixels are the
same on every platform (see `streets_canvas`).
"""

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.numerics.randomness import Draws
from pipeline.streets.canvas import DEPTH_SHIFT, MATERIAL_SHIFT, TINT_SHIFT
from pipeline.streets.materials import Material
from pipeline.streets.rendered import Color, halve, lookup_table, pick_colors

Condition = Literal["clear", "night", "rain", "haze", "blur"]
Light = NDArray[np.float32]

COLORS: dict[Material, tuple[Color, ...]] = {
    Material.SKY: ((205, 212, 220), (178, 196, 220), (224, 224, 222)),
    Material.CLOUD: ((236, 234, 232),),
    Material.ROAD: ((106, 103, 100),),
    Material.MARKING: ((196, 192, 184),),
    Material.PAVEMENT: ((152, 145, 137),),
    Material.JOINT: ((120, 114, 108),),
    Material.KERB: ((160, 154, 146),),
    Material.WALL: (
        (128, 92, 72),
        (170, 152, 124),
        (150, 146, 140),
        (112, 102, 94),
        (184, 170, 148),
        (104, 74, 62),
    ),
    Material.TRIM: ((158, 148, 132), (120, 112, 102), (180, 172, 158)),
    Material.WINDOW: ((62, 66, 72), (88, 94, 100), (48, 48, 50)),
    Material.SHOP: ((70, 72, 76), (112, 104, 92)),
    Material.ROOF: ((86, 66, 58), (72, 70, 72), (98, 76, 62)),
    Material.DOOR: ((72, 52, 42), (52, 60, 60), (90, 84, 78)),
    Material.BARK: ((74, 62, 50),),
    Material.LEAF: ((66, 84, 44), (86, 92, 46), (50, 68, 42), (112, 98, 50)),
    Material.POLE: ((98, 100, 98), (64, 68, 66), (122, 118, 108)),
    Material.LAMP: ((190, 184, 166),),
    Material.SIGN: ((162, 48, 48), (48, 74, 132), (182, 150, 54), (44, 92, 70)),
    Material.SIGN_FACE: ((204, 202, 196),),
    Material.SIGNAL: ((40, 40, 40), (214, 62, 48), (222, 164, 58), (80, 196, 122)),
    Material.FENCE: ((104, 84, 64), (70, 78, 72), (150, 146, 138), (58, 54, 50)),
    Material.BODY: (
        (70, 72, 76),
        (150, 152, 154),
        (204, 204, 202),
        (38, 40, 44),
        (110, 36, 38),
        (46, 60, 92),
    ),
    Material.GLASS: ((44, 50, 54), (74, 84, 92)),
    Material.TYRE: ((34, 32, 32),),
    Material.HEADLIGHT: ((232, 228, 212),),
    Material.TAILLIGHT: ((158, 34, 30),),
    Material.PLATE: ((196, 190, 150),),
    Material.SKIN: ((196, 154, 128), (150, 106, 80), (98, 70, 54)),
    Material.HAIR: ((52, 42, 36), (34, 30, 30), (140, 116, 78)),
    Material.TOP: ((58, 60, 68), (92, 84, 78), (124, 52, 50), (60, 76, 104), (150, 146, 138), (40, 40, 42)),
    Material.TROUSERS: ((48, 54, 72), (46, 44, 44), (98, 88, 74)),
    Material.BIKE: ((58, 56, 56), (98, 42, 42), (70, 84, 98)),
    Material.SKYLINE: ((136, 138, 142), (120, 114, 110), (152, 148, 144)),
    Material.AWNING: ((112, 50, 46), (60, 78, 62), (70, 80, 104), (166, 156, 136)),
}
"""Colors of each material (RGB, 0..255) in daylight; a pixel's tint picks one of them."""

GRAIN: dict[Material, tuple[float, float]] = {
    Material.SKY: (0.0, 0.04),
    Material.CLOUD: (0.0, 0.10),
    Material.ROAD: (0.12, 0.08),
    Material.MARKING: (0.16, 0.15),
    Material.PAVEMENT: (0.16, 0.10),
    Material.JOINT: (0.16, 0.10),
    Material.WALL: (0.16, 0.18),
    Material.TRIM: (0.16, 0.2),
    Material.WINDOW: (0.20, 0.8),
    Material.SHOP: (0.40, 0.9),
    Material.ROOF: (0.25, 0.2),
    Material.LEAF: (0.6, 0.45),
    Material.BARK: (0.4, 0.2),
    Material.FENCE: (0.25, 0.25),
    Material.BODY: (0.05, 0.35),
    Material.GLASS: (0.15, 0.8),
    Material.TOP: (0.15, 0.25),
    Material.TROUSERS: (0.15, 0.25),
}
"""Relative contrast of each material's fine and coarse texture."""
GLOWS = (Material.HEADLIGHT, Material.TAILLIGHT, Material.LAMP, Material.SIGNAL)
LIT_TINT = 170
"""Windows and shops of this tint and above have their lamps on at night."""


@cache
def _tables() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    grain = np.zeros((64, 2), np.float32)
    for material in Material:
        grain[material] = GRAIN.get(material, (0.1, 0.1))
    return lookup_table(COLORS), grain


def paint_camera(pixels: NDArray[np.uint32], condition: Condition, draws: Draws) -> NDArray[np.uint8]:
    """Color a scene of (2H, 2W) packed pixels as a camera sees it: uint8 RGB (H, W, 3)."""
    table, grain = _tables()
    near = pixels[1::2, 1::2]
    material = near >> np.uint32(MATERIAL_SHIFT) & np.uint32(63)
    depth = (near >> np.uint32(DEPTH_SHIFT)).astype(np.float32) / np.float32(255.0)
    light = halve(pick_colors(pixels, table)).astype(np.float32) / np.float32(255.0)
    light *= _texture(material, grain, draws)[..., None]
    light *= _sunlight(material, condition, draws)[..., None]
    if condition == "night":
        light = _night(light, near, material, depth, draws)
    elif condition == "rain":
        light = _rain(light, material, depth, draws)
    fog = draws.uniform(1.1, 2.2) if condition == "haze" else draws.uniform(0.1, 0.35)
    if condition != "night":
        light = _haze(light, depth, fog, draws)
    if condition == "blur":
        light = _shake(light, draws)
    light = _soften(light, 1)
    return _expose(light, condition, draws)


def _texture(material: NDArray[np.uint32], grain: NDArray[np.float32], draws: Draws) -> Light:
    """Fine and coarse reflectance noise around 1, as strong as the material says."""
    height, width = material.shape
    fine = _signed(draws.bytes(height, width))
    coarse = _smooth_field(draws, height, width, 5, 5)
    amplitudes = grain[material]
    return np.maximum(np.float32(0.1), 1 + amplitudes[..., 0] * fine + amplitudes[..., 1] * coarse)


def _sunlight(material: NDArray[np.uint32], condition: Condition, draws: Draws) -> Light:
    """Uneven light: cast shadows on sunny days, a brighter and a darker side of the street."""
    height, width = material.shape
    side = np.float32(draws.uniform(-0.25, 0.25))
    across = np.arange(width, dtype=np.float32) / np.float32(width) - np.float32(0.5)
    light = np.ones((height, width), np.float32) + side * across
    if condition in ("clear", "blur") and draws.chance(0.6):
        patches = _smooth_field(draws, height, width, 6, 30) - np.float32(draws.uniform(0.0, 0.3))
        edges = np.clip(patches * np.float32(8.0), np.float32(0.0), np.float32(1.0))
        shadow = edges * np.float32(draws.uniform(0.25, 0.45))
        light *= 1 - np.where(material <= Material.CLOUD, np.float32(0.0), shadow)
    return light


def _night(
    light: Light, pixels: NDArray[np.uint32], material: NDArray[np.uint32], depth: Light, draws: Draws
) -> Light:
    """Little blue light, own head lights on the near road, lit windows, lamps with a glow."""
    height, width = material.shape
    tint = pixels >> np.uint32(TINT_SHIFT) & np.uint32(255)
    ambient = np.float32(draws.uniform(0.26, 0.42))
    color = np.array([0.9, 0.9, 1.15], np.float32) * ambient
    across = np.arange(width, dtype=np.float32)[None, :] / np.float32(width) - np.float32(0.5)
    beam = np.maximum(np.float32(0.0), 1 - 5 * across * across) * np.maximum(np.float32(0.0), 1 - 3 * depth)
    lamp = np.maximum(np.float32(0.0), _smooth_field(draws, height, width, 12, 24)) * np.float32(0.6)
    warm = np.array([1.0, 0.86, 0.6], np.float32)
    sky = material <= Material.CLOUD
    shine = np.where(sky, np.float32(0.0), np.float32(0.4) * beam + lamp)[..., None] * warm
    lit = light * (color + shine)
    lit = np.where(sky[..., None], lit * np.float32(0.3), lit)
    glowing = np.isin(material, GLOWS) | (
        np.isin(material, (Material.WINDOW, Material.SHOP)) & (tint >= LIT_TINT)
    )
    source = glowing[..., None] * (np.maximum(light, np.float32(0.35)) * warm)
    return lit + source * np.float32(0.9) + _blurred(source, 3) * np.float32(1.2)


def _rain(light: Light, material: NDArray[np.uint32], depth: Light, draws: Draws) -> Light:
    """Grey light, a wet ground that mirrors what stands above it, streaks."""
    height, width = material.shape
    grey = light.mean(axis=2, keepdims=True, dtype=np.float32)
    dull = np.float32(0.55) * light + np.float32(0.35) * grey
    ground = (material >= Material.ROAD) & (material <= Material.KERB)
    horizon = max(1, int(np.argmax(ground.any(axis=1))))
    rows = np.clip(2 * horizon - np.arange(height), 0, height - 1)
    mirror = _blurred(dull[rows], 2)
    wet = np.float32(draws.uniform(0.35, 0.6)) * np.maximum(
        np.float32(0.0), np.float32(0.6) + _smooth_field(draws, height, width, 6, 16)
    )
    wet = np.where(ground, np.minimum(wet, np.float32(0.75)), np.float32(0.0))[..., None]
    dull = dull * (1 - wet) * np.float32(0.9) + mirror * wet
    seeds = (draws.bytes(height, width) < 5).astype(np.float32)
    streaks = sum((np.roll(seeds, step, axis=0) for step in range(1, 6)), seeds)
    return dull + np.float32(draws.uniform(0.08, 0.16)) * streaks[..., None]


def _haze(light: Light, depth: Light, strength: float, draws: Draws) -> Light:
    """Air light that grows with distance; transmission 1 / (1 + d)^2 stands in for the exponential."""
    distance = depth * np.float32(strength * 2.0)
    near = np.float32(1.0) / (np.float32(1.0) + distance)
    through: Light = (near * near)[..., None]
    whiteness = np.float32(draws.uniform(0.9, 1.05))
    air: Light = np.array([0.80, 0.81, 0.83], np.float32) * whiteness
    return air + (light - air) * through


def _shake(light: Light, draws: Draws) -> Light:
    """Motion along a row or a lens out of focus."""
    if draws.chance(0.5):
        return _soften(light, 3 + draws.below(4))
    reach = 3 + draws.below(4)
    total = light.copy()
    for step in range(1, reach):
        moved = np.empty_like(light)
        moved[:, step:], moved[:, :step] = light[:, :-step], light[:, :1]
        total += moved
    total /= np.float32(reach)
    return total


def _expose(light: Light, condition: Condition, draws: Draws) -> NDArray[np.uint8]:
    """Vignette, color cast, exposure, tone curve, shot and read noise, eight bits."""
    height, width = light.shape[:2]
    x = np.arange(width, dtype=np.float32)[None, :] / np.float32(width) - np.float32(0.5)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(height) - np.float32(0.5)
    vignette = 1 - np.float32(draws.uniform(0.25, 0.6)) * (x * x + y * y)
    cast = np.array([draws.uniform(0.93, 1.1), 1.0, draws.uniform(0.88, 1.06)], np.float32)
    gain = np.float32(draws.uniform(0.8, 1.2))
    seen = np.clip(light * (vignette[..., None] * cast * gain), np.float32(0.0), np.float32(1.0))
    curve = np.float32(draws.uniform(0.0, 0.5))
    seen = seen * (1 - curve) + seen * seen * (3 - 2 * seen) * curve
    level = np.float32(draws.uniform(0.035, 0.06) if condition == "night" else draws.uniform(0.012, 0.035))
    raw = draws.bytes(2, height, width, 3).astype(np.float32)
    noise = (raw[0] + raw[1] - np.float32(255.0)) / np.float32(104.0)
    seen = seen + level * noise * (np.float32(0.5) + seen)
    return (np.clip(seen, np.float32(0.0), np.float32(1.0)) * np.float32(255.0) + np.float32(0.5)).astype(
        np.uint8
    )


def _signed(numbers: NDArray[np.uint8]) -> Light:
    """uint8 -> float32 of -1..1."""
    return numbers.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def _smooth_field(draws: Draws, height: int, width: int, down: int, across: int) -> Light:
    """Noise of -1..1 that varies over down x across pixels: bilinear between random corners."""
    corners = _signed(draws.bytes(height // down + 2, width // across + 2))
    rows, row_part = _steps(height, down)
    columns, column_part = _steps(width, across)
    upper, lower = corners[rows], corners[rows + 1]
    mixed = upper + (lower - upper) * row_part[:, None]
    left, right = mixed[:, columns], mixed[:, columns + 1]
    return left + (right - left) * column_part


def _steps(length: int, cell: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    places = np.arange(length)
    return places // cell, (places % cell).astype(np.float32) / np.float32(cell)


def _soften(light: Light, times: int) -> Light:
    """Binomial 1-2-1 blur along rows and columns, borders repeated."""
    for _ in range(times):
        padded = np.concatenate([light[:1], light, light[-1:]])
        light = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) * np.float32(0.25)
        padded = np.concatenate([light[:, :1], light, light[:, -1:]], axis=1)
        light = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) * np.float32(0.25)
    return light


def _blurred(light: Light, times: int) -> Light:
    """A wider blur: `times` passes of 1-2-1 at growing distance."""
    for power in range(times):
        reach = 1 + power
        for axis in (0, 1):
            length = light.shape[axis]
            places = np.arange(length)
            before, after = np.maximum(places - reach, 0), np.minimum(places + reach, length - 1)
            light = (light.take(before, axis) + 2 * light + light.take(after, axis)) * np.float32(0.25)
    return light
