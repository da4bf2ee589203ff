"""The best class of a pixel against a loop; ties go to the lowest class on every device there is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.numerics.winner import winner

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def slowly(scores):
    """The first class whose score no other exceeds, pixel by pixel."""
    classes, height, width = scores.shape
    return [
        [max(range(classes), key=lambda k: (float(scores[k, y, x]), -k)) for x in range(width)]
        for y in range(height)
    ]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        "float32",
        st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4)),
        elements=st.sampled_from([0.0, -0.0, 1.0, -2.0, float("inf"), float("-inf"), 1e-45]),
    )
)
def test_few_values_and_so_many_ties_against_a_loop(array):
    scores = torch.from_numpy(array.copy())
    best, label = winner(scores)
    assert label.tolist() == slowly(scores)
    assert label.dtype == torch.uint8
    assert torch.equal(best, scores.amax(dim=0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(19, 64, 130), (2, 1, 1), (255, 3, 5), (1, 4, 4)])
@pytest.mark.parametrize("first", [0, 1, -1])
def test_the_lowest_of_all_tying_classes_wins_in_every_place(device, shape, first):
    """Vector and scalar parts of a kernel must agree, so maps are longer than any vector."""
    first = first % shape[0]
    scores = torch.zeros(shape, device=device)
    scores[:first] = -1.0
    label = winner(scores)[1]
    assert bool((label == first).all())


@pytest.mark.parametrize("device", DEVICES)
def test_batches_and_any_strides(device):
    scores = torch.randint(0, 3, (5, 4, 6, 7), device=device).float()
    for values in (scores, scores.transpose(-1, -2), scores.permute(1, 0, 3, 2), scores[::2, :, 1:]):
        best, label = winner(values)
        assert torch.equal(best, values.amax(dim=-3))
        assert [slowly(image) for image in values] == label.tolist()


def test_a_nan_shows_in_the_best_score_and_leaves_a_class():
    scores = torch.tensor([1.0, float("nan"), 0.0]).view(3, 1, 1)
    best, label = winner(scores)
    assert best.isnan().all() and label.item() == 2


def test_nothing_waits_for_the_device():
    best, label = winner(torch.empty(2, 19, 8, 8, device="meta"))
    assert best.shape == label.shape == (2, 8, 8)
