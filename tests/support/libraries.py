"""The two libraries that a python-socketio program runs on, and the two clients that visit it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import socketio

from rtframework.engine import AsyncServer
from tests.support.js import JSClient, JSClients
from tests.support.pyclient import PyClient, PyClients
from tests.support.transports import Transport

UPSTREAM: Final = "python-socketio"
OURS: Final = "rtframework"
LIBRARIES: Final = (UPSTREAM, OURS)

# A logger of its own, because python-socketio sets up the one it would use for the whole process.
_quiet: Final = logging.getLogger("tests.upstream")


def upstream(**options: Any) -> Any:
    """``socketio.AsyncServer``."""
    return socketio.AsyncServer(async_mode="aiohttp", logger=_quiet, engineio_logger=_quiet, **options)


def ours(**options: Any) -> AsyncServer:
    """``rtframework.engine.AsyncServer``."""
    return AsyncServer(async_mode="aiohttp", **options)


MAKERS: Final[Mapping[str, Callable[..., Any]]] = {UPSTREAM: upstream, OURS: ours}


class Visitors:
    """Makes clients of one kind on one transport."""

    def __init__(self, kind: str, via: Transport, js: JSClients, py: PyClients) -> None:
        self.kind = kind
        self.via = via
        self._js = js
        self._py = py

    async def connect(
        self, url: str, nsp: str = "/", *, auth: Mapping[str, Any] | None = None, msgpack: bool = False
    ) -> JSClient | PyClient:
        """A client that has been let in; its requests carry a header ``X-Language: en``."""
        headers = {"X-Language": "en"}
        if self.kind == "py":
            return await self._py.connect(
                url, nsp=nsp, via=self.via, auth=auth, headers=headers, serializer="msgpack" if msgpack else "default"
            )
        where = url if nsp == "/" else url + nsp
        if msgpack:
            return await self._js.connect(where, via=self.via, auth=auth or {}, extraHeaders=headers, parser="msgpack")
        return await self._js.connect(where, via=self.via, auth=auth or {}, extraHeaders=headers)


async def id_of(client: JSClient | PyClient) -> str:
    """The client's sid."""
    return client.id() if isinstance(client, PyClient) else await client.id()
