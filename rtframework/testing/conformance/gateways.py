"""The conformance suite of gateways: what clients of any protocol find, beside those of Socket.IO."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from unittest import SkipTest

from aiohttp import web

from ...exceptions import ConnectionRefused
from ...gateways.client import GatewayClient
from ...gateways.connection import GatewayConnection
from ...gateways.websocket import GatewayWebSocket
from ...namespaces.socket import Socket
from ...options import Limits
from ...server import Server
from ...types import Handshake
from ..server import TestServer
from .gateway_peer import GatewayPeer, GatewayRefused
from .suites import check

T = TypeVar("T")

_VALUES: Final[tuple[Any, ...]] = (
    "",
    "text",
    "é 日本 😀 \u2028",
    "lines\nand\r\nmore\rof them\n\n",
    "\x00\x01\x7f",
    ": data: event: id: \n\ndata:",
    '"quotes" \\ {braces} [brackets]',
    0,
    -1,
    1.5,
    2**53 - 1,
    True,
    False,
    None,
    [],
    {},
    [1, [2, [3, {"a": None}]]],
    {"": "", "a b": [{"c": "d"}], "é": 1},
    "x" * 70_000,
)
_BYTES: Final = (b"", b"\x00\xff", bytes(range(256)), [b"a", {"b": b"b"}])
_BY_ITSELF: Final = frozenset({"client namespace disconnect", "transport close"})
_CUT_OFF: Final = frozenset({"transport close", "transport error", "ping timeout"})


class _Auth:
    """Lets in clients with the token "good"."""

    async def authenticate(self, handshake: Handshake) -> Any:
        await asyncio.sleep(0)
        if handshake.auth.get("token") != "good":
            raise ConnectionRefused("wrong token", {"code": "wrong"})
        return "ada"


class _Place:
    """A server that is reached by memory and by TCP, and what it has noted."""

    def __init__(self, io: Server, server: TestServer, url: str) -> None:
        self.io = io
        self.server = server
        self.url = url
        self.reasons: list[str] = []
        """The reasons of all disconnects."""
        self.peers: list[GatewayPeer] = []
        """All clients."""
        self.notes: list[Any] = []
        """What clients have sent with "note"."""


class GatewayConformance:
    """Tests of a gateway, which lets clients of another protocol into the namespaces of a server.

    Implement :meth:`attach` and :meth:`connect`, and a :class:`GatewayPeer`; say by attributes what clients can do.
    Tests of what they cannot are skipped.

    ``transport``: what ``socket.conn.transport`` says. ``sends``: clients can send events. ``asks``: they get answers
    to them. ``answers``: they can answer events of the server. ``carries_bytes``: bytes arrive as bytes. ``visits``:
    the clients that come and go in the test of what is left of them. ``patience``: seconds that anything may take.
    """

    transport: str
    sends = True
    asks = True
    answers = True
    carries_bytes = True
    visits = 60
    patience = 15.0

    def attach(self, io: Server, app: web.Application) -> None:
        """Attach the gateway to an application."""
        raise NotImplementedError("give the suite an attach()")

    async def connect(self, url: str, *, token: str, headers: Mapping[str, str]) -> GatewayPeer:
        """Connect a client to the server at ``http://host:port``, and return it once it has been let in.

        ``token``: given so that it is ``handshake.auth["token"]``. ``headers``: of the HTTP request. Raises
        :class:`GatewayRefused` with what the client was told, if it is not let in.
        """
        raise NotImplementedError("give the suite a connect()")

    # --- in and out -------------------------------------------------------------------------------------------------

    def test_a_client_is_a_socket_like_any_other(self) -> None:
        """Programs would have to know where each client comes from."""

        async def run(place: _Place) -> None:
            await self._join(place)
            (socket,) = place.io.sockets.values()
            check(socket.user == "ada", "the authenticator's user is not the socket's")
            check(socket.conn.transport == self.transport, f"its transport is {socket.conn.transport!r}")
            check(socket.conn.protocol == 0, "its protocol is not 0")
            check(socket.handshake.address == "127.0.0.1", f"its address is {socket.handshake.address!r}")
            check(place.io.stats().connections.get(self.transport) == 1, "it is not counted by its transport")

        self._run(run)

    def test_who_is_refused_is_told(self) -> None:
        """A client could not tell a wrong token from a server that is down."""

        async def run(place: _Place) -> None:
            refused = await self._refused(place, token="wrong")
            check("wrong token" in str(refused), f"it was told {str(refused)!r}")
            check(not place.io.sockets, "it is in all the same")
            check(place.io.stats().connects["authentication"] == 1, "it is not counted")
            await self._nobody_is_left(place)

        self._run(run)

    def test_who_is_refused_by_a_handler_hears_nothing_before(self) -> None:
        """What is said in a room would reach clients that may not be in it."""

        async def run(place: _Place) -> None:
            @place.io.on("connection")
            async def refuse(socket: Any) -> None:
                await socket.emit("secret")
                await place.io.emit("secret")
                raise ConnectionRefused("the room is full")

            refused = await self._refused(place)
            check("the room is full" in str(refused), f"it was told {str(refused)!r}")
            await self._nobody_is_left(place)

        self._run(run)

    def test_requests_that_may_not_connect_are_refused(self) -> None:
        """Banned clients, and pages of other sites, would come in by this door."""

        async def run(place: _Place) -> None:
            await self._refused(place, headers={"Origin": "https://evil.example"})
            place.io.engine.ban("127.0.0.1", 60)
            await self._refused(place)
            place.io.engine.unban("127.0.0.1")
            await self._join(place, headers={"Origin": place.url})
            await self._refused(place)  # the second one is one too many
            refused = place.io.stats().requests_refused
            expected = {"origin_not_allowed": 1, "banned": 1, "too_many_connections": 1}
            check({name: refused.get(name) for name in expected} == expected, f"refused: {dict(refused)}")

        self._run(run, limits=Limits(max_connections=1))

    def test_the_program_may_refuse_requests(self) -> None:
        """``allow_request`` would hold for one protocol only."""

        async def run(place: _Place) -> None:
            await self._refused(place)
            await self._join(place, headers={"X-Key": "yes"})

        self._run(run, allow_request=lambda request: "X-Key" in request.headers)

    def test_ends_have_their_reasons(self) -> None:
        """A program could not tell who has left from who was cut off."""

        async def run(place: _Place) -> None:
            leaving = await self._join(place)
            await self._within(leaving.leave())
            await self._until(lambda: len(place.reasons) == 1, "the one who left is still in")
            check(place.reasons[0] in _BY_ITSELF, f"it has left by {place.reasons[0]!r}")
            cut = await self._join(place)
            cut.drop()
            await self._until(lambda: len(place.reasons) == 2, "the one who was cut off is still in")
            check(place.reasons[1] in _CUT_OFF, f"it was cut off by {place.reasons[1]!r}")
            sent_away = await self._join(place)
            (socket,) = place.io.sockets.values()
            await socket.emit("last", 1)
            await socket.disconnect(close=True)
            check(await self._within(sent_away.receive()) == ("last", [1]), "its last event was lost")
            await self._within(sent_away.closed())
            check(place.reasons[2] == "server namespace disconnect", f"it was sent away by {place.reasons[2]!r}")
            await self._nobody_is_left(place)

        self._run(run)

    def test_a_shutdown_ends_all(self) -> None:
        """A server would hang when it is stopped, or clients wait for one that has gone."""

        async def run(place: _Place) -> None:
            peers = [await self._join(place) for _ in range(3)]
            await place.io.emit("last")
            stopping = asyncio.create_task(place.server.stop())
            for peer in peers:
                check(await self._within(peer.receive()) == ("last", []), "the last event was lost")
                await self._within(peer.closed())
            await self._within(stopping)
            check(place.reasons == ["server shutting down"] * 3, f"the reasons are {place.reasons}")

        self._run(run)

    def test_a_drain_ends_all_and_lets_nobody_in(self) -> None:
        """A rolling update would cut its clients off."""

        async def run(place: _Place) -> None:
            peer = await self._join(place)
            draining = asyncio.create_task(place.io.drain(0.0))
            await self._within(peer.closed())
            await self._refused(place)
            await self._within(draining)

        self._run(run)

    # --- events -----------------------------------------------------------------------------------------------------

    def test_events_of_the_server_come_once_and_in_order(self) -> None:
        """A chat would be read backwards, or twice."""

        async def run(place: _Place) -> None:
            peer = await self._join(place)
            for number in range(300):
                await place.io.emit("n", number)
                if not number % 50:
                    await asyncio.sleep(0)
            got = [await self._within(peer.receive()) for _ in range(300)]
            check(got == [("n", [number]) for number in range(300)], f"it got {got[:20]} …")

        self._run(run)

    def test_values_arrive_as_they_were_sent(self) -> None:
        """Text with line breaks would break the protocol, or numbers arrive as text."""

        async def run(place: _Place) -> None:
            peer = await self._join(place)
            for value in (*_VALUES, *(_BYTES if self.carries_bytes else ())):
                await place.io.emit("value", value)
                got = await self._within(peer.receive())
                check(got == ("value", [value]), f"of {value!r:.100} became {got!r:.200}")
            await place.io.emit("no value")
            check(await self._within(peer.receive()) == ("no value", []), "an event without arguments got some")
            await place.io.emit("many", 1, "b", [3])
            check(await self._within(peer.receive()) == ("many", [1, "b", [3]]), "of three arguments some are missing")

        self._run(run)

    def test_one_emit_reaches_all_kinds_of_clients(self) -> None:
        """Rooms would be different ones for each protocol."""

        async def run(place: _Place) -> None:
            here, there = await self._join(place), await self._join(place)
            ours, theirs = place.io.sockets.values()
            node = await place.server.connect(auth={"token": "good"})
            await ours.join("room")
            await place.io.sockets[node.id].join("room")
            await place.io.to("room").emit("to the room", 1)
            await place.io.except_("room").emit("to the others", 2)
            await place.io.emit("to all", 3)
            await ours.leave("room")
            await place.io.to("room").emit("to the room", 4)
            await theirs.broadcast.emit("to all but one", 5)
            await place.io.emit("last", 6)
            expected = {
                "here": (here, [("to the room", [1]), ("to all", [3]), ("to all but one", [5]), ("last", [6])]),
                "there": (there, [("to the others", [2]), ("to all", [3]), ("last", [6])]),
            }
            for name, (peer, events) in expected.items():
                got = [await self._within(peer.receive()) for _ in events]
                check(got == events, f"the one {name} got {got}")
            check([await node.receive("to the room"), await node.receive("to the room")] == [1, 4], "Socket.IO's")
            check(await node.receive("last") == 6, "Socket.IO's")

        self._run(run)

    def test_events_of_clients_are_served_in_order(self) -> None:
        """What a client says would be served in another order."""
        self._needs(self.sends, "its clients send no events")

        async def run(place: _Place) -> None:
            peer, other = await self._join(place), await self._join(place)
            for number in range(50):
                await self._within(peer.emit("note", number))
            await self._within(other.emit("note", "x" * 20_000))
            await self._until(lambda: len(place.notes) == 51, "not all events were served")
            check([each for each in place.notes if type(each) is int] == list(range(50)), f"{place.notes!r:.300}")
            for value in _VALUES[:-1]:
                place.notes.clear()
                await self._within(peer.emit("note", value))
                await self._until(lambda: bool(place.notes), f"{value!r} was not served")
                check(place.notes == [value], f"of {value!r} became {place.notes!r}")

        self._run(run)

    def test_a_client_gets_its_answers(self) -> None:
        """A client could not tell whether its event was served."""
        self._needs(self.asks, "its clients get no answers")

        async def run(place: _Place) -> None:
            peer = await self._join(place)
            for number in range(3):
                check(await self._within(peer.ask("double", number)) == [2 * number], "the answer is another one")
            (answer,) = await self._within(peer.ask("double", "x"))
            check(answer["error"]["code"] == "invalid_payload", f"what does not fit is answered with {answer!r}")
            (answer,) = await self._within(peer.ask("nowhere"))
            check(answer["error"]["code"] == "unknown_event", f"an unknown event is answered with {answer!r}")

        self._run(run)

    def test_a_client_may_be_asked(self) -> None:
        """A server could not tell whether its event has arrived."""
        self._needs(self.answers, "its clients give no answers")

        async def run(place: _Place) -> None:
            peer = await self._join(place)
            (socket,) = place.io.sockets.values()
            asking = asyncio.create_task(socket.timeout(self.patience).emit_with_ack("sure?", 1))
            check(await self._within(peer.answer("yes")) == ("sure?", [1]), "it was asked something else")
            check(await asking == "yes", "the answer is another one")
            everybody = asyncio.create_task(place.io.timeout(self.patience).emit_with_ack("all?"))
            await self._within(peer.answer(2))
            check(list((await everybody).values()) == [2], "the answer to a broadcast is missing")

        self._run(run)

    # --- what clients do wrong --------------------------------------------------------------------------------------

    def test_who_does_not_read_is_cut_off(self) -> None:
        """One phone in a tunnel would fill the memory of the server."""

        async def run(place: _Place) -> None:
            slow, other = await self._join(place), await self._join(place)
            slow.stop_reading()
            received = 0

            async def read() -> None:
                nonlocal received
                while True:
                    await other.receive()
                    received += 1

            reading = asyncio.create_task(read())
            sent = 0
            async with asyncio.timeout(self.patience):
                while not place.reasons:
                    await place.io.emit("news", "x" * 20_000)
                    sent += 1
                    await asyncio.sleep(0.001)
            check(place.reasons == ["slow consumer"], f"it was cut off by {place.reasons}")
            await self._until(lambda: received == sent, f"the other one got {received} of {sent}")
            reading.cancel()
            check(place.io.stats().dropped["slow_consumer"] > 0, "what was dropped is not counted")
            await self._until(lambda: place.io._server.eio.waiting_bytes() == 0, "what waited is kept")
            slow.drop()

        self._run(run, limits=Limits(max_outbox=300_000))

    def test_what_is_no_message_harms_its_client_alone(self) -> None:
        """A client with a bug would end the connections of all, or fill the log with tracebacks."""

        async def run(place: _Place) -> None:
            other = await self._join(place)
            for message in type(await self._join(place)).garbage():
                peer = await self._join(place)
                with contextlib.suppress(OSError, EOFError):
                    await self._within(peer.send_raw(message))
                await place.io.emit("still here")
                event = await self._within(other.receive())
                check(event == ("still here", []), f"after {message!r:.60} another client got {event}")
                peer.drop()
            await self._until(lambda: len(place.io.sockets) == 2, "those who sent garbage are still in")

        self._run(run)

    def test_a_message_that_is_too_long_ends_its_connection(self) -> None:
        """A client could have the server hold gigabytes."""
        self._needs(self.sends, "its clients send no events")

        async def run(place: _Place) -> None:
            peer = await self._join(place)
            with contextlib.suppress(OSError, EOFError):
                await self._within(peer.emit("note", "x" * 60_000))
            await self._until(lambda: len(place.reasons) == 1, "it is still in")
            check(place.notes == [], "it was served")

        self._run(run, limits=Limits(max_http_buffer_size=50_000))

    def test_nothing_is_left_of_those_who_have_gone(self) -> None:
        """A server would need more memory each day, or all clients wait for the garbage collector now and then."""
        gc.collect()
        before = _of_clients()
        known = set(map(id, before))

        async def run(place: _Place) -> None:
            for number in range(self.visits):
                peer = await self._join(place)
                if self.sends:
                    await self._within(peer.emit("note", number))
                await place.io.emit("n", number)
                if number % 3:
                    await self._within(peer.receive())
                if number % 2:
                    peer.drop()
                else:
                    await self._within(peer.leave())
                del peer
            for _ in range(3):
                await self._refused(place, token="wrong")
            await self._nobody_is_left(place)
            check(sum(place.io.stats().rooms.values()) == 0, "rooms of theirs are left")
            await asyncio.sleep(0.05)
            left = [each for each in _of_clients() if id(each) not in known]
            check(not left, f"{len(left)} objects are left, for example {left[:1]!r:.200}")

        gc.disable()  # nothing is to wait for it
        try:
            self._run(run)
        finally:
            gc.enable()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _needs(self, can: bool, why: str) -> None:
        if not can:
            raise SkipTest(why)

    def _run(self, run: Callable[[_Place], Awaitable[None]], **options: Any) -> None:
        with _errors() as errors:
            asyncio.run(self._in_place(run, options))
        check(not errors, f"the log has errors: {errors}")

    async def _in_place(self, run: Callable[[_Place], Awaitable[None]], options: dict[str, Any]) -> None:
        async with self._serving(options) as place:
            await run(place)

    @contextlib.asynccontextmanager
    async def _serving(self, options: dict[str, Any]) -> AsyncIterator[_Place]:
        io = Server(auth=_Auth(), **options)
        app = web.Application()
        io.attach(app)
        self.attach(io, app)
        async with TestServer(app) as server:
            site = web.TCPSite(server._running, "127.0.0.1", 0)
            await site.start()
            port = server._running.addresses[0][1]
            place = _Place(io, server, f"http://127.0.0.1:{port}")

            @io.on("note")
            def note(socket: Any, value: Any) -> None:
                place.notes.append(value)

            @io.on("double")
            def double(socket: Any, number: int) -> int:
                return 2 * number

            @io.on("disconnect")
            def disconnect(socket: Any, reason: str) -> None:
                place.reasons.append(reason)

            try:
                yield place
            finally:
                for peer in place.peers:  # else the server would wait for them to say goodbye
                    peer.drop()

    async def _join(self, place: _Place, headers: Mapping[str, str] | None = None) -> GatewayPeer:
        connects = place.io._host.counts.connects
        before = connects["connected"]
        peer = await self._within(self.connect(place.url, token="good", headers=headers or {}))
        place.peers.append(peer)
        await self._until(lambda: connects["connected"] > before, "a client was let in, and is not in")
        return peer

    async def _refused(
        self, place: _Place, *, token: str = "good", headers: Mapping[str, str] | None = None
    ) -> GatewayRefused:
        try:
            await self._within(self.connect(place.url, token=token, headers=headers or {}))
        except GatewayRefused as refused:
            return refused
        raise AssertionError("a client was let in that had to be refused")

    async def _nobody_is_left(self, place: _Place) -> None:
        table = place.io._server.eio.table
        await self._until(
            lambda: not (place.io.sockets or table.by_sid or table.leaving or table.unconnected or table.tasks),
            "something is left of clients that have gone",
        )
        check(place.io.stats().inbound_bytes == 0, "memory of their messages is still counted")

    async def _within(self, work: Awaitable[T]) -> T:
        async with asyncio.timeout(self.patience):
            return await work

    async def _until(self, condition: Callable[[], object], otherwise: str) -> None:
        try:
            async with asyncio.timeout(self.patience):
                while not condition():  # noqa: ASYNC110 - anything may be waited for
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(otherwise) from None


def _of_clients() -> list[Any]:
    """Return all objects of this process that belong to one client."""
    kinds = (GatewayClient, GatewayConnection, GatewayWebSocket, Socket)
    return [each for each in gc.get_objects() if isinstance(each, kinds)]


@contextlib.contextmanager
def _errors() -> Any:
    """Collect errors of the log."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            found.append(f"{record.name}: {record.getMessage()} {error!r}")

    handler = Handler(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("rtframework", "asyncio", "aiohttp.server")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield found
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
