"""What is left of a TCP connection that has ended: nothing may wait for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from rtframework.engine.closed_transport import release
from rtframework.gateways.sockjs import SockJSGateway
from rtframework.types import DisconnectReason
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.server import HOST
from tests.support.visitors import VISITS, house


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Free nothing but what nobody refers to."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_closed_connection_is_freed_at_once(uncollected: None) -> None:
    """Each connection that has ended would stay in memory until the next collection of everything."""
    closed: list[weakref.ref[Any]] = []
    ended = asyncio.Event()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: asyncio.BaseTransport | None = transport
            closed.append(weakref.ref(transport))

        def connection_lost(self, exc: Exception | None) -> None:
            release(self.transport)
            self.transport = None
            ended.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, HOST, 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.close()
    await asyncio.wait_for(ended.wait(), 15)
    await eventually(lambda: closed[0]() is None)
    server.close()


def test_other_transports_are_left_alone() -> None:
    """A server on uvloop would fail whenever a client leaves."""
    release(asyncio.BaseTransport())
    release(None)


OURS = (
    "rtframework.engine",
    "rtframework.gateways",
    "rtframework.namespaces",
    "aiohttp.web_protocol",
    "aiohttp.web_re",
)


def living(port: int) -> Counter[str]:
    """Count the objects that a visit may have: those of our classes, and the transports of a port's server."""
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        if kind.__name__ == "_SelectorSocketTransport" and each._extra["sockname"] == (HOST, port):
            found["transport"] += 1
        elif str(kind.__module__).startswith(OURS):
            found[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return found


@pytest.mark.parametrize("name", VISITS)
async def test_visits_leave_nothing_to_collect(serve: Serve, name: str, uncollected: None) -> None:
    """A server whose collections are put off, as ``tune_gc`` does, would grow with every client that has left."""
    io, app = house(session_timeout=60)
    server = await serve(app)
    engine: Any = io._server.eio

    owners = {getattr(route.handler, "__self__", None) for route in app.router.routes()}
    sessions: list[dict[str, Any]] = [each.sessions for each in owners if isinstance(each, SockJSGateway)]

    def nobody_is_there() -> bool:
        """End those who are only missed after some time, as if it had passed."""
        for session in [session for each in sessions for session in each.values()]:
            session._stop_timer()
            session._expire()
        for connection in list(engine.connections.values()):
            if connection.transport == "polling":
                connection.abort(DisconnectReason.PING_TIMEOUT)
        return not (io.sockets or engine.connections or server.connections)

    async def visit(numbers: range) -> None:
        await asyncio.gather(*(VISITS[name](server.port, number) for number in numbers))
        await eventually(nobody_is_there)

    await visit(range(80))  # caches fill
    gc.collect()
    before = living(server.port)
    await visit(range(80, 160))
    await eventually(lambda: not living(server.port) - before)
