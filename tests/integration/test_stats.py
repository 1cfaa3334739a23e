"""``Server.stats()``: the figures of a server, with real clients that cause them."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import aiohttp
import pytest

from rtframework import (
    ConnectionRefused,
    EventError,
    Limits,
    Recovery,
    Server,
    Socket,
    StaticTokenAuth,
)
from rtframework.engine.client import Client
from rtframework.protocols import CallNext
from rtframework.testing import TestServer
from rtframework.types import Handshake
from tests.conftest import Serve
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.js import JSClients
from tests.support.proxy import running_proxy
from tests.support.raw import raw_client
from tests.support.transports import POLLING, WEBSOCKET, Transport
from tests.support.until import until


async def test_who_is_there(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An operator could not see how many clients there are, by which transport and where."""
    io = Server()
    rooms = io.of("/room/{id}")

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")

    @rooms.on("connection")
    async def entered(socket: Socket) -> None: ...

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    await until(lambda: io.stats().connections[transport.final])
    await client.of("/room/1")
    await client.of("/room/2")
    stats = io.stats()
    other = "websocket" if transport.final == "polling" else "polling"
    assert stats.connections == {transport.final: 1, other: 0}
    assert stats.sockets == {"/": 1, "/room/{id}": 2}
    assert stats.rooms == {"/": 2, "/room/{id}": 2}
    assert (stats.opened, stats.upgrades) == (1, int(transport.upgrades))
    assert stats.connects["connected"] == 3

    await client.close_engine()
    await until(lambda: not io.stats().connections[transport.final])
    assert sum(io.stats().closed.values()) == 1
    assert sum(io.stats().sockets.values()) == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.opened = 5  # type: ignore[misc]


async def test_a_handler_that_waits_is_seen(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A program that hangs in its database would look idle."""
    io = Server()
    go = asyncio.Event()

    @io.on("wait")
    async def wait(socket: Socket) -> str:
        await go.wait()
        return "done"

    client = await js.connect((await serve(io)).url, via=transport)
    before = io.stats().waiting_handlers
    asked = [asyncio.ensure_future(client.emit_with_ack("wait")) for _ in range(3)]
    await until(lambda: io.stats().waiting_handlers == before + 3)
    go.set()
    assert await asyncio.gather(*asked) == ["done"] * 3
    await until(lambda: io.stats().waiting_handlers == before)


async def test_who_was_refused_and_why(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An attack, or a broken release of the client, would not show."""
    io = Server(auth=StaticTokenAuth({"good": "ada"}))
    for name in ("/guarded", "/full", "/broken"):
        io.of(name)

    @io.of("/guarded").use
    async def guard(socket: Socket, call_next: CallNext) -> None:
        raise ConnectionRefused("no")

    @io.of("/full").on("connection")
    async def full(socket: Socket) -> None:
        raise ConnectionRefused("full")

    @io.of("/broken").on("connection")
    async def broken(socket: Socket) -> None:
        raise RuntimeError("oops")

    server = await serve(io)
    bad = await js.connect(server.url, via=transport, auth={"token": "bad"}, wait=False)
    await bad.refused()
    good = await js.connect(server.url, via=transport, auth={"token": "good"})
    for name in ("/guarded", "/full", "/broken", "/nowhere"):
        other = await good.of(name, wait=False, auth={"token": "good"})
        await other.refused()
    connects = {key: count for key, count in io.stats().connects.items() if count}
    assert connects == {
        "connected": 1,
        "authentication": 1,
        "middleware": 1,
        "connection_handler": 1,
        "internal_error": 1,
        "invalid_namespace": 1,
    }


async def test_requests_that_were_refused(serve: Serve) -> None:
    """Clients behind a wrong proxy get errors that nobody would count."""
    io = Server()
    server = await serve(io)
    url = server.url + "/socket.io/?EIO=4&transport="
    async with aiohttp.ClientSession() as session:
        for query, headers in (
            ("polling&sid=gone", {}),
            ("pigeon", {}),
            ("polling", {"Origin": "https://elsewhere.example"}),
        ):
            async with session.get(url + query, headers=headers) as response:
                assert response.status in (400, 403)
    refused = {key: count for key, count in io.stats().requests_refused.items() if count}
    assert refused == {"session_id_unknown": 1, "transport_unknown": 1, "origin_not_allowed": 1}


async def test_events_that_were_refused(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A wrong payload without an acknowledgement would vanish without a trace."""
    io = Server()

    @io.on("add")
    async def add_numbers(socket: Socket, one: int, other: int) -> int:
        if other == 13:
            raise EventError("unlucky")
        return one // other

    client = await js.connect((await serve(io)).url, via=transport)
    await client.emit("add", "1", 2)  # nobody is told
    assert await client.emit_with_ack("add", 6, 3) == 2
    for args in ((1,), (1, 0), (1, 13)):
        await client.emit_with_ack("add", *args)
    await client.emit_with_ack("nothing")
    refused = io.stats().events_refused
    assert refused == {
        "invalid_payload": 2,
        "unknown_event": 1,
        "internal_error": 1,
        "rate_limited": 0,
        "unlucky": 1,
    }


@pytest.mark.parametrize("via", [POLLING, WEBSOCKET], ids=str)
@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest"])
async def test_what_was_dropped_for_a_slow_client(serve: Serve, js: JSClients, via: Transport, policy: Any) -> None:
    """Lost packets would be noticed by users alone."""
    io = Server(limits=Limits(max_outbox=300_000, slow_consumer=policy))
    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=via)
        proxy.freeze()
        (socket,) = io.sockets.values()
        big = "x" * 100_000
        for _ in range(400):  # more than the kernel takes
            await socket.emit("news", big)
            await asyncio.sleep(0)
            if any(io.stats().dropped.values()):
                break
        reason = "slow_consumer" if policy == "disconnect" else "drop_oldest"
        assert io.stats().dropped[reason] >= 1
        if policy == "disconnect":
            await until(lambda: io.stats().closed["slow consumer"] == 1)
        else:
            assert 0 < io.stats().outbox_bytes <= 400_000
            dropped = io.stats().dropped["volatile"]
            await socket.volatile.emit("cursor", 1)
            assert io.stats().dropped["volatile"] == dropped + 1
        proxy.thaw()
        await client.close_engine()


async def test_what_was_dropped_for_a_client_that_is_not_in_yet(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """A connection handler that takes too long would cost its client events, and no figure would say so."""
    io = Server(limits=Limits(max_outbox=1_000))
    here, go = asyncio.Event(), asyncio.Event()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        here.set()
        await go.wait()

    await js.connect((await serve(io)).url, via=transport, wait=False)
    await here.wait()
    await io.volatile.emit("cursor", 1)
    assert io.stats().dropped["volatile"] == 1
    await io.emit("news", "x" * 600)
    await io.emit("news", "x" * 600)
    assert io.stats().dropped["not_admitted"] == 2
    await until(lambda: io.stats().closed["slow consumer"] == 1)
    go.set()
    await until(lambda: io.stats().connects["gone"] == 1)


async def test_what_was_dropped_with_a_connection(serve: Serve) -> None:
    """Events that a client has not fetched when it leaves are lost, too."""
    io = Server()
    server = await serve(io)
    async with raw_client(server.url) as raw:
        await raw.handshake()
        await raw.post("40")
        await until(lambda: io.sockets)
        await io.emit("news", 1)
        assert io.stats().outbox_bytes > 0
        await raw.post("1")
        await until(lambda: not any(io.stats().connections.values()))
    assert io.stats().dropped["closed"] == 2  # the answer to CONNECT and the event
    assert io.stats().outbox_bytes == 0


async def test_what_became_of_those_who_came_back(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Recovery that never works would look like recovery that is never needed."""
    io = Server(connection_state_recovery=Recovery())
    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport, reconnection=True, reconnectionDelay=20)
        await io.emit("news", 1)
        await client.wait_for("news")
        await proxy.cut()
        await client.reconnected()
    assert io.stats().recoveries == {**dict.fromkeys(io.stats().recoveries, 0), "recovered": 1}
    async with raw_client(server.url) as raw:
        await raw.handshake()
        await raw.post('40{"pid":"unknown","offset":""}')
        await until(lambda: io.stats().recoveries["not_found"] == 1)


class Seen:
    """An observer that writes down what it sees."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def connect(self, handshake: Handshake, call_next: Any) -> str:
        outcome: str = await call_next()
        self.log.append(f"{handshake.nsp} {outcome}")
        return outcome

    async def event(self, socket: Socket, event: Any, call_next: CallNext) -> Any:
        self.log.append(f"{socket.nsp} {event.name}")
        return await call_next()

    def start(self) -> None:
        self.log.append("start")

    def stop(self) -> None:
        self.log.append("stop")


async def test_an_observer_sees_every_namespace(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Metrics and traces would have gaps where a namespace was made later, or by a client."""
    io = Server()
    early = io.of("/early")
    seen = Seen()

    @early.use_event
    async def middleware(socket: Socket, event: Any, call_next: CallNext) -> Any:
        seen.log.append("middleware")
        return await call_next()

    io.observe(seen)
    late, many = io.of("/late"), io.of("/many/{id}")

    @many.use_event
    async def inherited(socket: Socket, event: Any, call_next: CallNext) -> Any:
        seen.log.append("inherited")
        return await call_next()

    for namespace in (io, early, late, many):

        @namespace.on("ask")
        async def ask(socket: Socket) -> str:
            return socket.nsp

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    for name in ("/early", "/late", "/many/1"):
        other = await client.of(name)
        assert await other.emit_with_ack("ask") == name
    await (await client.of("/nowhere", wait=False)).refused()
    assert await client.emit_with_ack("ask") == "/"
    await client.disconnect()
    await server.stop()
    assert seen.log == [
        "start",
        "/ connected",
        "/early connected",
        "/early ask",
        "middleware",
        "/late connected",
        "/late ask",
        "/many/1 connected",
        "/many/1 ask",
        "inherited",
        "/nowhere invalid_namespace",
        "/ ask",
        "stop",
    ]


async def test_an_observer_that_fails(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A client would wait for ever for an answer that a broken plugin has kept from it."""
    io = Server()

    class Broken(Seen):
        async def connect(self, handshake: Handshake, call_next: Any) -> str:
            if handshake.auth.get("when") == "after":
                await call_next()
            raise LookupError("a mistake of the observer")

    io.observe(Broken())
    server = await serve(io)
    for when in ("before", "after"):
        await js.connect(server.url, via=transport, auth={"when": when})
    assert caplog.text.count("unhandled error in an observer") == 2
    assert io.stats().connects["connected"] == 2


async def test_what_is_off_is_not_there(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Each message of each server would pay for figures that nobody reads."""
    io = Server()
    children = io.of("/child/{id}")
    client = await js.connect((await serve(io)).url, via=transport)
    await client.of("/child/1")
    assert len(children) == 1
    assert all(namespace._event_chain is None for namespace in io.namespaces.values())
    for connection in io._server.eio.connections.values():
        assert isinstance(connection._handler, Client)
        assert connection.outbox.sink is connection._transport


async def test_an_observer_changes_nothing(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Whoever turns metrics on would find that answers come later, or otherwise."""
    io = Server()
    io.observe(Seen())
    go = asyncio.Event()

    @io.on("ask")
    async def first(socket: Socket) -> str:
        return "first"

    @io.on("ask")
    async def second(socket: Socket) -> str:
        await go.wait()  # a client that has its answer need not wait for this one
        return "second"

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("ask") == "first"
    assert (await client.emit_with_ack("nothing"))["error"]["code"] == "unknown_event"
    go.set()


@NOT_ON_UVLOOP
async def test_every_error_that_a_client_is_told_is_counted() -> None:
    """Answers that cannot be sent, and handlers that were cancelled, would fail without showing in any figure."""
    io = Server()

    @io.on("unsendable")
    async def unsendable(socket: Socket) -> object:
        return object()

    @io.on("unsendable details")
    async def unsendable_details(socket: Socket) -> None:
        raise EventError("own", details=object())

    @io.on("cancelled")
    async def cancelled(socket: Socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with TestServer(io) as server:
        client = await server.connect()
        for event in ("unsendable", "unsendable details", "cancelled"):
            assert "error" in await client.emit_with_ack(event)
        refused = {code: count for code, count in io.stats().events_refused.items() if count}
        assert refused == {"internal_error": 2, "cancelled": 1}
