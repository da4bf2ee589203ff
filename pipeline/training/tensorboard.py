"""A training's table of metrics that also goes into event files for TensorBoard.

tensorboard --logdir results/adapt/KEY/run/tensorboard
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.artifacts.errors import ConfigError
from pipeline.training.distributed import SINGLE, Processes
from pipeline.training.metrics import LEADING, MetricsTable


class TensorBoardTable(MetricsTable):
    """A metrics table whose rows become scalars by name, at their steps; a resumed training replaces what came later."""

    def __init__(self, path: Path, folder: Path) -> None:
        """`folder`: of the event files. ConfigError: the package tensorboard is missing."""
        super().__init__(path)
        self.folder = folder
        self._writer: Any = None
        self._written = 0
        _summary_writer()

    def flush(self, processes: Processes = SINGLE) -> None:
        """Read the pending rows and append them to the file and to the events."""
        super().flush(processes)
        for row in self.rows[self._written :]:
            self._add(row)
        self._written = len(self.rows)
        if self._writer is not None:
            self._writer.flush()

    def restore(self, columns: Sequence[str], rows: Tensor) -> None:
        """Put back what `tensor` returned; its rows are in the events of before."""
        super().restore(columns, rows)
        self._written = len(self.rows)

    def _add(self, row: Sequence[float]) -> None:
        step = int(row[0])
        if self._writer is None:
            self._writer = _summary_writer()(str(self.folder), purge_step=step)
        for name, value in zip((*LEADING, *self.columns)[1:], row[1:], strict=False):
            if not math.isnan(value):
                self._writer.add_scalar(name, value, step)


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "run.tensorboard: true needs the package tensorboard: `pip install 'segadapt[tensorboard]'`, or set it "
            "to false"
        ) from error
    return SummaryWriter
