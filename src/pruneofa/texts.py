"""What counts as a text, decided in one place: for what a caller hands to the engine and for columns of data."""

import math
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from typing import Any

from pruneofa.errors import DataError

__all__ = ["Text", "as_texts", "text_fault", "valid_text"]

Text = str | tuple[str, str]
"""A text, or a pair of texts."""

_SHOWN = 40
_MISSING = ("NAType", "NaTType")  # of pandas, told by name, so that it is not needed
_NEEDED = "a text (str) or a pair of texts (two in a tuple or list) is needed"


def text_fault(value: Any) -> tuple[str, str] | None:
    """Why a value is no text, in words that go after what it was taken from, and a remedy; None where it is one.

    A text is a `str` whose characters can all be written as UTF-8. Half of a surrogate pair (U+D800 to U+DFFF) can't,
    and no tokenizer takes it.
    """
    if isinstance(value, str):
        if value.isascii():
            return None
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            half = ord(value[error.start])
            return (
                f"holds half a surrogate pair (U+{half:04X} at character {error.start + 1}), which is no character",
                "mend the text where it was cut or decoded, or pass text.encode('utf-8', 'replace').decode()",
            )
        return None
    if value is None:
        return "is None, a missing value, not a text", "leave it out, or put a text in its place"
    if type(value).__name__ in _MISSING or (isinstance(value, Real) and math.isnan(value)):
        return f"is {value}, a missing value (as pandas has it), not a text", "leave it out, or fill it (fillna)"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"is {type(value).__name__}, not a text", "decode it, for example with .decode('utf-8')"
    shown = f"is {type(value).__name__} ({_shown(value)}), not a text"
    return shown, "convert it with str() if it is meant to be one"


def valid_text(value: Any, place: str) -> str:
    """`value`, which is a text.

    Args:
        value: anything.
        place: what it was taken from, such as "text 3"; begins the error.

    Raises:
        DataError: it is no text, see `text_fault`.
    """
    if (fault := text_fault(value)) is not None:
        raise DataError(f"{place} {'; '.join(fault)}")
    return str(value)


def as_texts(texts: Any) -> tuple[list[Text], bool]:
    """Texts and pairs of texts as a list, and whether `texts` was a single one.

    Args:
        texts: a `str` or a tuple of two (a single text or pair); else any sequence or other iterable of texts and of
            pairs, each a tuple or list of two; an array or column of them (numpy, pandas, pyarrow), or an array
            [N, 2] of pairs.

    Raises:
        DataError: it is none of these, or an element is no text; names the element and the cause.
    """
    if isinstance(texts, str):
        return [valid_text(texts, "the text")], True
    if isinstance(texts, tuple) and not all(isinstance(item, tuple | list) for item in texts):
        return [_element(texts, "the tuple")], True
    if isinstance(texts, Mapping | Set | bytes | bytearray | memoryview) or not isinstance(texts, Iterable):
        cause = (text_fault(texts) or ("",))[0]
        if isinstance(texts, Mapping | Set):
            cause = f"is {type(texts).__name__}, not a list of texts: its keys or order are none"
        raise DataError(f"the argument {cause}; pass one text, or a list of texts or of pairs")
    if getattr(texts, "ndim", 1) != 1:
        return _from_array(texts)
    if hasattr(texts, "to_pylist"):  # of pyarrow, whose elements are scalars of its own
        texts = texts.to_pylist()
    return [_element(item, f"text {index}") for index, item in enumerate(texts)], False


def _from_array(array: Any) -> tuple[list[Text], bool]:
    """An array of no or two dimensions."""
    shape = tuple(getattr(array, "shape", ()))
    if shape == ():
        return [valid_text(array.item(), "the text")], True
    if len(shape) != 2 or shape[1] != 2:
        raise DataError(
            f"the array of texts has the shape {list(shape)}; [texts], or [pairs, 2] for pairs of texts, is needed"
        )
    rows = getattr(array, "values", array).tolist()  # of pandas or numpy
    return [_element(row, f"text {index}") for index, row in enumerate(rows)], False


def _element(item: Any, place: str) -> Text:
    if isinstance(item, str):
        return valid_text(item, place)
    if getattr(item, "ndim", None) == 1 and hasattr(item, "tolist"):
        item = item.tolist()
    if isinstance(item, tuple | list):
        if len(item) != 2:
            raise DataError(f"{place} is a {type(item).__name__} of {len(item)}; {_NEEDED}")
        return valid_text(item[0], f"{place}[0]"), valid_text(item[1], f"{place}[1]")
    raise DataError(f"{place} {'; '.join(text_fault(item) or ())}; {_NEEDED}")


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
