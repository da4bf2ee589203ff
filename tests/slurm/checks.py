"""Counting what held."""

import time


class Checks:
    """Counts and prints what held and what did not."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"{time.monotonic() - self._started:6.0f} s  {text}", flush=True)

    def check(self, what: str, holds: bool, seen: object = "") -> None:
        """Count one check; `seen` is what was found."""
        self.passed += holds
        self.failed += not holds
        self.say(f"{'passed' if holds else 'FAILED'}: {what}" + (f" ({seen})" if seen != "" else ""))
