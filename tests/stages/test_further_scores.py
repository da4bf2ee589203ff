"""A further split's score stands in the run's figures and in the tables."""

import pandas as pd
from chain_world import json_or_yaml, write

from pipeline.artifacts.files import read_json


def test_the_same_split_under_another_name_has_the_same_figures(chain):
    path = chain.folder / "config/tasks/files.yaml"
    write(path, json_or_yaml(path) | {"also": {"again": {"dataset": "camera", "split": "val"}}})
    run = chain.plan()
    chain.finish(*run.all_stages())
    figures = read_json(chain.publish(run) / "metrics.json")["stages"]
    for name in ("source", "inter", "intra"):
        assert figures[name]["also"] == {"again": figures[name]["last"]}
    assert chain.report() == 0
    table = pd.read_csv(chain.results / "report/chain/runs.csv")
    values = {
        metric: rows["value"].tolist()
        for metric, rows in table[table["selection"] == "last"].groupby("metric")
    }
    assert len(values["mIoU again"]) == 3 and values["mIoU again"] == values["mIoU"]
