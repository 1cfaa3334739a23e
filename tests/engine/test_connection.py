"""The life of a connection: it ends once, for one reason, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework import AckTimeout, Disconnected, Limits, MemoryAdapter, Server, Socket
from rtframework.engine.frames import EncodedFrames
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, join_websocket, other_tasks, raw_client, turns_until
from tests.support.raw import RawClient
from tests.support.transports import Transport
from tests.support.websocket import TEXT, frame, tcp


async def arrive(raw: RawClient, transport: Transport) -> Any:
    """Join by a transport; the websocket, or the client itself when it polls."""
    if transport.transports[0] == "websocket":
        return await join_websocket(raw)
    await join(raw)
    return await raw.upgrade() if transport.upgrades else raw


async def test_a_connection_ends_once(serve: Serve, transport: Transport) -> None:
    """Disconnect handlers would run twice: money would be paid back twice."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await arrive(raw, transport)
        (connection,) = witness.engine.connections.values()
        for end in (connection.close, connection.abort, connection.lost, connection.fail, connection.close):
            end("first" if end == connection.close else "later")
        await eventually(lambda: not witness.engine.connections)
        assert await witness.reason() == "first"
        assert not connection.is_open
        await connection.wait_closed()
        connection.send(EncodedFrames(["4late"]))
        connection.drained()
        connection.look()
        assert connection.take("42[]") is None
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    assert witness.reasons == ["first"]
    witness.assert_nothing_left()


async def test_everybody_who_waits_for_the_end_hears_of_it(serve: Serve) -> None:
    """One who gives up waiting would take the news from the others."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join_websocket(raw)
        (connection,) = witness.engine.connections.values()
        waiting = [asyncio.create_task(connection.wait_closed()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert not waiting[1].done()
        connection.abort("ping timeout")
        await asyncio.wait_for(asyncio.gather(*waiting[1:]), 1)


async def test_every_namespace_hears_the_reason(serve: Serve, transport: Transport) -> None:
    """A socket in a second namespace would stay there for ever."""
    witness = Witness()
    heard: list[tuple[str, str]] = []
    for name in ("/a", "/b"):
        nsp = witness.io.of(name)
        nsp.on("disconnect")(lambda socket, reason: heard.append((socket.nsp, reason)))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        client = await arrive(raw, transport)
        for name in ("/a", "/b"):
            await (client.post if client is raw else client.send)(f"40{name},")
            await client.receive()
        await (client.post if client is raw else client.send)("1")
        assert await witness.reason() == "transport close"
    await eventually(lambda: len(heard) == 2)
    assert sorted(heard) == [("/a", "transport close"), ("/b", "transport close")]
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_questions_to_a_client_that_leaves_fail_at_once(serve: Serve, transport: Transport) -> None:
    """Whoever asked would wait out the time, or for ever."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        client = await arrive(raw, transport)
        one = asyncio.create_task(witness.only.emit_with_ack("q"))
        everybody = asyncio.create_task(witness.io.timeout(30).emit_with_ack("q"))
        await client.receive()
        await client.receive()
        socket = witness.only
        await (client.post if client is raw else client.send)("41")
        with pytest.raises(Disconnected):
            await asyncio.wait_for(one, 1)
        answers = await asyncio.wait_for(everybody, 1)
        assert (dict(answers), answers.missing) == ({}, (socket.id,))
        with pytest.raises(Disconnected):
            await asyncio.wait_for(socket.emit_with_ack("q"), 1)
        await socket.emit("nobody hears this")


async def test_a_question_that_times_out_leaves_nothing(serve: Serve) -> None:
    """Each unanswered question would cost memory until its client leaves."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for _ in range(3):
            with pytest.raises(AckTimeout):
                await witness.only.timeout(0.01).emit_with_ack("q")
            with pytest.raises(AckTimeout):
                await witness.io.timeout(0.01).emit_with_ack("q")
        asking = asyncio.create_task(witness.only.emit_with_ack("q"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not witness.only._acks
        packets = [str(await websocket.receive()) for _ in range(7)]
        assert len({packet.partition("[")[0] for packet in packets}) == 7
        for packet in packets:
            await websocket.send("43" + packet[2:].partition("[")[0] + '["late"]')
        await websocket.send('421["echo"]')
        assert await websocket.receive() == "431[]"


async def test_a_question_to_many_that_is_cancelled_leaves_no_noise(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The log would be full of exceptions that nobody retrieved."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        websocket = await join_websocket(one)
        await join_websocket(two)
        asking = asyncio.create_task(witness.io.emit_with_ack("q"))
        await websocket.receive()
        await websocket.close()
        await witness.reason()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        del asking
        gc.collect()
        await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_question_to_somebody_else_that_fails_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A client would be refused with "Internal server error", and nobody could find out why."""
    witness = Witness()
    io = witness.io

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        for other in list(io.sockets.values()):
            if other is not socket:
                await other.emit_with_ack("may they come in?")

    server = await serve(io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        doorman = await join_websocket(one)
        guest, _ = await two.open_websocket()
        await guest.send("40")
        assert "may they come in?" in str(await doorman.receive())
        await doorman.close()
        assert str(await guest.receive()).startswith('44{"message":"Internal server error"')
    assert any(record.exc_info for record in caplog.records)


NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")


async def test_handlers_do_not_share_a_context(serve: Serve, transport: Transport) -> None:
    """A user's name that one handler puts into the log's context would stand in the log of other events."""
    io = Server()

    @io.on("connection")
    def connection(socket: Socket) -> None:
        NAME.set("connection")

    @io.on("at once")
    def at_once(socket: Socket) -> str:
        before = NAME.get()
        NAME.set("at once")
        return before

    @io.on("later")
    async def later(socket: Socket) -> list[str]:
        before = NAME.get()
        NAME.set("later")
        await asyncio.sleep(0.001)
        return [before, NAME.get()]

    server = await serve(io)
    async with raw_client(server.url) as raw:
        client = await arrive(raw, transport)
        send = client.post if client is raw else client.send
        for _ in range(3):
            await send('421["at once"]')
            assert await client.receive() == '431["nobody"]'
            await send('422["later"]')
            await send('421["at once"]')
            answers = {await client.receive(), await client.receive()}
            assert answers == {
                '431["nobody"]',
                '432[["nobody","later"]]',
            }
    assert NAME.get() == "nobody"


class Fragile(MemoryAdapter):
    """An adapter that fails when a socket is removed."""

    def remove_all(self, sid: str) -> frozenset[str]:
        rooms = super().remove_all(sid)
        if self.nsp == "/a":
            raise RuntimeError("unforeseen")
        return rooms


async def test_a_failing_adapter_harms_its_own_namespace_only(serve: Serve) -> None:
    """One plugin with a bug would leave ghosts in every namespace, and connections that never end."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    witness = Witness(adapter=Fragile)
    witness.io.of("/a")
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        for name in ("/a,", ""):
            await websocket.send("40" + name)
            await websocket.receive()
        await websocket.close()
        assert await witness.reason(within=0.5) == "transport close"
    await eventually(lambda: not witness.engine.connections, within=0.5)
    assert not witness.io.sockets


async def test_handlers_that_fail_at_the_end_leave_nothing(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a disconnect handler would leave its socket in its rooms for ever."""
    witness = Witness()

    @witness.io.on("disconnecting")
    def disconnecting(socket: Socket, reason: str) -> None:
        raise ValueError("mistake one")

    @witness.io.on("disconnect")
    async def disconnect(socket: Socket) -> None:
        await asyncio.sleep(0)
        raise ValueError("mistake two")

    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await witness.only.join("room")
        await websocket.close()
        assert await witness.reason() == "transport close"
        await eventually(lambda: len(caplog.records) == 2)
    witness.assert_nothing_left()
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["mistake one", "mistake two"]


async def test_comings_and_goings_leave_nothing(serve: Serve) -> None:
    """A server would grow with every visitor, until it is restarted."""
    witness = Witness()
    io = witness.io
    io.of("/admin")

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("a", f"room of {socket.id}")
        socket.data["self"] = socket

    server = await serve(io)
    baseline = len(other_tasks())

    async def visit(number: int) -> None:
        async with raw_client(server.url) as raw:
            if number % 4 == 0:
                await raw.handshake()
                await raw.post("40", "40/admin,", '421["echo",1]')
                received = await raw.poll()
                while len(received) < 3:
                    received += await raw.poll()
                await raw.post("1")
            elif number % 4 == 1:
                await raw.handshake()
                await raw.post("1" if number % 8 == 1 else "x")
            else:
                websocket, _ = await raw.open_websocket()
                await websocket.send("40")
                await websocket.receive()
                await websocket.send('421["echo",1]')
                await websocket.receive()
                if number % 4 == 2:
                    await websocket.close()
                else:
                    await websocket.send("4x")
                    await websocket.closed()

    async def visits(numbers: Iterable[int]) -> None:
        for number in numbers:
            await visit(number)

    total = 1_000
    await asyncio.gather(*(visits(range(start, total, 10)) for start in range(10)))
    await eventually(lambda: not witness.engine.connections)
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    await eventually(lambda: len(other_tasks()) <= baseline)
    witness.assert_nothing_left()
    gc.collect()
    alive = [each for each in gc.get_objects() if isinstance(each, Socket) and each.server is io]
    assert len(alive) <= 1  # the last one may still stand in a frame
    assert len(witness.reasons) == total * 3 // 4


async def test_thousands_of_sessions_leave_nothing() -> None:
    """The same for many more, without the network between."""
    witness = Witness()
    engine = witness.engine
    await witness.io._start(None)  # type: ignore[arg-type]
    try:
        request = make_mocked_request("GET", "/socket.io/?EIO=4&transport=polling")
        for _ in range(5_000):
            response = await engine.handle_request(request)
            assert response.status == 200
            (connection,) = engine.connections.values()
            connection.receive_all(["40", '42["note",1]'])
            await turns_until(lambda: len(connection.outbox))  # noqa: B023 - it is over before the next one
            connection.receive_all(["1"])
            await turns_until(lambda: not engine.connections)
        await eventually(lambda: not engine.tasks)
        await eventually(lambda: len(witness.reasons) == 5_000)
        witness.assert_nothing_left()
        assert len(other_tasks()) <= 1
    finally:
        await witness.io._stop(None)  # type: ignore[arg-type]


async def test_fed_packets_are_served_in_order_across_feeds(serve: Serve) -> None:
    """The messages of two POSTs that follow each other quickly would be mixed."""
    witness = Witness(limits=Limits(max_pending_events=3))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        (connection,) = witness.engine.connections.values()
        for start in range(0, 1_000, 100):
            connection.receive_all([f'42["note",{number}]' for number in range(start, start + 100)])
            if start % 300 == 0:
                connection.receive_all(['42["hold"]'])
                await asyncio.sleep(0)
                if witness.holding > 1:
                    witness.gate.set()
        witness.gate.set()
        await eventually(lambda: connection.inbox is None)
        await witness.noted(*range(1_000))


async def test_a_closed_connection_serves_nothing_of_what_waits(serve: Serve) -> None:
    """Handlers would run for somebody who was thrown out."""
    witness = Witness(limits=Limits(max_pending_events=1))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        (connection,) = witness.engine.connections.values()
        connection.receive_all(['42["hold"]', '42["note",1]', '42["note",2]'])
        await eventually(lambda: witness.holding)
        connection.abort("forced close")
        witness.gate.set()
        await eventually(lambda: connection.inbox is None)
        await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
        assert witness.notes == []
        witness.assert_nothing_left()


async def test_a_slow_disconnect_handler_does_not_hold_up_the_others(serve: Serve) -> None:
    """A database that is slow would make everybody seem to be still there."""
    io = Server()
    gate = asyncio.Event()
    heard: list[str] = []

    @io.on("disconnect")
    async def disconnect(socket: Socket) -> None:
        await gate.wait()
        heard.append(socket.id)

    server = await serve(io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        first, second = await join_websocket(one), await join_websocket(two)
        await first.close()
        await second.close()
        await eventually(lambda: not io.sockets)
        assert heard == []
        gate.set()
        await eventually(lambda: len(heard) == 2)


async def test_a_close_behind_the_end_of_the_transport_is_an_end(serve: Serve) -> None:
    """A client that sends nonsense and hangs up would be counted, and hold up the shutdown, until its heartbeat."""
    witness = Witness()
    async with raw_client((await serve(witness.io)).url) as raw:
        await raw.open_websocket()
        (connection,) = witness.engine.connections.values()
        connection.receive('42["e"]')  # in no namespace: it closes the connection
        connection.end("transport close")
        connection.without_transport()
        await eventually(lambda: not witness.engine.connections and connection.is_closed)


@pytest.mark.parametrize("eio", ["4", "3"])
@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_who_leaves_while_it_is_not_read_is_gone(serve: Serve, by: str, eio: str) -> None:
    """Handlers that run until their client leaves would run for ever, and the connection would count for ever."""
    witness = Witness(
        limits=Limits(max_pending_events=2), ping_interval=0.2, ping_timeout=0.2, allow_eio3=True, upgrade_timeout=0.2
    )

    @witness.io.on("stream")
    async def stream(socket: Socket) -> None:
        while socket.connected:  # noqa: ASYNC110 - as programs do
            await asyncio.sleep(0.01)

    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        query = {"EIO": eio, "transport": by}
        if by == "polling":
            await raw.request("GET", query=query)
        else:
            websocket = await raw.websocket(query=query)
        await eventually(lambda: witness.engine.connections)
        (connection,) = witness.engine.connections.values()
        if eio == "4":
            connection.receive("40")
        await eventually(lambda: witness.io.sockets)
        for _ in range(3):
            connection.receive('42["stream"]')
        await eventually(lambda: len(witness.engine.tasks) == 2)
        if by == "websocket":
            await websocket.close()
    # On a busy machine each sweep is late, and gives clients the time back by which it is.
    await eventually(lambda: not witness.engine.connections, within=15)
    await eventually(lambda: not witness.engine.tasks, within=15)
    assert witness.reasons == ["ping timeout" if by == "polling" else "transport close"]
    assert witness.io.stats().inbound_bytes == 0


async def test_a_connection_that_breaks_while_it_is_paused_is_noticed(serve: Serve) -> None:
    """The same, for a websocket that asyncio does not look at: nobody would ever hear that it has ended."""
    witness = Witness(limits=Limits(max_pending_events=2), ping_interval=0.2, ping_timeout=0.2)

    @witness.io.on("stream")
    async def stream(socket: Socket) -> None:
        while socket.connected:  # noqa: ASYNC110 - as programs do
            await asyncio.sleep(0.01)

    server = await serve(witness.io)
    async with tcp(server.url) as peer:
        await peer.open()
        await peer.receive()
        peer.send(frame(TEXT, b"40"))
        await peer.receive()
        (connection,) = witness.engine.connections.values()
        websocket = connection.websocket
        assert websocket is not None
        peer.send(frame(TEXT, b'42["stream"]') * 20_000)
        await eventually(lambda: websocket._paused)
        pings = [await peer.receive() for _ in range(3)]
        assert pings == ["2", "2", "2"], "a client that hears nothing gives up"
        peer.transport.abort()
    await eventually(lambda: not witness.engine.connections)
    await eventually(lambda: not witness.engine.tasks)
    assert witness.reasons == ["transport close"]
    assert witness.io.stats().inbound_bytes == 0
