"""`evaluate`: figures against a slow count, class maps, other classes, and what is reused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pipeline.__main__ import main
from pipeline.inference.measures import ConfusionMeasure, MappedConfusionMeasure
from pipeline.inference.prediction import load_model
from pipeline.inference.test_modes import Logits, Plain, logits_at
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters

SIZE = (40, 32)
"""Width and height of the images, which is the model's working size: nothing is resized but the labels."""
LABEL_IDS = {"road": 4, "house": 7, "tree": 9, "ignore": 0}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with one labelled dataset `town` of three images."""
    folder = tmp_path / "work"
    for number in range(3):
        draws = np.random.default_rng(number)
        for kind in ("images", "labels"):
            (folder / "data" / kind).mkdir(parents=True, exist_ok=True)
        noise = draws.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"data/images/{number}.png")
        ids = draws.choice(list(LABEL_IDS.values()), (SIZE[1], SIZE[0])).astype(np.uint8)
        Image.fromarray(ids).save(folder / f"data/labels/{number}.png")
    write(folder, "datasets/town.yaml", dataset(folder, LABEL_IDS))
    write(folder, "config.yaml", {"suite": "none", "run": {"device": "cpu", "threads": 1}})
    write(
        folder,
        "none.yaml",
        {"task": "none", "recipe": "none", "network": "small", "experiments": {"none": {}}},
    )
    for kind in ("tasks/none", "recipes/none", "networks/small", "taxonomies/two"):
        write(folder, f"{kind}.yaml", LIBRARY[kind.partition("/")[0]])
    monkeypatch.chdir(folder)
    return folder


LIBRARY = {
    "tasks": {"taxonomy": "two", "source": {"dataset": "town"}, "target": {"dataset": "town"}},
    "recipes": {"title": "none", "stages": {"source": {"method": "supervised"}}},
    "networks": {"backbone": "small"},
    "taxonomies": {
        "name": "two",
        "classes": [{"name": "road", "color": [1, 1, 1]}, {"name": "house", "color": [2, 2, 2]}],
    },
}


def dataset(folder, ids):
    split = {"images": "images/*.png", "labels": "labels/*.png"}
    return {
        "root": str(folder / "data"),
        "splits": {"val": split, "bare": {"images": "images/*.png"}},
        "ids": ids,
    }


def write(folder, name, content):
    path = folder / "config" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def evaluate(model, *more, name="town"):
    return main(["evaluate", "--model", str(model), "--dataset", name, "--out", "scores.json", *more])


def scores():
    return json.loads(Path("scores.json").read_text())


def slow_matrix(model, groups, ids_of_groups):
    """Rows: label groups; columns: the group of the most probable class among all groups."""
    whole = load_model(model, "cpu")
    matrix = np.zeros((len(groups), len(groups)), dtype=int)
    for number in range(3):
        pixels = torch.from_numpy(np.array(Image.open(f"data/images/{number}.png"))).permute(2, 0, 1)[None]
        with torch.inference_mode():
            logits = logits_at(Plain(), whole.network, pixels, (SIZE[1], SIZE[0]))[0].numpy()
        labels = np.array(Image.open(f"data/labels/{number}.png"))
        for y, x in np.ndindex(labels.shape):
            if labels[y, x] in ids_of_groups:
                best = max(
                    (index for group in groups for index in group), key=lambda k: (logits[k, y, x], -k)
                )
                column = next(place for place, group in enumerate(groups) if best in group)
                matrix[ids_of_groups.index(labels[y, x]), column] += 1
    return matrix


def test_figures_of_the_same_classes(work, model, capsys):
    assert evaluate(model) == 0
    found = scores()
    expected = slow_matrix(model, [[0], [1], [2]], [4, 7, 9])
    assert np.array_equal(found["confusion"], expected)
    iou = expected.diagonal() / (expected.sum(0) + expected.sum(1) - expected.diagonal())
    assert found["classes"] == ["road", "house", "tree"]
    np.testing.assert_allclose([found["iou"][name] for name in found["classes"]], 100 * iou, atol=0.006)
    assert found["miou_present"] == pytest.approx(100 * iou.mean(), abs=0.006)
    assert (found["images"], found["test_mode"], found["size"]) == (3, "plain", [40, 32])
    out = capsys.readouterr().out
    assert f"{'mean IoU':<10}" in out and f"{found['miou_present']:.2f}" in out


def test_labels_are_scored_at_their_own_size(work, model):
    for number in range(3):
        path = Path(f"data/labels/{number}.png")
        Image.open(path).resize((80, 64), Image.Resampling.NEAREST).save(path)
        image = Path(f"data/images/{number}.png")
        Image.open(image).resize((80, 64)).save(image)
    assert evaluate(model) == 0
    labelled = sum(int((np.array(Image.open(f"data/labels/{n}.png")) > 0).sum()) for n in range(3))
    assert scores()["pixels"] == labelled


def test_a_class_map_joins_classes(work, model):
    write(work, "datasets/other.yaml", dataset(work, {"ground": 4, "built": 7, "water": 9, "ignore": 0}))
    Path("map.yaml").write_text("road: ground\ntree: ground\nhouse: built\n")
    assert evaluate(model, "--class-map", "map.yaml", name="other") == 0
    found = scores()
    assert found["classes"] == ["ground", "built"]
    assert found["class_map"] == {"ground": ["road", "tree"], "built": ["house"]}
    # `water` has no counterpart in the model: it counts nowhere.
    assert np.array_equal(found["confusion"], slow_matrix(model, [[0, 2], [1]], [4, 7]))


def test_a_model_class_under_ignore_is_never_the_answer(work, model):
    write(work, "datasets/other.yaml", dataset(work, {"ground": 4, "built": 7, "ignore": [0, 9]}))
    Path("map.yaml").write_text("road: ground\ntree: ignore\nhouse: built\n")
    assert evaluate(model, "--class-map", "map.yaml", name="other") == 0
    assert np.array_equal(scores()["confusion"], slow_matrix(model, [[0], [1]], [4, 7]))


def test_other_classes_without_a_map_name_both_lists(work, model, capsys):
    write(work, "datasets/other.yaml", dataset(work, {"ground": 4, "house": 7, "ignore": [0, 9]}))
    assert evaluate(model, name="other") == 2
    told = capsys.readouterr().err
    assert "model:   road, house, tree" in told and "dataset: ground, house" in told
    assert "--class-map" in told


def test_a_dataset_that_lacks_a_class_adds_a_mean_over_its_own(work, model):
    write(work, "datasets/other.yaml", dataset(work, {"road": 4, "house": 7, "ignore": [0, 9]}))
    assert evaluate(model, name="other") == 0
    found = scores()
    mean = (found["iou"]["road"] + found["iou"]["house"]) / 2
    assert found["subsets"]["labelled classes"]["miou_present"] == pytest.approx(mean, abs=0.01)
    assert found["classes"] == ["road", "house", "tree"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("road: road\nhouse: house\n", "no line for tree"),
        ("road: road\nhouse: house\ntree: tre\n", "did you mean `tree`"),
        ("rod: road\n", "rod: no class of the model; did you mean `road`"),
        ("road: ignore\nhouse: house\ntree: ignore\n", "leads to 1 dataset classes"),
    ],
)
def test_mistakes_in_a_class_map(work, model, capsys, text, told):
    Path("map.yaml").write_text(text)
    assert evaluate(model, "--class-map", "map.yaml") == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--split", "bare"], "has no `labels`"),
        (["--split", "vall"], "did you mean `val`"),
        (["--dataset", "twon"], "did you mean `town`"),
        (["--model", "nowhere"], "model.safetensors is missing"),
    ],
)
def test_what_is_missing_is_named(work, model, capsys, options, told):
    assert evaluate(model, *options) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("size", [("0", "0"), ("-5", "3"), ("40", "16385")])
def test_a_size_that_no_image_has_is_refused_before_the_model_is_loaded(work, capsys, size):
    assert evaluate("nowhere", "--size", *size) == 2
    assert f"--size {' '.join(size)}: needs 1 to 16384" in capsys.readouterr().err


def test_a_size_in_the_model_that_no_image_has_is_named(work, model, capsys):
    described = json.loads((model / "model.json").read_text())
    described["meta"]["scoring"] = {"size": [0, 32], "resample": "bicubic", "test_mode": "plain", "batch": 1}
    (model / "model.json").write_text(json.dumps(described))
    assert evaluate(model) == 2
    assert "model.json: scoring: size.0: found 0; needs" in capsys.readouterr().err


def test_a_bad_label_stops_with_its_name(work, model, capsys):
    Path("data/labels/1.png").write_bytes(b"no picture")
    assert evaluate(model) == 2
    assert "labels/1.png" in capsys.readouterr().err
    assert not Path("scores.json").exists()


def test_prepared_images_are_used_again(work, model):
    assert evaluate(model) == 0
    (made,) = Path("results/prepare").glob("*/artifact.json")
    before = made.stat().st_mtime_ns, (made.parent / "images-00000.bin").stat().st_mtime_ns
    first = scores()
    assert evaluate(model, "--test-mode", "multiscale_flip") == 0
    assert len(list(Path("results/prepare").iterdir())) == 1
    assert (made.parent / "images-00000.bin").stat().st_mtime_ns == before[1]
    assert scores()["test_mode"] == "multiscale_flip"
    assert scores()["data"] == first["data"]


def test_groups_of_one_are_the_plain_matrix():
    """The mapped measure with the identity is the measure of the pipeline's own evaluation."""
    labels = [np.random.default_rng(0).integers(0, 4, (5, 6)).astype(np.uint8)]
    maps = [torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))]
    network = build_network(NetworkParameters(backbone="small"), 4, 0)
    logits = Logits(Plain(), network, maps, (5, 6), (5, 6))
    matrices = []
    for measure in (ConfusionMeasure(labels, 4), MappedConfusionMeasure(labels, [[0], [1], [2], [3]])):
        measure.begin(0)
        measure.add([0], labels, logits)
        matrices.append(measure.merge([measure.end()]).matrix)
    assert torch.equal(*matrices)
