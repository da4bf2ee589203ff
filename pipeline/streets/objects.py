"""What stands and moves in the built-in streets: trees, poles, signs, cars, people, bicyclists.

All lengths are metres; x to the right of the camera, z ahead of it, y above the road.
"""

from pipeline.numerics.randomness import Draws
from pipeline.streets.canvas import Canvas, Ink, Point
from pipeline.streets.materials import Label, Material

CAR_SHADOW, FOOT_SHADOW = 22, 30


def draw_tree(canvas: Canvas, draws: Draws, x: float, z: float) -> None:
    """A trunk and a crown of overlapping leaf balls, lighter at the top."""
    height, radius = draws.uniform(4.5, 9.0), draws.uniform(1.2, 2.4)
    trunk, tint = draws.uniform(0.12, 0.22), draws.tint()
    canvas.ground_shadow(x - radius * 0.8, x + radius * 0.8, z - 1.0, z + 1.0, FOOT_SHADOW)
    canvas.rectangle(x - trunk, 0.0, x + trunk, height, z, Ink(Label.TREE, Material.BARK, draws.tint()))
    slim = draws.uniform(0.7, 1.5)
    balls = 14 if z < 30.0 else 7
    for step in range(balls):
        level = step / (balls - 1)
        spread = radius * (1.0 - 0.55 * level)
        dx, dy = draws.uniform(-1.0, 1.0) * spread, radius * slim * (2.0 * level - 0.8)
        ball = radius * draws.uniform(0.3, 0.6)
        shade = int(34 + 16 * level + draws.uniform(-6, 6) - 5 * dx / radius)
        ink = Ink(Label.TREE, Material.LEAF, tint, shade)
        canvas.ellipse((x + dx, height + dy, z), (ball, ball * 0.9), ink)


def draw_lamp(canvas: Canvas, draws: Draws, x: float, z: float) -> None:
    """A street lamp with an arm over the road, or a plain post."""
    height, half, tint = draws.uniform(5.0, 7.5), draws.uniform(0.06, 0.1), draws.tint()
    ink = Ink(Label.POLE, Material.POLE, tint)
    canvas.rectangle(x - half, 0.0, x + half, height, z, ink)
    canvas.rectangle(x - half * 1.8, 0.0, x + half * 1.8, 1.0, z, Ink(Label.POLE, Material.POLE, tint, 42))
    if draws.chance(0.75):
        end = x - (1.5 if x > 0 else -1.5)
        canvas.rectangle(min(x, end), height - 0.12, max(x, end), height, z, ink)
        canvas.rectangle(end - 0.3, height - 0.22, end + 0.3, height, z, Ink(Label.POLE, Material.LAMP, tint))


def draw_sign(canvas: Canvas, draws: Draws, x: float, z: float) -> None:
    """A traffic sign on its post: round, triangular or a board."""
    height, tint, kind = draws.uniform(2.3, 3.0), draws.tint(), draws.below(4)
    canvas.rectangle(x - 0.05, 0.0, x + 0.05, height, z, Ink(Label.POLE, Material.POLE, draws.tint()))
    face, field = Ink(Label.SIGN, Material.SIGN, tint), Ink(Label.SIGN, Material.SIGN_FACE, tint)
    if kind == 0:
        canvas.ellipse((x, height, z), (0.38, 0.38), face)
        canvas.ellipse((x, height, z), (0.25, 0.25), field)
    elif kind == 1:
        for size, ink in ((0.48, face), (0.27, field)):
            base = height - size * 0.6
            canvas.polygon([(x - size, base, z), (x + size, base, z), (x, base + size * 1.7, z)], ink)
    elif kind == 2:
        canvas.rectangle(x - 0.35, height - 0.45, x + 0.35, height + 0.45, z, face)
        canvas.rectangle(x - 0.2, height - 0.2, x + 0.2, height + 0.2, z, field)
    else:
        canvas.rectangle(x - 0.85, height - 0.35, x + 0.85, height + 0.5, z, face)
        canvas.rectangle(x - 0.7, height - 0.02, x + 0.5, height + 0.16, z, field)


def draw_signal(canvas: Canvas, draws: Draws, x: float, z: float) -> None:
    """A traffic light; CamVid counts it among the signs."""
    height, lit = draws.uniform(2.6, 3.4), draws.below(3)
    canvas.rectangle(x - 0.06, 0.0, x + 0.06, height, z, Ink(Label.POLE, Material.POLE, draws.tint()))
    canvas.rectangle(x - 0.22, height - 0.5, x + 0.22, height + 0.6, z, Ink(Label.SIGN, Material.SIGNAL, 0))
    for place in range(3):
        tint = 64 + 64 * place if place == lit else 0
        ink = Ink(Label.SIGN, Material.SIGNAL, tint)
        canvas.ellipse((x, height + 0.4 - 0.35 * place, z), (0.13, 0.13), ink)


def draw_car(canvas: Canvas, draws: Draws, x: float, z: float, oncoming: bool) -> None:
    """A car or van along the street: the end that faces the camera and the side that can be seen."""
    van = draws.chance(0.15)
    half = draws.uniform(0.8, 0.9) if not van else 1.0
    length, height = (4.2, draws.uniform(1.4, 1.6)) if not van else (5.2, draws.uniform(2.0, 2.5))
    belt, inset, tint = height * (0.6 if not van else 0.5), 0.14 if not van else 0.04, draws.tint()
    paint = Ink(Label.CAR, Material.BODY, tint)
    side = Ink(Label.CAR, Material.BODY, tint, 40)
    glass, tyre = Ink(Label.CAR, Material.GLASS, tint), Ink(Label.CAR, Material.TYRE)
    canvas.ground_shadow(x - half - 0.15, x + half + 0.15, z - 0.15, z + length, CAR_SHADOW)
    edge, roof = (x - half, x - half + inset) if x > 0 else (x + half, x + half - inset)
    ends = (z + 0.5, z + length - 0.9) if not van else (z + 0.05, z + length - 0.8)
    if x - half > 0 or x + half < 0:
        canvas.polygon(_quad(edge, 0.25, belt, z, z + length), side)
        cabin = [(edge, belt, ends[0]), (edge, belt, ends[1]), (roof, height, ends[1] - 0.5)]
        canvas.polygon([*cabin, (roof, height, ends[0] + 0.3)], side)
        if not van:
            canvas.polygon(_quad(edge, belt + 0.05, height - 0.12, ends[0] + 0.35, ends[1] - 0.45), glass)
        for wheel in (z + 0.8, z + length - 0.8):
            canvas.polygon(_octagon(edge, 0.32, wheel), tyre)
    for left in (x - half + 0.02, x + half - 0.25):
        canvas.rectangle(left, 0.0, left + 0.23, 0.5, z, tyre)
    canvas.polygon(_trapezoid(x, half, half - inset, belt, height, z), paint)
    canvas.polygon(_trapezoid(x, half - 0.12, half - inset - 0.1, belt + 0.04, height - 0.1, z), glass)
    canvas.rectangle(x - half, 0.25, x + half, belt, z, paint)
    canvas.rectangle(x - half, 0.25, x + half, 0.42, z, Ink(Label.CAR, Material.BODY, tint, 34))
    light = Material.HEADLIGHT if oncoming else Material.TAILLIGHT
    for left in (x - half + 0.06, x + half - 0.36):
        canvas.rectangle(left, belt - 0.26, left + 0.3, belt - 0.1, z, Ink(Label.CAR, light))
    canvas.rectangle(x - 0.26, 0.42, x + 0.26, 0.54, z, Ink(Label.CAR, Material.PLATE, tint))


def draw_crossing_car(canvas: Canvas, draws: Draws, x: float, z: float) -> None:
    """A car that crosses the street, seen from the side; x is its middle."""
    tint, height = draws.tint(), draws.uniform(1.4, 1.6)
    paint, glass = Ink(Label.CAR, Material.BODY, tint, 44), Ink(Label.CAR, Material.GLASS, tint)
    canvas.ground_shadow(x - 2.2, x + 2.2, z - 0.3, z + 1.7, CAR_SHADOW)
    canvas.rectangle(x - 2.1, 0.28, x + 2.1, height * 0.6, z, paint)
    canvas.polygon(_trapezoid(x, 1.45, 0.95, height * 0.6, height, z), paint)
    for start, stop in ((-1.15, -0.1), (0.0, 1.05)):
        canvas.rectangle(x + start, height * 0.62, x + stop, height - 0.14, z, glass)
    for wheel in (x - 1.3, x + 1.3):
        canvas.ellipse((wheel, 0.32, z), (0.32, 0.32), Ink(Label.CAR, Material.TYRE))
        canvas.ellipse((wheel, 0.32, z), (0.15, 0.15), Ink(Label.CAR, Material.PLATE, 0, 40))


def draw_pedestrian(canvas: Canvas, draws: Draws, x: float, z: float) -> None:
    """A walking or standing person, sometimes with a bag."""
    size, stride = draws.uniform(0.88, 1.06), draws.uniform(0.0, 0.2)
    canvas.ground_shadow(x - 0.3, x + 0.3, z - 0.3, z + 0.3, FOOT_SHADOW)
    trousers = Ink(Label.PEDESTRIAN, Material.TROUSERS, draws.tint())
    for way in (-1.0, 1.0):
        foot, hip = x + way * (stride + 0.1) * size, x + way * 0.09 * size
        legs = [(foot - 0.08, 0.0, z), (foot + 0.08, 0.0, z), (hip + 0.11, 0.88 * size, z)]
        canvas.polygon([*legs, (hip - 0.11, 0.88 * size, z)], trousers)
    _draw_upper_body(canvas, draws, (x, 0.8 * size, z), size, Label.PEDESTRIAN)
    if draws.chance(0.3):
        canvas.rectangle(
            x + 0.15, 0.55, x + 0.42, 0.95, z, Ink(Label.PEDESTRIAN, Material.BODY, draws.tint())
        )


def draw_bicyclist(canvas: Canvas, draws: Draws, x: float, z: float, along: bool) -> None:
    """A rider with the bicycle, seen from behind (`along`) or from the side."""
    bike = Ink(Label.BICYCLIST, Material.BIKE, draws.tint())
    legs = Ink(Label.BICYCLIST, Material.TROUSERS, draws.tint())
    canvas.ground_shadow(x - 0.4, x + 0.4, z - 0.2, z + 0.8, FOOT_SHADOW)
    if along:
        canvas.ellipse((x, 0.36, z), (0.09, 0.36), bike)
        canvas.rectangle(x - 0.3, 0.98, x + 0.3, 1.06, z, bike)
        for hip, knee in ((x - 0.12, 0.45), (x + 0.12, 0.3)):
            canvas.rectangle(hip - 0.08, knee, hip + 0.08, 1.0, z, legs)
        _draw_upper_body(canvas, draws, (x, 0.95, z), 0.95, Label.BICYCLIST)
        return
    for wheel in (x - 0.55, x + 0.55):
        canvas.ellipse((wheel, 0.35, z), (0.35, 0.35), bike, hole=0.7)
    canvas.polygon([(x - 0.5, 0.32, z), (x - 0.12, 0.42, z), (x + 0.38, 0.88, z), (x - 0.2, 0.88, z)], bike)
    canvas.rectangle(x + 0.35, 0.5, x + 0.5, 1.1, z, bike)
    canvas.polygon([(x - 0.28, 0.95, z), (x - 0.05, 0.95, z), (x + 0.08, 0.4, z), (x - 0.06, 0.35, z)], legs)
    _draw_upper_body(canvas, draws, (x - 0.15, 0.9, z), 0.95, Label.BICYCLIST, lean=0.3)


def _draw_upper_body(
    canvas: Canvas, draws: Draws, middle: Point, size: float, label: Label, lean: float = 0.0
) -> None:
    """Torso, arms and head of a person above the middle of the hips."""
    x, hip, z = middle
    tint, shoulder = draws.tint(), hip + 0.62 * size
    top = Ink(label, Material.TOP, tint)
    half, neck = draws.uniform(0.19, 0.26) * size, x + lean
    torso = [(x - half * 0.8, hip, z), (x + half * 0.8, hip, z), (neck + half, shoulder, z)]
    canvas.polygon([*torso, (neck - half, shoulder, z)], top)
    arm = Ink(label, Material.TOP, tint, 40)
    for way in (-1.0, 1.0):
        hand = neck + way * half * 1.25 + lean
        sleeve = [(neck + way * half * 0.7, shoulder, z), (neck + way * half * 1.15, shoulder - 0.05, z)]
        canvas.polygon([*sleeve, (hand + 0.05, hip + 0.05, z), (hand - 0.05, hip + 0.05, z)], arm)
    head = shoulder + 0.17 * size
    skin = Ink(label, Material.SKIN, draws.tint())
    canvas.ellipse((neck + lean * 0.3, head, z), (0.12 * size, 0.15 * size), skin)
    hair = Ink(label, Material.HAIR, draws.tint())
    canvas.ellipse((neck + lean * 0.3, head + 0.07 * size, z), (0.12 * size, 0.1 * size), hair)


def _quad(x: float, low: float, high: float, near: float, far: float) -> list[Point]:
    return [(x, low, near), (x, low, far), (x, high, far), (x, high, near)]


def _trapezoid(x: float, base: float, top: float, low: float, high: float, z: float) -> list[Point]:
    return [(x - base, low, z), (x + base, low, z), (x + top, high, z), (x - top, high, z)]


def _octagon(x: float, radius: float, z: float) -> list[Point]:
    """A wheel in the plane of a car's side."""
    short = radius * 0.41421356
    ring = [(-radius, -short), (-radius, short), (-short, radius), (short, radius)]
    ring += [(radius, short), (radius, -short), (short, -radius), (-short, -radius)]
    return [(x, radius + dy, z + dz) for dz, dy in ring]
