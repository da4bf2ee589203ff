"""PLCA's micro-batch at paper size on the meta device: few operators, and none that waits for the device.

The meta device has shapes and no numbers: reading one on the host, or an operator whose result's shape depends on
numbers, is an error there.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.data.batch import Batch
from pipeline.methods.base import Context
from pipeline.methods.parameters import PlcaParameters
from pipeline.methods.plca import Plca
from pipeline.networks.build import build_network
from pipeline.networks.parameters import NetworkParameters

BLOCKS_OF_512 = 359_428
"""Operators of this micro-batch when the association ran in blocks of 512 x 512 positions."""
PAIRS, SIZE = 4, 730


class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def dispatched():
    parameters = NetworkParameters(backbone="resnet101_caffe", batch_norm="train", profile="caffe")
    with torch.device("meta"):
        network = build_network(parameters, 19, 0).to("meta").train()
        labels = torch.zeros(PAIRS, SIZE, SIZE, dtype=torch.int64)
        names = tuple("abcd")
        images = torch.zeros(PAIRS, 3, SIZE, SIZE)
        batch = {domain: Batch(images, labels, names) for domain in ("source", "target")}
        context = Context(0, {"source": torch.zeros(())}, dict.fromkeys(batch, 1.0), 19)
        method = Plca(PlcaParameters(method="plca"))
        with Operators() as operators:
            for term in method.terms({"network": network}, batch, context):
                term.value.backward()
    return operators.count


def test_a_micro_batch_dispatches_a_twentieth_of_what_blocks_of_512_did():
    assert dispatched() <= BLOCKS_OF_512 / 20


def test_a_value_read_on_the_host_would_be_seen():
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(torch.zeros(3, device="meta").isfinite().all())
