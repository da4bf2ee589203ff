"""Results of made-up stages: a source and a target, a model, its ranking and a link for people. No torch."""

from pathlib import Path
from typing import Any

from pipeline.artifacts.files import read_json, write_json, write_text
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.stages.parameters import RankParameters
from pipeline.stages.record import ArtifactRef, StageRecord
from pipeline.training.parameters import RunSettings

STAGES = {
    "source-0123456789ab": ("prepare", {}),
    "target-0123456789ab": ("prepare", {}),
    "model-0123456789ab": ("pretrain", {"source": "source-0123456789ab"}),
    "rank-0123456789ab": ("rank", {"model": "model-0123456789ab", "images": "target-0123456789ab"}),
}
SOURCE, TARGET, MODEL, RANK = STAGES


def folder_of(results: Path, key: str) -> ArtifactFolder:
    return ArtifactFolder(results / STAGES[key][0] / key)


def record_of(key: str) -> StageRecord:
    """A planned stage of that key; of what it would do only its parents matter here."""
    rule, parents = STAGES[key]
    return StageRecord(
        kind="rank",
        rule=rule,
        key=key,
        digest="",
        label="",
        seed=None,
        determinism="exact",
        parameters=RankParameters(),
        parents={role: ArtifactRef(rule=STAGES[one][0], key=one) for role, one in parents.items()},
        domains={},
        hashed={},
        run=RunSettings(),
    )


def publish(results: Path, key: str, content: str = "") -> dict[str, Any]:
    """Write the stage file of `key` and its artifact: two files that tell its name."""
    _, parents = STAGES[key]
    write_text(results / "stages" / f"{key}.json", record_of(key).text())
    folder = folder_of(results, key)
    write_text(folder.path / "table.csv", f"{key}{content}\n")
    write_text(folder.path / "snapshots" / "step-1.bin", "weights")
    write_json(folder.run / "history.json", [])
    found = {
        role: {
            "key": parent,
            "digest": read_json(folder_of(results, parent).path / "artifact.json")["digest"],
        }
        for role, parent in parents.items()
    }
    return folder.publish({"key": key, "parents": found})


def publish_all(results: Path) -> None:
    """All stages, and the folder for people that links to the model."""
    for key in STAGES:
        publish(results, key)
    people = results / "experiments" / "demo" / "seed0"
    people.mkdir(parents=True)
    (people / "1-source").symlink_to(Path("../../../pretrain") / MODEL)
    write_json(results / "stages" / "report-demo.json", {"key": "report-demo", "kind": "report", "runs": []})
