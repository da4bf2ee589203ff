"""What jobs tell the `start` that waits for them: lines of JSON at the end of the file that `$SEGADAPT_EVENTS` names.

    tell(key, "progress", done=120, total=600, unit="steps")

Without that variable nobody listens, and nothing is written. A job never fails because it cannot tell.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "SEGADAPT_EVENTS"


def tell(key: str, event: str, **facts: Any) -> None:
    """Add one event of the job `key`: `begin`, `progress`, `say` or `end`."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - one short append
        file.write(json.dumps({"key": key, "event": event, **facts}) + "\n")


class EventFile:
    """The events of one run, read as they come; made anew, and its name put into the environment of what is started."""

    def __init__(self, path: Path) -> None:
        path.write_text("", encoding="utf-8")
        os.environ[VARIABLE] = str(path.absolute())
        self._file = path.open(encoding="utf-8", errors="replace")
        self._rest = ""

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the events since the last call; a line that is being written waits for its end."""
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            with contextlib.suppress(ValueError):  # a job was killed while it wrote
                yield json.loads(line)

    def close(self) -> None:
        """Stop listening."""
        os.environ.pop(VARIABLE, None)
        self._file.close()
