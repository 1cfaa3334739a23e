"""What a server has of its main namespace."""

from __future__ import annotations

import pytest

from rtframework import Server, Socket
from rtframework.protocols import CallNext


async def test_it_is_the_main_namespace_that_is_meant() -> None:
    """Middleware, events of servers and declarations would be registered where no client ever is."""
    io = Server()
    main = io.of("/")

    @io.use
    async def connecting(socket: Socket, call_next: CallNext) -> None:
        await call_next()

    @io.use_event
    async def around(socket: Socket, event: object, call_next: CallNext) -> object:
        return await call_next()

    io.emits("news", str)

    @io.on_server_side("told")
    async def told(text: str) -> None: ...

    assert (main.middlewares, main.event_middlewares) == ([connecting], [around])
    assert [each.event for each in main.declared] == ["news"]
    assert main._server_side_events() == ("told",)
    assert io.sockets == main.sockets == {}


async def test_what_python_socketio_has_is_explained() -> None:
    """Who comes from python-socketio would read of an argument that nobody knows."""
    io = Server()
    with pytest.raises(TypeError, match="room"):
        await io.server_side_emit("told", room="a")  # type: ignore[arg-type]
