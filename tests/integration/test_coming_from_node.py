"""What who comes from Node looks for, as far as no other file tests it: rows of docs/coming-from-node.md."""

from __future__ import annotations

import time

import aiohttp
import pytest
from aiohttp import web

from rtframework import (
    BroadcastOperator,
    DisconnectReason,
    Handshake,
    MemoryAdapter,
    Namespace,
    Server,
    Socket,
    Target,
)
from tests.conftest import Serve
from tests.integration.test_rooms import crowd
from tests.support.js import JSClients
from tests.support.pyclient import PyClients
from tests.support.transports import WEBSOCKET, Transport
from tests.support.until import until


async def test_who_and_where_a_socket_is(serve: Serve, js: JSClients, transport: Transport) -> None:
    """The first lines of a handler, which look at the socket and its namespace, would have to be guessed at."""
    io = Server()
    admin = io.of("/admin")
    seen: list[Socket] = []

    @admin.use
    async def before(socket: Socket, call_next: object) -> None:
        assert not socket.connected
        assert socket.disconnected is True
        await call_next()  # type: ignore[operator]

    @admin.on("connect")
    async def connect(socket: Socket) -> None:
        assert socket.connected
        assert socket.disconnected is False
        socket.data["name"] = "Ada"
        seen.append(socket)

    @admin.on("who")
    async def who(socket: Socket) -> str:
        name: str = socket.data["name"]
        return name

    client = await js.connect((await serve(io)).url + "/admin", via=transport)
    (socket,) = seen
    assert await client.emit_with_ack("who") == "Ada"
    assert (socket.nsp, admin.name, io.of("/").name) == ("/admin", "/admin", "/")
    assert socket.namespace is admin is io.namespaces["/admin"]
    assert dict(admin.sockets) == {await client.id(): socket}
    assert dict(io.sockets) == dict(io.of("/").sockets) == {}
    assert (len(admin), len(io.of("/"))) == (1, 0)
    assert (socket.transport, socket.conn.protocol) == (transport.final, 4)
    assert (socket.user, socket.recovered) == (None, False)
    with pytest.raises(TypeError):
        admin.sockets["x"] = socket  # type: ignore[index]
    with pytest.raises(TypeError):
        io.namespaces["/x"] = admin  # type: ignore[index]
    await client.disconnect()
    await until(lambda: not socket.connected)
    assert dict(admin.sockets) == {}


async def test_the_rest_of_the_handshake(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A log would have wrong times, or pages of other hosts would be taken for the own ones."""
    io = Server(cors_allowed_origins="*", cors_credentials=False)
    seen: list[Handshake] = []
    io.on("connection")(lambda socket: seen.append(socket.handshake))
    server = await serve(io)
    before = time.time()
    for origin in (None, server.url, "https://other.example"):
        headers = {} if origin is None else {"Origin": origin}
        await js.connect(server.url, via=transport, extraHeaders=headers)
    assert [each.xdomain for each in seen] == [False, False, True]
    for each in seen:
        assert before - 1 <= each.time <= time.time() + 1
        assert each.url.startswith("/socket.io/?")
        assert f"transport={transport.transports[0]}" in each.url
        assert each.auth == {}
        assert (each.address, each.secure) == ("127.0.0.1", False)


async def test_send_is_an_event(serve: Serve, js: JSClients, py: PyClients) -> None:
    """``send`` of clients would reach nobody, and their listeners to it would hear nothing."""
    io = Server()

    @io.on("message")
    async def message(socket: Socket, *args: object) -> None:
        await io.emit("message", *args)

    url = (await serve(io)).url
    listener = await js.connect(url)
    sender = await py.connect(url, via=WEBSOCKET)
    await sender.client.send(("hello", 2))
    assert await listener.wait_for("message") == ["hello", 2]


async def test_what_an_adapter_knows(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A list of rooms, or of who is in one, which is what ``adapter.rooms`` is used for, could not be made."""
    io = Server()
    _, sockets = await crowd(io, serve, js, transport)
    adapter = io.of("/").adapter
    assert isinstance(adapter, MemoryAdapter)
    ids = [socket.id for socket in sockets]
    assert adapter.nsp == "/"
    assert set(adapter.index.all_rooms()) == {"a", "b", *ids}
    assert adapter.sockets(Target(frozenset({"a"}))) == ids[:2]
    assert set(adapter.sockets(Target())) == set(ids)
    assert adapter.rooms(ids[1]) == {ids[1], "a", "b"}
    assert adapter.rooms("nobody") == frozenset()
    assert {each.id for each in await io.to("a").fetch_sockets()} == set(ids[:2])


async def test_websockets_of_others(serve: Serve) -> None:
    """An application that has websockets of its own beside this server would find them closed."""
    app = web.Application()

    async def own(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str("the application's")
        await websocket.close()
        return websocket

    app.router.add_get("/own", own)
    Server().attach(app)
    server = await serve(app)
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{server.url}/own") as websocket:
            assert (await websocket.receive()).data == "the application's"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{server.url}/elsewhere")
        assert refused.value.status == 404


async def test_a_server_s_port_and_stop(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who looks for ``listen`` and ``close`` would find no way to start or to end a server."""
    io = Server()
    app = web.Application()
    io.attach(app)
    server = await serve(app)
    client = await js.connect(server.url, via=transport, reconnection=False)
    await server.stop()
    assert await client.disconnected() in ("transport close", "transport error")
    assert dict(io.sockets) == {}


def test_reasons_are_node_s() -> None:
    """``reason == "transport close"``, which programs compare with, would never be true."""
    of_node = {
        *("client namespace disconnect", "server namespace disconnect", "server shutting down", "ping timeout"),
        *("transport close", "transport error", "parse error", "forced close", "forced server close"),
    }
    own = {"slow consumer", "rate limited", "missed packets", "kicked", "token_expired", "token_revoked"}
    assert set(DisconnectReason) - own == of_node


def test_operators_can_do_what_node_s_can() -> None:
    """A method that Node's operators, servers and namespaces have would be missing on one of ours."""
    shared = {
        *("to", "in_", "except_", "compress", "volatile", "local", "timeout", "emit", "emit_with_ack"),
        *("fetch_sockets", "sockets_join", "sockets_leave", "disconnect_sockets"),
    }
    io = Server()
    for each in (BroadcastOperator, Namespace, Server, type(io.of("/{parent}"))):
        assert shared <= set(dir(each))
    of_listening = {"on", "once", "off", "listeners", "use", "sockets", "server_side_emit", "server_side_emit_with_ack"}
    assert of_listening <= set(dir(Namespace)) & set(dir(Server))
    of_sockets = {*("any", "any_outgoing")}
    assert {f"{verb}_{what}" for verb in ("on", "prepend", "off", "listeners") for what in of_sockets} <= set(
        dir(Socket)
    )
