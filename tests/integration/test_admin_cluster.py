"""The Admin UI's protocol with several servers on one Redis: a page shows all of them, whichever it is connected to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rtframework import Recovery, Server, Socket
from rtframework.admin import namespace as admin_namespace
from rtframework.admin.peers import Peers
from rtframework_redis import RedisStreams
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JSClient, JSClients
from tests.support.server import RunningServer
from tests.support.until import until

pytestmark = needs("redis-server")

Start = Callable[..., Awaitable[tuple[Server, RunningServer]]]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for seconds."""
    monkeypatch.setattr(admin_namespace, "PERIOD", 0.05)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """``io, running = await start("one")``: a server of the cluster, which the Admin UI shows."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running_redis())

        async def start(name: str, mode: Any = "development", **options: Any) -> tuple[Server, RunningServer]:
            recovery = Recovery(skip_middlewares=True) if options.pop("recovery", False) else None
            io = Server(adapter=RedisStreams(redis.url, name=name), connection_state_recovery=recovery)
            io.instrument(auth=False, mode=mode, server_id=name, **options)
            io.of("/chat/{tenant}")

            @io.on("say")
            async def say(socket: Socket, text: str) -> str:
                return text

            running = RunningServer(io)
            await running.start()
            stack.push_async_callback(running.stop)
            return io, running

        yield start


async def page_of(js: JSClients, running: RunningServer) -> JSClient:
    """A page of the Admin UI."""
    return await js.connect(running.url + "/admin")


async def until_told(page: JSClient, event: str, matches: Callable[..., bool]) -> list[Any]:
    """Wait for an event of this kind that matches; return its arguments."""
    async with asyncio.timeout(10):
        while True:
            args: list[Any] = await page.wait_for(event)
            if matches(*args):
                return args


def admin(io: Server) -> Any:
    """The namespace of the Admin UI."""
    return io.of("/admin")


@pytest.mark.parametrize("recovery", [False, True])
async def test_a_page_shows_all_servers(
    start: Start, js: JSClients, recovery: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator would have to open a page for each server, and a proxy would choose which one it shows."""
    _, first = await start("one", recovery=recovery)
    _, second = await start("two", recovery=recovery)
    here, there = [await (await js.connect(each.url, transports=["websocket"])).id() for each in (first, second)]
    page = await page_of(js, first)
    (sockets,) = await page.wait_for("all_sockets")
    assert {each["id"] for each in sockets} == {here, there}
    (portrait,) = [each for each in sockets if each["id"] == there]
    assert (portrait["transport"], portrait["nsp"], portrait["rooms"]) == ("websocket", "/", [there])
    assert portrait["clientId"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    for name in ("one", "two", "one", "two"):
        await until_told(page, "server_stats", lambda stats, name=name: stats["serverId"] == name)


async def test_what_happens_on_another_server(start: Start, js: JSClients) -> None:
    """A page would stand still for half of the clients."""
    _, first = await start("one")
    io, second = await start("two")
    page = await page_of(js, first)
    await page.wait_for("all_sockets")
    client = await js.connect(second.url)
    sid = await client.id()
    (portrait, _) = await until_told(page, "socket_connected", lambda portrait, _: portrait["id"] == sid)
    assert portrait["transport"] in ("polling", "websocket")
    await io.sockets[sid].join("lobby")
    await until_told(page, "room_joined", lambda nsp, room, id, _: (nsp, room, id) == ("/", "lobby", sid))
    assert await client.emit_with_ack("say", "hello") == "hello"
    args = await until_told(page, "event_received", lambda nsp, id, args, _: id == sid)
    assert args[2] == ["say", "hello"]
    await client.disconnect()
    await until_told(page, "socket_disconnected", lambda nsp, id, *_: id == sid)


async def test_each_socket_is_shown_once(start: Start, js: JSClients) -> None:
    """A client that connects while a page is loaded would be there twice."""
    _, first = await start("one")
    _, second = await start("two")
    early = await page_of(js, first)
    await early.wait_for("all_sockets")
    clients = [await js.connect(second.url)]
    page = await page_of(js, first)
    clients += [await js.connect(second.url) for _ in range(3)]
    (sockets,) = await page.wait_for("all_sockets")
    seen = [each["id"] for each in sockets]
    ids = {await client.id() for client in clients}
    async with asyncio.timeout(10):
        while not ids <= set(seen):
            portrait, _ = await page.wait_for("socket_connected")
            seen.append(portrait["id"])
    assert len(seen) == len(set(seen))
    told: set[str] = set()
    async with asyncio.timeout(10):
        while not ids <= told:
            told.add((await early.wait_for("socket_connected"))[0]["id"])


async def test_a_server_that_comes_later(start: Start, js: JSClients) -> None:
    """A deployment would leave a page with the old servers only."""
    _, first = await start("one")
    page = await page_of(js, first)
    await page.wait_for("all_sockets")
    _, second = await start("two")
    client = await js.connect(second.url)
    sid = await client.id()
    await until_told(page, "server_stats", lambda stats: stats["serverId"] == "two" and stats["clientsCount"] == 1)
    await until_told(page, "socket_connected", lambda portrait, _: portrait["id"] == sid)


async def test_production_tells_no_other_server_of_sockets(start: Start, js: JSClients) -> None:
    """What is to stay on a server would be seen on another."""
    _, first = await start("one")
    _, second = await start("two", mode="production")
    client = await js.connect(second.url)
    sid = await client.id()
    page = await page_of(js, first)
    (sockets,) = await page.wait_for("all_sockets")
    assert sid not in {each["id"] for each in sockets}
    assert await client.emit_with_ack("say", "secret") == "secret"
    await until_told(page, "server_stats", lambda stats: stats["serverId"] == "two")
    of_production = await page_of(js, second)
    await until_told(of_production, "server_stats", lambda stats: stats["serverId"] == "one")
    await of_production.expect_nothing("all_sockets")
    assert all(args[0]["nsp"] == "/admin" for args in page.received("socket_connected"))


async def test_commands_reach_sockets_of_other_servers(start: Start, js: JSClients) -> None:
    """A button would do nothing for half of the clients."""
    _, first = await start("one")
    io, second = await start("two")
    client = await js.connect(second.url)
    sid = await client.id()
    tenant = await js.connect(second.url + "/chat/acme")
    tenant_sid = await tenant.id()
    page = await page_of(js, first)
    await page.wait_for("all_sockets")
    await page.emit_with_ack("join", "/", "lobby", sid)
    await until(lambda: "lobby" in io.sockets[sid].rooms)
    await page.emit_with_ack("emit", "/", "lobby", "news", 1)
    assert await client.wait_for("news") == [1]
    # A namespace that was made for a client of the other server.
    assert await page.emit_with_ack("emit", "/chat/acme", None, "news", 2) is None
    assert await tenant.wait_for("news") == [2]
    assert await page.emit_with_ack("join", "/chat/acme", "vip", tenant_sid) is None
    assert "vip" in io.of("/chat/acme").sockets[tenant_sid].rooms
    assert await page.emit_with_ack("leave", "/chat/acme", "vip", tenant_sid) is None
    assert "vip" not in io.of("/chat/acme").sockets[tenant_sid].rooms
    answer = await page.emit_with_ack("emit", "/nowhere", None, "news")
    assert answer["error"]["code"] == "unknown_namespace"
    await page.emit_with_ack("_disconnect", "/chat/acme", False, tenant_sid)
    assert await tenant.disconnected() == "io server disconnect"
    await page.emit_with_ack("_disconnect", "/", True, sid)
    assert await client.disconnected()


async def test_a_server_that_is_read_only_obeys_no_other(start: Start, js: JSClients) -> None:
    """Who may look at a server only could change it from another one."""
    _, first = await start("one")
    _, second = await start("two", read_only=True)
    tenant = await js.connect(second.url + "/chat/acme")
    page = await page_of(js, first)
    answer = await page.emit_with_ack("emit", "/chat/acme", None, "news")
    assert answer["error"]["code"] == "unknown_namespace"
    await tenant.expect_nothing("news")


async def test_nothing_is_done_while_no_page_is_open(start: Start, js: JSClients) -> None:
    """Servers would fill the stream with figures that nobody looks at."""
    one, first = await start("one")
    two, _ = await start("two")
    page = await page_of(js, first)
    await until(lambda: admin(two)._timer is not None)
    await page.disconnect()
    await until(lambda: admin(one)._timer is None and admin(two)._timer is None)
    assert all(each._watcher is None for each in two.namespaces.values())
    assert not two._server.eio.table.meters


async def test_a_server_that_was_killed_while_a_page_was_open(start: Start, js: JSClients) -> None:
    """The others would send it figures for ever."""
    one, first = await start("one")
    two, _ = await start("two")
    await page_of(js, first)
    await until(lambda: admin(two)._timer is not None)
    admin(one)._peers = Peers(admin(one), lambda: None)  # as one that is not there
    await until(lambda: admin(two)._timer is None)


async def test_a_server_that_stops_leaves_no_timer(start: Start, js: JSClients) -> None:
    """A server could not be started again in another event loop."""
    _, first = await start("one")
    two, second = await start("two")
    await page_of(js, first)
    await until(lambda: admin(two)._timer is not None)
    await second.stop()
    assert admin(two)._timer is None
    assert not admin(two)._peers
