"""Which folder holds a stage: the one of its digest, whatever readable word its name begins with."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import digest_of, read_json
from pipeline.artifacts.folder import FILES, MANIFEST
from pipeline.plan.former import as_now
from pipeline.stages.results import Results

DIGITS = 12
"""Of the digest, at the end of a key."""


@dataclass(frozen=True)
class Identity:
    """What a stage is found by: the readable beginning of its own key, what it hashes, its digest, the former rule's."""

    rule: str
    label: str
    hashed: Mapping[str, Any]
    digest: str
    former: str

    @property
    def key(self) -> str:
        """The key of a stage that lies nowhere yet."""
        return f"{self.label}-{self.digest[:DIGITS]}"


class Finished:
    """The folders of a results folder by rule, listed when first asked for."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._folders = cache(self._listed)
        self._keys: dict[str, tuple[str, str | None]] = {}
        self._hashed = cache(hashed_of)

    def _listed(self, rule: str) -> dict[str, list[str]]:
        """Names of a rule's folders by the digits at their end."""
        found: dict[str, list[str]] = {}
        root = self.results.root / rule
        for path in sorted(root.iterdir()) if root.is_dir() else []:
            found.setdefault(path.name[-DIGITS:], []).append(path.name)
        return found

    def key_of(self, identity: Identity) -> tuple[str, str | None]:
        """The key of the folder that holds the stage, its own where none does, and the digest of a former-rule key.

        A finished folder comes first, then one that was begun, then a finished one of the former rule. One digest
        has one key, that of the stage that was asked for first.
        """
        if identity.digest not in self._keys:
            self._keys[identity.digest] = self._found(identity)
        return self._keys[identity.digest]

    def _found(self, identity: Identity) -> tuple[str, str | None]:
        names = self._folders(identity.rule).get(identity.digest[:DIGITS], [])
        own_first = sorted(names, key=lambda name: name != identity.key)
        for name in own_first:
            if self.holds(identity.rule, name, identity.digest):
                return name, None
        begun = [name for name in own_first if not self.is_finished(identity.rule, name)]
        if begun:
            return begun[0], None
        for name in self._folders(identity.rule).get(identity.former[:DIGITS], []):
            if self.holds(identity.rule, name, identity.former):
                return name, identity.former
        return self._same_data(identity) or (identity.key, None)

    def _same_data(self, identity: Identity) -> tuple[str, str] | None:
        """Data of the former rule that differ in what the present one leaves out, such as a color."""
        if "data" not in identity.hashed:
            return None
        for name in self._names(identity.rule):
            before = self._hashed(self.results.root / identity.rule / name)
            if before is not None and as_now(before, identity.hashed) == identity.hashed:
                return name, digest_of(before)
        return None

    def _names(self, rule: str) -> list[str]:
        return sorted(name for names in self._folders(rule).values() for name in names)

    def is_finished(self, rule: str, name: str) -> bool:
        """Whether a folder holds a finished artifact, its manifest deleted or not."""
        folder = self.results.root / rule / name
        return (folder / MANIFEST).is_file() or (folder / FILES).is_file()

    def holds(self, rule: str, name: str, digest: str) -> bool:
        """Whether a folder holds the finished artifact of that digest."""
        hashed = self._hashed(self.results.root / rule / name)
        return hashed is not None and digest_of(hashed) == digest

    def of_label(self, rule: str, label: str) -> list[dict[str, Any]]:
        """What the finished artifacts under one readable word were made of, by what their manifests say."""
        mine = [name for name in self._names(rule) if name[: -DIGITS - 1] == label]
        found = [self._hashed(self.results.root / rule / name) for name in mine]
        return [hashed for hashed in found if hashed is not None]


def hashed_of(folder: Path) -> dict[str, Any] | None:
    """All that made the digest of a finished artifact; None where there is none, or it is damaged."""
    for file in (MANIFEST, FILES):
        try:
            content = read_json(folder / file)
            hashed = content.get("header", content)["hashed"]
        except (ArtifactError, AttributeError, KeyError, TypeError):
            continue  # absent, of a former layout or damaged: it is not found, and made anew under its own key
        if isinstance(hashed, dict):
            return hashed
    return None
