"""The index of a folder of predictions: who owns the maps of a name, and that a long index is not searched."""

from pathlib import Path

import pytest

from pipeline.inference.predicted_index import INDEX, Entry, PredictedIndex


def entry(image: str, output: str) -> Entry:
    return Entry(image, 1, 1, "0" * 64, output, ("ids",))


@pytest.fixture
def index(tmp_path: Path) -> PredictedIndex:
    return PredictedIndex(tmp_path)


def test_maps_that_were_written_over_belong_to_their_last_picture(index, tmp_path):
    index.add(entry("a.png", "a.png"))
    index.add(entry("a.jpg", "a.png"))
    assert (index.images(), PredictedIndex(tmp_path).images()) == ({"a.jpg"}, {"a.jpg"})


def test_a_picture_whose_maps_get_another_name_leaves_the_former_to_others(index, tmp_path):
    index.add(entry("a.png", "a.png"))
    index.add(entry("a.png", "a.png.png"))
    index.add(entry("a.jpg", "a.png"))
    for one in (index, PredictedIndex(tmp_path)):
        assert {image: one.get(image).output for image in one.images()} == {
            "a.png": "a.png.png",
            "a.jpg": "a.png",
        }


def test_the_maps_of_a_forgotten_picture_may_become_those_of_another(index):
    index.add(entry("a.png", "a.png"))
    index.forget(["a.png", "never there.png"])
    index.add(entry("a.jpg", "a.png"))
    index.forget(["a.png"])
    assert index.images() == {"a.jpg"}


def test_a_picture_is_compared_with_no_other_when_it_is_added(index):
    class Counted(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str.__eq__(self, other)

    compared: list[object] = []
    for number in range(50):
        index.add(entry(f"{number}.jpg", Counted(f"{number}.png")))
    assert len(compared) <= 50, "each of them with all others would be 1225"
    assert len((index.path.parent / INDEX).read_text().splitlines()) == 50
