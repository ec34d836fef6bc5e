"""JSON text read as a stream of values: of each one as much is held in memory as it needs, up to a limit."""

import codecs
import json
from typing import Any, BinaryIO

from pruneofa.data.sources.lines import MAX_RECORD_BYTES
from pruneofa.errors import DataError

__all__ = ["BrokenJson", "JsonText"]

_CHUNK = 2**16
_SPACES = " \t\n\r"
# A value that the end of what was read cuts apart looks faulty at most so far before it: "-Infinit", "\\ud83d\\ude0".
_LONGEST_TOKEN = 16


class BrokenJson(Exception):  # noqa: N818 (a state of the text, which becomes a DataError)
    """Text that is no JSON.

    Attributes:
        cause: in a few words.
        line: number of the line, from 1.
    """

    def __init__(self, cause: str, line: int) -> None:
        super().__init__(cause, line)
        self.cause = cause
        self.line = line


class JsonText:
    """A position in JSON text.

    Args:
        file: open for reading bytes.
        encoding: of the text, a byte order mark included.
        name: of the file, for errors.
    """

    def __init__(self, file: BinaryIO, encoding: str, name: str) -> None:
        utf8 = encoding == "utf-8"
        decoder = codecs.getincrementaldecoder("utf-8-sig" if utf8 else encoding)
        self._decoder = decoder("surrogateescape" if utf8 else "strict")
        self._json = json.JSONDecoder()
        self._file = file
        self._name = name
        self._text = ""
        self._ended = False
        self._line, self._counted = 1, 0
        self._mark: tuple[int, int] | None = None
        self.at = 0
        self._more()

    @property
    def line(self) -> int:
        """Number of the line at the position, from 1."""
        self._line += self._text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def peek(self) -> str:
        """The next character that is no white space, at which the position is then; "" at the end."""
        while True:
            text, at, end = self._text, self.at, len(self._text)
            while at < end and text[at] in _SPACES:
                at += 1
            self.at = at
            if at < end:
                return text[at]
            if not self._more():
                return ""

    def skip(self, character: str) -> bool:
        """Go behind `character`, where it is the next one."""
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def value(self) -> tuple[Any, str]:
        """The value at the position, and its text; the position is behind it then.

        Raises:
            BrokenJson: there is none, or it can't be read.
            DataError: it is too long.
        """
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:
                inside = error.pos < len(self._text) - _LONGEST_TOKEN and not error.msg.startswith("Unterminated")
                line = self.line + self._text.count("\n", self.at, error.pos)
                if inside or not self._more():
                    raise BrokenJson(error.msg, line) from error
            except (ValueError, RecursionError) as error:  # a number of too many digits, values nested too deeply
                raise BrokenJson(str(error), self.line) from error
            else:
                if end < len(self._text) or not self._more():  # a number may go on
                    begin, self.at = self.at, end
                    return value, self._text[begin:end]

    def rest_of_line(self) -> str | None:
        """The text from the position to the end of the line, behind which the position is then; None at the end."""
        while (end := self._text.find("\n", self.at)) < 0:
            if not self._more():
                end = len(self._text) - 1
                break
        if end < self.at:
            return None
        begin, self.at = self.at, end + 1
        return self._text[begin : end + 1]

    def complete_line(self) -> str | None:
        """The text from the position to the end of the line, where that has been read; the position stays."""
        end = self._text.find("\n", self.at)
        return self._text[self.at : end] if end >= 0 else None

    def hold(self) -> None:
        """Keep the text from the position on, so that `back` can return to it."""
        self._mark = (self.at, self.line)

    def back(self) -> None:
        """Return to the position that is held, which is held no more."""
        assert self._mark is not None
        self.at, self._line = self._mark
        self._counted, self._mark = self.at, None

    def release(self) -> None:
        """Stay at the position; hold the other one no more."""
        self._mark = None

    def _more(self) -> bool:
        """Read on, twice as much as is held, so that a long value is not looked at too often; False at the end."""
        keep = self.at if self._mark is None else self._mark[0]
        held = len(self._text) - keep
        if held > MAX_RECORD_BYTES:
            raise DataError(f"{self._name}:{self.line}: a value of more than {MAX_RECORD_BYTES} characters; split it")
        if self._ended:
            return False
        raw = self._file.read(max(_CHUNK, held))
        self._ended = not raw
        _ = self.line  # counts what goes
        self._text = self._text[keep:] + self._decoder.decode(raw, final=self._ended)
        self.at -= keep
        self._counted = self.at
        if self._mark is not None:
            self._mark = (0, self._mark[1])
        return not self._ended or len(self._text) > held
