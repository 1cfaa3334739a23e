"""What a python-socketio program knows of a connection: environ and session, under its Engine.IO session id."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

from ...adapters.buffered_outlet import BufferedOutlet
from ...types import DisconnectReason
from ..connection import Connection
from ..engine_server import EngineServer
from ..frames import Frames
from .cors import CorsRules

if TYPE_CHECKING:
    import logging

    from aiohttp import web

    from ...options import EngineOptions
    from ...types import Handshake
    from ..interfaces import MessageHandler
    from .cors import CorsOrigins

Cookie = str | Mapping[str, str | bool | Callable[[], str | bool]]
"""A cookie's name, or ``"name"`` and its attributes, each a string, ``True``, or a function that returns one."""

_HEADER: Final = re.compile(r"\d(?:\d+-)?(/[^,?]*)?")


class Resident(Protocol):
    """One client in one namespace, as its connection's session sees it."""

    @property
    def nsp(self) -> str:
        """The name of its namespace."""


class Session:
    """One connection with what a program keeps for it; what python-engineio calls a socket.

    It outlives the connection until the disconnect handlers of all its namespaces are done.
    """

    closed: Final = False  # a session that is over is not in ``sockets`` any more

    def __init__(self, server: SessionServer, connection: Connection, request: web.Request) -> None:
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
        """Whether it is a websocket."""
        return self.connection.transport == "websocket"

    @property
    def environ(self) -> dict[str, Any]:
        """The WSGI environ of the request that opened the connection; always the same dict."""
        if self._environ is None:
            self._environ = self._server.environ_of(self._request, self._peer)
        return self._environ

    def move_in(self, resident: Resident) -> None:
        """A client of this connection needs the session from now on."""
        self._residents.add(resident)

    def move_out(self, resident: Resident) -> None:
        """… and does not any more: what the program kept for it is forgotten."""
        self._residents.discard(resident)
        if all(other.nsp != resident.nsp for other in self._residents):
            self.session.pop(resident.nsp, None)
        self._server.forget_if_over(self)

    @property
    def inhabited(self) -> bool:
        """Whether anybody needs it."""
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
        """Where a frame has to wait. Attachments go where the packet before them went."""
        if self._server.packet_class.uses_binary_events:
            if isinstance(data, str):
                header = _HEADER.match(data)
                self._last = self._pens.get((header and header[1]) or "/")
            return self._last
        nsp = self._server.packet_class(encoded_packet=data).namespace
        return self._pens.get(nsp or "/")


class SessionServer(EngineServer):
    """The engine as a python-socketio program knows it: what it reaches as ``sio.eio``."""

    def __init__(
        self,
        *,
        options: EngineOptions,
        make_handler: Callable[[Connection, Handshake], MessageHandler],
        logger: logging.Logger,
        async_handlers: bool,
        packet_class: Any,
        cors_allowed_origins: CorsOrigins | None,
        cookie: Cookie | None,
        grace: float,
    ) -> None:
        super().__init__(
            options=options,
            make_handler=make_handler,
            logger=logger,
            async_handlers=async_handlers,
            origins=CorsRules(cors_allowed_origins, options.cors.credentials, self.environ_of),
            told_interval=options.ping_interval + grace,
        )
        self.sockets: dict[str, Session] = {}
        self.packet_class = packet_class
        self.cookie = cookie
        self.cors_allowed_origins = cors_allowed_origins
        self.ping_interval_grace_period = grace
        self._frames: WeakKeyDictionary[Any, Frames] = WeakKeyDictionary()
        self._background: set[asyncio.Future[Any]] = set()

    def environ_of(self, request: web.Request, peer: Any = None) -> dict[str, Any]:
        """A request as python-engineio's WSGI environ, with the client's own address."""
        environ: dict[str, Any] = self._async["translate_request"](request)
        environ["REMOTE_ADDR"] = request.remote or ""
        peer = peer or request.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) > 1:
            environ["REMOTE_PORT"] = str(peer[1])
        environ.setdefault("HTTP_HOST", request.host)
        environ["wsgi.url_scheme"] = environ.get("HTTP_X_FORWARDED_PROTO", request.scheme)
        return environ

    def frames_of(self, pkt: Any) -> Frames:
        """An Engine.IO packet in every form, each made once, however many clients it goes to."""
        frames = self._frames.get(pkt)
        if frames is None:
            frames = self._frames[pkt] = Frames([bytes(pkt.data) if pkt.binary else pkt.encode()])
        return frames

    def forget_if_over(self, session: Session) -> None:
        """Drop a session whose connection is closed and that nobody needs."""
        if session.connection.is_closed and not session.inhabited:
            self.sockets.pop(session.sid, None)

    # --- python-engineio's API --------------------------------------------------------------------------------------

    async def disconnect(self, sid: str | None = None) -> None:
        """Close a connection with all its namespaces; without a sid, every connection."""
        sessions = list(self.sockets.values()) if sid is None else [self.sockets[sid]] if sid in self.sockets else []
        for session in sessions:
            session.connection.close(DisconnectReason.FORCED_SERVER_CLOSE)

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Run ``target(*args, **kwargs)`` in a task, which is kept from being garbage collected."""
        task: asyncio.Future[Any] = asyncio.ensure_future(target(*args, **kwargs))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    # --- what the edge asks -----------------------------------------------------------------------------------------

    def _opened(self, connection: Connection, request: web.Request) -> Mapping[str, str]:
        self.sockets[connection.sid] = Session(self, connection, request)
        cookie = self.cookie
        if cookie is None:
            return {}
        attributes = {"name": cookie, "path": "/", "SameSite": "Lax"} if isinstance(cookie, str) else cookie
        return {"Set-Cookie": self._generate_sid_cookie(connection.sid, attributes)}

    def _closed(self, connection: Connection) -> None:
        session = self.sockets.get(connection.sid)
        if session is not None:
            self.forget_if_over(session)


class Environs(Mapping[str, dict[str, Any]]):
    """The environs of all connections by Engine.IO session id; a live view."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions

    def __getitem__(self, sid: str) -> dict[str, Any]:
        return self._sessions[sid].environ

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)
