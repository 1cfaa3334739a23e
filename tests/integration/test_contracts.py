"""What is written of a contract, in the hands of those who are to use it: TypeScript's compiler and typed clients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtframework.contracts import describe, typescript
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.contract import JS, TypeScript, make


@pytest.fixture
def compiler(tmp_path: Path) -> TypeScript:
    """A folder with the programs of ``tests/js/typed``."""
    made = TypeScript(tmp_path)
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
        "moved": {"x": 1, "y": 2.5},  # msgspec leaves out defaults that a dataclass has not been given
        "divided": [3, 1],
        "zero": [{"error": {"code": "zero", "message": "Nothing can be divided by zero"}}],
        "asked": False,
        "said": [True, "hi"],
        "now": noon,
        "time": noon,
    }
