"""The place of a transport that has ended."""

from __future__ import annotations

import pytest

from rtframework.engine.frames import NOOP
from rtframework.engine.transports.nothing import NO_POLLING, NO_WEBSOCKET, NOBODY, NoTransport


@pytest.mark.parametrize(("nothing", "name"), [(NO_POLLING, "polling"), (NO_WEBSOCKET, "websocket")])
def test_nothing_does_nothing_and_keeps_its_name(nothing: NoTransport, name: str) -> None:
    """``socket.conn.transport`` would fail in disconnect handlers, or what is sent late would wait for ever."""
    assert nothing.name == name
    assert not nothing.writable
    assert not nothing.abandoned
    assert nothing.buffered() == 0
    assert nothing.write([NOOP])
    nothing.release(NOOP)
    nothing.resume_reading()
    nothing.close()
    nothing.abort()


def test_nobody_hears_anything() -> None:
    """What comes after the end would be served."""
    NOBODY.receive("4a")
    NOBODY.end("transport close")
    NOBODY.ended("transport close")
