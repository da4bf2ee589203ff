"""The guard: whether adaptation seems to have helped, judged on unlabelled target images alone.

Both networks' last snapshots are compared by information maximisation, which `select` has computed: surer answers
count for a network only as long as it still uses many classes. A tie goes to source-only.
"""

import logging
from typing import Any

import pandas as pd

from pipeline.plan.records import RunRecord
from pipeline.stages.results import Results

CRITERION = "information_maximisation"


def taken(results: Results, record: RunRecord) -> dict[str, Any] | None:
    """What `model/` is to hold: `stage`, `criterion`, and its `values` by stage; None for a run without a guard."""
    if record.source_only is None:
        return None
    values = {name: _value(results, record, name) for name in (record.source_only, record.final)}
    better = values[record.final] > values[record.source_only]
    stage = record.final if better else record.source_only
    return {"stage": stage, "criterion": CRITERION, "values": values}


def _value(results: Results, record: RunRecord, name: str) -> float:
    table = pd.read_csv(results.folder(record.selects[name]).path / "selection.csv")
    return float(table[CRITERION].iloc[-1])


def warn_of_swap(choice: dict[str, Any] | None, record: RunRecord, log: logging.Logger) -> None:
    """Say in the log that adaptation seems to have made things worse."""
    if choice and choice["stage"] != record.final:
        log.warning(
            "ADAPTATION SEEMS TO HAVE MADE THINGS WORSE: on target images %s has %s %.4f and %s %.4f; model/ holds %s",
            record.final,
            CRITERION.replace("_", " "),
            choice["values"][record.final],
            record.source_only,
            choice["values"][record.source_only],
            record.source_only,
        )
