"""Soft labels of a view against torch's up-sampling and LRENT's closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pipeline.data.packed_maps import pack_maps, unpack_maps
from pipeline.data.placement import Placement
from pipeline.data.records import RecordWriter
from pipeline.data.soft_labels import SoftLabels, at_points, has_soft_labels, save_soft_settings
from pipeline.numerics.confidence_regularisers import lrent_soft_labels
from pipeline.numerics.priors import enlarge_prior

SIZE = (18, 26)  # height, width
THRESHOLDS = np.array([0.9, 0.4, 0.7], np.float32)


def whole_view(size=SIZE, **values):
    height, width = size
    return Placement((width, height), (width, height), 0, 0, (width, height), **values)


@settings(deadline=None, max_examples=40)
@given(
    grid=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    align=st.booleans(),
)
def test_pixels_of_a_map_are_those_of_torchs_interpolate(grid, size, align):
    values = torch.from_numpy(
        np.random.default_rng([*grid, *size]).normal(size=(2, *grid)).astype(np.float32)
    )
    wanted = functional.interpolate(values[None], size, mode="bilinear", align_corners=align)[0]
    x, y, _ = whole_view(size).source_coordinates()
    np.testing.assert_allclose(at_points(values.numpy(), x, y, size, align), wanted, rtol=1e-4, atol=1e-5)


def test_packed_maps_come_back():
    maps = [np.random.default_rng(k).normal(size=(3, 2 + k, 4)) for k in range(2)]
    size, found = unpack_maps(pack_maps(maps, SIZE))
    assert size == SIZE and len(found) == 2
    for one, other in zip(maps, found, strict=True):
        assert other.dtype == np.float16 and (other == one.astype(np.float16)).all()


def test_values_beyond_half_precision_stay_finite():
    _, (found,) = unpack_maps(pack_maps([np.array([[[1e6]], [[-1e6]]])], (1, 1)))
    assert found.tolist() == [[[65504.0]], [[-65504.0]]]


def stored(tmp_path, maps, prior=None, alpha=0.25, single_pixel=False, align_corners=True):
    writer = RecordWriter(tmp_path / "labels", "logits", tmp_path / "state", ["a"])
    writer.write_shard(0, [pack_maps(maps, SIZE)])
    writer.finish()
    save_soft_settings(tmp_path / "labels", THRESHOLDS, alpha, align_corners, single_pixel, prior)
    return SoftLabels(tmp_path / "labels")


def some_maps(count=1):
    return [np.random.default_rng(k).normal(0, 2, (3, 5 + k, 7)).astype(np.float16) for k in range(count)]


def upsampled(maps):
    tensors = [torch.from_numpy(one).float()[None] for one in maps]
    return sum(functional.interpolate(t, SIZE, mode="bilinear", align_corners=True) for t in tensors) / len(
        maps
    )


def reference(scores, alpha):
    """LRENT's closed form without its rule: the label's distribution at every pixel."""
    sharpened = (scores.log() - torch.from_numpy(THRESHOLDS).log()[None, :, None, None]) / alpha
    return sharpened.softmax(1)[0].numpy()


@pytest.mark.parametrize("count", [1, 3])
def test_soft_labels_of_the_whole_image(tmp_path, count):
    maps = some_maps(count)
    soft = stored(tmp_path, maps)("a", whole_view())
    assert soft.dtype == np.float16
    np.testing.assert_allclose(soft, reference(upsampled(maps).softmax(1), 0.25), atol=2e-3)
    np.testing.assert_allclose(soft.astype(np.float32).sum(0), 1.0, atol=2e-3)
    full, kept = lrent_soft_labels(upsampled(maps).log_softmax(1), torch.from_numpy(THRESHOLDS), 0.25)
    chosen = kept[0].numpy()
    assert chosen.any() and not chosen.all()
    np.testing.assert_allclose(soft[:, chosen], full[0].numpy()[:, chosen], atol=2e-3)


def test_a_prior_multiplies_the_scores(tmp_path):
    prior = np.random.default_rng(9).uniform(0.1, 2.0, (3, 5, 7)).astype(np.float16)
    soft = stored(tmp_path, some_maps(), prior)("a", whole_view())
    scores = enlarge_prior(torch.from_numpy(prior), SIZE) * upsampled(some_maps()).softmax(1)
    np.testing.assert_allclose(soft, reference(scores, 0.25), atol=2e-3)


def test_a_class_of_prior_0_gets_nothing_and_a_pixel_without_prior_is_finite(tmp_path):
    prior = np.ones((3, 5, 7), np.float16)
    prior[1] = 0.0
    soft = stored(tmp_path, some_maps(), prior)("a", whole_view())
    assert (soft[1] == 0.0).all()
    (tmp_path / "none").mkdir()
    none = stored(tmp_path / "none", some_maps(), np.zeros((3, 5, 7), np.float16))("a", whole_view())
    assert np.isfinite(none).all()


def test_a_crop_and_a_mirror_image_are_parts_of_the_whole(tmp_path):
    soft = stored(tmp_path, some_maps())
    whole = soft("a", whole_view())
    height, width = SIZE
    crop = soft("a", Placement((width, height), (width, height), 4, 3, (10, 8)))
    assert (crop == whole[:, 3:11, 4:14]).all()
    assert (soft("a", whole_view(flip=True)) == whole[:, :, ::-1]).all()
    scaled = soft("a", Placement((width, height), (2 * width, 2 * height), 0, 0, (2 * width, 2 * height)))
    assert scaled.shape == (3, 2 * height, 2 * width)
    padded = soft("a", Placement((width, height), (width, height), 20, 10, (16, 16)))
    assert np.isfinite(padded).all() and (padded[:, :8, :6] == whole[:, 10:, 20:]).all()


def test_a_classifier_has_one_soft_label_whatever_the_view(tmp_path):
    maps = [np.array([1.0, 3.0, -1.0], np.float16).reshape(3, 1, 1)]
    soft = stored(tmp_path, maps, single_pixel=True)("a", Placement((26, 18), (52, 36), 3, 3, (20, 20)))
    assert soft.shape == (3, 1, 1)
    wanted = reference(torch.from_numpy(maps[0]).float()[None].softmax(1), 0.25)
    np.testing.assert_allclose(soft, wanted, atol=2e-3)


def test_a_folder_without_soft_labels_says_so(tmp_path):
    assert not has_soft_labels(tmp_path)
    stored(tmp_path, some_maps())
    assert has_soft_labels(tmp_path / "labels")
