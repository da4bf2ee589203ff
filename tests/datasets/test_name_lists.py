"""Lists of names: whatever a file may be called comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_pictures import write_image

from pipeline.artifacts.errors import DataError
from pipeline.datasets.listing import list_split
from pipeline.datasets.name_lists import list_text, listed_names
from pipeline.datasets.spec import DatasetSpec

NAMES = st.text(
    st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)


def read(path, text, known):
    path.write_bytes(text.encode())
    return [one.name for one in listed_names(path, known)]


@given(st.lists(NAMES, unique=True, max_size=8))
def test_any_names_come_back(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("lists") / "names.txt"
    assert read(path, list_text(names), set(names)) == names


@pytest.mark.parametrize(
    "name", ["#001", " outer ", '"quoted"', '"', "\ufeffmark", "a\x0bb", "a\u2028b", "\t", "a\\b"]
)
def test_odd_names_come_back_though_the_image_is_gone(tmp_path, name):
    """So that a line never turns into a comment, or into another name, when a file is removed."""
    assert read(tmp_path / "l.txt", list_text([name]), set()) == [name]


def test_lists_of_other_tools_are_read_as_before(tmp_path):
    text = "\ufeff# a comment\r\n003\r\n\r\n 001 \r\n#002\n"
    assert read(tmp_path / "l.txt", text, {"001", "003"}) == ["003", "001"]


def test_a_line_that_is_a_name_is_no_comment(tmp_path):
    assert read(tmp_path / "l.txt", '#001\n outer \n"q"\n', {"#001", " outer ", '"q"'}) == [
        "#001",
        " outer ",
        '"q"',
    ]


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\0")
    with pytest.raises(DataError, match=r"l\.txt cannot be read"):
        listed_names(tmp_path / "l.txt", set())


def test_a_split_takes_a_list_with_odd_names(tmp_path):
    for name in ("#001", " outer ", "002"):
        write_image(tmp_path / f"images/{name}.png")
    (tmp_path / "l.txt").write_text(list_text(["#001", " outer "]))
    split = {"train": {"images": "images/*.png", "list": "l.txt"}}
    listing = list_split(DatasetSpec.model_validate({"root": str(tmp_path), "splits": split}), "train", False)
    assert (listing.names, listing.problems) == (("#001", " outer "), ())
