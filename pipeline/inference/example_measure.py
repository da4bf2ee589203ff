"""A measure with what pages show of single images: how uncertain the network is of each, and maps of a few."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.inference.examples import Answers, Example, example_positions, kept_size
from pipeline.inference.passes import Measure, Result, in_order
from pipeline.inference.test_modes import Logits
from pipeline.numerics import Size
from pipeline.numerics.entropy import entropy_map
from pipeline.numerics.winner import winner

ENTROPY, MAPS = "mean-entropy", "maps-"


class WithExamples(Measure[tuple[Result, Answers]]):
    """Another measure's result, and what the network says at the kept size of that measure's."""

    def __init__(self, measure: Measure[Result], images: int) -> None:
        """`images`: how many the pass has."""
        self.measure, self.shown = measure, frozenset(example_positions(images))
        self.positions: list[int] = []
        self.entropy: list[Tensor] = []
        self.maps: dict[str, Tensor] = {}

    def load(self, position: int) -> np.ndarray | None:
        """Read what the other measure needs."""
        return self.measure.load(position)

    def size(self, label_size: Size, loaded: np.ndarray | None) -> Size:
        """Return the other measure's size."""
        return self.measure.size(label_size, loaded)

    def begin(self, chunk_start: int) -> None:
        """Start a chunk of both."""
        self.measure.begin(chunk_start)
        self.positions, self.entropy, self.maps = [], [], {}

    def add(self, positions: Sequence[int], loaded: Sequence[np.ndarray | None], logits: Logits) -> None:
        """Take B images in, then look at them once more at the kept size."""
        self.measure.add(positions, loaded, logits)
        kept = replace(logits, size=kept_size(logits.size)).whole()
        entropy = entropy_map(kept)
        self.entropy.append(entropy.mean(dim=(1, 2), dtype=torch.float64))
        self.positions.extend(positions)
        for row, position in enumerate(positions):
            if position in self.shown:
                uncertain = (entropy[row] * 255).round().clamp(0, 255).to(torch.uint8)
                self.maps[f"{MAPS}{position}"] = torch.stack([winner(kept[row])[1], uncertain])

    def end(self) -> dict[str, Tensor]:
        """Return the chunk's result of both."""
        maps = {name: both.cpu() for name, both in self.maps.items()}
        return {**self.measure.end(), **maps, ENTROPY: in_order(self.entropy, self.positions)}

    def merge(self, chunks: Iterable[Mapping[str, Tensor]]) -> tuple[Result, Answers]:
        """Merge the other measure's chunks; concatenate the entropies, gather the maps."""
        entropy = [np.zeros(0)]
        examples: dict[int, Example] = {}

        def noted() -> Iterator[Mapping[str, Tensor]]:
            for chunk in chunks:
                entropy.append(chunk[ENTROPY].numpy())
                for name in (name for name in chunk if name.startswith(MAPS)):
                    examples[int(name.removeprefix(MAPS))] = Example(*chunk[name].numpy())
                yield chunk

        result = self.measure.merge(noted())
        return result, Answers(np.concatenate(entropy), dict(sorted(examples.items())))
