"""`start` plans first, then runs the workflow, and prints the tables of what was made."""

import argparse
from argparse import Namespace
from pathlib import Path

import pytest

from pipeline.artifacts.errors import ConfigError
from pipeline.commands import run_lock, start


def options(**values):
    return Namespace(
        **{
            "cores": "2",
            "configfile": [],
            "config": [],
            "only": [],
            "seeds": [],
            "verbose": False,
            "offline": False,
            "profile": None,
            **values,
        }
    )


def page(suite, text):
    folder = Path("results/report") / suite
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.txt").write_text(text)


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    """A workflow of two suites; `code` is what it ends with, `pages` what it writes."""
    monkeypatch.chdir(tmp_path)
    suites = [Namespace(name="one"), Namespace(name="two")]
    config = Namespace(selected_suites=lambda: suites)
    monkeypatch.setattr(start, "chosen_configuration", lambda arguments: config)
    monkeypatch.setattr(start, "Planner", lambda config: Namespace(plan=list))
    made = Namespace(code=0, pages={"one": "table one\n", "two": "table two\n"}, runs=0)

    def run(arguments, lock, watch=None):
        made.runs += 1
        made.watch = watch
        for suite, text in made.pages.items():
            page(suite, text)
        return made.code

    monkeypatch.setattr(start, "run_workflow", run)
    return made


def test_the_tables_are_printed_and_where_the_pages_lie(workflow, capsys):
    assert start.execute(options()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "planning ...", "0 stages, 0 to run; starting Snakemake, whose output goes to logs/start.log",
        "table one", "report: results/report/one/index.html",
        "table two", "report: results/report/two/index.html",
    ]  # fmt: skip


def test_a_run_with_nothing_to_do_prints_the_tables_that_are_there(workflow, capsys):
    workflow.pages = {}
    page("one", "table one\n")
    page("two", "table two\n")
    assert start.execute(options()) == 0
    assert "table one" in capsys.readouterr().out


def test_a_failed_run_gives_its_code_and_the_pages_that_it_made(workflow, capsys):
    page("one", "an old table\n")
    workflow.code, workflow.pages = 1, {"two": "table two\nnot finished\nbad: damaged\n"}
    assert start.execute(options()) == 1
    said = capsys.readouterr()
    told = "table two\nnot finished\nbad: damaged\nreport: results/report/two/index.html\n"
    assert said.out.endswith(f"logs/start.log\n{told}")
    assert "Snakemake failed; the end of logs/start.log" in said.err


def test_a_cluster_that_is_not_here_is_told_before_planning(workflow, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"slurm/profile.yaml: executor: slurm, but .*sbatch.* not found"):
        start.execute(options(profile="slurm"))
    assert workflow.runs == 0 and "planning" not in capsys.readouterr().out


def test_verbose_leaves_the_terminal_to_snakemake(workflow, capsys):
    assert start.execute(options(verbose=True)) == 0
    assert workflow.watch is None
    assert not Path("logs").exists()


def test_a_run_that_waits_leaves_the_events_of_the_other_one_alone(
    workflow, tmp_path, monkeypatch, capsys, run_holding
):
    (tmp_path / "results").mkdir()
    holder = run_holding(tmp_path / "results/.run-lock")
    events = tmp_path / "logs/start.events"
    events.parent.mkdir()
    events.write_text("theirs\n")
    told, plans = [], [[], []]

    def sleep(seconds):
        told.append(events.read_text())
        page("one", "theirs\n")
        holder.stdin.write("\n")
        holder.stdin.flush()
        holder.wait(30)

    monkeypatch.setattr(run_lock, "time", Namespace(sleep=sleep))
    monkeypatch.setattr(start, "Planner", lambda config: Namespace(plan=plans.pop))
    workflow.code, workflow.pages = 1, {}
    assert start.execute(options()) == 1
    assert told == ["theirs\n"] and events.read_text() == ""
    assert plans == [], "planned again: the other run may have finished stages"
    assert "report: " not in capsys.readouterr().out, "a page of the other run is not this one's"


@pytest.mark.parametrize("cores", ["0", "x", "-1", "1.5"])
def test_cores_that_are_none_are_refused(cores, capsys):
    parser = argparse.ArgumentParser()
    start.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--cores", cores])
    assert f"found '{cores}'; needs `all` or a whole number" in capsys.readouterr().err


@pytest.fixture
def planned(monkeypatch):
    """Four runs, of one and of two trainings."""
    nothing = {"all_stages": list, "stages": {}, "selects": {}, "evaluates": {}, "also": {}}
    runs = [
        Namespace(experiment=name, seed=seed, trained=dict.fromkeys(trained), **nothing)
        for name, seed, trained in (("a", 0, "xy"), ("b", 1, "xy"), ("c", 0, "xy"), ("only", 0, "x"))
    ]
    monkeypatch.setattr(start, "Planner", lambda config: Namespace(plan=lambda: runs))
    for check in ("check_places", "check_taken"):
        monkeypatch.setattr(start, check, lambda *_: None)
    monkeypatch.setattr(start, "moves", lambda runs: [])


def told_of_models(capsys, *names):
    """The last lines of a run that leaves these models."""
    for name in names:
        Path(f"results/experiments/{name}/model").mkdir(parents=True)
    assert start.execute(options()) == 0
    return capsys.readouterr().out.partition("two/index.html\n")[2].splitlines()


def test_the_models_are_listed_and_the_line_that_uses_the_last_one_of_the_longest_chain(
    workflow, planned, capsys
):
    assert told_of_models(capsys, "b/seed1", "only/seed0") == [
        "model: results/experiments/b/seed1/model",
        "model: results/experiments/only/seed0/model",
        "use it: python -m pipeline predict --model results/experiments/b/seed1/model --images FOLDER --out FOLDER",
    ]


def test_many_models_are_counted_and_their_place_is_named(workflow, planned, capsys, monkeypatch):
    monkeypatch.setattr(start, "LISTED", 2)
    assert told_of_models(capsys, "a/seed0", "b/seed1", "c/seed0", "only/seed0")[:-1] == [
        "model: results/experiments/c/seed0/model",
        "model: results/experiments/b/seed1/model",
        "and 2 more: results/experiments/*/seed*/model",
    ]


def test_a_wrong_configuration_ends_before_snakemake_starts(workflow, monkeypatch):
    def wrong(arguments):
        raise ConfigError("config/config.yaml: no such experiment")

    monkeypatch.setattr(start, "chosen_configuration", wrong)
    with pytest.raises(ConfigError, match="no such experiment"):
        start.execute(options())
    assert workflow.runs == 0
    assert not Path("results").exists()


def test_a_plan_that_cannot_be_made_ends_before_snakemake_starts(workflow, monkeypatch):
    def missing():
        raise ConfigError("config/datasets/x.yaml: no such folder")

    monkeypatch.setattr(start, "Planner", lambda config: Namespace(plan=missing))
    with pytest.raises(ConfigError, match="no such folder"):
        start.execute(options())
    assert workflow.runs == 0
