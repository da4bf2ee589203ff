"""The base class of everything that is read from a file: YAML, stage records, networks' metadata."""

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.schema.old_keys import with_hashed_names, with_present_keys


class Strict(BaseModel):
    """Frozen, and without unknown keys but those of former versions (`old_keys`).

    A key with an alias may be given by either name in Python.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _read_old_keys(cls, values: Any) -> Any:
        return with_present_keys([base.__name__ for base in cls.__mro__], values)

    @model_serializer(mode="wrap")
    def _write_hashed_names(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return with_hashed_names([base.__name__ for base in type(self).__mro__], handler(self))
