"""Reading an image from the mapped cache against decoding its file, side by side in one run.

    python benchmarks/cache.py               # 64 street scenes of 1280x720
    python benchmarks/cache.py --images 8    # seconds

The scenes are written as JPEG and as cache records into a temporary folder and read once, so that both lie in
the page cache; then every image is copied into memory in a random order, `--rounds` times. The goal is a
median below 1 ms per image from the cache. Prints the medians and writes `benchmarks/out/cache.json`.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.artifacts.files import write_json
from pipeline.data.records import Records, RecordWriter
from pipeline.streets.images import render_scene

OUT = Path(__file__).resolve().parent / "out" / "cache.json"
SIZE = (1280, 720)
SCENES = 4
"""Different scenes that are drawn; drawing more would take longer than the measurement."""


def write_images(folder: Path, count: int) -> None:
    """Put `count` images into `folder` as JPEG and as cache records."""
    scenes = [render_scene("camera", "train", index, 0, SIZE)[0] for index in range(SCENES)]
    names = [f"{index:05d}" for index in range(count)]
    writer = RecordWriter(folder, "images", folder / "state", names)
    for shard in writer.shards():
        first = int(writer.shard_names(shard)[0])
        chosen = [
            np.roll(scenes[place % SCENES], place, axis=1)
            for place in range(first, first + len(writer.shard_names(shard)))
        ]
        writer.write_shard(shard, iter(chosen))
        for place, image in enumerate(chosen, start=first):
            Image.fromarray(image).save(folder / f"{place:05d}.jpg", quality=92)
    writer.finish()


def milliseconds(read: Callable[[int], np.ndarray], order: list[int]) -> float:
    """Median time of `read` over the images of `order`, of which each was read once before."""
    for place in sorted(set(order)):
        read(place)
    taken = []
    for place in order:
        started = time.perf_counter()
        read(place)
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64, help="images in the cache")
    parser.add_argument("--rounds", type=int, default=5, help="times that each image is read")
    arguments = parser.parse_args()
    order = list(range(arguments.images)) * arguments.rounds
    random.Random(0).shuffle(order)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, arguments.images)
        records = Records(folder, "images")
        figures = {
            "cache_ms": milliseconds(lambda place: records[place].copy(), order),
            "jpeg_ms": milliseconds(lambda place: np.array(Image.open(folder / f"{place:05d}.jpg")), order),
        }
    for key, value in figures.items():
        print(f"{key:10} {value:8.3f}")
    print(f"decoding takes {figures['jpeg_ms'] / figures['cache_ms']:.0f} times as long as the cache")
    OUT.parent.mkdir(exist_ok=True)
    write_json(OUT, {"images": arguments.images, "rounds": arguments.rounds, "size": list(SIZE), **figures})


if __name__ == "__main__":
    main()
