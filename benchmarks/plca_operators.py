"""Operators that one micro-batch of PLCA dispatches at paper size, forward and backward, and whether it waits.

    python benchmarks/plca_operators.py            # ResNet-101, 4 pairs of 730 x 730: half a minute
    python benchmarks/plca_operators.py --pairs 1 --size 97

Counted on the meta device, which computes shapes only: it needs no GPU, takes the blocks of one, and raises an
error where the step would read a value on the host. A GPU's host pays for every operator, some 7 us each where
they are small. Blocks of 512 x 512 positions, which these replace, took 359,428. The published step has two such
micro-batches. Writes `benchmarks/out/plca_operators.json`.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.files import write_json
from pipeline.data.batch import Batch
from pipeline.methods.base import Context
from pipeline.methods.parameters import PlcaParameters
from pipeline.methods.plca import Plca
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters

OUT = Path(__file__).resolve().parent / "out" / "plca_operators.json"
BLOCKS_OF_512 = 359_428
CLASSES = 19
NETWORK = NetworkParameters(
    backbone="resnet101_caffe", batch_norm="train", head_bias=False, align_corners=False, profile="caffe"
)


class Operators(TorchDispatchMode):
    """Counts what is dispatched, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count and go on."""
        self.names[str(func)] += 1
        return func(*args, **(kwargs or {}))


def micro_batch(pairs: int, size: int, **weights: float) -> Counter[str]:
    """Operators of the objective and its backward pass, by name."""
    with torch.device("meta"):
        network = build_network(NETWORK, CLASSES, 0).to("meta").train()
        labels = torch.zeros(pairs, size, size, dtype=torch.int64)
        images = torch.zeros(pairs, 3, size, size)
        names = tuple(map(str, range(pairs)))
        batch = {domain: Batch(images, labels, names) for domain in ("source", "target")}
        share = dict.fromkeys(batch, 1.0)
        context = Context(0, {"source": torch.zeros(())}, share, CLASSES)
        method = Plca(PlcaParameters(method="plca", **weights))
        with Operators() as operators:
            for term in method.terms({"network": network}, batch, context):
                term.value.backward()
    return operators.names


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=4, help="images of each domain")
    parser.add_argument("--size", type=int, default=730, help="side of the images in pixels")
    arguments = parser.parse_args()
    whole = micro_batch(arguments.pairs, arguments.size)
    rest = micro_batch(
        arguments.pairs, arguments.size, feature_association_weight=0.0, prediction_association_weight=0.0
    )
    figures = {"micro_batch": whole.total(), "without_associations": rest.total()}
    for name, count in figures.items():
        print(f"{name}: {count:,}")
    ratio = BLOCKS_OF_512 / whole.total()
    print(f"blocks of 512 over ours: {ratio:.1f}")
    OUT.parent.mkdir(exist_ok=True)
    settings = vars(arguments)
    write_json(
        OUT,
        {
            "settings": settings,
            "torch": torch.__version__,
            "figures": figures,
            "ratio": ratio,
            "names": whole,
        },
    )


if __name__ == "__main__":
    main()
