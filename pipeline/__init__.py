"""segadapt: segmentation models that were trained on synthetic images made to work on real ones.

    from pipeline import load_model
    model = load_model("results/experiments/demo/seed0/model")
    ids = model.predict("photo.jpg")  # uint8 (H, W)

Nothing heavy is imported here, so that planning and the command line's help stay fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.inference.prediction import load_model

__all__ = ["__version__", "load_model"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import torch when `load_model` is first asked for."""
    if name == "load_model":
        from pipeline.inference.prediction import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
