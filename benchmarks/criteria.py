"""How far label-free criteria agree with the truth, over all finished networks of a results folder.

    python benchmarks/criteria.py results

Reads the artifacts of `select` and `evaluate`; computes nothing anew. One row per evaluated split and criterion:
networks (rows and snapshots), Spearman's rank correlation with mIoU, pairs of an adapted stage's last step and the
source-only stage that it began with, in how many of these adaptation was worse, how often the criterion's choice
was wrong, and how often what it took was worse than source-only.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.report.guard import LEAST_DIVERSITY

CRITERIA = {
    "certainty": lambda table: -table["entropy"],
    "diversity": lambda table: table["diversity"],
    "information maximisation": lambda table: table["information_maximisation"],
    "uncertainty coefficient": lambda table: (
        table["information_maximisation"] / table[["diversity", "least_diversity"]].max(axis=1)
    ),
}
"""Higher is better. Certainty: the mean entropy, negated. Diversity: the entropy of the mean prediction. The uncertainty
coefficient is the guard's: diversity counts as no less than a share of that of the source-only stage."""


def manifests(results: Path, kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and manifest of every finished artifact of a kind."""
    for path in sorted(results.glob("*/*/artifact.json")):
        manifest = json.loads(path.read_text("utf-8"))
        if manifest["kind"] == kind:
            yield path.parent, manifest


def scores(results: Path) -> pd.DataFrame:
    """One row per criterion, network and evaluated split: criterion, data, target, model, step, value, miou."""
    begun, measured, chosen = beginnings(results), [], {}
    for folder, manifest in manifests(results, "select"):
        table = pd.read_csv(folder / "selection.csv")
        table["diversity"] = table["information_maximisation"] + table["entropy"]
        chosen[manifest["parents"]["model"]["key"], manifest["parents"]["target"]["key"]] = table
    for (model, target), table in chosen.items():
        first = chosen.get((begun.get(model), target))
        table["least_diversity"] = 0.0 if first is None else LEAST_DIVERSITY * first["diversity"].iloc[-1]
        names = {"model": model, "target": target, "step": table["step"]}
        for criterion, value in CRITERIA.items():
            measured.append(pd.DataFrame({"criterion": criterion, **names, "value": value(table)}))
    known = []
    for folder, manifest in manifests(results, "evaluate"):
        table = pd.read_csv(folder / "metrics.csv")
        names = {"model": manifest["parents"]["model"]["key"], "data": manifest["parents"]["data"]["key"]}
        mode = manifest["parameters"]["test_mode"]
        known.append(
            pd.DataFrame({**names, "mode": mode, "step": table["step"], "miou": table["miou_present"]})
        )
    if not measured or not known:
        return pd.DataFrame(columns=["criterion", "model", "target", "step", "value", "data", "mode", "miou"])
    return pd.concat(measured).merge(pd.concat(known), on=["model", "step"]).dropna(subset="miou")


def beginnings(results: Path) -> dict[str, str]:
    """The source-only training that each adapted one began with, by their keys."""
    trained = {manifest["key"]: manifest for _, manifest in manifests(results, "train")}
    found = {}
    for key, manifest in trained.items():
        first = manifest
        while "init" in first["parents"] and first["parents"]["init"]["key"] in trained:
            first = trained[first["parents"]["init"]["key"]]
        if first is not manifest and first["parameters"]["method"] == "supervised":
            found[key] = first["key"]
    return found


def pairs(table: pd.DataFrame, begun: dict[str, str]) -> pd.DataFrame:
    """Last steps of adapted networks beside those of their source-only: value, miou, source_value, source_miou."""
    last = table.sort_values("step").groupby("model").tail(1).set_index("model")
    rows = [
        {
            "value": last.loc[model, "value"],
            "miou": last.loc[model, "miou"],
            "source_value": last.loc[begun[model], "value"],
            "source_miou": last.loc[begun[model], "miou"],
        }
        for model in last.index
        if begun.get(model) in last.index
    ]
    return pd.DataFrame(rows, columns=["value", "miou", "source_value", "source_miou"], dtype=float)


def criteria_table(results: Path) -> pd.DataFrame:
    """The table that is printed."""
    begun, rows = beginnings(results), []
    for (data, mode, target, criterion), table in scores(results).groupby(
        ["data", "mode", "target", "criterion"]
    ):
        compared = pairs(table, begun)
        adapted, worse = (
            compared["value"] > compared["source_value"],
            compared["miou"] < compared["source_miou"],
        )
        better = compared["miou"] > compared["source_miou"]
        rows.append(
            {
                "scored on": data,
                "test mode": mode,
                "target": target,
                "criterion": criterion,
                "networks": len(table),
                "rank correlation": table["value"].rank().corr(table["miou"].rank()),
                "pairs": len(compared),
                "adaptation worse": int(worse.sum()),
                "wrong choices": int((adapted & worse).sum() + (~adapted & better).sum()),
                "took worse than source-only": int((adapted & worse).sum()),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="a results folder")
    table = criteria_table(parser.parse_args().results)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))


if __name__ == "__main__":
    main()
