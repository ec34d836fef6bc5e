"""Losses on what lies inside: hidden states and attentions of a student and its teacher, layer by layer."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.losses import attention_mse, hidden_cosine, hidden_mse, hidden_normalized_mse
from pruneofa.errors import ConfigurationError

logger = logging.getLogger(__name__)

_HIDDEN_LOSSES = {"cosine": hidden_cosine, "mse": hidden_mse, "normalized_mse": hidden_normalized_mse}


def feature_loss(config: DistillationConfig, student_out: Any, teacher_out: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The weighted sum of the losses on hidden states and attentions, each a mean over the mapped layers.

    Args:
        config: which losses, their weights, the layer map (identity where there is none).
        student_out: with `hidden_states` and `attentions` as `config` needs them.
        teacher_out: likewise.
        batch: `attention_mask` says what is padding; without it nothing is.
    """
    mask = batch.get("attention_mask")
    if mask is None:
        mask = torch.ones_like(batch["input_ids"])
    terms = []
    if config.hidden_loss != "none":
        loss = _HIDDEN_LOSSES[config.hidden_loss]
        states, wanted = _required("hidden_states", student_out), _required("hidden_states", teacher_out)
        pairs = config.layer_map or {layer: layer for layer in range(len(states))}
        parts = [loss(states[mine], wanted[theirs], mask) for mine, theirs in pairs.items()]
        terms.append(config.hidden_weight * torch.stack(parts).mean())
    if config.attention_loss != "none":
        maps, wanted = _required("attentions", student_out), _required("attentions", teacher_out)
        pairs = config.layer_map or {layer: layer for layer in range(1, len(maps) + 1)}
        # Attentions have no entry for the embeddings' output, so layer 1 is the first.
        parts = [attention_mse(maps[mine - 1], wanted[theirs - 1], mask) for mine, theirs in pairs.items() if mine]
        terms.append(config.attention_weight * torch.stack(parts).mean())
    return torch.stack(terms).sum()


def check_features(config: DistillationConfig, student: nn.Module | None, teacher: nn.Module) -> None:
    """Check that the layers which `config` compares exist and have the same width.

    Raises:
        ConfigurationError: the layer map is missing where depths differ, or names no existing layer; or hidden size or
            number of heads differ.
    """
    _check_layer_map(config, student, teacher)
    if student is None:
        return
    widths = {"hidden_loss": "hidden_size", "attention_loss": "num_attention_heads"}
    for field, width in widths.items():
        mine, theirs = getattr(student.config, width), getattr(teacher.config, width)
        if getattr(config, field) != "none" and mine != theirs:
            raise ConfigurationError(
                f"{field} is {getattr(config, field)!r}, but {width} is {mine} in the student and {theirs} in the "
                f"teacher; set {field} to 'none', or use a teacher of the same width"
            )


def use_attention_probabilities(model: nn.Module) -> None:
    """Let `model` compute attentions in the way that can return them; the fused kernels can't."""
    if getattr(model.config, "_attn_implementation", "eager") != "eager":
        logger.info("%s: attention set to eager, so that attention_loss can see it", type(model).__name__)
        model.set_attn_implementation("eager")  # type: ignore[operator]


def _required(name: str, output: Any) -> tuple[Tensor, ...]:
    values: tuple[Tensor, ...] | None = getattr(output, name, None)
    if not values:
        raise ConfigurationError(
            f"the model's output has no {name}; pass Distiller.feature_arguments to its forward pass"
            + (", and use attn_implementation='eager'" if name == "attentions" else "")
        )
    return values


def _check_layer_map(config: DistillationConfig, student: nn.Module | None, teacher: nn.Module) -> None:
    taught = int(teacher.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]
    learning = taught if student is None else int(student.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]
    if config.layer_map is None:
        if learning != taught:
            raise ConfigurationError(
                f"layer_map is not set, but the student has {learning} layers and the teacher {taught}; "
                "name the teacher's layer for each of the student's, 0 being the embeddings' output"
            )
        return
    for mine, theirs in config.layer_map.items():
        if not 0 <= mine <= learning or not 0 <= theirs <= taught or (mine == 0) != (theirs == 0):
            raise ConfigurationError(
                f"layer_map has {mine}: {theirs}; allowed: student layers 1 to {learning}, teacher layers 1 to "
                f"{taught}, and 0: 0 for the embeddings' output"
            )
    if config.attention_loss != "none" and not any(config.layer_map):
        raise ConfigurationError(
            f"layer_map is {config.layer_map}, which names no layer with attentions; add layers from 1 on, or set "
            "attention_loss to 'none'"
        )
