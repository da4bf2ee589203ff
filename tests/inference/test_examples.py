"""What is kept of single images beside a pass's own result."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.artifacts.errors import ArtifactError, Interrupted
from pipeline.artifacts.folder import ArtifactFolder
from pipeline.inference.example_measure import WithExamples
from pipeline.inference.examples import COUNT, LONGEST, example_positions, kept_size
from pipeline.inference.measures import ConfusionMeasure
from pipeline.inference.passes import PassSettings, run_pass
from pipeline.inference.test_modes import Plain, logits_at
from pipeline.numerics.confusion import image_figures, iou_table
from pipeline.numerics.entropy import entropy_map
from pipeline.stages.examples import image_table, stored_examples, write_examples


@pytest.fixture
def settings(tmp_path):
    return PassSettings(state=tmp_path / "state", batch=3, chunks=2)


@pytest.fixture
def images(make_pictures):
    return make_pictures(3) + make_pictures(4, (16, 20))


@pytest.fixture
def labels():
    """Of other sizes than the images, mixed within a batch; the last is ignored throughout."""
    draws = np.random.default_rng(7)
    sizes = [(48, 64), (24, 32), (48, 64), (16, 20), (32, 40), (16, 20)]
    return [draws.choice([0, 1, 3, 255], size).astype(np.uint8) for size in sizes] + [
        np.full((8, 10), 255, np.uint8)
    ]


def test_each_image_has_the_figures_of_its_own_matrix(network, images, labels, settings, tmp_path):
    whole = run_pass(ConfusionMeasure(labels, 4), network, Plain(), images, settings)
    miou, accuracy = image_figures(whole.images.numpy())
    for position, image in enumerate(images):
        state = replace(settings, state=tmp_path / str(position))
        alone = run_pass(ConfusionMeasure(labels[position:], 4), network, Plain(), [image], state)
        table = iou_table(alone.matrix)
        assert [miou[position], accuracy[position]] == pytest.approx(
            [table.miou_present, table.pixel_accuracy], nan_ok=True
        )
    assert np.isnan(miou[-1]) and np.isnan(accuracy[-1])


def test_the_maps_and_entropies_are_what_the_network_says(network, images, labels, settings):
    measure = WithExamples(ConfusionMeasure(labels, 4), len(images))
    counted, answers = run_pass(measure, network, Plain(), images, settings)
    alone = replace(settings, state=settings.state / "alone")
    plain = run_pass(ConfusionMeasure(labels, 4), network, Plain(), images, alone)
    assert torch.equal(counted.matrix, plain.matrix) and torch.equal(counted.images, plain.images)
    assert list(answers.examples) == list(range(7))
    for position, (image, label) in enumerate(zip(images, labels, strict=True)):
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        with torch.inference_mode():
            logits = logits_at(Plain(), network, pixels, label.shape)
        entropy = entropy_map(logits)[0]
        one = answers.examples[position]
        assert np.array_equal(one.classes, logits.argmax(1)[0].numpy())
        # Convolutions of a batch round differently.
        assert np.abs(one.entropy - (entropy * 255).numpy()).max() < 0.51
        assert answers.entropy[position] == pytest.approx(float(entropy.double().mean()), rel=1e-6)


def test_a_stop_changes_nothing(network, images, labels, settings, tmp_path):
    asked = iter(range(2))
    stopping = replace(settings, stop=lambda: None if next(asked, None) is not None else "time is up")
    measure = WithExamples(ConfusionMeasure(labels, 4), len(images))
    with pytest.raises(Interrupted):
        run_pass(measure, network, Plain(), images, stopping)
    _, resumed = run_pass(measure, network, Plain(), images, settings)
    _, whole = run_pass(measure, network, Plain(), images, replace(settings, state=tmp_path / "other"))
    assert np.array_equal(resumed.entropy, whole.entropy)
    for position, one in whole.examples.items():
        assert np.array_equal(one.classes, resumed.examples[position].classes)


def test_the_choice_is_bounded_even_and_depends_on_the_number_alone():
    assert example_positions(3) == [0, 1, 2]
    positions = example_positions(500)
    assert len(positions) == COUNT == len(set(positions))
    assert positions[0] == 500 - 1 - positions[-1] and positions == sorted(positions)


@pytest.mark.parametrize(
    ("size", "kept"), [((24, 32), (24, 32)), ((1024, 2048), (240, LONGEST)), ((2000, 1), (LONGEST, 1))]
)
def test_maps_are_kept_as_large_as_they_are_shown(size, kept):
    assert kept_size(size) == kept


def test_written_and_read_again(network, images, labels, settings, tmp_path):
    names = ["001", "NA", "a,b", "null", "x", "y", "z"]
    _, answers = run_pass(
        WithExamples(ConfusionMeasure(labels, 4), len(images)), network, Plain(), images, settings
    )
    folder = ArtifactFolder(tmp_path / "artifact")
    scores = {"miou": [12.5, None, 0.0, 1.0, 2.0, 3.0, None], "pixel_accuracy": [1.0] * 7}
    write_examples(folder, names, answers, scores)
    table = image_table(folder)
    assert table["image"].tolist() == names == list(stored_examples(folder))
    assert table["miou"].isna().tolist() == [False, True, False, False, False, False, True]
    assert np.allclose(table["entropy"], answers.entropy, atol=1e-6)
    for name, one in zip(names, answers.examples.values(), strict=True):
        assert np.array_equal(stored_examples(folder)[name].classes, one.classes)
    before = (folder.path / "examples.npz").read_bytes()
    write_examples(folder, names, answers, scores)
    assert (folder.path / "examples.npz").read_bytes() == before
    (folder.path / "examples.npz").write_bytes(before[:-40])
    with pytest.raises(ArtifactError, match=r"examples\.npz.*clean artifact"):
        stored_examples(folder)
