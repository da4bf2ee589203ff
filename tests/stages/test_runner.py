"""What `run` does around a stage: finished, failed, stopped, damaged; its exit codes and what it leaves."""

import shutil

import pandas as pd
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.artifacts.errors import WeightsError
from pipeline.artifacts.files import read_json, write_json
from pipeline.stages import split, train
from pipeline.stages.runner import run_stage

FINISHED, FAILED, STOPPED = 0, 1, 75


def forbid(monkeypatch, module):
    monkeypatch.setattr(module, "compute", lambda run: pytest.fail("the stage was computed"))


def forget(chain, stage):
    shutil.rmtree(chain.artifact(stage).path)


def test_a_finished_stage_only_writes_its_manifest_again(chain, monkeypatch):
    inter = chain.plan().stages["inter"]
    manifest = chain.artifact(inter).path / "artifact.json"
    before, attempts = manifest.read_bytes(), chain.outcomes(inter)
    manifest.unlink()
    forbid(monkeypatch, train)
    assert chain.run(inter) == FINISHED
    assert manifest.read_bytes() == before
    assert chain.outcomes(inter) == attempts == ["finished"]
    assert "already finished; the manifest is written again" in chain.log(inter)


def test_parameters_that_changed_on_disk_are_not_a_finished_stage(chain):
    """The opposite: a stage whose file was altered is computed anew rather than passed on."""
    split_stage = chain.plan().stages["split"]
    table = chain.artifact(split_stage).path / "split.csv"
    whole = table.read_text()
    table.write_text(whole.replace("easy", "hard", 1))
    assert chain.run(split_stage) == FINISHED
    assert table.read_text() == whole
    assert chain.outcomes(split_stage) == ["finished", "finished"]


def test_a_damaged_parent_is_refused_by_name_and_nothing_is_kept_of_it(chain):
    run = chain.plan()
    ranking, cut = run.stages["ranking"], run.stages["split"]
    forget(chain, cut)
    scores = chain.artifact(ranking).path / "scores.csv"
    whole = scores.read_bytes()
    scores.write_bytes(whole[:-1] + b"x")
    assert chain.run(cut) == FAILED
    assert "scores.csv was altered" in chain.log(cut) and f"clean {ranking.key}" in chain.log(cut)
    folder = chain.artifact(cut)
    assert not (folder.path / "artifact.json").exists() and not (folder.run / "failed.json").exists()
    scores.write_bytes(whole)
    assert chain.run(cut) == FINISHED


def test_a_stage_without_its_weights_is_tried_again(chain, monkeypatch):
    """A file that was brought to a cache is no change of what `failed.json` compares."""
    cut = chain.plan().stages["split"]
    forget(chain, cut)

    def lacks(job):
        raise WeightsError("net.pth cannot be fetched")

    with monkeypatch.context() as patch:
        patch.setattr(split, "compute", lacks)
        assert chain.run(cut) == FAILED
    assert "net.pth cannot be fetched" in chain.log(cut)
    assert chain.run(cut) == FINISHED


def test_a_missing_parent_is_refused(chain):
    run = chain.plan()
    forget(chain, run.stages["split"])
    (chain.artifact(run.stages["ranking"]).path / "artifact.json").unlink()
    assert chain.run(run.stages["split"]) == FAILED
    assert "artifact.json is missing: the stage has not finished" in chain.log(run.stages["split"])


def test_what_is_prepared_is_shown_beside_the_artifact(chain):
    source = chain.artifact(chain.plan().stages["source"].parents["source"])
    shown = read_json(source.run / "preview.json")
    assert shown["pixels"] == read_json(source.path / "statistics.json")["class_pixels"]
    assert shown["looked_at"] == shown["images"] and shown["sizes"]
    with Image.open(source.run / "preview.jpg") as sheet:
        assert sheet.width > 900
    assert not any("preview" in name for name in read_json(source.path / "files.json"))


def test_a_bad_file_fails_once_until_it_is_repaired(shared, tmp_path):
    chain = type(shared).make(tmp_path)
    source = chain.plan("source-only").stages["source"].parents["source"]
    picture = tmp_path / "data/rendered/images/train/2.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert chain.run(source) == FAILED
    message = read_json(chain.artifact(source).run / "failed.json")["message"]
    assert "2.png" in message
    assert not (chain.artifact(source).path / "artifact.json").exists()

    assert chain.run(source) == FAILED
    assert "this failed before and nothing has changed since" in chain.log(source)
    assert chain.outcomes(source) == ["failed"], "the second attempt computed nothing"

    picture.write_bytes(whole)
    assert chain.run(source) == FINISHED, chain.log(source)
    assert not (chain.artifact(source).run / "failed.json").exists()
    wanted = shared.plan("source-only").stages["source"].parents["source"]
    assert chain.artifact(source).load()["digest"] == shared.artifact(wanted).load()["digest"]


def test_a_label_of_another_size_is_in_the_report_with_every_other_bad_file(shared, tmp_path):
    chain = type(shared).make(tmp_path)
    source = chain.plan("source-only").stages["source"].parents["source"]
    labels = tmp_path / "data/rendered/labels/train"
    Image.new("L", (8, 8)).save(labels / "0.png")
    Image.new("L", (48, 32), 200).save(labels / "3.png")
    assert chain.run(source) == FAILED
    log = chain.log(source)
    assert "0.png" in log and "3.png" in log and "200" in log


def test_stopped_by_its_time_limit_and_gone_on(chain, shared):
    """Exit code 75, the state stays, the next run goes on from it and removes it."""
    inter = chain.plan().stages["inter"]
    forget(chain, inter)
    assert chain.run(inter, runtime_minutes=1e-9) == STOPPED
    folder = chain.artifact(inter)
    assert any((folder.state / "training").glob("step-*"))
    assert not (folder.path / "artifact.json").exists()
    assert "stopped (" in chain.log(inter) and "the same command goes on" in chain.log(inter)
    assert chain.run(inter) == FINISHED
    assert "resumed at step" in chain.log(inter)
    assert chain.outcomes(inter) == ["interrupted", "finished"]
    assert not folder.state.exists()
    assert folder.load()["digest"] == shared.artifact(inter).load()["digest"]


def test_no_state_is_left_by_any_stage(shared):
    assert sorted(shared.results.glob("*/*/artifact.json"))
    assert not list(shared.results.glob("*/*/state"))


def test_an_unexpected_error_has_its_traceback_in_the_log_and_may_be_tried_again(chain, monkeypatch):
    cut = chain.plan().stages["split"]
    forget(chain, cut)
    with monkeypatch.context() as patches:
        patches.setattr(split, "split_table", lambda *_: 1 / 0)
        assert chain.run(cut) == FAILED
    assert "unexpected error; please report it" in chain.log(cut)
    assert "ZeroDivisionError" in chain.log(cut)
    assert not (chain.artifact(cut).run / "failed.json").exists()
    assert chain.run(cut) == FINISHED
    assert chain.outcomes(cut) == ["error", "finished"]


def test_every_attempt_is_recorded_outside_of_the_digest(shared):
    inter = shared.plan().stages["inter"]
    (attempt,) = read_json(shared.artifact(inter).run / "history.json")
    assert attempt["outcome"] == "finished" and attempt["device"] == "cpu"
    assert attempt["seconds"] >= 0 and attempt["peak_memory_mb"] > 0
    assert attempt["settings"]["threads"] == 1
    assert {"python", "torch", "numpy", "pillow"} <= set(attempt["software"])
    assert not any(name.startswith("run/") for name in shared.artifact(inter).load()["files"])


def test_the_manifest_names_what_made_the_artifact(shared):
    run = shared.plan()
    intra = run.stages["intra"]
    manifest = shared.artifact(intra).load()
    assert manifest["key"] == intra.key and manifest["kind"] == "train" and manifest["seed"] == 0
    assert manifest["parents"]["target_part"] == {
        "key": run.stages["split"].key,
        "digest": shared.artifact(run.stages["split"]).load()["digest"],
    }
    assert manifest["parameters"]["steps"] == 4
    assert set(manifest["files"]) == {
        "metrics.csv",
        *(f"snapshots/step-{step:08d}.{end}" for step in (2, 4) for end in ("safetensors", "json")),
    }


def test_a_stage_file_that_is_not_there_ends_the_verb_with_code_2(tmp_path, capsys):
    assert main(["run", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_the_verb_runs_a_stage_without_snakemake(chain, capsys):
    cut = chain.plan().stages["split"]
    forget(chain, cut)
    log = chain.folder / "own.log"
    assert main(["run", str(chain.stage_file(cut)), "--log", str(log)]) == FINISHED
    lines = log.read_text().splitlines()
    assert any(line.endswith("start: split") for line in lines)
    assert any("easy 4, hard 2 of 6 images" in line for line in lines)
    assert f"[{cut.key}] " in capsys.readouterr().err


def test_the_schedulers_limit_counts_inside_a_slurm_job_only(chain, monkeypatch):
    inter = chain.plan().stages["inter"]
    command = ["run", str(chain.stage_file(inter)), "--runtime", "0.000001"]
    forget(chain, inter)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert main(command) == STOPPED
    monkeypatch.delenv("SLURM_JOB_ID")
    assert main(command) == FINISHED


def test_a_pass_stopped_between_parts_keeps_the_finished_ones(chain, shared):
    ranking = chain.plan().stages["ranking"]
    forget(chain, ranking)
    path = chain.stage_file(ranking)
    record = read_json(path)
    write_json(path, {**record, "run": {**record["run"], "parts": 3}})
    assert run_stage(path, None, 1e-9) == STOPPED
    assert any(chain.artifact(ranking).state.rglob("*"))
    codes = [run_stage(path, None, 1e-9) for _ in range(6)]
    assert FINISHED in codes, "however little time there is, a part gets done"
    digest = chain.artifact(ranking).load()["digest"]
    assert digest == shared.artifact(ranking).load()["digest"]


def test_the_inference_batch_changes_entropies_by_rounding_only(shared):
    one = shared.plan().stages["ranking"]
    four = shared.plan(set_={"rank": {"batch": 4}}).stages["ranking"]
    assert one.key != four.key
    shared.finish(four)
    first, second = (
        pd.read_csv(shared.artifact(stage).path / "scores.csv").set_index("image") for stage in (one, four)
    )
    assert list(first.index) == list(second.index)
    assert (first["entropy"] - second["entropy"]).abs().max() < 1e-5


def test_a_finished_stage_reads_nothing_but_its_own_folder(chain):
    """Snakemake asks for it again after a touched file: that must be over at once."""
    ranking = chain.plan().stages["ranking"]
    assert chain.run(ranking) == FINISHED
    artifacts = [path for path in chain.opened[ranking.key] if path.startswith(f"{chain.results}/")]
    others = {path for path in artifacts if f"/{ranking.key}" not in path}
    assert artifacts and others == set()


def test_nothing_is_written_where_the_process_stands(chain, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = chain.plan(set_={"split": {"lambda": 0.34}})
    new = [stage for stage in run.all_stages() if not chain.artifact(stage).path.exists()]
    assert {stage.kind for stage in new} >= {"split", "pseudolabel", "train", "select", "evaluate"}
    for stage in run.all_stages():
        if stage.kind in ("prepare", "rank"):
            forget(chain, stage)
    chain.finish(*run.all_stages())
    chain.publish(run)
    assert chain.report() == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []
