"""What the YAML files under `config/` may say."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline.data.parameters import Side
from pipeline.schema.strict import Strict
from pipeline.training.parameters import RunSettings

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
StageName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
WidthHeight = tuple[Side, Side]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
RoundCount = Annotated[int, Field(ge=0, le=100)]
Determinism = Literal["exact", "fast"]


def _listed(value: Any) -> Any:
    """Make a list of one value, and of a text such as `a, b` or `[a, b]`: `--config` gives these."""
    if isinstance(value, str):
        return [part.strip() for part in value.strip("[] ").split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def unequal(values: Sequence[Any]) -> Any:
    """Return `values`; ValueError where two are equal."""
    repeated = next((value for value in values if values.count(value) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated!r} is given twice; remove one")
    return values


Names = Annotated[
    tuple[Name, ...] | None,
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1),
]


class Settings(Strict):
    """`config/config.yaml`, with the suites' own settings and `--config` laid over it."""

    suite: Annotated[
        Name | None, Field(description="file in config/ that runs where `--configfile` names no other")
    ] = None
    determinism: Annotated[
        Determinism,
        Field(description="exact: the same bits again; fast: quicker kernels, equal within rounding"),
    ] = "exact"
    run: Annotated[RunSettings, Field(description="how to run; never part of a stage's key")] = RunSettings()
    set: Annotated[
        dict[str, dict[str, Any]],
        Field(
            description="parameters by stage kind or stage name, laid over every experiment; where they are given by "
            "`--config`, or in a file beside the suite, that makes experiments of their own, `NAME+PARAMETER=VALUE`"
        ),
    ] = {}


class Overrides(Settings):
    """What `--config` takes: the settings, which experiments and seeds to run, and on what."""

    task: Annotated[
        Name | None, Field(description="file in config/tasks/, in place of the experiments' own")
    ] = None
    network: Annotated[
        Name | None, Field(description="file in config/networks/, in place of the experiments' own")
    ] = None

    only: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_listed),
        Field(min_length=1, description="experiments by name or pattern, such as `streets-cbst*`; none: all"),
    ] = None
    seeds: Annotated[
        tuple[Seed, ...] | None,
        BeforeValidator(_listed),
        Field(min_length=1, description="those of the experiments' seeds to run; none: all"),
    ] = None


class DomainSplit(Strict):
    """One split of a dataset at a working size."""

    dataset: Annotated[Name, Field(description="file in config/datasets/")]
    split: Annotated[str, Field(description="split of that dataset")] = "train"
    size: Annotated[
        WidthHeight | None, Field(description="width, height in pixels; none keeps each image's own size")
    ] = None
    resample: Annotated[Literal["bicubic", "bilinear"], Field(description="Pillow filter for images")] = (
        "bicubic"
    )


class FurtherSplit(DomainSplit):
    """One more split that models are scored on."""

    transductive: Annotated[
        bool,
        Field(
            description="its images may be the target's training images; tables say so, and a model that had labels "
            "of the split gets no such score"
        ),
    ] = False


class LabelledSubset(Strict):
    """The few target images whose labels may be opened."""

    count: Annotated[
        int | None, Field(ge=1, description="this many, seeded and nested (n images contain n-1)")
    ] = None
    seed: Annotated[
        Annotated[int, Field(ge=0)] | Literal["run"],
        Field(description="seed of the choice by count; run: that of the run, so each seed has its own"),
    ] = 0
    names: Annotated[
        str | None,
        Field(description="file with one image name per line, relative to config/; instead of count"),
    ] = None

    @model_validator(mode="after")
    def _one_of(self) -> "LabelledSubset":
        if (self.count is None) == (self.names is None):
            raise ValueError("give either `count` (a seeded choice) or `names` (a file with image names)")
        return self


class Task(Strict):
    """Source, target, evaluation split, taxonomy and working sizes."""

    taxonomy: Annotated[Name, Field(description="file in config/taxonomies/")]
    source: Annotated[
        list[DomainSplit], Field(min_length=1, description="labelled source; one split or a list")
    ]
    target: Annotated[DomainSplit, Field(description="unlabelled target training images")]
    evaluate: Annotated[
        DomainSplit | None,
        Field(
            description="labelled split for figures, at the target's size and filter unless it has its own; none:"
            " label-free figures only"
        ),
    ] = None
    also: Annotated[
        dict[Name, FurtherSplit],
        Field(
            description="further labelled splits, by a name for tables, sized as `evaluate`; the last snapshot is scored"
        ),
    ] = {}
    metric: Annotated[
        Literal["miou", "dice", "accuracy"],
        Field(description="headline figure: segmentation, binary, classification"),
    ] = "miou"

    @model_validator(mode="before")
    @classmethod
    def _evaluated_as_the_target(cls, values: Any) -> Any:
        """Lay the target's size and filter below all scored splits: figures are made at the scale of its training."""
        if not isinstance(values, dict) or not isinstance(values.get("target"), dict):
            return values
        shared = {key: values["target"][key] for key in ("size", "resample") if key in values["target"]}
        scored = dict(values)
        if isinstance(values.get("evaluate"), dict):
            scored["evaluate"] = {**shared, **values["evaluate"]}
        if isinstance(values.get("also"), dict):
            also = values["also"].items()
            scored["also"] = {name: {**shared, **one} if isinstance(one, dict) else one for name, one in also}
        return scored

    @field_validator("source", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


class Rounds(Strict):
    """Stages repeated once per self-training round."""

    count: Annotated[RoundCount, Field(description="number of rounds; more rounds reuse the finished ones")]
    start: Annotated[StageName, Field(description="the stage whose model starts the first round")]
    stages: Annotated[
        dict[StageName, dict[str, Any]],
        Field(min_length=1, description="stages of a round; `previous` is the round before, or `start`"),
    ]


class Recipe(Strict):
    """A chain of stages with named parents."""

    title: Annotated[str, Field(description="name shown in reports")]
    description: Annotated[str, Field(description="what it does and where it comes from")] = ""
    base: Annotated[
        str | None,
        Field(
            description="file in config/recipes/ over which this one is laid, key by key; new stages follow its stages"
        ),
    ] = None
    defaults: Annotated[dict[str, dict[str, Any]], Field(description="parameters by stage kind")] = {}
    stages: Annotated[dict[StageName, dict[str, Any]], Field(min_length=1, description="stages in order")]
    guard: Annotated[
        bool,
        Field(
            description="the folder `model/` gets source-only, the chain's first stage, where adaptation looks worse "
            "without labels; figures are the adapted stages' as ever"
        ),
    ] = False
    rounds: Annotated[Rounds | None, Field(description="self-training rounds after the stages")] = None


class Block(Strict):
    """What a suite says for all of its experiments, and each of them for itself."""

    task: Annotated[Names, Field(description="file in config/tasks/; a list makes a grid")] = None
    network: Annotated[Names, Field(description="file in config/networks/; a list makes a grid")] = None
    recipe: Annotated[Names, Field(description="file in config/recipes/; a list makes a grid")] = None
    seeds: Annotated[
        tuple[Seed, ...] | None,
        Field(
            min_length=1, description="one run per seed, [0] unless given; figures are mean and sd over them"
        ),
    ] = None
    labelled: Annotated[
        dict[str, Any] | None,
        Field(
            description="which target images are labelled, by the keys below; an experiment's are laid over the suite's"
        ),
    ] = None
    rounds: Annotated[RoundCount | None, Field(description="number of rounds, over the recipe's")] = None
    set: Annotated[
        dict[str, dict[str, Any]],
        Field(description="parameters by stage kind or stage name, over the recipe's"),
    ] = {}

    @field_validator("task", "network", "recipe", "seeds")
    @classmethod
    def _unique(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if value is None else unequal(value)


class SweptKeys(Strict):
    """The keys of an experiment that a sweep may name besides `STAGE.PARAMETER`, once they are complete."""

    labelled: LabelledSubset | None
    rounds: RoundCount | None


class ExperimentEntry(Block):
    """One experiment of a suite, or several: what differs from the shared block."""

    sweep: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)]],
        Field(
            description="values by parameter, `STAGE.PARAMETER`; one experiment for each (of several: each combination)"
        ),
    ] = {}

    @field_validator("sweep")
    @classmethod
    def _unequal(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for path, values in value.items():
            try:
                unequal(values)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
        return value


class SuiteFile(Block):
    """`config/NAME.yaml`: the shared block first, then the experiments by name."""

    determinism: Annotated[Determinism | None, Field(description="as in config.yaml, over it")] = None
    run: Annotated[RunSettings | None, Field(description="as in config.yaml, over it")] = None
    experiments: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z0-9{][a-z0-9._{}-]*$")], ExperimentEntry],
        Field(
            min_length=1,
            description="what differs, by name; `{leaf}` in a name stands for a sweep's value or a grid's name",
        ),
    ]

    @field_validator("experiments", mode="before")
    @classmethod
    def _nothing_differs(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {} if body is None else body for name, body in value.items()}
