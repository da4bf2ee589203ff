"""Every folder that a run writes is looked at before anything runs."""

from pathlib import Path

import pytest

from pipeline.artifacts.files import StorageError
from pipeline.plan.places import check_places
from pipeline.stages.results import Results


@pytest.fixture
def looked_at(shop, monkeypatch):
    """What `check_places` looks at for the experiment `main`."""
    monkeypatch.chdir(shop.root.parent)

    def look(stages=()):
        found = []
        monkeypatch.setattr("pipeline.plan.places.check_writable", found.extend)
        check_places(shop.runs(), stages)
        return found

    return look


def test_results_logs_and_snakemakes_own_folders_are_among_them(shop, looked_at):
    Path(".snakemake/metadata").mkdir(parents=True)
    Path("results/report/old").mkdir(parents=True)
    (run,) = shop.runs()
    wanted = {".snakemake", ".snakemake/metadata", "results/stages", "results/report/old"}
    wanted |= {"results/experiments/main/seed0/model", "logs/adapt", "logs/report"}
    assert {Path(name) for name in wanted} <= set(looked_at())
    assert Results().folder(run.stages["intra"].record).path in looked_at()


def test_a_finished_stage_may_be_somebody_elses(shop, looked_at):
    (run,) = shop.runs()
    folder = Results().folder(run.stages["source"].record).path
    (folder / "run").mkdir(parents=True)
    assert {folder, folder / "run"} <= set(looked_at())
    (folder / "artifact.json").touch()
    assert folder not in looked_at()


def test_a_file_in_the_place_of_a_folder_ends_it(shop, monkeypatch):
    monkeypatch.chdir(shop.root.parent)
    Path("logs").touch()
    with pytest.raises(StorageError, match="logs"):
        check_places(shop.runs())
