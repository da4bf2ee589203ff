"""`train`: minimise a method's objective; publishes evenly spaced snapshots and the table of its terms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import digest_of
from pipeline.data.domain import Domain, list_facts
from pipeline.data.loading import StepDataset, lost_workers_named, step_loader
from pipeline.data.margins import MARGINS, MarginMap
from pipeline.data.parameters import Augmentation
from pipeline.data.sampler import SampleOrder
from pipeline.methods.registry import build_method
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.batch_norm import batch_norm_layers
from pipeline.networks.build import build_network
from pipeline.networks.files import build_from, load_network, save_network
from pipeline.networks.logit_adjustment import with_adjusted_logits
from pipeline.networks.target_statistics import with_statistics_of
from pipeline.numerics import WidthHeight
from pipeline.numerics.randomness import derived_seed, seeded
from pipeline.numerics.spacing import evenly_spaced
from pipeline.stages.base import Job, StageFile
from pipeline.stages.inputs import chosen_step, domain_of, network_used, source_of_round
from pipeline.stages.job_log import no_log, open_log
from pipeline.stages.snapshots import SNAPSHOTS, snapshot_path, snapshot_steps
from pipeline.training.devices import (
    choose_device,
    choose_devices,
    configure_determinism,
    device_kind,
    worker_count,
)
from pipeline.training.distributed import SINGLE, Processes, run_processes
from pipeline.training.fingerprint import Fingerprint, software_versions
from pipeline.training.interruption import Interruption
from pipeline.training.learner import Learner
from pipeline.training.loop import StepLoader, Training, TrainingJob
from pipeline.training.metrics import MetricsTable
from pipeline.training.parameters import RunSettings, TrainParameters
from pipeline.training.progress import Progress
from pipeline.training.state import StateStore
from pipeline.training.tensorboard import TensorBoardTable

TARGET_IMAGES = 32
"""Target images, evenly spaced, that `adabn` and `logit_adjustment` look at."""


def compute(job: Job) -> dict[str, Any]:
    """Train in this process, or in one process per GPU; returns steps, snapshots and the images of each domain."""
    if _nothing_to_learn_from(job):
        return _result_of_previous(job)
    domains = _domains(job)
    lists = {role: domain.list_facts() for role, domain in domains.items()}
    if job.settings.gpus > 1:
        _train_in_processes(job)
    else:
        configure_determinism(job.exact, job.threads)
        device = choose_device(job.settings.device)
        job.notes["device"] = str(device)
        with lost_workers_named():
            Training(_job(job, domains, SINGLE, device)).run()
    return {
        "steps": job.parameters.steps,
        "snapshots": snapshot_steps(job.folder),
        "trained_before": _trained_before(job),
        "lists": lists,
    }


def _train_in_processes(job: Job) -> None:
    devices = [str(device) for device in choose_devices(job.settings.device, job.settings.gpus)]
    job.notes["device"] = devices[0]
    run_processes(_train_process, devices, (job.file, job.settings, job.log_path, job.alone), job.stop)


def _train_process(
    processes: Processes,
    device: torch.device,
    file: StageFile,
    settings: RunSettings,
    log_path: Path | None,
    alone: bool,
) -> None:
    """One process of several: it opens data and network itself, for no tensor travels between interpreters."""
    # Process 0 speaks for all: what goes wrong in another one is told by the process that started them.
    log = open_log(file.record.key, log_path) if processes.is_main else no_log()
    with Interruption(runtime_minutes=None) as interruption, lost_workers_named():
        job: Job[TrainParameters] = Job(
            file,
            settings,
            log,
            stop=lambda: interruption.reason() or processes.asked_to_stop(),
            alone=alone,
        )
        configure_determinism(job.exact, job.threads)
        Training(_job(job, _domains(job), processes, device)).run()


def build_start(job: Job) -> SegmentationNetwork:
    """The network a training starts from: a parent's snapshot, or a new one with its initial weights."""
    planned = job.record.network
    assert planned is not None
    num_classes = planned.num_classes
    parameters = planned.parameters
    if not job.has_parent("init"):
        return build_network(parameters, num_classes, _network_seed(job))
    step = chosen_step(job, "init", job.parameters.init_snapshot)
    network, report = build_from(
        snapshot_path(job.parent("init"), step), parameters, num_classes, _network_seed(job)
    )
    for message in report.messages:
        job.log.warning("%s", message)
    return network


def _network_seed(job: Job) -> int:
    seed = job.record.seed
    assert seed is not None
    return seed


def _trained_before(job: Job) -> int:
    """How many trainings the model that this one starts from has behind it."""
    if not job.has_parent("init"):
        return 0
    before: int = job.summary("init")["trained_before"]
    return before + 1


def _draws_seed(job: Job) -> int:
    """Seed of order, crops and dropout: another in each training of a chain.

    With one seed every round would see the same images in the same crops again, and learn less from them.
    """
    return derived_seed(_network_seed(job), "draws", _trained_before(job))


def _domains(job: Job) -> dict[str, Domain]:
    """What the stage reads, by role; of the source only what this round uses."""
    domains: dict[str, Domain] = {role: domain_of(job, role) for role in job.parameters.domains_read()}
    domains["source"] = source_of_round(domains["source"], job.parameters, _network_seed(job))
    return domains


def _job(job: Job, domains: Mapping[str, Domain], processes: Processes, device: torch.device) -> TrainingJob:
    """All that one process trains with."""
    learner = build_learner(job)
    _check_domains(job, domains)
    _warn_of_what_does_nothing(job, learner.network)
    store = StateStore(
        job.folder.state / "training",
        _fingerprint(job, device),
        exact=job.exact,
        allow=frozenset(job.settings.allow_changed),
    )
    job.set_margin(lambda: max(60.0, 2.0 * store.slowest_save_seconds))
    meta = {"stage": job.record.digest, "sizes": _sizes(job, domains)}
    (job.out / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        learner=learner,
        loader=build_loader(job, domains, processes, device),
        store=store,
        snapshot=lambda step: save_network(
            snapshot_path(job.folder, step),
            _published(learner.network, job.parameters, domains),
            {**meta, "step": step},
        ),
        stop=job.stop,
        progress=Progress(
            job.key, learner.parameters.steps, job.log if processes.is_main else None, bar=job.alone
        ),
        metrics=_metrics(job, processes),
        settings=job.settings,
        device=device,
        processes=processes,
    )


def _metrics(job: Job, processes: Processes) -> MetricsTable:
    """The main process's table, with event files where they are wanted; another process's is nowhere."""
    if not processes.is_main:
        return MetricsTable(None)
    path = job.out / "metrics.csv"
    return (
        TensorBoardTable(path, job.folder.run / "tensorboard")
        if job.settings.tensorboard
        else MetricsTable(path)
    )


def _warn_of_what_does_nothing(job: Job, network: SegmentationNetwork) -> None:
    if job.parameters.adabn and not batch_norm_layers(network):
        job.log.warning("adabn: the network has no BatchNorm, and is published as it is")
    if job.parameters.logit_adjustment and network.class_bias() is None:
        job.log.warning("logit_adjustment: the network's head has no bias, and is published as it is")


def _published(
    network: SegmentationNetwork, parameters: TrainParameters, domains: Mapping[str, Domain]
) -> SegmentationNetwork:
    """The network itself, or a copy that has looked at the target: its statistics first, then the answers."""
    if not parameters.adabn and not parameters.logit_adjustment:
        return network
    target = domains["target"]
    places = evenly_spaced(range(len(target)), TARGET_IMAGES)
    images = [torch.from_numpy(target.image(place).transpose(2, 0, 1).copy()) for place in places]
    if parameters.adabn:
        network = with_statistics_of(network, images, parameters.adabn)
    if parameters.logit_adjustment:
        network = with_adjusted_logits(network, images, parameters.logit_adjustment)
    return network


def build_learner(job: Job) -> Learner:
    """The network at its start, the method and its modules."""
    parameters = with_learning_rate_of_round(job.parameters)
    network = build_start(job)
    network.precision = parameters.precision
    method = build_method(parameters.method, parameters.objective)
    # Auxiliary modules have a seed of their own, so that the network's start does not depend on the method.
    with seeded(_network_seed(job), "modules", device=torch.device("cpu")):
        auxiliary = method.build_modules(network, job.taxonomy.num_classes)
    names, things = job.taxonomy.names, job.taxonomy.thing_ids
    return Learner(network, auxiliary, method, parameters, _draws_seed(job), names, things)


def with_learning_rate_of_round(parameters: TrainParameters) -> TrainParameters:
    """Multiply the learning rate by what the objective's round says."""
    factor = parameters.objective.turn().learning_rate
    if factor == 1.0:
        return parameters
    optimiser = parameters.optimiser
    scaled = optimiser.model_copy(update={"lr": optimiser.lr * factor})
    return parameters.model_copy(update={"optimiser": scaled})


def build_loader(
    job: Job, domains: Mapping[str, Domain], processes: Processes, device: torch.device
) -> StepLoader:
    """What loads the images of steps: this process's slots, augmented."""
    parameters: TrainParameters = job.parameters
    draws = parameters.schedule_horizon() * parameters.batch
    order = SampleOrder(_draws_seed(job), parameters.batch, parameters.sampling, draws)
    augmentation = {str(role): value for role, value in parameters.augmentation.items()}
    learnt = {str(role): domains[role] for role in parameters.objective.domains()}
    if margins := parameters.objective.target_margins():
        learnt["target"] = learnt["target"].with_extra(MARGINS, MarginMap(**margins.model_dump()))
    slots = processes.slots(parameters.batch)
    dataset = StepDataset(learnt, order, augmentation, slots, styles=domains.get("target"))
    pin = device.type == "cuda"
    workers = worker_count(job.settings.workers, device)
    return lambda start, stop: step_loader(dataset, start, stop, workers, pin)


def _fingerprint(job: Job, device: torch.device) -> Fingerprint:
    data = digest_of(job.parent_digests)
    return Fingerprint(
        job.key, data, software_versions(), device_kind(device), job.settings.gpus, job.threads
    )


def _sizes(job: Job, domains: Mapping[str, Domain]) -> dict[str, list[int]]:
    """Width and height at which each domain's first image is trained on: what `predict` resizes to."""
    augmentation = job.parameters.augmentation
    return {
        role: list(trained_size(domain.image_size(0), augmentation.get(role, Augmentation())))
        for role, domain in domains.items()
        if len(domain)
    }


def trained_size(size: WidthHeight, augmentation: Augmentation) -> WidthHeight:
    """Width and height at which objects of an image of `size` have the size they have in training.

    With `shorter_side` that is the middle of its range, rounded half up as in augmentation. `scale` is taken to
    be around 1; a crop shows a part of an image and changes no object's size.
    """
    if augmentation.shorter_side is None:
        return size
    ends, shorter = sum(augmentation.shorter_side), min(size)
    width, height = ((length * ends + shorter) // (2 * shorter) for length in size)
    return width, height


def _check_domains(job: Job, domains: Mapping[str, Domain]) -> None:
    for role, domain in domains.items():
        if role != "target" and not domain.has_labels:
            raise DataError(
                f"{job.key}: domain {role} has no labels, and method {job.parameters.method} needs them"
            )
        if not len(domain):
            job.log.warning("domain %s is empty: its terms drop out of the objective", role)


def _nothing_to_learn_from(job: Job) -> bool:
    """An empty easy part (lambda 0): there are no pseudo-labels at all (`docs/methods/intrada.md`)."""
    return job.domain("source").labels is not None and not len(domain_of(job, "source"))


def _result_of_previous(job: Job) -> dict[str, Any]:
    """Publish the network that should have made the pseudo-labels as this stage's result."""
    labels = job.domain("source").labels
    assert labels is not None
    used = network_used(job, labels)
    network, meta = load_network(snapshot_path(job.file.results.folder(used), used.step))
    (job.out / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    save_network(
        snapshot_path(job.folder, job.parameters.steps),
        network,
        {**meta, "copied_from": used.key},
    )
    (job.out / "metrics.csv").write_text("step,lr\n", encoding="utf-8")
    job.log.warning("the easy part is empty: the result is that of %s, unchanged", used.key)
    return {
        "steps": 0,
        "snapshots": [job.parameters.steps],
        "copied_from": used.key,
        "trained_before": _trained_before(job),
        "lists": {str(role): list_facts([]) for role in job.parameters.domains_read()},
    }
