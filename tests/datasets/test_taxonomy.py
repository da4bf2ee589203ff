import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.artifacts.errors import ConfigError
from pipeline.datasets.taxonomy import Taxonomy

THREE = {
    "name": "three",
    "classes": [
        {"name": "road", "color": [1, 2, 3]},
        {"name": "sky", "color": [4, 5, 6]},
        {"name": "car", "color": [7, 8, 9]},
    ],
}


def test_ids_follow_the_order_of_the_file():
    taxonomy = Taxonomy.model_validate({**THREE, "subsets": {"two": ["car", "road"]}})
    assert taxonomy.num_classes == 3
    assert [taxonomy.index(name) for name in ("road", "sky", "car")] == [0, 1, 2]
    assert taxonomy.subset_ids("two") == (2, 0)


def test_palette_has_a_color_per_class_and_black_for_the_rest():
    palette = Taxonomy.model_validate(THREE).palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert palette[:3].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert not palette[3:].any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"subsets": {"s": ["raod"]}}, "did you mean `road`"),
        ({"things": ["car", "car"]}, "given twice"),
        ({"rare": ["moon"]}, "rare: no class `moon`"),
        ({"ignored": ["car"]}, "both a class and under `ignored`"),
        ({"classes": [*THREE["classes"], {"name": "car", "color": [0, 0, 0]}]}, "class car is given twice"),
        ({"classes": [*THREE["classes"], {"name": "bus", "color": [7, 8, 9]}]}, "color"),
        ({"classes": [*THREE["classes"], {"name": "ignore", "color": [0, 0, 0]}]}, "cannot be a class"),
        ({"clases": []}, "clases"),
    ],
)
def test_mistakes_are_named(change, told):
    with pytest.raises(ValidationError, match=told):
        Taxonomy.model_validate({**THREE, **change})


def test_unknown_class_and_subset_name_the_nearest():
    taxonomy = Taxonomy.model_validate(THREE)
    with pytest.raises(ConfigError, match="did you mean `sky`"):
        taxonomy.index("skye")
    with pytest.raises(ConfigError, match="no subset `16`"):
        taxonomy.subset_ids("16")
