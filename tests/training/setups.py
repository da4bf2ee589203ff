"""Small trainings of several methods, and running one to its end."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from toys import ToyNetwork, toy_job, toy_parameters

from pipeline.data.batch import Batch
from pipeline.methods.base import Context, Method, Term
from pipeline.methods.parameters import SupervisedParameters
from pipeline.training.loop import Training, TrainingJob


class Teacher(Method[SupervisedParameters]):
    """A mean teacher whose prediction the network follows."""

    def build_modules(self, network: ToyNetwork, num_classes: int) -> dict[str, nn.Module]:
        teacher = ToyNetwork(batch_norm="train")
        teacher.requires_grad_(False)
        return {"teacher": teacher}

    def terms(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Batch], context: Context
    ) -> Iterator[Term]:
        images = batch["source"].images
        with torch.no_grad():
            wanted = modules["teacher"](images).main
        share = context.image_share["source"]
        yield Term("follow", ((modules["network"](images).main - wanted - 0.1) ** 2).mean() * share, 1.0)

    def after_step(self, modules: Mapping[str, nn.Module], context: Context) -> None:
        for kept, new in zip(modules["teacher"].parameters(), modules["network"].parameters(), strict=True):
            kept.lerp_(new.detach(), 0.3)


SETUPS: dict[str, dict[str, Any]] = {
    "supervised": {"parameters": toy_parameters("supervised")},
    "adamw": {
        "parameters": toy_parameters("minent", optimiser={"kind": "adamw", "lr": 0.01}, accumulation=2),
        "levels": "multi",
    },
    "advent": {"parameters": toy_parameters("advent", objective={"adversarial_weight": 0.5})},
    "mean_teacher": {
        "parameters": toy_parameters(
            "mean_teacher",
            objective={"quality": "soft", "teacher_decay": 0.9, "mask_weight": 1.0, "mask_block": 8},
        ),
    },
    "frozen_features": {
        "parameters": toy_parameters(
            "mean_teacher",
            objective={"quality": "soft", "feature_distance": {"where": "everywhere", "weight": 0.5}},
        ),
    },
    "teacher": {
        "parameters": toy_parameters("supervised"),
        "method": Teacher(SupervisedParameters(method="supervised")),
    },
}


def finished(folder: Path, setup: dict[str, Any], **more: Any) -> tuple[TrainingJob, dict[int, Any]]:
    toy = toy_job(folder, **setup, **more)
    Training(toy.job).run()
    return toy.job, toy.snapshots
