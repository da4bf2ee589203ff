"""Sums over images that survive stops and kills with one table on disk."""

import numpy as np
import pytest
import torch

from pipeline.artifacts.control import ALONE, Control
from pipeline.artifacts.errors import Interrupted, StateError
from pipeline.data.records import RecordWriter
from pipeline.inference.accumulation import accumulate, write_records
from pipeline.inference.chunks import ChunkStore
from pipeline.inference.passes import MAX_CHUNK, PassSettings

TOTAL = 10


class Work:
    """Adds position + 1 to a table; notes which positions it saw."""

    def __init__(self, folder, name="sum"):
        self.store = ChunkStore(folder, {"work": name})
        self.tables = {"sum": torch.zeros(1, dtype=torch.int64)}
        self.seen = []

    def update(self, position):
        self.seen.append(position)
        self.tables["sum"] += position + 1

    def run(self, every=MAX_CHUNK, **control):
        accumulate(self.tables, self.update, TOTAL, self.store, Control(**control), every)
        return int(self.tables["sum"])


class Killed(BaseException):
    pass


def test_the_result_is_that_of_every_image_once(tmp_path):
    work = Work(tmp_path)
    assert work.run(every=3) == 55 and work.seen == list(range(TOTAL))
    again = Work(tmp_path)
    assert again.run(every=3) == 55 and again.seen == []


def test_a_stop_saves_and_the_next_run_goes_on(tmp_path):
    seen = []
    for attempt in range(TOTAL):
        work = Work(tmp_path)
        try:
            result = work.run(stop=lambda: "told to")
            break
        except Interrupted as error:
            assert str(error) == f"told to: {attempt + 1} of 10 are done"
        finally:
            seen += work.seen
    assert result == 55 and seen == list(range(TOTAL))


def test_a_kill_loses_what_was_not_saved_and_no_more(tmp_path):
    work = Work(tmp_path)

    def dies(position):
        if position == 8:
            raise Killed
        Work.update(work, position)

    work.update = dies
    with pytest.raises(Killed):
        work.run(every=3)
    again = Work(tmp_path)
    assert again.run(every=3) == 55 and again.seen == [6, 7, 8, 9]


def test_one_table_is_kept_whatever_the_number_of_saves(tmp_path):
    Work(tmp_path).run(every=1)
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]


def test_two_saves_side_by_side_are_no_harm(tmp_path):
    """A kill between writing the newer save and removing the older leaves both."""
    work = Work(tmp_path)
    kept = tmp_path / "kept"
    with pytest.raises(Interrupted):
        work.run(stop=lambda: "now")
    kept.mkdir()
    for path in list(tmp_path.glob("chunk-*")):
        (kept / path.name).write_bytes(path.read_bytes())
    Work(tmp_path).run(every=4)
    for path in kept.iterdir():
        path.rename(tmp_path / path.name)
    assert Work(tmp_path).run() == 55


def test_other_work_is_refused(tmp_path):
    Work(tmp_path).run()
    with pytest.raises(StateError, match="another pass"):
        Work(tmp_path, "other").run()


def test_nothing_to_do(tmp_path):
    tables = {"sum": torch.zeros(1)}
    accumulate(tables, lambda position: None, 0, ChunkStore(tmp_path, {}), ALONE)
    assert float(tables["sum"]) == 0.0


def test_records_are_counted_one_by_one_though_written_file_by_file(tmp_path):
    seen = []
    (tmp_path / "out").mkdir()
    writer = RecordWriter(tmp_path / "out", "labels", tmp_path / "shards", list("abcde"), per_shard=2)
    settings = PassSettings(tmp_path / "state", progress=lambda *counts: seen.append(counts))
    write_records(writer, lambda position: np.full((1, 1), position, np.uint8), {}, settings)
    assert seen == [(0, 5), (2, 5), (4, 5), (5, 5)]
