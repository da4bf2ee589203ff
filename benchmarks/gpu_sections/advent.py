"""Sections `advent` and `compiled`: the step at paper size against a plain loop, and against itself compiled."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from gpu_sections.harness import Record, Scale, Stopwatch, free_memory, held_mib, median_ms, peak_mib
from gpu_sections.plain_advent import PlainAdvent, set_up_plainly
from gpu_sections.trainings import (
    Determinism,
    Steps,
    made_up_step,
    make_steps,
    network_of,
    set_up,
    train,
    train_parameters,
)
from pipeline.numerics import Precision

VARIANTS: tuple[tuple[Determinism, Precision], ...] = (
    ("exact", "tf32"),
    ("fast", "bfloat16"),
    ("exact", "float32"),
)
"""In the order of their worth: cuDNN's search for the quickest kernels, `fast`, takes tens of seconds."""
PROFILED_STEPS = 3
TOP = 40


def advent(record: Record, scale: Scale) -> None:
    """The whole loop's step by determinism and precision, where its time goes, and then the plain loop."""
    found = {
        "exact bfloat16": record.attempt("exact bfloat16", lambda: whole_loop(scale, "exact", "bfloat16")),
        "kernel by kernel": record.attempt(
            "exact bfloat16, kernel by kernel", lambda: whole_loop(scale, "exact", "bfloat16", graphs=False)
        ),
    }
    record.attempt("launch exact bfloat16", lambda: launch(scale, "exact", "bfloat16"))
    record.attempt(
        "profile exact bfloat16",
        lambda: profiled(record.folder / "profile-exact", single_steps(scale, "exact", "bfloat16"), scale),
    )
    for determinism, precision in VARIANTS:
        label = f"{determinism} {precision}"
        found[label] = record.attempt(
            label,
            lambda d=determinism, p=precision: whole_loop(scale, d, p),  # type: ignore[misc]
        )
    plain = record.attempt("plain float32, TF32 convolutions", lambda: plain_loop(scale, autocast=False))
    if plain:
        for label, values in found.items():
            if values:
                record.row(f"plain over {label}", ratio=plain["ms"] / values["ms"])


def sizes_of(scale: Scale) -> dict[str, tuple[int, int]]:
    """Width and height by domain."""
    return {"source": scale.source, "target": scale.target}


def whole_loop(
    scale: Scale, determinism: Determinism, precision: Precision, graphs: bool = True
) -> dict[str, Any]:
    """Median step of the real loop, batch 1, and the peak of memory."""
    free_memory()
    count = scale.steps + scale.warm_up + 1
    parameters = train_parameters("advent", precision, steps=count, batch=1)
    network = network_of(scale.deep)
    done = train(network, parameters, sizes_of(scale), scale, determinism, scale.warm_up, graphs)
    return {
        "ms": statistics.median(done.step_ms),
        "slowest_ms": max(done.step_ms),
        "peak_mib": peak_mib(scale.device),
        "held_mib": held_mib(scale.device),
    }


def plain_loop(scale: Scale, autocast: bool) -> dict[str, Any]:
    """Median step of the plain loop, batch 1, and the peak of memory."""
    free_memory()
    torch.set_num_threads(scale.threads)
    set_up_plainly()
    parameters = train_parameters("advent", "float32", steps=1, batch=1)
    batch = made_up_step(parameters, sizes_of(scale), pin=False)
    loop = PlainAdvent(network_of(scale.deep), batch, scale.device, autocast)
    taken = median_ms(loop.step, scale.device, scale.steps, scale.warm_up)
    return {"ms": taken, "peak_mib": peak_mib(scale.device)}


def single_steps(scale: Scale, determinism: Determinism, precision: Precision) -> Steps:
    """Steps without the loop, warmed up."""
    set_up(determinism, scale)
    parameters = train_parameters("advent", precision, steps=1000, batch=1)
    steps = make_steps(network_of(scale.deep), parameters, sizes_of(scale), scale.device, graphs=True)
    for _ in range(scale.warm_up):
        steps.step()
    return steps


def launch(scale: Scale, determinism: Determinism, precision: Precision) -> dict[str, Any]:
    """Time of the host until a step is launched, against the whole step: equal where the host is the limit."""
    launched, finished = single_steps(scale, determinism, precision).host_ms(max(2, scale.steps // 2))
    return {"launch_ms": launched, "finished_ms": finished}


def profiled(path: Path, steps: Steps, scale: Scale) -> dict[str, Any]:
    """Top kernels and operators of some steps, as text files `path`-device.txt and `path`-host.txt."""
    on_gpu = scale.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as trace:
        for _ in range(PROFILED_STEPS):
            steps.step()
        if on_gpu:
            torch.cuda.synchronize()
    events = trace.key_averages()
    for what, key in (("device", "self_device_time_total"), ("host", "self_cpu_time_total")):
        text = events.table(sort_by=key, row_limit=TOP, max_name_column_width=90)
        path.with_name(f"{path.name}-{what}.txt").write_text(text + "\n", encoding="utf-8")
    kernels = [event for event in events if str(event.device_type).endswith("CUDA")]
    return {
        "kernels_per_step": sum(event.count for event in kernels) / PROFILED_STEPS,
        "kernel_ms_per_step": sum(event.self_device_time_total for event in kernels) / 1000 / PROFILED_STEPS,
        "operators_per_step": sum(e.count for e in events if e.key.startswith("aten::")) / PROFILED_STEPS,
    }


def compiled(record: Record, scale: Scale) -> None:
    """Network and losses through `torch.compile`, both domains at the target's size, beside the same in eager mode."""
    for name in ("eager", "compiled"):
        record.attempt(f"{name} fast bfloat16", lambda name=name: step_with(name, scale, record.folder))  # type: ignore[misc]


def step_with(name: str, scale: Scale, folder: Path) -> dict[str, Any]:
    """Median step, the time of the first, which compiles, and the profile of some."""
    set_up("fast", scale)
    parameters = train_parameters("advent", "bfloat16", steps=1000, batch=1, compile=name == "compiled")
    sizes = {"source": scale.target, "target": scale.target}
    steps = make_steps(network_of(scale.deep), parameters, sizes, scale.device)
    started = time.perf_counter()
    steps.step()
    Stopwatch(scale.device).milliseconds()
    first = time.perf_counter() - started
    taken = median_ms(steps.step, scale.device, scale.steps, scale.warm_up)
    launched, finished = steps.host_ms(max(2, scale.steps // 2))
    return {
        "ms": taken,
        "first_seconds": first,
        "launch_ms": launched,
        "finished_ms": finished,
        "peak_mib": peak_mib(scale.device),
        **profiled(folder / f"profile-{name}", steps, scale),
    }
