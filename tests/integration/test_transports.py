"""What happens to clients when the network or the server misbehaves."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.proxy import running_proxy
from tests.support.transports import Transport
from tests.support.until import until


def counting() -> tuple[Server, list[int]]:
    """A server that notes the numbers it is sent."""
    io = Server(ping_interval=0.2, ping_timeout=0.2)
    numbers: list[int] = []

    @io.on("number")
    async def number(socket: Socket, value: int) -> int:
        numbers.append(value)
        return value

    return io, numbers


async def listening(io: Server) -> None:
    """Wait until every client can be reached: a polling client is between two GETs at times."""
    connections = io._server.eio.connections
    await until(lambda: all(each.has_poll for each in connections.values() if each.polling))


@pytest.mark.parametrize("status", [400, 403])
async def test_polling_goes_on_when_websockets_are_refused(serve: Serve, js: JSClients, status: int) -> None:
    """Behind a proxy that knows no websockets nobody could connect."""
    io, _ = counting()
    server = await serve(io)
    async with running_proxy(server.url, refuse_upgrades=status) as proxy:
        client = await js.connect(proxy.url, transports=["polling", "websocket"])
        await client.life("upgrade_error")
        assert await client.emit_with_ack("number", 1) == 1
        assert await client.transport() == "polling"
        await io.emit("news", 2)
        assert await client.wait_for("news") == [2]
        first = await js.connect(
            proxy.url, transports=["websocket", "polling"], tryAllTransports=True, reconnection=False
        )
        assert await first.transport() == "polling"
        assert await first.emit_with_ack("number", 3) == 3
        await first.disconnect()
        await client.disconnect()


async def test_a_server_that_offers_polling_only(serve: Serve, js: JSClients) -> None:
    """Who turns websockets off would still be offered an upgrade."""
    server = await serve(Server(transports=["polling"]))
    client = await js.connect(server.url, transports=["polling", "websocket"])
    await client.barrier()
    assert await client.transport() == "polling"
    assert not client.inbox.received("upgrade", life=True)
    refused = await js.connect(server.url, transports=["websocket"], wait=False)
    assert "websocket error" in (await refused.refused())["message"]


async def test_reconnection_after_the_server_was_killed(serve: Serve, js: JSClients, transport: Transport) -> None:
    """After a crash people would have to reload the page, or lose or repeat what they sent meanwhile."""
    io, numbers = counting()
    server = await serve(io)
    client = await js.connect(
        server.url, via=transport, reconnection=True, reconnectionDelay=20, reconnectionDelayMax=100
    )
    assert await client.emit_with_ack("number", 0) == 0
    await server.kill()
    await client.disconnected()
    pending = [asyncio.create_task(client.emit_with_ack("number", value)) for value in range(1, 21)]
    await client.life("reconnect_error")
    # A killed process leaves nothing behind, so its successor is a server of its own.
    again, numbers_again = counting()
    server = await serve(again, port=server.port)
    await client.reconnected()
    assert await asyncio.gather(*pending) == list(range(1, 21))
    assert numbers == [0]
    assert numbers_again == list(range(1, 21))


async def test_a_cut_connection_reconnects(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A Wi-Fi that drops would end the session for good."""
    io, _ = counting()
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport, reconnection=True, reconnectionDelay=20)
        await listening(io)
        await proxy.cut()
        assert await client.disconnected() in ("transport close", "transport error")
        await client.reconnected()
        assert await client.emit_with_ack("number", 1) == 1
        assert await asyncio.wait_for(reasons.get(), 5) in ("transport close", "transport error", "ping timeout")
        await client.disconnect()


async def test_a_dead_peer_is_noticed(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client whose network died without a word would stay in the list of who is here."""
    io, _ = counting()
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport)
        proxy.freeze()
        assert await asyncio.wait_for(reasons.get(), 5) == "ping timeout"
        assert not io.sockets
        assert await client.disconnected() in ("ping timeout", "transport close", "transport error")


async def test_stopping_the_server_lets_clients_reconnect(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A restart for a new version would throw everybody out for good, or take as long as the slowest client."""
    io, _ = counting()
    reasons: list[str] = []

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    server = await serve(io)
    client = await js.connect(server.url, via=transport, reconnection=True, reconnectionDelay=20)
    await listening(io)
    await io.emit("last words")
    async with asyncio.timeout(3):
        await server.stop()
    assert reasons == ["server shutting down"]
    assert await client.wait_for("last words") == []
    # A transport that closed, and not "io server disconnect", after which the client would not come back.
    assert await client.disconnected() in ("transport close", "transport error")
    again, _ = counting()
    await serve(again, port=server.port)
    await client.reconnected()
    assert await client.emit_with_ack("number", 1) == 1


async def test_large_messages(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A picture or a long text would be cut or lost on its way through many segments."""
    io = Server(max_http_buffer_size=2_000_000)

    @io.on("echo")
    async def echo(socket: Socket, *args: object) -> tuple[object, ...]:
        return args

    client = await js.connect((await serve(io)).url, via=transport)
    blob = bytes(range(256)) * 3000
    text = "grüße " * 50_000
    assert await client.ack_args("echo", blob, text, {"again": blob[:1000]}) == [blob, text, {"again": blob[:1000]}]


async def test_a_message_beyond_the_limit_closes_that_connection_only(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """One client could fill the memory, or take others down with it."""
    io = Server(max_http_buffer_size=1000)
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        reasons.put_nowait(reason)

    server = await serve(io)
    bad, good = await js.connect(server.url, via=transport), await js.connect(server.url, via=transport)
    await bad.emit("big", "x" * 2000)
    assert await asyncio.wait_for(reasons.get(), 5) == "transport error"
    await bad.disconnected()
    await good.barrier()
    assert len(io.sockets) == 1
