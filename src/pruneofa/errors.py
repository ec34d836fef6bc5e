"""The package's exceptions: each also is the built-in that a caller would catch.

A message names the field, the value, what is allowed and the remedy.
"""


class PruneofaError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(PruneofaError, ValueError):
    """A setting (recipe key, flag, argument) is unknown, out of range, or contradicts another."""


class DataError(PruneofaError, ValueError):
    """Input data is missing, empty, or not in the form that was announced."""


class CheckpointError(PruneofaError, ValueError):
    """A file or folder that holds a model is missing, damaged, or not what it says it is."""


class EngineError(PruneofaError, RuntimeError):
    """The compiled part is missing or cannot be loaded on this machine, or does not run what it was asked to."""


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or its type where it says nothing: for a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
