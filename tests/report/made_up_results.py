"""Made-up results with figures that are easy to check by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.datasets.preview import Preview, Sample
from pipeline.report.model import (
    Answer,
    Cost,
    ExperimentRecord,
    GalleryImage,
    ListRecord,
    Picture,
    RankingRecord,
    Score,
    StageName,
    StageResult,
    Thumbnail,
)

CLASSES = ("road", "car", "person")


def score(value: float, step: int = 600, absent: bool = False, metric: str = "mIoU") -> Score:
    """A score whose three classes average to `value`."""
    per_class = {"road": value + 10, "car": value - 10, "person": None if absent else value}
    matrix = np.array([[90, 8, 2], [10, 70, 20], [0, 40, 60]]) if not absent else None
    return Score(step, {metric: value, "pixel accuracy": value + 20}, per_class, matrix)


def curves(seed: int) -> pd.DataFrame:
    steps = np.arange(0, 600, 10)
    noise = np.random.default_rng(seed).normal(0, 0.05, len(steps))
    table = pd.DataFrame({"step": steps, "segmentation": 2 * np.exp(-steps / 200) + 0.3 + noise})
    return table.assign(adversarial=0.7 + noise, learning_rate=1e-3 * (1 - steps / 600) ** 0.9)


def stage_result(stage: str, method: str, seed: int, value: float, **changes: object) -> StageResult:
    scores = {
        "last": score(value),
        "label_free": score(value - 1, 480),
        "oracle_best": score(value + 2, 360),
    }
    fields: dict = {
        "stage": stage,
        "method": method,
        "seed": seed,
        "key": f"{method}-{stage}-{seed}-{value:.0f}",
        "scores": scores,
        "curves": curves(seed),
        "snapshots": pd.DataFrame({"step": [120, 360, 600], "mIoU": [value - 5, value + 2, value]}),
    }
    return StageResult(**{**fields, **changes})


def chain(name: str, figures: dict[str, Sequence[float | None]], **changes: object) -> ExperimentRecord:
    """An experiment with one stage per entry of `figures`, one value per seed, None = not run."""
    methods = {stage: "supervised" if number == 0 else "advent" for number, stage in enumerate(figures)}
    runs = tuple(
        stage_result(stage, methods[stage], seed, value)
        for stage, values in figures.items()
        for seed, value in enumerate(values)
        if value is not None
    )
    fields: dict = {
        "name": name,
        "task": "streets",
        "recipe": "intrada",
        "network": "small",
        "seeds": tuple(range(len(next(iter(figures.values()))))),
        "stages": tuple(StageName(stage, methods[stage]) for stage in figures),
        "runs": runs,
        "class_names": CLASSES,
        "palette": palette(),
    }
    return ExperimentRecord(**{**fields, **changes})


def palette() -> np.ndarray:
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[:3] = [(128, 64, 128), (0, 0, 142), (220, 20, 60)]
    return colors


def bands(size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """The classes 0, 1, 2 one below the other."""
    return np.repeat(np.arange(3, dtype=np.uint8), -(-size[0] // 3))[: size[0], None].repeat(size[1], axis=1)


def gallery(count: int = 4, size: tuple[int, int] = (60, 80)) -> tuple[GalleryImage, ...]:
    """Noise with a label; that of the last one has no class 2."""
    draws = np.random.default_rng(1)
    images = [draws.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]
    labels = [bands(size)] * (count - 1) + [np.minimum(bands(size), 1)]
    return tuple(
        GalleryImage(f"scene_{number}.png", image, label)
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    )


def answers(shift: int, count: int = 4) -> dict[str, Answer]:
    """The label moved down by `shift` rows more for each image; figures and entropies that order them differently."""
    return {
        f"scene_{number}.png": Answer(
            np.roll(bands(), shift * number, axis=0),
            np.full((60, 80), 60 * ((number + 1) % 4), dtype=np.uint8),
            figure=[50.0, 30.0, 40.0, 60.0][number],
        )
        for number in range(count)
    }


def ranking(seed: int, images: int = 100) -> RankingRecord:
    scores = np.sort(np.random.default_rng(seed).beta(2, 6, images))
    easy = int(images * 0.67)
    shown = tuple(
        Thumbnail(f"image_{place}.png", place, np.full((6, 8, 3), place, dtype=np.uint8))
        for place in (10, 80)
    )
    return RankingRecord(seed, scores, easy, images - easy, 0.67, float(scores[easy - 1]), shown)


def thresholds() -> pd.DataFrame:
    rows = [
        {"seed": 0, "round": turn, "class": name, "threshold": 0.9 - 0.1 * index - 0.05 * turn}
        | {"count": 1000 * (3 - index), "portion": 0.2 + 0.05 * turn, "selected": 0.2 + 0.05 * turn}
        for turn in range(3)
        for index, name in enumerate(CLASSES)
    ]
    return pd.DataFrame(rows)


def side(title: str, labelled: bool = True) -> Preview:
    """What is seen of a split of 40 images: 30 % road, 70 % car, no person."""
    pixels = (300, 700, 0) if labelled else None
    label = bands() if labelled else None
    samples = (Sample("one.png", np.zeros((60, 80, 3), dtype=np.uint8), label),)
    return Preview(title, 40, 40, {(80, 60): 40}, CLASSES, pixels, pixels, 0.25, samples, None)


def full_experiment() -> ExperimentRecord:
    item = chain(
        "streets-intrada",
        {"source": [40.0, 42.0, 44.0], "inter": [44.0, 47.0, 47.0], "intra": [46.0, 47.0, None]},
        rankings=tuple(ranking(seed) for seed in range(3)),
        thresholds=thresholds(),
        gallery=gallery(),
        priors=(Picture("road", np.tile(np.arange(80, dtype=np.uint8), (60, 1))),),
        lists=(ListRecord("target train", "streets-camera train", 1200, "ab" * 32),),
        software={"torch": "2.14.1", "device": "cpu, 2 threads"},
        sides={"source": side("rendered train"), "target": side("camera train", labelled=False)},
        costs=(
            Cost("source", 0, "supervised-0", 90.0, 900, "cpu", 2),
            Cost("inter", 0, "advent-0", 600.0, 1500, "cpu", 1),
        ),
    )
    shifts = {"source": 5, "inter": 0, "intra": 2}
    runs = (replace(run, answers=answers(shifts[run.stage])) if run.seed == 0 else run for run in item.runs)
    return replace(item, runs=tuple(runs))


def without_labels(item: ExperimentRecord, figures: Mapping[str, tuple[float, float]]) -> ExperimentRecord:
    """The experiment without scores; figures by stage: entropy and information maximisation."""
    names = ("entropy", "information_maximisation")
    runs = tuple(
        replace(run, scores={}, label_free_figures=dict(zip(names, figures[run.stage], strict=True)))
        for run in item.runs
    )
    return replace(item, runs=runs)
