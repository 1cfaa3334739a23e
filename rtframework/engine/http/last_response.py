"""The last response of a connection: what its client still sends is thrown away unread."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

LINGER: Final = 1.0
"""Seconds that a client has to take the response and hang up. A socket that is closed before it is read empty resets
the connection, and the response may be lost."""


class LastResponse(web.Response):
    """A response that closes its connection.

    aiohttp would read the rest of the request for up to ten seconds, and inflate it; and take what has come behind a
    request to upgrade for the next request.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.force_close()
        self._request: web.BaseRequest | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write the head."""
        self._request = request
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the rest, and close the connection when the client has taken it."""
        await super().write_eof(data)
        request, self._request = self._request, None
        transport = None if request is None else request.transport
        if request is None or transport is None or transport.is_closing():
            return
        handler = request.protocol
        rest = _Unread()
        handler.set_parser(rest)  # type: ignore[arg-type]  # it is used as any parser
        transport.resume_reading()  # stopped by a body that nobody has read
        if transport.can_write_eof():
            transport.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await rest.ended.wait()
        handler.force_close()


class _Unread:
    """A parser of aiohttp's that throws away what it gets."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        """The client has hung up."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        return False, b""

    def feed_eof(self) -> None:
        self.ended.set()


def must_be_last(request: web.BaseRequest) -> bool:
    """Return whether a refusal has to close the connection: the request's body is not read, or it asks for an upgrade.

    What comes behind a request to upgrade speaks another protocol (RFC 9110, 7.8).
    """
    return "Upgrade" in request.headers or not request.content.is_eof()
