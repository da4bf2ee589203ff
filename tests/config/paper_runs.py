"""The papers' configurations as tests take them: what a stage hashes, and a run of two steps on tiny files."""

import re
import shutil
from pathlib import Path

import yaml

from pipeline.config.load import load_config
from pipeline.plan.files import write_stage_files
from pipeline.plan.planner import Planner
from pipeline.plan.run import PlannedRun
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file

CONFIG = Path(__file__).resolve().parents[2] / "config"


def published(plan, paper, stage):
    """Parameters of one training stage of a paper, and its network, as plain data."""
    planned = plan(paper)[0].stages[stage]
    network = planned.record.network.parameters.model_dump(mode="json")
    return planned.parameters.model_dump(mode="json") | {"network": network}


def tiny(folder):
    """IntraDA's suite with small pictures and the demo's network; two steps."""
    root = Path(shutil.copytree(CONFIG, folder / "config"))
    for path in (root / "tasks").glob("*-cityscapes.yaml"):
        path.write_text(re.sub(r"size: \[\d+, \d+\]", "size: [64, 48]", path.read_text()))
    suite = root / "paper-intrada.yaml"
    suite.write_text(re.sub(r"network: .*", "network: small", suite.read_text()))
    settings = root / "settings.yaml"
    steps = {"train": {"steps": 2, "horizon": None, "snapshots": 1}, "select": {"images": 2}}
    run = {"device": "cpu", "threads": 1, "workers": 0}
    settings.write_text(yaml.safe_dump({"set": steps, "run": run}))
    return [suite, settings]


def ran(paper, files, folder) -> PlannedRun:
    """Run a paper's experiment of these files in `folder`, stage by stage."""
    config = load_config(files, {"only": f"paper-{paper}", "seeds": 0}, folder / "config")
    (run,) = Planner(config).plan()
    write_stage_files(config, [run], folder / "results")
    for stage in in_order(run.all_stages()):
        log = folder / f"{stage.key}.log"
        assert run_file(folder / f"results/stages/{stage.key}.json", log) == 0, log.read_text()
    return run
