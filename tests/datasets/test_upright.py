"""Sizes and pixels of turned pictures: every reader sees the upright picture, images and labels alike."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from tiny_pictures import write_ids, write_png

from pipeline.artifacts.errors import DataError
from pipeline.datasets.decoding import read_color_label, read_image, read_label
from pipeline.datasets.headers import is_turned, picture_size

SUFFIXES = ("png", "jpg", "tif", "webp")


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def saved(path, orientation, mode="RGB"):
    pixels = np.random.default_rng(orientation).integers(0, 3, (24, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels if mode == "RGB" else pixels[..., 0])
    picture.save(path, exif=exif_of(orientation), **({"lossless": True} if path.suffix == ".webp" else {}))
    with Image.open(path) as stored:
        return np.asarray(ImageOps.exif_transpose(stored))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_pixels_agree(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    upright = saved(path, orientation)
    assert picture_size(path) == (upright.shape[1], upright.shape[0])
    assert (upright.shape[0] > upright.shape[1]) == (orientation > 4)
    np.testing.assert_array_equal(read_image(path), upright)
    assert is_turned(path) == (orientation > 1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_labels_are_turned_as_their_images_are(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    upright = saved(path, orientation, "L")
    for kind in ("ids8", "grey"):
        np.testing.assert_array_equal(read_label(path, kind), upright)
    colors = [(red, green, blue) for red in range(3) for green in range(3) for blue in range(3)]
    upright = saved(path, orientation)
    places = read_color_label(path, colors).values
    np.testing.assert_array_equal(np.array(colors, np.uint8)[places], upright)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_an_orientation_behind_the_pixels_counts(tmp_path):
    """PNG allows it anywhere, and the readers of pixels see it there too."""
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 3)).save(path)
    whole = path.read_bytes()
    end = whole.index(b"IEND") - 4
    path.write_bytes(whole[:end] + chunk(b"eXIf", exif_of(6).tobytes()[6:]) + whole[end:])
    assert picture_size(path) == (3, 5)
    assert read_image(path).shape == (5, 3, 3)


def test_damaged_exif_is_a_data_error_or_no_orientation(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (5, 3)).save(path, exif=exif_of(6))
    whole = path.read_bytes()
    start = whole.index(b"eXIf") + 4
    for place in range(start, start + 26):
        body = bytearray(whole[start : start + 26])
        body[place - start] ^= 0xFF
        path.write_bytes(whole[: start - 8] + chunk(b"eXIf", bytes(body)) + whole[start + 30 :])
        try:
            assert sorted(picture_size(path)) == [3, 5]
            assert picture_size(path) == read_image(path).shape[1::-1]
        except DataError as error:
            assert str(path) in str(error)


# Labels of few bits, and losses


@pytest.mark.parametrize(("depth", "color_type"), [(1, 0), (2, 0), (4, 0), (1, 3), (2, 3), (4, 3)])
def test_ids_of_few_bits_are_the_values_in_the_file(tmp_path, depth, color_type):
    ids = np.arange(24).reshape(3, 8) % 2**depth
    write_png(tmp_path / "a.png", ids[..., None], depth, color_type)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", "ids8"), ids)


def test_tiffs_of_few_bits_are_not_spread(tmp_path):
    ids = np.arange(24, dtype=np.uint8).reshape(3, 8) % 16
    write_tiff(tmp_path / "a.tif", ids, 4)
    assert Image.open(tmp_path / "a.tif").getpixel((1, 0)) == 17  # why the depth is read
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif", "ids8"), ids)


def write_tiff(path, values, bits):
    """A grey TIFF of one uncompressed strip with 4 bits per sample."""
    packed = (values[:, ::2] << 4 | values[:, 1::2]).astype(np.uint8).tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(packed)))
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(packed))
    path.write_bytes(head + packed + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0")


def test_lossless_webp_holds_labels_and_lossy_does_not(tmp_path):
    colors = [(1, 2, 3), (200, 0, 9)]
    places = np.arange(64).reshape(8, 8) // 32
    picture = Image.fromarray(np.array(colors, np.uint8)[places])
    for name, options in (("a", {}), ("b", {"exif": exif_of(1)})):
        picture.save(tmp_path / f"{name}.webp", lossless=True, **options)
        np.testing.assert_array_equal(read_color_label(tmp_path / f"{name}.webp", colors).values, places)
    picture.save(tmp_path / "c.webp")
    with pytest.raises(DataError, match="WEBP changes ids"):
        read_color_label(tmp_path / "c.webp", colors)


def test_a_tiff_that_hides_a_jpeg_is_lossy(tmp_path):
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(
        tmp_path / "a.tif", compression="jpeg"
    )
    with pytest.raises(DataError, match="TIFF changes ids"):
        read_label(tmp_path / "a.tif", "ids8")


def test_shades_of_grey_of_any_picture(tmp_path):
    shades = np.array([[0, 90], [180, 255]], dtype=np.uint8)
    write_ids(tmp_path / "a.png", shades)
    Image.open(tmp_path / "a.png").convert("RGB").save(tmp_path / "b.png")
    Image.open(tmp_path / "a.png").convert("LA").save(tmp_path / "c.png")
    for name in "abc":
        np.testing.assert_array_equal(read_label(tmp_path / f"{name}.png", "grey"), shades)


def test_colors_and_deep_pictures_are_no_shades_of_grey(tmp_path):
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"100.0% of the pixels are in color; .*labels_as: colors"):
        read_label(tmp_path / "a.png", "grey")
    Image.fromarray(np.full((4, 4), 400, np.uint16)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read_label(tmp_path / "b.png", "grey")
