"""Development mode, switched on in a program of one's own; `tests/cli/commands/test_run.py` has the command."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from rtframework import ConfigurationError, Depends, Server, Socket
from rtframework.development import develop, mode
from rtframework.development.emits import EmitWatch
from rtframework.engine.watchdog import Watchdog
from rtframework.handlers import dependency_plan
from rtframework.namespaces.dispatch import EventDispatch
from rtframework.server import on_start
from rtframework.testing import TestServer


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the process as it was."""
    monkeypatch.setattr(Watchdog, "threshold", Watchdog.threshold)
    monkeypatch.setattr(Watchdog, "period", Watchdog.period)
    monkeypatch.setattr(dependency_plan, "_call_provider", dependency_plan._call_provider)
    monkeypatch.setattr(mode, "show_unawaited", lambda: None)
    token = on_start.set(None)
    yield
    on_start.reset(token)


async def slow() -> int:
    """A provider that waits."""
    await asyncio.sleep(0.02)
    return 1


async def test_a_server_that_starts_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever calls web.run_app would have to do without development mode."""
    develop(slow_provider=0.01)
    io = Server()

    @io.on("save")
    async def save(socket: Socket, db: int = Depends(slow)) -> int:
        return db

    for _ in range(2):
        async with TestServer(io) as server:
            client = await server.connect()
            await client.emit_with_ack("save")
            await client.emit("svae")
            await client.emit_with_ack("save")
    assert len(io._host.observers) == 1
    assert isinstance(io._host.auditor, EmitWatch)
    slow_ones = [each for each in caplog.messages if each.startswith("the provider tests.development.test_mode.slow")]
    assert len([each for each in slow_ones if "more since" not in each]) == 1  # and the number of the others
    assert sum("did you mean 'save'?" in each for each in caplog.messages) == 2


async def test_strict_mode_stays_strict() -> None:
    """What a test is to find would be a warning only."""
    develop()
    io = Server(strict_emits=True)
    async with TestServer(io):
        assert not isinstance(io._host.auditor, EmitWatch)


@pytest.mark.parametrize("option", ["slow_callback", "slow_provider"])
def test_milliseconds(option: str) -> None:
    """Nothing would ever be slow."""
    with pytest.raises(ConfigurationError, match=f"{option} is a number of seconds"):
        develop(**{option: "100"})  # type: ignore[arg-type]


async def test_switched_off_it_costs_nothing() -> None:
    """Each event of each server would pay for what only programmers use."""
    io = Server()
    async with TestServer(io):
        namespace = io.namespaces["/"]
        assert (namespace._event_chain, namespace._auditor) == (None, None)
        assert dependency_plan._call_provider is dependency_plan._provide
        assert "watchdog" not in str(EventDispatch._receive.__code__.co_names)
    assert logging.getLogger("rtframework").handlers == []
