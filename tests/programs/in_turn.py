"""``async_handlers=False``: the events of a client one after another."""

from __future__ import annotations

from typing import Any

from tests.programs import MakeServer, Program


def build(make_server: MakeServer, **options: Any) -> Program:
    """Each event waits a little, and less than the one before it."""
    program = Program(make_server(async_handlers=False, **options))
    sio, seen = program.sio, program.seen

    @sio.event
    async def step(sid: str, number: int) -> int:
        seen.append(("begin", number))
        await sio.sleep(0.02 / (number + 1))
        seen.append(("end", number))
        return number

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        seen.append(("disconnect",))

    return program
