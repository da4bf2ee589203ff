"""A file that was replaced by one of the same size is other data, once it was prepared."""

import os

import numpy as np
import pytest
from chain_world import Chain
from PIL import Image

from pipeline.stages.inputs import cache_of


@pytest.fixture
def chain(tmp_path):
    chain = Chain.make(tmp_path / "own")
    for number in range(5):
        rewrite(label(chain, number), lambda ids: ids)
    return chain


def label(chain, number):
    return chain.folder / f"data/rendered/labels/train/{number}.png"


def rewrite(path, change):
    """Store a label without compression, so that its size does not depend on its ids, under another time."""
    ids = change(np.asarray(Image.open(path)).copy())
    before = path.stat().st_mtime_ns
    Image.fromarray(ids).save(path, compress_level=0)
    os.utime(path, ns=(0, before + 10**9))


def swapped(ids):
    return np.where(ids == 3, 4, np.where(ids == 4, 3, ids)).astype(np.uint8)


def source(chain):
    return chain.plan().stages["source"].parents["source"]


def test_equal_content_under_another_time_runs_nothing(chain, capsys):
    first = source(chain)
    chain.finish(first)
    capsys.readouterr()
    assert source(chain).key == first.key and capsys.readouterr().err == ""
    rewrite(label(chain, 1), lambda ids: ids)
    assert source(chain).key == first.key
    told = capsys.readouterr().err
    assert "rendered-train: 1 of 10 files have another time, reading them" in told
    assert "0 of them hold something else than before" in told
    assert source(chain).key == first.key and capsys.readouterr().err == "", "the new time is noted"


def test_other_content_of_the_same_size_is_another_key(chain, capsys):
    before = chain.plan()
    first = before.stages["source"].parents["source"]
    chain.finish(first)
    size = label(chain, 2).stat().st_size
    rewrite(label(chain, 2), swapped)
    assert label(chain, 2).stat().st_size == size
    capsys.readouterr()
    after = chain.plan()
    second = after.stages["source"].parents["source"]
    assert second.key != first.key and after.stages["intra"].key != before.stages["intra"].key
    told = capsys.readouterr().err
    assert f"1 of them hold something else than before (first: {label(chain, 2)})" in told
    assert source(chain).key == second.key and capsys.readouterr().err == ""

    chain.finish(second)
    labels = [cache_of(chain.artifact(stage)).labels for stage in (first, second)]
    old, new = (records[records.index_of("2")] for records in labels)
    assert np.array_equal(new, swapped(np.asarray(old))) and not np.array_equal(new, old)
    rewrite(label(chain, 2), swapped)
    assert source(chain).key == first.key, "what was there before is found again"


def test_without_a_finished_artifact_a_file_is_its_size(chain):
    first = source(chain)
    rewrite(label(chain, 2), swapped)
    assert source(chain).key == first.key


def test_notes_are_no_part_of_the_artifact(chain):
    stage = source(chain)
    chain.finish(stage)
    artifact = chain.artifact(stage)
    assert (artifact.run / "contents.json").is_file()
    assert not any("contents" in name for name in artifact.load()["files"])
    (artifact.run / "contents.json").unlink()
    rewrite(label(chain, 2), swapped)
    assert source(chain).key == stage.key, "without notes, as of a former version, a file is its size"
