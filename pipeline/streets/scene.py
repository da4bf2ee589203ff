"""One street scene of the built-in data: what is where, drawn back to front.

The same model serves both domains; nothing here knows how a domain looks.
"""

from collections.abc import Callable

import numpy as np

from pipeline.numerics.randomness import Draws
from pipeline.streets import objects
from pipeline.streets.canvas import (
    DEPTH_PER_METRE,
    DEPTH_SHIFT,
    MATERIAL_SHIFT,
    NEUTRAL,
    SHADE_SHIFT,
    Canvas,
    Floats,
    Ink,
    Mask,
    View,
)
from pipeline.streets.materials import Label, Material

Plan = list[tuple[str, float, float]]
"""What lines one side of the street, from the camera to the end: (kind, near, far) in metres."""
Pattern = Callable[[Floats, Floats], Mask]
"""Where a wall is painted: u metres along the street (1, w), v metres above the ground (h, w) -> (h, w)."""

FAR = 85.0
"""Distance in metres at which the street ends before the skyline."""
NEAREST = 1.5
OPEN_SEGMENTS = ("fence", "fence", "hedge", "opening")


class Street:
    """The lateral layout in metres: kerbs left and right of the camera and the walls beyond the pavements."""

    def __init__(self, draws: Draws) -> None:
        width = draws.uniform(6.5, 10.5)
        own = draws.uniform(0.55, 0.8)
        side = 1.0 if draws.chance(0.5) else -1.0
        middle = side * width * (own - 0.5)
        self.left, self.right, self.middle = middle - width / 2, middle + width / 2, middle
        self.wall_left = self.left - draws.uniform(1.8, 3.8)
        self.wall_right = self.right + draws.uniform(1.8, 3.8)
        self.dash, self.phase = draws.uniform(1.5, 3.0), draws.uniform(0.0, 6.0)
        self.edge_line = draws.chance(0.4)
        self.crossing = draws.uniform(9.0, 25.0) if draws.chance(0.25) else None


def draw_scene(draws: Draws, width: int, height: int) -> Canvas:
    """Draw one scene on a canvas of width x height pixels."""
    view = View(
        focal=width * draws.uniform(0.7, 0.95),
        centre=width * draws.uniform(0.38, 0.62),
        horizon=height * draws.uniform(0.36, 0.5),
        height=draws.uniform(1.25, 1.7),
    )
    canvas, street = Canvas(width, height, view), Street(draws)
    _draw_sky(canvas, draws)
    _draw_skyline(canvas, draws)
    plans = _plan_segments(draws), _plan_segments(draws)
    _draw_ground(canvas, street, plans)
    for edge, plan in zip((street.wall_left, street.wall_right), plans, strict=True):
        for kind, near, far in reversed(plan):
            _draw_segment(canvas, draws, kind, edge, near, far)
    cast = _Cast(draws, street)
    cast.furnish(street.left, street.wall_left, -1.0)
    cast.furnish(street.right, street.wall_right, 1.0)
    cast.fill_road()
    for _, place in sorted(cast.entries, key=lambda entry: -entry[0]):
        place(canvas)
    return canvas


def _draw_sky(canvas: Canvas, draws: Draws) -> None:
    """Sky, lighter towards the horizon, with clouds on some days."""
    tint, rows = draws.tint(), np.arange(canvas.height)
    shade = np.minimum(63, 40 + rows * 20 // canvas.height).astype(np.uint32)
    base = np.uint32(Ink(Label.SKY, Material.SKY, tint, 0).packed(255.0))
    canvas.pixels[:] = (base + (shade << np.uint32(SHADE_SHIFT)))[:, None]
    for _ in range(draws.below(9) if draws.chance(0.6) else 0):
        x, y = draws.uniform(-60.0, 60.0), draws.uniform(8.0, 45.0)
        for _ in range(3):
            dx, size = draws.uniform(-6.0, 6.0), draws.uniform(3.0, 7.0)
            ink = Ink(Label.SKY, Material.CLOUD, tint, int(draws.uniform(44, 54)))
            canvas.ellipse((x + dx, y, 99.0), (size, size * 0.35), ink)


def _draw_skyline(canvas: Canvas, draws: Draws) -> None:
    """Distant buildings and trees along the horizon."""
    x = -75.0
    while x < 75.0:
        width, height = draws.uniform(4.0, 14.0), draws.uniform(2.0, 13.0)
        if draws.chance(0.55):
            ink = Ink(Label.BUILDING, Material.SKYLINE, draws.tint(), int(draws.uniform(40, 52)))
            canvas.rectangle(x, -1.0, x + width, height, FAR + 5.0, ink)
        else:
            ink = Ink(Label.TREE, Material.LEAF, draws.tint(), int(draws.uniform(32, 42)))
            canvas.ellipse((x + width / 2, 1.0, FAR + 5.0), (width * 0.7, height * 0.7), ink)
        x += width * 0.8


def _draw_ground(canvas: Canvas, street: Street, plans: tuple[Plan, Plan]) -> None:
    """Road with markings, kerbs, pavements with joints, and side streets at the openings."""
    view = canvas.view
    top = max(0, int(np.floor(view.horizon)) + 1)
    xs, ys = canvas.centres(0, top, canvas.width, canvas.height)
    z = view.focal * view.height / (ys - view.horizon)
    x = (xs - view.centre) * z / view.focal
    near = np.minimum(z, 100.0)
    road = (x > street.left) & (x < street.right)
    for sign, plan in zip((-1, 1), plans, strict=True):
        for kind, start, stop in plan:
            if kind == "opening":
                beside = x < street.left if sign < 0 else x > street.right
                road |= beside & (z > start + 1.0) & (z < stop - 1.0)
    kerb = ~road & (x > street.left - 0.18) & (x < street.right + 0.18)
    along, across = np.mod(z + street.phase, 6.0), np.mod(x, 1.2)
    joint = ~road & ~kerb & ((np.mod(z, 1.2) < 0.07) | (across < 0.05)) & (z < 18.0)
    lane = (x > street.left) & (x < street.right)
    marking = (np.abs(x - street.middle) < 0.07) & (along < street.dash)
    if street.edge_line:
        marking |= (np.abs(x - street.left - 0.35) < 0.06) | (np.abs(x - street.right + 0.35) < 0.06)
    if street.crossing is not None:
        marking |= (z > street.crossing) & (z < street.crossing + 2.5) & (np.mod(x, 1.0) < 0.5)
    material = np.where(road, Material.ROAD, Material.PAVEMENT)
    material = np.where(kerb, Material.KERB, np.where(joint, Material.JOINT, material))
    material = np.where(marking & lane, Material.MARKING, material)
    label = np.where(road, Label.ROAD, Label.PAVEMENT)
    depth = (near * DEPTH_PER_METRE).astype(np.uint32)
    code = label.astype(np.uint32) | material.astype(np.uint32) << np.uint32(MATERIAL_SHIFT)
    canvas.pixels[top:] = code | np.uint32(NEUTRAL << SHADE_SHIFT) | depth << np.uint32(DEPTH_SHIFT)


def _plan_segments(draws: Draws) -> Plan:
    """What lines one side of the street: (kind, near, far) from the camera to the end."""
    plan: Plan = []
    urban, z, last = draws.uniform(0.25, 0.75), -2.0, ""
    while z < FAR:
        if draws.chance(urban):
            kind, length = "building", draws.uniform(8.0, 20.0)
        else:
            kind = OPEN_SEGMENTS[draws.below(4)]
            length = draws.uniform(7.0, 10.0) if kind == "opening" else draws.uniform(6.0, 18.0)
        if kind == "opening" and (last == "opening" or z < 6.0):
            kind = "fence"
        plan.append((kind, max(NEAREST, z), z + length))
        z, last = z + length, kind
    return [segment for segment in plan if segment[2] > NEAREST + 0.5]


def _draw_segment(canvas: Canvas, draws: Draws, kind: str, edge: float, near: float, far: float) -> None:
    if kind == "building":
        _draw_building(canvas, draws, edge, near, far)
    elif kind == "fence":
        _draw_backyard(canvas, draws, edge, near, far)
        _draw_fence(canvas, draws, edge, near, far)
    elif kind == "hedge":
        _draw_backyard(canvas, draws, edge, near, far)
        ink = Ink(Label.TREE, Material.LEAF, draws.tint(), int(draws.uniform(34, 42)))
        _wall(canvas, edge, near, far, lambda u, v: v < 1.2 + 0.3 * np.mod(u, 1.7) * np.mod(v + u, 0.9), ink)


def _draw_backyard(canvas: Canvas, draws: Draws, edge: float, near: float, far: float) -> None:
    """Trees or a house behind a fence or a hedge."""
    outward = 1.0 if edge > 0 else -1.0
    if draws.chance(0.2):
        _draw_building(canvas, draws, edge + outward * draws.uniform(3.0, 5.0), near, far)
        return
    ink = Ink(Label.TREE, Material.LEAF, draws.tint(), 34)
    _wall(canvas, edge + outward * 3.0, near, far, lambda u, v: v < 1.8 + np.mod(u, 2.3) * 0.3, ink)
    z = far - 1.0
    while z > near + 1.0:
        if draws.chance(0.75):
            objects.draw_tree(canvas, draws, edge + outward * draws.uniform(1.5, 4.0), z)
        z -= draws.uniform(2.5, 6.0)


def _draw_building(canvas: Canvas, draws: Draws, edge: float, near: float, far: float) -> None:
    """A house: the front that faces the camera, then the facade along the street."""
    house = _House(draws, edge)
    house.draw_front(canvas, draws, near)
    house.draw_facade(canvas, draws, near, far)


class _House:
    """Measures of one house: storeys, bays and the color of its walls."""

    def __init__(self, draws: Draws, edge: float) -> None:
        self.edge, self.tint, self.floors = edge, draws.tint(), 1 + draws.below(4)
        self.storey, self.bay = draws.uniform(2.8, 3.4), draws.uniform(1.8, 3.4)
        self.glazed, self.shop = draws.uniform(0.35, 0.6), draws.chance(0.4)
        self.height, self.tone = self.floors * self.storey, int(draws.uniform(40, 52))

    def draw_front(self, canvas: Canvas, draws: Draws, near: float) -> None:
        """The wall across the view, with windows and on some houses a gable."""
        depth = 11.0 if self.edge > 0 else -11.0
        x0, x1 = min(self.edge, self.edge + depth), max(self.edge, self.edge + depth)
        if draws.chance(0.4):
            gable = [
                (x0, self.height, near),
                (x1, self.height, near),
                ((x0 + x1) / 2, self.height + 3.5, near),
            ]
            canvas.polygon(gable, Ink(Label.BUILDING, Material.ROOF, self.tint, 40))
        wall = Ink(Label.BUILDING, Material.WALL, self.tint, self.tone)
        canvas.rectangle(x0, -0.1, x1, self.height, near, wall)
        for floor in range(self.floors):
            x, low = x0 + self.bay * 0.4, floor * self.storey + 0.9
            while x + self.bay * self.glazed < x1:
                pane = Ink(Label.BUILDING, Material.WINDOW, draws.tint(), 44)
                canvas.rectangle(x, low, x + self.bay * self.glazed, low + self.storey * 0.48, near, pane)
                x += self.bay

    def draw_facade(self, canvas: Canvas, draws: Draws, near: float, far: float) -> None:
        """The wall along the street: cornices, windows, and shops or doors at the bottom."""
        height, storey = self.height, self.storey

        def paint(material: Material, tint: int, shade: int, pattern: Pattern) -> None:
            _wall(canvas, self.edge, near, far, pattern, Ink(Label.BUILDING, material, tint, shade))

        paint(Material.WALL, self.tint, self.tone - 5, lambda u, v: v < height)
        paint(Material.TRIM, self.tint, self.tone - 4, lambda u, v: (v < height) & (np.mod(v, storey) < 0.18))
        for turn, tint in enumerate((40, 220) if self.floors % 2 else (60, 100)):
            paint(Material.WINDOW, tint, 40, self._panes(turn))
        if self.shop:
            paint(
                Material.SHOP, draws.tint(), 44, lambda u, v: (v > 0.4) & (v < 2.3) & (np.mod(u, 3.6) < 3.0)
            )
            paint(Material.AWNING, draws.tint(), 44, lambda u, v: (v >= 2.3) & (v < 2.8))
        else:
            paint(Material.DOOR, draws.tint(), 40, lambda u, v: (v < 2.1) & (np.mod(u, self.bay * 3.0) < 1.0))

    def _panes(self, turn: int) -> Pattern:
        """Windows of every other bay, so that neighbours can differ (one lit at night, one dark)."""
        start = self.storey if self.shop else 0.0

        def inside(u: Floats, v: Floats) -> Mask:
            level = np.mod(v, self.storey)
            pane = (level > 0.9) & (level < 0.9 + self.storey * 0.48) & (v > start) & (v < self.height)
            column = (np.mod(u, self.bay) < self.bay * self.glazed) & (
                np.mod(np.floor(u / self.bay), 2.0) == turn
            )
            return pane & column

        return inside


def _draw_fence(canvas: Canvas, draws: Draws, edge: float, near: float, far: float) -> None:
    """Boards, or a railing through which the background shows; both are fence to the last pixel."""
    height, tint = draws.uniform(1.0, 1.9), draws.tint()
    ink = Ink(Label.FENCE, Material.FENCE, tint)
    if draws.chance(0.5):
        _wall(canvas, edge, near, far, lambda u, v: v < height, ink)
        gaps = Ink(Label.FENCE, Material.FENCE, tint, 36)
        _wall(canvas, edge, near, far, lambda u, v: (v < height) & (np.mod(u, 0.6) < 0.09), gaps)
        return
    _wall(canvas, edge, near, far, lambda u, v: v < height, Label.FENCE)

    def bars(u: Floats, v: Floats) -> Mask:
        post = (np.mod(u, 0.45) < 0.13) | (np.mod(u, 2.5) < 0.2)
        rail = (v > height - 0.14) | (np.abs(v - 0.2) < 0.07)
        return (v < height) & (post | rail)

    _wall(canvas, edge, near, far, bars, ink)


def _wall(canvas: Canvas, edge: float, near: float, far: float, pattern: Pattern, ink: Ink | Label) -> None:
    """Draw a pattern(u, v) of the upright plane x = edge, u metres along the street, v above the ground."""
    view = canvas.view
    ends = view.column(edge, far), view.column(edge, near)
    box = canvas.window(min(ends), -1.0, max(ends), canvas.height)
    if box is None:
        return
    left, top, right, bottom = box
    bottom = min(bottom, int(np.floor(view.row(0.0, near))) + 1)
    xs, ys = canvas.centres(left, top, right, bottom)
    u = view.focal * edge / (xs - view.centre)
    v = view.height - (ys - view.horizon) * u / view.focal
    mask = (u >= near) & (u < far) & (v >= 0.0) & pattern(u, v)
    if isinstance(ink, Label):
        canvas.relabel((left, top, right, bottom), mask, ink)
    else:
        canvas.stamp((left, top, right, bottom), mask, ink.packed((near + min(far, 2 * near)) / 2))


class _Cast:
    """Everything that stands or moves, collected as (distance, draw function)."""

    def __init__(self, draws: Draws, street: Street) -> None:
        self.draws, self.street = draws, street
        self.entries: list[tuple[float, Callable[[Canvas], None]]] = []

    def put(self, z: float, draw: Callable[..., None], x: float, *details: bool) -> None:
        """Note an object; its looks are drawn when it is painted, in the order of the painting."""
        self.entries.append((z, lambda canvas: draw(canvas, self.draws, x, z, *details)))

    def furnish(self, kerb: float, wall: float, out: float) -> None:
        """Lamps, trees, signs, people and parked cars of one side."""
        draws, room = self.draws, abs(wall - kerb)
        z, spacing = draws.uniform(5.0, 25.0), draws.uniform(14.0, 26.0)
        while z < 60.0:
            self.put(z, objects.draw_lamp, kerb + out * 0.5)
            z += spacing
        if draws.chance(0.3):
            z = draws.uniform(7.0, 16.0)
            while z < 60.0:
                self.put(z, objects.draw_tree, kerb + out * min(1.2, room * 0.5))
                z += draws.uniform(7.0, 13.0)
        for _ in range(draws.below(3)):
            z = draws.uniform(5.0, 26.0)
            draw = objects.draw_sign if draws.chance(0.75) else objects.draw_signal
            self.put(z, draw, kerb + out * draws.uniform(0.35, 0.9))
        for _ in range(draws.below(4) if draws.chance(0.75) else 0):
            z = draws.uniform(5.0, 30.0)
            self.put(z, objects.draw_pedestrian, kerb + out * draws.uniform(0.5, max(0.6, room - 0.4)))
        if draws.chance(0.5):
            z = draws.uniform(4.5, 14.0)
            while z < 55.0:
                if draws.chance(0.7):
                    self.put(z, objects.draw_car, kerb - out * 1.1, False)
                z += draws.uniform(5.2, 9.0)

    def fill_road(self) -> None:
        """Cars in both lanes, crossing cars and people, bicyclists."""
        draws, street = self.draws, self.street
        for lane, oncoming in ((street.left, True), (street.right, False)):
            for _ in range(draws.below(3)):
                z = draws.uniform(8.0, 50.0)
                self.put(z, objects.draw_car, (lane + street.middle) * 0.5, oncoming)
        if draws.chance(0.1):
            z = draws.uniform(12.0, 26.0)
            self.put(z, objects.draw_crossing_car, draws.uniform(street.left + 2.0, street.right - 2.0))
        if draws.chance(0.2):
            z = draws.uniform(8.0, 22.0)
            self.put(z, objects.draw_pedestrian, draws.uniform(street.left, street.right))
        for _ in range(1 + draws.below(2) if draws.chance(0.55) else 0):
            z = draws.uniform(5.0, 20.0)
            lane = street.left + 1.9 if draws.chance(0.5) else street.right - 1.9
            self.put(z, objects.draw_bicyclist, lane, draws.chance(0.65))
