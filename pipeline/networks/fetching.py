"""Asking servers for files of weights: none may take longer than `TIMEOUT` to answer, and offline none is asked."""

import http.client
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import torch

TIMEOUT = 10.0
"""Seconds that a server may be silent."""
# huggingface_hub reads this when it is imported: its other way of fetching waits for a silent server for ever.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")


def is_offline() -> bool:
    """Whether nothing may be fetched: huggingface_hub's own variable, which `--offline` sets."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def check_answer(url: str) -> None:
    """Ask for the head of a file once; OSError where no answer comes within `TIMEOUT`.

    That is the limit of all together: the name's look-up, each of the server's addresses, redirects.
    """
    if is_offline():
        raise ConnectionError("offline")
    answers: SimpleQueue[Exception | None] = SimpleQueue()
    # A look-up of a name takes no limit of its own, so a thread waits for it, which may be left behind.
    Thread(target=lambda: answers.put(_failure(url)), daemon=True).start()
    try:
        failure = answers.get(timeout=TIMEOUT)
    except Empty:
        raise TimeoutError(f"timed out: no answer within {TIMEOUT:g} seconds") from None
    if failure is not None:
        raise ConnectionError(str(failure)) from failure


def download(url: str, path: Path, sha256: str | None) -> None:
    """Fetch a file whose SHA-256 starts with `sha256`, if given; OSError or RuntimeError where that fails."""
    check_answer(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _limited():
        torch.hub.download_url_to_file(url, str(path), sha256, progress=False)


def _failure(url: str) -> Exception | None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # any answer is one
    except (OSError, ValueError, http.client.HTTPException) as error:
        return error
    return None


@contextmanager
def _limited() -> Iterator[None]:
    """Sockets of torch's downloads give up after `TIMEOUT` without a byte; torch itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
