"""The log in a terminal: short lines, in colour where colours are seen."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from typing import Final, TextIO

from ..logs import is_of_program
from .events import serving, shape_of, shown

_PERIOD: Final = 5.0
"""Seconds for which a line that is the same as an earlier one is left out."""
_KEPT: Final = 200
"""Lines that are remembered."""

_DIM: Final = "2"
_COLOURS: Final = {"DEBUG": _DIM, "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def show_in_terminal(level: int, stream: TextIO | None = None) -> bool:
    """Write the log to stderr. Return ``False``, and do nothing, if the program has set up logging already."""
    root = logging.getLogger()
    if root.handlers:
        return False
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TerminalFormatter(has_colours(stream)))
    handler.addFilter(Repeats())
    root.addHandler(handler)
    root.setLevel(level)
    return True


def has_colours(stream: TextIO) -> bool:
    """Tell whether a stream shows colours: a terminal, unless ``NO_COLOR`` is set (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


class Repeats(logging.Filter):
    """Leaves out lines that are the same as one within the last 5 seconds; the next one tells how many."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be written."""
        now, text = time.monotonic(), f"{record.name} {record.getMessage()}"
        next_time, left_out = self._seen.pop(text, (0.0, 0))
        if now < next_time:
            self._seen[text] = (next_time, left_out + 1)
            return False
        self._seen[text] = (now + _PERIOD, 0)
        if len(self._seen) > _KEPT:
            del self._seen[next(iter(self._seen))]
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more of these)", ()
        return True


class TerminalFormatter(logging.Formatter):
    """Writes the time, the level and the text of a line; of a traceback only what concerns the program."""

    def __init__(self, colours: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        level = self._paint(f"{record.levelname.lower():<7}", _COLOURS.get(record.levelname, ""))
        ours = record.name.startswith("rtframework") or record.name == "py.warnings"
        name = "" if ours else self._paint(f"{record.name}: ", _DIM)
        lines = [f"{self._paint(self.formatTime(record, self.datefmt), _DIM)} {level} {name}{record.getMessage()}"]
        about = _about(record)
        if about:
            lines.append(self._paint(f"  {about}", _DIM))
        if record.exc_info and record.exc_info[1] is not None:
            *frames, last = _traceback(record.exc_info[1]).splitlines()
            lines += [*(self._paint(each, _DIM) for each in frames), self._paint(last, _COLOURS["ERROR"])]
        return "\n".join(lines)

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour else text


def _about(record: logging.LogRecord) -> str:
    """Say what was being served, and what shape its payload has, if a handler has raised."""
    now = serving.get()
    if now is None or not record.exc_info:
        return ""
    socket, event = now
    name = event.packet.data[0] if event.packet is not None else event.name
    if (getattr(record, "sid", None), getattr(record, "event", None)) != (socket.id, name):
        return ""
    return f"in {shown(socket.nsp)}, for socket {socket.id}, with ({shape_of(event.args)})"


def _traceback(error: BaseException) -> str:
    """Write a traceback without the frames of the framework above the program's first."""
    frames = error.__traceback__
    while frames is not None and not is_of_program(frames.tb_frame.f_code):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return "".join(lines).rstrip()
