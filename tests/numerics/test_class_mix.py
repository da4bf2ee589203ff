"""ClassMix against a slow version: half of the classes of each image, rounded up, never ignored pixels."""

import math

import pytest
import torch

from pipeline.numerics.class_mix import class_mask, mixed

CLASSES = 6


def example(seed, images=3):
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (images, 9, 7), generator=random)
    labels[:, :2] = 255
    labels[0][labels[0] < 4] = 1
    orders = torch.stack([torch.randperm(CLASSES, generator=random) for _ in range(images)])
    return labels, orders


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_first_present_classes_are_pasted(share):
    for seed in range(5):
        labels, orders = example(seed)
        found = class_mask(labels, orders, share)
        for label, order, mask in zip(labels, orders, found, strict=True):
            present = [index for index in order.tolist() if (label == index).any()]
            chosen = present[: math.ceil(len(present) * share)]
            expected = torch.tensor([[value in chosen for value in row] for row in label.tolist()])
            assert torch.equal(mask, expected)


def test_an_image_of_ignored_pixels_pastes_nothing():
    labels, orders = example(0)
    labels[1] = 255
    assert not class_mask(labels, orders, 1.0)[1].any()


def test_an_image_mixes_alike_whatever_it_is_mixed_beside():
    labels, orders = example(3)
    together = class_mask(labels, orders, 0.5)
    alone = torch.cat([class_mask(labels[i : i + 1], orders[i : i + 1], 0.5) for i in range(len(labels))])
    assert torch.equal(together, alone)


def test_maps_and_images_are_taken_where_the_mask_says():
    mask = torch.tensor([[[True, False]]])
    assert mixed(mask, torch.tensor([[[1, 1]]]), torch.tensor([[[2, 2]]])).tolist() == [[[1, 2]]]
    image = mixed(mask, torch.ones(1, 3, 1, 2), torch.zeros(1, 3, 1, 2))
    assert image[0, :, 0].tolist() == [[1.0, 0.0]] * 3
