"""The test client and the stock JavaScript client: one table of scenarios, of which both have to tell the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias, cast

import pytest

from rtframework import ConnectionRefused, Event, EventError, Identity, Server, Socket, StaticTokenAuth
from rtframework.protocols import CallNext
from rtframework.testing import TestClient, TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.js import ConnectError, JSClient, JSClients
from tests.support.transports import POLLING, TRANSPORTS, Transport

pytestmark = NOT_ON_UVLOOP

ADA: Final = {"token": "a", "name": "Ada"}


def make_server(serializer: Any = None) -> Server:
    """What the scenarios talk to."""
    io = Server(serializer=serializer, auth=StaticTokenAuth({"a": Identity("1", name="Ada")}))
    admin = io.of("/admin")

    @admin.use
    async def only_bob(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth.get("name") != "Bob":
            raise ConnectionRefused("not you", {"you": socket.user.name})
        await call_next()

    @io.of("/closed").on("connection")
    async def refuse(socket: Socket) -> None:
        raise ConnectionRefused("closed")

    @io.of("/broken").on("connection")
    async def fail(socket: Socket) -> None:
        raise ValueError("inside")

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("welcome", socket.user.name, 1)

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("add")
    def add(socket: Socket, a: int, b: int) -> int:
        return a + b

    @io.on("refuse")
    def refuse_event(socket: Socket) -> None:
        raise EventError("no", "not now", {"later": True})

    @io.on("fail")
    def fail_event(socket: Socket) -> None:
        raise ValueError("inside")

    @io.on("send")
    async def send(socket: Socket, count: int, *args: Any) -> None:
        for number in range(count):
            await socket.emit("sent", number, *args)

    @io.on("broadcast")
    async def broadcast(socket: Socket, *args: Any) -> None:
        await socket.broadcast.emit("broadcast", *args)

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)

    @io.on("to")
    async def to(socket: Socket, room: str, text: str) -> None:
        await io.to(room).emit("said", text)

    @io.on("ask")
    async def ask(socket: Socket, *args: Any) -> Any:
        return await socket.emit_with_ack("question", *args)

    @io.on("kick")
    async def kick(socket: Socket, close: bool) -> None:
        await socket.disconnect(close=close)

    @io.use_event
    async def slow_down(socket: Socket, event: Event, call_next: CallNext) -> Any:
        if event.name == "too fast":
            raise EventError("too_fast")
        return await call_next()

    return io


class Client(Protocol):
    """What both clients can do."""

    async def emit(self, event: str, *args: Any) -> None: ...

    async def ask(self, event: str, *args: Any) -> Any: ...

    async def take(self, event: str) -> list[Any]: ...

    async def nothing(self, event: str) -> None: ...

    async def reason(self) -> str: ...

    async def answer(self, event: str, *args: Any) -> None: ...

    async def disconnect(self) -> None: ...

    async def of(self, nsp: str, auth: Mapping[str, Any]) -> Client | list[Any]: ...


Connect: TypeAlias = Callable[..., Awaitable["Client | list[Any]"]]
"""``await connect(nsp, auth)``: a client, or message and data of its refusal."""


class FromJS:
    """The stock client in Node."""

    def __init__(self, client: JSClient) -> None:
        self._client = client

    async def emit(self, event: str, *args: Any) -> None:
        """Emit."""
        await self._client.emit(event, *args)

    async def ask(self, event: str, *args: Any) -> Any:
        """All arguments of the answer."""
        return await self._client.ack_args(event, *args)

    async def take(self, event: str) -> list[Any]:
        """All arguments of the next such event."""
        return await self._client.wait_for(event)

    async def nothing(self, event: str) -> None:
        """No such event."""
        await self._client.expect_nothing(event)

    async def reason(self) -> str:
        """Why it was disconnected."""
        return await self._client.disconnected()

    async def answer(self, event: str, *args: Any) -> None:
        """What it will answer."""
        await self._client.answer(event, *args)

    async def disconnect(self) -> None:
        """Leave."""
        await self._client.disconnect()

    async def of(self, nsp: str, auth: Mapping[str, Any]) -> Client | list[Any]:
        """Another namespace of the connection."""
        client = await self._client.of(nsp, wait=False, auth=auth)
        try:
            await client.connected()
        except ConnectError as error:
            return [error.message, error.data]
        return FromJS(client)


class InProcess:
    """The test client."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    async def emit(self, event: str, *args: Any) -> None:
        """Emit."""
        await self._client.emit(event, *args)

    async def ask(self, event: str, *args: Any) -> Any:
        """All arguments of the answer."""
        answer = await self._client.emit_with_ack(event, *args)
        return list(answer) if isinstance(answer, tuple) else [] if answer is None else [answer]

    async def take(self, event: str) -> list[Any]:
        """All arguments of the next such event."""
        return list((await self._client.receive_event(event)).args)

    async def nothing(self, event: str) -> None:
        """No such event."""
        await self._client.receive_nothing(event)

    async def reason(self) -> str:
        """Why it was disconnected."""
        return await self._client.receive_disconnect()

    async def answer(self, event: str, *args: Any) -> None:
        """What it will answer."""
        self._client.on(event, lambda *_: args)

    async def disconnect(self) -> None:
        """Leave."""
        await self._client.disconnect()

    async def of(self, nsp: str, auth: Mapping[str, Any]) -> Client | list[Any]:
        """Another namespace of the connection."""
        try:
            return InProcess(await self._client.of(nsp, auth=auth))
        except ConnectionRefused as refused:
            return [refused.message, refused.data]


async def connected(connect: Connect, nsp: str = "/", auth: Mapping[str, Any] = ADA) -> Client:
    """A client that is in."""
    client = await connect(nsp, auth)
    assert not isinstance(client, list), client
    return client


# --- the table: each says what the clients of a server saw ----------------------------------------------------------


async def refusals(connect: Connect) -> list[Any]:
    """Authenticator, middleware, connection handler, unknown namespaces."""
    attempts = [("/", {}), ("/", {"token": "b"}), ("/admin", ADA), ("/closed", ADA), ("/broken", ADA), ("/x", ADA)]
    return [await connect(nsp, auth) for nsp, auth in attempts]


async def answers(connect: Connect) -> list[Any]:
    """Whatever an acknowledgement can be."""
    alice = await connected(connect)
    return [
        await alice.take("welcome"),
        await alice.ask("add", 1, 2),
        await alice.ask("add", "1", 2),
        await alice.ask("add"),
        await alice.ask("refuse"),
        await alice.ask("fail"),
        await alice.ask("too fast"),
        await alice.ask("nobody serves this"),
        await alice.ask("echo"),
        await alice.ask("echo", 1, "two", [3], {"four": 4.5}),
    ]


async def payloads(connect: Connect) -> list[Any]:
    """What survives the way there and back."""
    alice = await connected(connect)
    seen = []
    for payload in (
        [True, False, 0, -1, 2**53 - 1, 0.5, "", "ü\U0001f600\n\x00", [], {}, [[{"": []}]]],
        [b"\x00\xff", {"deep": [b"a", {"er": b""}]}],
        ["x" * 100_000, b"y" * 100_000],
    ):
        await alice.emit("send", 1, *payload)
        seen.append(await alice.take("sent"))
        seen.append(await alice.ask("echo", *payload))
    return seen


async def order(connect: Connect) -> list[Any]:
    """Many at once arrive in order."""
    alice = await connected(connect)
    await alice.emit("send", 100)
    return [await alice.take("sent") for _ in range(100)]


async def rooms(connect: Connect) -> list[Any]:
    """Who receives what."""
    alice, bob = await connected(connect), await connected(connect)
    await alice.ask("join", "a")
    await bob.ask("to", "a", "hi")
    seen = [await alice.take("said")]
    await bob.nothing("said")
    await alice.ask("broadcast", 1, 2)
    seen.append(await bob.take("broadcast"))
    await alice.nothing("broadcast")
    return seen


async def questions(connect: Connect) -> list[Any]:
    """What clients answer."""
    alice = await connected(connect)
    seen = []
    for answer in ([], [1], [1, {"two": b"2"}]):
        await alice.answer("question", *answer)
        seen.append(await alice.ask("ask", "?", *answer))
    return seen


async def thrown_out(connect: Connect) -> list[Any]:
    """The server ends it."""
    seen = []
    for close in (False, True):
        alice = await connected(connect)
        await alice.emit("kick", close)
        seen.append(await alice.reason())
    return seen


async def leaving(connect: Connect) -> list[Any]:
    """The client ends it: for good, or one of two namespaces."""
    alice, bob = await connected(connect), await connected(connect)
    admin = await alice.of("/admin", {**ADA, "name": "Bob"})
    assert not isinstance(admin, list)
    seen: list[Any] = [await alice.of("/closed", ADA)]
    await admin.disconnect()
    seen.append(await admin.reason())
    seen.append(await alice.ask("add", 1, 2))
    await alice.disconnect()
    seen.append(await alice.reason())
    await bob.ask("broadcast", "to nobody")
    return seen


SCENARIOS: Final = (refusals, answers, payloads, order, rooms, questions, thrown_out, leaving)


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: cast("str", scenario.__name__))
async def test_both_clients_see_the_same(
    serve: Serve,
    js: JSClients,
    transport: Transport,
    scenario: Callable[[Connect], Awaitable[list[Any]]],
    serializer: str,
) -> None:
    """A test that passes with the test client would say nothing about the clients that people use."""
    speaks = MsgpackSerializer() if serializer == "msgpack" else None
    running = await serve(make_server(speaks))

    async def connect_js(nsp: str, auth: Mapping[str, Any]) -> Client | list[Any]:
        url = running.url + nsp
        try:
            if serializer == "msgpack":
                return FromJS(await js.connect(url, via=transport, auth=auth, parser="msgpack"))
            return FromJS(await js.connect(url, via=transport, auth=auth))
        except ConnectError as error:
            return [error.message, error.data]

    async with TestServer(make_server(speaks)) as server:

        async def connect(nsp: str, auth: Mapping[str, Any]) -> Client | list[Any]:
            try:
                first = "polling" if transport in (POLLING, TRANSPORTS[-1]) else "websocket"
                client = await server.connect(nsp, auth=auth, transport=cast("Any", first))
                if transport.upgrades:
                    await client.upgrade()
            except ConnectionRefused as refused:
                return [refused.message, refused.data]
            return InProcess(client)

        assert await scenario(connect) == await scenario(connect_js)
