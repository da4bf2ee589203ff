"""The metrics table, the finite watch and the progress display."""

import io
import logging
from pathlib import Path

import pytest
import torch

from pipeline.artifacts.errors import SegadaptError
from pipeline.training.finite import FiniteWatch, refuse_non_finite
from pipeline.training.metrics import MetricsTable
from pipeline.training.progress import Progress, TerminalFilter, shown_time


def add(table: MetricsTable, done: int, **values: float) -> None:
    table.add(done, 0.1 / done, list(values), torch.tensor(list(values.values())))


def test_rows_are_appended_and_a_restored_table_goes_on_alike(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "a.csv")
    add(table, 1, loss=0.5)
    add(table, 2, loss=0.25)
    table.flush()
    assert (tmp_path / "a.csv").read_text() == "step,lr,loss\n1,0.1,0.5\n2,0.05,0.25\n"
    columns, rows = list(table.columns), table.tensor()
    add(table, 3, loss=1 / 3)
    table.flush()

    again = MetricsTable(tmp_path / "b.csv")
    add(again, 1, loss=9.0)  # lost: never part of the state
    again.restore(columns, rows)
    add(again, 3, loss=1 / 3)
    again.flush()
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert again.latest() == {"loss": pytest.approx(1 / 3)}


def test_a_term_that_comes_later_has_empty_cells_before(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "m.csv")
    add(table, 1, loss=1.0)
    table.flush()
    add(table, 2, loss=2.0, late=3.0)
    add(table, 4, late=5.0)
    table.flush()
    assert (tmp_path / "m.csv").read_text() == "step,lr,loss,late\n1,0.1,1,\n2,0.05,2,3\n4,0.025,,5\n"
    assert table.tensor().shape == (3, 4)
    assert table.tensor()[0].isnan().tolist() == [False, False, False, True]


def test_nothing_is_read_before_a_flush() -> None:
    table = MetricsTable(None)
    add(table, 1, loss=1.0)
    assert table.rows == [] and table.tensor().shape == (0, 2)
    assert table.latest() == {}


def test_an_empty_flush_writes_nothing(tmp_path: Path) -> None:
    MetricsTable(tmp_path / "m.csv").flush()
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_watch_names_step_terms_and_samples_once(bad: float) -> None:
    watch = FiniteWatch()
    assert watch.complaint() is None
    watch.submit(5, ("one", "two", "three"), torch.tensor([1.0, bad, bad]), {"source": ("a", "b")})
    text = watch.complaint()
    assert text is not None and text.startswith("step 5: two, three is not finite") and "source: a, b" in text
    assert watch.complaint() is None
    watch.submit(6, ("one",), torch.tensor([3.0e38]), {"source": ("a",)})
    assert watch.complaint() is None


def test_weights_are_checked_before_they_are_saved() -> None:
    fine = {"a": torch.ones(3), "count": torch.tensor(3), "none": torch.empty(0)}
    refuse_non_finite(fine, 1)
    refuse_non_finite({}, 1)
    with pytest.raises(SegadaptError, match=r"after step 7: tensor b "):
        refuse_non_finite(fine | {"b": torch.tensor([1.0, float("nan")])}, 7)


def progress(stream: io.StringIO, clock: list[float], start: int = 0) -> Progress:
    shown = Progress("toy", 100, logging.getLogger("progress"), stream=stream, clock=lambda: clock[0])
    shown.begin(start)
    return shown


def test_a_line_per_half_minute_with_label_and_eta() -> None:
    stream, clock = io.StringIO(), [0.0]
    shown = progress(stream, clock, start=10)
    for done in range(11, 51):
        clock[0] += 2.0
        shown.advance(done, 0.5)
    assert stream.getvalue().splitlines() == [
        "[toy] step 25/100, ETA 0:02:30",
        "[toy] step 40/100, ETA 0:02:00",
    ]


def test_log_lines_have_pace_wait_share_and_eta(caplog: pytest.LogCaptureFixture) -> None:
    clock = [0.0]
    shown = progress(io.StringIO(), clock)
    with caplog.at_level(logging.INFO, "progress"):
        for done in range(1, 21):
            clock[0] += 2.0 if done <= 10 else 4.0
            shown.advance(done, 0.5)
            if done % 10 == 0:
                shown.report("loss 1")
    assert [record.getMessage() for record in caplog.records] == [
        "step 10/100  loss 1  2.000 s/step  data wait 25 %  ETA 0:03:00",
        "step 20/100  loss 1  4.000 s/step  data wait 12 %  ETA 0:04:00",
    ]
    terminal = TerminalFilter()
    assert not any(terminal.filter(record) for record in caplog.records)
    assert terminal.filter(logging.makeLogRecord({"msg": "start"}))


def test_a_bar_only_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, drawn in ((io.StringIO(), False), (Terminal(), True)):
        shown = Progress("toy", 4, logging.getLogger("progress"), bar=True, stream=stream)
        shown.begin(0)
        shown.advance(1, 0.0)
        shown.close()
        assert ("toy" in stream.getvalue()) is drawn


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3_725, "1:02:05"), (400_000, "111:06:40")]
)
def test_durations(seconds: float, text: str) -> None:
    assert shown_time(seconds) == text
