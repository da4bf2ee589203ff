"""Seeded damage to folders, pictures, YAML, JSON and lists, as files of strangers and full disks have it."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

Damage = Callable[[Path, random.Random], None]

STRANGE = (
    None, True, False, 0, -1, 1.5, float("inf"), float("nan"), 10**30, "", " ", "no", "null", "ignore", "../up", "/",
    "*", "**/*", "*.png", "$HOME", "${NOT_SET}", "~", "a\nb", "ü😀", "\x7f", "x" * 300, [], {}, [[]], [1, [2]],
    {"a": {"b": None}}, [None], "1-3", "255",
)  # fmt: skip
NAMES = (
    "#1.png",
    " a .png",
    "a\nb.png",
    os.fsdecode(b"\xff.png"),
    "ü😀.png",
    "x" * 251 + ".png",
    ".png",
    "a",
    "-.png",
    "a.b.c.PNG",
)


def inner(tree: Any, draw: random.Random) -> tuple[Any, Any] | None:
    """A random place in nested lists and mappings: the container and the key or index."""
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(pairs):
            places.append((node, key))
            visit(value)

    visit(tree)
    return draw.choice(places) if places else None


def change_value(tree: Any, draw: random.Random) -> Any:
    place = inner(tree, draw)
    if place is None or draw.random() < 0.1:
        return draw.choice(STRANGE)
    container, key = place
    how = draw.randrange(4)
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(container, dict):
        container[draw.choice(["x", "no", "ids", "colors", "list", "", "splits"])] = container.pop(key)
    elif how == 2:
        container[key] = [container[key], draw.choice(STRANGE)]
    else:
        container[key] = draw.choice(STRANGE)
    return tree


def yaml_value(path: Path, draw: random.Random) -> None:
    path.write_text(yaml.safe_dump(change_value(yaml.safe_load(path.read_text()), draw), allow_unicode=True))


def json_value(path: Path, draw: random.Random) -> None:
    path.write_text(json.dumps(change_value(json.loads(path.read_text()), draw)))


def cut(path: Path, draw: random.Random) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: draw.randrange(len(whole) + 1)])


def flip(path: Path, draw: random.Random) -> None:
    whole = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 3, 20])):
        if whole:
            whole[draw.randrange(len(whole))] = draw.randrange(256)
    path.write_bytes(whole)


def noise(path: Path, draw: random.Random) -> None:
    path.write_bytes(draw.randbytes(draw.choice([0, 1, 100, 5000])))


def text_lines(path: Path, draw: random.Random) -> None:
    lines = path.read_text(errors="replace").split("\n")
    place = draw.randrange(len(lines))
    extra = [
        "\t",
        "- ",
        "a: b: c",
        "{",
        "#x",
        "%YAML 9",
        "---",
        "&a [*a]",
        "? [a, b]\n: c",
        "!!python/object:os.x {}",
        "\0",
        '"',
    ]
    lines[place : place + draw.randrange(2)] = [draw.choice(extra)]
    path.write_text("\n".join(lines))


def vanish(path: Path, draw: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def become_folder(path: Path, draw: random.Random) -> None:
    vanish(path, draw)
    path.mkdir()


def become_link(path: Path, draw: random.Random) -> None:
    vanish(path, draw)
    path.symlink_to(draw.choice(["nowhere", path.name, ".", "..", "/dev/null", "/proc/self/mem"]))


def become_pipe(path: Path, draw: random.Random) -> None:
    vanish(path, draw)
    os.mkfifo(path)


def rename(path: Path, draw: random.Random) -> None:
    path.rename(path.with_name(draw.choice(NAMES)))


def add_beside(path: Path, draw: random.Random) -> None:
    shutil.copy(path, path.with_name(draw.choice([path.stem + ".JPG", path.stem + ".bmp", *NAMES])))


def another_picture(path: Path, draw: random.Random) -> None:
    """A picture of another kind under the same name, whatever its ending says."""
    size = draw.choice([(1, 1), (2, 50), (48, 40), (40, 48), (300, 7)])
    values = np.random.default_rng(draw.randrange(2**32)).integers(
        0, draw.choice([2, 256]), (size[1], size[0], 4)
    )
    picture = Image.fromarray(values.astype(np.uint8))
    mode = draw.choice(["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F", "CMYK"])
    if mode == "I;16":
        picture = Image.fromarray((values[..., 0] * 257).astype(np.uint16))
    else:
        picture = picture.convert("RGB").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = draw.choice([1, 3, 6, 8, 99])
    kind = draw.choice(["PNG", "TIFF", "JPEG", "BMP", "GIF", "WEBP", "PPM"])
    try:
        picture.save(path, kind, exif=exif)
    except (OSError, ValueError, KeyError):  # not every format stores every mode
        picture.convert("RGB").save(path, "PNG")


WHOLE: tuple[Damage, ...] = (cut, noise, vanish, become_folder, become_link, become_pipe)
ANY: tuple[Damage, ...] = (*WHOLE, flip)
PICTURE: tuple[Damage, ...] = (*ANY, rename, add_beside, another_picture, another_picture, another_picture)
YAML: tuple[Damage, ...] = (*ANY, text_lines, *[yaml_value] * 12)
JSON: tuple[Damage, ...] = (*ANY, *[json_value] * 12)
LIST: tuple[Damage, ...] = (*ANY, text_lines, text_lines, text_lines)
FOLDER: tuple[Damage, ...] = (vanish, become_link, become_pipe)
