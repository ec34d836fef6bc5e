"""From token states to a text's vector, in torch, as a folder's modules say: what `embed` of the engine computes."""

from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.checkpoint.safetensors_file import SafetensorsBytes
from pruneofa.errors import CheckpointError
from pruneofa.folder.files import ModelFiles
from pruneofa.folder.sentence_modules import Dense, Normalize, SentenceModules, Truncate

__all__ = ["SentenceVector"]

_ACTIVATIONS = {
    "none": nn.Identity,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


class SentenceVector(nn.Module):
    """Pooling and what follows it.

    Args:
        modules: As a folder states them.
        files: Of the model, for the weights of Dense modules; not needed without any.

    Raises:
        CheckpointError: The weights of a Dense module are missing or damaged.
    """

    def __init__(self, modules: SentenceModules, files: ModelFiles | None = None) -> None:
        super().__init__()
        self.modules_said = modules
        self.steps = nn.ModuleList(_step(step, files) for step in modules.steps)

    @property
    def facts(self) -> dict[str, Any]:
        """What a file's metadata says of it."""
        said = self.modules_said
        return {
            "pooling": said.pooling.modes[0] if len(said.pooling.modes) == 1 else list(said.pooling.modes),
            "normalize": any(isinstance(step, Normalize) for step in said.steps),
            **({"dense": sum(isinstance(step, Dense) for step in said.steps)} if said.has_dense else {}),
        }

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """[batch, length, hidden] and [batch, length] of 1 (tokens, which come first) and 0 to [batch, size]."""
        vectors = torch.cat([_pool(mode, states, attention_mask) for mode in self.modules_said.pooling.modes], dim=1)
        for step in self.steps:
            vectors = step(vectors)
        return vectors


def _pool(mode: str, states: Tensor, mask: Tensor) -> Tensor:
    """As the sentence-transformers library has it."""
    if mode == "cls":
        return states[:, 0]
    kept = mask.unsqueeze(-1).to(states.dtype)
    if mode == "max":
        return states.masked_fill(kept == 0, float("-inf")).amax(dim=1)
    if mode == "lasttoken":
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)
    if mode == "weightedmean":
        kept = kept * torch.cumsum(torch.ones_like(mask), dim=1).unsqueeze(-1).to(states.dtype)
    count = torch.clamp(kept.sum(dim=1), min=1e-9)
    return (states * kept).sum(dim=1) / (torch.sqrt(count) if mode == "mean_sqrt_len_tokens" else count)


def _step(step: Dense | Normalize | Truncate, files: ModelFiles | None) -> nn.Module:
    if isinstance(step, Dense):
        return _DenseStep(step, files)
    return _TruncateStep(step.size) if isinstance(step, Truncate) else _NormalizeStep()


class _TruncateStep(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors[:, : self.size]


class _NormalizeStep(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return nn.functional.normalize(vectors, dim=-1)


class _DenseStep(nn.Module):
    def __init__(self, dense: Dense, files: ModelFiles | None) -> None:
        super().__init__()
        content = None if files is None else files.file(dense.file)
        if files is None or content is None:
            raise CheckpointError(f"{dense.file}: the weights of this Dense module are missing; copy the whole folder")
        where = f"{files.path}: {dense.file}"
        stored = SafetensorsBytes(content, where)
        tensors = {
            name: torch.from_numpy(stored.read(name).copy()).float()
            for name, tensor in stored.tensors.items()
            if tensor.dtype.name in ("float32", "float16", "float64")
        }
        if "linear.weight" not in tensors or tensors["linear.weight"].ndim != 2:
            raise CheckpointError(f"{where}: holds no matrix 'linear.weight'; save the model again")
        self.linear = _linear(tensors["linear.weight"], tensors.get("linear.bias"))
        self.residual = _linear(tensors["residual.weight"], None) if "residual.weight" in tensors else nn.Identity()
        self.activation = _ACTIVATIONS[dense.activation]()
        self.adds = dense.residual

    def forward(self, vectors: Tensor) -> Tensor:
        result: Tensor = self.activation(self.linear(vectors))
        return result + self.residual(vectors) if self.adds else result


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        linear.weight.copy_(weight)
        if bias is not None:
            linear.bias.copy_(bias)
    return linear
