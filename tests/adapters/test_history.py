"""``History``: its values are checked, and it knows which events it keeps."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rtframework import ConfigurationError, History, MemoryHistory
from rtframework.adapters.history import histories_of
from rtframework.types import KeptRoom


def test_its_defaults() -> None:
    """A server with the shortest form would keep nothing, or everything."""
    history = History("chat:{room}")
    assert history.of("chat:1") == KeptRoom("chat:1", 100, None)
    assert history.fits("chat:1")
    assert history.keeps("message")
    assert history.keeps(7)


@pytest.mark.parametrize("event", ["presence", "presence_join", "presence_leave", "presence_update", "history"])
def test_what_the_server_itself_emits_is_not_kept(event: str) -> None:
    """A client would be told of people who have long gone."""
    assert not History("a").keeps(event)
    assert not History("a", events=[event]).keeps(event)


def test_chosen_events() -> None:
    """Typing notes would push out what was said."""
    history = History("a", events=["said", 7])
    assert [each for each in ("said", "typing", 7, "7", 8) if history.keeps(each)] == ["said", 7, "7"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": 0}, "size must be an integer of at least 1"),
        ({"size": 1.5}, "size must be"),
        ({"page": 0}, "page must be"),
        ({"page_bytes": -1}, "page_bytes must be"),
        ({"ttl": 0}, "ttl is a number of seconds"),
        ({"ttl": math.nan}, "ttl is"),
        ({"ttl": True}, "ttl is"),
        ({"events": "said"}, r"write events=\['said'\]"),
        ({"events": ["disconnect"]}, "reserved"),
        ({"nsp": "admin"}, "begins with"),
        ({"store": MemoryHistory}, "an object, not a class"),
        ({"store": object()}, "has no start"),
    ],
)
def test_wrong_values(options: dict[str, Any], told: str) -> None:
    """A mistake would show when the first client asks for the history."""
    with pytest.raises(ConfigurationError, match=told):
        History("a", **options)


@pytest.mark.parametrize("given", ["chat:{room}", 7, ["chat:{room}"], {"a": 1}])
def test_what_is_no_history(given: Any) -> None:
    """A room's name in place of a history would be taken for one."""
    with pytest.raises(ConfigurationError, match="write history=History"):
        histories_of(given)


def test_one_or_several() -> None:
    """Both forms are in the documentation."""
    one, other = History("a"), History("b")
    assert histories_of(None) == ()
    assert histories_of(one) == (one,)
    assert histories_of([one, other]) == (one, other)
