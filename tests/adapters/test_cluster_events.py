"""What a program is told of its cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import ClusterDown, ClusterGap, ClusterLoss, ClusterUnavailable, ClusterUp, ConfigurationError
from rtframework.adapters.cluster_events import ClusterEvents
from rtframework.types import Packet, Target
from tests.support.until import until


def test_each_change_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A log would be filled by each namespace's adapter, or an outage be told by none."""
    events = ClusterEvents()
    heard: list[Any] = []
    events.hear(lambda *event: heard.append(event))
    with caplog.at_level("INFO", "rtframework.cluster"):
        for up in (True, True, False, False, True, True, False):
            events.state(up)
    assert heard == [("down",), ("up",), ("down",)]
    assert len(caplog.records) == 3
    events.reset()
    events.state(False)
    assert heard[-1] == ("down",)
    assert len(heard) == 4


async def test_a_gap_is_told_to_all(caplog: pytest.LogCaptureFixture) -> None:
    """One listener that fails would keep it from the others that packets are missing."""
    events = ClusterEvents()
    heard: list[Any] = []

    def fails(*event: Any) -> None:
        raise RuntimeError("a mistake of the program")

    events.hear(fails)
    events.hear(lambda *event: heard.append(event))
    events.gap("/x", 12.5)
    assert heard == [("gap", "/x", 12.5)]
    assert events.gaps == 1
    await asyncio.sleep(0)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "may be missing in /x: clients" in caplog.text


async def test_a_program_hears_of_each_event_with_what_it_is() -> None:
    """A program could not tell its operator what has happened, nor send again what the others did not get."""
    events = ClusterEvents(lambda: "Connection refused")
    heard: list[Any] = []

    async def hears(event: Any) -> None:
        await asyncio.sleep(0)
        heard.append(event)

    for name in ("up", "down", "gap", "lost"):
        events.on(name, hears)
    error = ClusterUnavailable(local=True)
    events.state(False)
    events.state(True)
    events.loss("/x", Packet(2, "/x", ["news", 1]), Target(frozenset("r")), error)
    await until(lambda: len(heard) == 3)
    down, up, lost = heard
    assert down == ClusterDown("Connection refused")
    assert isinstance(up, ClusterUp)
    assert up.away >= 0
    assert lost == ClusterLoss("/x", "news", (1,), Target(frozenset("r")), True, error)
    assert events.lost == 1


async def test_a_gap_of_many_namespaces_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A server with 20,000 namespaces would stand still for seconds, and fill its log."""
    events = ClusterEvents()
    heard: list[Any] = []
    events.hear(lambda *args: heard.append(args))
    for number in range(1000):
        events.gap(f"/{number}", 12.5)
    assert heard == [("gap", f"/{number}", 12.5) for number in range(1000)]
    await asyncio.sleep(0)
    (line,) = [each for each in caplog.records if "may be missing" in each.getMessage()]
    assert "may be missing in /0 and 999 more namespaces: clients" in line.getMessage()
    assert (line.__dict__["nsp"], line.__dict__["since"]) == ("/0", 12.5)
    assert events.gaps == 1


async def test_a_gap_of_several_namespaces_is_told_once() -> None:
    """A program with a thousand namespaces would hear of one gap a thousand times."""
    events = ClusterEvents()
    heard: list[ClusterGap] = []
    events.on("gap", heard.append)
    events.gap("/", 12.5)
    events.gap("/x", 12.0)
    await until(lambda: heard)
    events.gap("/", 0.0)
    await until(lambda: len(heard) == 2)
    assert heard == [ClusterGap(("/", "/x"), 12.0), ClusterGap(("/",), 0.0)]
    assert events.gaps == 2


async def test_a_listener_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a listener would stop the reader of the cluster, or go unseen."""
    events = ClusterEvents()
    heard: list[Any] = []

    def fails(event: ClusterDown) -> None:
        raise RuntimeError("at once")

    async def fails_later(event: ClusterDown) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("later")

    for function in (fails, fails_later, heard.append):
        events.on("down", function)
    events.state(False)
    await events.close(5)
    assert len(heard) == 1
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["at once", "later"]


async def test_a_listener_that_hangs_does_not_hold_up_the_end() -> None:
    """A server could not be stopped."""
    events = ClusterEvents()
    ended: list[str] = []

    async def hangs(event: ClusterDown) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    events.on("down", hangs)
    events.state(False)
    await asyncio.sleep(0)
    await events.close(0.01)
    assert ended == ["cancelled"]


def test_mistakes_in_a_registration() -> None:
    """A listener of an event that does not exist would never be called, and nobody would know why."""
    events = ClusterEvents()
    with pytest.raises(ConfigurationError, match="'lost', not 'gaps'"):
        events.on("gaps", print)
    with pytest.raises(ConfigurationError, match="must take one argument"):
        events.on("up", lambda: None)
    with pytest.raises(ConfigurationError, match="not 'x'"):
        events.off("x", None)


def test_a_listener_is_removed() -> None:
    """It would be called for ever."""
    events = ClusterEvents()
    heard: list[Any] = []
    hears, too = heard.append, heard.append
    events.on("down", hears)
    events.off("down", too)
    events.on("down", lambda event: heard.append("lambda"))
    events.off("down", None)
    events.state(False)
    assert heard == []
