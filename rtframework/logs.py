"""Log lines that clients can cause, limited in their rate and free of control characters, and the words in them."""

from __future__ import annotations

import logging
import math
import os
import sysconfig
import time
import traceback
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any, Final

PERIOD = 1.0
"""Seconds between two lines of one ``ThrottledLog`` and key, at least, unless it has a period of its own."""

_LONGEST: Final = 200
"""Characters of a client's text in a log line."""

_MOST_KEYS: Final = 256
"""Keys of one ``ThrottledLog``; all beyond share one line."""

_LONGEST_TRACEBACK: Final = 32_000
"""Characters of a traceback; of a longer one the middle is left out."""

_LONGEST_LINE: Final = 1_000
"""Characters of one line of a traceback."""

_REST: Final = object()
"""The key of all that find the table of keys full."""

_PACKAGE: Final = str(Path(__file__).parent) + os.sep
_STDLIB: Final = tuple(
    os.path.join(path, "") for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
_SITE: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_untold: Final[dict[_Line, None]] = {}
"""The lines of all logs that were left out and not counted in the log yet."""


class _Line:
    """What is known of the lines of one ``ThrottledLog`` and key."""

    __slots__ = ("extra", "left_out", "log", "message", "written_at")

    def __init__(self, log: ThrottledLog) -> None:
        self.log = log
        self.written_at = -math.inf
        """The time of the last line, of the monotonic clock."""
        self.left_out = 0
        self.message = ""
        """The message that was written last."""
        self.extra: dict[str, Any] = {}

    def is_due(self, now: float) -> bool:
        """Return whether the next line may be written."""
        period = self.log._period
        return now >= self.written_at + (PERIOD if period is None else period)

    def tell(self, now: float) -> None:
        """Write how many lines were left out since the last one."""
        left_out, self.left_out = self.left_out, 0
        self.written_at = now
        text = f"{self.message} ({left_out} more since the last such line)"
        self.log._write(text, (), None, {**self.extra, "left_out": left_out})


class ThrottledLog:
    """A log line that is written at most once a second, or once in ``period`` seconds, for each key.

    The next line tells how many were left out, as does its extra field ``left_out``; when there is no next one,
    :func:`tell_left_out` does. With an exception, its class and the program's function that it comes from are part of
    the key: one traceback a second for each handler. Control characters are escaped in the message, in the extra
    fields and in the traceback, and each line of a traceback is indented, so that no text of a client's can pass for a
    line of the log.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[Any],
        level: int,
        text: str,
        *,
        period: float | None = None,
    ) -> None:
        self._log = log
        self._level = level
        self._text = text
        self._period = period
        self._lines: dict[Hashable, _Line] = {}
        self._swept = 0.0

    def __call__(
        self,
        *args: object,
        error: BaseException | None = None,
        key: Hashable = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Write the line, with the traceback of ``error`` and extra fields, unless one was within its period.

        A key must be chosen by the program, not by a client, who could write as many lines as there are keys.
        """
        if not self._log.isEnabledFor(self._level):
            return
        now = time.monotonic()
        line = self._line(key if error is None else (key, _origin(error)), now)
        if not line.is_due(now):
            line.left_out += 1
            _untold[line] = None
            return
        line.written_at = now
        left_out, line.left_out = line.left_out, 0
        _untold.pop(line, None)
        more = f" ({left_out} more since the last such line)" if left_out else ""
        fields = {name: _printable(value) if isinstance(value, str) else value for name, value in (extra or {}).items()}
        line.message = self._text % args if args else self._text
        line.extra = fields
        self._write(self._text + more, args, error, {**fields, "left_out": left_out})

    def _line(self, key: Hashable, now: float) -> _Line:
        line = self._lines.get(key)
        if line is not None:
            return line
        if len(self._lines) >= _MOST_KEYS:
            if now >= self._swept + PERIOD:
                self._swept = now
                kept = {each: line for each, line in self._lines.items() if line.left_out or not line.is_due(now)}
                self._lines = kept
            if len(self._lines) >= _MOST_KEYS:
                key = _REST
                line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(self)
        return line

    def _write(
        self, text: str, args: tuple[object, ...], error: BaseException | None, extra: Mapping[str, object]
    ) -> None:
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        log = self._log
        if not isinstance(log, logging.Logger):  # an adapter, or something with its methods
            log.log(self._level, text, *args, exc_info=exc_info, extra=extra)
            return
        file, number, function, _ = log.findCaller(False, 3)
        record = log.makeRecord(log.name, self._level, file, number, text, args, exc_info, function, extra)
        message = record.getMessage()
        if not message.isprintable():
            record.msg, record.args = _printable(message, len(message)), None
        if error is not None:
            record.exc_text = format_error(error)  # formatters take it as it is
        try:
            log.handle(record)
        except Exception:  # noqa: BLE001 - a log that cannot be written must not end the service
            if logging.raiseExceptions:  # as logging.Handler does
                traceback.print_exc()


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


def tell_left_out(*, at_once: bool = False) -> None:
    """Write the counts of lines that were left out a second ago or earlier; ``at_once``: of all."""
    if not _untold:
        return
    now = time.monotonic()
    for line in list(_untold):
        if at_once or line.is_due(now):
            _untold.pop(line, None)
            if line.left_out:
                line.tell(now)


def quote(text: object) -> str:
    """Quote a client's text for a log line: without control characters, and at most 200 characters long."""
    shown = repr(text[: _LONGEST + 1] if isinstance(text, str) else text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def printable(text: object) -> str:
    """Show a client's text in a log line as it is, but without control characters, and at most 200 characters of it."""
    return _printable(str(text))


def show_event(name: object) -> object:
    """Show the name of an event, which may be an integer, for an extra field."""
    return name if isinstance(name, int) else printable(name)


def format_error(error: BaseException) -> str:
    """Format a traceback, indented by two spaces and without control characters, so that no line can be forged."""
    lines: list[str] = []
    for entry in traceback.format_exception(error):
        cut = entry[:_LONGEST_TRACEBACK].removesuffix("\n")
        # Only "\n" ends a line here; the others of str.splitlines() are escaped.
        lines += [f"  {_escape(line[:_LONGEST_LINE])}" for line in cut.split("\n")]
    text = "\n".join(lines)
    if len(text) <= _LONGEST_TRACEBACK:
        return text
    head, tail = _LONGEST_TRACEBACK // 4, _LONGEST_TRACEBACK * 3 // 4
    return f"{text[:head]}\n  …\n  {text[-tail:]}"


def _printable(text: str, longest: int = _LONGEST) -> str:
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return cut if cut.isprintable() else _escape(cut)


def _escape(text: str) -> str:
    """Escape what is not printable: control characters, line separators, lone surrogates, and what reorders text."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _origin(error: BaseException) -> Hashable:
    """Tell where an exception comes from: its class, and the first function outside of the framework that raised it."""
    at = error.__traceback__
    code = None
    while at is not None:
        code = at.tb_frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            break
        at = at.tb_next
    return (type(error), None if code is None else (code.co_filename, code.co_firstlineno))


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
