"""Which network `init` writes where none is named: MobileNetV2 with ImageNet weights, if they can be had."""

from pathlib import Path
from typing import NamedTuple

from pipeline.artifacts.errors import ConfigError
from pipeline.config.load import Library

PRETRAINED = ("mobilenet-v2-frozen", "mobilenet-v2-torchvision")
"""In the order of trial: the file of `SEGADAPT_DATA`, then torchvision's, from its cache or fetched."""
SCRATCH = "small"


class FirstNetwork(NamedTuple):
    """A file in `config/networks/`, and a line on it to be printed."""

    name: str
    line: str


def named_network(library: Library, name: str) -> str:
    """A line on a network that was named: where its weights come from, and their licence.

    ConfigError where there is no such file.
    """
    weights = library.network(name, "--network").weights
    return _line(library, name, weights.source) if weights else f"network: {name}, no weights"


def first_network(library: Library) -> FirstNetwork:
    """The first of `PRETRAINED` whose weights are at hand or can be fetched, else the one that learns from scratch."""
    from pipeline.networks.weight_files import find_weights  # torch is slow to import

    reasons = []
    for name in PRETRAINED:
        network = library.network(name, "init")
        if network.weights is None:
            continue
        try:
            path = find_weights(network.weights, network.backbone)
        except ConfigError as error:
            reasons.append(f"  {name}: {error}")
            continue
        return FirstNetwork(name, _line(library, name, path))
    lines = "\n".join(reasons)
    return FirstNetwork(
        SCRATCH,
        f"network: {SCRATCH}, from scratch, since no ImageNet weights can be had:\n{lines}\n  It learns large classes "
        "such as sky and road and hardly any small one; bring a file of weights and give --network.",
    )


def _line(library: Library, name: str, place: str | Path) -> str:
    from pipeline.networks.weight_files import license_of

    network = library.network(name, "init")
    assert network.weights is not None
    said = license_of(network.weights, network.backbone) or "not stated"
    return f"network: {name}, weights {place} (licence: {said})"
