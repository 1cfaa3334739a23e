"""File descriptors: how many the process may have, and what happens when it has them all."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from ..logs import ThrottledLog

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from aiohttp import web

log: Final = logging.getLogger("rtframework.engine")

_LEAST: Final = 32
_MOST: Final = 256
"""Descriptors that are kept for refusals, for files and for connections to databases: a tenth, within these bounds."""

_OUT_OF_DESCRIPTORS: Final = "socket.accept() out of system resource"
"""The beginning of asyncio's message."""

_none_free: Final = ThrottledLog(
    log, logging.ERROR, "no connection can be accepted, because the process has no free file descriptor: see ulimit -n"
)


def highest_number() -> int | None:
    """Return the number from which a connection's descriptor is one of the last; ``None`` if there is no bound."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return soft - max(_LEAST, min(soft // 10, _MOST))


def number_of(request: web.Request) -> int:
    """Return the number of the descriptor of a request's TCP connection; -1 if it has none.

    It tells how many descriptors are in use: a new one gets the lowest number that is free (POSIX).
    """
    found = None if request.transport is None else request.transport.get_extra_info("socket")
    return -1 if found is None else int(found.fileno())


def quieten(loop: asyncio.AbstractEventLoop) -> None:
    """Log a connection that could not be accepted as one line, at most one a second, unless the program sees to errors.

    asyncio logs up to a hundred tracebacks a second then.
    """
    if loop.get_exception_handler() is None:
        loop.set_exception_handler(_handle)


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if str(context.get("message", "")).startswith(_OUT_OF_DESCRIPTORS):
        _none_free()
    else:
        loop.default_exception_handler(context)
