"""What `evaluate` and `select` keep of single images for pages: figures of all, maps of a few; free of torch.

table = image_table(folder)             # a line per image
examples = stored_examples(folder)      # by name, the same images for every model
"""

import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.artifacts.errors import ArtifactError
from pipeline.artifacts.files import replacing, write_text
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.artifacts.program import program
from pipeline.inference.examples import Answers, Example

TABLE, MAPS = "images.csv", "examples.npz"
SCORES = ("miou", "pixel_accuracy")


def write_examples(
    folder: ArtifactFolder, names: Sequence[str], answers: Answers, scores: Mapping[str, Any] | None = None
) -> None:
    """Write the table and the maps of the images `names`; `scores`: further columns."""
    table = pd.DataFrame({"image": list(names), "entropy": answers.entropy.round(6), **(scores or {})})
    write_text(folder.path / TABLE, table.to_csv(index=False))
    maps = {str(position): np.stack([one.classes, one.entropy]) for position, one in answers.examples.items()}
    # A file object, for to a name numpy would append a suffix.
    with replacing(folder.path / MAPS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **maps)


def image_table(folder: ArtifactFolder) -> pd.DataFrame:
    """One line per image of the last snapshot: `image`, `entropy` (mean, in [0, 1]); of an evaluation `SCORES` too.

    Those are percent, NaN for an image without a label: `miou` over the classes that occur in it.
    """
    blank = {name: [""] for name in SCORES}
    return pd.read_csv(folder.path / TABLE, dtype={"image": str}, keep_default_na=False, na_values=blank)


def stored_examples(folder: ArtifactFolder) -> dict[str, Example]:
    """The kept maps of the last snapshot by image; ArtifactError names a missing or damaged file."""
    names, path = image_table(folder)["image"], folder.path / MAPS
    try:
        with np.load(path) as maps:
            return {names[int(position)]: Example(*maps[position]) for position in maps}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: {error}; run `{program()} clean {folder.path.name}`") from error
