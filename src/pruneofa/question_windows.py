"""How a long context is cut into windows for a model: sizes that fit its length, where nobody names others."""

from dataclasses import dataclass

from pruneofa.errors import ConfigurationError

__all__ = ["WindowSizes", "window_sizes"]

USUAL_LENGTH = 384
USUAL_STRIDE = 128
USUAL_QUESTION = 64


@dataclass(frozen=True)
class WindowSizes:
    """In tokens: a window's length, what neighbours share, and the longest question; longer ones are cut."""

    length: int
    stride: int
    question: int


def window_sizes(
    longest: int | None,
    special_tokens: int,
    *,
    length: int | None = None,
    stride: int | None = None,
    question: int | None = None,
) -> WindowSizes:
    """The sizes given, and for the rest the usual ones (384, 128, 64), as far as they fit the model.

    Args:
        longest: The longest sequence that the model takes; None where it has no limit.
        special_tokens: How many the tokenizer puts around a pair.
        length, stride, question: What the caller wants; None: as above.

    Raises:
        ConfigurationError: They do not fit each other or the model; the text names what does.
    """
    if length is not None and longest is not None and length > longest:
        raise ConfigurationError(
            f"max_length is {length}, but the model takes at most {longest} tokens; set max_length to {longest} or less"
        )
    size = length if length is not None else min(USUAL_LENGTH, longest or USUAL_LENGTH)
    if size <= special_tokens + 2:
        raise ConfigurationError(
            f"max_length is {size}, of which {special_tokens} are special tokens: too short for a question and a "
            "context; use a model that takes longer texts"
        )
    asked = question if question is not None else max(1, min(USUAL_QUESTION, (size - special_tokens) // 2))
    room = size - asked - special_tokens
    if room < 1:
        raise ConfigurationError(
            f"max_question_length is {asked}, but max_length = {size} leaves {room} tokens for the context beside it; "
            f"set max_question_length to {size - special_tokens - 1} or less"
        )
    shared = stride if stride is not None else min(USUAL_STRIDE, room // 2)
    if not 0 <= shared < room:
        raise ConfigurationError(
            f"stride is {shared}, but max_length = {size} leaves {room} tokens for the context beside a question of "
            f"max_question_length = {asked}; set stride to {room - 1} or less"
            + ("" if longest is not None and size >= longest else ", or raise max_length (--max_length)")
        )
    return WindowSizes(size, shared, asked)
