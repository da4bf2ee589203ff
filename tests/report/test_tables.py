"""Tables of the report: figures computed by hand from the made-up experiments of `conftest.py`."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from pipeline.report.model import ReportData
from pipeline.report.tables import (
    per_class_table,
    results_table,
    runs_table,
    spread,
    write_tables,
)
from pipeline.report.terminal import text_table


def row(table: pd.DataFrame, experiment: str, stage: str) -> pd.Series:
    return table[(table["experiment"] == experiment) & (table["stage"] == stage)].iloc[0]


def test_spread_is_mean_and_sample_deviation():
    figure = spread([44.0, 47.0, None, 47.0])
    assert (figure.mean, figure.count) == (46.0, 3)
    assert figure.sd == pytest.approx(math.sqrt(3.0))
    assert str(figure) == "46.00 ± 1.73"


def test_one_seed_has_no_deviation_and_none_has_no_figure():
    assert str(spread([41.5])) == "41.50"
    assert spread([41.5]).sd is None
    assert spread([None, math.nan]) is None


def test_results_hold_mean_and_deviation_of_every_selection(data):
    inter = row(results_table(data), "streets-intrada", "inter")
    assert inter["last_mean"] == pytest.approx(46.0)
    assert inter["last_sd"] == pytest.approx(math.sqrt(3.0))
    assert inter["label_free_mean"] == pytest.approx(45.0)
    assert inter["oracle_best_mean"] == pytest.approx(48.0)
    assert (inter["seeds"], inter["planned"]) == (3, 3)


def test_gain_is_paired_by_seed(data):
    """inter - source = 4, 5, 3: mean 4, sd 1; an unpaired sd would be 2.6."""
    inter = row(results_table(data), "streets-intrada", "inter")
    assert (inter["gain_mean"], inter["gain_sd"]) == (pytest.approx(4.0), pytest.approx(1.0))
    assert inter["baseline"] == "streets-intrada / source"


def test_gain_uses_only_seeds_that_have_both(data):
    """intra ran for seeds 0 and 1: 46 - 40 and 47 - 42."""
    intra = row(results_table(data), "streets-intrada", "intra")
    assert (intra["gain_mean"], intra["gain_pairs"], intra["seeds"]) == (pytest.approx(5.5), 2, 2)


def test_baseline_has_no_gain_and_a_single_stage_is_compared_with_a_chain(data):
    """The longer source-only run: 41 - 40, 41 - 42, 45 - 44."""
    table = results_table(data)
    assert pd.isna(row(table, "streets-intrada", "source")["gain_mean"])
    longer = row(table, "streets-source-longer", "source")
    assert longer["gain_mean"] == pytest.approx(1 / 3)
    assert longer["baseline"] == "streets-intrada / source"


def test_single_stage_that_is_the_baseline_itself_has_no_gain(make_chain, experiment):
    same = make_chain("alone", {"source": [40.0, 42.0, 44.0]})
    assert pd.isna(row(results_table(ReportData((experiment, same))), "alone", "source")["gain_mean"])


def test_single_stage_on_another_task_or_network_has_no_baseline(make_chain, experiment):
    for changes in ({"task": "other"}, {"network": "large"}):
        other = make_chain("other", {"source": [50.0, 50.0, 50.0]}, **changes)
        assert pd.isna(row(results_table(ReportData((experiment, other))), "other", "source")["gain_mean"])


def test_gain_never_mixes_test_modes(make_chain):
    chain = make_chain("chain", {"source": [40.0], "inter": [50.0]}, test_modes=("plain", "aggregation"))
    runs = tuple(replace(run, test_mode="aggregation") if run.stage == "inter" else run for run in chain.runs)
    table = results_table(ReportData((replace(chain, runs=runs),)))
    found = table[(table["stage"] == "inter") & (table["test_mode"] == "aggregation")].iloc[0]
    assert found["last_mean"] == 50.0
    assert pd.isna(found["gain_mean"])


def test_unrun_cells_are_rows_that_say_so(data):
    table = runs_table(data)
    missing = table[table["status"] == "not run"]
    assert missing[["experiment", "stage", "seed"]].to_numpy().tolist() == [["streets-intrada", "intra", 2]]
    assert missing["value"].isna().all()


def test_runs_carry_step_and_selection(data):
    table = runs_table(data)
    found = table[
        (table["experiment"] == "streets-intrada") & (table["stage"] == "source") & (table["seed"] == 1)
    ]
    figures = found[found["metric"] == "mIoU"].set_index("selection")
    assert figures["step"].to_dict() == {"last": 600, "label_free": 480, "oracle_best": 360}
    assert figures["value"].to_dict() == {"last": 42.0, "label_free": 41.0, "oracle_best": 44.0}


def test_per_class_row_averages_to_its_mean(data, experiment):
    table = per_class_table([experiment])
    inter = row(table, "streets-intrada", "inter")
    assert [inter["road"], inter["car"], inter["person"]] == [56.0, 36.0, 46.0]
    assert inter["mean of classes"] == pytest.approx(46.0)


def test_absent_class_is_left_out_of_the_mean(make_chain):
    chain = make_chain("chain", {"source": [40.0]})
    run = chain.runs[0]
    last = replace(run.scores["last"], per_class={"road": 50.0, "car": 30.0, "person": None})
    chain = replace(chain, runs=(replace(run, scores={"last": last}),))
    found = per_class_table([chain]).iloc[0]
    assert pd.isna(found["person"])
    assert found["mean of classes"] == 40.0


def test_terminal_text_shows_results_gains_and_what_was_not_run(data, make_chain):
    planned = make_chain("planned", {"source": [None], "inter": [None]}, task="other")
    text = text_table(ReportData((*data.experiments, planned)))
    line = next(line for line in text.splitlines() if "inter (advent)" in line and "intrada" in line)
    assert " ".join(line.split()[1:]) == (
        "inter (advent) plain 3/3 46.00 ± 1.73 +4.00 ± 1.00 45.00 ± 1.73 48.00 ± 1.73"
    )
    assert "mIoU %, last step" in text
    assert text.count("not run") == 2
    assert "oracle" in text


def test_a_target_without_labels_shows_figures_that_need_none(make_chain):
    item = make_chain("own", {"source": [1.0, 1.0], "inter": [1.0, None]}, task="own")
    figures = {"entropy": 0.25, "information_maximisation": 0.5}
    runs = tuple(replace(run, scores={}, label_free_figures=figures) for run in item.runs)
    data = ReportData((replace(item, runs=runs),))
    lines = [" ".join(line.split()) for line in text_table(data).splitlines()]
    assert "own source (supervised) 2/2 no labels 0.2500 ± 0.0000 0.5000 ± 0.0000 0.6667 ± 0.0000" in lines
    assert "own inter (advent) 1/2 no labels 0.2500 0.5000 0.6667" in lines
    assert "not run" not in text_table(data)
    assert list(runs_table(data)["status"]) == ["no labels"] * 3 + ["not run"]


def test_tables_are_written_as_csv_and_json_that_read_back(data, tmp_path):
    written = write_tables(data, tmp_path / "tables")
    assert {path.name for path in written} == {
        f"{name}.{kind}" for name in ("runs", "results", "taken", "per_class-1") for kind in ("csv", "json")
    }
    back = pd.read_csv(tmp_path / "tables" / "results.csv")
    assert row(back, "streets-intrada", "inter")["last_mean"] == 46.0
    rows = json.loads((tmp_path / "tables" / "results.json").read_text())
    assert rows[0]["gain_mean"] is None
    assert rows[1]["gain_mean"] == 4.0
