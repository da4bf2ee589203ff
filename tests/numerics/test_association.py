"""Cycle association against a dense float64 form written straight from the definition."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.artifacts.errors import ConfigError
from pipeline.numerics import streaming
from pipeline.numerics.aggregation import aggregate_cosine, aggregate_kl
from pipeline.numerics.association import cycle_association, follow_cycles, pooled_mean

METRICS = ["cos", "kl"]


def dense_affinity(x, y, metric):
    if metric == "cos":
        x = x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)
        y = y / y.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return x @ y.T
    log_ratio = (x + 1e-10).log()[:, None, :] - (y + 1e-10).log()[None, :, :]
    return -(x[:, None, :] * log_ratio).sum(dim=2)


def dense_softmax(x, y, metric):
    affinity = dense_affinity(x, y, metric)
    mean = affinity.mean(dim=1, keepdim=True).detach()
    deviation = affinity.std(dim=1, keepdim=True).detach()
    return torch.softmax((affinity - mean) / (deviation + 1e-10), dim=1)


def dense_association(source, target, labels, metric):
    there = dense_softmax(source, target, metric)
    back = dense_softmax(target, source, metric)
    total, count, walks = source.sum() * 0, 0, []
    for i in range(len(source)):
        j = int(there[i].argmax())
        k = int(back[j].argmax())
        walks.append((j, k))
        if labels[i] != 255 and labels[k] == labels[i]:
            total = total - (there[i, j] * back[j, k]).log()
            count += 1
    return total, count, walks


def inputs(metric, sources=23, targets=17, channels=5, seed=0, classes=3):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(sources, channels, generator=generator, dtype=torch.float64)
    target = torch.randn(targets, channels, generator=generator, dtype=torch.float64) + 0.3
    if metric == "kl":
        source, target = source.softmax(dim=1), target.softmax(dim=1)
    labels = torch.randint(0, classes, (sources,), generator=generator)
    labels[::6] = 255
    return source.requires_grad_(), target.requires_grad_(), labels


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [1, 4 * 17, 22 * 17, 1 << 23])
def test_value_gradients_and_indices_equal_the_dense_form(monkeypatch, metric, block):
    monkeypatch.setattr(streaming, "BLOCK", block)
    source, target, labels = inputs(metric)
    total, count, walks = dense_association(source, target, labels, metric)
    assert 0 < count < (labels != 255).sum()
    expected = torch.autograd.grad(total / count, (source, target))
    loss = cycle_association(source, target, labels, metric)
    found = torch.autograd.grad(loss.sum / loss.count, (source, target))
    assert loss.count == count
    assert loss.sum.item() == pytest.approx(total.item(), rel=1e-12)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    cycles = follow_cycles(source, target, labels, metric)
    arrived = cycles.to_source[cycles.to_target]
    assert list(zip(cycles.to_target.tolist(), arrived.tolist(), strict=True)) == walks


@pytest.mark.parametrize("metric", METRICS)
def test_the_whole_chain_over_maps_equals_the_dense_form(monkeypatch, metric):
    """Maps (C, h, w) read as transposed rows, aggregation of the target, association: value and gradients."""
    monkeypatch.setattr(streaming, "BLOCK", 5 * 18)
    source, target, labels = (t.detach() for t in inputs(metric, 24, 18, 5))
    source = source.T.reshape(5, 4, 6).clone().requires_grad_()
    target = target.T.reshape(5, 3, 6).clone().requires_grad_()
    source_rows, target_rows = source.flatten(1).T, target.flatten(1).T
    if metric == "cos":
        mean = dense_softmax(target_rows, target_rows, "cos") @ target_rows
        mixed = aggregate_cosine(target_rows, 0.5)
    else:
        mean = torch.softmax(dense_affinity(target_rows, target_rows, "kl"), dim=1) @ target_rows
        mixed = aggregate_kl(target_rows, 0.5)
    total, count, _ = dense_association(source_rows, 0.5 * target_rows + 0.5 * mean, labels, metric)
    loss = cycle_association(source_rows, mixed, labels, metric)
    assert loss.count == count > 0
    assert loss.sum.item() == pytest.approx(total.item(), rel=1e-12)
    expected = torch.autograd.grad(total, (source, target))
    for one, other in zip(torch.autograd.grad(loss.sum, (source, target)), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_kl_way_back_is_no_transpose():
    source, target, labels = inputs("kl")
    there = dense_affinity(source, target, "kl")
    transposed = (there.T - there.T.mean(1, keepdim=True)) / there.T.std(1, keepdim=True)
    back = dense_softmax(target, source, "kl")
    cycles = follow_cycles(source, target, labels, "kl")
    torch.testing.assert_close(-cycles.cost_back, back.amax(dim=1).log())
    assert not torch.allclose(-cycles.cost_back, transposed.log_softmax(dim=1).amax(dim=1))


@pytest.mark.parametrize("metric", METRICS)
def test_all_labels_ignored_gives_a_differentiable_zero(metric):
    source, target, labels = inputs(metric)
    loss = cycle_association(source, target, torch.full_like(labels, 255), metric)
    mean = pooled_mean([loss])
    mean.backward()
    assert mean.shape == () and mean.item() == 0.0 and loss.count.item() == 0.0
    assert source.grad.abs().sum() == 0 and target.grad.abs().sum() == 0


def test_no_closed_cycle_gives_a_differentiable_zero():
    source = torch.eye(3, dtype=torch.float64, requires_grad=True)
    target = torch.eye(3, dtype=torch.float64)[[0, 0]].requires_grad_()  # every way back ends at pixel 0
    loss = cycle_association(source, target, torch.tensor([255, 1, 2]), "cos")
    pooled_mean([loss]).backward()
    assert loss.count == 0 and loss.sum.item() == 0.0
    assert torch.equal(source.grad, torch.zeros(3, 3, dtype=torch.float64))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_rows_are_uniform_take_the_lowest_index_and_have_no_gradient(metric, dtype):
    source, target, labels = (t.detach() for t in inputs(metric))
    target = target[:1].repeat(4000, 1).to(dtype).requires_grad_()
    source = source.to(dtype).requires_grad_()
    cycles = follow_cycles(source, target, labels, metric)
    assert torch.equal(cycles.to_target, torch.zeros_like(cycles.to_target))
    torch.testing.assert_close(cycles.cost_there, torch.full_like(cycles.cost_there, math.log(4000)))
    cycles.cost_there.sum().backward()
    assert source.grad.abs().max() == 0 and target.grad.abs().max() == 0


def test_a_dead_feature_vector_keeps_the_gradient_finite():
    source, target, labels = inputs("cos")
    source = source.detach().clone()
    source[1] = 0.0
    source.requires_grad_()
    cycle_association(source, target, labels, "cos").sum.backward()
    assert torch.isfinite(source.grad).all() and source.grad.abs().max() < 1e3
    assert torch.isfinite(target.grad).all() and target.grad.abs().max() < 1e3


@pytest.mark.parametrize("block", [1, 2 * 6, 5 * 6, 1 << 23])
def test_ties_take_the_lowest_index(monkeypatch, block):
    monkeypatch.setattr(streaming, "BLOCK", block)
    source = torch.eye(3, dtype=torch.float64).repeat(2, 1)
    target = torch.eye(3, dtype=torch.float64)[[2, 1, 0, 1, 2, 0]]
    cycles = follow_cycles(source, target, torch.tensor([0, 1, 2, 0, 1, 2]), "cos")
    assert cycles.to_target.tolist() == [2, 1, 0, 2, 1, 0]
    assert cycles.to_source[cycles.to_target].tolist() == [0, 1, 2, 0, 1, 2]
    assert cycles.closed.all()


def test_hand_computed_pair():
    """Two orthogonal pixels on both sides: each row is (1, 0) or (0, 1), z = +-1/sqrt(2)."""
    features = torch.eye(2, dtype=torch.float64)
    loss = cycle_association(features, features, torch.tensor([0, 1]), "cos")
    step = math.log(1 + math.exp(-math.sqrt(2)))
    assert loss.count == 2 and loss.sum.item() == pytest.approx(4 * step, rel=1e-9)


@pytest.mark.parametrize("sizes", [(1, 4, "source"), (4, 1, "target")])
def test_a_single_position_is_refused(sizes):
    with pytest.raises(ConfigError, match=f"2 positions on the {sizes[2]} grid"):
        cycle_association(torch.rand(sizes[0], 3), torch.rand(sizes[1], 3), torch.zeros(sizes[0]), "cos")


def test_bad_arguments_are_refused():
    x = torch.rand(4, 3)
    with pytest.raises(ValueError, match=r"source_labels must be \(4,\)"):
        cycle_association(x, x, torch.zeros(5), "cos")
    with pytest.raises(ValueError, match="metric must be"):
        cycle_association(x, x, torch.zeros(4), "dot")


def test_pooling_divides_by_the_pooled_count():
    pairs = [inputs("cos", seed=seed) for seed in range(3)]
    dense = [dense_association(*pair, "cos") for pair in pairs]
    expected = sum(total for total, _, _ in dense) / sum(count for _, count, _ in dense)
    found = pooled_mean([cycle_association(*pair, "cos") for pair in pairs])
    assert len({count for _, count, _ in dense}) > 1
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_autocast_and_reduced_precision_change_nothing():
    source, target, labels = (t.detach() for t in inputs("cos", 60, 50, 64))
    source, target = source.float().requires_grad_(), target.float().requires_grad_()
    plain = cycle_association(source, target, labels, "cos")
    expected = torch.autograd.grad(plain.sum, (source, target))
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = cycle_association(source, target, labels, "cos")
            found = torch.autograd.grad(cast.sum, (source, target))
        # torch before 2.9 is asked and set by `allow_tf32`, which means "high" as well.
        kept = "medium" if hasattr(torch.backends.cuda.matmul, "fp32_precision") else "high"
        assert torch.get_float32_matmul_precision() == kept
    finally:
        torch.set_float32_matmul_precision("highest")
    assert cast.sum.dtype == torch.float32 and torch.equal(cast.sum, plain.sum)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_half_precision_inputs_are_computed_in_float32():
    source, target, labels = (t.detach() for t in inputs("cos", 60, 50, 64))
    source, target = source.bfloat16(), target.bfloat16()
    half = cycle_association(source, target, labels, "cos")
    full = cycle_association(source.float(), target.float(), labels, "cos")
    assert half.sum.dtype == torch.float32 and torch.equal(half.sum, full.sum)


class LargestTensor(TorchDispatchMode):
    """Remembers the storage size of the largest tensor that any operator returns, in elements."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


def largest_of_a_pair(side, metric, association):
    positions = side * side
    source, target, labels = (t.detach() for t in inputs(metric, positions, positions, 8))
    source, target = source.requires_grad_(), target.requires_grad_()
    # The backward pass runs on this thread on the CPU, so the mode sees it too.
    with LargestTensor() as seen:
        association(source, target, labels, metric).backward()
    return seen.elements


@pytest.mark.parametrize("metric", METRICS)
def test_memory_does_not_grow_with_the_square_of_the_grid(monkeypatch, metric):
    monkeypatch.setattr(streaming, "BLOCK", 1 << 10)

    def streamed(source, target, labels, metric):
        return cycle_association(source, target, labels, metric).sum

    def dense(source, target, labels, metric):
        return dense_softmax(source, target, metric).sum()

    for side in (12, 24):
        assert largest_of_a_pair(side, metric, streamed) == side * side * 8  # the features themselves
        assert largest_of_a_pair(side, metric, dense) >= side**4


def test_random_features_have_the_known_size_of_loss():
    """A contrast-normalised random row of N entries has its peak at about 1/N e^(sqrt(2 ln N) - 1/2)."""
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(900, 64, generator=generator) for _ in range(2))
    loss = pooled_mean([cycle_association(source, target, torch.zeros(900, dtype=torch.long), "cos")])
    expected = 2 * (math.log(900) + 0.5 - math.sqrt(2 * math.log(900)))
    assert 0.8 * expected < loss.item() < 1.2 * expected
    assert loss.item() < math.log(900 * 900)
