"""What one client may cost, and what happens beyond it: rtframework.Limits, and the options beside it."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import ConfigurationError, Deflate, EventError, Limits, Server, Socket
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.raw import raw_client
from tests.support.transports import Transport
from tests.support.until import until
from tests.support.websocket import TEXT, frame, websocket

BLOB = "x" * 20_000


async def stalled(io: Server, serve: Serve, js: JSClients, transport: Transport) -> tuple[str, Socket]:
    """A server with one client that reads nothing more: a paused websocket, or nobody who polls."""
    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    (socket,) = io.sockets.values()
    if transport.final == "websocket":
        await client.pause()
    else:
        await until(lambda: socket.conn.has_poll)  # type: ignore[attr-defined]
        await client.kill()
    return server.url, socket


def waiting(socket: Socket) -> int:
    """Bytes that wait for a client."""
    outbox = socket.conn.outbox  # type: ignore[attr-defined]
    return int(outbox._bytes)


async def test_wait_holds_up_the_emitter(serve: Serve, js: JSClients) -> None:
    """A program that sends more than a client reads would lose the client, or its memory."""
    io = Server(limits=Limits(max_outbox=100_000, slow_consumer="wait"))
    server = await serve(io)
    client, other = await js.connect(server.url, transports=["websocket"]), await js.connect(server.url)
    socket = io.sockets[await client.id()]
    await client.pause()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while sent < 2_000:
            await socket.emit("blob", sent, BLOB)
            sent += 1

    flooding = asyncio.create_task(flood())
    await until(lambda: waiting(socket) > 100_000)
    before = sent
    await other.barrier()
    assert sent == before, "the emitter goes on"
    assert waiting(socket) < 200_000
    await other.emit("nothing")
    await io.to(await other.id()).emit("hello")  # nobody else is held up
    await other.wait_for("hello")
    await client.resume()
    await asyncio.wait_for(flooding, 30)
    await client.wait_for("blob", where=lambda number, blob: number == 1_999, timeout=20)
    assert [args[0] for args in client.received("blob")] == list(range(2_000))


async def test_wait_ends_when_the_client_leaves(serve: Serve, js: JSClients) -> None:
    """An emitter would wait for ever for a client that has gone."""
    io = Server(limits=Limits(max_outbox=50_000, slow_consumer="wait"), ping_interval=0.2, ping_timeout=0.3)
    server = await serve(io)
    client = await js.connect(server.url, transports=["websocket"])
    (socket,) = io.sockets.values()
    await client.pause()

    async def flood() -> None:
        while socket.connected:
            await io.emit("blob", BLOB)

    await asyncio.wait_for(flood(), 10)
    assert not io.sockets


async def test_emitters_that_do_not_wait_for_each_other_are_bounded(serve: Serve, js: JSClients) -> None:
    """With "wait", a thousand tasks that each emit once would fill the memory all the same."""
    io = Server(limits=Limits(max_outbox=50_000, slow_consumer="wait"))
    server = await serve(io)
    client = await js.connect(server.url, transports=["websocket"])
    (socket,) = io.sockets.values()
    await client.pause()
    await asyncio.wait_for(asyncio.gather(*(socket.emit("blob", BLOB) for _ in range(1_000))), 10)
    await until(lambda: not io.sockets)
    assert socket._left == "slow consumer"


async def test_drop_oldest_keeps_the_newest(serve: Serve, js: JSClients) -> None:
    """A dashboard that was not looked at for a while would show what was, or be thrown out."""
    io = Server(limits=Limits(max_outbox=200_000, slow_consumer="drop_oldest"))
    server = await serve(io)
    client = await js.connect(server.url, transports=["websocket"])
    (socket,) = io.sockets.values()
    await client.answer("question", "answer")
    await client.pause()
    for number in range(1_000):
        await io.emit("blob", number, BLOB)
        if number % 50 == 0:
            await asyncio.sleep(0)
        assert waiting(socket) < 300_000
    asking = asyncio.create_task(socket.timeout(10).emit_with_ack("question"))
    await asyncio.sleep(0)
    for number in range(1_000, 1_100):
        await io.emit("blob", number, BLOB)
    await client.resume()
    assert await asking == "answer", "questions are not dropped"
    await client.wait_for("blob", where=lambda number, blob: number == 1_099)
    numbers = [args[0] for args in client.received("blob")]
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 1_100
    assert socket.connected


async def test_rooms_are_bounded(serve: Serve, js: JSClients) -> None:
    """One client that may choose rooms could fill the memory with their names."""
    io = Server(limits=Limits(max_rooms=3, max_room_name=10))

    @io.on("join")
    async def join(socket: Socket, *rooms: str) -> list[str]:
        await socket.join(*rooms)
        return sorted(socket.rooms - {socket.id})

    client = await js.connect((await serve(io)).url)
    assert await client.emit_with_ack("join", "a", "b") == ["a", "b"]
    assert (await client.emit_with_ack("join", "c"))["error"]["code"] == "too_many_rooms"
    assert await client.emit_with_ack("join", "a", "b") == ["a", "b"]
    assert (await client.emit_with_ack("join", "c" * 11))["error"]["code"] == "room_name_too_long"
    (socket,) = io.sockets.values()
    with pytest.raises(EventError):
        await socket.join("c")


async def test_event_names_are_bounded(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Names of a megabyte would go into logs and error messages."""
    io = Server(limits=Limits(max_event_name=10))
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    client = await js.connect((await serve(io)).url, via=transport)
    assert (await client.emit_with_ack("x" * 10))["error"]["code"] == "unknown_event"
    await client.emit("x" * 11)
    assert await asyncio.wait_for(reasons.get(), 5) == "parse error"


async def test_connections_that_join_nothing_are_bounded(serve: Serve, js: JSClients) -> None:
    """Somebody who only opens connections could use up the memory before any of them times out."""
    io = Server(limits=Limits(max_unconnected=2))
    server = await serve(io)
    async with raw_client(server.url) as one, raw_client(server.url) as two, raw_client(server.url) as three:
        await one.handshake()
        await two.handshake()
        await three.handshake()
        assert (await one.request("GET")).status == 400, "the oldest gives way"
        await two.post("40")
        await two.poll()
        await js.connect(server.url, transports=["polling"])
        assert io.engine.clients_count == 3
    assert io.stats().limited["max_unconnected"] == 1


async def test_a_body_has_to_arrive(serve: Serve) -> None:
    """Requests that are never finished would be held for ever."""
    io = Server(limits=Limits(body_timeout=0.1))
    server = await serve(io)
    async with raw_client(server.url) as raw:
        await raw.handshake()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        path = f"/socket.io/?EIO=4&transport=polling&sid={raw.sid}"
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n4".encode())
        answer = await asyncio.wait_for(reader.readline(), 5)
        assert b" 408 " in answer
        writer.close()
        assert (await raw.request("GET")).status == 400


async def test_an_origin_can_be_required(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A server for browsers alone could be used by any script."""
    server = await serve(Server(require_origin=True))
    refused = await js.connect(server.url, via=transport, wait=False)
    await refused.refused()
    await js.connect(server.url, via=transport, extraHeaders={"Origin": server.url})


@pytest.mark.parametrize("deflate", [None, Deflate(threshold=100), Deflate(threshold=0, level=1)])
async def test_per_message_deflate(deflate: Deflate | None, serve: Serve, js: JSClients) -> None:
    """Compressed messages would be garbage, or come though nobody asked for them."""
    io = Server(per_message_deflate=deflate)

    @io.on("echo")
    async def echo(socket: Socket, *args: object) -> tuple[object, ...]:
        return args

    server = await serve(io)
    clients = [
        await js.connect(server.url, transports=["websocket"], perMessageDeflate=True),
        await js.connect(server.url, transports=["websocket"], perMessageDeflate=False),
        await js.connect(server.url, transports=["polling"]),
        await js.connect(server.url, transports=["polling", "websocket"], perMessageDeflate=True),
    ]
    await clients[3].upgraded()
    for size in (1, 99, 100, 5_000, 200_000):
        args = ["grüße " * (size // 6), b"\x00\x01" * (size // 2), {"size": size}]
        await io.emit("news", *args)
        for client in clients:
            assert await client.wait_for("news") == args
            assert await client.ack_args("echo", *args) == args


def test_limits_and_options_are_checked() -> None:
    """A mistake in a setting would be noticed by the first client."""
    with pytest.raises(ConfigurationError, match="slow_consumer"):
        Limits(slow_consumer="never")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="body_timeout"):
        Limits(body_timeout=0)
    with pytest.raises(ConfigurationError, match="level"):
        Deflate(level=10)


async def test_others_are_sent_to_while_nobody_reads(serve: Serve, js: JSClients) -> None:
    """One client that reads nothing and goes on saying that it is alive stopped all broadcasts for good."""
    io = Server(limits=Limits(max_outbox=100_000, slow_consumer="wait", slow_consumer_timeout=0.3), ping_interval=0.2)
    reasons: asyncio.Queue[str] = asyncio.Queue()
    io.on("disconnect")(lambda socket, reason: reasons.put_nowait(reason))
    server = await serve(io)
    other = await js.connect(server.url)
    async with websocket(server.url) as deaf:
        await deaf.join()
        deaf.transport.pause_reading()

        async def live() -> None:
            while True:
                deaf.send(frame(TEXT, b"3"))
                await asyncio.sleep(0.05)

        living = asyncio.create_task(live())
        for number in range(400):
            await io.emit("blob", number, BLOB)
        assert await asyncio.wait_for(reasons.get(), 5) == "slow consumer"
        living.cancel()
    await other.barrier()
