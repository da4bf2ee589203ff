"""AdaptSegNet: adversarial alignment in output space (Tsai et al., CVPR 2018).

Discriminators see the softmax of the up-sampled logits.
"""

import torch
from torch import Tensor

from pipeline.methods.adversarial import Adversarial
from pipeline.methods.parameters import AdaptsegParameters
from pipeline.numerics.compiling import compilable


@compilable
def softmax_map(logits: Tensor) -> Tensor:
    """Return class probabilities (B, K, h, w) float32 of logits (B, K, h, w)."""
    return torch.softmax(logits.float(), dim=1)


class Adaptseg(Adversarial):
    """Adversarial alignment of softmax maps, with binary cross-entropy or least squares."""

    def __init__(self, parameters: AdaptsegParameters) -> None:
        super().__init__(parameters, softmax_map, parameters.gan)
