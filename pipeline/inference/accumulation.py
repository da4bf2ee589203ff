"""Work over many images that a kill does not lose: one set of tables, saved now and then, and how far it got.

Unlike a pass of a network, whose chunks lie side by side until the end, this keeps a single set of tables
whatever the number of images: the streaming thresholds carry 10 MB from image to image.
"""

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from pipeline.artifacts.control import Control
from pipeline.artifacts.errors import Interrupted
from pipeline.artifacts.files import digest_of
from pipeline.data.records import RecordWriter
from pipeline.inference.chunks import Chunk, ChunkStore
from pipeline.inference.passes import MAX_CHUNK, PassSettings


def accumulate(
    tables: Mapping[str, Tensor],
    update: Callable[[int], None],
    total: int,
    store: ChunkStore,
    control: Control,
    every: int = MAX_CHUNK,
) -> None:
    """Call `update(position)` for 0..total-1 in order; each call changes `tables` in place.

    `tables` hold the start values and, at the end, the result. They are saved after `every` so many positions
    and where the work is stopped; a later call goes on from there. Interrupted: `control` said so.
    StateError: `store` holds other work.
    """
    done = _restore(tables, store)
    control.progress(done, total)
    for position in range(done, total):
        # The first one is computed however little time there is: many short runs get to the end too.
        reason = control.stop() if position > done else None
        if reason:
            _save(tables, position, store)
            raise Interrupted(f"{reason}: {position} of {total} are done")
        update(position)
        if (position + 1) % every == 0 or position + 1 == total:
            _save(tables, position + 1, store)
        control.progress(position + 1, total)


def write_records(
    writer: RecordWriter,
    array_at: Callable[[int], np.ndarray],
    tables: Mapping[str, Tensor],
    settings: PassSettings,
) -> None:
    """Write all records of `writer`, file by file; `array_at(position)` makes one and may add to `tables`.

    A file is what a kill loses and what a stop waits for. Interrupted and StateError as `accumulate`.
    """
    records_of = {"names": digest_of(writer.names), "per_file": writer.per_shard}

    def write_file(number: int) -> None:
        start = number * writer.per_shard
        with writer.shard(number) as records:
            for position in range(start, start + len(writer.shard_names(number))):
                records.add(array_at(position))

    def progress(files: int, _: int) -> None:
        settings.progress(min(files * writer.per_shard, len(writer.names)), len(writer.names))

    accumulate(
        tables,
        write_file,
        len(writer.shards()),
        ChunkStore(settings.state, {**settings.fingerprint, **records_of}),
        Control(settings.stop, progress),
        every=1,
    )
    writer.finish()


def _restore(tables: Mapping[str, Tensor], store: ChunkStore) -> int:
    finished = store.finished()
    if not finished:
        return 0
    # Two are there when a kill came between saving one and removing the other; either is right.
    for name, value in store.load(finished[0]).items():
        tables[name].copy_(value)
    return finished[0].stop


def _save(tables: Mapping[str, Tensor], done: int, store: ChunkStore) -> None:
    saved = Chunk(0, done)
    store.save(saved, {name: table.cpu() for name, table in tables.items()})
    for path in store.folder.glob("chunk-*.json"):
        if path.stem != saved.stem:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)
