"""`rtframework routes`: what a server serves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.cli import rtframework
from tests.support.contract import PROGRAM as SMALL
from tests.support.preload import ROOT

PROGRAM: Final = """
import functools
import re
from typing import Any
from msgspec import Struct
from rtframework import Ack, Depends, Namespace, Server, Socket

io = Server()

class Message(Struct):
    text: str

@io.use
async def signed_in(socket, call_next):
    await call_next()

@io.use
async def not_too_many(socket, call_next):
    await call_next()

@io.use_event
async def timing(socket, event, call_next):
    return await call_next()

@io.on("connection")
async def connection(socket: Socket) -> None: ...

@io.on("new_namespace")
def made(namespace: Namespace) -> None: ...

@io.on("message", ordered=True)
async def message(socket: Socket, data: Message, urgent: bool = False, *tags: str | int) -> dict[str, Any]: ...

@io.on("message")
async def count(socket: Socket, *args: Any) -> None: ...

@io.on("save")
async def save(socket: Socket, text: str, ack: Ack) -> None: ...

@io.exception_handler(LookupError)
def not_found(socket, error): ...

@io.on("add")
async def add(socket: Socket, a: int, b: int = Depends(lambda: 1), *, server: Server) -> int: ...

@io.on_any
def log(socket, event, *args): ...

@io.on_any_outgoing
def log_outgoing(socket, event, *args): ...

@io.on_server_side("clear")
def clear(key: str) -> int: ...

class Chat(Namespace):
    async def on_message(self, socket, text): ...

io.register_namespace(Chat("/chat"))

rooms = io.of("/room/{id}", factory=Chat)
rooms.on("enter")(functools.partial(count))

io.of(re.compile("/r(.*)"))

async def allowed(name, auth):
    return True

io.of(allowed)
"""


def line_of(text: str) -> int:
    """Where something stands in the program."""
    return PROGRAM[: PROGRAM.index(text)].count("\n") + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has the program in it."""
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


async def test_everything_that_is_registered(folder: Path) -> None:
    """Who comes to a program would read all of it to know what it serves."""
    done = await rtframework("routes", "program:io", cwd=folder)
    assert (done.code, done.err) == (0, "")
    shown = [" ".join(line.split()) for line in done.lines]
    at = {
        name: f"program.py:{line_of(f'def {name}(')}"
        for name in (
            "signed_in",
            "not_too_many",
            "timing",
            "connection",
            "made",
            "message",
            "count",
            "save",
            "not_found",
            "add",
            "log",
            "log_outgoing",
            "clear",
            "on_message",
        )
    }
    for name in at:  # the line of `def`, not of the decorator
        if f"async def {name}(" in PROGRAM:
            at[name] = f"program.py:{line_of(f'async def {name}(')}"
    assert shown == [
        "/",
        f"on new_namespace {at['made']}",
        f"exception_handler LookupError {at['not_found']}",
        f"use signed_in {at['signed_in']}",
        f"use not_too_many {at['not_too_many']}",
        f"use_event timing {at['timing']}",
        f"on connection {at['connection']}",
        "on message(data: Message, urgent: bool = ..., *tags: str | int) -> dict[str, Any] [ordered] " + at["message"],
        f"on message(*args: Any) -> None {at['count']}",
        f"on save(text: str) [ack] {at['save']}",
        f"on add(a: int) -> int {at['add']}",
        f"on_any log(*args) {at['log']}",
        f"on_any_outgoing log_outgoing {at['log_outgoing']}",
        f"on_server_side clear(key: str) -> int {at['clear']}",
        "",
        "/chat",
        f"on message(text) {at['on_message']}",
        "",
        "/room/{id}",
        f"on enter(*args: Any) -> None {at['count']}",
        f"on message(text) {at['on_message']}",
        "",
        "/r(.*) (a regular expression)",
        "(nothing)",
        "",
        "allowed (names that this function accepts)",
        "(nothing)",
    ]


async def test_the_same_for_machines(folder: Path) -> None:
    """Programs would have to take a table apart that is made for people."""
    done = await rtframework("routes", "program:io", "--json", cwd=folder)
    main, chat, rooms, expression, function = json.loads(done.out)["namespaces"]
    assert [each["kind"] for each in (main, chat, rooms, expression, function)] == [
        "name", "name", "template", "expression", "function"
    ]  # fmt: skip
    (message, _) = (each for each in main["entries"] if each["name"] == "message")
    assert message == {
        "kind": "on",
        "name": "message",
        "place": {
            "name": "message",
            "module": "program",
            "file": str(folder / "program.py"),
            "line": line_of("async def message("),
        },
        "arguments": [
            {"name": "data", "type": "Message", "required": True, "variadic": False},
            {"name": "urgent", "type": "bool", "required": False, "variadic": False},
            {"name": "tags", "type": "str | int", "required": False, "variadic": True},
        ],
        "returns": "dict[str, Any]",
        "ack": False,
        "ordered": True,
    }


async def test_a_factory_that_makes_nothing_without_a_client(folder: Path) -> None:
    """One namespace that cannot be looked into would hide all others."""
    (folder / "program.py").write_text(
        "from rtframework import Namespace, Server\n"
        "def make(name):\n    return Namespace(['x', 'y'][int(name)])\n"
        "io = Server()\nio.of('/{id}', factory=make)\n"
    )
    done = await rtframework("routes", "program:io", cwd=folder)
    assert done.code == 0
    assert done.lines == ["/", "  (nothing)", "", "/{id}", "  (nothing)"]
    assert done.complaint.startswith("note: what /{id} makes by itself is not shown (ValueError(")


async def test_the_chat_example() -> None:
    """The command would be shown in the documentation and fail on our own example."""
    done = await rtframework("routes", "examples/chat/server.py:io", cwd=ROOT)
    assert done.code == 0
    assert any(line.split() == ["on", "join(room:", "Name)", "->", "str", place] for line in done.lines
               for place in [line.split()[-1]] if place.startswith("examples/chat/server.py:"))  # fmt: skip


async def test_routes_show_what_is_emitted(program: Path) -> None:
    """Half of what a server says would not be shown."""
    more = """
from rtframework import Namespace, emits

@emits("closed")
class Chat(Namespace):
    @emits("sure", list[str], returns=bool)
    async def on_say(self, socket: Socket) -> None: ...

io.of("/chat/{tenant}", factory=Chat)
"""
    (program / "server.py").write_text(SMALL + more, encoding="utf-8")
    done = await rtframework("routes", "server:io", cwd=program)
    assert done.code == 0, done.err
    assert [re.sub(" {2,}", "  ", line.strip()) for line in done.lines] == [
        "/",
        "on  say(text: str) -> None  server.py:8",
        "emits  said(data: str)  server.py:6",
        "",
        "/chat/{tenant}",
        "emits  closed()  server.py:13",
        "emits  sure(data: list[str]) -> bool  server.py:15",
        "on  say() -> None  server.py:16",
    ]
