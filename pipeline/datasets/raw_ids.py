"""The two small notations of dataset files: raw ids such as `[0, "4-6"]`, and variables in `root`."""

import os
import re
from collections.abc import Iterable

from pipeline.artifacts.errors import DataError

RawIds = int | str | tuple[int | str, ...]

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def unset_variables(text: str) -> list[str]:
    """The ${VARIABLES} in `text` that are not set."""
    names = [match[1] or match[2] for match in VARIABLE.finditer(text)]
    return [name for name in names if not os.environ.get(name)]


def expanded_root(text: str, where: str) -> str:
    """`text` with ${VARIABLES} replaced; DataError says which is not set and what to set it to."""

    def value(match: re.Match[str]) -> str:
        variable = match[1] or match[2]
        if not os.environ.get(variable):
            rest = text[match.end() :].strip("/") or "the data"
            raise DataError(
                f"{where}: root `{text}` uses the environment variable {variable}, which is not set."
                f" Set it to the folder that holds `{rest}` (export {variable}=/path/to/data),"
                " or write the path itself as `root`."
            )
        return os.environ[variable]

    return VARIABLE.sub(value, text)


def class_by_raw_id(ids: dict[str, RawIds]) -> dict[int, str]:
    """Class name by raw id; ValueError for what is no id or belongs to two classes."""
    names: dict[int, str] = {}
    for name, values in ids.items():
        for raw in _raw_values(name, values):
            if raw in names:
                raise ValueError(
                    f"ids: raw id {raw} is under `{names[raw]}` and `{name}`; it can have one meaning"
                )
            names[raw] = name
    return names


def _raw_values(name: str, values: RawIds) -> Iterable[int]:
    for value in values if isinstance(values, tuple) else (values,):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(value))
        low = int(match[1]) if match else -1
        high = int(match[2]) if match and match[2] else low
        if not 0 <= low <= high <= 255:
            raise ValueError(f'ids.{name}: found {value!r}; takes ids 0 to 255 or ranges such as "4-6"')
        yield from range(low, high + 1)
