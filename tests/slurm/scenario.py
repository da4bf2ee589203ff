"""The run on the cluster, and the four ways in which it is disturbed."""

import subprocess
import time
from collections.abc import Callable

from checks import Checks
from cluster import Cluster
from work import Work

PATIENCE = 1500.0  # seconds for anything waited for; a busy machine needs several times what an idle one does


class Scenario:
    """The disturbed run on the cluster."""

    def __init__(self, cluster: Cluster, work: Work, checks: Checks) -> None:
        self.cluster, self.work, self.checks = cluster, work, checks
        self.main: subprocess.Popen[bytes] | None = None
        self.orphan = self.cancelled = self.preempted = ""
        self.cancelled_at = self.preempted_at = 0

    def start(self) -> None:
        """Start the main process, as on a login node."""
        self.main = self.work.snakemake("snakemake.log", "--workflow-profile", "profile")

    def end(self) -> int:
        """Wait for the main process; its exit code."""
        assert self.main is not None
        return self.main.wait(PATIENCE)

    def lose_login_node(self) -> None:
        """Kill the main process while `source` trains, clear its lock, start it again; the job goes on."""
        assert self.main is not None
        self._wait_for("the plan", lambda: self._has_plan())
        source = self.work.keys()["source"]
        self.orphan = self._job_once_training(source, after=20)
        self.main.kill()
        self.main.wait()
        self.checks.say(
            f"main process killed at step {self.work.last_step(source)} of source, job {self.orphan}"
        )
        unlock = self.work.snakemake("unlock.log", "--cores", "1", "--unlock")
        self.checks.check("the killed main process's lock is cleared by --unlock", unlock.wait(PATIENCE) == 0)
        self.start()

    def cancel_inter(self) -> None:
        """Cancel the job of `inter` once it has trained for a while."""
        inter = self.work.keys()["inter"]
        self.cancelled = self._job_once_training(inter, after=30)
        self.cluster.ask("scancel", self.cancelled)
        self.cancelled_at = self.work.last_step(inter)
        self.checks.say(f"job {self.cancelled} cancelled after step {self.cancelled_at} of inter")

    def preempt_intra(self) -> None:
        """Put the running job of `intra` back into the queue, as preemption with PreemptMode=REQUEUE does."""
        intra = self.work.keys()["intra"]
        self.preempted = self._job_once_training(intra, after=30)
        self.cluster.ask("scontrol", "requeue", self.preempted)
        self.preempted_at = self.work.last_step(intra)
        self.checks.say(f"job {self.preempted} requeued after step {self.preempted_at} of intra")

    def jobs_of(self, stage: str) -> list[str]:
        """Ids of the unfinished jobs of a stage."""
        key = stage.partition("/")[2]
        return [
            number
            for number, job in self.cluster.jobs().items()
            if job.comment.endswith(key) and job.state in ("PENDING", "RUNNING")
        ]

    def _has_plan(self) -> bool:
        try:
            return bool(self.work.keys())
        except FileNotFoundError:
            return False

    def _job_once_training(self, stage: str, after: int) -> str:
        self._wait_for(f"step {after} of {stage}", lambda: self.work.last_step(stage) >= after)
        jobs = self.jobs_of(stage)
        if len(jobs) != 1:
            raise RuntimeError(f"{stage} trains, but its jobs are {jobs}")
        return jobs[0]

    def _wait_for(self, what: str, ready: Callable[[], bool]) -> None:
        assert self.main is not None
        end = time.monotonic() + PATIENCE
        while not ready():
            if self.main.poll() is not None:
                raise RuntimeError(f"Snakemake ended with {self.main.returncode} before {what}")
            if time.monotonic() > end:
                raise RuntimeError(f"waited {PATIENCE:g} s for {what}")
            time.sleep(0.1)
