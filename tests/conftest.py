"""Fixtures: real clients (``js``, ``py``, ``browser``) and real servers (``serve``) for every test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from rtframework import Rate, logs
from rtframework.limits import rates
from rtframework.logs import ThrottledLog
from tests.support import heap, preload, pytest_workers, thorough
from tests.support.js import JSClients, NodeProcess, js_clients
from tests.support.port import Port, shared_port
from tests.support.pyclient import PyClients, py_clients
from tests.support.server import RunningServer, Served, SubprocessServer, running_server
from tests.support.transports import TRANSPORTS, Transport

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.support.browser import Chromium, Pages
    from tests.support.typescript import Compiler

if os.environ.get("RTF_TEST_LOOP") == "uvloop":

    def pytest_asyncio_loop_factories(
        config: pytest.Config, item: pytest.Item
    ) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Run every test on uvloop: ``make test`` with RTF_TEST_LOOP=uvloop in the environment."""
        import uvloop

        return {"uvloop": uvloop.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--thorough``."""
    parser.addoption("--thorough", action="store_true", help="search longer, where tests make up their cases")


def pytest_configure(config: pytest.Config) -> None:
    """Before the modules of the tests are imported."""
    thorough.configure(config.getoption("thorough"))
    gc.disable()  # until all tests are collected: next to nothing of what is made is let go of
    pytest_workers.import_in_turn(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let several workers begin with what takes long."""
    pytest_workers.deal(items)


def pytest_collection_finish() -> None:
    """Leave the tests themselves out of garbage collections: they are many objects, and stay to the end."""
    heap.leave_out()
    gc.enable()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Send less to the process that reports."""
    return pytest_workers.run(item, nextitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Leave them out again after a module in which a server has taken them in."""
    yield
    if nextitem is not None and nextitem.path != item.path and heap.is_taken_in():
        heap.leave_out()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged reaches the process that reports, whatever it is: half an emoji cannot be sent there."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


class Serve(Protocol):
    """What the ``serve`` fixture is."""

    def __call__(self, served: Served, *, shutdown_timeout: float = 0.5, port: int = 0) -> Awaitable[RunningServer]:
        """Start a server that is stopped when the test ends."""


@pytest.fixture(params=TRANSPORTS, ids=str)
def transport(request: pytest.FixtureRequest) -> Transport:
    """Each scenario by polling, by websocket, and by polling that is upgraded: ``js.connect(url, via=transport)``."""
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """``server = await serve(io)``: an application, something to attach to one, or a function that makes one."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(served: Served, *, shutdown_timeout: float = 0.5, port: int = 0) -> RunningServer:
            return await stack.enter_async_context(running_server(served, shutdown_timeout=shutdown_timeout, port=port))

        yield start


class ServeProgram(Protocol):
    """What the ``serve_program`` fixture is."""

    def __call__(
        self,
        program: Path,
        *,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> Awaitable[SubprocessServer]:
        """Start a program that is ended when the test ends."""


@pytest.fixture
async def serve_program() -> AsyncIterator[ServeProgram]:
    """``server = await serve_program(EXAMPLES / "chat" / "server.py")``: as a process that can be killed."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            program: Path,
            *,
            args: Sequence[str] = (),
            env: Mapping[str, str] | None = None,
            python: str = sys.executable,
        ) -> SubprocessServer:
            return await stack.enter_async_context(SubprocessServer(program, args=args, env=env, python=python))

        yield start


class _Node:
    """Keeps one Node process for the run, and starts another when a test broke it."""

    def __init__(self) -> None:
        self._process: NodeProcess | None = None

    def get(self) -> NodeProcess:
        if self._process is None or not self._process.alive:
            self.close()
            self._process = NodeProcess()
        return self._process

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


@pytest.fixture(scope="session")
def _node() -> Iterator[_Node]:
    node = _Node()
    yield node
    node.close()


@pytest.fixture
async def js(_node: _Node, serve: Serve, serve_program: ServeProgram) -> AsyncIterator[JSClients]:
    """Stock JavaScript clients: ``client = await js.connect(server.url, via=transport)``."""
    # Servers are asked for so that they outlive the clients, whatever the order of a test's parameters.
    async with js_clients(_node.get()) as clients:
        yield clients


@pytest.fixture
async def py(serve: Serve, serve_program: ServeProgram) -> AsyncIterator[PyClients]:
    """python-socketio clients: ``client = await py.connect(server.url, via=transport)``."""
    async with py_clients() as clients:
        yield clients


@pytest.fixture(scope="session")
def tsc() -> Iterator[Compiler]:
    """TypeScript's compiler: ``assert await tsc.compile(folder) == []``."""
    from tests.support.typescript import Compiler

    compiler = Compiler()
    yield compiler
    compiler.close()


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Chromium]:
    from tests.support.browser import Chromium

    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture
async def browser(_chromium: Chromium, serve: Serve, serve_program: ServeProgram) -> AsyncIterator[Pages]:
    """Chromium: ``page = await browser.open(url)``. Errors on a page's console fail the test unless it expects them."""
    from tests.support.browser import browser_pages

    async with browser_pages(_chromium) as pages:
        yield pages


@pytest.fixture
async def page(browser: Pages) -> Page:
    """One empty page of ``browser``."""
    return await browser.open()


@pytest.fixture(scope="session", autouse=True)
def _preloaded() -> Iterator[None]:
    yield
    preload.close()


@pytest.fixture(scope="session")
def port(_preloaded: None) -> Iterator[Port]:
    """Two workers on one port, ``port.url``, which all tests share: names of rooms have to be a test's own."""
    with shared_port() as found:
        yield found


@pytest.fixture(autouse=True)
def room_for_barriers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each barrier of a client is a CONNECT that is refused; modules that test refusals override this."""
    rate = Rate(1_000, burst=1_000)
    monkeypatch.setattr(rates, "REFUSALS", {"connection": rate, "address": rate})


@pytest.fixture(autouse=True)
def every_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test looks for in the log is not left out because of the test before it."""
    monkeypatch.setattr(logs, "PERIOD", 0.0)
    monkeypatch.setattr(logs, "_untold", {})


@pytest.fixture
def throttled(every_notice: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each log write one line in all, whatever tests before have written."""
    monkeypatch.setattr("rtframework.logs.PERIOD", 60.0)
    modules = [module for name, module in sys.modules.items() if name.startswith("rtframework")]
    for log in (value for module in modules for value in list(vars(module).values())):
        if isinstance(log, ThrottledLog):
            monkeypatch.setattr(log, "_lines", {})
