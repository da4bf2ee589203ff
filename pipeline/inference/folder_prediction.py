"""A folder of pictures in, label maps out; may be killed and started again, and never ends at one bad file.

    python -m pipeline predict --model results/experiments/demo/seed0/model --images FOLDER --out FOLDER

`out/ids/` holds single-channel PNGs of class ids, `out/overlay/` the pictures under the classes' colors, and
on request `out/confidence/` and `out/entropy/` grey PNGs (0 to 255 for 0 to 1). The folders repeat the tree
of the pictures. `out/bad_images.csv` lists what could not be predicted, with the reason: it cannot be read, or was
replaced or removed meanwhile. A picture that the folder's index knows, unchanged and with all its maps, is not
predicted again. Maps that belong to no picture are named.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.artifacts.control import ALONE, Control
from pipeline.artifacts.errors import ConfigError, DataError, Interrupted
from pipeline.artifacts.files import read_json, replacing, write_json, write_text
from pipeline.datasets.decoding import read_image
from pipeline.datasets.walking import PICTURES, Found, describe_omissions, find_all_pictures
from pipeline.inference.overlays import as_bytes, overlay
from pipeline.inference.predicted_index import Entry, PredictedIndex, entry_of, is_unchanged, model_digest
from pipeline.inference.prediction import Model, Prediction, UInt8, predict_image

HEADER = "predict.json"
BAD = "bad_images.csv"
KINDS = ("ids", "overlay", "confidence", "entropy")
"""Every folder of maps."""


@dataclass(frozen=True)
class Wanted:
    """What is written beside the id PNGs."""

    overlay: bool = True
    confidence: bool = False
    entropy: bool = False

    def kinds(self) -> list[str]:
        """Return the names of the folders to write; `ids` comes last and completes a picture."""
        return [name for name in ("overlay", "confidence", "entropy") if getattr(self, name)] + ["ids"]


@dataclass(frozen=True)
class Summary:
    """Counts of a run: predicted now, found finished, and what could not be predicted (path, reason).

    `stale`: maps of pictures that are not there any more, removed if that was asked for; `omissions`: one line
    per kind of file that was left out.
    """

    predicted: int
    finished_before: int
    bad: tuple[tuple[str, str], ...]
    stale: tuple[str, ...] = ()
    omissions: tuple[str, ...] = ()


def predict_folder(
    model: Model,
    images: Path,
    out: Path,
    wanted: Wanted | None = None,
    control: Control = ALONE,
    prune: bool = False,
) -> Summary:
    """Predict every picture below `images` into `out`; each file is written whole or not at all.

    Bad pictures are listed and passed over. `control` is asked between pictures: Interrupted, nothing is lost.
    `prune` removes maps that belong to no picture. ConfigError: no picture is found, `out` lies inside `images`,
    holds another model's predictions, or files that are none.
    """
    wanted = wanted or Wanted()
    _check_folders(images, out)
    found = _pictures(images)
    _claim(model, out)
    index = PredictedIndex(out)
    jobs = _jobs(images, found.paths(), out, wanted, index)
    todo = [job for job in jobs if not job.done]
    finished = len(jobs) - len(todo)
    bad: list[tuple[str, str]] = []
    for number, (job, decoded) in enumerate(_read_ahead(todo)):
        control.progress(finished + number, len(jobs))
        reason = control.stop()
        if reason:
            raise Interrupted(f"{reason}: {finished + number} of {len(jobs)} pictures are done")
        try:
            pixels, entry = decoded.result()
            prediction = predict_image(model, pixels)
            _check_unchanged(job.picture, entry)
        except DataError as error:
            bad.append((job.image, str(error)))
            index.forget([job.image])
            continue
        _write(model, pixels, prediction, _outputs(out, job.output, wanted))
        index.add(entry)
    control.progress(len(jobs), len(jobs))
    _list_bad(out / BAD, bad)
    stale = _stale_maps(out, index, {job.image for job in jobs})
    if prune:
        _remove(out, stale)
        index.forget(index.images() - {job.image for job in jobs})
    index.rewrite()
    omissions = tuple(describe_omissions(found.left_out, found.links))
    return Summary(len(todo) - len(bad), finished, tuple(bad), tuple(stale), omissions)


@dataclass(frozen=True)
class _Job:
    """A picture, its path below the pictures' folder, the name and kinds of its maps, and whether they are there."""

    picture: Path
    image: str
    output: str
    kinds: tuple[str, ...]
    done: bool


def _pictures(images: Path) -> Found:
    found = find_all_pictures(images)
    if not found.files:
        omissions = "".join(f"\n{line}" for line in describe_omissions(found.left_out, found.links))
        raise ConfigError(
            f"{images} holds no picture; endings known: {', '.join(sorted(PICTURES))}{omissions}"
        )
    return found


def _jobs(images: Path, names: Sequence[str], out: Path, wanted: Wanted, index: PredictedIndex) -> list[_Job]:
    """What to do for every picture; one that has changed loses the maps that are not wanted now."""
    outputs = output_names([Path(name) for name in names])
    jobs = []
    for name, output in zip(names, outputs, strict=True):
        picture, entry = images / name, index.get(name)
        kept: tuple[str, ...] = ()
        if entry is not None and entry.output == output.as_posix() and is_unchanged(picture, entry):
            kept = tuple(kind for kind in entry.kinds if (out / kind / output).is_file())
        done = set(wanted.kinds()) <= set(kept)
        jobs.append(_Job(picture, name, output.as_posix(), tuple({*kept, *wanted.kinds()}), done))
    return jobs


def _stale_maps(out: Path, index: PredictedIndex, images: set[str]) -> list[str]:
    """Files among the maps that belong to no picture: it was removed, renamed, replaced or cannot be read now."""
    entries = [entry for image in images if (entry := index.get(image)) is not None]
    current = {file for entry in entries for file in entry.files()}
    there = (path for kind in KINDS for path in (out / kind).rglob("*.png") if path.is_file())
    return sorted({path.relative_to(out).as_posix() for path in there} - current)


def _remove(out: Path, maps: Sequence[str]) -> None:
    """Delete maps, and folders that become empty."""
    for path in (out / name for name in maps):
        path.unlink(missing_ok=True)
        folder = path.parent
        while folder.parent != out and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def output_names(pictures: Sequence[Path]) -> list[Path]:
    """Return a PNG name of its own for each picture: `a.jpg` -> `a.png`, or `a.jpg.png` beside an `a.png`."""
    stems = Counter(picture.with_suffix("") for picture in pictures)
    whole = [Path(f"{picture}.png") for picture in pictures]
    short = [
        picture.with_suffix(".png") if stems[picture.with_suffix("")] == 1 else full
        for picture, full in zip(pictures, whole, strict=True)
    ]
    return short if len(set(short)) == len(short) else whole


def _check_folders(images: Path, out: Path) -> None:
    if not images.is_dir():
        raise ConfigError(f"{images} is not a folder")
    inside, place = images.resolve(), Path(os.path.realpath(out))  # `resolve` raises for links in a circle
    if inside == place or inside in place.parents:
        raise ConfigError(
            f"--out {out} lies inside the pictures' folder {images}; choose a folder outside it"
        )


def _claim(model: Model, out: Path) -> None:
    """Mark the folder as this model's; refuse it when it is another's, or holds maps that are no predictions."""
    ours = {
        "stage": model.meta.get("stage"),
        "step": model.meta.get("step"),
        "classes": list(model.taxonomy.names),
        "digest": model_digest(model),
    }
    path = out / HEADER
    if path.exists():
        found = read_json(path)
        # Folders of before the digest was noted: their pictures are predicted anew.
        if found != ours and found != {key: value for key, value in ours.items() if key != "digest"}:
            raise ConfigError(
                f"{out} holds predictions of another model ({path}); choose another folder or remove it"
            )
    else:
        strange = [out / kind for kind in KINDS if (out / kind).exists()]
        if strange:
            raise ConfigError(
                f"--out {out}: there is {strange[0]}, which is not of predictions (no {HEADER} beside it); choose another "
                "folder, so that nothing is written over"
            )
    write_json(path, ours)


def _outputs(out: Path, name: str, wanted: Wanted) -> dict[str, Path]:
    return {kind: out / kind / name for kind in wanted.kinds()}


def _read_ahead(todo: Sequence[_Job]) -> Iterator[tuple[_Job, "Future[tuple[UInt8, Entry]]"]]:
    """Decode one picture in the background while the one before is predicted."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        waiting = [pool.submit(_read, job) for job in todo[:1]]
        for place, job in enumerate(todo):
            decoded = waiting.pop()
            if place + 1 < len(todo):
                waiting.append(pool.submit(_read, todo[place + 1]))
            yield job, decoded


def _read(job: _Job) -> tuple[UInt8, Entry]:
    """The pixels of a picture and its entry, which comes first: a file put in its place meanwhile never passes for it.

    DataError: it cannot be read, or is not there any more.
    """
    try:
        entry = entry_of(job.picture, job.image, job.output, job.kinds)
        return read_image(job.picture), entry
    except OSError as error:
        raise DataError(f"{job.picture}: cannot be read: {error.strerror}") from error


def _check_unchanged(picture: Path, entry: Entry) -> None:
    """DataError when a picture is no more the one that was decoded."""
    if not is_unchanged(picture, entry):
        raise DataError(f"{picture}: replaced or removed while it was predicted; give the same command again")


def _write(model: Model, pixels: UInt8, prediction: Prediction, outputs: dict[str, Path]) -> None:
    pictures: dict[str, Callable[[], UInt8]] = {
        "ids": lambda: prediction.ids,
        "overlay": lambda: overlay(pixels, prediction.ids, model.palette),
        "confidence": lambda: as_bytes(prediction.confidence),
        "entropy": lambda: as_bytes(prediction.entropy),
    }
    for kind, path in outputs.items():
        with replacing(path) as temporary:
            Image.fromarray(np.ascontiguousarray(pictures[kind]())).save(temporary, "PNG")


def _list_bad(path: Path, bad: Sequence[tuple[str, str]]) -> None:
    if not bad:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "reason"))
    writer.writerows(bad)
    write_text(path, text.getvalue())
