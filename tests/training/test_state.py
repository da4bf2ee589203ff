"""The newest valid state or a clear refusal, whatever happened to the process, the disk or the files."""

import json
import logging
import os
import resource
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.artifacts.errors import StateError
from pipeline.artifacts.files import StorageError
from pipeline.training import state as state_module
from pipeline.training.fingerprint import Fingerprint
from pipeline.training.state import StateStore

FINGERPRINT = Fingerprint(
    stage="advent-demo-0-0123456789ab",
    data="d" * 64,
    software={"torch": "2.14.1", "python": "3.11.2"},
    device="cpu",
    gpus=1,
    threads=2,
)
MOMENTS = ("opened", "half", "before_flush", "before_rename", "after_rename", "before_old_removed")


def content(step):
    """Tensors and meta that only the state of this step may hold."""
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "network.weight": torch.randn(17, 5, generator=generator),
        "network.half": torch.randn(3, generator=generator).to(torch.bfloat16),
        "counts": torch.tensor(step),
    }
    return tensors, {"schedule": {"last": step}, "history": [0.1 * step, "ä", None]}


def save(store, step):
    store.save(step, *content(step))


def same(state, step):
    tensors, meta = content(step)
    return (
        state.step == step
        and state.meta == meta
        and state.tensors.keys() == tensors.keys()
        and all(torch.equal(state.tensors[name], tensors[name]) for name in tensors)
    )


def store_in(folder, **options):
    return StateStore(folder, options.pop("fingerprint", FINGERPRINT), **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def changed(**fields):
    return Fingerprint(**{**FINGERPRINT.__dict__, **fields})


def in_child(action):
    """Run `action` in a forked process; its exit status as os.waitpid gives it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    save(store_in(tmp_path), 7)
    assert same(store_in(tmp_path).load_newest(), 7)


def test_without_states_there_is_none(tmp_path):
    assert store_in(tmp_path / "state").load_newest() is None
    assert not (tmp_path / "state").exists()


def test_the_record_is_readable(tmp_path):
    save(store_in(tmp_path), 7)
    record = json.loads((tmp_path / "step-00000007" / "state.json").read_text())
    assert record["step"] == 7
    assert record["fingerprint"] == FINGERPRINT.__dict__
    assert record["meta"]["schedule"] == {"last": 7}


def test_the_newest_is_found_by_number_and_two_are_kept(tmp_path):
    store = store_in(tmp_path)
    for step in (9, 10, 100_000_000, 99_999_999):
        save(store, step)
    assert names(tmp_path) == ["step-100000000", "step-99999999"]
    assert same(store.load_newest(), 100_000_000)


def test_the_same_step_can_be_saved_again_and_again(tmp_path):
    store = store_in(tmp_path)
    for turn in range(4):
        store.save(5, {"turn": torch.tensor(turn)}, {"turn": turn})
        assert store.load_newest().meta == {"turn": turn}
        assert int(store.load_newest().tensors["turn"]) == turn


def test_tensors_that_share_memory_or_lie_in_another_order_are_saved(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    store = store_in(tmp_path)
    store.save(1, {"a": weight, "b": weight, "c": weight.T, "d": weight[0]}, {})
    loaded = store.load_newest().tensors
    assert torch.equal(loaded["b"], weight)
    assert torch.equal(loaded["c"], weight.T)
    assert torch.equal(loaded["d"], weight[0])


@pytest.mark.parametrize("meta", [{"pair": (1, 2)}, {"table": {1: "a"}}])
def test_meta_that_json_would_change_is_refused(tmp_path, meta):
    with pytest.raises(TypeError, match="through JSON"):
        store_in(tmp_path).save(1, {}, meta)


def test_meta_with_a_value_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        store_in(tmp_path).save(1, {}, {"loss": float("nan")})


def test_the_slowest_save_is_remembered(tmp_path):
    ticks = iter([0.0, 5.0, 10.0, 12.0])
    store = store_in(tmp_path, clock=lambda: next(ticks))
    save(store, 1)
    save(store, 2)
    assert store.slowest_save_seconds == 5.0


@pytest.mark.parametrize("earlier", [(), (10,), (10, 20)])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_any_moment_of_a_save(tmp_path, moment, earlier):
    for step in earlier:
        save(store_in(tmp_path), step)

    def die(now):
        if now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    status = in_child(lambda: save(store_in(tmp_path, at=die), 30))
    assert os.WIFSIGNALED(status)
    state = store_in(tmp_path).load_newest()
    if moment in ("after_rename", "before_old_removed"):
        assert same(state, 30)
    elif earlier:
        assert same(state, earlier[-1])
    else:
        assert state is None
    save(store_in(tmp_path), 40)
    kept = [40, *([30] if moment in ("after_rename", "before_old_removed") else earlier[-1:])]
    assert names(tmp_path) == sorted(f"step-{step:08d}" for step in kept)


def test_a_kill_while_an_old_state_is_removed_leaves_no_damaged_one(tmp_path, monkeypatch, caplog):
    for step in (10, 20):
        save(store_in(tmp_path), step)

    def half_removed(folder, **options):
        if "step-00000010" in str(folder):
            (folder / "state.json").unlink()
            os._exit(7)
        return real(folder, **options)

    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", half_removed)
    assert os.waitstatus_to_exitcode(in_child(lambda: save(store_in(tmp_path), 30))) == 7
    monkeypatch.undo()
    with caplog.at_level(logging.WARNING):
        assert same(store_in(tmp_path).load_newest(), 30)
    assert caplog.text == ""
    save(store_in(tmp_path), 40)
    assert names(tmp_path) == ["step-00000030", "step-00000040"]


def flip(path, offset, bit):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def test_flipped_bits_at_fifty_offsets_go_back_to_the_state_before(tmp_path):
    good = tmp_path / "good"
    for step in (10, 20):
        save(store_in(good), step)
    files = [good / "step-00000020" / name for name in ("tensors.safetensors", "state.json")]
    sizes = [path.stat().st_size for path in files]
    rng = np.random.default_rng(0)
    outcomes = []
    for offset in rng.choice(sum(sizes), 50, replace=False):
        folder = tmp_path / "harmed"
        shutil.copytree(good, folder)
        which = int(offset >= sizes[0])
        flip(folder / "step-00000020" / files[which].name, offset - which * sizes[0], int(rng.integers(8)))
        state = store_in(folder).load_newest()
        outcomes.append(state.step)
        assert same(state, state.step)
        assert (state.step == 10) == (folder / "step-00000020.damaged").exists()
        shutil.rmtree(folder)
    assert outcomes.count(10) >= 45  # a flip that turns white space into white space harms nothing


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def swap_with_the_older(path):
    older = path.parent.parent / "step-00000010" / path.name
    path.write_bytes(older.read_bytes())


HARMS = [truncate, zero, swap_with_the_older, lambda path: path.write_bytes(b""), lambda path: path.unlink()]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_newest_state_is_set_aside_with_one_warning(tmp_path, caplog, harm, name):
    for step in (10, 20):
        save(store_in(tmp_path), step)
    harm(tmp_path / "step-00000020" / name)
    with caplog.at_level(logging.WARNING):
        assert same(store_in(tmp_path).load_newest(), 10)
    assert len(caplog.records) == 1
    assert "going back to step 10" in caplog.text
    assert "step-00000020" in caplog.text
    assert names(tmp_path) == ["step-00000010", "step-00000020.damaged"]
    caplog.clear()
    assert same(store_in(tmp_path).load_newest(), 10)
    assert not caplog.records
    save(store_in(tmp_path), 20)
    assert same(store_in(tmp_path).load_newest(), 20)


def test_swapped_folders_are_seen(tmp_path):
    for step in (10, 20):
        save(store_in(tmp_path), step)
    (tmp_path / "step-00000010").rename(tmp_path / "step-00000030")
    assert same(store_in(tmp_path).load_newest(), 20)


def test_when_all_are_damaged_training_stops_and_stays_stopped(tmp_path):
    for step in (10, 20):
        save(store_in(tmp_path), step)
    for path in tmp_path.glob("*/tensors.safetensors"):
        flip(path, 70, 0)
    for _ in range(2):
        with pytest.raises(StateError, match="all training states") as caught:
            store_in(tmp_path).load_newest()
        for words in ("step-00000010", "step-00000020", "python -m pipeline clean advent-demo"):
            assert words in str(caught.value)


def test_a_state_that_was_set_aside_is_not_forgotten(tmp_path):
    for step in (10, 20):
        save(store_in(tmp_path), step)
    truncate(tmp_path / "step-00000020" / "tensors.safetensors")
    store_in(tmp_path).load_newest()
    shutil.rmtree(tmp_path / "step-00000010")
    with pytest.raises(StateError, match="set aside before"):
        store_in(tmp_path).load_newest()


@pytest.mark.parametrize("field", ["stage", "data"])
@pytest.mark.parametrize("exact", [True, False])
def test_a_state_of_another_stage_or_other_data_is_refused(tmp_path, field, exact):
    save(store_in(tmp_path, fingerprint=changed(**{field: "other"})), 5)
    with pytest.raises(StateError) as caught:
        store_in(tmp_path, exact=exact, allow=frozenset({"device"})).load_newest()
    assert f"{field}: the state has other, this run has {getattr(FINGERPRINT, field)}" in str(caught.value)
    assert names(tmp_path) == ["step-00000005"]


OTHERS = [
    ("software", {"torch": "2.15.0", "python": "3.11.2"}, "torch 2.15.0"),
    ("device", "cuda NVIDIA H200", "cuda NVIDIA H200"),
    ("gpus", 2, "gpus: the state has 2, this run has 1"),
    ("threads", 4, "threads: the state has 4, this run has 2"),
]


@pytest.mark.parametrize(("field", "value", "words"), OTHERS)
def test_exact_refuses_other_circumstances_and_names_the_setting(tmp_path, field, value, words):
    save(store_in(tmp_path, fingerprint=changed(**{field: value})), 5)
    with pytest.raises(StateError) as caught:
        store_in(tmp_path).load_newest()
    assert words in str(caught.value)
    assert f"allow_changed: [{field}]" in str(caught.value)
    assert "3.11.2" not in str(caught.value)
    others = frozenset({"software", "device", "gpus", "threads"} - {field})
    with pytest.raises(StateError):
        store_in(tmp_path, allow=others).load_newest()


@pytest.mark.parametrize(("field", "value", "words"), OTHERS)
@pytest.mark.parametrize("fast", [True, False])
def test_other_circumstances_are_a_warning_when_fast_or_allowed(tmp_path, caplog, field, value, words, fast):
    save(store_in(tmp_path, fingerprint=changed(**{field: value})), 5)
    options = {"exact": False} if fast else {"allow": frozenset({field})}
    with caplog.at_level(logging.WARNING):
        assert same(store_in(tmp_path, **options).load_newest(), 5)
    assert len(caplog.records) == 1
    assert words in caplog.text


def test_an_unknown_name_in_allow_is_refused(tmp_path):
    with pytest.raises(StateError, match=r"allow_changed: data: choose from software"):
        store_in(tmp_path, allow=frozenset({"data"}))


def test_a_full_disk_during_a_save_keeps_the_state_before(tmp_path):
    save(store_in(tmp_path), 10)

    def save_much():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            store_in(tmp_path).save(20, {"big": torch.zeros(100_000)}, {})
        except StorageError as error:
            os._exit(0 if "step-00000020" in str(error) and "ulimit -f" in str(error) else 2)

    assert os.waitstatus_to_exitcode(in_child(save_much)) == 0
    assert names(tmp_path) == ["step-00000010"]
    assert same(store_in(tmp_path).load_newest(), 10)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(StorageError, match=r"state.*where a folder is needed"):
        save(store_in(tmp_path / "state"), 1)


def test_a_disk_that_loses_bits_is_noticed_at_once(tmp_path, monkeypatch):
    save(store_in(tmp_path), 10)
    real = state_module.flush_to_disk

    def lose(path):
        if path.name == "tensors.safetensors":
            flip(path, 80, 3)
        real(path)

    monkeypatch.setattr(state_module, "flush_to_disk", lose)
    with pytest.raises(StorageError, match="does not give back"):
        save(store_in(tmp_path), 20)
    assert names(tmp_path) == ["step-00000010"]


def test_the_tensor_file_is_plain_safetensors(tmp_path):
    save(store_in(tmp_path), 3)
    assert int(load_file(tmp_path / "step-00000003" / "tensors.safetensors")["counts"]) == 3
