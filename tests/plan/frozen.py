"""Every default of every stage kind as plain JSON, to be compared with the checked-in file.

python tests/plan/frozen.py        # writes frozen_defaults.json anew
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from pipeline.config.reference import _nested
from pipeline.networks.parameters import NetworkParameters
from pipeline.stages.kinds import KINDS

FILE = Path(__file__).with_name("frozen_defaults.json")


def _value(field: FieldInfo) -> Any:
    if field.default_factory is not None:
        return "<made anew>"
    return "<must be given>" if field.default is PydanticUndefined else to_jsonable_python(field.default)


def defaults_of(model: type[BaseModel]) -> dict[str, Any]:
    """Defaults of a parameters class and of all classes within it, as `Class.key`."""
    found: dict[str, Any] = {}
    waiting, seen = [model], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for name, field in current.model_fields.items():
            found[f"{current.__name__}.{field.alias or name}"] = _value(field)
            waiting += _nested(field.annotation)
    return found


def frozen() -> dict[str, Any]:
    """What the file should hold: version, seed and defaults of every kind; the network's belong to `train`."""
    kinds = {}
    for name, kind in KINDS.items():
        defaults = defaults_of(kind.parameters)
        if name == "train":
            defaults |= defaults_of(NetworkParameters)
        kinds[name] = {"version": kind.version, "seeded": kind.seeded, "defaults": defaults}
    return kinds


if __name__ == "__main__":
    FILE.write_text(json.dumps(frozen(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
