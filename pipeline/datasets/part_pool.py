"""Running parts in worker processes that end with their parent, whatever ends the parent.

Processes are spawned, not forked: a forked child of a program that uses threads may hang. They ignore the
terminal's Ctrl-C and the scheduler's signals, because the parent, told the same, lets them finish their part.
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
from pipeline.datasets.conversion import Converter, PartResult
from pipeline.datasets.items import Item

Part = tuple[int, Sequence[Item]]


def run_parts(
    converter: Converter, parts: Sequence[Part], workers: int, stop: Callable[[], Any]
) -> Iterator[PartResult]:
    """Results as parts end, in any order; once `stop()` gives a reason no further part begins."""
    if workers <= 1 or len(parts) <= 1:
        for part, items in parts:
            if stop():
                return
            yield converter.convert(part, items)
    else:
        yield from _run_in_processes(converter, parts, min(workers, len(parts)), stop)


def _run_in_processes(
    converter: Converter, parts: Sequence[Part], workers: int, stop: Callable[[], Any]
) -> Iterator[PartResult]:
    waiting = list(reversed(parts))
    running: set[concurrent.futures.Future[PartResult]] = set()
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(converter,)
    )
    with pool:
        while waiting or running:
            # One part more than there are workers, so that none waits for the parent.
            while waiting and len(running) <= workers and not stop():
                running.add(pool.submit(_convert_part, *waiting.pop()))
            if not running:
                return
            ended, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in ended:
                yield _result_of(future)


def _result_of(future: "concurrent.futures.Future[PartResult]") -> PartResult:
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


def _convert_part(part: int, items: Sequence[Item]) -> PartResult:
    assert _converter is not None
    return _converter.convert(part, items)
