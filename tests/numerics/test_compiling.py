"""Compilable functions are compiled inside the context only."""

import pytest
import torch

from pipeline.numerics.compiling import compilable, compiled, compiling


@pytest.fixture
def handed_over(monkeypatch):
    """Names of the functions that were handed to torch's compiler, which is kept from working."""
    names = []

    def compile_(function, **options):
        names.append((function.__name__, options))
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    compiled.cache_clear()
    yield names
    compiled.cache_clear()


def test_only_inside_the_context_and_once(handed_over):
    @compilable
    def double(x):
        """Twice."""
        return 2 * x

    assert double(2) == 4 and handed_over == []
    with compiling(True):
        assert [double(1), double(x=3)] == [2, 6]
        with compiling(False):
            assert double(5) == 10
    assert double(4) == 8
    assert handed_over == [("double", {"dynamic": False})]
    assert double.__doc__ == "Twice."


def test_an_error_ends_the_context(handed_over):
    @compilable
    def same(x):
        return x

    with pytest.raises(KeyError), compiling(True):
        raise KeyError
    same(1)
    assert handed_over == []
