"""Ranking and split: counts of the published runs, ties, empty parts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.numerics.ranking import Split, rank, ranking_scores, split_by_entropy


@pytest.mark.parametrize(
    ("share", "easy"),
    [(0.0, 0), (0.5, 1487), (0.6, 1785), (0.67, 1993), (0.7, 2082), (0.8, 2380), (1.0, 2975)],
)
def test_sizes_of_the_cityscapes_split(share: float, easy: int) -> None:
    names = [f"image{i:04d}" for i in range(2975)]
    split = split_by_entropy(names, [i / 2975 for i in range(2975)], share)
    assert (len(split.easy), len(split.hard)) == (easy, 2975 - easy)
    assert split.easy + split.hard == tuple(names)


def test_empty_split_is_allowed_at_both_ends() -> None:
    assert split_by_entropy(["a"], [0.5], 0.0) == Split((), ("a",))
    assert split_by_entropy(["a"], [0.5], 1.0) == Split(("a",), ())
    assert split_by_entropy(["a"], [0.5], 0.9) == Split((), ("a",))
    assert split_by_entropy([], [], 0.67) == Split((), ())


@given(st.permutations([("d", 0.5), ("b", 0.5), ("a", 0.7), ("c", 0.1), ("e", 0.5)]))
def test_ties_go_by_name_whatever_the_order_of_the_input(pairs: list[tuple[str, float]]) -> None:
    names, scores = [p[0] for p in pairs], [p[1] for p in pairs]
    assert [names[i] for i in rank(names, scores)] == ["c", "b", "d", "e", "a"]
    assert split_by_entropy(names, scores, 0.4) == Split(("c", "b"), ("d", "e", "a"))


def test_three_named_rare_class_variants_differ() -> None:
    entropies, present = [0.38, 0.38, 0.19], [0, 11, 4]
    assert ranking_scores("plain", entropies, present, 11, 19) == entropies
    assert ranking_scores("rare_code", entropies, present, 11, 19) == pytest.approx(
        [0.02 * 1.5, 0.02 * 0.5, 0.01 * (7 / 11 + 0.5)]
    )
    assert ranking_scores("rare_paper", entropies, present, 11, 19) == pytest.approx(
        [0.38, 0.38 / 11, 0.19 / 4]
    )


@pytest.mark.parametrize("value", ["False", "True", "", False, True, None])
def test_ranking_is_an_enum_not_a_boolean_or_its_string(value: object) -> None:
    with pytest.raises(ValueError, match="plain, rare_code or rare_paper"):
        ranking_scores(value, [0.1], [0], 11, 19)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["rare_code", "rare_paper"])
def test_rare_variant_without_rare_classes_is_an_error(variant: str) -> None:
    with pytest.raises(ValueError, match="names none"):
        ranking_scores(variant, [0.1], [0], 0, 19)  # type: ignore[arg-type]


def test_plain_needs_no_rare_classes() -> None:
    assert ranking_scores("plain", [0.25], [0], 0, 2) == [0.25]


@pytest.mark.parametrize(
    ("entropies", "present"),
    [([math.nan], [0]), ([math.inf], [0]), ([0.1], [12]), ([0.1], [-1]), ([0.1], [])],
)
def test_impossible_values_are_errors(entropies: list[float], present: list[int]) -> None:
    with pytest.raises(ValueError):
        ranking_scores("plain", entropies, present, 11, 19)


def test_rank_refuses_what_has_no_order() -> None:
    with pytest.raises(ValueError, match="NaN"):
        rank(["a", "b"], [0.1, math.nan])
    with pytest.raises(ValueError, match="distinct"):
        rank(["a", "a"], [0.1, 0.2])
    with pytest.raises(ValueError, match="distinct"):
        rank(["a", "b"], [0.1])


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_share_outside_zero_to_one_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match="lambda"):
        split_by_entropy(["a"], [0.1], share)
