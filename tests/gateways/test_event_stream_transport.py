"""The transport of streams: heartbeats, slow clients, ids and gaps."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from typing import Any

import pytest
from aiohttp import web

from rtframework import Limits, Recovery, Server, Socket
from rtframework.gateways.event_stream import EventForm, EventId, EventStreamReader
from tests.conftest import Serve
from tests.engine import eventually
from tests.gateways.test_sse import serve_events
from tests.support.event_source import stream


class SlowClient:
    """A client that has asked for a stream and reads when it is told to."""

    def __init__(self, port: int) -> None:
        self.sock = sockets.socket()
        self.sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(b"GET /events HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
        self.sock.setblocking(False)

    async def read(self) -> bytes:
        """Read all that comes until the end."""
        loop = asyncio.get_running_loop()
        data = b""
        async with asyncio.timeout(10):
            while True:
                try:
                    piece = await loop.sock_recv(self.sock, 65_536)
                except ConnectionResetError:
                    return data
                if not piece:
                    return data
                data += piece


async def one_socket(io: Server) -> Socket:
    """Wait for the only client."""
    await eventually(lambda: len(io.sockets) == 1 and next(iter(io.sockets.values())).connected)
    return next(iter(io.sockets.values()))


async def test_comments_keep_the_stream_open(serve: Serve) -> None:
    """Proxies close a connection on which nothing passes for a minute."""
    io = Server()
    server = await serve_events(serve, io, heartbeat=0.02)
    async with stream(f"{server.url}/events") as events:
        await events.until(": ping\n\n: ping\n\n: ping\n\n")
        assert len(io.sockets) == 1


async def test_a_client_that_sends_nothing_is_not_taken_for_dead(serve: Serve) -> None:
    """EventSource cannot answer: each stream would end after the ping timeout."""
    io = Server(ping_interval=0.02, ping_timeout=0.02)
    server = await serve_events(serve, io, heartbeat=0.03)
    async with stream(f"{server.url}/events") as events:
        await events.until(": ping\n\n" * 10)
        assert len(io.sockets) == 1


async def test_a_client_that_does_not_read_is_cut_off(serve: Serve) -> None:
    """Its events would fill the memory."""
    gone: list[str] = []
    io = Server(limits=Limits(max_outbox=20_000))
    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    server = await serve_events(serve, io)
    client = SlowClient(server.port)
    await one_socket(io)
    while not gone:
        await io.emit("much", "x" * 10_000)
        await asyncio.sleep(0)
    assert gone == ["slow consumer"]
    assert not io.sockets
    client.sock.close()


async def test_a_slow_client_may_miss_events_and_is_told(serve: Serve) -> None:
    """It would take a part for the whole."""
    io = Server(limits=Limits(max_outbox=20_000, slow_consumer="drop_oldest"))
    server = await serve_events(serve, io)
    client = SlowClient(server.port)
    socket = await one_socket(io)
    sent = 0
    outbox: Any = socket.conn.outbox  # type: ignore[attr-defined]
    while outbox.dropped < 10:
        sent += 1
        await io.emit("n", sent, "x" * 5_000)
        await asyncio.sleep(0)
    reading = asyncio.create_task(client.read())
    await eventually(lambda: not outbox.waiting)
    await io.emit("last")
    await socket.disconnect()
    _, _, body = (await reading).decode().partition("\r\n\r\n")
    events = list(EventStreamReader().feed(body))
    names = [each.event for each in events]
    missed = sum(json.loads(each.data)["dropped"] for each in events if each.event == "gap")
    assert missed == outbox.dropped
    assert names.count("n") + missed == sent
    assert names[0] == "connect"
    assert names.index("gap") < names.index("last")
    client.sock.close()


async def test_volatile_events_are_dropped_while_the_client_does_not_read(serve: Serve) -> None:
    """Positions of a second ago would be read one after another."""
    io = Server()
    server = await serve_events(serve, io)
    client = SlowClient(server.port)
    socket = await one_socket(io)
    outbox: Any = socket.conn.outbox  # type: ignore[attr-defined]
    while not outbox.sink.buffered():
        await io.emit("much", "x" * 50_000)
        await asyncio.sleep(0)
    await io.volatile.emit("position", 1)
    await asyncio.sleep(0)
    reading = asyncio.create_task(client.read())
    await eventually(lambda: outbox.sink.writable)
    await io.volatile.emit("position", 2)
    await socket.disconnect()
    text = await reading
    assert b"event: position\ndata: 2" in text
    assert b"event: position\ndata: 1" not in text
    client.sock.close()


async def test_what_a_client_sends_behind_its_request_is_bounded(serve: Serve) -> None:
    """A connection could keep the server reading for ever."""
    gone: list[str] = []
    io = Server()
    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    server = await serve_events(serve, io)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\nGET /" + b"x" * 1000)
    await one_socket(io)
    assert not gone
    writer.write(b"x" * 100_000)
    await eventually(lambda: gone == ["transport close"])
    writer.close()


async def test_a_client_that_hangs_up_has_gone_at_once(serve: Serve) -> None:
    """Rooms would hold people who have left."""
    gone: list[str] = []
    io = Server()
    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
    await eventually(lambda: gone == ["transport close"])
    await eventually(lambda: not io._server.eio.connections)


async def test_each_event_is_made_once_for_all(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast would cost its encoding for each client."""
    io = Server()
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as one, stream(f"{server.url}/events") as two:
        await one.next("connect")
        await two.next("connect")
        made: list[Any] = []
        settle = EventForm.settle

        def count(form: EventForm, frames: Any) -> bool:
            made.append(form)
            return settle(form, frames)

        monkeypatch.setattr(EventForm, "settle", count)
        await io.emit("tick", 1)
        assert await one.data("tick") == await two.data("tick") == 1
        assert len(made) == 1


async def test_an_event_whose_name_has_lines_is_dropped_and_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be other events to each client."""
    io = Server()
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as events:
        await events.next("connect")
        await io.emit("a\nevent: b", 1)
        await io.emit("c", 2)
        assert (await events.next()).event == "c"
    assert "its name has more than one line" in caplog.text
    assert io.stats().dropped["not_encoded"] == 1


# --- coming back ------------------------------------------------------------------------------------------------------


async def test_a_client_that_comes_back_gets_what_it_has_missed(serve: Serve) -> None:
    """Each cut would lose what was said meanwhile."""
    io = Server(connection_state_recovery=Recovery())
    server = await serve_events(serve, io, rooms=["a", "b"])
    async with stream(f"{server.url}/events?room=a") as events:
        connect = await events.data("connect")
        await io.to("a").emit("said", 1)
        last = await events.next("said")
        await io.sockets[connect["sid"]].join("own")
    await eventually(lambda: not io.sockets)
    await io.to("a").emit("said", 2)
    await io.to("b").emit("said", "not for it")
    await io.to("own").emit("said", 3)
    await io.to(connect["sid"]).emit("said", 4)
    async with stream(f"{server.url}/events?room=a", last_id=last.id) as events:
        again = await events.data("connect")
        assert again == {**connect, "recovered": True, "session": again["session"]}
        assert [await events.data() for _ in range(3)] == [2, 3, 4]
        await io.to("a").emit("said", 5)
        assert await events.data() == 5
        ids = [each.id for each in events.events]
        assert len(set(ids)) == 5
        assert ids[0] == last.id
    async with stream(f"{server.url}/events?room=a&lastEventId={ids[2]}") as events:
        assert (await events.data("connect"))["recovered"]
        assert [await events.data() for _ in range(2)] == [4, 5]


async def test_a_client_that_got_nothing_comes_back_without_a_gap(serve: Serve) -> None:
    """A cut right after the beginning would lose all that was said meanwhile."""
    io = Server(connection_state_recovery=Recovery())
    server = await serve_events(serve, io, rooms=["a"])
    async with stream(f"{server.url}/events?room=a") as events:
        id = (await events.next("connect")).id
    await eventually(lambda: not io.sockets)
    await io.to("a").emit("said", 1)
    for _ in range(2):  # the same id again: it has got nothing of what was sent
        async with stream(f"{server.url}/events?room=a", last_id=id) as events:
            assert (await events.data("connect"))["recovered"]
            assert await events.data() == 1
        await eventually(lambda: not io.sockets)


@pytest.mark.parametrize("recovery", [None, Recovery(max_disconnection_duration=0.001)])
async def test_what_cannot_be_resumed_is_said(serve: Serve, recovery: Recovery | None) -> None:
    """A page would take what it has for all."""
    io = Server(connection_state_recovery=recovery)
    server = await serve_events(serve, io, rooms=["a"])
    async with stream(f"{server.url}/events?room=a") as events:
        first = await events.next("connect")
        assert "event: gap" not in events.text
    await eventually(lambda: not io.sockets)
    await asyncio.sleep(0.01)
    for id in (first.id, "~x~~y.1", "nonsense nonsense", "7"):
        async with stream(f"{server.url}/events?room=a", last_id=id) as events:
            assert not (await events.data("connect"))["recovered"]
            assert await events.data("gap") == {"rooms": ["a"]}
            assert EventId.parse(events.events[0].id) is not None


async def test_nobody_resumes_the_stream_of_another(serve: Serve) -> None:
    """An id in a log or on a screen would be enough to read on."""

    class Names:
        async def authenticate(self, handshake: Any) -> Any:
            return handshake.query["name"]

    io = Server(auth=Names(), connection_state_recovery=Recovery())
    server = await serve_events(serve, io, rooms=["a"])
    async with stream(f"{server.url}/events?name=ada&room=a") as events:
        last = await events.next("connect")
    await eventually(lambda: not io.sockets)
    await io.to("a").emit("said", "for ada")
    async with stream(f"{server.url}/events?name=eve&room=a", last_id=last.id) as events:
        assert not (await events.data("connect"))["recovered"]
        await events.next("gap")
        await io.emit("end")
        assert (await events.next()).event == "end"


async def test_a_room_that_is_not_allowed_any_more_is_left(serve: Serve) -> None:
    """Whoever keeps coming back would read a room for ever."""
    allowed = {"a", "b"}
    io = Server(connection_state_recovery=Recovery())
    server = await serve_events(
        serve, io, rooms=lambda socket, names: [f"room {name}" for name in names if name in allowed]
    )
    async with stream(f"{server.url}/events?room=a&room=b") as events:
        last = await events.next("connect")
    await eventually(lambda: not io.sockets)
    allowed.remove("b")
    await io.to("room b").emit("said", "secret")
    async with stream(f"{server.url}/events?room=a&room=b", last_id=last.id) as events:
        connect = await events.data("connect")
        assert (connect["rooms"], connect["recovered"]) == (["room a"], True)
        assert io.sockets[connect["sid"]].rooms == {"room a", connect["sid"]}
        await io.emit("end")
        assert [(await events.next()).event for _ in range(2)] == ["gap", "end"]


async def test_the_old_stream_ends_when_its_client_is_here_again(serve: Serve) -> None:
    """Until the kernel gives up, a client that was cut off would be there twice."""
    io = Server(connection_state_recovery=Recovery())
    server = await serve_events(serve, io)
    async with stream(f"{server.url}/events") as old:
        last = await old.next("connect")
        async with stream(f"{server.url}/events", last_id=last.id) as new:
            assert (await new.data("connect"))["recovered"]
            await old.end()
            assert len(io.sockets) == 1


async def test_a_stream_beside_nothing_else(serve: Serve) -> None:
    """Programs without Socket.IO clients could not have it."""
    io = Server()
    app = web.Application()
    io.attach_sse(app, "/live")
    server = await serve(app)
    async with stream(f"{server.url}/live") as events:
        await events.next("connect")
        await io.emit("tick")
        assert await events.data("tick") is None
        assert [each.transport for each in io._server.eio.connections.values()] == ["sse"]
