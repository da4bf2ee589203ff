"""No verb ends in a traceback on bad input: seeded damage to everything that a verb reads, fed to every verb."""

import random
import shutil
import signal

import damage
import pytest
from strangers import label, make_clone, run, source, target

from pipeline.__main__ import main
from pipeline.commands import start, suggest
from pipeline.config.load import load_config
from pipeline.plan.files import write_stages
from pipeline.plan.planner import Planner

CONFIG = ("--configfile", "config/mine.yaml")
BLOCKS = [0, 40, *(pytest.param(first, marks=pytest.mark.slow) for first in (80, 120, 160, 200))]
"""Forty seeds each."""
HANGS = 8
"""Seconds after which a verb that takes less than one is taken to wait for ever, as at a pipe."""
GROUPS = (
    ("sim/rgb/1.png", damage.PICTURE),
    ("sim/sem/1.png", damage.PICTURE),
    ("photos/IMG_1.jpg", damage.PICTURE),
    ("truth/IMG_1.png", damage.PICTURE),
    ("sim/rgb", damage.FOLDER),
    ("photos", damage.FOLDER),
    ("clone/config/*.yaml", damage.YAML),
    ("clone/config/*/mine*.yaml", damage.YAML),
    ("clone/config/*/mine*.yaml", damage.YAML),
    ("clone/config/recipes/intrada.yaml", damage.YAML),
    ("clone/config/networks/small.yaml", damage.YAML),
    ("clone/config/datasets/lists/*.txt", damage.LIST),
    ("names.yaml", damage.YAML),
    ("map.yaml", damage.YAML),
    ("model/*", damage.JSON),
    ("clone/out/*.json*", damage.JSON),
    ("clone/results/stages/prepare*.json", damage.WHOLE),
)
"""What is damaged, below the world's folder, and how."""


@pytest.fixture(scope="module")
def world(tmp_path_factory, small_model):
    """Folders of a stranger, the configuration that `init` wrote, a model, predictions, and stage files."""
    root = tmp_path_factory.mktemp("world")
    source(root)
    target(root)
    for number in range(5):
        label(root / f"truth/IMG_{number}.png", (3, 9), (60, 44))
    (root / "names.yaml").write_text("road: 3\nsky: [9, '10-12']\nignore: 255\n")
    (root / "map.yaml").write_text("road: road\nhouse: sky\ntree: ignore\n")
    shutil.copytree(small_model, root / "model")
    make_clone(root / "clone")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "clone")
        truth = ("--target-labels", str(root / "truth"), "--target-ids", "same")
        assert run(root, *truth, "--classes", str(root / "names.yaml"), "--network", "small") == 0
        assert main(predict(root)) == 0
        config = load_config(["config/mine.yaml"])
        write_stages([stage for one in Planner(config).plan() for stage in one.all_stages()])
    return root


def predict(root):
    return [
        "predict",
        "--model",
        str(root / "model"),
        "--images",
        str(root / "photos"),
        "--out",
        "out",
        "--device",
        "cpu",
    ]


def commands(root):
    """Every verb on this world; jobs run the stages that read the strangers' files."""
    folders = {
        "source-images": "sim/rgb",
        "source-labels": "sim/sem",
        "target-images": "photos",
        "target-labels": "truth",
    }
    places = [word for option, folder in folders.items() for word in (f"--{option}", str(root / folder))]
    init = ["init", "--name", "again", *places, "--target-ids", "same", "--no-measure"]
    yield [*init, "--classes", str(root / "names.yaml")]
    yield [*init, "--unnamed", "nearest", "--force"]
    for verb in ("plan", "doctor", "start"):
        yield [verb, *CONFIG]
    yield ["suggest", "--experiment", "mine", "--count", "1", "--train", *CONFIG]
    yield predict(root)
    score = [
        "--model",
        str(root / "model"),
        "--dataset",
        "mine-target",
        "--split",
        "val",
        "--out",
        "scores.json",
    ]
    yield ["evaluate", *score, "--class-map", str(root / "map.yaml"), *CONFIG, "--config", "run.device=cpu"]
    yield from (["run", str(path)] for path in sorted((root / "clone/results/stages").glob("prepare*.json")))
    yield ["verify"]
    yield ["clean", "--unneeded", *CONFIG]


def _hangs(*_):
    raise TimeoutError(f"it hangs: no end after {HANGS} seconds")


def outcome(words, capsys):
    """What is wrong with a verb's end; None for an exit code and a message without a traceback."""
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(HANGS)
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    told = capsys.readouterr()
    if "Traceback" in told.out + told.err:
        return told.err[-2000:]
    return None if code in (0, 1, 2, 75) else f"exit code {code}"


def copy_of(world, root):
    """The world in another place, where its files say so."""
    shutil.copytree(world, root, symlinks=True)
    named = [
        *(root / "clone/config/datasets").glob("mine*.yaml"),
        *(root / "clone/results/stages").glob("*.json"),
    ]
    for path in named:
        path.write_text(path.read_text().replace(str(world), str(root)))


def damaged(world, root, seed):
    """A copy of the world with one to three places damaged; says which and how."""
    draw = random.Random(seed)
    copy_of(world, root)
    done = []
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        pattern, ways = draw.choice(GROUPS)
        paths = sorted(root.glob(pattern))
        if not paths:
            continue
        path, way = draw.choice(paths), draw.choice(ways)
        if path.is_dir() and way not in damage.FOLDER:
            continue
        try:
            way(path, draw)
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # a second damage to the same file
        done.append(f"{way.__name__} {path.relative_to(root)}")
    return done


@pytest.fixture
def inside(monkeypatch):
    """Enter a folder; without Snakemake, since what comes before it is what reads the input."""
    for module in (start, suggest):
        monkeypatch.setattr(module, "run_workflow", lambda *_, **__: 1)
    return monkeypatch.chdir


def test_every_verb_works_on_the_undamaged_world(world, tmp_path, inside, capsys):
    """Or else the damage would prove nothing."""
    copy_of(world, tmp_path / "whole")
    inside(tmp_path / "whole/clone")
    ended = [(words[0], main(words)) for words in commands(tmp_path / "whole")]
    assert {verb for verb, code in ended if code} == {
        "start",
        "suggest",
    }  # they end where Snakemake would start


@pytest.mark.parametrize("block", BLOCKS)
def test_no_verb_ends_in_a_traceback(world, tmp_path, capsys, inside, block):
    wrong = []
    for seed in range(block, block + 40):
        root = tmp_path / str(seed)
        done = damaged(world, root, seed)
        inside(root / "clone")
        for words in commands(root):
            found = outcome(words, capsys)
            if found:
                wrong.append(f"seed {seed}, {'; '.join(done)}: {' '.join(words[:2])}: {found}")
        inside(tmp_path)
        shutil.rmtree(root)
    assert not wrong, "\n".join(wrong)
