"""FDA's style: the amplitudes of a target image at low frequencies, everything else the image's own."""

import numpy as np
import pytest
from pydantic import ValidationError
from test_loading import FakeCache

from pipeline.data.domain import Domain
from pipeline.data.loading import StepDataset
from pipeline.data.parameters import Augmentation
from pipeline.data.sampler import SampleOrder
from pipeline.data.style import with_amplitudes_of

BAND = 0.1
"""Of 40 rows: the frequencies -4..4."""


def noise(seed, mean, spread, size=(40, 50)):
    values = np.random.default_rng(seed).normal(mean, spread, (*size, 3))
    return values.clip(0, 255).astype(np.uint8)


def spectrum(image):
    return np.fft.fftshift(np.fft.fft2(image, axes=(0, 1)), axes=(0, 1))


def test_low_amplitudes_are_the_others_and_all_phases_the_own():
    image, other = noise(0, 110, 15), noise(1, 140, 25)
    before, wanted, after = map(spectrum, (image, other, with_amplitudes_of(image, other, BAND)))
    near = np.zeros((40, 50, 1), bool)
    near[20 - 4 : 20 + 5, 25 - 4 : 25 + 5] = True
    expected = np.where(near, np.abs(wanted), np.abs(before)) * np.exp(1j * np.angle(before))
    size = np.abs(expected)
    rounding = 5 * np.sqrt(40 * 50 / 12)
    assert np.abs(after - expected).max() < rounding
    assert np.abs(np.abs(before) - size)[np.broadcast_to(near, size.shape)].max() > 10 * rounding


def test_an_image_in_its_own_style_stays():
    image = noise(0, 128, 60)
    assert np.array_equal(with_amplitudes_of(image, image, BAND), image)


def test_the_other_may_have_another_size():
    other = np.full((7, 9, 3), (10, 120, 250), np.uint8)
    found = with_amplitudes_of(np.full((40, 50, 3), 80, np.uint8), other, 0.0)
    assert np.array_equal(found, np.broadcast_to(other[0, 0], (40, 50, 3)))


def test_the_loader_takes_it_for_the_share_of_style():
    image, other = noise(0, 100, 20), noise(1, 150, 20)
    domain, target = (Domain([FakeCache([name], [one])]) for name, one in (("s", image), ("t", other)))
    parameters = Augmentation(style=1.0, style_band=BAND)
    styled = StepDataset(
        {"source": domain}, SampleOrder(seed=3, batch=1), {"source": parameters}, styles=target
    )
    shown = styled[0]["source"].images[0].permute(1, 2, 0).numpy()
    assert np.array_equal(shown, with_amplitudes_of(image, other, BAND))


def test_a_band_without_a_share_is_refused():
    with pytest.raises(ValidationError, match="only with `style`"):
        Augmentation(style_band=BAND)
