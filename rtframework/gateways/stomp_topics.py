"""The rooms that STOMP clients may subscribe to, as the program says."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any, Protocol, TypeAlias

from ..exceptions import ConfigurationError

Verdict: TypeAlias = bool | str | None
TopicRule: TypeAlias = Callable[[Any, str], Verdict | Awaitable[Verdict]]
"""``(socket, topic) -> bool | str | None``, async or not; a string is the room that the topic stands for."""
Topics: TypeAlias = str | Sequence[str] | TopicRule | None


class Member(Protocol):
    """The socket of a client, as far as subscriptions need it."""

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in."""

    async def join(self, *rooms: str) -> None:
        """Join rooms."""

    async def leave(self, *rooms: str) -> None:
        """Leave rooms."""


_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")


def compile_topics(topics: Topics) -> TopicRule:
    """Make the rule of what a program gives as ``topics``. Raises ``ConfigurationError``."""
    if topics is None:
        return _nothing
    if callable(topics):
        return topics
    if isinstance(topics, str):
        topics = (topics,)
    if not isinstance(topics, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in topics):
        raise ConfigurationError(
            'topics is a template as "news:{id}", a list of them, or a function (socket, topic) -> bool | str | None'
        )
    patterns = [_compile(each) for each in topics]

    def matches(socket: Member, topic: str) -> bool:
        return any(each.fullmatch(topic) for each in patterns)

    return matches


async def room_of(rule: TopicRule, socket: Member, topic: str) -> str | None:
    """Return the room that a client may read as a topic; ``None`` if it may not."""
    verdict = rule(socket, topic)
    if isawaitable(verdict):
        verdict = await verdict
    if verdict is True:
        return topic
    return verdict if isinstance(verdict, str) and verdict else None


def _nothing(socket: Member, topic: str) -> bool:
    return False


def _compile(template: str) -> re.Pattern[str]:
    """Compile a template; a parameter is one or more characters without ``:``, ``/`` and ``.``."""
    expression = ""
    position = 0
    for match in _PARAMETER.finditer(template):
        expression += _literal(template, position, match.start()) + r"[^:/.]+"
        position = match.end()
    return re.compile(expression + _literal(template, position, len(template)))


def _literal(template: str, start: int, end: int) -> str:
    text = template[start:end]
    if not template or "{" in text or "}" in text:
        raise ConfigurationError(f"{template!r} is no template of a topic: a parameter is {{name}}")
    return re.escape(text)
