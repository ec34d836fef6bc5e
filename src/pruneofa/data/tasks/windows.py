"""Questions and their contexts as windows of tokens: what a question-answering model is trained and evaluated on.

A context that is too long for one window is cut into several that overlap by `stride` tokens, as in BERT's and
transformers' own scripts. A window's label is where the answer begins and ends; where the window doesn't hold it whole,
or there is none, both are 0, the place of the opening token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import token_fields
from pruneofa.data.tasks.questions import Question
from pruneofa.question_windows import window_sizes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["WindowDataset", "encode_questions"]

_TOKENIZE_BATCH = 500
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class WindowDataset:
    """Windows of tokens, in the order of their questions; a key may be an index or `(epoch, index)`.

    Attributes:
        questions: as read.
        question_of: index of each window's question, shape [windows].
        input_ids: token ids of each window.
        token_type_ids: segment of each token, if the model tells segments apart; else None.
        context_begin: index of a window's first token of the context, shape [windows].
        offsets: for each token of the context in a window, its first character and the one behind its last; shape
            [context tokens, 2].
        spans: first and last token of the answer, 0 and 0 for none; shape [windows, 2].
        truncated: how many questions were cut to `max_question_length`.
        lengths: tokens of each window, shape [windows].
    """

    questions: list[Question]
    question_of: npt.NDArray[np.int64]
    input_ids: list[IntArray]
    token_type_ids: list[IntArray] | None
    context_begin: npt.NDArray[np.int64]
    offsets: list[IntArray]
    spans: npt.NDArray[np.int64]
    truncated: int
    lengths: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", np.array([len(ids) for ids in self.input_ids], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """One window: `input_ids`, `attention_mask`, `token_type_ids` where there are any, and the span."""
        index = key[1] if isinstance(key, tuple) else key
        start, end = self.spans[index].tolist()
        fields = token_fields(self.input_ids, self.token_type_ids, index)
        return {**fields, "start_positions": start, "end_positions": end}

    @property
    def gold_answers(self) -> dict[str, tuple[str, ...]]:
        """Question id -> the answers that count as right."""
        return {question.id: question.answers for question in self.questions}

    def statistics(self) -> dict[str, Any]:
        """Figures for reports: questions, windows, lengths in tokens, questions without an answer."""
        return {
            "examples": len(self.questions),
            "windows": len(self),
            "truncated": self.truncated,
            "mean_length": float(self.lengths.mean()),
            "longest": int(self.lengths.max()),
            "without_answer": sum(not question.answers for question in self.questions),
        }


def encode_questions(
    questions: list[Question], tokenizer: "PreTrainedTokenizerBase", config: TaskConfig
) -> WindowDataset:
    """Tokenise questions with their contexts, cut into windows of at most `max_length` tokens.

    Raises:
        ConfigurationError: the longest question and the overlap that were given leave no room for the context.
    """
    settings = config.question_answering
    given = settings.model_fields_set
    sizes = window_sizes(
        None,
        tokenizer.num_special_tokens_to_add(pair=True),
        length=config.max_length,
        stride=settings.stride if "stride" in given else None,
        question=settings.max_question_length if "max_question_length" in given else None,
    )
    segments = "token_type_ids" in tokenizer.model_input_names
    texts, truncated = _cut_questions(questions, tokenizer, sizes.question)
    builder = _Builder(segments)
    for begin in range(0, len(questions), _TOKENIZE_BATCH):
        batch = slice(begin, begin + _TOKENIZE_BATCH)
        encoded = tokenizer(
            texts[batch],
            [question.context for question in questions[batch]],
            truncation="only_second",
            max_length=config.max_length,
            stride=sizes.stride,
            padding=False,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=segments,
            verbose=False,
        )
        builder.add(encoded, questions, begin)
    return WindowDataset(
        questions,
        np.array(builder.question_of, dtype=np.int64),
        builder.input_ids,
        builder.token_type_ids if segments else None,
        np.array(builder.context_begin, dtype=np.int64),
        builder.offsets,
        np.array(builder.spans, dtype=np.int64).reshape(-1, 2),
        truncated,
    )


class _Builder:
    """Collects windows from the tokenizer's output."""

    def __init__(self, segments: bool) -> None:
        self._segments = segments
        self.question_of: list[int] = []
        self.input_ids: list[IntArray] = []
        self.token_type_ids: list[IntArray] = []
        self.context_begin: list[int] = []
        self.offsets: list[IntArray] = []
        self.spans: list[tuple[int, int]] = []

    def add(self, encoded: Any, questions: Sequence[Question], begin: int) -> None:
        """Take over the windows of one batch, whose first question is number `begin`."""
        for window, ids in enumerate(encoded["input_ids"]):
            number = begin + encoded["overflow_to_sample_mapping"][window]
            sequence = encoded.sequence_ids(window)
            count = sequence.count(1)
            first = sequence.index(1) if count else 0
            offsets = np.array(encoded["offset_mapping"][window][first : first + count], dtype=np.int32).reshape(-1, 2)
            self.question_of.append(number)
            self.input_ids.append(np.array(ids, dtype=np.int32))
            if self._segments:
                self.token_type_ids.append(np.array(encoded["token_type_ids"][window], dtype=np.int32))
            self.context_begin.append(first)
            self.offsets.append(offsets)
            self.spans.append(_span(questions[number], offsets, first))


def _span(question: Question, offsets: IntArray, first: int) -> tuple[int, int]:
    """First and last token of the first answer in a window; (0, 0) where the window doesn't hold it whole."""
    if not question.answers or not len(offsets):
        return 0, 0
    begin = question.starts[0]
    end = begin + len(question.answers[0])
    if offsets[0, 0] > begin or offsets[-1, 1] < end:
        return 0, 0
    start_token = int(np.searchsorted(offsets[:, 0], begin, side="right")) - 1
    end_token = int(np.searchsorted(offsets[:, 1], end, side="left"))
    return first + start_token, first + max(start_token, end_token)


def _cut_questions(
    questions: list[Question], tokenizer: "PreTrainedTokenizerBase", longest: int
) -> tuple[list[str], int]:
    """The questions' texts, cut to `longest` tokens, and how many were cut."""
    texts = [question.question.strip() for question in questions]
    cut = 0
    for begin in range(0, len(texts), _TOKENIZE_BATCH):
        encoded = tokenizer(
            texts[begin : begin + _TOKENIZE_BATCH], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for position, offsets in enumerate(encoded["offset_mapping"]):
            if len(offsets) > longest:
                texts[begin + position] = texts[begin + position][: offsets[longest - 1][1]]
                cut += 1
    return texts, cut
