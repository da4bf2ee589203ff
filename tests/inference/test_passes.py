"""Passes: resuming, chunks, batches, mixed sizes; every result against a plain loop."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.artifacts.errors import Interrupted, SegadaptError, StateError
from pipeline.inference import passes
from pipeline.inference.batches import BYTES_PER_PIXEL, MOST, Batching, batching
from pipeline.inference.chunks import Chunk, ChunkStore, cut, gaps
from pipeline.inference.example_measure import WithExamples
from pipeline.inference.features import EntropyMaps
from pipeline.inference.measures import (
    ConfusionMeasure,
    EntropyMeasure,
    MappedConfusionMeasure,
    SelectionMeasure,
)
from pipeline.inference.passes import MAX_CHUNK, PassSettings, run_pass
from pipeline.inference.stored_maps import KeepMaps
from pipeline.inference.test_modes import Logits, Plain, logits_at
from pipeline.numerics.entropy import entropy_map


@pytest.fixture
def settings(tmp_path):
    return PassSettings(state=tmp_path / "state", fingerprint={"network": "a"})


@pytest.fixture
def mixed(make_pictures):
    """Seven images of three sizes."""
    return make_pictures(3) + make_pictures(2, (16, 20)) + make_pictures(2, (24, 28))


def stop_after(calls):
    count = iter(range(calls))
    return lambda: None if next(count, None) is not None else "time is up"


class FakeMaps:
    """Writer of label maps that keeps what was closed, by the start of its part."""

    def __init__(self):
        self.closed, self.open = {}, None

    def __call__(self, start):
        self.start, self.open = start, {}
        return self

    def add(self, name, array):
        self.open[name] = array

    def close(self):
        self.closed[self.start] = self.open

    def all(self):
        return {name: array for start in sorted(self.closed) for name, array in self.closed[start].items()}


def entropies(network, images, settings, maps=None):
    names = [f"image-{number}" for number in range(len(images))]
    return run_pass(EntropyMeasure(names, 4, maps), network, Plain(), images, settings)


def by_hand(network, image):
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return logits_at(Plain(), network, tensor, image.shape[:2])


def test_entropy_pass_equals_a_plain_loop(network, mixed, settings):
    maps = FakeMaps()
    scores = entropies(network, mixed, settings, maps)
    assert scores.entropy.dtype == np.float64
    for number, image in enumerate(mixed):
        logits = by_hand(network, image)
        assert scores.entropy[number] == pytest.approx(
            entropy_map(logits).numpy().astype(np.float64).mean(), abs=1e-12
        )
        label = logits.argmax(1)[0].numpy().astype(np.uint8)
        assert np.array_equal(maps.all()[f"image-{number}"], label)
        assert scores.pixels[number].tolist() == np.bincount(label.ravel(), minlength=4).tolist()
    assert list(maps.all()) == [f"image-{number}" for number in range(7)]


@pytest.mark.parametrize("chunks", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("batch", [1, 2])
def test_number_of_chunks_changes_no_bit(network, mixed, settings, tmp_path, chunks, batch):
    one = entropies(network, mixed, replace(settings, chunks=1, batch=batch))
    many = entropies(network, mixed, replace(settings, chunks=chunks, batch=batch, state=tmp_path / "other"))
    assert one.entropy.tobytes() == many.entropy.tobytes()
    assert one.pixels.tobytes() == many.pixels.tobytes()


def test_batch_of_four_scores_every_image_like_batch_one(network, mixed, settings, tmp_path):
    one = entropies(network, mixed, settings)
    four = entropies(network, mixed, replace(settings, batch=4, state=tmp_path / "four"))
    np.testing.assert_allclose(one.entropy, four.entropy, atol=1e-5)
    assert np.array_equal(one.pixels, four.pixels)


def test_batches_group_neighbours_of_one_size(network, mixed, settings):
    entropies(network, mixed, replace(settings, batch=4))
    assert [shape[0] for shape in network.seen] == [3, 1, 1, 2]


def test_stopped_pass_goes_on_without_computing_an_image_twice(network, mixed, settings, tmp_path):
    whole = entropies(network, mixed, replace(settings, state=tmp_path / "whole"))
    network.seen.clear()
    maps = FakeMaps()
    with pytest.raises(Interrupted, match="time is up: 3 of 7"):
        entropies(network, mixed, replace(settings, chunks=1, stop=stop_after(3)), maps)
    assert len(network.seen) == 3
    with pytest.raises(Interrupted, match="5 of 7"):
        entropies(network, mixed, replace(settings, chunks=2, stop=stop_after(2)), maps)
    resumed = entropies(network, mixed, replace(settings, chunks=3), maps)
    assert len(network.seen) == 7
    assert resumed.entropy.tobytes() == whole.entropy.tobytes()
    assert list(maps.all()) == [f"image-{number}" for number in range(7)]


def test_a_pass_whose_time_is_up_before_it_begins_still_gets_to_the_end(network, mixed, settings):
    for done in range(1, 7):
        with pytest.raises(Interrupted, match=f"{done} of 7"):
            entropies(network, mixed, replace(settings, chunks=1, stop=stop_after(0)))
    entropies(network, mixed, replace(settings, chunks=1, stop=stop_after(0)))
    assert len(network.seen) == 7


def test_finished_pass_runs_no_image_again(network, mixed, settings):
    first = entropies(network, mixed, settings)
    network.seen.clear()
    again = entropies(network, mixed, settings)
    assert network.seen == []
    assert again.entropy.tobytes() == first.entropy.tobytes()


def test_kill_inside_a_part_loses_only_that_part(network, mixed, settings):
    """A crash (nothing is saved on the way out) in the second part keeps the first."""

    class CrashError(Exception):
        pass

    def crash(done, total):
        if done == 5:
            raise CrashError

    with pytest.raises(CrashError):
        entropies(network, mixed, replace(settings, chunks=2, progress=crash))
    network.seen.clear()
    entropies(network, mixed, replace(settings, chunks=2))
    assert len(network.seen) == 3


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "json"])
def test_damaged_part_is_computed_again(network, mixed, settings, caplog, damage):
    first = entropies(network, mixed, replace(settings, chunks=7))
    path = sorted(settings.state.glob("*.safetensors"))[2]
    if damage == "flip":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "remove":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{")
    network.seen.clear()
    again = entropies(network, mixed, replace(settings, chunks=7))
    assert len(network.seen) == 1
    assert again.entropy.tobytes() == first.entropy.tobytes()
    assert "computed again" in caplog.text


def test_part_of_another_pass_is_refused_with_the_difference(network, mixed, settings):
    entropies(network, mixed, settings)
    with pytest.raises(StateError, match="network: found 'a', need 'b'"):
        entropies(network, mixed, replace(settings, fingerprint={"network": "b"}))
    with pytest.raises(StateError, match="batch: found 1, need 2"):
        entropies(network, mixed, replace(settings, batch=2))


def test_a_pass_computes_as_its_network_was_trained_unless_told(network, mixed, settings, tmp_path):
    plain = entropies(network, mixed, settings).entropy
    network.precision = "bfloat16"
    low = entropies(network, mixed, replace(settings, state=tmp_path / "low")).entropy
    told = entropies(network, mixed, replace(settings, state=tmp_path / "told", precision="float32")).entropy
    assert np.abs(low - plain).max() > 1e-5 and low == pytest.approx(plain, abs=0.02)
    assert told.tobytes() == plain.tobytes()
    with pytest.raises(StateError, match="precision: found 'bfloat16', need 'tf32'"):
        entropies(network, mixed, replace(settings, state=tmp_path / "low", precision="tf32"))


def test_confusion_pass_scores_labels_at_their_own_size(network, mixed, settings):
    draws = np.random.default_rng(5)
    sizes = [(48, 64), (48, 64), (24, 32), (16, 20), (31, 41), (24, 28), (50, 30)]
    labels = [draws.choice([0, 1, 2, 3, 255], size).astype(np.uint8) for size in sizes]
    found = run_pass(
        ConfusionMeasure(labels, 4), network, Plain(), mixed, replace(settings, batch=3, chunks=2)
    )
    expected = np.zeros((4, 4), dtype=np.int64)
    for image, label in zip(mixed, labels, strict=True):
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
        with torch.inference_mode():
            guess = logits_at(Plain(), network, tensor, label.shape).argmax(1)[0].numpy()
        for truth, prediction in zip(label.ravel(), guess.ravel(), strict=True):
            if truth < 4:
                expected[truth, prediction] += 1
    assert np.array_equal(found.matrix.numpy(), expected)


def test_only_the_matrix_of_a_part_leaves_the_device(network, mixed, settings, monkeypatch):
    labels = [np.zeros(image.shape[:2], dtype=np.uint8) for image in mixed]
    fetched, plain = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: fetched.append(self.numel()) or plain(self))
    run_pass(ConfusionMeasure(labels, 4), network, Plain(), mixed, replace(settings, chunks=2))
    assert fetched == [4 * 3 * 4, 5 * 5, 3 * 3 * 4, 5 * 5], (
        "labels and predictions of no class have a line of their own"
    )


def test_tied_logits_go_to_the_lowest_class(network, mixed, settings):
    with torch.no_grad():
        network.main.weight.zero_()
        network.main.bias.copy_(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert entropies(network, mixed, settings).pixels[:, [0, 2, 3]].sum() == 0


def test_selection_pass_sums_over_all_pixels(network, mixed, settings, tmp_path):
    found = run_pass(SelectionMeasure(4), network, Plain(), mixed, replace(settings, chunks=3))
    pixels = [
        by_hand(network, image).softmax(1).permute(0, 2, 3, 1).reshape(-1, 4).double() for image in mixed
    ]
    p = torch.cat(pixels)
    entropy = -(p * p.log()).sum(1).sum() / np.log(4)
    assert found.pixels == len(p)
    assert found.entropy / 2**32 == pytest.approx(float(entropy), rel=1e-6)
    for k in range(4):
        assert found.probabilities[k] / 2**32 == pytest.approx(float(p[:, k].sum()), rel=1e-6)
    batched = run_pass(
        SelectionMeasure(4), network, Plain(), mixed, replace(settings, chunks=1, state=tmp_path / "other")
    )
    assert batched == found


def test_classifier_is_scored_on_one_pixel(network, make_pictures, settings, tmp_path):
    images = make_pictures(3)
    network.single_pixel = True
    scores = run_pass(EntropyMeasure(["a", "b", "c"], 4), network, Plain(), images, settings)
    assert scores.pixels.sum(axis=1).tolist() == [1, 1, 1]
    other = replace(settings, state=tmp_path / "selection")
    assert run_pass(SelectionMeasure(4), network, Plain(), images, other).pixels == 3


def test_training_mode_is_restored_and_not_used(network, mixed, settings):
    network.train()
    modes = []
    network.register_forward_hook(lambda module, *_: modes.append(module.training))
    entropies(network, mixed, settings)
    assert network.training
    assert modes == [False] * 7


def test_prediction_that_is_not_finite_names_the_image(network, mixed, settings):
    network.register_forward_hook(
        lambda module, inputs, output: (
            output._replace(main=output.main / 0) if len(module.seen) == 6 else None
        )
    )
    with pytest.raises(SegadaptError, match="image number 5"):
        entropies(network, mixed, settings)


def test_a_selection_names_the_image_too(network, mixed, settings):
    network.register_forward_hook(
        lambda module, inputs, output: (
            output._replace(main=output.main / 0) if len(module.seen) == 6 else None
        )
    )
    with pytest.raises(SegadaptError, match="image number 5"):
        run_pass(SelectionMeasure(4), network, Plain(), mixed, settings)


def test_no_images_give_empty_scores(network, settings):
    assert entropies(network, [], settings).entropy.shape == (0,)
    assert run_pass(ConfusionMeasure([], 4), network, Plain(), [], settings).matrix.sum() == 0


def test_error_while_reading_reaches_the_caller(network, mixed, settings):
    class Broken(list):
        def __getitem__(self, position):
            if position == 4:
                raise OSError("disk is gone")
            return super().__getitem__(position)

    with pytest.raises(OSError, match="disk is gone"):
        entropies(network, Broken(mixed), settings)


def test_progress_counts_images_and_starts_from_what_is_finished(network, mixed, settings):
    with pytest.raises(Interrupted):
        entropies(network, mixed, replace(settings, chunks=1, stop=stop_after(2)))
    seen = []
    entropies(
        network, mixed, replace(settings, chunks=1, progress=lambda done, total: seen.append((done, total)))
    )
    assert seen == [(2, 7), (3, 7), (4, 7), (5, 7), (6, 7), (7, 7)]


def test_gaps_and_cuts_cover_each_image_once():
    finished = [Chunk(2, 4), Chunk(7, 8)]
    assert gaps(finished, 10) == [Chunk(0, 2), Chunk(4, 7), Chunk(8, 10)]
    assert cut(Chunk(4, 9), 2) == [Chunk(4, 6), Chunk(6, 8), Chunk(8, 9)]
    assert gaps([], 0) == []


def test_part_without_its_json_does_not_exist(tmp_path):
    store = ChunkStore(tmp_path, {"a": 1})
    store.save(Chunk(0, 2), {"x": torch.ones(2)})
    assert store.finished() == [Chunk(0, 2)]
    header = json.loads((tmp_path / "chunk-00000000-00000002.json").read_text())
    assert header["fingerprint"] == {"a": 1}
    (tmp_path / "chunk-00000000-00000002.json").unlink()
    assert store.finished() == []


def test_a_part_never_grows_beyond_what_memory_holds(network, make_pictures, settings):
    images = make_pictures(MAX_CHUNK + 1, (4, 4))
    entropies(network, images, replace(settings, chunks=1))
    assert len(list(settings.state.glob("*.json"))) == 2


def test_a_free_batch_is_what_the_memory_holds():
    half = 24 * 32 * BYTES_PER_PIXEL * 2.5
    batches = Batching(MOST, half, torch.channels_last)
    assert [batches.fitting(size) for size in ((24, 32), (48, 64), (1, 1))] == [2, 1, MOST]
    assert batching(3, torch.device("cpu")).fitting((10**5, 10**5)) == 3
    assert batching(None, torch.device("cpu")).most == 1


def test_a_free_batch_gives_the_scores_of_batch_one_and_leaves_the_network(
    network, mixed, settings, tmp_path, monkeypatch
):
    """As on a GPU: several images, channels last, as many as the memory holds."""
    one = entropies(network, mixed, settings)
    network.seen.clear()
    found = Batching(4, 24 * 32 * BYTES_PER_PIXEL * 2.5, torch.channels_last)
    monkeypatch.setattr(passes, "batching", lambda batch, device: found)
    layouts = []
    forward = network.forward
    monkeypatch.setattr(
        network,
        "forward",
        lambda images: (
            layouts.append(images.is_contiguous(memory_format=torch.channels_last)) or forward(images)
        ),
    )
    free = entropies(network, mixed, replace(settings, batch=None, chunks=2, state=tmp_path / "free"))
    np.testing.assert_allclose(one.entropy, free.entropy, atol=1e-5)
    assert [shape[0] for shape in network.seen] == [2, 1, 1, 1, 2] and all(layouts)
    assert network.backbone.weight.is_contiguous()
    monkeypatch.undo()
    entropies(network, mixed, replace(settings, batch=None, state=tmp_path / "free"))


def measures(tmp_path):
    labels = [np.zeros((24, 32), dtype=np.uint8)] * 2
    return [
        ConfusionMeasure(labels, 4),
        MappedConfusionMeasure(labels, [[0], [1, 2], [3]]),
        EntropyMeasure(["a", "b"], 4, FakeMaps()),
        SelectionMeasure(4),
        EntropyMaps(),
        KeepMaps(tmp_path),
        WithExamples(ConfusionMeasure(labels, 4), 2),
    ]


@pytest.mark.parametrize("number", range(7))
def test_taking_images_in_waits_for_no_device(network, tmp_path, number):
    """On the meta device, which has no values, reading one on the host is an error."""
    measure = measures(tmp_path)[number]
    maps = [torch.empty(2, 4, 6, 8, device="meta")]
    measure.begin(0)
    loaded = [measure.load(0), measure.load(1)]
    measure.add([0, 1], loaded, Logits(Plain(), network, maps, (24, 32), (24, 32)))
    with pytest.raises(NotImplementedError, match="meta"):
        measure.end()
