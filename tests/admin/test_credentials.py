"""The name and the password of the Admin UI."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import ConfigurationError, Server
from rtframework.admin.credentials import Credentials


async def test_a_plain_password() -> None:
    """The right password would not do, or another one would."""
    credentials = Credentials("ada", "pässword")
    assert await credentials.match("ada", "pässword")
    for name, password in (
        ("ada", "passwort"),
        ("Ada", "pässword"),
        ("", "pässword"),
        ("ada", ""),
        ("ada", "pässword\0"),
        (None, "pässword"),
        ("ada", None),
        ("ada", b"p"),
        ("ada", "x" * 5000),
        ("\ud800", "\ud800"),
    ):
        assert not await credentials.match(name, password)


async def test_a_hash_as_node_makes_it() -> None:
    """The configuration of a Node server could not be taken over."""
    pytest.importorskip("bcrypt")
    # that of the password "changeit", from the documentation of @socket.io/admin-ui
    credentials = Credentials("admin", "$2b$10$heqvAkYMez.Va6Et2uXInOnkCT6/uQj1brkrbyG3LpopDklcq7ZOS")
    right, wrong, other, long = await asyncio.gather(
        credentials.match("admin", "changeit"),
        credentials.match("admin", "changeit!"),
        credentials.match("root", "changeit"),
        credentials.match("admin", "changeit" * 20),
    )
    assert (right, wrong, other, long) == (True, False, False, False)


@pytest.mark.parametrize(
    "hashed", ["$2b$10$", "$2$10$heqvAkYMez.Va6Et2uXInOnkCT6/uQj1brkrbyG3LpopDklcq7ZOS", "$2b$1$" + "a" * 53]
)
def test_what_only_looks_like_a_hash(hashed: str) -> None:
    """A hash that was cut short would be the password itself, which its owner does not know."""
    with pytest.raises(ConfigurationError, match="bcrypt"):
        Credentials("ada", hashed)


def test_nothing_shows_the_password() -> None:
    """A traceback or a log line would give it away."""
    credentials = Credentials("the-name", "the-password")
    assert repr(credentials) == "Credentials()"
    assert "the-password" not in str([getattr(credentials, name, None) for name in Credentials.__slots__])


def test_hashes_are_compared_in_any_event_loop() -> None:
    """Nobody could log in any more once several had done so at the same time in another event loop."""
    pytest.importorskip("bcrypt")
    credentials = Credentials("admin", "$2b$10$heqvAkYMez.Va6Et2uXInOnkCT6/uQj1brkrbyG3LpopDklcq7ZOS")

    async def once() -> None:
        assert await asyncio.gather(*(credentials.match("admin", "changeit") for _ in range(4))) == [True] * 4

    for _ in range(2):
        asyncio.run(once())


def test_bcrypt_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first login would fail, and not the start of the program."""
    monkeypatch.setitem(__import__("sys").modules, "bcrypt", None)
    with pytest.raises(ConfigurationError, match="pip install bcrypt"):
        Server().instrument(username="a", password="$2b$10$heqvAkYMez.Va6Et2uXInOnkCT6/uQj1brkrbyG3LpopDklcq7ZOS")
