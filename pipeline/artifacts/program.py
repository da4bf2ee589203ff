"""What people type before a verb, for every message that shows them a command."""

import os
import sys
from pathlib import Path

SCRIPT, MODULE = "segadapt", "python -m pipeline"
PROGRAM = "SEGADAPT_PROGRAM"
"""Environment variable by which a run's stages know what its person typed."""


def program() -> str:
    """`segadapt` where this process, or the run that it is a stage of, was started by it; else `python -m pipeline`."""
    called = SCRIPT if Path(sys.argv[0]).name == SCRIPT else MODULE
    return os.environ.get(PROGRAM, called)
