"""The sockets of one user, on all servers of a cluster."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Never

from ..handlers.mistakes import Advising, unknown_keywords
from .kick import check_disconnect, kick

if TYPE_CHECKING:
    from ..types import AckResponses
    from .operators import BroadcastOperator, RemoteSocket, Rooms


class UserOperator(Advising):
    """All sockets of one user in a namespace, on all servers of a cluster; immutable. Made by ``io.user(id)``.

    A socket is a user's if the authenticator has returned that user for it: an object with that ``id``, or the id
    itself. Ids are compared as text. The sockets are in the room ``"$user:<id>"``, so that servers of Node can select
    them, too.

    Example::

        await io.user("42").emit("mail", 3)
        tabs = len(await io.user("42").fetch_sockets())
    """

    __slots__ = ("_operator", "id", "room")

    def __init__(self, id: str, room: str, operator: BroadcastOperator) -> None:
        self.id = id
        self.room = room
        """The room of the user's sockets, which ``operator`` has selected."""
        self._operator = operator

    def __repr__(self) -> str:
        return f"<UserOperator {self.id!r} of {self._operator._audience.name}>"

    # --- options ----------------------------------------------------------------------------------------------------

    def except_(self, *rooms: Rooms) -> UserOperator:
        """Leave out the sockets in any of these rooms; ``except_(socket.id)``: all of the user's but this one."""
        return self._with(self._operator.except_(*rooms))

    @property
    def volatile(self) -> UserOperator:
        """Drop the packet for clients that cannot take it at once."""
        return self._with(self._operator.volatile)

    @property
    def local(self) -> UserOperator:
        """Select only sockets of this server, when there is a cluster."""
        return self._with(self._operator.local)

    def compress(self, compress: bool) -> UserOperator:
        """Choose if packets are compressed where the transport can do that; they are by default."""
        return self._with(self._operator.compress(compress))

    def timeout(self, seconds: float) -> UserOperator:
        """Limit the time for which :meth:`emit_with_ack` and :meth:`fetch_sockets` wait."""
        return self._with(self._operator.timeout(seconds))

    # --- what is done with them -------------------------------------------------------------------------------------

    async def emit(self, event: str | int, *args: Any, **unknown: Never) -> None:
        """Emit an event to all sockets of the user. Raises as :meth:`BroadcastOperator.emit` does."""
        if unknown:
            raise unknown_keywords("emit", unknown)
        await self._operator.emit(event, *args)

    async def emit_with_ack(self, event: str | int, *args: Any, **unknown: Never) -> AckResponses:
        """Emit an event and collect the answer of each of the user's sockets, by socket id.

        Raises :class:`~rtframework.AckTimeout`, with the answers so far, when the time of :meth:`timeout` is over.
        """
        if unknown:
            raise unknown_keywords("emit_with_ack", unknown)
        return await self._operator.emit_with_ack(event, *args)

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """Describe the user's sockets; an empty list: the user is not there.

        Raises :class:`~rtframework.FetchTimeout` as :meth:`BroadcastOperator.fetch_sockets` does.
        """
        return await self._operator.fetch_sockets()

    async def last_seen(self) -> datetime | None:
        """Return the time, in UTC, at which the user was there last; now if a socket of the user is selected.

        It is the moment at which the last socket of the user has left a server, or the first has come to one that was
        killed since. ``None``: never, or too long ago, see ``Server(last_seen=...)``.

        Raises :class:`~rtframework.ConfigurationError` if that is switched off, and as :meth:`fetch_sockets` and the
        server's store do if the other servers do not answer.
        """
        audience = self._operator._audience
        find = audience._last_seen(self.room)
        is_here = audience.adapter.sockets(self._operator._target) or await self.fetch_sockets()
        found = time.time() if is_here else await find()
        return None if found is None else datetime.fromtimestamp(found, UTC)

    async def join(self, *rooms: Rooms) -> None:
        """Make the user's sockets join rooms. Raises as :meth:`BroadcastOperator.sockets_join` does."""
        await self._operator.sockets_join(*rooms)

    async def leave(self, *rooms: Rooms) -> None:
        """Make the user's sockets leave rooms. Rooms that one is not in are skipped."""
        await self._operator.sockets_leave(*rooms)

    async def disconnect(self, close: bool = False, *, reason: str | None = None, reconnect: bool = False) -> None:
        """Throw out the user: tell its clients why, by the event ``"kicked"``, and disconnect its sockets.

        Clients get ``{"reason": reason or "", "reconnect": reconnect}``. ``reconnect=False``: they are disconnected
        from the namespace, or with ``close=True`` from all of them, and stay away. ``reconnect=True``: their
        connections are closed; they come back by themselves, and are refused with the code ``"kicked"`` unless they
        have credentials that were issued later, as ``JWTAuth`` tells by ``iat``. Without a time of issue the user is
        refused for a day.

        Sessions that are kept for sockets whose connection was lost are forgotten, so that none of them is recovered.
        ``reason``: also what disconnect handlers hear, in place of "server namespace disconnect" or "kicked".
        Raises :class:`~rtframework.ClusterUnavailable` when the other servers are not told; this one's sockets are
        thrown out all the same.

        Example::

            await io.user("42").disconnect(reason="password changed", reconnect=True)
        """
        check_disconnect(close, reason)
        audience = self._operator._audience
        try:
            await kick(audience, self._operator._target, close, reason, reconnect, (self.room,))
        finally:
            await audience._forget_sessions_in(self.room)

    def _with(self, operator: BroadcastOperator) -> UserOperator:
        return UserOperator(self.id, self.room, operator)
