"""Learning rates of the protocol's table, warm-up, snapshot steps, and what parameters refuse."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.methods.parameters import OBJECTIVES
from pipeline.methods.registry import METHODS
from pipeline.training.parameters import AdamwParameters, TrainParameters
from pipeline.training.schedules import learning_rate_factor, snapshot_steps


def parameters(**values: Any) -> TrainParameters:
    return TrainParameters.model_validate({"method": "advent", "steps": 120_000, "horizon": 250_000} | values)


@pytest.mark.parametrize(
    ("base", "step", "rate"),
    [
        (2.5e-4, 0, 2.500e-4),
        (2.5e-4, 70_000, 1.860e-4),
        (2.5e-4, 120_000, 1.388e-4),
        (1e-4, 0, 1e-4),
        (1e-4, 70_000, 7.44e-5),
        (1e-4, 120_000, 5.55e-5),
    ],
)
def test_rates_of_the_published_runs(base: float, step: int, rate: float) -> None:
    assert base * learning_rate_factor(parameters(), step) == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(("steps", "horizon", "rate"), [(10_416, 11_160, 2.2e-5), (2_976, 3_720, 5.9e-5)])
def test_last_rates_of_plca(steps: int, horizon: int, rate: float) -> None:
    factor = learning_rate_factor(parameters(steps=steps, horizon=horizon), steps - 1)
    assert 2.5e-4 * factor == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize(
    ("decay", "step", "rate"),
    [
        ("during", 0, 6e-5 * 1e-6),
        ("during", 750, 6e-5 * (1 - 750 / 40_000) * (1 - 0.5 * (1 - 1e-6))),
        ("during", 1_499, 6e-5 * (1 - 1_499 / 40_000) * (1 - (1 - 1_499 / 1_500) * (1 - 1e-6))),
        ("during", 1_500, 6e-5 * 0.9625),
        ("after", 0, 6e-5 * 1e-3),
        ("after", 1_499, 6e-5),
        ("after", 1_500, 6e-5 * 0.9625),
        ("after", 20_000, 3e-5),
    ],
)
def test_rates_of_daformer_and_of_vfm_uda(decay: str, step: int, rate: float) -> None:
    warmup = {"steps": 1_500, "decay": decay}
    published = parameters(steps=40_000, horizon=None, power=1.0, warmup=warmup)
    assert 6e-5 * learning_rate_factor(published, step) == pytest.approx(rate, rel=1e-9)


def test_the_horizon_is_the_end_unless_told() -> None:
    short = parameters(steps=10, horizon=None)
    assert learning_rate_factor(short, 9) == pytest.approx(0.1**0.9)
    assert learning_rate_factor(parameters(steps=10, horizon=None, power=0.0), 9) == 1.0


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [(10, 5, (2, 4, 6, 8, 10)), (7, 3, (2, 5, 7)), (5, 1, (5,)), (3, 3, (1, 2, 3)), (120_000, 60, None)],
)
def test_snapshots_are_evenly_spaced_and_hold_the_last(
    steps: int, count: int, expected: tuple[int, ...] | None
) -> None:
    assert snapshot_steps(steps, count) == (expected or tuple(range(2000, 120_001, 2000)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"horizon": 10}, "below steps"),
        ({"warmup_steps": 1_500}, "warmup_steps: found 1500, but it is always 0 now"),
        ({"steps": 3, "snapshots": 4}, "above steps"),
        ({"batch": 3, "accumulation": 2}, "equal micro-batches"),
        ({"pool_images": 4}, "pool_images: found 4, but it is always 2 now; Lovasz-softmax has its own"),
        ({"method": "plca", "batch": 3}, "micro-batch of 3 images cannot be cut into the groups of 2"),
        ({"method": "plca", "batch": 2, "objective": {"lovasz_images": 4}}, "into the groups of 4"),
        ({"objective": {"entropy_weight": 1.0}}, "entropy_weight"),
        ({"objective": {"method": "minent"}}, "objective.method"),
        ({"optimiser": {"kind": "adamw", "momentum": 0.9}}, "momentum"),
        ({"optimiser": {"lr": 0.0}}, "greater than 0"),
        ({"optimiser": {"lr": float("inf")}}, "finite"),
        ({"method": "advnt", "objective": {"adversarial_weight": 1.0}}, "'advent'"),
        ({"augmentation": {"sauce": {}}}, "sauce"),
        ({"method": "advent", "augmentation": {"target": {"style": 0.5}}}, "only source images take"),
    ],
)
def test_parameters_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parameters(**values)


def test_an_unknown_method_has_one_complaint() -> None:
    with pytest.raises(ValidationError) as error:
        parameters(method="advnt", objective={"any": 1})
    assert [complaint["loc"] for complaint in error.value.errors()] == [("method",)]


def test_what_is_hashed_tells_optimisers_apart() -> None:
    """Equal numbers under another optimiser must never share a key."""
    dumps = [
        parameters(optimiser={"kind": kind, "lr": 1e-3}).model_dump(exclude_defaults=True)["optimiser"]
        for kind in ("sgd", "adamw")
    ]
    assert dumps[0] != dumps[1]


def test_augmentation_of_a_domain_that_is_not_read_changes_nothing() -> None:
    augmentation = {"source": {"flip": 0.5}, "target": {"flip": 0.5}}
    only_source = parameters(method="supervised", augmentation=augmentation)
    assert set(only_source.augmentation) == {"source"}
    assert set(parameters(augmentation=augmentation).augmentation) == {"source", "target"}


def test_parameters_survive_json() -> None:
    full = parameters(optimiser={"kind": "adamw", "lr": 0.001}, augmentation={"target": {"crop": [4, 4]}})
    assert TrainParameters.model_validate_json(full.model_dump_json()) == full
    assert isinstance(full.optimiser, AdamwParameters)


def test_domains_follow_the_objective() -> None:
    assert parameters(method="supervised").domains_read() == ("source",)
    labelled = parameters(method="supervised", objective={"labelled_weight": 1.0})
    assert labelled.domains_read() == ("source", "labelled")
    assert parameters().domains_read() == ("source", "target")
    styled = parameters(method="supervised", augmentation={"source": {"style": 0.5}})
    assert styled.domains_read() == ("source", "target")
    assert styled.objective.domains() == ("source",)


@pytest.mark.parametrize(
    ("method", "weights", "domains"),
    [
        ("minent", {"entropy_weight": 0}, ("source", "target")),
        ("advent", {"adversarial_weight": 0, "adversarial_aux_weight": 0}, ("source",)),
        ("adaptseg", {"adversarial_weight": 0, "adversarial_aux_weight": 0}, ("source",)),
        ("adaptseg", {"adversarial_weight": 0}, ("source", "target")),
        ("ass", {"adversarial_weight": 0, "adversarial_aux_weight": 0}, ("source", "labelled")),
    ],
)
def test_images_that_no_weight_makes_count_are_not_loaded(method, weights, domains) -> None:
    """A forward pass of weight 0 would still move BatchNorm's statistics (trap B4)."""
    assert parameters(method=method, objective=weights).domains_read() == domains


@pytest.mark.parametrize(
    ("method", "objective", "named"),
    [
        ("ass", {"semantic_weight": 0, "semantic_tensor": "feature"}, "semantic_tensor"),
        ("self_training", {"alpha": 0.2}, "alpha"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(method, objective, named) -> None:
    with pytest.raises(ValidationError, match=f"{named}: not used with"):
        parameters(method=method, objective=objective)


def test_every_objective_has_a_method() -> None:
    assert set(METHODS) == set(OBJECTIVES)
