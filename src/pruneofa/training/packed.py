"""What a model needs to take packed batches: attention that keeps the sequences of a row apart."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pruneofa.architectures.positions import position_offset
from pruneofa.data.batches.unpadded import PackingCollator
from pruneofa.distillation.config import DistillationConfig
from pruneofa.errors import ConfigurationError

logger = logging.getLogger(__name__)

ATTENTION = "pruneofa_packed"
"""Name under which transformers finds `packed_attention`."""


@contextmanager
def packing(models: Iterable[Any], pad_token_id: int, longest: int) -> Iterator[PackingCollator]:
    """Within the block models take packed batches; what makes such batches for them.

    A model that takes its attention from transformers' interface gets `packed_attention`, and batches of one row. One
    that computes attention itself (MPNet) gets rows of `longest` tokens and a mask for every pair of tokens.

    Args:
        models: student and teacher.
        pad_token_id: of the tokenizer.
        longest: tokens of the longest example.

    Raises:
        ConfigurationError: the models count positions differently.
    """
    models = list(models)
    offsets = {position_offset(model) for model in models}
    if len(offsets) > 1:
        raise ConfigurationError(
            f"batching is 'packed', but student and teacher count positions from {' and '.join(map(str, offsets))}; "
            "set it to 'bucketed'"
        )
    if not all(getattr(model, "_supports_attention_backend", False) for model in models):
        logger.info("attention is computed by the model itself: packed rows have %d tokens", longest)
        yield PackingCollator(pad_token_id, offsets.pop(), longest)
        return
    before = [model.config._attn_implementation for model in models]
    for model in models:
        model.set_attn_implementation(ATTENTION)
    try:
        yield PackingCollator(pad_token_id, offsets.pop())
    finally:
        for model, implementation in zip(models, before, strict=True):
            model.set_attn_implementation(implementation)


def check_packing(label: str, *, takes_packed: bool, distillation: DistillationConfig | None) -> None:
    """Refuse what packed batches can't give.

    Args:
        label: name of the stage.
        takes_packed: whether its objective does.
        distillation: its settings.

    Raises:
        ConfigurationError: the stage learns a task; or attentions are to be learned from, which would have to be cut
            out of whole rows.
    """
    key = f"{label}.training.batching is 'packed'"
    if not takes_packed:
        raise ConfigurationError(f"{key}, which is for pre-training (teach, prune) alone; set it to 'bucketed'")
    if distillation is not None and distillation.attention_loss != "none":
        raise ConfigurationError(
            f"{key}, but attention_loss is {distillation.attention_loss!r}, which needs each sequence in a row of its "
            "own; set batching to 'bucketed', or attention_loss to 'none'"
        )


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of each sequence of a packed row to itself; transformers' own where nothing is packed.

    Sequences of equal length that lie side by side are computed together. On CUDA, in half precision and without
    dropout of attentions, all are in one kernel (torch's variable-length flash attention).

    Args:
        module: the attention layer.
        query: `[1, heads, tokens, head size]`.
        key: likewise.
        value: likewise.
        attention_mask: for unpacked batches.
        dropout: of the attention probabilities.
        scaling: of the scores.
        cu_seq_lens_q: `[sequences + 1]`, where each sequence begins and ends; None: nothing is packed.
        max_length_q: tokens of the longest.
        **kwargs: others of transformers.

    Returns:
        `[1, tokens, heads, head size]`, and no probabilities.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if _in_one_kernel(query, dropout):
        return _varlen(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    return _by_length(query, key, value, cu_seq_lens_q, dropout, scaling), None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _by_length(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, dropout: float, scaling: float | None
) -> Tensor:
    """One product for each run of sequences of equal length."""
    heads, size = query.shape[1], query.shape[3]
    runs = [(length, len(list(run))) for length, run in groupby(ends.diff().tolist())]
    # Splitting, not slicing: the gradient of a split is one concatenation, that of a slice a whole tensor of zeros.
    parts = [
        torch.split(tensor.transpose(1, 2).squeeze(0), [length * count for length, count in runs])
        for tensor in (query, key, value)
    ]
    outputs = []
    for (length, count), *triple in zip(runs, *parts, strict=True):
        q, k, v = (tensor.reshape(count, length, heads, size).transpose(1, 2) for tensor in triple)
        output = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        outputs.append(output.transpose(1, 2).reshape(count * length, heads, size))
    return torch.cat(outputs).unsqueeze(0)


def _in_one_kernel(query: Tensor, dropout: float) -> bool:
    if query.device.type != "cuda" or dropout > 0.0 or query.dtype not in (torch.float16, torch.bfloat16):
        return False
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: F401  (torch 2.10 on)
    except ImportError:
        return False
    return True


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int | None, scaling: float | None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = int(ends.diff().max()) if longest is None else longest
    q, k, v = (tensor.transpose(1, 2).squeeze(0) for tensor in (query, key, value))
    attended = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scaling)
    assert isinstance(attended, Tensor)  # a pair only where more is asked for
    return attended.unsqueeze(0)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
