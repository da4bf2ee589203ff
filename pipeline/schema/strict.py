"""The base class of everything that is read from a file: YAML, stage records, networks' metadata."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, and without unknown keys; a key with an alias may be given by either name in Python."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
