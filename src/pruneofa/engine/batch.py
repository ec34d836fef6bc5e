"""From padded arrays to sequences without padding, and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pruneofa.errors import DataError

__all__ = ["RaggedBatch", "ragged_batch"]

_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class RaggedBatch:
    """Tokens that the attention mask shows, one sequence after the other.

    Attributes:
        ids, types, positions, order: int32 [N]; `types` may be None. `order` is the place in the padded row.
        offsets: int64 [B + 1], where each sequence starts and ends.
        visible: bool [B, T], the mask.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int32] | None
    positions: NDArray[np.int32]
    order: NDArray[np.int32]
    offsets: NDArray[np.int64]
    visible: NDArray[np.bool_]

    def padded(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, C] -> [B, T, C], with zeros where the mask hides a token."""
        result = np.zeros((*self.visible.shape, rows.shape[1]), dtype=np.float32)
        result[self.visible] = rows
        return result


def ragged_batch(
    input_ids: ArrayLike,
    attention_mask: ArrayLike | None,
    token_type_ids: ArrayLike | None,
    *,
    padding_id: int | None,
) -> RaggedBatch:
    """Check the arrays of a batch and take the padding out.

    Args:
        input_ids: Integers [B, T].
        attention_mask: [B, T] of 0 and 1; None: every token counts.
        token_type_ids: Integers [B, T], or None.
        padding_id: For models that number positions by tokens that are not padding, the id of padding; else None.

    Raises:
        DataError: A wrong shape or type, a value that no token has, or a sequence without a token.
    """
    ids = _integers(input_ids, "input_ids", None)
    mask = np.ones_like(ids) if attention_mask is None else _integers(attention_mask, "attention_mask", ids.shape)
    if not np.isin(mask, (0, 1)).all():
        raise DataError("attention_mask holds a value other than 0 and 1; write 1 for tokens and 0 for padding")
    visible = mask == 1
    counts = visible.sum(axis=1)
    if not counts.all():
        row = int(np.flatnonzero(counts == 0)[0])
        raise DataError(f"attention_mask hides every token of sequence {row}; leave the sequence out")
    types = None if token_type_ids is None else _integers(token_type_ids, "token_type_ids", ids.shape)
    order = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    if padding_id is None:
        positions = order
    else:
        real = ids != padding_id
        positions = (np.cumsum(real, axis=1) * real + padding_id).astype(np.int32)
    offsets = np.zeros(ids.shape[0] + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return RaggedBatch(
        ids=ids[visible],
        types=None if types is None else types[visible],
        positions=positions[visible],
        order=order[visible],
        offsets=offsets,
        visible=visible,
    )


def _integers(value: ArrayLike, name: str, shape: tuple[int, ...] | None) -> NDArray[np.int32]:
    try:
        array: NDArray[Any] = np.asarray(value)
    except ValueError:
        raise DataError(f"{name} has rows of different lengths; pad them and pass an attention_mask") from None
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} has the type {array.dtype}, whole numbers are needed")
    if array.ndim != 2:
        raise DataError(f"{name} has the shape {list(array.shape)}, [sequences, tokens] is needed")
    if shape is not None and array.shape != shape:
        raise DataError(f"{name} has the shape {list(array.shape)}, input_ids {list(shape)}; they must be the same")
    if array.size and (int(array.min()) < 0 or int(array.max()) > _LARGEST):
        raise DataError(f"{name} holds {int(array.min())} to {int(array.max())}, allowed is 0 to {_LARGEST}")
    return array.astype(np.int32)
