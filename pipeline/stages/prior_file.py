"""The file of a `prior` artifact; free of torch."""

from typing import cast

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from pipeline.artifacts.files import write_bytes
from pipeline.artifacts.folder import ArtifactFolder

FILE, NAME = "prior.safetensors", "prior"


def store_prior(folder: ArtifactFolder, prior: NDArray[np.float16]) -> None:
    """Write a prior (K, h, w)."""
    write_bytes(folder.path / FILE, safetensors.numpy.save({NAME: prior}))


def stored_prior(folder: ArtifactFolder) -> NDArray[np.float16]:
    """The prior of a `prior` artifact as stored, (K, h, w)."""
    return cast(NDArray[np.float16], safetensors.numpy.load_file(folder.path / FILE)[NAME])
