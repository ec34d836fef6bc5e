"""What a label in a file means: one place that decides it for a task and a model, whatever the file's format.

- One label is one text, however it is written: 1, 1.0 and "1.0" are "1"; true and "TRUE" are "True".
- Null, NaN and an empty cell are no label; -1 is none either (as in GLUE's test sets), unless it is a class by name.
- A label that is a class's name stands for that class, upper and lower case set aside where that leaves no doubt.
- A whole number stands for a class by its number only where somebody has said which number is which class: the task's
  own list of names (a public task's, or `task.label_names`), else a head whose rows have no names but their numbers.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

__all__ = ["NO_LABEL", "LabelSet", "label_text", "listed", "matching_rows", "ordered_labels"]

NO_LABEL = "-1"
"""The number that public data sets write where a label is withheld or nobody agreed on one."""

_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LEADING = re.compile(r"\s*([0-9]{1,9})(?![\w.])")
_UNNAMED = re.compile(r"(?:LABEL_)?(0|[1-9][0-9]*)")
_BOOLEANS = ("True", "False")
_MODELS = "the model's labels"


def label_text(value: Any) -> str | None:
    """The one text of a label, however the file writes it; None where there is no label.

    Raises:
        ValueError: a list, an object, bytes: no label at all. The message says what it is.
    """
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, list | tuple | set):
        raise ValueError("several labels (a list), but a text has one label here")
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float | Decimal):
        if value != value:
            return None
        whole = abs(float(value)) < 2**63 and int(value) == value
        return str(int(value)) if whole else str(value)
    if not isinstance(value, int):
        raise ValueError(f"a {type(value).__name__}, which is no label")
    return str(value)


@lru_cache(4096)
def _plain(written: str) -> str | None:
    """The label in a text."""
    # An accent written as one character or as two is one label.
    text = unicodedata.normalize("NFC", written.strip())
    if _WHOLE.fullmatch(text):
        return str(int(text.partition(".")[0])) if len(text) < 1000 else text
    if text.casefold() in ("true", "false"):
        return text.capitalize()
    return text or None


def ordered_labels(labels: Iterable[str]) -> list[str]:
    """Labels in class order, each once: numbers by value ("2" before "10"), then the others by alphabet.

    Numbers of one value ("1.5", "1.50") are one label, under the first of its forms.
    """
    found: dict[str, str] = {}
    for label in sorted(set(labels)):
        found.setdefault(_number_key(label), label)

    def place(label: str) -> tuple[bool, float, str]:
        return (False, float(label), label) if _NUMBER.fullmatch(label) else (True, 0.0, label)

    return sorted(found.values(), key=place)


def matching_rows(known: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """For each of the `wanted` labels, in order, the row of a head that `known` names; None where they don't match.

    They match where both are the same names in any order, or where the head's names are nothing but its numbers
    (`LABEL_0`, "0"), which stand for the wanted labels in their order.
    """
    if len(known) != len(wanted):
        return None
    rows = [_row_named(label, known) for label in wanted]
    if None not in rows and len(set(rows)) == len(rows):
        return [row for row in rows if row is not None]
    # Rows that are called 0, 1, 2 are no others' 1, 2, 3.
    return None if _has_number(known) and _has_number(wanted) else numbered_rows(known)


def numbered_rows(names: Sequence[str]) -> list[int] | None:
    """The row of each number from 0, where names are nothing but numbers of all rows; else None."""
    found = [_UNNAMED.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in found if match]
    if sorted(numbers) != list(range(len(names))):
        return None
    return [numbers.index(number) for number in range(len(names))]


@dataclass(frozen=True)
class LabelSet:
    """The labels of a task or a trained model, and what a label in a file stands for.

    Attributes:
        names: of the rows of the head, in their order, as they are shown.
        whose: they are, for messages ("the model's labels").
        also: further names of rows.
        numbered: the row of each number from 0; None where nobody has said what a number stands for.
        learned: whether they are all that training has, so that another one wants more training examples.
    """

    names: tuple[str, ...]
    whose: str
    also: Mapping[str, int]
    numbered: tuple[int, ...] | None
    learned: bool = False
    _found: dict[str, int | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of_task(cls, names: Sequence[str], *, listed_by_task: bool) -> "LabelSet":
        """The labels of a task in class order; where the task lists them, numbers stand for them in this order."""
        numbers = range(len(names)) if listed_by_task and not _has_number(names) else numbered_rows(names)
        whose = "label_names" if listed_by_task else "the labels of training"
        return cls(tuple(names), whose, {}, None if numbers is None else tuple(numbers), not listed_by_task)

    @classmethod
    def of_model(cls, known: Sequence[str], listed_by_task: Sequence[str] | None) -> "LabelSet | None":
        """The labels of a trained model on a task; None where the task lists others.

        A model whose rows have no names takes the task's.
        """
        if listed_by_task is None:
            numbers = numbered_rows(known)
            return cls(tuple(known), _MODELS, {}, None if numbers is None else tuple(numbers))
        rows = matching_rows(known, listed_by_task)
        if rows is None:
            return None
        given = dict(zip(listed_by_task, rows, strict=True))
        if numbered_rows(known) is None:
            return cls(tuple(known), _MODELS, given, None if _has_number(listed_by_task) else tuple(rows))
        names = tuple(sorted(given, key=given.__getitem__))
        also = {name: row for row, name in enumerate(known) if name.startswith("LABEL_")}
        return cls(names, _MODELS, also, None if _has_number(names) else tuple(rows))

    def row(self, label: str) -> int | None:
        """The row that a label (see `label_text`) stands for; None where it stands for none."""
        if label not in self._found:  # a file has few labels, each many times
            self._found[label] = self._row(label)
        return self._found[label]

    def _row(self, label: str) -> int | None:
        if (row := _row_named(label, self.names)) is not None:
            return row
        if (alias := _row_named(label, list(self.also))) is not None:
            return list(self.also.values())[alias]
        number = self._number(label)
        return self.numbered[number] if number is not None and self.numbered is not None else None

    def remedy(self, label: str) -> str:
        """What to do about a label that stands for no row, for the end of a message."""
        number = _WHOLE.fullmatch(label) is not None
        if number and self.numbered is None and not _has_number(self.names):
            order = ", ".join(f"{place} is {name}" for place, name in enumerate(self.names[:20]))
            return (
                "a number, and nothing says which label it stands for: list them in the order of the numbers; if "
                f"{order}, that is --set task.label_names='[{', '.join(self.names[:20])}]'"
            )
        if not number and numbered_rows(self.names) is not None and self.names[0].startswith("LABEL_"):
            return "these rows have no names: list the labels in the rows' order in task.label_names"
        if self.whose != _MODELS:
            return "correct the row or " + ("add training examples" if self.learned else "the list")
        return "write it as one of these, or evaluate a model that was trained on it"

    def _number(self, label: str) -> int | None:
        if label in _BOOLEANS:
            label = str(int(label == "True"))
        if not (label.isascii() and label.isdecimal()) or self.numbered is None or len(label) > 9:
            return None
        return int(label) if int(label) < len(self.numbered) else None


def listed(names: Sequence[str]) -> str:
    """Names for a message, twenty at most."""
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _row_named(label: str, names: Sequence[str]) -> int | None:
    """The row with this name: exactly, as a number of the same value, else in another case where that leaves no doubt.

    0 and 1 are false and true; where every name begins with a number of its own ("1 star", "2 stars"), that is enough.
    """
    if label in names:
        return names.index(label)
    keys = [_number_key(label_text(name) or name) for name in names]
    for wanted, among in (
        (_number_key(label), keys),
        (label.casefold(), [key.casefold() for key in keys]),
        ({"0": "False", "1": "True"}.get(label), keys if set(keys) == set(_BOOLEANS) else []),
        (label, _leading_numbers(names)),
    ):
        if among.count(str(wanted)) == 1:
            return among.index(str(wanted))
    return None


def _number_key(label: str) -> str:
    """One text for all forms of a number; other labels as they are."""
    if not _NUMBER.fullmatch(label) or label.isdecimal():
        return label
    value = float(label)
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)


def _leading_numbers(names: Sequence[str]) -> list[str]:
    """The numbers that all names begin with; [] where one doesn't, or two begin alike."""
    found = [match[1] for name in names if (match := _LEADING.match(name))]
    return found if len(set(found)) == len(names) else []


def _has_number(names: Sequence[str]) -> bool:
    """Whether a name says itself which number it is."""
    return any(_WHOLE.fullmatch(name.strip()) for name in names) or bool(_leading_numbers(names))
