"""The pruner's state as a safetensors file: one bit a weight for the masks, and the values under them."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pruneofa.errors import CheckpointError
from pruneofa.sparsity.pruner import Pruner

_FORMAT = "pruneofa-pruner-1"
_TENSORS = ("masks", "hidden", "fisher", "power")
"""Entries of the state that hold tensors by module; the last two only where the saliency gathers them."""


def save_pruner(pruner: Pruner, path: Path, *, write: bool = True) -> None:
    """Write `pruner.state_dict()`.

    Args:
        pruner: whose state.
        path: the file.
        write: False on all ranks but the first, which must call this too where weights are split over them.
    """
    state = pruner.state_dict()
    if not write:
        return
    kinds = [kind for kind in _TENSORS if kind in state]
    tensors = {f"{kind}:{name}": tensor for kind in kinds for name, tensor in state[kind].items()}
    scalars = {key: value for key, value in state.items() if key not in kinds}
    order = {kind: list(state[kind]) for kind in kinds}
    save_file(tensors, path, metadata={"format": _FORMAT, "scalars": json.dumps(scalars), "order": json.dumps(order)})


def load_pruner(pruner: Pruner, path: Path) -> None:
    """Continue `pruner` from a file of `save_pruner`.

    Raises:
        CheckpointError: the file is missing, damaged, or of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise CheckpointError(f"{path}: format is {metadata.get('format')!r}; allowed: {_FORMAT!r}")
            state: dict[str, Any] = json.loads(metadata["scalars"])
            for kind, names in json.loads(metadata["order"]).items():
                state[kind] = {name: file.get_tensor(f"{kind}:{name}") for name in names}
    except CheckpointError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: no readable pruner state ({error}); resume from an earlier checkpoint"
        ) from error
    pruner.load_state_dict(state)
