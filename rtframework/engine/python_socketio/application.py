"""The handlers of a python-socketio program: they let clients in, serve their events, and hear that they left."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Hashable
from functools import cached_property, partial
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

import socketio
from socketio.exceptions import ConnectionRefusedError as RefusedByProgram
from socketio.exceptions import DisconnectedError

from ...adapters.connecting import connecting
from ...exceptions import ConnectionRefused, EncodeError
from ...logs import ThrottledLog, place_of, printable, quote
from ...types import DisconnectReason, Packet, PacketType
from ..connection import Connection as EngineConnection
from .adapter_manager import AdapterManager
from .manager import Manager

if TYPE_CHECKING:
    from ...protocols import Client
    from ...types import Handshake
    from .engineio_socket import EngineIOSocket
    from .server import AsyncServer

log: Final = logging.getLogger("rtframework.engine")

_unknown: Final = ThrottledLog(
    log,
    logging.WARNING,
    "refused a client that asks for the namespace %s: a handler with namespace=%s makes it, as does namespaces='*'",
)

_CONNECT: Final = int(PacketType.CONNECT)
_DISCONNECT: Final = int(PacketType.DISCONNECT)
_ACK: Final = int(PacketType.ACK)
_CONNECT_ERROR: Final = int(PacketType.CONNECT_ERROR)

_LIFECYCLE: Final = frozenset({"connect", "disconnect"})
_PATIENCE: Final = 1.5
"""Seconds that disconnect handlers have at shutdown."""

_REJECTED: Final = {"message": "Connection rejected by server"}
_FAILED: Final = {"message": "Internal server error"}

_reasons = socketio.AsyncServer.reason
_REASONS: Final[dict[str, str]] = {
    DisconnectReason.CLIENT_NAMESPACE_DISCONNECT: _reasons.CLIENT_DISCONNECT,
    DisconnectReason.PING_TIMEOUT: _reasons.PING_TIMEOUT,
    DisconnectReason.TRANSPORT_CLOSE: _reasons.TRANSPORT_CLOSE,
    DisconnectReason.TRANSPORT_ERROR: _reasons.TRANSPORT_ERROR,
    DisconnectReason.PARSE_ERROR: _reasons.TRANSPORT_ERROR,
}
"""Every other way to go is the server's doing."""


class Logs:
    """The lines of a server's log that its clients can cause."""

    def __init__(self, logger: logging.Logger) -> None:
        throttled = partial(ThrottledLog, logger, logging.ERROR)
        self.connect_failed = throttled("unhandled error in the connect handler of %s")
        self.refusal_unsendable = throttled("a refusal cannot be sent as it is")
        self.callback_failed = throttled("unhandled error in the callback of an acknowledgement")
        self.handler_failed = throttled("unhandled error in the handler of %s in %s")
        self.answer_unsendable = throttled("the acknowledgement of %s in %s cannot be sent")
        self.disconnect_failed = throttled("unhandled error in the disconnect handler of %s")


class Programs:
    """The application that the engine serves: decorated handlers and class-based namespaces of one server."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], Member] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._fits: dict[tuple[Any, int], bool] = {}

    def bind(self, server: AsyncServer) -> None:
        """Serve this server's handlers."""
        self.server = server

    @cached_property
    def logs(self) -> Logs:
        """The lines of the server's log that its clients can cause."""
        return Logs(self.server.logger)

    async def connect(self, client: Client, nsp: str, auth: Any) -> None:
        """Let a client into a namespace, or refuse it."""
        server = self.server
        connection = client.conn
        assert isinstance(connection, EngineConnection)
        socket = server.eio.sockets.get(connection.sid)
        if socket is None:
            return
        if not server._serves(nsp):
            name = quote(nsp)
            _unknown(name, name, extra={"nsp": nsp})
            connection.send(server.encode(Packet(_CONNECT_ERROR, nsp, {"message": "Invalid namespace"})))
            return
        server._initialize_manager()
        sid = await server.manager.pre_connect(connection.sid, nsp)
        if sid is None:
            connection.send(server.encode(Packet(_CONNECT_ERROR, nsp, {"message": "Unable to connect"})))
            return
        kind = LoggedMember if server._tells_all else Member
        member = self._members[nsp, sid] = kind(self, client, socket, nsp, sid)
        await member.arrive(auth)

    def member(self, sid: Any, nsp: str) -> Member | None:
        """Find the member of that id, while its handlers may ask for it."""
        return self._members.get((nsp, sid)) if isinstance(sid, str) else None

    def forget(self, member: Member) -> None:
        """Keep nothing of a member any more."""
        self._members.pop((member.nsp, member.sid), None)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that is awaited, for a bounded time, at shutdown."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def shutdown(self) -> None:
        """Wait for the disconnect handlers."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=_PATIENCE)
            for task in pending:
                task.cancel()
            if pending:
                text = "disconnect handlers did not end in time and are cancelled: %d"
                self.server.logger.warning(text, len(pending))
                await asyncio.wait(pending, timeout=0.5)

    def describe(self) -> dict[CodeType, str]:
        """Return what each handler is for, by its code."""
        found: dict[CodeType, str] = {}
        for nsp, handlers in self.server.handlers.items():
            for event, handler in handlers.items():
                self._describe(found, handler, event, nsp)
        for nsp, namespace in self.server.namespace_handlers.items():
            for name in dir(type(namespace)):
                if name.startswith("on_"):
                    self._describe(found, getattr(namespace, name), name.removeprefix("on_"), nsp)
        return found

    def _describe(self, found: dict[CodeType, str], handler: Any, event: str, nsp: str) -> None:
        function = inspect.unwrap(handler)
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            where = "" if nsp == "/" else f" in {nsp}"
            found[code] = f"handler {function.__name__} of {event!r}{where} ({place_of(code)})"

    # --- finding and calling handlers -------------------------------------------------------------------------------

    async def trigger(self, event: str | int, nsp: str, args: tuple[Any, ...]) -> Any:
        """Call the handler of an event, in python-socketio's order of preference; ``not_handled`` without one."""
        server = self.server
        if event == "*":  # a client's word, and not the place where catch-all handlers are
            handler, given = self._catch_all(event, nsp, args)
        else:
            handler, given = server._get_event_handler(event, nsp, args)
        if handler is None:
            namespace, given = server._get_namespace_handler(nsp, args)
            if namespace is None:
                return server.not_handled
            method = getattr(namespace, f"on_{event}", None)
            if getattr(namespace.trigger_event, "__func__", None) is socketio.AsyncNamespace.trigger_event:
                if method is None:
                    return None
                handler = method
            else:  # a program's own way to find the method: it is told all, but a connect handler without auth has none
                handler = namespace.trigger_event
                if event == "connect" and method is not None:
                    given = self._fit(method, given)
                given = (event, *given)
        if event in _LIFECYCLE:
            given = self._fit(handler, given)
        try:
            result = handler(*given)
            return await result if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # What the handler waited for was cancelled, not the handler: for python-socketio that is an answer without
            # a value. For a client that wants to be let in, it is none.
            if event == "connect" or task is None or task.cancelling():
                raise
            return None

    def _catch_all(self, event: str | int, nsp: str, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        for space, prefix in ((nsp, (event,)), ("*", (event, nsp))):
            handler = self.server.handlers.get(space, {}).get("*")
            if handler is not None:
                return handler, (*prefix, *args)
        return None, args

    def _fit(self, handler: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Drop the last argument (``auth``, ``reason``) for a handler that does not take it."""
        if not self._takes(handler, len(args)) and self._takes(handler, len(args) - 1):
            return args[:-1]
        return args

    def _takes(self, handler: Callable[..., Any], count: int) -> bool:
        """Return whether a handler can be called with so many arguments; looked at once."""
        if not isinstance(handler, Hashable):
            return _binds(handler, count)
        key = (handler, count)
        fits = self._fits.get(key)
        if fits is None:
            fits = self._fits[key] = _binds(handler, count)
        return fits


class Member:
    """One client in one namespace: what the engine calls a receiver."""

    __slots__ = (
        "__weakref__",
        "_admitted",
        "_auth",
        "_client",
        "_in_turn",
        "_left",
        "_programs",
        "_server",
        "_settled",
        "_socket",
        "_waiting",
        "nsp",
        "sid",
    )

    def __init__(self, programs: Programs, client: Client, socket: EngineIOSocket, nsp: str, sid: str) -> None:
        self.nsp = nsp
        self.sid = sid
        self._programs = programs
        self._server = programs.server
        self._client = client
        self._socket = socket
        self._in_turn = not programs.server.async_handlers
        self._admitted = False
        """True when the client was told that it is connected."""
        self._settled = False
        """True when its connect handler is done."""
        self._left: str | None = None
        """The reason why it has gone, once it has."""
        self._waiting: set[asyncio.Future[Any]] | None = None
        self._auth: Any = None
        """What it has sent with CONNECT, if other servers may ask for it."""

    # --- coming -----------------------------------------------------------------------------------------------------

    async def arrive(self, auth: Any) -> None:
        """Ask the connect handler, and let the client in or refuse it; whatever happens, no ghost of it stays."""
        server, socket = self._server, self._socket
        socket.move_in(self)
        if isinstance(server.manager, AdapterManager):
            self._auth = auth
        try:
            if not self._client.enter(self.nsp, self):
                await self._forget()
                return
            if server.always_connect:
                await self._admit()
            elif not isinstance(server.manager, Manager):
                socket.hold(self.nsp)  # that manager does not
            refusal = await self._ask(auth)
        except BaseException:
            await self._refuse(_FAILED)
            raise
        if refusal is not None:
            await self._refuse(refusal)
            return
        if not self._admitted and self._left is None:
            await self._admit()
        self._settled = True
        if self._left is not None:  # it went meanwhile, but what the connect handler set up has to be taken down
            await self._depart(in_turn=self._in_turn)

    async def _ask(self, auth: Any) -> dict[str, Any] | None:
        """Run the connect handler. Return what the client is to be told if it is refused."""
        server = self._server
        try:
            with connecting(self, lambda client: not client._settled):
                answer = await server._trigger_event("connect", self.nsp, self.sid, self._socket.environ, auth or None)
        except RefusedByProgram as refused:
            return dict(refused.error_args)
        except ConnectionRefused as refused:
            data = {} if refused.data is None else {"data": refused.data}
            return {"message": refused.message, **data}
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise
            self._programs.logs.connect_failed(self.nsp, error=error)
            return _FAILED
        return _REJECTED if answer is False else None

    async def _admit(self) -> None:
        server, socket = self._server, self._socket
        self._admitted = True
        socket.connection.send(server.encode(Packet(_CONNECT, self.nsp, {"sid": self.sid})))
        await server.manager.connect(self.sid, self.nsp)
        socket.release(self.nsp, send=True)

    async def _refuse(self, refusal: dict[str, Any]) -> None:
        server, connection = self._server, self._socket.connection
        if self._left is None:
            self._left = _reasons.SERVER_DISCONNECT
            self._client.leave(self.nsp)
            if self._admitted:
                server.manager.pre_disconnect(self.sid, self.nsp)
                connection.send(server.encode(Packet(_DISCONNECT, self.nsp)))
            else:
                try:
                    frames = server.encode(Packet(_CONNECT_ERROR, self.nsp, refusal))
                except EncodeError as error:
                    self._programs.logs.refusal_unsendable(error=error)
                    frames = server.encode(Packet(_CONNECT_ERROR, self.nsp, _REJECTED))
                connection.send(frames)
        await self._forget()

    # --- while it is here -------------------------------------------------------------------------------------------

    def _receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        """Serve an EVENT or an ACK of this client."""
        if not self._admitted:  # it cannot know yet that it is connected
            self._socket.connection.close(DisconnectReason.FORCED_SERVER_CLOSE)
            return None
        if packet.type == _ACK:
            # 0 is no number of a question; managers may keep something else there.
            return self._answered(packet) if packet.id else None
        return self._serve_in_turn(packet) if self._in_turn else self._serve(packet)

    async def _answered(self, packet: Packet) -> None:
        try:
            await self._server.manager.trigger_callback(self.sid, packet.id, packet.data)
        except Exception as error:  # noqa: BLE001 - logged
            self._programs.logs.callback_failed(error=error)

    async def _serve(self, packet: Packet) -> None:
        """Run the handler of one event and acknowledge it. A handler that fails is logged, and nothing is answered."""
        server = self._server
        name, *args = packet.data
        try:
            result = await server._trigger_event(name, self.nsp, self.sid, *args)
        except Exception as error:  # noqa: BLE001 - logged
            self._programs.logs.handler_failed(quote(name), self.nsp, error=error)
            return
        if packet.id is None or result is server.not_handled or self._left is not None:
            return
        answer = [] if result is None else list(result) if isinstance(result, tuple) else [result]
        try:
            frames = server.encode(Packet(_ACK, self.nsp, answer, packet.id))
        except EncodeError as error:
            self._programs.logs.answer_unsendable(quote(name), self.nsp, error=error)
            return
        self._socket.connection.send(frames)

    async def _serve_in_turn(self, packet: Packet) -> None:
        async with self._socket.turn:
            if self._left != _reasons.SERVER_DISCONNECT:  # or it was sent away by an event before this one
                await self._serve(packet)

    def wait_for(self, answer: asyncio.Future[Any]) -> None:
        """Have a future fail with ``DisconnectedError`` when the client leaves before it is done."""
        if self._left is not None:
            answer.set_exception(_gone())
            return
        if self._waiting is None:
            self._waiting = set()
        self._waiting.add(answer)
        answer.add_done_callback(self._waiting.discard)

    # --- going ------------------------------------------------------------------------------------------------------

    def _disconnected(self, reason: str) -> None:
        """Hear that the client has left the namespace, or that its connection is closed."""
        self._leave(_REASONS.get(reason, _reasons.SERVER_DISCONNECT))
        if self._settled:
            self._programs.spawn(self._depart(in_turn=self._in_turn))

    async def disconnect(self) -> None:
        """Tell the client to leave the namespace; done when its disconnect handler is."""
        if self._left is not None or not self._admitted:
            return
        connection = self._socket.connection
        self._client.leave(self.nsp)
        connection.send(self._server.encode(Packet(_DISCONNECT, self.nsp)))
        self._leave(_reasons.SERVER_DISCONNECT)
        if self._settled:
            await self._depart(in_turn=False)  # it may be an event of this client that asks for it

    def send_away(self, *, close: bool, reason: str | None, tell: bool = True) -> None:
        """Disconnect the client, or refuse it, as another server wants; its disconnect handler runs in a task.

        ``close``: also close its connection. ``reason``: what the handler hears. ``tell``: send the client a packet.
        """
        connection = self._socket.connection
        if self._left is None:
            self._client.leave(self.nsp)
            if tell and self._admitted:
                connection.send(self._server.encode(Packet(_DISCONNECT, self.nsp)))
            elif tell:
                connection.send(self._server.encode(Packet(_CONNECT_ERROR, self.nsp, _REJECTED)))
            self._leave(reason or (_reasons.SERVER_DISCONNECT if tell else _reasons.TRANSPORT_CLOSE))
            if self._settled:
                self._programs.spawn(self._depart(in_turn=self._in_turn))
        if close:
            connection.close(DisconnectReason.FORCED_SERVER_CLOSE)

    @property
    def handshake(self) -> Handshake:
        """The client's handshake with this namespace, as other servers get it."""
        return self._client.handshake(self.nsp, self._auth)

    def _leave(self, reason: str) -> None:
        if self._left is not None:
            return
        self._left = reason
        self._server.manager.pre_disconnect(self.sid, self.nsp)
        for answer in list(self._waiting or ()):
            if not answer.done():
                answer.set_exception(_gone())

    async def _depart(self, *, in_turn: bool) -> None:
        """Run the disconnect handler, which may still ask for session, environ and rooms; then forget the client."""
        try:
            if in_turn:
                async with self._socket.turn:  # after the events that came before
                    await self._run_disconnect_handler()
            else:
                await self._run_disconnect_handler()
        finally:
            await self._forget()

    async def _run_disconnect_handler(self) -> None:
        server = self._server
        try:
            await server._trigger_event("disconnect", self.nsp, self.sid, self._left)
        except Exception as error:  # noqa: BLE001 - logged
            self._programs.logs.disconnect_failed(self.nsp, error=error)

    async def _forget(self) -> None:
        try:
            self._socket.release(self.nsp, send=False)
            await self._server.manager.disconnect(self.sid, self.nsp, ignore_queue=True)
        finally:
            self._programs.forget(self)
            self._socket.move_out(self)


class LoggedMember(Member):
    """A member whose events and acknowledgements are logged, for programs that ask for it with ``logger``."""

    __slots__ = ()

    def _receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        if self._admitted and packet.type == _ACK:
            self._server.logger.info("received ack from %s [%s]", self.sid, self.nsp)
        elif self._admitted:
            name = printable(str(packet.data[0]))
            self._server.logger.info('received event "%s" from %s [%s]', name, self.sid, self.nsp)
        return super()._receive(packet)


def _binds(handler: Callable[..., Any], count: int) -> bool:
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # something built in that does not tell
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _gone() -> Exception:
    error: Exception = DisconnectedError("the client has disconnected")
    return error
