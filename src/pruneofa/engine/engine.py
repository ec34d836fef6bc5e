"""`Engine`: a compressed encoder, ready to answer."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pruneofa.cores import default_threads
from pruneofa.engine.answers import Answer, best_span, chosen_answer
from pruneofa.engine.batch import RaggedBatch, ragged_batch
from pruneofa.engine.entities import Aggregation, Entity, entities
from pruneofa.engine.loader import LoadedModel, Precision, load_model
from pruneofa.engine.results import Classification, Output, classification, label_names
from pruneofa.engine.sentences import SentenceRules, pooled
from pruneofa.engine.source import ModelSource, open_source
from pruneofa.engine.tokenization import TextTokenizer, offsets_of
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.folder.answer_activation import answer_activation
from pruneofa.folder.sentence_modules import POOLING_MODES, Pooling
from pruneofa.folder.tokenizer_files import read_text_rules
from pruneofa.question_windows import window_sizes
from pruneofa.texts import Text, as_texts, valid_text

__all__ = ["Answer", "Classification", "Engine", "Entity", "Output"]

_TEXTS_AT_ONCE = 256


class Engine:
    """An encoder with its head, run on the CPU. Made by `Engine.load`; may be used from several threads at once.

    It works in forks with all its threads. Pickled, it carries its path and how it was loaded; the process that
    unpickles it loads the model there, with its own default of threads where none was given.

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
        self._sentences: SentenceRules | None = None
        self._loading: dict[str, Any] = {}
        self.path: Path = source.path
        self.task = loaded.head.task
        self.kernel = str(loaded.native.kernel)
        self.threads = int(loaded.native.threads)
        self.max_tokens = loaded.max_tokens
        self.hidden_size = int(loaded.native.hidden_size)
        self.labels = label_names(source.path, loaded.config, loaded.head.task, int(loaded.native.labels))
        self.weight_bytes = int(loaded.native.weight_bytes)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int | None = None,
        kernel: str | None = None,
        precision: Precision | None = None,
    ) -> "Engine":
        """Load a model.

        Args:
            path: A `.pofa` file, or a model folder as transformers saves it.
            threads: Cores that one call uses at most, 1 to 256; None: what the environment variable
                PRUNEOFA_NUM_THREADS says, else the physical cores that affinity and a container's CPU quota leave.
            kernel: Name of a kernel set (`pruneofa doctor` lists them); None: what the environment variable
                PRUNEOFA_KERNEL says, else the best that this machine supports.
            precision: What float weights compute in, where the kernels have it: "float32" or "bfloat16", which is
                faster; None: bfloat16, but float32 for folders of sentence-transformers (with a modules.json), whose
                vectors stand beside others that were computed so.

        Raises:
            CheckpointError: The model is missing, damaged, or of a kind that the engine does not run.
            ConfigurationError: Threads, kernel or precision are out of range.
            EngineError: The engine's compiled part is missing.
        """
        source = open_source(path)
        engine = cls(source, load_model(source, default_threads() if threads is None else threads, kernel, precision))
        # The folder that a path counts from may change.
        engine._loading = {"path": Path(path).absolute(), "threads": threads, "kernel": kernel, "precision": precision}
        return engine

    def __reduce__(self) -> tuple[Any, ...]:
        """By path and settings."""
        return partial(Engine.load, **self._loading), ()

    @property
    def workspace_bytes(self) -> int:
        """Memory for activations that calls have left for the next ones."""
        return int(self._native.workspace_bytes)

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer, read when it is first used."""
        if self._tokenizer is None:
            rules = read_text_rules(self._source, self._source.folder)
            self._tokenizer = TextTokenizer(rules, self.max_tokens, self._loaded.vocabulary)
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
        batch, states, answers = self._compute(input_ids, attention_mask, token_type_ids, hidden_states, logits)
        if answers is not None and self._loaded.head.kind == "every_token":
            answers = batch.padded(answers)
        return Output(None if states is None else batch.padded(states), answers)

    def _compute(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None,
        token_type_ids: ArrayLike | None,
        hidden_states: bool,
        logits: bool,
    ) -> tuple[RaggedBatch, NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """As `run`, but hidden states [N, hidden], and answers of a head on every token, stay without padding."""
        loaded = self._loaded
        types = token_type_ids if loaded.family.has_token_types else None
        batch = ragged_batch(input_ids, attention_mask, types, padding_id=loaded.padding_id)
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
        return batch, states, answers

    @overload
    def classify(self, texts: str, *, raw_scores: bool = ...) -> Classification: ...  # type: ignore[overload-overlap]  # a str is a sequence
    @overload
    def classify(self, texts: tuple[str, str], *, raw_scores: bool = ...) -> Classification: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, texts: Sequence[Text], *, raw_scores: bool = ...) -> list[Classification]: ...
    def classify(
        self, texts: Text | Sequence[Text], *, raw_scores: bool = False
    ) -> Classification | list[Classification]:
        """Classify texts, or pairs of texts (tuples); a single one gives a single answer.

        Args:
            texts: Texts, or pairs of texts.
            raw_scores: Give the logits, without the function that the folder or the kind of task puts on them.

        Raises:
            CheckpointError: The folder names a function that is not known.
            ConfigurationError: The model has no head for it.
            DataError: An element is no text.
        """
        self._needs("classify", "a head for sequence classification")
        items, single = as_texts(texts)
        activation = "none" if raw_scores else answer_activation(self._source, self._loaded.config, len(self.labels))
        found = [classification(row, activation, self.labels) for output in self._outputs(items) for row in output]
        return found[0] if single else found

    def answer(
        self,
        question: str,
        context: str,
        *,
        max_tokens: int | None = None,
        stride: int | None = None,
        max_answer_tokens: int = 30,
        max_question_tokens: int | None = None,
        null_threshold: float | None = None,
    ) -> Answer:
        """The span of `context` that answers `question`. A long context is read in windows that overlap.

        Args:
            question: The question.
            context: The text that holds the answer.
            max_tokens: Length of a window; None: 384, or the model's where that is less.
            stride: Tokens by which windows overlap; None: 128, or half of what a window leaves to the context.
            max_answer_tokens: The longest answer.
            max_question_tokens: Where a longer question is cut; None: 64, or less in short windows.
            null_threshold: For models of questions without answers (SQuAD 2.0): no answer where its
                `null_score_difference` is above this, usually 0; None: always a span.

        Raises:
            ConfigurationError: The model has no head for it, or the sizes do not fit each other and the model.
            DataError: An argument is out of range, or the context holds no token.
        """
        self._needs("answer", "a head for question answering")
        if max_answer_tokens < 1:
            raise DataError(f"max_answer_tokens is {max_answer_tokens}, allowed is a whole number from 1")
        tokenizer = self.tokenizer
        sizes = window_sizes(
            self.max_tokens if max_tokens is not None else tokenizer.max_tokens,
            tokenizer.special_tokens_of_a_pair,
            length=max_tokens,
            stride=stride,
            question=max_question_tokens,
        )
        batch = tokenizer.encode_windows(question, context, sizes.length, sizes.stride, sizes.question)
        output = self.run(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        assert output.logits is not None
        spans = [
            best_span(output.logits[row, : len(encoding.ids)], offsets_of(encoding, 1), max_answer_tokens)
            for row, encoding in enumerate(batch.encodings)
        ]
        null_score = float(output.logits[:, 0].astype(np.float64).sum(axis=1).min())
        answer = chosen_answer(context, spans, null_score, null_threshold)
        if answer is None:
            raise DataError("the context holds no token; pass a text")
        return answer

    @overload
    def label_tokens(self, texts: str, *, aggregation: Aggregation = ...) -> list[Entity]: ...  # type: ignore[overload-overlap]
    @overload
    def label_tokens(self, texts: Sequence[str], *, aggregation: Aggregation = ...) -> list[list[Entity]]: ...
    def label_tokens(
        self, texts: str | Sequence[str], *, aggregation: Aggregation = "simple"
    ) -> list[Entity] | list[list[Entity]]:
        """The labelled stretches of texts, such as names; what is labelled O is left out.

        Args:
            texts: A text, or several.
            aggregation: "none" (each token), "simple" (neighbours of one entity joined), or "first", "average", "max"
                (each word gets one label first), as in the hub's pipelines.

        Raises:
            ConfigurationError: The model has no head for it, or the aggregation is not known.
            DataError: An element is no text.
        """
        self._needs("label_tokens", "a head for token classification")
        single = isinstance(texts, str)
        items = [
            valid_text(text, f"text {row}") for row, text in enumerate([texts] if isinstance(texts, str) else texts)
        ]
        rules = self.tokenizer.rules
        found: list[list[Entity]] = []
        for chunk in _chunks(items):
            batch = self.tokenizer.encode(chunk)
            output = self.run(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            assert output.logits is not None
            found += [
                entities(
                    *(text, encoding, logits, self.labels),
                    *(rules.tokenizer, rules.special_tokens.get("unk_token"), aggregation),
                )
                for text, encoding, logits in zip(chunk, batch.encodings, output.logits, strict=True)
            ]
        return found[0] if single else found

    def embed(
        self,
        texts: Text | Sequence[Text],
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        max_tokens: int | None = None,
    ) -> NDArray[np.float32]:
        """Embeddings of texts, float32 [B, size]; of a single text [size].

        Without further arguments they are those of sentence-transformers: what the folder's modules.json says, or, in
        a folder without one, the mean of all tokens' states. Each argument takes the place of one thing that the
        folder says.

        Args:
            texts: Texts, or pairs of texts.
            pooling: "mean" of all tokens' states, or the first token's ("cls"), or another of `POOLING_MODES`.
            normalize: Whether to divide each by its length.
            prompt: What is put before each text (before the first of a pair).
            max_tokens: Where longer texts are cut.

        Raises:
            CheckpointError: The folder has a module that is not known.
            DataError: An element is no text, or a value is not allowed.
        """
        if pooling is not None and pooling not in POOLING_MODES:
            raise DataError(f"pooling is {pooling!r:.40}, allowed are {', '.join(POOLING_MODES)}")
        items, single = as_texts(texts)
        if self._sentences is None:
            self._sentences = SentenceRules(self._source, self.tokenizer)
        sentences = self._sentences
        modules, tokenizer = sentences.modules, sentences.tokenizer
        chosen = modules.pooling if pooling is None else Pooling((pooling,))
        start = valid_text(modules.prompt if prompt is None else prompt, "the prompt")
        limit = sentences.max_tokens if max_tokens is None else max_tokens
        prompt_tokens = 0
        if start:
            items = [start + text if isinstance(text, str) else (start + text[0], text[1]) for text in items]
            first = tokenizer.encode([start], limit).encodings[0]
            prompt_tokens = len(first.ids) - first.special_tokens_mask[-1]
        vectors = []
        for chunk in _chunks(items):
            batch = tokenizer.encode(chunk, limit)
            ragged, states, _ = self._compute(
                batch.input_ids, batch.attention_mask, batch.token_type_ids, hidden_states=True, logits=False
            )
            assert states is not None
            vectors.append(pooled(states, ragged.offsets, chosen, prompt_tokens))
        if not vectors:  # the size follows from no text
            vectors.append(np.zeros((0, self.hidden_size * len(chosen.modes)), dtype=np.float32))
        result = sentences.apply(np.concatenate(vectors), normalize)
        return result[0] if single else result

    def _outputs(self, items: list[Any]) -> Iterator[NDArray[np.float32]]:
        for chunk in _chunks(items):
            batch = self.tokenizer.encode(chunk)
            output = self.run(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            assert output.logits is not None
            yield output.logits

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
