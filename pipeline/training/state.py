"""Training state that survives kills, full disks and bad disks, and is never mistaken for another's.

    state/step-00000120/tensors.safetensors   every tensor of the training
    state/step-00000120/state.json            step, fingerprint, SHA-256 of the tensors, the rest; readable

A state is written into a folder beside, flushed, read back and renamed as a whole. The last two are kept. The
newest valid one is used; damaged ones are set aside as `*.damaged`; when none is valid, training stops rather
than start from zero.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from pipeline.artifacts.errors import ArtifactError, StateError
from pipeline.artifacts.files import (
    StorageError,
    digest_of,
    flush_to_disk,
    is_leftover,
    make_folder,
    read_json,
    sha256_file,
    storage_error,
    temporary_beside,
    write_json,
)
from pipeline.artifacts.program import program
from pipeline.training.fingerprint import CHANGEABLE, Fingerprint

TENSORS = "tensors.safetensors"
RECORD = "state.json"
KEPT = 2

_PREFIX = "step-"
_DAMAGED = ".damaged"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """A valid training state: the step it was saved after, its tensors on the CPU, and the rest as JSON."""

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class StateStore:
    """The training states of one stage in `folder`.

    `exact` refuses a state of other software, device, GPU count or threads unless `allow` names what may
    differ; otherwise a difference is a warning. `at` hears each moment of a save: tests kill there.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: Fingerprint,
        *,
        exact: bool = True,
        allow: frozenset[str] = frozenset(),
        at: Callable[[str], None] = lambda moment: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        unknown = sorted(allow - set(CHANGEABLE))
        if unknown:
            raise StateError(f"run.allow_changed: {', '.join(unknown)}: choose from {', '.join(CHANGEABLE)}")
        self._folder = folder
        self._fingerprint = fingerprint
        self._exact = exact
        self._allow = allow
        self._at = at
        self._clock = clock
        self.slowest_save_seconds = 0.0

    def save(self, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Write the state after `step`, then remove all but the last two.

        Tensors of any device and dtype are copied to the CPU. `meta` must come back from JSON as it was
        (no tuples, no numbers as keys), else TypeError. StorageError when the disk is full or does not give
        back what was written; the states before it stay.
        """
        begin = self._clock()
        if json.loads(json.dumps(meta, allow_nan=False)) != meta:
            raise TypeError("meta changes on its way through JSON: use lists, and strings as keys")
        make_folder(self._folder)
        self._remove(path for path in self._folder.iterdir() if is_leftover(path))
        final = self._free_name(step)
        temporary = temporary_beside(final)
        try:
            temporary.mkdir()
            self._write(temporary, step, tensors, meta)
            self._at("before_rename")
            temporary.rename(final)
            flush_to_disk(self._folder)
        except OSError as error:
            raise storage_error(final, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._at("after_rename")
        self._remove_old()
        self.slowest_save_seconds = max(self.slowest_save_seconds, self._clock() - begin)

    def load_newest(self) -> State | None:
        """The newest valid state, or None when none was ever saved.

        Damaged newer ones are set aside with one warning. StateError when all are damaged, or when the state
        belongs to another stage, other data, or (in `exact`) to other software or hardware.
        """
        damaged: dict[Path, str] = {}
        for path in reversed(self._states()):
            try:
                record = _check(path)
            except (ArtifactError, OSError) as error:  # OSError: the disk cannot read it
                damaged[path] = str(error)
                continue
            self._compare(record["fingerprint"], path)
            self._set_aside(damaged, record["step"])
            return State(record["step"], load_file(path / TENSORS), record["meta"])
        self._refuse_if_all_lost(damaged)
        return None

    def _write(self, folder: Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        data = to_bytes({name: _on_cpu(tensor) for name, tensor in tensors.items()})
        path = folder / TENSORS
        with path.open("wb") as file:
            self._at("opened")
            file.write(data[: len(data) // 2])
            file.flush()
            self._at("half")
            file.write(data[len(data) // 2 :])
        self._at("before_flush")
        flush_to_disk(path)
        record = {
            "step": step,
            "fingerprint": asdict(self._fingerprint),
            "tensors_sha256": hashlib.sha256(data).hexdigest(),
            "meta": meta,
            "saved": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        }
        write_json(folder / RECORD, {**record, "checksum": digest_of(record)})
        try:
            _check(folder)
        except ArtifactError as error:
            raise StorageError(f"the disk does not give back what was written: {error}") from error

    def _states(self) -> list[Path]:
        """The saved states, oldest first: by step, then by how often that step was saved."""
        found = [(numbers, name) for name in self._names() if (numbers := _numbers(name))]
        return [self._folder / name for _, name in sorted(found)]

    def _names(self) -> list[str]:
        return [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []

    def _free_name(self, step: int) -> Path:
        """A new name for each save: replacing a folder takes two renames, and a kill may come between."""
        times = [again for number, again in filter(None, map(_numbers, self._names())) if number == step]
        suffix = f"-{max(times) + 1}" if times else ""
        return self._folder / f"{_PREFIX}{step:08d}{suffix}"

    def _remove_old(self) -> None:
        self._at("before_old_removed")
        self._remove(self._states()[:-KEPT])

    def _remove(self, folders: Iterable[Path]) -> None:
        for folder in list(folders):
            shutil.rmtree(folder)

    def _compare(self, found: dict[str, Any], path: Path) -> None:
        changed = self._fingerprint.differences(found)
        foreign = [name for name in changed if name not in CHANGEABLE]
        refused = sorted(changed.keys() - self._allow) if self._exact else []
        lines = "".join(f"\n  {text}" for text in changed.values())
        if foreign:
            raise StateError(
                f"{path} belongs to another stage or other data:{lines}\n"
                f"Move {self._folder} away, or `{program()} clean {self._fingerprint.stage}`."
            )
        if refused:
            raise StateError(
                f"{path} was computed differently, and going on would not give the same bits:{lines}\n"
                f"Go on as before, or allow it with the run setting `allow_changed: [{', '.join(refused)}]`."
            )
        if changed:
            _log.warning("%s was computed differently; results may differ in the last bits:%s", path, lines)

    def _set_aside(self, damaged: dict[Path, str], step: int) -> None:
        if not damaged:
            return
        for path in damaged:
            path.rename(_unused(path.with_name(path.name + _DAMAGED)))
        reasons = "; ".join(damaged.values())
        _log.warning("going back to step %d, for newer states are damaged and set aside: %s", step, reasons)

    def _refuse_if_all_lost(self, damaged: dict[Path, str]) -> None:
        aside = sorted(name for name in self._names() if _DAMAGED in name)
        reasons = [*damaged.values(), *(f"{name} was set aside before" for name in aside)]
        if reasons:
            lines = "".join(f"\n  {reason}" for reason in reasons)
            raise StateError(
                f"all training states in {self._folder} are damaged:{lines}\n"
                f"Restore one from a backup, or start this stage from zero with "
                f"`{program()} clean {self._fingerprint.stage}`."
            )


def _on_cpu(tensor: Tensor) -> Tensor:
    """A copy of its own memory: the format refuses tensors that share theirs."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _check(folder: Path) -> dict[str, Any]:
    """The record of a state whose every byte is as it was written; ArtifactError says what is not."""
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or record.pop("checksum", None) != digest_of(record):
        raise ArtifactError(f"{folder / RECORD} is damaged: its checksum does not fit")
    numbers = _numbers(folder.name)
    if numbers and numbers[0] != record["step"]:
        raise ArtifactError(f"{folder} holds step {record['step']}")
    path = folder / TENSORS
    if not path.is_file():
        raise ArtifactError(f"{path} is missing")
    if sha256_file(path) != record["tensors_sha256"]:
        raise ArtifactError(f"{path} is damaged: its SHA-256 is not that of {RECORD}")
    return record


def _unused(path: Path) -> Path:
    """`path`, or with a number behind it when that exists."""
    again = 0
    while (found := path.with_name(f"{path.name}-{again}" if again else path.name)).exists():
        again += 1
    return found


def _numbers(name: str) -> tuple[int, int] | None:
    step, _, again = name.removeprefix(_PREFIX).partition("-")
    if not name.startswith(_PREFIX) or not step.isdecimal() or not (again.isdecimal() or not again):
        return None
    return int(step), int(again or 0)
