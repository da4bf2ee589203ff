"""DACS, DAFormer, HRDA, MIC and VFM-UDA: as published, and run for two steps on the real formats."""

import re

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
import yaml
from paper_runs import published, ran, tiny
from process_settings import process_settings  # noqa: F401 - a fixture

from pipeline.artifacts.files import read_json

FAMILY = {"kind": "adamw", "lr": 6e-5, "head_lr_mult": 10.0, "backbone_lr_mult": 1.0, "decays": "no_norms"}
"""The optimiser of DAFormer and its followers."""
LEAST = {"gta5": 0.0015, "synthia": 0.0031}
"""3,000 pixels as a share of a label."""


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_daformer_hrda_and_mic_as_published(plan, source):
    daformer, hrda, mic = (
        published(plan, f"{name}-{source}", "inter") for name in ("daformer", "hrda", "mic")
    )
    for one in (daformer, hrda, mic):
        assert one["optimiser"] == FAMILY
        assert (one["steps"], one["batch"], one["power"]) == (40_000, 2, 1.0)
        assert one["warmup"] == {"steps": 1_500, "decay": "during"}
        assert one["augmentation"]["source"]["max_class_share"] == 0.75
        sampling = one["augmentation"]["source"]["rare_sampling"]
        side = one["augmentation"]["source"]["crop"][0]
        assert sampling["crop_share"] * side**2 == pytest.approx(1500 * (side / 512) ** 2, rel=1e-3)
        assert (sampling["temperature"], sampling["min_share"]) == (0.01, LEAST[source])
        network = one["network"]
        assert (network["backbone"], network["head"], network["drop_path"]) == (
            "timm/pvt_v2_b5",
            "daformer",
            0.1,
        )
    wanted = {
        "teacher_decay": 0.999,
        "quality": "batch",
        "ce_denominator": "all",
        "feature_distance": {"where": "things", "weight": 0.005},
        "class_share": 0.5,
        "mask_weight": 0.0,
    }
    assert daformer["objective"] | wanted == daformer["objective"]
    assert hrda["objective"] | wanted == hrda["objective"]
    assert mic["objective"] == hrda["objective"] | {"mask_weight": 1.0, "mask_block": 64}
    assert {**mic, "objective": None} == {**hrda, "objective": None}
    edges = [hrda["objective"]["margins"][edge] for edge in ("top", "bottom", "left")]
    assert [round(side * edge) for side, edge in zip((1024, 1024, 2048), edges, strict=True)] == [30, 240, 30]
    assert [round(512 * daformer["objective"]["margins"][edge]) for edge in ("top", "bottom")] == [15, 120]
    crops = [one["augmentation"][role]["crop"] for one in (daformer, hrda) for role in ("source", "target")]
    assert crops == [[512, 512], [512, 512], [1024, 1024], [1024, 1024]]
    assert (daformer["network"]["resolutions"], hrda["network"]["resolutions"]) == ("one", "two")
    assert plan(f"hrda-{source}")[0].evaluates["inter"].parameters.test_mode == "sliding"


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_vfm_uda_as_published(plan, source):
    found = published(plan, f"vfm-uda-{source}", "inter")
    assert (found["steps"], found["batch"], found["power"]) == (40_000, 8, 1.0)
    assert found["warmup"] == {"steps": 1_500, "decay": "after"}
    rates = [found["optimiser"][key] for key in ("lr", "head_lr_mult", "backbone_lr_mult")]
    assert rates == [pytest.approx(5e-5 * 8**0.5, rel=1e-3), 1.0, 0.1]
    wanted = {"mirrored": True, "mask_weight": 1.0, "mask_kind": "tokens", "feature_distance": None}
    assert found["objective"] | wanted == found["objective"]
    assert found["objective"]["margins"] == {"top": 0.03, "bottom": 0.25, "left": 0.03, "right": 0.03}
    assert found["augmentation"]["source"]["max_class_share"] == 0.75
    sampling = found["augmentation"]["source"]["rare_sampling"]
    assert sampling == {"share": 1.0, "temperature": 0.05, "min_share": LEAST[source], "crop_share": 0.00572}
    assert found["network"]["head"] == "vit_light"


@pytest.mark.parametrize("source", ["gta5", "synthia"])
def test_dacs_as_published(plan, source):
    dacs = published(plan, f"dacs-{source}", "inter")
    assert (dacs["steps"], dacs["batch"], dacs["power"]) == (250_000, 2, 0.9)
    assert dacs["optimiser"] == {"kind": "sgd", "lr": 2.5e-4, "head_lr_mult": 10.0, "backbone_lr_mult": 1.0}
    assert dacs["objective"]["teacher_decay"] == 0.99
    assert dacs["objective"]["feature_distance"] is None
    assert dacs["network"]["levels"] == "single"


SMALL = {
    "deeplab-v2-r101-single": {"backbone": "mobilenet_v2", "output_stride": 16},
    "pvt-v2-b5-daformer": {"backbone": "timm/pvt_v2_b0"},
    "pvt-v2-b5-hrda": {"backbone": "timm/pvt_v2_b0"},
    "dinov2-vitb14": {"backbone": "timm/test_vit", "output_stride": 16},
    "dinov2-vitl14": {"backbone": "timm/test_vit", "output_stride": 16},
}
"""What stands for the backbones; all else of their networks is kept."""
DEEPLABS = ("levels", "profile", "align_corners", "batch_norm", "dilations", "aspp")
"""Of these alone MobileNetV2 needs its own."""


def tiny_modern(folder):
    """The suite since 2021 with small crops, and small backbones from made-up files of weights; two steps."""
    suite, settings = tiny(folder)
    root = settings.parent
    for name, smaller in SMALL.items():
        file = root / f"networks/{name}.yaml"
        said = yaml.safe_load(file.read_text()) | smaller
        if smaller["backbone"] == "mobilenet_v2":
            said = {key: value for key, value in said.items() if key not in DEEPLABS}
            model, weights = torchvision.models.mobilenet_v2(), {}
        else:
            model, weights = timm.create_model(smaller["backbone"][5:]), {"layout": "timm", "profile": "timm"}
        weights["source"] = str(folder / f"{name}.pth")
        torch.save(model.state_dict(), weights["source"])
        file.write_text(yaml.safe_dump(said | {"weights": weights}))
    for path in (root / "tasks").glob("*-cityscapes-*.yaml"):
        path.write_text(re.sub(r"size: \[\d+, \d+\]", "size: [128, 64]", path.read_text()))
    changed = yaml.safe_load(settings.read_text())
    views = {name: {"crop": [64, 64], "shorter_side": [64, 80]} for name in ("source", "target")}
    changed["set"]["train"] |= {"warmup": {"steps": 1}, "augmentation": views}
    settings.write_text(yaml.safe_dump(changed))
    return [suite.with_name("paper-modern.yaml"), settings]


PAPERS = [
    f"{name}-{source}"
    for name in ("dacs", "daformer", "hrda", "mic", "vfm-uda")
    for source in ("gta5", "synthia")
]
QUICK = "mic-synthia"


@pytest.mark.parametrize(
    "paper",
    [
        pytest.param(paper, marks=() if paper == QUICK else pytest.mark.slow)
        for paper in [*PAPERS, "vfm-uda-large-gta5"]
    ],
)
def test_a_paper_since_2021_runs_two_steps_on_tiny_files(driving_data, monkeypatch, tmp_path, paper):
    monkeypatch.setenv("SEGADAPT_DATA", str(driving_data))
    run = ran(paper, tiny_modern(tmp_path), tmp_path)
    table = pd.read_csv(tmp_path / "results/adapt" / run.stages["inter"].key / "metrics.csv")
    assert table["step"].tolist() == [1, 2]
    assert np.isfinite(table).all(axis=None)
    terms = {"mixed"}
    terms |= {"masked"} if paper.startswith(("mic", "vfm")) else set()
    terms |= {"feature_distance"} if paper.startswith(("daformer", "hrda", "mic")) else set()
    assert terms <= set(table)
    assert ("masked" in table, "feature_distance" in table) == (
        "masked" in terms,
        "feature_distance" in terms,
    )
    metrics = read_json(tmp_path / "results/evaluate" / run.evaluates["inter"].key / "metrics.json")
    assert metrics["images"] == 2
