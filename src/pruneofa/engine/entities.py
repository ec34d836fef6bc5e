"""From the logits of a token classifier to named stretches of a text, as the hub's pipelines give them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from pruneofa.errors import ConfigurationError

__all__ = ["AGGREGATIONS", "Aggregation", "Entity", "entities"]

Aggregation = Literal["none", "simple", "first", "average", "max"]
AGGREGATIONS: tuple[Aggregation, ...] = ("none", "simple", "first", "average", "max")
"""none: each token; simple: neighbours of one entity; the others first agree on one label for each word, by its first
token, the mean of its tokens' probabilities, or its surest token."""

_OUTSIDE = "O"


@dataclass(frozen=True)
class Entity:
    """A stretch of a text, `text[start:end]`.

    Attributes:
        entity: Its label; of joined tokens without the B- or I- before it.
        score: Its probability; of joined tokens the mean.
        word: Its tokens, joined.
        start: Its first character.
        end: The character behind its last.
    """

    entity: str
    score: float
    word: str
    start: int
    end: int


@dataclass(frozen=True)
class _Token:
    word: str
    probabilities: NDArray[np.float64]
    start: int
    end: int
    continues: bool


@dataclass(frozen=True)
class _Labelled:
    label: str
    score: float
    word: str
    start: int
    end: int


def entities(
    text: str,
    encoding: Encoding,
    logits: NDArray[np.float32],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    unknown: str | None,
    aggregation: Aggregation,
) -> list[Entity]:
    """The entities of one text, in its order; what is labelled O is left out.

    Args:
        text: As it was encoded.
        encoding: Its tokens.
        logits: [at least tokens, labels].
        labels: Names of the logits.
        tokenizer: Joins tokens to words.
        unknown: The unknown token, in whose place the text's own characters stand.
        aggregation: As of `AGGREGATIONS`.

    Raises:
        ConfigurationError: An aggregation that is not known.
    """
    if aggregation not in AGGREGATIONS:
        raise ConfigurationError(f"aggregation is {aggregation!r:.40}, allowed are {', '.join(AGGREGATIONS)}")
    tokens = _tokens(text, encoding, logits, tokenizer, unknown)
    if aggregation in ("none", "simple"):
        found = [_best(token, token.probabilities, token.word, token.end, labels) for token in tokens]
    else:
        found = [_word(group, aggregation, labels, tokenizer) for group in _words(tokens)]
    if aggregation != "none":
        found = [_joined(group, tokenizer) for group in _neighbours(found)]
    return [Entity(item.label, item.score, item.word, item.start, item.end) for item in found if item.label != _OUTSIDE]


def _tokens(
    text: str, encoding: Encoding, logits: NDArray[np.float32], tokenizer: Tokenizer, unknown: str | None
) -> list[_Token]:
    values = logits[: len(encoding.ids)].astype(np.float64)
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    shares = exponentials / exponentials.sum(axis=1, keepdims=True)
    by_prefix = bool(getattr(tokenizer.model, "continuing_subword_prefix", None))
    tokens = []
    for index, special in enumerate(encoding.special_tokens_mask):
        if special:
            continue
        word, (start, end) = encoding.tokens[index], encoding.offsets[index]
        own = text[start:end]
        continues = len(word) != len(own) if by_prefix else start > 0 and " " not in text[start - 1 : start + 1]
        if word == unknown:
            word, continues = own, False
        tokens.append(_Token(word, shares[index], start, end, continues))
    return tokens


def _best(first: _Token, probabilities: NDArray[np.float64], word: str, end: int, labels: Sequence[str]) -> _Labelled:
    best = int(probabilities.argmax())
    return _Labelled(labels[best], float(probabilities[best]), word, first.start, end)


def _words(tokens: list[_Token]) -> list[list[_Token]]:
    words: list[list[_Token]] = []
    for token in tokens:
        if words and token.continues:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _word(tokens: list[_Token], aggregation: Aggregation, labels: Sequence[str], tokenizer: Tokenizer) -> _Labelled:
    if aggregation == "first":
        probabilities = tokens[0].probabilities
    elif aggregation == "max":
        probabilities = max(tokens, key=lambda token: float(token.probabilities.max())).probabilities
    else:
        probabilities = np.mean([token.probabilities for token in tokens], axis=0)
    word = _text_of([token.word for token in tokens], tokenizer)
    return _best(tokens[0], probabilities, word, tokens[-1].end, labels)


def _neighbours(found: list[_Labelled]) -> list[list[_Labelled]]:
    groups: list[list[_Labelled]] = []
    for item in found:
        if groups and not item.label.startswith("B-") and _tag(item.label) == _tag(groups[-1][-1].label):
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def _joined(group: list[_Labelled], tokenizer: Tokenizer) -> _Labelled:
    return _Labelled(
        group[0].label.split("-", 1)[-1],
        float(np.mean([item.score for item in group])),
        _text_of([item.word for item in group], tokenizer),
        group[0].start,
        group[-1].end,
    )


def _tag(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _text_of(tokens: list[str], tokenizer: Tokenizer) -> str:
    return str(tokenizer.decoder.decode(tokens)) if tokenizer.decoder is not None else " ".join(tokens)
