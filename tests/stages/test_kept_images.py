"""What `evaluate` and `select` keep of single images, which the page is made of."""

import numpy as np
import pandas as pd
import pytest

from pipeline.artifacts.files import read_json
from pipeline.report.gallery import answers_of, gallery_images
from pipeline.stages.examples import image_table, stored_examples
from pipeline.stages.inputs import cache_of


@pytest.mark.parametrize(("figures", "role"), [("evaluates", "data"), ("selects", "target")])
def test_every_model_is_looked_at_on_the_same_images(shared, figures, role):
    run = shared.plan()
    stages = getattr(run, figures)
    first, last = (shared.artifact(stages[name]) for name in ("source", "intra"))
    data = shared.artifact(stages["intra"].parents[role])
    names = list(cache_of(data).names)
    assert image_table(first)["image"].tolist() == image_table(last)["image"].tolist() == names
    assert list(stored_examples(first)) == list(stored_examples(last)) == names
    images, answers = gallery_images(cache_of(data), first), answers_of(last)
    assert [one.name for one in images] == names
    for one in images:
        assert np.array_equal(one.image, cache_of(data).images[names.index(one.name)])
        assert np.array_equal(answers[one.name].classes, stored_examples(last)[one.name].classes)
        assert (one.label is None) == (answers[one.name].figure is None) == (figures == "selects")


def test_an_image_is_scored_by_what_is_kept_of_it(shared):
    run = shared.plan()
    folder = shared.artifact(run.evaluates["intra"])
    labels = cache_of(shared.artifact(run.evaluates["intra"].parents["data"])).labels
    table, kept = image_table(folder).set_index("image"), stored_examples(folder)
    right, pixels = 0, 0
    for name, label in zip(labels.names, labels, strict=True):
        counted = label != 255
        hits = (kept[name].classes == label) & counted
        assert table.loc[name, "pixel_accuracy"] == pytest.approx(100 * hits.sum() / counted.sum(), abs=0.006)
        right, pixels = right + hits.sum(), pixels + counted.sum()
    accuracy = read_json(folder.path / "metrics.json")["last"]["pixel_accuracy"]
    assert accuracy == pytest.approx(100 * right / pixels, abs=0.006)


def test_selection_and_its_images_agree_on_the_entropy(shared):
    folder = shared.artifact(shared.plan().selects["intra"])
    last = pd.read_csv(folder.path / "selection.csv")["entropy"].iloc[-1]
    assert image_table(folder)["entropy"].mean() == pytest.approx(last, abs=1e-5)
