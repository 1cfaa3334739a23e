"""What real clients leave in the log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from rtframework import EventError, Limits, Server, Socket
from rtframework.engine import AsyncServer
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.raw import raw_client
from tests.support.transports import Transport
from tests.support.until import until


def of_ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The records of the framework."""
    return [record for record in caplog.records if record.name.startswith("rtframework")]


async def test_a_server_that_works_is_silent(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """The line that matters would be lost among thousands."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        await io.to("lobby").emit("said", text)
        return "ok"

    with caplog.at_level(logging.INFO):
        server = await serve(io)
        client = await js.connect(server.url, via=transport)
        assert await client.emit_with_ack("say", "hi") == "ok"
        await client.emit_with_ack("say", 5)  # not what it takes
        await client.emit_with_ack("nothing")
        await client.disconnect()
        await until(lambda: not io.sockets)
        await server.stop()
    assert of_ours(caplog) == []


async def test_the_drop_in_is_silent_unless_asked(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """Programs that log at INFO would get a line for each event, which python-socketio does not write either."""
    sio = AsyncServer()

    @sio.event
    async def say(sid: str, text: str) -> str:
        await sio.emit("said", text)
        return "ok"

    with caplog.at_level(logging.INFO):
        client = await js.connect((await serve(sio)).url)
        assert await client.emit_with_ack("say", "hi") == "ok"
    assert [record for record in caplog.records if record.name.partition(".")[0] in ("socketio", "engineio")] == []


async def test_a_failing_handler_says_where(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback without the client and the event is half a report."""
    io = Server()
    chat = io.of("/chat")

    @chat.on("one")
    async def one(socket: Socket) -> None:
        raise ValueError("one")

    @chat.on("late")
    async def late(socket: Socket) -> None:
        await asyncio.sleep(0)
        raise ValueError("late")

    for _ in range(2):

        @chat.on("several")
        async def several(socket: Socket) -> None:
            raise ValueError("several")

    @chat.on("unsendable")
    async def unsendable(socket: Socket) -> float:
        return float("nan")

    @chat.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        raise ValueError("disconnect")

    client = await js.connect((await serve(io)).url + "/chat", via=transport)
    sid = await client.id()

    @chat.on(7)
    async def seven(socket: Socket) -> None:
        raise ValueError("seven")

    counts: tuple[tuple[str | int, int], ...] = (("one", 1), ("late", 1), ("several", 2), ("unsendable", 1), (7, 1))
    for event, count in counts:
        caplog.clear()
        answer = await client.emit_with_ack(event)
        assert answer["error"]["code"] == "internal_error"
        records = of_ours(caplog)
        assert len(records) == count
        for record in records:
            found: Any = record
            assert (record.levelname, found.nsp, found.sid, found.event) == ("ERROR", "/chat", sid, event)
            assert record.exc_info
    caplog.clear()
    await client.disconnect()
    await until(lambda: of_ours(caplog))
    gone: Any = of_ours(caplog)[0]
    assert (gone.nsp, gone.sid, gone.exc_info is not None) == ("/chat", sid, True)


class Loud(EventError):
    """Notices that it is written down."""

    shown = 0

    def __str__(self) -> str:
        Loud.shown += 1
        return self.message


async def test_a_line_that_nobody_wants_is_not_put_together(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients that are refused all the time would cost as much as if it were logged."""
    io = Server()

    @io.on("refuse")
    async def refuse(socket: Socket) -> None:
        raise Loud("not_now")

    client = await js.connect((await serve(io)).url)
    Loud.shown = 0
    with caplog.at_level(logging.INFO):
        await client.emit_with_ack("refuse")
    assert Loud.shown == 0
    with caplog.at_level(logging.DEBUG, "rtframework.socket"):
        await client.emit_with_ack("refuse")
    assert Loud.shown >= 1
    record: Any = of_ours(caplog)[-1]
    assert (record.nsp, record.sid, record.event, record.code) == ("/", await client.id(), "refuse", "not_now")


async def test_a_client_that_is_closed_for_what_it_sends(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """An operator could not tell who it was."""
    io = Server(limits=Limits(max_namespaces=1))
    io.of("/second")
    server = await serve(io)
    with caplog.at_level(logging.INFO):
        for count, packet in enumerate(("nonsense", "40/second,"), start=1):
            async with raw_client(server.url) as raw:
                await raw.handshake()
                await raw.post("40")
                await raw.post(packet)
                await until(lambda count=count: sum(io.stats().closed.values()) == count)  # type: ignore[misc]
    records: list[Any] = of_ours(caplog)
    assert [(each.address, each.transport) for each in records] == [("127.0.0.1", "polling")] * 2
    assert records[1].limit == 1


@pytest.mark.usefixtures("throttled")
async def test_a_flood_of_failures_is_one_traceback_a_handler(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """One bad payload, sent again and again, would fill the disk: 18.5 MB in four seconds, measured."""
    io = Server()

    @io.on("one")
    async def one(socket: Socket) -> None:
        raise ValueError("one")

    @io.on("late")
    async def late(socket: Socket) -> None:
        await asyncio.sleep(0)
        raise ValueError("late")

    for _ in range(2):

        @io.on("several")
        async def several(socket: Socket) -> None:
            raise ValueError("several")

    @io.on("unsendable")
    async def unsendable(socket: Socket) -> float:
        return float("nan")

    @io.on_any
    async def watch(socket: Socket, event: str, *args: Any) -> None:
        if event.startswith("any"):
            raise ValueError("any")

    @io.use
    async def middleware(socket: Socket, call_next: Any) -> None:
        if socket.handshake.auth:
            raise ValueError("middleware")
        await call_next()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        raise ValueError("disconnect")

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        for _ in range(50):
            await websocket.send("40")
            for number, event in enumerate(("one", "late", "several", "unsendable")):
                await websocket.send(f'42{number}["{event}"]')
            await websocket.send(f'42["any{_}"]')
            await websocket.send("41")
            await websocket.send('40{"token":1}')
            while not str(await websocket.receive()).startswith("44"):
                pass
    await until(lambda: not io.sockets)
    assert io.stats().events_refused["internal_error"] == 50 * 4
    await server.stop()
    records: list[Any] = of_ours(caplog)
    tracebacks = [record for record in records if record.exc_info]
    counts = {
        "'one'": 50,
        "'late'": 50,
        "'several'": 100,
        "'unsendable' cannot": 50,
        "catch-all": 50,
        "while a client connects": 50,
        "'disconnect' handler": 50,
    }
    assert len(tracebacks) == len(counts)
    assert len(records) == 2 * len(counts), "and one line each with the number of the others"
    for text, count in counts.items():
        assert sum(1 + record.left_out for record in records if text in record.getMessage()) == count + 1, text


@pytest.mark.usefixtures("throttled")
async def test_the_number_is_told_though_nothing_follows(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an attack that has ended, the log would say that one event has failed."""
    io = Server(ping_interval=0.2, ping_timeout=0.2)

    @io.on("fail")
    async def fail(socket: Socket) -> None:
        raise ValueError("fail")

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        for number in range(100):
            await websocket.send(f'42{number}["fail"]')
        while not str(await websocket.receive()).startswith("4399["):
            pass
        assert len(of_ours(caplog)) == 1
        monkeypatch.setattr("rtframework.logs.PERIOD", 0.0)
        await until(lambda: len(of_ours(caplog)) == 2)
    told: Any = of_ours(caplog)[1]
    assert told.getMessage() == "unhandled error in a handler of 'fail' (99 more since the last such line)"
    assert (told.left_out, told.event, told.nsp) == (99, "fail", "/")


async def test_a_shutdown_with_many_at_work_is_one_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A client that has started thousands of handlers would leave megabytes of log when the server stops."""
    caplog.set_level(logging.INFO, "rtframework")
    io = Server()
    forever = asyncio.Event()

    @io.on("wait")
    async def wait(socket: Socket) -> None:
        await forever.wait()

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        for _ in range(200):
            await websocket.send('42["wait"]')
        await until(lambda: io.stats().waiting_handlers >= 50)
        await server.stop()
    messages = [record.getMessage() for record in of_ours(caplog)]
    assert [each for each in messages if "Server initialized" not in each] == [messages[-1]]
    assert "handlers did not end in time and are cancelled" in messages[-1]
