"""Terms between a network and the discriminators of its maps: one forward pass on the target serves both."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.methods.base import Context, Term
from pipeline.methods.losses import Maps, weighted
from pipeline.methods.parameters import GanKind
from pipeline.numerics.losses import SOURCE_DOMAIN, TARGET_DOMAIN, domain_loss


def discriminator_name(level: str) -> str:
    """Name the module that discriminates one level."""
    return f"discriminator_{level}"


class Answers(NamedTuple):
    """A discriminator's raw answers (B, 1, h, w) on maps with gradient, twice the same numbers.

    `to_network`: for the discriminator as a constant; the gradient reaches the maps. `to_discriminator`: for
    the maps as constants; the gradient reaches its weights. The backward pass of the first must come first.
    """

    to_network: Tensor
    to_discriminator: Tensor


def answers_on(modules: Mapping[str, nn.Module], maps: Maps) -> dict[str, Answers]:
    """Let each level's discriminator look at its maps (B, K, H, W), once."""
    found = {}
    for level, seen in maps.items():
        constant = seen.detach().requires_grad_()
        answer: Tensor = modules[discriminator_name(level)](constant)
        found[level] = Answers(_TowardsMaps.apply(seen, _Pass(constant, answer)), answer)
    return found


class _Pass(NamedTuple):
    """A forward pass with its graph; no tensor to autograd, so that its graph ends here."""

    maps: Tensor
    answer: Tensor


class _TowardsMaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, made: _Pass) -> Tensor:
        ctx.made = made
        return made.answer.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        made: _Pass = ctx.made
        # The graph is needed again, for the discriminator's own term.
        (of_maps,) = torch.autograd.grad(made.answer, made.maps, gradients, retain_graph=True)
        return of_maps, None


def adversarial_term(
    answers: Mapping[str, Answers],
    weights: Mapping[str, float],
    gan: GanKind,
    share: float,
    target_logits: Tensor,
) -> Term:
    """Make the network's adversarial term: target maps should pass for source, by level.

    The discriminators are constants of this term; the gradient flows through them. `share`: the
    micro-batch's share of the step's target images. Source: ADVENT (Vu 2019), equation 6, with source 0 and
    target 1.
    """
    losses = {
        level: domain_loss(answer.to_network, SOURCE_DOMAIN, gan) * share for level, answer in answers.items()
    }
    summands = {f"adversarial_{level}": value.detach() for level, value in losses.items()}
    return Term("adversarial", weighted(losses, weights), 1.0, summands=summands, target_logits=target_logits)


def discriminator_term(
    modules: Mapping[str, nn.Module],
    level: str,
    source: Tensor,
    answer: Tensor,
    gan: GanKind,
    context: Context,
) -> Term:
    """Make one discriminator's term: half its loss on source maps (0) plus half on target maps (1).

    `source`: detached maps (B, K, H, W). `answer`: its answers on the target's, `Answers.to_discriminator`.
    Source: ADVENT (Vu 2019), equation 5.
    """
    name = discriminator_name(level)
    on_source = domain_loss(modules[name](source), SOURCE_DOMAIN, gan) * context.image_share["source"]
    on_target = domain_loss(answer, TARGET_DOMAIN, gan) * context.image_share["target"]
    return Term(name, 0.5 * on_source + 0.5 * on_target, 1.0, updates=(name,))
