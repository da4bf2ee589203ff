"""The methods by name."""

from collections.abc import Callable
from typing import Any

from pipeline.methods.adaptseg import Adaptseg
from pipeline.methods.advent import Advent
from pipeline.methods.ass import Ass
from pipeline.methods.base import Method
from pipeline.methods.mean_teacher import MeanTeacher
from pipeline.methods.minent import Minent
from pipeline.methods.objective import ObjectiveParameters
from pipeline.methods.plca import Plca
from pipeline.methods.self_training import SelfTraining
from pipeline.methods.supervised import Supervised

METHODS: dict[str, Callable[[Any], Method]] = {
    "supervised": Supervised,
    "minent": Minent,
    "advent": Advent,
    "adaptseg": Adaptseg,
    "plca": Plca,
    "ass": Ass,
    "mean_teacher": MeanTeacher,
    "self_training": SelfTraining,
}


def build_method(name: str, parameters: ObjectiveParameters) -> Method:
    """Make the method of a training stage from its validated objective. KeyError for an unregistered name."""
    return METHODS[name](parameters)
