"""What the Admin UI's namespaces of several servers tell each other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from rtframework import AckResponses, AckTimeout, ClusterUnavailable
from rtframework.admin import peers as module
from rtframework.admin.peers import EVENT, Peers
from rtframework.concurrency import TaskSet


class Wire:
    """A namespace whose messages are kept."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.answers: AckResponses | Exception = AckResponses({})
        self.error: Exception | None = None
        self.tasks = TaskSet()

    async def server_side_emit(self, event: str, *args: Any) -> None:
        """Keep a message."""
        assert event == EVENT
        if self.error is not None:
            raise self.error
        self.sent += args

    async def server_side_emit_with_ack(self, event: str, *args: Any, timeout: float) -> AckResponses:
        """Keep a question."""
        self.sent += args
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.spawn(work)


def test_who_says_nothing_more_watches_no_longer() -> None:
    """A server would send figures for ever to one that was killed while a page was open."""
    peers = Peers(Wire(), lambda: "one")
    assert not peers
    assert peers.watched_by("two", False)
    assert not peers.watched_by("two", True), "it did before"
    assert peers.want_everything
    for _ in range(5):
        peers.tick()
    assert peers
    peers.watched_by("two", False)
    assert not peers.want_everything
    for _ in range(6):
        peers.tick()
    assert not peers
    peers.watched_by("two", True)
    peers.released_by("two")
    peers.released_by("two")
    assert not peers


async def test_events_are_sent_together(caplog: pytest.LogCaptureFixture) -> None:
    """Each event of a client would be a message to all servers."""
    wire = Wire()
    peers = Peers(wire, lambda: "one")
    for number in range(502):
        peers.tell("room_joined", [number])
    peers.flush()
    peers.flush()
    await wire.tasks.wait(5)
    ((message),) = wire.sent
    assert message["show"][0] == ["room_joined", 0]
    assert len(message["show"]) == 500
    assert "are not shown 2 events" in caplog.text


async def test_events_are_sent_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of another server would see an event only with the next hundred."""
    monkeypatch.setattr(module, "_TOGETHER", 0.0)
    wire = Wire()
    peers = Peers(wire, lambda: "one")
    peers.tell("x", [])
    async with asyncio.timeout(5):
        while not wire.sent:  # noqa: ASYNC110 - a timer
            await asyncio.sleep(0)
    assert wire.sent == [{"show": [["x"]]}]


async def test_a_page_is_announced_again_and_again() -> None:
    """The others would stop after a while, or one that has come later never begin."""
    wire = Wire()
    peers = Peers(wire, lambda: "one")
    for _ in range(4):
        peers.watch(True)
    peers.release()
    await wire.tasks.wait(5)
    assert wire.sent == [{"watch": "one", "everything": True}] * 2 + [{"release": "one"}]


async def test_without_a_cluster_nothing_is_said() -> None:
    """The log would say that an event for servers reaches nobody."""
    wire = Wire()
    peers = Peers(wire, lambda: None)
    for _ in range(4):
        peers.watch(True)
    peers.release()
    assert not peers.exist
    assert not wire.tasks
    assert wire.sent == []


async def test_what_the_others_answer() -> None:
    """A server of Node, or one that is away, would keep a page empty."""
    wire = Wire()
    peers = Peers(wire, lambda: "one")
    wire.answers = AckResponses({"two": {"stats": 1}, "three": None})
    assert await peers.describe(True) == ([{"stats": 1}], True)
    assert wire.sent == [{"watch": "one", "everything": True, "describe": True}]
    wire.answers = AckTimeout(responses={"two": {"stats": 2}}, missing=("?",))
    assert await peers.describe(True) == ([{"stats": 2}], False)
    wire.answers = ClusterUnavailable()
    assert await peers.describe(True) == ([], False)


async def test_a_cluster_that_is_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """The log would be full of tracebacks while Redis is away and somebody looks why."""
    wire = Wire()
    wire.error = ClusterUnavailable()
    peers = Peers(wire, lambda: "one")
    peers.tell("x", [])
    peers.flush()
    await wire.tasks.wait(5)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []
