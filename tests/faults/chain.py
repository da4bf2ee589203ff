"""Kills chained over runs of the demo's recipe: each is followed by the same command, until the run ends.

    chain = Chain(folder, seed=1, say=print)
    chain.kill_often(100)
    chain.finish()

A killer waits until a stage of a kind drawn by the seed runs, waits on for a drawn time, and sends SIGKILL to
the stage, to its Snakemake, or to everything. When a run ends before that, or is let through because its last
stages have had their share of kills, its artifacts are compared with those of an uninterrupted run, the results
are wiped, and the chain goes on.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from processes import Process, snakemake_below, stages_below
from world import REPOSITORY, digests, finished, write_configuration

from pipeline.artifacts.files import read_json, sha256_file

TARGETS = ("the job alone", "Snakemake alone", "the whole group")
ORDER = ("prepare", "pretrain", "adapt", "rank", "split", "pseudolabel", "select", "evaluate")
POLL = 0.02
PATIENCE = 600.0  # seconds for one command
AHEAD = 3  # kinds that are due next, of which one is drawn
IMPORTING = 2.0  # seconds; drawn delays after a stage's process was seen
WORKING = 1.0  # seconds; drawn delays after its first file was seen


@dataclass(frozen=True)
class Kill:
    """One SIGKILL that hit a running stage."""

    number: int
    kind: str
    stage: str
    target: str
    seconds: float
    found: str

    def __str__(self) -> str:
        return (
            f"kill {self.number:3d}: {self.kind:<11} {self.stage:<45} {self.seconds:5.2f} s after it began, "
            f"{self.found}: {self.target}"
        )


@dataclass
class Chain:
    """A folder with a copy of the workflow, killed again and again; `reference` has the right digests.

    `settings`: files of settings that the command names after the suite.
    """

    folder: Path
    seed: int
    reference: Mapping[str, str]
    say: Callable[[str], None]
    settings: tuple[str, ...] = ("config/chain.yaml",)
    kills: list[Kill] = field(default_factory=list)
    laps: int = 0
    commands: int = 0

    def __post_init__(self) -> None:
        self.draws = random.Random(self.seed)
        write_configuration(self.folder)
        for name in ("workflow", "profiles"):
            shutil.copytree(REPOSITORY / name, self.folder / name)
        for name in ("Snakefile", "environment.yml"):
            shutil.copy(REPOSITORY / name, self.folder)
        self.targets = list(TARGETS)
        self.draws.shuffle(self.targets)
        self.running: subprocess.Popen[bytes] | None = None

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def kill_often(self, count: int) -> None:
        """Start the command again and again until `count` kills have hit a running stage."""
        while len(self.kills) < count:
            self._start()
            if self._sated() or self._kill_once() is None:
                self._end_of_run(self._wait())
            else:
                self._wait()

    def finish(self) -> None:
        """Let the run end that the last kill left."""
        for _ in range(3):
            self._start()
            if self._wait() == 0:
                self._compare()
                return
        raise AssertionError(f"the run does not end:\n{self._tail()}")

    def uninterrupted(self) -> dict[str, str]:
        """One run that nobody kills: the digests of its artifacts and of what it publishes for people."""
        self._start()
        assert self._wait() == 0, self._tail()
        found = self.published()
        self._wipe()
        return found

    def published(self) -> dict[str, str]:
        """Digests of all artifacts, and of the experiment's metrics and model."""
        people = self.results / "experiments"
        files = [path for path in sorted(people.rglob("*")) if path.is_file() and not path.is_symlink()]
        own = [path for path in files if not any(part.is_symlink() for part in path.parents)]
        return digests(self.results) | {str(path.relative_to(people)): sha256_file(path) for path in own}

    def close(self) -> None:
        """End what still runs of the last command."""
        if self.running is not None and self.running.poll() is None:
            self._kill_all()
            self.running.wait()

    def summary(self) -> str:
        """Kills by kind and by target."""
        kinds = Counter(kill.kind for kill in self.kills)
        targets = Counter(kill.target for kill in self.kills)
        by_kind = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        by_target = ", ".join(f"{target} {targets[target]}" for target in TARGETS)
        return (
            f"{len(self.kills)} kills in {self.laps} runs by {self.commands} commands: {by_kind}; {by_target}"
        )

    def _start(self) -> None:
        self.commands += 1
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        with (self.folder / "start.log").open("ab") as log:
            self.running = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pipeline", "start", "--cores", "2"),
                    *("--configfile", "config/faults.yaml", *self.settings),
                ],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _wait(self) -> int:
        assert self.running is not None
        return self.running.wait(PATIENCE)

    def _tail(self) -> str:
        return (self.folder / "start.log").read_text(errors="replace")[-6000:]

    def _end_of_run(self, code: int) -> None:
        assert code == 0, f"the run failed though nobody killed it:\n{self._tail()}"
        self._compare()
        self._wipe()

    def _compare(self) -> None:
        found = self.published()
        wrong = {key for key in self.reference if found.get(key) != self.reference[key]}
        assert not wrong, f"not as in the uninterrupted run: {sorted(wrong)}"
        assert set(digests(self.results)) <= set(self.reference), (
            "artifacts that the uninterrupted run has not"
        )
        again = ran_again(self.folder)
        assert not again, f"ran again after they had finished: {again}"
        self.laps += 1
        self.say(f"run {self.laps} ended: {len(found)} digests equal, no finished stage ran twice")

    def _wipe(self) -> None:
        shutil.rmtree(self.results)
        shutil.rmtree(self.folder / "logs")

    def _kill_once(self) -> Kill | None:
        """Kill at the next drawn moment; None when the run ended before any."""
        assert self.running is not None
        deadline = time.monotonic() + PATIENCE
        kind: str | None = self._draw_kind()
        while self.running.poll() is None:
            assert time.monotonic() < deadline, f"nothing to kill for {PATIENCE:.0f} s:\n{self._tail()}"
            stage = next((s for s in stages_below(self.running.pid) if kind in (None, self._kind(s))), None)
            if stage is None:
                time.sleep(POLL)
            elif kill := self._kill_in(stage):
                self.kills.append(kill)
                self.say(str(kill))
                return kill
            else:
                kind = None  # it ended first: take whatever comes next
        return None

    def _kill_in(self, stage: Process) -> Kill | None:
        began = time.monotonic()
        folder = self._folder_of(stage)
        if self.draws.random() < 0.7:
            while stage.alive and not _has_begun(folder):
                time.sleep(POLL)
            delay = WORKING * self.draws.random() ** 2  # most of a small stage's work is done at once
        else:
            delay = IMPORTING * self.draws.random()
        time.sleep(delay)
        target = self.targets[len(self.kills) % len(self.targets)]
        found = _found_in(folder)
        if not stage.alive or not self._send(stage, target):
            return None
        seconds = time.monotonic() - began
        return Kill(len(self.kills) + 1, self._kind(stage), str(stage.stage), target, seconds, found)

    def _send(self, stage: Process, target: str) -> bool:
        assert self.running is not None
        if target == "the whole group":
            self._kill_all()
            return True
        victim = stage if target == "the job alone" else snakemake_below(self.running.pid)
        if victim is None:
            return False
        os.kill(victim.pid, signal.SIGKILL)
        return True

    def _kill_all(self) -> None:
        """Kill `start` first, which would else notice, then Snakemake and its stages, a group of their own."""
        assert self.running is not None
        snakemake = snakemake_below(self.running.pid)
        os.killpg(self.running.pid, signal.SIGKILL)
        if snakemake is not None:
            with suppress(ProcessLookupError):
                os.killpg(snakemake.pid, signal.SIGKILL)

    def _record(self, stage: Process) -> Mapping[str, str]:
        record: Mapping[str, str] = read_json(self.results / "stages" / f"{stage.stage}.json")
        return record

    def _kind(self, stage: Process) -> str:
        record = self._record(stage)
        return record.get("rule", record["kind"])

    def _folder_of(self, stage: Process) -> Path:
        return self.results / self._kind(stage) / str(stage.stage)

    def _draw_kind(self) -> str:
        """One of the kinds due next in the order of the chain, of those killed least so far."""
        due = self._due()
        counts = Counter(kill.kind for kill in self.kills)
        fewest = min(counts[kind] for kind in due)
        return self.draws.choice([kind for kind in due if counts[kind] == fewest])

    def _sated(self) -> bool:
        """Whether what is due next has had far more than its share: this command is let through, for a new run."""
        counts = Counter(kill.kind for kill in self.kills)
        fair = len(self.kills) / len(ORDER)
        return min(counts[kind] for kind in self._due()) > 3 + 1.5 * fair

    def _due(self) -> list[str]:
        """Kinds of which a stage has not finished, at most `AHEAD`; all of them before the plan is made."""
        records = [read_json(path) for path in (self.results / "stages").glob("*.json")]
        waiting = {
            record["rule"]
            for record in records
            if "rule" in record
            and not (self.results / record["rule"] / record["key"] / "artifact.json").exists()
        }
        kinds = [kind for kind in ORDER if kind in waiting or not records]
        return kinds[:AHEAD] or ["experiment", "report"]


def _has_begun(folder: Path) -> bool:
    """Whether the stage has written something of its own."""
    return folder.is_dir() and any(path.name != "run" for path in folder.iterdir())


def _found_in(folder: Path) -> str:
    """What a kill finds done: the newest training state, the chunks of passes, or the finished files."""
    if (folder / "files.json").exists():
        return "files published"
    states = sorted(path.name for path in (folder / "state" / "training").glob("step-*"))
    if states:
        return f"state {states[-1]}"
    chunks = len(list((folder / "state").glob("**/*chunk-*.json"))) if folder.is_dir() else 0
    if chunks:
        return f"{chunks} chunks done"
    return "some files written" if _has_begun(folder) else "nothing written"


def ran_again(folder: Path) -> list[str]:
    """Stages that were computed again after they had finished, by their history and their last log."""
    again = []
    for artifact in finished(folder / "results"):
        published = (artifact.path / "files.json").stat().st_mtime
        history = artifact.run / "history.json"
        entries = read_json(history) if history.exists() else []
        # A kill between publishing and this note leaves none; there is never a second, nor one after it.
        twice = "finished" in [entry["outcome"] for entry in entries[:-1]]
        begun = [entry["started"] for entry in entries] + _begun_by_log(folder, artifact.path)
        if twice or any(moment > published for moment in begun):
            again.append(artifact.path.name)
    return again


def _begun_by_log(folder: Path, artifact: Path) -> list[float]:
    """When the attempts in a stage's log began; Snakemake empties it before each, so at most the last one."""
    log = folder / "logs" / artifact.parent.name / f"{artifact.name}.log"
    lines = [line for line in log.read_text().splitlines() if " INFO start: " in line]
    return [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp() for line in lines]
