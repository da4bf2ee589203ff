"""Folders as a stranger has them, with other names, sizes and values than ours, and `init` on them."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.__main__ import main
from pipeline.config.load import Library

REPOSITORY = Path(__file__).resolve().parents[2]


def make_clone(folder):
    """A working directory with the shipped recipes and networks, as in a fresh clone."""
    for part in ("recipes", "networks"):
        shutil.copytree(REPOSITORY / "config" / part, folder / "config" / part)
    shutil.copy(REPOSITORY / "config" / "config.yaml", folder / "config")


def picture(path, size=(48, 40), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)


def stripes(values, size=(48, 40)):
    """Vertical stripes of the values: ids, or colors."""
    columns = np.array([values[x * len(values) // size[0]] for x in range(size[0])], dtype=np.uint8)
    return np.repeat(columns[None], size[1], axis=0)


def label(path, values, size=(48, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stripes(values, size)).save(path, **options)


def labels_of(tmp_path, make, count=4):
    """The source's labels, each saved by `make(path)`; its images beside them."""
    for number in range(count):
        picture(tmp_path / f"sim/rgb/{number}.png", seed=number)
        (tmp_path / "sim/sem").mkdir(parents=True, exist_ok=True)
        make(tmp_path / f"sim/sem/{number}.png")


def source(tmp_path, values=(3, 3, 3, 9), count=4, image="sim/rgb/{}.png", mark="sim/sem/{}.png"):
    for number in range(count):
        picture(tmp_path / image.format(number), seed=number)
        label(tmp_path / mark.format(number), values)


def target(tmp_path, count=5, ending="jpg", size=(60, 44)):
    for number in range(count):
        picture(tmp_path / f"photos/IMG_{number}.{ending}", size, seed=number)


def run(tmp_path, *more, images="sim/rgb", labels="sim/sem", target="photos", name="mine", measure=False):
    return main(
        [
            "init",
            *("--name", name),
            *("--source-images", str(tmp_path / images)),
            *("--source-labels", str(tmp_path / labels)),
            *("--target-images", str(tmp_path / target)),
            *([] if measure else ["--no-measure"]),
            *more,
        ]
    )


def refused(capsys, *texts):
    """The error that was printed, which must hold all the texts."""
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    for text in texts:
        assert text in told, told
    return told


def library():
    return Library(Path("config"))


def source_of(name="mine"):
    """The dataset file that `init` wrote for the source."""
    return library().dataset(f"{name}-source", "test")


def target_of(name="mine"):
    return library().dataset(f"{name}-target", "test")


def held_out(tmp_path, count=3, values=(7, 8)):
    for number in range(count):
        picture(tmp_path / f"test/pic/{number}.jpg", (60, 44), seed=10 + number)
        label(tmp_path / f"test/ids/{number}.png", values, (60, 44))
    return "--heldout-images", str(tmp_path / "test/pic"), "--heldout-labels", str(tmp_path / "test/ids")
