"""The client manager: python-socketio's API, its cost, and managers of programs' own in its place."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import socketio
from aiohttp import web
from socketio.async_pubsub_manager import AsyncPubSubManager

from rtframework.engine import AsyncServer, Manager
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.js import JSClients
from tests.support.transports import WEBSOCKET, Transport
from tests.support.until import until


class Board:
    """What a message broker is in reality: everybody gets what anybody says, as text."""

    def __init__(self) -> None:
        self.listeners: list[asyncio.Queue[str]] = []

    def say(self, data: dict[str, Any]) -> None:
        """Tell everybody."""
        text = json.dumps(data)
        for listener in self.listeners:
            listener.put_nowait(text)


class BoardManager(AsyncPubSubManager):  # type: ignore[misc]  # socketio is not typed
    """A manager as programs write them for brokers that python-socketio does not know."""

    def __init__(self, board: Board) -> None:
        super().__init__()
        self.board = board

    async def _publish(self, data: dict[str, Any]) -> None:
        self.board.say(data)

    async def _listen(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self.board.listeners.append(queue)
        while True:
            yield await queue.get()


class FastBoardManager(BoardManager, Manager):
    """The same over our book-keeping."""


def test_a_manager_listens_in_each_event_loop() -> None:
    """A server that is served again would hear nothing of the others any more."""
    board = Board()
    sio = AsyncServer(client_manager=FastBoardManager(board))

    async def once() -> None:
        app = web.Application()
        sio.attach(app)
        runner = web.AppRunner(app)
        listening = len(board.listeners)
        await runner.setup()
        await eventually(lambda: len(board.listeners) > listening)
        await runner.cleanup()
        assert sio.manager.thread.done()

    for _ in range(2):
        asyncio.run(once())


class Lobby:
    """A server, with the inside of a client without a network."""

    def __init__(self) -> None:
        self.sio = AsyncServer()
        self.manager: Manager = self.sio.manager
        self.sent: dict[str, list[str]] = {}

    async def visit(self, eio_sid: str, nsp: str = "/") -> str:
        """A client that is let in."""
        connection: Any = FakeConnection(self.sent.setdefault(eio_sid, []))
        self.sio.eio.connections[eio_sid] = connection
        sid = await self.manager.pre_connect(eio_sid, nsp)
        assert sid is not None
        assert await self.manager.connect(sid, nsp) == sid
        return sid


class FakeConnection:
    """Takes frames."""

    def __init__(self, sent: list[str]) -> None:
        self.sent = sent

    def send(self, frames: Any, *, volatile: bool = False) -> None:
        """Keep them."""
        self.sent.append(frames.polling)


async def test_coming_and_going() -> None:
    """Programs and managers ask these things."""
    lobby = Lobby()
    manager = lobby.manager
    assert await manager.pre_connect("nobody", "/") is None
    a = await lobby.visit("A")
    assert (manager.sid_from_eio_sid("A", "/"), manager.eio_sid_from_sid(a, "/")) == (a, "A")
    assert manager.sid_from_eio_sid("A", "/other") is None
    assert manager.eio_sid_from_sid(a, "/other") is None
    assert list(manager.get_namespaces()) == ["/"]
    assert manager.is_connected(a, "/")
    assert not manager.is_connected(a, "/other")
    assert await manager.can_disconnect(a, "/")
    assert not manager.is_pre_connected(a, "/")
    b = await manager.pre_connect("A", "/admin")
    assert b is not None
    assert manager.is_pre_connected(b, "/admin")
    assert not manager.is_connected(b, "/admin")
    assert manager.pre_disconnect(a, "/") == "A"
    assert manager.pre_disconnect("nobody", "/") is None
    assert not manager.is_connected(a, "/")
    assert manager.get_rooms(a, "/") == [a]
    await manager.disconnect(a, "/", ignore_queue=True)
    await manager.disconnect(a, "/", ignore_queue=True)
    await manager.disconnect(b, "/admin", ignore_queue=True)
    assert not manager.rooms
    assert await manager.connect("A", "/") is not None  # python-socketio allows an Engine.IO session id here
    assert await manager.connect("nobody", "/") is None


async def test_rooms() -> None:
    """Who is where."""
    lobby = Lobby()
    manager = lobby.manager
    a, b = await lobby.visit("A"), await lobby.visit("B")
    await manager.enter_room(a, "/", "red")
    await manager.enter_room(a, "/", 7)
    await manager.enter_room(b, "/", "red")
    assert manager.get_rooms(a, "/")[0] == a
    assert set(manager.get_rooms(a, "/")) == {a, "red", 7}
    assert manager.get_rooms("nobody", "/") == manager.get_rooms(a, "/x") == []
    assert dict(manager.get_participants("/", "red")) == {a: "A", b: "B"}
    assert dict(manager.get_participants("/", [7, "none"])) == {a: "A"}
    assert dict(manager.get_participants("/", None)) == {a: "A", b: "B"}
    assert list(manager.get_participants("/x", None)) == []
    assert manager.is_sid_room("/", a)
    assert not manager.is_sid_room("/", "red")
    assert manager.rooms["/"]["red"] == {a: "A", b: "B"}
    assert manager.rooms["/"][None] == {a: "A", b: "B"}
    for wrong in (manager.enter_room(a, "/", b), manager.close_room(b, "/"), manager.enter_room(a, "/x", "red")):
        with pytest.raises(ValueError, match=r"room|namespace"):
            await wrong
    with pytest.raises(KeyError):
        await manager.enter_room("nobody", "/", "red")
    await manager.leave_room(a, "/", "red")
    await manager.leave_room(a, "/", "never was there")
    await manager.leave_room(a, "/x", "red")
    await manager.close_room("red", "/")
    await manager.close_room("red", "/x")
    assert manager.get_rooms(b, "/") == [b]


async def test_what_is_looked_at_cannot_be_changed() -> None:
    """A program that writes into it would see no effect, and no error."""
    lobby = Lobby()
    await lobby.visit("A")
    rooms: Any = lobby.manager.rooms
    with pytest.raises(TypeError):
        rooms["/"]["red"] = {}
    with pytest.raises(AttributeError):
        lobby.manager.rooms = {"/": {}}


async def test_emit_selects() -> None:
    """Somebody would get it twice, or the wrong one."""
    lobby = Lobby()
    manager, sent = lobby.manager, lobby.sent
    a, b, c = [await lobby.visit(name) for name in "ABC"]
    for sid in (a, b):
        await manager.enter_room(sid, "/", "red")
    await manager.enter_room(b, "/", "blue")

    async def reached(**options: Any) -> str:
        for frames in sent.values():
            frames.clear()
        await manager.emit("e", (1, 2), "/", **options)
        assert all(frames in ([], ['42["e",1,2]']) for frames in sent.values())
        return "".join(name for name, frames in sent.items() if frames)

    assert await reached() == "ABC"
    assert await reached(room="red") == "AB"
    assert await reached(to="red") == "AB"
    assert await reached(room=["red", "blue", c]) == "ABC"
    assert await reached(room=["red", "blue"]) == "AB"
    assert await reached(room=[]) == ""
    assert await reached(room="nobody") == ""
    assert await reached(skip_sid=a) == "BC"
    assert await reached(skip_sid=[a, c]) == "B"
    assert await reached(skip_sid="red") == "ABC"  # a sid, not a room
    assert await reached(room="red", skip_sid={a}) == "B"
    manager.pre_disconnect(b, "/")
    assert await reached(room="red") == "A"
    await manager.emit("e", None, "/nobody")


async def test_data_becomes_arguments() -> None:
    """A list would arrive as several arguments, or a tuple as one."""
    lobby = Lobby()
    await lobby.visit("A")
    for data in (None, 0, [1, 2], (1, [2]), ()):
        await lobby.manager.emit("e", data, "/")
    assert lobby.sent["A"] == ['42["e"]', '42["e",0]', '42["e",[1,2]]', '42["e",1,[2]]', '42["e"]']


async def test_callbacks() -> None:
    """Answers would reach the wrong question, or be taken twice."""
    lobby = Lobby()
    manager = lobby.manager
    a, b = await lobby.visit("A"), await lobby.visit("B")
    answers: list[Any] = []

    async def slowly(*args: Any) -> None:
        await asyncio.sleep(0)
        answers.append(args)

    await manager.emit("e", "x", "/", callback=slowly)
    ids = [int(lobby.sent[name][0].removeprefix("42").partition("[")[0]) for name in "AB"]
    assert ids[0] != ids[1]
    await manager.trigger_callback(a, ids[1], ["forged"])
    await manager.trigger_callback(a, ids[0], [1, 2])
    await manager.trigger_callback(a, ids[0], ["again"])
    await manager.trigger_callback("nobody", 1, [])
    assert answers == [(1, 2)]
    await manager.disconnect(b, "/")
    assert manager.callbacks == {}
    with pytest.raises(ValueError, match="cannot be sent"):
        await manager.emit("e", object(), "/", callback=slowly)
    assert manager.callbacks in ({}, {a: {}})


async def test_leaving_costs_what_the_client_had() -> None:
    """With many rooms, every client that leaves would stop the server for a while."""
    lobby = Lobby()
    manager = lobby.manager
    busy = await lobby.visit("busy")
    sids = [await lobby.visit(str(number)) for number in range(200)]
    space = manager._spaces["/"]
    space.index.add(busy, [f"room {number}" for number in range(100_000)])
    started = time.process_time()
    for sid in sids:
        assert manager.get_rooms(sid, "/") == [sid]
        manager.pre_disconnect(sid, "/")
        await manager.disconnect(sid, "/")
    assert (time.process_time() - started) / len(sids) < 0.000_5


# --- managers that talk to other servers ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [BoardManager, FastBoardManager])
async def test_two_servers_and_a_broker(kind: Any, serve: Serve, js: JSClients, transport: Transport) -> None:
    """Programs on several servers would only reach half of their clients."""
    board = Board()
    servers = [AsyncServer(client_manager=kind(board)) for _ in range(2)]
    clients = []
    for sio in servers:
        client = await js.connect((await serve(sio)).url, via=transport)
        await client.answer("question", "yes")
        clients.append(client)
    one, two = clients
    here, there = servers
    assert len(board.listeners) == 2
    await here.emit("news", {"n": 1, "bytes": b"\x00"})
    for client in clients:
        assert await client.wait_for("news") == [{"n": 1, "bytes": b"\x00"}]
    await here.emit("others", (1, 2), skip_sid=await one.id())
    assert await two.wait_for("others") == [1, 2]
    await one.expect_nothing("others")
    await here.emit("private", "x", to=await two.id())
    assert await two.wait_for("private") == ["x"]
    await here.emit("nobody", to=[])
    await two.expect_nothing("nobody")
    assert await here.call("question", to=await two.id(), timeout=5) == "yes"
    assert await here.call("question", to=await one.id(), timeout=5) == "yes"
    await here.enter_room(await two.id(), "room")
    await until(lambda: list(there.manager.get_participants("/", "room")))
    await there.emit("in the room", room="room")
    await two.wait_for("in the room")
    await here.disconnect(await two.id())
    assert await two.disconnected() == "io server disconnect"
    await until(lambda: not list(there.manager.get_participants("/", None)))


@pytest.mark.parametrize("kind", [BoardManager, FastBoardManager])
async def test_such_a_manager_lets_nobody_hear_before_being_let_in(kind: Any, serve: Serve, js: JSClients) -> None:
    """What another server sends to everybody would reach those who are about to be refused."""
    board = Board()
    sio, other = AsyncServer(client_manager=kind(board)), AsyncServer(client_manager=kind(board))
    asked, decided = asyncio.Event(), asyncio.Event()

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, Any]) -> bool:
        asked.set()
        await decided.wait()
        return bool(auth["in"])

    url = (await serve(sio)).url
    await serve(other)
    for let_in in (True, False):
        asked.clear()
        decided.clear()
        client = await js.connect(url, via=WEBSOCKET, auth={"in": let_in}, wait=False)
        async with asyncio.timeout(5):
            await asked.wait()
        await other.emit("news", b"binary")
        await asyncio.sleep(0.05)
        assert client.inbox.received("news") == []
        decided.set()
        if let_in:
            await client.connected()
            assert await client.wait_for("news") == [b"binary"]
        else:
            await client.refused()
            assert client.inbox.received("news") == []


async def test_msgpack_with_a_manager_of_the_programs_own(serve: Serve, js: JSClients) -> None:
    """What is sent to one namespace would be held for another, or not be held."""
    sio = AsyncServer(client_manager=socketio.AsyncManager(), serializer="msgpack", namespaces="*")
    asked, decided = asyncio.Event(), asyncio.Event()

    @sio.on("connect", namespace="/slow")
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        asked.set()
        await decided.wait()

    client = await js.connect((await serve(sio)).url, via=WEBSOCKET, parser="msgpack")
    slow = await client.of("/slow", wait=False)
    async with asyncio.timeout(5):
        await asked.wait()
    await sio.emit("held", b"1", namespace="/slow")
    await sio.emit("news", b"2")
    assert await client.wait_for("news") == [b"2"]
    assert slow.inbox.log == []
    decided.set()
    await slow.connected()
    assert await slow.wait_for("held") == [b"1"]


async def test_a_manager_starts_and_stops_with_the_application(serve: Serve) -> None:
    """The first message of another server would be lost, and the process would not end."""
    board = Board()
    manager = BoardManager(board)
    sio = AsyncServer(client_manager=manager)
    app = web.Application()
    sio.attach(app)
    server = await serve(app)
    await until(lambda: board.listeners)
    await server.stop()
    assert manager.thread.done()


async def test_python_engineio_can_still_be_asked(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Programs that reach below, to ``sio.eio``, would find nothing there."""
    sio = AsyncServer()
    client = await js.connect((await serve(sio)).url, via=transport)
    sid = await client.id()
    eio_sid = sio.manager.eio_sid_from_sid(sid, "/")
    assert sio.eio.transport(eio_sid) == transport.final
    await sio.eio.save_session(eio_sid, {"/": {"a": 1}})
    assert await sio.get_session(sid) == {"a": 1}
    assert await sio.eio.get_session(eio_sid) == {"/": {"a": 1}}
    await sio.eio.send(eio_sid, '2["raw",1]')
    assert await client.wait_for("raw") == [1]
    await sio.eio.send(eio_sid, '51-["raw",{"_placeholder":true,"num":0}]')
    await sio.eio.send(eio_sid, b"\x01")
    assert await client.wait_for("raw") == [b"\x01"]
    await sio._send_packet(eio_sid, sio.packet_class(socketio.packet.EVENT, data=["packet"], namespace="/"))
    await client.wait_for("packet")
    await sio.eio.send("nobody", "x")
    await sio.eio.disconnect(eio_sid)
    await sio.eio.disconnect("nobody")
    await client.disconnected()
    await until(lambda: not sio.eio.sockets)
    with pytest.raises(KeyError):
        await sio.get_session(sid)
