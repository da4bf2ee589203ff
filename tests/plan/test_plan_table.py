"""The plan for people: what is done, what would run, and why."""

import pytest

from pipeline.__main__ import main
from pipeline.artifacts.files import write_json
from pipeline.plan.table import plan_rows, plan_table
from pipeline.stages.results import Results


def rows(shop, runs):
    """State and reason of every stage by key."""
    return {key: (state, why) for state, _, key, why in plan_rows(runs, shop.results)}


def folder(shop, stage):
    return Results(shop.results).folder(stage.record).path


def put(shop, stage, file="artifact.json", value=None):
    path = folder(shop, stage) / file
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value or {})


def test_nothing_done_yet(shop):
    (run,) = runs = shop.publish()
    found = rows(shop, runs)
    source = run.stages["source"]
    assert found[source.parents["source"].key] == ("to run", "never run")
    assert found[source.key] == ("to run", f"after {source.parents['source'].key}")
    inter = run.stages["inter"]
    assert found[inter.key] == ("to run", f"after {source.parents['source'].key} and 2 more")
    assert found[run.stages["split"].key] == ("to run", f"after {run.stages['ranking'].key}")


def test_parents_stand_before_children(shop):
    (run,) = runs = shop.publish()
    order = list(rows(shop, runs))
    for stage in run.all_stages():
        for parent in stage.parents.values():
            assert order.index(parent.key) < order.index(stage.key)


def test_a_finished_stage_is_done_and_its_child_waits_no_more(shop):
    (run,) = runs = shop.publish()
    source = run.stages["source"]
    put(shop, source.parents["source"])
    found = rows(shop, runs)
    assert found[source.parents["source"].key] == ("done", "")
    assert found[source.key] == ("to run", "never run")


def test_whole_files_without_a_manifest_are_done(shop):
    (run,) = runs = shop.publish()
    put(shop, run.stages["source"], "files.json")
    assert rows(shop, runs)[run.stages["source"].key] == (
        "done",
        "its manifest is written again when asked for",
    )


def test_a_failure_shows_its_message(shop):
    (run,) = runs = shop.publish()
    put(shop, run.stages["source"], "run/failed.json", {"message": "3 bad files\nall listed", "cause": "x"})
    assert rows(shop, runs)[run.stages["source"].key] == ("failed", "3 bad files")


def test_a_saved_state_is_gone_on_from(shop):
    (run,) = runs = shop.publish()
    put(shop, run.stages["source"], "state/training/step-00000003/state.json")
    assert rows(shop, runs)[run.stages["source"].key] == ("to run", "goes on from its saved state")


def test_an_empty_state_folder_is_no_saved_state(shop):
    (run,) = runs = shop.publish()
    source = run.stages["source"]
    (folder(shop, source) / "state").mkdir(parents=True)
    put(shop, source.parents["source"])
    assert rows(shop, runs)[source.key] == ("to run", "never run")


def test_done_wins_over_what_earlier_attempts_left(shop):
    (run,) = runs = shop.publish()
    for file in ("artifact.json", "state/x.json"):
        put(shop, run.stages["source"], file)
    put(shop, run.stages["source"], "run/failed.json", {"message": "once", "cause": "x"})
    assert rows(shop, runs)[run.stages["source"].key] == ("done", "")


def test_a_shared_stage_is_one_row_and_says_how_many_use_it(shop):
    shop.experiment("plain", "advent")
    runs = shop.publish(only="main,plain")
    used = {key: by for _, by, key, _ in plan_rows(runs, shop.results)}
    assert used[runs[0].stages["inter"].key] == "main/seed0:inter +1"
    assert used[runs[0].evaluates["intra"].key] == "main/seed0:evaluate intra"
    assert used[runs[0].selects["intra"].key] == "main/seed0:select intra"
    assert used[runs[0].stages["source"].parents["source"].key] == "(data)"


def test_the_table_counts(shop):
    (run,) = runs = shop.publish()
    for stage in (run.stages["source"], run.stages["inter"]):
        put(shop, stage)
    lines = plan_table(runs, shop.results).splitlines()
    assert lines[0].split() == ["state", "used", "by", "stage", "why"]
    assert lines[-1] == f"{len(lines) - 2} stages: 2 done, {len(lines) - 4} to run"
    assert len(lines) - 2 == len(rows(shop, runs)) == 15


def test_the_verb_prints_the_table(shop, monkeypatch, capsys):
    monkeypatch.chdir(shop.root.parent)
    assert main(["plan", "--config", "set.split.lambda=0.25"]) == 0
    assert "15 stages: 0 done, 15 to run" in capsys.readouterr().out
    assert not shop.results.exists(), "`plan` writes nothing"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "mian"], "did you mean `main`?"),
        (["--config", "run.thread=3"], "did you mean `threads`?"),
        (["--configfile", "none.yaml"], "none.yaml: no such file"),
    ],
)
def test_a_mistake_ends_the_verb_with_code_2(shop, monkeypatch, capsys, words, message):
    monkeypatch.chdir(shop.root.parent)
    assert main(["plan", *words]) == 2
    found = capsys.readouterr().err
    assert found.startswith("error: ") and message in found
