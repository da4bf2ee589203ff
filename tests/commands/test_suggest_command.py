"""`suggest`: what it runs, prints and refuses."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.__main__ import main
from pipeline.commands import suggest
from pipeline.stages.runner import run_stage

SHIPPED = Path(__file__).resolve().parents[2] / "config"
SHARED = {"task": "tiny", "network": "small"}
TRAIN = {"batch": 2, "steps": 1, "snapshots": 1}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny configuration, and a workflow that runs stage files in this process."""
    root = tmp_path / "config"
    for name in ("recipes", "networks", "taxonomies"):
        shutil.copytree(SHIPPED / name, root / name)
    for folder in ("datasets", "tasks"):
        (root / folder).mkdir()
    for domain in ("rendered", "camera"):
        spec = yaml.safe_load((SHIPPED / f"datasets/streets-{domain}.yaml").read_text("utf-8"))
        spec["splits"] = {"train": {"count": 4}}
        (root / f"datasets/streets-{domain}.yaml").write_text(json.dumps(spec))
    part = {"split": "train", "size": [48, 32]}
    task = {
        "taxonomy": "camvid11",
        "source": {"dataset": "streets-rendered", **part},
        "target": {"dataset": "streets-camera", **part},
    }
    (root / "tasks/tiny.yaml").write_text(json.dumps(task))
    body = {"recipe": "source-only", "set": {"train": TRAIN}}
    (root / "mine.yaml").write_text(json.dumps({**SHARED, "experiments": {"first": body}}))
    (root / "config.yaml").write_text("suite: mine\nrun: {device: cpu, threads: 1, workers: 0}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_this_process(arguments: object, *targets: str) -> int:
    """Run a target's stage after its parents, as Snakemake would."""
    for target in targets:
        path = Path("results/stages") / f"{Path(target).parent.name}.json"
        parents = json.loads(path.read_text())["parents"].values()
        wanted = [f"results/{parent['rule']}/{parent['key']}/artifact.json" for parent in parents]
        code = in_this_process(arguments, *(file for file in wanted if not Path(file).is_file()))
        if code or (code := run_stage(path, None)):
            return code
    return 0


def test_it_runs_what_is_missing_and_says_what_to_do(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def workflow(arguments: object, lock: int, *targets: str) -> int:
        calls.append((arguments.only, targets))  # type: ignore[attr-defined]
        return in_this_process(arguments, *targets)

    monkeypatch.setattr(suggest, "run_workflow", workflow)
    words = ["suggest", "--experiment", "first", "--count", "2", "--train"]
    assert main([*words, "--out", "config/lists/mine.txt"]) == 0
    ((only, (target,)),) = calls
    assert only == ["first"] and target.startswith("results/suggest/suggest-tiny-s0-")
    printed = capsys.readouterr().out
    found = Path(target).parent / "suggested.txt"
    assert f"list  {found}" in printed
    told = yaml.safe_load(next(line for line in printed.splitlines() if "first-labelled: " in line))
    assert told == {"first-labelled": {"recipe": "strong-few", "labelled": {"names": "lists/mine.txt"}}}
    assert (
        "(recipes that read labelled target images: ass, ass-paper, joint-ce, strong-few, target-only)"
        in printed
    )
    assert Path("config/lists/mine.txt").read_text() == found.read_text()
    assert len(found.read_text().split()) == 2

    # The list can be named at once, and asking again runs nothing.
    suite = yaml.safe_load(Path("config/mine.yaml").read_text())
    crops = {domain: {"crop": [32, 24]} for domain in ("source", "target", "labelled")}
    told["first-labelled"]["set"] = {"train": {"augmentation": crops}}
    suite["experiments"] |= told
    suite["set"] = {"train": TRAIN}
    Path("config/mine.yaml").write_text(json.dumps(suite))
    assert main(["plan", "--only", "first-labelled"]) == 0
    assert "prepare-streets-camera-train-2-labelled" in capsys.readouterr().out
    assert main([*words, "--out", "config/lists/mine.txt"]) == 0 and len(calls) == 1

    # Finished parents need no workflow; another list is not written over the first.
    assert main(["suggest", "--experiment", "first", "--count", "3", "--out", "config/lists/mine.txt"]) == 2
    assert "holds another list" in capsys.readouterr().err and len(calls) == 1


def test_trainings_that_are_missing_are_told_and_not_started_unasked(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suggest, "run_workflow", lambda arguments, lock, *targets: pytest.fail("it trains"))
    assert main(["suggest", "--experiment", "first", "--count", "2"]) == 2
    said = capsys.readouterr().err
    assert "not trained yet: supervised-tiny-s0-" in said and "add --train" in said
    assert not Path("results").exists()


def test_an_experiment_of_another_suite_is_found_by_its_name(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"recipe": "source-only", "set": {"train": TRAIN}}
    for name in ("other", "third"):
        suite = {**SHARED, "experiments": {"drive": body, name: body}}
        (workplace / f"config/{name}.yaml").write_text(json.dumps(suite))
    words = (["suggest", "--count", "2"], "not trained yet"), (["archive"], "no seed of it has finished")
    for word, message in words:
        assert main([*word, "--experiment", "third"]) == 2
        said = capsys.readouterr().err
        assert "--experiment third: taken from config/third.yaml" in said and message in said
        assert main([*word, "--experiment", "drive"]) == 2
        both = "drive: is in config/other.yaml, config/third.yaml; give one of them by --configfile"
        assert both in capsys.readouterr().err
        assert main([*word, "--experiment", "drive", "--configfile", "config/other.yaml"]) == 2
        said = capsys.readouterr().err
        assert message in said and "taken from" not in said


def test_a_list_that_was_removed_meanwhile_is_told(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suggest, "run_workflow", lambda arguments, lock, *targets: 0)
    assert main(["suggest", "--experiment", "first", "--count", "2", "--train"]) != 0
    assert "suggested.txt: was removed meanwhile, as `clean` does" in capsys.readouterr().err


def test_a_failed_workflow_ends_the_command(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suggest, "run_workflow", lambda arguments, lock, *targets: 75)
    assert main(["suggest", "--experiment", "first", "--count", "2", "--train"]) == 75
    assert "to label" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--experiment", "frist"], "did you mean `first`?"),
        (["--experiment", "f*"], "--experiment f*: needs the name of one experiment"),
        (["--experiment", "first", "--count", "0"], "--count, --candidates: count: found 0"),
        (["--experiment", "first", "--candidates", "2"], "candidates: found 2.0"),
        (["--experiment", "first", "--seed", "7"], "seeds: found [0], asked for 7"),
        (["--experiment", "first", "--count", "9"], "of the 4 target images 0 have labels"),
        (["--experiment", "first", "--out", "config"], "--out config: is a folder"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    workplace: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["suggest", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("labels", "message"), [(None, "say in config/datasets/photos.yaml"), ("ids/*.png", "data/ids/*.png")]
)
def test_it_says_where_labels_belong(workplace: Path, labels: str | None, message: str) -> None:
    from pipeline.config.load import load_config

    split = {"images": "photos/*.jpg"} | ({"labels": labels} if labels else {})
    (workplace / "data").mkdir()
    spec = {"root": str(workplace / "data"), "splits": {"train": split}, "ids": {"sky": 0}}
    Path("config/datasets/photos.yaml").write_text(json.dumps(spec))
    task = json.loads(Path("config/tasks/tiny.yaml").read_text()) | {"target": {"dataset": "photos"}}
    Path("config/tasks/tiny.yaml").write_text(json.dumps(task))
    config = load_config()
    text = suggest._what_to_do(config, config.experiments["first"], None)
    assert message in text and "copy the list to config/lists/FILE.txt" in text
