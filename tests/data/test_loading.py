"""Loading: the same bits with any number of workers, views without copies, errors that name the image."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from pipeline.artifacts.errors import DataError
from pipeline.data.domain import Domain
from pipeline.data.loading import LoaderError, StepDataset, lost_workers_named, step_loader
from pipeline.data.parameters import Augmentation, RareCrops
from pipeline.data.sampler import SampleOrder
from pipeline.streets.images import render_scene


class FakeRecords:
    def __init__(self, names, arrays):
        self.names, self.arrays = tuple(names), list(arrays)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, place):
        return self.arrays[place]


class FakeCache:
    def __init__(self, names, images, labels=None):
        self.names = tuple(names)
        self.images = FakeRecords(names, images)
        self.labels = None if labels is None else FakeRecords(names, labels)
        pixels = np.zeros(256, int)
        for label in labels or []:
            pixels += np.bincount(label.ravel(), minlength=256)
        self.statistics = {"class_pixels": pixels[:11].tolist()}


class Unlabelled(FakeCache):
    """A cache whose labels must not be opened."""

    def __init__(self, names, images):
        self.names, self.images = tuple(names), FakeRecords(names, images)

    @property
    def labels(self):
        raise AssertionError("target labels were opened")


@pytest.fixture(scope="module")
def scenes():
    return [render_scene("rendered", "train", index, 0, (48, 32)) for index in range(6)]


@pytest.fixture
def cache(scenes):
    return FakeCache([f"a{i}" for i in range(6)], [s[0] for s in scenes], [s[1] for s in scenes])


EVERYTHING = Augmentation(
    crop=(24, 16),
    scale=(0.6, 1.4),
    flip=0.5,
    color={"brightness": 0.3},
    rare_crops=RareCrops(),
)


def make(cache, **changes):
    domains = {"source": Domain([cache], labels="own"), "target": Domain([cache], names=["a4", "a1", "a2"])}
    settings = {
        "order": SampleOrder(seed=5, batch=3),
        "augmentation": {"source": EVERYTHING, "target": Augmentation(flip=0.5)},
    }
    return StepDataset(domains, **settings | changes)


def flat(steps):
    return [
        (
            name,
            batch.names,
            batch.images.numpy().tobytes(),
            None if batch.labels is None else batch.labels.numpy().tobytes(),
        )
        for step in steps
        for name, batch in step.items()
    ]


def test_the_batch_of_a_step(cache, scenes):
    batch = make(cache)[0]
    assert list(batch) == ["source", "target"]
    source, target = batch["source"], batch["target"]
    assert source.images.shape == (3, 3, 16, 24) and source.images.dtype == torch.uint8
    assert source.labels.shape == (3, 16, 24) and source.labels.dtype == torch.uint8
    assert target.images.shape == (3, 3, 32, 48) and target.labels is None
    assert set(target.names) == {"a1", "a2", "a4"}
    name, image = target.names[0], target.images[0].numpy().transpose(1, 2, 0)
    original = scenes[int(name[1])][0]
    assert np.array_equal(image, original) or np.array_equal(image, original[:, ::-1])


@pytest.mark.parametrize("workers", [0, 1])
def test_images_come_channels_last(cache, workers):
    (step,) = step_loader(make(cache), 0, 1, workers)
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in step.values())


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_bit(cache, workers):
    dataset = make(cache)
    alone = flat(step_loader(dataset, 2, 9, 0))
    assert flat(step_loader(dataset, 2, 9, workers)) == alone
    assert len(alone) == 14 and len(set(alone)) == 14


def test_resuming_is_asking_for_the_step(cache):
    dataset = make(cache)
    assert flat(step_loader(dataset, 5, 8, 0)) == flat(step_loader(dataset, 0, 8, 0))[10:]


def test_processes_load_their_slots_of_the_same_step(cache):
    whole, first, last = (make(cache, slots=slots)[3]["source"] for slots in (None, [0], [1, 2]))
    assert first.names + last.names == whole.names
    assert torch.equal(torch.cat([first.images, last.images]), whole.images)


def test_the_seed_changes_order_and_augmentation(cache):
    assert flat([make(cache, order=SampleOrder(seed=6, batch=3))[0]]) != flat([make(cache)[0]])


def test_loading_leaves_the_global_random_state_alone(cache):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    list(step_loader(make(cache), 0, 2, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_an_empty_domain_is_left_out(cache):
    domains = {"source": Domain([cache], labels="own"), "target": Domain([cache], names=[])}
    assert list(StepDataset(domains, SampleOrder(seed=0, batch=1), augmentation={})[0]) == ["source"]


def test_one_image_fills_a_batch(cache):
    domain = Domain([cache], names=["a3"], labels="own")
    batch = StepDataset({"source": domain}, SampleOrder(seed=0, batch=3), augmentation={})[7]["source"]
    assert batch.names == ("a3", "a3", "a3")


def test_one_image_is_cropped_anew_in_every_slot_step_and_domain(cache):
    domains = {name: Domain([cache], names=["a3"], labels="own") for name in ("source", "target")}
    crops = dict.fromkeys(domains, Augmentation(crop=(8, 8)))
    dataset = StepDataset(domains, SampleOrder(seed=0, batch=4), augmentation=crops)
    views = [
        image.numpy().tobytes() for step in range(3) for p in dataset[step].values() for image in p.images
    ]
    assert len(views) == 24 and len(set(views)) >= 20


def test_replicated_needs_the_number_of_draws(cache):
    with pytest.raises(ValueError, match="draws"):
        SampleOrder(seed=5, batch=3, mode="replicated")
    dataset = make(cache, order=SampleOrder(seed=5, batch=3, mode="replicated", draws=12))
    names = [name for step in range(4) for name in dataset[step]["source"].names]
    assert sorted(names) == sorted([f"a{i}" for i in range(6)] * 2)


def test_labels_of_an_unlabelled_domain_are_never_opened(scenes):
    cache = Unlabelled(["a", "b"], [scenes[0][0], scenes[1][0]])
    domain = Domain([cache])
    batch = StepDataset(
        {"target": domain}, SampleOrder(seed=0, batch=2), augmentation={"target": Augmentation(flip=1.0)}
    )[0]
    assert batch["target"].labels is None and not domain.has_labels


def test_different_sizes_in_a_step_are_an_error_with_the_way_out(scenes):
    cache = FakeCache(["a", "b"], [scenes[0][0], scenes[1][0][:20]])
    dataset = StepDataset({"target": Domain([cache])}, SampleOrder(seed=0, batch=2), augmentation={})
    with pytest.raises(DataError, match=r"48x(32|20).*48x(32|20).*crop"):
        dataset[0]
    cropped = StepDataset(
        {"target": Domain([cache])}, SampleOrder(seed=0, batch=2), {"target": Augmentation(crop=(30, 30))}
    )
    assert cropped[0]["target"].images.shape == (2, 3, 30, 30)
    single = StepDataset({"target": Domain([cache])}, SampleOrder(seed=0, batch=1), augmentation={})
    assert {single[0]["target"].images.shape[2], single[1]["target"].images.shape[2]} == {32, 20}


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_names_the_image_and_comes_through_unchanged(scenes, workers):
    cache = FakeCache(["a"], [scenes[0][0]], [scenes[0][1][:, :-1]])
    dataset = StepDataset(
        {"source": Domain([cache], labels="own")}, SampleOrder(seed=0, batch=1), augmentation={}
    )
    with pytest.raises(DataError) as raised:
        list(step_loader(dataset, 0, 1, workers))
    assert str(raised.value) == "source image `a`: the image has 48x32 pixels but its label 47x32"


def test_classified_images_have_labels_of_one_pixel(scenes):
    cache = FakeCache(["a", "b"], [s[0] for s in scenes[:2]], [np.full((1, 1), i, np.uint8) for i in (3, 8)])
    batch = StepDataset(
        {"source": Domain([cache], labels="own")},
        SampleOrder(seed=0, batch=2),
        {"source": Augmentation(flip=1.0)},
    )[0]
    assert batch["source"].labels.shape == (2, 1, 1)
    assert sorted(batch["source"].labels.flatten().tolist()) == [3, 8]


class ColumnMap:
    """A further map that shows where its pixels come from."""

    def __call__(self, name, placement):
        x, _, inside = placement.source_coordinates()
        return np.stack([np.where(inside, x, -1.0), np.full(x.shape, int(name[1]))]).astype(np.float32)


def test_further_maps_follow_the_augmentation(cache):
    domain = Domain([cache], extras={"columns": ColumnMap()})
    batch = StepDataset(
        {"target": domain}, SampleOrder(seed=0, batch=2), {"target": Augmentation(crop=(20, 10), flip=1.0)}
    )[0]["target"]
    columns = batch.extras["columns"]
    assert columns.shape == (2, 2, 10, 20)
    assert (columns[:, 0, 0].diff() == -1).all()
    assert columns[:, 1, 0, 0].tolist() == [float(name[1]) for name in batch.names]


@pytest.fixture
def stubborn(cache):
    class Dying(StepDataset):
        def __getitem__(self, step):
            if step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(step)

    return Dying(make(cache).domains, SampleOrder(seed=0, batch=1), augmentation={})


def test_a_killed_worker_is_reported_as_such(stubborn):
    # torch's own handler may speak first, wherever the main process is then.
    with (
        pytest.raises(LoaderError, match=r"lost (before|during a) step.*start the run again"),
        lost_workers_named(),
    ):
        list(step_loader(stubborn, 0, 6, 1))


def test_a_death_noticed_outside_the_loader_is_reported_as_such():
    with pytest.raises(LoaderError, match="lost during a step"), lost_workers_named():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(RuntimeError, match="out of memory"), lost_workers_named():
        raise RuntimeError("CUDA out of memory")


@pytest.mark.parametrize("error", [RuntimeError, OSError, EOFError])
def test_what_a_worker_raised_is_not_taken_for_its_loss(cache, error):
    class Failing(StepDataset):
        def __getitem__(self, step):
            raise error("of its own")

    with pytest.raises(error, match="of its own"):
        list(
            step_loader(Failing(make(cache).domains, SampleOrder(seed=0, batch=1), augmentation={}), 0, 1, 1)
        )


def test_a_stalled_worker_is_reported_and_ended(cache, monkeypatch):
    # How long torch waits for a worker to end by itself.
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)

    class Stalled(StepDataset):
        def __getitem__(self, step):
            signal.pause()

    dataset = Stalled(make(cache).domains, SampleOrder(seed=0, batch=1), augmentation={})
    with pytest.raises(LoaderError, match="lost before step 0"):
        list(step_loader(dataset, 0, 1, 1, stall=0.5))
    assert multiprocessing.active_children() == []


def test_workers_ignore_the_signals_of_the_group_and_end_with_the_loader(cache):
    batches = step_loader(make(cache), 0, 50, 2)
    first = next(batches)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(worker.pid, number)
    assert flat([first, *(next(batches) for _ in range(9))]) == flat(step_loader(make(cache), 0, 10, 0))
    batches.close()
    assert multiprocessing.active_children() == []


def test_a_domain_over_two_caches(scenes):
    first = FakeCache(["a", "b"], [s[0] for s in scenes[:2]], [s[1] for s in scenes[:2]])
    second = FakeCache(["c"], [scenes[2][0]], [scenes[2][1]])
    domain = Domain([first, second], labels="own")
    assert domain.names == ("a", "b", "c") and np.shares_memory(domain.image(2), scenes[2][0])
    assert domain.image_size(0) == (48, 32)
    chosen = Domain([first, second], names=["c", "a"], labels="own")
    assert np.array_equal(chosen.label(0), scenes[2][1]) and np.array_equal(chosen.label(1), scenes[0][1])


def test_pseudo_labels_are_found_by_name(cache):
    maps = [np.full((32, 48), value, np.uint8) for value in (1, 2)]
    domain = Domain([cache], names=["a5", "a2"], labels=FakeRecords(["a2", "a5"], maps))
    assert domain.label(0)[0, 0] == 2 and domain.label(1)[0, 0] == 1
    with pytest.raises(DataError, match="none for image `a3`"):
        Domain([cache], names=["a3"], labels=FakeRecords(["a2"], maps[:1]))


def test_a_restricted_domain_keeps_its_labels_and_further_maps(cache, scenes):
    maps = [np.full((32, 48), value, np.uint8) for value in (1, 2, 3)]
    labels, extras = FakeRecords(["a1", "a2", "a5"], maps), {"columns": ColumnMap()}
    domain = Domain([cache], names=["a5", "a2", "a1"], labels=labels, extras=extras)
    part = domain.restricted(["a1", "a5"])
    assert part.names == ("a1", "a5") and len(domain) == 3
    assert [int(part.label(index)[0, 0]) for index in range(2)] == [1, 3]
    assert np.array_equal(part.image(1), scenes[5][0]) and part.extras == extras
    with pytest.raises(DataError, match="holds no image `a2`"):
        part.restricted(["a2"])
    own = Domain([cache], labels="own").restricted(["a1"])
    assert own.class_counts() == Domain([cache], names=["a1"], labels="own").class_counts()
    assert not Domain([cache]).restricted(["a1"]).has_labels


def test_class_counts_are_true_pixel_counts(cache, scenes):
    expected = sum(np.bincount(label.ravel(), minlength=255) for _, label in scenes)
    assert Domain([cache], labels="own").class_counts() == tuple(expected[:11])
    chosen = Domain([cache], names=["a1"], labels="own").class_counts()
    assert chosen == tuple(np.bincount(scenes[1][1].ravel(), minlength=255))


def test_names_that_do_not_fit_are_refused(cache, scenes):
    with pytest.raises(DataError, match="holds no image `zz`"):
        Domain([cache], names=["zz"])
    twin = FakeCache(["a1"], [scenes[0][0]])
    with pytest.raises(DataError, match="two caches of this domain hold an image `a1`"):
        Domain([cache, twin], names=["a1"])
    with pytest.raises(DataError, match="two caches of this domain hold an image `a1`"):
        Domain([cache, twin]).restricted(["a1"])
    assert Domain([cache, twin]).restricted(["a2"]).names == ("a2",)
    with pytest.raises(DataError, match="no labels"):
        Domain([twin], labels="own")
    with pytest.raises(TypeError, match="not one string"):
        Domain([cache], names="a1")


def test_rare_crops_need_labels(cache):
    augmentation = {"target": Augmentation(crop=(8, 8), rare_crops=RareCrops())}
    with pytest.raises(DataError, match=r"augmentation\.target\.rare_crops"):
        StepDataset({"target": Domain([cache])}, SampleOrder(seed=0, batch=1), augmentation=augmentation)
