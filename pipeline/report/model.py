"""What a report shows, as plain data: the stage `report` fills it, the page and the tables read it.

All scores are in percent. A score always belongs to a selection, the rule that picked the snapshot:
`last` (the final step, the headline figure), `label_free` (chosen on unlabelled target images) and
`oracle_best` (chosen with evaluation labels, so never a result; only for comparison with papers that did it).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.datasets.preview import Preview

SELECTIONS = ("last", "label_free", "oracle_best")
TaskKind = Literal["segmentation", "binary", "classification"]
HEADLINE: dict[TaskKind, str] = {"segmentation": "mIoU", "binary": "Dice", "classification": "accuracy"}
"""The metric that a task of each kind is judged by; a name in `Score.metrics`."""


@dataclass(frozen=True)
class Score:
    """One evaluated snapshot.

    `metrics`: percent by name; the headline metric of the task's kind and any others (`mIoU-13`, `Dice`).
    `per_class`: IoU in percent by class name, None where the class is absent from labels and predictions.
    `confusion`: int64 (K, K), rows = label, columns = prediction.
    """

    step: int
    metrics: Mapping[str, float]
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    confusion: np.ndarray | None = None


@dataclass(frozen=True)
class Answer:
    """What a model says of an image: uint8 ids (h, w), and entropy (h, w), 0 = certain, 255 = uniform.

    `figure`: its mIoU on this image in percent, None without a label.
    """

    classes: np.ndarray
    entropy: np.ndarray
    figure: float | None = None


@dataclass(frozen=True)
class StageResult:
    """One training stage of one seed, evaluated in one test mode.

    `scores` by selection; a selection that was not made is missing. `label_free_figures`: numbers that need
    no labels (mean entropy, information maximisation), by name. `curves`: the training log, column `step` and
    one column per logged value. `snapshots`: columns `step` and the headline metric, one row per snapshot.
    `answers`: of the last snapshot, by image; of one seed.
    """

    stage: str
    method: str
    seed: int
    key: str
    test_mode: str = "plain"
    scores: Mapping[str, Score] = field(default_factory=dict)
    label_free_figures: Mapping[str, float] = field(default_factory=dict)
    curves: pd.DataFrame | None = None
    snapshots: pd.DataFrame | None = None
    answers: Mapping[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Thumbnail:
    """A ranked image uint8 (H, W, 3) and its place in the order of rank, from 0."""

    name: str
    place: int
    image: np.ndarray


@dataclass(frozen=True)
class RankingRecord:
    """The ranking of one seed: `scores` of all target images, and the cut between easy and hard."""

    seed: int
    scores: np.ndarray
    easy: int
    hard: int
    easy_share: float
    cut: float | None
    """Score of the last easy image; None when the easy split is empty."""
    thumbnails: tuple[Thumbnail, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What a stage took over all its attempts: seconds, and the highest memory in megabytes."""

    stage: str
    seed: int
    key: str
    seconds: float
    memory_mb: int
    device: str
    attempts: int


@dataclass(frozen=True)
class Taken:
    """Which stage's model one seed's folder `model/` holds: source-only's or the adapted one's.

    `values`: of the label-free `criterion`, by stage; the higher one was taken, at a tie source-only.
    """

    seed: int
    stage: str
    source_only: str
    adapted: str
    criterion: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class ListRecord:
    """A list of images that an experiment used: what for, its name, how long, SHA-256 of its names.

    `stage`: the one that used it; "" for a list that stages share. `whole`: length of the list that this is a
    part of. `seeds`: those that used it; () for all of them. None where the stage did not note a fact.
    """

    role: str
    name: str
    length: int
    sha256: str
    stage: str = ""
    whole: int | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class GalleryImage:
    """An image that every row is asked about: uint8 (H, W, 3), and its label ids (h, w), None without labels."""

    name: str
    image: np.ndarray
    label: np.ndarray | None = None


@dataclass(frozen=True)
class Picture:
    """A map of one value per pixel with a title, for example a spatial prior: uint8 (H, W)."""

    title: str
    values: np.ndarray


@dataclass(frozen=True)
class StageName:
    """A planned training stage of a recipe and the method it runs."""

    stage: str
    method: str


@dataclass(frozen=True)
class ExperimentRecord:
    """One experiment: what was planned (`stages` x `seeds`) and what was run (`runs`).

    The first stage is the baseline that gains are measured from. `thresholds`: one row per seed, round and
    class with columns `seed`, `round`, `class`, `threshold`, `count`, `portion`, `selected` (share of the
    class's pixels that were kept, 0..1). `palette`: uint8 (256, 3). `input`: at which size images were
    scored, in words. `test_modes`: the planned ones. `swept`: values of the suite's swept parameters by their
    dotted paths. `sides`: previews of the data by what for. `target_labels`: whether a training opened labels of
    the target's dataset. `links`: names of the links to the stages in a seed's folder, by stage. `endings`: by
    stage, the suite's line for an experiment that ends with it.
    """

    name: str
    task: str
    recipe: str
    network: str
    seeds: tuple[int, ...]
    stages: tuple[StageName, ...]
    runs: tuple[StageResult, ...]
    class_names: tuple[str, ...]
    palette: np.ndarray
    kind: TaskKind = "segmentation"
    input: str = "input at each image's own size"
    test_modes: tuple[str, ...] = ("plain",)
    swept: Mapping[str, Any] = field(default_factory=dict)
    rankings: tuple[RankingRecord, ...] = ()
    thresholds: pd.DataFrame | None = None
    priors: tuple[Picture, ...] = ()
    gallery: tuple[GalleryImage, ...] = ()
    lists: tuple[ListRecord, ...] = ()
    taken: tuple[Taken, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    costs: tuple[Cost, ...] = ()
    sides: Mapping[str, Preview] = field(default_factory=dict)
    target_labels: bool = False
    links: Mapping[str, str] = field(default_factory=dict)
    endings: Mapping[str, str] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """Name of the metric that the experiment is judged by."""
        return HEADLINE[self.kind]

    def result_of(self, stage: str, seed: int, test_mode: str) -> StageResult | None:
        """Return the run of a planned cell, None if it was not run."""
        wanted = (stage, seed, test_mode)
        return next((run for run in self.runs if (run.stage, run.seed, run.test_mode) == wanted), None)

    def value(self, stage: str, seed: int, test_mode: str, selection: str = "last") -> float | None:
        """Return the headline figure of a cell in percent, None if it was not run."""
        run = self.result_of(stage, seed, test_mode)
        score = run.scores.get(selection) if run else None
        return None if score is None else score.metrics.get(self.headline)

    def held_stage(self, seed: int) -> str:
        """Return the stage whose model a seed's folder `model/` holds."""
        taken = (one.stage for one in self.taken if one.seed == seed)
        return next(taken, self.stages[-1].stage)

    def taken_value(self, stage: str, seed: int, test_mode: str) -> float | None:
        """Return the headline figure of what `model/` holds; None but for the adapted stage of a guarded run."""
        guarded = (one for one in self.taken if (one.adapted, one.seed) == (stage, seed))
        taken = next(guarded, None)
        return self.value(taken.stage, seed, test_mode) if taken else None


@dataclass(frozen=True)
class Unfinished:
    """A stage that stands between runs and their figures: how its last attempt ended, and the end of its log.

    `runs`: experiment and seed of each run that waits for it.
    """

    runs: tuple[tuple[str, int], ...]
    stage: str
    reason: str
    log: tuple[str, ...] = ()

    @property
    def waiting(self) -> str:
        """The runs as text, of many the first three."""
        named = [f"{experiment}/seed{seed}" for experiment, seed in self.runs]
        return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    experiments: tuple[ExperimentRecord, ...]
    title: str = "Adaptation results"
    unfinished: tuple[Unfinished, ...] = ()
    suite: str = ""
