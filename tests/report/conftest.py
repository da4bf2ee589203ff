"""Fixtures of the report tests."""

from collections.abc import Callable

import pytest
from made_up_results import chain, full_experiment

from pipeline.report.model import ExperimentRecord, ReportData


@pytest.fixture
def make_chain() -> Callable[..., ExperimentRecord]:
    return chain


@pytest.fixture
def experiment() -> ExperimentRecord:
    return full_experiment()


@pytest.fixture
def data(experiment) -> ReportData:
    longer = chain("streets-source-longer", {"source": [41.0, 41.0, 45.0]})
    return ReportData((experiment, longer))
