"""What `prepare` says of files: the bad ones, which stop it, and labels with pixels that are far from all names."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pipeline.artifacts.errors import DataError
from pipeline.artifacts.files import make_folder, replacing
from pipeline.datasets.conversion import ShardResult
from pipeline.datasets.items import BadFile
from pipeline.datasets.nearest import FAR
from pipeline.datasets.spec import DatasetSpec

SHOWN = 50
"""Bad files in the error itself; all of them are in `bad-files.csv`."""


def report_bad_files(spec: DatasetSpec, split: str, bad: Sequence[BadFile], path: Path) -> None:
    """DataError with the first bad files when there are any, after writing all of them to `path`."""
    if not bad:
        path.unlink(missing_ok=True)
        return
    ordered = sorted(bad, key=lambda file: (file.path, file.reason))
    _write_table(path, ("path", "reason"), ((entry.path, entry.reason) for entry in ordered))
    lines = [f"{entry.path}: {entry.reason}" for entry in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        lines.append(f"... and {len(ordered) - SHOWN} more")
    common, count = Counter(entry.reason for entry in ordered).most_common(1)[0]
    if count > 1:
        lines.append(f"Most common ({count} times): {common}")
    raise DataError(
        f"{spec.location}: split {split}: {len(ordered)} bad files, all in {path}."
        " Fix them, or leave images out by their names under `skip:` in the dataset file.\n"
        + "\n".join(lines)
    )


def report_far_pixels(results: Sequence[ShardResult], path: Path, warn: Callable[[str], None]) -> None:
    """Tell how many pixels are far from every named value or color, and write the labels that hold them."""
    far = sorted(
        ((label, count) for result in results for label, count in result.far.items()), key=lambda row: -row[1]
    )
    if not far:
        path.unlink(missing_ok=True)
        return
    _write_table(path, ("path", "pixels"), far)
    pixels = sum(count for _, count in far)
    warn(
        f"{len(far)} labels hold {pixels:,} pixels that are farther than {FAR} levels from every named value or color"
        f" and took the nearest class; most in {far[0][0]} ({far[0][1]:,}), all in {path}"
    )


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    make_folder(path.parent)
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
