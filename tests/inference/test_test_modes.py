"""Test modes against obvious versions of themselves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.inference.test_modes import (
    TEST_MODES,
    Aggregation,
    CompoundedFlip,
    MultiscaleFlip,
    Plain,
    ReducedFlip,
    Sliding,
    build_test_mode,
    logits_at,
)
from pipeline.networks.normalise import normalise


@pytest.fixture
def images(make_pictures):
    return torch.from_numpy(np.stack(make_pictures(4))).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("name", TEST_MODES)
def test_every_mode_scores_all_images_of_a_batch_like_single_images(name, network, images):
    mode = build_test_mode(name)
    together = logits_at(mode, network, images, (17, 23))
    alone = torch.cat([logits_at(mode, network, image[None], (17, 23)) for image in images])
    assert together.shape == (4, 4, 17, 23)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1])


def test_unknown_mode_names_the_known_ones():
    with pytest.raises(KeyError, match="multiscale_flip"):
        build_test_mode("multi")


@pytest.mark.parametrize("align_corners", [True, False])
def test_plain_up_samples_logits_as_the_network_says(align_corners, make_network, images):
    network = make_network(align_corners=align_corners)
    grid = network(normalise(images, network.profile)).main
    expected = F.interpolate(grid, (48, 64), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(logits_at(Plain(), network, images, (48, 64)), expected)


def test_order_is_up_sample_then_argmax(network, images):
    grid = network(normalise(images, network.profile)).main
    nearest = F.interpolate(grid.argmax(1, keepdim=True).float(), (24, 32)).squeeze(1).long()
    assert (logits_at(Plain(), network, images, (24, 32)).argmax(1) != nearest).any()


def test_scales_do_not_compound(network):
    """1.2 is 1.2 times the original image, not of the 0.9 image."""
    images = torch.zeros((1, 3, 20, 40), dtype=torch.uint8)
    logits_at(MultiscaleFlip(), network, images, (20, 40))
    heights = [shape[-2:] for shape in network.seen]
    assert heights == [(18, 36), (18, 36), (20, 40), (20, 40), (24, 48), (24, 48)]


def test_the_stand_alone_script_scales_the_scaled_image(network):
    """0.9, 0.9 and 1.08 of 2048x1024: 1843x922, the same again, and 1.2 of that."""
    images = torch.zeros((1, 3, 103, 205), dtype=torch.uint8)
    logits_at(CompoundedFlip(), network, images, (8, 8))
    assert [shape[-2:] for shape in network.seen[::2]] == [(93, 184), (93, 184), (112, 221)]


def test_compounded_images_lose_what_the_smaller_one_lost(network, images):
    normal = images.float()
    first, second, third = CompoundedFlip().scaled(normal, align_corners=True)
    reduced = F.interpolate(normal, (22, 29), mode="bilinear", align_corners=True)
    assert torch.equal(first, reduced) and torch.equal(second, reduced)
    assert torch.equal(third, F.interpolate(reduced, (26, 35), mode="bilinear", align_corners=True))


def test_published_scale_gives_the_published_size(network):
    """2048x1024 at 0.9 is 1843x922 in the released code."""
    assert [round(side * 0.9) for side in (1024, 2048)] == [922, 1843]
    images = torch.zeros((1, 3, 102, 205), dtype=torch.uint8)
    logits_at(MultiscaleFlip(scales=(0.9,)), network, images, (8, 8))
    assert network.seen[0][-2:] == (92, 184)


@pytest.mark.parametrize("align_corners", [True, False])
def test_multiscale_flip_is_the_mean_over_scales_and_mirrors(align_corners, make_network, images):
    network = make_network(align_corners=align_corners)
    total = torch.zeros((4, 4, 24, 32))
    for scale in (0.9, 1.0, 1.2):
        for flip in (False, True):
            x = normalise(images, network.profile)
            size = (round(24 * scale), round(32 * scale))
            if size != (24, 32):
                x = F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
            x = x.flip(-1) if flip else x
            logits = network.upsample(network(x).main, (24, 32))
            total += logits.flip(-1) if flip else logits
    torch.testing.assert_close(logits_at(MultiscaleFlip(), network, images, (24, 32)), total / 6)


def test_reduced_flip_averages_softmax_after_up_sampling(network, images):
    x = F.interpolate(normalise(images, network.profile), (22, 29), mode="bilinear", align_corners=False)
    straight = network.upsample(network(x).main, (24, 32)).softmax(1)
    mirrored = network.upsample(network(x.flip(-1)).main.flip(-1), (24, 32)).softmax(1)
    found = logits_at(ReducedFlip(), network, images, (24, 32))
    torch.testing.assert_close(found.softmax(1), (straight + mirrored) / 2)
    torch.testing.assert_close(found.exp(), found.softmax(1))


def test_flip_is_the_mean_of_an_image_and_its_mirror_image(make_network, images):
    network = make_network()
    plain = logits_at(Plain(), network, images, (24, 32))
    mirrored = logits_at(Plain(), network, images.flip(-1), (24, 32)).flip(-1)
    mode = build_test_mode("flip")
    assert mode.name == "flip" and not torch.allclose(plain, mirrored)
    torch.testing.assert_close(logits_at(mode, network, images, (24, 32)), (plain + mirrored) / 2)


def test_mirrored_image_gives_mirrored_logits(network, images):
    straight = logits_at(MultiscaleFlip(), network, images, (24, 32))
    mirrored = logits_at(MultiscaleFlip(), network, images.flip(-1), (24, 32))
    torch.testing.assert_close(straight, mirrored.flip(-1), rtol=1e-4, atol=1e-4)


def _dense_aggregation(rows, metric):
    if metric == "cos":
        unit = F.normalize(rows, dim=1)
        similarity = unit @ unit.T
        similarity = (similarity - similarity.mean(1, keepdim=True)) / (
            similarity.std(1, keepdim=True) + 1e-10
        )
    else:
        logs = (rows + 1e-10).log()
        similarity = -(rows[:, None, :] * (logs[:, None, :] - logs[None, :, :])).sum(-1)
    return similarity.softmax(1) @ rows


def test_aggregation_mixes_features_then_probabilities(network, images):
    """The released test, dense: half the features, half their aggregation, again on the probabilities."""
    image = images[:1]
    feature = network(normalise(image, network.profile)).feature[0]
    rows = feature.flatten(1).T
    rows = 0.5 * rows + 0.5 * _dense_aggregation(rows, "cos")
    logits = network.classify(rows.T.reshape(1, *feature.shape))[0]
    p = logits.softmax(0).flatten(1).T
    p = 0.5 * p + 0.5 * _dense_aggregation(p, "kl")
    grid = p.T.reshape(1, *logits.shape)
    expected = F.interpolate(grid, (24, 32), mode="bilinear", align_corners=True)
    found = logits_at(Aggregation(), network, image, (24, 32))
    torch.testing.assert_close(found.softmax(1), expected, rtol=1e-4, atol=1e-5)


def test_aggregation_stays_finite_where_a_class_has_no_probability(network, images):
    with torch.no_grad():
        network.main.weight.mul_(1e4)
    assert torch.isfinite(logits_at(Aggregation(), network, images, (24, 32))).all()


def test_windows_cover_every_pixel_and_end_at_the_border():
    windows = Sliding(window=10, stride=4).windows((10, 25))
    assert [(rows.start, rows.stop) for rows, _ in windows] == [(0, 10)] * 5
    assert [(columns.start, columns.stop) for _, columns in windows] == [
        (0, 10),
        (4, 14),
        (8, 18),
        (12, 22),
        (15, 25),
    ]


def test_sliding_averages_where_windows_overlap(network, images):
    total, count = torch.zeros((4, 4, 24, 32)), torch.zeros((24, 32))
    for left in (0, 8):
        piece = images[..., left : left + 24]
        total[..., left : left + 24] += logits_at(Plain(), network, piece, (24, 24))
        count[:, left : left + 24] += 1
    found = logits_at(Sliding(window=24, stride=12), network, images, (24, 32))
    torch.testing.assert_close(found, total / count)


def test_sliding_over_a_small_image_is_plain(network, images):
    found = logits_at(Sliding(64, 32), network, images, (24, 32))
    torch.testing.assert_close(found, logits_at(Plain(), network, images, (24, 32)))


def test_sliding_never_leaves_gaps_when_the_stride_is_wider_than_the_window(network, images):
    assert torch.isfinite(logits_at(Sliding(window=8, stride=20), network, images, (24, 32))).all()


@pytest.mark.parametrize("bad", [{"window": 0, "stride": 1}, {"window": 1, "stride": 0}])
def test_sliding_refuses_empty_windows(bad):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        Sliding(**bad)


def test_sliding_has_the_published_windows():
    windows = build_test_mode("sliding").windows((1024, 2048))
    assert [(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in windows] == [
        (0, 1024, left, left + 1024) for left in (0, 512, 1024)
    ]
