import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_pictures import AB, ab_dataset, ab_spec, write_ids, write_image

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.datasets.listing import identity, list_split
from pipeline.datasets.patterns import captured_name, filled, pattern_problem
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE
from pipeline.datasets.walking import find_files


def spec_of(root: Path, images: str, labels: str | None = None, **more) -> DatasetSpec:
    split = {"images": images} | ({"labels": labels} if labels else {}) | more
    ids = {"ids": {"a": 0, "b": 1}} if labels else {}
    return DatasetSpec.model_validate(
        {"file": "own.yaml", "root": str(root), "splits": {"train": split}, **ids}
    )


# Patterns


def test_captures_of_the_image_fill_the_label_pattern(tmp_path):
    write_image(tmp_path / "left/train/aachen/aachen_01_left.png")
    write_ids(tmp_path / "gt/train/aachen/aachen_01_ids.png", np.zeros((6, 8)))
    spec = spec_of(tmp_path, "left/train/*/*_left.png", "gt/train/*/*_ids.png")
    (item,) = list_split(spec, "train", True).items
    assert item.name == "aachen/aachen_01"
    assert item.label == tmp_path / "gt/train/aachen/aachen_01_ids.png"


def test_double_star_matches_any_number_of_folders(tmp_path):
    for name in ("top.png", "x/one.png", "x/y/two.png"):
        write_image(tmp_path / "images" / name)
        write_ids(tmp_path / "labels" / name, np.zeros((6, 8)))
    listing = list_split(spec_of(tmp_path, "images/**/*.png", "labels/**/*.png"), "train", True)
    assert listing.names == ("top", "x/one", "x/y/two")
    assert [item.label.relative_to(tmp_path).as_posix() for item in listing.items] == [
        "labels/top.png",
        "labels/x/one.png",
        "labels/x/y/two.png",
    ]
    assert listing.problems == ()


def test_hidden_files_and_brackets(tmp_path):
    write_image(tmp_path / "im [v2]/a.png")
    (tmp_path / "im [v2]/._a.png").write_bytes(b"resource fork")
    assert list_split(spec_of(tmp_path, "im [v2]/*.png"), "train", False).names == ("a",)


@given(
    st.lists(st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=4), min_size=2, max_size=2)
)
def test_filling_a_pattern_and_matching_it_are_inverse(tmp_path_factory, captures):
    root = tmp_path_factory.mktemp("root")
    path = root / filled("x/*/im_*.png", tuple(captures))
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_files(root, ["x/*/im_*.png"]).files == (
        (f"x/{captures[0]}/im_{captures[1]}.png", tuple(captures)),
    )
    assert captured_name(tuple(captures)) == "/".join(captures)


@pytest.mark.parametrize(
    "pattern", ["/abs/*.png", "../*.png", "a//b*.png", "a**/b.png", "a/**", "~/x/*.png", "**/**/*.png"]
)
def test_patterns_stay_below_the_root(pattern):
    assert pattern_problem(pattern)


# The dataset file


def test_a_dataset_of_ones_own_takes_few_lines(tmp_path):
    spec = spec_of(tmp_path, "photos/*.jpg")
    assert not spec.split("train").has_labels
    assert len(spec.model_dump(exclude_defaults=True)) <= 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"splits": {"train": {"images": "images/a.png"}}}, r"has no \*"),
        ({"splits": {"train": {"images": "i/*.png", "labels": "l/*/*.png"}}}, "needs the same"),
        ({"splits": {"train": {"labels": "l/*.png"}}}, "train.images: missing"),
        ({"splits": {"train": {"images": "i/*.png", "part": "test"}}}, "train.part: `format: files` takes"),
        ({"splits": {}}, "at least 1"),
        ({"ids": {}}, "ids: missing"),
        ({"ids": {"a": 0, "b": [0, 1]}}, "raw id 0 is under `a` and `b`"),
        ({"ids": {"a": 256}}, "takes ids 0 to 255"),
        ({"ids": {"a": "5-3"}}, "takes ids 0 to 255"),
        ({"ids": {"a": -1}}, "takes ids 0 to 255"),
        ({"ids": {"a": "one"}}, "takes ids 0 to 255"),
        ({"colors": {"a": [[0, 0, 0]]}}, "colors: only with `labels_as: colors`"),
        ({"labels_as": "colors"}, "ids: not used"),
        ({"labels_as": "colors", "ids": {}}, "colors: missing"),
        ({"labels_as": "colors", "ids": {}, "colors": {"a": [[1, 1, 1]], "b": [[1, 1, 1]]}}, "given twice"),
        ({"expected": {"val": 3}}, "no split `val`"),
        ({"root": ""}, "root: missing"),
        ({"seed": 3}, "only with `format: streets`"),
        ({"format": "streets"}, "`format: streets` takes count"),
        ({"imges": "x"}, "imges"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, change, told):
    values = ab_spec(tmp_path).model_dump(by_alias=True, exclude_none=True)
    with pytest.raises(ValidationError, match=told):
        DatasetSpec.model_validate({**values, **change})


def test_the_file_survives_json(tmp_path):
    spec = ab_spec(tmp_path, skip=["003"], ignore_mask={"*": "m.png"})
    assert DatasetSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec
    assert DatasetSpec.model_validate(spec.model_dump(mode="json", by_alias=True, exclude_unset=True)) == spec


def test_root_expands_variables_when_used(tmp_path, monkeypatch):
    spec = ab_spec(Path("${OWN_DATA}/sub"))
    monkeypatch.delenv("OWN_DATA", raising=False)
    with pytest.raises(
        DataError, match=r"ab.yaml: root .* OWN_DATA, which is not set.*folder that holds `sub`"
    ):
        spec.resolved_root()
    monkeypatch.setenv("OWN_DATA", str(tmp_path))
    with pytest.raises(DataError, match="there is no folder"):
        spec.resolved_root()
    (tmp_path / "sub").mkdir()
    assert spec.resolved_root() == tmp_path / "sub"


# Raw ids


def test_lookup_is_an_explicit_table_with_ranges(tmp_path):
    spec = ab_spec(tmp_path, ids={"a": [3, "5-7"], "b": 200, "ignore": [0, 255]})
    table = spec.lookup(AB)
    assert table.dtype == np.uint8
    assert table.shape == (256,)
    assert np.flatnonzero(table == 0).tolist() == [3, 5, 6, 7]
    assert np.flatnonzero(table == 1).tolist() == [200]
    assert (table == IGNORE).sum() == 251
    assert spec.named_ids() == {0, 3, 5, 6, 7, 200, 255}


def test_a_class_the_taxonomy_leaves_out_is_ignored_and_a_typo_is_not(tmp_path):
    spec = ab_spec(tmp_path, ids={"a": 0, "b": 1, "c": 2})
    with pytest.raises(ConfigError, match=r"ids.c: taxonomy ab has no such class"):
        spec.lookup(AB)
    assert spec.lookup(AB.model_copy(update={"ignored": ("c",)}))[2] == IGNORE


def test_a_typo_in_a_class_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean `ignore`"):
        ab_spec(tmp_path, ids={"a": 0, "b": 1, "ignor": 2}).lookup(AB)


# Listing


def test_missing_partners_and_unpaired_labels_are_problems(tmp_path):
    spec = ab_dataset(tmp_path, 4)
    (tmp_path / "labels/001.png").unlink()
    (tmp_path / "images/002.png").unlink()
    listing = list_split(spec, "train", True)
    assert listing.names == ("000", "003")
    told = {Path(bad.path).relative_to(tmp_path).as_posix(): bad.reason for bad in listing.problems}
    assert told.keys() == {"images/001.png", "labels/002.png"}
    assert "has no label" in told["images/001.png"]
    assert "without an image" in told["labels/002.png"]


def test_without_labels_their_folder_is_not_looked_into(tmp_path):
    spec = ab_dataset(tmp_path, 2)
    (tmp_path / "labels").rename(tmp_path / "gone")
    listing = list_split(spec, "train", False)
    assert listing.names == ("000", "001")
    assert all(item.label is None for item in listing.items)
    assert all("label" not in path for path, _ in listing.files)


def test_with_names_only_their_labels_are_looked_at(tmp_path):
    spec = ab_dataset(tmp_path, 4)
    for number in (0, 3):
        (tmp_path / f"labels/00{number}.png").unlink()
    listing = list_split(spec, "train", True, names=["002", "001"])
    assert listing.names == ("002", "001")
    assert listing.problems == ()
    assert sorted(path for path, _ in listing.files if "labels" in path) == [
        "labels/001.png",
        "labels/002.png",
    ]
    with pytest.raises(DataError, match="no usable image `xyz`"):
        list_split(spec, "train", True, names=["xyz"])


def test_one_image_stays_one_item(tmp_path):
    spec = ab_dataset(tmp_path, 1)
    assert list_split(spec, "train", True).names == ("000",)


def test_a_list_file_chooses_and_orders(tmp_path):
    ab_dataset(tmp_path, 4)
    (tmp_path / "some.txt").write_bytes(b"\xef\xbb\xbf# a comment\r\n003\r\n\r\n 001 \r\n")
    spec = spec_of(tmp_path, "images/*.png", "labels/*.png", list="some.txt")
    listing = list_split(spec, "train", True)
    assert listing.names == ("003", "001")
    assert listing.problems == ()


def test_wrong_lines_of_a_list_are_problems(tmp_path):
    ab_dataset(tmp_path, 2)
    (tmp_path / "some.txt").write_text("000\n000\n00x\n")
    listing = list_split(spec_of(tmp_path, "images/*.png", list="some.txt"), "train", False)
    assert [bad.reason for bad in listing.problems] == [
        "line 2: `000` is listed twice; remove one",
        "line 3: no image `00x`; names look like `000`",
    ]
    (tmp_path / "some.txt").write_text("images/000.png\n")
    with pytest.raises(DataError, match="names look like `000`"):
        list_split(spec_of(tmp_path, "images/*.png", list="some.txt"), "train", False)


def test_a_list_beside_the_dataset_file(tmp_path):
    ab_dataset(tmp_path / "data", 3)
    (tmp_path / "config/lists").mkdir(parents=True)
    (tmp_path / "config/lists/few.txt").write_text("001\n")
    spec = spec_of(tmp_path / "data", "images/*.png", list="./lists/few.txt")
    spec = spec.model_copy(update={"file": str(tmp_path / "config/own.yaml")})
    assert list_split(spec, "train", False).names == ("001",)


def test_skip_leaves_images_out(tmp_path):
    ab_dataset(tmp_path, 3)
    (tmp_path / "labels/001.png").unlink()
    listing = list_split(ab_spec(tmp_path, skip=["001"]), "train", True)
    assert listing.names == ("000", "002")
    assert listing.problems == ()


def test_same_names_are_problems(tmp_path):
    write_image(tmp_path / "x/ya.png")
    write_image(tmp_path / "xa/y.png")
    listing = list_split(spec_of(tmp_path, "x*/y*.png"), "train", False)
    assert listing.names == ("a",)
    assert "has the name `a`, as has" in listing.problems[0].reason


def test_wrong_pattern_says_what_is_there(tmp_path):
    ab_dataset(tmp_path, 2)
    with pytest.raises(
        DataError, match=r"splits.train.images: nothing matches `images/\*.jpg`.*holds 000.png, 001.png"
    ):
        list_split(spec_of(tmp_path, "images/*.jpg"), "train", False)
    with pytest.raises(DataError, match="holds images/, labels/"):
        list_split(spec_of(tmp_path, "pictures/*.png"), "train", False)


def test_labels_asked_for_where_there_are_none(tmp_path):
    write_image(tmp_path / "images/a.png")
    with pytest.raises(DataError, match="split train has no `labels`"):
        list_split(spec_of(tmp_path, "images/*.png"), "train", True)
    with pytest.raises(ConfigError, match="did you mean `train`"):
        list_split(spec_of(tmp_path, "images/*.png"), "trian", True)


@pytest.mark.skipif(os.name == "nt", reason="bytes in file names")
def test_names_that_are_not_text_are_problems(tmp_path):
    write_image(tmp_path / "images/a.png")
    (tmp_path / "images/a.png").rename(tmp_path / "images" / os.fsdecode(b"\xff.png"))
    write_image(tmp_path / "images/b.png")
    listing = list_split(spec_of(tmp_path, "images/*.png"), "train", False)
    assert listing.names == ("b",)
    assert "not plain text" in listing.problems[0].reason


# Identity


def test_identity_ignores_place_and_texts_but_not_content(tmp_path):
    spec = ab_dataset(tmp_path / "here", 3)
    ab_dataset(tmp_path / "there", 3)
    other = ab_spec(
        tmp_path / "there", license="mine", where="elsewhere", expected={"train": 3}, name="other"
    )
    first = identity(spec, list_split(spec, "train", True))
    assert identity(other, list_split(other, "train", True)) == first
    write_image(tmp_path / "there/images/001.png", (9, 6))
    assert identity(other, list_split(other, "train", True)) != first


def test_identity_of_images_does_not_depend_on_labels(tmp_path):
    spec = ab_dataset(tmp_path, 3)
    unlabelled = identity(spec, list_split(spec, "train", False))
    labelled = identity(spec, list_split(spec, "train", True))
    changed = ab_spec(tmp_path, ids={"a": 1, "b": 0, "ignore": 9})
    assert identity(changed, list_split(changed, "train", False)) == unlabelled
    assert identity(changed, list_split(changed, "train", True)) != labelled


def test_identity_follows_the_mask(tmp_path):
    ab_dataset(tmp_path, 2)
    write_ids(tmp_path / "mask.png", np.zeros((6, 8)))
    spec = ab_spec(tmp_path, ignore_mask="mask.png")
    before = identity(spec, list_split(spec, "train", True))
    write_ids(tmp_path / "mask.png", np.random.default_rng(0).integers(0, 255, (6, 8)))
    assert identity(spec, list_split(spec, "train", True)) != before


def test_planning_a_dataset_needs_no_torch():
    code = (
        "import sys, pipeline.datasets.listing, pipeline.datasets.taxonomy; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
