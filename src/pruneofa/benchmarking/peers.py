"""The runtimes that the engine is compared with, and what they need."""

import importlib.util
from collections.abc import Sequence

from pruneofa.errors import ConfigurationError

__all__ = ["PEERS", "missing_packages", "require_peers"]

PEERS: dict[str, tuple[tuple[str, ...], str]] = {
    "onnxruntime": (("onnx", "onnxscript", "onnxruntime"), "pip install 'pruneofa[train,export]'"),
    "openvino": (("onnx", "onnxscript", "openvino"), "pip install 'pruneofa[train,export,bench]'"),
    "torch": (("torch", "transformers"), "pip install 'pruneofa[train]'"),
}
"""Name of a peer -> packages that it needs, with those that write its model, and the command that installs them."""


def missing_packages(peer: str) -> list[str]:
    """Packages that a peer needs and that are not installed."""
    return [package for package in PEERS[peer][0] if importlib.util.find_spec(package) is None]


def require_peers(peers: Sequence[str]) -> None:
    """See that what the peers need is installed.

    Raises:
        ConfigurationError: A package is missing.
    """
    for peer in peers:
        if missing := missing_packages(peer):
            raise ConfigurationError(
                f"peer {peer!r}: the package {missing[0]!r} is not installed; install it with {PEERS[peer][1]}, or "
                "leave this peer out"
            )
