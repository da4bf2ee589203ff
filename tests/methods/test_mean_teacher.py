"""The mean teacher: its average, its labels, mixed and masked views against slow versions, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from toys import CLASSES, SIDE, ToyNetwork, toy_batch, toy_learner, toy_parameters

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.data.batch import Batch
from pipeline.data.parameters import Affine
from pipeline.methods.base import Context
from pipeline.methods.registry import build_method
from pipeline.methods.teacher import Teacher
from pipeline.methods.views import affine_grid, masked, moved, moved_labels, recolored
from pipeline.networks.build import build_network
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.class_mix import class_mask
from pipeline.numerics.randomness import Draws
from pipeline.stages.requirements import Facts, objective_fits
from pipeline.training.learner import Learner
from pipeline.training.step import StepRunner

CPU = torch.device("cpu")
SEED, STEP = 5, 3
PLAIN: dict[str, Any] = {"mix_color": None, "quality": "soft"}


class Setting:
    """The method on a toy network, whose teacher already differs from it, and one step's batches."""

    def __init__(
        self, batch_norm: str = "frozen", levels: str = "single", batch: int = 2, **values: Any
    ) -> None:
        self.parameters = toy_parameters("mean_teacher", objective=PLAIN | values, batch=batch)
        self.network = ToyNetwork(levels, batch_norm)
        self.learner = toy_learner(self.parameters, self.network, seed=SEED)
        self.teacher: Teacher = self.learner.auxiliary["teacher"]  # type: ignore[assignment]
        for module in self.learner.modules.values():
            module.train()
        with torch.no_grad():
            self.teacher.network.main.weight.mul_(4.0)
        self.batch = {
            name: toy_batch(name, 0, range(batch), labelled=name != "target")
            for name in ("source", "target", "labelled")
        }

    def run(self, *domains: str, **changes: Any) -> dict[str, float]:
        """Values of a step's terms; `changes` to the training's parameters."""
        learner = replace(self.learner, parameters=self.parameters.model_copy(update=changes))
        chosen: Any = {name: self.batch[name] for name in domains or self.learner.method.domains}
        return {
            name: value.item() for name, value in StepRunner(learner, CPU).run(STEP, chosen).values.items()
        }

    def images(self, domain: str) -> torch.Tensor:
        return normalise(self.batch[domain].images, self.network.profile)

    def taught(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The teacher's labels of the target, and their weights by the soft rule."""
        with torch.no_grad():
            logits = self.teacher.network(self.images("target")).main
        probability = torch.softmax(self.network.upsample(logits, (SIDE, SIDE)), dim=1)
        return probability.argmax(dim=1), probability.amax(dim=1) ** 2

    def loss(self, images: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> float:
        """Mean over all pixels of weight times cross-entropy, slowly."""
        with torch.no_grad():
            logits = self.network.upsample(self.network(images).main, (SIDE, SIDE)).double()
        log_p = torch.log_softmax(logits, dim=1)
        picked = log_p.gather(1, labels.clamp(max=CLASSES - 1)[:, None])[:, 0]
        return float(-(picked * weight * (labels != 255)).mean())

    def draws(self, purpose: str) -> list[Draws]:
        return Context(STEP, {}, {}, CLASSES, range(self.parameters.batch), SEED).draws(purpose)


def pasted(setting: Setting, partner: str, share: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The mixed images, labels and weights, pixel by pixel."""
    labels, weight = setting.taught()
    images = setting.images("target").clone()
    own = setting.batch[partner].labels
    assert own is not None
    for place, draws in enumerate(setting.draws("mix")):
        draws.uniform()  # which domain
        numbers = [draws.uniform() for _ in range(CLASSES)]
        order = sorted(range(CLASSES), key=lambda index, of=numbers: of[index])
        mask = class_mask(own[place : place + 1].long(), torch.tensor([order]), share)[0]
        images[place][:, mask] = setting.images(partner)[place][:, mask]
        labels[place][mask], weight[place][mask] = own[place].long()[mask], 1.0
    return images, labels, weight


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_mixed_term_is_the_weighted_cross_entropy_of_the_mixed_image(share: float) -> None:
    setting = Setting(class_share=share)
    found = setting.run()["mixed"]
    assert found == pytest.approx(setting.loss(*pasted(setting, "source", share)), rel=1e-5)
    labels, weight = setting.taught()
    unmixed = setting.loss(setting.images("target"), labels, weight)
    assert (found == pytest.approx(unmixed, rel=1e-5)) is (share == 0.0)


def test_the_masked_term_sees_the_target_alone_in_other_draws() -> None:
    setting = Setting(mask_weight=1.0, mask_block=8, mix_color={"contrast": 0.5})
    labels, weight = setting.taught()
    profile, color = setting.network.profile, setting.parameters.objective.mix_color
    strong = recolored(setting.images("target"), profile, color, setting.draws("mask color"))
    view = masked(strong, 8, setting.draws("mask"))
    assert setting.run()["masked"] == pytest.approx(setting.loss(view, labels, weight), rel=1e-5)
    assert "masked" not in Setting().run()


class TokenNetwork(ToyNetwork):
    """Stands for a ViT: a masked patch of 8 pixels is black."""

    token_stride = 8

    def forward(self, images: torch.Tensor, token_mask: torch.Tensor | None = None) -> Any:
        if token_mask is not None:
            mask = token_mask.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
            images = images.masked_fill(mask[:, None], 0.0)
        return super().forward(images)


def test_tokens_are_masked_inside_the_network_in_the_masked_pass_alone() -> None:
    plain = Setting(mask_weight=1.0, mask_kind="tokens")
    with pytest.raises(ConfigError, match="needs a vision transformer"):
        plain.run()
    tokens = TokenNetwork().train()
    setting = Setting(mask_weight=1.0, mask_kind="tokens")
    setting.network = tokens
    setting.learner = replace(setting.learner, network=tokens)
    found = setting.run()
    labels, weight = setting.taught()
    chosen = [[own.uniform() < 0.7 for _ in range(16)] for own in setting.draws("mask")]
    mask = torch.tensor(chosen).reshape(2, 4, 4)
    assert 0.4 < mask.float().mean() < 0.95
    grown = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    view = setting.images("target").masked_fill(grown, 0.0)
    assert found["masked"] == pytest.approx(setting.loss(view, labels, weight), rel=1e-5)
    assert found["mixed"] == pytest.approx(Setting().run()["mixed"], rel=1e-5)


def test_the_mix_has_its_own_colors() -> None:
    assert Setting(mix_color={"contrast": 0.5}).run()["mixed"] != Setting().run()["mixed"]


def test_labels_and_weights_move_with_the_mixed_image() -> None:
    affine = Affine(degrees=20, translate=0.1)
    setting = Setting(mix_affine=affine, class_share=0.5)
    images, labels, weight = pasted(setting, "source", 0.5)
    grid = affine_grid((SIDE, SIDE), affine, setting.draws("mix affine"), CPU)
    expected = setting.loss(moved(images, grid, setting.network.profile), *moved_labels(labels, weight, grid))
    assert setting.run()["mixed"] == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(setting.loss(images, labels, weight), rel=1e-3)


@pytest.mark.parametrize("quality", ["batch", "image", "pixel"])
def test_the_quality_weighs_pseudo_labels(quality: str) -> None:
    unsure = Setting(quality=quality, class_share=0.0)
    unsure.teacher.network.main.weight.data.mul_(1e-3)
    sure = Setting(quality=quality, class_share=0.0)
    sure.teacher.network.main.weight.data.mul_(1e4)
    assert unsure.run()["mixed"] == 0.0
    assert sure.run()["mixed"] > 0.1


def test_the_mirrored_teacher_answers_with_the_mean_of_both() -> None:
    setting = Setting(class_share=0.0, mirrored=True)
    images = setting.images("target")
    both = [images, images.flip(-1)]
    with torch.no_grad():
        maps = [setting.network.upsample(setting.teacher.network(one).main, (SIDE, SIDE)) for one in both]
    probability = (torch.softmax(maps[0], dim=1) + torch.softmax(maps[1].flip(-1), dim=1)) / 2
    expected = setting.loss(images, probability.argmax(dim=1), probability.amax(dim=1) ** 2)
    assert setting.run()["mixed"] == pytest.approx(expected, rel=1e-5)
    assert Setting(class_share=0.0).run()["mixed"] != pytest.approx(expected, rel=1e-3)


def test_pseudo_labels_in_the_margins_do_not_count() -> None:
    setting = Setting(class_share=0.0)
    labels, weight = setting.taught()
    margins = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    margins[:, 20:] = True
    target = setting.batch["target"]
    setting.batch["target"] = replace(target, extras={"margins": margins})
    expected = setting.loss(setting.images("target"), labels, weight * ~margins)
    assert setting.run()["mixed"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["mean_teacher", "supervised"])
def test_the_mean_over_all_pixels_is_smaller_by_the_share_of_labelled_ones(method: str) -> None:
    def source(denominator: str, **changes: Any) -> float:
        parameters = toy_parameters(method, objective={"ce_denominator": denominator}, batch=4, **changes)
        learner = toy_learner(parameters, ToyNetwork().train(), seed=SEED)
        batch = {"source": toy_batch("source", 0, range(4), labelled=True)}
        return StepRunner(learner, CPU).run(STEP, batch).values["segmentation"].item()

    labels = toy_batch("source", 0, range(4), labelled=True).labels
    assert labels is not None
    share = (labels != 255).float().mean().item()
    assert share < 0.99
    assert source("all") == pytest.approx(source("valid") * share, rel=1e-5)
    assert source("all", accumulation=2) == pytest.approx(source("all"), rel=1e-5)


def test_the_teacher_gets_no_gradient_and_no_optimiser() -> None:
    setting = Setting(mask_weight=1.0)
    setting.run()
    assert all(tensor.grad is None for tensor in setting.teacher.parameters())
    assert not any(tensor.requires_grad for tensor in setting.teacher.parameters())
    assert all(t.grad is not None for t in setting.network.parameters() if t.requires_grad)


def test_the_teachers_weights_are_the_average_of_the_students() -> None:
    setting = Setting("train")
    teacher = Teacher(setting.network)
    expected = {name: value.double() for name, value in setting.network.state_dict().items()}
    for step in range(1, 5):
        with torch.no_grad():
            for tensor in setting.network.parameters():
                tensor.add_(0.1 * step)
        setting.network.norm.running_mean.add_(step)
        keep = min(1 - 1 / (step + 1), 0.6)
        for name, value in setting.network.state_dict().items():
            if "running" not in name:
                expected[name] = keep * expected[name] + (1 - keep) * value.double()
        teacher.follow(setting.network, 0.6)
    assert int(teacher.t) == 4
    for name, value in teacher.network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("mode", "moves"), [("train", True), ("frozen", False)])
def test_whose_statistics_the_teacher_uses(mode: str, moves: bool) -> None:
    setting = Setting(mode)
    before = setting.teacher.network.norm.running_mean.clone()
    setting.run()
    assert torch.equal(before, setting.teacher.network.norm.running_mean) is not moves


def test_dropout_is_off_in_the_teacher() -> None:
    network = ToyNetwork(dropout=0.9, batch_norm="train").train()
    teacher = Teacher(network).train()
    images = torch.rand(2, 3, SIDE, SIDE)
    assert teacher.network.norm.training and not teacher.network.dropout.training
    assert torch.equal(teacher.network(images).main, teacher.network(images).main)


class DropPath(torch.nn.Module):
    """Stands for timm's layer of that name."""


def test_stochastic_depth_is_off_in_the_teacher() -> None:
    network = ToyNetwork()
    network.path = DropPath()
    assert not Teacher(network).train().network.path.training and network.train().path.training


def test_cutting_a_step_changes_nothing() -> None:
    setting = Setting(batch=4, class_share=0.5, mask_weight=1.0, mask_block=8, mix_color={"contrast": 0.5})
    whole, cut = setting.run(), setting.run(accumulation=2)
    assert cut == pytest.approx(whole, rel=1e-5)


def test_labelled_target_images_are_learnt_and_pasted() -> None:
    setting = Setting(batch=4, labelled_weight=0.5)
    assert setting.learner.method.domains == ("source", "target", "labelled")
    both = setting.run()
    alone = {name: setting.loss(*pasted(setting, name, 0.5)) for name in ("source", "labelled")}
    assert setting.run("source", "target")["mixed"] == pytest.approx(alone["source"], rel=1e-5)
    assert setting.run("labelled", "target")["mixed"] == pytest.approx(alone["labelled"], rel=1e-5)
    assert both["mixed"] not in alone.values()
    assert both["segmentation_labelled"] > 0 and both["segmentation"] > 0


def test_draws_are_functions_of_seed_step_and_slot() -> None:
    def first(seed: int = SEED, step: int = STEP, slots: range = range(2)) -> list[float]:
        return [one.uniform() for one in Context(step, {}, {}, CLASSES, slots, seed).draws("mix")]

    assert first() == first() and first(slots=range(1, 2)) == first()[1:]
    assert len({*first(), *first(step=4), *first(seed=6)}) == 6


def test_an_absent_domain_takes_its_terms_with_it() -> None:
    assert set(Setting().run("source")) == {"segmentation"}
    assert set(Setting().run("target")) == {"mixed"}


def test_several_levels_weigh_as_in_the_supervised_term() -> None:
    setting = Setting(levels="multi", class_share=0.0)
    single = Setting(class_share=0.0)
    assert setting.run()["mixed"] > single.run()["mixed"]


def test_images_of_different_sizes_are_named() -> None:
    setting = Setting()
    source = setting.batch["source"]
    setting.batch["source"] = replace(source, images=source.images[..., :16], labels=source.labels[..., :16])
    with pytest.raises(DataError, match=r"source-0-0 has \(32, 16\).*target-0-0 \(32, 32\).*class_share: 0"):
        setting.run()


def test_a_classifier_learns_without_pasting_and_with_it_is_refused() -> None:
    spec = NetworkParameters(backbone="lenet", profile="unit")
    network = build_network(spec, 10, seed=0)
    parameters = toy_parameters("mean_teacher", objective=PLAIN | {"class_share": 0.0})
    method = build_method("mean_teacher", parameters.objective)
    learner = Learner(network, method.build_modules(network, 10), method, parameters, seed=0)
    images = torch.arange(2 * 3 * 28 * 28).remainder(251).to(torch.uint8).reshape(2, 3, 28, 28)
    batch = {
        "source": Batch(images, torch.tensor([[[3]], [[7]]], dtype=torch.uint8), ("a", "b")),
        "target": Batch(images.flip(0), None, ("c", "d")),
    }
    assert StepRunner(learner, CPU).run(0, batch).values["mixed"].item() > 0
    facts = Facts("here", None, spec, lambda name: ())  # type: ignore[arg-type]
    objective_fits(parameters, facts)
    with pytest.raises(ConfigError, match="positions of a feature grid"):
        objective_fits(toy_parameters("mean_teacher"), facts)


def test_a_block_without_squares_is_refused() -> None:
    with pytest.raises(ValidationError, match="mask_block: not used with `mask_kind: tokens`"):
        toy_parameters(
            "mean_teacher", objective={"mask_weight": 1.0, "mask_kind": "tokens", "mask_block": 32}
        )
    with pytest.raises(ValidationError, match="mask_block: not used with `mask_weight: 0`"):
        toy_parameters("mean_teacher", objective={"mask_block": 32})
