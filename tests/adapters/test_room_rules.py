"""Rules for rooms: what fits, and what is told of a rule that is none."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rtframework import ConfigurationError
from rtframework.adapters.room_rules import compile_rule


@pytest.mark.parametrize(
    ("rule", "fitting", "others"),
    [
        ("lobby", ["lobby"], ["lobby2", "Lobby", ""]),
        ("chat:{room}", ["chat:1", "chat:a/b", "chat:a:b\n"], ["chat:", "xchat:1", "chat"]),
        (r"order:{id:\d{2}}", ["order:12"], ["order:1", "order:123", "order:ab"]),
        ("{a}.{b}", ["1.2", "1.2.3"], [".", "1."]),
        (re.compile("a|b"), ["a", "b"], ["ab"]),
        (lambda room: room.islower(), ["abc"], ["Abc"]),
    ],
)
def test_what_fits(rule: Any, fitting: list[str], others: list[str]) -> None:
    """Rooms would have no history, or the wrong ones would have it."""
    fits = compile_rule(rule, "History")
    assert [room for room in [*fitting, *others] if fits(room)] == fitting


async def _asked(room: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "not empty"),
        ("a{b", "opened and not closed"),
        ("a}b", "closed that was not opened"),
        ("{1}", r"a parameter is \{name\}"),
        ("{a:}", r"a parameter is \{name\}"),
        ("{a:(}", "missing"),
        (re.compile(b"a"), "matches bytes"),
        (7, "takes a room's name"),
        (str, "takes a room's name"),
        (_asked, "cannot be async"),
        (lambda: True, "takes a room's name"),
    ],
)
def test_what_is_no_rule(rule: Any, told: str) -> None:
    """A mistake would show when the first event is missing."""
    with pytest.raises(ConfigurationError, match=told):
        compile_rule(rule, "History")
