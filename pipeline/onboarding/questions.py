"""What `init` asks on a terminal where it was given no options: the folders and a name, each with a guess for Enter.

Guesses are made by the names of folders alone; what is found in the chosen one is shown at once.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.artifacts.errors import ConfigError, SegadaptError
from pipeline.datasets.walking import PICTURES
from pipeline.onboarding.picture_folders import find_pictures

QUESTIONS = {
    "source_images": "Labelled images (a simulator's, another camera's)",
    "source_labels": "Their labels",
    "target_images": "Images like those the model is for",
    "heldout_images": "Other labelled images of that kind, for figures only",
    "heldout_labels": "Their labels",
}
NEEDED = ("source_images", "source_labels", "target_images")

_DEEPEST = 4
_LEFT_OUT = frozenset(
    {"config", "results", "logs", "docs", "tests", "site", "workflow", "pipeline", "benchmarks"}
)
_LABELS = re.compile(r"label|ids?\b|sem|gt\b|truth|mask|annot", re.IGNORECASE)
_TARGET = re.compile(r"real|photo|target|camera|phone", re.IGNORECASE)
_HELD_OUT = re.compile(r"held.?out|test|val", re.IGNORECASE)


def ask(root: Path) -> dict[str, str]:
    """The answers by option, `name` too; those that nothing was said to are left out. ConfigError when input ends."""
    folders = picture_folders(root)
    answers: dict[str, str] = {}
    print("Folders with pictures here:", *(f"  {folder}" for folder in folders or ["none"]), sep="\n")
    print("Enter takes what stands in brackets; a folder elsewhere, or a quoted pattern, is as good.")
    for key in QUESTIONS:
        if key == "heldout_labels" and "heldout_images" not in answers:
            continue
        answer = _ask_for_folder(key, guess(key, folders, answers))
        if answer:
            answers[key] = answer
    plain = re.sub(r"[^a-z0-9]+", "-", Path(answers["target_images"]).name.lower()).strip("-") or "mine"
    answers["name"] = _input(f"A short name for it [{plain}]: ") or plain
    return answers


def picture_folders(root: Path) -> list[str]:
    """Folders below `root` that hold pictures themselves, as paths from there, sorted; results and code left out."""
    found = []
    for path, inner, files in os.walk(root):
        depth = len(Path(path).relative_to(root).parts)
        kept = [one for one in inner if one[0] != "." and not (depth == 0 and one in _LEFT_OUT)]
        inner[:] = sorted(kept) if depth < _DEEPEST else []
        if depth and any(Path(file).suffix.lower() in PICTURES for file in files):
            found.append(Path(path).relative_to(root).as_posix())
    return found


def guess(key: str, folders: Sequence[str], answers: Mapping[str, str]) -> str | None:
    """The folder that a question most probably means, by its name and the answers so far; None where none fits."""
    left = [folder for folder in folders if folder not in answers.values()]
    marks = [folder for folder in left if _LABELS.search(folder)]
    images = [folder for folder in left if folder not in marks]
    if key == "source_images":
        return next(iter(_without(_TARGET, _without(_HELD_OUT, images))), None)
    if key == "target_images":
        return next((one for one in _without(_HELD_OUT, images) if _TARGET.search(one)), None)
    if key == "heldout_images":
        return next((one for one in images if _HELD_OUT.search(one)), None)
    beside = answers[key.replace("labels", "images")]
    near = [one for one in marks if one.partition("/")[0] == beside.partition("/")[0]]
    return max(near, key=lambda one: len(os.path.commonpath([one, beside])), default=None)


def _without(word: re.Pattern[str], folders: Sequence[str]) -> list[str]:
    return [folder for folder in folders if not word.search(folder)]


def _ask_for_folder(key: str, guessed: str | None) -> str | None:
    """Ask until pictures are found there; None for nothing said where that may be."""
    shown = guessed or ("needed" if key in NEEDED else "none")
    while True:
        answer = _input(f"{QUESTIONS[key]} [{shown}]: ") or guessed
        if answer is None or answer == "none":
            if key not in NEEDED and key != "heldout_labels":
                return None
            continue
        try:
            found = find_pictures(answer, f"--{key.replace('_', '-')}")
        except SegadaptError as error:
            print(f"  {error}")
            guessed = None if answer == guessed else guessed
            continue
        print(f"  {len(found.files)} pictures, such as {found.files[0]}")
        return answer


def _input(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        raise ConfigError("init: the input ended before all was answered; nothing was written") from None
