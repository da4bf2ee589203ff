"""Names of timm's models, read from its source text: a plan checks them without importing timm or torch."""

import importlib.util
import re
from functools import cache
from pathlib import Path

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.parameters import TIMM
from pipeline.schema.names import similar

_REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


@cache
def timm_names() -> frozenset[str]:
    """Every model's name in the installed timm; empty where there is none."""
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        return frozenset()
    files = Path(found.origin).with_name("models").glob("*.py")
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))


def check_timm_name(backbone: str, location: str) -> None:
    """Raise ConfigError for a `timm/<name>` that the installed timm does not have; without timm nothing is known."""
    if not backbone.startswith(TIMM):
        return
    name, known = backbone.removeprefix(TIMM), timm_names()
    if not known or name in known:
        return
    close = similar(name, known)
    hint = f"did you mean `{TIMM}{close}`? " if close else ""
    raise ConfigError(
        f"{location}: timm has no model {name}; {hint}`python -c 'import timm; print(timm.list_models())'` lists all"
    )
