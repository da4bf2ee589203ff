"""Event files hold the rows of the metrics table, also over a kill; without the package, what to install is said."""

import sys
from argparse import Namespace

import pytest
import torch

from pipeline.artifacts.errors import ConfigError
from pipeline.stages import train
from pipeline.training.metrics import MetricsTable
from pipeline.training.parameters import RunSettings
from pipeline.training.tensorboard import TensorBoardTable


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {
        name: [(one.step, round(one.value, 4)) for one in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def add(table, step, **terms):
    table.add(step, 0.1 * step, list(terms), torch.tensor(list(terms.values())))


def test_events_are_the_rows_and_a_resumed_training_replaces_what_came_later(tmp_path):
    table = TensorBoardTable(tmp_path / "metrics.csv", tmp_path / "events")
    add(table, 1, loss=3.0)
    add(table, 2, loss=2.0, kl=0.5)
    table.flush()
    kept = table.tensor()
    add(table, 3, loss=9.0)
    table.flush()
    again = TensorBoardTable(tmp_path / "metrics.csv", tmp_path / "events")
    again.restore(["loss", "kl"], kept)
    add(again, 3, loss=1.0)
    again.flush()
    found = scalars(tmp_path / "events")
    assert found["loss"] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert found["kl"] == [(2, 0.5)]
    assert [step for step, _ in found["lr"]] == [1, 2, 3]
    plain = MetricsTable(tmp_path / "plain.csv")
    plain.restore(again.columns, again.tensor())
    assert (tmp_path / "plain.csv").read_bytes() == (tmp_path / "metrics.csv").read_bytes()


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"segadapt\[tensorboard\]"):
        TensorBoardTable(tmp_path / "metrics.csv", tmp_path / "events")


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("main", [True, False])
def test_only_the_main_process_writes_events_and_only_where_they_are_wanted(tmp_path, wanted, main):
    job = Namespace(
        out=tmp_path, settings=RunSettings(tensorboard=wanted), folder=Namespace(run=tmp_path / "run")
    )
    table = train._metrics(job, Namespace(is_main=main))
    add(table, 1, loss=3.0)
    table.flush()
    assert (tmp_path / "run/tensorboard").is_dir() == (main and wanted)
    assert (tmp_path / "metrics.csv").is_file() == main
