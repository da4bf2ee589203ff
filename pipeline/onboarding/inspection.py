"""Looking into a user's pictures: their sizes, how labels are stored, and the raw ids or colors in them.

What cannot be used is a DataError that names the file and says what is needed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from pipeline.artifacts.errors import DataError
from pipeline.datasets.decoding import PALETTE, picture_size, png_header, read_image, read_label
from pipeline.datasets.taxonomy import IGNORE, Color
from pipeline.onboarding.picture_folders import SHOWN, Pairs, Pictures

LABELS_READ = 2000
"""Labels looked at, evenly spaced: more would take minutes and rarely show another id."""
DECODED = 200
"""Images decoded whole, evenly spaced; of the others the header is read. `prepare` decodes all."""
MAX_CLASSES = IGNORE
NEARLY = 0.02
"""A lossy mask has less than this share of pixels that are neither dark nor bright."""

LabelForm = Literal["ids8", "colors", "mask"]
Size = tuple[int, int]


@dataclass(frozen=True)
class LabelFacts:
    """What labels hold: pixels of every raw id (an int) or color, in ascending order, of `read` labels."""

    form: LabelForm
    pixels: Mapping[int | Color, int]
    read: int

    def share(self, value: int | Color) -> float:
        """Share of the pixels."""
        return self.pixels[value] / max(1, sum(self.pixels.values()))


def image_sizes(pictures: Pictures) -> Counter[Size]:
    """How many images have which (width, height); DataError lists every file that cannot be read."""
    paths = pictures.paths()
    whole = set(paths[:: max(1, -(-len(paths) // DECODED))])

    def size(path: Path) -> Size:
        if path in whole:
            height, width = read_image(path).shape[:2]
            return width, height
        return picture_size(path)

    return Counter(_over(paths, size))


def _over(paths: Sequence[Path], read: Callable[[Path], Size]) -> list[Size]:
    """`read` of every path, in threads; all DataErrors together."""
    errors: list[str] = []

    def attempt(path: Path) -> Size | None:
        try:
            return read(path)
        except DataError as error:
            errors.append(str(error))
            return None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(attempt, paths))
    refuse_all(errors, "files cannot be used; mend them or move them away")
    return [size for size in found if size is not None]


def refuse_all(errors: Sequence[str], what: str) -> None:
    """DataError with the first of several errors and their number; nothing when there are none."""
    if errors:
        lines = sorted(errors)[:SHOWN]
        more = f"\n... and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        raise DataError(f"{len(errors)} {what}:\n" + "\n".join(lines) + more)


def label_facts(pairs: Pairs, progress: Callable[[int, int], None] = lambda done, total: None) -> LabelFacts:
    """Read the labels (2,000 at most) and count the pixels of every raw id or color.

    DataError: 16-bit labels, photos in the place of labels, more than 255 classes, damaged files, or a label
    of another size than its image.
    """
    chosen = pairs.files[:: max(1, -(-len(pairs.files) // LABELS_READ))]
    form = _form_of([pairs.root / label for _, label in chosen])
    total: Counter[int | Color] = Counter()
    errors: list[str] = []
    for number, (image, label) in enumerate(chosen):
        progress(number, len(chosen))
        try:
            total.update(_counted(pairs.root / image, pairs.root / label, form))
        except DataError as error:
            errors.append(str(error))
        if len(total) > MAX_CLASSES + 1:
            break
    progress(len(chosen), len(chosen))
    refuse_all(errors, "labels cannot be used; mend them or move them away")
    if form == "ids8" and set(total) == {0, 255}:
        form, total = "mask", Counter({0: total[0], 1: total[255]})
    if len(set(total) - {IGNORE} if form == "ids8" else total) > MAX_CLASSES:
        what = "colors" if form == "colors" else "ids"
        raise DataError(
            f"the labels hold more than {MAX_CLASSES} different {what}, as photos or anti-aliased drawings do "
            f"(first: {pairs.root / chosen[0][1]}); at most {MAX_CLASSES} classes are possible. Was the right folder "
            "given? Labels need one exact value per class"
        )
    return LabelFacts(form, dict(sorted(total.items(), key=lambda entry: _key(entry[0]))), len(chosen))


def _key(value: int | Color) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else value


def _form_of(paths: Sequence[Path]) -> LabelForm:
    """How labels are stored, from their headers; DataError when they differ or cannot hold classes."""
    forms: dict[Path, LabelForm] = {}
    errors: list[str] = []
    for path in paths:
        try:
            forms[path] = _one_form(path)
        except DataError as error:
            errors.append(str(error))
    refuse_all(errors, "labels cannot be used")
    kinds = Counter(forms.values())
    if len(kinds) > 1:
        odd = next(path for path, form in forms.items() if form == kinds.most_common()[-1][0])
        raise DataError(
            f"the labels are of several kinds ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}; for example "
            f"{odd} is {forms[odd]}); all labels of a dataset must be stored alike"
        )
    return next(iter(kinds))


def _one_form(path: Path) -> LabelForm:
    header = png_header(path)
    if header is not None and header[0] == 16:
        raise DataError(
            f"{path}: a 16-bit PNG. Instance maps number objects, not classes: give the class (semantic) maps as "
            "8-bit PNGs. For SYNTHIA's own files write a dataset file with `labels_as: synthia`"
        )
    if header is not None and header[1] != PALETTE and header[0] == 1:
        return "mask"
    picture_size(path)  # what is no picture is told so
    with Image.open(path) as picture:
        lossy = picture.format in ("JPEG", "MPO", "WEBP")
        mode = picture.mode
    if lossy:
        return _lossy_mask(path)
    if mode in ("L", "P"):
        return "ids8"
    if mode in ("RGB", "RGBA"):
        return "colors"
    if mode == "1":
        return "mask"
    raise DataError(f"{path}: {mode} pixels; labels are 8-bit ids, colors (RGB) or black-and-white masks")


def _lossy_mask(path: Path) -> LabelForm:
    grey = read_image(path).mean(axis=2)
    between = ((grey > 40) & (grey < 215)).mean()
    if between > NEARLY:
        raise DataError(
            f"{path}: a lossy picture, and not black and white: compression has changed ids and colors. Save the "
            "labels as PNG from their source"
        )
    return "mask"


def _counted(image: Path, label: Path, form: LabelForm) -> dict[int | Color, int]:
    """Pixels of every value of one label; DataError when its size is not the image's."""
    if form == "colors":
        pixels = read_image(label)
        size = (pixels.shape[1], pixels.shape[0])
    else:
        ids = read_label(label, form)
        size = (ids.shape[1], ids.shape[0])
    picture = picture_size(image)
    if size != picture:
        raise DataError(
            f"{label}: has {size[0]}x{size[1]} pixels, its image {image.name} {picture[0]}x{picture[1]}; a label "
            "needs the size of its image"
        )
    if form != "colors":
        return {index: int(n) for index, n in enumerate(np.bincount(ids.ravel())) if n}
    wide = pixels.astype(np.uint32)
    codes, counts = np.unique(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], return_counts=True)
    return {
        (int(code >> 16), int(code >> 8 & 255), int(code & 255)): int(n)
        for code, n in zip(codes, counts, strict=True)
    }


def common_size(sizes: Mapping[Size, int]) -> Size:
    """The most frequent size; the larger of equals."""
    return max(sizes, key=lambda size: (sizes[size], size))


def told_sizes(sizes: Mapping[Size, int]) -> str:
    """`640x480`, or the most frequent sizes with their number."""
    ordered: Iterable[tuple[Size, int]] = sorted(sizes.items(), key=lambda entry: -entry[1])
    shown = [f"{width}x{height}" + f" ({n})" * (len(sizes) > 1) for (width, height), n in ordered]
    return ", ".join(shown[:3]) + (f", {len(shown) - 3} more sizes" if len(shown) > 3 else "")
