"""The rooms that clients may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ConfigurationError, ConnectionRefused
from rtframework.gateways.readable import allowed_rooms


class FakeSocket:
    """A socket that is asked about."""

    nsp = "/"


async def allowed(rooms: Any, *asked: str) -> list[str]:
    """Ask for rooms."""
    return await allowed_rooms(rooms, FakeSocket(), list(asked))


async def test_none_are_readable_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever guesses a name could listen in; and a programmer would not know what is missing."""
    assert await allowed(None) == []
    with pytest.raises(ConnectionRefused):
        await allowed(None, "a")
    assert "attach_sse(..., rooms=...)" in caplog.text


async def test_rooms_by_name() -> None:
    """One room of several would be left out without a word."""
    assert await allowed({"a", "b"}, "b", "a") == ["b", "a"]
    with pytest.raises(ConnectionRefused):
        await allowed(["a"], "a", "c")


async def test_a_function_decides() -> None:
    """Permissions could not be looked up."""

    async def later(socket: Any, names: list[str]) -> list[str]:
        return [*names, "more", *names]

    assert await allowed(later, "a") == ["a", "more"]
    assert await allowed(later) == ["more"]
    assert await allowed(lambda socket, names: True, "a") == ["a"]
    nothing: tuple[Any, ...] = (False, None, [], frozenset())
    for refusing in nothing:
        assert await allowed(lambda socket, names, found=refusing: found) == []
        with pytest.raises(ConnectionRefused):
            await allowed(lambda socket, names, found=refusing: found, "a")


async def test_a_function_that_returns_something_else() -> None:
    """A text would be taken for rooms of one letter."""
    for wrong in ("abc", 1, object()):
        with pytest.raises(ConfigurationError):
            await allowed(lambda socket, names, found=wrong: found, "a")
