"""A trained model as one file of another runtime: normalisation, network, up-sampling and argmax in one graph.

The graph takes uint8 RGB images (B, H, W, 3): any number, and any size where the network allows it. It gives
`ids`, uint8 (B, H, W), `logits` on the network's grid, float32 (B, K, h, w), and on request `probabilities`,
float32 (B, K, H, W). Written by `torch.export`, and from there by `torch.onnx`.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from pipeline.artifacts.errors import ConfigError
from pipeline.inference.exported import (
    IDS,
    IMAGES,
    LOGITS,
    METADATA,
    PROBABILITIES,
    ExportedNetwork,
    ExportRecord,
    Run,
    library,
    onnx_runner,
)
from pipeline.inference.prediction import Model
from pipeline.networks.base import SegmentationNetwork
from pipeline.networks.records import NetworkRecord

SAMPLE = 2
"""Images of the traced batch: one would be taken for a constant."""


@dataclass(frozen=True)
class Exported:
    """The file's bytes, what it says of itself, how its graph is run, and why it takes one size only, if so."""

    data: bytes
    record: ExportRecord
    run: Run
    one_size: str | None

    def model(self, model: Model) -> Model:
        """The exported network with the classes and the size of its model."""
        network = ExportedNetwork(self.record, self.run, self.record.model.tensors_sha256)
        return Model(network.eval(), model.taxonomy, model.working_size, model.meta)


class _Graph(nn.Module):
    """What is exported."""

    def __init__(self, network: SegmentationNetwork, probabilities: bool) -> None:
        super().__init__()
        self.network, self.probabilities = network, probabilities

    def outputs(self) -> list[str]:
        """Names of what `forward` gives."""
        return [IDS, LOGITS, PROBABILITIES] if self.probabilities else [IDS, LOGITS]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits = self.network.logits(images.permute(0, 3, 1, 2))
        size = self.network.label_size((images.shape[1], images.shape[2]))
        large = self.network.upsample(logits, size)
        ids = large.argmax(dim=1).to(torch.uint8)
        return (ids, logits, torch.softmax(large, dim=1)) if self.probabilities else (ids, logits)


def export_model(model: Model, record: NetworkRecord, file_format: str, probabilities: bool) -> Exported:
    """Export a model that lies on the CPU; `file_format` is a key of `FORMATS`.

    ConfigError: the network cannot be exported, or a library is missing.
    """
    graph = _Graph(model.network, probabilities).eval()
    program, one_size = _traced(graph, model)
    noted = ExportRecord(model=record, any_size=one_size is None, single_pixel=model.network.single_pixel)
    try:
        data, run = FORMATS[file_format](program, graph.outputs(), noted.model_dump_json())
    except (RuntimeError, TypeError, ValueError) as error:
        raise _refused(model.network, error) from error
    return Exported(data, noted, run, one_size)


def _traced(graph: _Graph, model: Model) -> tuple[ExportedProgram, str | None]:
    """The program, of any size where that can be; else of the working size, and why."""
    width, height = model.working_size
    sample = torch.zeros(SAMPLE, height, width, 3, dtype=torch.uint8)
    with torch.no_grad(), _quiet():
        graph(sample)  # constants that are kept from call to call must be tensors, not a tracer's
        any_batch, any_side = {0: Dim.DYNAMIC}, {1: Dim.DYNAMIC, 2: Dim.DYNAMIC}
        reason = model.network.one_size_when_traced
        try:
            if not reason:
                return torch.export.export(
                    graph, (sample,), dynamic_shapes=({**any_batch, **any_side},)
                ), None
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
        try:
            return torch.export.export(graph, (sample,), dynamic_shapes=(any_batch,)), reason
        except (RuntimeError, TypeError, ValueError) as error:
            raise _refused(model.network, error) from error


def _refused(network: SegmentationNetwork, error: Exception) -> ConfigError:
    first = str(error).strip().splitlines()[0]
    return ConfigError(
        f"network {network.parameters_spec.backbone} cannot be exported ({first}); use the model folder itself"
    )


def _onnx(program: ExportedProgram, outputs: list[str], metadata: str) -> tuple[bytes, Run]:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library(name)
    with _quiet():
        written: Any = torch.onnx.export(
            program, (), dynamo=True, verbose=False, input_names=[IMAGES], output_names=outputs
        )
    written.model.metadata_props[METADATA] = metadata
    data = written.model_proto.SerializeToString()
    return data, onnx_runner(data, Path("the exported graph"))


def _torch_export(program: ExportedProgram, outputs: list[str], metadata: str) -> tuple[bytes, Run]:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: metadata})
    data = buffer.getvalue()
    module = torch.export.load(io.BytesIO(data)).module()

    def run(output: str, images: Tensor) -> Tensor:
        with torch.no_grad():
            return cast(Tensor, module(images)[outputs.index(output)])

    return data, run


FORMATS = {"onnx": _onnx, "torch-export": _torch_export}
"""From a traced program to a file's bytes, and a way to run just these."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the exporters say of their own workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
