"""Log lines that clients can cause, limited in their rate."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

PERIOD: Final = 1.0
"""Seconds between two lines of one ``ThrottledLog``, at least."""

_LONGEST: Final = 200
"""Characters of a client's text in a log line."""


class ThrottledLog:
    """A log line that is written at most once a second.

    The next line tells how many were left out, as does its extra field ``left_out``.
    """

    def __init__(self, log: logging.Logger, level: int, text: str) -> None:
        self._log = log
        self._level = level
        self._text = text
        self._next = 0.0
        self._left_out = 0

    def __call__(self, *args: object, extra: Mapping[str, object] | None = None) -> None:
        """Write the line, with extra fields, unless one was written within the last second."""
        if not self._log.isEnabledFor(self._level):
            return
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return
        self._next = now + PERIOD
        left_out, self._left_out = self._left_out, 0
        more = f" ({left_out} more since the last such line)" if left_out else ""
        self._log.log(self._level, self._text + more, *args, extra={**(extra or {}), "left_out": left_out})


def quote(text: object) -> str:
    """Quote a client's text for a log line: without control characters, and at most 200 characters long."""
    shown = repr(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def printable(text: str) -> str:
    """Show a client's text in a log line as it is, but without control characters, and at most 200 characters of it."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return shown if shown.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in shown)
