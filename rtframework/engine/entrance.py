"""The way in for clients of other protocols: the checks of a handshake, for requests that are none of Engine.IO's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from aiohttp import web

from .http.answers import Answer
from .http.redaction import hide_secrets
from .metering import WeighedHandler

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ..options import EngineOptions
    from ..types import Handshake
    from .client import Client
    from .connection import Connection
    from .connection_table import ConnectionTable
    from .handshake import Handshakes, W
    from .http.answers import Switching
    from .http.direct import Served
    from .http.origins import OriginPolicy
    from .http.refusals import Refusals
    from .interfaces import Carrier

C = TypeVar("C", bound="Connection")

Route: TypeAlias = "Callable[[web.Request, dict[str, str]], Awaitable[Answer | web.Response]]"
"""Answers a request; it gets the headers of CORS that belong into the answer, too."""


class Entrance:
    """Lets clients of other protocols in as handshakes are: origins, proxies, middleware, bans, caps, the program.

    ``pass_front`` takes a request through what stands in front; ``refuse_page`` refuses one by the page it comes from;
    ``serve_directly`` serves a websocket's handshake without a task of aiohttp, if it may.
    """

    def __init__(
        self,
        table: ConnectionTable,
        handshakes: Handshakes,
        *,
        options: EngineOptions,
        origins: OriginPolicy,
        refusals: Refusals,
        pass_front: Callable[..., Awaitable[web.StreamResponse]],
        serve_directly: Callable[[Route, web.Request], Served],
        refuse_page: Callable[[web.Request, str | None], Awaitable[web.Response | None]],
        generate_id: Callable[[], str],
    ) -> None:
        self.table = table
        self.options = options
        self.refusals = refusals
        self._handshakes = handshakes
        self._origins = origins
        self._pass_front = pass_front
        self.serve_directly = serve_directly
        self._refuse_page = refuse_page
        self.generate_id = generate_id

    async def serve(self, route: Route, request: web.Request) -> web.StreamResponse:
        """Serve a request by ``route``, behind all that stands in front of the protocols; with CORS."""
        hide_secrets(request)
        return await self._pass_front(request, partial(self.route, route))

    async def route(self, route: Route, request: web.Request) -> Answer | web.Response:
        """Have a request answered by ``route``, if its page may send it; with CORS."""
        headers: dict[str, str] = {}
        origin = request.headers.get("Origin")
        if origin is not None or self.options.require_origin:
            refusal = await self._refuse_page(request, origin)
            if refusal is not None:
                return refusal
            headers = self._origins.headers(origin, request.host)
        if request.method == "OPTIONS":
            return preflight(self._origins, request, headers)
        return await route(request, headers)

    def accepts_origin(self, origin: str, host: str) -> bool:
        """Tell whether pages of an origin may connect."""
        return self._origins.accepts(origin, host)

    async def check(
        self, request: web.Request, query: Mapping[str, str], headers: dict[str, str]
    ) -> web.Response | None:
        """Refuse a request that would open a connection, if it may not: bans, caps, ``allow_request``."""
        return await self._handshakes.check(request, query, headers)

    def describe(self, request: web.Request, query: Mapping[str, str]) -> Handshake:
        """Describe the client that has sent a request."""
        return self._handshakes.describe(request, query)

    def switch(
        self,
        request: web.Request,
        headers: dict[str, str],
        choose_protocol: Callable[[Sequence[str]], str | None],
        make: Callable[[asyncio.Transport, int | None], W],
        begin: Callable[[bytes, W], web.StreamResponse],
    ) -> Switching | Awaitable[web.Response]:
        """Agree to a websocket, or refuse; see ``Handshakes.switch``."""
        return self._handshakes.switch(request, headers, choose_protocol, make, begin)

    def open(
        self,
        request: web.Request,
        query: Mapping[str, str],
        make: Callable[..., C],
        transport: Carrier,
        make_client: Callable[[C, Handshake], Client],
    ) -> C:
        """Open the connection of a client, which is known to all that the server does with connections."""

        def make_handler(connection: Any, handshake: Handshake) -> Any:
            client = make_client(connection, handshake)
            return client if self.table.guard.bytes is None else WeighedHandler(client, client)

        handshake = self._handshakes.describe(request, query)
        connection: Any = self.table.open(self.generate_id(), make, transport, handshake, make_handler)
        opened: C = connection
        return opened


def preflight(origins: OriginPolicy, request: web.Request, headers: dict[str, str]) -> web.Response:
    """Answer the question of a browser whether a page may send a request (CORS)."""
    more = origins.preflight(request.headers.get("Access-Control-Request-Headers"))
    return web.Response(status=204, headers={**headers, **more})
