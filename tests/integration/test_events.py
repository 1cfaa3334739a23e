"""Events both ways: arguments, acknowledgements, order, what a failing handler does."""

from __future__ import annotations

import asyncio
import datetime
import enum
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Struct

from rtframework import AckTimeout, Disconnected, EncodeError, EventError, Namespace, Server, Socket
from rtframework.serializers import JSONSerializer
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.js import JSClient, JSClients
from tests.support.transports import Transport
from tests.support.until import until


class Message(Struct):
    room: str
    text: str
    likes: int = 0


@dataclass
class Point:
    x: int
    y: float


class Colour(enum.Enum):
    RED = "red"


@pytest.fixture(params=["json", "msgpack"])
def serializer(request: pytest.FixtureRequest) -> Any:
    """Both serializers that ship."""
    return request.param


async def connect(js: JSClients, url: str, via: Transport, serializer: str) -> JSClient:
    """A client that speaks the serializer."""
    if serializer == "msgpack":
        return await js.connect(url, via=via, parser="msgpack")
    return await js.connect(url, via=via)


def make(serializer: str, **options: Any) -> Server:
    """A server that speaks the serializer."""
    return Server(serializer=MsgpackSerializer() if serializer == "msgpack" else JSONSerializer(), **options)


async def test_arguments_and_acknowledgements(
    serializer: str, serve: Serve, js: JSClients, transport: Transport
) -> None:
    """Arguments would be lost or changed on the way: several, nested, unicode, binary at any depth."""
    io = make(serializer)

    @io.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    client = await connect(js, (await serve(io)).url, transport, serializer)
    args = [1, -2.5, "zürich 😀", None, True, [1, [2, [3]]], {"a": {"b": [b"\x00\xff", {"c": b""}]}}, b"top"]
    assert await client.ack_args("echo", *args) == args
    assert await client.ack_args("echo") == []


async def test_the_server_emits_what_python_has(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Everybody would have to turn datetimes, UUIDs, dataclasses and Structs into dicts by hand."""
    io = Server()
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    number = uuid.UUID(int=7)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("things", when, number, Point(1, 2.5), Message("lobby", "hi"), Colour.RED, {3}, (1, 2))

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.wait_for("things") == [
        "2026-01-02T03:04:05Z",
        str(number),
        {"x": 1, "y": 2.5},
        {"room": "lobby", "text": "hi", "likes": 0},
        "red",
        [3],
        [1, 2],
    ]


async def test_what_a_handler_returns_is_the_acknowledgement(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client that asks would not get its answer."""
    io = Server()

    @io.on("one")
    async def one(socket: Socket) -> str:
        return "ok"

    @io.event
    def several(socket: Socket) -> tuple[int, str]:
        return 1, "two"

    @io.event
    async def nothing(socket: Socket) -> None: ...

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.ack_args("one") == ["ok"]
    assert await client.ack_args("several") == [1, "two"]
    assert await client.ack_args("nothing") == []


async def test_arguments_are_checked_and_converted(
    serializer: str, serve: Serve, js: JSClients, transport: Transport
) -> None:
    """A wrong payload would reach the handler and fail somewhere inside it."""
    io = make(serializer)
    received: list[Any] = []

    @io.on("message")
    async def message(socket: Socket, data: Message, blob: bytes | None = None, *tags: str) -> int:
        received.append((data, blob, tags))
        return data.likes

    client = await connect(js, (await serve(io)).url, transport, serializer)
    assert await client.emit_with_ack("message", {"room": "a", "text": "b", "likes": 3}, b"xyz", "t", "u") == 3
    assert received == [(Message("a", "b", 3), b"xyz", ("t", "u"))]
    received.clear()

    error = (await client.emit_with_ack("message", {"room": "a", "text": 5}))["error"]
    assert error["code"] == "invalid_payload"
    assert error["details"] == [{"path": "$[0].text", "message": "Expected `str`, got `int`"}]
    assert (await client.emit_with_ack("message", {"room": "a", "text": "b"}, None, 7))["error"]["details"][0][
        "path"
    ] == "$[2]"
    assert (await client.emit_with_ack("message"))["error"]["code"] == "invalid_payload"
    assert received == []


async def test_errors_of_handlers(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that fails would leave its client waiting, or harm others, or tell about the inside."""
    io = Server()

    @io.on("refuses")
    async def refuses(socket: Socket) -> None:
        raise EventError("not_in_room", "Join the room first", {"room": "a"})

    @io.on("fails")
    async def fails(socket: Socket) -> None:
        raise RuntimeError("the secret inside")

    @io.on("unsendable")
    async def unsendable(socket: Socket) -> float:
        return float("nan")

    @io.on("works")
    async def works(socket: Socket) -> str:
        return "works"

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("refuses") == {
        "error": {"code": "not_in_room", "message": "Join the room first", "details": {"room": "a"}}
    }
    internal = {"error": {"code": "internal_error", "message": "Internal server error"}}
    assert await client.emit_with_ack("fails") == internal
    assert await client.emit_with_ack("unsendable") == internal
    assert (await client.emit_with_ack("unheard_of"))["error"]["code"] == "unknown_event"
    assert await client.emit_with_ack("works") == "works"
    assert "the secret inside" in caplog.text
    records = [record for record in caplog.records if getattr(record, "event", None) == "fails"]
    assert len(records) == 1


async def test_emit_with_ack(serializer: str, serve: Serve, js: JSClients, transport: Transport) -> None:
    """A server could not ask a client anything."""
    io = make(serializer)
    server = await serve(io)
    client = await connect(js, server.url, transport, serializer)
    await client.echo("question")
    (socket,) = io.sockets.values()
    assert await socket.emit_with_ack("question", {"a": b"1"}) == {"a": b"1"}
    assert await socket.timeout(5).emit_with_ack("question", 1, 2) == (1, 2)
    assert await socket.emit_with_ack("question") is None
    await client.silent("question")
    with pytest.raises(AckTimeout, match="timed out"):
        await socket.timeout(0.01).emit_with_ack("question")
    assert isinstance(AckTimeout(), TimeoutError)


async def test_a_question_fails_at_once_when_the_client_leaves(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """A server that asks a client that leaves would wait out its whole time."""
    io = Server()
    client = await js.connect((await serve(io)).url, via=transport)
    (socket,) = io.sockets.values()
    asking = asyncio.create_task(socket.timeout(60).emit_with_ack("question"))
    await client.wait_for("question")
    await client.disconnect()
    with pytest.raises(Disconnected):
        await asyncio.wait_for(asking, 5)
    with pytest.raises(Disconnected):
        await socket.emit_with_ack("question")


async def test_asking_many(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A vote would count somebody twice, or hide who did not answer."""
    io = Server()
    server = await serve(io)
    clients = [await js.connect(server.url, via=transport) for _ in range(3)]
    ids = [await client.id() for client in clients]
    for number, client in enumerate(clients):
        await client.answer("vote", number)
    assert dict(await io.timeout(5).emit_with_ack("vote")) == dict(zip(ids, range(3), strict=True))

    await clients[2].silent("vote")
    with pytest.raises(AckTimeout) as caught:
        await io.timeout(0.05).emit_with_ack("vote")
    assert caught.value.responses == {ids[0]: 0, ids[1]: 1}
    assert caught.value.missing == (ids[2],)

    asking = asyncio.create_task(io.to(ids[0], ids[2]).emit_with_ack("vote"))
    await clients[2].wait_for("vote")
    await clients[2].wait_for("vote")
    await clients[2].wait_for("vote")
    await clients[2].disconnect()
    responses = await asyncio.wait_for(asking, 5)
    assert dict(responses) == {ids[0]: 0}
    assert responses.missing == (ids[2],)
    assert dict(await io.to([]).emit_with_ack("vote")) == {}


async def test_asking_everybody_in_a_connection_handler(serve: Serve, js: JSClients, transport: Transport) -> None:
    """The handler would wait for its own client, which waits for the handler."""
    io = Server()
    asked: list[dict[str, Any]] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        asked.append(dict(await io.emit_with_ack("vote")))

    server = await serve(io)
    first = await js.connect(server.url, via=transport)
    await first.answer("vote", "yes")
    await js.connect(server.url, via=transport)
    assert asked == [{}, {await first.id(): "yes"}]


async def test_events_of_one_socket_start_in_order(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A slow handler would hold up the next event, other sockets, or the heartbeat; or events would overtake."""
    io = Server(ping_interval=0.15, ping_timeout=0.6)
    started: list[int] = []
    release = asyncio.Event()

    @io.on("slow")
    async def slow(socket: Socket, number: int) -> int:
        started.append(number)
        await release.wait()
        return number

    @io.on("fast")
    async def fast(socket: Socket) -> list[int]:
        return list(started)

    server = await serve(io)
    client, other = await js.connect(server.url, via=transport), await js.connect(server.url, via=transport)
    asking = [asyncio.create_task(client.emit_with_ack("slow", number)) for number in range(10)]
    await until(lambda: len(started) == 10)
    assert await client.emit_with_ack("fast") == list(range(10))
    assert await other.emit_with_ack("fast") == list(range(10))
    for _ in range(6):  # longer than interval and timeout together
        await client.life("ping")
    assert len(io.sockets) == 2
    release.set()
    assert await asyncio.gather(*asking) == list(range(10))


@pytest.mark.parametrize("level", ["server", "namespace", "handler"])
async def test_ordered_events_run_one_after_another(
    level: str, serve: Serve, js: JSClients, transport: Transport
) -> None:
    """A program that relies on strict order (read, change, write) would lose updates."""
    io = Server(ordered=level == "server")
    if level == "namespace":
        io.register_namespace(Namespace("/", ordered=True))
    log: list[str] = []

    @io.on("step", ordered=True if level == "handler" else None)
    async def step(socket: Socket, number: int) -> None:
        log.append(f"begin {number}")
        await asyncio.sleep(0.01 if number % 2 else 0.001)
        if number == 3:
            raise EventError("odd")
        log.append(f"end {number}")

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    await asyncio.gather(*(client.emit_with_ack("step", number) for number in range(6)))
    expected = [f"{word} {number}" for number in range(6) for word in ("begin", "end") if (word, number) != ("end", 3)]
    assert log == expected


async def test_timeouts_and_current_task_work_in_handlers(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A handler would not be an ordinary coroutine: asyncio.timeout and cancellation would hit somebody else."""
    io = Server()

    @io.on("wait")
    async def wait(socket: Socket) -> str:
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            assert asyncio.current_task() is task
            return "timed out"
        return "never"

    client = await js.connect((await serve(io)).url, via=transport)
    answers = await asyncio.gather(*(client.emit_with_ack("wait") for _ in range(5)))
    assert answers == ["timed out"] * 5


async def test_emitting_what_cannot_be_sent_harms_nobody(serve: Serve, js: JSClients) -> None:
    """One NaN would close connections, or reach some of the receivers and not others."""
    io = Server()
    client = await js.connect((await serve(io)).url)
    with pytest.raises(EncodeError, match="NaN"):
        await io.emit("number", {"value": float("nan")})
    with pytest.raises(EncodeError):
        await io.emit("object", object())
    await io.emit("fine")
    await client.wait_for("fine")


async def test_a_cut_emoji_disconnects_nobody(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Half a character, as `slice` leaves it in a page, would throw its user out."""
    io = Server()
    received: list[str] = []

    @io.on("say")
    async def say(socket: Socket, *texts: str) -> int:
        received.extend(texts)
        return len(texts)

    client = await js.connect((await serve(io)).url, via=transport)
    await client.send_packet("message", '2["say","\\ud83d cut","\\ud83d\\ude00 whole","\\\\ud83d"]')
    assert await client.emit_with_ack("say", "still here") == 1
    assert received == ["\ufffd cut", "\U0001f600 whole", "\\ud83d", "still here"]
