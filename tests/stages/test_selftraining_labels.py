"""Thresholded pseudo-labels: against the obvious computation, whatever the parts, stopped and killed anywhere."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from selftraining_runs import SIZE, attempts, finish, make_run, plan, run_until, write_config

from pipeline.artifacts.files import read_json, write_json
from pipeline.inference.test_modes import Logits, build_test_mode
from pipeline.networks.encoder import EncoderNetwork
from pipeline.numerics.confidence_regularisers import lrent_soft_labels
from pipeline.numerics.portions import class_balanced_score, class_confidence
from pipeline.numerics.priors import enlarge_prior
from pipeline.numerics.winner import winner
from pipeline.stages.base import Job
from pipeline.stages.inputs import cache_of, network_of, pseudo_labels_of
from pipeline.stages.prior_file import stored_prior

CLASSES = 11


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration, and results with a source model that every test starts from."""
    folder = tmp_path_factory.mktemp("selftraining")
    root, results = write_config(folder), folder / "results"
    run_until(results, plan(root, "cbst-sp", results=results), "prior")
    run_until(results, plan(root, "cbst", results=results), "source")
    # Pseudo-label stages alone also need the target's cache.
    run_until(results, plan(root, "cbst", results=results), "labels1")
    return root, results


def labelled(world: tuple[Path, Path], folder: Path, recipe: str = "cbst", **labels: object) -> Job:
    """Run the first `labels` stage of a recipe in a copy of the results."""
    results = folder / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], recipe, {"labels": labels}, results)
    return run_until(results, planned, "labels1")


def table_of(run: Job) -> pd.DataFrame:
    return pd.read_csv(run.out / "thresholds.csv")


def obvious_scores(run: Job, mode_name: str = "plain", prior: bool = False) -> list[torch.Tensor]:
    """Scores image by image: float16 maps of the network, up-sampled, softmax, times the prior."""
    network, _ = network_of(run, "model", "last")
    mode = build_test_mode(mode_name)
    found = []
    for image in cache_of(run.parent("images")).images:
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        with torch.no_grad():
            maps = [one.half().float() for one in mode.maps(network, pixels)]
            logits = Logits(mode, network, maps, (SIZE[1], SIZE[0]), (SIZE[1], SIZE[0]))
            strips = [strip for _, strip in logits.strips()]
            scores = torch.softmax(torch.cat(strips, dim=2)[0], 0)
        if prior:
            scores = scores * enlarge_prior(
                torch.from_numpy(stored_prior(run.parent("prior"))), (SIZE[1], SIZE[0])
            )
        found.append(scores)
    return found


def obvious_labels(
    scores: list[torch.Tensor], portion: float, pooled: bool = False
) -> tuple[np.ndarray, list]:
    """Thresholds by sorting, labels by the definition; every value float32."""
    stack = np.stack([one.numpy() for one in scores])
    best, label = stack.max(1), stack.argmax(1)
    thresholds = []
    for index in range(CLASSES):
        sample = np.sort(best.ravel() if pooled else best[label == index])[::-1]
        rank = int(len(sample) * portion)
        thresholds.append(sample[rank - 1] if rank else np.float32(1.0))
    quotient = stack / np.array(thresholds, np.float32)[None, :, None, None]
    return np.where(quotient.max(1) >= 1, quotient.argmax(1), 255).astype(np.uint8), thresholds


def labels_of(run: Job) -> np.ndarray:
    return np.stack(list(pseudo_labels_of(run.folder)))


@pytest.mark.parametrize(
    ("recipe", "labels", "pooled"),
    [
        ("cbst", {}, False),
        ("st", {}, True),
        ("cbst-sp", {}, False),
        ("cbst", {"test_mode": "reduced_flip", "portion": 0.4}, False),
    ],
)
def test_labels_and_thresholds_are_those_of_collecting_and_sorting(
    world: tuple[Path, Path], tmp_path: Path, recipe: str, labels: dict, pooled: bool
) -> None:
    run = labelled(world, tmp_path, recipe, **labels)
    scores = obvious_scores(run, labels.get("test_mode", "plain"), prior=recipe == "cbst-sp")
    wanted, thresholds = obvious_labels(scores, labels.get("portion", 0.2), pooled)
    assert (labels_of(run) == wanted).all()
    table = table_of(run)
    assert table["threshold"].astype(np.float32).tolist() == thresholds
    assert table["labelled"].tolist() == [int((wanted == index).sum()) for index in range(CLASSES)]
    assert (wanted == 255).any() and (wanted != 255).any()


def test_the_table_says_how_much_of_each_predicted_class_was_kept(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    run = labelled(world, tmp_path, portion=0.5)
    table = table_of(run)
    assert {"round", "class", "threshold", "count", "portion", "selected"} <= set(table.columns)
    label = np.stack([one.numpy() for one in obvious_scores(run)]).argmax(1)
    kept = labels_of(run) != 255
    for index, row in table.iterrows():
        predicted = label == index
        assert row["count"] == predicted.sum()
        share = kept[predicted].mean() if predicted.any() else 0.0
        assert row["selected"] == pytest.approx(share, abs=1e-6)
        assert not predicted.any() or share >= int(0.5 * predicted.sum()) / predicted.sum()
    never = table[table["count"] == 0]
    assert (never["threshold"] == 1.0).all() and (never["labelled"] == 0).all()
    assert len(never) > 0, "the toy model should leave a class out, for the case to be tested"
    predicted = read_json(run.out / "statistics.json")["predicted"]
    assert list(predicted.values()) == [predicted[name] for name in predicted]
    assert predicted == dict(zip(table["class"], table["count"], strict=True))


@pytest.mark.parametrize("portion", [0.0, 1.0])
def test_portion_0_keeps_nothing_and_portion_1_everything(
    world: tuple[Path, Path], tmp_path: Path, portion: float
) -> None:
    run = labelled(world, tmp_path, portion=portion, portion_max=1.0)
    kept = labels_of(run) != 255
    assert kept.all() if portion else not kept.any()


def test_one_target_image(tmp_path: Path) -> None:
    root, results = write_config(tmp_path, images=1), tmp_path / "results"
    run = run_until(results, plan(root, "cbst", results=results), "labels1")
    wanted, _ = obvious_labels(obvious_scores(run), 0.2)
    assert (labels_of(run) == wanted).all()


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_change_no_bit(world: tuple[Path, Path], tmp_path: Path, parts: int) -> None:
    results = tmp_path / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], "cbst", results=results)
    whole = make_run(results, planned.stages["labels1"]).folder.load()["digest"]
    shutil.rmtree(make_run(results, planned.stages["labels1"]).out)
    assert finish(make_run(results, planned.stages["labels1"], parts=parts))["digest"] == whole


@pytest.mark.parametrize("recipe", ["cbst-sp", "crst-lrent"])
@pytest.mark.parametrize(("allowed", "error"), [(2, False), (1, True)])
def test_stopped_or_killed_in_every_pass_the_digest_is_the_same(
    world: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    allowed: int,
    error: bool,
) -> None:
    monkeypatch.setattr("pipeline.inference.thresholded.PER_FILE", 2)
    whole = labelled(world, tmp_path / "whole", recipe, select_share=0.8).folder.load()["digest"]
    results = tmp_path / "broken" / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], recipe, {"labels": {"select_share": 0.8}}, results)
    seen = []
    forward = EncoderNetwork.forward
    monkeypatch.setattr(EncoderNetwork, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    stops = attempts(results, planned.stages["labels1"], allowed, error, parts=5)
    run = make_run(results, planned.stages["labels1"])
    assert stops > 3
    assert run.folder.load()["digest"] == whole
    if not error:
        assert sum(seen) == 5, "no image passes through the network twice"
    assert not (run.out / "state").exists()


def test_killed_within_a_shard_of_the_label_pass(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.inference.thresholded as module

    monkeypatch.setattr(module, "PER_FILE", 2)
    whole = labelled(world, tmp_path / "whole", portion=0.3).folder.load()["digest"]
    results = tmp_path / "broken" / "results"
    shutil.copytree(world[1], results)
    stage = plan(world[0], "cbst", {"labels": {"portion": 0.3}}, results).stages["labels1"]
    run = make_run(results, stage)
    label_image, calls = module.label_image, []

    def killed(*arguments: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return label_image(*arguments)

    monkeypatch.setattr(module, "label_image", killed)
    with pytest.raises(KeyboardInterrupt):
        finish(run)
    assert finish(make_run(results, stage))["digest"] == whole
    assert len(calls) == 4 + 3, "the whole shard is kept, the broken one made again"


def test_what_another_device_counted_is_counted_again(
    world: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A last bit that differs moves scores to other bins, so the passes must not mix two arithmetics."""
    import pipeline.inference.thresholded as module

    whole = labelled(world, tmp_path / "whole", portion=0.3).folder.load()["digest"]
    results = tmp_path / "moved" / "results"
    shutil.copytree(world[1], results)
    stage = plan(world[0], "cbst", {"labels": {"portion": 0.3}}, results).stages["labels1"]
    run = make_run(results, stage)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as elsewhere:
        count = module.count_high
        elsewhere.setattr(
            module, "count_high", lambda table, best, label, rule: count(table, best * 0.999, label, rule)
        )
        elsewhere.setattr(module, "count_low", killed)
        with pytest.raises(KeyboardInterrupt):
            finish(run)
    write_json(run.folder.state / module.COMPUTED_ON, {"device": "cuda", "torch": torch.__version__})
    assert finish(make_run(results, stage))["digest"] == whole
    assert "begin anew" in caplog.text


def test_many_images_make_few_chunks(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.inference.thresholded.PER_FILE", 1)
    monkeypatch.setattr("pipeline.inference.thresholded.MOST_CHUNKS", 2)
    folder = labelled(world, tmp_path / "few", portion=0.23).folder.path
    assert len(list(folder.glob("labels-*.bin"))) == 2, "five images in two files, not in five"


def test_another_threshold_changes_the_digest(world: tuple[Path, Path], tmp_path: Path) -> None:
    """The control of the tests above: digests do tell label maps apart."""
    first = labelled(world, tmp_path / "a").folder.load()["digest"]
    assert labelled(world, tmp_path / "b", portion=0.21).folder.load()["digest"] != first


def test_nothing_of_full_resolution_is_written(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the label pass the state holds float16 maps of the grid and a few tables."""
    import pipeline.stages.pseudolabel as module

    sizes = {}

    def measured(folder: Path, *rest: object) -> object:
        counts = write(folder, *rest)
        files = [path for path in (folder / "state").rglob("*") if path.is_file()]
        sizes["maps"] = sum(path.stat().st_size for path in files if "maps-" in path.name)
        sizes["tables"] = sum(path.stat().st_size for path in files if path.suffix == ".safetensors")
        return counts

    write = module.write_labels
    monkeypatch.setattr(module, "write_labels", measured)
    run = labelled(world, tmp_path, "cbst-sp")
    network, _ = network_of(run, "model", "last")
    grid = network(torch.zeros(1, 3, SIZE[1], SIZE[0])).main[0].numel()
    assert 5 * 2 * grid <= sizes["maps"] <= 5 * (2 * grid + 64)
    assert sizes["tables"] < 2.1 * CLASSES * 65536 * 8


def test_class_balanced_selection_keeps_the_surest_images(world: tuple[Path, Path], tmp_path: Path) -> None:
    run = labelled(world, tmp_path, select_share=0.4)
    scores = obvious_scores(run)
    balanced = [
        class_balanced_score(*(part.tolist() for part in class_confidence(*winner(image), CLASSES)))
        for image in scores
    ]
    best = sorted(sorted(range(5), key=lambda i: -balanced[i])[:2])
    names = cache_of(run.parent("images")).names
    assert pseudo_labels_of(run.folder).names == tuple(names[i] for i in best)
    wanted, _ = obvious_labels([scores[i] for i in best], 0.2)
    assert (labels_of(run) == wanted).all()


def test_the_easy_split_limits_the_images(world: tuple[Path, Path], tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], "intrada-cbst", {"split": {"lambda": 0.6}}, results)
    run = run_until(results, planned, "easy")
    split = pd.read_csv(run.parent("images_part").path / "split.csv")
    assert set(pseudo_labels_of(run.folder).names) == set(split.loc[split["split"] == "easy", "image"])
    assert len(pseudo_labels_of(run.folder)) == 3
    assert (table_of(run)["threshold"] <= np.float32(0.9)).all()


def test_an_empty_easy_split_gives_no_labels_and_no_error(world: tuple[Path, Path], tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(world[1], results)
    planned = plan(world[0], "intrada-cbst", {"split": {"lambda": 0.0}}, results)
    run = run_until(results, planned, "easy")
    assert len(pseudo_labels_of(run.folder)) == 0
    assert table_of(run)["count"].sum() == 0


def test_lrent_keeps_a_pixel_where_its_sum_passes_one(world: tuple[Path, Path], tmp_path: Path) -> None:
    run = labelled(world, tmp_path, "crst-lrent")
    scores = obvious_scores(run)
    hard, thresholds = obvious_labels(scores, 0.2)
    values = torch.tensor(np.array(thresholds, np.float32))
    soft, kept = lrent_soft_labels(torch.stack(scores).log(), values, 0.25)
    labels = labels_of(run)
    assert ((labels != 255) == kept.numpy()).all()
    assert (labels != 255).sum() > (hard != 255).sum(), "LRENT keeps some pixels more than CBST"
    assert (labels[labels != 255] == soft.argmax(1).numpy()[labels != 255]).mean() > 0.999
