"""Which image a slot shows: a pure function of seed, domain, step and slot."""

import numpy as np
import pytest

from pipeline.data import sampler
from pipeline.data.sampler import SampleOrder


def draw(steps, batch, count, mode="epoch", seed=0, domain="source", start=0, draws=0):
    order = SampleOrder(seed, batch, mode, draws)
    return [
        order.index(domain, count, step, slot)
        for step in range(start, start + steps)
        for slot in range(batch)
    ]


@pytest.mark.parametrize(("count", "batch"), [(10, 2), (7, 3), (5, 8), (1, 4)])
def test_an_epoch_shows_every_image_once(count, batch):
    drawn = draw(count * 3, batch, count)
    epochs = np.array(drawn[: len(drawn) // count * count]).reshape(-1, count)
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs.tolist())


def test_epochs_seeds_and_domains_have_their_own_orders():
    base = draw(50, 1, 50)
    assert base != draw(50, 1, 50, start=50)
    assert base != draw(50, 1, 50, seed=1)
    assert base != draw(50, 1, 50, domain="target")


def test_a_resumed_run_needs_no_replay():
    whole = draw(40, 4, 13)
    sampler._order.cache_clear()
    assert draw(15, 4, 13, start=25) == whole[100:]


def test_processes_share_the_steps_of_one():
    whole = draw(6, 4, 11)
    order = SampleOrder(seed=0, batch=4)
    halves = [
        [order.index("source", 11, step, slot) for step in range(6) for slot in own]
        for own in ((0, 1), (2, 3))
    ]
    assert [whole[i] for i in range(24) if i % 4 < 2] == halves[0]
    assert [whole[i] for i in range(24) if i % 4 >= 2] == halves[1]


def test_replicated_repeats_the_list_and_shuffles_once():
    drawn = draw(30, 2, 10, "replicated", draws=60)
    assert np.bincount(drawn, minlength=10).tolist() == [6] * 10
    first = drawn[:10]
    assert len(set(first)) < 10
    assert draw(30, 2, 10, "replicated", draws=60) == drawn


def test_replicated_covers_the_draws_when_the_list_does_not_divide_them():
    drawn = draw(25, 1, 10, "replicated", draws=25)
    assert np.bincount(drawn, minlength=10).max() <= 3
    assert max(draw(80, 1, 10, "replicated", draws=25)) == 9


def test_every_image_is_as_likely_at_every_place():
    firsts = np.bincount(
        [SampleOrder(seed, batch=1).index("source", 5, 0, 0) for seed in range(1000)], minlength=5
    )
    assert firsts.min() > 150


def test_one_image_is_always_drawn_and_none_is_an_error():
    assert set(draw(5, 3, 1)) == {0} == set(draw(5, 3, 1, "replicated", draws=15))
    with pytest.raises(ValueError, match="domain target has no images"):
        SampleOrder(seed=0, batch=1).index("target", 0, 0, 0)


def test_the_order_is_frozen():
    """Another order would change every result; NumPy freezes the stream that it is made of."""
    assert draw(8, 1, 8) == [7, 4, 5, 1, 2, 3, 0, 6]
