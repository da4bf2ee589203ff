"""Preparing the real development sets; needs SEGADAPT_DATA, and names the set that is missing."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts.folder import ArtifactFolder
from pipeline.config.load import Library
from pipeline.data.cache import Cache
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.listing import list_split
from pipeline.datasets.preparation import prepare
from pipeline.datasets.taxonomy import IGNORE

LIBRARY = Library(Path("config"))
SETS = {
    "idda": ("idda", ("train", "val", "other")),
    "camvid": ("camvid", ("train", "val")),
    "idd-lite": ("idd_lite", ("train", "dev")),
    "polyps-cvc": ("polyps/cvc_clinicdb", ("train",)),
    "polyps-kvasir": ("polyps/kvasir_seg", ("train", "val")),
    "mnist": ("digits/MNIST/raw", ("train", "test")),
    "usps": ("digits/usps.bz2", ("train", "report", "all")),
}


def real(name):
    root = os.environ.get("SEGADAPT_DATA")
    if not root:
        pytest.skip(f"SEGADAPT_DATA is not set, so the set `{name}` is missing")
    if not (Path(root) / SETS[name][0]).exists():
        pytest.skip(f"the set `{name}` is missing: no {Path(root) / SETS[name][0]}")
    update = {"name": name, "file": f"config/datasets/{name}.yaml"}
    return LIBRARY.dataset(name, "test").model_copy(update=update)


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_counts_are_the_published_ones_and_nothing_is_amiss(name):
    spec = real(name)
    for split in SETS[name][1]:
        listing = list_split(spec, split, True)
        assert len(listing.items) == spec.expected[split]
        assert listing.problems == ()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "split", "taxonomy"),
    [("idda", "train", "camvid11"), ("camvid", "val", "camvid11"), ("polyps-kvasir", "val", "binary-polyp")],
)
def test_real_labels_are_decoded_and_mapped(tmp_path, name, split, taxonomy):
    spec, classes = real(name), LIBRARY.taxonomy(taxonomy, "test")
    items = list_split(spec, split, True).items[::12][:8]
    names = [item.name for item in items]
    prepare(CacheContent(spec, split, classes, (96, 64), "native", names=names), ArtifactFolder(tmp_path))
    cache = Cache(tmp_path)
    table = spec.lookup(classes)
    for place, item in enumerate(items):
        raw = np.asarray(Image.open(item.label))
        expected = table[raw]
        if name == "idda":
            hood = np.asarray(Image.open(spec.resolved(f"hood_mask_{item.name[-1]}.png"))) != 0
            assert 0.05 < hood.mean() < 0.1
            expected = np.where(hood, IGNORE, expected)
        np.testing.assert_array_equal(cache.labels[place], expected)
        working = Image.open(item.image).resize((96, 64), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(cache.images[place], np.asarray(working))
