"""Polling as python-engineio serves it: POSTs of one client may overlap, and be of any content type."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ...types import DisconnectReason
from ..transports.polling import PollingTransport, decode_payload
from ..versions import Version4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aiohttp import web

    from ...options import Limits

_MOST_POSTS: Final = 16
"""POSTs of one client that may wait for each other."""


class PatientPollingTransport(PollingTransport):
    """Polling where a POST waits for the one before it, instead of ending the session as the protocol says."""

    __slots__ = ("_posts", "_turn")

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()
        self._posts = 0

    def begin_post(self, request: web.Request, length: int) -> bool:
        """Leave a POST whose body is on its way to a task, in which it waits for the one before it."""
        return False

    async def post(self, request: web.Request, limits: Limits, since: float | None = None) -> int:
        """Take the packets of a POST, after those that came before it. Return the HTTP status to answer with."""
        if self._posts == _MOST_POSTS:
            self.connection.fail(DisconnectReason.TRANSPORT_ERROR)
            return 400
        self._posts += 1
        try:
            async with self._turn:
                return await super().post(request, limits)
        finally:
            self._posts -= 1

    def _decoder_of(self, request: web.Request) -> Callable[[bytes], Iterator[str | bytes]]:
        return decode_payload  # of whatever content type: python-engineio does not look at it


class EngineIOVersion(Version4):
    """The parts that serve a client of a python-socketio program."""

    def polling(self, query: Mapping[str, str]) -> PollingTransport:
        """Make the transport of a client that polls."""
        return PatientPollingTransport()
