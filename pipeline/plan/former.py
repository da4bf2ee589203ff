"""The former rule of keys, by which artifacts that were made under it are still found.

Under it the data held the whole taxonomy, its name and colors too, and no other stage any of it; every parameter
that differs from its default was hashed, read or not.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.artifacts.files import digest_of
from pipeline.datasets.taxonomy import Taxonomy


def former_digest(
    hashed: Mapping[str, Any], parents: Mapping[str, str], parameters: Mapping[str, Any], taxonomy: Taxonomy
) -> str:
    """The digest of a stage by the former rule.

    `hashed`: what its present digest is made of. `parents`: their former digests by role. `parameters`: those that
    differ from their default, read or not.
    """
    values = {**hashed["parameters"], **parameters}
    if "data" in hashed:
        values["taxonomy"] = taxonomy.model_dump(mode="json")
    kept = {key: value for key, value in hashed.items() if key != "taxonomy"}
    return digest_of({**kept, "parents": dict(sorted(parents.items())), "parameters": values})


def as_now(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage hashed by the former rule, with its taxonomy written as `now` has it; else unchanged.

    Without a size, `resample` changes nothing.
    """
    if "taxonomy" in before or not {"taxonomy", "data"} & now.keys():
        return dict(before)
    parameters = dict(before["parameters"])
    whole = parameters.pop("taxonomy", None)
    if "data" in now and "size" not in parameters:
        parameters.pop("resample", None)
    if "taxonomy" not in now:
        return {**before, "parameters": parameters}
    parts = now["taxonomy"] if whole is None else Taxonomy.model_validate(whole).parts(now["taxonomy"])
    return {**before, "parameters": parameters, "taxonomy": parts}
