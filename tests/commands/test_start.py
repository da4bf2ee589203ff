"""`start` runs one Snakemake at a time, clears what a killed one left, and passes on what it says."""

import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from pipeline.artifacts.errors import ConfigError
from pipeline.commands import start

HOLDER = """
import fcntl, os, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write(f"{os.getpid()}\\n")
file.flush()
print("held", flush=True)
sys.stdin.readline()
"""


def options(**values):
    return Namespace(**{"cores": "2", "configfile": [], "config": [], "only": [], "seeds": [], **values})


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The commands that would have run, each with the code that it should end with."""
    monkeypatch.chdir(tmp_path)
    suites = [Namespace(name="one"), Namespace(name="two")]
    config = Namespace(selected_suites=lambda: suites)
    monkeypatch.setattr(start, "chosen_configuration", lambda arguments: config)
    monkeypatch.setattr(start, "Planner", lambda config: Namespace(plan=list))
    made = []

    def run(command, pass_fds=(), check=False):
        made.append((command, tuple(pass_fds)))
        if "--unlock" not in command and made.code == 0:
            for suite in suites:
                Path(f"results/report/{suite.name}").mkdir(parents=True)
                Path(f"results/report/{suite.name}/summary.txt").write_text(f"table {suite.name}\n")
        return subprocess.CompletedProcess(command, made.code)

    class Calls(list):
        code = 0

    made = Calls()
    monkeypatch.setattr(start, "subprocess", Namespace(run=run))
    return made


def test_snakemake_gets_the_options_and_the_table_is_printed(calls, capsys):
    choice = {"config": ["determinism=fast"], "only": ["x", "y*"], "seeds": ["0", "1"]}
    code = start.execute(options(configfile=["a.yaml", "b.yaml"], **choice))
    assert code == 0
    ((command, descriptors),) = calls
    assert command[:3] == [sys.executable, "-m", "snakemake"]
    assert command[3:] == [
        "--cores", "2", "--no-hooks", "--configfile", "a.yaml", "b.yaml",
        "--config", "determinism=fast", "only=x,y*", "seeds=0,1",
    ]  # fmt: skip
    assert len(descriptors) == 1, "the run lock is inherited"
    assert capsys.readouterr().out.splitlines() == [
        "table one", "report: results/report/one/index.html",
        "table two", "report: results/report/two/index.html",
    ]  # fmt: skip


def test_a_failed_run_gives_its_code_and_the_pages_that_could_be_made(calls, capsys, monkeypatch):
    calls.code = 1
    monkeypatch.setattr(start, "publish_pages", lambda: ["two"])
    Path("results/report/two").mkdir(parents=True)
    Path("results/report/two/summary.txt").write_text("table two\nnot finished\nbad: damaged\n")
    assert start.execute(options()) == 1
    said = capsys.readouterr().out
    assert said == "table two\nnot finished\nbad: damaged\nreport: results/report/two/index.html\n"


def test_dotted_assignments_reach_snakemake_nested(calls):
    start.execute(options(config=["run.device=cpu", "only=x", "run.workers=0"]))
    ((command, _),) = calls
    assert command[command.index("--config") + 1 :] == [
        "only=x",
        'run={"device": "cpu", "workers": "0"}',
    ]


def test_the_lock_of_a_killed_snakemake_is_cleared_first(calls, capsys):
    locks = Path(".snakemake/locks")
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    assert start.execute(options()) == 0
    assert ["--unlock" in command for command, _ in calls] == [True, False]
    assert "clearing the lock that a killed run left behind" in capsys.readouterr().out


def test_a_wrong_configuration_ends_before_snakemake_starts(calls, monkeypatch):
    def wrong(arguments):
        raise ConfigError("config/config.yaml: no such experiment")

    monkeypatch.setattr(start, "chosen_configuration", wrong)
    with pytest.raises(ConfigError, match="no such experiment"):
        start.execute(options())
    assert calls == []
    assert not Path("results").exists()


def test_a_plan_that_cannot_be_made_ends_before_snakemake_starts(calls, monkeypatch):
    def missing():
        raise ConfigError("config/datasets/x.yaml: no such folder")

    monkeypatch.setattr(start, "Planner", lambda config: Namespace(plan=missing))
    with pytest.raises(ConfigError, match="no such folder"):
        start.execute(options())
    assert calls == []


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "results" / ".run-lock"
    path.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.stdin.close()
    process.wait(30)


def test_a_second_run_waits_for_the_first_and_names_it(calls, holder, monkeypatch, capsys):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        assert calls == [], "nothing runs while the other one works"
        if len(waits) == 3:
            holder.stdin.write("\n")
            holder.stdin.flush()
            holder.wait(30)

    monkeypatch.setattr(start, "time", Namespace(sleep=sleep))
    assert start.execute(options()) == 0
    assert len(waits) == 3 and len(calls) == 1
    said = capsys.readouterr().out.splitlines()
    assert said.count(f"another run works here (process {holder.pid}); waiting for it") == 1


def test_the_lock_is_free_once_its_holder_was_killed(calls, holder, monkeypatch):
    monkeypatch.setattr(start, "time", None)  # it must not wait
    holder.kill()
    holder.wait(30)
    assert start.execute(options()) == 0
    assert Path("results/.run-lock").read_text() == f"{os.getpid()}\n"


def test_a_snakemake_that_outlives_start_keeps_the_lock(tmp_path, monkeypatch):
    """`start` alone was killed: its Snakemake still runs jobs, so a new run must wait for it."""
    path = tmp_path / "run-lock"
    with start.sole_run(path) as lock:
        survivor = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.readline()"], stdin=subprocess.PIPE, pass_fds=[lock]
        )

    def sleep(seconds):
        assert survivor.poll() is None
        survivor.stdin.close()
        survivor.wait(30)

    monkeypatch.setattr(start, "time", Namespace(sleep=sleep))
    with start.sole_run(path):
        assert survivor.poll() is not None


STANDS_FOR_SNAKEMAKE = """
import os, signal, sys
received = []
signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
os.kill(os.getppid(), signal.SIGINT)
os.kill(os.getpid(), signal.SIGINT)
sys.exit(7 if received else 0)
"""


def test_ctrl_c_is_left_to_snakemake_and_its_end_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(start, "_snakemake", lambda *words: [sys.executable, "-c", STANDS_FOR_SNAKEMAKE])
    before = signal.getsignal(signal.SIGINT)
    assert start.run_workflow(options()) == 7
    assert signal.getsignal(signal.SIGINT) is before
