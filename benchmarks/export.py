"""Time of an exported network under onnxruntime against torch, on the same images in one run.

    python benchmarks/export.py                                                   # 480 x 360: a minute
    python benchmarks/export.py --size 64 48 --rounds 2 --backbones small         # some seconds

Each network has random weights and twelve classes. *torch* is what `predict` computes from an image of that size to
its ids, *onnxruntime* the output `ids` of the exported graph; both on the CPU with the same number of threads, in
turn, each at its quickest round. Counted is the processor time of all threads, which other work on the machine
hardly changes. Writes `benchmarks/out/export.json`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.files import write_json
from pipeline.datasets.taxonomy import Taxonomy
from pipeline.inference.export import export_model
from pipeline.inference.exported import IDS
from pipeline.inference.prediction import Model
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.networks.records import NetworkRecord
from pipeline.numerics.winner import winner

OUT = Path(__file__).resolve().parent / "out" / "export.json"
CLASSES = 12
TAXONOMY = Taxonomy.model_validate(
    {"name": "twelve", "classes": [{"name": f"c{n}", "color": [n, n, n]} for n in range(CLASSES)]}
)
NETWORKS = {
    "small": NetworkParameters(backbone="small", skip=True),
    "mobilenet_v2": NetworkParameters(backbone="mobilenet_v2", output_stride=16, skip=True),
    "resnet101_caffe": NetworkParameters(backbone="resnet101_caffe", profile="caffe"),
}


def forms(parameters: NetworkParameters, size: tuple[int, int]) -> dict[str, Callable[[Tensor], Tensor]]:
    """Ways from uint8 images (B, H, W, 3) to ids (B, H, W)."""
    network = build_network(parameters, CLASSES, seed=0).eval()
    record = NetworkRecord(
        network=parameters, num_classes=CLASSES, profile=network.profile, tensors_sha256="", meta={}
    )
    exported = export_model(Model(network, TAXONOMY, size, {}), record, "onnx", probabilities=False)

    def ours(images: Tensor) -> Tensor:
        with torch.inference_mode():
            shape = (images.shape[1], images.shape[2])
            return winner(logits_at(Plain(), network, images.permute(0, 3, 1, 2), shape))[1]

    return {"torch": ours, "onnxruntime": lambda images: exported.run(IDS, images)}


def measure(parameters: NetworkParameters, size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Ratio of the quickest rounds, and the share of equal ids."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, size[1], size[0], 3), dtype=torch.uint8, generator=generator)
    ways = forms(parameters, size)
    ids = {name: way(images) for name, way in ways.items()}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way(images)
            best[name] = min(best[name], time.process_time() - start)
    return {
        "torch_by_onnxruntime": round(best["torch"] / best["onnxruntime"], 2),
        "equal_ids": (ids["torch"] == ids["onnxruntime"]).double().mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, nargs=2, default=(480, 360), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--backbones", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    chosen = parser.parse_args()
    figures = {name: measure(NETWORKS[name], tuple(chosen.size), chosen.rounds) for name in chosen.backbones}
    for name, row in figures.items():
        print(
            f"{name}: torch takes {row['torch_by_onnxruntime']} times the processor time; "
            f"{100 * row['equal_ids']:.3f} % equal ids"
        )
    write_json(OUT, {"size": list(chosen.size), "threads": torch.get_num_threads(), "figures": figures})


if __name__ == "__main__":
    main()
