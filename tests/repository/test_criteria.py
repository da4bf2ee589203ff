"""The table of label-free criteria over a made-up results folder whose figures are easy to check by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "criteria.py"
NETWORKS = {
    "source": [(10, 0.6, 0.12, 20.0), (20, 0.5, 0.20, 30.0)],
    "good": [(10, 0.45, 0.40, 40.0)],
    "collapsed": [(10, 0.0, 0.01, 5.0)],
    "subtle": [(10, 0.3, 0.50, 28.0)],
}
"""Step, entropy, information maximisation and mIoU of each snapshot."""


def artifact(results: Path, kind: str, key: str, parents: dict[str, str], **parameters: str) -> Path:
    folder = results / kind / key
    folder.mkdir(parents=True)
    manifest = {"kind": kind, "key": key, "parameters": parameters}
    manifest["parents"] = {role: {"key": parent} for role, parent in parents.items()}
    (folder / "artifact.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def results(tmp_path):
    for name, rows in NETWORKS.items():
        adapted = name != "source"
        parents = {"source": "rendered"} | ({"init": "source"} if adapted else {})
        artifact(tmp_path, "train", name, parents, method="minent" if adapted else "supervised")
        table = pd.DataFrame(rows, columns=["step", "entropy", "information_maximisation", "miou_present"])
        chosen = artifact(tmp_path, "select", f"select-{name}", {"model": name, "target": "camera"})
        table.drop(columns="miou_present").to_csv(chosen / "selection.csv", index=False)
        parents = {"model": name, "data": "val"}
        scored = artifact(tmp_path, "evaluate", f"evaluate-{name}", parents, test_mode="plain")
        table[["step", "miou_present"]].to_csv(scored / "metrics.csv", index=False)
    return tmp_path


def test_each_criterion_is_judged_by_rank_and_by_its_choices(results):
    command = [sys.executable, str(SCRIPT), str(results)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = {line.split("camera")[1].rsplit(maxsplit=6)[0].strip(): line.split()[-6:] for line in printed[1:]}
    # Networks, rank correlation, pairs, adaptation worse, wrong choices, took worse than source-only.
    assert rows["information maximisation"] == ["5", "0.70", "3", "2", "1", "1"]
    assert rows["certainty"] == ["5", "-0.30", "3", "2", "2", "2"]
    # .171, .286, .471, .018 and .625: diversity counts as 0.56 at least, four fifths of the source's last.
    assert rows["uncertainty coefficient"] == ["5", "0.70", "3", "2", "1", "1"]
    assert rows["diversity"] == ["5", "0.70", "3", "2", "1", "1"]
