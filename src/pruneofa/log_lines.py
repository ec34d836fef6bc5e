"""How far long work is, as log lines: for code that has no terminal of its own."""

import logging
import time

__all__ = ["LogLines"]

_SECONDS_BETWEEN = 10.0


class LogLines:
    """Logs `label: done of of what`, every ten seconds at most, and when all is done.

    Args:
        logger: whose lines they are.
        label: what begins each line.
        what: what is counted, where calls don't say.
    """

    def __init__(self, logger: logging.Logger, label: str, what: str = "") -> None:
        self._logger, self._label, self._what = logger, label, what
        self._last = time.monotonic()

    def __call__(self, done: int, of: int, what: str = "") -> None:
        """Tell that `done` of `of` is done."""
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN or done == of:
            self._logger.info("%s: %d of %d %s", self._label, done, of, what or self._what)
            self._last = now
