"""`reports`: one page that links to the report of every suite."""

import logging
from pathlib import Path

import pandas as pd

from pipeline.artifacts.files import write_text
from pipeline.plan.records import ReportsRecord
from pipeline.report.templating import render_template
from pipeline.stages.results import PAGE, Results


def publish(results: Results, record: ReportsRecord, log: logging.Logger) -> None:
    """Write `report/index.html`: the suites that have a page, with their experiments."""
    folder = results.report()
    suites = {page.parent.name: _experiments(page.parent) for page in sorted(folder.glob(f"*/{PAGE}"))}
    page = render_template("reports.html", suites=suites)
    write_text(folder / PAGE, page)
    log.info("finished: %s", folder / PAGE)


def _experiments(folder: Path) -> list[str]:
    """Names of the experiments on a suite's page."""
    return list(pd.read_csv(folder / "runs.csv", usecols=["experiment"])["experiment"].unique())
