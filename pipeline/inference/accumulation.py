"""Sums over many images that a kill does not lose: one table, saved now and then, and how far it got.

Unlike a pass, whose parts lie side by side until the end, this keeps a single table whatever the number of
images: the streaming thresholds carry 10 MB from image to image.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from pipeline.artifacts.errors import Interrupted
from pipeline.inference.parts import Part, PartStore
from pipeline.inference.passes import MAX_PART, never, silent


def accumulate(
    tables: Mapping[str, Tensor],
    update: Callable[[int], None],
    total: int,
    store: PartStore,
    *,
    every: int = MAX_PART,
    stop: Callable[[], str | None] = never,
    progress: Callable[[int, int], None] = silent,
) -> None:
    """Call `update(position)` for 0..total-1 in order; each call changes `tables` in place.

    `tables` hold the start values and, at the end, the result. They are saved after `every` so many images
    and where the work is stopped; a later call goes on from there. Interrupted: `stop` gave a reason.
    StateError: `store` holds other work.
    """
    done = _restore(tables, store)
    progress(done, total)
    for position in range(done, total):
        # The first image is computed however little time there is: many short runs get to the end too.
        reason = stop() if position > done else None
        if reason:
            _save(tables, position, store)
            raise Interrupted(f"{reason}: {position} of {total} images are done")
        update(position)
        if (position + 1) % every == 0 or position + 1 == total:
            _save(tables, position + 1, store)
        progress(position + 1, total)


def _restore(tables: Mapping[str, Tensor], store: PartStore) -> int:
    finished = store.finished()
    if not finished:
        return 0
    # Two are there when a kill came between saving one and removing the other; either is right.
    for name, value in store.load(finished[0]).items():
        tables[name].copy_(value)
    return finished[0].stop


def _save(tables: Mapping[str, Tensor], done: int, store: PartStore) -> None:
    saved = Part(0, done)
    store.save(saved, {name: table.cpu() for name, table in tables.items()})
    for path in store.folder.glob("part-*.json"):
        if path.stem != saved.stem:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)
