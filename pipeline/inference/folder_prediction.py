"""A folder of pictures in, label maps out; may be killed and started again, and never ends at one bad file.

    python -m pipeline predict --model results/experiments/demo/seed0/model --images FOLDER --out FOLDER

`out/ids/` holds single-channel PNGs of class ids, `out/overlay/` the pictures under the classes' colors, and
on request `out/confidence/` and `out/entropy/` grey PNGs (0 to 255 for 0 to 1). The folders repeat the tree
of the pictures. `out/bad_images.csv` lists what could not be read, with the reason. A picture whose files are
there and newer than itself is not predicted again.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.artifacts.errors import ConfigError, DataError, Interrupted
from pipeline.artifacts.files import read_json, replacing, write_json, write_text
from pipeline.datasets.decoding import read_image
from pipeline.inference.overlays import as_bytes, overlay
from pipeline.inference.passes import never, silent
from pipeline.inference.prediction import Model, Prediction, UInt8, predict_image

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
HEADER = "predict.json"
BAD = "bad_images.csv"


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
    """Counts of a run: predicted now, found finished, and what could not be read (path, reason)."""

    predicted: int
    finished_before: int
    bad: tuple[tuple[str, str], ...]


def predict_folder(
    model: Model,
    images: Path,
    out: Path,
    wanted: Wanted | None = None,
    stop: Callable[[], str | None] = never,
    progress: Callable[[int, int], None] = silent,
) -> Summary:
    """Predict every picture below `images` into `out`; each file is written whole or not at all.

    Bad pictures are listed and passed over. `stop` is asked between pictures: Interrupted, nothing is lost.
    ConfigError: no picture is found, `out` lies inside `images`, or holds another model's predictions.
    """
    wanted = wanted or Wanted()
    _check_folders(images, out)
    pictures = list_pictures(images)
    if not pictures:
        raise ConfigError(f"{images} holds no picture; endings known: {', '.join(sorted(PICTURES))}")
    _claim(model, out)
    names = output_names([picture.relative_to(images) for picture in pictures])
    todo = [
        (picture, name)
        for picture, name in zip(pictures, names, strict=True)
        if not _is_done(picture, _outputs(out, name, wanted))
    ]
    finished = len(pictures) - len(todo)
    bad: list[tuple[str, str]] = []
    for number, (picture, name, pixels) in enumerate(_read_ahead(todo)):
        progress(finished + number, len(pictures))
        reason = stop()
        if reason:
            raise Interrupted(f"{reason}: {finished + number} of {len(pictures)} pictures are done")
        if isinstance(pixels, DataError):
            bad.append((str(picture.relative_to(images)), str(pixels)))
            continue
        prediction = predict_image(model, Image.fromarray(pixels))
        _write(model, pixels, prediction, _outputs(out, name, wanted))
    progress(len(pictures), len(pictures))
    _list_bad(out / BAD, bad)
    return Summary(len(todo) - len(bad), finished, tuple(bad))


def list_pictures(folder: Path) -> list[Path]:
    """Return the pictures below a folder, by their ending, sorted; hidden files and folders are left out."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


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
    inside = images.resolve()
    if inside == out.resolve() or inside in out.resolve().parents:
        raise ConfigError(
            f"--out {out} lies inside the pictures' folder {images}; choose a folder outside it"
        )


def _claim(model: Model, out: Path) -> None:
    """Mark the folder as this model's, or refuse it when it is another's."""
    ours = {
        "stage": model.meta.get("stage"),
        "step": model.meta.get("step"),
        "classes": list(model.taxonomy.names),
    }
    path = out / HEADER
    if path.exists() and read_json(path) != ours:
        raise ConfigError(
            f"{out} holds predictions of another model ({path}); choose another folder or remove it"
        )
    write_json(path, ours)


def _outputs(out: Path, name: Path, wanted: Wanted) -> dict[str, Path]:
    return {kind: out / kind / name for kind in wanted.kinds()}


def _is_done(picture: Path, outputs: dict[str, Path]) -> bool:
    changed = picture.stat().st_mtime_ns
    return all(path.is_file() and path.stat().st_mtime_ns >= changed for path in outputs.values())


def _read_ahead(todo: Sequence[tuple[Path, Path]]) -> Iterator[tuple[Path, Path, UInt8 | DataError]]:
    """Decode one picture in the background while the one before is predicted."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        waiting = [pool.submit(_read, picture) for picture, _ in todo[:1]]
        for place, (picture, name) in enumerate(todo):
            pixels = waiting.pop().result()
            if place + 1 < len(todo):
                waiting.append(pool.submit(_read, todo[place + 1][0]))
            yield picture, name, pixels


def _read(picture: Path) -> UInt8 | DataError:
    try:
        return read_image(picture)
    except DataError as error:
        return error


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
