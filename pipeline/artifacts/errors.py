"""The errors that are meant for the user: printed as their message, without a traceback."""

from typing import ClassVar


class SegadaptError(Exception):
    """Something the user can fix; the message names what was found, what is needed and what to do."""

    repeats: ClassVar[bool] = True
    """Whether a stage that ends with it would end so again; `failed.json` then keeps it until its cause is gone."""


class ConfigError(SegadaptError):
    """A configuration file, key or value is wrong."""


class WeightsError(ConfigError):
    """A file of initial weights is missing, another than declared, or cannot be fetched: the next time it may be there."""

    repeats = False


class DataError(SegadaptError):
    """An image, a label or a dataset folder is wrong."""


class ArtifactError(SegadaptError):
    """A finished artifact is missing, damaged or altered."""

    repeats = False


class StateError(SegadaptError):
    """A training state is damaged or belongs to another stage, other data or other software."""

    repeats = False


class WorkerError(SegadaptError):
    """A helper process died or hung: nobody's mistake, and the same command may well pass when given again."""

    repeats = False


class Interrupted(Exception):  # noqa: N818 - an order to stop, not a mistake
    """The stage was asked to stop, has saved its state and ends with exit code 75 (EX_TEMPFAIL)."""

    EXIT_CODE = 75
