"""`Engine`: a compressed encoder, ready to answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pruneofa.engine.answers import Answer, best_span
from pruneofa.engine.batch import ragged_batch
from pruneofa.engine.loader import LoadedModel, default_threads, load_model
from pruneofa.engine.source import ModelSource, open_source
from pruneofa.engine.tokenization import TextTokenizer, load_tokenizer, offsets_of
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.texts import Text, as_texts

__all__ = ["Answer", "Classification", "Engine", "Output"]

Pooling = Literal["mean", "cls"]
_TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class Output:
    """What a model computes for a batch.

    Attributes:
        hidden_states: float32 [B, T, hidden] of the last layer, zeros where the mask hides a token; or None.
        logits: float32 [B, labels] of a head on the first token; [B, T, labels] of one on every token, zeros where the
            mask hides it; None if not asked for, or without a head.
    """

    hidden_states: NDArray[np.float32] | None
    logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class Classification:
    """The label of a text: the likeliest one, its probability, and the probability of every label."""

    label: str
    score: float
    scores: dict[str, float]


class Engine:
    """An encoder with its head, run on the CPU. Made by `Engine.load`; may be used from several threads at once.

    Attributes:
        path: Where it was loaded from.
        task: "classify", "answer", "label_tokens", or None for an encoder without such a head.
        kernel: The kernel set that computes.
        threads: Cores that one call uses at most.
        max_tokens: The longest sequence.
        hidden_size: Size of a hidden state.
        labels: Names of the head's labels, in order of its logits.
        weight_bytes: Memory of the packed weights and embedding tables.
    """

    def __init__(self, source: ModelSource, loaded: LoadedModel) -> None:
        """Used by `load`."""
        self._source = source
        self._loaded = loaded
        self._native = loaded.native
        self._tokenizer: TextTokenizer | None = None
        self.path: Path = source.path
        self.task = loaded.head.task
        self.kernel = str(loaded.native.kernel)
        self.threads = int(loaded.native.threads)
        self.max_tokens = loaded.max_tokens
        self.hidden_size = int(loaded.native.hidden_size)
        self.labels = _label_names(loaded.config, int(loaded.native.labels))
        self.weight_bytes = int(loaded.native.weight_bytes)

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None, kernel: str | None = None) -> "Engine":
        """Load a model.

        Args:
            path: A `.pofa` file, or a model folder as transformers saves it.
            threads: Cores that one call uses at most; None: all that this process may use.
            kernel: Name of a kernel set (`pruneofa doctor` lists them); None: what the environment variable
                PRUNEOFA_KERNEL says, else the best that this machine supports.

        Raises:
            CheckpointError: The model is missing, damaged, or of a kind that the engine does not run.
            ConfigurationError: Threads or kernel are out of range.
            EngineError: The engine's compiled part is missing.
        """
        source = open_source(path)
        return cls(source, load_model(source, default_threads() if threads is None else threads, kernel))

    @property
    def workspace_bytes(self) -> int:
        """Memory for activations that calls have left for the next ones."""
        return int(self._native.workspace_bytes)

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer, read when it is first used."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self._source, self.max_tokens)
        return self._tokenizer

    def run(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        hidden_states: bool = False,
        logits: bool = True,
    ) -> Output:
        """Compute a batch of token ids. Tokens that the mask hides cost nothing, and change nothing.

        Args:
            input_ids: Integers [B, T], T at most `max_tokens`.
            attention_mask: [B, T] of 1 (token) and 0 (padding, anywhere); None: every token counts.
            token_type_ids: Integers [B, T]; None: all 0. Left out for models that have none.
            hidden_states: Whether to return them.
            logits: Whether to return them, where the model has a head.

        Raises:
            DataError: A wrong shape or type, an id out of range, or a sequence without a token.
        """
        loaded = self._loaded
        padding = loaded.padding_id if loaded.family.padding_positions else None
        types = token_type_ids if loaded.family.has_token_types else None
        batch = ragged_batch(input_ids, attention_mask, types, padding_id=padding)
        wants_logits = logits and loaded.head.kind != "none"
        if wants_logits and loaded.head.kind == "first_token" and not batch.visible[:, :1].all():
            row = int(np.flatnonzero(~batch.visible[:, 0])[0])
            raise DataError(
                f"attention_mask hides the first token of sequence {row}, which the head reads; put the padding behind "
                "the tokens"
            )
        if batch.visible.shape[1] > self.max_tokens:
            raise DataError(f"input_ids has {batch.visible.shape[1]} columns, this model takes {self.max_tokens}")
        try:
            states, answers = self._native.run(
                batch.ids,
                batch.offsets,
                batch.positions,
                batch.order,
                batch.types,
                hidden=hidden_states,
                logits=wants_logits,
            )
        except ValueError as error:
            raise DataError(str(error)) from None
        if answers is not None and loaded.head.kind == "every_token":
            answers = batch.padded(answers)
        return Output(None if states is None else batch.padded(states), answers)

    @overload
    def classify(self, texts: str) -> Classification: ...  # type: ignore[overload-overlap]  # a str is a sequence
    @overload
    def classify(self, texts: tuple[str, str]) -> Classification: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, texts: Sequence[Text]) -> list[Classification]: ...
    def classify(self, texts: Text | Sequence[Text]) -> Classification | list[Classification]:
        """Classify texts, or pairs of texts (tuples); a single one gives a single answer.

        Raises:
            ConfigurationError: The model has no head for it.
            DataError: An element is no text.
        """
        self._needs("classify", "a head for sequence classification")
        items, single = as_texts(texts)
        found = [self._classification(row) for output in self._outputs(items) for row in output]
        return found[0] if single else found

    def answer(
        self,
        question: str,
        context: str,
        *,
        max_tokens: int = 384,
        stride: int = 128,
        max_answer_tokens: int = 30,
    ) -> Answer:
        """The span of `context` that answers `question`. A long context is read in windows that overlap.

        Args:
            question: The question.
            context: The text that holds the answer.
            max_tokens: Length of a window, cut to the model's.
            stride: Tokens by which windows overlap.
            max_answer_tokens: The longest answer.

        Raises:
            ConfigurationError: The model has no head for it.
            DataError: An argument is out of range, or the context holds no token.
        """
        self._needs("answer", "a head for question answering")
        if not (0 < stride < max_tokens) or max_answer_tokens < 1:
            raise DataError(
                f"stride is {stride}, max_tokens {max_tokens}, max_answer_tokens {max_answer_tokens}; stride must lie "
                "between 0 and max_tokens, and max_answer_tokens be 1 at least"
            )
        batch = self.tokenizer.encode_windows(question, context, max_tokens, stride)
        output = self.run(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        assert output.logits is not None
        spans = [
            best_span(output.logits[row, : len(encoding.ids)], offsets_of(encoding, 1), max_answer_tokens)
            for row, encoding in enumerate(batch.encodings)
        ]
        best = max((span for span in spans if span is not None), default=None)
        if best is None:
            raise DataError("the context holds no token; pass a text")
        score, start, end = best
        return Answer(context[start:end], start, end, score)

    def embed(
        self, texts: Text | Sequence[Text], *, pooling: Pooling = "mean", normalize: bool = False
    ) -> NDArray[np.float32]:
        """Embeddings of texts, float32 [B, hidden]; of a single text [hidden].

        Args:
            texts: Texts, or pairs of texts.
            pooling: "mean" of all tokens' hidden states, or the first token's ("cls").
            normalize: Whether to divide each by its length.

        Raises:
            DataError: An element is no text, or a value is not allowed.
        """
        if pooling not in ("mean", "cls"):
            raise DataError(f"pooling is {pooling!r:.40}, allowed are 'mean' and 'cls'")
        items, single = as_texts(texts)
        result = np.zeros((len(items), self.hidden_size), dtype=np.float32)
        row = 0
        for chunk in _chunks(items):
            batch = self.tokenizer.encode(chunk)
            output = self.run(
                batch.input_ids, batch.attention_mask, batch.token_type_ids, hidden_states=True, logits=False
            )
            assert output.hidden_states is not None
            if pooling == "cls":
                pooled = output.hidden_states[:, 0]
            else:  # padding is 0 and adds nothing
                pooled = output.hidden_states.sum(axis=1) / batch.attention_mask.sum(axis=1, keepdims=True)
            result[row : row + len(chunk)] = pooled
            row += len(chunk)
        if normalize:
            result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), np.float32(1e-12))
        return result[0] if single else result

    def _outputs(self, items: list[Any]) -> Iterator[NDArray[np.float32]]:
        for chunk in _chunks(items):
            batch = self.tokenizer.encode(chunk)
            output = self.run(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            assert output.logits is not None
            yield output.logits

    def _classification(self, logits: NDArray[np.float32]) -> Classification:
        values = logits.astype(np.float64)
        if self._loaded.config.get("problem_type") == "multi_label_classification" or values.size == 1:
            scores = 1.0 / (1.0 + np.exp(-values))
        else:
            scores = np.exp(values - values.max())
            scores /= scores.sum()
        best = int(np.argmax(scores))
        named = dict(zip(self.labels, map(float, scores), strict=True))
        return Classification(self.labels[best], float(scores[best]), named)

    def _needs(self, task: str, what: str) -> None:
        if self.task != task:
            raise ConfigurationError(
                f"{self.path}: has no {what.removeprefix('a ')} (its task is {self.task!r}); load a model that was "
                "trained for it"
            )

    def __repr__(self) -> str:
        return f"Engine({str(self.path)!r}, task={self.task!r}, kernel={self.kernel!r}, threads={self.threads})"


def _chunks(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _TEXTS_AT_ONCE):
        yield items[start : start + _TEXTS_AT_ONCE]


def _label_names(config: dict[str, Any], count: int) -> tuple[str, ...]:
    named = config.get("id2label")
    if not isinstance(named, dict):
        return tuple(f"LABEL_{index}" for index in range(count))
    return tuple(str(named.get(str(index), f"LABEL_{index}")) for index in range(count))
