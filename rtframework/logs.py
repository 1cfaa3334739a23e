"""Log lines that clients can cause, limited in their rate, and the words in them."""

from __future__ import annotations

import logging
import os
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Final

PERIOD = 1.0
"""Seconds between two lines of one ``ThrottledLog``, at least, unless it has a period of its own."""

_LONGEST: Final = 200
"""Characters of a client's text in a log line."""

_PACKAGE: Final = str(Path(__file__).parent) + os.sep
_STDLIB: Final = tuple(
    os.path.join(path, "") for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
_SITE: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class ThrottledLog:
    """A log line that is written at most once a second, or once in ``period`` seconds.

    The next line tells how many were left out, as does its extra field ``left_out``.
    """

    def __init__(self, log: logging.Logger, level: int, text: str, *, period: float | None = None) -> None:
        self._log = log
        self._level = level
        self._text = text
        self._period = period
        self._next = 0.0
        self._left_out = 0

    def __call__(self, *args: object, extra: Mapping[str, object] | None = None) -> None:
        """Write the line, with extra fields, unless one was written within its period."""
        if not self._log.isEnabledFor(self._level):
            return
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return
        self._next = now + (PERIOD if self._period is None else self._period)
        left_out, self._left_out = self._left_out, 0
        more = f" ({left_out} more since the last such line)" if left_out else ""
        self._log.log(self._level, self._text + more, *args, extra={**(extra or {}), "left_out": left_out})


def throttle(period: float) -> None:
    """Set the seconds between two lines of one ``ThrottledLog``, in the whole process."""
    global PERIOD
    PERIOD = period


class Lazy:
    """An argument of a log line that is made when the line is written: ``str()`` calls the function."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    def __str__(self) -> str:
        return self._make()


def quote(text: object) -> str:
    """Quote a client's text for a log line: without control characters, and at most 200 characters long."""
    shown = repr(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def printable(text: str) -> str:
    """Show a client's text in a log line as it is, but without control characters, and at most 200 characters of it."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return shown if shown.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in shown)


def place_of(code: CodeType) -> str:
    """Return the file and line of a function: ``chat/server.py:41``, below the current folder."""
    return f"{shorten(code.co_filename)}:{code.co_firstlineno}"


def shorten(file: str) -> str:
    """Return a file's name from the current folder on, if it is below it."""
    try:
        here = os.path.join(os.getcwd(), "")
    except OSError:  # the folder was removed
        return file
    return file[len(here) :] if file.startswith(here) else file


def is_of_program(code: CodeType) -> bool:
    """Tell whether code is the program's: not of Python, of what is installed, or of the framework."""
    file = code.co_filename
    if file.startswith((_PACKAGE, "<frozen")) or any(each in file for each in _SITE):
        return False
    return not file.startswith(_STDLIB)
