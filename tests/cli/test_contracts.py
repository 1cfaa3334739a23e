"""The commands that write contracts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.cli import rtframework
from tests.support.contract import problems_of
from tests.support.preload import ROOT

CHAT: Final = ROOT / "examples" / "chat"

PROGRAM: Final = """
from rtframework import Server, Socket

io = Server()

@io.emits("said", str)
@io.on("say")
async def say(socket: Socket, text: str) -> None:
    "Say something."
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a program."""
    (tmp_path / "server.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


async def test_types_are_printed_or_written(program: Path) -> None:
    """There would be no way to the types but by writing a program for them."""
    printed = await rtframework("typescript", "server:io", cwd=program)
    assert printed.code == 0, printed.err
    assert "said: (data: string) => void;" in printed.lines[5]
    assert "/** Say something. */" in printed.out
    written = await rtframework("typescript", "server:io", "-o", "events.ts", cwd=program)
    assert (written.code, written.out, written.err) == (0, "", "")
    assert (program / "events.ts").read_text(encoding="utf-8") == printed.out
    assert "export function isEventError" in printed.out
    await rtframework("typescript", "server:io", "-o", "events.d.ts", cwd=program)
    declared = (program / "events.d.ts").read_text(encoding="utf-8")
    assert "isEventError" not in declared  # no compiler takes a function there
    assert "said: (data: string) => void;" in declared
    dates = await rtframework("typescript", "server:io", "--dates", "Date", "--platform", "node", cwd=program)
    assert dates.code == 0


@pytest.mark.parametrize("command", ["typescript", "asyncapi"])
async def test_half_of_a_contract_is_told_of(program: Path, command: str) -> None:
    """An empty ``ServerToClientEvents`` would look as if the server had nothing to say."""
    server = program / "server.py"
    server.write_text(server.read_text(encoding="utf-8").replace('@io.emits("said", str)\n', ""), encoding="utf-8")
    done = await rtframework(command, "server:io", cwd=program)
    assert done.code == 0
    assert done.err.strip() == (
        "note: nothing says what the server emits in /: declare it with io.emits(event, *types)"
    )


async def test_a_document_is_printed_with_what_was_said_of_it(program: Path) -> None:
    """The document of every server would have the same title."""
    done = await rtframework(
        *("asyncapi", "server:io", "--title", "Talk", "--api-version", "3", "--description", "Say."),
        *("--url", "wss://example.org"),
        cwd=program,
    )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert problems_of(document) == []
    assert document["info"] == {"title": "Talk", "version": "3", "description": "Say."}
    assert document["servers"]["server"]["host"] == "example.org"


async def test_a_file_that_is_not_up_to_date_is_told(program: Path) -> None:
    """A check in continuous integration would pass, and the page's types be those of last month."""
    command = ("typescript", "server:io", "-o", "events.ts")
    missing = await rtframework(*command, "--check", cwd=program)
    assert (missing.code, (program / "events.ts").exists()) == (1, False)
    await rtframework(*command, cwd=program)
    assert (await rtframework(*command, "--check", cwd=program)).code == 0
    (program / "server.py").write_text(PROGRAM.replace('"said", str', '"said", int'), encoding="utf-8")
    old = await rtframework(*command, "--check", cwd=program)
    assert old.code == 1
    assert "-  said: (data: string) => void;\n+  said: (data: number) => void;" in old.err
    assert old.err.splitlines()[-1] == (
        "rtframework typescript: events.ts is not up to date: run the same command without --check"
    )


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
    (program / "server.py").write_text(PROGRAM + more, encoding="utf-8")
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("typescript", "server:io", "--check"), 2, "--check needs the file"),
        (("typescript", "server:io", "-o", "no/folder/events.ts"), 1, "No such file"),
        (("asyncapi", "server:io", "--url", "example.org"), 2, "a server's URL is like"),
        (("asyncapi", "server:oi"), 1, "there is server:io"),
    ],
)
async def test_mistakes_are_told_in_one_line(program: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """A traceback would hide what is wrong."""
    done = await rtframework(*arguments, cwd=program)
    assert done.code == code
    assert said in done.complaint


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("events.ts", ("typescript",)),
        (
            "chat.asyncapi.json",
            ("asyncapi", "--title", "The chat example", "--description", "Events of examples/chat.", "--url"),
        ),
    ],
)
async def test_the_files_of_the_chat_example_are_up_to_date(file: str, command: tuple[str, ...]) -> None:
    """The first contract that a newcomer looks at would be that of another server."""
    name, *options = command
    more = ["http://127.0.0.1:8080"] if options else []
    done = await rtframework(name, f"{CHAT / 'server.py'}:io", *options, *more, "-o", CHAT / file, "--check")
    assert done.code == 0, done.err
