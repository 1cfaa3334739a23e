"""Tokens that are about to run out: clients are asked for new ones, which are taken in place."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import heapq
import itertools
import logging
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..authenticators import authenticate
from ..concurrency import is_cancelled
from ..exceptions import AckTimeout, ClusterUnavailable, ConnectionRefused, Disconnected
from ..logs import ThrottledLog, quote
from ..types import DisconnectReason, Packet, PacketType, identity_of
from .membership import State
from .own_rooms import own_rooms

if TYPE_CHECKING:
    from ..authenticators import TokenDetails
    from .host import Host
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")

REFRESH: Final = "refresh_token"
"""The event that asks a client for a new token."""

_LONGEST_SLEEP: Final = 30.0
"""Seconds after which the wall clock, which tokens go by, is read again."""

_FEW: Final = 1_024
"""Entries that are not worth a search for those that nobody needs."""

_not_renewed: Final = ThrottledLog(
    log, logging.WARNING, "a client of %s that was asked for a new token has sent one that is not accepted: %s"
)
_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error while a token is renewed")


class Renewals:
    """Asks the clients of one server for new tokens: one heap and one timer for all of them.

    A client that has none when its token has run out loses its connection.
    """

    __slots__ = ("_clock", "_heap", "_host", "_numbers", "_timer")

    def __init__(self, host: Host, clock: Callable[[], float] = time.time) -> None:
        self._host = host
        self._clock = clock
        self._heap: list[tuple[float, int, weakref.ref[Socket], TokenDetails | None]] = []
        """Times at which to ask, and numbers that decide between equal ones; with a token: the time at which to end a
        connection that has no other by then."""
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, socket: Socket) -> None:
        """Ask a client in time, if its token says so. It is asked after half of the time that is left at the latest."""
        token = socket._token
        if token is None or token.expires_at is None or token.refresh_before is None:
            return
        now = self._clock()
        left = max(token.expires_at - now, 0.0)
        due = now + left - min(token.refresh_before, left / 2)
        self._push(due, socket, None)

    def _push(self, due: float, socket: Socket, last: TokenDetails | None) -> None:
        if len(self._heap) >= _FEW and len(self._heap) > 2 * self._host.count_sockets():
            self._heap = [each for each in self._heap if _is_here(each[2]())]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, next(self._numbers), weakref.ref(socket), last))
        self._wake()

    def stop(self) -> None:
        """Forget all: the application has stopped."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            pause = min(max(self._heap[0][0] - self._clock(), 0.0), _LONGEST_SLEEP)
            self._timer = asyncio.get_running_loop().call_later(pause, self._ask_those_due)

    def _ask_those_due(self) -> None:
        self._timer = None
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            _, _, reference, last = heapq.heappop(self._heap)
            socket = reference()
            if socket is None or not _is_here(socket):
                continue
            if last is None:
                self._host.spawn(self._renew(socket))
            elif socket._token is last:
                self._end(socket)
        self._wake()

    async def _renew(self, socket: Socket) -> None:
        """Ask a client for a new token, and take it or end the connection."""
        token = socket._token
        assert token is not None  # else it is not asked
        assert token.expires_at is not None
        try:
            await self._ask(socket, token, token.expires_at)
        except Disconnected:
            return
        except ConnectionRefused as refused:
            code = refused.data.get("code") if isinstance(refused.data, dict) else None
            self._refuse(socket, code if isinstance(code, str) else refused.message)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            _failed(error=error, key=socket._nsp.label, extra={"nsp": socket._nsp.name, "sid": socket.id})
            self._end(socket)

    async def _ask(self, socket: Socket, token: TokenDetails, expires_at: float) -> None:
        now = self._clock()
        expires_in = max(expires_at - now, 0.0)
        patience = max(expires_in, token.refresh_grace)
        nsp = socket._nsp
        packet = Packet(PacketType.EVENT, nsp.name, [REFRESH, {"expires_in": expires_in}])
        try:
            answer = await socket._ask_packet(packet, patience)
        except AckTimeout:
            self._end(socket)
            return
        if not await self._take(socket, token, answer):
            self._push(expires_at, socket, token)  # it has no other yet, and may stay while the one that it has is good

    async def _take(self, socket: Socket, token: TokenDetails, answer: Any) -> bool:
        """Take a new token in place. Return ``False`` if there is none. Raise ``ConnectionRefused`` for a wrong one."""
        if answer is None:
            return False
        nsp, auth = socket._nsp, socket.handshake.auth
        if isinstance(answer, str):
            answer = {**auth, token.key: answer}
        elif not isinstance(answer, dict):
            raise ConnectionRefused("No token", {"code": "malformed"})
        handshake = dataclasses.replace(socket.handshake, auth=answer)
        authenticator = nsp._authenticator
        assert authenticator is not None  # who else has told of the token?
        user, new = await authenticate(authenticator, handshake)
        if user is None:
            raise ConnectionRefused("Unauthorized", {"code": "unauthorized"})
        before = socket._authenticated
        if identity_of(user) != identity_of(before):
            raise ConnectionRefused("The token is another user's", {"code": "another_user"})
        own = nsp._admission.own_rooms(user, new)
        if new is not None and new.expires_at is not None and new.expires_at <= (token.expires_at or 0.0):
            return False
        if not _is_here(socket):
            return True
        socket.handshake = handshake
        if socket.user is before:
            socket.user = user
        socket._authenticated = user
        socket._token = new
        stale = own_rooms(socket.rooms) - own
        entering = nsp.adapter.add(socket.id, own)
        leaving = nsp.adapter.remove(socket.id, stale) if stale else None
        self.add(socket)
        for moving in (entering, leaving):
            if moving is not None:
                with contextlib.suppress(ClusterUnavailable):  # it is in them all the same, and others will reach it
                    await moving
        return True

    def _refuse(self, socket: Socket, code: str) -> None:
        """Close the connection of a client that has sent a token which is not its own, or not good."""
        nsp = socket._nsp
        _not_renewed(nsp.name, quote(code), key=nsp.label, extra={"nsp": nsp.name, "sid": socket.id, "code": code})
        audit = nsp._guard.audit
        if audit.is_on:
            user = socket._authenticated
            audit.write("refusal", address=socket._client.address, user=user, nsp=nsp.name, sid=socket.id, code=code)
        nsp._membership.forgo_recovery(socket)
        self._end(socket)

    def _end(self, socket: Socket) -> None:
        """Close the connection, so that the client comes back by itself, with the token that it has then."""
        if _is_here(socket):
            socket._client.conn.close(DisconnectReason.TOKEN_EXPIRED)


def _is_here(socket: Socket | None) -> bool:
    return socket is not None and socket._state is State.CONNECTED
