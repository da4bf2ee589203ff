"""Weight files for timm's models: where its hub's files lie, and tensors under the names of the model.

| layout | names in the file |
|---|---|
| `timm` | timm's, or the authors' where timm converts them (DINOv2, ConvNeXt, ...) |
| `efficientnet_lite` | efficientnet_lite_pytorch's: `_conv_stem`, `_blocks.N._expand_conv`, ... |
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.artifacts.errors import WeightsError
from pipeline.networks.fetching import check_answer
from pipeline.networks.parameters import TIMM

FILE = "model.safetensors"


def license_in_timm(backbone: str) -> str:
    """What timm says of the licence of a model's published weights; "" where it says nothing."""
    import timm

    said = timm.get_pretrained_cfg(backbone.removeprefix(TIMM))
    return "" if said is None or said.license is None else str(said.license)


def hub_file(backbone: str) -> Path:
    """The model's published weights in huggingface_hub's cache (`HF_HOME`), fetched where they are missing.

    Raises WeightsError where timm knows of none, or where the file cannot be fetched: it names the one to bring.
    """
    import huggingface_hub
    import timm
    from huggingface_hub.errors import HTTPError  # of the library for HTTP, which differs between versions

    said = timm.get_pretrained_cfg(backbone.removeprefix(TIMM))
    if said is None or not said.hf_hub_id:
        raise WeightsError(f"timm knows of no weights for {backbone}; set weights.source to a file of yours")
    repository, _, revision = str(said.hf_hub_id).partition("@")
    name = said.hf_hub_filename or FILE
    place: dict[str, Any] = {"repo_id": repository, "filename": name, "revision": revision or None}
    found = huggingface_hub.try_to_load_from_cache(**place)
    if isinstance(found, str):
        return Path(found)
    try:
        check_answer(huggingface_hub.hf_hub_url(**place))
        return Path(huggingface_hub.hf_hub_download(**place))
    except (OSError, HTTPError) as error:
        raise WeightsError(
            f"weights of {backbone}: {name} of https://huggingface.co/{repository} is not in the cache "
            f"{huggingface_hub.constants.HF_HUB_CACHE}, and cannot be fetched from the hub ({error}); on a "
            f"machine with a network run `hf download {repository} {name}` and bring its cache (HF_HOME), or put the "
            "file anywhere and set weights: {source: PATH, layout: timm, profile: timm}"
        ) from error


def timm_tensors(tensors: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Tensors under timm's names, converted by timm where they have the authors'; a mask token stays, as (1, C)."""
    mask = {name: value.reshape(1, -1) for name, value in tensors.items() if name == "mask_token"}
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    return dict(tensors if convert is None else convert(dict(tensors), model)) | mask


_OF_BLOCK = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
"""Layers of a block in efficientnet_lite_pytorch; the first block of a network has no expansion."""
_AROUND = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def efficientnet_lite_tensors(tensors: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Tensors of efficientnet_lite_pytorch under timm's names; those of no known layer keep theirs."""
    names = dict(_AROUND)
    blocks = [(stage, block) for stage, layers in enumerate(model.blocks) for block in range(len(layers))]
    for number, (stage, block) in enumerate(blocks):
        ours = ["conv_pw", "conv_dw", "conv_pwl"] if number else ["conv_dw", "conv_pw"]
        theirs = _OF_BLOCK if number else _OF_BLOCK[1:]
        for place, (pair, convolution) in enumerate(zip(theirs, ours, strict=True), start=1):
            names[f"_blocks.{number}.{pair[0]}"] = f"blocks.{stage}.{block}.{convolution}"
            names[f"_blocks.{number}.{pair[1]}"] = f"blocks.{stage}.{block}.bn{place}"
    return {
        re.sub(r"^(.*)(?=\.\w+$)", lambda found: names.get(found[1], found[1]), key): value
        for key, value in tensors.items()
    }
