"""How a model counts positions, and so how long a sequence may be."""

from typing import TYPE_CHECKING, Any

from pruneofa.architectures.families import find_family

if TYPE_CHECKING:
    from torch import nn

__all__ = ["longest_sequence", "position_offset"]


def longest_sequence(model_or_config: Any) -> int | None:
    """The longest sequence that a model takes, in tokens; None where its config does not say.

    RoBERTa-like models (MPNet too) number positions from behind the padding token's id on, and have so many less.
    """
    config = getattr(model_or_config, "config", model_or_config)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    family = find_family(config.model_type)
    if family is None or not family.padding_positions:
        return int(positions)
    padding = config.pad_token_id if family.fixed_padding is None else family.fixed_padding
    return int(positions) - (0 if padding is None else int(padding) + 1)


def position_offset(model: "nn.Module") -> int:
    """The position that `model` gives to the first token of a sequence.

    RoBERTa-like models (MPNet too) keep the positions up to the padding token's id for padding.
    """
    from torch import nn

    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
