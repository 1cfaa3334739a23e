"""Counting what passes on connections."""

from __future__ import annotations

from rtframework import Server, Socket
from rtframework.admin.statistics import Traffic
from rtframework.engine.client import Client
from tests.conftest import Serve
from tests.engine import engine_of
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until


async def test_what_passes_is_counted(serve: Serve, js: JSClients, transport: Transport) -> None:
    """The charts would show half of the traffic: that of clients who came later, or of one transport."""
    io = Server()

    @io.on("echo")
    async def echo(socket: Socket, data: bytes) -> bytes:
        return data

    server = await serve(io)
    engine = engine_of(io)
    early = await js.connect(server.url, via=transport)
    traffic = Traffic()
    engine.measure(traffic)
    other = Traffic()
    late = await js.connect(server.url, via=transport)
    for client in (early, late):
        traffic.take()
        io.engine.measure(other)
        assert await client.emit_with_ack("echo", b"x" * 500) == b"x" * 500
        counts = {each["type"]: each["count"] for each in traffic.take()}
        assert counts["packetsIn"] == 2  # the event and its attachment
        assert counts["packetsOut"] == 1  # the ack with its attachment
        assert 520 < counts["bytesIn"] < 600
        assert 510 < counts["bytesOut"] < 600
        io.engine.unmeasure(other)
        assert {each["type"]: each["count"] for each in other.take()} == counts
    assert engine.count_clients()["polling"] == (2 if transport.name == "polling" else 0)
    await late.disconnect()
    await until(lambda: any(each["type"] == "rawDisconnection" and each["count"] == 1 for each in traffic.take()))

    engine.unmeasure(traffic)
    assert await early.emit_with_ack("echo", b"x") == b"x"
    assert traffic.take() == []
    for connection in engine.connections.values():
        assert isinstance(connection._handler, Client)
        assert connection.outbox.sink is connection._transport
