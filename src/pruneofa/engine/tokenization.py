"""Text to token ids, with the tokenizer that lies in the model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from pruneofa.engine.source import ModelSource
from pruneofa.errors import CheckpointError, DataError
from pruneofa.texts import Text, as_texts, valid_text

__all__ = ["TextTokenizer", "TokenizedBatch", "load_tokenizer"]

TOKENIZER_NAME = "tokenizer.json"


class TokenizedBatch:
    """Encodings of a batch as padded arrays.

    Attributes:
        encodings: One per sequence.
        input_ids, attention_mask, token_type_ids: int32 [B, T].
    """

    def __init__(self, encodings: Sequence[Encoding]) -> None:
        self.encodings = list(encodings)
        longest = max((len(encoding.ids) for encoding in self.encodings), default=0)
        self.input_ids = np.zeros((len(self.encodings), longest), dtype=np.int32)
        self.attention_mask = np.zeros_like(self.input_ids)
        self.token_type_ids = np.zeros_like(self.input_ids)
        for row, encoding in enumerate(self.encodings):
            length = len(encoding.ids)
            self.input_ids[row, :length] = encoding.ids
            self.token_type_ids[row, :length] = encoding.type_ids
            self.attention_mask[row, :length] = 1


class TextTokenizer:
    """The model's tokenizer, cut to its length.

    Args:
        tokenizer: As it was read; its own truncation and padding are replaced.
        max_tokens: The longest sequence that the model takes.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._plain = tokenizer
        self._plain.no_padding()
        self._plain.enable_truncation(max_tokens)
        self._windows: dict[tuple[int, int], Tokenizer] = {}

    def encode(self, texts: Sequence[Text], max_tokens: int | None = None) -> TokenizedBatch:
        """Encode texts, or pairs of texts; what is longer than the model's length is cut.

        Raises:
            DataError: An element is no text.
        """
        checked, _ = as_texts(list(texts))
        tokenizer = self._plain if max_tokens is None else self._window(max_tokens, 0)
        return TokenizedBatch(tokenizer.encode_batch(checked))

    def encode_windows(self, question: str, context: str, max_tokens: int, stride: int) -> TokenizedBatch:
        """Encode a pair whose second text is cut into windows that overlap by `stride` tokens.

        Raises:
            DataError: The question leaves no room for the context, or one of them is no text.
        """
        question, context = valid_text(question, "the question"), valid_text(context, "the context")
        tokenizer = self._window(min(max_tokens, self._max_tokens), stride)
        try:
            first = tokenizer.encode(question, context)
        except BaseException as error:  # the library's panics are no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            raise DataError(
                f"the question leaves no room for the context within {max_tokens} tokens; shorten it or pass a larger "
                "max_tokens"
            ) from None
        return TokenizedBatch([first, *first.overflowing])

    def _window(self, max_tokens: int, stride: int) -> Tokenizer:
        if not 1 <= max_tokens <= self._max_tokens:
            raise DataError(f"max_tokens is {max_tokens}, allowed is 1 to {self._max_tokens}")
        key = (max_tokens, stride)
        if key not in self._windows:
            copy = Tokenizer.from_str(self._plain.to_str())
            if stride:
                copy.enable_truncation(max_tokens, stride=stride, strategy="only_second")
            else:
                copy.enable_truncation(max_tokens)
            if len(self._windows) >= 16:
                self._windows.clear()
            self._windows[key] = copy
        return self._windows[key]


def load_tokenizer(source: ModelSource, max_tokens: int) -> TextTokenizer:
    """The tokenizer of a model.

    Raises:
        CheckpointError: The model has none, or it is damaged.
    """
    content = source.file(TOKENIZER_NAME)
    if content is None:
        raise CheckpointError(
            f"{source.path}: holds no {TOKENIZER_NAME}, so it takes arrays of token ids alone; save the model together "
            "with its (fast) tokenizer"
        )
    try:
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the library raises nothing more specific
        raise CheckpointError(f"{source.path}: {TOKENIZER_NAME} is no tokenizer ({error}); save it again") from None
    return TextTokenizer(tokenizer, max_tokens)


def offsets_of(encoding: Encoding, sequence: int) -> NDArray[np.int64]:
    """[T, 2]: where in text `sequence` (0 or 1) each token lies; -1 for tokens of the other text and special ones."""
    spans = np.full((len(encoding.ids), 2), -1, dtype=np.int64)
    for index, (owner, span) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True)):
        if owner == sequence:
            spans[index] = span
    return spans
