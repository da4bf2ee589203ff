"""Which label belongs to which image: by their names, never by their order; doubt is a DataError that says what to give."""

from itertools import combinations

from pipeline.artifacts.errors import DataError
from pipeline.onboarding.file_kinds import describe_kinds, groupings, is_told_apart, quoted
from pipeline.onboarding.name_matching import Matched, match_names
from pipeline.onboarding.picture_folders import SHOWN, Pairs, Pictures


def pair_up(images: Pictures, labels: Pictures, option: str) -> Pairs:
    """Find which label belongs to which image by their names; DataError when any has no partner."""
    matched = match(images, labels, option)
    unpaired = [*matched.unpaired_images[:SHOWN], *matched.unpaired_labels[:SHOWN]]
    if not unpaired:
        return matched.pairs
    kinds = describe_kinds(images, labels, option, every_image=True)
    used = {label for _, label in matched.pairs.files}
    both = sum(image in used for image in matched.unpaired_images)
    raise DataError(
        f"{len(matched.unpaired_images)} images have no label and {len(matched.unpaired_labels)} labels no image, "
        f"below {matched.pairs.root}:\n"
        + "\n".join(f"  {name}" for name in unpaired)
        + f"\n{both} of these images are the labels themselves" * bool(both)
        + (
            kinds
            or "\nAdd what is missing, move the others away, or give a pattern that matches the pairs only"
        )
    )


def match(images: Pictures, labels: Pictures, option: str) -> Matched:
    """Match images and labels by their names; DataError when not one label belongs to an image."""
    matched = match_names(images, labels)
    if not matched.pairs.files:
        raise DataError(
            f"no label belongs to an image by its name. Images look like {images.files[0]} (below {images.root}), "
            f"labels like {labels.files[0]} (below {labels.root})."
            + (
                describe_kinds(images, labels, option, every_image=False)
                or " Names must agree up to constant text before and after (7_photo.jpg, 7_ids.png), and subfolders up to "
                "constant ones (town1/rgb, town1/ids); rename one side"
            )
        )
    same = [image for image, label in matched.pairs.files if image == label]
    if same:
        raise DataError(
            f"{option}: {len(same)} files are images and labels at once, such as {same[0]} (below "
            f"{matched.pairs.root}); {_how_to_part(labels)}"
        )
    return matched


def _how_to_part(pictures: Pictures) -> str:
    """Two patterns within the pictures that do pair, or what to do where there are none."""
    for kinds in groupings(pictures):
        for one, other in combinations(filter(is_told_apart, kinds), 2):
            if match_names(one, other).pairs.files:
                return f"give each side as a pattern, such as {quoted(one)} and {quoted(other)}"
    return "move the labels to a folder of their own"
