"""What a training state belongs to, and what its bits were computed on."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from pipeline.artifacts.software import versions

CHANGEABLE = ("software", "device", "gpus", "threads")


@dataclass(frozen=True)
class Fingerprint:
    """What a state belongs to (stage key, digest of the data) and what its bits were computed on.

    `software` maps a package to its version, `device` names the kind of device, `threads` are CPU threads.
    """

    stage: str
    data: str
    software: dict[str, str]
    device: str
    gpus: int
    threads: int

    def differences(self, found: dict[str, Any]) -> dict[str, str]:
        """Each field in which a saved fingerprint differs from this one, with a line that shows how."""
        now = asdict(self)
        return {
            name: f"{name}: the state has {_shown(found.get(name), now[name])}, "
            f"this run has {_shown(now[name], found.get(name))}"
            for name in now
            if found.get(name) != now[name]
        }


def software_versions() -> dict[str, str]:
    """The versions that decide the bits of a training: Python, torch with its CUDA and cuDNN, NumPy."""
    found = versions()
    cudnn = torch.backends.cudnn.version() if torch.version.cuda else None
    return {
        "python": found["python"],
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "cudnn": str(cudnn or "none"),
        "numpy": found["numpy"],
    }


def _shown(value: Any, other: Any) -> str:
    """The value as text; of tables only the entries in which the two differ."""
    if not isinstance(value, dict) or not isinstance(other, dict):
        return str(value)
    return ", ".join(f"{key} {entry}" for key, entry in value.items() if other.get(key) != entry) or "less"
