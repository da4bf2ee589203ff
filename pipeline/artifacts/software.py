"""Versions of the software whose change may change bits."""

import platform
from importlib import metadata

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "safetensors", "scipy")


def versions(*more: str) -> dict[str, str]:
    """Versions by name of Python, of `PACKAGES` and of the installed packages `more`; imports none of them."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in (*PACKAGES, *more)
    }
