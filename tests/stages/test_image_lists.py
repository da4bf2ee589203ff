"""The image lists in summaries and in the report: what a stage cut or chose, not only the lists it came from."""

import re

import pandas as pd
import pytest
from selftraining_runs import finish, make_run, plan, write_config

from pipeline.artifacts.files import digest_of
from pipeline.data.domain import Domain
from pipeline.plan.records import RunRecord
from pipeline.plan.stage import in_order
from pipeline.report.publishing import run_file
from pipeline.stages.inputs import pseudo_labels_of, source_names_of_round
from pipeline.stages.record import read_record
from pipeline.stages.results import Results
from pipeline.stages.runner import _header

CAMERA = [str(number) for number in range(6)]


def rows(page):
    """The report's table of lists, each row as its cells' text."""
    table = re.search(
        r"<summary>Image lists</summary>.*?<tbody>(.*?)</tbody>", page.read_text("utf-8"), re.DOTALL
    )
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table[1])
    ]


def rows_of_stages(chain):
    """What the report of a chain says of single stages."""
    assert chain.report() == 0
    return [row for row in rows(chain.results / "report" / "chain" / "index.html") if row[1]]


def report_of(results, planned, seeds=(0,)):
    """Run a planned experiment and make its report; returns its table of lists."""
    for stage in in_order(planned.all_stages()):
        finish(make_run(results, stage))
    for name in (*(f"experiment-tiny-seed{seed}" for seed in seeds), "report-tiny"):
        assert run_file(results / "stages" / f"{name}.json", None) == 0
    return rows(results / "report" / "tiny" / "index.html")


class Names:
    """A cache of which only the names are asked for."""

    labels = None

    def __init__(self, *names):
        self.names = names


def test_a_list_is_hashed_in_the_order_of_its_caches_whatever_its_own():
    caches = [Names("c", "a"), Names("b")]
    whole, part = Domain(caches), Domain(caches, names=["b", "a"])
    assert whole.list_facts() == {"images": 3, "names_sha256": digest_of(["c", "a", "b"])}
    assert part.list_facts() == {"images": 2, "names_sha256": digest_of(["a", "b"])}


def test_the_parts_of_a_split_are_told_for_the_stages_that_used_them(chain):
    run = chain.plan()
    chain.publish(run)
    table = pd.read_csv(chain.artifact(run.stages["split"]).path / "split.csv", dtype={"image": str})
    easy, hard = (
        [name for name in CAMERA if name in set(table.loc[table["split"] == part, "image"])]
        for part in ("easy", "hard")
    )
    assert table["image"].tolist() != CAMERA, "ranked, so that the hash could depend on the order"
    assert rows_of_stages(chain) == [
        ["pseudo-labels", "labels", "camera train", "4 of 6", "0", digest_of(easy)],
        ["source", "intra", "camera train", "4 of 6", "0", digest_of(easy)],
        ["target", "intra", "camera train", "2 of 6", "0", digest_of(hard)],
    ]


def test_the_whole_target_as_source_is_told_too(shared, tmp_path):
    chain = shared.copy(tmp_path / "chain")
    run = chain.plan(set_={"split": {"lambda": 1.0}})
    chain.finish(*run.all_stages())
    chain.publish(run)
    assert rows_of_stages(chain) == [
        ["source", "intra", "camera train", "6 of 6", "0", digest_of(CAMERA)],
        ["target", "intra", "camera train", "0 of 6", "0", digest_of([])],
    ]


def test_a_training_that_had_nothing_to_learn_from_used_no_image(shared, tmp_path):
    chain = shared.copy(tmp_path / "chain")
    run = chain.plan(set_={"split": {"lambda": 0.0}})
    chain.finish(*run.all_stages())
    chain.publish(run)
    assert [row[:4] for row in rows_of_stages(chain)] == [
        ["pseudo-labels", "labels", "camera train", "0 of 6"],
        ["source", "intra", "camera train", "0 of 6"],
        ["target", "intra", "camera train", "0 of 6"],
    ]


@pytest.fixture
def world(tmp_path):
    return write_config(tmp_path), tmp_path / "results"


def test_the_images_of_class_balanced_selection_are_told(world):
    root, results = world
    planned = plan(root, "cbst", {"labels": {"select_share": 0.4}}, results, rounds=1)
    found = report_of(results, planned)
    labels = make_run(results, planned.stages["labels1"])
    chosen = digest_of(list(pseudo_labels_of(labels.folder).names))
    assert [row for row in found if row[1]] == [
        ["pseudo-labels", "labels1", "streets-camera train", "2 of 5", "0", chosen],
        ["target", "round1", "streets-camera train", "2 of 5", "0", chosen],
    ]
    assert labels.folder.load()["summary"]["names_sha256"] == chosen


def test_the_source_images_of_a_round_are_told(world):
    root, results = world
    planned = plan(root, "cbst", {"round": {"objective": {"source_portion": 0.5}}}, results, rounds=1)
    found = report_of(results, planned)
    run = make_run(results, planned.stages["round1"])
    names = pd.read_csv(run.parent("source").path / "images.csv", dtype={"name": str})["name"].tolist()
    drawn = source_names_of_round(run.parameters, tuple(names), seed=0)
    used = digest_of([name for name in names if name in drawn])
    assert [row for row in found if row[1]] == [
        ["source", "round1", "streets-rendered train", "2 of 4", "0", used]
    ]
    whole = digest_of(names)
    assert ["source", "", "streets-rendered train", "4", "0", whole] in found


def test_seeds_that_drew_differently_have_a_row_each(tmp_path):
    root, results = write_config(tmp_path, source_images=12), tmp_path / "results"
    settings = {"round": {"objective": {"source_portion": 0.5, "drawing": "random"}}}
    planned = plan(root, "cbst", settings, results, rounds=2, seeds=[0, 1])
    second = read_record(results / "stages" / "experiment-tiny-seed1.json", RunRecord)
    for stage in second.artifacts():
        run_with_parents(Results(results), stage.key)
    found = report_of(results, planned, seeds=(0, 1))
    assert [row[:5] for row in found if row[0] == "source"] == [
        ["source", "", "streets-rendered train", "12", "0, 1"],
        ["source", "round1", "streets-rendered train", "6 of 12", "0"],
        ["source", "round1", "streets-rendered train", "6 of 12", "1"],
        ["source", "round2", "streets-rendered train", "6 of 12", "0"],
        ["source", "round2", "streets-rendered train", "6 of 12", "1"],
    ]


def run_with_parents(results, key):
    for parent in results.record(key).parents.values():
        run_with_parents(results, parent.key)
    assert run_file(results.planned(key), None) == 0


def test_a_training_that_noted_no_lists_is_refused_by_name(chain):
    run = chain.plan()
    chain.publish(run)
    intra = make_run(chain.results, run.stages["intra"])
    summary = {key: value for key, value in intra.folder.load()["summary"].items() if key != "lists"}
    intra.folder.publish(_header(intra, summary))
    assert chain.report() == 1


def test_noting_the_lists_changes_no_digest(chain):
    run = make_run(chain.results, chain.plan().stages["intra"])
    before = run.folder.load()["digest"]
    summary = run.folder.load()["summary"]
    assert summary["lists"].keys() == {"source", "target"}
    run.folder.publish(_header(run, {key: value for key, value in summary.items() if key != "lists"}))
    assert run.folder.load()["digest"] == before
