"""Up-sampling by matrix products against torch's own interpolation in float64, values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from pipeline.numerics.streaming import slices
from pipeline.numerics.upsampling import CACHED, Enlarged, row_strips, upsample

SHAPES = [
    ((5, 7), (13, 29)),
    ((1, 1), (4, 3)),
    ((3, 4), (1, 1)),
    ((8, 9), (5, 6)),
    ((6, 6), (6, 12)),
    ((6, 6), (12, 6)),
    ((2, 3), (2, 3)),
]
BOTH = pytest.mark.parametrize("align_corners", [True, False])


def maps(shape=(2, 3, 5, 7), dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def interpolated(values, size, align_corners):
    return F.interpolate(values, size, mode="bilinear", align_corners=align_corners)


@BOTH
@pytest.mark.parametrize(("grid", "size"), SHAPES)
def test_value_and_gradient_are_those_of_torch(grid, size, align_corners):
    values = maps((2, 3, *grid)).requires_grad_()
    found, expected = upsample(values, size, align_corners), interpolated(values, size, align_corners)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    incoming = maps(expected.shape, seed=1)
    pulled, wanted = (torch.autograd.grad(one, values, incoming)[0] for one in (found, expected))
    torch.testing.assert_close(pulled, wanted, rtol=1e-13, atol=1e-13)


@BOTH
def test_float32_at_a_real_size_is_right_to_rounding(align_corners):
    values, size = maps((1, 2, 90, 160), torch.float32), (720, 1280)
    exact = interpolated(values.double(), size, align_corners)
    assert (upsample(values, size, align_corners).double() - exact).abs().max() < 1e-6


@BOTH
@pytest.mark.parametrize(("grid", "size"), SHAPES)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_rows_on_demand_are_rows_of_the_whole_and_pull_is_the_adjoint(grid, size, align_corners, step):
    values = maps((2, 3, *grid))
    enlarged = Enlarged(values, size, align_corners)
    whole = upsample(values, size, align_corners)
    cuts = list(slices(size[0], step))
    for rows in cuts:
        torch.testing.assert_close(enlarged.rows(rows), whole[..., rows, :], rtol=1e-13, atol=1e-13)
    incoming = maps(whole.shape, seed=1)
    pulled = enlarged.pull((rows, incoming[..., rows, :]) for rows in cuts)
    needed = values.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(upsample(needed, size, align_corners), needed, incoming)
    torch.testing.assert_close(pulled, wanted, rtol=1e-13, atol=1e-13)


def test_rows_may_be_changed_in_place():
    values = maps()
    enlarged = Enlarged(values, (5, 7), True)
    enlarged.rows(slice(0, 5)).zero_()
    assert torch.equal(enlarged.rows(slice(0, 5)), values)


def test_hand_computed_line():
    line = torch.tensor([0.0, 3.0]).view(1, 1, 1, 2)
    assert upsample(line, (1, 4), True).flatten().tolist() == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert upsample(line, (1, 4), False).flatten().tolist() == pytest.approx([0.0, 0.75, 2.25, 3.0])


def test_strips_cover_the_rows_and_hold_what_suits_the_processor():
    strips = list(row_strips(720, 19 * 1280, torch.device("cpu")))
    assert [row for rows in strips for row in range(rows.start, rows.stop)] == list(range(720))
    assert max((rows.stop - rows.start) * 19 * 1280 for rows in strips) <= CACHED
    assert len(list(row_strips(720, 19 * 1280, torch.device("meta")))) == 1
    assert list(row_strips(2, 10**9, torch.device("cpu"))) == [slice(0, 1), slice(1, 2)]


def test_half_precision_and_autocast_are_computed_in_float32():
    values = maps(dtype=torch.float32)
    expected = upsample(values.bfloat16().float(), (13, 29), True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = upsample(values.bfloat16(), (13, 29), True)
        rows = Enlarged(values.bfloat16(), (13, 29), True).rows(slice(0, 13))
    assert found.dtype == rows.dtype == torch.float32
    assert torch.equal(found, expected)
    torch.testing.assert_close(rows, expected)


def test_a_traced_call_leaves_nothing_for_a_real_one():
    """Weights are kept from call to call; those of a tracer's tensors hold no numbers."""
    with FakeTensorMode():
        assert upsample(torch.empty(1, 2, 5, 7), (31, 37), True).shape == (1, 2, 31, 37)
    values = maps((1, 2, 5, 7), torch.float32)
    torch.testing.assert_close(upsample(values, (31, 37), True), interpolated(values, (31, 37), True))


def test_weights_first_made_by_a_pass_serve_training():
    with torch.inference_mode():
        upsample(maps((1, 1, 3, 3)), (8, 11), False)
    values = maps((1, 1, 3, 3)).requires_grad_()
    upsample(values, (8, 11), False).sum().backward()
    assert values.grad.sum().item() == pytest.approx(88)
