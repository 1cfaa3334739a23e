"""How a command fails: an exit code, and one line on stderr."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """What the exit codes of ``rtframework`` mean."""

    DONE = 0
    FAILED = 1
    """The program cannot be loaded or served; a server refused us."""
    USAGE = 2
    UNREACHABLE = 3
    """No server, or none that speaks Socket.IO, answers at the URL."""
    TIMED_OUT = 4
    """What was waited for did not come in time."""
    LOST = 5
    """The connection ended before the command was done."""
    INTERRUPTED = 130
    """By Ctrl-C, as shells count."""
    CLOSED_PIPE = 141
    """Whoever read the output has gone, as shells count."""


class Failure(Exception):
    """Ends a command. The message is shown as one line; ``details``, say a traceback, above it."""

    def __init__(self, message: str, code: Exit = Exit.FAILED, *, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details
