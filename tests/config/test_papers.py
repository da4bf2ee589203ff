"""The papers' configurations: planned on the real folder layout, and run for two steps on the real formats."""

import shutil

import numpy as np
import pytest
from driving_data import CITYSCAPES_IDS, stripes
from paper_runs import CONFIG, published, ran, tiny
from process_settings import process_settings  # noqa: F401 - a fixture
from shipped import EXPERIMENTS

from pipeline.artifacts.files import read_json
from pipeline.datasets.taxonomy import IGNORE, Taxonomy
from pipeline.plan.stage import in_order

PAPERS = {name: experiment for name, experiment in EXPERIMENTS.items() if name.startswith("paper-")}


@pytest.mark.parametrize("paper", [name for name, one in PAPERS.items() if one.labelled is None])
def test_every_paper_plans_on_the_real_layout(plan, paper):
    runs = plan(paper.removeprefix("paper-"))
    source = PAPERS[paper].task.partition("-")[0]
    source = "synthia-crst" if PAPERS[paper].task == "synthia-cityscapes-crst" else source
    assert {run.seed for run in runs} == {0, 1, 2}
    for run in runs:
        prepared = {
            (stage.record.data.dataset.name, stage.record.data.split, stage.parameters.labels)
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
    """Plan ASS-R and its baselines with 2 labelled images: 100 of 5 are an error."""
    shutil.copytree(CONFIG, tmp_path / "config")
    file = tmp_path / "config/paper-adaptseg.yaml"
    file.write_text(file.read_text().replace("count: 100", "count: 2"))
    return lambda *names: plan(*names, root=tmp_path / "config")


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_ass_and_its_baselines_learn_from_the_same_labels(plan_ass, source):
    names = [f"{word}-{source}" for word in ("ass", "ass-global", "target-only")]
    runs = {run.experiment: run for run in plan_ass(*names) if run.seed == 0}
    full, without, alone = (runs[f"paper-{name}"] for name in names)
    subset = full.stages["inter"].parents["labelled"]
    assert len(subset.parameters.names) == 2
    assert without.stages["inter"].parents["labelled"].key == subset.key
    assert alone.stages["few"].parents["source"].key == subset.key


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
    assert (parameters.steps, parameters.horizon) == (steps, horizon)
    (prepared,) = {
        tuple(one.parameters.size or ()) or None
        for one in in_order(run.all_stages())
        if one.kind == "prepare" and one.record.data.dataset.name == paper.rpartition("-")[2]
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
    assert run.stages["split"].parameters.easy_share == 0.67
    # The second stage starts from ImageNet too, not from the first.
    assert set(run.stages["intra"].parents) == {"source", "source_labels", "target", "target_part"}
    assert run.stages["intra"].record.network.parameters.weights is not None


def test_advent_shares_the_first_stage_of_intrada(plan):
    advent, intrada = plan("advent-gta5")[0], plan("intrada-gta5")[0]
    assert advent.stages["inter"].key == intrada.stages["inter"].key


def test_adaptseg_least_squares_as_published(plan):
    inter = published(plan, "adaptseg-ls-gta5", "inter")
    assert (inter["objective"]["gan"], inter["objective"]["adversarial_weight"]) == ("ls", 0.01)
    assert inter["network"]["levels"] == "single"
    assert (inter["steps"], inter["horizon"], inter["snapshots"]) == (150_000, 250_000, 30)
    both = published(plan, "adaptseg-gta5", "inter")
    assert (both["objective"]["gan"], both["objective"]["adversarial_weight"]) == ("vanilla", 1e-3)
    assert both["network"]["levels"] == "multi"


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_ass_as_reconstructed(plan_ass, source):
    full = published(plan_ass, f"ass-{source}", "inter")
    without = published(plan_ass, f"ass-global-{source}", "inter")
    alone = published(plan_ass, f"target-only-{source}", "few")
    weights = {"adversarial_weight": 1e-3, "semantic_weight": 1e-3}
    assert full["objective"] | weights == full["objective"]
    assert full["objective"]["semantic_tensor"] == "softmax"
    assert without == full | {"objective": full["objective"] | {"semantic_weight": 0.0}}
    feature = published(plan_ass, f"ass-feature-{source}", "inter")
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
    assert evaluate.parameters.test_mode == "aggregation"
    assert tuple(evaluate.parents["data"].parameters.size) == (1460, 730)


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_plca_is_tested_in_both_modes_on_the_same_networks(plan, source):
    runs = {run.experiment: run for run in plan(f"plca-{source}*") if run.seed == 0}
    mixed, plain = runs[f"paper-plca-{source}"], runs[f"paper-plca-{source}-plain"]
    assert plain.stages["inter"].key == mixed.stages["inter"].key
    assert plain.evaluates["inter"].parameters.test_mode == "plain"


def test_crst_as_published(plan):
    runs = {
        run.experiment: run
        for run in plan("mrkld-gta5", "lrent-gta5", "mrent-gta5", "mrl2-gta5")
        if run.seed == 0
    }
    mrkld = runs["paper-mrkld-gta5"].stages["round2"].parameters.objective
    assert (mrkld.regulariser, mrkld.alpha, mrkld.source_portion) == ("mrkld", 0.1, 0.03)
    for name in ("mrent", "mrl2"):
        objective = runs[f"paper-{name}-gta5"].stages["round2"].parameters.objective
        assert objective == mrkld.model_copy(update={"regulariser": name, "alpha": None})
    lrent = runs["paper-lrent-gta5"].stages
    assert lrent["labels3"].parameters.soft_alpha == 0.25
    # Soft labels average logits, and the code's pass averages softmax maps.
    assert lrent["labels3"].parameters.test_mode == "plain"
    labels = runs["paper-mrkld-gta5"].stages["labels1"].parameters
    assert (labels.test_mode, labels.stride) == ("reduced_flip", 4)
    assert runs["paper-mrkld-gta5"].evaluates["round3"].parameters.test_mode == "multiscale_flip"
    assert "round3" in lrent and "round4" not in lrent
    plain, compounded = (plan(f"cbst{middle}-gta5")[0] for middle in ("", "-compounded"))
    assert plain.stages["round3"].key == compounded.stages["round3"].key
    assert compounded.evaluates["round3"].parameters.test_mode == "compounded_flip"
    last = published(plan, "mrkld-synthia", "round5")
    assert last["objective"]["source_portion"] == 0.02
    assert last["augmentation"]["target"]["crop"] == [900, 600]


@pytest.mark.parametrize(("paper", "meaning"), [("cbst-synthia", 0), ("intrada-synthia", IGNORE)])
def test_lane_marking_is_road_for_crst_alone(plan, paper, meaning):
    first = next(iter(plan(paper)[0].stages.values()))
    data = first.parents["source"].record
    taxonomy = Taxonomy.of_parts(data.hashed["taxonomy"])
    assert data.data.dataset.lookup(taxonomy)[22] == meaning


def test_released_codes_as_they_run(plan):
    released = published(plan, "adaptseg-released-gta5", "inter")
    assert (released["network"]["aspp"], released["optimiser"]["backbone_lr_mult"]) == ("legacy_two", 3.0)
    objective = released["objective"]
    assert (objective["adversarial_weight"], objective["adversarial_aux_weight"]) == (0.0005, 0.00005)
    intrada = plan("intrada-released-gta5")[0].stages
    assert intrada["ranking"].parameters.snapshot == "70000"
    assert intrada["split"].parameters.ranking == "rare_code"
    plain, rare = plan("intrada-gta5")[0].stages, plan("intrada-rare-gta5")[0].stages
    assert rare["ranking"].key == plain["ranking"].key
    assert rare["split"].parameters.ranking == "rare_paper"


def test_cbst_as_its_own_code_ran(plan):
    run = plan("cbst-eccv-gta5")[0]
    portions = [run.stages[f"labels{number}"].parameters for number in range(1, 7)]
    assert [(one.portion, one.select_share) for one in portions] == [(0.15, 0.17)] * 6
    assert [one.snapshot for one in portions] == ["label_free"] + ["last"] * 5
    first, last = (run.stages[f"round{number}"].parameters for number in (1, 6))
    assert (first.init_snapshot, last.init_snapshot) == ("label_free", "last")
    assert last.optimiser.lr * last.objective.lr_factor**5 == pytest.approx(1e-4 / 2**2.5)
    assert last.augmentation["source"].rare_crops.classes == 5
    assert run.evaluates["round6"].parameters.snapshots == "last"


def test_rows_of_plcas_ablation_differ_by_their_terms(plan):
    def terms(row):
        objective = plan(f"plca-synthia{row}")[0].stages["inter"].parameters.objective
        weights = (
            "lovasz_weight",
            "feature_association_weight",
            "prediction_association_weight",
            "lsr_weight",
        )
        return [getattr(objective, name) for name in weights]

    assert terms("-ce") == [0, 0, 0, 0]
    assert terms("-lovasz") == [3.0, 0, 0, 0]
    assert terms("-features") == [3.0, 0.1, 0, 0]
    assert terms("") == [3.0, 0.1, 0.1, 0.01]


@pytest.mark.parametrize("paper", ["intrada-gta5", "intrada-synthia"])
def test_a_paper_runs_two_steps_on_tiny_files(driving_data, monkeypatch, tmp_path, paper):
    """From the real formats to metrics, with no label of the target's training images on the disk."""
    monkeypatch.setenv("SEGADAPT_DATA", str(driving_data))
    run = ran(paper, tiny(tmp_path), tmp_path)
    stage = run.evaluates["intra"]
    metrics = read_json(tmp_path / "results" / stage.rule / stage.key / "metrics.json")
    assert metrics["images"] == 2
    assert metrics["last"]["step"] == 2
    # Labels are scored at their own size; SYNTHIA's sixteen classes leave out terrain, truck and train.
    left_out = (22, 27, 31) if "synthia" in paper else ()
    labels = np.stack([stripes(CITYSCAPES_IDS, (128, 64), number) for number in range(2)])
    assert metrics["last"]["pixels"] == labels.size - np.isin(labels, left_out).sum()
    assert set(metrics["last"]["subsets"]) == ({"synthia13"} if left_out else {"synthia13", "synthia16"})
