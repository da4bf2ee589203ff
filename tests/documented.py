"""What the documentation shows: whole configuration files (`# config/...yaml` opens their block), and commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "config" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^```yaml\n(# (config/\S+\.yaml)\n.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:sh|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = ("python", "segadapt", "snakemake", "make", "pytest")


def documented() -> dict[str, str]:
    """Text of each documented file by its path, `config/datasets/drive.yaml` for one."""
    # What `extending.md` shows is there only with the code that it shows.
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.name != "extending.md"]
    found = [match for page in sorted(pages) for match in BLOCK.finditer(page.read_text("utf-8"))]
    assert len({match[2] for match in found}) == len(found), "two documented files have one name"
    return {match[2]: match[1] for match in found}


@dataclass(frozen=True)
class Command:
    """A command line in a document."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def commands() -> list[Command]:
    """Every command of the shell blocks, and of the code within texts, that begins with one of `PROGRAMS`."""
    found = [
        Command(page.relative_to(ROOT).as_posix(), words)
        for page in PAGES
        for words in _commands(page.read_text("utf-8").replace("\\\n", " "))
    ]
    return list(dict.fromkeys(found))


def inline() -> set[tuple[str, ...]]:
    """The words of all code within texts that has several."""
    texts = (FENCED.sub("", page.read_text("utf-8")) for page in PAGES)
    codes = (code for text in texts for code in re.findall(r"`([^`\n]+)`", text))
    return {tuple(code.split()) for code in codes if len(code.split()) > 1}


def _commands(text: str) -> Iterator[tuple[str, ...]]:
    lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
    for line in (*lines, *re.findall(r"`([^`]+)`", FENCED.sub("", text))):
        if line.partition(" ")[0] in PROGRAMS and " " in line:
            words = shlex.split(line.replace("...", ""), comments=True)
            yield tuple(takewhile(lambda word: word != ">", words))
