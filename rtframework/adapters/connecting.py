"""Code that decides about a client: what it emits and other servers do not get keeps nobody out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar
from weakref import ref

T = TypeVar("T")

_asking: Final[ContextVar[tuple[ref[Any], Callable[[Any], bool]] | None]] = ContextVar("asking", default=None)


@contextmanager
def connecting(client: T, is_out: Callable[[T], bool]) -> Iterator[None]:
    """Run the connection handlers of a client. ``is_out``: tells whether it still waits to be let in.

    A timer or a task that is started meanwhile keeps the context, but not the client.
    """
    token = _asking.set((ref(client), is_out))
    try:
        yield
    finally:
        _asking.reset(token)


def is_connecting() -> bool:
    """Tell whether this is run by a connection handler whose client waits to be let in.

    Then an emit that other servers do not get does not raise: nothing but the emit is lost, and an exception would
    refuse the client, who does not come back by itself.
    """
    asking = _asking.get()
    if asking is None:
        return False
    client = asking[0]()
    return client is not None and asking[1](client)
