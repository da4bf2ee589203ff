"""Keys of former versions: one table of those that went, one of those that have another name now.

Stored files (networks' metadata, stage records) and users' YAML may still name them. A key that went is passed
over where it says what the code does anyway, and refused by name where it says something else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MADE = "remove the key, or use the version of this software that it was written for"


@dataclass(frozen=True)
class Dropped:
    """A key that went: the only `value` that may still be written for it, and what to do about another one."""

    value: Any
    instead: str = MADE


DROPPED: dict[str, dict[str, Dropped]] = {
    "ObjectiveParameters": {"aux_weight": Dropped(0.1)},
    "MinentParameters": {"entropy_aux_weight": Dropped(2e-4)},
    "_AdversarialParameters": {"discriminator": Dropped({"lr": 1e-4, "betas": (0.9, 0.99)})},
    "PlcaParameters": {
        "aggregation_share": Dropped(0.5),
        "lsr_g": Dropped(10.0),
        "grid_share": Dropped(1.0),
        "block_rows": Dropped(512, "remove the key: blocks follow from the grid and the device"),
    },
    "AssParameters": {
        "labelled_weight": Dropped(1.0),
        "semantic_conditioning": Dropped("onehot"),
        "semantic_hidden": Dropped(1024),
        "semantic_min_pixels": Dropped(1),
    },
    "TrainParameters": {
        "warmup_steps": Dropped(0),
        "pool_images": Dropped(2, "Lovasz-softmax has its own: `objective: {lovasz_images: 4}`"),
    },
    "RareCrops": {"probability": Dropped(0.8), "priority_share": Dropped(0.001)},
    "PseudolabelParameters": {
        "portion_step": Dropped(0.05),
        "rounding": Dropped("floor"),
        "legacy_zero": Dropped(False),
    },
    "PriorParameters": {
        "size": Dropped(None, "give the task's target a `size`"),
        "sigma": Dropped(17.5),
        "truncate": Dropped(35),
        "norm": Dropped("per_class_mean1"),
    },
    "SelectParameters": {"criterion": Dropped("information_maximisation")},
    "Task": {"labelled": Dropped(None, "write `labelled` in the experiment")},
    "Recipe": {"evaluate": Dropped(None, "remove it: every training stage is evaluated")},
    "SgdParameters": {"momentum": Dropped(0.9), "weight_decay": Dropped(5e-4)},
    "AdamwParameters": {"betas": Dropped((0.9, 0.999)), "weight_decay": Dropped(0.01)},
}
"""By class and key; a class has its bases' too."""

RENAMED: dict[str, dict[str, str]] = {
    "Augmentation": {"colour": "color"},
    "RunSettings": {"parts": "chunks"},
}
"""By class: present name of each former one. Digests keep the former name."""


def with_present_keys(classes: Iterable[str], values: Any) -> Any:
    """Return what was read for a class as if it had been written today; `classes`: its name and its bases'.

    ValueError for a key that went and says something else than the code does, or for a key under both names.
    """
    if not isinstance(values, Mapping):
        return values
    found = dict(values)
    for name in classes:
        for key, dropped in DROPPED.get(name, {}).items():
            if key in found and not _says(found.pop(key), dropped.value):
                raise ValueError(
                    f"{key}: found {values[key]!r}, but it is always {dropped.value!r} now; {dropped.instead}"
                )
        for old, new in RENAMED.get(name, {}).items():
            if old in found and new in found:
                raise ValueError(f"{old}: the former name of `{new}`, which is given too; remove one")
            if old in found:
                found[new] = found.pop(old)
    return found


def with_hashed_names(classes: Iterable[str], values: dict[str, Any]) -> dict[str, Any]:
    """Return what a class is written as, with the former name of each renamed key, so that digests stay."""
    former = {new: old for name in classes for old, new in RENAMED.get(name, {}).items()}
    return {former.get(key, key): value for key, value in values.items()}


def present_name(key: str) -> str:
    """What a key that a digest holds is called now."""
    return _PRESENT.get(key, key)


_PRESENT = {old: new for names in RENAMED.values() for old, new in names.items()}


def _says(found: Any, value: Any) -> bool:
    """Whether a written value means `value`: a list a tuple, a text a number, a part of a mapping the whole."""
    if isinstance(value, Mapping):
        return isinstance(found, Mapping) and all(
            key in value and _says(item, value[key]) for key, item in found.items()
        )
    if isinstance(value, tuple):
        return isinstance(found, list | tuple) and len(found) == len(value) and all(map(_says, found, value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(found) == value
        except (TypeError, ValueError):
            return False
    return bool(found == value) or str(found).lower() == str(value).lower()
