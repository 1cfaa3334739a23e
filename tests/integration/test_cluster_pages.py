"""The pages on several servers: what they say is done with real servers, and with a real Redis that fails."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from aiohttp import web
from playwright.async_api import Page, Route, expect

from rtframework import ClusterUnavailable, Presence, Recovery, Server, Socket
from rtframework.protocols import PresenceTab
from rtframework_redis import Publisher, RedisPubSub, RedisStreams
from tests.support.browser import Pages
from tests.support.chat import SERVER_DOWN
from tests.support.clients import FakeClient
from tests.support.cluster.clients import LightClient, light_clients
from tests.support.cluster.members import Member, members
from tests.support.cluster.needs import needs
from tests.support.cluster.node_server import NodeClient, running_node
from tests.support.cluster.redis_fleets import running_cluster
from tests.support.cluster.redis_server import RedisServer, running_redis
from tests.support.front import Front, caddy, haproxy, nginx, program
from tests.support.front import block_of as deployment
from tests.support.js import JS_FOLDER, JSClients
from tests.support.markdown import read_page
from tests.support.preload import ROOT
from tests.support.server import HOST, RunningServer, SubprocessServer
from tests.support.until import until

pytestmark = needs("redis-server")

DOCS: Final = ROOT / "docs"
USER: Final = "chat:secret"


def block_of(page: str, *info: str) -> str:
    """The one block of a page that is marked with these words."""
    (code,) = [block.code for block in read_page(DOCS / page).blocks if block.info == info]
    return code


# --- the quick start --------------------------------------------------------------------------------------------------


@needs("node")
@pytest.mark.skipif(program("caddy") is None, reason="not installed: caddy")
async def test_the_quick_start(browser: Pages, tmp_path: Path) -> None:
    """A newcomer would have two servers that do not know of each other, or a page that does not come back."""
    browser.expect_errors(SERVER_DOWN)
    for name, language in (("server.py", "python"), ("index.html", "html")):
        (tmp_path / name).write_text(block_of("cluster.md", language, f'title="{name}"'), encoding="utf-8")
    configuration = block_of("cluster.md", "caddyfile", 'title="Caddyfile"')
    configuration = configuration.replace("http://localhost:8000 {", "chat.example.org {")
    library = (JS_FOLDER / "node_modules/socket.io-client/dist/socket.io.min.js").read_text(encoding="utf-8")

    async def from_cdn(route: Route) -> None:
        await route.fulfill(body=library, content_type="text/javascript")

    async def open_page(url: str) -> Page:
        page = await browser.open()
        await page.route("https://cdn.socket.io/**", from_cdn)
        await page.goto(url)
        await expect(page.locator("li")).to_have_text(["connected"])
        return page

    async def say(page: Page, text: str) -> None:
        await page.locator("#text").fill(text)
        await page.locator("#text").press("Enter")

    async with running_redis() as redis, contextlib.AsyncExitStack() as stack:
        servers = {}
        for _ in range(2):
            server = SubprocessServer(tmp_path / "server.py", env={"REDIS": redis.url})
            await stack.enter_async_context(server)
            servers[server.port] = server
        one, two = servers
        front = await stack.enter_async_context(
            caddy(configuration, {"127.0.0.1:8080": f"{HOST}:{one}", "127.0.0.1:8081": f"{HOST}:{two}"})
        )
        here, there = await open_page(front.url), await open_page(front.url)
        ports = []
        for page, text in ((here, "One"), (there, "Two")):
            await say(page, text)
            item = here.get_by_text(f"{text} (through")
            await expect(item).to_have_count(1)
            await expect(there.get_by_text(f"{text} (through")).to_have_count(1)
            ports.append(int(re.findall(r"\d+", await item.inner_text())[-1]))
        assert set(ports) == {one, two}  # the second window is on the other server

        await servers[ports[0]].kill()
        await say(there, "Three")
        await expect(here.locator("li").last).to_have_text("back, with what was missed", timeout=20_000)
        await expect(here.get_by_text(f"Three (through the server on port {ports[1]})")).to_have_count(1)
        await say(here, "Four")
        await expect(there.get_by_text(f"Four (through the server on port {ports[1]})")).to_have_count(1)


def sticky(name: str, one: str, two: str) -> AbstractAsyncContextManager[Front]:
    """A proxy with the configuration that its page has for several processes."""
    places = {"127.0.0.1:8080": one, "127.0.0.1:8081": two}
    if name == "haproxy":
        return haproxy(deployment("haproxy.md", "haproxy"), places)
    if name == "caddy":
        return caddy(deployment("caddy.md", "caddyfile", "sticky"), places)
    plain, upstream = deployment("nginx.md", "nginx"), deployment("nginx.md", "nginx", "sticky")
    return nginx(re.sub(r"upstream chat \{.*?\n\}\n", upstream, plain, count=1, flags=re.DOTALL), places)


@needs("node")
@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy"])
async def test_polling_clients_come_back_through_the_proxies_of_the_pages(name: str, js: JSClients) -> None:
    """Clients would be sent to the server that is dead for as long as they keep its cookie, or their address."""
    if program(name) is None:
        pytest.skip(f"{name} is not installed")
    async with running_redis() as redis, contextlib.AsyncExitStack() as stack:
        servers = [clustered(number, redis.url) for number in range(2)]
        for _, running in servers:
            await running.start()
            stack.push_async_callback(running.stop)
        front = await stack.enter_async_context(sticky(name, *(f"{HOST}:{running.port}" for _, running in servers)))
        client = await js.connect(
            front.url, transports=["polling"], withCredentials=True, reconnection=True, reconnectionDelayMax=1000
        )
        here = await client.emit_with_ack("number")
        before = await client.state()
        await servers[here][1].kill()
        await servers[1 - here][0].emit("missed", "while you were away")
        text, *_ = await client.wait_for("missed", timeout=30)
        assert text == "while you were away"
        after = await client.state()
        assert (after.recovered, after.id) == (True, before.id)
        assert await client.emit_with_ack("number") == 1 - here


def clustered(number: int, redis: str) -> tuple[Server, RunningServer]:
    """A server that tells its number, with what a proxy asks for."""
    io = Server(
        adapter=RedisStreams(redis),
        connection_state_recovery=Recovery(skip_middlewares=True),
        trusted_proxies="127.0.0.1",
    )

    @io.on("number")
    async def tell(socket: Socket) -> int:
        return number

    async def ready(request: web.Request) -> web.Response:
        return web.Response(text="ready")

    app = web.Application()
    app.router.add_get("/ready", ready)
    io.attach(app)
    return io, RunningServer(app)


# --- rights -----------------------------------------------------------------------------------------------------------


def rules_of(name: str) -> list[str]:
    """The rules for a user that the page has: the words after ``redis-cli ACL SETUSER`` and the user's name."""
    words = shlex.split(block_of("cluster/redis.md", "console", name).replace("\\\n", " "))
    assert words[:4] == ["$", "redis-cli", "ACL", "SETUSER"]
    return words[5:]


def commands_of(rules: list[str]) -> set[str]:
    """The commands that rules allow."""
    return {rule.removeprefix("+") for rule in rules if rule.startswith("+")}


async def commands_used(redis: RedisServer) -> set[str]:
    """The commands that clients have sent, but for those that need no right, and the test's own."""
    stats = await redis.command("INFO", "commandstats")
    used = {name.removeprefix("cmdstat_") for name in stats}
    return used - {"hello", "auth", "acl|setuser", "acl|log", "config|resetstat"}


async def use_everything(found: list[Member]) -> None:
    """Do with two servers whatever sends something to Redis."""
    one, two = found
    await asyncio.gather(*(one.io.emit("hello", number) for number in range(2)))
    await two.client.wait_for("hello", 2)
    await one.io.sockets_join("room")
    await two.io.to("room").emit("room", 1)
    await one.client.wait_for("room")
    assert len(await one.io.fetch_sockets()) == 2
    await one.io.server_side_emit_with_ack("question")
    await one.io.forget_sessions("nobody")
    old = one.client.sid
    one.client.url = two.running.url
    one.client.cut()
    await one.client.admitted(2)
    assert one.client.recovered
    assert one.client.sid == old
    two.client.reconnects = False
    await two.client.disconnect()
    await two.io.emit("goodbye")
    await one.client.wait_for("goodbye")


async def test_the_rights_are_exact() -> None:
    """An administrator would give more rights than needed, or servers would fail on the day that one is missing."""
    rules = rules_of("acl")
    async with running_redis() as redis, light_clients() as clients:
        await redis.command("ACL", "SETUSER", "chat", *rules)
        async with members(f"redis://{USER}@{HOST}:{redis.port}", clients) as found:
            await redis.command("HSET", "sio:nodes:{socket.io}:/", "killed", "0" * 16)  # to be cleared away
            await use_everything(found)
            for each in found:  # connections that break are opened again, by more commands
                each.client.reconnects = True
            await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await found[0].io.emit("again")
            await found[0].client.wait_for("again")
        assert await redis.command("ACL", "LOG") == []
        assert await commands_used(redis) == commands_of(rules)


@pytest.mark.parametrize("sharded", [False, True])
async def test_the_rights_for_pubsub_are_exact(sharded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator would give more rights than needed, or servers would fail on the day that one is missing."""
    monkeypatch.setattr("rtframework_redis.channels.GRACE", 0.1)
    rules = rules_of("acl-pubsub-sharded" if sharded else "acl-pubsub")
    async with running_redis() as redis, light_clients() as clients, contextlib.AsyncExitStack() as stack:
        await redis.command("ACL", "SETUSER", "chat", *rules)
        url = f"redis://{USER}@{HOST}:{redis.port}"
        tag = "socket.io-sharded" if sharded else "socket.io-classic"
        await redis.command("HSET", f"sio:nodes:{{{tag}}}:/", "killed", "0" * 16)  # to be cleared away
        started = [Server(adapter=RedisPubSub(url, sharded=sharded)) for _ in range(2)]
        found = []
        for io in started:
            running = RunningServer(io)
            await running.start()
            stack.push_async_callback(running.stop)
            found.append(await clients.connect(running.url))
        one, two = started
        assert [each.runtime for each in await one.cluster.nodes()] == ["rtframework"] * 2
        await one.to(found[1].sid).sockets_join("room")
        await found[1].barrier()
        assert len(await one.to("room").fetch_sockets()) == 1
        await one.to("room").emit("room", 1)
        await found[1].wait_for("room")
        await two.to("room").sockets_leave("room")
        ended = "sunsubscribe" if sharded else "unsubscribe"
        async with asyncio.timeout(10):
            while ended not in await commands_used(redis):  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.05)
        await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: all(io._host.settings.backbone.health.up for io in started))  # type: ignore[union-attr]
        await one.emit("again")
        for client in found:
            await client.wait_for("again")
        await stack.aclose()
        assert await redis.command("ACL", "LOG") == []
        assert await commands_used(redis) - {"info"} == commands_of(rules)  # which this test sends


async def test_without_the_rights_to_end_connections() -> None:
    """A managed Redis that does not let a user end connections would lose messages when one breaks."""
    less = ["-client|id", "-client|list", "-client|kill", "-client|setname", "-scan", "-info"]
    async with running_redis() as redis, light_clients() as clients:
        await redis.command("ACL", "SETUSER", "chat", *rules_of("acl"), *less)
        async with members(f"redis://{USER}@{HOST}:{redis.port}", clients) as (one, two):
            await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            for number in range(10):
                await one.io.emit("again", number)
            assert [each[0] for each in await two.client.wait_for("again", 10)] == list(range(10))
            with pytest.raises(ClusterUnavailable, match="NOPERM"):
                await one.io.forget_sessions("nobody")


async def test_without_emitters_fewer_channels_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page says may be left out would be needed after all."""
    monkeypatch.setattr("rtframework_redis.starting.START", 1.0)
    less = ["resetchannels", "&socket.io#*", "-psubscribe"]
    async with running_redis() as redis, light_clients() as clients:
        await redis.command("ACL", "SETUSER", "chat", *rules_of("acl"), *less)
        url = f"redis://{USER}@{HOST}:{redis.port}"
        async with members(url, clients, emitters=False) as found:
            await use_everything(found)
        assert await redis.command("ACL", "LOG") == []
        with pytest.raises(ClusterUnavailable, match="NOPERM"):
            await RunningServer(Server(adapter=RedisStreams(url))).start()


@needs("node")
@pytest.mark.parametrize("client", ["redis", "ioredis"])
async def test_the_rights_of_a_server_in_node(client: NodeClient) -> None:
    """A fleet of both kinds would not start with the rights of the page."""
    rules = rules_of("acl")
    async with running_redis() as redis, light_clients() as clients:
        await redis.command("ACL", "SETUSER", "chat", *rules)
        url = f"redis://{USER}@{HOST}:{redis.port}"
        async with running_node(url=url, client=client) as node, members(url, clients, count=1) as (one,):
            other = await clients.connect(node.url)
            await node.emit("hello", 1)
            await one.client.wait_for("hello")
            await one.io.emit("back", 1)
            await other.wait_for("back")
            assert len(await node.fetch_sockets()) == 2
            other.cut()
            await other.admitted(2)
            assert other.recovered
        assert await redis.command("ACL", "LOG") == []


async def test_the_rights_in_a_redis_cluster() -> None:
    """Servers would not find the node that has the stream."""
    rules = [*rules_of("acl"), *rules_of("acl-cluster")]
    async with running_cluster() as cluster, light_clients() as clients:
        for each in cluster.servers:
            await each.command("ACL", "SETUSER", "chat", *rules)
        url = f"redis+cluster://{USER}@" + ",".join(f"{HOST}:{each.port}" for each in cluster.servers)
        async with members(url, clients) as found:
            await use_everything(found)
            await cluster.move(await cluster.slot_of("socket.io"))
            await found[0].io.emit("moved")
            await found[0].client.wait_for("moved")
        denied = [entry for each in cluster.servers for entry in await each.command("ACL", "LOG")]
        assert denied == []


@pytest.mark.parametrize("adapter", ["streams", "pubsub"])
async def test_the_rights_of_a_publisher_are_exact(adapter: Literal["streams", "pubsub"]) -> None:
    """Workers would have more rights than needed, or one of their calls would fail on the day that it is made."""
    rules = rules_of("acl-publisher" if adapter == "streams" else "acl-publisher-pubsub")
    async with (
        running_redis() as redis,
        light_clients() as clients,
        members(redis.url, clients, count=1) as (one,),
    ):
        await redis.command("ACL", "SETUSER", "worker", *rules)
        await redis.command("CONFIG", "RESETSTAT")
        async with Publisher(f"redis://worker:secret@{HOST}:{redis.port}", adapter=adapter) as publisher:
            await publisher.sockets_join("room")
            await until(lambda: "room" in one.socket.rooms)
            await asyncio.gather(*(publisher.to("room").emit("hello") for _ in range(2)))
            await publisher.server_side_emit("told")
            await publisher.in_("nobody").disconnect_sockets()
            await publisher.sockets_leave("room")
            await one.client.wait_for("hello", 2)
            await redis.command("CLIENT", "KILL", "USER", "worker")
            await publisher.emit("again")
            await one.client.wait_for("again")
        assert await redis.command("ACL", "LOG") == []
        allowed, used = commands_of(rules), await commands_used(redis)
    assert allowed - used <= {"xrange", "client|list", "client|kill"}  # for what is in doubt when a connection ends


@pytest.mark.parametrize("kind", ["streams", "classic", "sharded"])
async def test_the_rights_for_presence_are_exact(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator would give more rights than needed, or lists would be wrong on the day that one is missing."""
    monkeypatch.setattr("rtframework_redis.presence_store.RENEW", 0.05)
    monkeypatch.setattr("rtframework_redis.presence_store._JITTER", 0.01)
    base = {"streams": "acl", "classic": "acl-pubsub", "sharded": "acl-pubsub-sharded"}[kind]
    rules = rules_of("acl-presence")
    more = [rule for rule in rules if kind == "streams" or rule != "+xadd"]
    async with running_redis() as redis:
        await redis.command("ACL", "SETUSER", "chat", *rules_of(base), *more)
        url = f"redis://{USER}@{HOST}:{redis.port}"
        adapter = RedisStreams(url) if kind == "streams" else RedisPubSub(url, sharded=kind == "sharded")
        host = Server(adapter=adapter, presence=Presence("{room}", grace=0.05))._host
        await host.start()
        try:
            store = host.presence.store if host.presence is not None else None
            assert store is not None
            one, two = FakeClient(host, "one"), FakeClient(host, "two")
            for each in (one, two):
                await each.connect()
                await each.socket().join("r")
            await store.enter(PresenceTab("/", "r", "two1", "another"), "null", 0.05)  # type: ignore[misc]
            await two.socket().update_presence("r", 1)
            await one.socket().leave("r")
            two.drop()
            async with asyncio.timeout(10):
                while await host.server.presence("r"):  # noqa: ASYNC110 - nobody is left to be told
                    await asyncio.sleep(0.02)
            tag = {"streams": "socket.io", "classic": "socket.io-classic", "sharded": "socket.io-sharded"}[kind]
            await redis.command("HSET", f"sio:presence:{{{tag}}}:calls", adapter.uid, -(10**15))  # calls were lost
            await redis.command("ZADD", f"sio:presence:{{{tag}}}:nodes", 1, "killed")
            async with asyncio.timeout(10):
                while await redis.command("ZSCORE", f"sio:presence:{{{tag}}}:nodes", "killed"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(10):
                while not commands_of(more) <= await commands_used(redis):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        finally:
            await host.close()
            host.stop()
        assert await redis.command("ACL", "LOG") == []


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "measured"), [(100, 2.8), (500, 7.3), (2_000, 28.0), (10_000, 105.0)])
async def test_the_memory_of_a_stream(size: int, measured: float) -> None:
    """A Redis would be full long before it should be by the page's formula."""
    entries = 1_000
    async with running_redis() as redis, light_clients() as clients:
        async with members(redis.url, clients, count=1, max_len=entries) as (one,):
            for _ in range(3 * entries // 100):
                await asyncio.gather(*(one.io.to("lobby").emit("message", "x" * size) for _ in range(100)))
        length = await redis.command("XLEN", "socket.io")
        used = await redis.command("MEMORY", "USAGE", "socket.io", "SAMPLES", 0)
    assert entries <= length <= entries + 100
    assert used <= length * 1.4 * (size + len('["message",""]') + 200)
    row = f"{size:,} bytes | {measured:g} MB"
    assert row in (DOCS / "cluster/redis.md").read_text(encoding="utf-8")
    assert used / length * 10_000 / 1_000_000 == pytest.approx(measured, rel=0.05)


async def test_a_full_redis_refuses_at_once() -> None:
    """A program would wait for a Redis that is full, and not be told why."""
    async with running_redis() as redis, light_clients() as clients, members(redis.url, clients) as (one, _):
        await redis.set_maxmemory(1)
        with pytest.raises(ClusterUnavailable, match="OOM"):
            await one.io.emit("hello")
        await redis.set_maxmemory(0)


async def test_two_programs_share_a_redis() -> None:
    """The chat of one program would be read by the users of another one."""
    async with running_redis() as redis, light_clients() as clients:
        names: dict[str, Any] = {"stream": "other", "channel_prefix": "other", "session_prefix": "other:"}
        async with members(redis.url, clients) as (one, two), members(redis.url, clients, **names) as (three, four):
            await three.io.emit("theirs", 1)
            await one.io.emit("ours", 1)
            await four.client.wait_for("theirs")
            await two.client.wait_for("ours")
            for member in (one, two, three, four):
                assert len(await member.io.fetch_sockets()) == 2
                await member.client.barrier()
            assert not [*one.client.received("theirs"), *three.client.received("ours")]
            one.client.url = three.running.url
            one.client.cut()
            await one.client.admitted(2)
            assert not one.client.recovered


# --- Node and back ----------------------------------------------------------------------------------------------------


async def give_offset(io: Callable[[str], Awaitable[None]], client: LightClient, event: str) -> None:
    """Send a client an event: in Node it is not recovered before it has one."""
    await io(event)
    await client.wait_for(event)


@needs("node")
async def test_a_node_fleet_is_moved_and_moved_back() -> None:
    """A team would find out in the middle of the way that clients lose their sessions, or that there is no way back."""
    async with running_redis() as redis, light_clients() as clients, contextlib.AsyncExitStack() as stack:
        node_1 = await stack.enter_async_context(running_node("node-1", url=redis.url))
        node_2 = await stack.enter_async_context(running_node("node-2", url=redis.url))
        client = await clients.connect(node_1.url, rooms=["lobby"])
        sid = client.sid

        # A Python server without clients, beside them.
        python_1 = await stack.enter_async_context(python_server(redis.url))
        assert len(await node_2.fetch_sockets()) == 1
        await give_offset(lambda event: python_1.io.to("lobby").emit(event), client, "from Python")

        # A client that reconnects to it, and Node's servers that are stopped, one after the other.
        client.url = python_1.running.url
        await node_1.stop()
        await client.admitted(2)
        assert (client.recovered, client.sid) == (True, sid)
        await give_offset(lambda event: node_2.emit(event, rooms=["lobby"]), client, "from Node")
        python_2 = await stack.enter_async_context(python_server(redis.url))
        await node_2.stop()
        await give_offset(lambda event: python_2.io.to("lobby").emit(event), client, "only Python")
        (details,) = await python_2.io.fetch_sockets()
        assert "lobby" in details.rooms

        # Back: after a stop in good order, and after a crash.
        node_3 = await stack.enter_async_context(running_node("node-3", url=redis.url))
        await give_offset(lambda event: node_3.emit(event, rooms=["lobby"]), client, "Node again")
        client.url = node_3.url
        await python_1.running.stop()
        await client.admitted(3)
        assert (client.recovered, client.sid) == (True, sid)
        client.url = python_2.running.url
        await give_offset(lambda event: python_2.io.to("lobby").emit(event), client, "on Node")
        client.cut()
        await client.admitted(4)
        assert (client.recovered, client.sid) == (True, sid)
        await give_offset(lambda event: node_3.emit(event, rooms=["lobby"]), client, "on Python")
        client.url = node_3.url
        await python_2.running.kill()
        await client.admitted(5)
        assert (client.recovered, client.sid) == (True, sid)


@dataclass
class Python:
    """A server of this framework."""

    io: Server
    running: RunningServer


@contextlib.asynccontextmanager
async def python_server(url: str) -> AsyncIterator[Python]:
    """A server with the namespace of Node's, and the names of Node's adapter."""
    io = Server(adapter=RedisStreams(url), connection_state_recovery=Recovery(skip_middlewares=True))
    running = RunningServer(io)
    await running.start()
    try:
        yield Python(io, running)
    finally:
        await running.stop()
