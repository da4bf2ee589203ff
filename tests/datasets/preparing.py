"""Preparing the tiny dataset of two classes, and what lies in the folder afterwards."""

import csv
import hashlib
from pathlib import Path

from tiny_pictures import AB

from pipeline.datasets.conversion import Converter
from pipeline.datasets.preparation import prepare


def made(spec, root, *, size=(4, 3), labels="working", shard_images=2, **more):
    return prepare(
        spec,
        "train",
        AB,
        size=size,
        labels=labels,
        folder=root,
        state=root / "state",
        run=root / "run",
        shard_images=shard_images,
        **more,
    )


def files(folder):
    kept = (path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def bad_files(root):
    with (root / "run/bad-files.csv").open(newline="") as file:
        return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}


def noted_parts(monkeypatch):
    """The numbers of the parts that are converted from here on."""
    parts = []
    original = Converter.convert
    monkeypatch.setattr(
        Converter, "convert", lambda self, part, items: parts.append(part) or original(self, part, items)
    )
    return parts
