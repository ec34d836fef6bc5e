"""Read a JSON document strictly: every value is checked, and a fault names the place where it is."""

import json
import math
from typing import Any

from pruneofa.errors import DataError


class Decoder:
    """One value of a document, with the path that leads to it."""

    def __init__(self, value: Any, source: str, path: str = "") -> None:
        self._value, self._source, self._path = value, source, path

    @classmethod
    def parse(cls, text: str, source: str) -> "Decoder":
        """The root of the JSON document `text`; `source` is its name in messages.

        Raises:
            DataError: it is not JSON.
        """
        try:
            return cls(json.loads(text), source)
        except RecursionError as error:
            raise DataError(f"{source}: not a report: nested too deeply; write it again") from error
        except ValueError as error:
            raise DataError(f"{source}: not valid JSON ({error}); write the report again") from error

    def error(self, allowed: str) -> DataError:
        """The fault of this value, which must be `allowed` instead."""
        shown = repr(self._value)
        if len(shown) > 60:
            shown = f"{shown[:60]}..."
        return DataError(f"{self._source}: {self._path or 'document'} is {shown}, must be {allowed}")

    def __getitem__(self, key: str) -> "Decoder":
        if not isinstance(self._value, dict):
            raise self.error("an object")
        path = f"{self._path}.{key}" if self._path else key
        if key not in self._value:
            raise DataError(f"{self._source}: {path} is missing; write the report again")
        return Decoder(self._value[key], self._source, path)

    def __contains__(self, key: str) -> bool:
        return isinstance(self._value, dict) and key in self._value

    def no_other_keys(self, *allowed: str) -> None:
        """Raises: DataError if the object has a key that is not in `allowed`."""
        if isinstance(self._value, dict):
            for key in self._value:
                if key not in allowed:
                    where = self._path or "document"
                    raise DataError(f"{self._source}: {where} has an unknown key {key!r}; known: {', '.join(allowed)}")

    def items(self) -> list["Decoder"]:
        """The members of an array."""
        if not isinstance(self._value, list):
            raise self.error("an array")
        return [Decoder(value, self._source, f"{self._path}[{i}]") for i, value in enumerate(self._value)]

    def entries(self) -> list[tuple[str, "Decoder"]]:
        """The keys and values of an object."""
        if not isinstance(self._value, dict):
            raise self.error("an object")
        return [(key, self[key]) for key in self._value]

    def text(self) -> str:
        """A string."""
        if not isinstance(self._value, str):
            raise self.error("a string")
        return self._value

    def integer(self) -> int:
        """A whole number, not negative."""
        if not isinstance(self._value, int) or isinstance(self._value, bool) or self._value < 0:
            raise self.error("a whole number, not negative")
        return self._value

    def number(self) -> float:
        """A finite number."""
        if isinstance(self._value, bool) or not isinstance(self._value, (int, float)):
            raise self.error("a finite number")
        try:
            value = float(self._value)
        except OverflowError:
            raise self.error("a finite number") from None
        if not math.isfinite(value):
            raise self.error("a finite number")
        return value

    def optional_number(self) -> float | None:
        """A finite number or null."""
        return None if self._value is None else self.number()
