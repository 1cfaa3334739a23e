"""Presence of one server: where its store comes from, and what a cluster's events do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from rtframework import ClusterUnavailable, EventError, MemoryAdapter, Packet, Presence, Target
from rtframework.adapters.presence_memory import MemoryPresence
from rtframework.namespaces.server_presence import ServerPresence
from rtframework.protocols import PresenceTab, StoredMember
from rtframework.types import Health
from tests.support.clients import FakeClient, idle, make_host, turn

RULES = (Presence("r"), Presence("s"))


class Store(MemoryPresence):
    """A store that can be away, and may take a turn of the event loop for everything."""

    def __init__(self) -> None:
        super().__init__(lambda *args: None)
        self.is_away = False
        self.is_slow = False
        self.life: list[str] = []

    def enter(self, tab: PresenceTab, meta: str, grace: float) -> Any:
        super().enter(tab, meta, grace)
        return self._answer()

    def leave(self, tab: PresenceTab) -> Any:
        super().leave(tab)
        return self._answer()

    def update(self, nsp: str, room: str, user: str, meta: str) -> Any:
        super().update(nsp, room, user, meta)
        return self._answer()

    async def members(self, nsp: str, room: str, limit: int, after: str | None) -> Sequence[StoredMember]:  # type: ignore[override]
        await self._answer()
        return super().members(nsp, room, limit, after)

    def _answer(self) -> Any:
        future = asyncio.get_running_loop().create_future()
        if self.is_away:
            future.set_exception(ClusterUnavailable("away"))
            future.exception()
        elif not self.is_slow:
            asyncio.get_running_loop().call_soon(future.set_result, None)
        return future

    async def start(self) -> None:
        self.life.append("start")

    async def close(self) -> None:
        self.life.append("close")
        await super().close()


class Adapter(MemoryAdapter):
    """An adapter whose methods a test may replace."""


class Backbone:
    """Joins servers, and keeps presence, or does not."""

    node = "n"
    health = Health(True)

    def __init__(self) -> None:
        self.store = Store()

    def __call__(self, nsp: str, emitter: Any) -> Any:
        return Adapter(nsp, emitter)

    async def start(self) -> None:
        self.store.life.append("backbone starts")

    async def stop(self) -> None:
        self.store.life.append("backbone stops")


class Keeping(Backbone):
    """A backbone that keeps presence."""

    def presence_store(self) -> Store:
        return self.store


def lists(client: FakeClient) -> list[list[str]]:
    """Return the lists that a client was told."""
    return [[each["user"] for each in line[2]["members"]] for line in client.heard() if line[1:2] == ("presence",)]


async def test_the_store_of_the_backbone_is_started_and_stopped_in_order() -> None:
    """It would use a connection that is not there yet, or not any more."""
    backbone = Keeping()
    host = make_host(adapter=backbone, presence=RULES)
    assert host.presence is not None
    assert host.presence.store is backbone.store
    await host.start()
    await host.close()
    assert backbone.store.life == ["backbone starts", "start", "close", "backbone stops"]


async def test_a_backbone_that_keeps_none(caplog: pytest.LogCaptureFixture) -> None:
    """A program would take the people of one server for all, and nobody would have said so."""
    host = make_host(adapter=Backbone(), presence=RULES)
    assert isinstance(host.presence, ServerPresence)
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "presence tells of the clients of this server alone: Backbone keeps none for all servers"
    ]
    targets: list[Target] = []
    adapter: Any = host.namespaces["/"].adapter
    broadcast = adapter.broadcast

    def spy(packet: Packet, target: Target) -> Any:
        targets.append(target)
        return broadcast(packet, target)

    adapter.broadcast = spy
    ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
    for each in (ada, bob):
        await each.connect()
        await each.socket().join("r")
    assert [target.local for target in targets] == [True, True], "the others would have it without the rest"


async def test_a_join_that_cannot_be_told() -> None:
    """A client would wait for ever, or get nothing more; or not have the list when the cluster is back."""
    backbone = Keeping()
    host = make_host(adapter=backbone, presence=RULES)
    ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
    await ada.connect()
    await bob.connect()
    await bob.socket().join("r")
    assert lists(bob) == [["bob1"]]
    backbone.store.is_away = True
    with pytest.raises(ClusterUnavailable):
        await ada.socket().join("r")
    assert "r" in ada.socket().rooms
    await ada.socket().emit("n", 1)
    assert [line[1] for line in ada.heard()[1:]] == ["n"], "nothing is held back any more"
    assert lists(ada) == []
    with pytest.raises(ClusterUnavailable):
        await ada.socket().update_presence("r", 1)
    await ada.socket().leave("s")
    await bob.socket().leave("r")  # it is told when the store is back
    host.cluster.state(False)
    host.cluster.state(True)
    await turn(10)
    assert lists(ada) == []
    backbone.store.is_away = False
    host.cluster.state(False)
    host.cluster.state(True)
    await turn(10)
    assert lists(ada) == [["ada1"]]
    host.cluster.state(False)
    host.cluster.state(True)
    await turn(10)
    assert lists(ada) == [["ada1"]], "it has one"
    host.cluster.gap("/", 0.0)
    await turn(10)
    assert lists(ada) == [["ada1"], ["ada1"]], "what it was told may be wrong"


async def test_a_connection_handler_that_cannot_be_told() -> None:
    """Nobody could come in while the broker is away."""
    backbone = Keeping()
    host = make_host(adapter=backbone, presence=RULES)
    backbone.store.is_away = True

    @host.namespaces["/"].on("connection")
    async def connection(socket: Any) -> None:
        await socket.join("r")

    @host.namespaces["/"].use
    async def middleware(socket: Any, call_next: Any) -> None:
        await socket.join("s")
        await call_next()

    ada = FakeClient(host, "ada")
    assert await ada.connect() == "connected"
    assert ada.socket().rooms == {"ada1", "r", "s"}


async def test_a_list_comes_before_what_is_said_meanwhile() -> None:
    """A page would show a message before it knows who is there."""
    backbone = Keeping()
    host = make_host(adapter=backbone, presence=RULES)
    ada = FakeClient(host, "ada")
    await ada.connect()
    joining = asyncio.ensure_future(ada.socket().join("r", "s"))
    await asyncio.sleep(0)
    await host.namespaces["/"].to("r").emit("n", 1)
    await joining
    assert [line[1] for line in ada.heard()[1:]] == ["presence", "presence", "n"]
    leaving = ada.socket()
    joining = asyncio.ensure_future(leaving.join("r"))
    await asyncio.sleep(0)
    ada.drop()
    await joining
    await idle(host)
    with pytest.raises(EventError):
        await leaving.update_presence("r", 1)


async def test_who_leaves_while_a_list_is_read_again_gets_none() -> None:
    """A client that has come back by the same connection would get the list of a room that it has not joined."""
    backbone = Keeping()
    host = make_host(adapter=backbone, presence=RULES)
    ada = FakeClient(host, "ada")
    await ada.connect()
    await ada.socket().join("r")
    host.cluster.gap("/", 0.0)
    await turn()
    host.namespaces["/"]._membership.disconnect(ada.socket(), close=False)
    await ada.connect()
    await turn(10)
    assert lists(ada) == [["ada1"]]
