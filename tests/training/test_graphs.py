"""Passes that are recorded and played: the same training to the bit, whatever waits for its backward pass.

Without a GPU a recording is stood in for by work that is done again, into the same tensors: what is not copied out in
time is overwritten, as a CUDA graph overwrites it.
"""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from setups import SETUPS
from toys import ToyNetwork, toy_job

from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics import upsampling
from pipeline.training import graphs, loop
from pipeline.training.graphs import (
    MOST_AT_ONCE,
    PLAIN_PASSES,
    CudaRecording,
    Passes,
    Recording,
    Tensors,
    has_room,
    no_room,
    play_passes,
)
from pipeline.training.loop import Training


class Again:
    """A recording of the CPU; making one leaves buffers and random numbers as they were."""

    def __init__(self, network: ToyNetwork, work: Callable[[], Tensors]) -> None:
        self.work, self.played, self.gradients = work, 0, torch.is_grad_enabled()
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        with torch.random.fork_rng(devices=[]):
            self.results = work()
        for name, value in network.named_buffers():
            value.data.copy_(buffers[name])

    def play(self) -> None:
        self.played += 1
        with torch.set_grad_enabled(self.gradients):
            results = self.work()
        for held, new in zip(self.results, results, strict=True):
            if held is not None and new is not None:
                held.detach().copy_(new.detach())


class Kept:
    """A recording that holds no more of its work than a CUDA graph does: results, and no Python."""

    def __init__(self, work: Callable[[], Tensors]) -> None:
        self.results = work()

    def play(self) -> None: ...


def recorded(network: ToyNetwork, made: list[Again], room: bool = True) -> Passes:
    def record(work: Callable[[], Tensors], former: Recording | None) -> Again:
        made.append(Again(network, work))
        return made[-1]

    return Passes(network, record, lambda: room)


IMAGES = torch.linspace(-1.0, 1.0, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


def network_and(room: bool = True) -> tuple[ToyNetwork, Passes, list[Again]]:
    made: list[Again] = []
    network = ToyNetwork("multi", batch_norm="batch_frozen_affine").train()
    return network, recorded(network, made, room), made


def warmed_up(network: ToyNetwork, images: torch.Tensor = IMAGES) -> None:
    for _ in range(PLAIN_PASSES):
        network(images)


@pytest.mark.parametrize("name", SETUPS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_training_has_the_same_weights(
    name: str, dropout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Again] = []

    def weights(folder: str) -> dict[str, torch.Tensor]:
        setup = deepcopy(SETUPS[name]) | {"dropout": dropout}
        job = toy_job(tmp_path / folder, **setup).job
        Training(job).run()
        modules = job.learner.modules.items()
        return {f"{name}/{key}": value for name, one in modules for key, value in one.state_dict().items()}

    wanted = weights("plain")
    monkeypatch.setattr(loop, "play_passes", lambda network, device, wanted: recorded(network, made))
    found = weights("played")
    assert sum(one.played for one in made) >= 2
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_kind_of_pass_is_recorded_after_some_and_then_played() -> None:
    network, _, made = network_and()
    warmed_up(network)
    assert not made
    played = network(IMAGES)
    assert [one.played for one in made] == [1, 0]  # the backward pass has not come
    assert torch.equal(played.main, deepcopy(network)(IMAGES).main)
    smaller = IMAGES[..., :8]
    network(smaller)
    assert len(made) == 2
    with torch.no_grad():
        network(IMAGES)
    assert len(made) == 2  # another kind each


def gradients(network: ToyNetwork, output: Any) -> list[torch.Tensor | None]:
    trained = [tensor for tensor in network.parameters() if tensor.requires_grad]
    return list(torch.autograd.grad(output.main.square().sum(), trained, allow_unused=True))


def test_results_outlive_the_next_pass() -> None:
    network, passes, _ = network_and()
    warmed_up(network)
    output = network(IMAGES)
    first = output.main.detach()
    kept = first.clone()
    gradients(network, output)
    network(IMAGES.flip(-1))
    (known,) = passes.recorded.values()
    assert len(known) == 1 and torch.equal(first, kept)


def test_passes_that_wait_for_their_backward_pass_have_recordings_of_their_own() -> None:
    network, passes, _ = network_and()
    warmed_up(network)
    other = IMAGES.flip(-1)
    plain = deepcopy(network)
    wanted = [gradients(plain, plain(one)) for one in (IMAGES, other)]
    outputs = [network(IMAGES), network(other)]
    found = [gradients(network, one) for one in outputs]
    (known,) = passes.recorded.values()
    assert len(known) == 2
    for one, own in zip(found, wanted, strict=True):
        for gradient, expected in zip(one, own, strict=True):
            if expected is not None:
                assert gradient is not None and torch.equal(gradient, expected)
    network(IMAGES)
    assert len(known) == 2  # both are free again


def test_a_pass_that_nothing_can_ask_back_is_free() -> None:
    network, passes, _ = network_and()
    warmed_up(network)
    for _ in range(3):
        network(IMAGES)
    (known,) = passes.recorded.values()
    assert len(known) == 1


def test_beyond_the_most_at_once_and_without_room_passes_are_made_as_written() -> None:
    network, _, made = network_and()
    warmed_up(network)
    waiting = [network(IMAGES) for _ in range(MOST_AT_ONCE + 1)]
    assert len(made) == 2 * MOST_AT_ONCE
    assert all(
        torch.isfinite(one).all()
        for output in waiting
        for one in gradients(network, output)
        if one is not None
    )
    network, _, made = network_and(room=False)
    warmed_up(network)
    network(IMAGES)
    assert not made


def test_gradients_outlive_the_next_backward_pass() -> None:
    network, _, _ = network_and()
    warmed_up(network)
    first = gradients(network, network(IMAGES))
    kept = [None if one is None else one.clone() for one in first]
    gradients(network, network(IMAGES.flip(-1) * 3.0))
    for one, own in zip(first, kept, strict=True):
        assert one is None or (own is not None and torch.equal(one, own))


def test_a_copy_of_the_network_makes_its_passes_as_written() -> None:
    network, _, made = network_and()
    warmed_up(network)
    copy = deepcopy(network)
    with torch.no_grad():
        copy.main.bias.add_(1.0)
    wanted = network(IMAGES).main + 1.0
    assert torch.allclose(copy(IMAGES).main, wanted, atol=1e-5)
    assert [one.played for one in made] == [1, 0]


def test_only_on_a_gpu_and_where_passes_have_the_same_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    patched: list[tuple[Any, ...]] = []
    current: list[torch.device] = []
    monkeypatch.setattr(graphs, "Passes", lambda *given: patched.append(given))
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    network, drawn = ToyNetwork(), ToyNetwork()
    drawn.same_kernels = False
    play_passes(network, torch.device("cpu"), True)
    play_passes(drawn, torch.device("cuda"), True)
    assert patched == []
    play_passes(network, torch.device("cuda", 1), True)
    play_passes(network, torch.device("cuda", 1), False)
    assert set(current) == {torch.device("cuda", 1)}
    assert patched == [(network, CudaRecording, has_room), (network, CudaRecording, no_room)]


@pytest.mark.parametrize("graphs", [True, False])
def test_a_training_asks_for_it_as_its_run_says(
    graphs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(loop, "play_passes", lambda network, device, wanted: asked.append(wanted))
    job = toy_job(tmp_path, **deepcopy(SETUPS["mean_teacher"])).job
    job.settings = job.settings.model_copy(update={"graphs": graphs})
    Training(job)
    assert asked == [graphs, graphs]  # the network and its teacher


def test_gradients_arrive_in_the_order_of_memory_that_a_recording_gives_them() -> None:
    network, _, _ = network_and(room=False)
    network.to(memory_format=torch.channels_last)
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    orders: list[bool] = []
    written = network.second.forward

    def watched(low: torch.Tensor) -> torch.Tensor:
        result = written(low)
        result.register_hook(
            lambda gradient: orders.append(gradient.is_contiguous(memory_format=torch.channels_last))
        )
        return result

    network.second.forward = watched
    output = network(images)
    reader = torch.ones(output.feature.shape).cumsum(1)
    (output.feature * reader).sum().backward()
    assert orders == [True]


def test_what_cannot_be_recorded_is_made_as_written_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def record(work: Callable[[], Tensors], former: Recording | None) -> Again:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    network = ToyNetwork("multi", batch_norm="batch_frozen_affine").train()
    wanted = network(IMAGES).main
    Passes(network, record, lambda: True)
    warmed_up(network)
    assert torch.equal(network(IMAGES).main, wanted)
    network(IMAGES)
    (text,) = caplog.messages
    assert "kernel by kernel" in text and text.endswith("operation not permitted when stream is capturing")


@pytest.mark.parametrize("gradients", [True, False])
def test_what_a_recorded_pass_reads_lives_as_long_as_it(gradients: bool) -> None:
    """A pass that is played asks for none of its matrices again, so that other sizes would push them out."""
    network = construct(NetworkParameters(backbone="small", dilations=(1, 3, 6), skip=True), 5).train()
    upsampling._kept_matrix.cache_clear()
    passes = Passes(network, lambda work, former: Kept(work), lambda: True)
    images = torch.zeros(1, 3, 48, 80)
    with torch.set_grad_enabled(gradients):
        for _ in range(PLAIN_PASSES + 1):
            network(images)
    ((only,),) = passes.recorded.values()
    cells = upsampling._kept_matrix.cache_info().currsize
    held = [weakref.ref(one) for one in only.matrices]
    assert cells == 2 and len(held) == 2
    for more in range(33):
        upsampling.upsample(torch.zeros(1, 1, 10 + more, 50 + more), (100 + more, 200 + more), True)
    gc.collect()
    assert all(one() is not None for one in held)


def test_a_capture_that_fails_leaves_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = ["training"]

    @contextmanager
    def graph(*_: Any, **__: Any) -> Iterator[None]:
        streams.append("capture")
        yield
        raise AssertionError("the work must raise")

    def work() -> Tensors:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)
    with pytest.raises(RuntimeError, match="not permitted"):
        CudaRecording(work, None)
    assert streams == ["training", "capture", "training"]


@pytest.mark.parametrize(("free", "room"), [(900, False), (1_100, True)])
def test_a_recording_must_leave_as_much_as_was_ever_needed(
    free: int, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 10_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 1_500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 500)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 1_000)
    assert has_room() == room
