"""The table of a training's terms: collected on the device, read at log lines, written as CSV.

The table is part of the training state, so a resumed training writes the same bytes as an uninterrupted one.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.artifacts.files import write_text
from pipeline.training.distributed import SINGLE, Processes

LEADING = ("step", "lr")


class MetricsTable:
    """One row per step: number of finished steps, the network's learning rate, the value of each term."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.columns: list[str] = []
        self.rows: list[list[float]] = []
        self._pending: list[tuple[int, float, tuple[str, ...], Tensor]] = []

    def add(self, done: int, rate: float, names: Sequence[str], values: Tensor) -> None:
        """Keep a step's `values` (float32, one per name) on their device; nothing is read yet."""
        self._pending.append((done, rate, tuple(names), values))

    def flush(self, processes: Processes = SINGLE) -> None:
        """Read the pending rows, sum them over processes, and append them to the file."""
        if not self._pending:
            return
        flat = torch.cat([values for *_, values in self._pending])
        processes.sum_([flat])
        numbers: list[float] = flat.tolist()
        known, first = len(self.columns), len(self.rows)
        for done, rate, names, values in self._pending:
            row, numbers = dict(zip(names, numbers[: len(values)], strict=True)), numbers[len(values) :]
            self.columns += [name for name in names if name not in self.columns]
            self.rows.append([float(done), rate, *(row.get(name, math.nan) for name in self.columns)])
        self._pending.clear()
        if len(self.columns) > known or self.path is None:
            self.write()
        else:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(self._line(row) for row in self.rows[first:])

    def write(self) -> None:
        """Write the whole file anew."""
        if self.path is not None:
            header = ",".join((*LEADING, *self.columns)) + "\n"
            write_text(self.path, header + "".join(self._line(row) for row in self.rows))

    def latest(self) -> dict[str, float]:
        """Return the last row read by column, the terms only."""
        return dict(zip(self.columns, self.rows[-1][len(LEADING) :], strict=False)) if self.rows else {}

    def _line(self, row: Sequence[float]) -> str:
        cells = ["" if math.isnan(value) else f"{value:.9g}" for value in row[1:]]
        return (
            ",".join([str(int(row[0])), *cells, *[""] * (len(LEADING) + len(self.columns) - len(row))]) + "\n"
        )

    def tensor(self) -> Tensor:
        """Return all rows read, float64 (rows, 2 + terms); NaN where a term was absent."""
        width = len(LEADING) + len(self.columns)
        padded = [row + [math.nan] * (width - len(row)) for row in self.rows]
        return torch.tensor(padded, dtype=torch.float64).reshape(len(padded), width)

    def restore(self, columns: Sequence[str], rows: Tensor) -> None:
        """Put back what `tensor` returned, and write the file as it was then."""
        self.columns, self.rows = list(columns), rows.tolist()
        self._pending.clear()
        self.write()


def parts_of(values: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
    """Stack scalars by name into one vector, so that a step costs one small kernel."""
    return tuple(values), torch.stack([value.detach().float() for value in values.values()])
