"""Pictures of label and value maps."""

import numpy as np
import pytest

from pipeline.inference.overlays import as_bytes, color_labels, color_values, contact_sheet, fit, overlay

PALETTE = np.zeros((256, 3), dtype=np.uint8)
PALETTE[1] = (200, 100, 50)


def test_labels_take_their_palette_color():
    ids = np.array([[0, 1], [1, 255]], dtype=np.uint8)
    assert color_labels(ids, PALETTE)[0, 1].tolist() == [200, 100, 50]
    with pytest.raises(ValueError, match=r"\(256, 3\)"):
        color_labels(ids, PALETTE[:19])


def test_values_rise_in_lightness_from_dark_to_light():
    ramp = color_values(np.arange(256, dtype=np.uint8)[None])[0].astype(float)
    lightness = ramp @ [0.2126, 0.7152, 0.0722]
    assert lightness[0] < 5
    assert lightness[-1] > 240
    assert (np.diff(lightness) >= -1).all()


def test_shares_become_bytes_and_are_clipped():
    assert as_bytes(np.array([-0.1, 0.0, 0.5, 1.0, 1.2])).tolist() == [0, 0, 128, 255, 255]


def test_overlay_mixes_colors_and_leaves_ignored_pixels():
    image = np.full((2, 2, 3), 100, dtype=np.uint8)
    ids = np.array([[1, 255], [0, 1]], dtype=np.uint8)
    mixed = overlay(image, ids, PALETTE, opacity=0.5)
    assert mixed[0, 0].tolist() == [150, 100, 75]
    assert mixed[0, 1].tolist() == [100, 100, 100]
    assert mixed[1, 0].tolist() == [50, 50, 50]


def test_overlay_resizes_a_smaller_label_without_mixing_ids():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    ids = np.array([[1, 0], [0, 1]], dtype=np.uint8)
    mixed = overlay(image, ids, PALETTE, opacity=1.0)
    assert (mixed[:2, :2] == PALETTE[1]).all()
    assert (mixed[:2, 2:] == 0).all()


def test_fit_keeps_proportions():
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    placed = fit(wide, (40, 40))
    assert placed.shape == (40, 40, 3)
    assert (placed[:15] == 255).all()
    assert (placed[15:25] == 0).all()


def test_contact_sheet_places_tiles_row_by_row():
    black = np.zeros((8, 8, 3), dtype=np.uint8)
    sheet = contact_sheet([[black, black], [black]], tile=(10, 10), gap=2)
    assert sheet.shape == (2 * 12 + 2, 2 * 12 + 2, 3)
    assert (sheet[2:12, 2:12] == 0).all()
    assert (sheet[14:24, 14:24] == 255).all()
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
