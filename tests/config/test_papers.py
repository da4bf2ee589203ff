"""The papers' configurations: planned on the real folder layout, and run for two steps on the real formats."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from process_settings import process_settings  # noqa: F401 - a fixture
from tiny_pictures import write_ids, write_image, write_png

from pipeline.artifacts.files import read_json
from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file

CONFIG = Path(__file__).resolve().parents[2] / "config"
PAPERS = sorted((CONFIG / "papers").glob("*.yaml"))
CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
SYNTHIA_IDS = [3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11]


def stripes(ids, size, offset=0):
    """Every id as a vertical stripe, (height, width)."""
    row = np.array([ids[(x * len(ids) // size[0] + offset) % len(ids)] for x in range(size[0])])
    return np.repeat(row[None], size[1], axis=0)


def write_gta5(root):
    """Palette PNGs; one of another size, as a few of the real ones are."""
    for number, size in ((1, (96, 53)), (2, (96, 53)), (3, (64, 36))):
        write_image(root / f"gta5/images/{number:05d}.png", size, seed=number)
        write_ids(root / f"gta5/labels/{number:05d}.png", stripes(CITYSCAPES_IDS, size, number), palette=True)


def write_synthia(root):
    """16-bit PNGs of three channels: class, instance, nothing."""
    for number in range(3):
        size = (64, 38)
        ids = stripes(SYNTHIA_IDS, size, number)
        channels = np.stack([ids, np.full_like(ids, 300 + number), np.zeros_like(ids)], axis=2)
        write_image(root / f"synthia/RGB/{number:07d}.png", size, seed=number)
        write_png(root / f"synthia/GT/LABELS/{number:07d}.png", channels.astype(np.uint16), 16, 2)


def write_synscapes(root):
    for number in (1, 2, 3):
        write_image(root / f"synscapes/img/rgb/{number}.png", (72, 36), seed=number)
        write_ids(root / f"synscapes/img/class/{number}.png", stripes(CITYSCAPES_IDS, (72, 36), number))


def write_cityscapes(root):
    """The target: labels of `val` only, because those of `train` need not exist."""
    for split, cities in (("train", {"aachen": 3, "bochum": 2}), ("val", {"lindau": 2})):
        for city, count in cities.items():
            for number in range(count):
                stem = f"{city}_{number:06d}_000019"
                picture = root / f"cityscapes/leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
                write_image(picture, (128, 64), seed=number)
    for number in range(2):
        name = f"lindau/lindau_{number:06d}_000019_gtFine_labelIds.png"
        write_ids(root / "cityscapes/gtFine/val" / name, stripes(CITYSCAPES_IDS, (128, 64), number))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for write in (write_gta5, write_synthia, write_synscapes, write_cityscapes):
        write(root)
    return root


@pytest.fixture
def plan(data, monkeypatch):
    """Plan a paper's overlay on the placeholder data."""
    monkeypatch.setenv("SEGADAPT_DATA", str(data))

    def planned(name, root=CONFIG):
        config = load_config([root / "papers" / f"{name}.yaml"], root=root)
        return Planner(config).plan()

    return planned


@pytest.mark.parametrize("paper", [path.stem for path in PAPERS if not path.stem.startswith("ass-")])
def test_every_paper_plans_on_the_real_layout(plan, paper):
    runs = plan(paper)
    source = paper.rpartition("-")[2]
    assert {run.seed for run in runs} == {0, 1, 2}
    for run in runs:
        prepared = {
            (stage.data["dataset_name"], stage.data["split"], stage.parameters["labels"])
            for stage in in_order(run.all_stages())
            if stage.kind == "prepare"
        }
        assert prepared == {
            (source, "train", "working"),
            ("cityscapes", "train", "none"),
            ("cityscapes", "val", "native"),
        }
        assert run.evaluates


@pytest.fixture
def plan_ass(plan, tmp_path):
    """Plan ASS-R's overlays with 2 labelled images: 100 of 5 are an error."""
    shutil.copytree(CONFIG, tmp_path / "config")
    for file in (tmp_path / "config/experiments").glob("paper-*.yaml"):
        file.write_text(file.read_text().replace("count: 100", "count: 2"))
    return lambda name: plan(name, tmp_path / "config")


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_ass_and_its_baselines_learn_from_the_same_labels(plan_ass, source):
    runs = {run.experiment: run for run in plan_ass(f"ass-{source}") if run.seed == 0}
    full, without, alone = (runs[f"paper-{word}-{source}"] for word in ("ass", "ass-global", "target-only"))
    subset = full.stages["inter"].parents["labelled"]
    assert len(subset.parameters["names"]) == 2
    assert without.stages["inter"].parents["labelled"].key == subset.key
    assert alone.stages["few"].parents["source"].key == subset.key


def published(plan, paper, stage, experiment=None):
    """Parameters of one training stage of a paper."""
    run = next(run for run in plan(paper) if experiment in (None, run.experiment))
    return run.stages[stage].parameters


@pytest.mark.parametrize(
    ("paper", "stage", "steps", "horizon", "size"),
    [
        ("intrada-gta5", "inter", 120_000, 250_000, (1280, 720)),
        ("intrada-gta5", "intra", 120_000, 250_000, (1280, 720)),
        ("intrada-synthia", "intra", 90_000, 90_000, (1280, 760)),
        ("intrada-synscapes", "inter", 120_000, 250_000, (1280, 640)),
        ("advent-gta5", "inter", 120_000, 250_000, (1280, 720)),
        ("advent-synthia", "inter", 90_000, 90_000, (1280, 760)),
        ("adaptseg-gta5", "inter", 150_000, 250_000, (1280, 720)),
        ("plca-gta5", "inter", 10_416, 11_160, None),
        ("plca-synthia", "inter", 2_976, 3_720, None),
        ("cbst-gta5", "source", 100_000, None, None),
    ],
)
def test_published_schedules_and_sizes(plan, paper, stage, steps, horizon, size):
    run = plan(paper)[0]
    parameters = run.stages[stage].parameters
    assert (parameters["steps"], parameters["horizon"]) == (steps, horizon)
    (prepared,) = {
        tuple(one.parameters["size"] or ()) or None
        for one in in_order(run.all_stages())
        if one.kind == "prepare" and one.data["dataset_name"] == paper.rpartition("-")[2]
    }
    assert prepared == size


def test_intrada_as_published(plan):
    inter = published(plan, "intrada-gta5", "inter")
    assert inter["optimiser"] == {
        "kind": "sgd",
        "lr": 2.5e-4,
        "head_lr_mult": 10.0,
        "backbone_lr_mult": 1.0,
    }
    assert inter["objective"]["adversarial_weight"] == 1e-3
    assert inter["objective"]["adversarial_aux_weight"] == 2e-4
    assert (inter["batch"], inter["power"], inter["augmentation"]) == (1, 0.9, {})
    assert inter["network"]["levels"] == "multi"
    (run, *_) = plan("intrada-gta5")
    assert run.stages["split"].parameters["lambda"] == 0.67
    # The second stage starts from ImageNet too, not from the first.
    assert set(run.stages["intra"].parents) == {"source", "source_labels", "target", "target_part"}
    assert run.stages["intra"].parameters["network"]["weights"] is not None


def test_advent_shares_the_first_stage_of_intrada(plan):
    advent = {run.experiment: run for run in plan("advent-gta5") if run.seed == 0}
    (intrada, *_) = plan("intrada-gta5")
    assert advent["paper-advent-gta5"].stages["inter"].key == intrada.stages["inter"].key


def test_adaptseg_least_squares_as_published(plan):
    inter = published(plan, "adaptseg-gta5", "inter", "paper-adaptseg-ls-gta5")
    assert (inter["objective"]["gan"], inter["objective"]["adversarial_weight"]) == ("ls", 0.01)
    assert inter["network"]["levels"] == "single"
    assert (inter["steps"], inter["horizon"], inter["snapshots"]) == (150_000, 250_000, 30)
    both = published(plan, "adaptseg-gta5", "inter", "paper-adaptseg-gta5")
    assert (both["objective"]["gan"], both["objective"]["adversarial_weight"]) == ("vanilla", 1e-3)
    assert both["network"]["levels"] == "multi"


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_ass_as_reconstructed(plan_ass, source):
    full = published(plan_ass, f"ass-{source}", "inter", f"paper-ass-{source}")
    without = published(plan_ass, f"ass-{source}", "inter", f"paper-ass-global-{source}")
    alone = published(plan_ass, f"ass-{source}", "few", f"paper-target-only-{source}")
    weights = {"adversarial_weight": 1e-3, "semantic_weight": 1e-3}
    assert full["objective"] | weights == full["objective"]
    assert full["objective"]["semantic_tensor"] == "softmax"
    assert without == full | {"objective": full["objective"] | {"semantic_weight": 0.0}}
    feature = published(plan_ass, f"ass-{source}", "inter", f"paper-ass-feature-{source}")
    assert feature == full | {"objective": full["objective"] | {"semantic_tensor": "feature"}}
    for stage in (full, without, alone):
        assert (stage["network"]["levels"], stage["network"]["aspp"]) == ("single", "all")
        assert (stage["steps"], stage["horizon"], stage["snapshots"]) == (150_000, 250_000, 30)
        assert (stage["batch"], stage["augmentation"], stage["sampling"]) == (1, {}, "replicated")
    assert alone["optimiser"] == full["optimiser"]


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_plca_as_published(plan, source):
    inter = published(plan, f"plca-{source}", "inter")
    network = inter["network"]
    assert (network["head_bias"], network["batch_norm"], network["align_corners"]) == (False, "train", False)
    assert (network["levels"], network["aspp"], network["profile"]) == ("single", "all", "caffe")
    assert (inter["batch"], inter["accumulation"], inter["objective"]["lovasz_images"]) == (8, 2, 4)
    assert inter["objective"]["lovasz_weight"] == 3.0
    assert inter["optimiser"]["head_lr_mult"] == 1.0
    evaluate = plan(f"plca-{source}")[0].evaluates["inter"]
    assert evaluate.parameters["test_mode"] == "aggregation"
    assert tuple(evaluate.parents["data"].parameters["size"]) == (1460, 730)


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_plca_is_tested_in_both_modes_on_the_same_networks(plan, source):
    runs = {run.experiment: run for run in plan(f"plca-{source}") if run.seed == 0}
    mixed, plain = runs[f"paper-plca-{source}"], runs[f"paper-plca-{source}-plain"]
    assert plain.stages["inter"].key == mixed.stages["inter"].key
    assert plain.evaluates["inter"].parameters["test_mode"] == "plain"


def test_crst_as_published(plan):
    runs = {run.experiment: run for run in plan("crst-gta5") if run.seed == 0}
    mrkld = runs["paper-mrkld-gta5"].stages["round2"].parameters["objective"]
    assert (mrkld["regulariser"], mrkld["alpha"], mrkld["source_portion"]) == ("mrkld", 0.1, 0.03)
    for name in ("mrent", "mrl2"):
        objective = runs[f"paper-{name}-gta5"].stages["round2"].parameters["objective"]
        assert objective == mrkld | {"regulariser": name, "alpha": None}
    lrent = runs["paper-lrent-gta5"].stages
    assert lrent["labels3"].parameters["soft_alpha"] == 0.25
    # Soft labels average logits, and the code's pass averages softmax maps.
    assert lrent["labels3"].parameters["test_mode"] == "plain"
    labels = runs["paper-mrkld-gta5"].stages["labels1"].parameters
    assert (labels["test_mode"], labels["stride"]) == ("reduced_flip", 4)
    assert runs["paper-mrkld-gta5"].evaluates["round3"].parameters["test_mode"] == "multiscale_flip"
    assert "round3" in lrent and "round4" not in lrent
    synthia = {run.experiment: run for run in plan("crst-synthia") if run.seed == 0}
    last = synthia["paper-mrkld-synthia"].stages["round5"].parameters
    assert last["objective"]["source_portion"] == 0.02
    assert last["augmentation"]["target"]["crop"] == [900, 600]


def test_released_codes_as_they_run(plan):
    runs = {run.experiment: run for run in plan("variants-gta5") if run.seed == 0}
    adaptseg = runs["paper-adaptseg-released-gta5"].stages["inter"].parameters
    assert (adaptseg["network"]["aspp"], adaptseg["optimiser"]["backbone_lr_mult"]) == ("legacy_two", 3.0)
    objective = adaptseg["objective"]
    assert (objective["adversarial_weight"], objective["adversarial_aux_weight"]) == (0.0005, 0.00005)
    intrada = runs["paper-intrada-released-gta5"].stages
    assert intrada["ranking"].parameters["snapshot"] == "70000"
    assert intrada["split"].parameters["ranking"] == "rare_code"
    (plain, *_) = plan("intrada-gta5")
    rare = runs["paper-intrada-rare-gta5"].stages
    assert rare["ranking"].key == plain.stages["ranking"].key
    assert rare["split"].parameters["ranking"] == "rare_paper"


def test_cbst_as_its_own_code_ran(plan):
    run = next(run for run in plan("variants-gta5") if run.experiment == "paper-cbst-eccv-gta5")
    portions = [run.stages[f"labels{number}"].parameters for number in range(1, 7)]
    assert [(one["portion"], one["select_share"]) for one in portions] == [(0.15, 0.17)] * 6
    assert [one["snapshot"] for one in portions] == ["label_free"] + ["last"] * 5
    first, last = (run.stages[f"round{number}"].parameters for number in (1, 6))
    assert (first["init_snapshot"], last["init_snapshot"]) == ("label_free", "last")
    assert last["optimiser"]["lr"] * last["objective"]["lr_factor"] ** 5 == pytest.approx(1e-4 / 2**2.5)
    assert last["augmentation"]["source"]["rare_crops"] == {"classes": 5}
    assert run.evaluates["round6"].parameters["snapshots"] == "last"


def test_rows_of_plcas_ablation_differ_by_their_terms(plan):
    runs = {run.experiment: run for run in plan("plca-synthia") if run.seed == 0}

    def terms(row):
        objective = runs[f"paper-plca-synthia{row}"].stages["inter"].parameters["objective"]
        weights = (
            "lovasz_weight",
            "feature_association_weight",
            "prediction_association_weight",
            "lsr_weight",
        )
        return [objective[name] for name in weights]

    assert terms("-ce") == [0, 0, 0, 0]
    assert terms("-lovasz") == [3.0, 0, 0, 0]
    assert terms("-features") == [3.0, 0.1, 0, 0]
    assert terms("") == [3.0, 0.1, 0.1, 0.01]


def tiny(folder, paper):
    """The paper's configuration with small pictures, the demo's network, two steps and one seed."""
    shutil.copytree(CONFIG, folder / "config")
    for path in (folder / "config/tasks").glob("*-cityscapes.yaml"):
        path.write_text(re.sub(r"size: \[\d+, \d+\]", "size: [64, 48]", path.read_text()))
    overlay = yaml.safe_load((folder / f"config/papers/{paper}.yaml").read_text())
    for name in overlay["experiments"]:
        path = folder / f"config/experiments/{name}.yaml"
        text = path.read_text().replace("seeds: [0, 1, 2]", "seeds: [0]")
        path.write_text(re.sub(r"network: .*", "network: small", text))
    overlay["set"] = {"train": {"steps": 2, "horizon": None, "snapshots": 1}, "select": {"images": 2}}
    overlay["run"] = {"device": "cpu", "threads": 1, "workers": 0}
    (folder / f"config/papers/{paper}.yaml").write_text(yaml.safe_dump(overlay))


@pytest.mark.parametrize("paper", ["intrada-gta5", "intrada-synthia"])
def test_a_paper_runs_two_steps_on_tiny_files(data, monkeypatch, tmp_path, paper):
    """From the real formats to metrics, with no label of the target's training images on the disk."""
    monkeypatch.setenv("SEGADAPT_DATA", str(data))
    tiny(tmp_path, paper)
    config = load_config([tmp_path / f"config/papers/{paper}.yaml"], root=tmp_path / "config")
    (run,) = Planner(config).plan()
    write_stage_files(config, [run], tmp_path / "results")
    for stage in in_order(run.all_stages()):
        log = tmp_path / f"{stage.key}.log"
        assert run_file(tmp_path / f"results/stages/{stage.key}.json", log) == 0, log.read_text()
    stage = run.evaluates["intra"]
    metrics = read_json(tmp_path / "results" / stage.rule / stage.key / "metrics.json")
    assert metrics["images"] == 2
    assert metrics["last"]["step"] == 2
    # Labels are scored at their own size; SYNTHIA's sixteen classes leave out terrain, truck and train.
    left_out = (22, 27, 31) if "synthia" in paper else ()
    labels = np.stack([stripes(CITYSCAPES_IDS, (128, 64), number) for number in range(2)])
    assert metrics["last"]["pixels"] == labels.size - np.isin(labels, left_out).sum()
    assert set(metrics["last"]["subsets"]) == ({"synthia13"} if left_out else {"synthia13", "synthia16"})
