"""Scoring a model against labels of other classes: several of its classes may stand for one of the labels'."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.inference.measures import ConfusionMeasure
from pipeline.inference.passes import Images


class MappedConfusionMeasure(ConfusionMeasure):
    """Confusion matrix over groups of a model's classes, int64 (G, G), rows = label, columns = prediction.

    The logit of a group is the largest of its classes' logits, so the answer is the group of the most
    probable class among those that are in any group. With one class per group, in the model's order, this is
    `ConfusionMeasure` itself.
    """

    def __init__(self, labels: Images, groups: Sequence[Sequence[int]]) -> None:
        """`groups[g]`: ids of the model's classes that stand for label id g; none may be empty."""
        super().__init__(labels, len(groups))
        self.groups = [list(group) for group in groups]

    def scores(self, logits: Tensor) -> Tensor:
        """The largest logit of each group: (B, G, h, w)."""
        return torch.stack([logits[:, group].amax(dim=1) for group in self.groups], dim=1)
