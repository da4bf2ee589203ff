import numpy as np
import pytest
from PIL import Image
from tiny_pictures import write_ids, write_image, write_png

from pipeline.artifacts.errors import DataError
from pipeline.datasets import headers
from pipeline.datasets.decoding import read_color_label, read_image, read_label, read_mask
from pipeline.datasets.headers import picture_size, png_header
from pipeline.datasets.png16 import read_first_channel

IDS = np.array([[0, 1, 2, 23], [7, 7, 255, 0], [3, 3, 3, 3]], dtype=np.uint8)


# Images


def test_png_comes_back_as_it_was_written(tmp_path):
    pixels = write_image(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)
    assert picture_size(tmp_path / "a.png") == (8, 6)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_8_bit_mode_becomes_rgb(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{suffix}")
    read = read_image(tmp_path / f"a.{suffix}")
    assert read.shape == (4, 5, 3)
    assert (read >= 254).all()


def test_images_are_turned_upright(tmp_path):
    picture = Image.new("RGB", (4, 2), (0, 0, 0))
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    picture.save(tmp_path / "a.png", exif=exif)
    upright = read_image(tmp_path / "a.png")
    assert upright.shape == (4, 2, 3)
    assert upright[0, 1].tolist() == [255, 255, 255]


def test_16_bit_grey_images_are_refused(tmp_path):
    Image.fromarray(np.full((3, 3), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png: .*more than 8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write_image(path, (64, 64))
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 40 if suffix != "jpg" else len(whole) * 9 // 10):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.\w+: "):
            read_image(path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a.png: "):
        read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png: "):
        read_label(tmp_path / "a.png", "ids8")


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none.png: .*No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


def test_damaged_bytes_never_pass_as_other_errors(tmp_path):
    write_image(tmp_path / "a.png", (16, 16))
    whole = bytearray((tmp_path / "a.png").read_bytes())
    for place in range(8, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        (tmp_path / "b.png").write_bytes(broken)
        try:
            read_image(tmp_path / "b.png")
        except DataError as error:
            assert str(tmp_path / "b.png") in str(error)


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    # 2.5 gigapixels in a header and nothing behind it: decoding would fail with another message.
    write_png(tmp_path / "a.png", np.zeros((1, 1, 3)), 8, 2)
    header = bytearray((tmp_path / "a.png").read_bytes())
    header[16:24] = (50_000).to_bytes(4, "big") * 2
    (tmp_path / "a.png").write_bytes(_with_valid_header(header))
    with pytest.raises(DataError, match=r"a.png: too large"):
        read_image(tmp_path / "a.png")


def test_the_limit_holds_for_whole_files_too(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", (8, 6))
    write_png(tmp_path / "b.png", np.zeros((6, 8, 3)), 16, 2)
    monkeypatch.setattr(headers, "MAX_PIXELS", 47)
    with pytest.raises(DataError, match="8x6 pixels; the limit is 47"):
        read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="8x6 pixels; the limit is 47"):
        read_label(tmp_path / "b.png", "synthia")


def _with_valid_header(png: bytearray) -> bytes:
    import zlib

    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    return bytes(png)


# Labels


@pytest.mark.parametrize("palette", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_ids_are_the_pixels_of_grey_and_the_index_of_palette_files(tmp_path, suffix, palette):
    path = tmp_path / f"a.{suffix}"
    write_ids(path, IDS, palette)
    np.testing.assert_array_equal(read_label(path, "ids8"), IDS)


@pytest.mark.parametrize(
    ("depth", "color_type", "channels", "told"),
    [
        (8, 2, 3, "8-bit RGB PNG .*labels_as: colors"),
        (8, 6, 4, "8-bit RGB with alpha PNG"),
        (8, 4, 2, "8-bit grey with alpha"),
        (16, 0, 1, "16-bit grey PNG .*labels_as: synthia"),
        (16, 2, 3, "16-bit RGB PNG"),
    ],
)
def test_labels_that_are_no_8_bit_ids_are_refused(tmp_path, depth, color_type, channels, told):
    write_png(tmp_path / "a.png", np.ones((4, 8, channels)), depth, color_type)
    assert png_header(tmp_path / "a.png") == (depth, color_type)
    with pytest.raises(DataError, match=rf"a.png: {told}"):
        read_label(tmp_path / "a.png", "ids8")


def test_pillow_alone_would_change_4_bit_ids(tmp_path):
    """The reason why the depth is read from the header."""
    write_png(tmp_path / "a.png", np.ones((4, 8, 1)), 4, 0)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "a.png")))) == {17}


def test_lossy_labels_are_refused(tmp_path):
    write_ids(tmp_path / "a.jpg", IDS)
    with pytest.raises(DataError, match="JPEG changes ids"):
        read_label(tmp_path / "a.jpg", "ids8")
    with pytest.raises(DataError, match="JPEG changes ids"):
        read_color_label(tmp_path / "a.jpg", [(0, 0, 0)])


def test_colors_become_their_places(tmp_path):
    colors = [(200, 0, 0), (0, 0, 0), (0, 0, 200)]
    places = np.random.default_rng(0).integers(0, 3, (5, 7))
    Image.fromarray(np.array(colors, dtype=np.uint8)[places]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_color_label(tmp_path / "a.png", colors).values, places)
    Image.open(tmp_path / "a.png").convert("RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_color_label(tmp_path / "b.png", colors).values, places)


@pytest.mark.parametrize("stranger", [(255, 255, 255), (0, 0, 1), (100, 0, 0)])
def test_unknown_colors_are_refused(tmp_path, stranger):
    pixels = np.zeros((10, 10, 3), dtype=np.uint8)
    pixels[0, 0] = stranger
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=rf"1 colors that.*\[{stranger[0]}, {stranger[1]}, {stranger[2]}\].*1.0%"
    ):
        read_color_label(tmp_path / "a.png", [(0, 0, 0), (200, 0, 0)])


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_masks_of_black_and_white(tmp_path, mode):
    white = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    Image.fromarray(white).convert(mode).save(tmp_path / "a.png")
    for kind in ("mask", "grey"):
        assert read_label(tmp_path / "a.png", kind).tolist() == [[0, 255], [255, 0]]
    assert read_mask(tmp_path / "a.png").tolist() == [[False, True], [True, False]]


# SYNTHIA


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2), (0, 1)])
def test_synthia_ids_are_the_first_channel_of_16_bits(tmp_path, color_type, channels):
    samples = np.random.default_rng(0).integers(0, 60000, (5, 7, channels))
    samples[..., 0] = np.random.default_rng(1).integers(0, 23, (5, 7))
    write_png(tmp_path / "a.png", samples, 16, color_type)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", "synthia"), samples[..., 0])


def filtered(samples, kinds):
    """Filtered rows of 16-bit samples (H, W, C) by the definition, byte by byte; one filter per row."""
    step = 2 * samples.shape[2]
    rows = [list(row.astype(">u2").tobytes()) for row in samples]
    out = b""
    for y, kind in enumerate(kinds):
        out += bytes([kind])
        for x, value in enumerate(rows[y]):
            left = rows[y][x - step] if x >= step else 0
            up = rows[y - 1][x] if y else 0
            corner = rows[y - 1][x - step] if y and x >= step else 0
            nearest = min(
                (abs(left + up - corner - a), order, a) for order, a in enumerate((left, up, corner))
            )[2]
            out += bytes([(value - (0, left, up, (left + up) // 2, nearest)[kind]) % 256])
    return out


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2), (0, 1)])
def test_16_bit_files_with_every_filter(tmp_path, color_type, channels):
    samples = np.random.default_rng(0).integers(0, 65536, (12, 7, channels))
    write_png(
        tmp_path / "a.png",
        samples,
        16,
        color_type,
        data=filtered(samples, [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 4, 3]),
    )
    np.testing.assert_array_equal(read_first_channel(tmp_path / "a.png"), samples[..., 0])


def sixteen_bits(path):
    write_png(path, np.random.default_rng(0).integers(0, 65536, (9, 7, 3)), 16, 2)
    return path.read_bytes()


@pytest.mark.parametrize("length", [20, 40, 200, -12, -5])
def test_16_bit_files_that_are_cut_off(tmp_path, length):
    path = tmp_path / "a.png"
    path.write_bytes(sixteen_bits(path)[:length])
    with pytest.raises(DataError, match=r"a.png: damaged"):
        read_first_channel(path)


def test_16_bit_files_with_one_altered_byte(tmp_path):
    path = tmp_path / "a.png"
    whole = sixteen_bits(path)
    for place in range(8, len(whole) - 12):  # the rest, PNG's mark of the end, holds no pixel
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a.png: damaged"):
            read_first_channel(path)


def test_16_bit_files_with_too_few_pixels(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, np.zeros((9, 7, 3)), 16, 2, data=b"\0" * 50)
    with pytest.raises(DataError, match=r"a.png: damaged"):
        read_first_channel(path)


def test_8_bit_files_are_not_taken_for_16_bits(tmp_path):
    write_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="not of 16 bits"):
        read_first_channel(tmp_path / "a.png")


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""PNG's interlacing: first column, first row, and the distances of the pixels of each pass."""


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2), (0, 1)])
def test_interlaced_16_bit_files(tmp_path, color_type, channels):
    samples = np.random.default_rng(0).integers(0, 65536, (9, 7, channels))
    parts = [samples[y::down, x::right] for x, y, right, down in PASSES]
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts for row in part if part.size)
    path = tmp_path / "a.png"
    write_png(path, samples, 16, color_type, data=data)
    whole = path.read_bytes()
    path.write_bytes(_with_valid_header(bytearray(whole[:28] + b"\1" + whole[29:])))
    np.testing.assert_array_equal(read_first_channel(path), samples[..., 0])


def test_pillow_alone_would_read_synthia_as_zeros(tmp_path):
    """The reason for another reader."""
    write_png(tmp_path / "a.png", np.full((4, 4, 3), 22), 16, 2)
    assert not np.asarray(Image.open(tmp_path / "a.png")).any()


def test_synthia_also_takes_8_bit_grey_and_nothing_else(tmp_path):
    write_ids(tmp_path / "a.png", IDS)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", "synthia"), IDS)
    write_image(tmp_path / "color.png")
    with pytest.raises(DataError, match="8-bit PNG; SYNTHIA's ids are the 16-bit files"):
        read_label(tmp_path / "color.png", "synthia")
    write_png(tmp_path / "big.png", np.full((4, 4, 3), 300), 16, 2)
    with pytest.raises(DataError, match="id 300 in the first channel"):
        read_label(tmp_path / "big.png", "synthia")
    write_png(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 20, (40, 40, 3)), 16, 2)
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-300])
    with pytest.raises(DataError, match=r"cut.png: damaged"):
        read_label(tmp_path / "cut.png", "synthia")
