"""Benchmarks at toy size still measure what they say: both forms of a comparison give the same result."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.methods.registry import METHODS

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    """Run a benchmark from a copy, so that the figures of the full size stay; returns its figures."""
    for path in REPOSITORY.iterdir():
        if path.name in ("config", "pipeline", "workflow", "profiles", "Snakefile", "environment.yml"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "benchmarks").mkdir()

    def measured(name, *arguments):
        copy = tmp_path / "benchmarks" / f"{name}.py"
        copy.write_bytes((REPOSITORY / "benchmarks" / copy.name).read_bytes())
        command = [sys.executable, str(copy), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "benchmarks" / "out" / f"{name}.json").read_text("utf-8"))

    return measured


@pytest.mark.slow
def test_associations_agree(run):
    figures = run("association", "--side", 10, "--channels", 24)["figures"]
    for name in ("feature_loss", "prediction_loss", "gradient_norm"):
        assert figures["streamed"][name] == pytest.approx(figures["dense"][name], rel=1e-4)
    assert figures["streamed"]["gradient_norm"] > 0


@pytest.mark.slow
def test_thresholds_agree_to_the_bit(run):
    figures = run("thresholds", "--images", 3, "--size", 96, 64, "--classes", 5)
    assert figures["same_bits"] is True


@pytest.mark.slow
def test_operators_are_counted(run):
    figures = run("plca_operators", "--pairs", 2, "--size", 97)["figures"]
    assert figures["micro_batch"] > figures["without_associations"] > 1000


@pytest.mark.slow
def test_losses_agree(run):
    errors = run("upsampling", "--size", 60, 40, "--grid", 9, 6, "--rounds", 2)["figures"]["loss_error"]
    assert max(errors.values()) < 1e-4


@pytest.mark.slow
def test_a_plan_of_five_has_its_stages(run):
    assert run("plan", "--experiments", 5)["stages"] >= 5 * 4


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--method", "advent"), ("--network", "resnet18")])
def test_both_forms_of_a_cpu_step_agree(run, options):
    toy = ("--size", 64, 48, "--classes", 3, "--steps", 1, "--precision", "float32")
    terms = run("cpu_step", *toy, *options)["first_terms"]
    assert terms["plain"]["segmentation"] > 0
    assert terms["quick"] == pytest.approx(terms["plain"], rel=1e-4)
    assert terms["frozen"] == pytest.approx(terms["plain"], rel=1e-4)


@pytest.mark.slow
def test_a_cpu_steps_layers_are_all_there(run):
    assert len(run("cpu_step", "--layers", "--size", 64, 48, "--steps", 1)["ratios"]) == 12


@pytest.mark.slow
def test_the_cache_is_read(run):
    figures = run("cache", "--images", 2, "--rounds", 1)
    assert figures["size"] == [1280, 720] and figures["cache_ms"] > 0


@pytest.mark.slow
def test_an_exported_network_gives_the_same_ids(run):
    figures = run("export", "--size", 64, 48, "--rounds", 1, "--backbones", "small")["figures"]
    assert figures["small"]["equal_ids"] >= 0.999


@pytest.fixture
def smoke(monkeypatch):
    """The section that tries every method on a GPU."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    return importlib.import_module("gpu_sections.smoke")


def test_the_gpus_smoke_names_every_method(smoke):
    assert {name for name, _ in smoke.METHODS.values()} == set(METHODS)


@pytest.mark.slow
def test_the_gpus_smoke_makes_steps(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "MODES", (("fast", "float32"),))
    monkeypatch.setattr(smoke, "METHODS", ("mean_teacher",))
    record = smoke.Record("methods", tmp_path)
    smoke.methods(record, importlib.import_module("gpu_sections.harness").toy_scale(1))
    assert [row["finite"] for row in record.rows] == [True, True], record.tracebacks
