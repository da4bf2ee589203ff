"""`init` on labels whose values do not say what they mean: it names what it saw, proposes, and asks or stops."""

import re

import numpy as np
import pytest
from PIL import Image, ImageFilter
from strangers import (
    label,
    labels_of,
    library,
    picture,
    refused,
    run,
    source,
    source_of,
    stripes,
    target,
    target_of,
)

from pipeline.commands import init
from pipeline.datasets.listing import list_split
from pipeline.datasets.readers import open_reader
from pipeline.onboarding import label_reading

MASK = (0, 0, 0, 255)


def blurred(values):
    return Image.fromarray(stripes(values)).filter(ImageFilter.GaussianBlur(1))


def stray(path):
    pixels = stripes(MASK)
    pixels[5, 5] = 1
    Image.fromarray(pixels).save(path)


def soft(path):
    pixels = stripes(MASK)
    pixels[:, 10], pixels[:, 11] = 63, 192
    Image.fromarray(pixels).save(path)


def once_a_jpeg(path):
    y, x = np.mgrid[:40, :48]
    Image.fromarray((((x - 24) ** 2 + (y - 20) ** 2) < 200) * np.uint8(255)).save(
        path.with_suffix(".jpg"), quality=60
    )
    Image.open(path.with_suffix(".jpg")).save(path)
    path.with_suffix(".jpg").unlink()


def thin_vessels(path):
    """More half-grey pixels than white ones, of many levels."""
    pixels = np.zeros((40, 48), dtype=np.uint8)
    pixels[:, 20:24] = 255
    shades = np.random.default_rng(0).integers(40, 220, (40, 2))
    pixels[:, 19], pixels[:, 24] = shades[:, 0], shades[:, 1]
    Image.fromarray(pixels).save(path)


def trimap(path):
    Image.fromarray(stripes((0, 0, 128, 255))).save(path)


def steps_of_grey(path):
    Image.fromarray(stripes((0, 85, 170, 255))).save(path)


def soft_ids(path):
    blurred((3, 3, 9, 9)).save(path)


def soft_colors(path):
    blurred(((128, 64, 128), (0, 0, 0), (70, 70, 70))).save(path)


def one_id_and_255(path):
    Image.fromarray(stripes((1, 1, 255, 255))).save(path)


DOUBTFUL = {
    stray: (
        "like masks",
        "0.05% of the pixels have another value (1)",
        "--ids background=0 object=255 --unnamed nearest",
    ),
    soft: ("like masks", "2 other values (63, 192)", "--ids background=0 object=255 --unnamed nearest"),
    once_a_jpeg: ("like masks", "other values (1, 2, 3, ", "--ids background=0 object=255 --unnamed nearest"),
    thin_vessels: ("like masks", "--ids background=0 object=255 --unnamed nearest"),
    trimap: (
        "like masks",
        "25.00% of the pixels have another value (128)",
        "--ids background=0 object=255 ignore=128",
    ),
    steps_of_grey: ("like masks", "--ids class_0=0 class_85=85 class_170=170 class_255=255"),
    soft_ids: (
        "look like soft edges",
        "--ids class_3=3 class_9=9 --unnamed nearest",
        "--unnamed ignore",
    ),
    soft_colors: ("look like soft edges", "--unnamed nearest", "--unnamed ignore"),
    one_id_and_255: ("two values", "--ids background=1 object=255"),
}


@pytest.fixture
def folders(clone, tmp_path):
    target(tmp_path)
    return tmp_path


@pytest.mark.parametrize("make", DOUBTFUL, ids=lambda make: make.__name__)
def test_without_a_terminal_the_readings_are_shown_and_nothing_is_written(folders, clone, capsys, make):
    labels_of(folders, make)
    assert run(folders) == 2
    refused(capsys, *DOUBTFUL[make])
    assert not (clone / "config/mine.yaml").exists()


def test_a_stray_pixel_is_counted(folders, capsys):
    def one_stray(path):
        values = np.repeat(stripes((1, 1, 2), (480, 1)), 400, axis=0)
        values[0, 0] = 7
        Image.fromarray(values).save(path)

    labels_of(folders, one_stray)
    for number in range(4):
        picture(folders / f"sim/rgb/{number}.png", (480, 400), seed=number)
    for words in ((), ("--ids", "road=1", "sky=2")):
        assert run(folders, *words) == 2
        told = refused(capsys, "4 of 768,000 pixels")
        assert told.count("0.00%") == 1  # what lies near a named value, or far from all


def readings(told):
    """The options of every reading that was shown."""
    return [line.split() for line in re.findall(r"^  \d\. .*\n     (.*)$", told, re.MULTILINE)]


@pytest.mark.parametrize("make", DOUBTFUL, ids=lambda make: make.__name__)
def test_the_options_shown_give_what_the_answer_gives(folders, capsys, monkeypatch, make):
    """Every reading can be typed and can be chosen by its number, and both write the same files."""
    labels_of(folders, make)
    run(folders)
    options = readings(capsys.readouterr().err)
    assert options
    for number, words in enumerate(options, start=1):
        assert run(folders, *words, "--force") == 0, words
        typed = source_of()
        monkeypatch.setattr(label_reading.sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda _, answer=str(number): answer)
        assert run(folders, "--force") == 0
        assert source_of() == typed
        monkeypatch.undo()
        monkeypatch.chdir(folders / "clone")
        whole = list_split(typed, "train", True)
        read = open_reader(typed, "train")
        assert all(set(np.unique(read.label(item).values)) <= typed.named_ids() for item in whole.items)


@pytest.mark.parametrize("answer", ["", "7", "x", "0"])
def test_any_other_answer_stops(folders, clone, capsys, monkeypatch, answer):
    labels_of(folders, stray)
    monkeypatch.setattr(label_reading.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert run(folders) == 2
    assert not (clone / "config/mine.yaml").exists()


@pytest.mark.parametrize(
    "values",
    [(1, 2, 255), (0, 1, 2, 3), (0, 7, 11, 26, 255), (0, 128), (0, 254), (3, 9), (0, 255)],
)
def test_ids_are_not_doubted(folders, values):
    source(folders, values=values)
    assert run(folders) == 0
    assert source_of().unnamed == "error"


def test_a_rare_class_beside_ignored_pixels_is_not_doubted(folders):
    def make(path):
        pixels = np.zeros((40, 48), dtype=np.uint8)
        pixels[:3, :3], pixels[10:12] = 1, 255
        Image.fromarray(pixels).save(path)

    labels_of(folders, make)
    assert run(folders) == 0
    assert source_of().raw_classes() == {0: "class_0", 1: "class_1", 255: "ignore"}


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "LA"])
def test_names_speak_of_the_values_in_the_files(folders, capsys, mode):
    labels_of(folders, lambda path: Image.fromarray(stripes(MASK)).convert(mode).save(path))
    assert run(folders, "--ids", "background=0", "polyp=255") == 0
    assert run(folders, "--ids", "background=0-127", "polyp=128-255", name="two") == 0
    assert source_of().ids == {"background": 0, "polyp": 255}
    assert source_of("two").ids == {"background": "0-127", "polyp": "128-255"}
    out = capsys.readouterr().out
    assert out.count("25.00%  polyp") == 2 and out.count("75.00%  background") == 2
    for spec in (source_of(), source_of("two")):
        item = list_split(spec, "train", True).items[0]
        assert set(np.unique(open_reader(spec, "train").label(item).values)) == {0, 255}


def test_a_jpeg_mask_takes_the_users_names(folders, capsys):
    source(folders, values=MASK, mark="sim/sem/{}.jpg")
    assert run(folders, "--ids", "background=0", "polyp=255") == 0
    assert (source_of().labels_as, source_of().unnamed) == ("grey", "nearest")
    assert "mean the nearest one" in capsys.readouterr().out
    assert run(folders, "--ids", "background=0", "polyp=90", name="two") == 2
    refused(capsys, "far from every value that --ids names", "--unnamed nearest")


def test_soft_edges_by_the_users_names(folders, capsys):
    labels_of(folders, soft)
    assert run(folders, "--ids", "background=0", "polyp=255") == 2
    refused(capsys, "no name for 2 values", "--unnamed nearest", "--unnamed ignore")
    assert run(folders, "--ids", "background=0", "polyp=255", "--unnamed", "ignore") == 0
    assert "4.17%  (ignored)" in capsys.readouterr().out


def test_far_too_many_colors_around_a_few(folders, capsys):
    """A palette that went through JPEG: every color has neighbours that fill squares as well."""
    draw = np.random.default_rng(0)

    def make(path):
        noise = draw.integers(-6, 7, (8, 16, 3)).repeat(3, axis=1).repeat(5, axis=0)
        Image.fromarray((stripes(((128, 64, 128), (10, 200, 10))) + noise).astype(np.uint8)).save(path)

    labels_of(folders, make, count=8)
    assert run(folders) == 2
    refused(capsys, "2 classes; the others mean the nearest", "--unnamed nearest")


def test_labels_of_several_kinds_name_an_odd_one(folders, capsys):
    source(folders)
    label(folders / "sim/sem/2.png", ((1, 2, 3), (9, 9, 9)))
    assert run(folders) == 2
    refused(capsys, "several kinds")


def test_masks_of_one_bit_beside_masks_of_eight(folders):
    source(folders, values=MASK)
    Image.fromarray(stripes(MASK)).convert("1").save(folders / "sim/sem/2.png")
    assert run(folders) == 0
    assert (source_of().labels_as, source_of().ids) == ("grey", {"background": 0, "object": 255})


def test_palettes_of_few_bits(folders):
    def make(path):
        picture = Image.fromarray(stripes((0, 1, 2)))
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 9, 9])
        picture.save(path, bits=2)

    labels_of(folders, make)
    assert run(folders) == 0
    assert source_of().raw_classes() == {0: "class_0", 1: "class_1", 2: "class_2"}


def test_lossless_webp(folders):
    source(folders, values=((1, 2, 3), (200, 2, 3)), mark="sim/sem/{}.webp")
    for path in (folders / "sim/sem").iterdir():
        label(path, ((1, 2, 3), (200, 2, 3)), lossless=True)
    assert run(folders) == 0
    assert list(source_of().colors) == ["color_1_2_3", "color_200_2_3"]


# Names


@pytest.mark.parametrize("word", ["Ignore", "IGNORE", " ignore"])
def test_ignore_in_any_case_is_no_class(folders, word):
    source(folders, values=(1, 2, 3))
    (folders / "names.yaml").write_text(f"road: 1\ncar: 2\n{word!r}: 3\n")
    assert run(folders, "--classes", str(folders / "names.yaml")) == 0
    assert library().taxonomy("mine", "test").names == ("road", "car")
    assert source_of().raw_classes()[3] == "ignore"


@pytest.mark.parametrize(
    "word", ["no", "on", "off", "Yes", "true", "null", "010", "1.10", "~", "2024-01-01", "0x1F"]
)
def test_words_that_yaml_takes_for_something_else_are_names(folders, word):
    source(folders, values=(1, 2))
    (folders / "names.yaml").write_text(f"road: 1\n{word}: 2\n")
    assert run(folders, "--classes", str(folders / "names.yaml")) == 0
    assert library().taxonomy("mine", "test").names == ("road", word)
    assert source_of().raw_classes() == {1: "road", 2: word}


@pytest.mark.parametrize(
    "word", ["é", "a: b", "#1", '"', "\\", "a\tb", "日本", "😀", "x, y", "{a}", "- a", "\x7f"]
)
def test_any_name_is_written_so_that_it_reads_back(folders, word):
    source(folders, values=(1, 2))
    assert run(folders, "--ids", "road=1", f"{word}=2") == 0
    assert library().taxonomy("mine", "test").names == ("road", word)
    assert source_of().raw_classes() == {1: "road", 2: word}


# The target's own labels


def with_truth(folders, values, source_values=(1, 2, 3)):
    source(folders, values=source_values)
    for number in range(5):
        label(folders / f"truth/IMG_{number}.png", values, (60, 44))
    return ("--target-labels", str(folders / "truth"))


NAMED = ("--ids", "road=1", "car=2", "sky=3")


def test_equal_numbers_are_not_taken_for_equal_names(folders, clone, capsys):
    truth = with_truth(folders, (3, 1, 1))
    assert run(folders, *NAMED, *truth) == 2
    refused(
        capsys,
        "33.33%   66.67%  1  road",
        "33.33%    0.00%  2  car",
        "--target-ids same",
        "--target-classes FILE",
    )
    assert not (clone / "config/mine.yaml").exists()


def test_the_targets_values_have_names_of_their_own(folders, capsys):
    truth = with_truth(folders, (7, 7, 8))
    assert run(folders, *NAMED, *truth, "--target-ids", "road=8", "sky=7") == 0
    assert target_of().raw_classes() == {8: "road", 7: "sky"}
    assert source_of().raw_classes() == {1: "road", 2: "car", 3: "sky"}
    out = capsys.readouterr().out
    assert "33.33%   33.33%  road" in out and "33.33%   66.67%  sky" in out and "33.33%        -  car" in out


def test_a_class_that_no_label_holds_is_warned_of(folders, capsys):
    source(folders, values=(1, 2, 3))
    assert run(folders, *NAMED, "moon=77") == 0
    out = capsys.readouterr().out
    assert "warning: no pixel of moon in the source labels" in out
    assert "  source  share of the pixels\n" in out
    assert run(folders, *NAMED, "--force") == 0
    assert "warning: no pixel" not in capsys.readouterr().out


def test_the_targets_labels_may_be_stored_in_another_way(folders):
    truth = with_truth(folders, ((9, 9, 9), (200, 0, 0)))
    (folders / "names.yaml").write_text("road: [[9, 9, 9]]\nIgnore: [[200, 0, 0]]\n")
    assert run(folders, *NAMED, *truth, "--target-classes", str(folders / "names.yaml")) == 0
    assert target_of().colors == {"road": ((9, 9, 9),), "ignore": ((200, 0, 0),)}


def test_the_same_is_said_once_and_used_on_both_sides(folders):
    truth = with_truth(folders, (3, 1, 1))
    assert run(folders, *NAMED, *truth, "--target-ids", "same") == 0
    assert target_of().raw_classes() == source_of().raw_classes()


def test_the_same_may_be_answered(folders, monkeypatch):
    truth = with_truth(folders, (3, 1, 1))
    monkeypatch.setattr(label_reading.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "1")
    assert run(folders, *NAMED, *truth) == 0
    assert target_of().raw_classes() == source_of().raw_classes()


def test_values_that_the_source_lacks(folders, capsys):
    truth = with_truth(folders, (3, 17))
    assert run(folders, *truth, "--target-ids", "same") == 2
    refused(capsys, "do not cover: 17", "--classes", "--target-classes", "`ignore`")
    assert run(folders, *NAMED, *truth, "--target-ids", "sky=3", "snow=17") == 2
    refused(capsys, "no class `snow`", "valid: car, road, sky", "`ignore`")


def test_masks_are_named_alike_on_both_sides(folders):
    truth = with_truth(folders, MASK, source_values=MASK)
    assert run(folders, *truth) == 0
    assert target_of().ids == source_of().ids == {"background": 0, "object": 255}


def test_init_knows_no_target_ids_without_target_labels():
    """The options of the two sides are the same but for the lead."""
    import argparse

    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    for name in ("classes", "ids", "unnamed"):
        assert {f"--{name}", f"--target-{name}"} <= options
