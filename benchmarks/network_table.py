"""Parameters, licence and memory of every configured network, without any memory: the table of docs/networks.md.

python benchmarks/network_table.py

Memory: parameters, their gradients and what autograd keeps of one image of 1024x512 in float32, on the meta device; no
optimiser, and no working memory of kernels.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.config.load import Library
from pipeline.networks.build import construct
from pipeline.networks.parameters import CLASSIFIERS, NetworkParameters
from pipeline.networks.weight_files import license_of
from pipeline.training.step_memory import fused_attention

CLASSES = 19
HEIGHT, WIDTH = 512, 1024


def memory_of(parameters: NetworkParameters) -> tuple[int, int]:
    """Number of parameters, and bytes of a training pass of one image."""
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.device("meta"):
        network = construct(parameters, CLASSES)
    with fused_attention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.empty(1, 3, HEIGHT, WIDTH, device="meta"))
    own = {tensor.untyped_storage()._cdata for tensor in network.parameters()}
    activations = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)
    count = sum(tensor.numel() for tensor in network.parameters())
    return count, activations + 8 * count


def main() -> None:
    """Print a row for each network."""
    library = Library(Path("config"))
    for path in sorted(Path("config/networks").glob("*.yaml")):
        parameters = library.network(path.stem, "benchmark")
        if parameters.backbone in CLASSIFIERS:
            continue
        count, size = memory_of(parameters)
        said = license_of(parameters.weights, parameters.backbone) if parameters.weights else "none needed"
        print(
            f"| `{path.stem}` | {count / 1e6:.1f} M | {said or 'not stated'} | {size / 2**30:.1f} GiB |",
            flush=True,
        )


if __name__ == "__main__":
    main()
