"""Why a stage would run though one like it has finished: what differs between their keys, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.plan.finished import Finished
from pipeline.plan.former import as_now
from pipeline.plan.stage import Stage


def change(stage: Stage, finished: Finished) -> str | None:
    """What differs from the finished artifact of the same word, task and seed that is most like the stage.

    None where there is none, or where it differs in what it was made from alone.
    """
    record = stage.record
    found = [
        tuple(_differences(record.hashed, as_now(other, record.hashed)))
        for other in finished.of_label(record.rule, record.label)
    ]
    words = min(found, key=len, default=())
    return "; ".join(words) or None


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    if now["version"] != before["version"]:
        yield f"version changed: {before['version']} to {now['version']}"
    if now.get("data") != before.get("data"):
        yield "data changed"
    for word in ("taxonomy", "parameters"):
        new, old = now.get(word, {}), before.get(word, {})
        if names := sorted(key for key in new.keys() | old.keys() if new.get(key) != old.get(key)):
            yield f"{word} changed: {', '.join(names)}"
