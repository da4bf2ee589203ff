"""`export`: a finished model as one ONNX or torch.export file, compared with `predict` before it is left there.

python -m pipeline export --model results/experiments/demo/seed0/model --format onnx --images PHOTOS
python -m pipeline export --model MODEL --format torch-export --images PHOTOS --out model.pt2 --probabilities
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, get_args

from pipeline.artifacts.errors import ConfigError, DataError, SegadaptError
from pipeline.artifacts.files import check_writable, write_bytes
from pipeline.datasets.decoding import read_image
from pipeline.datasets.walking import find_all_pictures
from pipeline.networks.records import read_record
from pipeline.numerics.spacing import evenly_spaced
from pipeline.stages.parameters import TestMode

if TYPE_CHECKING:
    from pipeline.inference.prediction import Model

ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2"}
EXPORTABLE = "plain"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="a model folder")
    parser.add_argument("--format", choices=ENDINGS, required=True, help="kind of file")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="pictures on which the file must agree with `predict`; 20 of them are taken",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file (default: model.onnx or model.pt2, here)"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="the graph also gives every class's probability"
    )
    parser.add_argument(
        "--test-mode",
        choices=get_args(TestMode),
        help="how ids are made (default: as for the report's figures); `predict` and graphs are plain",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Export, compare, write; exit code 0, or 1 when the two do not agree and nothing is written."""
    ending = ENDINGS[arguments.format]
    out = arguments.out or Path(f"model{ending}")
    if out.suffix != ending:
        raise ConfigError(f"--out {out}: a file of format {arguments.format} ends in {ending}")
    check_writable([out.parent])
    pictures = find_all_pictures(arguments.images).paths() if arguments.images.is_dir() else []
    if not pictures:
        raise ConfigError(
            f"--images {arguments.images} holds no picture to compare on; name a folder of some"
        )
    from pipeline.inference.export import export_model
    from pipeline.inference.parity import LEAST, PICTURES, agreement
    from pipeline.inference.prediction import WEIGHTS, load_model

    model = load_model(arguments.model, "cpu")
    check_test_mode(model, arguments)
    record = read_record(arguments.model / WEIGHTS)
    exported = export_model(model, record, arguments.format, arguments.probabilities)
    chosen = _readable([arguments.images / name for name in pictures], PICTURES)
    found = agreement(model, exported.model(model), exported.run, chosen)
    width, height = model.working_size
    sizes = "any size" if exported.one_size is None else f"{width}x{height} only ({exported.one_size})"
    print(f"input: uint8 RGB, NHWC, any batch, {sizes}")
    for what, share in found.shares().items():
        print(f"{100 * share:.3f} % of the ids equal: {what}, {len(chosen)} pictures")
    print(f"{median(found.times):.2f} of the model folder's processor time for a batch of two, on the CPU")
    if not found.holds():
        raise SegadaptError(
            f"the exported model agrees with `predict` on less than {100 * LEAST} % of the pixels, so {out} is not "
            "written; use the model folder, and report the network and the figures above"
        )
    write_bytes(out, exported.data)
    print(f"written: {out.resolve()} ({len(exported.data) / 1e6:.1f} MB)")
    return 0


def _readable(pictures: list[Path], count: int) -> list[Path]:
    """Up to `count` pictures, evenly spaced and others for those that cannot be read, which are named.

    DataError: none can be read.
    """
    chosen = evenly_spaced(pictures, count)
    taken = {*chosen}
    found: list[Path] = []
    for path in [*chosen, *(other for other in pictures if other not in taken)]:
        if len(found) == len(chosen):
            break
        try:
            read_image(path)
        except DataError as error:
            print(f"passed over: {error}", file=sys.stderr)
        else:
            found.append(path)
    if not found:
        raise DataError(f"--images: none of the {len(pictures)} pictures can be read; name a folder of some")
    return found


def check_test_mode(model: "Model", arguments: argparse.Namespace) -> None:
    """ConfigError for a test mode that no graph has; the one of the report's figures counts unless another is given."""
    noted = (model.meta.get("scoring") or {}).get("test_mode", EXPORTABLE)
    mode = arguments.test_mode or noted
    if mode != EXPORTABLE:
        raise ConfigError(
            f"test mode {mode} cannot be exported; give `--test-mode {EXPORTABLE}` for ids as `predict` makes them"
            + (
                ""
                if arguments.test_mode
                else " (the report's figures, made with the other mode, are not theirs)"
            )
        )
