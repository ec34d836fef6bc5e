"""Which kernels the engine's compiled part offers here."""

import os

from pruneofa.errors import ConfigurationError
from pruneofa.native import native_module

__all__ = ["KERNEL_VARIABLE", "active_kernel", "has_bfloat16", "kernel_names"]

KERNEL_VARIABLE = "PRUNEOFA_KERNEL"
"""Environment variable that chooses the kernels by name."""


def kernel_names(*, supported: bool = True) -> list[str]:
    """Names of the kernel sets, best first: those that this machine supports, or all that were built."""
    return list(native_module().kernel_names(supported))


def active_kernel(name: str | None = None) -> str:
    """The kernel set that an engine uses: `name`, else what PRUNEOFA_KERNEL says, else the best this machine supports.

    Raises:
        ConfigurationError: The name is unknown, or this machine does not support it.
    """
    wanted = os.environ.get(KERNEL_VARIABLE, "") if name is None else name
    try:
        return str(native_module().select_kernel(wanted))
    except ValueError as error:
        source = f"{KERNEL_VARIABLE}: " if name is None else ""
        raise ConfigurationError(f"{source}{error}") from None


def has_bfloat16(kernel: str) -> bool:
    """Whether the kernel set `kernel` computes float layers in bfloat16."""
    return bool(native_module().kernel_has_bfloat16(kernel))
