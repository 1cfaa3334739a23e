"""The transports of Engine.IO 3: payloads and messages as old clients read them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework.engine.frames import EncodedFrames
from rtframework.engine.v3.transports import PollingTransport3, WebSocketTransport3
from rtframework.options import EngineOptions
from rtframework.protocols import Frames

TEXT = EncodedFrames(["4a"])
BINARY = EncodedFrames([b"\x00"])


@pytest.mark.parametrize(
    ("base64", "frames", "payload"),
    [
        (False, [TEXT, TEXT], b"2:4a2:4a"),
        (False, [TEXT, BINARY], b"\x00\x02\xff4a\x01\x02\xff\x04\x00"),
        (True, [TEXT, BINARY], b"2:4a6:b4AA=="),
    ],
)
def test_a_payload_is_binary_when_something_in_it_is(base64: bool, frames: list[Frames], payload: bytes) -> None:
    """Clients that cannot read binary would get it, or pay for Base64 where they can."""
    assert PollingTransport3(base64)._join(frames) == payload


class Line(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(("base64", "written"), [(False, b"\x82\x02\x04\x00"), (True, b"\x81\x06b4AA==")])
def test_a_message_is_binary_or_base64(base64: bool, written: bytes) -> None:
    """A picture would arrive as text, or not at all."""
    line = Line()
    websocket = WebSocketTransport3(line, EngineOptions(), set(), None, base64)
    assert websocket.write([TEXT, BINARY])
    assert line.written == b"\x81\x024a" + written
