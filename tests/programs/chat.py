"""The usual one: who is who in the session, a room, messages to the others, a good-bye."""

from __future__ import annotations

from typing import Any

from socketio.exceptions import ConnectionRefusedError

from tests.programs import MakeServer, Program


def build(make_server: MakeServer, **options: Any) -> Program:
    """Decorated handlers in the main namespace."""
    program = Program(make_server(**options))
    sio, seen = program.sio, program.seen

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        if not auth or "name" not in auth:
            raise ConnectionRefusedError("who are you?", {"code": 401})
        seen.append(("connect", environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["HTTP_X_LANGUAGE"]))
        assert environ["aiohttp.request"].path == environ["PATH_INFO"]
        assert "EIO=4" in environ["QUERY_STRING"]
        await sio.save_session(sid, {"name": auth["name"]})
        await sio.enter_room(sid, "lobby")
        await sio.emit("joined", auth["name"], room="lobby", skip_sid=sid)
        await sio.emit("welcome", {"you": sid}, to=sid)

    @sio.event
    async def message(sid: str, data: dict[str, Any]) -> str:
        async with sio.session(sid) as session:
            session["count"] = session.get("count", 0) + 1
        await sio.emit("message", (session["name"], data["text"]), to="lobby", skip_sid=sid)
        return "ok"

    @sio.event
    async def whoami(sid: str) -> tuple[str, int, str, bool, list[str]]:
        session = await sio.get_session(sid)
        environ = sio.get_environ(sid)
        return (
            session["name"],
            session.get("count", 0),
            sio.transport(sid),
            environ["HTTP_X_LANGUAGE"] == "en",
            sorted(room for room in sio.rooms(sid) if room != sid),
        )

    @sio.on("kick")
    async def on_kick(sid: str, other: str) -> None:
        await sio.disconnect(other)
        seen.append(("kicked", other))

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        session = await sio.get_session(sid)
        seen.append(
            ("disconnect", session["name"], reason, "lobby" in sio.rooms(sid), sio.get_environ(sid) is not None)
        )
        await sio.emit("left", session["name"], room="lobby", skip_sid=sid)

    return program
