"""What a training costs on this machine: a few of its steps, in a process of its own, that leave nothing behind.

The network starts from its own weights, whatever the training starts from. Images are the prepared ones where all of a
domain's artifacts have finished, else noise of the same sizes under the same augmentation: no other label is read.
"""

import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import numpy as np
import torch

from pipeline.artifacts.errors import Interrupted, SegadaptError
from pipeline.data.batch import Batch
from pipeline.data.cache import Cache
from pipeline.data.domain import Domain
from pipeline.numerics import WidthHeight
from pipeline.stages.base import Job, StageFile
from pipeline.stages.inputs import domain_of
from pipeline.stages.job_log import no_log
from pipeline.stages.measuring_server import server_context
from pipeline.stages.record import StageRecord
from pipeline.stages.results import Results
from pipeline.stages.train import build_learner, build_loader
from pipeline.training.devices import choose_device, configure_determinism
from pipeline.training.distributed import SINGLE
from pipeline.training.fingerprint import Fingerprint
from pipeline.training.loop import StepLoader, Training, TrainingJob
from pipeline.training.metrics import MetricsTable
from pipeline.training.parameters import TrainParameters
from pipeline.training.progress import Progress
from pipeline.training.state import StateStore

WARM, STEPS = 2, 6
"""Steps that are not counted, for the first ones also set up; and those that are, at most."""
NOISE_IMAGES = 4


@dataclass(frozen=True)
class Measured:
    """Seconds of a step, and the most memory in bytes, of the GPU if there is one; `real`: of the prepared images."""

    seconds: float
    memory: int
    real: bool


@dataclass(frozen=True)
class Limits:
    """Seconds from the start of the process: after `enough` no further step is made, after `most` it is killed."""

    enough: float
    most: float | None = None


class NotMeasuredError(SegadaptError):
    """A training cannot be measured here; the text says why."""


def measure_training(
    record: StageRecord, results: Results, sizes: Mapping[str, WidthHeight | None], limits: Limits
) -> Measured:
    """Make steps of a planned training, one at least.

    `sizes`: width and height of each domain's prepared images, None where each has its own. NotMeasuredError says
    why not.
    """
    context = server_context()
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, record, results, dict(sizes), time.time() + limits.enough)
    process = context.Process(target=_answer, args=arguments)
    process.start()
    assert process.pid is not None
    theirs.close()
    try:
        if not ours.poll(limits.most):
            raise NotMeasuredError(f"one step takes more than {limits.most:.0f} s")
        answer: Measured | str = ours.recv()
    except EOFError as error:
        raise NotMeasuredError("the process was killed: too little memory?") from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that load its images
        process.kill()
        process.join()
    if isinstance(answer, str):
        raise NotMeasuredError(answer)
    return answer


def _answer(
    pipe: Connection,
    record: StageRecord,
    results: Results,
    sizes: Mapping[str, WidthHeight | None],
    until: float,
) -> None:
    """Send what was measured, or why nothing was."""
    os.setsid()
    try:
        pipe.send(_measure(record, results, sizes, until))
    except SegadaptError as error:
        pipe.send(str(error))


def _measure(
    record: StageRecord, results: Results, sizes: Mapping[str, WidthHeight | None], until: float
) -> Measured:
    parents = {role: parent for role, parent in record.parents.items() if role != "init"}
    planned = cast(TrainParameters, record.parameters)
    parameters = planned.model_copy(update={"steps": max(planned.steps, WARM + STEPS + 2)})
    bare = record.model_copy(update={"parents": parents, "parameters": parameters})
    job: Job[TrainParameters] = Job(
        StageFile(results.planned(record.key), bare), record.run, no_log(), lambda: None
    )
    configure_determinism(job.exact, job.threads)
    device = choose_device(job.settings.device)
    roles = [str(role) for role in job.parameters.domains_read()]
    real = {role: _is_finished(job, role) for role in roles}
    domains = {role: domain_of(job, role) if real[role] else _noise(job, role, sizes[role]) for role in roles}
    watch = _Watch(build_loader(job, domains, SINGLE, device), until)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(_training_job(job, watch, device, Path(folder)))
        with suppress(Interrupted):  # by the watch
            training.run()
    return Measured(watch.seconds_per_step(), _memory(device), all(real.values()))


def _is_finished(job: Job[TrainParameters], role: str) -> bool:
    domain = job.domain(role)
    wanted = [*domain.caches, *(one for one in (domain.split, domain.labels) if one is not None)]
    return all(job.file.results.manifest(job.record.parents[one]).is_file() for one in wanted)


@dataclass(frozen=True)
class _NoiseCache:
    """As much of a cache as a domain asks for."""

    names: tuple[str, ...]
    images: list[np.ndarray]
    labels: list[np.ndarray] | None
    statistics: Mapping[str, list[int]]


def _noise(job: Job[TrainParameters], role: str, size: WidthHeight | None) -> Domain:
    """Images of noise, labelled where the method needs labels of this domain."""
    if size is None:
        raise NotMeasuredError("images of their own sizes, not prepared yet")
    assert job.record.network is not None
    classes, shape = job.record.network.num_classes, (NOISE_IMAGES, size[1], size[0])
    draws = np.random.default_rng(0)
    labelled = role != "target" or role in job.parameters.objective.pseudo_labelled
    labels = list(draws.integers(0, classes, shape, dtype=np.uint8)) if labelled else None
    counts = np.bincount(np.stack(labels).ravel(), minlength=classes).tolist() if labels else []
    images = list(draws.integers(0, 256, (*shape, 3), dtype=np.uint8))
    cache = _NoiseCache(tuple(map(str, range(NOISE_IMAGES))), images, labels, {"class_pixels": counts})
    return Domain([cast(Cache, cache)], labels="own" if labelled else None)


class _Watch:
    """Times the steps of a loader, and asks to stop after enough of them."""

    def __init__(self, loader: StepLoader, until: float) -> None:
        self._loader, self._until = loader, until
        self._marks: list[float] = []

    def load(self, start: int, stop: int) -> Iterable[Mapping[str, Batch]]:
        """The loader's batches; the first step begins now."""
        self._marks = [time.monotonic()]
        return self._loader(start, stop)

    def reason(self) -> str | None:
        """Why to stop now, if there is a reason; asked once at the end of every step."""
        self._marks.append(time.monotonic())
        enough = len(self._marks) > WARM + STEPS
        return "measured" if enough or time.time() > self._until else None

    def seconds_per_step(self) -> float:
        """The mean over the steps behind the first ones, or of the last one where there are no others."""
        counted = self._marks[min(WARM, len(self._marks) - 2) :]
        return (counted[-1] - counted[0]) / (len(counted) - 1)


def _training_job(
    job: Job[TrainParameters], watch: _Watch, device: torch.device, folder: Path
) -> TrainingJob:
    return TrainingJob(
        learner=build_learner(job),
        loader=watch.load,
        store=StateStore(folder, Fingerprint(job.key, "", {}, "", 1, job.threads)),
        snapshot=lambda step: None,
        stop=watch.reason,
        progress=Progress(job.key, job.parameters.steps, None),
        metrics=MetricsTable(None),
        settings=job.settings,
        device=device,
    )


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
