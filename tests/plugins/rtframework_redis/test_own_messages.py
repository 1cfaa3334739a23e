"""Messages of this server, when they are read back."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import EventError
from rtframework.types import Packet, Target
from rtframework_redis.own_messages import OwnEvent, OwnOrder
from rtframework_redis.streams_adapter import StreamsAdapter
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer


async def test_an_order_is_done_when_it_is_read() -> None:
    """Sockets would be in rooms before the events that were emitted earlier have reached them."""
    done: list[str] = []
    loop = asyncio.get_running_loop()
    waiting = loop.create_future()

    def act() -> asyncio.Future[None]:
        done.append("acted")
        return waiting

    order = OwnOrder(act)
    assert done == []
    order.read("1-0")
    assert done == ["acted"]
    outcome = asyncio.ensure_future(order.outcome())
    await asyncio.sleep(0)
    assert not outcome.done()
    waiting.set_result(None)
    await outcome


async def test_the_program_hears_why_an_order_was_not_done() -> None:
    """A reader would stop at it, and the program would take it for done."""

    def act() -> None:
        raise EventError("too many rooms")

    order = OwnOrder(act)
    order.read("1-0")
    with pytest.raises(EventError):
        await order.outcome()


async def test_an_event_carries_the_id_of_its_entry(cluster: tuple[Cluster, RedisServer]) -> None:
    """A client that comes back could not say what it has."""
    servers, _ = cluster
    io, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    await client.barrier()
    adapter = io.of("/").adapter
    assert isinstance(adapter, StreamsAdapter)
    OwnEvent(adapter, Packet(2, "/", ["text"]), '["text"]', Target()).read("7-0")
    OwnEvent(adapter, Packet(2, "/", ["bytes", b"x"]), None, Target()).read("8-0")
    await client.wait_for("bytes")
    assert [(each.name, each.offset) for each in client.events[-2:]] == [("text", "7-0"), ("bytes", "8-0")]
