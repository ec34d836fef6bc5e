"""The package's compiled part: the engine, and the decoders of compressed files."""

from importlib import import_module
from types import ModuleType

from pruneofa.errors import EngineError

__all__ = ["native_module"]


def native_module() -> ModuleType:
    """The extension module.

    Raises:
        EngineError: It is not there, or was built for another Python.
    """
    try:
        return import_module("pruneofa._native")
    except ImportError as error:
        raise EngineError(
            f"pruneofa's compiled part cannot be loaded ({error}); install pruneofa on a machine with a C++20 "
            "compiler (g++ 11 or newer, or clang 14): pip install --force-reinstall --no-deps pruneofa"
        ) from None
