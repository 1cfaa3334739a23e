"""The page on FastAPI and Django: both ways are run as they stand there."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.conftest import ServeProgram
from tests.support.cli import running
from tests.support.front import block_of, nginx, program
from tests.support.js import JSClients
from tests.support.server import HOST, free_port
from tests.support.transports import Transport

PAGE: Final = "../how-to/fastapi-and-django.md"
ORDER: Final = {"item": "tea", "by": "Ada"}


async def ordered(url: str, client: Any) -> None:
    """Place an order by HTTP, which a client hears of that watches."""
    await client.emit("watch", "tea")
    await client.barrier()
    async with aiohttp.ClientSession() as http, http.post(f"{url}/orders", json=ORDER) as response:
        assert (response.status, await response.json()) == (201, ORDER)
    assert await client.wait_for("ordered") == [ORDER]


async def test_fastapi_in_the_same_process(
    tmp_path: Path, serve_program: ServeProgram, transport: Transport, js: JSClients
) -> None:
    """Who has an API in FastAPI would have to write it again, or learn of the trap by standing still."""
    (tmp_path / "server.py").write_text(block_of(PAGE, "python", "program"))
    server = await serve_program(tmp_path / "server.py")
    client = await js.connect(server.url, via=transport)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}/export") as response:
            assert await response.text() == "0\n1\n2\n"
        async with http.post(f"{server.url}/orders", json={"item": 1}) as response:
            assert response.status == 422
    await ordered(server.url, client)
    assert await server.stop() == 0


@contextlib.asynccontextmanager
async def django(folder: Path, sockets: str) -> AsyncIterator[str]:
    """The page's shop, by gunicorn; its host and port."""
    (folder / "shop.py").write_text(block_of(PAGE, "python", "no-run"))
    place = f"{HOST}:{free_port()}"
    args = ("-m", "gunicorn", "shop:application", "--bind", place)
    env = {"SOCKETS": sockets, "PYTHONWARNINGS": ""}
    async with running(*args, command=(sys.executable,), cwd=folder, env=env) as command:
        await command.see("Booting worker", on="err")
        yield place
        assert await command.end(signal.SIGTERM) == 0, command.printed


async def test_django_beside_it(
    tmp_path: Path, serve_program: ServeProgram, transport: Transport, js: JSClients
) -> None:
    """A Django that is there already would have no way to tell its pages anything."""
    if program("nginx") is None:
        pytest.skip("nginx is not installed")
    (tmp_path / "sockets.py").write_text(block_of(PAGE, "python", "sockets"))
    server = await serve_program(tmp_path / "sockets.py")
    async with django(tmp_path, server.url) as shop:
        changes = {"127.0.0.1:8080": f"{HOST}:{server.port}", "127.0.0.1:8000": shop}
        async with nginx(block_of(PAGE, "nginx"), changes) as front:
            client = await js.connect(front.url, via=transport)
            await ordered(front.url, client)
            async with aiohttp.ClientSession() as http, http.post(f"{front.url}/emit", json={}) as response:
                assert response.status == 404  # Django's, who has no such address
