"""Planning stays quick because it imports nothing heavy."""

import subprocess
import sys

from shop import SHIPPED

HEAVY = ("torch", "torchvision", "pandas", "scipy", "matplotlib", "snakemake", "safetensors")
PROGRAM = """
import sys
from pipeline.__main__ import main
assert main(["plan"]) == 0
import pipeline.plan.workflow
print("imported:", *(name for name in {heavy} if name in sys.modules))
"""


def test_planning_imports_no_torch_and_nothing_else_that_is_heavy(shop):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY)],
        cwd=shop.root.parent,
        env={"PYTHONPATH": str(SHIPPED.parent), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"
