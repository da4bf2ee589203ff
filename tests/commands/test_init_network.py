"""Which network `init` chooses, and what it says of its weights."""

import pytest
from strangers import refused, run, source, target


def test_without_weights_the_network_learns_from_scratch_and_that_is_said(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path)
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert "network: small, from scratch, since no ImageNet weights can be had" in out
    assert "SEGADAPT_DATA is not set" in out and "nothing is fetched offline" in out
    assert "hardly any small one" in out
    text = (clone / "config/mine.yaml").read_text()
    assert "network: small\n" in text and "lr: 0.001, head_lr_mult: 1.0" in text


@pytest.mark.parametrize("wrong", ["images", "labels", "target"])
def test_no_network_is_looked_for_before_the_folders_are_found(clone, tmp_path, capsys, monkeypatch, wrong):
    monkeypatch.setattr("pipeline.commands.init.first_network", lambda library: pytest.fail("looked for"))
    source(tmp_path)
    target(tmp_path)
    assert run(tmp_path, **{wrong: "fotos"}) == 2
    refused(capsys, "there is no folder")


def test_weights_at_hand_are_taken_and_their_licence_is_printed(clone, tmp_path, capsys):
    cached = tmp_path / "torch/hub/checkpoints/mobilenet_v2-b0353104.pth"
    cached.parent.mkdir(parents=True)
    cached.touch()
    source(tmp_path)
    target(tmp_path)
    assert run(tmp_path) == 0
    assert f"mobilenet-v2-torchvision, weights {cached} (licence: BSD-3-Clause)" in capsys.readouterr().out
    text = (clone / "config/mine.yaml").read_text()
    assert "network: mobilenet-v2-torchvision\n" in text and "lr: 0.0002, head_lr_mult: 5.0" in text


def test_a_licence_of_its_own_is_printed_before_anything_is_fetched(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path)
    assert run(tmp_path, "--network", "dinov3-vits16") == 0
    assert "network: dinov3-vits16, weights timm (licence: dinov3-license)" in capsys.readouterr().out
