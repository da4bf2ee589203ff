"""Where a training artifact keeps the networks that it publishes."""

from pathlib import Path

from pipeline.artifacts.folder import ArtifactFolder

SNAPSHOTS = "snapshots"


def snapshot_steps(folder: ArtifactFolder) -> list[int]:
    """The steps of a training artifact's snapshots, ascending, by their parsed numbers."""
    return sorted(
        int(path.stem.split("-")[1]) for path in (folder.path / SNAPSHOTS).glob("step-*.safetensors")
    )


def snapshot_path(folder: ArtifactFolder, step: int) -> Path:
    """The weights file of one snapshot."""
    return folder.path / SNAPSHOTS / f"step-{step:08d}.safetensors"
