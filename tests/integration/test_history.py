"""The history of rooms, with real clients: pages before what is live, no hole, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from rtframework import History, HistoryPage, Limits, MemoryHistory, Presence, Recovery, Server, Socket
from rtframework.types import HistoryQuery, KeptRoom
from rtframework_msgpack import MsgpackSerializer
from rtframework_redis import RedisStreams
from rtframework_sqlite import SQLiteHistory
from tests.conftest import Serve
from tests.support.cluster.fleet import running_fleet
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JSClient, JSClients
from tests.support.pyclient import PyClient, PyClients
from tests.support.transports import Transport
from tests.support.until import until

ROOM = "chat:1"


def chat(**options: Any) -> Server:
    """A chat whose clients enter by an event, or as they connect if their ``auth`` says so."""
    history = options.pop("history", History("chat:{room}", size=1000, page=1000))
    io = Server(history=history, **options)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("enters"):
            await socket.join(ROOM, history=1000)

    @io.on("enter")
    async def enter(socket: Socket, since: str | None = None) -> None:
        await socket.join(ROOM, history=1000, since=since)

    @io.on("older")
    async def older(socket: Socket, before: str) -> list[Any]:
        page = await socket.history(ROOM, before=before, limit=3)
        return [entry.args[0] for entry in page.entries]

    @io.on("say")
    async def say(socket: Socket, text: Any) -> None:
        await io.to(ROOM).emit("said", text)

    return io


def told(client: JSClient | PyClient) -> list[tuple[Any, str]]:
    """Return what a client has got, with ids: those of pages and those that came live, in order."""
    found: list[tuple[Any, str]] = []
    for item in client.inbox.log:
        if item.name == "history" and not item.life:
            found += [(entry["args"][0], entry["id"]) for entry in item.args[0]["entries"]]
        elif item.name == "said":
            found.append((item.args[0], item.args[1]))
    return found


async def has(client: JSClient | PyClient, count: int) -> list[tuple[Any, str]]:
    """Wait until a client has got so many; return them."""
    await until(lambda: len(told(client)) >= count)
    return told(client)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "recovery"])
async def test_clients_join_while_others_talk(
    serve: Serve, js: JSClients, transport: Transport, kind: str, tmp_path: Any
) -> None:
    """Under load, a client would miss what was said while it joined, or get it twice, or in another order."""
    store = SQLiteHistory(tmp_path / "history.db") if kind == "sqlite" else None
    recovery = Recovery() if kind == "recovery" else None
    history = History("chat:{room}", size=1000, page=1000, store=store)
    io = chat(history=history, connection_state_recovery=recovery)
    url = (await serve(io)).url
    talker = await js.connect(url, via=transport)
    first = await js.connect(url, via=transport)
    await first.emit("enter")
    await first.wait_for("history")

    async def flood(start: int) -> None:
        for number in range(start, start + 150):
            if number % 10 == 0:
                await talker.emit("say", number)
            else:
                await io.to(ROOM).emit("said", number)
            await asyncio.sleep(0)

    async def join(after: int) -> JSClient:
        await has(first, after)
        if after % 2:
            return await js.connect(url, via=transport, auth={"enters": True})
        client = await js.connect(url, via=transport)
        await client.emit("enter")
        return client

    clients, *_ = await asyncio.gather(
        asyncio.gather(*(join(after) for after in range(5, 255, 31))), flood(0), flood(1000)
    )
    wanted = await has(first, 300)
    assert len(wanted) == 300
    for client in clients:
        assert await has(client, 300) == wanted
    page = await io.history(ROOM, limit=1000)
    assert [(entry.args[0], entry.id) for entry in page.entries] == wanted


async def test_it_was_away(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client that was away for longer than recovery allows would have a hole, or everything twice."""
    io = chat()
    url = (await serve(io)).url
    client = await js.connect(url, via=transport)
    await client.emit("enter")
    await client.wait_for("history")
    for number in range(3):
        await io.to(ROOM).emit("said", number)
    last = (await has(client, 3))[-1][1]
    await client.disconnect()
    for number in range(3, 6):
        await io.to(ROOM).emit("said", number)
    await client.open()
    await client.reconnected()
    await client.emit("enter", last)
    (page,) = await client.wait_for("history", where=lambda page: page["entries"])
    assert [entry["args"] for entry in page["entries"]] == [[3], [4], [5]]
    assert page["gap"] is False
    await io.to(ROOM).emit("said", 6)
    assert [value for value, _ in await has(client, 7)] == list(range(7))
    assert await client.emit_with_ack("older", told(client)[4][1]) == [1, 2, 3]
    await io.clear_history(ROOM)
    await client.emit("enter", last)
    (page,) = await client.wait_for("history", where=lambda page: page["gap"])
    assert page == {"room": ROOM, "entries": [], "gap": True, "more": False}


async def test_bytes(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A picture would be broken in the page, or the client be disconnected for too many attachments."""
    io = chat()
    url = (await serve(io)).url
    for number in range(13):
        await io.to(ROOM).emit("said", bytes([number]))
    client = await js.connect(url, via=transport)
    await client.emit("enter")
    (page,) = await client.wait_for("history")
    assert [entry["args"] for entry in page["entries"]] == [[bytes([number])] for number in range(3, 13)]
    assert page["more"] is True
    await client.emit("say", b"live")
    assert (await client.wait_for("said"))[0] == b"live"


async def test_with_msgpack(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Clients of another parser would not understand the page."""
    io = chat(serializer=MsgpackSerializer())
    url = (await serve(io)).url
    for value in (b"bytes", {"a": [None, "ä"]}, *range(20)):
        await io.to(ROOM).emit("said", value)
    client = await js.connect(url, via=transport, parser="msgpack", auth={"enters": True})
    await io.to(ROOM).emit("said", "live")
    found = await has(client, 23)
    assert [value for value, _ in found] == [b"bytes", {"a": [None, "ä"]}, *range(20), "live"]
    assert [id for _, id in found] == [entry.id for entry in (await io.history(ROOM)).entries]


async def test_clients_of_socket_io_2_and_of_python(serve: Serve, js: JSClients, py: PyClients) -> None:
    """Only the newest JavaScript client would have a history."""
    io = chat(allow_eio3=True)
    url = (await serve(io)).url
    await io.to(ROOM).emit("said", "before")
    old = await js.connect(url, v2=True)
    other = await py.connect(url)
    for client in (old, other):
        await client.emit("enter")
        await client.wait_for("history")
    await io.to(ROOM).emit("said", "live")
    for client in (old, other):
        assert [value for value, _ in await has(client, 2)] == ["before", "live"]


@pytest.mark.parametrize("is_cluster", [False, pytest.param(True, marks=needs("redis-server"))])
async def test_a_room_with_presence_too(serve: Serve, js: JSClients, is_cluster: bool) -> None:
    """A client would see who was there yesterday in what was said, or one of the two features would break the other."""
    async with contextlib.AsyncExitStack() as stack:
        options: dict[str, Any] = {}
        if is_cluster:
            options["adapter"] = RedisStreams((await stack.enter_async_context(running_redis())).url)
        io = chat(presence=Presence("chat:{room}"), **options)
        url = (await serve(io)).url
        await io.to(ROOM).emit("said", 1)
        ada = await js.connect(url)
        await ada.emit("enter")
        await ada.wait_for("presence")
        bob = await js.connect(url, auth={"enters": True})
        await ada.wait_for("presence_join")
        await bob.emit("say", 2)
        for client in (ada, bob):
            assert [value for value, _ in await has(client, 2)] == [1, 2]
            names = [item.name for item in client.inbox.log if not item.life]
            assert names.index("history") < names.index("said")
            assert names.index("presence") < names.index("said")
        assert [entry.event for entry in (await io.history(ROOM)).entries] == ["said", "said"]
        for client in (ada, bob):
            await client.disconnect()


class SlowStore:
    """A store whose pages the test lets go."""

    def __init__(self) -> None:
        self.inner = MemoryHistory()
        self.gate = asyncio.Event()
        self.reading = asyncio.Event()
        self.append, self.clear = self.inner.append, self.inner.clear
        self.start, self.close = self.inner.start, self.inner.close

    async def read(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page, when the test says so."""
        self.reading.set()
        await self.gate.wait()
        return await self.inner.read(nsp, room, query)


async def test_a_page_is_not_for_the_next_connection(serve: Serve, js: JSClients) -> None:
    """A page that has gone and come back would show a room that it has not entered, and wait for news in vain."""
    store = SlowStore()
    io = chat(history=History("chat:{room}", store=store))
    io.of("/base")
    base = await js.connect((await serve(io)).url + "/base")
    client = await base.of("/")
    await client.emit("say", "before")
    await client.emit("enter")
    await store.reading.wait()
    await client.disconnect()
    await client.open()
    await client.reconnected()
    store.gate.set()
    await client.expect_nothing("history")


async def test_more_is_said_than_may_wait(serve: Serve, js: JSClients, transport: Transport) -> None:
    """While a slow store reads one page, a busy room would fill the server's memory; or a client would have a hole."""
    store = SlowStore()
    io = chat(history=History("chat:{room}", size=1000, page=1000, store=store), limits=Limits(max_outbox=5_000))
    url = (await serve(io)).url
    client = await js.connect(url, via=transport)
    await client.emit("enter")
    await store.reading.wait()
    for _ in range(10):
        await io.to(ROOM).emit("said", "x" * 1000)
    await client.disconnected()
    store.gate.set()
    await client.open()
    await client.reconnected()
    await client.emit("enter")
    assert len(await has(client, 10)) == 10


@needs("redis-server")
async def test_two_servers_on_redis(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Clients of two servers would have two histories."""
    async with running_redis() as redis:
        servers = [chat(adapter=RedisStreams(redis.url), connection_state_recovery=Recovery()) for _ in range(2)]
        urls = [(await serve(io)).url for io in servers]
        talker = await js.connect(urls[0], via=transport)

        async def flood(io: Server, start: int) -> None:
            for number in range(start, start + 60):
                if number % 10 == 0:
                    await talker.emit("say", number)
                await io.to(ROOM).emit("said", -number)

        async def join(number: int) -> JSClient:
            await asyncio.sleep(0)
            return await js.connect(urls[number % 2], via=transport, auth={"enters": True})

        clients, *_ = await asyncio.gather(
            asyncio.gather(*map(join, range(8))), flood(servers[0], 100), flood(servers[1], 200)
        )
        await until(lambda: len(told(clients[0])) == 132)
        wanted = told(clients[0])
        for client in clients:
            assert await has(client, 132) == wanted
        page = await servers[1].history(ROOM, limit=1000)
        assert [(entry.args[0], entry.id) for entry in page.entries] == wanted
        await asyncio.gather(*(client.disconnect() for client in (*clients, talker)))


@needs("redis-server", "node")
@pytest.mark.parametrize("recovery", [False, True], ids=["plain", "recovery"])
async def test_beside_a_server_of_node(serve: Serve, js: JSClients, recovery: bool) -> None:
    """Clients of Node's servers in the same cluster would miss what is kept, or break on it."""
    async with running_fleet("node-streams", recovery=recovery) as fleet:
        io = chat(adapter=RedisStreams(fleet.redis.url), connection_state_recovery=Recovery() if recovery else None)
        url = (await serve(io)).url
        ours = await js.connect(url, auth={"enters": True})
        await ours.wait_for("history")
        theirs = await fleet.connect(fleet.a, rooms=[ROOM])
        await io.to(ROOM).emit("said", "kept")
        await io.to(ROOM, "other").emit("said", b"kept, too")
        await theirs.wait_for("said", 2)  # a server of Node tells its own clients at once
        await fleet.a.emit("said", "by Node", rooms=[ROOM])
        await theirs.wait_for("said", 3)
        assert [args[0] for args in theirs.received("said")] == ["kept", b"kept, too", "by Node"]
        assert [len(args) for args in theirs.received("said")] == [1, 1, 1]  # its server knows of no ids
        entries = (await io.history(ROOM)).entries
        assert [entry.args[0] for entry in entries] == ["kept", b"kept, too"]
        await until(lambda: len(ours.received("said")) == 3)
        assert [args[0] for args in ours.received("said")] == ["kept", b"kept, too", "by Node"]
        assert [args[1:2] for args in ours.received("said")[:2]] == [[entry.id] for entry in entries]
        await ours.disconnect()
