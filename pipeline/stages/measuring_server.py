"""The process that measuring forks its own from: what takes seconds to import is imported once, ahead; free of torch."""

from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext


def server_context() -> ForkServerContext:
    """Start processes from a server that has imported what measuring needs."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["pipeline.stages.measuring"])
    return context


def start_server() -> None:
    """Begin the import, while something else is done."""
    server_context()
    forkserver.ensure_running()
