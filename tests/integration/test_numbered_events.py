"""Events whose names are integers, as the members of a numeric enum, with stock clients."""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import Any

import pytest

from rtframework import Event, JSONSerializer, Limits, Namespace, Server, Socket
from rtframework.protocols import CallNext, Serializer
from rtframework.testing import TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.js import JSClient, JSClients
from tests.support.pyclient import PyClients
from tests.support.raw import raw_client
from tests.support.transports import Transport


class Kind(enum.IntEnum):
    HELLO = 0
    SAY = 1
    PICTURE = 7
    GONE = -3


class Word(enum.StrEnum):
    SAY = "say"


class OldWord(str, enum.Enum):  # noqa: UP042 - programs still write it so
    SHOUT = "shout"


def make(serializer: Serializer | None = None, *, old: bool = False) -> Server:
    """A server whose events are numbers."""
    io = Server(serializer=serializer, allow_eio3=old)

    @io.on(Kind.HELLO)
    async def hello(socket: Socket, name: str) -> str:
        return f"hello {name}"

    @io.on(1)
    async def say(socket: Socket, text: str) -> None:
        await io.emit(Kind.SAY, text)

    @io.on(Kind.PICTURE)
    async def picture(socket: Socket, data: bytes) -> int:
        await socket.emit(Kind.PICTURE, data[::-1])
        return len(data)

    @io.on(Kind.GONE)
    async def gone(socket: Socket) -> Any:
        return await socket.timeout(5).emit_with_ack(Kind.GONE, "why?")

    return io


async def converse(client: JSClient) -> None:
    """Send and receive events of every kind."""
    assert await client.emit_with_ack(0, "Ada") == "hello Ada"
    await client.emit(1, "x")
    assert await client.wait_for(1) == ["x"]
    assert await client.emit_with_ack(7, b"abc") == 3
    assert await client.wait_for(7) == [b"cba"]
    await client.answer(-3, "because")
    assert await client.emit_with_ack(-3) == "because"
    assert {type(each.name) for each in client.inbox.log if not each.life} == {int}


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_integers_go_both_ways(serve: Serve, js: JSClients, transport: Transport, parser: str) -> None:
    """A program whose events are a numeric enum would lose its connection with the first of them."""
    if parser == "msgpack":
        server = await serve(make(MsgpackSerializer()))
        client = await js.connect(server.url, via=transport, parser="msgpack")
    else:
        client = await js.connect((await serve(make())).url, via=transport)
    await converse(client)


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_integers_with_a_client_of_version_2(serve: Serve, js: JSClients, by: str) -> None:
    """As above, for programs that are not up to date."""
    await converse(await js.connect((await serve(make(old=True))).url, transports=[by], v2=True))


async def test_integers_with_a_client_in_python(serve: Serve, py: PyClients, transport: Transport) -> None:
    """As above, for programs in Python, where ``1`` and ``"1"`` differ: the answer to a number has to be one."""
    client = await py.connect((await serve(make())).url, via=transport)
    assert await client.emit_with_ack(0, "Ada") == "hello Ada"
    await client.emit(1, "x")
    assert await client.wait_for(1) == ["x"]
    assert await client.emit_with_ack(7, b"abc") == 3
    assert await client.wait_for(7) == [b"cba"]


async def test_one_and_one_in_quotes_are_the_same_event(serve: Serve, js: JSClients, transport: Transport) -> None:
    """``socket.on("1", …)`` takes ``emit(1)`` in Node: a program that is ported would go deaf."""
    io = Server()
    names: list[Any] = []

    @io.use_event
    async def note(socket: Socket, event: Event, call_next: CallNext) -> Any:
        names.append(event.name)
        return await call_next()

    @io.on("1")
    async def one(socket: Socket) -> str:
        return "one"

    @io.on(2)
    async def two(socket: Socket) -> str:
        return "two"

    client = await js.connect((await serve(io)).url, via=transport)
    assert [await client.emit_with_ack(name) for name in (1, "1", 2, "2")] == ["one", "one", "two", "two"]
    assert names == [1, "1", 2, "2"]
    for name in ("01", "+1", "1.0", " 1", "-0", "١"):
        assert (await client.emit_with_ack(name))["error"]["code"] == "unknown_event"


async def test_every_way_to_emit_sends_the_number(serve: Serve, js: JSClients) -> None:
    """Some calls would send a string, or refuse what others take."""
    io = Server()
    nsp = io.of("/n")
    child = io.of("/c/{name}")

    @nsp.on("connection")
    async def joined(socket: Socket) -> None:
        await socket.join("room")

    server = await serve(io)
    client = await js.connect(server.url)
    member = await client.of("/n")
    other = await client.of("/c/x")
    for each in (client, member, other):
        await each.answer("*", "answer")
    (socket,) = nsp.sockets.values()
    (remote,) = await nsp.fetch_sockets()
    for emitting in (
        *(
            nsp,
            nsp.to("room"),
            nsp.to("room").volatile.compress(False),
            nsp.local,
            nsp.except_("nobody"),
            nsp.timeout(5),
        ),
        *(socket, socket.timeout(5), socket.compress(False), remote, remote.timeout(5)),
    ):
        await emitting.emit(1, "x")
        assert await member.wait_for(1) == ["x"]
        await emitting.emit_with_ack(Kind.PICTURE)
        assert await member.wait_for(7) == []
    for name, receiver in ((io, client), (child, other)):
        await name.emit(1, "x")
        assert await receiver.wait_for(1) == ["x"]
        assert list((await name.timeout(5).emit_with_ack(2)).values()) == ["answer"]


async def test_every_way_to_listen_takes_the_number(serve: Serve, js: JSClients) -> None:
    """A handler of one socket, or of a parent, would not be found by the number."""
    io = Server()
    parent = io.of("/{name}")
    seen: list[Any] = []

    @parent.on(Kind.SAY)
    async def say(socket: Socket, text: str) -> str:
        return text

    @parent.on_any
    async def watch(socket: Socket, event: str | int, *args: Any) -> None:
        seen.append(event)

    @parent.on_any_outgoing
    def sent(socket: Socket, event: str | int, *args: Any) -> None:
        seen.append(event)

    @parent.on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on(2)
        async def two() -> int:
            await socket.emit(Kind.PICTURE)
            return 2

        @socket.once(3)
        async def three() -> int:
            return 3

        assert socket.listeners(2) == socket.listeners("2") == (two,)

    client = await js.connect((await serve(io)).url + "/x")
    assert await client.emit_with_ack(1, "hi") == "hi"
    assert await client.emit_with_ack(2) == 2
    assert await client.emit_with_ack(3) == 3
    assert (await client.emit_with_ack(3))["error"] == {"code": "unknown_event", "message": "no handler for 3"}
    assert seen == [1, 2, 7, 3, 3]
    assert [type(each) for each in seen] == [int] * 5
    assert parent.listeners(1) == parent.listeners("1") == parent.listeners(Kind.SAY) == (say,)
    parent.off("1")
    assert (await client.emit_with_ack(1, "hi"))["error"]["code"] == "unknown_event"


async def test_members_of_enums_of_strings(serve: Serve, js: JSClients) -> None:
    """Handlers of a member would be registered under its Python name, or never be called."""
    io = Server()

    @io.on(Word.SAY)
    async def say(socket: Socket) -> None:
        await socket.emit(OldWord.SHOUT, Word.SAY)

    @io.on(OldWord.SHOUT)
    async def shout(socket: Socket) -> str:
        return "!"

    client = await js.connect((await serve(io)).url)
    await client.emit("say")
    assert await client.wait_for("shout") == ["say"]
    assert await client.emit_with_ack("shout") == "!"
    assert io.listeners("shout") == io.listeners(OldWord.SHOUT) == (shout,)


@pytest.mark.parametrize(
    "name", ["1.5", "1.0", "1e400", "NaN", "true", "null", "[1]", str(2**53), str(-(2**53)), "9" * 400, "9" * 5000]
)
@pytest.mark.parametrize("nsp", ["/", "/n"])
async def test_other_names_are_a_parse_error(
    serve: Serve, name: str, nsp: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client could fill logs and metrics, or stop the server at a number that Python does not print."""
    caplog.set_level(logging.DEBUG)
    io = Server()
    reasons: asyncio.Queue[str] = asyncio.Queue()
    seen: list[Any] = []
    of = io.of(nsp)
    of.on_any(lambda socket, *args: seen.append(args))

    @of.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    server = await serve(io)
    async with raw_client(server.url) as client:
        await client.handshake()
        await client.post(f"40{nsp},")
        await client.poll()
        await client.post(f"42{nsp},[{name}]" if nsp != "/" else f"42[{name}]")
        assert await asyncio.wait_for(reasons.get(), 5) == "parse error"
    assert seen == []
    assert not [each for each in caplog.records if each.exc_info]
    assert all(len(each.getMessage()) < 300 for each in caplog.records)


async def test_long_integers_are_bounded_as_names_are(serve: Serve, js: JSClients) -> None:
    """A limit of three characters would be one for strings alone."""
    io = Server(limits=Limits(max_event_name=3))
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    client = await js.connect((await serve(io)).url)
    assert (await client.emit_with_ack(-12))["error"]["code"] == "unknown_event"
    await client.emit(1234)
    assert await asyncio.wait_for(reasons.get(), 5) == "parse error"


@NOT_ON_UVLOOP
@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgpackSerializer()], ids=["json", "msgpack"])
async def test_the_test_client_takes_numbers(serializer: Serializer) -> None:
    """Programs with numeric events could not be tested without a browser."""
    io = make(serializer)
    heard: list[Any] = []
    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack(Kind.HELLO, "Ada") == "hello Ada"
        await client.emit(1, "a")
        assert await client.receive(Kind.SAY) == "a"
        await client.emit("1", "b")
        received = await client.receive_event("1")
        assert (received.event, type(received.event), received.payload) == (1, int, "b")
        client.on(1, heard.append)
        await client.emit(1, "c")
        await client.receive_nothing(1)
        assert heard == ["c"]


@NOT_ON_UVLOOP
async def test_class_based_namespaces_register_members() -> None:
    """There would be no way to serve such an event in a class."""

    class Chat(Namespace):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.on(Kind.SAY)(self.say)

        async def say(self, socket: Socket, text: str) -> None:
            await self.emit(Kind.SAY, text.upper())

        async def on_7(self, socket: Socket) -> str:
            return "seven"

    io = Server()
    io.of("/chat", factory=Chat)
    async with TestServer(io) as server:
        client = await server.connect("/chat")
        await client.emit(Kind.SAY, "hi")
        assert await client.receive(Kind.SAY) == "HI"
        assert await client.emit_with_ack(Kind.PICTURE) == "seven"
