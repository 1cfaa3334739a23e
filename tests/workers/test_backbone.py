"""``Workers()``: finding the group, and two servers in one process."""

from __future__ import annotations

import pytest

from rtframework import ClusterUnavailable, ConfigurationError, Server, Workers
from rtframework.testing import TestServer
from rtframework.workers import backbone
from rtframework.workers.backbone import DIRECTORY
from rtframework.workers.group import join
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.workers import running_broker


async def test_a_process_of_no_group_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look as if it were one of several."""
    monkeypatch.delenv(DIRECTORY, raising=False)
    workers = Workers()
    assert not workers.health.up
    with pytest.raises(ClusterUnavailable, match="--workers"):
        await workers.start()
    await workers.stop()
    assert await workers.nodes() == []


def test_the_bounds_of_the_history_are_checked() -> None:
    """A mistake would show when the broker has forgotten all."""
    with pytest.raises(ConfigurationError, match="history_rooms"):
        Workers(history_rooms=0)
    with pytest.raises(ConfigurationError, match="history_bytes"):
        Workers(history_bytes=-1)


async def test_the_group_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is started as a worker would be alone."""
    async with running_broker() as broker:
        monkeypatch.setenv(DIRECTORY, str(broker.directory))
        workers = Workers()
        await workers.start()
        assert workers.health.up
        (node,) = await workers.nodes()
        assert (node.name, node.is_self) == (workers.node, True)
        await workers.stop()
        assert not workers.health.up


@NOT_ON_UVLOOP
async def test_servers_of_one_process_do_not_meet() -> None:
    """What is emitted on one path would reach the clients of another."""
    async with running_broker() as broker, await join(broker.directory) as group:
        backbone.use(group)
        try:
            one, two = Server(adapter=Workers()), Server(adapter=Workers())
            async with TestServer(one, path="/one") as first, TestServer(two, path="/two") as second:
                a, b = await first.connect(), await second.connect()
                await one.emit("hello")
                assert await a.receive("hello") is None
                await b.receive_nothing()
        finally:
            backbone.use(None)


def test_a_time_is_one() -> None:
    """A mistake would show when the broker is away for the first time."""
    with pytest.raises(ConfigurationError):
        Workers(publish_timeout=0)
