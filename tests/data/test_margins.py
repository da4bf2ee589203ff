"""Margins follow the image through crop, resize and mirror image; what lies beyond it is margin too."""

import numpy as np

from pipeline.data.margins import MarginMap
from pipeline.data.placement import Placement

MARGINS = MarginMap(top=0.25, bottom=0.5, left=0.0, right=0.25)
"""Of 8x4 pixels: row 1, columns 0 to 5 count."""


def counted(placement):
    return ~MARGINS("any", placement)


def test_the_whole_image_and_its_mirror_image():
    plain = counted(Placement((8, 4), (8, 4), 0, 0, (8, 4)))
    expected = np.zeros((4, 8), bool)
    expected[1, :6] = True
    assert np.array_equal(plain, expected)
    mirrored = counted(Placement((8, 4), (8, 4), 0, 0, (8, 4), flip=True))
    assert np.array_equal(mirrored, expected[:, ::-1])


def test_a_crop_of_an_enlarged_image_with_padding():
    found = counted(Placement((8, 4), (16, 8), 8, 2, (12, 8)))
    expected = np.zeros((8, 12), bool)
    expected[:2, :4] = True  # rows 2 and 3, columns 8 to 11 of 16x8
    assert np.array_equal(found, expected)
