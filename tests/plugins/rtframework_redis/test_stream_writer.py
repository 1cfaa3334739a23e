"""What a server sends besides entries: subscriptions, on each connection anew."""

from __future__ import annotations

from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.until import until

Found = tuple[Cluster, RedisServer]


async def test_subscriptions_outlive_a_connection(cluster: Found) -> None:
    """A server would hear no question of the others any more, and each would wait for it."""
    servers, _ = cluster
    one, _, streams = await servers.server()
    _, running, other = await servers.server()
    await servers.clients.connect(running.url)
    for each in (streams, other):
        link = each.writer.keeper.link
        assert link is not None
        link.fail("cut")
    await until(lambda: all(it.health.up and it.writer.keeper.health.connects == 2 for it in (streams, other)))
    assert len(await one.timeout(2).fetch_sockets()) == 1


async def test_a_dynamic_namespace_is_heard_at_once(cluster: Found) -> None:
    """The first events to a new namespace would reach nobody."""
    servers, _ = cluster
    one, _, streams = await servers.server()
    two, running, _ = await servers.server()
    two.of("/new")
    client = await servers.clients.connect(running.url, nsp="/new")
    await one.of("/new").emit("news")
    await client.wait_for("news")
    assert streams.writer.keeper.health.connects == 1
