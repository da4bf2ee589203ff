"""Greedy k-center: known choices, determinism and the tie rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.numerics.diversity import distance_to_nearest, k_center_greedy


def test_first_the_hardest_then_the_farthest():
    points = np.array([[0.0], [1.0], [5.0], [9.0]])
    hardness = np.array([0.5, 0.9, 0.5, 0.5])
    assert k_center_greedy(points, 3, hardness, seed=0) == [1, 3, 2]


def test_hardness_outweighs_distance():
    points = np.array([[0.0], [10.0], [8.0]])
    assert k_center_greedy(points, 2, np.array([1.0, 0.2, 0.6]), seed=0) == [0, 2]


def test_copies_of_a_chosen_image_come_last():
    points = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    chosen = k_center_greedy(points, 4, np.array([1.0, 0.9, 0.5, 0.5]), seed=0)
    assert chosen == [0, 2, 3, 1]


def test_earlier_centres_count_from_the_first_choice_on():
    points, hardness = np.array([[1.0], [5.0], [9.0]]), np.array([0.9, 0.5, 0.4])
    assert k_center_greedy(points, 3, hardness, 0) == [0, 2, 1]
    assert k_center_greedy(points, 3, hardness, 0, centres=np.array([[0.0]])) == [2, 1, 0]
    assert k_center_greedy(points, 2, hardness, 0, centres=points[:0]) == [0, 2]


def test_distance_to_nearest():
    points = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert distance_to_nearest(points, np.array([[3.0, 4.0], [0.0, 1.0]])).tolist() == [1.0, 0.0]
    assert np.isinf(distance_to_nearest(points, points[:0])).all()


def test_ties_follow_the_seed_and_nothing_else():
    points = np.zeros((30, 2))
    hardness = np.ones(30)
    first = k_center_greedy(points, 30, hardness, seed=1)
    assert first == k_center_greedy(points.copy(), 30, hardness.copy(), seed=1)
    assert sorted(first) == list(range(30))
    assert first != k_center_greedy(points, 30, hardness, seed=2)
    assert first[:10] == k_center_greedy(points, 10, hardness, seed=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 1000))
def test_greedy_choice_is_the_slow_one(count, dimensions, seed):
    generator = np.random.default_rng(seed)
    points, hardness = generator.normal(size=(12, dimensions + 1)), generator.random(12)
    chosen = k_center_greedy(points, count, hardness, seed)
    assert len(set(chosen)) == count and chosen[0] == hardness.argmax()
    for k in range(1, count):
        scores = {
            i: hardness[i] * min(np.linalg.norm(points[i] - points[j]) for j in chosen[:k])
            for i in range(12)
            if i not in chosen[:k]
        }
        assert scores[chosen[k]] == pytest.approx(max(scores.values()))


def test_bounds_and_bad_values():
    points, hardness = np.zeros((3, 2)), np.ones(3)
    assert k_center_greedy(points, 0, hardness, 0) == []
    with pytest.raises(ValueError, match="cannot choose 4 of 3"):
        k_center_greedy(points, 4, hardness, 0)
    with pytest.raises(ValueError, match="finite"):
        k_center_greedy(points, 1, np.array([1.0, np.nan, 0.0]), 0)
    with pytest.raises(ValueError, match="vectors must be"):
        k_center_greedy(points, 1, np.ones(2), 0)
