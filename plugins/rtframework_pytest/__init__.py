"""Fixtures for pytest: servers and clients without a network, stopped when the test ends.

pytest finds them through an entry point. They work with any runner of ``async`` tests on asyncio, such as
pytest-asyncio and anyio, because servers are stopped within the test's own coroutine. rtframework is not imported until
a test uses a fixture.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from rtframework.protocols import Serializer
    from rtframework.testing import Clock, TestClient, TestServer
    from rtframework.testing.server import Served

__all__ = ["ClientFactory", "ServerFactory", "rtframework_client", "rtframework_server"]


class ServerFactory:
    """The value of the fixture ``rtframework_server``: ``server = await rtframework_server(io)``."""

    def __init__(self) -> None:
        self._servers: list[tuple[Any, TestServer]] = []

    async def __call__(
        self,
        served: Served,
        *,
        clock: Clock | None = None,
        path: str = "/socket.io",
        serializer: Serializer | None = None,
        strict_emits: bool = False,
    ) -> TestServer:
        """Start a :class:`rtframework.testing.TestServer` with these arguments; it is stopped when the test ends."""
        from rtframework.testing import TestServer

        server = TestServer(served, clock=clock, path=path, serializer=serializer, strict_emits=strict_emits)
        await server.start()
        self._servers.append((served, server))
        return server

    async def serving(self, served: Served) -> TestServer:
        """Return the server that was started for ``served``; start it if there is none."""
        for known, server in self._servers:
            if known is served:
                return server
        return await self(served)

    @contextlib.asynccontextmanager
    async def stopping(self) -> AsyncIterator[None]:
        """Stop all servers at the end, the last one first."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                yield
            finally:
                for _, server in self._servers:
                    stack.push_async_callback(server.stop)
                self._servers.clear()


class ClientFactory:
    """The value of the fixture ``rtframework_client``: ``alice = await rtframework_client(io, auth={"id": "a"})``."""

    def __init__(self, servers: ServerFactory) -> None:
        self._servers = servers

    async def __call__(
        self,
        served: Served,
        nsp: str = "/",
        *,
        auth: Mapping[str, Any] | None = None,
        transport: Literal["polling", "websocket"] = "websocket",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> TestClient:
        """Connect a client, see ``TestServer.connect``; start the server if this is its first client in the test."""
        server = await self._servers.serving(served)
        return await server.connect(nsp, auth=auth, transport=transport, headers=headers, query=query, address=address)


@pytest.fixture
def rtframework_server(request: pytest.FixtureRequest) -> ServerFactory:
    """``server = await rtframework_server(io)``: a ``TestServer``; give it a clock with ``clock=Clock()``."""
    factory = ServerFactory()
    item = request.node
    test = item.obj
    if not inspect.iscoroutinefunction(test):
        pytest.fail(f"{request.fixturename} is for tests that are `async def`", pytrace=False)

    # Every runner of async tests runs the test's own coroutine in the test's loop, but not every one its fixtures.
    @functools.wraps(test)
    async def stop_at_the_end(*args: Any, **kwargs: Any) -> None:
        async with factory.stopping():
            await test(*args, **kwargs)

    item.obj = stop_at_the_end
    return factory


@pytest.fixture
def rtframework_client(rtframework_server: ServerFactory) -> ClientFactory:
    """``alice = await rtframework_client(io, auth={"token": "a"})``: a ``TestClient``."""
    return ClientFactory(rtframework_server)
