"""Storage for the history of rooms: a program's own, or that of an adapter of several servers."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..types import HistoryEntry, HistoryPage, HistoryQuery, KeptRoom, Packet, Target


class HistoryStore(Protocol):
    """Keeps the history of rooms: ``History(..., store=...)``.

    An id is a string without control characters, of at most 64 ASCII characters. In each room ids grow in the order of
    :meth:`append`, and the store knows which of two is the later; to everybody else they are opaque. The server calls
    :meth:`append` for one event of a room at a time, and lets the sockets have it when the call has returned.
    """

    async def start(self) -> None:
        """Start: the server begins to serve an application. Called before any other method."""

    async def close(self) -> None:
        """Stop: the server no longer serves an application. It may be started again."""

    async def append(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        """Add an entry, whose ``id`` is empty, to rooms of a namespace. Return its id, the same one in all rooms.

        Discard what the rooms keep no longer, the newest ``size`` entries excepted, and what is older than ``ttl``.
        What it raises is raised by ``emit``, and nobody has got the event.
        """

    async def read(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page: of the newest ``size`` entries that are not older than ``ttl``, those that a query selects.

        ``gap`` is true if ``after`` is given and entries after it may be gone, or if nobody knows: it is no id of this
        room, or of an earlier life of the store. Then the page has what there is.
        """

    async def clear(self, nsp: str, room: str) -> None:
        """Forget the entries of a room. Ids that were given out are not given out again."""


class HistoryKeeper(Protocol):
    """Delivers the events of rooms with history in one namespace, and keeps them.

    An adapter that does this itself has one as its attribute ``history_keeper``: it assigns the ids, and their order is
    the order in which all sockets of all servers get the events. Other adapters need a :class:`HistoryStore`.
    """

    def broadcast(self, packet: Packet, target: Target, rooms: Sequence[KeptRoom]) -> Awaitable[None]:
        """Deliver an event as :meth:`Adapter.broadcast` does, and keep it in the history of these rooms.

        Its last argument is the id of its entry, which is the same in all rooms. Everybody gets it at its turn in the
        order of ids, the sockets of this server too. ``rooms`` are some of ``target.rooms``, and not empty; the target
        is neither ``volatile`` nor ``local``. What ``Emitter.send`` gets is a
        :class:`~rtframework.types.KeptPacket`.
        """

    def open(self, room: str) -> Any:
        """Note the moment at which a socket comes into a room. Return what :meth:`read` and :meth:`close` get.

        Called right after :meth:`Adapter.add`, without waiting. The socket gets live what is delivered on this server
        from now on; all before is for its page.
        """

    def close(self, room: str, opening: Any) -> None:
        """Forget the moment. Called once for each :meth:`open`, whatever becomes of the page."""

    async def read(self, room: KeptRoom, query: HistoryQuery, opening: Any = None) -> HistoryPage:
        """Return a page, see :meth:`HistoryStore.read`.

        With an ``opening``, the page has every entry that the socket does not get live, and no other: the newest
        ``query.limit`` of these.
        """

    async def clear(self, room: str) -> None:
        """Forget the entries of a room, for all servers."""
