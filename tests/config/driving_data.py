"""Placeholders of the real layout and formats: GTA5, SYNTHIA, Synscapes, and Cityscapes as their target."""

import numpy as np
from tiny_pictures import write_ids, write_image, write_png

CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
SYNTHIA_IDS = [3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11]


def stripes(ids, size, offset=0):
    """Every id as a vertical stripe, (height, width)."""
    row = np.array([ids[(x * len(ids) // size[0] + offset) % len(ids)] for x in range(size[0])])
    return np.repeat(row[None], size[1], axis=0)


def write_gta5(root):
    """Palette PNGs; one of another size, as a few of the real ones are."""
    for number, size in ((1, (96, 53)), (2, (96, 53)), (3, (64, 36))):
        write_image(root / f"gta5/images/{number:05d}.png", size, seed=number)
        write_ids(root / f"gta5/labels/{number:05d}.png", stripes(CITYSCAPES_IDS, size, number), palette=True)


def write_synthia(root):
    """16-bit PNGs of three channels: class, instance, nothing."""
    for number in range(3):
        size = (64, 38)
        ids = stripes(SYNTHIA_IDS, size, number)
        channels = np.stack([ids, np.full_like(ids, 300 + number), np.zeros_like(ids)], axis=2)
        write_image(root / f"synthia/RGB/{number:07d}.png", size, seed=number)
        write_png(root / f"synthia/GT/LABELS/{number:07d}.png", channels.astype(np.uint16), 16, 2)


def write_synscapes(root):
    for number in (1, 2, 3):
        write_image(root / f"synscapes/img/rgb/{number}.png", (72, 36), seed=number)
        write_ids(root / f"synscapes/img/class/{number}.png", stripes(CITYSCAPES_IDS, (72, 36), number))


def write_cityscapes(root):
    """The target: labels of `val` only, because those of `train` need not exist."""
    for split, cities in (("train", {"aachen": 3, "bochum": 2}), ("val", {"lindau": 2})):
        for city, count in cities.items():
            for number in range(count):
                stem = f"{city}_{number:06d}_000019"
                picture = root / f"cityscapes/leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
                write_image(picture, (128, 64), seed=number)
    for number in range(2):
        name = f"lindau/lindau_{number:06d}_000019_gtFine_labelIds.png"
        write_ids(root / "cityscapes/gtFine/val" / name, stripes(CITYSCAPES_IDS, (128, 64), number))


def write_all(root):
    for write in (write_gta5, write_synthia, write_synscapes, write_cityscapes):
        write(root)
    return root
