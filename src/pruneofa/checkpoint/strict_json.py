"""JSON from files that may be damaged or hostile: capped in size and depth, no doubled keys, no NaN."""

import json
import math
from typing import Any

from pruneofa.errors import CheckpointError

__all__ = ["MAX_DEPTH", "normalised_json", "parse_json"]

MAX_DEPTH = 32


def parse_json(data: bytes, where: str, max_bytes: int) -> Any:
    """Parse UTF-8 JSON strictly.

    Args:
        data: The text.
        where: What it is, for error messages (file, or file and part).
        max_bytes: The longest text accepted.

    Raises:
        CheckpointError: Too long, not UTF-8, not JSON, a doubled key, nested deeper than 32, NaN or infinity,
            or text that is no valid Unicode.
    """
    if len(data) > max_bytes:
        raise CheckpointError(
            f"{where}: the JSON text has {len(data)} bytes, at most {max_bytes} are allowed; the file is damaged or "
            "not what it says it is"
        )
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_without_doubled_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
        )
    except RecursionError:
        raise CheckpointError(_too_deep(where)) from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise CheckpointError(f"{where}: not valid JSON ({error}); restore the file or write it again") from None
    _check_tree(value, where)
    return value


def normalised_json(value: Any, where: str) -> Any:
    """`value` as it comes back from a JSON file (tuples become lists), so that what is written equals what is read.

    Raises:
        CheckpointError: The value is not JSON.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{where}: not a JSON value ({error}); use only text, finite numbers, lists, objects"
        ) from None
    return parse_json(text.encode(), where, max_bytes=2**26)


def _object_without_doubled_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        doubled = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {doubled[:80]!r} appears twice in one object")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value


def _too_deep(where: str) -> str:
    return f"{where}: the JSON is nested deeper than {MAX_DEPTH} levels; the file is damaged or hostile"


def _check_tree(value: Any, where: str) -> None:
    stack = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise CheckpointError(_too_deep(where))
        if isinstance(node, dict):
            stack.extend((child, depth + 1) for child in node.values())
            stack.extend((key, depth) for key in node)
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)
        elif isinstance(node, str):
            try:
                node.encode("utf-8")
            except UnicodeEncodeError:
                raise CheckpointError(f"{where}: the text {node[:80]!r} holds a lone surrogate, not Unicode") from None
