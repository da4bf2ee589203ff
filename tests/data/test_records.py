import hashlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts.errors import ArtifactError
from pipeline.data import records as records_module
from pipeline.data.records import Records, RecordWriter

NAMES = [f"n{index}" for index in range(10)]


def arrays(names=NAMES):
    """Arrays of several shapes, told by their names."""
    generator = np.random.default_rng(0)
    shapes = [(3, 4), (2, 5, 3), (1, 1), (6, 1)]
    return [generator.integers(0, 256, shapes[place % 4], dtype=np.uint8) for place, _ in enumerate(names)]


def write(folder, state, order=None, per_shard=4, names=NAMES):
    writer = RecordWriter(folder, "maps", state, names, per_shard)
    whole = arrays(names)
    for part in order or writer.missing_shards():
        writer.write_shard(part, whole[part * per_shard : (part + 1) * per_shard])
    return writer.finish()


def files(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def test_arrays_come_back_by_place_and_name(tmp_path):
    digest = write(tmp_path / "out", tmp_path / "state")
    records = Records(tmp_path / "out", "maps")
    assert len(records) == 10
    assert records.names == tuple(NAMES)
    assert records.digest == digest
    for place, expected in enumerate(arrays()):
        np.testing.assert_array_equal(records[place], expected)
        np.testing.assert_array_equal(records[records.index_of(f"n{place}")], expected)
        assert records[place].shape == expected.shape
    assert "n3" in records
    assert "m3" not in records
    with pytest.raises(KeyError, match="maps holds no record `m3`"):
        records.index_of("m3")


def test_arrays_cannot_be_changed(tmp_path):
    write(tmp_path / "out", tmp_path / "state")
    with pytest.raises(ValueError, match="read-only"):
        Records(tmp_path / "out", "maps")[0][0, 0] = 1


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)))
def test_the_order_of_parts_changes_no_byte(tmp_path_factory, order):
    root = tmp_path_factory.mktemp("records")
    write(root / "one", root / "s1")
    write(root / "two", root / "s2", order)
    assert files(root / "one") == files(root / "two")


def test_the_digest_of_contents_does_not_depend_on_shards(tmp_path):
    assert write(tmp_path / "a", tmp_path / "s1", per_shard=4) == write(
        tmp_path / "b", tmp_path / "s2", per_shard=3
    )


def test_no_records_and_awkward_names(tmp_path):
    write(tmp_path / "none", tmp_path / "s0", names=[])
    assert len(Records(tmp_path / "none", "maps")) == 0
    names = ["a,b", 'say "x"', "füße/ü 1", "x" * 300, "-", "#c"]
    write(tmp_path / "odd", tmp_path / "s1", names=names)
    assert Records(tmp_path / "odd", "maps").names == tuple(names)


def test_a_part_is_whole_or_absent(tmp_path):
    writer = RecordWriter(tmp_path / "out", "maps", tmp_path / "state", NAMES, 4)
    with pytest.raises(ValueError, match="needs 4 arrays, got 2"):
        writer.write_shard(0, arrays()[:2])
    with pytest.raises(ValueError, match="takes 4 arrays"):
        writer.write_shard(0, arrays()[:5])
    with pytest.raises(TypeError, match="uint8"):
        writer.write_shard(0, [np.zeros(3)])
    assert writer.missing_shards() == [0, 1, 2]
    assert not list(tmp_path.rglob("*.bin"))
    with pytest.raises(ValueError, match="still to be written"):
        writer.finish()


def test_parts_survive_the_writer_and_are_not_written_twice(tmp_path):
    first = RecordWriter(tmp_path / "out", "maps", tmp_path / "state", NAMES, 4)
    first.write_shard(1, arrays()[4:8])
    before = (tmp_path / "state/maps-00001.bin").stat()
    second = RecordWriter(tmp_path / "out", "maps", tmp_path / "state", NAMES, 4)
    assert second.missing_shards() == [0, 2]
    second.write_shard(0, arrays()[:4])
    second.write_shard(2, arrays()[8:])
    second.finish()
    assert (tmp_path / "out/maps-00001.bin").stat().st_ino == before.st_ino
    write(tmp_path / "plain", tmp_path / "s2")
    assert files(tmp_path / "out") == files(tmp_path / "plain")


def test_a_kill_between_the_renames_of_finish_costs_nothing(tmp_path):
    writer = RecordWriter(tmp_path / "out", "maps", tmp_path / "state", NAMES, 4)
    for part in writer.missing_shards():
        writer.write_shard(part, arrays()[part * 4 : part * 4 + 4])
    (tmp_path / "state/maps-00000.bin").rename(tmp_path / "out/maps-00000.bin")
    again = RecordWriter(tmp_path / "out", "maps", tmp_path / "state", NAMES, 4)
    assert again.missing_shards() == []
    again.finish()
    write(tmp_path / "plain", tmp_path / "s2")
    assert files(tmp_path / "out") == files(tmp_path / "plain")


@pytest.mark.parametrize("change", ["names", "per_shard"])
def test_parts_of_other_names_are_dropped(tmp_path, change):
    RecordWriter(tmp_path / "out", "maps", tmp_path / "state", NAMES, 4).write_shard(0, arrays()[:4])
    names, per_shard = (NAMES[::-1], 4) if change == "names" else (NAMES, 3)
    assert 0 in RecordWriter(tmp_path / "out", "maps", tmp_path / "state", names, per_shard).missing_shards()
    assert not (tmp_path / "state/maps-00000.bin").exists()


def test_two_kinds_share_a_folder(tmp_path):
    for prefix in ("images", "labels"):
        writer = RecordWriter(tmp_path / "out", prefix, tmp_path / "state", NAMES, 4)
        for part in writer.missing_shards():
            writer.write_shard(part, arrays()[part * 4 : part * 4 + 4])
        writer.finish()
    assert Records(tmp_path / "out", "images").digest == Records(tmp_path / "out", "labels").digest


def test_names_must_be_unique(tmp_path):
    with pytest.raises(ValueError, match="unique"):
        RecordWriter(tmp_path / "out", "maps", tmp_path / "state", ["a", "a"])


def test_truncated_and_missing_shards_are_noticed(tmp_path):
    write(tmp_path / "out", tmp_path / "state")
    shard = tmp_path / "out/maps-00001.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match="shorter than its index"):
        Records(tmp_path / "out", "maps")[7]
    shard.unlink()
    with pytest.raises(ArtifactError, match=r"maps-00001.bin is missing"):
        Records(tmp_path / "out", "maps")[4]


@pytest.mark.parametrize("content", ["", "a,b\n", "name,shape,shard,offset,sha256\nx,3x4,zero,0,ab\n"])
def test_a_damaged_index_is_noticed(tmp_path, content):
    (tmp_path / "maps.csv").write_text(content)
    with pytest.raises(ArtifactError, match=r"maps.csv is damaged"):
        Records(tmp_path, "maps")
    with pytest.raises(ArtifactError, match=r"nothing.csv is missing"):
        Records(tmp_path, "nothing")


def test_few_shards_are_open_at_once_and_old_views_stay_valid(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "_OPEN_SHARDS", 1)
    write(tmp_path / "out", tmp_path / "state")
    records = Records(tmp_path / "out", "maps")
    views = [records[place] for place in range(10)]
    assert len(records._maps) == 1
    for view, expected in zip(views, arrays(), strict=True):
        np.testing.assert_array_equal(view, expected)


def test_records_can_be_sent_to_another_process(tmp_path):
    write(tmp_path / "out", tmp_path / "state")
    records = Records(tmp_path / "out", "maps")
    records[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(records))[9], arrays()[9])


def test_a_writer_killed_in_the_middle_of_a_part_leaves_it_missing(tmp_path):
    code = f"""
import os, signal, numpy as np
from pathlib import Path
from pipeline.data.records import RecordWriter
root = Path({str(tmp_path)!r})
writer = RecordWriter(root / "out", "maps", root / "state", list("abcdef"), 3)
writer.write_shard(0, [np.zeros((2, 2), np.uint8)] * 3)
with writer.shard(1) as part:
    part.add(np.ones((2, 2), np.uint8))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    )
    assert ended.returncode == -signal.SIGKILL
    assert RecordWriter(tmp_path / "out", "maps", tmp_path / "state", list("abcdef"), 3).missing_shards() == [
        1
    ]


def test_the_names_are_one_tuple_however_often_asked(tmp_path):
    """A domain asks for them once per image: making them anew takes minutes for 60,000 digits."""
    write(tmp_path / "out", tmp_path / "state")
    records = Records(tmp_path / "out", "maps")
    assert records.names is records.names
