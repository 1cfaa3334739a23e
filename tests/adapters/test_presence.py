"""The settings of presence, and the texts that clients are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtframework import ConfigurationError, EncodeError, Presence
from rtframework.adapters.presence import all_presence, diff_text, encode_meta, to_text


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"meta": "name"}, "function"),
        ({"grace": "10"}, "seconds"),
        ({"grace": -1}, "seconds"),
        ({"grace": True}, "seconds"),
        ({"grace": float("nan")}, "seconds"),
        ({"grace": 10_000}, "milliseconds"),
        ({"nsp": "admin"}, "starts with"),
        ({"nsp": 1}, "starts with"),
        ({"max_list": 0}, "max_list"),
        ({"max_meta": 1.5}, "max_meta"),
        ({"room": ""}, "not empty"),
    ],
)
def test_mistakes_in_the_settings(options: dict[str, Any], why: str) -> None:
    """They would be found when the first client joins."""
    with pytest.raises(ConfigurationError, match=why):
        Presence(**{"room": "a", **options})


def test_settings_are_frozen_and_equal_by_value() -> None:
    """Two servers with the same settings would be told apart."""
    assert Presence("a", grace=0) == Presence("a", grace=0)
    with pytest.raises(AttributeError):
        Presence("a").grace = 1  # type: ignore[misc]


def test_one_or_several() -> None:
    """A server would take a mistake for no presence at all."""
    one = Presence("a")
    assert all_presence(None) == all_presence(()) == ()
    assert all_presence(one) == all_presence([one]) == (one,)
    for wrong in ("chat:{id}", True, [one, "b"], {one: 1}):
        with pytest.raises(ConfigurationError, match="write Presence"):
            all_presence(wrong)


def test_meta_as_json() -> None:
    """Others would get something else than a program has given, or everything it could think of."""
    assert encode_meta({"a": [1, None, "é"]}, 100) == '{"a":[1,null,"é"]}'
    assert encode_meta("é", 4) == '"é"'
    loop: list[Any] = []
    loop.append(loop)
    for wrong in ("éé", b"", float("inf"), {"a": object()}, "\ud800", loop):
        with pytest.raises(EncodeError):
            encode_meta(wrong, 5)


@pytest.mark.parametrize("text", ['"},{', "\x00\n\\", "é\u2028", ""])
def test_names_cannot_break_out(text: str) -> None:
    """A user's name could change what everybody is told."""
    assert json.loads(to_text(text)) == text
    assert json.loads(diff_text("presence_join", text, text, "null")) == [
        "presence_join",
        {"room": text, "user": text, "meta": None},
    ]
