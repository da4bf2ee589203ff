"""Streamed self-attention against the dense form in float64."""

import pytest
import torch
from test_association import LargestTensor, dense_affinity, dense_softmax

from pipeline.artifacts.errors import ConfigError
from pipeline.numerics import streaming
from pipeline.numerics.aggregation import aggregate_cosine, aggregate_kl


def rows(count=23, channels=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, generator=generator, dtype=torch.float64)


def dense_cosine(features):
    return dense_softmax(features, features, "cos") @ features


def dense_kl(probability):
    return torch.softmax(dense_affinity(probability, probability, "kl"), dim=1) @ probability


@pytest.mark.parametrize("block", [1, 5 * 23, 22 * 23, 1 << 23])
@pytest.mark.parametrize(
    ("streamed", "dense", "values"),
    [(aggregate_cosine, dense_cosine, rows() + 0.2), (aggregate_kl, dense_kl, (2 * rows()).softmax(dim=1))],
    ids=["cos", "kl"],
)
def test_value_and_gradient_equal_the_dense_form(monkeypatch, streamed, dense, values, block):
    monkeypatch.setattr(streaming, "BLOCK", block)
    values = values.clone().requires_grad_()
    expected, found = dense(values), streamed(values)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    outer = rows(seed=1)
    torch.testing.assert_close(
        torch.autograd.grad(found, values, outer)[0],
        torch.autograd.grad(expected, values, outer)[0],
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize(
    ("streamed", "dense"), [(aggregate_cosine, dense_cosine), (aggregate_kl, dense_kl)], ids=["cos", "kl"]
)
def test_share_mixes_the_row_with_its_mean(streamed, dense):
    values = rows().softmax(dim=1).requires_grad_()
    expected = 0.7 * values + 0.3 * dense(values)
    found = streamed(values, 0.3)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    outer = rows(seed=1)
    torch.testing.assert_close(
        torch.autograd.grad(found, values, outer)[0],
        torch.autograd.grad(expected, values, outer)[0],
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(ValueError, match="share must lie in"):
        aggregate_kl(rows().softmax(dim=1), share)


def test_kl_aggregation_stays_a_distribution():
    probability = (5 * rows(40, 6)).softmax(dim=1).float()
    mixed = aggregate_kl(probability)
    assert (mixed >= 0).all()
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(40))


def test_equal_positions_stay_as_they_are():
    same = rows(1).repeat(9, 1).float().requires_grad_()
    mixed = aggregate_cosine(same)
    torch.testing.assert_close(mixed, same.detach())
    mixed.sum().backward()
    torch.testing.assert_close(same.grad, torch.ones(9, 5))


def test_two_groups_pull_towards_their_own():
    features = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4)
    mixed = aggregate_cosine(features)
    assert (mixed[:4, 0] > 0.5).all() and (mixed[4:, 0] < 0.5).all()


def test_cosine_of_one_position_is_refused_and_kl_returns_it():
    with pytest.raises(ConfigError, match="at least 2 positions"):
        aggregate_cosine(torch.rand(1, 4))
    one = torch.tensor([[0.3, 0.7]])
    torch.testing.assert_close(aggregate_kl(one), one)


def test_half_precision_and_autocast_are_computed_in_float32():
    features = rows(60, 64).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = aggregate_cosine(features)
    assert found.dtype == torch.float32
    assert torch.equal(found, aggregate_cosine(features.float()))


@pytest.mark.parametrize("streamed", [aggregate_cosine, aggregate_kl])
def test_memory_does_not_grow_with_the_square_of_the_grid(monkeypatch, streamed):
    monkeypatch.setattr(streaming, "BLOCK", 1 << 10)
    for count in (144, 576):
        values = rows(count, 8).softmax(dim=1).requires_grad_()
        with LargestTensor() as seen:
            streamed(values).sum().backward()
        assert seen.elements == count * 8
