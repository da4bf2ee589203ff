"""One Snakemake at a time: it waits for others, clears what a killed one left, and ends at once when told to."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from pipeline.artifacts import owners
from pipeline.artifacts.errors import ConfigError
from pipeline.artifacts.owners import LOCKS, NOTES, LockedError, Owner
from pipeline.commands import main_process
from pipeline.commands.display import PlainLines, Watch
from pipeline.commands.main_process import nobody_else
from pipeline.commands.run_state import Waiting
from pipeline.config.shipped import shipped


def options(**values):
    return Namespace(
        **{"cores": "2", "configfile": [], "config": [], "only": [], "seeds": [], "profile": None, **values}
    )


def run_workflow(arguments, *targets, watch=None):
    """Run it as the commands do."""
    with nobody_else() as lock:
        return main_process.run_workflow(arguments, lock, *targets, watch=watch)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The commands that would have run, each with the descriptor that it inherits."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").touch()
    made = []

    class Group(main_process.ProcessGroup):
        def run(self, command, inherited, watch=None):
            made.append((list(command), inherited))
            return 0

    monkeypatch.setattr(main_process, "_group", lambda arguments: Group())
    return made


def locked(*notes):
    """Leave Snakemake's lock, and these owners' notes."""
    LOCKS.mkdir(parents=True)
    (LOCKS / "0.output.lock").touch()
    NOTES.mkdir()
    for number, note in enumerate(notes):
        (NOTES / f"{number}.json").write_text(json.dumps(vars(note)))


def dead():
    """The note of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait(30)
    return Owner(**{**vars(Owner.this()), "pid": process.pid, "started": 1})


def test_snakemake_gets_the_options(calls):
    choice = {"config": ["determinism=fast"], "only": ["x", "y*"], "seeds": ["0", "1"]}
    assert run_workflow(options(configfile=["a.yaml", "b.yaml"], **choice), "results/x") == 0
    ((command, descriptor),) = calls
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    assert command[3:] == [
        "--resources", "gpu=2", "--cores", "2", "--configfile", "a.yaml", "b.yaml",
        "--config", "determinism=fast", "only=x,y*", "seeds=0,1", "--", "results/x",
    ]  # fmt: skip
    assert isinstance(descriptor, int), "the run lock is inherited"


def test_a_folder_without_a_snakefile_has_the_packages(calls):
    Path("Snakefile").unlink()
    run_workflow(options(configfile=["config/demo.yaml"]))
    ((command, _),) = calls
    assert command[7:9] == ["--snakefile", str(shipped("Snakefile"))]
    assert command[9:] == ["--configfile", str(shipped("config/demo.yaml"))]


def test_a_profile_says_how_to_run_unless_cores_are_given(calls):
    run_workflow(options(profile="slurm", cores=None))
    run_workflow(options(profile="slurm"))
    (command, _), (counted, _) = calls
    profile = ["--workflow-profile", str(shipped("profiles/slurm"))]
    assert (command[3:], counted[3:]) == (profile, [*profile, "--cores", "2"])


@pytest.mark.parametrize(
    ("found", "chosen", "cores", "shared"),
    [
        (4, None, "16", "4"),
        (0, None, "16", "16"),
        (0, None, None, "6"),
        (4, "2,3", "16", "1"),
        (4, "", "16", "16"),
        (4, "-1", "16", "16"),
        (4, "NoDevFiles", "16", "16"),
    ],
)
def test_as_many_stages_share_the_machine_as_it_has_gpus_or_else_cores(
    calls, monkeypatch, found, chosen, cores, shared
):
    monkeypatch.setattr(main_process, "count_gpus", lambda: found)
    monkeypatch.setattr(main_process, "job_cores", lambda: 6)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    run_workflow(options(cores=cores))
    ((command, _),) = calls
    assert command[3:5] == ["--resources", f"gpu={shared}"]


@pytest.mark.parametrize(
    "written", ["{gpu: 1, mem_mb: 32000}", "[gpu=1, mem_mb=32000]", "gpu=1 mem_mb=32000"]
)
def test_what_else_the_profile_of_this_machine_limits_stays(calls, monkeypatch, written):
    monkeypatch.setattr(main_process, "count_gpus", lambda: 2)
    Path("profiles/default").mkdir(parents=True)
    Path("profiles/default/profile.yaml").write_text(f"resources: {written}\n")
    run_workflow(options())
    ((command, _),) = calls
    assert command[3:6] == ["--resources", "gpu=2", "mem_mb=32000"]


@pytest.mark.parametrize("written", ["[gpu]", "3"])
def test_limits_that_are_none_are_told(calls, written):
    Path("profiles/default").mkdir(parents=True)
    Path("profiles/default/profile.yaml").write_text(f"resources: {written}\n")
    with pytest.raises(ConfigError, match=r"profile.yaml: resources: found .* needs names and values"):
        run_workflow(options())


def test_dotted_assignments_reach_snakemake_nested(calls):
    run_workflow(options(config=["run.device=cpu", "only=x", "run.workers=0"]))
    ((command, _),) = calls
    assert command[command.index("--config") + 1 :] == [
        "only=x",
        'run={"device": "cpu", "workers": "0"}',
    ]


def test_the_lock_of_a_killed_snakemake_is_cleared_first(calls, capsys):
    locked(dead())
    assert run_workflow(options()) == 0
    assert not owners.is_locked() and not owners.owners()
    assert "clearing the lock that a killed run left behind" in capsys.readouterr().out


def test_a_lock_from_another_host_stays_and_is_explained(calls):
    locked(dead(), Owner(**{**vars(dead()), "machine": "elsewhere", "host": "login2"}))
    with pytest.raises(LockedError, match=r"on login2.*snakemake --unlock"):
        run_workflow(options())
    assert owners.is_locked() and calls == []


def test_a_living_snakemake_is_waited_for_and_named(calls, monkeypatch, capsys):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        note = {**vars(Owner.this()), "pid": process.pid, "started": owners.start_time(process.pid)}
        locked(Owner(**note))

        def sleep(seconds):
            assert owners.is_locked() and calls == []
            process.stdin.close()
            process.wait(30)

        monkeypatch.setattr(main_process, "time", Namespace(sleep=sleep))
        assert run_workflow(options()) == 0
    said = capsys.readouterr().out
    assert said.count(f"another run works here (process {process.pid} on ") == 1


@pytest.fixture
def holder(tmp_path, run_holding):
    (tmp_path / "results").mkdir()
    return run_holding(tmp_path / "results" / ".run-lock")


def test_a_second_run_waits_for_the_first_and_names_it(calls, holder, monkeypatch, capsys):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        assert calls == [], "nothing runs while the other one works"
        if len(waits) == 3:
            holder.stdin.write("\n")
            holder.stdin.flush()
            holder.wait(30)

    monkeypatch.setattr(main_process, "time", Namespace(sleep=sleep))
    assert run_workflow(options()) == 0
    assert len(waits) == 3 and len(calls) == 1
    said = capsys.readouterr().out.splitlines()
    assert said.count(f"another run works here (process {holder.pid}); waiting for it") == 1


def test_the_lock_is_free_once_its_holder_was_killed(calls, holder, monkeypatch):
    monkeypatch.setattr(main_process, "time", None)  # it must not wait
    holder.kill()
    holder.wait(30)
    assert run_workflow(options()) == 0
    assert Path("results/.run-lock").read_text() == f"{os.getpid()}\n"


def test_a_snakemake_that_outlives_start_keeps_the_lock(tmp_path, monkeypatch, capsys):
    """`start` alone was killed: its Snakemake still runs jobs, so a new run must wait for it."""
    path = tmp_path / "run-lock"
    with main_process.sole_run(path) as lock:
        survivor = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE, pass_fds=[lock]
        )

    def sleep(seconds):
        assert survivor.poll() is None
        survivor.stdin.close()
        survivor.wait(30)

    monkeypatch.setattr(main_process, "time", Namespace(sleep=sleep))
    path.write_text(f"{dead().pid}\n")
    with main_process.sole_run(path):
        assert survivor.poll() is not None
    assert re.search(r"\(the Snakemake of process \d+, which has ended\); waiting", capsys.readouterr().out)


def test_stages_know_what_was_typed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/segadapt", "start"])
    script = "from pipeline.artifacts.program import program; print(program())"
    monkeypatch.setattr(main_process, "_snakemake", lambda arguments: [sys.executable, "-c", script])
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
    monkeypatch.setattr(main_process, "_snakemake", lambda arguments: words)


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
    monkeypatch.setattr(main_process, "_snakemake", lambda arguments: words)
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
    monkeypatch.setattr(main_process, "_snakemake", lambda arguments: words)
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
    monkeypatch.setattr(main_process, "_snakemake", lambda arguments: [sys.executable, "-c", CALLS_OFF])
    assert run_workflow(options(profile="slurm")) == 143
    assert Path("called off").is_file()
    assert "the jobs are called off" in capsys.readouterr().out
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_stopped_run_leaves_no_lock(tmp_path, monkeypatch, heeded):
    monkeypatch.chdir(tmp_path)
    script = "import sys; from pipeline.artifacts.owners import *; sign(); LOCKS.mkdir(); (LOCKS / '0.output.lock').touch()"
    words = [sys.executable, "-c", script + STANDS_FOR_SNAKEMAKE, str(int(signal.SIGTERM)), "-", SAVES]
    monkeypatch.setattr(main_process, "_snakemake", lambda arguments: words)
    assert run_workflow(options()) == 143
    assert not owners.is_locked() and not owners.owners()


def test_what_was_ignored_from_the_start_stays_ignored(tmp_path, monkeypatch, heeded):
    monkeypatch.chdir(tmp_path)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    words = [sys.executable, "-c", f"import os; os.kill(os.getppid(), {int(signal.SIGHUP)})"]
    monkeypatch.setattr(main_process, "_snakemake", lambda arguments: words)
    assert run_workflow(options()) == 0
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
