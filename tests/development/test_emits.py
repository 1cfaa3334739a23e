"""Emitted events that the server does not declare."""

from __future__ import annotations

import pytest

from rtframework import ContractError, Server
from rtframework.development.emits import EmitWatch


def watched() -> Server:
    """A server whose emits are watched."""
    io = Server()
    io._host.audit(EmitWatch(io.serializer))
    return io


async def test_an_event_that_is_not_declared(caplog: pytest.LogCaptureFixture) -> None:
    """The page would wait for "message", and the server would emit "mesage"."""
    io = watched()
    io.emits("message", str)
    await io.emit("mesage", "hello")
    await io.emit("other")
    first, second = caplog.messages
    assert first.startswith("tests/development/test_emits.py:")
    assert first.endswith(": emit('mesage', ...) in /: no such event is declared; did you mean 'message'?")
    assert second.endswith("write io.emits('other', ...)")


async def test_an_argument_that_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    """The types that were generated for the page would promise what does not come."""
    io = watched()
    io.emits("message", str)
    await io.emit("message", 42)
    (said,) = caplog.messages
    assert "emit('message', ...) in /: Expected `str`, got `int` at $[0]" in said
    assert " at tests/development/test_emits.py:" in said


async def test_what_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    """A server without declarations would be told of each emit."""
    io = watched()
    await io.emit("message", 42)
    io.emits("message", str)
    await io.emit("message", "hello")
    assert caplog.messages == []


async def test_what_cannot_be_sent() -> None:
    """The error would come from another place than without development mode."""
    io = watched()
    io.emits("message", object)
    io.emits("other", str)
    with pytest.raises(Exception, match="message") as caught:
        await io.emit("message", object())
    assert not isinstance(caught.value, ContractError)
