"""Lists of image names, one per line, that hold any name a file system allows but one with a line break.

    002
    rome/12
    # a comment
    "#001"          a name that a reader would take for something else stands in double quotes, as in JSON

A line that is the name of an image is that image, whatever it looks like.
"""

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import why_no_file


@dataclass(frozen=True)
class ListedName:
    """A name and the number of its line, from 1."""

    name: str
    line: int


def is_plain_text(name: str) -> bool:
    """Whether a name is valid text without a line break; others cannot stand in a list, a table or a page."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\n" not in name and "\r" not in name


def list_text(names: Iterable[str]) -> str:
    """The text of a list file, which `listed_names` reads back."""
    return "".join(f"{_line(name)}\n" for name in names)


def _line(name: str) -> str:
    plain = name == name.strip() and not name.startswith(("#", '"', "\ufeff")) and name.isprintable()
    return name if plain else json.dumps(name, ensure_ascii=False)


def listed_names(path: Path, known: Container[str]) -> list[ListedName]:
    """The names in a list file; `known` holds those of the images. DataError when it cannot be read as text."""
    if why := why_no_file(path):
        raise DataError(f"{path} cannot be read: {why}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    lines = enumerate(text.split("\n"), start=1)
    found = (ListedName(_name(line, known), number) for number, line in lines)
    return [one for one in found if one.name]


def _name(line: str, known: Container[str]) -> str:
    """The name that a line stands for; "" for a comment or an empty line."""
    bare = line.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        try:
            quoted = str(json.loads(bare))
        except ValueError:
            quoted = bare
        return bare if bare in known and quoted not in known else quoted
    if line in known:
        return line
    return "" if bare.startswith("#") and bare not in known else bare
