"""The base of gateways: their place in an application, the checks of who may come in, and packets in their form."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from ..engine.http.detach import begin_websocket
from ..engine.http.direct import add_direct_route
from ..engine.http.mount import check_mount
from ..engine.http.query import query_of
from .connection import GatewayConnection
from .packets import Outgoing, form_maker

if TYPE_CHECKING:
    from aiohttp import web

    from ..engine.entrance import Route
    from ..engine.gateway import Gateway
    from ..engine.http.answers import Answer
    from ..engine.transports.websocket import WebSocketTransport
    from ..protocols import Application, Frames
    from ..types import Handshake
    from .client import GatewayClient
    from .connection import GatewayTransport

W = TypeVar("W", bound="WebSocketTransport")


class BaseGateway:
    """Lets clients of another protocol into the namespaces of a server.

    A gateway derives from it, adds its routes in :meth:`add_routes`, and opens a connection for each client with
    :meth:`open`, or with :meth:`switch` if it is a websocket. ``engine`` is the server's engine.
    """

    connection: ClassVar[type[GatewayConnection]] = GatewayConnection
    scheme: ClassVar[Literal["http", "ws"]] = "ws"
    """The beginning of its URLs, without TLS."""
    _path: str = ""
    _resource: web.AbstractResource | None = None
    """The first resource that it has added to its application."""
    _own_path: str = ""

    def __init__(self, application: Application, engine: Gateway) -> None:
        self.application = application
        self.engine = engine
        self.entrance = engine.eio.entrance
        self.options = self.entrance.options
        self.limits = self.options.limits
        self.make_form: Callable[[Sequence[str | bytes]], Any] = form_maker(engine.serializer, self.encode)
        """Makes the gateway's form of what the serializer has made, for ``Frames.form`` with the gateway as the key."""

    def attach(self, app: web.Application, path: str) -> None:
        """Serve under a path of an application. Raises ``ConfigurationError`` if it is taken."""
        check_mount(app, path)
        self._path = "/" + path.strip("/")
        known = len(app.router.resources())
        self.add_routes(app, self._path)
        self._resource = next(itertools.islice(app.router.resources(), known, None), None)
        self._own_path = "" if self._resource is None else self._resource.canonical
        self.engine.gateways.append(self)

    @property
    def path(self) -> str:
        """The path under which it is attached, from the root, also of a sub-application."""
        prefix = "" if self._resource is None else self._resource.canonical.removesuffix(self._own_path)
        return prefix + self._path

    @property
    def description(self) -> str:
        """What it speaks, in a sentence, for contracts; empty if nothing is to be said."""
        return ""

    # --- for gateways to override -----------------------------------------------------------------------------------

    def add_routes(self, app: web.Application, path: str) -> None:
        """Add the routes to an application; each has a handler of :meth:`handler`."""
        raise NotImplementedError

    def make_client(self, connection: Any, handshake: Handshake) -> GatewayClient:
        """Make the client of a connection."""
        raise NotImplementedError

    def encode(self, packets: Sequence[Outgoing]) -> Any:
        """Make the gateway's form of packets, for all of its clients: what :meth:`form` returns."""
        raise NotImplementedError

    # --- for gateways to use ----------------------------------------------------------------------------------------

    def form(self, frames: Frames) -> Any:
        """Return frames in the gateway's form, which is made at most once for all clients."""
        return frames.form(self, self.make_form)

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Make a handler for aiohttp of ``route(request, headers)``, which answers what may come in.

        In front of it: trusted proxies, ``io.engine``'s middleware, origins; OPTIONS is answered for it. ``headers``
        are those of CORS.
        """
        return partial(self.entrance.serve, route)

    def add_websocket(self, app: web.Application, path: str, route: Route) -> None:
        """Add a path whose requests ``route`` answers, as by :meth:`handler`; a websocket costs no task of aiohttp."""
        added = app.router.add_route("*", path, self.handler(route))
        add_direct_route(app, path, added, partial(self.entrance.serve_directly, route))

    async def check(self, request: web.Request, headers: dict[str, str]) -> web.Response | None:
        """Refuse a request that would open a connection if it may not: bans, rates, caps, ``allow_request``.

        Call it in front of :meth:`open` and :meth:`switch`.
        """
        return await self.entrance.check(request, query_of(request), headers)

    def open(
        self, request: web.Request, transport: GatewayTransport, query: Mapping[str, str] | None = None
    ) -> GatewayConnection:
        """Open the connection of a client, whose ``client`` :meth:`make_client` makes; nothing may wait in between."""
        query = query_of(request) if query is None else query
        opened: GatewayConnection = self.entrance.open(request, query, self.connection, transport, self.make_client)
        return opened

    async def read_body(self, request: web.Request, connection: GatewayConnection | None = None) -> bytes | None:
        """Read the body of a request, of ``Limits.max_http_buffer_size`` bytes at most; ``None`` for a longer one.

        What comes is counted for the connection, if there is one, and less may come before it has joined a namespace.
        Raises ``TimeoutError`` when it comes too slowly: each ``Limits.body_timeout`` has to bring ``least_rate``.
        """
        limits = self.limits
        most = limits.max_http_buffer_size if connection is None else connection.message_limit
        if request.content_length is not None and request.content_length > most:
            return None
        loop = asyncio.get_running_loop()
        body = bytearray()
        enough = step = int(limits.least_rate * limits.body_timeout)
        try:
            async with asyncio.timeout(limits.body_timeout) as timer:
                async for chunk in request.content.iter_any():
                    body += chunk
                    if connection is not None:
                        connection.arrive(len(chunk))
                        if not connection.may_receive():
                            await connection.room_to_receive()
                    if len(body) > most:
                        return None
                    if len(body) >= enough:
                        enough = len(body) + step
                        timer.reschedule(loop.time() + limits.body_timeout)
        finally:
            if connection is not None:
                connection.arrive(-len(body))
                connection.settle()
        return bytes(body)

    async def switch(
        self,
        request: web.Request,
        headers: dict[str, str],
        *,
        choose_protocol: Callable[[Sequence[str]], str | None],
        make: Callable[[asyncio.Transport, int | None], W],
        opened: Callable[[GatewayConnection], None],
    ) -> Answer | web.Response:
        """Answer the handshake of a websocket, and open its connection; ``opened`` is called with that.

        ``choose_protocol`` chooses among the subprotocols that are offered, ``make`` makes the websocket of a TCP
        connection and the bits of the window of its compression (``None``: it has none).
        """

        def begin(answer: bytes, websocket: W) -> web.StreamResponse:
            transport: Any = websocket
            connection = self.open(request, transport)
            return begin_websocket(request, websocket, answer, lambda: opened(connection))

        switching: Any = self.entrance.switch(request, headers, choose_protocol, make, begin)
        answer: Answer | web.Response = await switching if isinstance(switching, Awaitable) else switching
        return answer
