"""Heartbeats: a dead client is gone in time, a living one never because of the server's own slowness."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler as RequestHandler

from rtframework import Limits, Server, Socket
from rtframework.engine.connection import Connection
from rtframework.engine.heartbeat import Heartbeat
from tests.conftest import Serve
from tests.engine import Witness, block, engine_of, eventually, join, join_websocket, raw_client
from tests.support.raw import PONG
from tests.support.transports import Transport
from tests.support.websocket import TEXT, frame, websocket


class Clockwork:
    """Something that ticks every second of the loop's time."""

    def __init__(self, deadline: float, *, fails: bool = False) -> None:
        self.deadline = deadline
        self.ticks = 0
        self.looks = 0
        self.postponed = 0.0
        self.fails = fails

    def tick(self, now: float) -> None:
        self.ticks += 1
        self.deadline = now + 60
        if self.fails:
            raise RuntimeError("unforeseen")

    def postpone(self, seconds: float) -> None:
        self.postponed += seconds
        self.deadline += seconds

    def look(self) -> None:
        self.looks += 1


async def test_only_what_is_due_ticks_and_everything_is_looked_at() -> None:
    """Connections would be pinged too early, or those that ended be kept."""
    now = asyncio.get_running_loop().time()
    due, later = Clockwork(now), Clockwork(now + 60)
    heartbeat = Heartbeat(0.01, lambda: [due, later])
    heartbeat.start()
    heartbeat.start()
    await eventually(lambda: due.looks > 3)
    heartbeat.stop()
    looks = due.looks
    assert (due.ticks, later.ticks) == (1, 0)
    assert later.looks == looks
    await asyncio.sleep(0.03)
    assert due.looks == looks
    heartbeat.stop()


async def test_a_blocked_loop_moves_all_deadlines() -> None:
    """Everybody would be disconnected after a handler that computed for half a minute."""
    things = [Clockwork(asyncio.get_running_loop().time() + 0.05) for _ in range(3)]
    heartbeat = Heartbeat(0.01, lambda: things)
    heartbeat.start()
    block(0.2)
    await asyncio.sleep(0)
    await eventually(lambda: all(each.looks for each in things))
    assert [each.ticks for each in things] == [0, 0, 0]
    assert all(0.15 < each.postponed < 0.3 for each in things)
    await eventually(lambda: all(each.ticks for each in things))
    heartbeat.stop()


async def test_one_failing_tick_does_not_stop_the_sweep() -> None:
    """An adapter that fails while one socket is removed would end the heartbeats of the whole server."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    now = asyncio.get_running_loop().time()
    bad, good = Clockwork(now, fails=True), Clockwork(now)
    heartbeat = Heartbeat(0.01, lambda: [bad, good])
    heartbeat.start()
    try:
        await eventually(lambda: good.ticks == 1 and bad.looks > 2, within=0.5)
    finally:
        heartbeat.stop()


# -- through real sockets


async def test_fractions_of_a_second_are_announced_exactly(serve: Serve) -> None:
    """Clients would give up, or never notice, because they count in other seconds."""
    server = await serve(Witness(ping_interval=0.3, ping_timeout=1.235).io)
    async with raw_client(server.url) as raw:
        opened = await raw.handshake()
        assert (opened["pingInterval"], opened["pingTimeout"]) == (300, 1235)
    async with raw_client(server.url) as raw:
        _, opened = await raw.open_websocket()
        assert opened["pingInterval"] == 300


async def test_who_answers_stays(serve: Serve) -> None:
    """Living clients would be disconnected."""
    witness = Witness(ping_interval=0.05, ping_timeout=0.2)
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        websocket = await join_websocket(one)
        await join(two)

        async def listen() -> None:
            with pytest.raises(TimeoutError):
                await websocket.receive(timeout=0.6)

        async def poll() -> None:
            with pytest.raises(TimeoutError):
                await two.receive(timeout=0.6)

        await asyncio.gather(listen(), poll())
        assert 5 <= websocket.pings <= 13
        assert 5 <= two.pings <= 13
        assert witness.reasons == []


async def test_who_does_not_answer_is_gone_in_time(serve: Serve) -> None:
    """Dead phones would be shown as being online."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.1)
    server = await serve(witness.io)
    started = time.monotonic()
    async with raw_client(server.url) as one:
        websocket = await join_websocket(one)
        websocket.answer_pings = False
        packets, code = await websocket.closed()
        assert (packets, code, websocket.pings) == ([], 1006, 1)
        assert 0.19 < time.monotonic() - started < 4
        assert await witness.reason() == "ping timeout"
    witness.reasons.clear()
    async with raw_client(server.url) as two:
        await join(two)
        assert await witness.reason() == "ping timeout"
        assert (await two.request("GET")).text == '{"code":1,"message":"Session ID unknown"}'
    witness.assert_nothing_left()


async def test_an_unasked_pong_counts_for_nothing(serve: Serve) -> None:
    """A client could keep a dead connection alive, or one pong be counted for many pings."""
    witness = Witness(ping_interval=0.15, ping_timeout=0.15)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        websocket.answer_pings = False
        for _ in range(20):
            await websocket.send(PONG)
        started = time.monotonic()
        await websocket.closed()
        assert time.monotonic() - started < 4
        assert witness.reasons == ["ping timeout"]
        assert websocket.pings == 1


async def test_a_client_that_pings_is_closed(serve: Serve) -> None:
    """Only servers ping in Engine.IO v4; a version 3 client would believe itself connected."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send("2")
        assert (await websocket.closed())[0] == []
        assert await witness.reason() == "transport error"
    async with raw_client(server.url) as raw:
        await join(raw)
        await raw.post("2")
        assert (await raw.request("GET")).status == 400
        await eventually(lambda: witness.reasons == ["transport error", "transport error"])


async def test_a_client_that_joins_nothing_is_closed(serve: Serve) -> None:
    """Connections that never ask for a namespace would be kept for ever: they cost, and nobody sees them."""
    witness = Witness(connect_timeout=0.15, ping_interval=0.1, ping_timeout=0.1)
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two, raw_client(server.url) as three:
        stays = await join_websocket(three)
        websocket, _ = await one.open_websocket()
        await two.handshake()
        started = time.monotonic()
        packets, code = await websocket.closed()
        assert (packets, code) == ([], 1000)
        assert 0.1 < time.monotonic() - started < 4
        with pytest.raises(TimeoutError):
            await stays.receive(timeout=0.3)
        assert (await two.request("GET")).status == 400
        assert len(witness.engine.connections) == 1


async def test_a_blocked_loop_disconnects_nobody(serve: Serve) -> None:
    """A handler that computes for long would throw everybody out."""
    io = Server(ping_interval=0.1, ping_timeout=0.1, connect_timeout=0.2)
    reasons: list[str] = []

    @io.on("block")
    def compute(socket: Socket) -> str:
        block(0.5)
        return "done"

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    server = await serve(io)
    async with raw_client(server.url) as one, raw_client(server.url) as two, raw_client(server.url) as three:
        busy = await join_websocket(one)
        idle = await join_websocket(two)
        await join(three)
        polling = asyncio.create_task(three.receive())
        listening = asyncio.create_task(idle.receive())
        await busy.send('421["block"]')
        assert await busy.receive() == '431["done"]'
        await busy.send('422["block"]')
        assert await busy.receive() == '432["done"]'
        with pytest.raises(TimeoutError):  # a few heartbeats pass
            await busy.receive(timeout=0.3)
        await io.emit("still here")
        assert await listening == '42["still here"]'
        assert await polling == '42["still here"]'
        assert reasons == []


async def test_a_busy_loop_goes_on_pinging_in_time(serve: Serve) -> None:
    """Clients give a server up that has not pinged for interval and timeout: a busy one would lose all of them."""
    interval, patience = 0.3, 0.3 + 0.3
    server = await serve(Witness(ping_interval=interval, ping_timeout=patience - interval).io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        pings: list[float] = [time.monotonic()]

        async def listen() -> None:
            while True:
                await websocket.ws.receive()
                pings.append(time.monotonic())
                await websocket.send(PONG)

        listening = asyncio.create_task(listen())
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            block(0.06)  # one handler after another computes for a short time
            for _ in range(10):
                await asyncio.sleep(0)
        listening.cancel()
        pings.append(time.monotonic())
        gaps = [after - before for before, after in itertools.pairwise(pings)]
        assert max(gaps) < patience, gaps


async def test_a_blocked_loop_does_not_disconnect_whoever_asks_next(serve: Serve) -> None:
    """The very request that brings the client's pong would find the session closed."""
    witness = Witness(ping_interval=0.15, ping_timeout=0.15)
    held_up = 0.0

    @web.middleware
    async def computes(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        nonlocal held_up
        if request.method == "POST":
            seconds, held_up = held_up, 0.0
            block(seconds)
        return await handler(request)

    app = web.Application(middlewares=[computes])
    witness.io.attach(app)
    server = await serve(app)
    async with raw_client(server.url) as raw:
        await join(raw)
        answer = await raw.request("GET")
        assert answer.text == "2"
        held_up = 0.4
        assert (await raw.post(PONG)).status == 200
        assert witness.reasons == []


async def test_a_client_that_is_not_read_is_not_timed_out(serve: Serve) -> None:
    """A client with many slow requests at once would be disconnected because its pong waits behind them."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.1, limits=Limits(max_pending_events=2))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for number in range(3):
            await websocket.send(f'42{number}["hold",{number}]')
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.5)
        assert witness.reasons == []
        witness.gate.set()
        assert sorted([str(await websocket.receive()) for _ in range(3)]) == ["430[0]", "431[1]", "432[2]"]
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.3)
        assert witness.reasons == []


async def test_a_client_that_is_not_read_is_pinged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A JavaScript client takes a server for dead that sends no ping: it would leave while its events are served."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.1, limits=Limits(max_pending_events=1))
    server = await serve(witness.io)
    async with websocket(server.url) as peer:
        await peer.join()
        peer.send(frame(TEXT, b'421["hold"]'), frame(TEXT, b'422["echo"]'))
        for _ in range(4):
            assert await peer.receive() == "2"
            peer.send(frame(TEXT, b"3"))
        witness.gate.set()
        answers: list[str | bytes] = []
        while len(answers) < 2:
            packet = await peer.receive()
            if packet == "2":
                peer.send(frame(TEXT, b"3"))
            else:
                answers.append(packet)
        assert {str(each)[:3] for each in answers} == {"431", "432"}
    assert "a client is not read for now, with 1 at work" in caplog.text


async def test_a_client_that_is_read_in_fits_is_not_timed_out(serve: Serve) -> None:
    """A client that sends more than is served at once would be disconnected now and then, by chance."""
    io = Server(ping_interval=0.05, ping_timeout=0.05, limits=Limits(max_pending_events=1))
    reasons: list[str] = []
    served = 0

    @io.on("work")
    async def work(socket: Socket) -> None:
        nonlocal served
        await asyncio.sleep(0.003)
        served += 1
        # The worst moment: a handler is done, and the next message is not read yet.
        (connection,) = engine_of(io).connections.values()
        asyncio.get_running_loop().call_soon(look_at, connection)

    def look_at(connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if connection.deadline <= now + 0.02:
            connection.tick(max(now, connection.deadline))

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        listening = asyncio.create_task(websocket.closed())
        for _ in range(150):
            await websocket.send('42["work"]')
        await eventually(lambda: served == 150 or reasons)
        listening.cancel()
        assert reasons == []


async def test_heartbeats_go_on_after_an_upgrade(serve: Serve) -> None:
    """A ping that was sent by one transport and answered by the other would count for nothing."""
    witness = Witness(ping_interval=0.2, ping_timeout=0.1)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        websocket = await raw.upgrade()
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.8)
        assert witness.reasons == []
        assert websocket.pings >= 3


async def test_what_is_announced_is_what_both_transports_do(serve: Serve, transport: Transport) -> None:
    """The handshake of one transport would promise something else than that of the other."""
    server = await serve(Witness(ping_interval=2.5, ping_timeout=1.5, max_http_buffer_size=1234).io)
    async with raw_client(server.url) as raw:
        query = raw.query(transport.transports[0])
        if transport.transports[0] == "polling":
            text = (await raw.request("GET", query=query)).text
        else:
            text = str(await (await raw.websocket()).receive())
        opened = json.loads(text[1:])
        assert len(opened.pop("sid")) >= 20
        assert opened == {
            "upgrades": ["websocket"] if transport.transports[0] == "polling" else [],
            "pingInterval": 2500,
            "pingTimeout": 1500,
            "maxPayload": 1234,
        }
