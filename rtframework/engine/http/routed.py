"""Requests that are for another worker: their connection is passed on to it, or they are forwarded."""

from __future__ import annotations

import asyncio
import contextlib
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ..handover import HERE, Neighbours, Peer, RequestLines
from ..ids import LETTERS, SLOTS
from .direct import DirectRoute
from .forwarding import forward
from .protocol import HttpProtocol, HttpServer

if TYPE_CHECKING:
    from asyncio import BaseTransport
    from collections.abc import Awaitable, Iterable
    from socket import socket

    from .direct import Served

_END: Final = b"\r\n\r\n"
_BEGINNING: Final = re.compile(rb"[A-Z]{1,20}(?:\Z| [!-~]*(?:\Z| (?:[!-~]*)\r?(?:\Z|\n)))")
"""The beginning of a request."""


async def forward_by_key(request: web.Request, key: str) -> web.StreamResponse | None:
    """Have the worker serve a request to which its key belongs. ``None``: that is this one, or there is only one.

    It is for requests whose connection could not be passed on: see ``RoutedServer.slot_of_key``.
    """
    protocol = request.protocol
    server: Any = protocol._manager
    if not isinstance(server, RoutedServer) or not isinstance(protocol, RoutedProtocol) or protocol._is_forwarded:
        return None
    slot = server.slot_of_key(key)
    if slot == HERE:
        return None
    response = await forward(request, slot, server.neighbours, server.site)
    if response is not None:
        protocol.is_logged_elsewhere = True
    return response


_serve_unparsed: Final = HttpProtocol._serve_unparsed


class RoutedProtocol(HttpProtocol):
    """One connection to one of several workers."""

    __slots__ = ("_held", "_is_forwarded", "_is_settled", "_leaving", "is_logged_elsewhere")

    is_logged_elsewhere: bool
    """True if the request that is being served was forwarded."""

    _held: bytes
    """The beginning of a head, which nothing has been fed yet."""
    _leaving: tuple[int, bytes, bool] | None
    """The arguments of ``_leave`` for the request that waits until all answers to those before it have left."""
    _is_settled: bool
    """True while the next request is served here, whatever worker it is for."""
    _is_forwarded: bool
    """True if it brings one request of another worker's."""

    def begin(self) -> None:
        """Set what a constructor would."""
        self._held = b""
        self._leaving = None
        self._is_settled = self._is_forwarded = self.is_logged_elsewhere = False

    def take(self, data: bytes, is_settled: bool, peer: Peer | None) -> None:
        """Begin with what another worker has read."""
        if data:
            self._hold(data)
        self._is_settled = is_settled or peer is not None
        if peer is not None:
            self._is_forwarded = True
            cache: dict[str, Any] = self._cache
            name = peer.name
            cache["peername"] = tuple(name) if isinstance(name, list) else name
            cache["ssl_context"] = True if peer.is_secure else None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin; in the next turn of the event loop, with what another worker has read."""
        super().connection_made(transport)
        if self._held:
            self._loop.call_soon(self._feed_held)

    def _feed_held(self) -> None:
        if self._held and self.transport is not None:
            self.data_received(b"")

    def _parse(self, data: bytes, *, may_be_clean: bool = False, is_whole: bool = False) -> bool:
        """Have aiohttp parse what has come, or put it off: behind what is held, or if its task is about to wait."""
        if self._leaving is not None:
            slot, begun, is_settled = self._leaving
            self._leaving = (slot, begun + data, is_settled)
            return True
        if self._held:
            data, self._held = self._held + data, b""
            self._is_clean = True
            self.data_received(data)
            return True
        if (
            data
            and not may_be_clean
            and self._is_clean
            and self._task_handler is not None
            and self._waiter is None
            and not (self._messages or self._request_in_progress or self._unparsed)
        ):
            self._hold(data)
            self._loop.call_soon(self._feed_held)
            return True
        return super()._parse(data, may_be_clean=may_be_clean, is_whole=is_whole)

    def _hold(self, data: bytes) -> None:
        """Keep the beginning of a request, for what comes to be joined to it: see ``_parse``."""
        self._held = data
        self._is_clean = False

    def _serve_unparsed(self, data: bytes) -> bool:
        """Serve a request of this worker's; pass the connection on if it is another's; else hold it, or decline."""
        if _serve_unparsed(self, data):
            if self.head_timer is not None and self.post is None:
                self._stop_timer()
            if self._is_settled:
                self._end_settled()
            return True
        if self._leaves(data):
            return True
        server: Any = self._manager
        if _END in data or not data or len(data) > server.largest or _BEGINNING.match(data) is None:
            self._end_settled()
            return False
        self._hold(data)
        if self.head_timer is None:
            self.head_timer = self._loop.call_later(self._head_seconds, self._be_late)
        return True

    def _end_settled(self) -> None:
        if self._is_settled and not self._is_forwarded:
            self._is_settled = False

    def _leaves(self, data: bytes) -> bool:
        """Pass the connection on if the request that begins here, and was not read, is for another worker."""
        server: Any = self._manager
        going, server.going = server.going, None
        if going is not None:  # it was read, see RoutedServer
            slot, is_handshake = going
            if self._leave(slot, data, is_handshake):
                return True
            if not is_handshake:
                return False
            self._is_settled = True
            served = _serve_unparsed(self, data)
            self._end_settled()
            return served
        key = server.key_of(data)
        if key is not None:
            slot = server.slot_of_key(key)
            return slot != HERE and self._may_leave(slot) and self._leave(slot, data, True)
        if server.begins(data) is None:
            return False
        found = server.session(data)
        if found is not None:
            slot = SLOTS[found[1][0]]
            return found[1] != server.letter and self._may_leave(slot) and self._leave(slot, data)
        if not self._is_settled and server.handshake(data) is not None:
            destination = server.neighbours.destination()
            return destination is not None and self._leave(destination, data, True)
        return False

    def _may_leave(self, slot: int) -> bool:
        server = self._manager
        return not self._is_settled and isinstance(server, RoutedServer) and server.neighbours.is_there(slot)

    def _leave(self, slot: int, data: bytes, is_settled: bool = False) -> bool:
        """Pass the connection on, with what has been read; ``False`` if that cannot be."""
        server, transport = self._manager, self.transport
        if transport is None or transport.is_closing() or not isinstance(server, RoutedServer):
            return True
        if self._close or self._force_close:
            return False
        sock = transport.get_extra_info("socket")
        if sock is None or self.ssl_context is not None:
            return False
        if transport.get_write_buffer_size():
            self._leaving = (slot, data, is_settled)
            self._is_clean = False  # what comes goes to _parse
            transport.pause_reading()
            transport.set_write_buffer_limits(0)  # resume_writing is called when it is empty
            return True
        if not server.neighbours.pass_on(slot, sock.fileno(), data, site=server.site, is_settled=is_settled):
            return False
        if self.head_timer is not None:
            self._stop_timer()
        transport.abort()
        return True

    def resume_writing(self) -> None:
        """Go on, when what was written has left."""
        super().resume_writing()
        if self._leaving is not None:
            self._loop.call_soon(self._leave_at_last)

    def _leave_at_last(self) -> None:
        leaving, self._leaving = self._leaving, None
        if leaving is None or self.transport is None:
            return
        slot, data, is_settled = leaving
        self._is_clean = True
        if not self._leave(slot, data, is_settled):
            self.transport.set_write_buffer_limits()
            self.transport.resume_reading()
            self._is_settled = True
            self.data_received(data)

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Leave a request that was forwarded to the log of the worker that has served it."""
        if self.is_logged_elsewhere:
            self.is_logged_elsewhere = False
        else:
            super().log_access(request, response, time)


class RoutedServer(HttpServer):
    """The server of one of several workers."""

    protocol_class = RoutedProtocol

    def __init__(
        self,
        server: web.Server,
        head_timeout: float,
        routes: dict[str, DirectRoute],
        neighbours: Neighbours,
        paths: Iterable[str],
    ) -> None:
        super().__init__(server, head_timeout, {path: self._keep(route) for path, route in routes.items()})
        self.neighbours = neighbours
        """The other workers."""
        self.slot = neighbours.slot
        """The number of this worker."""
        self.going: tuple[int, bool] | None = None
        """The first and last argument of ``_leave`` for the request that was just declined."""
        self._lines = RequestLines(paths)
        self.begins, self.session, self.handshake = self._lines.begins, self._lines.session, self._lines.handshake
        """Match requests to the servers, see ``RequestLines``."""
        self.key_of = self._lines.key_of
        self.letter = LETTERS[self.slot : self.slot + 1]
        """The first letter of the session ids of this worker."""
        self._own_letter = self.letter.decode()
        self._serve_here = self.request_handler
        self.request_handler = self._serve_or_forward
        self._taking: set[asyncio.Task[None]] = set()
        self.site = neighbours.listen(self.take)
        """The number of this server among those of the process."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a connection."""
        protocol = super().__call__()
        if isinstance(protocol, RoutedProtocol):
            protocol.begin()
        return protocol

    def _keep(self, route: DirectRoute) -> DirectRoute:
        """Make a direct route that declines what is for other workers."""
        serve = route.serve

        def serve_here(request: web.Request) -> Served:
            target = request.raw_path
            start = target.rfind("sid=")  # the last one counts
            if (
                start > 0 and target[start + 4 : start + 5] == self._own_letter and target[start - 1] in "?&"
            ) or self._is_for_here(request):
                return serve(request)
            return None

        return DirectRoute(route._app, route._route, serve_here)

    def _is_for_here(self, request: web.Request) -> bool:
        """Return whether this worker serves a request. If not, ``going`` says where it goes, unless it was parsed."""
        protocol: Any = request.protocol
        is_parsed, target = protocol._unparsed is None, request.raw_path
        if protocol._is_settled:
            return True
        if "sid=" in target:
            slot = self.foreign_slot(target)
            going = None if slot == HERE else (slot, False)
        elif is_parsed:
            return True
        else:
            destination = self.neighbours.destination()
            going = None if destination is None else (destination, True)
        if not is_parsed:
            self.going = going
        return going is None

    def take(self, sock: socket, data: bytes, *, is_settled: bool = False, peer: Peer | None = None) -> None:
        """Serve a connection that another worker has passed on, see ``Serve``."""
        task = self._loop.create_task(self._take(sock, data, is_settled, peer))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, sock: socket, data: bytes, is_settled: bool, peer: Peer | None) -> None:
        protocol = self()
        if isinstance(protocol, RoutedProtocol):
            protocol.take(data, is_settled, peer)
        try:
            sock.setblocking(False)
            await self._loop.connect_accepted_socket(lambda: protocol, sock)
        except OSError:  # the client has gone
            sock.close()

    def slot_of_key(self, key: str) -> int:
        """Return the slot of the worker for a key; ``HERE`` for this worker.

        The key alone decides, for as long as the workers stay the same (rendezvous hashing): when one comes
        or goes, only those keys move that are, or were, its own.
        """
        neighbours = self.neighbours
        there = [slot for slot in range(len(LETTERS)) if slot == self.slot or neighbours.is_there(slot)]
        if len(there) == 1:
            return HERE
        name = key.encode(errors="surrogatepass")
        slot = max(there, key=lambda each: blake2b(name, digest_size=8, salt=each.to_bytes(2)).digest())
        return HERE if slot == self.slot else slot

    def foreign_slot(self, target: str) -> int:
        """Return the slot of the other worker that a URL is for; ``HERE`` if there is none."""
        slot = self._lines.slot_of(target)
        return slot if slot not in (HERE, self.slot) and self.neighbours.is_there(slot) else HERE

    def _serve_or_forward(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Serve a request whose connection could not be passed on."""
        return self._forward(request) if "sid=" in request.raw_path else self._serve_here(request)

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        if isinstance(protocol, RoutedProtocol) and not protocol._is_forwarded:
            slot = self.foreign_slot(request.raw_path)
            if slot != HERE:
                response = await forward(request, slot, self.neighbours, self.site)
                if response is not None:
                    protocol.is_logged_elsewhere = True
                    return response
        return await self._serve_here(request)

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close all connections."""
        for task in list(self._taking):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await super().shutdown(timeout)
