"""The parameters of a digest value by value, with the defaults that digests leave out."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from pipeline.networks.parameters import NetworkParameters
from pipeline.plan.overrides import as_assigned
from pipeline.plan.stage import StageSettings
from pipeline.schema.old_keys import present_name
from pipeline.stages.kinds import KINDS

Path = tuple[str, ...]
LONGEST = 40
"""Characters of a value in a line."""


class HashedParameters:
    """The parameters of one stage as they are hashed: of nested tables each value by its path."""

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        self.kind, self.values = KINDS[kind], values

    def differing(self, other: "HashedParameters") -> list[Path]:
        """Paths of the values that the two do not share, in alphabetical order."""
        if self.values == other.values:
            return []
        said = {path for path, _ in self._said.items() ^ other._said.items()}
        if ("determinism",) in said:  # under `fast` these are in no key
            said = {path for path in said if path[0] not in self.kind.free_in_fast}
        return sorted(path for path in said if self.value(path) != other.value(path))

    def value(self, path: Path) -> str:
        """A value as `--config` takes it, also one at its default; `none` where there is none."""
        return self._said[path] if path in self._said else self._complete.get(path, self._absent)

    @cached_property
    def _said(self) -> dict[Path, str]:
        return dict(_leaves(self.values))

    @cached_property
    def _complete(self) -> dict[Path, str]:
        """Every value, those at their default too; empty where a former version wrote what is not valid now."""
        fields = self.kind.parameters.model_fields
        own = {key: value for key, value in self.values.items() if key in _keys(fields)}
        # What a digest leaves out of `weights` is no default: it is not known.
        network = {key: value for key, value in self.values.get("network", {}).items() if key != "weights"}
        try:
            models = [self.kind.parameters.model_validate(own)]
            if network:
                models.append(NetworkParameters.model_validate(network))
        except ValidationError:
            return {}
        own, *networks = [model.model_dump(mode="json", by_alias=True) for model in models]
        whole = {"determinism": StageSettings.determinism, **own, "network": dict(*networks)}
        return dict(_leaves(whole))

    @property
    def _absent(self) -> str:
        return "none" if self._complete else "default"


def shown_name(path: Path) -> str:
    """A value's dotted name, as people write it today."""
    return ".".join(map(present_name, path))


def shortened(value: str) -> str:
    """A value that fits into a line."""
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 3]}..."


def _keys(fields: Mapping[str, Any]) -> set[str]:
    return {field.alias or name for name, field in fields.items()}


def _leaves(values: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, str(key)))
        elif value is not None:
            yield (*above, str(key)), as_assigned(value)
