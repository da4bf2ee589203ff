"""Keys of the shipped experiments as plain JSON, to be compared with the checked-in file.

python tests/plan/frozen_keys.py        # writes frozen_keys.json anew

Experiments on the built-in streets have the key of their last training with their first seed. The others need data
to be planned: the digest of their names and of what their stages hash stands for their keys.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shipped import CONFIG, EXPERIMENTS, LIBRARY, SUITES, entries_of, is_built_in

from pipeline.artifacts.files import digest_of
from pipeline.config.load import load_config
from pipeline.plan.planner import Planner

FILE = Path(__file__).with_name("frozen_keys.json")


def planned_key(planner: Planner, name: str) -> str:
    """Key of the last training stage of an experiment on built-in data."""
    experiment = EXPERIMENTS[name]
    run = planner.run(experiment, experiment.seeds[0])
    return run.stages[run.final].key


def content_digest(name: str) -> str:
    """Twelve digits of all that an experiment says; what stands at its default is left out, as in a key."""
    experiment = EXPERIMENTS[name]
    network = LIBRARY.network(experiment.network, name).model_dump(mode="json", exclude_defaults=True)
    network.get("weights", {}).pop("license", None)  # in no key
    stages = [
        [
            entry.name,
            entry.kind,
            dict(entry.references),
            entry.parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        ]
        for entry in entries_of(name)
    ]
    labelled = None if experiment.labelled is None else experiment.labelled.model_dump(exclude_defaults=True)
    around = {
        f"{kind}{number}": dict(layer.values[kind])
        for kind in ("select", "evaluate")
        for number, layer in enumerate(experiment.layers)
        if kind in layer.values
    }
    content = {"task": experiment.task, "network": network, "seeds": list(experiment.seeds), "stages": stages}
    return digest_of({**content, "labelled": labelled, "around": around})[:12]


def frozen() -> dict[str, str]:
    """What the file should hold, by experiment."""
    files = [CONFIG / f"{suite}.yaml" for suite in SUITES]
    planner = Planner(load_config(files, root=CONFIG))
    return {
        name: planned_key(planner, name) if is_built_in(experiment) else content_digest(name)
        for name, experiment in EXPERIMENTS.items()
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(frozen(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
