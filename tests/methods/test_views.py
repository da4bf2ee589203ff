"""Strong and masked views: functions of their draws, the published shares, nothing but colors changed."""

import numpy as np
import pytest
import torch

from pipeline.data.augmentation import draw_affine
from pipeline.data.parameters import Affine, Color
from pipeline.data.placement import Placement
from pipeline.methods.views import affine_grid, masked, moved, moved_labels, recolored
from pipeline.networks.normalise import colors, from_colors, normalise
from pipeline.networks.parameters import PROFILES
from pipeline.numerics.randomness import Draws
from pipeline.streets.images import render_scene

PROFILE = PROFILES["torch"]


@pytest.fixture(scope="module")
def images():
    scenes = [render_scene("rendered", "train", index, 0, (48, 32))[0] for index in range(4)]
    return torch.from_numpy(np.stack(scenes).transpose(0, 3, 1, 2).copy())


def draws(step=0, count=4):
    return [Draws([1, step, slot]) for slot in range(count)]


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_colors_undo_the_normalisation(images, name):
    normalised = normalise(images, PROFILES[name])
    torch.testing.assert_close(colors(normalised, PROFILES[name]), images / 255.0, atol=1e-5, rtol=0)
    torch.testing.assert_close(from_colors(images / 255.0, PROFILES[name]), normalised, atol=1e-4, rtol=0)


def test_a_view_is_a_function_of_its_draws(images):
    normalised = normalise(images, PROFILE)
    strong = Color(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2, blur=0.5)
    first, again = (recolored(normalised, PROFILE, strong, draws()) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, recolored(normalised, PROFILE, strong, draws(step=1)))
    alone = recolored(normalised[2:3], PROFILE, strong, draws()[2:3])
    torch.testing.assert_close(alone, first[2:3])
    assert recolored(normalised, PROFILE, None, draws()) is normalised


def test_each_key_changes_the_images_and_the_probability_holds(images):
    normalised = normalise(images, PROFILE)
    for key in ("brightness", "contrast", "saturation", "hue", "blur"):
        found = recolored(normalised, PROFILE, Color(**{key: 0.5 if key != "blur" else 1.0}), draws())
        assert (found - normalised).abs().mean() > 0.01, key
    some = Color(contrast=0.5, probability=0.3)
    changed = [
        (recolored(normalised, PROFILE, some, draws(step)) - normalised).abs().amax(dim=(1, 2, 3)) > 0.01
        for step in range(60)
    ]
    assert 0.2 < torch.stack(changed).float().mean() < 0.4


def test_the_masked_share_and_its_squares(images):
    normalised = normalise(images, PROFILE)
    found = torch.stack([masked(normalised, 8, draws(step)) == 0 for step in range(20)])
    assert 0.65 < found.float().mean() < 0.75
    assert torch.equal(masked(normalised, 8, draws()) == 0, found[0])
    squares = found[:, :, 0].unfold(2, 8, 8).unfold(3, 8, 8)
    assert torch.equal(squares.all(dim=(-1, -2)), squares.any(dim=(-1, -2)))
    kept = masked(normalised, 8, draws()) != 0
    assert torch.equal(masked(normalised, 8, draws())[kept], normalised[kept])


def test_a_block_larger_than_the_image_is_one_square(images):
    found = masked(normalise(images, PROFILE), 500, draws())
    assert all(bool((image == 0).all()) or bool((image != 0).any()) for image in found)


AFFINE = Affine(degrees=20, translate=0.1, zoom=(0.7, 1.3), shear=10)


def test_a_moved_view_is_the_loaders_affine_step(images):
    """Pillow shows black beyond the last pixel's centre, the grid fades out there: borders are left out."""
    grid = affine_grid((32, 48), AFFINE, draws(), images.device)
    views = colors(moved(normalise(images, PROFILE), grid, PROFILE), PROFILE) * 255
    labels, weight = moved_labels(
        torch.ones(4, 32, 48, dtype=torch.int64), torch.full((4, 32, 48), 0.5), grid
    )
    for place, own in enumerate(draws()):
        placement = Placement((48, 32), (48, 32), 0, 0, (48, 32), False, draw_affine((48, 32), own, AFFINE))
        x, y, _ = placement.source_coordinates()
        inside = (x > 1) & (x < 47) & (y > 1) & (y < 31)
        assert 0.3 < inside.mean() < 1.0
        expected = placement.image(images[place].permute(1, 2, 0).numpy()).astype(float)
        difference = np.abs(views[place].permute(1, 2, 0).numpy() - expected)
        assert difference[inside].max() <= 1.5
        label = placement.label(np.ones((32, 48), np.uint8))
        assert (labels[place].numpy() == label).mean() > 0.99
    assert torch.equal(weight, torch.where(labels == 1, 0.5, 0.0))


def test_ignored_labels_stay_ignored_when_moved():
    grid = affine_grid((8, 8), Affine(degrees=5), draws(count=1), torch.device("cpu"))
    labels, _ = moved_labels(torch.full((1, 8, 8), 255), torch.ones(1, 8, 8), grid)
    assert (labels == 255).all()


def test_the_label_of_a_classified_image_stays():
    grid = affine_grid((8, 8), AFFINE, draws(count=1), torch.device("cpu"))
    labels, weight = torch.full((1, 1, 1), 7), torch.ones(1, 1, 1)
    assert moved_labels(labels, weight, grid) == (labels, weight)
