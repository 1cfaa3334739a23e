"""The statistics of a server, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .counters import Counters
    from .protocols import Adapter, ConnectionMonitor
    from .types import ClusterTraffic, Health


@dataclass(frozen=True, slots=True)
class ClusterStats:
    """The statistics of a server's connection to the others; ``up`` and ``pending_bytes`` describe this moment."""

    up: bool
    """True if what is emitted reaches the other servers."""
    pending_bytes: int
    """Bytes that wait until the other servers have them."""
    gaps: int
    """Times that packets of other servers may have been missed."""
    lost: int
    """Emits that the other servers did not get."""
    published: int
    """Messages that were sent to the other servers."""
    received: int
    """Messages of other servers that arrived, those that are for nobody here among them."""
    reconnects: int
    """Connections to the broker that were opened again."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The statistics of a server at one moment, returned by :meth:`rtframework.Server.stats`.

    The fields up to ``waiting_handlers`` describe this moment. The others count from the construction of the server
    and never decrease. A table has all keys that the framework knows, also those with 0. Keys that the program chooses
    (codes of ``EventError``) are counted under ``"(other)"`` beyond the first 200. Clients cannot choose keys.

    A namespace that was made for a client is counted under the name of its parent, e.g. ``"/chat/{tenant}"``.

    Example::

        stats = io.stats()
        print(stats.connections["websocket"], stats.dropped["slow_consumer"])
    """

    connections: Mapping[str, int]
    """Open connections, by transport: ``polling``, ``websocket``, and those of gateways: ``plain websocket``."""
    sockets: Mapping[str, int]
    """Sockets, by namespace."""
    rooms: Mapping[str, int]
    """Rooms with members, by namespace, including each socket's own room. Namespaces whose adapter has no
    ``room_count`` are left out."""
    outbox_bytes: int
    """Bytes that were emitted and have not left the process, for all clients together."""
    inbound_bytes: int
    """Bytes of memory that messages of clients take, from their arrival until their handlers have ended. Small messages
    whose handlers do not wait are not counted."""
    waiting_handlers: int
    """Event and connection handlers that have started and wait for something."""

    opened: int
    """Connections that were opened."""
    upgrades: int
    """Connections that were upgraded from polling to websocket."""
    closed: Mapping[str, int]
    """Connections that have ended, by ``DisconnectReason``."""
    requests_refused: Mapping[str, int]
    """HTTP requests of the protocol that were refused: ``session_id_unknown``, ``forbidden``, ``origin_not_allowed``,
    ``too_many_connections`` …; see the codes and names of ``ConnectionFailure``."""
    connects: Mapping[str, int]
    """Outcomes of clients' CONNECTs to a namespace: ``connected``; refused by ``authentication``, ``middleware`` or a
    ``connection_handler``, because of an ``internal_error`` (an exception, which is logged), an ``invalid_namespace``
    or a rate or limit (``limited``); ``gone``, if the client left before."""
    recoveries: Mapping[str, int]
    """Outcomes of clients' attempts to recover their session: ``recovered``; ``not_found`` (unknown, too old, or a
    missed packet has been discarded), ``another_user``, ``uncertain`` (packets were replayed before, and it is unknown
    which of them have arrived) or ``too_much`` (more than ``max_outbox`` bytes missed)."""
    events_refused: Mapping[str, int]
    """Events answered with an error, by its code: ``invalid_payload``, ``unknown_event``, ``internal_error``,
    ``rate_limited`` and the codes of ``EventError``. Events for which the client requested no acknowledgement are
    counted too."""
    limited: Mapping[str, int]
    """Clients beyond a limit, by its name: the rates ``events``, ``bytes``, ``connects``, ``refusals`` and
    ``handshakes`` of ``RateLimit``; ``handler``, a rate of one event; ``max_connections`` (or no file descriptor was
    free), ``max_connections_per_address``, ``max_connections_per_user`` and ``max_unconnected`` of ``Limits``; and
    handshakes of those that are ``banned``."""
    dropped: Mapping[str, int]
    """Packets that were not sent: ``volatile`` ones for a client that was not ready; those for a ``slow_consumer`` that
    was disconnected; the oldest, with the policy ``drop_oldest``; those for a client that was ``not_admitted`` yet,
    beyond ``max_outbox``; those ``not_encoded`` by the codec of a plain websocket; and those for a connection that has
    ``closed``."""
    repeats: Mapping[str, int] = field(default_factory=dict)
    """Events for handlers that are ``idempotent``: repeats that got the first answer (``answered``), some of which
    ``waited`` for it; events that were left unanswered because the store was ``unavailable``; answers that could not be
    saved yet (``not_saved``), that were too large (``not_kept``), or that were ``forgotten`` because a client had sent
    more ids than ``Idempotency.max_ids``; and values of any kind that a full ``MemoryStore`` has ``discarded``."""
    cluster: ClusterStats | None = None
    """The connection to the other servers; ``None`` without an adapter of several servers."""


@runtime_checkable
class CountsRooms(Protocol):
    """An adapter that can count its rooms. Not all can."""

    def room_count(self) -> int:
        """Count the rooms with members on this server."""


class Counted(Protocol):
    """A namespace, as statistics see it."""

    @property
    def label(self) -> str:
        """The key under which the namespace is counted."""

    @property
    def adapter(self) -> Adapter:
        """The adapter with the namespace's rooms."""

    def __len__(self) -> int: ...


class ClusterEvents(Protocol):
    """What has happened to a server's connection to the others."""

    gaps: int
    lost: int


def cluster_stats(health: Health, events: ClusterEvents, traffic: ClusterTraffic) -> ClusterStats:
    """Return the current statistics of a connection to other servers."""
    return ClusterStats(
        up=health.up,
        pending_bytes=traffic.pending_bytes,
        gaps=events.gaps,
        lost=events.lost,
        published=traffic.published,
        received=traffic.received,
        reconnects=traffic.reconnects,
    )


def take_stats(
    counts: Counters, line: ConnectionMonitor, namespaces: Iterable[Counted], cluster: ClusterStats | None = None
) -> Stats:
    """Return the current statistics."""
    sockets: dict[str, int] = {}
    rooms: dict[str, int] = {}
    for each in namespaces:
        label = each.label
        sockets[label] = sockets.get(label, 0) + len(each)
        adapter = each.adapter
        if isinstance(adapter, CountsRooms):
            rooms[label] = rooms.get(label, 0) + adapter.room_count()
    return Stats(
        connections=MappingProxyType(dict(line.count_clients())),
        sockets=MappingProxyType(sockets),
        rooms=MappingProxyType(rooms),
        outbox_bytes=line.waiting_bytes(),
        inbound_bytes=line.inbound_bytes(),
        waiting_handlers=line.waiting_handlers(),
        opened=counts.opened,
        upgrades=counts.upgrades,
        closed=_copy(counts.closed),
        requests_refused=_copy(counts.requests_refused),
        connects=_copy(counts.connects),
        recoveries=_copy(counts.recoveries),
        events_refused=_copy(counts.events_refused),
        limited=_copy(counts.limited),
        dropped=_copy(counts.dropped),
        repeats=_copy(counts.repeats),
        cluster=cluster,
    )


def _copy(table: dict[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(table))
