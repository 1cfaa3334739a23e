"""Emitting from programs that are no servers: once, to everybody who is meant, or an error that says who has it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtframework import ClusterUnavailable, ConfigurationError, EncodeError
from rtframework_redis import Publisher, RedisStreams
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer, free_port
from tests.support.cluster.clients import LightClient
from tests.support.cluster.fleet import KINDS, RECOVERY, REMOTE, STREAM, Fleet, add_kind_in_process, running_fleet
from tests.support.cluster.needs import needs
from tests.support.cluster.proxy import RedisProxy, running_network
from tests.support.cluster.publishing import FORMS
from tests.support.cluster.redis_fleets import MASTER, running_cluster, running_sentinels
from tests.support.until import until

pytestmark = needs("redis-server")

Found = tuple[Cluster, RedisServer]
Make = Callable[..., Any]

both = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Let fleets have servers with ``RedisStreams``."""
    add_kind_in_process("ours", RedisStreams, STREAM, RECOVERY, REMOTE)
    try:
        yield
    finally:
        del KINDS["ours"]


async def emit_every_kind(publisher: Any) -> None:
    """Emit everything that a publisher can."""
    await publisher.emit("plain", 1, None, "ü😀", [1.5, {"a": True}])
    await publisher.emit(7, "a number")
    await publisher.emit("bytes", {"deep": [b"\x00\xff"]}, b"")
    await publisher.to("red", "blue").emit("rooms")
    await publisher.in_("red").in_(["blue"]).emit("rooms again")
    await publisher.except_("blue").emit("except")
    await publisher.to("red").except_("blue").emit("red, not blue")
    await publisher.to().emit("nobody")
    await publisher.compress(False).emit("not compressed")
    await publisher.of("/chat").emit("elsewhere")
    await publisher.to("blue").sockets_join("green", "ü")
    await publisher.to("green").emit("green")
    await publisher.in_("ü").sockets_leave("green")
    await publisher.to("green").emit("nobody any more")
    await publisher.server_side_emit("told", 1, "ü")
    await publisher.emit("end")


EVERY_KIND = {
    "red": [
        "volatile",
        "plain",
        7,
        "bytes",
        "rooms",
        "rooms again",
        "except",
        "red, not blue",
        "not compressed",
        "end",
    ],
    "blue": ["plain", 7, "bytes", "rooms", "rooms again", "not compressed", "green", "end"],
}


async def check_every_kind(fleet: Fleet, publisher: Any, servers: str) -> None:
    """Check that clients of these servers get each event once, and those of others none."""
    clients: dict[tuple[str, str], LightClient] = {}
    for name, server in fleet.servers.items():
        for room in EVERY_KIND:
            clients[name, room] = await fleet.connect(server, rooms=[room])
        clients[name, "chat"] = await fleet.connect(server, nsp="/chat")
    told = {name: len(await server.log("told")) for name, server in fleet.servers.items()}
    await publisher.to("red").volatile.emit("volatile")
    for name in servers:
        await clients[name, "red"].wait_for("volatile")  # alone: one that follows others at once may be dropped
    await emit_every_kind(publisher)
    for (name, room), client in clients.items():
        if name not in servers:
            continue
        if room == "chat":
            await client.wait_for("elsewhere")
            continue
        await client.wait_for("end")
        assert client.received("plain") == [[1, None, "ü😀", [1.5, {"a": True}]]]
        assert client.received("bytes") == [[{"deep": [b"\x00\xff"]}, b""]]
    for name in servers:
        await fleet.servers[name].logged("told", args=[1, "ü"])
    await publisher.to("red").disconnect_sockets()
    await publisher.of("/chat").disconnect_sockets(close=True)
    for (name, room), client in clients.items():
        if name not in servers:
            await client.barrier()
            assert client.events == []
            continue
        if room != "blue":
            await ended(client, closed=room == "chat")
        expected = EVERY_KIND.get(room, ["elsewhere"])
        assert [each.name for each in client.events] == expected, (name, room)
        await client.close()
    for name, server in fleet.servers.items():
        assert len(await server.log("told")) - told[name] == (name in servers)


async def ended(client: LightClient, *, closed: bool) -> None:
    """Wait until a client is disconnected, and its connection closed if it should be."""
    await until(lambda: client.ends == ["namespace"])
    connection = client._ws
    assert connection is not None
    if closed:
        await until(lambda: connection.closed)
    else:
        assert not connection.closed


@needs("node")
async def test_every_kind_arrives_once_on_all_servers() -> None:
    """A worker's events would reach the clients of one runtime only, or come twice."""
    with ours():
        async with running_fleet("ours", "node-streams", "node-classic") as fleet:
            for make in FORMS.values():
                async with make(fleet.redis.url) as publisher:
                    await check_every_kind(fleet, publisher, "ab")
                async with make(fleet.redis.url, adapter="pubsub") as publisher:
                    await check_every_kind(fleet, publisher, "ac")


@both
async def test_a_client_that_was_away_gets_what_was_published(cluster: Found, make: Make) -> None:
    """A notification would be lost for everybody whose train is in a tunnel."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url, rooms=["red"])
    async with make(redis.url) as publisher:
        await publisher.emit("before")
        await client.wait_for("before")
        client.reconnects = False
        client.cut()
        await until(lambda: not client.connected)
        await publisher.to(client.sid).emit("missed", {"bytes": b"\x01"})
        await publisher.volatile.emit("volatile")
        await publisher.emit("missed too")
    client.reconnects = True
    await client.connect()
    await client.wait_for("missed too")
    assert client.recovered
    assert [(each.name, each.args) for each in client.events] == [
        ("before", []),
        ("missed", [{"bytes": b"\x01"}]),
        ("missed too", []),
    ]


@needs("node")
async def test_a_client_of_node_s_server_gets_what_was_published() -> None:
    """Node's servers would take what was published for something that cannot be recovered."""
    async with running_fleet("node-streams") as fleet, Publisher(fleet.redis.url) as publisher:
        client = await fleet.connect(fleet.a)
        await publisher.emit("before")
        await client.wait_for("before")
        client.reconnects = False
        client.cut()
        await fleet.a.logged("disconnect", sid=client.sid)
        await publisher.to(client.sid).emit("missed")
        client.reconnects = True
        await client.connect()
        await client.wait_for("missed")
        assert client.recovered
        assert [each.name for each in client.events] == ["before", "missed"]


@both
async def test_nobody_has_what_raises(cluster: Found, make: Make) -> None:
    """A program would send again what clients have, or believe that they have what they have not."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    async with make(redis.url, publish_timeout=1.0) as publisher:
        await publisher.emit("before")
        await client.wait_for("before")
        await redis.kill()
        with pytest.raises(ClusterUnavailable, match=rf"reached nobody.*127\.0\.0\.1:{redis.port}") as caught:
            await publisher.emit("lost")
        assert not caught.value.uncertain
        await redis.start()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(ClusterUnavailable):
                    await publisher.emit("after")
                    break
    await client.wait_for("after", timeout=10)
    assert client.received("lost") == []


@both
async def test_who_enters_is_told_at_once(make: Make) -> None:
    """A script with a wrong address would wait for each event, and somebody for the script."""
    port = free_port()
    with pytest.raises(ClusterUnavailable, match=rf"Redis cannot be reached: redis://127\.0\.0\.1:{port}"):
        async with asyncio.timeout(4), make(f"redis://127.0.0.1:{port}", publish_timeout=5.0):
            pass


@pytest.mark.parametrize(
    ("make", "adapter"), [(Publisher, "streams"), (Publisher, "pubsub"), (FORMS["sync"], "pubsub")]
)
async def test_what_cannot_be_known_is_said(cluster: Found, make: Make, adapter: str) -> None:
    """A program that sends again after an error would send twice."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    async with make(redis.url, publish_timeout=1.0, adapter=adapter) as publisher:
        await publisher.emit("before")
        await client.wait_for("before")
        redis.freeze()
        with pytest.raises(ClusterUnavailable, match="not known") as caught:
            await publisher.emit("doubtful")
        redis.thaw()
    assert caught.value.uncertain
    async with make(redis.url, adapter=adapter) as publisher:
        await publisher.emit("after")
    await client.wait_for("after")
    assert len(client.received("doubtful")) <= 1


@contextlib.asynccontextmanager
async def proxied(redis: RedisServer) -> Any:
    """A proxy in front of Redis, by which replies can be lost."""
    async with running_network(redis.port) as network:
        await network.url("publisher")
        yield network["publisher"]


async def test_a_lost_reply_costs_nothing(cluster: Found) -> None:
    """The event would come twice, or the program be told that it has not come."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    proxy: RedisProxy
    async with proxied(redis) as proxy, Publisher(proxy.url) as publisher:
        for number in range(5):
            assert proxy.lose_next_reply() == 1
            await asyncio.gather(*(publisher.emit("n", number * 20 + each) for each in range(20)))
        assert proxy.lost_replies == 5
    assert await client.wait_for("n", 100) == [[number] for number in range(100)]
    await client.barrier()
    assert len(client.received("n")) == 100


@both
async def test_a_connection_that_is_dead_without_a_word_costs_nothing(cluster: Found, make: Make) -> None:
    """A firewall that forgets connections would lose the first event after each pause, or have it sent twice."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    proxy: RedisProxy
    async with proxied(redis) as proxy, make(proxy.url, publish_timeout=3.0) as publisher:
        await publisher.emit("before")
        assert proxy.drop("to_server") == 1
        await publisher.emit("news")
    await client.wait_for("news")
    await client.barrier()
    assert [each.name for each in client.events] == ["before", "news"]


async def test_events_arrive_in_the_order_of_the_calls(cluster: Found) -> None:
    """A progress bar would go back."""
    servers, redis = cluster
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    publisher = Publisher(redis.url)
    calls = [asyncio.ensure_future(publisher.emit("n", number)) for number in range(300)]
    await asyncio.sleep(0)
    await publisher.close()  # waits for what was called before
    await asyncio.gather(*calls)
    assert await client.wait_for("n", 300) == [[number] for number in range(300)]
    for adapter in ("streams", "pubsub"):
        async with Publisher(redis.url, adapter=adapter) as publisher:
            pass
        with pytest.raises(ClusterUnavailable, match="the publisher is closed"):
            await publisher.emit("late")


@both
async def test_what_redis_refuses_raises_at_once(cluster: Found, make: Make) -> None:
    """A Redis that is full would look like one that is slow."""
    _, redis = cluster
    async with make(redis.url) as publisher:
        await publisher.emit("before")
        await set_maxmemory(redis, 1)
        with pytest.raises(ClusterUnavailable, match=r"nobody.*OOM") as caught:
            await publisher.emit("news")
        assert not caught.value.uncertain
        await set_maxmemory(redis, 0)
        await publisher.emit("after")


async def set_maxmemory(redis: RedisServer, size: int) -> None:
    """Bound the memory of Redis; 0 is no bound."""
    process = await asyncio.create_subprocess_exec(
        *("redis-cli", "-p", str(redis.port), "config", "set", "maxmemory", str(size)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0


async def test_one_after_another_event_loop_is_taken(cluster: Found) -> None:
    """A worker that runs each task with ``asyncio.run`` could emit in its first one only."""
    _, redis = cluster
    publisher = Publisher(redis.url)

    async def task() -> None:
        await publisher.emit("done")
        link = publisher._link
        assert link is not None
        await link.close()

    for _ in range(2):
        await asyncio.to_thread(asyncio.run, task())

    async with Publisher(redis.url) as here:
        with pytest.raises(ConfigurationError, match="one for each, or a SyncPublisher"):
            await asyncio.to_thread(asyncio.run, here.emit("elsewhere"))


@both
async def test_mistakes_are_told_at_the_call(make: Make) -> None:
    """An event that no client takes would be lost without a word, or cost clients their connection."""
    publisher = make(f"redis://127.0.0.1:{free_port()}")
    for name in ("connect", "disconnect", "", None):
        for emit in (publisher.emit, publisher.server_side_emit):
            with pytest.raises(ConfigurationError):
                await emit(name)
    for value in (object(), float("nan"), [b""] * 11, "x" * 4_000_000):
        with pytest.raises(EncodeError):
            await publisher.emit("news", value)
    with pytest.raises(EncodeError, match=r"'news': \$\[0\]\.a"):
        await publisher.emit("news", {"a": object()})
    with pytest.raises(TypeError, match=r"emit\(\) has no room=: write"):
        await publisher.emit("news", room="a")
    with pytest.raises(ConfigurationError, match="a room's name is a string"):
        publisher.to(1)
    with pytest.raises(ConfigurationError, match="begins with"):
        publisher.of("chat")
    with pytest.raises(ConfigurationError, match="reaches all servers"):
        await publisher.to("a").server_side_emit("news")
    with pytest.raises(ConfigurationError, match="reason is a string"):
        await publisher.disconnect_sockets(reason=1)
    await publisher.to().emit("nobody")
    await publisher.to([]).sockets_join("nobody")
    await publisher.to([]).disconnect_sockets()
    await publisher.close()


@both
@pytest.mark.parametrize(
    "options",
    [{"adapter": "redis"}, {"max_len": 0}, {"max_message": 1.5}, {"publish_timeout": 0}, {"redis": "http://x"}],
    ids=str,
)
def test_wrong_options_are_told_at_once(make: Make, options: dict[str, Any]) -> None:
    """A mistake in the settings would show at the first event."""
    with pytest.raises(ConfigurationError):
        make(**{"redis": "redis://localhost", **options})


async def test_the_master_is_found() -> None:
    """Programs could not emit where Redis is made of several servers."""
    async with running_sentinels() as fleet, contextlib.AsyncExitStack() as stack:
        places = ",".join(f"127.0.0.1:{port}" for port in fleet.ports)
        url = f"redis+sentinel://{places}/{MASTER}"
        publishers = [await stack.enter_async_context(make(url, publish_timeout=20.0)) for make in FORMS.values()]
        await asyncio.gather(*(each.emit("before") for each in publishers))
        master = await fleet.fail_over(kill=True)
        await asyncio.gather(*(each.emit("after") for each in publishers))
        assert sum("after" in fields["data"] for _, fields in await master.entries()) == 2


async def test_the_stream_s_node_is_found() -> None:
    """Programs could not emit where Redis is a Cluster, or not after its slots were moved."""
    async with running_cluster() as redis, contextlib.AsyncExitStack() as stack:
        places = ",".join(f"127.0.0.1:{server.port}" for server in redis.servers)
        url = f"redis+cluster://{places}"
        publishers = [await stack.enter_async_context(make(url, publish_timeout=20.0)) for make in FORMS.values()]
        await asyncio.gather(*(each.emit("before") for each in publishers))
        owner = await redis.move(await redis.slot_of("socket.io"))
        await asyncio.gather(*(each.emit("after") for each in publishers))
        assert len(await owner.entries()) == 4
