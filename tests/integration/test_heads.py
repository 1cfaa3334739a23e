"""Large heads and idle connections, with every way to run a server that the documentation shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.engine import Wire, wire
from tests.support.cli import running
from tests.support.markdown import read_page
from tests.support.preload import ROOT
from tests.support.served_program import PROGRAM, url_of
from tests.support.server import HOST, SubprocessServer, free_port

SECRET: Final = "secret"
IDLE: Final = 1.5
"""Seconds that a connection may be idle, where a test can say so."""

Run = Callable[[Path], AbstractAsyncContextManager[tuple[str, Callable[[], Sequence[str]]]]]
"""Runs a server: its URL, and what it has printed."""


@asynccontextmanager
async def run(folder: Path) -> AsyncIterator[tuple[str, Callable[[], Sequence[str]]]]:
    """With ``rtframework run``."""
    (folder / "program.py").write_text(
        PROGRAM.replace("io = Server()", "from rtframework import Limits\nio = Server(limits=Limits(head_timeout=0.1))")
    )
    async with running("run", "program:make_app()", "--port", "0", "--keep-alive", str(IDLE), cwd=folder) as command:
        yield await url_of(command), lambda: command.printed.splitlines()


@asynccontextmanager
async def recipe(folder: Path) -> AsyncIterator[tuple[str, Callable[[], Sequence[str]]]]:
    """With the runner of docs/deployment.md."""
    first, _, runner, *_ = [block.code for block in read_page(ROOT / "docs/deployment.md").blocks]
    port = free_port()
    runner = runner.replace("8080", str(port)).replace(
        "web.AppRunner(app,", f"web.AppRunner(app, keepalive_timeout={IDLE},"
    )
    first = first.replace("Server()", "Server(limits=Limits(head_timeout=0.1))").replace(
        "import Server", "import Limits, Server"
    )
    start = f"print('http://{HOST}:{port}')\nasyncio.run(main())\n"
    (folder / "recipe.py").write_text(f"{first}\n{runner}\n{start}")
    async with SubprocessServer(folder / "recipe.py", port=port) as server:
        yield server.url, lambda: server.output


def example(name: str) -> Run:
    """With ``web.run_app``."""

    @asynccontextmanager
    async def run_example(folder: Path) -> AsyncIterator[tuple[str, Callable[[], Sequence[str]]]]:
        async with SubprocessServer(ROOT / "examples" / name / "server.py") as server:
            yield server.url, lambda: server.output

    return run_example


WAYS: Final = [
    pytest.param(run, "/socket.io/", id="rtframework run"),
    pytest.param(recipe, "/socket.io/", id="AppRunner"),
    pytest.param(example("chat"), "/socket.io/", id="chat"),
    pytest.param(example("existing_app"), "/api/live/", id="sub-application"),
]


async def until_closed(tcp: Wire) -> bytes:
    async with asyncio.timeout(10):
        return await tcp.reader.read()


@pytest.mark.parametrize(("way", "path"), WAYS)
async def test_what_node_serves_is_served(tmp_path: Path, way: Run, path: str) -> None:
    """Users with large cookies could not connect; or their cookies and tokens would stand in the log."""
    line = f"GET {path}?EIO=4&transport=polling{{more}} HTTP/1.1"
    async with way(tmp_path) as (url, printed):
        for size in (8_300, 15_000):
            async with wire(url) as tcp:
                await tcp.send(line.format(more=""), f"Cookie: a={'x' * size}")
                assert (await tcp.response())[0] in (200, 403), "403: the application knows nobody of that cookie"
                await tcp.send(line.format(more=f"&token={'x' * size}"))
                assert (await tcp.response())[0] in (200, 403)
        for more, headers in ((f"&token={SECRET * 4_000}", ()), ("", (f"Cookie: a={SECRET * 4_000}",))):
            async with wire(url) as tcp:
                await tcp.send(line.format(more=more), *headers)
                assert b" 431 " in (await until_closed(tcp))[:15]
        async with wire(url) as tcp:
            await tcp.send(line.format(more=""), *(f"X-{number}: {'x' * 7_900}" for number in range(100)))
            assert b" 431 " in (await until_closed(tcp))[:15]
        assert SECRET * 2 not in "\n".join(printed())
        assert "Traceback" not in "\n".join(printed())


@pytest.mark.parametrize(("way", "path"), WAYS[:2])
async def test_who_says_nothing_is_let_go(tmp_path: Path, way: Run, path: str) -> None:
    """Connections that nobody uses would take all files of the process."""
    async with way(tmp_path) as (url, _), contextlib.AsyncExitStack() as stack:
        silent, half, kept, kept_half = [await stack.enter_async_context(wire(url)) for _ in range(4)]
        await half.more(b"GET / HTTP/1.1\r\nHost: x\r\nCook")
        for tcp in (kept_half, kept):  # in this order: the server waits again for what comes on the first
            await tcp.send(f"GET {path}?EIO=4&transport=polling HTTP/1.1")
            assert (await tcp.response())[0] == 200
        await kept_half.more(b"GET / HTTP/1.1\r\nHost: x\r\nCook")
        assert (await until_closed(half)).startswith(b"HTTP/1.1 408 ")
        assert (await until_closed(kept_half)).startswith(b"HTTP/1.1 408 ")
        assert await until_closed(silent) == b""
        assert await until_closed(kept) == b""
