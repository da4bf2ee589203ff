"""`train`: minimise a method's objective; publishes evenly spaced snapshots and the table of its terms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import digest_of
from pipeline.data.domain import Domain, list_facts
from pipeline.data.loading import StepDataset, lost_workers_named, step_loader
from pipeline.data.parameters import Augmentation
from pipeline.data.placement import Size
from pipeline.data.sampler import SampleOrder
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.methods.parameters import method_domains
from pipeline.methods.registry import build_method
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.build import build_network
from pipeline.networks.files import build_from, load_network, save_network
from pipeline.numerics.randomness import derived_seed, seeded
from pipeline.stages.base import StageFile, StageRun
from pipeline.stages.inputs import (
    SNAPSHOTS,
    chosen_step,
    domain_of,
    network_used,
    snapshot_path,
    snapshot_steps,
    source_of_round,
    taxonomy_for,
)
from pipeline.stages.job_log import no_log, open_log
from pipeline.training.devices import choose_device, choose_devices, configure_determinism, device_kind
from pipeline.training.distributed import SINGLE, Processes, run_processes
from pipeline.training.fingerprint import Fingerprint, software_versions
from pipeline.training.interruption import Interruption
from pipeline.training.learner import Learner
from pipeline.training.loop import StepLoader, Training, TrainingJob
from pipeline.training.metrics import MetricsTable
from pipeline.training.parameters import RunSettings, TrainParameters
from pipeline.training.progress import Progress
from pipeline.training.state import StateStore


def compute(run: StageRun) -> dict[str, Any]:
    """Train in this process, or in one process per GPU; returns steps, snapshots and the images of each domain."""
    if _nothing_to_learn_from(run):
        return _result_of_previous(run)
    domains = _domains(run)
    lists = {role: domain.list_facts() for role, domain in domains.items()}
    if run.settings.gpus > 1:
        _train_in_processes(run)
    else:
        configure_determinism(run.exact, run.settings.threads)
        device = choose_device(run.settings.device)
        run.notes["device"] = str(device)
        with lost_workers_named():
            Training(_job(run, domains, SINGLE, device)).run()
    return {
        "steps": run.parameters.steps,
        "snapshots": snapshot_steps(run.folder),
        "trained_before": _trained_before(run),
        "lists": lists,
    }


def _train_in_processes(run: StageRun) -> None:
    devices = [str(device) for device in choose_devices(run.settings.device, run.settings.gpus)]
    run.notes["device"] = devices[0]
    run_processes(_train_process, devices, (run.file, run.settings, run.log_path, run.alone), run.stop)


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
        run: StageRun[TrainParameters] = StageRun(
            file,
            settings,
            log,
            stop=lambda: interruption.reason() or processes.asked_to_stop(),
            alone=alone,
        )
        configure_determinism(run.exact, run.settings.threads)
        Training(_job(run, _domains(run), processes, device)).run()


def build_start(run: StageRun) -> SegmentationNetwork:
    """The network a training starts from: a parent's snapshot, or a new one with its initial weights."""
    planned = run.record.network
    assert planned is not None
    num_classes = planned.num_classes
    parameters = planned.parameters
    if not run.has_parent("init"):
        return build_network(parameters, num_classes, _network_seed(run))
    step = chosen_step(run, "init", run.parameters.init_snapshot)
    network, report = build_from(
        snapshot_path(run.parent("init"), step), parameters, num_classes, _network_seed(run)
    )
    for message in report.messages:
        run.log.warning("%s", message)
    return network


def _network_seed(run: StageRun) -> int:
    seed = run.record.seed
    assert seed is not None
    return seed


def _trained_before(run: StageRun) -> int:
    """How many trainings the model that this one starts from has behind it."""
    if not run.has_parent("init"):
        return 0
    before: int = run.summary("init")["trained_before"]
    return before + 1


def _draws_seed(run: StageRun) -> int:
    """Seed of order, crops and dropout: another in each training of a chain.

    With one seed every round would see the same images in the same crops again, and learn less from them.
    """
    return derived_seed(_network_seed(run), "draws", _trained_before(run))


def _domains(run: StageRun) -> dict[str, Domain]:
    """What the method reads, by role; of the source only what this round uses."""
    domains: dict[str, Domain] = {role: domain_of(run, role) for role in method_domains(run.parameters)}
    domains["source"] = source_of_round(domains["source"], run.parameters, _network_seed(run))
    return domains


def _job(
    run: StageRun, domains: Mapping[str, Domain], processes: Processes, device: torch.device
) -> TrainingJob:
    """All that one process trains with."""
    taxonomy = taxonomy_for(run, "source")
    learner = _learner(run, taxonomy)
    _check_domains(run, domains)
    store = StateStore(
        run.folder.state / "training",
        _fingerprint(run, device),
        exact=run.exact,
        allow=frozenset(run.settings.allow_changed),
    )
    run.set_margin(lambda: max(60.0, 2.0 * store.slowest_save_seconds))
    meta = {"taxonomy": taxonomy.model_dump(mode="json"), "stage": run.key, "sizes": _sizes(run, domains)}
    (run.out / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        learner=learner,
        loader=_loader(run, domains, processes, device),
        store=store,
        snapshot=lambda step: save_network(
            snapshot_path(run.folder, step), learner.network, {**meta, "step": step}
        ),
        stop=run.stop,
        progress=Progress(
            run.key, learner.parameters.steps, run.log if processes.is_main else None, bar=run.alone
        ),
        metrics=MetricsTable(run.out / "metrics.csv" if processes.is_main else None),
        settings=run.settings,
        device=device,
        processes=processes,
    )


def _learner(run: StageRun, taxonomy: Taxonomy) -> Learner:
    parameters = with_learning_rate_of_round(run.parameters)
    network = build_start(run)
    method = build_method(parameters.method, parameters.objective)
    # Auxiliary modules have a seed of their own, so that the network's start does not depend on the method.
    with seeded(_network_seed(run), "modules", device=torch.device("cpu")):
        auxiliary = method.build_modules(network, taxonomy.num_classes)
    return Learner(network, auxiliary, method, parameters, _draws_seed(run), tuple(taxonomy.names))


def with_learning_rate_of_round(parameters: TrainParameters) -> TrainParameters:
    """Multiply the learning rate by what the objective's round says."""
    factor = parameters.objective.turn().learning_rate
    if factor == 1.0:
        return parameters
    optimiser = parameters.optimiser
    scaled = optimiser.model_copy(update={"lr": optimiser.lr * factor})
    return parameters.model_copy(update={"optimiser": scaled})


def _loader(
    run: StageRun, domains: Mapping[str, Domain], processes: Processes, device: torch.device
) -> StepLoader:
    parameters: TrainParameters = run.parameters
    draws = parameters.schedule_horizon() * parameters.batch
    order = SampleOrder(_draws_seed(run), parameters.batch, parameters.sampling, draws)
    augmentation = {str(role): value for role, value in parameters.augmentation.items()}
    dataset = StepDataset(domains, order, augmentation, processes.slots(parameters.batch))
    pin = device.type == "cuda"
    return lambda start, stop: step_loader(dataset, start, stop, run.settings.workers, pin)


def _fingerprint(run: StageRun, device: torch.device) -> Fingerprint:
    data = digest_of(run.parent_digests)
    return Fingerprint(
        run.key, data, software_versions(), device_kind(device), run.settings.gpus, run.settings.threads
    )


def _sizes(run: StageRun, domains: Mapping[str, Domain]) -> dict[str, list[int]]:
    """Width and height at which each domain's first image is trained on: what `predict` resizes to."""
    augmentation = run.parameters.augmentation
    return {
        role: list(trained_size(domain.image_size(0), augmentation.get(role, Augmentation())))
        for role, domain in domains.items()
        if len(domain)
    }


def trained_size(size: Size, augmentation: Augmentation) -> Size:
    """Width and height at which objects of an image of `size` have the size they have in training.

    With `shorter_side` that is the middle of its range, rounded half up as in augmentation. `scale` is taken to
    be around 1; a crop shows a part of an image and changes no object's size.
    """
    if augmentation.shorter_side is None:
        return size
    ends, shorter = sum(augmentation.shorter_side), min(size)
    width, height = ((length * ends + shorter) // (2 * shorter) for length in size)
    return width, height


def _check_domains(run: StageRun, domains: Mapping[str, Domain]) -> None:
    for role, domain in domains.items():
        if role != "target" and not domain.has_labels:
            raise DataError(
                f"{run.key}: domain {role} has no labels, and method {run.parameters.method} needs them"
            )
        if not len(domain):
            run.log.warning("domain %s is empty: its terms drop out of the objective", role)


def _nothing_to_learn_from(run: StageRun) -> bool:
    """An empty easy part (lambda 0): there are no pseudo-labels at all (`docs/methods/intrada.md`)."""
    return run.domain("source").labels is not None and not len(domain_of(run, "source"))


def _result_of_previous(run: StageRun) -> dict[str, Any]:
    """Publish the network that should have made the pseudo-labels as this stage's result."""
    labels = run.domain("source").labels
    assert labels is not None
    used = network_used(run, labels)
    network, meta = load_network(snapshot_path(run.file.results.folder(used), used.step))
    (run.out / SNAPSHOTS).mkdir(parents=True, exist_ok=True)
    save_network(
        snapshot_path(run.folder, run.parameters.steps),
        network,
        {**meta, "copied_from": used.key},
    )
    (run.out / "metrics.csv").write_text("step,lr\n", encoding="utf-8")
    run.log.warning("the easy part is empty: the result is that of %s, unchanged", used.key)
    return {
        "steps": 0,
        "snapshots": [run.parameters.steps],
        "copied_from": used.key,
        "trained_before": _trained_before(run),
        "lists": {str(role): list_facts([]) for role in method_domains(run.parameters)},
    }
