"""What people type before a verb."""

import sys
from pathlib import Path

SCRIPT = "segadapt"


def program() -> str:
    """`segadapt` where this process was started by it, else `python -m pipeline`."""
    return SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m pipeline"
