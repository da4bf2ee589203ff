"""The calls between the command and the gradient: few, so that a reader can follow them."""

import shutil
import sys
from pathlib import Path

import torch

import pipeline
from pipeline.__main__ import main

CHAIN = [
    "commands.run.execute",
    "report.publishing.run_file",
    "stages.runner.run_stage",
    "stages.train.compute",
    "training.loop.Training.run",
    "training.loop.Training._step",
    "training.step.StepRunner.run",
]
"""From `python -m pipeline run` down to `torch.autograd.grad`, the eighth; `docs/architecture.md` draws it."""


def calls_of_the_package():
    """The functions of the package on the stack, the outermost first."""
    root, found, frame = Path(pipeline.__file__).parent, [], sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(root):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            found.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return found[::-1]


def test_the_way_from_the_command_to_backward(chain, monkeypatch):
    source = chain.plan().stages["source"]
    shutil.rmtree(chain.artifact(source).path)
    ways, grad = [], torch.autograd.grad

    def look(*arguments, **options):
        ways.append(calls_of_the_package())
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", look)
    assert main(["run", str(chain.stage_file(source))]) == 0
    assert ways == [["__main__.main", *CHAIN]] * 4  # one for each step
