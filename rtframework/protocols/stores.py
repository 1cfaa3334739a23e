"""Extension points for what is kept of rooms beyond their members on one server."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class PresenceTab:
    """One socket of a user in a room."""

    nsp: str
    room: str
    sid: str
    user: str
    """The id of the user as text, or the socket's id if it has no user."""


@dataclass(frozen=True, slots=True)
class StoredMember:
    """One user in a room, as a :class:`PresenceStore` keeps it."""

    user: str
    meta: str
    """JSON."""
    tabs: int
    """Sockets that are connected; 0 while the last one is away and may come back."""
    since: float
    """Time of the first tab, in seconds since the epoch."""


class PresenceStore(Protocol):
    """Keeps the users in the rooms of all servers, for one of them, and tells each room of its changes.

    A tab belongs to the server that has entered it last: later calls of another one change nothing. A user is
    in a room while a tab is, also one that is away. The first tab brings ``meta``, which stays until :meth:`update`.

    The store itself publishes what changes, as ordinary events to the room in the namespace, each with
    ``{"room": room, "user": user, "meta": meta}``: ``presence_join`` with a user's first tab, ``presence_leave`` with
    its last, ``presence_update``. The change and its publication are one step, in one order with what others publish
    to that room; of several servers that remove a tab, one publishes. The socket of the first tab does not get
    its own ``presence_join``.

    Methods are called in the order of what happened, and begin before they return; an awaitable that they return may be
    dropped. It is done when the change was published and every event before it was delivered on this server. It raises
    :class:`~rtframework.ClusterUnavailable` if that takes longer than the store waits; ``enter``, ``leave`` and
    ``away`` are carried out all the same when it becomes possible.
    """

    def enter(self, tab: PresenceTab, meta: str, grace: float) -> Awaitable[None] | None:
        """Add a tab of this server, or take it over from another one; it is not away any more.

        ``meta``: JSON, for a user who is not in the room. ``grace``: seconds for which the tab counts as away when this
        server dies or stops.
        """

    def leave(self, tab: PresenceTab) -> Awaitable[None] | None:
        """Remove a tab, if it is this server's."""

    def away(self, tab: PresenceTab, seconds: float) -> None:
        """Remove a tab, if it is this server's, after so many seconds, unless it is entered again by then."""

    def update(self, nsp: str, room: str, user: str, meta: str) -> Awaitable[None] | None:
        """Replace the ``meta`` of a user who is in the room. Nothing happens for another one.

        If it raises an error that is not ``uncertain``, nothing was changed, and nothing will be.
        """

    def members(
        self, nsp: str, room: str, limit: int, after: str | None
    ) -> Sequence[StoredMember] | Awaitable[Sequence[StoredMember]]:
        """Return the users in a room, at most ``limit`` of them, in the order of their ids' code points.

        ``after``: only those behind this id. What this store has entered before is among them. Raises
        :class:`~rtframework.ClusterUnavailable`.
        """

    async def start(self) -> None:
        """Start, after the backbone."""

    async def close(self) -> None:
        """Stop, before the backbone: all tabs of this server are away from now on, each for its grace."""


@runtime_checkable
class KeepsPresence(Protocol):
    """A :class:`~rtframework.protocols.Backbone` that keeps who is in the rooms of all its servers."""

    def presence_store(self) -> PresenceStore:
        """Make the store of its server, before :meth:`~rtframework.protocols.Backbone.start`; called once."""
