"""The history of rooms over the stream: several servers, joins while others emit, faults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import ClusterUnavailable, ConfigurationError, History, HistoryEntry, MemoryHistory, Server, Socket
from rtframework.protocols import HistoryKeeper
from rtframework_msgpack import MsgpackSerializer
from rtframework_redis import Publisher, RedisPubSub, RedisStreams, SyncPublisher
from rtframework_redis.stream_history import StreamHistory
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.cluster.clients import LightClient, light_clients
from tests.support.cluster.needs import needs
from tests.support.cluster.proxy import running_network
from tests.support.cluster.redis_fleets import running_cluster
from tests.support.server import RunningServer
from tests.support.until import until

Found = tuple[Cluster, RedisServer]
HISTORY = [History("chat:{room}", size=2000, page=2000, page_bytes=10_000_000)]
RECOVERY = pytest.mark.parametrize("recovery", [False, True], ids=["plain", "recovery"])


def doors(io: Server) -> None:
    """Let clients join rooms with what was said in them."""

    @io.on("enter")
    async def enter(socket: Socket, room: str, limit: int, since: str | None = None) -> dict[str, Any]:
        page = await socket.join(room, history=limit, since=since)
        return {"gap": page.gap, "more": page.more}

    @io.on("say")
    async def say(socket: Socket, room: str, text: str) -> None:
        await socket.to(room).emit("said", text)


def said(client: LightClient) -> list[Any]:
    """Return what a client has got: those of pages and those that came live, in order."""
    found: list[Any] = []
    for event in client.events:
        if event.name == "history":
            found += [entry["args"][0] for entry in event.args[0]["entries"]]
        elif event.name == "said":
            found.append(event.args[0])
    return found


def ids(client: LightClient) -> list[str]:
    """Return the ids of what it has got. The client takes the last string for the offset."""
    found: list[str] = []
    for event in client.events:
        if event.name == "history":
            found += [entry["id"] for entry in event.args[0]["entries"]]
        elif event.name == "said":
            assert event.offset is not None or len(event.args) == 2
            found.append(event.offset if event.offset is not None else event.args[1])
    return found


async def test_it_is_a_keeper(cluster: Found) -> None:
    """The framework would ask for something that is not there."""
    servers, _ = cluster
    io, _, _ = await servers.server(history=HISTORY)
    keeper: Any = io.of("/").adapter
    found: HistoryKeeper = keeper.history_keeper
    assert isinstance(found, StreamHistory)


@RECOVERY
async def test_two_servers_keep_one_history(cluster: Found, recovery: bool) -> None:
    """A client would see only what its own server has emitted."""
    servers, _ = cluster
    one, running, _ = await servers.server(history=HISTORY, recovery=recovery)
    two, other, _ = await servers.server(history=HISTORY, recovery=recovery)
    doors(one)
    doors(two)
    ada, bob = await servers.clients.connect(running.url), await servers.clients.connect(other.url)
    await one.to("chat:1").emit("said", 1)
    await two.to("chat:1", "chat:2").emit("said", 2)
    assert await ada.emit_with_ack("enter", "chat:1", 1) == {"gap": False, "more": True}
    await bob.emit_with_ack("enter", "chat:1", 10)
    await one.to("chat:1").except_("nobody").emit("said", 3)
    await two.to("chat:1", "chat:3").emit("said", 4)
    await two.to("chat:1").emit("said", {"deep": [None]})
    await one.to("chat:1").emit("said", b"\x00")
    await ada.wait_for("said", 4)
    await bob.wait_for("said", 4)
    assert said(ada) == [2, 3, 4, {"deep": [None]}, b"\x00"]
    assert said(bob) == [1, *said(ada)]
    page = await two.history("chat:1")
    assert [entry.args[0] for entry in page.entries] == said(bob)
    assert [entry.id for entry in page.entries] == ids(bob) == sorted(ids(bob))
    assert ids(ada) == ids(bob)[1:]
    assert [entry.id for entry in (await one.history("chat:2")).entries] == ids(bob)[1:2]
    (last,) = (await two.history("chat:1", limit=1)).entries
    assert last.args == (b"\x00",)
    await one.clear_history("chat:1")
    assert (await two.history("chat:1", after=last.id)).gap


async def test_what_others_keep_from_a_client_is_not_in_its_page(cluster: Found) -> None:
    """A client would get its own words again."""
    servers, _ = cluster
    one, running, _ = await servers.server(history=HISTORY)
    doors(one)
    ada = await servers.clients.connect(running.url)
    await ada.emit_with_ack("say", "chat:1", "mine")
    await one.to("chat:1").emit("said", "all")
    await ada.emit_with_ack("enter", "chat:1", 10)
    assert said(ada) == ["all"]


async def test_with_another_serializer(cluster: Found) -> None:
    """The page would hold what the clients' parser does not know."""
    servers, _ = cluster
    one, _, _ = await servers.server(history=HISTORY, serializer=MsgpackSerializer())
    two, _, _ = await servers.server(history=HISTORY, serializer=MsgpackSerializer())
    await one.to("chat:1").emit("said", 1, b"x", {"a": None})
    (entry,) = (await two.history("chat:1")).entries
    assert (entry.event, entry.args) == ("said", (1, b"x", {"a": None}))


@RECOVERY
async def test_no_hole_and_nothing_twice_while_two_servers_emit(cluster: Found, recovery: bool) -> None:
    """Under load, a client would miss what was said while it joined, or get it twice."""
    servers, _ = cluster
    started = [await servers.server(history=HISTORY, recovery=recovery) for _ in range(2)]
    for io, _, _ in started:
        doors(io)
    clients = [await servers.clients.connect(started[number % 2][1].url) for number in range(12)]

    async def flood(io: Server, name: str) -> None:
        for start in range(0, 300, 10):
            await asyncio.gather(*(io.to("chat:1").emit("said", f"{name}{start + each}") for each in range(10)))

    async def join(client: LightClient, after: int) -> None:
        await until(lambda: len(clients[0].events) >= after)
        await client.emit_with_ack("enter", "chat:1", 2000)

    await clients[0].emit_with_ack("enter", "chat:1", 2000)
    joining = [join(client, 45 * number) for number, client in enumerate(clients[1:])]
    await asyncio.gather(flood(started[0][0], "a"), flood(started[1][0], "b"), *joining)
    for client in clients:
        await until(lambda: len(said(client)) >= 600)  # noqa: B023 - waited for at once
    page = await started[0][0].history("chat:1", limit=2000)
    for client in clients:
        assert said(client) == [entry.args[0] for entry in page.entries]
        assert ids(client) == [entry.id for entry in page.entries]


async def test_it_comes_back_after_a_day(cluster: Found) -> None:
    """Who was away for longer than recovery allows would have a hole, or everything again."""
    servers, _ = cluster
    one, running, _ = await servers.server(history=[History("chat:{room}", size=5)])
    doors(one)
    ada = await servers.clients.connect(running.url)
    await ada.emit_with_ack("enter", "chat:1", 10)
    for number in range(3):
        await one.to("chat:1").emit("said", number)
    await ada.wait_for("said", 3)
    last = ids(ada)[-1]
    for number in range(3, 8):
        await one.to("chat:1").emit("said", number)
    bob = await servers.clients.connect(running.url)
    assert await bob.emit_with_ack("enter", "chat:1", 10, last) == {"gap": False, "more": False}
    assert said(bob) == [3, 4, 5, 6, 7]
    await one.to("chat:1").emit("said", 8)
    assert (await bob.emit_with_ack("enter", "chat:1", 10, last))["gap"]
    assert (await bob.emit_with_ack("enter", "chat:1", 10, "7-7"))["gap"]
    link = await one.of("/").adapter._backbone.writer.link()  # type: ignore[attr-defined]
    await link.send("DEL", "sio:h:{socket.io}:/#chat:1")
    assert (await bob.emit_with_ack("enter", "chat:1", 10, ids(bob)[-1]))["gap"]


async def test_a_lost_reply_keeps_it_once(cluster: Found) -> None:
    """An event would be twice in the history when a connection ends at the wrong moment, or not at all."""
    servers, redis = cluster
    async with running_network(redis.port) as network:
        io, running, streams = await servers.server(history=HISTORY, url=await network.url("one"))
        doors(io)
        client = await servers.clients.connect(running.url)
        await client.emit_with_ack("enter", "chat:1", 10)
        proxy = network["one"]
        for number in range(6):
            if number % 2:
                assert proxy.lose_next_reply()
                await io.to("chat:1").emit("said", number)
                await proxy.reply_lost()
                await until(lambda: streams.health.up)
            else:
                await io.to("chat:1").emit("said", number)
        proxy.cut()
        await asyncio.gather(*(io.to("chat:1").emit("said", number) for number in range(6, 8)))
        await client.wait_for("said", 8)
        assert streams.traffic.reconnects >= 4
        page = await io.history("chat:1")
        assert [entry.args[0] for entry in page.entries] == list(range(8)) == said(client)
        assert [entry.id for entry in page.entries] == ids(client)


async def test_redis_is_away(cluster: Found) -> None:
    """A join would hang for ever, or a client would get nothing any more."""
    servers, redis = cluster
    io, running, streams = await servers.server(history=HISTORY, publish_timeout=0.3)
    outcomes = []

    @io.on("enter")
    async def enter(socket: Socket) -> None:
        try:
            await socket.join("chat:1", history=5)
        except ClusterUnavailable as error:
            outcomes.append(error)
        await socket.local.emit("here")
        assert "chat:1" in socket.rooms

    client = await servers.clients.connect(running.url)
    redis.freeze()
    await client.emit_with_ack("enter")
    with pytest.raises(ClusterUnavailable):
        await io.to("chat:1").emit("said", 1)
    assert len(outcomes) == 1
    redis.thaw()
    await until(lambda: streams.health.up)
    await io.local.emit("after")
    await client.wait_for("after")


async def test_an_entry_that_is_sent_again_is_delivered_with_its_id(cluster: Found) -> None:
    """After a broken connection, the clients of other servers would get an event without its id."""
    servers, _ = cluster
    one, _, streams = await servers.server(history=HISTORY, recovery=False)
    two, running, _ = await servers.server(history=HISTORY, recovery=False)
    doors(two)
    client = await servers.clients.connect(running.url)
    await client.emit_with_ack("enter", "chat:1", 5)
    for fields in (("r", "chat:1", "h", "1", "a", "1"), ("h", "1"), ("r", "chat:1", "h", "1")):
        data = '{"packet":{"type":2,"data":["said",1]},"opts":{"rooms":["chat:1"],"except":[],"flags":{}}}'
        entry = ("uid", "0123456789abcdef", "nsp", "/", "type", "3", "data", data, "m", f"m{len(fields)}")
        link = await streams.writer.link()
        id = await link.send("XADD", streams.stream, "*", *entry, *fields)
        await until(lambda: ids(client)[-1:] == [id.decode()])  # noqa: B023 - waited for at once
    assert said(client) == [1, 1, 1]
    assert one is not two


async def test_a_follower_hears_all_servers(cluster: Found) -> None:
    """Gateways that are no sockets would miss what other servers emit."""
    servers, _ = cluster
    one, _, _ = await servers.server(history=HISTORY, recovery=False)
    two, _, _ = await servers.server(history=HISTORY, recovery=False)
    heard: list[HistoryEntry] = []
    await one.to("chat:1").emit("said", 0)
    history = two.of("/")._history
    assert history is not None
    page, follower = await history.follow("chat:1", heard.append, limit=5)
    await one.to("chat:1").emit("said", 1)
    await two.to("chat:1").emit("said", b"2")
    await one.to("chat:1").except_("x").emit("said", b"3")
    await until(lambda: len(heard) == 3)
    follower.close()
    entries = (await one.history("chat:1")).entries
    assert [*page.entries, *heard] == [*entries[:3], *heard[2:]]
    assert [each.id for each in heard] == [each.id for each in entries[1:]]


def test_pubsub_does_not_keep_it() -> None:
    """Each server would keep what it has emitted itself, and nobody would notice."""
    with pytest.raises(ConfigurationError, match="take RedisStreams"):
        Server(adapter=RedisPubSub("redis://localhost"), history=HISTORY)


@RECOVERY
async def test_programs_that_are_no_servers_keep_it(cluster: Found, recovery: bool) -> None:
    """What a script says in a room would be missing in its history."""
    servers, redis = cluster
    io, running, _ = await servers.server(history=HISTORY, recovery=recovery)
    doors(io)
    client = await servers.clients.connect(running.url)
    await client.emit_with_ack("enter", "chat:1", 10)
    async with Publisher(redis.url, history=HISTORY) as publisher:
        await publisher.to("chat:1", "chat:2", "other").emit("said", 1)
        await publisher.to("chat:1").emit("said", b"2")
        await publisher.to("chat:1").volatile.emit("said", 3)
        await publisher.to("$user:1", "chat:1").emit("presence", 3)
        await publisher.emit("said", 4)
    with SyncPublisher(redis.url, history=HISTORY[0]) as publishing:
        await asyncio.to_thread(publishing.to("chat:1").emit, "said", 5)
    await client.wait_for("said", 5)
    kept = (await io.history("chat:1")).entries
    assert [entry.args for entry in kept] == [(1,), (b"2",), (5,)]
    assert [entry.id for entry in (await io.history("chat:2")).entries] == [kept[0].id]
    if not recovery:
        assert [event.offset for event in client.events if event.name == "said" and event.offset] == []
        found = [event.args for event in client.events if event.name == "said"]
        assert found == [[1, kept[0].id], [b"2", kept[1].id], [3], [4], [5, kept[2].id]]


def test_publishers_without_a_stream() -> None:
    """A script would keep nothing, and nobody would notice."""
    for kind in (Publisher, SyncPublisher):
        with pytest.raises(ConfigurationError, match='adapter="streams" only'):
            kind("redis://localhost", adapter="pubsub", history=HISTORY)
        with pytest.raises(ConfigurationError, match="leave store= out"):
            kind("redis://localhost", history=History("a", store=MemoryHistory()))


async def test_the_rights_that_it_needs(cluster: Found) -> None:
    """An administrator would give too few rights; then an event must have reached nobody, as its emitter is told."""
    servers, _ = cluster
    io, running, streams = await servers.server(history=[*HISTORY, History("short", ttl=60)], recovery=False)
    client = await servers.clients.connect(running.url)
    doors(io)
    link = await streams.writer.link()
    rights = (
        "~socket.io ~sio:session:* ~sio:n:* ~sio:nodes:* &socket.io#* &socket.io-request#* &socketio "
        "+xadd +xrange +xrevrange +xread +multi +exec +get +set +rename +del +pexpire +scan +hset +hdel +hget "
        "+hgetall +mget +eval +publish +subscribe +psubscribe +unsubscribe +pubsub|numsub +info +ping "
        "+client|setname +client|id +client|list +client|kill +acl"
    )
    await link.send("ACL", "SETUSER", "default", "reset", "on", "nopass", *rights.split())
    for more in ("~sio:h:*", "+xtrim", "+persist"):
        with pytest.raises(ClusterUnavailable, match=r"can't|permission"):
            await io.to("chat:1").emit("said", 1)
        await link.send("ACL", "SETUSER", "default", more)
    for more in ("+xlen", "+time"):
        with pytest.raises(ClusterUnavailable, match=r"can't|permission"):
            await io.history("short")
        await link.send("ACL", "SETUSER", "default", more)
    await io.emit("said", 0)
    await client.wait_for("said")
    assert said(client) == [0]
    await client.emit_with_ack("enter", "chat:1", 5)
    await io.to("chat:1").emit("said", 2)
    await client.wait_for("said", 2)
    assert said(client) == [0, 2]
    assert [entry.args for entry in (await io.history("chat:1")).entries] == [(2,)]
    await io.clear_history("chat:1")


@needs("redis-server", "redis-cli")
async def test_on_a_redis_cluster() -> None:
    """The keys of rooms would be on another node than the stream, and Redis would refuse each event."""
    async with running_cluster() as nodes, light_clients() as clients:
        url = nodes.url.replace("redis://", "redis+cluster://").removesuffix("/0")
        io = Server(adapter=RedisStreams(url), history=[*HISTORY, History("short", ttl=60)])
        doors(io)
        running = RunningServer(io)
        await running.start()
        try:
            client = await clients.connect(running.url)
            await io.to("chat:1", "short").emit("said", 1)
            await client.emit_with_ack("enter", "chat:1", 5)
            await io.to("chat:1").emit("said", 2)
            await client.wait_for("said")
            assert said(client) == [1, 2]
            assert [entry.args for entry in (await io.history("short")).entries] == [(1,)]
            await io.clear_history("chat:1")
        finally:
            await running.stop()
