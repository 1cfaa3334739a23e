"""A caller of the HTTP API, and applications with one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web

from rtframework import Server
from rtframework_http_api import HTTPAPI, APIKey
from tests.support.server import running_server

KEY: Final = "0123456789abcdef" * 2
"""May do everything."""
READER: Final = "fedcba9876543210" * 2
KEYS: Final[dict[str, str | APIKey]] = {"ci": KEY, "reader": APIKey(READER, scopes=("read",))}


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return msgspec.json.decode(self.text)

    @property
    def code(self) -> str:
        """The code of the problem."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.json["status"] == self.status
        found: str = self.json["code"]
        return found


class Caller:
    """Calls the API at a URL with a key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str = KEY) -> None:
        self._session = session
        self.url = url
        self.key = key

    def with_key(self, key: str) -> Caller:
        """The same with another key."""
        return Caller(self._session, self.url, key)

    async def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Reply:
        """Make a request."""
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        async with self._session.request(method, self.url + path, headers=sent, **options) as response:
            return Reply(response.status, response.headers, await response.text())

    async def get(self, path: str, **query: Any) -> Reply:
        """Make a GET."""
        return await self.ask("GET", path, params=query)

    async def post(self, path: str, **body: Any) -> Reply:
        """Make a POST. ``except_`` is ``except``, ``in_`` is ``in``."""
        return await self.ask("POST", path, json={name.rstrip("_"): value for name, value in body.items()})


@contextlib.asynccontextmanager
async def calling(url: str, key: str = KEY) -> AsyncIterator[Caller]:
    """Call the API at a URL."""
    async with aiohttp.ClientSession() as session:
        yield Caller(session, url, key)


def app_with_api(io: Server, **options: Any) -> web.Application:
    """Make an application with the server, and its API at ``/api``."""
    app = web.Application()
    app.add_subapp("/api", HTTPAPI(io, **(options or {"keys": KEYS})).app)
    io.attach(app)
    return app


@contextlib.asynccontextmanager
async def running_api(io: Server, **options: Any) -> AsyncIterator[tuple[str, Caller]]:
    """Run such an application. Yield its URL, and a caller."""
    async with running_server(app_with_api(io, **options)) as server, calling(f"{server.url}/api") as caller:
        yield server.url, caller
