"""The rooms that a rule is for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rtframework import ConfigurationError
from rtframework.adapters.room_rules import compile_rooms


def of_five(room: str) -> bool:
    return len(room) == 5


@pytest.mark.parametrize(
    ("rooms", "fits", "others"),
    [
        ("lobby", ["lobby"], ["lobby ", "Lobby", "lobb"]),
        ("chat:{id}", ["chat:1", "chat:a/b", "chat::", "chat:\n", "chat:é"], ["chat:", "xchat:1", "chat"]),
        ("{a}:{b}", ["a:b", "a:b:c"], [":b", "a:", "ab"]),
        (r"chat:{id:\d{2}}", ["chat:12"], ["chat:1", "chat:1a", "chat:123"]),
        ("a.b{x}", ["a.bc"], ["axbc"]),
        (re.compile("(?i)room-[a-f]"), ["room-a", "ROOM-F"], ["room-g", "room-ab"]),
        (of_five, ["12345"], ["1234"]),
    ],
)
def test_what_fits(rooms: Any, fits: list[str], others: list[str]) -> None:
    """A feature would be there in rooms of other kinds, or not in all of its own."""
    rule = compile_rooms(rooms)
    assert [room for room in (*fits, *others) if rule(room)] == fits


async def later(room: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("rooms", "why"),
    [
        ("", "not empty"),
        ("a{", "opened and not closed"),
        ("a}", "closed that was not opened"),
        ("a{1}", "parameter is"),
        ("a{b:}", "parameter is"),
        ("a{b:(}", "unterminated"),
        ("{a}{a}", "redefinition"),
        (re.compile(b"a"), "matches bytes"),
        (7, "function"),
        (None, "function"),
        (str, "function"),
        (later, "not async"),
    ],
)
def test_mistakes(rooms: Any, why: str) -> None:
    """A rule that fits nothing would be found by users."""
    with pytest.raises(ConfigurationError, match=why):
        compile_rooms(rooms)
