"""Plain ViTs: grids, positions, mask token, groups of learning rates, frozen blocks, checkpointing, files, memory."""

import subprocess
import sys

import pytest
import safetensors.torch
import torch

from pipeline.artifacts.errors import ConfigError
from pipeline.networks.build import build_network, construct
from pipeline.networks.files import load_network, save_network
from pipeline.networks.parameters import NetworkParameters
from pipeline.numerics.randomness import seeded_weights
from pipeline.training.optimisers import build_network_optimiser
from pipeline.training.parameters import AdamwParameters

TINY, DINOV2, DINOV3 = "test_vit2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"
IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def parameters(name=TINY, **options):
    given = {"output_stride": 14 if "patch14" in name else 16, "head": "vit_light", "align_corners": False}
    return NetworkParameters(backbone=f"timm/{name}", **given | options)


def built(seed=0, **options):
    with seeded_weights(seed):
        return construct(parameters(**options), 5)


@pytest.mark.parametrize(("name", "patch"), [(DINOV2, 14), (DINOV3, 16)])
@pytest.mark.parametrize("size", [(56, 80), (70, 100)])
def test_grids_are_whole_patches(name, patch, size):
    with torch.device("meta"):
        network = construct(parameters(name, levels="multi", dilations=(1,)), 5)
        output = network(torch.empty(2, 3, *size))
    cells = tuple(-(-side // patch) for side in size)
    assert network.token_stride == patch
    assert "backbone.model.norm.weight" in network.state_dict()
    assert output.feature.shape == (2, 384, *cells)
    assert output.main.shape == (2, 5, *(4 * side for side in cells))
    assert output.aux.shape == (2, 5, *cells)


def test_the_levels_are_blocks_at_equal_distances_behind_the_norm():
    network = built().eval()
    model, images = network.backbone.model, IMAGES
    with torch.no_grad():
        levels = network.backbone(images).levels
        tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        for place, block in enumerate(model.blocks):
            tokens = block(tokens)
            if (place + 1) * 4 % len(model.blocks) == 0:
                wanted = model.norm(tokens)[:, model.num_prefix_tokens :].transpose(1, 2)
                found = levels[(place + 1) * 4 // len(model.blocks) - 1]
                torch.testing.assert_close(found.flatten(2), wanted)


def test_learned_positions_are_resized_to_the_image():
    network = built().eval()
    first = network(IMAGES).feature
    network.backbone.model.pos_embed.data.neg_()
    assert not torch.allclose(first, network(IMAGES).feature)
    assert network(IMAGES[..., :32]).feature.shape == (2, network.feature_channels, 4, 2)


def test_masked_patches_show_nothing_of_the_image():
    network = built().eval()
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    mask[0, 1, 2] = True
    other = IMAGES.clone()
    other[0, :, 16:32, 32:48] = 3.0
    with torch.no_grad():
        assert not torch.allclose(network(IMAGES).main[0], network(other).main[0])
        assert torch.equal(network(IMAGES, mask).main, network(other, mask).main)
        assert torch.equal(network(IMAGES, torch.zeros_like(mask)).main, network(IMAGES).main)
        assert torch.equal(network(IMAGES).main, network(IMAGES, torch.zeros_like(mask)).main)


def test_the_mask_token_is_trained_where_it_stands_for_a_patch():
    network = built()
    network(IMAGES, torch.ones(2, 4, 6, dtype=torch.bool)).main.square().sum().backward()
    assert network.backbone.mask_token.grad.abs().sum() > 0
    assert "backbone.mask_token" in dict(network.named_parameters())
    network.zero_grad()
    network(IMAGES).main.square().sum().backward()
    assert network.backbone.mask_token.grad is None


def test_layer_decay_gives_each_part_its_rate():
    network = built(layer_decay=0.5)
    optimiser = build_network_optimiser(network, AdamwParameters(kind="adamw", lr=1.0, head_lr_mult=10.0))
    names = {id(tensor): name for name, tensor in network.named_parameters()}
    rates = {names[id(t)]: group["lr"] for group in optimiser.param_groups for t in group["params"]}
    blocks = len(network.backbone.model.blocks)
    assert set(rates) == set(names.values())
    for place in range(blocks):
        assert rates[f"backbone.model.blocks.{place}.attn.qkv.weight"] == 0.5 ** (blocks - place)
    first = {"mask_token", "model.reg_token", "model.pos_embed", "model.patch_embed.proj.weight"}
    assert {rates[f"backbone.{name}"] for name in first} == {0.5 ** (blocks + 1)}
    assert rates["main.classifier.weight"] == 10.0


def test_frozen_blocks_and_embeddings_are_constants():
    network = built(freeze_blocks=2, drop_path=0.5)
    trained = {name for name, tensor in network.backbone.named_parameters() if tensor.requires_grad}
    fixed = {name for name, _ in network.backbone.named_parameters()} - trained
    assert {name.split(".")[2] for name in fixed if "blocks" in name} == {"0", "1"}
    assert {name for name in fixed if "blocks" not in name} == {
        name
        for name, _ in network.backbone.named_parameters()
        if "embed" in name or "cls" in name or "reg" in name
    }
    assert not network.backbone.model.blocks[1].training
    assert network.backbone.model.blocks[2].training


def test_checkpointing_changes_no_gradient():
    plain, again = built(), built(checkpointing=True)
    for network in (plain, again):
        network(IMAGES).main.square().sum().backward()
    assert again.backbone.model.grad_checkpointing
    for (name, first), second in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert first.grad is second.grad is None or torch.equal(first.grad, second.grad), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 8}, "has patches of 16 pixels, found output_stride: 8"),
        ({"freeze_below": 16}, "has one stride: it takes no `skip` and no `freeze_below`"),
        ({"head": "aspp", "skip": True}, "has one stride: it takes no `skip`"),
        ({"freeze_blocks": 30}, "found freeze_blocks: 30"),
        ({"name": "crossvit_9_240"}, "crossvit_9_240 reads images of one size"),
    ],
)
def test_options_that_a_vit_has_not_are_refused(options, message):
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        construct(parameters(**options), 5)


@pytest.mark.parametrize("name", [TINY, DINOV3])
def test_a_saved_network_is_the_same_again(tmp_path, name):
    with seeded_weights(0):
        network = construct(parameters(name), 5).eval()
    save_network(tmp_path / "a.safetensors", network, {})
    loaded, _ = load_network(tmp_path / "a.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES).main, network(IMAGES).main)


def test_the_mask_token_comes_from_the_file_where_it_has_one(tmp_path, caplog):
    state = dict(built(seed=1).backbone.model.state_dict())
    file = tmp_path / "vit.safetensors"
    weights = {"source": str(file), "layout": "timm", "profile": "timm"}
    safetensors.torch.save_file(state, file)
    network = build_network(parameters(weights=weights), 5, 0)
    assert torch.equal(network.backbone.model.pos_embed, state["pos_embed"])
    assert not network.backbone.mask_token.any()
    assert "missing (1): backbone.mask_token" in caplog.text


def test_dinov2s_own_files_load_with_their_mask_token(tmp_path):
    """Names, registers and positions as the authors' files have them."""
    with seeded_weights(0):
        donor = construct(parameters(DINOV2), 5).backbone.model.state_dict()
    own = {
        name: value for name, value in donor.items() if name not in ("reg_token", "cls_token", "pos_embed")
    }
    own["register_tokens"], own["cls_token"] = donor["reg_token"], donor["cls_token"] - 1.0
    own["pos_embed"] = torch.cat([torch.ones_like(donor["cls_token"]), donor["pos_embed"]], dim=1)
    own["mask_token"] = torch.full((1, 384), 7.0)
    torch.save(own, tmp_path / "dinov2.pth")
    weights = {"source": str(tmp_path / "dinov2.pth"), "layout": "timm", "profile": "timm"}
    network = build_network(parameters(DINOV2, weights=weights), 5, 1)
    assert (network.backbone.mask_token == 7.0).all()
    for name, value in network.backbone.model.state_dict().items():
        torch.testing.assert_close(value, donor[name])


MEASURE = """
import resource, torch
from pipeline.networks.build import construct
from pipeline.networks.parameters import NetworkParameters
network = construct(NetworkParameters(backbone="timm/vit_small_patch14_reg4_dinov2", output_stride=14, head="vit_light"), 19)
network(torch.randn(2, 3, 224, 224)).main.square().mean().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_vit_s_14_at_224_needs_less_than_3_gb():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 3e9
