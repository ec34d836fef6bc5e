"""What was quantized, in words and numbers: for a stage's record, the report and the model's card."""

from typing import Any

from pruneofa.quantization.answers import QuantizationCost
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.parameters import QuantizedState

__all__ = ["describe_config", "summarize"]

_RANGES = {"moving_average": "moving average", "minmax": "minimum and maximum", "mse": "smallest squared error"}


def summarize(state: QuantizedState, method: str, cost: QuantizationCost | None = None) -> dict[str, Any]:
    """Facts of a converted model as JSON values.

    Args:
        state: What `convert` returned.
        method: How it came to be, e.g. `calibration on 256 texts`.
        cost: Its answers beside those of the float model, where they were compared.
    """
    kept = [p.weight_kept_zeros.numel() for p in state.modules.values() if p.weight_kept_zeros is not None]
    text = f"{method}; {describe_config(state.config)}; {len(state.modules)} Linear layers"
    if state.embeddings:
        text += f", {len(state.embeddings)} embedding tables"
    if cost is not None:
        text += f"; {cost.text}"
    return {
        "method": method,
        "text": text,
        "linears": len(state.modules),
        "outputs": sum(parameters.output_scale is not None for parameters in state.modules.values()),
        "embedding_tables": len(state.embeddings),
        "attention_products": state.config.attention_products,
        "kept_weights_at_zero": sum(kept),
        "config": state.config.model_dump(mode="json"),
        **({} if cost is None else {"cost": cost.as_dict()}),
    }


def describe_config(config: QuantizationConfig) -> str:
    """The grids in one line."""
    grid = config.weight_grid()
    scale = {"per_channel": "one scale per row", "per_tensor": "one scale per tensor"}[config.weight_granularity]
    weights = f"weights on {grid.lowest}...{grid.highest}, {scale}"
    if config.weight_scale == "mse":
        weights += ", chosen for the smallest squared error"
    if config.weight_step != 1.0 or config.weight_steps:
        single = f", {len(config.weight_steps)} patterns with their own" if config.weight_steps else ""
        weights += f", step {config.weight_step:g} x absmax/{grid.divisor:g}{single}"
    ranges = _RANGES.get(config.activation_range, f"percentile {config.activation_percentile:g}")
    parts = [weights, f"activations uint8, affine, range by {ranges}"]
    if config.embeddings != "float":
        per = "row" if config.embeddings == "per_row" else "table"
        parts.append(f"embeddings in {config.embedding_bits} bits, one scale per {per}")
    parts.append("attention products in int8" if config.attention_products else "attention products in float")
    return "; ".join(parts)
