"""The one walk over folders of pictures: links, circles, hidden and unread files."""

import os

import pytest
from tiny_pictures import write_image

from pipeline.artifacts.errors import DataError
from pipeline.datasets import walking
from pipeline.datasets.listing import list_split
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.walking import describe_omissions, find_all_pictures, find_files


@pytest.fixture
def photos(tmp_path):
    for name in ("a.png", "in/b.png", "in/deep/c.png"):
        write_image(tmp_path / "photos" / name)
    return tmp_path / "photos"


def left_out(found):
    return {one.path: one.why for one in found.left_out}


def test_all_pictures_of_a_folder(photos):
    assert find_all_pictures(photos).paths() == ("a.png", "in/b.png", "in/deep/c.png")
    assert find_all_pictures(photos).left_out == ()


@pytest.mark.parametrize("pattern", ["**/*.png", "**/*"])
def test_links_to_folders_are_followed_and_told(photos, tmp_path, pattern):
    write_image(tmp_path / "elsewhere/d.png")
    (photos / "more").symlink_to(tmp_path / "elsewhere")
    found = find_files(photos, [pattern])
    assert found.paths() == ("a.png", "in/b.png", "in/deep/c.png", "more/d.png")
    assert describe_omissions((), found.links) == [
        f"links to folders followed: 1: more -> {tmp_path / 'elsewhere'}"
    ]


def test_every_way_of_looking_finds_the_same(photos, tmp_path):
    """`init` and `predict` walk a folder, a dataset file matches patterns."""
    write_image(tmp_path / "elsewhere/d.png")
    (photos / "in/more").symlink_to(tmp_path / "elsewhere")
    (photos / "in/loop").symlink_to(photos)
    split = {"train": {"images": "**/*.png"}}
    listing = list_split(DatasetSpec.model_validate({"root": str(photos), "splits": split}), "train", False)
    assert tuple(path for path, _ in listing.files) == find_all_pictures(photos).paths()
    assert listing.omissions == (
        "left out: 1, a link to a folder that it lies in: in/loop",
        f"links to folders followed: 1: in/more -> {tmp_path / 'elsewhere'}",
    )


def test_circles_end(photos):
    (photos / "up").symlink_to("..")
    (photos / "in/self").symlink_to(".")
    (photos / "in/deep/top").symlink_to(photos)
    found = find_all_pictures(photos)
    assert found.paths() == ("a.png", "in/b.png", "in/deep/c.png")
    assert set(left_out(found).values()) == {walking.CIRCLE}
    assert find_files(photos, ["*/*/*.png"]).paths() == ("in/deep/c.png",)


def test_folders_that_link_to_each_other_take_no_time(tmp_path):
    """30 folders with links to all others have more paths than there are atoms."""
    for number in range(30):
        write_image(tmp_path / f"f{number:02d}/x.png", (2, 2))
    for number in range(30):
        for other in range(30):
            if other != number:
                (tmp_path / f"f{number:02d}/to{other:02d}").symlink_to(tmp_path / f"f{other:02d}")
    found = find_all_pictures(tmp_path)
    assert {f"f{number:02d}/x.png" for number in range(30)} <= set(found.paths())
    assert walking.AGAIN in left_out(found).values()


def test_what_is_left_out_is_named_with_its_reason(photos):
    for name in (".hidden.png", "x.HEIC", "notes.txt", "raw.nef"):
        (photos / name).write_text("")
    write_image(photos / ".cache/z.png")
    (photos / "gone.png").symlink_to("nowhere.png")
    (photos / "self.png").symlink_to("self.png")
    os.mkfifo(photos / "pipe.png")
    found = find_all_pictures(photos)
    assert found.paths() == ("a.png", "in/b.png", "in/deep/c.png")
    assert left_out(found) == {
        ".hidden.png": "hidden",
        ".cache": "hidden (a folder)",
        "x.HEIC": "of a format that is not read (.heic)",
        "raw.nef": "of a format that is not read (.nef)",
        "notes.txt": "no picture",
        "gone.png": "a broken link",
        "self.png": "a broken link",
        "pipe.png": "no file (a device, a pipe or the like)",
    }


def test_a_pattern_leaves_out_what_it_would_have_matched(photos):
    (photos / ".a.png").write_text("")
    (photos / "b.heic").write_text("")
    (photos / "notes.txt").write_text("")
    assert set(left_out(find_files(photos, ["*.png"]))) == {".a.png", "b.heic"}
    assert find_files(photos, ["*.heic"]).paths() == ("b.heic",)


def test_a_pattern_that_matches_nothing_says_what_was_left_out(photos):
    (photos / "x.heic").write_text("")
    split = {"train": {"images": "*.jpg"}}
    spec = DatasetSpec.model_validate({"root": str(photos), "splits": split})
    with pytest.raises(DataError, match=r"nothing matches .* left out: 1, of a format that is not read"):
        list_split(spec, "train", False)


def test_folders_named_by_the_pattern_may_be_anything(photos, tmp_path):
    (tmp_path / ".store").symlink_to(photos)
    assert find_files(tmp_path, [".store/*.png"]).paths() == (".store/a.png",)


def test_deep_trees_are_walked(tmp_path):
    folders = [tmp_path]
    while len(folders) < 1200 and len(str(folders[-1])) < 4000:
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    try:
        assert len(folders) > 1000
        assert find_all_pictures(tmp_path).paths() == ()
    finally:  # too deep for what cleans up after tests
        for folder in reversed(folders[1:]):
            folder.rmdir()


def test_an_unreadable_folder_is_named(photos, monkeypatch):
    scandir = os.scandir

    def refusing(place):
        if str(place).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(walking.os, "scandir", refusing)
    with pytest.raises(DataError, match=r"in/deep: this folder cannot be read: Permission denied"):
        find_all_pictures(photos)
