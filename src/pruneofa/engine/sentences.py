"""From the states of a text's tokens to its vector, as the modules of sentence-transformers compute it."""

import math

import numpy as np
from numpy.typing import NDArray

from pruneofa.checkpoint.dtypes import to_float32
from pruneofa.checkpoint.safetensors_file import SafetensorsBytes
from pruneofa.engine.tokenization import TextTokenizer
from pruneofa.errors import CheckpointError
from pruneofa.folder.files import ModelFiles
from pruneofa.folder.sentence_modules import Dense, Normalize, Pooling, SentenceModules, Truncate, read_sentence_modules

__all__ = ["SentenceRules", "normalized", "pooled"]

Floats = NDArray[np.float32]


class SentenceRules:
    """How a model's folder makes vectors of texts: what stands before the encoder, and what follows the pooling.

    Args:
        files: The model's files.
        tokenizer: The model's; of a folder that lowers its texts for vectors another is made of it.

    Attributes:
        modules: What the folder says; in one without modules.json a mean, as sentence-transformers has it.
        tokenizer: For these texts.
        max_tokens: Where they are cut: sentence_bert_config.json wins over the tokenizer's files, the model over both.

    Raises:
        CheckpointError: A module is not known, or the weights of a Dense module are damaged.
    """

    def __init__(self, files: ModelFiles, tokenizer: TextTokenizer) -> None:
        self.modules = read_sentence_modules(files) or SentenceModules()
        self.tokenizer = tokenizer.lowering() if self.modules.lower_case else tokenizer
        wanted = self.modules.max_length
        self.max_tokens = tokenizer.max_tokens if wanted is None else min(wanted, tokenizer.longest)
        self._layers = {
            number: _DenseLayer(files, step)
            for number, step in enumerate(self.modules.steps)
            if isinstance(step, Dense)
        }

    def apply(self, vectors: Floats, normalize: bool | None) -> Floats:
        """Vectors [B, size] through the steps; `normalize` takes the place of the folder's Normalize where given."""
        for number, step in enumerate(self.modules.steps):
            if isinstance(step, Normalize):
                vectors = normalized(vectors) if normalize is None else vectors
            elif isinstance(step, Truncate):
                vectors = vectors[:, : step.size]
            else:
                vectors = self._layers[number](vectors)
        return normalized(vectors) if normalize else vectors


def pooled(states: Floats, offsets: NDArray[np.int64], pooling: Pooling, prompt_tokens: int = 0) -> Floats:
    """One vector for each text: states of all tokens [N, hidden] to [B, hidden times the number of modes].

    Texts lie one behind the other, so a long text costs its own tokens alone, and a text's vector is the same whatever
    stands beside it.

    Args:
        states: Of the last layer.
        offsets: [B + 1], where each text begins and ends.
        pooling: How.
        prompt_tokens: The first tokens of each text, which do not count unless the pooling includes the prompt.
    """
    begins, ends = offsets[:-1], offsets[1:]
    counted = begins
    if prompt_tokens and not pooling.include_prompt:
        counted = np.minimum(begins + prompt_tokens, ends)
    places = (np.arange(len(states)) - np.repeat(begins, ends - begins) + 1).astype(np.float32)
    found = [_pool(mode, states, np.minimum(counted, ends - 1), ends, places) for mode in pooling.modes]
    vectors: Floats = np.concatenate(found, axis=1)
    vectors[counted == ends] = 0  # of a text that is nothing but its prompt
    return vectors


def normalized(vectors: Floats) -> Floats:
    """Each vector divided by its length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return result


def _pool(mode: str, states: Floats, begins: NDArray[np.int64], ends: NDArray[np.int64], places: Floats) -> Floats:
    """The tokens from `begins` to `ends` of each text; `places` [N] are their numbers in the text, from 1."""
    if mode == "cls":
        first: Floats = states[begins]
        return first
    if mode == "lasttoken":
        final: Floats = states[ends - 1]
        return final
    # Every second stretch is a text's; between them lies what does not count.
    bounds = np.stack([begins, ends], axis=1).ravel()[:-1]
    if mode == "max":
        result: Floats = np.maximum.reduceat(states, bounds, axis=0)[::2]
        return result
    weights = places if mode == "weightedmean" else np.ones_like(places)
    count = np.add.reduceat(weights, bounds)[::2]
    total: Floats = np.add.reduceat(states * weights[:, None], bounds, axis=0)[::2]
    divisor: Floats = np.sqrt(count) if mode == "mean_sqrt_len_tokens" else count
    mean: Floats = total / divisor[:, None]
    return mean


class _DenseLayer:
    def __init__(self, files: ModelFiles, dense: Dense) -> None:
        where = f"{files.path}: {dense.file}"
        tensors = _tensors(files.file(dense.file) or b"", where)
        if "linear.weight" not in tensors or tensors["linear.weight"].ndim != 2:
            raise CheckpointError(f"{where}: holds no matrix 'linear.weight'; save the model again")
        self._weight, self._bias = tensors["linear.weight"], tensors.get("linear.bias")
        self._residual, self._adds = tensors.get("residual.weight"), dense.residual
        self._activation, self._where = dense.activation, where

    def __call__(self, vectors: Floats) -> Floats:
        if vectors.shape[1] != self._weight.shape[1]:
            raise CheckpointError(
                f"{self._where}: linear.weight has the shape {list(self._weight.shape)}, the vectors before it have "
                f"{vectors.shape[1]} numbers; copy the whole folder of one model"
            )
        result = vectors @ self._weight.T
        if self._bias is not None:
            result = result + self._bias
        result = _activated(result, self._activation)
        if self._adds:
            result = result + (vectors if self._residual is None else vectors @ self._residual.T)
        return result


def _activated(values: Floats, activation: str) -> Floats:
    if activation == "tanh":
        return np.tanh(values)
    if activation == "relu":
        return np.maximum(values, np.float32(0))
    if activation == "gelu":
        cumulative = np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2)), otypes=[np.float32])
        result: Floats = values * cumulative(values)
        return result
    if activation in ("sigmoid", "silu"):
        with np.errstate(over="ignore"):
            shares: Floats = (1 / (1 + np.exp(-values))).astype(np.float32)
        return shares if activation == "sigmoid" else values * shares
    return values


def _tensors(content: bytes, where: str) -> dict[str, Floats]:
    """All tensors of a safetensors file in memory, as float32."""
    file = SafetensorsBytes(content, where)
    result = {}
    for name, tensor in file.tensors.items():
        if not tensor.dtype.is_float:
            raise CheckpointError(f"{where}: tensor {name!r:.80} is {tensor.dtype.name}, a float type is needed")
        result[name] = np.ascontiguousarray(to_float32(file.read(name), tensor.dtype))
    return result
