"""One client in one namespace: what a program sees of it and may do with it, in each state."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ConfigurationError,
    Disconnected,
    EncodeError,
    EventError,
    Recovery,
    Server,
    Socket,
)
from rtframework.protocols import CallNext
from tests.support.clients import FakeClient, Gate, idle, make_host, turn

RECOVERED = pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])


def without_offset(client: FakeClient) -> list[Any]:
    """Return the names of the events that a client has heard."""
    return [line[1] for line in client.heard() if line[0] == "event"]


async def test_what_it_says_of_itself() -> None:
    """A handler could not tell who is there, or log it without a token."""
    host = make_host()
    main = host.of("/", None)
    ada = FakeClient(host, transport="polling")
    await ada.connect("/", {"token": "secret"})
    socket = ada.socket()
    assert (socket.id, socket.nsp, socket.namespace, socket.conn) == ("ada1", "/", main, ada.line)
    assert (socket.transport, socket.user, socket.data, socket.recovered) == ("polling", None, {}, False)
    assert socket.handshake.auth == {"token": "secret"}
    assert socket.server is host.server
    assert repr(socket) == "<Socket ada1 of />"
    ada.line.transport = "websocket"
    assert socket.transport == "websocket"


@RECOVERED
async def test_rooms_from_middleware_to_the_end(recovery: Recovery | None) -> None:
    """A room that is joined too early would be lost, or a "disconnecting" handler not know whom to tell."""
    host = make_host(recovery=recovery)
    main = host.of("/", None)
    log: list[tuple[str, frozenset[str]]] = []

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        await socket.join("early", "left")
        await socket.leave("left", "nowhere")
        log.append(("middleware", socket.rooms))
        assert main.adapter.rooms(socket.id) == frozenset()
        await call_next()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        log.append(("connection", socket.rooms))
        await socket.join(["a", "b"], "c")
        await socket.leave("b", "nowhere")

    @main.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        log.append(("disconnecting", socket.rooms))
        await socket.join("too late")
        await socket.leave("a")

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append(("disconnect", socket.rooms))

    ada = FakeClient(host)
    await ada.connect()
    ada.drop()
    await idle(host)
    assert [(name, set(rooms)) for name, rooms in log] == [
        ("middleware", {"early"}),
        ("connection", {"ada1", "early"}),
        ("disconnecting", {"ada1", "early", "a", "c"}),
        ("disconnect", set()),
    ]


@pytest.mark.parametrize("early", [False, True])
async def test_limits_of_rooms(early: bool) -> None:
    """A client could fill the memory with rooms, or a refused ``join`` leave it in half of them."""
    host = make_host(max_rooms=3, max_room_name=5)
    main = host.of("/", None)
    log: list[str] = []

    async def join(socket: Socket) -> None:
        before = socket.rooms
        for rooms in (["x", "toolong"], ["a", "b", "c"]):
            with pytest.raises(EventError) as caught:
                await socket.join(rooms)
            log.append(caught.value.code)
            assert socket.rooms == before
        await socket.join("a", "b")
        await socket.join("b", "a")

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if early:
            await join(socket)
        await call_next()

    ada = FakeClient(host)
    await ada.connect()
    if not early:
        await join(ada.socket())
    assert ada.socket().rooms == {"ada1", "a", "b"}
    assert log == ["room_name_too_long", "too_many_rooms"]


@RECOVERED
async def test_emitting_in_each_state(recovery: Recovery | None) -> None:
    """An event would be lost without a word while a client connects, or raise because somebody has just left."""
    host = make_host(recovery=recovery)
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        for emit in (socket.emit, socket.volatile.emit):
            with pytest.raises(ConfigurationError, match="not in yet"):
                await emit("too early")
        await call_next()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("held")

    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    await socket.emit("connected")
    await socket.emit("again")
    ada.depart()
    await socket.emit("left")
    await socket.volatile.emit("left")
    assert without_offset(ada) == ["held", "connected", "again"]
    with pytest.raises(EncodeError):
        await main.emit("e", object())


@RECOVERED
async def test_asking_in_each_state(recovery: Recovery | None) -> None:
    """A connection handler that asks would wait for ever for a client that cannot answer yet."""
    host = make_host(recovery=recovery)
    main = host.of("/", None)
    log: list[Any] = []

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        with pytest.raises(ConfigurationError, match="emit to it in a connection handler, not in middleware"):
            await socket.emit_with_ack("too early")
        await call_next()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        log.append(await socket.emit_with_ack("who?"))

    ada = FakeClient(host)
    coming = asyncio.create_task(ada.connect())
    await turn()
    ada.answer(ada.questions()[0], "ada")
    assert await coming == "connected"
    assert log == ["ada"]
    socket = ada.socket()
    with pytest.raises(AckTimeout):
        await socket.timeout(0.001).emit_with_ack("q")
    assert not socket._acks
    ada.depart()
    with pytest.raises(Disconnected):
        await socket.emit_with_ack("q")


async def test_each_question_has_an_id_of_its_own() -> None:
    """The answer to a broadcast would be taken for that to a question to one client."""
    host = make_host()
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    asking = [asyncio.create_task(ada.socket().emit_with_ack("q")), asyncio.create_task(main.emit_with_ack("q"))]
    await turn()
    ids = ada.questions()
    assert len(set(ids)) == 2
    for id in reversed(ids):
        ada.answer(id, id)
    assert [await asking[0], dict(await asking[1])] == [ids[0], {"ada1": ids[1]}]


async def test_connected_and_disconnected() -> None:
    """A program would write to a client that is not there, or think that one has left that is about to come."""
    host = make_host()
    main = host.of("/", None)
    log: list[tuple[str, bool, bool]] = []

    def note(where: str, socket: Socket) -> None:
        log.append((where, socket.connected, socket.disconnected))

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        note("middleware", socket)
        await call_next()

    main.on("connection")(lambda socket: note("connection", socket))
    main.on("event")(lambda socket: note("event", socket))
    main.on("disconnect")(lambda socket: note("disconnect", socket))
    ada = FakeClient(host)
    await ada.connect()
    await ada.ask("event")
    ada.drop()
    await idle(host)
    assert log == [
        ("middleware", False, True),
        ("connection", True, False),
        ("event", True, False),
        ("disconnect", False, True),
    ]


async def test_disconnecting_one_namespace_or_all() -> None:
    """A client that is sent away from one namespace would lose the others, or keep them when it is banned."""
    host = make_host()
    host.of("/x", None)
    ada = FakeClient(host)
    for name in ("/", "/x"):
        await ada.connect(name)
    await ada.socket("/x").disconnect()
    assert ada.heard("/x")[-1] == ("disconnect",)
    assert set(ada.receivers) == {"/"}
    assert await ada.connect("/x") == "connected"
    await ada.socket("/x").disconnect(close=True)
    assert ada.receivers == {}
    assert ada.line.closed == "server namespace disconnect"


async def test_handlers_of_its_own_are_made_when_there_are_some() -> None:
    """Each of a hundred thousand clients would cost the memory of a registry that nobody uses."""
    host = make_host()
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    assert socket.listeners("x") == socket.listeners_any() == socket.listeners_any_outgoing() == ()
    socket.off("x")
    socket.off_any()
    socket.off_any_outgoing()
    assert socket._own is None

    @socket.once("x")
    def once() -> str:
        return "once"

    assert socket.listeners("x") == (once,)
    assert await ada.ask("x") == ["once"]
    assert (await ada.ask("x"))[0]["error"]["code"] == "unknown_event"


async def test_many_clients_on_one_connection() -> None:
    """A gateway that carries many clients over one connection would mix them up."""
    host = make_host()
    main = host.of("/", None)
    gate = Gate()
    gate.open()
    ada = FakeClient(host, "ada")
    bob = FakeClient(host, "bob", conn=ada.line)
    for client in (ada, bob):
        await client.connect()
    assert set(main.sockets) == {"ada1", "bob1"}
    assert ada.socket().conn is bob.socket().conn
    ada.depart()
    assert set(main.sockets) == {"bob1"}
    bob.drop()
    assert not main.sockets


def test_a_socket_is_connected_already() -> None:
    """A connection handler on a socket would never be called, without a word."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None: ...

    socket = Socket(io.of("/"), None, "id", None, None)  # type: ignore[arg-type]
    for name in ("connection", "connect", "newListener", ""):
        with pytest.raises(ConfigurationError):
            socket.on(name)(lambda: None)
