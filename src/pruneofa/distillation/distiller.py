"""The distiller: a frozen teacher and the rule that joins its loss with the task's own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.features import check_features, feature_loss, use_attention_probabilities
from pruneofa.distillation.inputs import model_inputs, pooling_each_sequence
from pruneofa.distillation.losses import prediction_loss
from pruneofa.distillation.token_selection import head_on_tokens, run_to_vocabulary, select_tokens
from pruneofa.distillation.vocabulary import VocabularyRows
from pruneofa.errors import ConfigurationError

# Names of logits in the outputs of transformers' models, and their weight: each counts as it is, but start and end
# positions are the two halves of one answer, so their mean counts.
_LOGITS = {
    "logits": 1.0,
    "prediction_logits": 1.0,
    "seq_relationship_logits": 1.0,
    "start_logits": 0.5,
    "end_logits": 0.5,
}


class Distiller:
    """Combines a student's own loss with what its teacher says: `(1 - hardness) * task + hardness * distillation`.

    It is no `nn.Module` and holds the teacher apart from the student, so that no checkpoint of the student ever
    contains it. The teacher is kept in eval mode, gets no gradients, and follows the batch to its device.

    Example:
        >>> distiller = Distiller(teacher, DistillationConfig(temperature=2.0, hardness=1.0))
        >>> loss = distiller(student(**batch), batch)

    Args:
        teacher: the dense model; None when every batch carries `teacher_logits` (of the shape of the student's
            `logits`; in question answering `teacher_start_logits` and `teacher_end_logits`), computed before.
        config: temperature, weights, which tokens, which features.
        student: checked against the teacher now, when given: an explicit layer map is needed where the depths differ.
            Its attention is set to "eager" where attentions are learned from.

    Raises:
        ConfigurationError: the student is its own teacher; or features are asked for and there is no teacher model,
            the layer map is missing or names no existing layer, or the widths differ.
    """

    def __init__(self, teacher: nn.Module | None, config: DistillationConfig, student: nn.Module | None = None) -> None:
        self.config = config
        self.teacher = teacher
        self.parts: dict[str, Tensor] = {}
        if teacher is None:
            if config.needs_features:
                raise ConfigurationError("hidden_loss and attention_loss need a teacher model, not only its logits")
            return
        if teacher is student:
            raise ConfigurationError("teacher and student are the same object; give the teacher as a copy")
        teacher.requires_grad_(False)
        teacher.eval()
        if config.needs_features:
            check_features(config, student, teacher)
        if config.attention_loss != "none":
            for model in (teacher, student):
                if model is not None:
                    use_attention_probabilities(model)

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

        Raises:
            ConfigurationError: the task's loss is missing though it counts, or student and teacher don't predict the
                same things.
        """
        task: Tensor | None = getattr(student_out, "loss", None)
        if task is None and self.config.hardness < 1.0:
            raise ConfigurationError(
                f"hardness is {self.config.hardness}, so the task's own loss counts, but the student's output has "
                "none; pass labels to the student, or set hardness to 1"
            )
        distillation = self._distillation(student_out, batch)
        self.parts = {"loss/distillation": distillation.detach()}
        if task is not None:
            self.parts["loss/task"] = task.detach()
        if task is None or self.config.hardness == 1.0:
            return distillation
        return (1.0 - self.config.hardness) * task + self.config.hardness * distillation

    def _distillation(self, student_out: Any, batch: Mapping[str, Tensor]) -> Tensor:
        names = [name for name in _LOGITS if name in student_out]
        per_token = {name for name in names if student_out[name].dim() == 3}
        selection = select_tokens(batch, self.config.tokens) if per_token else None
        teacher_out = self._teach(batch, selection)
        if not names or any(name not in teacher_out for name in names):
            raise ConfigurationError(
                f"the student predicts {names or 'nothing that can be distilled'}, the teacher "
                f"{[name for name in _LOGITS if name in teacher_out]}; both need the same kind of head"
            )
        terms = []
        for name in names:
            student, teacher = student_out[name], teacher_out[name]
            if selection is not None and name in per_token:
                student, teacher = _selected_rows(student, selection), _selected_rows(teacher, selection)
            terms.append(_LOGITS[name] * prediction_loss(student, teacher, self.config.temperature))
        if self.config.needs_features:
            terms.append(feature_loss(self.config, student_out, teacher_out, batch))
        return torch.stack(terms).sum()

    @torch.no_grad()
    def teach_to_vocabulary(self, batch: Mapping[str, Tensor], selection: Tensor) -> tuple[Any, VocabularyRows]:
        """The teacher's output, and its token predictions before the vocabulary's product (see `run_to_vocabulary`).

        Args:
            batch: what the student is given.
            selection: boolean, of the shape of `input_ids`: the tokens whose predictions count.

        Raises:
            ConfigurationError: there is no teacher model and the batch carries no `teacher_logits`.
        """
        if self._is_cached(batch):
            output = {"logits": batch["teacher_logits"]}
            return output, VocabularyRows(_selected_rows(output["logits"], selection))
        teacher = self._ready(batch)
        return run_to_vocabulary(teacher, teacher, batch, selection, **self.feature_arguments)

    @torch.no_grad()
    def _teach(self, batch: Mapping[str, Tensor], selection: Tensor | None) -> Any:
        """The teacher's output, or what of it was computed before."""
        if self._is_cached(batch):
            return {name: batch[f"teacher_{name}"] for name in _LOGITS if f"teacher_{name}" in batch}
        teacher = self._ready(batch)
        with pooling_each_sequence(teacher, batch):
            if selection is None:
                return teacher(**model_inputs(batch), **self.feature_arguments)
            with head_on_tokens(teacher, selection):
                return teacher(**model_inputs(batch), **self.feature_arguments)

    def _is_cached(self, batch: Mapping[str, Tensor]) -> bool:
        return any(f"teacher_{name}" in batch for name in _LOGITS) and not self.config.needs_features

    def _ready(self, batch: Mapping[str, Tensor]) -> nn.Module:
        """The teacher in eval mode, on the device of the batch."""
        if self.teacher is None:
            raise ConfigurationError("this distiller has no teacher model, so each batch must carry `teacher_logits`")
        if self.teacher.training:
            self.teacher.eval()
        # The trainer moves the student to its device, but knows nothing of a teacher.
        device = next(batch[name].device for name in ("input_ids", "inputs_embeds") if name in batch)
        if next(self.teacher.parameters()).device != device:
            self.teacher.to(device)
        return self.teacher


def _selected_rows(logits: Tensor, selection: Tensor) -> Tensor:
    """`[selected, classes]` from logits of all tokens, or of the selected ones only."""
    if logits.shape[:2] == selection.shape:
        return logits[selection]
    return logits.flatten(0, 1)
