"""Crops that are drawn again until what they show is wanted."""

import numpy as np
import pytest
from test_loading import FakeCache

from pipeline.artifacts.errors import DataError
from pipeline.data.augmentation import augment
from pipeline.data.domain import Domain
from pipeline.data.loading import StepDataset
from pipeline.data.parameters import Augmentation, RareCrops, RareSampling
from pipeline.data.sampler import SampleOrder

SIDE, RARE = 64, 9


def scene():
    """A picture, and its label: 0 on the left, 1 on the right, and a square of a rare class in a corner."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[:, SIDE // 2 :] = 1
    label[-14:, :14] = RARE
    return np.repeat(label[..., None], 3, axis=2), label


def crops(count=300, rare=(), **changes):
    """Labels of crops of 24x24, one for each key."""
    parameters = Augmentation(crop=(24, 24), **changes)
    return [augment(*scene(), [number], parameters, rare).label for number in range(count)]


def share_that_shows(labels):
    return np.mean([(label == RARE).mean() > 0.1 for label in labels])


def test_a_crop_that_does_not_show_its_class_is_drawn_again_ten_times():
    once = share_that_shows(crops(2000))
    rule = RareSampling(crop_share=0.1)
    assert share_that_shows(crops(rare=(RARE,), rare_sampling=rule)) == pytest.approx(
        1 - (1 - once) ** 10, abs=0.08
    )
    assert 0.02 < once < 0.1
    # A slot that looks for no class takes its first crop.
    assert share_that_shows(crops(2000, rare_sampling=rule)) == once


def test_a_crop_of_one_class_is_drawn_again():
    def one_sided(labels):
        return np.mean([np.bincount(label.ravel()).max() >= 0.75 * label.size for label in labels])

    once = one_sided(crops())
    assert once > 0.6
    assert one_sided(crops(max_class_share=0.75)) == pytest.approx(once**10, abs=0.05)


def test_both_rules_hold_together():
    """On a picture whose rare class is found at the border of the others only."""
    image, label = scene()
    label[:, 28:36] = RARE
    parameters = Augmentation(
        crop=(24, 24), max_class_share=0.5, rare_sampling=RareSampling(crop_share=0.3), flip=0.5
    )
    found = [augment(image, label, [number], parameters, (RARE,)).label for number in range(100)]
    shares = np.array([np.bincount(one.ravel(), minlength=RARE + 1) / one.size for one in found])
    assert np.mean((shares[:, RARE] > 0.3) & (shares.max(axis=1) < 0.5)) > 0.5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"max_class_share": 0.75}, "need `crop"),
        ({"rare_sampling": RareSampling(crop_share=0.1)}, "need `crop"),
        ({"crop": (8, 8), "max_class_share": 0.75, "affine": {"degrees": 5.0}}, "before the affine step"),
        ({"crop": (8, 8), "max_class_share": 0.75, "rare_crops": RareCrops()}, "give rare_sampling a"),
        ({"crop": (8, 8), "max_class_share": 0.75, "rare_sampling": RareSampling()}, "give rare_sampling a"),
    ],
)
def test_keys_that_cannot_go_together(keys, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**keys)


def test_images_without_labels_are_not_judged():
    images = Domain([FakeCache(["a"], [scene()[0]])])
    with pytest.raises(DataError, match=r"augmentation.target.max_class_share: the images have no labels"):
        StepDataset(
            {"target": images},
            SampleOrder(seed=0, batch=1),
            {"target": Augmentation(crop=(8, 8), max_class_share=0.75)},
        )
