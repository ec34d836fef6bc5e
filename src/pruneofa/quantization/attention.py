"""Attention's two products on integers: scores of q and k, context of unnormalised uint8 weights and v.

The arithmetic is that of docs/quantization.md. Sums of whole numbers are exact in float32 up to 2^24 and are taken in
float64 beyond, so an integer engine gets the same numbers. Models of transformers' attention interface run it under a
name of our own in their registry; MPNet, which does not use the interface, through a subclass of its attention module.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from pruneofa.architectures.families import Role
from pruneofa.errors import ConfigurationError
from pruneofa.quantization.activations import ActivationQuantizer
from pruneofa.quantization.config import ACTIVATION_RANGE
from pruneofa.quantization.fake import fake_quantize, straight_through_round
from pruneofa.quantization.linear import QATLinear

__all__ = [
    "IMPLEMENTATION",
    "AttentionProducts",
    "attention_groups",
    "attention_modules",
    "attention_products",
    "check_attention",
    "prepare_attention",
    "release_attention",
]

IMPLEMENTATION = "pruneofa_int8_products"
"""Name in transformers' registry of attention functions."""

_ATTRIBUTE = "int8_products"
_HIGHEST = ACTIVATION_RANGE[1]
_EXACT_TERMS = 2**24 // _HIGHEST**2  # products of two levels whose sum float32 holds exactly


@dataclass
class AttentionProducts:
    """What an attention module needs for its products: the grids of q, k and v. No module, so nothing is stored twice.

    Attributes:
        query, key, value: Quantizers of the three projections' outputs.
        quantizes: Whether the products are computed on integers now; otherwise in float.
        replaced: The model's attention implementation before, None where a module's class was changed instead.
    """

    query: ActivationQuantizer
    key: ActivationQuantizer
    value: ActivationQuantizer
    quantizes: bool = True
    replaced: str | None = None

    @property
    def ready(self) -> bool:
        """Whether to compute on integers: switched on, and all three ranges are known."""
        return self.quantizes and self.query.has_grid and self.key.has_grid and self.value.has_grid


def attention_products(
    products: AttentionProducts,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    addends: tuple[Tensor | None, ...],
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Attention of one layer on the integers of q, k and v.

    Args:
        products: The layer's grids.
        query: [batch, heads, queries, d]; on its grid already or not, the levels are the same.
        key: [batch, heads, keys, d].
        value: [batch, heads, keys, d].
        addends: Added to the scores one after the other, each broadcast to [batch, heads, queries, keys].
        dropout: Share of the weights that are dropped.

    Returns:
        Context [batch, heads, queries, d] and weights [batch, heads, queries, keys], in the dtype of `query`.
    """
    dtype = query.dtype
    with torch.autocast(query.device.type, enabled=False):
        # Products of 16-bit integers: in reduced precision they would be anything but exact.
        q, k, v = (
            _levels(quantizer, values)
            for quantizer, values in ((products.query, query), (products.key, key), (products.value, value))
        )
        norm = (products.query.scale.double() * products.key.scale.double() / math.sqrt(query.shape[-1])).float()
        scores = _exact_product(q, k.transpose(-1, -2)) * norm
        for addend in addends:
            if addend is not None:
                scores = scores + addend
        powers = torch.exp(scores - scores.amax(dim=-1, keepdim=True).detach())
        weights = straight_through_round(_HIGHEST * powers)
        total = weights.sum(dim=-1, keepdim=True, dtype=torch.float64).float()
        dropped = F.dropout(weights, dropout) if dropout else weights
        context = _exact_product(dropped, v) * (products.value.scale / total)
        return context.to(dtype), (dropped / total).to(dtype)


def _levels(quantizer: ActivationQuantizer, values: Tensor) -> Tensor:
    """Levels less the zero point, as float32 whole numbers; the gradient is that of fake quantization, over scale."""
    quantized = fake_quantize(values.float(), quantizer.scale, quantizer.zero_point, *ACTIVATION_RANGE)
    return straight_through_round(quantized / quantizer.scale)


def _exact_product(left: Tensor, right: Tensor) -> Tensor:
    """Product of matrices of whole numbers up to 255, rounded to float32 once."""
    if left.shape[-1] <= _EXACT_TERMS:
        return left @ right
    return (left.double() @ right.double()).float()


def _interface(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers' models call under our name: context [batch, queries, heads, d], and the weights."""
    products: AttentionProducts | None = getattr(module, _ATTRIBUTE, None)
    if products is None or not products.ready:
        return cast(
            "tuple[Tensor, Tensor | None]",
            sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
            ),
        )
    context, weights = attention_products(products, query, key, value, (attention_mask,), dropout)
    return context.transpose(1, 2).contiguous(), weights


class _MPNetInt8Attention(MPNetSelfAttention):  # type: ignore[misc]
    """MPNet's self-attention with integer products; relative positions are added to the scores in float."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        output_attentions: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, ...]:
        products: AttentionProducts = self.int8_products
        if not products.ready:
            # In the first batch the ranges of q, k and v come to be in here.
            return cast(
                "tuple[Tensor, ...]",
                super().forward(hidden_states, attention_mask, position_bias, output_attentions, **kwargs),
            )
        shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
        q, k, v = (linear(hidden_states).view(shape).transpose(1, 2) for linear in (self.q, self.k, self.v))
        dropout = self.dropout.p if self.training else 0.0
        context, weights = attention_products(products, q, k, v, (position_bias, attention_mask), dropout)
        joined = context.transpose(1, 2).reshape(*hidden_states.shape[:-1], self.all_head_size)
        output = self.o(joined)
        return (output, weights) if output_attentions else (output,)


def attention_groups(roles: Mapping[str, Role]) -> dict[str, dict[Role, str]]:
    """Name of each attention module -> the names of its Linears q, k and v by role."""
    groups: dict[str, dict[Role, str]] = {}
    for name, role in roles.items():
        if role in ("q", "k", "v"):
            groups.setdefault(name.rpartition(".")[0], {})[role] = name
    return groups


def attention_modules(model: nn.Module) -> dict[str, AttentionProducts]:
    """What each prepared attention module of `model` computes its products with, by dotted name."""
    found = ((name, getattr(module, _ATTRIBUTE, None)) for name, module in model.named_modules())
    return {name: products for name, products in found if isinstance(products, AttentionProducts)}


def check_attention(model: nn.Module, roles: Mapping[str, Role], chosen: Mapping[str, nn.Linear]) -> None:
    """See that every attention of `model` can compute on integers.

    Raises:
        ConfigurationError: A q, k or v isn't among the `chosen`, or an attention module is of a kind that can't be
            changed.
    """
    modules = dict(model.named_modules())
    for name, linears in attention_groups(roles).items():
        left_out = [linear for linear in linears.values() if linear not in chosen]
        if left_out or len(linears) < 3:
            raise ConfigurationError(
                f"attention_products: needs q, k and v of {name!r} quantized, but targets and ignore leave out "
                f"{', '.join(map(repr, left_out))}; choose all three, or set attention_products to false"
            )
        if type(modules[name]) is not MPNetSelfAttention and not _uses_interface(model):
            raise ConfigurationError(
                f"attention_products: {type(modules[name]).__name__} ({name!r}) computes its products itself, not "
                "through transformers' attention interface; set attention_products to false"
            )


def prepare_attention(model: nn.Module, roles: Mapping[str, Role]) -> None:
    """Let every attention of `model`, whose Linears are prepared, compute its products on integers."""
    modules = dict(model.named_modules())
    for name, linears in attention_groups(roles).items():
        outputs = {role: cast(QATLinear, modules[linear]).output_quantizer for role, linear in linears.items()}
        query, key, value = (cast(ActivationQuantizer, outputs[role]) for role in ("q", "k", "v"))
        module, products = modules[name], AttentionProducts(query, key, value)
        setattr(module, _ATTRIBUTE, products)
        if isinstance(module, MPNetSelfAttention):
            module.__class__ = _MPNetInt8Attention
        else:
            products.replaced = str(_holder(model).config._attn_implementation)
    if _uses_interface(model):
        AttentionInterface.register(IMPLEMENTATION, _interface)
        AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)
        _holder(model).set_attn_implementation(IMPLEMENTATION)


def release_attention(model: nn.Module) -> None:
    """Undo `prepare_attention`; nothing happens where it wasn't called."""
    replaced: str | None = None
    for module in model.modules():
        products: AttentionProducts | None = getattr(module, _ATTRIBUTE, None)
        if products is None:
            continue
        replaced = products.replaced or replaced
        delattr(module, _ATTRIBUTE)
        if isinstance(module, _MPNetInt8Attention):
            module.__class__ = MPNetSelfAttention
    if replaced is not None:
        _holder(model).set_attn_implementation(replaced)


def _holder(model: nn.Module) -> PreTrainedModel:
    """The model of transformers that `model` is or holds."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel))


def _uses_interface(model: nn.Module) -> bool:
    return bool(_holder(model)._can_set_attn_implementation())
