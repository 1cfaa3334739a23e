"""Where the master is: Sentinel and Cluster, as URLs and as redis-py's clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from rtframework.exceptions import ConfigurationError
from rtframework_redis.address import Address
from rtframework_redis.errors import LinkRefused, ReplyError
from rtframework_redis.handshake import connect
from rtframework_redis.keeper import Keeper
from rtframework_redis.topology import ClusterTopology, SentinelTopology, SingleServer, make_topology
from tests.plugins.rtframework_redis.conftest import Fake, FakeServer, Peer, RedisServer, free_port
from tests.support.until import until

Start = Callable[..., Awaitable[RedisServer]]


def bulk(value: str | int) -> bytes:
    """Return a value as Redis sends it."""
    text = str(value).encode()
    return b":%d\r\n" % value if isinstance(value, int) else b"$%d\r\n%s\r\n" % (len(text), text)


def array(*items: bytes) -> bytes:
    """Return an array of encoded values."""
    return b"*%d\r\n" % len(items) + b"".join(items)


class Masters:
    """The answer of a Sentinel: its one service and where the master is."""

    def __init__(self, port: int, flags: str = "master") -> None:
        self.port = port
        self.flags = flags

    def __call__(self, peer: Peer, command: list[bytes]) -> bytes:
        """Answer SENTINEL MASTERS."""
        state = {"name": "mine", "ip": "127.0.0.1", "port": str(self.port), "flags": self.flags}
        fields = [item for pair in (state | {"num-other-sentinels": "0"}).items() for item in pair]
        return array(array(*map(bulk, fields)))


async def sentinel_at(fake_server: Fake, masters: Masters) -> FakeServer:
    """Start a scripted Sentinel. It speaks RESP2."""
    plain = {b"HELLO": b"-ERR unknown command\r\n", b"CLIENT": b"+OK\r\n", b"AUTH": b"+OK\r\n"}
    return await fake_server({**plain, b"SENTINEL": masters})


async def test_one_server() -> None:
    """Nothing would be found."""
    topology = make_topology("redis://u:secret@h:7/3")
    assert isinstance(topology, SingleServer)
    assert str(topology) == str(await topology.locate(b"any")) == "redis://u@h:7/3"
    topology.refute(ReplyError("READONLY no"), b"any")
    await topology.close()
    assert str(await make_topology(Redis(host="h")).locate()) == "redis://h:6379/0"
    assert make_topology(topology) is topology


async def test_sentinels_are_asked_each_time(fake_server: Fake) -> None:
    """After a failover everything would go on to the former master."""
    masters = Masters(7001)
    server = await sentinel_at(fake_server, masters)
    dead = free_port()
    url = f"redis+sentinel://app:secret@127.0.0.1:{dead},127.0.0.1:{server.port}/mine/3?protocol=2&sentinel_password=x"
    topology = make_topology(url)
    address = await topology.locate()
    assert (str(address), address.password) == ("redis://app@127.0.0.1:7001/3", "secret")
    assert (address.must_be_master, address.protocol) == (True, 2)
    assert [b"AUTH", b"x"] in server.peers[0].received
    masters.port = 7002
    topology.refute(ReplyError("READONLY no"))
    assert (await topology.locate()).port == 7002
    masters.flags = "master,s_down"
    with pytest.raises(LinkRefused, match="No master found for 'mine'") as caught:
        await topology.locate()
    assert "secret" not in str(caught.value)
    await topology.close()


async def test_clients_of_a_sentinel(fake_server: Fake) -> None:
    """Programs that have a Sentinel of redis-py would have to say everything twice."""
    server = await sentinel_at(fake_server, Masters(7001))
    theirs = Sentinel(  # type: ignore[no-untyped-call]
        [("127.0.0.1", server.port)],
        sentinel_kwargs={"password": "x", "protocol": 2},
        username="u",
        password="secret",
        db=2,
    )
    topology = make_topology(theirs.master_for("mine"))
    assert isinstance(topology, SentinelTopology)
    assert str(topology) == f"redis+sentinel://127.0.0.1:{server.port}/mine"
    assert str(await topology.locate()) == "redis://u@127.0.0.1:7001/2"
    await topology.close()
    with pytest.raises(ConfigurationError, match="master_for"):
        make_topology(theirs)


@pytest.mark.parametrize(("client", "name"), [(redis.Redis(), "redis's Redis"), (None, "builtins's NoneType")])
def test_a_client_of_another_kind_is_refused(client: Any, name: str) -> None:
    """The mistake would show as an error of a background task, ten seconds after the start."""
    with pytest.raises(ConfigurationError, match=f"a client of redis.asyncio, not {name}"):
        make_topology(client)


async def test_a_sentinel_that_hangs_is_passed_over(fake_server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failover would take as long as its time-outs and retries, which are those of a slow query."""
    monkeypatch.setattr("rtframework_redis.topology.PATIENCE", 0.1)
    hung = await fake_server({b"HELLO": b"", b"CLIENT": b"", b"SENTINEL": b""})
    server = await sentinel_at(fake_server, Masters(7001))
    topology = make_topology(f"redis+sentinel://127.0.0.1:{hung.port},127.0.0.1:{server.port}/mine?protocol=2")
    assert (await topology.locate()).port == 7001
    await topology.close()


SLOT = key_slot(b"socket.io")


class Slots:
    """The answer of a node of a Cluster: ranges of slots and their nodes."""

    def __init__(self, first: int, second: int) -> None:
        self.first = first
        self.second = second

    def __call__(self, peer: Peer, command: list[bytes]) -> bytes:
        """Answer CLUSTER SLOTS."""
        low = array(bulk(0), bulk(9000), array(bulk("127.0.0.1"), bulk(self.first), bulk("a" * 40)))
        high = array(bulk(9001), bulk(16383), array(bulk("127.0.0.1"), bulk(self.second), bulk("b" * 40)))
        return array(low, high)


async def cluster_node(fake_server: Fake) -> tuple[FakeServer, Slots]:
    """Start a scripted node that names itself as the one of the lower slots."""
    info = array(bulk("cluster"), bulk(-2), array(), bulk(0), bulk(0), bulk(0))
    commands = {b"HELLO": b"-ERR unknown command\r\n", b"CLIENT": b"+OK\r\n", b"COMMAND": array(info)}
    server = await fake_server({**commands, b"INFO": bulk("cluster_enabled:1")})
    slots = Slots(server.port, 7002)
    server.answers[b"CLUSTER"] = slots
    return server, slots


async def test_the_node_that_has_the_slot(fake_server: Fake) -> None:
    """Each command would be refused by nodes that have other slots."""
    server, slots = await cluster_node(fake_server)
    topology = make_topology(f"redis+cluster://u:secret@127.0.0.1:{server.port},127.0.0.1:{free_port()}?protocol=2")
    server.answers[b"AUTH"] = b"+OK\r\n"
    assert isinstance(topology, ClusterTopology)
    assert SLOT > 9000
    found = await topology.locate(b"{socket.io}:1")
    assert (str(found), found.password) == ("redis://u@127.0.0.1:7002/0", "secret")
    assert (found.must_be_master, found.asking) == (True, False)
    assert (await topology.locate(b"foo{bar}")).port == server.port  # slot 5061
    slots.second = 7003
    assert (await topology.locate(b"socket.io")).port == 7003
    await topology.close()


async def test_other_nodes_are_asked_when_the_first_has_gone(fake_server: Fake) -> None:
    """A Cluster survives the loss of a node; a server that knows that node alone would not."""
    first, slots = await cluster_node(fake_server)
    second, others = await cluster_node(fake_server)
    slots.second = second.port
    topology = make_topology(f"redis+cluster://127.0.0.1:{first.port}?protocol=2")
    assert (await topology.locate(b"socket.io")).port == second.port
    await first.stop()
    others.first, others.second = second.port, 7005
    assert (await topology.locate(b"socket.io")).port == 7005


async def test_redirections_are_followed_once(fake_server: Fake) -> None:
    """While slots are moved, or when a redirection is wrong, the stream would be out of reach."""
    server, _ = await cluster_node(fake_server)
    topology = ClusterTopology([("127.0.0.1", server.port)], {"protocol": 2})
    await topology.locate(b"socket.io")
    topology.refute(ReplyError(f"MOVED {SLOT} 127.0.0.2:7009"), b"socket.io")
    assert (await topology.locate(b"socket.io")).place == "127.0.0.2:7009"
    topology.refute(ReplyError(f"ASK {SLOT} :7010"), b"socket.io")
    asking = await topology.locate(b"socket.io")
    assert (asking.place, asking.asking, asking.must_be_master) == ("127.0.0.2:7010", True, False)
    assert (await topology.locate(b"socket.io")).port == 7002
    topology.refute(ReplyError("MOVED 1 127.0.0.2:7009"), b"socket.io")
    topology.refute(ReplyError("READONLY no"), b"socket.io")
    assert (await topology.locate(b"socket.io")).port == 7002


async def test_a_client_of_a_cluster(fake_server: Fake) -> None:
    """Programs that have a RedisCluster would have to say everything twice."""
    server, _ = await cluster_node(fake_server)
    theirs = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", server.port)], password="secret", protocol=2)
    server.answers[b"AUTH"] = b"+OK\r\n"
    found = await make_topology(theirs).locate(b"socket.io")
    assert (found.port, found.password, found.tls) == (7002, "secret", None)
    secure = RedisCluster(host="127.0.0.1", port=server.port, ssl=True, ssl_cert_reqs="none")
    assert isinstance(make_topology(secure), ClusterTopology)


async def test_a_cluster_that_cannot_be_reached() -> None:
    """The message would not say what could not be reached."""
    port = free_port()
    topology = make_topology(f"redis+cluster://:secret@127.0.0.1:{port}")
    with pytest.raises(LinkRefused, match=rf"redis\+cluster://127.0.0.1:{port}: ") as caught:
        await topology.locate(b"a")
    assert "secret" not in str(caught.value)


async def test_a_real_sentinel(redis_server: Start, tmp_path: Path) -> None:
    """The scripted one could answer otherwise than Redis' own."""
    server = await redis_server()
    port = free_port()
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"port {port}\nsentinel monitor mine 127.0.0.1 {server.port} 1\n", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        "redis-server", str(configuration), "--sentinel", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        topology = make_topology(f"redis+sentinel://127.0.0.1:{port}/mine")
        keeper = Keeper(topology)
        keeper.start()
        link = await keeper.up(10)
        assert (link.role, keeper.health.address) == ("master", server.url)
        await keeper.close()
    finally:
        process.kill()
        await process.wait()


async def test_a_question_that_is_given_up_leaves_no_connection(fake_server: Fake) -> None:
    """Each server that is stopped, or that stops waiting, would leave connections behind."""
    server, slots = await cluster_node(fake_server)
    slots.second = server.port
    topology = ClusterTopology([("127.0.0.1", server.port)], {"protocol": 2})
    for steps in range(1, 10_000):
        asking = asyncio.create_task(topology.table())
        for _ in range(steps):
            await asyncio.sleep(0)
        if asking.done():
            break
        asking.cancel()
        await asyncio.wait([asking])
        await topology.close()
    assert (await asking).nodes == (("127.0.0.1", server.port),)
    await until(lambda: all(peer.writer.transport.is_closing() for peer in server.peers))


async def test_a_real_cluster_of_one(redis_server: Start) -> None:
    """The scripted one could answer otherwise than Redis' own."""
    server = await redis_server("--cluster-enabled", "yes")
    link = await connect(Address.from_url(server.url))
    topology = make_topology(f"redis+cluster://127.0.0.1:{server.port}")
    with pytest.raises(LinkRefused, match="no node has any slot"):
        await topology.locate(b"socket.io")
    await link.send("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    assert (await topology.locate(b"socket.io")).place == f"127.0.0.1:{server.port}"
    assert isinstance(topology, ClusterTopology)
    place = ("127.0.0.1", server.port)
    table = await topology.table()
    assert (len(table.masters), set(table.masters.values()), table.nodes) == (16384, {place}, (place,))
    assert topology.address_of(place).must_be_master
    assert not topology.address_of(place, must_be_master=False).must_be_master
    await link.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://u:secret@h:1", "name of the service is missing"),
        ("redis+sentinel://u:secret@h:x/mine", "no host and port"),
        ("redis+sentinel://u:secret@/mine", "no host and port"),
        ("redis+sentinel://u:secret@h/mine?nonsense=1", "nonsense"),
        ("redis+cluster://u:secret@h/1", "one database"),
        ("http://u:secret@h", "redis://"),
    ],
)
async def test_a_wrong_url(url: str, problem: str) -> None:
    """The password would stand in logs, or nobody would know what is wrong."""
    with pytest.raises(ConfigurationError, match=problem) as caught:
        make_topology(url)
    assert "secret" not in str(caught.value)


async def test_tls_of_sentinels_and_clusters() -> None:
    """Connections would be open to all, although the URL says otherwise."""
    topology: Any = make_topology("rediss+sentinel://h,[::1]:7/mine?ssl_cert_reqs=none")
    pools = [each.connection_pool for each in topology._own.sentinels]
    assert [pool.connection_class.__name__ for pool in pools] == ["SSLConnection"] * 2
    assert [(pool.connection_kwargs["host"], pool.connection_kwargs["port"]) for pool in pools] == [
        ("h", 26379),
        ("::1", 7),
    ]
    assert pools[0].connection_kwargs["ssl_cert_reqs"] == "none"
    with pytest.raises(ConfigurationError, match="at least one node"):
        ClusterTopology([])
    assert Address.from_url("rediss://h").tls is not None
