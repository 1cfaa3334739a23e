"""A connection, as python-engineio calls it a socket: its environ, and what a program keeps for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...adapters.buffered_outlet import BufferedOutlet

if TYPE_CHECKING:
    from aiohttp import web

    from ...options import EngineOptions
    from ...protocols import Outlet
    from ..connection import Connection
    from ..frames import EncodedFrames

_HEADER: Final = re.compile(r"\d(?:\d+-)?(/[^,?]*)?")


class Resident(Protocol):
    """One client in one namespace, as its socket sees it."""

    @property
    def nsp(self) -> str:
        """The name of its namespace."""


class Home(Protocol):
    """The server, as its sockets see it."""

    options: EngineOptions
    packet_class: Any

    def environ_of(self, request: web.Request, peer: Any = None) -> dict[str, Any]:
        """Describe a request as WSGI does."""

    def frames_of(self, pkt: Any) -> EncodedFrames:
        """Encode an Engine.IO packet."""

    def forget_if_over(self, socket: EngineIOSocket) -> None:
        """Drop a socket that nobody needs any more."""

    def room_for(self, outlets: Sequence[Outlet]) -> Awaitable[None] | None:
        """Return something to wait for until each of these clients has room again."""


class EngineIOSocket:
    """A connection with what a program keeps for it; python-engineio's socket.

    It outlives the connection until the disconnect handlers of all its namespaces are done.
    """

    closed: Final = False  # a session that is over is not in ``sockets`` any more

    def __init__(self, server: Home, connection: Connection, request: web.Request) -> None:
        self.connection = connection
        self.session: dict[str, Any] = {}
        self.turn = asyncio.Lock()
        """Held while an event is served, when events are served one after another."""
        self._server = server
        self._request = request
        self._peer = request.get_extra_info("peername")  # while the request still has its connection
        self._environ: dict[str, Any] | None = None
        self._residents: set[Resident] = set()
        self._pens: dict[str, BufferedOutlet] = {}
        self._last: BufferedOutlet | None = None

    @property
    def sid(self) -> str:
        """The Engine.IO session id."""
        return self.connection.sid

    @property
    def upgraded(self) -> bool:
        """True when the transport is a websocket."""
        return self.connection.transport == "websocket"

    @property
    def environ(self) -> dict[str, Any]:
        """The WSGI environ of the request that opened the connection; always the same dict."""
        if self._environ is None:
            self._environ = self._server.environ_of(self._request, self._peer)
        return self._environ

    def came_through(self, app: web.Application) -> bool:
        """Return whether the connection was opened through an application, or a sub-application of it."""
        return app in self._request.match_info.apps

    def move_in(self, resident: Resident) -> None:
        """Keep the session for one more client of this connection."""
        self._residents.add(resident)

    def move_out(self, resident: Resident) -> None:
        """Keep the session no longer for a client; forget what the program kept for it."""
        self._residents.discard(resident)
        if all(other.nsp != resident.nsp for other in self._residents):
            self.session.pop(resident.nsp, None)
        self._server.forget_if_over(self)

    @property
    def inhabited(self) -> bool:
        """True while a client needs it."""
        return bool(self._residents)

    # --- for managers that send by Engine.IO session id -------------------------------------------------------------

    def hold(self, nsp: str) -> None:
        """Keep back what is sent to a namespace."""
        self._pens[nsp] = BufferedOutlet(self.connection, self._server.options.limits.max_outbox)

    def release(self, nsp: str, *, send: bool) -> None:
        """Send, or drop, what was kept back."""
        pen = self._pens.pop(nsp, None)
        if pen is self._last:
            self._last = None
        if pen is not None and send:
            pen.open()

    async def send(self, pkt: Any) -> None:
        """Send an ``engineio.packet.Packet``."""
        frames = self._server.frames_of(pkt)
        pen = self._pen_of(pkt.data) if self._pens else None
        if pen is not None:
            pen.send(frames)
            return
        self.connection.send(frames)
        slow = self._server.room_for((self.connection,))
        if slow is not None:
            await slow

    def _pen_of(self, data: Any) -> BufferedOutlet | None:
        """Find the pen in which a frame has to wait. Attachments go where the packet before them went."""
        if self._server.packet_class.uses_binary_events:
            if isinstance(data, str):
                header = _HEADER.match(data)
                self._last = self._pens.get((header and header[1]) or "/")
            return self._last
        nsp = self._server.packet_class(encoded_packet=data).namespace
        return self._pens.get(nsp or "/")


class Environs(Mapping[str, dict[str, Any]]):
    """The environs of all connections by Engine.IO session id; a live view."""

    def __init__(self, sockets: Mapping[str, EngineIOSocket]) -> None:
        self._sockets = sockets

    def __getitem__(self, sid: str) -> dict[str, Any]:
        return self._sockets[sid].environ

    def __iter__(self) -> Iterator[str]:
        return iter(self._sockets)

    def __len__(self) -> int:
        return len(self._sockets)
