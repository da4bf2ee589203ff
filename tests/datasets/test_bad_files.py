"""What `prepare` refuses: all bad files in one report, before anything is half-written."""

import numpy as np
import pytest
from PIL import Image
from preparing import bad_files, files, made, noted_shards
from tiny_pictures import ab_dataset, ab_spec, write_ids, write_image, write_png

from pipeline.artifacts.errors import ConfigError, DataError
from pipeline.artifacts.files import StorageError
from pipeline.data.cache import Cache
from pipeline.datasets import checks, conversion
from pipeline.datasets.taxonomy import IGNORE


def test_every_bad_file_is_in_one_report(tmp_path):
    root = tmp_path / "data"
    spec = ab_dataset(root, 12)
    (root / "images/000.png").write_bytes(b"no picture")
    (root / "images/001.png").write_bytes((root / "images/001.png").read_bytes()[:100])
    write_png(root / "labels/002.png", np.zeros((6, 8, 3)), 8, 2)
    write_png(root / "labels/003.png", np.zeros((6, 8, 2)), 8, 4)
    write_png(root / "labels/004.png", np.zeros((6, 8, 1)), 16, 0)
    write_ids(root / "labels/005.png", np.full((6, 8), 33))
    write_ids(root / "labels/006.png", np.zeros((5, 8)))
    (root / "labels/007.png").unlink()
    (root / "images/008.png").unlink()
    (root / "labels/009.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        made(spec, tmp_path / "out")
    found = bad_files(tmp_path / "out")
    told = {
        "000.png": "not a picture",
        "001.png": "truncated",
        "002.png": "8-bit RGB PNG where 8-bit ids are due",
        "003.png": "8-bit grey with alpha PNG",
        "004.png": "16-bit grey PNG",
        "005.png": "raw ids 33 are not named in the dataset file",
        "006.png": "the label is 8x5, its image",
        "007.png": "has no label",
        "008.png": "is a label without an image",
        "009.png": "an empty file",
    }
    assert found.keys() == told.keys()
    for name, reason in told.items():
        assert reason in found[name], name
        assert reason in str(caught.value)
    assert "10 bad files" in str(caught.value)
    assert not files(tmp_path / "out")


def test_the_report_names_50_and_the_file_all(tmp_path):
    spec = ab_dataset(tmp_path / "data", 60, (2, 2))
    for number in range(60):
        write_ids(tmp_path / f"data/labels/{number:03d}.png", np.full((2, 2), 77))
    with pytest.raises(
        DataError, match=r"\.\.\. and 10 more\nMost common \(60 times\): raw ids 77"
    ) as caught:
        made(spec, tmp_path / "out")
    assert str(caught.value).count("/labels/") == 50
    assert len(bad_files(tmp_path / "out")) == 60


def test_after_mending_only_the_bad_part_is_made_again(tmp_path, monkeypatch):
    spec = ab_dataset(tmp_path / "data", 6)
    whole = (tmp_path / "data/images/003.png").read_bytes()
    (tmp_path / "data/images/003.png").write_bytes(whole[:50])
    with pytest.raises(DataError):
        made(spec, tmp_path / "out")
    (tmp_path / "data/images/003.png").write_bytes(whole)
    converted = noted_shards(monkeypatch)
    made(spec, tmp_path / "out")
    assert converted == [1]
    assert not (tmp_path / "out/run/bad-files.csv").exists()
    monkeypatch.undo()
    made(spec, tmp_path / "plain")
    assert files(tmp_path / "out") == files(tmp_path / "plain")


def test_raw_ids_never_wrap_to_other_classes(tmp_path):
    spec = ab_dataset(tmp_path / "data", 1)
    write_ids(tmp_path / "data/labels/000.png", np.full((6, 8), 255))
    with pytest.raises(DataError, match="raw ids 255 are not named"):
        made(spec, tmp_path / "out")
    ignoring = ab_spec(tmp_path / "data", ids={"a": 0, "b": 1, "ignore": [9, 255]})
    made(ignoring, tmp_path / "out")
    assert (Cache(tmp_path / "out").labels[0] == IGNORE).all()


def test_an_upright_photo_and_its_label_must_agree(tmp_path):
    spec = ab_dataset(tmp_path / "data", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.open(tmp_path / "data/images/000.png")
    picture.save(tmp_path / "data/images/000.png", exif=exif)
    with pytest.raises(DataError, match=r"the label is 8x6, its image .* 6x8 \(upright\)"):
        made(spec, tmp_path / "out")


def test_no_room_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    spec = ab_dataset(tmp_path / "data")
    usage = type("Usage", (), {"free": 5 * (3 * 12 + 12) - 1})
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="5 images needs about"):
        made(spec, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    usage.free = 10_000
    made(spec, tmp_path / "out")


def test_wrong_classes_stop_before_any_file_is_opened(tmp_path, monkeypatch):
    ab_dataset(tmp_path / "data")
    monkeypatch.setattr(conversion.Converter, "convert", lambda *_: pytest.fail("a part was begun"))
    with pytest.raises(ConfigError, match=r"ids\.c: taxonomy ab has no such class"):
        made(ab_spec(tmp_path / "data", ids={"a": 0, "b": 1, "c": 9}), tmp_path / "out")


def test_all_images_skipped(tmp_path):
    ab_dataset(tmp_path / "data", 1)
    with pytest.raises(DataError, match=r"no images; every one is under `skip`"):
        made(ab_spec(tmp_path / "data", skip=["000"]), tmp_path / "out")


# SYNTHIA's plausibility


def synthia(root, labels):
    for number, label in enumerate(labels):
        write_image(root / f"images/{number}.png", (4, 3))
        write_png(root / f"labels/{number}.png", np.stack([label, label * 7, label], axis=2), 16, 2)
    return ab_spec(root, labels_as="synthia", ids={"a": ["0-3"], "b": ["4-22"]})


def test_synthia_labels_pass_when_they_hold_roads_and_five_ids(tmp_path):
    label = np.arange(12).reshape(3, 4)
    made(synthia(tmp_path / "data", [label, label, np.zeros((3, 4), int)]), tmp_path / "out", size=None)
    assert Cache(tmp_path / "out").labels[0].tolist() == (label > 3).astype(int).tolist()


def test_synthia_labels_without_roads_stop(tmp_path):
    road = np.arange(12).reshape(3, 4)
    spec = synthia(tmp_path / "data", [road, np.full((3, 4), 5)])
    with pytest.raises(
        DataError, match=r"1.png: no pixel has SYNTHIA's id 3 \(road\), as in 1 of the first 2"
    ):
        made(spec, tmp_path / "out")


def test_synthia_labels_with_few_ids_stop(tmp_path):
    spec = synthia(tmp_path / "data", [np.arange(12).reshape(3, 4) % 4] * 2)
    with pytest.raises(DataError, match="the first 2 labels hold 4 ids only"):
        made(spec, tmp_path / "out")


def test_synthia_ids_above_22_are_named(tmp_path):
    spec = synthia(tmp_path / "data", [np.arange(12).reshape(3, 4) * 3])
    with pytest.raises(DataError, match="raw ids 24, 27, 30, 33 are not named"):
        made(spec, tmp_path / "out")
