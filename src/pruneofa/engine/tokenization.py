"""Text to token ids, by the rules that the model's folder states."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, normalizers

from pruneofa.errors import DataError
from pruneofa.folder.tokenizer_files import TextRules
from pruneofa.texts import Text, as_texts, valid_text

__all__ = ["TextTokenizer", "TokenizedBatch", "offsets_of"]


class TokenizedBatch:
    """Encodings of a batch as padded arrays.

    Attributes:
        encodings: One per sequence.
        input_ids, attention_mask: int32 [B, T].
        token_type_ids: The same; None where the folder gives the model none.
    """

    def __init__(self, encodings: Sequence[Encoding], token_types: bool) -> None:
        self.encodings = list(encodings)
        longest = max((len(encoding.ids) for encoding in self.encodings), default=0)
        self.input_ids = np.zeros((len(self.encodings), longest), dtype=np.int32)
        self.attention_mask = np.zeros_like(self.input_ids)
        self.token_type_ids = np.zeros_like(self.input_ids) if token_types else None
        for row, encoding in enumerate(self.encodings):
            length = len(encoding.ids)
            self.input_ids[row, :length] = encoding.ids
            self.attention_mask[row, :length] = 1
            if self.token_type_ids is not None:
                self.token_type_ids[row, :length] = encoding.type_ids


class TextTokenizer:
    """The model's tokenizer, cut to its length.

    Args:
        rules: As the folder states them.
        max_tokens: The longest sequence that the model takes.
        vocabulary: Rows of its table of words.
        lower_case: Lower all texts first.

    Attributes:
        rules: As given.
        max_tokens: What a text is cut to: the model's length, or the tokenizer's where that is less.
        longest: The model's length.
    """

    def __init__(self, rules: TextRules, max_tokens: int, vocabulary: int, *, lower_case: bool = False) -> None:
        self.rules = rules
        self.max_tokens = min(max_tokens, rules.max_length or max_tokens)
        self.longest = max_tokens
        self._vocabulary = vocabulary
        self._rules_text = rules.tokenizer.to_str()
        self._lower_case = lower_case
        self._cut: dict[tuple[int, int], Tokenizer] = {}

    def lowering(self) -> "TextTokenizer":
        """One that lowers its texts first, as `do_lower_case` of sentence-transformers asks."""
        return TextTokenizer(self.rules, self.longest, self._vocabulary, lower_case=True)

    @property
    def special_tokens_of_a_pair(self) -> int:
        """How many special tokens stand around the two texts of a pair."""
        return int(self.rules.tokenizer.num_special_tokens_to_add(True))

    def encode(self, texts: Sequence[Text], max_tokens: int | None = None) -> TokenizedBatch:
        """Encode texts, or pairs of texts; what is longer is cut, on the side that the folder names.

        Args:
            texts: The texts.
            max_tokens: Where to cut; None: `max_tokens` of this object.

        Raises:
            DataError: An element is no text, holds a token that the model has no embedding for, or `max_tokens` is out
                of range.
        """
        checked, _ = as_texts(list(texts))
        tokenizer = self._cut_to(self.max_tokens if max_tokens is None else max_tokens, None)
        return self._checked(tokenizer.encode_batch(checked))

    def encode_windows(
        self, question: str, context: str, max_tokens: int, stride: int, max_question_tokens: int
    ) -> TokenizedBatch:
        """Encode a pair whose second text is cut into windows that overlap by `stride` tokens.

        Raises:
            DataError: One of them is no text, or holds a token that the model has no embedding for.
        """
        question, context = valid_text(question, "the question").strip(), valid_text(context, "the context")
        plain = self.rules.tokenizer.encode(question, add_special_tokens=False)
        if len(plain.ids) > max_question_tokens:
            question = question[: plain.offsets[max_question_tokens - 1][1]]
        first = self._cut_to(max_tokens, stride).encode(question, context)
        return self._checked([first, *first.overflowing])

    def _checked(self, encodings: list[Encoding]) -> TokenizedBatch:
        batch = TokenizedBatch(encodings, self.rules.token_types)
        if batch.input_ids.size and int(batch.input_ids.max()) >= self._vocabulary:
            row, column = (int(index[0]) for index in np.nonzero(batch.input_ids >= self._vocabulary))
            raise DataError(
                f"text {row} holds the token {encodings[row].tokens[column]!r:.80}, number "
                f"{batch.input_ids[row, column]}, but the model's table has {self._vocabulary} rows: the tokenizer is "
                "not the one that it was trained with; resize the model's embeddings (resize_token_embeddings) and "
                "train them, or take the token out of the tokenizer"
            )
        return batch

    def _cut_to(self, max_tokens: int, stride: int | None) -> Tokenizer:
        if type(max_tokens) is not int or not 1 <= max_tokens <= self.longest:
            raise DataError(f"max_tokens is {max_tokens!r:.40}, allowed is 1 to {self.longest}")
        key = (max_tokens, -1 if stride is None else stride)
        found = self._cut.get(key)
        if found is None:
            found = Tokenizer.from_str(self._rules_text)
            found.encode_special_tokens = self.rules.tokenizer.encode_special_tokens
            if self._lower_case:
                normalizer = found.normalizer
                lowered = normalizers.Lowercase()
                found.normalizer = lowered if normalizer is None else normalizers.Sequence([lowered, normalizer])
            found.enable_truncation(
                max_tokens,
                stride=stride or 0,
                strategy="longest_first" if stride is None else "only_second",
                direction=self.rules.truncation_side,
            )
            if len(self._cut) >= 16:
                self._cut.clear()
            self._cut[key] = found
        return found


def offsets_of(encoding: Encoding, sequence: int) -> NDArray[np.int64]:
    """[T, 2]: where in text `sequence` (0 or 1) each token lies; -1 for tokens of the other text and special ones."""
    spans = np.full((len(encoding.ids), 2), -1, dtype=np.int64)
    for index, (owner, span) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True)):
        if owner == sequence:
            spans[index] = span
    return spans
