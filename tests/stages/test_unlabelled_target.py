"""What an unsupervised method may not see: the target's training labels; and source-only, the target at all."""

import numpy as np
import pytest
import torch
from chain_world import write, write_pictures

from pipeline.artifacts.errors import SegadaptError
from pipeline.networks.files import load_network
from pipeline.networks.target_statistics import with_statistics_of
from pipeline.stages.inputs import cache_of
from pipeline.streets.images import render_scene


def below(opened, folder):
    return sorted(path for path in opened if path.startswith(f"{folder}/"))


def test_the_whole_chain_runs_without_any_target_label_file(shared):
    run = shared.plan()
    assert not (shared.folder / "data/camera/labels/train").exists()
    assert (shared.artifact(run.evaluates["intra"]).path / "metrics.json").is_file()


@pytest.mark.parametrize("recipe", ["source-only", "minent", "advent", "adaptseg", "intrada"])
def test_no_stage_opens_a_target_label(shared, tmp_path, recipe):
    """They lie there this time, and only the source's and the evaluation's are opened."""
    chain = type(shared).make(tmp_path)
    data = tmp_path / "data"
    write_pictures(data / "camera", "camera", "train", 6, labels=True)
    run = chain.plan(recipe, {"train": {"steps": 2, "snapshots": 1}})
    chain.finish(*run.stages.values(), *run.evaluates.values())
    opened = set().union(*chain.opened.values())
    assert below(opened, data / "camera/labels/train") == []
    assert len(below(opened, data / "rendered/labels/train")) == 5, "the check sees label files"
    assert len(below(opened, data / "camera/labels/val")) == 3


def test_labels_that_are_no_pictures_do_no_harm(shared, tmp_path):
    chain = type(shared).make(tmp_path)
    for number in range(6):
        path = tmp_path / f"data/camera/labels/train/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no picture")
    run = chain.plan()
    shared_run = shared.plan()
    target, wanted = run.stages["ranking"].parents["images"], shared_run.stages["ranking"].parents["images"]
    chain.finish(target)
    assert target.key == wanted.key
    assert chain.artifact(target).load()["digest"] == shared.artifact(wanted).load()["digest"]


def test_the_oracle_fails_where_target_labels_are_missing(shared):
    with pytest.raises(SegadaptError, match="labels/train"):
        shared.plan("oracle", name="oracle")


def test_source_only_never_opens_the_target(shared):
    run = shared.plan()
    source, inter = run.stages["source"], run.stages["inter"]
    target = shared.artifact(inter.parents["target"]).path
    assert below(shared.opened[source.key], target) == []
    assert below(shared.opened[source.key], shared.folder / "data") == [], "trainings read caches only"
    assert any(path.endswith(".bin") for path in below(shared.opened[inter.key], target)), "the check sees it"


def test_split_passes_no_image_through_a_network(shared):
    opened = shared.opened[shared.plan().stages["split"].key]
    assert not any(path.endswith(".safetensors") for path in opened)
    assert any(path.endswith("scores.csv") for path in opened), "the check sees it"


def test_the_pictures_are_what_the_labels_say(shared):
    """The toy's own check: the caches hold the generator's scenes."""
    run = shared.plan()
    cache = cache_of(shared.artifact(run.stages["source"].parents["source"]))
    image, label = render_scene("rendered", "train", 0, 0, (48, 32))
    assert np.array_equal(cache.images[cache.images.index_of("0")], image)
    assert cache.labels is not None and np.array_equal(cache.labels[cache.labels.index_of("0")], label)
    assert cache_of(shared.artifact(run.stages["inter"].parents["target"])).labels is None


def test_style_reads_the_targets_images_and_no_label(chain):
    run = chain.plan("source-only", {"source": {"augmentation": {"source": {"style": 1.0}}}}, name="style")
    source, plain = run.stages["source"], chain.plan().stages["source"]
    assert set(source.record.domains) == {"source", "target"} and set(plain.record.domains) == {"source"}
    chain.finish(source)
    target = chain.artifact(source.parents["target"]).path
    assert below(chain.opened[source.key], target) and not (target / "labels.csv").exists()
    weights = "snapshots/step-00000004.safetensors"
    assert (chain.artifact(source).path / weights).read_bytes() != (
        chain.artifact(plain).path / weights
    ).read_bytes()


def test_adabn_publishes_the_targets_statistics_and_trains_as_without(chain):
    write(chain.folder / "config/networks/resnet.yaml", {"backbone": "resnet18", "batch_norm": "train"})
    adapted, plain = (
        chain.plan("source-only", {"source": values}, network="resnet").stages["source"]
        for values in ({"adabn": 0.25}, {})
    )
    for stage in (adapted, plain):
        chain.finish(stage)
    table = [chain.artifact(stage).path / "metrics.csv" for stage in (adapted, plain)]
    assert table[0].read_bytes() == table[1].read_bytes()
    networks = [
        load_network(chain.artifact(stage).path / "snapshots/step-00000004.safetensors")[0]
        for stage in (adapted, plain)
    ]
    cache = cache_of(chain.artifact(adapted.parents["target"]))
    images = [
        torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in map(cache.images.__getitem__, range(6))
    ]
    expected = with_statistics_of(networks[1], images, 0.25).state_dict()
    found = networks[0].state_dict()
    torch.testing.assert_close(found, expected)
    moved = {name for name, value in networks[1].state_dict().items() if not torch.equal(value, found[name])}
    assert moved and all("running_" in name for name in moved)
