"""Failures of commands: an exit code, and one line on stderr."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """The exit codes of ``rtframework``."""

    DONE = 0
    FAILED = 1
    """The program cannot be loaded or served, or a server has refused the client."""
    USAGE = 2
    UNREACHABLE = 3
    """No Socket.IO server, or no Redis, answers at the URL."""
    TIMED_OUT = 4
    """An acknowledgement or event did not arrive in time."""
    LOST = 5
    """The connection ended before the command was done, or before it was known whether it was."""
    INTERRUPTED = 130
    """Ended by Ctrl-C: 128 + SIGINT, as in shells."""
    CLOSED_PIPE = 141
    """The reader of the output has gone: 128 + SIGPIPE, as in shells."""


class Failure(Exception):
    """Ends a command. The message is shown as one line, with ``details``, e.g. a traceback, above it."""

    def __init__(self, message: str, code: Exit = Exit.FAILED, *, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details
