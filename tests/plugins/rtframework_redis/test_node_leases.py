"""Leases of servers in a real Redis: who is listed, who is awaited, and who has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from rtframework import AckTimeout, ClusterUnavailable, FetchTimeout, Server
from rtframework_redis import RedisStreams, node_leases
from rtframework_redis.address import Address
from rtframework_redis.handshake import connect
from rtframework_redis.link import Link
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.cluster.fleet import KINDS, RECOVERY, REMOTE, STREAM, add_kind, running_fleet
from tests.support.cluster.needs import needs
from tests.support.js import JSError
from tests.support.until import until

pytestmark = needs("redis-server")

Found = tuple[Cluster, RedisServer]


@pytest.fixture
async def link(cluster: Found) -> AsyncIterator[Link]:
    """A connection of the test's own."""
    _, redis = cluster
    link = await connect(Address.from_url(redis.url))
    yield link
    await link.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases end after half a second."""
    for name, seconds in (("LEASE", 0.5), ("RENEW", 0.1), ("_FRESH", 0.05), ("_DEAD", 0.1)):
        monkeypatch.setattr(node_leases, name, seconds)


async def die(streams: RedisStreams) -> None:
    """Vanish as a killed process does: connections end, and no lease is given back."""
    assert streams.leases._timer is not None
    streams.leases._timer.cancel()
    await streams.writer.keeper.close()


async def stand_still(streams: RedisStreams) -> None:
    """Renew nothing from now on, with connections that stay, as a process that was stopped."""
    assert streams.leases._timer is not None
    streams.leases._timer.cancel()


async def names(io: Server) -> list[str]:
    """The names of the servers that are listed."""
    return [each.name for each in await io.cluster.nodes()]


async def until_listed(io: Server, *expected: str) -> None:
    """Wait until these are the servers, and no others."""
    async with asyncio.timeout(5):
        while sorted(await names(io)) != sorted(expected):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.02)


async def test_every_server_is_listed(cluster: Found, link: Link) -> None:
    """An operator would not see how many servers there are, and how many clients each has."""
    servers, _ = cluster
    one, first, _ = await servers.server(name="one")
    await servers.clients.connect(first.url)
    two, _, streams = await servers.server(name="two")
    me, other = await two.cluster.nodes()
    assert (me.name, me.is_self, me.sockets) == ("two", True, 0)
    assert (other.name, other.is_self, other.runtime) == ("one", False, "rtframework")
    assert (other.host, other.pid) == (me.host, me.pid)
    assert other.version
    assert other.started
    assert abs(other.started - time.time()) < 60
    streams.leases.renew()
    one._host.settings.backbone.leases.renew()  # type: ignore[union-attr]
    _, other = await two.cluster.nodes()
    assert other.sockets == 1
    await link.subscribe("SUBSCRIBE", "socket.io#/#")
    assert [(each.name, each.runtime, each.pid) for each in (await one.cluster.nodes())[2:]] == [("?", "unknown", None)]


async def test_all_keys_are_in_the_slot_of_the_stream(cluster: Found, link: Link) -> None:
    """A Redis Cluster would refuse them, or they would lie where the connection does not reach."""
    servers, _ = cluster
    await servers.server(name="one", stream="mine")
    keys = {key.decode() for key in await link.send("KEYS", "sio:n*")}
    assert keys == {"sio:n:{mine}:one", "sio:nodes:{mine}", "sio:nodes:{mine}:/"}
    assert 10_000 < await link.send("PTTL", "sio:n:{mine}:one") <= 15_000
    assert await link.send("PTTL", "sio:nodes:{mine}:/") > 0, "what all servers have left behind is forgotten some day"


async def test_a_server_that_leaves_is_listed_no_more(cluster: Found, link: Link) -> None:
    """Each deployment would leave servers behind, and requests would wait for them."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    two, running, _ = await servers.server(name="two")
    two.of("/chat")
    await until_listed(one, "one", "two")
    await running.stop()
    assert await names(one) == ["one"]
    assert await link.send("EXISTS", "sio:n:{socket.io}:two") == 0
    assert await link.send("HKEYS", "sio:nodes:{socket.io}") == [b"one"]
    assert await link.send("HGETALL", "sio:nodes:{socket.io}:/chat") == {}
    async with asyncio.timeout(4):
        assert await one.fetch_sockets() == []


@pytest.mark.usefixtures("soon")
async def test_a_server_that_was_killed_is_forgotten(cluster: Found, link: Link) -> None:
    """Its name would be there for ever, and so would those of all that have crashed before."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    _, _, streams = await servers.server(name="two")
    await until_listed(one, "one", "two")
    await die(streams)
    await until_listed(one, "one")
    await one.fetch_sockets()
    for key in ("sio:nodes:{socket.io}", "sio:nodes:{socket.io}:/"):
        async with asyncio.timeout(5):
            while await link.send("HKEYS", key) != [b"one"]:
                await one.fetch_sockets()
                await asyncio.sleep(0.02)


@pytest.mark.usefixtures("soon")
async def test_a_server_that_stood_still_is_back(cluster: Found, link: Link) -> None:
    """A machine that was suspended would be left out of every request for good."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    _, running, streams = await servers.server(name="two")
    client = await servers.clients.connect(running.url)
    await one.fetch_sockets()
    await stand_still(streams)
    await until_listed(one, "one", "?")
    assert [each.id for each in await one.fetch_sockets()] == [client.sid], "it hears, though it has no lease"
    async with asyncio.timeout(5):
        while b"two" in await link.send("HKEYS", "sio:nodes:{socket.io}:/"):
            await one.fetch_sockets()
            await asyncio.sleep(0.02)
    streams.leases._tick()
    await until_listed(one, "one", "two")
    assert await link.send("HKEYS", "sio:nodes:{socket.io}:/") == [b"one", b"two"]
    streams.leases._timer.cancel()  # type: ignore[union-attr]


@pytest.mark.usefixtures("soon")
async def test_a_redis_that_was_emptied_knows_all_again(cluster: Found, link: Link) -> None:
    """Requests would count servers instead of naming them until each was restarted."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    two, _, _ = await servers.server(name="two")
    two.of("/chat")
    await link.send("FLUSHALL")
    await until_listed(one, "one", "two")
    async with asyncio.timeout(5):
        while await link.send("HKEYS", "sio:nodes:{socket.io}:/chat") != [b"two"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_server_that_stops_takes_no_lease_again(cluster: Found, link: Link) -> None:
    """A connection that is opened again during the shutdown would leave a server in the list for 15 seconds."""
    servers, _ = cluster
    _, _, streams = await servers.server(name="one")
    await streams.leases.close(5)
    streams.leases.connected()
    await streams.writer.command("PING")
    assert await link.send("EXISTS", "sio:n:{socket.io}:one") == 0


async def test_many_namespaces_are_entered_some_at_a_time(
    cluster: Found, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with thousands of namespaces would stand still whenever it connects again."""
    monkeypatch.setattr(node_leases, "_AT_ONCE", 3)
    servers, _ = cluster
    io, _, streams = await servers.server(name="one")
    spaces = [io.of(f"/{number}") for number in range(10)]
    await until(lambda: len(streams.leases._serving) == 11)
    await link.send("FLUSHALL")
    streams.leases.connected()
    async with asyncio.timeout(5):
        while len(await link.send("KEYS", "sio:nodes:{socket.io}:*")) < 11:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await spaces[0].adapter.close()
    await streams.writer.command("PING")
    assert await link.send("EXISTS", "sio:nodes:{socket.io}:/0") == 0


async def test_a_namespace_that_was_closed_without_redis(cluster: Found, link: Link) -> None:
    """All servers would wait for this one in a namespace that it serves no more."""
    servers, _ = cluster
    io, _, streams = await servers.server(name="one")
    chat = io.of("/chat")
    await until(lambda: "/chat" in streams.leases._serving)
    await streams.writer.command("PING")
    assert await link.send("HGET", "sio:nodes:{socket.io}:/chat", "one")
    current = streams.writer.keeper.link
    assert current is not None
    current.fail("cut")
    await chat.adapter.close()
    await until(lambda: streams.health.up)
    async with asyncio.timeout(5):
        while await link.send("EXISTS", "sio:nodes:{socket.io}:/chat"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("soon")
async def test_two_servers_with_one_name_are_told(cluster: Found, caplog: pytest.LogCaptureFixture) -> None:
    """Each would take the other for itself, and its sockets would be missing."""
    servers, _ = cluster
    await servers.server(name="same")
    await servers.server(name="same")
    await until(lambda: "has the name 'same', too" in caplog.text)


async def test_a_server_with_the_name_of_one_that_has_ended(
    cluster: Found, caplog: pytest.LogCaptureFixture, link: Link
) -> None:
    """A name that is given to the machine could not be used again, or the old one's end take the new one's lease."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    _, old, streams = await servers.server(name="two")
    assert await names(one) == ["one", "two"]
    _, running, _ = await servers.server(name="two")
    client = await servers.clients.connect(running.url)
    await old.stop()
    assert await link.send("EXISTS", "sio:n:{socket.io}:two") == 1
    assert [each.id for each in await one.fetch_sockets()] == [client.sid]
    assert "has the name" not in caplog.text
    assert streams.node == "two"


async def test_without_the_rights_servers_are_counted(
    cluster: Found, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that was updated would not start any more, because Redis lets it do no more than before."""
    servers, _ = cluster
    await link.send("ACL", "SETUSER", "default", "-@hash")
    one, _, _ = await servers.server(name="one")
    _, running, _ = await servers.server(name="two")
    client = await servers.clients.connect(running.url)
    assert [each.id for each in await one.fetch_sockets()] == [client.sid]
    assert "Redis refuses the leases" in caplog.text


async def test_a_lease_that_is_rubbish_is_none(cluster: Found, link: Link, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else's key would end every request."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    await link.send("HSET", "sio:nodes:{socket.io}", "x", "1")
    await link.send("HSET", "sio:nodes:{socket.io}:/", "x", "1", b"\xff", b"\xff")
    await link.send("SET", "sio:n:{socket.io}:x", "rubbish")
    assert await names(one) == ["one"]
    assert await one.fetch_sockets() == []
    assert "the lease of another server is not understood" in caplog.text


async def test_clocks_that_differ_do_no_harm(cluster: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is wrong would take all others for dead, or be taken for dead."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    now = time.time()
    monkeypatch.setattr(node_leases, "time", SimpleNamespace(time=lambda: now - 86_400))
    two, running, _ = await servers.server(name="two")
    client = await servers.clients.connect(running.url)
    for io in (one, two):
        assert sorted(await names(io)) == ["one", "two"]
        assert [each.id for each in await io.fetch_sockets()] == [client.sid]


async def test_a_server_that_has_no_lease_is_remembered_for_a_while(
    cluster: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of Node's would be taken for one of ours that is connecting again, and its sockets be missing."""
    servers, _ = cluster
    io, _, streams = await servers.server(name="one")
    _, _, other = await servers.server(name="two")
    leases, asker = streams.leases, io.of("/").adapter
    assert await leases.others("/", "socket.io#/#", asker) == {"two": other.uid}  # type: ignore[arg-type]
    assert leases.heard("/", other.uid) == "two"
    assert leases.heard("/", "emitter") == "emitter"
    assert await leases.others("/", "socket.io#/#", asker) == {"two": other.uid}  # type: ignore[arg-type]
    assert leases.heard("/", "a" * 16) == "a" * 16
    assert await leases.others("/", "socket.io#/#", asker) == 1  # type: ignore[arg-type]
    monkeypatch.setattr(node_leases, "_STRANGE", 0.0)
    assert await leases.others("/", "socket.io#/#", asker) == {"two": other.uid}  # type: ignore[arg-type]


def quick(url: str) -> RedisStreams:
    """Make an adapter, in a process of its own, whose leases end after a second and a half."""
    node_leases.LEASE, node_leases.RENEW = 1.5, 0.5  # type: ignore[misc]
    return RedisStreams(url)


async def test_processes_that_stand_still_or_are_killed() -> None:
    """A machine that was suspended would be left out for good, or one that has crashed hold up requests for ever."""
    add_kind("leased", f"{__name__}:quick", STREAM, RECOVERY, REMOTE)
    try:
        async with running_fleet("leased", "leased", "leased") as fleet:
            clients = [await fleet.connect(server) for server in fleet.servers.values()]

            async def found() -> set[str]:
                try:
                    return {each["id"] for each in await fleet.a.fetch_sockets(timeout=1)}
                except JSError:
                    return set()

            async def until_found(*sids: str) -> None:
                async with asyncio.timeout(10):
                    while await found() != set(sids):  # noqa: ASYNC110 - a lease has to end, or to be taken
                        await asyncio.sleep(0.05)

            a, b, c = (client.sid for client in clients)
            assert await found() == {a, b, c}
            fleet.b.freeze()
            async with asyncio.timeout(10):
                while len(await fleet.redis.command("KEYS", "sio:n:*")) > 2:  # noqa: ASYNC110 - its lease has to end
                    await asyncio.sleep(0.05)
            fleet.b.thaw()
            await until_found(a, b, c)
            await fleet.servers["c"].kill()
            await until_found(a, b)
    finally:
        del KINDS["leased"]


async def test_redis_that_is_away_is_an_error(cluster: Found) -> None:
    """A program would take an empty list for the truth."""
    servers, redis = cluster
    io, _, streams = await servers.server(publish_timeout=0.2)
    await redis.kill()
    await until(lambda: not streams.health.up)
    with pytest.raises(ClusterUnavailable):
        await io.cluster.nodes()
    with pytest.raises(ClusterUnavailable):
        await io.fetch_sockets()


# --- requests ---------------------------------------------------------------------------------------------------------


async def test_answers_have_the_names_of_servers(cluster: Found) -> None:
    """A program could not tell which server has answered, nor find it in the list."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    two, _, _ = await servers.server(name="two")
    two.on_server_side("question")(lambda: "answer")
    assert dict(await one.server_side_emit_with_ack("question")) == {"two": "answer"}


async def test_a_server_that_connects_again_is_not_missing(cluster: Found) -> None:
    """A client that is online would be missing from the list for a moment, and a program throw its seat away."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    _, running, streams = await servers.server(name="two")
    client = await servers.clients.connect(running.url)
    for _ in range(3):
        current = streams.writer.keeper.link
        assert current is not None
        current.fail("cut")
        found = await one.fetch_sockets()
        assert [each.id for each in found] == [client.sid]
        await until(lambda: streams.health.up)


async def test_a_server_without_its_connection_is_named(cluster: Found) -> None:
    """A program would be told that something is missing, but not where to look."""
    servers, _ = cluster
    one, first, _ = await servers.server(name="one")
    client = await servers.clients.connect(first.url)
    _, _, streams = await servers.server(name="two")
    await streams.writer.keeper.close()
    with pytest.raises(FetchTimeout) as caught:
        await one.timeout(0.3).fetch_sockets()
    assert caught.value.missing == ("two",)
    assert [each.id for each in caught.value.sockets] == [client.sid]
    with pytest.raises(AckTimeout) as late:
        await one.timeout(0.3).emit_with_ack("question")
    assert set(late.value.missing) == {client.sid, "two"}


async def test_a_request_ends_with_a_server_that_leaves(cluster: Found) -> None:
    """Each deployment would hold up every request for five seconds."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    two, running, _ = await servers.server(name="two")
    asked = asyncio.Event()

    @two.on_server_side("question")
    async def question() -> None:
        asked.set()
        await asyncio.Event().wait()

    waiting = asyncio.ensure_future(one.server_side_emit_with_ack("question", timeout=60))
    await asked.wait()
    await running.stop()
    async with asyncio.timeout(5):
        answers = await waiting
    assert (dict(answers), answers.missing) == ({}, ("two",))


@pytest.mark.usefixtures("soon")
async def test_a_request_ends_with_a_lease(cluster: Found) -> None:
    """A vote would wait for the clients of a server that has crashed until its time is over."""
    servers, _ = cluster
    one, first, _ = await servers.server(name="one")
    here = await servers.clients.connect(first.url)
    here.answers["vote?"] = "yes"
    _, running, streams = await servers.server(name="two")
    client = await servers.clients.connect(running.url)
    waiting = asyncio.ensure_future(one.timeout(60).emit_with_ack("vote?"))
    await client.wait_for("vote?")
    await die(streams)
    async with asyncio.timeout(5):
        answers = await waiting
    assert (dict(answers), answers.missing) == ({here.sid: "yes"}, ("two",))


async def test_who_leaves_while_a_request_begins_is_not_awaited(cluster: Found) -> None:
    """A request would wait in vain for a server that has gone between two of its steps."""
    servers, _ = cluster
    one, _, _ = await servers.server(name="one")
    for number in range(20):
        _, running, _ = await servers.server(name=f"two-{number}")
        stopping = asyncio.ensure_future(running.stop())
        async with asyncio.timeout(4):
            while not stopping.done():
                await one.fetch_sockets()
        await stopping


@needs("node")
async def test_a_server_of_node_is_counted_beside_ours(cluster: Found, tmp_path: Any) -> None:
    """The sockets of Node's servers would be missing, or requests wait for names that they do not have."""
    from tests.support.cluster.node_server import node_server

    servers, redis = cluster
    one, _, _ = await servers.server(name="one")
    _, second, _ = await servers.server(name="two")
    here = await servers.clients.connect(second.url)
    node = node_server("n", tmp_path, url=redis.url, adapter="streams")
    await node.start()
    try:
        there = await servers.clients.connect(node.url)
        assert {each.id for each in await one.fetch_sockets()} == {here.sid, there.sid}
        assert [each.name for each in await one.cluster.nodes()] == ["one", "two", "?"]
        assert len(await node.fetch_sockets()) == 2
    finally:
        await node.close()


# --- with Pub/Sub -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharded", [False, True])
async def test_servers_with_pubsub_have_names(cluster: Found, link: Link, sharded: bool) -> None:
    """An operator would not see who is there, nor a program who has answered, once it is joined by Pub/Sub."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub(name="one", sharded=sharded)
    two, running, _ = await servers.pubsub(name="two", sharded=sharded)
    await servers.server(name="streams")  # another cluster
    await servers.pubsub(name="another", sharded=not sharded)
    await servers.clients.connect(running.url)
    two._host.settings.backbone.leases.renew()  # type: ignore[union-attr]
    me, other = await one.cluster.nodes()
    assert (me.name, me.is_self, other.name, other.sockets) == ("one", True, "two", 1)

    @two.on_server_side("who?")
    async def who() -> str:
        return "me"

    assert dict(await one.server_side_emit_with_ack("who?", timeout=5)) == {"two": "me"}
    assert len(await one.fetch_sockets()) == 1
    kind = "sharded" if sharded else "classic"
    assert await link.send("HKEYS", f"sio:nodes:{{socket.io-{kind}}}:/") == [b"one", b"two"]
    await running.stop()
    assert await names(one) == ["one"]
    assert await link.send("HKEYS", f"sio:nodes:{{socket.io-{kind}}}:/") == [b"one"]
    assert dict(await one.server_side_emit_with_ack("who?", timeout=5)) == {}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("sharded", [False, True])
async def test_servers_with_pubsub_do_not_wait_for_one_that_has_died(cluster: Found, sharded: bool) -> None:
    """Each request would take its whole time limit after a crash."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub(name="one", sharded=sharded)
    _, _, other = await servers.pubsub(name="two", sharded=sharded)
    other._takes.clear()
    other._adapter_of = lambda channel: None  # type: ignore[method-assign]
    asked = asyncio.ensure_future(one.timeout(60).fetch_sockets())
    adapter = one.of("/").adapter
    await until(lambda: adapter.is_asking)  # type: ignore[attr-defined]
    with pytest.raises(AckTimeout) as caught:
        await one.server_side_emit_with_ack("anybody?", timeout=0.1)
    assert caught.value.missing == ("two",)
    await other.leases.close(5)
    async with asyncio.timeout(10):
        assert await asked == []


@pytest.mark.parametrize("sharded", [False, True])
async def test_servers_with_pubsub_count_strangers(
    cluster: Found, link: Link, caplog: pytest.LogCaptureFixture, sharded: bool
) -> None:
    """Answers of Node's servers would not be waited for, or those of servers that may not use keys."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub(name="one", sharded=sharded)
    stranger = await connect(Address.from_url(servers._url), on_push=lambda push: None)
    command, channel = ("SSUBSCRIBE", "socket.io#/#") if sharded else ("SUBSCRIBE", "socket.io-request#/#")
    await stranger.subscribe(command, channel)
    assert [each.runtime for each in await one.cluster.nodes()] == ["rtframework", "unknown"]
    with pytest.raises(FetchTimeout) as caught:
        await one.timeout(0.1).fetch_sockets()
    assert caught.value.missing == ("?",)
    await stranger.close()
    await link.send("ACL", "SETUSER", "default", "-@hash")
    _, running, _ = await servers.pubsub(name="two", sharded=sharded)
    client = await servers.clients.connect(running.url)
    assert [each.id for each in await one.fetch_sockets()] == [client.sid]
    assert "Redis refuses the leases" in caplog.text


async def test_a_redis_that_comes_back_knows_servers_with_pubsub(cluster: Found) -> None:
    """After an outage, servers would have no names for the rest of the hour."""
    servers, redis = cluster
    one, _, first = await servers.pubsub(name="one")
    _, _, second = await servers.pubsub(name="two")
    await redis.kill()
    await until(lambda: not first.health.up and not second.health.up)
    await redis.start()
    await until(lambda: first.health.up and second.health.up)
    await until_listed(one, "one", "two")
    assert dict(await one.server_side_emit_with_ack("who?", timeout=5)) == {"two": None}
