"""AdvEnt's step as Vu et al. (2019, section 3.2 and 4) publish it, written plainly in eager torch.

Float32 with torch's default TF32 convolutions and cuDNN's choice of kernels, cross-entropy on up-sampled
logits, one backward pass per discriminator and domain, Adam for both discriminators, SGD for the network.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional

from gpu_sections.trainings import CLASSES, IGNORE, Batch
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.discriminator import FCDiscriminator
from pipeline.networks.normalise import normalise

SOURCE, TARGET = 0.0, 1.0
WEIGHTS = {"main": 1e-3, "aux": 2e-4}
AUX_WEIGHT = 0.1


def set_up_plainly() -> None:
    """torch's defaults, TF32 for convolutions among them, with cuDNN's benchmark as the released code has it."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = True


def weighted_information(logits: Tensor) -> Tensor:
    """-p log2 p / log2 K for every class."""
    p = functional.softmax(logits, dim=1)
    return -p * torch.log2(p + 1e-30) / torch.log2(torch.tensor(float(CLASSES), device=p.device))


def domain_cross_entropy(answer: Tensor, domain: float) -> Tensor:
    """Binary cross-entropy against one domain's number everywhere."""
    return functional.binary_cross_entropy_with_logits(answer, torch.full_like(answer, domain))


class PlainAdvent:
    """Network, discriminators, optimisers and one batch, already normalised as a loader would do it."""

    def __init__(
        self, network: SegmentationNetwork, batch: Batch, device: torch.device, autocast: bool
    ) -> None:
        self.device, self.autocast = device, autocast
        self.network = network.to(device).train()
        self.discriminators = {name: FCDiscriminator(CLASSES).to(device).train() for name in WEIGHTS}
        heads = list(self.network.head_parameters())
        groups = [{"params": list(self.network.backbone_parameters())}, {"params": heads, "lr": 2.5e-3}]
        self.optimiser = torch.optim.SGD(groups, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
        self.adams = [
            torch.optim.Adam(one.parameters(), lr=1e-4, betas=(0.9, 0.99))
            for one in self.discriminators.values()
        ]
        profile = self.network.profile
        self.images = {name: normalise(part.images, profile) for name, part in batch.items()}
        source_labels = batch["source"].labels
        assert source_labels is not None
        self.labels = source_labels.long()
        if device.type == "cuda":
            self.images = {name: images.pin_memory() for name, images in self.images.items()}
            self.labels = self.labels.pin_memory()

    def step(self) -> None:
        """Make one step."""
        for optimiser in (self.optimiser, *self.adams):
            optimiser.zero_grad()
        self._ask_gradient(of_discriminators=False)
        source = self._segment()
        target = self._fool()
        self._ask_gradient(of_discriminators=True)
        for seen, domain in ((source, SOURCE), (target, TARGET)):
            self._discriminate(seen, domain)
        for optimiser in (self.optimiser, *self.adams):
            optimiser.step()

    def _low(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.autocast else nullcontext()

    def _ask_gradient(self, of_discriminators: bool) -> None:
        for one in self.discriminators.values():
            one.requires_grad_(of_discriminators)

    def _logits(self, domain: str) -> dict[str, Tensor]:
        images = self.images[domain].to(self.device, non_blocking=True)
        output = self.network(images)
        assert output.aux is not None
        return {
            name: functional.interpolate(value, images.shape[-2:], mode="bilinear", align_corners=True)
            for name, value in (("main", output.main), ("aux", output.aux))
        }

    def _segment(self) -> Mapping[str, Tensor]:
        with self._low():
            logits = self._logits("source")
            labels = self.labels.to(self.device, non_blocking=True)
            losses = {
                name: functional.cross_entropy(value, labels, ignore_index=IGNORE)
                for name, value in logits.items()
            }
            loss = losses["main"] + AUX_WEIGHT * losses["aux"]
        loss.backward()
        return {name: value.detach() for name, value in logits.items()}

    def _fool(self) -> Mapping[str, Tensor]:
        with self._low():
            logits = self._logits("target")
            loss = torch.zeros((), device=self.device)
            for name, value in logits.items():
                answer = self.discriminators[name](weighted_information(value))
                loss = loss + WEIGHTS[name] * domain_cross_entropy(answer, SOURCE)
        loss.backward()
        return {name: value.detach() for name, value in logits.items()}

    def _discriminate(self, seen: Mapping[str, Tensor], domain: float) -> None:
        for name, value in seen.items():
            with self._low():
                answer = self.discriminators[name](weighted_information(value))
                loss = domain_cross_entropy(answer, domain) / 2
            loss.backward()
