"""Compiling functions of tensors where a training asks for it (`compile: true`); elsewhere no compiler is imported."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
_wanted = False


def compilable(function: Callable[P, R]) -> Callable[P, R]:
    """Let calls inside `compiling(True)` run the function compiled; elsewhere it is as written."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        chosen: Callable[P, R] = compiled(function) if _wanted else function
        return chosen(*args, **kwargs)

    return call


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for fixed shapes, once per process."""
    return torch.compile(function, dynamic=False)


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Inside the context, run compilable functions compiled, or not."""
    global _wanted
    before, _wanted = _wanted, wanted
    try:
        yield
    finally:
        _wanted = before
