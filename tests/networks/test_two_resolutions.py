"""Two resolutions: where details count, which windows, the loss of both, and what is refused."""

from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from pipeline.artifacts.errors import ConfigError
from pipeline.methods.base import Context
from pipeline.methods.losses import segmentation_term
from pipeline.methods.teacher import Teacher
from pipeline.networks.build import construct
from pipeline.networks.encoder import Channels, Encoder, Features
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.two_resolutions import TwoResolutions
from pipeline.numerics.randomness import seeded_weights
from pipeline.numerics.upsampling import upsample
from pipeline.stages.requirements import Facts, objective_fits
from pipeline.training.parameters import TrainParameters

CLASSES = 5
PARAMETERS = NetworkParameters(
    backbone="timm/pvt_v2_b0",
    output_stride=32,
    head="daformer",
    resolutions="two",
    dilations=(1, 2),
    batch_norm="train",
    align_corners=False,
)
IMAGES = torch.randn(2, 3, 64, 128, generator=torch.Generator().manual_seed(0))


class Levels(Encoder):
    """Four convolutions: strides 4, 8, 16, 32."""

    def __init__(self):
        super().__init__()
        counts = (3, 4, 6, 8, 10)
        self.channels = Channels(4, 8, 10, counts[1:])
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 4 if place == 0 else 2, 4 if place == 0 else 2)
            for place, (before, after) in enumerate(pairwise(counts))
        )

    def forward(self, images):
        levels = []
        for layer in self.layers:
            images = torch.tanh(layer(images))
            levels.append(images)
        return Features(levels[0], levels[-2], levels[-1], tuple(levels))


def network(attention=None):
    """In evaluation mode; `attention`: the logit of the share of details, everywhere."""
    with seeded_weights(0):
        made = TwoResolutions(PARAMETERS, CLASSES, Levels(), 4).eval()
    if attention is not None:
        nn.init.zeros_(made.attention.classifier.weight)
        nn.init.constant_(made.attention.classifier.bias, attention)
    return made


def in_training(made):
    """Training mode for the choice of details, running statistics for comparisons."""
    made.training = True
    return made


def answer(made, images):
    return made._answer(made.backbone(images))


def test_without_attention_the_context_answers_alone():
    made = network(attention=-100.0)
    context = answer(made, F.interpolate(IMAGES, scale_factor=0.5, mode="bilinear"))
    torch.testing.assert_close(made(IMAGES).main, upsample(context, (16, 32), False))


def test_with_full_attention_nine_windows_answer():
    made = network(attention=100.0)
    total, count = torch.zeros(2, CLASSES, 16, 32), torch.zeros(16, 32)
    for top, left in product((0, 16, 32), (0, 32, 64)):
        logits = answer(made, IMAGES[..., top : top + 32, left : left + 64])
        rows, columns = slice(top // 4, top // 4 + 8), slice(left // 4, left // 4 + 16)
        total[..., rows, columns] += logits
        count[rows, columns] += 1
    torch.testing.assert_close(made(IMAGES).main, total / count)


def test_in_training_details_count_inside_one_window_alone():
    made = in_training(network(attention=100.0))
    torch.manual_seed(3)
    output = made(IMAGES)
    rows, columns = output.detail.rows, output.detail.columns
    assert (rows.stop - rows.start, columns.stop - columns.start) == (32, 64)
    torch.testing.assert_close(output.detail.logits, answer(made, IMAGES[..., rows, columns]))
    context = answer(made, F.interpolate(IMAGES, scale_factor=0.5, mode="bilinear"))
    canvas = upsample(context, (16, 32), False)
    inside = (
        slice(rows.start // 4 + 1, rows.stop // 4 - 1),
        slice(columns.start // 4 + 1, columns.stop // 4 - 1),
    )
    torch.testing.assert_close(output.main[..., inside[0], inside[1]], output.detail.logits[..., 1:-1, 1:-1])
    outside = torch.ones(16, 32, dtype=torch.bool)
    outside[
        rows.start // 4 - 1 if rows.start else 0 : rows.stop // 4 + 1,
        max(0, columns.start // 4 - 1) : columns.stop // 4 + 1,
    ] = False
    assert outside.any()
    torch.testing.assert_close(output.main[..., outside], canvas[..., outside])


def test_windows_are_drawn_at_cells_and_again_by_the_seed():
    made = in_training(network())
    found = []
    for seed in (*range(12), 0):
        torch.manual_seed(seed)
        detail = made(IMAGES).detail
        found.append((detail.rows.start, detail.columns.start))
    assert found[-1] == found[0] and len(set(found)) > 4
    assert all(row in range(0, 33, 8) and column in range(0, 65, 8) for row, column in found)


def test_a_teacher_sees_all_details_in_training_too():
    teacher = Teacher(network()).train()
    assert teacher.network.training and teacher.network(IMAGES).detail is None
    assert network().train()(IMAGES).detail is not None


def test_the_loss_is_nine_to_one_of_the_fused_and_the_detail():
    made = in_training(network())
    labels = torch.randint(0, CLASSES, (2, 64, 128), generator=torch.Generator().manual_seed(1))
    labels[:, :10] = 255
    output = made(IMAGES)
    context = Context(0, {"source": (labels != 255).sum().float()}, {"source": 1.0}, CLASSES)
    whole = F.cross_entropy(upsample(output.main, (64, 128), False), labels, ignore_index=255)
    own = labels[:, output.detail.rows, output.detail.columns]
    logits = upsample(output.detail.logits, (32, 64), False)
    detail = F.cross_entropy(logits, own, ignore_index=255, reduction="sum") / own.numel()
    found = segmentation_term(made, output, labels, context)
    assert found.value.item() == pytest.approx(0.9 * whole.item() + 0.1 * detail.item(), rel=1e-5)


def test_any_size_is_enlarged_to_whole_cells_and_one_map_is_no_answer():
    made = network()
    assert made(IMAGES[..., :50, :70]).main.shape == (2, CLASSES, 16, 32)
    assert torch.equal(made.last_map(IMAGES), made(IMAGES).feature)
    with pytest.raises(NotImplementedError, match="two resolutions"):
        made.classify(made.last_map(IMAGES))
    assert {
        role: made.belongs_to_head(f"{role}.fuse.0.weight") for role in ("main", "attention", "backbone")
    } == {
        "main": True,
        "attention": True,
        "backbone": False,
    }


@pytest.mark.parametrize(
    ("crop", "message"), [(None, "found none"), ((1024, 1000), "found 1024x1000"), ((1024, 512), None)]
)
def test_crops_are_whole_cells(crop, message):
    view = {} if crop is None else {"augmentation": {"source": {"crop": crop}}}
    parameters = TrainParameters.model_validate({"method": "supervised", "steps": 1, "snapshots": 1} | view)
    facts = Facts("here", None, PARAMETERS, lambda name: ())
    if message is None:
        objective_fits(parameters, facts)
    else:
        with pytest.raises(ConfigError, match=message):
            objective_fits(parameters, facts)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"head": "aspp"}, ValidationError, "needs head: daformer"),
        ({"levels": "multi"}, ValidationError, "levels: single"),
        ({"backbone": "timm/vit_tiny_patch16_224", "output_stride": 16}, ConfigError, "has one grid"),
    ],
)
def test_networks_that_have_no_two_resolutions_are_refused(change, error, message):
    given = PARAMETERS.model_dump(exclude_unset=True) | change
    with pytest.raises(error, match=message), torch.device("meta"):
        construct(NetworkParameters.model_validate(given), CLASSES)
