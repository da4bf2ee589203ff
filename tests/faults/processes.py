"""What runs below a process, from /proc: enough to find Snakemake and its running stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A living process and the words of its command line."""

    pid: int
    words: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether it still runs that command line; a zombie has none."""
        return _words(self.pid) == self.words

    @property
    def stage(self) -> str | None:
        """The key of the stage file that it runs (`python -m pipeline run results/stages/KEY.json`)."""
        if self.words[1:4] != ("-m", "pipeline", "run"):
            return None
        return Path(self.words[4]).stem


def _words(pid: int) -> tuple[str, ...]:
    try:
        text = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in text.split(b"\0")[:-1])


def children(pid: int) -> Iterator[Process]:
    """The living children of a process, whichever of its threads started them."""
    for task in (PROC / str(pid) / "task").glob("*"):
        try:
            pids = (task / "children").read_text().split()
        except OSError:
            continue
        for child in map(int, pids):
            if words := _words(child):
                yield Process(child, words)


def snakemake_below(pid: int) -> Process | None:
    """The Snakemake that `python -m pipeline start` runs, but not the one that only clears its lock."""
    found = (child for child in children(pid) if child.words[1:3] == ("-m", "snakemake"))
    return next((child for child in found if "--unlock" not in child.words), None)


def stages_below(pid: int) -> list[Process]:
    """The stages that this run has going; their loader processes are their children and not among them."""
    snakemake = snakemake_below(pid)
    return [child for child in children(snakemake.pid) if child.stage] if snakemake else []
