"""Time, carried state and peak memory of exact thresholds, streamed against collected and sorted, in one run.

    python benchmarks/thresholds.py                                      # 100 images of 2048x1024: minutes
    python benchmarks/thresholds.py --images 500                         # what 505 images of a round take
    python benchmarks/thresholds.py --images 10 --size 256 128           # seconds

Both forms start from the same stored 1/8 logits (made up, 19 classes of very different frequency), up-sample
them the same way, and end with thresholds and label maps, whose bits must agree. Streamed: two histogram passes
and a label pass, the code of the `pseudolabel` stage. Collected: every score in memory, one array per image and
class, then sorted; a label pass. Each runs in a process of its own; *carried* is what lies in memory between two
images, *peak* the process's largest resident set, here also relative to the same form on two images. Writes
`benchmarks/out/thresholds.json`.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.control import ALONE
from pipeline.artifacts.files import write_json
from pipeline.data.packed_maps import pack_maps
from pipeline.inference.accumulation import accumulate
from pipeline.inference.chunks import ChunkStore
from pipeline.inference.stored_maps import Scores, StoredMaps
from pipeline.inference.test_modes import Plain
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.thresholds import (
    BINS,
    ThresholdRule,
    count_high,
    count_low,
    locate,
    pseudo_label,
    thresholds,
)

OUT = Path(__file__).resolve().parent / "out" / "thresholds.json"
MIB = 2**20


def make_maps(folder: Path, images: int, size: tuple[int, int], classes: int) -> None:
    """Write the packed logits of every image: noise over class means that fall by half a nat per class."""
    width, height = size
    means = -0.5 * torch.arange(classes, dtype=torch.float32)[:, None, None]
    for image in range(images):
        generator = torch.Generator().manual_seed(image)
        noise = torch.randn(classes, -(-height // 8), -(-width // 8), generator=generator)
        pack_maps([(means + 2.5 * noise).numpy()], (height, width)).tofile(folder / f"{image:05d}.bin")


def open_scores(folder: Path, images: int, classes: int) -> Scores:
    """The scores of the first `images` stored maps; the network only lends its way of up-sampling."""
    paths = sorted(folder.glob("[0-9]*.bin"))[:images]
    places = tuple((path, 0, path.stat().st_size) for path in paths)
    network = build_network(NetworkParameters(backbone="small", align_corners=True), classes, 0)
    return Scores(StoredMaps(places), network, Plain())


def streamed(scores: Scores, rule: ThresholdRule, state: Path) -> tuple[Tensor, int]:
    """Thresholds by two resumable histogram passes, and the bytes carried from image to image."""
    table = {"counts": torch.zeros((rule.rows, BINS), dtype=torch.int64)}

    def high(position: int) -> None:
        count_high(table["counts"], *scores.winners(position), rule)

    accumulate(table, high, len(scores), ChunkStore(state / "pass-1", {}), ALONE)
    ranks = locate(table["counts"], rule)
    table["counts"].zero_()

    def low(position: int) -> None:
        count_low(table["counts"], *scores.winners(position), rule, ranks)

    accumulate(table, low, len(scores), ChunkStore(state / "pass-2", {}), ALONE)
    carried = table["counts"].numel() * table["counts"].element_size()
    return thresholds(ranks, table["counts"], rule).values, carried


def collected(scores: Scores, rule: ThresholdRule, state: Path) -> tuple[Tensor, int]:
    """Thresholds by keeping every score as float32 and sorting; the bytes kept at the end."""
    kept: list[list[Tensor]] = [[] for _ in range(rule.num_classes)]
    for position in range(len(scores)):
        best, label = scores.winners(position)
        for index, values in enumerate(kept):
            values.append(best[label == index])
    carried = sum(part.numel() * part.element_size() for values in kept for part in values)
    found = torch.ones(rule.num_classes)
    for index, values in enumerate(kept):
        ordered = torch.cat(values).sort(descending=True).values
        values.clear()
        rank = rule.rank(len(ordered))
        if rank:
            found[index] = ordered[rank - 1]
    return found, carried


def label_digest(scores: Scores, values: Tensor) -> str:
    """SHA-256 of all label maps."""
    digest = hashlib.sha256()
    for position in range(len(scores)):
        for _, strip in scores.strips(position):
            digest.update(pseudo_label(strip, values).numpy().data)
    return digest.hexdigest()


def measure(arguments: argparse.Namespace) -> dict[str, float | str | list[float]]:
    """Run one form in this process."""
    torch.set_num_threads(arguments.threads)
    folder = Path(arguments.folder)
    scores = open_scores(folder, arguments.images, arguments.classes)
    rule = ThresholdRule(arguments.classes, arguments.portion)
    started, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as state:
        values, carried = (streamed if arguments.form == "streamed" else collected)(scores, rule, Path(state))
    found = time.perf_counter() - started
    digest = label_digest(scores, values)
    return {
        "threshold_seconds": found,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "carried_mib": carried / MIB,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "thresholds": values.double().tolist(),
        "labels_sha256": digest,
    }


def run_apart(form: str, images: int, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Run one form in a process of its own and read its figures."""
    command = [sys.executable, __file__, "--form", form, "--images", str(images), "--folder", str(folder)]
    command += ["--classes", str(arguments.classes), "--portion", str(arguments.portion)]
    command += ["--threads", str(arguments.threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100, help="number of images")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[2048, 1024], metavar=("W", "H"), help="in pixels"
    )
    parser.add_argument("--classes", type=int, default=19, help="number of classes")
    parser.add_argument("--portion", type=float, default=0.2, help="share of each class that is kept")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--form", choices=["both", "collected", "streamed"], default="both", help="both: compare"
    )
    parser.add_argument("--folder", help="stored maps, used by the parts of a comparison")
    arguments = parser.parse_args()
    if arguments.form != "both":
        print(json.dumps(measure(arguments)))
        return
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        make_maps(Path(folder), arguments.images, tuple(arguments.size), arguments.classes)
        for form in ("streamed", "collected"):
            for images in (2, arguments.images):
                name = form if images == arguments.images else f"{form}, 2 images"
                figures[name] = run_apart(form, images, Path(folder), arguments)
    report(figures, arguments)


def report(figures: dict[str, dict[str, float]], arguments: argparse.Namespace) -> None:
    """Print the table and write the JSON file."""
    width, height = arguments.size
    print(f"{arguments.images} images of {width}x{height}, {arguments.classes} classes, "
          f"{arguments.threads} thread(s)")  # fmt: skip
    columns = ("threshold_seconds", "seconds", "cpu_seconds", "carried_mib", "peak_mib")
    print(f"{'':22}" + "".join(f"{name:>19}" for name in columns))
    for name, values in figures.items():
        print(f"{name:22}" + "".join(f"{values[column]:19.1f}" for column in columns))
    ours, plain = figures["streamed"], figures["collected"]
    results = {
        "same_bits": ours["thresholds"] == plain["thresholds"]
        and ours["labels_sha256"] == plain["labels_sha256"],
        "carried_ratio": plain["carried_mib"] / ours["carried_mib"],
        "streamed_peak_over_two_images_mib": ours["peak_mib"] - figures["streamed, 2 images"]["peak_mib"],
        "collected_peak_over_two_images_mib": plain["peak_mib"] - figures["collected, 2 images"]["peak_mib"],
    }
    for name, value in results.items():
        print(f"{name}: {value if isinstance(value, bool) else round(value, 1)}")
    settings = {name: value for name, value in vars(arguments).items() if name not in ("form", "folder")}
    OUT.parent.mkdir(exist_ok=True)
    write_json(OUT, {"settings": settings, "torch": torch.__version__, "figures": figures, **results})


if __name__ == "__main__":
    main()
