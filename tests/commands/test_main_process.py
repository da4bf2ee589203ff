"""Snakemake's main process: it ends at once when told to, and its stages with their state saved."""

import errno
import io
import os
import signal
import sys
from pathlib import Path

import pytest
from workflows import options, run_workflow

from pipeline.artifacts import owners
from pipeline.commands import main_process
from pipeline.commands.display import PlainLines, Watch
from pipeline.commands.run_state import Waiting
from pipeline.commands.snakemake_command import snakemake_command
from pipeline.stages.results import Results


def test_snakemake_gets_the_targets_and_inherits_the_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []

    class Group(main_process.ProcessGroup):
        def run(self, command, inherited, watch=None):
            made.append((command, os.fstat(inherited).st_ino))
            return 0

    monkeypatch.setattr(main_process, "_group", lambda arguments: Group())
    assert run_workflow(options(), "results/x") == 0
    ((command, inherited),) = made
    assert command == [*snakemake_command(options()), "--", "results/x"]
    assert inherited == Results().run_lock().stat().st_ino


def test_stages_know_what_was_typed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/segadapt", "start"])
    script = "from pipeline.artifacts.program import program; print(program())"
    monkeypatch.setattr(main_process, "snakemake_command", lambda arguments: [sys.executable, "-c", script])
    assert run_workflow(options()) == 0
    assert capfd.readouterr().out == "segadapt\n"


STANDS_FOR_SNAKEMAKE = """
import os, signal, subprocess, sys
stage = subprocess.Popen([sys.executable, "-c", sys.argv[3], str(os.getppid())], stdout=subprocess.PIPE)
stage.stdout.readline()
os.kill(os.getppid(), int(sys.argv[1]))
stage.wait()
raise SystemExit("Traceback")
"""
SAVES = """
import signal, sys, time
def save(number, frame):
    time.sleep(0.5)
    open("saved", "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""
ASKED_TWICE = """
import os, signal, sys, time
def again(number, frame):
    os.kill(int(sys.argv[1]), signal.SIGINT)
    time.sleep(60)
    open("saved", "w").close()
signal.signal(signal.SIGTERM, again)
print("ready", flush=True)
time.sleep(60)
"""


STANDS_ALONE = """
import subprocess, sys
stage = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
stage.stdout.readline()
open("started", "w").close()
stage.wait()
"""
KILLS_ITSELF = """
import os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
os.kill(os.getpid(), signal.SIGKILL)
"""


def standing_in(monkeypatch, number, stage):
    """Let a process stand for Snakemake that starts a stage and has this process signalled."""
    words = [sys.executable, "-c", STANDS_FOR_SNAKEMAKE, str(int(number)), "-", stage]
    monkeypatch.setattr(main_process, "snakemake_command", lambda arguments: words)


@pytest.fixture
def heeded():
    """Signals as a terminal gives them; they are ignored where the tests run in the background."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in main_process.ENDING}
    yield
    assert {signal.getsignal(number) for number in before} == {signal.SIG_DFL}, "they are put back"
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_stages_with_their_state_saved_and_snakemake_silently(
    tmp_path, monkeypatch, capfd, heeded, number
):
    monkeypatch.chdir(tmp_path)
    standing_in(monkeypatch, number, SAVES)
    assert run_workflow(options()) == 128 + number
    assert Path("saved").is_file()
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    assert said.err == (
        f"stopped by {number.name}: what has finished is kept; the same command goes on from there\n"
    )


SAVES_AND_TELLS = """
import signal, sys, time
from pipeline.artifacts.errors import Interrupted
from pipeline.stages.job_log import Ending, open_log
def save(number, frame):
    raise Interrupted("received SIGTERM")
signal.signal(signal.SIGTERM, save)
with Ending("train-1", open_log("train-1", None)):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_watched_run_says_of_each_stage_that_it_stopped_then_of_the_whole(
    tmp_path, monkeypatch, capfd, heeded
):
    monkeypatch.chdir(tmp_path)
    standing_in(monkeypatch, signal.SIGINT, SAVES_AND_TELLS)
    plan = {"train-1": Waiting("demo/seed0:source (supervised)", "train", 100)}
    with Watch(plan, PlainLines(sys.stderr)) as watch:
        assert run_workflow(options(), watch=watch) == 130
    said = capfd.readouterr()
    assert said.out.splitlines() == ["stopping; a second signal ends the running stages at once"]
    assert said.err.splitlines() == [
        "0/1 demo/seed0:source (supervised): stopped, saved; the same command goes on from there",
        "stopped by SIGINT: what has finished is kept; the same command goes on from there",
    ]


class Gone:
    """A watch whose terminal is closed, or whose pipe nobody reads, once the stage works."""

    output = None

    def look(self):
        if Path("started").exists():
            raise OSError(errno.EIO, "Input/output error")

    def stopping(self):
        pass


def test_a_run_that_nobody_can_see_any_more_stops_with_its_state_saved(tmp_path, monkeypatch, heeded):
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-c", STANDS_ALONE, SAVES]
    monkeypatch.setattr(main_process, "snakemake_command", lambda arguments: words)
    assert run_workflow(options(), watch=Gone()) == 128 + signal.SIGHUP
    assert Path("saved").is_file()


class Closed(io.StringIO):
    """Standard output that nobody reads."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("group", [main_process.ProcessGroup, main_process.Sender])
def test_what_cannot_be_said_does_not_keep_snakemake_from_ending(tmp_path, monkeypatch, heeded, group):
    monkeypatch.setattr(sys, "stdout", Closed())
    code = f"import os, time; os.kill(os.getppid(), {int(signal.SIGTERM)}); time.sleep(60)"
    inherited = os.open(tmp_path / "lock", os.O_CREAT)
    assert group().run([sys.executable, "-c", code], inherited) in (-signal.SIGKILL, -signal.SIGINT)
    os.close(inherited)


def test_a_killed_snakemake_is_told_once_its_stages_have_ended(tmp_path, monkeypatch, capfd, heeded):
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-c", KILLS_ITSELF, "import time; time.sleep(0.5); open('saved', 'w').close()"]
    monkeypatch.setattr(main_process, "snakemake_command", lambda arguments: words)
    assert run_workflow(options()) == 128 + signal.SIGKILL
    assert Path("saved").is_file()
    assert (
        "Snakemake was ended by SIGKILL: what has finished is kept; the same command"
        in capfd.readouterr().err
    )


def test_a_second_signal_ends_the_stages_at_once(tmp_path, monkeypatch, heeded):
    monkeypatch.chdir(tmp_path)
    standing_in(monkeypatch, signal.SIGTERM, ASKED_TWICE)
    assert run_workflow(options()) == 128 + signal.SIGTERM
    assert not Path("saved").exists()


CALLS_OFF = """
import os, signal, time
try:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
except KeyboardInterrupt:
    open("called off", "w").close()
"""


@pytest.mark.parametrize("interrupts", [signal.SIG_DFL, signal.SIG_IGN], ids=["terminal", "script"])
def test_a_snakemake_that_sends_jobs_calls_them_off_itself(tmp_path, monkeypatch, capsys, heeded, interrupts):
    monkeypatch.chdir(tmp_path)
    signal.signal(signal.SIGINT, interrupts)
    monkeypatch.setattr(
        main_process, "snakemake_command", lambda arguments: [sys.executable, "-c", CALLS_OFF]
    )
    assert run_workflow(options(profile="slurm")) == 143
    assert Path("called off").is_file()
    assert "the jobs are called off" in capsys.readouterr().out
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_stopped_run_leaves_no_lock(tmp_path, monkeypatch, heeded):
    monkeypatch.chdir(tmp_path)
    script = "import sys; from pipeline.artifacts.owners import *; sign(); LOCKS.mkdir(); (LOCKS / '0.output.lock').touch()"
    words = [sys.executable, "-c", script + STANDS_FOR_SNAKEMAKE, str(int(signal.SIGTERM)), "-", SAVES]
    monkeypatch.setattr(main_process, "snakemake_command", lambda arguments: words)
    assert run_workflow(options()) == 143
    assert not owners.is_locked() and not owners.owners()


def test_what_was_ignored_from_the_start_stays_ignored(tmp_path, monkeypatch, heeded):
    monkeypatch.chdir(tmp_path)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    words = [sys.executable, "-c", f"import os; os.kill(os.getppid(), {int(signal.SIGHUP)})"]
    monkeypatch.setattr(main_process, "snakemake_command", lambda arguments: words)
    assert run_workflow(options()) == 0
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
