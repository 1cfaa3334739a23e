"""What is left of a TCP connection that has ended: asyncio's transport, which is a cycle of objects by itself."""

from __future__ import annotations

from asyncio import selector_events
from typing import Any, Final

_SelectorSocketTransport: Final[Any] = getattr(selector_events, "_SelectorSocketTransport", ())
"""asyncio's own class; with a Python that names it otherwise, transports wait for the collector again."""


def release(transport: object) -> None:
    """Break the cycle of a transport that has called ``connection_lost``: its memory is free at once.

    asyncio's transports keep a bound method of themselves for what is read, so that each closed connection, about 1 KB,
    waits for Python's cyclic garbage collector. Others, as those of uvloop and of TLS, are left alone.
    """
    if isinstance(transport, _SelectorSocketTransport):
        transport._read_ready_cb = _read_nothing


def _read_nothing(*_: Any) -> None:
    """Do nothing: a closed connection is not read."""
