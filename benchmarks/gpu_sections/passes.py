"""Section `passes`: ranking, pseudo-labels by thresholds and evaluation per image of 2048x1024."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_sections.harness import Record, Scale, median_ms, peak_mib, synchronise
from gpu_sections.trainings import CLASSES, Determinism, network_of, set_up
from pipeline.inference.example_measure import WithExamples
from pipeline.inference.measures import ConfusionMeasure, EntropyMeasure
from pipeline.inference.passes import PassSettings, run_pass
from pipeline.inference.stored_maps import KeepMaps, Scores
from pipeline.inference.test_modes import Plain
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.normalise import normalise
from pipeline.numerics import Precision
from pipeline.numerics.precision import autocast, products
from pipeline.numerics.thresholds import (
    BINS,
    ThresholdRule,
    count_high,
    count_low,
    locate,
    pseudo_label,
    thresholds,
)
from pipeline.stages.rank import MapStore

Pictures = list[np.ndarray]
VARIANTS: tuple[tuple[Determinism, Precision], ...] = (
    ("exact", "tf32"),
    ("fast", "tf32"),
    ("fast", "bfloat16"),
)


def passes(record: Record, scale: Scale) -> None:
    """Each pass as shipped, and in `fast` also in bfloat16."""
    for determinism, precision in VARIANTS:
        name = f"{determinism} {precision}"
        network = ready_network(scale, determinism, precision)
        for what, measure in (
            ("forward alone", forward),
            ("ranking", ranking),
            ("pseudo-labels", pseudo_labels),
            ("evaluation", evaluation),
        ):
            record.attempt(
                f"{what}, {name}",
                lambda measure=measure, network=network: {
                    **measure(network, scale),
                    "peak_mib": peak_mib(scale.device),
                },
            )


def ready_network(scale: Scale, determinism: Determinism, precision: Precision) -> SegmentationNetwork:
    """ResNet-101 in evaluation on the device, as stages load it."""
    set_up(determinism, scale)
    network = network_of(scale.deep).to(scale.device).eval()
    network.precision = precision
    return network


def pictures(scale: Scale, count: int) -> Pictures:
    """uint8 (H, W, 3)."""
    width, height = scale.picture
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


@contextmanager
def settings() -> Iterator[PassSettings]:
    """A pass in one chunk, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield PassSettings(Path(folder) / "state", chunks=1)


def per_image(run: Callable[[Pictures], Any], scale: Scale) -> dict[str, Any]:
    """Time of `run` per picture, after one run over 2 pictures."""
    run(pictures(scale, 2))
    images = pictures(scale, scale.pictures)
    synchronise(scale.device)
    started = time.perf_counter()
    run(images)
    synchronise(scale.device)
    return {"ms_per_image": 1000 * (time.perf_counter() - started) / len(images)}


def forward(network: SegmentationNetwork, scale: Scale) -> dict[str, Any]:
    """The network alone, normalisation included, batch 1."""
    image = torch.from_numpy(pictures(scale, 1)[0]).permute(2, 0, 1)[None].contiguous().to(scale.device)
    with torch.inference_mode(), products(network.precision), autocast(network.precision, scale.device):
        taken = median_ms(
            lambda: network(normalise(image, network.profile)), scale.device, repeats=scale.pictures
        )
    return {"ms_per_image": taken}


def ranking(network: SegmentationNetwork, scale: Scale) -> dict[str, Any]:
    """Entropy, predicted pixels and argmax maps, as `rank` computes them."""

    def run(images: Pictures) -> None:
        names = [f"image-{index}" for index in range(len(images))]
        with settings() as own, tempfile.TemporaryDirectory() as out:
            maps = MapStore(Path(out), own.state, names)
            run_pass(EntropyMeasure(names, CLASSES, maps.open_chunk), network, Plain(), images, own)
            maps.finish()

    return per_image(run, scale)


def evaluation(network: SegmentationNetwork, scale: Scale) -> dict[str, Any]:
    """Confusion matrix, as `evaluate` computes it."""
    width, height = scale.picture
    labels = [np.full((height, width), index % CLASSES, dtype=np.uint8) for index in range(scale.pictures)]

    def run(images: Pictures) -> None:
        with settings() as own:
            measure = WithExamples(ConfusionMeasure(labels, CLASSES), len(labels))
            run_pass(measure, network, Plain(), images, own)

    return per_image(run, scale)


def pseudo_labels(network: SegmentationNetwork, scale: Scale) -> dict[str, Any]:
    """Forward pass, two passes over the scores and the label pass, as `pseudolabel` makes them."""
    parts: dict[str, float] = {}

    def run(images: Pictures) -> None:
        rule = ThresholdRule(CLASSES, portion=0.2)
        high, low = (torch.zeros((rule.rows, BINS), dtype=torch.int64, device=scale.device) for _ in range(2))
        with settings() as own, torch.inference_mode():
            clock = _Clock(scale, parts)
            measure = KeepMaps(own.state / "maps")
            stored = run_pass(measure, network, Plain(), images, own)
            scores = Scores(stored, network, Plain())
            clock.lap("forward_ms", len(images))
            for position in range(len(images)):
                count_high(high, *scores.winners(position), rule)
            clock.lap("pass_1_ms", len(images))
            ranks = locate(high, rule)
            for position in range(len(images)):
                count_low(low, *scores.winners(position), rule, ranks)
            clock.lap("pass_2_ms", len(images))
            values = thresholds(ranks, low, rule).values.to(scale.device)
            for position in range(len(images)):
                torch.cat([pseudo_label(strip, values) for _, strip in scores.strips(position)]).cpu()
            clock.lap("labels_ms", len(images))

    return {**per_image(run, scale), **parts}


class _Clock:
    def __init__(self, scale: Scale, parts: dict[str, float]) -> None:
        self.scale, self.parts = scale, parts
        self.last = time.perf_counter()

    def lap(self, name: str, images: int) -> None:
        """Note the time per image since the last lap."""
        synchronise(self.scale.device)
        now = time.perf_counter()
        self.parts[name] = 1000 * (now - self.last) / images
        self.last = now
