"""The four ways of docs/architecture.md, compared with the calls that are made."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pytest
import uvloop

import rtframework
from rtframework import ConnectionRefused, Recovery, Server, Socket
from tests.engine import eventually, raw_client
from tests.support.raw import RawWebSocket
from tests.support.server import running_server

SOURCE: Final = Path(rtframework.__file__).parent
PAGE: Final = SOURCE.parent / "docs" / "architecture.md"
LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TITLES: Final = ("An event comes in", "An emit goes out", "A client connects", "A client leaves")

Step = tuple[str, frozenset[str]]
"""A file, and the functions of which one is called."""
Call = tuple[str, str, str]
"""A file, a function, and the file of its caller."""


def read_way(title: str) -> list[Step]:
    """Read the table under a heading of the page."""
    (section,) = re.findall(
        rf"^### {title}\n(.*?)(?=^###? )", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    steps = []
    for file, functions in re.findall(r"^\| `(\S+\.py)` \| (.*?) \|", section, re.MULTILINE):
        names = re.findall(r"`(?:\w+\.)?(\w+)`", functions)
        assert names, f"no function in the row of {file}"
        steps.append((file, frozenset(names)))
    return steps


@contextmanager
def tracing(calls: list[Call]) -> Iterator[None]:
    """Note the calls of functions of the framework."""
    files: dict[CodeType, str | None] = {}

    def file_of(code: CodeType) -> str | None:
        if code not in files:
            path = Path(code.co_filename)
            files[code] = path.relative_to(SOURCE).as_posix() if path.is_relative_to(SOURCE) else None
        return files[code]

    def note(frame: FrameType, event: str, argument: Any) -> None:
        file = file_of(frame.f_code) if event == "call" else None
        if file is not None:
            caller = frame.f_back
            calls.append((file, frame.f_code.co_name, (caller and file_of(caller.f_code)) or ""))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


async def refuse_nobody(socket: Socket, call_next: Callable[[], Awaitable[Any]]) -> Any:
    """Middleware that lets everybody pass."""
    if socket.handshake.auth.get("token") != "right":
        raise ConnectionRefused
    return await call_next()


@asynccontextmanager
async def serving(*, recovery: bool) -> AsyncIterator[tuple[Server, RawWebSocket]]:
    """Serve a parent namespace with middleware and handlers, and open a websocket."""
    io = Server(connection_state_recovery=Recovery() if recovery else None)
    rooms = io.of("/room/{id}")
    rooms.use(refuse_nobody)

    @rooms.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("all")

    @rooms.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None: ...

    @io.on("echo")
    async def echo(socket: Socket, text: str) -> str:
        return text

    async with running_server(io) as server, raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        yield io, websocket


async def join(websocket: RawWebSocket, nsp: str = "") -> None:
    await websocket.send(f'40{nsp},{{"token":"right"}}' if nsp else "40")
    assert str(await websocket.receive()).startswith(f'40{nsp},{{"sid":' if nsp else '40{"sid":')


async def trace_an_event(io: Server, websocket: RawWebSocket, calls: list[Call]) -> None:
    await join(websocket)
    with tracing(calls):
        await websocket.send('421["echo","hi"]')
        assert await websocket.receive() == '431["hi"]'


async def trace_an_emit(io: Server, websocket: RawWebSocket, calls: list[Call]) -> None:
    await join(websocket)
    with tracing(calls):
        await io.emit("news", 1)
        assert await websocket.receive() == '42["news",1]'


async def trace_a_connect(io: Server, websocket: RawWebSocket, calls: list[Call]) -> None:
    with tracing(calls):
        await join(websocket, "/room/1")


async def trace_a_disconnect(io: Server, websocket: RawWebSocket, calls: list[Call]) -> None:
    await join(websocket, "/room/1")
    (namespace,) = (each for name, each in io.namespaces.items() if name == "/room/1")
    with tracing(calls):
        await websocket.close()
        await eventually(lambda: not namespace.sockets and not io._server.eio.tasks)


TRACES: Final = dict(zip(TITLES, (trace_an_event, trace_an_emit, trace_a_connect, trace_a_disconnect), strict=True))


def trace(title: str, loop: str) -> list[Call]:
    """Note the calls of one way, in a loop of this kind; with recovery for those in and out."""
    calls: list[Call] = []

    async def run() -> None:
        async with serving(recovery=title.startswith("A client")) as (io, websocket):
            await TRACES[title](io, websocket, calls)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())
    return calls


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("title", TITLES)
def test_the_page_lists_the_calls_in_order(title: str, loop: str) -> None:
    """A newcomer would look for a mistake in the wrong file."""
    calls = trace(title, loop)
    position = 0
    for file, functions in read_way(title):
        places = [index for index, (where, name, _) in enumerate(calls) if where == file and name in functions]
        later = [index for index in places if index >= position]
        assert later, f"{file}: {sorted(functions)} {'comes earlier' if places else 'is not called'}"
        position = later[0] + 1


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("title", "owner"), [("A client connects", "admission"), ("A client leaves", "membership")])
def test_a_way_has_one_owner(title: str, owner: str, loop: str) -> None:
    """A connect that goes to and fro between files cannot be read from its beginning to its end."""
    file = f"namespaces/{owner}.py"
    background = ""  # a task
    entries = [
        name
        for where, name, caller in trace(title, loop)
        if where == file and caller not in (file, background) and name != "__init__"
    ]
    assert len(entries) == 1, entries
