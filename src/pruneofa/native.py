"""The package's compiled part: the engine, and fast decoders of compressed files."""

from functools import cache
from importlib import import_module
from types import ModuleType

from pruneofa.errors import EngineError

__all__ = ["native_if_built", "native_module"]


def native_module() -> ModuleType:
    """The extension module.

    Raises:
        EngineError: It is not there, or was built for another Python.
    """
    try:
        return import_module("pruneofa._native")
    except ImportError as error:
        raise EngineError(
            f"the engine's compiled part cannot be loaded ({error}); install pruneofa on a machine with a C++20 "
            "compiler (g++ 11 or newer, or clang 14): pip install --force-reinstall --no-deps pruneofa"
        ) from None


@cache
def native_if_built() -> ModuleType | None:
    """The extension module, or None where it is not there: for what can do without it."""
    try:
        return native_module()
    except EngineError:
        return None
