"""`plan --cost`: one line a training, what cannot be known said so, hours from a measured step."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from pipeline.__main__ import main
from pipeline.commands import cost
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics import Precision
from pipeline.training.parameters import TrainParameters
from pipeline.training.step_memory import step_memory

CONFIG = Path(__file__).resolve().parents[2] / "config"
ADVENT: dict[str, Any] = {"method": "advent", "steps": 120_000, "precision": "tf32"}


def stage(parameters: dict[str, Any], levels: str = "multi", sizes: Any = None) -> Any:
    """As much of a planned stage as hours and sizes ask for."""
    network = SimpleNamespace(parameters=SimpleNamespace(backbone="resnet101_caffe", levels=levels))
    parents = {
        role: SimpleNamespace(parameters=SimpleNamespace(size=size), record=SimpleNamespace(data=None))
        for role, size in (sizes or cost.MEASURED).items()
    }
    record = SimpleNamespace(network=network, determinism="exact")
    return SimpleNamespace(
        record=record, parents=parents, parameters=TrainParameters.model_validate(parameters)
    )


def test_a_line_for_each_training_that_differs(capsys, monkeypatch, tmp_path):
    (tmp_path / "config").symlink_to(CONFIG)
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "plan",
                "--cost",
                "--configfile",
                "config/streets.yaml",
                "--only",
                "streets-advent",
                "streets-plca",
            ]
        )
        == 0
    )
    header, *rows, notes = capsys.readouterr().out.splitlines()
    assert header.split() == ["training", "trained", "weights", "optimiser", "step", "peak"]
    assert notes.endswith("add --measure for the time on this machine.") and "hours by" not in notes
    names = [row.split()[0].partition(":")[2] for row in rows]
    assert len(names) == len({row.partition(":")[2] for row in rows}) >= 3  # one source model, though of two
    for row in rows:
        trained, *parts = row.split()[1:]
        assert float(trained) > 0.1
        assert float(parts[-1]) == pytest.approx(sum(map(float, parts[:-1])), abs=0.021)


def test_hours_are_those_of_the_measured_step(monkeypatch, tmp_path):
    rows = [{"label": "fast tf32", "ms": 1.0}, {"label": "exact tf32 (torch)", "ms": 150.0}]
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"sections": {"advent": {"rows": rows}}}))
    monkeypatch.setattr(cost, "FIGURES", path)
    much = int(cost.MEASURED_FLOPS)
    assert cost._hours(stage(ADVENT), cost.MEASURED, much) == "5.0"
    for other in ({"batch": 2}, {"method": "minent"}):
        assert cost._hours(stage(ADVENT | other), cost.MEASURED, 2 * much) == "~10.0"
    assert cost._hours(stage(ADVENT, levels="single"), cost.MEASURED, much) == "~5.0"
    assert cost._hours(stage(ADVENT), {**cost.MEASURED, "source": (1280, 760)}, much) == "~5.0"
    assert cost._hours(stage(ADVENT | {"precision": "float32"}), cost.MEASURED, much) == "-"
    assert cost._hours(stage(ADVENT | {"batch": 2}), cost.MEASURED, much // 3) == "-"


@pytest.mark.parametrize(
    ("hours", "column", "told", "not_told"),
    [
        (["-", "-"], [], "--measure", "~"),
        (["-", "5.0"], ["H200", "-", "5.0"], "hours by benchmarks/out", "~"),
        (["~9.0", "5.0"], ["H200", "~9.0", "5.0"], "~: not measured", "--measure"),
    ],
)
def test_hours_are_a_column_and_are_explained_where_some_are_known(
    monkeypatch, hours, column, told, not_told
):
    rows = iter([("one", *"-----", hours[0], "(why)"), ("two", *"12345", hours[1], "")])
    monkeypatch.setattr(cost, "_distinct", lambda runs: [("one", None), ("two", None)])
    monkeypatch.setattr(cost, "_row", lambda name, stage: next(rows))
    *table, notes = cost.cost_table([], ["--measure"]).splitlines()
    assert [cell for line in table for cell in line.split()[6:]] == [*column[:2], "(why)", *column[2:]]
    assert told in notes and not_told not in notes


@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_shipped_figures_have_the_step_in_every_precision(precision):
    hours = cost._hours(stage(ADVENT | {"precision": precision}), cost.MEASURED, int(cost.MEASURED_FLOPS))
    assert float(hours) > 0.0


def test_the_measured_step_computes_what_is_written_down():
    network = NetworkParameters(
        backbone="resnet101_caffe", profile="caffe", levels="multi", align_corners=True
    )
    found = step_memory(
        network, 19, TrainParameters.model_validate(ADVENT), cost.MEASURED, frozenset({"source"})
    )
    assert found.flops == pytest.approx(cost.MEASURED_FLOPS, rel=0.01)


def test_sizes_are_crops_or_the_tasks_and_else_not_known():
    crops = {"augmentation": {"source": {"crop": [64, 32]}, "target": {"scale": [0.5, 2.0]}}}
    assert cost.domain_sizes(stage(ADVENT | crops)) == {"source": (64, 32), "target": None}
    assert cost._row("one", stage(ADVENT | crops))[-2:] == ("-", "(images of their own sizes)")
    assert cost.domain_sizes(stage(ADVENT)) == cost.MEASURED
