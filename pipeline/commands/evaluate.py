"""`evaluate`: score a finished model on any labelled dataset; prints the table and writes JSON.

python -m pipeline evaluate --model results/experiments/demo/seed0/model --dataset streets-camera --split val
python -m pipeline evaluate --model MODEL --dataset camvid --split val --class-map map.yaml --out scores.json

Images reach the model as they did for its figures in the report, unless `--size` or `--test-mode` is given, and are
kept under results/; logits are brought to each label's own size. A dataset of other classes needs a class map
(`docs/own-data.md`).
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from pydantic import ValidationError
from tqdm import tqdm

from pipeline.artifacts.cores import thread_count
from pipeline.artifacts.errors import ArtifactError, ConfigError, SegadaptError
from pipeline.artifacts.files import check_writable, write_json
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.commands.configuration import add_configuration_arguments, chosen_configuration
from pipeline.config.load import Config
from pipeline.config.models import DomainSplit
from pipeline.config.validation import validated
from pipeline.config.yaml_files import read_yaml
from pipeline.data.parameters import MAX_SIDE
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE_NAME, Taxonomy
from pipeline.plan.datasets import DataPlanner
from pipeline.plan.files import write_stages
from pipeline.plan.places import check_places
from pipeline.plan.records import Scoring
from pipeline.schema.names import nearest
from pipeline.stages.parameters import TestMode
from pipeline.stages.results import Results

if TYPE_CHECKING:
    from pipeline.inference.prediction import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="a model folder")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="a file in config/datasets/")
    parser.add_argument("--split", default="val", help="a labelled split of it (default: val)")
    parser.add_argument(
        "--class-map", type=Path, metavar="FILE", help="YAML: model class -> dataset class, or `ignore`"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="input size (default: that of the report's figures)",
    )
    parser.add_argument(
        "--test-mode",
        choices=get_args(TestMode),
        help="how logits are made (default: as for the report's figures)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all figures there")
    add_configuration_arguments(parser)


@dataclass(frozen=True)
class ClassPlan:
    """What is scored: the taxonomy of the labels, and for each of its classes the model's that stand for it."""

    taxonomy: Taxonomy
    groups: tuple[tuple[int, ...], ...]


def dataset_classes(spec: DatasetSpec) -> list[str]:
    """The classes that a dataset file names, in its order, without `ignore`."""
    return [name for name in dict.fromkeys(spec.raw_classes().values()) if name != IGNORE_NAME]


def same_classes(model: Taxonomy, spec: DatasetSpec) -> ClassPlan:
    """The model's own classes; ConfigError with both lists when the dataset has others.

    Where the dataset lacks some of the model's, their mean over the ones it has becomes a subset.
    """
    classes = dataset_classes(spec)
    unknown = [name for name in classes if name not in (*model.names, *model.ignored)]
    if unknown:
        raise ConfigError(
            f"{spec.location}: its classes are not the model's: {', '.join(unknown)}.\n"
            f"model:   {', '.join(model.names)}\ndataset: {', '.join(classes)}\n"
            "Give --class-map FILE, a YAML file with a line `model class: dataset class` for every class of the "
            "model (`ignore` for one without a counterpart)"
        )
    labelled = tuple(name for name in model.names if name in classes)
    groups = tuple((index,) for index in range(model.num_classes))
    if len(labelled) == model.num_classes:
        return ClassPlan(model, groups)
    subsets = {**model.subsets, "labelled classes": labelled}
    return ClassPlan(model.model_copy(update={"subsets": subsets}), groups)


def mapped_classes(model: Taxonomy, spec: DatasetSpec, path: Path) -> ClassPlan:
    """The dataset's classes that a class map leads to; the other ones count nowhere.

    ConfigError for a class that either side does not have, or a model's class that is left out.
    """
    classes = dataset_classes(spec)
    entries = {str(key): str(value) for key, value in read_yaml(path).items()}
    for name, target in entries.items():
        if name not in model.names:
            raise ConfigError(f"{path}: {name}: no class of the model; {nearest(name, model.names)}")
        if target not in (*classes, IGNORE_NAME):
            raise ConfigError(f"{path}: {name}: found {target!r}; {nearest(target, [*classes, IGNORE_NAME])}")
    missing = [name for name in model.names if name not in entries]
    if missing:
        raise ConfigError(
            f"{path}: no line for {', '.join(missing)}; name a dataset class or `{IGNORE_NAME}` for each class of "
            f"the model. Dataset classes: {', '.join(classes)}"
        )
    reached = [name for name in classes if name in entries.values()]
    if len(reached) < 2:
        raise ConfigError(f"{path}: leads to {len(reached)} dataset classes; at least 2 can be told apart")
    groups = tuple(
        tuple(model.index(name) for name, target in entries.items() if target == wanted) for wanted in reached
    )
    taxonomy = Taxonomy.model_validate(
        {
            "name": f"{spec.name} by {path.name}",
            "classes": [
                {"name": name, "color": model.classes[group[0]].color}
                for name, group in zip(reached, groups, strict=True)
            ],
            "ignored": [name for name in classes if name not in reached],
        }
    )
    return ClassPlan(taxonomy, groups)


def scoring_of(model: "Model", arguments: argparse.Namespace) -> Scoring:
    """How the model's figures in the report were made, and what the options change of it."""
    noted = model.meta.get("scoring")
    if noted is None:  # a folder of a former version, or not made by an experiment
        noted = {"size": model.working_size, "resample": "bicubic", "test_mode": "plain", "batch": 1}
    given = {"size": arguments.size, "test_mode": arguments.test_mode}
    try:
        return Scoring.model_validate(
            {**noted, **{key: value for key, value in given.items() if value is not None}}
        )
    except (TypeError, ValidationError) as error:
        raise ArtifactError(
            f"{arguments.model / 'model.json'}: scoring is damaged ({error}); copy it anew"
        ) from error


def _check_size(size: list[int] | None) -> None:
    if size is not None and not all(1 <= side <= MAX_SIDE for side in size):
        raise ConfigError(f"--size {size[0]} {size[1]}: needs 1 to {MAX_SIDE} pixels for each side")


def prepared(config: Config, domain: DomainSplit, taxonomy: Taxonomy) -> ArtifactFolder:
    """The split's cache with labels at their own size, made now unless it is there; SegadaptError when it fails."""
    from pipeline.stages.runner import run_stage

    stage = DataPlanner(config).prepare(domain, taxonomy, "native", "--dataset")
    check_places([], [stage])
    write_stages([stage])
    code = run_stage(Results().planned(stage.key), None)
    if code:
        raise SegadaptError(f"the images could not be prepared (exit code {code}); see above")
    return Results().folder(stage.record)


def score(
    model: "Model", plan: ClassPlan, folder: ArtifactFolder, scoring: Scoring, config: Config
) -> dict[str, Any]:
    """All figures of one pass over a cache, with the confusion matrix."""
    from pipeline.data.cache import Cache
    from pipeline.inference.measures import MappedConfusionMeasure
    from pipeline.inference.passes import PassSettings, run_pass
    from pipeline.inference.test_modes import build_test_mode
    from pipeline.stages.evaluate import figures

    cache = Cache(folder.path)
    assert cache.labels is not None
    measure = MappedConfusionMeasure(cache.labels, plan.groups)
    with tempfile.TemporaryDirectory(prefix="segadapt-") as state, tqdm(unit="image", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        chunks, mode = config.settings.run.chunks, build_test_mode(scoring.test_mode)
        settings = PassSettings(Path(state), batch=scoring.batch, chunks=chunks, progress=show)
        matrix = run_pass(measure, model.network, mode, cache.images, settings).matrix
    return {"images": len(cache), **figures(matrix, plan.taxonomy), "confusion": matrix.tolist()}


def table(result: dict[str, Any]) -> str:
    """The figures as aligned text: a line per class, then the means."""
    shares = np.asarray(result["confusion"]).sum(axis=1) / max(1, result["pixels"])
    width = max(len(name) for name in ("pixel accuracy", *result["iou"], *result["subsets"])) + 8

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    lines = [f"{'class':<{width}}{'IoU':>8}{'Dice':>8}{'of labels':>11}"]
    lines += [
        f"{name:<{width}}{shown(result['iou'][name]):>8}{shown(result['dice'][name]):>8}{share:>11.1%}"
        for name, share in zip(result["iou"], shares, strict=True)
    ]
    lines.append(f"{'mean IoU':<{width}}{shown(result['miou_present']):>8}")
    for name, subset in result["subsets"].items():
        lines.append(f"{f'mean of {name}':<{width}}{shown(subset['miou_present']):>8}")
    lines.append(f"{'pixel accuracy':<{width}}{shown(result['pixel_accuracy']):>8}")
    return "\n".join(lines)


def execute(arguments: argparse.Namespace) -> int:
    """Prepare, score, print, write; exit code 0."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _check_size(arguments.size)
    config = chosen_configuration(arguments)
    if arguments.out is not None:
        if arguments.out.is_dir():
            raise ConfigError(f"--out {arguments.out}: is a folder; name the file to write the figures to")
        check_writable([arguments.out.parent])
    spec = config.library.dataset(arguments.dataset, "--dataset")
    from pipeline.inference.prediction import load_model
    from pipeline.training.devices import choose_device, configure_determinism

    exact = config.settings.determinism == "exact"
    configure_determinism(exact, thread_count(config.settings.run.threads, exact))
    model = load_model(arguments.model, choose_device(config.settings.run.device))
    plan = (
        same_classes(model.taxonomy, spec)
        if arguments.class_map is None
        else mapped_classes(model.taxonomy, spec, arguments.class_map)
    )
    scoring = scoring_of(model, arguments)
    domain = validated(
        DomainSplit,
        {
            "dataset": arguments.dataset,
            "split": arguments.split,
            "size": scoring.size,
            "resample": scoring.resample,
        },
        f"{arguments.model / 'model.json'}: scoring",
    )
    folder = prepared(config, domain, plan.taxonomy)
    result = {
        "model": str(arguments.model),
        "provenance": model.meta.get("provenance"),
        "dataset": arguments.dataset,
        "split": arguments.split,
        "size": None if scoring.size is None else list(scoring.size),
        "test_mode": scoring.test_mode,
        "data": folder.load()["digest"],
        # The order of the confusion matrix: rows are labels, columns predictions.
        "classes": list(plan.taxonomy.names),
        "class_map": {
            name: [model.taxonomy.names[index] for index in group]
            for name, group in zip(plan.taxonomy.names, plan.groups, strict=True)
        },
        **score(model, plan, folder, scoring, config),
    }
    print(
        f"{result['images']} images of {arguments.dataset} {arguments.split}, {scoring.input}, "
        f"test mode {scoring.test_mode}"
    )
    print(table(result))
    if arguments.out is not None:
        write_json(arguments.out, result)
        print(f"written: {arguments.out}")
    return 0
