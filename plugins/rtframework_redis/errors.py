"""Exceptions of connections to Redis.

::

    LinkError
    ├── LinkLost       the connection has ended; .written says whether the command may have been executed
    ├── LinkRefused    no connection: unreachable, too slow, a wrong password, still loading
    ├── LinkFull       too many bytes of commands wait for their replies; the command was not sent
    └── ReplyError     Redis answered with an error; .code is its first word
"""

from __future__ import annotations

from typing import NamedTuple

from rtframework.exceptions import RTFrameworkError


class LinkError(RTFrameworkError):
    """The base class of errors of a connection to Redis."""


class LinkLost(LinkError, ConnectionError):
    """The connection ended before the reply.

    ``written``: the command may have reached Redis and may have been executed, so sending it again could execute it
    twice. If it is false, the command has not left this process.
    """

    def __init__(self, reason: str, *, written: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.written = written


class LinkRefused(LinkError, ConnectionError):
    """A connection could not be opened.

    The message names the address without its password. ``code``: the first word of Redis' error, e.g. ``"WRONGPASS"``,
    or an empty string if Redis did not answer with one.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class LinkFull(LinkError):
    """Too many bytes of commands wait for their replies: await ``link.room()``. The command was not sent."""


class Redirect(NamedTuple):
    """Another server that a reply of Redis Cluster names. ``host`` is empty for the host that answered."""

    slot: int
    host: str
    port: int
    asking: bool
    """The slot is being moved: the other server takes commands that follow ``ASKING`` only."""


class ReplyError(LinkError):
    """Redis answered a command with an error.

    ``code``: the first word, by which Redis tells its errors apart: ``"MOVED"``, ``"READONLY"``, ``"NOSCRIPT"``,
    ``"LOADING"``, ``"OOM"``, ``"NOPERM"`` …, and ``"ERR"`` for all others.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]

    @property
    def redirect(self) -> Redirect | None:
        """The server that a ``MOVED`` or ``ASK`` names, or ``None`` for other errors."""
        if self.code not in ("MOVED", "ASK"):
            return None
        _, slot, address, *_ = [*str(self).split(" "), "", ""]
        host, _, port = address.rpartition(":")
        if not (slot.isdecimal() and port.isdecimal()):
            return None
        return Redirect(int(slot), host, int(port), self.code == "ASK")
