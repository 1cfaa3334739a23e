"""What is written of a contract, in the hands of those who are to use it: TypeScript's compiler and typed clients."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from msgspec import Struct, defstruct

from rtframework import ContractError, Server, Socket
from rtframework.contracts import describe, typescript
from rtframework.testing import TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.contract import JS, TypeScript, make
from tests.support.markdown import read_page
from tests.support.typescript import Compiler

ROOT: Final = Path(__file__).resolve().parents[2]
CHAT: Final = ROOT / "examples" / "chat"
PAGE: Final = ROOT / "docs" / "contracts.md"


@pytest.fixture
def compiler(tmp_path: Path, tsc: Compiler) -> TypeScript:
    """A folder with the programs of ``tests/js/typed``."""
    made = TypeScript(tmp_path, tsc)
    for program in (JS / "typed").glob("*.ts"):
        made.write(program.name, program.read_text(encoding="utf-8"))
    return made


async def test_clients_are_compiled_with_the_types(compiler: TypeScript) -> None:
    """A right program would be refused, or the compiler would let a wrong event, payload or answer pass."""
    compiler.write("events.ts", typescript(describe(make())))
    assert await compiler.compile("right.ts", "wrong.ts") == []


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_a_typed_client_and_a_server_understand_each_other(
    compiler: TypeScript, serve: Serve, parser: str
) -> None:
    """The types would promise something else than what the server sends and takes."""
    io = make(MsgpackSerializer() if parser == "msgpack" else None)
    compiler.write("events.ts", typescript(describe(io), platform="node"))
    assert await compiler.compile("running.ts", types=["node"]) == []
    server = await serve(io)
    noon = "a Date" if parser == "msgpack" else "2030-01-01T12:00:00Z"
    assert json.loads(await compiler.run("running.js", server.url, parser)) == {
        "seen": [
            "hello",
            ["Ada", "1815-12-10", True],
            [True, 3, [0, 0], 0],
            ["Grace", None, True],
            "ping",
            [1, 2, 3],
        ],
        "lengths": [5, 3],
        "refused": "invalid_payload",
        "people": ["Ada"],
        "moved": {"x": 1, "y": 2.5, "colour": "red"},
        "divided": [3, 1],
        "zero": [{"error": {"code": "zero", "message": "Nothing can be divided by zero"}}],
        "asked": False,
        "alarm": [True, "tea"],
        "said": [True, "hi"],
        "now": noon,
        "plain": [],
        "time": noon,
    }


class Delete(Struct, tag="delete"):
    """Called like an operator, but for the case."""

    default: int
    names: dict[str, list[Delete | Undo]] = {}


class Undo(Struct, tag="*/"):
    what: Delete | None


async def test_whatever_is_declared_can_be_compiled(compiler: TypeScript) -> None:
    """A name that Python allows would make a module that no compiler takes."""
    io = Server()
    for number, name in enumerate(("a-b", "with space", "é", "class", "1", "__proto__", 'quote"', "*/", "\\n")):
        io.emits(name, Delete | Undo, rest=bytes, names=("new", "new_"), returns=Undo, description=name)
        io.emits(f"tuple {number}", tuple[int, Undo | None], list[tuple[Delete, ...]])

        @io.on(name)
        async def handler(socket: Socket, this, new: Undo, var: int = 0, *let: Delete) -> tuple[Undo, int] | None:  # type: ignore[no-untyped-def]
            ...

    for name in (
        "Date",
        "Record",
        "EventError",
        "isEventError",
        "ServerToClientEvents",
        "string",
        "keyof",
        "Größe",
        "List_",
        "_",
        "Input",
    ):
        io.emits(f"type {name}", defstruct(name, [("b", bytes | None), ("x", int, 0)], rename={"b": "a b"}))
    for name in ("/", "/a/b", "/a-b", "/1", "/{x}/{y:[a-z]{2}}", "/é"):
        io.of(name).on("back")(handler)
    io.of(re.compile("/.*/")).on("back")(handler)
    compiler.write("events.ts", typescript(describe(io)))
    compiler.write("types.d.ts", typescript(describe(io), types_only=True))
    assert await compiler.compile("events.ts", "types.d.ts") == []


# --- the chat example, and the page about it --------------------------------------------------------------------------


def test_the_page_shows_what_is_written() -> None:
    """A reader would see types that the chat does not have."""
    written = (CHAT / "events.ts").read_text(encoding="utf-8")
    shown = [block.code for block in read_page(PAGE).blocks if block.info == ("ts",)]
    assert len(shown) == 2
    assert [code for code in shown if code not in written] == []


async def test_the_client_of_the_page_is_compiled(compiler: TypeScript) -> None:
    """Who copies it would begin with an error."""
    (program,) = [block.code for block in read_page(PAGE).blocks if block.info == ("ts", "program")]
    compiler.write("events.ts", (CHAT / "events.ts").read_text(encoding="utf-8"))
    compiler.write("program.ts", program)
    compiler.write("wrong.ts", program.replace("tea", "tea', size: 'large").replace("'", '"'))
    complaints = await compiler.compile("program.ts", "wrong.ts")
    assert complaints
    assert [line for line in complaints if not line.startswith(("wrong.ts", " "))] == []


@pytest.fixture
async def chat() -> AsyncIterator[tuple[ModuleType, TestServer]]:
    """The chat, in strict mode."""
    spec = importlib.util.spec_from_file_location("chat_server", CHAT / "server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(CHAT)
        patch.setitem(sys.modules, "chat_server", module)
        spec.loader.exec_module(module)
        module.io.check_emits()
        async with TestServer(module.make_app) as server:
            yield module, server


async def test_the_chat_emits_what_it_declares(chat: tuple[ModuleType, TestServer]) -> None:
    """The contract that is shown to everybody would be wrong."""
    module, server = chat

    async def sign_in(name: str) -> Any:
        async with server.http.post("/sign-in", json={"name": name}) as response:
            session = await response.json()
        return session["person"], await server.connect(auth={"token": session["token"]})

    _, at_ada = await sign_in("Ada")
    bob, at_bob = await sign_in("Bob")
    assert (await at_bob.receive("welcome"))[0] == bob
    assert await at_ada.receive("presence_join") == {"room": "room:lobby", "user": bob["id"], "meta": {"name": "Bob"}}
    for client in (at_ada, at_bob):
        await client.emit_with_ack("join", "tea")
    await at_ada.emit_with_ack("message", "tea", "hi", "12345678")
    await at_ada.emit_with_ack("private", bob["id"], "psst", "12345679")
    for target in (("tea",), (None, bob["id"])):
        await at_ada.emit_with_ack("typing", *target)
    await at_ada.emit_with_ack("leave", "tea")
    received = {each.event for client in (at_ada, at_bob) for each in client.received}
    of_rooms = {"history", "presence", "presence_join", "presence_leave"}
    assert received == {each.event for each in module.io.of("/").declared} | of_rooms
    with pytest.raises(ContractError):
        await module.io.emit("room", "tea", "many")
