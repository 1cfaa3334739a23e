"""The four ways of docs/architecture.md, compared with the calls that are made."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pytest

import rtframework
from rtframework import ConnectionRefused, Recovery, Server, Socket
from rtframework.testing import TestServer

SOURCE: Final = Path(rtframework.__file__).parent
PAGE: Final = SOURCE.parent / "docs" / "architecture.md"
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
        if file is not None and not file.startswith("testing/"):
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
async def serving(*, recovery: bool) -> AsyncIterator[tuple[Server, TestServer]]:
    """Serve a parent namespace with middleware and handlers."""
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

    async with TestServer(io) as server:
        yield io, server


async def trace_an_event(io: Server, server: TestServer, calls: list[Call]) -> None:
    client = await server.connect()
    with tracing(calls):
        assert await client.emit_with_ack("echo", "hi") == "hi"


async def trace_an_emit(io: Server, server: TestServer, calls: list[Call]) -> None:
    client = await server.connect()
    with tracing(calls):
        await io.emit("news", 1)
        assert await client.receive("news") == 1


async def trace_a_connect(io: Server, server: TestServer, calls: list[Call]) -> None:
    client = await server.connect()
    with tracing(calls):
        await client.of("/room/1", auth={"token": "right"})


async def trace_a_disconnect(io: Server, server: TestServer, calls: list[Call]) -> None:
    client = await server.connect("/room/1", auth={"token": "right"})
    with tracing(calls):
        await client.lose_connection()


TRACES: Final = dict(zip(TITLES, (trace_an_event, trace_an_emit, trace_a_connect, trace_a_disconnect), strict=True))


async def trace(title: str) -> list[Call]:
    """Note the calls of one way; with recovery for those in and out."""
    calls: list[Call] = []
    async with serving(recovery=title.startswith("A client")) as (io, server):
        await TRACES[title](io, server, calls)
    return calls


@pytest.mark.parametrize("title", TITLES)
async def test_the_page_lists_the_calls_in_order(title: str) -> None:
    """A newcomer would look for a mistake in the wrong file."""
    calls = await trace(title)
    position = 0
    for file, functions in read_way(title):
        places = [index for index, (where, name, _) in enumerate(calls) if where == file and name in functions]
        later = [index for index in places if index >= position]
        assert later, f"{file}: {sorted(functions)} {'comes earlier' if places else 'is not called'}"
        position = later[0] + 1


@pytest.mark.parametrize(("title", "owner"), [("A client connects", "admission"), ("A client leaves", "membership")])
async def test_a_way_has_one_owner(title: str, owner: str) -> None:
    """A connect that goes to and fro between files cannot be read from its beginning to its end."""
    file = f"namespaces/{owner}.py"
    background = ("", "handlers/strict.py")  # a task, which a test server wraps
    entries = [
        name
        for where, name, caller in await trace(title)
        if where == file and caller not in (file, *background) and name != "__init__"
    ]
    assert len(entries) == 1, entries
