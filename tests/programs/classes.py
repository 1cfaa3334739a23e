"""Class-based namespaces, with methods that are coroutines and methods that are not, and an own way to dispatch."""

from __future__ import annotations

from typing import Any

import socketio

from tests.programs import MakeServer, Program


class Board(socketio.AsyncNamespace):  # type: ignore[misc]  # socketio is not typed
    """Handlers of the old form: no auth, no reason."""

    def __init__(self, namespace: str, seen: list[tuple[Any, ...]]) -> None:
        super().__init__(namespace)
        self.seen = seen

    def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        """Not a coroutine."""
        self.seen.append(("connect", self.namespace, environ["REQUEST_METHOD"]))

    async def on_draw(self, sid: str, x: int, y: int) -> dict[str, int]:
        """Several arguments, one answer."""
        async with self.session(sid) as session:
            session["drawn"] = session.get("drawn", 0) + 1
        await self.emit("drawn", (x, y), skip_sid=sid)
        return {"x": x, "y": y}

    async def on_join(self, sid: str, room: str) -> list[str]:
        """Rooms by the methods of the class."""
        await self.enter_room(sid, room)
        await self.send("hello", room=room)
        return [each for each in self.rooms(sid) if each != sid]

    async def on_leave(self, sid: str, room: str) -> list[str]:
        """And out again."""
        await self.leave_room(sid, room)
        return [each for each in self.rooms(sid) if each != sid]

    async def on_ask_me(self, sid: str) -> Any:
        """A question to the one who asked."""
        return await self.call("question", "why?", to=sid, timeout=5)

    async def on_go(self, sid: str) -> None:
        """Send it away."""
        await self.disconnect(sid)

    def on_disconnect(self, sid: str) -> None:
        """Not a coroutine, and without a reason."""
        self.seen.append(("disconnect", self.namespace))


class Switchboard(socketio.AsyncNamespace):  # type: ignore[misc]
    """Dispatches by itself."""

    def __init__(self, namespace: str, seen: list[tuple[Any, ...]]) -> None:
        super().__init__(namespace)
        self.seen = seen

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """Every event of the namespace."""
        if event in ("connect", "disconnect"):
            self.seen.append((event, self.namespace, len(args)))
            return None
        if event.startswith("shout:"):
            return event.removeprefix("shout:").upper()
        return await super().trigger_event(event, *args)

    def on_plain(self, sid: str) -> str:
        """Found by the class's own dispatch."""
        return "plain"


def build(make_server: MakeServer, **options: Any) -> Program:
    """Two namespaces, and a function beside the class, which goes first."""
    program = Program(make_server(**options))
    sio = program.sio
    sio.register_namespace(Board("/board", program.seen))
    sio.register_namespace(Switchboard("/switch", program.seen))

    @sio.on("override", namespace="/board")
    def override(sid: str) -> str:
        return "function"

    return program
