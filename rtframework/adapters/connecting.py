"""Code that decides about a client: what it emits and other servers do not get keeps nobody out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_is_out: Final[ContextVar[Callable[[], bool] | None]] = ContextVar("is_out", default=None)


@contextmanager
def connecting(is_out: Callable[[], bool]) -> Iterator[None]:
    """Run the connection handlers of a client. ``is_out``: tells whether it still waits to be let in."""
    token = _is_out.set(is_out)
    try:
        yield
    finally:
        _is_out.reset(token)


def is_connecting() -> bool:
    """Tell whether this is run by a connection handler whose client waits to be let in.

    Then an emit that other servers do not get does not raise: nothing but the emit is lost, and an exception would
    refuse the client, who does not come back by itself.
    """
    is_out = _is_out.get()
    return is_out is not None and is_out()
