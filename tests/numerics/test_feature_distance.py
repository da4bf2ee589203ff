"""Distances of features: by hand, without any cell, and their gradients."""

import pytest
import torch

from pipeline.numerics.feature_distance import cosine_distance, masked_distance, thing_mask


def test_a_cell_shows_a_thing_that_has_three_quarters_of_it():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, :4, :4] = 2
    labels[:, 0, :4] = 255  # 12 of 16 pixels stay
    labels[:, :4, 4:] = 2
    labels[:, 0, 4:7], labels[:, 1, 4:6] = 255, 3  # 11 of 16
    labels[:, 4:, 4:6], labels[:, 4:, 6:] = 2, 3  # half and half: two things are not one
    labels[:, 4:, :4] = 1
    assert thing_mask(labels, [2, 3], (2, 2)).tolist() == [[[True, False], [False, False]]]
    assert thing_mask(labels, [1], (2, 2)).tolist() == [[[False, False], [True, False]]]


def test_the_distance_is_the_mean_length_over_the_mask():
    features = torch.zeros(1, 2, 1, 3)
    features[0, :, 0] = torch.tensor([[3.0, 0.0, 5.0], [4.0, 1.0, 12.0]])
    frozen = torch.zeros_like(features)
    mask = torch.tensor([[[True, True, False]]])
    assert masked_distance(features, frozen, mask).item() == pytest.approx((5 + 1) / 2)


def test_an_empty_mask_and_equal_features_give_nought_and_no_gradient():
    features = torch.randn(1, 4, 2, 2, requires_grad=True)
    for frozen, mask in (
        (torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool)),
        (features.detach().clone(), torch.ones(1, 2, 2, dtype=torch.bool)),
    ):
        value = masked_distance(features, frozen, mask)
        (gradient,) = torch.autograd.grad(value, features)
        assert value.item() == 0.0
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_angle_and_smooth_l1_are_nine_to_one():
    features, frozen = torch.tensor([[3.0, 0.0]]).reshape(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    frozen[0, 1] = 2.0  # at a right angle; smooth L1: 3 - 0.5 and 2 - 0.5
    expected = 0.9 * 1.0 + 0.1 * (2.5 + 1.5) / 2
    assert cosine_distance(features, frozen).item() == pytest.approx(expected)
    assert cosine_distance(features, features).item() == pytest.approx(0.0, abs=1e-6)
