"""The pages on several servers: what they say is done with real servers, and with a real Redis that fails."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Page, Route, expect
from redis.exceptions import RedisError

from rtframework import ClusterUnavailable, Recovery, Server, Socket
from rtframework_redis import RedisStreams
from rtframework_redis.link import wall_time
from tests.support.browser import Pages
from tests.support.chat import SERVER_DOWN
from tests.support.cluster.clients import LightClient, LightClients, Refused, light_clients
from tests.support.cluster.needs import needs
from tests.support.cluster.node_server import NodeClient, running_node
from tests.support.cluster.redis_fleets import running_cluster
from tests.support.cluster.redis_server import RedisServer, running_redis
from tests.support.front import caddy, program
from tests.support.js import JS_FOLDER
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


@dataclass
class Member:
    """One server of the cluster, in the test's loop, with a client."""

    io: Server
    streams: RedisStreams
    running: RunningServer
    client: LightClient

    @property
    def socket(self) -> Socket:
        """The client's socket."""
        return self.io.sockets[self.client.sid]


@contextlib.asynccontextmanager
async def members(
    url: str, clients: LightClients, *, count: int = 2, recovery: bool = True, **options: Any
) -> AsyncIterator[list[Member]]:
    """Servers on one Redis, each with a client."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            streams = RedisStreams(url, **options)
            io = Server(
                adapter=streams, connection_state_recovery=Recovery(skip_middlewares=True) if recovery else None
            )
            running = RunningServer(io)
            await running.start()
            stack.push_async_callback(running.stop)
            found.append(Member(io, streams, running, await clients.connect(running.url)))
        yield found


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


# --- rights -----------------------------------------------------------------------------------------------------------


def rules_of(name: str) -> list[str]:
    """The rules for a user that the page has: the words after ``redis-cli ACL SETUSER chat``."""
    words = shlex.split(block_of("cluster/redis.md", "console", name).replace("\\\n", " "))
    assert words[:5] == ["$", "redis-cli", "ACL", "SETUSER", "chat"]
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
    await one.io.emit("hello", 1)
    await two.client.wait_for("hello")
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
            await use_everything(found)
            for each in found:  # connections that break are opened again, by more commands
                each.client.reconnects = True
            await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await found[0].io.emit("again")
            await found[0].client.wait_for("again")
        assert await redis.command("ACL", "LOG") == []
        assert await commands_used(redis) == commands_of(rules)


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
    monkeypatch.setattr("rtframework_redis.streams._START", 1.0)
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
    rules = [*rules_of("acl"), *rules_of("acl-node")]
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
        assert commands_of(rules_of("acl-node")) < await commands_used(redis)


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


# --- an outage --------------------------------------------------------------------------------------------------------

TIMEOUT: Final = 0.5


async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    """What a call ends with: its result, or its error."""
    async with asyncio.timeout(10 * TIMEOUT):
        try:
            return await call()
        except ClusterUnavailable as error:
            return error


def is_unavailable(found: Any, *, local: bool = False) -> bool:
    """Tell whether a call has raised ``ClusterUnavailable``."""
    return isinstance(found, ClusterUnavailable) and found.local is local


@contextlib.asynccontextmanager
async def outage(redis: RedisServer, how: str, one: Member) -> AsyncIterator[None]:
    """Take Redis away for the length of the block; it comes back with its data."""
    if how == "killed":
        redis.kill()
        await until(lambda: not one.streams.health.up)
        yield
        await redis.start()
    else:
        redis.freeze()
        on_its_way = asyncio.create_task(one.io.emit("on its way"))
        await until(lambda: one.streams.writer.pending.is_stalled(wall_time()))
        yield
        assert not on_its_way.done()  # it may be in the stream, and so is not said to be nowhere
        redis.thaw()
        async with asyncio.timeout(10):
            await on_its_way


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("recovery", [True, False], ids=["recovery", "local-first"])
async def test_calls_while_redis_is_away(how: str, recovery: bool) -> None:
    """A program would hang where the page says that it goes on, or be told too little."""
    async with running_redis(persistence="aof") as redis, light_clients() as clients:
        options: dict[str, Any] = {"recovery": recovery, "publish_timeout": TIMEOUT}
        async with members(redis.url, clients, **options) as (one, two):
            io, socket = one.io, one.socket

            @io.on("echo")
            async def echo(socket: Socket, value: int) -> int:
                return value

            one.client.answers["question"] = "answer"
            async with outage(redis, how, one):
                calls: dict[str, Callable[[], Awaitable[Any]]] = {
                    "volatile": lambda: io.volatile.emit("volatile", 1),  # first: it gives way to others
                    "emit": lambda: io.emit("event", 1),
                    "socket.emit": lambda: socket.emit("direct", 1),
                    "sockets_join": lambda: io.sockets_join("joined"),
                    "sockets_leave": lambda: io.sockets_leave("left"),
                    "disconnect_sockets": lambda: io.in_("nobody").disconnect_sockets(),
                    "fetch_sockets": io.fetch_sockets,
                    "emit_with_ack": lambda: io.timeout(1).emit_with_ack("asked"),
                    "server_side_emit": lambda: io.server_side_emit("told"),
                    "forget_sessions": lambda: io.forget_sessions("nobody"),
                    "local.emit": lambda: io.local.emit("local", 1),
                    "local.fetch_sockets": io.local.fetch_sockets,
                    "socket.join": lambda: socket.join("room"),
                    "socket.emit_with_ack": lambda: socket.timeout(5).emit_with_ack("question"),
                    "echo": lambda: one.client.emit_with_ack("echo", 5),
                }
                results = await asyncio.gather(*(outcome(call) for call in calls.values()))
                found = dict(zip(calls, results, strict=True))
                if how == "frozen":
                    assert str(found["fetch_sockets"]) == f"Redis did not answer within {TIMEOUT} s"
                for name in ("fetch_sockets", "emit_with_ack", "server_side_emit"):
                    assert is_unavailable(found.pop(name)), name
                for name in ("emit", "volatile", "sockets_join", "sockets_leave", "disconnect_sockets"):
                    assert is_unavailable(found.pop(name), local=not recovery), name
                for name in ("socket.emit", "forget_sessions"):
                    assert is_unavailable(found.pop(name)) is recovery, name
                assert ("joined" in socket.rooms) is not recovery
                (described,) = found.pop("local.fetch_sockets")
                assert described.id == socket.id
                assert found == {
                    "local.emit": None, "socket.join": None, "socket.emit_with_ack": "answer", "echo": 5
                }  # fmt: skip
                await one.client.barrier()
                got = {each for each in ("event", "volatile", "direct", "local") if one.client.received(each)}
                assert got == ({"local"} if recovery else {"event", "volatile", "direct", "local"})
                new = await clients.connect(one.running.url)
                waits = asyncio.create_task(outcome(lambda: io.emit("during", 1)))
            result = await waits
            await io.emit("after", 1)
            for client in (one.client, two.client, new):
                await client.wait_for("after")
            for client in (two.client, *([one.client, new] if recovery else ())):
                assert len(client.received("during")) == (result is None)  # in time, or nobody has it: it says so
            assert [len(each.admissions) for each in (one.client, two.client)] == [1, 1]  # they have stayed
            assert not two.client.received("event")
            assert len(two.client.received("on its way")) == (how == "frozen")


async def test_an_emit_that_is_on_its_way_may_be_given_up() -> None:
    """Whoever gives up an emit would believe that nobody has it, or find the server broken afterwards."""
    async with (
        running_redis() as redis,
        light_clients() as clients,
        members(redis.url, clients, publish_timeout=TIMEOUT) as (one, two),
    ):
        redis.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * TIMEOUT):
                await one.io.emit("perhaps")
        redis.thaw()
        await one.io.emit("after")
        await two.client.wait_for("after")
        assert [each.name for each in two.client.events] == ["perhaps", "after"]


async def test_a_client_that_comes_back_waits_for_redis() -> None:
    """A short outage of Redis would cost everybody the session who changes the network at that moment."""
    async with (
        running_redis(persistence="aof") as redis,
        light_clients() as clients,
        members(redis.url, clients) as (one, two),
    ):
        await one.io.emit("before")
        await one.client.wait_for("before")
        redis.kill()
        await until(lambda: not two.streams.health.up)
        one.client.url = two.running.url
        one.client.cut()
        await until(lambda: two.streams.writer.keeper.health.attempts)
        await redis.start()
        await one.client.admitted(2, timeout=15)
        assert one.client.recovered


async def test_a_client_that_comes_back_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody who comes back during a long outage would be kept at the door until it ends."""
    monkeypatch.setattr("rtframework_redis.streams_adapter._AGAIN", (0.1, 0.1))
    async with (
        running_redis() as redis,
        light_clients() as clients,
        members(redis.url, clients, publish_timeout=TIMEOUT) as (one, two),
    ):
        redis.kill()
        await until(lambda: not two.streams.health.up)
        one.client.url = two.running.url
        one.client.cut()
        await one.client.admitted(2, timeout=15)
        assert not one.client.recovered


async def test_a_server_stops_while_redis_hangs() -> None:
    """Whoever ends a server would kill it after a while, and its clients would not hear that it ends."""
    async with running_redis() as redis, light_clients() as clients:
        async with members(redis.url, clients, count=1, publish_timeout=60) as (one,):
            for name in ("/one", "/two"):
                one.io.of(name)
            redis.freeze()
            async with asyncio.timeout(10):  # three seconds on a quiet machine
                await one.running.stop()
        redis.thaw()


@pytest.mark.parametrize(
    ("options", "orderly", "gaps"),
    [
        (("--appendonly", "yes"), True, 0),
        (("--appendonly", "yes"), False, 0),
        (("--save", "3600 1"), True, 0),
        (("--save", "3600 1"), False, 1),
        ((), True, 1),
        ((), False, 1),
    ],
    ids=["aof-told", "aof-crash", "snapshots-told", "snapshots-crash", "neither-told", "neither-crash"],
)
async def test_what_a_restart_of_redis_loses(options: tuple[str, ...], orderly: bool, gaps: int) -> None:
    """A team would choose a kind of persistence that loses what the page says it keeps."""
    async with (
        running_redis(options=options) as redis,
        light_clients() as clients,
        members(redis.url, clients) as (one, two),
    ):
        for number in range(20):
            await one.io.emit("before", number)
        if orderly:
            with contextlib.suppress(RedisError):  # there is no answer
                await redis.command("SHUTDOWN")
            await until(lambda: not redis.program.alive)
        await redis.restart()
        await one.io.emit("after")
        await two.client.wait_for("after")
        assert (one.streams.gaps, two.streams.gaps) == (gaps, gaps)
        assert [each[0] for each in two.client.received("before")] == list(range(20))


async def test_a_connection_handler_that_emits_refuses() -> None:
    """The page would send its readers into a client that never comes back."""
    async with (
        running_redis() as redis,
        light_clients() as clients,
        members(redis.url, clients, count=1, publish_timeout=TIMEOUT) as (one,),
    ):

        @one.io.on("connection")
        async def connection(socket: Socket) -> None:
            await socket.emit("welcome")

        redis.kill()
        await until(lambda: not one.streams.health.up)
        with pytest.raises(Refused, match="Internal server error"):
            await clients.connect(one.running.url)


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
