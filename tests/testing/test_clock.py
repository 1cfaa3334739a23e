"""The clock: what obeys it, and what does not."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import pytest

from rtframework import AckTimeout, ConfigurationError, Server, Socket
from rtframework.testing import Clock, TestServer
from tests.engine import block
from tests.support.in_process import BOTH, NOT_ON_UVLOOP, chat

pytestmark = NOT_ON_UVLOOP

Transport = Literal["websocket", "polling"]


@BOTH
async def test_a_ping_timeout_in_no_time(transport: Transport) -> None:
    """What happens to a client in a tunnel would take 45 seconds to test."""
    io = chat()
    reasons: list[str] = []

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect(transport=transport)
        bob = await server.connect(transport=transport)
        await alice.lose_connection(silently=True)
        assert (alice.connected, len(io.sockets)) == (True, 2)
        await alice.emit("message", "lost")
        await server.clock.advance(44.5)
        assert (alice.connected, len(io.sockets)) == (True, 2)
        await server.clock.advance(1)
        assert reasons == ["ping timeout"]
        assert alice.disconnect_reason == "ping timeout"
        assert list(io.sockets) == [bob.id]
        assert server.clock.now == 45.5
        await bob.receive_nothing()


@BOTH
async def test_an_hour_of_heartbeats(transport: Transport) -> None:
    """A client that answers would be thrown out when the clock is moved."""
    io = chat(ping_interval=10, ping_timeout=5)
    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect(transport=transport)
        await server.clock.advance(3600)
        assert alice.connected
        assert await alice.emit_with_ack("add", 1, 2) == 3


async def test_timeouts_and_delays_of_the_program() -> None:
    """Whatever a handler waits for would have to be waited for by the test."""
    io = Server()
    log: list[str] = []

    @io.on("ask")
    async def ask(socket: Socket) -> str:
        try:
            await socket.timeout(5).emit_with_ack("question")
        except AckTimeout:
            return "timeout"
        return "answered"

    @io.on("remind")
    async def remind(socket: Socket, seconds: float) -> None:
        await asyncio.sleep(seconds)
        log.append(f"{seconds:g}")
        await socket.emit("reminder", seconds)

    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect()
        asked = asyncio.create_task(alice.emit_with_ack("ask", within=60))
        await server.clock.advance(4.999)
        assert not asked.done()
        await server.clock.advance(0.001)
        assert await asked == "timeout"

        for seconds in (30, 10, 20.5):
            await alice.emit("remind", seconds)
        await alice.receive_nothing("reminder")
        await server.clock.advance(20)
        assert log == ["10"]
        await server.clock.advance(3600)
        assert log == ["10", "20.5", "30"]
        assert [await alice.receive("reminder") for _ in range(3)] == [10, 20.5, 30]


async def test_stopping_takes_no_time(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that sleeps would cost each test the seconds that a server has to shut down."""
    io = chat()
    ended: list[str] = []

    @io.on("sleep")
    async def sleep(socket: Socket) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("sleep")

    @io.on("disconnect")
    async def disconnect(socket: Socket) -> None:
        await asyncio.to_thread(ended.append, "thread")
        await asyncio.sleep(1)
        ended.append("disconnect")

    started = time.monotonic()
    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect()
        await alice.emit("sleep")
    assert ended == ["thread", "disconnect", "sleep"]
    assert time.monotonic() - started < 2  # of the 2.5 seconds that it would be
    assert not caplog.records


async def test_time_stands_still_meanwhile() -> None:
    """A slow machine would make tests of time fail."""
    io = chat(ping_interval=0.05, ping_timeout=0.05)
    async with TestServer(io, clock=Clock()) as server:
        alice = await server.connect()
        await alice.lose_connection(silently=True)
        block(0.3)
        await server.settle()
        assert io.sockets
        assert server.clock.now == 0
        await server.clock.advance(0.2)
        assert not io.sockets


async def test_a_timer_of_no_time_runs_at_once() -> None:
    """``call_later(0)`` and ``sleep`` of nearly nothing are no time: nothing would be said too early."""
    async with TestServer(chat(), clock=Clock()) as server:
        ran: list[int] = []
        loop = asyncio.get_running_loop()
        loop.call_later(0, loop.call_later, 0, ran.append, 1)
        await server.settle()
        assert ran == [1]

        def again() -> None:
            loop.call_later(0, again)

        again()
        with pytest.raises(RuntimeError, match="without ever waiting"):
            await server.clock.advance(1)
        again = lambda: None  # noqa: E731
        await server.settle()


async def test_time_goes_on_from_where_it_was() -> None:
    """Timers of the test itself would hang after the server has stopped."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    for _ in range(3):
        async with TestServer(chat(), clock=Clock()) as server:
            await server.clock.advance(1000)
    assert 3000 <= loop.time() - before < 3060
    async with asyncio.timeout(30):
        await asyncio.sleep(0.001)


async def test_servers_share_a_clock() -> None:
    """Two servers of a cluster have one time."""
    clock = Clock()
    assert clock.now == 0
    one, other = chat(), chat()
    async with TestServer(one, clock=clock) as first, TestServer(other, clock=clock) as second:
        alice, bob = await first.connect(), await second.connect()
        await alice.lose_connection(silently=True)
        await bob.lose_connection(silently=True)
        await clock.advance(46)
        assert not one.sockets
        assert not other.sockets
        with pytest.raises(ConfigurationError, match="has a clock already"):
            async with TestServer(chat(), clock=Clock()):
                pass
        await second.stop()
        await clock.advance(1)
    assert repr(clock).startswith("<Clock at 4")
    with pytest.raises(RuntimeError, match="not in use"):
        await clock.advance(1)


async def test_what_a_clock_refuses() -> None:
    """A mistake in a test would look like one in the program."""
    with pytest.raises(RuntimeError, match="not in use"):
        await Clock().advance(1)
    async with TestServer(chat(), clock=Clock()) as server:
        with pytest.raises(ValueError, match="forward"):
            await server.clock.advance(-1)
    async with TestServer(chat()) as server:
        with pytest.raises(ConfigurationError, match="real time"):
            _ = server.clock


async def test_without_a_clock_time_is_real() -> None:
    """Who does not ask for a clock would get a loop that has been changed."""
    async with TestServer(chat()) as server:
        await server.connect()
        assert "time" not in vars(asyncio.get_running_loop())


async def test_the_clock_of_two_tests_that_share_a_loop() -> None:
    """Loops of a whole module, and of a session, are used by many tests."""
    clock = Clock()
    for expected in (0, 0):
        async with TestServer(chat(), clock=clock) as server:
            assert server.clock.now == expected
            await clock.advance(5)
            assert clock.now == 5


def test_a_loop_that_is_not_asyncios_is_refused() -> None:
    """On uvloop, nobody could say that nothing more will come."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"uvloop.*asyncio's own loop"):
            async with TestServer(chat(), clock=Clock()):
                pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
