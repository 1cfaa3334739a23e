"""`rtframework asyncapi`: the document of a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.support.cli import rtframework
from tests.support.contract import problems_of
from tests.support.preload import ROOT

ATTACHED: Final = """
from aiohttp import web

def attached_io() -> Server:
    app = web.Application()
    io.attach(app)
    io.attach_websocket(app, "/ws")
    return io
"""
CHAT: Final = ROOT / "examples" / "chat"


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


async def test_the_paths_of_a_server_that_a_function_attaches(program: Path) -> None:
    """Most programs attach their server in a function: its plain websockets would be in no document."""
    with (program / "server.py").open("a", encoding="utf-8") as file:
        file.write(ATTACHED)
    done = await rtframework(
        *("asyncapi", "server:attached_io", "--factory", "--url", "https://example.org"), cwd=program
    )
    assert done.code == 0, done.err
    servers = json.loads(done.out)["servers"]
    assert [each["pathname"] for each in servers.values()] == ["/socket.io/", "/ws"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("asyncapi", "server:io", "--url", "example.org"), 2, "a server's URL is like"),
        (("asyncapi", "server:oi"), 1, "there is server:io"),
    ],
)
async def test_mistakes_are_told_in_one_line(program: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """A traceback would hide what is wrong."""
    done = await rtframework(*arguments, cwd=program)
    assert done.code == code
    assert said in done.complaint


async def test_the_file_of_the_chat_example_is_up_to_date() -> None:
    """The first contract that a newcomer looks at would be that of another server."""
    said = (
        "--title",
        "The chat example",
        "--description",
        "Events of examples/chat.",
        "--url",
        "http://127.0.0.1:8080",
    )
    file = CHAT / "chat.asyncapi.json"
    done = await rtframework("asyncapi", f"{CHAT / 'server.py'}:io", *said, "-o", file, "--check")
    assert done.code == 0, done.err
