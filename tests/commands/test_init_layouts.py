"""`init` on images and labels that lie below one folder, or in folders of other names, as simulators write them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from strangers import held_out, label, library, picture, refused, run, source_of, target

from pipeline.datasets.listing import list_split
from pipeline.onboarding.layouts import tell_apart
from pipeline.onboarding.pairing import pair_up
from pipeline.onboarding.picture_folders import find_pictures

SIMULATOR = ("sim/{town}/rgb/frame_{n:04}_rgb.jpg", "sim/{town}/semantic/frame_{n:04}_sem.png")
CITYSCAPES = (
    "city/leftImg8bit/train/{town}/{town}_00000{n}_000019_leftImg8bit.png",
    "city/gtFine/train/{town}/{town}_00000{n}_000019_gtFine_labelIds.png",
)
GTA5 = ("gta/images/{n:05}.png", "gta/labels/{n:05}.png")
FLAT = ("flat/x{n}.jpg", "flat/x{n}_label.png")


def layout(tmp_path, image, mark, towns=("townA", "townB"), frames=3):
    """Frames of the same names in every town; returns images and labels by position."""
    for town in towns:
        for number in range(frames):
            picture(tmp_path / image.format(town=town, n=number), seed=number)
            label(tmp_path / mark.format(town=town, n=number), (3, 3, 9))


def listed():
    """Images and labels as the dataset reader pairs them by the file that was written."""
    listing = list_split(source_of(), "train", True)
    assert listing.problems == ()
    return [(str(item.image), str(item.label)) for item in listing.items]


@pytest.mark.parametrize(
    ("files", "given", "patterns"),
    [
        (SIMULATOR, ("sim", "sim"), ("*/rgb/*_rgb.jpg", "*/semantic/*_sem.png")),
        (SIMULATOR, ("sim/*/*/*_rgb.jpg", "sim/*/*/*_sem.png"), ("*/rgb/*_rgb.jpg", "*/semantic/*_sem.png")),
        (SIMULATOR, ("sim/*/rgb/*.jpg", "sim/*/semantic/*.png"), ("*/rgb/*rgb.jpg", "*/semantic/*sem.png")),
        (SIMULATOR, ("sim", "sim/*/semantic/*.png"), ("*/rgb/*_rgb.jpg", "*/semantic/*_sem.png")),
        (
            ("sim/{town}/RGB/{n}.png", "sim/{town}/Semantic/{n}.png"),
            ("sim", "sim"),
            ("*/RGB/*.png", "*/Semantic/*.png"),
        ),
        (
            ("sim/rgb/{town}/{n}.png", "sim/semantic/{town}/{n}.png"),
            ("sim", "sim"),
            ("rgb/*/*.png", "semantic/*/*.png"),
        ),
        (
            ("sim/{town}/a/rgb/{n}.png", "sim/{town}/ids/{n}.png"),
            ("sim/*/*/*/*.png", "sim/*/ids/*.png"),
            ("*/a/rgb/*.png", "*/ids/*.png"),
        ),
        (
            CITYSCAPES,
            ("city", "city"),
            ("leftImg8bit/*/*/*_leftImg8bit.png", "gtFine/*/*/*_gtFine_labelIds.png"),
        ),
        (GTA5, ("gta", "gta"), ("images/*.png", "labels/*.png")),
        (FLAT, ("flat", "flat"), ("*.jpg", "*_label.png")),
    ],
)
def test_pairs_are_found_and_written_as_the_reader_finds_them(clone, tmp_path, files, given, patterns):
    layout(tmp_path, *files)
    target(tmp_path)
    assert run(tmp_path, images=given[0], labels=given[1]) == 0
    split = source_of().split("train")
    assert (split.images, split.labels) == patterns
    due = {
        tuple(str(tmp_path / one.format(town=town, n=number)) for one in files)
        for town in ("townA", "townB")
        for number in range(3)
    }
    found = listed()
    assert len(found) == len(due) and set(found) == due


def test_folders_of_unequal_depth(clone, tmp_path):
    layout(tmp_path, "sim/{town}/rgb/{n}.png", "sim/{town}/ids/{n}.png", ("a", "b/c"))
    target(tmp_path)
    assert run(tmp_path, images="sim", labels="sim") == 0
    assert source_of().split("train").labels == "**/ids/*.png"
    assert len(listed()) == 6


def test_what_lies_beside_them_is_named(clone, tmp_path, capsys):
    layout(tmp_path, *SIMULATOR)
    picture(tmp_path / "sim/townA/overview.png")
    target(tmp_path)
    assert run(tmp_path, images="sim", labels="sim") == 0
    told = capsys.readouterr().out
    assert (
        f"images are '{tmp_path}/sim/*/rgb/*_rgb.jpg', labels '{tmp_path}/sim/*/semantic/*_sem.png'" in told
    )
    assert "left out: 1, neither of them: " in told and "townA/overview.png" in told


def test_held_out_images_and_labels_of_one_folder(clone, tmp_path, capsys):
    layout(tmp_path, *SIMULATOR)
    target(tmp_path)
    held_out(tmp_path)
    words = [f"--heldout-{side}={tmp_path}/test" for side in ("images", "labels")]
    assert run(tmp_path, *words, "--target-ids", "ignore=7", "class_3=8", images="sim", labels="sim") == 0
    split = library().dataset("mine-heldout", "test").split("val")
    assert (split.images, split.labels) == ("pic/*.jpg", "ids/*.png")
    assert f"held-out: images are '{tmp_path}/test/pic/*.jpg'" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_written")
class TestDoubt:
    """Refused with patterns that do pair, and nothing is written."""

    def test_two_kinds_of_labels(self, tmp_path, capsys):
        layout(tmp_path, *SIMULATOR)
        layout(tmp_path, SIMULATOR[0], "sim/{town}/parts/frame_{n:04}_part.png")
        target(tmp_path)
        assert run(tmp_path, images="sim", labels="sim") == 2
        images = f"--source-images '{tmp_path}/sim/*/rgb/*_rgb.jpg'"
        refused(
            capsys,
            "2 pairings of images and labels are possible",
            f"{images} --source-labels '{tmp_path}/sim/*/semantic/*_sem.png'  (8-bit ids)",
            f"{images} --source-labels '{tmp_path}/sim/*/parts/*_part.png'  (8-bit ids)",
        )

    def test_images_that_could_be_labels(self, tmp_path, capsys):
        for number in range(3):
            label(tmp_path / f"sim/a/{number}.png", (3, 9))
            label(tmp_path / f"sim/b/{number}.png", (3, 9))
        target(tmp_path)
        assert run(tmp_path, images="sim", labels="sim") == 2
        refused(
            capsys,
            f"--source-images '{tmp_path}/sim/a/*.png' --source-labels '{tmp_path}/sim/b/*.png'",
            f"--source-images '{tmp_path}/sim/b/*.png' --source-labels '{tmp_path}/sim/a/*.png'",
        )

    def test_a_frame_that_is_missing_in_one_town(self, tmp_path, capsys):
        layout(tmp_path, *SIMULATOR)
        (tmp_path / "sim/townB/rgb/frame_0001_rgb.jpg").unlink()
        target(tmp_path)
        assert run(tmp_path, images="sim", labels="sim") == 2
        refused(capsys, "0 images have no label and 1 labels no image", "townB/semantic/frame_0001_sem.png")

    def test_kinds_that_no_pattern_parts(self, tmp_path, capsys):
        layout(tmp_path, "flat/{n}.png", "flat/{n}_label.png")
        target(tmp_path)
        for images, labels in (("flat", "flat"), ("flat", "flat/*_label.png"), ("flat/*.png", "flat")):
            assert run(tmp_path, images=images, labels=labels) == 2
            told = refused(capsys, "move the labels to a folder of their own")
            assert "*" not in told

    @pytest.mark.parametrize(("ours", "theirs"), [("train", "val"), ("town1", "town2"), ("townA", "townB")])
    def test_labels_of_another_part_of_the_data(self, tmp_path, capsys, ours, theirs):
        for number in range(3):
            picture(tmp_path / f"sim/rgb/{ours}/{number}.png", seed=number)
            label(tmp_path / f"sim/ids/{theirs}/{number}.png", (3, 9))
        target(tmp_path)
        assert run(tmp_path, images="sim/rgb", labels="sim/ids") == 2
        refused(capsys, "no label belongs to an image by its name")


def test_the_patterns_of_a_refusal_pair(tmp_path):
    layout(tmp_path, *SIMULATOR)
    Image.fromarray(np.full((40, 48), 26001, np.uint16)).save(tmp_path / "sim/deep.png")
    pictures = find_pictures(str(tmp_path / "sim"), "--target-images")
    with pytest.raises(Exception, match="give each side as a pattern") as refusal:
        pair_up(pictures, pictures, "--target-labels")
    _, images, _, labels, _ = str(refusal.value).split("'")
    sides = [find_pictures(one, "--target-labels") for one in (images, labels)]
    assert len(pair_up(*sides, "--target-labels").files) == 6


def test_two_far_folders_are_left_as_given(tmp_path):
    layout(tmp_path, *GTA5)
    sides = [find_pictures(str(tmp_path / "gta" / one), "--x") for one in ("images", "labels")]
    assert tell_apart(*sides, "--x") == tuple(sides)
    assert Path(sides[0].root).name == "images"
