"""Connections that arrive at the wrong worker go to the right one, whatever carries them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.support.js import JSClients
from tests.support.passing_workers import Workers, passing_workers
from tests.support.raw import raw_client
from tests.support.server import HOST
from tests.support.transports import Transport

LOOPS: Final = ("asyncio", "uvloop")


@pytest.fixture(params=LOOPS)
async def workers(request: pytest.FixtureRequest) -> AsyncIterator[Workers]:
    """Two workers."""
    async with passing_workers(loop=request.param, server={"allow_eio3": True}) as found:
        yield found


@pytest.mark.parametrize("v2", [False, True], ids=["v4", "v2"])
async def test_clients_find_their_worker(workers: Workers, js: JSClients, transport: Transport, v2: bool) -> None:
    """Default clients would get "Session ID unknown" at one of their three connections, and never connect."""
    clients = [await js.connect(workers.url, via=transport, v2=v2) for _ in range(8)]
    slots = [await client.emit_with_ack("slot") for client in clients]
    assert await asyncio.gather(*(client.emit_with_ack("echo", "x" * 100) for client in clients)) == ["x" * 100] * 8
    assert [await client.emit_with_ack("slot") for client in clients] == slots
    assert set(slots) <= {0, 1}
