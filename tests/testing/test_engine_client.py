"""An Engine.IO client: one connection, as the JavaScript client keeps it."""

from __future__ import annotations

import pytest

from rtframework import (
    ConnectionRefused,
    Server,
)
from rtframework.testing import TestServer
from tests.support.in_process import NOT_ON_UVLOOP, chat

pytestmark = NOT_ON_UVLOOP


async def test_upgrading() -> None:
    """Most clients in the world begin by polling and move to a websocket."""
    io = chat()
    io.of("/admin")
    async with TestServer(io) as server:
        alice = await server.connect(transport="polling")
        admin = await alice.of("/admin")
        await alice.upgrade()
        assert (alice.transport, admin.transport, io.sockets[alice.id].transport) == ("websocket",) * 3
        assert await alice.emit_with_ack("add", 1, 2) == 3
        await io.of("/admin").emit("news", 1)
        assert await admin.receive("news") == 1
        with pytest.raises(RuntimeError, match="only a connection by polling"):
            await alice.upgrade()
    async with TestServer(Server(allow_upgrades=False)) as server:
        alice = await server.connect(transport="polling")
        with pytest.raises(ConnectionRefused, match="HTTP 400"):
            await alice.upgrade()
        assert alice.connected
