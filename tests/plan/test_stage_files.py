"""Stage files: content, written only when changed; and what the Snakefile reads of them."""

import errno
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from shop import by_key

from pipeline.artifacts.errors import ArtifactError
from pipeline.config.load import load_config
from pipeline.plan.workflow import Plan
from pipeline.stages.record import DomainRef, StageRecord
from pipeline.stages.results import Results


@pytest.fixture
def here(shop, monkeypatch):
    """The shop, planned from its own folder as Snakemake does it."""
    monkeypatch.chdir(shop.root.parent)
    return shop


def test_a_full_disk_is_told_and_leaves_nothing(here, monkeypatch):
    def full(self, text, encoding):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plan = Plan(load_config())
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SystemExit, match=r"cannot write .*results/stages/.*\.json.*disk is full"):
        plan.write()
    assert not list(here.results.glob("stages/.partial-*"))


def record(shop, name):
    return json.loads((shop.results / "stages" / f"{name}.json").read_text())


def stamps(shop):
    return {path.name: path.stat().st_mtime_ns for path in (shop.results / "stages").iterdir()}


def age(shop):
    for path in (shop.results / "stages").iterdir():
        os.utime(path, ns=(10**18, 10**18))


def rewritten(shop):
    return {name for name, stamp in stamps(shop).items() if stamp != 10**18}


def test_a_file_for_every_stage_experiment_and_the_report(shop):
    runs = shop.publish()
    names = {f"{key}.json" for key in by_key(runs)} | {
        "experiment-main-seed0.json",
        "report-shop.json",
        "reports.json",
    }
    assert set(stamps(shop)) == names


def test_a_stage_file_holds_all_that_a_job_needs(shop):
    (run,) = shop.publish(run={"threads": 3})
    split = run.stages["split"]
    assert record(shop, split.key) == {
        "key": split.key,
        "digest": split.digest,
        "former": None,
        "kind": "split",
        "rule": "split",
        "label": "split-tiny-s0",
        "seed": None,
        "determinism": "exact",
        "parents": {"ranking": {"key": run.stages["ranking"].key, "rule": "rank"}},
        "domains": {},
        "selection": None,
        "parameters": {"lambda": 0.67, "ranking": "plain"},
        "network": None,
        "data": None,
        "hashed": {
            "kind": "split",
            "version": 1,
            "parameters": {},
            "parents": {"ranking": run.stages["ranking"].digest},
            "taxonomy": {
                "classes": list(run.taxonomy.names),
                "rare": ["pole", "sign", "fence", "bicyclist"],
            },
        },
        "run": load_config(root=shop.root, overrides={"run": {"threads": 3}}).settings.run.model_dump(
            mode="json"
        ),
    }
    assert record(shop, run.stages["intra"].key)["seed"] == 0


def test_a_prepare_stage_file_names_dataset_and_taxonomy(shop):
    stages = by_key(shop.publish())
    key = next(key for key in stages if key.startswith("prepare-streets-rendered"))
    found = record(shop, key)
    data = found["data"]
    assert (data["dataset"]["name"], data["split"]) == ("streets-rendered", "train")
    assert data["identity"] == stages[key].record.hashed["data"]
    assert data["dataset"]["splits"]["train"] == {"count": 4}
    assert found["hashed"]["taxonomy"]["classes"][0] == "sky"


def test_the_experiment_file_is_the_view_for_people(shop):
    (run,) = shop.publish()
    found = record(shop, "experiment-main-seed0")
    assert [stage["name"] for stage in found["stages"]] == [
        "source",
        "inter",
        "ranking",
        "split",
        "labels",
        "intra",
    ]
    assert [stage["method"] for stage in found["stages"]] == [
        "supervised",
        "advent",
        None,
        None,
        None,
        "advent",
    ]
    assert found["final"] == "intra" and found["metric"] == "miou" and found["title"] == "IntraDA"
    assert found["evaluates"]["intra"] == {"key": run.evaluates["intra"].key, "rule": "evaluate"}


def test_rules_follow_kind_and_method(shop):
    shop.experiment("main", "intrada-cbst")
    rules = {name: stage.rule for name, stage in shop.run().stages.items()}
    assert rules == {
        "source": "pretrain",
        "inter": "adapt",
        "ranking": "rank",
        "split": "split",
        "easy": "pseudolabel",
        "intra": "adapt",
        **{f"labels{n}": "pseudolabel" for n in (1, 2, 3)},
        **{f"round{n}": "selftrain" for n in (1, 2, 3)},
    }


def test_planning_again_writes_nothing(shop):
    shop.publish()
    age(shop)
    shop.publish()
    assert rewritten(shop) == set()


def test_an_edit_adds_files_and_rewrites_only_the_experiments(shop):
    before = set(by_key(shop.publish()))
    age(shop)
    shop.experiment("main", set={"split": {"lambda": 0.5}})
    after = set(by_key(shop.publish()))
    assert rewritten(shop) == {f"{key}.json" for key in after - before} | {"experiment-main-seed0.json"}
    assert {f"{key}.json" for key in before} <= set(stamps(shop)), "files of earlier plans stay"


def test_a_run_setting_rewrites_files_in_place(shop):
    first = set(by_key(shop.publish()))
    age(shop)
    assert set(by_key(shop.publish(run={"workers": 0}))) == first
    assert rewritten(shop) == {f"{key}.json" for key in first}


def test_no_temporary_file_stays(shop):
    shop.publish()
    assert [path for path in (shop.results / "stages").iterdir() if path.suffix != ".json"] == []


def test_records_are_plain_json_with_sorted_keys(shop):
    (run,) = shop.publish()
    path = shop.results / "stages" / f"{run.stages['intra'].key}.json"
    assert path.read_text() == json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True) + "\n"


def test_what_is_written_is_read_as_it_was_planned(shop):
    shop.experiment("main", set={"intra": {"init_snapshot": "label_free"}})
    stages = by_key(shop.publish())
    assert {stage.kind for stage in stages.values()} >= {"prepare", "train", "split", "pseudolabel"}
    for key, stage in stages.items():
        assert Results(shop.results).record(key) == stage.record


def test_a_domain_names_caches_part_and_labels(shop):
    (run,) = shop.publish()
    domains = Results(shop.results).record(run.stages["intra"].key).domains
    assert domains == {
        "source": DomainRef(caches=("source",), labels="source_labels"),
        "target": DomainRef(caches=("target",), split="target_part", part="hard"),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parents": {"ranking": {"key": "x"}}}, "parents.ranking.rule: Field required"),
        ({"kind": "slice"}, "found kind 'slice'"),
        ({"parameters": {"lambda": 2.0}}, "less than or equal to 1"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"selection": "model_select"}, "no parent has the role model_select"),
    ],
)
def test_a_file_of_another_version_is_refused_by_name(shop, changes, message):
    (run,) = shop.publish()
    path = Results(shop.results).planned(run.stages["split"].key)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ArtifactError) as error:
        StageRecord.read(path)
    assert str(path) in str(error.value) and message in str(error.value)
    assert "start the run again" in str(error.value)


def test_snakemake_is_told_parents_and_figures_by_key(here):
    plan = planned()
    (run,) = here.runs()
    split = run.stages["split"]
    assert plan.parents_of(SimpleNamespace(key=split.key)) == [
        f"results/rank/{run.stages['ranking'].key}/artifact.json"
    ]
    figures = plan.figures_of(SimpleNamespace(experiment="main", seed="0"))
    named = [*run.stages.values(), *run.selects.values(), *run.evaluates.values()]
    assert set(figures) == {f"results/{stage.rule}/{stage.key}/artifact.json" for stage in named}
    assert len(figures) == len(set(figures))


def planned(**overrides):
    """A main process's plan of the folder it is in."""
    return Plan(load_config(overrides=overrides))


def metrics(shop, **overrides):
    """What the rule `report` asks for, and what its page will show, as words of experiment and seed."""
    plan = planned(**overrides)
    plan.write()
    asked = plan.metrics_of(SimpleNamespace(suite="shop"))
    shown = [f"{run['experiment']}/seed{run['seed']}" for run in record(shop, "report-shop")["runs"]]
    return [path.removeprefix("results/experiments/").removesuffix("/metrics.json") for path in asked], shown


def test_the_report_covers_the_selected_experiments_and_seeds(here):
    here.experiment("main", seeds=[0, 2])
    here.experiment("other", "advent")
    everything = ["main/seed0", "main/seed2", "other/seed0"]
    assert metrics(here) == (everything, everything)
    assert metrics(here, only="[main]", seeds="2") == (["main/seed2"], ["main/seed2"])
    assert planned().selected_reports(None) == ["results/report/shop/report.json"]


def finish(run, results):
    """Leave what a finished run leaves, as far as the plan looks at it."""
    stages = [Results(results).manifest(stage.record) for stage in by_key([run]).values()]
    for path in (*stages, Results(results).metrics(run.experiment, run.seed)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_page_shows_what_is_finished_besides_what_is_selected(here):
    here.experiment("main", seeds=[0, 2])
    here.experiment("other", "advent")
    for run in here.runs(only="main,other"):
        if run.seed == 0:
            finish(run, Path("results"))
    assert metrics(here, only="main", seeds=2) == (
        ["main/seed2"],
        ["main/seed0", "main/seed2", "other/seed0"],
    )


def test_results_of_another_configuration_are_not_on_the_page(here):
    here.experiment("other", "advent")
    finish(here.run(only="other"), Path("results"))
    here.experiment("other", "advent", set={"inter": {"steps": 11}})
    assert metrics(here, only="main") == (["main/seed0"], ["main/seed0"])


def test_what_is_not_selected_may_lack_its_data(here):
    here.experiment("other", "advent")
    finish(here.run(only="other"), Path("results"))
    here.write(
        "tasks", "gone", {"taxonomy": "camvid11", "source": {"dataset": "x"}, "target": {"dataset": "x"}}
    )
    here.experiment("other", "advent", task="gone")
    assert metrics(here, only="main") == (["main/seed0"], ["main/seed0"])


def test_every_key_matches_the_snakefiles_constraint(shop):
    text = (shop_repository() / "workflow" / "Snakefile").read_text()
    constraint = re.search(r'key=r"(.+)"', text)
    assert constraint is not None
    pattern = re.compile(constraint[1] + r"\Z")
    shop.experiment("main", "intrada-cbst", seeds=[0, 12])
    keys = by_key(shop.runs())
    assert keys and all(pattern.match(key) for key in keys)


def shop_repository():
    from shop import SHIPPED

    return SHIPPED.parent


def asked(plan, experiment, seed=0):
    return plan.figures_of(SimpleNamespace(experiment=experiment, seed=str(seed)))


def test_a_named_run_that_is_not_selected_is_planned_as_the_configuration_is_now(here):
    here.experiment("other", "advent")
    planned().write()
    here.experiment("other", "advent", set={"inter": {"steps": 11}})
    plan = planned(only="main")
    now = here.run(only="other")
    assert f"results/adapt/{now.stages['inter'].key}/artifact.json" in asked(plan, "other")
    assert plan.parents_of(SimpleNamespace(key=now.stages["inter"].key))
    plan.write()
    assert record(here, "experiment-other-seed0")["stages"][-1]["key"] == now.stages["inter"].key
    assert f"{now.stages['inter'].key}.json" in stamps(here)
    assert [run["experiment"] for run in record(here, "report-shop")["runs"]] == ["main"]


def test_nothing_is_written_before_the_folder_is_locked(here):
    planned().write()
    before = stamps(here)
    here.experiment("main", set={"split": {"lambda": 0.5}})
    plan = planned()
    assert asked(plan, "main") and plan.metrics_of(SimpleNamespace(suite="shop"))
    assert stamps(here) == before


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            {"experiment": "shelf", "seed": "0"},
            "shelf is an experiment of config/store.yaml; type `snakemake --configfile config/store.yaml -- "
            "results/experiments/shelf/seed0/metrics.json`",
        ),
        ({"experiment": "mian", "seed": "0"}, "no experiment mian in config/config.yaml"),
        ({"experiment": "mian", "seed": "0"}, "did you mean `main`?"),
        ({"experiment": "main", "seed": "7"}, "experiments.main.seeds: found [0]; add 7 to them first"),
        (
            {"suite": "store"},
            "type `snakemake --configfile config/store.yaml -- results/report/store/report.json`",
        ),
        ({"suite": "sop"}, "no suite sop; did you mean `shop`?"),
        ({"key": "adapt-x-0123456789ab"}, "results/stages/adapt-x-0123456789ab.json is missing"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_what_to_type(here, target, message):
    body = here.experiments["main"]
    here.write(".", "store", {"experiments": {"shelf": body}})
    here.write(".", "broken", {"experiments": {"no": {"lamda": 1}}})
    plan = planned()
    ask = {"experiment": plan.figures_of, "suite": plan.metrics_of, "key": plan.parents_of}[
        next(iter(target))
    ]
    with pytest.raises(SystemExit) as ended:
        ask(SimpleNamespace(**target))
    assert str(ended.value).startswith("error: ") and message in str(ended.value)


def test_a_node_of_a_cluster_reads_the_files(here):
    (run,) = here.publish(run={"threads": 3})
    split = SimpleNamespace(key=run.stages["split"].key)
    node = Plan(None)
    assert node.parents_of(split) == [f"results/rank/{run.stages['ranking'].key}/artifact.json"]
    assert node.cores_of(SimpleNamespace(key=run.stages["ranking"].key)) == 3
