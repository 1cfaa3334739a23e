"""Servers that Pub/Sub joins: the cases of the wire with Node, faults, and what a program is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final
from unittest import SkipTest

import pytest

from rtframework import ClusterUnavailable, Server
from rtframework.exceptions import ConfigurationError
from rtframework.testing import ClusterBroker, ClusterConformance
from rtframework_redis import RedisPubSub
from rtframework_redis import channels as channels_module
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.cluster.cases.running import run_cases
from tests.support.cluster.cases.table import CASES
from tests.support.cluster.fleet import KINDS, RECOVERY, REMOTE, STREAM, add_kind, add_kind_in_process, running_fleet
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_broker import RedisBroker
from tests.support.cluster.redis_fleets import MASTER, running_cluster, running_sentinels
from tests.support.thorough import is_thorough
from tests.support.until import until

pytestmark = needs("redis-server")

NOT_IN_PROCESS: Final = frozenset({"7", "9", "9b", "20c"})
"""Cases in which a server is frozen or killed, or that need Node; and 20c, which Pub/Sub cannot pass: it keeps
nothing, and what is published while a subscriber connects again is a gap."""

WITH_NODE: Final = ["1", "2", "8", "10", "11", "12"]
WITH_NODE_THOROUGH: Final = ["3", "7", "9", "9b", "10b", "21"]
"""Cases that a fleet with one of Node's servers passes. In 7 a sharded server of Node does not hear the emitter, and in
10b a classic one sends bytes as an object with the key ``data``."""

MODES: Final[dict[str, dict[str, Any]]] = {"classic": {}, "sharded": {"sharded": True}}


@contextlib.contextmanager
def kind(*, in_process: bool, **options: Any) -> Iterator[None]:
    """Let fleets have servers with ``RedisPubSub``, under the name "ours"."""
    if in_process:
        add_kind_in_process("ours", partial(RedisPubSub, **options), REMOTE, recovery=None)
    else:
        add_kind("ours", "rtframework_redis:RedisPubSub", REMOTE, options=options, recovery=None)
    try:
        yield
    finally:
        del KINDS["ours"]


def check(found: dict[str, str | None], count: int) -> None:
    """Fail if a case has failed, or was left out."""
    assert len(found) == count
    failed = {number: why for number, why in found.items() if why is not None}
    assert not failed, "\n".join(failed.values())


@pytest.mark.parametrize("wire", MODES)
async def test_two_servers_are_one(wire: str) -> None:
    """Clients of one server would not get what is emitted on the other."""
    cases = [
        number for number, case in CASES.items() if number not in NOT_IN_PROCESS and not case.needs & {STREAM, RECOVERY}
    ]
    with kind(in_process=True, **MODES[wire]):
        async with running_fleet("ours", "ours", persistence="none") as fleet:
            check(await run_cases(fleet, cases), len(cases))


@needs("node")
@pytest.mark.parametrize("wire", MODES)
async def test_a_server_of_node_is_in_the_same_cluster(wire: str) -> None:
    """A fleet of Node could not be moved over server by server."""
    left_out = {"classic": {"10b"}, "sharded": {"7"}}[wire]
    cases = [*WITH_NODE, *(each for each in (WITH_NODE_THOROUGH if is_thorough() else ()) if each not in left_out)]
    kinds = [f"node-{wire}", f"node-{wire}-ioredis"] if is_thorough() else [f"node-{wire}"]
    for other in kinds:
        with kind(in_process=True, **MODES[wire]):
            in_process = [each for each in cases if each not in ("9", "9b")]
            async with running_fleet("ours", other, persistence="none") as fleet:
                check(await run_cases(fleet, in_process), len(in_process))
    if is_thorough():
        with kind(in_process=False, **MODES[wire]):
            async with running_fleet("ours", f"node-{wire}") as fleet:
                check(await run_cases(fleet, ["9", "9b"]), 2)


async def test_the_program_hears_of_an_outage_and_of_what_may_be_missing(cluster: tuple[Cluster, RedisServer]) -> None:
    """Nobody would see that servers have lost each other; what has waited would be published before they are back."""
    servers, redis = cluster
    one, first, pubsub = await servers.pubsub()
    _, second, other = await servers.pubsub()
    clients = [await servers.clients.connect(each.url) for each in (first, second)]
    start = time.time()
    await redis.kill()
    await until(lambda: not pubsub.health.up and not other.health.up)
    assert pubsub.health.reason
    waiting = asyncio.ensure_future(one.emit("waits"))
    await redis.start()
    await waiting
    await until(lambda: pubsub.health.up and other.health.up)
    assert (pubsub.gaps, other.gaps) == (1, 1)
    gaps = [each for each in servers.told if each[0] == "gap"]
    assert [each[:2] for each in gaps] == [("gap", "/")] * 2
    assert all(start - 60 < since <= time.time() for _, _, since in gaps)
    assert sorted(each[0] for each in servers.told if each[0] != "gap") == ["down", "down", "up", "up"]
    await one.emit("after")
    for client in clients:
        await client.wait_for("after")
    for client in clients:
        assert client.received("waits") == [[]]
    assert len(await one.fetch_sockets()) == 2


@pytest.mark.parametrize("sharded", [False, True])
async def test_traffic_is_counted(cluster: tuple[Cluster, RedisServer], sharded: bool) -> None:
    """An operator would not see what the cluster costs, nor that messages pile up."""
    servers, redis = cluster
    one, _, first = await servers.pubsub(sharded=sharded)
    _, running, second = await servers.pubsub(sharded=sharded)
    client = await servers.clients.connect(running.url)
    before = first.traffic.published, second.traffic.received, first.traffic.received
    for number in range(10):
        await one.emit("news", number)
    await client.wait_for("news", 10)
    assert first.traffic.published == before[0] + 10
    assert second.traffic.received == before[1] + 10
    assert first.traffic.received == before[2], "its own messages come back to it, and are none of the others"
    await one.fetch_sockets()
    assert first.traffic.published == before[0] + 11
    assert second.traffic.published >= 1
    assert first.traffic.received == before[2] + 1
    await redis.kill()
    await until(lambda: not first.health.up)
    waiting = asyncio.ensure_future(one.emit("news", "x" * 1000))
    await asyncio.sleep(0)
    await until(lambda: first.traffic.pending_bytes > 1000)
    assert one.stats().cluster.pending_bytes > 1000  # type: ignore[union-attr]
    await redis.start()
    await waiting
    await until(lambda: first.traffic.pending_bytes < 1000)
    assert first.traffic.reconnects >= 2
    assert one.stats().cluster.reconnects == first.traffic.reconnects  # type: ignore[union-attr]


async def test_connections_that_are_killed_again_and_again(cluster: tuple[Cluster, RedisServer]) -> None:
    """Messages would come twice, or out of order; or be missing, and nobody would have been told."""
    servers, _ = cluster
    one, _, pubsub = await servers.pubsub()
    _, second, other = await servers.pubsub()
    client = await servers.clients.connect(second.url)
    doubtful: dict[int, tuple[bool, bool]] = {}
    number = 0
    for kill in range(8):
        for _ in range(20):
            number += 1
            try:
                await one.emit("n", number)
            except ClusterUnavailable as error:
                doubtful[number] = (error.local, error.uncertain)
        keepers = [pubsub.channels.publisher.keeper, other.channels.subscriber]  # type: ignore[attr-defined]
        (await keepers[kill % 2].up(5)).fail("cut")
    await until(lambda: pubsub.health.up and other.health.up)
    await one.emit("end")
    await client.wait_for("end")
    found = [args[0] for args in client.received("n")]
    assert found == sorted(set(found))
    missing = set(range(1, number + 1)) - set(found) - doubtful.keys()
    assert set(doubtful.values()) <= {(True, True)}
    assert other.gaps == 4
    assert len(missing) <= 4 * 20  # what was emitted while the subscriber was away, of which the gaps tell
    assert pubsub.gaps == 0


async def test_a_dead_subscription_is_found(
    cluster: tuple[Cluster, RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server would be deaf for a day, and say that all is well."""
    monkeypatch.setattr(channels_module, "PROBE", 0.1)
    servers, _ = cluster
    one, _, _ = await servers.pubsub()
    _, second, other = await servers.pubsub()
    client = await servers.clients.connect(second.url)
    subscriptions = other.channels.subscriptions  # type: ignore[attr-defined]
    await subscriptions._link.subscribe("UNSUBSCRIBE", *subscriptions.wanted)
    await until(lambda: other.gaps == 1)
    await one.emit("news")
    await client.wait_for("news")


async def test_many_namespaces_come_and_go_on_two_connections(cluster: tuple[Cluster, RedisServer]) -> None:
    """A program with a namespace for each customer would open a connection for each."""
    servers, _ = cluster
    one, _, pubsub = await servers.pubsub()
    two, _, _ = await servers.pubsub()
    count = 4_000 if is_thorough() else 500
    names = [f"/customer-{number}" for number in range(count)]
    heard: list[str] = []
    for name in names:
        one.of(name)

        @two.of(name).on_server_side("told")
        async def tell(name: str) -> None:
            heard.append(name)

    last = f"socket.io-request#{names[-1]}#".encode()
    async with asyncio.timeout(120):
        while await pubsub.channels.count(last) < 2:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.02)
    await asyncio.gather(*(one.of(name).server_side_emit("told", name) for name in names))
    await until(lambda: len(heard) == count, timeout=60)
    clients = bytes(await pubsub.channels.publisher.command("CLIENT", "LIST"))  # type: ignore[attr-defined]
    assert clients.count(b"name=rtframework-") == 4
    await asyncio.gather(*(each.of(name).adapter.close() for each in (one, two) for name in names))
    async with asyncio.timeout(60):
        while await pubsub.channels.count(last):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.02)
    assert len(pubsub.channels.subscriptions) < 10  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options",
    [
        {"subscription_mode": "dynamic-private"},
        {"sharded": True, "subscription_mode": "never"},
        {"publish_timeout": 0},
        {"requests_timeout": -1},
        {"max_pending": "much"},
        {"max_message": 0},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """A mistake would show up as lost messages."""
    with pytest.raises(ConfigurationError):
        RedisPubSub("redis://localhost", **options)
    with pytest.raises(ConfigurationError):
        RedisPubSub("nonsense")


def test_each_server_has_its_own() -> None:
    """Two servers in a process would take each other's messages for their own."""
    pubsub = RedisPubSub("redis://localhost")
    Server(adapter=pubsub)
    with pytest.raises(ConfigurationError, match="its own"):
        Server(adapter=pubsub)


async def test_servers_with_streams_are_another_cluster(cluster: tuple[Cluster, RedisServer]) -> None:
    """Two clusters on one Redis would disturb each other."""
    servers, _ = cluster
    one, first, _ = await servers.pubsub(sharded=True)
    two, second, _ = await servers.server(recovery=False)
    mine, theirs = [await servers.clients.connect(each.url) for each in (first, second)]
    await one.emit("of pubsub")
    await two.emit("of streams")
    await mine.wait_for("of pubsub")
    await theirs.wait_for("of streams")
    assert (len(await one.fetch_sockets()), len(await two.fetch_sockets())) == (1, 1)
    assert (mine.received("of streams"), theirs.received("of pubsub")) == ([], [])


@needs("redis-sentinel")
async def test_a_failover_is_followed(cluster: tuple[Cluster, RedisServer]) -> None:
    """A master that dies would leave servers alone for ever."""
    if not is_thorough():
        pytest.skip("with --thorough")
    servers, _ = cluster
    async with running_sentinels() as sentinels:
        places = ",".join(f"{host}:{port}" for host, port in sentinels.addresses)
        url = f"redis+sentinel://{places}/{MASTER}"
        one, _, pubsub = await servers.pubsub(url=url)
        _, second, other = await servers.pubsub(url=url)
        client = await servers.clients.connect(second.url)
        await sentinels.fail_over(kill=True)
        await until(lambda: pubsub.health.up and other.health.up, timeout=10)
        assert (pubsub.gaps, other.gaps) == (1, 1)
        await one.emit("news")
        await client.wait_for("news")


@pytest.mark.parametrize("sharded", [False, True])
async def test_a_redis_cluster(cluster: tuple[Cluster, RedisServer], sharded: bool) -> None:
    """Who runs a Redis Cluster would need another Redis."""
    if not is_thorough():
        pytest.skip("with --thorough; tests of cluster_channels are quicker")
    servers, _ = cluster
    async with running_cluster() as redis:
        url = redis.url.replace("redis://", "redis+cluster://")
        started = [await servers.pubsub(url=url, sharded=sharded) for _ in range(2)]
        clients = [await servers.clients.connect(running.url) for _, running, _ in started]
        (one, _, first), (two, _, second) = started
        rooms = [f"room{number}" for number in range(30)]
        await next(iter(two.of("/").sockets.values())).join(*rooms)
        for room in rooms:
            await one.to(room).emit("room", room)
        assert len(await clients[1].wait_for("room", 30)) == 30
        assert len(await one.fetch_sockets()) == 2
        assert len(await one.to("room7").fetch_sockets()) == 1
        for channel in ("socket.io#/#room7#", "socket.io#/#"):
            before = second.gaps
            await redis.move(await redis.slot_of(channel))
            if sharded:
                await until(lambda before=before: second.gaps > before)  # type: ignore[misc]
            await until(lambda: first.health.up and second.health.up)
        await one.to("room7").emit("after")
        await one.emit("end")
        await clients[1].wait_for("after")
        for client in clients:
            await client.wait_for("end")


class _Broker(RedisBroker):
    """A Redis that keeps nothing: there are no entries to look at, and none to cut off."""

    messages = ClusterBroker.messages
    trim = ClusterBroker.trim


class _PubSub(ClusterConformance):
    """Servers on one Redis; faults are short, and long in a thorough run."""

    sharded = False
    named = True
    thorough = is_thorough()
    publish_timeout = 0.5
    patience = 5.0

    def broker(self) -> RedisBroker:
        """Run a Redis."""

        def make(url: str, name: str) -> RedisPubSub:
            return RedisPubSub(url, name=name, publish_timeout=self.publish_timeout, sharded=self.sharded)

        start = "S" if self.sharded else ""
        return _Broker(make, publishes=f"{start}PUBLISH", listens=f"{start}SUBSCRIBE")

    def adapter(self, nsp: str, emitter: Any) -> Any:
        """Make an adapter, of a server without recovery."""
        emitter.recovery = None
        return super().adapter(nsp, emitter)

    def test_a_deaf_server_finds_out(self) -> None:
        """The suite emits once and waits for it, and Pub/Sub keeps nothing: tests of channels do it in their way."""
        raise SkipTest("what is published while a server is deaf is lost, and told by a gap")


class TestClassic(_PubSub):
    """The classic wire."""


class TestSharded(_PubSub):
    """The sharded wire, over the same connections."""

    __test__ = is_thorough()
    sharded = True
