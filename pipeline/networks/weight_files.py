"""Finding, checking and reading files of initial weights; nothing is ever unpickled.

`source` is `torchvision`, `timm`, `pypi:<package>`, a URL or a path with ${VARIABLES}. Downloads lie where torch keeps
its own (`TORCH_HOME`), those of timm's hub where huggingface_hub does (`HF_HOME`), never in the project.
"""

import importlib.metadata
import os
import pickle
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from pipeline.artifacts.errors import WeightsError
from pipeline.artifacts.files import sha256_file
from pipeline.networks.fetching import download, is_offline
from pipeline.networks.parameters import WeightsParameters
from pipeline.networks.timm_weights import hub_file, license_in_timm

TORCHVISION_VERSION = "IMAGENET1K_V1"
"""The weights of the original recipe, which the papers used; V2 scores higher on ImageNet only."""


PACKAGE = "pypi:"
FILES_OF_TENSORS = (".pth", ".pt", ".safetensors")


def find_weights(weights: WeightsParameters, backbone: str) -> Path:
    """Make sure the file of `weights` is there, is the declared one, and return its path.

    Raises WeightsError where a variable is unset, the file is missing or cannot be downloaded, or its SHA-256
    differs from the declared one.
    """
    path = _located(weights.source, backbone, weights.sha256)
    if weights.sha256 is not None:
        found = sha256_file(path)
        if found != weights.sha256:
            raise WeightsError(
                f"{path}: another weight file than declared: SHA-256 is {found}, weights.sha256 says "
                f"{weights.sha256}; download the file again, or correct the checksum in config/networks/"
            )
    return path


def license_of(weights: WeightsParameters, backbone: str) -> str:
    """The declared licence of the weights, or for a file of timm's hub what timm says; "" where neither says."""
    if weights.license or weights.source != "timm":
        return weights.license
    return license_in_timm(backbone)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from `.safetensors`, or from a `.pth`/`.pt` file that holds tensors only."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, safetensors.SafetensorError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path}: not a readable file of tensors ({reason}); download it again, or save only its "
            "tensors anew: files that need arbitrary unpickling are never opened"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        names = (
            ", ".join(map(str, list(content)[:8])) if isinstance(content, dict) else type(content).__name__
        )
        raise WeightsError(
            f"{path}: found {names}, need a mapping from names to tensors; save the state dict alone"
        )
    return content


def _located(source: str, backbone: str, sha256: str | None) -> Path:
    if source == "torchvision":
        import torchvision  # slow to import

        name = backbone.removesuffix("_caffe")
        return _downloaded(torchvision.models.get_model_weights(name)[TORCHVISION_VERSION].url)
    if source == "timm":
        return hub_file(backbone)
    if source.startswith(PACKAGE):
        return _of_package(source.removeprefix(PACKAGE))
    expanded = os.path.expandvars(source)
    unset = re.findall(r"\$\{?(\w+)", expanded)
    if unset:
        raise WeightsError(
            f"weights.source {source}: the environment variable {unset[0]} is not set; set it, or write the "
            "path itself"
        )
    if expanded.startswith(("http://", "https://")):
        return _downloaded(expanded, sha256)
    path = Path(expanded).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"weights.source {source}: there is no file {path}; put it there or name where it lies"
        )
    return path


def _of_package(name: str) -> Path:
    """The one file of tensors in an installed package."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(
            f"weights.source {PACKAGE}{name}: not installed; run `pip install {name}`"
        ) from None
    found = [file for file in files if file.suffix in FILES_OF_TENSORS]
    if len(found) != 1:
        raise WeightsError(
            f"weights.source {PACKAGE}{name}: its package holds {len(found)} files of tensors and one is needed; name the "
            "file's path instead"
        )
    return Path(str(found[0].locate()))


def _downloaded(url: str, sha256: str | None = None) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    if is_offline():
        raise WeightsError(
            f"{url} is not here and nothing is fetched offline; fetch it elsewhere, and set weights.source to the file or "
            f"put it at {path}"
        )
    # torch's convention: a name that ends in -<8 hex> carries the start of the SHA-256.
    named = re.search(r"-([0-9a-f]{8,})\.\w+$", path.name)
    try:
        download(url, path, sha256 or (named.group(1) if named else None))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"cannot download {url} ({error}); fetch it elsewhere, and set weights.source to the "
            f"file or put it at {path}"
        ) from error
    return path
