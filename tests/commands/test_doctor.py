"""`doctor`: what it says of datasets that are here, absent, incomplete or wrong, and its exit code."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.__main__ import main


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory whose one experiment reads `sim` (labelled) and `cam` (images; labels for val only)."""
    folder = tmp_path / "work"
    for place in ("sim/images", "cam/train", "cam/val"):
        for number in range(3):
            picture(folder / "data" / place / f"{number}.png", 3)
    for place in ("sim/labels", "cam/truth"):
        for number in range(3):
            picture(folder / "data" / place / f"{number}.png", 1)
    sim = {"train": {"images": "images/*.png", "labels": "labels/*.png"}}
    cam = {
        "train": {"images": "train/*.png", "labels": "absent/*.png"},
        "val": {"images": "val/*.png", "labels": "truth/*.png"},
    }
    entries = {
        "config.yaml": {"suite": "one", "run": {"device": "cpu"}},
        "one.yaml": {"experiments": {"one": {"task": "one", "recipe": "plain", "network": "net"}}},
        "recipes/plain.yaml": {"title": "plain", "stages": {"source": {"method": "supervised", "steps": 1}}},
        "networks/net.yaml": {"backbone": "small"},
        "taxonomies/ab.yaml": {
            "name": "ab",
            "classes": [{"name": "a", "color": [1, 1, 1]}, {"name": "b", "color": [2, 2, 2]}],
        },
        "tasks/one.yaml": {
            "taxonomy": "ab",
            "source": {"dataset": "sim"},
            "target": {"dataset": "cam", "split": "train"},
            "evaluate": {"dataset": "cam", "split": "val"},
        },
        "datasets/sim.yaml": spec("sim", sim, expected={"train": 3}),
        "datasets/cam.yaml": spec("cam", cam),
        "datasets/far.yaml": {**spec("far", sim), "where": "Ask the moon."},
    }
    for name, content in entries.items():
        write(folder, name, content)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DATA", str(folder / "data"))
    return folder


def picture(path, channels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((6, 8, channels), np.uint8)
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(path)


def spec(name, splits, **more):
    return {"root": f"${{DATA}}/{name}", "splits": splits, "ids": {"a": 0, "b": 1}, **more}


def write(folder, name, content):
    path = folder / "config" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def change(name, **more):
    path = Path("config") / name
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **more}))


def doctor(capsys, *options):
    code = main(["doctor", *options])
    return code, capsys.readouterr().out


def block(out, name):
    """The lines about one dataset."""
    lines = out.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"  {name} ["))
    more = [line for line in lines[start + 1 :] if True]
    end = next((place for place, line in enumerate(more) if not line.startswith("      ")), len(more))
    return "\n".join([lines[start], *more[:end]])


def test_a_whole_configuration(work, capsys):
    code, out = doctor(capsys)
    assert code == 0
    assert "The selected experiments can run." in out
    assert "[ok] ${DATA}/sim" in block(out, "sim")
    assert "train: 3 images, labelled (as published), 8x6" in block(out, "sim")
    # Training labels of the target need not exist: nobody looks for them.
    assert "train: 3 images, 8x6" in block(out, "cam") and "val: 3 images, labelled" in block(out, "cam")
    for word in ("software: python", "torch 2", "cores", "GiB free", "device:"):
        assert word in out


def test_an_absent_dataset_that_is_not_selected_is_no_fault(work, capsys):
    code, out = doctor(capsys)
    assert code == 0
    assert "far [-]" in block(out, "far") and "Ask the moon." in block(out, "far")


def test_an_absent_dataset_that_is_selected_is(work, capsys, monkeypatch):
    Path("data/sim").rename("data/mis")
    code, out = doctor(capsys)
    assert code == 1
    assert "sim [UNUSABLE]" in block(out, "sim") and "there is no folder" in block(out, "sim")
    assert "Unusable: sim" in out


def test_an_unset_variable_is_named(work, capsys, monkeypatch):
    monkeypatch.delenv("DATA")
    code, out = doctor(capsys)
    assert code == 1
    assert "environment variable DATA, which is not set" in block(out, "sim")


def test_a_variable_of_datasets_that_are_not_selected_is_only_named(work, capsys, monkeypatch):
    text = Path("config/datasets/far.yaml").read_text().replace("${DATA}", "${OTHER}")
    for number in range(5):
        Path(f"config/datasets/far{number}.yaml").write_text(text)
    monkeypatch.delenv("OTHER", raising=False)
    code, out = doctor(capsys)
    assert code == 0
    assert out.count("which is not set") == 0 and out.count("not here: OTHER is not set") == 5


def test_another_count_than_published_is_said_but_no_fault(work, capsys):
    change("datasets/sim.yaml", expected={"train": 25_000})
    code, out = doctor(capsys)
    assert code == 0
    assert "train: 3 images, labelled, PUBLISHED: 25,000" in block(out, "sim")


def test_a_missing_label_is_a_fault(work, capsys):
    Path("data/sim/labels/1.png").unlink()
    code, out = doctor(capsys)
    assert code == 1
    assert "has no label" in block(out, "sim") and "1.png" in block(out, "sim")


def test_a_class_that_the_taxonomy_has_not_is_a_fault(work, capsys):
    change("datasets/sim.yaml", ids={"a": 0, "bee": 1})
    code, out = doctor(capsys)
    assert code == 1
    assert "taxonomy ab has no such class" in block(out, "sim")


def test_the_labels_of_the_target_count_where_an_oracle_reads_them(work, capsys):
    stage = {"method": "supervised", "steps": 1, "source": "task.target_labels"}
    change("recipes/plain.yaml", stages={"source": stage})
    code, out = doctor(capsys)
    assert code == 1
    assert "splits.train.labels: nothing matches `absent/*.png`" in block(out, "cam")


@pytest.mark.parametrize(
    ("content", "usable", "told"),
    [
        (None, False, "there is no file"),
        (b"weights", True, "found"),
    ],
)
def test_initial_weights(work, capsys, content, usable, told):
    write(
        work,
        "networks/net.yaml",
        {"backbone": "mobilenet_v2", "output_stride": 16, "weights": {"source": "${DATA}/w.pth"}},
    )
    if content is not None:
        Path("data/w.pth").write_bytes(content)
    code, out = doctor(capsys)
    assert code == (0 if usable else 1)
    assert told in out and ("Unusable: weights of net" in out) != usable


def test_weights_of_another_checksum(work, capsys):
    weights = {"source": "${DATA}/w.pth", "sha256": "0" * 64}
    write(work, "networks/net.yaml", {"backbone": "mobilenet_v2", "output_stride": 16, "weights": weights})
    Path("data/w.pth").write_bytes(b"other")
    code, out = doctor(capsys)
    assert code == 1 and "another weight file than declared: SHA-256 is" in out


def test_the_licence_of_weights_is_shown(work, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    weights = {"source": "${DATA}/w.pth", "license": "Apache-2.0"}
    write(work, "networks/net.yaml", {"backbone": "mobilenet_v2", "output_stride": 16, "weights": weights})
    Path("data/w.pth").write_bytes(b"any")
    assert "w.pth: found; licence: Apache-2.0" in doctor(capsys)[1]
    write(
        work,
        "networks/net.yaml",
        {"backbone": "timm/vit_small_patch16_dinov3", "output_stride": 16, "weights": {"source": "timm"}},
    )
    assert (
        "fetched once when first used, where there is a network; licence: dinov3-license" in doctor(capsys)[1]
    )


def test_offline_says_what_to_bring(work, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    write(
        work,
        "networks/net.yaml",
        {"backbone": "timm/pvt_v2_b0", "output_stride": 32, "weights": {"source": "timm"}},
    )
    code, out = doctor(capsys, "--offline")
    assert code == 1
    assert (
        "weights of timm/pvt_v2_b0: model.safetensors of https://huggingface.co/timm/pvt_v2_b0.in1k is not"
        in out
    )
    assert "; licence: apache-2.0" in out
