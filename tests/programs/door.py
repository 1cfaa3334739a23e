"""Every way to refuse a client, and to let it in before it was asked."""

from __future__ import annotations

from typing import Any

from socketio.exceptions import ConnectionRefusedError as Refused

from tests.programs import MakeServer, Program


def build(make_server: MakeServer, **options: Any) -> Program:
    """``auth["how"]`` says what the connect handler does."""
    program = Program(make_server(**options))
    sio, seen = program.sio, program.seen

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any = None) -> Any:
        how = (auth or {}).get("how")
        seen.append(("connect", how))
        if how == "false":
            return False
        if how == "bare":
            raise Refused
        if how == "message":
            raise Refused("go away")
        if how == "data":
            raise Refused("go away", {"code": 7})
        if how == "more":
            raise Refused("go away", 1, 2)
        if how == "builtin":
            raise ConnectionRefusedError
        await sio.emit("early", 1, to=sid)
        return how != "none"  # anything but False lets in

    @sio.event
    async def ping_me(sid: str) -> str:
        return "pong"

    @sio.event
    async def disconnect(sid: str) -> None:
        seen.append(("disconnect",))

    return program
