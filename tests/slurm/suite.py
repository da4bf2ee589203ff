"""The demo's recipe at small size on a real SLURM, disturbed in four ways, against an undisturbed local run.

    make test-slurm        (or: python tests/slurm/suite.py; `--keep FOLDER` keeps everything for a look)

Needs root and Debian's slurm-wlm and munge, which it installs; elsewhere it says SLURM SUITE NOT RUN, which
is a failure where CI=true. One run of the workflow through Snakemake's SLURM plugin has to survive:

1. the login node is lost while `source` trains: the main process is killed and started again at once, while
   the job it had sent goes on;
2. `source` needs longer than its time limit of one minute;
3. the job of `inter` is cancelled;
4. the job of `intra` is preempted: SLURM puts it back into the queue.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from checks import Checks
from cluster import PARTITION, Cluster, ClusterError, NotPossibleError, install
from scenario import PATIENCE, Scenario
from verdict import check_cancelled, check_digests, check_jobs, check_limit, check_preempted
from work import Work

SLOW = 36.0  # seconds of training for `source`: a job of one minute trains for 30 s at most
WARNING = 15  # seconds before the limit at which SLURM warns a job (it may be 30 s early)
CALIBRATION = {"source": 60}


def calibrated_steps(local: Work, checks: Checks) -> dict[str, int]:
    """Steps by stage name with which `source` takes `SLOW` seconds on this machine."""
    local.write_settings(CALIBRATION)
    code = local.snakemake("calibration.log", "--cores", "2", "--until", "pretrain").wait(PATIENCE)
    if code:
        raise RuntimeError(f"the calibration ended with {code}: {local.folder / 'calibration.log'}")
    pace = local.seconds_per_step(local.keys()["source"])
    steps = max(200, round(SLOW / pace / 100) * 100)
    checks.say(f"{pace:.3f} s per step of source: {steps} steps")
    short = max(80, steps // 10)
    return {"source": steps, "inter": short, "intra": short}


def run(cluster: Cluster, folder: Path, checks: Checks) -> None:
    """The local run, the disturbed run, and the comparison."""
    local = Work(folder / "local", os.environ)
    steps = calibrated_steps(local, checks)
    local.write_settings(steps)
    undisturbed = local.snakemake("snakemake.log", "--cores", "1")
    work = Work(folder / "cluster", cluster.environment)
    work.write_settings(steps)
    work.write_profile(PARTITION, limited="pretrain", warning=WARNING)
    scenario = Scenario(cluster, work, checks)
    try:
        scenario.start()
        scenario.lose_login_node()
        scenario.cancel_inter()
        scenario.preempt_intra()
        checks.check("the run on the cluster ended well", scenario.end() == 0)
        checks.check("the local run ended well", undisturbed.wait(PATIENCE) == 0)
    finally:
        for process in (scenario.main, undisturbed):
            end_group(process)
    if checks.failed:
        return
    check_limit(scenario, steps["source"])
    check_cancelled(scenario)
    check_preempted(scenario)
    check_jobs(scenario)
    check_digests(local, work, checks)
    before = len(cluster.jobs())
    scenario.start()
    checks.check(
        "the same command again has nothing to do",
        scenario.end() == 0 and len(cluster.jobs()) == before,
    )


def end_group(process: subprocess.Popen[bytes] | None) -> None:
    """End a Snakemake that is still there, and the jobs it runs itself."""
    if process is None or process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def leftovers(configuration: str) -> list[str]:
    """Processes of the cluster that still live, jobs included: they carry the path of its configuration."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if configuration.encode() in (path / "environ").read_bytes():
                found.append(f"{path.name} {(path / 'comm').read_text(encoding='utf-8').strip()}")
        except OSError:  # it ended meanwhile
            continue
    return found


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Bring the cluster up, run, take it down; 0 when all checks held."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work here, and keep everything")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _exit)
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="segadapt-slurm-", ignore_cleanup_errors=True) as temporary:
        Path(temporary).chmod(0o755)  # munge wants its socket to be within everybody's reach
        folder = (arguments.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            install()
        except NotPossibleError as error:
            print(f"SLURM SUITE NOT RUN: {error}")
            return int(os.environ.get("CI") == "true")
        try:
            with Cluster(folder / "slurm") as cluster:
                checks.say(f"SLURM is up in {folder}")
                run(cluster, folder, checks)
        except (ClusterError, RuntimeError, subprocess.TimeoutExpired) as error:
            checks.check("the scenario ran to its end", False, error)
        left = leftovers(f"SLURM_CONF={folder}")
        checks.check("nothing of the cluster is left behind", not left, left or "")
        if checks.failed and not arguments.keep:
            show_end(folder)
    print(f"{checks.passed} passed, {checks.failed} failed")
    return int(checks.failed > 0)


def show_end(folder: Path) -> None:
    """The ends of the logs, before they are removed."""
    for path in (folder / "cluster" / "snakemake.log", folder / "local" / "snakemake.log"):
        if path.is_file():
            print(f"--- {path.parent.name}/{path.name}")
            print(path.read_text(encoding="utf-8", errors="replace")[-6000:])


if __name__ == "__main__":
    sys.exit(main())
