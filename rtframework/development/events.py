"""Events that come in: those that no handler takes, and the shape of those whose handler raises."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from ..handlers.handler import UNKNOWN
from ..logs import quote

if TYPE_CHECKING:
    from ..handlers.event import Event
    from ..namespaces.socket import Socket
    from ..protocols import CallNext
    from ..types import Handshake

log: Final = logging.getLogger("rtframework.development")

_WIDE: Final = 8
"""Values of an object or array that a shape shows."""
_DEEP: Final = 3
_LONG: Final = 24
"""Characters of a key that a shape shows."""

_LONGEST: Final = 64
"""Characters of a namespace's name that are shown without quotes."""

serving: Final[ContextVar[tuple[Socket, Event] | None]] = ContextVar("serving", default=None)
"""The event that is being served: for the lines that are logged meanwhile."""


class EventWatch:
    """Observes all events of a server, and warns of those that have no handler."""

    async def connect(self, handshake: Handshake, call_next: Callable[[], Awaitable[str]]) -> str:
        """Let a client pass: refusals are logged where they are made."""
        return await call_next()

    async def event(self, socket: Socket, event: Event, call_next: CallNext) -> Any:
        """Serve an event; look afterwards, when middleware may have given it another name."""
        serving.set((socket, event))
        asks = event.packet is not None and event.packet.id is not None
        try:
            return await call_next()
        finally:
            if socket._handler_of(event.name) is UNKNOWN:
                _tell(socket, event.name, asks)

    def start(self) -> None:
        """Start with nothing to prepare."""

    def stop(self) -> None:
        """Stop with nothing to keep."""


def _tell(socket: Socket, name: str | int, asks: bool) -> None:
    namespace, own = socket.namespace, socket._own
    of_all = namespace._listening
    known = {str(each) for each in (*of_all.handlers, *(own.handlers if own is not None else ()))}
    close = difflib.get_close_matches(str(name)[:_LONG], known, 1)
    if close:
        hint = f"did you mean {close[0]!r}?"
    elif of_all.catch_all or (own is not None and own.catch_all):
        return  # a catch-all takes it
    else:
        others = [each.name for each in namespace.server.namespaces.values() if name in each._listening.handlers]
        there = f"{others[0]} has one" if others else f"there are {_listed(known)}" if known else "there is none yet"
        hint = f"{there}; @{_maker(namespace.label)}.on({quote(name)}) adds one"
    log.warning(
        "no handler takes %s in %s: %s (socket %s, %s ack)",
        quote(name),
        shown(socket.nsp),
        hint,
        socket.id,
        "with" if asks else "without",
        extra={"nsp": socket.nsp, "sid": socket.id, "event": name},
    )


def shown(nsp: str) -> str:
    """Return the name of a namespace as it is, or quoted: a client may have chosen it, if it is one of many."""
    return nsp if nsp.isprintable() and len(nsp) <= _LONGEST else quote(nsp)


def _maker(nsp: str) -> str:
    return "io" if nsp == "/" else f'io.of("{nsp}")'


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - _WIDE} more" if len(shown) > _WIDE else ""
    return ", ".join(map(repr, shown[:_WIDE])) + more


def shape_of(args: Sequence[Any]) -> str:
    """Describe the arguments of an event by their types and keys, without any value: ``{text: str, to: [int]}``."""
    return ", ".join(_shape(each, _DEEP) for each in args[:_WIDE]) + ", …" * (len(args) > _WIDE)


def _shape(value: Any, deep: int) -> str:
    if isinstance(value, Mapping):
        if not deep:
            return "{…}"
        parts = [f"{_key(key)}: {_shape(value[key], deep - 1)}" for key in list(value)[:_WIDE]]
        return "{" + ", ".join([*parts, "…"] if len(value) > _WIDE else parts) + "}"
    if isinstance(value, list | tuple):
        if not deep:
            return "[…]"
        kinds = list(dict.fromkeys(_shape(each, deep - 1) for each in value[:_WIDE]))
        count = f" × {len(value)}" if len(value) > 1 else ""
        return "[" + " | ".join(kinds) + count + "]"
    return "null" if value is None else type(value).__name__


def _key(key: object) -> str:
    text = str(key)
    return text if text.isidentifier() and len(text) <= _LONG else "…"
