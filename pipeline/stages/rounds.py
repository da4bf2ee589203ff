"""What a self-training round changes in a training stage: its learning rate and its share of the source."""

from pipeline.data.domain import Domain
from pipeline.methods.parameters import SelfTrainingParameters
from pipeline.numerics.portions import portion, source_subset
from pipeline.training.parameters import TrainParameters


def with_learning_rate_of_round(parameters: TrainParameters) -> TrainParameters:
    """Multiply the learning rate by `lr_factor` once per round before this one; only in self-training.

    Source: CBST's released code, 1e-4 / sqrt(2)^round.
    """
    own = parameters.objective
    if not isinstance(own, SelfTrainingParameters) or own.lr_factor == 1.0:
        return parameters
    optimiser = parameters.optimiser
    scaled = optimiser.model_copy(update={"lr": optimiser.lr * own.lr_factor**own.round})
    return parameters.model_copy(update={"optimiser": scaled})


def source_names_of_round(parameters: TrainParameters, names: tuple[str, ...], seed: int) -> list[str] | None:
    """The source images of this round in drawing order; None: all of them.

    Source: `docs/methods/cbst.md`, portions and images of a round.
    """
    own = parameters.objective
    if not isinstance(own, SelfTrainingParameters):
        return None
    share = portion(own.round, own.source_portion, own.source_step, own.source_max)
    return None if share == 1.0 else source_subset(names, share, seed, own.round, own.drawing)


def source_of_round(domain: Domain, parameters: TrainParameters, seed: int) -> Domain:
    """The source domain with this round's images and their labels; DataError where two caches share a chosen name.

    Of pseudo-labels the class counts stay those of all their images: predicted pixels are counted over the set.
    """
    names = source_names_of_round(parameters, domain.names, seed)
    return domain if names is None else domain.restricted(names)
