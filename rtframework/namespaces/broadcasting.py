"""What a server and a namespace can select: everybody, rooms, a user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Never

from ..adapters.connecting import is_connecting
from ..adapters.history import DEFAULT, no_history
from ..exceptions import ClusterUnavailable
from ..handlers.mistakes import Advising, unknown_keywords
from .operators import tell_missed
from .own_rooms import room_of_user
from .user import UserOperator

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ..types import AckResponses, HistoryPage, Member
    from .history import NamespaceHistory
    from .operators import BroadcastOperator, RemoteSocket, Rooms


class Broadcasting(Advising):
    """The selections of a server and of a namespace: all sockets, until a room is named."""

    __slots__ = ()

    def _everybody(self) -> BroadcastOperator:
        raise NotImplementedError

    def to(self, *rooms: Rooms) -> BroadcastOperator:
        """Select the sockets in any of these rooms; an empty list selects nobody."""
        return self._everybody().to(*rooms)

    def in_(self, *rooms: Rooms) -> BroadcastOperator:
        """Select as :meth:`to` does; Node's ``in``."""
        return self._everybody().to(*rooms)

    def except_(self, *rooms: Rooms) -> BroadcastOperator:
        """Select all sockets except those in any of these rooms."""
        return self._everybody().except_(*rooms)

    def user(self, id: object) -> UserOperator:
        """Select the sockets of one user, by the ``id`` of what the authenticator returns, on all servers of a cluster.

        ``id``: a string, a whole number or a UUID; they are compared as text.

        Example::

            await io.user("42").emit("mail", 3)
            await io.user("42").disconnect(reason="banned")
        """
        room = room_of_user(id)
        return UserOperator(str(id), room, self._everybody().to(room))

    async def presence(self, room: str, *, limit: int = 1_000, after: str | None = None) -> list[Member]:
        """Return who is in a room, on all servers of a cluster, in the order of the users' ids.

        ``limit``: how many at most. ``after``: only users whose id comes behind this one, for the next page. A room
        that is empty has nobody in it. Raises :class:`~rtframework.ConfigurationError` for a room that no
        ``Presence`` of the server fits, and :class:`~rtframework.ClusterUnavailable` when the other servers cannot be
        asked.

        Example::

            for member in await io.presence("chat:1"):
                print(member.user, member.meta, member.tabs)
        """
        return await self._everybody()._audience._members_of(room, limit, after)

    async def revoke_tokens(
        self, *, id: str | None = None, user: object = None, issued_before: float | None = None
    ) -> None:
        """Take tokens back, in all namespaces and on all servers of a cluster.

        ``id``: the token with this id (``jti``). ``user``: the tokens of the user with this id that were issued
        before ``issued_before``, in seconds since the epoch; by default all that were issued until now.
        ``issued_before`` alone: such tokens of all users.

        Connections that were opened with one of them are closed at once ("token_revoked"), and recovery sessions
        forgotten. Clients come back by themselves, and are refused with the code ``"token_revoked"`` until the tokens
        have run out. A token without a time of issue counts as issued before; ``issued_before`` alone does not concern
        clients of whose token nothing is known, such as those of a ``StaticTokenAuth``.

        Raises :class:`~rtframework.ConfigurationError` without any of them or for ``id`` with another one, and
        :class:`~rtframework.ClusterUnavailable` when the other servers are not told; it holds on this server then.

        Example::

            await io.revoke_tokens(user="42")
            await io.revoke_tokens(id="5f3c")
        """
        await self._everybody()._audience._revoke_tokens(id, user, issued_before)

    async def history(
        self, room: str, *, before: str | None = None, after: str | None = None, limit: int = DEFAULT
    ) -> HistoryPage:
        """Return a page of what was said in a room that has a :class:`~rtframework.History`, the oldest first.

        By default the newest entries; with the id of an entry as ``before``, those before it. ``after``: those that
        came first after it; ``page.gap`` is true if some of them are gone. ``page.more``: there are further ones.
        ``limit``: entries, at most ``History.page``.

        Raises :class:`~rtframework.ConfigurationError` for a room without history, and
        :class:`~rtframework.ClusterUnavailable` if it is not read in time.
        """
        return await self._room_history(room).page(room, before, after, limit)

    async def clear_history(self, room: str) -> None:
        """Forget what was said in a room. Clients are not told; who was away is told of a gap."""
        await self._room_history(room).clear(room)

    def _room_history(self, room: str) -> NamespaceHistory:
        history = self._everybody()._audience._history
        if history is None:
            raise no_history(room)
        return history

    @property
    def volatile(self) -> BroadcastOperator:
        """Drop the packet for clients that cannot take it at once."""
        return self._everybody().volatile

    @property
    def local(self) -> BroadcastOperator:
        """Select only sockets of this server, when there is a cluster."""
        return self._everybody().local

    def timeout(self, seconds: float) -> BroadcastOperator:
        """Limit the time for which ``emit_with_ack`` and ``fetch_sockets`` wait."""
        return self._everybody().timeout(seconds)

    def compress(self, compress: bool) -> BroadcastOperator:
        """Choose if packets are compressed where the transport can do that; they are by default."""
        return self._everybody().compress(compress)

    async def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to every socket of the namespace."""
        if unknown:
            raise unknown_keywords("emit", unknown)
        everybody = self._everybody()
        audience = everybody._audience
        packet = audience._packet(event, args)
        delivery: Awaitable[None] | None = None
        try:  # everybody is in no room that has a history
            delivery = audience.adapter.broadcast(packet, everybody._target)
            await delivery
        except ClusterUnavailable as error:
            audience._lost(packet, everybody._target, error)
            if not is_connecting():
                raise
        except asyncio.CancelledError:
            tell_missed(audience, packet, everybody._target, delivery)
            raise

    async def emit_with_ack(self, event: str | int, *args: Any, **unknown: Never) -> AckResponses:
        """Emit an event to every socket of the namespace and collect the acknowledgements."""
        if unknown:
            raise unknown_keywords("emit_with_ack", unknown)
        return await self._everybody().emit_with_ack(event, *args)

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """Describe the sockets of the namespace, of all servers of a cluster."""
        return await self._everybody().fetch_sockets()

    async def sockets_join(self, *rooms: Rooms) -> None:
        """Make every socket of the namespace join rooms."""
        await self._everybody().sockets_join(*rooms)

    async def sockets_leave(self, *rooms: Rooms) -> None:
        """Make every socket of the namespace leave rooms."""
        await self._everybody().sockets_leave(*rooms)

    async def disconnect_sockets(self, *, close: bool = False, reason: str | None = None) -> None:
        """Disconnect every socket of the namespace, or, with ``close=True``, close their connections."""
        await self._everybody().disconnect_sockets(close=close, reason=reason)
