"""Who gets what."""

from __future__ import annotations

from typing import Any

from tests.programs import MakeServer, Program


def build(make_server: MakeServer, **options: Any) -> Program:
    """Clients enter rooms and say where something goes."""
    program = Program(make_server(**options))
    sio, seen = program.sio, program.seen

    @sio.event
    async def enter(sid: str, *rooms: Any) -> None:
        for room in rooms:
            await sio.enter_room(sid, room)

    @sio.event
    async def leave(sid: str, room: Any) -> None:
        await sio.leave_room(sid, room)

    @sio.event
    async def close(sid: str, room: Any) -> None:
        await sio.close_room(room)

    @sio.event
    async def tell(sid: str, options: dict[str, Any], *what: Any) -> None:
        await sio.emit("told", what, **options)

    @sio.event
    def who(sid: str, room: Any) -> list[str]:
        return sorted(found for found, _ in sio.manager.get_participants("/", room))

    @sio.event
    def mine(sid: str) -> list[Any]:
        return [room for room in sio.rooms(sid) if room != sid]

    @sio.event
    def looks(sid: str, room: Any) -> list[bool]:
        spaces = sio.manager.rooms
        return ["/" in spaces, room in spaces["/"], sid in spaces["/"].get(room, {}), sid in spaces["/"][None]]

    @sio.event
    async def trespass(sid: str, other: str) -> list[str]:
        raised = []
        for attempt in (sio.enter_room(sid, other), sio.close_room(other)):
            try:
                await attempt
            except ValueError:
                raised.append("ValueError")
        seen.append(("trespass", *raised))
        return raised

    return program
