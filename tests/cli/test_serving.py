"""Serving an application until the process is told to end: what is cleaned up, whatever happens when."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rtframework import Server
from rtframework.cli import serving
from rtframework.cli.addresses import BACKLOG, bind, url_of
from rtframework.cli.errors import Exit, Failure
from rtframework.cli.loading import Target
from tests.support.server import HOST, backlog_of
from tests.support.until import until

Context = Callable[[web.Application], AsyncIterator[None]]


class Process:
    """What the process is told, and what it does."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.url = url_of(sock)
        self.told: list[Callable[[], None]] = []
        self.log: list[str] = []

    def end(self) -> None:
        """As Ctrl-C does."""
        (told,) = self.told
        told()

    async def serve(self, found: Any, *, factory: bool = False, tunes_gc: bool = False) -> int:
        target = Target("program:app", "program", "app", factory, Path())
        return await serving.serve(
            target,
            found,
            [self.sock],
            keep_alive=75,
            shutdown_timeout=0.1,
            access_log=False,
            tunes_gc=tunes_gc,
        )

    def opens(self, error: Exception | None = None) -> Context:
        """What has been opened already, and may fail to close."""

        async def context(app: web.Application) -> AsyncIterator[None]:
            yield
            self.log.append("closed")
            if error is not None:
                raise error

        return context

    def application(self, *, slow: bool = False, fails: str = "", before: Context | None = None) -> web.Application:
        """One that writes down when it starts and ends."""

        async def context(app: web.Application) -> AsyncIterator[None]:
            self.log.append("starts")
            if fails == "start":
                raise ValueError("no database")
            if slow:
                await asyncio.sleep(99)
            yield
            self.log.append("ends")
            if fails == "end":
                raise ValueError("cannot save")

        async def hello(request: web.Request) -> web.Response:
            return web.Response(text="hello")

        app = web.Application()
        app.cleanup_ctx.extend([before, context] if before is not None else [context])
        app.router.add_get("/", hello)
        return app


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """Signals are not for the tests' own process."""
    (sock,) = bind(HOST, 0)
    with contextlib.closing(sock):
        made = Process(sock)
        monkeypatch.setattr(serving, "on_end", made.told.append)
        yield made


async def get(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def test_an_application_is_served_until_the_process_is_told(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program would not be served, or could not be ended in good order."""
    running = asyncio.create_task(process.serve(process.application()))
    assert await get(process.url) == "hello"
    assert capsys.readouterr().out == f"Serving program:app on {process.url} (Ctrl-C ends it)\n"
    assert process.log == ["starts"]
    process.end()
    assert await running == Exit.DONE
    assert process.log == ["starts", "ends"]


async def test_the_garbage_collector_is_kept_from_what_lives_long(process: Process) -> None:
    """Everybody would wait for it while clients connect; or a program that wants it as it is could not have that."""
    for tunes_gc in (True, False):
        running = asyncio.create_task(process.serve(process.application(), tunes_gc=tunes_gc))
        assert await get(process.url) == "hello"
        assert bool(gc.get_freeze_count()) is tunes_gc
        process.end()
        assert await running == Exit.DONE
        assert not gc.get_freeze_count()
        process.sock = bind(HOST, 0)[0]
        process.url = url_of(process.sock)
        process.told.clear()
    process.sock.close()


@pytest.mark.skipif(not Path("/proc/sys/net/core/somaxconn").exists(), reason="only Linux tells")
async def test_thousands_may_wait_to_be_accepted(process: Process) -> None:
    """Clients that come back all at once would be turned away: asyncio sets the number anew."""
    running = asyncio.create_task(process.serve(process.application()))
    assert await get(process.url) == "hello"
    assert backlog_of(process.sock) == min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    process.end()
    await running


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_factory_makes_it_in_the_loop(process: Process, is_async: bool) -> None:
    """A factory that opens a connection pool would do so in another loop than the one that uses it."""
    loops: list[Any] = []

    def make() -> web.Application:
        loops.append(asyncio.get_running_loop())
        return process.application()

    async def make_slowly() -> web.Application:
        return make()

    running = asyncio.create_task(process.serve(make_slowly if is_async else make, factory=True))
    assert await get(process.url) == "hello"
    assert loops == [asyncio.get_running_loop()]
    process.end()
    await running


async def test_a_server_alone_is_attached(process: Process) -> None:
    """The first program of the documentation could not be run without aiohttp's application around it."""
    io = Server()
    running = asyncio.create_task(process.serve(io))
    assert (await get(f"{process.url}/socket.io/?EIO=4&transport=polling"))[0] == "0"
    process.end()
    assert await running == Exit.DONE
    assert not io._host.started


async def test_a_server_that_is_attached_already(process: Process) -> None:
    """The routes of the application would be missing, and nobody would say why."""
    io = Server()
    io.attach(web.Application())
    with pytest.raises(Failure, match=r"has attached to an application: name that, or what makes it"):
        await process.serve(io)


async def test_what_is_neither_is_refused(process: Process) -> None:
    """aiohttp would fail deep inside."""
    with pytest.raises(Failure, match="program:app is an int"):
        await process.serve(42)
    with pytest.raises(Failure, match="gives an int"):
        await process.serve(lambda: 42, factory=True)


async def test_a_start_that_fails_is_told_and_cleaned_up(process: Process) -> None:
    """What had been opened before the failure would stay open; or the failure be one of asyncio's."""
    app = process.application(fails="start", before=process.opens())
    with pytest.raises(Failure, match="program:app has failed to start: ValueError: no database") as caught:
        await process.serve(app)
    assert "no database" in caught.value.details
    assert process.log == ["starts", "closed"]


async def test_a_clean_up_that_fails_as_well_does_not_hide_why_it_did_not_start(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the last line would look for the mistake in the wrong place."""
    app = process.application(fails="start", before=process.opens(RuntimeError("also this")))
    with pytest.raises(Failure, match="has failed to start: ValueError: no database"):
        await process.serve(app)
    assert "also this" in caplog.text


async def test_a_clean_up_that_fails_is_told(process: Process) -> None:
    """The exit code would say that all is well."""
    running = asyncio.create_task(process.serve(process.application(fails="end")))
    await get(process.url)
    process.end()
    with pytest.raises(Failure, match="program:app has failed to clean up: ValueError: cannot save"):
        await running


async def test_a_process_that_is_told_while_it_starts_does_not_start(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C during a long start would do nothing until it has started."""
    app = process.application(slow=True, before=process.opens())
    running = asyncio.create_task(process.serve(app))
    await until(lambda: process.log)
    process.end()
    assert await running == Exit.DONE
    assert process.log == ["starts", "closed"]
    assert capsys.readouterr().out == ""
