import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preparing import files, made, noted_shards
from tiny_pictures import ab_dataset, ab_spec, write_ids, write_image

from pipeline.artifacts.errors import ArtifactError, DataError, Interrupted
from pipeline.data.cache import Cache
from pipeline.datasets import conversion
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE

# What is in a cache


def test_images_are_resized_by_pillow(tmp_path):
    spec = ab_dataset(tmp_path / "data")
    for resample, rule in (("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)):
        made(spec, tmp_path / resample, content={"resample": resample})
        cache = Cache(tmp_path / resample)
        for place, name in enumerate(cache.names):
            expected = Image.open(tmp_path / f"data/images/{name}.png").resize((4, 3), rule)
            np.testing.assert_array_equal(cache.images[place], np.asarray(expected))


def test_labels_are_resized_on_raw_ids_by_pillows_nearest_and_then_mapped(tmp_path):
    spec = ab_dataset(tmp_path / "data")
    made(spec, tmp_path / "out", size=(5, 4))
    cache = Cache(tmp_path / "out")
    table = {0: 0, 1: 1, 9: IGNORE}
    for place, name in enumerate(cache.names):
        raw = np.asarray(Image.open(tmp_path / f"data/labels/{name}.png"))
        # Pillow's rule: the source index of i is floor((i + 0.5) * in / out).
        rows = [int((row + 0.5) * 6 / 4) for row in range(4)]
        columns = [int((column + 0.5) * 8 / 5) for column in range(5)]
        expected = [[table[raw[row, column]] for column in columns] for row in rows]
        assert cache.labels[place].tolist() == expected


def test_native_labels_keep_their_size(tmp_path):
    spec = ab_dataset(tmp_path / "data")
    made(spec, tmp_path / "out", labels="native")
    cache = Cache(tmp_path / "out")
    assert cache.images[0].shape == (3, 4, 3)
    raw = np.asarray(Image.open(tmp_path / "data/labels/000.png"))
    np.testing.assert_array_equal(cache.labels[0], np.where(raw == 9, IGNORE, raw))


def test_without_a_size_every_image_keeps_its_own(tmp_path):
    spec = ab_dataset(tmp_path / "data", 2)
    write_image(tmp_path / "data/images/big.png", (20, 10))
    write_ids(tmp_path / "data/labels/big.png", np.ones((10, 20)))
    summary = made(spec, tmp_path / "out", size=None)
    cache = Cache(tmp_path / "out")
    assert [image.shape for image in (cache.images[0], cache.images[2])] == [(6, 8, 3), (10, 20, 3)]
    assert cache.labels[2].shape == (10, 20)
    assert summary["sizes"] == {"8x6": 2, "20x10": 1}


def test_statistics_count_classes_by_pixels_and_images(tmp_path):
    spec = ab_dataset(tmp_path / "data")
    made(spec, tmp_path / "out", labels="native")
    cache = Cache(tmp_path / "out")
    labels = [cache.labels[place] for place in range(5)]
    assert cache.statistics == {
        "images": 5,
        "sizes": {"4x3": 5},
        "classes": ["a", "b"],
        "class_pixels": [sum(int((label == c).sum()) for label in labels) for c in (0, 1)],
        "class_images": [sum(bool((label == c).any()) for label in labels) for c in (0, 1)],
        "ignored_pixels": sum(int((label == IGNORE).sum()) for label in labels),
    }


def test_only_the_names_asked_for_in_their_order(tmp_path):
    spec = ab_dataset(tmp_path / "data")
    (tmp_path / "data/labels/000.png").write_bytes(b"damaged")
    made(spec, tmp_path / "out", content={"names": ["003", "001"]})
    assert Cache(tmp_path / "out").names == ("003", "001")


def test_no_label_is_opened_when_none_is_asked_for(tmp_path, monkeypatch):
    """Labels of target training images are never opened: here they are not even there."""
    spec = ab_dataset(tmp_path / "data")
    for path in (tmp_path / "data/labels").iterdir():
        path.unlink()
    (tmp_path / "data/labels").rmdir()
    monkeypatch.setattr(conversion.Converter, "_class_ids", lambda *_: pytest.fail("a label was asked for"))
    summary = made(spec, tmp_path / "out", labels="none")
    cache = Cache(tmp_path / "out")
    assert cache.labels is None
    assert cache.statistics == {"images": 5, "sizes": {"4x3": 5}}
    assert summary["contents"].keys() == {"images"}


def test_opened_files_are_those_of_the_images_only(tmp_path):
    """The same with the files in place: the interpreter's own audit sees every file that is opened."""
    ab_dataset(tmp_path / "data")
    code = f"""
import sys
sys.path.insert(0, "tests/datasets")
from pathlib import Path
from tiny_pictures import AB, ab_spec
from pipeline.artifacts.control import Control
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.preparation import prepare
opened = []
def note(event, arguments):
    if event in ("open", "os.scandir"):
        opened.append(str(arguments[0]))
sys.addaudithook(note)
root = Path({str(tmp_path)!r})
prepare(CacheContent(ab_spec(root / "data"), "train", AB, None, sys.argv[1]), ArtifactFolder(root / sys.argv[1]))
print(sum("data/labels" in path for path in opened), sum("data/images" in path for path in opened))
"""
    counts = {}
    for labels in ("none", "working"):
        ended = subprocess.run(
            [sys.executable, "-c", code, labels],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        counts[labels] = [int(word) for word in ended.stdout.split()]
    assert counts["none"][0] == 0
    assert counts["working"][0] > 0
    assert min(counts["none"][1], counts["working"][1]) >= 5


def test_a_fixed_mask_is_ignored_by_pattern_of_names(tmp_path):
    spec = ab_dataset(tmp_path / "data", 3)
    mask = np.zeros((3, 4))
    mask[2, :] = 255  # the lower third, at half the size of the labels
    write_ids(tmp_path / "data/hood.png", mask)
    write_ids(tmp_path / "data/none.png", np.zeros((3, 4)))
    spec = ab_spec(tmp_path / "data", ignore_mask={"*1": "hood.png", "00*": "none.png"})
    made(spec, tmp_path / "out", labels="native")
    cache = Cache(tmp_path / "out")
    assert (cache.labels[1][4:] == IGNORE).all()
    assert not (cache.labels[0][4:] == IGNORE).all()
    spec = ab_spec(tmp_path / "data", ignore_mask={"*1": "hood.png"})
    with pytest.raises(DataError, match="no pattern of `ignore_mask` matches its name `000`"):
        made(spec, tmp_path / "other")


def test_color_labels(tmp_path):
    write_image(tmp_path / "data/images/x.png", (2, 1))
    (tmp_path / "data/labels").mkdir()
    pixels = np.array([[[9, 9, 9], [0, 0, 255]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "data/labels/x.png")
    colors = {"b": [[1, 2, 3], [9, 9, 9]], "ignore": [[0, 0, 255]]}
    made(ab_spec(tmp_path / "data", labels_as="colors", colors=colors), tmp_path / "out", size=None)
    assert Cache(tmp_path / "out").labels[0].tolist() == [[1, IGNORE]]


def test_the_dataset_folder_is_only_read(tmp_path):
    spec = ab_dataset(tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    for path in (tmp_path / "data", *(tmp_path / "data").iterdir()):
        path.chmod(0o555)
    made(spec, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


# Workers, parts, kills


def test_workers_and_order_change_no_byte(tmp_path):
    spec = ab_dataset(tmp_path / "data", 7)
    one = made(spec, tmp_path / "one")
    two = made(spec, tmp_path / "two", workers=2)
    assert one == two
    assert files(tmp_path / "one") == files(tmp_path / "two")
    shards = {f"{kind}-0000{part}.bin" for kind in ("images", "labels") for part in range(4)}
    assert set(files(tmp_path / "one")) == {"images.csv", "labels.csv", "statistics.json", *shards}


def test_stopped_work_goes_on_where_it_was(tmp_path, monkeypatch):
    spec = ab_dataset(tmp_path / "data", 7)
    plain = made(spec, tmp_path / "plain")
    asked = iter([None, None, "time is up", "time is up"])
    with pytest.raises(Interrupted, match="4 of 7 images are prepared: time is up"):
        made(spec, tmp_path / "out", control={"stop": lambda: next(asked)})
    assert not files(tmp_path / "out")
    converted = noted_shards(monkeypatch)
    seen = []
    assert (
        made(spec, tmp_path / "out", control={"progress": lambda done, total: seen.append((done, total))})
        == plain
    )
    assert converted == [2, 3]
    assert seen == [(4, 7), (6, 7), (7, 7)]
    assert files(tmp_path / "out") == files(tmp_path / "plain")


def test_a_file_that_changed_since_is_read_again(tmp_path):
    spec = ab_dataset(tmp_path / "data", 4)
    asked = iter([None, "stop", "stop"])
    with pytest.raises(Interrupted):
        made(spec, tmp_path / "out", control={"stop": lambda: next(asked)})
    changed = write_image(tmp_path / "data/images/000.png", seed=77)
    made(spec, tmp_path / "out", size=None)
    np.testing.assert_array_equal(Cache(tmp_path / "out").images[0], changed)


def test_killed_work_goes_on_and_gives_the_same(tmp_path):
    spec = ab_dataset(tmp_path / "data", 7)
    code = f"""
import os, signal, sys
sys.path.insert(0, "tests/datasets")
from pathlib import Path
from tiny_pictures import AB, ab_spec
from pipeline.artifacts.control import Control
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.preparation import prepare
root = Path({str(tmp_path)!r})
kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done >= 4 else None
prepare(CacheContent(ab_spec(root / "data"), "train", AB, (4, 3), "working"), ArtifactFolder(root / "out"),
        control=Control(progress=kill), shard_images=2)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    ended = subprocess.run([sys.executable, "-c", code], check=False, env=environment)
    assert ended.returncode == -signal.SIGKILL
    assert not files(tmp_path / "out")
    made(spec, tmp_path / "out")
    made(spec, tmp_path / "plain")
    assert files(tmp_path / "out") == files(tmp_path / "plain")


# The cache itself


def test_a_cache_with_other_labels_is_refused(tmp_path):
    spec = ab_dataset(tmp_path / "data", 3)
    made(spec, tmp_path / "one")
    made(spec, tmp_path / "two", content={"names": ["002"]})
    (tmp_path / "one/labels.csv").write_bytes((tmp_path / "two/labels.csv").read_bytes())
    with pytest.raises(ArtifactError, match="hold different names"):
        Cache(tmp_path / "one")


def test_streets_are_drawn_when_they_are_prepared(tmp_path):
    from pipeline.streets.images import render_scene

    ids = {"a": ["0-4"], "b": ["5-10"]}
    splits = {"train": {"count": 3}}
    spec = DatasetSpec.model_validate(
        {"format": "streets", "domain": "camera", "splits": splits, "ids": ids, "seed": 4}
    )
    made(spec, tmp_path / "out", size=None)
    cache = Cache(tmp_path / "out")
    assert cache.names == ("train_00000", "train_00001", "train_00002")
    image, label = render_scene("camera", "train", 2, 4)
    np.testing.assert_array_equal(cache.images[2], image)
    np.testing.assert_array_equal(cache.labels[2], (label > 4).astype(np.uint8))
