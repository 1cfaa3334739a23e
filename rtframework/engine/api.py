"""``io.engine``: the API for programs below Socket.IO, where there are HTTP requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from aiohttp import web
from multidict import CIMultiDict

from ..exceptions import ConfigurationError
from ..types import ConnectionFailure
from .http.listeners import EVENTS

if TYPE_CHECKING:
    from ..protocols import EngineMiddleware, Meter
    from .engine_server import EngineServer
    from .handshake import GenerateId

ErrorListener: TypeAlias = Callable[[ConnectionFailure], Any]
HeadersListener: TypeAlias = Callable[[CIMultiDict[str], web.Request], Any]

E = TypeVar("E", bound=ErrorListener)
H = TypeVar("H", bound=HeadersListener)
M = TypeVar("M", bound="EngineMiddleware")


class EngineIO:
    """The Engine.IO server under a Socket.IO server.

    Example::

        @io.engine.use
        async def security_headers(request: web.Request, call_next: HandleRequest) -> web.StreamResponse:
            response = await call_next()
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response

        @io.engine.on("connection_error")
        def refused(failure: ConnectionFailure) -> None:
            print(failure.code, failure.message, failure.context)
    """

    __slots__ = ("__weakref__", "_server")  # io.engine.generateId = ... is an error

    def __init__(self, server: EngineServer) -> None:
        self._server = server

    def use(self, middleware: M) -> M:
        """Add middleware for the HTTP requests of the protocol: handshakes, polls, POSTs, websocket handshakes.

        ``async (request, call_next) -> response``; middleware of aiohttp will do. What it does before ``call_next()``
        happens before the handshake; headers that it sets on the response after it are sent, on websockets too. A
        response of its own, or an ``web.HTTPException``, ends the request. ``ConnectionRefused(message)`` is answered
        403 with the message, any other exception 400. The answer to a preflight request (CORS) passes none.
        """
        self._server.middlewares.append(middleware)
        self._server.stand_in_front()
        return middleware

    @overload
    def on(self, event: Literal["connection_error"]) -> Callable[[E], E]: ...

    @overload
    def on(self, event: Literal["initial_headers", "headers"]) -> Callable[[H], H]: ...

    def on(self, event: str, *function: object) -> Callable[[Any], Any]:
        """Listen to an event of the engine; the decorated function may be ``async``.

        ``"connection_error"``: a request was refused; called with a :class:`~rtframework.ConnectionFailure`.
        ``"initial_headers"``: the answer to a handshake is about to be sent; called with its headers, which may be
        changed, and the request. ``"headers"``: the same for every answer that is no refusal. What a listener raises is
        logged.
        """
        if function:
            raise TypeError(
                f"io.engine.on() is given the name alone: write @io.engine.on({event!r}) above the function, "
                f"or io.engine.on({event!r})(function)"
            )
        if event not in EVENTS:
            raise ConfigurationError(f"the engine's events are {', '.join(EVENTS)}, not {event!r}")

        def register(listener: Any) -> Any:
            self._server.listeners.add(event, listener)
            if event != "connection_error":
                self._server.stand_in_front()
            return listener

        return register

    @property
    def clients_count(self) -> int:
        """The number of connections that are open, whether or not they have joined a namespace."""
        return len(self._server.connections)

    def ban(self, address: str, seconds: float) -> None:
        """Ban an address for a time: its connections are closed, and its handshakes refused with 403.

        Of IPv6, the whole /64 is banned. 10,000 bans may exist at once; beyond, the oldest ends. They end with the
        process, and concern this server only; workers of one port tell each other. Call it in the event loop; an
        address that is banned already is banned for the new time. Raises :class:`~rtframework.ConfigurationError` for
        what is no address.

        Example::

            strikes = RateLimiter("20/min")

            @io.on_audit
            def ban_guessers(entry: AuditEntry) -> None:
                if entry.kind == "refusal" and entry.address and strikes.take(entry.network):
                    io.engine.ban(entry.address, 600)
        """
        self._server.banning.ban(address, seconds)
        audit = self._server.table.guard.audit
        if audit.is_on:
            audit.write("ban", address=address, code=f"{seconds:g} s")

    def unban(self, address: str) -> bool:
        """Lift the ban of an address. Return ``False`` if there is none."""
        audit = self._server.table.guard.audit
        lifted = self._server.banning.unban(address)
        if lifted and audit.is_on:
            audit.write("ban", address=address, code="lifted")
        return lifted

    @property
    def bans(self) -> Mapping[str, float]:
        """The seconds that are left of each ban, by the address or, of IPv6, the /64; a snapshot."""
        return self._server.table.guard.bans.all()

    def measure(self, meter: Meter) -> None:
        """Have the meter told what passes from now on: connections, messages and bytes, both ways.

        It has the attributes of :class:`rtframework.protocols.Meter`, which are added to at each message. Nothing is
        counted, and nothing spent on it, while there is no meter.
        """
        self._server.measure(meter)

    def unmeasure(self, meter: Meter) -> None:
        """Have the meter told nothing more."""
        self._server.unmeasure(meter)

    @property
    def generate_id(self) -> GenerateId:
        """Makes the session id of a new connection; assign a function of the request, which may be ``async``.

        A session id is a secret, by which anybody can speak for its client: ids have to be unique and impossible to
        guess. They consist of letters, digits, ``-``, ``.``, ``_`` and ``~``. Anything else, and an exception, refuses
        the client. One of several workers of a port puts a letter in front, which names it.
        """
        return self._server.handshakes.make_id or (lambda request: self._server.generate_id())

    @generate_id.setter
    def generate_id(self, function: GenerateId) -> None:
        self._server.handshakes.make_id = function
