"""What must hold after the disturbed run."""

from collections import Counter
from itertools import pairwise

from checks import Checks
from scenario import Scenario
from work import Work

WITHOUT_GPU = ("prepare/", "split/")


def check_limit(scenario: Scenario, steps: int) -> None:
    """The stage that needed longer than its limit, and lost its main process."""
    work, checks = scenario.work, scenario.checks
    source = work.keys()["source"]
    history = work.history(source)
    outcomes = [attempt["outcome"] for attempt in history]
    jobs = [attempt["job"] for attempt in history]
    checks.check(
        "source was stopped by its time limit and finished by a later job",
        len(outcomes) > 1 and set(outcomes[:-1]) == {"interrupted"} and outcomes[-1] == "finished",
        f"jobs {', '.join(f'{job} {outcome}' for job, outcome in zip(jobs, outcomes, strict=True))}",
    )
    checks.check("every attempt at source was another job", len(set(jobs)) == len(jobs))
    logs = scenario.work.slurm_logs()
    reasons = [
        line.strip() for job in jobs[:-1] for line in logs.get(job, "").splitlines() if "stopped (" in line
    ]
    at_limit = [reason for reason in reasons if "SIGUSR1" in reason or "nearly used up" in reason]
    checks.check(
        "each stop came from the warning or the budget, before SLURM ended the job",
        bool(at_limit) and at_limit == reasons,
        "; ".join(reason.partition("stopped ")[2].partition(";")[0] for reason in reasons),
    )
    resumed = work.resumed_step(source)
    checks.check("source went on from its state", 0 < resumed < steps, f"at step {resumed} of {steps}")
    checks.check(
        "the job that the lost main process left behind made the first attempt", jobs[0] == scenario.orphan
    )
    overlapping = [
        later["job"]
        for earlier, later in pairwise(history)
        if later["started"] < earlier["started"] + earlier["seconds"]
    ]
    checks.check("no two jobs worked on source at the same time", not overlapping, overlapping or "")


def check_cancelled(scenario: Scenario) -> None:
    """The stage whose job was cancelled."""
    work, checks = scenario.work, scenario.checks
    jobs = scenario.cluster.jobs()
    inter = work.keys()["inter"]
    last = work.history(inter)[-1]
    checks.check(
        "the cancelled job ended as CANCELLED and inter was finished by another one",
        jobs[scenario.cancelled].state == "CANCELLED"
        and last["outcome"] == "finished"
        and last["job"] != scenario.cancelled,
        f"jobs {scenario.cancelled}, {last['job']}",
    )
    resumed = work.resumed_step(inter)
    checks.check(
        "inter went on from its state",
        resumed >= scenario.cancelled_at // 20 * 20 > 0,
        f"cancelled after step {scenario.cancelled_at}, went on at {resumed}",
    )


def check_preempted(scenario: Scenario) -> None:
    """The stage whose job was put back into the queue."""
    work, checks = scenario.work, scenario.checks
    intra = work.keys()["intra"]
    last = work.history(intra)[-1]
    checks.check(
        "the preempted job finished intra itself, and Snakemake waited for it",
        last["outcome"] == "finished" and last["job"] == scenario.preempted,
        f"job {last['job']}",
    )
    resumed = work.resumed_step(intra)
    checks.check(
        "intra went on from its state",
        resumed >= scenario.preempted_at // 20 * 20 > 0,
        f"requeued after step {scenario.preempted_at}, went on at {resumed}",
    )


def check_jobs(scenario: Scenario) -> None:
    """What SLURM says about the jobs."""
    work, checks = scenario.work, scenario.checks
    jobs = scenario.cluster.jobs()
    counts = Counter(job.state for job in jobs.values())
    checks.say(
        f"jobs: {len(jobs)}, " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    )
    gpus = {
        stage: {attempt["job"] and jobs[attempt["job"]].gpus for attempt in work.history(stage)}
        for stage in work.planned()
    }
    wrong = {
        stage for stage in gpus if gpus[stage] != {"N/A" if stage.startswith(WITHOUT_GPU) else "gres:gpu:1"}
    }
    checks.check(
        "every stage that computes with a network had one GPU, no other had any", not wrong, wrong or ""
    )
    source = work.keys()["source"]
    limits = {jobs[attempt["job"]].limit for attempt in work.history(source)}
    checks.check("the time limit of source was one minute", limits == {"1:00"}, ", ".join(limits))
    finished = {
        stage: [attempt["outcome"] for attempt in work.history(stage)].count("finished") for stage in gpus
    }
    repeated = {stage: count for stage, count in finished.items() if count != 1}
    checks.check("no stage was computed twice", not repeated, repeated or "")


def check_digests(local: Work, cluster: Work, checks: Checks) -> None:
    """The two runs' artifacts (the local run also has that of the calibration)."""
    planned, expected, found = cluster.planned(), local.digests(), cluster.digests()
    checks.check("the cluster made every planned artifact", set(found) == planned, len(found))
    different = sorted(stage for stage in planned if found.get(stage) != expected.get(stage, ""))
    checks.check(f"all {len(planned)} digests equal those of the local run", not different, different or "")
