"""The Engine.IO server as a python-socketio program knows it, by python-engineio's names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ...types import DisconnectReason
from ..engine_server import SHUTDOWN_TIMEOUT, EngineServer
from ..frames import EncodedFrames
from ..handshake import wants_websocket
from ..http.full_request import full_request
from ..http.query import query_of
from .cors import CorsRules
from .engineio_socket import EngineIOSocket
from .packet_log import LoggedVersion
from .polling import EngineIOVersion

if TYPE_CHECKING:
    import logging

    from aiohttp import web

    from ...options import EngineOptions
    from ...types import Handshake
    from ..connection import Connection
    from ..interfaces import MessageHandler
    from .cors import CorsOrigins

Cookie = str | Mapping[str, str | bool | Callable[[], str | bool]]
"""A cookie's name, or ``"name"`` and its attributes, each a string, ``True``, or a function that returns one."""


class EngineIOServer(EngineServer):
    """python-engineio's server, for a python-socketio program, which reaches it as ``sio.eio``."""

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
        logs_packets: bool,
    ) -> None:
        self._packet_log = LoggedVersion(logger) if logs_packets else None
        super().__init__(
            options=options,
            make_handler=make_handler,
            logger=logger,
            async_handlers=async_handlers,
            origins=CorsRules(cors_allowed_origins, options.cors.credentials, self.environ_of),
            told_interval=options.ping_interval + grace,
            version=self._packet_log or EngineIOVersion(),
        )
        self.sockets: dict[str, EngineIOSocket] = {}
        self.packet_class = packet_class
        self.cookie = cookie
        self.cors_allowed_origins = cors_allowed_origins
        self.ping_interval_grace_period = grace
        self._frames: WeakKeyDictionary[Any, EncodedFrames] = WeakKeyDictionary()
        self._background: set[asyncio.Future[Any]] = set()

    def environ_of(self, request: web.Request, peer: Any = None) -> dict[str, Any]:
        """Describe a request as python-engineio's WSGI environ, with the client's own address."""
        request = full_request(request)
        environ: dict[str, Any] = self._async["translate_request"](request)
        environ["REMOTE_ADDR"] = request.remote or ""
        peer = peer or request.get_extra_info("peername")
        if isinstance(peer, tuple) and len(peer) > 1:
            environ["REMOTE_PORT"] = str(peer[1])
        environ.setdefault("HTTP_HOST", request.host)
        environ["wsgi.url_scheme"] = environ.get("HTTP_X_FORWARDED_PROTO", request.scheme)
        return environ

    def frames_of(self, pkt: Any) -> EncodedFrames:
        """Encode an Engine.IO packet in every form, each made once, however many clients it goes to."""
        frames = self._frames.get(pkt)
        if frames is None:
            frames = self._frames[pkt] = EncodedFrames([bytes(pkt.data) if pkt.binary else pkt.encode()])
        return frames

    def forget_if_over(self, socket: EngineIOSocket) -> None:
        """Drop a socket whose connection is closed and that nobody needs."""
        if socket.connection.is_closed and not socket.inhabited:
            self.sockets.pop(socket.sid, None)

    # --- python-engineio's API --------------------------------------------------------------------------------------

    async def disconnect(self, sid: str | None = None) -> None:
        """Close a connection with all its namespaces; without a sid, every connection."""
        sockets = list(self.sockets.values()) if sid is None else [self.sockets[sid]] if sid in self.sockets else []
        for socket in sockets:
            socket.connection.close(DisconnectReason.FORCED_SERVER_CLOSE)

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Run ``target(*args, **kwargs)`` in a task, which is kept from being garbage collected."""
        task: asyncio.Future[Any] = asyncio.ensure_future(target(*args, **kwargs))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def leave(self, app: web.Application) -> None:
        """Close the connections that came through an application that stops; those of others stay."""
        leaving = [socket.connection for socket in self.sockets.values() if socket.came_through(app)]
        for connection in leaving:
            connection.close(DisconnectReason.SERVER_SHUTTING_DOWN)
        waited_for = [each.wait_closed() for each in leaving if each.transport == "websocket" or each.has_poll]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await asyncio.gather(*waited_for)
        for connection in leaving:
            connection.abort(DisconnectReason.SERVER_SHUTTING_DOWN)

    # --- what the edge asks -----------------------------------------------------------------------------------------

    def _query_of(self, request: web.Request) -> Mapping[str, str]:
        """Read the query string of a request. As for python-engineio, polling needs no name."""
        query = query_of(request)
        if query.get("transport"):
            return query
        upgrades = query.get("sid") and wants_websocket(request)
        return {**query, "transport": "websocket" if upgrades else "polling"}

    def _opened(self, connection: Connection, request: web.Request) -> Mapping[str, str]:
        self.sockets[connection.sid] = EngineIOSocket(self, connection, full_request(request))
        if self._packet_log is not None:
            self._packet_log.opened(connection, self.open_packets.of(connection))
        cookie = self.cookie
        if cookie is None:
            return {}
        attributes = {"name": cookie, "path": "/", "SameSite": "Lax"} if isinstance(cookie, str) else cookie
        return {"Set-Cookie": self._generate_sid_cookie(connection.sid, attributes)}

    def _closed(self, connection: Connection) -> None:
        super()._closed(connection)
        socket = self.sockets.get(connection.sid)
        if socket is not None:
            self.forget_if_over(socket)
