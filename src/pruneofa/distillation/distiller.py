"""The distiller: a frozen teacher and the rule that joins its loss with the task's own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.losses import attention_mse, hidden_cosine, hidden_mse, soft_cross_entropy
from pruneofa.distillation.token_selection import head_on_tokens, select_tokens
from pruneofa.errors import ConfigurationError

# Names of logits in the outputs of transformers' models. Token logits are compared on selected tokens, the others on
# whole sequences; start and end positions are the two halves of one answer, so their mean counts.
_TOKEN_LOGITS = ("prediction_logits",)
_SEQUENCE_LOGITS = ("seq_relationship_logits",)
_SPAN_LOGITS = ("start_logits", "end_logits")
_HIDDEN_LOSSES = {"cosine": hidden_cosine, "mse": hidden_mse}


class Distiller:
    """Combines a student's own loss with what its teacher says: `(1 - hardness) * task + hardness * distillation`.

    It is no `nn.Module` and holds the teacher apart from the student, so that no checkpoint of the student ever
    contains it. The teacher is put into eval mode and gets no gradients.

    Example:
        >>> distiller = Distiller(teacher, DistillationConfig(temperature=2.0, hardness=1.0))
        >>> loss = distiller(student(**batch), batch)

    Args:
        teacher: the dense model; None when every batch carries `teacher_logits` `[batch, classes]`, computed before.
        config: temperature, weights, which tokens, which features.
        student: checked against the teacher now, when given: an explicit layer map is needed where the depths differ.

    Raises:
        ConfigurationError: features are asked for and the layer map is missing or names no existing layer.
    """

    def __init__(self, teacher: nn.Module | None, config: DistillationConfig, student: nn.Module | None = None) -> None:
        self.config = config
        self.teacher = teacher
        self.parts: dict[str, Tensor] = {}
        if teacher is not None:
            teacher.requires_grad_(False)
            teacher.eval()
        if self.config.needs_features:
            if teacher is None:
                raise ConfigurationError("hidden_loss and attention_loss need a teacher model, not only its logits")
            _check_layer_map(config, student, teacher)

    @property
    def feature_arguments(self) -> dict[str, bool]:
        """Arguments for the forward pass of student and teacher that yield what the features need."""
        arguments = {}
        if self.config.hidden_loss != "none":
            arguments["output_hidden_states"] = True
        if self.config.attention_loss != "none":
            arguments["output_attentions"] = True
        return arguments

    def __call__(self, student_out: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss to train on.

        Args:
            student_out: the student's output, with `loss` unless `hardness` is 1. Token logits may cover the whole
                batch, or only the selected tokens (see `head_on_tokens`).
            batch: what the student was given, `labels` included.

        Returns:
            A scalar; its parts are in `parts` ("loss/task", "loss/distillation"), detached.
        """
        distillation = self._distillation(student_out, batch)
        self.parts = {"loss/distillation": distillation.detach()}
        task = getattr(student_out, "loss", None)
        if task is not None:
            self.parts["loss/task"] = task.detach()
        if self.config.hardness == 1.0:
            return distillation
        if task is None:
            raise ConfigurationError(
                f"hardness is {self.config.hardness}, so the task's own loss counts, but the student's output has "
                "none; pass labels to the student, or set hardness to 1"
            )
        return (1.0 - self.config.hardness) * task + self.config.hardness * distillation

    def _distillation(self, student_out: Any, batch: Mapping[str, Tensor]) -> Tensor:
        temperature = self.config.temperature
        if "teacher_logits" in batch:
            return soft_cross_entropy(student_out.logits, batch["teacher_logits"], temperature)
        is_token_task = "logits" in student_out and student_out.logits.dim() == 3
        is_token_task = is_token_task or any(name in student_out for name in _TOKEN_LOGITS)
        selection = select_tokens(batch, self.config.tokens) if is_token_task else None
        teacher_out = self._teach(batch, selection)
        total = student_out[next(iter(student_out))].new_zeros(())
        for name in ("logits", *_TOKEN_LOGITS, *_SEQUENCE_LOGITS):
            if name in student_out and name in teacher_out:
                student, teacher = student_out[name], teacher_out[name]
                if selection is not None and name not in _SEQUENCE_LOGITS:
                    student, teacher = _selected_rows(student, selection), _selected_rows(teacher, selection)
                total = total + soft_cross_entropy(student, teacher, temperature)
        for name in _SPAN_LOGITS:
            if name in student_out:
                total = total + 0.5 * soft_cross_entropy(student_out[name], teacher_out[name], temperature)
        return total + self._features(student_out, teacher_out, batch)

    @torch.no_grad()
    def _teach(self, batch: Mapping[str, Tensor], selection: Tensor | None) -> Any:
        if self.teacher is None:
            raise ConfigurationError("this distiller has no teacher model, so each batch must carry `teacher_logits`")
        inputs = {name: value for name, value in batch.items() if name in _MODEL_INPUTS}
        if selection is None:
            return self.teacher(**inputs, **self.feature_arguments)
        with head_on_tokens(self.teacher, selection):
            return self.teacher(**inputs, **self.feature_arguments)

    def _features(self, student_out: Any, teacher_out: Any, batch: Mapping[str, Tensor]) -> Tensor:
        config = self.config
        reference = student_out[next(iter(student_out))]
        total = reference.new_zeros(())
        if not self.config.needs_features:
            return total
        mask = batch.get("attention_mask")
        if mask is None:
            mask = torch.ones_like(batch["input_ids"])
        if config.hidden_loss != "none":
            loss, states, wanted = (
                _HIDDEN_LOSSES[config.hidden_loss],
                student_out.hidden_states,
                teacher_out.hidden_states,
            )
            pairs = config.layer_map or {layer: layer for layer in range(len(states))}
            terms = [loss(states[mine], wanted[theirs], mask) for mine, theirs in pairs.items()]
            total = total + config.hidden_weight * torch.stack(terms).mean()
        if config.attention_loss != "none":
            maps, wanted = student_out.attentions, teacher_out.attentions
            pairs = config.layer_map or {layer: layer for layer in range(1, len(maps) + 1)}
            terms = [attention_mse(maps[mine - 1], wanted[theirs - 1], mask) for mine, theirs in pairs.items() if mine]
            total = total + config.attention_weight * torch.stack(terms).mean()
        return total


_MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds")


def _selected_rows(logits: Tensor, selection: Tensor) -> Tensor:
    """`[selected, classes]` from logits of all tokens, or of the selected ones only."""
    if logits.shape[:2] == selection.shape:
        return logits[selection]
    return logits.flatten(0, 1)


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
