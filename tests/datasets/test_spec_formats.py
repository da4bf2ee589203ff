"""The shipped dataset files, each on tiny files in exactly the format and layout of the real dataset."""

import bz2
import random
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from tiny_pictures import write_ids, write_image, write_png

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.config.load import Library
from pipeline.data.cache import Cache
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.listing import identity, list_split
from pipeline.datasets.preparation import prepare
from pipeline.datasets.spec import DatasetSpec
from pipeline.datasets.taxonomy import IGNORE

CONFIG = Path("config")
LIBRARY = Library(CONFIG)
SIZE = (6, 4)

TAXONOMIES = {
    "camvid": ("camvid11",),
    "idda": ("camvid11",),
    "idda-idd7": ("idd7",),
    "idd-lite": ("idd7",),
    "streets-rendered": ("camvid11",),
    "streets-camera": ("camvid11",),
    "polyps-cvc": ("binary-polyp",),
    "polyps-kvasir": ("binary-polyp",),
    "mnist": ("digits10",),
    "usps": ("digits10",),
    "svhn": ("digits10",),
} | dict.fromkeys(
    (
        "gta5",
        "synthia",
        "synthia-crst",
        "synscapes",
        "cityscapes",
        "acdc",
        "dark-zurich",
        "bdd100k",
        "mapillary-vistas",
    ),
    ("cityscapes19", "synthia16"),
)

CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
SYNTHIA_IDS = [3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11]
"""Raw id by class id of cityscapes19, written out again from the protocol."""


def shipped(name: str) -> DatasetSpec:
    file = str(CONFIG / f"datasets/{name}.yaml")
    return LIBRARY.dataset(name, "test").model_copy(update={"name": name, "file": file})


def made(name, split, taxonomy, out, *, labels="native"):
    classes = LIBRARY.taxonomy(taxonomy, "test")
    prepare(CacheContent(shipped(name), split, classes, None, labels), ArtifactFolder(out))
    return Cache(out)


def test_every_shipped_dataset_is_tested_here():
    assert set(TAXONOMIES) == set(LIBRARY.datasets())


@pytest.mark.parametrize(("name", "taxonomy"), [(n, t) for n, all_of in TAXONOMIES.items() for t in all_of])
def test_every_class_is_reached_or_known_to_be_absent(name, taxonomy):
    classes = LIBRARY.taxonomy(taxonomy, "test")
    table = shipped(name).lookup(classes)
    assert set(np.unique(table)) - {IGNORE} == set(range(classes.num_classes))


@pytest.mark.parametrize("name", TAXONOMIES)
def test_every_dataset_says_where_to_get_it(name):
    spec = shipped(name)
    if spec.format != "streets":
        assert spec.where
        assert spec.source
        assert "${SEGADAPT_DATA}" in spec.root
        assert spec.license
        assert set(spec.expected) == set(spec.splits)


@pytest.mark.parametrize("name", ["cityscapes", "gta5", "synscapes", "acdc", "dark-zurich"])
def test_cityscapes_ids_are_the_explicit_table(name):
    classes = LIBRARY.taxonomy("cityscapes19", "test")
    table = shipped(name).lookup(classes)
    assert [int(table[raw]) for raw in CITYSCAPES_IDS] == list(range(19))
    assert (table == IGNORE).sum() == 256 - 19
    plate = 34 if name == "gta5" else 255
    assert shipped(name).named_ids() == {*range(34), plate}


def test_synthia_ids_are_the_explicit_table():
    nineteen = shipped("synthia").lookup(LIBRARY.taxonomy("cityscapes19", "test"))
    assert [int(nineteen[raw]) for raw in SYNTHIA_IDS] == list(range(19))
    sixteen = shipped("synthia").lookup(LIBRARY.taxonomy("synthia16", "test"))
    kept = [raw for raw in SYNTHIA_IDS if raw not in (16, 18, 20)]
    assert [int(sixteen[raw]) for raw in kept] == list(range(16))
    assert (sixteen == IGNORE).sum() == 256 - 16
    assert shipped("synthia").named_ids() == set(range(23))


def test_the_subset_of_13_leaves_out_wall_fence_and_pole():
    for name in ("cityscapes19", "synthia16"):
        taxonomy = LIBRARY.taxonomy(name, "test")
        thirteen = taxonomy.subset_ids("synthia13")
        assert len(thirteen) == 13
        assert not {"wall", "fence", "pole", "terrain", "truck", "train"} & {
            taxonomy.names[i] for i in thirteen
        }
    assert len(LIBRARY.taxonomy("cityscapes19", "test").subset_ids("synthia16")) == 16
    nineteen = LIBRARY.taxonomy("cityscapes19", "test")
    rare = tuple(nineteen.index(name) for name in nineteen.rare)
    assert rare == (3, 4, 5, 6, 7, 9, 12, 14, 15, 16, 17)


def test_idda_ids_are_the_explicit_table():
    table = shipped("idda").lookup(LIBRARY.taxonomy("camvid11", "test"))
    told = {20: 0, 1: 1, 11: 1, 5: 2, 6: 3, 7: 3, 8: 4, 9: 5, 19: 5, 12: 6, 13: 6, 2: 7, 14: 7, 10: 8, 4: 9}
    told |= {16: 10, 17: 10, 18: 10} | dict.fromkeys((0, 3, 15, 21, 22, 23), IGNORE)
    assert {raw: int(table[raw]) for raw in range(24)} == told


# Files in the real formats


def ids_of(name: str) -> np.ndarray:
    """A label that holds every raw id that the dataset names."""
    named = sorted(shipped(name).named_ids())
    return np.resize(np.array(named, dtype=np.uint8), (8, 8))


FOLDERS = {
    "gta5": ("gta5/images/00001.png", "gta5/labels/00001.png", "train", "00001"),
    "synscapes": ("synscapes/img/rgb/1.png", "synscapes/img/class/1.png", "train", "1"),
    "cityscapes": (
        "cityscapes/leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png",
        "cityscapes/gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png",
        "val",
        "lindau/lindau_000000_000019",
    ),
    "acdc": (
        "acdc/rgb_anon/fog/train/GOPR0475/GOPR0475_frame_000041_rgb_anon.png",
        "acdc/gt/fog/train/GOPR0475/GOPR0475_frame_000041_gt_labelIds.png",
        "train",
        "fog/GOPR0475/GOPR0475_frame_000041",
    ),
    "dark-zurich": (
        "dark_zurich/rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png",
        "dark_zurich/gt/val/night/GOPR0356/GOPR0356_frame_000321_gt_labelIds.png",
        "val",
        "GOPR0356/GOPR0356_frame_000321",
    ),
    "bdd100k": (
        "bdd100k/images/10k/val/7d06fefd-f7be05a6.jpg",
        "bdd100k/labels/sem_seg/masks/val/7d06fefd-f7be05a6.png",
        "val",
        "7d06fefd-f7be05a6",
    ),
    "mapillary-vistas": (
        "mapillary_vistas/training/images/-0Ab.jpg",
        "mapillary_vistas/training/v1.2/labels/-0Ab.png",
        "train",
        "-0Ab",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_benchmark_folders(tmp_path, monkeypatch, name):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    image, label, split, expected = FOLDERS[name]
    write_image(tmp_path / image, (8, 8))
    write_ids(tmp_path / label, ids_of(name), palette=name in ("gta5", "mapillary-vistas"))
    cache = made(name, split, "cityscapes19", tmp_path / "out")
    assert cache.names == (expected,)
    table = shipped(name).lookup(LIBRARY.taxonomy("cityscapes19", "test"))
    np.testing.assert_array_equal(cache.labels[0], table[ids_of(name)])


def test_cityscapes_train_needs_no_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    write_image(tmp_path / "cityscapes/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png", SIZE)
    assert made("cityscapes", "train", "cityscapes19", tmp_path / "out", labels="none").labels is None


def test_gta5_mixes_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    for number, size in (("00001", (19, 10)), ("15188", (12, 10))):
        write_image(tmp_path / f"gta5/images/{number}.png", size)
        write_ids(tmp_path / f"gta5/labels/{number}.png", np.full(size[::-1], 7), palette=True)
    assert made("gta5", "train", "cityscapes19", tmp_path / "out").images[0].shape == (10, 19, 3)
    out = tmp_path / "resized"
    taxonomy = LIBRARY.taxonomy("cityscapes19", "test")
    content = CacheContent(shipped("gta5"), "train", taxonomy, (12, 7), "working")
    summary = prepare(content, ArtifactFolder(out))
    assert summary["sizes"] == {"12x7": 2}


def test_synthia_folders_and_16_bit_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    write_image(tmp_path / "synthia/RGB/0000000.png", (8, 8))
    ids = ids_of("synthia")
    instances = np.arange(64).reshape(8, 8) * 900
    write_png(tmp_path / "synthia/GT/LABELS/0000000.png", np.stack([ids, instances, ids * 0], axis=2), 16, 2)
    write_image(tmp_path / "synthia/GT/COLOR/0000000.png", (8, 8))
    cache = made("synthia", "train", "synthia16", tmp_path / "out")
    table = shipped("synthia").lookup(LIBRARY.taxonomy("synthia16", "test"))
    np.testing.assert_array_equal(cache.labels[0], table[ids])


def test_idda_hood_is_ignored_for_its_car(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    root = tmp_path / "idda"
    for name in ("1_T01_CN_A", "2_T01_CN_J"):
        write_image(root / f"images/{name}.jpg", SIZE)
        write_ids(root / f"labels/{name}.png", np.full((4, 6), 10))
    (root / "train.txt").write_text("1_T01_CN_A\n2_T01_CN_J\n")
    mask = np.zeros((4, 6))
    mask[3] = 255
    write_ids(root / "hood_mask_A.png", mask)
    write_ids(root / "hood_mask_J.png", mask[::-1])
    labels = made("idda", "train", "camvid11", tmp_path / "out").labels
    assert (labels[0][3] == IGNORE).all()
    assert (labels[0][:3] == 8).all()
    assert (labels[1][0] == IGNORE).all()
    assert (labels[1][1:] == 8).all()


# Digits


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def test_mnist_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    raw = tmp_path / "digits/MNIST/raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.array([3, 1, 4, 1, 9])))
    cache = made("mnist", "test", "digits10", tmp_path / "out")
    assert cache.names == ("00000", "00001", "00002", "00003", "00004")
    np.testing.assert_array_equal(cache.images[2], np.repeat(images[2][..., None], 3, axis=2))
    assert [cache.labels[place].tolist() for place in range(5)] == [[[3]], [[1]], [[4]], [[1]], [[9]]]


def test_usps_files_and_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    (tmp_path / "digits").mkdir()
    values = np.linspace(-1, 1, 256)
    # LIBSVM numbers classes from 1.
    lines = [
        f"{digit + 1} " + " ".join(f"{k + 1}:{value:.4f}" for k, value in enumerate(values))
        for digit in (7, 0)
    ]
    with bz2.open(tmp_path / "digits/usps.bz2", "wt") as file:
        file.write("\n".join(lines) + "\n")
    cache = made("usps", "all", "digits10", tmp_path / "out")
    assert [int(cache.labels[place][0, 0]) for place in (0, 1)] == [7, 0]
    assert cache.images[0].shape == (16, 16, 3)
    assert (cache.images[0][0, 0].tolist(), cache.images[0][15, 15].tolist()) == ([0, 0, 0], [255, 255, 255])


def test_usps_lists_follow_their_rule_and_share_nothing():
    lists = {}
    for split in ("train", "report"):
        file = CONFIG / f"datasets/lists/usps-{split}.txt"
        lists[split] = [line for line in file.read_text().split("\n") if re.fullmatch(r"\d{5}", line)]
    chosen = sorted(random.Random(0).sample(range(7291), 6000))
    assert lists["train"] == [f"{number:05d}" for number in chosen]
    assert sorted(lists["train"] + lists["report"]) == [f"{number:05d}" for number in range(7291)]
    assert (len(lists["train"]), len(lists["report"])) == (6000, 1291)


def test_svhn_files_are_listed_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    (tmp_path / "digits").mkdir()
    file = tmp_path / "digits/train_32x32.mat"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    scipy.io.savemat(file, {"X": pixels, "y": np.array([[1], [10], [3], [9]])})
    assert len(list_split(shipped("svhn"), "train", True).items) == 4
    with pytest.raises(DataError, match=r"train_32x32.mat: torchvision cannot read it"):
        made("svhn", "train", "digits10", tmp_path / "out")  # torchvision knows the real file's checksum
    monkeypatch.setattr("torchvision.datasets.SVHN._check_integrity", lambda _: True)
    cache = made("svhn", "train", "digits10", tmp_path / "out")
    np.testing.assert_array_equal(cache.images[1], pixels[..., 1])
    assert [int(cache.labels[place][0, 0]) for place in range(4)] == [1, 0, 3, 9]


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte", b"\0\0\x08"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte", idx(np.zeros(5))),
        ("usps", "usps.bz2", b"not bzip2"),
        ("usps", "usps.bz2", bz2.compress(b"1 1:0\n" * 99)[:-9]),
        ("svhn", "train_32x32.mat", b"MATLAB 5.0" * 20),
    ],
)
def test_damaged_archives_are_named(tmp_path, monkeypatch, name, file, content):
    monkeypatch.setenv("SEGADAPT_DATA", str(tmp_path))
    path = tmp_path / "digits" / file
    path.parent.mkdir(parents=True)
    (path.parent / "train-labels-idx1-ubyte").write_bytes(b"")
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: not a whole {name} file"):
        list_split(shipped(name), "all" if name == "usps" else "train", True)
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name} is missing. Run torchvision"):
        list_split(shipped(name), "all" if name == "usps" else "train", False)


def test_streets_differ_by_split(tmp_path):
    spec = shipped("streets-camera")
    made_by_split = {split: identity(spec, list_split(spec, split, True)) for split in spec.split_names()}
    assert len(set(made_by_split.values())) == 2
    assert list_split(spec, "val", True).names[:2] == ("val_00000", "val_00001")
