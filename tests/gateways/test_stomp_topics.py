"""The rooms that STOMP clients may subscribe to."""

from __future__ import annotations

from typing import Any, cast

import pytest

from rtframework import ConfigurationError
from rtframework.gateways.stomp_topics import compile_topics, room_of

SOCKET = cast("Any", object())


@pytest.mark.parametrize(
    ("topics", "may", "may_not"),
    [
        (None, (), ("a", "")),
        ((), (), ("a",)),
        ("lobby", ("lobby",), ("lobby2", "a.lobby", "lobb", "")),
        ("news:{id}", ("news:1", "news:a b"), ("news:", "news:1:2", "news:1/2", "news:1.2", "x:1", "news1")),
        (["a.b", "{x}/{y}"], ("a.b", "c/d"), ("axb", "c/d/e", "/d")),
    ],
)
async def test_templates(topics: Any, may: tuple[str, ...], may_not: tuple[str, ...]) -> None:
    """Clients would read rooms that nobody has allowed."""
    rule = compile_topics(topics)
    assert [await room_of(rule, SOCKET, each) for each in may] == list(may)
    assert [await room_of(rule, SOCKET, each) for each in may_not] == [None] * len(may_not)


async def test_functions() -> None:
    """A program could not look into its tables who may read what."""
    asked: list[Any] = []

    async def rule(socket: Any, topic: str) -> Any:
        asked.append((socket, topic))
        return {"yes": True, "no": False, "mine": "user:1"}.get(topic)

    assert [await room_of(compile_topics(rule), SOCKET, each) for each in ("yes", "no", "mine", "else")] == [
        *("yes", None),
        *("user:1", None),
    ]
    assert asked[0] == (SOCKET, "yes")
    for verdict in ("", 1, [], object()):
        answers: Any = lambda socket, topic, verdict=verdict: verdict  # noqa: E731
        assert await room_of(compile_topics(answers), SOCKET, "a") is None


@pytest.mark.parametrize("topics", [1, [1], "{", "a}", "{1}", "", "a{}", object()])
def test_mistakes_are_said_at_once(topics: Any) -> None:
    """All subscriptions would be refused, and nobody know why."""
    with pytest.raises(ConfigurationError, match="topic"):
        compile_topics(topics)
