"""Made-up results with figures that are easy to check by hand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.report.model import (
    ExperimentRecord,
    GalleryRow,
    ListRecord,
    Picture,
    RankingRecord,
    Score,
    StageName,
    StageResult,
)

CLASSES = ("road", "car", "person")


def score(value: float, step: int = 600, absent: bool = False, metric: str = "mIoU") -> Score:
    """A score whose three classes average to `value`."""
    per_class = {"road": value + 10, "car": value - 10, "person": None if absent else value}
    return Score(step, {metric: value, "pixel accuracy": value + 20}, per_class)


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


def gallery(rows: int = 2, size: tuple[int, int] = (60, 80)) -> tuple[GalleryRow, ...]:
    draws = np.random.default_rng(1)
    ids = np.repeat(np.arange(3, dtype=np.uint8), -(-size[0] // 3))[: size[0], None].repeat(size[1], axis=1)
    return tuple(
        GalleryRow(
            f"scene_{number}.png",
            draws.integers(0, 256, (*size, 3), dtype=np.uint8),
            label=ids,
            source_only=np.roll(ids, 7, axis=0),
            adapted=np.roll(ids, 2, axis=0),
            entropy=draws.integers(0, 256, size, dtype=np.uint8),
        )
        for number in range(rows)
    )


def ranking(seed: int, images: int = 100) -> RankingRecord:
    scores = np.sort(np.random.default_rng(seed).beta(2, 6, images))
    easy = int(images * 0.67)
    return RankingRecord(seed, scores, easy, images - easy, 0.67, float(scores[easy - 1]))


def thresholds() -> pd.DataFrame:
    rows = [
        {"seed": 0, "round": turn, "class": name, "threshold": 0.9 - 0.1 * index - 0.05 * turn}
        | {"count": 1000 * (3 - index), "portion": 0.2 + 0.05 * turn, "selected": 0.2 + 0.05 * turn}
        for turn in range(3)
        for index, name in enumerate(CLASSES)
    ]
    return pd.DataFrame(rows)


def full_experiment() -> ExperimentRecord:
    return chain(
        "streets-intrada",
        {"source": [40.0, 42.0, 44.0], "inter": [44.0, 47.0, 47.0], "intra": [46.0, 47.0, None]},
        rankings=tuple(ranking(seed) for seed in range(3)),
        thresholds=thresholds(),
        gallery=gallery(),
        priors=(Picture("road", np.tile(np.arange(80, dtype=np.uint8), (60, 1))),),
        lists=(ListRecord("target train", "streets-camera train", 1200, "ab" * 32),),
        software={"torch": "2.14.1", "device": "cpu, 2 threads"},
    )
