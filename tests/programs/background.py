"""Work that goes on beside the handlers."""

from __future__ import annotations

from typing import Any

from tests.programs import MakeServer, Program


def build(make_server: MakeServer, **options: Any) -> Program:
    """A ticker that a client starts, and a handler that waits for another event."""
    program = Program(make_server(**options))
    sio, seen = program.sio, program.seen
    arrived = sio.eio.create_event()

    async def ticker(sid: str, *, count: int) -> str:
        for number in range(count):
            await sio.emit("tick", number, to=sid)
            await sio.sleep(0.001)
        return "done"

    @sio.event
    async def start(sid: str, count: int) -> str:
        task = sio.start_background_task(ticker, sid, count=count)
        result: str = await task
        return result

    @sio.event
    async def wait(sid: str) -> str:
        seen.append(("waiting",))
        await arrived.wait()
        return "arrived"

    @sio.event
    async def arrive(sid: str) -> None:
        arrived.set()

    return program
