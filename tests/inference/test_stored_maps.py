"""Stored maps give the scores of the test mode, whatever batches, chunks, sizes and stops made them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.artifacts.errors import Interrupted
from pipeline.artifacts.files import is_leftover
from pipeline.inference.passes import PassSettings, run_pass
from pipeline.inference.stored_maps import KeepMaps, Scores
from pipeline.inference.test_modes import Aggregation, Logits, MultiscaleFlip, Plain, Sliding

SIZES = [(16, 24), (16, 24), (20, 12), (16, 24), (8, 8)]


@pytest.fixture
def images() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def store(folder: Path, network, mode, images, **settings):
    state = PassSettings(folder / "state", {"test": 1}, **settings)
    return run_pass(KeepMaps(folder / "maps"), network, mode, images, state)


def scores_from_scratch(network, mode, image: np.ndarray) -> torch.Tensor:
    size = image.shape[:2]
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        maps = [one.half().float() for one in mode.maps(network, pixels)]
        return torch.softmax(Logits(mode, network, maps, size, size).whole()[0], 0)


def scores_of(scores: Scores, position: int) -> torch.Tensor:
    """All rows of an image."""
    return torch.cat([strip for _, strip in scores.strips(position)], dim=1)


@pytest.mark.parametrize("mode", [Plain(), MultiscaleFlip(), Aggregation(), Sliding(8, 4)])
def test_scores_are_those_of_the_test_mode_on_float16_maps(tmp_path, network, images, mode) -> None:
    network.eval()
    scores = Scores(store(tmp_path, network, mode, images), network, mode)
    assert len(scores) == len(images)
    for position, image in enumerate(images):
        assert scores_of(scores, position).dtype == torch.float32
        assert torch.equal(scores_of(scores, position), scores_from_scratch(network, mode, image))


@pytest.mark.parametrize(
    "settings", [{"batch": 1, "chunks": 5}, {"batch": 2, "chunks": 1}, {"batch": 2, "chunks": 2}]
)
def test_batches_and_parts_keep_the_order_of_the_images(tmp_path, network, images, settings) -> None:
    stored = store(tmp_path, network, Plain(), images, **settings)
    scores = Scores(stored, network, Plain())
    for position, image in enumerate(images):
        wanted = scores_from_scratch(network.eval(), Plain(), image)
        torch.testing.assert_close(scores_of(scores, position), wanted, rtol=0, atol=2e-3)


def stop_at_third() -> Callable[[], str | None]:
    answers = iter([None, None])
    return lambda: next(answers, "told to")


def test_a_stopped_pass_goes_on_with_the_same_bytes(tmp_path, network, images) -> None:
    whole = store(tmp_path / "whole", network, Plain(), images)
    stored = None
    while stored is None:
        try:
            stored = store(tmp_path / "broken", network, Plain(), images, stop=stop_at_third())
        except Interrupted:
            continue
    for position in range(len(images)):
        assert (stored.packed(position) == whole.packed(position)).all()
    assert len({path for path, _, _ in stored.places}) > 1, "several chunks, so that offsets are tested"


def test_a_killed_part_leaves_no_file_of_its_final_name(tmp_path, network, images) -> None:
    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        store(tmp_path, network, Plain(), images, stop=kill)
    assert all(is_leftover(path) for path in (tmp_path / "maps").iterdir())


def test_a_prior_multiplies_and_is_made_once_per_size(tmp_path, network, images) -> None:
    asked = []

    def prior_at(size):
        asked.append(size)
        return torch.full((4, *size), 0.5)

    stored = store(tmp_path, network, Plain(), images[:2])
    plain, weighted = Scores(stored, network, Plain()), Scores(stored, network, Plain(), prior_at)
    assert all(torch.equal(scores_of(weighted, k), scores_of(plain, k) * 0.5) for k in range(2))
    assert asked == [SIZES[0]]


def test_a_classifier_has_one_score_per_class(tmp_path, network, images) -> None:
    stored = store(tmp_path, network, Plain(), images)
    network.single_pixel = True
    assert scores_of(Scores(stored, network, Plain()), 0).shape == (4, 1, 1)


def test_no_images(tmp_path, network) -> None:
    assert len(store(tmp_path, network, Plain(), [])) == 0
