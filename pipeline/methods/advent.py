"""AdvEnt: adversarial entropy minimisation (Vu et al., ADVENT, CVPR 2019, section 3.2).

Discriminators see the weighted self-information of the up-sampled logits, all K channels. IntraDA
(Pan et al., CVPR 2020) is this method twice: source to target, then easy to hard part of the target.
"""

from pipeline.methods.adversarial import Adversarial
from pipeline.methods.parameters import AdventParameters
from pipeline.numerics.entropy import self_information


class Advent(Adversarial):
    """Adversarial alignment of self-information maps."""

    def __init__(self, parameters: AdventParameters) -> None:
        super().__init__(parameters, self_information, "vanilla")
