"""``io.cluster`` of a server alone, and with a backbone that can do little or much."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from rtframework import (
    BroadcastOperator,
    ClusterDown,
    ClusterLoss,
    ClusterNode,
    ClusterUnavailable,
    MemoryAdapter,
    Namespace,
    Packet,
    Server,
    Target,
)
from rtframework.protocols import Emitter
from rtframework.testing import TestServer
from rtframework.types import Health
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.until import until


class Alone:
    """A backbone that knows neither the others nor what it has sent."""

    node = "one"
    health = Health(False, "no network")

    def __call__(self, nsp: str, emitter: Emitter) -> MemoryAdapter:
        return MemoryAdapter(nsp, emitter)

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Disconnect."""


class Lister(Alone):
    """A backbone that knows the others."""

    async def nodes(self) -> list[ClusterNode]:
        """Describe all servers."""
        return [
            ClusterNode("?", runtime="unknown"),
            ClusterNode("two", "b", 2, "1", 0.0, 3),
            ClusterNode("one", sockets=99, is_self=True),
            ClusterNode("four"),
        ]


class Broken(MemoryAdapter):
    """An adapter whose cluster is away: this server's clients get what is emitted."""

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver here, and fail."""
        await super().broadcast(packet, target)
        raise ClusterUnavailable(local=True)

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> Any:
        """Fail."""
        raise ClusterUnavailable


@NOT_ON_UVLOOP
async def test_a_server_without_others_is_the_only_node() -> None:
    """A program would need two ways to show its servers, one of them for development."""
    io = Server()
    io.of("/x")
    (node,) = await io.cluster.nodes()
    assert node.started is None, "it does not serve"
    async with TestServer(io) as server:
        await server.connect()
        await server.connect("/x")
        (node,) = await io.cluster.nodes()
        assert (node.name, node.host, node.pid) == (io.cluster.node, socket.gethostname(), os.getpid())
        assert (node.sockets, node.is_self, node.runtime) == (2, True, "rtframework")
        assert node.version
        assert node.started
    assert io.cluster.health == Health(True)
    assert io.cluster.down_for == 0.0


async def test_the_others_are_listed_after_this_one() -> None:
    """This server would be there twice, or what is only counted stand before those that have names."""
    nodes = await Server(adapter=Lister()).cluster.nodes()
    assert [each.name for each in nodes] == ["one", "four", "two", "?"]
    assert nodes[0].sockets == 0, "its own number, which is the newest"
    io = Server(adapter=Alone())
    assert [each.name for each in await io.cluster.nodes()] == ["one"]
    assert io.cluster.health == Health(False, "no network")
    assert repr(io.cluster) == "<Cluster of one>"


async def test_the_reason_is_told() -> None:
    """An operator would be woken up without a word of what is the matter."""
    io = Server(adapter=Alone())
    heard: list[ClusterDown] = []

    @io.cluster.on("down")
    def down(event: ClusterDown) -> None:
        heard.append(event)

    io._host.cluster.state(False)
    io.cluster.off("down", down)
    io._host.cluster.state(True)
    io._host.cluster.state(False)
    assert heard == [ClusterDown("no network")]
    assert io.cluster.down_for >= 0


@NOT_ON_UVLOOP
async def test_emits_that_the_others_did_not_get_are_told() -> None:
    """What a background task emits would be missing on all other servers, and nobody would know what it was."""
    io = Server(adapter=Broken)
    heard: list[ClusterLoss] = []
    io.cluster.on("lost")(heard.append)
    rooms = io.of("/room/{id}")
    async with TestServer(io) as server:
        client = await server.connect()
        await server.connect("/room/1")
        everybody: list[Server | Namespace | BroadcastOperator] = [io, io.to("a"), rooms]
        for number, each in enumerate(everybody):
            with pytest.raises(ClusterUnavailable):
                await each.emit("news", number)
        with pytest.raises(ClusterUnavailable):
            await io.timeout(1).emit_with_ack("question")
        assert await client.receive("news") == 0
    told = [(each.namespace, each.event, each.args, each.target.rooms, each.local) for each in heard]
    assert told == [
        ("/", "news", (0,), None, True),
        ("/", "news", (1,), frozenset("a"), True),
        ("/room/1", "news", (2,), None, True),
        ("/", "question", (), None, False),
    ]


@NOT_ON_UVLOOP
async def test_a_background_emit_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An adapter knows of emits whose emitter was cancelled; the program would not."""
    io = Server(adapter=Broken)
    heard: list[ClusterLoss] = []
    io.cluster.on("lost")(heard.append)
    async with TestServer(io):
        io.of("/").adapter._emitter.lost(Packet(2, "/", ["x"]), Target(), ClusterUnavailable())  # type: ignore[attr-defined]
        await until(lambda: heard)
        assert "an emit of 'x' in / has not reached the other servers" in caplog.text
        caplog.clear()
        uncertain = ClusterUnavailable(uncertain=True)
        io.of("/b").adapter._emitter.lost(Packet(2, "/b", ["y"]), Target(), uncertain)  # type: ignore[attr-defined]
        await until(lambda: len(heard) == 2)
        assert "an emit of 'y' in /b may not have reached the other servers" in caplog.text
    assert [each.event for each in heard] == ["x", "y"]
