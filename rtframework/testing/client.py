"""A Socket.IO client for tests: one client in one namespace."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from ..adapters.packet_log import is_offset
from ..concurrency import maybe_await
from ..exceptions import AckTimeout, Disconnected
from ..packets import event_key, from_ack, to_ack
from ..types import Packet, PacketType
from .connection import Connection, Member, Network, Route
from .idle import settle, wait
from .inbox import Inbox, Received

if TYPE_CHECKING:
    from .engine_client import Transport

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE: Final = 1.0
"""Real seconds to wait for results of other threads and processes."""


class TestClient:
    """One client in one namespace of a :class:`TestServer`, made by its ``connect``.

    Each method returns when the server has done everything that it can do without time passing; all packets that the
    server has sent are received by then. ``within``: real seconds to wait for results that depend on other threads or
    processes; only a result that is not there yet is waited for.

    Example::

        alice = await server.connect(auth={"token": "a"})
        assert await alice.emit_with_ack("add", 1, 2) == 3
        await alice.emit("message", "hi")
        assert await bob.receive("message") == "hi"
        await alice.receive_nothing()
    """

    __test__ = False  # pytest: not a test class, despite its name

    def __init__(self, network: Network, connection: Connection, nsp: str, route: Route) -> None:
        self.id = ""
        """The id of the client's socket."""
        self.nsp = nsp
        """The name of the namespace."""
        self.recovered = False
        """True if the server has recovered the earlier session, after :meth:`reconnect`."""
        self.disconnect_reason: str | None = None
        """The reason of the disconnect, in the JavaScript client's words; ``None`` while connected."""
        self._network = network
        self._connection = connection
        self._route = route
        self._auth: Mapping[str, Any] | None = None
        self._inbox = Inbox()
        self._handlers: dict[str, Callable[..., Any]] = {}
        self._ids = itertools.count()
        self._questions: dict[int, asyncio.Future[list[Any]]] = {}
        self._pid: str | None = None
        self._offset: str | None = None
        self._errors: list[Exception] = []

    def __repr__(self) -> str:
        state = self.transport if self.connected else f"disconnected: {self.disconnect_reason}"
        return f"<TestClient {self.id} of {self.nsp}, {state}>"

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """True while the client is connected to the namespace."""
        return self.disconnect_reason is None

    @property
    def transport(self) -> Transport:
        """The current transport: ``"polling"`` or ``"websocket"``."""
        return self._connection.engine.transport

    @property
    def received(self) -> Sequence[Received]:
        """All events received so far, taken or not."""
        return tuple(self._inbox.items)

    # --- to the server ----------------------------------------------------------------------------------------------

    async def emit(self, event: str | int, *args: Any) -> None:
        """Emit an event. Raises ``Disconnected``, and ``EncodeError`` for arguments that cannot be encoded.

        The arguments may be of any type that the server can send, also Structs and dataclasses. To emit from several
        clients at the same time, use ``asyncio.gather``.
        """
        await self._send(PacketType.EVENT, [event, *args])
        await settle()
        self._network.raise_breach()

    async def emit_with_ack(self, event: str | int, *args: Any, within: float = PATIENCE) -> Any:
        """Emit an event and return the server's acknowledgement: ``None``, one value, or a tuple of several.

        Raises ``AckTimeout`` if there is none, ``Disconnected`` if the connection ends before.
        """
        id = next(self._ids)
        answer = self._questions[id] = asyncio.get_running_loop().create_future()
        try:
            await self._send(PacketType.EVENT, [event, *args], id)
            came = await wait(answer, within)
            self._network.raise_breach()
            if not came:
                raise AckTimeout(f"{self!r}: no answer to {event!r}{_real(within)}\n{self._inbox.describe()}")
            return from_ack(answer.result())
        finally:
            del self._questions[id]

    # --- from the server --------------------------------------------------------------------------------------------

    async def receive(self, event: str | int, *, within: float = PATIENCE) -> Any:
        """Take the oldest event of a name that was not taken yet: ``None``, one argument, or a tuple of several.

        Raises ``AssertionError``, listing all events received, if there is none.
        """
        return (await self._take(event, within)).payload

    async def receive_event(self, event: str | int | None = None, *, within: float = PATIENCE) -> Received:
        """Take the oldest event that was not taken yet, with name, arguments and ``ack()`` to acknowledge it.

        ``event``: only events of this name. Raises ``AssertionError``, listing all events received, if there is none.
        """
        return await self._take(event, within)

    async def receive_nothing(self, event: str | int | None = None, *, within: float = 0.0) -> None:
        """Assert that every event (of this name) has been taken, and that none is on its way.

        The event loop runs until nothing in it can run without time passing. Events of later timers are not on their
        way: move the clock first. Events of other threads and processes are not, either; ``within``: real seconds to
        wait for them. Raises ``AssertionError``.
        """
        if not await settle():
            raise AssertionError("nobody can tell: something runs on in the event loop without ever waiting")
        self.raise_errors()
        if within > 0:
            await self._inbox.until(lambda: self._inbox.peek(event) or not self.connected, within)
        found = self._inbox.peek(event)
        if found:
            names = ", ".join(repr(item.event) for item in found)
            raise AssertionError(f"{self!r}: has received {names}\n{self._inbox.describe()}")

    @overload
    def on(self, event: str | int) -> Callable[[F], F]: ...

    @overload
    def on(self, event: str | int, handler: F) -> F: ...

    def on(self, event: str | int, handler: Any = None) -> Any:
        """Call a function, async or not, with the arguments of each event of a name; its result is the acknowledgement.

        The function is also called for events that have been received but not taken, so none is missed between
        ``connect`` and ``on``. Its exceptions are raised by the next ``receive``, ``receive_nothing`` or
        ``disconnect``.

        Example::

            votes = []
            alice.on("vote", votes.append)

            @bob.on("question")
            def question(text: str) -> str:
                return "yes"
        """
        if handler is None:
            return lambda function: self.on(event, function)
        self._handlers[event_key(event)] = handler
        for item in self._inbox.peek(event):
            self._handle(item, handler)
        return handler

    async def receive_disconnect(self, *, within: float = PATIENCE) -> str:
        """Return the reason of the disconnect, in the JavaScript client's words, e.g. ``"io server disconnect"``.

        Raises ``AssertionError`` if the client is still connected.
        """
        await self._inbox.until(lambda: not self.connected, within)
        if self.disconnect_reason is None:
            raise AssertionError(f"{self!r}: is still connected{_real(within)}\n{self._inbox.describe()}")
        return self.disconnect_reason

    # --- connecting and disconnecting -------------------------------------------------------------------------------

    async def of(self, nsp: str, *, auth: Mapping[str, Any] | None = None, within: float = PATIENCE) -> TestClient:
        """Connect to another namespace over the same connection. Raises ``ConnectionRefused``."""
        return await open_client(self._network, self._connection, nsp, self._route, auth, within)

    async def upgrade(self, *, within: float = PATIENCE) -> None:
        """Upgrade the connection from polling to a websocket. Raises ``ConnectionRefused``."""
        self.raise_errors()
        upgrading = asyncio.get_running_loop().create_task(self._connection.engine.upgrade())
        try:
            if not await wait(upgrading, within):
                raise AssertionError(f"{self!r}: the server has not let it upgrade{_real(within)}")
            await upgrading
        finally:
            upgrading.cancel()
        await settle()

    async def disconnect(self) -> None:
        """Leave the namespace; close the connection if it was in no other namespace."""
        if self.connected:
            self._gone("io client disconnect")
            await self._connection.leave(self.nsp)
        await settle()
        self.raise_errors()

    async def lose_connection(self, *, silently: bool = False) -> None:
        """Lose the network: all TCP connections of the client break, as when a phone changes networks.

        ``silently``: nothing gets through any more and neither side is told. The server finds out by its heartbeats.
        """
        self._connection.engine.cut(silently)
        await settle()

    async def reconnect(self, *, auth: Mapping[str, Any] | None = None, within: float = PATIENCE) -> None:
        """Connect again over a new connection, with the same transport, headers, query and address.

        ``auth``: by default the ``auth`` given before. With connection state recovery the client asks for its earlier
        session, as the JavaScript client does; ``recovered`` is then true if it got it. Raises ``ConnectionRefused``,
        and ``RuntimeError`` while the client is connected.
        """
        if self.connected:
            raise RuntimeError("it is connected: lose_connection() or disconnect() come first")
        self._connection = await self._network.open(self._route, within)
        try:
            await self._join(self._auth if auth is None else auth, within)
        except BaseException:
            self._connection.engine.close()
            raise

    def raise_errors(self) -> None:
        """Raise an exception that a function given to :meth:`on` has raised, if any.

        With ``strict_emits``, also raise a ``ContractError`` of the program's handlers. The other methods do this
        themselves, as does the server when it stops.
        """
        self._network.raise_breach()
        if self._errors:
            raise self._errors.pop(0)

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _join(self, auth: Mapping[str, Any] | None, within: float) -> None:
        self._auth = auth
        if self._pid is not None:  # kept until the server answers: missed events may arrive before the answer
            offset = {} if self._offset is None else {"offset": self._offset}
            auth = {"pid": self._pid, **offset, **(auth or {})}
        member = Member(welcome=self._welcome, event=self._event, answer=self._answer, gone=self._gone)
        self.disconnect_reason = None
        try:
            await self._connection.join(self.nsp, auth, member, within)
        except BaseException:
            self.disconnect_reason = self.disconnect_reason or "refused"
            raise

    def _welcome(self, data: Mapping[str, Any]) -> None:
        self.id = data["sid"]
        pid = data.get("pid")
        self.recovered = pid is not None and pid == self._pid
        self._pid = pid

    async def _send(self, kind: PacketType, data: list[Any], id: int | None = None) -> None:
        self.raise_errors()
        if self.disconnect_reason is not None:
            raise Disconnected(self.disconnect_reason)
        await self._connection.send(Packet(kind, self.nsp, data, id))

    async def _take(self, event: str | int | None, within: float) -> Received:
        found = await self._inbox.take(event, within, lambda: not self.connected)
        self.raise_errors()
        if found is None:
            wanted = "event" if event is None else repr(event)
            end = _real(within) if self.connected else f", and it is disconnected: {self.disconnect_reason}"
            raise AssertionError(f"{self!r}: has received no {wanted}{end}\n{self._inbox.describe()}")
        return found

    def _event(self, args: list[Any], id: int | None) -> None:
        reply = None
        if id is not None:

            async def reply(answer: tuple[Any, ...]) -> None:
                await self._send(PacketType.ACK, list(answer), id)

        event, *rest = args
        if self._pid is not None and id is None and rest and isinstance(rest[-1], str):
            self._offset = rest[-1]  # any string, as in the JavaScript client
            if is_offset(self._offset):
                rest.pop()  # the offset that the server has added to the event
        item = self._inbox.put(event, tuple(rest), reply)
        handler = self._handlers.get(event_key(event))
        if handler is not None:
            self._handle(item, handler)

    def _handle(self, item: Received, handler: Callable[..., Any]) -> None:
        item.taken = True
        try:
            result = handler(*item.args)
        except Exception as error:  # noqa: BLE001 - of the test's function: raised in the test later
            self._errors.append(error)
            return
        if inspect.isawaitable(result) or item.wants_ack:
            self._connection.engine.spawn(self._finish(item, result))

    async def _finish(self, item: Received, result: Any) -> None:
        try:
            result = await maybe_await(result)
            if item.wants_ack:
                await item.ack(*to_ack(result))
        except Exception as error:  # noqa: BLE001 - of the test's function: raised in the test later
            self._errors.append(error)

    def _answer(self, args: list[Any], id: int) -> None:
        question = self._questions.get(id)
        if question is not None and not question.done():
            question.set_result(args)

    def _gone(self, reason: str) -> None:
        self.disconnect_reason = reason
        for question in self._questions.values():
            if not question.done():
                question.set_exception(Disconnected(reason))
        self._inbox.changed()


async def open_client(
    network: Network, connection: Connection, nsp: str, route: Route, auth: Mapping[str, Any] | None, within: float
) -> TestClient:
    """Connect a new client to a namespace over a connection. Raises ``ConnectionRefused``."""
    client = TestClient(network, connection, nsp, route)
    network.clients.append(client)
    await client._join(auth, within)
    return client


def _real(within: float) -> str:
    return f" within {within:g} s" if within > 0 else ""
