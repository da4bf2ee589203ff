"""A model in one ONNX file, run by onnxruntime on the CPU.

    model = load_model("model.onnx")
    ids = model.predict(PIL.Image.open("street.jpg"))

The graph takes uint8 RGB images (B, H, W, 3) and gives `ids`, uint8 (B, H, W), and `logits` on the network's grid,
which `predict` brings to a picture's own size. All that `model.json` holds lies in the file's metadata.
"""

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.artifacts.errors import ArtifactError, ConfigError
from pipeline.artifacts.program import program
from pipeline.networks.base import Output, SegmentationNetwork
from pipeline.networks.records import NetworkRecord
from pipeline.schema.strict import Strict

ENDING = ".onnx"
METADATA = "segadapt"
"""Key of the metadata that holds an `ExportRecord` as JSON."""
IMAGES, IDS, LOGITS, PROBABILITIES = "images", "ids", "logits", "probabilities"
"""Names of the graph's input and outputs."""

Run = Callable[[str, Tensor], Tensor]
"""Computes one named output of uint8 images (B, H, W, 3)."""


class ExportRecord(Strict):
    """What an exported file says of itself: the model's `model.json`, and what the graph takes."""

    format: Literal[1] = 1
    model: NetworkRecord
    test_mode: Literal["plain"] = "plain"
    layout: Literal["NHWC"] = "NHWC"
    any_size: bool
    single_pixel: bool


class ExportedNetwork(SegmentationNetwork):
    """A network whose graph another library runs: it predicts, and cannot be trained."""

    def __init__(self, record: ExportRecord, run: Run, sha256: str) -> None:
        super().__init__()
        self.describe(record.model.network, record.model.num_classes)
        self.single_pixel, self.any_size = record.single_pixel, record.any_size
        self.run = run
        # Stands for the tensors wherever a network is told from another.
        self.register_buffer("file", torch.frombuffer(bytearray.fromhex(sha256), dtype=torch.uint8))

    def logits(self, images: Tensor) -> Tensor:
        """Compute the logits of uint8 RGB images (B, 3, H, W) on the network's grid: float32 (B, K, h, w)."""
        return self.run(LOGITS, images.permute(0, 2, 3, 1))

    def forward(self, images: Tensor) -> Output:
        """Refuse: ConfigError."""
        raise ConfigError(
            "an exported network takes whole images as they are; use test mode plain, or the model folder"
        )

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")


def library(name: str) -> Any:
    """Import a library of the extra `export`; ConfigError says how to install it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{name} is not installed, and ONNX files need it: `pip install 'segadapt[export]'`, or "
            "`pip install onnx onnxscript onnxruntime`"
        ) from error


def open_exported(path: Path) -> tuple[ExportedNetwork, dict[str, Any]]:
    """Read an ONNX file and the `meta` of its model.

    ArtifactError: the file is missing, damaged, or not one of `python -m pipeline export`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error.strerror}); name a file of `{program()} export`"
        ) from error
    session = _session(data, path)
    noted = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if noted is None:
        raise ArtifactError(
            f"{path}: an ONNX file without the classes and the input size that `predict` needs; make it with "
            f"`{program()} export --model FOLDER --format onnx`"
        )
    try:
        record = ExportRecord.model_validate_json(noted)
    except ValidationError as error:
        raise ArtifactError(
            f"{path}: its metadata {METADATA!r} is not of this version ({error.errors()[0]['msg']}); export the "
            "model anew"
        ) from error
    return ExportedNetwork(record, _runner(session), hashlib.sha256(data).hexdigest()), record.model.meta


def onnx_runner(data: bytes, path: Path) -> Run:
    """Run the graph of an ONNX file's bytes; `path` is named where it cannot be run."""
    return _runner(_session(data, path))


def _session(data: bytes, path: Path) -> Any:
    runtime = library("onnxruntime")
    errors = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Idle threads wait; spinning ones take twice the time where cores are shared.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NotImplemented,
    ) as error:
        raise ArtifactError(
            f"{path}: no ONNX file that onnxruntime can run ({error}); export the model anew"
        ) from error


def _runner(session: Any) -> Run:
    """Outputs of a session by name; what the wanted one does not need is not computed."""
    options = library("onnxruntime").RunOptions()
    options.only_execute_path_to_fetches = True

    def run(output: str, images: Tensor) -> Tensor:
        feeds = {IMAGES: np.ascontiguousarray(images.numpy())}
        return torch.from_numpy(session.run([output], feeds, options)[0])

    return run
