"""Looking into a user's pictures: their sizes, how labels are stored, and the values or colors in them.

What cannot be used is a DataError that names the file and says what is needed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.artifacts.errors import DataError
from pipeline.datasets.decoding import read_image, read_label
from pipeline.datasets.headers import Storage, is_turned, picture_size, stored_as
from pipeline.datasets.nearest import color_codes
from pipeline.datasets.taxonomy import IGNORE, Color
from pipeline.numerics import WidthHeight
from pipeline.onboarding.picture_folders import SHOWN, Pairs, Pictures

LABELS_READ = 2000
"""Labels looked at, evenly spaced: more would take minutes and rarely show another id."""
DECODED = 200
"""Images decoded whole, evenly spaced; of the others the header is read. `prepare` decodes all."""
MAX_CLASSES = IGNORE
MAX_COLORS = 1 << 18
"""Labels with more colors than this are photos."""

LabelForm = Literal["ids8", "grey", "colors"]
Value = int | Color


@dataclass(frozen=True)
class LabelFacts:
    """What labels hold: pixels of every value (an int) or color, in ascending order, of `read` labels.

    `solid`: the values that fill a square of 3x3 pixels somewhere; edges that were smoothed, traces of
    compression and stray pixels do not. `lossy`: the first label whose compression changes values, if any.
    """

    form: LabelForm
    pixels: Mapping[Value, int]
    read: int
    solid: frozenset[Value]
    example: Path
    lossy: Path | None = None

    def share(self, value: Value) -> float:
        """Share of the pixels."""
        return self.pixels.get(value, 0) / max(1, sum(self.pixels.values()))

    def shares(self, values: Sequence[Value]) -> float:
        """Share of the pixels of all these values."""
        return sum(self.share(value) for value in values)


@dataclass(frozen=True)
class ImageFacts:
    """How many images have which upright (width, height), and how many are turned by their EXIF orientation."""

    sizes: Mapping[WidthHeight, int]
    turned: int


def image_facts(pictures: Pictures) -> ImageFacts:
    """Look at every image; DataError lists every file that cannot be read."""
    paths = pictures.paths()
    whole = set(paths[:: max(1, -(-len(paths) // DECODED))])

    def look(path: Path) -> tuple[WidthHeight, bool]:
        if path in whole:
            read_image(path)
        return picture_size(path), is_turned(path)

    found = _over(paths, look)
    return ImageFacts(Counter(size for size, _ in found), sum(turned for _, turned in found))


def _over(
    paths: Sequence[Path], look: Callable[[Path], tuple[WidthHeight, bool]]
) -> list[tuple[WidthHeight, bool]]:
    """`look` at every path, in threads; all DataErrors together."""
    errors: list[str] = []

    def attempt(path: Path) -> tuple[WidthHeight, bool] | None:
        try:
            return look(path)
        except DataError as error:
            errors.append(str(error))
            return None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(attempt, paths))
    refuse_all(errors, "files")
    return [one for one in found if one is not None]


def refuse_all(errors: Sequence[str], what: str) -> None:
    """DataError with the first of several errors and their number; nothing when there are none."""
    if errors:
        lines = sorted(errors)[:SHOWN]
        more = f"\n... and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        raise DataError(
            f"{what} that cannot be used: {len(errors)}; fix them or move them away:\n"
            + "\n".join(lines)
            + more
        )


def label_facts(pairs: Pairs, progress: Callable[[int, int], None] = lambda done, total: None) -> LabelFacts:
    """Read the labels (2,000 at most) and count the pixels of every value or color.

    DataError: 16-bit labels, photos in the place of labels, damaged files, labels of several kinds, or a label
    of another size than its image.
    """
    chosen = pairs.files[:: max(1, -(-len(pairs.files) // LABELS_READ))]
    storages = _storages([pairs.root / label for _, label in chosen])
    form = _form_of(storages)
    count = _Count(form)
    errors: list[str] = []
    for number, (image, label) in enumerate(chosen):
        progress(number, len(chosen))
        try:
            count.add(pairs.root / image, pairs.root / label)
        except DataError as error:
            errors.append(str(error))
        if len(count.pixels) > MAX_COLORS:
            break
    progress(len(chosen), len(chosen))
    refuse_all(errors, "labels")
    lossy = next((path for path, storage in storages.items() if storage == "lossy"), None)
    return _facts(count, storages, lossy, len(chosen))


def _storages(paths: Sequence[Path]) -> dict[Path, Storage]:
    storages: dict[Path, Storage] = {}
    errors: list[str] = []
    for path in paths:
        try:
            storages[path] = stored_as(path)
        except DataError as error:
            errors.append(str(error))
    refuse_all(errors, "labels")
    return storages


def _form_of(storages: Mapping[Path, Storage]) -> LabelForm:
    """How labels are to be read; DataError when they are of several kinds."""
    kinds = set(storages.values())
    if kinds <= {"palette", "grey"}:
        return "ids8"
    if kinds <= {"grey", "shades", "lossy"}:
        return "grey"
    if kinds <= {"grey", "shades", "colors"}:
        return "colors"  # or grey, if no pixel turns out to be in color
    counts = Counter(storages.values())
    rare = counts.most_common()[-1][0]
    odd = next(path for path, storage in storages.items() if storage == rare)
    raise DataError(
        f"the labels are of several kinds ({', '.join(f'{n} {kind}' for kind, n in counts.items())}; for example {odd} "
        f"is {rare}); all labels of a dataset must be stored alike"
    )


@dataclass
class _Count:
    """Pixels of every value of the labels so far, and of those the ones inside squares of 3x3 equal pixels."""

    form: LabelForm
    pixels: Counter[int] = field(default_factory=Counter)
    solid: set[int] = field(default_factory=set)

    def add(self, image: Path, label: Path) -> None:
        """Count one label; DataError when its size is not the image's."""
        if self.form == "colors":
            values: NDArray[np.generic] = color_codes(read_image(label))
        else:
            values = read_label(label, self.form)
        size, due = (values.shape[1], values.shape[0]), picture_size(image)
        if size != due:
            turned = (
                " (upright, as its EXIF orientation says; the label is not turned so)"
                if size[::-1] == due
                else ""
            )
            raise DataError(
                f"{label}: has {size[0]}x{size[1]} pixels, its image {image.name} {due[0]}x{due[1]}{turned}; a label "
                "needs the size of its image"
            )
        places, found = pd.factorize(values.ravel())  # by hashing: many times faster than sorting
        counts = np.bincount(places, minlength=len(found))
        inner = places.reshape(values.shape)[1:-1, 1:-1][_inside(values)]
        self.pixels.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        self.solid.update(found[np.bincount(inner, minlength=len(found)) > 0].tolist())


def _inside(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether the 3x3 pixels around each inner pixel are equal: bool (H - 2, W - 2), empty for small labels."""
    if min(values.shape) < 3:
        return np.zeros((max(0, values.shape[0] - 2), max(0, values.shape[1] - 2)), dtype=np.bool_)
    rows = values[:, 1:] == values[:, :-1]
    columns = values[1:] == values[:-1]
    squares: NDArray[np.bool_] = rows[:-1] & rows[1:] & columns[:, :-1]
    inside: NDArray[np.bool_] = squares[:-1, :-1] & squares[:-1, 1:] & squares[1:, :-1] & squares[1:, 1:]
    return inside


def _facts(count: _Count, storages: Mapping[Path, Storage], lossy: Path | None, read: int) -> LabelFacts:
    example = next(iter(storages))
    if count.form != "colors":
        values: dict[Value, int] = dict(sorted(count.pixels.items()))
        return LabelFacts(count.form, values, read, frozenset(count.solid), example, lossy)
    colors = {code: (code >> 16, code >> 8 & 255, code & 255) for code in sorted(count.pixels)}
    if all(red == green == blue for red, green, blue in colors.values()):
        values = {code & 255: count.pixels[code] for code in colors}
        return LabelFacts("grey", values, read, frozenset(code & 255 for code in count.solid), example)
    mixed = {storage for storage in storages.values() if storage != "colors"}
    if mixed:
        raise DataError(
            f"the labels are of several kinds: some are in color, others grey (for example {example}); all labels of "
            "a dataset must be stored alike"
        )
    pixels: dict[Value, int] = {color: count.pixels[code] for code, color in colors.items()}
    return LabelFacts("colors", pixels, read, frozenset(colors[code] for code in count.solid), example)
