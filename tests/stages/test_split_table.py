"""The table of a split: rare classes are the taxonomy's, counted where the model predicted them at all."""

import pandas as pd
import pytest

from pipeline.datasets.taxonomy import Taxonomy
from pipeline.stages.split import split_table

CLASSES = [
    {"name": name, "color": [place, 0, 0]} for place, name in enumerate(("road", "sky", "pole", "sign"))
]


def table(rare, variant):
    taxonomy = Taxonomy.model_validate({"name": "four", "classes": CLASSES, "rare": rare})
    scores = pd.DataFrame(
        {
            "image": ["a", "b", "c"],
            "entropy": [0.2, 0.3, 0.4],
            "pixels_road": [9, 9, 9],
            "pixels_sky": [0, 5, 0],
            "pixels_pole": [0, 1, 700],
            "pixels_sign": [0, 0, 1],
        }
    )
    return split_table(scores, taxonomy, variant, 0.5).set_index("image")


@pytest.mark.parametrize(
    ("rare", "found"), [(["pole", "sign"], [0, 1, 2]), (["sky"], [0, 1, 0]), ([], [0, 0, 0])]
)
def test_rare_classes_are_counted_once_however_many_their_pixels(rare, found):
    assert table(rare, "plain").loc[["a", "b", "c"], "n_rare"].tolist() == found


def test_rare_classes_change_the_order():
    assert table(["pole", "sign"], "plain").index.tolist() == ["a", "b", "c"]
    assert table(["pole", "sign"], "rare_code").index[0] == "c"
