"""Parameters of a training stage, and of how any stage is run; free of torch, so that planning stays fast."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from pipeline.artifacts.errors import ConfigError
from pipeline.data.parameters import Augmentation
from pipeline.methods.objective import Domain
from pipeline.methods.parameters import OBJECTIVES, Objective
from pipeline.numerics import Precision
from pipeline.schema.strict import Strict

Multiplier = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class _OptimiserParameters(Strict):
    head_lr_mult: Annotated[Multiplier, Field(description="learning rate of the heads over `lr`")] = 10.0
    backbone_lr_mult: Annotated[
        Multiplier,
        Field(
            description="learning rate of the backbone over `lr`; 3.0 is close to the published runs of "
            "AdaptSegNet, AdvEnt, IntraDA and CRST"
        ),
    ] = 1.0


class SgdParameters(_OptimiserParameters):
    """SGD with momentum 0.9 and L2 decay 5e-4, as the released codes have it."""

    kind: Literal["sgd"]
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False, description="learning rate at step 0")] = 2.5e-4


class AdamwParameters(_OptimiserParameters):
    """AdamW (Loshchilov and Hutter 2019) with betas (0.9, 0.999) and decoupled decay 0.01."""

    kind: Literal["adamw"]
    lr: Annotated[float, Field(gt=0.0, allow_inf_nan=False, description="learning rate at step 0")] = 2e-4
    decays: Annotated[
        Literal["all", "no_norms"],
        Field(description="weights that decay; no_norms: not those of normalisation and position embeddings"),
    ] = "all"


class Warmup(Strict):
    """Learning rates that rise on a line over the first steps."""

    steps: Annotated[int, Field(ge=1, le=10_000_000, description="steps of the rise")]
    decay: Annotated[
        Literal["during", "after"],
        Field(
            description="during: times the poly schedule, from 1e-6 (DAFormer); after: it takes over where it then "
            "stands, from 1e-3 (VFM-UDA)"
        ),
    ] = "during"


SnapshotChoice = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(pattern=r"^(last|label_free|\d+)$"),
]
"""`last`, `label_free`, or a step, which YAML reads as a number."""

Optimiser = Annotated[SgdParameters | AdamwParameters, Field(discriminator="kind")]


class TrainParameters(Strict):
    """One training stage: a method's objective minimised for a number of steps."""

    method: Annotated[
        Literal[tuple(OBJECTIVES)],  # type: ignore[valid-type]
        Field(description="the objective that is minimised"),
    ]
    objective: Annotated[Objective, Field(description="the method's own parameters")]
    init_snapshot: Annotated[
        SnapshotChoice,
        Field(description="which snapshot of the `init` stage to start from: last, label_free, or its step"),
    ] = "last"
    steps: Annotated[int, Field(ge=1, le=10_000_000, description="optimiser steps")]
    horizon: Annotated[
        int | None, Field(ge=1, description="steps at which the schedule would reach 0; none: `steps`")
    ] = None
    power: Annotated[
        float,
        Field(ge=0.0, le=10.0, description="exponent of the poly schedule, lr * (1 - step / horizon)^power"),
    ] = 0.9
    warmup: Annotated[Warmup | None, Field(description="rise of all learning rates; none: no rise")] = None
    optimiser: Annotated[Optimiser, Field(description="optimiser of the network")] = SgdParameters(kind="sgd")
    batch: Annotated[
        int,
        Field(
            ge=1, le=65536, description="images per step of each domain, over all processes and micro-batches"
        ),
    ] = 1
    accumulation: Annotated[
        int, Field(ge=1, description="micro-batches that a step's images are cut into")
    ] = 1
    precision: Annotated[
        Precision,
        Field(
            description="arithmetic of the networks; tf32 is float32 on a CPU; weights and losses are float32"
        ),
    ] = "tf32"
    compile: Annotated[
        bool,
        Field(description="compile network and losses (`torch.compile`): quicker on GPUs, other rounding"),
    ] = False
    sampling: Annotated[
        Literal["epoch", "replicated"],
        Field(description="epoch: each image once per epoch; replicated: one shuffle over all epochs"),
    ] = "epoch"
    augmentation: Annotated[
        dict[Domain, Augmentation],
        Field(description="random changes to images; a domain that the method does not read drops out"),
    ] = {}
    adabn: Annotated[
        float,
        Field(
            ge=0.0,
            le=1.0,
            description="share of BatchNorm's statistics that published networks take from 32 target images",
        ),
    ] = 0.0
    logit_adjustment: Annotated[
        float,
        Field(
            ge=0.0,
            le=1.0,
            description="how far published networks favour classes that they rarely answer on 32 target images",
        ),
    ] = 0.0
    snapshots: Annotated[
        int, Field(ge=1, le=1000, description="evenly spaced networks kept, the last included")
    ] = 5

    @model_validator(mode="before")
    @classmethod
    def _name_the_method(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        own = values.get("objective") or {}
        if isinstance(own, BaseModel):
            own = own.model_dump()
        if isinstance(own, Mapping):
            method = values.get("method")
            if own.get("method", method) != method:
                raise ValueError(
                    f"objective.method is {own['method']!r} but method is {method!r}; remove the former"
                )
            # An unknown method has one complaint, about itself; its keys cannot be judged.
            values["objective"] = (
                {**own, "method": method}
                if isinstance(method, str) and method in OBJECTIVES
                else {"method": next(iter(OBJECTIVES))}
            )
        return values

    @field_validator("optimiser", mode="before")
    @classmethod
    def _sgd_unless_told(cls, value: Any) -> Any:
        return {"kind": "sgd", **value} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _consistent(self) -> "TrainParameters":
        if self.horizon is not None and self.horizon < self.steps:
            raise ValueError(
                f"horizon {self.horizon} is below steps {self.steps}; the learning rate would end early"
            )
        if self.snapshots > self.steps:
            raise ValueError(f"snapshots {self.snapshots} is above steps {self.steps}")
        if self.batch % self.accumulation:
            raise ValueError(f"batch {self.batch} cannot be cut into {self.accumulation} equal micro-batches")
        self._check_groups()
        return self

    def _check_groups(self) -> None:
        micro = self.batch // self.accumulation
        for group in self.objective.image_groups():
            if micro % group:
                raise ValueError(
                    f"batch: a micro-batch of {micro} images cannot be cut into the groups of {group} on which "
                    f"method {self.method} has a term"
                )

    @field_validator("augmentation")
    @classmethod
    def _only_domains_read(cls, value: dict[Domain, Augmentation], info: Any) -> dict[Domain, Augmentation]:
        # `defaults: train:` of a recipe serves stages of several methods; a key that a stage does not read
        # must not change its digest.
        objective = info.data.get("objective")
        return (
            value
            if objective is None
            else {name: value[name] for name in objective.domains() if name in value}
        )

    @field_validator("augmentation")
    @classmethod
    def _style_of_source_alone(cls, value: dict[Domain, Augmentation]) -> dict[Domain, Augmentation]:
        for name, augmentation in value.items():
            if augmentation.style and name != "source":
                raise ValueError(f"{name}.style: only source images take the target's colors; remove it")
        return value

    def check_processes(self, processes: int, location: str) -> None:
        """Raise ConfigError, naming `location`, where processes cannot share a step's images evenly.

        Each of them has the same number of images in each micro-batch, in whole groups of the method's terms.
        """
        pieces = self.accumulation * math.lcm(*self.objective.image_groups())
        shares = self.batch // pieces
        if shares % processes:
            fitting = [str(count) for count in range(1, shares + 1) if shares % count == 0]
            cut = f" in multiples of {pieces}" if pieces > 1 else " evenly"
            raise ConfigError(
                f"{location}: {processes} processes, by `run.gpus`, cannot share a batch of {self.batch}"
                f"{cut}; set `run.gpus` to {' or '.join(fitting)}, or `batch` to a "
                f"multiple of {pieces * processes}"
            )

    def domains_read(self) -> tuple[Domain, ...]:
        """Name the domains whose images the stage reads: the objective's, and the target where its colors, its
        statistics or the answers on it serve.
        """
        domains = self.objective.domains()
        styled = any(augmentation.style for augmentation in self.augmentation.values())
        further = styled or self.adabn or self.logit_adjustment
        return (*domains, "target") if further and "target" not in domains else domains

    def schedule_horizon(self) -> int:
        """Return the step at which the poly schedule would reach 0."""
        return self.steps if self.horizon is None else self.horizon


class RunSettings(Strict):
    """How a stage is run on this machine; never part of a key, changes no result."""

    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda|cuda:\d+)$", description="auto: a free GPU, else the CPU")
    ] = "auto"
    threads: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="CPU threads of a stage; none: 2 in `exact`, else the job's cores, up to 8",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Field(
            ge=0,
            le=1024,
            description="processes that load a training's images; none: 1 on a CPU, else a GPU's share of the "
            "job's cores, up to 8",
        ),
    ] = None
    gpus: Annotated[
        int, Field(ge=1, le=1024, description="processes of a training stage, one device each")
    ] = 1
    graphs: Annotated[
        bool,
        Field(
            description="launch a network's passes in a training whole, as CUDA graphs, where the GPU has room for "
            "them: same bits, quicker, more memory"
        ),
    ] = True
    chunks: Annotated[int, Field(ge=1, description="chunks of a pass over images, each resumable")] = 1
    state_minutes: Annotated[float, Field(gt=0.0, description="minutes between saved training states")] = 10.0
    state_steps: Annotated[
        int | None, Field(ge=1, description="steps between saved training states, besides `state_minutes`")
    ] = None
    log_every: Annotated[int, Field(ge=1, description="steps between lines in a training's log")] = 50
    tensorboard: Annotated[
        bool, Field(description="also write a training's metrics as TensorBoard event files, into its `run/`")
    ] = False
    runtime_minutes: Annotated[
        float | None,
        Field(
            gt=0.0, description="wall-clock budget; a stage saves and ends with code 75 before it is used up"
        ),
    ] = None
    allow_changed: Annotated[
        tuple[Literal["software", "device", "gpus", "threads"], ...],
        Field(description="what may differ from the saved state when `exact` resumes"),
    ] = ()
