"""Augmentation: every key has its effect, image and label stay together, ends of ranges are reached."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from pipeline.artifacts.errors import DataError
from pipeline.data import crops
from pipeline.data.augmentation import augment, draw_affine, place, rare_classes
from pipeline.data.parameters import Affine, Augmentation, RareCrops, RareSampling
from pipeline.data.placement import Placement, nearest_indices, resized_label
from pipeline.networks.normalise import normalise
from pipeline.networks.parameters import PROFILES
from pipeline.numerics.randomness import Draws
from pipeline.streets.images import render_scene

KEYS = [[0, 1, step, slot] for step in range(25) for slot in range(8)]


@pytest.fixture(scope="module")
def scene():
    return render_scene("rendered", "train", 0, 0, (64, 40))


def coded(width, height):
    """An image whose red and green are its column and row, and a label that is their sum."""
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    image = np.stack([column, row, np.zeros_like(row)], axis=2).astype(np.uint8)
    return image, ((column + row) % 250).astype(np.uint8)


def test_nothing_is_changed_by_default(scene):
    image, label = scene
    result = augment(image, label, [0], Augmentation())
    assert np.array_equal(result.image, image) and np.array_equal(result.label, label)
    assert np.shares_memory(result.image, image) and np.shares_memory(result.label, label)


def test_a_domain_without_labels_gets_none(scene):
    assert augment(scene[0], None, [0], Augmentation(flip=0.5, scale=(0.5, 2.0))).label is None


def test_the_result_is_a_function_of_the_key(scene):
    everything = Augmentation(
        crop=(32, 24), scale=(0.5, 1.5), flip=0.5, color={"brightness": 0.3, "hue": 0.1, "blur": 0.5}
    )
    first, again = (augment(*scene, [3, 4], everything) for _ in range(2))
    other = augment(*scene, [3, 5], everything)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.label, again.label)
    assert not np.array_equal(first.image, other.image)


def test_slots_and_steps_have_their_own_crops_and_flips():
    """CBST's workers shared one random state: all of a batch had the same crops and flips."""
    parameters = Augmentation(crop=(10, 10), flip=0.5)
    seen = {(p.left, p.top, p.flip) for p in (place((64, 40), None, Draws(key), parameters) for key in KEYS)}
    assert len(seen) > 150


@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
def test_flip_mirrors_image_and_label_in_its_share_of_the_images(flip):
    image, label = coded(12, 8)
    flipped = 0
    for key in KEYS:
        result = augment(image, label, key, Augmentation(flip=flip))
        mirrored = result.image[0, 0, 0] == 11
        flipped += mirrored
        assert np.array_equal(result.label, label[:, ::-1] if mirrored else label)
    assert flipped == flip * len(KEYS) if flip in (0.0, 1.0) else 70 < flipped < 130


def test_crops_reach_every_place_and_keep_image_and_label_together():
    image, label = coded(12, 8)
    corners = set()
    for key in KEYS:
        result = augment(image, label, key, Augmentation(crop=(9, 6)))
        left, top = result.image[0, 0, :2].astype(int)
        corners.add((left, top))
        assert np.array_equal(result.image, image[top : top + 6, left : left + 9])
        assert np.array_equal(result.label, label[top : top + 6, left : left + 9])
    assert corners == {(left, top) for left in range(4) for top in range(3)}


def test_padding_is_right_and_below_with_the_mean_color_and_255(scene):
    image, label = scene
    result = augment(image, label, [0], Augmentation(crop=(70, 50)))
    assert np.array_equal(result.image[:40, :64], image) and np.array_equal(result.label[:40, :64], label)
    padded = np.concatenate([result.image[40:].reshape(-1, 3), result.image[:40, 64:].reshape(-1, 3)])
    for name, levels in (("torch", 255 * 0.225), ("caffe", 1.0)):
        normalised = normalise(torch.from_numpy(padded).T.reshape(1, 3, -1, 1), PROFILES[name])
        assert normalised.abs().max() * levels < 0.75
    assert (result.label[40:] == 255).all() and (result.label[:, 64:] == 255).all()


def test_a_step_of_the_scale_reaches_both_ends():
    """The released CRST code truncated 0.8..1.2 in steps of 0.1 to 0.8..1.1."""
    parameters = Augmentation(scale=(0.8, 1.2), scale_step=0.1)
    assert parameters.scale_factors() == pytest.approx((0.8, 0.9, 1.0, 1.1, 1.2))
    widths = {place((100, 50), None, Draws(key), parameters).resized for key in KEYS}
    assert widths == {(80, 40), (90, 45), (100, 50), (110, 55), (120, 60)}


def test_a_range_of_the_scale_is_covered_to_its_ends():
    widths = [place((100, 50), None, Draws(key), Augmentation(scale=(0.95, 1.05))).resized[0] for key in KEYS]
    assert min(widths) == 95 and max(widths) == 105


def test_the_shorter_side_is_uniform_between_both_ends():
    parameters = Augmentation(shorter_side=(30, 33))
    sizes = {place((100, 50), None, Draws(key), parameters).resized for key in KEYS}
    assert sizes == {(60, 30), (62, 31), (64, 32), (66, 33)}
    assert {place((50, 100), None, Draws(key), parameters).resized[0] for key in KEYS} == {30, 31, 32, 33}


@pytest.mark.parametrize("resized", [(37, 23), (64, 41), (130, 77), (32, 20)])
def test_a_resized_crop_is_the_crop_of_the_resized_image(scene, resized):
    image, label = scene
    whole = np.asarray(Image.fromarray(image).resize(resized, Image.Resampling.BILINEAR)).astype(int)
    nearest = np.asarray(Image.fromarray(label).resize(resized, Image.Resampling.NEAREST))
    placement = Placement((64, 40), resized, left=5, top=3, size=(24, 16))
    assert np.abs(placement.image(image) - whole[3:19, 5:29]).max() <= 1
    assert np.array_equal(placement.label(label), nearest[3:19, 5:29])


def pillows_indices(before, after):
    """What Pillow takes for each pixel of a map of one channel, as labels are."""
    row = Image.fromarray(np.arange(before, dtype=np.int32)[None])
    return np.asarray(row.resize((after, 1), Image.Resampling.NEAREST))[0]


@pytest.mark.parametrize(("before", "after"), [(8, 4), (5, 9), (1052, 720), (7, 7), (3, 1)])
def test_nearest_is_pillows(before, after):
    """torch's nearest samples floor(i * in / out) instead; for a halving the two never agree."""
    assert np.array_equal(nearest_indices(before, after), pillows_indices(before, after))


def test_nearest_is_pillows_at_exact_ties():
    """Where the point lies between two pixels, Pillow's sum of steps decides."""
    differing = 0
    for before in range(2, 80, 6):
        for after in range(3, 60, 2):
            expected = pillows_indices(before, after)
            assert np.array_equal(nearest_indices(before, after), expected), (before, after)
            exact = (2 * np.arange(after) + 1) * before // (2 * after)
            differing += not np.array_equal(exact, expected)
    assert differing > 10, "there are ties among them"


def test_an_affine_step_leaves_black_behind():
    image = np.full((8, 8, 3), 200, np.uint8)
    moved = Placement((8, 8), (8, 8), 0, 0, (8, 8), affine=(1, 0, 4, 0, 1, 0)).image(image)
    assert (moved[:, :4] == 200).all() and not moved[:, 4:].any()


def test_labels_hold_no_new_ids_after_any_change(scene):
    image, label = scene
    parameters = Augmentation(
        crop=(80, 60),
        scale=(0.4, 1.7),
        flip=0.5,
        affine=Affine(degrees=30, translate=0.2, zoom=(0.7, 1.4), shear=9),
    )
    for key in KEYS[:40]:
        found = set(np.unique(augment(image, label, key, parameters).label))
        assert found <= {*np.unique(label), 255}


def test_rare_crops_show_a_rare_class_where_there_is_one(monkeypatch):
    monkeypatch.setattr(crops, "RARE_CROPS", 1.0)
    image, label = coded(60, 40)
    label = np.zeros_like(label)
    label[31, 47] = 7
    parameters = Augmentation(crop=(10, 10), rare_crops=RareCrops())
    for key in KEYS[:50]:
        assert (augment(image, label, key, parameters, rare=(5, 7)).label == 7).sum() == 1
    usual = sum((augment(image, label, key, parameters, rare=(5,)).label == 7).any() for key in KEYS)
    assert usual < len(KEYS) / 2


def test_rare_crops_follow_the_resize(monkeypatch):
    monkeypatch.setattr(crops, "RARE_CROPS", 1.0)
    image, label = coded(60, 40)
    label = np.zeros_like(label)
    label[4:6, 50:52] = 3
    parameters = Augmentation(crop=(8, 8), scale=(2.0, 2.0), rare_crops=RareCrops())
    result = augment(image, label, [0], parameters, rare=(3,))
    assert (result.label == 3).sum() >= 4
    assert abs(int(result.image[result.label == 3][:, 0].mean()) - 50) <= 1


def test_rare_crops_apply_to_their_share():
    image, label = coded(64, 64)
    label = np.zeros_like(label)
    label[0, 0] = 9
    parameters = Augmentation(crop=(4, 4), rare_crops=RareCrops())
    hits = sum((augment(image, label, key, parameters, rare=(9,)).label == 9).any() for key in KEYS)
    assert 140 < hits < 180


def test_a_crop_for_a_drawn_class_always_shows_it():
    image, label = coded(64, 64)
    label = np.zeros_like(label)
    label[50, 7] = 9
    parameters = Augmentation(crop=(8, 8), scale=(0.9, 2.0), rare_sampling=RareSampling())
    found = [augment(image, label, key, parameters, rare=(9,)) for key in KEYS if key[2] < 10]
    larger = [one for one in found if one.placement.resized[0] >= 64]
    assert len(larger) > 60 and all((one.label == 9).any() for one in larger)


def test_rare_classes_are_the_smallest_ones_present():
    assert rare_classes([900, 0, 5, 40, 30, 25], RareCrops(classes=3)) == (2, 5, 4)
    assert rare_classes([9000, 1, 2, 3, 40], RareCrops(classes=2)) == (1, 2, 3)


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation", "hue"])
def test_each_color_key_changes_the_image_alone(scene, key):
    image, label = scene
    result = augment(image, label, [1], Augmentation(color={key: 0.4}))
    assert np.array_equal(result.label, label)
    before, after = image.astype(float), result.image.astype(float)
    assert np.abs(after - before).mean() > 0.5
    spread, mean = np.ptp(before, axis=2).mean(), before.mean()
    changed = {
        "brightness": abs(after.mean() - mean) > 1,
        "contrast": abs(after.std() - before.std()) > 1,
        "saturation": abs(np.ptp(after, axis=2).mean() - spread) > 1,
        "hue": abs(np.ptp(after, axis=2).mean() - spread) < 1,
    }
    assert changed[key]


def test_color_and_blur_apply_to_their_shares(scene):
    image = scene[0]

    def share(**keys):
        changed = [
            not np.array_equal(augment(image, None, key, Augmentation(color=keys)).image, image)
            for key in KEYS
        ]
        return sum(changed) / len(KEYS)

    assert share(contrast=0.5) > 0.9
    assert 0.2 < share(contrast=0.5, probability=0.3) < 0.4
    assert 0.2 < share(blur=0.3) < 0.4


def test_blur_smooths_and_a_wider_one_smooths_more(scene):
    def roughness(image):
        return np.abs(np.diff(image.astype(float), axis=1)).mean()

    weak = augment(scene[0], None, [0], Augmentation(color={"blur": 1.0, "blur_radius": (0.5, 0.5)})).image
    strong = augment(scene[0], None, [0], Augmentation(color={"blur": 1.0, "blur_radius": (3.0, 3.0)})).image
    assert roughness(strong) < roughness(weak) < roughness(scene[0])


class Fixed(Draws):
    """Every draw at the upper end."""

    def uniform(self, low=0.0, high=1.0):
        return high


def test_rotation_by_a_right_angle_and_zoom_are_what_they_say():
    label = np.arange(49, dtype=np.uint8).reshape(7, 7)
    turned = Placement(
        (7, 7), (7, 7), 0, 0, (7, 7), affine=draw_affine((7, 7), Fixed([0]), Affine(degrees=90))
    )
    assert np.array_equal(turned.label(label), np.rot90(label, -1))
    shifted = Placement(
        (7, 7), (7, 7), 0, 0, (7, 7), affine=draw_affine((7, 7), Fixed([0]), Affine(translate=2 / 7))
    )
    assert np.array_equal(shifted.label(label)[2:, 2:], label[:5, :5])
    assert (shifted.label(label)[:2] == 255).all()
    matrix = draw_affine((7, 7), Fixed([0]), Affine(zoom=(1.0, 2.0)))
    assert matrix == pytest.approx((0.5, 0, 1.75, 0, 0.5, 1.75))
    a, b, _, d, e, _ = draw_affine((7, 7), Fixed([0]), Affine(shear=45))
    assert (a, b, d, e) == pytest.approx((1, 1, 0, 1))


def test_affine_keeps_a_classified_images_label():
    image = np.zeros((28, 28, 3), np.uint8)
    image[10:18, 12:16] = 255
    label = np.array([[7]], np.uint8)
    result = augment(image, label, [5], Augmentation(affine=Affine(degrees=40, translate=0.1), crop=(24, 24)))
    assert np.array_equal(result.label, label)
    assert result.image.shape == (24, 24, 3) and not np.array_equal(result.image, image[:24, :24])


@pytest.mark.parametrize("seed", range(6))
def test_source_coordinates_say_where_pixels_come_from(seed):
    """What holds low-resolution maps resamples them by these."""
    image, label = coded(60, 40)
    parameters = Augmentation(
        crop=(50, 44),
        scale=(0.7, 1.6),
        flip=0.5,
        affine=Affine(degrees=10, translate=0.05) if seed % 2 else None,
    )
    result = augment(image, label, [seed], parameters)
    x, y, inside = result.placement.source_coordinates()
    expected = (np.floor(x) + np.floor(y)).astype(int)
    # Exactly between two pixels both are the nearest.
    between = (np.abs(x - np.round(x)) < 1e-9) | (np.abs(y - np.round(y)) < 1e-9)
    agreeing = (expected == result.label)[inside & ~between]
    # Two nearest look-ups, one after the other, may differ from one by a pixel.
    assert agreeing.mean() > (0.5 if seed % 2 else 0.999)
    assert np.abs(expected[inside] - result.label[inside].astype(int))[result.label[inside] < 255].max() <= 2
    outside = ~inside & ((x < -1) | (y < -1) | (x > 61) | (y > 41))
    assert (result.label[outside] == 255).all()


def test_image_and_label_of_different_size_are_refused(scene):
    with pytest.raises(DataError, match=r"64x40 pixels but its label 64x39"):
        augment(scene[0], scene[1][1:], [0], Augmentation())


def test_resized_labels_keep_their_size_when_nothing_is_to_do(scene):
    assert resized_label(scene[1], (64, 40)) is scene[1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"scale": (1.2, 0.8)}, "not in order"),
        ({"shorter_side": (20, 10)}, "not in order"),
        ({"scale": (0.5, 1.0), "shorter_side": (10, 20)}, "choose one"),
        ({"scale_step": 0.1}, "only with `scale`"),
        ({"scale": (0.8, 1.2), "scale_step": 0.15}, "does not lead from"),
        ({"rare_crops": {}}, "needs `crop"),
        ({"rare_crops": {}, "crop": (5, 5), "affine": {"degrees": 5}}, "choose one"),
        ({"affine": {}}, "changes nothing"),
        ({"color": {}}, "changes nothing"),
        ({"color": {"blur": 1.0, "blur_radius": (2.0, 1.0)}}, "not in order"),
        ({"flop": 0.5}, "Extra inputs"),
    ],
)
def test_keys_without_effect_or_sense_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Augmentation(**keys)
