"""Masked means per class, and labels on the grid by floor indexing."""

import pytest
import torch

from pipeline.numerics.class_vectors import class_vectors
from pipeline.numerics.label_grid import labels_on_grid


def test_labels_on_grid_use_floor_indexing():
    labels = torch.arange(35).reshape(1, 5, 7)
    found = labels_on_grid(labels, (2, 3))
    assert found.tolist() == [[[0, 2, 4], [14, 16, 18]]]  # rows 0, 2; columns 0, 2, 4
    upsampled = labels_on_grid(labels[:, :1, :2], (1, 4))
    assert upsampled.tolist() == [[[0, 0, 1, 1]]]
    assert torch.equal(labels_on_grid(labels, (5, 7)), labels)


def test_labels_on_grid_agree_with_nearest_interpolation():
    labels = torch.randint(0, 20, (2, 73, 146), generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(labels[:, None].float(), (10, 19), mode="nearest")[:, 0].long()
    assert torch.equal(labels_on_grid(labels, (10, 19)), expected)


def slow_vectors(maps, labels, num_classes):
    rows = []
    for b in range(len(maps)):
        for c in range(num_classes):
            cells = [
                maps[b, :, i, j]
                for i in range(maps.shape[2])
                for j in range(maps.shape[3])
                if labels[b, i * labels.shape[1] // maps.shape[2], j * labels.shape[2] // maps.shape[3]] == c
            ]
            if cells:
                rows.append((b, c, torch.stack(cells).mean(dim=0)))
    return rows


def test_equals_the_slow_version_and_differentiates():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (2, 9, 11), generator=generator)
    labels[:, ::2, ::3] = 255
    expected = slow_vectors(maps, labels, 5)
    found = class_vectors(maps, labels, 5)
    assert found.present.nonzero().tolist() == [[b, c] for b, c, _ in expected]
    vectors = torch.stack([vector for _, _, vector in expected])
    torch.testing.assert_close(found.vectors[found.present], vectors)
    outer = torch.randn(vectors.shape, generator=generator, dtype=torch.float64)
    whole = torch.full_like(found.vectors, 7.0)
    whole[found.present] = outer
    torch.testing.assert_close(
        torch.autograd.grad(found.vectors, maps, whole)[0], torch.autograd.grad(vectors, maps, outer)[0]
    )
    assert not found.present[:, 4].any()


def test_an_absent_class_has_no_vector_and_ignored_pixels_do_not_count():
    maps = torch.tensor([[[[1.0, 3.0, 100.0]]]])
    found = class_vectors(maps, torch.tensor([[[1, 1, 255]]]), 3)
    assert found.present.tolist() == [[False, True, False]]
    assert found.vectors.tolist() == [[[0.0], [2.0], [0.0]]]


def test_nothing_labelled_gives_no_vector_but_a_graph():
    maps = torch.rand(1, 4, 2, 2, requires_grad=True)
    found = class_vectors(maps, torch.full((1, 2, 2), 255), 3)
    found.vectors.sum().backward()
    assert found.vectors.shape == (1, 3, 4) and not found.present.any()
    assert maps.grad.abs().sum() == 0


def test_half_precision_is_averaged_in_float32():
    maps = torch.full((1, 1, 64, 64), 1.0, dtype=torch.bfloat16)
    maps[0, 0, 0, 0] = 2.0
    found = class_vectors(maps, torch.zeros(1, 64, 64, dtype=torch.long), 1)
    assert found.vectors.dtype == torch.float32
    assert found.vectors.item() == pytest.approx(1 + 1 / 4096, rel=1e-6)
