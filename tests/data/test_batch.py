"""A batch is cut and moved as a whole: images, labels, names and further tensors stay together."""

import pytest
import torch

from pipeline.data.batch import Batch


@pytest.fixture
def batch():
    images = torch.arange(3 * 3 * 2 * 2, dtype=torch.uint8).reshape(3, 3, 2, 2)
    labels = torch.arange(3 * 2 * 2, dtype=torch.uint8).reshape(3, 2, 2)
    return Batch(images, labels, ("a", "b", "c"), {"depth": torch.tensor([1.0, 2.0, 3.0])})


def test_a_slice_cuts_everything_alike(batch):
    part = batch[1:3]
    assert len(part) == 2 and part.names == ("b", "c")
    assert torch.equal(part.images, batch.images[1:3])
    assert torch.equal(part.labels, batch.labels[1:3])
    assert part.extras["depth"].tolist() == [2.0, 3.0]


def test_a_domain_without_labels_stays_without(batch):
    bare = Batch(batch.images, None, batch.names)
    assert bare[0:1].labels is None and bare.to(torch.device("cpu")).labels is None
    assert bare.extras == {}


def test_every_tensor_moves_to_the_device(batch):
    moved = batch.to(torch.device("meta"))
    tensors = (moved.images, moved.labels, moved.extras["depth"])
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 3
    assert moved.names == batch.names and moved.images.shape == batch.images.shape


def test_page_locked_memory_is_asked_for_every_tensor(batch, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = batch.pin_memory()
    assert torch.equal(pinned.images, batch.images + 1)
    assert torch.equal(pinned.labels, batch.labels + 1)
    assert pinned.extras["depth"].tolist() == [2.0, 3.0, 4.0]
