"""The files that the documentation shows: datasets are listed on folders made for them, settings are planned."""

import shutil
from pathlib import Path

import pytest
from documented import documented

from pipeline.config.load import Library, load_config
from pipeline.datasets.listing import identity, list_split
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE_NAME, Taxonomy
from pipeline.plan.planner import Planner

CONFIG = Path(__file__).resolve().parents[2] / "config"
EXAMPLES = documented()
DATASETS = [Path(name).stem for name in EXAMPLES if name.startswith("config/datasets/")]
SETTINGS = [name for name in EXAMPLES if Path(name).parent == Path("config")]
PLANNED = {
    "config/cluster.yaml": (1, 4, "fast", "tf32"),
    "config/low.yaml": (1, 1, "exact", "bfloat16"),
    "config/mine.yaml": (9, 1, "exact", "tf32"),
}
"""Runs, GPUs of a training, determinism and precision of the documented settings."""
NAMES = ("0001", "0007", "0123")


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A configuration with the documented datasets, whose folders lie below `tmp_path/data`."""
    (tmp_path / "config/datasets").mkdir(parents=True)
    for name in DATASETS:
        text = EXAMPLES[f"config/datasets/{name}.yaml"]
        for place in ("${MY_DATA}/", "~/pictures/", "~/hospital/"):
            text = text.replace(f"root: {place}", f"root: {tmp_path}/data/")
        (tmp_path / f"config/datasets/{name}.yaml").write_text(text)
    return Library(tmp_path / "config")


def fill(spec: DatasetSpec, root: Path) -> None:
    """An empty file for every image and label of the patterns, and the lists; nothing is decoded."""
    for split in spec.splits.values():
        for pattern in (*split.image_patterns, *split.label_patterns):
            for name in NAMES:
                path = root / pattern.replace("**", "a").replace("*", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        if split.list_file:
            (root / split.list_file).write_text("\n".join(NAMES))


def test_there_are_examples_of_both():
    assert {"drive", "park", "ward", "streets-large"} <= set(DATASETS) and SETTINGS


@pytest.mark.parametrize("name", DATASETS)
def test_a_documented_dataset_lists_its_splits_and_names_classes(library, name):
    spec = library.dataset(name, "test")
    if spec.format == "files":
        fill(spec, Path(spec.root))
    classes = [one for one in (spec.ids or spec.colors) if one != IGNORE_NAME]
    entries = [{"name": one, "color": [place, 0, 0]} for place, one in enumerate(classes)]
    table = spec.lookup(Taxonomy.model_validate({"name": name, "classes": entries}))
    assert sorted(set(table.tolist()) - {255}) == list(range(len(classes)))
    for split in spec.split_names():
        listing = list_split(spec, split, spec.split(split).has_labels)
        assert not listing.problems and listing.names and not set(listing.names) & set(spec.skip)
        assert identity(spec, listing)


@pytest.mark.parametrize("name", SETTINGS)
def test_documented_settings_are_planned(tmp_path, name):
    shutil.copytree(CONFIG, tmp_path / "config")
    path = tmp_path / name
    path.write_text(EXAMPLES[name])
    config = load_config([path], root=tmp_path / "config")
    runs = Planner(config).plan()
    source = runs[0].stages["source"]
    planned = len(runs), config.settings.run.gpus, source.record.determinism, source.parameters.precision
    assert planned == PLANNED[name]
