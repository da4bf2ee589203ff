"""Preparing the tiny dataset of two classes, and what lies in the folder afterwards."""

import csv
import hashlib
from pathlib import Path

from tiny_pictures import AB

from pipeline.artifacts.control import Control
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.datasets.conversion import CacheContent, Converter
from pipeline.datasets.preparation import prepare


def made(spec, root, *, size=(4, 3), labels="working", content=None, control=None, shard_images=2, **more):
    return prepare(
        CacheContent(spec, "train", AB, size, labels, **content or {}),
        ArtifactFolder(root),
        control=Control(**control or {}),
        shard_images=shard_images,
        **more,
    )


def files(folder):
    kept = (path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def bad_files(root):
    with (root / "run/bad-files.csv").open(newline="") as file:
        return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}


def noted_shards(monkeypatch):
    """The numbers of the shards that are converted from here on."""
    shards = []
    original = Converter.convert
    monkeypatch.setattr(
        Converter, "convert", lambda self, shard, items: shards.append(shard) or original(self, shard, items)
    )
    return shards
