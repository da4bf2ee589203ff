"""A prepared split: images, labels and statistics as `prepare` wrote them, mapped into memory."""

from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import read_json
from pipeline.data.records import Records


class Cache:
    """Read access to a cache folder; ArtifactError names a file that is missing or damaged.

    `images` are RGB uint8 (H, W, 3). `labels` are class ids uint8 (h, w), 255 ignored, in the same order, or
    None for a cache without labels; h, w is the working size, the label's own size, or 1, 1 for one label.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = Records(folder, "images")
        self.labels = Records(folder, "labels") if (folder / "labels.csv").exists() else None
        if self.labels is not None and self.labels.names != self.images.names:
            raise ArtifactError(
                f"{folder}: images.csv and labels.csv hold different names; make the cache again"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images in order."""
        return self.images.names

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """`statistics.json`: images, sizes; with labels also classes, class_pixels, class_images and
        ignored_pixels, by class id.
        """
        read: dict[str, Any] = read_json(self.folder / "statistics.json")
        return read
