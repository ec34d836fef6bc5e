"""The engine, called as a model of transformers is, so that it can be evaluated like one."""

from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError

__all__ = ["EngineModel"]


class EngineModel(nn.Module):
    """Runs a compressed file or a model folder on the engine.

    Args:
        path: The file or folder.
        config: What `config` shall be, for callers that ask a model for it.

    Raises:
        CheckpointError: The engine does not run it, or it has no head for a task.
        EngineError: The engine's compiled part is missing.
    """

    def __init__(self, path: str, config: Any) -> None:
        super().__init__()
        self.config = config
        self.engine = Engine.load(path)
        if self.engine.task not in ("classify", "answer"):
            raise CheckpointError(f"{path}: has no head that classifies or answers; evaluate a model trained on a task")
        # Callers ask a model for its device by its parameters.
        self.register_parameter("placeholder", nn.Parameter(torch.zeros(0), requires_grad=False))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None, **_: Tensor
    ) -> dict[str, Tensor]:
        """Logits, or the logits of starts and ends, by the names that transformers gives them."""
        given = [None if tensor is None else tensor.numpy() for tensor in (attention_mask, token_type_ids)]
        logits = torch.from_numpy(self.engine.run(input_ids.numpy(), *given).logits)
        if self.engine.task == "classify":
            return {"logits": logits}
        return {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}
