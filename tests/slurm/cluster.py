"""A whole SLURM on this machine: munged, slurmctld and slurmd from Debian's packages, in a folder of its own.

    with Cluster(folder) as cluster:
        subprocess.run(["srun", "hostname"], env=cluster.environment)

It uses its own ports, socket and key, so it neither disturbs nor needs another SLURM on the machine.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PACKAGES = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "srun": "slurm-wlm", "munged": "munge"}
PARTITION = "teaching"
MINUTE = 60.0
PATIENCE = 60.0  # seconds for a daemon to answer

SLURM_CONF = """\
ClusterName=segadapt
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
# A short life of credentials lets a requeued job start again after seconds.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
# Ended jobs stay in squeue until the suite has looked at them.
MinJobAge=36000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
ReturnToService=2
KillWait=30
GresTypes=gpu
# The node may claim more memory and cores than the machine has: the stages ask for what real data needs.
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName={partition} Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NotPossibleError(Exception):
    """This machine can hold no cluster; the message tells why."""


class ClusterError(Exception):
    """The cluster does not start, or refuses a command; the message tells why."""


def install() -> None:
    """Install Debian's packages where they are missing; NotPossibleError when that cannot be done."""
    if os.geteuid() != 0:
        raise NotPossibleError("only root can install SLURM's packages and start its node")
    missing = sorted({package for program, package in PACKAGES.items() if not _which(program)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise NotPossibleError(f"{' and '.join(missing)} not installed, and there is no apt-get here")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
    ):
        print("+", *command, flush=True)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise NotPossibleError(
                f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-300:]}"
            )
    still = sorted(program for program in PACKAGES if not _which(program))
    if still:
        raise NotPossibleError(
            f"{' and '.join(still)} absent although {' and '.join(missing)} were installed"
        )


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Job:
    """What SLURM says of a job: its state, time limit, GPUs, and the comment with rule and key."""

    state: str
    limit: str
    gpus: str
    comment: str


class Cluster:
    """One controller, one node with two pretended GPUs, one partition; started and stopped as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SLURM_")
        }
        self.environment["SLURM_CONF"] = str(folder / "slurm.conf")
        self.environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{self.environment['PATH']}"
        self._daemons: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        """Write the configuration and start the daemons; ClusterError with the end of a log if one fails."""
        self._configure()
        try:
            self._start_daemons()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel all jobs and stop the daemons."""
        self._stop()

    def ask(self, *command: str) -> str:
        """The output of a SLURM command; ClusterError when it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=MINUTE)
        if done.returncode:
            raise ClusterError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def jobs(self) -> dict[str, "Job"]:
        """Every job so far by its id."""
        fields = "JobID:20,State:20,TimeLimit:20,tres-per-job:30,Comment:200"
        rows = map(
            str.split, self.ask("squeue", "--states=all", "--noheader", f"--Format={fields}").splitlines()
        )
        return {number: Job(state, limit, gpus, comment) for number, state, limit, gpus, comment in rows}

    def _configure(self) -> None:
        # Jobs run as root here; munge insists on folders that only their owner may write to.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for name in ("controller", "node"):
            (self.folder / name).mkdir(exist_ok=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        controller_port, node_port = _free_ports(2)
        text = SLURM_CONF.format(
            host=socket.gethostname().split(".")[0],
            controller_port=controller_port,
            node_port=node_port,
            folder=self.folder,
            partition=PARTITION,
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        (self.folder / "gres.conf").write_text(
            "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n", encoding="utf-8"
        )

        self._wrap_srun()

    def _wrap_srun(self) -> None:
        # The plugin removes SLURM_CONF, as all of SLURM's variables, before it calls srun in a job.
        wrapper = self.folder / "bin" / "srun"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(
            f'#!/bin/sh\nSLURM_CONF="{self.environment["SLURM_CONF"]}" exec "{_which("srun")}" "$@"\n',
            encoding="utf-8",
        )
        wrapper.chmod(0o755)

    def _start_daemons(self) -> None:
        own = self.folder
        self._start(
            *("munged", "--foreground", f"--socket={own}/munge.socket", f"--key-file={own}/munge.key"),
            *(
                f"--pid-file={own}/munged.pid",
                f"--log-file={own}/munged.log",
                f"--seed-file={own}/munge.seed",
            ),
        )
        self._wait_for("munged", (own / "munge.socket").exists)
        self._start("slurmctld", "-D", "-f", f"{own}/slurm.conf")
        self._wait_for("slurmctld", lambda: self._answers("scontrol", "ping"))
        self._start("slurmd", "-D", "-f", f"{own}/slurm.conf")
        self._wait_for("slurmd", lambda: self._answers("sinfo", "--noheader", "--format=%T", wanted="idle"))

    def _start(self, program: str, *arguments: str) -> None:
        path = _which(program)
        if path is None:
            raise ClusterError(f"{program} is not installed")
        # The daemons end with this process even when it is killed.
        command = ["setpriv", "--pdeathsig", "TERM", path, *arguments]
        with (self.folder / f"{program}.out").open("wb") as output:
            daemon = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._daemons.append((program, daemon))

    def _answers(self, *command: str, wanted: str = "") -> bool:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.returncode == 0 and wanted in done.stdout

    def _wait_for(self, program: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            ended = self._daemons[-1][1].poll()
            if ended is not None or time.monotonic() > end:
                what = f"ended with {ended}" if ended is not None else f"does not answer after {PATIENCE:g} s"
                raise ClusterError(f"{program} {what}: {self._end_of_log(program)}")
            time.sleep(0.2)

    def _end_of_log(self, program: str) -> str:
        texts = [
            path.read_text(encoding="utf-8", errors="replace").strip()
            for suffix in ("out", "log")
            if (path := self.folder / f"{program}.{suffix}").is_file()
        ]
        return " ".join(text for text in texts if text)[-500:]

    def _stop(self) -> None:
        if any(name == "slurmd" and daemon.poll() is None for name, daemon in self._daemons):
            subprocess.run(["scancel", "--user=root"], env=self.environment, capture_output=True)
            end = time.monotonic() + PATIENCE
            while self._answers("squeue", "--noheader", wanted="root") and time.monotonic() < end:
                time.sleep(0.5)
        for _, daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
