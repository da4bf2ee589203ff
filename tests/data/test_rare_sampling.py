"""Rare-class sampling: probabilities of the paper, images and crops that show the class, colors of the target."""

import logging

import numpy as np
import pytest
from test_loading import FakeCache, flat

from pipeline.artifacts.errors import DataError
from pipeline.data.domain import Domain
from pipeline.data.loading import StepDataset, step_loader
from pipeline.data.parameters import Augmentation, RareSampling
from pipeline.data.rare_sampling import RareImages, class_probability
from pipeline.data.sampler import SampleOrder
from pipeline.data.style import RATIO, with_colors_of
from pipeline.numerics.randomness import Draws

SIDE = 20
SHARES = {1: 0.25, 2: 0.01, 3: 0.0025}
"""Share of an image's pixels that shows each class, where it shows it at all."""


def labelled(classes):
    """A label of 0 with each class in its share of the pixels, from the end."""
    label = np.zeros(SIDE * SIDE, np.uint8)
    end = label.size
    for index in classes:
        count = int(SHARES[index] * label.size)
        label[end - count : end] = index
        end -= count
    return label.reshape(SIDE, SIDE)


@pytest.fixture
def cache():
    """Class 1 in every image, 2 in the last two of eight, 3 in the last one, on a single pixel."""
    labels = [labelled([1, *([2] if i >= 6 else []), *([3] if i == 7 else [])]) for i in range(8)]
    images = [np.full((SIDE, SIDE, 3), 10 * i, np.uint8) for i in range(8)]
    return FakeCache([f"a{i}" for i in range(8)], images, labels)


def dataset(cache, **changes):
    domains = {"source": Domain([cache], labels="own")}
    return StepDataset(domains, SampleOrder(seed=3, batch=4), {"source": Augmentation(**changes)})


def test_the_probability_is_the_papers():
    """The example of the released code: almost all on the two rarest classes."""
    frequency = np.array([0.44, 0.22, 0.15, 0.12, 0.06, 0.012, 0.001])
    found = class_probability(frequency, list(range(7)), 0.01)
    assert found.sum() == pytest.approx(1.0)
    assert np.allclose(found, [0, 0, 0, 0, 0.002, 0.25, 0.75], atol=0.005)
    slow = np.exp((1 - frequency) / 0.5) / np.exp((1 - frequency) / 0.5).sum()
    assert np.allclose(class_probability(frequency, list(range(7)), 0.5), slow)


def test_every_image_drawn_shows_its_class(cache):
    images = RareImages(Domain([cache], labels="own"), RareSampling(temperature=100.0, min_share=0.005))
    drawn = [images.draw(Draws([number])) for number in range(300)]
    assert {(one.class_id, one.index) for one in drawn} == {
        *((index, place) for index in (0, 1) for place in range(8)),
        *((2, place) for place in (6, 7)),
    }
    assert 70 < sum(one.class_id == 2 for one in drawn) < 130


def test_a_class_that_no_image_shows_is_left_out_aloud(cache, caplog):
    with caplog.at_level(logging.WARNING):
        RareImages(Domain([cache], labels="own"), RareSampling(min_share=0.005))
    assert "classes 3 are never looked for" in caplog.text
    with pytest.raises(DataError, match="lower `min_share`"):
        RareImages(Domain([cache], labels="own"), RareSampling(min_share=0.9))


def test_the_share_of_the_draws_that_look_for_a_class(cache):
    images = RareImages(Domain([cache], labels="own"), RareSampling(share=0.5, min_share=0.0))
    missed = sum(images.draw(Draws([number])) is None for number in range(400))
    assert 150 < missed < 250


def test_slots_show_the_rare_class_in_their_crops(cache):
    steps = [dataset(cache, crop=(6, 6), rare_sampling=RareSampling(min_share=0.0))[s] for s in range(10)]
    shown = [(label == 3).any() or (label == 2).any() for step in steps for label in step["source"].labels]
    assert all(shown)
    plain = [dataset(cache, crop=(6, 6))[step]["source"].labels for step in range(10)]
    assert sum((label == 3).any().item() for step in plain for label in step) < 10


def test_draws_are_functions_of_seed_step_and_slot(cache):
    rare = dataset(cache, crop=(6, 6), rare_sampling=RareSampling(min_share=0.0, temperature=1.0))
    alone = flat(step_loader(rare, 0, 6, 0))
    assert flat(step_loader(rare, 0, 6, 2)) == alone
    assert flat([rare[4]]) == [alone[4]]
    assert len(set(alone)) == 6


def test_without_labels_it_is_an_error(cache):
    with pytest.raises(DataError, match="no labels"):
        StepDataset(
            {"target": Domain([cache])},
            SampleOrder(seed=0, batch=1),
            {"target": Augmentation(rare_sampling=RareSampling())},
        )


def noise(seed, mean, spread):
    values = np.random.default_rng(seed).normal(mean, spread, (40, 50, 3))
    return values.clip(0, 255).astype(np.uint8)


def test_an_image_takes_the_others_mean_and_deviation():
    image, other = noise(0, (90, 120, 100), 20), noise(1, (140, 110, 150), 30)
    found = with_colors_of(image, other)
    before, after = (
        np.abs(one.mean(axis=(0, 1)) - other.mean(axis=(0, 1))).max() for one in (image.astype(float), found)
    )
    assert before > 30 and after < 2
    assert found.std() == pytest.approx(other.std(), rel=0.1)


def test_a_flat_image_is_not_stretched_into_noise():
    found = with_colors_of(noise(0, 100, 2), noise(1, 100, 40))
    assert 1.5 * 2 < found.std() < 1.2 * RATIO[1] * 2
    assert np.array_equal(with_colors_of(noise(0, 100, 20), noise(0, 100, 20)).shape, (40, 50, 3))


def test_style_takes_its_share_of_the_source_and_leaves_labels(cache):
    target = Domain([FakeCache(["t"], [noise(1, (200, 30, 30), 10)])])
    domains = {"source": Domain([cache], labels="own")}
    order = SampleOrder(seed=3, batch=4)
    styled = StepDataset(domains, order, {"source": Augmentation(style=0.5)}, styles=target)
    steps = [(styled[s]["source"], dataset(cache)[s]["source"]) for s in range(40)]
    changed = [(a != b).any().item() for x, y in steps for a, b in zip(x.images, y.images, strict=True)]
    assert 0.35 < np.mean(changed) < 0.65
    assert all((x.labels == y.labels).all() for x, y in steps)
    assert flat(step_loader(styled, 0, 3, 1)) == flat([styled[s] for s in range(3)])
