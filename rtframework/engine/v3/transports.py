"""The transports of Engine.IO 3: payloads have lengths, and binary packets begin with their type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..frames import EncodedFrames
from ..transports.polling import BINARY, TEXT, PollingTransport
from ..transports.websocket import WebSocketTransport
from .frames import Forms, forms_of
from .payload import decode_binary, decode_text

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from aiohttp import web

    from ...options import EngineOptions
    from ...protocols import Frames


class PollingTransport3(PollingTransport):
    """Polling with payloads of version 3; ``base64``: the client cannot read binary ones."""

    __slots__ = ("_base64", "content_type")

    def __init__(self, base64: bool) -> None:
        super().__init__()
        self._base64 = base64
        self.content_type = TEXT

    def _join(self, frames: list[Frames]) -> bytes:
        self.compress = any(each.compress for each in frames)
        forms = [_forms(each) for each in frames]
        if not self._base64 and any(each.has_binary for each in forms):
            self.content_type = BINARY
            return b"".join([each.payload for each in forms])
        self.content_type = TEXT
        return "".join([each.as_text for each in forms]).encode()

    def _decoder_of(self, request: web.Request) -> Callable[[bytes], Iterator[str | bytes]] | None:
        return decode_binary if request.headers.get("Content-Type") == BINARY else decode_text


class WebSocketTransport3(WebSocketTransport):
    """A websocket of version 3; ``base64``: the client cannot read binary messages."""

    __slots__ = ("_base64",)

    def __init__(
        self,
        transport: asyncio.Transport,
        options: EngineOptions,
        leaving: set[WebSocketTransport],
        window: int | None,
        base64: bool,
    ) -> None:
        super().__init__(transport, options, leaving, window)
        self._base64 = base64

    def write(self, frames: list[Frames]) -> bool:
        """Write frames in one piece, or as many as the transport takes."""
        forms = [_forms(each) for each in frames]
        written: list[Frames] = [each.base64 if self._base64 else each.binary for each in forms]
        done = super().write(written)
        del frames[: len(frames) - len(written)]
        return done


def _forms(frames: Frames) -> Forms:
    assert isinstance(frames, EncodedFrames)
    return forms_of(frames)
