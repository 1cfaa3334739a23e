"""Acknowledgements in both directions."""

from __future__ import annotations

import asyncio
from typing import Any

from socketio.exceptions import TimeoutError as NoAnswer

from tests.programs import MakeServer, Program


def build(make_server: MakeServer, **options: Any) -> Program:
    """The client tells what it wants to be asked."""
    program = Program(make_server(**options))
    sio, seen = program.sio, program.seen

    @sio.event
    async def echo(sid: str, *args: Any) -> tuple[Any, ...]:
        return args

    @sio.event
    def one(sid: str) -> dict[str, Any]:
        return {"bytes": [b"\x00\xff", {"deep": b""}], "text": "zürich 😀", "number": 1.5, "none": None}

    @sio.event
    def a_list(sid: str) -> list[int]:
        return [1, 2]

    @sio.event
    async def nothing(sid: str) -> None: ...

    @sio.event
    async def ask(sid: str, data: Any) -> list[Any]:
        answer = await sio.call("question", data, to=sid, timeout=5)
        return ["tuple", *answer] if isinstance(answer, tuple) else ["one", answer]

    @sio.event
    async def ask_in_vain(sid: str) -> str:
        try:
            await sio.call("silence", sid=sid, timeout=0.05)
        except NoAnswer:
            return "timeout"
        return "an answer"

    @sio.event
    async def ask_back(sid: str) -> None:
        def answered(*args: Any) -> None:
            seen.append(("answered", *args))

        async def answered_slowly(*args: Any) -> None:
            await asyncio.sleep(0)
            seen.append(("slowly", *args))

        await sio.emit("question", "a", to=sid, callback=answered)
        await sio.emit("question", "b", room=sid, callback=answered_slowly)

    @sio.event
    async def several(sid: str) -> None:
        await sio.emit("args", (1, [2], {"three": b"3"}), to=sid)
        await sio.emit("args", [1, 2], to=sid)
        await sio.emit("args", to=sid)
        await sio.send("text", to=sid)

    return program
