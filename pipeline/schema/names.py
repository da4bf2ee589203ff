"""Which of the valid names was meant."""

import difflib
from collections.abc import Iterable


def similar(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that looks most like `name`, or None where none does."""
    return next(iter(difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)), None)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Say which valid name was probably meant, and list the valid ones."""
    names = sorted(valid)
    close = similar(name, names)
    hint = f"did you mean `{close}`? " if close else ""
    return f"{hint}valid: {', '.join(names) if names else 'none'}"
