"""What a server knows of itself, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .counters import Counters
    from .protocols import Adapter, ConnectionMonitor


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a server at one moment: what :meth:`rtframework.Server.stats` returns.

    Those of this moment come first. The others count from the making of the server and never go down. A table has
    every name that the framework knows, with 0 where nothing has happened. Where a name is the program's own (the code
    of an ``EventError``), those beyond the first 200 are counted under ``"(other)"``. No name is a client's.

    A namespace that clients brought into being is counted under the name of its parent, ``"/chat/{tenant}"``.

    Example::

        stats = io.stats()
        print(stats.connections["websocket"], stats.dropped["slow_consumer"])
    """

    connections: Mapping[str, int]
    """Open connections, by transport: ``polling``, ``websocket``."""
    sockets: Mapping[str, int]
    """Sockets, by namespace."""
    rooms: Mapping[str, int]
    """Rooms with somebody in them, by namespace, the room of each socket's own id among them. Adapters that do not
    tell (``room_count``) are left out."""
    outbox_bytes: int
    """Bytes that were emitted and have not left the process, all clients together."""
    waiting_handlers: int
    """Event and connection handlers that have begun and wait for something."""

    opened: int
    """Connections that were opened."""
    upgrades: int
    """Connections that have changed from polling to websocket."""
    closed: Mapping[str, int]
    """Connections that have ended, by reason: those of ``DisconnectReason``."""
    requests_refused: Mapping[str, int]
    """HTTP requests of the protocol that were refused: ``session_id_unknown``, ``forbidden``, ``origin_not_allowed``,
    ``too_many_unconnected`` …; see the codes and names of ``ConnectionFailure``."""
    connects: Mapping[str, int]
    """What became of clients that asked for a namespace: ``connected``; refused by ``authentication``,
    ``middleware`` or a ``connection_handler``, because of an ``internal_error`` (an exception, which is logged) or an
    ``invalid_namespace``; ``gone`` before it was decided."""
    recoveries: Mapping[str, int]
    """What became of clients that asked for their session: ``recovered``; ``not_found`` (never known, away for too
    long, or not all that it has missed is kept), ``another_user``, ``uncertain`` (which of the packets that were sent
    again has arrived) or ``too_much`` (it has missed more than ``max_outbox`` bytes)."""
    events_refused: Mapping[str, int]
    """Events whose answer is an error, by its code: ``invalid_payload``, ``unknown_event``, ``internal_error`` and
    those of ``EventError``; whether or not the client has asked for an answer."""
    dropped: Mapping[str, int]
    """Packets that did not leave: ``volatile`` ones that the client could not take at once; those of a
    ``slow_consumer`` that was cut off; the oldest, for the policy ``drop_oldest``; those for a client that was
    ``not_admitted`` yet, beyond ``max_outbox``; and what waited for, or came for, a connection that has ``closed``."""


@runtime_checkable
class CountsRooms(Protocol):
    """An adapter that tells how many rooms it has. Not all can."""

    def room_count(self) -> int:
        """Rooms with somebody in them on this server."""


class Counted(Protocol):
    """A namespace, as statistics see it."""

    @property
    def label(self) -> str:
        """What it is counted under."""

    @property
    def adapter(self) -> Adapter:
        """Keeps its rooms."""

    def __len__(self) -> int: ...


def take_stats(counts: Counters, line: ConnectionMonitor, namespaces: Iterable[Counted]) -> Stats:
    """The figures of this moment."""
    clients, polling = line.count_clients()
    sockets: dict[str, int] = {}
    rooms: dict[str, int] = {}
    for each in namespaces:
        label = each.label
        sockets[label] = sockets.get(label, 0) + len(each)
        adapter = each.adapter
        if isinstance(adapter, CountsRooms):
            rooms[label] = rooms.get(label, 0) + adapter.room_count()
    return Stats(
        connections=MappingProxyType({"polling": polling, "websocket": clients - polling}),
        sockets=MappingProxyType(sockets),
        rooms=MappingProxyType(rooms),
        outbox_bytes=line.waiting_bytes(),
        waiting_handlers=line.waiting_handlers(),
        opened=counts.opened,
        upgrades=counts.upgrades,
        closed=_copy(counts.closed),
        requests_refused=_copy(counts.requests_refused),
        connects=_copy(counts.connects),
        recoveries=_copy(counts.recoveries),
        events_refused=_copy(counts.events_refused),
        dropped=_copy(counts.dropped),
    )


def _copy(table: dict[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(table))
