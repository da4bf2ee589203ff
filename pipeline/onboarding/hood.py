"""The car's own hood in the source's labels: shown as a picture, and ignored where the user says so."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.artifacts.files import write_bytes, write_text
from pipeline.config.load import Library
from pipeline.datasets.conversion import CacheContent
from pipeline.datasets.preview import Preview, split_preview
from pipeline.datasets.sizes import common_size
from pipeline.inference.overlays import jpeg
from pipeline.inference.sheets import still_picture
from pipeline.stages.results import Results

LOOKED_AT = 60
"""Labels: enough to tell what keeps still, and a matter of seconds."""


def offer_mask(name: str, library: Library, wanted: bool) -> None:
    """Look for a hood in the source that `init` has written; ignore it if it is `wanted` or the answer is yes."""
    spec = library.dataset(f"{name}-source", name)
    taxonomy = library.taxonomy(name, name)
    content = CacheContent(spec, "train", taxonomy, None, "working")
    preview = split_preview(f"{name}-source train", content, LOOKED_AT)
    still = preview.still
    if still is None or still.class_id is None:
        return
    picture = Results().preview(name) / "hood.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(picture, jpeg(still_picture(preview)))
    print(
        f"\nA region of {still.share:.1%} of the picture is {taxonomy.names[still.class_id]} in nearly every source "
        f"image, as the car's own hood is: red in {picture}."
    )
    if wanted or _yes("Ignore it in the labels? y, anything else leaves them as they are: "):
        print(f"ignored: {_write_mask(name, Path(spec.file), preview)}")
    else:
        print("To ignore it in the labels: the same command with --ignore-hood --force")


def _yes(question: str) -> bool:
    """Whether the answer is yes; without a terminal it is not."""
    if not sys.stdin.isatty():
        return False
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _write_mask(name: str, file: Path, preview: Preview) -> Path:
    """Write the mask beside the dataset file, and name it there."""
    assert preview.still is not None
    mask = Image.fromarray(preview.still.mask.astype(np.uint8) * 255)
    stream = io.BytesIO()
    mask.resize(common_size(preview.sizes), Image.Resampling.NEAREST).save(stream, "png")
    path = file.parent / "masks" / f"{name}-hood.png"
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, stream.getvalue())
    key = f"ignore_mask: ./masks/{path.name}  # what is not black in it; init found it to keep still\n"
    write_text(file, file.read_text("utf-8") + key)
    return path
