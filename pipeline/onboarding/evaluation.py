"""Which labelled images of the target's kind are kept for figures: some of the target's, or a folder of their own."""

from pipeline.artifacts.errors import DataError
from pipeline.datasets.patterns import captured_name
from pipeline.datasets.walking import find_files
from pipeline.onboarding.label_reading import Naming, read_target_labels
from pipeline.onboarding.pairing import match, pair_up
from pipeline.onboarding.picture_folders import Pairs, Pictures
from pipeline.onboarding.scaffold import Evaluation, Labels

HELD_OUT = 5
"""Where every target image has a label, the last fifth by name is kept for figures."""


def some_of_the_target(target: Pictures, found: Pictures, source: Labels, naming: Naming) -> Evaluation:
    """The target images with a label, or the last fifth when all have one; DataError for labels of no image."""
    matched = match(target, found, "--target-labels")
    if matched.unpaired_labels:
        raise DataError(
            f"--target-labels: {len(matched.unpaired_labels)} labels belong to no target image (first: "
            f"{matched.unpaired_labels[0]}); move them away"
        )
    labels = read_target_labels(matched.pairs, source, naming)
    names = _names(matched.pairs)
    labelled = sorted(names[image] for image, _ in matched.pairs.files)
    unlabelled = sorted(names[image] for image in matched.unpaired_images if image in names)
    if not unlabelled:
        cut = max(1, len(labelled) - max(1, len(labelled) // HELD_OUT))
        unlabelled, labelled = labelled[:cut], labelled[cut:]
    if not labelled:
        raise DataError("--target-labels: one image cannot both be trained on and scored; give more images")
    return Evaluation(matched.pairs, labels, tuple(unlabelled), tuple(labelled))


def held_out(
    images: Pictures, labels: Pictures, target: Pictures, source: Labels, naming: Naming
) -> Evaluation:
    """All images of a folder of their own; DataError for one without a label, or that is a target image too."""
    pairs = pair_up(images, labels, "--heldout-labels")
    trained = {path.resolve() for path in target.paths()}
    common = [path for path in images.paths() if path.resolve() in trained]
    if common:
        raise DataError(
            f"--heldout-images: {len(common)} of these images are target images too (first: {common[0]}); give the "
            "target as a pattern that leaves them out, or move them"
        )
    values = read_target_labels(pairs, source, naming)
    return Evaluation(pairs, values, (), tuple(sorted(_names(pairs).values())))


def _names(pairs: Pairs) -> dict[str, str]:
    """The name of every image by its path below the root."""
    return {path: captured_name(captures) for path, captures in find_files(pairs.root, pairs.images).files}
