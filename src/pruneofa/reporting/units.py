"""Numbers and names as people read them: bytes, percent, ratios, durations, cleaned text."""

import math
import unicodedata
from collections.abc import Sequence

MISSING = "-"
"""Stands where a value does not exist."""


def format_bytes(count: int) -> str:
    """`count` bytes in decimal units (1 MB = 1,000,000 bytes), one decimal from kB on, e.g. `42.5 MB`."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        # 999.95 would be written as 1000.0, which is 1.0 of the next unit.
        if value < 999.95 or unit == "TB":
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")


def format_percent(fraction: float, decimals: int = 2) -> str:
    """A fraction of one in percent, without the sign; only what is exactly one is written as 100."""
    text = f"{100 * fraction:.{decimals}f}"
    if fraction < 1 and float(text) >= 100:
        # A sparsity of 0.99999 still has weights left: never round it to "all zero".
        return f"{100 - 10**-decimals:.{decimals}f}"
    return text


def format_ratio(ratio: float | None) -> str:
    """A compression ratio such as `13.7x`; `-` where there is none."""
    return MISSING if ratio is None else f"{ratio:.1f}x"


def format_seconds(seconds: float) -> str:
    """A duration: `0.4 s`, `58 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def clean_text(text: str, limit: int | None = None) -> str:
    """`text` on one line: control characters and lone surrogates become U+FFFD, whitespace one space.

    Args:
        text: any string, e.g. a name read from a file.
        limit: longest result in characters; the middle of a longer text becomes an ellipsis, so that a path keeps
            its last part.
    """
    safe = "".join("\ufffd" if _unsafe(character) else character for character in text)
    line = " ".join(safe.split())
    if limit is None or len(line) <= limit:
        return line
    head = (limit - 1) // 2
    return f"{line[:head]}\u2026{line[len(line) - (limit - 1 - head) :]}"


def _unsafe(character: str) -> bool:
    """Whether a character drives a terminal, reorders text, or may not stand in XML."""
    if character in "\ufffe\uffff":
        return True
    return unicodedata.category(character) in ("Cc", "Cs", "Cf") and not character.isspace()


def metric_label(key: str) -> str:
    """The readable name of a metric key: `eval_accuracy` becomes `accuracy`."""
    return clean_text(key.removeprefix("eval_").replace("_", " ")) or "metric"


def metric_texts(values: Sequence[float | None]) -> tuple[list[str], str]:
    """The column of one metric as text, and its unit (`%` or empty).

    Fractions of one are written in percent, with one decimal, or with two where different values would look alike.
    A column with a value beyond one (SQuAD's EM and F1 are commonly kept as 0 to 100) is written as it is.
    """
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    scale, unit = (100.0, "%") if all(abs(number) <= 1 for number in numbers) else (1.0, "")
    distinct = len(set(numbers))
    decimals = 1 if len({f"{scale * number:.1f}" for number in numbers}) == distinct else 2
    texts = [
        MISSING if value is None or not math.isfinite(value) else f"{scale * value:.{decimals}f}" for value in values
    ]
    return texts, unit
