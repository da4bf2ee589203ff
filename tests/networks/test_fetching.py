"""Weights from servers that are silent, stall, or answer late: each is given up, and the file to bring is named."""

import hashlib
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants, file_download

from pipeline.artifacts.errors import WeightsError
from pipeline.networks import fetching
from pipeline.networks.parameters import WeightsParameters
from pipeline.networks.timm_weights import hub_file
from pipeline.networks.weight_files import find_weights

BODY = b"weights" * 100
PLACE = "/timm/pvt_v2_b0.in1k/resolve/main/model.safetensors"


class Server(ThreadingHTTPServer):
    """A server of one file that keeps what it was asked, and stops before one of `silent_at`: HEAD, GET or BODY."""

    daemon_threads = True

    def __init__(self, *silent_at: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.silent_at, self.asked, self.over = silent_at, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def pause(self, place: str) -> None:
        if place in self.server.silent_at:
            self.server.over.wait()

    def do_HEAD(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.pause(self.command)
        self.send_response(200)
        self.send_header("ETag", f'"{"a" * 64}"')
        self.send_header("X-Repo-Commit", "b" * 40)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()

    def do_GET(self) -> None:
        if self.path.startswith("/api"):  # the library's own statistics
            self.send_error(404)
            return
        self.do_HEAD()
        self.wfile.write(BODY[:100])
        self.wfile.flush()
        self.pause("BODY")
        self.wfile.write(BODY[100:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Start a server; caches are empty and limits short."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    servers = []

    def start(*silent_at: str) -> Server:
        servers.append(Server(*silent_at))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        monkeypatch.setattr(constants, "ENDPOINT", servers[-1].url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            servers[-1].url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        return servers[-1]

    yield start
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


def of_url(server: Server, sha256: str = hashlib.sha256(BODY).hexdigest()) -> WeightsParameters:
    return WeightsParameters(source=f"{server.url}/net.pth", sha256=sha256)


def test_a_silent_server_is_asked_once(serve):
    server = serve("HEAD")
    with pytest.raises(WeightsError, match=r"cannot download .*/net.pth \(timed out.*put it at .*net\.pth"):
        find_weights(of_url(server), "resnet18")
    assert server.asked == ["HEAD /net.pth"]


def test_a_silent_hub_is_asked_once(serve):
    """For the file itself; huggingface_hub would ask six times, and for a list of its own before."""
    server = serve("HEAD")
    with pytest.raises(WeightsError, match=r"cannot be fetched from the hub \(timed out.*bring its cache"):
        hub_file("timm/pvt_v2_b0")
    assert server.asked == [f"HEAD {PLACE}"]


def test_the_limit_holds_for_the_look_up_of_a_name_too(serve, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: over.wait() and [])
    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 seconds"):
        fetching.check_answer("http://somewhere.test/net.pth")
    over.set()


@pytest.mark.parametrize("place", ["GET", "BODY"])
def test_a_download_that_stalls_is_given_up_and_leaves_nothing(serve, tmp_path, place):
    server = serve(place)
    with pytest.raises(WeightsError, match=r"cannot download .*/net.pth \(.*timed out"):
        find_weights(of_url(server), "resnet18")
    assert server.asked == ["HEAD /net.pth", "GET /net.pth"]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_a_hubs_download_that_stalls_is_given_up(serve):
    server = serve("BODY")
    with pytest.raises(WeightsError, match=r"cannot be fetched from the hub \(timed out"):
        hub_file("timm/pvt_v2_b0")
    assert server.asked.count(f"GET {PLACE}") <= 6


def test_files_that_arrive(serve):
    server = serve()
    assert find_weights(of_url(server), "resnet18").read_bytes() == BODY
    assert hub_file("timm/pvt_v2_b0").read_bytes() == BODY
    asked = list(server.asked)
    assert find_weights(of_url(server), "resnet18") and hub_file("timm/pvt_v2_b0")
    assert server.asked == asked


def test_a_file_of_another_checksum_is_not_kept(serve, tmp_path):
    with pytest.raises(WeightsError, match=r"cannot download .*invalid hash value"):
        find_weights(of_url(serve(), "0" * 64), "resnet18")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_the_library_fetches_by_http():
    """Its other way has no limit of time that could be set."""
    said = "import pipeline.networks.fetching; import huggingface_hub.file_download as f; print(f.is_xet_available())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
