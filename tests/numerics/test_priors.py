"""Spatial priors against a direct sum, and at the edges."""

import numpy as np
import pytest
import torch

from pipeline.numerics.priors import count_label, enlarge_prior, shrink_prior, spatial_prior


def counts_of(labels: list[np.ndarray], num_classes: int) -> np.ndarray:
    counts = np.zeros((num_classes, *labels[0].shape), dtype=np.int32)
    for label in labels:
        count_label(counts, label)
    return counts


RNG = np.random.default_rng(1)
LABELS = [RNG.choice(np.array([0, 1, 2, 255], dtype=np.uint8), size=(6, 9)) for _ in range(5)]


def test_counts_against_a_loop() -> None:
    counts = counts_of(LABELS, 3)
    for c in range(3):
        assert np.array_equal(counts[c], sum((label == c).astype(np.int32) for label in LABELS))


def test_parts_add_up() -> None:
    assert np.array_equal(counts_of(LABELS, 3), counts_of(LABELS[:2], 3) + counts_of(LABELS[2:], 3))


def test_label_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        count_label(np.zeros((2, 3, 4), np.int32), np.zeros((4, 3), np.uint8))


def slow_smooth(plane: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """Gaussian by direct summation over a picture continued by reflection (edge pixel repeated)."""
    padded = np.pad(plane.astype(np.float64), radius, mode="symmetric")
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    window = np.outer(kernel, kernel) / kernel.sum() ** 2
    out = np.zeros(plane.shape)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            out[y, x] = (padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1] * window).sum()
    return out


def test_smoothing_against_direct_summation() -> None:
    counts = counts_of(LABELS, 3)
    prior = spatial_prior(counts, 5, sigma=1.5, truncate=3)
    for c in range(3):
        smooth = slow_smooth(counts[c] / 5, 1.5, 3)
        np.testing.assert_allclose(prior[c], smooth / smooth.mean(), rtol=1e-5, atol=1e-7)


def test_the_mean_of_every_class_is_one() -> None:
    prior = spatial_prior(counts_of(LABELS, 3), 5, 1.5, 3)
    np.testing.assert_allclose(prior.mean(axis=(1, 2)), 1.0, rtol=1e-5)
    assert prior.dtype == np.float32 and prior.min() >= 0.0


def test_class_absent_from_the_source_is_zero_and_finite() -> None:
    prior = spatial_prior(counts_of(LABELS, 4), 5, 1.0, 2)
    assert np.array_equal(prior[3], np.zeros((6, 9), np.float32))
    assert np.isfinite(prior).all()


def test_all_ignored_labels_give_zero() -> None:
    counts = counts_of([np.full((4, 4), 255, np.uint8)], 2)
    assert not spatial_prior(counts, 1, 1.0, 2).any()


def test_one_image_of_one_pixel() -> None:
    prior = spatial_prior(counts_of([np.zeros((1, 1), np.uint8)], 2), 1)
    assert prior.tolist() == [[[1.0]], [[0.0]]]
    assert enlarge_prior(shrink_prior(prior), (1, 1)).tolist() == [[[1.0]], [[0.0]]]


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        spatial_prior(np.zeros((2, 2, 2), np.int32), 0)


def test_storage_is_a_quarter_in_float16_and_comes_back_close() -> None:
    y, x = np.mgrid[0:32, 0:64]
    smooth = np.stack([1 + 0.5 * np.sin(y / 9), 1 + 0.5 * np.cos(x / 13)]).astype(np.float32)
    stored = shrink_prior(smooth)
    assert stored.dtype == torch.float16 and stored.shape == (2, 8, 16)
    back = enlarge_prior(stored, (32, 64))
    assert back.dtype == torch.float32
    error = np.abs(back.numpy() - smooth)
    assert error[:, 2:-2, 2:-2].max() < 0.02
    assert error.max() < 0.1, "within half a cell of the border the value of the outer cell is kept"


def test_storage_of_sizes_that_four_does_not_divide() -> None:
    assert shrink_prior(np.ones((1, 5, 9), np.float32)).shape == (1, 2, 3)
    back = enlarge_prior(shrink_prior(np.ones((1, 5, 9), np.float32)), (5, 9))
    torch.testing.assert_close(back, torch.ones(1, 5, 9))


def test_values_beyond_float16_are_an_error() -> None:
    with pytest.raises(ValueError, match="float16"):
        shrink_prior(np.full((1, 4, 4), 1e6, np.float32))
