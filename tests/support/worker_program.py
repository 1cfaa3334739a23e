"""A worker as a process: it joins the group of ``RTFRAMEWORK_WORKERS`` and serves at ``PORT``, as a supervisor's would.

``RECOVERY=1``: with connection state recovery. A client says in ``auth.rooms`` what it joins.
"""

from __future__ import annotations

import os
from typing import Any

from aiohttp import web

from rtframework import AckTimeout, Recovery, Server, Socket, Workers


def make_server(**options: Any) -> Server:
    """Make the server."""
    io = Server(**options)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if not socket.recovered:
            socket.data["name"] = socket.handshake.auth.get("name")
            await socket.join(*socket.handshake.auth.get("rooms", ()))

    @io.on("emit")
    async def emit(socket: Socket, options: dict[str, Any], args: list[Any]) -> str:
        """Emit, as the options select."""
        reach = io.except_(*options.get("except", ()))
        if options.get("to"):
            reach = reach.to(*options["to"])
        if options.get("local"):
            reach = reach.local
        if options.get("volatile"):
            reach = reach.volatile
        await reach.emit(*args)
        return "sent"

    @io.on("flood")
    async def flood(socket: Socket, room: str, first: int, count: int) -> str:
        """Emit numbers to a room."""
        for number in range(first, first + count):
            await io.to(room).emit("n", number)
        return "sent"

    @io.on("ask")
    async def ask(socket: Socket, room: str, question: str) -> list[Any]:
        """Ask a room, and say who has answered what."""
        try:
            return sorted((await io.to(room).timeout(5).emit_with_ack("question", question)).values())
        except AckTimeout as error:
            return ["late", sorted(error.responses.values())]

    @io.on("who")
    async def who(socket: Socket) -> list[str]:
        """Say who is there."""
        return sorted(each.data["name"] for each in await io.fetch_sockets())

    @io.on("gather")
    async def gather(socket: Socket, room: str, into: str) -> str:
        """Let all in a room join another, and greet them there at once."""
        await io.in_(room).sockets_join(into)
        await io.to(into).emit("welcome", into)
        return "joined"

    @io.on("kick")
    async def kick(socket: Socket, room: str) -> str:
        """Disconnect a room."""
        await io.in_(room).disconnect_sockets()
        return "gone"

    @io.on("ping others")
    async def ping_others(socket: Socket) -> int:
        """Count the other workers that answer."""
        return len(await io.server_side_emit_with_ack("here?"))

    @io.on_server_side("here?")
    async def here() -> bool:
        """Answer another worker."""
        return True

    return io


if __name__ == "__main__":
    app = web.Application()
    recovery = Recovery() if os.environ.get("RECOVERY") else None
    make_server(adapter=Workers(), connection_state_recovery=recovery).attach(app)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), shutdown_timeout=0.5)
