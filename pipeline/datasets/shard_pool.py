"""Running shards in worker processes that end with their parent, whatever ends the parent.

Processes are spawned, not forked: a forked child of a program that uses threads may hang. They ignore the
terminal's Ctrl-C and the scheduler's signals, because the parent, told the same, lets them finish their shard.
"""

import concurrent.futures
import concurrent.futures.process
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.artifacts.errors import WorkerError
from pipeline.artifacts.signals import leave_signals_to_parent
from pipeline.datasets.conversion import Converter, ShardResult
from pipeline.datasets.items import Item

Shard = tuple[int, Sequence[Item]]


def run_shards(
    converter: Converter, shards: Sequence[Shard], workers: int, stop: Callable[[], Any]
) -> Iterator[ShardResult]:
    """Results as shards end, in any order; once `stop()` gives a reason no further shard begins."""
    if workers <= 1 or len(shards) <= 1:
        for shard, items in shards:
            if stop():
                return
            yield converter.convert(shard, items)
    else:
        yield from _run_in_processes(converter, shards, min(workers, len(shards)), stop)


def _run_in_processes(
    converter: Converter, shards: Sequence[Shard], workers: int, stop: Callable[[], Any]
) -> Iterator[ShardResult]:
    waiting = list(reversed(shards))
    running: set[concurrent.futures.Future[ShardResult]] = set()
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(converter,)
    )
    with pool:
        while waiting or running:
            # One shard more than there are workers, so that none waits for the parent.
            while waiting and len(running) <= workers and not stop():
                running.add(pool.submit(_convert_shard, *waiting.pop()))
            if not running:
                return
            ended, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in ended:
                yield _result_of(future)


def _result_of(future: "concurrent.futures.Future[ShardResult]") -> ShardResult:
    try:
        return future.result()
    except concurrent.futures.process.BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was killed, mostly for want of memory; start again with fewer workers"
            " (what is prepared so far is kept)"
        ) from error


_converter: Converter | None = None


def _start_worker(converter: Converter) -> None:
    global _converter
    _converter = converter
    leave_signals_to_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # an orphan would wait for work for ever


def _convert_shard(shard: int, items: Sequence[Item]) -> ShardResult:
    assert _converter is not None
    return _converter.convert(shard, items)
