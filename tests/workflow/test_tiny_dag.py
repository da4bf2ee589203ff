"""The whole DAG through Snakemake itself, once; what a second run, a changed lambda and a mistake do."""

import copy
import json
import re
import shutil

import pytest
from tiny import EXPERIMENT, RUN, digests, snakemake, starts, write, write_config, write_suite


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dag")
    write_config(folder)
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def rules_run(folder):
    return {path.parent.parent.name for path in folder.glob("results/*/*/artifact.json")}


def test_every_kind_of_stage_ran_once(finished):
    assert rules_run(finished) == {
        *("prepare", "pretrain", "adapt", "rank", "split", "pseudolabel", "select", "evaluate"),
    }
    assert set(starts(finished).values()) == {1}


def test_all_data_is_read_before_anything_is_trained(finished):
    jobs = snakemake(finished, "--dry-run", "--forceall").stdout.split("\nrule ")
    preferred = {job.partition(":")[0] for job in jobs if "priority: 1" in job}
    assert preferred == {"prepare"}


def test_the_view_for_people_links_the_stages_in_order(finished):
    folder = finished / "results/experiments/tiny/seed0"
    links = sorted(path.name for path in folder.iterdir() if path.is_symlink())
    assert links == ["1-source", "2-inter", "3-ranking", "4-split", "5-labels", "6-intra"]
    assert (folder / "3-ranking" / "scores.csv").is_file()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["final"] == "intra"
    assert 0.0 <= metrics["stages"]["intra"]["last"]["miou_present"] <= 100.0
    assert metrics["stages"]["intra"]["oracle_best"]["selection"] == "oracle"
    assert (folder / "model" / "model.safetensors").is_file()


def test_the_report_is_one_page_that_needs_nothing_else(finished):
    page = (finished / "results/report/tiny/index.html").read_text(encoding="utf-8")
    assert "tiny" in page and "http://" not in page and "https://" not in page
    assert "intra (advent)" in (finished / "results/report/tiny/summary.txt").read_text()
    assert '<a href="tiny/index.html">tiny</a>' in (finished / "results/report/index.html").read_text()


def test_no_training_state_is_left(finished):
    assert not list(finished.glob("results/*/*/state"))


def test_a_second_run_has_nothing_to_do(finished):
    result = snakemake(finished)
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout + result.stderr


def test_results_that_were_copied_are_what_they_are_and_no_more(finished, tmp_path):
    """Without `.snakemake/`, which knows what views were made from: nothing to do for the same plan, but for another."""
    for name in ("config", "results"):
        shutil.copytree(finished / name, tmp_path / name, symlinks=True)
    assert "Nothing to be done" in snakemake(tmp_path, "--dry-run").stdout
    more = copy.deepcopy(EXPERIMENT)
    more["set"]["split"] = {"lambda": 0.75}
    write_suite(tmp_path / "config", more)
    output = snakemake(tmp_path, "--dry-run").stdout
    assert all(f"rule {name}:" in output for name in ("split", "adapt", "evaluate"))
    assert "rule experiment:" in output and "rule report:" in output
    write_suite(tmp_path / "config", EXPERIMENT)
    shutil.rmtree(next((tmp_path / "results/evaluate").iterdir()))
    assert "rule evaluate:" in snakemake(tmp_path, "--dry-run").stdout


def test_a_lost_manifest_is_written_again_without_computing(finished):
    manifest = next(finished.glob("results/adapt/*/artifact.json"))
    before, computed = manifest.read_bytes(), starts(finished)
    manifest.unlink()
    assert snakemake(finished, "--", str(manifest.relative_to(finished))).returncode == 0
    assert manifest.read_bytes() == before
    assert starts(finished) == computed


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stage_asks_for_as_many_cores_as_it_has_threads(tmp_path, threads):
    write_config(tmp_path, run={**RUN, "threads": threads})
    result = snakemake(tmp_path, "--dry-run", "--cores", "3")
    asked = re.search(r"rule adapt:.*?threads: (\d+)", result.stdout + result.stderr, re.DOTALL)
    assert int(asked[1] if asked else 1) == threads


def test_a_mistake_stops_before_any_job(finished):
    wrong = copy.deepcopy(EXPERIMENT)
    wrong["set"]["split"] = {"lambda": 2}
    write_suite(finished / "config", wrong)
    try:
        result = snakemake(finished)
    finally:
        write_suite(finished / "config", EXPERIMENT)
    assert result.returncode != 0
    assert "lambda" in result.stderr + result.stdout
    assert "Execute" not in result.stderr + result.stdout


def test_another_lambda_runs_split_and_what_follows_and_keeps_the_old(finished):
    before = digests(finished)
    changed = copy.deepcopy(EXPERIMENT)
    changed["set"]["split"] = {"lambda": 0.7}
    write_suite(finished / "config", changed)
    result = snakemake(finished)
    assert result.returncode == 0, result.stderr
    after = digests(finished)
    new = sorted(key.split("-")[0] for key in after.keys() - before.keys())
    assert new == ["advent", "evaluate", "pseudolabel", "select", "split"]
    assert {key: after[key] for key in before} == before


def test_snakemake_itself_takes_patterns_and_seeds(finished):
    words = ["only=ti*", "seeds=[0]"]
    assert snakemake(finished, "--dry-run", "--config", *words).returncode == 0
    over = ["--config", 'set={"split": {"lambda": "0.6"}}']
    target = "results/experiments/tiny+split.lambda=0.6/seed0/metrics.json"
    assert snakemake(finished, "--dry-run", *over, "--", target).returncode == 0
    result = snakemake(finished, "--dry-run", "--config", "only=to*")
    assert result.returncode != 0 and "only: 'to*' selects no experiment" in result.stdout + result.stderr


def test_a_bad_experiment_leaves_the_others_their_page(finished):
    write_suite(finished / "config", EXPERIMENT)
    add_broken(finished)
    result = snakemake(finished, "--keep-going")
    assert result.returncode == 1
    summary = (finished / "results/report/tiny/summary.txt").read_text()
    assert re.search(r"^tiny +intra", summary, re.MULTILINE)
    assert re.search(r"^bad/seed0: prepare-pictures-val-\S+: .*1 bad files", summary, re.MULTILINE)
    page = (finished / "results/report/tiny/index.html").read_text()
    assert "val/b.png: " in page and " ERROR " in page
    pending = snakemake(finished, "--dry-run")
    assert "rule report:" in pending.stdout + pending.stderr, "an unfinished page does not count as made"


def add_broken(folder):
    """Add an experiment whose validation pictures are damaged; all else of it has finished."""
    (folder / "pictures" / "val").mkdir(parents=True)
    (folder / "pictures" / "val" / "b.png").write_bytes(b"\x89PNG, and no more")
    files = {"images": "val/*.png", "labels": "val/*.png"}
    dataset = {"root": str(folder / "pictures"), "splits": {"val": files}, "ids": {"road": 3}}
    write(folder / "config/datasets/pictures.yaml", dataset)
    task = json.loads((folder / "config/tasks/tiny.yaml").read_text())
    task["evaluate"] = {"dataset": "pictures", "split": "val"}
    write(folder / "config/tasks/broken.yaml", task)
    suite = json.loads((folder / "config/tiny.yaml").read_text())
    suite["experiments"]["bad"] = EXPERIMENT | {"task": "broken", "recipe": "source-only"}
    suite["experiments"]["bad"]["set"] = {"train": EXPERIMENT["set"]["train"]}
    write(folder / "config/tiny.yaml", suite)
