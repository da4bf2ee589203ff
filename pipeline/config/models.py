"""What the YAML files under `config/` may say."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.schema.strict import Strict
from pipeline.training.parameters import RunSettings

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
StageName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
Size = tuple[Annotated[int, Field(ge=1, le=16384)], Annotated[int, Field(ge=1, le=16384)]]


class Settings(Strict):
    """`config/config.yaml`, with overlays and `--config` laid over it."""

    experiments: Annotated[
        list[Name], Field(min_length=1, description="names of files in config/experiments/")
    ]
    determinism: Annotated[
        Literal["exact", "fast"],
        Field(description="exact: the same bits again; fast: quicker kernels, equal within rounding"),
    ] = "exact"
    run: Annotated[RunSettings, Field(description="how to run; never part of a stage's key")] = RunSettings()
    set: Annotated[
        dict[str, dict[str, Any]],
        Field(description="parameters by stage kind or stage name, laid over every selected experiment"),
    ] = {}

    @field_validator("experiments", mode="before")
    @classmethod
    def _accept_text(cls, value: Any) -> Any:
        # `--config experiments=demo` and `--config 'experiments=[a, b]'` both arrive as text.
        if isinstance(value, str):
            return [part.strip() for part in value.strip("[] ").split(",") if part.strip()]
        return value

    @field_validator("experiments")
    @classmethod
    def _unique(cls, value: list[str]) -> list[str]:
        repeated = sorted({name for name in value if value.count(name) > 1})
        if repeated:
            raise ValueError(f"{', '.join(repeated)}: named more than once")
        return value


class DomainSplit(Strict):
    """One split of a dataset at a working size."""

    dataset: Annotated[Name, Field(description="file in config/datasets/")]
    split: Annotated[str, Field(description="split of that dataset")] = "train"
    size: Annotated[
        Size | None, Field(description="width, height in pixels; none keeps each image's own size")
    ] = None
    resample: Annotated[Literal["bicubic", "bilinear"], Field(description="Pillow filter for images")] = (
        "bicubic"
    )


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
        DomainSplit | None, Field(description="labelled split for figures; none: label-free figures only")
    ] = None
    metric: Annotated[
        Literal["miou", "dice", "accuracy"],
        Field(description="headline figure: segmentation, binary, classification"),
    ] = "miou"

    @field_validator("source", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


class Rounds(Strict):
    """Stages repeated once per self-training round."""

    count: Annotated[
        int, Field(ge=0, le=100, description="number of rounds; more rounds reuse the finished ones")
    ]
    start: Annotated[StageName, Field(description="the stage whose model starts the first round")]
    stages: Annotated[
        dict[StageName, dict[str, Any]],
        Field(min_length=1, description="stages of a round; `previous` is the round before, or `start`"),
    ]


class Recipe(Strict):
    """A chain of stages with named parents."""

    title: Annotated[str, Field(description="name shown in reports")]
    description: Annotated[str, Field(description="what it does and where it comes from")] = ""
    defaults: Annotated[dict[str, dict[str, Any]], Field(description="parameters by stage kind")] = {}
    stages: Annotated[dict[StageName, dict[str, Any]], Field(min_length=1, description="stages in order")]
    rounds: Annotated[Rounds | None, Field(description="self-training rounds after the stages")] = None


class Experiment(Strict):
    """Task x recipe x network, over seeds."""

    task: Annotated[Name, Field(description="file in config/tasks/")]
    recipe: Annotated[Name, Field(description="file in config/recipes/")]
    network: Annotated[Name, Field(description="file in config/networks/")]
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        Field(min_length=1, description="one run per seed; figures are given as mean and sd over them"),
    ] = [0]
    rounds: Annotated[int | None, Field(ge=0, le=100, description="number of rounds, over the recipe's")] = (
        None
    )
    labelled: Annotated[
        LabelledSubset | None, Field(description="labelled target images, for methods that use them")
    ] = None
    set: Annotated[
        dict[str, dict[str, Any]],
        Field(description="parameters by stage kind or stage name, over the recipe's"),
    ] = {}

    @field_validator("seeds")
    @classmethod
    def _unique(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("a seed is named twice")
        return value
